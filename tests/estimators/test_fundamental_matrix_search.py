"""How fundamental matrices are searched: its end, weights and qualities, thresholds of any size."""

import pickle

import numpy as np
import pytest

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import FundamentalMatrix
from tests.reference import epipolar as reference


def error_of(F, view):
    """Return the root mean square distance of the noiseless right matches, pixels."""
    return np.sqrt(np.mean(reference.residuals(F, view.exact[view.inlier_mask]) ** 2))


@pytest.mark.parametrize("n_strangers", [40, 80])
def test_a_few_matches_of_best_quality_do_not_end_the_search(n_strangers):
    # A car, or a logo: a motion of their own, which they obey to the last.
    for seed in range(5):
        view = make_two_view(n_matches=1000, inlier_ratio=0.5, noise=0.5, random_state=seed)
        others = make_two_view(n_matches=n_strangers, inlier_ratio=1, noise=0.3, random_state=50)
        matches = np.concatenate([view.matches, others.matches])
        quality = np.concatenate([view.quality, np.full(n_strangers, 2.0)])
        model = FundamentalMatrix(random_state=seed).fit(matches, quality=quality)
        assert error_of(model.F_, view) < 1


def test_quality_saves_trials():
    view = make_two_view(inlier_ratio=0.3, random_state=0)
    plain = FundamentalMatrix(residual_threshold=2.5, random_state=0).fit(view.matches)
    sorted_ = FundamentalMatrix(residual_threshold=2.5, random_state=0)
    sorted_.fit(view.matches, quality=view.quality)
    assert sorted_.n_trials_ < plain.n_trials_ / 10
    assert error_of(sorted_.F_, view) < 1.1 * error_of(plain.F_, view)


def test_weights_do_not_end_the_search():
    view = make_two_view(inlier_ratio=0.4, random_state=1)
    fits = []
    for weight in (1.0, 50.0, 0.5):
        weights = np.where(view.inlier_mask, weight, 1.0)
        model = FundamentalMatrix(residual_threshold=2.0, random_state=0)
        fits.append(model.fit(view.matches, sample_weight=weights))
    trials = [fit.n_trials_ for fit in fits]
    assert min(trials) > 0.5 * max(trials)
    assert all(error_of(fit.F_, view) < 1 for fit in fits)


@pytest.mark.parametrize("max_trials", [1, 100, 5000])
def test_all_searches_of_an_unknown_threshold_keep_to_the_limit(max_trials):
    view = make_two_view(inlier_ratio=0.3, noise=0.2, random_state=0)
    model = FundamentalMatrix(
        residual_threshold="auto", max_trials=max_trials, degeneracy="ignore", random_state=0
    )
    assert 1 <= model.fit(view.matches).n_trials_ <= max_trials


def test_a_single_sample_gives_its_model_even_one_that_no_cameras_have_seen():
    view = make_two_view(n_matches=300, inlier_ratio=0.9, random_state=0)
    for seed in range(10):
        model = FundamentalMatrix(
            max_trials=1, local_optimization=False, degeneracy="ignore", random_state=seed
        )
        # Exactly the sample obeys it, besides those near its lines by chance: not least squares.
        distances = model.fit(view.matches).score_samples(view.matches)
        assert np.count_nonzero(distances < 1e-6) >= 7


@pytest.mark.parametrize("threshold", [1e-200, 1e-160, 1e-9, 1e9, 1e160, 1e300])
def test_thresholds_of_any_size(threshold):
    view = make_two_view(n_matches=60, inlier_ratio=1.0, random_state=0)
    model = FundamentalMatrix(
        residual_threshold=threshold, max_trials=200, degeneracy="ignore", random_state=0
    ).fit(view.matches)
    assert np.isfinite(model.F_).all() and 0 <= model.score_ <= 1
    assert model.residual_threshold_ == pytest.approx(threshold)


def test_the_covariance_is_that_of_the_matches_fitted():
    view = make_two_view(n_matches=200, inlier_ratio=0.8, random_state=0)
    matches = view.matches.copy()
    model = FundamentalMatrix(residual_threshold=2.0, random_state=0).fit(matches)
    matches[:] = 0
    expected = FundamentalMatrix(residual_threshold=2.0, random_state=0).fit(view.matches)
    np.testing.assert_array_equal(model.covariance_, expected.covariance_)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(expected)).covariance_, expected.covariance_
    )


def test_what_belongs_to_omitted_matches_may_be_nan_too():
    view = make_two_view(n_matches=100, inlier_ratio=0.8, random_state=0)
    matches, quality, weight = view.matches.copy(), view.quality.copy(), np.ones(100)
    matches[3], quality[3], weight[3] = np.nan, np.nan, np.nan
    model = FundamentalMatrix(nan_policy="omit", random_state=0)
    model.fit(matches, quality=quality, sample_weight=weight)
    rest = np.arange(100) != 3
    expected = FundamentalMatrix(random_state=0).fit(matches[rest], quality=quality[rest])
    np.testing.assert_array_equal(model.F_, expected.F_)
    with pytest.raises(ValueError, match="at least one match"):
        model.score(matches[[3]])


@pytest.mark.parametrize("minimal", ["seven_point", "eight_point"])
def test_exact_matches_of_a_rectified_pair(minimal):
    rng = np.random.default_rng(0)
    left = rng.integers(0, 600, (60, 2)).astype(float)
    matches = np.column_stack([left, left[:, 0] + rng.integers(5, 60, 60), left[:, 1]])
    model = FundamentalMatrix(minimal=minimal, random_state=0).fit(matches)
    exact = np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) / np.sqrt(2)
    assert reference.distance(model.F_, exact) < 1e-12


def test_few_matches_off_the_plane_among_many():
    view = make_two_view(
        "plane", n_matches=20_000, inlier_ratio=0.5, plane_ratio=0.98, random_state=0
    )
    model = FundamentalMatrix(residual_threshold=2.5, random_state=0).fit(view.matches)
    off = view.inlier_mask & ~view.plane_mask
    distances = np.abs(reference.residuals(model.F_, view.exact[off]))
    assert model.degeneracy_ == "none" and np.median(distances) < 1
