"""What motion kernels give at each frame, in every container."""

import numpy as np
import pytest
from sklearn.metrics import r2_score

from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel
from tests.reference import motion_kernel as reference
from tests.reference.trajectory import filtered

EDGES = ("refit", "nearest", "reflect", "valid")
WINDOWS = {
    "causal": {"n_taps": 4},
    "centred": {"n_taps": 5, "causal": False, "target": "velocity"},
    "even": {"n_taps": 4, "causal": False, "target": "acceleration"},
    "dilated": {"n_taps": 3, "dilation": 2},
}


def walkers(lengths=(25, 40, 5, 2, 1), gaps=False, offset=300.0, dtype=np.float64):
    motion = make_motion(
        "walk", n_sequences=len(lengths), n_frames=max(lengths), noise=5.0, random_state=7
    )
    X = [x[:n, [0, 5]] + offset for x, n in zip(motion.observed, lengths)]
    if gaps:
        X[0][7, 1] = np.nan
        X[0][15:19, 0] = np.nan
        X[0][-1, 0, 2] = np.nan
        X[1][0, 0] = np.nan
        X[1][20, 1, 1] = np.nan
    return [x.astype(dtype) for x in X]


def frames_of(window):
    return reference.taps(window["n_taps"], window.get("causal", True), window.get("dilation", 1))


def refitted(kernel, X, sharing, window, **options):
    """Return the reference's kernels for both edges, as `filtered` takes them."""
    offsets = frames_of(window)
    groups = reference.labels(sharing, *X[0].shape[1:])
    wanted = reference.goal(window.get("target", "next"))
    parts = reference.rows(X, groups, offsets, wanted)
    n_rows = max(abs(offsets[0]), abs(offsets[-1]))
    out = np.zeros((2, n_rows, groups.size, len(offsets)))
    constants = kernel.intercept_.reshape(-1)
    order = {"velocity": 1, "acceleration": 2}.get(kernel.target, 0)
    if order:
        options = {"moments": {0: 0.0}, **options}
    for distance in range(n_rows):
        for side in range(2):
            there = [o >= -distance if side == 0 else o <= distance for o in offsets]
            if sum(there) <= order:
                out[side, distance] = np.nan
                continue
            kernels = [
                reference.refitted(part, offsets, np.array(there), constant, **options)
                for part, constant in zip(parts, constants)
            ]
            out[side, distance] = np.array(kernels)[groups.ravel()]
    return out


def by_channel(values, sharing, shape):
    return values.reshape(-1, *values.shape[values.ndim - 1 :])[
        reference.labels(sharing, *shape).ravel()
    ]


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("sharing", ["all", "joint", "channel"])
def test_refit_takes_kernels_of_the_taps_that_are_there(sharing, window, fit_intercept, gaps):
    window = WINDOWS[window]
    X = walkers(gaps=gaps)
    kernel = MotionKernel(
        **window, sharing=sharing, fit_intercept=fit_intercept, min_valid=0.3
    ).fit(X)
    rows = by_channel(kernel.coef_, sharing, (2, 3))
    constants = kernel.intercept_.reshape(-1)[reference.labels(sharing, 2, 3)]
    edge_weights = refitted(kernel, X, sharing, window)
    for x, got in zip(X, kernel.transform(X)):
        expected = filtered(
            x,
            np.array(frames_of(window)),
            rows,
            edges="refit",
            min_valid=0.3,
            edge_weights=edge_weights,
        )
        np.testing.assert_allclose(got, expected + constants, rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"smoothness": 1e6}, {"smoothness": 1e6}),
        ({"smoothness": 1e6, "smoothness_order": 2}, {"smoothness": 1e6, "smoothness_order": 2}),
        ({"weight_sum": (0.9, 1e7)}, {"soft_sum": (0.9, 1e7)}),
        ({"alpha": 1e6}, {"alpha": 1e6}),
        ({"residual": True}, {"moments": {0: 1.0}}),
    ],
)
def test_kernels_of_the_edges_have_the_penalties_and_the_sum(options, same):
    X = walkers()
    window = {"n_taps": 5}
    if options.get("residual"):
        options = {**options, "prior": "zero"}
    kernel = MotionKernel(5, **options).fit(X)
    edge_weights = refitted(kernel, X, "all", window, **same)
    offsets = np.array(frames_of(window))
    for x, got in zip(X, kernel.transform(X)):
        expected = filtered(
            x, offsets, kernel.coef_[None], edges="refit", edge_weights=edge_weights
        )
        # Both edges at once: what is missing is made up for.
        np.testing.assert_allclose(got[:2], expected[:2], rtol=1e-8)
        np.testing.assert_allclose(got, expected, rtol=1e-8)


