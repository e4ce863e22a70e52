"""Matches between two views of a scene, with cameras and points that are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastmotion.core.validation import Interval, StrOptions, validate_parameter_constraints

__all__ = ["TwoView", "make_two_view"]

# Depth of the scene's middle, in the length unit of the scene, and the nearest and farthest points.
_MIDDLE = 6.0
_NEAREST, _FARTHEST = 3.0, 12.0
# Least and most angle between a plane's normal and the direction to camera 1, degrees.
_TILTS = (10.0, 50.0)
# Lowe's ratios of right and of wrong matches are beta distributed, with these parameters.
_RIGHT_RATIO, _WRONG_RATIO = (3.0, 2.5), (7.0, 1.7)
# Noise carries what lies this many standard deviations inside an image over its border
# once in a thousand times.
_MARGIN = 3.0
# An overlap smaller than one in this many points is not a scene that one would match.
_LEAST_OVERLAP = 1e-3


class _Scene(NamedTuple):
    """How camera 2 moves, as ranges, and what the homography is of."""

    baseline: tuple[float, float]
    """In the scene's unit of length."""
    turn: tuple[float, float]
    """By which it looks past the middle of the scene, degrees."""
    forward: bool = False
    plane: str | None = None
    """"own", or "infinite" for points far away."""


_SCENES = {
    "general": _Scene((0.9, 1.8), (0.0, 4.0)),
    "plane": _Scene((0.9, 1.8), (0.0, 4.0), plane="own"),
    "planar": _Scene((0.9, 1.8), (0.0, 4.0), plane="own"),
    "forward": _Scene((0.9, 1.8), (0.0, 4.0), forward=True),
    "rotation": _Scene((0.05, 0.1), (4.0, 10.0), plane="infinite"),
    "pure_rotation": _Scene((0.0, 0.0), (4.0, 10.0), plane="infinite"),
}
# Most rotation of camera 2 about its axis, degrees.
_MOST_ROLL = 10.0

_CONSTRAINTS: dict[str, Any] = {
    "scene": [StrOptions(set(_SCENES))],
    "n_matches": [Interval(Integral, 1, None, closed="left")],
    "inlier_ratio": [Interval(Real, 0, 1, closed="both")],
    "noise": [Interval(Real, 0, None, closed="left")],
    "plane_ratio": [Interval(Real, 0, 1, closed="both")],
    "image_size": [tuple, list],
    "focal": [Interval(Real, 0, None, closed="neither")],
    "random_state": ["random_state"],
}


@dataclass(frozen=True, eq=False)
class TwoView:
    """Two views of a scene that is known exactly; what `make_two_view` returns.

    Attributes
    ----------
    matches : ndarray of shape (n, 4), float64
        Rows ``x1 y1 x2 y2`` in pixels, with noise, right and wrong ones in random order.
    exact : ndarray of shape (n, 4), float64
        The same without noise.
    inlier_mask : ndarray of shape (n,), bool
        Which matches are right. A wrong one may lie near its epipolar line by chance.
    plane_mask : ndarray of shape (n,), bool
        Which right matches show a point of the scene's plane; none where there is no plane.
    quality : ndarray of shape (n,), float64
        Between 0 and 1, larger for right matches as a rule: one minus a simulated ratio of Lowe.
    X : ndarray of shape (n, 3), float64
        The points, in coordinates of camera 1; NaN for wrong matches.
    F : ndarray of shape (3, 3), float64
        ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of unit Frobenius norm; the entry of largest magnitude is
        positive. NaN where the camera does not move, which leaves it undetermined.
    H : ndarray of shape (3, 3), float64
        ``[x2 y2 1]ᵀ ∝ H [x1 y1 1]ᵀ`` for points of the plane or, of scenes named after a rotation,
        for points far away; of unit Frobenius norm and positive determinant. NaN if there is no
        plane.
    K1, K2 : ndarray of shape (3, 3), float64
        The cameras' intrinsic matrices, in pixels.
    R : ndarray of shape (3, 3), float64
        Rotation of camera 2: ``X2 = R X1 + t``.
    t : ndarray of shape (3,), float64
        Its translation, in the scene's unit of length.
    image_size : tuple of int
        Width and height of both images, pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.datasets import make_two_view
    >>> view = make_two_view("plane", n_matches=100, noise=1.0, random_state=0)
    >>> view.image_size, int(view.inlier_mask.sum()), int(view.plane_mask.sum())
    ((1000, 750), 50, 40)
    >>> noise = (view.matches - view.exact)[view.inlier_mask]
    >>> float(noise.std().round(1))
    1.0
    """

    matches: NDArray[np.float64]
    exact: NDArray[np.float64]
    inlier_mask: NDArray[np.bool_]
    plane_mask: NDArray[np.bool_]
    quality: NDArray[np.float64]
    X: NDArray[np.float64]
    F: NDArray[np.float64]
    H: NDArray[np.float64]
    K1: NDArray[np.float64]
    K2: NDArray[np.float64]
    R: NDArray[np.float64]
    t: NDArray[np.float64]
    image_size: tuple[int, int]


