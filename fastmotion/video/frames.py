"""The frames of a video or of an iterable: checked, and reduced as asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.device import CPU
from fastmotion.core.validation import as_real_array, check_image, require_image_shape
from fastmotion.flow.pyramid import Engine, resize
from fastmotion.io import iter_video, video_info
from fastmotion.video.cuts import Cuts

__all__ = ["Film", "Frames"]

# What keeps its dtype when it is resized; all else becomes float32.
_PIXELS = (np.bool_, np.uint8, np.uint16)


@dataclass(frozen=True)
class Film:
    """A source of frames: their name in messages, how to read them, and what is known of them."""

    name: str
    open: Callable[[], Any]
    fps: float | None
    n_frames: int | None

    @classmethod
    def of(cls, source: Any, fps: float | None) -> Self:
        """Return what is known of a path or an iterable of frames.

        Raises
        ------
        FileNotFoundError, ImportError, ValueError
            As for `fastmotion.io.video_info`.
        TypeError
            It is neither a path nor an iterable.
        """
        if isinstance(source, str | os.PathLike):
            info = video_info(source)
            rate = float(info.fps) if fps is None else fps
            return cls(str(source), lambda: iter_video(source), rate, info.n_frames)
        if not isinstance(source, Iterable):
            raise TypeError(f"source must be a path or an iterable of frames, got {source!r}")
        n_frames = len(source) if isinstance(source, Sized) else None
        return cls("source", lambda: (frame for frame in source), fps, n_frames)


class Frames:
    """The frames of a range of a film, checked, and reduced as asked for.

    Attributes
    ----------
    pixel_size : float
        Pixels of the film's frames for each of a reduced one's; known from the first one on.
    """

    def __init__(self, film: Film, cuts: Cuts, height: int | None, gray: bool) -> None:
        self.pixel_size = 1.0
        self._film = film
        self._cuts = cuts
        self._height = height
        self._gray = gray

    def between(self, raw: Iterable[ArrayLike]) -> Iterator[NDArray]:
        """Yield what is in the range of all frames of the film."""
        first = None
        for index, given in enumerate(islice(raw, self._cuts.stop)):
            if index >= self._cuts.start:
                frame = self._check(given, first, index)
                first = (frame.shape, frame.dtype) if first is None else first
                reduced = self._reduce(frame)
                # Who reads a camera may give the same array again and again.
                yield reduced.copy() if reduced is frame else reduced

    def _check(
        self, given: ArrayLike, first: tuple[tuple[int, ...], np.dtype] | None, index: int
    ) -> NDArray:
        name = f"frame {index} of {self._film.name}"
        frame = as_real_array(given, name)
        require_image_shape(frame.shape, name)
        if first is not None and (frame.shape, frame.dtype) != first:
            raise ValueError(
                f"{name} is {frame.dtype} of shape {frame.shape}, those before it {first[1]} of "
                f"shape {first[0]}; convert all frames to one size and type, or stop before it"
            )
        return frame

    def _reduce(self, frame: NDArray) -> NDArray:
        """Return a frame of the height and the channels that were asked for."""
        height, width = frame.shape[:2]
        new_height = min(self._height or height, height)
        to_gray = self._gray and frame.ndim == 3
        if new_height == height and not to_gray:
            return frame
        planes = check_image(frame)[np.newaxis] if to_gray else _planes(frame)
        if new_height < height:
            self.pixel_size = height / new_height
            planes = _resized(planes, (new_height, max(1, round(width / self.pixel_size))))
        return _pixels(planes, frame.dtype, 2 if to_gray else frame.ndim)


def _planes(frame: NDArray) -> NDArray[np.float32]:
    """Return the channels of a frame, of which there may be one without an axis."""
    stacked = frame[..., np.newaxis] if frame.ndim == 2 else frame
    return np.ascontiguousarray(np.moveaxis(stacked, -1, 0), dtype=np.float32)


def _resized(planes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    out = np.empty((len(planes), *shape), np.float32)
    with Engine.running(CPU) as engine:
        resize(planes, out, engine)
    return out


def _pixels(planes: NDArray[np.float32], dtype: np.dtype, n_axes: int) -> NDArray:
    """Return planes as a frame, of the dtype of frames that tells the range of intensities."""
    frame = planes[0] if n_axes == 2 else np.moveaxis(planes, 0, -1)
    return np.rint(frame).astype(dtype) if dtype in _PIXELS else frame
