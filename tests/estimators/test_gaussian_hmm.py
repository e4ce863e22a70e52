"""Gaussian hidden Markov models: results, beside hmmlearn's and beside slow references."""

import logging
import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from fastmotion.datasets import make_hmm
from fastmotion.em.gaussians import COVARIANCE_TYPES
from fastmotion.hmm import ConvergenceMonitor, GaussianHMM
from fastmotion.hmm.sequences import FrameSequences
from tests.reference import hmm as reference

LENGTHS = (60, 1, 25, 2, 90, 40)


@pytest.fixture
def data():
    """Sequences of values with few digits, so that an offset changes none of them."""
    made = make_hmm(len(LENGTHS), LENGTHS, n_states=3, n_features=2, separation=1.5, random_state=4)
    made.X = np.round(made.X * 2**20) / 2**20
    return made


def in_shape(covariances, kind):
    """Return full covariances as the ones of a type closest to them."""
    if kind == "full":
        return covariances
    if kind == "tied":
        return covariances.mean(axis=0)
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    return variances.mean(axis=1) if kind == "spherical" else variances.copy()


def set_start(model, data, offset=0.0):
    """Set parameters near the true ones, and far enough for a few iterations."""
    n_states = len(data.startprob)
    model.startprob_ = np.full(n_states, 1 / n_states)
    model.transmat_ = 0.5 * data.transmat + 0.5 / n_states
    model.means_ = data.means + 0.3 + offset
    model.covars_ = in_shape(2 * data.covariances, model.covariance_type)
    return model


def started(data, kind="diag", cls=GaussianHMM, offset=0.0, **kwargs):
    model = cls(len(data.startprob), kind, init_params="", **kwargs)
    return set_start(model, data, offset)


def split(data):
    return np.split(data.X, np.cumsum(data.lengths)[:-1])


