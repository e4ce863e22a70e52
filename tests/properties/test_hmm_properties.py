"""What must hold for hidden Markov models whatever the data."""

from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.hmm import GaussianHMM, recursions
from tests.reference import hmm as reference

SEEDS = st.integers(0, 2**32 - 1)
STATES = st.integers(1, 6)
KINDS = st.sampled_from(["full", "tied", "diag", "spherical"])
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=5)
FEW = settings(max_examples=25, deadline=None)


def random_model(rng, n_states, kind, n_features=2, **kwargs):
    # A prior that keeps covariances of few frames regular.
    prior = np.eye(n_features) if kind in ("full", "tied") else 1.0
    model = GaussianHMM(
        n_states, kind, covars_prior=prior, init_params="", n_iter=3, tol=-np.inf, **kwargs
    )
    model.startprob_ = rng.dirichlet(np.ones(n_states))
    model.transmat_ = rng.dirichlet(np.ones(n_states), size=n_states)
    model.means_ = rng.normal(size=(n_states, n_features)) * 3
    roots = rng.normal(size=(n_states, n_features, n_features))
    full = roots @ np.swapaxes(roots, 1, 2) + np.eye(n_features)
    variances = np.diagonal(full, axis1=1, axis2=2).copy()
    model.covars_ = {
        "full": full, "tied": full[0], "diag": variances, "spherical": variances[:, 0],
    }[kind]  # fmt: skip
    return model


def copy_of(model, states=slice(None), **kwargs):
    """Return a model of the same parameters, its states in another order."""
    other = GaussianHMM(**{**model.get_params(), **kwargs})
    other.startprob_ = np.asarray(model.startprob_)[states]
    other.transmat_ = np.asarray(model.transmat_)[states][:, states]
    other.means_ = np.asarray(model.means_)[states]
    stored = model._covars_
    other.covars_ = stored if model.covariance_type == "tied" else stored[states]
    return other


def random_data(rng, lengths, n_features=2):
    return rng.normal(size=(sum(lengths), n_features)) * 3


@FEW
@given(SEEDS, STATES, KINDS, LENGTHS)
def test_as_the_reference(seed, n_states, kind, lengths):
    rng = np.random.default_rng(seed)
    model, X = random_model(rng, n_states, kind), random_data(rng, lengths)
    X[rng.random(X.shape) < 0.1] = np.nan
    log_b = reference.log_densities(X, model.means_, model.covars_)
    parts = np.split(log_b, np.cumsum(lengths)[:-1])
    expected = [reference.smooth(part, model.startprob_, model.transmat_) for part in parts]
    score, posteriors = model.score_samples(X, lengths=lengths)
    np.testing.assert_allclose(score, sum(part[0] for part in expected), rtol=1e-10)
    np.testing.assert_allclose(posteriors, np.concatenate([p[1] for p in expected]), atol=1e-9)
    paths = [reference.viterbi(part, model.startprob_, model.transmat_) for part in parts]
    best, states = model.decode(X, lengths=lengths)
    np.testing.assert_allclose(best, sum(path[0] for path in paths), rtol=1e-10)
    np.testing.assert_array_equal(states, np.concatenate([path[1] for path in paths]))


@FEW
@given(SEEDS, STATES, KINDS, LENGTHS, st.floats(-1e6, 1e6))
def test_a_shift_moves_means_only(seed, n_states, kind, lengths, shift):
    rng = np.random.default_rng(seed)
    model, X = random_model(rng, n_states, kind), random_data(rng, lengths)
    shift = np.round(shift)
    X, model.means_ = np.round(X * 2**20) / 2**20, np.round(model.means_ * 2**20) / 2**20
    other = copy_of(model)
    other.means_ = model.means_ + shift
    model.fit(X, lengths=lengths)
    other.fit(X + shift, lengths=lengths)
    np.testing.assert_allclose(other.monitor_.history, model.monitor_.history, rtol=1e-7)
    np.testing.assert_allclose(other.means_ - shift, model.means_, atol=1e-6)
    np.testing.assert_allclose(other.transmat_, model.transmat_, atol=1e-7)


@FEW
@given(SEEDS, STATES, KINDS, LENGTHS)
def test_states_may_be_numbered_otherwise(seed, n_states, kind, lengths):
    rng = np.random.default_rng(seed)
    model, X = random_model(rng, n_states, kind), random_data(rng, lengths)
    order = rng.permutation(n_states)
    other = copy_of(model, order)
    np.testing.assert_array_equal(
        order[other.predict(X, lengths=lengths)], model.predict(X, lengths=lengths)
    )
    model.fit(X, lengths=lengths)
    other.fit(X, lengths=lengths)
    np.testing.assert_allclose(other.monitor_.history, model.monitor_.history, rtol=1e-9)
    np.testing.assert_allclose(other.means_, model.means_[order], rtol=1e-6, atol=1e-6)


@FEW
@given(SEEDS, STATES, KINDS, LENGTHS)
def test_lists_lengths_and_threads_are_one(seed, n_states, kind, lengths):
    # Enough work for several tasks.
    with mock.patch.multiple(recursions, _LEAST_FRAMES=1, _GATHERED=8, _MOST=64):
        check_lists_lengths_and_threads(seed, n_states, kind, lengths)


def check_lists_lengths_and_threads(seed, n_states, kind, lengths):
    rng = np.random.default_rng(seed)
    model, X = random_model(rng, n_states, kind, n_jobs=1), random_data(rng, lengths)
    other = copy_of(model, n_jobs=2)
    model.fit(X, lengths=lengths)
    other.fit(np.split(X, np.cumsum(lengths)[:-1]))
    assert model.monitor_.history == other.monitor_.history
    np.testing.assert_array_equal(model.means_, other.means_)
    np.testing.assert_array_equal(model.transmat_, other.transmat_)


@FEW
@given(SEEDS, STATES, KINDS, LENGTHS)
def test_sequences_know_nothing_of_each_other(seed, n_states, kind, lengths):
    rng = np.random.default_rng(seed)
    model, X = random_model(rng, n_states, kind), random_data(rng, lengths)
    parts = np.split(X, np.cumsum(lengths)[:-1])
    order = rng.permutation(len(parts))
    np.testing.assert_allclose(
        model.score(X, lengths=lengths), sum(model.score(part) for part in parts), rtol=1e-11
    )
    mixed = model.predict_proba([parts[i] for i in order])
    np.testing.assert_allclose(
        mixed, np.concatenate([model.predict_proba(parts[i]) for i in order]), atol=1e-12
    )


@FEW
@given(SEEDS, KINDS, LENGTHS)
def test_equal_rows_of_transitions_make_frames_independent(seed, kind, lengths):
    """A mixture: each frame then has the posteriors that it has alone."""
    rng = np.random.default_rng(seed)
    model, X = random_model(rng, 3, kind), random_data(rng, lengths)
    model.transmat_ = np.tile(model.startprob_, (3, 1))
    together = model.predict_proba(X, lengths=lengths)
    alone = model.predict_proba(X, lengths=np.ones(len(X), int))
    np.testing.assert_allclose(together, alone, atol=1e-10)
