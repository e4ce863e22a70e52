"""Checks of what callers pass in, and the only door to scikit-learn's private helpers."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from numbers import Integral
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.device import is_cuda_array

if TYPE_CHECKING:
    from sklearn.utils._param_validation import (
        Hidden,
        Interval,
        InvalidParameterError,
        Options,
        StrOptions,
        validate_parameter_constraints,
    )

    _Method = TypeVar("_Method", bound=Callable[..., Any])

    # scikit-learn's own has no annotations, which would hide those of the methods from users.
    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[_Method], _Method]:
        """Return what checks the parameters before a method of an estimator."""
        raise NotImplementedError


__all__ = [
    "LUMA",
    "ArrayOutput",
    "Hidden",
    "Interval",
    "InvalidParameterError",
    "Options",
    "StrOptions",
    "as_real_array",
    "check_clips",
    "check_flow",
    "check_image",
    "check_image_pair",
    "common_span",
    "common_white",
    "extremes",
    "fit_context",
    "import_optional",
    "n_jobs_constraint",
    "require_clip_shape",
    "require_finite_range",
    "require_flow_clips_shape",
    "require_flow_shape",
    "require_image_shape",
    "require_no_text",
    "require_real",
    "takes_clips",
    "validate_parameter_constraints",
]

# Loaded on first use: reading a flow file or drawing a plot needs no scikit-learn.
_FROM_SKLEARN = {
    "Hidden": ("sklearn.utils._param_validation", "Hidden"),
    "Interval": ("sklearn.utils._param_validation", "Interval"),
    "InvalidParameterError": ("sklearn.utils._param_validation", "InvalidParameterError"),
    "Options": ("sklearn.utils._param_validation", "Options"),
    "StrOptions": ("sklearn.utils._param_validation", "StrOptions"),
    "validate_parameter_constraints": (
        "sklearn.utils._param_validation",
        "validate_parameter_constraints",
    ),
    "fit_context": ("sklearn.base", "_fit_context"),
}

MIN_SIZE = 16

# Rec. 601 luma, as OpenCV and most video use; float32 so that float32 images stay float32.
LUMA = (0.299, 0.587, 0.114)

# What white is where the dtype tells.
_WHITE = {"bool": 1, "uint8": 255, "uint16": 65535}


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _FROM_SKLEARN[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(module), attribute)


def n_jobs_constraint() -> list[Any]:
    """Return what ``n_jobs`` may be: a number of threads, one counted from all (-1), or None."""
    between = __getattr__("Interval")
    return [
        between(Integral, None, -1, closed="right"),
        between(Integral, 1, None, closed="left"),
        None,
    ]


def extremes(array: NDArray) -> tuple[Any, Any]:
    """Return the smallest and the largest number that is not NaN; NaN if all are.

    Parameters
    ----------
    array : ndarray, not empty
    """
    low, high = array.min(), array.max()
    if not np.isnan(low):
        return low, high
    # These take many times as long.
    return np.fmin.reduce(array, axis=None), np.fmax.reduce(array, axis=None)


def import_optional(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module that is not a hard dependency.

    Parameters
    ----------
    module : str
        Name to import.
    extra : str
        The extra of this package that installs it.
    purpose : str
        What it is needed for, as in "reading a video".

    Returns
    -------
    module

    Raises
    ------
    ImportError
        The module is not installed; the message names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{purpose} needs {module!r} ({error}); "
            f"install it with `pip install fastmotion[{extra}]`"
        ) from error


class ArrayOutput:
    """Gives `set_output` to transformers whose output is no table, or not with every parameter.

    scikit-learn offers that method where there are names of columns only, yet a `Pipeline` that is
    to return data frames asks all its steps. Stands before `TransformerMixin` among the bases.
    """

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container of what `transform` and `fit_transform` return.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            The choice holds for tables alone, of which there are names of columns
            (``get_feature_names_out``); all else stays an array. It is kept, by clones as well,
            and None leaves it as it is. `transform` raises a ValueError for other names.

        Returns
        -------
        self
            This object.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.flow import LucasKanade
        >>> estimator = LucasKanade().set_output(transform="pandas")
        >>> estimator.transform(np.zeros((1, 2, 32, 32))).shape  # flow is no table
        (1, 1, 32, 32, 2)
        """
        if transform is not None:
            # Where scikit-learn keeps, clones and looks up what its own method is given.
            self._sklearn_output_config = {"transform": transform}
        return self


