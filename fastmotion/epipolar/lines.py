"""Epipoles and epipolar lines."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.epipolar.checks import (
    check_fundamental,
    check_image_number,
    check_image_size,
    check_points,
)
from fastmotion.epipolar.estimation import normalise_fundamental

__all__ = ["cross_matrix", "epipolar_lines", "epipolar_pencil", "epipoles"]

# What rounding leaves of a sum that is zero, relative to the magnitude of its terms.
_ROUNDING = 1e-14

# Coordinates are scaled by at most this; it is more than images are large.
_LARGEST_SCALE = 1e4


def cross_matrix(v: ArrayLike) -> NDArray[np.float64]:
    """Return the matrix [v]ₓ whose product with a vector is the cross product of v with it.

    Parameters
    ----------
    v : array_like of shape (3,)

    Returns
    -------
    ndarray of shape (3, 3), float64

    Examples
    --------
    >>> from fastmotion.epipolar.lines import cross_matrix
    >>> cross_matrix([1, 2, 3])
    array([[ 0., -3.,  2.],
           [ 3.,  0., -1.],
           [-2.,  1.,  0.]])
    """
    x, y, z = np.asarray(v, np.float64)
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def epipoles(F: ArrayLike) -> NDArray[np.float64]:
    """Return where each camera sees the centre of the other one.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of any scale; or an essential matrix.
        If its rank is 3 (an estimate, rounded to float32 perhaps), the epipoles are those of a
        matrix of rank 2 close by.

    Returns
    -------
    ndarray of shape (2, 3), float64
        Row 0 lies in image 1, ``F e = 0``; row 1 in image 2, ``Fᵀ e' = 0``. Homogeneous, of unit
        norm, with a third coordinate that is not negative: ``e[:2] / e[2]`` are pixels. A third
        coordinate of 0 (1e-12 or so, where it is rounded) is an epipole at infinity: all epipolar
        lines of that image have the direction ``e[:2]``.

    Raises
    ------
    TypeError
        ``F`` does not hold real numbers.
    ValueError
        The shape is wrong, an entry is NaN or infinite, or the rank is less than 2: all matches on
        two lines, one in each image, obey such a matrix, and it has no epipoles.

    Examples
    --------
    >>> from fastmotion.epipolar import epipoles
    >>> F = [[0, -1, 240], [1, 0, -320], [-240, 320, 0]]  # a camera that moves towards 320, 240
    >>> e1, e2 = epipoles(F)
    >>> e1[:2] / e1[2], e2[:2] / e2[2]
    (array([320., 240.]), array([320., 240.]))
    """
    matrix = normalise_fundamental(F)
    # In pixels, entries differ by orders of magnitude. Coordinates of the order of 1 keep all the
    # digits of the small ones.
    border = np.linalg.norm([*matrix[2, :2], *matrix[:2, 2]])
    corner = np.linalg.norm(matrix[:2, :2])
    scale = _LARGEST_SCALE if corner * _LARGEST_SCALE <= border else max(border / corner, 1.0)
    to_pixels = np.array([scale, scale, 1.0])
    left, values, right = np.linalg.svd(matrix * np.outer(to_pixels, to_pixels))
    if values[1] <= _ROUNDING * values[0]:
        raise ValueError(
            "F must have rank 2, got rank 1: matches on two lines, one in each image, do not "
            "determine it"
        )
    found = np.stack([right[2], left[:, 2]]) * to_pixels
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return np.where(found[:, 2:] < 0, -found, found)


def epipolar_lines(F: ArrayLike, points: ArrayLike, image: int = 1) -> NDArray[np.float64]:
    """Return the lines of one image on which points of the other one reappear.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of any scale.
    points : array_like of shape (n, 2)
        Pixels x y.
    image : {1, 2}, default=1
        The image in which the points lie; the lines lie in the other one.

    Returns
    -------
    ndarray of shape (n, 3), float64
        Rows a b c of ``a x + b y + c = 0`` with ``a² + b² = 1``, so that ``a x + b y + c`` is the
        signed distance of a pixel from the line. Two kinds of row are no line of the image: 0 0 0,
        for a point at the epipole, and 0 0 1, the line at infinity.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, ``F`` is zero, or ``image`` is neither 1 nor
        2.

    Warns
    -----
    RuntimeWarning
        A point lies at the epipole, to rounding: it may reappear anywhere.

    Examples
    --------
    >>> from fastmotion.epipolar import epipolar_lines
    >>> F = [[0, 0, 0], [0, 0, -1], [0, 1, 0]]  # a sideways motion: y1 = y2
    >>> epipolar_lines(F, [[10, 20], [30, 40]])
    array([[  0.,  -1.,  20.],
           [  0.,  -1.,  40.]])
    """
    pixels = check_points(points)
    matrix = check_fundamental(F)
    matrix = matrix / np.abs(matrix).max()
    return _normalise_lines(
        map_to_lines(matrix if check_image_number(image) == 1 else matrix.T, pixels)
    )


def map_to_lines(F: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return lines F x of any scale for arrays that were checked; what is rounding is zero."""
    lines = points @ F[:, :2].T + F[:, 2]
    magnitude = np.abs(points) @ np.abs(F[:, :2]).T + np.abs(F[:, 2])
    lines[np.abs(lines) <= _ROUNDING * magnitude] = 0.0
    return lines


