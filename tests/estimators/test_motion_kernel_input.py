"""What motion kernels say to input that is wrong."""

import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from fastmotion.core import device as core_device
from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel


@pytest.fixture(scope="module")
def X():
    array = make_motion("walk", n_sequences=3, n_frames=30, noise=3.0, random_state=1).observed
    array = array[:, :, ::6].copy()
    array.setflags(write=False)
    return array


def spoil(X, index, value):
    X = X.copy()
    X[index] = value
    return X


PARAMETERS = {
    "n_taps": (0, 2.5, "five"),
    "window": (0.0, -1.0),
    "causal": ("yes", 2),
    "dilation": (0, 1.5),
    "target": ("jerk", None),
    "horizon": (0, -1),
    "sharing": ("joints", None, "none"),
    "shrinkage": (-0.1, 1.1),
    "alpha": (-1.0, "auto", np.nan),
    "prior": ("speed", 3.0),
    "smoothness": (-1.0, None),
    "smoothness_order": (0, 3),
    "weight_sum": ("one", np.inf, [1.0, 2.0]),
    "moments": (-1, 1.5, [1]),
    "loss": ("absolute",),
    "solver": ("adam",),
    "learning_rate": (0.0, 2.0),
    "max_iter": (0,),
    "tol": (-1.0,),
    "residual": (None,),
    "noise": (-1.0, "mad"),
    "fit_intercept": ("no",),
    "fps": (0, -25.0),
    "edges": ("wrap", None),
    "min_valid": (0.0, 1.5),
    "axes": (3,),
    "random_state": (-1, "seed"),
    "n_jobs": (0, 1.5),
    "device": (0,),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in PARAMETERS.items() for value in values]
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_parameters_out_of_range(X, method, name, value):
    with pytest.raises(ValueError, match=rf"The '{name}' parameter of MotionKernel must be"):
        getattr(MotionKernel(**{name: value}), method)(X)


