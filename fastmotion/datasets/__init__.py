"""Data whose truth is known, made here or taken from installed packages: nothing is downloaded."""

from fastmotion.datasets.mixtures import (
    TrueMixture,
    make_gaussian_mixture,
    make_gaussian_set,
    make_hmm,
)
from fastmotion.datasets.motion import make_motion
from fastmotion.datasets.motorcycle import load_motorcycle
from fastmotion.datasets.two_view import TwoView, make_two_view
from fastmotion.datasets.warped import make_warped_clip, make_warped_photograph

__all__ = [
    "TrueMixture",
    "TwoView",
    "load_motorcycle",
    "make_gaussian_mixture",
    "make_gaussian_set",
    "make_hmm",
    "make_motion",
    "make_two_view",
    "make_warped_clip",
    "make_warped_photograph",
]
