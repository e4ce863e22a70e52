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

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import Device, is_cuda_array, thread_limit, worthwhile_threads
from fastmotion.core.interop import summarise
from fastmotion.core.memory import Memory, memory_of
from fastmotion.trajectory.kernels import kernels_for
from fastmotion.trajectory.on_device import as_float64
from fastmotion.trajectory.sequences import Sequences, number_parts

SHARING = ("all", "coordinate", "joint", "channel")

# Rows of a piece of a sequence, at least and at most, and bytes of its frames: pieces stay in the
# second cache while the channels are gathered from them one by one.
_MIN_PIECE, _MAX_PIECE, _PIECE_BYTES = 1024, 4096, 1 << 19
# Up to so many groups, tasks hold sums of all of them; beyond, tasks share the groups out.
_FEW_GROUPS = 4
# Bytes that frames on the host, and what comes with them, take on a device at a time.
_PART_BYTES = 1 << 28


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
    kernels, memory = kernels_for(device.kind), memory_of(device)
    labels = groups.ravel()
    n_channels, n_groups = len(labels), int(labels.max()) + 1
    with memory.scope("lower n_taps, or share kernels"), thread_limit(n_jobs) as n_threads:
        frames, target = _of_one_dtype(sequences, target)
        if target is not None and row_weights is None and _has_nan(target):
            row_weights = np.ones((len(frames), 1))
        is_weighted = row_weights is not None
        columns = 1 if row_weights is None else row_weights.shape[1]
        pieces, owners = _pieces(sequences, n_lags, n_channels * frames.dtype.itemsize)
        weights = np.ones(sequences.n_sequences) if sequence_weights is None else sequence_weights
        counted = weights[owners] > 0
        pieces, owners = pieces[counted], owners[counted]
        tasks, n_slots = _tasks(pieces, labels, n_groups, n_lags, kernels)
        sums = _Sums.of_zeros(memory, kernels, n_slots, n_groups, n_lags, is_weighted)
        # A sample costs about as much to fetch as eight products.
        work = frames.size * (n_lags * (n_lags if is_weighted else 1) + 8)
        for here, inside, begin, end in _parts(pieces, tasks, frames, memory):
            with (
                memory.scope("pass fewer frames or sequences at a time"),
                thread_limit(worthwhile_threads(n_threads, work)),
            ):
                kernels.lag_statistics(
                    memory.put(frames[begin:end]),
                    memory.put(_rows_of(target, begin, end, n_channels, frames.dtype)),
                    memory.put(_rows_of(row_weights, begin, end, 1, np.dtype(np.float64))),
                    np.arange(n_channels, dtype=np.int64) * columns // n_channels,
                    pieces[inside] - begin,
                    np.ascontiguousarray(weights[owners[inside]], np.float64),
                    here,
                    labels,
                    anchor,
                    n_lags,
                    *sums.arrays(),
                )
        return sums.statistics(kernels, anchor, n_lags)


