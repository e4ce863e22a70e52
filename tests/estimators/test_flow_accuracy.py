"""Photographs set in motion by a known flow: what each preset must find of it at least."""

import numpy as np
import pytest

from fastmotion.datasets import make_warped_clip, make_warped_photograph
from fastmotion.flow import HornSchunck, LucasKanade
from fastmotion.metrics import endpoint_error
from tests.reference.flow_cases import texture_pair

pytest.importorskip(
    "PIL", reason="Pillow, which scikit-learn reads its photographs with, is missing"
)

# Largest mean error, as a share of the true motion's mean length. Far above what is measured: a
# method that is broken shows, a change of a parameter's default does not.
BOUNDS = {"fast": 0.6, "medium": 0.35, "default": 0.2, "best": 0.2}
MOTIONS = ["translation", "rotation", "zoom", "shear", "sinusoid"]

each_estimator = pytest.mark.parametrize("estimator", [HornSchunck, LucasKanade])


@each_estimator
@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("preset", BOUNDS)
def test_error_of_every_preset(estimator, preset, motion):
    method = estimator.from_preset(preset)
    for photograph in ("china", "flower"):
        pair = make_warped_photograph(photograph, motion, magnitude=3.0, shape=(160, 200))
        error = endpoint_error(pair.flow, method.estimate(pair.frame0, pair.frame1))
        assert error < BOUNDS[preset] * np.linalg.norm(pair.flow, axis=-1).mean()


@each_estimator
def test_large_motion(estimator):
    pair = make_warped_photograph("china", (17, -11), shape=(200, 240))
    flow = estimator().estimate(pair.frame0, pair.frame1)
    inner = np.s_[30:-30, 30:-30]
    assert endpoint_error(pair.flow[inner], flow[inner]) < 0.5


@each_estimator
def test_noise(estimator):
    pair = make_warped_photograph(
        "flower", "rotation", magnitude=3.0, shape=(160, 200), noise=4.0, random_state=0
    )
    assert endpoint_error(pair.flow, estimator().estimate(pair.frame0, pair.frame1)) < 0.6


@each_estimator
def test_small_motion_below_a_tenth_of_a_pixel(estimator):
    pair = make_warped_photograph(
        "china", (0.08, -0.05), shape=(120, 140), gray=True, dtype=np.float64
    )
    flow = estimator().estimate(pair.frame0, pair.frame1)
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), (0.08, -0.05), atol=0.025)


@each_estimator
def test_clips(estimator):
    clip = make_warped_clip(4, "china", "rotation", magnitude=2.0, shape=(120, 140))
    for field in estimator().transform(clip.frames[np.newaxis])[0]:
        assert endpoint_error(clip.flow, field) < 0.2


def test_confidence_tells_where_errors_are():
    pair = make_warped_photograph("china", "sinusoid", magnitude=3.0, shape=(160, 200), noise=2.0)
    flow, confidence = LucasKanade().estimate(pair.frame0, pair.frame1, return_confidence=True)
    low, high = np.quantile(confidence, [0.25, 0.75])
    doubtful = endpoint_error(pair.flow, flow, mask=confidence < low)
    assert endpoint_error(pair.flow, flow, mask=confidence > high) < 0.5 * doubtful


@pytest.mark.parametrize(
    "estimator, preset, shape",
    [
        (LucasKanade, "default", (28, 28)),
        (LucasKanade, "default", (36, 60)),
        (LucasKanade, "best", (28, 28)),
        (HornSchunck, "default", (28, 28)),
        (HornSchunck, "default", (24, 60)),
        (HornSchunck, "best", (28, 28)),
        (HornSchunck, "medium", (60, 60)),
        (LucasKanade, "medium", (60, 60)),
    ],
)
def test_small_images(estimator, preset, shape):
    frames = texture_pair(shape, seed=1, step=(3, 2))
    flow = estimator.from_preset(preset).estimate(*frames)
    np.testing.assert_allclose(np.median(flow[5:-5, 5:-5], axis=(0, 1)), (3, 2), atol=0.3)


@pytest.mark.parametrize("shape", [(24, 400), (400, 24)])
@each_estimator
def test_elongated_frames(estimator, shape):
    """The long side goes on shrinking where the short one no longer can."""
    frames = texture_pair(shape, seed=1, step=(3, 3))
    flow = estimator().estimate(*frames)
    np.testing.assert_allclose(np.median(flow[6:-6, 6:-6], axis=(0, 1)), (3, 3), atol=0.3)


@pytest.mark.parametrize("alpha", [1e-4, 3e-4, 1e-3])
def test_weak_regularization_does_not_diverge(alpha):
    frames = texture_pair((40, 52), seed=1, step=(0.4, 0.3))
    flow = HornSchunck.from_preset("textbook", alpha=alpha).estimate(*frames)
    assert np.abs(flow).max() < 50


def test_confidence_has_one_unit_at_every_scale():
    pair = make_warped_photograph("china", "rotation", magnitude=2.0, shape=(160, 200), gray=True)

    def typical(scale):
        estimator = LucasKanade(finest_scale=scale)
        return np.median(estimator.estimate(pair.frame0, pair.frame1, return_confidence=True)[1])

    assert 0.3 < typical(1) / typical(0) < 1.0  # smoothing only lowers it
