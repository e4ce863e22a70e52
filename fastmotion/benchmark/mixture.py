"""Gaussian mixtures beside scikit-learn's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as TheirMixture

from fastmotion.benchmark.jobs import OURS, Comparison
from fastmotion.datasets import TrueMixture, make_gaussian_mixture
from fastmotion.mixture import GaussianMixture

__all__ = ["Start", "comparisons", "fit_from", "no_convergence_warning", "start_near"]

_N_FEATURES, _N_COMPONENTS, _N_ITER = 8, 16, 10


@dataclass(frozen=True)
class Start:
    """Parameters that iterations begin with: all components have the same axes and weight."""

    means: NDArray
    variances: NDArray
    """Of shape (n_features,)."""

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.means)

    @property
    def weights(self) -> NDArray:
        """Equal weights, of shape (n_components,)."""
        return np.full(self.n_components, 1 / self.n_components, self.means.dtype)

    def astype(self, dtype: type) -> Start:
        """Return the same in another precision."""
        return Start(self.means.astype(dtype), self.variances.astype(dtype))

    def covariances(self, covariance_type: str) -> NDArray:
        """Return them in the shape that scikit-learn gives covariances of this type."""
        if covariance_type == "spherical":
            return np.full(self.n_components, self.variances.mean(), self.variances.dtype)
        if covariance_type == "diag":
            return np.tile(self.variances, (self.n_components, 1))
        matrix = np.diag(self.variances)
        return matrix if covariance_type == "tied" else np.tile(matrix, (self.n_components, 1, 1))

    def precisions(self, covariance_type: str) -> NDArray:
        """Return the inverses of the covariances, in the same shape."""
        if covariance_type == "spherical":
            return 1 / self.covariances(covariance_type)
        return Start(self.means, 1 / self.variances).covariances(covariance_type)


@contextmanager
def no_convergence_warning() -> Iterator[None]:
    """Silence it: a given number of iterations ends as it should."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def start_near(truth: TrueMixture) -> Start:
    """Return means that are half a standard deviation off: no component starves from there."""
    variances = np.diagonal(truth.covariances, axis1=1, axis2=2).mean(axis=0)
    noise = np.random.default_rng(0).standard_normal(truth.means.shape)
    return Start(truth.means + 0.5 * np.sqrt(variances) * noise, variances)


def fit_from(
    estimator: Callable[..., Any], X: NDArray, start: Start, covariance_type: str, n_iter: int
) -> Any:
    """Fit scikit-learn's class, or one of the same interface."""
    with no_convergence_warning():
        model = estimator(
            start.n_components,
            covariance_type=covariance_type,
            tol=0.0,
            max_iter=n_iter,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=start.precisions(covariance_type),
        ).fit(X)
    if model.n_iter_ != n_iter:
        raise RuntimeError(f"{estimator} stopped after {model.n_iter_} of {n_iter} iterations")
    return model


def comparisons(scale: float) -> list[Comparison]:
    """Return iterations of EM from one start."""
    data = make_gaussian_mixture(
        max(20 * _N_COMPONENTS, round(20_000 * scale)),
        n_components=_N_COMPONENTS,
        n_features=_N_FEATURES,
        random_state=0,
    )
    X, start = data.X, start_near(data.truth)
    arguments = (X, start, "full", _N_ITER)
    expected = fit_from(TheirMixture, *arguments).score(X)
    return [
        Comparison(
            "mixture",
            f"{_N_ITER} iterations, {len(X)} samples, {_N_FEATURES} features, "
            f"{_N_COMPONENTS} components",
            {
                OURS: lambda: partial(fit_from, GaussianMixture, *arguments),
                "scikit-learn": lambda: partial(fit_from, TheirMixture, *arguments),
            },
            lambda model: float(abs(model.score(X) - expected)),
            "log-likelihood off scikit-learn's by",
            1e-6,
        )
    ]
