"""Epipoles, epipolar lines and pencils of them, beside cameras that are known."""

import warnings

import numpy as np
import pytest

from fastmotion.datasets import make_two_view
from fastmotion.epipolar.lines import cross_matrix, epipolar_lines, epipolar_pencil, epipoles

SIDEWAYS = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y1 = y2
AHEAD = cross_matrix([320, 240, 1])
SCENES = ["general", "forward", "rotation"]


def views_of_centres(view):
    """Return where each camera sees the centre of the other one, as homogeneous unit vectors."""
    seen = np.stack([view.K1 @ view.R.T @ view.t, view.K2 @ view.t])
    return seen / np.linalg.norm(seen, axis=1, keepdims=True)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("scale", [1.0, -1e-150, 1e150])
def test_epipoles_are_where_the_cameras_see_each_other(scene, scale):
    for seed in range(5):
        view = make_two_view(scene, n_matches=1, random_state=seed)
        found, expected = epipoles(scale * view.F), views_of_centres(view)
        np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1, atol=1e-15)
        np.testing.assert_allclose(
            found[:, :2] / found[:, 2:], expected[:, :2] / expected[:, 2:], rtol=1e-9, atol=1e-6
        )
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
        assert (found[:, 2] >= 0).all()


def test_epipoles_at_infinity():
    np.testing.assert_allclose(np.abs(epipoles(SIDEWAYS)), [[1, 0, 0], [1, 0, 0]], atol=1e-12)
    affine = np.array([[0, 0, 1.0], [0, 0, 2.0], [3.0, 4.0, 500.0]])
    expected = [[0.8, 0.6, 0], [2 / np.sqrt(5), 1 / np.sqrt(5), 0]]
    np.testing.assert_allclose(np.abs(epipoles(affine)), expected, atol=1e-12)


def test_epipoles_of_an_essential_matrix():
    E = cross_matrix([0.6, 0.0, 0.8])
    np.testing.assert_allclose(epipoles(E), [[0.6, 0, 0.8]] * 2, atol=1e-15)


def test_epipoles_survive_rounding():
    view = make_two_view("forward", n_matches=1, random_state=0)
    found = epipoles(view.F.astype(np.float32))
    expected = views_of_centres(view)
    pixels, truth = found[:, :2] / found[:, 2:], expected[:, :2] / expected[:, 2:]
    np.testing.assert_allclose(pixels, truth, atol=0.01)


def test_a_matrix_of_rank_1_has_no_epipoles():
    with pytest.raises(ValueError, match="F must have rank 2, got rank 1"):
        epipoles(np.outer([1, 2, 300.0], [3, 2, 100.0]))


@pytest.mark.parametrize("image", [1, 2])
def test_lines_pass_through_the_matches(image):
    view = make_two_view(n_matches=50, inlier_ratio=1.0, noise=0.0, random_state=0)
    points, others = (view.exact[:, :2], view.exact[:, 2:])[:: 3 - 2 * image]
    lines = epipolar_lines(view.F, points, image=image)
    np.testing.assert_allclose(np.hypot(lines[:, 0], lines[:, 1]), 1, rtol=1e-12)
    np.testing.assert_allclose((lines[:, :2] * others).sum(1) + lines[:, 2], 0, atol=1e-8)


@pytest.mark.parametrize("image", [1, 2])
def test_lines_as_opencv_has_them(image):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is a peer only")
    view = make_two_view("forward", n_matches=50, random_state=0)
    points = view.matches[:, :2]
    expected = cv2.computeCorrespondEpilines(points[:, np.newaxis], image, view.F)[:, 0]
    np.testing.assert_allclose(epipolar_lines(view.F, points, image), expected, rtol=1e-6)


def test_a_point_at_the_epipole_has_no_line():
    with pytest.warns(RuntimeWarning, match="^1 of 2 points lie at the epipole"):
        lines = epipolar_lines(AHEAD, [[320, 240], [330, 240]])
    np.testing.assert_array_equal(lines, [[0, 0, 0], [0, 1, -240]])


