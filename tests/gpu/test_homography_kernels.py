"""The kernels of homographies on a CUDA device, beside those of the CPU."""

import math

import numpy as np
import pytest

from fastmotion.core.compile import CudaKernel, simulator_enabled
from fastmotion.core.device import to_host
from fastmotion.core.memory import memory_of
from fastmotion.epipolar.kernels import cpu, planar
from fastmotion.epipolar.residency import Residency
from tests.gpu.arrays import to_device
from tests.reference import homography as reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Grid size"),
    # Matches that a model leaves undefined: only the simulator's numbers are NumPy's, which warn.
    pytest.mark.filterwarnings("ignore:.*encountered in scalar:RuntimeWarning"),
]

# Matches and trials of the requests of one launch.
SIZES = (27, 20, 5) if simulator_enabled() else (5000, 777, 30, 5)
TRIALS = (11, 4, 1) if simulator_enabled() else (1024, 333, 8, 1)


@pytest.fixture
def tables(device):
    """Return the kernels, which on some machines can be imported only where there is a device."""
    from fastmotion.epipolar.kernels import cuda

    return cuda


@pytest.fixture
def residency(device):
    return Residency(memory_of(device))


class Pair:
    """Matches of an image pair, as kernels take them."""

    def __init__(self, n, seed=0, **options):
        matches, _, _ = reference.scene(
            n, **{"inlier_ratio": 0.7, "noise": 1.0, **options}, seed=seed
        )
        centred = matches - matches.mean(axis=0)
        scale = np.sqrt(2 * (centred**2).mean())
        self.rows = np.ascontiguousarray(centred.T) / scale
        order = np.random.default_rng(seed).permutation(n)
        self.scored = np.ascontiguousarray(self.rows[:, order].astype(np.float32))
        self.weight = 0.5 + np.arange(n) % 3
        self.weight /= self.weight.mean()
        self.threshold = 4 / scale
        self.seed = np.uint64(2**63 + seed)

    def samples(self, n_trials, n_kept=2, floor=0.0, pools=None, first=2**40):
        """Return a request of `search`."""
        pools = np.full(n_trials, self.rows.shape[1]) if pools is None else pools
        kept = np.zeros((n_kept, 9)), np.full(n_kept, floor)
        return self.rows, self.scored, pools, self.seed, np.uint64(first), self.threshold, *kept

    def near_models(self, n_models):
        """Return models of samples."""
        models = np.empty((8 * n_models, 9))
        assert planar.sample_models(self.rows, self.seed, np.uint64(0), models) >= n_models
        return models[:n_models].copy()

    def refinement(self, n_models=1, max_steps=20, weight=None, threshold=None):
        """Return a request of `refine_all`."""
        weight = self.weight if weight is None else weight
        results = np.empty((n_models, 9, 9)), np.empty((n_models, 4))
        threshold = self.threshold if threshold is None else threshold
        models = self.near_models(n_models)
        return self.rows, weight, threshold, max_steps, 1e-3, models, *results


PAIRS = [Pair(n, seed) for seed, n in enumerate(SIZES)]


def copies(requests):
    """Return requests whose arrays of results are others."""
    return [tuple(x.copy() if isinstance(x, np.ndarray) else x for x in r) for r in requests]


def assert_same(got, wanted, rtol=1e-9, atol=1e-11):
    for request, other in zip(got, wanted):
        for x, y in zip(request, other):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def test_search_finds_what_the_cpu_finds(tables, residency, launches):
    wanted = [pair.samples(n) for pair, n in zip(PAIRS, TRIALS)]
    got = copies(wanted)
    counts = [planar.search(*request) for request in wanted]
    assert tables.planar.search(residency, got) == counts
    assert sum(counts) > 3
    for found, other in zip(got, wanted):
        np.testing.assert_allclose(found[6], other[6], atol=1e-13)
        np.testing.assert_allclose(found[7], other[7], rtol=1e-5)
    of_search = [(kernel, grid) for kernel, grid, _ in launches if "planar" in kernel.name]
    assert len(of_search) == 2  # draws and scores, for all together
    assert all(math.prod(grid) > len(PAIRS) for _, grid in of_search)


def test_results_do_not_depend_on_what_is_launched_together(tables, residency):
    together = [pair.samples(n) for pair, n in zip(PAIRS, TRIALS)]
    alone = copies(together)
    tables.planar.search(residency, together)
    for request in alone:
        tables.planar.search(residency, [request])
    for request, other in zip(together, alone):
        np.testing.assert_array_equal(request[6], other[6])
        np.testing.assert_array_equal(request[7], other[7])


