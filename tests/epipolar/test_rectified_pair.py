"""A pair that is rectified already: epipoles at infinity, where formulae like to divide by zero."""

import numpy as np
import pytest

from fastmotion.datasets import load_motorcycle
from fastmotion.epipolar import (
    FundamentalMatrix,
    epipolar_band,
    epipolar_lines,
    epipolar_pencil,
    epipole_covariance,
    epipoles,
    essential_from_fundamental,
    fundamental_from_cameras,
    projections_from_cameras,
    recover_pose,
    rectify,
    sampson_distance,
    symmetric_epipolar_distance,
    triangulate,
)

SIZE = 741, 500
F = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]) / np.sqrt(2)
# The cameras of the motorcycle pair, at a quarter of its size.
K1 = np.array([[994.978, 0, 311.193], [0, 994.978, 254.877], [0, 0, 1]])
K2 = np.array([[994.978, 0, 342.279], [0, 994.978, 254.877], [0, 0, 1]])
SCALE = K2[0, 2] - K1[0, 2]


@pytest.fixture(scope="module")
def matches():
    """Whole pixels and their true partners in the same row, without noise."""
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    pair = load_motorcycle()
    rows, columns = np.nonzero(pair.mask)
    starts = np.column_stack([columns, rows])[::701].astype(float)
    return np.hstack([starts, starts + pair.flow[rows, columns][::701]])


def test_lines_are_rows(matches):
    assert not sampson_distance(F, matches).any()
    assert not symmetric_epipolar_distance(F, matches).any()
    np.testing.assert_array_equal(np.abs(epipoles(F)), [[1, 0, 0], [1, 0, 0]])
    for image, points in ((1, matches[:, :2]), (2, matches[:, 2:])):
        a, b, c = epipolar_lines(F, points, image=image).T
        assert not a.any()
        np.testing.assert_allclose(-c / b, points[:, 1])
    lines1, lines2 = epipolar_pencil(F, SIZE, 4)
    for lines in (lines1, lines2):
        np.testing.assert_allclose(lines[:, 0], 0, atol=1e-12)
        np.testing.assert_allclose(-lines[:, 2] / lines[:, 1], [62.5, 187.5, 312.5, 437.5])


def test_pose_and_depth(matches):
    np.testing.assert_allclose(fundamental_from_cameras(K1, np.eye(3), [-1, 0, 0], K2), F)
    pose = recover_pose(essential_from_fundamental(F, K1, K2), matches, K1, K2)
    np.testing.assert_allclose(pose.R, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(pose.t, [-1, 0, 0], atol=1e-12)
    assert pose.n_in_front == len(matches)
    X = triangulate(*projections_from_cameras(K1, pose.R, pose.t, K2), matches)
    disparity = matches[:, 0] - matches[:, 2]
    np.testing.assert_allclose(X[:, 2], K1[0, 0] / (disparity + SCALE))


def test_rectified_stays_rectified(matches):
    rectified = rectify(F, matches, SIZE)
    moved = [rectified.H1, rectified.H2]
    for H, points in zip(moved, np.split(matches, 2, axis=1)):
        homogeneous = np.column_stack([points, np.ones(len(points))]) @ H.T
        np.testing.assert_allclose(homogeneous[:, 1] / homogeneous[:, 2], points[:, 1], atol=1e-6)


def test_found_from_noisy_matches(matches):
    rng = np.random.default_rng(0)
    noisy = matches + rng.normal(scale=0.2, size=matches.shape)
    noisy[::3, 2:] = rng.uniform(0, SIZE, size=noisy[::3, 2:].shape)
    estimator = FundamentalMatrix(random_state=0).fit(noisy)
    assert estimator.degeneracy_ == "none"
    assert sampson_distance(estimator.F_, matches).mean() < 0.1
    # An epipole at infinity is found to be far away, in the direction of the rows.
    assert (np.abs(estimator.epipoles_[:, 0]) > 0.99).all()
    band = epipolar_band(estimator.F_, estimator.covariance_, matches[:, :2])
    assert band.contains(matches[:, 2:]).mean() > 0.5
    assert np.isfinite(epipole_covariance(F, estimator.covariance_)).all()
