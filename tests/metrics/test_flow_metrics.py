import math

import numpy as np
import pytest

from fastmotion.metrics import angular_error, endpoint_error, known_pixels

METRICS = (endpoint_error, angular_error)


def random_flow(seed, shape=(5, 7)):
    return np.random.default_rng(seed).normal(scale=3, size=(*shape, 2)).astype(np.float32)


def slow_endpoint(true, pred):
    return math.dist(true, pred)


def slow_angle(true, pred):
    a, b = (*map(float, true), 1.0), (*map(float, pred), 1.0)
    cosine = sum(x * y for x, y in zip(a, b)) / (math.hypot(*a) * math.hypot(*b))
    return math.degrees(math.acos(min(1.0, cosine)))


@pytest.mark.parametrize(
    "metric, slow", [(endpoint_error, slow_endpoint), (angular_error, slow_angle)]
)
def test_map_and_mean_follow_the_definition(metric, slow):
    true, pred = random_flow(0), random_flow(1)
    expected = np.array([[slow(t, p) for t, p in zip(*rows)] for rows in zip(true, pred)])
    np.testing.assert_allclose(metric(true, pred, reduction="none"), expected, rtol=1e-5)
    assert metric(true, pred) == pytest.approx(expected.mean(), rel=1e-6)


def test_hand_worked_values():
    rest = np.zeros((2, 3, 2))
    assert endpoint_error(rest, rest + [3.0, -4.0]) == 5.0
    assert angular_error(rest, rest + [0.0, np.sqrt(3)]) == pytest.approx(60)
    # (1, 0, 1) and (-1, 0, 1) stand at a right angle.
    assert angular_error(rest + [1.0, 0.0], rest + [-1.0, 0.0]) == pytest.approx(90)


def test_small_angles_keep_their_digits():
    true = np.zeros((1, 1, 2))
    assert angular_error(true, true + [1e-9, 0]) == pytest.approx(np.degrees(1e-9), rel=1e-6)
    assert angular_error(true + 2.5, true + 2.5) == 0.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("mark", [np.nan, 1e10, -1e10, np.inf, 1.666666752e9])
@pytest.mark.parametrize("component", [0, 1])
def test_unknown_truth_is_left_out(metric, mark, component):
    true, pred = random_flow(0), random_flow(1)
    true[2, 3, component] = mark
    pred[2, 3] = np.nan  # of no matter where the truth is unknown
    errors = metric(true, pred, reduction="none")
    assert np.argwhere(np.isnan(errors)).tolist() == [[2, 3]]
    assert metric(true, pred) == pytest.approx(np.nanmean(errors, dtype=np.float64))


@pytest.mark.parametrize("metric", METRICS)
def test_mask_leaves_pixels_out(metric):
    true, pred = random_flow(0), random_flow(1)
    mask = np.zeros((5, 7), dtype=bool)
    mask[1, 2] = True
    errors = metric(true, pred, mask=mask, reduction="none")
    assert np.array_equal(~np.isnan(errors), mask)
    assert metric(true, pred, mask=mask.astype(np.uint8)) == pytest.approx(errors[1, 2])


@pytest.mark.parametrize("metric", METRICS)
def test_batch_weighs_pixels_and_takes_one_mask_for_all(metric):
    true, pred = random_flow(0, (2, 3, 5, 7)), random_flow(1, (2, 3, 5, 7))
    assert metric(true, pred, reduction="none").shape == (2, 3, 5, 7)
    true[0, 0, :, :6] = np.nan
    errors = metric(true, pred, reduction="none")
    assert metric(true, pred) == pytest.approx(np.nanmean(errors, dtype=np.float64))
    mask = np.arange(35).reshape(5, 7) % 2 == 0
    np.testing.assert_array_equal(
        metric(true, pred, mask=mask, reduction="none"), np.where(mask, errors, np.nan)
    )


@pytest.mark.parametrize("metric", METRICS)
def test_dtypes(metric):
    true, pred = random_flow(0), random_flow(1)
    assert metric(true, pred, reduction="none").dtype == np.float32
    assert metric(true.astype(np.float64), pred, reduction="none").dtype == np.float64
    assert type(metric(true, pred)) is float
    whole = np.ones((2, 2, 2), dtype=np.int16)
    assert metric(whole, whole.astype(np.float16)) == 0.0


def test_mean_is_summed_in_float64():
    true = np.zeros((1500, 1500, 2), dtype=np.float32)
    pred = np.full_like(true, 0.1)
    assert endpoint_error(true, pred) == pytest.approx(
        np.hypot(*pred[0, 0].astype(np.float64)), rel=1e-12
    )


@pytest.mark.parametrize("metric", METRICS)
def test_arguments_are_not_changed(metric):
    true, pred = random_flow(0), random_flow(1)
    true[0, 0] = np.nan
    for array in (true, pred):
        array.flags.writeable = False
    before = true.copy(), pred.copy()
    metric(true, pred, reduction="none")
    np.testing.assert_array_equal(true, before[0])
    np.testing.assert_array_equal(pred, before[1])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10])
def test_unusable_prediction_at_known_pixel_is_an_error(metric, value):
    true, pred = random_flow(0), random_flow(1)
    pred[3, 4, 1] = value
    with pytest.raises(ValueError, match=r"at 1 of 35 pixels.*index \(3, 4\)"):
        metric(true, pred)


@pytest.mark.parametrize("metric", METRICS)
def test_bad_arguments(metric):
    true = random_flow(0)
    with pytest.raises(ValueError, match=r"same shape, got \(5, 7, 2\) and \(4, 7, 2\)"):
        metric(true, true[:4])
    with pytest.raises(ValueError, match="last axis"):
        metric(true[..., 0], true[..., 0])
    with pytest.raises(ValueError, match="No pixel is left"):
        metric(np.full_like(true, np.nan), true)
    with pytest.raises(ValueError, match="No pixel is left"):
        metric(true, true, mask=np.zeros((5, 7), dtype=bool))
    with pytest.raises(ValueError, match="No pixel is left"):
        metric(true[:0], true[:0])
    with pytest.raises(ValueError, match="mask must have the shape"):
        metric(true, true, mask=np.ones((7, 5), dtype=bool))
    with pytest.raises(TypeError, match="mask must hold booleans"):
        metric(true, true, mask=np.ones((5, 7)))
    with pytest.raises(ValueError, match="reduction"):
        metric(true, true, reduction="sum")
    for dtype in (complex, object, bool):
        with pytest.raises(TypeError, match="real numbers"):
            metric(true, true.astype(dtype))


def test_known_pixels():
    flow = np.zeros((2, 1, 3, 2), dtype=np.float16)
    flow[0, 0, 1, 0] = np.nan
    flow[1, 0, 2, 1] = -np.inf
    expected = np.ones((2, 1, 3), dtype=bool)
    expected[0, 0, 1] = expected[1, 0, 2] = False
    np.testing.assert_array_equal(known_pixels(flow), expected)
    assert known_pixels(np.full((1, 1, 2), 1e9)).all()
