"""Rows with missing values on a CUDA device.

Rows are taken in parts of PART rows, each of which belongs to one thread for each component: a
thread goes through the incomplete rows of its part in the order of what they miss, with factors of
the covariances for each such pattern. The functions of one row are those of the CPU; what a thread
keeps lies in memory beside what its neighbours keep.
"""

import numpy as np
from numba import cuda, float32, float64, int64, uint8, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size, launch_shape
from fastmotion.core.kernels.cuda import block_sum
from fastmotion.em.kernels.cuda_densities import DTYPES
from fastmotion.em.kernels.missing import (
    add_products,
    add_spread,
    complete,
    constant_of,
    factorise_observed,
    half_square,
    sort_features,
    whiten,
)

__all__ = [
    "PART",
    "add_incomplete_moments",
    "distances_observed",
    "pack_missing",
    "set_incomplete_densities",
    "sum_features",
    "take_rows",
]

_THREADS = block_size(256, 4)

# Rows whose moments one thread sums, for each component.
PART = block_size(256, 16)

_BITS = 8
_DTYPES = (float32, float64)
_HALF = np.float32(0.5)  # exact in either dtype
# Blocks along the rows of a launch are limited in number.
_ROWS_PER_LAUNCH = 2**18


@cuda_function
def _misses_the_same(x, y):
    n_different = 0
    for j in range(len(x)):
        n_different += (x[j] == x[j]) != (y[j] == y[j])
    return n_different == 0


@cuda_kernel(
    signatures=tuple(
        void(
            data[:, ::1], int64, int64[::1], int64[::1], int64, float64[:, ::1],
            float64[:, :, ::1], float64[::1], float64[:, :, ::1], float64[:, :, ::1],
            int64[:, ::1], float64[:, ::1],
        )
        for data in _DTYPES
    )
)  # fmt: skip
def _set_densities(
    X, first, order, starts, first_part, means, covariances, constants, lowers, vectors, indices,
    log_p,
):  # fmt: skip
    thread = cuda.grid(1)
    if thread >= lowers.shape[2]:
        return
    k = thread % len(means)
    part = first_part + thread // len(means)
    lower = lowers[:, :, thread]
    z = vectors[0, :, thread]
    index = indices[:, thread]
    n_observed = 0
    constant = 0.0
    for place in range(starts[part], starts[part + 1]):
        row = order[place] - first
        if place == starts[part] or not _misses_the_same(X[row], X[order[place - 1] - first]):
            n_observed = sort_features(X[row], index)
            factorise_observed(lower, covariances[k], index, n_observed)
            constant = constant_of(constants[k], lower, n_observed)
        whiten(z, X[row], means[k], lower, index, n_observed)
        log_p[k, row] = constant - half_square(z, n_observed)


def set_incomplete_densities(
    X, first, order, starts, means, covariances, constants, scratch, log_p
):
    """Set the log densities of the observed parts of incomplete rows.

    Parameters
    ----------
    X : device array of shape (n, n_features)
        A whole number of parts of all rows, but for the last.
    first : int
        Which of all rows is its first one.
    order : int64 device array
        The incomplete ones of all rows, part by part, sorted in each by what they miss.
    starts : int64 device array of shape (n_parts + 1,)
        Where in it each part begins.
    means, covariances, constants : float64 device arrays
        As of `fastmotion.em.kernels.missing.log_densities_of_patterns`.
    scratch : tuple of device arrays
        From `scratch_of`.
    log_p : float64 device array of shape (n_components, at least n)
    """
    lowers, vectors, indices = scratch
    _set_densities[launch_shape((lowers.shape[2],))](
        X, first, order, starts, first // PART, means, covariances, constants,
        lowers, vectors, indices, log_p,
    )  # fmt: skip


def scratch_of(memory, n_rows, n_components, n_features):
    """Return what the threads of so many rows keep: matrices, two vectors and an index of each."""
    n_threads = n_parts(n_rows) * n_components
    return (
        memory.empty((n_features, n_features, n_threads), np.float64),
        memory.empty((2, n_features, n_threads), np.float64),
        memory.empty((n_features, n_threads), np.int64),
    )


