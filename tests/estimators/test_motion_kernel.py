"""Weights of motion kernels against least squares on lagged matrices that are spelt out."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel, fixed_kernel
from tests.reference import motion_kernel as reference

SHARING = ("all", "coordinate", "joint", "channel")
LENGTHS = (45, 31, 7, 52, 3)


def walkers(gaps=False, offset=0.0, dtype=np.float64, lengths=LENGTHS):
    """Return ragged sequences of three joints of a walker, seen with noise."""
    motion = make_motion(
        "walk", n_sequences=len(lengths), n_frames=max(lengths), noise=5.0, random_state=7
    )
    X = [x[:n, [0, 5, 9]] + offset for x, n in zip(motion.observed, lengths)]
    if gaps:
        X[0][20, 1] = np.nan
        X[0][41:, 2, 0] = np.nan
        X[1][:3, 0] = np.nan
        X[3][10:14, 1, 2] = np.nan
    return [x.astype(dtype) for x in X]


def other_values(X, seed=3):
    """Return a target with gaps that depends on the sequences, but not on them alone."""
    rng = np.random.default_rng(seed)
    y = [np.cumsum(x - 500.0, axis=0, dtype=float) * 0.1 + rng.normal(size=x.shape) for x in X]
    y = [np.nan_to_num(values) for values in y]
    y[0][30, 1, 1] = np.nan
    return y


def expected(X, sharing, offsets, wanted, *, solve=reference.least_squares, data=None, **options):
    """Return the reference's weights and constants, one row for each kernel."""
    groups = reference.labels(sharing, *X[0].shape[1:])
    parts = reference.rows(X, groups, offsets, wanted, **(data or {}))
    kernels, constants = zip(*(solve(part, offsets, **options) for part in parts))
    return np.array(kernels), np.array(constants)


def assert_weights(kernel, rows, rtol=1e-10):
    got = kernel.coef_.reshape(-1, len(kernel.offsets_))
    assert got.shape == np.shape(rows)
    size = np.abs(rows).max(axis=1, keepdims=True)
    np.testing.assert_array_less(np.abs(got - rows) / size, rtol)


# What is asked for, and what the reference calls it

TARGETS = {
    "next": {"target": "next"},
    "three ahead": {"target": "next", "horizon": 3},
    "velocity": {"target": "velocity"},
    "acceleration": {"target": "acceleration", "fps": 50.0},
    "y": {},
}
CONSTRAINTS = {
    "free": ({}, None),
    "weight_sum": ({"weight_sum": 0.7}, {0: 0.7}),
    "residual": ({"residual": True}, {0: 1.0}),
    "moments": ({"moments": {1: 0.4, 2: -1.5}}, {1: 0.4, 2: -1.5}),
}
DATA = {
    "whole": {},
    "gaps, far away": {"gaps": True, "offset": 3000.0},
    "float32, gaps, far away": {"gaps": True, "offset": 3000.0, "dtype": np.float32},
}


# Derivatives do not contain the present frame, which a residual kernel adds.
POSSIBLE = [
    (target, constraint)
    for target in TARGETS
    for constraint in CONSTRAINTS
    if constraint != "residual" or target not in ("velocity", "acceleration")
]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("target", "constraint"), POSSIBLE)
@pytest.mark.parametrize("sharing", SHARING)
def test_weights_are_those_of_lstsq(sharing, target, constraint, data):
    X = walkers(**DATA[data])
    y = other_values(X) if target == "y" else None
    options, moments = CONSTRAINTS[constraint]
    kernel = MotionKernel(5, sharing=sharing, **TARGETS[target], **options).fit(X, y)
    offsets = reference.taps(5)
    np.testing.assert_array_equal(kernel.offsets_, offsets)
    wanted = reference.goal(**({"target": "next"} | TARGETS[target]))
    rows, _ = expected(X, sharing, offsets, wanted, data={"y": y}, moments=moments)
    assert_weights(kernel, rows)
    assert not kernel.intercept_.any()


WINDOWS = {
    "one tap": {"n_taps": 1},
    "two taps": {"n_taps": 2},
    "dilated": {"n_taps": 4, "dilation": 3},
    "centred": {"n_taps": 7, "causal": False, "target": "velocity"},
    "centred, dilated": {"n_taps": 3, "causal": False, "dilation": 2, "horizon": 4},
    "centred, even": {"n_taps": 4, "causal": False, "target": "acceleration"},
}


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("sharing", ["all", "channel"])
def test_windows_of_all_kinds(sharing, window, fit_intercept):
    X = walkers(gaps=True, offset=3000.0)
    options = WINDOWS[window]
    kernel = MotionKernel(**options, sharing=sharing, fit_intercept=fit_intercept).fit(X)
    frames = {name: options[name] for name in ("n_taps", "causal", "dilation") if name in options}
    offsets = reference.taps(**frames)
    np.testing.assert_array_equal(kernel.offsets_, offsets)
    wanted = reference.goal(options.get("target", "next"), options.get("horizon", 1))
    rows, constants = expected(X, sharing, offsets, wanted, intercept=fit_intercept)
    assert_weights(kernel, rows)
    assert kernel.intercept_.shape == kernel.coef_.shape[:-1]
    np.testing.assert_allclose(kernel.intercept_.ravel(), constants, atol=3000 * 1e-9)


