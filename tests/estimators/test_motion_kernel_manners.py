"""Motion kernels as estimators among others."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel


@pytest.fixture
def X():
    return make_motion("walk", n_sequences=6, n_frames=40, noise=3.0, random_state=1).observed[
        :, :, ::6
    ]


PARAMETERS = {
    "n_taps": 4,
    "window": None,
    "causal": False,
    "dilation": 2,
    "target": "velocity",
    "horizon": 2,
    "sharing": "joint",
    "shrinkage": 0.1,
    "alpha": 2.0,
    "prior": "random",
    "smoothness": 0.1,
    "smoothness_order": 2,
    "weight_sum": (0.0, 5.0),
    "moments": {1: 1.0},
    "loss": "huber",
    "solver": "closed_form",
    "learning_rate": 0.5,
    "max_iter": 100,
    "tol": 1e-5,
    "residual": False,
    "noise": "auto",
    "fit_intercept": True,
    "fps": 60,
    "edges": "reflect",
    "min_valid": 0.7,
    "axes": ("sequence", "frame", "joint", "coord"),
    "random_state": 3,
    "n_jobs": 1,
    "device": "cpu",
}


def test_all_parameters_are_kept_and_cloned(X):
    kernel = MotionKernel(**PARAMETERS)
    assert kernel.get_params() == PARAMETERS
    same = clone(kernel)
    assert same.get_params() == PARAMETERS
    kernel.fit(X)
    for name, value in PARAMETERS.items():
        assert getattr(kernel, name) is value
    assert not hasattr(clone(kernel), "coef_")
    assert MotionKernel().set_params(n_taps=7, alpha=2.0).get_params()["n_taps"] == 7
    with pytest.raises(ValueError, match="Invalid parameter 'taps'"):
        MotionKernel().set_params(taps=3)


def test_fit_changes_no_parameter(X):
    prior, moments, axes = np.zeros(5), {0: 1.0}, ["sequence", "frame", "joint", "coord"]
    kernel = MotionKernel(prior=prior, moments=moments, axes=axes, alpha=1.0)
    kernel.fit(X).partial_fit(X).transform(X)
    assert kernel.prior is prior and not prior.any()
    assert kernel.moments is moments and moments == {0: 1.0}
    assert kernel.axes is axes and len(axes) == 4


def test_fit_forgets_what_was_before(X):
    kernel = MotionKernel(4, solver="gradient", sharing="joint").fit(X)
    fresh = MotionKernel(3).fit(X[:2])
    kernel.set_params(n_taps=3, solver="closed_form", sharing="all").fit(X[:2])
    np.testing.assert_array_equal(kernel.coef_, fresh.coef_)
    assert set(vars(kernel)) == set(vars(fresh))
    assert kernel.n_windows_ == fresh.n_windows_
    assert kernel.fit(X[:2]) is kernel
    np.testing.assert_array_equal(kernel.coef_, fresh.coef_)


def test_random_states_are_not_used_up(X):
    state = np.random.RandomState(0)
    kernel = MotionKernel(prior="random", alpha=1e20, random_state=state)
    first = kernel.fit(X).coef_
    assert np.abs(first - kernel.fit(X).coef_).max() > 0
    seeded = MotionKernel(prior="random", alpha=1e20, random_state=0)
    np.testing.assert_array_equal(seeded.fit(X).coef_, seeded.fit(X).coef_)


@pytest.mark.parametrize("edges", ["refit", "valid"])
def test_pickle(X, edges):
    kernel = MotionKernel(4, sharing="joint", solver="gradient", edges=edges).fit(X[:3])
    loaded = pickle.loads(pickle.dumps(kernel))
    np.testing.assert_array_equal(loaded.transform(X), kernel.transform(X))
    loaded.partial_fit(X[3:])
    np.testing.assert_array_equal(loaded.coef_, kernel.partial_fit(X[3:]).coef_)


def test_fit_transform_is_fit_and_transform(X, rng):
    weights, trust = rng.random(len(X)), rng.random(X.shape[:3])
    given = MotionKernel(4).fit_transform(X, sample_weight=weights, confidence=trust)
    kernel = MotionKernel(4).fit(X, sample_weight=weights, confidence=trust)
    np.testing.assert_array_equal(given, kernel.transform(X, confidence=trust))
    assert np.nanmax(np.abs(given - kernel.transform(X))) > 1e-3


@pytest.mark.parametrize("method", ["transform", "predict", "score"])
def test_not_fitted(X, method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(MotionKernel(), method)(X)


def test_merge_of_what_is_not_fitted(X):
    with pytest.raises(NotFittedError):
        MotionKernel().merge(MotionKernel().fit(X))
    with pytest.raises(NotFittedError):
        MotionKernel().fit(X).merge(MotionKernel())


def test_tags_are_honest(X):
    tags = get_tags(MotionKernel())
    assert tags.input_tags.allow_nan and tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.target_tags.required
    assert tags.transformer_tags.preserves_dtype == ["float32", "float64"]


# A failed call leaves all as it was


def state_of(kernel):
    return {name: pickle.dumps(value) for name, value in vars(kernel).items()}


FAILURES = {
    "values": (lambda X: {"X": np.where(np.isclose(X, X.max()), np.inf, X)}, "infinite"),
    "shape": (lambda X: {"X": X[0, 0]}, "must have shape"),
    "length": (lambda X: {"X": X[:, :3]}, "longest sequence"),
    "weights": (lambda X: {"X": X, "sample_weight": [1.0, -1.0, 1, 1, 1, 1]}, "sample_weight"),
    "target": (lambda X: {"X": X, "y": X[:3]}, "y must have"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_failed_fit_changes_nothing(X, method, failure):
    make, message = FAILURES[failure]
    kernel = MotionKernel(4, solver="gradient").fit(X)
    before = state_of(kernel)
    if (method, failure) == ("partial_fit", "length"):
        # Enough was seen before: short sequences are no failure then.
        kernel.partial_fit(**make(X))
        assert kernel.n_windows_ == MotionKernel(4).fit(X).n_windows_
        return
    with pytest.raises(ValueError, match=message):
        getattr(kernel, method)(**make(X))
    assert state_of(kernel) == before
    kernel.transform(X)
    kernel.partial_fit(X)


def test_a_failed_solution_changes_nothing(X):
    kernel = MotionKernel(2, target="position", noise="auto")
    with pytest.raises(ValueError, match="more than 5 frames"):
        kernel.fit(X[:, :4])
    assert not hasattr(kernel, "coef_") and not hasattr(kernel, "statistics_")
    kernel.fit(X)
    before = state_of(kernel)
    with pytest.raises(ValueError, match="more than 5 frames"):
        kernel.fit(X[:, :4])
    assert state_of(kernel) == before


def test_a_failed_merge_changes_nothing(X):
    kernel, other = MotionKernel(3).fit(X), MotionKernel(4).fit(X)
    before = state_of(kernel)
    with pytest.raises(ValueError, match="windows of 4 frames"):
        kernel.merge(other)
    assert state_of(kernel) == before


def test_transform_changes_no_fitted_attribute(X):
    kernel = MotionKernel(4).fit(X)
    before = {name: value for name, value in vars(kernel).items() if name.endswith("_")}
    kernel.transform(X)
    kernel.score(X)
    assert all(getattr(kernel, name) is value for name, value in before.items())


# With scikit-learn's own tools


class Pool(TransformerMixin, BaseEstimator):
    """Means of sizes over time, (n_sequences, n_joints * n_coords)."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.array([np.abs(x).mean(axis=0).ravel() for x in X])


