"""EM of one mixture as a whole, and which of its components to merge.

On few samples an iteration is so short that calls from Python would cost more than the work. So
maximisation is compiled here too, and a whole run is one call.

Components are weights, means less the centre, and covariances as full matrices, which are diagonal
where their kind is. Kinds are the indices of `fastmotion.em.gaussians.COVARIANCE_TYPES`.
"""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel
from fastmotion.em.kernels.cpu import (
    BLOCK,
    densities_diag,
    densities_full,
    load_block,
    split_sums,
    statistics_diag,
    statistics_full,
)
from fastmotion.em.kernels.factors import factorise, invert
from fastmotion.em.kernels.layout import HEAD
from fastmotion.em.kernels.scalar import HALF_LOG_2_PI, exp_of_negative
from fastmotion.mixture.kernels.scalar import loss_of_merger

TIED = np.int64(1)
DIAG = np.int64(2)
SPHERICAL = np.int64(3)

_LEAST_WEIGHT = np.float64(1e-300)
# Merges that are tried on the data, of those that look best from the components alone.
_N_TRIALS = np.int64(5)


@cpu_function
def _lay_out_full(weights, means, covariances, lower, padded_means, factors, constants):
    """Set what `statistics_full` reads."""
    n_features = means.shape[1]
    for k in range(weights.shape[0]):
        half, _ = factorise(covariances[k], lower)
        invert(lower, factors[k])
        for j in range(n_features):
            padded_means[k, j] = means[k, j]
        log_weight = np.log(max(weights[k], _LEAST_WEIGHT))
        constants[k] = log_weight - half - n_features * HALF_LOG_2_PI


@cpu_function
def _lay_out_diag(weights, means, covariances, scaled_means, inverse_deviations, constants):
    """Set what `statistics_diag` reads."""
    n_features = means.shape[1]
    for k in range(weights.shape[0]):
        half = 0.0
        for j in range(n_features):
            inverse_deviations[k, j] = 1 / np.sqrt(covariances[k, j, j])
            scaled_means[k, j] = means[k, j] * inverse_deviations[k, j]
            half -= np.log(inverse_deviations[k, j])
        log_weight = np.log(max(weights[k], _LEAST_WEIGHT))
        constants[k] = log_weight - half - n_features * HALF_LOG_2_PI


@cpu_function
def _restrict(kind, covariance):
    """Make a covariance one of its kind, apart from other components."""
    if kind < DIAG:
        return
    n_features = covariance.shape[0]
    mean = 0.0
    for i in range(n_features):
        mean += covariance[i, i] / n_features
        for j in range(n_features):
            if i != j:
                covariance[i, j] = 0
    if kind == SPHERICAL:
        for i in range(n_features):
            covariance[i, i] = mean


@cpu_function
def _tie(weights, covariances):
    """Set all covariances to their mean."""
    for i in range(covariances.shape[1]):
        for j in range(covariances.shape[1]):
            mean = 0.0
            for k in range(weights.shape[0]):
                mean += weights[k] * covariances[k, i, j]
            for k in range(weights.shape[0]):
                covariances[k, i, j] = mean


@cpu_function
def _maximise_full(total, floor, counts, first, second, weights, means, covariances):
    """Set components to the best for sums about their means."""
    n_features = means.shape[1]
    for k in range(weights.shape[0]):
        weights[k] = counts[k] / total
        if weights[k] < _LEAST_WEIGHT:
            continue  # nobody's: it stays where it was
        for i in range(n_features):
            step = first[k, i] / counts[k]
            for j in range(i + 1):
                value = (second[k, i, j] - step * first[k, j]) / counts[k]
                covariances[k, i, j] = value
                covariances[k, j, i] = value
            covariances[k, i, i] = max(covariances[k, i, i], 0.0) + floor[i]
        for i in range(n_features):
            means[k, i] += first[k, i] / counts[k]


@cpu_function
def _maximise_diag(total, floor, counts, first, second, weights, means, covariances):
    """Set components of independent features to the best for sums about the centre."""
    for k in range(weights.shape[0]):
        weights[k] = counts[k] / total
        if weights[k] < _LEAST_WEIGHT:
            continue
        for i in range(means.shape[1]):
            means[k, i] = first[k, i] / counts[k]
            variance = second[k, i] / counts[k] - means[k, i] * means[k, i]
            covariances[k, i, i] = max(variance, 0.0) + floor[i]


