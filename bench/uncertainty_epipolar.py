"""Covariances of fundamental matrices and epipolar bands, beside Monte Carlo.

    python -m bench.uncertainty_epipolar [--tasks NAME ...] [--save]

Prints a table of each task, then the goals beside the figures. Exits with 1 if a goal is missed.
A cell of a table is a scene, a noise and a number of right matches, drawn 320 to 1280 times: the
noise (and the wrong matches) anew each time, the points and cameras in four ways.

"trace ratio" is the trace of the covariance, the mean over the runs, divided by the mean squared
error of F. The latter would be uncertain by 10 % after 300 runs, were not the part of the error
that is linear in the noise replaced by its expectation, which is known (a control variate). "error
ratio" is that error, divided by what noise gives to first order from right matches alone; "lost"
counts searches that ended at another F (%), of which the covariance does not speak: they are left
out of the other figures, and may be few only.
"line", "point" and "match" are the shares (%) of bands of 95 % that hold the whole true line, the
true point of it that matches, and the measured match of a measured point.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from bench.report import Goal, choose
from bench.tasks import Figures, Result, read_arguments, run_tasks
from fastmotion.datasets import make_two_view
from fastmotion.epipolar import FundamentalMatrix
from fastmotion.epipolar.bands import epipolar_band, line_covariance
from fastmotion.epipolar.estimation import normalise_fundamental
from fastmotion.epipolar.uncertainty import (
    fundamental_covariance,
    sampson_jacobian,
    tangent_basis,
)

SCENES = ("general", "forward")
NOISES = (0.5, 1.0, 2.0)
NUMBERS = (50, 200, 1000)
N_SCENES = 4
# By number of matches. All lines of a run share their error, so that coverage takes many runs.
RUNS = choose({50: 1280, 200: 640, 1000: 320}, {50: 64, 200: 32, 1000: 16})
INLIER_RATIO = 0.5
# Fresh points of each run whose bands are looked at.
N_POINTS = 10
PROBABILITY = 0.95
# Of chi-squared with the two degrees of freedom of a line.
QUANTILE = -2 * np.log(1 - PROBABILITY)
MOST_TRACE, LEAST_TRACE = 1.1, 0.9
MOST_COVERAGE, LEAST_COVERAGE = 97.0, 92.0
MOST_LOST = 2.0
# A search that ends this many standard deviations away has found another F.
FAILED = 100.0
IMAGE_SIZE = np.array([1000.0, 750.0])


@dataclass(frozen=True)
class Scene:
    """Exact matches of one scene, fresh ones beside, and what noise does to first order."""

    exact: np.ndarray
    fresh: np.ndarray
    F: np.ndarray
    response: np.ndarray
    covariance: np.ndarray

    @classmethod
    def make(cls, name: str, n_matches: int, noise: float, seed: int) -> Scene:
        view = make_two_view(
            name,
            n_matches=n_matches + N_POINTS,
            inlier_ratio=1.0,
            noise=0.0,
            image_size=tuple(IMAGE_SIZE.astype(int)),
            random_state=seed,
        )
        exact, fresh = np.split(view.exact, [n_matches])
        _, jacobian = sampson_jacobian(view.F, exact)
        basis = tangent_basis(view.F)
        inside = jacobian @ basis
        # Columns of derivatives differ by six digits in pixels.
        scale = np.linalg.norm(inside, axis=0)
        response = basis @ (np.linalg.pinv(inside / scale) / scale[:, np.newaxis])
        return cls(exact, fresh, view.F, response, noise**2 * response @ response.T)


@dataclass(frozen=True)
class Estimate:
    F: np.ndarray
    covariance: np.ndarray
    noise_scale: float


def least_squares(scene: Scene, matches: np.ndarray) -> Estimate:
    """The maximum-likelihood estimate from right matches alone."""
    # In coordinates of about one, where Gauss-Newton steps are well conditioned.
    scale = IMAGE_SIZE.max() / 2
    to_pixels = np.array([[scale, 0, IMAGE_SIZE[0] / 2], [0, scale, IMAGE_SIZE[1] / 2], [0, 0, 1]])
    from_pixels = np.linalg.inv(to_pixels)
    points = (matches - np.tile(IMAGE_SIZE / 2, 2)) / scale
    F = to_pixels.T @ scene.F @ to_pixels
    for _ in range(6):
        F = F / np.linalg.norm(F)
        distances, jacobian = sampson_jacobian(F, points)
        basis = tangent_basis(F)
        step = np.linalg.lstsq(jacobian @ basis, distances)[0]
        left, values, right = np.linalg.svd(F - (basis @ step).reshape(3, 3))
        F = (left[:, :2] * values[:2]) @ right[:2]
    F = normalise_fundamental(from_pixels.T @ F @ from_pixels)
    distances, _ = sampson_jacobian(F, matches)
    noise_scale = np.sqrt(np.sum(distances**2) / (len(matches) - 7))
    return Estimate(F, fundamental_covariance(F, matches), noise_scale)


def robust(noise: float, right: np.ndarray, rng: np.random.Generator) -> Estimate:
    """What the estimator makes of right matches among wrong ones."""
    n_wrong = round(len(right) * (1 / INLIER_RATIO - 1))
    wrong = rng.uniform(0, np.tile(IMAGE_SIZE, 2), (n_wrong, 4))
    matches = rng.permutation(np.concatenate([right, wrong]))
    model = FundamentalMatrix(
        residual_threshold=2 * noise, random_state=int(rng.integers(2**31 - 1)), n_jobs=1
    ).fit(matches)
    return Estimate(model.F_, model.covariance_, model.noise_scale_)


@dataclass(frozen=True)
class Run:
    """Figures of one estimate."""

    error: float
    linear_error: float
    expected: float
    claimed: float
    is_lost: bool
    line: np.ndarray
    point: np.ndarray
    match: np.ndarray


def one_run(scene: Scene, noise: float, is_robust: bool, seed: list[int]) -> Run:
    rng = np.random.default_rng(seed)
    matches = scene.exact + rng.normal(0, noise, scene.exact.shape)
    estimate = robust(noise, matches, rng) if is_robust else least_squares(scene, matches)
    F = estimate.F * np.sign(np.vdot(estimate.F, scene.F))
    error = (F - scene.F).ravel()
    linear = scene.response @ sampson_jacobian(scene.F, matches)[0]
    expected = float(np.trace(scene.covariance))
    noisy = scene.fresh + rng.normal(0, noise, scene.fresh.shape)

    def holds(points: np.ndarray, noise_scale: float) -> np.ndarray:
        band = epipolar_band(
            F, estimate.covariance, points[:, :2], probability=PROBABILITY, noise_scale=noise_scale
        )
        return band.contains(points[:, 2:])

    return Run(
        error=float(error @ error),
        linear_error=float(linear @ linear),
        expected=expected,
        claimed=float(np.trace(estimate.covariance)),
        is_lost=bool(error @ error > FAILED**2 * expected),
        line=holds_lines(scene, F, estimate.covariance),
        point=holds(scene.fresh, 0.0),
        match=holds(noisy, estimate.noise_scale),
    )


def holds_lines(scene: Scene, F: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Whether the bands of fresh points hold the whole true lines."""
    points = scene.fresh[:, :2]
    found, true = (epipolar_band(G, covariance, points).lines for G in (F, scene.F))
    true = true * np.sign(np.sum(found[:, :2] * true[:, :2], axis=1))[:, np.newaxis]
    spread = line_covariance(F, covariance, points)
    inside = []
    for i, difference in enumerate(true - found):
        # The two eigenvectors of the line's covariance; in pixels, c varies far more than a and b.
        scale = np.array([IMAGE_SIZE.max(), IMAGE_SIZE.max(), 1.0])
        values, vectors = np.linalg.eigh(spread[i] * np.outer(scale, scale))
        parts = vectors[:, 1:].T @ (difference * scale)
        inside.append(np.sum(parts**2 / values[1:]) <= QUANTILE)
    return np.array(inside)


