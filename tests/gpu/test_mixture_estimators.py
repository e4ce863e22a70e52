"""Gaussian mixtures on a CUDA device, beside those of the CPU."""

import pickle

import numpy as np
import pytest

from fastmotion import config_context
from fastmotion.core import device as core_device
from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import CPU, is_cuda_array, to_host
from fastmotion.core.memory import CudaMemory, memory_of
from fastmotion.em import seeding
from fastmotion.em.device_samples import DeviceSamples
from fastmotion.em.gaussians import Gaussians
from fastmotion.em.samples import Samples
from fastmotion.mixture import GaussianMixture, select_components
from fastmotion.mixture.regression import condition_mixture
from tests.gpu.arrays import to_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Grid size"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

SIMULATED = simulator_enabled()
N, D, K = (36, 2, 2) if SIMULATED else (20_000, 9, 4)
RTOL = {np.float32: 1e-4, np.float64: 1e-7}
NAMES = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_")

FITS = [
    ("full", np.float32, "kmeans", False),
    ("diag", np.float64, "random", False),
    ("spherical", np.float32, "k-means++", True),
    ("tied", np.float64, "random_from_data", True),
]
if not SIMULATED:
    FITS += [
        (covariance_type, dtype, "kmeans", gaps)
        for covariance_type in ("full", "tied", "diag", "spherical")
        for dtype in (np.float32, np.float64)
        for gaps in (False, True)
    ]


def make_samples(rng, dtype=np.float64, gaps=False, n=N):
    X = (rng.normal(size=(n, D)) + 6 * rng.integers(0, K, (n, 1))).astype(dtype)
    if gaps:
        X[rng.uniform(size=X.shape) < 0.2] = np.nan
        X[3] = np.nan
    return X


def both(device, **settings):
    settings = {"n_components": K, "random_state": 0, "max_iter": 1, **settings}
    return GaussianMixture(**settings, device="cpu"), GaussianMixture(**settings, device=device)


def assert_same(found, expected, rtol):
    for name in NAMES:
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=rtol, atol=rtol, err_msg=name
        )


@pytest.mark.parametrize(("covariance_type", "dtype", "init_params", "gaps"), FITS)
def test_fits_and_answers_are_those_of_the_cpu(
    device, rng, covariance_type, dtype, init_params, gaps
):
    X, weight = make_samples(rng, dtype, gaps), rng.uniform(0.5, 2, N)
    weight[5] = 0  # as if it were not there
    on_host, mixture = both(device, covariance_type=covariance_type, init_params=init_params)
    on_host.fit(X, sample_weight=weight)
    there, weight_there = to_device(X, device), to_device(weight, device)
    mixture.fit(there, sample_weight=weight_there)
    assert mixture.device_ == "cuda:0"
    assert all(isinstance(getattr(mixture, name), np.ndarray) for name in NAMES[:4])
    rtol = RTOL[dtype]
    assert_same(mixture, on_host, rtol)
    np.testing.assert_array_equal(to_host(there), X)

    mixture.set_params(device="auto")
    for name in ("predict", "predict_proba", "score_samples"):
        found, expected = getattr(mixture, name)(there), getattr(on_host, name)(X)
        assert is_cuda_array(found)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(to_host(found), expected, rtol=10 * rtol, atol=10 * rtol)
    expected = on_host.score(X, sample_weight=weight)
    assert mixture.score(there, sample_weight=weight_there) == pytest.approx(expected, rel=rtol)


def test_samples_of_the_host_go_up_and_answers_come_down(device, rng, monkeypatch):
    X, weight = make_samples(rng), rng.uniform(0.5, 2, N)
    on_host, mixture = both(device, means_init=X[:K], weights_init=np.full(K, 1 / K),
                            precisions_init=np.tile(np.eye(D), (K, 1, 1)))  # fmt: skip
    on_host.fit(X, sample_weight=weight)
    mixture.fit(X, sample_weight=weight)
    assert_same(mixture, on_host, 1e-9)
    found = mixture.predict_proba(X)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, on_host.predict_proba(X), rtol=1e-7, atol=1e-9)
    # With hardly any memory they go up part by part in each pass; the bits are the same.
    parts = mixture.set_params(device=device)
    before = {name: getattr(mixture, name) for name in NAMES}
    monkeypatch.setattr(CudaMemory, "budget", lambda self, share=0.5: 1)
    parts.fit(X, sample_weight=weight)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(parts, name), before[name])
    np.testing.assert_array_equal(parts.predict_proba(X), found)


