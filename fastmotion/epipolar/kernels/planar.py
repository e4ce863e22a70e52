"""Hot loops of homographies: search by random samples of four matches, and refinement.

Matches are four rows x1 y1 x2 y2 of coordinates that the caller has centred in each image and
divided by one scale for both, so that Sampson distances scale with it.
"""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel
from fastmotion.epipolar.kernels.keeping import keep
from fastmotion.epipolar.kernels.planar_algebra import (
    COST,
    COUNT,
    EVERYTHING,
    FINE,
    FIRST_DAMPING,
    MAX_PASSES,
    MAX_ROUNDS,
    MIXTURE_TOLERANCE,
    N_SUMS,
    OF_GRADIENT,
    PLAIN_COST,
    ROUND_TOLERANCE,
    WEIGHT,
    WINDOW,
    draw_four,
    is_last_step,
    model_of_four,
    propose,
    reflect,
    set_axis,
    unfold_row,
)
from fastmotion.epipolar.kernels.planar_scalar import (
    LEAST_NOISE,
    differ_little,
    estimated_mixture,
    linearised_match,
    match_gain,
    planar_sampson,
    right_share,
    will_hardly_exceed,
)
from fastmotion.epipolar.kernels.ranks import least_of_rank

# Matches that are scored between two decisions whether to go on.
BLOCK = 64

# Rows of a block's scratch in `_linearise`: coordinates in image 1, corrected to obey the model,
# weights of the six pairs of rows of H in the normal matrix, and of its three rows in the gradient.
_METRIC, _GRADIENT, _N_ROWS = 2, 8, 11

_ZERO = np.float32(0)


@cpu_function(fastmath="reassociate")
def _gain_of_rows(h, x1, y1, x2, y2, n, inverse_limit):
    """Return the summed gain of n matches."""
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
    total = _ZERO
    for i in range(n):
        total += match_gain(
            h0, h1, h2, h3, h4, h5, h6, h7, h8, x1[i], y1[i], x2[i], y2[i], inverse_limit
        )
    return total


@cpu_function
def _gain(h, points, inverse_limit, floor):
    """Return the summed gain of a model, or 0 where it cannot, or will hardly, exceed the floor."""
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
        if will_hardly_exceed(gain, start, n - start, share, floor):
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
    n = matches.shape[1]
    inverse_limit = np.float32(1 / (threshold * threshold))
    sample = np.empty(4, np.int64)
    model = np.empty(9)
    single = np.empty(9, np.float32)
    last = gains.shape[0] - 1
    solved = 0
    for t in range(pools.shape[0]):
        draw_four(seed, first + np.uint64(t), pools[t], pools[t] < n, sample)
        if not model_of_four(matches, sample, model):
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
        draw_four(seed, first + np.uint64(t), matches.shape[1], False, sample)
        if model_of_four(matches, sample, models[n_models]):
            n_models += 1
    return n_models


@cpu_function(fastmath="reassociate")
def _linearise(h, x1, y1, x2, y2, weight, n, limit, scratch):
    """Fill scratch with what n matches add to the sums; return the last four of these."""
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
    x, y = scratch[0], scratch[1]
    m00, m01, m02, m11, m12, m22 = (
        scratch[2], scratch[3], scratch[4], scratch[5], scratch[6], scratch[7],
    )  # fmt: skip
    g0, g1, g2 = scratch[8], scratch[9], scratch[10]
    cost, plain_cost, count, total = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        (
            x[i], y[i], m00[i], m01[i], m02[i], m11[i], m12[i], m22[i], g0[i], g1[i], g2[i],
            of_cost, is_inlier, share,
        ) = linearised_match(
            h0, h1, h2, h3, h4, h5, h6, h7, h8, x1[i], y1[i], x2[i], y2[i], weight[i], limit
        )  # fmt: skip
        cost += weight[i] * of_cost
        plain_cost += of_cost
        count += is_inlier
        total += share
    return cost * limit, plain_cost * limit, count, total


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
    for k in range(N_SUMS):
        sums[k] = 0
    for start in range(0, n_matches, BLOCK):
        stop = min(start + BLOCK, n_matches)
        n = stop - start
        cost, plain_cost, count, total = _linearise(
            h, x1[start:stop], y1[start:stop], x2[start:stop], y2[start:stop], weight[start:stop],
            n, limit, scratch,
        )  # fmt: skip
        sums[COST] += cost
        sums[PLAIN_COST] += plain_cost
        sums[COUNT] += count
        sums[WEIGHT] += total
        for k in range(6):
            six = _six_sums(scratch[_METRIC + k], scratch[0], scratch[1], n)
            for m in range(6):
                sums[6 * k + m] += six[m]
        for k in range(3):
            three = _three_sums(scratch[_GRADIENT + k], scratch[0], scratch[1], n)
            for m in range(3):
                sums[OF_GRADIENT + 3 * k + m] += three[m]


