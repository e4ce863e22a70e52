import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from fastmotion.datasets import make_warped_clip, make_warped_photograph

pytest.importorskip(
    "PIL", reason="Pillow, which scikit-learn reads its photographs with, is missing"
)

MOTIONS = ("translation", "rotation", "zoom", "shear", "sinusoid")
SMOOTH = 40 * np.add.outer(np.sin(np.arange(80) / 9), np.cos(np.arange(90) / 7)) + 120


def difference(frame0, frame1, flow, margin=4):
    """Gray values between frame0 and frame1 taken back along the flow, where it stays inside."""
    rows, columns = np.indices(flow.shape[:2], dtype=float)
    rows, columns = rows + flow[..., 1], columns + flow[..., 0]
    height, width = flow.shape[:2]
    inside = (rows > margin) & (rows < height - 1 - margin)
    inside &= (columns > margin) & (columns < width - 1 - margin)
    assert inside.mean() > 0.4
    back = map_coordinates(frame1.astype(float), [rows, columns], order=3, mode="mirror")
    return np.abs(back - frame0)[inside]


@pytest.mark.parametrize("motion", MOTIONS)
def test_frame1_at_the_end_of_the_flow_is_frame0(motion):
    pair = make_warped_photograph(SMOOTH, motion, magnitude=3, shape=(60, 70), dtype=np.float64)
    assert difference(pair.frame0, pair.frame1, pair.flow).max() < 0.02
    # The test would notice a flow of the other sign, or with its axes swapped.
    assert difference(pair.frame0, pair.frame1, -pair.flow).max() > 2
    assert difference(pair.frame0, pair.frame1, pair.flow[..., ::-1]).max() > 2 or motion == "zoom"


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("shape", [None, (48, 80), (200, 100), (17, 16)])
def test_photographs(motion, shape):
    pair = make_warped_photograph("flower", motion, magnitude=2.5, shape=shape, gray=True)
    assert pair.frame0.shape == pair.frame1.shape == (shape or (427, 640))
    assert pair.flow.shape == (*pair.frame0.shape, 2)
    assert pair.frame0.dtype == np.uint8 and pair.flow.dtype == np.float32
    assert np.hypot(*pair.flow.T).max() == pytest.approx(2.5, rel=1e-6)
    still = np.abs(pair.frame1.astype(float) - pair.frame0).mean()
    assert difference(pair.frame0, pair.frame1, pair.flow, margin=0).mean() < max(2, still / 3)


def test_integer_translation_is_a_shift():
    pair = make_warped_photograph("china", (3, -2), shape=(40, 50), dtype=np.float64)
    np.testing.assert_allclose(pair.frame0[2:, :-3], pair.frame1[:-2, 3:], atol=1e-8)
    assert (pair.flow == [3, -2]).all()
    assert np.abs(pair.frame0[2:, :-3] - pair.frame1[2:, :-3]).mean() > 3


def test_given_flow():
    rows, columns = np.indices((60, 70))
    flow = np.stack([2 * np.sin(rows / 11), np.cos(columns / 13)], axis=-1)
    pair = make_warped_photograph(SMOOTH, flow, dtype=np.float32, shape=(60, 70))
    np.testing.assert_allclose(pair.flow, flow, rtol=1e-6)
    assert difference(pair.frame0, pair.frame1, flow).max() < 0.02


def test_no_pixel_lies_outside_the_photograph():
    # Outside, the mirrored ramp would fall again: inside, it rises without a fold.
    ramp = np.add.outer(np.zeros(64), np.linspace(0, 255, 90))
    pair = make_warped_photograph(ramp, (25, 0), shape=(50, 60), dtype=np.float64)
    for frame in (pair.frame0, pair.frame1):
        assert (np.diff(frame, axis=1) > 0.5).all()


@pytest.mark.parametrize("motion", [*MOTIONS, (1.25, -0.5)])
def test_each_step_of_a_clip_has_the_same_flow(motion):
    clip = make_warped_clip(4, SMOOTH, motion, magnitude=1.5, shape=(60, 70), dtype=np.float64)
    assert clip.frames.shape == (4, 60, 70)
    for frame0, frame1 in zip(clip.frames, clip.frames[1:]):
        assert difference(frame0, frame1, clip.flow).max() < 0.02
        assert np.abs(frame0 - frame1).max() > 1


