"""Gaussian mixtures as estimators among others."""

import io
import logging
import pickle
from contextlib import redirect_stdout

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from fastmotion.em.gaussians import GaussianMoments
from fastmotion.mixture import GaussianMixture
from tests.reference import mixture as reference

pytestmark = [
    pytest.mark.filterwarnings("ignore:Best performing initialization did not converge"),
    pytest.mark.filterwarnings("ignore:the criterion is least at max_components"),
]

COVARIANCE_TYPES = reference.COVARIANCE_TYPES
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.fixture
def X():
    return reference.samples(200, 3, 3)[0]


# Parameters

PARAMETERS = {
    "n_components": 3,
    "covariance_type": "diag",
    "tol": 1e-4,
    "reg_covar": 1e-5,
    "max_iter": 7,
    "n_init": 2,
    "init_params": "random",
    "weights_init": [0.2, 0.3, 0.5],
    "means_init": [[0, 0, 0], [1, 1, 1], [2, 2, 2]],
    "precisions_init": np.ones((3, 3)),
    "random_state": 5,
    "warm_start": True,
    "verbose": 0,
    "verbose_interval": 3,
    "max_components": 4,
    "criterion": "bic",
    "learning_decay": 0.7,
    "n_jobs": 1,
    "device": "cpu",
}


def test_all_parameters_are_kept_and_cloned(X):
    mixture = GaussianMixture(**PARAMETERS)
    assert mixture.get_params() == PARAMETERS
    same = clone(mixture)
    assert set(same.get_params()) == set(PARAMETERS)
    mixture.fit(X)
    for name, value in PARAMETERS.items():
        assert getattr(mixture, name) is value
    assert not hasattr(clone(mixture), "means_")


def test_parameters_and_attributes_are_those_of_scikit_learn(X):
    ours, theirs = GaussianMixture(), SklearnMixture()
    for name, value in theirs.get_params().items():
        assert ours.get_params()[name] == value
    fitted = {name for name in vars(theirs.fit(X)) if name.endswith("_")}
    assert fitted <= set(vars(ours.fit(X)))
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= set(dir(ours))


def test_fit_returns_itself_and_forgets_what_was_before(X):
    mixture = GaussianMixture(4, covariance_type="full", random_state=0).fit(X)
    mixture.partial_fit(X[:50])
    fresh = GaussianMixture(2, covariance_type="diag", random_state=0).fit(X[:, :2])
    mixture.set_params(n_components=2, covariance_type="diag")
    assert mixture.fit(X[:, :2]) is mixture
    assert set(vars(mixture)) == set(vars(fresh))
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(mixture, name), getattr(fresh, name))
    assert mixture.n_parts_ == fresh.n_parts_ == 1


def test_nothing_is_left_of_an_unknown_number(X):
    mixture = GaussianMixture("auto", max_components=3, random_state=0).fit(X)
    assert mixture.criterion_path_ and mixture.candidates_
    mixture.set_params(n_components=1).fit(X)
    assert set(vars(mixture)) == set(vars(GaussianMixture(1).fit(X)))


def test_seeds_decide(X):
    one, same, other = (
        GaussianMixture(3, init_params="random", max_iter=2, random_state=seed).fit(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.means_, same.means_)
    assert np.abs(one.means_ - other.means_).max() > 1e-3
    state = np.random.RandomState(0)
    mixture = GaussianMixture(3, init_params="random", max_iter=2, random_state=state)
    first = mixture.fit(X).means_
    assert np.abs(first - mixture.fit(X).means_).max() > 1e-3


def test_the_random_state_of_numpy_is_left_alone(X):
    np.random.seed(0)  # noqa: NPY002 (it is what must not move)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    GaussianMixture(3, random_state=0, n_init=2).fit(X).sample(10)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_pickle(X, covariance_type):
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    loaded = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(loaded.predict_proba(X), mixture.predict_proba(X))
    loaded.partial_fit(X[:20])
    np.testing.assert_array_equal(loaded.means_, mixture.partial_fit(X[:20]).means_)
    assert loaded.merge(mixture).n_parts_ == 4


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "score_samples", "score", "bic", "aic"]
)
def test_not_fitted(X, method):
    with pytest.raises(NotFittedError, match="GaussianMixture instance is not fitted yet"):
        getattr(GaussianMixture(), method)(X)


