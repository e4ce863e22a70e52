"""RANSAC as it is written with an array library: all samples of many pairs of images at once.

Fundamental matrices come from samples of eight matches, homographies from samples of four, in
coordinates that are normalised by all matches of a pair. All models of a pair are scored by
truncated squared distances on all its matches (MSAC); the best one is refitted to its inliers.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.gpu_libraries import Array, Library, Torch

# Elements of the largest array, of models by matches, that is made for some pairs at a time.
_BLOCK = 6e7
_REFITS = 5


@dataclass(frozen=True)
class Problem:
    """What is sought: 3×3 matrices, from matches of shape (n_pairs, n_matches, 4)."""

    name: str
    sample_size: int
    equations: Callable[[Library, Array], Array]
    """From matches (..., 4) to coefficients of the linear equations, (..., n_equations, 9)."""
    distances: Callable[[Library, Array, Array], Array]
    """Squared, of models (p, m, 3, 3) and matches (p, n, 4): (p, m, n)."""
    restore: Callable[[Library, Array, _Scaling, _Scaling], Array]
    """Models in pixels (p, m, 3, 3) from models in normalised coordinates of both images."""
    has_rank_two: bool


def n_trials(sample_size: int, inlier_ratio: float, confidence: float) -> int:
    """Samples after which one has been right with this probability."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-(inlier_ratio**sample_size)))


# --- Solving

# From equations (..., 8, 9) to their solution of any scale, (..., 9).
Solver = Callable[[Library, Array], Array]


def by_svd(library: Library, equations: Array) -> Array:
    """The right singular vector of no singular value."""
    return library.xp.linalg.svd(equations)[2][..., -1, :]


def by_elimination(library: Library, equations: Array) -> Array:
    """With 1 for the last unknown."""
    known = library.xp.linalg.solve(equations[..., :8], -equations[..., 8:])[..., 0]
    return library.xp.concatenate([known, library.xp.ones_like(known[..., :1])], -1)


def ransac(
    library: Library,
    problem: Problem,
    solve: Solver,
    matches: Array,
    n_trials: int,
    threshold: float,
) -> np.ndarray:
    """Return one matrix for each pair, (n_pairs, 3, 3).

    Parameters
    ----------
    matches : float32 array of shape (n_pairs, n_matches, 4)
    """
    n_pairs, n_matches = matches.shape[:2]
    size = max(1, int(_BLOCK / (n_trials * n_matches)))
    blocks = [
        _ransac_block(
            library, problem, solve, matches[first : first + size], n_trials, threshold, first
        )
        for first in range(0, n_pairs, size)
    ]
    return np.concatenate(blocks)


def _ransac_block(
    library: Library,
    problem: Problem,
    solve: Solver,
    matches: Array,
    n_trials: int,
    threshold: float,
    seed: int,
) -> np.ndarray:
    n_pairs, n_matches = matches.shape[:2]
    scaling1 = _Scaling(library, matches[..., :2])
    scaling2 = _Scaling(library, matches[..., 2:])
    normalised = library.xp.concatenate(
        [scaling1.apply(matches[..., :2]), scaling2.apply(matches[..., 2:])], -1
    )
    equations = problem.equations(library, normalised)
    which = library.put(np.arange(n_pairs))[:, None, None]
    drawn = library.samples(n_matches, (n_pairs, n_trials, problem.sample_size), seed)
    samples = equations[which, drawn].reshape(n_pairs, n_trials, 8, 9)
    models = solve(library, samples).reshape(n_pairs, n_trials, 3, 3)
    models = problem.restore(library, models, scaling1, scaling2)

    squares = problem.distances(library, models, matches) / threshold**2
    # Not a number counts as far away.
    scores = library.xp.where(squares < 1, 1 - squares, 0.0).sum(axis=2)
    best = models[which[:, 0, 0], scores.argmax(1)][:, None]
    for _ in range(_REFITS):
        is_near = problem.distances(library, best, matches)[:, 0] < threshold**2
        best = _refit(library, problem, equations, is_near)
        best = problem.restore(library, best[:, None], scaling1, scaling2)
    return library.fetch(best[:, 0])


def _refit(library: Library, problem: Problem, equations: Array, is_near: Array) -> Array:
    """Linear least squares over the matches that are near, (p, 3, 3)."""
    rows = equations * is_near[:, :, None, None]
    rows = library.double(rows).reshape(len(rows), -1, 9)
    _, vectors = library.xp.linalg.eigh(library.transposed(rows) @ rows)
    models = vectors[:, :, 0].reshape(-1, 3, 3)
    if problem.has_rank_two:
        left, values, right = library.xp.linalg.svd(models)
        models = (left[:, :, :2] * values[:, None, :2]) @ right[:, :2]
    return library.single(models)


