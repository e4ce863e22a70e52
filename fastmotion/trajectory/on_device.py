"""Frames on a CUDA device: how they get there, and what fits need of them besides their sums.

Each function does on the device what NumPy does for frames on the host, where its caller stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import Device, is_cuda_array
from fastmotion.core.interop import as_device_array
from fastmotion.core.memory import memory_at, memory_of
from fastmotion.trajectory.kernels import kernels_for

# Rows of a block of threads that works through sequences row by row.
_BLOCK_ROWS = 64

# What medians take for each channel: differences, and counts of each sequence.
_BYTES_OF_DIFFERENCE, _BYTES_OF_SEQUENCE = 8, 300


def as_float64(values: Any) -> Any:
    """Return an array as float64, where it lies."""
    if is_cuda_array(values):
        return as_device_array(values, memory_at(values).device, np.float64)
    return values.astype(np.float64, copy=False)


def transposed(array: Any, order: Sequence[int]) -> Any:
    """Return a view of a contiguous device array with its axes in another order."""
    shape = tuple(array.shape)
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return kernels_for("cuda").view(
        array, 0, [shape[axis] for axis in order], [strides[axis] for axis in order]
    )


def contiguous(array: Any, order: Sequence[int]) -> Any:
    """Return a contiguous device array with the axes of one in another order, itself if it is."""
    if list(order) == sorted(order):
        return array
    return as_device_array(transposed(array, order), memory_at(array).device)


def folded(outputs: Any, starts: NDArray[np.int64], length: int, axes: Sequence[str]) -> Any:
    """Return a view of kernels' outputs with the axes of a container.

    Parameters
    ----------
    outputs : device array of shape (n_kernels, total_frames, n_joints, n_coords)
    starts : ndarray of shape (n_sequences,), int64
        First row of each sequence, at equal distances.
    length : int
        Rows of each.
    axes : sequence of {"sequence", "frame", "joint", "coord", "kernel"}
        Those that it has; what is left out has size one.
    """
    n_kernels, n_frames, n_joints, n_coords = outputs.shape
    row = n_joints * n_coords
    step = int(starts[1] - starts[0]) if len(starts) > 1 else int(length)
    sizes = {
        "sequence": (len(starts), step * row),
        "frame": (int(length), row),
        "joint": (n_joints, n_coords),
        "coord": (n_coords, 1),
        "kernel": (n_kernels, n_frames * row),
    }
    shape, strides = zip(*(sizes[axis] for axis in axes))
    if not length:
        return memory_at(outputs).new(shape, outputs.dtype)
    return kernels_for("cuda").view(outputs, int(starts[0]) * row, shape, strides)


def row_blocks(starts: NDArray[np.int64], stops: NDArray[np.int64], n_rows: int) -> NDArray:
    """Return sequence and part of each block of rows, (n_blocks, 4)."""
    counts = -(-(stops - starts) // n_rows)
    owners = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = starts[owners] + number * n_rows
    end = np.minimum(begin + n_rows, stops[owners])
    return np.stack([starts[owners], stops[owners], begin, end], axis=1)


def join(blocks: Sequence[Any], device: Device, dtype: type[np.floating]) -> Any:
    """Return arrays, some of them on the device, one behind the other on it.

    Parameters
    ----------
    blocks : sequence of array of shape (n_sequences, n_frames, n_joints, n_coords)
    device : Device
    dtype : {numpy.float32, numpy.float64}

    Returns
    -------
    device array of shape (total_frames, n_joints, n_coords)
    """
    memory = memory_of(device)
    shape = tuple(blocks[0].shape)[2:]
    parts = [as_device_array(block, device, dtype) for block in blocks]
    parts = [part.reshape((part.shape[0] * part.shape[1], *shape)) for part in parts]
    if len(parts) == 1:
        return parts[0]
    out = memory.empty((sum(len(part) for part in parts), *shape), dtype)
    begin = 0
    for part in parts:
        memory.copy(part, out[begin : begin + len(part)])
        begin += len(part)
    return out


def stacked(first: NDArray, then: Any) -> Any:
    """Return rows from the host and those of a device array behind them, on the device."""
    memory = memory_at(then)
    with memory.scope():
        dtype = np.result_type(first, then.dtype)
        then = as_device_array(then, memory.device, dtype)
        out = memory.new((len(first) + len(then), *tuple(then.shape)[1:]), dtype)
        memory.copy(memory.put(first.astype(dtype)), out[: len(first)])
        memory.copy(then, out[len(first) :])
        return out


def take_rows(values: Any, rows: NDArray[np.int64]) -> Any:
    """Return some rows of a device array, good until the scope of its memory ends."""
    memory = memory_at(values)
    flat = values.reshape((len(values), values.size // max(1, len(values))))
    out = memory.empty((len(rows), flat.shape[1]), values.dtype)
    kernels_for("cuda").take_rows(flat, memory.put(rows), out)
    return out.reshape((len(rows), *tuple(values.shape)[1:]))


def seen_joints(frames: Any) -> NDArray[np.bool_]:
    """Return which joints have a value in some frame, (n_joints,)."""
    memory = memory_at(frames)
    n_frames, n_joints, n_coords = frames.shape
    with memory.scope():
        seen = memory.zeros((n_joints * n_coords,), np.uint8)
        kernels_for("cuda").find_seen(frames.reshape((n_frames, n_joints * n_coords)), seen)
        found: NDArray[np.bool_] = memory.fetch(seen).reshape(n_joints, n_coords) > 0
        return np.logical_or.reduce(found, axis=1)


def filled(values: Any, number: float) -> Any:
    """Return a float64 copy of a device array with a number for what is NaN."""
    memory = memory_at(values)
    flat = values.reshape((len(values), values.size // max(1, len(values))))
    out = memory.empty(tuple(flat.shape), np.float64)
    memory.copy(as_float64(flat), out)
    kernels_for("cuda").set_missing(out, number)
    return out.reshape(tuple(values.shape))


def product(values: Any, factors: Any) -> Any:
    """Return products of float64 device arrays (n_frames, n_columns), of one column or more."""
    memory = memory_at(values)
    out = memory.empty((len(values), max(values.shape[1], factors.shape[1])), np.float64)
    kernels_for("cuda").multiply_rows(values, factors, out)
    return out


def least_in_window(
    trust: Any, starts: NDArray[np.int64], stops: NDArray[np.int64], reach: tuple[int, int]
) -> Any:
    """Return the least confidence of the frames of each window, (total_frames, n_joints)."""
    memory = memory_at(trust)
    out = memory.empty(tuple(trust.shape), np.float64)
    blocks = memory.put(row_blocks(starts, stops, _BLOCK_ROWS))
    kernels_for("cuda").least_in_window(as_float64(trust), blocks, *reach, out)
    return out


def noise_sizes(
    frames: Any, starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the median size of the fifth differences of each channel of each sequence.

    NaN where there is none. As many sequences at a time as the memory holds the differences of.
    """
    memory = memory_at(frames)
    kernels = kernels_for("cuda")
    n_channels = frames.shape[1] * frames.shape[2]
    flat = frames.reshape((len(frames), n_channels))
    groups = np.arange(n_channels, dtype=np.int64)
    room = memory.budget() // n_channels
    most, most_sequences = room // _BYTES_OF_DIFFERENCE, room // _BYTES_OF_SEQUENCE
    found, begin = [], 0
    while begin < len(starts):
        fitting = np.searchsorted(stops[begin:] - starts[begin], most, side="right")
        end = begin + max(1, min(int(fitting), most_sequences))
        first, last = int(starts[begin]), int(stops[end - 1])
        low, high = starts[begin:end] - first, stops[begin:end] - first
        with memory.scope("pass fewer frames at a time, or give the noise as a number"):
            sizes = memory.empty((last - first, n_channels), np.float64)
            blocks = memory.put(row_blocks(low, high, _BLOCK_ROWS))
            kernels.fifth_differences(flat[first:last], blocks, sizes)
            found.append(kernels.medians(sizes, low, high, groups, n_channels))
        begin = end
    return np.concatenate(found)


