"""Temporal kernels over joint trajectories."""

from fastmotion.trajectory import _warmup as _warmup
from fastmotion.trajectory.fixed import fixed_kernel, frequency_response

__all__ = ["fixed_kernel", "frequency_response"]
