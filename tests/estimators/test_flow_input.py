"""Bad input is refused with what was wrong, what came and what to do; odd input is dealt with."""

import re

import numpy as np
import pytest

from fastmotion.flow import (
    HornSchunck,
    LucasKanade,
    forward_backward_error,
    horn_schunck,
    image_derivatives,
    lucas_kanade,
    warp,
)
from tests.reference.flow_cases import texture

FRAME = texture((20, 24))
ESTIMATORS = [HornSchunck, LucasKanade]
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def spoilt(value):
    frame = FRAME.copy()
    frame[3, 5] = value
    return frame


MASKED = np.ma.masked_array(FRAME, mask=FRAME > 0.5)

# What is passed; the error; what the message says was wrong and came; what it says to do.
BAD_FRAMES = {
    "one-dimensional": (FRAME[0], FRAME[0], ValueError, ["frame0", "(24,)"], "pass one frame"),
    "a clip": (FRAME[None, None],) * 2 + (ValueError, ["frame0", "(1, 1, 20, 24)"], "pass one"),
    "channels first": (np.stack([FRAME] * 3),) * 2 + (ValueError, ["(3, 20, 24)"], "channels last"),
    "four channels": (np.dstack([FRAME] * 4),) * 2 + (ValueError, ["(20, 24, 4)"], "gray or RGB"),
    "too low": (FRAME[:15], FRAME[:15], ValueError, ["16 x 16", "height 15"], "pad or enlarge"),
    "too narrow": (FRAME[:, :9], FRAME[:, :9], ValueError, ["frame0", "width 9"], "pad or enlarge"),
    "empty": (FRAME[:0], FRAME[:0], ValueError, ["height 0"], "pad or enlarge"),
    "nothing": ([], [], ValueError, ["frame0", "(0,)"], "pass one frame"),
    "other sizes": (FRAME, FRAME[:-1], ValueError, ["(20, 24)", "(19, 24)"], "crop or resize"),
    "too small second": (FRAME, FRAME[:9], ValueError, ["frame1", "height 9"], "pad or enlarge"),
    "NaN": (spoilt(np.nan), FRAME, ValueError, ["frame0", "finite", "nan"], "nan_to_num"),
    "infinite": (FRAME, spoilt(np.inf), ValueError, ["frame1", "finite", "inf"], "nan_to_num"),
    "minus infinite": (spoilt(-np.inf), FRAME, ValueError, ["frame0", "-inf"], "nan_to_num"),
    "objects": (FRAME.astype(object), FRAME, TypeError, ["frame0", "object"], "numpy.asarray"),
    "complex": (FRAME, FRAME.astype(complex), TypeError, ["frame1", "complex128"], "convert"),
    "text": (FRAME.astype(str), FRAME, TypeError, ["frame0", "real numbers", "<U"], "convert"),
    "dates": (FRAME.astype("M8[s]"), FRAME, TypeError, ["frame0", "datetime64"], "convert"),
    "None": (None, FRAME, TypeError, ["frame0", "object"], "convert"),
    "ragged": ([[1, 2], [3]], FRAME, ValueError, ["frame0", "rectangular"], ""),
    "other types": (np.uint8(FRAME), FRAME, ValueError, ["uint8", "float32"], "convert one"),
    "other ranges": (np.uint8(FRAME), np.uint16(FRAME), ValueError, ["uint8", "uint16"], "convert"),
    "masked": (MASKED, FRAME, TypeError, ["frame0", "masked"], ".filled()"),
}


def assert_message(error, pieces, cure):
    for piece in (*pieces, cure):
        assert piece in str(error.value)


@pytest.mark.parametrize("function", [horn_schunck, lucas_kanade])
@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames(function, name):
    frame0, frame1, error, pieces, cure = BAD_FRAMES[name]
    if error is None:
        assert np.isfinite(function(frame0, frame1)).all()
        return
    with pytest.raises(error) as caught:
        function(frame0, frame1)
    assert_message(caught, pieces, cure)


