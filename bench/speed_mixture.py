"""Speed of EM for Gaussian mixtures and hidden Markov models, by turns in one process.

    python -m bench.speed_mixture [--parts NAME ...] [--rounds N] [--threads N ...] [--save]

An iteration is a difference: fits of a few and of more iterations from the same start, and what
they return is compared before they are timed. Prints tables of medians in Markdown, then the goals
beside the figures; exits with 1 if a goal is missed. --save writes the figures to bench/results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numba

from bench import peers_mixture
from bench.cases_hmm import BaumWelch, Viterbi
from bench.cases_mixture import OURS, Iterations, WholeFit
from bench.report import Goal, choose, describe_machine, report_goals, save_results
from bench.timing import peak_memory
from fastmotion.benchmark import equal_threads, markdown_table, time_checked
from fastmotion.benchmark import hmm as peers_hmm

SKLEARN, DAAL = peers_mixture.SKLEARN, peers_mixture.DAAL
SCALING, LOG = peers_hmm.SCALING, peers_hmm.LOG
Seconds = Mapping[str, float]

_ITERATIONS = [
    Iterations(100_000, 2, 16),
    Iterations(100_000, 8, 16),
    Iterations(100_000, 32, 16),
    Iterations(20_000, 32, 64),
    Iterations(20_000, 64, 16),
    Iterations(100_000, 8, 16, "diag"),
    Iterations(100_000, 32, 64, "diag"),
    Iterations(100_000, 8, 16, dtype="float32"),
    Iterations(20_000, 32, 64, dtype="float32"),
    Iterations(100_000, 8, 16, "diag", dtype="float32"),
    Iterations(100_000, 8, 16, "tied"),
    Iterations(100_000, 8, 16, "spherical"),
    Iterations(100_000, 32, 16, "tied"),
    Iterations(100_000, 32, 16, "spherical"),
]
ITERATIONS = choose(_ITERATIONS, [Iterations(20_000, 8, 16), Iterations(20_000, 8, 16, "diag")])
# One shape with ever more samples.
GROWTH = [Iterations(n, 8, 16) for n in choose((1000, 10_000, 100_000, 1_000_000), (1000, 10_000))]
_FITS = [
    WholeFit(20_000, 2, 16),
    WholeFit(20_000, 8, 16),
    WholeFit(20_000, 8, 16, "diag"),
    WholeFit(20_000, 32, 16),
    WholeFit(10_000, 64, 16),
]
FITS = choose(_FITS, _FITS[:1])
STATES = choose((4, 16, 64), (4, 16))
ROUNDS, BUDGET = choose((7, 1.0), (2, 0.3))
# Rounds after the first, which is not counted, that every method gets, however slow it is.
LEAST_ROUNDS = 2
# Iterations of the fits whose difference counts.
MIXTURE_ITERATIONS = (1, 6)
HMM_ITERATIONS = (1, 3)

MOST_MEGABYTES = 64
LEAST_SPEED_UP = 1.7
MEMORY_SETUP = """
import warnings
from bench.cases_mixture import mixture
from fastmotion.mixture import GaussianMixture
warnings.simplefilter("ignore")
X = mixture(1_000_000, 8, 16).X
model = GaussianMixture(16, max_iter=5, tol=0.0, random_state=0)
model.fit(X[:20_000])
"""


def least_sklearn_ratio(case: Iterations) -> float | None:
    """How many times as long as ours scikit-learn's iteration should take."""
    if case.covariance_type == "diag":
        return 6.0
    if case.covariance_type != "full":
        return None
    by_features = {2: 15.0, 8: 15.0, 32: 5.5, 64: 3.0}
    return by_features[case.n_features]


def least_hmmlearn_ratio(n_states: int) -> float:
    return 10.0 if n_states >= 16 else 3.0


# --- Timing


def time_iterations(
    case: Iterations | BaumWelch, methods: Iterable[str], counts: tuple[int, int], **options: float
) -> Seconds:
    """Median seconds of one iteration of each method."""
    fits: dict[str, tuple[str, int]] = {
        f"{method}, {n} iterations": (method, n) for method in methods for n in counts
    }
    calls = _available(case.build, fits)
    seconds = time_checked(calls, lambda key, result: case.check(*fits[key], result), **options)
    few, many = counts
    return {
        method: (seconds[key] - seconds[f"{method}, {few} iterations"]) / (many - few)
        for key, (method, n) in fits.items()
        if n == many and key in seconds
    }


