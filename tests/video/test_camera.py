"""Compensation of the camera's motion: what it takes away, and what it leaves."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fastmotion.epipolar import DegenerateMatchesWarning, transform_points
from fastmotion.flow import HornSchunck
from fastmotion.video import CameraCompensation, camera_motion, homography_flow
from tests.video.films import SHAPE, make_film

CAMERA = np.array([[1.02, 0.01, -3.0], [-0.015, 1.01, 2.0], [2e-5, -1e-5, 1.0]])
PATCH = slice(30, 60), slice(20, 70)


def make_homography(rng, shape=SHAPE):
    """Return a homography that moves the frame's corners by some pixels."""
    turn = np.eye(3) + rng.uniform(-0.02, 0.02, (3, 3))
    turn[:2, 2] = rng.uniform(-5, 5, 2)
    turn[2, :2] = rng.uniform(-0.02, 0.02, 2) / max(shape)
    return turn


@pytest.fixture
def flow():
    """The flow of a camera and of a patch that moves by itself, for one pair of one clip."""
    field = homography_flow(CAMERA, SHAPE)
    field[PATCH] += [4, -3]
    return field[np.newaxis, np.newaxis]


def test_homography_flow_is_the_motion_of_each_pixel():
    rows, columns = np.indices((33, 21))  # more rows than are worked on at a time, and odd
    points = np.column_stack([columns.ravel(), rows.ravel()])
    expected = (transform_points(CAMERA, points) - points).reshape(33, 21, 2)
    flow = homography_flow(CAMERA, (33, 21))
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, expected, atol=1e-5)
    np.testing.assert_array_equal(homography_flow(-7 * CAMERA, (33, 21)), flow)
    np.testing.assert_array_equal(homography_flow([[CAMERA]], (33, 21)), flow[None, None])


def test_homography_flow_beyond_infinity_and_without_a_homography():
    horizon = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 8, 0, 1]])
    flow = homography_flow(horizon, (16, 16))
    assert not np.isfinite(flow[:, 8]).any() and np.isfinite(flow[:, :8]).all()
    assert np.isnan(homography_flow(np.full((3, 3), np.nan), (16, 16))).all()


@pytest.mark.parametrize(
    "H, shape, message",
    [
        (np.eye(2), (16, 16), "H must have shape"),
        (np.eye(3), (16,), "shape must be"),
        (np.eye(3), 16, "shape must be"),
        (np.eye(3), (16, 0), "shape must be"),
        (np.eye(3), (16, 2.5), "shape must be"),
    ],
)
@pytest.mark.parametrize("function", [homography_flow, camera_motion])
def test_bad_homographies(function, H, shape, message):
    with pytest.raises(ValueError, match=message):
        function(H, shape)


def test_camera_motion_of_a_known_camera():
    angle, zoom, centre = np.radians(3.0), 1.05, np.array([63.5, 47.5])
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    H = np.eye(3)
    H[:2, :2] = turn
    H[:2, 2] = centre - turn @ centre + [2.0, -1.0]
    motion = camera_motion(np.stack([-3 * H, np.eye(3), np.full((3, 3), np.nan)]), SHAPE)
    np.testing.assert_allclose(motion.translation[:2], [[2, -1], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(motion.rotation[:2], [3, 0], atol=1e-12)
    np.testing.assert_allclose(motion.zoom[:2], [1.05, 1], atol=1e-12)
    for part in (motion.translation, motion.rotation, motion.zoom):
        assert np.isnan(part[2]).all()


def test_camera_motion_of_what_no_camera_does():
    beyond = [[1, 0, 0], [0, 1, 0], [-1 / 50, 0, 1]]
    mirror = [[-1, 0, 100], [0, 1, 0], [0, 0, 1]]
    motion = camera_motion([beyond, mirror], (101, 101))
    np.testing.assert_array_equal(motion.translation, [[np.nan, np.nan], [0, 0]])
    assert np.isnan(motion.zoom).all()


def test_camera_motion_of_a_perspective_is_its_derivative():
    H = CAMERA + [[0, 0, 0], [0, 0, 0], [1e-3, 2e-3, 0]]
    centre, h = np.array([63.5, 47.5]), 1e-4
    steps = transform_points(H, centre + h * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]))
    jacobian = np.column_stack([steps[0] - steps[1], steps[2] - steps[3]]) / (2 * h)
    motion = camera_motion(H, SHAPE)
    assert motion.zoom == pytest.approx(np.sqrt(np.linalg.det(jacobian)), rel=1e-6)
    left, _, right = np.linalg.svd(jacobian)
    rotation = left @ right
    assert motion.rotation == pytest.approx(np.degrees(np.arctan2(*rotation[::-1, 0])), abs=1e-6)


