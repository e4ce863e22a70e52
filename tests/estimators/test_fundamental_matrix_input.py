"""Fundamental matrices of hard input: a sound fit whose degeneracy is told, or a clear error."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import DegenerateMatchesWarning, FailedFit, FundamentalMatrix
from tests.reference import epipolar as reference

METHODS = ["ransac", "eight_point", "seven_point", "lmeds"]
MINIMALS = ["seven_point", "eight_point"]


def scene(name="general", seed=0, **options):
    options = {"n_matches": 100, "inlier_ratio": 0.7, "noise": 0.5, **options}
    return make_two_view(name, random_state=seed, **options)


@pytest.fixture
def matches():
    return scene().matches


def shown(caught):
    return [f"{warning.category.__name__}: {warning.message}" for warning in caught]


def assert_sound(model, matches, rank=True):
    """Hold a fit to what every fit promises."""
    F = model.F_
    assert F.shape == (3, 3) and F.dtype == np.float64 and np.isfinite(F).all()
    assert np.linalg.norm(F) == pytest.approx(1, abs=1e-12)
    assert F.max() > (1 - 1e-12) * np.abs(F).max()
    # In pixels; where coordinates are far from 1, the second value may be below the digits.
    assert np.linalg.svd(F, compute_uv=False)[2] < 1e-14
    if rank:
        used = matches[np.abs(matches).max(axis=1) < np.inf]
        assert reference.balanced_values(F, used)[1] > 1e-12
    assert model.inlier_mask_.shape == (len(matches),) and model.inlier_mask_.dtype == bool
    assert model.n_inliers_ == model.inlier_mask_.sum()
    assert 0 <= model.score_ <= 1
    assert model.degeneracy_ in ("none", "plane", "rotation", "points")
    # Linear methods draw no samples.
    is_random = model.method in ("ransac", "lmeds")
    assert is_random <= model.n_trials_ <= is_random * model.max_trials
    assert np.isfinite(model.epipoles_).all()
    np.testing.assert_allclose(np.linalg.norm(model.epipoles_, axis=1), 1)
    assert model.covariance_.shape == (9, 9) and not np.isnan(model.covariance_).any()
    assert 0 < model.residual_threshold_ < np.inf
    assert 0 <= model.noise_scale_ < np.inf


def fit_quietly(model, *args, **kwargs):
    """Fit, and return the messages of warnings, all of degenerate matches, one at most."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*args, **kwargs)
    assert all(issubclass(w.category, DegenerateMatchesWarning) for w in caught), shown(caught)
    assert len(caught) <= 1, shown(caught)
    assert bool(caught) == (model.degeneracy_ != "none")
    return shown(caught)


# Few matches


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("minimal", MINIMALS)
@pytest.mark.parametrize("n", range(12))
def test_few_matches(method, minimal, n):
    view = scene(n_matches=50, inlier_ratio=1.0)
    matches = view.matches[:n]
    is_random = method in ("ransac", "lmeds")
    least = 8 if "eight_point" in (method, minimal if is_random else method) else 7
    model = FundamentalMatrix(method, minimal=minimal, random_state=0)
    if n < least:
        with pytest.raises(ValueError, match=f"at least {least} matches, got {n}"):
            model.fit(matches)
        (failed,) = model.fit_batch([matches])
        assert isinstance(failed, FailedFit) and not failed
        assert f"at least {least} matches, got {n}" in failed.reason
    else:
        fit_quietly(model, matches)
        assert_sound(model, matches)


@pytest.mark.parametrize("method", ["ransac", "seven_point"])
def test_seven_matches_that_leave_a_choice_are_told(method):
    """Up to three matrices fit seven matches exactly: which is right, they do not tell."""
    matches = scene(n_matches=7, inlier_ratio=1.0).matches
    model = FundamentalMatrix(method, random_state=0)
    fit_quietly(model, matches)
    assert reference.sampson(model.F_, matches).max() < 1e-6
    assert model.degeneracy_ == "points"


# Matches that leave F undetermined


def line(rng, n=60):
    x = rng.uniform(0, 500, n)
    return np.column_stack([x, 2 * x + 3])


