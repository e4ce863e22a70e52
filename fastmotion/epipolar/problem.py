"""The fundamental matrix as a problem for the driver of random samples."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.compile import as_kernel_input
from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.launching import Kernels, cpu_kernels
from fastmotion.epipolar.ransac import Candidate

__all__ = ["RESOLUTION", "FundamentalProblem", "sampson_distances", "squared_distances"]

# Distances that float32 tells from zero, in coordinates of the order of one.
RESOLUTION = 2e-6
_SMALLEST = 1e-100

# A model of seven noisy matches is off by more than the threshold in most places: its inliers at
# this multiple of it lead it to those of the threshold itself.
_WIDER = 3.0
_WIDE_STEPS, _STEPS = 3, 6
_TOLERANCE = 1e-3
_LAST_STEPS, _LAST_TOLERANCE = 10, 1e-4


class FundamentalProblem:
    """Samples of seven or eight matches, Sampson distances, truncated least squares.

    Parameters
    ----------
    matches : CentredMatches
    threshold : float
        In pixels.
    sample_size : {7, 8}
    seed : numpy.uint64
    refines : bool
        Whether models of samples are improved.
    kernels : Kernels or None, default=None
        Of the device to work on; None for the CPU's.

    Attributes
    ----------
    kernels : Kernels
    threshold : float
        In the unit of the coordinates.
    scoring_threshold : float
        The same, but no less than what float32 tells from zero.
    """

    def __init__(
        self,
        matches: CentredMatches,
        threshold: float,
        *,
        sample_size: int,
        seed: np.uint64,
        refines: bool = True,
        kernels: Kernels | None = None,
    ) -> None:
        self.kernels = kernels or cpu_kernels()
        self.matches = matches
        self.sample_size = sample_size
        self._seed = seed
        self._oriented = True
        # Its square must be a number.
        self.threshold = min(max(threshold * matches.scale, _SMALLEST), 1 / _SMALLEST)
        self._inverse_threshold = 1 / self.threshold**2
        self.scoring_threshold = max(self.threshold, RESOLUTION)
        self._scoring = np.float32(1 / self.scoring_threshold**2)
        self._refines = refines
        # Made here, once, rather than by several threads at a time.
        self._scored = matches.scored
        self._points = matches.refined

    def among(self, is_kept: NDArray[np.bool_], rng: np.random.Generator) -> FundamentalProblem:
        """Return the same problem for some of the matches."""
        return FundamentalProblem(
            self.matches.subset(is_kept, rng),
            self.threshold / self.matches.scale,
            sample_size=self.sample_size,
            seed=self._seed,
            refines=self._refines,
            kernels=self.kernels,
        )

    def with_any_orientation(self) -> FundamentalProblem:
        """Return the same problem, whose samples may have models that no cameras have seen."""
        problem = copy.copy(self)
        problem._oriented = False
        return problem

    def search(
        self,
        pools: NDArray[np.int64],
        first_trial: int,
        models: NDArray[np.float64],
        gains: NDArray[np.float64],
    ) -> None:
        """Make trials; keep models of more gain than those that are there, the best first."""
        n = len(self.matches.order)
        gains *= n
        self.kernels.fundamental.search(
            self._seed,
            first_trial,
            pools,
            self.sample_size,
            as_kernel_input(self.matches.matches),
            self._oriented,
            self._scored,
            n,
            self._scoring,
            models,
            gains,
        )
        gains /= n

    def sample_models(self, pools: NDArray[np.int64], first_trial: int) -> NDArray[np.float64]:
        """Return the models of trials, of shape (n_models, 9)."""
        models = np.empty((3 * len(pools), 9))
        matches = as_kernel_input(self.matches.matches)
        n_models = self.kernels.fundamental.sample_models(
            self._seed, first_trial, pools, self.sample_size, matches, self._oriented, models
        )
        return models[:n_models]

    def score(self, models: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean gains of models of shape (n_models, 9)."""
        n = len(self.matches.order)
        gains = np.empty(len(models))
        self.kernels.fundamental.score(models, self._scored, n, self._scoring, gains)
        return gains / n

    def score_epipoles(
        self,
        matches: NDArray[np.float64],
        H: NDArray[np.float64],
        pairs: NDArray[np.int64],
        epipoles: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the mean gains of the models that a plane leaves, one for each epipole.

        Parameters
        ----------
        matches : ndarray of shape (n, 4)
            Not only those of this problem.
        H : ndarray of shape (3, 3)
            Of the plane.
        pairs : ndarray of shape (n_pairs, 2)
            Matches whose epipoles of image 2, the last ones, are found; NaN if there is none.
        epipoles : ndarray of shape (n_epipoles, 3)
            Homogeneous coordinates in image 2, of unit length.
        """
        n = len(self.matches.order)
        gains = np.empty(len(epipoles))
        self.kernels.fundamental.score_epipoles(
            as_kernel_input(matches),
            H.ravel(),
            pairs,
            epipoles,
            self._scored,
            n,
            self._scoring,
            gains,
        )
        return gains / n

    def refine(self, models: NDArray[np.float64]) -> list[Candidate]:
        """Improve models of samples, or just evaluate them where that is not wanted."""
        return self._climb(models, *self._points, _WIDE_STEPS, _STEPS, _TOLERANCE)

    def finish(self, model: NDArray[np.float64]) -> Candidate:
        """Improve a model by all matches until hardly anything is left to gain."""
        return self._climb(model[None], *self.matches.padded, 0, _LAST_STEPS, _LAST_TOLERANCE)[0]

    def _climb(
        self,
        models: NDArray[np.float64],
        points: NDArray[np.float64],
        weight: NDArray[np.float64],
        wide_steps: int,
        steps: int,
        tolerance: float,
    ) -> list[Candidate]:
        models = models.copy()
        results = np.empty((len(models), 3))
        self.kernels.fundamental.refine_all(
            models,
            points,
            weight,
            self._inverse_threshold / _WIDER**2,
            wide_steps if self._refines else 0,
            self._inverse_threshold,
            steps if self._refines else 0,
            tolerance,
            results,
        )
        n = np.count_nonzero(weight)
        results /= [weight.sum(), n, n]
        return [Candidate(model, *figures) for model, figures in zip(models, results.tolist())]

    def is_inlier(self, model: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which matches lie within the threshold, in the order in which samples draw."""
        return self.squares(model) * self._inverse_threshold < 1

    def squares(self, model: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return squared Sampson distances in the unit of the coordinates."""
        return squared_distances(model, self.matches.matches, self.kernels)


def sampson_distances(
    F: NDArray[np.float64], matches: NDArray[np.float64], kernels: Kernels
) -> NDArray[np.float64]:
    """Return Sampson distances of matches that have been checked, in their unit."""
    return np.sqrt(squared_distances(np.ascontiguousarray(F).ravel(), matches, kernels))


def squared_distances(
    model: NDArray[np.float64], matches: NDArray[np.float64], kernels: Kernels
) -> NDArray[np.float64]:
    """Return squared Sampson distances from a model of shape (9,), in the unit of the matches."""
    squares = np.empty(len(matches))
    kernels.fundamental.squared_distances(as_kernel_input(model), as_kernel_input(matches), squares)
    return squares
