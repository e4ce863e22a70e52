import dataclasses

import numpy as np
import pytest

from fastmotion.datasets import make_two_view

SCENES = ("general", "plane", "planar", "forward", "rotation", "pure_rotation")
SEEDS = range(10)


def homogeneous(points):
    return np.column_stack([points, np.ones(len(points))])


def project(view, X):
    """Return the pixels in both images and the depths, by cameras as matrices of shape (3, 4)."""
    cameras = [
        view.K1 @ np.hstack([np.eye(3), np.zeros((3, 1))]),
        view.K2 @ np.column_stack([view.R, view.t]),
    ]
    seen = [homogeneous(X) @ camera.T for camera in cameras]
    pixels = np.hstack([image[:, :2] / image[:, 2:] for image in seen])
    return pixels, np.column_stack([image[:, 2] for image in seen])


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("seed", SEEDS)
def test_points_are_seen_where_the_cameras_say(scene, seed):
    view = make_two_view(scene, n_matches=200, random_state=seed)
    right = view.inlier_mask
    assert view.matches.shape == view.exact.shape == (200, 4) and right.sum() == 100
    assert np.isnan(view.X[~right]).all()
    pixels, depths = project(view, view.X[right])
    np.testing.assert_allclose(view.exact[right], pixels, atol=1e-9)
    assert (depths > 0).all()
    assert (view.exact >= 0).all() and (view.exact <= np.tile(view.image_size, 2)).all()
    np.testing.assert_allclose(view.R @ view.R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.R) == pytest.approx(1)


@pytest.mark.parametrize("scene", [scene for scene in SCENES if scene != "pure_rotation"])
@pytest.mark.parametrize("seed", SEEDS)
def test_fundamental_matrix(scene, seed):
    view = make_two_view(scene, n_matches=200, random_state=seed)
    points1, points2 = (homogeneous(part) for part in np.hsplit(view.exact[view.inlier_mask], 2))
    lines = points1 @ view.F.T
    distances = (lines * points2).sum(axis=1) / np.hypot(lines[:, 0], lines[:, 1])
    np.testing.assert_allclose(distances, 0, atol=1e-8)
    singular = np.linalg.svd(view.F, compute_uv=False)
    assert singular[2] < 1e-12 * singular[1]
    assert np.linalg.norm(view.F) == pytest.approx(1)
    assert view.F.flat[abs(view.F).argmax()] > 0


@pytest.mark.parametrize("scene", ["plane", "planar", "pure_rotation"])
@pytest.mark.parametrize("seed", SEEDS)
def test_homography(scene, seed):
    view = make_two_view(scene, n_matches=200, random_state=seed)
    mask = view.inlier_mask if scene == "pure_rotation" else view.plane_mask
    mapped = homogeneous(view.exact[mask, :2]) @ view.H.T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], view.exact[mask, 2:], atol=1e-8)
    assert np.linalg.norm(view.H) == pytest.approx(1) and np.linalg.det(view.H) > 0
    others = view.inlier_mask & ~mask
    mapped = homogeneous(view.exact[others, :2]) @ view.H.T
    off = mapped[:, :2] / mapped[:, 2:] - view.exact[others, 2:]
    assert scene != "plane" or np.median(np.hypot(*off.T)) > 5


def test_what_scenes_do_not_have():
    assert np.isnan(make_two_view("pure_rotation", random_state=0).F).all()
    for scene in ("general", "forward"):
        view = make_two_view(scene, random_state=0)
        assert np.isnan(view.H).all() and not view.plane_mask.any()


def test_directions_of_motion():
    for seed in SEEDS:
        view = make_two_view("forward", random_state=seed)
        centre = -view.R.T @ view.t
        assert abs(centre[2]) > np.cos(np.deg2rad(10)) * np.linalg.norm(centre)
        view = make_two_view("general", random_state=seed)
        centre = -view.R.T @ view.t
        assert abs(centre[2]) <= 0.7 * np.linalg.norm(centre)


