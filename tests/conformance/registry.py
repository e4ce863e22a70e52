"""All public estimators, each with settings and data that the checks of this folder use."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator

import fastmotion
from fastmotion.datasets import make_two_view
from fastmotion.epipolar import FundamentalMatrix, Homography
from fastmotion.features import FisherVector, FlowHistogram
from fastmotion.flow import HornSchunck, LucasKanade
from fastmotion.hmm import GaussianHMM
from fastmotion.linear import LeastSquares
from fastmotion.mixture import GaussianMixture
from fastmotion.trajectory import (
    LinearMotionPredictor,
    MotionKernel,
    MotionKernelBank,
    MotionKernelCV,
)
from fastmotion.video import CameraCompensation


@dataclass(frozen=True, eq=False)
class Case:
    """An estimator in one setting, and what it takes.

    Attributes
    ----------
    make : callable
        Returns a new estimator; its parameters may be mutable.
    data : callable
        Takes a seed and returns X as float64, its first axis that of samples, and y or None.
    methods : dict of str to str
        What can be called with X after a fit, and the dtype of what it returns; "X" for that of X.
    per_sample : tuple of str
        Those of the methods that return for each sample what they would for it alone.
    is_table : bool
        Whether `transform` returns columns that have names.
    min_samples : int
        The fewest samples that a fit takes.
    takes_infinite : bool
        Whether infinite numbers are left out, as NaN is, and no error.
    """

    name: str
    make: Callable[[], BaseEstimator]
    data: Callable[[int], tuple[np.ndarray, np.ndarray | None]]
    methods: dict[str, str]
    per_sample: tuple[str, ...] = ()
    is_table: bool = False
    min_samples: int = 1
    takes_infinite: bool = False

    def fit(self, X: Any = None, y: Any = None, seed: int = 0, **params: Any) -> BaseEstimator:
        """Return the estimator, fitted to X and y or to data of a seed."""
        if X is None:
            X, y = self.data(seed)
        return self.make().set_params(**params).fit(X, y)

    def outputs(self, model: BaseEstimator, X: Any) -> dict[str, Any]:
        """Return what all methods return."""
        return {method: getattr(model, method)(X) for method in self.methods}


# Data


def clips(seed: int) -> tuple[np.ndarray, None]:
    """Return clips of three frames in which a texture moves, each in its own direction."""
    rng = np.random.default_rng(seed)
    scene = gaussian_filter(rng.normal(size=(2, 40, 44)), (0, 1.5, 1.5))
    steps = rng.integers(-1, 2, (2, 2))
    frames = [
        [image[10 + k * v :, 10 + k * u :][:17, :20] for k in range(3)]
        for image, (v, u) in zip(scene, steps)
    ]
    return np.asarray(frames), None


def flow(seed: int) -> tuple[np.ndarray, None]:
    """Return flow of a camera that turns, and of something that moves by itself."""
    rng = np.random.default_rng(seed)
    fields = np.empty((3, 2, 24, 32, 2))
    fields[...] = rng.uniform(-3, 3, (3, 2, 1, 1, 2))
    fields[..., 8:14, 10:18, :] += rng.uniform(3, 5, (3, 2, 1, 1, 2))
    return fields + 0.01 * rng.normal(size=fields.shape), None


def bags(seed: int) -> tuple[np.ndarray, None]:
    """Return bags of descriptors of two kinds, in another mixture in each."""
    rng = np.random.default_rng(seed)
    kinds = rng.uniform(size=(5, 20, 1)) < np.linspace(0.2, 0.8, 5)[:, np.newaxis, np.newaxis]
    return rng.normal(size=(5, 20, 3)) + 4 * kinds, None


def walks(seed: int) -> tuple[np.ndarray, None]:
    """Return sequences of three joints that swing, with noise."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0.1, 0.3, (6, 1, 3, 2)) * np.arange(40).reshape(-1, 1, 1)
    walk = 10 * np.cos(phase + rng.uniform(0, 6, (6, 1, 3, 2)))
    return walk + rng.normal(size=walk.shape), None


def labelled_walks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same with labels."""
    return walks(seed)[0], np.array(["run", "walk"] * 3)


def clusters(seed: int) -> tuple[np.ndarray, None]:
    """Return samples of three features about two means."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(60, 3)) + 6 * (np.arange(60) % 2)[:, np.newaxis], None


def regression(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and two targets that depend on them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 3))
    return X, X @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(40, 2))


def matches(name: str) -> Callable[[int], tuple[np.ndarray, None]]:
    """Return what makes matches of a kind of scene."""

    def make(seed: int) -> tuple[np.ndarray, None]:
        scene = make_two_view(name, n_matches=80, inlier_ratio=0.8, noise=0.5, random_state=seed)
        return scene.matches, None

    return make


# Settings

