import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from fastmotion.core import device as core_device
from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel, MotionKernelBank, _bank, complementary, pooling
from tests.reference import bank as reference

POOLS = ("mean", "std", "min", "max", "energy")


def walks(rng, lengths=(60, 31, 85), n_joints=3, n_coords=2, offset=0.0):
    """Return ragged smooth random walks."""
    shape = (n_joints, n_coords)
    return [
        np.cumsum(np.cumsum(rng.normal(size=(n, *shape)), axis=0) * 0.1, axis=0)
        + rng.normal(size=(n, *shape))
        + offset
        for n in lengths
    ]


def two_classes(rng, n_sequences=12, n_frames=50):
    """Return slow and fast swings with some noise, and their labels."""
    labels = np.arange(n_sequences) % 2
    phase = np.where(labels, 1.3, 0.4)[:, np.newaxis] * np.arange(n_frames)
    phase = phase + rng.uniform(0, 6, (n_sequences, 1))
    X = np.stack([np.cos(phase), np.sin(phase)], axis=-1)[:, :, np.newaxis]
    return X + 0.1 * rng.normal(size=X.shape), np.array(["slow", "fast"])[labels]


def window_of(bank, horizon=None):
    """Return the length of the longest window and the place of offset 0 in it."""
    offsets = np.concatenate([offsets for offsets, _ in bank.kernels_])
    after = offsets.max()
    if horizon is not None:
        after = max(offsets[-1] + horizon for offsets, _ in bank.kernels_)
    return after - offsets.min() + 1, -offsets.min()


# Learned to predict


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 3e3])
@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_next_kernels_are_least_squares_on_the_lagged_matrix(rng, causal, horizon, offset, alpha):
    X = walks(rng, offset=offset)
    X[0][20, 1, 0] = np.nan
    X[2][:7, 0] = np.nan
    bank = MotionKernelBank(
        (2, 3, 1, 5), dilations=(1, 3), horizon=horizon, causal=causal, alpha=alpha
    ).fit(X)
    n_frames, present = window_of(bank, horizon)
    rows = reference.windows(X, n_frames)
    assert [len(weights) for _, weights in bank.kernels_] == [2, 3, 1, 5] * 2
    for offsets, weights in bank.kernels_:
        newest = offsets[-1]
        expected = reference.next_kernel(rows, present, offsets, newest + horizon, alpha)
        np.testing.assert_allclose(weights, expected, atol=1e-10)


def test_a_shift_of_positions_is_one_of_the_outputs(rng):
    X = walks(rng)
    shifts = np.array([1e4, -3e3])
    bank = MotionKernelBank((2, 5), dilations=(1, 3), causal=False)
    outputs = bank.fit(X).transform(X)
    assert [weights.sum() for _, weights in bank.kernels_] == pytest.approx([1] * 4, abs=1e-14)
    far = [x + shifts for x in X]
    for fitted in (bank, MotionKernelBank(**bank.get_params()).fit(far)):
        for got, expected in zip(fitted.transform(far), outputs):
            np.testing.assert_allclose(got, expected + shifts[:, np.newaxis], atol=1e-6)


def test_a_bank_of_one_kernel_is_a_motion_kernel(rng):
    X = walks(rng, offset=3e3)
    bank = MotionKernelBank((4,), dilations=(2,), horizon=3).fit(X)
    kernel = MotionKernel(4, dilation=2, horizon=3, weight_sum=1).fit(X)
    ((offsets, weights),) = bank.kernels_
    np.testing.assert_array_equal(offsets, kernel.offsets_)
    np.testing.assert_allclose(weights, kernel.coef_, atol=1e-10)
    for got, expected in zip(bank.transform(X), kernel.transform(X)):
        np.testing.assert_allclose(got[..., 0], expected, atol=1e-6)


def test_what_stands_still_is_predicted_to_stay():
    bank = MotionKernelBank((1, 3)).fit(np.full((2, 9, 1, 2), 7.0))
    for offsets, weights in bank.kernels_:
        np.testing.assert_array_equal(weights, offsets == 0)


@pytest.mark.parametrize("causal", [True, False])
def test_cut_off_windows_have_least_squares_of_their_own(rng, causal):
    X = walks(rng)
    bank = MotionKernelBank((5,), dilations=(2,), causal=causal, horizon=2).fit(X)
    ((offsets, _),) = bank.kernels_
    goal = offsets[-1] + 2
    n_frames, present = window_of(bank, 2)
    rows = reference.windows(X, n_frames)
    got = bank.transform(X)[0][..., 0]
    n = len(X[0])
    for t in [0, 1, 2, 5] + ([n - 1, n - 2, n - 4] if not causal else []):
        there = offsets[(t + offsets >= 0) & (t + offsets < n)]
        weights = reference.next_kernel(rows, present, there, goal)
        expected = np.tensordot(weights, X[0][t + there], axes=1)
        np.testing.assert_allclose(got[t], expected, rtol=1e-8)


