"""Hot loops of homographies: search by random samples of four matches, and refinement.

Matches are four rows x1 y1 x2 y2 of coordinates that the caller has centred in each image and
divided by one scale for both, so that Sampson distances scale with it.
"""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel
from fastmotion.core.random import philox
from fastmotion.epipolar.kernels.keeping import keep
from fastmotion.epipolar.kernels.planar_scalar import (
    between_origins,
    four_point_homography,
    planar_determinant,
    planar_residual,
    planar_sampson,
    same_orientation,
    triple_areas,
)

# Matches that are scored between two decisions whether to go on.
BLOCK = 64

# A model is dropped when it has gained so many standard deviations less than one as good as the
# best kept: of a thousand such models one or two are lost.
_DEVIATIONS = np.float64(3.0)

_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)

# Rows of a block's scratch in `_linearise`: coordinates in image 1, corrected to obey the model,
# weights of the six pairs of rows of H in the normal matrix, and of its three rows in the gradient.
_METRIC, _GRADIENT, _N_ROWS = 2, 8, 11

# Sums over matches: six products of coordinates for each pair of rows of H, three coordinates for
# each row, the cost, the number of inliers and their weight.
_OF_GRADIENT, _COST, _COUNT, _WEIGHT, _N_SUMS = 36, 45, 46, 47, 48

# Which of the six pairs of rows, and of the six products xx xy x yy y 1, stands at each place.
_PAIRS = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])

_FIRST_DAMPING = np.float64(1e-3)
_LEAST_PIVOT = np.float64(1e-14)
_ONE = np.float32(1)


@cpu_function
def _draw_four(seed, trial, pool, must_hold_last, sample):
    """Set sample to four different numbers below pool, in order; the last may be prescribed."""
    words = philox(
        np.uint64(0), np.uint64(0), trial & _LOW_32, trial >> _SHIFT_32,
        seed & _LOW_32, seed >> _SHIFT_32,
    )  # fmt: skip
    drawn = 3 if must_hold_last else 4
    rest = pool - 4 + drawn
    sample[3] = rest
    for k in range(drawn):
        # Of the numbers that are left, the one of a random rank.
        number = np.int64((words[k] * np.uint64(rest - k)) >> _SHIFT_32)
        place = 0
        while place < k and sample[place] <= number:
            number += 1
            place += 1
        for other in range(k, place, -1):
            sample[other] = sample[other - 1]
        sample[place] = number


@cpu_function
def _model_of_four(points, sample, model):
    """Set model, of unit norm, to the homography of four matches; return whether there is one."""
    a, b, c, o = sample[0], sample[1], sample[2], sample[3]
    x1, y1, x2, y2 = points[0, o], points[1, o], points[2, o], points[3, o]
    xa, ya, ua, va = points[0, a] - x1, points[1, a] - y1, points[2, a] - x2, points[3, a] - y2
    xb, yb, ub, vb = points[0, b] - x1, points[1, b] - y1, points[2, b] - x2, points[3, b] - y2
    xc, yc, uc, vc = points[0, c] - x1, points[1, c] - y1, points[2, c] - x2, points[3, c] - y2
    a1, b1, c1, abc1 = triple_areas(xa, ya, xb, yb, xc, yc)
    a2, b2, c2, abc2 = triple_areas(ua, va, ub, vb, uc, vc)
    if not same_orientation(a1, b1, c1, abc1, a2, b2, c2, abc2):
        return False
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = four_point_homography(
        xa, ya, xb, yb, xc, yc, a1, b1, c1, ua, va, ub, vb, uc, vc, a2, b2, c2
    )  # fmt: skip
    h = between_origins(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2)
    square = 0.0
    for k in range(9):
        square += h[k] * h[k]
    if not 0 < square < np.inf:
        return False
    share = 1 / np.sqrt(square)
    for k in range(9):
        model[k] = share * h[k]
    return True


@cpu_function(fastmath="reassociate")
def _gain_of_rows(h, x1, y1, x2, y2, n, inverse_limit):
    """Return the summed gain of n matches."""
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
    total = np.float32(0)
    for i in range(n):
        square = planar_sampson(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1[i], y1[i], x2[i], y2[i])
        gain = _ONE - inverse_limit * square
        total += gain if gain > 0 else np.float32(0)
    return total