@pytest.fixture
def hmmlearn():
    return pytest.importorskip("hmmlearn.hmm")


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("implementation", ["log", "scaling"])
def test_from_the_same_start_as_hmmlearn(hmmlearn, data, kind, implementation):
    settings = {"n_iter": 6, "tol": -np.inf, "implementation": implementation}
    ours = started(data, kind, **settings).fit(data.X, lengths=data.lengths)
    theirs = started(data, kind, hmmlearn.GaussianHMM, **settings).fit(data.X, data.lengths)
    np.testing.assert_allclose(ours.monitor_.history, theirs.monitor_.history, rtol=1e-12)
    for name in ("startprob_", "transmat_", "means_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-8, atol=1e-9)
    stored = theirs._covars_[:, 0] if kind == "spherical" else theirs._covars_
    np.testing.assert_allclose(ours._covars_, stored, rtol=1e-9)
    score, posteriors = theirs.score_samples(data.X, data.lengths)
    assert ours.score(data.X, lengths=data.lengths) == pytest.approx(score, rel=1e-12)
    np.testing.assert_allclose(
        ours.predict_proba(data.X, lengths=data.lengths), posteriors, atol=1e-9
    )
    for algorithm in ("viterbi", "map"):
        value, states = theirs.decode(data.X, data.lengths, algorithm)
        own_value, own_states = ours.decode(data.X, lengths=data.lengths, algorithm=algorithm)
        assert own_value == pytest.approx(value, rel=1e-9)
        np.testing.assert_array_equal(own_states, states)
    theirs._covars_ = ours._covars_  # theirs becomes one that its own methods refuse
    assert ours.aic(data.X, lengths=data.lengths) == pytest.approx(
        theirs.aic(data.X, data.lengths), rel=1e-9
    )
    assert ours.bic(data.X, lengths=data.lengths) == pytest.approx(
        theirs.bic(data.X, data.lengths), rel=1e-9
    )
    np.testing.assert_allclose(
        ours.get_stationary_distribution(), theirs.get_stationary_distribution(), rtol=1e-9
    )


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_far_from_the_origin_as_hmmlearn_at_it(hmmlearn, data, kind):
    """At 1e5 standard deviations hmmlearn's own sums lose ten digits."""
    offset = 2.0**17
    settings = {"n_iter": 6, "tol": -np.inf}
    ours = started(data, kind, offset=offset, **settings).fit(data.X + offset, lengths=data.lengths)
    theirs = started(data, kind, hmmlearn.GaussianHMM, **settings).fit(data.X, data.lengths)
    np.testing.assert_allclose(ours.monitor_.history, theirs.monitor_.history, rtol=1e-9)
    np.testing.assert_allclose(ours.means_ - offset, theirs.means_, atol=1e-8)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_far_from_the_origin_as_hmmlearn_there(hmmlearn, data, kind):
    offset = 1e4
    settings = {"n_iter": 2, "tol": -np.inf}
    ours = started(data, kind, offset=offset, **settings).fit(data.X + offset, lengths=data.lengths)
    theirs = started(data, kind, hmmlearn.GaussianHMM, offset=offset, **settings)
    theirs.fit(data.X + offset, data.lengths)
    # From the second iteration on hmmlearn's variances are wrong by the digits that its sums lost.
    np.testing.assert_allclose(ours.monitor_.history, theirs.monitor_.history, rtol=1e-8)
    assert ours.monitor_.history[0] == pytest.approx(theirs.monitor_.history[0], rel=1e-11)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_float32_is_as_float64(hmmlearn, data, kind):
    settings = {"n_iter": 4, "tol": -np.inf}
    X = data.X.astype(np.float32)
    ours = started(data, kind, **settings).fit(X, lengths=data.lengths)
    theirs = started(data, kind, hmmlearn.GaussianHMM, **settings).fit(data.X, data.lengths)
    np.testing.assert_allclose(ours.monitor_.history, theirs.monitor_.history, rtol=1e-5)
    assert ours.predict_proba(X, lengths=data.lengths).dtype == np.float32
    assert ours.means_.dtype == ours.covars_.dtype == np.float64


PRIORS = {
    "startprob_prior": np.array([2.0, 0.5, 3.0]),
    "transmat_prior": np.array([[2.0, 1.0, 1.5], [0.2, 5.0, 1.0], [1.0, 1.0, 1.0]]),
    "means_prior": np.array([[1.0, 2.0], [-3.0, 0.0], [0.5, 9.0]]),
    "means_weight": 7.0,
    "covars_weight": 5.0,
}
COVARS_PRIORS = {
    "spherical": np.arange(1.0, 7.0).reshape(3, 2),
    "diag": np.arange(1.0, 7.0).reshape(3, 2),
    "tied": np.array([[3.0, 1.0], [1.0, 2.0]]),
    "full": np.array([[3.0, 1.0], [1.0, 2.0]]) * np.arange(1, 4)[:, None, None],
}


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("is_number", [True, False])
def test_priors_as_in_hmmlearn(hmmlearn, data, kind, is_number):
    covars_prior = 3.0 if is_number else COVARS_PRIORS[kind]
    settings = {"n_iter": 3, "tol": -np.inf, "covars_prior": covars_prior, **PRIORS}
    ours = started(data, kind, **settings).fit(data.X, lengths=data.lengths)
    theirs = started(data, kind, hmmlearn.GaussianHMM, **settings).fit(data.X, data.lengths)
    np.testing.assert_allclose(ours.monitor_.history, theirs.monitor_.history, rtol=1e-12)
    stored = theirs._covars_[:, 0] if kind == "spherical" else theirs._covars_
    np.testing.assert_allclose(ours._covars_, stored, rtol=1e-9)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-9)
    np.testing.assert_allclose(ours.startprob_, theirs.startprob_, atol=1e-12)
    np.testing.assert_allclose(ours.transmat_, theirs.transmat_, atol=1e-9)


def test_priors_of_each_state():
    X = np.array([[0.0], [1.0], [2.0], [100.0], [101.0], [102.0]])
    model = GaussianHMM(
        2, "spherical", init_params="", n_iter=1,
        means_prior=[[50.0], [50.0]], means_weight=[3, 0],
        covars_prior=[0.0, 6.0], covars_weight=[1, 4],
    )  # fmt: skip
    model.startprob_, model.transmat_ = [1, 0], [[0.5, 0.5], [0, 1]]
    model.means_, model.covars_ = [[1.0], [101.0]], [1.0, 1.0]
    model.fit(X)
    np.testing.assert_allclose(model.means_, [[(3 + 150) / 6], [101.0]])
    first = (np.sum((X[:3] - 25.5) ** 2) + 3 * 24.5**2) / 3
    np.testing.assert_allclose(model._covars_, [first, (2 + 6) / (3 + 3)])


