import sys
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

import fastmotion.mixture
from fastmotion.display import ConvergenceDisplay
from fastmotion.hmm import GaussianHMM

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

PATH = {4: 61.0, 1: 90.0, 2: 70.0, 3: 60.0}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 3])


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def chosen(display):
    return [(mark.get_xdata().item(), mark.get_ydata().item()) for mark in display.chosen_]


def selected(**changes):
    return SimpleNamespace(
        **{"criterion_path_": PATH, "n_components_": 3, "criterion": "bic"} | changes
    )


def test_lower_bounds_of_a_mixture(X):
    mixture = GaussianMixture(2, random_state=0, tol=1e-6).fit(X)
    display = ConvergenceDisplay.from_estimator(mixture)
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, mixture.n_iter_ + 1))
    np.testing.assert_array_equal(line.get_ydata(), mixture.lower_bounds_)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("iteration", "lower bound")
    assert display.ax_.get_yscale() == "linear"
    assert display.ax_.get_legend() is None
    assert display.figure_ is display.ax_.figure
    assert display.chosen_ == []


def test_history_of_a_hidden_markov_model():
    model = SimpleNamespace(monitor_=SimpleNamespace(history=deque([-9.0, -5.0, -4.0])))
    (line,) = ConvergenceDisplay.from_estimator(model).lines_
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), [-9, -5, -4])


def test_own_estimators(X):
    mixture = fastmotion.mixture.GaussianMixture(2, random_state=0).fit(X)
    display = ConvergenceDisplay.from_estimator(mixture)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), mixture.lower_bounds_)
    model = GaussianHMM(2, random_state=0).fit(X)
    display = ConvergenceDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), model.monitor_.history)
    assert len(display.lines_[0].get_ydata()) == model.monitor_.iter


def test_own_choice_of_components(X):
    mixture = fastmotion.mixture.GaussianMixture("auto", max_components=5, random_state=0).fit(X)
    display = ConvergenceDisplay.from_estimator(mixture, kind="criterion")
    path = mixture.criterion_path_
    assert dict(zip(*display.lines_[0].get_data())) == path
    assert chosen(display) == [(mixture.n_components_, path[mixture.n_components_])]
    assert display.ax_.get_ylabel() == "BIC"


def test_fits_are_compared_by_name(X):
    fits = {
        f"start {seed}": GaussianMixture(3, init_params="random", random_state=seed).fit(X)
        for seed in range(3)
    }
    display = ConvergenceDisplay.from_estimators(fits)
    assert labels(display.ax_) == list(fits)
    for line, mixture in zip(display.lines_, fits.values()):
        np.testing.assert_array_equal(line.get_ydata(), mixture.lower_bounds_)
    assert display.plot(legend=False).ax_.get_legend() is None


def test_gap_is_below_the_largest_of_all():
    display = ConvergenceDisplay([[-3.0, -2.0], [-5.0, -2.5, -2.5]]).plot(kind="gap")
    first, second = (line.get_ydata() for line in display.lines_)
    np.testing.assert_array_equal(first, [1, np.nan])
    np.testing.assert_array_equal(second, [3, 0.5, 0.5])
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_ylabel() == "lower bound below the largest"


def test_iterations_are_whole_numbers():
    ax = ConvergenceDisplay([[-3.0, -2.0]]).plot().ax_
    ticks = ax.get_xticks()
    np.testing.assert_array_equal(ticks, ticks.round())


def test_criterion_with_its_choice():
    display = ConvergenceDisplay.from_estimator(selected(), kind="criterion")
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(line.get_ydata(), [90, 70, 60, 61])
    assert chosen(display) == [(3, 60)]
    assert display.chosen_[0].get_color() == line.get_color()
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("number of components", "BIC")


def test_the_choice_need_not_be_the_least():
    display = ConvergenceDisplay(criterion_paths=[PATH, PATH], n_components=[2, 4])
    assert chosen(display.plot(kind="criterion")) == [(2, 70), (4, 61)]
    assert display.ax_.get_ylabel() == "criterion"


def test_the_least_is_marked_where_no_choice_is_known():
    display = ConvergenceDisplay(criterion_paths=[PATH | {5: np.nan}]).plot(kind="criterion")
    assert chosen(display) == [(3, 60)]


def test_criteria_of_several_fits():
    same = ConvergenceDisplay.from_estimators({"a": selected(), "b": selected()}, kind="criterion")
    assert same.ax_.get_ylabel() == "BIC"
    assert labels(same.ax_) == ["a", "b"]
    others = {"a": selected(), "b": selected(criterion="aic", n_components_=4)}
    display = ConvergenceDisplay.from_estimators(others, kind="criterion")
    assert display.ax_.get_ylabel() == "criterion"
    assert chosen(display) == [(3, 60), (4, 61)]


def test_a_search_shows_what_it_found(X):
    search = SimpleNamespace(best_estimator_=GaussianMixture(2, random_state=0).fit(X))
    for display in (
        ConvergenceDisplay.from_estimator(search),
        ConvergenceDisplay.from_estimators({"it": search}),
    ):
        expected = search.best_estimator_.lower_bounds_
        np.testing.assert_array_equal(display.lines_[0].get_ydata(), expected)


def test_own_axes_and_line_properties():
    _, ax = plt.subplots()
    display = ConvergenceDisplay(np.array([[-3.0, -2.0]]))
    assert display.plot(ax, color="red", marker="x") is display
    assert display.ax_ is ax
    assert display.lines_[0].get_color() == "red"


def unfitted():
    return GaussianMixture()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ConvergenceDisplay([[1.0]]).plot(kind="both"), "one of .*, got 'both'"),
        (lambda: ConvergenceDisplay.from_estimator(unfitted()), "'lower_bound' needs .* fit first"),
        (
            lambda: ConvergenceDisplay([[1.0], []]).plot(kind="gap"),
            r"got shapes \[\(1,\), \(0,\)\]",
        ),
        (lambda: ConvergenceDisplay([1.0, 2.0]).plot(), r"got shapes \[\(\), \(\)\]"),
        (
            lambda: ConvergenceDisplay.from_estimator(unfitted(), kind="criterion"),
            'fit with n_components="auto"',
        ),
        (
            lambda: ConvergenceDisplay.from_estimators(
                {"a": selected(), "b": unfitted()}, kind="criterion"
            ),
            "criterion_path_ of each fit",
        ),
        (lambda: ConvergenceDisplay.from_estimators({}), "estimators is empty"),
        (lambda: ConvergenceDisplay([[1.0]], names=["a", "b"]).plot(), "each of 1 fits, got 2"),
        (
            lambda: ConvergenceDisplay(criterion_paths=[PATH], n_components=[1, 2]).plot(
                kind="criterion"
            ),
            "n_components must have .* 1 fits, got 2",
        ),
        (
            lambda: ConvergenceDisplay(criterion_paths=[PATH], n_components=[7]).plot(
                kind="criterion"
            ),
            r"one of \[1, 2, 3, 4\], got 7",
        ),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"drawing convergence needs .*fastmotion\[plot\]"):
        ConvergenceDisplay([[-3.0, -2.0]]).plot()