def test_even_centred_windows_reach_further_back():
    kernel = MotionKernel(4, causal=False, target="position").fit(walkers())
    np.testing.assert_array_equal(kernel.offsets_, [-2, -1, 0, 1])
    np.testing.assert_allclose(kernel.coef_, [0, 0, 1, 0], atol=1e-10)


PENALTIES = {
    "ridge": {"alpha": 3e4},
    "smoothness": {"smoothness": 1e5},
    "second differences": {"smoothness": 1e5, "smoothness_order": 2},
    "ridge and smoothness": {"alpha": 2e3, "smoothness": 4e4},
}


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("moments", [None, {0: 1.0}, {0: 1.0, 1: 0.5}])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("sharing", ["all", "joint"])
def test_penalties_are_rows_of_the_lagged_matrix(sharing, penalty, moments, fit_intercept):
    X = walkers(gaps=True, offset=300.0)
    kernel = MotionKernel(
        6, sharing=sharing, moments=moments, fit_intercept=fit_intercept, **PENALTIES[penalty]
    ).fit(X)
    rows, _ = expected(
        X,
        sharing,
        reference.taps(6),
        {1: 1.0},
        moments=moments,
        intercept=fit_intercept,
        **PENALTIES[penalty],
    )
    assert_weights(kernel, rows)
    free, _ = expected(X, sharing, reference.taps(6), {1: 1.0}, moments=moments)
    assert np.abs(rows - free).max() > 1e-3  # the penalty matters


@pytest.mark.parametrize("strength", [0.0, 1e3, 1e7])
def test_soft_sum(strength):
    X = walkers()
    kernel = MotionKernel(3, weight_sum=(0.5, strength)).fit(X)
    rows, _ = expected(X, "all", reference.taps(3), {1: 1.0}, soft_sum=(0.5, strength))
    assert_weights(kernel, rows)


def test_soft_sum_becomes_the_exact_one():
    X = walkers()
    soft = MotionKernel(3, weight_sum=(0.5, 1e16)).fit(X)
    exact = MotionKernel(3, weight_sum=0.5).fit(X)
    np.testing.assert_allclose(soft.coef_, exact.coef_, atol=1e-5)
    assert exact.coef_.sum() == pytest.approx(0.5, abs=1e-13)


# Priors

STENCIL_PRIORS = {
    ("velocity", True): [0, 0, 0, -1, 1],
    ("velocity", False): [0, -0.5, 0, 0.5, 0],
    ("hold", True): [0, 0, 0, 0, 1],
    ("acceleration", False): [0, 1, -2, 1, 0],
    ("moving_average", True): [0.2] * 5,
}


@pytest.mark.parametrize(("prior", "causal"), STENCIL_PRIORS)
def test_ridge_pulls_to_a_named_prior(prior, causal):
    X = walkers()
    row = STENCIL_PRIORS[prior, causal]
    options = {"causal": causal, "target": "velocity", "prior": prior}
    kernel = MotionKernel(5, alpha=1e5, **options).fit(X)
    wanted = reference.goal("velocity")
    rows, _ = expected(X, "all", reference.taps(5, causal), wanted, alpha=1e5, prior=row)
    assert_weights(kernel, rows)
    strong = MotionKernel(5, alpha=1e20, **options).fit(X)
    np.testing.assert_allclose(strong.coef_, row, atol=1e-9)


def test_savitzky_golay_prior_is_in_units_of_fps():
    _, weights = fixed_kernel("savgol_velocity", n_taps=7, causal=False, fps=60.0)
    kernel = MotionKernel(
        7, causal=False, target="velocity", prior="savgol_velocity", alpha=1e20, fps=60.0
    )
    np.testing.assert_allclose(kernel.fit(walkers()).coef_, weights, rtol=1e-9, atol=1e-9)


def test_prior_for_each_kernel(rng):
    X = walkers()
    prior = rng.normal(size=(3, 4))
    kernel = MotionKernel(4, sharing="joint", alpha=1e5, prior=prior).fit(X)
    groups = reference.labels("joint", 3, 3)
    parts = reference.rows(X, groups, reference.taps(4), {1: 1.0})
    rows = [
        reference.least_squares(part, reference.taps(4), alpha=1e5, prior=row)[0]
        for part, row in zip(parts, prior)
    ]
    assert_weights(kernel, rows)
    shared = MotionKernel(4, sharing="joint", alpha=1e20, prior=list(prior[0])).fit(X)
    np.testing.assert_allclose(shared.coef_, np.tile(prior[0], (3, 1)), atol=1e-9)


