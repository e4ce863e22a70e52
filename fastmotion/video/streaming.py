"""Videos through estimators, clip by clip, in constant memory."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.validation import (
    MIN_SIZE,
    Interval,
    StrOptions,
    import_optional,
    validate_parameter_constraints,
)
from fastmotion.io.files import PathLike
from fastmotion.video.cuts import LEAST_FRAMES, Cuts
from fastmotion.video.frames import Film, Frames

__all__ = ["ClipResult", "stream"]

_CONSTRAINTS: dict[str, list] = {
    "clip_length": [Interval(Integral, LEAST_FRAMES, None, closed="left")],
    "step": [Interval(Integral, 1, None, closed="left"), None],
    "start": [Interval(Real, 0, math.inf, closed="left")],
    "stop": [Interval(Real, 0, math.inf, closed="left"), None],
    "unit": [StrOptions({"frames", "seconds"})],
    "height": [Interval(Integral, MIN_SIZE, None, closed="left"), None],
    "gray": ["boolean"],
    "last_clip": [StrOptions({"keep", "drop"})],
    "fps": [Interval(Real, 0, math.inf, closed="neither"), None],
    "progress": ["boolean", None],
}


@dataclass(frozen=True, eq=False)
class ClipResult:
    """What an estimator made of one clip of a video.

    Attributes
    ----------
    start : int
        Index in the source of the clip's first frame.
    n_frames : int
        Frames of the clip.
    time : float or None
        Of the first frame, in seconds from the source's first: ``start`` divided by the frame rate.
        None where the source tells no frame rate.
    fps : float or None
        Frames per second; None where the source does not tell.
    pixel_size : float
        Pixels of the source that one pixel of the estimator's frames spans: 1.0 unless the frames
        were reduced. Lengths in the output times this are pixels of the source; along the width to
        within the rounding of that to whole pixels.
    output : object
        What the estimator made of the clip, without the axis of clips.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from fastmotion.video import stream
    >>> brightness = FunctionTransformer(lambda clips: clips.mean(axis=(1, 2, 3)))
    >>> film = np.arange(6)[:, np.newaxis, np.newaxis] * np.ones((6, 48, 64))
    >>> for clip in stream(film, brightness, clip_length=3, step=3, height=24, fps=30):
    ...     print(clip.start, clip.n_frames, clip.time, clip.pixel_size, clip.output)
    0 3 0.0 2.0 1.0
    3 3 0.1 2.0 4.0
    """

    start: int
    n_frames: int
    time: float | None
    fps: float | None
    pixel_size: float
    output: Any


def stream(
    source: PathLike | Iterable[ArrayLike],
    estimator: Any,
    *,
    clip_length: int = 16,
    step: int | None = None,
    start: float = 0,
    stop: float | None = None,
    unit: str = "frames",
    height: int | None = None,
    gray: bool = False,
    last_clip: str = "keep",
    fps: float | Fraction | None = None,
    method: str = "transform",
    progress: bool | None = None,
) -> Generator[ClipResult]:
    """Cut a video into clips and yield what an estimator makes of each, in constant memory.

    Frames are decoded as they are needed, and forgotten when no later clip shows them: memory does
    not grow with the length of the video. Reading files needs the extra ``io``.

    Parameters
    ----------
    source : str, path-like or iterable of array_like
        A video file, or frames of shape (height, width) or (height, width, channels), all of one
        shape and dtype: an array, or a generator, of which one frame is taken at a time.
    estimator : estimator or pipeline
        Takes clips of shape (n_clips, n_frames, height, width[, channels]), and is given one at a
        time. It must be fitted, unless it needs no fit: estimators of flow do not.
    clip_length : int, default=16
        Frames of a clip, at least 2.
    step : int or None, default=None
        Frames from the start of a clip to the start of the next. None for ``clip_length - 1``:
        neighbouring clips share one frame, so that all *pairs* of neighbouring frames are in one
        clip each, which is what flow needs. For estimators that look at each frame alone, pass
        ``clip_length``; less makes clips overlap, more leaves frames out.
    start, stop : float, default=0 and None
        The part of the video to take: frames at ``start`` or later and before ``stop``; None goes
        on to the end. Earlier frames are decoded, too, and not kept.
    unit : {"frames", "seconds"}, default="frames"
        Of ``start`` and ``stop``.
    height : int or None, default=None
        Reduce the frames to this many rows, and to as many columns as keep their shape, after a
        Gaussian against aliasing. Lower frames stay as they are, as all do with None.
    gray : bool, default=False
        Whether to give the estimator the luminance (Rec. 601) of colour frames: a third of the
        memory. Estimators of flow take nothing else of them.
    last_clip : {"keep", "drop"}, default="keep"
        What becomes of frames at the end that fill no clip: a shorter clip, if there are two or
        more and one of them was in no clip yet; or nothing, for estimators that need clips of one
        length.
    fps : float, Fraction or None, default=None
        Frames per second; None for what the file tells.
    method : str, default="transform"
        Name of the estimator's method to call, such as "predict" of a pipeline that ends in a
        classifier.
    progress : bool or None, default=None
        Whether to show a progress bar, which needs the extra ``io``. None shows one where it can,
        on a terminal.

    Returns
    -------
    generator of ClipResult
        One for each clip, in order. Closing it, or leaving a loop over it, closes the file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImportError
        What reads video or shows progress is not installed.
    TypeError
        ``estimator`` has no such method, or a frame does not hold real numbers.
    ValueError
        A parameter is out of range, the file cannot be read, the frames are too few for a clip, or
        one is of another shape or dtype than the first. Arguments are checked by the call, frames
        when they are read.
    sklearn.exceptions.NotFittedError
        The estimator needs to be fitted first.

    See Also
    --------
    motion_table : Speeds, motion of the camera and histograms of flow, by one call.

    Notes
    -----
    At most ``2 * clip_length`` frames are held at a time, besides what the estimator needs. Files
    are taken to have a constant frame rate: ``time`` is the index of a frame divided by the mean
    rate.

    Examples
    --------
    >>> from fastmotion.datasets import make_warped_clip
    >>> from fastmotion.flow import HornSchunck
    >>> from fastmotion.video import stream
    >>> film = make_warped_clip(6, motion=(1.5, 0), shape=(48, 64), gray=True).frames
    >>> for clip in stream(film, HornSchunck(), clip_length=4, fps=25):
    ...     u = clip.output[..., 0].mean()
    ...     print(clip.start, clip.time, clip.output.shape, u.round(1))
    0 0.0 (3, 48, 64, 2) 1.5
    3 0.12 (2, 48, 64, 2) 1.5

    Of the six frames the fourth is in both clips, and each of the five pairs in one.
    """
    given = {
        "clip_length": clip_length,
        "step": step,
        "start": start,
        "stop": stop,
        "unit": unit,
        "height": height,
        "gray": gray,
        "last_clip": last_clip,
        "fps": float(fps) if isinstance(fps, Fraction) else fps,
        "progress": progress,
    }
    validate_parameter_constraints(_CONSTRAINTS, given, "stream")
    apply = _method_of(estimator, method)
    film = Film.of(source, None if fps is None else float(fps))
    cuts = Cuts(
        length=int(clip_length),
        step=int(clip_length - 1 if step is None else step),
        start=_to_frame(start, "start", unit, film),
        stop=None if stop is None else _to_frame(stop, "stop", unit, film),
        keeps_last=last_clip == "keep",
    )
    if cuts.stop is not None and cuts.stop <= cuts.start:
        raise ValueError(f"stop must be later than start, got {start!r} and {stop!r} {unit}")
    return _results(film, cuts, Frames(film, cuts, height, gray), apply, progress)


def _method_of(estimator: Any, method: str) -> Callable[[NDArray], Any]:
    if not callable(getattr(estimator, method, None)):
        raise TypeError(
            f"estimator must have a method {method!r} that takes clips, got {estimator!r}; "
            "pass method= for another one"
        )
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    return getattr(estimator, method)


def _to_frame(moment: float, name: str, unit: str, film: Film) -> int:
    """Return the first frame at or after a moment."""
    if unit == "frames":
        if moment != int(moment):
            raise ValueError(
                f"{name} must be a whole number of frames, got {moment!r}; "
                "pass unit='seconds' if it is a time"
            )
        return int(min(moment, sys.maxsize))
    if film.fps is None:
        raise ValueError(f"{name} in seconds needs a frame rate: pass fps along with frames")
    frame = round(moment * film.fps, 6)  # 0.1 s at 30 per second is frame 3, not 4
    return math.ceil(min(frame, sys.maxsize))


def _results(
    film: Film,
    cuts: Cuts,
    frames: Frames,
    apply: Callable[[NDArray], Any],
    progress: bool | None,
) -> Generator[ClipResult]:
    n_clips = cuts.count(film.n_frames)
    with closing(film.open()) as raw, _counting(progress, n_clips) as count:
        for start, clip in cuts.cut(frames.between(raw), film.name):
            output = apply(np.stack(clip)[np.newaxis])
            count()
            yield ClipResult(
                start=start,
                n_frames=len(clip),
                time=None if film.fps is None else start / film.fps,
                fps=film.fps,
                pixel_size=frames.pixel_size,
                output=_only(output),
            )


def _only(output: Any) -> Any:
    """Return what was made of the only clip, from an array, a list or a data frame."""
    return output.iloc[0] if hasattr(output, "iloc") else output[0]


@contextmanager
def _counting(progress: bool | None, total: int | None) -> Iterator[Callable[[], object]]:
    """Yield what moves a progress bar on by a clip, or does nothing."""
    module = _find_tqdm(progress)
    if module is None:
        yield lambda: None
        return
    # As tqdm has it, None disables the bar where there is no terminal.
    with module.tqdm(total=total, unit="clip", disable=None if progress is None else False) as bar:
        yield bar.update


def _find_tqdm(progress: bool | None) -> ModuleType | None:
    if progress is False:
        return None
    try:
        return import_optional("tqdm", extra="io", purpose="showing progress")
    except ImportError:
        if progress:
            raise
        return None
