"""What kernels of homographies do with a few numbers: samples, models of them, and steps.

Models are nine numbers, the rows of H one after the other. Nothing here allocates, so that threads
of a CUDA device call it too: a matrix that becomes something is an argument.
"""

import math

import numpy as np

from fastmotion.core.compile import cpu_function, scalar
from fastmotion.core.random import philox
from fastmotion.epipolar.kernels.planar_scalar import (
    between_origins,
    four_point_homography,
    same_orientation,
    triple_areas,
)

# Sums over matches: six products of coordinates for each pair of rows of H, three coordinates for
# each row, the cost, the same without weights, the number of inliers and their weight.
OF_GRADIENT, COST, PLAIN_COST, COUNT, WEIGHT, N_SUMS = 36, 45, 46, 47, 48, 49

# The first damping of the method of Levenberg and Marquardt.
FIRST_DAMPING = np.float64(1e-3)

# Wrong matches are told by those within so many standard deviations of the noise.
WINDOW = np.float64(6.0)
# The mixture is estimated when the variance changes by less than this share.
MAX_PASSES = 100
MIXTURE_TOLERANCE = np.float64(1e-3)

# Right matches are told, and a model is fitted to them, by turns, so often at most, and until the
# noise changes by less than this share.
MAX_ROUNDS = 10
ROUND_TOLERANCE = np.float64(3e-3)
# A threshold beyond all distances of matches that may be right, and how near to the best the model
# of each round comes, in standard deviations of parameters.
EVERYTHING = np.float64(1e6)
FINE = np.float64(1e-3)

# Which of the six pairs of rows, and of the six products xx xy x yy y 1, stands at each place.
_PAIRS = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
_LEAST_PIVOT = np.float64(1e-14)

_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)


@cpu_function
def draw_four(seed, trial, pool, must_hold_last, sample):
    """Set sample to four different numbers below pool, in order; the last may be prescribed."""
    words = philox(
        np.uint64(0), np.uint64(0), trial & _LOW_32, trial >> _SHIFT_32,
        seed & _LOW_32, seed >> _SHIFT_32,
    )  # fmt: skip
    drawn = 3 if must_hold_last else 4
    rest = pool - 4 + drawn
    sample[3] = rest
    for k in range(drawn):
        # Of the numbers that are left, the one of a random rank.
        number = np.int64((words[k] * np.uint64(rest - k)) >> _SHIFT_32)
        place = 0
        while place < k and sample[place] <= number:
            number += 1
            place += 1
        for other in range(k, place, -1):
            sample[other] = sample[other - 1]
        sample[place] = number


@cpu_function
def model_of_four(points, sample, model):
    """Set model, of unit norm, to the homography of four matches; return whether there is one."""
    a, b, c, o = sample[0], sample[1], sample[2], sample[3]
    x1, y1, x2, y2 = points[0, o], points[1, o], points[2, o], points[3, o]
    xa, ya, ua, va = points[0, a] - x1, points[1, a] - y1, points[2, a] - x2, points[3, a] - y2
    xb, yb, ub, vb = points[0, b] - x1, points[1, b] - y1, points[2, b] - x2, points[3, b] - y2
    xc, yc, uc, vc = points[0, c] - x1, points[1, c] - y1, points[2, c] - x2, points[3, c] - y2
    a1, b1, c1, abc1 = triple_areas(xa, ya, xb, yb, xc, yc)
    a2, b2, c2, abc2 = triple_areas(ua, va, ub, vb, uc, vc)
    if not same_orientation(a1, b1, c1, abc1, a2, b2, c2, abc2):
        return False
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = four_point_homography(
        xa, ya, xb, yb, xc, yc, a1, b1, c1, ua, va, ub, vb, uc, vc, a2, b2, c2
    )  # fmt: skip
    h = between_origins(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2)
    square = 0.0
    for k in range(9):
        square += h[k] * h[k]
    if not 0 < square < np.inf:
        return False
    share = 1 / math.sqrt(square)
    for k in range(9):
        model[k] = share * h[k]
    return True


@cpu_function
def unfold_row(sums, i, row):
    """Set row i of the normal matrix from the sums."""
    for j in range(9):
        row[j] = sums[6 * _PAIRS[i // 3, j // 3] + _PAIRS[i % 3, j % 3]]


@cpu_function
def reflect(vector, axis):
    """Reflect a vector at the plane that a unit vector is normal to."""
    product = 0.0
    for k in range(9):
        product += axis[k] * vector[k]
    for k in range(9):
        vector[k] -= 2 * product * axis[k]


@cpu_function
def set_axis(h, axis):
    """Set the axis of Householder's reflection to a frame whose first axis is h.

    The other eight span the tangent space of models of unit norm.
    """
    square = 0.0
    for k in range(9):
        axis[k] = h[k]
    axis[0] += 1.0 if h[0] >= 0 else -1.0
    for k in range(9):
        square += axis[k] * axis[k]
    share = 1 / math.sqrt(square)
    for k in range(9):
        axis[k] *= share


@cpu_function
def _solve_tangent(normal, gradient, damping, lower, step):
    """Set the last eight numbers of step to the damped one; return whether there is one."""
    step[0] = 0
    for i in range(1, 9):
        for j in range(1, i):
            value = normal[i, j]
            for k in range(1, j):
                value -= lower[i, k] * lower[j, k]
            lower[i, j] = value / lower[j, j]
        pivot = (1 + damping) * normal[i, i]
        value = -gradient[i]
        for k in range(1, i):
            pivot -= lower[i, k] * lower[i, k]
            value -= lower[i, k] * step[k]
        if not pivot > _LEAST_PIVOT * normal[i, i]:
            return False
        lower[i, i] = math.sqrt(pivot)
        step[i] = value / lower[i, i]
    for i in range(8, 0, -1):
        for k in range(i + 1, 9):
            step[i] -= lower[k, i] * step[k]
        step[i] /= lower[i, i]
    return True


@cpu_function
def _move(h, step, trial):
    """Set trial to h and a step, of unit norm."""
    square = 0.0
    for k in range(9):
        trial[k] = h[k] + step[k]
        square += trial[k] * trial[k]
    share = 1 / math.sqrt(square)
    for k in range(9):
        trial[k] *= share


@cpu_function
def propose(h, axis, normal, gradient, damping, lower, step, trial):
    """Set trial to a model after a damped step; return what it should gain, NaN without a step.

    The normal matrix and the gradient are those of the frame of ``axis``.
    """
    if not _solve_tangent(normal, gradient, damping, lower, step):
        return np.nan
    gain = 0.0
    for k in range(1, 9):
        gain -= gradient[k] * step[k]
    reflect(step, axis)
    _move(h, step, trial)
    return gain


@scalar
def is_last_step(gain, count, cost, tolerance):
    """Return whether a step of such a gain moves parameters by that share of their deviations."""
    return gain * count <= tolerance * tolerance * cost
