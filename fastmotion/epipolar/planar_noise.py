"""How large the noise of matches of a plane is, and which matches have no other error."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST_PLANAR_DEVIATION", "LEAST_NOISE", "tell_right", "typical_noise"]

# A distance in standard deviations that 99 % of matches keep to: its square is chi-squared with two
# degrees of freedom.
LARGEST_PLANAR_DEVIATION = math.sqrt(-2 * math.log(0.01))
# In the unit of the matches: rounding is no smaller than that.
LEAST_NOISE = 1e-10

_N_FREE = 8
_MAX_STEPS = 50
_TOLERANCE = 1e-6

# Wrong matches are told by those within so many standard deviations of the noise.
_WINDOW = 6.0
# The mixture is estimated when the noise changes by less than this share.
_MAX_PASSES = 100
_MIXTURE_TOLERANCE = 1e-3
# Fewer wrong matches than this can never be ruled out.
_LEAST_WRONG = 0.5


def tell_right(
    distances: NDArray[np.float64], weight: NDArray[np.float64], noise: float
) -> tuple[NDArray[np.float64], float] | None:
    """Return how probably each match is right, and their noise; None if too few seem right.

    Squared distances of right matches are the variance times a chi-squared variable with two
    degrees of freedom, those of wrong ones are uniform: they lie anywhere in the disc of a radius
    that is many times the noise. The mixture is estimated by expectation and maximisation
    (Dempster, Laird and Rubin 1977, "Maximum likelihood from incomplete data via the EM
    algorithm").

    Parameters
    ----------
    distances : ndarray of shape (n,)
    weight : ndarray of shape (n,)
        Of mean 1.
    noise : float
        A guess.
    """
    noise = max(noise, LEAST_NOISE)
    near = np.flatnonzero(distances < _WINDOW * noise)
    squares, counts = distances[near] ** 2, weight[near]
    disc = (_WINDOW * noise) ** 2
    variance = noise**2
    right = counts * np.exp(squares * (-0.5 / variance))
    for _ in range(_MAX_PASSES):
        n_right = right.sum()
        n_left = 2 * n_right - _N_FREE
        if not n_left > 0:
            return None
        before, found = variance, float(right @ squares) / n_left
        variance = max(found, LEAST_NOISE**2)
        n_wrong = max(counts.sum() - n_right, _LEAST_WRONG)
        odds = n_right / n_wrong * (disc / 2 / variance) * np.exp(squares * (-0.5 / variance))
        share = odds / (1 + odds)
        right = counts * share
        if abs(variance - before) <= _MIXTURE_TOLERANCE * variance:
            break
    probability = np.zeros(len(distances))
    probability[near] = share
    return probability, math.sqrt(found)


def typical_noise(
    squares: float, weight: float, threshold: float, assumed: float | None = None
) -> float:
    """Return the standard deviation of a coordinate's noise, from distances below a threshold.

    The mean of their squares tells it: that of a chi-squared variable with two degrees of freedom
    that ends at the threshold. Where distances look evenly spread over the disc up to there, or
    none are left to tell, it is what is assumed: by default, noise for which the threshold is at
    `LARGEST_PLANAR_DEVIATION`.

    Parameters
    ----------
    squares : float
        Weighted sum of the squared distances.
    weight : float
        That of the matches.
    threshold : float
    assumed : float, default=None
    """
    if assumed is None:
        assumed = threshold / LARGEST_PLANAR_DEVIATION
    n_left = 2 * weight - _N_FREE
    if n_left <= 0:
        return assumed
    mean = squares / n_left
    limit = threshold**2 / 2
    variance = mean
    for _ in range(_MAX_STEPS):
        if not variance < limit:  # the threshold is at 1.4 standard deviations or less
            return assumed
        ratio = limit / max(variance, LEAST_NOISE * limit)
        before, variance = variance, mean / (1 - ratio / math.expm1(min(ratio, 700.0)))
        if abs(variance - before) <= _TOLERANCE * variance:
            break
    return math.sqrt(variance)
