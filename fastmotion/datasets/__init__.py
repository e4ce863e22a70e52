"""Real pictures with a known motion, taken from installed packages: nothing is downloaded."""

from fastmotion.datasets.motorcycle import load_motorcycle
from fastmotion.datasets.warped import make_warped_clip, make_warped_photograph

__all__ = ["load_motorcycle", "make_warped_clip", "make_warped_photograph"]
