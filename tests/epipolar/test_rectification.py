"""Rectified pairs: rows, shapes and frames, beside cameras that are known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import (
    Rectification,
    fundamental_from_cameras,
    rectify,
    rectify_cameras,
    sampson_distance,
)

K = np.array([[800.0, 0, 500], [0, 800, 375], [0, 0, 1]])
SIZE = (1000, 750)
SIDEWAYS = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y1 = y2
# Of scenes whose epipoles are far outside, near the images, and above them.
SEEDS = range(6)


def general_view(seed, **options):
    options = {"n_matches": 200, "inlier_ratio": 1.0, **options}
    return make_two_view(random_state=seed, **options)


def rectify_view(view):
    return rectify(view.F, view.matches, view.image_size)


def rectify_cameras_of(view):
    return rectify_cameras(view.K1, view.R, view.t, view.K2, image_size=view.image_size)


def to_pixels(H, points):
    seen = np.column_stack([points, np.ones(len(points))]) @ H.T
    assert (seen[:, 2] > 0).all()
    return seen[:, :2] / seen[:, 2:]


def grid_of(size, n=9):
    return np.stack(np.meshgrid(*(np.linspace(0, s, n) for s in size)), axis=-1).reshape(-1, 2)


def distortion(H, size, n=9):
    """Return the root of the mean square of log stretches, from finite differences."""
    points, step = grid_of(size, n), 1e-3
    columns = [
        (to_pixels(H, points + offset) - to_pixels(H, points - offset)) / (2 * step)
        for offset in (np.array([step, 0]), np.array([0, step]))
    ]
    jacobians = np.stack(columns, axis=2)
    assert (np.linalg.det(jacobians) > 0).all()
    return np.sqrt((np.log(np.linalg.svd(jacobians, compute_uv=False)) ** 2).mean())


def row_error(pair, matches):
    _, y1, _, y2 = pair.transform(matches).T
    return np.sqrt(np.mean((y1 - y2) ** 2))


@pytest.mark.parametrize("rectified", [rectify_view, rectify_cameras_of])
@pytest.mark.parametrize("scene", ["general", "rotation"])
@pytest.mark.parametrize("seed", SEEDS)
def test_matches_lie_on_equal_rows(rectified, scene, seed):
    view = make_two_view(scene, n_matches=200, inlier_ratio=1.0, noise=0.0, random_state=seed)
    pair = rectified(view)
    assert row_error(pair, view.exact) < 1e-6
    # Nothing else lies on equal rows: F comes back from the homographies.
    F = pair.H2.T @ SIDEWAYS @ pair.H1
    np.testing.assert_allclose(abs((F * view.F).sum() / np.linalg.norm(F)), 1, rtol=1e-12)


@pytest.mark.parametrize("rectified", [rectify_view, rectify_cameras_of])
@pytest.mark.parametrize("seed", SEEDS)
def test_images_stay_whole_and_in_frame(rectified, seed):
    view = general_view(seed)
    pair = rectified(view)
    centre = np.array([view.image_size]) / 2
    centres = [to_pixels(H, centre)[0] for H in (pair.H1, pair.H2)]
    np.testing.assert_allclose(np.mean(centres, axis=0), centre[0], atol=1e-6)
    for H in (pair.H1, pair.H2):
        assert H[2] @ [*centre[0], 1] == pytest.approx(1)
        distortion(H, view.image_size)  # fails where an image is folded
    if rectified is rectify_view:
        x1, _, x2, _ = pair.transform(view.matches).T
        assert np.median(x1 - x2) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_least_distorted_pair_is_found(seed):
    """Other lines that become the line at infinity, and shears, distort more."""
    view = general_view(seed)
    pair = rectify_view(view)

    def cost(H1, H2):
        return sum(distortion(H, view.image_size, n=5) ** 2 for H in (H1, H2))

    least = cost(pair.H1, pair.H2)
    for bend in (-3e-6, 3e-6):  # a projective map that keeps rows rows, alike in both images
        change = np.eye(3)
        change[2, 1] = bend
        others = []
        for H in (pair.H1, pair.H2):
            other = change @ H
            other /= other[2] @ [500, 375, 1]
            # of the right shape at the centre again, and of the same rows
            weight, y = other[2], to_pixels(other, np.array([[500.0, 375.0]]))[0, 1]
            down = other[1, :2] - y * weight[:2]
            other[0] = [down[1], -down[0], 0]
            other[0, 2] = -other[0, :2] @ [500, 375]
            others.append(other)
        sizes = [np.linalg.norm(o[0, :2]) for o in others]
        for other in others:
            other[:2] /= np.sqrt(np.prod(sizes))
        assert row_error(Rectification(*others), view.exact) < 1e-6
        assert cost(*others) > least
    for shear in (-0.05, 0.05):
        assert cost(np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]]) @ pair.H1, pair.H2) > least


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_and_shapes_are_as_good_as_opencvs(seed):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is a peer only")
    view = general_view(seed)
    points1, points2 = view.matches[:, :2].copy(), view.matches[:, 2:].copy()
    _, H1, H2 = cv2.stereoRectifyUncalibrated(
        points1, points2, view.F, view.image_size, threshold=0
    )
    pair = rectify_view(view)
    theirs = Rectification(H1 / (H1[2] @ [500, 375, 1]), H2 / (H2[2] @ [500, 375, 1]))
    assert row_error(pair, view.exact) <= row_error(theirs, view.exact) + 1e-6
    ours, others = (
        np.hypot(distortion(p.H1, view.image_size), distortion(p.H2, view.image_size))
        for p in (pair, theirs)
    )
    assert ours <= 1.01 * others


def test_cameras_are_turned_as_opencv_turns_them():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is a peer only")
    view = general_view(8)  # camera 2 moves to the right
    R1, R2, P1, P2, *_ = cv2.stereoRectify(
        view.K1, None, view.K2, None, view.image_size, view.R, view.t.reshape(3, 1)
    )
    pair = rectify_cameras_of(view)
    for ours, theirs in ((pair.R1, R1), (pair.R2, R2)):
        angle = Rotation.from_matrix(ours @ theirs.T).magnitude()
        assert np.degrees(angle) < 3  # of two definitions of the mean optical axis
    assert pair.baseline == pytest.approx(-P2[0, 3] / P1[0, 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_cameras_see_what_the_homographies_show(seed):
    view = general_view(seed, noise=0.0)
    pair = rectify_cameras_of(view)
    seen1 = view.X @ pair.R1.T
    seen2 = (view.X @ view.R.T + view.t) @ pair.R2.T
    np.testing.assert_allclose(seen1 - seen2, np.tile([pair.baseline, 0, 0], (200, 1)), atol=1e-9)
    rectified = pair.transform(view.exact)
    for seen, pixels in ((seen1, rectified[:, :2]), (seen2, rectified[:, 2:])):
        expected = seen @ pair.K.T
        np.testing.assert_allclose(expected[:, :2] / expected[:, 2:], pixels, atol=1e-6)
    disparity = rectified[:, 0] - rectified[:, 2]
    np.testing.assert_allclose(pair.K[0, 0] * pair.baseline / disparity, seen1[:, 2], rtol=1e-6)


def test_cameras_are_turned_alike():
    """Which of the cameras is the first does not matter."""
    view = general_view(7)
    pair = rectify_cameras_of(view)
    back = rectify_cameras(
        view.K2, view.R.T, -view.R.T @ view.t, view.K1, image_size=view.image_size
    )
    np.testing.assert_allclose(back.R1, pair.R2, atol=1e-12)
    np.testing.assert_allclose(back.R2, pair.R1, atol=1e-12)
    np.testing.assert_allclose(back.H1, pair.H2, atol=1e-9)
    assert back.baseline == pytest.approx(-pair.baseline)


@pytest.mark.parametrize("t", [[-1.0, 0, 0], [1.0, 0, 0]])
def test_a_rectified_pair_stays_as_it_is(t):
    F = fundamental_from_cameras(K, np.eye(3), t)
    matches = [[100, 200, 100 + 50 * t[0], 200], [300, 400, 300 + 50 * t[0], 400]]
    pair = rectify(F, matches, SIZE)
    middle = np.array([[1, 0, 25 * t[0]], [0, 1, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(pair.H1, middle, atol=1e-6)
    np.testing.assert_allclose(pair.H2, np.linalg.inv(middle), atol=1e-6)
    cameras = rectify_cameras(K, np.eye(3), t, image_size=SIZE)
    np.testing.assert_allclose(cameras.H1, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(cameras.H2, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(cameras.K, K)
    assert cameras.baseline == pytest.approx(-t[0])


def test_images_of_two_sizes():
    K2 = np.array([[400.0, 0, 250], [0, 400, 150], [0, 0, 1]])
    R = Rotation.from_rotvec([0.02, -0.1, 0.05]).as_matrix()
    t = np.array([-1.0, 0.1, 0.1])
    X = np.random.default_rng(0).uniform([-2, -1, 5], [2, 1, 9], (50, 3))
    seen1, seen2 = X @ K.T, (X @ R.T + t) @ K2.T
    matches = np.hstack([seen1[:, :2] / seen1[:, 2:], seen2[:, :2] / seen2[:, 2:]])
    F = fundamental_from_cameras(K, R, t, K2)
    for pair in (
        rectify(F, matches, SIZE, image_size2=(500, 300)),
        rectify_cameras(K, R, t, K2, image_size=SIZE, image_size2=(500, 300)),
    ):
        assert row_error(pair, matches) < 1e-6
        assert pair.H2[2] @ [250, 150, 1] == pytest.approx(1)
        distortion(pair.H1, SIZE)
        distortion(pair.H2, (500, 300))


def test_wrong_matches_do_no_harm():
    view = general_view(0, inlier_ratio=0.7)
    right = view.matches[view.inlier_mask]
    both = rectify(view.F, view.matches, view.image_size), rectify(view.F, right, view.image_size)
    np.testing.assert_allclose(both[0].H1[1:], both[1].H1[1:])
    x1, _, x2, _ = both[0].transform(right).T
    spread = np.subtract(*np.percentile(x1 - x2, [90, 10]))
    assert abs(np.median(x1 - x2)) < spread / 2


def test_an_epipole_in_the_image_is_an_error():
    view = make_two_view("forward", n_matches=20, inlier_ratio=1.0, random_state=0)
    with pytest.raises(
        ValueError, match=r"the epipole \(.*\) lies in image 1: no homography.*crop"
    ):
        rectify(view.F, view.matches, view.image_size)
    with pytest.raises(ValueError, match="an epipole lies in or next to image 1: no homography"):
        rectify_cameras_of(view)
    with pytest.raises(ValueError, match="the cameras move along their optical axes"):
        rectify_cameras(K, np.eye(3), [0, 0, 1], image_size=SIZE)


def test_no_line_misses_both_images():
    """The epipoles are next to the images: on the right of the first, below the second."""
    R = Rotation.from_rotvec([0, 0, 1.0]).as_matrix()
    t = -R @ np.linalg.solve(K, [1010, 375, 1])
    F = fundamental_from_cameras(K, R, t)
    with pytest.raises(ValueError, match="every pair of epipolar lines crosses an image: no homo"):
        rectify(F, [[1, 2, 3, 4]], SIZE)


def test_input_of_rectification_is_checked():
    with pytest.raises(ValueError, match="matches must hold at least 1 matches"):
        rectify(SIDEWAYS, np.empty((0, 4)), SIZE)
    with pytest.raises(ValueError, match=r"image_size must be \(width, height\), got 1000"):
        rectify(SIDEWAYS, [[1, 2, 3, 4]], 1000)
    with pytest.raises(ValueError, match=r"image_size2 must be positive, got \(0, 10\)"):
        rectify(SIDEWAYS, [[1, 2, 3, 4]], SIZE, image_size2=(0, 10))
    with pytest.raises(ValueError, match="F must have rank 2, got rank 1"):
        rectify(np.outer([1, 2, 3], [3, 2, 1]), [[1, 2, 3, 4]], SIZE)
    with pytest.raises(ValueError, match="t must not be zero"):
        rectify_cameras(K, np.eye(3), [0, 0, 0], image_size=SIZE)


@pytest.mark.data
def test_rows_of_photographs(data_dir):
    """Of pairs whose cameras were measured, matches that obey F lie on equal rows."""
    files = sorted((data_dir / "epipolar").glob("strecha_fountain*_0[2-4]_*.npz"))
    if not files:
        pytest.skip("FASTMOTION_DATA has no epipolar/strecha_*.npz")
    for file in files:
        with np.load(file) as data:
            cameras = data["K1"], data["R"], data["t"], data["K2"]
            matches = np.hstack([data["x1"], data["x2"]])
            width, height = (int(s) for s in data["size"][:2])
        F = fundamental_from_cameras(*cameras)
        matches = matches[sampson_distance(F, matches) < 1]
        assert row_error(rectify(F, matches, (width, height)), matches) < 1
        assert row_error(rectify_cameras(*cameras, image_size=(width, height)), matches) < 1
