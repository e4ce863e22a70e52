"""Speed of features of motion, ours and the peers', by turns in one process.

    python -m bench.speed_features [--rounds N] [--threads N ...] [--save]

Prints tables of medians in Markdown, then the goals beside the figures; exits with 1 if a goal is
missed. --save writes the figures to bench/results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence

import numba

import fastmotion
from bench import peers_features as peers
from bench.cases_features import FLOW, OURS, Fisher, Histograms
from bench.report import Goal, choose, describe_machine, report_goals, save_results
from fastmotion.benchmark import equal_threads, markdown_table, time_checked

N_PAIRS = choose(10, 2)
HISTOGRAMS = (
    Histograms(N_PAIRS, grid=(2, 2, 2)),
    Histograms(N_PAIRS, grid=(1, 2, 2), block_shape=(2, 32, 32)),
)
FISHERS = choose(
    (Fisher(200, 1000, 64, 16), Fisher(50, 1000, 64, 128), Fisher(20, 10_000, 32, 64)),
    (Fisher(10, 500, 16, 8),),
)
ROUNDS, BUDGET = choose((9, 10.0), (2, 0.5))

MOST_SHARE_OF_FLOW = 0.5
LEAST_HISTOGRAM_RATIO = 10.0
# To be ahead.
LEAST_FISHER_RATIO = 1.0

Seconds = Mapping[str, float]
Case = Histograms | Fisher


def time_cases(cases: Iterable[Case], threads: int, **options: float) -> dict[str, Seconds]:
    """Median seconds of each method by case; what a method returns is checked before that."""
    runs = {}
    for case in cases:
        calls = {}
        for name in case.methods:
            try:
                calls[name] = case.build(name)
            except ImportError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
        calls[OURS]()  # compiles what the warm-up has not
        with equal_threads(threads, "cv2"):
            runs[str(case)] = time_checked(calls, case.check, **options)
        print(f"{case}, {threads} threads: timed", file=sys.stderr)
    return runs


def table(title: str, runs: Mapping[str, Seconds], methods: Sequence[str]) -> str:
    """Milliseconds of ours, and how many times as long each of the others takes."""
    header = [title, f"{OURS} (ms)", *(f"{name} / ours" for name in methods)]

    def row(case: str, seconds: Seconds) -> list[str]:
        ratios = [f"{seconds[m] / seconds[OURS]:.1f}" if m in seconds else "—" for m in methods]
        return [case, f"{1e3 * seconds[OURS]:.2f}", *ratios]

    return markdown_table(header, (row(*item) for item in runs.items()))


def goals(histograms: Mapping[str, Seconds], fishers: Mapping[str, Seconds]) -> list[Goal]:
    found = []
    for case, seconds in histograms.items():
        share = seconds[OURS] / seconds[FLOW]
        found.append(Goal(f"time of histograms / flow, {case}", share, MOST_SHARE_OF_FLOW))
        found += _ratios(case, seconds, peers.HISTOGRAMS, LEAST_HISTOGRAM_RATIO)
    for case, seconds in fishers.items():
        found += _ratios(case, seconds, (peers.SKIMAGE,), LEAST_FISHER_RATIO)
    return found


def _ratios(case: str, seconds: Seconds, methods: Iterable[str], least: float) -> list[Goal]:
    return [
        Goal(f"time of {name} / ours, {case}", seconds[name] / seconds[OURS], least, at_least=True)
        for name in methods
        if name in seconds
    ]


def _arguments() -> argparse.Namespace:
    most = numba.config.NUMBA_NUM_THREADS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, most}), metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds per method and case")
    parser.add_argument("--save", action="store_true", help="keep the figures")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    options = {"rounds": arguments.rounds, "budget": arguments.budget}
    print(describe_machine(), end="\n\n")
    fastmotion.warmup(["features", "flow"])
    by_threads = {}
    for threads in arguments.threads:
        histograms = time_cases(HISTOGRAMS, threads, **options)
        fishers = time_cases(FISHERS, threads, **options)
        print(table(f"histograms, {threads} threads", histograms, (FLOW, *peers.HISTOGRAMS)))
        print("\n—: nobody writes overlapping blocks in NumPy.\n")
        print(table(f"Fisher vectors, {threads} threads", fishers, (peers.SKIMAGE,)), end="\n\n")
        by_threads[threads] = {"histograms": histograms, "fisher": fishers}
    last = by_threads[max(by_threads)]
    found = goals(last["histograms"], last["fisher"])
    if arguments.save:
        save_results("speed_features", goals=found, median_seconds=by_threads)
    return report_goals(found)


if __name__ == "__main__":
    sys.exit(main())
