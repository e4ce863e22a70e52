"""Fundamental matrices that a plane leaves, against NumPy."""

import numpy as np

from fastmotion.epipolar.kernels import cpu


def lines_of(matches, H):
    """Return the lines through points of image 2 and where a plane would have them."""
    ones = np.ones((len(matches), 1))
    mapped = np.c_[matches[:, :2], ones] @ H.T
    lines = np.cross(np.c_[matches[:, 2:], ones], mapped)
    return lines / np.linalg.norm(lines, axis=1, keepdims=True)


def case(seed=0):
    rng = np.random.default_rng(seed)
    matches = rng.standard_normal((50, 4))
    H = np.eye(3) + 0.2 * rng.standard_normal((3, 3))
    pairs = rng.integers(0, 50, (30, 2))
    pairs[0] = 7, 7
    pairs[1] = 1, 2
    epipoles = np.full((34, 3), np.nan)
    given = rng.standard_normal((4, 3))
    epipoles[:4] = given / np.linalg.norm(given, axis=1, keepdims=True)
    return matches, H, pairs, epipoles


def test_lines_of_a_pair_meet_in_its_epipole():
    matches, H, pairs, epipoles = case()
    given = epipoles[:4].copy()
    models = np.empty((34, 9))
    cpu.set_epipole_models(matches, H.ravel(), pairs, epipoles, models)
    np.testing.assert_array_equal(epipoles[:4], given)
    assert np.isnan(epipoles[4]).all()  # the lines of one match with itself are one
    assert np.isnan(models[4]).all()
    np.testing.assert_allclose(np.linalg.norm(epipoles[5:], axis=1), 1)
    lines = lines_of(matches, H)
    for column in pairs[1:].T:
        np.testing.assert_allclose((lines[column] * epipoles[5:]).sum(axis=1), 0, atol=1e-12)


def test_models_are_those_of_plane_and_parallax():
    matches, H, pairs, epipoles = case(1)
    models = np.empty((34, 9))
    cpu.set_epipole_models(matches, H.ravel(), pairs, epipoles, models)
    for e, model in zip(np.delete(epipoles, 4, axis=0), np.delete(models, 4, axis=0)):
        F = np.cross(e, np.eye(3)).T @ H
        np.testing.assert_allclose(model.reshape(3, 3), F / np.linalg.norm(F), atol=1e-13)


def test_matches_on_the_plane_have_no_line_but_do_no_harm():
    matches, _, pairs, epipoles = case(2)
    matches[1] = matches[2] = 0.0  # where the identity takes the origin
    models = np.empty((34, 9))
    cpu.set_epipole_models(matches, np.eye(3).ravel(), pairs, epipoles, models)
    assert np.isnan(epipoles[5]).all()
    is_point = ~np.isnan(epipoles[:, 0])
    assert is_point.sum() > 25
    np.testing.assert_allclose(np.linalg.norm(models[is_point], axis=1), 1)


def test_scores_are_those_of_the_models():
    matches, H, pairs, epipoles = case(3)
    points = np.full((4, 64), np.nan, np.float32)
    points[:, :50] = matches.T
    gains, models, wanted = np.empty(34), np.empty((34, 9)), np.empty(34)
    cpu.score_epipoles(
        matches, H.ravel(), pairs, epipoles, points, 50, np.float32(4.0), gains
    )  # fmt: skip
    cpu.set_epipole_models(matches, H.ravel(), pairs, epipoles, models)
    cpu.score(models, points, 50, np.float32(4.0), wanted)
    np.testing.assert_array_equal(gains, wanted)
    assert gains[4] == 0
    assert gains.max() > 1