def as_real_array(x: ArrayLike, name: str) -> NDArray:
    """Return an array of real numbers on the host, without a copy where it is one already.

    Parameters
    ----------
    x : array_like
    name : str
        What error messages call it.

    Returns
    -------
    ndarray
        Of a boolean, integer or floating dtype.

    Raises
    ------
    TypeError
        ``x`` lies on a CUDA device, has masked values, is sparse, or does not hold real numbers.
    ValueError
        ``x`` is a ragged list.
    """
    if is_cuda_array(x):
        raise TypeError(
            f"{name} lies on a CUDA device; use device='cuda' or copy it to the host first"
        )
    if np.ma.is_masked(x):
        raise TypeError(f"{name} is a masked array with masked values; fill them first (.filled())")
    if hasattr(x, "toarray"):
        raise TypeError(f"{name} is sparse ({type(x).__name__}); make it dense first (.toarray())")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error
    require_real(array, name)
    return array


# What follows looks at shape and dtype alone, so that arrays on a device are welcome, too.


def require_real(array: Any, name: str) -> None:
    """Raise a TypeError unless an array is of a boolean, integer or floating dtype."""
    if array.dtype.kind not in "buif":
        raise TypeError(
            f"{name} must hold real numbers (bool, integer or float), got dtype {array.dtype}; "
            f"convert it, for example with numpy.asarray(x, dtype=numpy.float32)"
        )


def require_no_text(x: Any, name: str) -> None:
    """Raise a TypeError for text and dates, which scikit-learn's checks turn into numbers."""
    if getattr(getattr(x, "dtype", None), "kind", None) in tuple("SUVMm"):
        require_real(x, name)


def require_image_shape(shape: tuple[int, ...], name: str, min_size: int = MIN_SIZE) -> None:
    """Raise a ValueError unless a shape is that of a gray or RGB image of some size."""
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise ValueError(
            f"{name} must have shape (height, width), (height, width, 1) or (height, width, 3), "
            f"got {shape}; pass one frame, gray or RGB, with the channels last"
        )
    if min(shape[:2]) < min_size:
        raise ValueError(
            f"{name} must be at least {min_size} x {min_size} pixels, got height {shape[0]} "
            f"and width {shape[1]}; pad or enlarge it"
        )


def common_white(frame0: Any, frame1: Any) -> int | None:
    """Return the value of white of two frames, or None where their dtypes do not tell.

    Raises
    ------
    ValueError
        Their sizes differ, or their dtypes are of different kinds.
    """
    if frame0.shape[:2] != frame1.shape[:2]:
        raise ValueError(
            f"frame0 and frame1 must have the same height and width, got {frame0.shape[:2]} and "
            f"{frame1.shape[:2]}; crop or resize one"
        )
    white0, white1 = (_WHITE.get(array.dtype.name) for array in (frame0, frame1))
    if frame0.dtype.kind != frame1.dtype.kind or white0 != white1:
        raise ValueError(
            f"frame0 and frame1 must have dtypes of one range, got {frame0.dtype} and "
            f"{frame1.dtype}; convert one so that both have the same intensity scale"
        )
    return white0


