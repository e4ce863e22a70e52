"""Sums of products of lagged frames on a CUDA device.

A block of threads takes the pieces and the channels of one task. Its threads lie side by side along
the channels, as the frames do; where there are few channels, they take several groups of rows at
once. A thread reads `LAG_TILE` successive windows' first factors and the frames that they meet at
as many lags, and multiplies them all in its registers.

Where nothing is missing in a channel of a piece, its windows weigh alike: their sums follow from
products with the newest frame and from the frames at both ends. Elsewhere each has a weight of its
own, zero where it lacks a frame, and the products at all pairs of lags are summed up.
"""

import math

import numpy as np
from numba import boolean, cuda, float32, float64, int32, int64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size, launch_shape
from fastmotion.core.memory import memory_at

# Lags, and windows, of a thread at a time.
LAG_TILE = 8
# Channels of a task: the threads of a warp.
TASK_CHANNELS = block_size(32, 4)
# Tasks and bytes of their sums, at most: enough for all processors of the largest devices.
MAX_TASKS, TASK_BYTES = block_size(1024, 2), 1 << 27

_LANES, _WARPS = TASK_CHANNELS, block_size(8, 2)
_BLOCK = _LANES, _WARPS
# Frames that a thread reads at a time: those at LAG_TILE lags from as many windows.
_REACH = 2 * LAG_TILE - 1
_SUMS = _WARPS, _LANES, LAG_TILE

# What the frames are multiplied with: the newest frame of windows that weigh alike, or a frame of
# windows that do not; and for all windows one, the reference or the target.
_NEWEST, _FRAME, _ONE, _REFERENCE, _TARGET = range(5)


