"""Passes over data: densities of Gaussian components, and moments weighted by responsibilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmotion.core.device import CPU
from fastmotion.core.memory import Memory, memory_of
from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.kernels import kernels_for
from fastmotion.em.kernels.layout import HEAD
from fastmotion.em.kernels.scalar import HALF_LOG_2_PI
from fastmotion.em.rows import held_exactly

__all__ = ["GaussianPasses", "MomentSums", "chunks_of"]

# Work in float32 carries seven digits. A location this many standard deviations from the centre,
# or a whitening row this much longer than 1 / standard deviation, would cost more than two.
_FLOAT32_REACH = 30.0
_FLOAT32_STRETCH = 100.0
# Variances about the centre lose twice the digits of the means' distance from it in standard
# deviations. Beyond this distance the kernels of full covariances serve, whose sums are about each
# component's mean.
_DIAGONAL_REACH = 1e3

# A chunk is at least this many multiplications, about a third of a millisecond; there are at most
# so many chunks, and beyond a few their sums take at most so many bytes together. None of it
# depends on the number of threads, so neither do the sums.
_CHUNK_WORK = 2e6
_FEW_CHUNKS, _MAX_CHUNKS = 4, 32
_MAX_SUM_BYTES = 24e6
_ROWS = 256


@dataclass
class MomentSums:
    """Weighted sums over samples: of log-likelihoods, 1, deviations and their products; float64.

    Deviations are from the means, or from the centre, of the `GaussianPasses` that made the sums.
    Sums of parts of the data add to those of the whole.

    Attributes
    ----------
    values : float64 array
        All of them, as `fastmotion.em.kernels.layout` has them; on the device of the passes.
    """

    values: Any

    def add(self, other: MomentSums) -> None:
        """Add the sums over other samples; both on the host."""
        self.values += other.values

    @property
    def log_likelihood(self) -> float:
        """The log-likelihood; on the host."""
        return float(sum(self.values[:HEAD].tolist()))

    @property
    def nbytes(self) -> int:
        """Bytes that the sums take."""
        return self.values.nbytes


class GaussianPasses:
    """Gaussian components laid out for the kernels that run over data.

    Work is done in the dtype of the data where its digits suffice, else in float64, and on data
    relative to the middle of the means, so that their distance from the origin costs no digits.

    Parameters
    ----------
    gaussians : Gaussians
    log_weights : ndarray of shape (n_components,), default=None
        Added to the log densities: logarithms of the components' weights.
    dtype : {numpy.float64, numpy.float32}, default=numpy.float64
        Of the work at the narrowest: float32 is for data of float32.
    memory : Memory, default=None
        Where the data lie, that of the host if None. On a CUDA device the object is good until the
        scope of its memory ends, in which it was made.
    as_matrices : bool, default=False
        Whether sums are about the means, and of all products of features, in any case.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        log_weights: NDArray | None = None,
        dtype: DTypeLike = np.float64,
        memory: Memory | None = None,
        as_matrices: bool = False,
    ) -> None:
        self.gaussians = gaussians
        self._memory = memory_of(CPU) if memory is None else memory
        self._kernels: Any = kernels_for(self._memory.device.kind)
        self._centre = _middle(gaussians.means, log_weights)
        reach = (np.abs(gaussians.means - self._centre) / gaussians.deviations()).max()
        is_matrix = gaussians.covariance_type in ("full", "tied")
        self._is_full = is_matrix or as_matrices or reach > _DIAGONAL_REACH
        self._dtype = np.dtype(dtype)
        if reach > _FLOAT32_REACH or (is_matrix and _stretch(gaussians) > _FLOAT32_STRETCH):
            self._dtype = np.dtype(np.float64)
        if self._memory.device.kind == "cuda":
            # So that nothing but float32 is subtracted from float32.
            self._centre = held_exactly(self._centre, self._dtype)
        if self._is_full and self._dtype == np.float64:
            # Each mean is subtracted by itself: no digits are lost to those far away.
            self._centre = np.zeros_like(self._centre)
        self._lay_out(log_weights)

    @property
    def dtype(self) -> np.dtype:
        """Of the work."""
        return self._dtype

    @property
    def centre(self) -> NDArray[np.float64]:
        """What is subtracted from data before the work; on a CUDA device exact in its dtype."""
        return self._centre

    def log_densities(self, X: Any, out: Any) -> None:
        """Set ``out`` to log densities.

        Parameters
        ----------
        X : array of shape (n, n_features)
            float32 or float64, finite, C-contiguous, in the memory given.
        out : array of shape (n, n_components)
            float32 or float64, there too.
        """
        self._kernel("log_densities")(X, *self._parameters, out)

    def density_blocks(self, X: Any) -> Any:
        """Yield blocks of samples with log densities in scratch; on a CUDA device only.

        Parameters
        ----------
        X : device array of shape (n, n_features)

        Yields
        ------
        rows : slice
        log_p : device array of shape (n_components, at least the number of rows)
            May be changed; good until the next block is asked for.
        """
        return self._kernel("density_blocks")(X, *self._parameters)

    def add_statistics(self, X: Any, sample_weight: Any, sums: MomentSums) -> None:
        """Add the expected moments of samples, and their weighted log-likelihood.

        Parameters
        ----------
        X : array of shape (n, n_features)
            float32 or float64, finite, C-contiguous, in the memory given.
        sample_weight : array of shape (n,)
            There too; float64 on the host, of the dtype of X on a CUDA device, where it may also be
            of shape (0,) for ones.
        sums : MomentSums
            Added to.
        """
        self._kernel("statistics")(X, sample_weight, *self._parameters, sums.values)

    def add_moments(self, X: Any, responsibilities: Any, sums: MomentSums) -> None:
        """Add the moments of samples with given responsibilities.

        Parameters
        ----------
        X : array of shape (n, n_features)
            float32 or float64, finite, C-contiguous, in the memory given.
        responsibilities : array of shape (n, n_components)
            Times sample weights. On a CUDA device it may be a callable that is told a block of rows
            and an array of shape (n_components, at least the number of rows), which it sets.
        sums : MomentSums
            Added to.
        """
        centre, means, *_ = self._parameters
        self._kernel("add_moments")(X, responsibilities, centre, means, sums.values)

    def new_sums(self, *lead: int) -> MomentSums:
        """Return sums over no samples, on the device of the data; with leading axes, many."""
        n_padded, width = self._padded_shape
        n_second = self.gaussians.n_components * width if self._is_full else n_padded
        n_values = HEAD + n_padded + (n_padded + n_second) * width
        return MomentSums(self._memory.zeros((*lead, n_values), np.float64))

    def fetch(self, sums: MomentSums) -> MomentSums:
        """Return the sums on the host."""
        return MomentSums(self._memory.fetch(sums.values))

    def moments(self, sums: MomentSums) -> GaussianMoments:
        """Return the moments that sums of this object's, on the host, stand for.

        They have the leading axes that the sums have.
        """
        n_components, n_features = self.gaussians.means.shape
        n_padded, width = self._padded_shape
        lead = sums.values.shape[:-1]
        parts = np.split(sums.values[..., HEAD:], [n_padded, n_padded * (1 + width)], axis=-1)
        counts, first, second = parts
        counts = counts[..., :n_components].copy()
        divisor = np.where(counts > 0, counts, 1)
        first = first.reshape(*lead, n_padded, width)[..., :n_components, :n_features]
        step = first / divisor[..., np.newaxis]
        if not self._is_full:
            second = second.reshape(*lead, n_padded, width)[..., :n_components, :n_features]
            scatter = np.maximum(second - counts[..., np.newaxis] * step**2, 0)
            is_known = counts[..., np.newaxis] > 0
            means = np.where(is_known, self._centre + step, self.gaussians.means)
            return GaussianMoments(counts, means, scatter)
        second = second.reshape(*lead, n_components, width, width)[..., :n_features, :n_features]
        lower = np.tril(second, -1)
        scatter = lower + np.swapaxes(lower, -1, -2)
        diagonal = np.einsum("...ii->...i", scatter)
        diagonal += np.einsum("...ii->...i", second)
        scatter -= counts[..., None, None] * step[..., :, None] * step[..., None, :]
        if self.gaussians.covariance_type in ("diag", "spherical"):
            scatter = diagonal
        return GaussianMoments(counts, self.gaussians.means + step, scatter)

    def chunks(self, n_samples: int) -> list[slice]:
        """Return the parts of so many samples that are summed apart, in order."""
        n_components, n_features = self.gaussians.means.shape
        width = n_features + 2 if self._is_full else 4
        work = n_components * (n_features * width + 20.0)
        return chunks_of(n_samples, work, self.new_sums().nbytes)

    @property
    def _padded_shape(self) -> tuple[int, int]:
        """Number of components and of features, padded as the kernels want them."""
        n_components, n_features = self.gaussians.means.shape
        return n_components + n_components % 2, -(-n_features // 4) * 4

    def _kernel(self, name: str) -> Any:
        return getattr(self._kernels, f"{name}_{'full' if self._is_full else 'diag'}")

    def _lay_out(self, log_weights: NDArray | None) -> None:
        """Set the arguments that kernels take after the data."""
        gaussians, dtype = self.gaussians, self._dtype
        n_components, n_features = gaussians.means.shape
        width = self._padded_shape[1]
        offsets = gaussians.means - self._centre
        means = np.zeros((n_components, width), dtype)
        if self._is_full:
            means[:, :n_features] = offsets
            factors = np.zeros((n_components, width, width), dtype)
            whitening = np.swapaxes(gaussians.full_precisions_cholesky(), 1, 2)
            factors[:, :n_features, :n_features] = whitening
        else:
            factors = np.zeros((n_components, width), dtype)
            factors[:, :n_features] = 1 / gaussians.deviations()
            means[:, :n_features] = offsets / gaussians.deviations()
        constants = gaussians.half_log_determinants() - n_features * HALF_LOG_2_PI
        if log_weights is not None:
            constants = constants + log_weights
        centre = self._centre
        if self._memory.device.kind == "cuda":
            centre = centre.astype(dtype)
        parameters = centre, means, factors, constants.astype(dtype)
        self._parameters = tuple(map(self._memory.put, parameters))


def chunks_of(n_samples: int, work: float, sum_bytes: int) -> list[slice]:
    """Return the parts that samples are summed in, by work per sample and bytes of the sums."""
    most = max(_FEW_CHUNKS, min(_MAX_CHUNKS, int(_MAX_SUM_BYTES / sum_bytes)))
    size = max(-(-n_samples // most), int(_CHUNK_WORK / work))
    size = max(1, -(-size // _ROWS)) * _ROWS
    return [slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]


def _stretch(gaussians: Gaussians) -> float:
    """Return the greatest entry of the whitening rows, in units of 1 / standard deviation."""
    scaled = gaussians.deviations()[:, :, None] * gaussians.full_precisions_cholesky()
    return float(np.abs(scaled).max())


def _middle(means: NDArray, log_weights: NDArray | None) -> NDArray:
    """Return the weighted median of the means, feature by feature.

    Of an average, a component far away, as on an outlier, would take the digits of the others.
    """
    weights = np.ones(len(means)) if log_weights is None else np.exp(log_weights)
    order = np.argsort(means, axis=0, kind="stable")
    shares = np.cumsum(weights[order], axis=0)
    middle = (shares >= 0.5 * shares[-1]).argmax(axis=0)
    return np.take_along_axis(means, np.take_along_axis(order, middle[np.newaxis], 0), 0)[0]
