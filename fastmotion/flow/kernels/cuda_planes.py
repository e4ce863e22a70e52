"""CUDA kernels of dense flow that frames and flows of any method pass through.

All arrays lie on the device and hold n items, to each of which a layer of the grid belongs.
"""

import math

import numpy as np
from numba import cuda, float32, float64, int64, types, uint8, uint16, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size, launch_shape
from fastmotion.core.memory import memory_at
from fastmotion.flow.kernels.layout import PAD
from fastmotion.flow.kernels.sampling import sample
from fastmotion.flow.kernels.scalar import (
    ZERO,
    is_between,
    mean_and_step,
    median_of_sorted_columns,
    sort_5,
    squared_length,
)

# Threads of a block: of one that works on an image, and of one that looks for extremes.
BLOCK_WIDTH, BLOCK_HEIGHT = launch_shape((1, 1))[1]
_THREADS = block_size(256, 8)

# Blocks that look for the extremes of one plane, and the pixels that are worth one.
_MOST_BLOCKS = block_size(64, 3)
_PIXELS_PER_BLOCK = block_size(8192, 64)

ROW = float32[::1]
PLANE = float32[:, ::1]
PLANES = float32[:, :, ::1]
FIELDS = float32[:, :, :, ::1]
_PLANES64 = float64[:, :, ::1]
_STARTS = int64[::1]


def layers(n, shape):
    """Return grid and block for n images of a shape, with a thread for each pixel."""
    grid, block = launch_shape(shape)
    return (*grid, n), (*block, 1)


@cuda_function
def pixel():
    """Return column and row of a thread's pixel, and its layer.

    The compiler is told that they are not negative, as an index that may be takes as much
    arithmetic as the formulae.
    """
    x = np.uint32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
    y = np.uint32(cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y)
    return np.int64(x), np.int64(y), np.int64(np.uint32(cuda.blockIdx.z))


@cuda_function
def place():
    """Return column and row of a thread within its block."""
    return np.int64(np.uint32(cuda.threadIdx.x)), np.int64(np.uint32(cuda.threadIdx.y))


def as_stack(arrays):
    """Return device arrays whose last two axes are those of images as one stack of planes."""
    *lead, height, width = arrays.shape
    return arrays.reshape(math.prod(lead), height, width)


# Frames


def luminance(frames, weights, white, out):
    """Write the luminance of frames divided by ``white``.

    Parameters
    ----------
    frames : uint8, uint16, float32 or float64 device array of shape (n, height, width, 1 or 3)
    weights : tuple of three floats
        Of red, green and blue.
    white : float
    out : device array of shape (n, height, width)
        float32, or float64 where the frames are.
    """
    number = out.dtype.type
    taps = tuple(number(weight / white) for weight in weights)
    _luminance[layers(len(out), out.shape[1:])](frames, number(white), taps, out)


def _luminance_types(pixel, number):
    return void(
        types.Array(pixel, 4, "C"), number, types.UniTuple(number, 3), types.Array(number, 3, "C")
    )


@cuda_kernel(
    signatures=(
        _luminance_types(uint8, float32),
        _luminance_types(uint16, float32),
        _luminance_types(float32, float32),
        _luminance_types(float64, float64),
    )
)
def _luminance(frames, white, weights, out):
    x, y, i = pixel()
    if y >= out.shape[1] or x >= out.shape[2]:
        return
    number = out.dtype.type
    if frames.shape[3] == 1:
        out[i, y, x] = number(frames[i, y, x, 0]) / white
        return
    total = number(frames[i, y, x, 0]) * weights[0]
    total += number(frames[i, y, x, 1]) * weights[1]
    total += number(frames[i, y, x, 2]) * weights[2]
    out[i, y, x] = total


