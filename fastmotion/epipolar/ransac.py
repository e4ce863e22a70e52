"""Robust fits by random samples: a driver that knows no geometry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.parallel import thread_map

__all__ = ["Candidate", "Problem", "Sampling", "mean_gain", "run_ransac"]

# Trials that one thread makes at a time. Their results are merged in order, and bounds are set
# between rounds only: how many threads there are changes nothing.
_CHUNK = 1024
# Chunks of a round once the first, smaller rounds have not sufficed.
_CHUNKS_PER_ROUND = 4
_FIRST_ROUND = 64
# Models of a chunk that are refined; of the first, small round, one.
_KEPT = 2
# A model of a minimal sample is worth refining if it has this share of the best one's gain.
_WORTHWHILE = 0.3
# Trials after which progressive sampling draws from all matches (Chum and Matas 2005).
_PROGRESSIVE_TRIALS = 200_000
# Fewer of the best matches than this share do not end the search: they may show a motion of their
# own, such as that of a car, or a logo that does not move.
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Candidate:
    """A model and what speaks for it.

    Attributes
    ----------
    model : ndarray of shape (9,)
    gain : float
        Weighted mean over matches of ``max(0, 1 - d² / threshold²)``.
    plain_gain : float
        The same without weights, as searches go by.
    inlier_ratio : float
        Share of the matches that lie within the threshold.
    """

    model: NDArray[np.float64]
    gain: float
    plain_gain: float
    inlier_ratio: float


class Problem(Protocol):
    """What is to be fitted; `search` and `refine` are called from several threads at once."""

    @property
    def sample_size(self) -> int:
        """Matches of a minimal sample."""

    def search(
        self,
        pools: NDArray[np.int64],
        first_trial: int,
        models: NDArray[np.float64],
        gains: NDArray[np.float64],
    ) -> None:
        """Make trials; keep models of more gain than those that are there, the best first."""

    def refine(self, models: NDArray[np.float64]) -> list[Candidate]:
        """Improve models, or just evaluate them where that is not wanted."""

    def is_inlier(self, model: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which matches lie within the threshold, in the order in which samples draw."""


class Sampling:
    """Which matches trials draw from: from all, or from the best ones first.

    Parameters
    ----------
    n_matches, sample_size : int
    is_progressive : bool
        Matches are sorted by quality, and trial t draws from the first so many, among them the last
        of those: PROSAC (Chum and Matas, "Matching with PROSAC", CVPR 2005, equations 3 to 5).
    """

    def __init__(self, n_matches: int, sample_size: int, is_progressive: bool) -> None:
        self._n_matches = n_matches
        self._sample_size = sample_size
        self._growth: NDArray[np.float64] | None = None
        if is_progressive:
            sizes = np.arange(sample_size, n_matches + 1.0)
            draws = np.full(len(sizes), float(_PROGRESSIVE_TRIALS))
            for i in range(sample_size):
                draws *= (sizes - i) / (n_matches - i)
            self._growth = 1 + np.concatenate([[0.0], np.cumsum(np.ceil(np.diff(draws)))])

    def pools(self, first: int, stop: int) -> NDArray[np.int64]:
        """Return from how many matches each trial draws."""
        if self._growth is None:
            return np.full(stop - first, self._n_matches)
        trials = np.arange(first + 1, stop + 1)
        grown = self._sample_size + np.searchsorted(self._growth, trials)
        return np.minimum(grown, self._n_matches)

    def trials_needed(self, problem: Problem, best: Candidate, confidence: float) -> float:
        """Return after how many trials one has drawn inliers only, with a probability."""
        if self._growth is None:
            return _trials(best.inlier_ratio, self._sample_size, confidence)
        is_inlier = problem.is_inlier(best.model)
        sizes = np.arange(1, len(is_inlier) + 1)
        ratios = np.cumsum(is_inlier) / sizes
        least = math.ceil(_LEAST_SHARE * len(is_inlier))
        return _trials(float(ratios[least - 1 :].max()), self._sample_size, confidence)


def _trials(ratio: float, sample_size: int, confidence: float) -> float:
    success = ratio**sample_size
    if success >= 1.0:
        return 1.0
    if success <= 0.0:
        return math.inf
    return math.log1p(-confidence) / math.log1p(-success)


def _chunks(first: int, size: int, last: float) -> list[tuple[int, int]]:
    """Return the chunks of a round of trials, as first and stop."""
    stop = math.ceil(min(first + size, last))
    return [(start, min(start + _CHUNK, stop)) for start in range(first, stop, _CHUNK)]


def run_ransac(
    problem: Problem,
    sampling: Sampling,
    *,
    confidence: float,
    max_trials: int,
    n_jobs: int | None,
    map_chunks: Callable[..., list[Any]] = thread_map,
) -> tuple[Candidate | None, int]:
    """Return the best model found, None if no sample had one, and the number of trials made.

    Each round of trials is spread over threads; the best few of each chunk are refined (LO-RANSAC:
    Chum, Matas and Kittler 2003), and the search ends when a sample of inliers only has been drawn
    with the given confidence, judged by the best model so far.

    Parameters
    ----------
    problem : Problem
    sampling : Sampling
    confidence : float
        Between 0 and 1.
    max_trials : int
        Never exceeded.
    n_jobs : int or None
        Threads.
    map_chunks : callable
        How the chunks of a round are worked on, as by `fastmotion.core.parallel.thread_map`.

    Returns
    -------
    best : Candidate or None
    n_trials : int
    """
    best: Candidate | None = None
    n_trials, size = 0, _FIRST_ROUND
    needed: float = max_trials
    while n_trials < needed:
        chunks = _chunks(n_trials, size, needed)
        bound = 0.0 if best is None else _WORTHWHILE * best.plain_gain

        def work(chunk: tuple[int, int], bound: float = bound) -> list[Candidate]:
            n_kept = _KEPT if chunk[0] else 1
            models = np.zeros((n_kept, 9))
            gains = np.full(n_kept, bound)
            problem.search(sampling.pools(*chunk), chunk[0], models, gains)
            return problem.refine(models[gains > bound])

        for candidates in map_chunks(work, chunks, n_jobs=n_jobs):
            for candidate in candidates:
                if best is None or candidate.gain > best.gain:
                    best = candidate
        n_trials, size = chunks[-1][1], min(4 * size, _CHUNKS_PER_ROUND * _CHUNK)
        if best is not None:
            needed = min(max_trials, sampling.trials_needed(problem, best, confidence))
    return best, n_trials


def mean_gain(distances: NDArray[np.float64], threshold: float) -> float:
    """Return the mean of ``max(0, 1 - d² / threshold²)``."""
    with np.errstate(over="ignore"):
        ratios = np.minimum(distances / threshold, 1.0)
    return float((1.0 - ratios * ratios).mean())
