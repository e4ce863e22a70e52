"""What kernels of every family need on a CUDA device."""

import math

import numpy as np
from numba import (
    cuda,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    types,
    uint8,
    uint16,
    uint32,
    uint64,
    void,
)

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size, launch_shape

# Threads of a block that sums up, and the most blocks that do: enough to fill the largest devices.
_THREADS = block_size(256, 8)
_MAX_BLOCKS = block_size(1024, 4)

# The most axes of a strided array; shorter shapes are padded.
MAX_AXES = 5

_AXES = types.UniTuple(int64, MAX_AXES)

_ALL_LANES = 0xFFFFFFFF
_HALF_WARP = 16

# What zero bits can be written as, widest first.
_BITS = (np.uint64, np.uint32, np.uint8)


@cuda_function
def block_sum(value, scratch):
    """Return the sum over the threads of a block, to all of them, in an order of its own.

    ``scratch`` is shared, with a number for each thread; it may be used again at once.
    """
    i = cuda.threadIdx.x + cuda.blockDim.x * cuda.threadIdx.y
    scratch[i] = value
    cuda.syncthreads()
    n = cuda.blockDim.x * cuda.blockDim.y
    while n > 1:
        half = (n + 1) // 2
        if i + half < n:
            scratch[i] += scratch[i + half]
        cuda.syncthreads()
        n = half
    total = scratch[0]
    cuda.syncthreads()
    return total


def _simulated_warp_sum(value):
    scratch = cuda.shared.array(32, np.float64)
    return type(value)(block_sum(value, scratch))


@cuda_function(simulated=_simulated_warp_sum)
def warp_sum(value):
    """Return the sum over the 32 threads of a warp, to all of them.

    Blocks are of 32 threads along x; in the simulator of one warp, which may be narrower.
    """
    offset = _HALF_WARP
    while offset > 0:
        value += cuda.shfl_xor_sync(_ALL_LANES, value, offset)
        offset //= 2
    return value


def fill(out, value):
    """Set all elements of a contiguous device array."""
    flat = out.reshape(out.size)
    if value == 0:
        dtype = next(d for d in _BITS if flat.nbytes % np.dtype(d).itemsize == 0)
        flat = flat.view(dtype)
    _fill[launch_shape(flat.shape)](flat, flat.dtype.type(value))


@cuda_kernel(
    signatures=(
        void(uint8[::1], uint8),
        void(uint32[::1], uint32),
        void(uint64[::1], uint64),
        void(int32[::1], int32),
        void(int64[::1], int64),
        void(float32[::1], float32),
        void(float64[::1], float64),
    )
)
def _fill(out, value):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = value


def convert(values, out):
    """Set a contiguous device array to the values of another of that size, in its own dtype."""
    _convert[launch_shape((out.size,))](values.reshape(values.size), out.reshape(out.size))


_INTEGERS = (uint8, uint16, uint32, int8, int16, int32, int64)


@cuda_kernel(
    signatures=(
        *(void(given[::1], wanted[::1]) for given in _INTEGERS for wanted in (float32, float64)),
        void(float32[::1], float64[::1]),
        void(float64[::1], float32[::1]),
    )
)
def _convert(values, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = values[i]


def gather(memory, first, shape, strides, out):
    """Copy a strided array to a contiguous one, element by element, as they lie in memory.

    Parameters
    ----------
    memory : device array of shape (n,)
        All elements from the lowest address on, as unsigned integers.
    first : int
        Where in it the element stands whose indices are 0.
    shape : tuple of int
        At most five axes.
    strides : tuple of int
        In elements; may be negative.
    out : device array of shape (n_elements,)
        Of the dtype of ``memory``.
    """
    n_missing = MAX_AXES - len(shape)
    _gather[launch_shape(out.shape)](
        memory, first, (1,) * n_missing + tuple(shape), (0,) * n_missing + tuple(strides), out
    )


@cuda_kernel(
    signatures=(
        void(uint8[::1], int64, _AXES, _AXES, uint8[::1]),
        void(uint16[::1], int64, _AXES, _AXES, uint16[::1]),
        void(uint32[::1], int64, _AXES, _AXES, uint32[::1]),
        void(uint64[::1], int64, _AXES, _AXES, uint64[::1]),
    )
)
def _gather(memory, first, shape, strides, out):
    i = cuda.grid(1)
    if i < out.size:
        place = first
        rest = i
        for axis in range(MAX_AXES - 1, -1, -1):
            place += rest % shape[axis] * strides[axis]
            rest //= shape[axis]
        out[i] = memory[place]


def summarise(values, counts, extremes):
    """Count what is NaN and infinite, and find the extremes of what is not NaN, by blocks.

    Parameters
    ----------
    values : float32 or float64 device array of shape (n,)
    counts : int32 device array of shape (n_blocks, 2)
        NaN and infinite ones of each block's share.
    extremes : device array of shape (n_blocks, 2) and the dtype of the values
        Smallest and largest; infinite and minus infinite where there is none.
    """
    _summarise[len(counts), _THREADS](values, counts, extremes)


def n_summaries(n):
    """Return in how many shares `summarise` looks at so many values."""
    return max(1, min(_MAX_BLOCKS, math.ceil(n / (4 * _THREADS))))


@cuda_kernel(
    signatures=(
        void(float32[::1], int32[:, ::1], float32[:, ::1]),
        void(float64[::1], int32[:, ::1], float64[:, ::1]),
    )
)
def _summarise(values, counts, extremes):
    scratch = cuda.shared.array(_THREADS, np.int32)
    low = cuda.shared.array(_THREADS, values.dtype)
    high = cuda.shared.array(_THREADS, values.dtype)
    i = cuda.threadIdx.x
    n_nan = 0
    n_infinite = 0
    low[i] = np.inf
    high[i] = -np.inf
    for k in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        value = values[k]
        if value != value:
            n_nan += 1
        else:
            n_infinite += abs(value) == np.inf
            low[i] = min(low[i], value)
            high[i] = max(high[i], value)
    n_nan = block_sum(n_nan, scratch)
    n_infinite = block_sum(n_infinite, scratch)
    if i == 0:
        smallest = low[0]
        largest = high[0]
        for k in range(1, _THREADS):
            smallest = min(smallest, low[k])
            largest = max(largest, high[k])
        counts[cuda.blockIdx.x, 0] = n_nan
        counts[cuda.blockIdx.x, 1] = n_infinite
        extremes[cuda.blockIdx.x, 0] = smallest
        extremes[cuda.blockIdx.x, 1] = largest
