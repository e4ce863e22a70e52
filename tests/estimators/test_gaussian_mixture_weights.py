"""Gaussian mixtures of weighted samples."""

import copy

import numpy as np
import pytest

from fastmotion.mixture import GaussianMixture
from tests.reference import mixture as reference

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")

COVARIANCE_TYPES = reference.COVARIANCE_TYPES
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_cholesky_")


@pytest.fixture
def X():
    return reference.samples(240, 3, 3, distance=1.5)[0]


def started(X, covariance_type, **parameters):
    """Return a mixture that starts from given parameters."""
    init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
    return GaussianMixture(**{"tol": 0.0, "max_iter": 6, **init, **parameters})


def assert_same(found, expected, rtol=1e-8):
    for name in ATTRIBUTES:
        want = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(found, name), want, rtol=rtol, atol=rtol * np.abs(want).max(), err_msg=name
        )


# Weights


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weighted_steps_are_those_of_the_reference(X, rng, covariance_type, dtype):
    X = X.astype(dtype)
    weight = rng.uniform(0, 3, len(X))
    start = reference.start(X, 3, covariance_type)
    expected, bounds = reference.run(X, start, covariance_type, 6, sample_weight=weight)
    found = started(X, covariance_type).fit(X, sample_weight=weight)
    rtol = 1e-9 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(found.lower_bounds_, bounds, rtol=rtol)
    np.testing.assert_allclose(reference.of(found).weights, expected.weights, rtol=100 * rtol)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_integer_weights_are_repeated_samples(X, rng, covariance_type):
    weight = rng.integers(0, 4, len(X))
    mixture = started(X, covariance_type)
    found = copy.deepcopy(mixture).fit(X, sample_weight=weight)
    expected = copy.deepcopy(mixture).fit(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-10)
    assert_same(found, expected)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data"])
def test_samples_without_weight_might_be_absent(X, covariance_type, init_params):
    # They are so far away that they would be noticed.
    strangers = np.concatenate([X, X[:50] + 1e3])
    weight = np.r_[np.ones(len(X)), np.zeros(50)]
    mixture = GaussianMixture(
        3, covariance_type=covariance_type, init_params=init_params, random_state=0, max_iter=3
    ).fit(strangers, sample_weight=weight)
    assert mixture.means_.max() < 100
    assert np.isfinite(mixture.covariances_).all()
    given = started(X, covariance_type)
    found = copy.deepcopy(given).fit(strangers, sample_weight=weight)
    expected = copy.deepcopy(given).fit(X)
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-10)
    assert_same(found, expected)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("scale", [1e-6, 0.5, 1e6])
def test_the_scale_of_weights_does_not_matter(X, rng, covariance_type, scale):
    weight = rng.uniform(0, 2, len(X))
    mixture = started(X, covariance_type)
    expected = copy.deepcopy(mixture).fit(X, sample_weight=weight)
    found = copy.deepcopy(mixture).fit(X, sample_weight=scale * weight)
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-10)
    assert_same(found, expected)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("scale", [1e-12, 1e-20, 1e12])
def test_tiny_and_huge_weights_are_those_of_ordinary_size(
    X, rng, covariance_type, scale, init_params
):
    weight = rng.uniform(1, 2, len(X))
    mixture = GaussianMixture(
        3, covariance_type=covariance_type, init_params=init_params, random_state=0, max_iter=5
    )
    expected = copy.deepcopy(mixture).fit(X, sample_weight=weight)
    found = copy.deepcopy(mixture).fit(X, sample_weight=scale * weight)
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-9)
    assert_same(found, expected, 1e-9)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_weights_of_one_change_nothing(X, init_params):
    mixture = GaussianMixture(3, init_params=init_params, random_state=0, max_iter=5)
    expected = copy.deepcopy(mixture).fit(X)
    for weight in (np.ones(len(X)), np.ones(len(X), np.float32), [1] * len(X)):
        found = copy.deepcopy(mixture).fit(X, sample_weight=weight)
        np.testing.assert_array_equal(found.lower_bounds_, expected.lower_bounds_)
        for name in ATTRIBUTES:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_weights_count_in_scores(X, rng):
    weight = rng.integers(0, 4, len(X))
    mixture = started(X, "full").fit(X)
    repeated = np.repeat(X, weight, axis=0)
    for method in ("score", "bic", "aic"):
        found = getattr(mixture, method)(X, sample_weight=weight)
        assert found == pytest.approx(getattr(mixture, method)(repeated), rel=1e-10)
        assert getattr(mixture, method)(X, sample_weight=np.ones(len(X))) == pytest.approx(
            getattr(mixture, method)(X), rel=1e-12
        )
        for bad in (-np.ones(len(X)), np.ones(3), np.zeros(len(X))):
            with pytest.raises(ValueError, match="sample_weight|weight"):
                getattr(mixture, method)(X, sample_weight=bad)


def test_weights_reach_fit_predict(X, rng):
    weight = rng.uniform(0, 2, len(X))
    mixture = started(X, "full")
    labels = copy.deepcopy(mixture).fit_predict(X, sample_weight=weight)
    np.testing.assert_array_equal(labels, mixture.fit(X, sample_weight=weight).predict(X))


def test_the_weighted_bound_never_falls(X, rng):
    weight = rng.exponential(size=len(X))
    mixture = started(X, "full", reg_covar=0.0, max_iter=60).fit(X, sample_weight=weight)
    assert np.diff(mixture.lower_bounds_).min() > -1e-12


BAD_WEIGHTS = {
    "negative": (lambda n: np.r_[-1.0, np.ones(n - 1)], "(?i)negative"),
    "all zero": (np.zeros, "sample_weight"),
    "nan": (lambda n: np.r_[np.nan, np.ones(n - 1)], "(?i)nan"),
    "inf": (lambda n: np.r_[np.inf, np.ones(n - 1)], "(?i)inf"),
    "too few": (lambda n: np.ones(n - 1), "sample_weight"),
    "two axes": (lambda n: np.ones((n, 2)), "(?i)sample.weight"),
    "text": (lambda n: ["a"] * n, "."),
    "a number": (lambda n: 2.0, "sample_weight"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
@pytest.mark.parametrize("method", ["fit", "fit_predict", "partial_fit"])
def test_weights_that_make_no_sense_are_errors(X, case, method):
    make, message = BAD_WEIGHTS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(GaussianMixture(2, random_state=0), method)(X, sample_weight=make(len(X)))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_too_few_samples_with_weight(X, covariance_type):
    weight = np.zeros(len(X))
    weight[:2] = 1
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0)
    with pytest.raises(ValueError, match="n_samples >= n_components"):
        mixture.fit(X, sample_weight=weight)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_weights_of_all_sizes(X, rng, covariance_type):
    weight = 10.0 ** rng.uniform(-300, 100, len(X))
    mixture = started(X, covariance_type).fit(X, sample_weight=weight)
    assert all(np.isfinite(getattr(mixture, name)).all() for name in ATTRIBUTES)
