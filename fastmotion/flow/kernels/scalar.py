"""The formulae of dense flow, each once, as functions of numbers for CPU and CUDA kernels alike.

All constants are float32: in compiled code a Python float would make the whole formula float64.
"""

import math

import numpy as np

from fastmotion.core.compile import scalar

ZERO = np.float32(0.0)
QUARTER = np.float32(0.25)
HALF = np.float32(0.5)
ONE = np.float32(1.0)
THREE_HALVES = np.float32(1.5)
TWO = np.float32(2.0)

# Fourth-order central differences on five points.
_FIRST_NEAR, _FIRST_FAR = np.float32(8 / 12), np.float32(1 / 12)
_SECOND_CENTRE, _SECOND_NEAR, _SECOND_FAR = (
    np.float32(-30 / 12),
    np.float32(16 / 12),
    np.float32(-1 / 12),
)

# Keeps a 2 x 2 determinant of zeros from dividing; far below any determinant with information.
_TINY = np.float32(1e-30)


@scalar
def mean_and_step(a, b):
    """Return the mean of two numbers, and the second less the first."""
    return HALF * (a + b), b - a


@scalar
def first_difference(a, b, d, e):
    """Return the derivative at the middle of five equidistant samples a b c d e."""
    return _FIRST_NEAR * (d - b) - _FIRST_FAR * (e - a)


@scalar
def second_difference(a, b, c, d, e):
    """Return the second derivative at the middle of five equidistant samples a b c d e."""
    return _SECOND_CENTRE * c + _SECOND_NEAR * (b + d) + _SECOND_FAR * (a + e)


@scalar
def cubic_weights(t):
    """Return the weights of four samples at -1, 0, 1, 2 for the value at ``0 <= t < 1``.

    Keys (1981), equation 4, with his a = -1/2: exact for quadratics.
    """
    t2 = t * t
    t3 = t2 * t
    before = t2 - HALF * (t3 + t)
    after = TWO * t2 - THREE_HALVES * t3 + HALF * t
    beyond = HALF * (t3 - t2)
    return before, ONE - before - after - beyond, after, beyond


@scalar
def clamp(value, low, high):
    """Return the value, or the nearer end of [low, high] where it lies outside; low for NaN."""
    bounded = value if value > low else low
    return bounded if bounded < high else high


@scalar
def is_between(value, low, high):
    """Return whether a value lies in [low, high]; NaN does not."""
    return (value >= low) & (value <= high)


@scalar
def is_inside(x, y, width, height):
    """Return 1 where the point lies on the image and 0 elsewhere."""
    inside = is_between(x, ZERO, width - ONE) & is_between(y, ZERO, height - ONE)
    return ONE if inside else ZERO


@scalar
def constancy_scale(gx, gy, normalize, zeta2):
    """Return the factor that turns a squared intensity residual into a squared distance.

    Zimmer, Bruhn and Weickert (2011), equation 18; with ``normalize`` 0 and ``zeta2`` 1 the factor
    is 1 and the residual stays one of intensities.
    """
    return ONE / (normalize * (gx * gx + gy * gy) + zeta2)


@scalar
def constancy_distance2(gx, gy, gt, du, dv, normalize, zeta2):
    """Return the scaled square of the residual ``gx du + gy dv + gt`` of a linearised constancy."""
    residual = gt + gx * du + gy * dv
    return constancy_scale(gx, gy, normalize, zeta2) * residual * residual


@scalar
def constancy_side(gx, gy, gt, u0, v0):
    """Return c for which a constancy linearised at (u0, v0) reads ``gx u + gy v = c``."""
    return gx * u0 + gy * v0 - gt


@scalar
def normal_matrix(weight, gx, gy):
    """Return the elements 11, 12, 22 of the normal matrix of one equation ``gx u + gy v = c``."""
    return weight * gx * gx, weight * gx * gy, weight * gy * gy


@scalar
def normal_side(weight, gx, gy, c):
    """Return the right-hand side of the normal equations of one equation ``gx u + gy v = c``."""
    weighted = weight * c
    return gx * weighted, gy * weighted


