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
from typing import Any, NamedTuple

import numpy as np

from fastmotion.core.memory import Memory, memory_at
from fastmotion.em.kernels.cuda_densities import densities_diag, densities_full, transpose
from fastmotion.em.kernels.cuda_missing import (
    PART,
    add_incomplete_moments,
    distances_observed,
    n_parts,
    pack_missing,
    scratch_of,
    set_incomplete_densities,
    sum_features,
    take_rows,
)
from fastmotion.em.kernels.cuda_moments import CHUNK, merge, moments_diag, moments_full, n_chunks
from fastmotion.em.kernels.cuda_rows import (
    add_entropies,
    find_largest,
    log_norms,
    posteriors,
    scale,
    take_largest,
    weigh,
)
from fastmotion.em.kernels.layout import HEAD

__all__ = [
    "CHUNK",
    "HEAD",
    "PART",
    "Incomplete",
    "add_entropies",
    "add_moments_diag",
    "add_moments_full",
    "add_moments_missing",
    "densities_diag",
    "density_blocks_diag",
    "density_blocks_full",
    "density_blocks_missing",
    "distances_observed",
    "find_largest",
    "log_densities_diag",
    "log_densities_full",
    "log_densities_missing",
    "log_norms",
    "merge",
    "n_chunks",
    "none_of",
    "pack_missing",
    "part",
    "posteriors",
    "scale",
    "statistics_diag",
    "statistics_full",
    "statistics_missing",
    "sum_features",
    "take_largest",
    "take_rows",
    "transpose",
    "weigh",
]

# Scratch beyond this gains nothing: launches are long enough, and less of it stays in the cache.
_MOST_BYTES = 2**26
_SHARE_OF_MEMORY = 0.25
_ADVICE = "lower n_components, or use covariance_type='diag'"

# What to do with a block of rows and their densities or responsibilities.
_Find = Callable[[slice, Any], None]
_Add = Callable[[slice, Any, Any], None]


class Incomplete(NamedTuple):
    """Which rows have missing values, and components that tell of their observed parts.

    All are device arrays. ``order`` are the rows, taken in parts of PART rows and sorted in each by
    what they miss; ``starts``, of shape (n_parts + 1,), is where in it each part begins. The others
    are as of `fastmotion.em.kernels.missing.log_densities_of_patterns`.
    """

    order: Any
    starts: Any
    means: Any
    covariances: Any
    constants: Any


@cache
def _empty(dtype: np.dtype) -> np.ndarray:
    return np.empty(0, dtype)


@cache
def _zeros(n: int, dtype: np.dtype) -> np.ndarray:
    return np.zeros(n, dtype)


def none_of(memory: Memory, dtype: Any) -> Any:
    """Return a device array without elements, which stands for one that is not given."""
    return memory.constant(_empty(np.dtype(dtype)))


def part(array: Any, rows: slice) -> Any:
    """Return some rows, without a new view where they are all; what has no elements stays so."""
    return array if len(array) in (0, rows.stop - rows.start) else array[rows]


