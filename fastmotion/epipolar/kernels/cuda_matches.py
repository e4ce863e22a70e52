"""Matches on a CUDA device: brought together, and held to a fundamental matrix."""

import math

import numpy as np
from numba import boolean, cuda, float32, float64, int64, void

from fastmotion.core.compile import cuda_kernel
from fastmotion.core.device import block_size, launch_shape
from fastmotion.core.kernels.cuda import block_sum
from fastmotion.epipolar.kernels.cuda_parts import (
    FIRST,
    MOST_BLOCKS,
    THREADS,
    N,
    put_table,
    starts_of,
    up_to_power,
)
from fastmotion.epipolar.kernels.scalar import LARGEST, sampson_terms, squared_sampson

__all__ = [
    "copy_columns",
    "find_within",
    "join_points",
    "set_distances",
    "set_symmetric_distances",
    "squared_distances",
    "sum_gains",
]

# The most blocks that add up gains.
_MOST_SUMS = block_size(1024, 4)

_START = 2
_ROWS = float64[:, ::1]


def copy_columns(source, out, start):
    """Copy the columns of a device array to those of another from one on."""
    n_rows, n = source.shape
    if n:
        _copy_columns[launch_shape((n_rows, n))](source, out, start)


@cuda_kernel(
    signatures=(
        void(float32[:, ::1], float32[:, ::1], int64),
        void(float64[:, ::1], float64[:, ::1], int64),
    )
)
def _copy_columns(source, out, start):
    column, row = cuda.grid(2)
    if row < source.shape[0] and column < source.shape[1]:
        out[row, start + column] = source[row, column]


def join_points(memory, first, second):
    """Return matches of shape (n, 4) for the points of both images, of shape (n, 2)."""
    matches = memory.empty((len(first), 4), np.float64)
    if len(first):
        _join_points[launch_shape((len(first),))](first, second, matches)
    return matches


@cuda_kernel(signatures=(void(_ROWS, _ROWS, _ROWS),))
def _join_points(first, second, matches):
    i = cuda.grid(1)
    if i < len(matches):
        matches[i, 0] = first[i, 0]
        matches[i, 1] = first[i, 1]
        matches[i, 2] = second[i, 0]
        matches[i, 3] = second[i, 1]


