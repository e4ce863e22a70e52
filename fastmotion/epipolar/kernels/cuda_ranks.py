"""Numbers of a rank on a CUDA device: what least medians of squares are made of."""

import numpy as np
from numba import cuda

from fastmotion.core.compile import cuda_function
from fastmotion.core.device import block_size
from fastmotion.core.kernels.cuda import block_sum

# Threads of the blocks that call `number_of_rank`.
RANK_THREADS = block_size(256, 2)

_BITS_OF_INFINITY = np.int64(0x7FF0000000000000)
# Three counts ride in one integer.
_COUNT_BITS = np.int64(21)
_COUNT_MASK = np.int64(2**21 - 1)


@cuda_function
def number_of_rank(numbers, rank, scratch):
    """Return the number of a rank, counted from 0, to all threads of a block.

    The bits of numbers that are not negative are in their order. Their range is cut into quarters,
    of which the one is kept that holds the number.

    Parameters
    ----------
    numbers : float64 array of shape (n,)
        Not negative, nor NaN; fewer than two million. A thread need only see those that it has
        written itself, every `RANK_THREADS`-th.
    rank : int64
    scratch : int64 array of shape (RANK_THREADS,)
        Shared.
    """
    low = np.int64(0)
    high = _BITS_OF_INFINITY
    while low < high:
        quarter = (high - low) // 4
        counts = np.int64(0)
        for i in range(cuda.threadIdx.x, len(numbers), RANK_THREADS):
            bits = np.float64(numbers[i]).view(np.int64)
            if bits <= low + quarter:
                counts += 1
            if bits <= low + 2 * quarter:
                counts += 1 << _COUNT_BITS
            if bits <= low + 3 * quarter:
                counts += 1 << (2 * _COUNT_BITS)
        counts = block_sum(counts, scratch)
        if (counts & _COUNT_MASK) > rank:
            high = low + quarter
        elif ((counts >> _COUNT_BITS) & _COUNT_MASK) > rank:
            high = low + 2 * quarter
            low += quarter + 1
        elif (counts >> (2 * _COUNT_BITS)) > rank:
            high = low + 3 * quarter
            low += 2 * quarter + 1
        else:
            low += 3 * quarter + 1
    return np.int64(low).view(np.float64)
