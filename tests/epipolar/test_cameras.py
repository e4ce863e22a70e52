"""Fundamental and essential matrices, poses and points, beside cameras that are known."""

import warnings

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import (
    essential_from_fundamental,
    fundamental_from_cameras,
    fundamental_from_projections,
    projections_from_cameras,
    recover_pose,
    sampson_distance,
    triangulate,
)
from tests.reference.triangulation import intersect, nearest_match

SCENES = ["general", "forward", "rotation"]
K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
SIDEWAYS = np.array([[0.0, 0, 0], [0, 0, 1], [0, -1, 0]]) / np.sqrt(2)


def exact_view(scene="general", seed=0, **options):
    options = {"n_matches": 60, "inlier_ratio": 1.0, "noise": 0.0, **options}
    return make_two_view(scene, random_state=seed, **options)


def projections(view):
    return projections_from_cameras(view.K1, view.R, view.t, view.K2)


def project(P, points):
    """Return the pixels of homogeneous points."""
    seen = points @ P.T
    return seen[:, :2] / seen[:, 2:]


def check_conventions(F):
    assert np.linalg.norm(F) == pytest.approx(1)
    assert F.flat[np.abs(F).argmax()] > 0
    values = np.linalg.svd(F, compute_uv=False)
    assert values[2] <= 1e-12 * values[1]


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("seed", range(3))
def test_fundamental_matrix_of_cameras(scene, seed):
    view = exact_view(scene, seed)
    F = fundamental_from_cameras(view.K1, view.R, view.t, view.K2)
    check_conventions(F)
    np.testing.assert_allclose(F, view.F, atol=1e-13)
    np.testing.assert_allclose(sampson_distance(F, view.exact), 0, atol=1e-9)
    np.testing.assert_allclose(fundamental_from_projections(*projections(view)), view.F, atol=1e-13)


def test_both_cameras_may_be_of_one_make():
    view = exact_view()
    np.testing.assert_allclose(
        fundamental_from_cameras(view.K1, view.R, view.t),
        fundamental_from_cameras(view.K1, view.R, view.t, view.K1),
    )


@pytest.mark.parametrize("length", [1e-200, 1e-9, 1e12])
def test_unit_of_length_does_not_matter(length):
    view = exact_view()
    F = fundamental_from_cameras(view.K1, view.R, length * view.t, view.K2)
    np.testing.assert_allclose(F, view.F, atol=1e-13)
    P1, P2 = projections_from_cameras(view.K1, view.R, length * view.t, view.K2)
    np.testing.assert_allclose(fundamental_from_projections(-3 * P1, 1e5 * P2), view.F, atol=1e-13)


def random_projections(rng, kind):
    """Return two cameras: general ones, affine ones, or one of each."""
    P1, P2 = rng.normal(size=(2, 3, 4))
    if kind in ("affine", "mixed"):
        P1[2] = [0, 0, 0, 1]
    if kind == "affine":
        P2[2] = [0, 0, 0, 1]
    if kind == "singular":
        P1[:, :3] = rng.normal(size=(3, 2)) @ rng.normal(size=(2, 3))
    return P1, P2


@pytest.mark.parametrize("kind", ["general", "affine", "mixed", "singular"])
@pytest.mark.parametrize("seed", range(3))
def test_fundamental_matrix_of_any_cameras(kind, seed):
    rng = np.random.default_rng(seed)
    P1, P2 = random_projections(rng, kind)
    F = fundamental_from_projections(P1, P2)
    check_conventions(F)
    points = rng.normal(size=(30, 4))
    for point in points:
        assert (P2 @ point) @ F @ (P1 @ point) == pytest.approx(0, abs=1e-12)
    if kind == "affine":
        np.testing.assert_allclose(F[:2, :2], 0, atol=1e-15)
    if kind == "general":  # the textbook's other form
        inverse = np.linalg.inv(P1[:, :3])
        m = P2[:, 3] - P2[:, :3] @ inverse @ P1[:, 3]
        expected = np.cross(m, P2[:, :3] @ inverse, axis=0)
        expected /= np.linalg.norm(expected)
        assert abs((F * expected).sum()) == pytest.approx(1)


