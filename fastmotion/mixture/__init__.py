"""Gaussian mixtures, with a known or unknown number of components."""

from fastmotion.mixture import _warmup as _warmup
from fastmotion.mixture._gaussian_mixture import GaussianMixture

__all__ = ["GaussianMixture"]