@each_estimator
def test_one_frame(estimator):
    with pytest.raises(TypeError, match="frame1"):
        estimator().estimate(FRAME)


BAD_CLIPS = {
    "one frame": (FRAME, ValueError, ["X", "(20, 24)"], "clip[numpy.newaxis]"),
    "one clip": (np.stack([FRAME] * 3), ValueError, ["X", "(3, 20, 24)"], "clip[numpy.newaxis]"),
    "clips of one frame": (FRAME[None, None], ValueError, ["two frames", "got 1"], "between"),
    "no clips": (np.empty((0, 2, 20, 24)), ValueError, ["at least one clip", "(0, 2, 20, 24)"], ""),
    "two channels": (np.ones((1, 2, 20, 24, 2)), ValueError, ["(1, 2, 20, 24, 2)"], "1 or 3"),
    "objects": (np.full((1, 2, 20, 24), None), TypeError, ["X", "object"], "convert"),
    "complex": (np.ones((1, 2, 20, 24), complex), TypeError, ["X", "complex128"], "convert"),
    "ragged": ([[FRAME, FRAME], [FRAME]], ValueError, ["X", "rectangular"], ""),
}


@each_estimator
@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform"])
@pytest.mark.parametrize("name", BAD_CLIPS)
def test_bad_clips(estimator, method, name):
    X, error, pieces, cure = BAD_CLIPS[name]
    with pytest.raises(error) as caught:
        getattr(estimator(), method)(X)
    assert_message(caught, pieces, cure)


@each_estimator
def test_bad_pixels_in_clips(estimator):
    with pytest.raises(ValueError, match="finite.*nan"):
        estimator().fit_transform(np.stack([FRAME, spoilt(np.nan)])[None])
    with pytest.raises(ValueError, match="16 x 16.*height 8"):
        estimator().fit_transform(np.ones((1, 2, 8, 24)))


BAD_FLOWS = {
    "planes first": (np.zeros((2, 20, 24)), ValueError, ["(20, 24, 2)", "(2, 20, 24)"]),
    "other size": (np.zeros((20, 25, 2)), ValueError, ["(20, 24, 2)", "(20, 25, 2)"]),
    "one vector": (np.zeros(2), ValueError, ["(20, 24, 2)", "(2,)"]),
    "NaN": (np.full((20, 24, 2), np.nan), ValueError, ["finite", "nan"]),
    "infinite": (np.full((20, 24, 2), np.inf), ValueError, ["finite", "inf"]),
    "too large for float32": (np.full((20, 24, 2), 1e39), ValueError, ["finite", "inf"]),
    "complex": (np.zeros((20, 24, 2), complex), TypeError, ["complex128"]),
}


@each_estimator
@pytest.mark.parametrize("name", BAD_FLOWS)
def test_bad_initial_flow(estimator, name):
    flow, error, pieces = BAD_FLOWS[name]
    with pytest.raises(error) as caught:
        estimator().estimate(FRAME, FRAME, initial_flow=flow)
    assert_message(caught, ["initial_flow", *pieces], "")


# Values of parameters that both estimators refuse, then those of one.
BAD_PARAMETERS = [
    (estimator, name, value)
    for estimator in ESTIMATORS
    for name, values in {
        "n_levels": [0, 1.5],
        "pyramid_factor": [0.0, 1.0, np.nan],
        "finest_scale": [-1, 0.5, None],
        "n_warps": [0, 2.0, None],
        "n_finest_warps": [0, 1.5],
        "prefilter_sigma": [-0.1, np.nan, np.inf],
        "median_filter": ["yes", None],
        "weighted_median": ["yes", None],
        "max_update": [0, -1, np.nan, None],
        "n_jobs": [0, 1.5, "2"],
        "device": ["nonsense", "CUDA", "cuda:", "cuda:x", "gpu", "", 3],
    }.items()
    for value in values
]
BAD_PARAMETERS += [
    (HornSchunck, name, value)
    for name, values in {
        "alpha": [0, -1.0, np.nan, np.inf, "1"],
        "penalty": ["l1", None],
        "exponent": [0, 1.1, np.nan],
        "gradient_weight": [-0.1, 1.1, np.nan],
        "edge_sensitivity": [-1, np.nan, np.inf],
        "n_sweeps": [0, 3.5],
        "omega": [0, 2, np.nan],
    }.items()
    for value in values
]
BAD_PARAMETERS += [
    (LucasKanade, name, value)
    for name, values in {
        "window_size": [2, 8, 1, 0, -1, -5, 5.0, "5", None],
        "window": ["hann", None],
        "regularization": [0, -1, np.nan, np.inf],
        "residual_threshold": [0, -1, np.nan, None],
        "gradient_weight": [-1, np.nan, np.inf],
    }.items()
    for value in values
]


