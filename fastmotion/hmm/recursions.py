"""Forward-backward and Viterbi over many sequences, in bounded memory.

The sequences are cut into jobs, and these into spans that are worked on at once: several short
sequences, or a segment of a long one. Of a long sequence only what enters each segment is kept;
going backward, densities and forward probabilities of a segment are computed again.

On the CPU spans are small, and threads share out the jobs; cuts depend on lengths and numbers of
states only, so results do not depend on threads. On a CUDA device a span takes what its memory has
room for, mostly all there is, since its sequences are run over at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import CPU
from fastmotion.core.memory import Memory, memory_of
from fastmotion.core.parallel import thread_map
from fastmotion.hmm.kernels import kernels_for

__all__ = ["Chain", "Emissions", "decode", "score", "smooth"]

# Elements, frames times states, of a span: short sequences are gathered up to the first number,
# long ones are cut at the second.
_GATHERED = 2**15
_MOST = 2**18
# Even for a single state, frames enough to make a call worth its while.
_LEAST_FRAMES = 512
_MAX_TASKS = 32
# Bytes that the transitions of all tasks may take together.
_MAX_SUM_BYTES = 24e6
# On a device, arrays of frames times states that are in memory at a time, scratch included.
_DEVICE_ARRAYS = 4
_ADVICE = "pass fewer sequences at a time, or device='cpu'"

Consume = Callable[[slice, Any], None]


class Emissions(Protocol):
    """What gives the densities of frames."""

    def log_densities(self, rows: slice, out: Any) -> None:
        """Set `out`, on the device that is worked on, to log-densities of frames in all states."""


@dataclass(frozen=True)
class Chain:
    """A Markov chain of states.

    Attributes
    ----------
    startprob : ndarray of shape (n_states,), float64
    transmat : ndarray of shape (n_states, n_states), float64
        Row i holds the probabilities of the states after state i.
    """

    startprob: NDArray[np.float64]
    transmat: NDArray[np.float64]

    @property
    def n_states(self) -> int:
        """Number of states."""
        return len(self.startprob)

    @cached_property
    def transmat_t(self) -> NDArray[np.float64]:
        """The transposed matrix."""
        return np.ascontiguousarray(self.transmat.T)

    @cached_property
    def log_startprob(self) -> NDArray[np.float64]:
        """Logarithms of the probabilities to start with."""
        return _log(self.startprob)

    @cached_property
    def log_transmat(self) -> NDArray[np.float64]:
        """Logarithms of the probabilities of transitions."""
        return _log(self.transmat)

    @cached_property
    def log_transmat_t(self) -> NDArray[np.float64]:
        """The transposed matrix of logarithms."""
        return np.ascontiguousarray(self.log_transmat.T)


def _log(probabilities: NDArray) -> NDArray:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


@dataclass(frozen=True)
class _Span:
    """Frames that are worked on at once: whole sequences, or a segment of one."""

    rows: slice
    stops: NDArray[np.int64]  # in the span

    @property
    def n_frames(self) -> int:
        return self.rows.stop - self.rows.start


@dataclass(frozen=True)
class _Job:
    """Spans that follow one another: one of whole sequences, or the segments of a long one."""

    sequences: slice
    spans: tuple[_Span, ...]

    @property
    def n_frames(self) -> int:
        return self.spans[-1].rows.stop - self.spans[0].rows.start

    @property
    def is_single(self) -> bool:
        return self.sequences.stop - self.sequences.start == 1

    def split(self) -> list[_Job]:
        """Return a job for each sequence."""
        stops = self.spans[0].stops
        begin = self.spans[0].rows.start
        starts = np.concatenate([[0], stops[:-1]])
        return [
            _Job(
                slice(self.sequences.start + i, self.sequences.start + i + 1),
                (_Span(slice(begin + first, begin + stop), np.array([stop - first])),),
            )
            for i, (first, stop) in enumerate(zip(starts.tolist(), stops.tolist()))
        ]


def _jobs(stops: NDArray[np.int64], enough: int, most: int) -> Iterator[_Job]:
    """Gather short sequences up to the first number of frames, cut long ones at the second."""
    begin, first = 0, 0
    for index, stop in enumerate(stops.tolist()):
        length = stop - (int(stops[index - 1]) if index else 0)
        if length > most:
            if index > first:
                yield _gathered(stops, first, index, begin)
            segments = [slice(i, min(i + most, stop)) for i in range(stop - length, stop, most)]
            spans = tuple(_Span(rows, np.array([rows.stop - rows.start])) for rows in segments)
            yield _Job(slice(index, index + 1), spans)
        elif stop - begin >= enough or index + 1 == len(stops):
            yield _gathered(stops, first, index + 1, begin)
        else:
            continue
        begin, first = stop, index + 1


def _gathered(stops: NDArray[np.int64], first: int, last: int, begin: int) -> _Job:
    local = stops[first:last] - begin
    return _Job(slice(first, last), (_Span(slice(begin, begin + int(local[-1])), local),))


def _tasks(stops: NDArray[np.int64], n_states: int, most: int = _MAX_TASKS) -> list[list[_Job]]:
    """Return the jobs of the CPU in lists of about as many frames each."""
    tasks: list[list[_Job]] = []
    share = -(-int(stops[-1]) // most)
    room = 0
    gathered = max(_LEAST_FRAMES, _GATHERED // n_states)
    for job in _jobs(stops, gathered, max(_LEAST_FRAMES, _MOST // n_states)):
        if room <= 0:
            tasks.append([])
            room = share
        tasks[-1].append(job)
        room -= job.n_frames
    return tasks


def _device_tasks(stops: NDArray[np.int64], n_states: int, memory: Memory) -> list[list[_Job]]:
    """Return the jobs of a device, one after the other, in one list."""
    most = _frames_for(n_states, memory)
    return [list(_jobs(stops, most, most))]


def _frames_for(n_states: int, memory: Memory) -> int:
    """Return how many frames a device has room for, twice, as enough is not the last sequence."""
    room = memory.budget() // (8 * _DEVICE_ARRAYS * (n_states + 1))
    # Memory is found again by those who ask for as much as before.
    return 2 ** max(0, (room // 2).bit_length() - 1)


class _Scaled:
    """Forward-backward on probabilities that are scaled frame by frame.

    Parameters
    ----------
    chain : Chain
    alphas : array of shape (n_frames, n_states)
        For the forward probabilities of the longest span.
    memory : Memory
    """

    def __init__(self, chain: Chain, alphas: Any, memory: Memory) -> None:
        self._kernels = kernels_for(memory.device.kind)
        self._chain = chain
        self._memory = memory
        self._alphas = alphas
        self._scales = memory.empty(len(alphas), np.float64)
        self._after = memory.empty(chain.n_states, np.float64)

    @cached_property
    def _transmat(self) -> Any:
        return self._memory.put(self._chain.transmat)

    @cached_property
    def _transmat_t(self) -> Any:
        return self._memory.put(self._chain.transmat_t)

    @cached_property
    def _ratios(self) -> Any:
        return self._memory.zeros((self._chain.n_states, self._chain.n_states), np.float64)

    def begin(self) -> Any:
        """Return what enters the first frame of a sequence, of which nothing is neglected yet."""
        return self._memory.put(np.append(self._chain.startprob, 0.0))

    def forward(self, densities: Any, stops: Any, begin: Any) -> tuple[Any, Any]:
        """Return the log-likelihoods of sequences, NaN where they underflow, and the end."""
        log_likelihoods = self._memory.empty(len(stops), np.float64)
        end = self._memory.empty(begin.shape, np.float64)
        self._kernels.forward(
            densities, stops, begin, self._transmat,
            self._alphas, self._scales, log_likelihoods, end,
        )  # fmt: skip
        return log_likelihoods, end

    def backward(
        self, densities: Any, stops: Any, log_likelihoods: Any, weights: Any, has_next: bool
    ) -> None:
        """Replace densities by the probabilities of states; add transitions up.

        Sequences whose log-likelihood is NaN are left out.
        """
        self._kernels.backward(
            densities, stops, log_likelihoods, self._alphas, self._scales, self._transmat_t,
            weights, has_next, self._after, self._ratios,
        )  # fmt: skip

    @property
    def transitions(self) -> NDArray:
        """Expected numbers of transitions."""
        transmat = self._chain.transmat
        return np.where(transmat > 0, transmat * self._memory.fetch(self._ratios), 0.0)


class _Logarithmic:
    """The same in the log domain, where nothing underflows, for sequences for which that failed.

    Parameters are as of `_Scaled`.
    """

    def __init__(self, chain: Chain, log_alphas: Any, memory: Memory) -> None:
        self._kernels = kernels_for(memory.device.kind)
        self._chain = chain
        self._memory = memory
        self._log_alphas = log_alphas
        self._after = memory.empty(chain.n_states, np.float64)

    @cached_property
    def _attempts(self) -> Any:
        return self._memory.put(np.array([np.nan]))

    @cached_property
    def _log_transmat(self) -> Any:
        return self._memory.put(self._chain.log_transmat)

    @cached_property
    def _log_transmat_t(self) -> Any:
        return self._memory.put(self._chain.log_transmat_t)

    @cached_property
    def _sums(self) -> Any:
        return self._memory.zeros((self._chain.n_states, self._chain.n_states), np.float64)

    def begin(self) -> Any:
        """Return what enters the first frame of a sequence."""
        return self._memory.put(self._chain.log_startprob)

    def forward(
        self, densities: Any, stops: Any, begin: Any, attempts: Any = None
    ) -> tuple[Any, Any]:
        """Return the log-likelihoods of sequences, computed where an attempt is NaN."""
        log_likelihoods = self._memory.empty(len(stops), np.float64)
        end = self._memory.empty(begin.shape, np.float64)
        self._kernels.forward_log(
            densities, stops, self._attempts if attempts is None else attempts, begin,
            self._log_transmat_t, self._log_alphas, log_likelihoods, end,
        )  # fmt: skip
        return log_likelihoods, end

    def backward(
        self,
        densities: Any,
        stops: Any,
        log_likelihoods: Any,
        weights: Any,
        has_next: bool,
        attempts: Any = None,
    ) -> None:
        """Replace densities by the probabilities of states; add transitions up."""
        self._kernels.backward_log(
            densities, stops, self._attempts if attempts is None else attempts, log_likelihoods,
            self._log_alphas, self._log_transmat, weights, has_next, self._after, self._sums,
        )  # fmt: skip

    @property
    def transitions(self) -> NDArray:
        """Expected numbers of transitions."""
        return self._memory.fetch(self._sums)


@dataclass(frozen=True)
class _Smoother:
    """Forward-backward over jobs.

    Attributes
    ----------
    chain : Chain
    emissions : Emissions
    memory : Memory
    consume : callable or None
        Told the probabilities of states; None asks for log-likelihoods only.
    transitions : ndarray of shape (n_states, n_states)
        Added to.
    """

    chain: Chain
    emissions: Emissions
    memory: Memory
    consume: Consume | None
    transitions: NDArray[np.float64]

    def run(self, job: _Job, weights: NDArray) -> NDArray:
        """Return the log-likelihoods of a job's sequences; add their transitions if consumed."""
        with self.memory.scope(_ADVICE):
            if self.memory.device.kind == "cuda" and len(job.spans) == 1:
                return self._run_together(job, weights)
            return self._run(job, weights)

    def _run(self, job: _Job, weights: NDArray) -> NDArray:
        alphas = self._new_rows(job)
        scaled = _Scaled(self.chain, alphas, self.memory)
        result = self._go(scaled, job, weights)
        if np.isfinite(result).all():
            self._add(scaled)
            return result
        if not job.is_single:
            parts = [self._run(part, weights[i : i + 1]) for i, part in enumerate(job.split())]
            return np.concatenate(parts)
        logarithmic = _Logarithmic(self.chain, alphas, self.memory)
        result = self._go(logarithmic, job, weights)
        self._add(logarithmic)
        return result

    def _new_rows(self, job: _Job) -> Any:
        """Return an array for the states of the frames of a job's longest span."""
        n_frames = max(span.n_frames for span in job.spans)
        return self.memory.empty((n_frames, self.chain.n_states), np.float64)

    def _add(self, recursion: _Scaled | _Logarithmic) -> None:
        if self.consume is not None:
            np.add(self.transitions, recursion.transitions, out=self.transitions)

    def _go(self, recursion: _Scaled | _Logarithmic, job: _Job, weights: NDArray) -> NDArray:
        """Return log-likelihoods; tell `consume` the probabilities, from the last span on.

        If one of the log-likelihoods is not finite, `consume` is told nothing.
        """
        memory, buffer = self.memory, self._new_rows(job)
        total = np.zeros(len(weights))
        begin, begins, found = recursion.begin(), [], []
        for span in job.spans:
            begins.append(begin)
            densities = buffer[: span.n_frames]
            self.emissions.log_densities(span.rows, densities)
            log_likelihoods, begin = recursion.forward(densities, memory.put(span.stops), begin)
            found.append(log_likelihoods)
            total += memory.fetch(log_likelihoods)
            if not np.isfinite(total).all():
                return total
        if self.consume is None:
            return total
        has_next = False
        for span, begin, log_likelihoods in zip(*map(reversed, (job.spans, begins, found))):
            densities, stops = buffer[: span.n_frames], memory.put(span.stops)
            if has_next:
                self.emissions.log_densities(span.rows, densities)
                recursion.forward(densities, stops, begin)
            recursion.backward(densities, stops, log_likelihoods, memory.put(weights), has_next)
            self.consume(span.rows, densities)
            has_next = True
        return total

    def _run_together(self, job: _Job, weights: NDArray) -> NDArray:
        """Run over whole sequences; which of them underflow need not be known on the host.

        The probabilities of impossible sequences that `consume` is told are NaN.
        """
        memory, (span,) = self.memory, job.spans
        densities, alphas = self._new_rows(job), self._new_rows(job)
        # When it is the turn of those that underflow, nobody reads the others' any longer.
        scaled = _Scaled(self.chain, alphas, memory)
        logarithmic = _Logarithmic(self.chain, alphas, memory)
        stops, weights = memory.put(span.stops), memory.put(weights)
        self.emissions.log_densities(span.rows, densities)
        attempts, _ = scaled.forward(densities, stops, scaled.begin())
        if self.consume is not None:
            scaled.backward(densities, stops, attempts, weights, False)
        begin = logarithmic.begin()
        log_likelihoods, _ = logarithmic.forward(densities, stops, begin, attempts)
        if self.consume is not None:
            logarithmic.backward(densities, stops, log_likelihoods, weights, False, attempts)
            self.consume(span.rows, densities)
        self._add(scaled)
        self._add(logarithmic)
        return memory.fetch(log_likelihoods)


