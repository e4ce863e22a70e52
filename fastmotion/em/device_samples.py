"""Weighted samples on a CUDA device, and the passes of Gaussian components over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmotion.core.device import is_cuda_array
from fastmotion.core.interop import as_device_array
from fastmotion.core.memory import Memory, memory_at
from fastmotion.core.transfer import transfers
from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.kernels import kernels_for
from fastmotion.em.missing import DevicePatterns, MissingDevicePasses, feature_moments
from fastmotion.em.passes import GaussianPasses, MomentSums
from fastmotion.em.rows import (
    has_missing,
    held_exactly,
    pack_missing,
    scale_weights,
    take_rows,
    take_rows_on_device,
)
from fastmotion.em.samples import Samples
from fastmotion.em.seeding import Frame

__all__ = ["AnySamples", "DeviceSamples", "as_float64", "rows_of_weight", "samples_of"]

# The share of the free memory that samples of the host may take to stay on the device.
_STAY = 0.6
# The share that a part of them may take where they do not, or are needed once.
_PART = 0.1
_ADVICE = "pass fewer samples at a time, to partial_fit or predict, or lower n_components"


class DeviceSamples:
    """Samples that Gaussian components are fitted to or evaluated at, on a CUDA device.

    It has the methods of `fastmotion.em.samples.Samples`. Samples of the host are copied to the
    device once if they have room there, else part by part in each pass, beside the computation.

    Parameters
    ----------
    X : ndarray or Numba device array of shape (n_samples, n_features)
        float32 or float64, C-contiguous; NaN where a value is missing, else finite.
    sample_weight : float64 ndarray of shape (n_samples,), default=None
        Not negative, on the host; None stands for ones.
    memory : Memory
        In a scope that lasts as long as the samples.
    again : bool, default=True
        Whether there is more than one pass.
    """

    n_jobs = None

    def __init__(
        self,
        X: Any,
        sample_weight: NDArray[np.float64] | None = None,
        *,
        memory: Memory,
        again: bool = True,
    ) -> None:
        self.X = X
        self.sample_weight = sample_weight
        self.memory = memory
        self.kernels: Any = kernels_for(memory.device.kind)
        self.is_complete = not has_missing(X)
        self._there = self._place(again)
        self._put_weights()
        self._patterns = None if self.is_complete else DevicePatterns.of(self._there, memory)

    def __len__(self) -> int:
        return len(self.X)

    def weighted(self, sample_weight: NDArray[np.float64]) -> DeviceSamples:
        """Return the samples with other weights."""
        samples = copy(self)
        samples.sample_weight = sample_weight
        samples._put_weights()
        vars(samples).pop("total_weight", None)
        return samples

    def _put_weights(self) -> None:
        """Set the weights on the device, and the power of 2 that sums are to be multiplied by."""
        if self.sample_weight is None:
            self._weights, self._exponent = self.kernels.none_of(self.memory, self.X.dtype), 0
            return
        weights, self._exponent = scale_weights(self.sample_weight, self.X.dtype)
        self._weights = self.memory.put(weights)

    @cached_property
    def _missing(self) -> NDArray[np.uint8]:
        """Bits of the missing features of each row."""
        return pack_missing(self.X)

    @cached_property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether something is known of each sample."""
        if self.is_complete:
            return np.broadcast_to(True, len(self))
        nothing = np.packbits(np.ones(self.X.shape[1], bool))
        return (self._missing != nothing).any(axis=1)

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

    def empty_features(self) -> list[int]:
        """Return the features without any value."""
        if self.is_complete:
            return []
        bits = np.bitwise_and.reduce(self._missing, axis=0)
        return np.flatnonzero(np.unpackbits(bits, count=self.X.shape[1])).tolist()

    def rows(self, rows: NDArray[np.intp] | slice) -> NDArray:
        """Return some samples, on the host."""
        return take_rows(self.X, rows)

    def feature_moments(self, n_samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means and variances of what is observed of features, in at least some samples."""
        if self.is_complete:
            return feature_moments(self.rows(slice(None, None, 1 + len(self) // n_samples)))
        # Some of the rows may lack all that others tell of a feature.
        means = np.zeros(self.X.shape[1])
        for _ in range(2):
            means = held_exactly(means, self.X.dtype)
            counts, first, second = self._feature_sums(means)
            divisor = np.where(counts > 0, counts, 1)
            means = means + first / divisor
        return means, np.maximum(second / divisor - (first / divisor) ** 2, 0)

    def _feature_sums(self, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return counts, sums and sums of squares of what is observed of each feature."""
        kernels, memory, X = self.kernels, self.memory, self._there
        with memory.scope():
            n = kernels.n_chunks(len(X))
            partial = memory.empty((n, 3 * X.shape[1]), X.dtype)
            kernels.sum_features(X, memory.put(centre.astype(X.dtype)), kernels.CHUNK, partial)
            sums = memory.zeros(3 * X.shape[1], np.float64)
            kernels.merge(partial, n, sums, 0)
            return memory.fetch(sums).reshape(3, -1)

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
        with self.memory.scope(_ADVICE):
            passes = self._passes(gaussians, log_weights)
            sums = passes.new_sums()
            for rows, X in self._parts():
                passes.add_statistics(X, self.kernels.part(self._weights, rows), sums)
            found = self._fetch(passes, sums)
        return passes.moments(found), found.log_likelihood

    def moments(
        self, gaussians: Gaussians, responsibilities: Callable[[slice], NDArray]
    ) -> GaussianMoments:
        """Return the moments under given responsibilities.

        Parameters
        ----------
        gaussians : Gaussians
            What the sums are taken about, and missing values are completed by.
        responsibilities : callable
            Returns those of some samples, of shape (n, n_components) and on the host; is asked in
            order.
        """
        memory, kernels = self.memory, self.kernels

        def share(rows: slice, X: Any, r: Any) -> None:
            with memory.scope():
                kernels.transpose(memory.put(responsibilities(rows)), r.shape[0], r)
            kernels.scale(r, rows.stop - rows.start, kernels.part(self._weights, rows))

        with memory.scope(_ADVICE):
            return self._moments(self._passes(gaussians, None), share)

    def cluster_moments(self, gaussians: Gaussians, centres: NDArray) -> GaussianMoments:
        """Return the moments where each sample belongs to the component of the nearest centre.

        Parameters
        ----------
        gaussians : Gaussians
            What the sums are taken about, and missing values are completed by.
        centres : ndarray of shape (n_components, n_features)
        """
        memory, kernels = self.memory, self.kernels
        frame = Frame.around(centres, self.X)
        find = kernels.densities_diag if self.is_complete else kernels.distances_observed
        with memory.scope(_ADVICE):
            local = frame.apply(centres)
            units = np.full_like(local, frame.scale)
            constants = np.zeros(len(local), local.dtype)
            passes = self._passes(gaussians, None)
            arrays = frame.shift, local, units, constants
            parameters = [memory.put(array.astype(passes.dtype)) for array in arrays]
            distances = kernels.none_of(memory, passes.dtype)

            def share(rows: slice, X: Any, r: Any) -> None:
                find(X, *parameters, r)
                weights = kernels.part(self._weights, rows)
                kernels.take_largest(r, rows.stop - rows.start, weights, distances)

            return self._moments(passes, share)

    def moments_of_all(self) -> GaussianMoments:
        """Return the moments of all samples, which have no missing values, as one component."""
        mean = self.rows(np.array([0])).astype(np.float64)
        covariance = np.eye(mean.shape[1])[np.newaxis]

        def share(rows: slice, X: Any, r: Any) -> None:
            self.memory.fill(r, 1)
            weights = self.kernels.part(self._weights, rows)
            self.kernels.scale(r, rows.stop - rows.start, weights)

        # Twice: about a sample, which may be far from all others, and about the mean that is found.
        for _ in range(2):
            gaussians = Gaussians.from_covariances(mean, covariance, "full")
            with self.memory.scope(_ADVICE):
                moments = self._moments(self._passes(gaussians, None), share)
            mean = moments.means
        return moments

    def _moments(
        self, passes: GaussianPasses, share: Callable[[slice, Any, Any], None]
    ) -> GaussianMoments:
        """Return moments; ``share`` sets responsibilities times weights of a block of samples."""
        sums = passes.new_sums()
        for rows, X in self._parts():

            def load(block: slice, r: Any, first: int = rows.start, X: Any = X) -> None:
                where = slice(first + block.start, first + block.stop)
                share(where, self.kernels.part(X, block), r)

            passes.add_moments(X, load, sums)
        return passes.moments(self._fetch(passes, sums))

    def _fetch(self, passes: GaussianPasses, sums: MomentSums) -> MomentSums:
        """Return sums on the host, with the weights as they were given."""
        return MomentSums(np.ldexp(passes.fetch(sums).values, self._exponent))

    def labels(self, gaussians: Gaussians, log_weights: NDArray) -> Any:
        """Return the component of greatest density of each sample, int64, where X lies."""
        return self._evaluate(gaussians, log_weights, (), np.int64, self.kernels.find_largest)

    def log_likelihoods(self, gaussians: Gaussians, log_weights: NDArray) -> Any:
        """Return the log-likelihood of each sample, in the dtype of X and where it lies."""
        return self._evaluate(gaussians, log_weights, (), self.X.dtype, self.kernels.log_norms)

    def probabilities(self, gaussians: Gaussians, log_weights: NDArray, weights: NDArray) -> Any:
        """Return the probability of each component for each sample, as `log_likelihoods`.

        It is that of ``weights`` where a sample has no density at all.
        """

        def write(log_p: Any, n: int, out: Any) -> None:
            with self.memory.scope():
                self.kernels.posteriors(log_p, n, self.memory.put(weights.astype(log_p.dtype)))
            self.kernels.transpose(log_p, n, out)

        return self._evaluate(gaussians, log_weights, (len(log_weights),), self.X.dtype, write)

    def log_likelihood(self, gaussians: Gaussians, log_weights: NDArray) -> float:
        """Return the log-likelihood of all samples, with their weights."""
        return self._total(gaussians, log_weights, self.kernels.weigh)

    def doubt(self, gaussians: Gaussians, log_weights: NDArray) -> float:
        """Return the entropy of the samples' components, in nats, summed with their weights."""
        return self._total(gaussians, log_weights, self.kernels.add_entropies)

    def _total(
        self,
        gaussians: Gaussians,
        log_weights: NDArray,
        add: Callable[[Any, int, Any, Any], None],
    ) -> float:
        kernels, memory = self.kernels, self.memory
        with memory.scope(_ADVICE):
            passes = self._passes(gaussians, log_weights)
            total = memory.zeros(kernels.HEAD, np.float64)
            for rows, X in self._parts():
                weights = kernels.part(self._weights, rows)
                for block, log_p in passes.density_blocks(X):
                    n = block.stop - block.start
                    n_chunks = kernels.n_chunks(n)
                    with memory.scope():
                        partial = memory.empty((n_chunks, kernels.HEAD), log_p.dtype)
                        add(log_p, n, kernels.part(weights, block), partial)
                        kernels.merge(partial, n_chunks, total, 0)
            return float(np.ldexp(sum(memory.fetch(total).tolist()), self._exponent))

    def _evaluate(
        self,
        gaussians: Gaussians,
        log_weights: NDArray,
        tail: tuple[int, ...],
        dtype: DTypeLike,
        write: Callable[[Any, int, Any], None],
    ) -> Any:
        """Return what ``write`` makes of the log densities, block by block."""
        kernels, memory = self.kernels, self.memory
        stays = is_cuda_array(self.X)
        shape = (len(self), *tail)
        out = memory.new(shape, dtype) if stays else np.empty(shape, dtype)
        with memory.scope(_ADVICE), transfers(memory) as moving:
            passes = self._passes(gaussians, log_weights)
            for rows, X in self._parts():
                n = rows.stop - rows.start
                with memory.scope(_ADVICE):
                    there = kernels.part(out, rows) if stays else memory.empty((n, *tail), dtype)
                    for block, log_p in passes.density_blocks(X):
                        write(log_p, block.stop - block.start, kernels.part(there, block))
                    if not stays:
                        moving.down(there, out[rows])
        return out

    def _passes(self, gaussians: Gaussians, log_weights: NDArray | None) -> Any:
        """Return `GaussianPasses` or, with the same methods, `MissingDevicePasses`."""
        if self._patterns is None:
            return GaussianPasses(
                gaussians, log_weights=log_weights, dtype=self.X.dtype, memory=self.memory
            )
        return MissingDevicePasses(
            gaussians, log_weights=log_weights, patterns=self._patterns, memory=self.memory
        )

    def _place(self, again: bool) -> Any:
        """Return the samples on the device, or None if they go there part by part."""
        if is_cuda_array(self.X):
            return self.X
        stays = self.X.nbytes <= self.memory.budget(_STAY)
        if not self.is_complete or (again and stays):
            return self.memory.put(self.X)
        return None

    def _parts(self) -> Iterator[tuple[slice, Any]]:
        """Yield all rows, or parts of them one after the other, with the samples on the device."""
        n = len(self)
        if self._there is not None:
            yield slice(0, n), self._there
            return
        # What comes of a row may take more than the row.
        row_bytes = 4 * self.X.nbytes // max(1, n) + 1
        chunk = self.kernels.CHUNK
        size = max(1, self.memory.budget(_PART) // (row_bytes * chunk)) * chunk
        parts = [slice(i, min(i + size, n)) for i in range(0, n, size)]
        with transfers(self.memory) as moving:
            waits = [moving.up(self.X[parts[0]])]
            for i, rows in enumerate(parts):
                X = waits[i]()
                if i + 1 < len(parts):
                    waits.append(moving.up(self.X[parts[i + 1]]))
                yield rows, X


AnySamples = Samples | DeviceSamples


def samples_of(
    X: Any,
    sample_weight: NDArray[np.float64] | None,
    n_jobs: int | None,
    memory: Memory,
    *,
    again: bool = True,
) -> AnySamples:
    """Return samples for the device whose memory is given.

    Parameters
    ----------
    X : ndarray or Numba device array of shape (n_samples, n_features)
    sample_weight : ndarray of shape (n_samples,) or None
    n_jobs : int or None
    memory : Memory
        In a scope that lasts as long as the samples.
    again : bool, default=True
        Whether there is more than one pass.
    """
    if memory.device.kind == "cuda":
        return DeviceSamples(X, sample_weight, memory=memory, again=again)
    return Samples(X, sample_weight, n_jobs)


def rows_of_weight(X: Any, weight: NDArray[np.float64]) -> Any:
    """Return the rows of positive weight, where they lie."""
    if is_cuda_array(X):
        return take_rows_on_device(X, np.flatnonzero(weight))
    return X[weight > 0]


def as_float64(X: Any) -> Any:
    """Return samples as float64, where they lie."""
    if is_cuda_array(X):
        return as_device_array(X, memory_at(X).device, np.float64)
    return X.astype(np.float64)
