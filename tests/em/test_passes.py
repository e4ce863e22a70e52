"""Passes over data against densities by SciPy and moments by loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.em import passes as module
from fastmotion.em.gaussians import COVARIANCE_TYPES, Gaussians
from fastmotion.em.passes import GaussianPasses, chunks_of
from tests.reference import mixture as reference
from tests.reference.mixture import add_statistics

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)

# Samples, features, components: one block, its edges, several; the remainders of all tiles.
SIZES = [
    (1, 1, 1),
    (2, 3, 20),
    (127, 2, 1),
    (128, 4, 2),
    (129, 5, 3),
    (257, 8, 7),
    (300, 16, 16),
    (130, 33, 5),
    (140, 70, 3),
    (1000, 2, 4),
]
DTYPES = [np.float32, np.float64]
# Work in float32 is wanted to five digits.
RTOL = {np.float32: 1e-5, np.float64: 1e-10}


def some_mixture(covariance_type, n_components, n_features, seed=0, distance=1.0):
    rng = np.random.default_rng(seed)
    roots = 0.3 * rng.normal(size=(n_components, n_features, n_features)) / np.sqrt(n_features)
    roots += np.eye(n_features)
    packed = reference.packed(roots @ np.swapaxes(roots, 1, 2), covariance_type)
    weights = rng.uniform(0.5, 1.5, n_components)
    means = distance * rng.normal(size=(n_components, n_features))
    covariances = reference.matrices(packed, covariance_type, n_components, n_features)
    return reference.Mixture(weights / weights.sum(), means, covariances), packed


def make_case(size, covariance_type, dtype, offset=0.0, distance=1.0):
    """Return samples, the reference's mixture, and our passes over it."""
    n_samples, n_features, n_components = size
    mixture, packed = some_mixture(covariance_type, n_components, n_features, distance=distance)
    rng = np.random.default_rng(1)
    labels = rng.integers(n_components, size=n_samples)
    X = (mixture.means[labels] + rng.normal(size=(n_samples, n_features)) + offset).astype(dtype)
    mixture.means += offset
    gaussians = Gaussians.from_covariances(mixture.means, packed, covariance_type)
    return X, mixture, GaussianPasses(gaussians, log_weights=np.log(mixture.weights), dtype=dtype)


def moments_about(X, shares, mixture, covariance_type):
    """Return the reference's moments, computed near the origin."""
    centre = np.round(mixture.means[0])
    counts, means, scatter = reference.moments(np.float64(X) - centre, shares)
    if covariance_type in ("diag", "spherical"):
        scatter = np.diagonal(scatter, axis1=1, axis2=2)
    return counts, means + centre, scatter


def assert_moments(found, expected, rtol):
    counts, means, scatter = expected
    np.testing.assert_allclose(found.counts, counts, rtol=rtol, atol=rtol * counts.max())
    held = counts > 1e-6
    np.testing.assert_allclose(found.means[held], means[held], rtol=0, atol=10 * rtol)
    scale = max(1.0, np.abs(scatter).max())
    np.testing.assert_allclose(found.scatter, scatter, rtol=0, atol=10 * rtol * scale)
    assert np.isfinite(found.means).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_densities(size, covariance_type, dtype):
    X, mixture, passes = make_case(size, covariance_type, dtype)
    expected = np.log(mixture.weights) + reference.log_densities(
        X, mixture.means, mixture.covariances
    )
    for out_dtype, rtol in ((np.float64, 1e-10), (np.float32, 1e-6)):
        out = np.full(expected.shape, np.nan, out_dtype)
        passes.log_densities(X, out)
        np.testing.assert_allclose(out, expected, rtol=max(rtol, RTOL[dtype]))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics(size, covariance_type, dtype):
    X, mixture, passes = make_case(size, covariance_type, dtype)
    weight = np.random.default_rng(2).uniform(0, 2, len(X))
    weight[::7] = 0
    likelihood, shares = reference.expectation(X, mixture)
    sums = passes.new_sums()
    found = add_statistics(passes, X, weight, sums)
    assert found == pytest.approx(likelihood @ weight, rel=RTOL[dtype])
    expected = moments_about(X, shares * weight[:, None], mixture, covariance_type)
    assert_moments(passes.moments(sums), expected, RTOL[dtype])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_of_given_responsibilities(size, covariance_type, dtype):
    X, mixture, passes = make_case(size, covariance_type, dtype)
    shares = np.random.default_rng(3).random((len(X), size[2])).astype(dtype)
    shares[::3, 0] = 0
    sums = passes.new_sums()
    passes.add_moments(X, shares, sums)
    expected = moments_about(X, np.float64(shares), mixture, covariance_type)
    assert_moments(passes.moments(sums), expected, RTOL[dtype])


