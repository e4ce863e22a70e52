"""Loops over trajectories on the CPU.

Frames lie as ``(n_frames, n_channels)``, a channel being one coordinate of one joint, and the
sequences one after the other.
"""

from fastmotion.trajectory.kernels.filters import (
    BLOCK,
    BLOCK_ROWS,
    EDGE_MISSING,
    EDGE_NEAREST,
    EDGE_REFLECT,
    FIRST_TAPS,
    MAX_MOMENTS,
    MORE_TAPS,
    apply_kernels,
)
from fastmotion.trajectory.kernels.sums import (
    LAG_TILE,
    MAX_TASKS,
    TASK_BYTES,
    TASK_CHANNELS,
    lag_statistics,
    totals_of,
)

__all__ = [
    "BLOCK",
    "BLOCK_ROWS",
    "EDGE_MISSING",
    "EDGE_NEAREST",
    "EDGE_REFLECT",
    "FIRST_TAPS",
    "LAG_TILE",
    "MAX_MOMENTS",
    "MAX_TASKS",
    "MORE_TAPS",
    "TASK_BYTES",
    "TASK_CHANNELS",
    "apply_kernels",
    "lag_statistics",
    "totals_of",
]