def test_pipeline_to_a_classifier():
    kinds = ("walk", "stand")
    parts = [
        make_motion(kind, n_sequences=6, n_frames=50, noise=1.0, random_state=0).observed
        for kind in kinds
    ]
    X, y = np.concatenate(parts), np.repeat(kinds, 6)
    kernel = MotionKernel(7, causal=False, target="velocity", noise="auto")
    pipeline = make_pipeline(
        FunctionTransformer(lambda X: X[:, :, 1:]),
        _WithoutTarget(kernel),
        Pool(),
        RidgeClassifier(),
    )
    assert pipeline.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) == 1.0


class _WithoutTarget(TransformerMixin, BaseEstimator):
    """A kernel that leaves the labels of a classifier alone."""

    def __init__(self, kernel):
        self.kernel = kernel

    def fit(self, X, y=None):
        self.kernel_ = clone(self.kernel).fit(X)
        return self

    def transform(self, X):
        return self.kernel_.transform(X)


def test_a_transformer_may_follow(X):
    pipeline = make_pipeline(MotionKernel(3, edges="nearest"), Pool())
    given = pipeline.fit_transform(X)
    np.testing.assert_allclose(given, Pool().transform(MotionKernel(3).fit(X).transform(X)), 1e-2)
    np.testing.assert_array_equal(pipeline.set_params(motionkernel__n_taps=3).transform(X), given)