FLOW = {"n_warps": 1, "n_levels": 1}
TWO_VIEW = {"predict": "bool", "score_samples": "float64", "score": "float64"}
MIXTURE = {"predict": "int64", "predict_proba": "X", "score_samples": "X", "score": "float64"}
EACH_SAMPLE = ("predict", "predict_proba", "score_samples")
KERNEL = {"transform": "X", "predict": "X", "score": "float64"}
HMM = {
    "predict": "int64",
    "predict_proba": "X",
    "score_samples": "X",
    "decode": "int64",
    "score": "float64",
}

CASES = [
    Case(
        "HornSchunck", lambda: HornSchunck(**FLOW), clips, {"transform": "float32"}, ("transform",)
    ),
    Case(
        "LucasKanade", lambda: LucasKanade(**FLOW), clips, {"transform": "float32"}, ("transform",)
    ),
    Case("MotionKernel", MotionKernel, walks, KERNEL, ("transform", "predict")),
    Case(
        "MotionKernel-joints",
        lambda: MotionKernel(
            3,
            sharing="joint",
            alpha=1.0,
            prior=[0.0, 0.0, 1.0],
            moments={0: 1.0},
            fit_intercept=True,
            edges="valid",
        ),
        walks,
        KERNEL,
        ("transform", "predict"),
    ),
    Case(
        "MotionKernel-gradient",
        lambda: MotionKernel(3, solver="gradient", prior="random", max_iter=50, random_state=0),
        walks,
        KERNEL,
        ("transform", "predict"),
    ),
    Case(
        "MotionKernelCV",
        lambda: MotionKernelCV(
            MotionKernel(target="velocity", causal=False),
            n_taps=[3, 5],
            alphas=np.array([0.0, 1.0]),
        ),
        walks,
        KERNEL,
        ("transform", "predict"),
        min_samples=2,
    ),
    Case(
        "MotionKernelBank",
        lambda: MotionKernelBank([2, 3], fixed=["velocity"], cross_scale_penalty=0.1),
        walks,
        {"transform": "X"},
        ("transform",),
    ),
    Case(
        "MotionKernelBank-pooled",
        lambda: MotionKernelBank((3,), learned="class", pooling=["mean", "std"], pyramid=[1, 2]),
        labelled_walks,
        {"transform": "X"},
        ("transform",),
        is_table=True,
        min_samples=2,
    ),
    Case(
        "LinearMotionPredictor",
        lambda: LinearMotionPredictor(3, horizons=[1, 4]),
        walks,
        {"predict": "X", "score": "float64"},
        ("predict",),
    ),
    Case(
        "FlowHistogram",
        lambda: FlowHistogram(4, components=["flow", "boundary"], grid=[1, 2, 2]),
        flow,
        {"transform": "float32"},
        ("transform",),
        is_table=True,
    ),
    Case(
        "FlowHistogram-blocks",
        lambda: FlowHistogram(4, grid=(1, 2, 2), block_shape=(1, 12, 12), block_step=[1, 8, 8]),
        flow,
        {"transform": "float32"},
        ("transform",),
    ),
    Case(
        "FisherVector",
        lambda: FisherVector(2, parts=["weights", "means"], max_samples=80, random_state=0),
        bags,
        {"transform": "X"},
        ("transform",),
        is_table=True,
    ),
    Case(
        "CameraCompensation",
        lambda: CameraCompensation(step=4, random_state=0),
        flow,
        {"transform": "float32"},
        ("transform",),
        takes_infinite=True,
    ),
    Case(
        "GaussianMixture",
        lambda: GaussianMixture(2, means_init=np.array([[0.0] * 3, [6.0] * 3]), random_state=0),
        clusters,
        MIXTURE,
        EACH_SAMPLE,
        min_samples=2,
    ),
    Case(
        "GaussianMixture-auto",
        lambda: GaussianMixture("auto", max_components=6, random_state=0),
        clusters,
        MIXTURE,
        EACH_SAMPLE,
        min_samples=2,
    ),
    Case(
        "GaussianHMM",
        lambda: GaussianHMM(2, random_state=0, startprob_prior=[1.0, 2.0]),
        clusters,
        HMM,
        min_samples=2,
    ),
    Case(
        "LeastSquares",
        lambda: LeastSquares(1.0, prior=np.ones(3), constraints=[[1.0, 1.0, 0.0]]),
        regression,
        {"predict": "X"},
        ("predict",),
    ),
    Case(
        "FundamentalMatrix",
        lambda: FundamentalMatrix(random_state=0),
        matches("general"),
        TWO_VIEW,
        ("predict", "score_samples"),
        min_samples=7,
    ),
    Case(
        "Homography",
        lambda: Homography(random_state=0),
        matches("planar"),
        TWO_VIEW,
        ("predict", "score_samples"),
        min_samples=4,
    ),
]


@cache
def public_estimators() -> dict[str, type[BaseEstimator]]:
    """Return the estimators of all public modules, by name."""
    found = {}
    for module in pkgutil.iter_modules(fastmotion.__path__):
        if module.name.startswith("_"):
            continue
        names = vars(importlib.import_module(f"fastmotion.{module.name}"))
        for name in names.get("__all__", ()):
            value = names[name]
            if inspect.isclass(value) and issubclass(value, BaseEstimator):
                found[name] = value
    return found
