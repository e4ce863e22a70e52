"""Rectification: homographies after which matches lie on equal rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from fastmotion.epipolar.cameras import projections_from_cameras
from fastmotion.epipolar.checks import check_image_size, check_matches
from fastmotion.epipolar.estimation import normalise_fundamental
from fastmotion.epipolar.lines import cross_matrix, epipoles

__all__ = ["RectifiedCameras", "Rectification", "rectify", "rectify_cameras"]

# Directions of the line that becomes the line at infinity, before the best one is refined.
_N_DIRECTIONS = 360

# Points per side of the grid that distortion is measured on; the corners are among them.
_N_GRID = 5

# Relative to a line's norm, in frames of about unit size.
_LEAST_WEIGHT = 1e-9


@dataclass(frozen=True, eq=False)
class Rectification:
    """Homographies that bring matches of two images to equal rows.

    Attributes
    ----------
    H1, H2 : ndarray of shape (3, 3), float64
        Map homogeneous pixels of image 1 and of image 2 to those of the rectified images; positive
        third coordinates within the images, 1 at their centres.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import rectify
    >>> view = make_two_view(n_matches=100, inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> rectified = rectify(view.F, view.matches, view.image_size)
    >>> rectified.H1.shape, rectified.H2.shape
    ((3, 3), (3, 3))
    >>> x1, y1, x2, y2 = rectified.transform(view.matches).T
    >>> bool(abs(y1 - y2).max() < 1e-6)
    True
    """

    H1: NDArray[np.float64]
    H2: NDArray[np.float64]

    def transform(self, matches: ArrayLike) -> NDArray[np.float64]:
        """Return where matches are in the rectified images.

        Parameters
        ----------
        matches : array_like of shape (n, 4)
            Rows ``x1 y1 x2 y2``, pixels of the images as they were.

        Returns
        -------
        ndarray of shape (n, 4), float64
            Rows ``x1 y1 x2 y2``, pixels of the rectified images. ``y1`` and ``y2`` are equal for
            matches that obey F; ``x1 - x2`` is the disparity.

        Raises
        ------
        TypeError
            ``matches`` does not hold real numbers.
        ValueError
            The shape is wrong, or a number is NaN or infinite.

        Examples
        --------
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import rectify
        >>> view = make_two_view(n_matches=100, inlier_ratio=1.0, noise=0.0, random_state=0)
        >>> rectified = rectify(view.F, view.matches, view.image_size)
        >>> moved = rectified.transform(view.matches)
        >>> bool(abs(moved[:, 1] - moved[:, 3]).max() < 1e-6)  # equal rows
        True
        """
        rows = check_matches(matches, name="matches")[0]
        return np.hstack([_map(self.H1, rows[:, :2]), _map(self.H2, rows[:, 2:])])


@dataclass(frozen=True, eq=False)
class RectifiedCameras(Rectification):
    """Homographies as of `Rectification`, and the cameras that see the rectified images.

    Attributes
    ----------
    H1, H2 : ndarray of shape (3, 3), float64
        Map homogeneous pixels of image 1 and of image 2 to those of the rectified images; positive
        third coordinates within the images, 1 at their centres.
    K : ndarray of shape (3, 3), float64
        Intrinsic parameters of both rectified cameras.
    R1, R2 : ndarray of shape (3, 3), float64
        Rotations from the frames of the cameras to those of the rectified ones.
    baseline : float
        Position of camera 2 along the rows, seen from camera 1, in the unit of length of ``t``;
        negative if it is on the left. A point of depth z has the disparity ``x1 - x2 = K[0, 0] *
        baseline / z``.

    Examples
    --------
    Depth from the disparity:

    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import rectify_cameras
    >>> view = make_two_view(n_matches=100, inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> found = rectify_cameras(view.K1, view.R, view.t, view.K2, image_size=view.image_size)
    >>> x1, _, x2, _ = found.transform(view.matches).T
    >>> depth = found.K[0, 0] * found.baseline / (x1 - x2)
    >>> bool(abs(depth - (view.X @ found.R1.T)[:, 2]).max() < 1e-6)
    True
    """

    K: NDArray[np.float64]
    R1: NDArray[np.float64]
    R2: NDArray[np.float64]
    baseline: float


def rectify(
    F: ArrayLike,
    matches: ArrayLike,
    image_size: tuple[int, int],
    *,
    image_size2: tuple[int, int] | None = None,
) -> Rectification:
    """Return homographies that bring matches to equal rows, without knowing the cameras.

    Rows are those of F exactly. Of all homographies that do so, those are taken that distort the
    two images least.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of any scale.
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2``, pixels; at least one. Only the median of their disparities counts, so
        that some may be wrong.
    image_size : tuple of two ints
        Width and height of image 1, pixels.
    image_size2 : tuple of two ints, default=None
        Those of image 2; None stands for ``image_size``.

    Returns
    -------
    Rectification
        ``H1`` and ``H2``. Image 1 is not turned by more than 90°. The median disparity of the
        matches is 0, and the centres of both images, on the average, are that of a frame of the
        size of image 1.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, the rank of ``F`` is less than 2, or an
        epipole lies in an image or so that no line through it misses both images: no homography
        then brings all epipolar lines to rows.

    See Also
    --------
    rectify_cameras : Where the cameras are known: angles are then right, too.

    Notes
    -----
    As of C. Loop and Z. Zhang 1999, "Computing rectifying homographies for stereo vision", IEEE
    Conference on Computer Vision and Pattern Recognition, the pair of epipolar lines that becomes
    the line at infinity is searched by its direction, the one unknown that bends the images; both
    are made upright and of the right shape at their centres. What is least here is the mean square
    of the logarithms of the stretches, in all directions, over both images.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import rectify
    >>> view = make_two_view(inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> rectified = rectify(view.F, view.matches, view.image_size).transform(view.matches)
    >>> bool(abs(rectified[:, 1] - rectified[:, 3]).max() < 1e-6)
    True
    """
    sizes = _check_sizes(image_size, image_size2)
    rows = check_matches(matches, min_matches=1, name="matches")[0]
    _check_epipoles(epipoles(F), sizes)
    unit = 0.5 * float(np.hypot(*sizes[0]))
    frames = [_centred_frame(size, unit) for size in sizes]
    pencil = _Pencil.of(normalise_fundamental(F), frames, sizes)
    H1, H2 = pencil.homographies(np.array([pencil.best_direction()]))[:, 0]
    H1, H2 = (np.diag([unit, unit, 1.0]) @ H @ frame for H, frame in zip((H1, H2), frames))
    # The centres are at 0, but for the row of that of image 2. Rows move alike in both images,
    # columns so that the median disparity is zero.
    x1, _, x2, _ = Rectification(H1, H2).transform(rows).T
    half = float(np.median(x1 - x2)) / 2
    x, y = np.array(sizes[0]) / 2 - [0.0, _middle(H2, sizes[1])[1] / 2]
    return Rectification(_shift(x - half, y) @ H1, _shift(x + half, y) @ H2)


def rectify_cameras(
    K1: ArrayLike,
    R: ArrayLike,
    t: ArrayLike,
    K2: ArrayLike | None = None,
    *,
    image_size: tuple[int, int],
    image_size2: tuple[int, int] | None = None,
) -> RectifiedCameras:
    """Return homographies that turn two calibrated cameras until matches lie on equal rows.

    Parameters
    ----------
    K1 : array_like of shape (3, 3)
        Intrinsic parameters of camera 1: maps directions to homogeneous pixels.
    R : array_like of shape (3, 3)
        Rotation of the pose, ``X2 = R X1 + t``.
    t : array_like of shape (3,)
        Its translation, in any unit of length.
    K2 : array_like of shape (3, 3), default=None
        Intrinsic parameters of camera 2; None stands for ``K1``.
    image_size : tuple of two ints
        Width and height of image 1, pixels.
    image_size2 : tuple of two ints, default=None
        Those of image 2; None stands for ``image_size``.

    Returns
    -------
    RectifiedCameras
        ``H1``, ``H2``, ``K``, ``R1``, ``R2`` and ``baseline`` of the rectified cameras. Points
        at infinity have no disparity, and the centres of both images, on the average, are that of a
        frame of the size of image 1.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, ``R`` is no rotation, the intrinsic
        parameters are singular, ``t`` is zero, or an epipole lies in an image or next to it.

    See Also
    --------
    rectify : Where only F is known.

    Notes
    -----
    A. Fusiello, E. Trucco and A. Verri 2000, "A compact algorithm for rectification of stereo
    pairs", Machine Vision and Applications 12(1), with new optical axes as close to the mean of
    the old ones as the baseline allows, so that both cameras turn about equally. The focal length
    is the geometric mean of the old ones. Rows are along the baseline: images of cameras one above
    the other are turned by about 90°.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import rectify_cameras
    >>> view = make_two_view(inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> found = rectify_cameras(view.K1, view.R, view.t, view.K2, image_size=view.image_size)
    >>> x1, y1, x2, y2 = found.transform(view.matches).T
    >>> bool(abs(y1 - y2).max() < 1e-6)
    True
    >>> depth = found.K[0, 0] * found.baseline / (x1 - x2)
    >>> bool(abs(depth - (view.X @ found.R1.T)[:, 2]).max() < 1e-6)
    True
    """
    sizes = _check_sizes(image_size, image_size2)
    P1, P2 = projections_from_cameras(K1, R, t, K2)
    first, rotation = P1[:, :3], np.asarray(R, np.float64)
    second = P2[:, :3] @ rotation.T
    centre2 = -rotation.T @ np.asarray(t, np.float64)
    turn1 = _rectified_axes(centre2, rotation)
    turn2 = turn1 @ rotation.T
    focal = np.sqrt(np.sqrt(abs(np.linalg.det(first) * np.linalg.det(second))))
    K = np.diag([focal, focal, 1.0])
    H1, H2 = K @ turn1 @ np.linalg.inv(first), K @ turn2 @ np.linalg.inv(second)
    for H, size, number in ((H1, sizes[0], 1), (H2, sizes[1], 2)):
        if (_weights(H, _corners(size)) <= 0).any():
            raise _epipole_error(f"an epipole lies in or next to image {number}")
    middle = (_middle(H1, sizes[0]) + _middle(H2, sizes[1])) / 2
    K = _shift(*(np.array(sizes[0]) / 2 - middle)) @ K
    H1, H2 = K @ turn1 @ np.linalg.inv(first), K @ turn2 @ np.linalg.inv(second)
    return RectifiedCameras(
        H1=_scaled(H1, sizes[0]),
        H2=_scaled(H2, sizes[1]),
        K=K,
        R1=turn1,
        R2=turn2,
        baseline=float(turn1[0] @ centre2),
    )


def _check_sizes(
    image_size: tuple[int, int], image_size2: tuple[int, int] | None
) -> list[tuple[int, int]]:
    first = check_image_size(image_size)
    return [first, first if image_size2 is None else check_image_size(image_size2, "image_size2")]


def _epipole_error(reason: str) -> ValueError:
    return ValueError(
        f"{reason}: no homography brings all epipolar lines to rows; crop the images so that the "
        "epipoles lie well outside, or work along the lines themselves (epipolar_pencil)"
    )


def _check_epipoles(found: NDArray[np.float64], sizes: list[tuple[int, int]]) -> None:
    for number, (epipole, size) in enumerate(zip(found, sizes), start=1):
        if (
            epipole[2] > 0
            and ((epipole[:2] >= 0) & (epipole[:2] <= epipole[2] * np.array(size))).all()
        ):
            x, y = epipole[:2] / epipole[2]
            raise _epipole_error(f"the epipole ({x:.1f}, {y:.1f}) lies in image {number}")


@dataclass(frozen=True)
class _Pencil:
    """All pairs of homographies that rectify, but for what moves both images alike.

    The last rows w1 and w2 of the homographies are an epipolar line of each image, and so are the
    rows v1 and v2 above: for F ∝ w2 v1ᵀ − v2 w1ᵀ, they must be linear in the same way in a vector
    of two numbers. That of the last rows is the direction.
    """

    lines: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Of shape (2, 3): two lines that correspond, of each image."""
    grids: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Points that distortion is measured at."""

    @classmethod
    def of(
        cls,
        F: NDArray[np.float64],
        frames: list[NDArray[np.float64]],
        sizes: list[tuple[int, int]],
    ) -> _Pencil:
        inverse1, inverse2 = np.linalg.inv(frames[0]), np.linalg.inv(frames[1])
        centred = normalise_fundamental(inverse2.T @ F @ inverse1)
        epipole = epipoles(centred)[0]
        lines1 = np.linalg.svd(epipole[np.newaxis])[2][1:]
        lines2 = lines1 @ (centred @ cross_matrix(epipole)).T
        grids = tuple(_map(frame, _grid(size)) for frame, size in zip(frames, sizes))
        return cls((lines1, lines2), (grids[0], grids[1]))

    def best_direction(self) -> float:
        """Return the angle of the direction of least distortion."""
        angles = np.pi / _N_DIRECTIONS * np.arange(_N_DIRECTIONS)
        costs = self.distortion(angles)
        best = int(np.argmin(costs))
        if not np.isfinite(costs[best]):
            raise _epipole_error("every pair of epipolar lines crosses an image")
        step = angles[1]
        refined = minimize_scalar(
            lambda angle: float(self.distortion(np.array([angle]))[0]),
            bounds=(angles[best] - step, angles[best] + step),
            method="bounded",
            options={"xatol": 1e-8},
        )
        return float(refined.x if refined.fun < costs[best] else angles[best])

    def distortion(self, angles: NDArray) -> NDArray[np.float64]:
        """Return mean squares of logarithms of stretches; infinite where an image is not whole."""
        return sum(
            (_log_stretch(H, grid) for H, grid in zip(self.homographies(angles), self.grids)),
            start=np.zeros(len(angles)),
        )

    def homographies(self, angles: NDArray) -> NDArray[np.float64]:
        """Return homographies of shape (2, k, 3, 3) that keep shapes at the images' centres."""
        cosine, sine = np.cos(angles), np.sin(angles)
        last, upper = np.column_stack([cosine, sine]), np.column_stack([-sine, cosine])
        w = np.stack([last @ lines for lines in self.lines])
        v = np.stack([upper @ lines for lines in self.lines])
        # A line through the centre of its image is crossed, whatever its weight there.
        weight = np.where(np.abs(w[..., 2:]) < _LEAST_WEIGHT, _LEAST_WEIGHT, w[..., 2:])
        w, v = w / weight, v / weight
        # Rows move alike: the centre of image 1 keeps its own.
        v = v - v[:1, :, 2:] * w
        down = v[..., :2] - v[..., 2:] * w[..., :2]
        size = np.sqrt(np.prod(np.linalg.norm(down, axis=2), axis=0))
        scale = (np.copysign(1.0, down[0, :, 1]) / size)[:, np.newaxis]
        v, down = scale * v, scale * down
        u = np.stack([down[..., 1], -down[..., 0], np.zeros_like(down[..., 0])], axis=2)
        return np.stack([u, v, w], axis=2)


def _log_stretch(H: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean square of log σ over points and both singular values σ of the Jacobian."""
    weights = points @ np.swapaxes(H[:, 2:, :2], 1, 2) + H[:, 2:, 2:]
    weights = np.where(weights > 0, weights, np.nan)  # the line at infinity crosses the image
    mapped = (points @ np.swapaxes(H[:, :2, :2], 1, 2) + H[:, np.newaxis, :2, 2]) / weights
    # Entry i, j of the Jacobian at a point is (H[i, j] − mapped[i] H[2, j]) / weight.
    jacobian = H[:, np.newaxis, :2, :2] - mapped[..., np.newaxis] * H[:, np.newaxis, 2:, :2]
    # σ1 σ2 is the determinant and σ1² + σ2² the sum of squares.
    area = np.linalg.det(H)[:, np.newaxis] / weights[..., 0]
    area = np.where(area > 0, area, np.nan)  # rounding, of a homography that is nearly singular
    shape = np.arccosh(np.maximum((jacobian**2).sum((2, 3)) / (2 * area), 1.0))
    growth = np.log(area / weights[..., 0] ** 2)
    return np.nan_to_num(((shape**2 + growth**2) / 4).mean(axis=1), nan=np.inf, posinf=np.inf)


def _rectified_axes(
    centre2: NDArray[np.float64], rotation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the axes of the rectified cameras, as rows in the frame of camera 1."""
    length = np.linalg.norm(centre2)
    if length == 0:
        raise ValueError("t must not be zero: images of a camera that only turns have no rows")
    right, ahead = centre2 / length, rotation[2] + [0.0, 0.0, 1.0]
    old_right = rotation[0] + [1.0, 0.0, 0.0]
    right = np.copysign(1.0, right @ old_right) * right
    down = np.cross(ahead, right)
    if np.linalg.norm(down) <= 1e-12 * np.linalg.norm(ahead):
        raise _epipole_error("the cameras move along their optical axes")
    down /= np.linalg.norm(down)
    return np.stack([right, down, np.cross(right, down)])


def _centred_frame(size: tuple[int, int], unit: float) -> NDArray[np.float64]:
    """Return the map to coordinates about an image's centre."""
    x, y = size[0] / 2, size[1] / 2
    return np.array([[1 / unit, 0, -x / unit], [0, 1 / unit, -y / unit], [0, 0, 1]])


def _grid(size: tuple[int, int]) -> NDArray[np.float64]:
    x, y = (np.linspace(0, length, _N_GRID) for length in size)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _corners(size: tuple[int, int]) -> NDArray[np.float64]:
    width, height = size
    return np.array([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]])


def _weights(H: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ H[2, :2] + H[2, 2]


def _map(H: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return (points @ H[:2, :2].T + H[:2, 2]) / _weights(H, points)[:, np.newaxis]


def _middle(H: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return where the centre of an image is mapped to."""
    return _map(H, np.array([size]) / 2)[0]


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _scaled(H: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return a homography whose third coordinate is 1 at the centre of an image."""
    return H / _weights(H, np.array([size]) / 2)[0]
