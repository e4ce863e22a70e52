"""``fastmotion flow``: the motion between two images, or along a video."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["add_estimator_options", "add_parser", "make_estimator", "run"]

_METHODS = {"horn-schunck": "HornSchunck", "lucas-kanade": "LucasKanade"}
_PRESETS = ("fast", "medium", "default", "best")
_SAMPLED_PAIRS = 5  # of a video, to find its range of speeds
_LEAST_SCALE = 1.0  # pixel: below it a still scene would be drawn as a storm


def add_parser(commands: Any) -> None:
    """Declare the command and its arguments."""
    parser = commands.add_parser(
        "flow",
        help="estimate the motion between two images, or along a video",
        description=(
            "Estimate the dense motion from one image to the next, or between all neighbouring "
            "frames of a video, and draw it: hue is direction, saturation is speed."
        ),
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="two images of one size, or one video"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="coloured flow: an image or a video")
    parser.add_argument("--flo", metavar="FILE", help="flow itself, Middlebury format (two images)")
    add_estimator_options(parser)
    parser.add_argument(
        "--max-magnitude",
        type=_positive_number,
        metavar="PIXELS",
        help="speed that gets the full colour (default: from the flow itself)",
    )
    parser.set_defaults(run=run, usage_error=parser.error)


def add_estimator_options(parser: argparse.ArgumentParser) -> None:
    """Declare what `make_estimator` looks at."""
    parser.add_argument(
        "--method", choices=_METHODS, default="horn-schunck", help="default: %(default)s"
    )
    parser.add_argument(
        "--preset",
        choices=_PRESETS,
        default="default",
        help="speed against accuracy (default: %(default)s)",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="number of threads (default: all)")


def make_estimator(args: argparse.Namespace) -> Any:
    """Return the estimator of flow that was asked for."""
    import fastmotion.flow

    estimator_class = getattr(fastmotion.flow, _METHODS[args.method])
    return estimator_class.from_preset(args.preset, device=args.device, n_jobs=args.n_jobs)


def run(args: argparse.Namespace) -> None:
    """Estimate and write."""
    if len(args.inputs) > 2:
        args.usage_error(f"give two images or one video, got {len(args.inputs)} files")
    if len(args.inputs) == 2:
        if not (args.output or args.flo):
            args.usage_error("say where the result goes: -o PICTURE, --flo FILE or both")
        _run_on_images(args)
    else:
        if not args.output or args.flo:
            args.usage_error("the flow of a video is written as a video: give -o FILE, no --flo")
        _run_on_video(args)


def _run_on_images(args: argparse.Namespace) -> None:
    from fastmotion.display import flow_to_color
    from fastmotion.io import read_image, write_flo, write_image

    frame0, frame1 = map(read_image, args.inputs)
    flow = make_estimator(args).estimate(frame0, frame1)
    if args.flo:
        write_flo(args.flo, flow)
    if args.output:
        write_image(args.output, flow_to_color(flow, args.max_magnitude))


def _run_on_video(args: argparse.Namespace) -> None:
    from fastmotion.io import video_info, write_video
    from fastmotion.io.video import check_video_suffix

    check_video_suffix(args.output)  # before the work rather than after it
    path = args.inputs[0]
    info = video_info(path)
    estimator = make_estimator(args)
    scale = args.max_magnitude or _find_scale(path, estimator, info.n_frames)
    write_video(args.output, _color_video(path, estimator, scale), info.fps)
    print(f"Full colour: {scale:.3g} pixels a frame")


def _color_video(path: str, estimator: Any, scale: float) -> Iterator[NDArray]:
    """Yield the coloured flow of each pair of neighbours."""
    from fastmotion.display import flow_to_color
    from fastmotion.video import stream

    for clip in stream(path, estimator, clip_length=2, progress=True):
        yield flow_to_color(clip.output[0], scale)


def _find_scale(path: str, estimator: Any, n_frames: int | None) -> float:
    """Return one range of speeds for a whole video, from a few pairs spread over it."""
    import numpy as np

    from fastmotion.display.color import robust_maximum
    from fastmotion.video import stream

    # Without a number of frames, the first pair has to do.
    n_samples = _SAMPLED_PAIRS if n_frames else 1
    step = max(1, ((n_frames or 2) - 2) // (_SAMPLED_PAIRS - 1))
    clips = stream(path, estimator, clip_length=2, step=step, progress=False)
    with closing(clips):
        flows = [clip.output for clip in islice(clips, n_samples)]
    speeds = [robust_maximum(np.hypot(flow[..., 0], flow[..., 1])) for flow in flows]
    return max(_LEAST_SCALE, *speeds)


def _positive_number(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number of pixels, got {text}")
    return value