def smooth(
    chain: Chain,
    emissions: Emissions,
    stops: NDArray[np.int64],
    new_sink: Callable[[], Any],
    *,
    weights: NDArray | None = None,
    max_tasks: int = _MAX_TASKS,
    n_jobs: int | None = None,
    memory: Memory | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Any]]:
    """Compute the probabilities of states given all frames of a sequence (Rabiner 1989, III.B).

    Parameters
    ----------
    chain : Chain
    emissions : Emissions
    stops : ndarray of shape (n_sequences,)
        Where each sequence ends.
    new_sink : callable
        Makes what takes the probabilities of one task: ``sink(rows, probabilities)`` is called once
        for all frames of all possible sequences and may change the array, which is reused. On a
        CUDA device it is also told those of impossible sequences, which are NaN.
    weights : ndarray of shape (n_sequences,), default=None
        Of the sequences in the transitions.
    max_tasks : int, default=32
        The most sinks.
    n_jobs : int or None, default=None
        Threads of the CPU.
    memory : Memory, default=None
        Of the device to work on, on which the emissions are; None for the CPU.

    Returns
    -------
    log_likelihoods : ndarray of shape (n_sequences,)
        Minus infinity for an impossible sequence.
    transitions : ndarray of shape (n_states, n_states)
        Weighted expected numbers of transitions; zeros where the sinks are None.
    sinks : list
        In the order of sequences.
    """
    weights = np.ones(len(stops)) if weights is None else weights
    memory = memory_of(CPU) if memory is None else memory
    max_tasks = max(1, min(max_tasks, int(_MAX_SUM_BYTES / chain.transmat.nbytes)))

    def run(jobs: list[_Job]) -> tuple[list[NDArray], NDArray, Any]:
        sink = new_sink()
        smoother = _Smoother(chain, emissions, memory, sink, np.zeros_like(chain.transmat))
        scores = [smoother.run(job, weights[job.sequences]) for job in jobs]
        return scores, smoother.transitions, sink

    if memory.device.kind == "cuda":
        tasks = _device_tasks(stops, chain.n_states, memory)
    else:
        tasks = _tasks(stops, chain.n_states, max_tasks)
    done = thread_map(run, tasks, n_jobs=n_jobs)
    scores = np.concatenate([score for part in done for score in part[0]])
    transitions = done[0][1]
    for part in done[1:]:
        transitions += part[1]
    return scores, transitions, [part[2] for part in done]


