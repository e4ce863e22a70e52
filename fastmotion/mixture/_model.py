"""A Gaussian mixture as the driver of EM sees it, and where it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import as_real_array
from fastmotion.em.device_samples import AnySamples
from fastmotion.em.gaussians import (
    GaussianMoments,
    Gaussians,
    covariance_shape,
    maximise,
    padded_counts,
)
from fastmotion.em.samples import Rows
from fastmotion.em.seeding import kmeans, kmeans_plusplus, random_rows

__all__ = ["GivenStart", "Mixture", "MixtureModel", "maximise_mixture", "start_mixture"]

# Samples that tell the features' spread well enough to take first sums about.
_SPREAD_SAMPLES = 10_000


@dataclass(frozen=True)
class Mixture:
    """Weights and Gaussian components, in float64.

    Attributes
    ----------
    weights : ndarray of shape (n_components,)
        They add up to 1.
    gaussians : Gaussians
        With ``means``, ``covariances``, ``covariance_type`` and ``precisions_cholesky``.

    Examples
    --------
    >>> from fastmotion.datasets import make_gaussian_set
    >>> from fastmotion.mixture import select_components
    >>> data = make_gaussian_set("fj1", random_state=0)
    >>> mixture = select_components(data.X, max_components=4, random_state=0).best
    >>> mixture.weights.round(2), mixture.gaussians.means.shape
    (array([0.35, 0.32, 0.33]), (3, 2))
    """

    weights: NDArray
    gaussians: Gaussians

    @property
    def log_weights(self) -> NDArray:
        """Logarithms of the weights; minus infinity for a weight of 0.

        Examples
        --------
        >>> from fastmotion.mixture import Mixture
        >>> Mixture([0.5, 0.5, 0.0], None).log_weights.round(2)
        array([-0.69, -0.69,  -inf])
        """
        with np.errstate(divide="ignore"):
            return np.log(self.weights)


class MixtureModel:
    """An `fastmotion.em.driver.EMModel`: EM steps of a mixture on samples.

    Parameters
    ----------
    samples : Samples or DeviceSamples
    mixture : Mixture
        Where to start.
    reg_covar : float
    """

    def __init__(self, samples: AnySamples, mixture: Mixture, reg_covar: float) -> None:
        self.samples = samples
        self.mixture = mixture
        self.reg_covar = reg_covar
        self.moments: GaussianMoments | None = None
        self.rescued: set[int] = set(mixture.gaussians.rescued)

    def expectation(self) -> tuple[GaussianMoments, float]:
        """Return expected moments and the mean log-likelihood of a sample."""
        moments, log_likelihood = self.samples.statistics(
            self.mixture.gaussians, self.mixture.log_weights
        )
        return moments, log_likelihood / self.samples.total_weight

    def maximisation(self, statistics: GaussianMoments) -> None:
        """Take on the mixture that is best for the moments."""
        covariance_type = self.mixture.gaussians.covariance_type
        self.mixture = maximise_mixture(statistics, covariance_type, self.reg_covar)
        self.moments = statistics
        self.rescued.update(self.mixture.gaussians.rescued)

    def parameters(self) -> tuple[Mixture, GaussianMoments | None, frozenset[int]]:
        """Return the mixture, the moments it was estimated from, and the components rescued."""
        return self.mixture, self.moments, frozenset(self.rescued)


def maximise_mixture(moments: GaussianMoments, covariance_type: str, reg_covar: float) -> Mixture:
    """Return the mixture of greatest likelihood for the moments."""
    counts = padded_counts(moments.counts)
    return Mixture(counts / counts.sum(), maximise(moments, covariance_type, reg_covar))


@dataclass(frozen=True)
class GivenStart:
    """Starting parameters that the caller prescribes; None where nothing is prescribed."""

    weights: NDArray | None
    means: NDArray | None
    precisions: NDArray | None

    @classmethod
    def check(
        cls,
        weights: ArrayLike | None,
        means: ArrayLike | None,
        precisions: ArrayLike | None,
        shape: tuple[int, int],
        covariance_type: str,
    ) -> GivenStart:
        """Return checked copies for a mixture of ``shape`` (n_components, n_features)."""
        return cls(
            None if weights is None else _check_weights(weights, shape[0]),
            None if means is None else _check_array(means, "means", shape),
            None if precisions is None else _check_precisions(precisions, covariance_type, shape),
        )

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to estimate."""
        return not any(part is None for part in (self.weights, self.means, self.precisions))

    def applied_to(self, mixture: Mixture) -> Mixture:
        """Return a mixture with what is prescribed in the place of what was estimated."""
        gaussians = mixture.gaussians
        if self.means is not None:
            gaussians = replace(gaussians, means=self.means)
        if self.precisions is not None:
            gaussians = Gaussians.from_precisions(
                gaussians.means, self.precisions, gaussians.covariance_type
            )
        return Mixture(mixture.weights if self.weights is None else self.weights, gaussians)

    def whole(self, covariance_type: str) -> Mixture:
        """Return the mixture, all of which is prescribed."""
        assert self.weights is not None
        assert self.means is not None
        assert self.precisions is not None
        gaussians = Gaussians.from_precisions(self.means, self.precisions, covariance_type)
        return Mixture(self.weights, gaussians)


