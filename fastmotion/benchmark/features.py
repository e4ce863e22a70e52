"""Fisher vectors beside scikit-image's."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from fastmotion.benchmark.jobs import OURS, Call, Comparison
from fastmotion.features import FisherVector

__all__ = ["comparisons", "scikit_image_fisher", "scikit_learn_mixture"]

_N_COMPONENTS, _N_DESCRIPTORS, _N_FEATURES = 16, 1000, 32


def scikit_learn_mixture(mixture: Any) -> GaussianMixture:
    """Return scikit-learn's mixture with the parameters of one of ours, both diagonal."""
    theirs = GaussianMixture(len(mixture.weights_), covariance_type="diag")
    theirs.weights_ = mixture.weights_
    theirs.means_ = mixture.means_
    theirs.covariances_ = mixture.covariances_
    theirs.precisions_cholesky_ = 1 / np.sqrt(mixture.covariances_)
    return theirs


def scikit_image_fisher(bags: NDArray, mixture: Any) -> Call:
    """Return what makes the vectors of bags, by means and deviations, unscaled."""
    fisher_vector = importlib.import_module("skimage.feature").fisher_vector
    theirs = scikit_learn_mixture(mixture)

    def call() -> NDArray:
        return np.array([fisher_vector(bag, theirs)[len(theirs.weights_) :] for bag in bags])

    return call


def comparisons(scale: float) -> list[Comparison]:
    """Return the vectors of bags of descriptors, the mixture being fitted."""
    n_bags = max(2, round(50 * scale))
    bags = np.random.default_rng(0).normal(size=(n_bags, _N_DESCRIPTORS, _N_FEATURES))
    fisher = FisherVector(_N_COMPONENTS, power=1.0, normalization=None, random_state=0)
    expected = np.abs(fisher.fit_transform(bags))
    return [
        Comparison(
            "features",
            f"Fisher vectors of {n_bags} bags of {_N_DESCRIPTORS} descriptors, "
            f"{_N_FEATURES} features, {_N_COMPONENTS} components",
            {
                OURS: lambda: partial(fisher.transform, bags),
                "scikit-image": lambda: scikit_image_fisher(bags, fisher.mixture_),
            },
            # scikit-image gives the derivatives by the deviations with the other sign.
            lambda found: float(np.abs(np.abs(found) - expected).max()),
            "off ours by",
            1e-6,
        )
    ]