# Kernels that differ


@pytest.mark.parametrize("similarity", ["weights", "outputs"])
@pytest.mark.parametrize("penalty", [0.3, 3.0])
def test_penalty_lowers_its_objective_sweep_by_sweep(rng, similarity, penalty):
    X = walks(rng, offset=5.0)
    params = {"scales": (2, 3, 5), "dilations": (1, 2), "similarity": similarity}
    bank = MotionKernelBank(**params, cross_scale_penalty=penalty).fit(X)
    # Hardly any penalty: weights that add up to one and minimise the errors.
    start = MotionKernelBank(**params, cross_scale_penalty=1e-12).fit(X)
    n_frames, present = window_of(bank, 1)
    rows = reference.windows(X, n_frames)

    def objective(kernels):
        goals = [offsets[-1] + 1 for offsets, _ in kernels]
        return reference.objective(
            rows, present, kernels, goals, penalty, similarity, start.kernels_
        )

    trace = bank.objective_trace_
    assert 3 <= len(trace) <= 60
    assert (np.diff(trace) < 0).all()
    np.testing.assert_allclose(trace[0], objective(start.kernels_)[0], rtol=1e-5)
    value, cosines = objective(bank.kernels_)
    np.testing.assert_allclose(trace[-1], value, rtol=1e-5)
    np.testing.assert_allclose(bank.similarity_, cosines, atol=1e-5)
    pairs = np.triu_indices(len(cosines), 1)
    assert np.mean(cosines[pairs] ** 2) < np.mean(start.similarity_[pairs] ** 2) - 1e-4
    # No kernel can do better by itself.
    for i, (offsets, weights) in enumerate(bank.kernels_):
        assert weights.sum() == pytest.approx(1)
        for sign in (-1e-2, 1e-2):
            step = rng.normal(size=len(weights))
            changed = list(bank.kernels_)
            changed[i] = offsets, weights + sign * (step - step.mean())
            assert objective(changed)[0] > value


def test_no_penalty_leaves_every_kernel_to_itself(rng):
    X = walks(rng)
    bank = MotionKernelBank((2, 5), cross_scale_penalty=0.0).fit(X)
    assert bank.objective_trace_.shape == (1,)
    # The windows of both must be the same: those of the longer kernel.
    both = MotionKernelBank((5, 2)).fit(X)
    np.testing.assert_array_equal(bank.kernels_[0][1], both.kernels_[1][1])
    alone = MotionKernelBank((5,), cross_scale_penalty=2.0).fit(X)
    assert alone.objective_trace_.shape == (1,)
    np.testing.assert_allclose(alone.similarity_, [[1.0]])


def test_too_few_sweeps_are_told(rng, monkeypatch):
    monkeypatch.setattr(complementary, "_MAX_SWEEPS", 1)
    with pytest.warns(ConvergenceWarning, match="lower cross_scale_penalty"):
        MotionKernelBank(cross_scale_penalty=3.0).fit(walks(rng))


# Learned from labels


@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("causal", [True, False])
def test_class_kernels_are_generalised_eigenvectors(rng, alpha, causal):
    X, y = two_classes(rng)
    X += 50.0
    X[3, 20] = np.nan
    bank = MotionKernelBank(
        (2, 3, 5), dilations=(1, 2), learned="class", alpha=alpha, causal=causal
    ).fit(X, y)
    np.testing.assert_array_equal(bank.classes_, ["fast", "slow"])
    names = ["class2", "class3_fast", "class3_slow", "class5_fast", "class5_slow"]
    dilated = [name.replace("_", "_dilation2_") for name in names]
    assert bank.kernel_names_ == [*names, "class2_dilation2", *dilated[1:]]
    n_frames, present = window_of(bank)
    rows = [reference.windows(list(X[y == label]), n_frames) for label in bank.classes_]
    for name, (offsets, weights) in zip(bank.kernel_names_, bank.kernels_):
        expected = reference.class_kernels(rows, present + offsets, alpha)["slow" in name]
        assert weights.sum() == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(weights * np.sign(weights @ expected), expected, atol=1e-7)


