"""Refinement of a fundamental matrix among right and wrong matches near their epipolar lines.

Matches are four rows x1 y1 x2 y2 of coordinates that the caller has centred in each image and
divided by one scale for both. Scratch that belongs to a match is a column; the parts of a kernel
that work on columns serve all matches on the CPU, and those of one thread on a CUDA device, which
then adds up what the threads have found.
"""

import math

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel, scalar
from fastmotion.em.kernels.scalar import exp_of_negative
from fastmotion.epipolar.kernels.matrices import (
    factor_cholesky,
    invert_lower,
    move,
    set_tangent_basis,
    solve_cholesky,
)
from fastmotion.epipolar.kernels.scalar import N_FREE, sampson_terms

# Rows of the scratch: the derivatives of the signed Sampson distance by the seven tangent
# directions, the distance, the weight, the match itself and how many it counts for. Then, of a fit
# to the other matches: its distance, in units of a right one's standard deviation for unit noise,
# the logarithm of its leverage, and that of the square of this unit.
DISTANCE, WEIGHT, _MATCH, COUNTS = 7, 8, 9, 13
OUTER_DISTANCE, LEVERAGE, LOG_UNIT = 14, 15, 16
N_ROWS = 17

MOST_STEPS = 3
MOST_PASSES = 8
# Estimates of the mixture are taken as final when the noise and the share of right matches change
# less, which is well below their own uncertainty.
_TOLERANCE = np.float64(1e-3)
# A step is the last when its squared length, in standard deviations of F, is below this; and a
# round is when its first step is that short.
LAST_STEP = np.float64(1e-3)
# Leverages of wrong matches are drawn to those of right ones by so many matches, so that the
# variance of two or three is not taken at its word; and their logarithms vary by this at least.
_DRAWN = np.float64(3.0)
# What leverages wrong matches have is told by about as many, at most, from outside the window too.
_MOST_FAR = 128
_LEAST_SPREAD = np.float64(1e-3)
# What is left where matches have no noise.
_LEAST_NOISE = np.float64(1e-12)
# A match on which a direction of F hangs alone is as far from the others' fit as one may wish.
_LEAST_LEFT = np.float64(1e-6)
_LEAST_LEVERAGE = np.float64(1e-300)
_LOG_ROOT_HALF_PI = 0.5 * np.log(np.pi / 2)


@cpu_function
def _linearise(F, basis, x1, y1, x2, y2, n, t0, t1, t2, t3, t4, t5, t6, distance):
    """Set signed Sampson distances and their derivatives by the tangent directions."""
    f0, f1, f2, f3, f4, f5, f6, f7, f8 = F[0], F[1], F[2], F[3], F[4], F[5], F[6], F[7], F[8]
    for i in range(n):
        a, b, c, d = x1[i], y1[i], x2[i], y2[i]
        error, u, v, p, q = sampson_terms(f0, f1, f2, f3, f4, f5, f6, f7, f8, a, b, c, d)
        inverse = 1 / (u * u + v * v + p * p + q * q)
        size = math.sqrt(inverse)
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
def set_normal(rows, n, normal):
    """Set the lower triangle of the weighted normal matrix."""
    for i in range(N_FREE):
        for j in range(i + 1):
            normal[i, j] = _dot(rows[i], rows[j], rows[WEIGHT], n)


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
def look_from_outside(weight, distance, n, leverage, outer_distance, log_unit):
    """Set what a fit to the other matches says of each; leverages become logarithms."""
    for i in range(n):
        left = max(1 - weight[i] * leverage[i], _LEAST_LEFT)
        unit = 1 + leverage[i] / left
        outer_distance[i] = distance[i] / (left * math.sqrt(unit))
        log_unit[i] = math.log(unit)
        leverage[i] = math.log(max(leverage[i] / left, _LEAST_LEVERAGE))


@cpu_function(fastmath="reassociate")
def set_moments(weight, count, distance, x, n, sums):
    """Set sums over right matches of 1, d², x and x², and over wrong ones of 1, x and x².

    x is the logarithm of the leverage.
    """
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
    sums[0], sums[1], sums[2], sums[3] = r0, r1, r2, r3
    sums[4], sums[5], sums[6] = w0, w2, w3


@cpu_function
def weigh(count, distance, x, unit, n, constant, half_precision, m1, h1, m0, h0, weight):
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


@scalar
def noise_of_right(sum0, sum1):
    """Return the standard deviation of the noise for `set_moments`' first sums."""
    return max(math.sqrt(sum1 / sum0), _LEAST_NOISE)