@cpu_function
def _gain(h, points, inverse_limit, floor):
    """Return the summed gain of a model, or 0 where it cannot, or will hardly, exceed the floor.

    It hardly will when in the first matches, which lie in random order, it has gained less than
    its share by several standard deviations. A gain between 0 and 1 varies no more than a coin.
    """
    x1, y1, x2, y2 = points[0], points[1], points[2], points[3]
    n = points.shape[1]
    share = floor / n
    gain = 0.0
    start = 0
    while n - start >= BLOCK:
        stop = start + BLOCK
        gain += _gain_of_rows(
            h, x1[start:stop], y1[start:stop], x2[start:stop], y2[start:stop], BLOCK, inverse_limit
        )
        start = stop
        lack = start * share - gain
        spread = start * share * (1 - share)
        if gain + (n - start) <= floor or (
            lack > 0 and lack * lack > _DEVIATIONS * _DEVIATIONS * spread
        ):
            return 0.0
    return gain + _gain_of_rows(
        h, x1[start:], y1[start:], x2[start:], y2[start:], n - start, inverse_limit
    )


@cpu_kernel(fastmath="contract")
def search(matches, points, pools, seed, first, threshold, models, gains):
    """Try homographies of random samples of four matches and keep the best.

    The gain of a model is the sum over matches of max(0, 1 - d² / threshold²), d the Sampson
    distance (MSAC: Torr and Zisserman 2000, "MLESAC", equation 9). A trial depends on the seed and
    on its number alone.

    Parameters
    ----------
    matches : float64 array of shape (4, n_matches)
        At least four, C-contiguous; those to draw from first come first.
    points : float32 array of shape (4, n_matches)
        The same in random order.
    pools : int64 array of shape (n_trials,)
        From how many matches each trial draws. From less than all it draws the last of them and
        three others (PROSAC).
    seed : uint64
    first : uint64
        Number of the first trial.
    threshold : float64
        Distance of an inlier, in the unit of the coordinates.
    models : float64 array of shape (n_kept, 9)
    gains : float64 array of shape (n_kept,)
        Models of more gain than the last take their places, the best first.

    Returns
    -------
    int
        Trials whose sample had a homography that a camera can see.
    """
    n = points.shape[1]
    inverse_limit = np.float32(1 / (threshold * threshold))
    sample = np.empty(4, np.int64)
    model = np.empty(9)
    single = np.empty(9, np.float32)
    last = gains.shape[0] - 1
    solved = 0
    for t in range(pools.shape[0]):
        _draw_four(seed, first + np.uint64(t), pools[t], pools[t] < n, sample)
        if not _model_of_four(matches, sample, model):
            continue
        solved += 1
        for k in range(9):
            single[k] = model[k]
        gain = _gain(single, points, inverse_limit, gains[last])
        if gain > gains[last]:
            keep(model, gain, models, gains)
    return solved


@cpu_kernel(fastmath="contract")
def sample_models(matches, seed, first, models):
    """Set models to those of as many trials, uniform ones, as far as their samples have one.

    Parameters
    ----------
    matches : float64 array of shape (4, n_matches)
    seed : uint64
    first : uint64
    models : float64 array of shape (n_trials, 9)

    Returns
    -------
    int
        How many models there are; they come first.
    """
    sample = np.empty(4, np.int64)
    n_models = 0
    for t in range(models.shape[0]):
        _draw_four(seed, first + np.uint64(t), matches.shape[1], False, sample)
        if _model_of_four(matches, sample, models[n_models]):
            n_models += 1
    return n_models


@cpu_function(fastmath="reassociate")
def _linearise(h, x1, y1, x2, y2, weight, n, limit, scratch):
    """Fill scratch with what n matches add to the sums; return cost, inliers and their weight.

    The derivatives of a residual whitened by (J Jᵀ)^-1/2 are those of the algebraic error at the
    corrected match, which obeys the model to first order: this takes in how J depends on H.
    """
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
    x, y = scratch[0], scratch[1]
    m00, m01, m02, m11, m12, m22 = (
        scratch[2], scratch[3], scratch[4], scratch[5], scratch[6], scratch[7],
    )  # fmt: skip
    g0, g1, g2 = scratch[8], scratch[9], scratch[10]
    cost, count, total = 0.0, 0.0, 0.0
    for i in range(n):
        e1, e2, a, b, c, d, w = planar_residual(
            h0, h1, h2, h3, h4, h5, h6, h7, h8, x1[i], y1[i], x2[i], y2[i]
        )  # fmt: skip
        square = w * w
        inverse = 1 / planar_determinant(a, b, c, d, square)
        s11 = (c * c + d * d + square) * inverse
        s12 = -(a * c + b * d) * inverse
        s22 = (a * a + b * b + square) * inverse
        v1 = s11 * e1 + s12 * e2
        v2 = s12 * e1 + s22 * e2
        # Not e1 v1 + e2 v2, which rounding may make negative.
        along, across = e1 * c - e2 * a, e1 * d - e2 * b
        distance = (along * along + across * across + square * (e1 * e1 + e2 * e2)) * inverse
        is_inlier = distance < limit
        # What is no inlier may be infinite, and zero times infinity is not zero.
        v1, v2 = v1 if is_inlier else 0.0, v2 if is_inlier else 0.0
        share = weight[i] if is_inlier else 0.0
        cost += weight[i] * (distance / limit if is_inlier else 1.0)
        count += 1.0 if is_inlier else 0.0
        total += weight[i] if is_inlier else 0.0
        u, v = x2[i] + w * v1, y2[i] + w * v2
        x[i] = x1[i] - (a * v1 + c * v2)
        y[i] = y1[i] - (b * v1 + d * v2)
        p00, p01 = share * s11 if is_inlier else 0.0, share * s12 if is_inlier else 0.0
        p11 = share * s22 if is_inlier else 0.0
        p02, p12 = -(u * p00 + v * p01), -(u * p01 + v * p11)
        m00[i], m01[i], m02[i], m11[i], m12[i] = p00, p01, p02, p11, p12
        m22[i] = -(u * p02 + v * p12)
        g0[i], g1[i] = share * v1, share * v2
        g2[i] = -share * (u * v1 + v * v2)
    return cost * limit, count, total


