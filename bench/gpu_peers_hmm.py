"""Baum and Welch's algorithm as it is written with an array library: all sequences, frame by frame.

Sequences have the same length. Variances are diagonal, with hmmlearn's priors.
"""

from __future__ import annotations

import numpy as np

from bench.gpu_libraries import Array, Library
from fastmotion.benchmark.hmm import Parameters

_COVARS_PRIOR = 1e-2


def iterate(library: Library, X: Array, start: Parameters, n_iter: int) -> Parameters:
    """Return the parameters after a number of iterations.

    Parameters
    ----------
    X : float32 array of shape (n_sequences, n_frames, n_features)
    """
    model = start
    for _ in range(n_iter):
        emissions = _emissions(library, X, model)
        first, transitions, shares = _smooth(library, emissions, model)
        model = _maximise(library, X, first, transitions, shares)
    return model


def _emissions(library: Library, X: Array, model: Parameters) -> Array:
    """Densities of all frames in all states, each frame divided by its largest."""
    precisions = 1 / model.covariances
    squares = library.put((-0.5 * precisions).T.astype(np.float32))
    linear = library.put((model.means * precisions).T.astype(np.float32))
    constant = -0.5 * (model.means**2 * precisions + np.log(model.covariances)).sum(axis=1)
    logs = (X * X) @ squares + X @ linear + library.put(constant.astype(np.float32))
    return library.xp.exp(logs - library.xp.amax(logs, -1)[..., None])


def _smooth(
    library: Library, emissions: Array, model: Parameters
) -> tuple[np.ndarray, np.ndarray, Array]:
    """Expected counts of first states and of transitions, and the states' shares of each frame."""
    n_frames = emissions.shape[1]
    transmat = library.put(model.transmat.astype(np.float32))
    forward = library.empty(tuple(emissions.shape))
    ahead = library.empty(tuple(emissions.shape))  # what a frame and those after it say of states

    state = library.put(model.startprob.astype(np.float32)) * emissions[:, 0]
    scales = [state.sum(axis=1)[:, None]]
    forward[:, 0] = state / scales[0]
    for t in range(1, n_frames):
        state = (forward[:, t - 1] @ transmat) * emissions[:, t]
        scales.append(state.sum(axis=1)[:, None])
        forward[:, t] = state / scales[t]

    shares = library.empty(tuple(emissions.shape))
    shares[:, -1] = forward[:, -1]
    ahead[:, -1] = emissions[:, -1] / scales[-1]
    for t in reversed(range(n_frames - 1)):
        backward = ahead[:, t + 1] @ transmat.T
        shares[:, t] = forward[:, t] * backward
        ahead[:, t] = emissions[:, t] * backward / scales[t]

    n_states = len(model.startprob)
    before, after = forward[:, :-1].reshape(-1, n_states), ahead[:, 1:].reshape(-1, n_states)
    transitions = library.fetch(before.T @ after) * model.transmat
    return library.fetch(shares[:, 0].sum(axis=0)), transitions, shares


def _maximise(
    library: Library, X: Array, first: np.ndarray, transitions: np.ndarray, shares: Array
) -> Parameters:
    rows, weights = X.reshape(-1, X.shape[2]), shares.reshape(-1, shares.shape[2])
    counts = library.fetch(weights.sum(axis=0)).astype(float)[:, np.newaxis]
    means = library.fetch(weights.T @ rows) / counts
    squares = library.fetch(weights.T @ (rows * rows)) - counts * means**2
    return Parameters(
        first / first.sum(),
        transitions / transitions.sum(axis=1, keepdims=True),
        means,
        (_COVARS_PRIOR + squares) / counts,
    )
