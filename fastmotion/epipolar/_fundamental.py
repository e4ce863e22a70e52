"""Fundamental matrices from matches of which some are wrong."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.validation import StrOptions
from fastmotion.epipolar import lines
from fastmotion.epipolar._estimator import MatchData, TwoViewEstimator
from fastmotion.epipolar.bands import EpipolarBand, epipolar_band
from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.degeneracy import plane_of, undetermined
from fastmotion.epipolar.estimation import eight_point, seven_point
from fastmotion.epipolar.kernels.scalar import N_FREE
from fastmotion.epipolar.launching import Kernels
from fastmotion.epipolar.problem import sampson_distances
from fastmotion.epipolar.robust import (
    LARGEST_DEVIATION,
    RobustFit,
    RobustSettings,
    fit_robust,
)
from fastmotion.epipolar.uncertainty import fundamental_covariance

__all__ = ["FundamentalMatrix"]

# Noise that is judged by is at least this share of the extent of the matches: planes are searched
# in float32.
_LEAST_NOISE = 1e-6
_SAMPLE_SIZES = {"seven_point": 7, "eight_point": 8}

_DEGENERATE = {
    "points": "too few right matches differ, or in one image they lie on a line",
    "plane": "the right matches lie on one plane",
    "rotation": "the camera only turned, or nothing moved",
}


class FundamentalMatrix(TwoViewEstimator):
    """The fundamental matrix of two views, robustly estimated, with its covariance.

    Random samples of seven matches give models; those that most matches obey are refined. Where a
    plane holds many of the matches, the epipole is looked for among those off the plane. At last
    right and wrong matches are told apart by their distances and their leverage, and the matrix is
    fitted to what is right by nonlinear least squares.

    Parameters
    ----------
    method : {"ransac", "lmeds", "eight_point", "seven_point"}, default="ransac"
        Random samples scored by the distances of inliers (MSAC); by the median of all distances,
        which takes no threshold but needs more right matches than wrong ones; or no samples but
        all matches by linear least squares, where none is wrong.
    minimal : {"seven_point", "eight_point"}, default="seven_point"
        How many matches a sample has. With eight there is one model instead of up to three, but
        more samples are needed.
    residual_threshold : float or "auto", default=1.0
        Sampson distance up to which a match is an inlier, in pixels. Between one and four standard
        deviations of the noise the matrix hardly depends on it. "auto" finds it from the matches;
        "lmeds" always does.
    confidence : float, default=0.9999
        Probability with which the search, before it ends, has drawn a sample of inliers only.
    max_trials : int, default=100_000
        The most samples that are drawn.
    degeneracy : {"handle", "flag", "ignore"}, default="handle"
        What to do about a plane that holds many matches: look for the epipole off the plane; only
        tell by ``degeneracy_`` and a warning; or nothing.
    local_optimization : bool, default=True
        Whether the best models of samples are refined, and the last one too. Without it, the result
        is the best model of a sample, and planes are not handled.
    nan_policy : {"raise", "omit"}, default="raise"
        What becomes of matches with a coordinate that is NaN or infinite: an error, or they are no
        inliers and count for nothing.
    random_state : int, RandomState, Generator or None, default=None
        For the samples. The same integer gives the same result.
    n_jobs : int or None, default=None
        Threads; they do not change results.
    device : str or None, default=None
        Where to compute: "cpu", "cuda", "cuda:N", "auto", or None for the setting of
        `fastmotion.config_context`. On a CUDA device `fit_batch` gains most: one pair of images is
        little work for it.

    Attributes
    ----------
    F_ : ndarray of shape (3, 3), float64
        ``[x2 y2 1] F [x1 y1 1]ᵀ = 0``, of rank 2 and unit Frobenius norm; the entry of largest
        magnitude is positive.
    inlier_mask_ : ndarray of shape (n_matches,), bool
        Which matches are within the threshold.
    weights_ : ndarray of shape (n_matches,), float64
        How probably each match is right, or 0 and 1 where that was not estimated: its share in the
        last fit.
    score_ : float
        Mean over matches, without weights, of ``max(0, 1 - d² / threshold²)``, d the Sampson
        distance: from 0 to 1, higher is better.
    n_trials_ : int
        Samples that were drawn; 0 for linear methods.
    n_inliers_ : int
        How many matches are within the threshold.
    covariance_ : ndarray of shape (9, 9), float64
        Of ``F_.ravel()``, of rank 7; infinite where the matches leave the matrix undetermined.
        Computed when it is first asked for.
    noise_scale_ : float
        Standard deviation of the noise of a coordinate of right matches, pixels.
    residual_threshold_ : float
        The threshold in force, pixels.
    degeneracy_ : {"none", "plane", "rotation", "points"}
        What leaves the matrix undetermined: right matches that all lie on one plane, a camera that
        only turned, or too few different points. The matrix is then one of many that fit.
    epipoles_ : ndarray of shape (2, 3), float64
        Of unit norm, homogeneous: where each image shows the centre of the other camera.
    device_ : str
        Where it was computed.
    n_features_in_ : int
        4, or 2 where the points of image 2 were given as ``y``.

    See Also
    --------
    Homography : For planes and for cameras that only turn.
    recover_pose : Rotation and translation, with known intrinsics.
    fastmotion.display.EpipolarDisplay : Matches, lines and bands over both images.

    Notes
    -----
    Samples of seven matches [1]_ are solved many at a time; those whose points a camera could not
    see are refused [2]_, and the others scored by truncated squared distances [1]_ until it is
    clear that they are worse than the best so far. The best few are refined by Levenberg-Marquardt
    steps over the matrices of rank 2 (LO-RANSAC [3]_). A plane is handled by plane and parallax
    [4]_. Matches with a quality are drawn as by PROSAC [5]_.

    The last refinement, `polish_fundamental`, does not depend on the threshold, nor does F then
    hardly; inliers do.

    References
    ----------
    .. [1] P. H. S. Torr and A. Zisserman, "MLESAC: a new robust estimator with application to
       estimating image geometry", Computer Vision and Image Understanding 78 (1), 2000, 138-156.
    .. [2] O. Chum, T. Werner and J. Matas, "Epipolar geometry estimation via RANSAC benefits from
       the oriented epipolar constraint", ICPR 2004.
    .. [3] O. Chum, J. Matas and J. Kittler, "Locally optimized RANSAC", DAGM 2003.
    .. [4] O. Chum, T. Werner and J. Matas, "Two-view geometry estimation unaffected by a dominant
       plane", CVPR 2005.
    .. [5] O. Chum and J. Matas, "Matching with PROSAC - progressive sample consensus", CVPR 2005.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import FundamentalMatrix
    >>> view = make_two_view(n_matches=500, inlier_ratio=0.5, random_state=0)
    >>> model = FundamentalMatrix(residual_threshold=2.0, random_state=0).fit(view.matches)
    >>> model.F_.shape, model.degeneracy_, round(model.noise_scale_, 1)
    ((3, 3), 'none', 1.0)
    >>> bool(model.inlier_mask_[view.inlier_mask].mean() > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **TwoViewEstimator._parameter_constraints,
        "method": [StrOptions({"ransac", "lmeds", "eight_point", "seven_point"})],
        "minimal": [StrOptions(set(_SAMPLE_SIZES))],
        "degeneracy": [StrOptions({"handle", "flag", "ignore"})],
    }

    def __init__(
        self,
        method: str = "ransac",
        *,
        minimal: str = "seven_point",
        residual_threshold: float | str = 1.0,
        confidence: float = 0.9999,
        max_trials: int = 100_000,
        degeneracy: str = "handle",
        local_optimization: bool = True,
        nan_policy: str = "raise",
        random_state: Any = None,
        n_jobs: int | None = None,
        device: Any = None,
    ) -> None:
        self.method = method
        self.minimal = minimal
        self.residual_threshold = residual_threshold
        self.confidence = confidence
        self.max_trials = max_trials
        self.degeneracy = degeneracy
        self.local_optimization = local_optimization
        self.nan_policy = nan_policy
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    @cached_property
    def covariance_(self) -> NDArray[np.float64]:
        """Covariance of ``F_.ravel()``, of shape (9, 9); infinite where `F_` is undetermined.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import FundamentalMatrix
        >>> view = make_two_view(n_matches=100, inlier_ratio=1.0, random_state=0)
        >>> model = FundamentalMatrix(random_state=0).fit(view.matches)
        >>> model.covariance_.shape, int(np.linalg.matrix_rank(model.covariance_))
        ((9, 9), 7)
        """
        check_is_fitted(self)
        if self.degeneracy_ == "none":
            try:
                return fundamental_covariance(
                    self.F_, self._matches, noise_scale=self.noise_scale_, **self._shares
                )
            except ValueError:
                pass  # determined, but not so that rounding would allow a covariance
        return np.full((9, 9), np.inf)

    def epipolar_lines(self, points: ArrayLike, image: int = 1) -> NDArray[np.float64]:
        """Return the epipolar lines of points of one image, in the other one.

        Parameters
        ----------
        points : array_like of shape (n, 2)
            Pixels x y.
        image : {1, 2}, default=1
            The image that the points lie in.

        Returns
        -------
        ndarray of shape (n, 3), float64
            ``a, b, c`` of ``a x + b y + c = 0`` with ``a² + b² = 1``; 0 0 0 for a point at the
            epipole, which has no line.

        Raises
        ------
        ValueError
            A shape is wrong, a number is not finite, or ``image`` is neither 1 nor 2.

        Warns
        -----
        RuntimeWarning
            A point lies at the epipole.

        Examples
        --------
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import FundamentalMatrix
        >>> view = make_two_view(n_matches=200, inlier_ratio=0.7, noise=0.5, random_state=0)
        >>> model = FundamentalMatrix(random_state=0).fit(view.matches)
        >>> x1, y1, x2, y2 = view.exact[view.inlier_mask].T
        >>> a, b, c = model.epipolar_lines(view.exact[view.inlier_mask, :2]).T
        >>> bool(abs(a * x2 + b * y2 + c).mean() < 0.5)  # pixels from the true matches
        True
        """
        check_is_fitted(self)
        return lines.epipolar_lines(self.F_, points, image)

    def epipolar_band(
        self,
        points: ArrayLike,
        probability: float = 0.95,
        image: int = 1,
        noise_scale: float | None = None,
    ) -> EpipolarBand:
        """Return the bands in which epipolar lines, or matching points, lie with a probability.

        Parameters
        ----------
        points : array_like of shape (n, 2)
            Pixels x y.
        probability : float, default=0.95
            Between 0 and 1, both excluded.
        image : {1, 2}, default=1
            The image that the points lie in; the bands lie in the other one.
        noise_scale : float or None, default=None
            None for the whole true line of an exact point, 0 for the true point that matches it,
            ``noise_scale_`` for the measured match of a measured point.

        Returns
        -------
        EpipolarBand
            Lines and conics, with methods to test points and to draw.

        Raises
        ------
        ValueError
            A shape is wrong, a number is not finite, or the matrix is not determined.

        See Also
        --------
        fastmotion.epipolar.epipolar_band : The function, with the mathematics.

        Examples
        --------
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import FundamentalMatrix
        >>> view = make_two_view(n_matches=200, inlier_ratio=0.7, noise=0.5, random_state=0)
        >>> model = FundamentalMatrix(random_state=0).fit(view.matches)
        >>> right = view.matches[view.inlier_mask]
        >>> band = model.epipolar_band(right[:, :2], noise_scale=model.noise_scale_)
        >>> bool(band.contains(right[:, 2:]).mean() > 0.9)
        True
        """
        check_is_fitted(self)
        if not np.isfinite(self.covariance_).all():
            raise ValueError("there is no band: " + self._describe(self.degeneracy_))
        return epipolar_band(
            self.F_,
            self.covariance_,
            points,
            probability=probability,
            image=image,
            noise_scale=noise_scale,
        )

    @property
    def _min_matches(self) -> int:
        by_eight = self.method == "eight_point" or (
            self.method in ("ransac", "lmeds") and self.minimal == "eight_point"
        )
        return 8 if by_eight else 7

    def _distances(self, matches: NDArray[np.float64], kernels: Kernels) -> NDArray[np.float64]:
        return sampson_distances(self.F_, matches, kernels)

    def _set_distances(self, matches: Any, distances: Any, kernels: Kernels) -> None:
        kernels.fundamental.set_distances(self.F_.ravel(), matches, distances)

    def _describe(self, degeneracy: str) -> str:
        reason = _DEGENERATE.get(degeneracy, "their covariance is singular to rounding")
        return (
            f"the matches leave the fundamental matrix undetermined (degeneracy_ is "
            f"{degeneracy!r}): {reason}; others fit as well. Add matches elsewhere, or fit a "
            "Homography"
        )

    def _estimate(
        self, data: MatchData, seed: np.uint64, n_jobs: int | None, kernels: Kernels
    ) -> None:
        self.__dict__.pop("covariance_", None)
        rng = np.random.default_rng(int(seed))
        centred = CentredMatches.of_pixels(data.matches, data.weight, rng)
        found: RobustFit | None = None
        self.n_trials_ = 0
        if self.method in ("ransac", "lmeds"):
            settings = self._settings(seed, n_jobs, kernels)
            found, self.n_trials_ = self._fit_robust(data, centred, rng, settings)
        if found is None:
            found = self._fit_all(data, centred, kernels)
        self.F_ = found.F
        self.noise_scale_ = found.noise_scale
        self.residual_threshold_ = found.threshold
        self.epipoles_ = _epipoles(found.F, 1 / centred.scale)
        self.degeneracy_ = self._judge(data, centred, found, seed, kernels)
        self.weights_ = np.zeros(len(data.is_valid))
        self.weights_[np.flatnonzero(data.is_valid)[data.order]] = found.probability
        # For the covariance, should it be asked for; a copy, as the caller may reuse his array.
        has_say = found.probability > 0
        self._matches = data.matches[has_say]
        self._shares = {
            "sample_weight": data.weight[has_say],
            "probability": found.probability[has_say],
        }

    def _settings(self, seed: np.uint64, n_jobs: int | None, kernels: Kernels) -> RobustSettings:
        return RobustSettings(
            sample_size=_SAMPLE_SIZES[self.minimal],
            confidence=self.confidence,
            max_trials=self.max_trials,
            handles_planes=self.degeneracy == "handle",
            refines=bool(self.local_optimization),
            takes_median=self.method == "lmeds",
            seed=seed,
            n_jobs=n_jobs,
            kernels=kernels,
        )

    def _fit_robust(
        self,
        data: MatchData,
        matches: CentredMatches,
        rng: np.random.Generator,
        settings: RobustSettings,
    ) -> tuple[RobustFit | None, int]:
        threshold = None if self.residual_threshold == "auto" else float(self.residual_threshold)
        return fit_robust(matches, threshold, settings, rng, is_progressive=data.has_quality)

    def _fit_all(self, data: MatchData, matches: CentredMatches, kernels: Kernels) -> RobustFit:
        """Return the linear fit to all matches."""
        if self.method == "eight_point":
            candidates = eight_point(data.matches, data.weight)[None]
        else:
            candidates = seven_point(data.matches, data.weight)
        F = min(candidates, key=lambda candidate: _noise(candidate, data, kernels))
        noise = _noise(F, data, kernels)
        threshold = self.residual_threshold
        if threshold == "auto" or self.method == "lmeds":
            threshold = LARGEST_DEVIATION * max(noise, _LEAST_NOISE / matches.scale)
        probability = np.ones(len(data.matches))
        return RobustFit(F, probability, noise, float(threshold))

    def _judge(
        self,
        data: MatchData,
        matches: CentredMatches,
        found: RobustFit,
        seed: np.uint64,
        kernels: Kernels,
    ) -> str:
        """Return what leaves the matrix undetermined."""
        if self.degeneracy == "ignore":
            return "none"
        F, noise = found.F, found.noise_scale
        if self.method == "seven_point" and len(data.matches) > 7:
            # Of many matches it fits them worse than need be.
            F = eight_point(data.matches, data.weight)
            noise = _noise(F, data, kernels)
        noise = max(noise, _LEAST_NOISE / matches.scale)
        plane = plane_of(matches, F, noise, seed, kernels) if found.may_be_planar else None
        distances = sampson_distances(F, data.matches, kernels)
        return undetermined(data.matches, distances, found.probability, noise, plane)


def _noise(F: NDArray[np.float64], data: MatchData, kernels: Kernels) -> float:
    """Return the standard deviation of the distances from F, which was fitted to all matches."""
    square = float(data.weight @ sampson_distances(F, data.matches, kernels) ** 2)
    return math.sqrt(square / max(len(data.matches) - N_FREE, 1))


def _epipoles(F: NDArray[np.float64], extent: float) -> NDArray[np.float64]:
    """Return both epipoles, whatever the rank of the matrix is in pixels.

    In units of the extent of the matches its singular values are those that matter.
    """
    unit = np.array([extent, extent, 1.0])
    left, _, right = np.linalg.svd(unit[:, None] * F * unit)
    found = np.stack([right[2], left[:, 2]]) * unit
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found * np.where(found[:, 2:] < 0, -1.0, 1.0)
