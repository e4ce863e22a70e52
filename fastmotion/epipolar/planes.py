"""Homographies between two views of a plane: from matches by linear algebra, and distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.core.device import is_cuda_array, resolve_device
from fastmotion.epipolar import on_device
from fastmotion.epipolar.checks import check_matches, check_matrix, check_points
from fastmotion.epipolar.estimation import normalise_points, shorten
from fastmotion.epipolar.launching import Kernels, cpu_kernels
from fastmotion.linear._normal_equations import check_weight

__all__ = [
    "homography_from_points",
    "normalise_homography",
    "planar_sampson_distance",
    "transfer_covariance",
    "transfer_distance",
    "transform_points",
]

# Relative to the largest singular value: a matrix below this is singular but for rounding.
_SINGULAR = 1e-12


def homography_from_points(
    X: ArrayLike, y: ArrayLike | None = None, *, sample_weight: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return the homography of least algebraic error, by the normalised direct linear transform.

    Parameters
    ----------
    X : array_like of shape (n, 4), or (n, 2) with ``y``
        Rows ``x1 y1 x2 y2`` in pixels, or the points of image 1; at least 4 of positive weight.
    y : array_like of shape (n, 2), default=None
        The points of image 2.
    sample_weight : array_like of shape (n,), default=None
        Not negative; a weight of 2 counts as two equal matches.

    Returns
    -------
    ndarray of shape (3, 3), float64
        H of ``[x2 y2 1]ᵀ ∝ H [x1 y1 1]ᵀ``, of unit Frobenius norm and positive determinant.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, a weight is negative, there are fewer than 4
        matches of positive weight, or they determine no invertible H, as where all points but one
        lie on a line.

    See Also
    --------
    Homography : From matches of which some are wrong.

    Notes
    -----
    Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision", algorithm 4.2. Wrong
    matches ruin the result.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import homography_from_points, transform_points
    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> H = homography_from_points(square, [[0, 0], [2, 0], [2, 2], [0, 4]])
    >>> transform_points(H, square)
    array([[ 0., 0.],
           [ 2., 0.],
           [ 2., 2.],
           [ 0., 4.]])
    """
    matches, _ = check_matches(X, y)
    weight = None
    if sample_weight is not None:
        weight = check_weight(sample_weight, len(matches), "sample_weight")
        matches, weight = matches[weight > 0], weight[weight > 0]
    if len(matches) < 4:
        raise ValueError(
            f"a homography takes at least 4 matches (of positive weight), got {len(matches)}"
        )
    return direct_linear(matches, weight)


