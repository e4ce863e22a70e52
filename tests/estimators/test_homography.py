"""Homographies as estimators: results, seeds, hard input, manners and covariance."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import (
    DegenerateMatchesWarning,
    FailedFit,
    Homography,
    homography_from_points,
    planar_sampson_distance,
)
from tests.reference import homography as reference

METHODS = ["ransac", "lmeds", "dlt"]
ROBUST = ["ransac", "lmeds"]
ATTRIBUTES = (
    "H_", "inlier_mask_", "score_", "n_trials_", "n_inliers_", "covariance_", "degeneracy_",
    "residual_threshold_", "noise_scale_",
)  # fmt: skip
CORNERS = np.array([[0.0, 0.0], [640.0, 0.0], [640.0, 480.0], [0.0, 480.0]])


def scene(n=200, *, inlier_ratio=0.6, noise=0.5, seed=0, **options):
    return reference.scene(n, inlier_ratio=inlier_ratio, noise=noise, seed=seed, **options)


def error_of(H, truth):
    """Return the root mean square error of the image corners, pixels."""
    difference = reference.transform(H, CORNERS) - reference.transform(truth, CORNERS)
    return np.sqrt((difference**2).sum(axis=1).mean())


def quietly(model, *args, **kwargs):
    """Fit without the warning of degenerate matches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateMatchesWarning)
        return model.fit(*args, **kwargs)


def assert_equal_fits(model, other):
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(model, name), getattr(other, name), err_msg=name)


def assert_sound(model, matches):
    """Hold a fit to what every fit promises."""
    assert model.H_.shape == (3, 3) and model.H_.dtype == np.float64
    assert np.linalg.norm(model.H_) == pytest.approx(1, abs=1e-12)
    if np.abs(matches).max() < 1e4 * np.ptp(matches[:, :2]):  # else it is nothing but rounding
        assert np.linalg.det(model.H_) > 0
    assert model.inlier_mask_.shape == (len(matches),) and model.inlier_mask_.dtype == bool
    assert model.n_inliers_ == model.inlier_mask_.sum()
    assert 0 <= model.score_ <= 1
    assert model.degeneracy_ in ("none", "points")
    assert (0 if model.method == "dlt" else 1) <= model.n_trials_ <= model.max_trials
    assert model.covariance_.shape == (9, 9)
    covariance = np.concatenate(
        [model.covariance_.ravel(), model.transfer_covariance(CORNERS).ravel()]
    )
    if model.degeneracy_ == "none":
        assert np.isfinite(covariance).all()
    else:
        np.testing.assert_array_equal(covariance, np.inf)
    assert 0 < model.residual_threshold_ < np.inf
    assert 0 <= model.noise_scale_ < np.inf
    np.testing.assert_array_equal(model.predict(matches), model.inlier_mask_)


# Results


@pytest.mark.parametrize("threshold", [1.5, 3.0, "auto"])
@pytest.mark.parametrize("seed", range(3))
def test_ransac_comes_close_to_the_truth(threshold, seed):
    matches, is_inlier, H = scene(400, inlier_ratio=0.4, seed=seed)
    model = Homography(residual_threshold=threshold, random_state=0).fit(matches)
    best = reference.direct_linear(matches[is_inlier])
    assert error_of(model.H_, H) < 1.3 * error_of(best, H) + 0.05
    assert (model.inlier_mask_ == is_inlier).mean() > 0.98
    assert model.degeneracy_ == "none"


