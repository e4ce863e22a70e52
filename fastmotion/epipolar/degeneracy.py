"""What leaves a fundamental matrix undetermined: planes, rotations, too few points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.launching import Kernels
from fastmotion.epipolar.planar_fit import PlanarProblem, ScaledMatches
from fastmotion.epipolar.problem import FundamentalProblem
from fastmotion.epipolar.ransac import Candidate

__all__ = ["Plane", "find_plane", "plane_of", "resolve_plane", "undetermined"]

# A plane that holds less of the inliers than this misleads no sample.
_DOMINANT = 0.3
# Trials that find a plane of that share with a probability of .98, and matches they are held to.
_PLANE_TRIALS, _PLANE_MATCHES = 512, 512
# Distances from a plane take noise of both directions, those from epipolar lines of one.
_WIDER = 1.5

# Epipoles that are tried once the plane is known: all over the sphere of directions, and where the
# lines of two matches meet.
_N_DIRECTIONS, _N_PAIRS, _N_PAIRS_OFF = 300, 300, 3000
# How many of the best are refined, of those farther apart than the angle of this cosine.
_N_LISTED, _N_REFINED, _NEIGHBOURS = 200, 6, 0.98

# Right matches off the plane: beyond these standard deviations of noise lie one in a thousand.
_OFF_PLANE = 3.7
# F has two degrees of freedom once the plane is known; so many matches more speak for it.
_LEAST_OFF, _NOISE_SHARE = 6.0, 0.005
# Wrong matches near their line by chance are counted between these distances, in noise.
_NEAR, _FROM, _TO = 2.5, 5.0, 15.0
# F is chosen so that chance gains: by about so many standard deviations of its count.
_CHOSEN = 4.0

# The moduli of the eigenvalues of a rotation's homography are equal if both images have the same
# intrinsics; estimated, they may lie so far from their mean, in logarithm.
_UNIT_MODULUS = 0.01
# Points on a line scatter about it by less than so many standard deviations of their noise.
_COLLINEAR = 2.0
_LEAST_DIFFERENT = 8
# So many tell whether all lie on a line.
_MANY = 4096


@dataclass(frozen=True)
class Plane:
    """A homography that a large share of the inliers obeys.

    Attributes
    ----------
    H : ndarray of shape (3, 3)
    distances : ndarray of shape (n,)
        Sampson distances of all matches from it.
    """

    H: NDArray[np.float64]
    distances: NDArray[np.float64]


def find_plane(problem: FundamentalProblem, best: Candidate, seed: np.uint64) -> Plane | None:
    """Return the plane, in the problem's coordinates, that dominates the inliers of a model."""
    matches = problem.matches
    few = matches.order[problem.is_inlier(best.model)[matches.order]][:_PLANE_MATCHES]
    if len(few) < PlanarProblem.sample_size:
        return None
    rows = np.ascontiguousarray(matches.matches[few].T)
    threshold = _WIDER * problem.scoring_threshold
    # In these coordinates already: nothing is scaled.
    scaled = ScaledMatches(rows, np.ones(len(few)), np.zeros(4), 1.0)
    planes = PlanarProblem(scaled, seed, threshold, kernels=problem.kernels)
    models, gains = np.zeros((1, 9)), np.full(1, _DOMINANT)
    planes.search(np.full(_PLANE_TRIALS, len(few)), 0, models, gains)
    if not models.any():
        return None
    model = planes.refine(models)[0].model
    points, _ = matches.padded
    distances = np.empty(points.shape[1])
    problem.kernels.planar.sampson_distances(points, model, distances)
    return Plane(model.reshape(3, 3), distances[: matches.n])


def resolve_plane(
    problem: FundamentalProblem, best: Candidate, plane: Plane, rng: np.random.Generator
) -> Candidate:
    """Return the best model among those that a plane leaves, or the given one if it is better.

    A sample with most matches on the plane gives an F that the plane's other matches obey and
    nothing else does. Given H of the plane, F = [e]ₓ H for the epipole e of image 2 that matches
    off the plane point to (plane and parallax: Chum, Werner and Matas, "Two-view geometry
    estimation unaffected by a dominant plane", CVPR 2005). Where all depths are much the same, no
    two matches tell the epipole, so that all directions are tried too.
    """
    epipoles = _possible_epipoles(problem, plane, rng)
    x, y, z = epipoles.T
    zero = np.zeros_like(x)
    cross = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]).transpose(2, 0, 1)
    models = (cross @ plane.H).reshape(-1, 9)
    models /= np.maximum(np.linalg.norm(models, axis=1), 1e-300)[:, None]
    # All obey the plane, so that only what is off it tells them apart.
    is_off = _is_off(problem, plane)
    scorer = problem.among(is_off, rng) if is_off.any() else problem
    gains = scorer.score(models)
    few = np.argpartition(-gains, _N_LISTED)[:_N_LISTED]
    few = few[np.lexsort((few, -gains[few]))]
    candidates = problem.refine(models[few[_distinct(epipoles[few])]])
    return max([best, *candidates], key=lambda candidate: candidate.gain)


