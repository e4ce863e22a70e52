"""Checks of the numbers that the solvers are given."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import as_real_array


def as_real(x: ArrayLike, name: str, ndims: tuple[int, ...]) -> NDArray:
    """Return real numbers as an array of one of the numbers of dimensions, its values unseen."""
    array = as_real_array(x, name)
    if array.ndim not in ndims:
        wanted = " or ".join(str(n) for n in ndims)
        raise ValueError(f"{name} must have {wanted} dimension(s), got shape {array.shape}")
    return array


def as_finite(x: ArrayLike, name: str, ndims: tuple[int, ...]) -> NDArray[np.float64]:
    """Return finite real numbers as a float64 array of one of the numbers of dimensions."""
    array = as_real(x, name, ndims).astype(np.float64, copy=False)
    check_finite(array, name)
    return array


def check_finite(array: NDArray, name: str) -> None:
    """Raise if a number is NaN or infinite, and tell the first one's place."""
    is_bad = ~np.isfinite(array)
    if is_bad.any():
        first = tuple(int(i) for i in np.argwhere(is_bad)[0])
        raise ValueError(
            f"{name} must be finite, got {array[first]} at index {first} "
            f"({is_bad.sum()} such values); drop or fill them first"
        )


def check_nonnegative(value: float, name: str) -> float:
    """Return a number that is finite and not negative as a float."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least 0, got {value}")
    return float(value)


def as_columns(x: NDArray, shape: tuple[int, int], name: str) -> NDArray:
    """Return an array of shape (rows,) or (rows, columns) as one of shape (rows, columns)."""
    if x.shape[0] != shape[0] or (x.ndim == 2 and x.shape[1] not in (1, shape[1])):
        raise ValueError(f"{name} must have shape ({shape[0]},) or {shape}, got {x.shape}")
    return np.broadcast_to(x if x.ndim == 2 else x[:, np.newaxis], shape)
