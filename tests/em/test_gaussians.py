"""Gaussian components and the moments that they are estimated from."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.em.gaussians import (
    COVARIANCE_TYPES,
    GaussianMoments,
    Gaussians,
    count_covariance_parameters,
    maximise,
)
from tests.reference import mixture as reference

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def moments_of(X, shares, covariance_type):
    """Return the moments of samples, by the reference."""
    counts, means, scatter = reference.moments(X, shares)
    if covariance_type in ("diag", "spherical"):
        scatter = np.diagonal(scatter, axis1=1, axis2=2).copy()
    return GaussianMoments(counts, means, scatter)


def assert_same(found, expected, rtol=1e-10):
    held = expected.counts > 0
    np.testing.assert_allclose(found.counts, expected.counts, rtol=rtol)
    scale = np.abs(expected.means).max(initial=0)
    np.testing.assert_allclose(found.means[held], expected.means[held], rtol=0, atol=rtol * scale)
    scale = np.abs(expected.scatter).max(initial=0)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=0, atol=rtol * scale)


def some_shares(rng, n_samples, n_components, share_of_none=0.3):
    shares = rng.random((n_samples, n_components))
    shares[rng.random(shares.shape) < share_of_none] = 0
    return shares


def some_covariances(rng, covariance_type, n_components, n_features):
    roots = rng.normal(size=(n_components, n_features, n_features)) + 2 * np.eye(n_features)
    return reference.packed(roots @ np.swapaxes(roots, 1, 2), covariance_type)


# Parameters


@pytest.mark.parametrize("n_features", [1, 2, 9])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_factors_are_those_of_the_inverse(rng, covariance_type, n_features):
    covariances = some_covariances(rng, covariance_type, 3, n_features)
    means = rng.normal(size=(3, n_features))
    made = Gaussians.from_covariances(means, covariances, covariance_type)
    precisions = reference.packed(
        np.linalg.inv(reference.matrices(covariances, covariance_type, 3, n_features)),
        covariance_type,
    )
    if covariance_type == "spherical":
        precisions = 1 / covariances
    other = Gaussians.from_precisions(means, precisions, covariance_type)
    for gaussians in (made, other):
        np.testing.assert_allclose(gaussians.covariances, covariances, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(gaussians.precisions(), precisions, rtol=1e-9, atol=1e-10)
        assert gaussians.precisions_cholesky.shape == np.shape(covariances)
        factors = gaussians.full_precisions_cholesky()
        assert factors.shape == (3, n_features, n_features)
        np.testing.assert_array_equal(np.tril(factors, -1), 0)
        full = reference.matrices(covariances, covariance_type, 3, n_features)
        identity = np.swapaxes(factors, 1, 2) @ full @ factors
        np.testing.assert_allclose(
            identity, np.broadcast_to(np.eye(n_features), full.shape), atol=1e-9
        )
        np.testing.assert_allclose(gaussians.full_covariances(), full, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(
            gaussians.half_log_determinants(),
            -0.5 * np.linalg.slogdet(full)[1],
            rtol=1e-9,
            atol=1e-12,
        )
        np.testing.assert_allclose(
            gaussians.deviations(), np.sqrt(np.diagonal(full, axis1=1, axis2=2)), rtol=1e-9
        )
        assert (gaussians.n_components, gaussians.n_features) == (3, n_features)
        assert gaussians.means.dtype == gaussians.covariances.dtype == np.float64


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_parameters_are_copies(rng, covariance_type):
    means, covariances = np.zeros((2, 3)), some_covariances(rng, covariance_type, 2, 3)
    for make in (Gaussians.from_covariances, Gaussians.from_precisions):
        before = covariances.copy()
        gaussians = make(means, covariances, covariance_type)
        gaussians.means[...] = 5
        gaussians.covariances[...] = 5
        np.testing.assert_array_equal(means, 0)
        np.testing.assert_array_equal(covariances, before)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_some_components_can_be_taken(rng, covariance_type):
    covariances = some_covariances(rng, covariance_type, 4, 2)
    gaussians = Gaussians.from_covariances(rng.normal(size=(4, 2)), covariances, covariance_type)
    part = gaussians.take([2, 0])
    np.testing.assert_array_equal(part.means, gaussians.means[[2, 0]])
    np.testing.assert_array_equal(part.full_covariances(), gaussians.full_covariances()[[2, 0]])
    np.testing.assert_array_equal(
        part.full_precisions_cholesky(), gaussians.full_precisions_cholesky()[[2, 0]]
    )


def test_free_parameters():
    counted = {t: count_covariance_parameters(t, 3, 4) for t in COVARIANCE_TYPES}
    assert counted == {"full": 30, "tied": 10, "diag": 12, "spherical": 3}
    gaussians = Gaussians.from_covariances(np.zeros((3, 4)), np.ones(3), "spherical")
    assert gaussians.n_parameters == 12 + 3


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_covariances_that_are_not_positive_definite(covariance_type, value):
    covariances = reference.packed(np.repeat(np.eye(2)[None], 3, axis=0), covariance_type)
    covariances.flat[0] = value
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        Gaussians.from_covariances(np.zeros((3, 2)), covariances, covariance_type)


# Moments


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@some
@given(data=st.data())
def test_moments_of_parts_merge_to_those_of_the_whole(covariance_type, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    n_samples, n_components = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4))
    n_features = data.draw(st.integers(1, 4))
    offset = data.draw(st.sampled_from([0.0, 1e4]))
    X = rng.normal(size=(n_samples, n_features)) + offset
    shares = some_shares(rng, n_samples, n_components)
    whole = moments_of(X, shares, covariance_type)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_samples), max_size=3)))
    merged = GaussianMoments.empty(n_components, n_features, covariance_type)
    assert merged.scatter.shape == whole.scatter.shape
    for low, high in zip([0, *cuts], [*cuts, n_samples]):
        merged = merged.merge(moments_of(X[low:high], shares[low:high], covariance_type))
    assert_same(merged, whole)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_merging_changes_neither_part_and_has_no_order(rng, covariance_type):
    X, shares = rng.normal(size=(20, 3)), some_shares(rng, 20, 4, 0.8)
    parts = [moments_of(X[i::2], shares[i::2], covariance_type) for i in range(2)]
    before = [np.concatenate([v.ravel() for v in vars(part).values()]) for part in parts]
    one, other = parts[0].merge(parts[1]), parts[1].merge(parts[0])
    assert_same(one, other, 1e-13)
    for part, values in zip(parts, before):
        after = np.concatenate([v.ravel() for v in vars(part).values()])
        np.testing.assert_array_equal(after, values)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_means_of_no_samples_do_not_count(rng, covariance_type):
    X, shares = rng.normal(size=(20, 3)), rng.random((20, 2))
    shares[:, 1] = 0
    held = moments_of(X, shares, covariance_type)
    strange = GaussianMoments.empty(2, 3, covariance_type)
    strange.means[...] = 1e12
    for merged in (held.merge(strange), strange.merge(held)):
        np.testing.assert_array_equal(merged.counts, held.counts)
        np.testing.assert_allclose(merged.means[0], held.means[0], atol=1e-3)
        np.testing.assert_allclose(merged.scatter, held.scatter, rtol=1e-12)
        assert np.isfinite(merged.means).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_moments_far_from_the_origin(rng, covariance_type):
    near = np.round(rng.normal(size=(400, 2)), 3)
    shares = rng.random((400, 2))
    parts = [moments_of(near[i::4] + 2.0**30, shares[i::4], covariance_type) for i in range(4)]
    merged = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))
    expected = moments_of(near + 2.0**30 - 2.0**30, shares, covariance_type)
    np.testing.assert_allclose(merged.scatter, expected.scatter, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_scaled_moments_are_those_of_scaled_weights(rng, covariance_type):
    X, shares = rng.normal(size=(15, 2)), rng.random((15, 3))
    moments = moments_of(X, shares, covariance_type)
    assert_same(moments.scaled(0.25), moments_of(X, 0.25 * shares, covariance_type), 1e-13)


# The M-step


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n_features", [1, 3])
def test_maximised_are_the_covariances_of_the_samples(rng, covariance_type, n_features):
    X, shares = rng.normal(size=(50, n_features)), rng.random((50, 3))
    found = maximise(moments_of(X, shares, covariance_type), covariance_type, 0.01)
    expected = reference.maximisation(*reference.moments(X, shares), covariance_type, 0.01)
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-12)
    np.testing.assert_allclose(found.full_covariances(), expected.covariances, rtol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_maximised_follow_shift_and_scale(rng, covariance_type, scale):
    X, shares = rng.normal(size=(50, 2)), rng.random((50, 3))
    plain = maximise(moments_of(X, shares, covariance_type), covariance_type, 0.0)
    moved = maximise(moments_of(scale * (X + 3), shares, covariance_type), covariance_type, 0.0)
    np.testing.assert_allclose(moved.means, scale * (plain.means + 3), rtol=1e-12)
    np.testing.assert_allclose(
        moved.covariances, scale**2 * plain.covariances, rtol=1e-9, atol=1e-10 * scale**2
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_moments_stay_as_they_are(rng, covariance_type):
    moments = moments_of(rng.normal(size=(30, 2)), rng.random((30, 3)), covariance_type)
    before = moments.scatter.copy()
    maximise(moments, covariance_type, 10.0)
    np.testing.assert_array_equal(moments.scatter, before)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_component_without_samples_gets_the_least_covariance(rng, covariance_type):
    shares = rng.random((30, 2))
    shares[:, 1] = 0
    moments = moments_of(rng.normal(size=(30, 2)), shares, covariance_type)
    found = maximise(moments, covariance_type, 1e-3)
    assert np.isfinite(found.precisions_cholesky).all()
    if covariance_type != "tied":
        np.testing.assert_allclose(found.full_covariances()[1], 1e-3 * np.eye(2), rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_singular_covariances_are_errors_without_a_regulariser(covariance_type):
    X = np.zeros((5, 2))
    moments = moments_of(X, np.full((5, 2), 0.5), covariance_type)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        maximise(moments, covariance_type, 0.0)


def test_a_singular_covariance_is_widened_and_named():
    counts, means = np.full(3, 10.0), np.zeros((3, 2))
    scatter = np.repeat(10 * np.eye(2)[None], 3, axis=0)
    scatter[1] = 1e15 * np.array([[1.0, 1 + 1e-9], [1 + 1e-9, 1.0]])
    found = maximise(GaussianMoments(counts, means, scatter), "full", 1e-6)
    assert found.rescued == (1,)
    values = np.linalg.eigvalsh(found.covariances[1])
    assert values[0] > 0 and values[1] == pytest.approx(2e14)
    np.testing.assert_allclose(found.covariances[[0, 2]], [(1 + 1e-6) * np.eye(2)] * 2)
    assert maximise(GaussianMoments(counts, means, scatter), "tied", 1e-6).rescued == (0,)
    scatter[1] = scatter[0]
    assert maximise(GaussianMoments(counts, means, scatter), "full", 1e-6).rescued == ()


# Units as far apart as metres and micrometres, squared: least beside greatest, these are singular,
# but not as shares of their variances.
UNITS = np.array([1e6, 1e6, 1e-2])


def moments_of_which_one_is_singular(rng, units):
    """Return moments of two components, and of a third between them whose features are tied."""
    X = rng.normal(size=(60, 3))
    X[20:40, 1] = X[20:40, 0]
    shares = np.repeat(np.eye(3), 20, axis=0)
    return moments_of(X * units, shares, "full")


def test_a_rescue_leaves_healthy_components_as_they_are(rng):
    moments = moments_of_which_one_is_singular(rng, UNITS)
    found = maximise(moments, "full", 1e-9)
    assert found.rescued == (1,)
    for k in (0, 2):
        alone = GaussianMoments(*(part[[k]] for part in vars(moments).values()))
        expected = maximise(alone, "full", 1e-9)
        np.testing.assert_array_equal(found.covariances[k], expected.covariances[0])
        np.testing.assert_array_equal(found.precisions_cholesky[k], expected.precisions_cholesky[0])


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_units_of_features_do_not_matter_to_a_rescue(covariance_type):
    counts, means = np.full(1, 20.0), np.zeros((1, 3))
    root = np.random.default_rng(0).normal(size=(20, 3))
    root[:, 1] = root[:, 0]
    scatter = (root.T @ root)[None]
    plain = maximise(GaussianMoments(counts, means, scatter), covariance_type, 1e-30)
    scaled = maximise(
        GaussianMoments(counts, means, scatter * UNITS[:, None] * UNITS), covariance_type, 1e-30
    )
    assert plain.rescued == scaled.rescued == (0,)
    units = UNITS[:, None] * UNITS
    np.testing.assert_allclose(scaled.covariances / units, plain.covariances, rtol=1e-9)
    # Nothing grows by more than the least eigenvalue is raised.
    np.testing.assert_allclose(plain.full_covariances(), scatter / 20, rtol=1e-8)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_moments_that_are_not_finite_are_errors(covariance_type, value):
    moments = GaussianMoments.empty(2, 2, covariance_type)
    moments.counts[...] = 3
    moments.scatter.flat[:] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            maximise(moments, covariance_type, 1e-6)
