"""What frames and windows weigh in a fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import minimum_filter1d

from fastmotion.trajectory.noise import NORMAL_MEDIAN
from fastmotion.trajectory.sequences import Sequences, check_sequence_weights

# Residuals beyond this many standard deviations count linearly: 95 % efficient for normal noise
# (P. J. Huber, "Robust Statistics", 1981, section 4.3).
_HUBER_DELTA = 1.345


def split_weights(
    sample_weight: ArrayLike | None,
    trust: NDArray | None,
    sequences: Sequences,
    reach: tuple[int, int],
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return weights of windows, (total_frames, 1 or n_joints), and of sequences, or None.

    `reach` is the first and last offset of a window.
    """
    rows, per_sequence = None, None
    if sample_weight is not None:
        weights, kind = check_sequence_weights(sample_weight, sequences)
        if kind == "sequence":
            per_sequence = weights
        else:
            rows = weights.reshape(len(weights), -1)
    if trust is not None:
        least = _least_in_window(trust, sequences, reach)
        rows = least if rows is None else rows * least
    return rows, per_sequence


def _least_in_window(
    trust: NDArray, sequences: Sequences, reach: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the least confidence of the frames of each complete window."""
    first, n = reach[0], reach[1] - reach[0] + 1
    least = np.ones(trust.shape)
    for start, stop in zip(sequences.starts, sequences.stops):
        # SciPy's minimum over n frames belongs to the (n // 2)-th of them. Windows that are cut off
        # do not count, whatever weight they get.
        running = minimum_filter1d(trust[start:stop], n, axis=0, mode="nearest")
        places = np.arange(stop - start) + first + n // 2
        least[start:stop] = running[np.clip(places, 0, stop - start - 1)]
    return least


def frame_weights(sample_weight: ArrayLike, sequences: Sequences) -> NDArray[np.float64]:
    """Return the weight of each frame, (total_frames, 1 or n_joints)."""
    weights, kind = check_sequence_weights(sample_weight, sequences)
    if kind == "sequence":
        spread = np.zeros(len(sequences.frames))
        for weight, start, stop in zip(weights, sequences.starts, sequences.stops):
            spread[start:stop] = weight
        weights = spread
    return weights.reshape(len(weights), -1)


def huber_weights(residuals: NDArray, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights of residual sizes, (n_frames, n_channels), by groups of channels."""
    weights = np.zeros(residuals.shape)
    for group in range(int(groups.max()) + 1):
        sizes = residuals[:, groups == group].astype(np.float64)
        known = ~np.isnan(sizes)
        limit = 0.0
        if known.any():
            limit = _HUBER_DELTA * float(np.median(sizes[known])) / NORMAL_MEDIAN
        within = np.ones_like(sizes)
        if limit > 0:
            np.divide(limit, sizes, out=within, where=sizes > limit)
        weights[:, groups == group] = np.where(known, within, 0.0)
    return weights