def test_random_prior_is_small_and_repeatable():
    options = {"prior": "random", "alpha": 1e20}
    one = MotionKernel(5, random_state=1, **options).fit(walkers()).coef_
    again = MotionKernel(5, random_state=1, **options).fit(walkers()).coef_
    other = MotionKernel(5, random_state=2, **options).fit(walkers()).coef_
    np.testing.assert_array_equal(one, again)
    assert 0 < np.abs(one).max() < 0.2
    assert np.abs(one - other).min() > 0


def test_a_residual_kernel_without_a_prior_is_pulled_to_the_present_frame():
    kernel = MotionKernel(4, residual=True, alpha=1e20).fit(walkers())
    np.testing.assert_allclose(kernel.coef_, [0, 0, 0, 1], atol=1e-9)


@pytest.mark.parametrize(("target", "moments"), [("next", 1), ("velocity", 2), ("position", 0)])
def test_moments_of_the_target_make_polynomials_exact(target, moments):
    kernel = MotionKernel(6, causal=True, target=target, moments=moments, alpha=1e4, fps=30.0)
    kernel.fit(walkers())
    t = np.arange(40.0)
    exact = {"next": lambda p: (t + 1) ** p, "position": lambda p: t**p}
    exact["velocity"] = lambda p: 30.0 * p * t ** max(p - 1, 0)
    for power in range(moments + 1):
        got = kernel.transform((t**power).reshape(-1, 1, 1) * np.ones((1, 3, 3)))[10:30]
        np.testing.assert_allclose(got[:, 0, 0], exact[target](power)[10:30], rtol=1e-9, atol=1e-7)


# Shrinkage


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_shrinkage_shares_windows_among_kernels(sharing, share):
    X = walkers(gaps=True, offset=50.0)
    kernel = MotionKernel(4, sharing=sharing, shrinkage=share).fit(X)
    offsets = reference.taps(4)
    parts = reference.rows(X, reference.labels(sharing, 3, 3), offsets, {1: 1.0})
    rows = [reference.least_squares(p, offsets)[0] for p in reference.shrunk(parts, share)]
    assert_weights(kernel, rows)
    if share == 1:
        assert_weights(kernel, np.tile(expected(X, "all", offsets, {1: 1.0})[0], (len(rows), 1)))


def test_a_lost_joint_gets_the_kernel_of_all_with_shrinkage():
    X = walkers()
    for x in X:
        x[:, 1] = np.nan
    kernel = MotionKernel(4, sharing="joint", shrinkage=0.2).fit(X)
    shared = MotionKernel(4).fit([np.delete(x, 1, axis=1) for x in X])
    np.testing.assert_allclose(kernel.coef_[1], shared.coef_, atol=1e-9)


# Weights and confidences


def weights_of(kind, X):
    rng = np.random.default_rng(5)
    return {
        "sequence": [rng.random() for _ in X],
        "frame": [rng.random((len(x), 1)) for x in X],
        "joint": [rng.random(x.shape[:2]) for x in X],
    }[kind]


def confidences(X):
    rng = np.random.default_rng(6)
    trust = [rng.random(x.shape[:2]) for x in X]
    trust[0][10, 1] = 0.0
    trust[3][5] = np.nan
    return trust


@pytest.mark.parametrize("with_y", [False, True])
@pytest.mark.parametrize("is_trusted", [False, True])
@pytest.mark.parametrize("kind", ["sequence", "frame", "joint", None])
@pytest.mark.parametrize("sharing", ["all", "joint"])
def test_weights_of_windows(sharing, kind, is_trusted, with_y):
    X = walkers(gaps=True, offset=3000.0)
    weights = None if kind is None else weights_of(kind, X)
    sample_weight = weights
    if kind == "frame":
        sample_weight = [w[:, 0] for w in weights]
    trust = None if not is_trusted else confidences(X)
    y = other_values(X) if with_y else None
    options = {"causal": False, "n_taps": 5, "horizon": 2}
    kernel = MotionKernel(sharing=sharing, **options).fit(
        X, y, sample_weight=sample_weight, confidence=trust
    )
    data = {"y": y, "weights": weights, "confidence": trust}
    rows, _ = expected(X, sharing, reference.taps(5, False), {2: 1.0}, data=data)
    assert_weights(kernel, rows)


def test_weights_count_with_an_intercept_penalty_and_sum():
    X = walkers()
    weights = weights_of("joint", X)
    kernel = MotionKernel(4, weight_sum=0.9, alpha=1e4, fit_intercept=True)
    kernel.fit(X, sample_weight=weights)
    rows, constants = expected(
        X,
        "all",
        reference.taps(4),
        {1: 1.0},
        data={"weights": weights},
        moments={0: 0.9},
        alpha=1e4,
        intercept=True,
    )
    assert_weights(kernel, rows)
    np.testing.assert_allclose(kernel.intercept_, constants[0], rtol=1e-9)


