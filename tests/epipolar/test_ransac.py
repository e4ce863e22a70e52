"""The driver of random samples, with a problem that is no geometry of two views."""

import math

import numpy as np
import pytest

from fastmotion.epipolar.ransac import Candidate, Sampling, mean_gain, run_ransac


class Lines:
    """Lines y = a x + b through two points of a set; models have nine numbers, as those of views.

    Notes which trials were made, from how many points each drew, and bounds.
    """

    sample_size = 2

    def __init__(self, points, threshold=0.003):
        self.points, self.threshold = points, threshold
        self.trials, self.pools, self.bounds = [], [], []
        self.n_refined = 0

    def gains(self, model):
        away = self.points[:, 1] - model[0] * self.points[:, 0] - model[1]
        return np.maximum(0, 1 - (away / self.threshold) ** 2)

    def search(self, pools, first_trial, models, gains):
        self.trials += range(first_trial, first_trial + len(pools))
        self.pools += pools.tolist()
        self.bounds.append(gains.copy())
        for trial, pool in enumerate(pools, first_trial):
            (x, y), (u, v) = self.points[
                np.random.default_rng(trial).choice(pool, 2, replace=False)
            ]
            model = np.zeros(9)
            model[0] = (v - y) / (u - x)
            model[1] = y - model[0] * x
            gain = self.gains(model).mean()
            place = np.searchsorted(-gains, -gain, side="right")
            if place < len(gains):
                models[place:] = np.insert(models[place:], 0, model, axis=0)[:-1]
                gains[place:] = np.insert(gains[place:], 0, gain)[:-1]

    def refine(self, models):
        self.n_refined += len(models)
        every = [(model, self.gains(model)) for model in models]
        return [Candidate(m, g.mean(), g.mean(), (g > 0).mean()) for m, g in every]

    def is_inlier(self, model):
        return self.gains(model) > 0


def lines(n=200, inlier_ratio=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (2, n))
    n_right = round(n * inlier_ratio)
    y[:n_right] = 0.3 * x[:n_right] + 0.2
    order = rng.permutation(n)
    return Lines(np.column_stack([x, y])[order]), order < n_right


def run(problem, *, confidence=0.999, max_trials=10_000, n_jobs=1, progressive=False):
    sampling = Sampling(len(problem.points), 2, progressive)
    return run_ransac(
        problem, sampling, confidence=confidence, max_trials=max_trials, n_jobs=n_jobs
    )


# Pools


def grown_pools(n_matches, size, n_trials, last_trial=200_000):
    """Return from how many each trial draws, by the recursion of the paper."""
    draws = last_trial * math.prod((size - i) / (n_matches - i) for i in range(size))
    whole, pool, pools = 1, size, []
    for t in range(1, n_trials + 1):
        while t > whole and pool < n_matches:
            more = draws * (pool + 1) / (pool + 1 - size)
            whole += math.ceil(more - draws)
            draws, pool = more, pool + 1
        pools.append(pool)
    return pools


@pytest.mark.parametrize("n_matches, size", [(30, 4), (300, 7), (2000, 7), (50, 8), (8, 7), (7, 7)])
def test_progressive_pools_grow_as_in_the_paper(n_matches, size):
    pools = Sampling(n_matches, size, True).pools(0, 3000)
    np.testing.assert_array_equal(pools, grown_pools(n_matches, size, 3000))


def test_progressive_pools_end_with_all():
    sampling = Sampling(40, 7, True)
    assert sampling.pools(0, 1).tolist() == [7]
    assert (sampling.pools(200_100, 200_110) == 40).all()
    assert (sampling.pools(100_000, 100_010) < 40).all()


@pytest.mark.parametrize("progressive", [False, True])
def test_pools_of_parts_are_those_of_the_whole(progressive):
    sampling = Sampling(60, 7, progressive)
    parts = [sampling.pools(first, first + 25) for first in range(0, 500, 25)]
    np.testing.assert_array_equal(np.concatenate(parts), sampling.pools(0, 500))


def test_without_quality_all_trials_draw_from_all():
    assert set(Sampling(60, 7, False).pools(10, 20)) == {60}


# How many trials it takes


@pytest.mark.parametrize(
    "ratio, size, confidence", [(0.5, 7, 0.99), (0.2, 4, 0.9999), (0.9, 8, 0.5)]
)
def test_trials_needed(ratio, size, confidence):
    best = Candidate(np.zeros(9), 0.1, 0.1, ratio)
    needed = Sampling(100, size, False).trials_needed(None, best, confidence)
    assert (1 - ratio**size) ** needed == pytest.approx(1 - confidence)


