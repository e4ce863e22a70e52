"""Homographies by linear algebra, and distances from them."""

import numpy as np
import pytest

from fastmotion.epipolar.planes import (
    homography_from_points,
    normalise_homography,
    planar_sampson_distance,
    transfer_distance,
    transform_points,
)
from tests.reference import homography as reference


@pytest.mark.parametrize("n", [4, 5, 100, 1000])
def test_exact_matches_give_the_homography(n):
    matches, _, H = reference.scene(n)
    np.testing.assert_allclose(homography_from_points(matches), H, atol=1e-9)


@pytest.mark.parametrize("n", [5, 130, 1000])
def test_least_algebraic_error(n):
    matches, _, _ = reference.scene(n, noise=1.0)
    wanted = reference.direct_linear(matches)
    np.testing.assert_allclose(homography_from_points(matches), wanted, rtol=1e-7, atol=1e-12)
    split = homography_from_points(matches[:, :2], matches[:, 2:])
    np.testing.assert_array_equal(split, homography_from_points(matches))


def test_weights_count_matches():
    matches, _, _ = reference.scene(30, noise=1.0)
    weight = np.arange(30) % 3
    repeated = homography_from_points(np.repeat(matches, weight, axis=0))
    weighted = homography_from_points(matches, sample_weight=weight)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-9)
    thousandfold = homography_from_points(matches, sample_weight=1000 * weight)
    np.testing.assert_allclose(thousandfold, weighted, rtol=1e-9)


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e20])
def test_units_do_not_matter(scale, shift):
    matches, _, _ = reference.scene(50, noise=1.0)
    moved = scale * (matches + shift)
    T = np.array([[scale, 0, scale * shift], [0, scale, scale * shift], [0, 0, 1]])
    wanted = T @ homography_from_points(matches) @ np.linalg.inv(T)
    found = transform_points(homography_from_points(moved), moved[:, :2])
    tolerance = 1e-6 * scale * 640
    np.testing.assert_allclose(
        found, reference.transform(wanted, moved[:, :2]), rtol=1e-9, atol=tolerance
    )


@pytest.mark.parametrize(
    ("matches", "message"),
    [
        (np.zeros((3, 4)), "at least 4 matches"),
        (np.zeros((10, 4)), "determine no invertible"),
        (np.tile(np.arange(10.0)[:, None], 4), "determine no invertible"),
        (np.c_[np.random.default_rng(0).random((10, 2)), np.ones((10, 2))], "no invertible"),
        (np.full((5, 4), np.nan), "finite"),
        (np.zeros((5, 3)), "shape"),
    ],
)
def test_too_little_to_go_by(matches, message):
    with pytest.raises(ValueError, match=message):
        homography_from_points(matches)


def test_matches_without_weight_do_not_count():
    matches, _, _ = reference.scene(6)
    with pytest.raises(ValueError, match="positive weight"):
        homography_from_points(matches, sample_weight=[1, 1, 1, 0, 0, 0])


def test_arguments_stay_as_they_are():
    matches, _, _ = reference.scene(20)
    before = matches.copy()
    matches.flags.writeable = False
    H = homography_from_points(matches)
    planar_sampson_distance(H, matches)
    transfer_distance(H, matches, symmetric=True)
    np.testing.assert_array_equal(matches, before)


def test_sampson_distance():
    matches, _, H = reference.scene(100, inlier_ratio=0.5, noise=1.0)
    wanted = reference.sampson(H, matches)
    np.testing.assert_allclose(planar_sampson_distance(H, matches), wanted, rtol=1e-8)
    np.testing.assert_allclose(planar_sampson_distance(-7 * H, matches), wanted, rtol=1e-8)


def test_sampson_distance_knows_no_direction():
    matches, _, H = reference.scene(100, inlier_ratio=0.5, noise=1.0)
    back = planar_sampson_distance(np.linalg.inv(H), matches[:, [2, 3, 0, 1]])
    np.testing.assert_allclose(back, planar_sampson_distance(H, matches), rtol=0.2)


def test_transfer_distance():
    matches, _, H = reference.scene(30, noise=1.0)
    forward = np.linalg.norm(reference.transform(H, matches[:, :2]) - matches[:, 2:], axis=1)
    inverse = np.linalg.inv(H)
    back = np.linalg.norm(reference.transform(inverse, matches[:, 2:]) - matches[:, :2], axis=1)
    np.testing.assert_allclose(transfer_distance(H, matches), forward)
    np.testing.assert_allclose(
        transfer_distance(H, matches, symmetric=True) ** 2, forward**2 + back**2
    )


def test_points_at_infinity():
    H = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    points = np.array([[0.0, 3.0], [2.0, 3.0]])  # the first on the line that goes to infinity
    transformed = transform_points(H, points)
    assert not np.isfinite(transformed[0]).any()
    assert np.isfinite(transformed[1]).all()
    assert transfer_distance(H, np.c_[points, points])[0] == np.inf


@pytest.mark.parametrize("H", [np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, 1, 0])])
def test_a_homography_has_an_inverse(H):
    with pytest.raises(ValueError, match="H must be invertible"):
        normalise_homography(H)
    with pytest.raises(ValueError, match="H must be invertible"):
        transform_points(H, [[0, 0]])


@pytest.mark.parametrize("scale", [1e-200, -1.0, 1e200])
def test_normalised_homographies_have_unit_norm_and_positive_determinant(scale):
    H = np.array([[1.0, 0.2, 3000], [0.1, -1, 2000], [1e-7, 1e-6, 1]])
    normal = normalise_homography(scale * H)
    assert np.linalg.norm(normal) == pytest.approx(1)
    assert np.linalg.det(normal) > 0
    np.testing.assert_allclose(normal, -H / np.linalg.norm(H))
