"""What fits and their checks do to frames, on a CUDA device: differences, medians, weights, pools.

Frames, and what belongs to them, lie as (n_frames, n_channels); the sequences one after the other.
"""

import math

import numpy as np
from numba import boolean, cuda, float32, float64, int64, uint8, void

from fastmotion.core.compile import cuda_function, cuda_kernel, simulator_enabled
from fastmotion.core.device import block_size, launch_shape
from fastmotion.core.kernels.cuda import block_sum
from fastmotion.core.memory import memory_at

# Statistics of `pool`, by their place here.
POOLS = ("mean", "std", "min", "max", "energy")
_MEAN, _STD, _MIN, _MAX, _ = range(5)

_THREADS = block_size(256, 8)
_LANES, _WARPS = block_size(32, 4), block_size(8, 2)
# Rows of a block that counts digits, and the most blocks that add up a score.
_COUNTED_ROWS = block_size(1024, 16)
_MAX_BLOCKS = block_size(1024, 3)
# Medians are found by four bits of the numbers at a time, from the highest on.
_BITS, _N_BINS = 4, 16
_LARGEST = np.int64(0x7FF0000000000000)  # infinity; what lies above is NaN

_FLOATS = float32, float64


@cuda_function
def _place(values):
    """Return the row and the column of a thread's number; rows are too many for a second axis."""
    i = cuda.grid(1)
    return i // values.shape[1], i % values.shape[1]


def view(array, first, shape, strides):
    """Return another view of a contiguous device array; all in elements."""
    size = array.dtype.itemsize
    if simulator_enabled():
        flat = array._ary.reshape(-1)[first:]
        steps = [size * n for n in strides]
        return type(array)(np.lib.stride_tricks.as_strided(flat, shape, steps))
    interface = {
        **array.__cuda_array_interface__,
        "shape": tuple(map(int, shape)),
        "strides": tuple(int(size * n) for n in strides),
    }
    address, read_only = interface["data"]
    interface["data"] = address + int(first) * size, read_only
    return cuda.as_cuda_array(_View(interface, array))


class _View:
    """A view of an array, which it keeps alive."""

    def __init__(self, interface, array):
        self.__cuda_array_interface__ = interface
        self._array = array


def take_rows(values, rows, out):
    """Set `out` to some rows of `values`, (n, n_channels)."""
    if out.size:
        _take_rows[launch_shape((out.size,))](values, rows, out)


@cuda_kernel(signatures=tuple(void(t[:, ::1], int64[::1], t[:, ::1]) for t in _FLOATS))
def _take_rows(values, rows, out):
    row, column = _place(out)
    if row < len(out):
        out[row, column] = values[rows[row], column]


def find_seen(frames, seen):
    """Set `seen`, (n_channels,) uint8, to 1 where a channel has a value."""
    _find_seen[launch_shape((frames.size,))](frames, seen)


@cuda_kernel(signatures=tuple(void(t[:, ::1], uint8[::1]) for t in _FLOATS))
def _find_seen(frames, seen):
    row, column = _place(frames)
    if row < len(frames) and seen[column] == 0:
        value = frames[row, column]
        if value == value:
            seen[column] = 1


def add_constants(values, constants):
    """Add a constant to each channel, in place."""
    _add_constants[launch_shape((values.size,))](values, constants)


@cuda_kernel(signatures=tuple(void(t[:, ::1], t[::1]) for t in _FLOATS))
def _add_constants(values, constants):
    row, column = _place(values)
    if row < len(values):
        values[row, column] += constants[column]


def subtract(values, others, keep_missing, out):
    """Set `out` to the differences, and to 0 where one is missing unless those are kept."""
    _subtract[launch_shape((out.size,))](values, others, keep_missing, out)


@cuda_kernel(signatures=(void(float64[:, ::1], float64[:, ::1], boolean, float64[:, ::1]),))
def _subtract(values, others, keep_missing, out):
    row, column = _place(out)
    if row < len(out):
        difference = values[row, column] - others[row, column]
        out[row, column] = difference if difference == difference or keep_missing else 0.0


def set_missing(values, number):
    """Set what is NaN to a number, in place."""
    _set_missing[launch_shape((values.size,))](values, number)


@cuda_kernel(signatures=(void(float64[:, ::1], float64),))
def _set_missing(values, number):
    row, column = _place(values)
    if row < len(values):
        value = values[row, column]
        if value != value:
            values[row, column] = number


def multiply_rows(values, factors, out):
    """Set `out` to products of values with a column for each of its own, or for several."""
    _multiply_rows[launch_shape((out.size,))](values, factors, out)


