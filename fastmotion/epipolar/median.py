"""Least median of squares over fundamental matrices of random samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.parallel import thread_map
from fastmotion.epipolar.problem import FundamentalProblem, squared_distances
from fastmotion.epipolar.ransac import Sampling

__all__ = ["least_median"]

# Trials that one thread makes at a time.
_CHUNK = 256
# The standard deviation of a normal variable, in units of the median of its magnitude.
_NORMAL = 1.4826


def least_median(
    problem: FundamentalProblem, n_trials: int, n_jobs: int | None
) -> tuple[NDArray[np.float64], float] | None:
    """Return the model whose squared distances have the least median, and the noise, if any.

    Of an even number of matches the median is what more than half of those not in the sample keep
    to (Rousseeuw 1984, "Least median of squares regression"). The noise that follows is widened
    for small samples (Rousseeuw and Leroy 1987, "Robust regression and outlier detection", section
    5.1), in the unit of the coordinates.
    """
    # Those that are scored tell the median well enough.
    scored = problem.matches.matches[problem.matches.order]
    n = len(scored)
    sampling = Sampling(problem.matches.n, problem.sample_size, is_progressive=False)
    rank = min((n + problem.sample_size) // 2, n - 1)

    def work(first: int) -> tuple[float, NDArray[np.float64] | None]:
        pools = sampling.pools(first, min(first + _CHUNK, n_trials))
        least: tuple[float, NDArray[np.float64] | None] = (math.inf, None)
        for model in problem.sample_models(pools, first):
            squares = squared_distances(model, scored)
            if np.count_nonzero(squares < least[0]) > rank:
                least = float(np.partition(squares, rank)[rank]), model
        return least

    found = thread_map(work, range(0, n_trials, _CHUNK), n_jobs=n_jobs)
    square, model = min(found, key=lambda pair: pair[0])
    if model is None:
        return None
    correction = 1 + 5 / max(n - problem.sample_size, 1)
    return model, _NORMAL * correction * math.sqrt(square)