@cpu_function(fastmath="reassociate")
def _six_sums(weight, x, y, n):
    """Return the weighted sums of xx, xy, x, yy, y and 1."""
    sum_xx, sum_xy, sum_x, sum_yy, sum_y, total = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        wx, wy = weight[i] * x[i], weight[i] * y[i]
        sum_xx += wx * x[i]
        sum_xy += wx * y[i]
        sum_x += wx
        sum_yy += wy * y[i]
        sum_y += wy
        total += weight[i]
    return sum_xx, sum_xy, sum_x, sum_yy, sum_y, total


@cpu_function(fastmath="reassociate")
def _three_sums(weight, x, y, n):
    """Return the weighted sums of x, y and 1."""
    sum_x, sum_y, total = 0.0, 0.0, 0.0
    for i in range(n):
        sum_x += weight[i] * x[i]
        sum_y += weight[i] * y[i]
        total += weight[i]
    return sum_x, sum_y, total


@cpu_function
def _sum_all(h, points, weight, limit, scratch, sums):
    """Set sums to those over all matches for a model."""
    x1, y1, x2, y2 = points[0], points[1], points[2], points[3]
    n_matches = points.shape[1]
    for k in range(_N_SUMS):
        sums[k] = 0
    for start in range(0, n_matches, BLOCK):
        stop = min(start + BLOCK, n_matches)
        n = stop - start
        cost, count, total = _linearise(
            h, x1[start:stop], y1[start:stop], x2[start:stop], y2[start:stop], weight[start:stop],
            n, limit, scratch,
        )  # fmt: skip
        sums[_COST] += cost
        sums[_COUNT] += count
        sums[_WEIGHT] += total
        for k in range(6):
            six = _six_sums(scratch[_METRIC + k], scratch[0], scratch[1], n)
            for m in range(6):
                sums[6 * k + m] += six[m]
        for k in range(3):
            three = _three_sums(scratch[_GRADIENT + k], scratch[0], scratch[1], n)
            for m in range(3):
                sums[_OF_GRADIENT + 3 * k + m] += three[m]


@cpu_function
def _reflect(vector, axis):
    """Reflect a vector at the plane that a unit vector is normal to."""
    product = 0.0
    for k in range(9):
        product += axis[k] * vector[k]
    for k in range(9):
        vector[k] -= 2 * product * axis[k]


