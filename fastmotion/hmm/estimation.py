"""The steps of Baum and Welch, with the priors that hmmlearn has.

Rabiner 1989, "A tutorial on hidden Markov models", Proceedings of the IEEE 77, eq. 40 and 53; the
priors follow Huang, Acero and Hon 2001, "Spoken Language Processing", section 9.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.em.gaussians import GaussianMoments, Gaussians
from fastmotion.hmm.covariances import regular_gaussians
from fastmotion.hmm.emissions import GaussianEmissions, StateSums
from fastmotion.hmm.recursions import Chain, smooth
from fastmotion.hmm.sequences import FrameSequences

__all__ = ["BaumWelch", "Parameters", "Priors", "Statistics"]

# Bytes that the sums of all tasks may take together.
_MAX_SUM_BYTES = 24e6
_MAX_TASKS = 32
# The least denominator of a variance, as in hmmlearn.
_LEAST_COUNT = 1e-5


@dataclass(frozen=True)
class Parameters:
    """A hidden Markov model: a chain of states and what they emit."""

    chain: Chain
    gaussians: Gaussians


@dataclass(frozen=True)
class Statistics:
    """What the M-step needs.

    Attributes
    ----------
    first : ndarray of shape (n_states,)
        Expected number of sequences that begin in each state.
    transitions : ndarray of shape (n_states, n_states)
        Expected numbers of transitions.
    moments : GaussianMoments
        Of the frames of each state.
    """

    first: NDArray[np.float64]
    transitions: NDArray[np.float64]
    moments: GaussianMoments


class Priors:
    """Prior distributions of the parameters, checked and spread out over the states.

    Parameters
    ----------
    model : estimator
        Has the parameters ``startprob_prior``, ``transmat_prior``, ``means_prior``,
        ``means_weight``, ``covars_prior`` and ``covars_weight``.
    n_features : int

    Raises
    ------
    ValueError
        The shape of one does not fit, a value is not finite, or negative where it must not be.
    """

    def __init__(self, model: Any, n_features: int) -> None:
        k, d = model.n_components, n_features
        is_matrix = model.covariance_type in ("full", "tied")
        self.startprob = _spread(model.startprob_prior, (k,), "startprob_prior")
        self.transmat = _spread(model.transmat_prior, (k, k), "transmat_prior")
        self.means = _spread(model.means_prior, (k, d), "means_prior", is_signed=True)
        self.means_weight = _spread(model.means_weight, (k,), "means_weight")
        self.covars_weight = _spread(model.covars_weight, (k,), "covars_weight")
        covars = np.asarray(model.covars_prior, np.float64)
        if model.covariance_type == "spherical" and covars.shape == (k,):
            covars = covars[:, np.newaxis]
        shape = {"full": (k, d, d), "tied": (d, d)}.get(model.covariance_type, (k, d))
        # Off the diagonal a matrix may be negative.
        is_array = is_matrix and covars.ndim > 0
        self.covars = _spread(covars, shape, "covars_prior", is_signed=is_array)
        if is_array:
            _check_values(np.diagonal(self.covars, axis1=-2, axis2=-1), "diagonals of covars_prior")
        if model.covariance_type == "tied" and np.ptp(self.covars_weight) > 0:
            raise ValueError(
                "covars_weight must be one number for the one covariance of type 'tied', got "
                f"{self.covars_weight}"
            )
        surplus = d if is_matrix else 1
        self.freedom = np.maximum(self.covars_weight - surplus, 0)


def _spread(
    values: ArrayLike, shape: tuple[int, ...], name: str, *, is_signed: bool = False
) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    _check_values(array, name, is_signed=is_signed)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name} must be a number or of shape {shape}, got shape {array.shape}"
        ) from None


def _check_values(array: NDArray, name: str, *, is_signed: bool = False) -> None:
    is_wrong = ~np.isfinite(array) if is_signed else ~(np.isfinite(array) & (array >= 0))
    if is_wrong.any():
        what = "finite" if is_signed else "finite and not negative"
        raise ValueError(f"{name} must be {what}, got {array[is_wrong][0]}")


class BaumWelch:
    """Expectation-maximisation of a hidden Markov model, for `em.driver.run_em`.

    Parameters
    ----------
    start : Parameters
    sequences : FrameSequences
    sequence_weight : ndarray of shape (n_sequences,)
        On the host, as is the next.
    frame_weight : ndarray of shape (n_frames,) or None
    priors : Priors
    learned : str
        Which parameters change: "s", "t", "m", "c" for startprob, transmat, means, covars.
    min_covar : float
        Added to the diagonal of a covariance that is singular.
    n_jobs : int or None
        Threads.
    singular : iterable of int, default=()
        States whose covariance was singular at the start.

    Attributes
    ----------
    empty_states : list of int
        States that no frame belonged to in the last M-step.
    singular : set of int
        States whose covariance has had to be widened.
    """

    def __init__(
        self,
        start: Parameters,
        sequences: FrameSequences,
        sequence_weight: NDArray,
        frame_weight: NDArray | None,
        *,
        priors: Priors,
        learned: str,
        min_covar: float,
        n_jobs: int | None,
        singular: Iterable[int] = (),
    ) -> None:
        self._present = start
        self._sequences = sequences
        self._weights = sequence_weight
        row_weight, put = sequences.spread(sequence_weight), sequences.memory.put
        self._frame_weight = None if frame_weight is None else put(frame_weight)
        self._row_weight = None if row_weight is None else put(row_weight)
        self._priors = priors
        self._learned = learned
        self._min_covar = min_covar
        self._n_jobs = n_jobs
        self.empty_states: list[int] = []
        self.singular = set(singular)

    def parameters(self) -> Parameters:
        """Return the present parameters."""
        return self._present

    def expectation(self) -> tuple[Statistics, float]:
        """Return the expected statistics and the weighted log-likelihood.

        Raises
        ------
        ValueError
            A sequence is impossible under the present parameters.
        """
        with self._sequences.memory.scope():
            return self._expectation()

    def _expectation(self) -> tuple[Statistics, float]:
        chain, gaussians = self._present.chain, self._present.gaussians
        emissions = GaussianEmissions(gaussians, self._sequences, self._frame_weight)
        starts = self._sequences.starts
        sum_bytes = emissions.new_sums().nbytes + chain.transmat.nbytes
        scores, transitions, sinks = smooth(
            chain,
            emissions,
            self._sequences.stops,
            lambda: StateSums(emissions, starts, self._row_weight),
            weights=self._weights,
            max_tasks=max(1, min(_MAX_TASKS, int(_MAX_SUM_BYTES / sum_bytes))),
            n_jobs=self._n_jobs,
            memory=self._sequences.memory,
        )
        counts = self._weights > 0
        impossible = np.flatnonzero(~np.isfinite(scores) & counts)
        if impossible.size:
            raise ValueError(
                f"sequences {_list(impossible)} of X are impossible under the present parameters: "
                "their log-likelihood is not finite; allow more in startprob_ and transmat_, or "
                "scale X"
            )
        total = sinks[0]
        for sink in sinks[1:]:
            total.add(sink)
        statistics = Statistics(total.first, transitions, emissions.moments(total.moments))
        return statistics, float(np.dot(self._weights[counts], scores[counts]))

    def maximisation(self, statistics: Statistics) -> None:
        """Take on the parameters that are best for the statistics and the priors."""
        chain, gaussians = self._present.chain, self._present.gaussians
        startprob, transmat = chain.startprob, chain.transmat
        means, covariances = gaussians.means, gaussians.covariances
        priors, moments = self._priors, statistics.moments
        if "s" in self._learned:
            startprob = _update(startprob, priors.startprob, statistics.first)
        if "t" in self._learned:
            transmat = _update(transmat, priors.transmat, statistics.transitions)
        # A count that is not a normal number has lost its digits: there is nothing to learn from.
        counts = np.where(moments.counts > 1e-300, moments.counts, 0.0)
        self.empty_states = np.flatnonzero(counts == 0).tolist()
        if "m" in self._learned:
            means = _best_means(means, counts, moments.means, priors)
        if "c" in self._learned:
            covariances = self._best_covariances(means, counts, moments)
        gaussians, singular = regular_gaussians(
            means, covariances, gaussians.covariance_type, self._min_covar
        )
        self.singular.update(singular)
        self._present = Parameters(Chain(startprob, transmat), gaussians)

    def _best_covariances(
        self, means: NDArray, counts: NDArray, moments: GaussianMoments
    ) -> NDArray:
        priors, old = self._priors, self._present.gaussians
        kind = old.covariance_type
        is_matrix = kind in ("full", "tied")
        tail = (slice(None),) + (np.newaxis,) * (2 if is_matrix else 1)
        step, shift = moments.means - means, means - priors.means
        # About the new means, and about the prior's.
        scatter = moments.scatter + counts[tail] * _squares(step, is_matrix)
        scatter = scatter + priors.means_weight[tail] * _squares(shift, is_matrix)
        if kind == "tied":
            total = priors.freedom[0] + counts.sum()
            if total == 0:
                return old.covariances
            return (priors.covars + scatter.sum(axis=0)) / total
        count = (priors.freedom + counts)[tail]
        if kind == "full":
            known = np.where(count > 0, count, 1.0)
            return np.where(count > 0, (priors.covars + scatter) / known, old.covariances)
        variances = (priors.covars + scatter) / np.maximum(count, _LEAST_COUNT)
        return variances.mean(axis=1) if kind == "spherical" else variances


def _update(old: NDArray, prior: NDArray, counts: NDArray) -> NDArray:
    """Return probabilities, in rows: those that were 0 stay it, rows without counts stay."""
    new = np.where(old == 0, 0.0, np.maximum(prior - 1 + counts, 0.0))
    total = new.sum(axis=-1, keepdims=True)
    return np.where(total > 0, new / np.where(total > 0, total, 1.0), old)


def _best_means(old: NDArray, counts: NDArray, means: NDArray, priors: Priors) -> NDArray:
    weight = (priors.means_weight + counts)[:, np.newaxis]
    # As a step from the data's mean, which costs no digits far from the origin.
    share = priors.means_weight[:, np.newaxis] / np.where(weight > 0, weight, 1.0)
    best = means + share * (priors.means - means)
    return np.where(weight > 0, best, old)


def _squares(vectors: NDArray, is_matrix: bool) -> NDArray:
    return vectors[:, :, np.newaxis] * vectors[:, np.newaxis] if is_matrix else vectors**2


def _list(indices: Any) -> str:
    shown = ", ".join(str(index) for index in indices[:8])
    return shown if len(indices) <= 8 else f"{shown}, ..."