def test_flat_weights_and_nested_ones_are_the_same():
    X = walkers()
    nested = [w[:, 0] for w in weights_of("frame", X)]
    one = MotionKernel(3).fit(X, sample_weight=nested)
    flat = MotionKernel(3).fit(X, sample_weight=np.concatenate(nested))
    np.testing.assert_array_equal(one.coef_, flat.coef_)


def test_a_weight_of_zero_leaves_out():
    X = walkers()
    left = MotionKernel(3).fit([X[0], X[3]])
    by_sequence = MotionKernel(3).fit(X, sample_weight=[1, 0, 0, 1, 0])
    by_frame = MotionKernel(3).fit(
        X, sample_weight=[np.full(len(x), i in (0, 3)) for i, x in enumerate(X)]
    )
    for kernel in (by_sequence, by_frame):
        np.testing.assert_allclose(kernel.coef_, left.coef_, rtol=1e-12)
        assert kernel.n_windows_ == left.n_windows_


def test_windows_are_counted():
    X = walkers(gaps=True)
    kernel = MotionKernel(4, horizon=2).fit(X)
    parts = reference.rows(X, reference.labels("all", 3, 3), reference.taps(4), {2: 1.0})
    assert kernel.n_windows_ == len(parts[0].read)


# Noise

NOISE = {
    "smoother": ({"target": "position"}, None),
    "velocity": ({"target": "velocity"}, None),
    "velocity of what moves evenly": ({"target": "velocity", "moments": 1}, {0: 0.0, 1: 1.0}),
    "present frame": ({"target": "position", "residual": True}, {0: 1.0}),
    "next": ({"target": "next", "horizon": 2}, None),
}


@pytest.mark.parametrize("case", NOISE)
@pytest.mark.parametrize("sharing", ["all", "joint"])
def test_noise_is_taken_out_of_the_gram_matrix(case, sharing):
    X = walkers()
    options, moments = NOISE[case]
    kernel = MotionKernel(7, causal=False, sharing=sharing, noise=4.5, **options).fit(X)
    offsets = reference.taps(7, False)
    goal = {name: options[name] for name in ("target", "horizon") if name in options}
    wanted = reference.goal(**goal)
    parts = reference.rows(X, reference.labels(sharing, 3, 3), offsets, wanted)
    rows = [reference.without_noise(part, offsets, wanted, 4.5, moments) for part in parts]
    assert_weights(kernel, rows, rtol=1e-9)
    assert kernel.noise_ == 4.5


def test_noise_counts_with_the_weights_of_windows():
    X = walkers()
    weights = weights_of("joint", X)
    options = {"causal": False, "target": "velocity", "noise": 4.5}
    kernel = MotionKernel(7, **options).fit(X, sample_weight=weights)
    offsets, wanted = reference.taps(7, False), reference.goal("velocity")
    (part,) = reference.rows(X, reference.labels("all", 3, 3), offsets, wanted, weights=weights)
    assert_weights(kernel, [reference.without_noise(part, offsets, wanted, 4.5)], rtol=1e-9)


def test_the_kernel_for_noisy_data_is_nearly_that_of_clean_targets():
    motion = make_motion("walk", n_sequences=6, n_frames=400, noise=8.0, fps=60.0, random_state=1)
    options = {"causal": False, "fps": 60.0}
    blind = MotionKernel(15, target="velocity", noise="auto", **options).fit(motion.observed)
    seeing = MotionKernel(15, **options).fit(motion.observed, motion.velocity)
    assert blind.noise_ == pytest.approx(8.0, rel=0.05)

    def error(kernel):
        given = kernel.transform(motion.observed)[:, 20:-20]
        return np.sqrt(((given - motion.velocity[:, 20:-20]) ** 2).mean())

    assert error(blind) < 1.02 * error(seeing)
    plain = MotionKernel(15, target="velocity", **options).fit(motion.observed)
    assert error(blind) < 0.5 * error(plain)


# Robust fits


