"""How far matches are from obeying a fundamental matrix, in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.device import is_cuda_array
from fastmotion.epipolar import on_device
from fastmotion.epipolar.checks import check_matches
from fastmotion.epipolar.estimation import normalise_fundamental

__all__ = ["sampson_distance", "symmetric_epipolar_distance"]


def sampson_distance(F: ArrayLike, matches: ArrayLike) -> NDArray[np.float64]:
    """Return how far matches must move, to first order, to obey a fundamental matrix.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of any scale.
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2``, pixels.

    Returns
    -------
    ndarray or CUDA array of shape (n,), float64
        ``|x2ᵀ F x1| / sqrt((F x1)₁² + (F x1)₂² + (Fᵀ x2)₁² + (Fᵀ x2)₂²)``, pixels: not squared, and
        not less than 0; on the device and of the library of ``matches``. It is 0 where both points
        are epipoles, and infinite where both have the line at infinity for their epipolar line.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, or ``F`` is zero.

    See Also
    --------
    symmetric_epipolar_distance : Distances of points from epipolar lines.

    Notes
    -----
    The distance from the match, as a point of four coordinates, to the nearest that obeys ``F``
    exactly (`triangulate` finds it) is what noise that is equal in all coordinates makes likely;
    this is its first-order approximation: R. Hartley and A. Zisserman 2004, "Multiple View Geometry
    in Computer Vision", equation 11.9, of which it is the square root. It is good up to distances
    of many pixels, except close to the epipoles.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import sampson_distance
    >>> F = [[0, 0, 0], [0, 0, -1], [0, 1, 0]]  # a sideways motion: y1 = y2
    >>> sampson_distance(F, [[10, 20, 15, 20], [10, 20, 15, 22]]) / np.sqrt(0.5)
    array([0., 2.])
    """
    matrix = normalise_fundamental(F)
    if is_cuda_array(matches):
        return on_device.measure(matrix, matches, lambda kernels: kernels.fundamental.set_distances)
    residual, squared1, squared2 = _residual_and_gradients(matrix, matches)
    return _ratio(residual, np.sqrt(squared1 + squared2))


def symmetric_epipolar_distance(F: ArrayLike, matches: ArrayLike) -> NDArray[np.float64]:
    """Return how far the points of matches are from each other's epipolar lines.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of any scale.
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2``, pixels.

    Returns
    -------
    ndarray or CUDA array of shape (n,), float64
        ``sqrt(d1² + d2²)``, pixels, on the device and of the library of ``matches``, where d2 is
        the distance of point 2 from the epipolar line of point 1 and d1 that of point 1 from the
        line of point 2. The root mean square of the two is this over √2. It is 0 where a point is
        the epipole: the other one then has no epipolar line to be away from.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, or ``F`` is zero.

    See Also
    --------
    sampson_distance : How far matches must move to obey ``F``: better to judge matches by.

    Notes
    -----
    R. Hartley and A. Zisserman 2004, "Multiple View Geometry in Computer Vision", equation 11.10,
    of which this is the square root. Near an epipole it exaggerates: the smaller one of the two
    gradients of the constraint counts there, where `sampson_distance` takes both. It is never less
    than twice `sampson_distance`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import symmetric_epipolar_distance
    >>> F = [[0, 0, 0], [0, 0, -1], [0, 1, 0]]  # a sideways motion: y1 = y2
    >>> symmetric_epipolar_distance(F, [[10, 20, 15, 20], [10, 20, 15, 22]]) / np.sqrt(2)
    array([0., 2.])
    """
    matrix = normalise_fundamental(F)
    if is_cuda_array(matches):
        return on_device.measure(
            matrix, matches, lambda kernels: kernels.fundamental.set_symmetric_distances
        )
    residual, squared1, squared2 = _residual_and_gradients(matrix, matches)
    return np.hypot(_ratio(residual, np.sqrt(squared1)), _ratio(residual, np.sqrt(squared2)))


def _residual_and_gradients(
    matrix: NDArray[np.float64], matches: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return |x2ᵀ F x1| and the squared lengths of its gradients by point 1 and by point 2."""
    x1, y1, x2, y2 = check_matches(matches, name="matches")[0].T
    a2, b2, c2 = (row[0] * x1 + row[1] * y1 + row[2] for row in matrix)
    a1, b1, _ = (column[0] * x2 + column[1] * y2 + column[2] for column in matrix.T)
    return np.abs(x2 * a2 + y2 * b2 + c2), a1 * a1 + b1 * b1, a2 * a2 + b2 * b2


def _ratio(residual: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotient; 0/0 is 0, as nothing is left to be corrected."""
    with np.errstate(divide="ignore"):
        return np.divide(residual, gradient, out=np.zeros_like(residual), where=residual != 0)
