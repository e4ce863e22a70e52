"""Warping images by a flow, and what it tells of the flow's consistency."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastmotion.core.device import resolve_device
from fastmotion.core.interop import as_device_array, like
from fastmotion.flow.frames import first_on_device, read_flow, real_array
from fastmotion.flow.pyramid import Engine


def warp(image: ArrayLike, flow: ArrayLike, *, fill_value: float | None = None) -> Any:
    """Sample an image where a flow points to, by cubic interpolation (Keys 1981).

    With the flow from frame 0 to frame 1, ``warp(frame1, flow)`` is frame 1 seen from frame 0. It
    runs where its input lies: on a CUDA device if the image or the flow does.

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
        An array on the device, of the library of the first one there, for input on a device.

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
    with Engine.running(resolve_device("auto", image, flow)) as engine:
        planes = read_flow(flow, engine)
        array = real_array(image, "image", engine)
        *_, height, width = planes.shape
        _require_sample_shape(tuple(array.shape), (height, width))
        channels = _channels(array, engine)
        out = engine.memory.new((len(channels), height, width))
        _warp_each(channels, planes, fill_value, out, engine)
        if len(array.shape) == 2:
            result = out.reshape(height, width)
        else:
            result = engine.memory.new((height, width, len(channels)))
            engine.kernels.join(
                out.reshape(*engine.lead, *out.shape), result.reshape(*engine.lead, *result.shape)
            )
        return like(result, first_on_device(image, flow))


def _require_sample_shape(shape: tuple[int, ...], wanted: tuple[int, int]) -> None:
    if len(shape) not in (2, 3) or shape[:2] != wanted:
        raise ValueError(
            f"image must have shape {wanted} or {(*wanted, 'channels')} as the flow has, "
            f"got {shape}; crop or resize one"
        )


def _channels(array: Any, engine: Engine) -> Any:
    """Return the channels of an image, of which there may be one without an axis, as planes."""
    height, width, *rest = array.shape
    planes = engine.memory.empty((math.prod(rest), height, width))
    if not engine.on_host:
        array = as_device_array(array, engine.memory.device, np.float32)
    engine.kernels.split(
        array.reshape(*engine.lead, height, width, len(planes)),
        planes.reshape(*engine.lead, *planes.shape),
    )
    return planes


def _warp_each(planes: Any, flow: Any, fill_value: float | None, out: Any, engine: Engine) -> None:
    """Warp planes one by one, all by the same flow."""
    for k in range(len(planes)):
        plane, target = (x[k].reshape(*engine.lead, *x.shape[1:]) for x in (planes, out))
        engine.kernels.warp(plane, flow, target)
        if fill_value is not None:
            engine.kernels.mark_outside(flow, np.float32(fill_value), target)


def forward_backward_error(forward: ArrayLike, backward: ArrayLike) -> Any:
    """Return how far each pixel misses itself when it follows a flow there and back.

    Large where the flow is wrong or the pixel is occluded in the second frame. It runs where its
    input lies: on a CUDA device if a flow does.

    Parameters
    ----------
    forward : array_like of shape (height, width, 2)
        Flow from frame 0 to frame 1, in pixels.
    backward : array_like of shape (height, width, 2)
        Flow from frame 1 to frame 0.

    Returns
    -------
    ndarray of shape (height, width), float32
        Pixels; NaN where the forward flow leaves the image. An array on the device, of the library
        of the first one there, for input on a device.

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
    with Engine.running(resolve_device("auto", forward, backward)) as engine:
        memory = engine.memory
        there = read_flow(forward, engine, name="forward")
        *_, height, width = there.shape
        back = read_flow(backward, engine, (height, width), "backward")
        warped = memory.empty(there.shape)
        shape = 2, height, width
        _warp_each(back.reshape(shape), there, np.nan, warped.reshape(shape), engine)
        out = memory.new((*engine.lead, height, width))
        engine.kernels.lengths(there, warped, out)
        return like(out.reshape(height, width), first_on_device(forward, backward))