@pytest.mark.parametrize("method", METHODS)
def test_right_matches_give_the_maximum_of_the_likelihood(method):
    matches, _, H = scene(60, inlier_ratio=1.0, seed=3)
    model = Homography(method, residual_threshold=10.0, random_state=0).fit(matches)
    unit = 1 / np.abs(matches - matches.mean(axis=0)).mean()
    scaled = (matches - matches.mean(axis=0)) * unit
    start = reference.direct_linear(scaled)
    best, _, _ = reference.maximum_likelihood(start.ravel(), scaled)
    mapped = reference.transform(best, scaled[:, :2]) / unit + matches[:, 2:].mean(axis=0)
    difference = np.abs(model.transform(matches[:, :2]) - mapped).max()
    assert difference < (0.01 if method == "ransac" else 0.1)  # a deviation is a fifth of a pixel
    assert error_of(model.H_, H) > 0.2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [4, 5, 300])
def test_exact_matches_give_the_exact_homography(method, n):
    matches, _, H = scene(n, inlier_ratio=1.0, noise=0.0, seed=1)
    for threshold in (1.0, "auto"):
        model = Homography(method, residual_threshold=threshold, random_state=0).fit(matches)
        np.testing.assert_allclose(model.H_, H, atol=1e-9)
        assert model.inlier_mask_.all() and model.degeneracy_ == "none"
        assert_sound(model, matches)


def test_the_linear_method_is_that_function():
    matches, _, _ = scene(50, inlier_ratio=1.0)
    weight = np.random.default_rng(0).uniform(0, 2, 50)
    model = Homography("dlt").fit(matches, sample_weight=weight)
    wanted = homography_from_points(matches, sample_weight=weight)
    np.testing.assert_allclose(model.H_, wanted, rtol=1e-9)
    assert model.n_trials_ == 0


