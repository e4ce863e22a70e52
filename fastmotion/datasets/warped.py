"""Photographs set in motion by a flow that is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from sklearn.utils import Bunch, check_random_state

from fastmotion.core.validation import import_optional

__all__ = ["make_warped_clip", "make_warped_photograph"]

_PHOTOGRAPHS = ("china", "flower")
_CYCLES = 1  # of the sinusoid, on half the frame's diagonal

_Field = Callable[[NDArray, NDArray], tuple[NDArray, NDArray]]

# Each takes positions relative to the centre, in units of half the frame's diagonal, and gives
# (u, v) up to a factor.
_MOTIONS: dict[str, _Field] = {
    "translation": lambda x, y: (np.full_like(x, 2.0), np.full_like(y, 1.0)),
    "rotation": lambda x, y: (-y, x),
    "zoom": lambda x, y: (x, y),
    "shear": lambda x, y: (y, np.zeros_like(y)),
    "sinusoid": lambda x, y: (
        np.sin(2 * np.pi * _CYCLES * y),
        np.cos(2 * np.pi * _CYCLES * x),
    ),
}

_DESCR = """\
A photograph of scikit-learn's ({photograph}), set in motion by {motion}.

Every frame is sampled from one cubic spline through the photograph, each pixel at the place that
the flow takes it to, so frame1[y + v, x + u] equals frame0[y, x] up to rounding and noise.
"""


def make_warped_photograph(
    photograph: str | ArrayLike = "china",
    motion: str | ArrayLike = "sinusoid",
    *,
    magnitude: float = 4.0,
    shape: tuple[int, int] | None = None,
    gray: bool = False,
    noise: float = 0.0,
    dtype: Any = np.uint8,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make a pair of frames with a known, smooth flow from a real photograph.

    Both frames are sampled from one cubic spline through the photograph, frame0 at the places that
    the flow takes its pixels to. The photograph is scaled so that all those places lie inside it:
    no pixel of either frame is made up.

    Parameters
    ----------
    photograph : {"china", "flower"} or array-like of shape (rows, columns[, 3]), default="china"
        One of scikit-learn's photographs, which need Pillow (the extra ``io``), or an image of
        your own with values from 0 to 255.
    motion : {"translation", "rotation", "zoom", "shear", "sinusoid"} or array-like, \
            default="sinusoid"
        Kind of motion, about the centre of the frame. An array of shape (2,) is a translation
        (u, v) in pixels; one of shape (height, width, 2) is the flow itself. It should be smooth
        and without folds.
    magnitude : float, default=4.0
        Length in pixels of the longest vector in the frame. Ignored if `motion` is an array.
    shape : tuple of (height, width), default=None
        Size of the frames. None takes that of the photograph.
    gray : bool, default=False
        Whether to make gray frames of a colour photograph.
    noise : float, default=0.0
        Standard deviation of Gaussian noise that is added to each frame by itself, in gray values.
    dtype : {uint8, float32, float64}, default=uint8
        Type of the frames. Values lie between 0 and 255 in each; uint8 rounds them.
    random_state : int, RandomState instance or None, default=None
        Determines the noise. Pass an int for the same noise in each call.

    Returns
    -------
    bunch : Bunch
        frame0, frame1 : ndarray of shape (height, width, 3) or (height, width)
            The frames.
        flow : ndarray of float32, shape (height, width, 2)
            The true motion from frame0 to frame1 in pixels. Some of it leads out of frame1.
        DESCR : str
            How the pair was made.

    Raises
    ------
    ImportError
        If a photograph of scikit-learn is asked for and Pillow is not installed.
    TypeError
        If `dtype` is another one.
    ValueError
        If a parameter has an impossible value or shape.

    See Also
    --------
    make_warped_clip : More than two frames.

    Examples
    --------
    >>> from fastmotion.datasets import make_warped_photograph
    >>> pair = make_warped_photograph("flower", "rotation", magnitude=3.0, shape=(48, 64))
    >>> pair.frame0.shape, pair.flow.shape
    ((48, 64, 3), (48, 64, 2))
    """
    pixels = _load_pixels(photograph, gray)
    size = _check_shape(pixels.shape[:2] if shape is None else shape)
    grid = _pixel_grid(size)
    if isinstance(motion, str) or np.ndim(motion) == 1:
        flow = _make_field(motion, magnitude, size)(grid)
    else:
        flow = _check_flow_map(motion, size)
    frames = _sample_frames(pixels, [grid + flow, grid], noise, dtype, random_state)
    return Bunch(
        frame0=frames[0],
        frame1=frames[1],
        flow=flow.astype(np.float32),
        DESCR=_describe(photograph, motion),
    )