def test_cameras_far_from_the_origin():
    view = exact_view()
    to_world = np.eye(4)
    to_world[:3, 3] = [5e5, 5e6, 100.0]  # coordinates of a map, in metres
    P1, P2 = (P @ np.linalg.inv(to_world) for P in projections(view))
    np.testing.assert_allclose(fundamental_from_projections(P1, P2), view.F, atol=1e-7)


def test_same_centre_is_an_error():
    R = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix()
    centre = np.array([5e5, 5e6, 100.0])
    P1 = K @ np.column_stack([np.eye(3), -centre])
    P2 = K @ np.column_stack([R, -R @ centre])
    with pytest.raises(ValueError, match="P1 and P2 must have different camera centres"):
        fundamental_from_projections(P1, P2)
    with pytest.raises(ValueError, match="must have different camera centres"):
        fundamental_from_projections(*projections_from_cameras(K, R, np.zeros(3)))
    with pytest.raises(ValueError, match="must have different camera centres"):
        triangulate(P1, P2, [[1, 2, 3, 4]])
    with pytest.raises(ValueError, match="t must not be zero: a camera that only turns"):
        fundamental_from_cameras(K, R, np.zeros(3))


def test_input_of_cameras_is_checked():
    P = K @ np.eye(3, 4)
    with pytest.raises(ValueError, match="P2 must have rank 3, got singular values"):
        fundamental_from_projections(P, np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"P1 must have shape \(3, 4\), got \(3, 3\)"):
        fundamental_from_projections(K, P)
    with pytest.raises(ValueError, match="P2 must be finite"):
        fundamental_from_projections(P, np.nan * P)
    with pytest.raises(ValueError, match="R must be a rotation"):
        fundamental_from_cameras(K, 2 * np.eye(3), [1, 0, 0])
    with pytest.raises(ValueError, match=r"t must have shape \(3,\), got \(3, 1\)"):
        fundamental_from_cameras(K, np.eye(3), np.ones((3, 1)))
    with pytest.raises(ValueError, match="K2 must have a last row proportional to 0 0 1"):
        projections_from_cameras(K, np.eye(3), np.ones(3), K.T)