@pytest.mark.parametrize("method", METHODS)
def test_what_the_attributes_say_of_each_other(method):
    matches, _, _ = scene(inlier_ratio=1.0 if method == "dlt" else 0.7)
    model = Homography(method, random_state=0).fit(matches)
    assert_sound(model, matches)
    distances = reference.sampson(model.H_, matches)
    threshold = model.residual_threshold_
    np.testing.assert_allclose(model.score_samples(matches), distances, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(model.inlier_mask_, distances <= threshold)
    expected = np.maximum(0, 1 - (distances / threshold) ** 2).mean()
    assert model.score_ == pytest.approx(expected)
    assert model.score(matches) == pytest.approx(expected)
    assert model.noise_scale_ == pytest.approx(0.5, rel=0.2)
    assert model.n_features_in_ == 4 and model.device_ == "cpu"
    values = np.linalg.eigvalsh(model.covariance_)
    assert abs(values[0]) < 1e-9 * values[-1]
    np.testing.assert_array_equal(model.covariance_, model.covariance_.T)
    assert np.abs(model.covariance_ @ model.H_.ravel()).max() < 1e-9 * values[-1]


def test_points_of_two_images_are_matches():
    matches, _, _ = scene()
    model = Homography(random_state=0).fit(matches)
    other = Homography(random_state=0).fit(matches[:, :2], matches[:, 2:])
    assert_equal_fits(other, model)
    assert other.n_features_in_ == 2
    pair = matches[:50, :2], matches[:50, 2:]
    np.testing.assert_array_equal(other.predict(*pair), model.predict(matches[:50]))
    assert other.score(*pair) == model.score(matches[:50])


def test_points_go_there_and_back():
    matches, _, H = scene(inlier_ratio=1.0, noise=0.0)
    model = Homography(random_state=0).fit(matches)
    np.testing.assert_allclose(model.transform(CORNERS), reference.transform(H, CORNERS), rtol=1e-9)
    back = model.inverse_transform(model.transform(CORNERS))
    np.testing.assert_allclose(back, CORNERS, atol=1e-8)


def test_a_mirrored_image():
    flip = np.array([[-1.0, 0, 640], [0, 1, 0], [0, 0, 1]])
    matches, is_inlier, H = scene(H=flip)
    model = Homography(random_state=0).fit(matches)
    assert error_of(model.H_, H) < 0.5
    assert_sound(model, matches)


@pytest.mark.parametrize("name", ["planar", "pure_rotation"])
def test_scenes_with_a_homography(name):
    view = make_two_view(name, n_matches=300, inlier_ratio=0.6, noise=0.5, random_state=0)
    model = Homography(residual_threshold="auto", random_state=0).fit(view.matches)
    assert (model.inlier_mask_ == view.inlier_mask).mean() > 0.97
    assert planar_sampson_distance(model.H_, view.exact[view.inlier_mask]).max() < 0.5


def test_refinement_helps():
    errors = {True: [], False: []}
    for seed in range(8):
        matches, _, H = scene(seed=seed)
        for local in errors:
            model = Homography(local_optimization=local, random_state=0).fit(matches)
            errors[local].append(error_of(model.H_, H))
    assert np.mean(errors[True]) < 0.5 * np.mean(errors[False])


@pytest.mark.parametrize("method", ROBUST)
def test_the_result_hardly_depends_on_the_threshold(method):
    matches, _, H = scene(500, inlier_ratio=0.7, noise=1.0)
    errors = [
        error_of(Homography(method, residual_threshold=t, random_state=0).fit(matches).H_, H)
        for t in (2.0, 3.0, 6.0, "auto")
    ]
    assert max(errors) < 1.3 * min(errors)


@pytest.mark.parametrize("noise", [0.1, 1.0, 4.0])
def test_a_threshold_of_auto_follows_the_noise(noise):
    matches, _, _ = scene(600, inlier_ratio=0.5, noise=noise)
    model = Homography(residual_threshold="auto", random_state=0).fit(matches)
    assert model.noise_scale_ == pytest.approx(noise, rel=0.1)
    assert model.residual_threshold_ == pytest.approx(3.03 * noise, rel=0.1)


def test_qualities_find_rare_right_matches_sooner():
    trials = {False: [], True: []}
    for seed in range(5):
        matches, is_inlier, H = scene(800, inlier_ratio=0.15, seed=seed)
        quality = is_inlier + np.random.default_rng(seed).normal(0, 0.7, 800)
        for ranked in trials:
            model = Homography(random_state=0).fit(matches, quality=quality if ranked else None)
            trials[ranked].append(model.n_trials_)
            assert error_of(model.H_, H) < 1.0
    assert np.mean(trials[True]) < 0.2 * np.mean(trials[False])


@pytest.mark.parametrize("n_strangers", [40, 80])
def test_few_matches_of_best_quality_do_not_end_the_search(n_strangers):
    rng = np.random.default_rng(0)
    for seed in range(5):
        matches, is_inlier, H = scene(1000, inlier_ratio=0.5, seed=seed)
        still = rng.uniform(0, 400, (n_strangers, 2))  # a logo: it does not move
        strangers = np.hstack([still, still]) + rng.normal(0, 0.1, (n_strangers, 4))
        quality = np.concatenate([is_inlier + rng.normal(0, 0.5, 1000), np.full(n_strangers, 9.0)])
        model = Homography(random_state=seed)
        model.fit(np.concatenate([matches, strangers]), quality=quality)
        assert error_of(model.H_, H) < 0.5
        assert model.n_trials_ < 2000


def test_weights_count_matches():
    matches, _, _ = scene(60, inlier_ratio=1.0)
    weight = np.arange(60) % 3
    weighted = Homography(residual_threshold=5.0, random_state=0).fit(matches, sample_weight=weight)
    repeated = Homography(residual_threshold=5.0, random_state=0)
    repeated.fit(np.repeat(matches, weight, axis=0))
    np.testing.assert_allclose(weighted.H_, repeated.H_, rtol=1e-4, atol=1e-9)
    larger = clone(weighted).fit(matches, sample_weight=1000 * weight)
    np.testing.assert_allclose(larger.covariance_, weighted.covariance_, rtol=1e-6)
    kept = Homography(random_state=0).fit(matches, sample_weight=weight > 0)
    alone = Homography(random_state=0).fit(matches[weight > 0])
    np.testing.assert_array_equal(kept.H_, alone.H_)
    assert kept.inlier_mask_.shape == (60,)


# Covariance


@pytest.mark.parametrize(
    ("n", "inlier_ratio", "threshold", "noise"),
    [
        (100, 1.0, 4.0, 1.0),
        (200, 0.6, "auto", 1.0),
        (200, 0.6, 1.0, 1.0),
        (400, 0.6, 1.0, 2.0),
    ],
)
def test_covariance_is_that_of_repeated_fits(n, inlier_ratio, threshold, noise):
    exact, _, H = scene(n, inlier_ratio=inlier_ratio, noise=0.0, seed=7)
    rng = np.random.default_rng(1)
    models = [
        Homography(residual_threshold=threshold, random_state=seed).fit(
            exact + rng.normal(0, noise, exact.shape)
        )
        for seed in range(150)
    ]
    of_fits = np.cov(np.array([model.H_.ravel() for model in models]).T)
    claimed = np.mean([model.covariance_ for model in models], axis=0)
    # 150 fits tell a variance to 12 %, and the trace has few terms that count.
    assert np.trace(claimed) == pytest.approx(np.trace(of_fits), rel=0.25)
    truth = reference.transform(H, CORNERS)
    inside = []
    for model in models:
        error = (model.transform(CORNERS) - truth)[..., None]
        square = error.transpose(0, 2, 1) @ np.linalg.solve(
            model.transfer_covariance(CORNERS), error
        )
        inside.append(square.ravel() < 5.99)
    assert 0.9 < np.mean(inside) < 0.98


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("inlier_ratio", [0.5, 1.0])
@pytest.mark.parametrize("n", [300, 1000])
def test_the_noise_does_not_hang_on_the_threshold(n, inlier_ratio, noise):
    for seed in range(3):
        view = make_two_view(
            "planar", n_matches=n, inlier_ratio=inlier_ratio, noise=noise, random_state=seed
        )
        model = Homography(random_state=0).fit(view.matches)
        assert model.noise_scale_ == pytest.approx(noise, rel=0.1)
        # Of least squares by all right matches: eight parameters of noise in both images.
        right = view.exact[view.inlier_mask]
        off = model.transform(right[:, :2]) - right[:, 2:]
        assert np.sqrt((off**2).sum(axis=1).mean() * len(right)) < 8 * noise


def test_covariance_follows_the_noise():
    traces = [
        np.trace(Homography(residual_threshold="auto", random_state=0).fit(matches).covariance_)
        for matches in (scene(300, noise=noise)[0] for noise in (0.1, 1.0))
    ]
    assert traces[1] / traces[0] == pytest.approx(100, rel=0.5)


# Seeds and threads


@pytest.mark.parametrize("method", ROBUST)
@pytest.mark.parametrize("threshold", [1.5, "auto"])
def test_threads_change_nothing(method, threshold):
    matches, _, _ = scene(1500, inlier_ratio=0.15)
    options = {"method": method, "residual_threshold": threshold, "max_trials": 12000}
    models = [
        quietly(Homography(**options, random_state=3, n_jobs=n_jobs), matches)
        for n_jobs in (1, 2, 3, None)
    ]
    for model in models[1:]:
        assert_equal_fits(model, models[0])


@pytest.mark.parametrize("ranked", [False, True])
def test_batches_are_single_fits(ranked):
    scenes = [scene(100 + 50 * seed, seed=seed) for seed in range(5)]
    matches = [matches for matches, _, _ in scenes]
    quality = [is_inlier.astype(float) for _, is_inlier, _ in scenes] if ranked else None
    for n_jobs in (1, 3):
        model = Homography(random_state=5, n_jobs=n_jobs)
        fits = model.fit_batch(matches, quality=quality)
        assert not hasattr(model, "H_")
        for i, fit in enumerate(fits):
            single = Homography(random_state=5, n_jobs=n_jobs)
            single.fit(matches[i], quality=quality[i] if ranked else None)
            assert_equal_fits(fit, single)
            assert fit.get_params() == model.get_params()


def test_batches_tell_what_failed():
    good, _, _ = scene()
    line = np.tile(np.arange(50.0)[:, None], 4)
    with pytest.warns(DegenerateMatchesWarning, match=r"pairs \[3\]") as caught:
        fits = Homography(random_state=0).fit_batch(
            [good, good[:3], good * np.nan, line, good[:, :2]]
        )
    assert len(caught) == 1 and caught[0].filename == __file__
    assert [bool(fit) for fit in fits] == [True, False, False, True, False]
    assert isinstance(fits[1], FailedFit) and "at least 4 matches, got 3" in fits[1].reason
    assert "finite" in fits[2].reason and "shape" in fits[4].reason
    assert Homography().fit_batch([]) == []
    with pytest.raises(ValueError, match="one entry per pair"):
        Homography().fit_batch([good], quality=[])
    with pytest.raises(ValueError, match="max_trials"):
        Homography(max_trials=0).fit_batch([good])


def test_seeds_matter_and_repeat():
    matches, _, _ = scene(500, inlier_ratio=0.3)
    first, again, other = (
        Homography(random_state=seed, local_optimization=False).fit(matches) for seed in (1, 1, 2)
    )
    assert_equal_fits(first, again)
    assert (first.H_ != other.H_).any()
    model = Homography(random_state=np.random.RandomState(0), local_optimization=False)
    assert (model.fit(matches).H_ != model.fit(matches).H_).any()
    assert Homography().fit(matches).n_inliers_ > 50


@pytest.mark.parametrize("threshold", [1.0, "auto"])
@pytest.mark.parametrize("method", ROBUST)
@pytest.mark.parametrize("max_trials", [1, 3, 63, 1000])
def test_limits_on_trials_hold(method, max_trials, threshold):
    matches, _, _ = scene(500, inlier_ratio=0.05)
    model = Homography(method, max_trials=max_trials, residual_threshold=threshold, random_state=0)
    try:
        quietly(model, matches)
    except ValueError as error:
        assert "no invertible homography" in str(error)  # noqa: PT017
        assert max_trials < 63
    else:
        assert model.n_trials_ <= max_trials


@pytest.mark.parametrize("threshold", [1.0, "auto"])
@pytest.mark.parametrize("seed", range(10))
def test_few_trials_give_a_model_at_any_threshold(threshold, seed):
    matches, _, _ = scene(500, inlier_ratio=0.05)  # a fifth of all samples have a model
    model = Homography(max_trials=50, residual_threshold=threshold, random_state=seed)
    quietly(model, matches)
    assert model.n_trials_ <= 50


def test_confidence_takes_trials():
    matches, _, _ = scene(500, inlier_ratio=0.2)
    trials = [
        Homography(confidence=confidence, random_state=0).fit(matches).n_trials_
        for confidence in (0.5, 0.99, 0.999999)
    ]
    assert trials[0] < trials[1] < trials[2]


# Hard input


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", range(4))
def test_few_matches(method, n):
    with pytest.raises(ValueError, match=f"at least 4 matches, got {n}"):
        Homography(method).fit(scene(10)[0][:n])


def undetermined():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 500, (60, 2))
    line = np.column_stack([points[:, 0], 2 * points[:, 0] + 3])
    few, _, _ = scene(4, inlier_ratio=1.0)
    three = np.repeat(few[:3], 20, axis=0)
    return {
        "all the same": np.tile(few[0], (60, 1)),
        "all zero": np.zeros((60, 4)),
        "two different": np.repeat(few[:2], 30, axis=0),
        "three different": three,
        "three different and noise": three + rng.normal(0, 0.1, three.shape),
        "a line": np.column_stack([line, 1.5 * line + 7]),
        "a line in perspective": np.column_stack([line, line / (1 + line[:, :1] / 900)]),
        "a line and noise": np.column_stack([line, line + 20]) + rng.normal(0, 0.2, (60, 4)),
    }


