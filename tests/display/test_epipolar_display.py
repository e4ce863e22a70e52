import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastmotion.datasets import make_two_view
from fastmotion.display import EpipolarDisplay
from fastmotion.display.epipolar_display import _clip_lines, _Frame, _spread
from fastmotion.epipolar import epipolar_band, epipoles, fundamental_covariance

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

RECTIFIED = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]) / np.sqrt(2)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def view():
    return make_two_view("general", n_matches=200, noise=0.5, random_state=1)


class StandIn:
    """A fundamental matrix that calls every other match an inlier."""

    def __init__(self, view):
        self.F_ = view.F

    def predict(self, X, y=None):
        self.given = X, y
        return np.arange(len(X)) % 2 == 0


def homogeneous(points):
    return np.column_stack([points, np.ones(len(points))])


def colours(lines):
    return [matplotlib.colors.to_hex(line.get_color()) for line in lines]


def test_lines_hold_the_partners_of_their_points(view):
    exact = view.exact[view.inlier_mask]
    display = EpipolarDisplay.from_fundamental(
        view.F, exact, image_size=view.image_size, points=exact[:7]
    )
    for image, (lines, points) in enumerate(zip(display.lines_, np.split(exact[:7], 2, axis=1))):
        assert len(lines) == 7
        np.testing.assert_array_equal(display.points_[image].get_offsets(), points)
        for line, (x, y) in zip(lines, points):
            (x0, y0), (x1, y1) = line.get_xydata()
            length = np.hypot(x1 - x0, y1 - y0)
            assert abs((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) < 1e-6 * length
    assert colours(display.lines_[0]) == colours(display.lines_[1])
    assert len(set(colours(display.lines_[0])[:5])) == 5


@pytest.mark.parametrize("image", [1, 2])
def test_single_points_have_lines_in_the_other_image(view, image):
    points = np.array([[100.0, 200.0], [400.0, 300.0]])
    display = EpipolarDisplay(view.F, image_size=view.image_size).plot(points=points, image=image)
    assert len(display.points_[2 - image].get_offsets()) == 0
    np.testing.assert_array_equal(display.points_[image - 1].get_offsets(), points)
    assert display.lines_[image - 1] == []
    assert display.inliers_ == display.outliers_ == []
    F = view.F if image == 1 else view.F.T
    (line, *_) = display.lines_[2 - image]
    ends = homogeneous(line.get_xydata())
    np.testing.assert_allclose(ends @ F @ [100, 200, 1], 0, atol=1e-9)


def test_lines_end_at_the_frame(view):
    exact = view.exact[view.inlier_mask]
    display = EpipolarDisplay.from_fundamental(view.F, exact, image_size=[(640, 480), (700, 500)])
    for lines, ax, (width, height) in zip(display.lines_, display.ax_, [(640, 480), (700, 500)]):
        assert ax.get_xlim() == (-0.5, width - 0.5)
        assert ax.get_ylim() == (height - 0.5, -0.5)
        ends = np.concatenate([line.get_xydata() for line in lines])
        to_sides = np.abs(
            [
                ends[:, 0] + 0.5,
                ends[:, 0] - width + 0.5,
                ends[:, 1] + 0.5,
                ends[:, 1] - height + 0.5,
            ]
        )
        np.testing.assert_allclose(to_sides.min(axis=0), 0, atol=1e-9)


FRAME = _Frame(10.0, 50.0, -20.0, 60.0)


@given(
    arrays(float, 2, elements=st.floats(-1e3, 1e3)),
    st.one_of(st.floats(0, 2 * np.pi), st.sampled_from([0, np.pi / 2, np.pi])),
)
def test_clipping(point, angle):
    normal = np.array([np.cos(angle), np.sin(angle)])
    if angle % (np.pi / 2) == 0:
        normal = normal.round()
    line = np.array([*normal, -normal @ point])
    (ends,) = _clip_lines(line[np.newaxis], FRAME)
    corners = np.array([[x, y, 1] for x in FRAME[:2] for y in FRAME[2:]]) @ line
    if np.isnan(ends).any():
        # All corners lie on one side, or on the line.
        assert (corners > -1e-6).all() or (corners < 1e-6).all()
        return
    np.testing.assert_allclose(homogeneous(ends) @ line, 0, atol=1e-6)
    assert (ends >= [9.999999, -20.000001]).all() and (ends <= [50.000001, 60.000001]).all()
    # The farthest two points of the line in the frame: the frame's border is at both.
    borders = np.abs(ends[:, :, np.newaxis] - [[10, 50], [-20, 60]]).min(axis=(1, 2))
    np.testing.assert_allclose(borders, 0, atol=1e-6)
    assert (corners > -1e-6).any() and (corners < 1e-6).any()


def test_lines_beside_the_frame_are_not_drawn():
    display = EpipolarDisplay(RECTIFIED, image_size=(80, 60))
    display.plot(points=[[10.0, 20.0], [10.0, 99.0]])
    (line,) = display.lines_[1]
    np.testing.assert_allclose(sorted(line.get_xydata().tolist()), [[-0.5, 20.0], [79.5, 20.0]])
    assert colours([line]) == [matplotlib.colors.to_hex(display.points_[0].get_facecolors()[0])]
    none = EpipolarDisplay(RECTIFIED, image_size=(80, 60)).plot(points=np.empty((0, 2)))
    assert none.lines_ == [[], []]


def test_an_epipole_has_no_line():
    ahead = np.array([[0.0, -1.0, 20.0], [1.0, 0.0, -30.0], [-20.0, 30.0, 0.0]])
    display = EpipolarDisplay(ahead, image_size=(80, 60)).plot(points=[[30.0, 20.0], [50.0, 20.0]])
    assert len(display.lines_[1]) == 1
    assert len(display.epipoles_) == 2
    at_infinity = EpipolarDisplay(np.diag([1.0, 0.0, 1.0]), image_size=(80, 60))
    assert at_infinity.plot(points=[[0.0, 0.0]]).lines_[1] == []


@pytest.mark.parametrize("noise_scale", [None, 0.0, 2.0])
@pytest.mark.parametrize("image_size", [(1600, 1300), None])
def test_bands(view, image_size, noise_scale):
    matches = view.matches[view.inlier_mask] + 500
    shift = np.array([[1, 0, -500], [0, 1, -500], [0, 0, 1]])
    F = shift.T @ view.F @ shift
    covariance = fundamental_covariance(F, matches, noise_scale=0.5)
    display = EpipolarDisplay.from_fundamental(
        F,
        matches,
        points=matches[:3],
        covariance=covariance,
        noise_scale=noise_scale,
        image_size=image_size,
        probability=0.8,
    )
    for image in (1, 2):
        points = matches[:3, 2 * image - 2 : 2 * image]
        band = epipolar_band(
            F, covariance, points, probability=0.8, image=image, noise_scale=noise_scale
        )
        lines, bands = display.lines_[2 - image], display.bands_[2 - image]
        assert len(lines) == len(bands) == 3
        for polygon, conic, line in zip(bands, band.conics, lines):
            corners = homogeneous(polygon.get_xy())
            middle = homogeneous(line.get_xydata())
            scale = np.abs(np.einsum("ni,ij,nj->n", middle, conic, middle)).max()
            on_edge = np.einsum("ni,ij,nj->n", corners, conic, corners)
            np.testing.assert_allclose(on_edge / scale, 0, atol=1e-6)
            assert (
                polygon.get_path()
                .contains_points(line.get_xydata() * 0.9 + middle[::-1, :2] * 0.1)
                .all()
            )
            assert polygon.get_facecolor()[:3] == matplotlib.colors.to_rgb(line.get_color())


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-10, 1e-6])
def test_points_at_the_epipole_have_a_line_and_a_band_or_neither(distance):
    view = make_two_view("forward", n_matches=100, inlier_ratio=1.0, random_state=0)
    covariance = fundamental_covariance(view.F, view.matches, noise_scale=1.0)
    x, y, w = epipoles(view.F)[0]
    display = EpipolarDisplay.from_fundamental(
        view.F,
        points=[[x / w + distance, y / w], [100, 100]],
        covariance=covariance,
        image_size=view.image_size,
    )
    assert len(display.lines_[1]) == len(display.bands_[1]) >= 1