def assert_refused(use, name, value):
    with pytest.raises((ValueError, TypeError)) as caught:
        use()
    assert name in str(caught.value)
    assert re.search(rf"(got|Got|not be) {re.escape(repr(value))}", str(caught.value))


@pytest.mark.parametrize("estimator, name, value", BAD_PARAMETERS)
def test_bad_parameters(estimator, name, value):
    made = estimator(**{name: value})  # only use tells
    assert_refused(lambda: made.estimate(FRAME, FRAME), name, value)
    if (name, value) != ("n_jobs", 0):  # fit starts no threads
        assert_refused(lambda: made.fit(np.stack([FRAME, FRAME])[None]), name, value)


def test_an_even_window_is_told_its_neighbours():
    with pytest.raises(ValueError, match="odd, got 8; .* use 7 or 9"):
        lucas_kanade(FRAME, FRAME, window_size=8)


@pytest.mark.parametrize("window_size", [19, 21, 25, 101, 5001])
@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_windows_larger_than_the_image(window, window_size):
    moved = np.roll(FRAME, 1, axis=1)
    flow = lucas_kanade(FRAME, moved, window_size=window_size, window=window, max_update=0.5)
    assert np.isfinite(flow).all()


def test_a_window_beyond_memory_is_refused():
    with pytest.raises(ValueError, match="window_size"):
        lucas_kanade(FRAME, FRAME, window_size=10**20 + 1)


@pytest.mark.parametrize(
    "estimator, name, value",
    [
        (HornSchunck, "alpha", 1e18),
        (HornSchunck, "alpha", 1e25),
        (HornSchunck, "edge_sensitivity", 1e39),
        (LucasKanade, "regularization", 1e39),
        (LucasKanade, "gradient_weight", 1e39),
        (LucasKanade, "residual_threshold", 1e-25),
        (LucasKanade, "residual_threshold", 1e25),
        (LucasKanade, "max_update", 1e39),
    ],
)
def test_extreme_numbers_are_refused_or_harmless(estimator, name, value):
    try:
        flow = estimator(**{name: value}).estimate(FRAME, FRAME)
    except ValueError as error:
        assert name in str(error)
    else:
        assert not flow.any()  # nothing moves


@each_estimator
@pytest.mark.parametrize("magnitude", [1e3, 1e6, 1e9, 1e20, 3e38])
def test_initial_flow_far_out_of_the_image(estimator, magnitude, rng):
    flow = magnitude * rng.uniform(-1, 1, (20, 24, 2))
    assert np.isfinite(estimator().estimate(FRAME, FRAME[::-1], initial_flow=flow)).all()


# Images with which nothing can be told, or everything


def checkerboard(shape):
    return np.uint8(255 * (np.indices(shape).sum(axis=0) % 2))