def test_a_strong_prior_does_no_harm_at_the_edges():
    X = walkers((30, 30), offset=3000.0)
    options = {"causal": False, "target": "velocity", "prior": "velocity", "alpha": 1e15}
    kernel = MotionKernel(3, **options).fit(X)
    for x, given in zip(X, kernel.transform(X)):
        np.testing.assert_allclose(given, np.gradient(x, axis=0), atol=1e-4)
    kernel = MotionKernel(2, prior="velocity", target="velocity", alpha=1e15).fit(X)
    assert np.isnan(kernel.transform(X[0])[0]).all()  # one frame has no velocity


@pytest.mark.parametrize("moments", [{1: 0.4}, {1: 1.0, 0: 0.0}, {2: 3.0, 1: 0.5}])
def test_constraints_that_one_frame_cannot_meet_are_left_out_there(moments):
    X = walkers((30, 30))
    kernel = MotionKernel(4, moments=moments).fit(X)
    given = kernel.transform(X)
    (part,) = reference.rows(X, reference.labels("all", 2, 3), reference.taps(4), {1: 1.0})
    free = reference.refitted(part, reference.taps(4), np.array([False, False, False, True]))
    if 0 not in moments:
        np.testing.assert_allclose(given[0][0], free[-1] * X[0][0], rtol=1e-10)
    assert np.isfinite(given).all()


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("edges", ["nearest", "reflect", "valid"])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("sharing", ["all", "coordinate"])
def test_outputs_are_sums_over_taps(sharing, window, edges, gaps):
    X = walkers(gaps=gaps)
    kernel = MotionKernel(**WINDOWS[window], sharing=sharing, edges=edges, min_valid=0.6).fit(X)
    offsets = np.array(frames_of(WINDOWS[window]))
    rows = by_channel(kernel.coef_, sharing, (2, 3))
    given = kernel.transform(X)
    for x, got in zip(X, given):
        expected = filtered(x, offsets, rows, edges=edges, min_valid=0.6)
        if edges == "valid":
            expected = expected[-offsets[0] : len(x) - offsets[-1]]
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)
    if edges == "valid":
        span = offsets[-1] - offsets[0]
        assert [len(v) for v in given] == [max(0, len(x) - span) for x in X]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("edges", ["refit", "nearest"])
def test_confidences_move_weight_to_the_other_frames(rng, edges, causal):
    X = walkers(gaps=True)
    trust = [rng.random(x.shape[:2]) for x in X]
    trust[0][3] = 0.0
    trust[1][6, 1] = np.nan
    options = {"n_taps": 5, "causal": causal, "target": "velocity"}
    kernel = MotionKernel(**options, edges=edges, min_valid=0.35).fit(X)
    edge_weights = refitted(kernel, X, "all", options) if edges == "refit" else None
    for x, c, got in zip(X, trust, kernel.transform(X, confidence=trust)):
        expected = filtered(
            x,
            kernel.offsets_,
            kernel.coef_[None],
            edges=edges,
            min_valid=0.35,
            confidence=np.nan_to_num(c),
            edge_weights=edge_weights,
        )
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-7)


def test_full_confidence_is_none_and_no_confidence_is_missing():
    X = walkers()
    kernel = MotionKernel(4, sharing="joint").fit(X)
    full = kernel.transform(X, confidence=[np.ones(x.shape[:2]) for x in X])
    for got, plain in zip(full, kernel.transform(X)):
        np.testing.assert_allclose(got, plain, rtol=1e-12)
    lost, trust = [x.copy() for x in X], [np.ones(x.shape[:2]) for x in X]
    lost[1][9, 1], trust[1][9, 1] = np.nan, 0.0
    for got, other in zip(kernel.transform(X, confidence=trust), kernel.transform(lost)):
        np.testing.assert_allclose(got, other, rtol=1e-10)


