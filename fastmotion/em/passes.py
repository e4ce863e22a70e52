"""Passes over data: densities of Gaussian components, and moments weighted by responsibilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.kernels import kernels_for
from fastmotion.em.kernels.scalar import HALF_LOG_2_PI

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
    """Weighted sums over samples: of 1, of deviations and of their products; float64.

    They are about the means, or about the centre, of the `GaussianPasses` that made them, and lie
    padded as its kernels want them. Sums of parts of the data add to those of the whole.
    """

    counts: NDArray
    first: NDArray
    second: NDArray

    def add(self, other: MomentSums) -> None:
        """Add the sums over other samples."""
        self.counts += other.counts
        self.first += other.first
        self.second += other.second

    @property
    def nbytes(self) -> int:
        """Bytes that the sums take."""
        return self.counts.nbytes + self.first.nbytes + self.second.nbytes


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
    """

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        log_weights: NDArray | None = None,
        dtype: DTypeLike = np.float64,
    ) -> None:
        self.gaussians = gaussians
        self._centre = _middle(gaussians.means, log_weights)
        reach = (np.abs(gaussians.means - self._centre) / gaussians.deviations()).max()
        is_matrix = gaussians.covariance_type in ("full", "tied")
        self._is_full = is_matrix or reach > _DIAGONAL_REACH
        self._dtype = np.dtype(dtype)
        if reach > _FLOAT32_REACH or (is_matrix and _stretch(gaussians) > _FLOAT32_STRETCH):
            self._dtype = np.dtype(np.float64)
        if self._is_full and self._dtype == np.float64:
            # Each mean is subtracted by itself: no digits are lost to those far away.
            self._centre = np.zeros_like(self._centre)
        self._lay_out(log_weights)

    def log_densities(self, X: NDArray, out: NDArray) -> None:
        """Set ``out`` to log densities.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            float32 or float64, finite, C-contiguous.
        out : ndarray of shape (n, n_components)
            float32 or float64.
        """
        kernels = self._kernels
        kernel = kernels.log_densities_full if self._is_full else kernels.log_densities_diag
        kernel(X, self._centre, self._means, self._factors, self._constants, out)

    def add_statistics(self, X: NDArray, sample_weight: NDArray, sums: MomentSums) -> float:
        """Add the expected moments of samples and return their weighted log-likelihood.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            float32 or float64, finite, C-contiguous.
        sample_weight : float64 ndarray of shape (n,)
        sums : MomentSums
            Added to.
        """
        kernel = self._kernels.statistics_full if self._is_full else self._kernels.statistics_diag
        return kernel(
            X, sample_weight, self._centre, self._means, self._factors, self._constants,
            sums.counts, sums.first, sums.second,
        )  # fmt: skip

    def add_moments(self, X: NDArray, responsibilities: NDArray, sums: MomentSums) -> None:
        """Add the moments of samples with given responsibilities.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            float32 or float64, finite, C-contiguous.
        responsibilities : ndarray of shape (n, n_components)
            Times sample weights.
        sums : MomentSums
            Added to.
        """
        kernel = self._kernels.add_moments_full if self._is_full else self._kernels.add_moments_diag
        kernel(X, responsibilities, self._centre, self._means, sums.counts, sums.first, sums.second)

    def new_sums(self) -> MomentSums:
        """Return sums over no samples."""
        n_components, width = self._means.shape
        padded = n_components + n_components % 2
        second = (n_components, width, width) if self._is_full else (padded, width)
        return MomentSums(np.zeros(padded), np.zeros((padded, width)), np.zeros(second))

    def moments(self, sums: MomentSums) -> GaussianMoments:
        """Return the moments that sums of this object's stand for."""
        n_components, n_features = self.gaussians.means.shape
        counts = sums.counts[:n_components].copy()
        divisor = np.where(counts > 0, counts, 1)
        step = sums.first[:n_components, :n_features] / divisor[:, None]
        if not self._is_full:
            second = sums.second[:n_components, :n_features]
            scatter = np.maximum(second - counts[:, None] * step**2, 0)
            means = np.where(counts[:, None] > 0, self._centre + step, self.gaussians.means)
            return GaussianMoments(counts, means, scatter)
        second = sums.second[:, :n_features, :n_features]
        lower = np.tril(second, -1)
        scatter = lower + np.swapaxes(lower, 1, 2)
        diagonal = np.einsum("kii->ki", scatter)
        diagonal += np.einsum("kii->ki", second)
        scatter -= counts[:, None, None] * step[:, :, None] * step[:, None, :]
        if self.gaussians.covariance_type in ("diag", "spherical"):
            scatter = diagonal
        return GaussianMoments(counts, self.gaussians.means + step, scatter)

    def chunks(self, n_samples: int) -> list[slice]:
        """Return the parts of so many samples that are summed apart, in order."""
        n_components, n_features = self.gaussians.means.shape
        width = n_features + 2 if self._is_full else 4
        work = n_components * (n_features * width + 20.0)
        return chunks_of(n_samples, work, self.new_sums().nbytes)

    def _lay_out(self, log_weights: NDArray | None) -> None:
        gaussians = self.gaussians
        n_components, n_features = gaussians.means.shape
        width = -(-n_features // 4) * 4
        offsets = gaussians.means - self._centre
        self._means = np.zeros((n_components, width), self._dtype)
        if self._is_full:
            self._means[:, :n_features] = offsets
            self._factors = np.zeros((n_components, width, width), self._dtype)
            factors = np.swapaxes(gaussians.full_precisions_cholesky(), 1, 2)
            self._factors[:, :n_features, :n_features] = factors
        else:
            self._factors = np.zeros((n_components, width), self._dtype)
            self._factors[:, :n_features] = 1 / gaussians.deviations()
            self._means[:, :n_features] = offsets / gaussians.deviations()
        constants = gaussians.half_log_determinants() - n_features * HALF_LOG_2_PI
        if log_weights is not None:
            constants = constants + log_weights
        self._constants = constants.astype(self._dtype)

    @property
    def _kernels(self) -> Any:
        return kernels_for("cpu")


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
