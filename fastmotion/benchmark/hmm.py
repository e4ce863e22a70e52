"""Hidden Markov models beside hmmlearn's, through the same interface."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.benchmark.jobs import OURS, Comparison
from fastmotion.datasets import make_hmm
from fastmotion.hmm import GaussianHMM

__all__ = [
    "HMMLEARN",
    "LOG",
    "OURS",
    "SCALING",
    "Parameters",
    "build",
    "comparisons",
    "iterate",
    "start_from",
]

SCALING, LOG = "hmmlearn, scaling", "hmmlearn, log"
HMMLEARN = {SCALING: "scaling", LOG: "log"}


@dataclass(frozen=True)
class Parameters:
    """Of a model with Gaussian emissions."""

    startprob: NDArray
    transmat: NDArray
    means: NDArray
    covariances: NDArray
    """In the shape that hmmlearn sets: (K, D) where the matrices are diagonal."""

    def moved(self, shift: NDArray) -> Parameters:
        """Return the same for data that lie elsewhere."""
        return replace(self, means=self.means + shift)


def start_from(X: NDArray, n_states: int, covariance_type: str = "diag") -> Parameters:
    """Return means at frames, the variances of all frames, and states that rather stay."""
    variances = X.var(axis=0, dtype=float)
    covariances = {
        "spherical": np.full(n_states, variances.mean()),
        "diag": np.tile(variances, (n_states, 1)),
        "tied": np.diag(variances),
        "full": np.tile(np.diag(variances), (n_states, 1, 1)),
    }
    return Parameters(
        np.full(n_states, 1 / n_states),
        0.5 * np.eye(n_states) + 0.5 / n_states,
        X[:: len(X) // n_states][:n_states].astype(float),
        covariances[covariance_type],
    )


def build(name: str, start: Parameters, covariance_type: str = "diag", n_iter: int = 1) -> Any:
    """Return an estimator with parameters; ImportError where the library is missing."""
    estimator: Callable[..., Any] = GaussianHMM
    options: dict[str, Any] = {}
    if name in HMMLEARN:
        # It calls a difference by rounding "not converging".
        logging.getLogger("hmmlearn").setLevel(logging.ERROR)
        estimator = importlib.import_module("hmmlearn.hmm").GaussianHMM
        options = {"implementation": HMMLEARN[name]}
    model = estimator(
        len(start.startprob),
        covariance_type=covariance_type,
        n_iter=n_iter,
        tol=0.0,
        init_params="",
        **options,
    )
    model.n_features = start.means.shape[1]
    model.startprob_ = start.startprob
    model.transmat_ = start.transmat
    model.means_ = start.means
    model.covars_ = start.covariances
    return model


def iterate(
    name: str,
    X: NDArray,
    lengths: NDArray,
    start: Parameters,
    covariance_type: str,
    n_iter: int,
) -> Any:
    """Return an estimator after a given number of iterations."""
    model = build(name, start, covariance_type, n_iter).fit(X, lengths=lengths)
    if model.monitor_.iter != n_iter:
        raise RuntimeError(f"{name} stopped after {model.monitor_.iter} of {n_iter} iterations")
    return model


_N_STATES, _N_FEATURES, _N_FRAMES, _N_ITER = 8, 8, 100, 5


def comparisons(scale: float) -> list[Comparison]:
    """Return iterations of Baum and Welch from one start."""
    n_sequences = max(4, round(100 * scale))
    data = make_hmm(
        n_sequences, _N_FRAMES, n_states=_N_STATES, n_features=_N_FEATURES, random_state=0
    )
    X, lengths = data.X, data.lengths
    start = start_from(X, _N_STATES)

    def fitting(name: str) -> Callable[[], Callable[[], Any]]:
        def build_call() -> Callable[[], Any]:
            build(name, start)
            return partial(iterate, name, X, lengths, start, "diag", _N_ITER)

        return build_call

    expected = fitting(OURS)()().score(X, lengths=lengths)
    return [
        Comparison(
            "hmm",
            f"{_N_ITER} iterations, {n_sequences} sequences of {_N_FRAMES} frames, "
            f"{_N_FEATURES} features, {_N_STATES} states",
            {name: fitting(name) for name in (OURS, *HMMLEARN)},
            lambda model: float(abs(model.score(X, lengths=lengths) - expected) / len(X)),
            "log-likelihood of a frame off ours by",
            1e-6,
        )
    ]
