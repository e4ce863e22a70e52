"""Fundamental matrices as estimators: results beside slow references, seeds, and manners."""

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
from sklearn.utils import get_tags

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import DegenerateMatchesWarning, FundamentalMatrix
from fastmotion.epipolar.estimation import eight_point, seven_point
from tests.reference import epipolar as reference

METHODS = ["ransac", "eight_point", "seven_point", "lmeds"]
ATTRIBUTES = (
    "F_", "inlier_mask_", "score_", "n_trials_", "n_inliers_", "covariance_", "degeneracy_",
    "epipoles_", "residual_threshold_", "noise_scale_",
)  # fmt: skip


def scene(name="general", seed=0, **options):
    options = {"n_matches": 200, "inlier_ratio": 0.6, "noise": 0.5, **options}
    return make_two_view(name, random_state=seed, **options)


def right(name="general", seed=0, **options):
    """Return a scene of right matches only."""
    return scene(name, seed, inlier_ratio=1.0, **options)


@pytest.fixture
def view():
    return scene()


def error_of(F, view):
    """Return the root mean square distance of the noiseless right matches, pixels."""
    exact = view.exact[view.inlier_mask]
    return np.sqrt(np.mean(reference.residuals(F, exact) ** 2))


def assert_equal_fits(model, other):
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(model, name), getattr(other, name), err_msg=name)


