"""End-point and angular error on public image pairs, ours beside the peers'.

    FASTMOTION_DATA=folder python -m bench.accuracy_flow [--methods NAME ...] [--save]

Prints a row per method, then the goals beside the figures. Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench import peers
from bench.cases import MIDDLEBURY, SINTEL, VGA, Case, data_folder, recorded_cases
from bench.peers import ACCURACY_ONLY, METHODS, Method
from bench.report import Goal, choose, report_goals, save_results
from fastmotion.benchmark import markdown_table
from fastmotion.metrics import angular_error, endpoint_error

EVERY = METHODS | choose(ACCURACY_ONLY, {})
# Mean end-point error over the four Middlebury pairs, in pixels.
BOUNDS = {peers.HS_DEFAULT: 0.16, peers.HS_BEST: 0.145, peers.LK_DEFAULT: 0.33}
# A preset that stops at a coarser scale answers to the peer that stops there too.
RIVALS = {
    peers.HS_DEFAULT: peers.DEEPFLOW,
    peers.HS_BEST: peers.DEEPFLOW,
    peers.HS_MEDIUM: peers.DIS_MEDIUM,
    peers.HS_FAST: peers.DIS_FAST,
    peers.LK_DEFAULT: peers.DIS_MEDIUM,
}


@dataclass(frozen=True)
class Accuracy:
    """Errors of one method by pair, in pixels and degrees, and the seconds of all pairs."""

    endpoint: dict[str, float]
    angular: dict[str, float]
    seconds: float

    @property
    def mean_endpoint(self) -> float:
        return mean_endpoint(self.endpoint)

    @property
    def mean_angular(self) -> float:
        return float(np.mean([self.angular[name] for name in MIDDLEBURY]))


def mean_endpoint(endpoint: Mapping[str, float]) -> float:
    return float(np.mean([endpoint[name] for name in MIDDLEBURY]))


def measure(method: Method, cases: Sequence[Case]) -> Accuracy:
    """Run a method on pairs with a known flow."""
    estimate = method.build()
    start = time.perf_counter()
    flows = {case.name: estimate(case.frame0, case.frame1) for case in cases}
    seconds = time.perf_counter() - start
    return Accuracy(
        {case.name: endpoint_error(case.flow, flows[case.name]) for case in cases},
        {case.name: angular_error(case.flow, flows[case.name]) for case in cases},
        seconds,
    )


def hostile_frames(shape: tuple[int, int] = VGA) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Pairs without usable texture: flat, saturated, noise, and changes between them."""
    rng = np.random.default_rng(0)
    black, white = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
    noise = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    saturated = np.where(noise > 127, np.uint8(255), np.uint8(0))
    return (black, black), (black, white), tuple(noise), tuple(saturated), (white, noise[0])


def count_not_finite(method: Method) -> int:
    estimate = method.build()
    return sum(int((~np.isfinite(estimate(*pair))).sum()) for pair in hostile_frames())


def accuracy_table(results: Mapping[str, Accuracy]) -> str:
    header = ["method", *MIDDLEBURY, "mean EPE", "mean AAE", *SINTEL]

    def row(name: str, result: Accuracy) -> list[str]:
        pairs = {pair: f"{error:.3f}" for pair, error in result.endpoint.items()}
        means = [f"**{result.mean_endpoint:.3f}**", f"{result.mean_angular:.2f}°"]
        return [name, *(pairs[p] for p in MIDDLEBURY), *means, *(pairs[p] for p in SINTEL)]

    ranked = sorted(results.items(), key=lambda item: item[1].mean_endpoint)
    return markdown_table(header, [row(*item) for item in ranked])


def goals(results: Mapping[str, Accuracy], not_finite: Mapping[str, int]) -> list[Goal]:
    """Every goal that concerns a measured method of ours."""
    bounds = [
        Goal(f"EPE {name}", results[name].mean_endpoint, bound, "px")
        for name, bound in BOUNDS.items()
        if name in results
    ]
    rivals = [
        Goal(
            f"EPE {name} against {rival}",
            results[name].mean_endpoint,
            results[rival].mean_endpoint,
            "px",
        )
        for name, rival in RIVALS.items()
        if name in results and rival in results
    ]
    finite = [
        Goal(f"values not finite on hostile frames, {name}", count, 0)
        for name, count in not_finite.items()
    ]
    return bounds + rivals + finite


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=EVERY, default=list(EVERY), metavar="NAME")
    parser.add_argument("--save", action="store_true", help="keep the figures")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    if data_folder() is None:
        print("FASTMOTION_DATA is not set: there are no pairs to measure on", file=sys.stderr)
        return 2
    methods = [EVERY[name] for name in arguments.methods]
    cases = list(recorded_cases(MIDDLEBURY + SINTEL))
    results = {}
    for method in methods:
        results[method.name] = measure(method, cases)
        print(f"{method.name}: {results[method.name].seconds:.1f} s", file=sys.stderr)
    print(accuracy_table(results))
    print()
    not_finite = {m.name: count_not_finite(m) for m in methods if m.is_ours}
    found = goals(results, not_finite)
    if arguments.save:
        save_results(
            "accuracy_flow", goals=found, results={n: asdict(r) for n, r in results.items()}
        )
    return report_goals(found)


if __name__ == "__main__":
    sys.exit(main())
