"""Mergeable sums of products of lagged frames: all that a fit needs to know of its data.

A window of n_lags frames is ``z[lag] = x[newest - lag]``, and the Gram matrix ``G = sum z zᵀ``. Its
first row takes O(frames x lags); the rest follows by the recursion ``G[i+1, j+1] = G[i, j] + what
comes in - what goes out``, so that no lagged matrix is ever made. One Gram matrix serves all
shorter kernels and horizons, and the Gram matrices of parts of the data add up.

Frames far from the origin would spoil the digits of such sums. Each run of frames is therefore
taken relative to a value r amid it, ``z = c + r 1``, and ``sum c cᵀ``, ``sum r c`` and ``sum r²``
are kept apart; in a basis with the direction of 1 as an axis, large and small are never added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import Device, thread_limit, worthwhile_threads
from fastmotion.trajectory.kernels import kernels_for
from fastmotion.trajectory.sequences import Sequences, number_parts

SHARING = ("all", "coordinate", "joint", "channel")

# Rows of a piece of a sequence, at least and at most, and bytes of its frames: pieces stay in the
# second cache while the channels are gathered from them one by one.
_MIN_PIECE, _MAX_PIECE, _PIECE_BYTES = 1024, 4096, 1 << 19
# Tasks of one call: enough to balance any number of threads, and their sums within some memory.
_MAX_TASKS, _TASK_BYTES = 64, 1 << 25
# Up to so many groups, tasks hold sums of all of them; beyond, tasks share the groups out.
_FEW_GROUPS = 4


def channel_groups(sharing: str, n_joints: int, n_coords: int) -> NDArray[np.int64]:
    """Return which kernel serves each joint and coordinate, of shape (n_joints, n_coords)."""
    joints, coords = np.indices((n_joints, n_coords))
    labels = {
        "all": np.zeros_like(joints),
        "coordinate": coords,
        "joint": joints,
        "channel": joints * n_coords + coords,
    }
    return labels[sharing].astype(np.int64)


def coef_shape(sharing: str, n_joints: int, n_coords: int) -> tuple[int, ...]:
    """Return the shape of an array with one entry for each kernel."""
    shapes = {"all": (), "coordinate": (n_coords,), "joint": (n_joints,)}
    return shapes.get(sharing, (n_joints, n_coords))


@dataclass(frozen=True, eq=False)
class LagStatistics:
    """Sums over windows of frames, one set for each group of channels that share a kernel.

    Attributes
    ----------
    anchor : int
        Lag of the frame that targets belong to, offset 0 of a kernel.
    gram : ndarray of shape (n_groups, n_lags, n_lags)
        ``sum c cᵀ``.
    sums : ndarray of shape (n_groups, n_lags)
        ``sum c``.
    offsets : ndarray of shape (n_groups, n_lags)
        ``sum r c``.
    masses : ndarray of shape (n_groups,)
        ``sum r²``.
    crosses : ndarray of shape (n_groups, n_lags)
        ``sum y c`` of a target y; zero without.
    cross_masses : ndarray of shape (n_groups,)
        ``sum y r``.
    energies : ndarray of shape (n_groups,)
        ``sum y²``.
    weights : ndarray of shape (n_groups,)
        Sum of the weights of all windows.
    n_windows : ndarray of shape (n_groups,)
        Number of windows of a weight above zero.
    references, targets : ndarray of shape (n_groups,)
        ``sum r`` and ``sum y``.
    """

    anchor: int
    gram: NDArray[np.float64]
    sums: NDArray[np.float64]
    offsets: NDArray[np.float64]
    masses: NDArray[np.float64]
    crosses: NDArray[np.float64]
    cross_masses: NDArray[np.float64]
    energies: NDArray[np.float64]
    weights: NDArray[np.float64]
    n_windows: NDArray[np.float64]
    references: NDArray[np.float64]
    targets: NDArray[np.float64]

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.gram)

    @property
    def n_lags(self) -> int:
        """Number of frames of a window."""
        return self.gram.shape[1]

    def _map(self, func: Callable[[str, NDArray], NDArray]) -> Self:
        sums = [field.name for field in fields(self) if field.name != "anchor"]
        changed: dict[str, Any] = {name: func(name, getattr(self, name)) for name in sums}
        return replace(self, **changed)

    def __add__(self, other: LagStatistics) -> LagStatistics:
        return self._map(lambda name, value: value + getattr(other, name))

    def __sub__(self, other: LagStatistics) -> LagStatistics:
        return self._map(lambda name, value: value - getattr(other, name))

    def regroup(self, labels: NDArray[np.int64]) -> LagStatistics:
        """Return the sums of larger groups; ``labels`` tells the new group of each old one."""

        def add_up(_: str, value: NDArray) -> NDArray:
            out = np.zeros((int(labels.max()) + 1, *value.shape[1:]))
            np.add.at(out, labels, value)
            return out

        return self._map(add_up)

    def lags_of(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the lags of frames at some offsets from the anchor."""
        return self.anchor - offsets

    def sizes(self, lags: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the traces of the Gram matrices of some lags, about the references."""
        return np.trace(self.gram[:, lags[:, np.newaxis], lags], axis1=1, axis2=2)

    def rotated_gram(
        self, lags: NDArray[np.int64], basis: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the Gram matrices of some lags in an `offset_basis`, (n_groups, k, k)."""
        gram = basis.T @ self.gram[:, lags[:, np.newaxis], lags] @ basis
        root = np.sqrt(len(lags))
        edge = root * (self.offsets[:, lags] @ basis)
        gram[:, 0, :] += edge
        gram[:, :, 0] += edge
        gram[:, 0, 0] += root**2 * self.masses
        return gram

    def rotated_moment(
        self,
        lags: NDArray[np.int64],
        basis: NDArray[np.float64],
        functional: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        """Return ``sum z y`` of some lags in an `offset_basis`, (n_groups, k).

        y is a weighted sum of the window's frames, by its weights for all lags, or the target.
        """
        if functional is None:
            moment, mass = self.crosses[:, lags], self.cross_masses
        else:
            total = functional.sum()
            moment = self.gram[:, lags] @ functional + total * self.offsets[:, lags]
            mass = self.offsets @ functional + total * self.masses
        rotated = moment @ basis
        rotated[:, 0] += np.sqrt(len(lags)) * mass
        return rotated

    def rotated_means(
        self, lags: NDArray[np.int64], basis: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the mean of z of some lags in an `offset_basis`, (n_groups, k)."""
        rotated = self.sums[:, lags] @ basis
        rotated[:, 0] += np.sqrt(len(lags)) * self.references
        return rotated / self._weights()[:, np.newaxis]

    def mean_of(self, functional: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return the mean of a weighted sum of the window's frames, or of the target."""
        if functional is None:
            return self.targets / self._weights()
        return (self.sums @ functional + functional.sum() * self.references) / self._weights()

    def _weights(self) -> NDArray[np.float64]:
        return np.where(self.weights > 0, self.weights, 1.0)

    def sum_of_squares(self, functional: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``sum (f z)²`` for weights f of all lags, (n_lags,) or (n_groups, n_lags)."""
        rows = np.broadcast_to(functional, self.offsets.shape)
        total = rows.sum(axis=1)
        spread = np.einsum("gi,gij,gj->g", rows, self.gram, rows)
        return spread + total * (2 * (rows * self.offsets).sum(axis=1) + total * self.masses)


def offset_basis(n: int) -> NDArray[np.float64]:
    """Return an orthonormal basis, as columns, whose first axis is that of equal weights."""
    columns = np.eye(n)
    columns[:, 0] = 1 / np.sqrt(n)
    basis, _ = np.linalg.qr(columns)
    basis[:, 0] = columns[:, 0]
    return basis


def collect_lags(
    sequences: Sequences,
    groups: NDArray[np.int64],
    n_lags: int,
    anchor: int,
    *,
    target: NDArray | None = None,
    row_weights: NDArray[np.float64] | None = None,
    sequence_weights: NDArray[np.float64] | None = None,
    n_jobs: int | None = None,
    device: Device,
) -> LagStatistics:
    """Sum over all windows of the sequences without a missing frame.

    Parameters
    ----------
    sequences : Sequences
    groups : ndarray of shape (n_joints, n_coords), int64
        From `channel_groups`.
    n_lags : int
        Frames of a window.
    anchor : int
        Lag of the frame that targets and row weights belong to.
    target : ndarray of shape (total_frames, n_joints, n_coords) or None, default=None
        Windows whose target is missing are left out.
    row_weights : ndarray of shape (total_frames, n_columns) or None, default=None
        One column for all channels, or one for each joint or each channel.
    sequence_weights : ndarray of shape (n_sequences,) or None, default=None
    n_jobs : int or None, default=None
        Threads.
    device : Device

    Returns
    -------
    LagStatistics

    Raises
    ------
    ValueError
        A value is infinite.
    """
    frames = sequences.frames.reshape(len(sequences.frames), -1)
    goal = frames[:0] if target is None else target.reshape(frames.shape)
    frames, goal = _of_one_dtype(frames, goal)
    n_channels = frames.shape[1]
    labels = groups.ravel()
    n_groups = int(labels.max()) + 1
    if target is not None and row_weights is None and np.isnan(target).any():
        row_weights = np.ones((len(frames), 1))
    pieces, owners = _pieces(sequences, n_lags, n_channels * frames.itemsize)
    weights = np.ones(sequences.n_sequences) if sequence_weights is None else sequence_weights
    counted = weights[owners] > 0
    pieces, owners = pieces[counted], owners[counted]
    tasks, n_slots = _tasks(pieces, labels, n_groups, n_lags)
    kernels = kernels_for(device.kind)
    padded = -(-n_lags // kernels.LAG_TILE) * kernels.LAG_TILE
    is_weighted = row_weights is not None
    lag_products = np.zeros((n_slots, n_groups, padded))
    boundary = np.zeros((n_slots, 0 if is_weighted else n_groups, n_lags - 1, n_lags - 1))
    gram = np.zeros((n_slots, n_groups if is_weighted else 0, n_lags, n_lags))
    sums, offsets, crosses = np.zeros((3, n_slots, n_groups, n_lags))
    totals = np.zeros((n_slots, n_groups, 8))
    rows = np.empty((0, 1)) if row_weights is None else row_weights
    # A sample costs about as much to fetch as eight products.
    work = frames.size * (n_lags * (n_lags if is_weighted else 1) + 8)
    with thread_limit(n_jobs) as n_threads, thread_limit(worthwhile_threads(n_threads, work)):
        kernels.lag_statistics(
            frames,
            goal,
            np.ascontiguousarray(rows, np.float64),
            np.arange(n_channels, dtype=np.int64) * rows.shape[1] // n_channels,
            pieces,
            np.ascontiguousarray(weights[owners], np.float64),
            tasks,
            labels,
            anchor,
            n_lags,
            lag_products,
            boundary,
            gram,
            sums,
            offsets,
            crosses,
            totals,
        )
    totals = totals.sum(axis=0)
    if totals[:, 5].any():
        raise ValueError(
            "X and y must not hold infinite values, got some; mark missing values with NaN"
        )
    full = gram.sum(axis=0) if is_weighted else _unroll(lag_products, boundary, n_lags)
    upper = np.triu(full)
    return LagStatistics(
        anchor,
        upper + np.triu(full, 1).swapaxes(1, 2),
        sums.sum(axis=0),
        offsets.sum(axis=0),
        totals[:, 0],
        crosses.sum(axis=0),
        *totals[:, [1, 2, 3, 4, 6, 7]].T,
    )


def _of_one_dtype(frames: NDArray, target: NDArray) -> tuple[NDArray, NDArray]:
    """Return both in the wider dtype of the two."""
    dtype = np.result_type(frames, target)
    return frames.astype(dtype, copy=False), target.astype(dtype, copy=False)


def _unroll(
    lag_products: NDArray[np.float64], boundary: NDArray[np.float64], n_lags: int
) -> NDArray[np.float64]:
    """Return the upper triangles of Gram matrices by the recursion along their diagonals."""
    steps = boundary.sum(axis=0)
    gram = np.zeros((len(steps), n_lags, n_lags))
    gram[:, 0] = lag_products.sum(axis=0)[:, :n_lags]
    for i in range(n_lags - 1):
        gram[:, i + 1, i + 1 :] = gram[:, i, i:-1] + steps[:, i, i:]
    return gram


def _pieces(
    sequences: Sequences, n_lags: int, frame_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut long sequences into overlapping pieces; return them and the sequence of each."""
    n_rows = max(8 * n_lags, min(max(_PIECE_BYTES // frame_bytes, _MIN_PIECE), _MAX_PIECE))
    windows = sequences.lengths - n_lags + 1
    # One piece also where there is no window, so that infinite values do not go unnoticed.
    counts = np.maximum(-(-windows // n_rows), 1)
    owners, number = number_parts(counts)
    begin = sequences.starts[owners] + number * n_rows
    end = np.minimum(begin + n_rows + n_lags - 1, sequences.stops[owners])
    return np.stack([begin, end], axis=1), owners


def _tasks(
    pieces: NDArray[np.int64], labels: NDArray[np.int64], n_groups: int, n_lags: int
) -> tuple[NDArray[np.int64], int]:
    """Share pieces and channels out; the shares depend on the data's shape alone.

    Returns
    -------
    tasks : ndarray of shape (n_tasks, 5)
        First piece and end, first channel and end, slot.
    n_slots : int
        Sets of sums; no two tasks with a group in common have one slot.
    """
    n_channels = len(labels)
    bounds = np.array([0, n_channels])
    if n_groups > _FEW_GROUPS:
        bounds = np.append(np.flatnonzero(np.diff(labels, prepend=-1)), n_channels)
    most = min(_MAX_TASKS, _TASK_BYTES // (n_groups * n_lags**2 * 8))
    frames = np.cumsum(pieces[:, 1] - pieces[:, 0])
    n_slots = max(1, min(most, len(pieces)))
    ends = frames[-1:] * np.arange(1, n_slots + 1) // n_slots if len(frames) else np.zeros(1, int)
    stops = np.searchsorted(frames, ends, side="right")
    starts = np.append(0, stops[:-1])
    tasks = [
        (start, stop, first, last, slot)
        for slot, (start, stop) in enumerate(zip(starts, stops))
        for first, last in zip(bounds[:-1], bounds[1:])
    ]
    return np.array(tasks, np.int64), n_slots
