"""What is timed of hidden Markov models: iterations of Baum and Welch, and Viterbi's path."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from fastmotion.benchmark import hmm as peers
from fastmotion.benchmark.hmm import OURS, Parameters, start_from
from fastmotion.datasets import make_hmm

N_SEQUENCES, N_FRAMES, N_FEATURES = 500, 200, 16
# hmmlearn takes tens of seconds for an iteration with logarithms of more states.
_MOST_LOG_STATES = 16
# As close as two orders of adding up come.
_RTOL = 1e-6


@functools.lru_cache(maxsize=1)
def sequences(n_states: int) -> Bunch:
    return make_hmm(N_SEQUENCES, N_FRAMES, n_states=n_states, n_features=N_FEATURES, random_state=0)


def _methods(n_states: int) -> tuple[str, ...]:
    log = (peers.LOG,) if n_states <= _MOST_LOG_STATES else ()
    return (OURS, peers.SCALING, *log)


@dataclass(frozen=True)
class BaumWelch:
    """A given number of iterations with diagonal covariances, from a given start."""

    n_states: int

    def __str__(self) -> str:
        return f"Baum-Welch, K = {self.n_states}"

    @property
    def methods(self) -> tuple[str, ...]:
        return _methods(self.n_states)

    def build(self, name: str, n_iter: int) -> Callable[[], Any]:
        """Return what is timed; it returns the fitted estimator."""
        data = sequences(self.n_states)
        start = start_from(data.X, self.n_states)
        peers.build(name, start)
        return functools.partial(peers.iterate, name, data.X, data.lengths, start, "diag", n_iter)

    def check(self, name: str, n_iter: int, model: Any) -> None:
        """Raise unless the parameters are ours after as many iterations."""
        ours = _ours_after(self, n_iter)
        for key in ("startprob_", "transmat_", "means_", "covars_"):
            np.testing.assert_allclose(
                getattr(model, key), getattr(ours, key), rtol=_RTOL, atol=_RTOL, err_msg=name
            )


@functools.lru_cache(maxsize=2)
def _ours_after(case: BaumWelch, n_iter: int) -> Any:
    return case.build(OURS, n_iter)()


@dataclass(frozen=True)
class Viterbi:
    """The most likely paths through the states of the true model."""

    n_states: int

    def __str__(self) -> str:
        return f"Viterbi, K = {self.n_states}"

    @property
    def methods(self) -> tuple[str, ...]:
        return _methods(self.n_states)

    def build(self, name: str) -> Callable[[], tuple[float, np.ndarray]]:
        """Return what is timed."""
        data = sequences(self.n_states)
        variances = np.diagonal(data.covariances, axis1=1, axis2=2)
        truth = Parameters(data.startprob, data.transmat, data.means, variances)
        return functools.partial(peers.build(name, truth).decode, data.X, lengths=data.lengths)

    def check(self, name: str, result: tuple[float, np.ndarray]) -> None:
        """Raise unless the paths are as likely as ours and mostly the same."""
        log_probability, states = result
        ours, our_states = _our_paths(self)
        np.testing.assert_allclose(log_probability, ours, rtol=_RTOL, err_msg=name)
        # Two paths can be equally likely, but for rounding.
        assert np.mean(states != our_states) < 1e-4, name


@functools.lru_cache(maxsize=1)
def _our_paths(case: Viterbi) -> tuple[float, np.ndarray]:
    return case.build(OURS)()
