"""K-means spelt out, on whole arrays."""

import numpy as np


def squared_distances(X, centres):
    """Return (n_samples, n_centres); where a value is missing, of the observed features."""
    differences = X[:, None].astype(np.float64) - np.asarray(centres, np.float64)[None]
    return np.nansum(differences**2, axis=2)


def inertia(X, centres, weight=None):
    """Return the weighted sum of squared distances to the nearest centre."""
    nearest = squared_distances(X, centres).min(axis=1)
    return nearest.sum() if weight is None else nearest @ weight


def is_fixed_point(X, centres, weight, tol):
    """Return whether each centre is the weighted mean of the samples nearest to it."""
    labels = squared_distances(X, centres).argmin(axis=1)
    means = np.array(
        [
            np.average(X[labels == k].astype(np.float64), axis=0, weights=weight[labels == k])
            for k in range(len(centres))
        ]
    )
    return np.allclose(means, centres, rtol=0, atol=tol)
