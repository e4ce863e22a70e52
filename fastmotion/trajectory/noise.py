"""The noise of joint positions, from what their fifth differences leave of smooth motion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import is_cuda_array
from fastmotion.trajectory import on_device
from fastmotion.trajectory.sequences import Sequences

_ORDER = 5
# Standard deviation of the fifth difference of unit white noise: the root of 10 over 5.
_GAIN = float(np.sqrt(252))
# Median of the size of a unit normal variable.
NORMAL_MEDIAN = 0.6744897501960817


def noise_levels(sequences: Sequences) -> NDArray[np.float64]:
    """Estimate the standard deviation of the noise of each channel of each sequence.

    It is the median size of the fifth difference over what unit noise would give. Motion is smooth
    most of the time, so that its own fifth differences seldom move the median.

    Returns
    -------
    ndarray of shape (n,)
        Of the channels that have at least one fifth difference.
    """
    if is_cuda_array(sequences.frames):
        sizes = on_device.noise_sizes(sequences.frames, sequences.starts, sequences.stops)
        return sizes[~np.isnan(sizes)] / (_GAIN * NORMAL_MEDIAN)
    levels = []
    for start, stop in zip(sequences.starts, sequences.stops):
        frames = sequences.frames[start:stop].reshape(stop - start, -1)
        if len(frames) <= _ORDER:
            continue
        sizes = np.abs(np.diff(frames.astype(np.float64), _ORDER, axis=0))
        known = ~np.isnan(sizes).all(axis=0)
        median = np.nanmedian if np.isnan(sizes).any() else np.median
        levels.append(median(sizes[:, known], axis=0) / (_GAIN * NORMAL_MEDIAN))
    return np.concatenate(levels) if levels else np.empty(0)


def noise_deviation(noise: float | str | None, levels: NDArray[np.float64]) -> float:
    """Return the standard deviation that a parameter `noise` stands for, given `noise_levels`."""
    if noise != "auto":
        return float(noise or 0.0)
    if not len(levels):
        raise ValueError(
            f"noise='auto' needs sequences of more than {_ORDER} frames in a row without a missing "
            "value; give the standard deviation as a number"
        )
    return float(np.median(levels))
