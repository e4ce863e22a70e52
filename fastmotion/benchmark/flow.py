"""Dense optical flow beside OpenCV and scikit-image."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastmotion.benchmark.jobs import OURS, Call, Comparison
from fastmotion.datasets import make_warped_photograph
from fastmotion.flow import HornSchunck, LucasKanade
from fastmotion.metrics import endpoint_error

__all__ = ["Estimate", "comparisons", "opencv_dis", "scikit_image_flow"]

Estimate = Callable[[NDArray, NDArray], NDArray]
"""From two gray uint8 frames to the flow, (height, width, 2), float32, in pixels, u first."""


def opencv_dis(preset: str, finest_scale: int | None = None) -> Callable[[], Estimate]:
    """Return a builder of OpenCV's dense inverse search, by the name of its preset."""

    def build() -> Estimate:
        cv2 = importlib.import_module("cv2")
        solver = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset}"))
        if finest_scale is not None:
            solver.setFinestScale(finest_scale)
        return lambda frame0, frame1: solver.calc(frame0, frame1, None)

    return build


def scikit_image_flow(function: str, **options: bool) -> Callable[[], Estimate]:
    """Return a builder of a function of ``skimage.registration``."""

    def build() -> Estimate:
        solve = getattr(importlib.import_module("skimage.registration"), function)

        # scikit-image gives rows first, each component a plane.
        def estimate(frame0: NDArray, frame1: NDArray) -> NDArray:
            rows, columns = solve(frame0, frame1, **options)
            return np.stack([columns, rows], axis=-1)

        return estimate

    return build


def comparisons(scale: float) -> list[Comparison]:
    """Return the flow between two photographs, which is known."""
    # Smaller frames would have motions as large as what they show.
    height, width = max(80, round(320 * scale)), max(120, round(480 * scale))
    pair = make_warped_photograph("china", magnitude=4.0, shape=(height, width), gray=True)
    builders: dict[str, Callable[[], Estimate]] = {
        f"{OURS}, HornSchunck": lambda: HornSchunck().estimate,
        f"{OURS}, HornSchunck medium": lambda: HornSchunck.from_preset("medium").estimate,
        f"{OURS}, LucasKanade": lambda: LucasKanade().estimate,
        "OpenCV, DIS medium": opencv_dis("MEDIUM"),
        "scikit-image, Lucas-Kanade": scikit_image_flow("optical_flow_ilk"),
    }

    def on_pair(build: Callable[[], Estimate]) -> Callable[[], Call]:
        def build_call() -> Call:
            estimate = build()
            return lambda: estimate(pair.frame0, pair.frame1)

        return build_call

    return [
        Comparison(
            "flow",
            f"{width}x{height}",
            {name: on_pair(build) for name, build in builders.items()},
            lambda flow: endpoint_error(pair.flow, flow),
            "end-point error (px)",
            endpoint_error(pair.flow, np.zeros_like(pair.flow)) / 2,
        )
    ]