@pytest.mark.parametrize("threshold", [1.0, "auto"])
@pytest.mark.parametrize("method", ROBUST)
@pytest.mark.parametrize("name", undetermined())
def test_undetermined_matches_are_told(name, method, threshold):
    matches = undetermined()[name]
    model = Homography(method, residual_threshold=threshold, random_state=0)
    with pytest.warns(DegenerateMatchesWarning, match="'points'") as caught:
        model.fit(matches)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert model.degeneracy_ == "points"
    assert_sound(model, matches)
    if threshold != "auto" and method == "ransac":
        assert model.inlier_mask_.mean() > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_impossible_matches_are_told_or_an_error(method):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 500, (60, 2))
    line = np.column_stack([points[:, 0], 2 * points[:, 0] + 3])
    for others in (np.ones((60, 2)), line):
        try:
            model = quietly(Homography(method, random_state=0), points, others)
        except ValueError as error:
            assert "invertible homography" in str(error)  # noqa: PT017
        else:
            assert method != "dlt"
            assert model.degeneracy_ == "points" or model.inlier_mask_.mean() < 0.2
            assert np.linalg.det(model.H_) > 0


def test_well_spread_matches_are_determined():
    for seed in range(20):
        matches, _, _ = scene(30, inlier_ratio=0.7, seed=seed)
        assert Homography(random_state=0).fit(matches).degeneracy_ == "none"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_numbers_that_are_none(value):
    matches, _, _ = scene()
    bad = matches.copy()
    bad[3, 1] = bad[17, 2] = value
    with pytest.raises(ValueError, match="X must be finite.*2 of 200 rows.*row 3"):
        Homography().fit(bad)
    model = Homography(nan_policy="omit", random_state=0).fit(bad)
    rest = np.delete(matches, [3, 17], axis=0)
    alone = Homography(random_state=0).fit(rest)
    np.testing.assert_array_equal(model.H_, alone.H_)
    np.testing.assert_array_equal(np.delete(model.inlier_mask_, [3, 17]), alone.inlier_mask_)
    assert not model.inlier_mask_[[3, 17]].any()
    np.testing.assert_array_equal(model.predict(bad), model.inlier_mask_)
    assert np.isnan(model.score_samples(bad)[[3, 17]]).all()
    assert model.score(bad) == model.score_ == alone.score_