def test_bands_are_drawn_on_request(view):
    display = EpipolarDisplay(view.F, view.matches, covariance=1e-12 * np.eye(9))
    assert [len(bands) for bands in display.plot(points=2).bands_] == [2, 2]
    assert display.plot(points=2, probability=None).bands_ == [[], []]
    assert EpipolarDisplay(view.F, view.matches).plot(points=2).bands_ == [[], []]
    unknown = EpipolarDisplay(view.F, view.matches, covariance=np.full((9, 9), np.inf))
    assert unknown.plot(points=2).bands_ == [[], []]


def test_epipoles_are_drawn_where_they_are_in_view():
    view = make_two_view("forward", n_matches=20, random_state=0)
    display = EpipolarDisplay(view.F, image_size=(100_000, 100_000)).plot(points=0)
    located = epipoles(view.F)
    expected = located[:, :2] / located[:, 2:]
    inside = ((expected > 0) & (expected < 99_999)).all(axis=1)
    assert inside.any()
    marks = [mark.get_xydata()[0] for mark in display.epipoles_]
    np.testing.assert_allclose(marks, expected[inside])
    assert EpipolarDisplay(RECTIFIED, image_size=(80, 60)).plot(points=0).epipoles_ == []
    narrow = EpipolarDisplay(view.F, image_size=(1, 1)).plot(points=0)
    assert narrow.epipoles_ == []


