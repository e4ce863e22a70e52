"""The KITTI flow format: a PNG file with three channels of 16 bits.

Red holds ``64 u + 2**15``, green ``64 v + 2**15``, blue 1 where the flow is known and 0 where it
is not. See M. Menze, A. Geiger, "Object Scene Flow for Autonomous Vehicles", CVPR 2015, and the
format's description in its development kit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.io.files import PathLike, existing_file, replacing
from fastmotion.io.flow_field import as_flow_field
from fastmotion.io.png16 import is_deep_colour, read_deep_colour, write_deep_colour
from fastmotion.metrics import known_pixels

__all__ = ["read_kitti_flow", "write_kitti_flow"]

_STEPS_PER_PIXEL = 64
_ZERO = 2**15
_LARGEST = 2**16 - 1


def read_kitti_flow(path: PathLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a flow field from a KITTI flow PNG file.

    Needs the extra ``io``.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    flow : ndarray of float32, shape (height, width, 2)
        Motion in pixels, a multiple of 1/64, NaN where it is unknown.
    valid : ndarray of bool, shape (height, width)
        True where the flow is known.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If PyAV is not installed.
    ValueError
        If the file is damaged, or is not a PNG file with 16-bit colours.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import read_kitti_flow, write_kitti_flow
    >>> flow = np.array([[[1.5, 0.0], [np.nan, np.nan]]], dtype=np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "flow.png")
    ...     write_kitti_flow(path, flow)
    ...     read_kitti_flow(path)
    (array([[[1.5, 0. ],
            [nan, nan]]], dtype=float32), array([[ True, False]]))
    """
    source = existing_file(path)
    if not is_deep_colour(source):
        raise ValueError(
            f"{source} is not a KITTI flow file: that is a PNG file with 16-bit RGB pixels."
        )
    stored = read_deep_colour(source)
    valid = stored[..., 2] != 0
    flow = (stored[..., :2].astype(np.float32) - _ZERO) / np.float32(_STEPS_PER_PIXEL)
    flow[~valid] = np.nan
    return flow, valid


def write_kitti_flow(path: PathLike, flow: ArrayLike, valid: ArrayLike | None = None) -> None:
    """Write a flow field as a KITTI flow PNG file.

    Needs the extra ``io``.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists. An error leaves the old file in place.
    flow : array-like of shape (height, width, 2)
        Motion in pixels, rounded to the nearest 1/64 and stored from -512 to 511.98.
    valid : array-like of bool, shape (height, width), default=None
        Where the flow is known. None takes all vectors without a NaN, an infinity or a value
        above 1e9.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If PyAV is not installed.
    TypeError
        If `flow` does not hold real numbers, or `valid` neither booleans nor integers.
    ValueError
        If shapes do not fit, a vector marked as valid is unknown, or one is too long to be
        stored.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import read_kitti_flow, write_kitti_flow
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "flow.png")
    ...     write_kitti_flow(path, np.ones((2, 2, 2)), valid=[[True, False], [True, True]])
    ...     flow, valid = read_kitti_flow(path)
    >>> flow[..., 0]
    array([[ 1., nan],
           [ 1.,  1.]], dtype=float32)
    """
    field = as_flow_field(flow)
    known = known_pixels(field) if valid is None else _check_valid(valid, field)
    steps = np.rint(field[known].astype(np.float64) * _STEPS_PER_PIXEL) + _ZERO
    if steps.size and not 0 <= steps.min() <= steps.max() <= _LARGEST:
        raise ValueError(
            f"A KITTI file holds motion from -512 to 511.98 pixels, got {field[known].min():.6g} "
            f"to {field[known].max():.6g}. Write a .flo file, or mark those pixels as not valid."
        )
    stored = np.zeros((*known.shape, 3), dtype=np.uint16)
    stored[known, :2] = steps
    stored[known, 2] = 1
    with replacing(path) as part:
        write_deep_colour(part, stored)


def _check_valid(valid: ArrayLike, field: NDArray) -> NDArray[np.bool_]:
    marked = np.asarray(valid)
    if marked.dtype.kind not in "biu":
        raise TypeError(f"valid must hold booleans, got dtype {marked.dtype}.")
    if marked.shape != field.shape[:2]:
        raise ValueError(
            f"valid must have the shape of the flow without its last axis, {field.shape[:2]}, "
            f"got {marked.shape}."
        )
    marked = marked != 0
    n_unknown = int((marked & ~known_pixels(field)).sum())
    if n_unknown:
        raise ValueError(
            f"{n_unknown} pixels are marked as valid, but their flow is NaN, infinite or above "
            f"1e9. Pass valid=None to mark them as unknown."
        )
    return marked