def test_nothing_is_drawn_conditioned_or_merged_before_a_fit(X):
    with pytest.raises(NotFittedError):
        GaussianMixture().sample()
    with pytest.raises(NotFittedError):
        GaussianMixture().condition(X[:, :1], [0])
    with pytest.raises(NotFittedError):
        GaussianMixture().merge(GaussianMixture().fit(X))
    with pytest.raises(NotFittedError):
        GaussianMixture().fit(X).merge(GaussianMixture())


@pytest.mark.parametrize("n_samples", [0, -3])
def test_no_samples_can_be_drawn(X, n_samples):
    with pytest.raises(ValueError, match="Invalid value for 'n_samples'"):
        GaussianMixture().fit(X).sample(n_samples)


def test_tags_are_honest():
    tags = get_tags(GaussianMixture())
    assert tags.estimator_type == "density_estimator"
    assert tags.input_tags.allow_nan and not tags.input_tags.sparse
    assert not tags.target_tags.required and tags.requires_fit is not False


# A failed call leaves all as it was


def state_of(mixture):
    return {name: pickle.dumps(value) for name, value in vars(mixture).items()}


FAILURES = {
    "infinite": lambda X: {"X": np.where(np.isclose(X, X.max()), np.inf, X)},
    "one sample": lambda X: {"X": X[:1]},
    "few samples": lambda X: {"X": X[:2]},
    "few samples of other features": lambda X: {"X": X[:2, :2]},
    "negative weights": lambda X: {"X": X, "sample_weight": -np.ones(len(X))},
    "no weights": lambda X: {"X": X, "sample_weight": np.zeros(len(X))},
    "no values": lambda X: {"X": np.full((10, 2), np.nan)},
    "singular": lambda X: {"X": np.ones((10, 2))},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_fit_changes_nothing(X, failure):
    mixture = GaussianMixture(3, reg_covar=0.0, random_state=0).fit(X)
    before = state_of(mixture)
    with pytest.raises(ValueError):
        mixture.fit(**FAILURES[failure](X))
    assert state_of(mixture) == before
    mixture.predict(X)


def test_a_failed_partial_fit_changes_nothing(X):
    mixture = GaussianMixture(3, random_state=0).fit(X)
    before = state_of(mixture)
    for failure in ("infinite", "few samples of other features", "negative weights", "no weights"):
        with pytest.raises(ValueError):
            mixture.partial_fit(**FAILURES[failure](X))
        assert state_of(mixture) == before


def test_queries_change_nothing(X):
    mixture = GaussianMixture(3, random_state=0).fit(X)
    before = state_of(mixture)
    for method in ("predict", "predict_proba", "score_samples", "score", "aic", "bic"):
        getattr(mixture, method)(X)
    mixture.sample(5)
    mixture.condition(X[:, :1], [0])
    assert state_of(mixture) == before


# Starting where the last fit ended


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_warm_starts_go_on(X, covariance_type):
    init = reference.as_init(reference.start(X, 3, covariance_type), covariance_type)
    whole = GaussianMixture(max_iter=6, tol=0.0, **init).fit(X)
    parts = GaussianMixture(max_iter=2, tol=0.0, warm_start=True, **init)
    bounds = [bound for _ in range(3) for bound in parts.fit(X).lower_bounds_]
    np.testing.assert_allclose(bounds, whole.lower_bounds_, rtol=1e-12)
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-9)


