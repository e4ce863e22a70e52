"""Robust fundamental matrices and homographies of many pairs of images, on a GPU and beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bench import gpu_peers_epipolar as gpu_peers
from bench import peers_epipolar, speed_homography
from bench.cases_epipolar import pose_error
from bench.gpu_cases import MATRIX, OURS_CPU, OURS_GPU, GpuCase, Work
from bench.gpu_libraries import Library
from bench.peers_epipolar import Settings
from bench.speed_homography import PlanarFits, corner_error
from fastmotion.core.parallel import thread_map
from fastmotion.datasets import TwoView, make_two_view
from fastmotion.epipolar import FundamentalMatrix, Homography

TORCH_SVD, TORCH_SOLVE = "torch, SVD", "torch, elimination"
CUPY_SOLVE, KORNIA = "CuPy, elimination", "kornia, one by one"
_ON_GPU = (TORCH_SOLVE, TORCH_SVD, CUPY_SOLVE, KORNIA)
CV_RANSAC, CV_MAGSAC, CV_EIGHT = (
    "OpenCV RANSAC, CPU",
    "OpenCV USAC_MAGSAC, CPU",
    "OpenCV USAC_FM_8PTS, CPU",
)

CONFIDENCE = 0.9999


@dataclass(frozen=True)
class PairsOfImages(GpuCase):
    """Models of many pairs of images, a share of whose matches is right."""

    n_pairs: int
    n_matches: int
    inlier_ratio: float = 0.5
    max_trials: int = 100_000

    family = "two-view geometry"
    one_by_one = (KORNIA,)

    what: ClassVar[str]
    estimator: ClassVar[type]
    attribute: ClassVar[str]
    """Where the estimator has its model."""
    threshold: ClassVar[float]
    problem: ClassVar[gpu_peers.Problem]
    sample_size: ClassVar[int]
    """Of ours."""
    models_per_sample: ClassVar[float]
    solving_flops: ClassVar[int]
    """Of a sample."""
    scoring_flops: ClassVar[int]
    """Of a model and a match."""

    @property
    def options(self) -> dict[str, Any]:
        """Of the estimator, further ones."""
        return {}

    @property
    def n_parts(self) -> int:
        return min(10, self.n_pairs)

    def __str__(self) -> str:
        ratio = f"{self.inlier_ratio:.0%} right"
        return f"{self.n_pairs} {self.what} of {self.n_matches} matches, {ratio}"

    @property
    def work(self) -> Work:
        n_trials = gpu_peers.n_trials(self.sample_size, self.inlier_ratio, CONFIDENCE)
        scoring = self.models_per_sample * self.n_matches * self.scoring_flops
        return Work(
            f"flops: pairs x {n_trials} samples of {self.sample_size} x ({self.solving_flops} + "
            f"{self.models_per_sample:g} models x matches x {self.scoring_flops}); "
            "bytes: 16 a match",
            16.0 * self.n_pairs * self.n_matches,
            self.n_pairs * n_trials * (self.solving_flops + scoring),
            MATRIX,
        )

    def ours(self, device: str) -> Callable[..., Any]:
        model = self.estimator(
            residual_threshold=self.threshold,
            confidence=CONFIDENCE,
            max_trials=self.max_trials,
            random_state=0,
            device=device,
            **self.options,
        )
        return lambda matches: [
            getattr(fitted, self.attribute) for fitted in model.fit_batch(matches)
        ]

    def arranged(self, *arrays: Any) -> Sequence[Any]:
        (matches,) = arrays
        return ([matches[i] for i in range(len(matches))],)

    def peer(self, method: str) -> Callable[..., Any]:
        if method == KORNIA:
            return gpu_peers.build_kornia(self.problem, self.threshold, CONFIDENCE)
        if method in _ON_GPU:
            return functools.partial(self._on_gpu, method)
        estimate = self._open_cv(method)
        return lambda _, matches: thread_map(estimate, list(matches))

    def _on_gpu(self, method: str, library: Library, matches: Any) -> np.ndarray:
        solve = gpu_peers.by_svd if method == TORCH_SVD else gpu_peers.by_elimination
        n_trials = gpu_peers.n_trials(self.problem.sample_size, self.inlier_ratio, CONFIDENCE)
        single = library.single(matches)
        return gpu_peers.ransac(library, self.problem, solve, single, n_trials, self.threshold)

    def _open_cv(self, method: str) -> Callable[[np.ndarray], np.ndarray | None]:
        raise NotImplementedError


@dataclass(frozen=True)
class FundamentalMatrices(PairsOfImages):
    """Of scenes in general position."""

    degeneracy: str = "handle"

    methods = (OURS_CPU, OURS_GPU, *_ON_GPU, CV_EIGHT, CV_MAGSAC, CV_RANSAC)
    what = "fundamental matrices"
    estimator = FundamentalMatrix
    attribute = "F_"
    threshold = 2.0
    problem = gpu_peers.FUNDAMENTAL
    sample_size, models_per_sample = 7, 2.5
    solving_flops, scoring_flops = 700, 33

    # Degrees.
    most_error = 5.0

    @property
    def options(self) -> dict[str, Any]:
        return {"degeneracy": self.degeneracy}

    def inputs(self, n_parts: int) -> Sequence[np.ndarray]:
        views = _views(self)[: self.n_pairs * n_parts // self.n_parts]
        return (np.stack([view.matches for view in views]),)

    def _open_cv(self, method: str) -> Callable[[np.ndarray], np.ndarray | None]:
        modes = {
            CV_EIGHT: peers_epipolar.EIGHT_POINT,
            CV_MAGSAC: peers_epipolar.MAGSAC,
            CV_RANSAC: peers_epipolar.RANSAC,
        }
        estimate = peers_epipolar.METHODS[modes[method]].build()
        settings = Settings(self.threshold, self.max_trials, CONFIDENCE)
        return lambda matches: estimate(matches, None, settings)

    def check(self, method: str, result: Any, n_parts: int) -> None:
        """By the median error of the pose, for cameras are known."""
        views = _views(self)[: self.n_pairs * n_parts // self.n_parts]
        errors = [pose_error(_double(F), view) for F, view in zip(result, views, strict=True)]
        if not np.median(errors) < self.most_error:
            raise AssertionError(f"{method}, {self}: median pose error of {np.median(errors):.3g}°")


@functools.lru_cache(maxsize=1)
def _views(case: FundamentalMatrices) -> list[TwoView]:
    return [
        make_two_view(n_matches=case.n_matches, inlier_ratio=case.inlier_ratio, random_state=seed)
        for seed in range(case.n_pairs)
    ]


@dataclass(frozen=True)
class Homographies(PairsOfImages):
    """Of views of a plane."""

    methods = (OURS_CPU, OURS_GPU, *_ON_GPU, CV_RANSAC, CV_MAGSAC)
    what = "homographies"
    estimator = Homography
    attribute = "H_"
    threshold = speed_homography.THRESHOLD
    problem = gpu_peers.HOMOGRAPHY
    sample_size, models_per_sample = 4, 1.0
    solving_flops, scoring_flops = 400, 23

    # Pixels.
    most_error = 5.0

    def inputs(self, n_parts: int) -> Sequence[np.ndarray]:
        return (_planar_matches(self)[: self.n_pairs * n_parts // self.n_parts],)

    def _open_cv(self, method: str) -> Callable[[np.ndarray], np.ndarray | None]:
        name = speed_homography.RANSAC if method == CV_RANSAC else speed_homography.MAGSAC
        return speed_homography.METHODS[name]()

    def check(self, method: str, result: Any, n_parts: int) -> None:
        """By the median error of the corners of an image."""
        error = np.median([corner_error([_double(H)]) for H in result])
        if len(result) != self.n_pairs * n_parts // self.n_parts or not error < self.most_error:
            raise AssertionError(f"{method}, {self}: corners are off by {error:.3g} px")


@functools.lru_cache(maxsize=1)
def _planar_matches(case: Homographies) -> np.ndarray:
    return np.stack(PlanarFits(case.n_matches, case.inlier_ratio, n_pairs=case.n_pairs).pairs())


def _double(model: np.ndarray | None) -> np.ndarray | None:
    return None if model is None else np.asarray(model, float)
