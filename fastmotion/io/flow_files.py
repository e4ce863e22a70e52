"""Reading and writing of flow in the format that the file's suffix names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.io.files import PathLike
from fastmotion.io.flo import read_flo, write_flo
from fastmotion.io.kitti import read_kitti_flow, write_kitti_flow

__all__ = ["read_flow", "write_flow"]

_Function = TypeVar("_Function", bound=Callable)


def read_flow(path: PathLike) -> NDArray[np.float32]:
    """Read a flow field: Middlebury from ``.flo``, KITTI from ``.png``.

    Parameters
    ----------
    path : str or path-like
        The file. KITTI files need the extra ``io``.

    Returns
    -------
    flow : ndarray of float32, shape (height, width, 2)
        Motion in pixels, ``[..., 0]`` to the right and ``[..., 1]`` down, NaN where unknown.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If a KITTI file is read without PyAV.
    ValueError
        If the suffix is another one, or the file is damaged.

    See Also
    --------
    read_flo, read_kitti_flow : The same for one format, whatever the suffix.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import read_flow, write_flow
    >>> flow = np.full((3, 4, 2), 1.5, dtype=np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("flow.flo", "flow.png"):
    ...         path = os.path.join(folder, name)
    ...         write_flow(path, flow)
    ...         bool((read_flow(path) == flow).all())
    True
    True
    """
    return _by_suffix(path, {".flo": read_flo, ".png": lambda file: read_kitti_flow(file)[0]})(path)


def write_flow(path: PathLike, flow: ArrayLike) -> None:
    """Write a flow field: Middlebury to ``.flo``, KITTI to ``.png``.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists. KITTI files need the extra ``io``.
    flow : array-like of shape (height, width, 2)
        Motion in pixels; vectors with NaN are stored as unknown. ``.flo`` keeps float32, KITTI
        rounds to 1/64 pixel.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If a KITTI file is written without PyAV.
    TypeError
        If `flow` does not hold real numbers.
    ValueError
        If the suffix is another one, or the format cannot hold the flow.

    See Also
    --------
    write_flo, write_kitti_flow : The same for one format, whatever the suffix.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import read_flow, write_flow
    >>> flow = np.full((3, 4, 2), 1.23, dtype=np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "kitti.png")
    ...     write_flow(path, flow)
    ...     read_flow(path)[0, 0] * 64  # rounded to the nearest 1/64
    array([79., 79.], dtype=float32)
    """
    _by_suffix(path, {".flo": write_flo, ".png": write_kitti_flow})(path, flow)


def _by_suffix(path: PathLike, functions: Mapping[str, _Function]) -> _Function:
    suffix = Path(path).suffix.lower()
    if suffix not in functions:
        raise ValueError(
            f"Flow is kept in .flo (Middlebury) or .png (KITTI) files, got {str(path)!r}."
        )
    return functions[suffix]
