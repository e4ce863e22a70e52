"""Data with a known motion, made here or taken from installed packages: nothing is downloaded."""

from fastmotion.datasets.motion import make_motion
from fastmotion.datasets.motorcycle import load_motorcycle
from fastmotion.datasets.warped import make_warped_clip, make_warped_photograph

__all__ = ["load_motorcycle", "make_motion", "make_warped_clip", "make_warped_photograph"]
