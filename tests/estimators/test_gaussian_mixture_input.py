"""Gaussian mixtures of hard input: a fit with finite parameters, or an error that tells why."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastmotion.em.gaussians import SingularCovarianceWarning
from fastmotion.mixture import GaussianMixture
from tests.reference import mixture as reference

COVARIANCE_TYPES = reference.COVARIANCE_TYPES
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")
INIT_PARAMS = ("kmeans", "k-means++", "random", "random_from_data")


def plain(n_samples=60, n_features=3):
    return reference.samples(n_samples, 3, n_features, seed=4)[0]


def with_value(value, n_rows=1):
    X = plain()
    X[:n_rows, 1] = value
    return X


def on_a_line(n_features=3):
    return np.outer(np.linspace(-5, 5, 60), np.arange(1.0, n_features + 1))


# Data, and the number of components. All have a mixture.
FITS = {
    "plain": (plain(), 3),
    "one component": (plain(), 1),
    "each sample alone": (plain(8), 8),
    "two samples": (plain(2), 1),
    "two samples alone": (plain(2), 2),
    "all the same": (np.full((20, 3), 7.25), 2),
    "all zero": (np.zeros((20, 3)), 3),
    "duplicates": (np.repeat(plain(5), 10, axis=0), 3),
    "fewer values than components": (np.repeat(plain(3), 10, axis=0), 6),
    "a constant feature": (np.c_[plain(), np.full(60, 3.5)], 3),
    "a large constant feature": (np.c_[plain(), np.full(60, 1e8)], 3),
    "features that are multiples": (on_a_line(), 3),
    "a repeated feature": (np.c_[plain(), plain()], 3),
    "more features than samples": (plain(10, 30), 2),
    "an outlier at 1e8": (with_value(1e8), 3),
    "outliers at 1e8": (with_value(-1e8, 4), 3),
    "one feature": (plain(60, 1), 4),
    "many features": (plain(200, 130), 2),
    "tiny values": (1e-12 * plain(), 3),
    "large values": (1e12 * plain(), 3),
    "ordered": (plain()[np.argsort(plain()[:, 0])], 3),
}


def shown(caught):
    return [f"{warning.category.__name__}: {warning.message}" for warning in caught]


def assert_sound(mixture, X):
    for name in ATTRIBUTES:
        values = getattr(mixture, name)
        assert np.isfinite(values).all(), f"{name} = {values}"
    assert mixture.weights_.sum() == pytest.approx(1, rel=1e-5)
    assert (mixture.weights_ >= 0).all()
    variances = reference.of(mixture).covariances
    assert (np.linalg.eigvalsh(variances) > 0).all()
    assert np.isfinite(mixture.lower_bounds_).all()
    shares = mixture.predict_proba(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert np.isfinite(mixture.score_samples(X)).all()
    assert np.isfinite(mixture.sample(20)[0]).all()


@pytest.mark.parametrize("init_params", INIT_PARAMS)
@pytest.mark.parametrize("case", FITS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_hard_data_have_a_mixture(covariance_type, case, init_params):
    X, n_components = FITS[case]
    before = X.copy()
    mixture = GaussianMixture(
        n_components,
        covariance_type=covariance_type,
        init_params=init_params,
        max_iter=20,
        random_state=0,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mixture.fit(X)
        assert_sound(mixture, X)
    allowed = (ConvergenceWarning, SingularCovarianceWarning)
    strange = [warning for warning in caught if not issubclass(warning.category, allowed)]
    assert not strange, shown(strange)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("case", FITS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_hard_data_in_single_precision(covariance_type, case):
    X, n_components = FITS[case]
    X = X.astype(np.float32)
    mixture = GaussianMixture(
        n_components, covariance_type=covariance_type, max_iter=20, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mixture.fit(X)
        for name in ATTRIBUTES:
            values = getattr(mixture, name)
            assert values.dtype == np.float32
            assert np.isfinite(values).all(), f"{name} = {values}"
        assert np.isfinite(mixture.score_samples(X)).all()
        assert np.isfinite(mixture.sample(20)[0]).all()
    allowed = (ConvergenceWarning, SingularCovarianceWarning)
    strange = [warning for warning in caught if not issubclass(warning.category, allowed)]
    assert not strange, shown(strange)


def assert_fit_or_error(mixture, X):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            mixture.fit(X)
        except ValueError as error:
            assert "scale" in str(error)
        else:
            assert all(np.isfinite(getattr(mixture, name)).all() for name in ATTRIBUTES)
            assert np.isfinite(mixture.score_samples(X)).all()
    allowed = (ConvergenceWarning, SingularCovarianceWarning)
    strange = [warning for warning in caught if not issubclass(warning.category, allowed)]
    assert not strange, shown(strange)


@pytest.mark.parametrize("value", [1e100, 1e155, 1e200, 1e308])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_values_whose_squares_overflow(covariance_type, value):
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0)
    assert_fit_or_error(mixture, with_value(value))


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("float32", 1e-12),
        ("float32", 1e-17),
        ("float32", 1e-20),
        ("float32", 1e-30),
        ("float64", 1e-100),
        ("float64", 1e-155),
        ("float64", 1e-200),
        ("float64", 1e-310),
    ],
)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_values_whose_squares_underflow(covariance_type, dtype, scale):
    X = (scale * plain()).astype(dtype)
    mixture = GaussianMixture(3, covariance_type=covariance_type, reg_covar=0.0, random_state=0)
    assert_fit_or_error(mixture, X)


@pytest.mark.parametrize(
    "case", [case for case, (X, _) in FITS.items() if 1 < X.shape[1] < 100 and len(X) > 8]
)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hard_data_of_which_half_is_known(dtype, covariance_type, case):
    X, n_components = FITS[case]
    gappy = X.astype(dtype)
    gappy[::2, 0] = np.nan
    mixture = GaussianMixture(
        min(n_components, len(X) // 2),
        covariance_type=covariance_type,
        init_params="random_from_data",
        max_iter=10,
        random_state=0,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mixture.fit(gappy)
        for name in ATTRIBUTES:
            assert np.isfinite(getattr(mixture, name)).all(), name
        assert np.isfinite(mixture.lower_bounds_).all()
        assert np.isfinite(mixture.score_samples(gappy)).all()
        given = mixture.condition(gappy[:, 1:], np.arange(1, X.shape[1]))
        assert np.isfinite(given.mean()).all()
        assert np.isfinite(given.sample(random_state=0)).all()
    allowed = (ConvergenceWarning, SingularCovarianceWarning)
    strange = [warning for warning in caught if not issubclass(warning.category, allowed)]
    assert not strange, shown(strange)


@pytest.mark.parametrize("case", [case for case, (X, _) in FITS.items() if X.shape[1] < 100])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.filterwarnings("ignore:the criterion is least at max_components")
@pytest.mark.filterwarnings("ignore::fastmotion.em.gaussians.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_hard_data_of_unknown_components(covariance_type, case):
    X, _ = FITS[case]
    mixture = GaussianMixture(
        "auto", max_components=4, covariance_type=covariance_type, random_state=0
    )
    mixture.fit(X)
    assert_sound(mixture, X)
    assert 1 <= mixture.n_components_ <= 4


TIED = np.repeat(plain(40, 2), 2, axis=0)[:, [0, 0, 1]] * 1e6


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
@pytest.mark.parametrize("method", ["fit", "fit_predict", "partial_fit"])
def test_one_warning_of_a_fit_that_widened_covariances(method, covariance_type):
    mixture = GaussianMixture(2, covariance_type=covariance_type, tol=0.0, max_iter=5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(mixture.set_params(random_state=0), method)(TIED)
    caught = [warning for warning in caught if warning.category is SingularCovarianceWarning]
    assert len(caught) == 1, shown(caught)
    assert caught[0].filename == __file__
    assert "reg_covar" in str(caught[0].message)


def test_a_later_part_that_widened_covariances_warns_once():
    mixture = GaussianMixture(1).fit(1e-3 * plain())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mixture.partial_fit(1e6 * TIED)
    assert len(caught) == 1, shown(caught)
    assert caught[0].category is SingularCovarianceWarning and caught[0].filename == __file__


def test_healthy_components_keep_their_units_beside_a_singular_one():
    rng = np.random.default_rng(0)
    healthy, singular = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) + 40
    singular[:, 1] = singular[:, 0]
    units = np.array([1e3, 1e3, 1e-3])
    X = np.concatenate([healthy, singular]) * units
    mixture = GaussianMixture(2, reg_covar=1e-12, random_state=0)
    with pytest.warns(SingularCovarianceWarning) as caught:
        mixture.fit(X)
    order = np.argsort(mixture.means_[:, 0])
    assert f"components [{order[1]}]" in str(caught[0].message)
    for found, part in zip(mixture.covariances_[order], (healthy, singular)):
        expected = np.cov(part.T, bias=True)
        np.testing.assert_allclose(found / np.outer(units, units), expected, atol=2e-6)


# Queries are answered wherever they are.


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize(
    ("dtype", "value"),
    [("float32", v) for v in (1e15, 1e17, 1e30, 3e38)]
    + [("float64", v) for v in (1e90, 1e101, 1e160, 1e308)],
)
def test_predictions_of_values_far_away(covariance_type, dtype, value):
    X = plain().astype(dtype)
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    narrow = GaussianMixture(3, covariance_type=covariance_type, random_state=0, reg_covar=1e-12)
    narrow.fit(1e-6 * X)
    far = X.copy()
    far[3, 1], far[4], far[5, 2] = value, -value, value
    far[5, 1] = -value
    for fitted in (mixture, narrow):
        shares = fitted.predict_proba(far)
        assert shares.dtype in (dtype, np.float64)
        assert ((shares >= 0) & (shares <= 1)).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
        assert set(fitted.predict(far).tolist()) <= {0, 1, 2}
        densities = fitted.score_samples(far)
        assert not np.isnan(densities).any() and (densities[3:6] < -1e10).all()
        assert fitted.score(far) <= -1e10
    # The others are answered as they are alone.
    near = np.r_[0:3, 6 : len(X)]
    np.testing.assert_allclose(
        mixture.predict_proba(far)[near], mixture.predict_proba(X)[near], rtol=1e-3, atol=1e-6
    )


# Without a regulariser some of these have no covariance: scikit-learn's error says so.


@pytest.mark.parametrize(
    "case", ["all the same", "each sample alone", "features that are multiples", "two samples"]
)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_singular_data_without_a_regulariser(covariance_type, case):
    X, n_components = FITS[case]
    mixture = GaussianMixture(
        n_components, covariance_type=covariance_type, reg_covar=0.0, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            mixture.fit(X)
        except ValueError as error:
            assert "ill-defined empirical covariance" in str(error)
        else:
            assert covariance_type in ("diag", "spherical") and case in (
                "two samples",
                "features that are multiples",
            )
            assert_sound(mixture, X)


# What is no data


def frame(**columns):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(columns)


ERRORS = {
    "empty": (lambda: np.empty((0, 3)), "0 sample"),
    "no features": (lambda: np.empty((5, 0)), "0 feature"),
    "one sample": (lambda: plain()[:1], "minimum of 2 is required"),
    "fewer samples than components": (lambda: plain()[:3], "n_samples >= n_components"),
    "one axis": (lambda: plain()[:, 0], "(?i)expected 2D array"),
    "three axes": (lambda: plain()[None], "dim 3"),
    "infinite": (lambda: with_value(np.inf), "(?i)inf"),
    "minus infinite": (lambda: with_value(-np.inf), "(?i)inf"),
    "text": (lambda: np.full((20, 2), "a"), "(?i)convert|numeric|string"),
    "complex": (lambda: plain() + 1j, "(?i)complex"),
    "nothing": (lambda: None, "(?i)expected 2D array|none"),
    "ragged": (lambda: [[1.0, 2.0], [3.0]], "."),
}


@pytest.mark.parametrize("method", ["fit", "fit_predict"])
@pytest.mark.parametrize("case", ERRORS)
def test_what_is_no_data_is_an_error(case, method):
    make, message = ERRORS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(GaussianMixture(4), method)(make())


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "bic"])
def test_other_features_are_an_error(method):
    mixture = GaussianMixture(2, random_state=0).fit(plain())
    with pytest.raises(ValueError, match="2 features.*expecting 3"):
        getattr(mixture, method)(plain()[:, :2])


PARAMETERS = {
    "n_components": [0, -1, 1.5, "many", None],
    "covariance_type": ["round", None],
    "tol": [-1.0, "small"],
    "reg_covar": [-1e-6],
    "max_iter": [-1, 2.5],
    "n_init": [0],
    "init_params": ["guess", None],
    "random_state": ["seed"],
    "verbose": [-1],
    "verbose_interval": [0],
    "max_components": [0, 2.5],
    "criterion": ["luck"],
    "n_jobs": [0, 1.5],
    "device": ["gpu?"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in PARAMETERS.items() for value in values]
)
def test_parameters_that_make_no_sense_are_errors(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        GaussianMixture(**{name: value}).fit(plain())


INITS = {
    "weights of other components": (
        {"weights_init": [0.5, 0.5]},
        "'weights' should have the shape",
    ),
    "weights that are negative": ({"weights_init": [1.5, -0.5, 0]}, "range"),
    "weights that are not normalised": ({"weights_init": [0.5, 0.1, 0.1]}, "normalized"),
    "weights that are NaN": ({"weights_init": [np.nan, 0.5, 0.5]}, "NaN"),
    "means of other features": ({"means_init": np.zeros((3, 2))}, "'means' should have the shape"),
    "means that are NaN": ({"means_init": np.full((3, 3), np.nan)}, "NaN"),
    "means that are infinite": ({"means_init": np.full((3, 3), np.inf)}, "(?i)inf"),
    "precisions of another type": ({"precisions_init": np.ones(3)}, "precision"),
    "precisions that are negative": (
        {"precisions_init": -np.ones((3, 3)), "covariance_type": "diag"},
        "'diag precision' should be positive",
    ),
    "precisions that are NaN": ({"precisions_init": np.full((3, 3, 3), np.nan)}, "NaN"),
}


@pytest.mark.parametrize("case", INITS)
def test_starts_that_make_no_sense_are_errors(case):
    parameters, message = INITS[case]
    with pytest.raises(ValueError, match=message):
        GaussianMixture(3, **parameters).fit(plain())


# Types and layouts


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64, bool, np.float16, np.longdouble]
)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_other_numbers_are_converted(covariance_type, dtype):
    X = np.abs(8 * plain()).astype(dtype)
    mixture = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    expected = GaussianMixture(2, covariance_type=covariance_type, random_state=0)
    expected.fit(X.astype(np.float64))
    for name in ATTRIBUTES:
        assert getattr(mixture, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(mixture, name), getattr(expected, name))
    np.testing.assert_array_equal(mixture.predict(X), expected.predict(X.astype(float)))


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def every_other(X):
    spread = np.full((2 * len(X), 2 * X.shape[1]), np.nan, X.dtype)
    spread[::2, ::2] = X
    return spread[::2, ::2]


LAYOUTS = {
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "read-only Fortran order": lambda X: read_only(np.asfortranarray(X)),
    "every other": every_other,
    "backwards": lambda X: X[::-1].copy()[::-1],
    "other bytes": lambda X: X.astype(X.dtype.newbyteorder()),
    "list": lambda X: X.tolist(),
    "frame": lambda X: frame(**{f"x{i}": column for i, column in enumerate(X.T)}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layouts_change_nothing(layout, dtype):
    X = plain().astype(dtype)
    made = LAYOUTS[layout](X)
    if layout in ("list", "other bytes"):
        # As scikit-learn has it: what is not native float32 becomes float64.
        X = X.astype(np.float64)
    before = np.array(made)
    found = GaussianMixture(3, random_state=0).fit(made)
    expected = GaussianMixture(3, random_state=0).fit(X)
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for method in ("predict", "predict_proba", "score_samples"):
        np.testing.assert_array_equal(getattr(found, method)(made), getattr(expected, method)(X))
    np.testing.assert_array_equal(np.array(made), before)


def test_starts_stay_as_they_are():
    X = plain()
    for covariance_type in COVARIANCE_TYPES:
        init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
        before = {name: np.copy(value) for name, value in init.items()}
        for value in init.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        mixture = GaussianMixture(**init).fit(X)
        mixture.means_[...] = 0
        mixture.weights_[...] = 0
        for name, value in before.items():
            np.testing.assert_array_equal(init[name], value)


def test_weights_stay_as_they_are():
    weight = np.arange(60.0)
    weight.flags.writeable = False
    GaussianMixture(3, random_state=0).fit(plain(), sample_weight=weight)
    np.testing.assert_array_equal(weight, np.arange(60.0))
