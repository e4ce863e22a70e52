"""Temporal kernels over joint trajectories."""

from fastmotion.trajectory import _warmup as _warmup
from fastmotion.trajectory._motion_kernel import MotionKernel
from fastmotion.trajectory.fixed import fixed_kernel, frequency_response

__all__ = ["MotionKernel", "fixed_kernel", "frequency_response"]