@scalar
def is_settled(noise, before, share, last):
    """Return whether the noise and the ratio of wrong to right matches are the last's."""
    return abs(noise - before) <= _TOLERANCE * noise and abs(share - last) <= _TOLERANCE


@cpu_function
def mixture_of_moments(sums, far, noise, window):
    """Return what `weigh` needs of the mixture: a constant, and halves of precisions and means."""
    right, wrong = sums[0], sums[4]
    m1 = sums[2] / right
    v1 = max(sums[3] / right - m1 * m1, 0.0) + _LEAST_SPREAD
    n_wrong = wrong + far[0] + _DRAWN
    m0 = (sums[5] + far[1] + _DRAWN * m1) / n_wrong
    square = sums[6] + far[2] + _DRAWN * (v1 + m1 * m1)
    v0 = max(square / n_wrong - m0 * m0, 0.0) + _LEAST_SPREAD
    constant = (
        math.log(right / max(wrong, 0.5)) - math.log(noise / window) - _LOG_ROOT_HALF_PI
        + 0.5 * math.log(v0 / v1)
    )  # fmt: skip
    return constant, 0.5 / (noise * noise), m1, 0.5 / v1, m0, 0.5 / v0


@cpu_function
def _estimate_mixture(rows, n, far, noise, window, sums):
    """Set weights by expectation and maximisation; return the standard deviation of the noise."""
    weight, count = rows[WEIGHT], rows[COUNTS]
    distance, x, unit = rows[OUTER_DISTANCE], rows[LEVERAGE], rows[LOG_UNIT]
    last = 0.0
    for _ in range(MOST_PASSES):
        set_moments(weight, count, distance, x, n, sums)
        if not sums[0] > N_FREE:
            return 0.0
        before, noise = noise, noise_of_right(sums[0], sums[1])
        share = sums[4] / sums[0]
        if is_settled(noise, before, share, last):
            break
        last = share
        constant, half_precision, m1, h1, m0, h0 = mixture_of_moments(sums, far, noise, window)
        weigh(count, distance, x, unit, n, constant, half_precision, m1, h1, m0, h0, weight)
    return noise


@cpu_function
def set_descent(rows, n, descent):
    """Set the direction in which the weighted squares fall."""
    for i in range(N_FREE):
        descent[i] = -_dot(rows[i], rows[DISTANCE], rows[WEIGHT], n)


@cpu_function
def take_step(factor, descent, step, basis, F, scratch):
    """Move F by a Gauss-Newton step of the weighted squares; return twice what it should gain."""
    solve_cholesky(factor, descent, step)
    gain = 0.0
    for i in range(N_FREE):
        gain += descent[i] * step[i]
    move(F, basis, step, scratch)
    return gain


@cpu_function
def _climb(rows, n, normal, factor, basis, F, vectors, noise):
    """Make steps until they are short; return what they should gain by the first, NaN if one fails.

    ``vectors`` is scratch, five rows of nine numbers.
    """
    scratch, axes, descent, step = vectors[0], vectors[1:3], vectors[3], vectors[4]
    first = 0.0
    for k in range(MOST_STEPS):
        set_normal(rows, n, normal)
        if not factor_cholesky(normal, 0.0, factor):
            return np.nan
        set_descent(rows, n, descent)
        gain = take_step(factor, descent, step, basis, F, scratch)
        if not set_tangent_basis(F, scratch, axes, basis):
            return np.nan
        look(F, basis, rows, 0, n)
        if k == 0:
            first = gain
        if gain < LAST_STEP * noise * noise:
            break
    return first


@cpu_function
def gather(matches, counts, F, window, rows, chosen):
    """Copy the matches within a window of their epipolar lines; return how many they are."""
    f0, f1, f2, f3, f4, f5, f6, f7, f8 = F[0], F[1], F[2], F[3], F[4], F[5], F[6], F[7], F[8]
    n = 0
    for i in range(matches.shape[1]):
        a, b, c, d = matches[0, i], matches[1, i], matches[2, i], matches[3, i]
        error, u, v, p, q = sampson_terms(f0, f1, f2, f3, f4, f5, f6, f7, f8, a, b, c, d)
        square = u * u + v * v + p * p + q * q
        if counts[i] > 0 and error * error < window * window * square:
            rows[_MATCH, n], rows[_MATCH + 1, n] = a, b
            rows[_MATCH + 2, n], rows[_MATCH + 3, n] = c, d
            rows[COUNTS, n] = counts[i]
            chosen[n] = i
            n += 1
    return n


@scalar
def far_stride(n):
    """Return the distance of the matches that `gather_far` takes of n."""
    return 1 + n // _MOST_FAR


