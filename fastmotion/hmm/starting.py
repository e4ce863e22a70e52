"""Where the fit of a hidden Markov model begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastmotion.em.gaussians import Gaussians
from fastmotion.em.missing import feature_moments
from fastmotion.em.passes import GaussianPasses
from fastmotion.em.seeding import kmeans
from fastmotion.hmm.sequences import FrameSequences

__all__ = ["initial_covariances", "initial_means"]

# Runs of k-means, as in hmmlearn.
_N_INIT = 10
_ROWS = 8192


def initial_means(
    sequences: FrameSequences,
    n_states: int,
    weight: NDArray | None,
    random_state: np.random.RandomState,
    n_jobs: int | None,
) -> NDArray[np.float64]:
    """Return the centres that k-means finds, of shape (n_states, n_features).

    Raises
    ------
    ValueError
        There are fewer frames than states.
    """
    frames = sequences.frames
    usable = len(frames) if weight is None else np.count_nonzero(weight)
    if usable < n_states:
        raise ValueError(
            f"n_components must not exceed the number of frames (of positive weight), {usable}, "
            f"got n_components={n_states}; pass fewer states, or set means_ and leave 'm' out of "
            "init_params"
        )
    found = kmeans(
        frames,
        n_states,
        sample_weight=weight,
        random_state=random_state,
        n_init=_N_INIT,
        n_jobs=n_jobs,
    )
    return found.centres


def initial_covariances(
    sequences: FrameSequences,
    n_states: int,
    covariance_type: str,
    min_covar: float,
    weight: NDArray | None,
) -> NDArray[np.float64]:
    """Return the covariance of all frames, for each state and in the shape of the type.

    Missing values are taken for the mean of their feature.
    """
    n_features = sequences.frames.shape[1]
    covariance = _covariance(sequences, weight) + min_covar * np.eye(n_features)
    if covariance_type == "tied":
        return covariance
    if covariance_type == "full":
        return np.tile(covariance, (n_states, 1, 1))
    variances = np.diagonal(covariance)
    if covariance_type == "spherical":
        return np.full(n_states, variances.mean())
    return np.tile(variances, (n_states, 1))


def _covariance(sequences: FrameSequences, weight: NDArray | None) -> NDArray[np.float64]:
    """Return the covariance; unbiased where all weights are 1."""
    weights = np.ones(len(sequences.frames)) if weight is None else weight
    if sequences.is_on_host:
        scatter = _scatter(sequences.frames, weight, weights)
    else:
        scatter = _scatter_on_device(sequences, weight)
    n_frames = np.count_nonzero(weights)
    return scatter / (weights.sum() * max(n_frames - 1, 1) / n_frames)


def _scatter(
    frames: NDArray, weight: NDArray | None, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    mean, _ = feature_moments(frames, weight)
    scatter = np.zeros((frames.shape[1], frames.shape[1]))
    for begin in range(0, len(frames), _ROWS):
        block = frames[begin : begin + _ROWS] - mean
        block[np.isnan(block)] = 0.0
        scatter += (block.T * weights[begin : begin + _ROWS]) @ block
    return scatter


def _scatter_on_device(sequences: FrameSequences, weight: NDArray | None) -> NDArray[np.float64]:
    memory, frames = sequences.memory, sequences.frames
    n_features = frames.shape[1]
    # Twice: about a frame, which may be far from all others, and about the mean that was found.
    mean = memory.fetch(frames[:1])[0].astype(np.float64)
    with memory.scope():
        if weight is None:
            shares = memory.empty((len(frames), 1), np.float64)
            memory.fill(shares, 1.0)
        else:
            shares = memory.put(weight[:, np.newaxis])
        for _ in range(2):
            one = Gaussians.from_covariances(
                mean[np.newaxis], np.eye(n_features)[np.newaxis], "full"
            )
            passes = GaussianPasses(one, memory=memory)
            sums = passes.new_sums()
            passes.add_moments(frames, shares, sums)
            moments = passes.moments(passes.fetch(sums))
            mean = moments.means[0]
    return moments.scatter[0]