CONTRADICTIONS = {
    "window without fps": ({"window": 0.2}, "window=0.2 is in seconds and needs fps"),
    "residual velocity": (
        {"residual": True, "target": "velocity"},
        "residual=True adds the present position, which target='velocity' does not contain",
    ),
    "residual and sum": (
        {"residual": True, "weight_sum": 0.5},
        "residual=True makes the weights add up to 1, got weight_sum=0.5",
    ),
    "residual and soft sum": (
        {"residual": True, "weight_sum": (0.5, 1.0)},
        "residual=True makes the weights add up to 1",
    ),
    "residual and moments": (
        {"residual": True, "moments": {0: 0.5}},
        "makes the weights add up to 0.5, but residual=True to 1",
    ),
    "sum and moments": (
        {"weight_sum": 0.7, "moments": {0: 0.5, 1: 0.0}},
        "makes the weights add up to 0.5, but weight_sum to 0.7",
    ),
    "sum and moments of the target": (
        {"weight_sum": 0.7, "moments": 1},
        "moments=1 makes the weights add up to 1, but weight_sum to 0.7",
    ),
    "too many moments": (
        {"n_taps": 3, "moments": 3},
        "no kernel of 3 tap(s) has all moments",
    ),
    "impossible moments": (
        {"n_taps": 1, "moments": {1: 1.0}},
        "no kernel of 1 tap(s) has all moments {1: 1.0}",
    ),
    "order of a moment": ({"moments": {-1: 1.0}}, "orders 0, 1, 2, ... to finite numbers, got -1"),
    "fraction of a moment": ({"moments": {0.5: 1.0}}, "got 0.5: 1.0"),
    "value of a moment": ({"moments": {1: np.nan}}, "to finite numbers, got 1: nan"),
    "short soft sum": ({"weight_sum": (1.0,)}, "a tuple (sum, penalty)"),
    "negative soft sum": ({"weight_sum": (1.0, -2.0)}, "penalty of at least 0, got (1.0, -2.0)"),
    "infinite soft sum": ({"weight_sum": (1.0, np.inf)}, "finite numbers"),
    "nan in the soft sum": ({"weight_sum": (np.nan, 1.0)}, "finite numbers"),
    "length of a prior": (
        {"prior": [0.0, 1.0], "sharing": "joint"},
        "prior must be finite and of shape (5,) or (4, 5), as offsets_ and coef_ are, got shape",
    ),
    "missing in a prior": ({"prior": [0, 0, 0, 0, np.nan]}, "prior must be finite"),
    "long prior": (
        {"prior": "jerk", "n_taps": 3},
        "prior='jerk' reads frames [-3, -2, -1, 0], which are not all among the kernel's",
    ),
    "dilated prior": ({"prior": "savgol", "dilation": 2}, "give the prior as an array"),
    "even centred prior": ({"prior": "savgol", "causal": False, "n_taps": 4}, "n_taps"),
    "unknown axis": ({"axes": ("sequence", "time", "joint", "coord")}, "axes must name each axis"),
    "missing frame axis": ({"axes": ("sequence", "joint", "coord")}, "'frame' among them"),
    "number of axes": ({"axes": ("frame", "joint", "coord")}, "must have the axes ('frame',"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_parameters_that_contradict_each_other(X, case):
    parameters, message = CONTRADICTIONS[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        MotionKernel(**parameters).fit(X)


def test_moments_that_agree_are_no_contradiction(X):
    for options in (
        {"residual": True, "moments": 1},
        {"weight_sum": 1.0, "moments": {0: 1, 1: 1}},
        {"weight_sum": 1, "moments": 2},
        {"moments": 6, "n_taps": 3, "causal": False, "target": "position"},
    ):
        MotionKernel(**options).fit(X).transform(X)


def test_combinations_that_y_excludes(X):
    with pytest.raises(ValueError, match="noise=2.0 is for fits without y"):
        MotionKernel(noise=2.0).fit(X, X)
    with pytest.raises(ValueError, match="moments=1 takes the moments of the target, which y does"):
        MotionKernel(moments=1).fit(X, X)
    MotionKernel(residual=True, target="velocity").fit(X, X)  # y replaces the target


DATA = {
    "one frame": (lambda X: X[0, 0], "X must have shape"),
    "joints without coordinates": (lambda X: X[..., 0, 0], "insert the axis that is missing"),
    "five axes": (lambda X: X[None], "X must have shape"),
    "no sequence": (lambda X: [], "at least one sequence, got an empty list"),
    "no frame": (lambda X: X[:, :0], "at least one frame"),
    "no joint": (lambda X: X[:, :, :0], "at least one frame, joint and coordinate"),
    "an empty sequence": (lambda X: [X[0], X[1][:0]], r"X\[1\] must hold at least one frame"),
    "other joints": (lambda X: [X[0], X[1][:, :2]], r"same joints and coordinates, got \(2, 3\)"),
    "two-dimensional sequence": (lambda X: [X[0], X[1][:, 0]], r"X\[1\] must have shape"),
    "short": (lambda X: X[:, :5], "span 6 frames, but the longest sequence has 5"),
    "short list": (lambda X: [X[0, :2], X[1, :5]], "lower n_taps, window, dilation or horizon"),
    "all missing": (lambda X: X * np.nan, r"got only NaN for joint\(s\) \[0, 1, 2, 3\]"),
    "full of holes": (
        lambda X: np.where(np.arange(30)[:, None, None] % 5 == 0, np.nan, X),
        "fill gaps with interpolate_gaps",
    ),
    "infinite": (lambda X: spoil(X, (1, 7, 2, 0), np.inf), "must not hold infinite values"),
    "minus infinite": (lambda X: spoil(X, (0, 0, 0, 0), -np.inf), "mark missing values with NaN"),
}


# More of it may still come.
NOT_YET_ENOUGH = {"short", "short list", "all missing", "full of holes"}


@pytest.mark.parametrize("case", DATA)
def test_data_that_cannot_be_fitted(X, case):
    make, message = DATA[case]
    with pytest.raises(ValueError, match=message):
        MotionKernel().fit(make(X))


@pytest.mark.parametrize("case", sorted(DATA.keys() - NOT_YET_ENOUGH))
def test_data_that_cannot_be_added(X, case):
    make, message = DATA[case]
    with pytest.raises(ValueError, match=message):
        MotionKernel().partial_fit(make(X))


@pytest.mark.parametrize("case", sorted(NOT_YET_ENOUGH))
def test_data_that_tell_nothing_yet(X, case):
    kernel = MotionKernel().partial_fit(DATA[case][0](X))
    with pytest.raises(NotFittedError):
        kernel.transform(X)
    np.testing.assert_allclose(kernel.partial_fit(X).coef_, MotionKernel().fit(X).coef_, rtol=1e-9)


def test_frames_that_come_one_by_one(X):
    kernel = MotionKernel(4)
    for t in range(X.shape[1]):
        kernel.partial_fit(X[:, t : t + 1], continued=t > 0)
    np.testing.assert_allclose(kernel.coef_, MotionKernel(4).fit(X).coef_, rtol=1e-9)


@pytest.mark.parametrize("dtype", [object, complex, "U8"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_dtypes(X, method, dtype):
    with pytest.raises(TypeError, match="objects|real numbers"):
        getattr(MotionKernel(), method)(X.astype(dtype))


@pytest.mark.parametrize("sharing", ["all", "coordinate", "joint", "channel"])
def test_joints_that_are_missing_throughout(X, sharing):
    lost = spoil(X, (slice(None), slice(None), 2), np.nan)
    with pytest.raises(ValueError, match=r"only NaN for joint\(s\) \[2\]; leave them out"):
        MotionKernel(sharing=sharing).fit(lost)
    kernel = MotionKernel(sharing=sharing, shrinkage=0.1).fit(lost)
    assert np.isfinite(kernel.coef_).all()


def test_coordinates_that_are_missing_throughout(X):
    lost = spoil(X, (..., 1), np.nan)
    with pytest.raises(ValueError, match=r"coordinate \[1\] of X has no 6.*or share more"):
        MotionKernel(sharing="coordinate").fit(lost)
    with pytest.raises(ValueError, match=r"channel \[1, 4, 7, 10\] of X has no 6"):
        MotionKernel(sharing="channel").fit(lost)


def test_labels_are_no_target(X):
    plain = MotionKernel().fit(X)
    for labels in (["a", "b", "c"][: len(X)], np.arange(len(X))):
        np.testing.assert_array_equal(MotionKernel().fit(X, labels).coef_, plain.coef_)


def test_score_of_a_kernel_of_a_target_needs_one(X):
    with pytest.raises(ValueError, match="fitted to values y; give them to score"):
        MotionKernel().fit(X, X).score(X)


def test_merge_of_something_else(X):
    kernel = MotionKernel().fit(X)
    with pytest.raises(TypeError, match="other must be a MotionKernel, got dict"):
        kernel.merge({})


TARGETS = {
    "sequences": (lambda X: X[:2], "y must have the sizes of the sequences"),
    "frames": (lambda X: X[:, :-1], "y must have the sizes of the sequences"),
    "coordinates": (lambda X: X[..., 0], "y must have the sizes"),
    "container": (list, "y must have|y must be"),
    "infinite": (lambda X: spoil(X, (1, 9, 2, 0), np.inf), "must not hold infinite values"),
    "all missing": (lambda X: X * np.nan, "no 5 successive frames"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets_that_do_not_match(X, case):
    make, message = TARGETS[case]
    if case == "container":
        MotionKernel().fit(X, list(X))  # an array's sequences as a list are an array too
        with pytest.raises(ValueError, match="y must be a list of 3 arrays"):
            MotionKernel().fit(list(X), X)
        return
    with pytest.raises(ValueError, match=message):
        MotionKernel().fit(X, make(X))


WEIGHTS = {
    "number": (lambda X: np.ones(4), "sample_weight must have one of the shapes (3,), (90,)"),
    "joints": (lambda X: np.ones((3, 30, 5)), "sample_weight must have one of the shapes"),
    "negative": (lambda X: [1.0, -1.0, 1.0], "sample_weight must be finite and not negative"),
    "missing": (lambda X: [1.0, np.nan, 1.0], "sample_weight must be finite"),
    "zero": (lambda X: np.zeros(3), "at least one weight above zero"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_do_not_match(X, case):
    make, message = WEIGHTS[case]
    kernel = MotionKernel().fit(X)
    for method in (kernel.fit, kernel.score):
        with pytest.raises(ValueError, match=re.escape(message)):
            method(X, sample_weight=make(X))


CONFIDENCES = {
    "joints": (lambda X: np.ones((3, 30, 5)), "confidence must have the sizes of the sequences"),
    "sequences": (lambda X: np.ones((2, 30, 4)), "confidence must have the sizes"),
    "large": (lambda X: np.full((3, 30, 4), 1.5), "confidence must lie in [0, 1], got values"),
    "negative": (lambda X: np.full((3, 30, 4), -0.5), "confidence must lie in [0, 1]"),
}


@pytest.mark.parametrize("case", CONFIDENCES)
def test_confidences_that_do_not_match(X, case):
    make, message = CONFIDENCES[case]
    kernel = MotionKernel().fit(X)
    for method in (kernel.fit, kernel.transform, kernel.predict):
        with pytest.raises(ValueError, match=re.escape(message)):
            method(X, confidence=make(X))


def test_no_confidence_at_all(X):
    with pytest.raises(ValueError, match="confidence 0"):
        MotionKernel().fit(X, confidence=np.zeros(X.shape[:3]))


@pytest.mark.parametrize("method", ["transform", "predict", "score"])
def test_other_joints_than_those_of_fit(X, method):
    kernel = MotionKernel().fit(X)
    for other in (X[:, :, :2], X[..., :2]):
        with pytest.raises(ValueError, match="must have 4 joints of 3 coordinates as in fit"):
            getattr(kernel, method)(other)
    with pytest.raises(ValueError, match="infinite"):
        getattr(kernel, method)(spoil(X, (1, 7, 2, 0), np.inf))
    with pytest.raises(TypeError, match="real numbers"):
        getattr(kernel, method)(X.astype(complex))


def test_sequences_that_leave_nothing(X):
    kernel = MotionKernel(edges="valid").fit(X)
    with pytest.raises(ValueError, match="window of 5 frames, got at most 4"):
        kernel.transform(X[:, :4])
    with pytest.raises(ValueError, match="no window of 6 frames is complete"):
        kernel.score(X[:, :5])


def test_parts_of_another_kind(X):
    kernel = MotionKernel(4).fit(X)
    with pytest.raises(ValueError, match=r"shape \(4, 3\) .* these are of shape \(2, 3\)"):
        kernel.partial_fit(X[:, :, :2])
    with pytest.raises(ValueError, match="no target y; these are .* a target y; call fit"):
        kernel.partial_fit(X, X)
    with pytest.raises(ValueError, match=r"windows of 5 frames.* 6 frames"):
        kernel.set_params(n_taps=5).partial_fit(X)
    with pytest.raises(ValueError, match=r"1 kernel\(s\).* 4 kernel\(s\)"):
        kernel.set_params(n_taps=4, sharing="joint").partial_fit(X)
    with pytest.raises(ValueError, match=r"1 kernel\(s\).* 3 kernel\(s\)"):
        MotionKernel(4).fit(X).merge(MotionKernel(4, sharing="coordinate").fit(X))


def test_continued_needs_the_same_sequences(X):
    with pytest.raises(ValueError, match="nothing was fitted yet"):
        MotionKernel(4).partial_fit(X, continued=True)
    kernel = MotionKernel(4).fit(X)
    with pytest.raises(ValueError, match="needs the 3 sequences of the last call.*got 2"):
        kernel.partial_fit(X[:2], continued=True)
    with pytest.raises(ValueError, match="weights of whole sequences only"):
        kernel.partial_fit(X, confidence=np.ones(X.shape[:3]), continued=True)
    kernel.merge(MotionKernel(4).fit(X))
    with pytest.raises(ValueError, match="merge came last"):
        kernel.partial_fit(X, continued=True)


def test_a_device_that_is_not_there(X, monkeypatch):
    monkeypatch.setattr(core_device, "cuda_unavailable_reason", lambda: "the cause; the cure")
    with pytest.raises(RuntimeError, match="'cuda' is not available: the cause; the cure"):
        MotionKernel(device="cuda").fit(X)
    with pytest.raises(ValueError, match="device"):
        MotionKernel(device="gpu").fit(X)
