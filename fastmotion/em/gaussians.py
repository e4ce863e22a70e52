"""Gaussian components: their parameters, and the mergeable sums that these are estimated from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fastmotion.em.kernels.factors import precision_factors

__all__ = [
    "COVARIANCE_TYPES",
    "ILL_DEFINED",
    "GaussianMoments",
    "Gaussians",
    "SingularCovarianceWarning",
    "count_covariance_parameters",
    "covariance_shape",
    "maximise",
    "padded_counts",
]

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")

# As scikit-learn words it: callers look for this text.
ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)

# Least eigenvalue of a correlation matrix after a rescue, as a share of the largest: above it
# Cholesky's method has six digits to spare.
_RESCUED_CONDITION = 1e-10


class SingularCovarianceWarning(UserWarning):
    """Covariances of components were singular and have been widened; the message names them.

    Examples
    --------
    Features that depend on each other leave no density without `reg_covar`:

    >>> import warnings
    >>> import numpy as np
    >>> from fastmotion.mixture import GaussianMixture, SingularCovarianceWarning
    >>> X = 1e6 + np.outer(np.arange(10.0), [1e6, 2e6, 3e6])
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", SingularCovarianceWarning)
    ...     mixture = GaussianMixture().fit(X)
    >>> str(caught[0].message).split(":")[0]
    'singular covariance of components [0]'
    """


@dataclass(frozen=True)
class Gaussians:
    """Parameters of the Gaussian components of a model, in float64.

    Attributes
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}
    means : ndarray of shape (n_components, n_features)
    covariances : ndarray
        Of shape (n_components, n_features, n_features) if full, (n_features, n_features) if tied,
        (n_components, n_features) if diag, (n_components,) if spherical.
    precisions_cholesky : ndarray
        Of the shape of the covariances: upper triangular U with U Uᵀ the inverse of the
        covariance; for diag and spherical the inverse standard deviations.
    rescued : tuple of int
        Components whose covariance was estimated as singular and has been widened; 0 if tied.
    """

    covariance_type: str
    means: NDArray
    covariances: NDArray
    precisions_cholesky: NDArray
    rescued: tuple[int, ...] = ()

    @classmethod
    def from_covariances(
        cls, means: NDArray, covariances: NDArray, covariance_type: str
    ) -> Gaussians:
        """Return components of given covariances.

        Raises
        ------
        ValueError
            A covariance is not positive definite.
        """
        means, covariances = _as_float64(means), _as_float64(covariances)
        try:
            factors = _factorise(covariances, covariance_type)
        except np.linalg.LinAlgError:
            raise ValueError(ILL_DEFINED) from None
        return cls(covariance_type, means, covariances, factors)

    @classmethod
    def from_factors(cls, means: NDArray, factors: NDArray, covariance_type: str) -> Gaussians:
        """Return components of given factors of the precisions, `precisions_cholesky`."""
        means, factors = _as_float64(means), _as_float64(factors)
        if covariance_type in ("diag", "spherical"):
            return cls(covariance_type, means, factors**-2.0, factors)
        inverse = np.linalg.inv(factors)
        return cls(covariance_type, means, np.swapaxes(inverse, -1, -2) @ inverse, factors)

    @classmethod
    def from_precisions(
        cls, means: NDArray, precisions: NDArray, covariance_type: str
    ) -> Gaussians:
        """Return components of given precisions, the inverses of covariances."""
        means, precisions = _as_float64(means), _as_float64(precisions)
        if covariance_type in ("diag", "spherical"):
            return cls.from_factors(means, np.sqrt(precisions), covariance_type)
        # Cholesky's factor of the matrix turned by half a circle is its upper factor, turned.
        upper = np.linalg.cholesky(precisions[..., ::-1, ::-1])[..., ::-1, ::-1]
        return cls.from_factors(means, upper, covariance_type)

    @property
    def n_components(self) -> int:
        """Number of components."""
        return self.means.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.means.shape[1]

    @property
    def n_parameters(self) -> int:
        """Number of free parameters of means and covariances."""
        return self.means.size + count_covariance_parameters(
            self.covariance_type, self.n_components, self.n_features
        )

    def full_covariances(self) -> NDArray:
        """Return the covariances as (n_components, n_features, n_features)."""
        return self._expand(self.covariances)

    def full_precisions_cholesky(self) -> NDArray:
        """Return the factors of the precisions as (n_components, n_features, n_features)."""
        return self._expand(self.precisions_cholesky)

    def precisions(self) -> NDArray:
        """Return the inverse covariances, in the shape of `covariances`."""
        with np.errstate(over="ignore"):  # whoever keeps them asks whether they are finite
            if self.covariance_type in ("diag", "spherical"):
                return self.precisions_cholesky**2
            return self.precisions_cholesky @ np.swapaxes(self.precisions_cholesky, -1, -2)

    def deviations(self) -> NDArray:
        """Return the standard deviations of features, (n_components, n_features)."""
        if self.covariance_type == "full":
            variances = np.diagonal(self.covariances, axis1=1, axis2=2)
        elif self.covariance_type == "tied":
            variances = np.diagonal(self.covariances)
        elif self.covariance_type == "diag":
            variances = self.covariances
        else:
            variances = self.covariances[:, None]
        return np.broadcast_to(np.sqrt(variances), self.means.shape)

    def half_log_determinants(self) -> NDArray:
        """Return log det U of each component: half the log-determinant of its precision."""
        if self.covariance_type in ("full", "tied"):
            diagonal = np.diagonal(self.precisions_cholesky, axis1=-2, axis2=-1)
            logs = np.log(diagonal).sum(-1)
        elif self.covariance_type == "diag":
            logs = np.log(self.precisions_cholesky).sum(1)
        else:
            logs = self.n_features * np.log(self.precisions_cholesky)
        return np.broadcast_to(logs, (self.n_components,))

    def take(self, components: NDArray | Sequence[int]) -> Gaussians:
        """Return some of the components, by index."""
        index = np.asarray(components, dtype=np.intp)
        if self.covariance_type == "tied":
            covariances, factors = self.covariances, self.precisions_cholesky
        else:
            covariances, factors = self.covariances[index], self.precisions_cholesky[index]
        return Gaussians(self.covariance_type, self.means[index], covariances, factors)

    def _expand(self, matrices: NDArray) -> NDArray:
        shape = (self.n_components, self.n_features, self.n_features)
        if self.covariance_type in ("full", "tied"):
            return np.broadcast_to(matrices, shape)
        if self.covariance_type == "spherical":
            matrices = np.broadcast_to(matrices[:, None], self.means.shape)
        return matrices[:, :, None] * np.eye(self.n_features)


@dataclass
class GaussianMoments:
    """Weighted counts, means and scatter of the samples that belong to each component.

    Sums of parts of the data merge to those of the whole.

    Attributes
    ----------
    counts : ndarray of shape (n_components,)
        Sum of the weights, responsibility times sample weight.
    means : ndarray of shape (n_components, n_features)
        Weighted means; anything finite where a count is 0.
    scatter : ndarray
        Weighted sum of (x - mean)(x - mean)ᵀ about these means, of shape (n_components,
        n_features, n_features), or its diagonal, of shape (n_components, n_features).
    """

    counts: NDArray
    means: NDArray
    scatter: NDArray

    @classmethod
    def empty(cls, n_components: int, n_features: int, covariance_type: str) -> Self:
        """Return the moments of no samples."""
        shape = (n_components, n_features)
        is_matrix = covariance_type in ("full", "tied")
        scatter = np.zeros((*shape, n_features) if is_matrix else shape)
        return cls(np.zeros(n_components), np.zeros(shape), scatter)

    def merge(self, other: GaussianMoments) -> Self:
        """Return the moments of the samples of both (Chan, Golub and LeVeque 1979, eq. 2.1)."""
        counts = self.counts + other.counts
        share = other.counts / np.where(counts > 0, counts, 1)
        step = other.means - self.means
        step[counts == 0] = 0
        means = self.means + share[:, None] * step
        between = _outer(step, self.scatter.ndim) * _column(self.counts * share, self.scatter.ndim)
        return type(self)(counts, means, self.scatter + other.scatter + between)

    def scaled(self, factor: float) -> Self:
        """Return the moments with all weights multiplied by a factor."""
        return type(self)(self.counts * factor, self.means, self.scatter * factor)


def covariance_shape(covariance_type: str, n_components: int, n_features: int) -> tuple[int, ...]:
    """Return the shape of an array of covariances."""
    return {
        "full": (n_components, n_features, n_features),
        "tied": (n_features, n_features),
        "diag": (n_components, n_features),
        "spherical": (n_components,),
    }[covariance_type]


def count_covariance_parameters(covariance_type: str, n_components: int, n_features: int) -> int:
    """Return the number of free parameters of the covariances."""
    return {
        "full": n_components * n_features * (n_features + 1) // 2,
        "tied": n_features * (n_features + 1) // 2,
        "diag": n_components * n_features,
        "spherical": n_components,
    }[covariance_type]


def maximise(moments: GaussianMoments, covariance_type: str, reg_covar: float) -> Gaussians:
    """Return the Gaussians of greatest likelihood for the moments: the M-step.

    Parameters
    ----------
    moments : GaussianMoments
    covariance_type : {"full", "tied", "diag", "spherical"}
    reg_covar : float
        Added to the diagonal of the covariances.

    Returns
    -------
    Gaussians

    Raises
    ------
    ValueError
        A covariance is singular and ``reg_covar`` is 0, or is not finite.
    """
    counts = padded_counts(moments.counts)
    covariances = _covariances(moments.scatter, counts, covariance_type, reg_covar)
    try:
        factors = _factorise(covariances, covariance_type)
    except np.linalg.LinAlgError:
        if reg_covar == 0 or covariance_type in ("diag", "spherical"):
            raise ValueError(ILL_DEFINED) from None
        covariances, rescued = _rescue(covariances)
        factors = _factorise(covariances, covariance_type)
        return Gaussians(covariance_type, moments.means, covariances, factors, rescued)
    return Gaussians(covariance_type, moments.means, covariances, factors)


def padded_counts(counts: NDArray) -> NDArray:
    """Return counts with next to nothing added, as scikit-learn does, so that none is 0.

    What is added has the scale of the weights where these are small.
    """
    total = counts.sum()
    return counts + 10 * np.finfo(np.float64).eps * (min(1.0, total) if total > 0 else 1.0)


def _as_float64(values: NDArray) -> NDArray:
    return np.array(values, dtype=np.float64, order="C")


def _outer(vectors: NDArray, ndim: int) -> NDArray:
    return vectors[:, :, None] * vectors[:, None, :] if ndim == 3 else vectors**2


def _column(values: NDArray, ndim: int) -> NDArray:
    return values.reshape(-1, *(1,) * (ndim - 1))


def _covariances(
    scatter: NDArray, counts: NDArray, covariance_type: str, reg_covar: float
) -> NDArray:
    if covariance_type == "tied":
        covariances = scatter.sum(0) / counts.sum()
    else:
        covariances = scatter / _column(counts, scatter.ndim)
    if covariance_type in ("full", "tied"):
        # A copy was made above, so this adds in place.
        np.einsum("...ii->...i", covariances)[...] += reg_covar
        return covariances
    covariances += reg_covar
    return covariances.mean(1) if covariance_type == "spherical" else covariances


def _factorise(covariances: NDArray, covariance_type: str) -> NDArray:
    """Return the factors of the precisions.

    Raises
    ------
    numpy.linalg.LinAlgError
        A covariance is not positive definite.
    """
    if covariance_type in ("diag", "spherical"):
        if not ((covariances > 0) & np.isfinite(covariances)).all():
            raise np.linalg.LinAlgError("a variance is not positive and finite")
        return 1 / np.sqrt(covariances)
    stacked = np.ascontiguousarray(covariances).reshape(-1, *covariances.shape[-2:])
    factors = np.zeros(stacked.shape)
    if precision_factors(stacked, factors) >= 0:
        raise np.linalg.LinAlgError("a covariance is singular to rounding")
    return factors.reshape(covariances.shape)


def _rescue(covariances: NDArray) -> tuple[NDArray, tuple[int, ...]]:
    """Widen the covariances that are singular, and say which; the others stay as they are."""
    matrices = covariances.reshape(-1, *covariances.shape[-2:]).copy()
    rescued = []
    for k, matrix in enumerate(matrices):
        if precision_factors(matrix[np.newaxis], np.zeros((1, *matrix.shape))) >= 0:
            matrix[...] = _widen(matrix)
            rescued.append(k)
    return matrices.reshape(covariances.shape), tuple(rescued)


def _widen(covariance: NDArray) -> NDArray:
    """Raise the small eigenvalues of the correlations, for which units do not matter."""
    deviations = np.sqrt(np.diagonal(covariance))
    if not (np.isfinite(covariance).all() and (deviations > 0).all()):
        raise ValueError(ILL_DEFINED)
    units = deviations[:, np.newaxis] * deviations
    values, vectors = np.linalg.eigh(covariance / units)
    values = np.maximum(values, _RESCUED_CONDITION * values[-1])
    return (vectors * values) @ vectors.T * units
