"""Kernels of Gaussian components: what the passes over them do not show."""

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from fastmotion.core.compile import cpu_kernel
from fastmotion.em.gaussians import Gaussians
from fastmotion.em.kernels import cpu
from fastmotion.em.kernels.factors import precision_factors
from fastmotion.em.kernels.missing import add_moments_of_patterns, log_densities_of_patterns
from fastmotion.em.kernels.scalar import HALF_LOG_2_PI, exp_of_negative
from fastmotion.em.passes import GaussianPasses
from tests.reference.mixture import add_statistics

DTYPES = [np.float32, np.float64]


@cpu_kernel(fastmath="contract")
def exponentials(x, out):
    """Set out to the exponentials of x."""
    for i in range(x.shape[0]):
        out[i] = exp_of_negative(x[i])


def exponential_of(x):
    out = np.empty_like(x)
    exponentials(x, out)
    return out


def test_exponential():
    x = np.concatenate([-np.geomspace(1e-20, 708, 20_000), np.linspace(-2, 0, 20_000)])
    # Long doubles: the last digit of NumPy's own is not certain.
    exact = np.exp(np.longdouble(x))
    error = np.abs(exponential_of(x) - exact) / np.spacing(np.float64(exact))
    assert error.max() < 2.5
    assert exponential_of(np.array([0.0, -0.0])).tolist() == [1.0, 1.0]
    assert (exponential_of(x[:20_000]) <= 1).all()


def test_half_of_log_two_pi():
    assert 0.5 * np.log(2 * np.pi) == HALF_LOG_2_PI
    assert isinstance(HALF_LOG_2_PI, np.float64)


def test_exponential_of_what_is_too_small():
    x = np.array([-708.0, np.nextafter(-708.0, -800), -745.0, -1e9, -1e308, -np.inf])
    found = exponential_of(x)
    assert found[0] == pytest.approx(np.exp(-708.0), rel=1e-14)
    np.testing.assert_array_equal(found[1:], 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_normalised(rng, dtype):
    log_p = (100 * rng.normal(size=(50, 7)) - 1e4).astype(dtype)
    log_p[3, 2:] = -np.inf
    log_p[4, 0] = -3e38
    log_p[5] = log_p[5, 0]
    shares, norm = log_p.copy(), np.empty(len(log_p))
    cpu.normalise_rows(shares, norm)
    wide = log_p.astype(float)
    rtol = 1e-12 if dtype == np.float64 else 1e-6
    np.testing.assert_allclose(norm, logsumexp(wide, axis=1), rtol=1e-14)
    np.testing.assert_allclose(shares, np.exp(log_softmax(wide, axis=1)), rtol=rtol, atol=1e-37)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=rtol)


