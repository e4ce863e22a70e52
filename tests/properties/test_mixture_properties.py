"""What holds of Gaussian mixtures whatever the samples are."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.mixture import GaussianMixture
from tests.reference import mixture as reference

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")

some = settings(max_examples=12, deadline=None, derandomize=True, database=None)

ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_cholesky_")
types = st.sampled_from(reference.COVARIANCE_TYPES)


@st.composite
def problems(draw):
    """Draw samples, weights, and a mixture that starts from given parameters."""
    seed = draw(st.integers(0, 10_000))
    n_samples = draw(st.sampled_from([20, 128, 129, 300]))
    n_features, n_components = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    covariance_type = draw(types)
    X, _ = reference.samples(n_samples, n_components, n_features, seed=seed, distance=2.0)
    weight = np.random.default_rng(seed).uniform(0.5, 2, n_samples)
    start = reference.start(X, n_components, covariance_type, seed=seed)
    return X, weight, start, covariance_type


def fitted(X, weight, start, covariance_type, **parameters):
    settings = {"max_iter": 4, "tol": 0.0, "reg_covar": 1e-3, **parameters}
    init = reference.as_init(start, covariance_type)
    return GaussianMixture(**init, **settings).fit(X, sample_weight=weight)


def assert_mixtures(found, expected, rtol=1e-6):
    """Compare means and covariances where a component has weight."""
    np.testing.assert_allclose(found.weights, expected.weights, rtol=rtol, atol=rtol)
    for name in ("means", "covariances"):
        want = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(found, name), want, rtol=rtol, atol=rtol * max(1.0, np.abs(want).max())
        )


@some
@given(problem=problems())
def test_steps_are_those_of_the_reference(problem):
    X, weight, start, covariance_type = problem
    expected, bounds = reference.run(
        X, start, covariance_type, 4, reg_covar=1e-3, sample_weight=weight
    )
    found = fitted(*problem)
    np.testing.assert_allclose(found.lower_bounds_, bounds, rtol=1e-9, atol=1e-9)
    assert_mixtures(reference.of(found), expected)


@some
@given(problem=problems(), shift=st.floats(-1e4, 1e4), power=st.integers(-10, 10))
def test_shift_and_scale(problem, shift, power):
    X, weight, start, covariance_type = problem
    scale = 2.0**power
    plain = fitted(*problem)
    moved_start = reference.Mixture(
        start.weights, scale * (start.means + shift), scale**2 * start.covariances
    )
    moved = fitted(
        scale * (X + shift), weight, moved_start, covariance_type, reg_covar=1e-3 * scale**2
    )
    bounds = np.array(moved.lower_bounds_) + X.shape[1] * np.log(scale)
    np.testing.assert_allclose(bounds, plain.lower_bounds_, rtol=1e-8, atol=1e-8)
    back = reference.of(moved)
    back.means, back.covariances = back.means / scale - shift, back.covariances / scale**2
    assert_mixtures(back, reference.of(plain), 1e-5)


@some
@given(problem=problems(), seed=st.integers(0, 1000))
def test_the_order_of_samples_does_not_matter(problem, seed):
    X, weight, start, covariance_type = problem
    order = np.random.default_rng(seed).permutation(len(X))
    plain = fitted(*problem)
    shuffled = fitted(X[order], weight[order], start, covariance_type)
    np.testing.assert_allclose(shuffled.lower_bounds_, plain.lower_bounds_, rtol=1e-10, atol=1e-10)
    assert_mixtures(reference.of(shuffled), reference.of(plain))


@some
@given(problem=problems(), seed=st.integers(0, 1000))
def test_the_order_of_features_and_components_does_not_matter(problem, seed):
    X, weight, start, covariance_type = problem
    rng = np.random.default_rng(seed)
    features, components = rng.permutation(X.shape[1]), rng.permutation(len(start.weights))

    def moved(mixture):
        covariances = mixture.covariances[components][:, features][:, :, features]
        return reference.Mixture(
            mixture.weights[components], mixture.means[components][:, features], covariances
        )

    plain = fitted(*problem)
    other = fitted(X[:, features].copy(), weight, moved(start), covariance_type)
    np.testing.assert_allclose(other.lower_bounds_, plain.lower_bounds_, rtol=1e-9, atol=1e-9)
    assert_mixtures(reference.of(other), moved(reference.of(plain)))


@some
@given(problem=problems(), share=st.floats(0.1, 0.9))
def test_merged_parts_are_the_whole(problem, share):
    X, weight, start, covariance_type = problem
    cut = max(2, len(start.weights), int(share * len(X)))
    cut = min(cut, len(X) - max(2, len(start.weights)))
    whole = fitted(*problem, max_iter=1)
    first, second = (
        fitted(X[part], weight[part], start, covariance_type, max_iter=1)
        for part in (slice(0, cut), slice(cut, None))
    )
    assert_mixtures(reference.of(first.merge(second)), reference.of(whole), 1e-8)


@some
@given(problem=problems(), n_jobs=st.integers(1, 5))
def test_threads_do_not_matter(problem, n_jobs):
    # As many samples as make several chunks.
    X, weight, start, covariance_type = problem
    X, weight = np.tile(X, (60, 1)), np.tile(weight, 60)
    left, right = (
        fitted(X, weight, start, covariance_type, max_iter=2, n_jobs=n) for n in (1, n_jobs)
    )
    assert left.lower_bounds_ == right.lower_bounds_
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    np.testing.assert_array_equal(left.predict_proba(X), right.predict_proba(X))


@some
@given(problem=problems(), power=st.integers(-30, 30))
def test_the_scale_of_weights_does_not_matter(problem, power):
    X, weight, start, covariance_type = problem
    plain, scaled = fitted(*problem), fitted(X, 10.0**power * weight, start, covariance_type)
    np.testing.assert_allclose(scaled.lower_bounds_, plain.lower_bounds_, rtol=1e-9, atol=1e-9)
    assert_mixtures(reference.of(scaled), reference.of(plain))


@some
@given(problem=problems(), n_blanks=st.integers(0, 5))
def test_scores_are_weighted_means_of_what_is_known(problem, n_blanks):
    X, weight, start, covariance_type = problem
    mixture = fitted(*problem)
    expected = weight @ reference.expectation(X, reference.of(mixture))[0]
    blanks = np.full((n_blanks, X.shape[1]), np.nan)
    X, weights = np.concatenate([X, blanks]), np.append(weight, np.ones(n_blanks))
    score = mixture.score(X, sample_weight=weights)
    assert score == pytest.approx(expected / weight.sum(), rel=1e-9, abs=1e-9)
    penalties = [
        getattr(mixture, name)(X, sample_weight=weights) + 2 * expected for name in ("bic", "aic")
    ]
    assert penalties[0] / penalties[1] == pytest.approx(np.log(weight.sum()) / 2, rel=1e-6)


@some
@given(problem=problems())
def test_responsibilities_add_up_and_bounds_rise(problem):
    X, weight, start, covariance_type = problem
    mixture = fitted(X, weight, start, covariance_type, reg_covar=1e-9, max_iter=15)
    assert np.diff(mixture.lower_bounds_).min() > -1e-7
    shares = mixture.predict_proba(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    # The weights are the mean responsibilities of the step before, so of a fit that has ended.
    settled = copy.deepcopy(mixture).set_params(max_iter=3000, tol=1e-12)
    shares = settled.fit(X, sample_weight=weight).predict_proba(X)
    np.testing.assert_allclose(weight @ shares / weight.sum(), settled.weights_, atol=1e-3)


@some
@given(problem=problems(), share=st.floats(0.0, 0.4))
def test_gaps_leave_the_densities_of_what_is_known(problem, share):
    X, weight, start, covariance_type = problem
    mixture = fitted(*problem)
    X = X.copy()
    X[np.random.default_rng(0).random(X.shape) < share] = np.nan
    likelihood, shares = reference.expectation(X, reference.of(mixture))
    np.testing.assert_allclose(mixture.score_samples(X), likelihood, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(mixture.predict_proba(X), shares, rtol=1e-6, atol=1e-10)
