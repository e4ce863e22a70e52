"""The formulae of homographies, each once, as functions of numbers.

A homography is nine numbers h0 … h8, the rows of H one after the other, of any scale: a match maps
(x1, y1) in image 1 to (x2, y2) in image 2.
"""

from fastmotion.core.compile import scalar


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