@scalar
def charbonnier(squared, epsilon2):
    """Return the derivative of sqrt(s^2 + epsilon^2) to s^2, times two."""
    return ONE / math.sqrt(squared + epsilon2)


@scalar
def robust_weight(squared, epsilon2):
    """Return the weight of a residual: 1 at zero, epsilon / |s| far above epsilon (Charbonnier).

    1 for all residuals where epsilon is infinite.
    """
    return ONE / math.sqrt(ONE + squared / epsilon2)


@scalar
def generalized_charbonnier(squared, epsilon2, exponent):
    """Return the derivative of (s^2 + epsilon^2)^exponent to s^2, over the exponent."""
    return (squared + epsilon2) ** (exponent - ONE)


@scalar
def penalty_weight(squared, epsilon2, exponent):
    """Return the derivative of (s^2 + epsilon^2)^exponent to s^2, up to a factor; at 1 it is 1."""
    if exponent == ONE:
        return ONE
    if exponent == HALF:
        return charbonnier(squared, epsilon2)
    return generalized_charbonnier(squared, epsilon2, exponent)


@scalar
def squared_length(x, y):
    """Return the squared length of a vector."""
    return x * x + y * y


@scalar
def edge_weight(step, smoothness, edge):
    """Return the weight of smoothness between two pixels whose intensities differ by a step."""
    return smoothness / (ONE + edge * step * step)


@scalar
def inverse_2x2(a, b, c, w):
    """Return the inverse ``[[p, q], [q, r]]`` of ``[[a + w, b], [b, c + w]]`` as p, q, r.

    ``[[a, b], [b, c]]`` has no negative eigenvalue and w is not negative. Where the matrix is
    singular, ``a c - b b`` is rounding alone: w must not be lost in it.
    """
    determinant = max(a * c - b * b, ZERO) + w * (a + c + w)
    scale = ONE / (determinant + _TINY)
    return (c + w) * scale, -b * scale, (a + w) * scale


@scalar
def smaller_eigenvalue(a, b, c):
    """Return the smaller eigenvalue of the symmetric matrix ``[[a, b], [b, c]]``."""
    half_difference = HALF * (a - c)
    return HALF * (a + c) - math.sqrt(half_difference * half_difference + b * b)


@scalar
def pull(b, w_left, w_right, w_above, w_below, left, right, above, below):
    """Return the right-hand side of a pixel's equation, its four neighbours included."""
    return b + w_left * left + w_right * right + w_above * above + w_below * below


@scalar
def squared_spectral_radius(omega):
    """Return the squared spectral radius of the Jacobi iteration whose best factor is omega.

    Young (1971): omega = 2 / (1 + sqrt(1 - radius^2)).
    """
    root = TWO / omega - ONE
    return ONE - root * root


@scalar
def next_relaxation_factor(factor, squared_radius):
    """Return the factor of a half-sweep from that of the one before; the sequence 1, 2 begins it.

    Chebyshev acceleration (Golub and Varga 1961, section 7): the error never grows, while with a
    constant factor it does for the first sweeps.
    """
    return ONE / (ONE - QUARTER * squared_radius * factor)


@scalar
def over_relax(value, solution, omega):
    """Return a value moved ``omega`` of the way to the solution of its equation (SOR)."""
    return value + omega * (solution - value)


@scalar
def relax_pixel(u, v, i11, i12, i22, s, t, omega):
    """Return a pixel's flow over-relaxed; I is its inverse matrix, (s, t) its right-hand side."""
    return over_relax(u, i11 * s + i12 * t, omega), over_relax(v, i12 * s + i22 * t, omega)


@scalar
def stay_within(value, base, most):
    """Return the value, or where it is further from base than ``most``, the nearest that is not."""
    return clamp(value, base - most, base + most)


@scalar
def window_update(a11, a12, a22, b1, b2, regularization, max_update):
    """Return the change of the flow that solves a window's regularised normal equations."""
    i11, i12, i22 = inverse_2x2(a11, a12, a22, regularization)
    du = clamp(-(i11 * b1 + i12 * b2), -max_update, max_update)
    dv = clamp(-(i12 * b1 + i22 * b2), -max_update, max_update)
    return du, dv


