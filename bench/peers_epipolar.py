"""Other libraries that estimate fundamental matrices, each behind one interface.

Estimators get and return the same: matches of shape (n, 4), and a 3×3 matrix F with
``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, or None where nothing was found. What their thresholds mean is not
the same, which is why each is tuned for itself: OpenCV's RANSAC measures the larger distance of the
two points to their lines, MAGSAC takes the threshold as the widest noise it reckons with, and all
others measure the Sampson distance; all in pixels.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# scikit-image would need minutes for the trials that others make in a second.
_MOST_SKIMAGE_TRIALS = 1000


@dataclass(frozen=True)
class Settings:
    """What every method is told."""

    threshold: float | str
    """Pixels; ours also takes "auto"."""
    max_trials: int = 100_000
    confidence: float = 0.9999
    seed: int = 0


Estimate = Callable[[np.ndarray, np.ndarray | None, Settings], np.ndarray | None]


@dataclass(frozen=True)
class Method:
    """A named way to get F from matches and, unless None, their qualities."""

    name: str
    build: Callable[[], Estimate]
    """Makes the callable once, outside any timing; ImportError where its library is missing."""
    uses_quality: bool = False
    is_slow: bool = False
    """Takes about a second where others take milliseconds: it is tried on fewer pairs."""


def _opencv(mode: str) -> Callable[[], Estimate]:
    """With a seed of its own: none that a caller sets reaches it."""

    def build() -> Estimate:
        cv2 = importlib.import_module("cv2")
        flag = getattr(cv2, mode)

        def estimate(matches: np.ndarray, _: object, settings: Settings) -> np.ndarray | None:
            F, _ = cv2.findFundamentalMat(
                matches[:, :2],
                matches[:, 2:],
                flag,
                settings.threshold,
                settings.confidence,
                settings.max_trials,
            )
            return _single(F)

        return estimate

    return build


def _poselib(progressive: bool) -> Callable[[], Estimate]:
    def build() -> Estimate:
        poselib = importlib.import_module("poselib")

        def estimate(matches: np.ndarray, _: object, settings: Settings) -> np.ndarray | None:
            options = {
                "max_epipolar_error": settings.threshold,
                "max_iterations": settings.max_trials,
                "success_prob": settings.confidence,
                "seed": settings.seed,
                "progressive_sampling": progressive,
            }
            return _single(poselib.estimate_fundamental(matches[:, :2], matches[:, 2:], options)[0])

        return estimate

    return build


def _degensac() -> Estimate:
    pydegensac = importlib.import_module("pydegensac")

    def estimate(matches: np.ndarray, _: object, settings: Settings) -> np.ndarray | None:
        F, _ = pydegensac.findFundamentalMatrix(
            matches[:, :2],
            matches[:, 2:],
            settings.threshold,
            settings.confidence,
            settings.max_trials,
            seed=settings.seed,
        )
        return _single(F)

    return estimate


def _scikit_image() -> Estimate:
    measure = importlib.import_module("skimage.measure")
    transform = importlib.import_module("skimage.transform")

    def estimate(matches: np.ndarray, _: object, settings: Settings) -> np.ndarray | None:
        model, _ = measure.ransac(
            (matches[:, :2], matches[:, 2:]),
            transform.FundamentalMatrixTransform,
            min_samples=8,
            residual_threshold=settings.threshold,
            max_trials=min(settings.max_trials, _MOST_SKIMAGE_TRIALS),
            stop_probability=settings.confidence,
            rng=settings.seed,
        )
        return _single(getattr(model, "params", None))

    return estimate


def _best_first(build: Callable[[], Estimate]) -> Callable[[], Estimate]:
    """Sort matches by quality, which is part of the time."""

    def build_sorted() -> Estimate:
        estimate = build()

        def estimate_sorted(
            matches: np.ndarray, quality: np.ndarray | None, settings: Settings
        ) -> np.ndarray | None:
            if quality is not None:
                matches = matches[np.argsort(-quality, kind="stable")]
            return estimate(matches, None, settings)

        return estimate_sorted

    return build_sorted


def _single(F: np.ndarray | None) -> np.ndarray | None:
    """Return F, the first of a stack of them, or None for what is no estimate."""
    if F is None or np.shape(F)[0] < 3:
        return None
    F = np.asarray(F, dtype=float)[:3]
    return F if np.isfinite(F).all() and F.any() else None


RANSAC, MAGSAC, EIGHT_POINT, ACCURATE, PARALLEL, PROSAC = (
    "FM_RANSAC",
    "USAC_MAGSAC",
    "USAC_FM_8PTS",
    "USAC_ACCURATE",
    "USAC_PARALLEL",
    "USAC_PROSAC",
)
POSELIB, POSELIB_PROSAC, DEGENSAC, SKIMAGE = (
    "poselib",
    "poselib+PROSAC",
    "pydegensac",
    "scikit-image",
)

METHODS = {
    method.name: method
    for method in (
        Method(RANSAC, _opencv(RANSAC), is_slow=True),
        Method(MAGSAC, _opencv(MAGSAC)),
        Method(EIGHT_POINT, _opencv(EIGHT_POINT)),
        Method(ACCURATE, _opencv(ACCURATE)),
        Method(PARALLEL, _opencv(PARALLEL)),
        Method(PROSAC, _best_first(_opencv(PROSAC)), True),
        Method(POSELIB, _poselib(progressive=False), is_slow=True),
        Method(POSELIB_PROSAC, _best_first(_poselib(progressive=True)), True, is_slow=True),
        Method(DEGENSAC, _degensac),
        Method(SKIMAGE, _scikit_image, is_slow=True),
    )
}


def most_likely(matches: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The F that is most likely where all matches are right, by poselib from a start near it."""
    poselib = importlib.import_module("poselib")
    F, _ = poselib.refine_fundamental(
        matches[:, :2], matches[:, 2:], start, {"loss_type": "TRIVIAL"}
    )
    return F
