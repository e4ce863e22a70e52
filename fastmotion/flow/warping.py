"""Warping images by a flow, and what it tells of the flow's consistency."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import check_flow
from fastmotion.flow.kernels import kernels_for


def warp(image: ArrayLike, flow: ArrayLike, *, fill_value: float | None = None) -> NDArray:
    """Sample an image where a flow points to, by cubic interpolation (Keys 1981).

    With the flow from frame 0 to frame 1, ``warp(frame1, flow)`` is frame 1 seen from frame 0.

    Parameters
    ----------
    image : array_like of shape (height, width) or (height, width, channels)
        Any number of channels; real numbers.
    flow : array_like of shape (height, width, 2)
        Pixels: the result at (y, x) is the image at ``y + flow[y, x, 1], x + flow[y, x, 0]``.
    fill_value : float or None, default=None
        What to write where the flow points outside the image, NaN for example; None repeats the
        border's pixels.

    Returns
    -------
    ndarray of the image's shape, float32

    Raises
    ------
    TypeError
        The image or the flow does not hold real numbers.
    ValueError
        The image has another shape than the flow, or the flow a NaN or infinite value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.flow import warp
    >>> ramp = np.tile(np.arange(16.0), (16, 1))
    >>> right = np.zeros((16, 16, 2))
    >>> right[..., 0] = 2.0
    >>> float(warp(ramp, right)[8, 5])
    7.0
    """
    flow = check_flow(flow)
    pixels = _check_samples(image, flow.shape[:2])
    planes = np.ascontiguousarray(np.moveaxis(flow, -1, 0))
    kernels = kernels_for("cpu")
    out = np.empty(pixels.shape, np.float32)
    for plane, target in zip(pixels, out):
        kernels.warp(plane, planes, target)
    if fill_value is not None:
        out[:, ~points_inside(flow)] = fill_value
    return out[0] if np.ndim(image) == 2 else np.ascontiguousarray(np.moveaxis(out, 0, -1))


def _check_samples(image: ArrayLike, shape: tuple[int, ...]) -> NDArray:
    """Return the channels of an image as float32 planes."""
    array = np.asarray(image)
    if array.dtype.kind not in "buif":
        raise TypeError(
            f"image must hold real numbers (bool, integer or float), got dtype {array.dtype}"
        )
    if array.ndim not in (2, 3) or array.shape[:2] != shape:
        raise ValueError(
            f"image must have shape {shape} or {(*shape, 'channels')} as the flow has, "
            f"got {array.shape}; crop or resize one"
        )
    planes = array[np.newaxis] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    return np.require(planes, np.float32, ["C", "A", "W"])  # one signature to compile


def points_inside(flow: NDArray) -> NDArray:
    """Return where a flow of shape (height, width, 2) points into the image, as a bool mask."""
    height, width = flow.shape[:2]
    x = np.arange(width) + flow[..., 0]
    y = np.arange(height)[:, np.newaxis] + flow[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def forward_backward_error(forward: ArrayLike, backward: ArrayLike) -> NDArray:
    """Return how far each pixel misses itself when it follows a flow there and back.

    Large where the flow is wrong or the pixel is occluded in the second frame.

    Parameters
    ----------
    forward : array_like of shape (height, width, 2)
        Flow from frame 0 to frame 1, in pixels.
    backward : array_like of shape (height, width, 2)
        Flow from frame 1 to frame 0.

    Returns
    -------
    ndarray of shape (height, width), float32
        Pixels; NaN where the forward flow leaves the image.

    Raises
    ------
    TypeError
        A flow does not hold real numbers.
    ValueError
        The shapes differ, or a value is NaN or infinite.

    References
    ----------
    Sundaram, Brox and Keutzer (2010), Dense point trajectories by GPU-accelerated large
    displacement optical flow, equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.flow import forward_backward_error
    >>> right = np.zeros((16, 16, 2))
    >>> right[..., 0] = 2.0
    >>> error = forward_backward_error(right, -right)
    >>> float(error[8, 5]), float(error[8, 15])
    (0.0, nan)
    """
    forward = check_flow(forward, name="forward")
    backward = check_flow(backward, forward.shape[:2], "backward")
    returned = forward + warp(backward, forward, fill_value=np.nan)
    return np.sqrt((returned**2).sum(axis=-1))
