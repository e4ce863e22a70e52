"""What leaves a fundamental matrix undetermined: planes, rotations, too few points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.kernels.parallax import set_epipole_models
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
    is_off = plane.distances > _WIDER * problem.scoring_threshold
    pairs = _pairs_of_matches(np.flatnonzero(is_off), problem.matches.n, rng)
    epipoles = np.concatenate([_directions(_N_DIRECTIONS), np.empty((len(pairs), 3))])
    # All obey the plane, so that only what is off it tells them apart.
    scorer = problem.among(is_off, rng) if is_off.any() else problem
    gains = scorer.score_epipoles(problem.matches.matches, plane.H, pairs, epipoles)
    is_point = ~np.isnan(epipoles[:, 0])
    epipoles, gains = epipoles[is_point], gains[is_point]
    few = np.argpartition(-gains, _N_LISTED)[:_N_LISTED]
    few = few[np.lexsort((few, -gains[few]))]
    candidates = problem.refine(_models(epipoles[few[_distinct(epipoles[few])]], plane.H))
    return max([best, *candidates], key=lambda candidate: candidate.gain)


def _pairs_of_matches(
    off: NDArray[np.int64], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return pairs of matches, most of them off the plane."""
    pairs = [rng.integers(0, n, (_N_PAIRS, 2))]
    if len(off) > 1:
        pairs.append(off[rng.integers(0, len(off), (_N_PAIRS_OFF, 2))])
    return np.concatenate(pairs)


def _models(epipoles: NDArray[np.float64], H: NDArray[np.float64]) -> NDArray[np.float64]:
    models = np.empty((len(epipoles), 9))
    none = np.empty((0, 2), np.int64)
    set_epipole_models(np.empty((0, 4)), H.ravel(), none, epipoles, models)
    return models


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
