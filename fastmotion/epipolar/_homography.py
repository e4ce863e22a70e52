"""Homographies from matches of which some are wrong."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.device import Device, resolve_device
from fastmotion.core.parallel import thread_map
from fastmotion.core.random import new_seed
from fastmotion.core.validation import Interval, Options, StrOptions, fit_context
from fastmotion.em.fitted import unchanged_by_errors
from fastmotion.epipolar import planes
from fastmotion.epipolar.checks import check_matches, check_points
from fastmotion.epipolar.outcomes import DegenerateMatchesWarning, FailedFit
from fastmotion.epipolar.planar_fit import (
    LARGEST_DEVIATION,
    SAMPLE_SIZE,
    PlanarProblem,
    ScaledMatches,
    any_homography,
    is_determined,
    least_median,
    run_automatic,
    run_fixed,
    trials_for_half,
)
from fastmotion.epipolar.ransac import Sampling
from fastmotion.linear._checks import as_finite
from fastmotion.linear._normal_equations import check_weight

# A threshold beyond all distances, by a factor.
_EVERYTHING = 1e3
# The stack of a call of `fit`: its own frame and that of its decorator.
_CALLER = 3

_DEGENERATE = (
    "the matches leave the homography undetermined (degeneracy_ is 'points'): the points of its "
    "inliers lie on a line, or too few of them differ; others fit as well. Add matches elsewhere"
)


@dataclass(frozen=True)
class _Data:
    """What is fitted, checked.

    Attributes
    ----------
    matches : ndarray of shape (n, 4)
        Those of positive weight, the best first where they have a quality.
    weight : ndarray of shape (n,)
    has_quality : bool
    given : ndarray of shape (n_valid, 4)
        All that are finite.
    is_valid : ndarray of shape (n_given,), bool
    """

    matches: NDArray[np.float64]
    weight: NDArray[np.float64]
    has_quality: bool
    given: NDArray[np.float64]
    is_valid: NDArray[np.bool_]


@dataclass(frozen=True)
class _Found:
    """A model before the last refinement.

    Attributes
    ----------
    model : ndarray of shape (9,)
    problem : PlanarProblem
        With the threshold of what tells of the model.
    threshold : float
        Of inliers, in pixels.
    n_trials : int
    """

    model: NDArray[np.float64]
    problem: PlanarProblem
    threshold: float
    n_trials: int


class Homography(BaseEstimator):
    """The homography between two views of a plane, or of a camera that only turns.

    Random samples of four matches give models; those that most matches obey are refined, and the
    best is fitted to its inliers by nonlinear least squares. It comes with its covariance.

    Parameters
    ----------
    method : {"ransac", "lmeds", "dlt"}, default="ransac"
        Random samples scored by the distances of inliers (MSAC); by the median of all distances,
        which takes no threshold but needs more right matches than wrong ones; or no samples but
        all matches by the direct linear transform, where none is wrong.
    residual_threshold : float or "auto", default=1.0
        Sampson distance up to which a match is an inlier, in pixels. "auto" finds it from the
        matches; "lmeds" always does.
    confidence : float, default=0.9999
        Probability with which the search, before it ends, has drawn a sample of inliers only.
    max_trials : int, default=100_000
        The most samples that are drawn.
    local_optimization : bool, default=True
        Whether the best models of samples are refined, and the last one too. Without it, the
        result is the best model of four matches.
    nan_policy : {"raise", "omit"}, default="raise"
        What becomes of matches with a coordinate that is NaN or infinite: an error, or they are no
        inliers and count for nothing.
    random_state : int, RandomState, Generator or None, default=None
        For the samples. The same integer gives the same result.
    n_jobs : int or None, default=None
        Threads; they do not change results.
    device : str or None, default=None
        Where to compute: "cpu", "auto", or None for the setting of `fastmotion.config_context`.
        Homographies are fitted on the CPU in this version; "cuda" is an error that says so.

    Attributes
    ----------
    H_ : ndarray of shape (3, 3), float64
        ``[x2 y2 1]ᵀ ∝ H [x1 y1 1]ᵀ``, of unit Frobenius norm and positive determinant.
    inlier_mask_ : ndarray of shape (n_matches,), bool
        Which matches are within the threshold.
    score_ : float
        Mean over matches of ``max(0, 1 - d² / threshold²)``, d the Sampson distance: from 0 to 1,
        higher is better.
    n_trials_ : int
        Samples that were drawn.
    n_inliers_ : int
        Their number.
    covariance_ : ndarray of shape (9, 9), float64
        Of ``H_.ravel()``, of rank 8.
    noise_scale_ : float
        Standard deviation of the noise of a coordinate of inliers, in pixels.
    residual_threshold_ : float
        The threshold that was used, in pixels.
    degeneracy_ : {"none", "points"}
        Whether the inliers lie on a line or are too few different ones, so that other homographies
        fit as well.
    n_features_in_ : int
        4, or 2 where the points of image 2 were given as y.
    device_ : str
        Where the fit ran.

    See Also
    --------
    FundamentalMatrix : For scenes that are no plane, and cameras that move.
    homography_from_points : The direct linear transform alone.

    Notes
    -----
    The distance of a match is Sampson's: how far its four coordinates must move, to first order, to
    obey H. With noise of standard deviation σ in each coordinate, 99 % of right matches keep to
    3.03 σ.

    References
    ----------
    Torr and Zisserman 2000, "MLESAC: a new robust estimator with application to estimating image
    geometry", Computer Vision and Image Understanding 78; Chum, Matas and Kittler 2003, "Locally
    optimized RANSAC", DAGM; Chum and Matas 2005, "Matching with PROSAC: progressive sample
    consensus", CVPR; Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision",
    chapters 4 and 5.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar import Homography
    >>> rng = np.random.default_rng(0)
    >>> points = rng.uniform(0, 500, (100, 2))
    >>> moved = 1.1 * points + [20, -10]
    >>> moved[:40] = rng.uniform(0, 500, (40, 2))  # wrong matches
    >>> model = Homography(random_state=0).fit(points, moved)
    >>> model.n_inliers_, model.degeneracy_
    (60, 'none')
    >>> model.transform([[100, 100]])
    array([[130., 100.]])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "method": [StrOptions({"ransac", "lmeds", "dlt"})],
        "residual_threshold": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "max_trials": [Interval(Integral, 1, None, closed="left")],
        "local_optimization": ["boolean"],
        "nan_policy": [StrOptions({"raise", "omit"})],
        "random_state": ["random_state", np.random.Generator],
        "n_jobs": [Integral, None],
        "device": [str, Options(Device, {Device("cpu")}), None],
    }

    H_: NDArray[np.float64]

    def __init__(
        self,
        method: str = "ransac",
        *,
        residual_threshold: float | str = 1.0,
        confidence: float = 0.9999,
        max_trials: int = 100_000,
        local_optimization: bool = True,
        nan_policy: str = "raise",
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        n_jobs: int | None = None,
        device: str | Device | None = None,
    ) -> None:
        self.method = method
        self.residual_threshold = residual_threshold
        self.confidence = confidence
        self.max_trials = max_trials
        self.local_optimization = local_optimization
        self.nan_policy = nan_policy
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        quality: ArrayLike | None = None,
    ) -> Self:
        """Estimate the homography.

        Parameters
        ----------
        X : array_like of shape (n_matches, 4), or (n_matches, 2) with ``y``
            Rows ``x1 y1 x2 y2`` in pixels, or the points of image 1.
        y : array_like of shape (n_matches, 2), default=None
            The points of image 2.
        sample_weight : array_like of shape (n_matches,), default=None
            How much each match counts in refinement; those of weight 0 take no part in the fit.
        quality : array_like of shape (n_matches,), default=None
            Larger is better: the best matches are drawn first (PROSAC).

        Returns
        -------
        self

        Raises
        ------
        TypeError
            An argument does not hold real numbers.
        ValueError
            A shape or parameter is wrong, a number is NaN or infinite, there are fewer than 4
            matches, or no invertible homography fits any four.
        RuntimeError
            The device is not available.

        Warns
        -----
        DegenerateMatchesWarning
            The inliers leave the homography undetermined.
        """
        with unchanged_by_errors(self):
            self._fit(X, y, sample_weight, quality, new_seed(self.random_state), self.n_jobs)
        if self.degeneracy_ != "none":
            warnings.warn(_DEGENERATE, DegenerateMatchesWarning, stacklevel=_CALLER)
        return self

    def fit_batch(
        self,
        matches: Sequence[ArrayLike],
        *,
        sample_weight: Sequence[ArrayLike | None] | None = None,
        quality: Sequence[ArrayLike | None] | None = None,
    ) -> list[Homography | FailedFit]:
        """Estimate the homographies of many pairs of images, in parallel.

        Parameters
        ----------
        matches : sequence of array_like of shape (n_matches, 4)
            Of each pair.
        sample_weight, quality : sequence of array_like of shape (n_matches,) or None, default=None
            Of each pair, as for `fit`.

        Returns
        -------
        list
            For each pair a fitted clone of this estimator, or a `FailedFit`, which is false and
            tells the reason.

        Raises
        ------
        ValueError
            A parameter is wrong, or there are not as many weights or qualities as pairs.

        Warns
        -----
        DegenerateMatchesWarning
            The inliers of some pairs leave the homography undetermined.
        """
        self._validate_params()
        pairs = [
            (pair, weight, order, clone(self), new_seed(self.random_state))
            for pair, weight, order in zip(
                matches,
                _one_each(sample_weight, len(matches), "sample_weight"),
                _one_each(quality, len(matches), "quality"),
            )
        ]
        device = str(resolve_device(self.device))

        def work(pair: Any) -> Homography | FailedFit:
            X, weight, order, model, seed = pair
            try:
                model._fit(X, None, weight, order, seed, 1, device)
            except (TypeError, ValueError) as error:
                return FailedFit(str(error))
            return model

        fits = thread_map(work, pairs, n_jobs=self.n_jobs)
        vague = [
            i
            for i, fit in enumerate(fits)
            if isinstance(fit, Homography) and fit.degeneracy_ != "none"
        ]
        if vague:
            warnings.warn(f"pairs {vague}: {_DEGENERATE}", DegenerateMatchesWarning, stacklevel=2)
        return fits

    def predict(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.bool_]:
        """Return which matches are within the threshold.

        Parameters
        ----------
        X : array_like of shape (n_matches, 4), or (n_matches, 2) with ``y``
            Rows ``x1 y1 x2 y2`` in pixels, or the points of image 1.
        y : array_like of shape (n_matches, 2), default=None
            The points of image 2.

        Returns
        -------
        ndarray of shape (n_matches,), bool
        """
        return self.score_samples(X, y) <= self.residual_threshold_

    def score_samples(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the Sampson distances of matches.

        Parameters
        ----------
        X, y : array_like
            As for `predict`.

        Returns
        -------
        ndarray of shape (n_matches,), float64
            Pixels; NaN for matches that ``nan_policy="omit"`` leaves out.
        """
        check_is_fitted(self)
        matches, is_valid = check_matches(X, y, nan_policy=self.nan_policy)
        distances = np.full(len(is_valid), np.nan)
        distances[is_valid] = planes.sampson_distances(self.H_, matches)
        return distances

    def score(self, X: ArrayLike, y: ArrayLike | None = None) -> float:
        """Return the mean gain of matches, as ``score_``.

        Parameters
        ----------
        X, y : array_like
            As for `predict`.

        Returns
        -------
        float
            From 0 to 1; higher is better.
        """
        distances = self.score_samples(X, y)
        return _mean_gain(distances[~np.isnan(distances)], self.residual_threshold_)

    def transform(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return where points of image 1 lie in image 2.

        Parameters
        ----------
        points : array_like of shape (n, 2)
            Pixels x y.

        Returns
        -------
        ndarray of shape (n, 2), float64
            Infinite or NaN where a point goes to infinity.
        """
        check_is_fitted(self)
        return planes.map_points(self.H_, check_points(points))

    def inverse_transform(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return where points of image 2 lie in image 1.

        Parameters
        ----------
        points : array_like of shape (n, 2)
            Pixels x y.

        Returns
        -------
        ndarray of shape (n, 2), float64
        """
        check_is_fitted(self)
        return planes.map_points(planes.inverse(self.H_), check_points(points))

    def transfer_covariance(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return how uncertain it is where exact points of image 1 lie in image 2.

        Parameters
        ----------
        points : array_like of shape (n, 2)
            Pixels x y.

        Returns
        -------
        ndarray of shape (n, 2, 2), float64
            Covariances of what `transform` returns, pixels².
        """
        check_is_fitted(self)
        return planes.transfer_covariance(self.H_, self.covariance_, points)

    def _fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        quality: ArrayLike | None,
        seed: np.uint64,
        n_jobs: int | None,
        device: str | None = None,
    ) -> None:
        """Fit without a warning."""
        self.device_ = device or str(resolve_device(self.device, X))
        if self.device_ != "cpu":
            raise RuntimeError(
                "homographies are fitted on the CPU in this version; pass device='cpu' and host "
                "arrays"
            )
        data = self._check(X, y, sample_weight, quality)
        scaled = ScaledMatches.of(data.matches, data.weight)
        found = self._find(data, scaled, seed, n_jobs)
        model, problem = found.model, found.problem
        if self.local_optimization and self.method != "dlt":
            model = problem.finish(model)
        evaluation = problem.evaluate(model)
        self.H_ = scaled.to_pixels(model)
        self.covariance_ = scaled.covariance_to_pixels(model, evaluation.covariance())
        self.noise_scale_ = evaluation.noise * scaled.unit
        self.residual_threshold_ = found.threshold
        self.n_trials_ = found.n_trials
        self.degeneracy_ = "none" if is_determined(evaluation, scaled) else "points"
        distances = planes.sampson_distances(self.H_, data.given)
        self.inlier_mask_ = np.zeros(len(data.is_valid), bool)
        self.inlier_mask_[data.is_valid] = distances <= found.threshold
        self.n_inliers_ = int(np.count_nonzero(self.inlier_mask_))
        self.score_ = _mean_gain(distances, found.threshold)
        self.n_features_in_ = 4 if y is None else 2

    def _check(
        self,
        X: ArrayLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        quality: ArrayLike | None,
    ) -> _Data:
        given, is_valid = check_matches(X, y, nan_policy=self.nan_policy, min_matches=SAMPLE_SIZE)
        matches, weight = given, np.ones(len(given))
        order: NDArray[np.float64] | None = None
        if quality is not None:
            order = _one_per_match(as_finite(quality, "quality", (1,)), is_valid, "quality")
        if sample_weight is not None:
            weight = check_weight(sample_weight, len(is_valid), "sample_weight")[is_valid]
            counts = weight > 0
            matches, weight = matches[counts], weight[counts]
            order = order if order is None else order[counts]
            if len(matches) < SAMPLE_SIZE:
                raise ValueError(
                    f"sample_weight must be positive for at least {SAMPLE_SIZE} matches, got "
                    f"{len(matches)}"
                )
        if order is not None:
            best_first = np.argsort(-order, kind="stable")
            matches, weight = matches[best_first], weight[best_first]
        return _Data(matches, weight / weight.mean(), order is not None, given, is_valid)

    def _find(
        self, data: _Data, scaled: ScaledMatches, seed: np.uint64, n_jobs: int | None
    ) -> _Found:
        """Return a model before the last refinement."""
        is_automatic = self.residual_threshold == "auto"
        threshold = 1.0 if is_automatic else float(self.residual_threshold) / scaled.unit
        problem = PlanarProblem(scaled, seed, threshold, refines=self.local_optimization)
        if self.method == "dlt":
            return self._fit_all(problem, planes.direct_linear(data.matches, data.weight))
        model: NDArray[np.float64] | None
        if self.method == "lmeds":
            n_trials = min(self.max_trials, trials_for_half(self.confidence))
            model, threshold = least_median(problem, seed, n_trials, n_jobs)
        else:
            sampling = Sampling(len(data.matches), SAMPLE_SIZE, data.has_quality)
            model, threshold, n_trials = (run_automatic if is_automatic else run_fixed)(
                problem,
                sampling,
                confidence=self.confidence,
                max_trials=self.max_trials,
                n_jobs=n_jobs,
            )
        if model is None:
            model = any_homography(scaled)
        least = scaled.rounding() if is_automatic or self.method == "lmeds" else 0.0
        threshold = max(threshold, least)
        return _Found(model, problem.at(threshold), threshold * scaled.unit, n_trials)

    def _fit_all(self, problem: PlanarProblem, H: NDArray[np.float64]) -> _Found:
        """Return the model of all matches."""
        model = problem.matches.from_pixels(H)
        everything = problem.at(_EVERYTHING * max(problem.distances(model).max(), 1.0))
        threshold = self.residual_threshold
        if threshold == "auto":
            noise = max(everything.evaluate(model).noise, problem.matches.rounding())
            threshold = LARGEST_DEVIATION * noise * problem.matches.unit
        return _Found(model, everything, float(threshold), 0)


def _one_each(
    values: Sequence[ArrayLike | None] | None, n: int, name: str
) -> Sequence[ArrayLike | None]:
    if values is None:
        return [None] * n
    if len(values) != n:
        raise ValueError(f"{name} must have one entry per pair, {n}, got {len(values)}")
    return values


def _one_per_match(
    values: NDArray[np.float64], is_valid: NDArray[np.bool_], name: str
) -> NDArray[np.float64]:
    if len(values) != len(is_valid):
        raise ValueError(
            f"{name} must have one entry per match, {len(is_valid)}, got {len(values)}"
        )
    return values[is_valid]


def _mean_gain(distances: NDArray[np.float64], threshold: float) -> float:
    return float(np.maximum(0.0, 1.0 - (distances / threshold) ** 2).mean())
