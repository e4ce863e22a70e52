"""Missing stretches of trajectories, filled from the frames around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator, make_interp_spline
from scipy.linalg import cho_factor, cho_solve, toeplitz

from fastmotion.trajectory.sequences import (
    Sequences,
    check_not_infinite,
    check_sequences,
    require_host,
)

__all__ = ["interpolate_gaps"]

# Frames on either side of a gap that the kernel looks at.
_REACH = 8

# Longer gaps are too long for the statistics of windows, and far too long for a spline.
_LONGEST_KERNEL_GAP = 128

# What is added to the variance of second differences, as a part of it: white ones, for a spline.
_WHITE_PART = 1e-3


@dataclass(frozen=True)
class _Gaps:
    """Runs of NaN in channels: the channel, the first row, and the row behind the last."""

    channel: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]

    @property
    def length(self) -> NDArray[np.int64]:
        return self.stop - self.start

    def select(self, index: NDArray[np.bool_]) -> _Gaps:
        return _Gaps(self.channel[index], self.start[index], self.stop[index])


def interpolate_gaps(
    X: ArrayLike | Sequence[ArrayLike],
    *,
    method: str = "kernel",
    max_gap: int | None = None,
    axes: Sequence[str] | None = None,
) -> Any:
    """Fill runs of missing values in each coordinate of each joint.

    A gap is a run of NaN with values before and behind it in the same sequence. What is missing at
    the beginning or the end of a sequence stays NaN, as does what is missing throughout: that would
    be extrapolation.

    Parameters
    ----------
    X : array_like, list of array_like, or xarray.DataArray
        Positions, of shape (n_sequences, n_frames, n_joints, n_coords) or (n_frames, n_joints,
        n_coords), or a list of sequences of the second shape. It stays as it is. NaN is missing;
        what a confidence says is not to be trusted must be set to NaN beforehand, such as by
        ``X[confidence < 0.5] = numpy.nan`` on a copy.
    method : {"kernel", "spline", "pchip", "linear"}, default="kernel"
        "kernel" takes the linear combination of the frames around a gap that is best for the
        motion which the data shows where nothing is missing; see Notes. "spline" is the cubic
        spline through all values of the channel, "pchip" the monotone cubic one, which does not
        overshoot, "linear" the straight line.
    max_gap : int or None, default=None
        Longest run, in frames, to fill; longer ones stay NaN as a whole. None fills all.
    axes : sequence of {"sequence", "frame", "joint", "coord"} or None, default=None
        Order of the axes of the input where it is another than that above.

    Returns
    -------
    ndarray, list of ndarray, or xarray.DataArray
        A copy of ``X`` in the same form, with the gaps filled; float32 for float32, float64 for all
        else.

    Raises
    ------
    TypeError
        ``X`` does not hold real numbers, or `max_gap` is no whole number.
    ValueError
        The shape is wrong, a value is infinite, or a parameter is out of range.
    RuntimeError
        ``X`` lies on a CUDA device.

    Notes
    -----
    The kernel is the conditional mean of the missing values given up to 8 frames on either side, if
    second differences have the autocovariance that they have where nothing is missing, over all
    sequences, joints and coordinates; a thousandth of the variance is taken as white noise. So
    motion in a straight line is continued exactly, and neither the origin nor the unit of length
    matters. If there is nothing to learn from, second differences are taken as white, which gives
    the cubic spline through those frames. Gaps of more than 128 frames are filled as by "pchip".

    The cubic spline ends with the cubic through the last four values of a channel ("not a knot");
    through three values it is a parabola, through two a line.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.trajectory import interpolate_gaps
    >>> X = np.arange(12.0).reshape(12, 1, 1)
    >>> X[4:7] = X[-1] = np.nan
    >>> interpolate_gaps(X).ravel()
    array([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., nan])
    >>> int(np.isnan(interpolate_gaps(X, max_gap=2)).sum())
    4
    """
    if method not in _FILLS:
        raise ValueError(f"method must be one of {list(_FILLS)}, got {method!r}")
    _check_max_gap(max_gap)
    require_host(X, "interpolate_gaps")
    sequences = check_sequences(X, axes=axes)
    check_not_infinite(sequences)
    out = sequences.frames.copy()
    gaps = _find_gaps(sequences, max_gap)
    if len(gaps.start):
        _FILLS[method](sequences, gaps, out.reshape(len(out), -1))
    return sequences.restore(out)


def _check_max_gap(max_gap: int | None) -> None:
    if max_gap is None:
        return
    if not isinstance(max_gap, Integral) or isinstance(max_gap, bool):
        raise TypeError(f"max_gap must be a whole number of frames or None, got {max_gap!r}")
    if max_gap < 1:
        raise ValueError(f"max_gap must be at least 1 frame, got {max_gap}; None fills all gaps")


def _find_gaps(sequences: Sequences, max_gap: int | None) -> _Gaps:
    """Return the runs of NaN that have a value of their sequence on both sides."""
    found = []
    frames = sequences.frames.reshape(len(sequences.frames), -1)
    for start, stop in zip(sequences.starts, sequences.stops):
        steps = np.diff(np.isnan(frames[start:stop].T).astype(np.int8), axis=1)
        # In each channel a run begins behind a step up and ends with the next step down. A leading
        # run has no step up, a trailing one no step down.
        channel, frame = np.nonzero(steps)
        is_up = steps[channel, frame] > 0
        is_gap = is_up[:-1] & (channel[:-1] == channel[1:])
        first, behind = frame[:-1][is_gap] + 1, frame[1:][is_gap] + 1
        found.append(np.stack([channel[:-1][is_gap], start + first, start + behind]))
    gaps = _Gaps(*np.concatenate(found, axis=1))
    return gaps if max_gap is None else gaps.select(gaps.length <= max_gap)


def _fill_by_channel(
    interpolator: Callable[..., Callable[[NDArray], NDArray]],
    sequences: Sequences,
    gaps: _Gaps,
    out: NDArray,
) -> None:
    """Fill gaps from all values of their channels."""
    sequence = np.searchsorted(sequences.stops, gaps.start, side="right")
    for i in np.unique(sequence):
        inside = gaps.select(sequence == i)
        rows = sequences.frames[sequences.starts[i] : sequences.stops[i]].reshape(-1, out.shape[1])
        for channels in _alike(np.isnan(rows), np.unique(inside.channel)):
            of_first = inside.select(inside.channel == channels[0])
            wanted = np.concatenate(
                [np.arange(a, b) for a, b in zip(of_first.start, of_first.stop)]
            )
            known = np.flatnonzero(~np.isnan(rows[:, channels[0]]))
            curve = interpolator(known, rows[np.ix_(known, channels)])
            out[np.ix_(wanted, channels)] = curve(wanted - sequences.starts[i])


def _alike(is_missing: NDArray[np.bool_], channels: NDArray) -> list[NDArray[np.int64]]:
    """Return the channels in groups that miss the same frames, such as those of one joint."""
    groups: dict[bytes, list[int]] = {}
    for channel in channels:
        groups.setdefault(is_missing[:, channel].tobytes(), []).append(channel)
    return [np.array(group) for group in groups.values()]


def _fill_by_kernel(sequences: Sequences, gaps: _Gaps, out: NDArray) -> None:
    """Fill gaps with the conditional mean given the frames around them."""
    is_long = gaps.length > _LONGEST_KERNEL_GAP
    if is_long.any():
        _fill_by_channel(PchipInterpolator, sequences, gaps.select(is_long), out)
    lengths = np.unique(gaps.length[~is_long]).tolist()
    if not lengths:
        return
    covariance = _curvature_covariance(sequences, lengths[-1] + 2 * _REACH - 2)
    for length in lengths:
        precision = _precision(covariance[: length + 2 * _REACH - 2])
        _fill_one_length(sequences, gaps.select(gaps.length == length), precision, out)


def _curvature_covariance(sequences: Sequences, n_lags: int) -> NDArray[np.float64]:
    """Return the autocovariance of second differences, over all channels, up to a factor.

    Those that are missing count as zero. So the matrix made of it is positive definite, however
    many are missing, and large lags, which have fewer products, get less weight.
    """
    covariance = np.zeros(n_lags)
    for start, stop in zip(sequences.starts, sequences.stops):
        rows = sequences.frames[start:stop].reshape(stop - start, -1).astype(np.float64)
        curvature = np.nan_to_num(np.diff(rows, 2, axis=0), copy=False)
        for lag in range(min(n_lags, len(curvature))):
            covariance[lag] += np.vdot(curvature[lag:], curvature[: len(curvature) - lag])
    covariance[0] *= 1 + _WHITE_PART
    if covariance[0] == 0:  # Nothing moves or all is missing: white, as a spline has it.
        covariance[0] = 1
    return covariance


def _precision(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the precision matrix of a window of positions whose second differences vary so.

    Straight lines cost nothing. A window has two frames more than second differences.
    """
    differences = np.diff(np.eye(len(covariance) + 2), 2, axis=0)
    factor = cho_factor(toeplitz(covariance / covariance[0]))
    return differences.T @ cho_solve(factor, differences)


