"""Rows with missing values, where few rows miss the same features: functions, and CPU kernels.

Rows are sorted by what they miss; each such pattern has its own factors of the covariances. What
is done here for one row after the other, `fastmotion.em.passes` does side by side for many.
"""

from __future__ import annotations

import math

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel
from fastmotion.em.kernels.factors import LEAST_PIVOT
from fastmotion.em.kernels.scalar import HALF_LOG_2_PI


@cpu_function
def sort_features(x, index):
    """Set `index` to the observed features and then the missing ones; return how many are."""
    n_observed = 0
    for j in range(len(x)):
        if x[j] == x[j]:
            index[n_observed] = j
            n_observed += 1
    n = n_observed
    for j in range(len(x)):
        if x[j] != x[j]:
            index[n] = j
            n += 1
    return n_observed


@cpu_function
def factorise_observed(lower, covariance, index, n_observed):
    """Set `lower` to L with L Lᵀ the covariance of the observed features, and below it L⁻¹ Σ_om.

    Row i below belongs to missing feature i, in the order of `index`. Reciprocals stand in for the
    diagonal of L. Pivots are at least LEAST_PIVOT of their variances, as those of `factorise`.
    """
    for i in range(len(index)):
        row = covariance[index[i]]
        for j in range(min(i + 1, n_observed)):
            value = row[index[j]]
            for m in range(j):
                value -= lower[i, m] * lower[j, m]
            if i == j:
                pivot = max(value, LEAST_PIVOT * row[index[i]])
                lower[i, i] = 1 / math.sqrt(pivot)
            else:
                lower[i, j] = value * lower[j, j]


@cpu_function
def whiten(z, x, mean, lower, index, n_observed):
    """Set `z` to L⁻¹ (x - mean) of the observed features."""
    for i in range(n_observed):
        value = x[index[i]] - mean[index[i]]
        for m in range(i):
            value -= lower[i, m] * z[m]
        z[i] = value * lower[i, i]


@cpu_function
def constant_of(constant, lower, n_observed):
    """Return what the log density of the observed part is at its mean."""
    constant -= n_observed * HALF_LOG_2_PI
    for i in range(n_observed):
        constant += math.log(lower[i, i])
    return constant


@cpu_function
def half_square(z, n):
    """Return half the square of the length of n numbers."""
    square = 0.0
    for i in range(n):
        square += z[i] * z[i]
    return 0.5 * square


@cpu_function
def complete(d, z, x, mean, lower, index, n_observed):
    """Set `d` to the expected deviations from the mean, in the order of `index`."""
    for i in range(n_observed):
        d[i] = x[index[i]] - mean[index[i]]
    for i in range(n_observed, len(index)):
        value = 0.0
        for m in range(n_observed):
            value += lower[i, m] * z[m]
        d[i] = value


@cpu_function
def add_products(second, first, d, weight, index):
    """Add a weighted row and the lower triangle of its products."""
    for i in range(len(index)):
        scaled = weight * d[i]
        first[index[i]] += scaled
        for j in range(i + 1):
            second[max(index[i], index[j]), min(index[i], index[j])] += scaled * d[j]


@cpu_function
def add_spread(second, covariance, lower, weight, index, n_observed):
    """Add the weighted lower triangle of the covariance given the observed features."""
    for i in range(n_observed, len(index)):
        for j in range(n_observed, i + 1):
            value = covariance[index[i], index[j]]
            for m in range(n_observed):
                value -= lower[i, m] * lower[j, m]
            second[index[i], index[j]] += weight * value


@cpu_kernel(fastmath="contract")
def log_densities_of_patterns(X, starts, means, covariances, constants, out):
    """Set log densities of the observed parts of rows.

    Parameters
    ----------
    X : float64 array of shape (n_rows, n_features)
        Sorted by pattern; NaN where a value is missing.
    starts : int64 array of shape (n_patterns + 1,)
        First row of each pattern, and the number of rows.
    means : float64 array of shape (n_components, n_features)
    covariances : float64 array of shape (n_components, n_features, n_features)
    constants : float64 array of shape (n_components,)
        Added to the log densities.
    out : float64 array of shape (n_rows, n_components)
    """
    n_components, n_features = means.shape
    index = np.empty(n_features, np.int64)
    lower = np.empty((n_features, n_features))
    z = np.empty(n_features)
    for pattern in range(len(starts) - 1):
        n_observed = sort_features(X[starts[pattern]], index)
        for k in range(n_components):
            factorise_observed(lower, covariances[k], index, n_observed)
            constant = constant_of(constants[k], lower, n_observed)
            for row in range(starts[pattern], starts[pattern + 1]):
                whiten(z, X[row], means[k], lower, index, n_observed)
                out[row, k] = constant - half_square(z, n_observed)


@cpu_kernel(fastmath="contract")
def add_moments_of_patterns(X, starts, means, covariances, weights, counts, first, second):
    """Add expected moments about the means.

    Parameters
    ----------
    X, starts, means, covariances
        As for `log_densities_of_patterns`.
    weights : float64 array of shape (n_rows, n_components)
    counts : float64 array of shape (n_components,)
        Added to.
    first : float64 array of shape (n_components, n_features)
        Added to: deviations from the means.
    second : float64 array of shape (n_components, n_features, n_features)
        Added to: the lower triangles of their products.
    """
    n_components, n_features = means.shape
    index = np.empty(n_features, np.int64)
    lower = np.empty((n_features, n_features))
    z = np.empty(n_features)
    d = np.empty(n_features)
    for pattern in range(len(starts) - 1):
        n_observed = sort_features(X[starts[pattern]], index)
        for k in range(n_components):
            factorise_observed(lower, covariances[k], index, n_observed)
            total = 0.0
            for row in range(starts[pattern], starts[pattern + 1]):
                weight = weights[row, k]
                total += weight
                whiten(z, X[row], means[k], lower, index, n_observed)
                complete(d, z, X[row], means[k], lower, index, n_observed)
                add_products(second[k], first[k], d, weight, index)
            counts[k] += total
            add_spread(second[k], covariances[k], lower, total, index, n_observed)
