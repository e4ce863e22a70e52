"""Hidden Markov models of hmmlearn, and of ours through the same interface."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastmotion.hmm import GaussianHMM

OURS = "fastmotion"
SCALING, LOG = "hmmlearn, scaling", "hmmlearn, log"
HMMLEARN = {SCALING: "scaling", LOG: "log"}

# It calls a difference by rounding "not converging".
logging.getLogger("hmmlearn").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Parameters:
    startprob: np.ndarray
    transmat: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    """In the shape that hmmlearn sets: (K, D) where the matrices are diagonal."""

    def moved(self, shift: np.ndarray) -> Parameters:
        return replace(self, means=self.means + shift)


def build(name: str, start: Parameters, covariance_type: str = "diag", n_iter: int = 1) -> Any:
    """An estimator with parameters; ImportError where the library is missing."""
    estimator: Callable[..., Any] = GaussianHMM
    options: dict[str, Any] = {}
    if name in HMMLEARN:
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
    X: np.ndarray,
    lengths: np.ndarray,
    start: Parameters,
    covariance_type: str,
    n_iter: int,
) -> Any:
    """An estimator after a given number of iterations."""
    model = build(name, start, covariance_type, n_iter).fit(X, lengths=lengths)
    if model.monitor_.iter != n_iter:
        raise RuntimeError(f"{name} stopped after {model.monitor_.iter} of {n_iter} iterations")
    return model
