"""The CUDA kernels of fundamental matrices against those of the CPU."""

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import to_host
from fastmotion.datasets import make_two_view
from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.kernels import cpu
from fastmotion.epipolar.launching import kernels_of
from tests.gpu.arrays import to_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Grid size"),
    # The simulator computes with NumPy's numbers, which warn where those of devices do not.
    pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value", "ignore:overflow"),
]

N_TRIALS = 12 if simulator_enabled() else 3000
MOST_ROUNDS = 2 if simulator_enabled() else 30
SIZES = (61, 150) if simulator_enabled() else (61, 150, 5000)


@pytest.fixture(scope="module")
def cuda(device):
    """Return the kernels of fundamental matrices, bound to a device."""
    with kernels_of(device) as kernels:
        yield kernels.fundamental


class Pair:
    """Matches of a pair of images in the coordinates of kernels."""

    def __init__(self, n, seed=0, *, noise=0.5, inlier_ratio=0.6):
        view = make_two_view(n_matches=n, inlier_ratio=inlier_ratio, noise=noise, random_state=seed)
        rng = np.random.default_rng(seed)
        self.centred = CentredMatches.of_pixels(view.matches, rng.uniform(0.5, 2, n), rng)
        self.matches, self.scored = self.centred.matches, self.centred.scored
        self.F = self.centred.from_pixels(view.F)
        self.threshold = 2.0 * self.centred.scale
        self.inverse = np.float32(1 / self.threshold**2)

    def models(self, n, spread=1e-3):
        """Return models near the true one, one of them at all matches' mercy."""
        rng = np.random.default_rng(1)
        models = self.F + spread * rng.standard_normal((n, 9))
        return models / np.linalg.norm(models, axis=1, keepdims=True)


PAIRS = [Pair(n, seed) for seed, n in enumerate(SIZES)]


def search(kernels, pair, *, size=7, n_kept=2, bound=0.0, n_trials=N_TRIALS, first=5, pools=None):
    models, gains = np.zeros((n_kept, 9)), np.full(n_kept, bound)
    n = len(pair.matches)
    pools = np.full(n_trials, n) if pools is None else pools
    seed = np.uint64(2**63 + 11)  # no int64
    order = pair.centred.order
    kernels.search(
        seed, first, pools, size, pair.matches, True, pair.scored, len(order), pair.inverse,
        models, gains,
    )  # fmt: skip
    return models, gains


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("pair", PAIRS, ids=SIZES)
def test_searches_find_the_models_of_the_cpu(cuda, pair, size):
    wanted, wanted_gains = search(cpu, pair, size=size)
    models, gains = search(cuda, pair, size=size)
    assert wanted_gains[1] > 0
    np.testing.assert_allclose(gains, wanted_gains, rtol=1e-4)
    np.testing.assert_allclose(models, wanted, rtol=0, atol=1e-9)


def test_a_search_keeps_what_was_better_before(cuda):
    (best, _), (gain, _) = search(cpu, PAIRS[0], n_kept=2)
    models, gains = search(cuda, PAIRS[0], n_kept=3, bound=gain - 1e-3)
    np.testing.assert_allclose(gains, [gain, gain - 1e-3, gain - 1e-3], rtol=1e-5)
    np.testing.assert_allclose(models[0], best, rtol=0, atol=1e-9)
    assert not models[1:].any()
    models, gains = search(cuda, PAIRS[0], bound=gain + 1e-3)
    assert not models.any()
    assert (gains == gain + 1e-3).all()


def test_samples_are_drawn_from_growing_pools(cuda):
    pools = np.minimum(9 + np.arange(40) // 2, 25)
    wanted = samples(cpu, PAIRS[0], pools=pools)
    found = samples(cuda, PAIRS[0], pools=pools)
    assert len(wanted) > 20
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def samples(kernels, pair, *, size=7, oriented=True, pools=None, matches=None):
    matches = pair.matches if matches is None else matches
    pools = np.full(40, len(matches)) if pools is None else pools  # a block of lanes, and a part
    models = np.full((3 * len(pools), 9), np.nan)
    n_models = kernels.sample_models(np.uint64(7), 3, pools, size, matches, oriented, models)
    assert np.isnan(models[n_models:]).all()
    return models[:n_models]


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("oriented", [False, True])
def test_models_of_samples_come_in_the_order_of_trials(cuda, size, oriented):
    wanted = samples(cpu, PAIRS[0], size=size, oriented=oriented)
    found = samples(cuda, PAIRS[0], size=size, oriented=oriented)
    assert len(wanted) >= 3
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_matches_that_depend_on_each_other_are_solved_too(cuda):
    grid = np.array([[x, y] for x in (-1.0, 0, 1) for y in (-1.0, 0, 1)])
    matches = np.concatenate([grid, grid], axis=1)
    wanted, found = (samples(k, None, matches=matches, oriented=False) for k in (cpu, cuda))
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_scores_are_summed_gains(cuda):
    pair = PAIRS[1]
    models = pair.models(5, spread=1e-4)  # so alike that the CPU leaves out none
    wanted, found = np.empty(5), np.empty(5)
    for kernels, gains in ((cpu, wanted), (cuda, found)):
        kernels.score(models, pair.scored, len(pair.centred.order), pair.inverse, gains)
    assert wanted.min() > 10
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_squared_distances_also_at_epipoles(cuda):
    ahead = np.array([0.0, -1, 0, 1, 0, 0, 0, 0, 0])  # both epipoles in the middle
    matches = np.array([[0.0, 0, 0, 0], [1, 2, 2, 4], [1, 2, 3, -1]])
    for model, rows in ((PAIRS[1].F, PAIRS[1].matches), (ahead, matches)):
        wanted, found = np.empty(len(rows)), np.empty(len(rows))
        cpu.squared_distances(model, rows, wanted)
        cuda.squared_distances(model, rows, found)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-30)