def n_parts(n_rows):
    """Return in how many parts so many rows are taken."""
    return -(-n_rows // PART)


@cuda_kernel(
    signatures=tuple(
        void(
            data[:, ::1], int64, int64[::1], int64[::1], int64, float64[:, ::1],
            float64[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1], int64[:, ::1],
            float64[:, ::1], float64[:, ::1], float64[:, :, ::1], float64[:, :, :, ::1],
        )
        for data in _DTYPES
    )
)  # fmt: skip
def _add_moments(
    X, first, order, starts, first_part, means, covariances, lowers, vectors, indices, r,
    counts, firsts, seconds,
):  # fmt: skip
    thread = cuda.grid(1)
    if thread >= lowers.shape[2]:
        return
    k = thread % len(means)
    own = thread // len(means)
    part = first_part + own
    lower = lowers[:, :, thread]
    z = vectors[0, :, thread]
    d = vectors[1, :, thread]
    index = indices[:, thread]
    second = seconds[own, k]
    n_observed = 0
    count = 0.0
    total = 0.0  # of the present pattern
    for place in range(starts[part], starts[part + 1]):
        row = order[place] - first
        if place == starts[part] or not _misses_the_same(X[row], X[order[place - 1] - first]):
            if total > 0.0:
                add_spread(second, covariances[k], lower, total, index, n_observed)
            count += total
            total = 0.0
            n_observed = sort_features(X[row], index)
            factorise_observed(lower, covariances[k], index, n_observed)
        weight = r[k, row]
        r[k, row] = 0
        if n_observed > 0:
            total += weight
            whiten(z, X[row], means[k], lower, index, n_observed)
            complete(d, z, X[row], means[k], lower, index, n_observed)
            add_products(second, firsts[own, k], d, weight, index)
    if total > 0.0:
        add_spread(second, covariances[k], lower, total, index, n_observed)
    counts[own, k] = count + total


def add_incomplete_moments(X, first, order, starts, means, covariances, scratch, r, sums):
    """Set the expected moments of incomplete rows about the means, part by part.

    Parameters
    ----------
    X, first, order, starts, means, covariances, scratch
        As for `set_incomplete_densities`.
    r : float64 device array of shape (n_components, at least n)
        Responsibilities times weights; becomes 0 for the incomplete rows.
    sums : tuple of float64 device arrays
        Of shapes (n_parts, n_components), (n_parts, n_components, padded features) and (n_parts,
        n_components, padded features, padded features), zeros: counts, first moments, and the lower
        triangles of second moments.
    """
    lowers, vectors, indices = scratch
    _add_moments[launch_shape((lowers.shape[2],))](
        X, first, order, starts, first // PART, means, covariances,
        lowers, vectors, indices, r, *sums,
    )  # fmt: skip


@cuda_kernel(
    signatures=tuple(
        void(data[:, ::1], work[::1], work[:, ::1], work[:, ::1], work[::1], int64, work[:, ::1])
        for data, work in DTYPES
    )
)
def _distances_observed(X, origin, centres, units, constants, n, log_p):
    s = cuda.grid(1)
    if s >= n:
        return
    for k in range(len(centres)):
        square = log_p.dtype.type(0)
        for j in range(X.shape[1]):
            d = (X[s, j] - origin[j]) * units[k, j] - centres[k, j]
            if d == d:
                square += d * d
        log_p[k, s] = constants[k] - _HALF * square


def distances_observed(X, origin, centres, units, constants, log_p):
    """As `fastmotion.em.kernels.cuda_densities.densities_diag`, over what is observed of a row."""
    _distances_observed[launch_shape((len(X),))](
        X, origin, centres, units, constants, len(X), log_p
    )


@cuda_kernel(signatures=tuple(void(data[:, ::1], uint8[:, ::1]) for data in _DTYPES))
def _pack_missing(X, packed):
    byte, row = cuda.grid(2)
    if row < packed.shape[0] and byte < packed.shape[1]:
        bits = 0
        for i in range(_BITS):
            j = byte * _BITS + i
            bits *= 2
            if j < X.shape[1] and X[row, j] != X[row, j]:
                bits += 1
        packed[row, byte] = bits


def pack_missing(X, packed):
    """Set the bits of missing values, eight features to a number, the first feature's highest."""
    rows = _ROWS_PER_LAUNCH
    for first in range(0, len(X), rows):
        part = slice(first, min(first + rows, len(X)))
        _pack_missing[launch_shape(packed[part].shape)](X[part], packed[part])


@cuda_kernel(signatures=tuple(void(data[:, ::1], int64[::1], data[:, ::1]) for data in _DTYPES))
def _take_rows(X, rows, out):
    i = cuda.grid(1)
    n_features = X.shape[1]
    if i < out.size:
        out[i // n_features, i % n_features] = X[rows[i // n_features], i % n_features]


def take_rows(X, rows, out):
    """Copy some rows, given by an int64 device array, to another device array."""
    if out.size:
        _take_rows[launch_shape((out.size,))](X, rows, out)


@cuda_kernel(
    signatures=tuple(void(data[:, ::1], data[::1], int64, data[:, ::1]) for data in _DTYPES)
)
def _sum_features(X, centre, n_rows, partial):
    scratch = cuda.shared.array(_THREADS, X.dtype)
    zero = X.dtype.type(0)
    count = zero
    first = zero
    second = zero
    # There may be more features than blocks along y.
    part = cuda.blockIdx.x % len(partial)
    j = cuda.blockIdx.x // len(partial)
    begin = part * n_rows
    for row in range(begin + cuda.threadIdx.x, min(begin + n_rows, len(X)), _THREADS):
        d = X[row, j] - centre[j]
        if d == d:
            count += X.dtype.type(1)
            first += d
            second += d * d
    count = block_sum(count, scratch)
    first = block_sum(first, scratch)
    second = block_sum(second, scratch)
    if cuda.threadIdx.x == 0:
        n_features = X.shape[1]
        partial[part, j] = count
        partial[part, n_features + j] = first
        partial[part, 2 * n_features + j] = second


def sum_features(X, centre, n_rows, partial):
    """Set numbers of observed values, sums about a centre and sums of squares, part by part.

    Parameters
    ----------
    X : device array of shape (n, n_features)
    centre : device array of shape (n_features,)
    n_rows : int
        Of a part.
    partial : device array of shape (n_parts, 3 * n_features)
    """
    _sum_features[len(partial) * X.shape[1], _THREADS](X, centre, n_rows, partial)