def test_an_iteration_fetches_once(device, rng, monkeypatch):
    fetched = []
    fetch = CudaMemory.fetch
    monkeypatch.setattr(
        CudaMemory, "fetch", lambda self, array: fetched.append(array.size) or fetch(self, array)
    )
    X = to_device(make_samples(rng, np.float32), device)
    start = {
        "means_init": to_host(X)[:K],
        "weights_init": np.full(K, 1 / K),
        "precisions_init": np.tile(np.eye(D), (K, 1, 1)),
    }
    counts = []
    for max_iter in (1, 3):
        _, mixture = both(device, max_iter=max_iter, tol=0, **start)
        fetched.clear()
        mixture.fit(X)
        counts.append(len(fetched))
    assert counts[1] - counts[0] == 2
    assert max(fetched) < X.size


def test_parts_merge(device, rng):
    X = make_samples(rng)
    there = to_device(X, device)
    on_host, mixture = both(device, init_params="random_from_data")
    half = N // 2
    for rows in (slice(0, half), slice(half, N)):
        on_host.partial_fit(X[rows])
        mixture.partial_fit(there[rows])
    assert_same(mixture, on_host, 1e-9)
    mixture.set_params(warm_start=True).fit(there)
    on_host.set_params(warm_start=True).fit(X)
    assert_same(mixture, on_host, 1e-9)
    copy = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(copy.set_params(device="cpu").means_, mixture.means_)
    assert mixture.bic(there) == pytest.approx(on_host.bic(X), rel=1e-9)
    assert copy.sample(3)[0].shape == (3, D)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regression_is_that_of_the_cpu(device, rng, dtype):
    X = np.c_[make_samples(rng, dtype), rng.normal(size=(N, 1)).astype(dtype)]
    on_host = GaussianMixture(K, random_state=0, max_iter=2).fit(X)
    known = X[:, [2, 0]][:10]
    expected = on_host.condition(known, columns=[2, 0])
    for given in (to_device(known, device), known):
        found = on_host.set_params(device=device).condition(given, columns=[2, 0])
        results = {
            "weights": (found.weights, expected.weights),
            "means": (found.means, expected.means),
            "covariances": (found.covariances, expected.covariances),
            "mean": (found.mean(), expected.mean()),
            "covariance": (found.covariance(), expected.covariance()),
            "sample": (found.sample(random_state=0), expected.sample(random_state=0)),
            "score": (found.score_samples(found.mean()), expected.score_samples(expected.mean())),
        }
        for name, (mine, theirs) in results.items():
            assert name == "covariances" or is_cuda_array(mine) == is_cuda_array(given), name
            rtol = 10 * RTOL[dtype]
            np.testing.assert_allclose(to_host(mine), theirs, rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_component_of_no_weight_does_not_hide_the_others(device, dtype):
    means = np.array([[0.0, 0.0], [40.0, 40.0]])
    gaussians = Gaussians.from_covariances(means, np.tile(np.eye(2), (2, 1, 1)), "full")
    known, values = np.array([[0], [0], [20]], dtype), np.array([[40], [0], [20]], dtype)
    scores = []
    for place in (CPU, device):
        found = condition_mixture(np.full(2, 0.5), gaussians, known, [0], device=place)
        assert found.weights[0, 1] == 0
        scores.append(found.score_samples(values))
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-6)
    assert scores[1][0] < -800