def test_sign_of_class_kernels_is_that_of_a_derivative(rng):
    X, y = two_classes(rng)
    bank = MotionKernelBank((2, 3, 4), learned="class").fit(X, y)
    np.testing.assert_allclose(bank.kernels_[0][1], np.array([-1, 1]) / np.sqrt(2))
    assert all(weights @ offsets > 0 for offsets, weights in bank.kernels_)
    mirrored = MotionKernelBank((2, 3, 4), learned="class").fit(-X[:, :, :, ::-1], y)
    for (_, weights), (_, other) in zip(bank.kernels_, mirrored.kernels_):
        np.testing.assert_allclose(weights, other, atol=1e-10)


def test_class_kernels_tell_classes_apart(rng):
    X, y = two_classes(rng)
    bank = MotionKernelBank((5,), learned="class", pooling="energy").fit(X, y)
    fast, slow = np.moveaxis(bank.transform(X).reshape(len(X), 2, 2), 1, 0)
    share = (fast / (fast + slow)).mean(axis=1)
    assert share[y == "fast"].min() > share[y == "slow"].max()


def test_motionless_directions_do_not_break_class_kernels():
    t = np.arange(30.0)
    X = np.stack([t, 2 * t, t + 3, -t])[:, :, np.newaxis, np.newaxis]
    bank = MotionKernelBank((4,), learned="class").fit(X, [0, 1, 0, 1])
    # All move evenly: one direction is left.
    for offsets, weights in bank.kernels_:
        expected = offsets - offsets.mean()
        np.testing.assert_allclose(weights, expected / np.linalg.norm(expected), atol=1e-10)


# Weights


@pytest.mark.parametrize("learned", ["next", "class"])
def test_weights_are_how_often_sequences_count(rng, learned):
    X = walks(rng, lengths=(40, 31, 85, 50))
    y = np.array([0, 1, 1, 0])
    times = np.array([2, 1, 3, 0])
    bank = MotionKernelBank((2, 4), learned=learned, causal=False)
    weighed = bank.fit(X, y, sample_weight=times).kernels_
    rows = bank.fit(X, y, sample_weight=np.repeat(times, [len(x) for x in X])).kernels_
    repeated = np.repeat(np.arange(4), times)
    expected = bank.fit([X[i] for i in repeated], y[repeated]).kernels_
    for (_, got), (_, by_row), (_, wanted) in zip(weighed, rows, expected):
        np.testing.assert_allclose(got, wanted, atol=1e-10)
        np.testing.assert_allclose(by_row, wanted, atol=1e-10)


def test_windows_weigh_as_much_as_their_least_certain_frame(rng):
    X = walks(rng)
    trust = [rng.uniform(size=x.shape[:2]) for x in X]
    weights = [rng.uniform(size=x.shape[:2]) for x in X]
    bank = MotionKernelBank((4,), dilations=(2,), causal=False).fit(X, None, weights, trust)
    kernel = MotionKernel(4, dilation=2, causal=False, target="next", weight_sum=1)
    ((offsets, got),) = bank.kernels_
    np.testing.assert_array_equal(kernel.fit(X).offsets_, offsets)
    expected = kernel.set_params(horizon=int(offsets[-1]) + 1).fit(X, None, weights, trust).coef_
    np.testing.assert_allclose(got, expected, atol=1e-10)
    # A frame without confidence is missing.
    sure = [np.where(part < 0.3, 0.0, 1.0) for part in trust]
    gone = [np.where(part[..., np.newaxis] < 0.3, np.nan, x) for part, x in zip(trust, X)]
    by_zero = bank.fit(X, confidence=sure).kernels_[0][1]
    np.testing.assert_allclose(by_zero, bank.fit(gone).kernels_[0][1], atol=1e-10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_weight": [1, 2]}, "sample_weight must have one of the shapes"),
        ({"sample_weight": [1, 2, -1]}, "sample_weight must be finite and not negative"),
        ({"sample_weight": [0, 1, 1]}, "of label a must hold .* of a weight above zero"),
        ({"confidence": [2 * np.ones((n, 3)) for n in (60, 31, 85)]}, "confidence must lie in"),
    ],
)
def test_wrong_weights(rng, given, message):
    with pytest.raises(ValueError, match=message):
        MotionKernelBank(learned="class").fit(walks(rng), ["a", "b", "b"], **given)


# Fixed kernels and outputs


