"""Still images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.validation import import_optional
from fastmotion.io.files import PathLike, existing_file, replacing
from fastmotion.io.png16 import is_deep_colour, read_deep_colour, write_deep_colour

__all__ = ["read_image", "write_image"]


def read_image(path: PathLike) -> NDArray:
    """Read an image file (PNG, JPEG, TIFF and what else Pillow knows).

    Needs the extra ``io``.

    Parameters
    ----------
    path : str or path-like
        The file. Of an animation or a file of several pages, the first is read.

    Returns
    -------
    image : ndarray of shape (height, width) or (height, width, 3)
        Gray or RGB, as stored. uint8, uint16 where a PNG file has 16 bits a channel (a TIFF file:
        if it is gray), float32 for floating point TIFF. An alpha channel is dropped and its
        colours are left as they are; palettes and CMYK become RGB, black and white becomes uint8
        with 0 and 255. A camera's note on its orientation is not applied.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If imageio is not installed.
    ValueError
        If the file is not an image that can be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import read_image, write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "black.png")
    ...     write_image(path, np.zeros((3, 4), dtype=np.uint8))
    ...     read_image(path).shape
    (3, 4)
    """
    source = existing_file(path)
    pixels = read_deep_colour(source) if is_deep_colour(source) else _read_with_pillow(source)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        return np.ascontiguousarray(pixels[..., 0])
    return np.ascontiguousarray(pixels[..., :3]) if pixels.ndim == 3 else pixels


def write_image(path: PathLike, image: ArrayLike) -> None:
    """Write an image file in the format of its suffix.

    Needs the extra ``io``.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists. An error leaves the old file in place.
    image : array-like of shape (height, width) or (height, width, 3)
        Gray or RGB. uint8 in every format; uint16 as PNG, and as TIFF if it is gray.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If imageio is not installed.
    TypeError
        If the values are neither uint8 nor uint16.
    ValueError
        If the shape is another one, or the suffix names no format that holds such an image.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import read_image, write_image
    >>> ramp = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "deep.png")
    ...     write_image(path, ramp)
    ...     bool((read_image(path) == ramp).all())
    True
    """
    pixels = _check_pixels(image)
    with replacing(path) as part:
        if pixels.dtype == np.uint16 and pixels.ndim == 3:
            _require_png(path)
            write_deep_colour(part, pixels)
        else:
            _write_with_pillow(part, pixels, path)


def _read_with_pillow(source: Path) -> NDArray:
    iio = import_optional("imageio.v3", extra="io", purpose="reading images")
    try:
        with iio.imopen(source, "r", plugin="pillow") as file:
            # Four channels are RGBA or CMYK, and only the mode tells which.
            is_cmyk = file.metadata(index=0)["mode"] == "CMYK"
            pixels = file.read(index=0, mode="RGB" if is_cmyk else None)
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"{source} is not an image that can be read: {error}") from error
    return pixels


def _write_with_pillow(part: Path, pixels: NDArray, path: PathLike) -> None:
    iio = import_optional("imageio.v3", extra="io", purpose="writing images")
    try:
        iio.imwrite(part, pixels, plugin="pillow")
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"Cannot write {path}: its format is unknown or cannot hold {pixels.dtype} values of "
            f"shape {pixels.shape}. A .png file can."
        ) from error


def _check_pixels(image: ArrayLike) -> NDArray:
    pixels = np.asarray(image)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(
            f"image must hold uint8 or uint16 values, got dtype {pixels.dtype}. Scale and round "
            f"other values first, for example (255 * image).round().astype('uint8')."
        )
    is_colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if not (pixels.ndim == 2 or is_colour) or pixels.size == 0:
        raise ValueError(
            f"image must have shape (height, width) or (height, width, 3), got {pixels.shape}."
        )
    return pixels


def _require_png(path: PathLike) -> None:
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"uint16 colour images are written as .png files only, got {str(path)!r}.")
