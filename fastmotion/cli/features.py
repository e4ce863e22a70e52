"""``fastmotion features``: from a video to a table of what moves in it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fastmotion.cli.flow import add_estimator_options, make_estimator
from fastmotion.cli.messages import print_warnings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Declare the command and its arguments."""
    parser = commands.add_parser(
        "features",
        help="measure the motion in a video, as a table",
        description=(
            "Cut a video into clips that share a frame with their neighbours, estimate the flow, "
            "take the camera's motion out of it, and write a row for each clip: its time, speeds, "
            "direction, the motion of the camera, and histograms of flow."
        ),
    )
    parser.add_argument("video", metavar="VIDEO", help="the file")
    parser.add_argument(
        "-o", "--output", metavar="TABLE", required=True, help="the table, a .csv file"
    )
    parser.add_argument(
        "--clip-length", type=int, default=16, metavar="N", help="frames of a clip (%(default)s)"
    )
    parser.add_argument(
        "--height",
        type=int,
        default=240,
        metavar="PIXELS",
        help="reduce frames to this height, 0 for theirs (%(default)s)",
    )
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="SECONDS", help="where to begin (%(default)g)"
    )
    parser.add_argument("--stop", type=float, metavar="SECONDS", help="where to end (the end)")
    parser.add_argument(
        "--no-camera",
        dest="camera",
        action="store_false",
        help="measure the motion in the picture, the camera's included",
    )
    parser.add_argument(
        "--no-histogram", dest="histogram", action="store_false", help="leave out histograms"
    )
    add_estimator_options(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(args: argparse.Namespace) -> None:
    """Measure and write."""
    from fastmotion.core.config import config_context
    from fastmotion.io.files import replacing
    from fastmotion.video import motion_table

    if not args.output.endswith(".csv"):
        args.usage_error(f"-o writes .csv, got {args.output}; give it that suffix")
    settings = {"device": args.device or "auto", "n_jobs": args.n_jobs}
    # The file is opened before the work: a folder that is not there is told of at once.
    with replacing(args.output) as part, print_warnings(), config_context(**settings):
        table = motion_table(
            args.video,
            flow=make_estimator(args),
            camera=args.camera,
            histogram=args.histogram,
            clip_length=args.clip_length,
            start=args.start,
            stop=args.stop,
            unit="seconds",
            height=args.height or None,
            progress=True,
        )
        _write(part, table)
    print(f"{len(table['start_frame'])} clips, {len(table)} columns")


def _write(path: Path, table: dict[str, NDArray]) -> None:
    """Write columns as text; what is NaN as nothing."""
    import csv

    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for row in zip(*(column.tolist() for column in table.values())):
            writer.writerow("" if value != value else format(value, ".9g") for value in row)