IMAGES = {
    "flat": lambda shape, rng: np.full(shape, 128, np.uint8),
    "saturated": lambda shape, rng: np.full(shape, 255, np.uint8),
    "black": lambda shape, rng: np.zeros(shape),
    "noise": lambda shape, rng: rng.integers(0, 256, shape, dtype=np.uint8),
    "black and white": lambda shape, rng: rng.random(shape) > 0.5,
    "checkerboard": lambda shape, rng: checkerboard(shape),
    "one pixel": lambda shape, rng: np.uint8(np.arange(np.prod(shape)).reshape(shape) == 135) * 255,
    "denormal": lambda shape, rng: rng.random(shape) * 1e-310,
    "huge": lambda shape, rng: rng.random(shape) * 1e300,
    "offset": lambda shape, rng: 1e9 + rng.random(shape),
    "wide integers": lambda shape, rng: rng.integers(-(2**62), 2**62, shape),
    "half": lambda shape, rng: rng.random(shape).astype(np.float16),
}


@each_estimator
@pytest.mark.parametrize("preset", ["default", "best", "fast"])
@pytest.mark.parametrize("name", IMAGES)
def test_the_flow_is_finite_whatever_the_image(estimator, preset, name, rng):
    image = IMAGES[name]((33, 47), rng)
    for other in (image[::-1], np.zeros_like(image)):
        assert np.isfinite(estimator.from_preset(preset).estimate(image, other)).all()


@each_estimator
@pytest.mark.parametrize("preset", ["default", "best", "fast", "medium"])
@pytest.mark.parametrize("shape", [(16, 16), (17, 16), (16, 19), (16, 600), (600, 16), (31, 33)])
def test_any_size_and_aspect(estimator, preset, shape):
    frame = texture((*shape, 3))
    flow = estimator.from_preset(preset).estimate(frame, frame[::-1, ::-1])
    assert flow.shape == (*shape, 2) and np.isfinite(flow).all()


@each_estimator
@pytest.mark.parametrize("finest_scale", [3, 5, 12, 16])
def test_a_scale_coarser_than_the_image(estimator, finest_scale):
    flow = estimator(finest_scale=finest_scale).estimate(FRAME, FRAME[::-1])
    assert flow.shape == (20, 24, 2) and np.isfinite(flow).all()


# warp, forward_backward_error and image_derivatives


@pytest.mark.parametrize("name", BAD_FLOWS)
def test_bad_flows(name):
    flow, error, pieces = BAD_FLOWS[name]
    if name != "other size":
        with pytest.raises(error) as caught:
            warp(FRAME, flow)
        assert_message(caught, ["flow", *pieces[1:]], "")
        with pytest.raises(error) as caught:
            forward_backward_error(flow, np.zeros((20, 24, 2)))
        assert_message(caught, ["forward", *pieces[1:]], "")
    with pytest.raises(error) as caught:
        forward_backward_error(np.zeros((20, 24, 2)), flow)
    assert_message(caught, ["backward", *pieces], "")


@pytest.mark.parametrize(
    "image, error, pieces",
    [
        (FRAME[:, :-1], ValueError, ["(20, 24)", "(20, 23)", "crop or resize"]),
        (FRAME[None], ValueError, ["(20, 24)", "(1, 20, 24)"]),
        (FRAME[0], ValueError, ["(20, 24)", "(24,)"]),
        (FRAME.astype(complex), TypeError, ["image", "complex128"]),
        (FRAME.astype(object), TypeError, ["image", "object"]),
    ],
)
def test_warp_refuses_images(image, error, pieces):
    with pytest.raises(error) as caught:
        warp(image, np.zeros((20, 24, 2)))
    assert_message(caught, pieces, "")


def test_image_derivatives_refuse():
    with pytest.raises(ValueError, match="barron.*got 'prewitt'"):
        image_derivatives(FRAME, FRAME, stencil="prewitt")
    with pytest.raises(ValueError, match=r"\(20, 24\).*\(20, 23\).*crop or resize"):
        image_derivatives(FRAME, FRAME[:, 1:])
    with pytest.raises(TypeError, match="frame1.*complex64"):
        image_derivatives(FRAME, FRAME.astype(np.complex64))
    with pytest.raises(ValueError, match="frame0.*finite.*nan"):
        image_derivatives(spoilt(np.nan), FRAME)