def time_fits(case: WholeFit, **options: float) -> tuple[Seconds, dict[str, float]]:
    """Median seconds of one fit of each method, and the log-likelihood that it comes to."""
    scores = {}

    def check(name: str, result: Any) -> None:
        case.check(name, result)
        scores[name] = case.score(result)

    calls = _available(case.build, {name: (name,) for name in case.methods})
    seconds = time_checked(calls, check, **options)
    return {name: s / case.n_fits for name, s in seconds.items()}, scores


def _available(
    build: Callable[..., Callable[[], Any]], arguments: Mapping[str, tuple]
) -> dict[str, Callable[[], Any]]:
    """What is timed, by name, without the libraries that are missing; ours has compiled."""
    calls = {}
    for name, of_this in arguments.items():
        try:
            calls[name] = build(*of_this)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    next(call for name, call in calls.items() if name.startswith(OURS))()
    return calls


def time_alone(**options: float) -> dict[int, Seconds]:
    """Seconds of ours with one thread and with two, in a process that has run no peer yet.

    Theirs leave threads behind that hold a core for a while after each call. A core that has rested
    takes milliseconds to be there again, so there is work for longer.
    """
    alone: dict[int, Seconds] = {1: {}, 2: {}}

    def measure(case: Iterations | BaumWelch | Viterbi, time_case: Callable[[], float]) -> None:
        for threads, seconds in alone.items():
            with equal_threads(threads):
                seconds[str(case)] = time_case()

    for case in ITERATIONS:
        counts = (1, 41 if case.n_features <= 8 else 7)
        measure(case, lambda c=case, n=counts: time_iterations(c, (OURS,), n, **options)[OURS])
    for n_states in STATES:
        chain, paths = BaumWelch(n_states), Viterbi(n_states)
        measure(chain, lambda c=chain: time_iterations(c, (OURS,), (1, 11), **options)[OURS])
        measure(paths, lambda p=paths: _time_many(p, 10, **options))
    return alone


def _time_many(case: Viterbi, repeats: int, **options: float) -> float:
    """Median seconds of one call of ours, of several in a row."""
    call = case.build(OURS)

    def call_often() -> Any:
        for _ in range(repeats - 1):
            call()
        return call()

    return time_checked({OURS: call_often}, case.check, **options)[OURS] / repeats


# --- Parts


@dataclass
class Timings:
    """Everything that is timed with one number of threads, in seconds by case and method."""

    threads: int
    iterations: dict[str, Seconds] = field(default_factory=dict)
    fits: dict[str, Seconds] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    hmm: dict[str, Seconds] = field(default_factory=dict)

    def measure_iterations(self, **options: float) -> None:
        for case in dict.fromkeys([*ITERATIONS, *GROWTH]):
            self.iterations[str(case)] = time_iterations(
                case, case.methods, MIXTURE_ITERATIONS, **options
            )
            self._report(case)

    def measure_fits(self, **options: float) -> None:
        for case in FITS:
            self.fits[str(case)], self.scores[str(case)] = time_fits(case, **options)
            self._report(case)

    def measure_hmm(self, **options: float) -> None:
        for n_states in STATES:
            iterations, paths = BaumWelch(n_states), Viterbi(n_states)
            methods = iterations.methods if self.threads == 1 else (OURS,)
            self.hmm[str(iterations)] = time_iterations(
                iterations, methods, HMM_ITERATIONS, **options
            )
            calls = _available(paths.build, {name: (name,) for name in methods})
            self.hmm[str(paths)] = time_checked(calls, paths.check, **options)
            self._report(f"hidden Markov models, K = {n_states}")

    def take_better(self, fewer: Timings) -> None:
        """Take peers' times with fewer threads where those are shorter.

        Threads that spin while they wait can cost more than they bring.
        """
        for part in PARTS:
            for case, seconds in getattr(self, part).items():
                others = getattr(fewer, part).get(case, {})
                getattr(self, part)[case] = {
                    name: own if name == OURS else min(own, others.get(name, own))
                    for name, own in seconds.items()
                }

    def _report(self, case: object) -> None:
        print(f"{case}, {self.threads} threads: timed", file=sys.stderr)


PARTS: Mapping[str, Callable[..., None]] = {
    "iterations": Timings.measure_iterations,
    "fits": Timings.measure_fits,
    "hmm": Timings.measure_hmm,
}


def fit_megabytes() -> float:
    """Peak memory of a fit of 1e6 samples beyond these, the result included."""
    return max(peak_memory(MEMORY_SETUP, "model.fit(X)").values()) / 1e6


# --- Report


