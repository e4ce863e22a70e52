"""Speed and accuracy of robust homographies, by turns in one process.

    python -m bench.speed_homography [--rounds N] [--budget SECONDS] [--save]

Matches of a plane with noise of one pixel, and wrong ones; thresholds of three pixels, the same
most trials and confidence, one thread. The error is the root mean square distance, in pixels, of
the image corners from where they belong; it is checked before anything is timed. Prints tables in
Markdown, then the goals beside the figures; exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.report import Goal, choose, describe_machine, report_goals, save_results
from fastmotion.benchmark import equal_threads, markdown_table, time_checked
from fastmotion.epipolar import Homography, transform_points

THRESHOLD, MAX_TRIALS, CONFIDENCE = 3.0, 100_000, 0.9999
WIDTH, HEIGHT = 640.0, 480.0
CORNERS = np.array([[0.0, 0.0], [WIDTH, 0.0], [WIDTH, HEIGHT], [0.0, HEIGHT]])
TRUTH = np.array([[1.0, 0.05, 20.0], [-0.04, 1.02, -10.0], [1e-4, -5e-5, 1.0]])

OURS, OURS_AUTO, RANSAC, MAGSAC = "fastmotion", "fastmotion, auto", "cv2.RANSAC", "cv2.USAC_MAGSAC"
# Errors of fewer pairs are told apart by chance.
_MOST_ERROR_RATIO, _USEFUL = 1.05, 5.0

ROUNDS, BUDGET = choose((9, 3.0), (2, 0.3))
Estimate = Callable[[np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class PlanarFits:
    """Fits of a number of pairs of views of a plane."""

    n_matches: int
    inlier_ratio: float
    n_pairs: int = 20

    def __str__(self) -> str:
        return f"{self.n_matches} matches, ratio {self.inlier_ratio:g}"

    def pairs(self) -> list[np.ndarray]:
        return [self._pair(np.random.default_rng(seed)) for seed in range(self.n_pairs)]

    def _pair(self, rng: np.random.Generator) -> np.ndarray:
        points = rng.uniform([0, 0], [WIDTH, HEIGHT], (self.n_matches, 2))
        matches = np.c_[points, transform_points(TRUTH, points)]
        matches += rng.normal(0, 1, matches.shape)
        wrong = rng.permutation(self.n_matches)[round(self.n_matches * self.inlier_ratio) :]
        matches[wrong, 2:] = rng.uniform([0, 0], [WIDTH, HEIGHT], (len(wrong), 2))
        return matches


_CASES = [
    PlanarFits(200, 0.8),
    PlanarFits(1000, 0.5),
    PlanarFits(1000, 0.2),
    PlanarFits(10_000, 0.5, n_pairs=8),
    PlanarFits(100_000, 0.5, n_pairs=3),
]

CASES = choose(_CASES, _CASES[:2])


def _ours(threshold: float | str) -> Callable[[], Estimate]:
    def build() -> Estimate:
        model = Homography(
            residual_threshold=threshold,
            max_trials=MAX_TRIALS,
            confidence=CONFIDENCE,
            random_state=0,
            n_jobs=1,
        )
        return lambda matches: model.fit(matches).H_

    return build


def _opencv(mode: str) -> Callable[[], Estimate]:
    def build() -> Estimate:
        cv2 = importlib.import_module("cv2")
        options = {"maxIters": MAX_TRIALS, "confidence": CONFIDENCE}

        def estimate(matches: np.ndarray) -> np.ndarray | None:
            points1, points2 = matches[:, :2], matches[:, 2:]
            return cv2.findHomography(points1, points2, getattr(cv2, mode), THRESHOLD, **options)[0]

        return estimate

    return build


def _poselib() -> Estimate:
    poselib = importlib.import_module("poselib")
    options = {
        "max_reproj_error": THRESHOLD, "success_prob": CONFIDENCE, "max_iterations": MAX_TRIALS,
    }  # fmt: skip
    return lambda m: poselib.estimate_homography(m[:, :2], m[:, 2:], options, {})[0]


def _scikit_image() -> Estimate:
    measure = importlib.import_module("skimage.measure")
    transform = importlib.import_module("skimage.transform")

    def estimate(matches: np.ndarray) -> np.ndarray | None:
        model, _ = measure.ransac(
            (matches[:, :2], matches[:, 2:]),
            transform.ProjectiveTransform,
            min_samples=4,
            residual_threshold=THRESHOLD,
            max_trials=1000,
            stop_probability=CONFIDENCE,
            rng=0,
        )
        return None if model is None else model.params

    return estimate


METHODS: dict[str, Callable[[], Estimate]] = {
    OURS: _ours(THRESHOLD),
    OURS_AUTO: _ours("auto"),
    RANSAC: _opencv("RANSAC"),
    MAGSAC: _opencv("USAC_MAGSAC"),
    "cv2.USAC_FAST": _opencv("USAC_FAST"),
    "cv2.USAC_ACCURATE": _opencv("USAC_ACCURATE"),
    "poselib": _poselib,
    "scikit-image": _scikit_image,
}


def methods_of(case: PlanarFits) -> list[str]:
    """Those that come to an end in time."""
    slow = set() if case.n_matches <= 1000 and case.inlier_ratio >= 0.5 else {"scikit-image"}
    if case.n_matches > 10_000:
        slow |= {"poselib", "cv2.USAC_ACCURATE"}
    return [name for name in METHODS if name not in slow]


def corner_error(found: list[np.ndarray | None]) -> float:
    """Root mean square over pairs and corners, pixels."""
    if any(H is None for H in found):
        return float("inf")
    wanted = transform_points(TRUTH, CORNERS)
    squares = [((transform_points(H, CORNERS) - wanted) ** 2).sum(axis=1) for H in found]
    return float(np.sqrt(np.mean(squares)))


def time_case(case: PlanarFits, **options: float) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of one pair, and the error of the corners, of each method."""
    pairs, errors = case.pairs(), {}
    calls: dict[str, Callable[[], Any]] = {}
    for name in methods_of(case):
        try:
            estimate = METHODS[name]()
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        calls[name] = lambda estimate=estimate: [estimate(matches) for matches in pairs]
    for name in (OURS, OURS_AUTO):
        calls[name]()  # compiles

    def check(name: str, found: list[np.ndarray | None]) -> None:
        errors[name] = corner_error(found)
        if name in (OURS, OURS_AUTO) and not errors[name] < _USEFUL:
            raise AssertionError(f"{name}, {case}: corners are off by {errors[name]:.3g} px")

    seconds = time_checked(calls, check, **options)
    print(f"{case}: timed", file=sys.stderr)
    return {name: taken / case.n_pairs for name, taken in seconds.items()}, errors


