"""What is measured of two-view geometry: scenes and photographs with known cameras.

A pair is anything with ``matches``, ``quality``, and the cameras ``K1``, ``K2``, ``R`` and ``t``,
such as what `make_two_view` returns.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from bench import peers_epipolar as peers
from bench.cases import data_folder
from bench.peers_epipolar import Estimate, Method, Settings
from bench.report import RESULTS
from fastmotion import epipolar
from fastmotion.core.parallel import thread_map
from fastmotion.datasets import make_two_view

OURS, OURS_PROSAC, OURS_AUTO = "fastmotion", "fastmotion+PROSAC", "fastmotion, auto"

# Points closer than this to their epipolar lines decide which of four poses it is, pixels.
_NEAR = 3.0
# Of a pose that was not found, degrees.
_WORST = 180.0


# --- Ours, and all others


def _ours(use_quality: bool, **options: Any) -> Callable[[], Estimate]:
    def build() -> Estimate:
        def estimate(
            matches: np.ndarray, quality: np.ndarray | None, settings: Settings
        ) -> np.ndarray:
            arguments = {
                "residual_threshold": settings.threshold,
                "max_trials": settings.max_trials,
                "confidence": settings.confidence,
                "random_state": settings.seed,
            }
            model = epipolar.FundamentalMatrix(**arguments | options)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", epipolar.DegenerateMatchesWarning)
                return model.fit(matches, quality=quality if use_quality else None).F_

        return estimate

    return build


METHODS: Mapping[str, Method] = {
    OURS: Method(OURS, _ours(use_quality=False)),
    OURS_AUTO: Method(OURS_AUTO, _ours(use_quality=False, residual_threshold="auto")),
    OURS_PROSAC: Method(OURS_PROSAC, _ours(use_quality=True), uses_quality=True),
} | peers.METHODS


# --- Thresholds

# The AUC of every method at every threshold of a grid, as bench.tune_epipolar has found it.
TUNED = RESULTS / "thresholds_epipolar.json"
SCENES = "scenes"
# Areas that differ by less tell nothing about which threshold is better, percent.
_EQUAL = 0.5


@functools.cache
def _areas() -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(TUNED.read_text())


def tuned(method: str, *sets: str) -> float:
    """The threshold at which a method has done best on the sets together, pixels.

    The sets are SCENES, where the noise is one pixel, and PLACES. Of thresholds that do equally
    well, it is the middle one.
    """
    if method == OURS_AUTO:
        method = OURS
    areas = [_areas()[method][name] for name in sets]
    common = set.intersection(*map(set, areas))
    means = {float(key): sum(area[key] for area in areas) / len(areas) for key in common}
    best = max(means.values())
    equal = sorted(threshold for threshold, mean in means.items() if mean > best - _EQUAL)
    return equal[len(equal) // 2]


# --- Pairs


@dataclass(frozen=True)
class Cell:
    """Scenes of one kind."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def noise(self) -> float:
        return self.options.get("noise", 1.0)

    def view(self, seed: int) -> Any:
        return make_two_view(random_state=seed, **self.options)


CELLS = {
    cell.name: cell
    for cell in (
        Cell("ratio .8", {"inlier_ratio": 0.8}),
        Cell("ratio .5"),
        Cell("ratio .3", {"inlier_ratio": 0.3}),
        Cell("ratio .2", {"inlier_ratio": 0.2}),
        Cell("noise 2 px", {"noise": 2.0}),
        Cell("plane, ratio .5", {"scene": "plane"}),
        Cell("plane, ratio .3", {"scene": "plane", "inlier_ratio": 0.3}),
        Cell("rotation", {"scene": "rotation"}),
    )
}


@dataclass(frozen=True)
class PhotographPair:
    """Matches of two photographs whose cameras are known."""

    name: str
    matches: np.ndarray
    quality: np.ndarray
    K1: np.ndarray
    K2: np.ndarray
    R: np.ndarray
    t: np.ndarray


