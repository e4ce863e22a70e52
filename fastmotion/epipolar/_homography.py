"""Homographies from matches of which some are wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import TransformerTags
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.device import Device, is_cuda_array, resolve_device
from fastmotion.core.validation import ArrayOutput, StrOptions
from fastmotion.epipolar import on_device, planes
from fastmotion.epipolar._estimator import MatchData, TwoViewEstimator
from fastmotion.epipolar.checks import check_points
from fastmotion.epipolar.launching import Kernels
from fastmotion.epipolar.planar_fit import (
    COARSE,
    SAMPLE_SIZE,
    Evaluation,
    PlanarProblem,
    ScaledMatches,
    is_determined,
    run_automatic,
    run_fixed,
    run_median,
    undetermined_model,
)
from fastmotion.epipolar.planar_noise import LARGEST_PLANAR_DEVIATION
from fastmotion.epipolar.ransac import Sampling

__all__ = ["Homography"]

# A threshold beyond all distances, by a factor.
_EVERYTHING = 1e3
_DEGENERATE = (
    "the matches leave the homography undetermined (degeneracy_ is 'points'): the points of its "
    "inliers lie on a line, or too few of them differ; others fit as well. Add matches elsewhere"
)


@dataclass(frozen=True)
class _Found:
    """A model before the last refinement.

    Attributes
    ----------
    model : ndarray of shape (9,) or None
        None if no sample had a model.
    problem : PlanarProblem
        With the threshold of what tells of the model.
    threshold : float
        Of inliers, in pixels.
    n_trials : int
    """

    model: NDArray[np.float64] | None
    problem: PlanarProblem
    threshold: float
    n_trials: int


class Homography(ArrayOutput, TwoViewEstimator):
    """The homography between two views of a plane, or of a camera that only turns.

    Random samples of four matches give models; those that most matches obey are refined. At last
    right and wrong matches are told apart by their distances, and the best model is fitted to what
    is right by nonlinear least squares. It comes with its covariance.

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
        Where to compute: "auto" (where X lies), "cpu", "cuda" or "cuda:N"; None for the setting of
        `fastmotion.config_context`. A CUDA device pays where matches are many, and in `fit_batch`,
        which does many pairs at a time.

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
        Samples that were drawn; 0 for "dlt", which takes all matches.
    n_inliers_ : int
        Matches within the threshold.
    covariance_ : ndarray of shape (9, 9), float64
        Of ``H_.ravel()``, of rank 8; infinite where the matches leave the homography undetermined.
    noise_scale_ : float
        Standard deviation of the noise of a coordinate of right matches, in pixels: of all that lie
        about as chance scatters them, within the threshold or not.
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **TwoViewEstimator._parameter_constraints,
        "method": [StrOptions({"ransac", "lmeds", "dlt"})],
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

    def transform(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return where points of image 1 lie in image 2.

        Parameters
        ----------
        points : array_like of shape (n, 2)
            Pixels x y.

        Returns
        -------
        ndarray or CUDA array of shape (n, 2), float64
            On the device and of the library of ``points``; infinite or NaN where a point goes to
            infinity.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.epipolar import Homography
        >>> points = np.random.default_rng(0).uniform(0, 500, (50, 2))
        >>> model = Homography(random_state=0).fit(points, 1.1 * points + [20, -10])
        >>> model.transform([[0, 0], [100, 100]]).round(6)
        array([[ 20., -10.],
               [130., 100.]])
        """
        check_is_fitted(self)
        return self._map(self.H_, points)

    def inverse_transform(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return where points of image 2 lie in image 1.

        Parameters
        ----------
        points : array_like of shape (n, 2)
            Pixels x y.

        Returns
        -------
        ndarray or CUDA array of shape (n, 2), float64
            As by `transform`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.epipolar import Homography
        >>> points = np.random.default_rng(0).uniform(0, 500, (50, 2))
        >>> model = Homography(random_state=0).fit(points, 1.1 * points + [20, -10])
        >>> model.inverse_transform([[130, 100]]).round(6)
        array([[100., 100.]])
        """
        check_is_fitted(self)
        return self._map(planes.inverse(self.H_), points)

    def transfer_covariance(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return how uncertain it is where exact points of image 1 lie in image 2.

        Parameters
        ----------
        points : array_like of shape (n, 2)
            Pixels x y.

        Returns
        -------
        ndarray of shape (n, 2, 2), float64
            Covariances of what `transform` returns, pixels²; infinite where the matches leave the
            homography undetermined.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.epipolar import Homography
        >>> points = np.random.default_rng(0).uniform(0, 500, (50, 2))
        >>> noisy = points + np.random.default_rng(1).normal(size=(50, 2))
        >>> model = Homography(random_state=0).fit(points, noisy)
        >>> inside, outside = model.transfer_covariance([[250, 250], [900, 900]])
        >>> bool(np.trace(inside) < 0.3), bool(np.trace(outside) > 1.0)  # it extrapolates
        (True, True)
        """
        check_is_fitted(self)
        if self.degeneracy_ != "none":
            return np.full((len(check_points(points)), 2, 2), np.inf)
        return planes.transfer_covariance(self.H_, self.covariance_, points)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # It transforms points, and is fitted to matches.
        tags.transformer_tags = TransformerTags(preserves_dtype=[])
        return tags

    @property
    def _min_matches(self) -> int:
        return SAMPLE_SIZE

    def _map(self, H: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64]:
        device = resolve_device(self.device, points)
        if device.kind == "cuda":
            given = points if is_cuda_array(points) else check_points(points)
            return on_device.transform(H, given, device)
        return planes.map_points(H, check_points(points))

    def _distances(self, matches: NDArray[np.float64], kernels: Kernels) -> NDArray[np.float64]:
        return planes.sampson_distances(self.H_, matches, kernels)

    def _describe(self, degeneracy: str) -> str:
        return _DEGENERATE

    def _set_distances(self, matches: Any, distances: Any, kernels: Kernels) -> None:
        kernels.planar.set_distances(self.H_.ravel(), matches, distances)

    def _estimate(
        self, data: MatchData, seed: np.uint64, n_jobs: int | None, kernels: Kernels
    ) -> None:
        scaled = ScaledMatches.of(data.matches, data.weight)
        found = self._find(data, scaled, seed, n_jobs, kernels)
        evaluation = self._evaluate(found)
        is_known = evaluation is not None and is_determined(evaluation, found.problem)
        if evaluation is None or not is_known:
            found = self._coarser(found)
            evaluation = undetermined_model(found.problem, evaluation)
        self.H_ = scaled.to_pixels(evaluation.model)
        self.covariance_ = np.full((9, 9), np.inf)
        if is_known:
            self.covariance_ = scaled.covariance_in_pixels(evaluation)
        self.noise_scale_ = evaluation.noise * scaled.unit
        self.residual_threshold_ = found.threshold
        self.n_trials_ = found.n_trials
        self.degeneracy_ = "none" if is_known else "points"

    def _find(
        self,
        data: MatchData,
        scaled: ScaledMatches,
        seed: np.uint64,
        n_jobs: int | None,
        kernels: Kernels,
    ) -> _Found:
        """Return a model before the last refinement."""
        is_automatic = self.residual_threshold == "auto"
        threshold = 1.0 if is_automatic else float(self.residual_threshold) / scaled.unit
        problem = PlanarProblem(
            scaled, seed, threshold, refines=self.local_optimization, kernels=kernels
        )
        if self.method == "dlt":
            return self._fit_all(problem)
        options: dict[str, Any] = {
            "confidence": self.confidence, "max_trials": self.max_trials, "n_jobs": n_jobs
        }  # fmt: skip
        if self.method == "lmeds":
            model, threshold, n_trials = run_median(problem, **options)
        else:
            sampling = Sampling(len(data.matches), SAMPLE_SIZE, data.has_quality)
            run = run_automatic if is_automatic else run_fixed
            model, threshold, n_trials = run(problem, sampling, **options)
        least = scaled.rounding() if is_automatic or self.method == "lmeds" else 0.0
        threshold = max(threshold, least)
        return _Found(model, problem.at(threshold), threshold * scaled.unit, n_trials)

    def _fit_all(self, problem: PlanarProblem) -> _Found:
        """Return the model of all matches."""
        matches = problem.matches
        model = planes.direct_linear(np.ascontiguousarray(matches.rows.T), matches.weight).ravel()
        everything = problem.at(_EVERYTHING * max(problem.distances(model).max(), 1.0))
        threshold = self.residual_threshold
        if threshold == "auto":
            noise = max(everything.evaluate(model, 0.0).noise, matches.rounding())
            threshold = LARGEST_PLANAR_DEVIATION * noise * matches.unit
        return _Found(model, everything, float(threshold), 0)

    def _coarser(self, found: _Found) -> _Found:
        """Return the problem with a threshold that does not come from a model that is none."""
        if self.method != "lmeds" and self.residual_threshold != "auto":
            return found
        problem = found.problem.at(COARSE)
        return replace(found, problem=problem, threshold=COARSE * problem.matches.unit)

    def _evaluate(self, found: _Found) -> Evaluation | None:
        """Return the model after the last refinement and what speaks for it, if there is one."""
        model, problem = found.model, found.problem
        if model is None:
            return None
        if self.method != "dlt":
            if self.local_optimization:
                model = problem.finish(model)
            polished = problem.polish(model, moves=self.local_optimization)
            if polished is not None:
                return polished
        assumed = found.threshold / problem.matches.unit / LARGEST_PLANAR_DEVIATION
        return problem.evaluate(model, assumed)
