"""Linear regression that merges."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmotion.core.validation import Interval, Options, fit_context, require_no_text
from fastmotion.linear._centred import CentredEquations
from fastmotion.linear._normal_equations import (
    NormalEquations,
    as_block,
    check_weight,
    row_blocks,
)

# A refinement divides the error by about what its step was, relative to the coefficients: after a
# step this small, rounding is all that is left.
_LAST_STEP = 1e-8
_MAX_REFINEMENTS = 3

_DTYPES = (np.float64, np.float32)


class LeastSquares(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Linear regression by least squares whose parts, fitted apart, merge into the whole.

    It needs one pass over the samples and memory for the square of the number of features. Samples
    may come at once (`fit`), in chunks (`partial_fit`), or be fitted in different places and merged
    (`merge`); the result is the same to rounding. Ridge, smoothness and exact linear constraints
    concern the coefficients, never the intercept.

    Parameters
    ----------
    alpha : float, default=0.0
        Strength of the ridge, on the scale of `sklearn.linear_model.Ridge`.
    fit_intercept : bool, default=True
        Whether a constant is fitted too. Data far from the origin, compared with their spread, then
        cost no accuracy.
    prior : array_like of shape (n_features,) or (n_targets, n_features), default=None
        Coefficients that the ridge draws to; None stands for zeros.
    smoothness : float, default=0.0
        Strength of the penalty on squared differences of successive coefficients.
    smoothness_order : {1, 2}, default=1
        Whether first or second differences are penalised.
    constraints : array_like of shape (n_constraints, n_features), default=None
        Linear combinations of the coefficients that are prescribed exactly.
    values : array_like of shape (n_constraints,) or (n_constraints, n_targets), default=None
        What they must be; None stands for zeros.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features), float64
        If several are best, as where features are redundant, those of the least norm.
    intercept_ : float or ndarray of shape (n_targets,), float64
        0.0 without `fit_intercept`.
    condition_number_ : float
        That of the Gram matrix of the (centred, if `fit_intercept`) features.
    n_samples_seen_ : int
        How many samples `coef_` comes from.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if they are all strings.

    See Also
    --------
    NormalEquations : The sums themselves.

    Notes
    -----
    `fit` refines the solution of the normal equations by the residual of the samples, which makes
    it as accurate as `numpy.linalg.lstsq` up to a condition number of 1e12 or so. `partial_fit` and
    `merge` cannot: their relative error is about 1e-16 times the condition number.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.linear import LeastSquares
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
    >>> y = 1 + X @ [2.0, -1.0]
    >>> model = LeastSquares().fit(X, y)
    >>> model.coef_, model.intercept_
    (array([ 2., -1.]), 1.0...)
    >>> first, second = LeastSquares().fit(X[:2], y[:2]), LeastSquares().fit(X[2:], y[2:])
    >>> first.merge(second).coef_
    array([ 2., -1.])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "prior": ["array-like", None],
        "smoothness": [Interval(Real, 0, None, closed="left")],
        "smoothness_order": [Options(Integral, {1, 2})],
        "constraints": ["array-like", None],
        "values": ["array-like", None],
    }

    def __init__(
        self,
        alpha: float = 0.0,
        *,
        fit_intercept: bool = True,
        prior: ArrayLike | None = None,
        smoothness: float = 0.0,
        smoothness_order: int = 1,
        constraints: ArrayLike | None = None,
        values: ArrayLike | None = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.prior = prior
        self.smoothness = smoothness
        self.smoothness_order = smoothness_order
        self.constraints = constraints
        self.values = values

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the coefficients to samples, and forget earlier ones.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Those of float32 and float64 are taken without a copy of the whole.
        y : array_like of shape (n_samples,) or (n_samples, n_targets)
            What the coefficients are to give.
        sample_weight : array_like of shape (n_samples,), default=None
            Not negative; a weight of 2 counts as two equal samples.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            An argument does not hold real numbers, or ``X`` is sparse.
        ValueError
            A parameter is out of range, shapes do not match, a number is NaN or infinite or so
            large that its square is, a weight is negative or all are zero, or the constraints
            contradict each other.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import LeastSquares
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
        >>> y = 1 + X @ [2.0, -1.0]
        >>> model = LeastSquares(constraints=[[1, 1]], values=[2]).fit(X, y)  # they add up to 2
        >>> model.coef_.round(2), round(float(model.coef_.sum()), 6)
        (array([ 2.2, -0.2]), 2.0)
        """
        samples, targets, weight = self._check_samples(X, y, sample_weight, is_first=True)
        self._is_single = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        self._moments = CentredEquations.from_samples(samples, targets, weight)
        equations = self._equations()
        coef = equations.solve(**self._terms())
        for _ in range(_MAX_REFINEMENTS):
            last = coef
            coef = self._refine(equations, last, samples, targets, weight)
            if np.abs(coef - last).max() <= _LAST_STEP * np.abs(coef).max():
                break
        return self._finish(coef)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Add samples to those seen before and fit the coefficients to all.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Of any real dtype; computed in float64.
        y : array_like of shape (n_samples,) or (n_samples, n_targets)
            What the coefficients are to give.
        sample_weight : array_like of shape (n_samples,), default=None
            As for `fit`; the samples may be few, one is enough.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError, ValueError
            As by `fit`; or the features or targets are not those of earlier samples.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import LeastSquares
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
        >>> y = 1 + X @ [2.0, -1.0]
        >>> model = LeastSquares()
        >>> for rows in (slice(0, 2), slice(2, 4)):
        ...     model = model.partial_fit(X[rows], y[rows])
        >>> model.coef_, model.n_samples_seen_
        (array([ 2., -1.]), 4)
        """
        is_first = not hasattr(self, "_moments")
        samples, targets, weight = self._check_samples(X, y, sample_weight, is_first=is_first)
        is_single = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        moments = CentredEquations.from_samples(samples, targets, weight)
        if is_first:
            self._is_single, self._moments = is_single, moments
        else:
            self._check_targets(is_single, moments)
            self._moments.merge(moments)
        return self._finish(self._equations().solve(**self._terms()))

    def merge(self, other: LeastSquares) -> Self:
        """Add the samples that another model was fitted to, and fit the coefficients to all.

        Parameters
        ----------
        other : LeastSquares
            Fitted to the same features and targets; its parameters do not matter, and it stays as
            it is.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``other`` is something else.
        ValueError
            The features or targets differ.
        sklearn.exceptions.NotFittedError
            One of the models is not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import LeastSquares
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
        >>> y = 1 + X @ [2.0, -1.0]
        >>> model = LeastSquares().fit(X[:2], y[:2]).merge(LeastSquares().fit(X[2:], y[2:]))
        >>> model.coef_, model.n_samples_seen_
        (array([ 2., -1.]), 4)
        """
        if not isinstance(other, LeastSquares):
            raise TypeError(f"other must be a LeastSquares, got {type(other).__name__}")
        check_is_fitted(self)
        check_is_fitted(other)
        mine, others = self._features(), other._features()
        if mine != others:
            raise ValueError(f"other must have the same features, {mine}, got {others}")
        self._check_targets(other._is_single, other._moments)
        self._moments.merge(other._moments)
        return self._finish(self._equations().solve(**self._terms()))

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the targets that the coefficients give.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Of any real dtype; computed in float64.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Of float32 where ``X`` is, else float64.

        Raises
        ------
        ValueError
            ``X`` does not have the features of `fit`, or a number is NaN or infinite.
        sklearn.exceptions.NotFittedError
            The model is not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import LeastSquares
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
        >>> y = 1 + X @ [2.0, -1.0]
        >>> LeastSquares().fit(X, y).predict([[1.0, 1.0], [4.0, 0.0]])
        array([2., 9.])
        """
        check_is_fitted(self)
        require_no_text(X, "X")
        samples: NDArray = validate_data(self, X, dtype=_DTYPES, reset=False)
        targets = np.empty((len(samples), *self.coef_.shape[:-1]), samples.dtype)
        for rows in row_blocks(*samples.shape):
            targets[rows] = as_block(samples[rows]) @ self.coef_.T + self.intercept_
        return targets

    @property
    def condition_number_(self) -> float:
        """Condition number of the Gram matrix of the features, centred with `fit_intercept`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.linear import LeastSquares
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
        >>> y = 1 + X @ [2.0, -1.0]
        >>> round(LeastSquares().fit(X, y).condition_number_, 2)
        3.12
        >>> LeastSquares().fit(X[:, [0, 0]], y).condition_number_  # the same feature twice
        inf
        """
        check_is_fitted(self)
        return self._equations().condition_number()

    def _check_samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, is_first: bool
    ) -> tuple[NDArray, NDArray, NDArray[np.float64] | None]:
        require_no_text(X, "X")
        samples: tuple[NDArray, NDArray] = validate_data(
            self, X, y, dtype=_DTYPES, multi_output=True, y_numeric=True, reset=is_first
        )
        if sample_weight is None:
            return *samples, None
        weight = check_weight(sample_weight, len(samples[0]), "sample_weight")
        if is_first and not weight.any():
            raise ValueError("sample_weight must not be zero for all samples")
        return *samples, weight

    def _features(self) -> str:
        names = getattr(self, "feature_names_in_", None)
        named = "without names" if names is None else f"named {', '.join(names)}"
        return f"{self.n_features_in_} features {named}"

    def _check_targets(self, is_single: bool, moments: CentredEquations) -> None:
        got, wanted = (
            "(n_samples,)" if single else f"(n_samples, {len(part.target_mean)})"
            for single, part in ((is_single, moments), (self._is_single, self._moments))
        )
        if got != wanted:
            raise ValueError(f"y must have the shape {wanted} of earlier samples, got {got}")

    def _equations(self) -> NormalEquations:
        moments = self._moments
        return moments.about_means() if self.fit_intercept else moments.about_origin()

    def _terms(self) -> dict[str, Any]:
        """Return the arguments of `NormalEquations.solve`, whose coefficients are columns."""
        return {
            "alpha": self.alpha,
            "prior": None if self.prior is None else np.asarray(self.prior).T,
            "smoothness": self.smoothness,
            "smoothness_order": self.smoothness_order,
            "constraints": self.constraints,
            "values": self.values,
        }

    def _refine(
        self,
        equations: NormalEquations,
        coef: NDArray[np.float64],
        X: NDArray,
        y: NDArray,
        weight: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        moment = np.zeros_like(coef)
        for rows in row_blocks(*X.shape):
            features, targets = as_block(X[rows]), as_block(y[rows])
            if self.fit_intercept:
                features = features - self._moments.feature_mean
                targets = targets - self._moments.target_mean
            block_weight = None if weight is None else weight[rows]
            moment += equations.residual_moment(coef, features, targets, block_weight)
        return equations.refine(coef, moment, **self._terms())

    def _finish(self, coef: NDArray[np.float64]) -> Self:
        """Set the fitted attributes from coefficients in columns."""
        moments = self._moments
        intercept = np.zeros(coef.shape[1])
        if self.fit_intercept:
            intercept = moments.target_mean - moments.feature_mean @ coef
        self.n_samples_seen_ = moments.equations.n_samples
        self.coef_ = coef[:, 0] if self._is_single else np.ascontiguousarray(coef.T)
        self.intercept_ = float(intercept[0]) if self._is_single else intercept
        return self
