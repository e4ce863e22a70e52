"""EM for Gaussian mixtures as it is written with an array library: blocks and matrix products."""

from __future__ import annotations

import numpy as np

from bench.gpu_libraries import Array, Library
from bench.peers_mixture import Start

# Bytes of the largest array that is made of a block of samples.
_BLOCK_BYTES = 2e9
_REG_COVAR = 1e-6

# Weights, means and covariances.
Parameters = tuple[Array, Array, Array]


def iterate(
    library: Library, X: Array, start: Start, covariance_type: str, n_iter: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, means and covariances after a number of iterations.

    Parameters
    ----------
    X : float32 array of shape (n_samples, n_features)
    covariance_type : {"full", "diag"}
    """
    step = _full_sums if covariance_type == "full" else _diagonal_sums
    centre = X.mean(axis=0)
    n_samples, n_features = X.shape
    parameters = (
        library.put(start.weights.astype(float)),
        library.put(start.means.astype(float)) - library.double(centre),
        library.put(start.covariances(covariance_type).astype(float)),
    )
    width = n_features * start.n_components if covariance_type == "full" else start.n_components
    size = max(1, int(_BLOCK_BYTES / (4 * width)))
    for _ in range(n_iter):
        densities = _Densities(library, *parameters)
        sums: list[Array] | None = None
        for first in range(0, n_samples, size):
            block = X[first : first + size] - centre
            parts = [library.double(part) for part in step(library, densities, block)]
            sums = parts if sums is None else [a + b for a, b in zip(sums, parts)]
        parameters = _maximise(library, sums, n_samples)
    weights, means, covariances = parameters
    means = means + library.double(centre)
    return library.fetch(weights), library.fetch(means), library.fetch(covariances)


class _Densities:
    """The linear forms that log-densities are made of; float32."""

    def __init__(self, library: Library, weights: Array, means: Array, covariances: Array) -> None:
        xp, n_features = library.xp, means.shape[1]
        constant = xp.log(weights) - 0.5 * n_features * np.log(2 * np.pi)
        if covariances.ndim == 3:
            cholesky = xp.linalg.cholesky(covariances)
            whitening = xp.linalg.inv(cholesky)
            scales = xp.diagonal(cholesky, 0, 1, 2)
            self.constant = library.single(constant - xp.log(scales).sum(axis=1))
            # (D, K D): a product with it whitens a sample for every component.
            stacked = whitening.reshape(-1, n_features)
            self.whitening = library.single(stacked.T)
            self.shift = library.single((whitening @ means[:, :, None]).reshape(-1))
        else:
            self.squares = library.single((-0.5 / covariances).T)
            self.linear = library.single((means / covariances).T)
            constant = constant - 0.5 * (means**2 / covariances + xp.log(covariances)).sum(axis=1)
            self.constant = library.single(constant)


def _responsibilities(library: Library, log_densities: Array) -> Array:
    xp = library.xp
    values = xp.exp(log_densities - xp.amax(log_densities, -1)[:, None])
    return values / values.sum(axis=1)[:, None]


def _full_sums(library: Library, densities: _Densities, X: Array) -> list[Array]:
    n, n_features = X.shape
    white = (X @ densities.whitening - densities.shift).reshape(n, -1, n_features)
    distances = (white * white).sum(axis=2)
    shares = _responsibilities(library, densities.constant - 0.5 * distances)
    weighted = (shares[:, :, None] * X[:, None, :]).reshape(n, -1)
    moments = (weighted.T @ X).reshape(-1, n_features, n_features)
    return [shares.sum(axis=0), shares.T @ X, moments]


def _diagonal_sums(library: Library, densities: _Densities, X: Array) -> list[Array]:
    squares = X * X
    logs = squares @ densities.squares + X @ densities.linear + densities.constant
    shares = _responsibilities(library, logs)
    return [shares.sum(axis=0), shares.T @ X, shares.T @ squares]


def _maximise(library: Library, sums: list[Array], n_samples: int) -> Parameters:
    counts, first, second = sums
    means = first / counts[:, None]
    if second.ndim == 2:
        return counts / n_samples, means, second / counts[:, None] - means**2 + _REG_COVAR
    covariances = second / counts[:, None, None] - means[:, :, None] * means[:, None, :]
    ridge = library.put(_REG_COVAR * np.eye(means.shape[1]))
    return counts / n_samples, means, covariances + ridge
