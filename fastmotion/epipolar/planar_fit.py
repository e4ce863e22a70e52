"""What the fit of a homography to matches consists of, in coordinates of the order of one."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from fastmotion.epipolar.estimation import shorten
from fastmotion.epipolar.launching import Kernels, cpu_kernels
from fastmotion.epipolar.median import least_median_of_models, trials_for_half
from fastmotion.epipolar.planar_noise import (
    LARGEST_PLANAR_DEVIATION,
    LEAST_NOISE,
    typical_noise,
)
from fastmotion.epipolar.planes import (
    is_singular,
    planar_equations,
    transfer_jacobian,
    unit_homography,
)
from fastmotion.epipolar.problem import RESOLUTION
from fastmotion.epipolar.ransac import Candidate, Sampling, run_ransac

__all__ = [
    "Evaluation",
    "PlanarProblem",
    "ScaledMatches",
    "is_determined",
    "run_automatic",
    "run_fixed",
    "run_median",
    "surprise",
    "undetermined_model",
]

SAMPLE_SIZE = 4

# So many matches tell a good model from a bad one, and how to improve it before all have their say.
_N_SCORED = 4096
_N_REFINED = 2048
_MAX_STEPS = 50

# How near to the best refinement of models of samples comes, in standard deviations of parameters.
_COARSE = 0.03

# Of the squared distance of a match with noise in each coordinate, in units of its variance: it is
# chi-squared with two degrees of freedom.
_MEDIAN_SQUARE = 2 * math.log(2)

# Of the information, relative to the largest part, and at all.
_ROUNDING = 1e-15
_TINY = 1e-100

# Share of image 2 that is within a Sampson distance of 1 of a point, which is √2 in that image
# alone: half the points lie in a square of two units, so all of them on about twice its area.
_SHARE = 2 * math.pi / 8

# Thresholds to try where none is given: noise of any size is near enough to one of them.
COARSE = 1 / 64
_THRESHOLDS = (COARSE, 1 / 256, 1 / 16, 1 / 1024)
_MAX_SETTLING = 10

# Points around the inliers, and the part of the inliers' radius by which their places may be
# uncertain.
_DIRECTIONS = np.array([(math.cos(a), math.sin(a)) for a in np.arange(8) * (math.pi / 4)])
_VAGUE = 0.25
# Points spread by less than so many standard deviations of their noise tell nothing.
_CAUTION = 3.0
# Singular values of a homography between points of unit radius, the least to the largest: below
# that a plane is seen edge-on.
_LEAST_RATIO = 1e-3
# The same where none determines the homography: below that rounding may turn its orientation.
_NO_INVERSE = 1e-9
# Points whose coordinates differ by less, relative to them, are one.
_SAME = 1e-9
# Share of the gain that another model of the same inliers must keep.
_MOST = 0.8


@dataclass(frozen=True)
class ScaledMatches:
    """Matches with the middle of each image at the origin, and the spread of both as the unit.

    Middle and spread are medians, so that matches far off do not make the others tiny.

    Attributes
    ----------
    rows : ndarray of shape (4, n), float64
        x1 y1 x2 y2, C-contiguous.
    weight : ndarray of shape (n,), float64
    middle : ndarray of shape (4,)
        In pixels.
    unit : float
        In pixels.
    """

    rows: NDArray[np.float64]
    weight: NDArray[np.float64]
    middle: NDArray[np.float64]
    unit: float

    @classmethod
    def of(cls, matches: NDArray[np.float64], weight: NDArray[np.float64]) -> Self:
        """Scale matches, rows x1 y1 x2 y2 in pixels."""
        rows = np.ascontiguousarray(matches.T)
        few = rows[:, :: -(-rows.shape[1] // _N_SCORED)]
        half = few.shape[1] // 2
        middle = np.partition(few, half, axis=1)[:, half]
        largest = np.abs(few - middle[:, np.newaxis]).max(axis=0)
        # Where most points are one but for rounding, the others tell the spread.
        rounding = _SAME * float(np.abs(middle).max())
        sizes = (float(np.partition(largest, half)[half]), float(largest.max()), 1.0)
        unit = next((size for size in sizes if size > rounding), 1.0)
        rows = (rows - middle[:, np.newaxis]) / unit
        return cls(rows, weight, middle, unit)

    @cached_property
    def total(self) -> float:
        """The sum of the weights."""
        return float(self.weight.sum())

    def subset(self, indices: NDArray[np.int64]) -> Self:
        """Return some of the matches, in the same coordinates."""
        return replace(self, rows=self.rows.take(indices, axis=1), weight=self.weight.take(indices))

    def to_pixels(self, model: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the homography of pixels for one of these coordinates."""
        H = model.reshape(3, 3)
        return unit_homography(self._unscaled2() @ H @ self._scaling1(), H)

    def covariance_in_pixels(self, evaluation: Evaluation) -> NDArray[np.float64]:
        """Return the covariance of the homography of pixels, of unit norm and rank 8."""
        by_model = _kronecker(self._unscaled2(), self._scaling1().T)
        h = by_model @ evaluation.model
        size = np.linalg.norm(h)
        axes = by_model @ (evaluation.noise / size * evaluation.axes())
        h /= size
        axes -= h[:, np.newaxis] * (h @ axes)
        return axes @ axes.T

    def rounding(self) -> float:
        """Return a distance that rounding of the coordinates, in pixels, does not exceed."""
        largest = np.abs(self.middle).max() / self.unit + np.abs(self.rows).max()
        return max(LEAST_NOISE, 64 * np.finfo(np.float64).eps * float(largest))

    def _scaling1(self) -> NDArray[np.float64]:
        x, y = self.middle[:2] / self.unit
        return np.array([[1 / self.unit, 0.0, -x], [0.0, 1 / self.unit, -y], [0.0, 0.0, 1.0]])

    def _unscaled2(self) -> NDArray[np.float64]:
        x, y = self.middle[2:]
        return np.array([[self.unit, 0.0, x], [0.0, self.unit, y], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Evaluation:
    """A model held to matches.

    Attributes
    ----------
    model : ndarray of shape (9,)
    gain : float
        Mean over matches of ``max(0, 1 - d² / threshold²)``.
    normal : ndarray of shape (9, 9)
        Sum over inliers of products of derivatives, for noise of unit variance.
    noise : float
        Standard deviation of a coordinate's noise.
    """

    model: NDArray[np.float64]
    gain: float
    normal: NDArray[np.float64]
    noise: float

    def axes(self) -> NDArray[np.float64]:
        """Return eight columns, the model's uncorrelated deviations for noise of unit variance."""
        return _deviations(self.model, self.normal)

    def cautious_axes(self) -> NDArray[np.float64]:
        """Return the same without what mere noise of the points may have told.

        Points of a line that noise has spread seem to tell what happens beside the line. What
        coordinates in image 1 tell by being spread by a few standard deviations is taken off.
        """
        spread = (_CAUTION * self.noise) ** 2
        of_noise = _kronecker(self.normal[2::3, 2::3], np.diag([spread, spread, 0.0]))
        return _deviations(self.model, self.normal - of_noise)


def _kronecker(A: NDArray[np.float64], B: NDArray[np.float64]) -> NDArray[np.float64]:
    # numpy.kron takes ten times as long for matrices as small as these.
    return (A[:, np.newaxis, :, np.newaxis] * B[:, np.newaxis]).reshape(9, 9)


def _deviations(model: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    along = normal @ model
    of_model = np.outer(model, model)
    crossed = np.outer(model, along)
    information = normal - crossed - crossed.T + (model @ along) * of_model
    # The model itself, which has no information, becomes the last axis.
    largest = max(float(np.abs(information).max()), _TINY)
    values, axes = np.linalg.eigh(information + 100 * largest * of_model)
    # What matches do not tell stays as uncertain as rounding lets it be told.
    return axes[:, :8] / np.sqrt(np.maximum(values[:8], largest * _ROUNDING))


def _bounded(threshold: float) -> float:
    """Return a threshold whose square is a number."""
    return min(max(threshold, _TINY), 1 / _TINY)


class PlanarProblem:
    """Homographies of matches, for `fastmotion.epipolar.ransac.run_ransac`.

    Parameters
    ----------
    matches : ScaledMatches
        At least four, those to draw from first first.
    seed : numpy.uint64
    threshold : float
        Distance of an inlier, in the unit of the matches.
    refines : bool, default=True
        Whether models of samples are refined.
    kernels : Kernels or None, default=None
        Of the device to work on; None for the CPU's.
    """

    sample_size = SAMPLE_SIZE

    def __init__(
        self,
        matches: ScaledMatches,
        seed: np.uint64,
        threshold: float,
        *,
        refines: bool = True,
        kernels: Kernels | None = None,
    ) -> None:
        self.kernels = kernels or cpu_kernels()
        self.matches = matches
        self.threshold = _bounded(threshold)
        self._seed = seed
        self._refines = refines
        order = np.random.default_rng(int(seed)).permutation(len(matches.weight))
        # What overflows float32 becomes infinite, which is no inlier.
        with np.errstate(over="ignore"):
            self._scored = matches.rows.take(order[:_N_SCORED], axis=1).astype(np.float32)
        self._few = matches
        if len(order) > _N_REFINED:
            self._few = matches.subset(order[:_N_REFINED])

    def at(self, threshold: float) -> PlanarProblem:
        """Return the same problem with another threshold."""
        other = copy.copy(self)
        other.threshold = _bounded(threshold)
        return other

    def search(
        self,
        pools: NDArray[np.int64],
        first_trial: int,
        models: NDArray[np.float64],
        gains: NDArray[np.float64],
    ) -> None:
        """Make trials; keep models of more gain than those that are there, the best first."""
        n = self._scored.shape[1]
        gains *= n
        self.kernels.planar.search(
            self.matches.rows,
            self._scored,
            pools,
            self._seed,
            np.uint64(first_trial),
            max(self.threshold, RESOLUTION),
            models,
            gains,
        )
        gains /= n

    def refine(self, models: NDArray[np.float64]) -> list[Candidate]:
        """Improve models of samples, or just evaluate them where that is not wanted."""
        steps = _MAX_STEPS if self._refines else 0
        return [climb.candidate for climb in self._climb(self._few, models, steps)]

    def finish(self, model: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a model refined by all matches within the threshold."""
        return self._climb(self.matches, model[None], _MAX_STEPS)[0].candidate.model

    def polish(self, model: NDArray[np.float64], *, moves: bool = True) -> Evaluation | None:
        """Return a model fitted to what is right among all matches; None if that is too little.

        By turns, right and wrong matches are told apart by their distances, and the model is fitted
        to each as probably as it is right: neither hangs on the threshold, which is but a guess of
        the noise. One that is not to be moved is just evaluated.
        """
        model, normal = model.copy(), np.empty((9, 9))
        noise = self.kernels.planar.polish(
            self.matches.rows,
            self.matches.weight,
            2 * self.threshold,
            _MAX_STEPS if moves else 0,
            model,
            normal,
        )
        if noise < 0:
            return None
        gain = self._climb(self.matches, model[None], 0)[0].candidate.gain
        return Evaluation(model, gain, normal, noise)

    def evaluate(self, model: NDArray[np.float64], assumed: float | None = None) -> Evaluation:
        """Return what speaks for a model; `assumed` is the noise where it cannot be told."""
        climb = self._climb(self.matches, model[None], 0)[0]
        noise = typical_noise(climb.squares, climb.weight, self.threshold, assumed)
        return Evaluation(model, climb.candidate.gain, climb.normal, noise)

    def sample_models(self, first: int, stop: int) -> NDArray[np.float64]:
        """Return the models, of shape (n_models, 9), of trials that draw from all matches."""
        models = np.empty((stop - first, 9))
        n_models = self.kernels.planar.sample_models(
            self.matches.rows, self._seed, np.uint64(first), models
        )
        return models[:n_models]

    def least_median(self, models: NDArray[np.float64], rank: int) -> tuple[float, int]:
        """Return the least squared distance of a rank among few matches, and which model has it."""
        least, which = self.kernels.planar.least_median(models, self._few.rows, rank)
        return least, which

    @property
    def n_few(self) -> int:
        """How many matches stand for all where few are enough."""
        return len(self._few.weight)

    def few_inliers(self, model: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rows of some inliers, or all, of shape (4, n_inliers)."""
        rows = self._few.rows
        distances = np.empty(rows.shape[1])
        # So few that the host has them before a device could have been asked.
        cpu_kernels().planar.sampson_distances(rows, model, distances)
        return rows[:, distances <= self.threshold]

    def is_inlier(self, model: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which matches lie within the threshold, in the order in which samples draw."""
        return self.distances(model) <= self.threshold

    def distances(self, model: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the Sampson distances of all matches."""
        distances = np.empty(len(self.matches.weight))
        self.kernels.planar.sampson_distances(self.matches.rows, model, distances)
        return distances

    def _climb(
        self, matches: ScaledMatches, models: NDArray[np.float64], max_steps: int
    ) -> list[_Climb]:
        """Return refined models."""
        models = models.copy()
        normals, results = np.empty((len(models), 9, 9)), np.empty((len(models), 4))
        self.kernels.planar.refine_all(
            matches.rows,
            matches.weight,
            self.threshold,
            max_steps,
            _COARSE,
            models,
            normals,
            results,
        )
        n, total, limit = len(matches.weight), matches.total, self.threshold**2
        climbs = []
        for model, normal, result in zip(models, normals, results.tolist()):
            cost, plain_cost, n_inliers, weight = result
            gain, plain_gain = 1 - cost / (limit * total), 1 - plain_cost / (limit * n)
            candidate = Candidate(model, gain, plain_gain, n_inliers / n)
            squares = max(cost - limit * (total - weight), 0.0)
            climbs.append(_Climb(candidate, normal, squares, weight))
        return climbs


@dataclass(frozen=True)
class _Climb:
    """A model that was refined.

    Attributes
    ----------
    candidate : Candidate
    normal : ndarray of shape (9, 9)
    squares : float
        Weighted sum of squared distances of inliers.
    weight : float
        That of the inliers.
    """

    candidate: Candidate
    normal: NDArray[np.float64]
    squares: float
    weight: float


def is_determined(evaluation: Evaluation, problem: PlanarProblem) -> bool:
    """Return whether inliers tell where all points around them go.

    That is not so where they lie on a line, or are too few different ones: points as far from
    their centre as they are, but in other directions, could then go anywhere. Models that send a
    whole line nowhere fit anything there; they are singular.
    """
    rows = problem.few_inliers(evaluation.model)
    if rows.shape[1] < SAMPLE_SIZE:
        return False
    centre = rows.mean(axis=1)
    offsets = (rows - centre[:, np.newaxis]).reshape(2, -1)
    radius1, radius2 = np.sqrt(2 * (offsets**2).mean(axis=1))
    H = evaluation.model.reshape(3, 3)
    sizes = np.linalg.svd(_between(H, centre, radius1, radius2), compute_uv=False)
    if not sizes[2] > _LEAST_RATIO * sizes[0]:
        return False
    jacobian = transfer_jacobian(H, centre[:2] + radius1 * _DIRECTIONS)
    noise = max(evaluation.noise, LEAST_NOISE)
    spread = noise * np.linalg.norm(jacobian @ evaluation.cautious_axes(), axis=(1, 2))
    return bool((spread < _VAGUE * radius2).all())


def _between(
    H: NDArray[np.float64], centre: NDArray[np.float64], radius1: float, radius2: float
) -> NDArray[np.float64]:
    """Return the homography of points less their centre, in units of their radius."""
    x1, y1, x2, y2 = centre
    from1 = np.array([[radius1, 0.0, x1], [0.0, radius1, y1], [0.0, 0.0, 1.0]])
    to2 = np.array([[1.0, 0.0, -x2], [0.0, 1.0, -y2], [0.0, 0.0, radius2]])
    return to2 @ H @ from1


def undetermined_model(problem: PlanarProblem, evaluation: Evaluation | None) -> Evaluation:
    """Return one of the many models that fit, as near to a similarity as they let it be.

    Parameters
    ----------
    problem : PlanarProblem
    evaluation : Evaluation or None
        Of a model whose inliers do not determine it; None if no model was found.

    Raises
    ------
    ValueError
        None fits that is invertible.
    """
    rows = problem.matches.rows
    models = [_near_similarity(rows, problem.threshold / LARGEST_PLANAR_DEVIATION)]
    least = _MOST
    if evaluation is not None:
        is_inlier = problem.is_inlier(evaluation.model)
        if is_inlier.any():
            models.append(_near_similarity(rows[:, is_inlier], evaluation.noise))
        least = _MOST * evaluation.gain
    evaluations = [problem.evaluate(model) for model in models]
    if evaluation is not None:
        evaluations.append(evaluation)
    for choice in sorted(evaluations, key=lambda choice: -choice.gain):
        if choice.gain > least and not is_singular(choice.model.reshape(3, 3), _NO_INVERSE):
            return choice
    raise ValueError(
        "no invertible homography fits the matches: in samples of four, three points lie on a "
        "line, are the same, or turn the other way in the other image; give more matches, better "
        "ones, or a larger max_trials"
    )


def _near_similarity(rows: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Return the model of unit norm that is near to a similarity where matches tell no better.

    Equations count as far as they stand out from the noise.
    """
    similarity = _similarity(rows)
    _, values, right = np.linalg.svd(shorten(planar_equations(rows[:2], rows[2:])))
    level = max(_CAUTION * noise, LEAST_NOISE) ** 2 * rows.shape[1]
    told = values**2 / (values**2 + level)
    model = similarity - right.T @ (told * (right @ similarity))
    return model / np.linalg.norm(model)


def _similarity(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the similarity of least squares from image 1 to image 2."""
    z1, z2 = rows[0] + 1j * rows[1], rows[2] + 1j * rows[3]
    offset = z1 - z1.mean()
    square = np.vdot(offset, offset).real
    turn = np.vdot(offset, z2) / square if square > LEAST_NOISE**2 else 1.0
    turn = turn if abs(turn) > 0 else 1.0
    shift = z2.mean() - turn * z1.mean()
    a, b = np.real(turn), np.imag(turn)
    return np.array([a, -b, shift.real, b, a, shift.imag, 0.0, 0.0, 1.0])


def run_median(
    problem: PlanarProblem, *, confidence: float, max_trials: int, n_jobs: int | None
) -> tuple[NDArray[np.float64] | None, float, int]:
    """Return the model of the least median, None if there is none, a threshold and the trials."""
    n_trials = min(max_trials, trials_for_half(confidence, SAMPLE_SIZE))
    found = least_median_of_models(
        problem.sample_models,
        problem.least_median,
        n_matches=problem.n_few,
        sample_size=SAMPLE_SIZE,
        n_trials=n_trials,
        n_jobs=n_jobs,
        map_chunks=problem.kernels.map,
    )
    if found is None:
        return None, COARSE, n_trials
    model, distance = found
    return model, LARGEST_PLANAR_DEVIATION / math.sqrt(_MEDIAN_SQUARE) * distance, n_trials


def run_fixed(
    problem: PlanarProblem,
    sampling: Sampling,
    *,
    confidence: float,
    max_trials: int,
    n_jobs: int | None,
) -> tuple[NDArray[np.float64] | None, float, int]:
    """Return a model, None if no sample had one, the problem's threshold and the trials."""
    best, n_trials = run_ransac(
        problem,
        sampling,
        confidence=confidence,
        max_trials=max_trials,
        n_jobs=n_jobs,
        map_chunks=problem.kernels.map,
    )
    return (None if best is None else best.model), problem.threshold, n_trials


def run_automatic(
    problem: PlanarProblem,
    sampling: Sampling,
    *,
    confidence: float,
    max_trials: int,
    n_jobs: int | None,
) -> tuple[NDArray[np.float64] | None, float, int]:
    """Return a model found without a threshold, None if there is none, a threshold and the trials.

    A few thresholds far apart are tried. Of their models the one is taken that chance makes least
    likely; the threshold then follows from its noise.
    """
    best: tuple[float, float, NDArray[np.float64]] | None = None
    n_trials, limit = 0, max_trials // len(_THRESHOLDS)
    for threshold in _THRESHOLDS:
        candidate, made = run_ransac(
            problem.at(threshold),
            sampling,
            confidence=confidence,
            max_trials=min(limit, max_trials - n_trials),
            n_jobs=n_jobs,
            map_chunks=problem.kernels.map,
        )
        n_trials += made
        if candidate is None:
            # No threshold gives these samples a model: it takes more of them.
            limit = max_trials
            continue
        distances = problem.distances(candidate.model)
        score, reach = surprise(distances)
        if best is None or score < best[0]:
            best = score, reach, candidate.model
            better = replace(candidate, inlier_ratio=float((distances <= reach).mean()))
            needed = sampling.trials_needed(problem.at(reach), better, confidence)
            limit = int(min(needed + 1, max_trials))
    if best is None:
        return None, COARSE, n_trials
    return *_settle(problem, best[2], best[1]), n_trials


def _settle(
    problem: PlanarProblem, model: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.float64], float]:
    """Return a refined model and a threshold that belongs to its noise."""
    for _ in range(_MAX_SETTLING):
        at = problem.at(max(threshold, LEAST_NOISE))
        model = at.refine(model[None])[0].model
        before, threshold = threshold, LARGEST_PLANAR_DEVIATION * at.evaluate(model).noise
        if abs(threshold - before) <= 0.01 * before:
            break
    return model, max(threshold, LEAST_NOISE)


def surprise(distances: NDArray[np.float64]) -> tuple[float, float]:
    """Return how unlikely chance makes a model so good, as a logarithm, and the threshold of that.

    The number of models as good that chance would find among matches spread evenly (Moisan, Moulon
    and Monasse 2012, "Automatic homographic registration of a pair of images, with a contrario
    elimination of outliers", Image Processing On Line 2, equation 2), least over all thresholds;
    smaller is better. Distances are in the unit of `ScaledMatches`.
    """
    n = len(distances)
    if n == SAMPLE_SIZE:
        return 0.0, float(distances.max())
    ordered = np.maximum(np.sort(distances)[SAMPLE_SIZE:], LEAST_NOISE)
    k = np.arange(SAMPLE_SIZE + 1, n + 1)
    chance = np.log(np.minimum(_SHARE * ordered**2, 1.0))
    choices = gammaln(n + 1) - gammaln(n - k + 1) - gammaln(k - SAMPLE_SIZE + 1)
    scores = choices - gammaln(SAMPLE_SIZE + 1) + (k - SAMPLE_SIZE) * chance
    best = int(np.argmin(scores))
    return float(scores[best]), float(ordered[best])
