"""Least median of squares over models of random samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.parallel import thread_map
from fastmotion.epipolar.problem import FundamentalProblem, squared_distances
from fastmotion.epipolar.ransac import Sampling

__all__ = ["least_median", "least_median_of_models", "trials_for_half"]

# Trials that one thread makes at a time.
_CHUNK = 256
# The standard deviation of a normal variable, in units of the median of its magnitude.
_NORMAL = 1.4826


def trials_for_half(confidence: float, sample_size: int) -> int:
    """Return after how many trials one has drawn right matches only where half of all are right."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-(0.5**sample_size)))


def least_median(
    problem: FundamentalProblem, n_trials: int, n_jobs: int | None
) -> tuple[NDArray[np.float64], float] | None:
    """Return the matrix whose squared distances have the least median, and the noise, if any.

    The noise is in the unit of the coordinates.
    """
    # Those that are scored tell the median well enough.
    scored = problem.matches.matches[problem.matches.order]
    sampling = Sampling(problem.matches.n, problem.sample_size, is_progressive=False)
    found = least_median_of_models(
        lambda first, stop: problem.sample_models(sampling.pools(first, stop), first),
        lambda model: squared_distances(model, scored),
        n_matches=len(scored),
        sample_size=problem.sample_size,
        n_trials=n_trials,
        n_jobs=n_jobs,
    )
    return None if found is None else (found[0], _NORMAL * found[1])


def least_median_of_models(
    sample_models: Callable[[int, int], NDArray[np.float64]],
    squares: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    n_matches: int,
    sample_size: int,
    n_trials: int,
    n_jobs: int | None,
) -> tuple[NDArray[np.float64], float] | None:
    """Return the model whose squared distances have the least median, and its root, if any.

    Of an even number of matches the median is what more than half of those not in the sample keep
    to (Rousseeuw 1984, "Least median of squares regression"). The root is widened for small
    samples, which follow the noise (Rousseeuw and Leroy 1987, "Robust regression and outlier
    detection", section 5.1).

    Parameters
    ----------
    sample_models : callable
        Returns the models of trials, given the first of them and where to stop.
    squares : callable
        Returns the squared distances of matches from a model.
    n_matches : int
        How many distances there are.
    sample_size, n_trials : int
    n_jobs : int or None
        Threads.
    """
    rank = min((n_matches + sample_size) // 2, n_matches - 1)

    def work(first: int) -> tuple[float, NDArray[np.float64] | None]:
        least: tuple[float, NDArray[np.float64] | None] = (math.inf, None)
        for model in sample_models(first, min(first + _CHUNK, n_trials)):
            of_model = squares(model)
            if np.count_nonzero(of_model < least[0]) > rank:
                least = float(np.partition(of_model, rank)[rank]), model
        return least

    found = thread_map(work, range(0, n_trials, _CHUNK), n_jobs=n_jobs)
    square, model = min(found, key=lambda pair: pair[0])
    if model is None:
        return None
    correction = 1 + 5 / max(n_matches - sample_size, 1)
    return model, correction * math.sqrt(square)
