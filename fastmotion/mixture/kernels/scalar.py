"""Formulae of the search for components, for CPU and CUDA kernels alike."""

import math

import numpy as np

from fastmotion.core.compile import scalar
from fastmotion.em.kernels.scalar import exp_of_negative

_ZERO = np.float64(0)
_LEAST_SUM = np.float64(1e-300)


@scalar
def loss_of_merger(p_a, p_b, merged, total):
    """Return by how much less the log density of a sample is with two components merged.

    Densities of the two, and of all together, are over the largest one; so is the logarithm that is
    given of the density of the merger.
    """
    height = max(merged, _ZERO)
    others = max(total - p_a - p_b, _ZERO) * exp_of_negative(-height)
    density = others + exp_of_negative(merged - height)
    return math.log(total / max(density, _LEAST_SUM)) - height