@pytest.mark.parametrize("params", ["s", "t", "m", "c", "st", "mc", ""])
def test_only_params_are_learned(data, params):
    model = started(data, n_iter=3, params=params)
    before = {name: np.array(getattr(model, name)) for name in ("startprob_", "transmat_")}
    before |= {"means_": model.means_, "covars_": model.covars_}
    model.fit(data.X, lengths=data.lengths)
    for name, value in before.items():
        assert np.array_equal(getattr(model, name), value) == (name[0] not in params)


def test_variances_about_fixed_means(data):
    model = started(data, "diag", params="c", covars_prior=0, n_iter=1)
    posteriors = model.predict_proba(data.X, lengths=data.lengths)
    model.fit(data.X, lengths=data.lengths)
    squares = (data.X[:, None] - model.means_) ** 2
    expected = np.einsum("tk,tkd->kd", posteriors, squares) / posteriors.sum(axis=0)[:, None]
    np.testing.assert_allclose(model._covars_, expected, rtol=1e-10)


def test_a_step_is_that_of_the_reference(data):
    model = started(data, "full", covars_prior=0, n_iter=1)
    expected = reference.em_step(
        split(data), model.startprob_, model.transmat_, model.means_, model.covars_
    )
    model.fit(data.X, lengths=data.lengths)
    assert model.monitor_.history[0] == pytest.approx(expected["score"], rel=1e-11)
    np.testing.assert_allclose(model.startprob_, expected["startprob"], atol=1e-12)
    np.testing.assert_allclose(model.transmat_, expected["transmat"], atol=1e-12)
    np.testing.assert_allclose(model.means_, expected["means"], rtol=1e-10)
    np.testing.assert_allclose(model.covars_, expected["covariances"], rtol=1e-9)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_the_likelihood_rises_to_near_the_truth(kind):
    data = make_hmm(
        20, 100, n_states=3, n_features=2, covariance_type=kind, separation=3, random_state=1
    )
    model = GaussianHMM(3, kind, covars_prior=0, n_iter=100, tol=1e-6, random_state=2)
    model.fit(data.X, lengths=data.lengths)
    assert (np.diff(model.monitor_.history) > -1e-6).all() and model.monitor_.converged
    truth = GaussianHMM(3, kind)
    truth.startprob_, truth.transmat_, truth.means_ = data.startprob, data.transmat, data.means
    truth.covars_ = in_shape(data.covariances, kind)
    assert model.score(data.X, lengths=data.lengths) > truth.score(data.X, lengths=data.lengths)
    order = ((model.means_[:, None] - data.means) ** 2).sum(axis=2).argmin(axis=1)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(model.means_, data.means[order], atol=0.3)
    np.testing.assert_allclose(model.transmat_, data.transmat[order][:, order], atol=0.06)
    states = order[model.predict(data.X, lengths=data.lengths)]
    assert np.mean(states == data.states) > 0.9


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_missing_values(data, kind):
    rng = np.random.default_rng(0)
    X = data.X.copy()
    X[rng.random(X.shape) < 0.2] = np.nan
    X[[5, 30, 60]] = np.nan  # the second sequence has a single frame
    model = started(data, kind, n_iter=20, tol=-np.inf, covars_prior=0)
    covariances = model.covars_
    expected = [
        reference.smooth(
            reference.log_densities(part, model.means_, covariances),
            model.startprob_, model.transmat_,
        )
        for part in np.split(X, np.cumsum(data.lengths)[:-1])
    ]  # fmt: skip
    score, posteriors = model.score_samples(X, lengths=data.lengths)
    assert score == pytest.approx(sum(part[0] for part in expected), rel=1e-11)
    np.testing.assert_allclose(posteriors, np.concatenate([p[1] for p in expected]), atol=1e-10)
    model.fit(X, lengths=data.lengths)
    assert (np.diff(model.monitor_.history) > -1e-7).all()
    assert np.isfinite(model.means_).all() and np.isfinite(model.covars_).all()


