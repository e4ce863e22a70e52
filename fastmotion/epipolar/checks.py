"""Checks of matches, points, matrices and cameras, shared by all of two-view geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.device import Device, to_host
from fastmotion.core.interop import as_device_array, summarise
from fastmotion.core.memory import memory_of
from fastmotion.core.validation import as_real_array
from fastmotion.epipolar.kernels.scalar import LARGEST

__all__ = [
    "check_device_matches",
    "check_device_points",
    "check_fundamental",
    "check_image_number",
    "check_image_size",
    "check_intrinsics",
    "check_matches",
    "check_matrix",
    "check_points",
    "check_rotation",
]

# A rotation matrix written with seven digits is still one.
_ROTATION_TOLERANCE = 1e-5

# Relative to the largest singular value: a matrix below this is singular but for rounding.
_SINGULAR = 1e-12


def check_matches(
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    nan_policy: str = "raise",
    min_matches: int = 0,
    name: str = "X",
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return matches as float64, and which rows of the argument they are.

    Parameters
    ----------
    X : array_like of shape (n, 4), or (n, 2) with ``y``
        Rows x1 y1 x2 y2 in pixels, or the points of image 1.
    y : array_like of shape (n, 2), default=None
        The points of image 2.
    nan_policy : {"raise", "omit"}, default="raise"
        What becomes of rows with a coordinate that is NaN, infinite or larger than 1e30.
    min_matches : int, default=0
        The fewest rows that must be left.
    name : str, default="X"
        What error messages call the matches.

    Returns
    -------
    matches : ndarray of shape (n_valid, 4), float64
        C-contiguous; the argument itself if it is that already and no row is omitted.
    is_valid : ndarray of shape (n,), bool
        The rows of the argument that ``matches`` holds: all, unless some are omitted.

    Raises
    ------
    TypeError
        The numbers are not real, or lie on a CUDA device.
    ValueError
        A shape is wrong, matches are too few, ``nan_policy`` is neither, or a coordinate is not
        finite and may not be.
    """
    if nan_policy not in ("raise", "omit"):
        raise ValueError(f"nan_policy must be 'raise' or 'omit', got {nan_policy!r}")
    matches = np.ascontiguousarray(_as_rows(X, y, name), dtype=np.float64)
    is_valid = np.ones(len(matches), bool)
    if not _is_in_range(matches):
        is_valid = _rows_in_range(matches)
    n_valid = int(np.count_nonzero(is_valid))
    if n_valid < len(matches):
        if nan_policy == "raise":
            raise ValueError(_describe_bad_rows(matches, is_valid, name))
        matches = matches[is_valid]
    if n_valid < min_matches:
        omitted = len(is_valid) - n_valid
        left = f" after {omitted} of {len(is_valid)} rows were omitted" if omitted else ""
        raise ValueError(f"{name} must hold at least {min_matches} matches, got {n_valid}{left}")
    return matches, is_valid


def check_device_matches(
    X: Any, y: Any, device: Device, *, nan_policy: str = "raise", name: str = "X"
) -> Any:
    """Return matches on a CUDA device as float64.

    Parameters
    ----------
    X, y : CUDA array, or array_like or None
        As for `check_matches`.
    device : Device
        Where they lie.
    nan_policy : {"raise", "omit"}, default="raise"
        Rows to be omitted are still there.
    name : str, default="X"
        What error messages call the matches.

    Returns
    -------
    Numba device array of shape (n, 4), float64

    Raises
    ------
    TypeError
        The numbers are not real.
    ValueError
        As by `check_matches`.
    """
    rows = as_device_array(X, device, np.float64)
    others = None if y is None else as_device_array(y, device, np.float64)
    _check_shapes(rows.shape, None if others is None else others.shape, name)
    if others is not None:
        from fastmotion.epipolar.kernels.cuda_matches import join_points

        rows = join_points(memory_of(device), rows, others)
    if nan_policy == "raise" and not _is_in_range_on_device(rows):
        check_matches(to_host(rows), name=name)  # tells which
    return rows


def _as_rows(X: ArrayLike, y: ArrayLike | None, name: str) -> NDArray:
    """Return matches of the right shape, their values unseen."""
    rows = as_real_array(X, name)
    if y is None:
        _check_shapes(rows.shape, None, name)
        return rows
    others = as_real_array(y, "y")
    _check_shapes(rows.shape, others.shape, name)
    return np.concatenate((rows, others), axis=1, dtype=np.float64)


