"""What holds of lines, distances, cameras, points and rectified pairs, whatever the cameras."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fastmotion.datasets import make_two_view
from fastmotion.epipolar import (
    epipolar_lines,
    epipolar_pencil,
    epipoles,
    essential_from_fundamental,
    fundamental_from_cameras,
    fundamental_from_projections,
    projections_from_cameras,
    recover_pose,
    rectify,
    sampson_distance,
    symmetric_epipolar_distance,
    triangulate,
)
from tests.reference.triangulation import nearest_match

some = settings(max_examples=25, deadline=None, derandomize=True, database=None)
scenes = st.sampled_from(["general", "forward", "rotation"])
seeds = st.integers(0, 10_000)
noises = st.sampled_from([0.0, 0.1, 1.0, 3.0])


@st.composite
def views(draw, n_matches=30):
    return make_two_view(
        draw(scenes),
        n_matches=n_matches,
        inlier_ratio=draw(st.sampled_from([0.5, 1.0])),
        noise=draw(noises),
        focal=draw(st.sampled_from([500.0, 2000.0])),
        random_state=draw(seeds),
    )


@st.composite
def cameras(draw):
    """Draw intrinsic parameters of two cameras, a rotation and a translation, of any size."""
    rng = np.random.default_rng(draw(seeds))

    def intrinsics():
        focal = 10.0 ** rng.uniform(1, 4)
        skew, cx, cy = rng.normal(size=3) * [0.01 * focal, 1000, 1000]
        return np.array([[focal, skew, cx], [0, focal * rng.uniform(0.5, 2), cy], [0, 0, 1]])

    R = Rotation.random(random_state=draw(seeds)).as_matrix()
    t = rng.normal(size=3) * 10.0 ** draw(st.integers(-6, 6))
    return intrinsics(), R, t, intrinsics()


def swapped(matches):
    return matches[:, [2, 3, 0, 1]]


@some
@given(view=views())
def test_images_may_be_swapped(view):
    """F of the pair the other way round is the transpose: it says the same."""
    F, matches = view.F, view.matches
    for distance in (sampson_distance, symmetric_epipolar_distance):
        found, expected = distance(F.T, swapped(matches)), distance(F, matches)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(epipoles(F.T), epipoles(F)[::-1], atol=1e-12)
    np.testing.assert_array_equal(
        epipolar_lines(F.T, matches[:, 2:]), epipolar_lines(F, matches[:, 2:], image=2)
    )


@some
@given(view=views())
def test_distances_bound_each_other(view):
    """The least move is at most the way to either line, and the Sampson distance near it."""
    matches = view.matches[view.inlier_mask]
    sampson = sampson_distance(view.F, matches)
    symmetric = symmetric_epipolar_distance(view.F, matches)
    assert (symmetric >= 2 * sampson * (1 - 1e-12)).all()
    lines1 = epipolar_lines(view.F, matches[:, 2:], image=2)
    lines2 = epipolar_lines(view.F, matches[:, :2])
    away1 = (lines1[:, :2] * matches[:, :2]).sum(1) + lines1[:, 2]
    away2 = (lines2[:, :2] * matches[:, 2:]).sum(1) + lines2[:, 2]
    np.testing.assert_allclose(np.hypot(away1, away2), symmetric, rtol=1e-6, atol=1e-9)
    assert (sampson <= np.minimum(abs(away1), abs(away2)) * (1 + 1e-6) + 1e-9).all()


@some
@given(view=views())
def test_lines_and_pencils_go_through_the_epipoles(view):
    found = epipoles(view.F)
    np.testing.assert_allclose(view.F @ found[0], 0, atol=1e-12)
    np.testing.assert_allclose(view.F.T @ found[1], 0, atol=1e-12)
    lines1 = epipolar_lines(view.F, view.matches[:, 2:], image=2)
    pencil1, pencil2 = epipolar_pencil(view.F, view.image_size, n_lines=9)
    for lines, epipole in ((lines1, found[0]), (pencil1, found[0]), (pencil2, found[1])):
        np.testing.assert_allclose(np.hypot(*lines[:, :2].T), 1, rtol=1e-12)
        np.testing.assert_allclose(lines @ epipole, 0, atol=1e-9)


@some
@given(two=cameras())
def test_both_ways_to_f_agree(two):
    K1, R, t, K2 = two
    F = fundamental_from_cameras(K1, R, t, K2)
    from_projections = fundamental_from_projections(*projections_from_cameras(K1, R, t, K2))
    np.testing.assert_allclose(from_projections, F, atol=1e-9)
    seen = np.stack([K1 @ R.T @ t, K2 @ t])
    cosine = (epipoles(F) * seen).sum(1) / np.linalg.norm(seen, axis=1)
    np.testing.assert_allclose(np.abs(cosine), 1, atol=1e-9)


@some
@given(two=cameras(), seed=seeds)
def test_pose_comes_back_from_f(two, seed):
    K1, R, t, K2 = two
    rng = np.random.default_rng(seed)
    # Points in front of both cameras, about as far away as the cameras are apart.
    centre2, length = -R.T @ t, np.linalg.norm(t)
    X = rng.normal(size=(2000, 3)) * 3 * length
    X = X[(X[:, 2] > 0.1 * length) & (((X - centre2) @ R.T)[:, 2] > 0.1 * length)]
    assume(len(X) > 0)
    P1, P2 = projections_from_cameras(K1, R, t, K2)
    seen1, seen2 = (np.column_stack([X, np.ones(len(X))]) @ P.T for P in (P1, P2))
    matches = np.hstack([seen1[:, :2] / seen1[:, 2:], seen2[:, :2] / seen2[:, 2:]])
    E = essential_from_fundamental(fundamental_from_cameras(K1, R, t, K2), K1, K2)
    pose = recover_pose(E, matches, K1, K2)
    np.testing.assert_allclose(pose.R, R, atol=1e-6)
    np.testing.assert_allclose(pose.t, t / length, atol=1e-6)
    assert pose.in_front_mask.all()
    np.testing.assert_allclose(triangulate(P1, P2, matches), X, rtol=1e-3, atol=1e-5 * length)


@some
@given(view=views(n_matches=6))
def test_no_match_that_obeys_f_is_nearer(view):
    matches = view.matches[view.inlier_mask]
    P1, P2 = projections_from_cameras(view.K1, view.R, view.t, view.K2)
    points = triangulate(P1, P2, matches, homogeneous=True)
    seen1, seen2 = points @ P1.T, points @ P2.T
    seen = np.hstack([seen1[:, :2] / seen1[:, 2:], seen2[:, :2] / seen2[:, 2:]])
    moves = np.linalg.norm(seen - matches, axis=1)
    least = [np.linalg.norm(nearest_match(match, view.F) - match) for match in matches]
    np.testing.assert_allclose(moves, least, rtol=1e-4, atol=1e-6)


@some
@given(view=views())
def test_rectified_rows_are_epipolar_lines(view):
    try:
        pair = rectify(view.F, view.matches, view.image_size)
    except ValueError as error:
        assert "no homography brings all epipolar lines to rows" in str(error)
        return
    _, y1, _, y2 = pair.transform(view.exact[view.inlier_mask]).T
    np.testing.assert_allclose(y1, y2, atol=1e-5 * max(view.image_size))
    for H in (pair.H1, pair.H2):
        assert np.linalg.det(H) > 0
        corners = np.array([[0, 0, 1], [1000, 0, 1], [0, 750, 1], [1000, 750, 1]])
        assert (corners @ H[2] > 0).all()