def score(
    chain: Chain,
    emissions: Emissions,
    stops: NDArray[np.int64],
    *,
    n_jobs: int | None = None,
    memory: Memory | None = None,
) -> NDArray[np.float64]:
    """Return the log-likelihood of each sequence; minus infinity for an impossible one.

    Parameters are as for `smooth`.
    """
    return smooth(chain, emissions, stops, lambda: None, n_jobs=n_jobs, memory=memory)[0]


def decode(
    chain: Chain,
    emissions: Emissions,
    stops: NDArray[np.int64],
    *,
    n_jobs: int | None = None,
    memory: Memory | None = None,
) -> tuple[NDArray[np.float64], Any]:
    """Find the most probable path through the states of each sequence (Viterbi 1967).

    Parameters are as for `smooth`.

    Returns
    -------
    log_probabilities : ndarray of shape (n_sequences,)
        Of the path and the frames together.
    states : array of shape (n_frames,), int64
        On the device.
    """
    memory = memory_of(CPU) if memory is None else memory
    states = memory.new(int(stops[-1]), np.int64)
    if memory.device.kind == "cuda":
        tasks = _device_tasks(stops, chain.n_states, memory)
    else:
        tasks = _tasks(stops, chain.n_states)

    def run(jobs: list[_Job]) -> NDArray:
        return np.concatenate([_decode_job(chain, emissions, job, states, memory) for job in jobs])

    return np.concatenate(thread_map(run, tasks, n_jobs=n_jobs)), states