@scalar
def affinity(squared):
    """Return a weight that falls from 1 with a squared ratio: the square of Cauchy's."""
    weight = ONE / (ONE + squared)
    return weight * weight


@scalar
def reliability(residual, stretch_u, stretch_v, intensity, divergence):
    """Return how far a pixel is likely to be seen in both frames, between 0 and 1.

    The weight falls with the residual and where the flow converges: there something is covered
    (Sand and Teller 2008, equation 1). The stretches are differences of u, v over two pixels;
    ``intensity`` and ``divergence`` are the inverse scales.
    """
    scaled = intensity * residual
    converging = divergence * min(HALF * (stretch_u + stretch_v), ZERO)
    return affinity(scaled * scaled) * affinity(converging * converging)


@scalar
def sort_5(a, b, c, d, e):
    """Return five numbers in ascending order."""
    a, b = min(a, b), max(a, b)
    d, e = min(d, e), max(d, e)
    c, e = min(c, e), max(c, e)
    c, d = min(c, d), max(c, d)
    a, d = min(a, d), max(a, d)
    a, c = min(a, c), max(a, c)
    b, e = min(b, e), max(b, e)
    b, d = min(b, d), max(b, d)
    b, c = min(b, c), max(b, c)
    return a, b, c, d, e


@scalar
def median_of_sorted_columns(
    a0, a1, a2, a3, a4,
    b0, b1, b2, b3, b4,
    c0, c1, c2, c3, c4,
    d0, d1, d2, d3, d4,
    e0, e1, e2, e3, e4,
):  # fmt: skip
    """Return the median of 25 numbers given as a matrix whose columns ascend (a0 <= b0 <= ... e0).

    With the rows sorted too, all but 13 candidates have 13 or more numbers above or below them; a
    selection network (Knuth, TAOCP 3, section 5.3.4) finds the middle one of these.
    """
    _, _, _, a3, a4 = sort_5(a0, a1, a2, a3, a4)
    _, _, b2, b3, b4 = sort_5(b0, b1, b2, b3, b4)
    _, c1, c2, c3, _ = sort_5(c0, c1, c2, c3, c4)
    d0, d1, d2, _, _ = sort_5(d0, d1, d2, d3, d4)
    e0, e1, _, _, _ = sort_5(e0, e1, e2, e3, e4)
    d1, e0 = min(d1, e0), max(d1, e0)
    a4, c2 = min(a4, c2), max(a4, c2)
    e1, a3 = min(e1, a3), max(e1, a3)
    b3, b2 = min(b3, b2), max(b3, b2)
    c1, d0 = min(c1, d0), max(c1, d0)
    d2, b4 = min(d2, b4), max(d2, b4)
    d1, a4 = min(d1, a4), max(d1, a4)
    e0, c2 = min(e0, c2), max(e0, c2)
    e1, b3 = min(e1, b3), max(e1, b3)
    a3, b2 = min(a3, b2), max(a3, b2)
    e0, a4 = min(e0, a4), max(e0, a4)
    e0, a3 = min(e0, a3), max(e0, a3)
    a4, b3 = min(a4, b3), max(a4, b3)
    a4, e1 = min(a4, e1), max(a4, e1)
    c2, a3 = min(c2, a3), max(c2, a3)
    d2, c3 = min(d2, c3), max(d2, c3)
    c2, e1 = min(c2, e1), max(c2, e1)
    d0, d2 = min(d0, d2), max(d0, d2)
    e1, c1 = min(e1, c1), max(e1, c1)
    a3, d0 = min(a3, d0), max(a3, d0)
    b3, d2 = min(b3, d2), max(b3, d2)
    c2, a3 = min(c2, a3), max(c2, a3)
    b3, c1 = min(b3, c1), max(b3, c1)
    a3, b3 = min(a3, b3), max(a3, b3)
    return b3