def test_outputs_are_correlations_with_the_kernels(rng):
    X = walks(rng, offset=100.0)
    fixed = ("hold", "velocity", ("savgol_acceleration", 5, 3), "jerk")
    bank = MotionKernelBank((2, 4), dilations=(1, 3), fixed=fixed).fit(X)
    assert bank.kernel_names_ == [
        *("next2", "next4", "next2_dilation3", "next4_dilation3"),
        *("hold", "velocity", "savgol_acceleration_5_3", "jerk"),
        *("velocity_dilation3", "savgol_acceleration_5_3_dilation3", "jerk_dilation3"),
    ]
    for x, outputs in zip(X, bank.transform(X)):
        assert outputs.shape == (*x.shape, len(bank.kernels_))
        for k, (offsets, weights) in enumerate(bank.kernels_):
            for joint, coord in np.ndindex(x.shape[1:]):
                expected = reference.complete_outputs(x[:, joint, coord], offsets, weights)
                got = outputs[-offsets[0] :, joint, coord, k]
                np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("fps", [None, 25.0])
def test_fixed_kernels_give_derivatives_at_every_dilation(causal, fps):
    X = np.arange(40.0)[:, np.newaxis, np.newaxis] ** 3 / 6
    names = ("velocity", "acceleration", "jerk")
    bank = MotionKernelBank(
        learned=None, fixed=names, dilations=(1, 2), causal=causal, fps=fps
    ).fit(X)
    outputs = bank.transform(X)[20, 0, 0].reshape(2, 3)
    units = (fps or 1.0) ** np.arange(1, 4)
    for got, step in zip(outputs, (1, 2)):
        # Differences of a cubic: those of causal windows lag behind.
        if causal:
            expected = [(20**3 - (20 - step) ** 3) / 6 / step, 20 - step, 1]
        else:
            expected = [((20 + step) ** 3 - (20 - step) ** 3) / 12 / step, 20, 1]
        np.testing.assert_allclose(got, expected * units, rtol=1e-9)


@pytest.mark.parametrize("edges", ["refit", "nearest", "reflect"])
def test_kernels_of_all_kinds_run_as_they_do_alone(rng, edges):
    X = walks(rng)
    X[1][4:8, 1] = np.nan
    fixed = ("velocity", ("savgol_velocity", 5))
    both = MotionKernelBank((1, 2, 5), fixed=fixed, edges=edges).fit(X).transform(X)
    learned = MotionKernelBank((1, 2, 5), edges=edges).fit(X).transform(X)
    only = MotionKernelBank(learned=None, fixed=fixed, edges=edges).fit(X).transform(X)
    for got, first, second in zip(both, learned, only):
        np.testing.assert_array_equal(got, np.concatenate([first, second], axis=-1))
    if edges == "refit":
        assert np.isfinite(learned[0]).all()
        np.testing.assert_array_equal(np.isnan(only[0][:3, 0, 0]), [[1, 1], [0, 1], [0, 0]])


def test_valid_edges_leave_frames_out(rng):
    X = walks(rng, lengths=(12, 3, 20))
    params = {"scales": (2, 3), "fixed": ("velocity",), "dilations": (2,), "causal": False}
    bank = MotionKernelBank(**params, edges="valid").fit(X)
    whole = MotionKernelBank(**params, edges="nearest").fit(X).transform(X)
    before = after = 2
    got = bank.transform(X)
    assert [len(part) for part in got] == [8, 0, 16]
    for part, other in zip(got, whole):
        np.testing.assert_array_equal(part, other[before : len(other) - after][: len(part)])
    pooled = bank.set_params(pooling="mean").transform([X[0], X[2]])
    np.testing.assert_allclose(pooled[1], np.moveaxis(got[2].mean(axis=0), -1, 0).ravel())
    with pytest.raises(ValueError, match="at least 5 frames in all sequences.*as few as 3"):
        bank.transform(X)


# Pooling


@pytest.mark.parametrize("pyramid", [(1,), (1, 2, 4), (3,)])
@pytest.mark.parametrize("missing", [False, True])
def test_pooled_features_are_statistics_of_the_outputs(rng, pyramid, missing):
    X = walks(rng, lengths=(60, 41, 41, 85))
    if missing:
        X[0][10:40, 1] = np.nan
        X[1][:, 2, 0] = np.nan
    bank = MotionKernelBank((2, 5), fixed=("velocity",)).fit(X)
    outputs = bank.transform(X)
    bank.set_params(pooling=POOLS, pyramid=pyramid, fill_value=-7.0)
    got = bank.transform(X)
    assert got.shape == (4, len(bank.get_feature_names_out()))
    expected = [reference.pooled(part, POOLS, pyramid, -7.0) for part in outputs]
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    assert (got == -7.0).any() == missing
    assert np.isnan(bank.set_params(fill_value=np.nan).transform(X)).any() == missing
    assert np.isfinite(MotionKernelBank(pooling=POOLS).fit(X).transform(X)).all()


