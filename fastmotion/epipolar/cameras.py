"""Cameras and what two of them imply: fundamental and essential matrices, pose, triangulation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.epipolar.checks import (
    check_fundamental,
    check_intrinsics,
    check_matches,
    check_matrix,
    check_rotation,
)
from fastmotion.epipolar.estimation import normalise_fundamental
from fastmotion.epipolar.lines import cross_matrix

__all__ = [
    "RelativePose",
    "essential_from_fundamental",
    "fundamental_from_cameras",
    "fundamental_from_projections",
    "projections_from_cameras",
    "recover_pose",
    "triangulate",
]

# Relative to the largest singular value: less is zero but for rounding.
_SINGULAR = 1e-12

# The angle between two camera centres as points of projective space, where rounding may explain it.
_SAME_CENTRE = 1e-12

# Of an essential matrix the singular values are as 1, 1 and 0: an estimate comes closer than this.
# Fundamental matrices in pixels, for which they may be taken by mistake, are far from it.
_ESSENTIAL_TOLERANCE = 0.5

# In cyclic order, so that the determinants of two and two rows have the signs of F's entries.
_OTHER_ROWS = ((1, 2), (2, 0), (0, 1))


def projections_from_cameras(
    K1: ArrayLike, R: ArrayLike, t: ArrayLike, K2: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the projection matrices of two calibrated cameras, in the frame of camera 1.

    Parameters
    ----------
    K1 : array_like of shape (3, 3)
        Intrinsic parameters of camera 1: maps directions to homogeneous pixels.
    R : array_like of shape (3, 3)
        Rotation of the pose, ``X2 = R X1 + t``.
    t : array_like of shape (3,)
        Its translation; the unit of length is that of the points.
    K2 : array_like of shape (3, 3), default=None
        Those of camera 2; None stands for ``K1``.

    Returns
    -------
    P1, P2 : ndarray of shape (3, 4), float64
        ``K1 [I | 0]`` and ``K2 [R | t]``.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, ``R`` is no rotation, or the intrinsic
        parameters are singular.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import projections_from_cameras
    >>> P1, P2 = projections_from_cameras(np.diag([500, 500, 1]), np.eye(3), [-0.2, 0, 0])
    >>> P2
    array([[ 500.,    0.,    0., -100.],
           [   0.,  500.,    0.,    0.],
           [   0.,    0.,    1.,    0.]])
    """
    first, second = _check_both_intrinsics(K1, K2)
    rotation, translation = check_rotation(R), check_matrix(t, (3,), "t")
    return first @ np.eye(3, 4), second @ np.column_stack([rotation, translation])


