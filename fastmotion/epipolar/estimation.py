"""Fundamental matrices by linear algebra: from seven matches, and from eight or more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.epipolar.checks import check_fundamental, check_matches, check_matrix
from fastmotion.linear._normal_equations import check_weight

__all__ = [
    "design_rank",
    "eight_point",
    "nearest_rank2",
    "normalise_fundamental",
    "normalise_points",
    "seven_point",
    "shorten",
]

# Rows that one QR factorisation takes: few enough for a cache, many enough to shorten them a lot.
_BLOCK_ROWS = 256
# Singular values below this many roundings of the coordinates, relative to the largest, are zero.
_ROUNDINGS = 32
# The same, where coordinates are so far from the origin that little but rounding is left.
_MOST_ROUNDING = 1e-3
# Points whose mean distance is less are the same: the square of its inverse would overflow.
_LEAST_SPREAD = 1e-100
# Where only matrices of rank 1 fit, the second singular value becomes this share of the first.
_LEAST_RATIO = 1e-8
# A third singular value above this is more than the rounding of the entries of a unit matrix.
_ROUNDED_RANK = 1e-15
# A cubic's value that rounding explains, relative to the sum of its terms' magnitudes.
_ZERO_VALUE = 1e-14
# Which of many solutions is taken does not depend on how a null space is spanned: it comes from
# what these have in the null space. No data are special to them.
_GENERIC = np.sin(np.arange(1.0, 19.0) ** 2).reshape(2, 9)


def eight_point(matches: ArrayLike, sample_weight: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return the fundamental matrix of least algebraic error, by the normalised 8-point algorithm.

    Parameters
    ----------
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2`` in pixels; at least 8 of positive weight.
    sample_weight : array_like of shape (n,), default=None
        Not negative; a weight of 2 counts as two equal matches.

    Returns
    -------
    ndarray of shape (3, 3), float64
        F of ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``: of rank 2 and unit Frobenius norm, its entry of largest
        magnitude positive. If several fit exactly (`design_rank` is less than 8), one of them;
        if those are all of rank 1, as where the points of one image lie on a line and the others
        do not, a matrix of rank 2 next to one.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, a weight is negative, or there are fewer than
        8 matches of positive weight.

    See Also
    --------
    seven_point : From seven matches, with the rank in the equations.

    Notes
    -----
    R. Hartley, "In defense of the eight-point algorithm", IEEE Transactions on Pattern Analysis and
    Machine Intelligence 19(6), 1997: points are moved and scaled so that their centre is the origin
    and their mean distance from it √2, and rank 2 is enforced there. Wrong matches ruin the result.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import eight_point
    >>> view = make_two_view(n_matches=20, inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> bool(abs(eight_point(view.matches) - view.F).max() < 1e-9)
    True
    """
    design = _Design.of(matches, sample_weight, least=8)
    if design.rank >= 8:
        return design.finish(design.right[8].reshape(3, 3))
    # Of several that fit, the one that is farthest from rank 1.
    members = _singular_members(design.pencil())
    values = np.linalg.svd(members, compute_uv=False)
    return design.finish(members[int((values[:, 1] / values[:, 0]).argmax())])