@cpu_function
def _unfold(sums, normal, gradient):
    """Set the normal matrix and the gradient from the sums."""
    for i in range(9):
        gradient[i] = sums[OF_GRADIENT + i]
        unfold_row(sums, i, normal[i])


@cpu_function
def _unfold_on_tangent(h, sums, axis, normal, gradient):
    """Set the same in the frame of ``axis``, which is set too."""
    _unfold(sums, normal, gradient)
    set_axis(h, axis)
    for i in range(9):
        reflect(normal[i], axis)
    for j in range(9):
        reflect(normal[:, j], axis)
    reflect(gradient, axis)


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
    cost, plain_cost : float64
        The latter without weights.
    n_inliers : float64
        Matches nearer than the threshold.
    inlier_weight : float64
        The sum of their weights.
    """
    limit = threshold * threshold
    scratch = np.zeros((_N_ROWS, BLOCK))
    lower = np.zeros((9, 9))
    sums, trial_sums = np.empty(N_SUMS), np.empty(N_SUMS)
    trial, gradient, axis, step = np.empty(9), np.empty(9), np.empty(9), np.empty(9)
    damping = FIRST_DAMPING
    _sum_all(model, points, weight, limit, scratch, sums)
    _unfold_on_tangent(model, sums, axis, normal, gradient)
    for _ in range(max_steps):
        gain = propose(model, axis, normal, gradient, damping, lower, step, trial)
        if np.isnan(gain):
            damping *= 10
            continue
        _sum_all(trial, points, weight, limit, scratch, trial_sums)
        is_last = is_last_step(gain, sums[COUNT], sums[COST], tolerance)
        if trial_sums[COST] <= sums[COST]:
            for k in range(9):
                model[k] = trial[k]
            sums, trial_sums = trial_sums, sums
            _unfold_on_tangent(model, sums, axis, normal, gradient)
            damping *= 0.1
        else:
            damping *= 10
        if is_last:
            break
    _unfold(sums, normal, gradient)
    return sums[COST], sums[PLAIN_COST], sums[COUNT], sums[WEIGHT]


@cpu_kernel(fastmath="contract")
def refine_all(points, weight, threshold, max_steps, tolerance, models, normals, results):
    """Move homographies to minima of their costs.

    The arguments are those of `refine`, with models of shape (n_models, 9) and normal matrices of
    shape (n_models, 9, 9); ``results``, of shape (n_models, 4), becomes what that returns of each.
    """
    for k in range(models.shape[0]):
        results[k, 0], results[k, 1], results[k, 2], results[k, 3] = refine(
            points, weight, threshold, max_steps, tolerance, models[k], normals[k]
        )


@cpu_kernel(fastmath="contract")
def squared_distances(points, model, squares):
    """Set squares to the squared Sampson distances of matches, infinite where they are undefined.

    Parameters
    ----------
    points : float64 array of shape (4, n_matches)
        C-contiguous.
    model : float64 array of shape (9,)
    squares : float64 array of shape (n_matches,)
    """
    h0, h1, h2, h3, h4 = model[0], model[1], model[2], model[3], model[4]
    h5, h6, h7, h8 = model[5], model[6], model[7], model[8]
    x1, y1, x2, y2 = points[0], points[1], points[2], points[3]
    for i in range(points.shape[1]):
        square = planar_sampson(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1[i], y1[i], x2[i], y2[i])
        squares[i] = square if square >= 0 else np.inf


@cpu_function
def _gather_near(squares, weight, disc, near, counts, chosen):
    """Copy what belongs to the matches within a disc to the front; return how many they are."""
    n = 0
    for i in range(squares.shape[0]):
        if squares[i] < disc:
            near[n], counts[n], chosen[n] = squares[i], weight[i], i
            n += 1
    return n


@cpu_function
def _set_shares(near, n, half_precision, factor, below, share):
    """Set how probably matches are right."""
    for i in range(n):
        share[i] = right_share(near[i], half_precision, factor, below)


@cpu_function(fastmath="reassociate")
def _mixture_sums(near, counts, share, n):
    """Return how many matches are right, the sum of their squared distances, and of all counts."""
    n_right, squares, n_all = 0.0, 0.0, 0.0
    for i in range(n):
        right = counts[i] * share[i]
        n_right += right
        squares += right * near[i]
        n_all += counts[i]
    return n_right, squares, n_all


@cpu_kernel(fastmath="contract")
def tell_right(squares, weight, noise, probability):
    """Set how probably each match is right, and return the noise.

    Squared distances of right matches are the variance times a chi-squared variable with two
    degrees of freedom, those of wrong ones are uniform: they lie anywhere in the disc of a radius
    that is many times the noise. The mixture is estimated by expectation and maximisation
    (Dempster, Laird and Rubin 1977, "Maximum likelihood from incomplete data via the EM
    algorithm").

    Parameters
    ----------
    squares : float64 array of shape (n_matches,)
        Squared distances.
    weight : float64 array of shape (n_matches,)
        Of mean 1.
    noise : float64
        A guess of the standard deviation of a coordinate.
    probability : float64 array of shape (n_matches,)

    Returns
    -------
    float64
        Negative if too few matches seem right; probabilities are then what they were.
    """
    n_all = squares.shape[0]
    near, counts, share = np.empty(n_all), np.empty(n_all), np.empty(n_all)
    chosen = np.empty(n_all, np.int64)
    noise = max(noise, LEAST_NOISE)
    disc = (WINDOW * noise) * (WINDOW * noise)
    n = _gather_near(squares, weight, disc, near, counts, chosen)
    found, variance = -1.0, noise * noise
    _set_shares(near, n, 0.5 / variance, 1.0, 0.0, share)
    for _ in range(MAX_PASSES):
        before = variance
        n_right, of_right, n_near = _mixture_sums(near, counts, share, n)
        found, variance, half_precision, factor = estimated_mixture(n_right, of_right, n_near, disc)
        if found < 0:
            return found
        _set_shares(near, n, half_precision, factor, factor, share)
        if differ_little(variance, before, MIXTURE_TOLERANCE):
            break
    for i in range(n_all):
        probability[i] = 0.0
    for i in range(n):
        probability[chosen[i]] = share[i]
    return np.sqrt(found)


@cpu_kernel(fastmath="contract")
def polish(points, weight, noise, max_steps, model, normal):
    """Fit a homography to what is right among all matches.

    By turns, right and wrong matches are told apart by their distances, as by `tell_right`, and the
    model is fitted to each as probably as it is right.

    Parameters
    ----------
    points : float64 array of shape (4, n_matches)
        C-contiguous.
    weight : float64 array of shape (n_matches,)
        Of mean 1.
    noise : float64
        A guess of the standard deviation of a coordinate. Rather large: from a small one it is not
        found out that all matches near are right.
    max_steps : int
        Of `refine` at a time; 0 leaves the model as it is.
    model : float64 array of shape (9,)
        Of unit norm; changed in place.
    normal : float64 array of shape (9, 9)
        Becomes what it becomes in `refine`.

    Returns
    -------
    float64
        The noise; negative if too few matches seem right.
    """
    squares, right = np.empty(points.shape[1]), np.empty(points.shape[1])
    for _ in range(MAX_ROUNDS):
        before = noise
        squared_distances(points, model, squares)
        noise = tell_right(squares, weight, noise, right)
        if noise < 0:
            break
        for i in range(points.shape[1]):
            right[i] *= weight[i]
        refine(points, right, EVERYTHING, max_steps, FINE, model, normal)
        if differ_little(before, noise, ROUND_TOLERANCE):
            break
    return noise


@cpu_kernel(fastmath="contract")
def sampson_distances(points, model, distances):
    """Set distances to the Sampson distances of matches, in the unit of the coordinates.

    The arguments are those of `squared_distances`.
    """
    squared_distances(points, model, distances)
    for i in range(distances.shape[0]):
        distances[i] = np.sqrt(distances[i])


def least_median(models, points, rank):
    """Return the least of the models' squared distances of a rank, and which model has it.

    Parameters
    ----------
    models : float64 array of shape (n_models, 9)
    points : float64 array of shape (4, n_matches)
        C-contiguous.
    rank : int
        Counted from 0.

    Returns
    -------
    least : float
        Infinity if there is no finite one.
    which : int
    """
    squares = np.empty(points.shape[1])

    def squares_of(model):
        squared_distances(points, model, squares)
        return squares

    return least_of_rank(squares_of, models, rank)