def squared_distances(residency, requests):
    """Set the squared Sampson distances of matches, of shape (n, 4)."""
    columns, first = residency.place([request[1] for request in requests], by_rows=True)
    sizes = np.array([len(request[1]) for request in requests])
    starts = starts_of(sizes)
    memory = residency.memory
    with memory.scope():
        squares = memory.empty(up_to_power(sizes.sum()), np.float64)
        blocks = max(1, min(-(-int(sizes.max()) // THREADS), MOST_BLOCKS))
        _measure[(blocks, len(requests)), THREADS](
            columns, put_table(memory, np.column_stack([first, sizes, starts]), np.int64),
            put_table(memory, [request[0] for request in requests], np.float64), squares,
        )  # fmt: skip
        found = memory.fetch(squares)
    for request, start, size in zip(requests, starts, sizes):
        request[2][:] = found[start : start + size]
    return [None] * len(requests)


@cuda_kernel(signatures=(void(_ROWS, int64[:, ::1], _ROWS, float64[::1]),))
def _measure(columns, where, models, squares):
    request = cuda.blockIdx.y
    f = models[request]
    first = where[request, FIRST]
    start = where[request, _START]
    for i in range(cuda.grid(1), where[request, N], cuda.gridsize(1)):
        squares[start + i] = squared_sampson(
            f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8],
            columns[0, first + i], columns[1, first + i],
            columns[2, first + i], columns[3, first + i],
        )  # fmt: skip


def set_distances(residency, requests):
    """Set distances on the device to those of matches that lie there, one request after the other.

    Each has a model on the host, matches of shape (n, 4) and distances of shape (n,). These are NaN
    where a coordinate is, or is out of range.
    """
    memory = residency.memory
    for model, matches, distances in requests:
        if len(matches):
            with memory.scope():
                _measure_rows[_grid_over(len(matches)), THREADS](
                    matches, memory.put(model), distances
                )
    return [None] * len(requests)


def _grid_over(n):
    return min(-(-n // THREADS), MOST_BLOCKS)


@cuda_kernel(signatures=(void(_ROWS, float64[::1], float64[::1]),))
def _measure_rows(matches, f, distances):
    for i in range(cuda.grid(1), len(distances), cuda.gridsize(1)):
        x1, y1, x2, y2 = matches[i, 0], matches[i, 1], matches[i, 2], matches[i, 3]
        distance = np.nan
        if abs(x1) <= LARGEST and abs(y1) <= LARGEST and abs(x2) <= LARGEST and abs(y2) <= LARGEST:
            distance = math.sqrt(
                squared_sampson(
                    f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], x1, y1, x2, y2
                )
            )
        distances[i] = distance


def set_symmetric_distances(residency, requests):
    """Set distances on the device to those of points from epipolar lines, as `set_distances`.

    They are the roots of the sums of the squares of both, 0 at an epipole.
    """
    memory = residency.memory
    for model, matches, distances in requests:
        if len(matches):
            with memory.scope():
                _measure_from_lines[_grid_over(len(matches)), THREADS](
                    matches, memory.put(model), distances
                )
    return [None] * len(requests)


@cuda_kernel(signatures=(void(_ROWS, float64[::1], float64[::1]),))
def _measure_from_lines(matches, f, distances):
    for i in range(cuda.grid(1), len(distances), cuda.gridsize(1)):
        residual, a, b, c, d = sampson_terms(
            f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8],
            matches[i, 0], matches[i, 1], matches[i, 2], matches[i, 3],
        )  # fmt: skip
        distance = 0.0
        if residual != 0.0:
            square = residual * residual
            distance = math.sqrt(square / (a * a + b * b) + square / (c * c + d * d))
        distances[i] = distance


def find_within(residency, requests):
    """Set which distances, on the device, are within a threshold."""
    for distances, threshold, is_within in requests:
        if len(distances):
            _find_within[_grid_over(len(distances)), THREADS](distances, threshold, is_within)
    return [None] * len(requests)


@cuda_kernel(signatures=(void(float64[::1], float64, boolean[::1]),))
def _find_within(distances, threshold, is_within):
    for i in range(cuda.grid(1), len(distances), cuda.gridsize(1)):
        is_within[i] = distances[i] <= threshold


def sum_gains(residency, requests):
    """Return the sums of the gains of distances on the device, and how many are not NaN.

    The gain of a match is ``max(0, 1 - d² / threshold²)``.
    """
    memory = residency.memory
    results = []
    for distances, threshold in requests:
        n_blocks = max(1, min(-(-len(distances) // (4 * THREADS)), _MOST_SUMS))
        with memory.scope():
            sums = memory.empty((n_blocks, 2), np.float64)
            _sum_gains[n_blocks, THREADS](distances, threshold, sums)
            gain, n = memory.fetch(sums).sum(axis=0)
        results.append((float(gain), int(n)))
    return results


@cuda_kernel(signatures=(void(float64[::1], float64, _ROWS),))
def _sum_gains(distances, threshold, sums):
    scratch = cuda.shared.array(THREADS, np.float64)
    gain = 0.0
    n = 0.0
    for i in range(cuda.grid(1), len(distances), cuda.gridsize(1)):
        distance = distances[i]
        if distance == distance:
            ratio = min(distance / threshold, 1.0)
            gain += 1.0 - ratio * ratio
            n += 1.0
    gain = block_sum(gain, scratch)
    n = block_sum(n, scratch)
    if cuda.threadIdx.x == 0:
        sums[cuda.blockIdx.x, 0] = gain
        sums[cuda.blockIdx.x, 1] = n