@dataclass(frozen=True, eq=False)
class _Sums:
    """What `lag_statistics` adds to, as its last arguments."""

    lag_products: Any
    boundary: Any
    gram: Any
    sums: Any
    offsets: Any
    crosses: Any
    totals: Any

    @classmethod
    def of_zeros(
        cls,
        memory: Memory,
        kernels: ModuleType,
        n_slots: int,
        n_groups: int,
        n_lags: int,
        is_weighted: bool,
    ) -> _Sums:
        """Return sums of nothing; CUDA kernels weigh windows also where frames are missing."""
        padded = -(-n_lags // kernels.LAG_TILE) * kernels.LAG_TILE
        recursive = 0 if is_weighted else n_groups
        direct = n_groups if is_weighted or memory.device.kind == "cuda" else 0
        shapes = (
            (n_groups, padded),
            (recursive, n_lags - 1, n_lags - 1),
            (direct, n_lags, n_lags),
            *[(n_groups, n_lags)] * 3,
            (n_groups, 8),
        )
        ends = np.cumsum([n_slots * math.prod(shape) for shape in shapes]).tolist()
        flat = memory.zeros((ends[-1],), np.float64)
        parts = [flat[begin:end] for begin, end in pairwise([0, *ends])]
        return cls(*(part.reshape((n_slots, *shape)) for part, shape in zip(parts, shapes)))

    def arrays(self) -> list[Any]:
        """Return the arrays in the order of the kernel's arguments."""
        return [getattr(self, field.name) for field in fields(self)]

    def statistics(self, kernels: ModuleType, anchor: int, n_lags: int) -> LagStatistics:
        """Return the statistics of all slots together."""
        found = _Sums(*kernels.totals_of(self.arrays()))
        totals = found.totals
        if totals[:, 5].any():
            raise ValueError(
                "X and y must not hold infinite values, got some; mark missing values with NaN"
            )
        full = found.gram
        if len(found.boundary):
            unrolled = _unroll(found.lag_products, found.boundary, n_lags)
            full = unrolled + full if len(full) else unrolled
        upper = np.triu(full)
        return LagStatistics(
            anchor,
            upper + np.triu(full, 1).swapaxes(1, 2),
            found.sums,
            found.offsets,
            totals[:, 0],
            found.crosses,
            *totals[:, [1, 2, 3, 4, 6, 7]].T,
        )


def _parts(
    pieces: NDArray[np.int64], tasks: NDArray[np.int64], frames: Any, memory: Memory
) -> Iterator[tuple[NDArray[np.int64], slice, int, int]]:
    """Yield tasks, in numbers of their own pieces; these; and first and end of their frames.

    They come all at once, but for frames on the host that go to a device.
    """
    if memory.device.kind == "cpu" or is_cuda_array(frames):
        yield tasks, slice(None), 0, len(frames)
        return
    # Frames, target, and weights of the frames and of their windows.
    row_bytes = frames.shape[1] * (2 * frames.itemsize + 16)
    most = max(1, min(_PART_BYTES, memory.budget()) // row_bytes)
    tasks = tasks[tasks[:, 0] < tasks[:, 1]]
    bounds = [(pieces[a:b, 0].min(), pieces[a:b, 1].max()) for a, b in tasks[:, :2]]
    first = 0
    while first < len(tasks):
        low, high = bounds[first]
        end = first
        while end < len(tasks) and max(high, bounds[end][1]) - min(low, bounds[end][0]) <= most:
            low, high = min(low, bounds[end][0]), max(high, bounds[end][1])
            end += 1
        here = tasks[first : max(end, first + 1)].copy()
        inside = slice(here[0, 0], here[-1, 1])
        here[:, :2] -= inside.start
        yield here, inside, int(low), int(high)
        first += len(here)


def _rows_of(values: Any, begin: int, end: int, n_columns: int, dtype: np.dtype) -> Any:
    """Return some rows of what belongs to frames, or none where there is nothing."""
    if values is None:
        return np.empty((0, n_columns), dtype)
    rows = values[begin:end]
    return rows if is_cuda_array(rows) else np.ascontiguousarray(rows, dtype)


def _of_one_dtype(sequences: Sequences, target: Any) -> tuple[Any, Any]:
    """Return frames and target as (total_frames, n_channels), in the wider dtype of the two."""
    frames = sequences.frames
    shape = len(frames), sequences.n_joints * sequences.n_coords
    frames = frames.reshape(shape)
    if target is None:
        return frames, None
    target = target.reshape(shape)
    if frames.dtype == target.dtype:
        return frames, target
    return as_float64(frames), as_float64(target)


def _has_nan(values: Any) -> bool:
    return bool(summarise(values).n_nan if is_cuda_array(values) else np.isnan(values).any())


def _unroll(
    lag_products: NDArray[np.float64], boundary: NDArray[np.float64], n_lags: int
) -> NDArray[np.float64]:
    """Return the upper triangles of Gram matrices by the recursion along their diagonals."""
    gram = np.zeros((len(boundary), n_lags, n_lags))
    gram[:, 0] = lag_products[:, :n_lags]
    for i in range(n_lags - 1):
        gram[:, i + 1, i + 1 :] = gram[:, i, i:-1] + boundary[:, i, i:]
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
    pieces: NDArray[np.int64],
    labels: NDArray[np.int64],
    n_groups: int,
    n_lags: int,
    kernels: ModuleType,
) -> tuple[NDArray[np.int64], int]:
    """Share pieces and channels out; the shares depend on the data's shape and the device alone.

    Returns
    -------
    tasks : ndarray of shape (n_tasks, 5)
        First piece and end, first channel and end, slot.
    n_slots : int
        Sets of sums; no two tasks with a group in common have one slot.
    """
    bounds = _channel_bounds(labels, n_groups, kernels.TASK_CHANNELS)
    sides = _slots_apart([set(labels[first:last]) for first, last in pairwise(bounds)])
    n_sides = max(sides) + 1
    most = min(kernels.MAX_TASKS, kernels.TASK_BYTES // (n_sides * n_groups * n_lags**2 * 8))
    frames = np.cumsum(pieces[:, 1] - pieces[:, 0])
    n_shares = max(1, min(most, len(pieces)))
    ends = frames[-1:] * np.arange(1, n_shares + 1) // n_shares if len(frames) else np.zeros(1, int)
    stops = np.searchsorted(frames, ends, side="right")
    starts = np.append(0, stops[:-1])
    tasks = [
        (start, stop, first, last, share * n_sides + side)
        for share, (start, stop) in enumerate(zip(starts, stops))
        for (first, last), side in zip(pairwise(bounds), sides)
    ]
    return np.array(tasks, np.int64), n_shares * n_sides


def _channel_bounds(labels: NDArray[np.int64], n_groups: int, most: int | None) -> list[int]:
    """Return the bounds of the tasks' channels: at most so many, and whole groups if possible."""
    n_channels = len(labels)
    if n_groups <= _FEW_GROUPS or (np.diff(labels) < 0).any():
        ends = [n_channels]
    else:
        ends = [*(np.flatnonzero(np.diff(labels)) + 1).tolist(), n_channels]
    if most is None:
        return [0, *ends]
    bounds = [0]
    for end, following in zip(ends, [*ends[1:], n_channels + most]):
        while end - bounds[-1] > most:
            bounds.append(bounds[-1] + most)
        if following - bounds[-1] > most:
            bounds.append(end)
    return bounds


def _slots_apart(members: list[set[int]]) -> list[int]:
    """Return numbers for some sets, small ones, such that no two with one share a member."""
    taken: list[set[int]] = []
    numbers = []
    for group in members:
        number = next((i for i, others in enumerate(taken) if not others & group), len(taken))
        if number == len(taken):
            taken.append(set())
        taken[number] |= group
        numbers.append(number)
    return numbers
