"""The kernels of Gaussian components on a CUDA device, with the names and arguments of `cpu`.

All arrays lie on the device; centre, means, factors and constants are of the dtype of the work.
Densities and responsibilities are in memory for a block of samples only, which is as large as
scratch may be and a whole number of the chunks that sums are made of.

Launches of an E-step: four for each block. Memory traffic per sample is its features, read once for
all components by the densities and once for each component by full moments (from the cache), and
its responsibilities, some five times.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from fastmotion.core.device import Device, device_index
from fastmotion.core.memory import memory_of
from fastmotion.em.kernels.cuda_densities import densities_diag, densities_full, transpose
from fastmotion.em.kernels.cuda_moments import CHUNK, merge, moments_diag, moments_full, n_chunks
from fastmotion.em.kernels.cuda_rows import (
    add_entropies,
    find_largest,
    log_norms,
    posteriors,
    take_largest,
    weigh,
)
from fastmotion.em.kernels.layout import HEAD

__all__ = [
    "CHUNK",
    "add_entropies",
    "add_moments_diag",
    "add_moments_full",
    "density_blocks_diag",
    "density_blocks_full",
    "find_largest",
    "log_densities_diag",
    "log_densities_full",
    "log_norms",
    "merge",
    "posteriors",
    "statistics_diag",
    "statistics_full",
    "take_largest",
    "transpose",
    "weigh",
]

# Scratch beyond this gains nothing: launches are long enough, and less of it stays in the cache.
_MOST_BYTES = 2**26
_SHARE_OF_MEMORY = 0.25
_ADVICE = "lower n_components, or use covariance_type='diag'"


def memory_at(array: Any) -> Any:
    """Return the memory that a device array lies in."""
    return memory_of(Device("cuda", device_index(array)))


@cache
def _empty(dtype: np.dtype) -> np.ndarray:
    return np.empty(0, dtype)


@cache
def _zeros(n: int, dtype: np.dtype) -> np.ndarray:
    return np.zeros(n, dtype)


def none_of(memory: Any, dtype: Any) -> Any:
    """Return a device array without elements, which stands for one that is not given."""
    return memory.constant(_empty(np.dtype(dtype)))


def blocks(X: Any, chunk_bytes: int) -> Iterator[slice]:
    """Return the blocks of samples that scratch, of so many bytes for a chunk, has room for."""
    room = min(_MOST_BYTES, memory_at(X).budget(_SHARE_OF_MEMORY))
    size = max(1, room // chunk_bytes) * CHUNK
    for start in range(0, len(X), size):
        yield slice(start, min(start + size, len(X)))


def _part(array: Any, rows: slice) -> Any:
    """Return some rows, without a new view where they are all."""
    return array if len(array) in (0, rows.stop - rows.start) else array[rows]


def _density_blocks(
    X: Any,
    n_components: int,
    dtype: np.dtype,
    write: Callable[[Any, Any], None],
    sum_bytes: int = 0,
) -> Iterator[tuple[slice, Any]]:
    """Return blocks of rows and their log densities, in scratch that the next block takes over."""
    memory = memory_at(X)
    scratch = None
    for rows in blocks(X, CHUNK * n_components * dtype.itemsize + sum_bytes):
        if scratch is None:  # the first block is the largest
            scratch = memory.empty((n_components, rows.stop - rows.start), dtype)
        write(_part(X, rows), scratch)
        yield rows, scratch


def density_blocks_full(X, centre, means, factors, constants):
    """Yield blocks of samples with their log densities, component by component.

    Parameters
    ----------
    X : device array of shape (n, n_features)
    centre, means, factors, constants : device arrays
        As of `log_densities_full`.

    Yields
    ------
    rows : slice
    log_p : device array of shape (n_components, at least the number of rows)
        May be changed; good until the next block is asked for.
    """
    return _density_blocks(
        X, len(constants), means.dtype,
        lambda x, log_p: densities_full(x, centre, means, factors, constants, log_p),
    )  # fmt: skip


def density_blocks_diag(X, centre, scaled_means, inverse_deviations, constants):
    """As `density_blocks_full`, for independent features."""
    return _density_blocks(
        X, len(constants), scaled_means.dtype,
        lambda x, p: densities_diag(x, centre, scaled_means, inverse_deviations, constants, p),
    )  # fmt: skip


def log_densities_full(X, centre, means, factors, constants, out):
    """Set out, of shape (n, n_components), to log densities."""
    _store(X, density_blocks_full(X, centre, means, factors, constants), out)


def log_densities_diag(X, centre, scaled_means, inverse_deviations, constants, out):
    """As `log_densities_full`, for independent features."""
    _store(X, density_blocks_diag(X, centre, scaled_means, inverse_deviations, constants), out)


def _store(X, found, out):
    memory = memory_at(X)
    everywhere = none_of(memory, np.int64)
    with memory.scope(_ADVICE):
        for rows, log_p in found:
            transpose(log_p, rows.stop - rows.start, everywhere, _part(out, rows))


def statistics_full(X, sample_weight, centre, means, factors, constants, sums):
    """Add the expected moments about the means, and the weighted log-likelihood, to the sums.

    Parameters
    ----------
    X : device array of shape (n, n_features)
    sample_weight : device array of shape (n,) or (0,), of the dtype of X
        Empty for ones.
    centre, means, factors, constants
        As of the CPU's ``statistics_full``.
    sums : float64 device array
        As `fastmotion.em.kernels.layout` has them; added to.
    """

    def find(x, log_p):
        densities_full(x, centre, means, factors, constants, log_p)

    def add(x, r, partial):
        moments_full(x, centre, means, r, partial)

    _add_statistics(X, sample_weight, len(constants), means.dtype, find, add, sums)


def statistics_diag(X, sample_weight, centre, scaled_means, inverse_deviations, constants, sums):
    """As `statistics_full`, for independent features; sums are about the centre."""
    zeros = _zeros_for(X, scaled_means)

    def find(x, log_p):
        densities_diag(x, centre, scaled_means, inverse_deviations, constants, log_p)

    def add(x, r, partial):
        moments_diag(x, centre, zeros, len(constants), r, partial)

    _add_statistics(X, sample_weight, len(constants), scaled_means.dtype, find, add, sums)


def _zeros_for(X, means):
    return memory_at(X).constant(_zeros(means.shape[1], means.dtype))


def _add_statistics(X, sample_weight, n_components, dtype, find, add, sums):
    memory = memory_at(X)
    with memory.scope(_ADVICE):
        partial = None
        sum_bytes = sums.size * dtype.itemsize
        for rows, r in _density_blocks(X, n_components, dtype, find, sum_bytes):
            n = rows.stop - rows.start
            if partial is None:
                partial = memory.empty((n_chunks(n), sums.size), dtype)
            weigh(r, n, _part(sample_weight, rows), partial)
            add(_part(X, rows), r, partial)
            merge(partial, n, sums, 0)


def add_moments_full(X, responsibilities, centre, means, sums):
    """Add the moments about the means of samples with given responsibilities to the sums.

    Parameters
    ----------
    X : device array of shape (n, n_features)
    responsibilities : float32 or float64 device array of shape (n, n_components), or callable
        Times sample weights. A callable is told a block of rows and an array of shape
        (n_components, at least the number of rows), of the dtype of the work, which it sets.
    centre, means
        As of `statistics_full`.
    sums : float64 device array
        Added to, but for the log-likelihood.
    """

    def add(x, r, partial):
        moments_full(x, centre, means, r, partial)

    _add_moments(X, responsibilities, means, add, sums)


def add_moments_diag(X, responsibilities, centre, scaled_means, sums):
    """As `add_moments_full`, for independent features; sums are about the centre."""
    zeros = _zeros_for(X, scaled_means)

    def add(x, r, partial):
        moments_diag(x, centre, zeros, len(scaled_means), r, partial)

    _add_moments(X, responsibilities, scaled_means, add, sums)


def _add_moments(X, responsibilities, means, add, sums):
    memory = memory_at(X)
    n_components, dtype = len(means), means.dtype
    chunk_bytes = (CHUNK * n_components + sums.size) * dtype.itemsize
    r = None
    with memory.scope(_ADVICE):
        everywhere = none_of(memory, np.int64)
        for rows in blocks(X, chunk_bytes):
            n = rows.stop - rows.start
            if r is None:  # the first block is the largest
                r = memory.empty((n_components, n), dtype)
                partial = memory.empty((n_chunks(n), sums.size), dtype)
            if callable(responsibilities):
                responsibilities(rows, r)
            else:
                transpose(_part(responsibilities, rows), n_components, everywhere, r)
            add(_part(X, rows), r, partial)
            merge(partial, n, sums, HEAD)
