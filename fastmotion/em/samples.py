"""Weighted samples, complete or not, and the passes of Gaussian components over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.compile import as_kernel_input
from fastmotion.core.device import CPU, is_cuda_array
from fastmotion.core.interop import summarise
from fastmotion.core.memory import memory_of
from fastmotion.core.parallel import thread_map
from fastmotion.core.validation import extremes
from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.kernels import kernels_for
from fastmotion.em.missing import MissingPasses, feature_moments, has_missing, pattern_order
from fastmotion.em.passes import GaussianPasses, MomentSums
from fastmotion.em.seeding import assign

__all__ = ["Rows", "Samples", "check_range", "is_in_range", "moments_of_bags", "normalise"]

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
        Not negative; None stands for ones.
    n_jobs : int or None, default=None
        Threads.

    Attributes
    ----------
    X, sample_weight, n_jobs
        As given.
    is_complete : bool
        Whether nothing is missing.
    memory : Memory
        That of the host.
    """

    memory = memory_of(CPU)

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

    def weighted(self, sample_weight: NDArray[np.float64]) -> Samples:
        """Return the samples with other weights."""
        samples = copy(self)
        samples.sample_weight = as_kernel_input(sample_weight)
        vars(samples).pop("total_weight", None)
        return samples

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

    def empty_features(self) -> list[int]:
        """Return the features without any value."""
        return [] if self.is_complete else np.flatnonzero(np.isnan(self.X).all(0)).tolist()

    def rows(self, rows: Rows) -> NDArray:
        """Return some samples."""
        return self.X[rows]

    def feature_moments(self, n_samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means and variances of what is observed of features, in at least some samples."""
        # Where values are missing, some of the rows may lack all that others tell of a feature.
        step = 1 + len(self) // n_samples if self.is_complete else 1
        return feature_moments(self.X[::step])

    def cluster_moments(self, gaussians: Gaussians, centres: NDArray) -> GaussianMoments:
        """Return the moments where each sample belongs to the component of the nearest centre.

        Parameters
        ----------
        gaussians : Gaussians
            What the sums are taken about, and missing values are completed by.
        centres : ndarray of shape (n_components, n_features)
        """
        labels = assign(self.X, centres, n_jobs=self.n_jobs)
        return self.moments(gaussians, lambda rows: np.eye(len(centres))[labels[rows]])

    def labels(self, gaussians: Gaussians, log_weights: NDArray) -> NDArray[np.int64]:
        """Return the component of greatest density of each sample."""
        labels = np.empty(len(self), np.int64)

        def keep(rows: Rows, log_densities: NDArray) -> None:
            labels[rows] = log_densities.argmax(1)

        self.evaluate(gaussians, log_weights, keep)
        return labels

    def log_likelihoods(self, gaussians: Gaussians, log_weights: NDArray) -> NDArray:
        """Return the log-likelihood of each sample, in the dtype of X."""
        with np.errstate(over="ignore"):  # beyond the range of float32 a density is 0
            scores = self._log_likelihoods(gaussians, log_weights)
            return scores.astype(self.X.dtype, copy=False)

    def _log_likelihoods(self, gaussians: Gaussians, log_weights: NDArray) -> NDArray[np.float64]:
        scores = np.empty(len(self))

        def keep(rows: Rows, log_densities: NDArray) -> None:
            scores[rows] = normalise(log_densities)

        self.evaluate(gaussians, log_weights, keep)
        return scores

    def log_likelihood(self, gaussians: Gaussians, log_weights: NDArray) -> float:
        """Return the log-likelihood of all samples, with their weights."""
        scores = self._log_likelihoods(gaussians, log_weights)
        weight = self._all_weights()
        counts = (weight > 0) & self.is_known
        return float(np.dot(weight[counts], scores[counts]))

    def probabilities(
        self, gaussians: Gaussians, log_weights: NDArray, weights: NDArray
    ) -> NDArray:
        """Return the probability of each component for each sample, in the dtype of X.

        It is that of ``weights`` where a sample has no density at all.
        """
        probabilities = np.empty((len(self), len(log_weights)), self.X.dtype)

        def keep(rows: Rows, log_densities: NDArray) -> None:
            is_nowhere = np.isneginf(normalise(log_densities))
            log_densities[is_nowhere] = weights  # no component is nearer than another
            probabilities[rows] = log_densities

        self.evaluate(gaussians, log_weights, keep)
        return probabilities

    def doubt(self, gaussians: Gaussians, log_weights: NDArray) -> float:
        """Return the entropy of the samples' components, in nats, summed with their weights."""
        entropies = np.empty(len(self))

        def keep(rows: Rows, log_densities: NDArray) -> None:
            shares = log_densities.copy()
            log_norms = normalise(shares)[:, None]
            # A share of 0 adds nothing, though its logarithm is minus infinity.
            logs = np.zeros_like(shares)
            np.subtract(log_densities, log_norms, out=logs, where=shares > 0)
            entropies[rows] = -(shares * logs).sum(1)

        self.evaluate(gaussians, log_weights, keep)
        return float(self._all_weights() @ entropies)

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

    def _all_weights(self) -> NDArray[np.float64]:
        return np.ones(len(self)) if self.sample_weight is None else self.sample_weight

    def _weight(self, chunk: slice) -> NDArray:
        if self.sample_weight is None:
            return np.ones(chunk.stop - chunk.start)
        return self.sample_weight[self._rows(chunk)]


def _pieces(rows: slice) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, _PIECE):
        yield slice(start, min(start + _PIECE, rows.stop))


def moments_of_bags(
    bags: Sequence[NDArray], gaussians: Gaussians, log_weights: NDArray, n_jobs: int | None = None
) -> GaussianMoments:
    """Return the expected moments of each of many sets of samples, along a leading axis.

    Components are laid out once for all, which spares most of the time where sets are small.

    Parameters
    ----------
    bags : sequence of ndarray of shape (n_samples, n_features)
        At least one; all float32 or all float64, C-contiguous and finite.
    gaussians : Gaussians
    log_weights : ndarray of shape (n_components,)
        Logarithms of the components' weights.
    n_jobs : int or None, default=None
        Threads.
    """
    passes = GaussianPasses(gaussians, log_weights=log_weights, dtype=bags[0].dtype)
    tasks = [(k, rows) for k, bag in enumerate(bags) for rows in passes.chunks(len(bag))]

    def of_chunk(task: tuple[int, slice]) -> MomentSums:
        k, rows = task
        sums = passes.new_sums()
        X = as_kernel_input(bags[k])[rows]
        passes.add_statistics(X, np.ones(len(X)), sums)
        return sums

    total = passes.new_sums(len(bags))
    for (k, _), sums in zip(tasks, thread_map(of_chunk, tasks, n_jobs=n_jobs)):
        total.values[k] += sums.values
    return passes.moments(total)


def normalise(log_densities: NDArray) -> NDArray:
    """Turn rows of log densities, in place, into responsibilities; return logs of their sums."""
    log_norms = np.empty(len(log_densities))
    kernels_for("cpu").normalise_rows(log_densities, log_norms)
    return log_norms


def is_in_range(X: Any) -> bool:
    """Return whether variances of the values that are not missing can be held in their dtype.

    X is an array on the host or a Numba device array.
    """
    low, high = _extremes(X)  # beyond nothing if all are missing
    return not max(-low, high) > _LARGEST[X.dtype]


def check_range(X: Any) -> None:
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


def _extremes(X: Any) -> tuple[float, float]:
    if is_cuda_array(X):
        found = summarise(X)
        return found.smallest, found.largest
    return extremes(X)