PLACES = ("fountain-P11", "Herz-Jesus-P8")


def strecha_pairs(place: str) -> list[PhotographPair]:
    """Pairs of a place that Strecha et al. (2008) surveyed, from FASTMOTION_DATA/epipolar."""
    return [_read_strecha(path) for path in sorted(_folder().glob(f"strecha_{place}_*.npz"))]


def _read_strecha(path: Path) -> PhotographPair:
    with np.load(path) as file:
        return PhotographPair(
            path.stem.removeprefix("strecha_"),
            np.hstack([file["x1"], file["x2"]]),
            1 - file["ratio"].astype(float),
            *(file[key] for key in ("K1", "K2", "R", "t")),
        )


@dataclass(frozen=True)
class CheckedPair:
    """Matches of two photographs, and points of them that were set by hand."""

    name: str
    matches: np.ndarray
    checked: np.ndarray


def kusvod2_pairs() -> list[CheckedPair]:
    """Pairs of the set kusvod2, from FASTMOTION_DATA/epipolar/kusvod2."""
    return [_read_kusvod2(path) for path in sorted((_folder() / "kusvod2").glob("*_pts.txt"))]


def _read_kusvod2(path: Path) -> CheckedPair:
    name = path.name.removesuffix("_pts.txt")
    rows = np.loadtxt(path)
    points = loadmat(path.with_name(f"{name}_vpts.mat"))["validation"]["pts"][0, 0].T
    # The rows with a label are the points set by hand once more.
    return CheckedPair(name, rows[rows[:, 6] == 0][:, [0, 1, 3, 4]], points[:, [0, 1, 3, 4]])


def _folder() -> Path:
    folder = data_folder("epipolar")
    if folder is None:
        raise FileNotFoundError("set FASTMOTION_DATA to the folder that holds epipolar/")
    return folder


# --- What is timed

# Where as many matches are right, every method has a median error below this, degrees.
_USEFUL = 5.0
_LEAST_USEFUL_RATIO = 0.3


@dataclass(frozen=True)
class RobustFits:
    """Fits of a number of pairs of one kind."""

    n_matches: int = 1000
    inlier_ratio: float = 0.5
    scene: str = "general"
    n_pairs: int = 8
    in_batch: bool = False
    """Whether ours takes all pairs in one call; the others are called from as many threads."""

    def __str__(self) -> str:
        text = f"{self.n_matches // 1000}k, ratio {self.inlier_ratio:g}"
        if self.scene != "general":
            text += f", {self.scene}"
        return f"{text}, batch of {self.n_pairs}" if self.in_batch else text

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that come to an end, and to a result."""
        left_out = {OURS_AUTO, peers.RANSAC}
        if self.inlier_ratio < 0.8 or self.n_matches > 1000:
            left_out.add(peers.SKIMAGE)
        if self.in_batch or self.n_matches > 10_000:
            left_out |= {name for name, method in METHODS.items() if method.is_slow}
        if self.n_matches > 10_000:
            left_out.add(peers.ACCURATE)  # it ends the process (OpenCV 5.0)
        if self.in_batch:
            left_out.add(OURS_PROSAC)
        return tuple(name for name in METHODS if name not in left_out)

    def build(self, name: str) -> Callable[[], list[np.ndarray | None]]:
        """Return what is timed; ImportError where the library is missing."""
        views = _views(self)
        settings = Settings(tuned(name, SCENES))
        if self.in_batch and name == OURS:
            model = epipolar.FundamentalMatrix(
                residual_threshold=settings.threshold,
                max_trials=settings.max_trials,
                confidence=settings.confidence,
                random_state=settings.seed,
            )
            all_matches = [view.matches for view in views]
            return lambda: [fitted.F_ for fitted in model.fit_batch(all_matches)]
        estimate = METHODS[name].build()

        def estimate_one(view: Any) -> np.ndarray | None:
            return estimate(view.matches, view.quality, settings)

        if self.in_batch:
            return lambda: thread_map(estimate_one, views)
        return lambda: [estimate_one(view) for view in views]

    def check(self, name: str, found: list[np.ndarray | None]) -> None:
        """Raise unless most results are useful, where they can be."""
        error = self.median_error(found)
        if self.inlier_ratio >= _LEAST_USEFUL_RATIO and not error < _USEFUL:
            raise AssertionError(f"{name}, {self}: median pose error of {error:.3g}°")

    def median_error(self, found: list[np.ndarray | None]) -> float:
        """Of the poses, degrees."""
        pairs = zip(found, _views(self), strict=True)
        return float(np.median([pose_error(F, view) for F, view in pairs]))


@functools.lru_cache(maxsize=2)
def _views(case: RobustFits) -> list[Any]:
    return [
        make_two_view(
            case.scene, n_matches=case.n_matches, inlier_ratio=case.inlier_ratio, random_state=seed
        )
        for seed in range(case.n_pairs)
    ]


# --- How good an F is


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.column_stack([points, np.ones(len(points))])


def line_distances(F: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Distances of the points in both images to their epipolar lines, of shape (n, 2), pixels."""
    x1, x2 = _homogeneous(matches[:, :2]), _homogeneous(matches[:, 2:])
    lines2, lines1 = x1 @ F.T, x2 @ F
    algebraic = abs((x2 * lines2).sum(axis=1))
    lengths = [np.hypot(lines[:, 0], lines[:, 1]) for lines in (lines1, lines2)]
    return algebraic[:, np.newaxis] / np.column_stack(lengths)


