"""Gaussian mixtures of samples that come in parts, and merged ones."""

import copy

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as SklearnMixture

from fastmotion.em.gaussians import GaussianMoments
from fastmotion.mixture import GaussianMixture
from tests.reference import mixture as reference

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")

COVARIANCE_TYPES = reference.COVARIANCE_TYPES
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.fixture
def X():
    return reference.samples(300, 3, 3, distance=1.5)[0]


@pytest.fixture
def weight(rng):
    return rng.uniform(0, 2, 300)


def one_step(X, covariance_type, **parameters):
    """Return a mixture that takes one step from a start that it was given."""
    init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
    return GaussianMixture(**{"max_iter": 1, **init, **parameters})


def assert_same(found, expected, rtol=1e-9):
    for name in ATTRIBUTES:
        want = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(found, name), want, rtol=rtol, atol=rtol * np.abs(want).max(), err_msg=name
        )


def expected_moments(X, mixture, weight=None):
    """Return the moments that the reference expects under a fitted mixture."""
    shares = reference.expectation(X, reference.of(mixture))[1]
    shares = shares if weight is None else shares * weight[:, None]
    counts, means, scatter = reference.moments(X, shares)
    if mixture.covariance_type in ("diag", "spherical"):
        scatter = np.diagonal(scatter, axis1=1, axis2=2)
    return GaussianMoments(counts, means, scatter)


def assert_follows(mixture, moments, rtol=1e-9):
    """Compare a mixture with the one that moments make most likely."""
    scatter = moments.scatter
    if scatter.ndim == 2:
        scatter = scatter[:, :, None] * np.eye(scatter.shape[1])
    expected = reference.maximisation(
        moments.counts, moments.means, scatter, mixture.covariance_type, mixture.reg_covar
    )
    found = reference.of(mixture)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=rtol)
    np.testing.assert_allclose(found.means, expected.means, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(found.covariances, expected.covariances, rtol=rtol, atol=rtol)


# Merging


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_a_step_on_the_parts_is_a_step_on_the_whole(X, weight, covariance_type, offset):
    X = X + offset
    start = one_step(X, covariance_type)
    whole = copy.deepcopy(start).fit(X, sample_weight=weight)
    cuts = [slice(0, 40), slice(40, 41 + 100), slice(141, 300)]
    parts = [copy.deepcopy(start).fit(X[cut], sample_weight=weight[cut]) for cut in cuts]
    others = copy.deepcopy(parts[1:])
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert merged is parts[0]
    assert_same(merged, whole)
    assert merged.lower_bound_ == pytest.approx(whole.lower_bound_, rel=1e-9)
    assert merged.n_parts_ == 3
    np.testing.assert_allclose(merged.moments_.counts, whole.moments_.counts, rtol=1e-10)
    np.testing.assert_allclose(merged.moments_.scatter, whole.moments_.scatter, rtol=1e-7)
    for part, other in zip(parts[1:], others):
        for name in ATTRIBUTES:
            np.testing.assert_array_equal(getattr(part, name), getattr(other, name))
        np.testing.assert_array_equal(part.moments_.scatter, other.moments_.scatter)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_many_merged_steps_are_a_fit(X, covariance_type):
    start = reference.start(X, 3, covariance_type)
    whole = GaussianMixture(max_iter=5, tol=0.0, **reference.as_init(start, covariance_type)).fit(X)
    for _ in range(5):
        init = reference.as_init(start, covariance_type)
        first, second = (GaussianMixture(max_iter=1, **init).fit(X[i::2]) for i in range(2))
        start = reference.of(first.merge(second))
    assert_same(first, whole, 1e-7)


def test_merged_mixtures_have_the_dtype_of_the_first(X):
    start = one_step(X, "full")
    single = copy.deepcopy(start).fit(X.astype(np.float32))
    double = copy.deepcopy(start).fit(X)
    assert copy.deepcopy(single).merge(double).means_.dtype == np.float32
    assert copy.deepcopy(double).merge(single).means_.dtype == np.float64


UNLIKE = {
    "covariance_type": lambda X: one_step(X, "diag").fit(X),
    "n_components_": lambda X: GaussianMixture(2, random_state=0).fit(X),
    "n_features_in_": lambda X: one_step(X[:, :2], "full").fit(X[:, :2]),
    "moments": lambda X: one_step(X, "full", max_iter=0).fit(X),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_mixtures_do_not_merge(X, name):
    mixture = one_step(X, "full").fit(X)
    before = copy.deepcopy(mixture)
    with pytest.raises(ValueError, match=name):
        mixture.merge(UNLIKE[name](X))
    for attribute in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(mixture, attribute), getattr(before, attribute))


@pytest.mark.parametrize("other", [None, 3, "mixture", SklearnMixture()])
def test_only_mixtures_merge(X, other):
    with pytest.raises(TypeError, match="other must be a GaussianMixture"):
        one_step(X, "full").fit(X).merge(other)


# Parts


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parts_add_what_is_expected_of_them(X, weight, covariance_type, dtype):
    X = X.astype(dtype)
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0)
    mixture.partial_fit(X[:120])
    first = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X[:120])
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(mixture, name), getattr(first, name))
    # In float32 the moments of the first part are those of its last step, parameters are rounded.
    rtol = 1e-8 if dtype == "float64" else 1e-3
    for cut in (slice(120, 121), slice(121, 300)):
        moments = mixture.moments_.merge(expected_moments(X[cut], mixture, weight[cut]))
        assert mixture.partial_fit(X[cut], sample_weight=weight[cut]) is mixture
        np.testing.assert_allclose(mixture.moments_.counts, moments.counts, rtol=rtol)
        np.testing.assert_allclose(
            mixture.moments_.scatter, moments.scatter, rtol=rtol, atol=10 * rtol
        )
        assert_follows(mixture, moments, rtol)
    assert mixture.n_parts_ == 3
    assert mixture.means_.dtype == dtype


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_part_of_the_data_once_more_is_a_step(X, covariance_type):
    # After a step from θ0 to θ1, a part that is all data brings the moments under θ1 beside those
    # under θ0.
    mixture = one_step(X, covariance_type).fit(X)
    first = mixture.moments_
    second = expected_moments(X, mixture)
    mixture.partial_fit(X)
    assert_follows(mixture, first.merge(second))


