import numpy as np
import pytest

from fastmotion.display import FlowDisplay, flow_to_color, plot_flow_comparison
from fastmotion.metrics import endpoint_error

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def flow():
    rows, columns = np.mgrid[-20:21, -30:31]
    field = np.dstack([-rows, columns]).astype(np.float32) / 10
    field[5:8, 5:8] = np.nan
    return field


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (41, 61, 3), dtype=np.uint8)


class Constant:
    """An estimator that gives the same vector everywhere."""

    def estimate(self, frame0, frame1):
        return np.full((*frame0.shape[:2], 2), [1.0, 2.0], dtype=np.float32)


def test_color(flow):
    display = FlowDisplay.from_flow(flow, max_magnitude=3)
    np.testing.assert_array_equal(display.im_.get_array(), flow_to_color(flow, 3))
    assert display.figure_ is display.ax_.figure
    assert display.legend_ax_.images
    assert display.legend_ax_.texts[0].get_text() == "3 px"
    assert display.colorbar_ is None and display.quiver_ is None


def test_color_scale_of_the_legend_is_that_of_the_picture(flow):
    display = FlowDisplay.from_flow(flow)
    speed = np.hypot(*flow.T)
    expected = np.percentile(speed[~np.isnan(speed)], 99)
    assert display.legend_ax_.texts[0].get_text() == f"{expected:.3g} px"
    np.testing.assert_array_equal(display.im_.get_array(), flow_to_color(flow))


def test_quiver_points_where_the_flow_goes(flow, image):
    display = FlowDisplay.from_flow(flow, image=image, kind="quiver", max_magnitude=2)
    np.testing.assert_array_equal(display.im_.get_array(), image)
    arrows = display.quiver_
    columns, rows = arrows.XY.T.astype(int)
    known = ~np.isnan(flow[..., 0])
    assert known[rows, columns].all()
    np.testing.assert_array_equal(arrows.U, flow[rows, columns, 0])
    np.testing.assert_array_equal(arrows.V, flow[rows, columns, 1])
    # An arrow of full speed reaches to its neighbour, in data units: rows run down as v does.
    step = np.diff(np.unique(columns)).min()
    assert (arrows.angles, arrows.scale_units, arrows.scale) == ("xy", "xy", 2 / step)
    assert display.ax_.get_ylim() == (40.5, -0.5)


def test_quiver_without_image(flow):
    assert FlowDisplay.from_flow(flow, kind="quiver").im_ is None


def test_magnitude(flow):
    display = FlowDisplay.from_flow(flow, kind="magnitude")
    drawn = display.im_.get_array().filled(np.nan)
    np.testing.assert_allclose(drawn, np.hypot(flow[..., 0], flow[..., 1]), rtol=1e-6)
    assert display.colorbar_.ax.get_ylabel() == "speed (px)"


def test_error(flow):
    truth = np.nan_to_num(flow) + np.float32(0.25)
    truth[0, 0] = 1e10
    display = FlowDisplay.from_flow(flow, truth=truth, kind="error", max_magnitude=0.5)
    drawn = display.im_.get_array().filled(np.nan)
    known = ~np.isnan(flow[..., 0])
    known[0, 0] = False
    np.testing.assert_array_equal(np.isnan(drawn), ~known)
    expected = endpoint_error(truth, flow, mask=known, reduction="none")
    np.testing.assert_allclose(drawn, expected)
    assert display.im_.get_clim() == (0, 0.5)


def test_from_estimator_draws_what_is_estimated(image):
    display = FlowDisplay.from_estimator(Constant(), image, image, kind="quiver")
    np.testing.assert_array_equal(display.flow, Constant().estimate(image, image))
    assert display.image is image
    assert set(display.quiver_.U) == {1.0} and set(display.quiver_.V) == {2.0}


@pytest.mark.parametrize("kind", ["color", "quiver", "magnitude", "error"])
def test_all_kinds_draw_on_given_axes_without_legend(flow, kind):
    figure, ax = plt.subplots()
    display = FlowDisplay(flow, truth=flow)
    assert display.plot(kind, ax=ax, legend=False) is display
    assert display.ax_ is ax and display.figure_ is figure
    assert display.legend_ax_ is None and display.colorbar_ is None
    figure.canvas.draw()


@pytest.mark.parametrize("kind", ["color", "quiver", "magnitude", "error"])
def test_further_arguments_reach_matplotlib(flow, kind):
    display = FlowDisplay(flow, truth=flow).plot(kind, alpha=0.5)
    artist = display.quiver_ if kind == "quiver" else display.im_
    assert artist.get_alpha() == 0.5


def test_a_field_at_rest_can_be_drawn():
    for kind in ("color", "quiver", "magnitude"):
        FlowDisplay.from_flow(np.zeros((16, 16, 2)), kind=kind).figure_.canvas.draw()


def test_nothing_known_can_be_drawn():
    for kind in ("color", "quiver", "magnitude"):
        FlowDisplay.from_flow(np.full((16, 16, 2), np.nan), kind=kind).figure_.canvas.draw()


def test_bad_arguments(flow, image):
    with pytest.raises(ValueError, match="kind must be"):
        FlowDisplay.from_flow(flow, kind="colour")
    with pytest.raises(ValueError, match="pass truth="):
        FlowDisplay.from_flow(flow, kind="error")
    with pytest.raises(ValueError, match="image and flow must have the same size"):
        FlowDisplay.from_flow(flow, image=image[:-1])
    with pytest.raises(ValueError, match="same shape"):
        FlowDisplay.from_flow(flow, truth=flow[:-1], kind="error")
    with pytest.raises(ValueError, match=r"shape \(height, width, 2\), got \(1, 41, 61, 2\)"):
        FlowDisplay.from_flow(flow[np.newaxis])
    with pytest.raises(ValueError, match="max_magnitude"):
        FlowDisplay.from_flow(flow, kind="quiver", max_magnitude=0)


def test_comparison(flow, image):
    truth = np.nan_to_num(flow)
    flows = {"good": truth + np.float32(0.1), "bad": truth + np.float32(2)}
    figure = plot_flow_comparison(image, flows, truth=truth, max_magnitude=4)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[:4] == ["image", "good", "bad", "truth"]
    assert titles[4].startswith("end-point error 0.14 px")
    assert titles[5].startswith("end-point error 2.83 px")
    panels = [ax.images[0] for ax in figure.axes[:6]]
    np.testing.assert_array_equal(panels[0].get_array(), image)
    np.testing.assert_array_equal(panels[2].get_array(), flow_to_color(flows["bad"], 4))
    # One scale for all error maps, fit to the best method.
    assert panels[4].get_clim() == panels[5].get_clim() == pytest.approx((0, 0.1 * 2**0.5))
    figure.canvas.draw()
    assert not plt.get_fignums()


def test_comparison_without_truth(flow, image):
    figure = plot_flow_comparison(image[..., 0], {"one": flow, "two": 2 * flow})
    assert [ax.get_title() for ax in figure.axes[:3]] == ["image", "one", "two"]
    top = np.nanpercentile(np.hypot(*np.concatenate([flow, 2 * flow]).T), 99)
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), flow_to_color(flow, top))
    with pytest.raises(ValueError, match="at least one flow"):
        plot_flow_comparison(image, {})
