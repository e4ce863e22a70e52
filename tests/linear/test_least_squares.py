"""The regressor that merges, as scikit-learn, chunked data and hard input use it."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmotion.linear import LeastSquares
from tests.reference import linear as reference

PARAMETERS = [
    {},
    {"fit_intercept": False},
    {"alpha": 2.0, "prior": [1.0, 0.0, -1.0, 2.0]},
    {"smoothness": 5.0, "smoothness_order": 2},
    {"constraints": [[1.0] * 4], "values": [1.0]},
]
each_setting = pytest.mark.parametrize("parameters", PARAMETERS, ids=str)


@pytest.fixture
def samples(rng):
    """Return features far from the origin, two targets and weights."""
    X = rng.normal(size=(500, 4)) + [30, -2, 0, 7]
    y = X @ rng.normal(size=(4, 2)) + rng.normal(size=(500, 2)) + 3
    return X, y, rng.integers(0, 4, size=500).astype(float)


def parts_of(n_samples, n_parts):
    return np.array_split(np.arange(n_samples), n_parts)


@each_setting
def test_fit_equals_the_reference(samples, parameters):
    X, y, weight = samples
    terms = {k: v for k, v in parameters.items() if k != "fit_intercept"}
    model = LeastSquares(**parameters).fit(X, y, weight)
    mean, target = np.zeros(4), np.zeros(2)
    if model.fit_intercept:
        mean, target = (np.average(x, axis=0, weights=weight) for x in (X, y))
    for i in range(2):
        coef = reference.coefficients(X - mean, y[:, i] - target[i], weight=weight, **terms)
        reference.assert_close(model.coef_[i], coef)
        assert model.intercept_[i] == pytest.approx(target[i] - mean @ coef, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 100.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_alpha_is_that_of_ridge(samples, alpha, fit_intercept):
    X, y, weight = samples
    model = LeastSquares(alpha, fit_intercept=fit_intercept).fit(X, y, weight)
    peer = Ridge(alpha) if alpha else LinearRegression()
    peer.set_params(fit_intercept=fit_intercept).fit(X, y, weight)
    reference.assert_close(model.coef_, peer.coef_, 1e-10)
    np.testing.assert_allclose(model.intercept_, peer.intercept_, rtol=1e-10)
    np.testing.assert_allclose(model.predict(X), peer.predict(X), rtol=1e-9)


def test_shapes_follow_the_target(samples):
    X, y, _ = samples
    vector, column, both = (LeastSquares().fit(X, t) for t in (y[:, 0], y[:, :1], y))
    assert vector.coef_.shape == (4,) and isinstance(vector.intercept_, float)
    assert column.coef_.shape == (1, 4) and column.intercept_.shape == (1,)
    assert both.coef_.shape == (2, 4) and both.intercept_.shape == (2,)
    assert vector.predict(X).shape == (500,) and column.predict(X).shape == (500, 1)
    np.testing.assert_allclose(both.predict(X)[:, :1], column.predict(X), rtol=1e-12)
    assert vector.n_samples_seen_ == 500


@each_setting
@pytest.mark.parametrize("n_parts", [2, 7, 500])
def test_chunks_and_merges_equal_the_whole(samples, parameters, n_parts):
    X, y, weight = samples
    weight[0] = 1  # the first chunk may be this sample alone
    whole = LeastSquares(**parameters).fit(X, y, weight)
    chunked, fits = LeastSquares(**parameters), []
    for rows in parts_of(500, n_parts):
        chunked.partial_fit(X[rows], y[rows], weight[rows])
        if weight[rows].any():
            fits.append(LeastSquares(**parameters).fit(X[rows], y[rows], weight[rows]))
    merged = fits[0]
    for other in fits[1:]:
        assert merged.merge(other) is merged
    for model in (chunked, merged):
        reference.assert_close(model.coef_, whole.coef_, 1e-10)
        reference.assert_close(model.intercept_, whole.intercept_, 1e-10)


@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_an_offset_costs_no_accuracy(rng, offset):
    X = rng.normal(size=(20_000, 5)) + offset * np.array([1, -1, 2, 0, 1])
    y = X @ rng.normal(size=5) + rng.normal(size=20_000)
    coef, intercept = reference.with_intercept(X, y)
    model = LeastSquares().fit(X, y)
    reference.assert_close(model.coef_, coef, 1e-12)
    assert model.intercept_ == pytest.approx(intercept, rel=0, abs=1e-13 * offset)
    chunked = LeastSquares()
    for rows in parts_of(20_000, 40):
        chunked.partial_fit(X[rows], y[rows])
    reference.assert_close(chunked.coef_, coef, 1e-10)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_ill_conditioned_features_are_refined(rng, fit_intercept):
    X = reference.matrix_of_condition(rng, (400, 8), 1e6)
    X -= fit_intercept * X.mean(axis=0)
    y = X @ rng.normal(size=8)
    model = LeastSquares(fit_intercept=fit_intercept).fit(X, y)
    assert 1e11 < model.condition_number_ < 1e13
    reference.assert_close(model.coef_, reference.coefficients(X, y), 1e-10)


def test_constant_and_repeated_features_get_the_shortest_coefficients(rng):
    X = rng.normal(size=(1000, 3))
    X = np.column_stack([X, X[:, 0], np.full(1000, 0.1), np.zeros(1000)])
    y = X @ [1, 2, 3, 4, 5, 6]
    chunked = LeastSquares()
    for rows in parts_of(1000, 3):
        chunked.partial_fit(X[rows], y[rows])
    for model in (LeastSquares().fit(X, y), chunked):
        reference.assert_close(model.coef_, [2.5, 2, 3, 2.5, 0, 0], 1e-12)
        assert model.intercept_ == pytest.approx(0.5)
        assert model.condition_number_ == np.inf


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_more_features_than_samples(rng, fit_intercept):
    X, y = rng.normal(size=(6, 15)), rng.normal(size=6)
    model = LeastSquares(fit_intercept=fit_intercept).fit(X, y)
    peer = LinearRegression(fit_intercept=fit_intercept).fit(X, y)
    reference.assert_close(model.coef_, peer.coef_, 1e-11)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-60, 1e-8, 1e8, 1e60])
def test_scales_of_features_do_not_matter(samples, scale):
    X, y, _ = samples
    scales = np.array([1, scale, 1, scale])
    model, scaled = LeastSquares().fit(X, y), LeastSquares().fit(X * scales, y)
    reference.assert_close(scaled.coef_ * scales, model.coef_)


def test_float32_in_float32_out(samples):
    X, y, _ = samples
    X, y = X.astype(np.float32), y.astype(np.float32)
    model = LeastSquares().fit(X, y)
    wide = LeastSquares().fit(X.astype(float), y.astype(float))
    np.testing.assert_array_equal(model.coef_, wide.coef_)
    assert model.predict(X).dtype == np.float32 and model.predict(X.astype(float)).dtype == float


def test_read_only_and_strided_input_and_its_values(samples):
    X, y, weight = samples
    expected = LeastSquares().fit(X, y, weight).coef_
    wide, fortran = np.repeat(X, 2, axis=1), np.asfortranarray(y)
    for x in (wide, fortran, weight):
        x.flags.writeable = False
    np.testing.assert_allclose(
        LeastSquares().fit(wide[:, ::2], fortran, weight).coef_, expected, rtol=1e-13
    )
    np.testing.assert_array_equal(wide[:, ::2], X)


def test_data_frames_and_their_names(samples):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y, weight = samples
    frame, series = pandas.DataFrame(X, columns=list("abcd")), pandas.Series(weight)
    model = LeastSquares().fit(frame, pandas.DataFrame(y), series)
    np.testing.assert_array_equal(model.coef_, LeastSquares().fit(X, y, weight).coef_)
    assert model.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        model.partial_fit(frame.rename(columns={"a": "z"}), y)
    with pytest.raises(ValueError, match="same features, 4 features named a, b, c, d, got"):
        model.merge(LeastSquares().fit(X, y))


def test_parameters_may_change_between_chunks(samples):
    X, y, _ = samples
    model = LeastSquares().partial_fit(X[:100], y[:100]).set_params(fit_intercept=False, alpha=3)
    model.partial_fit(X[100:], y[100:])
    reference.assert_close(model.coef_, LeastSquares(3, fit_intercept=False).fit(X, y).coef_, 1e-10)


def test_fit_forgets_and_partial_fit_does_not(samples):
    X, y, _ = samples
    model = LeastSquares().partial_fit(X, y).fit(X[:50], y[:50])
    assert model.n_samples_seen_ == 50
    assert model.partial_fit(X[50:], y[50:]).n_samples_seen_ == 500


def test_merging_leaves_the_other_alone(samples):
    X, y, _ = samples
    first, second = LeastSquares().fit(X[:200], y[:200]), LeastSquares().fit(X[200:], y[200:])
    coef = second.coef_.copy()
    first.merge(second).partial_fit(X, y)
    np.testing.assert_array_equal(second.coef_, coef)
    assert second.n_samples_seen_ == 300
    reference.assert_close(
        second.partial_fit(X[:200], y[:200]).coef_, LeastSquares().fit(X, y).coef_
    )


def test_pickled_models_go_on(samples):
    X, y, _ = samples
    model = pickle.loads(pickle.dumps(LeastSquares().fit(X[:200], y[:200])))
    reference.assert_close(
        model.partial_fit(X[200:], y[200:]).coef_, LeastSquares().fit(X, y).coef_
    )


def test_in_a_pipeline_with_search_and_routed_weights(samples):
    X, y, weight = samples
    with sklearn.config_context(enable_metadata_routing=True):
        model = LeastSquares().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipeline.fit(X, y, sample_weight=weight)
    expected = LeastSquares().fit(StandardScaler().fit_transform(X), y, weight)
    reference.assert_close(pipeline[-1].coef_, expected.coef_)
    search = GridSearchCV(LeastSquares(), {"alpha": [0.0, 1e9]}, cv=3).fit(X, y)
    assert search.best_params_ == {"alpha": 0.0}


def fitted(samples):
    return LeastSquares().fit(*samples[:2])


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda X, y: LeastSquares(-1).fit(X, y), "'alpha' parameter"),
        (lambda X, y: LeastSquares(smoothness_order=3).fit(X, y), "'smoothness_order' parameter"),
        (lambda X, y: LeastSquares(1, prior=[1, 2]).fit(X, y), "prior must have shape"),
        (lambda X, y: LeastSquares(constraints=[[1, 2]]).fit(X, y), "one column per feature, 4"),
        (lambda X, y: LeastSquares(values=[1]).fit(X, y), "values were given without"),
        (lambda X, y: LeastSquares().fit(X, y, np.zeros(500)), "must not be zero for all"),
        (lambda X, y: LeastSquares().fit(X, y, -np.ones(500)), "sample_weight must not be neg"),
        (lambda X, y: LeastSquares().fit(X, y, np.ones(3)), "sample_weight must have one entry"),
        (lambda X, y: LeastSquares().fit(X * 1e200, y), "sums of squares overflow"),
        (lambda X, y: LeastSquares().fit(X + 1e200, y), "sums of squares overflow"),
        (lambda X, y: LeastSquares().fit(X, y).partial_fit(X, y[:, 0]), r"shape \(n_samples, 2\)"),
        (lambda X, y: LeastSquares().fit(X, y).merge(LeastSquares().fit(X, y[:, :1])), r"got \(n_"),
        (
            lambda X, y: LeastSquares().fit(X, y).merge(LeastSquares().fit(X[:, 1:], y)),
            "3 features",
        ),
    ],
)
def test_bad_input(samples, use, message):
    with pytest.raises(ValueError, match=message):
        use(*samples[:2])


def test_merge_wants_fitted_models(samples):
    with pytest.raises(NotFittedError):
        LeastSquares().merge(fitted(samples))
    with pytest.raises(NotFittedError):
        fitted(samples).merge(LeastSquares())
    with pytest.raises(TypeError, match="other must be a LeastSquares, got Ridge"):
        fitted(samples).merge(Ridge())
    assert not hasattr(LeastSquares(), "condition_number_")


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_constraints_on_features_that_are_all_alike(rng, offset):
    for _ in range(20):
        X = np.repeat(offset + rng.normal(size=(50, 1)), 4, axis=1)
        model = LeastSquares(fit_intercept=False, constraints=np.ones((1, 4)), values=[1])
        np.testing.assert_allclose(model.fit(X, rng.normal(size=50)).coef_, 0.25, rtol=1e-13)


def test_constraints_on_constant_features():
    model = LeastSquares(fit_intercept=False, constraints=np.ones((1, 5)), values=[1])
    model.fit(np.full((50, 5), 1000.0), np.full(50, 1000.0))
    np.testing.assert_allclose(model.coef_, 0.2, rtol=1e-13)
