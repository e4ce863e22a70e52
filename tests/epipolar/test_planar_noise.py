"""Right and wrong matches of a plane told by their distances alone."""

import numpy as np
import pytest

from fastmotion.epipolar.kernels import planar
from fastmotion.epipolar.planar_noise import LARGEST_PLANAR_DEVIATION, typical_noise


def distances(n_right, n_wrong, noise, radius, seed=0):
    rng = np.random.default_rng(seed)
    right = np.hypot(*rng.normal(0, noise, (2, n_right)))
    return np.concatenate([right, radius * np.sqrt(rng.uniform(0, 1, n_wrong))])


def tell_right(distances, weight, noise):
    """Return how probably matches are right, and the noise."""
    probability = np.full(len(distances), np.nan)
    noise = planar.tell_right(distances**2, weight, noise, probability)
    return probability, noise


@pytest.mark.parametrize("factor", [1.0, 2.0, 6.0])
def test_the_mixture_finds_the_noise(factor):
    d = distances(2000, 20_000, 0.1, 4.0)
    probability, noise = tell_right(d, np.ones(22_000), 0.1 * factor)
    assert noise == pytest.approx(0.1, rel=0.05)
    assert not probability[d > 6.0 * 0.1 * factor].any()
    assert probability.sum() == pytest.approx(2000, rel=0.05)
    for low, high in [(0.05, 0.5), (0.5, 0.9), (0.9, 1.0)]:
        chosen = np.flatnonzero((probability > low) & (probability < high))
        assert len(chosen) > 20
        assert np.mean(chosen < 2000) == pytest.approx(probability[chosen].mean(), abs=0.12)


def test_weights_count_matches():
    d = distances(300, 100, 0.1, 1.0)
    weight = np.arange(400) % 3.0
    by_weight = tell_right(d, weight, 0.2)
    by_count = tell_right(np.repeat(d, weight.astype(int)), np.ones(int(weight.sum())), 0.2)
    assert by_weight[1] == pytest.approx(by_count[1], rel=1e-9)
    np.testing.assert_allclose(np.repeat(by_weight[0], weight.astype(int)), by_count[0], atol=1e-9)


def test_too_few_are_told():
    assert tell_right(np.full(4, 0.1), np.ones(4), 0.1)[1] < 0
    assert tell_right(np.full(50, np.inf), np.ones(50), 0.1)[1] < 0


def test_no_noise():
    probability, noise = tell_right(np.r_[np.zeros(20), 0.5], np.ones(21), 0.1)
    assert noise == 0
    np.testing.assert_array_equal(probability > 0.5, np.arange(21) < 20)


def test_noise_of_a_cut_off_distribution():
    d = distances(20_000, 0, 1.0, 1.0)
    for threshold in (2.0, 3.0, 10.0):
        near = d[d < threshold]
        noise = typical_noise((near**2).sum(), len(near), threshold)
        assert noise == pytest.approx(1.0, rel=0.03)
    assert np.mean(d < LARGEST_PLANAR_DEVIATION) == pytest.approx(0.99, abs=0.003)


def test_noise_that_cannot_be_told_is_assumed():
    assert typical_noise(0.0, 4.0, 3.0) == 3.0 / LARGEST_PLANAR_DEVIATION
    assert typical_noise(0.0, 4.0, 3.0, 0.7) == 0.7
    assert typical_noise(100 * 4.5, 100.0, 3.0, 0.7) == 0.7  # even, up to the threshold