def epipolar_pencil(
    F: ArrayLike, image_size: tuple[int, int], n_lines: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return pairs of epipolar lines, the views of planes that contain both camera centres.

    All lines of an image meet in its epipole. Points on one line of a pair have their matches on
    the other line.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of any scale.
    image_size : tuple of two ints
        Width and height of image 1, pixels: the lines are spread over it.
    n_lines : int, default=10
        How many pairs.

    Returns
    -------
    lines1, lines2 : ndarray of shape (n_lines, 3), float64
        Rows a b c of ``a x + b y + c = 0`` with ``a² + b² = 1``, in image 1 and in image 2. Each of
        ``lines1`` crosses image 1: they cut the line between the outermost two corners, seen from
        the epipole, into equal parts, or, if the epipole is in the image, have equal angles.

    Raises
    ------
    TypeError
        ``F`` does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN, infinite or not positive, or the rank of ``F`` is less
        than 2.

    Notes
    -----
    R. Hartley and A. Zisserman 2004, "Multiple View Geometry in Computer Vision", result 9.5.

    Examples
    --------
    >>> from fastmotion.epipolar import epipolar_pencil
    >>> F = [[0, 0, 0], [0, 0, -1], [0, 1, 0]]  # a sideways motion: y1 = y2
    >>> lines1, lines2 = epipolar_pencil(F, (640, 480), n_lines=3)
    >>> -lines1[:, 2] / lines1[:, 1]
    array([ 80., 240., 400.])
    >>> -lines2[:, 2] / lines2[:, 1]
    array([ 80., 240., 400.])
    """
    width, height = check_image_size(image_size)
    if n_lines < 1:
        raise ValueError(f"n_lines must be at least 1, got {n_lines}")
    epipole = epipoles(F)[0]
    points = _points_across(epipole, width, height, n_lines)
    lines1 = _normalise_lines(np.cross(epipole, points))
    # As a vector, the product is orthogonal to the epipole: another point of the line.
    lines2 = np.cross(lines1, epipole) @ check_fundamental(F).T
    return lines1, _normalise_lines(lines2)


def _points_across(
    epipole: NDArray[np.float64], width: int, height: int, n_points: int
) -> NDArray[np.float64]:
    """Return homogeneous points through which lines from the epipole spread over an image."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    fractions = (np.arange(n_points) + 0.5) / n_points
    for first, second in ((0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3)):
        # The outermost two see the other two between them.
        between = [k for k in range(4) if k not in (first, second)]
        from_first = corners[between] @ np.cross(epipole, corners[first])
        from_second = corners[between] @ np.cross(epipole, corners[second])
        towards = float(corners[second] @ np.cross(epipole, corners[first]))
        if towards and (from_first * towards >= 0).all() and (from_second * towards <= 0).all():
            return corners[first] + fractions[:, np.newaxis] * (corners[second] - corners[first])
    angles = np.pi * fractions
    return np.column_stack([np.cos(angles), np.sin(angles), np.zeros(n_points)])


def _normalise_lines(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return lines with a² + b² = 1, except those that are none or at infinity."""
    length = np.hypot(lines[:, 0], lines[:, 1])
    is_ordinary = length > 0
    if not is_ordinary.all():
        is_at_infinity = ~is_ordinary & (lines[:, 2] != 0)
        lines[is_at_infinity, 2] = 1.0
        n_undefined = int(np.count_nonzero(~is_ordinary & ~is_at_infinity))
        if n_undefined:
            warnings.warn(
                f"{n_undefined} of {len(lines)} points lie at the epipole and have no epipolar "
                "line: they may reappear anywhere; their rows are 0 0 0",
                RuntimeWarning,
                stacklevel=3,
            )
        length[~is_ordinary] = 1.0
    return lines / length[:, np.newaxis]