def summary(runs: Iterable[Run]) -> dict[str, float]:
    """Figures of a cell."""
    every = list(runs)
    kept = [run for run in every if not run.is_lost]

    def total(of: Callable[[Run], float]) -> float:
        # Scenes are of different sizes; what noise does to first order makes them comparable.
        return float(np.mean([of(run) / run.expected for run in kept]))

    def share(of: Callable[[Run], np.ndarray]) -> float:
        return 100 * float(np.mean([of(run) for run in kept]))

    error = total(lambda run: run.error - run.linear_error) + 1
    return {
        "trace ratio": total(lambda run: run.claimed) / error,
        "error ratio": error,
        "line": share(lambda run: run.line),
        "point": share(lambda run: run.point),
        "match": share(lambda run: run.match),
        "lost": 100 * (1 - len(kept) / len(every)),
    }


def cells() -> Iterator[tuple[str, float, int]]:
    for name in SCENES:
        for noise in NOISES:
            for number in NUMBERS:
                yield name, noise, number


def run_cell(name: str, noise: float, number: int, is_robust: bool) -> dict[str, float]:
    scenes = [Scene.make(name, number, noise, seed) for seed in range(N_SCENES)]
    return summary(
        one_run(scenes[run % N_SCENES], noise, is_robust, [run, number])
        for run in range(RUNS[number])
    )


def covariance_task(is_robust: bool) -> Result:
    results = Parallel(n_jobs=2)(delayed(run_cell)(*cell, is_robust) for cell in cells())
    figures: Figures = {}
    goals = []
    for (name, noise, number), figure in zip(cells(), results):
        row = f"{name}, {noise:g} px, n = {number}"
        figures[row] = figure
        goals += [
            Goal(f"{row}: trace ratio", figure["trace ratio"], MOST_TRACE),
            Goal(f"{row}: trace ratio", figure["trace ratio"], LEAST_TRACE, at_least=True),
            Goal(f"{row}: lost", figure["lost"], MOST_LOST, "%"),
        ]
        for kind in ("line", "point", "match"):
            text = f"{row}: coverage, {kind}"
            goals += [
                Goal(text, figure[kind], MOST_COVERAGE, "%"),
                Goal(text, figure[kind], LEAST_COVERAGE, "%", at_least=True),
            ]
    part = f"after the search, ratio {INLIER_RATIO:g}" if is_robust else "right matches alone"
    return Result(f"covariance, {part}", figures, goals)


def inliers() -> Result:
    """Least squares on the right matches alone."""
    return covariance_task(is_robust=False)


def selected() -> Result:
    """`FundamentalMatrix`, half of whose matches are wrong."""
    return covariance_task(is_robust=True)


TASKS: Mapping[str, Callable[[], Result]] = {task.__name__: task for task in (inliers, selected)}


def main() -> int:
    arguments = read_arguments("uncertainty_epipolar", __doc__.splitlines()[0], TASKS)
    return run_tasks("uncertainty_epipolar", TASKS, arguments.tasks, ".3g", arguments.save)


if __name__ == "__main__":
    sys.exit(main())