def test_parallax():
    """What is left of the motion when the camera's rotation is undone."""

    def parallax(scene):
        view = make_two_view(scene, inlier_ratio=1.0, random_state=3)
        turned = homogeneous(view.exact[:, :2]) @ np.linalg.inv(view.K1).T @ view.R.T @ view.K2.T
        away = turned[:, :2] / turned[:, 2:] - view.exact[:, 2:]
        return np.median(np.hypot(*(away - np.median(away, axis=0)).T))

    assert parallax("general") > 20
    assert 0.5 < parallax("rotation") < 5
    assert parallax("pure_rotation") < 1e-9


def test_shares():
    view = make_two_view("plane", n_matches=1000, inlier_ratio=0.3, plane_ratio=0.6, random_state=0)
    assert view.inlier_mask.sum() == 300 and view.plane_mask.sum() == 180
    assert not (view.plane_mask & ~view.inlier_mask).any()
    assert make_two_view("planar", n_matches=10, random_state=0).plane_mask.sum() == 5
    none = make_two_view(n_matches=30, inlier_ratio=0.0, random_state=0)
    assert not none.inlier_mask.any() and np.isfinite(none.matches).all()
    # In random order.
    assert abs(np.flatnonzero(view.inlier_mask).mean() - 500) < 60


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_noise(noise):
    view = make_two_view(n_matches=20_000, noise=noise, random_state=1)
    off = view.matches - view.exact
    right = off[view.inlier_mask]
    np.testing.assert_allclose(right.std(axis=0), noise, rtol=0.03, atol=0)
    np.testing.assert_allclose(right.mean(axis=0), 0, atol=0.05 * noise)
    assert (off[~view.inlier_mask] == 0).all()


def test_wrong_matches_are_spread_evenly():
    view = make_two_view(n_matches=20_000, inlier_ratio=0.0, random_state=2)
    size = np.tile(view.image_size, 2)
    np.testing.assert_allclose(view.matches.mean(axis=0) / size, 0.5, atol=0.01)
    np.testing.assert_allclose(view.matches.std(axis=0) / size, np.sqrt(1 / 12), atol=0.01)
    assert abs(np.corrcoef(view.matches.T) - np.eye(4)).max() < 0.03


def test_qualities_tell_right_from_wrong():
    view = make_two_view(n_matches=2000, inlier_ratio=0.2, random_state=0)
    assert (view.quality >= 0).all() and (view.quality <= 1).all()
    best = np.argsort(-view.quality)
    assert view.inlier_mask[best[:100]].mean() > 0.7
    # But not for sure.
    assert not view.inlier_mask[best[:400]].all()


def test_seeds():
    first, same, other = (make_two_view("plane", random_state=seed) for seed in (0, 0, 1))
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(same, field.name))
    assert not np.allclose(first.F, other.F)
    more = make_two_view("plane", n_matches=50, inlier_ratio=0.8, noise=0.3, random_state=0)
    for name in ("F", "H", "R", "t"):
        np.testing.assert_array_equal(getattr(first, name), getattr(more, name))
    state = np.random.RandomState(0)
    drawn = [make_two_view("plane", random_state=state).F for _ in range(2)]
    np.testing.assert_array_equal(drawn[0], first.F)
    assert not np.allclose(*drawn)


def test_image_size_and_focal_length():
    view = make_two_view(image_size=(320, 500), focal=300, n_matches=4000, random_state=0)
    assert view.image_size == (320, 500)
    expected = [[300, 0, 160], [0, 300, 250], [0, 0, 1]]
    np.testing.assert_array_equal(view.K1, expected)
    np.testing.assert_array_equal(view.K2, expected)
    assert (view.exact.max(axis=0) > 0.97 * np.array([320, 500, 320, 500])).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scene": "cave"}, "scene"),
        ({"n_matches": 0}, "n_matches"),
        ({"inlier_ratio": 1.1}, "inlier_ratio"),
        ({"noise": -1}, "noise"),
        ({"plane_ratio": 2}, "plane_ratio"),
        ({"focal": 0}, "focal"),
        ({"image_size": 640}, "image_size"),
        ({"image_size": (640, 0)}, "image_size"),
        ({"image_size": (640, 480, 3)}, "image_size"),
        ({"image_size": (640.5, 480)}, "image_size"),
        ({"noise": 500.0}, "do not overlap"),
    ],
)
def test_impossible_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        make_two_view(**{"random_state": 0} | options)
