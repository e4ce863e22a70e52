"""Other libraries that fit Gaussian mixtures, with known and unknown numbers of components."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from fastmotion.benchmark.mixture import Start, fit_from, no_convergence_warning
from fastmotion.datasets import TrueMixture

SKLEARN, DAAL = "scikit-learn", "oneDAL"
# What oneDAL calls the types of covariance that it has.
_STORAGE = {"full": "full", "diag": "diagonal"}

# Components of a Dirichlet process with less weight than this do not count: no true one of the
# sets has less than 0.06.
_LEAST_WEIGHT = 0.01

# scikit-learn's defaults, for oneDAL.
_MAX_ITER, _TOL = 100, 1e-3


def full_covariances(model: Any) -> np.ndarray:
    """The covariances of an estimator with scikit-learn's attributes, as full matrices."""
    K, D = model.means_.shape
    covariances = np.asarray(model.covariances_, dtype=float)
    if model.covariance_type == "full":
        return covariances
    if model.covariance_type == "tied":
        return np.tile(covariances, (K, 1, 1))
    if model.covariance_type == "spherical":
        covariances = covariances[:, np.newaxis]
    return covariances[:, :, np.newaxis] * np.eye(D)


def density(model: Any) -> TrueMixture:
    """The mixture that an estimator with scikit-learn's attributes has found."""
    weights = np.asarray(model.weights_, dtype=float)
    return TrueMixture(
        weights / weights.sum(), np.asarray(model.means_, dtype=float), full_covariances(model)
    )


# --- A given number of iterations from a given start


def iterate(*arguments: Any) -> TrueMixture:
    """Return the mixture that `fit_from` ends with."""
    return density(fit_from(*arguments))


def iterate_daal(
    X: np.ndarray, start: Start, covariance_type: str, n_iter: int
) -> Callable[[], TrueMixture]:
    """Return what is timed; ImportError where daal4py is missing."""
    daal4py = importlib.import_module("daal4py")
    covariances = start.covariances(covariance_type).astype(X.dtype)
    algorithm = daal4py.em_gmm(
        start.n_components,
        maxIterations=n_iter,
        accuracyThreshold=0.0,
        **_daal_options(X, covariance_type),
    )
    inputs = (X, start.weights[np.newaxis], start.means, list(map(np.atleast_2d, covariances)))

    def call() -> TrueMixture:
        result = algorithm.compute(*inputs)
        if result.nIterations.item() != n_iter:
            raise RuntimeError(f"oneDAL stopped after {result.nIterations.item()} iterations")
        return _daal_density(result, covariance_type)

    return call


def has_daal_type(covariance_type: str) -> bool:
    return covariance_type in _STORAGE


def _daal_options(X: np.ndarray, covariance_type: str) -> dict[str, str]:
    fptype = "float" if X.dtype == np.float32 else "double"
    return {"fptype": fptype, "covarianceStorage": _STORAGE[covariance_type]}


def _daal_density(result: Any, covariance_type: str) -> TrueMixture:
    weights = result.weights.ravel().astype(float)
    covariances = np.asarray(result.covariances, dtype=float)
    if covariance_type == "diag":
        covariances = covariances[:, 0, :, np.newaxis] * np.eye(covariances.shape[-1])
    return TrueMixture(weights / weights.sum(), result.means.astype(float), covariances)


# --- A whole fit, the start included


def fit(
    estimator: Callable[..., Any],
    X: np.ndarray,
    n_components: int,
    covariance_type: str,
    seed: int,
) -> TrueMixture:
    """With the defaults of scikit-learn's class, or one of the same interface."""
    with no_convergence_warning():
        model = estimator(n_components, covariance_type=covariance_type, random_state=seed).fit(X)
    return density(model)


def fit_daal(
    X: np.ndarray, n_components: int, covariance_type: str
) -> Callable[[int], TrueMixture]:
    """Return a fit by seed: one start, as the others have, and iterations until it converges.

    By default oneDAL would take the best of 20 starts, and ten iterations from there at most.
    """
    daal4py = importlib.import_module("daal4py")
    options = _daal_options(X, covariance_type)
    # Its log-likelihood is the sum over the samples, not their mean.
    algorithm = daal4py.em_gmm(
        n_components, maxIterations=_MAX_ITER, accuracyThreshold=_TOL * len(X), **options
    )

    def call(seed: int) -> TrueMixture:
        engine = daal4py.engines_mt19937(seed=seed, fptype=options["fptype"])
        start = daal4py.em_gmm_init(n_components, nTrials=1, engine=engine, **options).compute(X)
        result = algorithm.compute(X, start.weights, start.means, start.covariances)
        return _daal_density(result, covariance_type)

    return call


# --- Unknown K


def bic_grid(X: np.ndarray, most: int, seed: int, *, n_init: int) -> GaussianMixture:
    """The mixture of least BIC among those of 1 to `most` components."""
    with no_convergence_warning():
        fits = [
            GaussianMixture(n, n_init=n_init, random_state=seed).fit(X) for n in range(1, most + 1)
        ]
    return min(fits, key=lambda model: model.bic(X))


def dirichlet_process(X: np.ndarray, most: int, seed: int) -> BayesianGaussianMixture:
    with no_convergence_warning():
        return BayesianGaussianMixture(
            n_components=most,
            weight_concentration_prior_type="dirichlet_process",
            max_iter=1000,
            random_state=seed,
        ).fit(X)


def number_found(model: Any) -> int:
    """The number of components that an estimator has settled on."""
    if isinstance(model, BayesianGaussianMixture):
        return int(np.count_nonzero(model.weights_ > _LEAST_WEIGHT))
    return len(model.weights_)