def test_pooled_features_have_the_order_of_their_names(rng):
    X = walks(rng)
    bank = MotionKernelBank((2, 3), pooling=("min", "max"), pyramid=(1, 2)).fit(X)
    names = list(bank.get_feature_names_out())
    assert names[:4] == [f"next2_joint0_x_min_{cell}" for cell in ("1of1", "1of2", "2of2")] + [
        "next2_joint0_x_max_1of1"
    ]
    assert names[-1] == "next3_joint2_y_max_2of2"
    features = dict(zip(names, bank.transform(X)[1]))
    outputs = bank.set_params(pooling=None).transform(X)[1]
    assert features["next3_joint1_y_max_2of2"] == outputs[15:, 1, 1, 1].max()
    assert bank.kernel_names_ == ["next2", "next3"]
    with pytest.raises(AttributeError):
        bank.get_feature_names_out()
    wide = MotionKernelBank((2,), pooling="mean").fit(walks(rng, n_coords=4))
    assert wide.get_feature_names_out()[3] == "next2_joint0_3_mean_1of1"


def test_batches_do_not_change_a_feature(rng, monkeypatch):
    X = walks(rng, lengths=(30, 30, 30, 12, 40, 40))
    bank = MotionKernelBank(pooling=POOLS, fixed=("velocity",)).fit(X)
    whole = bank.transform(X)
    trust = [np.full(x.shape[:2], 0.75 + 0.05 * i) for i, x in enumerate(X)]
    weighed = bank.transform(X, confidence=trust)
    monkeypatch.setattr(_bank, "_BATCH_BYTES", 8 * 6 * 4 * 65)
    monkeypatch.setattr(pooling, "_CHUNK_BYTES", 1)
    np.testing.assert_array_equal(bank.transform(X), whole)
    np.testing.assert_array_equal(bank.transform(X, confidence=trust), weighed)
    np.testing.assert_array_equal(bank.transform(np.stack(X[:3])), whole[:3])


def test_confidence_weighs_frames_as_in_a_motion_kernel(rng):
    X = walks(rng)
    confidence = [rng.uniform(size=x.shape[:2]) for x in X]
    bank = MotionKernelBank((4,), min_valid=0.3).fit(X)
    got = bank.transform(X, confidence=confidence)
    kernel = MotionKernel(4, weight_sum=1, min_valid=0.3).fit(X)
    for part, expected in zip(got, kernel.transform(X, confidence=confidence)):
        np.testing.assert_allclose(part[..., 0], expected, rtol=1e-6)
    bank.set_params(pooling=("mean", "max"))
    pooled = bank.transform(X, confidence=confidence)
    expected = [reference.pooled(part, ("mean", "max"), (1,), 0.0) for part in got]
    np.testing.assert_allclose(pooled, expected)
    with pytest.raises(ValueError, match="confidence must lie in"):
        bank.transform(X, confidence=[2 * part for part in confidence])


# Containers, dtypes, threads


def test_containers_come_back(rng):
    X = np.stack(walks(rng, lengths=(20, 20)))
    bank = MotionKernelBank((2, 3)).fit(X)
    outputs = bank.transform(X)
    assert outputs.shape == (2, 20, 3, 2, 2)
    np.testing.assert_array_equal(bank.transform(X[1]), outputs[1])
    np.testing.assert_array_equal(bank.transform(list(X))[1], outputs[1])
    moved = MotionKernelBank((2, 3), axes=("joint", "frame", "coord")).fit(X[0].swapaxes(0, 1))
    alone = MotionKernelBank((2, 3)).fit(X[0])
    np.testing.assert_array_equal(
        moved.transform(X[0].swapaxes(0, 1)), alone.transform(X[0]).swapaxes(0, 1)
    )


def test_xarray_keeps_its_dimensions(rng):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    (x,) = walks(rng, lengths=(20,))
    poses = xarray.DataArray(
        x.transpose(0, 2, 1),
        dims=("time", "space", "keypoints"),
        coords={"time": np.arange(20) / 25, "space": ["x", "y"]},
    )
    bank = MotionKernelBank((2, 3), edges="valid").fit(poses)
    outputs = bank.transform(poses)
    assert outputs.dims == ("time", "space", "keypoints", "kernel")
    assert list(outputs.kernel.values) == ["next2", "next3"]
    np.testing.assert_array_equal(outputs.time, poses.time[2:])
    expected = MotionKernelBank((2, 3)).fit(x).transform(x)[2:]
    np.testing.assert_allclose(outputs.transpose("time", "keypoints", "space", "kernel"), expected)
    (in_list,) = bank.transform([poses])
    assert list(in_list.kernel.values) == ["next2", "next3"]


