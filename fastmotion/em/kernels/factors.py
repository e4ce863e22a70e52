"""Cholesky factors of small matrices and their inverses.

LAPACK would do, but not its threads: on matrices as small as covariances they wait for each other,
and then spin on the cores that the passes over data need.
"""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel

# What is left of a variance after projection, as a share of it, is rounding below this.
LEAST_PIVOT = np.float64(1e-14)


@cpu_function(fastmath="reassociate")
def _dot(a, b, n):
    total = 0.0
    for m in range(n):
        total += a[m] * b[m]
    return total


@cpu_function
def _subtract(a, factor, b, n):
    for j in range(n):
        a[j] -= factor * b[j]


@cpu_function
def factorise(matrix, lower):
    """Set `lower` to Cholesky's factor; return half the log-determinant and the least pivot.

    Pivots are taken as shares of their variances, and are at least LEAST_PIVOT in the factor.
    """
    half, least = 0.0, 1.0
    for i in range(matrix.shape[0]):
        for j in range(i):
            value = matrix[i, j] - _dot(lower[i], lower[j], j)
            lower[i, j] = value / lower[j, j]
        variance = matrix[i, i]
        pivot = variance - _dot(lower[i], lower[i], i)
        # In this order what is not a number counts as singular.
        if not pivot > least * variance:
            least = pivot / variance if 0 < variance < np.inf else 0.0
        lower[i, i] = np.sqrt(max(pivot, LEAST_PIVOT * variance))
        half += np.log(lower[i, i])
    return half, least


@cpu_function
def invert(lower, inverse):
    """Set the lower triangle of `inverse`, which may be larger, to that of a triangular matrix."""
    for i in range(lower.shape[0]):
        row = inverse[i]
        for j in range(i):
            row[j] = 0
        for m in range(i):
            _subtract(row, lower[i, m], inverse[m], m + 1)
        share = 1 / lower[i, i]
        for j in range(i):
            row[j] *= share
        row[i] = share


@cpu_kernel(fastmath="contract")
def precision_factors(covariances, factors):
    """Set upper triangles U with U Uᵀ the inverses of covariances.

    Parameters
    ----------
    covariances : float64 array of shape (n_components, n_features, n_features)
        Its lower triangles are read.
    factors : float64 array of that shape
        Zeros; changed in place.

    Returns
    -------
    int
        The first component whose covariance is singular to rounding, or not a number; -1 if none.
    """
    n_components, n_features, _ = covariances.shape
    lower = np.zeros((n_features, n_features))
    inverse = np.zeros((n_features, n_features))
    for k in range(n_components):
        _, least = factorise(covariances[k], lower)
        # Rounding grows with the number of features.
        if not least > max(LEAST_PIVOT, 1e-15 * n_features):
            return k
        invert(lower, inverse)
        for i in range(n_features):
            for j in range(i + 1):
                factors[k, j, i] = inverse[i, j]
    return -1