def make_two_view(
    scene: str = "general",
    *,
    n_matches: int = 1000,
    inlier_ratio: float = 0.5,
    noise: float = 1.0,
    plane_ratio: float = 0.8,
    image_size: tuple[int, int] = (1000, 750),
    focal: float = 800.0,
    random_state: int | np.random.RandomState | None = None,
) -> TwoView:
    """Make matches between two views of a random scene.

    Camera 2 moves in a random direction and looks about where camera 1 looks. Points lie 3 to 12
    units of length in front of camera 1. Points and wrong matches are spread evenly over the
    images, those of a plane over what can be seen of it.

    ================= ======== ===============================================================
    scene             baseline what it is
    ================= ======== ===============================================================
    "general"         0.9–1.8  points anywhere
    "plane"           0.9–1.8  `plane_ratio` of the points on a plane, the others anywhere
    "planar"          0.9–1.8  all points on a plane: many F fit
    "forward"         0.9–1.8  the camera moves within 10° of where it looks: epipoles are in view
    "rotation"        .05–.1   the camera hardly moves: about as much parallax as noise
    "pure_rotation"   0        the camera does not move: there is no F
    ================= ======== ===============================================================

    Parameters
    ----------
    scene : str, default="general"
        One of the table.
    n_matches : int, default=1000
        Number of matches.
    inlier_ratio : float, default=0.5
        Share of right matches; their number is rounded.
    noise : float, default=1.0
        Standard deviation of the Gaussian noise on each coordinate in both images, pixels. It may
        carry a point over the border.
    plane_ratio : float, default=0.8
        Share of the right matches on the plane, for `scene` "plane" only.
    image_size : tuple of int, default=(1000, 750)
        Width and height of both images, pixels.
    focal : float, default=800.0
        Focal length of both cameras, pixels. Their principal points are the images' centres.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same matches in each call; the cameras and the plane are then the same
        for any number, share and noise of matches.

    Returns
    -------
    view : TwoView
        The matches, what they show, and the cameras.

    Raises
    ------
    ValueError
        If a parameter has an impossible value, or the views do not overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.datasets import make_two_view
    >>> view = make_two_view("plane", n_matches=200, noise=0.0, random_state=0)
    >>> view.matches.shape, int(view.inlier_mask.sum()), int(view.plane_mask.sum())
    ((200, 4), 100, 80)
    >>> ones = np.ones((100, 1))
    >>> left, right = np.split(view.matches[view.inlier_mask], 2, axis=1)
    >>> left, right = np.hstack([left, ones]), np.hstack([right, ones])
    >>> bool(np.allclose(np.einsum("ni,ij,nj->n", right, view.F, left), 0))
    True
    """
    _check(
        scene=scene,
        n_matches=n_matches,
        inlier_ratio=inlier_ratio,
        noise=noise,
        plane_ratio=plane_ratio,
        image_size=image_size,
        focal=focal,
        random_state=random_state,
    )
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    pair = _Pair.draw(_SCENES[scene], image_size, focal, np.random.default_rng([seed, 0]))
    plane = _draw_plane(np.random.default_rng([seed, 1]))
    random = np.random.default_rng([seed, 2])

    n_right = round(inlier_ratio * n_matches)
    n_plane = round({"plane": plane_ratio, "planar": 1.0}.get(scene, 0.0) * n_right)
    margin = _MARGIN * noise
    X = np.full((n_matches, 3), np.nan)
    X[:n_plane] = pair.visible_points(n_plane, plane, margin, random)
    X[n_plane:n_right] = pair.visible_points(n_right - n_plane, None, margin, random)
    exact = random.uniform(0, 1, (n_matches, 4)) * np.tile(image_size, 2)
    exact[:n_right] = pair.project(X[:n_right])
    matches = exact.copy()
    matches[:n_right] += noise * random.standard_normal((n_right, 4))

    order = random.permutation(n_matches)
    return TwoView(
        matches=matches[order],
        exact=exact[order],
        inlier_mask=order < n_right,
        plane_mask=order < n_plane,
        quality=_draw_qualities(n_matches, n_right, random)[order],
        X=X[order],
        F=pair.fundamental(),
        H=pair.homography(_SCENES[scene].plane, plane),
        K1=pair.K,
        K2=pair.K.copy(),
        R=pair.R,
        t=pair.t,
        image_size=(int(image_size[0]), int(image_size[1])),
    )


