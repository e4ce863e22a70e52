import numpy as np
import pytest

from fastmotion.datasets import make_motion
from fastmotion.display import KernelDisplay
from fastmotion.trajectory import (
    MotionKernel,
    MotionKernelBank,
    MotionKernelCV,
    fixed_kernel,
    frequency_response,
)

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def walk():
    return make_motion("walk", n_frames=120, noise=5.0, random_state=0).observed


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


OFFSETS, WEIGHTS = fixed_kernel("savgol_velocity", n_taps=5, causal=False)


def test_one_kernel_is_stems_over_frames():
    display = KernelDisplay(OFFSETS, WEIGHTS).plot()
    (line,) = display.lines_
    np.testing.assert_allclose(line.get_xdata(), OFFSETS)
    np.testing.assert_allclose(line.get_ydata(), WEIGHTS)
    (stems,) = display.ax_.collections
    np.testing.assert_allclose(
        [segment[:, 1] for segment in stems.get_segments()], np.c_[0 * WEIGHTS, WEIGHTS]
    )
    assert display.ax_.get_xlabel() == "frame"
    assert display.ax_.get_legend() is None
    assert display.figure_ is display.ax_.figure
    assert display.axes_.tolist() == [display.ax_]
    assert display.phase_ax_ is None


def test_seconds_and_hertz_with_a_frame_rate():
    display = KernelDisplay(OFFSETS, 25 * WEIGHTS, fps=25).plot(kind="both")
    weights, response = display.lines_
    np.testing.assert_allclose(weights.get_xdata(), OFFSETS / 25)
    frequencies = response.get_xdata()
    assert (frequencies[0], frequencies[-1]) == (0, 12.5)
    expected = np.abs(frequency_response(OFFSETS, 25 * WEIGHTS, frequencies, 25))
    np.testing.assert_allclose(response.get_ydata(), expected)
    assert [ax.get_xlabel() for ax in display.axes_] == ["time (s)", "frequency (Hz)"]


def test_decibels_have_a_floor():
    display = KernelDisplay(OFFSETS, WEIGHTS).plot(kind="response", decibels=True)
    (line,) = display.lines_
    gain = np.abs(frequency_response(OFFSETS, WEIGHTS, line.get_xdata()))
    top = 20 * np.log10(gain.max())
    np.testing.assert_allclose(line.get_ydata().max(), top)
    assert line.get_ydata()[0] == pytest.approx(top - 80)
    assert display.ax_.get_ylabel() == "gain (dB)"
    assert display.ax_.get_xlabel() == "frequency (1/frame)"


def test_phase_and_ideal_gain():
    display = KernelDisplay(OFFSETS, WEIGHTS, names=["five"]).plot(
        kind="response", phase=True, derivative=1
    )
    (phase,) = display.phase_ax_.lines
    # A difference about the present frame leads by a quarter of a period.
    np.testing.assert_allclose(phase.get_ydata()[1:100], np.pi / 2)
    ideal = display.ax_.lines[-1]
    np.testing.assert_allclose(ideal.get_ydata(), 2 * np.pi * ideal.get_xdata())
    assert ideal not in display.lines_
    assert labels(display.ax_) == ["five", "ideal"]
    # The ideal does not squeeze the kernels.
    assert display.ax_.get_ylim()[1] < 1.2 * display.lines_[0].get_ydata().max()


def test_stems_of_some_kernels_stand_side_by_side_and_many_are_lines():
    few = KernelDisplay(OFFSETS, [WEIGHTS, 2 * WEIGHTS], names=["a", "b"]).plot()
    first, second = (line.get_xdata() for line in few.lines_)
    np.testing.assert_allclose(second - first, 0.25)
    np.testing.assert_allclose((first + second) / 2, OFFSETS)
    assert labels(few.ax_) == ["a", "b"]
    many = KernelDisplay(OFFSETS, np.outer(np.arange(5), WEIGHTS)).plot()
    assert not many.ax_.collections
    for i, line in enumerate(many.lines_):
        np.testing.assert_allclose(line.get_xdata(), OFFSETS)
        np.testing.assert_allclose(line.get_ydata(), i * WEIGHTS)
        assert line.get_linestyle() == "-"


