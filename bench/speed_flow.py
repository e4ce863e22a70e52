"""Speed of ours and of the peers, timed by turns in one process.

    python -m bench.speed_flow [--rounds N] [--threads N ...] [--methods NAME ...] [--save]

Prints a table of medians and ratios in Markdown, the growth with the number of pixels, and the
goals beside the figures; exits with 1 if a goal is missed. --save writes the figures to
bench/results, and with FASTMOTION_DATA set a picture of error against time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numba
import numpy as np

from bench import peers
from bench.accuracy_flow import measure
from bench.cases import (
    FULL_HD,
    MIDDLEBURY,
    VGA,
    check_result,
    data_folder,
    photograph_case,
    recorded_cases,
)
from bench.peers import METHODS, Method
from bench.report import (
    RESULTS,
    Goal,
    describe_machine,
    markdown_table,
    report_goals,
    save_results,
)
from bench.threads import equal_threads
from bench.timing import time_by_turns

GROWTH_SHAPES = ((240, 320), (360, 480), VGA, (720, 960), (960, 1280))

# Milliseconds at 640x480 on two cores.
BOUNDS = {peers.HS_DEFAULT: 300.0, peers.HS_BEST: 1500.0, peers.LK_DEFAULT: 45.0}
# Ours, a peer, and the most that our time may be of the peer's.
RATIO_BOUNDS = (
    (peers.HS_DEFAULT, peers.DEEPFLOW, 1 / 6),
    (peers.HS_BEST, peers.DEEPFLOW, 1.0),
    (peers.HS_MEDIUM, peers.DIS_MEDIUM, 1.0),
    (peers.HS_FAST, peers.DIS_FAST, 1.0),
    (peers.LK_DEFAULT, peers.DIS_MEDIUM, 1.0),
    (peers.LK_DEFAULT, peers.ILK, 1 / 60),
)
# 1920x1080 has 6.75 times the pixels of 640x480.
MOST_GROWTH = 6.75

Seconds = Mapping[str, float]


def time_methods(
    methods: Iterable[Method], shape: tuple[int, int], *, threads: int, rounds: int, budget: float
) -> Seconds:
    """Median seconds of each method on one pair; the warm-up's result is checked first."""
    case = photograph_case(shape)
    calls = {m.name: partial(m.build(), case.frame0, case.frame1) for m in methods}
    with equal_threads(threads, "cv2"):
        for call in calls.values():
            check_result(call(), case)
        timings = time_by_turns(calls, rounds=rounds, budget=budget)
    return {name: statistics.median(seconds) for name, seconds in timings.items()}


def label(shape: tuple[int, int], threads: int) -> str:
    return f"{shape[1]}x{shape[0]}, {threads} thread{'s' if threads > 1 else ''}"


def speed_table(runs: Mapping[str, Seconds], reference_run: str) -> str:
    """A row per method: milliseconds of each run, and the ratio to ours in one of them."""
    reference = runs[reference_run]
    ours = [name for name in (peers.HS_DEFAULT, peers.LK_DEFAULT) if name in reference]
    header = ["method", "library", *(f"{run} (ms)" for run in runs)]
    header += [f"time / {name}" for name in ours]

    def row(name: str) -> list[str]:
        times = [f"{1e3 * run[name]:.1f}" for run in runs.values()]
        ratios = [f"{reference[name] / reference[our]:.2f}" for our in ours]
        return [name, METHODS[name].library, *times, *ratios]

    return markdown_table(header, map(row, sorted(reference, key=reference.__getitem__)))


def growth_table(growth: Mapping[tuple[int, int], Seconds]) -> str:
    """Nanoseconds per pixel by size, and the power of the pixel count that the time follows."""
    shapes = list(growth)
    pixels = np.array([height * width for height, width in shapes])
    header = ["ns per pixel", *(f"{width}x{height}" for height, width in shapes), "power"]

    def row(name: str) -> list[str]:
        seconds = np.array([growth[shape][name] for shape in shapes])
        power = np.polyfit(np.log(pixels), np.log(seconds), 1)[0]
        return [name, *(f"{1e9 * t:.1f}" for t in seconds / pixels), f"{power:.2f}"]

    return markdown_table(header, map(row, growth[shapes[0]]))


def goals(small: Seconds, large: Seconds) -> list[Goal]:
    """Every goal that concerns measured methods, from the times at 640x480 and 1920x1080."""
    times = [
        Goal(f"{name} at 640x480", 1e3 * small[name], bound, "ms")
        for name, bound in BOUNDS.items()
        if name in small
    ]
    ratios = [
        Goal(f"time of {ours} / {peer}", small[ours] / small[peer], bound)
        for ours, peer, bound in RATIO_BOUNDS
        if ours in small and peer in small
    ]
    growth = [
        Goal(f"{name}, 1920x1080 / 640x480", large[name] / small[name], MOST_GROWTH)
        for name in small
        if METHODS[name].is_ours
    ]
    return times + ratios + growth


def error_against_time(
    seconds: Seconds, errors: Mapping[str, float], run: str, path: os.PathLike
) -> None:
    """Draw one marker per method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for library, marker in (("fastmotion", "o"), ("OpenCV", "s"), ("scikit-image", "^")):
        names = [name for name in errors if METHODS[name].library == library]
        points = [(1e3 * seconds[name], errors[name]) for name in names]
        axes.plot(*zip(*points), marker, label=library, markersize=8)
        for name, point in zip(names, points):
            axes.annotate(name, point, xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set(
        xscale="log",
        xlabel=f"time at {run} (ms)",
        ylabel="mean end-point error, four Middlebury pairs (px)",
        ylim=(0, None),
    )
    axes.margins(x=0.2)  # room for the names
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def save(runs: Mapping[str, Seconds], drawn: str, methods: Sequence[Method]) -> None:
    """Write bench/results/speed_flow.json and, where the pairs are at hand, the picture."""
    save_results("speed_flow", median_seconds=runs)
    if data_folder() is None:
        print("no picture of error against time: FASTMOTION_DATA is not set", file=sys.stderr)
        return
    cases = list(recorded_cases(MIDDLEBURY))
    errors = {method.name: measure(method, cases).mean_endpoint for method in methods}
    error_against_time(runs[drawn], errors, drawn, RESULTS / "flow_error_time.png")


def _arguments() -> argparse.Namespace:
    most = numba.config.NUMBA_NUM_THREADS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, most}), metavar="N")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds per method and size")
    parser.add_argument("--save", action="store_true", help="write to bench/results")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    options = {"rounds": arguments.rounds, "budget": arguments.budget}
    methods = [METHODS[name] for name in arguments.methods]
    threads = max(arguments.threads)

    runs = {
        label(shape, count): time_methods(methods, shape, threads=count, **options)
        for shape in (VGA, FULL_HD)
        for count in arguments.threads
    }
    small, large = runs[label(VGA, threads)], runs[label(FULL_HD, threads)]
    print(describe_machine(), end="\n\n")
    print(speed_table(runs, label(VGA, threads)), end="\n\n")

    ours = [method for method in methods if method.is_ours]
    if ours:
        growth = {s: time_methods(ours, s, threads=threads, **options) for s in GROWTH_SHAPES}
        print(growth_table(growth), end="\n\n")
    if arguments.save:
        save(runs, label(VGA, threads), methods)
    return report_goals(goals(small, large))


if __name__ == "__main__":
    sys.exit(main())
