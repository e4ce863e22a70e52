"""What frames and windows weigh in a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import minimum_filter1d

from fastmotion.core.device import is_cuda_array
from fastmotion.trajectory import on_device
from fastmotion.trajectory.noise import NORMAL_MEDIAN
from fastmotion.trajectory.sequences import Sequences, check_sequence_weights

# Residuals beyond this many standard deviations count linearly: 95 % efficient for normal noise
# (P. J. Huber, "Robust Statistics", 1981, section 4.3).
_HUBER_DELTA = 1.345


def split_weights(
    sample_weight: ArrayLike | None,
    trust: Any,
    sequences: Sequences,
    reach: tuple[int, int],
) -> tuple[Any, NDArray[np.float64] | None]:
    """Return weights of windows, (total_frames, 1 or n_joints), and of sequences, or None.

    `reach` is the first and last offset of a window. Weights of windows lie where the frames do.
    """
    rows, per_sequence = None, None
    if sample_weight is not None:
        weights, kind = check_sequence_weights(sample_weight, sequences)
        if kind == "sequence":
            per_sequence = weights
        else:
            rows = _as_columns(weights)
    if trust is not None:
        least = _least_in_window(trust, sequences, reach)
        rows = least if rows is None else weighted(rows, least)
    return rows, per_sequence


def weighted(rows: Any, others: Any) -> Any:
    """Return the products of weights of frames, (total_frames, 1 or more)."""
    return on_device.product(rows, others) if is_cuda_array(rows) else rows * others


def _as_columns(weights: Any) -> Any:
    return weights.reshape((len(weights), weights.size // len(weights)))


def _least_in_window(trust: Any, sequences: Sequences, reach: tuple[int, int]) -> Any:
    """Return the least confidence of the frames of each complete window."""
    if is_cuda_array(trust):
        return on_device.least_in_window(trust, sequences.starts, sequences.stops, reach)
    first, n = reach[0], reach[1] - reach[0] + 1
    least = np.ones(trust.shape)
    for start, stop in zip(sequences.starts, sequences.stops):
        # SciPy's minimum over n frames belongs to the (n // 2)-th of them. Windows that are cut off
        # do not count, whatever weight they get.
        running = minimum_filter1d(trust[start:stop], n, axis=0, mode="nearest")
        places = np.arange(stop - start) + first + n // 2
        least[start:stop] = running[np.clip(places, 0, stop - start - 1)]
    return least


def frame_weights(sample_weight: ArrayLike, sequences: Sequences) -> Any:
    """Return the weight of each frame, (total_frames, 1 or n_joints), where the frames lie."""
    weights, kind = check_sequence_weights(sample_weight, sequences)
    if kind == "sequence":
        spread = np.zeros(len(sequences.frames))
        for weight, start, stop in zip(weights, sequences.starts, sequences.stops):
            spread[start:stop] = weight
        weights = sequences.beside(spread)
    return _as_columns(weights)


def outlier_weights(wanted: Any, given: Any, base: Any, groups: NDArray[np.int64]) -> Any:
    """Return weights of values, (total_frames, n_channels), that are less for outlying residuals.

    Parameters
    ----------
    wanted, given : array of shape (total_frames, n_joints, n_coords)
        On one device; NaN where a value is not known.
    base : float64 array of shape (total_frames, n_channels), or on a device of fewer columns
        Weights that are not for outliers; what has none tells nothing of the spread either.
    groups : ndarray of shape (n_channels,), int64
        Channels whose residuals have one spread.
    """
    if is_cuda_array(wanted):
        return on_device.outlier_weights(wanted, given, base, groups, _limits)
    residuals = np.abs(wanted - given).reshape(base.shape)
    residuals[base == 0] = np.nan
    return base * huber_weights(residuals, groups)


def _limits(medians: Any) -> Any:
    """Return the residuals beyond which those with some median size count less; NaN is none."""
    return np.nan_to_num(_HUBER_DELTA * medians / NORMAL_MEDIAN)


def huber_weights(residuals: NDArray, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights of residual sizes, (n_frames, n_channels), by groups of channels."""
    weights = np.zeros(residuals.shape)
    for group in range(int(groups.max()) + 1):
        sizes = residuals[:, groups == group].astype(np.float64)
        known = ~np.isnan(sizes)
        limit = 0.0
        if known.any():
            limit = float(_limits(np.median(sizes[known])))
        within = np.ones_like(sizes)
        if limit > 0:
            np.divide(limit, sizes, out=within, where=sizes > limit)
        weights[:, groups == group] = np.where(known, within, 0.0)
    return weights
