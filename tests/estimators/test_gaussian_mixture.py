"""Gaussian mixtures against scikit-learn's and against the naive reference."""

import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture

from fastmotion.mixture import GaussianMixture
from tests.reference import mixture as reference

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")

COVARIANCE_TYPES = reference.COVARIANCE_TYPES
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
RTOL = {"float64": 1e-9, "float32": 1e-5}
N_ITER = 8


def both(X, **parameters):
    """Return scikit-learn's mixture and ours after the same rounds from the same start."""
    parameters = {"tol": 0.0, "max_iter": N_ITER, **parameters}
    return SklearnMixture(**parameters).fit(np.float64(X)), GaussianMixture(**parameters).fit(X)


def assert_attributes(found, expected, rtol):
    for name in ATTRIBUTES:
        want = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(found, name), want, rtol=rtol, atol=rtol * np.abs(want).max(), err_msg=name
        )


# From the same start


@pytest.mark.parametrize("n_features", [1, 2, 7, 20])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_scikit_learn(dtype, covariance_type, n_features):
    X = reference.samples(700, 4, n_features)[0].astype(dtype)
    init = reference.as_init(reference.start(X, 4, covariance_type), covariance_type)
    expected, found = both(X, **init)
    rtol = RTOL[dtype]
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=rtol)
    assert found.lower_bound_ == found.lower_bounds_[-1]
    assert found.score(X) == pytest.approx(expected.score(np.float64(X)), rel=rtol)
    assert found.n_iter_ == expected.n_iter_ == N_ITER
    assert not found.converged_
    # In float32, rounding moves what a few samples share between two components.
    assert_attributes(found, expected, 1e-8 if dtype == "float64" else 1e-3)
    for name in ATTRIBUTES:
        assert getattr(found, name).dtype == dtype
        assert getattr(found, name).shape == getattr(expected, name).shape


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_methods_equal_scikit_learn(covariance_type):
    X, _ = reference.samples(900, 3, 4, distance=1.5)
    init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
    expected, found = both(X[:500], **init)
    new = X[500:]
    for method in ("score_samples", "predict_proba"):
        np.testing.assert_allclose(
            getattr(found, method)(new), getattr(expected, method)(new), rtol=1e-7, atol=1e-12
        )
    np.testing.assert_array_equal(found.predict(new), expected.predict(new))
    for method in ("score", "aic", "bic"):
        assert getattr(found, method)(new) == pytest.approx(
            getattr(expected, method)(new), rel=1e-9
        )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("init_params", ["random", "random_from_data"])
def test_seeds_draw_the_same_starts(init_params, covariance_type):
    if (init_params, covariance_type) == ("random_from_data", "tied"):
        pytest.skip("scikit-learn divides the scatter of all samples by the number of components")
    X, _ = reference.samples(400, 3, 3)
    expected, found = both(
        X,
        n_components=3,
        covariance_type=covariance_type,
        init_params=init_params,
        n_init=3,
        random_state=11,
        # More than the rounding errors of scikit-learn's variances of single samples.
        reg_covar=0.1,
    )
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-9)
    assert_attributes(found, expected, 1e-6)