def test_derivatives_keep_their_unit_where_a_frame_is_missing():
    X = walkers((60, 60))
    options = {"causal": False, "target": "velocity", "moments": 1, "fps": 50.0}
    kernel = MotionKernel(7, **options, noise=5.0).fit(X)
    line = 4.0 * np.arange(30.0).reshape(30, 1, 1) + np.zeros((30, 2, 3))
    line[12, 0] = np.nan
    np.testing.assert_allclose(kernel.transform(line), 200.0, rtol=1e-7)


def test_min_valid_is_a_share_of_the_taps():
    X = walkers((60, 60))
    x = walkers((20,))[0]
    x[10:12] = np.nan
    for min_valid, lost in [(1.0, range(10, 15)), (0.75, range(11, 14)), (0.5, ()), (0.1, ())]:
        kernel = MotionKernel(4, min_valid=min_valid).fit(X)
        nan = np.isnan(kernel.transform(x)).any(axis=(1, 2))
        np.testing.assert_array_equal(np.flatnonzero(nan), list(lost))


# Containers and memory


def test_arrays_lists_and_axes_agree():
    X = np.stack(walkers((20, 20, 20)))
    kernel = MotionKernel(4, sharing="channel", edges="nearest").fit(X)
    whole = kernel.transform(X)
    assert isinstance(whole, np.ndarray) and whole.shape == X.shape
    one = kernel.transform(X[1])
    assert one.shape == X[1].shape
    np.testing.assert_array_equal(one, whole[1])
    as_list = kernel.transform(list(X))
    assert isinstance(as_list, list)
    np.testing.assert_array_equal(as_list, whole)
    axes = ("joint", "sequence", "coord", "frame")
    turned = np.ascontiguousarray(X.transpose(2, 0, 3, 1))
    other = MotionKernel(4, sharing="channel", edges="nearest", axes=axes).fit(turned)
    np.testing.assert_array_equal(other.coef_, kernel.coef_)
    np.testing.assert_array_equal(other.transform(turned), whole.transpose(2, 0, 3, 1))


@pytest.mark.parametrize(("edges", "first", "n"), [("nearest", 0, 20), ("valid", 2, 16)])
def test_xarray_keeps_dimensions_and_coordinates(edges, first, n):
    xarray = pytest.importorskip("xarray")
    X = np.stack(walkers((20, 20)))
    data = xarray.DataArray(
        X.transpose(1, 3, 2, 0),
        dims=("time", "space", "keypoints", "individuals"),
        coords={
            "time": np.arange(20) / 50.0,
            "space": ["x", "y", "z"],
            "keypoints": ["hip", "toe"],
        },
        name="position",
    )
    kernel = MotionKernel(5, causal=False, target="velocity", edges=edges).fit(data)
    plain = MotionKernel(5, causal=False, target="velocity", edges=edges).fit(X)
    np.testing.assert_array_equal(kernel.coef_, plain.coef_)
    given = kernel.transform(data)
    assert given.dims == data.dims and given.name == "position"
    np.testing.assert_array_equal(given.values, plain.transform(X).transpose(1, 3, 2, 0))
    np.testing.assert_array_equal(given.time, np.arange(first, first + n) / 50.0)
    assert list(given.keypoints.values) == ["hip", "toe"]
    trust = xarray.ones_like(data.isel(space=0, drop=True))
    np.testing.assert_allclose(kernel.transform(data, confidence=trust), given, rtol=1e-10)
    np.testing.assert_allclose(kernel.fit(data, confidence=trust).coef_, plain.coef_, atol=1e-9)


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept_and_the_values_are_those_of_float64(dtype, fit_intercept, edges):
    X = np.stack(walkers((30, 30), offset=3000.0, dtype=dtype))
    kernel = MotionKernel(5, sharing="joint", fit_intercept=fit_intercept, edges=edges).fit(X)
    given = kernel.transform(X)
    assert given.dtype == dtype
    np.testing.assert_allclose(
        given, kernel.transform(X.astype(np.float64)), rtol=1e-5 if dtype == np.float32 else 0
    )