def test_far_off_matches_do_no_harm():
    matches, is_inlier, H = scene()
    matches[~is_inlier] *= 1e12
    model = Homography(random_state=0).fit(matches)
    assert error_of(model.H_, H) < 0.5
    assert not model.inlier_mask_[~is_inlier].any()


def test_thresholds_of_any_size():
    matches, _, H = scene(noise=0.0)
    model = Homography(residual_threshold=1e-12, random_state=0).fit(matches)
    np.testing.assert_allclose(model.H_, H, atol=1e-9)
    for threshold in (1e-300, 1e-160):  # less than rounding: nothing is an inlier
        with pytest.raises(ValueError, match="no invertible homography"):
            Homography(residual_threshold=threshold, random_state=0).fit(matches)
    for threshold in (1e4, 1e160, 1e300):
        model = quietly(Homography(residual_threshold=threshold, random_state=0), matches)
        assert model.inlier_mask_.all()
        assert_sound(model, matches)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.float32])
def test_dtypes(dtype):
    matches, _, H = scene(300, noise=0.3)
    matches = np.clip(matches, 0, 2000).astype(dtype)
    before = matches.copy()
    model = Homography(residual_threshold=2.0, random_state=0).fit(matches)
    assert error_of(model.H_, H) < 1.0  # integers are cut off
    assert model.H_.dtype == np.float64
    np.testing.assert_array_equal(matches, before)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_units_do_not_matter(scale, shift):
    matches, _, H = scene()
    plain = Homography(random_state=0).fit(matches)
    model = Homography(residual_threshold=scale, random_state=0).fit(scale * (matches + shift))
    assert (model.inlier_mask_ == plain.inlier_mask_).mean() > 0.99
    found = model.transform(scale * (CORNERS + shift)) / scale - shift
    np.testing.assert_allclose(found, plain.transform(CORNERS), atol=1e-2)
    assert model.noise_scale_ / scale == pytest.approx(plain.noise_scale_, rel=1e-2)


