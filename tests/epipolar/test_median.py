"""Least median of squares beside a plain loop, on lines through points."""

import functools
import math

import numpy as np
import pytest

from fastmotion.epipolar.kernels.ranks import least_of_rank
from fastmotion.epipolar.median import least_median_of_models, trials_for_half

N, N_TRIALS = 41, 700  # several chunks


def points(n_right=28):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, N)
    y = 2 * x + 1 + rng.normal(0, 0.01, N)
    y[n_right:] = rng.uniform(0, 3, N - n_right)
    return x, y


def lines(first, stop):
    """Return lines through pairs of points; every third trial has none."""
    x, y = points()
    models = []
    for trial in range(first, stop):
        i, j = np.random.default_rng(trial).choice(N, 2, replace=False)
        if trial % 3:
            slope = (y[j] - y[i]) / (x[j] - x[i])
            models.append([slope, y[i] - slope * x[i]])
    return np.array(models).reshape(-1, 2)


def squares(model):
    x, y = points()
    return (y - model[0] * x - model[1]) ** 2


def run(sample_models=lines, n_jobs=1):
    return least_median_of_models(
        sample_models,
        functools.partial(least_of_rank, squares),
        n_matches=N,
        sample_size=2,
        n_trials=N_TRIALS,
        n_jobs=n_jobs,
    )


@pytest.mark.parametrize("n_jobs", [1, 3, None])
def test_the_least_median_is_found(n_jobs):
    model, distance = run(n_jobs=n_jobs)
    models = lines(0, N_TRIALS)
    rank = (N + 2) // 2  # counted from 0
    medians = [np.sort(squares(model))[rank] for model in models]
    np.testing.assert_array_equal(model, models[np.argmin(medians)])
    assert distance == pytest.approx((1 + 5 / (N - 2)) * math.sqrt(min(medians)))


def test_samples_without_a_model():
    assert run(lambda first, stop: np.empty((0, 2))) is None


@pytest.mark.parametrize("sample_size", [4, 7, 8])
def test_trials_draw_right_matches_only_as_often_as_wanted(sample_size):
    n_trials = trials_for_half(0.99, sample_size)
    success = 0.5**sample_size
    assert 1 - (1 - success) ** n_trials >= 0.99 > 1 - (1 - success) ** (n_trials - 1)