def test_a_clip_of_two_frames_is_the_pair():
    settings = {"motion": "rotation", "magnitude": 2, "shape": (40, 50)}
    pair, clip = make_warped_photograph(**settings), make_warped_clip(2, **settings)
    np.testing.assert_array_equal(clip.frames, [pair.frame0, pair.frame1])
    np.testing.assert_array_equal(clip.flow, pair.flow)


def test_types_and_colours():
    settings = {"shape": (40, 50), "magnitude": 2}
    rounded = make_warped_photograph(**settings)
    exact = make_warped_photograph(**settings, dtype=np.float32)
    assert rounded.frame0.shape == (40, 50, 3)
    assert exact.frame0.dtype == np.float32
    np.testing.assert_array_equal(np.rint(exact.frame0), rounded.frame0)
    gray = make_warped_photograph(**settings, gray=True, dtype=np.float32)
    np.testing.assert_allclose(gray.frame1, exact.frame1.mean(axis=2), atol=1e-3)


def test_noise():
    settings = {"photograph": np.full((40, 50), 128.0), "magnitude": 1, "dtype": np.float64}
    quiet = make_warped_photograph(**settings)
    assert np.ptp(quiet.frame0) < 1e-9
    noisy = make_warped_photograph(**settings, noise=5, random_state=0)
    assert noisy.frame0.std() == pytest.approx(5, rel=0.1)
    assert np.abs(noisy.frame0 - noisy.frame1).max() > 5
    again = make_warped_photograph(**settings, noise=5, random_state=0)
    np.testing.assert_array_equal(again.frame0, noisy.frame0)
    other = make_warped_photograph(**settings, noise=5, random_state=1)
    assert (other.frame0 != noisy.frame0).any()


def test_values_stay_within_the_range_of_a_photograph():
    checks = 255.0 * (np.indices((40, 50)).sum(axis=0) // 5 % 2)
    pair = make_warped_photograph(checks, "rotation", dtype=np.float32, noise=30, random_state=0)
    assert pair.frame0.min() == 0 and pair.frame0.max() == 255


def test_the_photograph_is_not_changed():
    photograph = SMOOTH.copy()
    photograph.flags.writeable = False
    make_warped_photograph(photograph, "zoom", noise=3)
    np.testing.assert_array_equal(photograph, SMOOTH)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"photograph": "moon"}, ValueError, "photograph must be"),
        ({"photograph": np.zeros((4, 5, 4))}, ValueError, "photograph must have shape"),
        ({"photograph": np.zeros(4)}, ValueError, "photograph must have shape"),
        ({"photograph": np.full((20, 20), 300.0)}, ValueError, "0 to 255"),
        ({"photograph": np.full((20, 20), np.nan)}, ValueError, "0 to 255"),
        ({"motion": "jump"}, ValueError, "motion must be an array or one of"),
        ({"motion": (1, 2, 3)}, ValueError, "two finite numbers"),
        ({"motion": (1, np.nan)}, ValueError, "two finite numbers"),
        ({"motion": np.zeros((9, 9, 2))}, ValueError, r"flow of shape \(20, 30, 2\)"),
        ({"motion": np.full((20, 30, 2), np.nan)}, ValueError, "finite"),
        ({"magnitude": -1}, ValueError, "magnitude"),
        ({"magnitude": np.inf}, ValueError, "magnitude"),
        ({"shape": (20,)}, ValueError, "shape must be"),
        ({"shape": (20, 1)}, ValueError, "shape must be"),
        ({"shape": (20, 30.0)}, ValueError, "shape must be"),
        ({"noise": -1}, ValueError, "noise"),
        ({"dtype": np.int32}, TypeError, "dtype"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        make_warped_photograph(**({"shape": (20, 30)} | arguments))


@pytest.mark.parametrize("n_frames", [1, 2.5, None])
def test_bad_number_of_frames(n_frames):
    with pytest.raises(ValueError, match="n_frames"):
        make_warped_clip(n_frames)
