"""What is measured: our estimators and their peers, each as (frame0, frame1) -> flow.

Frames are gray uint8; the flow is float32 of shape (height, width, 2), u first. Converting to that
is part of a peer's time only where its users would have to do it too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import fastmotion
from fastmotion.benchmark.flow import Estimate, opencv_dis, scikit_image_flow


@dataclass(frozen=True)
class Method:
    """A named way to estimate flow."""

    name: str
    library: str
    build: Callable[[], Estimate]
    """Makes the callable once, outside any timing; ImportError where its library is missing."""

    @property
    def is_ours(self) -> bool:
        return self.library == "fastmotion"


def _preset(estimator: str, name: str) -> Callable[[], Estimate]:
    def build() -> Estimate:
        return getattr(fastmotion.flow, estimator).from_preset(name).estimate

    return build


def _farneback(levels: int, window: int, sigma: float, flag: str | None) -> Callable[[], Estimate]:
    def build() -> Estimate:
        cv2 = importlib.import_module("cv2")
        flags = getattr(cv2, flag) if flag else 0
        options = (0.5, levels, window, 3, 5, sigma, flags)
        return lambda frame0, frame1: cv2.calcOpticalFlowFarneback(frame0, frame1, None, *options)

    return build


def _deepflow() -> Estimate:
    cv2 = importlib.import_module("cv2")
    if not hasattr(cv2, "optflow"):
        raise ImportError("DeepFlow needs opencv-contrib-python-headless, not plain OpenCV")
    solver = cv2.optflow.createOptFlow_DeepFlow()
    return lambda frame0, frame1: solver.calc(frame0, frame1, None)


DIS_ULTRAFAST = "DIS ultrafast"
DIS_FAST = "DIS fast"
DIS_MEDIUM = "DIS medium"
DIS_FINEST = "DIS finest scale 0"
DEEPFLOW = "DeepFlow"
ILK = "Lucas-Kanade (ILK)"
TV_L1 = "TV-L1"
HS_FAST = "HornSchunck fast"
HS_MEDIUM = "HornSchunck medium"
HS_DEFAULT = "HornSchunck default"
HS_BEST = "HornSchunck best"
LK_DEFAULT = "LucasKanade default"

_ALL = (
    Method(HS_FAST, "fastmotion", _preset("HornSchunck", "fast")),
    Method(HS_MEDIUM, "fastmotion", _preset("HornSchunck", "medium")),
    Method(HS_DEFAULT, "fastmotion", _preset("HornSchunck", "default")),
    Method(HS_BEST, "fastmotion", _preset("HornSchunck", "best")),
    Method(LK_DEFAULT, "fastmotion", _preset("LucasKanade", "default")),
    Method(DIS_ULTRAFAST, "OpenCV", opencv_dis("ULTRAFAST")),
    Method(DIS_FAST, "OpenCV", opencv_dis("FAST")),
    Method(DIS_MEDIUM, "OpenCV", opencv_dis("MEDIUM")),
    Method(DIS_FINEST, "OpenCV", opencv_dis("MEDIUM", finest_scale=0)),
    # The settings of OpenCV's tutorial, and the best found on the Middlebury pairs.
    Method("Farneback tutorial", "OpenCV", _farneback(3, 15, 1.2, None)),
    Method("Farneback best", "OpenCV", _farneback(5, 33, 0.9, "OPTFLOW_FARNEBACK_GAUSSIAN")),
    Method(DEEPFLOW, "OpenCV", _deepflow),
    Method(ILK, "scikit-image", scikit_image_flow("optical_flow_ilk")),
)
METHODS = {method.name: method for method in _ALL}

# Minutes at 1920x1080: measured for accuracy only.
ACCURACY_ONLY = {
    method.name: method
    for method in (
        Method(
            "Lucas-Kanade (ILK), best",
            "scikit-image",
            scikit_image_flow("optical_flow_ilk", gaussian=True, prefilter=True),
        ),
        Method(TV_L1, "scikit-image", scikit_image_flow("optical_flow_tvl1")),
    )
}
