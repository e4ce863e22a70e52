"""Least median of squares over models of random samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.parallel import thread_map
from fastmotion.epipolar.problem import FundamentalProblem
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
        lambda models, rank: problem.kernels.fundamental.least_median(models, scored, rank),
        n_matches=len(scored),
        sample_size=problem.sample_size,
        n_trials=n_trials,
        n_jobs=n_jobs,
        map_chunks=problem.kernels.map,
    )
    return None if found is None else (found[0], _NORMAL * found[1])


def least_median_of_models(
    sample_models: Callable[[int, int], NDArray[np.float64]],
    least_of: Callable[[NDArray[np.float64], int], tuple[float, int]],
    *,
    n_matches: int,
    sample_size: int,
    n_trials: int,
    n_jobs: int | None,
    map_chunks: Callable[..., list[Any]] = thread_map,
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
    least_of : callable
        Returns, of models and a rank, the least squared distance of this rank, counted from 0, and
        the number of the model that has it; infinity if none has a finite one.
    n_matches : int
        How many distances there are.
    sample_size, n_trials : int
    n_jobs : int or None
        Threads.
    map_chunks : callable
        How chunks of trials are worked on, as by `fastmotion.core.parallel.thread_map`.
    """
    rank = min((n_matches + sample_size) // 2, n_matches - 1)

    def work(first: int) -> tuple[float, NDArray[np.float64] | None]:
        models = sample_models(first, min(first + _CHUNK, n_trials))
        if not len(models):
            return math.inf, None
        least, which = least_of(models, rank)
        return least, models[which] if least < math.inf else None

    found = map_chunks(work, range(0, n_trials, _CHUNK), n_jobs=n_jobs)
    square, model = min(found, key=lambda pair: pair[0])
    if model is None:
        return None
    correction = 1 + 5 / max(n_matches - sample_size, 1)
    return model, correction * math.sqrt(square)
