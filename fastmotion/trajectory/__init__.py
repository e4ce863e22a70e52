"""Temporal kernels over joint trajectories."""

from fastmotion.trajectory import _warmup as _warmup
from fastmotion.trajectory._bank import MotionKernelBank
from fastmotion.trajectory._motion_kernel import MotionKernel
from fastmotion.trajectory._motion_kernel_cv import MotionKernelCV
from fastmotion.trajectory._predictor import LinearMotionPredictor
from fastmotion.trajectory.fixed import fixed_kernel, frequency_response
from fastmotion.trajectory.gaps import interpolate_gaps

__all__ = [
    "LinearMotionPredictor",
    "MotionKernel",
    "MotionKernelBank",
    "MotionKernelCV",
    "fixed_kernel",
    "frequency_response",
    "interpolate_gaps",
]