@pytest.mark.parametrize("with_y", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("sharing", ["all", "joint"])
def test_huber_is_reweighted_least_squares(sharing, fit_intercept, with_y):
    X = walkers(gaps=True)
    X[0][11, 0] += 400.0
    X[3][30, 2, 1] -= 250.0
    y = other_values(X) if with_y else None
    kernel = MotionKernel(4, loss="huber", sharing=sharing, fit_intercept=fit_intercept).fit(X, y)
    rows, constants = expected(
        X,
        sharing,
        reference.taps(4),
        {1: 1.0},
        solve=reference.huber,
        data={"y": y},
        intercept=fit_intercept,
    )
    assert_weights(kernel, rows, rtol=1e-4)
    np.testing.assert_allclose(kernel.intercept_.ravel(), constants, atol=2e-2)
    assert 1 < kernel.n_iter_ <= 50


def test_huber_keeps_weights_and_penalties():
    X = walkers()
    X[0][11, 0] += 400.0
    weights = weights_of("joint", X)
    kernel = MotionKernel(4, loss="huber", residual=True, alpha=1e4, prior="zero")
    kernel.fit(X, sample_weight=weights)
    rows, _ = expected(
        X,
        "all",
        reference.taps(4),
        {1: 1.0},
        solve=reference.huber,
        data={"weights": weights},
        moments={0: 1.0},
        alpha=1e4,
    )
    assert_weights(kernel, rows, rtol=1e-4)


def test_huber_forgets_outliers(rng):
    X = walkers(lengths=(80, 80))
    clean = [np.gradient(x, axis=0) for x in X]
    spoilt = [y + 300.0 * (rng.random(y.shape) < 0.05) for y in clean]
    truth = MotionKernel(3).fit(X, clean).coef_
    robust = MotionKernel(3, loss="huber").fit(X, spoilt).coef_
    plain = MotionKernel(3).fit(X, spoilt).coef_
    assert np.abs(robust - truth).max() < 0.2 * np.abs(plain - truth).max()


def test_what_has_no_weight_does_not_count_among_the_residuals(rng):
    X = walkers(lengths=(60, 60, 60))
    X[2] += rng.normal(scale=500.0, size=X[2].shape)
    X[0][20, 0] += 300.0
    kernel = MotionKernel(3, loss="huber").fit(X, sample_weight=[1, 1, 0])
    left = MotionKernel(3, loss="huber").fit(X[:2])
    np.testing.assert_allclose(kernel.coef_, left.coef_, rtol=1e-9)


def test_merge_and_parts_are_not_for_huber():
    kernel = MotionKernel(3, loss="huber").fit(walkers())
    other = MotionKernel(3, loss="huber").fit(walkers())
    with pytest.raises(ValueError, match="huber' needs all data at once"):
        kernel.merge(other)
    with pytest.raises(ValueError, match="huber' needs all data at once"):
        kernel.partial_fit(walkers())


# Parts, order, threads


def assert_same_fit(kernel, whole, rtol=1e-11):
    size = np.abs(whole.coef_).max()
    np.testing.assert_allclose(kernel.coef_, whole.coef_, rtol=0, atol=rtol * size)
    np.testing.assert_allclose(kernel.intercept_, whole.intercept_, atol=1e-6)
    assert kernel.n_windows_ == whole.n_windows_


OPTIONS = [
    {},
    {"sharing": "channel", "shrinkage": 0.1, "alpha": 3.0},
    {"residual": True, "horizon": 3, "sharing": "joint"},
    {"causal": False, "target": "velocity", "fit_intercept": True, "noise": "auto"},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cuts", [(1,), (2, 4), (1, 2, 3, 4)])
def test_partial_fit_of_sequences_is_fit(options, cuts):
    X = walkers(gaps=True, offset=3000.0)
    trust = confidences(X)
    whole = MotionKernel(4, **options).fit(X, confidence=trust)
    kernel = MotionKernel(4, **options)
    for a, b in zip((0, *cuts), (*cuts, len(X))):
        kernel.partial_fit(X[a:b], confidence=trust[a:b])
    assert_same_fit(kernel, whole)
    assert kernel.noise_ == whole.noise_


@pytest.mark.parametrize("with_y", [False, True])
@pytest.mark.parametrize("step", [20, 9, 7])
@pytest.mark.parametrize("options", [{}, {"horizon": 2, "sharing": "joint", "causal": False}])
def test_partial_fit_of_time_is_fit(options, step, with_y):
    X = np.stack([x[:45] for x in walkers(gaps=True, offset=300.0)[::3]])
    y = np.stack(other_values(X)) if with_y else None
    whole = MotionKernel(4, **options).fit(X, y, sample_weight=[0.5, 2.0])
    kernel = MotionKernel(4, **options)
    for begin in range(0, X.shape[1], step):
        part = slice(begin, begin + step)
        kernel.partial_fit(
            X[:, part], None if y is None else y[:, part], [0.5, 2.0], continued=begin > 0
        )
    assert_same_fit(kernel, whole)


def test_single_frames_go_on():
    (x,) = walkers(lengths=(30,))
    kernel = MotionKernel(3).partial_fit(x[:10])
    for t in range(10, 30):
        kernel.partial_fit(x[t : t + 1], continued=True)
    assert_same_fit(kernel, MotionKernel(3).fit(x))


@pytest.mark.parametrize("options", OPTIONS)
def test_merge_is_fit(options):
    X = walkers(gaps=True, offset=3000.0)
    whole = MotionKernel(4, **options).fit(X)
    one, two = MotionKernel(4, **options).fit(X[:2]), MotionKernel(4, **options).fit(X[2:])
    before = two.coef_.copy()
    assert one.merge(two) is one
    assert_same_fit(one, whole)
    np.testing.assert_array_equal(two.coef_, before)
    assert one.noise_ == whole.noise_
    one.partial_fit(X[:1])
    assert_same_fit(one, MotionKernel(4, **options).fit([*X, X[0]]))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_order_of_sequences_does_not_matter(options):
    X = walkers(gaps=True, offset=3000.0)
    kernel = MotionKernel(4, **options).fit(X[::-1])
    assert_same_fit(kernel, MotionKernel(4, **options).fit(X))


@pytest.mark.parametrize("options", [*OPTIONS, {"loss": "huber"}])
def test_threads_change_nothing(options):
    X = walkers(gaps=True, offset=3000.0, lengths=(400, 31, 290, 100))
    one = MotionKernel(6, n_jobs=1, **options).fit(X)
    two = MotionKernel(6, n_jobs=2, **options).fit(X)
    np.testing.assert_array_equal(one.coef_, two.coef_)
    for a, b in zip(one.transform(X), two.transform(X)):
        np.testing.assert_array_equal(a, b)
    assert one.score(X) == two.score(X)


def test_float32_is_fitted_as_its_float64_copy():
    X = walkers(gaps=True, offset=3000.0, dtype=np.float32)
    single = MotionKernel(5, sharing="channel").fit(X)
    double = MotionKernel(5, sharing="channel").fit([x.astype(np.float64) for x in X])
    np.testing.assert_array_equal(single.coef_, double.coef_)
    assert single.coef_.dtype == np.float64


# Gradient descent


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sharing": "channel", "shrinkage": 0.1},
        {"residual": True},
        {"weight_sum": 0.8, "alpha": 1e4, "prior": "velocity"},
        {"fit_intercept": True, "moments": {0: 1.0, 1: 0.5}},
        {"target": "velocity", "causal": False, "noise": 4.5, "sharing": "joint"},
        {"n_taps": 1, "weight_sum": 1.0},
    ],
)
def test_descent_reaches_the_closed_form(options):
    options = {"n_taps": 4, **options}
    X = walkers(gaps=True, offset=300.0)
    closed = MotionKernel(**options).fit(X)
    descended = MotionKernel(solver="gradient", **options).fit(X)
    assert not hasattr(closed, "trace_")
    assert_same_fit(descended, closed, rtol=1e-9)
    trace = descended.trace_
    assert trace.epoch[0] == 0 and trace.epoch[-1] == descended.n_iter_
    assert (np.diff(trace.epoch) > 0).all()
    assert len(trace.epoch) == len(trace.loss) == len(trace.coef)
    np.testing.assert_array_equal(trace.coef[-1], descended.coef_)


