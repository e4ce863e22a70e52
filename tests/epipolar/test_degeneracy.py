"""What leaves a fundamental matrix undetermined, and what a plane leaves of it."""

import numpy as np
import pytest

from fastmotion.datasets import make_two_view
from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.degeneracy import (
    Plane,
    find_plane,
    plane_of,
    resolve_plane,
    undetermined,
)
from fastmotion.epipolar.problem import FundamentalProblem
from tests.reference import epipolar as reference
from tests.reference import homography

SEED = np.uint64(3)


def scene(name="plane", seed=0, **options):
    options = {"n_matches": 400, "inlier_ratio": 0.8, "noise": 0.5, **options}
    return make_two_view(name, random_state=seed, **options)


def problem_of(view, threshold=1.5):
    matches = CentredMatches.of_pixels(view.matches, None, np.random.default_rng(0))
    return FundamentalProblem(matches, threshold, sample_size=7, seed=SEED)


def misled(view, problem):
    """Return a candidate that the plane obeys and nothing else does: F of a made-up epipole."""
    x, y, z = np.random.default_rng(8).standard_normal(3) * [500, 500, 1]
    F = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ view.H
    (candidate,) = problem.refine(problem.matches.from_pixels(F)[None])
    return candidate


def right(view, problem):
    (candidate,) = problem.refine(problem.matches.from_pixels(view.F)[None])
    return candidate


# Planes


@pytest.mark.parametrize("seed", range(3))
def test_the_plane_of_a_scene_is_found(seed):
    view = scene(seed=seed)
    problem = problem_of(view)
    plane = find_plane(problem, right(view, problem), SEED)
    H = problem.matches.planar_to_pixels(plane.H)
    # The plane's points as H has them, not its nine numbers.
    points = view.exact[view.plane_mask, :2]
    away = homography.transform(H, points) - homography.transform(view.H, points)
    assert np.sqrt((away**2).mean()) < 1
    expected = homography.sampson(plane.H, problem.matches.matches)
    np.testing.assert_allclose(plane.distances, expected, rtol=1e-6)


def test_scenes_without_a_plane_have_none():
    view = scene("general")
    problem = problem_of(view)
    assert find_plane(problem, right(view, problem), SEED) is None


def test_a_small_plane_is_none():
    view = scene(plane_ratio=0.1)
    problem = problem_of(view)
    assert find_plane(problem, right(view, problem), SEED) is None