def require_clip_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise a ValueError unless a shape is that of a batch of clips."""
    if len(shape) not in (4, 5) or (len(shape) == 5 and shape[4] not in (1, 3)):
        raise ValueError(
            f"{name} must have shape (n_clips, n_frames, height, width) or (n_clips, n_frames, "
            f"height, width, 1 or 3), got {shape}; for one clip pass clip[numpy.newaxis]"
        )
    if shape[0] < 1:
        raise ValueError(f"{name} must hold at least one clip, got shape {shape}")
    if shape[1] < 2:
        raise ValueError(
            f"{name} must have at least two frames per clip, got {shape[1]}; "
            "motion is measured between frames"
        )


def require_flow_shape(
    shape: tuple[int, ...], wanted: tuple[int, int] | None = None, name: str = "flow"
) -> None:
    """Raise a ValueError unless a shape is that of a flow field, of a size if it is given."""
    if (
        len(shape) != 3
        or shape[2] != 2
        or 0 in shape
        or (wanted is not None and tuple(shape[:2]) != tuple(wanted))
    ):
        size = "height, width" if wanted is None else f"{wanted[0]}, {wanted[1]}"
        raise ValueError(f"{name} must have shape ({size}, 2), got {shape}")


def require_flow_clips_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise a ValueError unless a shape is that of the flow of a batch of clips."""
    if len(shape) != 5 or shape[4] != 2 or 0 in shape:
        raise ValueError(
            f"{name} must have shape (n_clips, n_pairs, height, width, 2) and hold a vector at "
            f"least (at least one clip, pair and pixel), got {shape}; for the flow of one clip "
            "pass flow[numpy.newaxis]"
        )


def takes_clips(tags: Any) -> Any:
    """Tell by scikit-learn's tags of a transformer of clips, or of their flow, that learns nothing.

    Returns the tags.
    """
    tags.requires_fit = False
    tags.input_tags.two_d_array = False
    tags.input_tags.three_d_array = False
    tags.transformer_tags.preserves_dtype = []
    return tags


