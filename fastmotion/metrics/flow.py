"""End-point and angular error of dense flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["angular_error", "endpoint_error", "known_pixels"]

# Middlebury writes 1e10 or 1.67e9 where the truth is unknown. A float64, not a plain number, so
# that float16 fields are compared in float64 too.
_UNKNOWN_ABOVE = np.float64(1e9)

_VectorError = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def known_pixels(flow: ArrayLike) -> NDArray[np.bool_]:
    """Tell which vectors of a flow field are known.

    Parameters
    ----------
    flow : array-like of shape (..., height, width, 2)
        Motion in pixels, any real dtype.

    Returns
    -------
    known : ndarray of bool, shape (..., height, width)
        False where a component is NaN or larger than 1e9 in size, which is how the Middlebury
        files mark a pixel without a truth.

    Raises
    ------
    TypeError
        If `flow` does not hold real numbers.
    ValueError
        If `flow` does not have the shape of a flow field.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.metrics import known_pixels
    >>> known_pixels(np.array([[[1.0, 2.0], [np.nan, 0.0], [1e10, 1e10]]]))
    array([[ True, False, False]])
    """
    vectors = _as_vectors(flow, "flow")
    # A comparison with NaN is False, so NaN needs no test of its own.
    return (np.abs(vectors) <= _UNKNOWN_ABOVE).all(axis=-1)


@overload
def endpoint_error(
    flow_true: ArrayLike,
    flow_pred: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Literal["mean"] = "mean",
) -> float: ...


@overload
def endpoint_error(
    flow_true: ArrayLike,
    flow_pred: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Literal["none"],
) -> NDArray[np.floating]: ...


def endpoint_error(
    flow_true: ArrayLike,
    flow_pred: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: str = "mean",
) -> float | NDArray[np.floating]:
    """Distance between the ends of the true and of the estimated vectors, in pixels.

    Parameters
    ----------
    flow_true : array-like of shape (..., height, width, 2)
        True motion in pixels. Pixels with a NaN, or with a value above 1e9 in size, are unknown
        and left out.
    flow_pred : array-like of the same shape
        Estimated motion in pixels.
    mask : array-like of bool, shape (..., height, width) or (height, width), default=None
        False leaves a pixel out. None keeps every pixel whose truth is known.
    reduction : {"mean", "none"}, default="mean"
        "mean" gives the average over the known pixels of the whole batch, "none" the error of
        each pixel.

    Returns
    -------
    error : float, or ndarray of shape (..., height, width)
        Pixels. The map is float32 if both fields are, else float64, and NaN where the truth is
        unknown. The mean is summed in float64.

    Raises
    ------
    TypeError
        If a field does not hold real numbers, or the mask neither booleans nor integers.
    ValueError
        If shapes differ, no pixel is known, or `flow_pred` is not a usable vector (NaN, infinite
        or above 1e9) at a known pixel.

    See Also
    --------
    angular_error : Angle between the vectors, less ruled by the fast pixels.

    References
    ----------
    S. Baker, D. Scharstein, J. P. Lewis, S. Roth, M. J. Black, R. Szeliski, "A Database and
    Evaluation Methodology for Optical Flow", International Journal of Computer Vision 92, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.metrics import endpoint_error
    >>> truth = np.zeros((4, 6, 2), dtype=np.float32)
    >>> endpoint_error(truth, truth + np.float32([3, 4]))
    5.0
    """
    return _flow_error(_endpoint, flow_true, flow_pred, mask, reduction)


@overload
def angular_error(
    flow_true: ArrayLike,
    flow_pred: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Literal["mean"] = "mean",
) -> float: ...


@overload
def angular_error(
    flow_true: ArrayLike,
    flow_pred: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Literal["none"],
) -> NDArray[np.floating]: ...


def angular_error(
    flow_true: ArrayLike,
    flow_pred: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: str = "mean",
) -> float | NDArray[np.floating]:
    """Angle between the true and the estimated motion in space and time, in degrees.

    The angle is the one between the three-dimensional vectors ``(u, v, 1)``, so that a pixel at
    rest has a direction too, and errors of slow pixels count for more than those of fast ones.

    Parameters
    ----------
    flow_true : array-like of shape (..., height, width, 2)
        True motion in pixels. Pixels with a NaN, or with a value above 1e9 in size, are unknown
        and left out.
    flow_pred : array-like of the same shape
        Estimated motion in pixels.
    mask : array-like of bool, shape (..., height, width) or (height, width), default=None
        False leaves a pixel out. None keeps every pixel whose truth is known.
    reduction : {"mean", "none"}, default="mean"
        "mean" gives the average over the known pixels of the whole batch, "none" the error of
        each pixel.

    Returns
    -------
    error : float, or ndarray of shape (..., height, width)
        Degrees, from 0 to 180. The map is float32 if both fields are, else float64, and NaN where
        the truth is unknown. The mean is summed in float64.

    Raises
    ------
    TypeError
        If a field does not hold real numbers, or the mask neither booleans nor integers.
    ValueError
        If shapes differ, no pixel is known, or `flow_pred` is not a usable vector (NaN, infinite
        or above 1e9) at a known pixel.

    See Also
    --------
    endpoint_error : Distance between the ends of the vectors, in pixels.

    References
    ----------
    J. L. Barron, D. J. Fleet, S. S. Beauchemin, "Performance of Optical Flow Techniques",
    International Journal of Computer Vision 12, 1994. The form used here is that of S. Baker et
    al., "A Database and Evaluation Methodology for Optical Flow", the same journal 92, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.metrics import angular_error
    >>> truth = np.zeros((4, 6, 2), dtype=np.float32)
    >>> round(angular_error(truth, truth + np.float32([1, 0])), 6)
    45.0
    """
    return _flow_error(_angle, flow_true, flow_pred, mask, reduction)


def _endpoint(true: NDArray[np.float64], pred: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hypot(pred[:, 0] - true[:, 0], pred[:, 1] - true[:, 1])


def _angle(true: NDArray[np.float64], pred: NDArray[np.float64]) -> NDArray[np.float64]:
    # The arc tangent keeps its digits near 0 and 180 degrees, where the arc cosine loses half.
    u, v = pred.T - true.T
    twist = true[:, 0] * v - true[:, 1] * u
    along = 1.0 + (true * pred).sum(axis=1)
    return np.degrees(np.arctan2(np.sqrt(u * u + v * v + twist * twist), along))


def _flow_error(
    error_of: _VectorError,
    flow_true: ArrayLike,
    flow_pred: ArrayLike,
    mask: ArrayLike | None,
    reduction: str,
) -> float | NDArray[np.floating]:
    """Validate, evaluate `error_of` on the known vectors, and reduce."""
    if reduction not in ("mean", "none"):
        raise ValueError(f'reduction must be "mean" or "none", got {reduction!r}.')
    true = _as_vectors(flow_true, "flow_true")
    pred = _as_vectors(flow_pred, "flow_pred")
    if true.shape != pred.shape:
        raise ValueError(
            f"flow_true and flow_pred must have the same shape, got {true.shape} and {pred.shape}."
        )
    counted = known_pixels(true) & _as_mask(mask, true.shape[:-1])
    if not counted.any():
        raise ValueError(
            "No pixel is left to measure: the truth is unknown (NaN or above 1e9) or masked out "
            "everywhere. Pass a truth, or a mask, with known pixels."
        )
    unusable = counted & ~known_pixels(pred)
    if unusable.any():
        raise ValueError(
            f"flow_pred is NaN, infinite or above 1e9 at {unusable.sum()} of {counted.sum()} "
            f"pixels whose truth is known, the first at index "
            f"{tuple(int(i) for i in np.argwhere(unusable)[0])}. Fill them, or pass a mask that "
            f"leaves them out."
        )
    errors = error_of(true[counted].astype(np.float64), pred[counted].astype(np.float64))
    if reduction == "mean":
        return float(errors.mean())
    error_map = np.full(counted.shape, np.nan, dtype=_map_dtype(true, pred))
    error_map[counted] = errors
    return error_map


def _map_dtype(true: NDArray, pred: NDArray) -> type[np.floating]:
    single = true.dtype == np.float32 and pred.dtype == np.float32
    return np.float32 if single else np.float64


def _as_vectors(flow: ArrayLike, name: str) -> NDArray:
    vectors = np.asarray(flow)
    if vectors.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got dtype {vectors.dtype}.")
    if vectors.ndim < 3 or vectors.shape[-1] != 2:
        raise ValueError(
            f"{name} must have shape (..., height, width, 2) with u and v along the last axis, "
            f"got {vectors.shape}."
        )
    return vectors


def _as_mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask is None:
        return np.ones(shape, dtype=bool)
    counted = np.asarray(mask)
    if counted.dtype.kind not in "biu":
        raise TypeError(
            f"mask must hold booleans (True: measure the pixel), got dtype {counted.dtype}."
        )
    if counted.shape not in (shape, shape[-2:]):
        raise ValueError(
            f"mask must have the shape of the flow without its last axis, {shape} or "
            f"{shape[-2:]}, got {counted.shape}."
        )
    return np.broadcast_to(counted != 0, shape)