def extremes(planes):
    """Return the least and the greatest value of each plane, NaN where one value is.

    Parameters
    ----------
    planes : float32 or float64 device array of shape (n, height, width)

    Returns
    -------
    ndarray of shape (n, 2)
        On the host; waits for the device.
    """
    n, height, width = planes.shape
    n_blocks = max(1, min(_MOST_BLOCKS, height * width // _PIXELS_PER_BLOCK))
    memory = memory_at(planes)
    with memory.scope():
        found = memory.empty((n, n_blocks, 2), planes.dtype)
        _extremes[(n_blocks, 1, n), (_THREADS, 1, 1)](planes.reshape(n, 1, height * width), found)
        host = memory.fetch(found)
    return np.stack((host[..., 0].min(axis=1), host[..., 1].max(axis=1)), axis=1)


@cuda_kernel(signatures=(void(PLANES, PLANES), void(_PLANES64, _PLANES64)))
def _extremes(values, out):
    low = cuda.shared.array(_THREADS, values.dtype)
    high = cuda.shared.array(_THREADS, values.dtype)
    i = cuda.threadIdx.x
    layer = cuda.blockIdx.z
    least = values[layer, 0, 0]
    greatest = least
    for k in range(cuda.grid(1), values.shape[2], cuda.gridsize(1)):
        value = values[layer, 0, k]
        if value < least or value != value:
            least = value
        if value > greatest or value != value:
            greatest = value
    low[i] = least
    high[i] = greatest
    cuda.syncthreads()
    if i == 0:
        for k in range(_THREADS):
            if low[k] < least or low[k] != low[k]:
                least = low[k]
            if high[k] > greatest or high[k] != high[k]:
                greatest = high[k]
        out[layer, cuda.blockIdx.x, 0] = least
        out[layer, cuda.blockIdx.x, 1] = greatest


def pair_up(planes, ranges, first, n_frames, out):
    """Write both frames of successive pairs, each pair's range mapped to [0, 1].

    Pair k shows the frames that follow each other at ``k % (n_frames - 1)`` in clip
    ``k // (n_frames - 1)``.

    Parameters
    ----------
    planes : float32 or float64 device array of shape (m, height, width)
        The frames of the clips, from the one on that pair ``first`` begins with.
    ranges : device array of shape (n, 2)
        What is subtracted from both frames of a pair, and what they are divided by then.
    first : int
        The first pair.
    n_frames : int
        Frames of a clip.
    out : float32 device array of shape (2, n, height, width)
    """
    _pair_up[layers(out.shape[1], out.shape[2:])](planes, ranges, first, n_frames, out)


@cuda_kernel(
    signatures=(
        void(PLANES, PLANE, int64, int64, FIELDS),
        void(_PLANES64, float64[:, ::1], int64, int64, FIELDS),
    )
)
def _pair_up(planes, ranges, first, n_frames, out):
    x, y, i = pixel()
    if y >= out.shape[2] or x >= out.shape[3]:
        return
    k = first + i
    # A clip has a frame more than pairs.
    frame = k + k // (n_frames - 1) - first - first // (n_frames - 1)
    low = ranges[i, 0]
    span = ranges[i, 1]
    out[0, i, y, x] = (planes[frame, y, x] - low) / span
    out[1, i, y, x] = (planes[frame + 1, y, x] - low) / span


# Flows and images with their channels last, as users have them


def split(fields, out):
    """Write channels that lie last as planes.

    Parameters
    ----------
    fields : float32 device array of shape (n, height, width, n_channels)
    out : float32 device array of shape (n, n_channels, height, width)
    """
    _split[layers(len(out), out.shape[2:])](fields, out)


@cuda_kernel(signatures=(void(FIELDS, FIELDS),))
def _split(fields, out):
    x, y, i = pixel()
    if y < out.shape[2] and x < out.shape[3]:
        for channel in range(out.shape[1]):
            out[i, channel, y, x] = fields[i, y, x, channel]


def join(planes, out):
    """Write planes as channels that lie last: the contrary of `split`."""
    _join[layers(len(out), out.shape[1:3])](planes, out)


@cuda_kernel(signatures=(void(FIELDS, FIELDS),))
def _join(planes, out):
    x, y, i = pixel()
    if y < out.shape[1] and x < out.shape[2]:
        for channel in range(out.shape[3]):
            out[i, y, x, channel] = planes[i, channel, y, x]


# Resizing, warping and smoothing


def resample(planes, out, row_start, row_weights, column_start, column_weights, factor):
    """Resize a stack of planes with separable weights and multiply them by a factor each.

    Beyond the border its pixels are repeated.

    Parameters
    ----------
    planes : float32 device array of shape (n, height, width)
    out : float32 device array of shape (n, new_height, new_width)
    row_start : int64 device array of shape (new_height,)
        First row that each new row draws on; may lie outside.
    row_weights : float32 device array of shape (n_row_taps, new_height)
    column_start : int64 device array of shape (new_width,)
    column_weights : float32 device array of shape (n_column_taps, new_width)
    factor : float32 device array of shape (n,)
    """
    n, new_height, _ = out.shape
    width = planes.shape[2]
    memory = memory_at(planes)
    with memory.scope():
        mixed = memory.empty((n, new_height, width))
        _mix_rows[layers(n, (new_height, width))](planes, row_start, row_weights, factor, mixed)
        _mix_columns[layers(n, out.shape[1:])](mixed, column_start, column_weights, out)


@cuda_kernel(signatures=(void(PLANES, _STARTS, PLANE, ROW, PLANES),))
def _mix_rows(planes, start, weights, factor, out):
    x, y, i = pixel()
    if y >= out.shape[1] or x >= out.shape[2]:
        return
    last = planes.shape[1] - 1
    total = ZERO
    for k in range(weights.shape[0]):
        source = min(max(start[y] + k, 0), last)
        total += weights[k, y] * planes[i, source, x]
    out[i, y, x] = factor[i] * total


@cuda_kernel(signatures=(void(PLANES, _STARTS, PLANE, PLANES),))
def _mix_columns(planes, start, weights, out):
    x, y, i = pixel()
    if y >= out.shape[1] or x >= out.shape[2]:
        return
    last = planes.shape[2] - 1
    total = ZERO
    for k in range(weights.shape[0]):
        source = min(max(start[x] + k, 0), last)
        total += weights[k, x] * planes[i, y, source]
    out[i, y, x] = total


def warp(image, flow, out):
    """Sample images where flows point to: cubic, the border's pixels repeated outside.

    Parameters
    ----------
    image, out : float32 device array of shape (n, height, width)
    flow : float32 device array of shape (n, 2, height, width)
    """
    n, height, width = image.shape
    _warp[layers(n, (height, width))](image.reshape(n, height * width), flow, out)


@cuda_kernel(signatures=(void(PLANE, FIELDS, PLANES),))
def _warp(pixels, flow, out):
    x, y, i = pixel()
    height, width = out.shape[1:]
    if y < height and x < width:
        to_x = np.float32(x) + flow[i, 0, y, x]
        to_y = np.float32(y) + flow[i, 1, y, x]
        out[i, y, x] = sample(pixels[i], height, width, to_x, to_y)


def mark_outside(flow, value, out):
    """Write a value where flows point outside the image; leave the rest as it is.

    Parameters
    ----------
    flow : float32 device array of shape (n, 2, height, width)
    value : float32
    out : float32 device array of shape (n, height, width)
    """
    _mark_outside[layers(len(out), out.shape[1:])](flow, value, out)


@cuda_kernel(signatures=(void(FIELDS, float32, PLANES),))
def _mark_outside(flow, value, out):
    x, y, i = pixel()
    height, width = out.shape[1:]
    if y < height and x < width:
        # Compared with whole numbers, which are exact: the sum with the place would be rounded.
        inside_x = is_between(flow[i, 0, y, x], np.float32(-x), np.float32(width - 1 - x))
        inside_y = is_between(flow[i, 1, y, x], np.float32(-y), np.float32(height - 1 - y))
        if not (inside_x and inside_y):
            out[i, y, x] = value


def lengths(flow, other, out):
    """Write the length of the sum of two flows.

    Parameters
    ----------
    flow, other : float32 device array of shape (n, 2, height, width)
    out : float32 device array of shape (n, height, width)
    """
    _lengths[layers(len(out), out.shape[1:])](flow, other, out)


@cuda_kernel(signatures=(void(FIELDS, FIELDS, PLANES),))
def _lengths(flow, other, out):
    x, y, i = pixel()
    if y < out.shape[1] and x < out.shape[2]:
        u = flow[i, 0, y, x] + other[i, 0, y, x]
        v = flow[i, 1, y, x] + other[i, 1, y, x]
        out[i, y, x] = math.sqrt(squared_length(u, v))


def mean_and_difference(frame0, frame1, mean, difference):
    """Write the mean of two frames, and the second less the first.

    Parameters
    ----------
    frame0, frame1, mean, difference : float32 device array of shape (n, height, width)
    """
    _mean_and_difference[layers(len(mean), mean.shape[1:])](frame0, frame1, mean, difference)


@cuda_kernel(signatures=(void(PLANES, PLANES, PLANES, PLANES),))
def _mean_and_difference(frame0, frame1, mean, difference):
    x, y, i = pixel()
    if y < mean.shape[1] and x < mean.shape[2]:
        mean[i, y, x], difference[i, y, x] = mean_and_step(frame0[i, y, x], frame1[i, y, x])


# The part of a plane that a block's windows cover, and its sorted columns for each of their rows.
_TILE = (BLOCK_HEIGHT + 2 * PAD, BLOCK_WIDTH + 2 * PAD)
_COLUMNS = (5, BLOCK_HEIGHT, BLOCK_WIDTH + 2 * PAD)


def median(planes, out):
    """Write the 5 x 5 median of each plane, the border's pixels repeated outside.

    Parameters
    ----------
    planes, out : float32 device array of shape (..., height, width)
    """
    planes, out = as_stack(planes), as_stack(out)
    _median[layers(len(out), out.shape[1:])](planes, out)


@cuda_kernel(signatures=(void(PLANES, PLANES),))
def _median(planes, out):
    tile = cuda.shared.array(_TILE, np.float32)
    c = cuda.shared.array(_COLUMNS, np.float32)
    x, y, plane = pixel()
    height, width = out.shape[1:]
    own_j, own_i = place()
    left, top = x - own_j - PAD, y - own_i - PAD
    for i in range(own_i, _TILE[0], BLOCK_HEIGHT):
        row = min(max(top + i, 0), height - 1)
        for j in range(own_j, _TILE[1], BLOCK_WIDTH):
            tile[i, j] = planes[plane, row, min(max(left + j, 0), width - 1)]
    cuda.syncthreads()
    # A column serves five windows of its row, and is sorted once.
    i = own_i
    for j in range(own_j, _TILE[1], BLOCK_WIDTH):
        c[0, i, j], c[1, i, j], c[2, i, j], c[3, i, j], c[4, i, j] = sort_5(
            tile[i, j], tile[i + 1, j], tile[i + 2, j], tile[i + 3, j], tile[i + 4, j]
        )
    cuda.syncthreads()
    if y < height and x < width:
        j = own_j
        out[plane, y, x] = median_of_sorted_columns(
            c[0, i, j], c[0, i, j + 1], c[0, i, j + 2], c[0, i, j + 3], c[0, i, j + 4],
            c[1, i, j], c[1, i, j + 1], c[1, i, j + 2], c[1, i, j + 3], c[1, i, j + 4],
            c[2, i, j], c[2, i, j + 1], c[2, i, j + 2], c[2, i, j + 3], c[2, i, j + 4],
            c[3, i, j], c[3, i, j + 1], c[3, i, j + 2], c[3, i, j + 3], c[3, i, j + 4],
            c[4, i, j], c[4, i, j + 1], c[4, i, j + 2], c[4, i, j + 3], c[4, i, j + 4],
        )  # fmt: skip
