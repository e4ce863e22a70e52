"""Refinement of a fundamental matrix among right and wrong matches near their epipolar lines.

Matches are four rows x1 y1 x2 y2 of coordinates that the caller has centred in each image and
divided by one scale for both. Scratch that belongs to a match is a column.
"""

import math

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel
from fastmotion.em.kernels.scalar import exp_of_negative

# Rows of the scratch: the derivatives of the signed Sampson distance by the seven tangent
# directions, the distance, the weight, the match itself and how many it counts for. Then, of a fit
# to the other matches: its distance, in units of a right one's standard deviation for unit noise,
# the logarithm of its leverage, and that of the square of this unit.
_DISTANCE, _WEIGHT, _MATCH, _COUNTS = 7, 8, 9, 13
_OUTER_DISTANCE, _LEVERAGE, _LOG_UNIT = 14, 15, 16
N_ROWS = 17

_N_FREE = 7
_MOST_STEPS = 3
_MOST_PASSES = 8
# Estimates of the mixture are taken as final when the noise and the share of right matches change
# less, which is well below their own uncertainty.
_TOLERANCE = np.float64(1e-3)
# A step is the last when its squared length, in standard deviations of F, is below this; and a
# round is when its first step is that short.
_LAST_STEP = np.float64(1e-3)
# Leverages of wrong matches are drawn to those of right ones by so many matches, so that the
# variance of two or three is not taken at its word; and their logarithms vary by this at least.
_DRAWN = np.float64(3.0)
# What leverages wrong matches have is told by about as many, at most, from outside the window too.
_MOST_FAR = 128
_LEAST_SPREAD = np.float64(1e-3)
# What is left where matches have no noise.
_LEAST_NOISE = np.float64(1e-12)
_LEAST_PIVOT = np.float64(1e-14)
# A match on which a direction of F hangs alone is as far from the others' fit as one may wish.
_LEAST_LEFT = np.float64(1e-6)
_LEAST_LEVERAGE = np.float64(1e-300)
_LOG_ROOT_HALF_PI = 0.5 * np.log(np.pi / 2)


@cpu_function
def _cofactors(F, out):
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        for a in range(3):
            b, c = (a + 1) % 3, (a + 2) % 3
            out[3 * i + a] = F[3 * j + b] * F[3 * k + c] - F[3 * j + c] * F[3 * k + b]


@cpu_function
def _to_rank_two(F, cofactors):
    """Move F to the nearest matrix of determinant zero, by Newton steps, and to unit norm."""
    for _ in range(3):
        _cofactors(F, cofactors)
        determinant = F[0] * cofactors[0] + F[1] * cofactors[1] + F[2] * cofactors[2]
        square = 0.0
        for k in range(9):
            square += cofactors[k] * cofactors[k]
        if square > 0:
            for k in range(9):
                F[k] -= determinant / square * cofactors[k]
        norm = 0.0
        for k in range(9):
            norm += F[k] * F[k]
        norm = 1 / np.sqrt(norm)
        for k in range(9):
            F[k] *= norm


@cpu_function
def _tangent(F, cofactors, basis):
    """Set the seven rows of basis to orthonormal directions orthogonal to F and its cofactors."""
    _cofactors(F, cofactors)
    # Two Householder reflections take the normals to the first two axes, and the others back.
    sign = 1.0 if F[0] >= 0 else -1.0
    first = np.empty(9)
    second = np.empty(9)
    for k in range(9):
        first[k] = F[k]
    first[0] += sign
    scale1 = 1 / (1 + sign * F[0])
    inner = 0.0
    for k in range(9):
        inner += first[k] * cofactors[k]
    square = 0.0
    for k in range(9):
        second[k] = cofactors[k] - scale1 * inner * first[k]
        if k:
            square += second[k] * second[k]
    size = np.sqrt(square)
    if size == 0:
        return False
    second[0] = 0.0
    sign = 1.0 if second[1] >= 0 else -1.0
    for k in range(1, 9):
        second[k] /= size
    second[1] += sign
    scale2 = 1 / (1 + abs(second[1] - sign))
    for row in range(7):
        inner = -scale2 * second[row + 2]
        for k in range(9):
            basis[row, k] = inner * second[k]
        basis[row, row + 2] += 1.0
        inner = 0.0
        for k in range(9):
            inner += basis[row, k] * first[k]
        for k in range(9):
            basis[row, k] -= scale1 * inner * first[k]
    return True


