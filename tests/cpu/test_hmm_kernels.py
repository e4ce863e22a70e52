"""Recursions of hidden Markov models against all paths, and against lattices of logarithms."""

import numpy as np
import pytest

from fastmotion.hmm import recursions
from fastmotion.hmm.kernels import cpu
from fastmotion.hmm.recursions import Chain
from tests.reference import hmm as reference

LENGTHS = (1, 2, 30, 5, 4, 3, 61)


class Given:
    """Emissions whose log-densities are given."""

    def __init__(self, log_b):
        self.log_b = log_b

    def log_densities(self, rows, out):
        out[:] = self.log_b[rows]


def random_chain(rng, n_states, zeros=0.0):
    transmat = rng.dirichlet(np.ones(n_states), size=n_states)
    transmat[rng.random(transmat.shape) < zeros] = 0
    transmat += np.eye(n_states) * 0.01
    transmat /= transmat.sum(axis=1, keepdims=True)
    return Chain(rng.dirichlet(np.ones(n_states)), transmat)


def left_right(n_states):
    transmat = 0.5 * np.eye(n_states) + 0.5 * np.eye(n_states, k=1)
    transmat[-1, -1] = 1
    return Chain(np.eye(n_states)[0], transmat)


def run(chain, log_b, stops, **kwargs):
    """Return log-likelihoods, posteriors, transitions, and the result of Viterbi."""
    posteriors = np.full(log_b.shape, np.nan)

    def store(rows, values):
        posteriors[rows] = values

    emissions = Given(log_b)
    scores, transitions, _ = recursions.smooth(chain, emissions, stops, lambda: store, **kwargs)
    np.testing.assert_array_equal(recursions.score(chain, emissions, stops), scores)
    return scores, posteriors, transitions, *recursions.decode(chain, emissions, stops)


def assert_is_reference(chain, log_b, stops, rtol=1e-10):
    scores, posteriors, transitions, best, states = run(chain, log_b, stops)
    moves = 0
    for s, (first, stop) in enumerate(zip([0, *stops[:-1]], stops)):
        part = log_b[first:stop]
        score, expected, counts = reference.smooth(part, chain.startprob, chain.transmat)
        moves = moves + counts
        np.testing.assert_allclose(scores[s], score, rtol=rtol)
        np.testing.assert_allclose(posteriors[first:stop], expected, atol=rtol)
        value, path = reference.viterbi(part, chain.startprob, chain.transmat)
        np.testing.assert_allclose(best[s], value, rtol=1e-12)
        np.testing.assert_array_equal(states[first:stop], path)
    np.testing.assert_allclose(transitions, moves, rtol=1e-8, atol=1e-9)


@pytest.fixture
def in_small_pieces(monkeypatch):
    """Cut sequences into segments of 7 frames, and gather no more."""
    monkeypatch.setattr(recursions, "_LEAST_FRAMES", 7)
    monkeypatch.setattr(recursions, "_MOST", 1)
    monkeypatch.setattr(recursions, "_GATHERED", 1)


@pytest.fixture(params=["whole", "in pieces"])
def pieces(request):
    if request.param == "in pieces":
        request.getfixturevalue("in_small_pieces")


@pytest.fixture
def logarithmic(monkeypatch):
    """Leave every sequence to the log domain."""

    def fail(densities, stops, begin, transmat, alphas, scales, log_likelihoods, end):
        log_likelihoods[:] = np.nan

    monkeypatch.setattr(cpu, "forward", fail)


@pytest.mark.parametrize("n_states", [1, 2, 3])
def test_every_path_in_turn(rng, n_states):
    chain, log_b = random_chain(rng, n_states), rng.normal(-20, 3, size=(6, n_states))
    scores, posteriors, transitions, best, states = run(chain, log_b, np.array([6]))
    paths, values = reference.every_path(log_b, chain.startprob, chain.transmat)
    shares = np.exp(values - scores[0])
    assert shares.sum() == pytest.approx(1, rel=1e-12)
    for k in range(n_states):
        np.testing.assert_allclose(posteriors[:, k], shares @ (paths == k), atol=1e-12)
    moves = np.zeros((n_states, n_states))
    for t in range(5):
        np.add.at(moves, (paths[:, t], paths[:, t + 1]), shares)
    np.testing.assert_allclose(transitions, moves, atol=1e-12)
    assert best[0] == pytest.approx(values.max(), rel=1e-12)
    np.testing.assert_array_equal(states, paths[values.argmax()])


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("n_states", [1, 2, 4, 5, 8, 13])
@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_lattices_of_logarithms(rng, n_states, zeros):
    stops = np.cumsum(LENGTHS)
    log_b = rng.normal(-50, 4, size=(stops[-1], n_states))
    assert_is_reference(random_chain(rng, n_states, zeros), log_b, stops)


@pytest.mark.usefixtures("pieces", "logarithmic")
@pytest.mark.parametrize("n_states", [1, 3, 5])
def test_the_log_domain(rng, n_states):
    stops = np.cumsum(LENGTHS)
    log_b = rng.normal(-50, 4, size=(stops[-1], n_states))
    assert_is_reference(random_chain(rng, n_states, 0.3), log_b, stops)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("scale", [1, 30, 300, 3000, 1e4])