def test_grid_search_over_taps(X):
    grid = {"n_taps": [1, 3, 6], "sharing": ["all", "joint"]}
    search = GridSearchCV(MotionKernel(), grid, cv=3).fit(X)
    by_hand = [
        np.mean(
            [
                MotionKernel(n, sharing=s).fit(np.delete(X, [i, i + 1], axis=0)).score(X[i : i + 2])
                for i in (0, 2, 4)
            ]
        )
        for n in grid["n_taps"]
        for s in grid["sharing"]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], by_hand, rtol=1e-12)
    assert search.best_score_ == max(by_hand)
    assert search.best_estimator_.transform(X).shape == X.shape


def test_cross_validation_of_ragged_lists_and_targets(X):
    ragged = [x[: 30 + i] for i, x in enumerate(X)]
    y = [np.gradient(x, axis=0) for x in ragged]
    scores = cross_val_score(MotionKernel(4), ragged, y, cv=3)
    kernel = MotionKernel(4).fit(ragged[2:], y[2:])
    assert scores[0] == pytest.approx(kernel.score(ragged[:2], y[:2]), rel=1e-12)


def test_metadata_is_routed(X, rng):
    weights, trust = rng.random(len(X)), rng.random(X.shape[:3])
    with sklearn.config_context(enable_metadata_routing=True):
        kernel = (
            MotionKernel(3)
            .set_fit_request(sample_weight=True, confidence=True)
            .set_transform_request(confidence=True)
        )
        pipeline = make_pipeline(kernel, Pool()).fit(X, sample_weight=weights, confidence=trust)
        fitted = MotionKernel(3).fit(X, sample_weight=weights, confidence=trust)
        np.testing.assert_array_equal(pipeline[0].coef_, fitted.coef_)
        pooled = Pool().transform(fitted.transform(X, confidence=trust))
        np.testing.assert_array_equal(pipeline.transform(X, confidence=trust), pooled)
        scored = MotionKernel(3).set_fit_request(sample_weight=True)
        scored.set_score_request(sample_weight=True)
        search = GridSearchCV(scored, {"n_taps": [2, 3]}, cv=2).fit(X, sample_weight=weights)
    by_hand = MotionKernel(2).fit(X[3:], sample_weight=weights[3:])
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(
        by_hand.score(X[:3], sample_weight=weights[:3]), rel=1e-12
    )


def test_another_scorer(X):
    # What comes k frames later, as a target of its own.
    y = np.full(X.shape, np.nan)
    y[:, :-1] = X[:, 1:]
    kernel = MotionKernel(3, edges="valid").fit(X, y)
    np.testing.assert_allclose(kernel.coef_, MotionKernel(3).fit(X).coef_, rtol=1e-9)
    given = kernel.predict(X)[:, :-1]
    expected = r2_score(X[:, 3:].ravel(), given.ravel())
    assert kernel.score(X, y) == pytest.approx(expected, rel=1e-12)