def _decode_job(
    chain: Chain, emissions: Emissions, job: _Job, states: Any, memory: Memory
) -> NDArray:
    with memory.scope(_ADVICE):
        kernels = kernels_for(memory.device.kind)
        n_frames = max(span.n_frames for span in job.spans)
        buffer = memory.empty((n_frames, chain.n_states), np.float64)
        scores = memory.empty(job.sequences.stop - job.sequences.start, np.float64)
        log_transmat = memory.put(chain.log_transmat)
        log_transmat_t = memory.put(chain.log_transmat_t)

        def run_forward(span: _Span, begin: Any) -> tuple[Any, Any]:
            deltas = buffer[: span.n_frames]
            end = memory.empty(chain.n_states, np.float64)
            emissions.log_densities(span.rows, deltas)
            stops = memory.put(span.stops)
            kernels.viterbi_forward(deltas, stops, begin, log_transmat, scores, end)
            return deltas, end

        begin, begins, total = memory.put(chain.log_startprob), [], np.zeros(scores.shape)
        for span in job.spans:
            begins.append(begin)
            deltas, begin = run_forward(span, begin)
            total += memory.fetch(scores)
        next_state = -1
        for span, begin in zip(reversed(job.spans), reversed(begins)):
            if next_state >= 0:
                deltas, _ = run_forward(span, begin)
            path = states[span.rows]
            stops = memory.put(span.stops)
            kernels.viterbi_backward(deltas, stops, log_transmat_t, next_state, path)
            next_state = int(memory.fetch(path[:1])[0])
        return total