def test_the_order_of_matches_does_not_matter_where_it_should_not():
    matches, _, _ = scene(300)
    order = np.random.default_rng(0).permutation(300)
    plain = Homography(random_state=0).fit(matches)
    other = Homography(random_state=0).fit(matches[order])
    np.testing.assert_allclose(other.H_, plain.H_, rtol=1e-3, atol=1e-7)
    assert (other.inlier_mask_ == plain.inlier_mask_[order]).mean() > 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_weight": np.ones(3)}, "sample_weight"),
        ({"sample_weight": -np.ones(200)}, "negative"),
        ({"sample_weight": np.r_[np.ones(3), np.zeros(197)]}, "at least 4 matches, got 3"),
        ({"quality": np.ones(3)}, "quality must have one entry per match, 200, got 3"),
        ({"quality": np.full(200, np.nan)}, "quality must be finite"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Homography().fit(scene()[0], **arguments)


@pytest.mark.parametrize(
    "parameters",
    [
        {"method": "magic"},
        {"residual_threshold": 0},
        {"residual_threshold": np.inf},
        {"residual_threshold": np.nan},
        {"residual_threshold": "none"},
        {"confidence": 1},
        {"max_trials": 0},
        {"nan_policy": "keep"},
        {"local_optimization": "yes"},
    ],
)
def test_wrong_parameters(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=name):
        Homography(**parameters).fit(scene()[0])


def test_a_failed_fit_leaves_the_model_as_it_was():
    matches, _, _ = scene()
    model = Homography(random_state=0).fit(matches)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="at least 4"):
        model.fit(matches[:2])
    assert vars(model) == before