@pytest.mark.parametrize("distance", [1.0, 1e6])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_far_from_the_origin_and_from_each_other(covariance_type, dtype, distance):
    X, mixture, passes = make_case(
        (300, 3, 4), covariance_type, dtype, offset=1e4 * distance, distance=distance
    )
    likelihood, shares = reference.expectation(X, mixture)
    sums = passes.new_sums()
    # Far from each other components are beyond float32, and work is done in float64.
    is_double = dtype == np.float64 or distance > 1
    rtol = 1e-8 if is_double else 1e-5
    assert passes._dtype == (np.float64 if is_double else np.float32)
    assert add_statistics(passes, X, np.ones(len(X)), sums) == pytest.approx(
        likelihood.sum(), rel=0.1 * rtol
    )
    counts, means, scatter = moments_about(X, shares, mixture, covariance_type)
    found = passes.moments(sums)
    np.testing.assert_allclose(found.counts, counts, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(found.means, means, rtol=1e-12, atol=rtol)
    np.testing.assert_allclose(found.scatter, scatter, rtol=10 * rtol, atol=100 * rtol)


# Where float32 suffices


def passes_within(share, limit, covariance_type):
    """Return samples, the reference's mixture, and passes at a share of a limit of float32.

    The limit is that of distances from the centre, in standard deviations, or that of correlations.
    """
    far, correlation = 0.0, 0.0
    if limit == "reach":
        far = share * module._FLOAT32_REACH
    else:
        correlation = np.sqrt(1 - 1 / (share * module._FLOAT32_STRETCH) ** 2)
    covariance = np.array([[1, correlation], [correlation, 1]])
    matrices = np.array([covariance, 4 * covariance, covariance])
    if covariance_type in ("tied", "spherical"):
        matrices[1] = covariance
    # Two of the three are in one place, which is the centre however it is chosen.
    mixture = reference.Mixture(np.full(3, 1 / 3), np.array([[0, 0], [0, 0], [far, 0]]), matrices)
    rng = np.random.default_rng(0)
    roots = np.linalg.cholesky(matrices)[np.arange(600) % 3]
    X = mixture.means[np.arange(600) % 3] + np.einsum(
        "nij,nj->ni", roots, rng.normal(size=(600, 2))
    )
    packed = reference.packed(matrices, covariance_type)
    gaussians = Gaussians.from_covariances(mixture.means, packed, covariance_type)
    log_weights = np.log(mixture.weights)
    X = X.astype(np.float32)
    return X, mixture, GaussianPasses(gaussians, log_weights=log_weights, dtype=np.float32)


LIMITS = [("reach", covariance_type) for covariance_type in COVARIANCE_TYPES]
LIMITS += [("stretch", "full"), ("stretch", "tied")]


@pytest.mark.parametrize(("limit", "covariance_type"), LIMITS)
@pytest.mark.parametrize(("share", "work"), [(0.99, np.float32), (1.01, np.float64)])
def test_limits_of_single_precision(limit, covariance_type, share, work):
    X, mixture, passes = passes_within(share, limit, covariance_type)
    assert passes._dtype == work
    likelihood, shares = reference.expectation(X, mixture)
    log_densities = np.empty((len(X), 3))
    passes.log_densities(X, log_densities)
    sums = passes.new_sums()
    total = add_statistics(passes, X, np.ones(len(X)), sums)
    rtol = 1e-5 if work == np.float32 else 1e-10
    assert total == pytest.approx(likelihood.sum(), rel=rtol)
    expected = moments_about(X, shares, mixture, covariance_type)
    assert_moments(passes.moments(sums), expected, rtol)
    # Densities themselves may lose two of the seven digits to the limits.
    expected = np.log(1 / 3) + reference.log_densities(X, mixture.means, mixture.covariances)
    error = np.abs(log_densities - expected) / (1 + np.abs(expected))
    assert error.max() < (1e-4 if work == np.float32 else 1e-10)


def test_double_precision_is_never_narrowed():
    passes = make_case((10, 2, 2), "full", np.float64)[2]
    assert passes._dtype == np.float64
    assert GaussianPasses(passes.gaussians)._dtype == np.float64


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_sums_of_parts_add_to_those_of_the_whole(covariance_type):
    X, _, passes = make_case((500, 3, 4), covariance_type, np.float64)
    weight = np.random.default_rng(2).uniform(0, 2, len(X))
    whole, one_after_another, added = (passes.new_sums() for _ in range(3))
    total = add_statistics(passes, X, weight, whole)
    parts = 0.0
    for low, high in ((0, 1), (1, 130), (130, 130), (130, 386), (386, 500)):
        add_statistics(passes, X[low:high], weight[low:high], one_after_another)
        part = passes.new_sums()
        parts += add_statistics(passes, X[low:high], weight[low:high], part)
        added.add(part)
    assert parts == pytest.approx(total, rel=1e-12)
    expected = passes.moments(whole)
    for sums in (one_after_another, added):
        found = passes.moments(sums)
        np.testing.assert_allclose(found.counts, expected.counts, rtol=1e-12)
        np.testing.assert_allclose(found.means, expected.means, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-10, atol=1e-10)
    assert sums.nbytes >= expected.scatter.nbytes // 2


def test_samples_may_be_read_only():
    X, _, passes = make_case((200, 3, 4), "full", np.float64)
    found, expected = passes.new_sums(), passes.new_sums()
    total = add_statistics(passes, X, np.ones(len(X)), expected)
    X.flags.writeable = False
    assert add_statistics(passes, X, np.ones(len(X)), found) == total
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_no_weight_no_statistics(covariance_type):
    X, _, passes = make_case((200, 3, 4), covariance_type, np.float64)
    sums = passes.new_sums()
    assert add_statistics(passes, X, np.zeros(len(X)), sums) == 0
    moments = passes.moments(sums)
    assert not moments.counts.any() and not moments.scatter.any()
    assert np.isfinite(moments.means).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_component_without_weight_gets_nothing(covariance_type):
    X, mixture, passes = make_case((200, 3, 2), covariance_type, np.float64)
    passes = GaussianPasses(passes.gaussians, log_weights=np.array([0.0, -np.inf]))
    sums = passes.new_sums()
    total = add_statistics(passes, X, np.ones(len(X)), sums)
    mixture.weights = np.array([1.0, 0.0])
    assert total == pytest.approx(reference.expectation(X, mixture)[0].sum(), rel=1e-10)
    np.testing.assert_allclose(passes.moments(sums).counts, [200, 0])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("far", [1e3, 1e8, 1e150])
def test_samples_far_from_all_components_belong_to_one(covariance_type, far):
    X, _, passes = make_case((200, 3, 4), covariance_type, np.float64)
    X[17] = [far, 0, -far]
    sums = passes.new_sums()
    total = add_statistics(passes, X, np.ones(len(X)), sums)
    assert np.isfinite(total) and total < -0.01 * far**2
    moments = passes.moments(sums)
    assert moments.counts.sum() == pytest.approx(len(X), rel=1e-9)
    assert np.isfinite(moments.means).all()


# Parts


@some
@given(n_samples=st.integers(1, 5_000_000), work=st.floats(1, 1e7), sum_bytes=st.integers(8, 10**8))
def test_chunks_are_all_samples_in_order(n_samples, work, sum_bytes):
    chunks = chunks_of(n_samples, work, sum_bytes)
    assert chunks[0].start == 0 and chunks[-1].stop == n_samples
    for left, right in zip(chunks, chunks[1:]):
        assert left.stop == right.start
    assert all(chunk.start < chunk.stop for chunk in chunks)
    assert len(chunks) <= 32 and (len(chunks) <= 4 or len(chunks) * sum_bytes <= 24e6)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_many_samples_are_shared_out(covariance_type):
    passes = make_case((10, 8, 16), covariance_type, np.float64)[2]
    assert len(passes.chunks(1_000_000)) >= 8
    assert len(passes.chunks(100)) == 1


# What moves the samples moves the moments


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@some
@given(data=st.data())
def test_shift_and_scale(covariance_type, data):
    shift = data.draw(st.floats(-1e3, 1e3))
    scale = 2.0 ** data.draw(st.integers(-12, 12))
    X, mixture, passes = make_case((60, 3, 2), covariance_type, np.float64)
    packed = reference.packed(mixture.covariances, covariance_type)
    moved = GaussianPasses(
        Gaussians.from_covariances(
            scale * (mixture.means + shift), scale**2 * packed, covariance_type
        ),
        log_weights=np.log(mixture.weights),
    )
    weight = np.ones(len(X))
    sums, moved_sums = passes.new_sums(), moved.new_sums()
    plain = add_statistics(passes, X, weight, sums)
    found = add_statistics(moved, scale * (X + shift), weight, moved_sums)
    assert found == pytest.approx(plain - X.size * np.log(scale), rel=1e-8)
    left, right = passes.moments(sums), moved.moments(moved_sums)
    np.testing.assert_allclose(right.counts, left.counts, rtol=1e-8)
    np.testing.assert_allclose(
        right.means / scale - shift, left.means, atol=1e-9 * (1 + abs(shift))
    )
    np.testing.assert_allclose(right.scatter / scale**2, left.scatter, rtol=1e-7, atol=1e-7)
