"""Speed of fitting and applying motion kernels, ours and the peers', by turns in one process.

    python -m bench.speed_trajectory [--rounds N] [--threads N ...] [--save]

Prints tables of medians in Markdown, then the goals beside the figures; exits with 1 if a goal is
missed. --save writes the figures to bench/results.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

import fastmotion
from bench import peers_kernels as peers
from bench.cases_kernels import MOST_MATRIX_BYTES, OURS, Filtering, Fit, motion
from bench.report import Goal, choose, describe_machine, report_goals, save_results
from bench.timing import peak_memory
from fastmotion.benchmark import equal_threads, markdown_table, time_checked
from fastmotion.core.device import CPU
from fastmotion.trajectory import MotionKernelBank
from fastmotion.trajectory.filtering import Taps, apply_kernels
from fastmotion.trajectory.sequences import check_sequences

COPY, FRESH_COPY = "np.copyto", "np.copyto to a new array"
WARM = "fastmotion, to memory at hand"
Seconds = Mapping[str, float]
Case = Fit | Filtering

# Samples of one series, by taps; then many sequences of many channels.
FIT_TAPS = choose(
    {10**4: (5, 31, 101), 10**5: (5, 31, 101), 10**6: (5, 9, 31, 101), 10**7: (5, 31, 101)},
    {10**3: (5, 31), 10**4: (5, 31), 10**5: (5, 31)},
)
MANY = choose((1000, 300, 25, 3), (100, 300, 25, 3))
MANY_TAPS = choose((5, 9, 31, 101), (5,))
# lstsq takes minutes there.
MANY_PEERS = (peers.RIDGE, peers.BLAS)

ROUNDS, BUDGET = choose((9, 5.0), (2, 0.5))
FILTER_TAPS = choose((2, 3, 5, 9, 31), (5, 31))
LONG = choose((300_000, 25, 3), (30_000, 25, 3))
SCALES = (2, 3, 5)

FITS = [
    *(Fit((n, 1, 1), n_taps) for n, taps in FIT_TAPS.items() for n_taps in taps),
    *(Fit(MANY, n_taps, MANY_PEERS) for n_taps in MANY_TAPS),
]
FILTERINGS = [Filtering(shape, n_taps) for shape in (MANY, LONG) for n_taps in FILTER_TAPS]

LEAST_RIDGE_RATIO = 70.0
LEAST_CORRELATE_RATIO = {MANY: 7.0, LONG: 20.0}
LEAST_BANDWIDTH = 0.6
# The lagged matrix of this would be as many times the series as there are taps.
MEMORY_SAMPLES, MEMORY_TAPS = choose(10**7, 10**6), 31


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
        with equal_threads(threads, "torch"):
            runs[str(case)] = time_checked(calls, case.check, **options)
        print(f"{case}, {threads} threads: timed", file=sys.stderr)
    return runs


def fit_memory() -> float:
    """Peak memory of a fit beyond the series, in units of the series."""
    setup = f"""
