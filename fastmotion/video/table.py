"""From a video to a table of what moves in it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.epipolar import DegenerateMatchesWarning
from fastmotion.features import FlowHistogram
from fastmotion.flow import HornSchunck
from fastmotion.io.files import PathLike
from fastmotion.video.camera import CameraCompensation, CompensatedFlow, camera_motion
from fastmotion.video.streaming import ClipResult, stream

__all__ = ["motion_table"]

_HIGH_PERCENTILE = 95

# Pixels per frame that are no motion: a compensated camera leaves as much by rounding.
_STILL = 1e-3

# Of time there is one cell: clips are short, and the table goes on along time.
_CELLS = (1, 2, 2)


def motion_table(
    source: PathLike | Iterable[ArrayLike],
    *,
    flow: Any = None,
    camera: CameraCompensation | bool = True,
    histogram: FlowHistogram | bool = True,
    clip_length: int = 16,
    step: int | None = None,
    start: float = 0,
    stop: float | None = None,
    unit: str = "frames",
    height: int | None = 240,
    last_clip: str = "keep",
    fps: float | Fraction | None = None,
    progress: bool | None = None,
) -> dict[str, NDArray]:
    """Measure the motion in a video, clip by clip.

    Parameters
    ----------
    source : str, path-like or iterable of array_like
        A video file, which needs the extra ``io``, or frames; see `stream`.
    flow : estimator or None, default=None
        Makes flow of clips; None for `fastmotion.flow.HornSchunck` with its defaults.
    camera : CameraCompensation or bool, default=True
        Takes the camera's motion out of the flow before all else is measured. True for one with its
        defaults, and the same result each time; False measures the motion in the picture.
    histogram : FlowHistogram or bool, default=True
        Histograms of flow for the last columns, without ``block_shape``. True for four cells, 2 x 2
        over the whole clip; False for none.
    clip_length : int, default=16
        Frames of a clip.
    step : int or None, default=None
        Frames from the start of a clip to the start of the next; None for ``clip_length - 1``, so
        that all pairs of neighbouring frames are in one clip each.
    start, stop : float, default=0 and None
        The part of the video to measure; None goes on to the end.
    unit : {"frames", "seconds"}, default="frames"
        Of ``start`` and ``stop``.
    height : int or None, default=240
        The height in pixels that frames are reduced to before flow is estimated; None for that of
        the source.
    last_clip : {"keep", "drop"}, default="keep"
        What becomes of frames at the end that fill no clip.
    fps : float, Fraction or None, default=None
        Frames per second; None for what the file tells.
    progress : bool or None, default=None
        Whether to show a progress bar; None shows one on a terminal.

    Returns
    -------
    dict of str to ndarray of shape (n_clips,)
        Columns by their names, which a data frame can be made of: ``pandas.DataFrame(table)``.
        Lengths are in pixels of the source, whatever ``height`` is.

        start_frame, n_frames
            Index of the clip's first frame, and how many frames it has.
        start_time
            Seconds; NaN where the frame rate is unknown.
        speed_mean, speed_median, speed_p95
            Mean, median and 95th percentile of the length of the flow over all pixels and pairs of
            frames, in pixels per frame.
        speed_mean_per_s, speed_median_per_s, speed_p95_per_s
            The same in pixels per second; NaN where the frame rate is unknown.
        direction
            Of the mean of the flow, in degrees from -180 to 180: 0 is to the right, 90 down. NaN
            where nothing moves: where the mean speed is below 0.001 pixels of the flow.
        coherence
            Length of the mean of the flow divided by the mean of its length: 1 where all moves
            alike, near 0 where motions cancel. NaN where nothing moves.
        camera_u, camera_v
            Motion of the picture's centre by the camera, in pixels per frame, right and down; mean
            over the pairs of frames, as are the next three. Without ``camera``, there is none of
            these columns.
        camera_rotation
            Degrees per frame, clockwise as one sees it.
        camera_zoom
            Factor per frame.
        camera_inlier_share
            Share of the flow that obeys the homographies of the camera.
        camera_found
            Share of the pairs of frames for which there is a homography. The five columns before
            are means over these, NaN where there is none.
        ``flow_...``, ``boundary_...``
            Those of `FlowHistogram.get_feature_names_out`, in pixels of the reduced frames.

    Raises
    ------
    FileNotFoundError, ImportError
        As for `stream`.
    TypeError
        ``flow``, ``camera`` or ``histogram`` is something else.
    ValueError
        As for `stream`; or ``histogram`` makes blocks, or cells where a clip has no pair of frames.

    Warns
    -----
    DegenerateMatchesWarning
        For some pairs of frames there is no homography: their flow is measured as it is.

    See Also
    --------
    stream : For other measurements.

    Examples
    --------
    >>> from fastmotion.datasets import make_warped_clip
    >>> from fastmotion.video import motion_table
    >>> film = make_warped_clip(6, motion=(1.5, -0.5), shape=(48, 64)).frames
    >>> table = motion_table(film, clip_length=4, fps=25)
    >>> table["start_frame"], table["camera_u"].round(1), table["camera_v"].round(1)
    (array([0, 3]), array([1.5, 1.5]), array([-0.5, -0.5]))
    >>> table["speed_median"].round(1)  # nothing moves but the camera
    array([0., 0.])
    """
    compensation = _chosen(camera, CameraCompensation(random_state=0), "camera")
    histograms = _chosen(histogram, FlowHistogram(grid=_CELLS), "histogram")
    if histograms is not None and histograms.block_shape is not None:
        raise ValueError("histogram must have block_shape=None: a clip is one row of the table")
    clips = stream(
        source,
        HornSchunck() if flow is None else flow,
        clip_length=clip_length,
        step=step,
        start=start,
        stop=stop,
        unit=unit,
        height=height,
        gray=True,
        last_clip=last_clip,
        fps=fps,
        progress=progress,
    )
    rows = [_measure(clip, compensation, histograms) for clip in clips]
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    if compensation is not None:
        _warn_of_unknown_cameras(table["camera_found"])
    return table


def _chosen(given: Any, default: Any, name: str) -> Any:
    """Return the estimator for a parameter that is one, or True for the default, or False."""
    if isinstance(given, bool):
        return default if given else None
    if not isinstance(given, type(default)):
        raise TypeError(f"{name} must be a {type(default).__name__}, True or False, got {given!r}")
    return given


def _measure(
    clip: ClipResult, camera: CameraCompensation | None, histogram: FlowHistogram | None
) -> dict[str, Any]:
    """Return a row of the table."""
    flow = _flow_of(clip)
    of_camera: dict[str, float] = {}
    if camera is not None:
        compensated = camera._compensate(flow)  # one warning for all is enough
        flow = compensated.flow
        of_camera = _motion_of_camera(compensated, clip.pixel_size)
    row = {
        "start_frame": clip.start,
        "n_frames": clip.n_frames,
        "start_time": math.nan if clip.time is None else clip.time,
        **_motion_of_things(flow, clip),
        **of_camera,
    }
    if histogram is not None:
        row |= zip(histogram.get_feature_names_out(), histogram.transform(flow[np.newaxis])[0])
    return row


def _flow_of(clip: ClipResult) -> NDArray:
    shape = np.shape(clip.output)
    if len(shape) != 4 or shape[0] != clip.n_frames - 1 or shape[-1] != 2:
        raise TypeError(
            f"flow must make flow of shape (n_clips, {clip.n_frames - 1}, height, width, 2) of "
            f"clips of {clip.n_frames} frames, got {shape} for one clip"
        )
    return clip.output


def _motion_of_things(flow: NDArray, clip: ClipResult) -> dict[str, float]:
    """Return how fast what is seen moves, and where to."""
    vectors = flow.reshape(-1, 2)
    vectors = vectors[np.isfinite(vectors).all(axis=1)]
    speeds = dict.fromkeys(("speed_mean", "speed_median", f"speed_p{_HIGH_PERCENTILE}"), math.nan)
    direction = coherence = math.nan
    if len(vectors):
        lengths = np.hypot(vectors[:, 0], vectors[:, 1])
        mean = lengths.mean(dtype=np.float64)
        found = (mean, *np.percentile(lengths, (50, _HIGH_PERCENTILE)))
        speeds = {name: float(x) * clip.pixel_size for name, x in zip(speeds, found)}
        u, v = vectors.mean(axis=0, dtype=np.float64)
        if mean > _STILL:
            direction, coherence = math.degrees(math.atan2(v, u)), math.hypot(u, v) / mean
    fps = math.nan if clip.fps is None else clip.fps
    per_second = {f"{name}_per_s": x * fps for name, x in speeds.items()}
    return {**speeds, **per_second, "direction": direction, "coherence": coherence}


def _motion_of_camera(compensated: CompensatedFlow, pixel_size: float) -> dict[str, float]:
    """Return the mean of what the camera did over those pairs of frames that tell."""
    is_known = ~np.isnan(compensated.inlier_share)
    motion = camera_motion(compensated.homographies, compensated.flow.shape[-3:-1])
    columns = {
        "camera_u": motion.translation[:, 0] * pixel_size,
        "camera_v": motion.translation[:, 1] * pixel_size,
        "camera_rotation": motion.rotation,
        "camera_zoom": motion.zoom,
        "camera_inlier_share": compensated.inlier_share,
    }
    means = {
        name: float(of_pairs[is_known].mean()) if is_known.any() else math.nan
        for name, of_pairs in columns.items()
    }
    return {**means, "camera_found": float(is_known.mean())}


def _warn_of_unknown_cameras(found: NDArray[np.float64]) -> None:
    n_clips = np.count_nonzero(found < 1)
    if n_clips:
        warnings.warn(
            f"the camera's motion is unknown for some pairs of frames of {n_clips} of {len(found)} "
            "clips, whose flow is measured as it is: camera_found tells which",
            DegenerateMatchesWarning,
            stacklevel=3,
        )
