"""Fundamental matrices beside OpenCV and poselib.

Estimators get and return the same: matches of shape (n, 4), and a 3×3 matrix F with
``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, or None where nothing was found.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmotion.benchmark.jobs import OURS, Call, Comparison
from fastmotion.datasets import make_two_view
from fastmotion.epipolar import FundamentalMatrix, sampson_distance

__all__ = ["Estimate", "Settings", "comparisons", "opencv", "poselib", "single_matrix"]

_N_MATCHES, _INLIER_RATIO = 1000, 0.5
# Sampson distance up to which a match with noise of one pixel is an inlier.
_THRESHOLD = 2.0


@dataclass(frozen=True)
class Settings:
    """What every method is told."""

    threshold: float | str
    """Pixels; ours also takes "auto"."""
    max_trials: int = 100_000
    confidence: float = 0.9999
    seed: int = 0


Estimate = Callable[[NDArray, NDArray | None, Settings], NDArray | None]


def opencv(mode: str) -> Callable[[], Estimate]:
    """Return a builder of a mode of OpenCV's. No seed that a caller sets reaches it."""

    def build() -> Estimate:
        cv2 = importlib.import_module("cv2")
        flag = getattr(cv2, mode)

        def estimate(matches: NDArray, _: object, settings: Settings) -> NDArray | None:
            F, _ = cv2.findFundamentalMat(
                matches[:, :2],
                matches[:, 2:],
                flag,
                settings.threshold,
                settings.confidence,
                settings.max_trials,
            )
            return single_matrix(F)

        return estimate

    return build


def poselib(*, progressive: bool) -> Callable[[], Estimate]:
    """Return a builder of poselib's estimator; `progressive` draws the best matches first."""

    def build() -> Estimate:
        library = importlib.import_module("poselib")

        def estimate(matches: NDArray, _: object, settings: Settings) -> NDArray | None:
            options = {
                "max_epipolar_error": settings.threshold,
                "max_iterations": settings.max_trials,
                "success_prob": settings.confidence,
                "seed": settings.seed,
                "progressive_sampling": progressive,
            }
            return single_matrix(
                library.estimate_fundamental(matches[:, :2], matches[:, 2:], options)[0]
            )

        return estimate

    return build


def single_matrix(F: NDArray | None) -> NDArray | None:
    """Return F, the first of a stack of them, or None for what is no estimate."""
    if F is None or np.shape(F)[0] < 3:
        return None
    F = np.asarray(F, dtype=float)[:3]
    return F if np.isfinite(F).all() and F.any() else None


def _ours() -> Estimate:
    def estimate(matches: NDArray, _: object, settings: Settings) -> NDArray:
        return (
            FundamentalMatrix(
                residual_threshold=settings.threshold,
                max_trials=settings.max_trials,
                confidence=settings.confidence,
                random_state=settings.seed,
            )
            .fit(matches)
            .F_
        )

    return estimate


def comparisons(scale: float) -> list[Comparison]:
    """Return fundamental matrices of scenes with as many wrong matches as right ones."""
    n_pairs = max(1, round(8 * scale))
    views = [
        make_two_view(n_matches=_N_MATCHES, inlier_ratio=_INLIER_RATIO, random_state=seed)
        for seed in range(n_pairs)
    ]
    builders: dict[str, Callable[[], Estimate]] = {
        OURS: _ours,
        "OpenCV, USAC_MAGSAC": opencv("USAC_MAGSAC"),
        "OpenCV, USAC_FM_8PTS": opencv("USAC_FM_8PTS"),
        "poselib": poselib(progressive=False),
    }

    def on_views(build: Callable[[], Estimate]) -> Callable[[], Call]:
        def build_call() -> Call:
            estimate = build()
            settings = Settings(_THRESHOLD)
            return lambda: [estimate(view.matches, None, settings) for view in views]

        return build_call

    def error(found: list[NDArray | None]) -> float:
        distances = [
            np.inf if F is None else np.median(sampson_distance(F, view.exact[view.inlier_mask]))
            for F, view in zip(found, views, strict=True)
        ]
        return float(np.median(distances))

    return [
        Comparison(
            "epipolar",
            f"{n_pairs} pairs of {_N_MATCHES} matches, {_INLIER_RATIO:.0%} right",
            {name: on_views(build) for name, build in builders.items()},
            error,
            "true matches off their lines by (px)",
            2.0,
        )
    ]
