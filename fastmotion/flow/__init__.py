"""Dense optical flow between images."""

from fastmotion.flow import _warmup as _warmup
from fastmotion.flow._horn_schunck import HornSchunck, horn_schunck
from fastmotion.flow._lucas_kanade import LucasKanade, lucas_kanade
from fastmotion.flow.derivatives import image_derivatives
from fastmotion.flow.warping import forward_backward_error, warp

__all__ = [
    "HornSchunck",
    "LucasKanade",
    "forward_backward_error",
    "horn_schunck",
    "image_derivatives",
    "lucas_kanade",
    "warp",
]
