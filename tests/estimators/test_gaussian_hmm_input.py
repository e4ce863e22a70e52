"""What hidden Markov models make of hard and of wrong input."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastmotion.em.gaussians import COVARIANCE_TYPES, SingularCovarianceWarning
from fastmotion.hmm import GaussianHMM

FITTED = ("startprob_", "transmat_", "means_", "covars_")


@pytest.fixture
def X(rng):
    return rng.normal(size=(60, 2)) + np.repeat(rng.normal(size=(12, 2)) * 4, 5, axis=0)


def assert_sound(model, X):
    """Parameters are numbers, and what is computed with them is too."""
    for name in FITTED:
        assert np.isfinite(getattr(model, name)).all(), name
    np.testing.assert_allclose(model.startprob_.sum(), 1)
    np.testing.assert_allclose(model.transmat_.sum(axis=1), 1)
    deviations = np.sqrt(np.diagonal(model.covars_, axis1=1, axis2=2))
    correlations = model.covars_ / deviations[:, :, np.newaxis] / deviations[:, np.newaxis]
    assert (np.linalg.eigvalsh(correlations) > 0).all()
    assert np.isfinite(model.score(X))
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    assert set(model.predict(X)) <= set(range(model.n_components))


HARD = ["duplicates", "constant column", "outliers", "far outliers", "multiples", "one value"]


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("case", HARD)
def test_degenerate_data(X, kind, case):
    if case == "duplicates":
        X = np.repeat(X[:4], 15, axis=0)
    elif case == "constant column":
        X[:, 1] = 7.5
    elif case == "outliers":
        X[[3, 40]] = 1e8
    elif case == "far outliers":
        X[[3, 40]] = 1e12
    elif case == "multiples":
        X = np.c_[1e8 * X[:, 0], 3e8 * X[:, 0]]
    else:
        X[:] = 3.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SingularCovarianceWarning)
        model = GaussianHMM(3, kind, random_state=0).fit(X)
    assert_sound(model, X)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.filterwarnings("ignore::fastmotion.em.gaussians.SingularCovarianceWarning")
def test_few_frames(X, kind, caplog):
    model = GaussianHMM(1, kind, random_state=0).fit(X[:1])
    assert_sound(model, X[:1])
    np.testing.assert_allclose(model.means_, X[:1])
    assert "degenerate solution" in caplog.text
    model = GaussianHMM(4, kind, random_state=0).fit(X[:4])
    assert_sound(model, X[:4])
    model = GaussianHMM(2, kind, random_state=0).fit(X[:5], lengths=[1] * 5)
    assert_sound(model, X)


def test_one_state_is_one_gaussian(X):
    model = GaussianHMM(1, "full", covars_prior=0).fit(X)
    np.testing.assert_allclose(model.means_[0], X.mean(axis=0))
    np.testing.assert_allclose(model.covars_[0], np.cov(X.T, bias=True), rtol=1e-10)
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((60, 1)))


def test_more_states_than_frames_is_an_error(X):
    with pytest.raises(ValueError, match="n_components must not exceed .* 3, got n_components=4"):
        GaussianHMM(4).fit(X[:3])
    with pytest.raises(ValueError, match="positive weight.* 3, got"):
        GaussianHMM(4).fit(X[:5], sample_weight=[1, 0, 1, 0, 1])


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_covariance_that_collapses_is_widened_and_told(X, kind):
    X[:, 1] = 7.5
    model = GaussianHMM(2, kind, covars_prior=0, random_state=0, n_iter=3)
    if kind == "spherical":  # one variance, which the other feature keeps up
        assert_sound(model.fit(X), X)
        return
    which = "the tied covariance" if kind == "tied" else r"states 0, 1"
    with pytest.warns(SingularCovarianceWarning, match=which):
        model.fit(X)
    assert_sound(model, X)
    with pytest.raises(ValueError, match="singular|ill-defined|positive"):
        model.set_params(min_covar=0).fit(X)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_state_without_frames_keeps_its_parameters(X, kind):
    model = GaussianHMM(3, kind, init_params="")
    model.startprob_, model.transmat_ = [1, 0, 0], [[0.5, 0.5, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]
    model.means_ = [[0, 0], [3, 3], [-50, 20]]
    unit = {"spherical": np.ones(3), "diag": np.ones((3, 2)), "tied": np.eye(2)}
    model.covars_ = unit.get(kind, np.tile(np.eye(2), (3, 1, 1)))
    with pytest.warns(ConvergenceWarning, match=r"no frame belongs to states \[2\]"):
        model.fit(X)
    assert_sound(model, X)
    np.testing.assert_array_equal(model.means_[2], [-50, 20])
    np.testing.assert_array_equal(model.transmat_[2], [0.2, 0.3, 0.5])
    if kind == "full":
        np.testing.assert_array_equal(model.covars_[2], np.eye(2))


def test_left_right_models_stay_so(X):
    model = GaussianHMM(3, params="stmc", init_params="mc", random_state=0)
    transmat = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]])
    model.startprob_, model.transmat_ = np.array([1.0, 0, 0]), transmat.copy()
    model.fit(X, lengths=[30, 29, 1])
    assert not model.startprob_[1:].any() and not model.transmat_[transmat == 0].any()
    assert (np.diff(model.predict(X[:30])) >= 0).all()
    assert_sound(model, X[:30])


def test_an_outlier_where_a_transition_is_forbidden():
    """What fails in hmmlearn with implementation="scaling"."""
    X = np.random.RandomState(0).normal(size=(100, 1))
    X[0] = 10_000
    model = GaussianHMM(2, init_params="", implementation="scaling")
    model.startprob_, model.transmat_ = [0, 1], [[0.4, 0.6], [0.6, 0.4]]
    model.means_, model.covars_ = [[5], [0]], [[1], [1]]
    assert model.score(X) == pytest.approx(-5e7, rel=1e-2)
    assert model.predict(X)[0] == 1
    assert_sound(model.fit(X), X)


def test_values_beyond_all_densities(X):
    model = GaussianHMM(2, random_state=0).fit(X)
    far = X.copy()
    far[7] = 1e200
    assert model.score(far) == -np.inf
    with pytest.warns(RuntimeWarning, match="sequence 0 of X .* impossible"):
        posteriors = model.predict_proba(far)
    assert np.isnan(posteriors).all()
    with pytest.warns(RuntimeWarning, match="impossible"):
        model.decode(far, algorithm="map")


@pytest.mark.parametrize(("dtype", "value"), [("float64", 1e101), ("float32", -1e17)])
def test_values_whose_squares_overflow(X, dtype, value):
    X = X.astype(dtype)
    X[7] = value
    with pytest.raises(ValueError, match=f"whose squares overflow {dtype}; scale it"):
        GaussianHMM(2).fit(X)


def forbid_the_second_sequence(X):
    """Return a model of two states that never change, and sequences of which one has both."""
    model = GaussianHMM(2, init_params="", n_iter=3)
    model.startprob_, model.transmat_ = [1, 0], np.eye(2)
    model.means_, model.covars_ = [[0, 0], [1e3, 1e3]], np.full((2, 2), 1e-290)
    return model, np.r_[np.zeros((20, 2)), 1e40 + X[:20]]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_impossible_sequence(X):
    model, frames = forbid_the_second_sequence(X)
    with pytest.raises(ValueError, match="sequences 1 of X are impossible"):
        model.fit(frames, lengths=[20, 20])
    # What weighs nothing may be impossible.
    model, frames = forbid_the_second_sequence(X)
    model.fit(frames, lengths=[20, 20], sample_weight=[1, 0])
    np.testing.assert_allclose(model.means_[0], 0, atol=1e-12)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("value", [0.0, 1e200, np.nan])
def test_what_weighs_nothing_may_hold_anything(X, kind, value):
    weight = np.r_[np.zeros(2), np.ones(58)]
    model = GaussianHMM(2, kind, random_state=0)
    expected = model.fit(X, sample_weight=weight).means_
    X[:2] = value
    np.testing.assert_allclose(model.fit(X, sample_weight=weight).means_, expected, rtol=1e-8)
    weight = [0.0, 1.0]
    expected = model.fit(X[20:]).means_
    X[:20] = value
    fitted = model.fit(X, lengths=[20, 40], sample_weight=weight)
    np.testing.assert_allclose(fitted.means_, expected, rtol=1e-8)


def test_a_fit_that_fails_changes_nothing(X):
    model = GaussianHMM(2, random_state=0)
    with pytest.raises(ValueError, match="scale it"):
        model.fit(1e101 * X)
    assert {name for name in vars(model) if name.endswith("_")} == set()
    before = dict(vars(model.fit(X)))
    frames = np.c_[X, X][:, :3]
    frames[3] = 1e150
    with pytest.raises(ValueError, match="scale it"):
        model.fit(frames)
    assert vars(model) == before


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_an_outlier_takes_no_digits_from_the_others(X, kind):
    X[20] = 1e12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularCovarianceWarning)
        model = GaussianHMM(2, kind, covars_prior=0, random_state=0).fit(X)
    ordinary = np.delete(X, 20, axis=0)
    nearest = model.means_[np.abs(model.means_).sum(axis=1).argmin()]
    np.testing.assert_allclose(nearest, ordinary.mean(axis=0), rtol=1e-9)


def test_a_fit_warns_once_and_names_its_caller(X):
    pytest.importorskip("sklearn", minversion="1.9")  # older ones wrap `fit` less
    X[:, 1] = 7.5
    with pytest.warns(SingularCovarianceWarning) as caught:
        GaussianHMM(2, "full", covars_prior=0, random_state=0).fit(X)
    assert [w.filename for w in caught if w.category is SingularCovarianceWarning] == [__file__]


def test_warnings_name_the_caller(X):
    model = GaussianHMM(2, random_state=0).fit(X)
    X[7] = 1e200
    for method in (model.predict_proba, model.score_samples):
        with pytest.warns(RuntimeWarning, match="impossible") as caught:
            method(X)
        assert caught[0].filename == __file__
    model.algorithm = "map"
    for method in (model.predict, model.decode):
        with pytest.warns(RuntimeWarning, match="impossible") as caught:
            method(X)
        assert caught[0].filename == __file__


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, bool, np.float16, np.float32, "O"])
def test_types_of_numbers(X, dtype):
    model = GaussianHMM(2, random_state=0)
    values = np.abs(np.round(X * 3)).astype(dtype)
    wide = values.astype(np.float64)
    model.fit(values)
    assert_sound(model, values)
    expected = GaussianHMM(2, random_state=0).fit(wide)
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(values), expected.predict(wide))


def test_layouts_and_read_only_memory(X):
    expected = GaussianHMM(2, random_state=0).fit(X)
    wide = np.zeros((120, 4))
    wide[::2, ::2] = X
    for same in (np.asfortranarray(X), wide[::2, ::2], X[::-1][::-1]):
        np.testing.assert_array_equal(
            GaussianHMM(2, random_state=0).fit(same).means_, expected.means_
        )
    before, lengths, weight = X.copy(), np.array([20, 40]), np.array([0.5, 2.0])
    for array in (X, lengths, weight):
        array.flags.writeable = False
    model = GaussianHMM(2, random_state=0).fit(X, lengths=lengths, sample_weight=weight)
    model.decode(X, lengths=lengths)
    model.predict_proba(X, lengths=lengths)
    np.testing.assert_array_equal(X, before)


def test_parameters_set_by_hand_are_not_changed(X):
    given = [
        np.array([0.5, 0.5]),
        np.full((2, 2), 0.5),
        np.array([[0.0, 0], [1, 1]]),
        np.ones((2, 2)),
    ]
    kept = [array.copy() for array in given]
    model = GaussianHMM(2, init_params="")
    for name, array in zip(FITTED, given):
        setattr(model, name, array)
    model.fit(X).predict(X)
    for array, copy in zip(given, kept):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_nothing_observed(X, kind):
    X[:] = np.nan
    with pytest.raises(ValueError, match="observed"):
        GaussianHMM(2, kind).fit(X)
    model = GaussianHMM(2, kind, init_params="", n_iter=2)
    model.startprob_, model.transmat_ = [0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]]
    unit = {"spherical": np.ones(2), "diag": np.ones((2, 2)), "tied": np.eye(2)}
    model.means_, model.covars_ = [[0, 0], [1, 1]], unit.get(kind, [np.eye(2)] * 2)
    assert model.score(X) == pytest.approx(0, abs=1e-12)
    with pytest.warns(ConvergenceWarning, match=r"states \[0, 1\]"):
        model.fit(X)
    np.testing.assert_array_equal(model.means_, [[0, 0], [1, 1]])


def test_a_feature_that_is_never_observed(X):
    X[:, 1] = np.nan
    for kind in COVARIANCE_TYPES:
        assert_sound(GaussianHMM(2, kind, random_state=0).fit(X), X)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([30, 20], "add up to the number of frames in X, 60, got 50"),
        ([60, 0], "at least 1, got 0 for sequence 1"),
        ([70, -10], "at least 1, got -10"),
        ([], "numbers of frames"),
        ([30.0, 30.0], "all integers"),
        ([[30, 30]], "list of the sequences"),
        (60, "list of the sequences"),
    ],
)
def test_wrong_lengths(X, lengths, message):
    with pytest.raises(ValueError, match=message):
        GaussianHMM().fit(X, lengths=lengths)


def test_lengths_by_position_are_an_error(X):
    with pytest.raises(ValueError, match="has 2 entries for the 60 frames of X.*lengths=..."):
        GaussianHMM().fit(X, [30, 30])
    model = GaussianHMM().fit(X, np.zeros(60))
    with pytest.raises(ValueError, match="pass it by keyword: lengths"):
        model.score(X, [30, 30])
    with pytest.raises(TypeError, match="positional"):
        model.predict(X, [30, 30])


def test_lengths_beside_a_list_are_an_error(X):
    with pytest.raises(ValueError, match="lengths must be None where X is a list"):
        GaussianHMM().fit([X, X], lengths=[60, 60])


@pytest.mark.parametrize(
    ("sequences", "error", "message"),
    [
        ([np.zeros((3, 2)), np.zeros((3, 1))], ValueError, r"number of features, got \[1, 2\]"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], ValueError, "at least 1, got 0 for sequence 1"),
        ([np.zeros((3, 2)), [["a", "b"]]], TypeError, r"X\[1\] must hold real numbers"),
        ([np.zeros((3, 2)), np.zeros(2)], ValueError, "inhomogeneous|sequence"),
        (np.zeros((0, 4, 2)), ValueError, "minimum of 1"),
        (np.full((3, 2), np.inf), ValueError, "infinity"),
        (np.zeros(5), ValueError, "Reshape your data"),
        (np.zeros((2, 2, 2, 2)), ValueError, "dim"),
    ],
)  # fmt: skip
def test_wrong_sequences(sequences, error, message):
    with pytest.raises(error, match=message):
        GaussianHMM().fit(sequences)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), r"per sequence, shape \(2,\), or per frame, shape \(60,\), got shape \(3,\)"),
        ([1.0, -1.0], "not negative .* from -1.0 to 1.0"),
        ([np.nan, 1.0], "finite"),
        ([0.0, 0.0], "not all zero"),
        (np.ones((60, 1)), r"got shape \(60, 1\)"),
    ],
)
def test_wrong_weights(X, weight, message):
    with pytest.raises(ValueError, match=message):
        GaussianHMM().fit(X, lengths=[30, 30], sample_weight=weight)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("startprob_", [0.5, 0.4], "startprob_ must sum to 1"),
        ("startprob_", [1.0], r"startprob_ must have shape \(2,\)"),
        ("startprob_", [1.5, -0.5], "must not be negative"),
        ("transmat_", [[0.5, 0.5], [1, 1]], "transmat_ rows must sum to 1"),
        ("transmat_", [0.5, 0.5], r"transmat_ must have shape \(2, 2\)"),
        ("means_", np.zeros((3, 2)), r"means_ must have shape .* \(2, 2\), got \(3, 2\)"),
        ("means_", np.zeros((2, 3)), r"\(2, 2\), got \(2, 3\)"),
        ("means_", [[0, 0], [np.nan, 0]], "means_ must be finite, got nan"),
    ],
)
def test_wrong_attributes(X, name, value, message):
    model = GaussianHMM(2, random_state=0).fit(X)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        model.score(X)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("diag", np.ones(2), r"must have shape \(n_components, n_features\) .* got \(2,\)"),
        ("diag", -np.ones((2, 2)), "must be positive"),
        ("diag", np.ones((2, 2, 2)), "must have shape"),
        ("spherical", np.ones(3), "must have shape"),
        ("spherical", np.zeros(2), "must be positive"),
        ("tied", np.ones((2, 3)), "must have shape"),
        ("tied", [[1, 2], [2, 1]], "positive definite"),
        ("full", [np.eye(2), [[1, 0.5], [0, 1]]], "symmetric"),
        ("full", np.ones((2, 2)), "must have shape"),
        ("none", np.ones((2, 2)), "covariance_type must be one of"),
        ("full", [], "must have shape"),
    ],
)
def test_wrong_covariances(kind, value, message):
    with pytest.raises(ValueError, match=message):
        GaussianHMM(2, kind).covars_ = value


def test_covariances_of_other_features(X):
    model = GaussianHMM(2, random_state=0).fit(X)
    model.covars_ = np.ones((2, 3))
    with pytest.raises(ValueError, match="covars_ must be of 2 features, got 3"):
        model.predict(X)


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_components": 0},
        {"n_components": 2.0},
        {"covariance_type": "round"},
        {"min_covar": -1},
        {"algorithm": "greedy"},
        {"n_iter": -1},
        {"params": "stmw"},
        {"init_params": "x"},
        {"implementation": "fast"},
        {"startprob_prior": [1.0, 1.0, 1.0]},
        {"means_prior": np.zeros((3, 2))},
        {"covars_prior": np.zeros((5, 5))},
        {"startprob_prior": [-5.0, 1.0]},
        {"transmat_prior": np.inf},
        {"means_prior": np.nan},
        {"means_weight": [-1.0, 1.0]},
        {"covars_prior": [[1.0, np.nan], [1.0, 1.0]]},
        {"covars_weight": [np.nan, 1.0]},
        {"device": "gpu"},
        {"n_jobs": 0},
    ],
)
def test_wrong_parameters(X, parameters):
    (name,) = parameters
    # Enough sequences for several tasks: threads are counted where some are needed.
    model = GaussianHMM(**{"n_components": 2, **parameters})
    with pytest.raises(ValueError, match=name):
        model.fit(np.tile(X, (400, 1)), lengths=[60] * 400)


def test_priors_of_matrices(X):
    with pytest.raises(ValueError, match="covars_weight must be one number .* 'tied'"):
        GaussianHMM(2, "tied", covars_weight=[1, 100]).fit(X)
    with pytest.raises(ValueError, match="diagonals of covars_prior must be .* not negative"):
        GaussianHMM(2, "tied", covars_prior=-np.eye(2)).fit(X)
    # Off the diagonal a number may be negative.
    GaussianHMM(2, "tied", covars_prior=[[2, -1], [-1, 2]], random_state=0).fit(X)


def test_features_must_be_those_of_the_fit(X):
    model = GaussianHMM(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="X has 1 features, but GaussianHMM is expecting 2"):
        model.predict(X[:, :1])
    with pytest.raises(ValueError, match="algorithm must be one of"):
        model.decode(X, algorithm="greedy")
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        model.sample(0)
    with pytest.raises(ValueError, match="currstate must be a state, from 0 to 1, got 2"):
        model.sample(3, currstate=2)


def test_a_cuda_device_is_an_error(X):
    with pytest.raises(RuntimeError, match="cuda|CPU"):
        GaussianHMM(device="cuda").fit(X)