def test_a_row_of_no_density_belongs_to_nobody():
    log_p, norm = np.full((2, 3), -np.inf), np.empty(2)
    log_p[1, 1] = -5
    cpu.normalise_rows(log_p, norm)
    np.testing.assert_array_equal(log_p, [[0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(norm, [-np.inf, -5])


def some_passes(covariance_type, dtype, n_components=3, n_features=5):
    rng = np.random.default_rng(0)
    covariances = np.ones(n_components)
    if covariance_type == "full":
        covariances = np.repeat(np.eye(n_features)[None], n_components, axis=0) + 0.2
    means = rng.normal(size=(n_components, n_features))
    gaussians = Gaussians.from_covariances(means, covariances, covariance_type)
    log_weights = np.log(np.full(n_components, 1 / n_components))
    passes = GaussianPasses(gaussians, log_weights=log_weights, dtype=dtype)
    assert passes._dtype == dtype
    return passes


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_does_not_see_its_block(rng, covariance_type, dtype):
    passes = some_passes(covariance_type, dtype)
    X = rng.normal(size=(2 * cpu.BLOCK + 9, 5)).astype(dtype)
    whole = np.empty((len(X), 3))
    passes.log_densities(X, whole)
    for row in (0, cpu.BLOCK - 1, cpu.BLOCK, len(X) - 1):
        alone = np.empty((1, 3))
        passes.log_densities(X[row : row + 1], alone)
        np.testing.assert_array_equal(alone[0], whole[row])


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_left_of_the_block_before(rng, covariance_type, dtype):
    # The second block holds three samples; those of the first are far away.
    passes = some_passes(covariance_type, dtype)
    X = rng.normal(size=(cpu.BLOCK + 3, 5)).astype(dtype)
    X[: cpu.BLOCK] += 1e3
    weight = np.ones(len(X))
    weight[: cpu.BLOCK] = 0
    found, expected = passes.new_sums(), passes.new_sums()
    total = add_statistics(passes, X, weight, found)
    assert total == pytest.approx(
        add_statistics(passes, X[cpu.BLOCK :].copy(), np.ones(3), expected), rel=1e-13
    )
    found, expected = passes.moments(found), passes.moments(expected)
    np.testing.assert_allclose(found.counts, expected.counts, rtol=1e-12)
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_of_components_stays_empty(rng, covariance_type, dtype):
    passes = some_passes(covariance_type, dtype)
    sums = passes.new_sums()
    add_statistics(passes, rng.normal(size=(300, 5)).astype(dtype), np.ones(300), sums)
    shares = rng.random((300, 3)).astype(dtype)
    passes.add_moments(rng.normal(size=(300, 5)).astype(dtype), shares, sums)
    counts, first, _ = cpu.split_sums.py_func(sums.values, 3, 8)
    assert counts[3:].tolist() == [0.0]
    assert not first[3:].any() and not first[:, 5:].any()


# Factors of covariances


def some_covariances(rng, n_components, n_features, scales=1.0):
    roots = rng.normal(size=(n_components, n_features, n_features)) + 3 * np.eye(n_features)
    return scales * (roots @ np.swapaxes(roots, 1, 2)) * np.reshape(scales, (-1, 1))


@pytest.mark.parametrize("n_features", [1, 2, 3, 8, 31, 70])
def test_factors_are_those_of_the_inverse(rng, n_features):
    scales = 10.0 ** np.linspace(-3, 3, n_features)
    covariances = some_covariances(rng, 3, n_features, scales)
    factors = np.zeros_like(covariances)
    # Nothing above the diagonal is read.
    given = covariances + np.triu(np.full((n_features, n_features), np.nan), 1)
    assert precision_factors(given, factors) == -1
    np.testing.assert_array_equal(np.tril(factors, -1), 0)
    assert (np.diagonal(factors, axis1=1, axis2=2) > 0).all()
    identity = np.swapaxes(factors, 1, 2) @ covariances @ factors
    np.testing.assert_allclose(identity, np.repeat(np.eye(n_features)[None], 3, 0), atol=1e-9)


@pytest.mark.parametrize("place", [(0, 0), (1, 0), (1, 1), (3, 1), (3, 3)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e6])
@pytest.mark.parametrize("component", [0, 2])
def test_matrices_that_have_no_factor(rng, place, value, component):
    covariances = some_covariances(rng, 3, 4)
    covariances[component][place] = value
    assert precision_factors(covariances, np.zeros_like(covariances)) == component


def test_a_pivot_that_rounding_made_negative_is_raised():
    X = np.array([[0.0, 1e-3, np.nan], [0.5, 0.5, np.nan]])
    covariances = np.ones((1, 3, 3))
    covariances[0, 0, 1] = covariances[0, 1, 0] = 1 + 1e-14
    covariances[0, 2, 2] = 2
    starts, means, out = np.array([0, 2]), np.zeros((1, 3)), np.empty((2, 1))
    log_densities_of_patterns(X, starts, means, covariances, np.zeros(1), out)
    assert np.isfinite(out).all() and out[0, 0] < -1e5 < 0 < out[1, 0]
    counts, first, second = np.zeros(1), np.zeros((1, 3)), np.zeros((1, 3, 3))
    add_moments_of_patterns(X, starts, means, covariances, np.ones((2, 1)), counts, first, second)
    assert np.isfinite(first).all() and np.isfinite(second).all()


@pytest.mark.parametrize("scale", [1e-200, 1e-8, 1.0, 1e8, 1e200])
@pytest.mark.parametrize("n_features", [2, 5, 12])
def test_matrices_that_are_singular_to_rounding(rng, scale, n_features):
    vectors = scale**0.5 * rng.normal(size=(n_features - 1, n_features))
    singular = (vectors.T @ vectors)[None]
    assert precision_factors(singular, np.zeros_like(singular)) == 0
    thin = singular + 1e-10 * scale * np.eye(n_features)
    assert precision_factors(thin, np.zeros_like(thin)) == -1
