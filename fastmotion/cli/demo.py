"""``fastmotion demo``: both methods on a real image pair with a known motion."""

from __future__ import annotations

import argparse
from time import perf_counter
from typing import Any, NamedTuple

__all__ = ["add_parser", "run"]


class _Measured(NamedTuple):
    """What one method gave on the pair."""

    flow: Any
    first_seconds: float
    next_seconds: float


def add_parser(commands: Any) -> None:
    """Declare the command and its arguments."""
    parser = commands.add_parser(
        "demo",
        help="measure both methods on a real image pair, and draw the result",
        description=(
            "Estimate the motion between the two photographs of scikit-image's motorcycle pair "
            "with both methods, print their errors against the measured truth, and draw image, "
            "flow, truth and error."
        ),
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PICTURE",
        default="demo.png",
        help="where the picture goes (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and leave the picture."""
    from fastmotion.core.validation import import_optional
    from fastmotion.datasets import load_motorcycle
    from fastmotion.display import plot_flow_comparison
    from fastmotion.io.files import replacing

    # Before the work rather than after it.
    import_optional("matplotlib", extra="plot", purpose="drawing the result")
    pair = load_motorcycle()
    height, width = pair.mask.shape
    print(f"Motorcycle pair, {width} x {height} pixels, left to right photograph")
    results = {
        name: _measure(estimator, pair.frame0, pair.frame1)
        for name, estimator in _make_estimators().items()
    }
    _print_table(results, pair.flow)
    figure = plot_flow_comparison(
        pair.frame0, {name: result.flow for name, result in results.items()}, truth=pair.flow
    )
    with replacing(args.output) as part:
        figure.savefig(part, dpi=110)
    print(f"Picture: {args.output}")


def _make_estimators() -> dict[str, Any]:
    from fastmotion.flow import HornSchunck, LucasKanade

    return {"Lucas-Kanade": LucasKanade(), "Horn-Schunck": HornSchunck()}


def _measure(estimator: Any, frame0: Any, frame1: Any) -> _Measured:
    """Estimate twice: the first call may have to compile, or to load what was compiled."""
    start = perf_counter()
    estimator.estimate(frame0, frame1)
    middle = perf_counter()
    flow = estimator.estimate(frame0, frame1)
    return _Measured(flow, middle - start, perf_counter() - middle)


def _print_table(results: dict[str, _Measured], truth: Any) -> None:
    from fastmotion.metrics import angular_error, endpoint_error

    columns = ("end-point error", "angular error", "first call", "next call")
    print(f"{'method':14}" + "".join(f"{column:>17}" for column in columns))
    for name, result in results.items():
        cells = (
            f"{endpoint_error(truth, result.flow):.3f} px",
            f"{angular_error(truth, result.flow):.2f} deg",
            f"{result.first_seconds:.2f} s",
            f"{1000 * result.next_seconds:.0f} ms",
        )
        print(f"{name:14}" + "".join(f"{cell:>17}" for cell in cells))
