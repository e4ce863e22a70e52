"""The kernels of two-view geometry on a CUDA device: functions that serve many requests at once.

Their names are those of `cpu`, and requests are tuples of the arguments of the functions there.
"""

from fastmotion.epipolar.kernels import cuda_planar as planar
from fastmotion.epipolar.kernels.cuda_matches import (
    find_within,
    set_distances,
    set_symmetric_distances,
    squared_distances,
    sum_gains,
)
from fastmotion.epipolar.kernels.cuda_parallax import score_epipoles
from fastmotion.epipolar.kernels.cuda_polish import polish
from fastmotion.epipolar.kernels.cuda_refinement import refine_all
from fastmotion.epipolar.kernels.cuda_samples import least_median, sample_models, score, search

__all__ = [
    "find_within",
    "least_median",
    "planar",
    "polish",
    "refine_all",
    "sample_models",
    "score",
    "score_epipoles",
    "search",
    "set_distances",
    "set_symmetric_distances",
    "squared_distances",
    "sum_gains",
]
