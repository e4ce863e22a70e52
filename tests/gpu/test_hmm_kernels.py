"""The recursions of hidden Markov models on a CUDA device against those on the CPU."""

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import to_host
from fastmotion.core.memory import memory_of
from fastmotion.hmm import recursions
from fastmotion.hmm.kernels import kernels_for
from fastmotion.hmm.recursions import Chain

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]

# In the simulator chunks hold three frames, and blocks have eight threads at most.
LENGTHS = (1, 4, 3) if simulator_enabled() else (1, 2, 300, 70, 31, 32, 33, 3000)


class Given:
    """Emissions whose log-densities are given."""

    def __init__(self, log_b, memory=None):
        self.log_b, self.memory = log_b, memory

    def log_densities(self, rows, out):
        part = self.log_b[rows]
        if self.memory is None:
            out[:] = part
        else:
            self.memory.copy(self.memory.put(part), out)


@pytest.fixture
def memory(device):
    return memory_of(device)


@pytest.fixture
def in_segments(monkeypatch):
    """Cut sequences into segments of 4 frames, and gather no more."""
    monkeypatch.setattr(recursions, "_frames_for", lambda n_states, memory: 4)


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


def run(chain, log_b, stops, memory=None, weights=None):
    """Return log-likelihoods, posteriors, transitions, and the result of Viterbi."""
    posteriors = np.full(log_b.shape, np.nan)

    def store(rows, values):
        posteriors[rows] = to_host(values)

    emissions = Given(log_b, memory)
    scores, transitions, _ = recursions.smooth(
        chain, emissions, stops, lambda: store, memory=memory, weights=weights
    )
    best, states = recursions.decode(chain, emissions, stops, memory=memory)
    return scores, posteriors, transitions, best, to_host(states)


