"""Where the fit of a hidden Markov model begins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.memory import Memory
from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.em.missing import feature_moments
from fastmotion.em.passes import GaussianPasses
from fastmotion.em.rows import held_exactly
from fastmotion.em.seeding import kmeans
from fastmotion.hmm.kernels import kernels_for
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
    kernels = kernels_for(memory.device.kind)
    # First about a frame, which may be far from all others.
    mean = np.nan_to_num(memory.fetch(frames[:1])[0].astype(np.float64))
    with memory.scope():
        if weight is None:
            shares = memory.empty((len(frames), 1), np.float64)
            memory.fill(shares, 1.0)
        else:
            shares = memory.put(weight.reshape(-1, 1))
        if sequences.is_complete:
            mean = _moments_about(mean, frames, shares, memory).means[0]
            return _moments_about(mean, frames, shares, memory).scatter[0]
        filled, known = (memory.empty(frames.shape, frames.dtype) for _ in range(2))
        for _ in range(2):
            mean = held_exactly(mean, frames.dtype)
            kernels.fill_missing(frames, memory.put(mean.astype(frames.dtype)), filled, known)
            step = _moments_about(mean, filled, shares, memory).means[0] - mean
            share = _moments_about(np.zeros(len(mean)), known, shares, memory).means[0]
            mean = mean + step / np.where(share > 0, share, 1)
        kernels.fill_missing(frames, memory.put(mean.astype(frames.dtype)), filled, known)
        return _moments_about(mean, filled, shares, memory).scatter[0]


def _moments_about(
    mean: NDArray[np.float64], frames: Any, shares: Any, memory: Memory
) -> GaussianMoments:
    """Return the moments of all frames, summed about a mean on a device."""
    unit = np.eye(len(mean))[np.newaxis]
    gaussians = Gaussians.from_covariances(mean[np.newaxis], unit, "full")
    with memory.scope():
        passes = GaussianPasses(gaussians, memory=memory)
        sums = passes.new_sums()
        passes.add_moments(frames, shares, sums)
        return passes.moments(passes.fetch(sums))
