"""Video files, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from numbers import Rational, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.validation import import_optional
from fastmotion.io.files import PathLike, existing_file, replacing

__all__ = ["VideoInfo", "check_video_suffix", "iter_video", "video_info", "write_video"]

_SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")

# Encoders by preference, with settings at which the colours of a flow survive. A build of FFmpeg
# may lack H.264, and .webm takes VP9 only.
_ENCODERS = {
    "libx264": {"crf": "18"},
    "mpeg4": {"qmin": "2", "qmax": "5"},
    "libvpx-vp9": {"crf": "24"},
}


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes
    ----------
    width, height : int
        Size in pixels of the frames that `iter_video` gives, so after rotation.
    fps : Fraction
        Frames per second, exact: 29.97 is 30000/1001.
    n_frames : int or None
        Number of frames, None if the file does not tell.
    duration : float or None
        Seconds, None if the file does not tell.
    codec : str
        Name of the coding, for example "h264".

    Examples
    --------
    >>> from fractions import Fraction
    >>> from fastmotion.io import VideoInfo
    >>> info = VideoInfo(640, 480, Fraction(30000, 1001), n_frames=90, duration=3.003, codec="h264")
    >>> round(float(info.n_frames / info.fps), 3)
    3.003
    """

    width: int
    height: int
    fps: Fraction
    n_frames: int | None
    duration: float | None
    codec: str


def video_info(path: PathLike) -> VideoInfo:
    """Read size, frame rate and length of a video file.

    Needs the extra ``io``.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    info : VideoInfo
        With `width`, `height`, `fps`, `n_frames`, `duration` and `codec`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If PyAV is not installed.
    ValueError
        If the file is no video, or tells no frame rate.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import video_info, write_video
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "black.mp4")
    ...     write_video(path, np.zeros((5, 32, 48, 3), dtype=np.uint8), fps=25)
    ...     info = video_info(path)
    >>> info.width, info.height, int(info.fps), info.n_frames
    (48, 32, 25, 5)
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        first = next(container.decode(stream), None)
        if first is None:
            raise ValueError(f"{path} holds no frame.")
        height, width = _upright(first).shape[:2]
        fps = stream.average_rate or stream.guessed_rate
        if not fps:
            raise ValueError(f"{path} tells no frame rate.")
        return VideoInfo(
            width=width,
            height=height,
            fps=Fraction(fps),
            n_frames=stream.frames or None,
            duration=container.duration / 1e6 if container.duration else None,
            codec=stream.codec_context.name,
        )


def iter_video(path: PathLike) -> Iterator[NDArray[np.uint8]]:
    """Iterate over the frames of a video file.

    Needs the extra ``io``. Frames are decoded as they are asked for, so memory does not grow with
    the length of the video. The file is closed at the last frame, or when the iterator is.

    Parameters
    ----------
    path : str or path-like
        The file.

    Yields
    ------
    frame : ndarray of uint8, shape (height, width, 3)
        RGB, turned upright where the file notes a rotation, as telephones do.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If PyAV is not installed.
    ValueError
        If the file is no video, or damaged.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import iter_video, write_video
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "black.mp4")
    ...     write_video(path, np.zeros((5, 32, 48, 3), dtype=np.uint8), fps=25)
    ...     [frame.shape for frame in iter_video(path)][:2]
    [(32, 48, 3), (32, 48, 3)]
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            yield _upright(frame)


def write_video(path: PathLike, frames: Iterable[NDArray[np.uint8]], fps: float | Fraction) -> None:
    """Write frames as a video file.

    Needs the extra ``io``. H.264 is used where the installed FFmpeg has it, else MPEG-4; VP9 for
    ``.webm``. These codings are lossy, and halve the resolution of colour: to keep flow, write it
    with `write_flow`.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists: .mp4, .mkv, .mov, .avi or .webm. An error, or an
        interrupt, leaves the old file in place.
    frames : iterable of ndarray of uint8, shape (height, width, 3) or (height, width)
        RGB or gray, all of one size. Taken one at a time, so a generator is fine. Codings need
        even sizes: an odd last column or row is repeated once.
    fps : float or Fraction
        Frames per second.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If PyAV is not installed.
    TypeError
        If a frame is not uint8.
    ValueError
        If there is no frame, a frame has another shape than the first, `fps` is not positive, or
        the suffix is another one.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastmotion.io import iter_video, write_video
    >>> frames = (np.full((32, 48), gray, dtype=np.uint8) for gray in (20, 120, 220))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "brighter.mp4")
    ...     write_video(path, frames, fps=25)
    ...     [int(frame.mean().round(-1)) for frame in iter_video(path)]
    [20, 120, 220]
    """
    check_video_suffix(path)
    if not isinstance(fps, Real) or not 0 < fps < float("inf"):
        raise ValueError(f"fps must be a positive number of frames per second, got {fps!r}.")
    av = import_optional("av", extra="io", purpose="writing video")
    exact = Fraction(fps if isinstance(fps, Rational) else float(fps))
    rate = exact.limit_denominator(65535)  # MPEG-4 has 16 bits for it
    with replacing(path) as part, av.open(part, "w") as container:
        _encode(av, container, frames, rate)


def check_video_suffix(path: PathLike) -> None:
    """Raise if `path` does not end like a video that `write_video` can write."""
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise ValueError(f"Video is written as {', '.join(_SUFFIXES)} files, got {str(path)!r}.")


def _encode(av: Any, container: Any, frames: Iterable[NDArray[np.uint8]], rate: Fraction) -> None:
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise ValueError("frames is empty: a video needs at least one frame.")
    encoder = next(name for name in _ENCODERS if name in container.supported_codecs)
    stream = container.add_stream(encoder, rate=rate, options=_ENCODERS[encoder])
    stream.pix_fmt = "yuv420p"
    stream.height, stream.width = _to_even_rgb(first, first).shape[:2]
    for frame in chain([first], remaining):
        picture = av.VideoFrame.from_ndarray(_to_even_rgb(frame, first), format="rgb24")
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))


def _to_even_rgb(frame: NDArray[np.uint8], first: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Check a frame, and give it three channels and an even size."""
    if getattr(frame, "dtype", None) != np.uint8:
        kind = getattr(frame, "dtype", type(frame).__name__)
        raise TypeError(f"frames must be arrays of uint8, got {kind}.")
    is_colour = frame.ndim == 3 and frame.shape[2] == 3
    if not (frame.ndim == 2 or is_colour) or frame.size == 0:
        raise ValueError(
            f"frames must have shape (height, width, 3) or (height, width), got {frame.shape}."
        )
    if frame.shape != first.shape:
        raise ValueError(
            f"All frames must have the shape of the first, {first.shape}, got {frame.shape}."
        )
    rgb = frame if is_colour else np.repeat(frame[..., np.newaxis], 3, axis=2)
    height, width = frame.shape[:2]
    return np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


@contextmanager
def _opened(path: PathLike) -> Iterator[Any]:
    """Open a container that holds video; errors of FFmpeg become a ValueError naming the file."""
    source = existing_file(path)
    av = import_optional("av", extra="io", purpose="reading video")
    try:
        with av.open(source) as container:
            if not container.streams.video:
                raise ValueError(f"{source} holds no video.")
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"{source} cannot be read as video: {error.strerror}.") from error


def _upright(frame: Any) -> NDArray[np.uint8]:
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, k=frame.rotation // 90))