def test_background_rests_and_what_moves_by_itself_goes_on(flow):
    before = flow.copy()
    left, H, share = CameraCompensation(random_state=0).estimate(flow)
    np.testing.assert_array_equal(flow, before)
    expected = np.zeros_like(flow)
    expected[0, 0][PATCH] = [4, -3]
    np.testing.assert_allclose(left, expected, atol=2e-5)
    assert left.dtype == np.float32 and left.shape == flow.shape
    np.testing.assert_allclose(H[0, 0] / H[0, 0, 2, 2], CAMERA, atol=1e-6)
    assert share.shape == (1, 1)
    assert share[0, 0] == pytest.approx(1 - 30 * 50 / (96 * 128), abs=0.05)


def test_flow_estimated_from_frames():
    frames = make_film(2, camera="rotation", patch=(-3, 1), gray=True)
    flow = HornSchunck().estimate(*frames)
    left, H, share = CameraCompensation(random_state=0).estimate(flow)
    motion = camera_motion(H, SHAPE)
    speed = 2 / np.hypot(47.5, 63.5)  # 2 px at the corners
    np.testing.assert_allclose(motion.translation, 0, atol=0.05)
    assert motion.rotation == pytest.approx(np.degrees(speed), abs=0.1)
    assert motion.zoom == pytest.approx(1, abs=0.002)
    assert 0.5 < share < 0.95
    assert np.median(np.hypot(*left[4:25, 4:-4].reshape(-1, 2).T)) < 0.1
    # What is left of the patch is its motion minus that of the camera there.
    expected = [-3, 1] - homography_flow(H, SHAPE)[35:60, 65:95]
    assert np.median(np.hypot(*(left[35:60, 65:95] - expected).reshape(-1, 2).T)) < 0.3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_another_camera_leaves_the_same(seed):
    # Whatever the camera does, the same is left of a patch with a motion of its own.
    rng = np.random.default_rng(seed)
    first, second = make_homography(rng), make_homography(rng)
    own = rng.uniform(4, 8, 2)
    results = []
    for H in (first, second):
        field = homography_flow(H, SHAPE)
        field[PATCH] += own
        results.append(CameraCompensation(random_state=0).estimate(field).flow)
    np.testing.assert_allclose(results[0], results[1], atol=1e-3)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(16, 70), width=st.integers(16, 70))
def test_any_size(seed, height, width):
    H = make_homography(np.random.default_rng(seed), (height, width))
    left = CameraCompensation(random_state=0).estimate(homography_flow(H, (height, width))).flow
    assert np.abs(left).max() < 1e-3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_pairs_do_not_know_each_other(flow, n_jobs, rng):
    noisy = flow + rng.normal(0, 0.2, (3, 2, *SHAPE, 2)).astype(np.float32)
    estimator = CameraCompensation(random_state=3, n_jobs=n_jobs)
    whole = estimator.estimate(noisy)
    for clip in range(3):
        for pair in range(2):
            alone = CameraCompensation(random_state=3).estimate(noisy[clip, pair])
            np.testing.assert_array_equal(alone.flow, whole.flow[clip, pair])
            np.testing.assert_array_equal(alone.homographies, whole.homographies[clip, pair])
            assert alone.inlier_share == whole.inlier_share[clip, pair]
    np.testing.assert_array_equal(estimator.transform(noisy), whole.flow)


def test_seeds(flow, rng):
    noisy = flow + rng.normal(0, 0.5, flow.shape)
    for random_state in (None, np.random.default_rng(1), np.random.RandomState(1)):
        estimator = CameraCompensation(random_state=random_state).fit(noisy)
        assert 0 <= estimator.seed_ < 2**32
        np.testing.assert_array_equal(estimator.transform(noisy), estimator.transform(noisy))
    seeded = CameraCompensation(random_state=5)
    unfitted = seeded.transform(noisy)
    assert seeded.fit(noisy).seed_ == 5
    np.testing.assert_array_equal(seeded.transform(noisy), unfitted)


def test_kinds_of_arrays(flow):
    estimator = CameraCompensation(random_state=0)
    expected = estimator.transform(flow)
    read_only = flow.copy()
    read_only.flags.writeable = False
    strided = np.moveaxis(np.ascontiguousarray(np.moveaxis(flow, -1, 0)), 0, -1)
    double = flow.astype(np.float64)
    for given_flow in (read_only, strided, double, flow.tolist()):
        np.testing.assert_array_equal(estimator.transform(given_flow), expected)
        assert estimator.transform(given_flow).dtype == np.float32
    whole = estimator.transform(np.full((1, 1, *SHAPE, 2), 2, np.int64))
    np.testing.assert_allclose(whole, 0, atol=1e-5)


