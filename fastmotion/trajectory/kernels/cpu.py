"""Loops over trajectories on the CPU.

Frames lie as ``(n_frames, n_channels)``, a channel being one coordinate of one joint, and the
sequences one after the other.
"""

from fastmotion.trajectory.kernels.filters import (
    EDGE_MISSING,
    EDGE_NEAREST,
    EDGE_REFLECT,
    FIRST_TAPS,
    MAX_MOMENTS,
    MORE_TAPS,
    apply_kernels,
)
from fastmotion.trajectory.kernels.sums import LAG_TILE, lag_statistics

__all__ = [
    "EDGE_MISSING",
    "EDGE_NEAREST",
    "EDGE_REFLECT",
    "FIRST_TAPS",
    "LAG_TILE",
    "MAX_MOMENTS",
    "MORE_TAPS",
    "apply_kernels",
    "lag_statistics",
]