def test_regression_far_from_the_origin_keeps_its_digits(device):
    covariances = np.array([[[0.01, 0.09], [0.09, 1.0]]] * 2)
    means = np.array([[1000000.3, 5.0], [1000000.6, 4.0]])
    known = np.array([[1000000.25], [1000001.0]], np.float32)
    for apart in (0, 1e4):  # the second time in float64
        gaussians = Gaussians.from_covariances(means + [[0, 0], [apart, 0]], covariances, "full")
        expected, found = (
            condition_mixture(np.full(2, 0.5), gaussians, known, [0], device=place).means
            for place in (CPU, device)
        )
        np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-5)
        np.testing.assert_allclose(found, expected, rtol=1e-2 if apart else 1e-5)


def test_start_far_from_the_origin_keeps_its_digits(device, rng):
    X = (1e6 + rng.normal(size=(N, D))).astype(np.float32)
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    memory = memory_of(device)
    with memory.scope():
        found = DeviceSamples(X, memory=memory).feature_moments(N)
    expected = Samples(X).feature_moments(N)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-46, 1e39])
def test_weights_may_have_any_magnitude(device, rng, size):
    X, weight = make_samples(rng, np.float32), rng.uniform(0.5, 2, N)
    centres = X[:K].astype(np.float64)
    gaussians = Gaussians.from_covariances(centres, np.tile(np.eye(D), (K, 1, 1)), "full")
    log_weights = np.full(K, -np.log(K))
    memory, on_host = memory_of(device), Samples(X, weight)
    with memory.scope():
        found = DeviceSamples(X, size * weight, memory=memory)
        moments, log_likelihood = found.statistics(gaussians, log_weights)
        wanted, expected = on_host.statistics(gaussians, log_weights)
        assert log_likelihood == pytest.approx(size * expected, rel=1e-5, abs=0)
        for mine, theirs in (
            (moments, wanted),
            tuple(x.cluster_moments(gaussians, centres) for x in (found, on_host)),
        ):
            np.testing.assert_allclose(mine.counts, size * theirs.counts, rtol=1e-5)
            np.testing.assert_allclose(mine.means, theirs.means, rtol=1e-5)
            np.testing.assert_allclose(mine.scatter, size * theirs.scatter, rtol=1e-4)
        other = found.weighted(np.ones(N)).log_likelihood(gaussians, log_weights)
        assert other == pytest.approx(Samples(X).log_likelihood(gaussians, log_weights), rel=1e-5)
        settings = {"sample_weight": size * weight, "max_iter": 3}
        results = [
            seeding.kmeans(X, K, random_state=np.random.RandomState(0), **settings, **more)
            for more in ({"memory": memory}, {})
        ]
        np.testing.assert_allclose(results[0].centres, results[1].centres, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gaps", [False, True])
def test_clusters_far_apart_are_summed_in_float64(device, rng, gaps):
    X = make_samples(rng, np.float32, gaps)
    X[0] = 1e4  # an outlier with a centre of its own
    centres = np.array([np.full(D, 1e4), np.full(D, 3.0)])
    gaussians = Gaussians.from_covariances(centres, np.ones((2, D)), "diag")
    memory = memory_of(device)
    with memory.scope():
        found = DeviceSamples(X, memory=memory).cluster_moments(gaussians, centres)
    expected = Samples(X).cluster_moments(gaussians, centres)
    np.testing.assert_allclose(found.counts, expected.counts, rtol=1e-12)
    np.testing.assert_allclose(found.means, expected.means, rtol=1e-9)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-9, atol=1e-9)


def test_selection_copies_samples_to_the_device_once(device, rng, monkeypatch):
    copied = []
    put = CudaMemory.put

    def counted(self, array):
        if not is_cuda_array(array):
            copied.append(array)
        return put(self, array)

    monkeypatch.setattr(CudaMemory, "put", counted)
    X = make_samples(rng)
    select_components(X, max_components=1, n_starts=1, max_iter=1, device=device)
    assert sum(np.array_equal(array, X) for array in copied) == 1


@pytest.mark.filterwarnings("ignore:the criterion is least at max_components")
def test_number_of_components_is_found(device, rng):
    X = make_samples(rng)
    there = to_device(X, device)
    settings = {"max_components": 2, "random_state": 0, "criterion": "icl"}
    expected = select_components(X, **settings, n_starts=1, max_iter=1)
    found = select_components(there, **settings, n_starts=1, max_iter=1, device="auto")
    assert found.criterion_path == pytest.approx(expected.criterion_path, rel=1e-6)
    np.testing.assert_allclose(
        found.best.gaussians.means, expected.best.gaussians.means, rtol=1e-5, atol=1e-5
    )