@cuda_kernel(signatures=(void(float64[:, ::1], float64[:, ::1], float64[:, ::1]),))
def _multiply_rows(values, factors, out):
    row, column = _place(out)
    n_columns = out.shape[1]
    if row < len(out):
        value = values[row, column * values.shape[1] // n_columns]
        out[row, column] = value * factors[row, column * factors.shape[1] // n_columns]


def least_in_window(trust, blocks, first, last, out):
    """Set `out` to the least confidence of the frames from `first` to `last` around each frame.

    `blocks` are those of `apply_kernels`; frames beyond an edge do not count.
    """
    _least_in_window[len(blocks), _THREADS](trust, blocks, first, last, out)


@cuda_kernel(signatures=(void(float64[:, ::1], int64[:, ::1], int64, int64, float64[:, ::1]),))
def _least_in_window(trust, blocks, first, last, out):
    b = cuda.blockIdx.x
    n_columns = trust.shape[1]
    n_values = (blocks[b, 3] - blocks[b, 2]) * n_columns
    for item in range(cuda.threadIdx.x, n_values, cuda.blockDim.x):
        t, column = blocks[b, 2] + item // n_columns, item % n_columns
        least = trust[t, column]
        for u in range(max(t + first, blocks[b, 0]), min(t + last + 1, blocks[b, 1])):
            least = min(least, trust[u, column])
        out[t, column] = least


def fifth_differences(frames, blocks, out):
    """Set `out` to the sizes of the fifth differences that end at each frame, or NaN."""
    _fifth_differences[len(blocks), _THREADS](frames, blocks, out)


@cuda_kernel(signatures=tuple(void(t[:, ::1], int64[:, ::1], float64[:, ::1]) for t in _FLOATS))
def _fifth_differences(frames, blocks, out):
    b = cuda.blockIdx.x
    n_channels = frames.shape[1]
    n_values = (blocks[b, 3] - blocks[b, 2]) * n_channels
    for item in range(cuda.threadIdx.x, n_values, cuda.blockDim.x):
        t, c = blocks[b, 2] + item // n_channels, item % n_channels
        size = np.nan
        if t - blocks[b, 0] >= 5:
            outer = np.float64(frames[t, c]) - np.float64(frames[t - 5, c])
            middle = np.float64(frames[t - 4, c]) - np.float64(frames[t - 1, c])
            inner = np.float64(frames[t - 2, c]) - np.float64(frames[t - 3, c])
            size = abs(outer + 5.0 * middle + 10.0 * inner)
        out[t, c] = size


def distances(values, others, weights, out):
    """Set `out` to the distances of values, and to NaN where the weight is zero."""
    _distances[launch_shape((out.size,))](values, others, weights, out)


@cuda_kernel(
    signatures=tuple(void(t[:, ::1], t[:, ::1], float64[:, ::1], float64[:, ::1]) for t in _FLOATS)
)
def _distances(values, others, weights, out):
    row, column = _place(out)
    if row < len(out):
        distance = abs(values[row, column] - others[row, column])
        weight = weights[row, column * weights.shape[1] // out.shape[1]]
        out[row, column] = distance if weight != 0.0 else np.nan


def weigh_distances(distances, limits, groups, weights, out):
    """Set `out` to weights, in proportion less where a distance is above its group's limit.

    Where there is no distance it is zero; a limit of zero limits nothing.
    """
    _weigh_distances[launch_shape((out.size,))](distances, limits, groups, weights, out)


@cuda_kernel(
    signatures=(void(float64[:, ::1], float64[::1], int64[::1], float64[:, ::1], float64[:, ::1]),)
)
def _weigh_distances(distances, limits, groups, weights, out):
    row, column = _place(out)
    if row < len(out):
        distance, limit = distances[row, column], limits[groups[column]]
        weight = weights[row, column * weights.shape[1] // out.shape[1]]
        if distance != distance:
            weight = 0.0
        elif limit > 0.0 and distance > limit:
            weight *= limit / distance
        out[row, column] = weight


def medians(values, starts, stops, groups, n_groups):
    """Return medians of nonnegative values over parts of the rows and groups of the columns.

    Parameters
    ----------
    values : float64 device array of shape (n_rows, n_columns)
        NaN does not count.
    starts, stops : ndarray of shape (n_parts,), int64
        Rows of each part.
    groups : ndarray of shape (n_columns,), int64
    n_groups : int

    Returns
    -------
    ndarray of shape (n_parts, n_groups), float64
        NaN where there is no value.
    """
    memory = memory_at(values)
    counts = -(-(stops - starts) // _COUNTED_ROWS)
    parts = np.repeat(np.arange(len(starts)), counts)
    begin = starts[parts] + _COUNTED_ROWS * (
        np.arange(len(parts)) - np.repeat(np.cumsum(counts) - counts, counts)
    )
    shares = np.stack([parts, begin, np.minimum(begin + _COUNTED_ROWS, stops[parts])], axis=1)
    shape = len(starts), n_groups, 2
    grid = max(1, len(shares)), -(-values.shape[1] // _LANES)
    with memory.scope():
        table, labels = memory.put(shares), memory.put(groups)
        bins = memory.zeros((*shape, _N_BINS), np.int64)
        found, ranks = memory.zeros(shape, np.int64), memory.zeros(shape, np.int64)
        keys = values.view(np.int64)
        for shift in range(64 - _BITS, -1, -_BITS):
            _count_digits[grid, (_LANES, _WARPS)](keys, table, labels, shift, found, bins)
            _choose_digits[launch_shape((shape[0] * n_groups,))](
                shift == 64 - _BITS, bins, ranks, found
            )
        middle = memory.fetch(found).view(np.float64)
    # The middle one, or those on both sides of the middle.
    return middle.mean(axis=2)


@cuda_kernel(
    signatures=(
        void(
            int64[:, ::1], int64[:, ::1], int64[::1], int64, int64[:, :, ::1], int64[:, :, :, ::1]
        ),
    )
)  # fmt: skip
def _count_digits(keys, shares, groups, shift, found, bins):
    """Count the digits that follow on those that were found, of both middle numbers."""
    counts = cuda.shared.array((2, _N_BINS, _LANES), np.int32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    column = cuda.blockIdx.y * _LANES + x
    for k in range(y, 2 * _N_BINS, _WARPS):
        counts[k // _N_BINS, k % _N_BINS, x] = 0
    cuda.syncthreads()
    part, begin, end = 0, 0, 0
    if cuda.blockIdx.x < len(shares):
        part, begin, end = shares[cuda.blockIdx.x]
    if column < keys.shape[1]:
        low, high = found[part, groups[column], 0], found[part, groups[column], 1]
        for row in range(begin + y, end, _WARPS):
            key = keys[row, column]
            if 0 <= key <= _LARGEST:
                digit = (key >> shift) & (_N_BINS - 1)
                # In two steps: a shift by all 64 bits would be none.
                above = (key >> shift) >> _BITS
                if above == low:
                    cuda.atomic.add(counts, (0, digit, x), 1)
                if above == high:
                    cuda.atomic.add(counts, (1, digit, x), 1)
    cuda.syncthreads()
    if column < keys.shape[1]:
        for k in range(y, 2 * _N_BINS, _WARPS):
            n = counts[k // _N_BINS, k % _N_BINS, x]
            if n > 0:
                cuda.atomic.add(bins, (part, groups[column], k // _N_BINS, k % _N_BINS), n)


@cuda_kernel(signatures=(void(boolean, int64[:, :, :, ::1], int64[:, :, ::1], int64[:, :, ::1]),))
def _choose_digits(is_first, bins, ranks, found):
    """Append the digit that has the rank looked for, and set the counts to zero."""
    i = cuda.grid(1)
    n_groups = bins.shape[1]
    if i >= bins.shape[0] * n_groups:
        return
    part, group = i // n_groups, i % n_groups
    if is_first:
        n = 0
        for digit in range(_N_BINS):
            n += bins[part, group, 0, digit]
        ranks[part, group, 0] = (n - 1) // 2 if n > 0 else 0
        ranks[part, group, 1] = n // 2
    for middle in range(2):
        left = ranks[part, group, middle]
        # Where there is nothing, it is the largest: NaN.
        digit = 0
        while digit < _N_BINS - 1 and left >= bins[part, group, middle, digit]:
            left -= bins[part, group, middle, digit]
            digit += 1
        ranks[part, group, middle] = left
        found[part, group, middle] = (found[part, group, middle] << _BITS) | digit
        for other in range(_N_BINS):
            bins[part, group, middle, other] = 0


def score_sums(wanted, given, weights, mean):
    """Return sums over what is known of both, weighted.

    Parameters
    ----------
    wanted, given : device array of shape (n_frames, n_channels)
    weights : float64 device array of shape (n_frames, n_columns) or (0, 1), which means ones
    mean : float

    Returns
    -------
    ndarray of shape (4,)
        Of weights; of ``wanted``; of its squared distances from the mean, and from ``given``.
    """
    memory = memory_at(wanted)
    n_blocks = max(1, min(_MAX_BLOCKS, wanted.size // (4 * _THREADS)))
    with memory.scope():
        sums = memory.empty((n_blocks, 4), np.float64)
        _score_sums[n_blocks, _THREADS](wanted, given, weights, mean, sums)
        return memory.fetch(sums).sum(axis=0)


@cuda_kernel(
    signatures=tuple(
        void(t[:, ::1], t[:, ::1], float64[:, ::1], float64, float64[:, ::1]) for t in _FLOATS
    )
)
def _score_sums(wanted, given, weights, mean, sums):
    scratch = cuda.shared.array(_THREADS, np.float64)
    total, first, spread, error = 0.0, 0.0, 0.0, 0.0
    n_channels = wanted.shape[1]
    for item in range(cuda.grid(1), wanted.size, cuda.gridsize(1)):
        row, column = item // n_channels, item % n_channels
        value, guess = np.float64(wanted[row, column]), np.float64(given[row, column])
        if value == value and guess == guess:
            weight = 1.0
            if len(weights):
                weight = weights[row, column * weights.shape[1] // n_channels]
            total += weight
            first += weight * value
            spread += weight * (value - mean) * (value - mean)
            error += weight * (value - guess) * (value - guess)
    total = block_sum(total, scratch)
    first = block_sum(first, scratch)
    spread = block_sum(spread, scratch)
    error = block_sum(error, scratch)
    if cuda.threadIdx.x == 0:
        sums[cuda.blockIdx.x, 0] = total
        sums[cuda.blockIdx.x, 1] = first
        sums[cuda.blockIdx.x, 2] = spread
        sums[cuda.blockIdx.x, 3] = error


def pool(values, starts, lengths, pools, levels, fill_value, out, n_empty):
    """Set statistics of sequences and of their parts.

    Parameters
    ----------
    values : device array of shape (n_kernels, n_frames, n_channels)
        NaN is left out.
    starts, lengths : int64 device array of shape (n_sequences,)
    pools : int64 device array of shape (n_pools,)
        Places of the statistics in `POOLS`.
    levels : int64 device array of shape (n_cells, 2)
        How many parts a sequence is cut into for a cell, and which of them it is.
    fill_value : float
        For parts without a value.
    out : device array of shape (n_sequences, n_kernels, n_channels, n_pools, n_cells)
    n_empty : int64 device array of shape (n_sequences,)
        The number of features without a value is added to it.
    """
    n_items = out.size // (len(pools) * len(levels)) * len(levels)
    _pool[launch_shape((n_items,))](
        values, starts, lengths, pools, levels, fill_value, out, n_empty
    )


@cuda_function
def _statistic(which, n, total, low, high, squares, deviations):
    if which == _MEAN:
        return total / n
    if which == _STD:
        return math.sqrt(deviations / n)
    if which == _MIN:
        return low
    if which == _MAX:
        return high
    return squares / n


@cuda_kernel(
    signatures=tuple(
        void(
            t[:, :, ::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], float64,
            t[:, :, :, :, ::1], int64[::1],
        )
        for t in _FLOATS
    )
)  # fmt: skip
def _pool(values, starts, lengths, pools, levels, fill_value, out, n_empty):
    item = cuda.grid(1)
    n_kernels, _, n_channels = values.shape
    if item >= len(starts) * len(levels) * n_kernels * n_channels:
        return
    c = item % n_channels
    k = item // n_channels % n_kernels
    cell = item // (n_channels * n_kernels) % len(levels)
    sequence = item // (n_channels * n_kernels * len(levels))
    n_parts, part = levels[cell, 0], levels[cell, 1]
    begin = starts[sequence] + lengths[sequence] * part // n_parts
    end = starts[sequence] + lengths[sequence] * (part + 1) // n_parts
    n, total, squares, deviations = 0.0, 0.0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for t in range(begin, end):
        value = np.float64(values[k, t, c])
        if value == value:
            n += 1.0
            total += value
            squares += value * value
            low, high = min(low, value), max(high, value)
    for t in range(begin, end):
        value = np.float64(values[k, t, c])
        if value == value:
            deviations += (value - total / n) * (value - total / n)
    for i in range(len(pools)):
        number = fill_value
        if n > 0.0:
            number = _statistic(pools[i], n, total, low, high, squares, deviations)
        out[sequence, k, c, i, cell] = number
    if n == 0.0:
        cuda.atomic.add(n_empty, sequence, len(pools))
