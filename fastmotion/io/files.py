"""Checks of paths, and writing that never leaves half a file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PathLike", "existing_file", "replacing"]

PathLike = str | os.PathLike[str]


def existing_file(path: PathLike) -> Path:
    """Return `path` as a Path, or raise the error that says why it cannot be read."""
    source = Path(path)
    if source.is_dir():
        raise IsADirectoryError(f"{source} is a folder, expected a file.")
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist.")
    return source


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Give a temporary path next to `path`, which takes its place if the block ends well.

    Whatever stops the block, a keyboard interrupt too, removes the temporary file and leaves what
    was at `path` before. The temporary name keeps the suffix, by which writers choose a format.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    ValueError
        If `path` is a folder or a device.
    """
    target = Path(os.path.realpath(path))  # a link stays, the file that it names is replaced
    if not target.parent.is_dir():
        raise FileNotFoundError(f"Cannot write {path}: the folder {target.parent} does not exist.")
    if target.exists() and not target.is_file():
        raise ValueError(f"Cannot write {path}: it is there already and not a regular file.")
    part = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}.part{target.suffix}")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
