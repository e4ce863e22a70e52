"""Gaussian components over rows with missing values, one row at a time."""

import numpy as np
from scipy.stats import multivariate_normal


def random_components(rng, covariance_type, n_components=3, n_features=4):
    """Return means, and covariances of a type, of components that overlap."""
    roots = rng.normal(size=(n_components, n_features, n_features))
    full = roots @ np.swapaxes(roots, 1, 2) + np.eye(n_features)
    diagonal = np.einsum("kii->ki", full)
    covariances = {"full": full, "tied": full[0], "diag": diagonal, "spherical": diagonal[:, 0]}
    return rng.normal(size=(n_components, n_features)), covariances[covariance_type]


def log_densities(X, means, covariances):
    """Return (n_samples, n_components): log densities of the observed parts."""
    out = np.zeros((len(X), len(means)))
    for i, x in enumerate(X):
        o = ~np.isnan(x)
        if o.any():
            for k, (mean, covariance) in enumerate(zip(means, covariances)):
                out[i, k] = multivariate_normal(mean[o], covariance[np.ix_(o, o)]).logpdf(x[o])
    return out


def conditional_moments(x, mean, covariance):
    """Return the mean and the second moment about it of a row, given what was observed of it."""
    o = ~np.isnan(x)
    precision = np.linalg.inv(covariance)
    filled, spread = x.copy(), np.zeros_like(covariance)
    # By the precision of the missing part, unlike the package, which regresses on the observed one.
    inner = np.linalg.inv(precision[np.ix_(~o, ~o)])
    filled[~o] = mean[~o] - inner @ precision[np.ix_(~o, o)] @ (x[o] - mean[o])
    spread[np.ix_(~o, ~o)] = inner
    return filled, spread


def expected_moments(X, responsibilities, means, covariances):
    """Return the counts, means and scatter of each component that the rows are expected to have."""
    counts, new_means, scatters = [], [], []
    some = ~np.isnan(X).all(axis=1)
    for k, (mean, covariance) in enumerate(zip(means, covariances)):
        r = responsibilities[some, k]
        pairs = [conditional_moments(x, mean, covariance) for x in X[some]]
        rows = np.array([filled for filled, _ in pairs])
        average = r @ rows / r.sum()
        scatter = sum(
            w * (np.outer(x - average, x - average) + spread)
            for w, x, (_, spread) in zip(r, rows, pairs)
        )
        counts.append(r.sum())
        new_means.append(average)
        scatters.append(scatter)
    return np.array(counts), np.array(new_means), np.array(scatters)
