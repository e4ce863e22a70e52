"""Rows of samples, on the host or on a CUDA device: some of them, and what is missing in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmotion.core.device import is_cuda_array
from fastmotion.core.interop import summarise
from fastmotion.core.memory import memory_at
from fastmotion.em.kernels import kernels_for

__all__ = [
    "count_missing",
    "has_missing",
    "held_exactly",
    "pack_missing",
    "scale_weights",
    "take_rows",
]


def held_exactly(values: NDArray, dtype: DTypeLike) -> NDArray[np.float64]:
    """Return numbers that a dtype holds, next to those given.

    What a device subtracts from data of the dtype and the host adds again must be the same.
    """
    return values.astype(dtype).astype(np.float64)


def scale_weights(weight: NDArray[np.float64], dtype: DTypeLike) -> tuple[NDArray, int]:
    """Return weights of at most 1 in a dtype, and the power of 2 that they are to be multiplied by.

    Weights of float64 may be beyond the range of float32.
    """
    exponent = int(np.frexp(weight.max(initial=0.0))[1])
    return np.ldexp(weight, -exponent).astype(dtype), exponent


def has_missing(X: Any) -> bool:
    """Return whether a value is NaN."""
    if is_cuda_array(X):
        return summarise(X).n_nan > 0
    return X.size > 0 and bool(np.isnan(X.min()))


def take_rows(X: Any, rows: NDArray[np.intp] | slice) -> NDArray:
    """Return some rows, on the host.

    Parameters
    ----------
    X : ndarray or Numba device array of shape (n, n_features)
    rows : ndarray of int, or slice
    """
    if not is_cuda_array(X):
        return X[rows]
    memory = memory_at(X)
    with memory.scope():
        return memory.fetch(take_rows_on_device(X, rows))


def take_rows_on_device(X: Any, rows: NDArray[np.intp] | slice) -> Any:
    """Return some rows of a Numba device array there, good until the scope of its memory ends."""
    memory = memory_at(X)
    if isinstance(rows, slice):
        rows = np.arange(len(X))[rows]
    out = memory.empty((len(rows), X.shape[1]), X.dtype)
    kernels_for("cuda").take_rows(X, memory.put(rows.astype(np.int64)), out)
    return out


def pack_missing(X: Any) -> NDArray[np.uint8]:
    """Return the bits of missing features of each row, the first feature's highest, on the host.

    Parameters
    ----------
    X : ndarray or Numba device array of shape (n, n_features)
        NaN where a value is missing.

    Returns
    -------
    ndarray of shape (n, ceil(n_features / 8)), uint8
    """
    if not is_cuda_array(X):
        return np.packbits(np.isnan(X), axis=1)
    memory = memory_at(X)
    with memory.scope():
        packed = memory.empty((len(X), -(-X.shape[1] // 8)), np.uint8)
        kernels_for("cuda").pack_missing(X, packed)
        return memory.fetch(packed)


def count_missing(X: Any) -> NDArray[np.intp]:
    """Return the number of missing values of each row, on the host."""
    if not is_cuda_array(X):
        return np.isnan(X).sum(axis=1)
    return np.unpackbits(pack_missing(X), axis=1).sum(axis=1, dtype=np.intp)