@pytest.mark.parametrize("decay", [0.6, 0.9, 1.0])
def test_decay_forgets_the_first_parts(X, decay):
    mixture = GaussianMixture(3, learning_decay=decay, random_state=0).partial_fit(X[:100])
    for part, cut in enumerate((slice(100, 200), slice(200, 300)), start=2):
        share = part**-decay
        old, new = mixture.moments_, expected_moments(X[cut], mixture)
        total = 100.0 * part
        expected = old.scaled((1 - share) * total / old.counts.sum()).merge(
            new.scaled(share * total / new.counts.sum())
        )
        mixture.partial_fit(X[cut])
        np.testing.assert_allclose(mixture.moments_.counts, expected.counts, rtol=1e-8)
        np.testing.assert_allclose(mixture.moments_.scatter, expected.scatter, atol=1e-6)
        assert mixture.moments_.counts.sum() == pytest.approx(total)
        assert_follows(mixture, expected, 1e-7)


def test_parts_come_near_to_the_whole():
    X, _ = reference.samples(4000, 3, 2, seed=5, distance=8.0)
    whole = GaussianMixture(3, random_state=0).fit(X)
    parts = GaussianMixture(3, random_state=0)
    for start in range(0, 4000, 200):
        parts.partial_fit(X[start : start + 200])
    assert parts.score(X) > whole.score(X) - 0.01


def test_parts_with_gaps(X):
    X = X.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    mixture = GaussianMixture(2, random_state=0)
    for start in range(0, 300, 60):
        mixture.partial_fit(X[start : start + 60])
    assert all(np.isfinite(getattr(mixture, name)).all() for name in ATTRIBUTES)


@pytest.mark.parametrize("decay", [0.7, 1.0])
def test_a_part_of_which_nothing_is_known_changes_nothing(X, decay):
    mixture = GaussianMixture(2, random_state=0, learning_decay=decay).fit(X)
    before = copy.deepcopy(mixture)
    mixture.partial_fit(np.full((2, 3), np.nan))
    for name in (*ATTRIBUTES, "lower_bound_", "n_parts_"):
        np.testing.assert_array_equal(getattr(mixture, name), getattr(before, name))


@pytest.mark.parametrize("decay", [0.6, 1.0])
def test_the_bound_is_that_of_all_parts(X, decay):
    mixture = GaussianMixture(3, random_state=0, learning_decay=decay).partial_fit(X[:100])
    for part, cut in enumerate((slice(100, 160), slice(160, 161)), start=2):
        size = cut.stop - cut.start
        share = size / cut.stop if decay == 1 else part**-decay
        before, bound = mixture.lower_bound_, mixture.score(X[cut])
        mixture.partial_fit(X[cut])
        expected = (1 - share) * before + share * bound
        assert mixture.lower_bound_ == pytest.approx(expected, rel=1e-9)


def test_the_bound_of_the_first_part_after_no_iteration(X):
    mixture = GaussianMixture(3, max_iter=0, random_state=0).fit(X)
    assert mixture.moments_ is None
    assert mixture.lower_bound_ == -np.inf
    expected = mixture.score(X)
    assert mixture.partial_fit(X).lower_bound_ == pytest.approx(expected, rel=1e-12)


def test_parts_go_on_from_a_fit(X):
    mixture = GaussianMixture(2, random_state=0).fit(X[:200])
    moments = mixture.moments_.merge(expected_moments(X[200:], mixture))
    mixture.partial_fit(X[200:])
    assert_follows(mixture, moments, 1e-8)


def test_parts_of_other_features_are_errors(X):
    mixture = GaussianMixture(2, random_state=0).partial_fit(X)
    with pytest.raises(ValueError, match="2 features.*expecting 3"):
        mixture.partial_fit(X[:, :2])


def test_parts_that_no_component_is_near(X):
    mixture = GaussianMixture(3, random_state=0).partial_fit(X)
    mixture.partial_fit(X[:1] + 1e8)
    assert all(np.isfinite(getattr(mixture, name)).all() for name in ATTRIBUTES)
    assert (np.linalg.eigvalsh(mixture.covariances_) > 0).all()
