"""The Middlebury colour code: hue for direction, saturation for speed.

See S. Baker, D. Scharstein, J. P. Lewis, S. Roth, M. J. Black, R. Szeliski, "A Database and
Evaluation Methodology for Optical Flow", International Journal of Computer Vision 92, 2011.
"""

from __future__ import annotations

from functools import cache
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.metrics import known_pixels

__all__ = ["check_magnitude", "color_wheel", "flow_to_color", "robust_maximum"]

# The wheel is six ramps between pure colours. Their lengths follow how well the eye tells the
# hues apart: red to yellow takes 15 steps, yellow to green 6, and so on back to red.
_PURE_COLOURS = np.array(
    [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]], dtype=np.float32
)
_RAMP_LENGTHS = (15, 6, 4, 11, 13, 6)
_BEYOND_RANGE = np.float32(0.75)


def flow_to_color(flow: ArrayLike, max_magnitude: float | None = None) -> NDArray[np.uint8]:
    """Colour a flow field by the Middlebury colour wheel.

    Motion to the right is red, down yellow, to the left cyan and up blue to violet. A pixel at
    rest is white, one that moves by `max_magnitude` has the full colour, and faster ones are
    darkened.

    Parameters
    ----------
    flow : array-like of shape (..., height, width, 2)
        Motion in pixels. Unknown pixels (NaN, or above 1e9) become black.
    max_magnitude : float, default=None
        Speed in pixels that gets the full colour. None takes the 99th percentile of the field, so
        that a few wild vectors do not wash out the rest. Give a number to compare fields.

    Returns
    -------
    colors : ndarray of uint8, shape (..., height, width, 3)
        RGB.

    Raises
    ------
    TypeError
        If `flow` does not hold real numbers.
    ValueError
        If `flow` has another shape, or `max_magnitude` is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.display import flow_to_color
    >>> flow_to_color(np.array([[[5.0, 0.0], [0.0, 0.0], [np.nan, 0.0]]]), max_magnitude=5)
    array([[[255,   0,   0],
            [255, 255, 255],
            [  0,   0,   0]]], dtype=uint8)
    """
    known = known_pixels(flow)
    vectors = np.asarray(flow)[known].astype(np.float32)
    speed = np.hypot(vectors[:, 0], vectors[:, 1])
    if max_magnitude is None:
        max_magnitude = robust_maximum(speed)
    else:
        check_magnitude(max_magnitude)
    colors = np.zeros((*known.shape, 3), dtype=np.uint8)
    colors[known] = _wheel_colors(vectors, (speed / max_magnitude).astype(np.float32))
    return colors


def color_wheel(size: int = 151) -> NDArray[np.uint8]:
    """Draw the colour wheel: the legend of `flow_to_color`.

    Parameters
    ----------
    size : int, default=151
        Height and width in pixels.

    Returns
    -------
    wheel : ndarray of uint8, shape (size, size, 4)
        RGBA. The colour at an offset from the centre is the colour of motion by that offset; the
        rim stands for `max_magnitude`, and outside it the picture is transparent.

    Raises
    ------
    ValueError
        If `size` is less than 3.

    Examples
    --------
    >>> from fastmotion.display import color_wheel
    >>> color_wheel(51).shape
    (51, 51, 4)
    """
    if size < 3:
        raise ValueError(f"size must be at least 3 pixels, got {size}.")
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    offsets = np.stack(np.meshgrid(axis, axis), axis=-1)
    # A smooth edge: the last pixel fades out.
    coverage = (1 - np.hypot(offsets[..., 0], offsets[..., 1])) * (size - 1) / 2 + 0.5
    alpha = np.rint(255 * np.clip(coverage, 0, 1)).astype(np.uint8)
    # The rim lies a little inside the range, so that none of it counts as beyond.
    return np.dstack([flow_to_color(offsets, max_magnitude=1 + 1 / size), alpha])


def check_magnitude(max_magnitude: float) -> None:
    """Raise if the end of a scale is not a positive finite number."""
    if not isinstance(max_magnitude, Real) or not 0 < max_magnitude < float("inf"):
        raise ValueError(f"max_magnitude must be a positive number, got {max_magnitude!r}.")


def robust_maximum(values: NDArray[np.floating], percentile: float = 99) -> float:
    """Return a percentile of the finite values, or 1 where that would be no range."""
    finite = values[np.isfinite(values)]
    largest = float(np.percentile(finite, percentile)) if finite.size else 0.0
    return largest if largest > 0 else 1.0


@cache
def _wheel() -> NDArray[np.float32]:
    ramps = [
        start + (end - start) * (np.arange(length, dtype=np.float32) / length)[:, np.newaxis]
        for start, end, length in zip(
            _PURE_COLOURS, np.roll(_PURE_COLOURS, -1, axis=0), _RAMP_LENGTHS, strict=True
        )
    ]
    return np.concatenate(ramps).astype(np.float32)


def _wheel_colors(vectors: NDArray[np.float32], radius: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour vectors whose lengths are `radius` times the full range."""
    wheel = _wheel()
    # Adding zero turns -0.0 into 0.0: pure motion to the right is red, whatever the sign of v.
    angle = np.arctan2(-(vectors[:, 1] + 0), -(vectors[:, 0] + 0)) / np.float32(np.pi)
    position = (angle + 1) / 2 * (len(wheel) - 1)
    below = position.astype(np.intp)
    part = (position - below)[:, np.newaxis].astype(np.float32)
    hue = (1 - part) * wheel[below] + part * wheel[(below + 1) % len(wheel)]
    radius = radius[:, np.newaxis]
    shade = np.where(radius <= 1, 1 - radius * (1 - hue), hue * _BEYOND_RANGE)
    return (255 * shade).astype(np.uint8)