def _check_shapes(shape: tuple[int, ...], other: tuple[int, ...] | None, name: str) -> None:
    """Check the shape of matches, or those of the points of both images."""
    if other is None:
        if len(shape) != 2 or shape[1] != 4:
            raise ValueError(
                f"{name} must have shape (n, 4), rows x1 y1 x2 y2, or be given as the points of "
                f"both images, each of shape (n, 2); got shape {shape}"
            )
    elif len(shape) != 2 or shape[1] != 2 or shape != other:
        raise ValueError(
            f"{name} and y must both have shape (n, 2), the points of image 1 and image 2, got "
            f"{shape} and {other}; matches of shape (n, 4) go without y"
        )


def _is_in_range(array: NDArray[np.float64]) -> bool:
    """Return whether all numbers are finite and not too large."""
    # Both are NaN if a number is. Quicker than a test of each number, and no BLAS, whose threads
    # would have to be woken.
    return not array.size or bool(array.min() >= -LARGEST and array.max() <= LARGEST)


def _rows_in_range(array: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.logical_and.reduce(np.abs(array) <= LARGEST, axis=1)


def _describe_bad_rows(matches: NDArray[np.float64], is_valid: NDArray[np.bool_], name: str) -> str:
    first = int(np.argmin(is_valid))
    n_bad = len(matches) - int(np.count_nonzero(is_valid))
    return (
        f"{name} must be finite (and at most {LARGEST:g}), got {n_bad} of {len(matches)} rows "
        f"that are not, the first of them row {first}: {matches[first].tolist()}; drop them, or "
        f"let nan_policy='omit' do so where that is offered"
    )


def check_points(points: ArrayLike, name: str = "points") -> NDArray[np.float64]:
    """Return points of one image as float64.

    Parameters
    ----------
    points : array_like of shape (n, 2)
        Pixels x y.
    name : str, default="points"
        What error messages call them.

    Returns
    -------
    ndarray of shape (n, 2), float64
        C-contiguous; the argument itself if it is that already.

    Raises
    ------
    TypeError
        The numbers are not real, or lie on a CUDA device.
    ValueError
        The shape is wrong, or a coordinate is NaN, infinite or larger than 1e30.
    """
    array = as_real_array(points, name)
    _check_shape_of_points(array.shape, name)
    array = np.ascontiguousarray(array, dtype=np.float64)
    if not _is_in_range(array):
        raise ValueError(_describe_bad_rows(array, _rows_in_range(array), name))
    return array


def check_device_points(points: Any, device: Device, name: str = "points") -> Any:
    """Return points of one image that lie on a CUDA device as float64.

    Parameters
    ----------
    points : CUDA array of shape (n, 2)
    device : Device
        Where they lie.
    name : str, default="points"
        What error messages call them.

    Returns
    -------
    Numba device array of shape (n, 2), float64

    Raises
    ------
    TypeError
        The numbers are not real.
    ValueError
        As by `check_points`.
    """
    array = as_device_array(points, device, np.float64)
    _check_shape_of_points(array.shape, name)
    if not _is_in_range_on_device(array):
        check_points(to_host(array), name)  # tells which
    return array


def _check_shape_of_points(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 2 or shape[1] != 2:
        hint = f"; one point is {name}[numpy.newaxis]" if shape == (2,) else ""
        raise ValueError(f"{name} must have shape (n, 2), rows x y, got {shape}{hint}")


def _is_in_range_on_device(array: Any) -> bool:
    if not len(array):
        return True
    found = summarise(array)
    return found.is_finite and bool(-LARGEST <= found.smallest <= found.largest <= LARGEST)


def check_matrix(matrix: ArrayLike, shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    """Return a matrix or vector of one shape as float64.

    Parameters
    ----------
    matrix : array_like of that shape
    shape : tuple of int
        What it must be.
    name : str
        What error messages call it.

    Returns
    -------
    ndarray of that shape, float64
        The argument itself if it is that already.

    Raises
    ------
    TypeError
        The numbers are not real, or lie on a CUDA device.
    ValueError
        The shape is wrong, or an entry is NaN or infinite.
    """
    array = as_real_array(matrix, name)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array.tolist()}")
    return array


def check_fundamental(F: ArrayLike, name: str = "F") -> NDArray[np.float64]:
    """Return a fundamental or essential matrix as float64, scaled as it was.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Its rank is not looked at: estimates have rank 2 to rounding only.
    name : str, default="F"
        What error messages call it.

    Returns
    -------
    ndarray of shape (3, 3), float64
        The argument itself if it is that already.

    Raises
    ------
    TypeError
        The numbers are not real, or lie on a CUDA device.
    ValueError
        The shape is wrong, an entry is NaN or infinite, or all are zero.
    """
    array = check_matrix(F, (3, 3), name)
    if not array.any():
        raise ValueError(f"{name} must not be zero: it then says nothing about the two images")
    return array


def check_intrinsics(K: ArrayLike, name: str = "K") -> NDArray[np.float64]:
    """Return the intrinsic parameters of a camera, scaled to ``K[2, 2] == 1``.

    Parameters
    ----------
    K : array_like of shape (3, 3)
        Maps directions of the camera's frame to homogeneous pixels; invertible, with a last row
        proportional to 0 0 1.
    name : str, default="K"
        What error messages call it.

    Returns
    -------
    ndarray of shape (3, 3), float64
        A new array.

    Raises
    ------
    TypeError
        The numbers are not real, or lie on a CUDA device.
    ValueError
        The shape or the last row is wrong, an entry is NaN or infinite, or the matrix is singular.
    """
    array = check_matrix(K, (3, 3), name)
    if array[2, 0] or array[2, 1] or not array[2, 2]:
        raise ValueError(
            f"{name} must have a last row proportional to 0 0 1, as in [[fx, skew, cx], "
            f"[0, fy, cy], [0, 0, 1]], got {array[2].tolist()}; is it transposed?"
        )
    array = array / array[2, 2]
    axes = array[:2, :2]
    if abs(np.linalg.det(axes)) <= _SINGULAR * float(np.abs(axes).max()) ** 2:
        raise ValueError(f"{name} must be invertible, got {array.tolist()}")
    return array


def check_rotation(R: ArrayLike, name: str = "R") -> NDArray[np.float64]:
    """Return a rotation matrix as float64.

    Parameters
    ----------
    R : array_like of shape (3, 3)
    name : str, default="R"
        What error messages call it.

    Returns
    -------
    ndarray of shape (3, 3), float64
        The argument itself if it is that already.

    Raises
    ------
    TypeError
        The numbers are not real, or lie on a CUDA device.
    ValueError
        The shape is wrong, an entry is NaN or infinite, or the matrix is no rotation.
    """
    array = check_matrix(R, (3, 3), name)
    error = float(np.abs(array @ array.T - np.eye(3)).max())
    determinant = float(np.linalg.det(array))
    if error > _ROTATION_TOLERANCE or determinant < 0:
        raise ValueError(
            f"{name} must be a rotation: orthogonal, with determinant 1; got {name} {name}ᵀ up to "
            f"{error:.2g} away from the identity and determinant {determinant:.6g}"
        )
    return array


def check_image_number(image: int, name: str = "image") -> int:
    """Return the number of an image, 1 or 2.

    Parameters
    ----------
    image : {1, 2}
    name : str, default="image"
        What error messages call it.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        It is neither.
    """
    if isinstance(image, bool) or image not in (1, 2):
        raise ValueError(f"{name} must be 1 or 2, got {image!r}")
    return int(image)


def check_image_size(image_size: tuple[int, int], name: str = "image_size") -> tuple[int, int]:
    """Return the size of an image.

    Parameters
    ----------
    image_size : tuple of two ints
        Width and height, pixels.
    name : str, default="image_size"
        What error messages call it.

    Returns
    -------
    width, height : int

    Raises
    ------
    TypeError
        The numbers are not integers.
    ValueError
        They are not two, or not positive.
    """
    size = as_real_array(image_size, name)
    if size.shape != (2,):
        raise ValueError(f"{name} must be (width, height), got {image_size!r}")
    if size.dtype.kind not in "ui":
        raise TypeError(f"{name} must be two integers, (width, height), got {image_size!r}")
    if size.min() < 1:
        raise ValueError(f"{name} must be positive, got {image_size!r}")
    return int(size[0]), int(size[1])