def undetermined(rng, method="ransac"):
    points = rng.uniform(0, 500, (60, 2))
    few = scene(n_matches=7, inlier_ratio=1.0).matches
    on_line = line(rng)
    general = scene(n_matches=60, inlier_ratio=1.0).matches
    half = general.copy()
    half[:30] = half[0]
    return {
        "all the same": (np.tile(few[0], (60, 1)), {"points"}),
        "all zero": (np.zeros((60, 4)), {"points"}),
        "two different": (np.repeat(few[:2], 30, axis=0), {"points"}),
        "three different": (np.repeat(few[:3], 20, axis=0), {"points", "plane", "rotation"}),
        "four different": (np.repeat(few[:4], 20, axis=0), {"points", "plane", "rotation"}),
        "six different": (np.repeat(few[:6], 10, axis=0), {"points"}),
        "seven different": (np.repeat(few, 10, axis=0), {"points"}),
        # The least median breaks down there.
        "half are one": (half, {"none", "points"} if method == "lmeds" else {"none"}),
        "a line in space": (
            np.column_stack([on_line, on_line / (1 + on_line[:, :1] / 900)]),
            {"points", "plane", "rotation"},
        ),
        "a line in image 1": (np.column_stack([on_line, points]), {"points", "plane"}),
        "a line in image 2": (np.column_stack([points, on_line]), {"points", "plane"}),
        "one point of image 1": (np.column_stack([np.ones((60, 2)), points]), {"points", "plane"}),
        "a plane": (scene("planar", noise=0.0, inlier_ratio=1.0).matches, {"plane"}),
        "a noisy plane": (scene("planar", inlier_ratio=1.0).matches, {"plane"}),
        "a plane and outliers": (scene("planar").matches, {"plane"}),
        "a plane in general position": (
            np.column_stack([points, points[:, ::-1] + points @ [[0, 0.1], [0, 0.3]]]),
            {"plane"},
        ),
        "a rotation": (scene("pure_rotation", noise=0.0, inlier_ratio=1.0).matches, {"rotation"}),
        "a noisy rotation": (scene("pure_rotation", inlier_ratio=1.0).matches, {"rotation"}),
        "a rotation and outliers": (scene("pure_rotation").matches, {"rotation"}),
        "no motion": (np.tile(points, 2), {"rotation"}),
        "no motion but noise": (
            np.tile(points, 2) + rng.normal(0, 0.3, (60, 4)),
            {"rotation"},
        ),
        "a shift": (np.column_stack([points, points + [5, 7]]), {"plane", "rotation"}),
    }


CASES = list(undetermined(np.random.default_rng(0)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_matches_that_leave_the_matrix_undetermined(case, method, rng):
    matches, expected = undetermined(rng, method)[case]
    before = matches.copy()
    model = FundamentalMatrix(method, max_trials=2000, random_state=0)
    messages = fit_quietly(model, matches)
    assert_sound(model, matches)
    np.testing.assert_array_equal(matches, before)
    if method in ("ransac", "lmeds") or "outliers" not in case:
        assert model.degeneracy_ in expected, messages


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("minimal", MINIMALS)
@pytest.mark.parametrize("degeneracy", ["handle", "flag", "ignore"])
def test_undetermined_in_all_ways(case, minimal, degeneracy, rng):
    matches, _ = undetermined(rng)[case]
    model = FundamentalMatrix(
        minimal=minimal, degeneracy=degeneracy, max_trials=300, random_state=0
    )
    fit_quietly(model, matches)
    assert_sound(model, matches)
    assert degeneracy != "ignore" or model.degeneracy_ == "none"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e8, 1e-6])
def test_undetermined_matches_of_any_scale(case, method, scale, rng):
    matches, _ = undetermined(rng)[case]
    model = FundamentalMatrix(method, residual_threshold=scale, max_trials=200, random_state=0)
    fit_quietly(model, scale * matches)
    assert_sound(model, scale * matches)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_matches_only(method, rng):
    """There is no answer; what comes is sound, and says how few agree with it."""
    matches = rng.uniform(0, 500, (200, 4))
    model = FundamentalMatrix(method, max_trials=500, random_state=0)
    fit_quietly(model, matches)
    assert_sound(model, matches)
    if method == "lmeds":  # its threshold is what half of the matches keep to, whatever they are
        assert model.noise_scale_ > 10
    else:
        assert model.inlier_mask_.mean() < 0.3


# Coordinates


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e8, 1e-6, 1e-30, 1e20])
def test_scales_carry_over(method, scale):
    view = scene(inlier_ratio=1.0 if "point" in method else 0.7)
    plain = FundamentalMatrix(method, residual_threshold=1.0, random_state=0).fit(view.matches)
    scaled = FundamentalMatrix(method, residual_threshold=scale, random_state=0)
    fit_quietly(scaled, scale * view.matches)
    assert_sound(scaled, scale * view.matches)
    assert scaled.degeneracy_ == "none"
    assert (scaled.inlier_mask_ == plain.inlier_mask_).mean() > 0.97
    map_ = np.diag([scale, scale, 1])
    assert reference.distance(map_ @ scaled.F_ @ map_, plain.F_) < 0.05
    assert scaled.noise_scale_ == pytest.approx(scale * plain.noise_scale_, rel=0.2)