def test_distances_of_matches_on_the_device(cuda, device):
    rows = PAIRS[0].matches.copy()
    rows[3, 1], rows[7, 2], rows[60, 3] = np.nan, np.inf, -2e30
    distances = to_device(np.zeros(len(rows)), device)
    cuda.set_distances(PAIRS[0].F, to_device(rows, device), distances)
    squares = np.empty(len(rows))
    cpu.squared_distances(PAIRS[0].F, PAIRS[0].matches, squares)
    squares[[3, 7, 60]] = np.nan
    np.testing.assert_allclose(to_host(distances), np.sqrt(squares), rtol=1e-12)
    is_within = to_device(np.zeros(len(rows), bool), device)
    limit = float(np.nanmedian(to_host(distances)))
    cuda.find_within(distances, limit, is_within)
    np.testing.assert_array_equal(to_host(is_within), to_host(distances) <= limit)
    total, n = cuda.sum_gains(distances, limit)
    assert n == len(rows) - 3
    assert total == pytest.approx(np.nansum(np.maximum(0, 1 - squares / limit**2)))


@pytest.mark.parametrize("rank", [30] if simulator_enabled() else [0, 30, 60])
def test_the_least_distance_of_a_rank(cuda, rank):
    models = PAIRS[0].models(3, spread=0.01)
    wanted = cpu.least_median(models, PAIRS[0].matches, rank)
    found = cuda.least_median(models, PAIRS[0].matches, rank)
    assert found[1] == wanted[1]
    assert found[0] == pytest.approx(wanted[0], rel=1e-10)


def test_the_least_distance_of_a_rank_may_be_infinite(cuda):
    ahead = np.array([[0.0, -1, 0, 1, 0, 0, 0, 0, 1]])  # a residual is left at both epipoles
    matches = np.zeros((8, 4))
    assert cuda.least_median(ahead, matches, 4) == cpu.least_median(ahead, matches, 4)
    assert cuda.least_median(ahead, matches, 4)[0] == np.inf


def refine(kernels, pair, models, *, wide_steps=3, steps=6):
    models, results = models.copy(), np.empty((len(models), 3))
    points, weight = pair.centred.refined
    kernels.refine_all(
        models, points, weight, float(pair.inverse) / 9, wide_steps, float(pair.inverse), steps,
        1e-6, results,
    )  # fmt: skip
    return models, results


@pytest.mark.parametrize("pair", PAIRS, ids=SIZES)
def test_refinement_comes_to_the_models_of_the_cpu(cuda, pair):
    models = pair.models(2, spread=3e-3)
    wanted, wanted_figures = refine(cpu, pair, models)
    found, figures = refine(cuda, pair, models)
    assert np.abs(wanted - models).max() > 1e-3
    np.testing.assert_allclose(figures, wanted_figures, rtol=1e-5)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_refinement_without_steps_makes_models_of_rank_two(cuda):
    models = PAIRS[0].models(1)
    wanted, wanted_figures = refine(cpu, PAIRS[0], models, wide_steps=0, steps=0)
    found, figures = refine(cuda, PAIRS[0], models, wide_steps=0, steps=0)
    assert abs(np.linalg.det(found.reshape(3, 3))) < 1e-15
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)
    np.testing.assert_allclose(figures, wanted_figures, rtol=1e-12)
    refine(cuda, PAIRS[0], models[:0])  # nothing to do


def polish(kernels, pair, noise=1.0, most_rounds=MOST_ROUNDS):
    model, (points, counts) = pair.F.copy(), pair.centred.padded
    probability = np.full(points.shape[1], np.nan)
    model[0] += 1e-3
    model /= np.linalg.norm(model)
    noise = kernels.polish(
        points, counts, model, noise * pair.threshold, 12.0, most_rounds, probability
    )
    return noise, model, probability


@pytest.mark.parametrize("pair", PAIRS, ids=SIZES)
def test_polishing_comes_to_the_model_of_the_cpu(cuda, pair):
    wanted_noise, wanted, wanted_probability = polish(cpu, pair)
    noise, model, probability = polish(cuda, pair)
    assert 0 < wanted_noise < pair.threshold
    assert noise == pytest.approx(wanted_noise, rel=1e-6)
    np.testing.assert_allclose(model, wanted, rtol=0, atol=1e-8)
    np.testing.assert_allclose(probability, wanted_probability, rtol=0, atol=1e-6)


def test_polishing_tells_where_too_few_matches_are_near(cuda):
    assert polish(cuda, PAIRS[0], noise=1e-9)[0] == polish(cpu, PAIRS[0], noise=1e-9)[0] == 0.0


def test_requests_do_not_depend_on_their_company(device):
    """Many pairs, each in a thread of its own, share launches and get what they get alone."""

    def work(kernels, pair):
        models, gains = search(kernels.fundamental, pair, n_kept=1)
        refined, figures = refine(kernels.fundamental, pair, models, steps=1, wide_steps=1)
        squares = np.empty(len(pair.matches))
        kernels.fundamental.squared_distances(refined[0], pair.matches, squares)
        polished = polish(kernels.fundamental, pair, most_rounds=1)
        return models, gains, refined, figures, squares, *polished

    pairs = [Pair(n, seed, inlier_ratio=0.8) for seed, n in enumerate((40, 25, 33))]
    with kernels_of(device) as kernels:
        together = kernels.map(lambda pair: work(kernels, pair), pairs)
    for pair, found in zip(pairs, together):
        with kernels_of(device) as kernels:
            alone = work(kernels, pair)
        for wanted, array in zip(alone, found, strict=True):
            np.testing.assert_array_equal(array, wanted)