def pose_error(F: np.ndarray | None, pair: Any) -> float:
    """The larger of the angles, in degrees, by which rotation and direction of motion are off.

    The intrinsic matrices are known. The direction counts without its sign.
    """
    if F is None:
        return _WORST
    R, t = _pose(pair.K2.T @ F @ pair.K1, _rays_near(F, pair))
    turn = np.arccos(np.clip((np.trace(R.T @ pair.R) - 1) / 2, -1, 1))
    direction = np.arccos(np.clip(abs(t @ pair.t) / np.linalg.norm(pair.t), 0, 1))
    return float(np.rad2deg(max(turn, direction)))


def _rays_near(F: np.ndarray, pair: Any) -> tuple[np.ndarray, np.ndarray]:
    """The rays of matches that agree with F, of shape (n, 3) for each camera."""
    matches = pair.matches[line_distances(F, pair.matches).max(axis=1) < _NEAR]
    rays1 = np.linalg.solve(pair.K1, _homogeneous(matches[:, :2]).T).T
    rays2 = np.linalg.solve(pair.K2, _homogeneous(matches[:, 2:]).T).T
    return rays1, rays2


def _pose(E: np.ndarray, rays: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of the four poses of an essential matrix, that with the most points before both cameras."""
    U, _, Vt = np.linalg.svd(E)
    U, Vt = U * np.sign(np.linalg.det(U)), Vt * np.sign(np.linalg.det(Vt))
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    poses = [(U @ W @ Vt, t) for W in (quarter, quarter.T) for t in (U[:, 2], -U[:, 2])]
    return max(poses, key=lambda pose: _n_before(*pose, *rays))


def _n_before(R: np.ndarray, t: np.ndarray, rays1: np.ndarray, rays2: np.ndarray) -> int:
    """How many rays meet before both cameras: depth2 * ray2 = depth1 * R @ ray1 + t."""
    turned = rays1 @ R.T
    normal = np.cross(turned, rays2)
    depth1 = (np.cross(rays2, t) * normal).sum(axis=1)
    depth2 = (np.cross(turned, t) * normal).sum(axis=1)
    return int(np.count_nonzero((depth1 > 0) & (depth2 > 0)))


def area_under_recall(errors: Sequence[float], most: float) -> float:
    """The area under the share of errors up to e, for e from 0 to `most`: percent of all of it."""
    return float(100 * np.mean(np.clip(1 - np.asarray(errors) / most, 0, None)))