@pytest.mark.parametrize("ratio, needed", [(0.0, math.inf), (1.0, 1.0), (1e-60, math.inf)])
def test_trials_needed_at_the_ends(ratio, needed):
    best = Candidate(np.zeros(9), 0.1, 0.1, ratio)
    assert Sampling(100, 7, False).trials_needed(None, best, 0.99) == needed


def test_progressive_sampling_needs_the_trials_of_its_best_part():
    problem, _ = lines()
    model = np.zeros(9)
    is_inlier = np.arange(200) < 120
    problem.is_inlier = lambda model: is_inlier
    best = Candidate(model, 0.5, 0.5, 0.6)
    needed = Sampling(200, 2, True).trials_needed(problem, best, 0.99)
    assert needed == 1  # of the first half, all are right
    is_inlier = np.arange(200) >= 80
    needed = Sampling(200, 2, True).trials_needed(problem, best, 0.99)
    assert (1 - 0.6**2) ** needed == pytest.approx(0.01)  # no part does better than all


# The search


@pytest.mark.parametrize("inlier_ratio", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("progressive", [False, True])
def test_finds_the_line(inlier_ratio, progressive):
    problem, is_right = lines(inlier_ratio=inlier_ratio)
    best, _ = run(problem, progressive=progressive)
    np.testing.assert_allclose(best.model[:2], [0.3, 0.2], atol=0.005)
    assert problem.is_inlier(best.model)[is_right].all()


@pytest.mark.parametrize("max_trials", [1, 2, 63, 64, 65, 1000, 1500, 6000])
def test_limit_is_met_and_never_exceeded(max_trials):
    problem, _ = lines(inlier_ratio=0.02)
    _, n_trials = run(problem, max_trials=max_trials, confidence=1 - 1e-15)
    assert n_trials == max_trials
    assert problem.trials == list(range(max_trials))


@pytest.mark.parametrize("inlier_ratio", [0.05, 0.1, 0.3, 0.6])
def test_ends_by_confidence(inlier_ratio):
    problem, _ = lines(400, inlier_ratio)
    best, n_trials = run(problem, max_trials=100_000)
    needed = math.log(1 - 0.999) / math.log(1 - best.inlier_ratio**2)
    first_round = 64
    assert max(needed, 1) <= n_trials + 1
    assert n_trials <= max(first_round, 5 * needed)
    assert problem.trials == list(range(n_trials))


def test_more_confidence_takes_more_trials():
    counts = [run(lines(400, 0.1)[0], confidence=c)[1] for c in (0.5, 0.99, 1 - 1e-9)]
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("progressive", [False, True])
def test_threads_change_nothing(progressive):
    alone, n_alone = run(lines(400, 0.04)[0], progressive=progressive)
    problem = lines(400, 0.04)[0]
    together, n_together = run(problem, n_jobs=3, progressive=progressive)
    assert n_together == n_alone > 2048  # several chunks in a round
    np.testing.assert_array_equal(together.model, alone.model)
    assert together.gain == alone.gain
    assert sorted(problem.trials) == list(range(n_together))


def test_trials_draw_from_their_pools():
    problem, _ = lines(400, 0.1)
    _, n_trials = run(problem, progressive=True)
    assert problem.pools == Sampling(400, 2, True).pools(0, n_trials).tolist()


def test_only_what_is_worthwhile_is_refined():
    problem, _ = lines(400, 0.1)
    best, _ = run(problem, confidence=1 - 1e-9)
    assert (problem.bounds[0] == 0).all()
    for bounds in problem.bounds[1:]:
        assert (bounds > 0).all()
        assert (bounds < best.plain_gain).all()
    assert 1 <= problem.n_refined <= 2 * len(problem.bounds)


def test_no_model_is_none():
    problem, _ = lines()
    problem.search = lambda pools, first_trial, models, gains: None
    assert run(problem, max_trials=300) == (None, 300)


def test_the_best_is_that_of_most_gain_after_refinement():
    problem, _ = lines(400, 0.1)
    refine, every = problem.refine, []

    def by_chance(models):
        found = [
            Candidate(c.model, abs(math.sin(1e6 * c.gain)), c.plain_gain, c.inlier_ratio)
            for c in refine(models)
        ]
        every.extend(found)
        return found

    problem.refine = by_chance
    best, _ = run(problem, max_trials=5000, confidence=1 - 1e-12)
    assert len(every) > 3
    assert best.gain == max(candidate.gain for candidate in every)


def test_mean_gain():
    assert mean_gain(np.array([0.0, 1.0, 2.0, 3.0, np.inf]), 2.0) == pytest.approx((1 + 0.75) / 5)
    assert mean_gain(np.array([0.0, 1e300]), 1e-300) == 0.5
