"""Formulas of the epipolar constraint, for CPU and CUDA kernels alike."""

import math

import numpy as np

from fastmotion.core.compile import scalar

# Matches that are scored before the first decision whether to go on with a model; the next ones
# come after twice as many each.
FIRST_TEST = 64
# A model is dropped when it has gained less than one as good as the bound would have by so many
# standard deviations: of a thousand such models one or two are lost.
_DEVIATIONS = np.float32(3.0)

_ZERO, _ONE = np.float32(0), np.float32(1)
_INFINITY = np.float32(np.inf)

# Coordinates of larger magnitude are those of no point: products of eight must stay within the
# range of float64.
LARGEST = np.float64(1e30)

# Degrees of freedom of a fundamental matrix: nine numbers, less their scale and the determinant.
N_FREE = 7


@scalar
def sampson_terms(f0, f1, f2, f3, f4, f5, f6, f7, f8, x1, y1, x2, y2):
    """Return the residual of the epipolar constraint and its gradient by x2, y2, x1 and y1.

    The Sampson distance is the residual's magnitude over that of the gradient (Hartley and
    Zisserman, "Multiple View Geometry", 2nd edition, equation 11.9).
    """
    a = f0 * x1 + f1 * y1 + f2
    b = f3 * x1 + f4 * y1 + f5
    c = f0 * x2 + f3 * y2 + f6
    d = f1 * x2 + f4 * y2 + f7
    return a * x2 + b * y2 + (f6 * x1 + f7 * y1 + f8), a, b, c, d


@scalar
def squared_sampson(f0, f1, f2, f3, f4, f5, f6, f7, f8, x1, y1, x2, y2):
    """Return the squared Sampson distance.

    At both epipoles it is 0, or infinite where a residual is left.
    """
    r, a, b, c, d = sampson_terms(f0, f1, f2, f3, f4, f5, f6, f7, f8, x1, y1, x2, y2)
    gradient = a * a + b * b + c * c + d * d
    if gradient > _ZERO:
        return r * r / gradient
    return _ZERO if r == _ZERO else _INFINITY


@scalar
def match_gain(f0, f1, f2, f3, f4, f5, f6, f7, f8, x1, y1, x2, y2, inverse_threshold):
    """Return max(0, 1 − d²/threshold²), float32 for such numbers; 0 where d is undefined."""
    r, a, b, c, d = sampson_terms(f0, f1, f2, f3, f4, f5, f6, f7, f8, x1, y1, x2, y2)
    return max(_ZERO, _ONE - inverse_threshold * (r * r) / (a * a + b * b + c * c + d * d))


@scalar
def is_hopeless(gain, expected):
    """Return whether a model has gained so little that it cannot come near one that is expected.

    Matches lie in random order, so few of them tell (Capel, "An effective bail-out test for RANSAC
    consensus scoring", BMVC 2005).
    """
    return gain < expected - _DEVIATIONS * math.sqrt(expected)


@scalar
def cofactors(f0, f1, f2, f3, f4, f5, f6, f7, f8):
    """Return the cofactors of a 3×3 matrix: the gradient of its determinant."""
    return (
        f4 * f8 - f5 * f7, f5 * f6 - f3 * f8, f3 * f7 - f4 * f6,
        f2 * f7 - f1 * f8, f0 * f8 - f2 * f6, f1 * f6 - f0 * f7,
        f1 * f5 - f2 * f4, f2 * f3 - f0 * f5, f0 * f4 - f1 * f3,
    )  # fmt: skip