def test_from_estimator(view):
    estimator = StandIn(view)
    images = [np.zeros((480, 640)), np.ones((480, 640, 3))]
    display = EpipolarDisplay.from_estimator(estimator, view.matches, images=images)
    inliers = estimator.predict(view.matches)
    for image, views in enumerate(np.split(view.matches, 2, axis=1)):
        np.testing.assert_array_equal(display.inliers_[image].get_offsets(), views[inliers])
        np.testing.assert_array_equal(display.outliers_[image].get_offsets(), views[~inliers])
        np.testing.assert_array_equal(display.ax_[image].images[0].get_array(), images[image])
    labels = [text.get_text() for text in display.ax_[0].get_legend().get_texts()]
    assert labels == ["100 inliers", "100 outliers"]
    assert display.figure_ is display.ax_[0].figure is display.ax_[1].figure
    apart = EpipolarDisplay.from_estimator(estimator, view.matches[:, :2], view.matches[:, 2:])
    np.testing.assert_array_equal(apart.matches, view.matches)
    np.testing.assert_array_equal(estimator.given[1], view.matches[:, 2:])


def test_frames_surround_matches_without_images(view):
    display = EpipolarDisplay.from_fundamental(view.F, view.matches + 1000)
    for ax, views in zip(display.ax_, np.split(view.matches + 1000, 2, axis=1)):
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        assert left < views[:, 0].min() and views[:, 0].max() < right
        assert top < views[:, 1].min() and views[:, 1].max() < bottom
        assert right - left < 1.2 * np.ptp(views[:, 0])
    single = EpipolarDisplay.from_fundamental(view.F, [[5.0, 5.0, 6.0, 6.0]])
    assert single.ax_[0].get_xlim()[0] < 5 < single.ax_[0].get_xlim()[1]