def test_forbidden_transitions_and_improbable_frames(rng, scale):
    """Paths that underflow beside others are those that are left when these are forbidden."""
    stops = np.cumsum(LENGTHS)
    log_b = rng.normal(size=(stops[-1], 4)) * scale
    assert_is_reference(left_right(4), log_b, stops, rtol=1e-9)


def test_what_underflowed_long_ago_comes_back():
    """A path is given up at e^-1200 and wins in the end, where no single frame is improbable."""
    chain = left_right(2)
    log_b = np.zeros((60, 2))
    log_b[5:25, 0] = -60
    log_b[30:55, 1] = -100
    assert_is_reference(chain, log_b, np.array([60]))
    assert_is_reference(chain, log_b[:, ::-1].copy(), np.array([60]))


def test_far_outliers_do_not_underflow(rng, monkeypatch):
    log_b = rng.normal(size=(50, 5))
    log_b[[0, 20, 49]] -= 1e17
    stops = np.array([50])
    chain = random_chain(rng, 5)
    monkeypatch.setattr(recursions, "_Logarithmic", None)  # not needed
    assert_is_reference(chain, log_b, stops)


def test_states_that_cannot_be_reached_may_fit_best(rng):
    chain = Chain(np.array([1.0, 0, 0]), np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]))
    log_b = np.zeros((200, 3))
    log_b[:, :2] = rng.normal(-100, 2, size=(200, 2))
    assert_is_reference(chain, log_b, np.array([200]))


@pytest.mark.usefixtures("pieces")
def test_an_impossible_sequence_has_no_probability_and_spares_its_neighbours(rng):
    chain = random_chain(rng, 3)
    log_b = rng.normal(size=(40, 3))
    log_b[25] = -np.inf
    scores, posteriors, transitions, _, _ = run(chain, log_b, np.array([15, 30, 40]))
    assert scores[1] == -np.inf and np.isnan(posteriors[15:30]).all()
    keep = np.r_[0:15, 30:40]
    expected = run(chain, log_b[keep], np.array([15, 25]))
    np.testing.assert_allclose(scores[[0, 2]], expected[0], rtol=1e-13)
    np.testing.assert_allclose(posteriors[keep], expected[1], atol=1e-13)
    np.testing.assert_allclose(transitions, expected[2], rtol=1e-12)


def test_weights_multiply_transitions(rng):
    chain, stops = random_chain(rng, 3), np.cumsum(LENGTHS)
    log_b = rng.normal(size=(stops[-1], 3))
    weights = rng.random(len(stops))
    expected = sum(
        weight * reference.smooth(part, chain.startprob, chain.transmat)[2]
        for weight, part in zip(weights, np.split(log_b, stops[:-1]))
    )
    np.testing.assert_allclose(run(chain, log_b, stops, weights=weights)[2], expected, rtol=1e-11)


def test_equal_paths_end_as_in_hmmlearn():
    """The first of equally good last states, and the last of equally good ones before."""
    chain = Chain(np.full(3, 1 / 3), np.full((3, 3), 1 / 3))
    _, states = recursions.decode(chain, Given(np.zeros((4, 3))), np.array([4]))
    np.testing.assert_array_equal(states, [2, 2, 2, 0])


@pytest.mark.parametrize("n_states", [3, 64])
def test_threads_and_neighbours_change_nothing(rng, n_states):
    lengths = rng.integers(1, 400, size=60)
    lengths[7] = 9000
    stops = np.cumsum(lengths)
    chain = random_chain(rng, n_states)
    log_b = rng.normal(size=(stops[-1], n_states)) * 5
    one = run(chain, log_b, stops, n_jobs=1)
    for other, expected in zip(run(chain, log_b, stops, n_jobs=2), one):
        np.testing.assert_array_equal(other, expected)
    alone = run(chain, log_b[: stops[0]].copy(), stops[:1])
    np.testing.assert_array_equal(alone[1], one[1][: stops[0]])


def test_tasks_cover_all_sequences_once(rng):
    for n_states in (1, 7, 400):
        lengths = rng.integers(1, 300, size=300)
        lengths[[0, 150, 299]] = 300_000
        stops = np.cumsum(lengths)
        tasks = recursions._tasks(stops, n_states)
        jobs = [job for task in tasks for job in task]
        sequences = np.concatenate([np.arange(300)[job.sequences] for job in jobs])
        np.testing.assert_array_equal(sequences, np.arange(300))
        spans = [span for job in jobs for span in job.spans]
        assert [span.rows.start for span in spans] == [0] + [s.rows.stop for s in spans[:-1]]
        assert spans[-1].rows.stop == stops[-1]
        assert all(span.stops[-1] == span.n_frames for span in spans)
        assert max(span.n_frames for span in spans) <= max(512, 2**18 // n_states) + 300
        assert len(tasks) <= 32
