"""The formulae of homographies, each once, as functions of numbers.

A homography is nine numbers h0 … h8, the rows of H one after the other, of any scale: a match maps
(x1, y1) in image 1 to (x2, y2) in image 2.
"""

import numpy as np

from fastmotion.core.compile import scalar
from fastmotion.em.kernels.scalar import exp_of_negative

# The standard deviation of noise, in the unit of the matches, below which it is but rounding.
LEAST_NOISE = np.float64(1e-10)

# Degrees of freedom of a homography.
_N_FREE = np.float64(8)
# Fewer wrong matches than this can never be ruled out.
_LEAST_WRONG = np.float64(0.5)
_HALF = np.float64(0.5)
_TWO = np.float64(2)

# A model is dropped when it has gained so many standard deviations less than one as good as the
# best kept, here squared: of a thousand such models one or two are lost.
_SQUARED_DEVIATIONS = np.float32(9)
_ZERO, _ONE = np.float32(0), np.float32(1)


@scalar
def planar_residual(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2):
    """Return the algebraic error (e1, e2) of a match and its derivatives a, b, c, d, w.

    The error is (H p1 - w p2) without its last element, which is 0 where w is (H p1)₃. Its
    derivative by (x1, y1, x2, y2) is the matrix J of rows (a, b, -w, 0) and (c, d, 0, -w): Hartley
    and Zisserman 2004, "Multiple View Geometry", section 4.2.6.
    """
    w = h6 * x1 + h7 * y1 + h8
    e1 = h0 * x1 + h1 * y1 + h2 - x2 * w
    e2 = h3 * x1 + h4 * y1 + h5 - y2 * w
    return e1, e2, h0 - x2 * h6, h1 - x2 * h7, h3 - y2 * h6, h4 - y2 * h7, w


@scalar
def planar_sampson(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2):
    """Return the squared Sampson distance of a match, eᵀ (J Jᵀ)⁻¹ e (ibid., equation 4.26).

    It is the least sum of squares by which the four coordinates must change to obey H, to first
    order. Written as a ratio of sums of squares, it is not negative in any precision; where H
    leaves the points undefined, it is NaN or infinite and so below no threshold.
    """
    e1, e2, a, b, c, d, w = planar_residual(
        h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2
    )  # fmt: skip
    square = w * w
    along = e1 * c - e2 * a
    across = e1 * d - e2 * b
    return (along * along + across * across + square * (e1 * e1 + e2 * e2)) / planar_determinant(
        a, b, c, d, square
    )


@scalar
def planar_determinant(a, b, c, d, square):
    """Return the determinant of J Jᵀ, for J of `planar_residual` with w² its square."""
    area = a * d - b * c
    return area * area + square * (a * a + b * b + c * c + d * d + square)


@scalar
def match_gain(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2, inverse_limit):
    """Return max(0, 1 - d² / threshold²), d the Sampson distance: 0 where it is undefined."""
    square = planar_sampson(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2)
    gain = _ONE - inverse_limit * square
    return gain if gain > _ZERO else _ZERO


@scalar
def linearised_match(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2, weight, limit):
    """Return what a match adds to the normal equations of squared Sampson distances, and counts.

    The derivatives of a residual whitened by (J Jᵀ)^-1/2 are those of the algebraic error at the
    corrected match, which obeys the model to first order: this takes in how J depends on H. These
    are the products of the corrected point of image 1, (x, y, 1), with three rows of their own.

    Returns
    -------
    x, y : float64
        The corrected point.
    p00, p01, p02, p11, p12, p22 : float64
        Weights of the six pairs of rows of H in the normal matrix.
    g0, g1, g2 : float64
        Those of the three rows in the gradient.
    cost : float64
        Squared distance over ``limit``, at most 1.
    count, total : float64
        1 and the weight for an inlier, else 0: its squared distance is below ``limit``.
    """
    e1, e2, a, b, c, d, w = planar_residual(
        h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2
    )  # fmt: skip
    square = w * w
    inverse = 1 / planar_determinant(a, b, c, d, square)
    s11 = (c * c + d * d + square) * inverse
    s12 = -(a * c + b * d) * inverse
    s22 = (a * a + b * b + square) * inverse
    v1 = s11 * e1 + s12 * e2
    v2 = s12 * e1 + s22 * e2
    # Not e1 v1 + e2 v2, which rounding may make negative.
    along, across = e1 * c - e2 * a, e1 * d - e2 * b
    distance = (along * along + across * across + square * (e1 * e1 + e2 * e2)) * inverse
    is_inlier = distance < limit
    # What is no inlier may be infinite, and zero times infinity is not zero.
    v1, v2 = v1 if is_inlier else 0.0, v2 if is_inlier else 0.0
    share = weight if is_inlier else 0.0
    u, v = x2 + w * v1, y2 + w * v2
    p00, p01 = share * s11 if is_inlier else 0.0, share * s12 if is_inlier else 0.0
    p11 = share * s22 if is_inlier else 0.0
    p02, p12 = -(u * p00 + v * p01), -(u * p01 + v * p11)
    return (
        x1 - (a * v1 + c * v2), y1 - (b * v1 + d * v2),
        p00, p01, p02, p11, p12, -(u * p02 + v * p12),
        share * v1, share * v2, -share * (u * v1 + v * v2),
        distance / limit if is_inlier else 1.0, 1.0 if is_inlier else 0.0, share,
    )  # fmt: skip


