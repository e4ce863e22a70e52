"""Matches less their medians, and models on their way back to pixels."""

import numpy as np
import pytest

from fastmotion.datasets import make_two_view
from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.problem import FundamentalProblem
from tests.reference import epipolar as reference
from tests.reference import homography


def centred(matches, weight=None, seed=0):
    return CentredMatches.of_pixels(matches, weight, np.random.default_rng(seed))


@pytest.fixture
def view():
    return make_two_view("plane", n_matches=300, inlier_ratio=0.8, noise=0.5, random_state=0)


def test_distances_scale_and_nothing_else_changes(view):
    given = view.matches.copy()
    matches = centred(view.matches)
    np.testing.assert_array_equal(view.matches, given)
    np.testing.assert_allclose(matches.matches / matches.scale + matches.centre, given)
    model = matches.from_pixels(view.F).reshape(3, 3)
    np.testing.assert_allclose(
        reference.sampson(model, matches.matches),
        matches.scale * reference.sampson(view.F, given),
        rtol=1e-8,
    )


def test_models_come_back_as_they_went(view):
    matches = centred(view.matches)
    model = matches.from_pixels(view.F)
    assert model.shape == (9,)
    assert np.linalg.norm(model) == pytest.approx(1)
    assert reference.distance(matches.to_pixels(model), view.F) < 1e-12
    again = matches.from_pixels(matches.to_pixels(model)).reshape(3, 3)
    assert reference.distance(again, model.reshape(3, 3)) < 1e-9


def test_homographies_come_back_too(view):
    matches = centred(view.matches)
    H = homography.unit(view.H)
    to_unit = [
        np.array(
            [
                [matches.scale, 0, -matches.scale * x],
                [0, matches.scale, -matches.scale * y],
                [0, 0, 1],
            ]
        )
        for x, y in (matches.centre[:2], matches.centre[2:])
    ]
    model = to_unit[1] @ H @ np.linalg.inv(to_unit[0])
    np.testing.assert_allclose(homography.unit(matches.planar_to_pixels(model)), H, atol=1e-12)


@pytest.mark.parametrize("n", [7, 100, 20_000])
def test_order_is_random_and_without_repetition(n):
    rows = np.random.default_rng(1).uniform(0, 500, (n, 4))
    order = centred(rows).order
    assert len(np.unique(order)) == len(order) == min(n, 4096)
    assert order.min() >= 0
    assert order.max() < n
    assert (np.diff(order) < 0).any()


def test_weights_have_mean_one(view):
    weight = np.random.default_rng(0).uniform(0, 3, 300)
    np.testing.assert_allclose(centred(view.matches, weight).weight, weight / weight.mean())
    assert (centred(view.matches).weight == 1).all()


@pytest.mark.parametrize("n", [300, 5000])
def test_subsets_stay_where_they_are(n):
    rng = np.random.default_rng(0)
    rows, weight = rng.uniform(0, 500, (n, 4)), rng.uniform(0.5, 2, n)
    matches, is_kept = centred(rows, weight), rng.random(n) < 0.3
    few = matches.subset(is_kept, rng)
    np.testing.assert_array_equal(few.matches, matches.matches[is_kept])
    np.testing.assert_array_equal(few.weight, matches.weight[is_kept])
    np.testing.assert_array_equal(few.centre, matches.centre)
    assert few.scale == matches.scale
    assert sorted(few.order) == list(range(is_kept.sum()))
    assert few.scored.shape[1] < matches.scored.shape[1]


@pytest.mark.parametrize("n", [7, 127, 128, 129, 2048, 2049, 5000])
def test_padding(n):
    rng = np.random.default_rng(0)
    rows, weight = rng.uniform(0, 500, (n, 4)), rng.uniform(0.5, 2, n)
    matches = centred(rows, weight)
    points, weights = matches.padded
    assert points.shape[1] == len(weights) == -(-n // 128) * 128
    np.testing.assert_array_equal(points[:, :n].T, matches.matches)
    np.testing.assert_array_equal(weights[:n], matches.weight)
    assert np.isfinite(points).all()
    assert not weights[n:].any()
    n_scored = min(n, 4096)
    assert matches.scored.dtype == np.float32
    scored = np.sort(matches.scored[:, :n_scored])
    expected = np.sort(matches.matches[matches.order].T.astype(np.float32))
    np.testing.assert_array_equal(scored, expected)
    points, weights = matches.refined
    n_refined = min(n, 2048)
    assert np.count_nonzero(weights) == n_refined
    assert points.shape[1] == len(weights) == -(-n_refined // 128) * 128
    # A weight stands with its match.
    place = {tuple(row): w for row, w in zip(matches.matches, matches.weight)}
    assert all(place[tuple(row)] == w for row, w in zip(points.T, weights) if w)


@pytest.mark.parametrize("threshold", [0.5, 5.0, 1e3, 1e9])
@pytest.mark.parametrize(
    "model",
    [(0, 0, 0, 0, 0, -1, 0, 1, 0), (0, -2, 3, 2, 0, -6, -3, 6, 0), (1, 2, 3, 4, 5, 6, 7, 8, 9)],
)
def test_padding_lies_near_no_line(threshold, model):
    rng = np.random.default_rng(0)
    x, y, shift = rng.uniform(0, 500, (3, 65))
    matches = centred(np.column_stack([x, y, x + shift, y]))
    problem = FundamentalProblem(matches, threshold, sample_size=7, seed=np.uint64(0))
    model = np.array([model]) / np.linalg.norm(model)
    (gain,) = problem.score(model)
    expected = reference.msac_score(model.reshape(3, 3), matches.matches, problem.threshold)
    assert gain == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert gain <= 1 + 1e-6


@pytest.mark.parametrize("far", [1e5, 1e9, 1e30, 1e200])
@pytest.mark.parametrize("share", [0.01, 0.3])
def test_far_matches_do_not_make_one_point_of_the_others(view, far, share):
    matches = view.matches.copy()
    n_far = round(share * len(matches))
    matches[:n_far] = far * np.random.default_rng(0).uniform(-1, 1, (n_far, 4))
    found = centred(matches)
    near = found.matches[n_far:]
    assert 0.3 < np.abs(near).max() < 10
    assert np.ptp(near, axis=0).min() > 0.5
    assert not np.isnan(found.scored[:, : len(matches)]).any()


@pytest.mark.parametrize("value", [0.0, 12.3, -1e8])
def test_equal_matches_are_exactly_zero(value):
    found = centred(np.full((9, 4), value))
    assert not found.matches.any()
    assert found.scale > 0


def test_most_matches_equal():
    rows = np.full((30, 4), 7.0)
    rows[:5] += np.arange(20.0).reshape(5, 4)
    found = centred(rows)
    assert np.abs(found.matches).max() == pytest.approx(1)
