"""Filters of trajectories on a CUDA device.

Three steps: the windows that are complete, in the precision of the frames; those that reach beyond
an edge, whose weights one thread finds for all channels; and those that missing frames spoil, each
by a thread of its own with what the CPU runs there.
"""

import numpy as np
from numba import boolean, cuda, float32, float64, int64, uint8, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size
from fastmotion.core.memory import memory_at
from fastmotion.trajectory.kernels.filters import (
    MAX_MOMENTS,
    adjust,
    cut_off_window,
    repair_row,
)

# Rows that a thread gives at a time: it reads what their windows share once.
BLOCK_ROWS = 4
# Values of a block: some of those groups of rows for each of its threads.
BLOCK = block_size(8192, 16)
# Taps are not padded: a thread takes them as they come.
FIRST_TAPS, MORE_TAPS = 1, 1

_THREADS = block_size(256, 8)
# Threads of a block that finishes, the most blocks that do, and the most bytes that they take.
_FINISHING_THREADS = block_size(128, 6)
_MAX_FINISHING_BLOCKS = block_size(1024, 2)
_MAX_SCRATCH = 1 << 28
# Taps are read as if without gaps where that makes the row of them no longer than so many times.
_SPARSE = 2


def apply_kernels(
    frames,
    confidence,
    confidence_columns,
    blocks,
    offsets,
    uses,
    weights,
    edges,
    edge_weights,
    edge_rows,
    moments,
    min_valid,
    outs,
):
    """Run several motion kernels over all channels; return the number of infinite values met.

    Parameters
    ----------
    frames, confidence, outs : device array
        As for the CPU.
    confidence_columns, blocks, offsets, uses, weights, edge_weights, edge_rows, moments : ndarray
        As for the CPU, without padding.
    edges : int
    min_valid : float

    Returns
    -------
    int
    """
    memory = memory_at(frames)
    n_channels = frames.shape[1]
    columns = min(weights.shape[2], n_channels)
    with memory.scope("pass fewer frames at a time"):
        put = memory.put
        bad = memory.zeros((len(blocks),), np.uint8)
        n_infinite = memory.zeros((1,), np.int64)
        places = put(blocks)
        if not len(confidence):
            _filter_complete(
                memory,
                frames.reshape(frames.size),
                n_channels,
                places,
                int((blocks[:, 3] - blocks[:, 2]).max()),
                offsets,
                weights[:, :, :columns],
                bad,
                outs.reshape(len(outs), frames.size),
            )
        n_threads = _finishing_blocks(len(blocks), len(offsets)) * _FINISHING_THREADS
        _finish[n_threads // _FINISHING_THREADS, _FINISHING_THREADS](
            frames,
            confidence,
            put(confidence_columns),
            places,
            bad,
            put(offsets),
            put(uses),
            put(np.ascontiguousarray(weights[:, :, :columns])),
            edges,
            put(edge_weights),
            put(edge_rows),
            put(moments),
            min_valid,
            memory.empty((len(offsets), n_threads), np.bool_),
            memory.empty((len(offsets) + 3, n_threads), np.int64),
            memory.empty((2 * len(offsets), n_threads), np.float64),
            memory.empty((MAX_MOMENTS + 1, MAX_MOMENTS, n_threads), np.float64),
            outs,
            n_infinite,
        )
        return int(memory.fetch(n_infinite)[0])