@scalar
def will_hardly_exceed(gain, seen, left, share, floor):
    """Return whether a model's gain can, or will, hardly exceed a floor.

    It will hardly when in the first matches, which lie in random order, it has gained less than
    its share by several standard deviations. A gain between 0 and 1 varies no more than a coin.

    Parameters
    ----------
    gain : float32 or float64
        Of the matches seen.
    seen, left : as gain
        How many those are, and how many are left.
    share : as gain
        The floor over the number of all.
    floor : as gain
    """
    lack = seen * share - gain
    spread = seen * share * (_ONE - share)
    return (gain + left <= floor) | ((lack > _ZERO) & (lack * lack > _SQUARED_DEVIATIONS * spread))


@scalar
def right_share(square, half_precision, factor, below):
    """Return how probably a match at a squared distance is right.

    Squared distances of right matches are the variance times a chi-squared variable with two
    degrees of freedom, those of wrong ones are uniform. With ``factor`` and ``below`` of
    `estimated_mixture` it is Bayes' rule; with 1 and 0 a guess that knows no wrong matches.
    """
    likelihood = exp_of_negative(-half_precision * square)
    return factor * likelihood / (_ONE + below * likelihood)


@scalar
def estimated_mixture(n_right, squares, n_all, disc):
    """Return the variance of right matches, and half their precision and factor of `right_share`.

    Parameters
    ----------
    n_right, squares : float64
        How many matches are right, and the sum of their squared distances.
    n_all : float64
    disc : float64
        The square of the largest distance: wrong ones lie anywhere in the disc of that radius.

    Returns
    -------
    found : float64
        The variance of right matches; negative if too few are right to tell.
    variance : float64
        The same, but no smaller than rounding allows.
    half_precision, factor : float64
        Of `right_share`.
    """
    n_left = _TWO * n_right - _N_FREE
    found = squares / n_left if n_left > 0 else -1.0
    variance = max(found, LEAST_NOISE * LEAST_NOISE)
    n_wrong = max(n_all - n_right, _LEAST_WRONG)
    return found, variance, _HALF / variance, n_right / n_wrong * (disc * _HALF / variance)


@scalar
def differ_little(value, other, share):
    """Return whether a number is as far from a positive one as a share of that, or nearer."""
    return abs(value - other) <= share * value


@scalar
def triple_areas(xa, ya, xb, yb, xc, yc):
    """Return twice the signed areas of 0bc, 0ca, 0ab and abc of three points a, b, c."""
    area_a = xb * yc - xc * yb
    area_b = xc * ya - xa * yc
    area_c = xa * yb - xb * ya
    return area_a, area_b, area_c, area_a + area_b + area_c


@scalar
def same_orientation(a1, b1, c1, abc1, a2, b2, c2, abc2):
    """Return whether all triples of four points turn as they did, or all turn the other way.

    No camera sees it otherwise: Chum and Matas 2005, "Matching with PROSAC", and Chum, Werner and
    Matas 2004, "Epipolar geometry estimation via RANSAC benefits from the oriented epipolar
    constraint". All turn the other way where one image is a mirror's. Three points on a line have
    no orientation. The arguments are `triple_areas` in both images.
    """
    p, q, r, s = a1 * a2, b1 * b2, c1 * c2, abc1 * abc2
    kept = (p > 0) & (q > 0) & (r > 0) & (s > 0)
    mirrored = (p < 0) & (q < 0) & (r < 0) & (s < 0)
    return kept | mirrored


@scalar
def four_point_homography(xa, ya, xb, yb, xc, yc, a1, b1, c1, ua, va, ub, vb, uc, vc, a2, b2, c2):
    """Return nine numbers of the homography of the origin and a, b, c to the origin and theirs.

    Each image has a projective basis in which the four points are the standard one; its inverse
    in the first image has the rows b x c, c x a and a x b, scaled by the areas of `triple_areas`
    (Hartley and Zisserman 2004, section 4.1, by Cramer's rule): a1 … c1 in image 1, a2 … c2 in
    image 2.
    """
    wa, wb, wc = a2 * b1 * c1, b2 * c1 * a1, c2 * a1 * b1
    ra0, ra1, ra2 = wa * (yb - yc), wa * (xc - xb), wa * a1
    rb0, rb1, rb2 = wb * (yc - ya), wb * (xa - xc), wb * b1
    rc0, rc1, rc2 = wc * (ya - yb), wc * (xb - xa), wc * c1
    return (
        ua * ra0 + ub * rb0 + uc * rc0, ua * ra1 + ub * rb1 + uc * rc1,
        ua * ra2 + ub * rb2 + uc * rc2,
        va * ra0 + vb * rb0 + vc * rc0, va * ra1 + vb * rb1 + vc * rc1,
        va * ra2 + vb * rb2 + vc * rc2,
        ra0 + rb0 + rc0, ra1 + rb1 + rc1, ra2 + rb2 + rc2,
    )  # fmt: skip


@scalar
def between_origins(h0, h1, h2, h3, h4, h5, h6, h7, h8, x1, y1, x2, y2):
    """Return the homography of points for one of points less (x1, y1), less (x2, y2)."""
    h2 -= h0 * x1 + h1 * y1
    h5 -= h3 * x1 + h4 * y1
    h8 -= h6 * x1 + h7 * y1
    return (
        h0 + x2 * h6, h1 + x2 * h7, h2 + x2 * h8,
        h3 + y2 * h6, h4 + y2 * h7, h5 + y2 * h8,
        h6, h7, h8,
    )  # fmt: skip