def test_warm_starts_draw_once(X):
    settings = {"n_init": 5, "random_state": 0, "tol": 1e-6, "max_iter": 1000}
    mixture = GaussianMixture(3, warm_start=True, **settings).fit(X)
    n_iter = mixture.n_iter_
    mixture.fit(X)
    assert mixture.n_iter_ == 1 < n_iter
    assert mixture.converged_


@pytest.mark.parametrize("change", [{"n_components": 2}, {"covariance_type": "diag"}])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_nothing_goes_on_in_another_shape(X, method, change):
    mixture = GaussianMixture(3, warm_start=True, random_state=0).fit(X).set_params(**change)
    before = state_of(mixture)
    with pytest.raises(ValueError, match="goes on from means of shape"):
        getattr(mixture, method)(X)
    assert state_of(mixture) == before


def test_warm_starts_of_other_features_are_errors(X):
    mixture = GaussianMixture(3, warm_start=True, random_state=0).fit(X)
    with pytest.raises(ValueError, match="of shape"):
        mixture.fit(X[:, :2])


# Names and pipelines


def test_feature_names(X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    mixture = GaussianMixture(2, random_state=0).fit(frame)
    assert mixture.feature_names_in_.tolist() == ["a", "b", "c"]
    assert mixture.n_features_in_ == 3
    with pytest.warns(UserWarning, match="valid feature names"):
        mixture.predict(X)
    with pytest.raises(ValueError, match="feature names"):
        mixture.predict(frame[["c", "b", "a"]])
    by_name = mixture.condition(frame[["a", "c"]].to_numpy(), ["a", "c"])
    by_index = mixture.condition(X[:, [0, 2]], [0, 2])
    np.testing.assert_array_equal(by_name.mean(), by_index.mean())
    with pytest.raises(ValueError, match="z"):
        mixture.condition(X[:, :1], ["z"])


def test_columns_of_a_table_are_known_by_name(X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    mixture = GaussianMixture(2, random_state=0).fit(frame)
    expected = mixture.condition(X[:, [0, 2]], [0, 2]).mean()
    for order in (["a", "c"], ["c", "a"]):
        for columns in (["a", "c"], ["c", "a"], [0, 2], [2, 0], np.array([True, False, True])):
            found = mixture.condition(frame[order], columns).mean()
            np.testing.assert_array_equal(found, expected)
    for wrong in (["a", "b"], ["a", "b", "c"], ["a"]):
        with pytest.raises(ValueError, match="columns"):
            mixture.condition(frame[wrong], ["a", "c"])


def test_within_pipelines_and_searches(X):
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(random_state=0))
    search = GridSearchCV(pipeline, {"gaussianmixture__n_components": [1, 3]}, cv=3)
    assert search.fit(X).best_params_ == {"gaussianmixture__n_components": 3}
    assert len(set(search.predict(X))) == 3


def test_weights_are_routed(X, rng):
    weight = rng.uniform(0, 2, len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        mixture = GaussianMixture(3, random_state=0)
        expected = clone(mixture).fit(X, sample_weight=weight)
        pipeline = make_pipeline(
            StandardScaler(with_mean=False, with_std=False).set_fit_request(sample_weight=False),
            mixture.set_fit_request(sample_weight=True),
        )
        pipeline.fit(X, sample_weight=weight)
        np.testing.assert_array_equal(pipeline[-1].means_, expected.means_)
        asked = mixture.set_partial_fit_request(sample_weight=True).get_metadata_routing()
        assert asked.partial_fit.requests == {"sample_weight": True}
        search = GridSearchCV(
            mixture.set_score_request(sample_weight=True), {"n_components": [1, 3]}, cv=2
        ).fit(X, sample_weight=weight)
        half = clone(mixture).fit(X[:100], sample_weight=weight[:100])
        expected = half.score(X[100:], sample_weight=weight[100:])
        assert search.cv_results_["split1_test_score"][1] == pytest.approx(expected, rel=1e-9)
        with pytest.raises(ValueError, match="sample_weight"):
            make_pipeline(StandardScaler(), GaussianMixture()).fit(X, sample_weight=weight)


# Where it runs


def test_devices(X):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    assert str(mixture.device_) == "cpu"
    for device in ("cpu", "auto"):
        other = GaussianMixture(2, random_state=0, device=device).fit(X)
        np.testing.assert_array_equal(other.means_, mixture.means_)


def test_a_device_that_cannot_serve_is_an_error(X):
    with pytest.raises(RuntimeError, match="(?i)cuda"):
        GaussianMixture(2, device="cuda").fit(X)


# Conditioning


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_condition_is_the_ratio_of_densities(X, covariance_type, dtype):
    X = X.astype(dtype)
    mixture = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    known = [0, 2]
    given = mixture.condition(X[:, known], known)
    part = X.copy()
    part[:, 1] = np.nan
    expected = np.float64(mixture.score_samples(X)) - mixture.score_samples(part)
    rtol = 1e-8 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(given.score_samples(X[:, [1]]), expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(given.weights, mixture.predict_proba(part), rtol=rtol, atol=rtol)
    assert given.mean().shape == (len(X), 1)
    assert given.mean().dtype == dtype
    mask = mixture.condition(X[:, known], np.array([True, False, True]))
    np.testing.assert_array_equal(mask.mean(), given.mean())


@pytest.mark.parametrize("columns", [[3], [-4], [0, 0], [], [0, 1, 2], [0.5], [True, False]])
def test_columns_that_make_no_sense_are_errors(X, columns):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    with pytest.raises((ValueError, TypeError, IndexError), match="columns"):
        mixture.condition(X[:, : len(columns)], columns)


# Progress


def printed_by(mixture, X):
    out = io.StringIO()
    with redirect_stdout(out):
        mixture.fit(X)
    return out.getvalue()


@pytest.fixture
def hide_handlers(monkeypatch):
    """Return a function that keeps messages from the handlers of the root logger."""
    return lambda: monkeypatch.setattr(logging.getLogger("fastmotion"), "propagate", False)


@pytest.mark.parametrize("interval", [1, 4])
def test_messages_are_those_of_scikit_learn(X, interval, hide_handlers):
    hide_handlers()
    init = reference.as_init(reference.start(X, 3, "full"), "full")
    settings = {"verbose": 1, "verbose_interval": interval, "n_init": 2, "tol": 1e-5, **init}
    expected = printed_by(SklearnMixture(**settings), X)
    assert expected.count("Iteration") > 1
    assert printed_by(GaussianMixture(**settings), X) == expected


def test_silence_is_the_rule(X, hide_handlers):
    hide_handlers()
    assert printed_by(GaussianMixture(2, random_state=0), X) == ""


class Recorder:
    """A callback that keeps what it is told."""

    def __init__(self, stop_after=np.inf):
        self.tasks = []
        self.means = []
        self.stop_after = stop_after

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.tasks.append(f"{context.task_name} {context.task_id}")
        assert X is not None

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.means.append((context.task_name, fitted_estimator.means_))
        self.tasks.append("end")
        fitted_estimator.predict(fitted_estimator.means_)
        return context.task_name == "iteration" and context.task_id + 1 >= self.stop_after


def test_callbacks_are_told(X):
    pytest.importorskip("sklearn.callback")
    mixture = GaussianMixture(3, n_init=2, max_iter=2, tol=0.0, random_state=0)
    recorder = Recorder()
    assert mixture.set_callbacks(recorder).fit(X) is mixture
    iterations = ["iteration 0", "end", "iteration 1", "end", "end"]
    assert recorder.tasks == [
        "setup", "fit 0", "start 0", *iterations, "start 1", *iterations, "end", "teardown",
    ]  # fmt: skip
    name, means = recorder.means[-1]
    assert name == "fit"
    np.testing.assert_array_equal(means, mixture.means_)
    plain = GaussianMixture(3, n_init=2, max_iter=2, tol=0.0, random_state=0).fit(X)
    np.testing.assert_array_equal(plain.means_, mixture.means_)


def test_the_last_estimator_told_is_the_best(X):
    pytest.importorskip("sklearn.callback")
    differences = []
    for seed in range(5):
        recorder = Recorder()
        mixture = GaussianMixture(
            3, n_init=3, max_iter=3, tol=0.0, init_params="random_from_data", random_state=seed
        )
        mixture.set_callbacks(recorder).fit(X)
        differences.append(np.abs(recorder.means[-1][1] - mixture.means_).max())
    assert max(differences) == 0


def test_callbacks_may_stop_a_fit(X):
    pytest.importorskip("sklearn.callback")
    mixture = GaussianMixture(3, tol=0.0, random_state=0).set_callbacks(Recorder(stop_after=3))
    assert mixture.fit(X).n_iter_ == 3
    assert not mixture.converged_


def test_callbacks_hear_the_end_of_a_failed_fit(X):
    pytest.importorskip("sklearn.callback")
    recorder = Recorder()
    mixture = GaussianMixture(3, reg_covar=0.0, random_state=0).set_callbacks(recorder)
    with pytest.raises(ValueError, match="ill-defined"):
        mixture.fit(np.ones((10, 2)))
    assert recorder.tasks[0] == "setup" and recorder.tasks[-1] == "teardown"


# An unknown number of components


def test_auto_finds_clear_components():
    X, labels = reference.samples(600, 4, 2, seed=5, distance=20.0)
    mixture = GaussianMixture("auto", max_components=8, random_state=0).fit(X)
    assert mixture.n_components == "auto"
    assert mixture.n_components_ == 4 == len(mixture.means_)
    assert len(set(zip(labels.tolist(), mixture.predict(X).tolist()))) == 4
    path = mixture.criterion_path_
    assert min(path, key=path.get) == 4
    assert set(mixture.candidates_) == set(path)
    assert max(path) <= 8
    assert path[4] == pytest.approx(mixture.bic(X), rel=1e-3)
    same = GaussianMixture("auto", max_components=8, random_state=0, n_jobs=1).fit(X)
    np.testing.assert_array_equal(same.means_, mixture.means_)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("digits", [0, 1])
def test_what_is_selected_is_kept(covariance_type, weighted, digits):
    # Values that tie: nothing but what rounding explains keeps variances from 0.
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(15, 0.25, (150, 2)), rng.normal(0, 3, (250, 2))]).round(digits)
    X[:60] = 15
    weight = rng.integers(1, 4, 400).astype(float) if weighted else None
    mixture = GaussianMixture(
        "auto", max_components=6, covariance_type=covariance_type, random_state=0
    ).fit(X, sample_weight=weight)
    path = mixture.criterion_path_
    bic = mixture.bic(X, sample_weight=weight)
    assert bic == pytest.approx(path[mixture.n_components_], rel=1e-6)
    assert min(path, key=path.get) == mixture.n_components_
    best = mixture.candidates_[mixture.n_components_].gaussians
    np.testing.assert_array_equal(mixture.covariances_, best.covariances)
    np.testing.assert_array_equal(mixture.means_, best.means)
    score = mixture.score(X, sample_weight=weight)
    assert mixture.lower_bound_ == pytest.approx(score, rel=1e-9)


@pytest.mark.parametrize("name", ["weights_init", "means_init", "precisions_init"])
def test_an_unknown_number_has_no_given_start(X, name):
    with pytest.raises(ValueError, match=name):
        GaussianMixture("auto", **{name: PARAMETERS[name]}).fit(X)


def test_an_unknown_number_needs_complete_samples(X):
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        GaussianMixture("auto").fit(X)


def test_moments_are_kept(X):
    mixture = GaussianMixture(3, random_state=0).fit(X)
    assert isinstance(mixture.moments_, GaussianMoments)
    assert mixture.moments_.counts.sum() == pytest.approx(len(X))
    assert mixture.set_params(max_iter=0).fit(X).moments_ is None