def direct_linear(
    matches: NDArray[np.float64], weight: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the homography of matches that have been checked."""
    points1, to_normalised1 = normalise_points(matches[:, :2], weight)
    points2, to_normalised2 = normalise_points(matches[:, 2:], weight)
    equations = planar_equations(points1, points2)
    if weight is not None:
        equations *= np.sqrt(np.tile(weight / weight.max(), 2))
    _, values, right = np.linalg.svd(shorten(equations), full_matrices=False)
    H = right[8].reshape(3, 3)
    if values[7] <= _SINGULAR * values[0] or is_singular(H):
        raise ValueError(
            "the matches determine no invertible homography: in one image all points but one lie "
            "on a line, or are the same; add matches elsewhere"
        )
    return unit_homography(np.linalg.solve(to_normalised2, H @ to_normalised1), H)


def planar_equations(
    points1: NDArray[np.float64], points2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return columns whose products with the entries of H, row by row, are to be zero."""
    n = points1.shape[1]
    ones = np.concatenate([points1, np.ones((1, n))])
    equations = np.zeros((3, 3, 2, n))
    for axis in range(2):
        equations[axis, :, axis] = ones
        equations[2, :, axis] = -points2[axis] * ones
    return equations.reshape(9, -1)


def is_singular(H: NDArray[np.float64], least: float = _SINGULAR) -> bool:
    """Return whether a homography of coordinates of the order of one has no inverse.

    That is so if its least singular value is that share of the largest, or less.
    """
    values = np.linalg.svd(H, compute_uv=False)
    return bool(values[2] <= least * values[0])


def _balanced(H: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix that is singular as H is, but does not depend on the units of the images."""
    for axis in (0, 1):
        largest = np.abs(H).max(axis=axis, keepdims=True)
        H = H / np.where(largest > 0, largest, 1.0)
    return H


def check_homography(H: ArrayLike, name: str = "H") -> NDArray[np.float64]:
    """Return a homography as float64, scaled as it was.

    Parameters
    ----------
    H : array_like of shape (3, 3)
    name : str, default="H"
        What error messages call it.

    Returns
    -------
    ndarray of shape (3, 3), float64

    Raises
    ------
    TypeError
        The numbers are not real, or lie on a CUDA device.
    ValueError
        The shape is wrong, an entry is NaN or infinite, or the matrix has no inverse.
    """
    array = check_matrix(H, (3, 3), name)
    if is_singular(_balanced(array)):
        raise ValueError(f"{name} must be invertible, got {array.tolist()}")
    return array


def normalise_homography(H: ArrayLike) -> NDArray[np.float64]:
    """Return a homography with unit norm and positive determinant.

    Parameters
    ----------
    H : array_like of shape (3, 3)
        Invertible.

    Returns
    -------
    ndarray of shape (3, 3), float64

    Raises
    ------
    TypeError
        ``H`` does not hold real numbers.
    ValueError
        The shape is wrong, a number is NaN or infinite, or ``H`` has no inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar.planes import normalise_homography
    >>> normalise_homography(-2 * np.eye(3)).round(3)
    array([[0.577, 0.   , 0.   ],
           [0.   , 0.577, 0.   ],
           [0.   , 0.   , 0.577]])
    """
    matrix = check_homography(H)
    return unit_homography(matrix, matrix)


def unit_homography(H: NDArray[np.float64], scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a homography that has been checked with unit norm and positive determinant.

    The sign comes from the same homography of scaled coordinates: far from the origin the
    determinant is nothing but rounding.
    """
    matrix = H / np.abs(H).max()  # so that no square overflows, and not all underflow
    sign = np.linalg.det(scaled / np.abs(scaled).max())
    matrix /= np.copysign(np.linalg.norm(matrix), sign)
    return matrix + 0.0  # no zero is negative


def inverse(H: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a multiple of the inverse of a homography: its adjugate, which no size overflows."""
    a, b, c = H / np.abs(H).max()
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)


def transform_points(H: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Return where a homography takes points of image 1.

    Parameters
    ----------
    H : array_like of shape (3, 3)
        Homography from image 1 to image 2, of any scale.
    points : array_like of shape (n, 2)
        Pixels x y.

    Returns
    -------
    ndarray or CUDA array of shape (n, 2), float64
        On the device and of the library of ``points``; infinite or NaN where a point goes to
        infinity.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, or ``H`` has no inverse.

    Examples
    --------
    >>> from fastmotion.epipolar import transform_points
    >>> transform_points([[2, 0, 1], [0, 2, 0], [0, 0, 1]], [[10, 20]])
    array([[21., 40.]])
    """
    matrix = check_homography(H)
    if is_cuda_array(points):
        return on_device.transform(matrix, points, resolve_device("auto", points))
    return map_points(matrix, check_points(points))


def map_points(H: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a homography takes points, both checked."""
    homogeneous = points @ H[:, :2].T + H[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return homogeneous[:, :2] / homogeneous[:, 2:]


def transfer_covariance(
    H: ArrayLike, covariance: ArrayLike, points: ArrayLike
) -> NDArray[np.float64]:
    """Return how uncertain it is where a homography takes exact points of image 1.

    Parameters
    ----------
    H : array_like of shape (3, 3)
        Homography from image 1 to image 2, of any scale.
    covariance : array_like of shape (9, 9)
        Of ``H.ravel()`` at unit norm.
    points : array_like of shape (n, 2)
        Pixels x y.

    Returns
    -------
    ndarray of shape (n, 2, 2), float64
        Covariances of `transform_points`, pixels², to first order. The true point lies in the
        ellipse ``dᵀ C⁻¹ d <= 5.99`` around the estimated one with a probability of 95 %.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is not finite, or ``H`` has no inverse.

    Notes
    -----
    Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision", equation 5.10.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import transfer_covariance
    >>> shift = np.zeros(9)
    >>> shift[2] = 0.1 / np.sqrt(3)  # a tenth of a pixel along x, of the identity at unit norm
    >>> transfer_covariance(np.eye(3), np.outer(shift, shift), [[50, 60]])
    array([[[0.01, 0.  ],
            [0.  , 0.  ]]])
    """
    matrix = normalise_homography(H)
    by_entry = check_matrix(covariance, (9, 9), "covariance")
    jacobian = transfer_jacobian(matrix, check_points(points))
    return jacobian @ by_entry @ jacobian.transpose(0, 2, 1)


def transfer_jacobian(H: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the derivatives, of shape (n, 2, 9), of mapped points by the entries of H."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    depth = homogeneous @ H[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = homogeneous / depth[:, np.newaxis]
        mapped = scaled @ H[:2].T
        jacobian = np.zeros((len(points), 2, 9))
        jacobian[:, 0, :3] = jacobian[:, 1, 3:6] = scaled
        jacobian[:, :, 6:] = -mapped[:, :, np.newaxis] * scaled[:, np.newaxis]
    return jacobian


def transfer_distance(
    H: ArrayLike, matches: ArrayLike, *, symmetric: bool = False
) -> NDArray[np.float64]:
    """Return how far from their matches a homography takes the points of image 1.

    Parameters
    ----------
    H : array_like of shape (3, 3)
        Homography from image 1 to image 2, of any scale.
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2`` in pixels.
    symmetric : bool, default=False
        Whether the distance is the root of the sum of its square and that of the way back, from
        image 2 to image 1.

    Returns
    -------
    ndarray of shape (n,), float64
        Pixels; infinite where a point goes to infinity.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, or ``H`` has no inverse.

    See Also
    --------
    planar_sampson_distance : The distance that estimates minimise.

    Notes
    -----
    Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision", equations 4.6 and 4.7.

    Examples
    --------
    >>> from fastmotion.epipolar import transfer_distance
    >>> double = [[2, 0, 0], [0, 2, 0], [0, 0, 1]]
    >>> transfer_distance(double, [[10, 10, 23, 24]])
    array([5.])
    >>> transfer_distance(double, [[10, 10, 23, 24]], symmetric=True)
    array([5.59017])
    """
    matrix = check_homography(H)
    rows, _ = check_matches(matches, name="matches")
    forward = _transfer(matrix, rows[:, :2], rows[:, 2:])
    if not symmetric:
        return forward
    return np.hypot(forward, _transfer(inverse(matrix), rows[:, 2:], rows[:, :2]))


def _transfer(
    H: NDArray[np.float64], points: NDArray[np.float64], matched: NDArray[np.float64]
) -> NDArray[np.float64]:
    difference = map_points(H, points) - matched
    distance = np.hypot(difference[:, 0], difference[:, 1])
    return np.where(np.isnan(distance), np.inf, distance)


def planar_sampson_distance(H: ArrayLike, matches: ArrayLike) -> NDArray[np.float64]:
    """Return how far matches are from obeying a homography, to first order.

    It is the length of the least change of the four coordinates of a match that makes it obey
    (Sampson's approximation). For noise of standard deviation σ in each coordinate its square is
    distributed as σ² times chi-squared with 2 degrees of freedom.

    Parameters
    ----------
    H : array_like of shape (3, 3)
        Homography from image 1 to image 2, of any scale.
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2`` in pixels.

    Returns
    -------
    ndarray or CUDA array of shape (n,), float64
        Pixels, on the device and of the library of ``matches``; infinite where H leaves a match
        undefined.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, or ``H`` has no inverse.

    See Also
    --------
    transfer_distance : The error in one image, or the sum over both.

    Notes
    -----
    Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision", section 4.2.6.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import planar_sampson_distance
    >>> planar_sampson_distance(np.eye(3), [[10, 10, 13, 14]])  # half of it in each image
    array([3.5355])
    """
    matrix = normalise_homography(H)
    if is_cuda_array(matches):
        return on_device.measure(matrix, matches, lambda kernels: kernels.planar.set_distances)
    rows, _ = check_matches(matches, name="matches")
    return sampson_distances(matrix, rows, cpu_kernels())


def sampson_distances(
    H: NDArray[np.float64], matches: NDArray[np.float64], kernels: Kernels
) -> NDArray[np.float64]:
    """Return Sampson distances of matches that have been checked."""
    distances = np.empty(len(matches))
    kernels.planar.sampson_distances(np.ascontiguousarray(matches.T), H.ravel(), distances)
    return distances
