import colorsys

import numpy as np
import pytest

from fastmotion.display import color_wheel, flow_to_color


def color_of(u, v, max_magnitude=1.0):
    return flow_to_color(np.array([[[u, v]]], dtype=np.float64), max_magnitude)[0, 0]


def slow_color(u, v):
    """The published algorithm, one vector of length one or less at a time."""
    wheel = []
    for hue, length in enumerate((15, 6, 4, 11, 13, 6)):
        for step in range(length):
            start, rising = divmod(hue, 2)
            channels = [0.0, 0.0, 0.0]
            channels[start if not rising else (start + 1) % 3] = 1.0
            other = (start + 1) % 3 if not rising else start
            channels[other] = step / length if not rising else 1 - step / length
            wheel.append(channels)
    radius = np.hypot(u, v)
    place = (np.arctan2(-v, -u) / np.pi + 1) / 2 * 54
    k = int(place)
    mixed = [(1 - (place - k)) * a + (place - k) * b for a, b in zip(wheel[k], wheel[(k + 1) % 55])]
    return [255 * (1 - radius * (1 - channel)) for channel in mixed]


def test_published_algorithm():
    random = np.random.default_rng(0)
    angle, radius = random.uniform(0, 2 * np.pi, 500), random.uniform(0, 0.999, 500)
    vectors = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    expected = np.array([slow_color(u, v) for u, v in vectors])
    actual = flow_to_color(vectors[np.newaxis], 1.0)[0].astype(float)
    # The result is cut, not rounded, to whole numbers.
    assert (actual <= expected + 0.01).all() and (actual > expected - 1.01).all()


@pytest.mark.parametrize(
    "u, v, name, hue",
    [
        (1, 0, "red", 0),
        (1, 1, "orange", 30),
        (0, 1, "yellow", 56),
        (-1, 0, "cyan", 191),
        (0, -1, "violet", 257),
    ],
)
def test_directions(u, v, name, hue):
    length = np.hypot(u, v)
    red, green, blue = color_of(u / length, v / length, 1.0001) / 255
    actual = 360 * colorsys.rgb_to_hsv(red, green, blue)[0]
    assert (actual - hue + 180) % 360 - 180 == pytest.approx(0, abs=4), name


def test_negative_zero_is_zero():
    np.testing.assert_array_equal(color_of(1.0, -0.0), color_of(1.0, 0.0))


def test_speed_is_saturation():
    assert color_of(0, 0).tolist() == [255, 255, 255]
    assert color_of(0.5, 0).tolist() == [255, 127, 127]
    assert color_of(1, 0).tolist() == [255, 0, 0]
    assert color_of(1.01, 0).tolist() == [191, 0, 0]
    assert color_of(2.5, 0, max_magnitude=5).tolist() == [255, 127, 127]


def test_unknown_is_black_and_does_not_set_the_scale():
    flow = np.zeros((4, 5, 2), dtype=np.float32)
    flow[..., 0] = 3
    flow[1, 1], flow[2, 2, 1], flow[3, 3] = np.nan, 1e10, np.inf
    colors = flow_to_color(flow)
    unknown = np.zeros((4, 5), dtype=bool)
    unknown[[1, 2, 3], [1, 2, 3]] = True
    assert (colors[unknown] == 0).all()
    assert (colors[~unknown] == [255, 0, 0]).all()


def test_default_scale_withstands_wild_vectors():
    flow = np.zeros((20, 20, 2), dtype=np.float32)
    flow[..., 0] = 2
    flow[0, 0] = 1000
    np.testing.assert_array_equal(flow_to_color(flow)[5, 5], [255, 0, 0])


@pytest.mark.parametrize("flow", [np.zeros((3, 4, 2)), np.full((3, 4, 2), np.nan)])
def test_fields_without_any_speed(flow):
    assert np.ptp(flow_to_color(flow)) == 0


def test_batches_and_integers():
    flow = np.arange(48).reshape(2, 2, 6, 2) % 7
    flow.flags.writeable = False
    colors = flow_to_color(flow, 9)
    assert colors.shape == (2, 2, 6, 3) and colors.dtype == np.uint8
    np.testing.assert_array_equal(colors[1], flow_to_color(flow[1].astype(np.float32), 9))


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, "5"])
def test_bad_scale(value):
    with pytest.raises(ValueError, match="max_magnitude must be a positive number"):
        flow_to_color(np.zeros((3, 4, 2)), value)


def test_bad_flow():
    with pytest.raises(ValueError, match="shape"):
        flow_to_color(np.zeros((3, 4)))
    with pytest.raises(TypeError, match="real"):
        flow_to_color(np.zeros((3, 4, 2), dtype=complex))


def test_wheel_is_the_legend():
    wheel = color_wheel(101)
    assert wheel.shape == (101, 101, 4)
    assert wheel[0, 0, 3] == 0 and wheel[50, 50, 3] == 255
    # Half way to the right of the centre is motion to the right at half the speed.
    np.testing.assert_allclose(wheel[50, 75, :3].astype(int), color_of(0.5, 0).astype(int), atol=3)
    # No opaque pixel has the darkened colours of speeds beyond the range.
    opaque = wheel[wheel[..., 3] == 255][:, :3]
    assert opaque.max(axis=1).min() == 255
    with pytest.raises(ValueError, match="at least 3"):
        color_wheel(2)