@pytest.mark.parametrize("scene", SCENES)
def test_essential_matrix(scene):
    view = exact_view(scene)
    E = essential_from_fundamental(-7 * view.F, view.K1, view.K2)
    np.testing.assert_allclose(
        np.linalg.svd(E, compute_uv=False), [np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-12
    )
    assert E.flat[np.abs(E).argmax()] > 0
    expected = np.cross(view.t, view.R, axis=0)
    expected /= np.linalg.norm(expected)
    assert abs((E * expected).sum()) == pytest.approx(1, abs=1e-12)


def test_essential_matrix_is_the_nearest(rng):
    """No other essential matrix is nearer to what F and the cameras give."""
    F = fundamental_from_cameras(K, np.eye(3), [1.0, 0.5, 0.2]) + 1e-7 * rng.normal(size=(3, 3))
    given = K.T @ F @ K
    values = np.linalg.svd(given, compute_uv=False)
    found = essential_from_fundamental(F, K)

    def gap(E):
        return np.linalg.norm(given - (E * given).sum() / (E * E).sum() * E)

    assert gap(found) == pytest.approx(np.sqrt((values[0] - values[1]) ** 2 / 2 + values[2] ** 2))
    left, _, right = np.linalg.svd(found)
    for _ in range(50):
        turns = Rotation.from_rotvec(rng.normal(0, 0.05, (2, 3))).as_matrix()
        other = turns[0] @ left @ np.diag([1.0, 1, 0]) @ right @ turns[1]
        assert gap(other) > gap(found)


def test_an_essential_matrix_needs_rank_2():
    with pytest.raises(ValueError, match="F must have rank 2, got rank 1"):
        essential_from_fundamental(np.outer([1, 2, 3], [3, 2, 1]), K)


@pytest.mark.parametrize("scene", ["general", "forward"])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sign", [1, -1])
def test_pose_is_recovered(scene, seed, sign):
    view = exact_view(scene, seed, noise=0.5)
    E = sign * essential_from_fundamental(view.F, view.K1, view.K2)
    pose = recover_pose(E, view.matches, view.K1, view.K2)
    np.testing.assert_allclose(pose.R, view.R, atol=1e-9)
    np.testing.assert_allclose(pose.t, view.t / np.linalg.norm(view.t), atol=1e-9)
    assert pose.n_in_front == pose.in_front_mask.sum() >= 55
    assert pose.n_runner_up <= 5


def test_one_match_without_noise_is_enough():
    view = exact_view(n_matches=1)
    E = essential_from_fundamental(view.F, view.K1)
    pose = recover_pose(E, view.matches, view.K1)
    np.testing.assert_allclose(pose.R, view.R, atol=1e-9)
    assert (pose.n_in_front, pose.n_runner_up) == (1, 0)


def test_marked_matches_alone_count():
    view = exact_view(n_matches=200, inlier_ratio=0.2, noise=0.5)
    E = essential_from_fundamental(view.F, view.K1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pose = recover_pose(E, view.matches, view.K1, inlier_mask=view.inlier_mask)
    np.testing.assert_allclose(pose.R, view.R, atol=1e-9)
    np.testing.assert_array_equal(pose.in_front_mask, view.inlier_mask)


def test_points_at_infinity_leave_the_pose_open():
    rotation = Rotation.from_rotvec([0.02, 0.1, 0.0]).as_matrix()
    rng = np.random.default_rng(0)
    rays = np.column_stack([rng.uniform(-0.5, 0.5, (40, 2)), np.ones(40)])
    matches = np.hstack([project(K, rays), project(K @ rotation, rays)])
    E = np.cross([1.0, 0, 0], rotation, axis=0)
    noisy = matches + rng.normal(0, 0.5, matches.shape)
    with pytest.warns(RuntimeWarning, match="the pose is open to doubt: of 40 matches, "):
        pose = recover_pose(E, noisy, K)
    np.testing.assert_allclose(pose.R, rotation, atol=1e-12)  # which of the turns it is, is clear
    pair = np.vstack([noisy[pose.in_front_mask][:1], noisy[~pose.in_front_mask][:1]])
    with pytest.raises(ValueError, match="do not tell which of four poses it is: of 2 matches, 1"):
        recover_pose(E, pair, K)


def test_input_of_poses_is_checked():
    view = exact_view()
    E = essential_from_fundamental(view.F, view.K1)
    with pytest.raises(ValueError, match=r"E must be an essential.*essential_from_fundamental\(F"):
        recover_pose(view.F, view.matches, view.K1)
    with pytest.raises(ValueError, match="E must be an essential matrix"):
        recover_pose(np.eye(3), view.matches, view.K1)
    with pytest.raises(ValueError, match="matches must hold at least 1 matches, got 0"):
        recover_pose(E, np.empty((0, 4)), view.K1)
    with pytest.raises(TypeError, match="inlier_mask must hold booleans, got dtype uint8"):
        recover_pose(E, view.matches, view.K1, inlier_mask=np.ones(60, np.uint8))
    with pytest.raises(ValueError, match=r"inlier_mask must have shape \(60,\), got \(60, 1\)"):
        recover_pose(E, view.matches, view.K1, inlier_mask=np.ones((60, 1), bool))
    with pytest.raises(ValueError, match="inlier_mask must mark at least one match"):
        recover_pose(E, view.matches, view.K1, inlier_mask=np.zeros(60, bool))


def test_pose_as_opencv_has_it():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is a peer only")
    view = exact_view(seed=7, noise=1.0, n_matches=200)
    E = essential_from_fundamental(view.F, view.K1)
    points1, points2 = view.matches[:, :2].copy(), view.matches[:, 2:].copy()
    _, R, t, _ = cv2.recoverPose(E, points1, points2, view.K1)
    pose = recover_pose(E, view.matches, view.K1)
    np.testing.assert_allclose(pose.R, R, atol=1e-9)
    np.testing.assert_allclose(pose.t, t[:, 0], atol=1e-9)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("method", ["optimal", "linear"])
def test_points_of_exact_matches(scene, method):
    view = exact_view(scene)
    points = triangulate(*projections(view), view.exact, method=method)
    np.testing.assert_allclose(points, view.X, rtol=1e-6)


@pytest.mark.parametrize("scene", SCENES)
def test_optimal_points_are_those_of_the_nearest_match(scene):
    view = exact_view(scene, seed=2, noise=2.0)
    P1, P2 = projections(view)
    points = triangulate(P1, P2, view.matches, homogeneous=True)
    seen = np.hstack([project(P1, points), project(P2, points)])
    expected = np.array([nearest_match(match, view.F) for match in view.matches])
    np.testing.assert_allclose(seen, expected, atol=1e-3)
    moves = np.linalg.norm(seen - view.matches, axis=1)
    np.testing.assert_allclose(moves, np.linalg.norm(expected - view.matches, axis=1), atol=1e-7)


@pytest.mark.parametrize("kind", ["general", "affine", "mixed", "singular"])
@pytest.mark.parametrize("method", ["optimal", "linear"])
def test_points_of_any_cameras(kind, method):
    rng = np.random.default_rng(5)
    P1, P2 = random_projections(rng, kind)
    points = rng.normal(size=(30, 4))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    matches = np.hstack([project(P1, points), project(P2, points)])
    found = triangulate(P1, P2, matches, method=method, homogeneous=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    assert (found[:, 3] >= 0).all()
    np.testing.assert_allclose(np.abs((found * points).sum(1)), 1, atol=1e-9)
    expected = np.array([intersect(match, P1, P2) for match in matches])
    np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1, atol=1e-9)


def test_frame_does_not_matter_to_optimal_points():
    view = exact_view(noise=1.0)
    P1, P2 = projections(view)
    rng = np.random.default_rng(1)
    frame = rng.normal(size=(4, 4))
    points = triangulate(P1, P2, view.matches, homogeneous=True)
    others = triangulate(P1 @ frame, P2 @ frame, view.matches, homogeneous=True) @ frame.T
    cosine = (points * others).sum(1) / np.linalg.norm(others, axis=1)
    np.testing.assert_allclose(np.abs(cosine), 1, atol=1e-12)


@pytest.mark.parametrize("method", ["optimal", "linear"])
def test_points_at_infinity(method):
    P1, P2 = projections_from_cameras(K, np.eye(3), [-1.0, 0, 0])
    matches = [[320, 240, 320, 240], [820, 240, 820, 240]]  # 0 0 1 and 1 0 1, infinitely far
    points = triangulate(P1, P2, matches, method=method, homogeneous=True)
    expected = np.array([[0, 0, 1, 0], [np.sqrt(0.5), 0, np.sqrt(0.5), 0]])
    np.testing.assert_allclose(np.abs(points), expected, atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far = triangulate(P1, P2, matches, method=method)
    assert not np.isnan(far).any()
    assert (np.abs(far[:, 2]) > 1e12).all()


def test_coordinates_of_a_point_at_infinity():
    P1, P2 = projections_from_cameras(np.eye(3), np.eye(3), [-1.0, 0, 0])
    assert triangulate(P1, P2, [[0, 0, 0, 0]]).tolist() == [[0, 0, np.inf]]


def test_matches_of_epipoles_show_no_point():
    P1, P2 = projections_from_cameras(np.eye(3), np.eye(3), [0, 0, -1.0])
    matches = [[0, 0, 0, 0], [0.1, 0, 0.2, 0]]
    with pytest.warns(RuntimeWarning, match="^1 of 2 matches do not determine a point"):
        points = triangulate(P1, P2, matches)
    assert np.isnan(points[0]).all()
    np.testing.assert_allclose(points[1], [0.2, 0, 2])
    with pytest.warns(RuntimeWarning, match="do not determine a point"):
        assert not triangulate(P1, P2, matches, homogeneous=True)[0].any()


def test_input_of_triangulation_is_checked():
    P1, P2 = projections_from_cameras(K, np.eye(3), [-1.0, 0, 0])
    assert triangulate(P1, P2, np.empty((0, 4))).shape == (0, 3)
    assert triangulate(P1, P2, np.empty((0, 4)), homogeneous=True).shape == (0, 4)
    assert triangulate(P1, P2, np.empty((0, 4)), method="linear").shape == (0, 3)
    with pytest.raises(ValueError, match="method must be 'optimal' or 'linear', got 'best'"):
        triangulate(P1, P2, [[1, 2, 3, 4]], method="best")
    with pytest.raises(ValueError, match="matches must be finite"):
        triangulate(P1, P2, [[1, 2, np.nan, 4]])


def test_linear_points_as_opencv_has_them():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is a peer only")
    view = exact_view(noise=1.0)
    P1, P2 = projections(view)
    expected = cv2.triangulatePoints(P1, P2, view.matches[:, :2].T, view.matches[:, 2:].T)
    found = triangulate(P1, P2, view.matches, method="linear")
    np.testing.assert_allclose(found, (expected[:3] / expected[3]).T, rtol=1e-6)