def start_mixture(
    samples: AnySamples,
    n_components: int,
    *,
    covariance_type: str,
    reg_covar: float,
    init_params: str,
    random_state: np.random.RandomState,
) -> Mixture:
    """Return the mixture that EM starts from.

    Parameters
    ----------
    samples : Samples or DeviceSamples
    n_components : int
    covariance_type : {"full", "tied", "diag", "spherical"}
    reg_covar : float
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}
        How responsibilities are assigned; for the last two of a single sample each.
    random_state : numpy.random.RandomState
    """
    dtype, n_features = samples.X.dtype, samples.X.shape[1]
    settings: dict[str, Any] = {
        "sample_weight": samples.sample_weight,
        "n_jobs": samples.n_jobs,
        "memory": samples.memory,
    }
    means, variances = samples.feature_moments(_SPREAD_SAMPLES)
    variances = np.where(variances > 0, variances, 1)
    if init_params == "kmeans":
        centres = kmeans(samples.X, n_components, random_state=random_state, **settings).centres
        reference = _rough_gaussians(centres, variances, covariance_type)
        moments = samples.cluster_moments(reference, centres)
    elif init_params == "random":
        centres = np.tile(means, (n_components, 1))
        reference = _rough_gaussians(centres, variances, covariance_type)
        moments = samples.moments(reference, _random_shares(n_components, dtype, random_state))
    else:
        if init_params == "k-means++":
            rows = kmeans_plusplus(samples.X, n_components, random_state=random_state, **settings)
        else:
            rows = random_rows(len(samples), n_components, random_state)
        chosen = samples.rows(rows)
        moments = GaussianMoments.empty(n_components, n_features, covariance_type)
        moments.counts[:] = samples.total_weight / samples.n_known
        moments.means[:] = np.where(np.isnan(chosen), means, chosen)
    weights = padded_counts(moments.counts) / samples.total_weight
    return Mixture(weights, maximise(moments, covariance_type, reg_covar))


def _random_shares(
    n_components: int, dtype: np.dtype, random_state: np.random.RandomState
) -> Callable[[Rows], NDArray]:
    def shares(rows: Rows) -> NDArray:
        n_rows = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        drawn = random_state.uniform(size=(n_rows, n_components)).astype(dtype)
        return drawn / drawn.sum(1, keepdims=True)

    return shares


def _rough_gaussians(centres: NDArray, variances: NDArray, covariance_type: str) -> Gaussians:
    """Return components to take first sums about and to complete missing values by."""
    shape = centres.shape
    covariances = {
        "full": np.broadcast_to(np.diag(variances), (*shape, shape[1])),
        "tied": np.diag(variances),
        "diag": np.broadcast_to(variances, shape),
        "spherical": np.full(shape[0], variances.mean()),
    }[covariance_type]
    return Gaussians.from_covariances(centres, covariances, covariance_type)


def _check_array(values: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray:
    array = as_real_array(values, name).astype(np.float64)
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"The parameter '{name}' should be finite, but holds NaN or infinity")
    return array


def _check_weights(weights: ArrayLike, n_components: int) -> NDArray:
    array = _check_array(weights, "weights", (n_components,))
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{array.max():.5f}, min value {array.min():.5f}"
        )
    tolerance = 1e-6 if np.asarray(weights).dtype == np.float32 else 1e-8
    if abs(1 - array.sum()) > tolerance:
        raise ValueError(
            f"The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{array.sum():.5f}"
        )
    return array


def _check_precisions(
    precisions: ArrayLike, covariance_type: str, shape: tuple[int, int]
) -> NDArray:
    wanted = covariance_shape(covariance_type, *shape)
    array = _check_array(precisions, f"{covariance_type} precision", wanted)
    if covariance_type in ("diag", "spherical"):
        if array.min() <= 0:
            raise ValueError(f"'{covariance_type} precision' should be positive")
    elif not (
        np.allclose(array, np.swapaxes(array, -1, -2)) and np.linalg.eigvalsh(array).min() > 0
    ):
        raise ValueError(f"'{covariance_type} precision' should be symmetric, positive-definite")
    return array