def quietly(model, *args, **kwargs):
    """Fit without the warning of degenerate matches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateMatchesWarning)
        return model.fit(*args, **kwargs)


# Results


@pytest.mark.parametrize("name", ["general", "plane", "forward"])
@pytest.mark.parametrize("minimal", ["seven_point", "eight_point"])
@pytest.mark.parametrize("seed", range(3))
def test_ransac_comes_close_to_the_truth(name, minimal, seed):
    view = scene(name, seed)
    model = FundamentalMatrix(minimal=minimal, random_state=0).fit(view.matches)
    assert model.degeneracy_ == "none"
    assert error_of(model.F_, view) < 1.0
    assert (model.inlier_mask_ == view.inlier_mask).mean() > 0.85


@pytest.mark.parametrize("seed", range(5))
def test_ransac_is_no_worse_than_a_plain_search_with_refinement(seed):
    view = scene(seed=seed)
    threshold = 1.5
    model = FundamentalMatrix(residual_threshold=threshold, random_state=0).fit(view.matches)
    plain = reference.ransac(view.matches, threshold, n_trials=150)
    best = reference.refine(plain, view.matches, "truncated", threshold)
    scores = [reference.msac_score(F, view.matches, threshold) for F in (model.F_, plain, best)]
    assert scores[0] > scores[1]
    assert scores[0] > scores[2] - 0.02


@pytest.mark.parametrize("seed", range(5))
def test_lmeds_has_a_small_median(seed):
    view = scene(seed=seed, inlier_ratio=0.7)
    model = FundamentalMatrix("lmeds", random_state=0).fit(view.matches)
    plain = reference.lmeds(view.matches, n_trials=100)
    assert np.median(reference.sampson(model.F_, view.matches)) < 1.2 * np.median(
        reference.sampson(plain, view.matches)
    )
    assert error_of(model.F_, view) < 1.0


def test_linear_methods_are_those_functions():
    matches = right().matches
    weight = np.random.default_rng(0).uniform(0, 2, len(matches))
    model = FundamentalMatrix("eight_point").fit(matches, sample_weight=weight)
    np.testing.assert_allclose(model.F_, eight_point(matches, weight), atol=1e-12)
    model = FundamentalMatrix("seven_point").fit(matches, sample_weight=weight)
    candidates = seven_point(matches, weight)
    assert min(reference.distance(model.F_, F) for F in candidates) < 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["general", "plane", "forward"])
def test_exact_matches_give_the_exact_matrix(method, name):
    view = right(name, noise=0.0)
    model = FundamentalMatrix(method, random_state=0).fit(view.matches)
    assert reference.sampson(model.F_, view.matches).max() < 1e-6
    assert reference.distance(model.F_, view.F) < 1e-8
    assert model.inlier_mask_.all() and model.degeneracy_ == "none"


def test_right_matches_give_about_the_maximum_of_the_likelihood():
    view = right(noise=1.0)
    model = FundamentalMatrix(residual_threshold=5.0, random_state=0).fit(view.matches)
    best = reference.refine(view.F, view.matches)
    assert model.inlier_mask_.mean() > 0.99
    assert error_of(model.F_, view) < 1.3 * error_of(best, view) + 0.02


@pytest.mark.parametrize("method", METHODS)
def test_what_the_attributes_say_of_each_other(view, method):
    view = view if method in ("ransac", "lmeds") else right()
    matches = view.matches
    model = FundamentalMatrix(method, random_state=0).fit(matches)
    assert model.F_.shape == (3, 3) and model.F_.dtype == np.float64
    assert np.linalg.norm(model.F_) == pytest.approx(1, abs=1e-12)
    assert model.F_.max() > (1 - 1e-12) * np.abs(model.F_).max()
    assert np.linalg.svd(model.F_, compute_uv=False)[2] < 1e-14
    distances = reference.sampson(model.F_, matches)
    threshold = model.residual_threshold_
    np.testing.assert_allclose(model.score_samples(matches), distances, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(model.inlier_mask_, distances <= threshold)
    np.testing.assert_array_equal(model.predict(matches), model.inlier_mask_)
    assert model.inlier_mask_.dtype == bool
    assert model.n_inliers_ == model.inlier_mask_.sum()
    expected = reference.msac_score(model.F_, matches, threshold)
    assert model.score_ == pytest.approx(expected, rel=1e-6)
    assert model.score(matches) == pytest.approx(expected, rel=1e-6)
    assert model.noise_scale_ == pytest.approx(0.5, rel=0.5)
    for F, epipole in zip((model.F_, model.F_.T), model.epipoles_):
        assert np.linalg.norm(epipole) == pytest.approx(1)
        assert np.abs(F @ epipole).max() < 1e-12
    assert model.n_features_in_ == 4 and str(model.device_) == "cpu"
    values = np.linalg.eigvalsh(model.covariance_)
    assert values[0] > -1e-9 * values[-1] and values[1] < 1e-9 * values[-1]
    np.testing.assert_allclose(model.covariance_, model.covariance_.T, atol=1e-9 * values[-1])
    # The norm of F is certain.
    assert np.abs(model.covariance_ @ model.F_.ravel()).max() < 1e-9 * np.abs(values).max()


def test_points_of_two_images_are_matches(view):
    matches = view.matches
    model = FundamentalMatrix(random_state=0).fit(matches)
    other = FundamentalMatrix(random_state=0).fit(matches[:, :2], matches[:, 2:])
    assert_equal_fits(other, model)
    assert other.n_features_in_ == 2
    pair = matches[:50, :2], matches[:50, 2:]
    np.testing.assert_array_equal(other.predict(*pair), model.predict(matches[:50]))
    np.testing.assert_array_equal(other.score_samples(*pair), model.score_samples(matches[:50]))
    assert other.score(*pair) == model.score(matches[:50])


def test_lines_of_right_points_pass_their_matches(view):
    model = FundamentalMatrix(random_state=0).fit(view.matches)
    for image, points, others in (
        (1, view.exact[:, :2], view.exact[:, 2:]),
        (2, view.exact[:, 2:], view.exact[:, :2]),
    ):
        lines = model.epipolar_lines(points, image=image)
        assert lines.shape == (len(points), 3)
        np.testing.assert_allclose(np.hypot(lines[:, 0], lines[:, 1]), 1)
        distances = np.abs((lines * reference.homogeneous(others)).sum(axis=1))
        assert np.median(distances[view.inlier_mask]) < 0.5


def test_a_threshold_of_auto_is_a_multiple_of_the_noise():
    found = [
        FundamentalMatrix(residual_threshold="auto", random_state=0)
        .fit(scene(noise=noise, n_matches=600).matches)
        .residual_threshold_
        for noise in (0.2, 0.4, 0.8)
    ]
    assert 1.4 < found[1] / found[0] < 2.8 and 1.4 < found[2] / found[1] < 2.8
    assert 0.3 < found[0] < 1.5


def test_refinement_helps():
    errors = []
    for local in (True, False):
        settings = {"local_optimization": local, "random_state": 0, "degeneracy": "ignore"}
        errors.append(
            [
                error_of(FundamentalMatrix(**settings).fit(view.matches).F_, view)
                for view in (scene(seed=seed) for seed in range(8))
            ]
        )
    assert np.mean(errors[0]) < 0.9 * np.mean(errors[1])


def test_qualities_find_rare_right_matches_sooner():
    trials = {False: [], True: []}
    for seed in range(6):
        view = scene(seed=seed, n_matches=600, inlier_ratio=0.3)
        for ranked in trials:
            quality = view.quality if ranked else None
            model = FundamentalMatrix(random_state=0).fit(view.matches, quality=quality)
            trials[ranked].append(model.n_trials_)
            assert error_of(model.F_, view) < 2.0
    assert np.mean(trials[True]) < 0.5 * np.mean(trials[False])


# What matches leave undetermined


@pytest.mark.parametrize(
    ("name", "expected"),
    [("planar", "plane"), ("pure_rotation", "rotation")],
)
@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("inlier_ratio", [1.0, 0.6])
@pytest.mark.parametrize("degeneracy", ["handle", "flag"])
def test_degenerate_scenes_are_told(name, expected, noise, inlier_ratio, degeneracy):
    told = []
    for seed in range(3):
        view = scene(name, seed, noise=noise, inlier_ratio=inlier_ratio)
        model = FundamentalMatrix(degeneracy=degeneracy, random_state=0)
        with pytest.warns(DegenerateMatchesWarning) as caught:
            model.fit(view.matches)
        assert len(caught) == 1 and caught[0].filename == __file__
        assert f"'{model.degeneracy_}'" in str(caught[0].message)
        told.append(model.degeneracy_)
        # F is one of those that fit.
        assert model.inlier_mask_[view.inlier_mask].mean() > 0.75
    # Few homographies of planes look like those of rotations.
    assert set(told) <= {"plane", "rotation"} and told.count(expected) >= 2


@pytest.mark.parametrize("name", ["general", "plane", "forward"])
def test_other_scenes_are_not(name):
    for seed in range(10):
        model = FundamentalMatrix(random_state=0).fit(scene(name, seed, n_matches=300).matches)
        assert model.degeneracy_ == "none"


def test_a_plane_is_left_only_where_that_is_wanted():
    """Of most matches on a plane, samples of the plane alone score well, and mislead."""
    errors = {"handle": [], "ignore": []}
    for seed in range(8):
        view = scene("plane", seed, n_matches=300, noise=1.0, plane_ratio=0.9)
        for degeneracy in errors:
            model = FundamentalMatrix(degeneracy=degeneracy, residual_threshold=1.5, random_state=0)
            beside = view.exact[view.inlier_mask & ~view.plane_mask]
            F = quietly(model, view.matches).F_
            errors[degeneracy].append(np.median(reference.sampson(F, beside)))
    assert np.mean(np.array(errors["handle"]) < 2) >= 0.75
    assert np.mean(errors["handle"]) <= np.mean(errors["ignore"])


def test_ignored_degeneracy_is_not_told():
    model = FundamentalMatrix(degeneracy="ignore", random_state=0).fit(scene("planar").matches)
    assert model.degeneracy_ == "none"


# Seeds and threads


@pytest.mark.parametrize("method", ["ransac", "lmeds"])
@pytest.mark.parametrize("name", ["general", "plane", "planar"])
@pytest.mark.parametrize("inlier_ratio", [0.3, 0.8])
def test_threads_change_nothing(method, name, inlier_ratio):
    view = scene(name, n_matches=1500, inlier_ratio=inlier_ratio)
    options = {"method": method, "random_state": 3, "max_trials": 3000}
    models = [
        quietly(FundamentalMatrix(**options, n_jobs=n_jobs), view.matches)
        for n_jobs in (1, 2, 3, None)
    ]
    for model in models[1:]:
        assert_equal_fits(model, models[0])


@pytest.mark.parametrize("ranked", [False, True])
def test_batches_are_single_fits(ranked):
    views = [
        scene(name, seed, n_matches=100 + 50 * seed)
        for seed, name in enumerate(["general", "plane", "planar", "forward", "general"])
    ]
    matches = [view.matches for view in views]
    quality = [view.quality for view in views] if ranked else None
    fits = []
    for n_jobs in (1, 2, 3):
        model = FundamentalMatrix(random_state=5, n_jobs=n_jobs)
        with pytest.warns(DegenerateMatchesWarning):
            fits.append(model.fit_batch(matches, quality=quality))
        assert not hasattr(model, "F_")
    for i, view in enumerate(views):
        single = FundamentalMatrix(random_state=5)
        quietly(single, view.matches, quality=view.quality if ranked else None)
        for batch in fits:
            assert isinstance(batch[i], FundamentalMatrix)
            assert_equal_fits(batch[i], single)


def test_seeds_matter_and_repeat():
    view = scene(n_matches=500, inlier_ratio=0.4)
    first, again, other = (
        FundamentalMatrix(random_state=seed, local_optimization=False).fit(view.matches)
        for seed in (1, 1, 2)
    )
    assert_equal_fits(first, again)
    assert (first.F_ != other.F_).any()
    states = [np.random.RandomState(1), np.random.RandomState(1)]
    one, two = (FundamentalMatrix(random_state=state).fit(view.matches) for state in states)
    assert_equal_fits(one, two)
    generators = [np.random.default_rng(1), np.random.default_rng(1)]
    one, two = (FundamentalMatrix(random_state=rng).fit(view.matches) for rng in generators)
    assert_equal_fits(one, two)
    # A state goes on.
    model = FundamentalMatrix(random_state=states[0], local_optimization=False)
    assert (model.fit(view.matches).F_ != model.fit(view.matches).F_).any()
    # Without a seed it works too, and leaves NumPy's global state alone.
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    FundamentalMatrix(random_state=0).fit(view.matches)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert FundamentalMatrix().fit(view.matches).n_inliers_ > 100


@pytest.mark.parametrize("method", ["ransac", "lmeds"])
@pytest.mark.parametrize("max_trials", [1, 2, 7, 63, 100, 1000])
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("ranked", [False, True])
def test_the_limit_of_trials_holds(method, max_trials, n_jobs, ranked):
    view = scene(n_matches=300, inlier_ratio=0.1)
    model = FundamentalMatrix(method, max_trials=max_trials, n_jobs=n_jobs, random_state=0)
    quietly(model, view.matches, quality=view.quality if ranked else None)
    assert 1 <= model.n_trials_ <= max_trials
    assert np.isfinite(model.F_).all()


def test_easy_matches_need_few_trials():
    few = FundamentalMatrix(random_state=0).fit(right(noise=0.2).matches)
    many = FundamentalMatrix(random_state=0).fit(scene(inlier_ratio=0.3).matches)
    assert few.n_trials_ < 200 < many.n_trials_
    sure = FundamentalMatrix(random_state=0, confidence=1 - 1e-12)
    unsure = FundamentalMatrix(random_state=0, confidence=0.5)
    trials = [model.fit(scene(inlier_ratio=0.4).matches).n_trials_ for model in (unsure, sure)]
    assert trials[0] < trials[1]


# An estimator among others

PARAMETERS = {
    "method": "lmeds",
    "minimal": "eight_point",
    "residual_threshold": "auto",
    "confidence": 0.99,
    "max_trials": 500,
    "degeneracy": "flag",
    "local_optimization": False,
    "nan_policy": "omit",
    "random_state": 5,
    "n_jobs": 1,
    "device": "cpu",
}


def test_all_parameters_are_kept_and_cloned(view):
    model = FundamentalMatrix(**PARAMETERS)
    assert model.get_params() == PARAMETERS
    same = clone(model)
    assert same.get_params() == PARAMETERS
    assert model.fit(view.matches) is model
    for name, value in PARAMETERS.items():
        assert getattr(model, name) is value
    assert not hasattr(clone(model), "F_")
    assert same.set_params(method="ransac", max_trials=7).max_trials == 7
    assert (
        repr(FundamentalMatrix("lmeds", n_jobs=2)) == "FundamentalMatrix(method='lmeds', n_jobs=2)"
    )


def test_a_fit_forgets_what_was_before(view):
    model = FundamentalMatrix(random_state=0).fit(view.matches)
    names = {name for name in vars(model) if name.endswith("_")}
    quietly(model, scene("planar").matches)
    fresh = quietly(FundamentalMatrix(random_state=0), scene("planar").matches)
    assert {name for name in vars(model) if name.endswith("_")} == names
    assert_equal_fits(model, fresh)


def test_what_is_not_fitted_says_so(view):
    model = FundamentalMatrix()
    for method in ("predict", "score_samples", "score"):
        with pytest.raises(NotFittedError):
            getattr(model, method)(view.matches)
    for method in ("epipolar_lines", "epipolar_band"):
        with pytest.raises(NotFittedError):
            getattr(model, method)(view.matches[:, :2])


@pytest.mark.parametrize("method", METHODS)
def test_pickles_are_the_same(view, method):
    model = quietly(FundamentalMatrix(method, random_state=0), view.matches)
    loaded = pickle.loads(pickle.dumps(model))
    assert_equal_fits(loaded, model)
    np.testing.assert_array_equal(loaded.predict(view.matches), model.predict(view.matches))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_under_joblib(view, backend):
    expected = FundamentalMatrix(random_state=0).fit(view.matches)
    # Large arrays reach processes as memory maps that cannot be written.
    call = Parallel(n_jobs=2, backend=backend, max_nbytes=100)
    fit = FundamentalMatrix(random_state=0, n_jobs=1).fit
    for model in call(delayed(fit)(view.matches) for _ in range(3)):
        assert_equal_fits(model, expected)


def test_tags():
    tags = get_tags(FundamentalMatrix())
    assert not tags.input_tags.allow_nan and not tags.target_tags.required
    assert get_tags(FundamentalMatrix(nan_policy="omit")).input_tags.allow_nan


def test_metadata_routing(view):
    weight = np.where(view.inlier_mask, 1.0, 0.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = FundamentalMatrix(random_state=0)
        model.set_fit_request(sample_weight=True, quality=True)
        assert model.get_metadata_routing().fit.requests == {
            "quality": True,
            "sample_weight": True,
        }
        pipeline = make_pipeline(FunctionTransformer(), model)
        pipeline.fit(view.matches, sample_weight=weight, quality=view.quality)
    direct = FundamentalMatrix(random_state=0)
    direct.fit(view.matches, sample_weight=weight, quality=view.quality)
    assert_equal_fits(pipeline[-1], direct)
    np.testing.assert_array_equal(pipeline.predict(view.matches), direct.predict(view.matches))
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(FunctionTransformer(), FundamentalMatrix())
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="quality"):
            pipeline.fit(view.matches, quality=view.quality)