class _Scaling:
    """Shift and scale that take the points of an image, (p, n, 2), to their centre and a size."""

    def __init__(self, library: Library, points: Array) -> None:
        self.centre = points.mean(axis=1)
        offset = points - self.centre[:, None]
        spread = library.xp.sqrt((offset**2).sum(axis=2)).mean(axis=1)
        self.scale = math.sqrt(2) / spread
        self._library = library

    def apply(self, points: Array) -> Array:
        return (points - self.centre[:, None]) * self.scale[:, None, None]

    @property
    def matrix(self) -> Array:
        """(p, 1, 3, 3)."""
        scale, shift = self.scale, -self.scale[:, None] * self.centre
        return self._matrix(scale, shift)

    @property
    def inverse(self) -> Array:
        return self._matrix(1 / self.scale, self.centre)

    def _matrix(self, scale: Array, shift: Array) -> Array:
        one, zero = self._library.xp.ones_like(scale), self._library.xp.zeros_like(scale)
        entries = [scale, zero, shift[:, 0], zero, scale, shift[:, 1], zero, zero, one]
        return self._library.xp.stack(entries, -1).reshape(-1, 1, 3, 3)


# --- Both problems


def _coordinates(library: Library, matches: Array) -> tuple[Array, ...]:
    x1 = matches[..., 0]
    one, zero = library.xp.ones_like(x1), library.xp.zeros_like(x1)
    return x1, matches[..., 1], matches[..., 2], matches[..., 3], one, zero


def _epipolar_equations(library: Library, matches: Array) -> Array:
    x1, y1, x2, y2, one, _ = _coordinates(library, matches)
    row = [x2 * x1, x2 * y1, x2, y2 * x1, y2 * y1, y2, x1, y1, one]
    return library.xp.stack(row, -1)[..., None, :]


def _planar_equations(library: Library, matches: Array) -> Array:
    x1, y1, x2, y2, one, zero = _coordinates(library, matches)
    for_x = [x1, y1, one, zero, zero, zero, -x2 * x1, -x2 * y1, -x2]
    for_y = [zero, zero, zero, x1, y1, one, -y2 * x1, -y2 * y1, -y2]
    return library.xp.stack([library.xp.stack(row, -1) for row in (for_x, for_y)], -2)


def _homogeneous(library: Library, points: Array) -> Array:
    """As columns, (p, 3, n)."""
    x, y = points[..., 0], points[..., 1]
    return library.xp.stack([x, y, library.xp.ones_like(x)], -2)


def _products(models: Array, columns: Array) -> Array:
    """Of models (p, m, r, 3) and columns (p, 3, n): (p, m, r, n), by one matrix product a pair."""
    p, m, r, _ = models.shape
    return (models.reshape(p, m * r, 3) @ columns).reshape(p, m, r, -1)


def _sampson(library: Library, models: Array, matches: Array) -> Array:
    points2 = _homogeneous(library, matches[..., 2:])
    lines2 = _products(models, _homogeneous(library, matches[..., :2]))
    lines1 = _products(library.transposed(models)[:, :, :2], points2)
    algebraic = (lines2 * points2[:, None]).sum(axis=2)
    gradient = (lines2[:, :, :2] ** 2).sum(axis=2) + (lines1**2).sum(axis=2)
    return algebraic**2 / gradient


def _transfer(library: Library, models: Array, matches: Array) -> Array:
    """From where the first image's points are mapped to, to the second image's points."""
    mapped = _products(models, _homogeneous(library, matches[..., :2]))
    points2 = library.transposed(matches[..., 2:])[:, None]
    return ((mapped[:, :, :2] / mapped[:, :, 2:] - points2) ** 2).sum(axis=2)


def _restore_fundamental(
    library: Library, models: Array, scaling1: _Scaling, scaling2: _Scaling
) -> Array:
    return library.transposed(scaling2.matrix) @ models @ scaling1.matrix


def _restore_homography(_: Library, models: Array, scaling1: _Scaling, scaling2: _Scaling) -> Array:
    return scaling2.inverse @ models @ scaling1.matrix


FUNDAMENTAL = Problem(
    "fundamental", 8, _epipolar_equations, _sampson, _restore_fundamental, has_rank_two=True
)
HOMOGRAPHY = Problem(
    "homography", 4, _planar_equations, _transfer, _restore_homography, has_rank_two=False
)


# --- kornia


def build_kornia(problem: Problem, threshold: float, confidence: float) -> Callable[..., list]:
    """Return what fits one pair after another with its class; ImportError where it is missing."""
    geometry = importlib.import_module("kornia.geometry")
    estimate = geometry.RANSAC(
        problem.name, inl_th=threshold, max_iter=50, confidence=confidence, seed=0
    )

    def fit(library: Torch, matches: Array) -> list[np.ndarray]:
        return [library.fetch(estimate(pair[:, :2], pair[:, 2:])[0]) for pair in matches]

    return fit