@pytest.mark.parametrize("pools", [None, POOLS])
def test_float32_stays_float32_and_the_input_as_it_is(rng, pools):
    X = np.stack(walks(rng, lengths=(40, 40), offset=500.0)).astype(np.float32)
    X[0, 5, 1] = np.nan
    kept = X.copy()
    X.setflags(write=False)
    params = {"fixed": ("velocity",), "dilations": (1, 2), "pooling": pools}
    single = MotionKernelBank(**params).fit(X)
    got = single.transform(X)
    double = MotionKernelBank(**params).fit(X.astype(np.float64))
    expected = double.transform(X.astype(np.float64))
    assert got.dtype == np.float32 and expected.dtype == np.float64
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-3)
    for (_, weights), (_, others) in zip(single.kernels_, double.kernels_):
        assert weights.dtype == np.float64
        np.testing.assert_allclose(weights, others, atol=1e-9)


@pytest.mark.parametrize("learned", ["next", "class"])
def test_threads_do_not_change_a_result(rng, learned):
    X, y = two_classes(rng, n_sequences=20, n_frames=200)
    params = {"learned": learned, "fixed": ("velocity",), "pooling": POOLS}
    one = MotionKernelBank(**params, n_jobs=1).fit(X, y)
    two = MotionKernelBank(**params, n_jobs=2).fit(X, y)
    for (_, weights), (_, others) in zip(one.kernels_, two.kernels_):
        np.testing.assert_array_equal(weights, others)
    np.testing.assert_array_equal(one.transform(X), two.transform(X))


# scikit-learn


def test_params_attributes_and_tags(rng):
    params = {"scales": [2, 4], "fixed": ["velocity"], "pooling": ["mean"], "pyramid": [1, 2]}
    bank = clone(MotionKernelBank(**params))
    assert {name: bank.get_params()[name] for name in params} == params
    assert bank.fit(walks(rng)) is bank
    assert (bank.n_joints_, bank.n_coords_, bank.n_features_in_) == (3, 2, 6)
    assert bank.device_ == "cpu"
    tags = get_tags(bank)
    assert tags.input_tags.allow_nan and tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array and not tags.target_tags.required
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert get_tags(MotionKernelBank(learned="class")).target_tags.required


def test_a_second_fit_forgets_the_first(rng):
    X, y = two_classes(rng)
    bank = MotionKernelBank((3,)).fit(X)
    bank.set_params(learned="class").fit(X, y)
    assert hasattr(bank, "classes_") and not hasattr(bank, "objective_trace_")
    bank.set_params(learned=None, fixed=["hold"]).fit(X)
    assert not hasattr(bank, "classes_")
    np.testing.assert_array_equal(bank.transform(X)[..., 0], X)


@pytest.mark.parametrize(
    ("changed", "labels"),
    [
        ({"learned": "class"}, None),
        ({"learned": "class"}, [0] * 12),
        ({"learned": None, "fixed": [("savgol", 51)]}, None),
        ({"scales": (60,)}, None),
    ],
)
def test_a_fit_that_fails_leaves_what_there_was(rng, changed, labels):
    X, _ = two_classes(rng)
    bank = MotionKernelBank((3,)).fit(X)
    before = dict(vars(bank))
    params = bank.get_params()
    with pytest.raises(ValueError):
        bank.set_params(**changed).fit(X, labels)
    assert vars(bank.set_params(**params)).keys() == before.keys()
    assert all(vars(bank)[name] is value for name, value in before.items())


