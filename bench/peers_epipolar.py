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

from fastmotion.benchmark.epipolar import Estimate, Settings, opencv, poselib, single_matrix

# scikit-image would need minutes for the trials that others make in a second.
_MOST_SKIMAGE_TRIALS = 1000


@dataclass(frozen=True)
class Method:
    """A named way to get F from matches and, unless None, their qualities."""

    name: str
    build: Callable[[], Estimate]
    """Makes the callable once, outside any timing; ImportError where its library is missing."""
    uses_quality: bool = False
    is_slow: bool = False
    """Takes about a second where others take milliseconds: it is tried on fewer pairs."""


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
        return single_matrix(F)

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
        return single_matrix(getattr(model, "params", None))

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
        Method(RANSAC, opencv(RANSAC), is_slow=True),
        Method(MAGSAC, opencv(MAGSAC)),
        Method(EIGHT_POINT, opencv(EIGHT_POINT)),
        Method(ACCURATE, opencv(ACCURATE)),
        Method(PARALLEL, opencv(PARALLEL)),
        Method(PROSAC, _best_first(opencv(PROSAC)), True),
        Method(POSELIB, poselib(progressive=False), is_slow=True),
        Method(POSELIB_PROSAC, _best_first(poselib(progressive=True)), True, is_slow=True),
        Method(DEGENSAC, _degensac),
        Method(SKIMAGE, _scikit_image, is_slow=True),
    )
}


def most_likely(matches: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The F that is most likely where all matches are right, by poselib from a start near it."""
    library = importlib.import_module("poselib")
    F, _ = library.refine_fundamental(
        matches[:, :2], matches[:, 2:], start, {"loss_type": "TRIVIAL"}
    )
    return F
