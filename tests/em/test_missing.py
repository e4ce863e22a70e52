"""Rows with missing values against one row at a time, and what is estimated from them."""

import numpy as np
import pytest
from scipy.special import logsumexp

from fastmotion.em import missing
from fastmotion.em.gaussians import COVARIANCE_TYPES, GaussianMoments, Gaussians, maximise
from fastmotion.em.missing import (
    MissingPasses,
    complete,
    conditional,
    feature_moments,
    find_patterns,
    has_missing,
    marginal,
    pattern_order,
)
from fastmotion.em.passes import GaussianPasses
from tests.reference import missing as reference
from tests.reference.mixture import add_statistics

DTYPES = [np.float32, np.float64]


@pytest.fixture(params=["alone", "together"])
def small_patterns(request, monkeypatch):
    """Let patterns have passes of their own, or be done row by row."""
    monkeypatch.setattr(missing, "_FEW_WORK", 0 if request.param == "alone" else 1e9)


def random_gaussians(rng, covariance_type):
    components = reference.random_components(rng, covariance_type)
    return Gaussians.from_covariances(*components, covariance_type)


def with_gaps(rng, shape, share=0.4, dtype=np.float64):
    """Return noise of which a share, one whole row and one whole pattern are missing."""
    X = rng.normal(size=shape).astype(dtype)
    X[rng.random(shape) < share] = np.nan
    X[1] = np.nan
    X[2:5] = 1.0
    return X


def diagonals(scatter, covariance_type):
    is_matrix = covariance_type in ("full", "tied")
    return scatter if is_matrix else np.einsum("kii->ki", scatter)


def assert_moments(got, want, covariance_type, rtol=1e-10):
    counts, means, scatter = want
    np.testing.assert_allclose(got.counts, counts, rtol=rtol)
    np.testing.assert_allclose(got.means, means, rtol=rtol, atol=rtol)
    scatter = diagonals(scatter, covariance_type)
    np.testing.assert_allclose(got.scatter, scatter, rtol=rtol, atol=rtol * np.abs(scatter).max())


def softmax(log_densities):
    return np.exp(log_densities - logsumexp(log_densities, axis=1, keepdims=True))


@pytest.mark.parametrize("n_features", [1, 3, 8, 9, 64, 65, 130])
def test_patterns_are_those_of_the_mask(rng, n_features):
    masks = rng.random((6, n_features)) < 0.3
    masks[0], masks[1] = False, True
    which = np.concatenate([np.arange(6), rng.integers(0, 6, size=94)])
    X = np.where(masks[which], np.nan, rng.normal(size=(100, n_features)))
    patterns = find_patterns(X)
    assert len(patterns) == len(np.unique(masks, axis=0))
    assert patterns[0].is_complete
    assert patterns[-1].is_empty
    assert not any(pattern.is_complete for pattern in patterns[1:])
    assert not any(pattern.is_empty for pattern in patterns[:-1])
    for pattern in patterns:
        is_equal = (np.isnan(X) == ~pattern.observed).all(axis=1)
        np.testing.assert_array_equal(pattern.rows, np.flatnonzero(is_equal))
    np.testing.assert_array_equal(pattern_order(X), np.concatenate([p.rows for p in patterns]))