def test_frames_of_which_all_is_missing_count_as_steps_only(data):
    model = started(data, n_iter=1, covars_prior=0)
    X = np.insert(data.X[:60], 30, np.full((3, 2), np.nan), axis=0)
    skipping = started(data)
    before, after = data.X[:30], data.X[30:60]
    log_b = [reference.log_densities(x, skipping.means_, skipping.covars_) for x in (before, after)]
    log_b.insert(1, np.zeros((3, 3)))
    expected = reference.smooth(np.concatenate(log_b), skipping.startprob_, skipping.transmat_)
    assert model.score(X) == pytest.approx(expected[0], rel=1e-12)
    model.fit(X)
    posteriors = np.delete(expected[1], [30, 31, 32], axis=0)
    means = posteriors.T @ data.X[:60] / posteriors.sum(axis=0)[:, None]
    np.testing.assert_allclose(model.means_, means, rtol=1e-9)


def test_a_sequence_of_weight_two_is_two_sequences(data):
    parts = split(data)
    weights = np.array([2.0, 1.0, 0.0, 1.0, 3.0, 1.0])
    repeated = [part for part, w in zip(parts, weights) for _ in range(int(w))]
    weighted = started(data, n_iter=5, tol=-np.inf).fit(parts, sample_weight=weights)
    plain = started(data, n_iter=5, tol=-np.inf).fit(repeated)
    np.testing.assert_allclose(weighted.monitor_.history, plain.monitor_.history, rtol=1e-11)
    np.testing.assert_allclose(weighted.means_, plain.means_, rtol=1e-9)
    np.testing.assert_allclose(weighted.transmat_, plain.transmat_, atol=1e-10)


def test_weights_of_frames_are_exponents(data):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, len(data.X)).astype(float)
    model = started(data, n_iter=30, tol=-np.inf, covars_prior=0)
    log_b = reference.log_densities(data.X, model.means_, model.covars_) * weights[:, None]
    expected = sum(
        reference.smooth(part, model.startprob_, model.transmat_)[0]
        for part in np.split(log_b, np.cumsum(data.lengths)[:-1])
    )
    model.fit(data.X, lengths=data.lengths, sample_weight=weights)
    assert model.monitor_.history[0] == pytest.approx(expected, rel=1e-11)
    assert (np.diff(model.monitor_.history) > -1e-8).all()


def test_a_frame_of_weight_zero_is_missing(data):
    X = data.X.copy()
    X[10:13] = np.nan
    weights = np.ones(len(X))
    weights[10:13] = 0
    missing = started(data).fit(X, lengths=data.lengths)
    weighted = started(data).fit(data.X, lengths=data.lengths, sample_weight=weights)
    np.testing.assert_allclose(weighted.monitor_.history, missing.monitor_.history, rtol=1e-11)
    np.testing.assert_allclose(weighted.means_, missing.means_, rtol=1e-9)


def test_the_start_minds_weights(data):
    weights = np.ones(len(data.lengths))
    weights[0] = 0
    settings = {"random_state": 0, "n_iter": 0}
    with_weight = GaussianHMM(2, **settings).fit(split(data), sample_weight=weights)
    without = GaussianHMM(2, **settings).fit(split(data)[1:])
    np.testing.assert_allclose(with_weight._covars_, without._covars_, rtol=1e-9)
    # k-means draws among all frames, so only where both settle are the means the same.
    np.testing.assert_allclose(
        np.sort(with_weight.means_, axis=0), np.sort(without.means_, axis=0), atol=0.3
    )


