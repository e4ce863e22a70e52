"""Derivatives of image pairs, by the stencils of the papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from fastmotion.core.device import resolve_device
from fastmotion.core.interop import like
from fastmotion.flow.frames import first_on_device, read_image
from fastmotion.flow.pyramid import Engine


@dataclass(frozen=True)
class Stencil:
    """A separable derivative stencil for two frames.

    Attributes
    ----------
    derivative, smoothing : tuple of float
        Correlation weights along the axis that is derived, and along the other one.
    temporal_smoothing : tuple of float
        Weights along both axes of the difference of the frames.
    offset : int
        Shift of stencils of even length: -1 starts them at the pixel itself.
    """

    derivative: tuple[float, ...]
    smoothing: tuple[float, ...] = (1.0,)
    temporal_smoothing: tuple[float, ...] = (1.0,)
    offset: int = 0


STENCILS = {
    "horn_schunck": Stencil((-1.0, 1.0), (0.5, 0.5), (0.5, 0.5), offset=-1),
    "barron": Stencil((1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12)),
    "sobel": Stencil((-0.5, 0.0, 0.5), (0.25, 0.5, 0.25)),
    "scharr": Stencil((-0.5, 0.0, 0.5), (3 / 16, 10 / 16, 3 / 16)),
    "farid_simoncelli": Stencil(
        (-0.109604, -0.276691, 0.0, 0.276691, 0.109604),
        (0.037659, 0.249153, 0.426375, 0.249153, 0.037659),
        (0.037659, 0.249153, 0.426375, 0.249153, 0.037659),
    ),
}


def image_derivatives(
    frame0: ArrayLike, frame1: ArrayLike, *, stencil: str = "barron"
) -> tuple[Any, Any, Any]:
    """Return the derivatives of an image pair along columns, rows and time.

    The spatial derivatives are the mean of those of both frames, the temporal one is the smoothed
    difference of the frames. Beyond the border its pixels are repeated. It runs where its input
    lies: on a CUDA device if a frame does.

    Parameters
    ----------
    frame0, frame1 : array_like of shape (height, width) or (height, width, channels)
        Frames of one size; the luminance is used.
    stencil : str, default="barron"
        - "horn_schunck": the mean over the edges of a 2 x 2 x 2 cube, whose centre lies half a
          pixel right of and below the pixel (Horn and Schunck 1981, section 7);
        - "barron": fourth-order central differences, what the estimators use (Barron, Fleet and
          Beauchemin 1994, section 2.1);
        - "sobel" and "scharr": central differences, smoothed across over three pixels;
        - "farid_simoncelli": five taps fitted for rotation invariance (Farid and Simoncelli 2004,
          table 1).

    Returns
    -------
    dx, dy, dt : ndarray of shape (height, width), float32
        Intensity per pixel, and per frame. Arrays on the device, of the library of the first one
        there, for input on a device.

    Raises
    ------
    TypeError
        A frame does not hold real numbers.
    ValueError
        A shape is wrong, the sizes differ, a pixel is NaN or infinite, or the stencil unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.flow import image_derivatives
    >>> ramp = np.tile(np.arange(16.0), (16, 1))
    >>> dx, dy, dt = image_derivatives(ramp, ramp + 3)
    >>> float(dx[8, 8]), float(dy[8, 8]), float(dt[8, 8])
    (1.0, 0.0, 3.0)
    """
    if stencil not in STENCILS:
        raise ValueError(f"stencil must be one of {list(STENCILS)}, got {stencil!r}")
    chosen = STENCILS[stencil]
    with Engine.running(resolve_device("auto", frame0, frame1)) as engine:
        plane0, plane1 = read_image(frame0, "frame0", engine), read_image(frame1, "frame1", engine)
        sizes = [tuple(plane.shape)[-2:] for plane in (plane0, plane1)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"frame0 and frame1 must have the same height and width, got {sizes[0]} and "
                f"{sizes[1]}; crop or resize one"
            )
        if engine.on_host:
            return _derive(plane0, plane1, chosen)
        given = first_on_device(frame0, frame1)
        dx, dy, dt = _derive_on_device(plane0, plane1, chosen, engine)
        return like(dx, given), like(dy, given), like(dt, given)


def _derive(plane0: NDArray, plane1: NDArray, stencil: Stencil) -> tuple[NDArray, NDArray, NDArray]:
    mean = 0.5 * (plane0 + plane1)
    dx = _separable(mean, stencil.smoothing, stencil.derivative, stencil.offset)
    dy = _separable(mean, stencil.derivative, stencil.smoothing, stencil.offset)
    smoothing = stencil.temporal_smoothing
    dt = _separable(plane1 - plane0, smoothing, smoothing, stencil.offset)
    return dx, dy, dt


def _separable(
    image: NDArray, down: tuple[float, ...], along: tuple[float, ...], offset: int
) -> NDArray:
    for axis, taps in ((0, down), (1, along)):
        origin = offset if len(taps) > 1 else 0
        image = ndimage.correlate1d(image, taps, axis=axis, mode="nearest", origin=origin)
    return image


def _derive_on_device(
    plane0: Any, plane1: Any, stencil: Stencil, engine: Engine
) -> tuple[Any, Any, Any]:
    """Do the same by the kernel that resizes: it weighs pixels by taps, and repeats the border."""
    memory, kernels = engine.memory, engine.kernels
    mean, difference = memory.empty(plane0.shape), memory.empty(plane0.shape)
    kernels.mean_and_difference(plane0, plane1, mean, difference)
    _, height, width = plane0.shape
    results = []
    for plane, down, along in (
        (mean, stencil.smoothing, stencil.derivative),
        (mean, stencil.derivative, stencil.smoothing),
        (difference, stencil.temporal_smoothing, stencil.temporal_smoothing),
    ):
        out = memory.new((1, height, width))
        weights = (
            *_correlation_weights(height, down, stencil.offset),
            *_correlation_weights(width, along, stencil.offset),
            np.ones(1, np.float32),
        )
        kernels.resample(plane, out, *map(memory.put, weights))
        results.append(out.reshape(height, width))
    dx, dy, dt = results
    return dx, dy, dt


def _correlation_weights(
    size: int, taps: tuple[float, ...], offset: int
) -> tuple[NDArray, NDArray]:
    """Return the first sample that each one draws on, and the samples' weights."""
    first = -(len(taps) // 2) - (offset if len(taps) > 1 else 0)
    weights = np.tile(np.array(taps, np.float32)[:, np.newaxis], (1, size))
    return np.arange(size) + first, weights
