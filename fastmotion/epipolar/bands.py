"""How uncertain epipolar lines and epipoles are, and the bands in which lines lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri

from fastmotion.epipolar.checks import (
    check_fundamental,
    check_image_number,
    check_image_size,
    check_matrix,
    check_points,
)
from fastmotion.epipolar.lines import map_to_lines
from fastmotion.epipolar.uncertainty import homogeneous
from fastmotion.linear._checks import check_nonnegative

__all__ = ["EpipolarBand", "epipolar_band", "epipole_covariance", "line_covariance"]

# A second singular value of a matrix of unit norm that is below this is none, but for rounding.
_NO_SIZE = 1e-12


def line_covariance(
    F: ArrayLike, covariance: ArrayLike, points: ArrayLike, image: int = 1
) -> NDArray[np.float64]:
    """Return the covariances of the epipolar lines of exact points.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix.
    covariance : array_like of shape (9, 9)
        Of ``F.ravel()`` at unit norm.
    points : array_like of shape (m, 2)
        Pixels of one image.
    image : {1, 2}, default=1
        The image of the points; the lines lie in the other one.

    Returns
    -------
    ndarray of shape (m, 3, 3), float64
        Of the lines (a, b, c) with a² + b² = 1; of rank 2 at most.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is not finite, ``image`` is neither 1 nor 2, or a point is the
        epipole, which has no line.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import line_covariance
    >>> sideways = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # y1 = y2
    >>> covariance = np.zeros((9, 9))
    >>> covariance[8, 8] = 0.5  # the lines are uncertain by a pixel up and down
    >>> line_covariance(sideways, covariance, [[100, 50]])[0].round(3)
    array([[0., 0., 0.],
           [0., 0., 0.],
           [0., 0., 1.]])
    """
    return _Lines.of(F, covariance, points, image).covariances


class _Lines(NamedTuple):
    """Epipolar lines with a² + b² = 1, and how they depend on what they come from."""

    lines: NDArray[np.float64]  # (m, 3)
    covariances: NDArray[np.float64]  # (m, 3, 3), from that of F
    by_point: NDArray[np.float64]  # (m, 3, 2), derivatives of the lines by x and y of the points

    @classmethod
    def of(cls, F: ArrayLike, covariance: ArrayLike, points: ArrayLike, image: int) -> _Lines:
        F = check_fundamental(F)
        F = F / np.linalg.norm(F)
        by_entry = check_matrix(covariance, (9, 9), "covariance").reshape(3, 3, 3, 3)
        if check_image_number(image) == 2:
            F, by_entry = F.T, by_entry.transpose(1, 0, 3, 2)
        points = check_points(points)
        raw = map_to_lines(F, points)
        size = np.hypot(raw[:, 0], raw[:, 1])
        is_epipole = size == 0
        if is_epipole.any():
            raise ValueError(
                f"points must not be the epipole, which has no epipolar line, as point "
                f"{int(np.argmax(is_epipole))} is; leave it out"
            )
        lines = raw / size[:, np.newaxis]
        normals = lines * [1, 1, 0]
        # Derivative of l / |(a, b)| by l.
        scaling = np.eye(3) - lines[:, :, np.newaxis] * normals[:, np.newaxis, :]
        scaling /= size[:, np.newaxis, np.newaxis]
        full = homogeneous(points)
        of_raw = np.einsum("mj,ijkl,ml->mik", full, by_entry, full, optimize=True)
        return cls(lines, scaling @ of_raw @ scaling.transpose(0, 2, 1), scaling @ F[:, :2])


@dataclass(frozen=True, eq=False)
class EpipolarBand:
    """Where epipolar lines, or points on them, lie with some probability.

    Attributes
    ----------
    lines : ndarray of shape (m, 3), float64
        Estimated lines (a, b, c) with a² + b² = 1: the middles of the bands.
    conics : ndarray of shape (m, 3, 3), float64
        The bands: the points y with ``[y 1] C [y 1]ᵀ <= 0``, which lie between the two branches of
        a hyperbola. Scaled so that ``-[y 1] C [y 1]ᵀ`` of a point on the line is the squared half
        width of the band there, pixels².
    probability : float
        As asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import epipolar_band
    >>> sideways = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # y1 = y2
    >>> covariance = np.zeros((9, 9))
    >>> covariance[8, 8] = 0.5  # the lines are uncertain by a pixel up and down
    >>> band = epipolar_band(sideways, covariance, [[100, 50]], probability=0.95)
    >>> a, b, c = band.lines[0]
    >>> float(-c / b)  # the line is y = 50
    50.000
    >>> y = np.array([100, 50, 1])
    >>> float(np.sqrt(-y @ band.conics[0] @ y).round(2))  # half the width
    2.45
    """

    lines: NDArray[np.float64]
    conics: NDArray[np.float64]
    probability: float

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Return whether each point lies in its band.

        Parameters
        ----------
        points : array_like of shape (m, 2)
            Pixels, one point for each band.

        Returns
        -------
        ndarray of shape (m,), bool
            True on the edge of the band too.

        Raises
        ------
        TypeError
            The points are not real numbers.
        ValueError
            The shape is wrong or a number not finite.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.epipolar import epipolar_band
        >>> sideways = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # y1 = y2
        >>> covariance = np.zeros((9, 9))
        >>> covariance[8, 8] = 0.5  # the lines are uncertain by a pixel up and down
        >>> band = epipolar_band(sideways, covariance, [[100, 50]], probability=0.95)
        >>> bool(band.contains([[80, 51]])[0]), bool(band.contains([[80, 60]])[0])
        (True, False)
        """
        points = check_points(points)
        if len(points) != len(self.lines):
            raise ValueError(
                f"there must be one point for each of {len(self.lines)} bands, got {len(points)}"
            )
        full = homogeneous(points)
        return np.einsum("mi,mij,mj->m", full, self.conics, full) <= 0

    def edges(self, image_size: tuple[int, int], n_samples: int = 101) -> NDArray[np.float64]:
        """Return points along both edges of each band, to draw them over an image.

        Parameters
        ----------
        image_size : tuple of two ints
            Width and height of the image that the lines lie in, pixels.
        n_samples : int, default=101
            Points along an edge, at least 2.

        Returns
        -------
        ndarray of shape (m, 2, n_samples, 2), float64
            For each band two edges of points x y, in the same order along the line. They reach
            from one side of the circle around the image to the other.

        Raises
        ------
        TypeError
            The size is not made of integers.
        ValueError
            The size is not positive, or there are fewer than two samples.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.epipolar import epipolar_band
        >>> sideways = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # y1 = y2
        >>> covariance = np.zeros((9, 9))
        >>> covariance[8, 8] = 0.5  # the lines are uncertain by a pixel up and down
        >>> band = epipolar_band(sideways, covariance, [[100, 50]], probability=0.95)
        >>> upper, lower = band.edges((200, 100), n_samples=3)[0]
        >>> upper[:, 1].round(2), lower[:, 1].round(2)  # y along each edge
        (array([52.45, 52.45, 52.45]), array([47.55, 47.55, 47.55]))
        """
        if n_samples < 2:
            raise ValueError(f"n_samples must be at least 2, got {n_samples}")
        width, height = check_image_size(image_size)
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        normals = self.lines[:, :2]
        foot = middle - (normals @ middle + self.lines[:, 2])[:, np.newaxis] * normals
        along = np.stack([-normals[:, 1], normals[:, 0]], axis=1)
        reach = np.hypot(height, width) / 2
        steps = np.linspace(-reach, reach, n_samples)[:, np.newaxis]
        points = foot[:, np.newaxis] + steps * along[:, np.newaxis]
        full = homogeneous(points)
        square = -np.einsum("msi,mij,msj->ms", full, self.conics, full)
        # A band of no width may round to less.
        offset = np.sqrt(np.maximum(square, 0))[..., np.newaxis] * normals[:, np.newaxis]
        return np.stack([points - offset, points + offset], axis=1)