def test_centres_are_those_of_the_cpu(device, rng):
    X = make_samples(rng, np.float32)
    X[:20] = X[0]  # k-means runs out of distinct points for a while
    weight = rng.uniform(0.5, 2, N)
    settings = {"sample_weight": weight, "max_iter": 3}
    memory = memory_of(device)
    for given in (to_device(X, device), X):
        results = [
            seeding.kmeans(array, 3, random_state=np.random.RandomState(0), **settings, **more)
            for array, more in ((given, {"memory": memory}), (X, {}))
        ]
        np.testing.assert_allclose(results[0].centres, results[1].centres, rtol=1e-5, atol=1e-5)
        assert results[0].inertia == pytest.approx(results[1].inertia, rel=1e-5)
        if SIMULATED:
            break


BAD = {
    "NaN": (lambda X: np.where(X[2, 1] == X, np.nan, X), {"n_components": "auto"}),
    "infinite": (lambda X: np.where(X[2, 1] == X, -np.inf, X), {}),
    "one axis": (lambda X: X[:, 0].copy(), {}),
    "no features": (lambda X: X[:, :0].copy(), {}),
    "one sample": (lambda X: X[:1].copy(), {}),
    "complex": (lambda X: X.astype(np.complex128), {}),
    "too large": (lambda X: X * 1e150, {}),
    "no value": (lambda X: np.c_[X, np.full(len(X), np.nan)], {}),
    "too few": (lambda X: X, {"n_components": 1000_000}),
    "no weight": (lambda X: X, {}),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_has_the_message_of_the_cpu(device, rng, fault):
    change, settings = BAD[fault]
    X = change(make_samples(rng, n=8))
    weight = np.zeros(len(X)) if fault == "no weight" else None
    messages = []
    for mixture, given in zip(both(device, **settings), (X, to_device(X, device))):
        with pytest.raises(ValueError) as error:
            mixture.fit(given, sample_weight=weight)
        messages.append(str(error.value).partition("\n")[0])  # the values follow
        assert not hasattr(mixture, "device_")
    assert messages[0] == messages[1]


def test_other_features_are_refused_as_on_the_cpu(device, rng):
    X = make_samples(rng)
    mixture = GaussianMixture(max_iter=1).fit(X)
    with pytest.raises(ValueError) as error:
        mixture.predict(np.zeros((3, D + 1)))
    for dtype in (np.float64, np.int64):
        with pytest.raises(ValueError, match=str(error.value)):
            mixture.set_params(device=device).predict(
                to_device(np.zeros((3, D + 1), dtype), device)
            )
    with pytest.raises(TypeError, match="X lies on a CUDA device; use device='cuda'"):
        mixture.set_params(device="cpu").predict(to_device(X, device))


def test_other_dtypes_become_float64(device, rng):
    X = rng.integers(0, 5, size=(12, D))
    on_host, mixture = both(device, n_components=1, init_params="random_from_data")
    assert_same(mixture.fit(to_device(X, device)), on_host.fit(X), 1e-9)
    assert mixture.means_.dtype == np.float64


def test_device_may_be_that_of_the_configuration(device, rng):
    X = make_samples(rng)
    with config_context(device="cuda:0"):
        mixture = GaussianMixture(max_iter=0, init_params="random_from_data").fit(X)
    assert mixture.device_ == "cuda:0"


def test_missing_device_is_an_error_with_cause_and_cure(rng, monkeypatch):
    monkeypatch.setattr(core_device, "cuda_unavailable_reason", lambda: "the cause; the cure")
    X = make_samples(rng)
    mixture = GaussianMixture(device="cuda")
    with pytest.raises(RuntimeError, match="'cuda' is not available: the cause; the cure"):
        mixture.fit(X)
    assert not hasattr(mixture, "device_")
    with pytest.raises(RuntimeError, match="the cause; the cure"):
        select_components(X, device="cuda")