def test_far_from_the_origin():
    view = scene()
    matches = view.matches + 1e5
    model = FundamentalMatrix(random_state=0)
    fit_quietly(model, matches)
    assert (model.inlier_mask_ == view.inlier_mask).mean() > 0.85


@pytest.mark.parametrize("method", ["ransac", "lmeds"])
@pytest.mark.parametrize("distance", [1e4, 1e8, 1e15, 1e29])
def test_a_far_match_changes_little(method, distance):
    view = scene()
    matches = view.matches.copy()
    wrong = np.flatnonzero(~view.inlier_mask)[:3]
    matches[wrong, [0, 1, 3]] = [distance, -distance, distance]
    model = FundamentalMatrix(method, random_state=0)
    fit_quietly(model, matches)
    assert_sound(model, matches, rank=False)
    assert not model.inlier_mask_[wrong].any()
    assert np.median(reference.sampson(model.F_, view.exact[view.inlier_mask])) < 0.7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_rows", [1, 40])
def test_what_is_not_finite_is_an_error(matches, method, value, n_rows):
    matches[5 : 5 + n_rows, 2] = value
    before = matches.copy()
    model = FundamentalMatrix(method, random_state=0)
    with pytest.raises(ValueError, match=f"(?s)finite.*{n_rows} of 100 rows.*row 5"):
        model.fit(matches)
    assert not hasattr(model, "F_")
    (failed,) = model.fit_batch([matches])
    assert not failed and "finite" in failed.reason
    np.testing.assert_array_equal(matches, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_rows", [1, 40])
def test_what_is_not_finite_is_omitted_on_request(method, value, n_rows):
    view = scene(inlier_ratio=1.0 if "point" in method else 0.7)
    matches, rest = view.matches.copy(), np.r_[0:5, 5 + n_rows : 100]
    matches[5 : 5 + n_rows, 2] = value
    before = matches.copy()
    options = {"quality": view.quality} if method == "ransac" else {}
    model = FundamentalMatrix(method, nan_policy="omit", random_state=0)
    model.fit(matches, **options)
    options = {name: values[rest] for name, values in options.items()}
    expected = FundamentalMatrix(method, random_state=0).fit(matches[rest], **options)
    np.testing.assert_array_equal(model.F_, expected.F_)
    np.testing.assert_array_equal(model.covariance_, expected.covariance_)
    assert model.inlier_mask_.shape == (100,)
    np.testing.assert_array_equal(model.inlier_mask_[rest], expected.inlier_mask_)
    assert not model.inlier_mask_[5 : 5 + n_rows].any()
    np.testing.assert_array_equal(matches, before)
    # And of what is asked about later.
    np.testing.assert_array_equal(model.predict(matches), model.inlier_mask_)
    distances = model.score_samples(matches)
    np.testing.assert_array_equal(np.isnan(distances), ~np.isin(np.arange(100), rest))
    with pytest.raises(ValueError, match="finite"):
        expected.predict(matches)


def test_too_few_are_left():
    matches = scene().matches
    matches[6:] = np.nan
    with pytest.raises(ValueError, match="at least 7 matches, got 6 after 94 of 100"):
        FundamentalMatrix(nan_policy="omit").fit(matches)


@pytest.mark.parametrize("method", METHODS)
def test_any_kind_of_numbers(method):
    whole = np.round(scene(inlier_ratio=1.0 if "point" in method else 0.7).matches).astype(int)
    expected = FundamentalMatrix(method, random_state=0).fit(whole.astype(float))
    read_only = whole.astype(float)
    read_only.flags.writeable = False
    kinds = [
        whole,
        whole.tolist(),
        whole.astype(np.uint16),
        whole.astype(np.float32),
        np.asfortranarray(whole, dtype=float),
        np.repeat(whole, 2, axis=0)[::2],
        read_only,
        whole.astype(">f8"),
    ]
    for same in kinds:
        model = FundamentalMatrix(method, random_state=0).fit(same)
        np.testing.assert_array_equal(model.F_, expected.F_)
        np.testing.assert_array_equal(model.score_samples(same), expected.score_samples(whole))


def test_data_frames(matches):
    pandas = pytest.importorskip("pandas")
    expected = FundamentalMatrix(random_state=0).fit(matches)
    frame = pandas.DataFrame(matches, columns=list("abcd"), index=np.arange(100)[::-1])
    weight = pandas.Series(np.ones(100), index=np.arange(100)[::-1])
    np.testing.assert_array_equal(FundamentalMatrix(random_state=0).fit(frame).F_, expected.F_)
    model = FundamentalMatrix(random_state=0).fit(frame[["a", "b"]], frame[["c", "d"]])
    np.testing.assert_array_equal(model.F_, expected.F_)
    fit_quietly(FundamentalMatrix(random_state=0), frame, sample_weight=weight, quality=weight)


# Weights


@pytest.mark.parametrize("method", ["eight_point", "seven_point"])
def test_weights_are_repeated_rows(method, rng):
    matches = scene(inlier_ratio=1.0).matches
    weight = rng.integers(0, 4, len(matches)).astype(float)
    weighted = FundamentalMatrix(method).fit(matches, sample_weight=weight)
    repeated = FundamentalMatrix(method).fit(np.repeat(matches, weight.astype(int), axis=0))
    np.testing.assert_allclose(weighted.F_, repeated.F_, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_matches_may_weigh_nothing(method):
    view = scene()
    weight = view.inlier_mask.astype(float)
    model = FundamentalMatrix(method, random_state=0)
    model.fit(view.matches, sample_weight=weight)
    error = reference.sampson(model.F_, view.exact[view.inlier_mask])
    assert np.median(error) < 1.0
    assert_sound(model, view.matches)


@pytest.mark.parametrize("method", METHODS)
def test_equal_weights_are_none(method):
    matches = scene(inlier_ratio=1.0 if "point" in method else 0.7).matches
    plain = FundamentalMatrix(method, random_state=0).fit(matches)
    for value in (1.0, 0.25, 4.0):
        weight = np.full(len(matches), value)
        model = FundamentalMatrix(method, random_state=0).fit(matches, sample_weight=weight)
        assert reference.distance(model.F_, plain.F_) < 1e-9
        np.testing.assert_array_equal(model.inlier_mask_, plain.inlier_mask_)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("weight", "error"),
    [
        (np.full(100, -1.0), "negative"),
        (np.r_[np.nan, np.ones(99)], "finite|NaN"),
        (np.r_[np.inf, np.ones(99)], "finite|inf"),
        (np.ones(99), "100|99"),
        (np.ones((100, 1)), "dimension|1D|shape"),
        (np.zeros(100), "positive|zero|at least"),
        (np.r_[np.ones(6), np.zeros(94)], "positive|at least"),
        (["a"] * 100, "."),
    ],
)
def test_wrong_weights_are_an_error(matches, method, weight, error):
    with pytest.raises((ValueError, TypeError), match=error):
        FundamentalMatrix(method, random_state=0).fit(matches, sample_weight=weight)


# Qualities


@pytest.mark.parametrize("degenerate", ["constant", "inverse", "ranks", "huge", "two values"])
def test_strange_qualities(degenerate):
    view = scene(n_matches=200)
    quality = {
        "constant": np.zeros(200),
        "inverse": -view.quality,
        "ranks": np.argsort(np.argsort(view.quality)),
        "huge": 1e300 * view.quality,
        "two values": view.quality > 0.5,
    }[degenerate]
    model = FundamentalMatrix(random_state=0)
    fit_quietly(model, view.matches, quality=quality)
    assert_sound(model, view.matches)
    error = reference.sampson(model.F_, view.exact[view.inlier_mask])
    assert np.median(error) < 1.0


def test_only_the_order_of_qualities_matters():
    view = scene(n_matches=200)
    fits = [
        FundamentalMatrix(random_state=0).fit(view.matches, quality=quality)
        for quality in (view.quality, np.exp(3 * view.quality), 1e6 * view.quality - 7)
    ]
    for model in fits[1:]:
        np.testing.assert_array_equal(model.F_, fits[0].F_)
        assert model.n_trials_ == fits[0].n_trials_


@pytest.mark.parametrize(
    ("quality", "error"),
    [
        (np.full(100, np.nan), "quality.*(finite|NaN)"),
        (np.r_[np.nan, np.ones(99)], "quality.*(finite|NaN)"),
        (np.ones(99), "quality.*(100|99)"),
        (np.ones((100, 1)), "quality"),
        (["a"] * 100, "quality"),
    ],
)
def test_wrong_qualities_are_an_error(matches, quality, error):
    with pytest.raises((ValueError, TypeError), match=error):
        FundamentalMatrix(random_state=0).fit(matches, quality=quality)


# Shapes and parameters

SHAPES = {
    "three columns": lambda m: (m[:, :3],),
    "one row": lambda m: (m[0],),
    "three axes": lambda m: (m[np.newaxis],),
    "two columns alone": lambda m: (m[:, :2],),
    "four columns and y": lambda m: (m, m[:, :2]),
    "other lengths": lambda m: (m[:, :2], m[1:, 2:]),
    "nothing": lambda m: (None,),
    "text": lambda m: (m.astype(str),),
    "complex": lambda m: (m + 1j,),
    "sparse": lambda m: (csr_array(m),),
    "objects": lambda m: (np.array([[None] * 4] * 20),),
    "ragged": lambda m: ([[1.0, 2.0, 3.0, 4.0], [3.0]],),
    "empty": lambda m: (np.empty((0, 4)),),
    "a scalar": lambda m: (3.0,),
}


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("method", ["ransac", "eight_point"])
def test_what_are_no_matches_is_an_error(matches, case, method):
    model = FundamentalMatrix(method)
    with pytest.raises((ValueError, TypeError)):
        model.fit(*SHAPES[case](matches))
    assert not hasattr(model, "F_")


def test_questions_must_have_the_shape_of_the_fit(matches):
    model = FundamentalMatrix(random_state=0).fit(matches)
    for name in ("predict", "score_samples", "score"):
        with pytest.raises(ValueError, match=r"\(n, 4\)"):
            getattr(model, name)(matches[:, :3])
    with pytest.raises(ValueError, match="image must be 1 or 2"):
        model.epipolar_lines(matches[:, :2], image=3)
    with pytest.raises(ValueError, match="shape"):
        model.epipolar_lines(matches)


PARAMETERS = {
    "method": ["magic", None, 3],
    "minimal": ["six_point", None],
    "residual_threshold": [0.0, -1.0, "automatic", None, np.nan, np.inf],
    "confidence": [-0.1, 0.0, 1.0, 1.1, "high", np.nan],
    "max_trials": [0, -1, 2.5, None],
    "degeneracy": ["maybe", None, True],
    "local_optimization": ["yes", None, 2],
    "nan_policy": ["propagate", None],
    "random_state": ["seed", -1],
    "n_jobs": [0, 1.5],
    "device": ["gpu?"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in PARAMETERS.items() for value in values]
)
def test_parameters_that_make_no_sense_are_errors(matches, name, value):
    model = FundamentalMatrix(**{name: value})
    for fit in (model.fit, lambda m: model.fit_batch([m])):
        with pytest.raises((ValueError, TypeError), match=f"{name}|seed"):
            fit(matches)


def test_a_device_that_cannot_serve_is_an_error(matches):
    with pytest.raises(RuntimeError, match="(?i)cuda"):
        FundamentalMatrix(device="cuda").fit(matches)


# Batches


def test_a_batch_with_failures():
    good, plane = scene().matches, scene("planar").matches
    batch = [good, good[:5], plane, np.full((20, 4), np.nan), np.ones((30, 3)), good.tolist()]
    model = FundamentalMatrix(random_state=0)
    with pytest.warns(DegenerateMatchesWarning, match=r"\[2\]"):
        fits = model.fit_batch(batch)
    assert [bool(fit) for fit in fits] == [True, False, True, False, False, True]
    assert "at least 7" in fits[1].reason and "finite" in fits[3].reason
    assert "shape" in fits[4].reason
    assert fits[2].degeneracy_ == "plane" and fits[0].degeneracy_ == "none"
    np.testing.assert_array_equal(fits[0].F_, fits[5].F_)
    assert "at least 7" in repr(fits[1]) and isinstance(fits[1], FailedFit)


def test_batches_of_strange_sizes():
    model = FundamentalMatrix(random_state=0)
    assert model.fit_batch([]) == []
    matches = scene().matches
    stack = np.stack([matches, matches])
    assert len(model.fit_batch(stack)) == 2
    with pytest.raises(ValueError, match="quality"):
        model.fit_batch([matches, matches], quality=[np.ones(100)])


def test_a_fit_that_fails_changes_nothing(matches):
    model = FundamentalMatrix(random_state=0).fit(matches)
    before = dict(vars(model))
    for wrong in (matches[:3], np.full((20, 4), np.nan)):
        with pytest.raises(ValueError, match="."):
            model.fit(wrong)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is before[name] for name in before)
