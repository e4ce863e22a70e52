"""The last refinement among right and wrong matches."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastmotion.datasets import make_two_view
from fastmotion.epipolar.estimation import nearest_rank2, normalise_fundamental
from fastmotion.epipolar.polishing import polish_fundamental
from fastmotion.epipolar.uncertainty import (
    fundamental_covariance,
    sampson_jacobian,
    tangent_basis,
)
from tests.reference import epipolar as reference

# Few of the tests need much: a rather easy and a rather hard cell.
CELLS = [("general", 0.5), ("forward", 0.3)]
each_cell = pytest.mark.parametrize(("scene", "inlier_ratio"), CELLS)


def make(scene="general", inlier_ratio=0.5, n_matches=400, noise=1.0, seed=3):
    return make_two_view(
        scene, n_matches=n_matches, inlier_ratio=inlier_ratio, noise=noise, random_state=seed
    )


def start_near(view, rng, deviations=3.0):
    """Return a matrix some standard deviations from the true one, as a search finds it."""
    right = view.exact[view.inlier_mask]
    covariance = fundamental_covariance(view.F, right, noise_scale=1.0)
    values, vectors = np.linalg.eigh(covariance)
    step = deviations * np.sqrt(np.maximum(values, 0)) * rng.normal(size=9)
    return normalise_fundamental(nearest_rank2(view.F + (vectors @ step).reshape(3, 3)))


def error(F, view):
    """Return how far the epipolar lines of the exact right matches are off, pixels."""
    return np.sqrt(np.mean(reference.sampson(F, view.exact[view.inlier_mask]) ** 2))


def fit_right_alone(view):
    """Return the least-squares matrix of the right matches."""
    to_pixels = np.array([[1000.0, 0, 500], [0, 1000, 375], [0, 0, 1]])
    matches = (view.matches[view.inlier_mask] - [500, 375, 500, 375]) / 1000
    F = normalise_fundamental(to_pixels.T @ view.F @ to_pixels)
    for _ in range(6):
        distances, jacobian = sampson_jacobian(F, matches)
        basis = tangent_basis(F)
        step = np.linalg.lstsq(jacobian @ basis, distances)[0]
        F = normalise_fundamental(nearest_rank2(F - (basis @ step).reshape(3, 3)))
    back = np.linalg.inv(to_pixels)
    return normalise_fundamental(back.T @ F @ back)


@each_cell
def test_it_comes_near_the_fit_to_right_matches_alone(scene, inlier_ratio, rng):
    mine, best, start = [], [], []
    for seed in range(12):
        view = make(scene, inlier_ratio, seed=seed)
        F = start_near(view, rng)
        start.append(error(F, view))
        mine.append(error(polish_fundamental(F, view.matches, 0.7).F, view))
        best.append(error(fit_right_alone(view), view))
    assert np.mean(mine) < 1.15 * np.mean(best)
    assert np.mean(mine) < 0.5 * np.mean(start)


@each_cell
def test_right_matches_and_noise_are_told(scene, inlier_ratio):
    view = make(scene, inlier_ratio, n_matches=2000)
    polished = polish_fundamental(view.F, view.matches, 0.5)
    n_right = view.inlier_mask.sum()
    assert polished.noise_scale == pytest.approx(1.0, rel=0.1)
    assert polished.probability.sum() == pytest.approx(n_right, rel=0.03)
    assert polished.probability[~view.inlier_mask].sum() < 0.03 * n_right


def test_right_matches_alone_are_fitted_by_least_squares(rng):
    view = make(inlier_ratio=1.0)
    polished = polish_fundamental(start_near(view, rng), view.matches, 1.0)
    expected = fit_right_alone(view)
    covariance = fundamental_covariance(expected, view.matches)
    off = (polished.F - expected).ravel()
    assert np.sum(off**2) < 0.1**2 * np.trace(covariance)
    distances = reference.sampson(expected, view.matches)
    noise_scale = np.sqrt(np.sum(distances**2) / (len(distances) - 7))
    assert polished.noise_scale == pytest.approx(noise_scale, rel=0.02)


def test_result_is_a_fundamental_matrix(rng):
    view = make()
    polished = polish_fundamental(start_near(view, rng), view.matches, 1.0)
    assert np.linalg.norm(polished.F) == pytest.approx(1)
    assert polished.F.ravel()[np.abs(polished.F).argmax()] > 0
    assert reference.balanced_values(polished.F, view.matches)[2] < 1e-12
    assert polished.probability.min() >= 0
    assert polished.probability.max() <= 1


@pytest.mark.parametrize("noise_scale", [0.5, 3.0])
def test_the_noise_to_start_from_matters_little(noise_scale, rng):
    view = make(n_matches=1000)
    F = start_near(view, rng)
    first, second = (polish_fundamental(F, view.matches, s) for s in (1.0, noise_scale))
    spread = fundamental_covariance(
        first.F, view.matches, noise_scale=first.noise_scale, probability=first.probability
    )
    assert np.sum((first.F - second.F) ** 2) < 0.2**2 * np.trace(spread)
    assert second.noise_scale == pytest.approx(first.noise_scale, rel=0.03)


def test_exact_matches_are_fitted_exactly():
    view = make(noise=0.0)
    polished = polish_fundamental(view.F, view.matches, 1.0)
    assert error(polished.F, view) < 1e-6
    assert polished.noise_scale < 1e-6
    assert polished.probability[view.inlier_mask].min() > 0.99


def test_order_shift_and_scale_do_not_matter(rng):
    view = make()
    F = start_near(view, rng)
    polished = polish_fundamental(F, view.matches, 1.0)
    order = rng.permutation(len(view.matches))
    other = polish_fundamental(-7 * F, view.matches[order], 1.0)
    # Not all of the matches far from their lines are looked at, and others in another order.
    assert_allclose(other.probability, polished.probability[order], atol=0.1)
    assert other.noise_scale == pytest.approx(polished.noise_scale, rel=0.01)
    to_pixels = np.array([[10.0, 0, 300], [0, 10, -500], [0, 0, 1]])
    moved = polish_fundamental(
        to_pixels.T @ F @ to_pixels, (view.matches - [300, -500, 300, -500]) / 10, 0.1
    )
    assert_allclose(moved.probability, polished.probability, atol=1e-6)
    assert moved.noise_scale == pytest.approx(polished.noise_scale / 10, rel=1e-6)


def test_matches_of_weight_zero_are_out(rng):
    view = make(n_matches=300)
    weight = np.arange(300) % 3
    F, is_in = start_near(view, rng), weight > 0
    weighted = polish_fundamental(F, view.matches, 1.0, sample_weight=weight)
    alone = polish_fundamental(F, view.matches[is_in], 1.0, sample_weight=weight[is_in])
    # Not all of the matches far from their lines are looked at, and others among fewer.
    assert_allclose(weighted.probability[is_in], alone.probability, atol=0.2)
    assert not weighted.probability[~is_in].any()


def test_covariance_after_it_holds_in_monte_carlo():
    """Claimed and actual errors of F, over noise and wrong matches: 150 runs, 12 % or so."""
    view = make("forward", 0.4, n_matches=500, seed=17)
    errors, claims = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        wrong = rng.uniform(0, [1000, 750, 1000, 750], (300, 4))
        right = view.exact[view.inlier_mask] + rng.normal(0, 1.0, (200, 4))
        matches = np.concatenate([right, wrong])
        polished = polish_fundamental(view.F, matches, 1.0)
        covariance = fundamental_covariance(
            polished.F, matches, noise_scale=polished.noise_scale, probability=polished.probability
        )
        errors.append(np.sum((polished.F - view.F) ** 2))
        claims.append(np.trace(covariance))
    assert np.mean(claims) == pytest.approx(np.mean(errors), rel=0.35)


def test_arguments_stay_as_they_are(rng):
    view = make()
    F, matches, weight = start_near(view, rng), view.matches.copy(), np.ones(400)
    for array in (F, matches, weight):
        array.flags.writeable = False
    polish_fundamental(F, matches, 1.0, sample_weight=weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda F, m: polish_fundamental(F, m[:7], 1.0), "at least 8"),
        (lambda F, m: polish_fundamental(F, m * np.nan, 1.0), "finite"),
        (lambda F, m: polish_fundamental(0 * F, m, 1.0), "must not be zero"),
        (lambda F, m: polish_fundamental(F, m, 0.0), "positive"),
        (lambda F, m: polish_fundamental(F, m, np.nan), "positive"),
        (lambda F, m: polish_fundamental(F, m, 1.0, sample_weight=-m[:, 0]), "not be negative"),
        (lambda F, m: polish_fundamental(F, m, 1.0, sample_weight=0 * m[:, 0]), "zero for all"),
        (lambda F, m: polish_fundamental(F, m, 1e-9), "too few matches"),
        (lambda F, m: polish_fundamental(F, m[[0] * 20], 1.0), "too few matches"),
        (lambda F, m: polish_fundamental(np.ones((3, 3)), m, 1.0), "too few matches"),
    ],
)
def test_what_is_wrong_is_said(call, message):
    view = make(n_matches=60)
    with pytest.raises(ValueError, match=message):
        call(view.F, view.matches)
