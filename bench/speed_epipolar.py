"""Speed of robust fundamental matrices, by turns in one process.

    python -m bench.speed_epipolar [--rounds N] [--threads N ...] [--save]

Every method has the threshold at which it is most accurate, and the same most trials and
confidence; poses are checked before anything is timed. Prints tables of medians in Markdown, then
the goals beside the figures; exits with 1 if a goal is missed. --save writes to bench/results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numba

from bench.cases_epipolar import METHODS, OURS, OURS_PROSAC, RobustFits
from bench.peers_epipolar import EIGHT_POINT, MAGSAC, PARALLEL
from bench.report import Goal, choose, describe_machine, report_goals, save_results
from fastmotion.benchmark import equal_threads, markdown_table, time_checked

_CASES = [
    RobustFits(1000, 0.8),
    RobustFits(1000, 0.5),
    RobustFits(10_000, 0.5, n_pairs=4),
    RobustFits(1000, 0.3),
    RobustFits(1000, 0.2),
    RobustFits(1000, 0.5, "plane"),
    RobustFits(100_000, 0.5, n_pairs=2),
    RobustFits(1000, 0.5, n_pairs=100, in_batch=True),
]
CASES = choose(_CASES, _CASES[:2])
# Of the others those that use more threads, and in batches those that may be called from several.
WITH_MORE_THREADS = (OURS, OURS_PROSAC, EIGHT_POINT, MAGSAC, PARALLEL)

ROUNDS, BUDGET = choose((7, 1.5), (2, 0.3))
# How many times as long as ours USAC_FM_8PTS should take.
LEAST_RATIOS = {1: 1.0, 2: 1.5}

Figures = dict[str, dict[str, float]]


def time_case(case: RobustFits, threads: int, **options: float) -> tuple[dict, dict]:
    """Median seconds of one pair, and the median pose error in degrees, of each method."""
    names = [name for name in case.methods if threads == 1 or name in WITH_MORE_THREADS]
    errors: dict[str, float] = {}

    def check(name: str, found: Any) -> None:
        case.check(name, found)
        errors[name] = case.median_error(found)

    calls: dict[str, Callable[[], Any]] = {}
    for name in names:
        try:
            calls[name] = case.build(name)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    for name in (OURS, OURS_PROSAC):
        if name in calls:
            calls[name]()  # compiles
    seconds = time_checked(calls, check, **options)
    print(f"{case}, {threads} threads: timed", file=sys.stderr)
    return {name: taken / case.n_pairs for name, taken in seconds.items()}, errors


# --- Report


def goals(timings: Mapping[int, Figures]) -> list[Goal]:
    return [
        Goal(
            f"time of {EIGHT_POINT} / ours, {case}, {_threads(threads)}",
            seconds[EIGHT_POINT] / seconds[OURS],
            LEAST_RATIOS[threads],
            at_least=True,
        )
        for threads, runs in timings.items()
        for case, seconds in runs.items()
        if threads in LEAST_RATIOS and EIGHT_POINT in seconds
    ]


def table(title: str, runs: Figures, scale: float = 1.0) -> str:
    methods = [name for name in METHODS if any(name in figures for figures in runs.values())]

    def row(name: str) -> list[str]:
        found = (figures.get(name) for figures in runs.values())
        return [name, *("—" if figure is None else f"{scale * figure:.3g}" for figure in found)]

    return markdown_table([title, *runs], map(row, methods))


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _arguments() -> argparse.Namespace:
    most = min(2, numba.config.NUMBA_NUM_THREADS)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, most}), metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds per method and case")
    parser.add_argument("--save", action="store_true", help="keep the figures")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    print(describe_machine(), end="\n\n")
    options = {"rounds": arguments.rounds, "budget": arguments.budget}
    timings: dict[int, Figures] = {}
    errors: dict[int, Figures] = {}
    for threads in sorted(arguments.threads):
        timings[threads], errors[threads] = {}, {}
        with equal_threads(threads, "cv2"):
            for case in CASES:
                seconds, off = time_case(case, threads, **options)
                timings[threads][str(case)], errors[threads][str(case)] = seconds, off
        print(table(f"ms per pair, {_threads(threads)}", timings[threads], 1e3), end="\n\n")
        print(table("median pose error (degrees)", errors[threads]), end="\n\n")
    found = goals(timings)
    if arguments.save:
        save_results("speed_epipolar", goals=found, seconds=timings, pose_errors=errors)
    return report_goals(found)


if __name__ == "__main__":
    sys.exit(main())
