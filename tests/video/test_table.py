"""Tables of the motion in a video: what the columns say, and of what."""

import warnings

import numpy as np
import pytest
from sklearn.preprocessing import FunctionTransformer

from fastmotion.epipolar import DegenerateMatchesWarning
from fastmotion.features import FlowHistogram
from fastmotion.flow import HornSchunck
from fastmotion.io import write_video
from fastmotion.video import CameraCompensation, homography_flow, motion_table
from tests.video.films import make_film

BLANK = np.zeros((9, 48, 64), np.uint8)


class Played(FunctionTransformer):
    """Makes a given flow of every clip, whatever it shows."""

    def __init__(self, field=None):
        super().__init__()
        self.field = field

    def transform(self, X):
        return np.broadcast_to(self.field, (len(X), X.shape[1] - 1, *self.field.shape)).copy()


def play(field, **options):
    return motion_table(BLANK, flow=Played(np.float32(field)), progress=False, **options)


@pytest.fixture
def halves():
    """Still on the left, (3, 4) on the right."""
    field = np.zeros((48, 64, 2))
    field[:, 32:] = 3, 4
    return field


def test_speeds_and_directions(halves):
    table = play(halves, camera=False, histogram=False, clip_length=5, fps=10)
    assert list(table) == [
        *("start_frame", "n_frames", "start_time"),
        *("speed_mean", "speed_median", "speed_p95"),
        *("speed_mean_per_s", "speed_median_per_s", "speed_p95_per_s"),
        *("direction", "coherence"),
    ]
    assert all(column.shape == (2,) for column in table.values())
    np.testing.assert_array_equal(table["start_frame"], [0, 4])
    np.testing.assert_array_equal(table["n_frames"], [5, 5])
    np.testing.assert_allclose(table["start_time"], [0, 0.4])
    np.testing.assert_allclose(table["speed_mean"], 2.5)
    np.testing.assert_allclose(table["speed_median"], 2.5)
    np.testing.assert_allclose(table["speed_p95"], 5)
    np.testing.assert_allclose(table["speed_p95_per_s"], 50)
    np.testing.assert_allclose(table["direction"], np.degrees(np.arctan2(4, 3)))
    np.testing.assert_allclose(table["coherence"], 1)


def test_motions_that_cancel_and_stillness(halves):
    halves[:, :32] = -3, -4
    table = play(halves, camera=False, histogram=False)
    np.testing.assert_allclose(table["speed_mean"], 5)
    np.testing.assert_allclose(table["coherence"], 0, atol=1e-7)
    assert np.isnan(table["start_time"]).all() and np.isnan(table["speed_mean_per_s"]).all()
    for camera in (False, True):  # which leaves errors of rounding
        still = play(np.full((48, 64, 2), 3.3 * camera), camera=camera, histogram=False)
        assert still["speed_p95"] == pytest.approx(0, abs=1e-5)
        assert np.isnan(still["direction"]).all() and np.isnan(still["coherence"]).all()


def test_unknown_flow_counts_for_nothing(halves):
    halves[:, :32] = np.nan
    table = play(halves, camera=False, histogram=False)
    np.testing.assert_allclose(table["speed_mean"], 5)
    nowhere = play(np.full((48, 64, 2), np.nan), camera=False, histogram=False)
    assert np.isnan(nowhere["speed_mean"]).all() and np.isnan(nowhere["direction"]).all()


def test_camera_and_what_is_left():
    centre = np.array([31.5, 23.5])
    angle, zoom = np.radians(2), 1.04
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    H = np.eye(3)
    H[:2, :2], H[:2, 2] = turn, centre - turn @ centre + [1.5, -0.5]
    field = homography_flow(H, (48, 64))
    field[10:20, 10:26] += [6, 0]
    table = play(field)
    for name, value in [
        ("camera_u", 1.5),
        ("camera_v", -0.5),
        ("camera_rotation", 2),
        ("camera_zoom", 1.04),
        ("camera_found", 1),
        ("direction", 0),
        ("coherence", 1),
        ("speed_median", 0),
        ("speed_mean", 6 * 160 / (48 * 64)),
    ]:
        np.testing.assert_allclose(table[name], value, atol=1e-3)
    assert 0.85 < table["camera_inlier_share"][0] < 1