@cpu_kernel(fastmath="contract")
def climb_full(X, sample_weight, centre, kind, floor, weights, means, covariances, tol, max_iter):
    """Improve a mixture of full or tied covariances, in place, by EM; return its log-likelihood.

    Parameters
    ----------
    X : float64 array of shape (n, n_features)
    sample_weight : float64 array of shape (n,)
    centre : float64 array of shape (n_features,)
    kind : int
    floor : float64 array of shape (n_features,)
        Added to variances.
    weights, means, covariances : float64 arrays
        Of shapes (n_components,), (n_components, n_features) and (n_components, n_features,
        n_features).
    tol : float
        EM ends when the log-likelihood grows by less in an iteration.
    max_iter : int
    """
    n_components, n_features = means.shape
    width = -(-n_features // 4) * 4
    padded = n_components + n_components % 2
    total = 0.0
    for b in range(X.shape[0]):
        total += sample_weight[b]
    lower = np.zeros((n_features, n_features))
    padded_means = np.zeros((n_components, width))
    factors = np.zeros((n_components, width, width))
    constants = np.zeros(n_components)
    sums = np.zeros(HEAD + padded * (1 + width) + n_components * width * width)
    counts, first, rest = split_sums(sums, n_components, width)
    second = rest.reshape((n_components, width, width))
    before = -np.inf
    n_iter = 0
    while True:
        _lay_out_full(weights, means, covariances, lower, padded_means, factors, constants)
        sums[:] = 0
        statistics_full(X, sample_weight, centre, padded_means, factors, constants, sums)
        log_likelihood = sums[0]
        if n_iter >= max_iter or log_likelihood - before < tol:
            return log_likelihood
        before = log_likelihood
        n_iter += 1
        _maximise_full(total, floor, counts, first, second, weights, means, covariances)
        if kind == TIED:
            _tie(weights, covariances)


@cpu_kernel(fastmath="contract")
def climb_diag(X, sample_weight, centre, kind, floor, weights, means, covariances, tol, max_iter):
    """As `climb_full`, for diagonal or spherical covariances."""
    n_components, n_features = means.shape
    width = -(-n_features // 4) * 4
    padded = n_components + n_components % 2
    total = 0.0
    for b in range(X.shape[0]):
        total += sample_weight[b]
    scaled_means = np.zeros((n_components, width))
    inverse_deviations = np.zeros((n_components, width))
    constants = np.zeros(n_components)
    sums = np.zeros(HEAD + padded * (1 + 2 * width))
    counts, first, rest = split_sums(sums, n_components, width)
    second = rest.reshape(first.shape)
    before = -np.inf
    n_iter = 0
    while True:
        _lay_out_diag(weights, means, covariances, scaled_means, inverse_deviations, constants)
        sums[:] = 0
        statistics_diag(X, sample_weight, centre, scaled_means, inverse_deviations, constants, sums)
        log_likelihood = sums[0]
        if n_iter >= max_iter or log_likelihood - before < tol:
            return log_likelihood
        before = log_likelihood
        n_iter += 1
        _maximise_diag(total, floor, counts, first, second, weights, means, covariances)
        for k in range(n_components):
            _restrict(kind, covariances[k])


@cpu_kernel(fastmath="contract")
def lay_out_full(weights, means, covariances):
    """Return what `statistics_full` reads of components: means, factors and constants."""
    n_components, n_features = means.shape
    width = -(-n_features // 4) * 4
    lower = np.zeros((n_features, n_features))
    padded_means = np.zeros((n_components, width))
    factors = np.zeros((n_components, width, width))
    constants = np.zeros(n_components)
    _lay_out_full(weights, means, covariances, lower, padded_means, factors, constants)
    return padded_means, factors, constants


@cpu_kernel(fastmath="contract")
def lay_out_diag(weights, means, covariances):
    """As `lay_out_full`, for `statistics_diag`: scaled means, inverse deviations, constants."""
    n_components, n_features = means.shape
    width = -(-n_features // 4) * 4
    scaled_means = np.zeros((n_components, width))
    inverse_deviations = np.zeros((n_components, width))
    constants = np.zeros(n_components)
    _lay_out_diag(weights, means, covariances, scaled_means, inverse_deviations, constants)
    return scaled_means, inverse_deviations, constants


@cpu_kernel(fastmath="contract")
def maximise(kind, floor, sums, weights, means, covariances):
    """Set components to the best for sums, as `climb_full` and `climb_diag` do."""
    n_components, n_features = means.shape
    width = -(-n_features // 4) * 4
    counts, first, rest = split_sums(sums, n_components, width)
    total = 0.0
    for k in range(n_components):
        total += counts[k]
    if kind >= DIAG:
        second = rest.reshape(first.shape)
        _maximise_diag(total, floor, counts, first, second, weights, means, covariances)
        for k in range(n_components):
            _restrict(kind, covariances[k])
    else:
        matrices = rest.reshape((n_components, width, width))
        _maximise_full(total, floor, counts, first, matrices, weights, means, covariances)
    if kind == TIED:
        _tie(weights, covariances)


@cpu_function
def _merge(kind, weights, means, covariances, a, b, mean, covariance):
    """Set mean and covariance to those of two components together; return their weight."""
    n_features = means.shape[1]
    weight = weights[a] + weights[b]
    share_a = weights[a] / weight if weight > 0 else 0.5
    share_b = 1 - share_a
    for i in range(n_features):
        mean[i] = share_a * means[a, i] + share_b * means[b, i]
        for j in range(n_features):
            apart = (means[a, i] - means[b, i]) * (means[a, j] - means[b, j])
            within = share_a * covariances[a, i, j] + share_b * covariances[b, i, j]
            covariance[i, j] = within + share_a * share_b * apart
    _restrict(kind, covariance)
    return weight


@cpu_function
def _shortlist(kind, weights, means, covariances, mean, covariance, lower, pairs):
    """Set pairs to the pairs of components whose merger looks best; return how many there are.

    The measure is how much less the bound that EM raises gets if no sample is in doubt between the
    two. It costs no pass over data, and is never more than the loss that the bound then shows.
    """
    n_components = weights.shape[0]
    halves = np.zeros(n_components)
    for k in range(n_components):
        halves[k], _ = factorise(covariances[k], lower)
    least = np.full(pairs.shape[0], np.inf)
    n_pairs = 0
    for a in range(1, n_components):
        for b in range(a):
            weight = _merge(kind, weights, means, covariances, a, b, mean, covariance)
            half, _ = factorise(covariance, lower)
            loss = weight * half
            loss -= weights[a] * halves[a] + weights[b] * halves[b]
            for k in (a, b):
                if weights[k] > 0:
                    loss += weights[k] * np.log(weights[k] / weight)
            place = pairs.shape[0]
            while place > 0 and loss < least[place - 1]:
                place -= 1
            if place == pairs.shape[0]:
                continue
            for i in range(pairs.shape[0] - 1, place, -1):
                least[i] = least[i - 1]
                pairs[i, 0] = pairs[i - 1, 0]
                pairs[i, 1] = pairs[i - 1, 1]
            least[place] = loss
            pairs[place, 0] = b
            pairs[place, 1] = a
            n_pairs = min(n_pairs + 1, pairs.shape[0])
    return n_pairs


@cpu_function
def _relative_densities(log_p, top, total):
    """Turn log densities, in place, into densities over the largest; total becomes their sum."""
    for b in range(BLOCK):
        top[b] = log_p[0, b]
        total[b] = 0
    for k in range(1, log_p.shape[0]):
        q = log_p[k]
        for b in range(BLOCK):
            top[b] = max(top[b], q[b])
    for k in range(log_p.shape[0]):
        q = log_p[k]
        for b in range(BLOCK):
            p = exp_of_negative(q[b] - top[b])
            q[b] = p
            total[b] += p


@cpu_function
def _sum_losses(p_a, p_b, log_merged, top, total, sample_weight, start, n):
    """Return by how much less the log-likelihood of a block is with two components merged."""
    loss = 0.0
    for b in range(n):
        change = loss_of_merger(p_a[b], p_b[b], log_merged[b] - top[b], total[b])
        loss += sample_weight[start + b] * change
    return loss


@cpu_function
def _copy(weights, means, covariances, all_weights, all_means, all_covariances):
    """Copy components to the first rows of larger arrays."""
    for k in range(weights.shape[0]):
        all_weights[k] = weights[k]
        for i in range(means.shape[1]):
            all_means[k, i] = means[k, i]
            for j in range(means.shape[1]):
                all_covariances[k, i, j] = covariances[k, i, j]


@cpu_kernel(fastmath="contract")
def propose_mergers(kind, weights, means, covariances):
    """Return the pairs of components whose mergers look best, and mixtures with the mergers.

    Parameters
    ----------
    kind, weights, means, covariances
        As of `climb_full`.

    Returns
    -------
    pairs : int64 array of shape (n_pairs, 2)
    weights, means, covariances : float64 arrays
        Of the components, and after them of the mergers.
    """
    n_components, n_features = means.shape
    lower = np.zeros((n_features, n_features))
    mean = np.zeros(n_features)
    covariance = np.zeros((n_features, n_features))
    pairs = np.zeros((_N_TRIALS, 2), np.int64)
    n_pairs = _shortlist(kind, weights, means, covariances, mean, covariance, lower, pairs)
    n_all = n_components + n_pairs
    all_weights = np.zeros(n_all)
    all_means = np.zeros((n_all, n_features))
    all_covariances = np.zeros((n_all, n_features, n_features))
    _copy(weights, means, covariances, all_weights, all_means, all_covariances)
    for i in range(n_pairs):
        k = n_components + i
        all_weights[k] = _merge(
            kind, weights, means, covariances, pairs[i, 0], pairs[i, 1],
            all_means[k], all_covariances[k],
        )  # fmt: skip
    return pairs[:n_pairs], all_weights, all_means, all_covariances


@cpu_kernel(fastmath="contract")
def losses_of_mergers(X, sample_weight, centre, kind, pairs, weights, means, covariances):
    """Return by how much less the log-likelihood of samples is with each of some mergers.

    Parameters
    ----------
    X, sample_weight, centre, kind
        As of `climb_full`.
    pairs, weights, means, covariances
        As from `propose_mergers`.

    Returns
    -------
    float64 array of shape (n_pairs,)
    """
    n_samples, n_features = X.shape
    n_all = weights.shape[0]
    n_pairs = pairs.shape[0]
    n_components = n_all - n_pairs
    width = -(-n_features // 4) * 4
    n_full = 0 if kind >= DIAG else n_all
    lower = np.zeros((n_features, n_features))
    laid_means = np.zeros((n_all, width))
    factors = np.zeros((n_full, width, width))
    inverse_deviations = np.zeros((n_all - n_full, width))
    constants = np.zeros(n_all)
    if kind >= DIAG:
        _lay_out_diag(weights, means, covariances, laid_means, inverse_deviations, constants)
    else:
        _lay_out_full(weights, means, covariances, lower, laid_means, factors, constants)
    x = np.zeros((width, BLOCK))
    d = np.zeros((width, BLOCK))
    y = np.zeros((2, BLOCK))
    log_p = np.zeros((n_all, BLOCK))
    top = np.zeros(BLOCK)
    total = np.zeros(BLOCK)
    losses = np.zeros(n_pairs)
    for start in range(0, n_samples, BLOCK):
        n = min(BLOCK, n_samples - start)
        load_block(X, start, n, centre, x)
        if kind >= DIAG:
            densities_diag(x, laid_means, inverse_deviations, constants, n_features, log_p)
        else:
            densities_full(x, laid_means, factors, constants, n_features, d, y, log_p)
        _relative_densities(log_p[:n_components], top, total)
        for i in range(n_pairs):
            losses[i] += _sum_losses(
                log_p[pairs[i, 0]], log_p[pairs[i, 1]], log_p[n_components + i],
                top, total, sample_weight, start, n,
            )  # fmt: skip
    return losses