@cpu_function
def _linearise(F, basis, x1, y1, x2, y2, n, t0, t1, t2, t3, t4, t5, t6, distance):
    """Set signed Sampson distances and their derivatives by the tangent directions."""
    for i in range(n):
        a, b, c, d = x1[i], y1[i], x2[i], y2[i]
        u = F[0] * a + F[1] * b + F[2]
        v = F[3] * a + F[4] * b + F[5]
        w = F[6] * a + F[7] * b + F[8]
        p = F[0] * c + F[3] * d + F[6]
        q = F[1] * c + F[4] * d + F[7]
        inverse = 1 / (u * u + v * v + p * p + q * q)
        size = np.sqrt(inverse)
        error = c * u + d * v + w
        distance[i] = error * size
        # (x2 - q n2) x1ᵀ - q x2 n1ᵀ, over g, with q = e / g².
        part = error * inverse
        l0, l1 = (c - part * u) * size, (d - part * v) * size
        r0, r1 = part * size * p, part * size * q
        j0, j1, j2 = l0 * a - c * r0, l0 * b - c * r1, l0
        j3, j4, j5 = l1 * a - d * r0, l1 * b - d * r1, l1
        j6, j7, j8 = size * a - r0, size * b - r1, size
        t0[i] = _along(basis, 0, j0, j1, j2, j3, j4, j5, j6, j7, j8)
        t1[i] = _along(basis, 1, j0, j1, j2, j3, j4, j5, j6, j7, j8)
        t2[i] = _along(basis, 2, j0, j1, j2, j3, j4, j5, j6, j7, j8)
        t3[i] = _along(basis, 3, j0, j1, j2, j3, j4, j5, j6, j7, j8)
        t4[i] = _along(basis, 4, j0, j1, j2, j3, j4, j5, j6, j7, j8)
        t5[i] = _along(basis, 5, j0, j1, j2, j3, j4, j5, j6, j7, j8)
        t6[i] = _along(basis, 6, j0, j1, j2, j3, j4, j5, j6, j7, j8)


@cpu_function
def _along(basis, row, j0, j1, j2, j3, j4, j5, j6, j7, j8):
    return (
        basis[row, 0] * j0 + basis[row, 1] * j1 + basis[row, 2] * j2
        + basis[row, 3] * j3 + basis[row, 4] * j4 + basis[row, 5] * j5
        + basis[row, 6] * j6 + basis[row, 7] * j7 + basis[row, 8] * j8
    )  # fmt: skip


@cpu_function(fastmath="reassociate")
def _dot(a, b, weight, n):
    total = 0.0
    for i in range(n):
        total += weight[i] * a[i] * b[i]
    return total


@cpu_function
def _factor(rows, n, normal):
    """Set normal to the Cholesky factor of the weighted normal matrix; return if it has one."""
    weight = rows[_WEIGHT]
    for i in range(_N_FREE):
        for j in range(i + 1):
            normal[i, j] = _dot(rows[i], rows[j], weight, n)
    for i in range(_N_FREE):
        for j in range(i + 1):
            total = normal[i, j]
            for k in range(j):
                total -= normal[i, k] * normal[j, k]
            if i > j:
                normal[i, j] = total / normal[j, j]
            elif not total > _LEAST_PIVOT * normal[i, i]:
                return False
            else:
                normal[i, i] = np.sqrt(total)
    return True


