"""Forward-backward and Viterbi over many sequences, on threads, in bounded memory.

The sequences are cut into tasks, and these into spans that are worked on at once: several short
sequences, or a segment of a long one. Of a long sequence only what enters each segment is kept;
going backward, densities and forward probabilities of a segment are computed again. Cuts depend on
lengths and numbers of states only, so results do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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

Consume = Callable[[slice, NDArray], None]


class Emissions(Protocol):
    """What gives the densities of frames."""

    def log_densities(self, rows: slice, out: NDArray) -> None:
        """Set `out` to the log-densities of frames in all states."""


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


def _jobs(stops: NDArray[np.int64], n_states: int) -> Iterator[_Job]:
    most = max(_LEAST_FRAMES, _MOST // n_states)
    enough = max(_LEAST_FRAMES, _GATHERED // n_states)
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
    """Return the jobs in lists of about as many frames each."""
    tasks: list[list[_Job]] = []
    share = -(-int(stops[-1]) // most)
    room = 0
    for job in _jobs(stops, n_states):
        if room <= 0:
            tasks.append([])
            room = share
        tasks[-1].append(job)
        room -= job.n_frames
    return tasks


class _Scaled:
    """Forward-backward on probabilities that are scaled frame by frame."""

    def __init__(self, chain: Chain, n_frames: int) -> None:
        self._kernels = kernels_for("cpu")
        self._chain = chain
        self._alphas = np.empty((n_frames, chain.n_states))
        self._scales = np.empty(n_frames)
        self._after = np.empty(chain.n_states)

    @cached_property
    def _ratios(self) -> NDArray:
        return np.zeros((self._chain.n_states, self._chain.n_states))

    def begin(self) -> NDArray:
        """Return what enters the first frame of a sequence, of which nothing is neglected yet."""
        return np.append(self._chain.startprob, 0.0)

    def forward(self, densities: NDArray, stops: NDArray, begin: NDArray) -> tuple[Any, NDArray]:
        """Return the log-likelihoods of sequences, NaN where they underflow, and the end."""
        log_likelihoods, end = np.empty(len(stops)), np.empty_like(begin)
        self._kernels.forward(
            densities, stops, begin, self._chain.transmat,
            self._alphas, self._scales, log_likelihoods, end,
        )  # fmt: skip
        return log_likelihoods, end

    def backward(
        self, densities: NDArray, stops: NDArray, weights: NDArray, has_next: bool
    ) -> None:
        """Replace densities by the probabilities of states; add transitions up."""
        self._kernels.backward(
            densities, stops, self._alphas, self._scales, self._chain.transmat_t,
            weights, has_next, self._after, self._ratios,
        )  # fmt: skip

    @property
    def transitions(self) -> NDArray:
        """Expected numbers of transitions."""
        transmat = self._chain.transmat
        return np.where(transmat > 0, transmat * self._ratios, 0.0)


class _Logarithmic:
    """The same for one sequence in the log domain, where nothing underflows."""

    def __init__(self, chain: Chain, n_frames: int) -> None:
        self._kernels = kernels_for("cpu")
        self._chain = chain
        self._log_alphas = np.empty((n_frames, chain.n_states))
        self._after = np.empty(chain.n_states)

    @cached_property
    def transitions(self) -> NDArray:
        """Expected numbers of transitions."""
        return np.zeros((self._chain.n_states, self._chain.n_states))

    def begin(self) -> NDArray:
        return self._chain.log_startprob

    def forward(self, densities: NDArray, stops: NDArray, begin: NDArray) -> tuple[Any, NDArray]:
        end = np.empty_like(begin)
        log_alphas = self._log_alphas[: len(densities)]
        total = self._kernels.forward_log(
            densities, begin, self._chain.log_transmat_t, log_alphas, end
        )
        return np.array([total]), end

    def backward(
        self, densities: NDArray, stops: NDArray, weights: NDArray, has_next: bool
    ) -> None:
        log_alphas = self._log_alphas[: len(densities)]
        self._kernels.backward_log(
            densities, log_alphas, self._chain.log_transmat, float(weights[0]),
            has_next, self._after, self.transitions,
        )  # fmt: skip


def _forward_backward(
    recursion: _Scaled | _Logarithmic,
    emissions: Emissions,
    job: _Job,
    weights: NDArray,
    consume: Consume | None,
) -> NDArray:
    """Return log-likelihoods; tell `consume` the probabilities of states, from the last span on.

    If one of the log-likelihoods is not finite, `consume` is told nothing.
    """
    n_states = len(recursion._after)
    buffer = np.empty((max(span.n_frames for span in job.spans), n_states))
    total = np.zeros(len(weights))
    begin, begins = recursion.begin(), []
    for span in job.spans:
        begins.append(begin)
        densities = buffer[: span.n_frames]
        emissions.log_densities(span.rows, densities)
        log_likelihoods, begin = recursion.forward(densities, span.stops, begin)
        total += log_likelihoods
        if not np.isfinite(total).all():
            return total
    if consume is None:
        return total
    has_next = False
    for span, begin in zip(reversed(job.spans), reversed(begins)):
        densities = buffer[: span.n_frames]
        if has_next:
            emissions.log_densities(span.rows, densities)
            recursion.forward(densities, span.stops, begin)
        recursion.backward(densities, span.stops, weights, has_next)
        consume(span.rows, densities)
        has_next = True
    return total


def _smooth_job(
    chain: Chain,
    emissions: Emissions,
    job: _Job,
    weights: NDArray,
    consume: Consume | None,
    transitions: NDArray,
) -> NDArray:
    """Return the log-likelihoods of a job's sequences; add their transitions if consumed."""
    n_frames = max(span.n_frames for span in job.spans)
    scaled = _Scaled(chain, n_frames)
    result = _forward_backward(scaled, emissions, job, weights, consume)
    if np.isfinite(result).all():
        if consume is not None:
            transitions += scaled.transitions
        return result
    if not job.is_single:
        parts = [
            _smooth_job(chain, emissions, part, weights[i : i + 1], consume, transitions)
            for i, part in enumerate(job.split())
        ]
        return np.concatenate(parts)
    logarithmic = _Logarithmic(chain, n_frames)
    result = _forward_backward(logarithmic, emissions, job, weights, consume)
    if consume is not None:
        transitions += logarithmic.transitions
    return result


