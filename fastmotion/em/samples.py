"""Weighted samples, complete or not, and the passes of Gaussian components over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.parallel import thread_map
from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.kernels import kernels_for
from fastmotion.em.missing import complete, find_patterns, marginal
from fastmotion.em.passes import GaussianPasses, MomentSums

__all__ = ["Rows", "Samples", "normalise"]

Rows = slice | NDArray[np.intp]
_Sums = tuple[MomentSums, float]


@dataclass(frozen=True)
class _Part:
    """Samples of which the same features are known."""

    X: NDArray  # of the known features only
    rows: NDArray[np.intp] | None  # which of all samples; None for all
    observed: NDArray[np.bool_] | None  # which of all features; None for all

    def rows_of(self, chunk: slice) -> Rows:
        return chunk if self.rows is None else self.rows[chunk]


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
    """

    def __init__(
        self, X: NDArray, sample_weight: NDArray | None = None, n_jobs: int | None = None
    ) -> None:
        self.X = X
        self.sample_weight = sample_weight
        self.n_jobs = n_jobs
        self._parts = _part_by_pattern(X)
        self.is_complete = len(self._parts) == 1 and self._parts[0].observed is None

    def __len__(self) -> int:
        return len(self.X)

    @property
    def n_known(self) -> int:
        """Number of samples of which something is known."""
        return sum(len(part.X) for part in self._parts)

    @property
    def total_weight(self) -> float:
        """Sum of the weights of samples of which something is known."""
        if self.sample_weight is None:
            return float(self.n_known)
        return float(sum(self._weights(part, slice(None)).sum() for part in self._parts))

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

        def of_chunk(passes: GaussianPasses, part: _Part, chunk: slice) -> _Sums:
            sums = passes.new_sums()
            weights = self._weights(part, chunk)
            return sums, passes.add_statistics(part.X[chunk], weights, sums)

        return self._collect(gaussians, log_weights, of_chunk)

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

        def of_chunk(passes: GaussianPasses, part: _Part, chunk: slice) -> _Sums:
            sums = passes.new_sums()
            shares = responsibilities(part.rows_of(chunk)) * self._weights(part, chunk)[:, None]
            passes.add_moments(part.X[chunk], shares, sums)
            return sums, 0.0

        return self._collect(gaussians, None, of_chunk, n_jobs=1)[0]

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

        def of_chunk(passes: GaussianPasses, part: _Part, chunk: slice) -> None:
            X = part.X[chunk]
            log_densities = np.empty((len(X), gaussians.n_components))
            passes.log_densities(X, log_densities)
            consume(part.rows_of(chunk), log_densities)

        for part, passes in self._passes(gaussians, log_weights):
            self._map_chunks(passes, part, of_chunk, self.n_jobs)
        unknown = self._rows_of_nothing()
        if len(unknown):
            log_densities = np.tile(log_weights, (len(unknown), 1))
            consume(unknown, log_densities)

    def _collect(
        self,
        gaussians: Gaussians,
        log_weights: NDArray | None,
        of_chunk: Callable[[GaussianPasses, _Part, slice], _Sums],
        n_jobs: int | None = None,
    ) -> tuple[GaussianMoments, float]:
        moments, log_likelihood = None, 0.0
        for part, passes in self._passes(gaussians, log_weights):
            results = self._map_chunks(passes, part, of_chunk, n_jobs or self.n_jobs)
            (sums, _), *others = results
            for other, _ in others:
                sums.add(other)
            log_likelihood += sum(value for _, value in results)
            of_part = passes.moments(sums)
            if part.observed is not None:
                of_part = complete(of_part, gaussians, part.observed)
            moments = of_part if moments is None else moments.merge(of_part)
        assert moments is not None, "samples of which nothing is known are refused before"
        return moments, log_likelihood

    def _passes(
        self, gaussians: Gaussians, log_weights: NDArray | None
    ) -> Iterator[tuple[_Part, GaussianPasses]]:
        for part in self._parts:
            seen = gaussians if part.observed is None else marginal(gaussians, part.observed)
            yield part, GaussianPasses(seen, log_weights=log_weights)

    def _map_chunks(
        self, passes: GaussianPasses, part: _Part, func: Callable, n_jobs: int | None
    ) -> list:
        chunks = passes.chunks(len(part.X))
        return thread_map(lambda chunk: func(passes, part, chunk), chunks, n_jobs=n_jobs)

    def _weights(self, part: _Part, chunk: slice) -> NDArray:
        if self.sample_weight is None:
            return np.ones(len(part.X[chunk]))
        return self.sample_weight[part.rows_of(chunk)]

    def _rows_of_nothing(self) -> NDArray[np.intp]:
        if self.is_complete:
            return np.empty(0, np.intp)
        return np.flatnonzero(np.isnan(self.X).all(1))


def normalise(log_densities: NDArray) -> NDArray:
    """Turn rows of log densities, in place, into responsibilities; return logs of their sums."""
    log_norms = np.empty(len(log_densities))
    kernels_for("cpu").normalise_rows(log_densities, log_norms)
    return log_norms


def _part_by_pattern(X: NDArray) -> list[_Part]:
    # A sum is NaN if anything is, and costs less than a pass that asks of each value.
    with np.errstate(invalid="ignore", over="ignore"):
        if not np.isnan(X.sum()) or not np.isnan(X).any():
            return [_Part(X, None, None)]
    parts = []
    for pattern in find_patterns(X):
        if not pattern.observed.any():
            continue
        rows = X[pattern.rows]
        if pattern.observed.all():
            parts.append(_Part(rows, pattern.rows, None))
        else:
            known = np.ascontiguousarray(rows[:, pattern.observed])
            parts.append(_Part(known, pattern.rows, pattern.observed))
    return parts