def test_plain_descent_is_monotone_and_starts_at_the_prior(rng):
    X = walkers()
    prior = rng.normal(size=4)
    kernel = MotionKernel(
        4, solver="gradient", prior=prior, learning_rate=1.0, max_iter=300, sharing="joint"
    )
    with pytest.warns(ConvergenceWarning, match="raise max_iter or tol"):
        kernel.fit(X)
    trace = kernel.trace_
    np.testing.assert_allclose(trace.coef[0], np.tile(prior, (3, 1)), atol=1e-12)
    assert (np.diff(trace.loss) < 0).all()
    assert kernel.n_iter_ == 300 and trace.epoch[-1] == 300


PULLED = {
    "alpha": 1e4,
    "prior": [0.1, 0.2, 0.3, 0.5],
    "smoothness": 1e4,
    "weight_sum": (0.9, 1e6),
}


@pytest.mark.parametrize("options", [{}, PULLED])
def test_the_trace_holds_the_mean_loss(options):
    X = walkers()
    kernel = MotionKernel(4, solver="gradient", learning_rate=0.5, max_iter=20, **options)
    with pytest.warns(ConvergenceWarning):
        kernel.fit(X)
    parts = reference.rows(X, reference.labels("all", 3, 3), reference.taps(4), {1: 1.0})
    (part,) = parts

    def loss(w):
        total = ((part.wanted - part.read @ w) ** 2).sum()
        if options:
            total += 1e4 * ((w - options["prior"]) ** 2).sum() + 1e4 * (np.diff(w) ** 2).sum()
            total += 1e6 * (w.sum() - 0.9) ** 2
        return total / len(part.wanted)

    np.testing.assert_allclose(kernel.trace_.loss, [loss(w) for w in kernel.trace_.coef], rtol=1e-9)
    np.testing.assert_array_equal(kernel.trace_.epoch, np.arange(21))