def test_search_draws_from_its_pools_and_keeps_what_beats_the_floor(tables, residency):
    pools = np.arange(6, 14)
    requests = [
        PAIRS[0].samples(8, pools=pools, first=3),
        PAIRS[0].samples(8, n_kept=1),
        PAIRS[1].samples(8, floor=1e3),
    ]
    wanted = copies(requests)
    tables.planar.search(residency, requests)
    for request, other in zip(requests, wanted):
        planar.search(*other)
        np.testing.assert_allclose(request[6], other[6], atol=1e-13)
        np.testing.assert_allclose(request[7], other[7], rtol=1e-5)
    assert not requests[2][6].any()
    assert (requests[2][7] == 1e3).all()


def test_samples_have_the_models_that_they_have_on_the_cpu(tables, residency):
    line = np.zeros((4, 20))
    line[0] = line[2] = np.arange(20.0)
    requests = [
        (PAIRS[0].rows, np.uint64(3), np.uint64(7), np.zeros((11, 9))),
        (line, np.uint64(3), np.uint64(7), np.zeros((4, 9))),
        (PAIRS[1].rows, np.uint64(4), np.uint64(0), np.zeros((5, 9))),
    ]
    wanted = copies(requests)
    counts = [planar.sample_models(*request) for request in wanted]
    assert counts[0] > 0
    assert counts[1] == 0
    assert tables.planar.sample_models(residency, requests) == counts
    for request, other, n in zip(requests, wanted, counts):
        np.testing.assert_allclose(request[3][:n], other[3][:n], atol=1e-13)


@pytest.mark.parametrize("max_steps", [0, 20])
def test_refinement_ends_where_that_of_the_cpu_does(tables, residency, launches, max_steps):
    requests = [
        PAIRS[0].refinement(2, max_steps),
        PAIRS[1].refinement(1, max_steps, weight=np.ones(SIZES[1])),
        PAIRS[0].refinement(1, max_steps, threshold=1e3),
    ]
    wanted = copies(requests)
    tables.planar.refine_all(residency, requests)
    for request in wanted:
        planar.refine_all(*request)
    assert_same([r[5:] for r in requests], [r[5:] for r in wanted], rtol=1e-7, atol=1e-9)
    assert [grid for kernel, grid, _ in launches if "planar" in kernel.name] == [(1, 4)]


def test_nothing_is_refined_where_nothing_is_asked_for(tables, residency):
    request = (*PAIRS[0].refinement()[:5], np.empty((0, 9)), np.empty((0, 9, 9)), np.empty((0, 4)))
    assert tables.planar.refine_all(residency, [request]) == [None]


def test_models_that_leave_matches_undefined_have_no_inliers(tables, residency):
    request = PAIRS[0].refinement(1, 0)
    request[5][:] = 0
    request[5][0, 0] = 1  # maps all points to infinity
    tables.planar.refine_all(residency, [request])
    cost, plain_cost, count, weight = request[7][0]
    limit = PAIRS[0].threshold ** 2
    assert (count, weight) == (0, 0)
    assert cost == pytest.approx(plain_cost, rel=1e-12)
    assert cost == pytest.approx(SIZES[0] * limit)
    np.testing.assert_array_equal(request[6], 0)


def test_the_last_fit_is_that_of_the_cpu(tables, residency, launches):
    requests = []
    for pair, max_steps in ((PAIRS[0], 20), (PAIRS[1], 0)):
        model = pair.samples(64)
        planar.search(*model)
        start = model[6][0]
        requests.append(
            (pair.rows, pair.weight, 2 * pair.threshold, max_steps, start, np.zeros((9, 9)))
        )
    wanted = copies(requests)
    noise = [planar.polish(*request) for request in wanted]
    assert min(noise) > 0
    np.testing.assert_allclose(tables.planar.polish(residency, requests), noise, rtol=1e-9)
    assert_same([r[4:] for r in requests], [r[4:] for r in wanted], rtol=1e-7, atol=1e-9)
    assert [grid for kernel, grid, _ in launches if "planar" in kernel.name] == [(1, 2)]


def test_too_few_matches_have_no_last_fit(tables, residency):
    model = np.eye(3).ravel() / math.sqrt(3)
    far = np.ascontiguousarray(PAIRS[2].rows + 10 * np.arange(5))
    request = far, np.ones(5), 1e-3, 5, model, np.empty((9, 9))
    assert tables.planar.polish(residency, [request])[0] < 0