def epipolar_band(
    F: ArrayLike,
    covariance: ArrayLike,
    points: ArrayLike,
    *,
    probability: float = 0.95,
    image: int = 1,
    noise_scale: float | None = None,
) -> EpipolarBand:
    """Return the bands in which epipolar lines, or the points that match, lie with a probability.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, estimated.
    covariance : array_like of shape (9, 9)
        Of ``F.ravel()`` at unit norm.
    points : array_like of shape (m, 2)
        Pixels of one image.
    probability : float, default=0.95
        Between 0 and 1, both excluded.
    image : {1, 2}, default=1
        The image of the points; the bands lie in the other one.
    noise_scale : float or None, default=None
        What the band is to hold, each point's taken alone:

        - None: the whole true epipolar line of the point, which is taken as exact (two degrees of
          freedom).
        - 0.0: the true point that matches it, which is one point of that line, so that the band is
          narrower (one degree of freedom).
        - A standard deviation in pixels: the *measured* point that matches it, where both points
          have noise of this standard deviation in each coordinate (one degree of freedom).

    Returns
    -------
    EpipolarBand
        Lines and conics, with methods to tell what lies inside and to draw the edges.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is not finite or out of range, or a point is the epipole.

    Notes
    -----
    A point y of the true line l + δ keeps ``(lᵀy)² = (δᵀy)²``, and over all δ of the ellipse
    ``δᵀ C⁺ δ <= k²`` of the line's covariance C, of rank 2, ``(δᵀy)²`` is at most ``k² yᵀCy``:
    the band is ``yᵀ (l lᵀ - k² C) y <= 0`` [1]_ [2]_. It holds to first order: not next
    to the epipole, where a line may turn by any angle.

    References
    ----------
    .. [1] G. Csurka, C. Zeller, Z. Zhang and O. Faugeras, "Characterizing the uncertainty of the
       fundamental matrix", Computer Vision and Image Understanding 68 (1), 1997, 18-36.
    .. [2] R. Hartley and A. Zisserman, "Multiple view geometry in computer vision", 2nd ed., 2004,
       section 11.11.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import epipolar_band, fundamental_covariance
    >>> view = make_two_view(n_matches=100, inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> covariance = fundamental_covariance(view.F, view.matches, noise_scale=1.0)
    >>> band = epipolar_band(view.F, covariance, view.matches[:, :2])
    >>> bool(band.contains(view.matches[:, 2:]).all()), band.edges((1000, 750)).shape
    (True, (100, 2, 101, 2))
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, got {probability}")
    lines, spread, by_point = _Lines.of(F, covariance, points, image)
    n_free = 2 if noise_scale is None else 1
    if noise_scale is not None:
        square = check_nonnegative(noise_scale, "noise_scale") ** 2
        spread = spread + square * (by_point @ by_point.transpose(0, 2, 1))
        spread[:, 2, 2] += square
    quantile = chdtri(n_free, 1 - probability)
    conics = lines[:, :, np.newaxis] * lines[:, np.newaxis, :] - quantile * spread
    return EpipolarBand(lines, conics, float(probability))


def epipole_covariance(F: ArrayLike, covariance: ArrayLike) -> NDArray[np.float64]:
    """Return the covariances of both epipoles.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix of rank 2.
    covariance : array_like of shape (9, 9)
        Of ``F.ravel()`` at unit norm.

    Returns
    -------
    ndarray of shape (2, 3, 3), float64
        Of the homogeneous epipoles of unit norm, first that in image 1 (F e = 0), then that in
        image 2; of rank 2. An epipole (x, y, w) in pixels has the covariance ``D @ C @ D.T`` with
        ``D = [[1, 0, -x/w], [0, 1, -y/w]] / w``.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is not finite, or F has rank 1.

    Notes
    -----
    From ``dF e + F de = 0`` with de orthogonal to e follows ``de = -F⁺ dF e``; Zhang's review [1]_,
    section 5.1, has the same by way of the eigenvector.

    References
    ----------
    .. [1] Z. Zhang, "Determining the epipolar geometry and its uncertainty: a review",
       International Journal of Computer Vision 27 (2), 1998, 161-195.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import epipole_covariance
    >>> sideways = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    >>> epipole_covariance(sideways, 0.01 * np.eye(9))[0].round(3)
    array([[0.  , 0.  , 0.  ],
           [0.  , 0.02, 0.  ],
           [0.  , 0.  , 0.02]])
    """
    F = check_fundamental(F)
    F = F / np.linalg.norm(F)
    by_entry = check_matrix(covariance, (9, 9), "covariance").reshape(3, 3, 3, 3)
    left, sizes, right = np.linalg.svd(F)
    if sizes[1] <= _NO_SIZE:
        raise ValueError(
            "F must have rank 2 for its epipoles to be determined, got a matrix of rank 1"
        )
    inverse = (right[:2].T / sizes[:2]) @ left[:, :2].T
    in1 = inverse @ np.einsum("j,ijkl,l->ik", right[2], by_entry, right[2]) @ inverse.T
    in2 = inverse.T @ np.einsum("i,ijkl,k->jl", left[:, 2], by_entry, left[:, 2]) @ inverse
    return np.stack([in1, in2])