def test_points_are_inliers_far_apart(view):
    inliers = np.arange(200) < 50
    display = EpipolarDisplay.from_fundamental(view.F, view.matches, inliers=inliers, points=4)
    chosen = display.points_[0].get_offsets()
    assert len(chosen) == 4
    allowed = {tuple(point) for point in view.matches[:50, :2]}
    assert {tuple(point) for point in chosen} <= allowed
    square = np.array([[0, 0], [1, 1], [9, 0], [0, 9], [5, 5.1], [9, 9]])
    assert sorted(_spread(square, 4)) == [0, 2, 3, 5]
    assert _spread(square, 99)[:2] in ([0, 5], [5, 0])
    assert len(_spread(square, 99)) == len(square)
    assert _spread(square[:0], 3) == []


def test_missing_values_have_no_place(view):
    gappy = view.matches.copy()
    gappy[::4, 1] = np.nan
    display = EpipolarDisplay.from_fundamental(view.F, gappy, inliers=np.arange(200) % 4 < 2)
    assert len(display.inliers_[0].get_offsets()) == 50
    assert len(display.outliers_[0].get_offsets()) == 100


def test_many_matches_are_thinned(view):
    display = EpipolarDisplay.from_fundamental(view.F, view.matches, max_matches=3)
    np.testing.assert_array_equal(
        display.inliers_[1].get_offsets(), view.matches[[0, 100, 199], 2:]
    )
    assert display.ax_[0].get_legend().get_texts()[0].get_text() == "200 inliers"


def test_own_axes(view):
    _, axes = plt.subplots(1, 2)
    display = EpipolarDisplay(view.F, view.matches)
    assert display.plot(axes, legend=False) is display
    assert list(display.ax_) == list(axes)
    assert axes[0].get_legend() is None
    _, ax = plt.subplots()
    display.plot(ax)
    assert list(display.ax_) == ax.child_axes
    assert display.figure_ is ax.figure


def draw(view, **kwargs):
    return EpipolarDisplay.from_fundamental(view.F, view.matches, **kwargs)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda v: EpipolarDisplay.from_estimator(SimpleNamespace(), v.matches), "has no F_"),
        (lambda v: EpipolarDisplay(v.F).plot(), "nothing to tell how large"),
        (lambda v: EpipolarDisplay(np.eye(2), v.matches).plot(), r"\(3, 3\), got \(2, 2\)"),
        (lambda v: EpipolarDisplay(v.F, v.X).plot(), r"shape \(n, 4\)"),
        (lambda v: draw(v, inliers=[True]), r"\(200,\), one for each .* got bool of shape \(1,\)"),
        (lambda v: draw(v, inliers=np.arange(200)), "must be bool .* got int64"),
        (lambda v: draw(v, images=[np.zeros((4, 4))]), r"two arrays .* got 1 of shapes"),
        (lambda v: draw(v, images=[np.zeros(4)] * 2), r"got 2 of shapes \[\(4,\), \(4,\)\]"),
        (lambda v: draw(v, image_size=640), "positive width and height .* got 640"),
        (lambda v: draw(v, image_size=(640, 0)), r"got \(640, 0\)"),
        (lambda v: draw(v, points=-1), "points must be .* got -1"),
        (lambda v: draw(v, points=2.5), "points must be .* got 2.5"),
        (lambda v: draw(v, points=np.zeros((2, 3))), r"points must have shape \(n, 2\)"),
        (lambda v: draw(v, image=0), "image must be 1 or 2, got 0"),
        (lambda v: draw(v, probability=95), "between 0 and 1, got 95"),
        (lambda v: draw(v, max_matches=0), "at least 1, got 0"),
        (lambda v: draw(v, ax=plt.subplots(1, 3)[1]), "one axes or two, got 3"),
    ],
)
def test_bad_input(view, act, message):
    with pytest.raises(ValueError, match=message):
        act(view)


def test_without_matplotlib(monkeypatch, view):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"drawing epipolar lines needs .*fastmotion\[plot\]"):
        EpipolarDisplay(view.F, view.matches).plot()