def test_kernels_of_several_lengths_and_errors():
    display = KernelDisplay(
        [[-1, 0], [-2, -1, 0]], [[-1, 1], [1, -2, 1]], errors=[[0.1, 0.2], [0.1, 0.1, 0.3]]
    ).plot(legend=False)
    assert [len(line.get_xdata()) for line in display.lines_] == [2, 3]
    (first, *_), _ = display.ax_.containers[0].lines[2][0].get_segments()
    assert first[1] == pytest.approx(-1.1)


@pytest.mark.parametrize(
    ("sharing", "n_lines", "last"),
    [
        ("coordinate", 3, "coordinate 2"),
        ("joint", 8, "joint 7"),
        ("channel", 8, "joint 2 coordinate 1"),
    ],
)
def test_kernels_of_an_estimator_are_named_by_what_they_serve(walk, sharing, n_lines, last):
    kernel = MotionKernel(3, sharing=sharing, fps=60.0).fit(walk)
    display = KernelDisplay.from_estimator(kernel)
    assert len(display.lines_) == n_lines
    assert labels(display.ax_)[-1] == last
    np.testing.assert_allclose(
        display.lines_[-1].get_ydata(), kernel.coef_.reshape(-1, 3)[n_lines - 1]
    )
    assert display.fps == 60.0
    assert len(KernelDisplay.from_estimator(kernel, max_kernels=2).lines_) == 2


def test_one_kernel_for_all_has_no_legend(walk):
    kernel = MotionKernel(3).fit(walk)
    assert KernelDisplay.from_estimator(kernel).ax_.get_legend() is None


def test_kernels_of_a_bank(walk):
    bank = MotionKernelBank(scales=(2, 5), fixed=("velocity",)).fit(walk)
    display = KernelDisplay.from_estimator(bank, kind="both")
    assert labels(display.axes_[0]) == bank.kernel_names_
    assert labels(display.axes_[1]) == bank.kernel_names_
    assert len(display.lines_) == 6
    np.testing.assert_allclose(display.lines_[1].get_ydata(), bank.kernels_[1][1])


def test_kernels_of_a_search_are_those_it_found(walk):
    X = np.concatenate([walk, walk[:, ::-1]])
    search = MotionKernelCV(MotionKernel(fps=60.0), n_taps=(2, 3), sharing=("coordinate",)).fit(X)
    for display in (
        KernelDisplay.from_estimator(search),
        KernelDisplay.from_estimators({"it": search}, kind="weights"),
    ):
        assert display.fps == 60.0
        assert [text[-12:] for text in labels(display.ax_)] == [f"coordinate {i}" for i in range(3)]
        np.testing.assert_array_equal(display.lines_[2].get_ydata(), search.coef_[2])


def test_any_object_with_coefficients_and_offsets():
    class Fitted:
        offsets_ = np.array([-1, 0])
        coef_ = np.array([[[1.0, 2.0], [3.0, 4.0]]])

    display = KernelDisplay.from_estimator(Fitted())
    assert labels(display.ax_) == ["kernel 0 0", "kernel 0 1"]
    np.testing.assert_allclose(display.lines_[1].get_ydata(), [3, 4])


def test_estimators_are_compared(walk):
    kernels = {
        "three": MotionKernel(3).fit(walk),
        "five": MotionKernel(5, sharing="coordinate").fit(walk),
    }
    display = KernelDisplay.from_estimators(kernels)
    expected = ["three", *(f"five, coordinate {i}" for i in range(3))]
    assert [labels(ax) for ax in display.axes_] == [expected, expected]
    np.testing.assert_allclose(display.lines_[3].get_ydata(), kernels["five"].coef_[2])