@pytest.mark.parametrize("seed", range(5))
def test_an_epipole_found_is_at_the_epipole(seed):
    view = make_two_view("forward", n_matches=1, random_state=seed)
    for image, epipole in enumerate(epipoles(view.F), start=1):
        pixel = epipole[:2] / epipole[2]
        with pytest.warns(RuntimeWarning, match="^1 of 1 points lie at the epipole"):
            lines = epipolar_lines(view.F, [pixel], image)
        np.testing.assert_array_equal(lines, [[0, 0, 0]])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert epipolar_lines(view.F, [pixel + 1e-6], image).any()


def test_a_line_at_infinity():
    F = np.diag([1.0, 0.0, -1.0])  # x1 x2 = 1
    np.testing.assert_array_equal(epipolar_lines(F, [[0, 5]]), [[0, 0, 1]])


def test_input_of_lines_is_checked():
    assert epipolar_lines(AHEAD, np.empty((0, 2))).shape == (0, 3)
    with pytest.raises(ValueError, match="image must be 1 or 2, got 0"):
        epipolar_lines(AHEAD, [[1, 2]], image=0)
    with pytest.raises(ValueError, match=r"points must have shape \(n, 2\)"):
        epipolar_lines(AHEAD, [[1, 2, 1]])
    with pytest.raises(ValueError, match="F must be finite"):
        epipolar_lines(np.nan * AHEAD, [[1, 2]])


def crosses(line, width, height):
    values = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ line
    return values.min() < 0 < values.max()


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("seed", range(4))
def test_pencil_is_of_planes_through_both_centres(scene, seed):
    view = make_two_view(scene, n_matches=1, random_state=seed)
    lines1, lines2 = epipolar_pencil(view.F, view.image_size, n_lines=7)
    e1, e2 = views_of_centres(view)
    P1 = view.K1 @ np.eye(3, 4)
    P2 = view.K2 @ np.column_stack([view.R, view.t])
    for line1, line2 in zip(lines1, lines2):
        assert crosses(line1, *view.image_size)
        assert np.hypot(*line1[:2]) == pytest.approx(1)
        assert np.hypot(*line2[:2]) == pytest.approx(1)
        assert line1 @ e1 == pytest.approx(0, abs=1e-9)
        assert line2 @ e2 == pytest.approx(0, abs=1e-9)
        # The planes that the two lines are views of are one plane.
        plane1, plane2 = P1.T @ line1, P2.T @ line2
        cosine = plane1 @ plane2 / np.linalg.norm(plane1) / np.linalg.norm(plane2)
        assert abs(cosine) == pytest.approx(1, abs=1e-9)


def test_pencil_of_a_sideways_motion_spreads_over_the_image():
    vertical = np.array([[0.0, 0, 1], [0, 0, 0], [-1, 0, 0]])  # x1 = x2
    lines1, lines2 = epipolar_pencil(vertical, (640, 480), n_lines=4)
    for lines in (lines1, lines2):
        x = np.sort(-lines[:, 2] / lines[:, 0])
        np.testing.assert_allclose(x, [80, 240, 400, 560], rtol=1e-12)


def test_pencil_of_an_epipole_in_the_image_has_equal_angles():
    lines1, _ = epipolar_pencil(AHEAD, (640, 480), n_lines=4)
    angles = np.sort(np.degrees(np.arctan2(lines1[:, 1], lines1[:, 0])) % 180)
    np.testing.assert_allclose(angles, [22.5, 67.5, 112.5, 157.5], rtol=1e-12)


def test_input_of_pencils_is_checked():
    with pytest.raises(ValueError, match="n_lines must be at least 1, got 0"):
        epipolar_pencil(AHEAD, (640, 480), n_lines=0)
    with pytest.raises(ValueError, match=r"image_size must be \(width, height\), got \(1, 2, 3\)"):
        epipolar_pencil(AHEAD, (1, 2, 3))
    with pytest.raises(ValueError, match=r"image_size must be positive, got \(640, 0\)"):
        epipolar_pencil(AHEAD, (640, 0))
    with pytest.raises(TypeError, match="image_size must be two integers"):
        epipolar_pencil(AHEAD, (640.0, 480.0))
