"""How large the noise of matches of a plane is."""

from __future__ import annotations

import math

from fastmotion.epipolar.kernels.planar_scalar import LEAST_NOISE

__all__ = ["LARGEST_PLANAR_DEVIATION", "LEAST_NOISE", "typical_noise"]

# A distance in standard deviations that 99 % of matches keep to: its square is chi-squared with two
# degrees of freedom.
LARGEST_PLANAR_DEVIATION = math.sqrt(-2 * math.log(0.01))

_N_FREE = 8
_MAX_STEPS = 50
_TOLERANCE = 1e-6


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