@cpu_function
def _unfold(sums, normal, gradient):
    """Set the normal matrix and the gradient from the sums."""
    for i in range(9):
        gradient[i] = sums[_OF_GRADIENT + i]
        for j in range(9):
            normal[i, j] = sums[6 * _PAIRS[i // 3, j // 3] + _PAIRS[i % 3, j % 3]]


@cpu_function
def _to_tangent(h, axis, normal, gradient):
    """Turn the normal matrix and the gradient into a frame whose first axis is h.

    The other eight span the tangent space of models of unit norm. The frame is Householder's
    reflection along `axis`.
    """
    square = 0.0
    for k in range(9):
        axis[k] = h[k]
    axis[0] += 1.0 if h[0] >= 0 else -1.0
    for k in range(9):
        square += axis[k] * axis[k]
    share = 1 / np.sqrt(square)
    for k in range(9):
        axis[k] *= share
    for i in range(9):
        _reflect(normal[i], axis)
    for j in range(9):
        _reflect(normal[:, j], axis)
    _reflect(gradient, axis)


@cpu_function
def _solve_tangent(normal, gradient, damping, lower, step):
    """Set the last eight numbers of step to the damped one; return whether there is one."""
    step[0] = 0
    for i in range(1, 9):
        for j in range(1, i):
            value = normal[i, j]
            for k in range(1, j):
                value -= lower[i, k] * lower[j, k]
            lower[i, j] = value / lower[j, j]
        pivot = (1 + damping) * normal[i, i]
        value = -gradient[i]
        for k in range(1, i):
            pivot -= lower[i, k] * lower[i, k]
            value -= lower[i, k] * step[k]
        if not pivot > _LEAST_PIVOT * normal[i, i]:
            return False
        lower[i, i] = np.sqrt(pivot)
        step[i] = value / lower[i, i]
    for i in range(8, 0, -1):
        for k in range(i + 1, 9):
            step[i] -= lower[k, i] * step[k]
        step[i] /= lower[i, i]
    return True


@cpu_function
def _move(h, step, trial):
    """Set trial to h and a step, of unit norm."""
    square = 0.0
    for k in range(9):
        trial[k] = h[k] + step[k]
        square += trial[k] * trial[k]
    share = 1 / np.sqrt(square)
    for k in range(9):
        trial[k] *= share


@cpu_kernel(fastmath="contract")
def refine(points, weight, threshold, max_steps, tolerance, model, normal):
    """Move a homography to a minimum of its cost, by the method of Levenberg and Marquardt.

    The cost of a match is its weight times its squared Sampson distance, at most threshold².

    Parameters
    ----------
    points : float64 array of shape (4, n_matches)
        C-contiguous.
    weight : float64 array of shape (n_matches,)
        Not negative.
    threshold : float64
    max_steps : int
        0 evaluates the model as it is.
    tolerance : float64
        A step is the last when it brings parameters nearer to the minimum by less than about this
        share of their standard deviation.
    model : float64 array of shape (9,)
        Of unit norm; changed in place.
    normal : float64 array of shape (9, 9)
        Becomes the sum of weighted products of the derivatives of whitened residuals. On the
        tangent space, which is orthogonal to the model, it is the information on the model for
        noise of unit variance.

    Returns
    -------
    cost : float64
    n_inliers : float64
        Matches nearer than the threshold.
    inlier_weight : float64
        The sum of their weights.
    """
    limit = threshold * threshold
    scratch = np.zeros((_N_ROWS, BLOCK))
    lower = np.zeros((9, 9))
    sums, trial_sums = np.empty(_N_SUMS), np.empty(_N_SUMS)
    trial, gradient, axis, step = np.empty(9), np.empty(9), np.empty(9), np.empty(9)
    damping = _FIRST_DAMPING
    _sum_all(model, points, weight, limit, scratch, sums)
    _unfold(sums, normal, gradient)
    _to_tangent(model, axis, normal, gradient)
    for _ in range(max_steps):
        if not _solve_tangent(normal, gradient, damping, lower, step):
            damping *= 10
            continue
        gain = 0.0
        for k in range(1, 9):
            gain -= gradient[k] * step[k]
        _reflect(step, axis)
        _move(model, step, trial)
        _sum_all(trial, points, weight, limit, scratch, trial_sums)
        is_last = gain * sums[_COUNT] <= tolerance * tolerance * sums[_COST]
        if trial_sums[_COST] <= sums[_COST]:
            for k in range(9):
                model[k] = trial[k]
            sums, trial_sums = trial_sums, sums
            _unfold(sums, normal, gradient)
            _to_tangent(model, axis, normal, gradient)
            damping *= 0.1
        else:
            damping *= 10
        if is_last:
            break
    _unfold(sums, normal, gradient)
    return sums[_COST], sums[_COUNT], sums[_WEIGHT]


@cpu_kernel(fastmath="contract")
def sampson_distances(points, model, distances):
    """Set distances to the Sampson distances of matches, in the unit of the coordinates.

    Parameters
    ----------
    points : float64 array of shape (4, n_matches)
        C-contiguous.
    model : float64 array of shape (9,)
    distances : float64 array of shape (n_matches,)
        Infinite where the model leaves a match undefined.
    """
    h0, h1, h2, h3, h4 = model[0], model[1], model[2], model[3], model[4]
    h5, h6, h7, h8 = model[5], model[6], model[7], model[8]
    x1, y1, x2, y2 = points[0], points[1], points[2], points[3]
    for i in range(points.shape[1]):
        square = planar_sampson(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1[i], y1[i], x2[i], y2[i])
        distances[i] = np.sqrt(square) if square >= 0 else np.inf