def require_finite_range(low: float, high: float, dtype: np.dtype, name: str) -> None:
    """Raise a ValueError unless the least and the greatest value of an array are finite."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            f"{name} must be finite (and within the range of {dtype}), got values from {low} "
            f"to {high}; replace them first, for example with numpy.nan_to_num"
        )


def common_span(low: float, high: float, dtype: np.dtype) -> float:
    """Return what lies between the extremes of two frames that are mapped to [0, 1].

    Raises
    ------
    ValueError
        It overflows the dtype.
    """
    span = high - low
    if span > float(np.finfo(dtype).max):
        raise ValueError(
            f"frame0 and frame1 must span less than the range of {np.dtype(dtype)}, got values "
            f"from {low} to {high}; divide both by a constant"
        )
    return span


def _as_pixels(image: ArrayLike, name: str, min_size: int) -> NDArray:
    """Return an image as an array whose shape, type and size are right; the values are unseen."""
    array = as_real_array(image, name)
    require_image_shape(array.shape, name, min_size)
    return array


def _gray(array: NDArray, dtype: type[np.floating], white: float = 1.0) -> NDArray:
    """Return the luminance divided by ``white`` as a new C-contiguous plane."""
    out = np.empty(array.shape[:2], dtype)
    # What overflows float32 becomes infinite, which the check of the range then reports.
    with np.errstate(over="ignore", invalid="ignore"):
        if array.ndim == 2 or array.shape[2] == 1:
            plane = array if array.ndim == 2 else array[..., 0]
            return np.divide(plane, dtype(white), out=out, dtype=dtype)
        part = np.empty_like(out)
        np.multiply(array[..., 0], dtype(LUMA[0] / white), out=out, dtype=dtype)
        for channel in (1, 2):
            weight = dtype(LUMA[channel] / white)
            np.multiply(array[..., channel], weight, out=part, dtype=dtype)
            out += part
    return out


def _finite_range(plane: NDArray, name: str) -> tuple[float, float]:
    # The least and the greatest value are NaN if one value is, and infinite if one value is.
    low, high = float(plane.min()), float(plane.max())
    require_finite_range(low, high, plane.dtype, name)
    return low, high


def check_image(frame: ArrayLike, name: str = "frame", *, min_size: int = MIN_SIZE) -> NDArray:
    """Return one image as a gray float32 plane, its values as they are.

    Parameters
    ----------
    frame : array_like of shape (height, width), (height, width, 1) or (height, width, 3)
        Bool, integer or float. Three channels are RGB and become their Rec. 601 luminance.
    name : str, default="frame"
        What error messages call it.
    min_size : int, default=16
        Least height and width in pixels.

    Returns
    -------
    ndarray of shape (height, width), float32
        C-contiguous; the argument itself if it is that already.

    Raises
    ------
    TypeError
        The dtype is not bool, integer or float.
    ValueError
        The shape is wrong, the image too small, or a pixel NaN or infinite.
    """
    array = _as_pixels(frame, name, min_size)
    if array.dtype == np.float32 and array.ndim == 2 and array.flags.c_contiguous:
        plane = array
    else:
        plane = _gray(array, np.float32)
    _finite_range(plane, name)
    return plane


def check_image_pair(
    frame0: ArrayLike, frame1: ArrayLike, *, min_size: int = MIN_SIZE
) -> tuple[NDArray, NDArray]:
    """Return two frames as new gray float32 planes with intensities in [0, 1].

    Parameters
    ----------
    frame0, frame1 : array_like of shape (height, width), (height, width, 1) or (height, width, 3)
        Frames of one size. bool, uint8 and uint16 are divided by their largest value; other types
        are mapped by the least and greatest luminance of both frames, so that their scale and
        offset do not matter. A constant pair becomes zeros.
    min_size : int, default=16
        Least height and width in pixels.

    Returns
    -------
    plane0, plane1 : ndarray of shape (height, width), float32
        New arrays, C-contiguous.

    Raises
    ------
    TypeError
        A dtype is not bool, integer or float.
    ValueError
        A shape is wrong, the sizes differ, the dtypes are of different kinds, a frame is too small,
        or a pixel NaN or infinite.
    """
    arrays = (_as_pixels(frame0, "frame0", min_size), _as_pixels(frame1, "frame1", min_size))
    white = common_white(*arrays)
    if white is None:
        return _to_unit_range(*arrays)
    return _gray(arrays[0], np.float32, white), _gray(arrays[1], np.float32, white)


def _to_unit_range(frame0: NDArray, frame1: NDArray) -> tuple[NDArray, NDArray]:
    # float64 keeps what distinguishes the values of wide integers and of float64 with an offset.
    is_narrow = all(a.dtype.kind == "f" and a.dtype.itemsize <= 4 for a in (frame0, frame1))
    work = np.float32 if is_narrow else np.float64
    planes = _gray(frame0, work), _gray(frame1, work)
    ranges = _finite_range(planes[0], "frame0"), _finite_range(planes[1], "frame1")
    low, high = min(ranges[0][0], ranges[1][0]), max(ranges[0][1], ranges[1][1])
    if low == high:
        return np.zeros_like(planes[0], np.float32), np.zeros_like(planes[1], np.float32)
    span = common_span(low, high, np.dtype(work))
    for plane in planes:
        plane -= work(low)
        plane /= work(span)
    return planes[0].astype(np.float32, copy=False), planes[1].astype(np.float32, copy=False)


def check_clips(X: ArrayLike, name: str = "X") -> NDArray:
    """Return a batch of clips as an array, without a copy where it is one already.

    Parameters
    ----------
    X : array_like of shape (n_clips, n_frames, height, width[, channels])
        At least two frames; one or three channels.
    name : str, default="X"
        What error messages call it.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError
        The dtype is not bool, integer or float.
    ValueError
        The shape is wrong, or a clip has fewer than two frames.
    """
    array = as_real_array(X, name)
    require_clip_shape(array.shape, name)
    return array


def check_flow(
    flow: ArrayLike, shape: tuple[int, int] | None = None, name: str = "flow"
) -> NDArray:
    """Return a flow field as float32.

    Parameters
    ----------
    flow : array_like of shape (height, width, 2)
        Pixels; ``[..., 0]`` along columns, ``[..., 1]`` along rows.
    shape : tuple of two ints or None, default=None
        The height and width that it must have.
    name : str, default="flow"
        What error messages call it.

    Returns
    -------
    ndarray of shape (height, width, 2), float32
        C-contiguous; the argument itself if it is that already.

    Raises
    ------
    TypeError
        The dtype is not bool, integer or float.
    ValueError
        The shape is wrong or a value NaN or infinite.
    """
    array = as_real_array(flow, name)
    require_flow_shape(array.shape, shape, name)
    with np.errstate(over="ignore"):  # becomes infinite, which is reported below
        array = np.ascontiguousarray(array, dtype=np.float32)
    _finite_range(array, name)
    return array