def _check(**parameters: Any) -> None:
    validate_parameter_constraints(_CONSTRAINTS, parameters, caller_name="make_two_view")
    size = parameters["image_size"]
    if len(size) != 2 or not all(isinstance(n, Integral) and int(n) > 0 for n in size):
        raise ValueError(f"image_size must be two positive integers, width and height; got {size}")


class _Plane(NamedTuple):
    """Points of ``normal @ X = distance``."""

    normal: NDArray[np.float64]
    distance: float


class _Pair(NamedTuple):
    """Two cameras of the same make."""

    K: NDArray[np.float64]
    R: NDArray[np.float64]
    t: NDArray[np.float64]
    size: NDArray[np.float64]

    @classmethod
    def draw(
        cls,
        scene: _Scene,
        image_size: tuple[int, int],
        focal: float,
        random: np.random.Generator,
    ) -> _Pair:
        size = np.array(image_size, dtype=float)
        K = np.diag([focal, focal, 1.0])
        K[:2, 2] = size / 2
        centre = random.uniform(*scene.baseline) * _draw_direction(scene.forward, random)
        # Camera 2 would look at the middle of the scene, but turns and rolls.
        to_middle = np.array([0.0, 0.0, _MIDDLE]) - centre
        R = _rotation_between(to_middle, np.array([0.0, 0.0, 1.0]))
        around = random.uniform(0, 2 * np.pi)
        turn = np.deg2rad(random.uniform(*scene.turn))
        R = _rotation(turn * np.array([np.cos(around), np.sin(around), 0.0])) @ R
        roll = np.deg2rad(random.uniform(-_MOST_ROLL, _MOST_ROLL))
        R = _rotation(np.array([0.0, 0.0, roll])) @ R
        return cls(K, R, -R @ centre, size)

    def project(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return matches without noise, of shape (n, 4)."""
        views = [X @ self.K.T, (X @ self.R.T + self.t) @ self.K.T]
        return np.hstack([view[:, :2] / view[:, 2:] for view in views])

    def visible_points(
        self, n_points: int, plane: _Plane | None, margin: float, random: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw points of the plane, or anywhere, that lie `margin` inside both images."""
        found = [np.empty((0, 3))]
        n_found = n_drawn = 0
        while n_found < n_points:
            X = self._points_of_image(n_points + 100, plane, random)
            X = X[self._is_visible(X, margin)]
            found.append(X)
            n_found += len(X)
            n_drawn += n_points + 100
            if n_found < _LEAST_OVERLAP * n_drawn - 1:
                raise ValueError(
                    "the two views do not overlap; take a shorter focal length, larger images or "
                    "less noise"
                )
        return np.concatenate(found)[:n_points]

    def _points_of_image(
        self, n_points: int, plane: _Plane | None, random: np.random.Generator
    ) -> NDArray[np.float64]:
        pixels = np.column_stack(
            [random.uniform(0, 1, (n_points, 2)) * self.size, np.ones(n_points)]
        )
        rays = np.linalg.solve(self.K, pixels.T).T
        if plane is None:
            return rays * random.uniform(_NEAREST, _FARTHEST, (n_points, 1))
        return rays * (plane.distance / (rays @ plane.normal))[:, np.newaxis]

    def _is_visible(self, X: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
        depth1, depth2 = X[:, 2], (X @ self.R.T + self.t)[:, 2]
        in_range = (depth1 >= _NEAREST) & (depth1 <= _FARTHEST) & (depth2 > 0)
        pixels = self.project(X).reshape(-1, 2, 2)
        inside = (pixels >= margin) & (pixels <= self.size - margin)
        return in_range & inside.all(axis=(1, 2))

    def fundamental(self) -> NDArray[np.float64]:
        if not self.t.any():
            return np.full((3, 3), np.nan)
        inverse = np.linalg.inv(self.K)
        F = inverse.T @ _cross_matrix(self.t) @ self.R @ inverse
        return F / math.copysign(np.linalg.norm(F), F.flat[abs(F).argmax()])

    def homography(self, of: str | None, plane: _Plane) -> NDArray[np.float64]:
        if of is None:
            return np.full((3, 3), np.nan)
        H = self.R.copy()
        if of == "own":
            H += np.outer(self.t, plane.normal) / plane.distance
        H = self.K @ H @ np.linalg.inv(self.K)
        return H / math.copysign(np.linalg.norm(H), np.linalg.det(H))


def _draw_direction(forward: bool, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw a unit vector within 10° of the axis of camera 1, or 45° and more away from it."""
    sign = random.choice([-1.0, 1.0])
    cosine = sign * (random.uniform(np.cos(np.pi / 18), 1) if forward else random.uniform(0, 0.7))
    around = random.uniform(0, 2 * np.pi)
    sine = math.sqrt(1 - cosine**2)
    return np.array([sine * np.cos(around), sine * np.sin(around), cosine])


def _draw_plane(random: np.random.Generator) -> _Plane:
    """Draw a plane through the middle of the scene that camera 1 sees from the front."""
    tilt = np.deg2rad(random.uniform(*_TILTS))
    around = random.uniform(0, 2 * np.pi)
    sine = np.sin(tilt)
    normal = np.array([sine * np.cos(around), sine * np.sin(around), np.cos(tilt)])
    return _Plane(normal, _MIDDLE * normal[2])


def _draw_qualities(
    n_matches: int, n_right: int, random: np.random.Generator
) -> NDArray[np.float64]:
    ratio = random.beta(*_WRONG_RATIO, n_matches)
    ratio[:n_right] = random.beta(*_RIGHT_RATIO, n_right)
    return 1 - ratio


def _cross_matrix(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix whose product with a vector is the cross product of `v` with it."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def _rotation(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation about a vector by its length in radians (Rodrigues' formula)."""
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    cross = _cross_matrix(vector / angle)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _rotation_between(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smallest rotation that turns the direction of `a` into that of `b`."""
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    if sine == 0:
        return np.eye(3)
    return _rotation(axis / sine * math.atan2(sine, a @ b))