def assert_like_cpu(memory, chain, log_b, stops, weights=None):
    """Return the log-likelihoods."""
    scores, posteriors, transitions, best, states = run(chain, log_b, stops, memory, weights)
    expected = run(chain, log_b, stops, weights=weights)
    np.testing.assert_allclose(scores, expected[0], rtol=1e-11)
    np.testing.assert_allclose(posteriors, expected[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(transitions, expected[2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(best, expected[3], rtol=1e-12)
    np.testing.assert_array_equal(states, expected[4])
    return scores


def underflowing(rng, chain, lengths):
    """Return log-densities of a left-to-right chain that the scaled recursion has to give up."""
    stops = np.cumsum(lengths)
    return rng.normal(size=(stops[-1], chain.n_states)) * 1e3, stops


@pytest.mark.parametrize(("n_states", "zeros"), [(1, 0), (2, 0), (5, 0), (5, 0.4), (33, 0)])
def test_recursions_give_the_result_of_the_cpu(rng, memory, n_states, zeros):
    stops = np.cumsum(LENGTHS)
    log_b = rng.normal(-50, 4, size=(stops[-1], n_states))
    weights = rng.random(len(stops))
    assert_like_cpu(memory, random_chain(rng, n_states, zeros), log_b, stops, weights)


@pytest.mark.usefixtures("in_segments")
def test_segments_of_long_sequences_give_the_result_of_the_whole(rng, memory):
    stops = np.cumsum((2, 7, 1))
    log_b = rng.normal(-50, 4, size=(stops[-1], 3))
    assert_like_cpu(memory, random_chain(rng, 3), log_b, stops, rng.random(3))


def test_what_underflows_is_left_to_the_log_domain(rng, memory):
    chain = left_right(3)
    log_b, stops = underflowing(rng, chain, (4, 1, 3))
    log_b[4:5] /= 1e3  # the second sequence does not underflow
    with memory.scope():
        alphas = memory.empty(log_b.shape, np.float64)
        scaled = recursions._Scaled(chain, alphas, memory)
        attempts, _ = scaled.forward(memory.put(log_b), memory.put(stops), scaled.begin())
        np.testing.assert_array_equal(np.isnan(to_host(attempts)), [True, False, True])
    scores = assert_like_cpu(memory, chain, log_b, stops, rng.random(3))
    alone = recursions.score(chain, Given(log_b, memory), stops, memory=memory)
    np.testing.assert_array_equal(alone, scores)


@pytest.mark.usefixtures("in_segments")
def test_segments_in_the_log_domain(rng, memory):
    chain = left_right(3)
    log_b, stops = underflowing(rng, chain, (6,))
    assert_like_cpu(memory, chain, log_b, stops)


def test_an_impossible_sequence_has_no_probability_and_spares_its_neighbours(rng, memory):
    chain = random_chain(rng, 2)
    log_b = rng.normal(size=(9, 2))
    log_b[4] = -np.inf
    scores, posteriors, transitions, _, _ = run(chain, log_b, np.array([3, 6, 9]), memory)
    assert scores[1] == -np.inf
    assert np.isnan(posteriors[3:6]).all()
    keep = np.r_[0:3, 6:9]
    expected = run(chain, log_b[keep], np.array([3, 6]))
    np.testing.assert_allclose(scores[[0, 2]], expected[0], rtol=1e-12)
    np.testing.assert_allclose(posteriors[keep], expected[1], atol=1e-12)
    np.testing.assert_allclose(transitions, expected[2], rtol=1e-10)


def test_equal_paths_end_as_on_the_cpu(memory):
    chain = Chain(np.full(3, 1 / 3), np.full((3, 3), 1 / 3))
    _, states = recursions.decode(
        chain, Given(np.zeros((4, 3)), memory), np.array([4]), memory=memory
    )
    np.testing.assert_array_equal(to_host(states), [2, 2, 2, 0])


def test_more_states_than_a_block_has_room_for_are_refused_with_a_cure(memory):
    kernels = kernels_for("cuda")
    n_states = 2000
    with memory.scope(), pytest.raises(RuntimeError, match="n_components=2000.*device='cpu'"):
        matrix = memory.empty((n_states, n_states), np.float64)
        row = memory.empty((1, n_states), np.float64)
        place = memory.put(np.array([1]))
        number = memory.empty(1, np.float64)
        kernels.viterbi_forward(row, place, row.reshape(n_states), matrix, number, number)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (11, 9)])
def test_products_are_those_of_numpy(rng, memory, shape):
    from fastmotion.hmm.kernels import cuda

    if not simulator_enabled():
        shape = tuple(61 * n for n in shape)
    x, y, start = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=(shape[1],) * 2)
    with memory.scope():
        out = memory.put(start)
        cuda._add_products(memory.put(x), memory.put(y), out, memory)
        np.testing.assert_allclose(to_host(out), start + x.T @ y, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n_states", [1, 6])
def test_rows_are_worked_on_as_by_the_cpu(rng, memory, n_states):
    n = 19 if simulator_enabled() else 1900
    cpu, cuda = kernels_for("cpu"), kernels_for("cuda")
    values, weights = rng.normal(size=(n, n_states)), rng.integers(0, 3, n) / 2.0
    starts = np.arange(0, n, 3)
    for name, other in (("temper", weights), ("weigh_rows", weights), ("sum_starts", starts)):
        outcome = []
        for kernels, put in ((cpu, np.array), (cuda, memory.put)):
            with memory.scope():
                out, sums = put(values), put(np.arange(float(n_states)))
                arguments = (sums,) if name == "sum_starts" else ()
                getattr(kernels, name)(out, put(other), *arguments)
                outcome.append(to_host(sums if arguments else out).copy())
        np.testing.assert_allclose(outcome[1], outcome[0], rtol=1e-13)


def test_the_most_probable_states_are_found(rng, memory):
    posteriors = rng.dirichlet(np.ones(4), size=21)
    posteriors[3:5] = np.nan  # an impossible sequence
    posteriors[7] = 0.25
    kernels = kernels_for("cuda")
    with memory.scope():
        states, certainty = memory.empty(21, np.int64), memory.empty(21, np.float64)
        kernels.most_probable(memory.put(posteriors), states, certainty)
        known = ~np.isnan(posteriors[:, 0])
        expected = np.where(known, posteriors.argmax(axis=1), 0)
        np.testing.assert_array_equal(to_host(states), expected)
        np.testing.assert_array_equal(to_host(certainty)[known], posteriors[known].max(axis=1))
        np.testing.assert_array_equal(to_host(certainty)[~known], 0)
        assert kernels.total(certainty) == pytest.approx(np.nansum(posteriors.max(axis=1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_frames_of_weight_zero_are_replaced(rng, memory, dtype):
    frames, weights = rng.normal(size=(9, 3)).astype(dtype), np.array([0.0, 1.0, 0.0] * 3)
    with memory.scope():
        out = memory.put(frames)
        kernels_for("cuda").replace_rows(out, memory.put(weights), 4)
        expected = np.where(weights[:, np.newaxis] > 0, frames, frames[4])
        np.testing.assert_array_equal(to_host(out), expected)


if not simulator_enabled():  # which runs one block at a time, in order

    @pytest.mark.parametrize("n_states", [1, 40])
    def test_sums_do_not_depend_on_how_the_device_is_scheduled(rng, memory, n_states):
        stops = np.cumsum(rng.integers(1, 60, size=3000))
        log_b = rng.normal(size=(stops[-1], n_states))
        chain = random_chain(rng, n_states)
        first, second = (run(chain, log_b, stops, memory) for _ in range(2))
        for a, b in zip(first, second):
            np.testing.assert_array_equal(a, b)