def make_warped_clip(
    n_frames: int = 4,
    photograph: str | ArrayLike = "china",
    motion: str | ArrayLike = "sinusoid",
    *,
    magnitude: float = 2.0,
    shape: tuple[int, int] | None = None,
    gray: bool = False,
    noise: float = 0.0,
    dtype: Any = np.uint8,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make a clip from a real photograph in which each step has the same known flow.

    Parameters
    ----------
    n_frames : int, default=4
        Number of frames, at least 2.
    photograph : {"china", "flower"} or array-like of shape (rows, columns[, 3]), default="china"
        As in `make_warped_photograph`.
    motion : {"translation", "rotation", "zoom", "shear", "sinusoid"} or array-like of shape (2,), \
            default="sinusoid"
        Kind of motion, or a translation (u, v) in pixels a frame.
    magnitude : float, default=2.0
        Length in pixels of the longest vector of one step. Ignored if `motion` is an array.
    shape : tuple of (height, width), default=None
        Size of the frames. None takes that of the photograph.
    gray : bool, default=False
        Whether to make gray frames of a colour photograph.
    noise : float, default=0.0
        Standard deviation of Gaussian noise that is added to each frame by itself, in gray values.
    dtype : {uint8, float32, float64}, default=uint8
        Type of the frames. Values lie between 0 and 255 in each; uint8 rounds them.
    random_state : int, RandomState instance or None, default=None
        Determines the noise. Pass an int for the same noise in each call.

    Returns
    -------
    bunch : Bunch
        frames : ndarray of shape (n_frames, height, width, 3) or (n_frames, height, width)
            The clip.
        flow : ndarray of float32, shape (height, width, 2)
            The true motion in pixels from each frame to the next, the same for all.
        DESCR : str
            How the clip was made.

    Raises
    ------
    ImportError
        If a photograph of scikit-learn is asked for and Pillow is not installed.
    TypeError
        If `dtype` is another one.
    ValueError
        If a parameter has an impossible value or shape.

    Examples
    --------
    >>> from fastmotion.datasets import make_warped_clip
    >>> clip = make_warped_clip(3, motion=(1.5, -0.5), shape=(48, 64), gray=True)
    >>> clip.frames.shape, clip.flow[0, 0].tolist()
    ((3, 48, 64), [1.5, -0.5])
    """
    if not isinstance(n_frames, int | np.integer) or n_frames < 2:
        raise ValueError(f"n_frames must be an integer of at least 2, got {n_frames!r}.")
    pixels = _load_pixels(photograph, gray)
    size = _check_shape(pixels.shape[:2] if shape is None else shape)
    field = _make_field(motion, magnitude, size)
    # The last frame is the photograph; each earlier one sees it through one more step.
    grid = _pixel_grid(size)
    positions = [grid]
    for _ in range(n_frames - 1):
        positions.insert(0, positions[0] + field(positions[0]))
    return Bunch(
        frames=np.stack(_sample_frames(pixels, positions, noise, dtype, random_state)),
        flow=field(grid).astype(np.float32),
        DESCR=_describe(photograph, motion),
    )


def _load_pixels(photograph: str | ArrayLike, gray: bool) -> NDArray[np.float64]:
    """Return the photograph as (rows, columns[, 3]) float64."""
    if isinstance(photograph, str):
        if photograph not in _PHOTOGRAPHS:
            raise ValueError(
                f'photograph must be "china", "flower" or an image array, got {photograph!r}.'
            )
        import_optional("PIL", extra="io", purpose="reading scikit-learn's photographs")
        from sklearn.datasets import load_sample_image

        photograph = load_sample_image(f"{photograph}.jpg")
    pixels = np.asarray(photograph, dtype=np.float64)
    is_colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if not (pixels.ndim == 2 or is_colour) or min(pixels.shape) < 2:
        raise ValueError(
            f"photograph must have shape (rows, columns) or (rows, columns, 3), got {pixels.shape}."
        )
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        raise ValueError(
            f"photograph must have values from 0 to 255, got {pixels.min()} to {pixels.max()}."
        )
    return pixels.mean(axis=2) if gray and is_colour else pixels


def _check_shape(shape: Any) -> tuple[int, int]:
    if len(shape) != 2 or not all(isinstance(n, int | np.integer) and n >= 2 for n in shape):
        raise ValueError(f"shape must be (height, width), each at least 2, got {shape!r}.")
    return int(shape[0]), int(shape[1])


def _check_flow_map(flow: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    field = np.asarray(flow, dtype=np.float64)
    if field.shape != (*size, 2):
        raise ValueError(
            f"motion must be a name, (u, v) or a flow of shape {(*size, 2)}, got {field.shape}."
        )
    if not np.isfinite(field).all():
        raise ValueError("motion must be finite, got NaN or infinite values.")
    return field


def _pixel_grid(size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the positions (x, y) of all pixels, of shape (height, width, 2)."""
    rows, columns = np.indices(size, dtype=np.float64)
    return np.stack([columns, rows], axis=-1)


def _make_field(
    motion: str | ArrayLike, magnitude: float, size: tuple[int, int]
) -> Callable[[NDArray], NDArray]:
    """Return the function that gives the flow at any positions (x, y)."""
    if not isinstance(motion, str):
        return _constant_field(motion)
    if motion not in _MOTIONS:
        raise ValueError(f"motion must be an array or one of {sorted(_MOTIONS)}, got {motion!r}.")
    if not isinstance(magnitude, Real) or not 0 <= magnitude < float("inf"):
        raise ValueError(f"magnitude must be a number of pixels, zero or more, got {magnitude!r}.")
    centre = (np.array(size[::-1]) - 1) / 2
    half_diagonal = np.hypot(*centre)

    def direction(positions: NDArray) -> NDArray:
        offsets = (positions - centre) / half_diagonal
        return np.stack(_MOTIONS[motion](offsets[..., 0], offsets[..., 1]), axis=-1)

    longest = np.hypot(*direction(_pixel_grid(size)).T).max()
    return lambda positions: direction(positions) * (magnitude / longest)


def _constant_field(vector: ArrayLike) -> Callable[[NDArray], NDArray]:
    step = np.asarray(vector, dtype=np.float64)
    if step.shape != (2,) or not np.isfinite(step).all():
        raise ValueError(f"motion must be a name or two finite numbers (u, v), got {vector!r}.")
    return lambda positions: np.broadcast_to(step, positions.shape)


def _sample_frames(
    pixels: NDArray[np.float64],
    positions: list[NDArray[np.float64]],
    noise: float,
    dtype: Any,
    random_state: Any,
) -> list[NDArray]:
    """Sample the photograph at each list of positions, which may reach out of the frame."""
    if np.dtype(dtype) not in (np.uint8, np.float32, np.float64):
        raise TypeError(f"dtype must be uint8, float32 or float64, got {dtype!r}.")
    if not isinstance(noise, Real) or not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be a number of gray values, zero or more, got {noise!r}.")
    random = check_random_state(random_state)
    scale, origin = _fit_inside(positions, pixels.shape)
    splines = _fit_splines(pixels, scale)
    frames = []
    for places in positions:
        frame = _sample(splines, origin + scale * places)
        if noise:
            frame = np.clip(frame + random.normal(scale=noise, size=frame.shape), 0, 255)
        frames.append((np.rint(frame) if np.dtype(dtype) == np.uint8 else frame).astype(dtype))
    return frames


def _fit_inside(
    positions: list[NDArray[np.float64]], shape: tuple[int, ...]
) -> tuple[float, NDArray[np.float64]]:
    """Return scale and origin that map all positions into the photograph, around its centre."""
    low = np.min([places.min(axis=(0, 1)) for places in positions], axis=0)
    high = np.max([places.max(axis=(0, 1)) for places in positions], axis=0)
    last = np.array(shape[1::-1]) - 1.0
    scale = float(np.min(last / (high - low)))
    return scale, (last - scale * (low + high)) / 2


def _fit_splines(pixels: NDArray[np.float64], scale: float) -> list[NDArray[np.float64]]:
    """Return the coefficients of a cubic spline through each channel."""
    # A photograph that is reduced is smoothed first, or fine texture would alias.
    sigma = max(0.0, (scale - 1) / 2)
    planes = np.moveaxis(np.atleast_3d(pixels), -1, 0)
    smooth = [ndimage.gaussian_filter(plane, sigma) if sigma else plane for plane in planes]
    return [ndimage.spline_filter(plane, order=3, mode="mirror") for plane in smooth]


def _sample(splines: list[NDArray[np.float64]], places: NDArray[np.float64]) -> NDArray[np.float64]:
    rows_columns = places[..., 1], places[..., 0]
    planes = [
        ndimage.map_coordinates(plane, rows_columns, order=3, mode="mirror", prefilter=False)
        for plane in splines
    ]
    # A spline overshoots at edges.
    frame = np.clip(np.stack(planes, axis=-1), 0, 255)
    return frame[..., 0] if len(planes) == 1 else frame


def _describe(photograph: str | ArrayLike, motion: str | ArrayLike) -> str:
    return _DESCR.format(
        photograph=photograph if isinstance(photograph, str) else "an array of the caller's",
        motion=f"a {motion}" if isinstance(motion, str) else "a given flow",
    )
