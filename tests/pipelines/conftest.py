"""Whole pipelines with their data, which tests make themselves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from fastmotion.datasets import make_motion, make_two_view, make_warped_clip
from fastmotion.epipolar import FundamentalMatrix
from fastmotion.features import FisherVector, FlowHistogram
from fastmotion.flow import HornSchunck
from fastmotion.trajectory import MotionKernelBank

ACTIVITIES = ("walk", "run", "stand")


@dataclass(frozen=True)
class Case:
    """A pipeline, what it is fitted to, and what is to be expected of it."""

    pipeline: Pipeline
    X: Any
    y: Any
    grid: dict
    floor: float
    """The least mean score in cross-validation."""


def _texture(rng, shape=(72, 88)):
    """Return a smooth random image, which stands for a photograph."""
    image = ndimage.gaussian_filter(rng.normal(size=shape), 2, mode="wrap")
    return 254 * (image - image.min()) / np.ptp(image)


def _clips(rng):
    """Return clips of zooms, of rotations, and of shifts in any direction."""
    clips, labels = [], []
    for i in range(24):
        angle, magnitude = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 2.5)
        shift = (magnitude * np.cos(angle), magnitude * np.sin(angle))
        label, motion = [("zoom", "zoom"), ("rotation", "rotation"), ("shift", shift)][i % 3]
        made = make_warped_clip(
            3, _texture(rng), motion, magnitude=magnitude, shape=(56, 72), noise=2.0,
            random_state=i,
        )  # fmt: skip
        clips.append(made.frames)
        labels.append(label)
    return np.stack(clips), np.array(labels)


def _flow_case():
    clips, labels = _clips(np.random.default_rng(0))
    pipeline = Pipeline(
        [
            ("flow", HornSchunck.from_preset("fast")),
            (
                "histogram",
                FlowHistogram(components=["flow"], grid=(1, 1, 1), block_shape=(2, 28, 36)),
            ),
            ("fisher", FisherVector(4, random_state=0)),
            ("classifier", LinearSVC(random_state=0)),
        ]
    )
    grid = {"histogram__n_orientations": [4, 8]}
    return Case(pipeline, clips, labels, grid, floor=0.8)


def _pose_case():
    motions = [
        make_motion(kind, n_sequences=8, n_frames=45, noise=5.0, random_state=k)
        for k, kind in enumerate(ACTIVITIES)
    ]
    X = np.concatenate([motion.observed for motion in motions]).astype(np.float32)
    bank = MotionKernelBank(scales=(2, 3), fixed=("velocity",), pooling=("mean", "std"))
    pipeline = Pipeline(
        [
            ("bank", bank),
            ("scale", StandardScaler()),
            ("classifier", LogisticRegression()),
        ]
    )
    grid = {"bank__learned": ["next", None], "classifier__C": [0.1, 1.0]}
    return Case(pipeline, X, np.repeat(ACTIVITIES, 8), grid, floor=0.9)


def _match_case():
    view = make_two_view(n_matches=240, inlier_ratio=0.7, noise=0.5, random_state=0)
    pipeline = Pipeline(
        [
            ("matches", ColumnTransformer([("px", "passthrough", [0, 1, 2, 3])])),
            ("model", FundamentalMatrix(random_state=0)),
        ]
    )
    table = np.column_stack([view.matches, view.quality])
    return Case(pipeline, table, None, {"model__residual_threshold": [1.0, 3.0]}, floor=0.3)


MAKERS = {"flow": _flow_case, "poses": _pose_case, "matches": _match_case}


@pytest.fixture(scope="session", params=MAKERS)
def case(request):
    """Return each kind of pipeline in turn, not fitted."""
    return MAKERS[request.param]()


@pytest.fixture(scope="session")
def pose_case():
    return _pose_case()