@cpu_function
def _invert(factor, inverse):
    """Set inverse to that of a lower triangular matrix."""
    for j in range(_N_FREE):
        for i in range(_N_FREE):
            inverse[i, j] = 0.0
        inverse[j, j] = 1 / factor[j, j]
        for i in range(j + 1, _N_FREE):
            total = 0.0
            for k in range(j, i):
                total -= factor[i, k] * inverse[k, j]
            inverse[i, j] = total / factor[i, i]


@cpu_function
def _leverages(inverse, t0, t1, t2, t3, t4, t5, t6, n, out):
    """Set squared norms of the derivatives in standard deviations of F for unit noise."""
    for i in range(n):
        a, b, c, d, e, f, g = t0[i], t1[i], t2[i], t3[i], t4[i], t5[i], t6[i]
        p = inverse[0, 0] * a
        total = p * p
        p = inverse[1, 0] * a + inverse[1, 1] * b
        total += p * p
        p = inverse[2, 0] * a + inverse[2, 1] * b + inverse[2, 2] * c
        total += p * p
        p = inverse[3, 0] * a + inverse[3, 1] * b + inverse[3, 2] * c + inverse[3, 3] * d
        total += p * p
        p = inverse[4, 0] * a + inverse[4, 1] * b + inverse[4, 2] * c + inverse[4, 3] * d
        p += inverse[4, 4] * e
        total += p * p
        p = inverse[5, 0] * a + inverse[5, 1] * b + inverse[5, 2] * c + inverse[5, 3] * d
        p += inverse[5, 4] * e + inverse[5, 5] * f
        total += p * p
        p = inverse[6, 0] * a + inverse[6, 1] * b + inverse[6, 2] * c + inverse[6, 3] * d
        p += inverse[6, 4] * e + inverse[6, 5] * f + inverse[6, 6] * g
        out[i] = total + p * p


@cpu_function
def _look_from_outside(weight, distance, n, leverage, outer_distance, log_unit):
    """Set what a fit to the other matches says of each; leverages become logarithms."""
    for i in range(n):
        left = max(1 - weight[i] * leverage[i], _LEAST_LEFT)
        unit = 1 + leverage[i] / left
        outer_distance[i] = distance[i] / (left * np.sqrt(unit))
        log_unit[i] = math.log(unit)
        leverage[i] = math.log(max(leverage[i] / left, _LEAST_LEVERAGE))


@cpu_function(fastmath="reassociate")
def _moments(weight, count, distance, x, n, of_right, of_wrong):
    """Set sums over right and over wrong matches of 1, d², x and x²."""
    r0, r1, r2, r3, w0, w2, w3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        right = weight[i]
        wrong = count[i] - right
        r0 += right
        r1 += right * distance[i] * distance[i]
        r2 += right * x[i]
        r3 += right * x[i] * x[i]
        w0 += wrong
        w2 += wrong * x[i]
        w3 += wrong * x[i] * x[i]
    of_right[0], of_right[1], of_right[2], of_right[3] = r0, r1, r2, r3
    of_wrong[0], of_wrong[2], of_wrong[3] = w0, w2, w3


@cpu_function
def _weigh(count, distance, x, unit, n, constant, half_precision, m1, h1, m0, h0, weight):
    """Set the weights: probabilities of being right, times the counts."""
    for i in range(n):
        from1, from0 = x[i] - m1, x[i] - m0
        odds = (
            constant
            - 0.5 * unit[i]
            - half_precision * distance[i] * distance[i]
            - h1 * from1 * from1
            + h0 * from0 * from0
        )
        smaller = exp_of_negative(-abs(odds))
        weight[i] = count[i] * (1.0 if odds >= 0 else smaller) / (1 + smaller)