def test_descent_starts_within_the_constraints():
    kernel = MotionKernel(4, solver="gradient", weight_sum=0.8).fit(walkers())
    np.testing.assert_allclose(kernel.trace_.coef.sum(axis=-1), 0.8, atol=1e-12)
    np.testing.assert_allclose(kernel.trace_.coef[0], 0.2, atol=1e-12)


def test_descent_from_the_goal_stays_there():
    X = walkers()
    closed = MotionKernel(4).fit(X)
    kernel = MotionKernel(4, solver="gradient", prior=closed.coef_, max_iter=1000).fit(X)
    np.testing.assert_allclose(kernel.coef_, closed.coef_, rtol=1e-9)


def test_descent_serves_small_motions_as_well_as_large_ones():
    X = walkers()
    for x in X:  # smooth and small: the last to arrive
        x[:, 1] = 1e-9 * np.cumsum(x[:, 1], axis=0)
    closed = MotionKernel(4, sharing="joint").fit(X)
    descended = MotionKernel(4, sharing="joint", solver="gradient").fit(X)
    np.testing.assert_allclose(descended.coef_, closed.coef_, atol=1e-8)


def test_the_warning_of_a_slow_descent_points_to_the_call():
    kernel = MotionKernel(4, solver="gradient", max_iter=2)
    with pytest.warns(ConvergenceWarning, match="after 2 epochs") as caught:
        kernel.fit(walkers())
    assert caught[0].filename == __file__


# Motions whose kernels are known


@pytest.mark.parametrize("frequency", [0.3, 1.1, 2.5])
def test_a_sinusoid_obeys_its_recursion(frequency):
    t = np.arange(60)
    x = np.sin(frequency * t[:, None, None] + np.array([[0.0, 1.0, 2.0]]))
    kernel = MotionKernel(2).fit(x)
    np.testing.assert_allclose(kernel.coef_, [-1, 2 * np.cos(frequency)], atol=1e-10)
    assert kernel.score(x) == pytest.approx(1)
    np.testing.assert_allclose(kernel.predict(x)[1:-1], x[2:], atol=1e-10)


@pytest.mark.parametrize("horizon", [1, 4])
def test_even_motion_is_extrapolated(rng, horizon):
    speeds, places = rng.normal(size=(2, 5, 1, 2, 3))
    X = places + speeds * np.arange(30)[:, None, None]
    kernel = MotionKernel(2, horizon=horizon).fit(X)
    np.testing.assert_allclose(kernel.coef_, [-horizon, 1 + horizon], atol=1e-9)


def test_dependent_taps_get_the_kernel_of_the_least_norm(rng):
    speeds, places = rng.normal(size=(2, 5, 1, 2, 3))
    X = places + speeds * np.arange(30)[:, None, None]
    kernel = MotionKernel(4).fit(X)
    rows, _ = expected(list(X), "all", reference.taps(4), {1: 1.0})
    np.testing.assert_allclose(kernel.coef_, rows[0], atol=1e-7)


STILL = {
    "least squares": {},
    "intercept": {"fit_intercept": True},
    "residual": {"residual": True},
    "by joint": {"sharing": "joint"},
    "shrunk": {"sharing": "channel", "shrinkage": 0.1},
    "descent": {"solver": "gradient"},
    "huber": {"loss": "huber"},
}


@pytest.mark.parametrize("place", [0.0, 0.1, 1234.567, 1e-3])
@pytest.mark.parametrize("options", STILL)
def test_what_stands_still_is_held(rng, options, place):
    still = np.full((3, 30, 2, 3), place)
    elsewhere = still + rng.normal(size=(3, 1, 2, 3))
    for X in (still, elsewhere):
        kernel = MotionKernel(4, **STILL[options]).fit(X)
        np.testing.assert_allclose(kernel.transform(X), X, atol=1e-8)


@pytest.mark.parametrize("options", ["by joint", "shrunk"])
def test_a_still_joint_beside_a_moving_one(options):
    X = walkers(offset=1234.567)
    alone = MotionKernel(4, sharing="channel").fit(X)
    for x in X:
        x[:, 1] = 1234.567
    kernel = MotionKernel(4, **STILL[options]).fit(X)
    for x, given in zip(X, kernel.transform(X)):
        # The kernel of the first frame, of one tap, sees no motion, and so is shrunk to all others.
        np.testing.assert_allclose(given[1:, 1], x[1:, 1])
    if options == "shrunk":
        unshrunk = MotionKernel(4, sharing="channel").fit(X)
        np.testing.assert_array_equal(unshrunk.coef_[[0, 2]], alone.coef_[[0, 2]])


