"""EM for Gaussian mixtures and hidden Markov models of many samples, on a GPU and beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from bench import gpu_peers_hmm, gpu_peers_mixture, peers_mixture
from bench.gpu_cases import COPY, MATRIX, OURS_CPU, OURS_GPU, GpuCase, Work
from fastmotion.benchmark import hmm as peers_hmm
from fastmotion.benchmark.hmm import start_from
from fastmotion.benchmark.mixture import start_near
from fastmotion.datasets import TrueMixture, make_gaussian_mixture, make_hmm
from fastmotion.mixture import GaussianMixture

TORCH, CUPY = "torch", "CuPy"

# Samples that densities are compared on, and most difference between their mean logarithms.
_CHECKED, _ROUNDING = 2000, 1e-3


@dataclass(frozen=True)
class MixtureIterations(GpuCase):
    """Iterations of EM from a given start on float32 samples, ten times the same tenth."""

    n_samples: int
    n_features: int
    n_components: int
    covariance_type: str
    n_iter: int = 2

    family = "Gaussian mixtures"
    methods = (OURS_CPU, OURS_GPU, TORCH, CUPY)
    n_parts = 10

    def __str__(self) -> str:
        size = f"{self.n_samples:.0e} x {self.n_features}, K = {self.n_components}"
        return f"{self.n_iter} iterations, {size}, {self.covariance_type}"

    @property
    def work(self) -> Work:
        n, d, k = self.n_samples, self.n_features, self.n_components
        if self.covariance_type == "full":
            formula, flops = "2 D² + 6 D", 2 * d**2 + 6 * d
        else:
            formula, flops = "8 D", 8 * d
        return Work(
            f"an iteration: bytes: 4 N D; flops: N K ({formula}), half of them for densities, "
            "half for moments",
            4.0 * n * d * self.n_iter,
            1.0 * n * k * flops * self.n_iter,
            MATRIX,
        )

    def inputs(self, n_parts: int) -> Sequence[np.ndarray]:
        return (np.tile(self._data.X, (n_parts, 1)),)

    def ours(self, device: str) -> Callable[..., Any]:
        estimator = partial(GaussianMixture, device=device)
        return lambda X: peers_mixture.iterate(
            estimator, X, self._start, self.covariance_type, self.n_iter
        )

    def peer(self, method: str) -> Callable[..., Any]:
        return lambda library, X: gpu_peers_mixture.iterate(
            library, X, self._start, self.covariance_type, self.n_iter
        )

    def check(self, method: str, result: TrueMixture | tuple, n_parts: int) -> None:
        ours, X = _our_mixture(self), self._data.X[:_CHECKED]
        found = result if isinstance(result, TrueMixture) else _mixture_of(*result)
        np.testing.assert_allclose(found.weights, ours.weights, atol=_ROUNDING, err_msg=method)
        np.testing.assert_allclose(
            found.score_samples(X).mean(), ours.score_samples(X).mean(), rtol=0, atol=_ROUNDING
        )

    @property
    def _data(self) -> Bunch:
        return _samples(self.n_samples // self.n_parts, self.n_features, self.n_components)

    @property
    def _start(self) -> peers_mixture.Start:
        return start_near(self._data.truth).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _samples(n_samples: int, n_features: int, n_components: int) -> Bunch:
    data = make_gaussian_mixture(
        n_samples, n_components=n_components, n_features=n_features, random_state=0
    )
    return Bunch(X=data.X.astype(np.float32), truth=data.truth)


def _mixture_of(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> TrueMixture:
    if covariances.ndim == 2:
        covariances = covariances[:, :, np.newaxis] * np.eye(covariances.shape[1])
    return TrueMixture(weights / weights.sum(), means, covariances)


@functools.lru_cache(maxsize=1)
def _our_mixture(case: MixtureIterations) -> TrueMixture:
    return case.our_result()


@dataclass(frozen=True)
class BaumWelch(GpuCase):
    """Iterations with diagonal covariances on float32 sequences, ten times the same tenth."""

    n_sequences: int
    n_frames: int
    n_features: int
    n_states: int
    n_iter: int = 2

    family = "hidden Markov models"
    methods = (OURS_CPU, OURS_GPU, TORCH, CUPY)
    n_parts = 10

    def __str__(self) -> str:
        size = f"{self.n_sequences} x {self.n_frames} x {self.n_features}, K = {self.n_states}"
        return f"{self.n_iter} iterations of Baum-Welch, {size}"

    @property
    def work(self) -> Work:
        n, d, k = self.n_sequences * self.n_frames, self.n_features, self.n_states
        return Work(
            "an iteration: bytes: N (8 D + 8 K), the frames read forwards and backwards, the "
            "forward probabilities written and read; flops: N (8 K D + 6 K²)",
            4.0 * n * (2 * d + 2 * k) * self.n_iter,
            1.0 * n * (8 * k * d + 6 * k**2) * self.n_iter,
            COPY,
        )

    def inputs(self, n_parts: int) -> Sequence[np.ndarray]:
        return (np.tile(_sequences(self), (n_parts, 1, 1)),)

    def ours(self, device: str) -> Callable[..., Any]:
        def call(X: Any) -> Any:
            model = peers_hmm.build(peers_hmm.OURS, self._start, n_iter=self.n_iter)
            model.set_params(device=device).fit(X)
            if model.monitor_.iter != self.n_iter:
                raise RuntimeError(f"stopped after {model.monitor_.iter} iterations")
            return peers_hmm.Parameters(
                model.startprob_,
                model.transmat_,
                model.means_,
                np.diagonal(model.covars_, axis1=1, axis2=2),
            )

        return call

    def peer(self, method: str) -> Callable[..., Any]:
        return lambda library, X: gpu_peers_hmm.iterate(library, X, self._start, self.n_iter)

    def check(self, method: str, result: peers_hmm.Parameters, n_parts: int) -> None:
        ours = _our_chain(self, n_parts)
        for key in ("startprob", "transmat", "means", "covariances"):
            np.testing.assert_allclose(
                getattr(result, key), getattr(ours, key), rtol=2e-3, atol=2e-3, err_msg=method
            )

    @property
    def _start(self) -> peers_hmm.Parameters:
        rows = _sequences(self).reshape(-1, self.n_features)
        return start_from(rows, self.n_states)


@functools.lru_cache(maxsize=1)
def _sequences(case: BaumWelch) -> np.ndarray:
    data = make_hmm(
        case.n_sequences // case.n_parts,
        case.n_frames,
        n_states=case.n_states,
        n_features=case.n_features,
        random_state=0,
    )
    return data.X.astype(np.float32).reshape(-1, case.n_frames, case.n_features)


@functools.lru_cache(maxsize=1)
def _our_chain(case: BaumWelch, n_parts: int) -> peers_hmm.Parameters:
    # The prior of the variances counts the less, the more frames there are.
    return case.our_result(n_parts)