@pytest.mark.parametrize("dtype", [np.int16, np.float16, bool])
def test_other_numbers_become_float64(dtype):
    X = np.round(np.stack(walkers((30, 30), offset=0.0))).astype(dtype)
    kernel = MotionKernel(3).fit(X)
    assert kernel.transform(X).dtype == np.float64
    np.testing.assert_array_equal(kernel.coef_, MotionKernel(3).fit(X.astype(np.float64)).coef_)


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "every other": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "reversed": lambda X: X[:, ::-1].copy()[:, ::-1],
    "transposed": lambda X: np.ascontiguousarray(X.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0),
    "other byte order": lambda X: X.astype(X.dtype.newbyteorder()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_any_layout(dtype, layout):
    X = np.stack(walkers((30, 30), gaps=True, dtype=dtype))
    strange = LAYOUTS[layout](X)
    kernel = MotionKernel(4, sharing="coordinate").fit(X)
    other = MotionKernel(4, sharing="coordinate").fit(strange, strange)
    plain = MotionKernel(4, sharing="coordinate").fit(X, X)
    np.testing.assert_array_equal(other.coef_, plain.coef_)
    np.testing.assert_array_equal(kernel.transform(strange), kernel.transform(X))


def test_read_only_input_is_not_changed():
    X = np.stack(walkers((30, 30), gaps=True))
    y, weights, trust = np.gradient(X, axis=1), np.ones((2, 30)), np.full((2, 30, 2), 0.5)
    prior = np.array([0.0, 0.0, 1.0])
    arrays = (X, y, weights, trust, prior)
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    for options in ({}, {"loss": "huber"}, {"solver": "gradient"}):
        kernel = MotionKernel(3, prior=prior, alpha=1.0, fit_intercept=True, **options)
        kernel.fit(X, y, sample_weight=weights, confidence=trust)
        kernel.partial_fit(X, y) if "loss" not in options else None
        kernel.transform(X, confidence=trust)
        kernel.score(X, y, sample_weight=weights)
    for array, copy in zip(arrays, copies):
        np.testing.assert_array_equal(array, copy)


def test_outputs_are_the_callers():
    X = np.stack(walkers((30, 30)))
    kernel = MotionKernel(1, target="position").fit(X)
    given = kernel.transform(X)
    given[:] = 7.0
    assert not (X == 7.0).any()
    assert not (kernel.transform(X) == 7.0).any()


# Predict, score


def test_predict_is_transform():
    X = walkers(gaps=True)
    kernel = MotionKernel(4).fit(X)
    trust = [np.full(x.shape[:2], 0.7) for x in X]
    for predicted, given in zip(kernel.predict(X, trust), kernel.transform(X, trust)):
        np.testing.assert_array_equal(predicted, given)


@pytest.mark.parametrize("kind", [None, "sequence", "frame", "joint"])
@pytest.mark.parametrize("with_y", [False, True])
@pytest.mark.parametrize("options", [{}, {"sharing": "joint", "fit_intercept": True}])
def test_score_is_r2_of_complete_windows(rng, options, with_y, kind):
    X = walkers(gaps=True)
    y = [np.gradient(x, axis=0) if len(x) > 1 else x for x in X] if with_y else None
    weights = {
        None: None,
        "sequence": list(rng.random(len(X))),
        "frame": [rng.random((len(x), 1)) for x in X],
        "joint": [rng.random(x.shape[:2]) for x in X],
    }[kind]
    kernel = MotionKernel(4, **options).fit(X, y)
    groups = reference.labels("channel", 2, 3)
    parts = reference.rows(X, groups, reference.taps(4), {1: 1.0}, y=y, weights=weights)
    coef = by_channel(kernel.coef_, options.get("sharing", "all"), (2, 3))
    constants = kernel.intercept_.reshape(-1)[
        reference.labels(options.get("sharing", "all"), 2, 3).ravel()
    ]
    given = [part.read @ w + c for part, w, c in zip(parts, coef, constants)]
    expected = r2_score(
        np.concatenate([part.wanted for part in parts]),
        np.concatenate(given),
        sample_weight=np.concatenate([part.weights for part in parts]),
    )
    sample_weight = [w[:, 0] for w in weights] if kind == "frame" else weights
    assert kernel.score(X, y, sample_weight) == pytest.approx(expected, rel=1e-12)


def test_score_of_what_stands_still():
    still = np.full((30, 2, 3), 8.0)
    assert MotionKernel(2, residual=True).fit(still).score(still) == 1.0
    moving = np.stack(walkers((30,)))
    wrong = MotionKernel(2, weight_sum=0.5).fit(moving)
    assert wrong.score(still) == 0.0
