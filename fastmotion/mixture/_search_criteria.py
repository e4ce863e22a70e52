"""What numbers of components are compared by; less is better."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, multigammaln

from fastmotion.em.device_samples import AnySamples
from fastmotion.em.kernels.scalar import HALF_LOG_2_PI
from fastmotion.mixture._model import Mixture
from fastmotion.mixture._search import Candidate

__all__ = ["CRITERIA", "criterion_of"]

CRITERIA = ("bic", "evidence", "icl", "aic")


def criterion_of(
    name: str,
    candidate: Candidate,
    mixture: Mixture,
    samples: AnySamples,
    spread: NDArray,
) -> float:
    """Return a criterion, on the scale of the deviance: minus twice the log-likelihood.

    Parameters
    ----------
    name : {"bic", "evidence", "icl", "aic"}
    candidate : Candidate
    mixture : Mixture
        The same in the place of the samples.
    samples : Samples or DeviceSamples
        With weights.
    spread : ndarray of shape (n_features, n_features)
        Covariance of all samples, positive definite.
    """
    if name == "evidence":
        covariance_type = mixture.gaussians.covariance_type
        known = _evidence(candidate, samples, spread, covariance_type)
        return -2 * (known + samples.doubt(mixture.gaussians, mixture.log_weights))
    deviance = -2 * candidate.log_likelihood
    n_parameters = candidate.n_components - 1 + mixture.gaussians.n_parameters
    if name == "aic":
        return deviance + 2 * n_parameters
    bic = deviance + n_parameters * math.log(samples.total_weight)
    return bic + 2 * samples.doubt(mixture.gaussians, mixture.log_weights) if name == "icl" else bic


def _evidence(
    candidate: Candidate, samples: AnySamples, spread: NDArray, covariance_type: str
) -> float:
    """Return the log probability of samples whose components are known, parameters integrated out.

    What is known are the expected moments. The prior of a covariance is an inverse Wishart density
    worth n_features + 2 samples, of the mean covariance within the components: with that of all
    samples in its place, clusters far apart would seem too narrow, and be split. The prior of a
    mean is the normal density of all samples; over the width of its posterior it is constant.
    """
    n_components, n_features = candidate.means.shape
    # A component of less than a sample says nothing of its covariance, and of its mean little.
    counts = np.maximum(samples.total_weight * candidate.weights, 1)
    within = np.einsum("k,kij->ij", candidate.weights, candidate.covariances)
    scatter = counts[:, None, None] * candidate.covariances
    # Each mean takes up one of its samples.
    free = counts - 1
    if covariance_type == "full":
        value = _integrated(within, scatter, free)
    elif covariance_type == "tied":
        value = _integrated(within, scatter.sum(0), free.sum())
    elif covariance_type == "diag":
        variances = np.diagonal(within)[:, None, None]
        squares = np.diagonal(scatter, axis1=1, axis2=2)[..., None, None]
        value = _integrated(variances, squares, np.broadcast_to(free[:, None], squares.shape[:2]))
    else:
        squares = np.trace(scatter, axis1=1, axis2=2)[:, None, None]
        value = _integrated(within[:1, :1], squares, free * n_features)
    # Means are about the centre of the samples.
    distances = np.einsum("ki,ij,kj->", candidate.means, np.linalg.inv(spread), candidate.means)
    volume = 2 * n_features * HALF_LOG_2_PI + np.linalg.slogdet(spread)[1]
    value -= 0.5 * (distances + n_components * volume)
    value -= 0.5 * n_features * (np.log(counts).sum() + free.sum() * math.log(math.pi))
    # Weights have a uniform prior; components have no order.
    value += gammaln(n_components) - gammaln(n_components + counts.sum())
    return float(value + gammaln(1 + counts).sum() + gammaln(n_components + 1))


def _integrated(before: NDArray, scatter: NDArray, free: NDArray) -> float:
    """Return the log of the norms of inverse Wishart densities before samples over those after."""
    width = scatter.shape[-1]
    degrees = width + 2
    logs = multigammaln((degrees + free) / 2, width) - multigammaln(degrees / 2, width)
    logs = logs + 0.5 * degrees * np.linalg.slogdet(before)[1]
    logs = logs - 0.5 * (degrees + free) * np.linalg.slogdet(before + scatter)[1]
    return float(np.sum(logs))
