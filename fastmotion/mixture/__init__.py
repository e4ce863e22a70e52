"""Gaussian mixtures, with a known or unknown number of components."""

from fastmotion.em.gaussians import SingularCovarianceWarning
from fastmotion.mixture import _warmup as _warmup
from fastmotion.mixture._gaussian_mixture import GaussianMixture
from fastmotion.mixture._model import Mixture
from fastmotion.mixture.regression import ConditionalMixture
from fastmotion.mixture.selection import SelectionResult, select_components

__all__ = [
    "ConditionalMixture",
    "GaussianMixture",
    "Mixture",
    "SelectionResult",
    "SingularCovarianceWarning",
    "select_components",
]
