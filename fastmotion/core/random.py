"""Random numbers by counting: the same draws on CPU and CUDA, for any number of threads.

A draw is a function of a seed and of two counters, so nothing is carried from one draw to the next
and each loop iteration can ask for its own. The function is Philox 4x32-10 of Salmon, Moraes, Dror
and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
https://doi.org/10.1145/2063384.2063405.

All scalar functions here take and return ``np.uint64`` where they say integer: 32-bit words ride
in 64, which keeps the arithmetic exact in compiled code, in CUDA and in plain Python alike.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from fastmotion.core.compile import scalar

__all__ = ["new_seed", "philox"]

_ROUNDS = 10
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)


@scalar
def philox(c0, c1, c2, c3, k0, k1):
    """Return four random 32-bit words of a counter of four and a key of two such words."""
    for _ in range(_ROUNDS):
        product0 = _MULTIPLIER_0 * c0
        product1 = _MULTIPLIER_1 * c2
        c0 = (product1 >> _SHIFT_32) ^ c1 ^ k0
        c1 = product1 & _LOW_32
        c2 = (product0 >> _SHIFT_32) ^ c3 ^ k1
        c3 = product0 & _LOW_32
        k0 = (k0 + _WEYL_0) & _LOW_32
        k1 = (k1 + _WEYL_1) & _LOW_32
    return c0, c1, c2, c3


def new_seed(random_state: Any = None) -> np.uint64:
    """Return a seed for `philox`, whose low and high word are the key.

    Parameters
    ----------
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        None takes NumPy's global generator. An int always gives the same seed. A generator is
        advanced by one draw.

    Returns
    -------
    numpy.uint64

    Raises
    ------
    ValueError
        It is none of the above.
    """
    if isinstance(random_state, np.random.Generator):
        return random_state.integers(2**64, dtype=np.uint64)
    if isinstance(random_state, numbers.Integral):
        # A RandomState takes ten times as long to make.
        return np.random.SeedSequence(int(random_state)).generate_state(1, np.uint64)[0]
    from sklearn.utils import check_random_state

    return check_random_state(random_state).randint(2**64, dtype=np.uint64)
