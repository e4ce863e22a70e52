"""Gaussian mixtures, with a known or unknown number of components."""

from fastmotion.mixture import _warmup as _warmup
from fastmotion.mixture._gaussian_mixture import GaussianMixture
from fastmotion.mixture.regression import ConditionalMixture
from fastmotion.mixture.selection import SelectionResult, select_components

__all__ = ["ConditionalMixture", "GaussianMixture", "SelectionResult", "select_components"]