def test_histograms_are_of_what_is_left():
    field = np.full((48, 64, 2), 3, np.float32)
    field[4:16, 4:16] = [3, 9]
    histogram = FlowHistogram(4, components=["flow"], grid=(2, 1, 1), normalization=None)
    table = play(field, histogram=histogram)
    names = histogram.get_feature_names_out()
    assert list(table)[-len(names) :] == list(names)
    down = [name for name in names if name.endswith("090deg")]
    np.testing.assert_allclose([table[name][0] for name in down], 4 * 144 * 6, rtol=1e-3)
    assert table["flow_t0_y0_x0_000deg"][0] == pytest.approx(0, abs=1)
    seen = play(field, camera=False, histogram=histogram)
    assert seen["flow_t0_y0_x0_000deg"][0] > 1000


def test_pixels_are_those_of_the_source():
    frames = make_film(3, camera=(4, 0), patch=(-4, 2))
    flow = HornSchunck(n_jobs=1)
    whole, half = (
        motion_table(frames, flow=flow, height=height, histogram=False, progress=False)
        for height in (None, 48)
    )
    for table in (whole, half):
        np.testing.assert_allclose(table["camera_u"], 4, atol=0.15)
        np.testing.assert_allclose(table["camera_v"], 0, atol=0.15)
        np.testing.assert_allclose(table["camera_zoom"], 1, atol=0.003)
    np.testing.assert_allclose(half["speed_p95"], np.hypot(8, 2), rtol=0.1)
    np.testing.assert_allclose(half["direction"], whole["direction"], atol=5)


def test_from_a_file(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    frames = make_film(8, camera=(2, 0), patch=(-3, 1))
    write_video(tmp_path / "film.mp4", frames, fps=24)
    options = {"flow": HornSchunck.from_preset("fast"), "clip_length": 4, "progress": False}
    table = motion_table(tmp_path / "film.mp4", **options)
    np.testing.assert_array_equal(table["start_frame"], [0, 3, 6])
    np.testing.assert_allclose(table["start_time"], [0, 3 / 24, 6 / 24])
    np.testing.assert_allclose(table["camera_u"], 2, atol=0.1)
    np.testing.assert_allclose(table["speed_p95_per_s"], table["speed_p95"] * 24)
    assert all(np.isfinite(column).all() for column in table.values())
    part = motion_table(tmp_path / "film.mp4", start=0.1, stop=0.3, unit="seconds", **options)
    np.testing.assert_array_equal(part["start_frame"], [3, 6])
    np.testing.assert_array_equal(part["speed_mean"][0], table["speed_mean"][1])
    again = motion_table(tmp_path / "film.mp4", **options)
    for name, column in table.items():
        np.testing.assert_array_equal(again[name], column)
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    assert pandas.DataFrame(table).shape == (3, len(table))


def test_clips_without_a_camera_are_told_of_once(rng):
    chaos = rng.uniform(-40, 40, (48, 64, 2))
    with pytest.warns(DegenerateMatchesWarning, match="of 4 of 4 clips") as caught:
        table = play(chaos, clip_length=3)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert (table["camera_found"] == 0).all()
    for name in ("camera_u", "camera_v", "camera_rotation", "camera_zoom", "camera_inlier_share"):
        assert np.isnan(table[name]).all()
    np.testing.assert_allclose(table["speed_mean"], np.hypot(*chaos.reshape(-1, 2).T).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "camera_found" not in play(chaos, camera=False)


def test_estimators_are_left_as_they_are(halves):
    camera, histogram = CameraCompensation(random_state=3), FlowHistogram(grid=(1, 1, 1))
    before = vars(camera).copy(), vars(histogram).copy()
    play(halves, camera=camera, histogram=histogram)
    assert (vars(camera), vars(histogram)) == before


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"camera": None}, TypeError, "camera must be a CameraCompensation, True or False"),
        ({"histogram": 3}, TypeError, "histogram must be a FlowHistogram, True or False"),
        ({"histogram": FlowHistogram(block_shape=(1, 8, 8))}, ValueError, "block_shape=None"),
        ({"histogram": FlowHistogram(grid=(9, 1, 1))}, ValueError, "cells"),
        ({"flow": FunctionTransformer()}, TypeError, "flow must make flow of shape"),
        ({"flow": "horn-schunck"}, TypeError, "must have a method 'transform'"),
        ({"clip_length": 1}, ValueError, "clip_length"),
        ({"height": 2}, ValueError, "height"),
    ],
)
def test_bad_arguments(options, error, message, halves):
    options = {"flow": Played(halves), **options}
    with pytest.raises(error, match=message):
        motion_table(BLANK, progress=False, **options)