def test_the_start_is_that_of_hmmlearn(hmmlearn, data):
    for kind in ("diag", "full", "tied"):
        ours = GaussianHMM(3, kind, random_state=0, n_iter=0).fit(data.X)
        theirs = hmmlearn.GaussianHMM(3, kind, random_state=0, n_iter=0).fit(data.X)
        np.testing.assert_allclose(ours._covars_, theirs._covars_, rtol=1e-10)
        np.testing.assert_array_equal(ours.startprob_, theirs.startprob_)
        np.testing.assert_array_equal(ours.transmat_, theirs.transmat_)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_threads_change_nothing(kind):
    data = make_hmm(
        30, list(range(100, 1600, 50)), n_states=5, n_features=3, separation=2, random_state=0
    )
    models = [
        GaussianHMM(5, kind, random_state=0, n_jobs=n_jobs, n_iter=3).fit(
            data.X, lengths=data.lengths
        )
        for n_jobs in (1, 2)
    ]
    for name in ("startprob_", "transmat_", "means_", "covars_"):
        np.testing.assert_array_equal(*(getattr(model, name) for model in models))
    assert models[0].monitor_.history == models[1].monitor_.history
    for method in ("predict", "predict_proba", "score"):
        np.testing.assert_array_equal(
            *(getattr(model, method)(data.X, lengths=data.lengths) for model in models)
        )


def test_a_long_sequence_is_worked_on_in_segments(hmmlearn):
    data = make_hmm(1, 9000, n_states=40, n_features=2, separation=0.5, random_state=0)
    settings = {"n_iter": 2, "tol": -np.inf}
    ours = started(data, **settings).fit(data.X)
    theirs = started(data, "diag", hmmlearn.GaussianHMM, implementation="scaling", **settings)
    theirs.fit(data.X)
    np.testing.assert_allclose(ours.monitor_.history, theirs.monitor_.history, rtol=1e-11)
    np.testing.assert_allclose(ours.transmat_, theirs.transmat_, atol=1e-10)
    np.testing.assert_array_equal(ours.predict(data.X), theirs.predict(data.X))


def test_ways_to_pass_sequences(rng):
    X = rng.normal(size=(4, 30, 2))
    flat, lengths = X.reshape(-1, 2), [30] * 4
    models = [
        GaussianHMM(2, random_state=0).fit(flat, lengths=lengths),
        GaussianHMM(2, random_state=0).fit(list(X)),
        GaussianHMM(2, random_state=0).fit(X),
        GaussianHMM(2, random_state=0).fit(tuple(x.tolist() for x in X)),
        GaussianHMM(2, random_state=0).fit(flat, None, lengths=np.array(lengths)),
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.means_, models[0].means_)
    model = models[0]
    expected = model.predict(flat, lengths=lengths)
    assert expected.shape == (120,)
    for same in (list(X), X):
        np.testing.assert_array_equal(model.predict(same), expected)
        assert model.score(same) == model.score(flat, lengths=lengths)
        assert model.predict_proba(same).shape == (120, 2)
    assert model.score(X) == pytest.approx(sum(model.score(x) for x in X), rel=1e-12)


def test_what_the_suite_of_hmmlearn_builds_on(data):
    # tests/peers, which need a download, replace or call these.
    model = GaussianHMM(3, random_state=0)
    model._initialise(FrameSequences(data.X, np.array([len(data.X)])))
    model._parameters()
    with model._prepared(data.X, data.lengths) as (sequences, chain, emissions):
        assert len(sequences) == len(data.lengths) and chain.n_states == 3
        assert callable(emissions.log_densities)


def test_set_by_hand(data):
    model = GaussianHMM(3)
    with pytest.raises(NotFittedError):
        model.score(data.X)
    with pytest.raises(NotFittedError):
        model.sample(3)
    for name in ("startprob_", "transmat_", "means_", "covars_", "n_features"):
        assert not hasattr(model, name)
    model.startprob_, model.transmat_ = data.startprob.tolist(), data.transmat.tolist()
    model.means_, model.covars_ = data.means.tolist(), [[1, 2]] * 3
    assert model.n_features == 2
    np.testing.assert_array_equal(model.covars_, [np.diag([1.0, 2.0])] * 3)
    assert np.isfinite(model.score(data.X, lengths=data.lengths))
    assert model.sample(5, random_state=0)[0].shape == (5, 2)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_samples_are_of_the_model(data, kind):
    model = started(data, kind)
    X, states = model.sample(40_000, random_state=0)
    again, _ = model.sample(40_000, random_state=0)
    np.testing.assert_array_equal(X, again)
    moves = np.zeros((3, 3))
    np.add.at(moves, (states[:-1], states[1:]), 1)
    np.testing.assert_allclose(moves / moves.sum(axis=1, keepdims=True), model.transmat_, atol=0.02)
    for k in range(3):
        here = X[states == k]
        np.testing.assert_allclose(here.mean(axis=0), model.means_[k], atol=0.1)
        np.testing.assert_allclose(np.cov(here.T), model.covars_[k], atol=0.15)
    _, goes_on = model.sample(10, random_state=1, currstate=2)
    assert goes_on[0] == 2
    firsts = [model.sample(1, random_state=i)[1][0] for i in range(300)]
    np.testing.assert_allclose(np.bincount(firsts, minlength=3) / 300, 1 / 3, atol=0.1)


