"""Speed of ours and of the peers, timed by turns in one process.

    python -m bench.speed_flow [--rounds N] [--threads N ...] [--methods NAME ...] [--save]

Prints a table of medians and ratios in Markdown, the growth with the number of pixels, and the
goals beside the figures; exits with 1 if a goal is missed. --save writes the figures to
bench/results.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numba
import numpy as np

from bench import peers
from bench.cases import FULL_HD, VGA, check_result, photograph_case
from bench.peers import METHODS, Method
from bench.report import (
    Goal,
    choose,
    describe_machine,
    report_goals,
    save_results,
)
from bench.timing import peak_memory
from fastmotion.benchmark import equal_threads, markdown_table, time_by_turns

SMALL, LARGE = choose((VGA, FULL_HD), ((240, 320), VGA))
GROWTH_SHAPES = choose(((240, 320), (360, 480), VGA, (720, 960), (960, 1280)), (SMALL, LARGE))

ROUNDS, BUDGET = choose((9, 20.0), (2, 0.5))
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
MOST_BYTES_PER_PIXEL = 40

MEMORY_SETUP = """
from bench.cases import photograph_case
from fastmotion.flow import {estimator}

estimator = {estimator}()
small, case = photograph_case({small}), photograph_case({large})
estimator.estimate(small.frame0, small.frame1)
"""

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


def memory_per_pixel(estimator: str) -> float:
    """Peak memory of one field beyond input and output, bytes per pixel."""
    setup = MEMORY_SETUP.format(estimator=estimator, small=SMALL, large=LARGE)
    most = max(peak_memory(setup, "estimator.estimate(case.frame0, case.frame1)").values())
    return most / (LARGE[0] * LARGE[1]) - 2 * np.float32().nbytes


def _arguments() -> argparse.Namespace:
    most = numba.config.NUMBA_NUM_THREADS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, most}), metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds per method and size")
    parser.add_argument("--save", action="store_true", help="keep the figures")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    options = {"rounds": arguments.rounds, "budget": arguments.budget}
    methods = [METHODS[name] for name in arguments.methods]
    threads = max(arguments.threads)

    runs = {
        label(shape, count): time_methods(methods, shape, threads=count, **options)
        for shape in (SMALL, LARGE)
        for count in arguments.threads
    }
    small, large = runs[label(SMALL, threads)], runs[label(LARGE, threads)]
    print(describe_machine(), end="\n\n")
    print(speed_table(runs, label(SMALL, threads)), end="\n\n")

    found = goals(small, large)
    results: dict[str, Any] = {"median_seconds": runs}
    ours = [method for method in methods if method.is_ours]
    if ours:
        growth = {s: time_methods(ours, s, threads=threads, **options) for s in GROWTH_SHAPES}
        print(growth_table(growth), end="\n\n")
        results["growth_seconds"] = {label(s, threads): growth[s] for s in growth}
    if sys.platform == "linux":  # the high-water mark is read from /proc
        memory = {name: memory_per_pixel(name) for name in ("HornSchunck", "LucasKanade")}
        results["memory_bytes_per_pixel"] = memory
        found += [
            Goal(f"memory of {name} beyond its pair and flow", figure, MOST_BYTES_PER_PIXEL, "B/px")
            for name, figure in memory.items()
        ]
    if arguments.save:
        save_results("speed_flow", goals=found, **results)
    return report_goals(found)


if __name__ == "__main__":
    sys.exit(main())
