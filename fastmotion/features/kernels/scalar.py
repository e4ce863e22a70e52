"""The formulae of orientation histograms, as functions of numbers for CPU and CUDA kernels alike.

All constants are float32: in compiled code a Python float would make the whole formula float64.
"""

import math

import numpy as np

from fastmotion.core.compile import scalar

ZERO = np.float32(0.0)
HALF = np.float32(0.5)
ONE = np.float32(1.0)

TURN = np.float32(2 * math.pi)
_HALF_PI = np.float32(math.pi / 2)
_PI = np.float32(math.pi)

# Keeps the ratio of two zeros from being NaN.
_TINY = np.float32(1e-30)

# The odd polynomial of least greatest error, 3e-7, for the arc tangent on [0, 1].
_A1 = np.float32(0.9999961)
_A3 = np.float32(-0.33317368)
_A5 = np.float32(0.19807815)
_A7 = np.float32(-0.13233340)
_A9 = np.float32(0.079623632)
_A11 = np.float32(-0.033604186)
_A13 = np.float32(0.0068117819)


@scalar
def known(a, b):
    """Return a number, or NaN where another one is not finite."""
    return a + (b - b)


@scalar
def polar(a, b, bins_per_radian):
    """Return direction, in bins from a > 0 towards b > 0, and length of a vector (a, b).

    The direction is in [0, number of bins], up to rounding; both are NaN if a or b is.
    """
    across = abs(a)
    down = abs(b)
    long = max(across, down)
    ratio = min(across, down) / max(long, _TINY)
    squared = ratio * ratio
    angle = _A11 + squared * _A13
    angle = _A9 + squared * angle
    angle = _A7 + squared * angle
    angle = _A5 + squared * angle
    angle = _A3 + squared * angle
    angle = ratio * (_A1 + squared * angle)
    angle = _HALF_PI - angle if down > across else angle
    angle = _PI - angle if a < ZERO else angle
    angle = TURN - angle if b < ZERO else angle
    return angle * bins_per_radian, long * math.sqrt(ONE + squared) + (a - a) + (b - b)


@scalar
def share_of_bin(position, k, n):
    """Return what bin k of n gets of a direction: 1 at its centre, 0 at its neighbours'."""
    distance = abs(position - k)
    return max(ZERO, ONE - min(distance, n - distance))


@scalar
def split_vote(position, n):
    """Return the two bins of n that a direction lies between, and the share of the second."""
    whole = math.floor(position)
    first = np.int64(whole)
    first = first - n if first >= n else first
    second = first + 1
    second = second - n if second >= n else second
    return first, second, position - np.float32(whole)