def _possible_epipoles(
    problem: FundamentalProblem, plane: Plane, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return unit vectors: homogeneous coordinates of epipoles of image 2."""
    matches = problem.matches
    off = np.flatnonzero(_is_off(problem, plane))
    pairs = [rng.integers(0, matches.n, (_N_PAIRS, 2))]
    if len(off) > 1:
        pairs.append(off[rng.integers(0, len(off), (_N_PAIRS_OFF, 2))])
    first, second = (
        _parallax_lines(matches.matches[chosen], plane.H) for chosen in np.concatenate(pairs).T
    )
    meets = np.cross(first, second)
    lengths = np.linalg.norm(meets, axis=1)
    is_point = lengths > 1e-12
    meets = meets[is_point] / lengths[is_point, None]
    return np.concatenate([_directions(_N_DIRECTIONS), meets])


def _is_off(problem: FundamentalProblem, plane: Plane) -> NDArray[np.bool_]:
    return plane.distances > _WIDER * problem.scoring_threshold


def _parallax_lines(matches: NDArray[np.float64], H: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lines, unit vectors, through x₂ and H x₁: the epipole lies on those of inliers."""
    ones = np.ones((len(matches), 1))
    mapped = np.concatenate([matches[:, :2], ones], axis=1) @ H.T
    lines = np.cross(np.concatenate([matches[:, 2:], ones], axis=1), mapped)
    return lines / np.maximum(np.linalg.norm(lines, axis=1), 1e-300)[:, None]


def _directions(n: int) -> NDArray[np.float64]:
    """Return unit vectors spread evenly over a half-sphere, on a spiral of the golden angle."""
    z = (np.arange(n) + 0.5) / n
    angle = math.pi * (3 - math.sqrt(5)) * np.arange(n)
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def _distinct(epipoles: NDArray[np.float64]) -> list[int]:
    """Return the first few directions of a ranking that are not neighbours of one before."""
    chosen: list[int] = []
    is_free = np.ones(len(epipoles), bool)
    while is_free.any() and len(chosen) < _N_REFINED:
        chosen.append(int(np.argmax(is_free)))
        is_free &= np.abs(epipoles @ epipoles[chosen[-1]]) <= _NEIGHBOURS
    return chosen


def plane_of(
    matches: CentredMatches,
    F: NDArray[np.float64],
    noise: float,
    seed: np.uint64,
    kernels: Kernels | None = None,
) -> Plane | None:
    """Return the plane, in pixels, that dominates the matches near their epipolar lines."""
    problem = FundamentalProblem(matches, _NEAR * noise, sample_size=7, seed=seed, kernels=kernels)
    plane = find_plane(problem, Candidate(matches.from_pixels(F), 0.0, 0.0, 0.0), seed)
    if plane is None:
        return None
    return Plane(matches.planar_to_pixels(plane.H), plane.distances / matches.scale)


def undetermined(
    matches: NDArray[np.float64],
    distances: NDArray[np.float64],
    probability: NDArray[np.float64],
    noise: float,
    plane: Plane | None,
) -> str:
    """Return what leaves F undetermined: "none", "plane", "rotation" or "points".

    Parameters
    ----------
    matches : ndarray of shape (n, 4)
        Rows x1 y1 x2 y2, pixels.
    distances : ndarray of shape (n,)
        From epipolar lines, pixels.
    probability : ndarray of shape (n,)
        That each match is right.
    noise : float
        Standard deviation of a coordinate, pixels; positive.
    plane : Plane or None
        That dominates the right matches, in pixels.
    """
    right = probability > 0.5
    if _are_few_points(matches[right], noise):
        return "points"
    if plane is None:
        return "none"
    is_off = plane.distances > _OFF_PLANE * noise
    n_off = np.count_nonzero(is_off & right & (distances <= _NEAR * noise))
    ring = is_off & (distances > _FROM * noise) & (distances <= _TO * noise)
    by_chance = np.count_nonzero(ring) * _NEAR / (_TO - _FROM)
    needed = _LEAST_OFF + _NOISE_SHARE * np.count_nonzero(right)
    if n_off > needed + by_chance + _CHOSEN * math.sqrt(by_chance):
        return "none"
    return "rotation" if _is_rotation(plane.H) else "plane"


def _are_few_points(matches: NDArray[np.float64], noise: float) -> bool:
    """Return whether fewer than eight matches differ, or those of an image lie on a line."""
    # The first few tell, as a rule.
    if all(
        len({tuple(row) for row in rows.tolist()}) < _LEAST_DIFFERENT
        for rows in (matches[: 2 * _LEAST_DIFFERENT], matches)
    ):
        return True
    matches = matches[:: len(matches) // _MANY + 1]
    for points in (matches[:, :2], matches[:, 2:]):
        offsets = points - points.mean(axis=0)
        (xx, xy), (_, yy) = offsets.T @ offsets
        wide = (xx + yy + math.hypot(xx - yy, 2 * xy)) / 2
        narrow = max(xx * yy - xy * xy, 0.0) / max(wide, 1e-300)
        if narrow <= len(points) * (_COLLINEAR * noise) ** 2 or narrow <= 1e-20 * wide:
            return True
    return False


def _is_rotation(H: NDArray[np.float64]) -> bool:
    """Return whether H may be K R K⁻¹, which has the eigenvalues of a rotation."""
    moduli = np.abs(np.linalg.eigvals(H))
    return bool(moduli.max() <= math.exp(2 * _UNIT_MODULUS) * moduli.min())