def test_the_monitor(data, capsys):
    model = GaussianHMM(2, random_state=0, n_iter=3, verbose=True)
    assert isinstance(model.monitor_, ConvergenceMonitor) and model.monitor_.n_iter == 3
    model.fit(data.X)
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == model.monitor_.iter == 3
    assert err.splitlines()[0].split()[2] == "+nan"

    class Enough(ConvergenceMonitor):
        @property
        def converged(self):
            return self.iter == 2

    model = GaussianHMM(2, random_state=0, n_iter=9)
    model.monitor_ = Enough(0, 9, False)
    model.fit(data.X).fit(data.X)
    assert model.monitor_.iter == 2 and isinstance(model.monitor_, Enough)
    assert not isinstance(clone(model).monitor_, Enough)


def test_the_monitor_tells_of_a_fall(caplog):
    monitor = ConvergenceMonitor(0.1, 10, False)
    monitor.report(-1.0)
    monitor.report(-1.0 - 1e-12)
    assert not caplog.records
    monitor.report(-2.0)
    assert "not converging" in caplog.text
    assert repr(monitor).startswith("ConvergenceMonitor(tol=0.1")


def test_what_is_overwritten_is_told(data, caplog):
    model = GaussianHMM(2, random_state=0)
    model.fit(data.X).fit(data.X)
    assert not caplog.records
    model.startprob_ = [0.5, 0.5]
    with caplog.at_level(logging.WARNING):
        model.fit(data.X)
    (record,) = caplog.records
    assert "'startprob_' is set, but will be overwritten" in record.getMessage()


def test_grid_search_pipeline_and_routing(data):
    lengths, parts = data.lengths, split(data)
    search = GridSearchCV(GaussianHMM(random_state=0), {"n_components": [1, 2]}, cv=2)
    search.fit(data.X)
    assert search.best_estimator_.n_components in (1, 2)
    pipeline = make_pipeline(StandardScaler(), GaussianHMM(2, random_state=0))
    pipeline.fit(data.X, gaussianhmm__lengths=lengths)
    assert pipeline.predict(data.X).shape == (len(data.X),)
    with sklearn.config_context(enable_metadata_routing=True):
        model = GaussianHMM(2).set_fit_request(lengths=True, sample_weight=True)
        requests = model.set_score_request(lengths=True).get_metadata_routing()
    assert requests.fit.requests == {"lengths": True, "sample_weight": True}
    assert requests.score.requests == {"lengths": True}
    assert GaussianHMM(2).fit(parts).n_features_in_ == 2


def test_pickle_clone_and_tags(data):
    model = GaussianHMM(2, random_state=0, means_prior=np.zeros((2, 2))).fit(data.X)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(data.X), model.predict(data.X))
    assert loaded.monitor_.history == model.monitor_.history
    assert not hasattr(clone(model), "means_")
    tags = get_tags(model)
    assert tags.input_tags.allow_nan and tags.estimator_type == "density_estimator"
    assert model.device_ == "cpu"


def test_callbacks_are_told(data):
    pytest.importorskip("sklearn.callback")
    from sklearn.callback import FitCallback

    class Counter:
        def __init__(self):
            self.ends = []

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, *args, **kwargs):
            pass

        def on_fit_task_end(self, estimator, context, **kwargs):
            self.ends.append(context.task_name)

        def teardown(self, estimator, context):
            pass

    counter = Counter()
    assert isinstance(counter, FitCallback)
    GaussianHMM(2, n_iter=3, random_state=0).set_callbacks(counter).fit(data.X)
    assert counter.ends.count("iteration") == 3 and counter.ends[-1] == "fit"