def test_no_rows_have_no_patterns():
    assert find_patterns(np.empty((0, 3))) == []
    assert not has_missing(np.empty((0, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_missing_values_are_noticed(rng, dtype):
    X = rng.normal(size=(50, 3)).astype(dtype)
    assert not has_missing(X)
    X[-1, -1] = np.nan
    assert has_missing(X)


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_features_are_those_of_their_observed_values(rng, weighted):
    X = with_gaps(rng, (300, 3)) + 1e6
    X[:, 2] = np.nan
    weight = rng.random(300) if weighted else np.ones(300)
    means, variances = feature_moments(X, weight if weighted else None)
    for j in range(2):
        some = ~np.isnan(X[:, j])
        mean = np.average(X[some, j], weights=weight[some])
        variance = np.average((X[some, j] - mean) ** 2, weights=weight[some])
        np.testing.assert_allclose(means[j], mean, rtol=1e-14)
        np.testing.assert_allclose(variances[j], variance, rtol=1e-9)
    assert means[2] == variances[2] == 0


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_marginal_has_the_blocks_of_the_whole(rng, covariance_type):
    gaussians = random_gaussians(rng, covariance_type)
    observed = np.array([True, False, True, True])
    part = marginal(gaussians, observed)
    assert part.covariance_type == covariance_type
    np.testing.assert_array_equal(part.means, gaussians.means[:, observed])
    whole = gaussians.full_covariances()
    np.testing.assert_array_equal(part.full_covariances(), whole[:, observed][:, :, observed])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_regression_is_that_of_the_precision(rng, covariance_type):
    gaussians = random_gaussians(rng, covariance_type)
    observed = np.array([True, False, True, False])
    coefficients, covariances = conditional(gaussians, observed)
    precision = np.linalg.inv(gaussians.full_covariances())
    inner = np.linalg.inv(precision[:, ~observed][:, :, ~observed])
    np.testing.assert_allclose(covariances, inner, rtol=1e-10, atol=1e-12)
    slopes = -inner @ precision[:, ~observed][:, :, observed]
    np.testing.assert_allclose(coefficients, slopes, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_nothing_is_added_to_moments_of_complete_rows(rng, covariance_type):
    gaussians = random_gaussians(rng, covariance_type)
    scatter = diagonals(gaussians.full_covariances(), covariance_type)
    moments = GaussianMoments(np.arange(3.0), rng.normal(size=(3, 4)), scatter)
    whole = complete(moments, gaussians, np.ones(4, bool))
    np.testing.assert_array_equal(whole.means, moments.means)
    np.testing.assert_array_equal(whole.scatter, moments.scatter)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.usefixtures("small_patterns")
def test_log_densities_are_those_of_the_observed_parts(rng, covariance_type, dtype):
    gaussians = random_gaussians(rng, covariance_type)
    X = with_gaps(rng, (80, 4), dtype=dtype)
    log_weights = np.log([0.5, 0.3, 0.2])
    out = np.empty((80, 3), dtype)
    MissingPasses(gaussians, log_weights=log_weights).log_densities(X, out)
    expected = reference.log_densities(
        X.astype(np.float64), gaussians.means, gaussians.full_covariances()
    )
    rtol = 1e-10 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(out, expected + log_weights, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(np.exp(out[1]).sum(), 1, rtol=rtol)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.usefixtures("small_patterns")
def test_moments_are_the_expected_ones(rng, covariance_type):
    gaussians = random_gaussians(rng, covariance_type)
    X = with_gaps(rng, (60, 4))
    responsibilities = rng.random((60, 3))
    passes = MissingPasses(gaussians)
    sums, rest = passes.new_sums(), passes.new_sums()
    passes.add_moments(X[:25], responsibilities[:25], sums)
    passes.add_moments(X[25:], responsibilities[25:], rest)
    sums.add(rest)
    expected = reference.expected_moments(
        X, responsibilities, gaussians.means, gaussians.full_covariances()
    )
    assert_moments(passes.moments(sums), expected, covariance_type)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.usefixtures("small_patterns")
def test_statistics_are_moments_with_the_posterior(rng, covariance_type, dtype):
    gaussians = random_gaussians(rng, covariance_type)
    X = with_gaps(rng, (90, 4), dtype=dtype)
    log_weights, weight = np.log([0.5, 0.3, 0.2]), rng.random(90)
    passes = MissingPasses(gaussians, log_weights=log_weights)
    sums = passes.new_sums()
    log_likelihood = add_statistics(passes, X, weight, sums)
    rows = X.astype(np.float64)
    covariances = gaussians.full_covariances()
    joint = reference.log_densities(rows, gaussians.means, covariances) + log_weights
    np.testing.assert_allclose(log_likelihood, weight @ logsumexp(joint, axis=1), rtol=1e-9)
    expected = reference.expected_moments(
        rows, softmax(joint) * weight[:, None], gaussians.means, covariances
    )
    assert_moments(passes.moments(sums), expected, covariance_type, rtol=1e-8)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_complete_rows_are_as_without_this(rng, covariance_type):
    gaussians = random_gaussians(rng, covariance_type)
    X, weight = rng.normal(size=(200, 4)), rng.random(200)
    results = []
    for kind in (MissingPasses, GaussianPasses):
        passes = kind(gaussians, log_weights=np.log([0.5, 0.3, 0.2]))
        assert passes.chunks(10**6) == MissingPasses(gaussians).chunks(10**6)
        sums = passes.new_sums()
        bound = add_statistics(passes, X, weight, sums)
        results.append((bound, passes.moments(sums)))
    assert results[0][0] == results[1][0]
    for name in ("counts", "means", "scatter"):
        np.testing.assert_array_equal(getattr(results[0][1], name), getattr(results[1][1], name))


def test_rows_without_values_add_nothing(rng):
    passes = MissingPasses(random_gaussians(rng, "full"))
    sums = passes.new_sums()
    assert add_statistics(passes, np.full((5, 4), np.nan), np.ones(5), sums) == 0
    assert not passes.moments(sums).counts.any()
    assert np.isfinite(passes.moments(sums).means).all()


def test_sums_know_their_size(rng):
    sums = MissingPasses(random_gaussians(rng, "full")).new_sums()
    moments = sums.incomplete
    assert sums.nbytes > sums.complete.nbytes + moments.scatter.nbytes


def run_em(X, gaussians, weights, n_iter, reg_covar=1e-9):
    """Return the parameters after some iterations, and the log-likelihoods on the way."""
    bounds = []
    for _ in range(n_iter):
        passes = MissingPasses(gaussians, log_weights=np.log(weights))
        sums = passes.new_sums()
        bounds.append(add_statistics(passes, X, np.ones(len(X)), sums))
        moments = passes.moments(sums)
        gaussians = maximise(moments, gaussians.covariance_type, reg_covar)
        weights = moments.counts / moments.counts.sum()
    return gaussians, weights, np.array(bounds)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.usefixtures("small_patterns")
def test_likelihood_rises(rng, covariance_type):
    X = with_gaps(rng, (300, 4)) + 3 * (np.arange(300) % 3)[:, None]
    start = random_gaussians(rng, covariance_type)
    _, _, bounds = run_em(X, start, np.full(3, 1 / 3), 30, reg_covar=0.0)
    assert (np.diff(bounds) > -1e-8).all()
    assert bounds[-1] > bounds[0] + 10


def correlated_mixture(rng, n_samples):
    means = np.array([[0.0, 0.0, 0.0], [4.0, 2.0, -2.0]])
    roots = np.array(
        [[[1, 0, 0], [0.8, 0.5, 0], [-0.6, 0.3, 0.4]], [[1, 0, 0], [0, 1, 0], [0.9, 0, 0.3]]]
    )
    labels = rng.integers(0, 2, n_samples)
    X = means[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n_samples, 3)))
    return X, Gaussians.from_covariances(means, roots @ np.swapaxes(roots, 1, 2), "full")


def test_better_than_leaving_incomplete_rows_out(rng):
    """Of values missing completely at random, averaged over some data sets."""
    errors = []
    for _ in range(6):
        X, truth = correlated_mixture(rng, 800)
        X[rng.random(X.shape) < 0.45] = np.nan
        is_complete = ~np.isnan(X).any(axis=1)
        pair = [run_em(part, truth, np.full(2, 0.5), 40)[0] for part in (X, X[is_complete])]
        errors.append([np.square(g.means - truth.means).sum() for g in pair])
    ours, complete_case = np.mean(errors, axis=0)
    assert ours < 0.6 * complete_case


def test_unbiased_where_what_is_missing_depends_on_what_is_not(rng):
    """A second feature observed where the first is positive: its plain mean is far off."""
    x = rng.normal(size=20_000)
    X = np.stack([x, 2 * x + rng.normal(size=20_000)], axis=1)
    X[x < 0, 1] = np.nan
    start = Gaussians.from_covariances(np.zeros((1, 2)), np.eye(2)[None], "full")
    found, _, _ = run_em(X, start, np.ones(1), 60)
    assert np.nanmean(X[:, 1]) > 1
    np.testing.assert_allclose(found.means, 0, atol=0.05)
    np.testing.assert_allclose(found.covariances[0], [[1, 2], [2, 5]], atol=0.15)


@pytest.mark.usefixtures("small_patterns")
def test_far_from_the_origin(rng):
    X, truth = correlated_mixture(rng, 400)
    X[rng.random(X.shape) < 0.3] = np.nan
    far = Gaussians.from_covariances(truth.means + 1e4, truth.covariances, "full")
    near, _, bounds = run_em(X, truth, np.full(2, 0.5), 10)
    found, _, far_bounds = run_em(X + 1e4, far, np.full(2, 0.5), 10)
    np.testing.assert_allclose(far_bounds, bounds, rtol=1e-9)
    np.testing.assert_allclose(found.covariances, near.covariances, rtol=1e-6, atol=1e-8)


def test_input_stays_as_it_is(rng):
    gaussians = random_gaussians(rng, "full")
    X = with_gaps(rng, (50, 4))
    before = X.copy()
    X.setflags(write=False)
    passes = MissingPasses(gaussians)
    add_statistics(passes, X, np.ones(50), passes.new_sums())
    passes.log_densities(X, np.empty((50, 3)))
    np.testing.assert_array_equal(X, before)
