"""Poses to come, from one linear map of all joints of the frames so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastmotion.core.validation import Interval, validate_parameter_constraints
from fastmotion.linear import solve_quadratic
from fastmotion.trajectory._block_lags import BlockLags
from fastmotion.trajectory.sequences import (
    Sequences,
    check_not_infinite,
    check_pose,
    check_sequence_weights,
    check_sequences,
    require_host,
    takes_sequences,
)


class LinearMotionPredictor(BaseEstimator):
    """Predict future poses by a linear map of all joints in the last frames at once.

    How a joint will move is a weighted sum of how all joints moved from frame to frame within the
    window:

        pose[t + h] - pose[t]  ≈  sum over i of  weights[h, i] @ (pose[t - i] - pose[t - i - 1])

    So where the person stands does not matter, and whoever stands still is predicted to stay. The
    weights are the least squares with a ridge over all windows, in closed form, for all horizons
    from one pass over the data.

    Parameters
    ----------
    n_taps : int, default=10
        Frames in a window, the present one among them; at least 2.
    horizons : sequence of int, default=(1,)
        How many frames ahead to predict; different numbers, at least 1 each.
    alpha : float, default=0.03
        Strength of the ridge in units of the mean square of what the weights multiply, so that
        neither the unit of length nor the amount of data changes its meaning. 0 is plain least
        squares (of the least norm, where joints depend on each other).
    axes : sequence of {"sequence", "frame", "joint", "coord"} or None, default=None
        Order of the axes of the input where it is another than that below.

    Attributes
    ----------
    coef_ : ndarray of shape (n_horizons, n_joints, n_coords, n_joints, n_coords, n_taps), float64
        ``coef_[h, j, c, k, d, i]`` multiplies coordinate d of joint k, ``offsets_[i]`` frames from
        the present, in what coordinate c of joint j will be. Over i they sum to the identity map.
    offsets_ : ndarray of shape (n_taps,), int64
        ``1 - n_taps, ..., 0``.
    n_windows_ : int
        How many windows the weights were fitted to, of a weight above zero.
    n_joints_, n_coords_ : int
        Sizes of a pose.
    n_features_in_ : int
        Numbers of a pose, the product of the two.

    Notes
    -----
    The products of all joints at all lags are collected in O(frames · (joints · coords)² · taps)
    and no lagged matrix is made: along both lags they change by the ends of a sequence alone [1]_.
    The sums need memory for (joints · coords · (taps + longest horizon))² numbers. `partial_fit`
    and `merge` add sums, so sequences may be seen in any order and on any machine, with the same
    result up to rounding.

    The default of `alpha` is what leaving out sequences of motion-capture data of eight actions
    favoured, with windows of 10 frames and horizons to 400 ms at 25 frames per second.

    References
    ----------
    .. [1] M. Morf, B. Dickinson, T. Kailath and A. Vieira, "Efficient solution of covariance
       equations for linear prediction", IEEE Transactions on Acoustics, Speech, and Signal
       Processing 25(5), 1977, 429-433.

    Examples
    --------
    Two joints that swing in turn:

    >>> import numpy as np
    >>> from fastmotion.trajectory import LinearMotionPredictor
    >>> phase = np.arange(200.0)[:, np.newaxis, np.newaxis] / 6
    >>> X = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
    >>> predictor = LinearMotionPredictor(n_taps=3, horizons=(1, 10), alpha=0).fit(X)
    >>> prediction = predictor.predict(X)
    >>> prediction.shape
    (200, 2, 1, 2)
    >>> np.allclose(prediction[2:-10, ..., 1], X[12:])
    True
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_taps": [Interval(Integral, 2, None, closed="left")],
        "horizons": ["array-like"],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "axes": ["array-like", None],
    }

    def __init__(
        self,
        n_taps: int = 10,
        *,
        horizons: Sequence[int] = (1,),
        alpha: float = 0.03,
        axes: Sequence[str] | None = None,
    ) -> None:
        self.n_taps = n_taps
        self.horizons = horizons
        self.alpha = alpha
        self.axes = axes

    def fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit the weights to sequences.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            Positions, of shape (n_sequences, n_frames, n_joints, n_coords) or (n_frames, n_joints,
            n_coords), or a list of sequences of the second shape. Windows in which a value is NaN
            are left out, as are those whose longest horizon lies beyond the sequence. There are no
            confidences: what is not to be trusted must be set to NaN.
        y : object, default=None
            Ignored.
        sample_weight : array_like of shape (n_sequences,) or None, default=None
            How often each sequence counts; not negative.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``X`` does not hold real numbers.
        ValueError
            A parameter is out of range, a shape is wrong, a value is infinite, a weight is
            negative or not finite, or there is not one complete window of a weight above zero.
        RuntimeError
            ``X`` lies on a CUDA device; this estimator works on the host.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import LinearMotionPredictor
        >>> phase = np.arange(60.0)[:, np.newaxis, np.newaxis] / 6
        >>> X = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)  # two joints, one coordinate
        >>> predictor = LinearMotionPredictor(n_taps=2, horizons=(1, 5)).fit(X)
        >>> predictor.n_windows_
        54
        """
        horizons = self._check_parameters()
        sequences = self._check_input(X)
        lags = BlockLags(self.n_taps - 1 + max(horizons), sequences.n_joints * sequences.n_coords)
        return self._learn(lags, horizons, sequences, sample_weight)

    def partial_fit(
        self,
        X: ArrayLike | Sequence[ArrayLike],
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Add sequences to those seen so far.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            As for `fit`. No window reaches from one call to the next: pass whole sequences.
        y : object, default=None
            Ignored.
        sample_weight : array_like of shape (n_sequences,) or None, default=None
            As for `fit`.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError, ValueError
            As for `fit`; also where the poses are of another size than those before, or `n_taps`
            or `horizons` were changed in between. What was seen before is kept.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import LinearMotionPredictor
        >>> phase = np.arange(60.0)[:, np.newaxis, np.newaxis] / 6
        >>> X = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)  # two joints, one coordinate
        >>> predictor = LinearMotionPredictor(n_taps=2, alpha=0)
        >>> for sequence in (X[:30], X[30:]):
        ...     predictor = predictor.partial_fit(sequence)
        >>> predictor.score(X)
        1.0
        """
        if not hasattr(self, "coef_"):
            return self.fit(X, sample_weight=sample_weight)
        horizons = self._check_parameters()
        self._check_window((self.n_taps, horizons))
        sequences = self._check_fitted_input(X)
        return self._learn(self._lags, horizons, sequences, sample_weight)

    def merge(self, other: LinearMotionPredictor) -> Self:
        """Add the sequences that another predictor was fitted to.

        Parameters
        ----------
        other : LinearMotionPredictor
            Fitted, with the same `n_taps` and `horizons` and for the same joints. It stays as it
            is.

        Returns
        -------
        self
            This object.

        Raises
        ------
        TypeError
            ``other`` is something else.
        ValueError
            The windows or the sizes of the poses differ.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import LinearMotionPredictor
        >>> phase = np.arange(60.0)[:, np.newaxis, np.newaxis] / 6
        >>> X = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)  # two joints, one coordinate
        >>> predictor = LinearMotionPredictor(n_taps=2, alpha=0).fit(X[:30])
        >>> predictor.merge(LinearMotionPredictor(n_taps=2, alpha=0).fit(X[30:])).score(X)
        1.0
        """
        if not isinstance(other, LinearMotionPredictor):
            raise TypeError(f"other must be a LinearMotionPredictor, got {type(other).__name__}")
        check_is_fitted(self)
        check_is_fitted(other)
        self._check_window((self.n_taps, self._check_parameters()))
        self._check_window(other._window)
        mine, others = (self.n_joints_, self.n_coords_), (other.n_joints_, other.n_coords_)
        if mine != others:
            raise ValueError(
                f"other must have poses of {mine} joints and coordinates, got {others}"
            )
        self._lags.merge(other._lags)
        return self._solve()

    def predict(self, X: ArrayLike | Sequence[ArrayLike]) -> Any:
        """Predict from every frame how the pose will be at each horizon.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            As for `fit`, with the same joints.

        Returns
        -------
        ndarray, list of ndarray, or xarray.DataArray
            As ``X`` with one more axis, at the end, for the horizons (called "horizon" in xarray):
            ``[..., t, :, :, h]`` is the prediction, made at frame t, of frame ``t + horizons[h]``.
            What follows a sequence is predicted at its last frame. float32 for float32, float64
            for all else. NaN where the window is incomplete: in the first ``n_taps - 1`` frames,
            and for all joints where a value of any joint is NaN, as every joint enters every
            prediction; `interpolate_gaps` fills gaps beforehand.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            It was not fitted.
        TypeError
            ``X`` does not hold real numbers.
        ValueError
            The shape is wrong or a value infinite.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import LinearMotionPredictor
        >>> phase = np.arange(60.0)[:, np.newaxis, np.newaxis] / 6
        >>> X = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)  # two joints, one coordinate
        >>> predictor = LinearMotionPredictor(n_taps=2, horizons=(1, 5), alpha=0).fit(X)
        >>> prediction = predictor.predict(X)
        >>> prediction[-1, 0, 0]
        array([-0.544, -0.946])
        >>> np.sin([60 / 6, 64 / 6])
        array([-0.544, -0.946])
        """
        check_is_fitted(self)
        sequences = self._check_fitted_input(X)
        n_horizons, *pose = self.coef_.shape[:3]
        out = np.empty((*sequences.frames.shape, n_horizons), sequences.frames.dtype)
        for rows, _, predictions in self._predictions(sequences):
            out[rows] = np.moveaxis(predictions.reshape(-1, n_horizons, *pose), 1, -1)
        return sequences.restore(out, extra_dims=("horizon",))

    def score(self, X: ArrayLike | Sequence[ArrayLike], y: object = None) -> float:
        """Return the part of the coming motion that is predicted.

        Parameters
        ----------
        X : array_like, list of array_like, or xarray.DataArray
            As for `fit`, with the same joints.
        y : object, default=None
            Ignored.

        Returns
        -------
        float
            One minus the squared error of the predictions over that of a pose that stays as it is,
            averaged over the horizons: 1 is perfect, 0 as good as no prediction.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            It was not fitted.
        TypeError
            ``X`` does not hold real numbers.
        ValueError
            The shape is wrong, a value is infinite, there is not one complete window, or nothing
            moves.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmotion.trajectory import LinearMotionPredictor
        >>> phase = np.arange(60.0)[:, np.newaxis, np.newaxis] / 6
        >>> X = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)  # two joints, one coordinate
        >>> LinearMotionPredictor(n_taps=2, horizons=(10,), alpha=0).fit(X).score(X)
        1.0
        """
        check_is_fitted(self)
        sequences = self._check_fitted_input(X)
        n_taps, horizons = self._window
        error, motion = np.zeros((2, len(horizons)))
        for _, poses, predictions in self._predictions(sequences):
            for i, h in enumerate(horizons):
                miss = poses[h:] - predictions[: len(poses[h:]), i]
                is_seen = ~np.isnan(miss).any(axis=1)
                error[i] += np.square(miss[is_seen]).sum()
                motion[i] += np.square((poses[h:] - poses[:-h])[is_seen]).sum()
        if not motion.all():
            raise ValueError(
                f"X must hold motion to predict: runs of {n_taps + max(horizons)} frames without "
                f"NaN in which the pose changes, got sequences of up to {sequences.lengths.max()} "
                "frames"
            )
        return float(np.mean(1 - error / motion))

    def _check_parameters(self) -> tuple[int, ...]:
        """Return the horizons."""
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )
        horizons = tuple(self.horizons)
        is_whole = all(isinstance(h, Integral) and int(h) >= 1 for h in horizons)
        if not horizons or not is_whole or len(set(horizons)) < len(horizons):
            raise ValueError(
                "horizons must be different whole numbers of frames, at least 1 each, got "
                f"{self.horizons!r}"
            )
        return tuple(int(h) for h in horizons)

    def _check_input(self, X: ArrayLike | Sequence[ArrayLike]) -> Sequences:
        require_host(X, type(self).__name__)
        sequences = check_sequences(X, axes=self.axes)
        check_not_infinite(sequences)
        return sequences

    def _check_fitted_input(self, X: ArrayLike | Sequence[ArrayLike]) -> Sequences:
        sequences = self._check_input(X)
        check_pose(sequences, self.n_joints_, self.n_coords_)
        return sequences

    def _check_window(self, window: tuple[int, tuple[int, ...]]) -> None:
        if self._window != window:
            raise ValueError(
                f"n_taps and horizons must be those of the fit, {self._window}, got {window}; "
                "call fit for others"
            )

    def _learn(
        self,
        lags: BlockLags,
        horizons: tuple[int, ...],
        sequences: Sequences,
        sample_weight: ArrayLike | None,
    ) -> Self:
        weights = _weights_of(sequences, sample_weight)
        lags.update(_motions(sequences, weights, self.n_taps + max(horizons)))
        if not lags.n_windows:
            raise ValueError(_why_no_window(sequences, self.n_taps, max(horizons)))
        self._lags = lags
        self._window = self.n_taps, horizons
        self.n_joints_, self.n_coords_ = sequences.n_joints, sequences.n_coords
        self.n_features_in_ = self.n_joints_ * self.n_coords_
        return self._solve()

    def _solve(self) -> Self:
        """Turn the sums into weights."""
        n_taps, horizons = self._window
        gram = self._lags.gram()
        # The newest lags are the motion that is to come, the others that of the window.
        ahead, n_past = max(horizons), n_taps - 1
        n_channels = self.n_features_in_
        past = gram[ahead:, :, ahead:].reshape(n_past * n_channels, -1)
        moment = np.stack(
            [gram[ahead:, :, ahead - h : ahead].sum(axis=2) for h in horizons], axis=2
        ).reshape(n_past * n_channels, -1)
        past.flat[:: len(past) + 1] += self.alpha * past.trace() / len(past)
        weights = solve_quadratic(past, moment)
        self.coef_ = self._pose_weights(weights.reshape(n_past, n_channels, len(horizons), -1))
        self.offsets_ = np.arange(1 - n_taps, 1)
        self.n_windows_ = self._lags.n_windows
        return self

    def _pose_weights(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return weights of poses for weights (lag, input, horizon, output) of their changes."""
        newest_first = np.diff(weights, axis=0, prepend=0, append=0)
        newest_first[0] += np.eye(self.n_features_in_)[:, np.newaxis]
        pose = (self.n_joints_, self.n_coords_)
        return newest_first[::-1].transpose(2, 3, 1, 0).reshape(-1, *pose, *pose, self._window[0])

    def _change_weights(self) -> NDArray[np.float64]:
        """Undo `_pose_weights`; the horizons and outputs as one axis."""
        n_channels, n_taps = self.n_features_in_, self._window[0]
        weights = self.coef_.reshape(-1, n_channels, n_channels, n_taps).transpose(3, 2, 0, 1)
        changes = -np.cumsum(weights[:-1], axis=0)[::-1]
        return changes.reshape(n_taps - 1, n_channels, -1)

    def _predictions(
        self, sequences: Sequences
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
        """Yield the rows, the poses and the predictions (frame, horizon, channel) of sequences."""
        weights = self._change_weights()
        n_horizons = len(self.coef_)
        for start, stop in zip(sequences.starts, sequences.stops):
            rows = slice(start, stop)
            poses = _flat(sequences.frames[rows])
            changes = np.diff(poses, axis=0)
            first = len(weights)
            predictions = np.full((len(poses), n_horizons * poses.shape[1]), np.nan)
            n_windows = len(poses) - first
            if n_windows > 0:
                predictions[first:] = np.tile(poses[first:], n_horizons)
                for lag, matrix in enumerate(weights):
                    begin = first - 1 - lag
                    predictions[first:] += changes[begin : begin + n_windows] @ matrix
            yield rows, poses, predictions.reshape(len(poses), n_horizons, -1)

    def __sklearn_tags__(self) -> Any:
        tags = takes_sequences(super().__sklearn_tags__())
        return tags


def _flat(frames: NDArray) -> NDArray[np.float64]:
    """Return poses as rows of float64."""
    return frames.reshape(len(frames), -1).astype(np.float64, copy=False)


def _weights_of(sequences: Sequences, sample_weight: ArrayLike | None) -> NDArray[np.float64]:
    if sample_weight is None:
        return np.ones(sequences.n_sequences)
    weights, kind = check_sequence_weights(sample_weight, sequences)
    if kind != "sequence":
        raise ValueError(
            f"sample_weight must have one weight for each of {sequences.n_sequences} sequences, "
            f"got one for each {kind}; set frames to NaN that shall not count"
        )
    return weights


def _motions(
    sequences: Sequences, weights: NDArray[np.float64], min_frames: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the changes from frame to frame of runs of frames without NaN.

    They come times the root of the weight of their sequence, so that products have the weight.
    """
    is_complete = ~np.isnan(sequences.frames).any(axis=(1, 2))
    for start, stop, weight in zip(sequences.starts, sequences.stops, weights):
        if not weight:
            continue
        edges = np.diff(is_complete[start:stop].astype(np.int8), prepend=0, append=0)
        for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)):
            if end - begin >= min_frames:
                # The difference of float32 positions far from the origin is exact in float64.
                poses = _flat(sequences.frames[start + begin : start + end])
                yield np.sqrt(weight) * np.diff(poses, axis=0)


def _why_no_window(sequences: Sequences, n_taps: int, ahead: int) -> str:
    wanted = (
        f"X must hold at least one run of {n_taps + ahead} frames ({n_taps} taps and a horizon of "
        f"{ahead}) without NaN, of a weight above zero"
    )
    is_absent = np.isnan(sequences.frames).any(axis=2).all(axis=0)
    if is_absent.any():
        return (
            f"{wanted}, got no value in any frame for joint(s) "
            f"{np.flatnonzero(is_absent).tolist()}; leave them out"
        )
    return (
        f"{wanted}, got sequences of up to {sequences.lengths.max()} frames; choose fewer taps or "
        "a shorter horizon, or fill gaps with interpolate_gaps"
    )