@cpu_function
def _estimate_mixture(rows, n, far, noise, window):
    """Set weights by expectation and maximisation; return the standard deviation of the noise."""
    weight, count = rows[_WEIGHT], rows[_COUNTS]
    distance, x, unit = rows[_OUTER_DISTANCE], rows[_LEVERAGE], rows[_LOG_UNIT]
    of_right, of_wrong = np.empty(4), np.empty(4)
    last = 0.0
    for _ in range(_MOST_PASSES):
        _moments(weight, count, distance, x, n, of_right, of_wrong)
        right, wrong = of_right[0], of_wrong[0]
        if not right > _N_FREE:
            return 0.0
        before = noise
        noise = max(np.sqrt(of_right[1] / right), _LEAST_NOISE)
        share = wrong / right
        if abs(noise - before) <= _TOLERANCE * noise and abs(share - last) <= _TOLERANCE:
            break
        last = share
        m1 = of_right[2] / right
        v1 = max(of_right[3] / right - m1 * m1, 0.0) + _LEAST_SPREAD
        n_wrong = wrong + far[0] + _DRAWN
        m0 = (of_wrong[2] + far[1] + _DRAWN * m1) / n_wrong
        square = of_wrong[3] + far[2] + _DRAWN * (v1 + m1 * m1)
        v0 = max(square / n_wrong - m0 * m0, 0.0) + _LEAST_SPREAD
        constant = (
            math.log(right / max(wrong, 0.5)) - math.log(noise / window) - _LOG_ROOT_HALF_PI
            + 0.5 * math.log(v0 / v1)
        )  # fmt: skip
        _weigh(
            count, distance, x, unit, n, constant, 0.5 / (noise * noise),
            m1, 0.5 / v1, m0, 0.5 / v0, weight,
        )  # fmt: skip
    return noise


@cpu_function
def _step(rows, n, normal, basis, F, cofactors):
    """Move F by a Gauss-Newton step of the weighted squares; return twice what it should gain."""
    step = np.empty(_N_FREE)
    gain = 0.0
    for i in range(_N_FREE):
        total = _dot(rows[i], rows[_DISTANCE], rows[_WEIGHT], n)
        for k in range(i):
            total -= normal[i, k] * step[k]
        step[i] = total / normal[i, i]
        gain += step[i] * step[i]
    for i in range(_N_FREE - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, _N_FREE):
            total -= normal[k, i] * step[k]
        step[i] = total / normal[i, i]
    for k in range(9):
        for i in range(_N_FREE):
            F[k] -= step[i] * basis[i, k]
    _to_rank_two(F, cofactors)
    return gain


@cpu_function
def _gather(matches, counts, F, window, rows, chosen):
    """Copy the matches within a window of their epipolar lines; return how many they are."""
    n = 0
    for i in range(matches.shape[1]):
        a, b, c, d = matches[0, i], matches[1, i], matches[2, i], matches[3, i]
        u = F[0] * a + F[1] * b + F[2]
        v = F[3] * a + F[4] * b + F[5]
        p = F[0] * c + F[3] * d + F[6]
        q = F[1] * c + F[4] * d + F[7]
        error = c * u + d * v + F[6] * a + F[7] * b + F[8]
        square = u * u + v * v + p * p + q * q
        if counts[i] > 0 and error * error < window * window * square:
            rows[_MATCH, n], rows[_MATCH + 1, n] = a, b
            rows[_MATCH + 2, n], rows[_MATCH + 3, n] = c, d
            rows[_COUNTS, n] = counts[i]
            chosen[n] = i
            n += 1
    return n


@cpu_function
def _gather_far(matches, counts, F, window, rows, n):
    """Copy matches outside the window, moved onto their lines in image 2, to the columns from n on.

    That is where the wrong matches within the window come from. Return how many they are.
    """
    n_all = matches.shape[1]
    found = 0
    for i in range(0, n_all, 1 + n_all // _MOST_FAR):
        a, b, c, d = matches[0, i], matches[1, i], matches[2, i], matches[3, i]
        u = F[0] * a + F[1] * b + F[2]
        v = F[3] * a + F[4] * b + F[5]
        p = F[0] * c + F[3] * d + F[6]
        q = F[1] * c + F[4] * d + F[7]
        error = c * u + d * v + F[6] * a + F[7] * b + F[8]
        across = u * u + v * v
        if (
            counts[i] > 0
            and across > 0
            and error * error >= window * window * (across + p * p + q * q)
        ):
            rows[_MATCH, n + found], rows[_MATCH + 1, n + found] = a, b
            rows[_MATCH + 2, n + found] = c - u * error / across
            rows[_MATCH + 3, n + found] = d - v * error / across
            found += 1
    return found


@cpu_function
def _look(F, basis, rows, start, stop):
    columns = rows[:, start:stop]
    _linearise(
        F, basis, columns[_MATCH], columns[_MATCH + 1], columns[_MATCH + 2], columns[_MATCH + 3],
        stop - start, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5],
        columns[6], columns[_DISTANCE],
    )  # fmt: skip