# Manners


def test_clone_and_pickle_and_parameters():
    matches, _, _ = scene()
    model = Homography(residual_threshold=2.0, random_state=0).fit(matches)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "H_")
    loaded = pickle.loads(pickle.dumps(model))
    assert_equal_fits(loaded, model)
    np.testing.assert_array_equal(loaded.predict(matches), model.predict(matches))
    assert copy.set_params(method="dlt").method == "dlt"
    with pytest.raises(NotFittedError):
        copy.predict(matches)


def test_metadata_is_routed():
    matches, is_inlier, _ = scene()
    with sklearn.config_context(enable_metadata_routing=True):
        model = Homography(random_state=0).set_fit_request(sample_weight=True, quality=True)
        pipeline = make_pipeline(FunctionTransformer(), model)
        pipeline.fit(matches, sample_weight=is_inlier, quality=is_inlier)
    assert pipeline[-1].n_trials_ <= 64
    assert pipeline.predict(matches).sum() == pipeline[-1].n_inliers_


def test_read_only_input_and_workers():
    matches, _, _ = scene()
    wanted = Homography(random_state=0).fit(matches)
    matches.flags.writeable = False
    assert_equal_fits(Homography(random_state=0).fit(matches), wanted)
    fits = Parallel(n_jobs=2)(delayed(Homography(random_state=0).fit)(matches) for _ in range(2))
    for fit in fits:
        assert_equal_fits(fit, wanted)


def test_there_is_no_other_device():
    with pytest.raises(RuntimeError, match="cuda|CUDA"):
        Homography(device="cuda").fit(scene()[0])
