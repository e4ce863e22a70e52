"""Gaussian mixture regression: what a mixture says of some features where others are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.utils import check_random_state

from fastmotion.core.device import CPU, Device, is_cuda_array, load_kernels
from fastmotion.core.interop import as_device_array, like, summarise
from fastmotion.core.memory import Memory, memory_of
from fastmotion.core.validation import as_real_array, require_real
from fastmotion.em.device_samples import DeviceSamples
from fastmotion.em.gaussians import Gaussians
from fastmotion.em.kernels.scalar import HALF_LOG_2_PI
from fastmotion.em.missing import conditional, marginal
from fastmotion.em.passes import GaussianPasses

__all__ = ["ConditionalMixture", "condition_mixture"]


@dataclass(frozen=True)
class ConditionalMixture:
    """One Gaussian mixture over the unknown features for each row of known ones.

    Made by `GaussianMixture.condition`. The components' covariances are the same for all rows;
    their weights and means differ.

    Attributes
    ----------
    weights : ndarray of shape (n_samples, n_components)
        Probabilities of the components, given the known features.
    means : ndarray of shape (n_samples, n_components, n_unknown)
        Of the unknown features in each component, given the known ones.
    covariances : ndarray of shape (n_components, n_unknown, n_unknown)
        Of the unknown features in each component, about these means.
    columns : ndarray of shape (n_unknown,), intp
        Indices of the unknown features, increasing: the order of all that is returned.

    References
    ----------
    Z. Ghahramani and M. I. Jordan, "Supervised learning from incomplete data via an EM approach",
    NIPS 1994, section 4; D. A. Cohn, Z. Ghahramani and M. I. Jordan, "Active learning with
    statistical models", JAIR 4, 1996, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.mixture import GaussianMixture
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-1, 1, size=2000)
    >>> X = np.column_stack([x, np.abs(x) + 0.01 * rng.normal(size=2000)])
    >>> given = GaussianMixture(2, random_state=0).fit(X).condition([[-0.5], [0.8]], columns=[0])
    >>> given.mean().round(1)
    array([[0.5],
           [0.8]])
    >>> given.covariance().shape, given.sample(random_state=0).shape
    ((2, 1, 1), (2, 1))
    """

    weights: NDArray
    means: NDArray
    covariances: NDArray
    columns: NDArray[np.intp]

    def mean(self) -> NDArray:
        """Return the expected values: the regression on the known features.

        Returns
        -------
        ndarray of shape (n_samples, n_unknown)
            In the order of `columns`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> x = np.linspace(0, 1, 200)
        >>> noise = 0.1 * np.random.default_rng(0).normal(size=200)
        >>> mixture = GaussianMixture().fit(np.column_stack([x, 2 * x + noise]))
        >>> given = mixture.condition([[0.2], [0.5]], columns=[0])
        >>> given.mean().round(1)
        array([[0.4],
               [1. ]])
        """
        mean = np.einsum("nk,nkd->nd", self.weights, self.means, dtype=np.float64)
        return mean.astype(self.means.dtype)

    def covariance(self) -> NDArray:
        """Return the covariances about `mean`, within and between components.

        Returns
        -------
        ndarray of shape (n_samples, n_unknown, n_unknown)
            In the order of `columns`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> x = np.linspace(0, 1, 200)
        >>> noise = 0.1 * np.random.default_rng(0).normal(size=200)
        >>> mixture = GaussianMixture().fit(np.column_stack([x, 2 * x + noise]))
        >>> given = mixture.condition([[0.2], [0.5]], columns=[0])
        >>> float(np.sqrt(given.covariance()[0, 0, 0]).round(1))  # the noise
        0.1
        """
        weights = self.weights.astype(np.float64)
        total = np.tensordot(weights, self.covariances, axes=1)
        mean = self.mean()
        for k, weight in enumerate(weights.T):
            step = self.means[:, k].astype(np.float64) - mean
            total += weight[:, None, None] * step[:, :, None] * step[:, None, :]
        return total.astype(self.means.dtype)

    def sample(self, random_state: int | np.random.RandomState | None = None) -> NDArray:
        """Draw the unknown features once for each row.

        Parameters
        ----------
        random_state : int, numpy.random.RandomState or None, default=None
            Pass an int for the same draws in each call.

        Returns
        -------
        ndarray of shape (n_samples, n_unknown)
            In the order of `columns`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> x = np.linspace(0, 1, 200)
        >>> noise = 0.1 * np.random.default_rng(0).normal(size=200)
        >>> mixture = GaussianMixture().fit(np.column_stack([x, 2 * x + noise]))
        >>> given = mixture.condition([[0.2], [0.5]], columns=[0])
        >>> given.sample(random_state=0).shape
        (2, 1)
        >>> draws = [given.sample(random_state=seed)[1, 0] for seed in range(200)]
        >>> round(float(np.mean(draws)), 1), round(float(np.std(draws)), 1)
        (1.0, 0.1)
        """
        random = check_random_state(random_state)
        n_samples, _, n_unknown = self.means.shape
        shares = np.cumsum(self.weights, axis=1, dtype=np.float64)
        threshold = random.uniform(size=(n_samples, 1)) * shares[:, -1:]
        component = (shares <= threshold).sum(axis=1)
        values = random.normal(size=(n_samples, n_unknown))
        for k, lower in enumerate(self._lower_factors()):
            rows = component == k
            values[rows] = values[rows] @ lower.T + self.means[rows, k]
        return values.astype(self.means.dtype)

    def score_samples(self, Y: ArrayLike) -> NDArray:
        """Return the log density of the unknown features, row by row.

        Parameters
        ----------
        Y : array_like of shape (n_samples, n_unknown)
            Their values, in the order of `columns`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Natural logarithms of densities.

        Raises
        ------
        TypeError
            ``Y`` does not hold real numbers.
        ValueError
            It has another shape, or a value is NaN or infinite.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.mixture import GaussianMixture
        >>> x = np.linspace(0, 1, 200)
        >>> noise = 0.1 * np.random.default_rng(0).normal(size=200)
        >>> mixture = GaussianMixture().fit(np.column_stack([x, 2 * x + noise]))
        >>> given = mixture.condition([[0.2], [0.5]], columns=[0])
        >>> given.score_samples([[0.4], [0.0]]).round()  # 2 * 0.2 is likely, 0 given 0.5 is not
        array([  1., -53.])
        """
        n_samples, n_components, n_unknown = self.means.shape
        values = _check_matrix(Y, "Y", (n_samples, n_unknown))
        joint = np.empty((n_samples, n_components))
        for k, lower in enumerate(self._lower_factors()):
            step = np.linalg.solve(lower, (values - self.means[:, k]).T)
            log_determinant = np.log(np.diagonal(lower)).sum()
            joint[:, k] = -0.5 * (step**2).sum(0) - log_determinant - n_unknown * HALF_LOG_2_PI
        return logsumexp(joint, axis=1, b=self.weights).astype(self.means.dtype)

    def _lower_factors(self) -> NDArray[np.float64]:
        return np.linalg.cholesky(self.covariances)


@dataclass(frozen=True)
class DeviceConditionalMixture(ConditionalMixture):
    """A `ConditionalMixture` that a CUDA device computes with.

    ``weights`` and ``means``, and what methods return, lie there if the known values do. Methods
    sum in the dtype of these, also float32, where those of the CPU sum in float64.
    """

    device: Device

    def mean(self) -> Any:
        """Return the expected values: the regression on the known features."""
        with self._memory.scope():
            return like(self._mean(), self.means)

    def _mean(self) -> Any:
        weights, means = self._there(self.weights), self._there(self.means)
        n_samples, _, n_unknown = means.shape
        out = self._memory.new((n_samples, n_unknown), means.dtype)
        self._kernels.mix_means(weights, means, out)
        return out

    def covariance(self) -> Any:
        """Return the covariances about `mean`, within and between components."""
        with self._memory.scope():
            weights, means = self._there(self.weights), self._there(self.means)
            n_samples, _, n_unknown = means.shape
            out = self._memory.new((n_samples, n_unknown, n_unknown), means.dtype)
            covariances = self._put(self.covariances)
            self._kernels.mix_covariances(weights, means, covariances, self._mean(), out)
            return like(out, self.means)

    def sample(self, random_state: int | np.random.RandomState | None = None) -> Any:
        """Draw the unknown features once for each row."""
        random = check_random_state(random_state)
        n_samples, _, n_unknown = self.means.shape
        uniform = random.uniform(size=(n_samples, 1))[:, 0]
        normal = random.normal(size=(n_samples, n_unknown))
        with self._memory.scope():
            weights, means = self._there(self.weights), self._there(self.means)
            out = self._memory.new((n_samples, n_unknown), means.dtype)
            lower = self._put(self._lower_factors())
            draws = self._memory.put(uniform), self._memory.put(normal)
            self._kernels.draw(weights, means, lower, *draws, out)
            return like(out, self.means)

    def score_samples(self, Y: ArrayLike) -> Any:
        """Return the log density of the unknown features, row by row."""
        n_samples, _, n_unknown = self.means.shape
        lower = self._lower_factors()
        logs = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        constants = -logs - n_unknown * HALF_LOG_2_PI
        with self._memory.scope():
            values = self._there(_check_device_matrix(Y, "Y", (n_samples, n_unknown), self.device))
            weights, means = self._there(self.weights), self._there(self.means)
            whitening, constants = self._put(np.linalg.inv(lower)), self._put(constants)
            out = self._memory.new(n_samples, means.dtype)
            self._kernels.score(values, weights, means, whitening, constants, out)
            return like(out, self.means)

    @property
    def _memory(self) -> Memory:
        return memory_of(self.device)

    @property
    def _kernels(self) -> Any:
        return load_kernels("fastmotion.mixture.kernels", self.device.kind)

    @property
    def _dtype(self) -> np.dtype:
        # Of arrays of any library.
        return np.dtype(str(self.means.dtype).rpartition(".")[2])

    def _there(self, array: Any) -> Any:
        return as_device_array(array, self.device, self._dtype)

    def _put(self, array: NDArray) -> Any:
        return self._memory.put(array.astype(self._dtype))


def condition_mixture(
    weights: NDArray,
    gaussians: Gaussians,
    X_known: ArrayLike,
    columns: ArrayLike,
    *,
    device: Device = CPU,
) -> ConditionalMixture:
    """Return the distribution of the other features where some are known.

    Parameters
    ----------
    weights : ndarray of shape (n_components,)
    gaussians : Gaussians
        The components over all features.
    X_known : array_like of shape (n_samples, n_known)
        Complete: a row in which less is known has another regression.
    columns : array_like of shape (n_known,) or (n_features,)
        Indices of the known features, in the order of ``X_known``; or a mask that is True for them.
    device : Device
        Where to compute.

    Returns
    -------
    ConditionalMixture
        float32 where ``X_known`` is, else float64.

    Raises
    ------
    TypeError
        ``X_known`` does not hold real numbers, or ``columns`` neither indices nor a mask.
    ValueError
        ``columns`` are out of range, repeated, none or all; ``X_known`` does not match them, or a
        value is NaN or infinite.
    """
    known = _check_columns(columns, gaussians.n_features)
    if device.kind == "cuda":
        return _condition_on_device(weights, gaussians, X_known, known, device)
    values = _check_matrix(X_known, "X_known", (None, len(known)))
    observed = np.zeros(gaussians.n_features, bool)
    observed[known] = True
    values = np.ascontiguousarray(values[:, np.argsort(known)])
    part = marginal(gaussians, observed)
    slopes, covariances = conditional(gaussians, observed, part)
    shape = (len(values), gaussians.n_components, len(observed) - len(known))
    means = np.empty(shape, values.dtype)
    for k, slope in enumerate(slopes):
        means[:, k] = (values - part.means[k]) @ slope.T + gaussians.means[k, ~observed]
    return ConditionalMixture(
        _posterior(weights, part, values),
        means,
        covariances,
        np.flatnonzero(~observed),
    )


def _condition_on_device(
    weights: NDArray, gaussians: Gaussians, X_known: Any, known: NDArray[np.intp], device: Device
) -> DeviceConditionalMixture:
    memory, kernels = memory_of(device), load_kernels("fastmotion.mixture.kernels", device.kind)
    observed = np.zeros(gaussians.n_features, bool)
    observed[known] = True
    part = marginal(gaussians, observed)
    slopes, covariances = conditional(gaussians, observed, part)
    with np.errstate(divide="ignore"):  # a component of weight 0
        log_weights = np.log(np.asarray(weights, np.float64))
    with memory.scope():
        given = _check_device_matrix(X_known, "X_known", (None, len(known)), device)
        values = memory.empty(tuple(given.shape), given.dtype)
        kernels.take_columns(given, memory.put(np.argsort(known)), values)
        shape = (len(values), gaussians.n_components, len(observed) - len(known))
        means = memory.new(shape, values.dtype)
        passes = GaussianPasses(part, dtype=values.dtype, memory=memory)
        known_means, unknown_means = part.means - passes.centre, gaussians.means[:, ~observed]
        model = passes.centre, known_means, slopes, unknown_means
        kernels.regress(values, *(memory.put(array.astype(passes.dtype)) for array in model), means)
        posterior = DeviceSamples(values, memory=memory).probabilities(part, log_weights, weights)
        return DeviceConditionalMixture(
            like(posterior, X_known),
            like(means, X_known),
            covariances,
            np.flatnonzero(~observed),
            device,
        )


def _posterior(weights: NDArray, gaussians: Gaussians, X: NDArray) -> NDArray:
    with np.errstate(divide="ignore"):  # a component of weight 0
        log_weights = np.log(np.asarray(weights, np.float64))
    joint = np.empty((len(X), len(log_weights)))
    GaussianPasses(gaussians, log_weights=log_weights).log_densities(X, joint)
    # So far away that every density is 0, even in logarithms, nothing tells components apart.
    joint[np.isneginf(joint).all(axis=1)] = log_weights
    joint -= logsumexp(joint, axis=1, keepdims=True)
    return np.exp(joint).astype(X.dtype)


def _check_columns(columns: ArrayLike, n_features: int) -> NDArray[np.intp]:
    """Return the indices of the known features."""
    array = np.asarray(columns)
    if array.dtype == bool:
        if array.shape != (n_features,):
            raise ValueError(
                f"columns as a mask must have shape ({n_features},), one value for each feature, "
                f"got {array.shape}"
            )
        array = np.flatnonzero(array)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(
            "columns must be a one-dimensional array of indices or a mask, got shape "
            f"{array.shape} of dtype {array.dtype}"
        )
    indices = array.astype(np.intp)
    if ((indices < -n_features) | (indices >= n_features)).any():
        raise ValueError(
            f"columns must be indices of the {n_features} features, from {-n_features} to "
            f"{n_features - 1}, got {array.tolist()}"
        )
    indices %= n_features
    n_different = len(np.unique(indices))
    if n_different < len(indices):
        raise ValueError(f"columns must name each feature once, got {array.tolist()}")
    if not 0 < n_different < n_features:
        raise ValueError(
            f"columns must name at least one of the {n_features} features and leave at least one "
            f"out, got {array.tolist()}"
        )
    return indices


def _check_matrix(x: ArrayLike, name: str, shape: tuple[int | None, int]) -> NDArray:
    """Return a finite float32 or float64 matrix; None in `shape` stands for any length."""
    array = as_real_array(x, name)
    _check_shape(array, name, shape)
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    _check_finite(bool(np.isfinite(array).all()), name)
    return array


def _check_device_matrix(x: Any, name: str, shape: tuple[int | None, int], device: Device) -> Any:
    """Return a matrix as `_check_matrix` does, as a Numba device array; it may lie there."""
    if not is_cuda_array(x):
        return memory_of(device).put(_check_matrix(x, name, shape))
    array = as_device_array(x, device)
    require_real(array, name)
    _check_shape(array, name, shape)
    array = as_device_array(array, device, array.dtype if array.dtype == np.float32 else np.float64)
    _check_finite(summarise(array).is_finite, name)
    return array


def _check_shape(array: Any, name: str, shape: tuple[int | None, int]) -> None:
    if array.ndim != 2 or array.shape[1] != shape[1] or shape[0] not in (None, len(array)):
        wanted = f"({'n_samples' if shape[0] is None else shape[0]}, {shape[1]})"
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(array.shape)}")


def _check_finite(is_finite: bool, name: str) -> None:
    if not is_finite:
        raise ValueError(
            f"{name} must be finite, got NaN or infinity; condition rows with less known apart, on "
            "fewer columns"
        )
