"""Candidates for each number of components: descents from many components, and their polish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.parallel import thread_map
from fastmotion.em.gaussians import COVARIANCE_TYPES, ILL_DEFINED, Gaussians
from fastmotion.em.seeding import kmeans_plusplus, random_rows
from fastmotion.mixture._model import Mixture
from fastmotion.mixture.kernels.search import climb_diag, climb_full, find_merger

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
# Steps below this share of a feature's range are rounding of the numbers themselves.
_LEAST_STEP = 1e-9
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
    X : float64 ndarray of shape (n_samples, n_features)
        Finite, C-contiguous.
    sample_weight : float64 ndarray of shape (n_samples,)
        Positive.
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
        X: NDArray,
        sample_weight: NDArray,
        *,
        covariance_type: str,
        reg_covar: float,
        n_jobs: int | None,
    ) -> None:
        self.covariance_type = covariance_type
        self.n_jobs = n_jobs
        self.total_weight = float(sample_weight.sum())
        self._X, self._sample_weight = X, sample_weight
        self._centre = sample_weight @ X / self.total_weight
        with np.errstate(over="ignore", invalid="ignore"):
            covariance = self._covariance_of_all()
        if not np.isfinite(covariance).all():
            raise ValueError("squares of X overflow; scale X, or leave out what is so far off")
        self._floor = reg_covar + _rounding(X, np.diagonal(covariance))
        if not (self._floor > 0).all():
            raise ValueError(ILL_DEFINED)
        self.spread = covariance + np.diag(self._floor)
        self._is_full = covariance_type in ("full", "tied")
        self._samples_needed = X.shape[1] + 1 if self._is_full else 2
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
        rows = self._rows_to_descend_on(random_state)
        X, weight = self._X[rows], self._sample_weight[rows]
        room = int(len(X) / (_ROOM * self._samples_needed))
        n_first = max(min_components, min(_OVERSTART * max_components, room))
        starts = [
            self._start(X, weight, n_first, start % 2 == 0, random_state)
            for start in range(n_starts)
        ]

        def run(start: Components) -> dict[int, Candidate]:
            return self._descent(X, weight, start, min_components, max_components)

        best: dict[int, Candidate] = {}
        for found in thread_map(run, starts, n_jobs=self.n_jobs):
            for k, candidate in found.items():
                if k not in best or candidate.log_likelihood > best[k].log_likelihood:
                    best[k] = candidate
        if len(X) == len(self._X):
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
            log_likelihood = self._climb(self._X, self._sample_weight, components, tol, max_iter)
            return Candidate(*components, float(log_likelihood))

        return thread_map(run, candidates, n_jobs=self.n_jobs)

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

    def _covariance_of_all(self) -> NDArray:
        """Return the covariance of the data, of the kind wanted for one component."""
        scatter = np.zeros((self._X.shape[1],) * 2)
        for first in range(0, len(self._X), _DESCENT_SAMPLES):
            rows = slice(first, first + _DESCENT_SAMPLES)
            away = self._X[rows] - self._centre
            scatter += (away.T * self._sample_weight[rows]) @ away
        covariance = scatter / self.total_weight
        if self.covariance_type in ("full", "tied"):
            return covariance
        variances = np.diagonal(covariance)
        if self.covariance_type == "spherical":
            variances = np.full_like(variances, variances.mean())
        return np.diag(variances)

    def _rows_to_descend_on(self, random_state: np.random.RandomState) -> slice | NDArray:
        if len(self._X) <= _DESCENT_SAMPLES:
            return slice(None)
        return np.sort(random_state.choice(len(self._X), _DESCENT_SAMPLES, replace=False))

    def _start(
        self,
        X: NDArray,
        weight: NDArray,
        n_components: int,
        spread: bool,
        random_state: np.random.RandomState,
    ) -> Components:
        """Return equal components at samples, drawn far apart or at random."""
        if spread:
            scale = np.sqrt(np.diagonal(self.spread))
            rows = kmeans_plusplus(
                (X - self._centre) / scale,
                n_components,
                sample_weight=weight,
                random_state=random_state,
                n_jobs=self.n_jobs,
            )
        else:
            rows = random_rows(len(X), n_components, random_state)
        shrink = n_components ** (-2 / X.shape[1])
        covariance = shrink * self.spread
        return (
            np.full(n_components, 1 / n_components),
            X[rows] - self._centre,
            np.tile(covariance, (n_components, 1, 1)),
        )

    def _descent(
        self,
        X: NDArray,
        weight: NDArray,
        components: Components,
        min_components: int,
        max_components: int,
    ) -> dict[int, Candidate]:
        """Run EM, take a component away, and so on down; return the mixtures on the way."""
        total = weight.sum()
        least = self._samples_needed / total
        found = {}
        while True:
            log_likelihood = self._climb(X, weight, components, _DESCENT_TOL, _DESCENT_ITER)
            n_components, lightest = len(components[0]), int(components[0].argmin())
            is_sound = components[0][lightest] >= least
            if n_components <= max_components and (is_sound or n_components == min_components):
                scaled = float(log_likelihood * self.total_weight / total)
                found[n_components] = Candidate(*components, scaled)
            if n_components == min_components:
                return found
            if is_sound:
                components = self._merge_two(X, weight, components)
            else:
                components = _without(components, lightest)

    def _merge_two(self, X: NDArray, weight: NDArray, components: Components) -> Components:
        mean, covariance = np.empty(X.shape[1]), np.empty((X.shape[1],) * 2)
        kept, removed = find_merger(
            X, weight, self._centre, self._kind, *components, mean, covariance
        )
        weights, means, covariances = (part.copy() for part in components)
        weights[kept] += weights[removed]
        means[kept], covariances[kept] = mean, covariance
        return _without((weights, means, covariances), removed)

    def _climb(
        self, X: NDArray, weight: NDArray, components: Components, tol: float, max_iter: int
    ) -> float:
        """Improve components in place and return their log-likelihood."""
        climb = climb_full if self._is_full else climb_diag
        return climb(X, weight, self._centre, self._kind, self._floor, *components, tol, max_iter)


def _without(components: Components, removed: int) -> Components:
    weights, means, covariances = (np.delete(part, removed, axis=0) for part in components)
    return weights / weights.sum(), means, covariances


def _rounding(X: NDArray, variances: NDArray) -> NDArray:
    """Return the variance that rounding gave each feature: a twelfth of its step, squared.

    Values that were rounded tie, and a component of none but ties would have any density. The
    smallest step between two values is that of rounding, or next to nothing.
    """
    steps = np.empty(X.shape[1])
    for j in range(X.shape[1]):
        found = np.diff(np.sort(X[:, j]))
        found = found[found > _LEAST_STEP * found.sum()]
        steps[j] = found.min() if len(found) else 0
    return np.minimum(steps**2 / 12, _ROUNDING_SHARE * variances)
