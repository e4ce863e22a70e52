"""The Middlebury ``.flo`` format.

A little-endian file: the float32 tag 202021.25 (its bytes read ``PIEH``), width and height as
int32, then u and v of each pixel as float32, row by row. See S. Baker et al., "A Database and
Evaluation Methodology for Optical Flow", 2011.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.io.files import PathLike, existing_file, replacing
from fastmotion.io.flow_field import as_flow_field
from fastmotion.metrics import known_pixels

__all__ = ["read_flo", "write_flo"]

_TAG = struct.pack("<f", 202021.25)
_SIZE = struct.Struct("<ii")
_HEADER_BYTES = len(_TAG) + _SIZE.size
_LONGEST_SIDE = 99_999  # the limit of the format's own reader
_UNKNOWN = np.float32(1e10)


def read_flo(path: PathLike) -> NDArray[np.float32]:
    """Read a flow field from a Middlebury ``.flo`` file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    flow : ndarray of float32, shape (height, width, 2)
        Motion in pixels. Unknown pixels, which the file marks with values above 1e9, are NaN.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the tag is wrong, the size is impossible, or the file is shorter or longer than its
        header says.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import read_flo, write_flo
    >>> flow = np.ones((3, 4, 2), dtype=np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "ones.flo")
    ...     write_flo(path, flow)
    ...     read_flo(path).shape
    (3, 4, 2)
    """
    source = existing_file(path)
    with source.open("rb") as file:
        width, height = _read_size(file.read(_HEADER_BYTES), source)
        # The length is checked before memory for it is taken.
        n_values = 2 * width * height
        expected, actual = _HEADER_BYTES + 4 * n_values, source.stat().st_size
        if actual != expected:
            raise ValueError(
                f"{source} is {'cut short' if actual < expected else 'too long'}: a flow of "
                f"{width} x {height} pixels takes {expected} bytes, the file has {actual}."
            )
        flow = np.fromfile(file, dtype="<f4", count=n_values)
    flow = flow.astype(np.float32, copy=False).reshape(height, width, 2)
    flow[~known_pixels(flow)] = np.nan
    return flow


def write_flo(path: PathLike, flow: ArrayLike) -> None:
    """Write a flow field as a Middlebury ``.flo`` file.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists. An error leaves the old file in place.
    flow : array-like of shape (height, width, 2)
        Motion in pixels, stored as float32. Vectors with a NaN, an infinity or a value above 1e9
        are stored as 1e10, the format's mark of an unknown pixel.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    TypeError
        If `flow` does not hold real numbers.
    ValueError
        If `flow` is no flow field, or has a side of zero or more than 99999 pixels.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import read_flo, write_flo
    >>> flow = np.array([[[0.1, 0.2], [np.nan, 0.0]]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "flow.flo")
    ...     write_flo(path, flow)
    ...     read_flo(path)
    array([[[0.1, 0.2],
            [nan, nan]]], dtype=float32)
    """
    field = as_flow_field(flow)
    height, width = field.shape[:2]
    if max(height, width) > _LONGEST_SIDE:
        raise ValueError(
            f"A .flo file holds at most {_LONGEST_SIDE} pixels a side, got {width} x {height}."
        )
    stored = np.where(known_pixels(field)[..., np.newaxis], field, _UNKNOWN).astype("<f4")
    with replacing(path) as part, part.open("wb") as file:
        file.write(_TAG + _SIZE.pack(width, height))
        stored.tofile(file)


def _read_size(header: bytes, source: Path) -> tuple[int, int]:
    if len(header) < _HEADER_BYTES:
        raise ValueError(
            f"{source} is cut short: a .flo file begins with {_HEADER_BYTES} bytes of header, "
            f"this one has {len(header)} bytes in all."
        )
    if not header.startswith(_TAG):
        raise ValueError(
            f"{source} is not a .flo file: it must begin with the tag {_TAG!r} (202021.25), "
            f"got {header[: len(_TAG)]!r}."
        )
    width, height = _SIZE.unpack(header[len(_TAG) :])
    if not (0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE):
        raise ValueError(
            f"{source} claims a size of {width} x {height} pixels; each side of a .flo file has 1 "
            f"to {_LONGEST_SIDE}. The file is damaged."
        )
    return width, height
