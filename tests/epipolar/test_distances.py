"""Distances of matches from a fundamental matrix, beside the points that they are distances to."""

import numpy as np
import pytest

from fastmotion.datasets import make_two_view
from fastmotion.epipolar.distances import sampson_distance, symmetric_epipolar_distance
from fastmotion.epipolar.kernels.scalar import sampson_terms
from tests.reference.triangulation import foot, nearest_match

SIDEWAYS = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y1 = y2


@pytest.fixture(scope="module")
def view():
    return make_two_view(n_matches=40, inlier_ratio=0.5, random_state=3)


def test_sampson_distance_is_the_least_move(view):
    right = view.matches[view.inlier_mask]
    expected = [np.linalg.norm(nearest_match(match, view.F) - match) for match in right]
    np.testing.assert_allclose(sampson_distance(view.F, right), expected, rtol=0.01)


def test_symmetric_distance_is_that_of_both_lines(view):
    expected = []
    for x1, y1, x2, y2 in view.matches:
        p1, p2 = np.array([x1, y1]), np.array([x2, y2])
        away1 = foot(p1, view.F.T @ [x2, y2, 1]) - p1
        away2 = foot(p2, view.F @ [x1, y1, 1]) - p2
        expected.append(np.sqrt(away1 @ away1 + away2 @ away2))
    np.testing.assert_allclose(
        symmetric_epipolar_distance(view.F, view.matches), expected, rtol=1e-9
    )


def test_kernels_have_the_same_formula(view):
    terms = np.array([sampson_terms(*view.F.ravel(), *match) for match in view.matches])
    residual, a2, b2, a1, b1 = np.abs(terms).T
    np.testing.assert_allclose(
        sampson_distance(view.F, view.matches),
        residual / np.sqrt(a1**2 + b1**2 + a2**2 + b2**2),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        symmetric_epipolar_distance(view.F, view.matches),
        residual * np.sqrt(1 / (a1**2 + b1**2) + 1 / (a2**2 + b2**2)),
        rtol=1e-9,
    )


def test_sampson_distance_as_opencv_has_it(view):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is a peer only")
    p1, p2 = np.insert(view.matches.reshape(-1, 2, 2), 2, 1.0, axis=2).transpose(1, 0, 2)
    expected = [np.sqrt(cv2.sampsonDistance(a, b, view.F)) for a, b in zip(p1, p2)]
    np.testing.assert_allclose(sampson_distance(view.F, view.matches), expected, rtol=1e-9)


@pytest.mark.parametrize("distance", [sampson_distance, symmetric_epipolar_distance])
@pytest.mark.parametrize("scale", [-3.0, 1e-200, 1e200])
def test_scale_of_the_matrix_does_not_matter(view, distance, scale):
    expected = distance(view.F, view.matches)
    np.testing.assert_allclose(distance(scale * view.F, view.matches), expected, rtol=1e-9)


@pytest.mark.parametrize("distance", [sampson_distance, symmetric_epipolar_distance])
def test_at_the_epipoles(distance):
    ahead = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]])  # both epipoles are the origin
    matches = [[0, 0, 0, 0], [0, 0, 5, 5], [5, 5, 0, 0], [3, 4, 6, 8]]
    assert distance(ahead, matches).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("distance", [sampson_distance, symmetric_epipolar_distance])
def test_a_line_at_infinity_is_infinitely_far(distance):
    F = np.diag([1.0, 0.0, 1.0])
    assert distance(F, [[0, 5, 0, 7]]).tolist() == [np.inf]


@pytest.mark.parametrize("distance", [sampson_distance, symmetric_epipolar_distance])
def test_input_is_checked(distance):
    assert distance(SIDEWAYS, np.empty((0, 4))).shape == (0,)
    with pytest.raises(ValueError, match="matches must be finite.* the first of them row 1"):
        distance(SIDEWAYS, [[1, 2, 3, 4], [1, 2, np.nan, 4]])
    with pytest.raises(ValueError, match=r"matches must have shape \(n, 4\)"):
        distance(SIDEWAYS, [[1, 2, 3]])
    with pytest.raises(ValueError, match="F must not be zero"):
        distance(0 * SIDEWAYS, [[1, 2, 3, 4]])
