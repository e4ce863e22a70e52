"""The CUDA kernels of Gaussian components and of the search for their number, beside the CPU's."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import load_kernels, to_host
from fastmotion.core.memory import CudaMemory, memory_of
from fastmotion.em.gaussians import Gaussians
from fastmotion.em.kernels import kernels_for
from fastmotion.em.missing import DevicePatterns, MissingDevicePasses, MissingPasses
from fastmotion.em.passes import GaussianPasses
from fastmotion.em.rows import count_missing, has_missing, pack_missing, take_rows
from fastmotion.mixture.kernels import search
from tests.gpu.arrays import to_device
from tests.reference.mixture import packed

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

SIMULATED = simulator_enabled()
# Samples, features, components: more features than a tile has, and more components than a block
# takes at once; two chunks of samples.
SHAPE = (40, 2, 3) if SIMULATED else (5000, 2, 3)
SINGLE, MIXED, DOUBLE = (
    (np.float32, np.float32),
    (np.float32, np.float64),
    (np.float64, np.float64),
)
PASSES = [
    (SHAPE, "full", SINGLE),
    (SHAPE, "diag", MIXED),
    ((36, 9, 2), "full", DOUBLE),
    ((36, 9, 2), "diag", SINGLE),
]
if not SIMULATED:
    PASSES += [
        (shape, covariance_type, dtypes)
        for shape in ((4500, 33, 70), (3000, 70, 5), (100_000, 16, 4))
        for covariance_type in ("full", "diag")
        for dtypes in (SINGLE, MIXED, DOUBLE)
    ]
RTOL = {np.float32: 2e-5, np.float64: 1e-10}


@pytest.fixture
def memory(device):
    memory = memory_of(device)
    with memory.scope():
        yield memory


@pytest.fixture
def kernels(memory):
    return kernels_for("cuda")


def gaussians_of(rng, n_features, n_components, covariance_type):
    roots = rng.normal(size=(n_components, n_features, n_features))
    covariances = roots @ np.swapaxes(roots, 1, 2) / n_features + np.eye(n_features)
    means = 5 + rng.normal(size=(n_components, n_features))
    return Gaussians.from_covariances(means, packed(covariances, covariance_type), covariance_type)


def case(rng, shape, covariance_type, dtype):
    n_samples, n_features, n_components = shape
    gaussians = gaussians_of(rng, n_features, n_components, covariance_type)
    X = (5 + 1.5 * rng.normal(size=(n_samples, n_features))).astype(dtype)
    log_weights = np.log(rng.dirichlet(np.ones(n_components)))
    weight = rng.uniform(0.5, 2, n_samples).astype(dtype).astype(np.float64)
    return gaussians, X, log_weights, weight


def assert_moments(found, expected, rtol):
    np.testing.assert_allclose(found.counts, expected.counts, rtol=rtol)
    scale = np.abs(expected.means).max()
    np.testing.assert_allclose(found.means, expected.means, rtol=0, atol=rtol * scale)
    scale = np.abs(expected.scatter).max()
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=0, atol=rtol * scale)


def sums_on(passes, X, weight):
    sums = passes.new_sums()
    passes.add_statistics(X, weight, sums)
    return passes.fetch(sums)


@pytest.mark.parametrize(("shape", "covariance_type", "dtypes"), PASSES)
def test_passes_give_the_sums_of_the_cpu(memory, rng, shape, covariance_type, dtypes):
    dtype, work = dtypes
    gaussians, X, log_weights, weight = case(rng, shape, covariance_type, dtype)
    rtol = RTOL[work]
    on_host = GaussianPasses(gaussians, log_weights=log_weights, dtype=work)
    passes = GaussianPasses(gaussians, log_weights=log_weights, dtype=work, memory=memory)
    assert passes.dtype == work
    there, weight_there = (to_device(array, memory.device) for array in (X, weight.astype(dtype)))
    expected, found = sums_on(on_host, X, weight), sums_on(passes, there, weight_there)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=rtol)
    assert_moments(passes.moments(found), on_host.moments(expected), rtol)

    log_p = np.empty((len(X), gaussians.n_components))
    on_host.log_densities(X, log_p)
    out_dtype = np.float64 if dtype == np.float32 else np.float32
    out = memory.empty(log_p.shape, out_dtype)
    passes.log_densities(there, out)
    np.testing.assert_allclose(to_host(out), log_p, rtol=max(rtol, RTOL[out_dtype]))

    shares = softmax(log_p, axis=1)
    expected, found = on_host.new_sums(), passes.new_sums()
    on_host.add_moments(X, shares, expected)
    passes.add_moments(there, to_device(shares, memory.device), found)
    assert_moments(passes.moments(passes.fetch(found)), on_host.moments(expected), rtol)
    np.testing.assert_array_equal(to_host(there), X)


def test_no_weights_are_ones_and_sums_add_up(memory, kernels, rng):
    gaussians, X, log_weights, _ = case(rng, SHAPE, "full", np.float64)
    passes = GaussianPasses(gaussians, log_weights=log_weights, memory=memory)
    X = to_device(X, memory.device)
    ones = to_device(np.ones(len(X)), memory.device)
    expected = sums_on(passes, X, ones).values
    sums = passes.new_sums()
    for _ in range(2):
        passes.add_statistics(X, kernels.none_of(memory, np.float64), sums)
    np.testing.assert_allclose(to_host(sums.values), 2 * expected, rtol=1e-13)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_every_sum_is_set(memory, kernels, rng, covariance_type):
    # Padded: an odd number of components, and features that make tiles above the diagonal.
    shape = (9, 9, 3) if SIMULATED else (900, 70, 3)
    gaussians, X, log_weights, weight = case(rng, shape, covariance_type, np.float64)
    passes = GaussianPasses(gaussians, log_weights=log_weights, memory=memory)
    there = to_device(X, memory.device), to_device(weight, memory.device)
    size = passes.new_sums().values.size
    with memory.scope():  # what is taken from the pool holds what others left
        memory.fill(memory.empty((kernels.n_chunks(len(X)), size), np.float64), np.nan)
    assert np.isfinite(sums_on(passes, *there).values).all()


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_sums_do_not_depend_on_the_memory_there_is(memory, rng, monkeypatch, covariance_type):
    shape = (SHAPE[0] * 2, 2, 3)
    gaussians, X, log_weights, weight = case(rng, shape, covariance_type, np.float32)
    passes = GaussianPasses(gaussians, log_weights=log_weights, dtype=np.float32, memory=memory)
    there = to_device(X, memory.device), to_device(weight.astype(np.float32), memory.device)
    expected = passes.moments(sums_on(passes, *there))
    monkeypatch.setattr(CudaMemory, "budget", lambda self, share=0.5: 1)
    found = passes.moments(sums_on(passes, *there))
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.means, expected.means)
    np.testing.assert_array_equal(found.scatter, expected.scatter)


def test_far_components_are_worked_on_in_float64(memory, rng):
    gaussians, X, log_weights, weight = case(rng, SHAPE, "full", np.float32)
    gaussians = Gaussians.from_covariances(
        gaussians.means + [[0], [100], [1000]], gaussians.covariances, "full"
    )
    X[: len(X) // 2] += 1000
    on_host = GaussianPasses(gaussians, log_weights=log_weights, dtype=np.float32)
    passes = GaussianPasses(gaussians, log_weights=log_weights, dtype=np.float32, memory=memory)
    assert passes.dtype == on_host.dtype == np.float64
    expected = sums_on(on_host, X, weight)
    there = to_device(X, memory.device), to_device(weight.astype(np.float32), memory.device)
    found = sums_on(passes, *there)
    assert_moments(passes.moments(found), on_host.moments(expected), 1e-7)  # of the weights


@pytest.mark.parametrize("work", [np.float32, np.float64])
def test_questions_about_samples(memory, kernels, rng, work):
    n = 40 if SIMULATED else 3000
    log_p = rng.normal(scale=20, size=(n, 3)).astype(work)
    log_p[3] = -np.inf
    log_p[4, 1:] = -np.inf
    log_p[5] = log_p[5, 0]
    weight = rng.uniform(0.5, 2, n).astype(work)
    weight[3] = 0
    none = kernels.none_of(memory, work)

    def there():
        columns = np.full((3, n + 5), np.nan, work)  # there may be more than are asked for
        columns[:, :n] = log_p.T
        return to_device(columns, memory.device)

    def sum_on(add, weights):
        partial = memory.empty((kernels.n_chunks(n), kernels.HEAD), work)
        values = there()
        add(values, n, weights, partial)
        return np.asarray(to_host(partial), np.float64).sum(), to_host(values)[:, :n].T

    rtol = 10 * float(np.finfo(work).eps)
    weights = to_device(weight, memory.device)
    log_norms = logsumexp(log_p.astype(np.float64), axis=1)
    shares = np.exp(log_p - np.where(np.isfinite(log_norms), log_norms, 0)[:, None])
    total, found = sum_on(kernels.weigh, weights)
    counts = weight > 0
    assert total == pytest.approx(weight[counts] @ log_norms[counts], rel=10 * rtol)
    np.testing.assert_allclose(found, shares * weight[:, None], rtol=20 * rtol, atol=1e-30)
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    total, _ = sum_on(kernels.add_entropies, weights)
    assert total == pytest.approx(-(weight[:, None] * shares * logs).sum(), rel=1e-5)

    out = memory.empty(n, work)
    kernels.log_norms(there(), n, out)
    np.testing.assert_allclose(to_host(out), log_norms, rtol=rtol)
    labels = memory.empty(n, np.int64)
    kernels.find_largest(there(), n, labels)
    np.testing.assert_array_equal(to_host(labels), log_p.argmax(axis=1))
    values = there()
    kernels.posteriors(values, n, to_device(np.array([0.5, 0.2, 0.3], work), memory.device))
    shares[3] = 0.5, 0.2, 0.3
    np.testing.assert_allclose(to_host(values)[:, :n].T, shares, rtol=20 * rtol, atol=1e-30)
    for given, expected in ((weights, weight), (none, np.ones(n))):
        values, distances = there(), memory.empty(n, work)
        kernels.take_largest(values, n, given, distances)
        chosen = np.eye(3)[log_p.argmax(axis=1)] * expected[:, None]
        np.testing.assert_array_equal(to_host(values)[:, :n].T, chosen.astype(work))
        np.testing.assert_allclose(to_host(distances), -2 * log_p.max(axis=1), rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_with_missing_values(memory, kernels, rng, dtype):
    X = rng.normal(size=(40, 9)).astype(dtype)
    there = to_device(X, memory.device)
    assert not has_missing(there)
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    X[7] = np.nan
    there = to_device(X, memory.device)
    assert has_missing(there)
    np.testing.assert_array_equal(pack_missing(there), pack_missing(X))
    np.testing.assert_array_equal(count_missing(there), np.isnan(X).sum(axis=1))
    np.testing.assert_array_equal(take_rows(there, np.array([3, 7, 3])), X[[3, 7, 3]])
    np.testing.assert_array_equal(take_rows(there, slice(1, None, 9)), X[1::9])
    partial = memory.empty((kernels.n_chunks(40), 27), dtype)
    kernels.sum_features(there, to_device(np.ones(9, dtype), memory.device), 64, partial)
    counts, first, second = to_host(partial).sum(axis=0).reshape(3, 9)
    np.testing.assert_array_equal(counts, (~np.isnan(X)).sum(axis=0))
    np.testing.assert_allclose(first, np.nansum(X - 1, axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(second, np.nansum((X - 1) ** 2, axis=0), rtol=1e-5)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_passes_over_missing_values_give_the_sums_of_the_cpu(memory, rng, covariance_type):
    shape = (40, 3, 2) if SIMULATED else (6000, 9, 5)
    gaussians, X, log_weights, weight = case(rng, shape, covariance_type, np.float64)
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    X[[5, 20]] = np.nan
    X[2] = 5  # one is complete
    there, weight_there = (to_device(array, memory.device) for array in (X, weight))
    on_host = MissingPasses(gaussians, log_weights=log_weights)
    patterns = DevicePatterns.of(there, memory)
    passes = MissingDevicePasses(
        gaussians, patterns=patterns, memory=memory, log_weights=log_weights
    )
    expected = on_host.new_sums()
    on_host.add_statistics(X, weight, expected)
    found = sums_on(passes, there, weight_there)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-11)
    assert_moments(passes.moments(found), on_host.moments(expected), 1e-11)

    log_p, out = np.empty((len(X), 2 if SIMULATED else 5)), None
    on_host.log_densities(X, log_p)
    out = memory.empty(log_p.shape, np.float64)
    passes.log_densities(there, out)
    np.testing.assert_allclose(to_host(out), log_p, rtol=1e-11)

    shares = softmax(log_p, axis=1)
    expected, found = on_host.new_sums(), passes.new_sums()
    on_host.add_moments(X, shares, expected)
    passes.add_moments(there, to_device(shares, memory.device), found)
    assert_moments(passes.moments(passes.fetch(found)), on_host.moments(expected), 1e-11)


@pytest.mark.parametrize("kind", [0, int(search.TIED), int(search.SPHERICAL)])
def test_search_climbs_and_looks_for_mergers_as_on_the_cpu(memory, rng, kind):
    n = 40 if SIMULATED else 5000
    X = rng.normal(size=(n, 2)) + 4 * rng.integers(0, 2, (n, 1))
    weight = rng.uniform(0.5, 2, n)
    centre, floor = X.mean(axis=0), np.full(2, 1e-6)
    start = np.full(3, 1 / 3), X[:3] - centre, np.tile(np.eye(2), (3, 1, 1))
    there = [to_device(array, memory.device) for array in (X, weight, centre)]
    kernels = load_kernels("fastmotion.mixture.kernels", "cuda")
    climb = search.climb_full if kind < search.DIAG else search.climb_diag
    expected, found = ([part.copy() for part in start] for _ in range(2))
    wanted = climb(X, weight, centre, kind, floor, *expected, 0.0, 1)
    value = kernels.climb(*there, kind, floor, tuple(found), 0.0, 1, memory)
    assert value == pytest.approx(wanted, rel=1e-12)
    for mine, theirs in zip(found, expected):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)

    pairs, *proposed = search.propose_mergers(kind, *expected)
    assert len(pairs) == 3
    wanted = search.losses_of_mergers(X, weight, centre, kind, pairs, *proposed)
    losses = kernels.losses_of_mergers(*there, kind, pairs, *proposed, memory)
    np.testing.assert_allclose(losses, wanted, rtol=1e-9)
