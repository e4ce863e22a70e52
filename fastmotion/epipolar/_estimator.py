"""What estimators of two-view geometry have in common: checks, batches, inliers, scores."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmotion.core.device import Device, is_cuda_array, resolve_device, to_host
from fastmotion.core.interop import like
from fastmotion.core.memory import memory_of
from fastmotion.core.random import new_seed
from fastmotion.core.validation import Interval, StrOptions, fit_context, n_jobs_constraint
from fastmotion.em.fitted import unchanged_by_errors
from fastmotion.epipolar.checks import check_device_matches, check_matches
from fastmotion.epipolar.launching import Kernels, kernels_of
from fastmotion.epipolar.outcomes import DegenerateMatchesWarning, FailedFit
from fastmotion.epipolar.ransac import mean_gain
from fastmotion.linear._checks import as_finite
from fastmotion.linear._normal_equations import check_weight

__all__ = ["MatchData", "TwoViewEstimator"]

# The frames between a warning and the caller of `fit`: fit itself and scikit-learn's wrapper.
_CALLER = 3


@dataclass(frozen=True)
class MatchData:
    """What is fitted, checked.

    Attributes
    ----------
    matches : ndarray of shape (n, 4)
        Those of positive weight, the best first where they have a quality.
    weight : ndarray of shape (n,)
        Its mean is 1.
    has_quality : bool
    given : ndarray of shape (n_valid, 4)
        All that are finite.
    is_valid : ndarray of shape (n_given,), bool
    order : ndarray of shape (n,)
        Which of the given ones ``matches`` are.
    """

    matches: NDArray[np.float64]
    weight: NDArray[np.float64]
    has_quality: bool
    given: NDArray[np.float64]
    is_valid: NDArray[np.bool_]
    order: NDArray[np.int64]


class TwoViewEstimator(BaseEstimator):
    """Base of `FundamentalMatrix` and `Homography`: a model of matches, and distances from it."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "residual_threshold": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "max_trials": [Interval(Integral, 1, None, closed="left")],
        "local_optimization": ["boolean"],
        "nan_policy": [StrOptions({"raise", "omit"})],
        "random_state": ["random_state", np.random.Generator],
        "n_jobs": n_jobs_constraint(),
        "device": [str, Device, None],
    }

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        quality: ArrayLike | None = None,
    ) -> Self:
        """Estimate the model of the matches between two images.

        Parameters
        ----------
        X : array_like of shape (n_matches, 4), or (n_matches, 2) with ``y``
            Rows ``x1 y1 x2 y2`` in pixels, or the points of image 1. Matches that lie on a CUDA
            device are copied to the host once, where checks and the algebra of models are done.
        y : array_like of shape (n_matches, 2), default=None
            The points of image 2.
        sample_weight : array_like of shape (n_matches,), default=None
            How much each match counts in refinement; those of weight 0 take no part in the fit.
            Which samples are drawn, and how many, does not depend on weights.
        quality : array_like of shape (n_matches,), default=None
            Larger is better: the best matches are drawn first (PROSAC). Only "ransac" draws so.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            An argument does not hold real numbers.
        ValueError
            A shape or parameter is wrong, a number is NaN or infinite, matches are too few, or
            there is no model for them.
        RuntimeError
            The device is not available.

        Warns
        -----
        DegenerateMatchesWarning
            The matches leave the model undetermined: ``degeneracy_`` says why.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.epipolar import Homography
        >>> points = np.random.default_rng(0).uniform(0, 500, (50, 2))
        >>> moved = points + [20, -10]
        >>> moved[:10] += 100  # wrong matches
        >>> Homography(random_state=0).fit(points, moved).n_inliers_
        40
        >>> Homography(random_state=0).fit(np.hstack([points, moved])).n_inliers_
        40
        """
        device = resolve_device(self.device, X, y)
        given = _where_checked(device, X, y, sample_weight, quality)
        with unchanged_by_errors(self), kernels_of(device) as kernels:
            seed = new_seed(self.random_state)
            self._fit(*given, seed=seed, n_jobs=self.n_jobs, kernels=kernels)
        if self.degeneracy_ != "none":
            reason = self._describe(self.degeneracy_)
            warnings.warn(reason, DegenerateMatchesWarning, stacklevel=_CALLER)
        return self

    def fit_predict(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        quality: ArrayLike | None = None,
    ) -> NDArray[np.bool_]:
        """Estimate the model and return which matches are within the threshold.

        Parameters
        ----------
        X, y, sample_weight, quality : array_like
            As for `fit`.

        Returns
        -------
        ndarray of shape (n_matches,), bool
            ``inlier_mask_``: ``matches[model.fit_predict(matches)]`` are the right ones.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As by `fit`.

        Warns
        -----
        DegenerateMatchesWarning
            As by `fit`.

        Examples
        --------
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import FundamentalMatrix
        >>> view = make_two_view(n_matches=200, inlier_ratio=0.6, noise=0.5, random_state=0)
        >>> kept = view.matches[FundamentalMatrix(random_state=0).fit_predict(view.matches)]
        >>> len(kept), int(view.inlier_mask.sum())
        (112, 120)
        """
        return self.fit(X, y, sample_weight=sample_weight, quality=quality).inlier_mask_

    def fit_batch(
        self,
        matches: Sequence[ArrayLike],
        *,
        sample_weight: Sequence[ArrayLike | None] | None = None,
        quality: Sequence[ArrayLike | None] | None = None,
    ) -> list[Self | FailedFit]:
        """Estimate the models of many pairs of images, in parallel.

        On a CUDA device the kernels serve many pairs in one launch.

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
        RuntimeError
            The device is not available.
        MemoryError
            A CUDA device has too little memory for the pairs that it works on at a time.

        Warns
        -----
        DegenerateMatchesWarning
            The matches of some pairs leave the model undetermined.

        Examples
        --------
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import FundamentalMatrix
        >>> pairs = [make_two_view(n_matches=200, random_state=i).matches for i in range(3)]
        >>> pairs[1] = pairs[1][:4]
        >>> models = FundamentalMatrix(random_state=0).fit_batch(pairs)
        >>> [bool(model) for model in models], models[1].reason
        ([True, False, True], 'X must hold at least 7 matches, got 4')
        """
        self._validate_params()
        device = resolve_device(self.device, *matches)
        weights = _one_each(sample_weight, len(matches), "sample_weight")
        qualities = _one_each(quality, len(matches), "quality")
        pairs = [
            (clone(self), _where_checked(device, X, None, *others), new_seed(self.random_state))
            for X, *others in zip(matches, weights, qualities)
        ]
        with kernels_of(device) as kernels:

            def work(pair: Any) -> Self | FailedFit:
                model, given, seed = pair
                try:
                    model._fit(*given, seed=seed, n_jobs=1, kernels=kernels)
                except (TypeError, ValueError) as error:
                    return FailedFit(str(error))
                return model

            fits = kernels.map(work, pairs, n_jobs=self.n_jobs)
        vague = [
            i
            for i, fit in enumerate(fits)
            if not isinstance(fit, FailedFit) and fit.degeneracy_ != "none"
        ]
        if vague:
            warnings.warn(
                f"the matches of pairs {vague} leave their models undetermined: degeneracy_ says "
                "why; others fit as well. Add matches elsewhere",
                DegenerateMatchesWarning,
                stacklevel=2,
            )
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
        ndarray or CUDA array of shape (n_matches,), bool
            On the device and of the library of ``X``.

        Raises
        ------
        TypeError, ValueError
            As by `fit`.
        sklearn.exceptions.NotFittedError
            The model was not fitted.

        Examples
        --------
        Matches of a model that was fitted to others:

        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import FundamentalMatrix
        >>> view = make_two_view(n_matches=400, noise=0.5, random_state=0)
        >>> model = FundamentalMatrix(random_state=0).fit(view.matches[:200])
        >>> right = model.predict(view.matches[200:])
        >>> bool((right == view.inlier_mask[200:]).mean() > 0.9)
        True
        """
        check_is_fitted(self)
        device = resolve_device(self.device, X, y)
        if not _is_on(device, X):
            return self.score_samples(X, y) <= self.residual_threshold_
        with kernels_of(device) as kernels:
            distances = self._distances_on_device(X, y, kernels)
            is_inlier = memory_of(device).new(len(distances), np.bool_)
            kernels.fundamental.find_within(distances, self.residual_threshold_, is_inlier)
            return like(is_inlier, X)

    def score_samples(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the Sampson distances of matches.

        Parameters
        ----------
        X, y : array_like
            As for `predict`.

        Returns
        -------
        ndarray or CUDA array of shape (n_matches,), float64
            Pixels, on the device and of the library of ``X``; NaN for matches that
            ``nan_policy="omit"`` leaves out.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.epipolar import Homography
        >>> square = np.array([[0.0, 0.0], [99.0, 0.0], [99.0, 99.0], [0.0, 99.0], [50.0, 40.0]])
        >>> model = Homography(random_state=0).fit(square, square + 10)
        >>> distances = model.score_samples([[20, 20, 30, 30], [20, 20, 33, 34]])
        >>> distances.round(4)  # half of 5 pixels in each image
        array([0.    , 3.535])
        """
        check_is_fitted(self)
        device = resolve_device(self.device, X, y)
        with kernels_of(device) as kernels:
            if _is_on(device, X):
                return like(self._distances_on_device(X, y, kernels), X)
            matches, is_valid = check_matches(X, y, nan_policy=self.nan_policy)
            self._check_names(X, y)
            distances = np.full(len(is_valid), np.nan)
            distances[is_valid] = self._distances(matches, kernels)
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

        Raises
        ------
        ValueError
            There is no match, or none that is finite.

        Examples
        --------
        >>> from fastmotion.datasets import make_two_view
        >>> from fastmotion.epipolar import FundamentalMatrix
        >>> view = make_two_view(n_matches=400, noise=0.5, random_state=0)
        >>> model = FundamentalMatrix(random_state=0).fit(view.matches[:200])
        >>> others, is_right = view.matches[200:], view.inlier_mask[200:]
        >>> model.score(others[is_right]) > 0.5, model.score(others[~is_right]) < 0.1
        (True, True)
        """
        check_is_fitted(self)
        device = resolve_device(self.device, X, y)
        if _is_on(device, X):
            with kernels_of(device) as kernels:
                found = self._distances_on_device(X, y, kernels)
                total, n = kernels.fundamental.sum_gains(found, self.residual_threshold_)
                gain = total / n if n else math.nan
        else:
            distances = self.score_samples(X, y)
            distances = distances[~np.isnan(distances)]
            n = len(distances)
            gain = mean_gain(distances, self.residual_threshold_) if n else math.nan
        if not n:
            raise ValueError("X must hold at least one match that is finite, got none")
        return gain

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.nan_policy == "omit"
        return tags

    @property
    @abstractmethod
    def _min_matches(self) -> int:
        """The fewest matches that a fit takes."""

    @abstractmethod
    def _estimate(
        self, data: MatchData, seed: np.uint64, n_jobs: int | None, kernels: Kernels
    ) -> None:
        """Set the model, ``residual_threshold_`` and what else comes with it."""

    @abstractmethod
    def _distances(self, matches: NDArray[np.float64], kernels: Kernels) -> NDArray[np.float64]:
        """Return the Sampson distances of matches, pixels."""

    @abstractmethod
    def _set_distances(self, matches: Any, distances: Any, kernels: Kernels) -> None:
        """Set a device array to the Sampson distances of one of matches; NaN if out of range."""

    @abstractmethod
    def _describe(self, degeneracy: str) -> str:
        """Return what to tell users whose matches leave the model undetermined."""

    def _fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        quality: ArrayLike | None,
        *,
        seed: np.uint64,
        n_jobs: int | None,
        kernels: Kernels,
    ) -> None:
        """Fit without a warning."""
        self.device_ = str(kernels.device)
        data = self._check(X, y, sample_weight, quality)
        self._estimate(data, seed, n_jobs, kernels)
        distances = self._distances(data.given, kernels)
        self.inlier_mask_ = np.zeros(len(data.is_valid), bool)
        self.inlier_mask_[data.is_valid] = distances <= self.residual_threshold_
        self.n_inliers_ = int(np.count_nonzero(self.inlier_mask_))
        self.score_ = mean_gain(distances, self.residual_threshold_)
        validate_data(self, X, skip_check_array=True)  # names and number of features

    def _distances_on_device(self, X: Any, y: Any, kernels: Kernels) -> Any:
        """Return the distances of matches on a device, there."""
        matches = check_device_matches(X, y, kernels.device, nan_policy=self.nan_policy)
        self._check_names(X, y)
        distances = memory_of(kernels.device).new(len(matches), np.float64)
        self._set_distances(matches, distances, kernels)
        return distances

    def _check_names(self, X: Any, y: Any) -> None:
        if (2 if y is not None else 4) == self.n_features_in_:
            validate_data(self, X, reset=False, skip_check_array=True)

    def _check(
        self,
        X: ArrayLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        quality: ArrayLike | None,
    ) -> MatchData:
        least = self._min_matches
        given, is_valid = check_matches(X, y, nan_policy=self.nan_policy, min_matches=least)
        order = np.arange(len(given))
        weight = np.ones(len(given))
        if sample_weight is not None:
            of_valid = _of_valid(sample_weight, is_valid, "sample_weight")
            weight = check_weight(of_valid, len(given), "sample_weight")
            order = np.flatnonzero(weight)
            if len(order) < least:
                raise ValueError(
                    f"sample_weight must be positive for at least {least} matches, got {len(order)}"
                )
        if quality is not None:
            ranks = as_finite(_of_valid(quality, is_valid, "quality"), "quality", (1,))
            order = order[np.argsort(-ranks[order], kind="stable")]
        is_all = quality is None and len(order) == len(given)
        matches = given if is_all else given[order]
        weight = weight[order]
        return MatchData(
            matches, weight / weight.mean(), quality is not None, given, is_valid, order
        )


def _is_on(device: Device, X: Any) -> bool:
    """Return whether matches lie on the CUDA device that works on them."""
    return device.kind == "cuda" and is_cuda_array(X)


def _where_checked(device: Device, *given: Any) -> tuple[Any, ...]:
    """Return what a fit is given, from a CUDA device that fits as host arrays."""
    return tuple(to_host(x) if _is_on(device, x) else x for x in given)


def _of_valid(values: ArrayLike, is_valid: NDArray[np.bool_], name: str) -> NDArray:
    """Return what belongs to valid matches: the others may have a NaN here, too."""
    array = np.asarray(values)
    if array.shape != is_valid.shape:
        raise ValueError(
            f"{name} must have one entry per match, {len(is_valid)}, got "
            f"{len(array) if array.ndim == 1 else f'shape {array.shape}'}"
        )
    return array[is_valid]


def _one_each(
    values: Sequence[ArrayLike | None] | None, n: int, name: str
) -> Sequence[ArrayLike | None]:
    if values is None:
        return [None] * n
    if len(values) != n:
        raise ValueError(f"{name} must have one entry per pair, {n}, got {len(values)}")
    return values
