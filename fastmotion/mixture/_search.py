"""Candidates for each number of components: descents from many components, and their polish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmotion.em.gaussians import COVARIANCE_TYPES, ILL_DEFINED, Gaussians
from fastmotion.em.seeding import random_rows
from fastmotion.mixture._model import Mixture
from fastmotion.mixture._search_data import SearchData
from fastmotion.mixture.kernels.search import propose_mergers

__all__ = ["Candidate", "Search"]

# Weights, means less the centre, and full covariances.
Components = tuple[NDArray, NDArray, NDArray]

# A descent starts from so many times the most components wanted. From fewer, some true component
# often has no part among them; from more, nothing was gained.
_OVERSTART = 2
# But each component has samples for so many as its covariance needs: of fewer, most collapse.
_ROOM = 3

# A descent's EM need not converge: only the choice of the next merger depends on it.
_DESCENT_TOL = 0.3
_DESCENT_ITER = 15

# Descents look at no more samples: what they find is refined on all.
_DESCENT_SAMPLES = 20_000

# Variances of rounding are at most this share of a feature's variance.
_ROUNDING_SHARE = 0.05
# Share of its variances that is added to a covariance that is singular by rounding.
_SINGULAR_SHARE = 1e-12


@dataclass(frozen=True)
class Candidate:
    """A mixture, its means less the centre of the data, and its log-likelihood."""

    weights: NDArray
    means: NDArray
    covariances: NDArray
    log_likelihood: float

    @property
    def n_components(self) -> int:
        """Number of components."""
        return len(self.weights)

    @property
    def components(self) -> Components:
        """Weights, means and covariances."""
        return self.weights, self.means, self.covariances


class Search:
    """A search for good mixtures of every number of components up to a largest.

    Parameters
    ----------
    data : SearchData
    covariance_type : {"full", "tied", "diag", "spherical"}
    reg_covar : float
    n_jobs : int or None

    Attributes
    ----------
    spread : ndarray of shape (n_features, n_features)
        Covariance of all samples, of the kind wanted for one component.
    total_weight : float

    Raises
    ------
    ValueError
        A feature is constant and ``reg_covar`` is 0, or squares of X overflow.
    """

    def __init__(
        self,
        data: SearchData,
        *,
        covariance_type: str,
        reg_covar: float,
        n_jobs: int | None,
    ) -> None:
        self.covariance_type = covariance_type
        self.n_jobs = n_jobs
        self._data = data
        self.total_weight = data.total_weight
        self._centre = data.centre
        with np.errstate(over="ignore", invalid="ignore"):
            covariance = _of_kind(data.scatter() / self.total_weight, covariance_type)
        if not np.isfinite(covariance).all():
            raise ValueError("squares of X overflow; scale X, or leave out what is so far off")
        self._floor = reg_covar + _rounding(data.steps(), np.diagonal(covariance))
        if not (self._floor > 0).all():
            raise ValueError(ILL_DEFINED)
        self.spread = covariance + np.diag(self._floor)
        self._is_full = covariance_type in ("full", "tied")
        self._samples_needed = len(self._centre) + 1 if self._is_full else 2
        self._kind = COVARIANCE_TYPES.index(covariance_type)

    def descend(
        self,
        min_components: int,
        max_components: int,
        n_starts: int,
        random_state: np.random.RandomState,
    ) -> dict[int, Candidate]:
        """Return the best mixture that descents found for each number of components.

        Numbers whose mixtures all had components of fewer samples than a covariance needs are left
        out; there is one of ``min_components`` in any case. Log-likelihoods are those of the
        samples that the descents looked at, scaled up to all.
        """
        data = self._data
        if len(data) > _DESCENT_SAMPLES:
            data = data.take(
                np.sort(random_state.choice(len(data), _DESCENT_SAMPLES, replace=False))
            )
        room = int(len(data) / (_ROOM * self._samples_needed))
        n_first = max(min_components, min(_OVERSTART * max_components, room))
        starts = [
            self._start(data, n_first, start % 2 == 0, random_state) for start in range(n_starts)
        ]

        def run(start: Components) -> dict[int, Candidate]:
            return self._descent(data, start, min_components, max_components)

        best: dict[int, Candidate] = {}
        for found in data.map(run, starts, self.n_jobs):
            for k, candidate in found.items():
                if k not in best or candidate.log_likelihood > best[k].log_likelihood:
                    best[k] = candidate
        if data is self._data:
            return best
        refined = self.polish(list(best.values()), tol=np.inf, max_iter=0)
        return {candidate.n_components: candidate for candidate in refined}

    def polish(self, candidates: list[Candidate], *, tol: float, max_iter: int) -> list[Candidate]:
        """Return candidates after EM on all samples.

        It ends when the log-likelihood grows by less than ``tol`` in an iteration.
        """

        def run(candidate: Candidate) -> Candidate:
            weights, means, covariances = candidate.components
            components = weights.copy(), means.copy(), covariances.copy()
            log_likelihood = self._climb(self._data, components, tol, max_iter)
            return Candidate(*components, float(log_likelihood))

        return self._data.map(run, candidates, self.n_jobs)

    def mixture(self, candidate: Candidate) -> Mixture:
        """Return a candidate in the place of the data."""
        means = candidate.means + self._centre
        covariances = candidate.covariances
        try:
            gaussians = self._gaussians(means, covariances)
        except ValueError:  # samples so far off that beside them the others have no width
            variances = np.diagonal(covariances, axis1=1, axis2=2)
            widened = covariances + _SINGULAR_SHARE * variances[:, None] * np.eye(means.shape[1])
            gaussians = self._gaussians(means, widened)
        return Mixture(candidate.weights / candidate.weights.sum(), gaussians)

    def _gaussians(self, means: NDArray, covariances: NDArray) -> Gaussians:
        packed = {
            "full": lambda: covariances,
            "tied": lambda: covariances[0],
            "diag": lambda: np.diagonal(covariances, axis1=1, axis2=2),
            "spherical": lambda: covariances[:, 0, 0],
        }[self.covariance_type]()
        return Gaussians.from_covariances(means, packed, self.covariance_type)

    def _start(
        self,
        data: SearchData,
        n_components: int,
        spread: bool,
        random_state: np.random.RandomState,
    ) -> Components:
        """Return equal components at samples, drawn far apart or at random."""
        if spread:
            scale = np.sqrt(np.diagonal(self.spread))
            rows = data.spread_rows(self._centre, scale, n_components, random_state, self.n_jobs)
        else:
            rows = random_rows(len(data), n_components, random_state)
        shrink = n_components ** (-2 / len(self._centre))
        covariance = shrink * self.spread
        return (
            np.full(n_components, 1 / n_components),
            data.rows(rows) - self._centre,
            np.tile(covariance, (n_components, 1, 1)),
        )

    def _descent(
        self,
        data: SearchData,
        components: Components,
        min_components: int,
        max_components: int,
    ) -> dict[int, Candidate]:
        """Run EM, take a component away, and so on down; return the mixtures on the way."""
        total = data.total_weight
        least = self._samples_needed / total
        found = {}
        while True:
            log_likelihood = self._climb(data, components, _DESCENT_TOL, _DESCENT_ITER)
            n_components, lightest = len(components[0]), int(components[0].argmin())
            is_sound = components[0][lightest] >= least
            if n_components <= max_components and (is_sound or n_components == min_components):
                scaled = float(log_likelihood * self.total_weight / total)
                found[n_components] = Candidate(*components, scaled)
            if n_components == min_components:
                return found
            if is_sound:
                components = self._merge_two(data, components)
            else:
                components = _without(components, lightest)

    def _merge_two(self, data: SearchData, components: Components) -> Components:
        """Merge the two components whose merger costs the least, of those that look best."""
        pairs, *proposed = propose_mergers(self._kind, *components)
        losses = data.losses_of_mergers(self._centre, self._kind, pairs, *proposed)
        best = int(np.argmin(losses))
        kept, removed = pairs[best]
        merged: Components = tuple(part.copy() for part in components)  # type: ignore[assignment]
        for part, every in zip(merged, proposed):
            part[kept] = every[len(part) + best]
        return _without(merged, removed)

    def _climb(self, data: SearchData, components: Components, tol: float, max_iter: int) -> float:
        """Improve components in place and return their log-likelihood."""
        return data.climb(self._centre, self._kind, self._floor, components, tol, max_iter)


def _of_kind(covariance: NDArray, covariance_type: str) -> NDArray:
    """Return a covariance as one component of the type would have it."""
    if covariance_type in ("full", "tied"):
        return covariance
    variances = np.diagonal(covariance)
    if covariance_type == "spherical":
        variances = np.full_like(variances, variances.mean())
    return np.diag(variances)


def _without(components: Components, removed: int) -> Components:
    weights, means, covariances = (np.delete(part, removed, axis=0) for part in components)
    return weights / weights.sum(), means, covariances


def _rounding(steps: NDArray, variances: NDArray) -> NDArray:
    """Return the variance that rounding gave each feature: a twelfth of its step, squared.

    Values that were rounded tie, and a component of none but ties would have any density. The
    smallest step between two values is that of rounding, or next to nothing.
    """
    return np.minimum(steps**2 / 12, _ROUNDING_SHARE * variances)