@cpu_function
def gather_far(matches, counts, F, window, rows, n):
    """Copy matches outside the window, moved onto their lines in image 2, to the columns from n on.

    That is where the wrong matches within the window come from. Return how many they are.
    """
    f0, f1, f2, f3, f4, f5, f6, f7, f8 = F[0], F[1], F[2], F[3], F[4], F[5], F[6], F[7], F[8]
    found = 0
    for i in range(matches.shape[1]):
        a, b, c, d = matches[0, i], matches[1, i], matches[2, i], matches[3, i]
        error, u, v, p, q = sampson_terms(f0, f1, f2, f3, f4, f5, f6, f7, f8, a, b, c, d)
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
def look(F, basis, rows, start, stop):
    """Set distances and derivatives of some columns."""
    columns = rows[:, start:stop]
    _linearise(
        F, basis, columns[_MATCH], columns[_MATCH + 1], columns[_MATCH + 2], columns[_MATCH + 3],
        stop - start, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5],
        columns[6], columns[DISTANCE],
    )  # fmt: skip


@cpu_function
def weigh_leverages(inverse, rows, start, stop):
    """Set the leverages of some columns."""
    columns = rows[:, start:stop]
    _leverages(
        inverse, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5],
        columns[6], stop - start, columns[LEVERAGE],
    )  # fmt: skip


@cpu_function
def sum_logarithms(rows, start, stop, sums):
    """Set the sums over wrong matches from far ones: their number, x and x², x a logarithm."""
    sums[0] = stop - start
    sums[1] = 0.0
    sums[2] = 0.0
    for i in range(start, stop):
        x = math.log(max(rows[LEVERAGE, i], _LEAST_LEVERAGE))
        sums[1] += x
        sums[2] += x * x


@cpu_function
def weigh_by_distance(rows, n, noise):
    """Set the weights as if the noise were known and nothing else told right from wrong."""
    for i in range(n):
        ratio = rows[DISTANCE, i] / noise
        rows[WEIGHT, i] = rows[COUNTS, i] * exp_of_negative(-0.5 * ratio * ratio)


@cpu_function
def tell(rows, n, chosen, probability):
    """Set the probabilities of all matches; return the sums of weights and weighted squares."""
    for i in range(probability.shape[0]):
        probability[i] = 0.0
    total, square = 0.0, 0.0
    for i in range(n):
        weight = rows[WEIGHT, i]
        probability[chosen[i]] = weight / rows[COUNTS, i]
        total += weight
        square += weight * rows[DISTANCE, i] * rows[DISTANCE, i]
    return total, square


@cpu_kernel(fastmath="contract")
def polish(matches, counts, F, noise, width, most_rounds, probability):
    """Refine F and estimate the noise and how probably matches are right; 0 if that fails.

    F, nine numbers of unit norm, changes in place. ``width`` is that of the window in standard
    deviations of the noise.
    """
    rows = np.empty((N_ROWS, matches.shape[1]))
    chosen = np.empty(matches.shape[1], np.int64)
    normal, factor = np.empty((N_FREE, N_FREE)), np.empty((N_FREE, N_FREE))
    inverse, basis = np.empty((N_FREE, N_FREE)), np.empty((N_FREE, 9))
    vectors, far, sums = np.empty((5, 9)), np.empty(3), np.empty(7)
    stride = far_stride(matches.shape[1])
    n = 0
    for _round in range(most_rounds):
        window = width * noise
        n = gather(matches, counts, F, window, rows, chosen)
        if n <= N_FREE or not set_tangent_basis(F, vectors[0], vectors[1:3], basis):
            return 0.0
        n_far = gather_far(matches[:, ::stride], counts[::stride], F, window, rows, n)
        look(F, basis, rows, 0, n + n_far)
        weigh_by_distance(rows, n, noise)
        set_normal(rows, n, normal)
        if not factor_cholesky(normal, 0.0, factor):
            return 0.0
        invert_lower(factor, inverse)
        weigh_leverages(inverse, rows, 0, n + n_far)
        sum_logarithms(rows, n, n + n_far, far)
        look_from_outside(
            rows[WEIGHT], rows[DISTANCE], n,
            rows[LEVERAGE], rows[OUTER_DISTANCE], rows[LOG_UNIT],
        )  # fmt: skip
        noise = _estimate_mixture(rows, n, far, noise, window, sums)
        if noise == 0.0:
            return 0.0
        first = _climb(rows, n, normal, factor, basis, F, vectors, noise)
        if math.isnan(first):
            return 0.0
        if first < LAST_STEP * noise * noise:
            break
    total, square = tell(rows, n, chosen, probability)
    return noise_of_right(total, square)