def test_plane_of_is_in_pixels():
    view = scene()
    matches = CentredMatches.of_pixels(view.matches, None, np.random.default_rng(0))
    plane = plane_of(matches, view.F, 0.5, SEED)
    np.testing.assert_allclose(
        plane.distances, homography.sampson(plane.H, view.matches), rtol=1e-6
    )
    # Distances of matches on the plane have two degrees of freedom.
    root_mean_square = np.sqrt((plane.distances[view.plane_mask] ** 2).mean())
    assert root_mean_square == pytest.approx(0.5 * np.sqrt(2), rel=0.2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("plane_ratio", [0.8, 0.95])
def test_the_epipole_is_recovered(seed, plane_ratio):
    view = scene(seed=seed, plane_ratio=plane_ratio)
    problem = problem_of(view)
    start = misled(view, problem)
    off = view.exact[view.inlier_mask & ~view.plane_mask]
    assert np.median(reference.sampson(start.model.reshape(3, 3), problem.matches.matches)) < 1
    before = problem.matches.to_pixels(start.model)
    assert np.sqrt((reference.sampson(before, off) ** 2).mean()) > 5
    plane = find_plane(problem, start, SEED)
    found = resolve_plane(problem, start, plane, np.random.default_rng(1))
    assert found.gain > start.gain
    F = problem.matches.to_pixels(found.model)
    assert np.sqrt((reference.sampson(F, off) ** 2).mean()) < 1.5


def test_a_better_model_is_kept():
    view = scene()
    problem = problem_of(view)
    best = problem.finish(right(view, problem).model)
    plane = find_plane(problem, best, SEED)
    found = resolve_plane(problem, best, plane, np.random.default_rng(1))
    assert found.gain >= best.gain


# What is undetermined


def verdict(view, *, noise=0.5, plane="own"):
    """Return what `undetermined` says if all that is true were known."""
    F = view.F
    if not np.isfinite(F).all():
        F = np.array([[0, -0.1, 300], [0.1, 0, -200], [-300, 200, 0]]) @ view.H
    if plane == "own":
        plane = Plane(view.H, homography.sampson(view.H, view.matches))
    distances = reference.sampson(F, view.matches)
    return undetermined(view.matches, distances, view.inlier_mask * 1.0, noise, plane)


# Others are by chance those that a rotation might have: their eigenvalues agree in magnitude.
@pytest.mark.parametrize("seed", [0, 1, 3, 5])
@pytest.mark.parametrize(
    "name, expected", [("plane", "none"), ("planar", "plane"), ("pure_rotation", "rotation")]
)
def test_scenes_are_told_apart(name, expected, seed):
    assert verdict(scene(name, seed, noise=0.5)) == expected


def test_general_scenes_are_determined():
    assert verdict(scene("general"), plane=None) == "none"


@pytest.mark.parametrize("n_off, expected", [(0, "plane"), (4, "plane"), (20, "none")])
def test_so_many_matches_off_the_plane_are_needed(n_off, expected):
    view = scene(inlier_ratio=1.0, plane_ratio=0.5)
    kept = np.concatenate(
        [np.flatnonzero(view.plane_mask), np.flatnonzero(~view.plane_mask)[:n_off]]
    )
    matches = view.matches[kept]
    distances = reference.sampson(view.F, matches)
    plane = Plane(view.H, homography.sampson(view.H, matches))
    assert undetermined(matches, distances, np.ones(len(kept)), 0.5, plane) == expected


def test_chance_does_not_determine():
    """Wrong matches near their lines speak for nothing."""
    view = scene("planar", n_matches=40_000, inlier_ratio=0.02)
    F = np.array([[0, -0.1, 300], [0.1, 0, -200], [-300, 200, 0]]) @ view.H
    distances = reference.sampson(F, view.matches)
    is_near = (distances < 2.5 * 0.5).astype(float)
    plane = Plane(view.H, homography.sampson(view.H, view.matches))
    n_off = np.count_nonzero((is_near > 0) & (plane.distances > 3.7 * 0.5))
    assert n_off > 80  # more than twice what would do otherwise
    assert undetermined(view.matches, distances, is_near, 0.5, plane) == "plane"


def on_a_line(n, image, noise=0.0):
    rng = np.random.default_rng(0)
    matches = rng.uniform(0, 500, (n, 4))
    along = rng.uniform(0, 500, (n, 1))
    matches[:, 2 * image - 2 : 2 * image] = along * [0.6, 0.8] + [30, 10]
    return matches + noise * rng.standard_normal((n, 4))


@pytest.mark.parametrize("image", [1, 2])
@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("n", [20, 10_000])
def test_points_on_a_line_are_too_few(n, noise, image):
    matches = on_a_line(n, image, noise)
    arguments = np.zeros(n), np.ones(n), max(noise, 1e-9), None
    assert undetermined(matches, *arguments) == "points"
    matches[:: n // 20] = np.random.default_rng(1).uniform(0, 500, matches[:: n // 20].shape)
    if n == 20:
        assert undetermined(matches, *arguments) == "none"


@pytest.mark.parametrize("n_different, expected", [(7, "points"), (8, "none")])
def test_so_many_matches_must_differ(n_different, expected):
    matches = np.random.default_rng(0).uniform(0, 500, (n_different, 4))
    matches = np.repeat(matches, 30, axis=0)
    n = len(matches)
    assert undetermined(matches, np.zeros(n), np.ones(n), 0.1, None) == expected


def test_only_right_matches_count():
    view = scene("general", n_matches=60, inlier_ratio=1.0)
    probability = np.zeros(60)
    probability[:7] = 1
    distances = reference.sampson(view.F, view.matches)
    assert undetermined(view.matches, distances, probability, 0.5, None) == "points"
    probability[7:30] = 0.6
    assert undetermined(view.matches, distances, probability, 0.5, None) == "none"