def _filter_complete(memory, frames, n_channels, blocks, n_rows, offsets, weights, bad, outs):
    """Give the outputs of all complete windows; `n_rows` are the most rows of a block."""
    step, dense = _without_gaps(offsets, weights)
    table, taps = memory.put(dense), memory.put(offsets)
    n_threads = -(-n_rows // (BLOCK_ROWS * step)) * step * n_channels if step else _THREADS
    parts = len(blocks), -(-n_threads // _THREADS)
    by_three = len(outs) // 3 * 3 if step else 0
    for run, first, end, n_groups in (
        (_filter_three, 0, by_three, by_three // 3),
        (_filter_one if step else _filter_sparse, by_three, len(outs), len(outs) - by_three),
    ):
        if n_groups:
            run[(*parts, n_groups), _THREADS](
                frames, n_channels, blocks, taps, step, table[first:end], bad, outs[first:end]
            )


def _without_gaps(offsets, weights):
    """Return the step between taps and weights for all steps, or 0 and them as they are.

    Three zeros stand behind them: for the rows that a thread gives besides the first.
    """
    step = int(np.gcd.reduce(np.diff(offsets))) if len(offsets) > 1 else 1
    n_steps = int(offsets[-1] - offsets[0]) // max(step, 1) + 1
    if n_steps > _SPARSE * len(offsets):
        return 0, np.ascontiguousarray(weights)
    dense = np.zeros((len(weights), n_steps + BLOCK_ROWS - 1, weights.shape[2]), weights.dtype)
    dense[:, (offsets - offsets[0]) // step] = weights
    return step, dense


def _finishing_blocks(n_blocks, n_taps):
    thread_bytes = 8 * (3 + (MAX_MOMENTS + 1) * MAX_MOMENTS) + 25 * n_taps
    most = _MAX_SCRATCH // (thread_bytes * _FINISHING_THREADS)
    return max(1, min(n_blocks, _MAX_FINISHING_BLOCKS, most))


@cuda_function
def _complete_rows(blocks, b, offsets):
    """Return the first row and the end of those of a block whose windows are not cut off."""
    end = blocks[b, 3]
    low = min(max(blocks[b, 2], blocks[b, 0] - offsets[0]), end)
    return low, max(min(end, blocks[b, 1] - offsets[len(offsets) - 1]), low)


@cuda_function
def _is_bad(value):
    """Return whether a value is NaN or infinite."""
    difference = value - value
    return difference != difference


@cuda_function
def _store(out, place, stride, end, v0, v1, v2, v3):
    """Set the values of up to four rows; return whether one is NaN or infinite."""
    bad = False
    if place < end:
        out[place] = v0
        bad |= _is_bad(v0)
    place += stride
    if place < end:
        out[place] = v1
        bad |= _is_bad(v1)
    place += stride
    if place < end:
        out[place] = v2
        bad |= _is_bad(v2)
    place += stride
    if place < end:
        out[place] = v3
        bad |= _is_bad(v3)
    return bad


@cuda_function
def _place_of_thread(blocks, offsets, step, n_channels):
    """Return where a thread's first output stands, and the end of those that its block gives.

    Neighbouring threads have neighbouring numbers of the frames; a thread has up to four outputs,
    `step` rows apart. What their windows share comes from the caches: from the device's memory the
    threads around read a frame once.
    """
    low, high = _complete_rows(blocks, cuda.blockIdx.x, offsets)
    item = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    stride = step * n_channels
    place = low * n_channels + item // stride * BLOCK_ROWS * stride + item % stride
    return place, high * n_channels


@cuda_function
def _last_place(frames, blocks, n_channels):
    """Return the last place that a thread may read: its sequence may go on in another part."""
    return np.uint64(min(blocks[cuda.blockIdx.x, 1] * n_channels, frames.size) - 1)


_COMPLETE = tuple(
    void(t[::1], int64, int64[:, ::1], int64[::1], int64, t[:, :, ::1], uint8[::1], t[:, ::1])
    for t in (float32, float64)
)


@cuda_kernel(signatures=_COMPLETE)
def _filter_one(frames, n_channels, blocks, offsets, step, weights, bad, outs):
    """Give the outputs of a kernel's complete windows; mark blocks in which one is not finite."""
    start, end = _place_of_thread(blocks, offsets, step, n_channels)
    if start >= end:
        return
    # Unsigned, indices are not checked for counting from the end.
    stride, last = np.uint64(step * n_channels), _last_place(frames, blocks, n_channels)
    place = np.uint64(start + offsets[0] * n_channels)
    k = cuda.blockIdx.z
    w = weights[k, :, start % n_channels if weights.shape[2] > 1 else 0]
    zero = frames.dtype.type(0)
    a0 = a1 = a2 = a3 = zero
    w1 = w2 = w3 = zero
    for j in range(len(w)):
        v = frames[min(place, last)]
        place += stride
        w0 = w[j]
        a0 += w0 * v
        a1 += w1 * v
        a2 += w2 * v
        a3 += w3 * v
        w3 = w2
        w2 = w1
        w1 = w0
    if _store(outs[k], np.uint64(start), stride, np.uint64(end), a0, a1, a2, a3):
        bad[cuda.blockIdx.x] = 1


@cuda_kernel(signatures=_COMPLETE)
def _filter_three(frames, n_channels, blocks, offsets, step, weights, bad, outs):
    """`_filter_one` for three kernels at a time, which load what they share once."""
    start, end = _place_of_thread(blocks, offsets, step, n_channels)
    if start >= end:
        return
    stride, last = np.uint64(step * n_channels), _last_place(frames, blocks, n_channels)
    place = np.uint64(start + offsets[0] * n_channels)
    k = 3 * cuda.blockIdx.z
    column = start % n_channels if weights.shape[2] > 1 else 0
    wa, wb, wc = weights[k, :, column], weights[k + 1, :, column], weights[k + 2, :, column]
    zero = frames.dtype.type(0)
    a0 = a1 = a2 = a3 = zero
    b0 = b1 = b2 = b3 = zero
    c0 = c1 = c2 = c3 = zero
    wa1 = wa2 = wa3 = zero
    wb1 = wb2 = wb3 = zero
    wc1 = wc2 = wc3 = zero
    for j in range(len(wa)):
        v = frames[min(place, last)]
        place += stride
        wa0, wb0, wc0 = wa[j], wb[j], wc[j]
        a0 += wa0 * v
        a1 += wa1 * v
        a2 += wa2 * v
        a3 += wa3 * v
        b0 += wb0 * v
        b1 += wb1 * v
        b2 += wb2 * v
        b3 += wb3 * v
        c0 += wc0 * v
        c1 += wc1 * v
        c2 += wc2 * v
        c3 += wc3 * v
        wa3 = wa2
        wa2 = wa1
        wa1 = wa0
        wb3 = wb2
        wb2 = wb1
        wb1 = wb0
        wc3 = wc2
        wc2 = wc1
        wc1 = wc0
    place, past = np.uint64(start), np.uint64(end)
    is_bad = _store(outs[k], place, stride, past, a0, a1, a2, a3)
    is_bad |= _store(outs[k + 1], place, stride, past, b0, b1, b2, b3)
    is_bad |= _store(outs[k + 2], place, stride, past, c0, c1, c2, c3)
    if is_bad:
        bad[cuda.blockIdx.x] = 1


@cuda_kernel(signatures=_COMPLETE)
def _filter_sparse(frames, n_channels, blocks, offsets, step, weights, bad, outs):
    """Give the outputs of complete windows of kernels whose taps lie far apart."""
    b = cuda.blockIdx.x
    low, high = _complete_rows(blocks, b, offsets)
    is_bad = False
    k = cuda.blockIdx.z
    for place in range(low * n_channels + cuda.threadIdx.x, high * n_channels, cuda.blockDim.x):
        column = place % n_channels if weights.shape[2] > 1 else 0
        total = frames.dtype.type(0)
        for i in range(len(offsets)):
            total += weights[k, i, column] * frames[place + offsets[i] * n_channels]
        outs[k, place] = total
        is_bad |= _is_bad(total)
    if is_bad:
        bad[b] = 1


@cuda_function
def _row_of(i, begin, low, high):
    """Return the i-th row of a block whose window is cut off."""
    return begin + i if begin + i < low else high + i - (low - begin)


@cuda_kernel(
    signatures=tuple(
        void(
            t[:, ::1], float64[:, ::1], int64[::1], int64[:, ::1], uint8[::1], int64[::1],
            boolean[:, ::1], t[:, :, ::1], int64, t[:, :, :, :, ::1], int64[::1], int64[:, ::1],
            float64, boolean[:, ::1], int64[:, ::1], float64[:, ::1], float64[:, :, ::1],
            t[:, :, ::1], int64[::1],
        )
        for t in (float32, float64)
    )
)  # fmt: skip
def _finish(
    frames,
    confidence,
    confidence_columns,
    blocks,
    bad,
    offsets,
    uses,
    weights,
    edges,
    edge_weights,
    edge_rows,
    moments,
    min_valid,
    active,
    places,
    rows,
    scratch,
    outs,
    n_infinite,
):
    """Give the outputs of windows that are cut off or lack frames, and of all with confidences.

    A thread keeps the taps of its window in a column of `active`, `places` and `rows`.
    """
    n_taps = len(offsets)
    own = cuda.grid(1)
    n_channels = frames.shape[1]
    found = 0
    for b in range(cuda.blockIdx.x, len(blocks), cuda.gridDim.x):
        begin, end = blocks[b, 2], blocks[b, 3]
        low, high = end, end
        if len(confidence) == 0:
            low, high = _complete_rows(blocks, b, offsets)
            _finish_cut_off(
                frames, blocks[b, 0], blocks[b, 1], begin, low, high, end, offsets, uses, weights,
                edges, edge_weights, edge_rows, moments, min_valid, active, places, rows, scratch,
                outs,
            )  # fmt: skip
        if bad[b]:
            high = low = end
        n_rows = low - begin + end - high
        for item in range(cuda.threadIdx.x, len(outs) * n_rows * n_channels, cuda.blockDim.x):
            c = item % n_channels
            k = item // n_channels // n_rows
            t = _row_of(item // n_channels % n_rows, begin, low, high)
            if len(confidence) or _is_bad(outs[k, t, c]):
                w = c % weights.shape[2]
                found += repair_row(
                    outs[k, t, c : c + 1],
                    frames[:, c : c + 1],
                    confidence,
                    confidence_columns[c : c + 1],
                    weights[k, :, w : w + 1],
                    edge_weights[k, :, :, :, w : w + 1],
                    edge_rows[k],
                    offsets,
                    uses[k],
                    t,
                    blocks[b, 0],
                    blocks[b, 1],
                    edges,
                    moments[k],
                    min_valid,
                    active[:, own],
                    places[:n_taps, own],
                    rows[:n_taps, own],
                    rows[n_taps:, own],
                    scratch[:, :, own],
                )
        cuda.syncthreads()
    if found:
        cuda.atomic.add(n_infinite, 0, found)


@cuda_function
def _finish_cut_off(
    frames,
    start,
    stop,
    begin,
    low,
    high,
    end,
    offsets,
    uses,
    weights,
    edges,
    edge_weights,
    edge_rows,
    moments,
    min_valid,
    active,
    places,
    rows,
    scratch,
    outs,
):
    """Set the outputs of windows that are cut off.

    In turns, each thread finds the weights of a window, and all of them sum up the channels. Where
    taps are missing whose weights differ between channels, outputs are NaN, to be repaired.
    """
    n_taps = len(offsets)
    n_channels = frames.shape[1]
    n_rows = low - begin + end - high
    i = cuda.threadIdx.x
    own = cuda.grid(1)
    for done in range(0, len(outs) * n_rows, cuda.blockDim.x):
        n_windows = min(cuda.blockDim.x, len(outs) * n_rows - done)
        if i < n_windows:
            k = (done + i) // n_rows
            side, distance, missing = cut_off_window(
                weights[k],
                edge_weights[k],
                edge_rows[k],
                offsets,
                uses[k],
                _row_of((done + i) % n_rows, begin, low, high),
                start,
                stop,
                edges,
                active[:, own],
                places[:n_taps, own],
                rows[:n_taps, own],
                rows[n_taps:, own],
            )
            told = missing == 0
            if weights.shape[2] == 1:
                told = adjust(
                    rows[:n_taps, own],
                    rows[n_taps:, own],
                    offsets,
                    active[:, own],
                    moments[k],
                    min_valid,
                    scratch[:, :, own],
                )
            places[n_taps, own] = told
            places[n_taps + 1, own] = side
            places[n_taps + 2, own] = distance
        cuda.syncthreads()
        for item in range(i, n_windows * n_channels, cuda.blockDim.x):
            window = item // n_channels
            k = (done + window) // n_rows
            t = _row_of((done + window) % n_rows, begin, low, high)
            outs[k, t, item % n_channels] = _sum_window(
                frames, item % n_channels, weights[k], edge_weights[k], places, rows,
                own - i + window,
            )  # fmt: skip
        cuda.syncthreads()


@cuda_function
def _sum_window(frames, channel, weights, edge_weights, places, rows, thread):
    """Return the output of the window whose taps a thread has found."""
    n_taps = len(weights)
    if places[n_taps, thread] == 0:
        return np.nan
    side, distance = places[n_taps + 1, thread], places[n_taps + 2, thread]
    total = 0.0
    for i in range(n_taps):
        place = places[i, thread]
        if place >= 0:
            weight = rows[i, thread]
            if weights.shape[1] > 1:
                weight = weights[i, channel]
                if distance >= 0:
                    weight = edge_weights[side, distance, i, channel]
            total += weight * frames[place, channel]
    return total
