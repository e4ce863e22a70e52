"""Weights of samples find their way through pipelines."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import FundamentalMatrix
from fastmotion.mixture import GaussianMixture
from fastmotion.trajectory import MotionKernelBank


@pytest.fixture(autouse=True)
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def bank(**params):
    return MotionKernelBank(scales=(3,), pooling=("mean", "std"), **params)


def halved(y):
    """Return weights that leave out every other sequence, of all classes."""
    return np.arange(len(y)) % 2 * 1.0


def test_weights_reach_the_bank_and_the_classifier(pose_case):
    X, y = pose_case.X, pose_case.y
    weight = halved(y)
    pipeline = make_pipeline(
        bank().set_fit_request(sample_weight=True),
        StandardScaler().set_fit_request(sample_weight=True),
        LinearSVC(random_state=0).set_fit_request(sample_weight=True),
    )
    pipeline.fit(X, y, sample_weight=weight)
    part = clone(pipeline).fit(X[weight > 0], y[weight > 0])
    np.testing.assert_allclose(
        pipeline[0].kernels_[0][1], part[0].kernels_[0][1], rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(pipeline[-1].coef_, part[-1].coef_, rtol=1e-3, atol=1e-5)
    without = clone(pipeline).fit(X, y)
    assert np.abs(without[0].kernels_[0][1] - part[0].kernels_[0][1]).max() > 1e-6


def test_a_step_may_do_without(pose_case):
    X, y = pose_case.X, pose_case.y
    pipeline = make_pipeline(
        bank().set_fit_request(sample_weight=False),
        StandardScaler().set_fit_request(sample_weight=False),
        LogisticRegression().set_fit_request(sample_weight=True),
    )
    pipeline.fit(X, y, sample_weight=halved(y))
    np.testing.assert_array_equal(pipeline[0].kernels_[0][1], bank().fit(X, y).kernels_[0][1])


def test_a_step_that_did_not_say_is_an_error(pose_case):
    pipeline = make_pipeline(bank(), LogisticRegression().set_fit_request(sample_weight=True))
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        pipeline.fit(pose_case.X, pose_case.y, sample_weight=halved(pose_case.y))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_searches_split_weights_like_sequences(pose_case, n_jobs):
    X, y = pose_case.X, pose_case.y
    pipeline = Pipeline(
        [
            ("bank", bank().set_fit_request(sample_weight=True)),
            (
                "classifier",
                LogisticRegression(max_iter=10_000)
                .set_fit_request(sample_weight=True)
                .set_score_request(sample_weight=True),
            ),
        ]
    )
    search = GridSearchCV(pipeline, {"bank__learned": ["next", "class"]}, cv=2, n_jobs=n_jobs)
    search.fit(X, y, sample_weight=1 + halved(y))
    assert search.best_score_ > 0.9
    found = cross_validate(pipeline, X, y, cv=2, params={"sample_weight": 1 + halved(y)})
    assert found["test_score"].mean() > 0.9


def test_weights_reach_a_mixture_at_the_end(rng):
    X = np.concatenate([rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 8])
    weight = np.repeat([1.0, 3.0], 60)
    mixture = GaussianMixture(2, random_state=0).set_fit_request(sample_weight=True)
    pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), mixture)
    pipeline.fit(X, sample_weight=weight)
    np.testing.assert_allclose(np.sort(pipeline[-1].weights_), [0.25, 0.75], atol=1e-6)


def test_weights_and_quality_reach_the_fundamental_matrix():
    view = make_two_view(n_matches=150, noise=0.5, random_state=0)
    weight = view.inlier_mask * 1.0
    model = FundamentalMatrix(method="eight_point").set_fit_request(sample_weight=True)
    pipeline = make_pipeline("passthrough", model).fit(view.matches, sample_weight=weight)
    only = FundamentalMatrix(method="eight_point").fit(view.matches[view.inlier_mask])
    np.testing.assert_allclose(pipeline[-1].F_, only.F_, atol=1e-9)
    robust = FundamentalMatrix(random_state=0).set_fit_request(quality=True)
    pipeline = make_pipeline("passthrough", robust).fit(view.matches, quality=view.quality)
    direct = FundamentalMatrix(random_state=0).fit(view.matches, quality=view.quality)
    np.testing.assert_array_equal(pipeline[-1].F_, direct.F_)