def outlier_weights(
    wanted: Any,
    given: Any,
    base: Any,
    groups: NDArray[np.int64],
    limits: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> Any:
    """Return weights, (total_frames, n_channels), less beyond what ``limits`` makes of medians."""
    memory, kernels = memory_at(wanted), kernels_for("cuda")
    wanted, given = _alike(wanted, given, len(groups))
    sizes = memory.empty(tuple(wanted.shape), np.float64)
    kernels.distances(wanted, given, base, sizes)
    n_groups = int(groups.max()) + 1
    whole = np.array([0]), np.array([len(wanted)])
    most = limits(kernels.medians(sizes, *whole, groups, n_groups)[0])
    out = memory.empty(tuple(sizes.shape), np.float64)
    kernels.weigh_distances(sizes, memory.put(most), memory.put(groups), base, out)
    return out


def _alike(values: Any, others: Any, n_channels: int) -> tuple[Any, Any]:
    """Return values of frames as (total_frames, n_channels) and of one dtype."""
    values, others = (x.reshape((len(x), n_channels)) for x in (values, others))
    if values.dtype == others.dtype:
        return values, others
    return as_float64(values), as_float64(others)


def add_constants(values: Any, constants: NDArray) -> None:
    """Add a constant for each channel to a device array (total_frames, n_joints, n_coords)."""
    memory = memory_at(values)
    flat = values.reshape((len(values), len(constants)))
    with memory.scope():
        kernels_for("cuda").add_constants(flat, memory.put(constants.astype(values.dtype)))


def difference(values: Any, others: Any, *, keep_missing: bool) -> Any:
    """Return differences in float64: NaN, or else 0, where one of the two is missing."""
    memory = memory_at(values)
    n_channels = math.prod(tuple(values.shape)[1:])
    flat = [as_float64(x).reshape((len(x), n_channels)) for x in (values, others)]
    out = memory.empty(tuple(flat[0].shape), np.float64)
    kernels_for("cuda").subtract(*flat, keep_missing, out)
    return out.reshape(tuple(values.shape))


def score_sums(wanted: Any, given: Any, weights: Any, mean: float) -> NDArray[np.float64]:
    """Return what the kernel of this name does, for arrays (total_frames, n_joints, n_coords).

    ``weights`` may be None.
    """
    memory = memory_at(wanted)
    n_channels = math.prod(tuple(wanted.shape)[1:])
    with memory.scope():
        if weights is None:
            weights = memory.empty((0, 1), np.float64)
        return kernels_for("cuda").score_sums(*_alike(wanted, given, n_channels), weights, mean)


def pool(
    outputs: Any,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    pools: Sequence[str],
    cells: Sequence[tuple[int, int]],
    fill_value: float,
    out: Any,
) -> NDArray[np.int64]:
    """Set statistics of kernels' outputs over parts of sequences.

    Parameters
    ----------
    outputs : device array of shape (n_kernels, total_frames, n_joints, n_coords)
    starts, lengths : ndarray of shape (n_sequences,), int64
        Rows that count.
    pools : sequence of str
    cells : sequence of tuple of two ints
        Number of equal parts, and which of them.
    fill_value : float
    out : device array of shape (n_sequences, n_kernels, n_channels, n_pools, n_cells)

    Returns
    -------
    ndarray of shape (n_sequences,), int64
        How many features of each sequence have no value.
    """
    memory, kernels = memory_at(outputs), kernels_for("cuda")
    n_kernels, n_frames, n_joints, n_coords = outputs.shape
    with memory.scope("pass fewer sequences at a time"):
        empty = memory.zeros((len(starts),), np.int64)
        kernels.pool(
            outputs.reshape((n_kernels, n_frames, n_joints * n_coords)),
            memory.put(starts),
            memory.put(lengths),
            memory.put(np.array([kernels.POOLS.index(name) for name in pools], np.int64)),
            memory.put(np.array(cells, np.int64)),
            float(fill_value),
            out,
            empty,
        )
        return memory.fetch(empty)