def smooth(
    chain: Chain,
    emissions: Emissions,
    stops: NDArray[np.int64],
    new_sink: Callable[[], Any],
    *,
    weights: NDArray | None = None,
    max_tasks: int = _MAX_TASKS,
    n_jobs: int | None = None,
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
        for all frames of all possible sequences and may change the array, which is reused.
    weights : ndarray of shape (n_sequences,), default=None
        Of the sequences in the transitions.
    max_tasks : int, default=32
        The most sinks.
    n_jobs : int or None, default=None
        Threads.

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
    max_tasks = max(1, min(max_tasks, int(_MAX_SUM_BYTES / chain.transmat.nbytes)))

    def run(jobs: list[_Job]) -> tuple[list[NDArray], NDArray, Any]:
        sink = new_sink()
        transitions = np.zeros_like(chain.transmat)
        scores = [
            _smooth_job(chain, emissions, job, weights[job.sequences], sink, transitions)
            for job in jobs
        ]
        return scores, transitions, sink

    done = thread_map(run, _tasks(stops, chain.n_states, max_tasks), n_jobs=n_jobs)
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
) -> NDArray[np.float64]:
    """Return the log-likelihood of each sequence; minus infinity for an impossible one.

    Parameters are as for `smooth`.
    """
    return smooth(chain, emissions, stops, lambda: None, n_jobs=n_jobs)[0]


def decode(
    chain: Chain,
    emissions: Emissions,
    stops: NDArray[np.int64],
    *,
    n_jobs: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find the most probable path through the states of each sequence (Viterbi 1967).

    Parameters are as for `smooth`.

    Returns
    -------
    log_probabilities : ndarray of shape (n_sequences,)
        Of the path and the frames together.
    states : ndarray of shape (n_frames,)
    """
    states = np.empty(int(stops[-1]), np.int64)

    def run(jobs: list[_Job]) -> NDArray:
        return np.concatenate([_decode_job(chain, emissions, job, states) for job in jobs])

    tasks = _tasks(stops, chain.n_states)
    return np.concatenate(thread_map(run, tasks, n_jobs=n_jobs)), states


def _decode_job(chain: Chain, emissions: Emissions, job: _Job, states: NDArray) -> NDArray:
    kernels = kernels_for("cpu")
    buffer = np.empty((max(span.n_frames for span in job.spans), chain.n_states))

    scores = np.empty(job.sequences.stop - job.sequences.start)

    def run_forward(span: _Span, begin: NDArray) -> tuple[NDArray, NDArray]:
        deltas, end = buffer[: span.n_frames], np.empty(chain.n_states)
        emissions.log_densities(span.rows, deltas)
        kernels.viterbi_forward(deltas, span.stops, begin, chain.log_transmat, scores, end)
        return deltas, end

    begin, begins, total = chain.log_startprob, [], np.zeros_like(scores)
    for span in job.spans:
        begins.append(begin)
        deltas, begin = run_forward(span, begin)
        total += scores
    next_state = -1
    for span, begin in zip(reversed(job.spans), reversed(begins)):
        if next_state >= 0:
            deltas, _ = run_forward(span, begin)
        path = states[span.rows]
        kernels.viterbi_backward(deltas, span.stops, chain.log_transmat_t, next_state, path)
        next_state = int(path[0])
    return total