from bench.cases_kernels import motion
from fastmotion.trajectory import MotionKernel
X = motion(({MEMORY_SAMPLES}, 1, 1))
MotionKernel({MEMORY_TAPS}).fit(X[:1000])
"""
    most = max(peak_memory(setup, f"MotionKernel({MEMORY_TAPS}).fit(X)").values())
    return most / (MEMORY_SAMPLES * np.float64().nbytes)


def time_bank(threads: int, **options: float) -> Seconds:
    """Median seconds of three scales at once, and of copying as many bytes as that moves."""
    X = motion(MANY, np.float32)
    bank = MotionKernelBank(scales=SCALES).fit(X[:10])
    outputs = bank.transform(X)
    series = X[-1, :, -1, -1].astype(float)
    for index, (offsets, weights) in enumerate(bank.kernels_):
        expected = np.correlate(series, weights, mode="valid")
        given = outputs[-1, len(offsets) - 1 :, -1, -1, index]
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-3)
    n_bytes = X.nbytes + outputs.nbytes
    memory = np.moveaxis(outputs, -1, 0).reshape(len(SCALES), -1, X.shape[2] * X.shape[3])
    taps = [Taps(offsets, weights[np.newaxis]) for offsets, weights in bank.kernels_]
    filtering = functools.partial(
        apply_kernels, check_sequences(X), taps, edges="nearest", min_valid=1.0, device=CPU
    )
    # Half is read and half written.
    source, target = np.ones((2, n_bytes // 2), np.uint8)
    calls = {
        OURS: functools.partial(bank.transform, X),
        WARM: lambda: filtering(out=memory),
        COPY: functools.partial(copy, source, target, threads),
        FRESH_COPY: lambda: copy(source, np.empty_like(source), threads),
    }
    with equal_threads(threads):
        return time_checked(calls, lambda name, result: None, **options)


def copy(source: np.ndarray, target: np.ndarray, threads: int) -> None:
    parts = zip(np.array_split(target, threads), np.array_split(source, threads))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: np.copyto(*part), parts))


# --- Report


@dataclass(frozen=True)
class Timings:
    """Everything that is timed with one number of threads, in seconds."""

    threads: int
    fit: dict[str, Seconds]
    apply: dict[str, Seconds]
    bank: Seconds

    @classmethod
    def measure(cls, threads: int, **options: float) -> Timings:
        return cls(
            threads,
            time_cases(FITS, threads, **options),
            time_cases(FILTERINGS, threads, **options),
            time_bank(threads, **options),
        )


def goals(timings: Timings) -> list[Goal]:
    suffix = f"{timings.threads} thread{'s' if timings.threads > 1 else ''}"
    found = []

    def at_least(text: str, figure: float, bound: float) -> None:
        found.append(Goal(f"{text}, {suffix}", figure, bound, at_least=True))

    case = "1e6, 5 taps"
    if case in timings.fit:
        ratio = timings.fit[case][peers.RIDGE] / timings.fit[case][OURS]
        at_least(f"time of {peers.RIDGE} / ours, {case}", ratio, LEAST_RIDGE_RATIO)
    for filtering in FILTERINGS:
        seconds = timings.apply[str(filtering)]
        ratio = seconds[peers.CORRELATE] / seconds[OURS]
        least = LEAST_CORRELATE_RATIO[filtering.shape]
        at_least(f"time of {peers.CORRELATE} / ours, {filtering}", ratio, least)
        if filtering.n_taps == max(FILTER_TAPS) and peers.TORCH in seconds:
            ratio = seconds[peers.TORCH] / seconds[OURS]
            at_least(f"time of {peers.TORCH} / ours, {filtering}", ratio, 1.0)
    for name, peer in ((WARM, COPY), (OURS, FRESH_COPY)):
        share = timings.bank[peer] / timings.bank[name]
        at_least(f"bandwidth of a bank {SCALES}, {name} / {peer}", share, LEAST_BANDWIDTH)
    return found


def table(title: str, runs: Mapping[str, Seconds], methods: Sequence[str]) -> str:
    """Milliseconds of ours, and how many times as long each peer takes."""
    header = [title, f"{OURS} (ms)", *(f"{name} / ours" for name in methods)]

    def row(case: str, seconds: Seconds) -> list[str]:
        ratios = [f"{seconds[m] / seconds[OURS]:.1f}" if m in seconds else "—" for m in methods]
        return [case, f"{1e3 * seconds[OURS]:.2f}", *ratios]

    return markdown_table(header, (row(*item) for item in runs.items()))


def print_tables(timings: Timings) -> None:
    suffix = f"{timings.threads} threads"
    print(table(f"fit, {suffix}", timings.fit, peers.FITS))
    limit = f"{MOST_MATRIX_BYTES / 1e9:.0f} GB"
    print(f"\n—: the lagged matrix would take over {limit}, or the fit minutes.\n")
    print(table(f"apply, {suffix}", timings.apply, peers.FILTERS))
    print("\nPyTorch's own layout (sequence, channel, frame) is made outside its time.\n")
    print(
        table(f"bank, {suffix}", {str(SCALES): timings.bank}, (WARM, COPY, FRESH_COPY)), end="\n\n"
    )


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
    fastmotion.warmup("trajectory")
    measured = [Timings.measure(threads, **options) for threads in arguments.threads]
    for timings in measured:
        print_tables(timings)
    memory = fit_memory()
    text = f"memory of a fit beyond the series ({MEMORY_SAMPLES:.0e}, {MEMORY_TAPS} taps) / series"
    found = [goal for timings in measured for goal in goals(timings)]
    found.append(Goal(text, memory, 1.0))
    if arguments.save:
        by_threads = {t.threads: {"fit": t.fit, "apply": t.apply, "bank": t.bank} for t in measured}
        save_results(
            "speed_trajectory", goals=found, median_seconds=by_threads, memory_in_series=memory
        )
    return report_goals(found)


if __name__ == "__main__":
    sys.exit(main())
