"""A fundamental matrix as a filter of matches, before what outliers would spoil."""

import numpy as np
import pytest

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import (
    FundamentalMatrix,
    Homography,
    projections_from_cameras,
    triangulate,
)


@pytest.fixture(scope="module")
def view():
    return make_two_view(n_matches=400, inlier_ratio=0.6, noise=0.3, random_state=0)


@pytest.fixture(scope="module")
def model(view):
    return FundamentalMatrix(random_state=0).fit(view.matches)


def test_the_mask_is_that_of_a_prediction(view, model):
    assert model.inlier_mask_.dtype == bool and model.inlier_mask_.shape == (400,)
    np.testing.assert_array_equal(model.predict(view.matches), model.inlier_mask_)
    filtered = view.matches[FundamentalMatrix(random_state=0).fit_predict(view.matches)]
    np.testing.assert_array_equal(filtered, view.matches[model.inlier_mask_])
    kept = view.inlier_mask[model.inlier_mask_]
    assert kept.mean() > 0.93  # what lies near its epipolar line by chance is in
    assert model.inlier_mask_[view.inlier_mask].mean() > 0.95


def test_points_come_from_matches_that_are_kept(view, model):
    P1, P2 = projections_from_cameras(view.K1, view.R, view.t, view.K2)
    kept = model.inlier_mask_
    points = triangulate(P1, P2, view.matches[kept])
    error = np.linalg.norm(points - view.X[kept], axis=1) / np.linalg.norm(view.X[kept], axis=1)
    assert np.nanmedian(error) < 0.01


@pytest.mark.filterwarnings("ignore::fastmotion.epipolar.DegenerateMatchesWarning")
def test_a_homography_of_all_points_is_better_after_the_filter():
    view = make_two_view("plane", n_matches=400, noise=0.3, random_state=1)
    is_planar = view.plane_mask | ~view.inlier_mask  # the plane, and what is wrong
    matches, truth = view.matches[is_planar], view.plane_mask[is_planar]
    kept = FundamentalMatrix(random_state=0).fit(view.matches).predict(matches)
    assert kept[truth].mean() > 0.9 and kept[~truth].mean() < 0.2

    def error(chosen):
        found = Homography(method="dlt").fit(matches[chosen]).transform(matches[truth, :2])
        return np.median(np.linalg.norm(found - matches[truth, 2:], axis=1))

    everything = np.ones(len(matches), bool)
    assert error(kept) < error(everything) / 4
