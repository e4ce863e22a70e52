"""Weighted samples, complete or not, and the passes of Gaussian components over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.compile import as_kernel_input
from fastmotion.core.parallel import thread_map
from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.kernels import kernels_for
from fastmotion.em.missing import MissingPasses, has_missing, pattern_order
from fastmotion.em.passes import GaussianPasses

__all__ = ["Rows", "Samples", "check_range", "is_in_range", "normalise"]

Rows = slice | NDArray[np.int64]

# Variances of greater values, or their inverses, would leave the range of the dtype.
_LARGEST = {np.dtype(np.float32): 1e16, np.dtype(np.float64): 1e100}

# Samples whose densities under all components are in memory at once, in each thread.
_PIECE = 4096


class Samples:
    """Samples that Gaussian components are fitted to or evaluated at.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        float32 or float64, C-contiguous; NaN where a value is missing, else finite.
    sample_weight : float64 ndarray of shape (n_samples,), default=None
        Positive; None stands for ones.
    n_jobs : int or None, default=None
        Threads.

    Attributes
    ----------
    X, sample_weight, n_jobs
        As given.
    is_complete : bool
        Whether nothing is missing.
    """

    def __init__(
        self, X: NDArray, sample_weight: NDArray | None = None, n_jobs: int | None = None
    ) -> None:
        self.X = as_kernel_input(X)
        self.sample_weight = None if sample_weight is None else as_kernel_input(sample_weight)
        self.n_jobs = n_jobs
        self.is_complete = not has_missing(X)
        # Rows that miss the same features are summed together.
        self._order = None if self.is_complete else pattern_order(X)

    def __len__(self) -> int:
        return len(self.X)

    @cached_property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether something is known of each sample."""
        if self.is_complete:
            return np.broadcast_to(True, len(self))
        return ~np.isnan(self.X).all(1)

    @cached_property
    def n_known(self) -> int:
        """Number of samples of which something is known."""
        return int(np.count_nonzero(self.is_known))

    @cached_property
    def total_weight(self) -> float:
        """Sum of their weights."""
        if self.sample_weight is None:
            return float(self.n_known)
        return float(self.sample_weight.sum(where=self.is_known))

    def statistics(
        self, gaussians: Gaussians, log_weights: NDArray
    ) -> tuple[GaussianMoments, float]:
        """Return the expected moments, and the weighted log-likelihood: the E-step.

        Parameters
        ----------
        gaussians : Gaussians
        log_weights : ndarray of shape (n_components,)
            Logarithms of the components' weights.
        """
        passes = self._passes(gaussians, log_weights)

        def of_chunk(chunk: slice) -> Any:
            sums = passes.new_sums()
            X, weight = self.X[self._rows(chunk)], self._weight(chunk)
            passes.add_statistics(X, weight, sums)
            return sums

        sums, *others = thread_map(of_chunk, passes.chunks(len(self)), n_jobs=self.n_jobs)
        for other in others:
            sums.add(other)
        return passes.moments(sums), sums.log_likelihood

    def moments(
        self, gaussians: Gaussians, responsibilities: Callable[[Rows], NDArray]
    ) -> GaussianMoments:
        """Return the moments under given responsibilities.

        Parameters
        ----------
        gaussians : Gaussians
            What the sums are taken about, and missing values are completed by.
        responsibilities : callable
            Returns those of some samples, of shape (n, n_components); is asked in order.
        """
        passes = self._passes(gaussians, None)
        sums = passes.new_sums()

        for chunk in _pieces(slice(0, len(self))):
            shares = responsibilities(self._rows(chunk)) * self._weight(chunk)[:, None]
            passes.add_moments(self.X[self._rows(chunk)], shares, sums)
        return passes.moments(sums)

    def evaluate(
        self,
        gaussians: Gaussians,
        log_weights: NDArray,
        consume: Callable[[Rows, NDArray], None],
    ) -> None:
        """Compute log densities, weights included, chunk by chunk.

        Parameters
        ----------
        gaussians : Gaussians
        log_weights : ndarray of shape (n_components,)
        consume : callable
            Told the samples and their log densities, of shape (n, n_components), which it may
            change. Called from several threads.
        """
        passes = self._passes(gaussians, log_weights)

        def of_chunk(chunk: slice) -> None:
            buffer = np.empty((min(_PIECE, chunk.stop - chunk.start), gaussians.n_components))
            for piece in _pieces(chunk):
                log_densities = buffer[: piece.stop - piece.start]
                passes.log_densities(self.X[self._rows(piece)], log_densities)
                consume(self._rows(piece), log_densities)

        thread_map(of_chunk, passes.chunks(len(self)), n_jobs=self.n_jobs)

    def _passes(self, gaussians: Gaussians, log_weights: NDArray | None) -> Any:
        """Return `GaussianPasses` or, with the same methods, `MissingPasses`."""
        if self.is_complete:
            return GaussianPasses(gaussians, log_weights=log_weights, dtype=self.X.dtype)
        return MissingPasses(gaussians, log_weights=log_weights)

    def _rows(self, chunk: slice) -> Rows:
        return chunk if self._order is None else self._order[chunk]

    def _weight(self, chunk: slice) -> NDArray:
        if self.sample_weight is None:
            return np.ones(chunk.stop - chunk.start)
        return self.sample_weight[self._rows(chunk)]


def _pieces(rows: slice) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, _PIECE):
        yield slice(start, min(start + _PIECE, rows.stop))


def normalise(log_densities: NDArray) -> NDArray:
    """Turn rows of log densities, in place, into responsibilities; return logs of their sums."""
    log_norms = np.empty(len(log_densities))
    kernels_for("cpu").normalise_rows(log_densities, log_norms)
    return log_norms


def is_in_range(X: NDArray) -> bool:
    """Return whether variances of the values that are not missing can be held in their dtype."""
    low, high = _extremes(X)  # NaN, beyond nothing, if all are missing
    return not max(-low, high) > _LARGEST[X.dtype]


def check_range(X: NDArray) -> None:
    """Raise if variances of the values would leave the range of their dtype.

    Raises
    ------
    ValueError
        A value is too large.
    """
    if not is_in_range(X):
        low, high = _extremes(X)
        raise ValueError(
            f"X holds values from {low:g} to {high:g}, sums of whose squares overflow {X.dtype}; "
            f"scale it so that none is beyond {_LARGEST[X.dtype]:g}"
        )


def _extremes(X: NDArray) -> tuple[float, float]:
    return np.fmin.reduce(X, axis=None), np.fmax.reduce(X, axis=None)