@pytest.mark.parametrize("learned", ["next", "class"])
def test_pipeline_is_tuned_as_a_whole(rng, learned):
    X, y = two_classes(rng)
    bank = MotionKernelBank((3,), learned=learned, pooling=("std",))
    pipeline = make_pipeline(bank, StandardScaler(), RidgeClassifier())
    grid = {"motionkernelbank__scales": [(2,), (3, 5)], "motionkernelbank__fixed": [(), ("jerk",)]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ == 1.0
    assert search.predict(X).tolist() == y.tolist()


def test_columns_of_a_data_frame(rng):
    pytest.importorskip("pandas", reason="pandas is not installed")
    X = walks(rng)
    bank = MotionKernelBank(pooling=("mean", "std")).set_output(transform="pandas")
    frame = bank.fit_transform(X)
    assert list(frame.columns) == list(bank.get_feature_names_out())
    np.testing.assert_array_equal(
        frame.to_numpy(), bank.set_output(transform="default").transform(X)
    )


def test_outputs_that_are_no_table_stay_arrays(rng):
    pytest.importorskip("pandas", reason="pandas is not installed")
    X = walks(rng)
    bank = MotionKernelBank((2,))
    expected = bank.fit_transform(X)
    with sklearn.config_context(transform_output="pandas"):
        for outputs in (bank.transform(X), bank.fit_transform(X)):
            for got, part in zip(outputs, expected):
                np.testing.assert_array_equal(got, part)
        assert bank.set_params(pooling="mean").transform(X).shape == (3, 6)
    bank.set_params(pooling=None).set_output(transform="pandas")
    np.testing.assert_array_equal(bank.transform(X)[0], expected[0])
    # The choice waits until there is a table, in clones as well.
    for asked in (bank, clone(bank).fit(X)):
        frame = asked.set_params(pooling="mean").transform(X)
        assert list(frame.columns) == list(asked.get_feature_names_out())


def test_weights_and_confidences_are_routed(rng):
    X = np.stack(walks(rng, lengths=(40,) * 6))
    y, weights = np.arange(6) % 2, np.arange(6.0)
    trust = rng.uniform(size=X.shape[:3])
    by_hand = MotionKernelBank((3,), pooling="mean").fit(X, y, weights, trust)
    features = by_hand.transform(X, trust)
    with sklearn.config_context(enable_metadata_routing=True):
        bank = MotionKernelBank((3,), pooling="mean")
        bank.set_fit_request(sample_weight=True, confidence=True)
        bank.set_transform_request(confidence=True)
        classifier = RidgeClassifier().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(bank, classifier)
        pipeline.fit(X, y, sample_weight=weights, confidence=trust)
        np.testing.assert_array_equal(pipeline[0].kernels_[0][1], by_hand.kernels_[0][1])
        np.testing.assert_array_equal(pipeline[:1].transform(X, confidence=trust), features)
    np.testing.assert_array_equal(pipeline[1].coef_, RidgeClassifier().fit(features, y).coef_)


def test_activities_of_a_figure_are_told_apart():
    motions = {
        name: make_motion(name, n_sequences=6, n_frames=90, noise=5.0, random_state=0).observed
        for name in ("walk", "run", "stand")
    }
    X = np.concatenate(list(motions.values()))
    y = np.repeat(list(motions), 6)
    bank = MotionKernelBank(fixed=("velocity",), pooling=("std",))
    classifier = make_pipeline(bank, StandardScaler(), RidgeClassifier())
    assert classifier.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) == 1.0


@pytest.mark.data
def test_natops_is_classified_at_least_as_well_as_promised(data_dir):
    path = data_dir / "trajectory" / "natops.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with np.load(path) as data:
        X = data["X"].reshape(len(data["lengths"]), -1, *data["X"].shape[1:])
        y, is_test = data["y"], data["split"] == 1
    bank = MotionKernelBank(
        dilations=(1, 2, 4, 8),
        fixed=("velocity", "acceleration"),
        pooling=("mean", "std", "min", "max"),
    )
    classifier = make_pipeline(bank, StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 13)))
    assert classifier.fit(X[~is_test], y[~is_test]).score(X[is_test], y[is_test]) >= 0.92