def lag_statistics(
    frames,
    target,
    row_weights,
    weight_columns,
    pieces,
    piece_weights,
    tasks,
    channel_groups,
    anchor,
    n_lags,
    lag_products,
    boundary,
    gram,
    sums,
    offsets,
    crosses,
    totals,
):
    """Sum the products of lagged frames over all windows of `n_lags` frames without a missing one.

    Parameters
    ----------
    frames, target, row_weights : device array
        As for the CPU.
    weight_columns, pieces, piece_weights, tasks, channel_groups : ndarray
        As for the CPU; a task has at most `TASK_CHANNELS` channels.
    anchor, n_lags : int
    lag_products, boundary, gram, sums, offsets, crosses, totals : device array
        As for the CPU. Windows that weigh alike go to the first two, others to ``gram``: none of
        them is empty.
    """
    memory = memory_at(frames)
    n_pieces, n_channels = len(pieces), frames.shape[1]
    if not n_pieces:
        return
    with memory.scope("pass fewer frames or fewer sequences at a time, or lower n_taps"):
        put = memory.put
        references = memory.empty((n_pieces, n_channels), np.float64)
        is_uneven = memory.empty((n_pieces, n_channels), np.int32)
        found = memory.zeros((2,), np.int64)
        table = put(pieces)
        _look_through[(n_pieces, -(-n_channels // _LANES)), _BLOCK](
            frames, target, table, len(row_weights) > 0, references, is_uneven, found
        )
        n_uneven, n_infinite = memory.fetch(found)
        if n_infinite:
            memory.fill(totals, 1)
            return
        windows = memory.empty((len(frames) if n_uneven else 0, n_channels), np.float64)
        if n_uneven:
            _weigh_windows[launch_shape((n_pieces * n_channels,))](
                frames, target, row_weights, put(weight_columns), table, is_uneven, anchor, n_lags,
                windows,
            )  # fmt: skip
        known = references, is_uneven, table, put(piece_weights), put(tasks), put(channel_groups)

        def multiply(factor, out):
            n_older = out.shape[2] if out.ndim == 4 else 1
            _multiply[(len(tasks), -(-n_lags // LAG_TILE), n_older), _BLOCK](
                frames, target, windows, *known, anchor, n_lags, factor, _by_older(out)
            )

        if n_uneven < n_pieces * n_channels:
            multiply(_NEWEST, lag_products)
            if n_lags > 1:
                _multiply_ends[(len(tasks), -(-(n_lags - 1) // LAG_TILE), n_lags - 1), _BLOCK](
                    frames, *known, n_lags, boundary
                )
        if n_uneven:
            multiply(_FRAME, gram)
        multiply(_ONE, sums)
        multiply(_REFERENCE, offsets)
        if len(target):
            multiply(_TARGET, crosses)
        _add_totals[len(tasks), _BLOCK](target, windows, *known, anchor, n_lags, _by_older(totals))


def totals_of(parts):
    """Return the sums of some device arrays over their first axis, as arrays on the host."""
    memory = memory_at(parts[0])
    shapes = [tuple(part.shape)[1:] for part in parts]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    with memory.scope():
        out = memory.empty((int(ends[-1]),), np.float64)
        for part, shape, end in zip(parts, shapes, ends.tolist()):
            size = math.prod(shape)
            if size:
                _add_slots[launch_shape((size,))](
                    part.reshape((len(part), size)), out[end - size : end]
                )
        sums = np.split(memory.fetch(out), ends[:-1])
    return [values.reshape(shape) for values, shape in zip(sums, shapes)]


def _by_older(out):
    """Return sums as (n_slots, n_groups, lags of the first factor, lags of the second)."""
    shape = tuple(out.shape)
    return out if len(shape) == 4 else out.reshape((*shape[:2], 1, shape[2]))


@cuda_function
def _share_lanes(width):
    """Return which channel of `width`, or -1, a thread takes, and which of how many row groups."""
    n_groups = _LANES // width
    group = cuda.threadIdx.x // width
    channel = cuda.threadIdx.x % width if group < n_groups else -1
    return channel, group + n_groups * cuda.threadIdx.y, n_groups * _WARPS


@cuda_function
def _centred(frames, t, channel, reference):
    """Return a value less the reference, or 0 where it is missing."""
    # Unsigned, indices are not checked for counting from the end.
    value = np.float64(frames[np.uint64(t), np.uint64(channel)])
    return value - reference if value == value else 0.0


@cuda_kernel(
    signatures=tuple(
        void(
            t[:, ::1], t[:, ::1], int64[:, ::1], boolean, float64[:, ::1], int32[:, ::1], int64[::1]
        )
        for t in (float32, float64)
    )
)  # fmt: skip
def _look_through(frames, target, pieces, has_weights, references, is_uneven, found):
    """Find a value amid each channel of a piece, and whether its windows weigh alike.

    Counts the channels where they do not, and infinite values.
    """
    shared = cuda.shared.array((3, _WARPS, _LANES), np.float64)
    piece = cuda.blockIdx.x
    first = cuda.blockIdx.y * _LANES
    width = min(_LANES, frames.shape[1] - first)
    channel, begin, step = _share_lanes(width)
    start, stop = pieces[piece, 0], pieces[piece, 1]
    summed, missing, infinite = 0.0, 0.0, 0.0
    if channel >= 0:
        for t in range(start + begin, stop, step):
            value = np.float64(frames[t, first + channel])
            if value != value:
                missing += 1.0
            else:
                summed += value
                infinite += abs(value) == np.inf
            if len(target):
                infinite += abs(np.float64(target[t, first + channel])) == np.inf
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    shared[0, y, x] = summed
    shared[1, y, x] = missing
    shared[2, y, x] = infinite
    cuda.syncthreads()
    if y == 0 and x < width:
        summed, missing, infinite = 0.0, 0.0, 0.0
        for warp in range(_WARPS):
            for lane in range(x, _LANES // width * width, width):
                summed += shared[0, warp, lane]
                missing += shared[1, warp, lane]
                infinite += shared[2, warp, lane]
        # It has few digits, so that differences are exact.
        reference = np.float64(np.float32(summed / max(1.0, stop - start - missing)))
        references[piece, first + x] = reference if abs(reference) < np.inf else 0.0
        uneven = has_weights or missing > 0.0
        is_uneven[piece, first + x] = uneven
        if uneven:
            cuda.atomic.add(found, 0, 1)
        if infinite > 0.0:
            cuda.atomic.add(found, 1, 1)


@cuda_kernel(
    signatures=tuple(
        void(
            t[:, ::1], t[:, ::1], float64[:, ::1], int64[::1], int64[:, ::1], int32[:, ::1], int64,
            int64, float64[:, ::1],
        )
        for t in (float32, float64)
    )
)  # fmt: skip
def _weigh_windows(
    frames, target, row_weights, weight_columns, pieces, is_uneven, anchor, n_lags, windows
):
    """Set the weight of each window of a channel of a piece, at the row of its newest frame."""
    i = cuda.grid(1)
    piece, channel = i // frames.shape[1], i % frames.shape[1]
    if piece >= len(pieces) or not is_uneven[piece, channel]:
        return
    n_present = 0
    for t in range(pieces[piece, 0], pieces[piece, 1]):
        value = frames[t, channel]
        n_present = n_present + 1 if value == value else 0
        if t - pieces[piece, 0] >= n_lags - 1:
            weight = 0.0
            if n_present >= n_lags:
                weight = 1.0
                if len(row_weights):
                    weight = row_weights[t - anchor, weight_columns[channel]]
                    if len(target):
                        wanted = target[t - anchor, channel]
                        weight = weight if wanted == wanted else 0.0
            windows[t, channel] = weight


@cuda_function
def _add_up(sums, shared, width, labels, out, row, column):
    """Add the sums of a block's threads, by groups of channels and in order, to `out`.

    `out` is (n_groups, n_rows, n_columns); the sums go to `column` and those behind it.
    """
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    for k in range(LAG_TILE):
        shared[y, x, k] = sums[k]
    cuda.syncthreads()
    for k in range(y, LAG_TILE, _WARPS):
        if x < width:
            channel_sum = 0.0
            for warp in range(_WARPS):
                for lane in range(x, _LANES // width * width, width):
                    channel_sum += shared[warp, lane, k]
            shared[0, x, k] = channel_sum
    cuda.syncthreads()
    is_first = x < width
    for other in range(min(x, width)):
        is_first = is_first and labels[other] != labels[x]
    for k in range(y, LAG_TILE, _WARPS):
        if is_first and column + k < out.shape[2]:
            group_sum = 0.0
            for other in range(x, width):
                if labels[other] == labels[x]:
                    group_sum += shared[0, other, k]
            out[labels[x], row, column + k] += group_sum


_KNOWN = float64[:, ::1], int32[:, ::1], int64[:, ::1], float64[::1], int64[:, ::1], int64[::1]


@cuda_kernel(
    signatures=tuple(
        void(
            t[:, ::1], t[:, ::1], float64[:, ::1], *_KNOWN, int64, int64, int64,
            float64[:, :, :, ::1],
        )
        for t in (float32, float64)
    )
)  # fmt: skip
def _multiply(
    frames,
    target,
    windows,
    references,
    is_uneven,
    pieces,
    piece_weights,
    tasks,
    channel_groups,
    anchor,
    n_lags,
    factor,
    out,
):
    """Add the products of the frames at some lags with a factor, over a task's windows."""
    shared = cuda.shared.array(_SUMS, np.float64)
    sums = cuda.local.array(LAG_TILE, np.float64)
    factors = cuda.local.array(LAG_TILE, np.float64)
    lagged = cuda.local.array(_REACH, np.float64)
    for k in range(LAG_TILE):
        sums[k] = 0.0
    task = cuda.blockIdx.x
    older = cuda.blockIdx.z
    lag = cuda.blockIdx.y * LAG_TILE
    first, width = tasks[task, 2], tasks[task, 3] - tasks[task, 2]
    channel, begin, step = _share_lanes(width)
    channel += first
    n_pieces = tasks[task, 1] if channel >= first and older + lag < n_lags else 0
    for p in range(tasks[task, 0], n_pieces):
        uneven = is_uneven[p, channel] != 0
        if (uneven and factor == _NEWEST) or (not uneven and factor == _FRAME):
            continue
        start, stop = pieces[p, 0], pieces[p, 1]
        reference = references[p, channel]
        weight = piece_weights[p] * reference if factor == _REFERENCE else piece_weights[p]
        for t in range(start + n_lags - 1 + LAG_TILE * begin, stop, LAG_TILE * step):
            for j in range(LAG_TILE):
                value = weight if t + j < stop else 0.0
                if uneven and t + j < stop:
                    value *= windows[t + j, channel]
                if value != 0.0 and factor <= _FRAME:
                    value *= _centred(frames, t + j - older, channel, reference)
                if value != 0.0 and factor == _TARGET:
                    value *= target[t + j - anchor, channel]
                factors[j] = value
            oldest = t - older - lag - LAG_TILE + 1
            for i in range(_REACH):
                inside = start <= oldest + i and oldest + i < stop
                lagged[i] = _centred(frames, oldest + i, channel, reference) if inside else 0.0
            for k in range(LAG_TILE):
                for j in range(LAG_TILE):
                    sums[k] += factors[j] * lagged[j + LAG_TILE - 1 - k]
    _add_up(sums, shared, width, channel_groups[first:], out[tasks[task, 4]], older, older + lag)


@cuda_kernel(
    signatures=tuple(
        void(t[:, ::1], *_KNOWN, int64, float64[:, :, :, ::1]) for t in (float32, float64)
    )
)
def _multiply_ends(
    frames, references, is_uneven, pieces, piece_weights, tasks, channel_groups, n_lags, out
):
    """Add what comes in less what goes out when both lags of a product grow by one."""
    shared = cuda.shared.array(_SUMS, np.float64)
    sums = cuda.local.array(LAG_TILE, np.float64)
    for k in range(LAG_TILE):
        sums[k] = 0.0
    task = cuda.blockIdx.x
    older = cuda.blockIdx.z
    lag = cuda.blockIdx.y * LAG_TILE
    first, width = tasks[task, 2], tasks[task, 3] - tasks[task, 2]
    channel, begin, step = _share_lanes(width)
    channel += first
    n_pieces = tasks[task, 1] if channel >= first and older + lag < n_lags - 1 else 0
    n_here = min(LAG_TILE, n_lags - 1 - older - lag)
    for p in range(tasks[task, 0] + begin, n_pieces, step):
        start, stop = pieces[p, 0], pieces[p, 1]
        if is_uneven[p, channel] == 0 and stop - start >= n_lags:
            reference = references[p, channel]
            t = start + n_lags - 2 - older
            entering = piece_weights[p] * _centred(frames, t, channel, reference)
            for k in range(n_here):
                sums[k] += entering * _centred(frames, t - lag - k, channel, reference)
            t = stop - 1 - older
            leaving = piece_weights[p] * _centred(frames, t, channel, reference)
            for k in range(n_here):
                sums[k] -= leaving * _centred(frames, t - lag - k, channel, reference)
    _add_up(sums, shared, width, channel_groups[first:], out[tasks[task, 4]], older, older + lag)


@cuda_kernel(
    signatures=tuple(
        void(t[:, ::1], float64[:, ::1], *_KNOWN, int64, int64, float64[:, :, :, ::1])
        for t in (float32, float64)
    )
)
def _add_totals(
    target,
    windows,
    references,
    is_uneven,
    pieces,
    piece_weights,
    tasks,
    channel_groups,
    anchor,
    n_lags,
    out,
):
    """Add weights, references and targets of a task's windows, as ``totals`` has them."""
    shared = cuda.shared.array(_SUMS, np.float64)
    sums = cuda.local.array(LAG_TILE, np.float64)
    for k in range(LAG_TILE):
        sums[k] = 0.0
    task = cuda.blockIdx.x
    first, width = tasks[task, 2], tasks[task, 3] - tasks[task, 2]
    channel, begin, step = _share_lanes(width)
    channel += first
    for p in range(tasks[task, 0], tasks[task, 1] if channel >= first else 0):
        reference = references[p, channel]
        uneven = is_uneven[p, channel] != 0
        for t in range(pieces[p, 0] + n_lags - 1 + begin, pieces[p, 1], step):
            weight = windows[t, channel] if uneven else 1.0
            if weight > 0.0:
                wanted = np.float64(target[t - anchor, channel]) if len(target) else 0.0
                weight *= piece_weights[p]
                sums[0] += weight * reference * reference
                sums[1] += weight * reference * wanted
                sums[2] += weight * wanted * wanted
                sums[3] += weight
                sums[4] += 1.0
                sums[6] += weight * reference
                sums[7] += weight * wanted
    _add_up(sums, shared, width, channel_groups[first:], out[tasks[task, 4]], 0, 0)


@cuda_kernel(signatures=(void(float64[:, ::1], float64[::1]),))
def _add_slots(parts, out):
    i = cuda.grid(1)
    if i < out.size:
        summed = 0.0
        for slot in range(len(parts)):
            summed += parts[slot, i]
        out[i] = summed