def goals(timings: Timings) -> list[Goal]:
    suffix = f"{timings.threads} thread{'s' if timings.threads > 1 else ''}"
    found = []

    def compare(peer: str, case: object, seconds: Seconds, least: float | None) -> None:
        if least is not None and peer in seconds:
            text = f"time of {peer} / ours, {case}, {suffix}"
            found.append(Goal(text, seconds[peer] / seconds[OURS], least, at_least=True))

    for case in ITERATIONS:
        seconds = timings.iterations.get(str(case), {})
        compare(DAAL, case, seconds, 1.0)
        compare(SKLEARN, case, seconds, least_sklearn_ratio(case))
    for n_states in STATES:
        for case in (BaumWelch(n_states), Viterbi(n_states)):
            seconds = timings.hmm.get(str(case), {})
            compare(SCALING, case, seconds, least_hmmlearn_ratio(n_states))
    return found


def speed_up_goals(alone: Mapping[int, Seconds]) -> list[Goal]:
    """What a second thread has to bring."""
    return [
        Goal(
            f"speed-up by two threads, {case}", one / alone[2][case], LEAST_SPEED_UP, at_least=True
        )
        for case, one in alone[1].items()
    ]


def table(title: str, runs: Mapping[str, Seconds], methods: Sequence[str]) -> str:
    """Milliseconds of each, and how many times as long as ours each peer takes."""
    header = [title, f"{OURS} (ms)"]
    header += [text for name in methods for text in (f"{name} (ms)", "/ ours")]

    def row(case: str, seconds: Seconds) -> list[str]:
        cells = [case, f"{1e3 * seconds[OURS]:.2f}"]
        for name in methods:
            known = name in seconds
            cells.append(f"{1e3 * seconds[name]:.1f}" if known else "—")
            cells.append(f"{seconds[name] / seconds[OURS]:.1f}" if known else "—")
        return cells

    return markdown_table(header, (row(*item) for item in runs.items()))


def score_table(title: str, runs: Mapping[str, Mapping[str, float]]) -> str:
    methods = (OURS, SKLEARN, DAAL)
    rows = (
        [case, *(f"{scores[name]:.4f}" if name in scores else "—" for name in methods)]
        for case, scores in runs.items()
    )
    return markdown_table([title, *methods], rows)


def print_tables(timings: Timings) -> None:
    suffix = f"{timings.threads} threads"
    if timings.iterations:
        title = f"iteration (N, D, K), {suffix}"
        print(table(title, timings.iterations, (SKLEARN, DAAL)), end="\n\n")
    if timings.fits:
        print(table(f"whole fit, {suffix}", timings.fits, (SKLEARN, DAAL)), end="\n\n")
        print(score_table("mean log-likelihood", timings.scores), end="\n\n")
    if timings.hmm:
        print(table(f"hidden Markov model, {suffix}", timings.hmm, (SCALING, LOG)), end="\n\n")


def _arguments() -> argparse.Namespace:
    most = min(2, numba.config.NUMBA_NUM_THREADS)
    parts = ["scaling", *PARTS, "memory"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, most}), metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds per method and case")
    parser.add_argument("--save", action="store_true", help="keep the figures")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    print(describe_machine(), end="\n\n")
    options = {"rounds": arguments.rounds, "budget": arguments.budget, "least": LEAST_ROUNDS}
    print(
        f"Medians of at most {options['rounds']} rounds, until {options['budget']:g} s are used "
        f"and {LEAST_ROUNDS} are done, after a first that is not counted. Peers' times with more "
        "threads are those with fewer where these are shorter. hmmlearn knows one thread only.",
        end="\n\n",
    )
    found = []
    if "scaling" in arguments.parts:
        alone = time_alone(**options)
        found += speed_up_goals(alone)
        if arguments.save:
            save_results("scaling_mixture", goals=found, seconds=alone)
    if arguments.parts == ["scaling"]:
        return report_goals(found)
    measured = [Timings(threads) for threads in sorted(arguments.threads)]
    for i, timings in enumerate(measured):
        with equal_threads(timings.threads, "daal4py"):
            for name, measure in PARTS.items():
                if name in arguments.parts:
                    measure(timings, **options)
        if i:
            timings.take_better(measured[i - 1])
        print_tables(timings)
    found += [goal for timings in measured for goal in goals(timings)]
    results: dict[str, Any] = {"timings": [asdict(timings) for timings in measured]}
    if "memory" in arguments.parts:
        results["memory_megabytes"] = fit_megabytes()
        text = "memory of a fit beyond its samples (1e6, 8, K = 16)"
        found.append(Goal(text, results["memory_megabytes"], MOST_MEGABYTES, "MB"))
    if arguments.save:
        save_results("speed_mixture", goals=found, **results)
    return report_goals(found)


if __name__ == "__main__":
    sys.exit(main())