def test_distances(tables, residency):
    models = [pair.near_models(1)[0] for pair in PAIRS[:2]] + [np.r_[1.0, np.zeros(8)]]
    requests = [
        (pair.rows, model, np.empty(pair.rows.shape[1])) for pair, model in zip(PAIRS, models)
    ]
    wanted = copies(requests)
    tables.planar.sampson_distances(residency, requests)
    for request, other in zip(requests, wanted):
        planar.sampson_distances(*other)
        np.testing.assert_allclose(request[2], other[2], rtol=1e-9, atol=1e-14)
    assert np.isinf(requests[2][2]).all()


@pytest.mark.parametrize("n", [0, 1, 23])
def test_distances_of_matches_on_the_device(tables, residency, device, n):
    matches, _, H = reference.scene(n, noise=1.0)
    for row, value in ((0, np.nan), (5, np.inf), (9, -2e30)):
        matches[row : row + 1, row % 4] = value
    there = to_device(matches, device)
    distances = residency.memory.new(n, np.float64)
    tables.planar.set_distances(residency, [(H.ravel(), there, distances)])
    is_valid = (np.abs(matches) <= 1e30).all(axis=1)
    wanted = np.full(n, np.nan)
    wanted[is_valid] = reference.sampson(H, matches[is_valid])
    np.testing.assert_allclose(to_host(distances), wanted, rtol=1e-9)
    np.testing.assert_array_equal(to_host(there), matches)


def test_points_on_the_device_are_mapped(tables, residency, device):
    points = np.random.default_rng(0).uniform(0, 500, (19, 2))
    H = np.array([[1.1, 0.02, 5.0], [-0.03, 0.9, -2.0], [1e-4, 2e-4, 1.0]])
    mapped = residency.memory.new((19, 2), np.float64)
    tables.planar.map_points(residency, [(H.ravel(), to_device(points, device), mapped)])
    np.testing.assert_allclose(to_host(mapped), reference.transform(H, points), rtol=1e-12)


def test_least_median(tables, residency):
    requests = [(PAIRS[0].near_models(3), PAIRS[0].rows, SIZES[0] // 2)]
    requests.append((PAIRS[1].near_models(2), PAIRS[1].rows, 0))
    requests.append((np.r_[1.0, np.zeros(8)][None], PAIRS[1].rows, 3))
    found = tables.planar.least_median(residency, requests)
    for (least, which), request in zip(found, requests):
        wanted, number = planar.least_median(*request)
        assert which == number
        assert least == pytest.approx(wanted, rel=1e-9)
    assert found[2][0] == math.inf


def test_epipoles_of_a_plane(tables, residency, launches):
    rng = np.random.default_rng(5)
    requests = []
    for pair, n_pairs, n_given in ((PAIRS[0], 21, 4), (PAIRS[1], 0, 3), (PAIRS[1], 6, 0)):
        matches = np.ascontiguousarray(pair.rows.T)
        pairs = rng.integers(0, len(matches), (n_pairs, 2))
        pairs[:1, 1] = pairs[:1, 0]  # one line twice
        epipoles = np.full((n_given + n_pairs, 3), np.nan)
        epipoles[:n_given] = rng.standard_normal((n_given, 3))
        # A plane that no match lies on: there the line through the two points has no direction.
        h, n = pair.near_models(1)[0] + 0.01 * rng.standard_normal(9), len(matches)
        points = np.full((4, 64 * (-(-n // 64))), np.nan, np.float32)
        points[:, :n] = pair.scored
        gains = np.full(len(epipoles), np.nan)
        limit = np.float32(1 / pair.threshold**2)
        requests.append((matches, h, pairs, epipoles, points, n, limit, gains))
    wanted = copies(requests)
    tables.score_epipoles(residency, requests)
    assert len([kernel for kernel, *_ in launches if kernel.name.endswith("_set_models")]) == 1
    for request, other in zip(requests, wanted):
        models = np.empty((len(other[3]), 9))
        cpu.set_epipole_models(*other[:4], models)
        np.testing.assert_allclose(request[3], other[3], atol=1e-12)
        # One after the other: together they are dropped early for the sake of the best.
        for model, gain in zip(models, request[7]):
            alone = np.empty(1)
            cpu.score(model[None], *other[4:7], alone)
            assert gain == pytest.approx(alone[0], rel=1e-4, abs=1e-4)
    assert np.isnan(requests[0][3][4]).all()
    assert requests[0][7][4] == 0


def test_all_kernels_are_launched_by_these_tests(tables):
    """So that a kernel that is added is tested, too."""
    from fastmotion.epipolar.kernels import cuda_planar

    kernels = {name for name, x in vars(cuda_planar).items() if isinstance(x, CudaKernel)}
    assert kernels == {
        "_draw",
        "_score",
        "_fit",
        "_measure",
        "_measure_rows",
        "_map",
        "_find_of_rank",
    }