def test_trace_of_one_kernel():
    X = make_motion("stand", n_frames=50, noise=50.0, random_state=0).observed
    kernel = MotionKernel(2, solver="gradient", alpha=1e8).fit(X - X.mean())
    display = KernelDisplay.from_estimator(kernel, kind="trace")
    loss, *taps = display.lines_
    np.testing.assert_array_equal(loss.get_xdata(), kernel.trace_.epoch)
    excess = kernel.trace_.loss - kernel.trace_.loss.min()
    np.testing.assert_allclose(loss.get_ydata(), np.where(excess > 0, excess, np.nan))
    np.testing.assert_array_equal(
        np.column_stack([t.get_ydata() for t in taps]), kernel.trace_.coef
    )
    assert labels(display.axes_[1]) == ["-1", "0"]
    assert display.ax_.get_yscale() == "log"
    # Another picture of the same kernel.
    np.testing.assert_allclose(display.plot().lines_[0].get_ydata(), kernel.coef_)


def test_trace_of_several_kernels_has_a_colour_for_each():
    trace = {"epoch": [0, 1, 2], "loss": [3.0, 2.0, 1.0], "coef": np.arange(18.0).reshape(3, 3, 2)}
    display = KernelDisplay([-1, 0], trace["coef"][-1], names=["a", "b", "c"], trace=trace).plot(
        kind="trace"
    )
    _, *lines = display.lines_
    assert [line.get_color() for line in lines] == ["C0", "C0", "C1", "C1", "C2", "C2"]
    assert labels(display.axes_[1]) == ["a", "b", "c"]
    np.testing.assert_array_equal(lines[3].get_ydata(), [3, 9, 15])


def test_own_axes_and_line_properties():
    _, axes = plt.subplots(1, 2)
    display = KernelDisplay(OFFSETS, WEIGHTS).plot(axes, kind="both", color="red")
    assert display.axes_.tolist() == list(axes)
    assert {line.get_color() for line in display.lines_} == {"red"}
    assert KernelDisplay(OFFSETS, WEIGHTS).plot(axes[1]).ax_ is axes[1]


def fixed():
    return MotionKernelBank(learned=None, fixed=("velocity",)).fit(np.zeros((5, 1, 1)))


def unfitted():
    return MotionKernel()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda d: d.plot(kind="waterfall"), "kind must be one of .*, got 'waterfall'"),
        (lambda d: d.plot(kind="trace"), 'needs a kernel fitted with solver="gradient"'),
        (lambda d: d.plot(plt.subplots()[1], kind="both"), "kind='both' needs 2 axes, got 1"),
        (lambda d: KernelDisplay([0, 1], [1, 2, 3]).plot(), r"got \[2\] and \[3\]"),
        (lambda d: KernelDisplay([0], [1], errors=[1, 2]).plot(), r"errors .* got \[2\] and \[1\]"),
        (lambda d: KernelDisplay([0], [1], names=["a", "b"]).plot(), "1 kernels, got 2"),
        (lambda d: KernelDisplay.from_estimator(unfitted()), "MotionKernel has neither"),
        (lambda d: d.plot(kind="response", derivative=-1), "derivative must be .*, got -1"),
        (lambda d: KernelDisplay.from_estimator(fixed(), max_kernels=0), "max_kernels .*, got 0"),
        (
            lambda d: KernelDisplay.from_estimators({"a": fixed()}, max_kernels=-1),
            "max_kernels must be at least 1, got -1",
        ),
        (lambda d: KernelDisplay.from_estimators({}), "estimators is empty"),
        (
            lambda d: KernelDisplay.from_estimators(
                {"a": MotionKernel(fps=30.0), "b": MotionKernel(fps=60.0)}
            ),
            "must have the same fps",
        ),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(ValueError, match=message):
        act(KernelDisplay(OFFSETS, WEIGHTS))