def _fill_one_length(
    sequences: Sequences, gaps: _Gaps, precision: NDArray[np.float64], out: NDArray
) -> None:
    """Fill gaps of one length, together those that know the same frames."""
    frames = sequences.frames.reshape(out.shape)
    rows = gaps.start[:, np.newaxis] + np.arange(len(precision)) - _REACH
    sequence = np.searchsorted(sequences.stops, gaps.start, side="right")[:, np.newaxis]
    is_inside = (rows >= sequences.starts[sequence]) & (rows < sequences.stops[sequence])
    # Relative to the straight line across the gap: where the origin is costs no digits.
    before, behind = (
        frames[ends, gaps.channel].astype(np.float64)[:, np.newaxis]
        for ends in (gaps.start - 1, gaps.stop)
    )
    step = (np.arange(len(precision)) - _REACH + 1) / (len(precision) - 2 * _REACH + 1)
    line = before + (behind - before) * step
    windows = frames[np.where(is_inside, rows, 0), gaps.channel[:, np.newaxis]] - line
    patterns, group = np.unique(is_inside & ~np.isnan(windows), axis=0, return_inverse=True)
    by_group = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    in_gap = slice(_REACH, len(precision) - _REACH)
    for is_known, members in zip(patterns, by_group):
        weights = _conditional_mean(precision, is_known)[in_gap]
        filled = windows[members][:, is_known] @ weights[:, is_known].T + line[members, in_gap]
        out[rows[members, in_gap], gaps.channel[members, np.newaxis]] = filled


def _conditional_mean(
    precision: NDArray[np.float64], is_known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the weights that known frames have in all frames of a window."""
    weights = np.zeros_like(precision)
    unknown = cho_factor(precision[np.ix_(~is_known, ~is_known)])
    weights[np.ix_(~is_known, is_known)] = -cho_solve(
        unknown, precision[np.ix_(~is_known, is_known)]
    )
    return weights


_FILLS: dict[str, Callable[[Sequences, _Gaps, NDArray], None]] = {
    "kernel": _fill_by_kernel,
    "spline": partial(_fill_by_channel, CubicSpline),
    "pchip": partial(_fill_by_channel, PchipInterpolator),
    "linear": partial(_fill_by_channel, partial(make_interp_spline, k=1)),
}