@cpu_function
def _weigh_leverages(inverse, rows, start, stop):
    columns = rows[:, start:stop]
    _leverages(
        inverse, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5],
        columns[6], stop - start, columns[_LEVERAGE],
    )  # fmt: skip


@cpu_function
def _sum_logarithms(leverage, n, sums):
    """Set the sums over wrong matches from far ones: their number, x and x², x a logarithm."""
    sums[0] = n
    sums[1] = 0.0
    sums[2] = 0.0
    for i in range(n):
        x = math.log(max(leverage[i], _LEAST_LEVERAGE))
        sums[1] += x
        sums[2] += x * x


@cpu_function
def _weigh_by_distance(rows, n, noise):
    for i in range(n):
        ratio = rows[_DISTANCE, i] / noise
        rows[_WEIGHT, i] = rows[_COUNTS, i] * exp_of_negative(-0.5 * ratio * ratio)


@cpu_kernel(fastmath="contract")
def polish(matches, counts, F, noise, width, most_rounds, probability, rows, chosen):
    """Refine F and estimate the noise and how probably matches are right; 0 if that fails.

    F, nine numbers of unit norm, changes in place. ``width`` is that of the window in standard
    deviations of the noise, and ``rows`` and ``chosen`` are scratch with a column for each match.
    """
    normal, inverse = np.empty((7, 7)), np.empty((7, 7))
    basis, cofactors, far = np.empty((7, 9)), np.empty(9), np.empty(3)
    n = 0
    for _round in range(most_rounds):
        window = width * noise
        n = _gather(matches, counts, F, window, rows, chosen)
        if n <= _N_FREE or not _tangent(F, cofactors, basis):
            return 0.0
        n_far = _gather_far(matches, counts, F, window, rows, n)
        _look(F, basis, rows, 0, n + n_far)
        _weigh_by_distance(rows, n, noise)
        if not _factor(rows, n, normal):
            return 0.0
        _invert(normal, inverse)
        _weigh_leverages(inverse, rows, 0, n + n_far)
        _sum_logarithms(rows[_LEVERAGE, n:], n_far, far)
        _look_from_outside(
            rows[_WEIGHT], rows[_DISTANCE], n,
            rows[_LEVERAGE], rows[_OUTER_DISTANCE], rows[_LOG_UNIT],
        )  # fmt: skip
        noise = _estimate_mixture(rows, n, far, noise, window)
        if noise == 0.0:
            return 0.0
        first = 0.0
        for step in range(_MOST_STEPS):
            if not _factor(rows, n, normal):
                return 0.0
            gain = _step(rows, n, normal, basis, F, cofactors)
            if not _tangent(F, cofactors, basis):
                return 0.0
            _look(F, basis, rows, 0, n)
            if step == 0:
                first = gain
            if gain < _LAST_STEP * noise * noise:
                break
        if first < _LAST_STEP * noise * noise:
            break
    for i in range(probability.shape[0]):
        probability[i] = 0.0
    total, square = 0.0, 0.0
    for i in range(n):
        weight = rows[_WEIGHT, i]
        probability[chosen[i]] = weight / rows[_COUNTS, i]
        total += weight
        square += weight * rows[_DISTANCE, i] * rows[_DISTANCE, i]
    return max(np.sqrt(square / total), _LEAST_NOISE)