@pytest.mark.parametrize("given", ["weights_init", "means_init", "precisions_init"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_part_of_the_start_may_be_given(covariance_type, given):
    X, _ = reference.samples(300, 3, 2)
    init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
    for name in {"weights_init", "means_init", "precisions_init"} - {given}:
        del init[name]
    expected, found = both(X, init_params="random", random_state=4, **init)
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_without_rounds_the_start_is_the_result(covariance_type, dtype):
    X = reference.samples(100, 3, 4)[0].astype(dtype)
    start = reference.start(X, 3, covariance_type)
    init = reference.as_init(start, covariance_type)
    state = np.random.RandomState(0)
    mixture = GaussianMixture(max_iter=0, random_state=state, **init).fit(X)
    rtol = 1e-10 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(mixture.weights_, start.weights, rtol=rtol)
    np.testing.assert_allclose(mixture.means_, start.means, rtol=rtol)
    wanted = init["precisions_init"]
    np.testing.assert_allclose(mixture.precisions_, wanted, rtol=rtol, atol=rtol)
    factor = mixture.precisions_cholesky_
    if covariance_type in ("full", "tied"):
        np.testing.assert_array_equal(np.tril(factor, -1), 0)
        factor = factor @ np.swapaxes(factor, -1, -2)
    else:
        factor = factor**2
    np.testing.assert_allclose(factor, wanted, rtol=rtol, atol=rtol)
    assert mixture.n_iter_ == 0
    assert list(mixture.lower_bounds_) == []
    # Nothing was left to draw.
    assert state.uniform() == np.random.RandomState(0).uniform()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_convergence_is_scikit_learns(covariance_type):
    X, _ = reference.samples(500, 3, 2)
    init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
    expected, found = both(X, tol=1e-3, max_iter=200, **init)
    assert found.converged_ and expected.converged_
    assert found.n_iter_ == expected.n_iter_ == len(found.lower_bounds_)
    assert isinstance(found.n_iter_, int) and isinstance(found.converged_, bool)
    assert all(isinstance(bound, float) for bound in found.lower_bounds_)


# Far from the origin, where scikit-learn's own sums of squares lose the digits: the reference
# works on samples from which the offset was taken, which changes none of their bits.


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_from_the_origin(dtype, covariance_type):
    offset = 1e4
    far = (reference.samples(500, 3, 3)[0] + offset).astype(dtype)
    near = np.float64(far) - offset
    start = reference.start(near, 3, covariance_type)
    expected, bounds = reference.run(near, start, covariance_type, N_ITER)
    init = reference.as_init(start, covariance_type)
    init["means_init"] = init["means_init"] + offset
    found = GaussianMixture(max_iter=N_ITER, tol=0.0, **init).fit(far)
    rtol = RTOL[dtype]
    np.testing.assert_allclose(found.lower_bounds_, bounds, rtol=rtol)
    expected_score = reference.expectation(near, expected)[0].mean()
    assert found.score(far) == pytest.approx(expected_score, rel=rtol)
    result = reference.of(found)
    atol = 1e-8 if dtype == "float64" else 2e-3
    np.testing.assert_allclose(result.means - offset, expected.means, atol=atol)
    np.testing.assert_allclose(result.covariances, expected.covariances, atol=atol)
    np.testing.assert_allclose(result.weights, expected.weights, atol=atol)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_of_unlike_scales_and_offsets(dtype, covariance_type):
    scales, offsets = np.array([1.0, 16.0, 1 / 16]), np.array([1e4, -1e5, 0.0])
    far = (reference.samples(400, 3, 3)[0] * scales + offsets).astype(dtype)
    near = np.float64(far) - offsets
    start = reference.start(near, 3, covariance_type)
    _, bounds = reference.run(near, start, covariance_type, 4)
    init = reference.as_init(start, covariance_type)
    init["means_init"] = init["means_init"] + offsets
    found = GaussianMixture(max_iter=4, tol=0.0, **init).fit(far)
    np.testing.assert_allclose(found.lower_bounds_, bounds, rtol=RTOL[dtype])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_narrow_components_far_apart(covariance_type):
    # Each component is 1e5 of its own widths away from the others.
    X, _ = reference.samples(300, 3, 2, distance=1e5)
    start = reference.start(X, 3, covariance_type)
    expected, bounds = reference.run(X, start, covariance_type, 6)
    init = reference.as_init(start, covariance_type)
    found = GaussianMixture(max_iter=6, tol=0.0, **init).fit(X)
    np.testing.assert_allclose(found.lower_bounds_, bounds, rtol=1e-9)
    result = reference.of(found)
    np.testing.assert_allclose(result.covariances, expected.covariances, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_an_outlier_takes_no_digits_from_the_others(covariance_type):
    X, labels = reference.samples(300, 3, 2)
    X = np.concatenate([X, [[1e13, -1e13]]])
    means = np.array([X[:300][labels == k].mean(axis=0) for k in range(3)] + [X[300]])
    start = reference.Mixture(np.full(4, 0.25), means, np.repeat(np.eye(2)[None], 4, axis=0))
    expected, bounds = reference.run(X, start, covariance_type, 5)
    init = reference.as_init(start, covariance_type)
    found = GaussianMixture(max_iter=5, tol=0.0, **init).fit(X)
    np.testing.assert_allclose(found.lower_bounds_, bounds, rtol=1e-9)
    result = reference.of(found)
    np.testing.assert_allclose(result.means, expected.means, rtol=1e-9)
    np.testing.assert_allclose(result.covariances, expected.covariances, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("outlier", [1e8, -1e8, 1e10, 1e13])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_of_two_components_takes_no_digits_from_the_other(dtype, outlier, covariance_type):
    X = np.random.default_rng(0).normal(size=(300, 2))
    X = np.concatenate([X, np.full((1, 2), outlier)]).astype(dtype)
    means = np.array([[0.0, 0.0], X[300]])
    start = reference.Mixture(
        np.array([300, 1]) / 301, means, np.repeat(np.eye(2)[None], 2, axis=0)
    )
    init = reference.as_init(start, covariance_type)
    mixture = GaussianMixture(max_iter=3, tol=0.0, **init).fit(X)
    expected = np.float64(X[:300]).mean(axis=0)
    atol = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(mixture.means_[0], expected, rtol=0, atol=atol)
    np.testing.assert_allclose(mixture.means_[1], X[300], rtol=1e-6)
    if covariance_type != "tied":
        found = np.diagonal(reference.of(mixture).covariances[0])
        variances = np.float64(X[:300]).var(axis=0)
        if covariance_type == "spherical":
            variances = np.full(2, variances.mean())
        np.testing.assert_allclose(found, variances + 1e-6, rtol=1e4 * atol)


# What a fit promises


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_lower_bound_never_falls(dtype, covariance_type):
    X = reference.samples(600, 4, 3, distance=1.0)[0].astype(dtype)
    init = reference.as_init(reference.start(X, 4, covariance_type), covariance_type)
    mixture = GaussianMixture(reg_covar=0.0, tol=0.0, max_iter=60, **init).fit(X)
    steps = np.diff(mixture.lower_bounds_)
    assert steps.min() > (-1e-12 if dtype == "float64" else -1e-6)
    assert mixture.score(X) >= mixture.lower_bound_ - 1e-6


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_and_jobs_change_nothing(dtype, covariance_type):
    X = reference.samples(30_000, 5, 4, distance=1.0)[0].astype(dtype)
    parameters = {
        "n_components": 5,
        "covariance_type": covariance_type,
        "random_state": 0,
        "max_iter": 4,
        "tol": 0.0,
    }

    def results(n_jobs):
        mixture = GaussianMixture(n_jobs=n_jobs, **parameters).fit(X)
        made = [getattr(mixture, name) for name in ATTRIBUTES]
        made += [mixture.lower_bounds_, mixture.predict_proba(X), mixture.score_samples(X)]
        return [*made, mixture.predict(X)]

    one = results(1)
    threads = get_num_threads()
    try:
        set_num_threads(1)
        others = [results(None)]
    finally:
        set_num_threads(threads)
    others += [results(2), results(3), results(None)]
    for other in others:
        for left, right in zip(one, other):
            np.testing.assert_array_equal(left, right)


def test_fits_at_the_same_time_are_those_one_by_one():
    X, _ = reference.samples(20_000, 4, 3, distance=1.0)

    def means(seed):
        return GaussianMixture(4, random_state=seed, max_iter=3).fit(X).means_

    # Warnings, whose filters are of all threads, are kept off by the mark of this module.
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(means, range(8)))
    for seed, found in enumerate(together):
        np.testing.assert_array_equal(found, means(seed))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n_samples", [2, 127, 128, 129, 1000])
def test_methods_agree(covariance_type, n_samples):
    X, _ = reference.samples(1000, 3, 2, distance=1.0)
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0)
    labels = mixture.fit_predict(X)
    new = X[:n_samples]
    shares = mixture.predict_proba(new)
    np.testing.assert_array_equal(labels, mixture.predict(X))
    np.testing.assert_array_equal(labels[:n_samples], mixture.predict(new))
    np.testing.assert_array_equal(mixture.predict(new), shares.argmax(axis=1))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    assert shares.min() >= 0
    densities = mixture.score_samples(new)
    assert mixture.score(new) == pytest.approx(densities.mean(), rel=1e-12)
    likelihood, expected = reference.expectation(new, reference.of(mixture))
    np.testing.assert_allclose(densities, likelihood, rtol=1e-9)
    np.testing.assert_allclose(shares, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_far_samples_have_a_density_and_a_label(covariance_type):
    X, _ = reference.samples(200, 2, 3)
    mixture = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    far = np.array([[1e6, 0.0, 0.0], [-1e100, 1e100, 0.0], [0.0, 0.0, -1e8]])
    densities = mixture.score_samples(far)
    assert (densities < -1e9).all() and np.isfinite(densities).all()
    shares = mixture.predict_proba(far)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(mixture.predict(far), shares.argmax(axis=1))


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clear_components_are_found(init_params, dtype):
    X, labels = reference.samples(600, 3, 2, seed=5, distance=20.0)
    mixture = GaussianMixture(3, init_params=init_params, n_init=10, tol=1e-6, random_state=0)
    found = mixture.fit_predict(X.astype(dtype))
    pairs = set(zip(labels.tolist(), found.tolist()))
    assert len(pairs) == 3
    assert mixture.converged_


def test_more_starts_are_no_worse():
    X, _ = reference.samples(300, 6, 2, distance=2.0)
    bounds = [
        GaussianMixture(6, init_params="random_from_data", n_init=n, random_state=3)
        .fit(X)
        .lower_bound_
        for n in (1, 5)
    ]
    assert bounds[1] > bounds[0]


def test_a_fit_that_stops_short_warns():
    X, _ = reference.samples(300, 4, 2)
    mixture = GaussianMixture(4, max_iter=1, random_state=0)
    with pytest.warns(ConvergenceWarning, match="did not converge. Try different init"):
        mixture.fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixture.set_params(max_iter=500).fit(X)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_follow_the_mixture(covariance_type, dtype):
    X = reference.samples(2000, 3, 2)[0].astype(dtype)
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    drawn, labels = mixture.sample(20_000)
    assert drawn.shape == (20_000, 2) and labels.shape == (20_000,)
    wanted = reference.of(mixture)
    np.testing.assert_allclose(np.bincount(labels) / 20_000, wanted.weights, atol=0.02)
    for k in range(3):
        part = drawn[labels == k]
        np.testing.assert_allclose(part.mean(axis=0), wanted.means[k], atol=0.15)
        spread = np.abs(wanted.covariances[k]).max()
        np.testing.assert_allclose(np.cov(part.T), wanted.covariances[k], atol=0.08 * spread)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_samples_are_those_of_scikit_learn(covariance_type):
    X, _ = reference.samples(300, 3, 2)
    init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
    expected, found = both(X, random_state=7, **init)
    for left, right in zip(found.sample(50), expected.sample(50)):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", ["plain", "weights", "gaps"])
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_no_array_of_samples_by_components_is_made(case, init_params):
    n_samples, n_components = 100_000, 24
    X = np.random.default_rng(0).normal(size=(n_samples, 2))
    weight = np.linspace(1, 2, n_samples) if case == "weights" else None
    if case == "gaps":
        X[::3, 0] = np.nan
    mixture = GaussianMixture(
        n_components, covariance_type="diag", init_params=init_params, max_iter=2, random_state=0
    )
    mixture.fit(X[:1000])  # compiles
    tracemalloc.start()
    try:
        mixture.fit(X, sample_weight=weight)
        mixture.score_samples(X)
        mixture.predict(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Beside some numbers for each sample, blocks of a fixed size for each thread.
    assert peak < n_samples * n_components * 8 / 3