def fundamental_from_cameras(
    K1: ArrayLike, R: ArrayLike, t: ArrayLike, K2: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return the fundamental matrix of two calibrated cameras.

    Parameters
    ----------
    K1 : array_like of shape (3, 3)
        Intrinsic parameters of camera 1: maps directions to homogeneous pixels.
    R : array_like of shape (3, 3)
        Rotation of the pose, ``X2 = R X1 + t``.
    t : array_like of shape (3,)
        Its translation; its length does not matter.
    K2 : array_like of shape (3, 3), default=None
        Intrinsic parameters of camera 2; None stands for ``K1``.

    Returns
    -------
    ndarray of shape (3, 3), float64
        ``F ∝ K2⁻ᵀ [t]ₓ R K1⁻¹`` with ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``: of rank 2 and unit Frobenius
        norm, its entry of largest magnitude positive.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, ``R`` is no rotation, the intrinsic
        parameters are singular, or ``t`` is zero.

    See Also
    --------
    fundamental_from_projections : From any two projection matrices.

    Notes
    -----
    R. Hartley and A. Zisserman 2004, "Multiple View Geometry in Computer Vision", equation 9.2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import fundamental_from_cameras
    >>> K = np.diag([500, 500, 1])
    >>> F = fundamental_from_cameras(K, np.eye(3), [-0.2, 0, 0])
    >>> F * np.sqrt(2)
    array([[ 0.,  0.,  0.],
           [ 0.,  0.,  1.],
           [ 0., -1.,  0.]])
    """
    first, second = _check_both_intrinsics(K1, K2)
    rotation, translation = check_rotation(R), check_matrix(t, (3,), "t")
    if not translation.any():
        raise ValueError(
            "t must not be zero: a camera that only turns has no fundamental matrix; its images "
            "are related by the homography K2 R K1⁻¹"
        )
    essential = cross_matrix(translation / np.abs(translation).max()) @ rotation
    # K2⁻ᵀ E K1⁻¹ without inverses.
    half = np.linalg.solve(second.T, essential)
    return normalise_fundamental(np.linalg.solve(first.T, half.T).T)


def fundamental_from_projections(P1: ArrayLike, P2: ArrayLike) -> NDArray[np.float64]:
    """Return the fundamental matrix of two cameras that are given by their projection matrices.

    Parameters
    ----------
    P1, P2 : array_like of shape (3, 4)
        Map homogeneous points of space to homogeneous pixels. Any two of rank 3: finite, affine
        and general projective cameras.

    Returns
    -------
    ndarray of shape (3, 3), float64
        F of ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``: of rank 2 and unit Frobenius norm, its entry of largest
        magnitude positive.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, a matrix has a rank less than 3, or the
        camera centres coincide, to rounding.

    See Also
    --------
    fundamental_from_cameras : From intrinsic parameters and the pose.

    Notes
    -----
    Each entry is the determinant of two rows of ``P1`` and two of ``P2``: R. Hartley and A.
    Zisserman 2004, "Multiple View Geometry in Computer Vision", equation 17.3. No camera has to be
    finite, as for ``F ∝ [m]ₓ M2 M1⁻¹`` with ``m = m2 − M2 M1⁻¹ m1`` of matrices ``[M | m]``, which
    this equals where ``M1`` is regular.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import fundamental_from_projections
    >>> P1 = [[500, 0, 320, 0], [0, 500, 240, 0], [0, 0, 1, 0]]
    >>> P2 = [[500, 0, 320, -100], [0, 500, 240, 0], [0, 0, 1, 0]]
    >>> fundamental_from_projections(P1, P2) * np.sqrt(2)
    array([[ 0.,  0.,  0.],
           [ 0.,  0.,  1.],
           [ 0., -1.,  0.]])
    """
    first, second = _in_similar_units(_check_projection(P1, "P1"), _check_projection(P2, "P2"))
    centre1, centre2 = _centre(first), _centre(second)
    if np.linalg.norm(centre2 - (centre1 @ centre2) * centre1) <= _SAME_CENTRE:
        raise ValueError(
            "P1 and P2 must have different camera centres: from one centre, the images are "
            "related by a homography and there is no fundamental matrix"
        )
    minors = [
        [np.concatenate([first[list(rows1)], second[list(rows2)]]) for rows1 in _OTHER_ROWS]
        for rows2 in _OTHER_ROWS
    ]
    return normalise_fundamental(np.linalg.det(np.array(minors)))


def essential_from_fundamental(
    F: ArrayLike, K1: ArrayLike, K2: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return the essential matrix of calibrated cameras with a fundamental matrix.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of any scale.
    K1 : array_like of shape (3, 3)
        Intrinsic parameters of camera 1: maps directions to homogeneous pixels.
    K2 : array_like of shape (3, 3), default=None
        Those of camera 2; None stands for ``K1``.

    Returns
    -------
    ndarray of shape (3, 3), float64
        The essential matrix that is nearest to ``K2ᵀ F K1`` in the Frobenius norm, scaled to unit
        Frobenius norm, with its entry of largest magnitude positive: its singular values are √½, √½
        and 0.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, the intrinsic parameters are singular, or
        the rank of ``F`` is less than 2.

    See Also
    --------
    recover_pose : Rotation and translation from the essential matrix.

    Notes
    -----
    R. Hartley and A. Zisserman 2004, "Multiple View Geometry in Computer Vision", equation 9.12
    and section 11.7.3.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import essential_from_fundamental
    >>> F = [[0, 0, 0], [0, 0, 1], [0, -1, 0]]
    >>> essential_from_fundamental(F, np.diag([500, 500, 1])) * np.sqrt(2)
    array([[ 0.,  0.,  0.],
           [ 0.,  0.,  1.],
           [ 0., -1.,  0.]])
    """
    first, second = _check_both_intrinsics(K1, K2)
    left, values, right = np.linalg.svd(second.T @ normalise_fundamental(F) @ first)
    if values[1] <= _SINGULAR * values[0]:
        raise ValueError(f"F must have rank 2, got rank 1: {np.asarray(F).tolist()}")
    return normalise_fundamental(left[:, :2] @ right[:2])


@dataclass(frozen=True, eq=False)
class RelativePose:
    """Where camera 2 is, as `recover_pose` found it.

    Attributes
    ----------
    R : ndarray of shape (3, 3), float64
        Rotation: ``X2 = R X1 + t``.
    t : ndarray of shape (3,), float64
        Translation, of length 1: two images do not tell the scale.
    in_front_mask : ndarray of shape (n,), bool
        The matches that count and lie in front of both cameras.
    n_runner_up : int
        How many would with the best of the other three poses. Close to ``n_in_front``, the choice
        is open to doubt.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import essential_from_fundamental, recover_pose
    >>> view = make_two_view(n_matches=100, inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> E = essential_from_fundamental(view.F, view.K1, view.K2)
    >>> pose = recover_pose(E, view.matches, view.K1, view.K2)
    >>> bool(np.allclose(pose.t, view.t / np.linalg.norm(view.t)))
    True
    >>> int(pose.in_front_mask.sum()), pose.n_runner_up
    (100, 0)
    """

    R: NDArray[np.float64]
    t: NDArray[np.float64]
    in_front_mask: NDArray[np.bool_]
    n_runner_up: int

    @property
    def n_in_front(self) -> int:
        """How many matches lie in front of both cameras.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import essential_from_fundamental, recover_pose
        >>> view = make_two_view(n_matches=100, inlier_ratio=1.0, noise=0.0, random_state=0)
        >>> E = essential_from_fundamental(view.F, view.K1, view.K2)
        >>> pose = recover_pose(E, view.matches, view.K1, view.K2)
        >>> pose.n_in_front
        100
        """
        return int(np.count_nonzero(self.in_front_mask))


def recover_pose(
    E: ArrayLike,
    matches: ArrayLike,
    K1: ArrayLike,
    K2: ArrayLike | None = None,
    *,
    inlier_mask: ArrayLike | None = None,
) -> RelativePose:
    """Return the pose of camera 2 from an essential matrix and matches.

    Four poses have the same essential matrix. The one is taken with which most matches lie in front
    of both cameras.

    Parameters
    ----------
    E : array_like of shape (3, 3)
        Essential matrix, as `essential_from_fundamental` returns it, of any scale and sign.
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2``, pixels; one is enough if it is right.
    K1 : array_like of shape (3, 3)
        Intrinsic parameters of camera 1: maps directions to homogeneous pixels.
    K2 : array_like of shape (3, 3), default=None
        Those of camera 2; None stands for ``K1``.
    inlier_mask : array_like of shape (n,), bool, default=None
        The matches that count; None stands for all. Wrong matches are as often in front with a
        wrong pose.

    Returns
    -------
    RelativePose
        ``R``, ``t``, ``in_front_mask`` and how clear the choice was.

    Raises
    ------
    TypeError
        An argument does not hold real numbers, or ``inlier_mask`` no booleans.
    ValueError
        A shape is wrong, a number is NaN or infinite, ``E`` is far from any essential matrix, no
        match counts, or the matches do not tell which pose it is: as many are in front with two.

    Warns
    -----
    RuntimeWarning
        The next best pose has more than half as many matches in front: there are too many wrong
        ones, or too little parallax.

    See Also
    --------
    triangulate : The points themselves, with the matrices of `projections_from_cameras`.

    Notes
    -----
    R. Hartley and A. Zisserman 2004, "Multiple View Geometry in Computer Vision", result 9.19. A
    match is in front if the points of its two rays that are closest to each other have positive
    distances from the cameras along the rays; this needs no threshold for points far away.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import essential_from_fundamental, recover_pose
    >>> view = make_two_view(inlier_ratio=1.0, random_state=0)
    >>> E = essential_from_fundamental(view.F, view.K1, view.K2)
    >>> pose = recover_pose(E, view.matches, view.K1, view.K2)
    >>> bool(np.allclose(pose.R, view.R)), pose.n_in_front, pose.n_runner_up
    (True, 1000, 0)
    """
    first, second = _check_both_intrinsics(K1, K2)
    rows = check_matches(matches, min_matches=1, name="matches")[0]
    counts = _check_mask(inlier_mask, len(rows))
    rays1, rays2 = _rays(rows[:, :2], first), _rays(rows[:, 2:], second)
    rotations, translation = _decompose(E)
    poses = []
    for rotation in rotations:
        depth1, depth2 = _depths(rays1 @ rotation.T, rays2, translation)
        poses.append((rotation, translation, counts & (depth1 > 0) & (depth2 > 0)))
        poses.append((rotation, -translation, counts & (depth1 < 0) & (depth2 < 0)))
    poses.sort(key=lambda pose: np.count_nonzero(pose[2]), reverse=True)
    best = RelativePose(*poses[0], n_runner_up=int(np.count_nonzero(poses[1][2])))
    _check_choice(best, int(np.count_nonzero(counts)))
    return best


def triangulate(
    P1: ArrayLike,
    P2: ArrayLike,
    matches: ArrayLike,
    *,
    method: str = "optimal",
    homogeneous: bool = False,
) -> NDArray[np.float64]:
    """Return the points of space that matches show.

    Parameters
    ----------
    P1, P2 : array_like of shape (3, 4)
        Map homogeneous points of space to homogeneous pixels; of rank 3, with different centres.
        `projections_from_cameras` makes them from intrinsic parameters and a pose.
    matches : array_like of shape (n, 4)
        Rows ``x1 y1 x2 y2``, pixels.
    method : {"optimal", "linear"}, default="optimal"
        Which point is taken where rays do not meet because of noise:

        - "optimal", the one whose images are closest to the match: most likely, if noise is the
          same in all coordinates. The frame of the points does not matter, nor does the kind of the
          cameras.
        - "linear", the one of least algebraic error, as of OpenCV's ``triangulatePoints``: near to
          it in a frame of one camera, and slower.
    homogeneous : bool, default=False
        Whether points are returned with four coordinates.

    Returns
    -------
    ndarray of shape (n, 3), or (n, 4) if ``homogeneous``, float64
        Points in the frame, and in the unit of length, of the projection matrices. A point at
        infinity has infinite coordinates; rounding may make them merely huge, and noise may put a
        point that is far away behind the cameras. Homogeneous ones are of unit norm, their fourth
        coordinate not negative: 0 is at infinity. A match of epipoles shows some point of the
        baseline and nothing tells which: the row is then NaN (zeros if homogeneous).

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is NaN or infinite, a matrix has a rank less than 3, the camera
        centres coincide, or ``method`` is unknown.

    Warns
    -----
    RuntimeWarning
        A row is NaN, or zeros if ``homogeneous``.

    Notes
    -----
    "optimal" moves the match by the two steps of P. Lindstrom 2010, "Triangulation made easy", IEEE
    Conference on Computer Vision and Pattern Recognition ("niter2"), which find the nearest match
    whose rays meet to rounding, as the polynomial of Hartley and Sturm does; "linear" is R. Hartley
    and A. Zisserman 2004, "Multiple View Geometry in Computer Vision", section 12.2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import projections_from_cameras, triangulate
    >>> view = make_two_view(inlier_ratio=1.0, noise=0.0, random_state=0)
    >>> P1, P2 = projections_from_cameras(view.K1, view.R, view.t, view.K2)
    >>> bool(np.allclose(triangulate(P1, P2, view.matches), view.X))
    True
    """
    rows = check_matches(matches, name="matches")[0]
    first, second = _check_projection(P1, "P1"), _check_projection(P2, "P2")
    F = fundamental_from_projections(first, second)
    if method == "optimal":
        points = _intersect(_correct(rows, F), first, second, F)
    elif method == "linear":
        points = _solve_linearly(rows, first, second)
    else:
        raise ValueError(f"method must be 'optimal' or 'linear', got {method!r}")
    points = _normalise_points(points)
    return points if homogeneous else _without_scale(points)


def _check_both_intrinsics(
    K1: ArrayLike, K2: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = check_intrinsics(K1, "K1")
    return first, first if K2 is None else check_intrinsics(K2, "K2")


def _check_projection(P: ArrayLike, name: str) -> NDArray[np.float64]:
    array = check_matrix(P, (3, 4), name)
    # The unit of length is arbitrary: it must not decide about the rank.
    scale = np.repeat([np.abs(array[:, :3]).max(), np.abs(array[:, 3]).max()], [3, 1])
    values = np.linalg.svd(array / np.where(scale > 0, scale, 1.0), compute_uv=False)
    if values[2] <= _SINGULAR * values[0]:
        raise ValueError(f"{name} must have rank 3, got singular values {values.tolist()}")
    return array


def _in_similar_units(
    P1: NDArray[np.float64], P2: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two matrices for a unit of length, and scales, that make their entries comparable."""
    first, second = P1 / np.abs(P1[:, :3]).max(), P2 / np.abs(P2[:, :3]).max()
    unit = max(np.abs(first[:, 3]).max(), np.abs(second[:, 3]).max())
    if unit:
        first[:, 3] /= unit
        second[:, 3] /= unit
    return first, second


def _centre(P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the camera's centre, homogeneous and of unit norm."""
    return np.linalg.svd(P)[2][3]


def _check_mask(mask: ArrayLike | None, n_matches: int) -> NDArray[np.bool_]:
    if mask is None:
        return np.ones(n_matches, bool)
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise TypeError(
            f"inlier_mask must hold booleans, got dtype {array.dtype}; convert it, for example "
            "with mask.ravel() != 0"
        )
    if array.shape != (n_matches,):
        raise ValueError(f"inlier_mask must have shape ({n_matches},), got {array.shape}")
    if not array.any():
        raise ValueError("inlier_mask must mark at least one match, got none")
    return array


def _decompose(
    E: ArrayLike,
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]:
    """Return the two rotations of an essential matrix, and the translation but for its sign."""
    left, values, right = np.linalg.svd(check_fundamental(E, "E"))
    least, most = _ESSENTIAL_TOLERANCE * values[0], (1 - _ESSENTIAL_TOLERANCE) * values[0]
    if values[1] < least or values[2] > most:
        raise ValueError(
            "E must be an essential matrix, with two equal singular values and a third of zero, "
            f"got {values.tolist()}; make it of a fundamental matrix by "
            "essential_from_fundamental(F, K1, K2)"
        )
    quarter_turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rotations = (left @ quarter_turn @ right, left @ quarter_turn.T @ right)
    sign = np.sign(np.linalg.det(rotations[0]))
    return (sign * rotations[0], sign * rotations[1]), left[:, 2]


def _rays(points: NDArray[np.float64], K: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors from a camera's centre towards points, in its frame."""
    rays = np.linalg.solve(K, np.column_stack([points, np.ones(len(points))]).T).T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _depths(
    rays1: NDArray[np.float64], rays2: NDArray[np.float64], t: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return distances along two rays to where they are closest, times their angle's sine squared.

    Both rays are in the frame of camera 2, those of camera 1 start at t.
    """
    cosine = np.einsum("ij,ij->i", rays1, rays2)
    along1, along2 = rays1 @ t, rays2 @ t
    return cosine * along2 - along1, along2 - cosine * along1


def _check_choice(best: RelativePose, n_counting: int) -> None:
    n_best, n_next = best.n_in_front, best.n_runner_up
    told = (
        f"of {n_counting} matches, {n_best} are in front of both cameras with the best pose and "
        f"{n_next} with the next best"
    )
    if n_best == n_next:
        raise ValueError(
            f"the matches do not tell which of four poses it is: {told}; give matches with "
            "parallax, and mark the wrong ones by inlier_mask"
        )
    if 2 * n_next > n_best:
        warnings.warn(
            f"the pose is open to doubt: {told}; there is too little parallax, or too many matches "
            "are wrong and not marked by inlier_mask",
            RuntimeWarning,
            stacklevel=3,
        )


def _correct(matches: NDArray[np.float64], F: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest matches that obey F: two steps of Lindstrom 2010, listing 3."""
    points1, points2 = matches[:, :2], matches[:, 2:]
    corner = F[:2, :2]
    # Gradients of the constraint by each point, which are normals of the epipolar lines.
    normals1, normals2 = points2 @ corner + F[2, :2], points1 @ corner.T + F[:2, 2]
    residual = np.einsum("ij,ij->i", points2, normals2) + points1 @ F[2, :2] + F[2, 2]
    curvature = np.einsum("ij,jk,ik->i", normals2, corner, normals1)
    half = 0.5 * (_squared(normals1) + _squared(normals2))
    root = np.sqrt(np.maximum(half * half - curvature * residual, 0.0))
    step = _ratio(residual, half + root)[:, np.newaxis]
    moved1 = normals1 - (step * normals2) @ corner
    moved2 = normals2 - (step * normals1) @ corner.T
    step *= _ratio(2 * root, _squared(moved1) + _squared(moved2))[:, np.newaxis]
    return np.hstack([points1 - step * moved1, points2 - step * moved2])


def _intersect(
    matches: NDArray[np.float64],
    P1: NDArray[np.float64],
    P2: NDArray[np.float64],
    F: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the homogeneous points in which the rays of matches that obey F meet."""
    pixels1 = np.column_stack([matches[:, :2], np.ones(len(matches))])
    x2, y2 = matches[:, 2:].T
    # The plane of camera 2 that holds its ray and cuts the epipolar plane as squarely as it can.
    a, b, _ = F @ pixels1.T
    planes = np.column_stack([b, -a, a * y2 - b * x2]) @ P2
    # It cuts the ray of camera 1, which joins that camera's centre and another point.
    centre, others = _centre(P1), pixels1 @ np.linalg.pinv(P1).T
    return (
        np.einsum("ij,ij->i", planes, others)[:, np.newaxis] * centre
        - (planes @ centre)[:, np.newaxis] * others
    )


def _solve_linearly(
    matches: NDArray[np.float64], P1: NDArray[np.float64], P2: NDArray[np.float64]
) -> NDArray[np.float64]:
    x1, y1, x2, y2 = matches.T[:, :, np.newaxis]
    rows = [x1 * P1[2] - P1[0], y1 * P1[2] - P1[1], x2 * P2[2] - P2[0], y2 * P2[2] - P2[1]]
    return np.linalg.svd(np.stack(rows, axis=1))[2][:, 3]


def _normalise_points(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return homogeneous points with unit norm and a fourth coordinate that is not negative."""
    largest = np.abs(points).max(axis=1, initial=0.0)
    is_undetermined = largest == 0
    if is_undetermined.any():
        warnings.warn(
            f"{np.count_nonzero(is_undetermined)} of {len(points)} matches do not determine a "
            "point: they are epipoles",
            RuntimeWarning,
            stacklevel=3,
        )
    points = points / np.where(is_undetermined, 1.0, largest)[:, np.newaxis]
    length = np.sqrt(_squared(points))
    length[is_undetermined] = 1.0
    return points / np.where(points[:, 3] < 0, -length, length)[:, np.newaxis]


def _without_scale(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return homogeneous points as points of space."""
    with np.errstate(divide="ignore", invalid="ignore"):
        coordinates = points[:, :3] / points[:, 3:]
    is_at_infinity = (points[:, 3] == 0) & points[:, :3].any(axis=1)
    coordinates[is_at_infinity[:, np.newaxis] & (points[:, :3] == 0)] = 0.0
    return coordinates


def _squared(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("ij,ij->i", vectors, vectors)


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotients, 0 where the divisor is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)
