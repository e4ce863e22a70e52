"""Gaussian mixtures of samples of which values are missing."""

import tracemalloc

import numpy as np
import pytest

from fastmotion.em.samples import Samples
from fastmotion.mixture import GaussianMixture
from tests.reference import mixture as reference

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")

COVARIANCE_TYPES = reference.COVARIANCE_TYPES
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


def with_gaps(X, share=0.15, seed=1):
    """Return samples of which a share of the values is missing, all of some."""
    rng = np.random.default_rng(seed)
    X = X.copy()
    X[rng.random(X.shape) < share] = np.nan
    return X


@pytest.fixture
def X():
    return reference.samples(200, 3, 4, distance=2.0)[0]


def started(X, covariance_type, **parameters):
    init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
    return GaussianMixture(**{"tol": 0.0, "max_iter": 5, **init, **parameters})


def assert_finite(mixture):
    for name in ATTRIBUTES:
        assert np.isfinite(getattr(mixture, name)).all(), name
    assert mixture.weights_.sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_are_those_of_the_reference(X, covariance_type, dtype, offset):
    far = with_gaps((X + offset).astype(dtype))
    near = np.float64(far) - offset
    start = reference.start(near, 3, covariance_type)
    expected, bounds = reference.run(near, start, covariance_type, 5)
    init = reference.as_init(start, covariance_type)
    init["means_init"] = init["means_init"] + offset
    found = GaussianMixture(tol=0.0, max_iter=5, **init).fit(far)
    rtol = 1e-9 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(found.lower_bounds_, bounds, rtol=rtol)
    result, atol = reference.of(found), 1e-7 if dtype == "float64" else 2e-3
    np.testing.assert_allclose(result.weights, expected.weights, atol=atol)
    np.testing.assert_allclose(result.means - offset, expected.means, atol=atol)
    np.testing.assert_allclose(result.covariances, expected.covariances, atol=atol)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_weighted_steps_are_those_of_the_reference(X, rng, covariance_type):
    X, weight = with_gaps(X), rng.uniform(0, 2, len(X))
    start = reference.start(X, 3, covariance_type)
    _, bounds = reference.run(X, start, covariance_type, 5, sample_weight=weight)
    found = started(X, covariance_type).fit(X, sample_weight=weight)
    np.testing.assert_allclose(found.lower_bounds_, bounds, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_densities_are_those_of_what_is_known(X, covariance_type):
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    new = with_gaps(X)
    likelihood, shares = reference.expectation(new, reference.of(mixture))
    np.testing.assert_allclose(mixture.score_samples(new), likelihood, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mixture.predict_proba(new), shares, rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(mixture.predict(new), shares.argmax(axis=1))
    assert mixture.score(new) == pytest.approx(likelihood.mean(), rel=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("share", [0.05, 0.4])
def test_the_lower_bound_never_falls(X, covariance_type, share):
    X = with_gaps(X, share)
    mixture = started(X, covariance_type, reg_covar=0.0, max_iter=40).fit(X)
    assert np.diff(mixture.lower_bounds_).min() > -1e-10
    assert_finite(mixture)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_every_start_copes_with_gaps(X, covariance_type, init_params):
    X = with_gaps(X, 0.3)
    mixture = GaussianMixture(
        3, covariance_type=covariance_type, init_params=init_params, random_state=0, max_iter=10
    )
    labels = mixture.fit_predict(X)
    assert_finite(mixture)
    np.testing.assert_array_equal(labels, mixture.predict(X))


@pytest.mark.parametrize("init_params", ["random", "random_from_data"])
@pytest.mark.parametrize("first", range(4))
def test_a_feature_known_in_every_fourth_sample(init_params, first):
    # A slow sensor beside a fast one. Its values are far from 0, which must not stand in for them.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 3)) + [0, 0, 1e4]
    known = X[first::4, 2].copy()
    X[:, 2] = np.nan
    X[first::4, 2] = known
    mixture = GaussianMixture(2, init_params=init_params, max_iter=3, random_state=0).fit(X)
    np.testing.assert_allclose(mixture.means_[:, 2], 1e4, atol=3)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_no_sample_need_be_complete(X, covariance_type):
    X = X.copy()
    X[np.arange(len(X)), np.arange(len(X)) % X.shape[1]] = np.nan
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    assert_finite(mixture)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_samples_of_which_nothing_is_known_change_nothing(X, covariance_type):
    with_blanks = np.concatenate([X[:70], np.full((30, 4), np.nan), X[70:]])
    to_the_end = {"tol": 1e-9, "max_iter": 1000}
    found = started(X, covariance_type, **to_the_end).fit(with_blanks)
    expected = started(X, covariance_type, **to_the_end).fit(X)
    assert_finite(found)
    np.testing.assert_allclose(found.means_, expected.means_, atol=1e-3)
    np.testing.assert_allclose(found.covariances_, expected.covariances_, atol=1e-3)
    np.testing.assert_allclose(found.predict_proba(with_blanks[70:100]), [found.weights_] * 30)
    np.testing.assert_allclose(found.score_samples(with_blanks[70:100]), 0, atol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_gaps_that_say_nothing_cost_little(X, covariance_type):
    complete = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    gappy = with_gaps(X, 0.02)
    init = reference.as_init(reference.of(complete), covariance_type)
    found = GaussianMixture(**init).fit(gappy)
    np.testing.assert_allclose(found.means_, complete.means_, atol=0.2)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_feature_that_is_always_missing_is_an_error(X, covariance_type):
    X = X.copy()
    X[:, 2] = np.nan
    with pytest.raises(ValueError, match="(?i)feature|column"):
        GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_nothing_at_all_is_an_error(covariance_type):
    with pytest.raises(ValueError, match="(?i)missing|nan"):
        GaussianMixture(2, covariance_type=covariance_type).fit(np.full((20, 3), np.nan))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_is_not_missing(X, value):
    X = with_gaps(X)
    mixture = GaussianMixture(2, random_state=0, max_iter=3).fit(X)
    X[7, 1] = value
    for method in ("fit", "predict", "score_samples", "partial_fit"):
        with pytest.raises(ValueError, match="(?i)inf"):
            getattr(mixture, method)(X)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_threads_change_nothing(covariance_type):
    X = with_gaps(reference.samples(6000, 3, 3)[0], 0.1)
    mixtures = [
        GaussianMixture(
            3, covariance_type=covariance_type, random_state=0, max_iter=3, n_jobs=n_jobs
        ).fit(X)
        for n_jobs in (1, 2)
    ]
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(*(getattr(mixture, name) for mixture in mixtures))


def test_samples_of_which_nothing_is_known_do_not_count(X):
    mixture = GaussianMixture(3, random_state=0).fit(X)
    with_blanks = np.concatenate([X, np.full((len(X), 4), np.nan)])
    for method in ("score", "bic", "aic"):
        expected = getattr(mixture, method)(X)
        assert getattr(mixture, method)(with_blanks) == pytest.approx(expected, rel=1e-12)
    assert mixture.score_samples(with_blanks)[len(X) :].tolist() == [0] * len(X)
    for method in ("score", "bic", "aic"):
        with pytest.raises(ValueError, match="nothing is known"):
            getattr(mixture, method)(with_blanks[len(X) :])


def test_bounds_and_scores_of_samples_with_gaps_agree(X):
    X = with_gaps(X, 0.3)
    mixture = started(X, "full", max_iter=1000, tol=1e-10).fit(X)
    assert mixture.score(X) == pytest.approx(mixture.lower_bound_, abs=1e-6)


def test_samples_with_gaps_are_not_copied():
    X = np.random.default_rng(0).normal(size=(50_000, 32))
    X[::3, 0] = np.nan
    tracemalloc.start()
    try:
        Samples(X, np.ones(len(X)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes / 2


def test_gaps_stay_gaps(X):
    X = with_gaps(X)
    before = X.copy()
    GaussianMixture(2, random_state=0, max_iter=3).fit(X).predict_proba(X)
    np.testing.assert_array_equal(X, before)