def test_derivatives_per_second_are_those_of_the_figure():
    motion = make_motion("walk", fps=100.0, random_state=0)
    for target in ("velocity", "acceleration"):
        kernel = MotionKernel(9, causal=False, target=target, fps=100.0, residual=False)
        given = kernel.fit(motion.positions).transform(motion.positions)[:, 10:-10]
        error = np.abs(given - motion[target][:, 10:-10]).max()
        assert error < 1e-3 * np.abs(motion[target]).max()


@pytest.mark.parametrize(
    ("window", "fps", "causal", "n_taps"),
    [(0.1, 30.0, True, 4), (0.28, 25.0, True, 8), (0.1, 60.0, False, 7), (0.11, 60.0, False, 7)],
)
def test_windows_in_seconds(window, fps, causal, n_taps):
    kernel = MotionKernel(2, window=window, fps=fps, causal=causal).fit(walkers())
    offsets = kernel.offsets_
    assert len(offsets) == n_taps
    assert offsets[-1] == (0 if causal else n_taps // 2)
    assert (offsets[-1] - offsets[0]) / fps <= window + 1e-12


def test_dilated_windows_in_seconds():
    kernel = MotionKernel(window=0.2, fps=60.0, dilation=4).fit(walkers())
    np.testing.assert_array_equal(kernel.offsets_, [-12, -8, -4, 0])


# Recorded motion


@pytest.fixture(scope="module")
def recorded(data_dir):
    with np.load(data_dir / "trajectory" / "cmu_mocap_8actions.npz") as file:
        bounds = np.concatenate([[0], np.cumsum(file["lengths"])])
        return [file["X"][a : min(b, a + 150)] for a, b in zip(bounds[:6], bounds[1:7])]


@pytest.mark.data
@pytest.mark.parametrize("offset", [0.0, 3000.0])
@pytest.mark.parametrize("constraint", ["free", "residual"])
@pytest.mark.parametrize(("n_taps", "horizon"), [(5, 2), (9, 1), (20, 4)])
def test_recorded_motion(recorded, n_taps, horizon, constraint, offset):
    # The hips are the origin of all poses: their windows say nothing.
    X = [x[:, 10:20].astype(np.float64) + offset for x in recorded]
    moving = [x[:, [j for j in range(10) if np.ptp(X[0][:, j]) > 1]] for x in X]
    options, moments = CONSTRAINTS[constraint]
    kernel = MotionKernel(n_taps, horizon=horizon, **options).fit(moving)
    rows, _ = expected(moving, "all", reference.taps(n_taps), {horizon: 1.0}, moments=moments)
    assert_weights(kernel, rows)


@pytest.mark.data
@pytest.mark.parametrize("sharing", ["coordinate", "joint", "channel"])
def test_recorded_motion_by_joint_with_gaps(recorded, sharing):
    X = [x[:, [2, 9, 30]].astype(np.float64) + 3000.0 for x in recorded]
    for x in X:
        x[40:43, 1] = np.nan
    kernel = MotionKernel(5, sharing=sharing).fit(X)
    rows, _ = expected(X, sharing, reference.taps(5), {1: 1.0})
    assert_weights(kernel, rows)


def test_no_warning_is_raised_by_a_usual_fit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MotionKernel(sharing="channel", noise="auto").fit(walkers(gaps=True))


# Joints that stand still, under constraints

HELD = {
    "residual": {"residual": True},
    "sum": {"weight_sum": 1.0},
    "first moment": {"moments": 1},
    "sum, first moment": {"moments": {0: 1.0, 1: 1.0}},
}


@pytest.mark.parametrize("constraint", HELD)
@pytest.mark.parametrize("offset", [0.0, 123.456, 3000.0])
def test_constraints_alone_make_the_kernel_of_a_still_joint(rng, constraint, offset):
    X = walkers(offset=offset)
    moving = [x[:, [0, 2]] for x in X]
    place = rng.normal(size=3) * 1000
    for x in X:
        x[:, 1] = place
    options = {"sharing": "joint", **HELD[constraint]}
    kernel = MotionKernel(5, **options).fit(X)
    # All kernels within the constraints are right, and so the one of the least norm is due.
    highest = 0 if constraint in ("residual", "sum") else 1
    powers = np.vander(kernel.offsets_, highest + 1, increasing=True).T
    shortest = np.linalg.pinv(powers) @ np.ones(highest + 1)
    np.testing.assert_allclose(kernel.coef_[1], shortest, atol=1e-12)
    alone = MotionKernel(5, **options).fit(moving)
    np.testing.assert_array_equal(kernel.coef_[[0, 2]], alone.coef_)


@pytest.mark.parametrize("constraint", ["residual", "sum"])
def test_constant_data_get_the_mean(rng, constraint):
    X = np.full((2, 40, 3, 3), 1000.0) + rng.normal(size=(3, 3)) * 1000
    kernel = MotionKernel(5, **HELD[constraint]).fit(X)
    np.testing.assert_allclose(kernel.coef_, np.full(5, 0.2), atol=1e-12)