# Errors


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scales": (0, 3)}, "scales must be different whole numbers, at least 1"),
        ({"scales": ()}, "scales must be"),
        ({"scales": (2, 2)}, "scales must be different"),
        ({"scales": (2.5,)}, "scales must be"),
        ({"scales": 3}, "scales.*array-like"),
        ({"scales": (1, 3), "learned": "class"}, "scales must be .* at least 2"),
        ({"dilations": (0,)}, "dilations must be"),
        ({"fixed": "velocity"}, "fixed"),
        ({"fixed": ("speed",)}, "fixed holds 'speed', which is no kernel: name must be one of"),
        ({"fixed": ("savgol",)}, "needs n_taps.*tuple such as"),
        ({"fixed": (("savgol", 5, 2, 1),)}, "fixed must hold names, or tuples"),
        ({"fixed": (7,)}, "fixed must hold names, or tuples .* got 7"),
        ({"fixed": ("jerk", ("jerk",))}, "fixed must hold each kernel once"),
        ({"learned": "last"}, "learned"),
        ({"learned": None}, "there are no kernels"),
        ({"horizon": 0}, "horizon"),
        ({"alpha": -1.0}, "alpha"),
        ({"cross_scale_penalty": -1.0}, "cross_scale_penalty"),
        ({"cross_scale_penalty": 1.0, "learned": "class"}, "cross_scale_penalty must be 0"),
        ({"similarity": "shape"}, "similarity"),
        ({"pooling": ("mean", "median")}, "pooling must be some of"),
        ({"pooling": ()}, "pooling must be some of"),
        ({"pooling": ("mean", "mean")}, "pooling must be some of .*, each once"),
        ({"pooling": "mean", "pyramid": (1, 86)}, "at least 86 frames in some .* at most 85"),
        (
            {"pooling": "mean", "pyramid": (84,), "edges": "valid"},
            "at least 88 frames in some .* at most 85",
        ),
        ({"fixed": (("savgol_velocity", [3]),)}, r"fixed must hold names, .* got .*\[3\]"),
        ({"pyramid": (1, 0)}, "pyramid must be"),
        ({"fps": 0.0}, "fps"),
        ({"edges": "wrap"}, "edges"),
        ({"min_valid": 0.0}, "min_valid"),
        ({"axes": ("time", "joint", "coord")}, "axes"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"scales": (90,)}, "window of 91 frames .*sequences of up to 85 frames"),
        ({"fixed": (("savgol", 91),)}, "at least 91 frames in some sequences.*at most 85"),
    ],
)
def test_wrong_parameters(rng, params, message):
    with pytest.raises(ValueError, match=message):
        MotionKernelBank(**params).fit(walks(rng), [0, 1, 1])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "needs y, one label for each sequence"),
        ([0, 1], r"one label for each of 3 sequences, got shape \(2,\)"),
        ([[0], [1], [1]], r"got shape \(3, 1\)"),
        ([0.5, 1.5, 2.25], "Unknown label type: continuous"),
        ([1, 1, 1], "at least two labels"),
        (["a", "b", "c"], "sequences of label b must .* one window of 40 frames"),
    ],
)
def test_wrong_labels(rng, y, message):
    with pytest.raises(ValueError, match=message):
        MotionKernelBank((40,), learned="class").fit(walks(rng), y)


def test_class_kernels_need_motion(rng):
    y = [0, 1, 0, 1]
    for place in (0.0, 0.1, 1e6 / 3):
        with pytest.raises(ValueError, match="X must move for learned='class', got .* nothing"):
            MotionKernelBank(learned="class").fit(np.full((4, 20, 2, 2), place), y)
    # However little moves, it is motion.
    X = (1e3 + 1e-3 * rng.normal(size=(4, 20, 2, 2))).astype(np.float32)
    assert len(MotionKernelBank(learned="class").fit(X, y).kernels_) == 5


def test_wrong_sequences(rng):
    X = walks(rng)
    bank = MotionKernelBank(pooling="mean").fit(X)
    with pytest.raises(ValueError, match="X must have 3 joints of 2 coordinates as in fit, got 2"):
        bank.transform([x[:, :2] for x in X])
    with pytest.raises(ValueError, match="infinite"):
        bank.transform([np.full((9, 3, 2), np.inf)])
    with pytest.raises(ValueError, match="infinite"):
        bank.fit([np.full((9, 3, 2), np.inf)])
    with pytest.raises(ValueError, match="at least 32 frames in all sequences.*as few as 31"):
        bank.set_params(pyramid=(1, 32)).transform(X)
    with pytest.raises(TypeError, match="real numbers"):
        bank.fit(np.full((9, 3, 2), "a"))
    for x in X:
        x[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"only NaN for joint\(s\) \[1\]; leave them out"):
        bank.fit(X)
    X[0][::2] = np.nan
    with pytest.raises(ValueError, match="window of 6 frames without NaN"):
        MotionKernelBank().fit(X[0][:, :1])
    with pytest.raises(NotFittedError):
        MotionKernelBank().transform(X)
    with pytest.raises(NotFittedError):
        MotionKernelBank(pooling="mean").get_feature_names_out()


def test_a_device_that_is_not_there(rng, monkeypatch):
    monkeypatch.setattr(core_device, "cuda_unavailable_reason", lambda: "the cause; the cure")
    with pytest.raises(RuntimeError, match="'cuda' is not available: the cause; the cure"):
        MotionKernelBank(device="cuda").fit(walks(rng))


def test_joints_missing_in_transform_alone_are_filled(rng, caplog):
    X = walks(rng)
    bank = MotionKernelBank(pooling=("mean", "max"), fill_value=3.0).fit(X)
    bank.transform(X)
    assert not caplog.messages
    X[1][:, 1] = np.nan
    features = bank.transform(X).reshape(3, 3, 3, 2, 2)
    (message,) = caplog.messages
    assert message.startswith("1 of 3 sequences have parts")
    assert "12 features are fill_value=3 " in message
    assert (features[1, :, 1] == 3.0).all()
    assert np.isfinite(features).all()
    bank.set_params(fill_value=np.nan).transform(X)
    assert len(caplog.messages) == 1