def table(title: str, figures: dict[str, dict[str, float]], scale: float = 1.0) -> str:
    rows = [
        [name, *(f"{scale * row[name]:.3g}" if name in row else "–" for row in figures.values())]
        for name in METHODS
    ]
    return markdown_table([title, *figures], rows)


def goals(seconds: dict[str, dict[str, float]], errors: dict[str, dict[str, float]]) -> list[Goal]:
    found = []
    for case, row in seconds.items():
        for peer in (RANSAC, MAGSAC, "poselib"):
            if peer not in row:
                continue
            found.append(Goal(f"{case}: time beside {peer}", row[OURS] / row[peer], 1.0))
            ratio = errors[case][OURS] / errors[case][peer]
            found.append(Goal(f"{case}: error beside {peer}", ratio, _MOST_ERROR_RATIO))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--budget", type=float, default=BUDGET, help="seconds of each method and case"
    )
    parser.add_argument("--save", action="store_true", help="keep the figures")
    arguments = parser.parse_args()
    print(describe_machine(), end="\n\n")
    seconds: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    with equal_threads(1, "cv2"):
        for case in CASES:
            options = {"rounds": arguments.rounds, "budget": arguments.budget}
            seconds[str(case)], errors[str(case)] = time_case(case, **options)
    print(table("ms per pair, one thread", seconds, 1e3), end="\n\n")
    print(table("error of the corners (px)", errors), end="\n\n")
    found = goals(seconds, errors)
    if arguments.save:
        save_results("speed_homography", goals=found, seconds=seconds, errors=errors)
    return report_goals(found)


if __name__ == "__main__":
    sys.exit(main())
