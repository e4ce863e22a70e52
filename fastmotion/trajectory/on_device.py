"""Frames on a CUDA device: how they get there, and what fits need of them besides their sums.

Each function does on the device what NumPy does for frames on the host, where its caller stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import Device, device_index, is_cuda_array
from fastmotion.core.interop import as_device_array
from fastmotion.core.memory import Memory, memory_of
from fastmotion.trajectory.kernels import kernels_for

# Rows of a block of threads that works through sequences row by row.
_BLOCK_ROWS = 64


def memory_at(array: Any) -> Memory:
    """Return the memory of the CUDA device that an array lies on."""
    return memory_of(Device("cuda", device_index(array)))


def as_float64(values: Any) -> Any:
    """Return an array as float64, where it lies."""
    if is_cuda_array(values):
        return as_device_array(values, memory_at(values).device, np.float64)
    return values.astype(np.float64, copy=False)


def transposed(array: Any, order: Sequence[int]) -> Any:
    """Return a view of a contiguous device array with its axes in another order."""
    shape = tuple(array.shape)
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    return kernels_for("cuda").view(
        array, 0, [shape[axis] for axis in order], [strides[axis] for axis in order]
    )


def row_blocks(starts: NDArray[np.int64], stops: NDArray[np.int64], n_rows: int) -> NDArray:
    """Return sequence and part of each block of rows, (n_blocks, 4)."""
    counts = -(-(stops - starts) // n_rows)
    owners = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = starts[owners] + number * n_rows
    return np.stack([starts[owners], stops[owners], begin, np.minimum(begin + n_rows, stops[owners])], axis=1)


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
        return memory.fetch(seen).reshape(n_joints, n_coords).any(axis=1)


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
    """Return the least confidence of the frames of each window, float64 (total_frames, n_joints)."""
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
    most = memory.budget() // (8 * n_channels)
    found, begin = [], 0
    while begin < len(starts):
        fitting = np.searchsorted(stops[begin:] - starts[begin], most, side="right")
        end = begin + max(1, int(fitting))
        first, last = int(starts[begin]), int(stops[end - 1])
        low, high = starts[begin:end] - first, stops[begin:end] - first
        with memory.scope("pass fewer frames at a time, or give the noise as a number"):
            sizes = memory.empty((last - first, n_channels), np.float64)
            blocks = memory.put(row_blocks(low, high, _BLOCK_ROWS))
            kernels.fifth_differences(flat[first:last], blocks, sizes)
            found.append(kernels.medians(sizes, low, high, groups, n_channels))
        begin = end
    return np.concatenate(found)
