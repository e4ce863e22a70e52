import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, multivariate_normal
from sklearn.mixture import GaussianMixture

import fastmotion.mixture
from fastmotion.datasets import make_hmm
from fastmotion.display import MixtureDisplay
from fastmotion.hmm import GaussianHMM

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

WEIGHTS = [0.6, 0.4]
MEANS = [[0.0, 0.0], [6.0, 2.0]]
COVARIANCES = [[[4.0, 1.5], [1.5, 1.0]], [[0.25, 0.0], [0.0, 0.5]]]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def X():
    """Two clouds in three columns, correlated."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(300, 3)) @ [[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.4]]
    return np.concatenate([first, rng.normal(size=(200, 3)) * [0.5, 2.0, 1.0] + [8.0, 0.0, 5.0]])


class StateModel:
    """A hidden Markov model of two states, as hmmlearn and this package fit them."""

    startprob_ = np.array([1.0, 0.0])
    transmat_ = np.array([[0.9, 0.1], [0.3, 0.7]])
    means_ = np.array(MEANS)
    covars_ = np.array(COVARIANCES)
    covariance_type = "diag"

    def predict(self, X, lengths=None):
        self.lengths = lengths
        return (np.concatenate(X)[:, 0] > 3 if np.ndim(X[0]) == 2 else X[:, 0] > 3).astype(int)


def squared_distances(points, mean, covariance):
    d = points - np.asarray(mean)
    return np.einsum("ij,jk,ik->i", d, np.linalg.inv(covariance), d)


def outline(ellipse):
    """Return points on the border of an ellipse, in data coordinates."""
    return ellipse.get_patch_transform().transform(
        np.column_stack([np.cos(np.arange(12.0)), np.sin(np.arange(12.0))])
    )


def test_ellipse_contains_its_share():
    display = MixtureDisplay(WEIGHTS, MEANS, COVARIANCES).plot(level=[0.3, 0.95])
    assert len(display.ellipses_) == 4
    expected = [(k, level) for k in range(2) for level in (0.3, 0.95)]
    for ellipse, (k, level) in zip(display.ellipses_, expected):
        distances = squared_distances(outline(ellipse), MEANS[k], COVARIANCES[k])
        np.testing.assert_allclose(distances, chi2.ppf(level, df=2))
    samples = np.random.default_rng(0).multivariate_normal(MEANS[0], COVARIANCES[0], 20_000)
    inside = squared_distances(samples, MEANS[0], COVARIANCES[0]) < chi2.ppf(0.95, df=2)
    path = display.ellipses_[1].get_patch_transform()
    unit = path.inverted().transform(samples)
    np.testing.assert_array_equal((unit**2).sum(axis=1) < 1, inside)
    assert inside.mean() == pytest.approx(0.95, abs=0.005)


@given(
    angle=st.floats(0, np.pi),
    variances=st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)),
    level=st.floats(0.01, 0.99),
)
def test_ellipse_lies_as_the_covariance_does(angle, variances, level):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    display = MixtureDisplay([1.0], [[3.0, -2.0]], [turn * variances @ turn.T])
    (ellipse,) = display.plot(plt.gca(), level=level).ellipses_
    # In the axes of the covariance, where even a needle has a well-known distance.
    unit = (outline(ellipse) - [3.0, -2.0]) @ turn / np.sqrt(variances)
    scale = np.sqrt(max(variances) / min(variances))
    expected = np.sqrt(-2 * np.log1p(-level))
    np.testing.assert_allclose(np.hypot(*unit.T), expected, rtol=1e-8 + 1e-14 * scale**2)
    plt.clf()


def test_singular_covariance_is_a_stroke():
    display = MixtureDisplay([1.0], [[0, 0]], [[[1, 1], [1, 1]]]).plot(log_likelihood=True)
    for ellipse in display.ellipses_:
        assert ellipse.height == pytest.approx(0, abs=1e-7)
        assert ellipse.angle % 180 == pytest.approx(45)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_marginal_of_each_covariance_type(X, covariance_type):
    # As many components as features: nothing but the type tells a tied covariance from the others.
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X, columns=(2, 0), level=0.9)
    precisions = mixture.precisions_cholesky_
    for k, ellipse in enumerate(display.ellipses_):
        factor = precisions if covariance_type == "tied" else precisions[k]
        factor = factor if np.ndim(factor) == 2 else np.eye(3) * factor
        covariance = np.linalg.inv(factor @ factor.T)[np.ix_([2, 0], [2, 0])]
        distances = squared_distances(outline(ellipse), mixture.means_[k, [2, 0]], covariance)
        np.testing.assert_allclose(distances, chi2.ppf(0.9, df=2))
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("feature 2", "feature 0")
    np.testing.assert_array_equal(display.scatter_.get_offsets(), X[:, [2, 0]])


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_own_estimators(covariance_type):
    data = make_hmm(2, 60, n_states=2, n_features=3, random_state=0)
    mixture = fastmotion.mixture.GaussianMixture(
        2, covariance_type=covariance_type, random_state=0
    ).fit(data.X)
    display = MixtureDisplay.from_estimator(mixture, data.X, columns=[1, 2])
    np.testing.assert_array_equal(display.labels, mixture.predict(data.X))
    reference = GaussianMixture(2, covariance_type=covariance_type)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(reference, name, getattr(mixture, name))
    expected = MixtureDisplay.from_estimator(reference, columns=[1, 2])
    np.testing.assert_array_equal(display.covariances, expected.covariances)
    model = GaussianHMM(2, covariance_type, random_state=0).fit(data.X, lengths=data.lengths)
    display = MixtureDisplay.from_estimator(model, data.X, lengths=data.lengths, columns=[2, 0])
    np.testing.assert_array_equal(display.labels, model.predict(data.X, lengths=data.lengths))
    np.testing.assert_array_equal(display.covariances[1, 0], model.covars_[1, 2, [2, 0]])
    np.testing.assert_allclose(display.weights, model.get_stationary_distribution(), atol=1e-9)


def test_samples_have_the_colour_of_their_component(X):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X, scatter_kwargs={"alpha": 1})
    edges = np.array([ellipse.get_edgecolor() for ellipse in display.ellipses_[::2]])
    assert not np.array_equal(edges[0], edges[1])
    np.testing.assert_array_equal(display.scatter_.get_facecolors(), edges[mixture.predict(X)])
    grey = MixtureDisplay(WEIGHTS, MEANS, COVARIANCES, X=X[:, :2]).plot()
    assert len(grey.scatter_.get_facecolors()) == 1


def test_everything_is_in_sight(X):
    display = MixtureDisplay(WEIGHTS, MEANS, COVARIANCES, X=X[:, :2] / 10).plot(level=0.99)
    points = np.concatenate([outline(ellipse) for ellipse in display.ellipses_])
    for values, (low, high) in zip(points.T, (display.ax_.get_xlim(), display.ax_.get_ylim())):
        assert low < values.min() < values.max() < high


@pytest.mark.parametrize("n_components", [10, 11, 20, 21, 50])
def test_each_component_has_a_colour_of_its_own(n_components):
    means = np.arange(2.0 * n_components).reshape(-1, 2)
    covariances = np.tile(np.eye(2), (n_components, 1, 1))
    display = MixtureDisplay(np.ones(n_components), means, covariances).plot(level=0.5)
    assert len({ellipse.get_edgecolor() for ellipse in display.ellipses_}) == n_components


def test_background_is_the_log_likelihood():
    display = MixtureDisplay(WEIGHTS, MEANS, COVARIANCES)
    plain = display.plot()
    assert plain.contour_ is None
    limits = plain.ax_.get_xlim(), plain.ax_.get_ylim()
    display.plot(log_likelihood=True)
    assert (display.ax_.get_xlim(), display.ax_.get_ylim()) == limits
    low, high = display.contour_.levels[[0, -1]]
    assert high - low == 16
    densities = [multivariate_normal(m, c) for m, c in zip(MEANS, COVARIANCES)]

    def log_likelihood(points):
        return np.log(sum(w * d.pdf(points) for w, d in zip(WEIGHTS, densities)))

    assert high == pytest.approx(log_likelihood(MEANS).max(), abs=0.01)
    border = display.contour_.get_paths()[-3].vertices
    levels = display.contour_.levels[[-4, -3]]
    values = log_likelihood(border)
    assert np.abs(values[:, np.newaxis] - levels).min(axis=1).max() < 0.05


def test_one_column_is_a_density(X):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X, columns=1)
    assert display.ellipses_ == [] and display.scatter_ is None
    *components, total = display.lines_
    x = total.get_xdata()
    for k, line in enumerate(components):
        normal = multivariate_normal(mixture.means_[k, 1], mixture.covariances_[k, 1, 1])
        np.testing.assert_allclose(line.get_ydata(), mixture.weights_[k] * normal.pdf(x))
    np.testing.assert_allclose(total.get_ydata(), sum(line.get_ydata() for line in components))
    assert np.trapezoid(total.get_ydata(), x) == pytest.approx(1, abs=1e-3)
    bars = display.histogram_.patches
    assert sum(bar.get_width() * bar.get_height() for bar in bars) == pytest.approx(1)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("feature 1", "density")


def test_the_only_column_is_drawn_unasked(X):
    mixture = GaussianMixture(2, random_state=0).fit(X[:, :1])
    display = MixtureDisplay.from_estimator(mixture)
    assert len(display.lines_) == 3
    assert display.histogram_ is None


def test_narrow_and_far_components_are_resolved_on_a_line():
    display = MixtureDisplay([0.5, 0.5], [[0.0], [1e6]], [[[1e-6]], [[4.0]]]).plot()
    x, y = display.lines_[-1].get_data()
    for low, high in ((-0.006, 0.006), (1e6 - 11, 1e6 + 11)):
        inside = (low < x) & (x < high)
        assert np.trapezoid(y[inside], x[inside]) == pytest.approx(0.5, abs=1e-3)


def test_columns_by_name(X):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=["hip", "knee", "ankle"])
    mixture = GaussianMixture(2, random_state=0).fit(frame)
    display = MixtureDisplay.from_estimator(mixture, frame, columns=["ankle", 0])
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("ankle", "hip")
    np.testing.assert_array_equal(display.scatter_.get_offsets(), X[:, [2, 0]])


def test_missing_values_have_no_place(X):
    gappy = X[:, :2].copy()
    gappy[::3, 0] = np.nan
    display = MixtureDisplay(WEIGHTS, MEANS, COVARIANCES, X=gappy, labels=np.zeros(500, int)).plot()
    assert np.ma.count(display.scatter_.get_offsets()[:, 0]) == 500 - len(gappy[::3])
    line = MixtureDisplay([1.0], [[0.0]], [[[1.0]]], X=gappy[:, :1]).plot()
    bars = line.histogram_.patches
    assert sum(bar.get_width() * bar.get_height() for bar in bars) == pytest.approx(1)
    nothing = MixtureDisplay([1.0], [[0.0]], [[[1.0]]], X=np.full((3, 1), np.nan)).plot()
    assert nothing.histogram_ is None


def test_many_samples_are_thinned(X):
    display = MixtureDisplay(WEIGHTS, MEANS, COVARIANCES, X=X[:, :2], labels=np.arange(500) > 250)
    offsets = display.plot(max_points=3).scatter_.get_offsets()
    np.testing.assert_array_equal(offsets, X[[0, 250, 499], :2])


def test_states_of_a_hidden_markov_model(X):
    model = StateModel()
    display = MixtureDisplay.from_estimator(model, X[:, :2], lengths=[300, 200], level=0.5)
    assert model.lengths == [300, 200]
    np.testing.assert_allclose(display.weights, [0.75, 0.25])
    np.testing.assert_array_equal(display.labels, X[:, 0] > 3)
    distances = squared_distances(outline(display.ellipses_[0]), MEANS[0], COVARIANCES[0])
    np.testing.assert_allclose(distances, chi2.ppf(0.5, df=2))


@pytest.mark.parametrize(
    "split", [lambda X: [X[:100], X[100:]], lambda X: X.reshape(5, 100, 2)], ids=["list", "array"]
)
def test_sequences_are_drawn_as_one(X, split):
    display = MixtureDisplay.from_estimator(StateModel(), split(X[:, :2]))
    np.testing.assert_array_equal(display.X, X[:, :2])
    np.testing.assert_array_equal(display.labels, X[:, 0] > 3)


@pytest.mark.parametrize(
    ("start", "transitions", "shares"),
    [
        ([1, 0], [[0, 1], [1, 0]], [0.5, 0.5]),  # periodic
        ([1, 0], [[0.5, 0.5], [0, 1]], [0, 1]),  # no way back
        ([0.2, 0.8], [[1, 0], [0, 1]], [0.2, 0.8]),  # two worlds
        ([1, 0], [[1 - 1e-9, 1e-9], [3e-9, 1 - 3e-9]], [0.75, 0.25]),  # slow
    ],
)
def test_weight_of_a_state_is_its_share_of_time(start, transitions, shares):
    model = StateModel()
    model.startprob_, model.transmat_ = np.array(start), np.array(transitions)
    display = MixtureDisplay.from_estimator(model)
    np.testing.assert_allclose(display.weights, shares, atol=1e-6)


def test_a_search_shows_what_it_found(X):
    search = SimpleNamespace(best_estimator_=GaussianMixture(2, random_state=0).fit(X))
    display = MixtureDisplay.from_estimator(search, X)
    np.testing.assert_array_equal(display.weights, search.best_estimator_.weights_)


def test_samples_may_be_coloured_by_values():
    values = np.linspace(0, 1, len(MEANS))
    display = MixtureDisplay(WEIGHTS, MEANS, COVARIANCES, X=MEANS)
    display.plot(scatter_kwargs={"c": values, "linewidths": 2})
    np.testing.assert_array_equal(display.scatter_.get_array(), values)
    assert display.scatter_.get_linewidth() == [2]


def test_own_axes_and_properties():
    _, ax = plt.subplots()
    display = MixtureDisplay(WEIGHTS, MEANS, COVARIANCES)
    assert display.plot(ax, ellipse_kwargs={"edgecolor": "red", "linestyle": ":"}) is display
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert {e.get_linestyle() for e in display.ellipses_} == {":"}
    display.plot(ax, ellipse_kwargs={"color": "red", "lw": 4})
    assert {e.get_edgecolor() for e in display.ellipses_} == {(1.0, 0.0, 0.0, 1.0)}
    assert {e.get_linewidth() for e in display.ellipses_} == {4}
    assert display.plot(level=[]).ellipses_ == []


def fitted(X):
    return GaussianMixture(2, random_state=0).fit(X)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda X: MixtureDisplay.from_estimator(GaussianMixture()), "GaussianMixture has neither"),
        (lambda X: MixtureDisplay.from_estimator(fitted(X), columns=(0, 3)), r"0 to 2, got \(0, 3"),
        (lambda X: MixtureDisplay.from_estimator(fitted(X), columns="hip"), "0 to 2, got 'hip'"),
        (lambda X: MixtureDisplay.from_estimator(fitted(X), columns=(True, False)), "got .True"),
        (lambda X: MixtureDisplay.from_estimator(fitted(X), columns=(0, 1, 2)), "two .*, got 3"),
        (lambda X: MixtureDisplay.from_estimator(fitted(X), columns=()), "two .*, got 0"),
        (lambda X: MixtureDisplay.from_estimator(fitted(X), level=1.0), "0 and 1, got 1.0"),
        (lambda X: MixtureDisplay.from_estimator(fitted(X), level=95), "0 and 1, got 95"),
        (lambda X: MixtureDisplay.from_estimator(fitted(X), X, max_points=0), "least 1, got 0"),
        (lambda X: MixtureDisplay([1], [[0, 0, 0]], [np.eye(3)]).plot(), r"got \(1, 3\)"),
        (lambda X: MixtureDisplay([1], [[0, 0]], np.eye(2)).plot(), r"\(1, 2, 2\).* got \(2, 2\)"),
        (lambda X: MixtureDisplay([1, 1], [[0]], [[[1]]]).plot(), r"\(1,\).* got \(2,\)"),
        (lambda X: MixtureDisplay([1], [[0]], [[[1]]], X=X).plot(), r"\(n_samples, 1\), got .*3\)"),
        (
            lambda X: MixtureDisplay([1], [[0]], [[[1]]], X=X[:, :1], labels=[0]).plot(),
            r"shape \(500,\) like X, got \(1,\)",
        ),
        (
            lambda X: MixtureDisplay([1], [[0]], [[[1]]], X=X[:2, :1], labels=[0, 1]).plot(),
            "0 to 0, got 0 to 1",
        ),
    ],
)
def test_bad_input(X, act, message):
    with pytest.raises(ValueError, match=message):
        act(X)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"drawing mixtures needs .*fastmotion\[plot\]"):
        MixtureDisplay(WEIGHTS, MEANS, COVARIANCES).plot()