def _blocks(X: Any, chunk_bytes: int) -> Iterator[slice]:
    """Return the blocks of samples that scratch, of so many bytes for a chunk, has room for."""
    room = min(_MOST_BYTES, memory_at(X).budget(_SHARE_OF_MEMORY))
    size = max(1, room // chunk_bytes) * CHUNK
    for start in range(0, len(X), size):
        yield slice(start, min(start + size, len(X)))


def _responsibilities(
    X: Any, n_components: int, dtype: np.dtype, find: _Find, more_bytes: int = 0
) -> Iterator[tuple[slice, Any]]:
    """Yield blocks of rows, and scratch for each that ``find`` has set.

    ``more_bytes`` is what else a chunk takes.
    """
    scratch = None
    for rows in _blocks(X, CHUNK * n_components * dtype.itemsize + more_bytes):
        if scratch is None:  # the first block is the largest
            scratch = memory_at(X).empty((n_components, rows.stop - rows.start), dtype)
        find(rows, scratch)
        yield rows, scratch


def _finder_full(X: Any, centre: Any, means: Any, factors: Any, constants: Any) -> _Find:
    def find(rows: slice, log_p: Any) -> None:
        densities_full(part(X, rows), centre, means, factors, constants, log_p)

    return find


def _finder_diag(X: Any, centre: Any, means: Any, factors: Any, constants: Any) -> _Find:
    def find(rows: slice, log_p: Any) -> None:
        densities_diag(part(X, rows), centre, means, factors, constants, log_p)

    return find


def _adder_full(X: Any, centre: Any, means: Any) -> _Add:
    def add(rows: slice, r: Any, partial: Any) -> None:
        moments_full(part(X, rows), centre, means, r, partial)

    return add


def _adder_diag(X: Any, centre: Any, means: Any) -> _Add:
    n_components, width = means.shape
    zeros = memory_at(X).constant(_zeros(-(-width // 4) * 4, means.dtype))

    def add(rows: slice, r: Any, partial: Any) -> None:
        moments_diag(part(X, rows), centre, zeros, n_components, r, partial)

    return add


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
    find = _finder_full(X, centre, means, factors, constants)
    return _responsibilities(X, len(means), means.dtype, find)


def density_blocks_diag(X, centre, scaled_means, inverse_deviations, constants):
    """As `density_blocks_full`, for independent features."""
    find = _finder_diag(X, centre, scaled_means, inverse_deviations, constants)
    return _responsibilities(X, len(scaled_means), scaled_means.dtype, find)


def log_densities_full(X, centre, means, factors, constants, out):
    """Set out, of shape (n, n_components), to log densities."""
    _store(X, density_blocks_full(X, centre, means, factors, constants), out)


def log_densities_diag(X, centre, scaled_means, inverse_deviations, constants, out):
    """As `log_densities_full`, for independent features."""
    _store(X, density_blocks_diag(X, centre, scaled_means, inverse_deviations, constants), out)


def _store(X: Any, found: Iterator[tuple[slice, Any]], out: Any) -> None:
    memory = memory_at(X)
    with memory.scope(_ADVICE):
        for rows, log_p in found:
            transpose(log_p, rows.stop - rows.start, part(out, rows))


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
    find = _finder_full(X, centre, means, factors, constants)
    _add_statistics(X, sample_weight, means, find, _adder_full(X, centre, means), sums)


def statistics_diag(X, sample_weight, centre, scaled_means, inverse_deviations, constants, sums):
    """As `statistics_full`, for independent features; sums are about the centre."""
    find = _finder_diag(X, centre, scaled_means, inverse_deviations, constants)
    add = _adder_diag(X, centre, scaled_means)
    _add_statistics(X, sample_weight, scaled_means, find, add, sums)


def _add_statistics(
    X: Any, sample_weight: Any, means: Any, find: _Find, add: _Add, sums: Any, more_bytes: int = 0
) -> None:
    memory, dtype = memory_at(X), means.dtype
    more_bytes += sums.size * dtype.itemsize
    partial = None
    with memory.scope(_ADVICE):
        for rows, r in _responsibilities(X, len(means), dtype, find, more_bytes):
            n = rows.stop - rows.start
            if partial is None:
                partial = memory.zeros((n_chunks(n), sums.size), dtype)  # padding is not set
            weigh(r, n, part(sample_weight, rows), partial)
            add(rows, r, partial)
            merge(partial, n_chunks(n), sums, 0)


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
    _add_moments(X, responsibilities, means, _adder_full(X, centre, means), sums)


def add_moments_diag(X, responsibilities, centre, scaled_means, sums):
    """As `add_moments_full`, for independent features; sums are about the centre."""
    _add_moments(X, responsibilities, scaled_means, _adder_diag(X, centre, scaled_means), sums)


def _add_moments(
    X: Any, responsibilities: Any, means: Any, add: _Add, sums: Any, more_bytes: int = 0
) -> None:
    def load(rows: slice, r: Any) -> None:
        transpose(part(responsibilities, rows), len(means), r)

    memory, dtype = memory_at(X), means.dtype
    more_bytes += sums.size * dtype.itemsize
    find = responsibilities if callable(responsibilities) else load
    partial = None
    with memory.scope(_ADVICE):
        for rows, r in _responsibilities(X, len(means), dtype, find, more_bytes):
            n = n_chunks(rows.stop - rows.start)
            if partial is None:
                partial = memory.zeros((n, sums.size), dtype)  # padding is not set
            add(rows, r, partial)
            merge(partial, n, sums, HEAD)


def density_blocks_missing(X, incomplete, centre, means, factors, constants):
    """As `density_blocks_full`, for rows with missing values: an `Incomplete` tells of those."""
    find = _finder_missing(X, incomplete, centre, means, factors, constants)
    more_bytes = _incomplete_bytes(means)
    return _responsibilities(X, len(means), means.dtype, find, more_bytes)


def log_densities_missing(X, incomplete, centre, means, factors, constants, out):
    """As `log_densities_full`, for rows with missing values: an `Incomplete` tells of those."""
    found = density_blocks_missing(X, incomplete, centre, means, factors, constants)
    _store(X, found, out)


def statistics_missing(X, sample_weight, incomplete, centre, means, factors, constants, sums):
    """As `statistics_full`, for rows with missing values: an `Incomplete` tells of those."""
    find = _finder_missing(X, incomplete, centre, means, factors, constants)
    add = _adder_missing(X, incomplete, centre, means, sums)
    _add_statistics(X, sample_weight, means, find, add, sums, _incomplete_bytes(means))


def add_moments_missing(X, responsibilities, incomplete, centre, means, sums):
    """As `add_moments_full`, for rows with missing values: an `Incomplete` tells of those."""
    add = _adder_missing(X, incomplete, centre, means, sums)
    _add_moments(X, responsibilities, means, add, sums, _incomplete_bytes(means))


def _incomplete_bytes(means: Any) -> int:
    """Return what a chunk of rows takes beside its responsibilities."""
    n_components, width = means.shape
    kept = width * (width + 3) + 1 + width * (width + 1)
    return CHUNK // PART * n_components * kept * np.dtype(np.float64).itemsize


def _finder_missing(
    X: Any, incomplete: Incomplete, centre: Any, means: Any, factors: Any, constants: Any
) -> _Find:
    memory = memory_at(X)
    of_complete = _finder_full(X, centre, means, factors, constants)

    def find(rows: slice, log_p: Any) -> None:
        of_complete(rows, log_p)
        with memory.scope():
            scratch = scratch_of(memory, rows.stop - rows.start, *incomplete.means.shape)
            set_incomplete_densities(part(X, rows), rows.start, *incomplete, scratch, log_p)

    return find


def _adder_missing(X: Any, incomplete: Incomplete, centre: Any, means: Any, sums: Any) -> _Add:
    memory = memory_at(X)
    n_components, width = means.shape
    of_complete = _adder_full(X, centre, means)
    n_padded = n_components + n_components % 2
    places = (0, n_padded, n_padded * (1 + width))

    def add(rows: slice, r: Any, partial: Any) -> None:
        n = n_parts(rows.stop - rows.start)
        with memory.scope():
            scratch = scratch_of(memory, rows.stop - rows.start, *incomplete.means.shape)
            found = [
                memory.zeros((n, n_components, *(width,) * power), np.float64) for power in range(3)
            ]
            add_incomplete_moments(part(X, rows), rows.start, *incomplete[:-1], scratch, r, found)
            for array, place in zip(found, places):
                size = array.size // n
                begin = HEAD + place
                merge(array.reshape(n, size), n, sums[begin : begin + size], 0)
        of_complete(rows, r, partial)

    return add