def seven_point(matches: ArrayLike, sample_weight: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return the fundamental matrices that fit seven matches.

    Parameters
    ----------
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2`` in pixels; at least 7 of positive weight. More than 7 are met as well
        as possible: the matrices are those of determinant zero in the plane that the two right
        singular vectors of least singular values span.
    sample_weight : array_like of shape (n,), default=None
        Not negative; a weight of 2 counts as two equal matches.

    Returns
    -------
    ndarray of shape (k, 3, 3), float64
        1 to 3 matrices as `eight_point` returns them, that of least algebraic error first. If
        infinitely many fit (`design_rank` is less than 7), some of them.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, a weight is negative, or there are fewer than
        7 matches of positive weight.

    See Also
    --------
    eight_point : From eight or more, of which none is wrong.

    Notes
    -----
    R. Hartley, "Projective reconstruction and invariants from multiple images", IEEE Transactions
    on Pattern Analysis and Machine Intelligence 16(10), 1994; coordinates are normalised as for
    `eight_point`.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import seven_point
    >>> view = make_two_view(n_matches=7, inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> candidates = seven_point(view.matches)
    >>> candidates.shape
    (3, 3, 3)
    >>> bool(abs(candidates - view.F).max(axis=(1, 2)).min() < 1e-9)
    True
    """
    design = _Design.of(matches, sample_weight, least=7)
    members = sorted(_singular_members(design.pencil()), key=design.error)
    return np.stack([design.finish(member) for member in members])


def design_rank(matches: ArrayLike) -> int:
    """Return how many independent equations on F some matches make, as far as rounding tells.

    Parameters
    ----------
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2`` in pixels. float32 is taken to be rounded to that precision.

    Returns
    -------
    int
        From 0 to 9; 9 minus it is the dimension of the space of matrices that fit exactly. 8 or 9
        determine F, 7 up to three choices. Matches of a plane, or of a camera that only turns, have
        6, however many they are; those of a line in space 3, k different ones at most k. Noise
        raises it: a rank of 8 or more does not tell that F is known well.

    Raises
    ------
    TypeError
        ``matches`` does not hold real numbers.
    ValueError
        The shape is wrong, or a number is NaN or infinite.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import design_rank
    >>> options = {"n_matches": 50, "inlier_ratio": 1.0, "noise": 0.0, "random_state": 0}
    >>> [design_rank(make_two_view(scene, **options).matches) for scene in ("general", "planar")]
    [8, 6]
    """
    return _Design.of(matches, None, least=0).rank


def nearest_rank2(F: ArrayLike) -> NDArray[np.float64]:
    """Return the matrix of rank 2 or less that is nearest in the Frobenius norm.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        In coordinates of the order of 1, as normalised ones are: in pixels, entries of F differ by
        orders of magnitude, and what is nearest may fit badly.

    Returns
    -------
    ndarray of shape (3, 3), float64

    Raises
    ------
    TypeError
        ``F`` does not hold real numbers.
    ValueError
        The shape is wrong, or a number is NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar.estimation import nearest_rank2
    >>> nearest_rank2(np.diag([3.0, 1.0, 2.0]))
    array([[3., 0., 0.],
           [0., 0., 0.],
           [0., 0., 2.]])
    """
    left, values, right = np.linalg.svd(check_matrix(F, (3, 3), "F"))
    return (left[:, :2] * values[:2]) @ right[:2]


def normalise_fundamental(F: ArrayLike) -> NDArray[np.float64]:
    """Return a fundamental matrix with unit norm and the sign that this package gives it.

    Parameters
    ----------
    F : array_like of shape (3, 3)

    Returns
    -------
    ndarray of shape (3, 3), float64
        Of unit Frobenius norm; the (first) entry of largest magnitude is positive.

    Raises
    ------
    TypeError
        ``F`` does not hold real numbers.
    ValueError
        The shape is wrong, a number is NaN or infinite, or all are zero.

    Examples
    --------
    >>> from fastmotion.epipolar.estimation import normalise_fundamental
    >>> normalise_fundamental([[0, 0, 0], [0, 0, -8], [0, 6, 0]])
    array([[ 0. ,  0. ,  0. ],
           [ 0. ,  0. ,  0.8],
           [ 0. , -0.6,  0. ]])
    """
    matrix = check_fundamental(F)
    largest = matrix.flat[np.abs(matrix).argmax()]
    matrix = matrix / largest  # so that no square overflows, and not all underflow
    return matrix / np.linalg.norm(matrix) + 0.0  # no zero is negative


@dataclass(frozen=True)
class _Design:
    """The equations that matches in normalised coordinates make on the nine entries of F.

    Attributes
    ----------
    values : ndarray of shape (9,)
        Their singular values, the largest first.
    right : ndarray of shape (9, 9)
        Their right singular vectors as rows.
    rank : int
        How many singular values rounding does not explain.
    to_normalised1, to_normalised2 : ndarray of shape (3, 3)
        What normalises homogeneous points of either image, up to a factor.
    """

    values: NDArray[np.float64]
    right: NDArray[np.float64]
    rank: int
    to_normalised1: NDArray[np.float64]
    to_normalised2: NDArray[np.float64]

    @classmethod
    def of(cls, matches: ArrayLike, sample_weight: ArrayLike | None, *, least: int) -> _Design:
        rows, _ = check_matches(matches, min_matches=least, name="matches")
        weight = None
        if sample_weight is not None:
            weight = check_weight(sample_weight, len(rows), "sample_weight")
            rows, weight = rows[weight > 0], weight[weight > 0]
        if len(rows) < least:
            raise ValueError(
                f"sample_weight must be positive for at least {least} matches, got {len(rows)}"
            )
        if not len(rows):
            return cls(np.zeros(9), np.eye(9), 0, np.eye(3), np.eye(3))
        if weight is not None:
            weight /= weight.max()
        points1, map1 = normalise_points(rows[:, :2], weight)
        points2, map2 = normalise_points(rows[:, 2:], weight)
        equations = _equations(points1, points2)
        if weight is not None:
            equations *= np.sqrt(weight)
        _, values, right = np.linalg.svd(shorten(equations), full_matrices=False)
        # Coordinates were rounded as they came, be they far from the origin for their spread.
        offset = max(1.0, np.abs(map1[:2, 2]).max(), np.abs(map2[:2, 2]).max())
        relative = min(_ROUNDINGS * _precision(matches) * offset, _MOST_ROUNDING)
        rank = int((values > relative * values[0]).sum())
        return cls(values, right, rank, map1, map2)

    def pencil(self) -> NDArray[np.float64]:
        """Return two matrices, of shape (2, 3, 3), whose combinations are to be solutions."""
        if self.rank >= 7:
            return self.right[7:].reshape(2, 3, 3)
        null = self.right[self.rank :]
        basis, _ = np.linalg.qr(null.T @ (null @ _GENERIC.T))
        return basis.T.reshape(2, 3, 3)

    def error(self, member: NDArray[np.float64]) -> float:
        """Return the norm of what a matrix of unit norm leaves of the equations."""
        return float(np.linalg.norm(self.values * (self.right @ member.ravel())))

    def finish(self, member: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fundamental matrix, in pixels, of one in normalised coordinates."""
        left, values, right = np.linalg.svd(member)
        values[1] = max(values[1], _LEAST_RATIO * values[0])
        member = (left[:, :2] * values[:2]) @ right[:2]
        return in_pixels(member, self.to_normalised1, self.to_normalised2)


def in_pixels(
    F: NDArray[np.float64], from_pixels1: NDArray[np.float64], from_pixels2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the fundamental matrix of pixels for one of transformed points, normalised."""
    F = normalise_fundamental(from_pixels2.T @ F @ from_pixels1)
    # Where terms cancel, as with points far from the origin, rounding raises the rank.
    if np.linalg.svd(F, compute_uv=False)[2] > _ROUNDED_RANK:
        F = normalise_fundamental(nearest_rank2(F))
    return F


def _precision(matches: ArrayLike) -> float:
    is_single = getattr(matches, "dtype", None) == np.float32
    return float(np.finfo(np.float32 if is_single else np.float64).eps)


def normalise_points(
    points: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points moved and scaled as Hartley (1997) has it, and the matrix that does so.

    Parameters
    ----------
    points : ndarray of shape (n, 2), float64
        At least one; finite.
    weight : ndarray of shape (n,), float64, default=None
        Positive.

    Returns
    -------
    columns : ndarray of shape (2, n), float64
        The points as columns: their (weighted) mean is the origin, their mean distance from it √2.
        Points that are all the same become zeros.
    transform : ndarray of shape (3, 3), float64
        Maps homogeneous points to them.
    """
    share = 1.0 / len(points) if weight is None else weight / weight.sum()
    # From the first point on, equal points are so exactly.
    origin = points[0]
    moved = np.ascontiguousarray(points.T) - origin[:, np.newaxis]
    shift = (share * moved).sum(axis=1)
    moved -= shift[:, np.newaxis]
    spread = float((share * np.sqrt(moved[0] ** 2 + moved[1] ** 2)).sum())
    # One point has no spread; its coordinates then stay of the order of 1.
    sizes = (spread, float(np.abs(origin).max()), 1.0)
    scale = math.sqrt(2) / next(size for size in sizes if size > _LEAST_SPREAD)
    moved *= scale
    x, y = scale * (origin + shift)
    return moved, np.array([[scale, 0.0, -x], [0.0, scale, -y], [0.0, 0.0, 1.0]])


def _equations(points1: NDArray[np.float64], points2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns whose products with the entries of F, row by row, are to be zero."""
    equations = np.ones((3, 3, points1.shape[1]))
    np.multiply(points2[:, np.newaxis], points1, out=equations[:2, :2])
    equations[:2, 2] = points2
    equations[2, :2] = points1
    return equations.reshape(9, -1)


def shorten(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return few rows that have the singular values and right vectors of many.

    Unlike a matrix of moments, triangular factors of blocks lose no digits.

    Parameters
    ----------
    columns : ndarray of shape (k, n), float64
        The rows of a matrix, as columns.

    Returns
    -------
    ndarray of shape (m, k), float64
        With m at least k, so that a thin decomposition has all right vectors.
    """
    n_rows, n = len(columns), columns.shape[1]
    if n <= _BLOCK_ROWS:
        return np.concatenate([columns.T, np.zeros((max(n_rows - n, 0), n_rows))])
    end = n - n % _BLOCK_ROWS
    blocks = columns[:, :end].reshape(n_rows, -1, _BLOCK_ROWS).transpose(1, 2, 0)
    factors = np.asarray(np.linalg.qr(blocks, mode="r")).reshape(-1, n_rows)
    return shorten(np.concatenate([factors.T, columns[:, end:]], axis=1))


def _singular_members(pencil: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the combinations of two matrices whose determinant is zero, 1 to 3 of unit norm."""
    # In terms of the direction where the determinant is largest, no solution is at infinity.
    angles = np.arange(6) * (np.pi / 6)
    directions = (
        np.cos(angles)[:, None, None] * pencil[0] + np.sin(angles)[:, None, None] * pencil[1]
    )
    which = int(np.abs(np.linalg.det(directions)).argmax())
    first = directions[which]
    second = np.cos(angles[which]) * pencil[1] - np.sin(angles[which]) * pencil[0]
    cubic = _determinants(first, second)
    if abs(cubic[0]) <= _ZERO_VALUE:
        return list(directions[:3])  # all combinations are singular
    roots = np.roots(cubic)
    # A double root comes as a pair of complex ones, of which rounding explains the difference.
    places = np.concatenate([roots.real[roots.imag == 0], roots.real[roots.imag > 0]])
    terms = cubic * places[:, np.newaxis] ** np.arange(3, -1, -1)
    is_root = np.abs(terms.sum(axis=1)) <= _ZERO_VALUE * np.abs(terms).sum(axis=1)
    is_root[: np.count_nonzero(roots.imag == 0)] = True
    return [(t * first + second) / math.hypot(t, 1.0) for t in places[is_root]]


def _determinants(A: NDArray[np.float64], B: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients of det(t A + B), that of t³ first."""
    cofactors_A = np.cross(A[[1, 2, 0]], A[[2, 0, 1]])
    cofactors_B = np.cross(B[[1, 2, 0]], B[[2, 0, 1]])
    return np.array(
        [
            A[0] @ cofactors_A[0],
            (cofactors_A * B).sum(),
            (cofactors_B * A).sum(),
            B[0] @ cofactors_B[0],
        ]
    )
