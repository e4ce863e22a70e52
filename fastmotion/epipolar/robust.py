"""The robust fit of a fundamental matrix: samples, planes, polish, and the threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.degeneracy import find_plane, resolve_plane
from fastmotion.epipolar.kernels.scalar import N_FREE
from fastmotion.epipolar.launching import Kernels
from fastmotion.epipolar.median import least_median, trials_for_half
from fastmotion.epipolar.polishing import PolishedFundamental, polish_centred
from fastmotion.epipolar.problem import FundamentalProblem
from fastmotion.epipolar.ransac import Candidate, Sampling, run_ransac

__all__ = ["LARGEST_DEVIATION", "RobustFit", "RobustSettings", "fit_robust"]

# A distance in standard deviations that 99 % of right matches keep to.
LARGEST_DEVIATION = 2.576

# The first threshold that "auto" tries, as a share of the spread of coordinates, and what it tries
# next while noise looks larger than this share of it.
_FIRST_THRESHOLD, _NEXT_THRESHOLD = 0.01, 4.0
_PLAUSIBLE_NOISE = 0.6
# A search with a threshold of so many times what noise asks for is repeated with that.
_TOO_WIDE = 2.0
_MOST_SEARCHES = 4
# Second singular value at unit norm below which a matrix has no epipoles to speak of.
_LEAST_SECOND = 1e-9
# Distances are not told apart below this share of the spread.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class RobustSettings:
    """Parameters of `FundamentalMatrix` that the search takes, and where one call is to run."""

    sample_size: int
    confidence: float
    max_trials: int
    handles_planes: bool
    refines: bool
    takes_median: bool
    seed: np.uint64
    n_jobs: int | None
    kernels: Kernels


@dataclass(frozen=True)
class RobustFit:
    """What a search found.

    Attributes
    ----------
    F : ndarray of shape (3, 3)
        In pixels.
    probability : ndarray of shape (n,)
        That each match is right.
    noise_scale : float
        Standard deviation of a coordinate of right matches, pixels.
    threshold : float
        Pixels.
    may_be_planar : bool
        Whether a plane may hold so many right matches that F is undetermined.
    """

    F: NDArray[np.float64]
    probability: NDArray[np.float64]
    noise_scale: float
    threshold: float
    may_be_planar: bool = True


def fit_robust(
    matches: CentredMatches,
    threshold: float | None,
    settings: RobustSettings,
    rng: np.random.Generator,
    *,
    is_progressive: bool,
) -> tuple[RobustFit | None, int]:
    """Return the best fundamental matrix found, None if no sample had one, and the trials made.

    Parameters
    ----------
    matches : CentredMatches
        The best first, if progressive.
    threshold : float or None
        Pixels; None finds it.
    settings : RobustSettings
    rng : numpy.random.Generator
        For what is chosen besides samples.
    is_progressive : bool
    """
    sampling = Sampling(matches.n, settings.sample_size, is_progressive)
    search = _Search(matches, sampling, settings, rng)
    if settings.takes_median:
        found = search.run_median()
    elif threshold is not None:
        found = search.run(threshold)
    else:
        found = _fit_unknown_threshold(search)
    if found is not None:
        singular_values = np.linalg.svd(matches.from_pixels(found.F).reshape(3, 3))[1]
        found = found if singular_values[1] > _LEAST_SECOND else None
    return found, search.n_trials


def _fit_unknown_threshold(search: _Search) -> RobustFit | None:
    """Search with a guess of the threshold, and again where the noise found belies it."""
    spread = 1 / search.matches.scale
    threshold = _FIRST_THRESHOLD * spread
    fit = None
    for _ in range(_MOST_SEARCHES):
        again = search.run(threshold) if search.n_trials_left else None
        if again is None:
            break
        fit = again
        wanted = max(LARGEST_DEVIATION * fit.noise_scale, _ROUNDING * spread)
        if fit.noise_scale > _PLAUSIBLE_NOISE * threshold:
            threshold *= _NEXT_THRESHOLD
        elif threshold > _TOO_WIDE * wanted:
            threshold = wanted
        else:
            break
    return None if fit is None else replace(fit, threshold=wanted)


class _Search:
    """Searches of one set of matches, with any threshold.

    Attributes
    ----------
    n_trials : int
        Samples drawn so far.
    """

    def __init__(
        self,
        matches: CentredMatches,
        sampling: Sampling,
        settings: RobustSettings,
        rng: np.random.Generator,
    ) -> None:
        self.matches = matches
        self._sampling = sampling
        self._settings = settings
        self._rng = rng
        self.n_trials = 0

    def run(self, threshold: float) -> RobustFit | None:
        """Search with a threshold in pixels."""
        problem = self._problem(self.matches, threshold)
        best, n_trials = self._run(problem)
        if best is None:
            # The same samples once more: a model that no cameras have seen is better than none.
            best, _ = self._run(problem.with_any_orientation())
        self.n_trials += n_trials
        return None if best is None else replace(self._conclude(problem, best), threshold=threshold)

    @property
    def n_trials_left(self) -> int:
        """How many samples may still be drawn."""
        return self._settings.max_trials - self.n_trials

    def _run(self, problem: FundamentalProblem) -> tuple[Candidate | None, int]:
        return run_ransac(
            problem,
            self._sampling,
            confidence=self._settings.confidence,
            max_trials=self.n_trials_left,
            n_jobs=self._settings.n_jobs,
            map_chunks=self._settings.kernels.map,
        )

    def _conclude(self, problem: FundamentalProblem, best: Candidate) -> RobustFit:
        """Return what becomes of the best model of samples."""
        settings = self._settings
        if not settings.refines:
            return self._unpolished(problem, problem.finish(best.model))
        plane = find_plane(problem, best, settings.seed) if settings.handles_planes else None
        if plane is not None:
            best = resolve_plane(problem, best, plane, self._rng)
        polished = self._polish(problem, best.model)
        if polished is None:
            return self._unpolished(problem, problem.finish(best.model))
        if plane is not None:
            polished = self._resolve_again(polished)
        return RobustFit(
            polished.F,
            polished.probability,
            polished.noise_scale,
            problem.threshold / self.matches.scale,
            may_be_planar=plane is not None or not settings.handles_planes,
        )

    def run_median(self) -> RobustFit | None:
        """Search the model whose squared distances have the least median (Rousseeuw 1984)."""
        settings = self._settings
        problem = self._problem(self.matches, _FIRST_THRESHOLD / self.matches.scale)
        enough = trials_for_half(settings.confidence, settings.sample_size)
        self.n_trials = min(settings.max_trials, enough)
        found = least_median(problem, self.n_trials, settings.n_jobs) or least_median(
            problem.with_any_orientation(), self.n_trials, settings.n_jobs
        )
        if found is None:
            return None
        model, noise = found
        least = _ROUNDING / self.matches.scale
        threshold = LARGEST_DEVIATION * max(noise / self.matches.scale, least)
        problem = self._problem(self.matches, threshold)
        fit = self._conclude(problem, problem.refine(model[None])[0])
        return replace(fit, threshold=LARGEST_DEVIATION * max(fit.noise_scale, least))

    def _problem(self, matches: CentredMatches, threshold: float) -> FundamentalProblem:
        settings = self._settings
        return FundamentalProblem(
            matches,
            threshold,
            sample_size=settings.sample_size,
            seed=settings.seed,
            refines=settings.refines,
            kernels=settings.kernels,
        )

    def _resolve_again(self, polished: PolishedFundamental) -> PolishedFundamental:
        """Look for a better epipole where wrong matches no longer have a say.

        Where little speaks for an epipole, few wrong matches that lie near their lines by chance
        speak louder; polishing has told them by their leverage.
        """
        is_right = polished.probability > 0.5
        if np.count_nonzero(is_right) < self._settings.sample_size:
            return polished
        threshold = LARGEST_DEVIATION * polished.noise_scale
        problem = self._problem(
            self.matches.subset(is_right, self._rng), max(threshold, _ROUNDING / self.matches.scale)
        )
        start = problem.refine(self.matches.from_pixels(polished.F)[None])[0]
        plane = find_plane(problem, start, self._settings.seed)
        if plane is None:
            return polished
        best = resolve_plane(problem, start, plane, self._rng)
        return self._polish(problem, best.model) or polished

    def _polish(
        self, problem: FundamentalProblem, model: NDArray[np.float64]
    ) -> PolishedFundamental | None:
        """Polish a model of a problem among all matches; None if they do not allow it."""
        start = problem.finish(model).model
        return polish_centred(self.matches, start, problem.threshold / 2, problem.kernels)

    def _unpolished(self, problem: FundamentalProblem, best: Candidate) -> RobustFit:
        """Return a model as it is, its inliers all right."""
        matches = self.matches
        squares = problem.squares(best.model)
        is_inlier = squares <= problem.threshold**2
        left = max(float(matches.weight[is_inlier].sum()) - N_FREE, 1.0)
        noise = float(np.sqrt(matches.weight[is_inlier] @ squares[is_inlier] / left))
        return RobustFit(
            matches.to_pixels(best.model),
            is_inlier.astype(float),
            noise / matches.scale,
            problem.threshold / matches.scale,
        )