def test_unknown_vectors_are_left_out_and_stay_unknown(flow):
    flow[0, 0, :40, :50] = np.nan
    flow[0, 0, 90:, :, 0] = np.inf
    left = CameraCompensation(random_state=0).transform(flow)
    np.testing.assert_array_equal(np.isnan(left), np.isnan(flow))
    np.testing.assert_array_equal(np.isinf(left), np.isinf(flow))
    np.testing.assert_allclose(left[0, 0, 70:90], 0, atol=1e-4)


def test_still_flow_stays_still():
    left, H, share = CameraCompensation(random_state=0).estimate(np.zeros((16, 16, 2)))
    np.testing.assert_allclose(left, 0, atol=1e-9)
    np.testing.assert_allclose(H, np.eye(3) / np.sqrt(3), atol=1e-9)
    assert share == 1


def make_lost(kind, rng):
    """Return a flow that no camera makes."""
    field = rng.uniform(-40, 40, (*SHAPE, 2))
    if kind == "unknown":
        field[:] = np.nan
    elif kind == "line":
        field[:] = np.nan
        field[50] = 1.0
    elif kind == "four vectors":  # which always obey one
        known = field[6:19, 8:25].copy()
        field[:] = np.nan
        field[6:19, 8:25] = known / 400
    return field


@pytest.mark.parametrize("kind", ["chaos", "unknown", "line", "four vectors"])
def test_flow_without_a_camera_is_left_as_it_is(kind, rng, flow):
    lost = make_lost(kind, rng).astype(np.float32)
    pairs = np.stack([flow[0, 0], lost])
    with pytest.warns(DegenerateMatchesWarning, match=r"pairs \[1\] obey one homography"):
        left, H, share = CameraCompensation(random_state=0).estimate(pairs)
    np.testing.assert_array_equal(left[1], lost)
    assert np.isnan(H[1]).all() and np.isnan(share[1])
    assert np.isfinite(H[0]).all() and share[0] > 0.5
    assert np.isnan(camera_motion(H, SHAPE).zoom[1])


def test_vectors_beyond_float32_are_infinite():
    flow = np.full((48, 64, 2), 1e300)
    with pytest.warns(DegenerateMatchesWarning) as caught:
        left = CameraCompensation(random_state=0).estimate(flow).flow
    assert len(caught) == 1 and np.isinf(left).all()


def test_least_share_is_a_parameter(flow):
    with pytest.warns(DegenerateMatchesWarning):
        left = CameraCompensation(min_inlier_share=0.99, random_state=0).transform(flow)
    np.testing.assert_array_equal(left, flow)


def test_noise_needs_a_threshold(rng):
    noisy = homography_flow(CAMERA, SHAPE) + rng.normal(0, 3, (*SHAPE, 2))
    model = CameraCompensation(residual_threshold=9.0, step=4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        H = model.estimate(noisy).homographies
    error = homography_flow(H, SHAPE) - homography_flow(CAMERA, SHAPE)
    assert np.abs(error).max() < 2


@pytest.mark.parametrize(
    "flow, error, message",
    [
        (np.zeros((48, 64, 2)), ValueError, r"X must have shape \(n_clips, n_pairs"),
        (np.zeros((1, 2, 48, 64, 3)), ValueError, "X must have shape"),
        (np.zeros((1, 0, 48, 64, 2)), ValueError, "hold a vector at least"),
        (np.zeros((1, 1, 48, 64, 2), complex), TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_bad_flow(flow, error, message, method):
    with pytest.raises(error, match=message):
        getattr(CameraCompensation(), method)(flow)


def test_bad_flow_of_pairs():
    for shape in [(64, 2), (48, 64, 3), (0, 48, 64, 2)]:
        with pytest.raises(ValueError, match=r"flow must have shape \(..., height, width, 2\)"):
            CameraCompensation().estimate(np.zeros(shape))


@pytest.mark.parametrize(
    "parameters",
    [
        {"step": 0},
        {"residual_threshold": 0},
        {"min_inlier_share": 1.5},
        {"max_trials": 0},
        {"n_jobs": 0},
        {"random_state": "x"},
        {"device": 3},
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform", "estimate"])
def test_bad_parameters(flow, parameters, method):
    with pytest.raises(ValueError, match=f"The {next(iter(parameters))!r} parameter"):
        getattr(CameraCompensation(**parameters), method)(flow)


def test_manners_of_an_estimator(flow):
    estimator = CameraCompensation(step=8, random_state=1)
    params = estimator.get_params()
    check_is_fitted(estimator)  # nothing is learnt
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator, "frame_shape_")
    assert estimator.fit(flow) is estimator
    assert estimator.frame_shape_ == SHAPE and estimator.get_params() == params
    expected = estimator.transform(flow)
    for copy in (clone(estimator), pickle.loads(pickle.dumps(estimator))):
        np.testing.assert_array_equal(copy.fit_transform(flow), expected)
    output = estimator.set_output(transform="pandas").transform(flow)
    assert isinstance(output, np.ndarray)
