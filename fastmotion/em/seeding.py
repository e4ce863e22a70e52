"""Starting points of expectation-maximisation: k-means, and draws from the data.

All of them see at most some ten thousand samples, whatever there are, so that the start costs less
than the algorithm that it is for; and none holds an array of samples by components. Of samples on a
CUDA device those come to the host, where all is decided; the passes over them run on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import thread_limit, worthwhile_threads
from fastmotion.core.memory import Memory, memory_at
from fastmotion.core.parallel import thread_map
from fastmotion.em.kernels import kernels_for
from fastmotion.em.kernels.layout import HEAD
from fastmotion.em.kernels.seeding import (
    BLOCK,
    add_members,
    add_potentials,
    find_nearest,
    pack,
)
from fastmotion.em.missing import feature_moments, has_missing
from fastmotion.em.rows import count_missing, scale_weights, take_rows

__all__ = [
    "KMeansResult",
    "assign",
    "kmeans",
    "kmeans_plusplus",
    "random_rows",
]

# Samples that clusters are sought among: enough for the shares and means of clusters, at a cost
# that does not grow with the data.
_SAMPLE, _SAMPLE_PER_CLUSTER = 20_000, 500
# Rows that tell where the middle of the data is.
_MIDDLE = 1000
# Blocks that a thread takes at once. Fixed, so that sums do not depend on the number of threads.
_CHUNK = 16


@dataclass(frozen=True)
class KMeansResult:
    """Clusters that k-means found.

    Attributes
    ----------
    centres : ndarray of shape (n_clusters, n_features), float64
    inertia : float
        Weighted sum of squared distances to the nearest centre, of the samples drawn.
    """

    centres: NDArray[np.float64]
    inertia: float


def kmeans(
    X: NDArray,
    n_clusters: int,
    *,
    sample_weight: NDArray | None = None,
    random_state: np.random.RandomState,
    n_init: int = 1,
    max_iter: int = 30,
    tol: float = 1e-3,
    n_jobs: int | None = None,
    memory: Memory | None = None,
) -> KMeansResult:
    """Find clusters by Lloyd's algorithm from k-means++ starts (Arthur and Vassilvitskii 2007).

    Of more than 20 000 + 500 `n_clusters` rows, only that many are looked at, drawn in proportion
    to their weights. Rows with missing values are left out if as many distinct complete ones as
    clusters were drawn; if not, means of the features stand in for what is missing. A cluster that
    no row belongs to starts again at the row farthest from all centres.

    Parameters
    ----------
    X : ndarray or Numba device array of shape (n_samples, n_features), float32 or float64
        C-contiguous; NaN where a value is missing, never infinite.
    n_clusters : int
    sample_weight : ndarray of shape (n_samples,), default=None
        Not negative. A row of weight 0 does not exist.
    random_state : numpy.random.RandomState
    n_init : int, default=1
        Runs, of which the one with the least inertia is returned.
    max_iter : int, default=30
        Iterations of one run. A start for something else gains little from more.
    tol : float, default=1e-3
        A run ends when its centres move by less, as the sum of squared steps over the mean variance
        of the features.
    n_jobs : int or None, default=None
        Threads; they do not change the result.
    memory : Memory, default=None
        Of the device that computes distances; that of X if None.

    Returns
    -------
    KMeansResult

    Raises
    ------
    ValueError
        Fewer rows than clusters have a positive weight and an observed value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.em.seeding import assign, kmeans
    >>> X = np.array([[0.0, 0.1], [0.2, 0.0], [5.0, 5.0], [5.2, 5.1]])
    >>> found = kmeans(X, 2, random_state=np.random.RandomState(0))
    >>> np.sort(found.centres, axis=0)
    array([[0.1 , 0.05],
           [5.1 , 5.05]])
    >>> labels = assign(X, found.centres)
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    memory = memory_at(X) if memory is None else memory
    with memory.scope():
        points = _draw_points(X, n_clusters, sample_weight, random_state, n_jobs, memory)
        runs = [_run_lloyd(points, n_clusters, random_state, max_iter, tol) for _ in range(n_init)]
    return min(runs, key=lambda run: run.inertia)


def kmeans_plusplus(
    X: NDArray,
    n_clusters: int,
    *,
    sample_weight: NDArray | None = None,
    random_state: np.random.RandomState,
    n_jobs: int | None = None,
    memory: Memory | None = None,
) -> NDArray[np.intp]:
    """Draw rows that lie far apart: greedy k-means++ (Arthur and Vassilvitskii 2007).

    Each row after the first is the best of 2 + log `n_clusters` draws, made in proportion to the
    squared distance to the nearest row so far. Rows are looked at as by `kmeans`.

    Parameters
    ----------
    X, n_clusters, sample_weight, random_state, n_jobs, memory : array_like
        As for `kmeans`.

    Returns
    -------
    ndarray of shape (n_clusters,), intp
        Indices of different rows, also in value as far as there are. They have missing values only
        where too few complete rows were drawn.

    Raises
    ------
    ValueError
        As by `kmeans`.
    """
    memory = memory_at(X) if memory is None else memory
    with memory.scope():
        points = _draw_points(X, n_clusters, sample_weight, random_state, n_jobs, memory)
        return points.rows[_spread(points, n_clusters, random_state)]


def assign(X: NDArray, centres: NDArray, *, n_jobs: int | None = None) -> NDArray[np.int32]:
    """Return the label of the nearest centre of each row.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
        C-contiguous. Of a row with NaN, the observed features decide; 0 is the label of a row that
        has none.
    centres : ndarray of shape (n_clusters, n_features)
        Finite.
    n_jobs : int or None, default=None
        Threads; they do not change the result.

    Returns
    -------
    ndarray of shape (n_samples,), int32
    """
    frame = Frame.around(centres, X)
    local = frame.apply(centres)
    labels = np.empty(len(X), np.int32)

    def find(first: int) -> None:
        chunk = X[first : first + _CHUNK * BLOCK]
        distances = np.empty(len(chunk), X.dtype)
        found = labels[first : first + len(chunk)]
        find_nearest(frame.pack(chunk), local, has_missing(chunk), found, distances)

    _thread_map(find, range(0, len(X), _CHUNK * BLOCK), n_jobs, X.size * len(centres))
    return labels


def random_rows(
    n_samples: int, n_components: int, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Draw rows without repetition, by the draws of scikit-learn's "random_from_data"."""
    return random_state.choice(n_samples, size=n_components, replace=False)


@dataclass(frozen=True)
class Frame:
    """Where distances are measured from and in which unit, so that no square loses its digits."""

    shift: NDArray
    scale: np.floating

    @classmethod
    def around(cls, points: NDArray, X: NDArray) -> Frame:
        """Return the frame in which the middle of X is the origin and no point more than 1 away.

        The middle is the lower median of some rows, and of the points where X has no values: unlike
        a mean, an outlier does not move it, which would cost all other samples their digits.
        """
        dtype = X.dtype
        every = 1 + len(X) // _MIDDLE
        some_rows = take_rows(X, slice(None, None, every))
        parts = [some_rows, points[:: 1 + len(points) // _MIDDLE].astype(dtype)]
        some = np.sort(np.concatenate(parts), axis=0)
        n_known = np.count_nonzero(~np.isnan(some), axis=0)  # NaN is sorted last
        shift = some[(n_known - 1) // 2, np.arange(X.shape[1])]
        reach = float(np.abs(points - shift).max())
        # A power of two: scaling is exact.
        limit = np.finfo(dtype).maxexp - 2
        exponent = np.clip(np.frexp(reach)[1], -limit, limit) if reach > 0 else 0
        return cls(shift, dtype.type(2.0**-exponent))

    def apply(self, points: NDArray) -> NDArray:
        """Return points in this frame."""
        return ((points - self.shift) * self.scale).astype(self.shift.dtype)

    def restore(self, points: NDArray) -> NDArray[np.float64]:
        """Return points of this frame as they were."""
        return self.shift + points.astype(np.float64) / float(self.scale)

    def pack(self, X: NDArray) -> NDArray:
        """Return points in this frame, in the blocks that the kernels read."""
        blocks = np.empty((-(-len(X) // BLOCK), X.shape[1], BLOCK), X.dtype)
        pack(X, self.shift, self.scale, blocks)
        return blocks


class _Points:
    """Weighted points without missing values, and the passes over them.

    Parameters
    ----------
    X : ndarray of shape (n_points, n_features)
    weight : ndarray of shape (n_points,), float64
        Positive.
    rows : ndarray of shape (n_points,), intp
        Which rows of the data they are.
    n_jobs : int or None
    """

    def __init__(
        self, X: NDArray, weight: NDArray[np.float64], rows: NDArray[np.intp], n_jobs: int | None
    ) -> None:
        self.X, self.weight, self.rows, self.n_jobs = X, weight, rows, n_jobs
        self.frame = Frame.around(X, X)
        self._blocks = self.frame.pack(X)
        self._distances = np.empty(len(X), X.dtype)

    @property
    def distances(self) -> NDArray:
        """Squared distances to the nearest of the centres of the last `update`."""
        return self._distances

    def __len__(self) -> int:
        return len(self.X)

    def local(self, points: NDArray[np.intp]) -> NDArray:
        """Return some of the points, in the frame."""
        return self._blocks[points // BLOCK, :, points % BLOCK]

    def add_centres(
        self, points: NDArray[np.intp], closest: NDArray, *, keep: bool
    ) -> NDArray[np.float64]:
        """Return the potential that each of some points would give as a further centre.

        With `keep`, `closest`, the squared distances to the nearest centre, are brought down.
        """
        candidates = self.local(points)

        def add(blocks: NDArray, rows: slice) -> NDArray[np.float64]:
            potentials = np.zeros(len(candidates))
            weight = self.weight[rows]
            add_potentials(blocks, candidates, weight, closest[rows], keep, potentials)
            return potentials

        return np.sum(self._map(add, len(candidates)), axis=0)

    def update(self, centres: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sums and the weights of the clusters of given centres, in the frame."""

        def collect(blocks: NDArray, rows: slice) -> tuple[NDArray, NDArray]:
            weight = self.weight[rows]
            labels = np.empty(len(weight), np.int32)
            find_nearest(blocks, centres, False, labels, self._distances[rows])
            sums, counts = np.zeros(centres.shape[::-1]), np.zeros(len(centres))
            add_members(blocks, weight, labels, sums, counts)
            return sums, counts

        sums, counts = zip(*self._map(collect, len(centres)))
        return np.sum(sums, axis=0).T, np.sum(counts, axis=0)

    def variance(self) -> float:
        """Return the mean variance of the features, in the frame."""
        sums, counts = self.update(np.zeros_like(self.X[:1]))
        self.update((sums / counts).astype(self.X.dtype))
        return float(self.weight @ self.distances / (counts[0] * self.X.shape[1]))

    def _map(self, func: Callable[[NDArray, slice], Any], n_centres: int) -> list[Any]:
        """Call a function with the blocks and the rows of each chunk."""

        def call(first: int) -> Any:
            last = first + _CHUNK
            return func(self._blocks[first:last], slice(first * BLOCK, last * BLOCK))

        work = self.X.size * n_centres
        chunks = range(0, len(self._blocks), _CHUNK)
        return _thread_map(call, chunks, self.n_jobs, work)


class _DevicePoints(_Points):
    """Points whose distances a CUDA device computes.

    Parameters
    ----------
    X, weight, rows
        As of `_Points`: on the host.
    memory : Memory
        In a scope that lasts as long as the points.
    """

    def __init__(
        self,
        X: NDArray,
        weight: NDArray[np.float64],
        rows: NDArray[np.intp],
        memory: Memory,
    ) -> None:
        self.X, self.weight, self.rows = X, weight, rows
        self.frame = Frame.around(X, X)
        self._memory, self._kernels = memory, kernels_for(memory.device.kind)
        self._local = self.frame.apply(X)
        self._there = memory.put(self._local)
        weights, self._exponent = scale_weights(weight, X.dtype)
        self._weight_there = memory.put(weights)
        self._distances = memory.empty(len(X), X.dtype)

    @property
    def distances(self) -> NDArray:
        """Squared distances to the nearest of the centres of the last `update`."""
        return self._memory.fetch(self._distances)

    def local(self, points: NDArray[np.intp]) -> NDArray:
        """Return some of the points, in the frame."""
        return self._local[points]

    def add_centres(
        self, points: NDArray[np.intp], closest: NDArray, *, keep: bool
    ) -> NDArray[np.float64]:
        """Return the potential that each of some points would give as a further centre."""
        with self._memory.scope():
            log_p = self._memory.empty((len(points), len(self)), self.X.dtype)
            frame = self._frame_of(self.local(points))
            self._kernels.densities_diag(self._there, *frame, log_p)
            near = np.minimum(-2 * self._memory.fetch(log_p), closest)
        if keep:
            closest[:] = near.min(axis=0)
        return near @ self.weight

    def update(self, centres: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sums and the weights of the clusters of given centres, in the frame."""
        kernels, memory = self._kernels, self._memory
        n_padded, width = len(centres) + len(centres) % 2, -(-centres.shape[1] // 4) * 4

        def choose(rows: slice, r: Any) -> None:
            x, weight, near = (
                kernels.part(array, rows)
                for array in (self._there, self._weight_there, self._distances)
            )
            kernels.densities_diag(x, *frame, r)
            kernels.take_largest(r, rows.stop - rows.start, weight, near)

        with memory.scope():
            frame = self._frame_of(centres)
            means = memory.empty((len(centres), width), self.X.dtype)
            sums = memory.zeros(HEAD + n_padded * (1 + 2 * width), np.float64)
            kernels.add_moments_diag(self._there, choose, frame[0], means, sums)
            found = np.ldexp(memory.fetch(sums)[HEAD:], self._exponent)
        first = found[n_padded : n_padded * (1 + width)].reshape(n_padded, width)
        return first[: len(centres), : centres.shape[1]], found[: len(centres)]

    def _frame_of(self, centres: NDArray) -> tuple[Any, ...]:
        """Return components of which minus twice the log densities are squared distances."""
        one, dtype = np.ones_like(centres), centres.dtype
        arrays = np.zeros(centres.shape[1], dtype), centres, one, np.zeros(len(centres), dtype)
        return tuple(map(self._memory.put, arrays))


def _run_lloyd(
    points: _Points, n_clusters: int, random_state: np.random.RandomState, max_iter: int, tol: float
) -> KMeansResult:
    centres = points.local(_spread(points, n_clusters, random_state))
    least_step = tol * points.variance()
    n_iter, step = 0, np.inf
    while n_iter < max_iter and step > least_step:
        sums, counts = points.update(centres)
        empty = counts == 0
        means = sums / np.where(empty, 1, counts)[:, None]
        moved = np.where(empty[:, None], centres, means).astype(centres.dtype)
        _restart(points, moved, np.flatnonzero(empty))
        step = float(((moved - centres) ** 2).sum())
        centres = moved
        n_iter += 1
    points.update(centres)
    scale = float(points.frame.scale)
    inertia = float(points.weight @ points.distances) / scale / scale  # its square may overflow
    return KMeansResult(points.frame.restore(centres), inertia)


def _restart(points: _Points, centres: NDArray, empty: NDArray[np.intp]) -> None:
    """Move empty clusters to points far from all centres, the farthest first."""
    if not len(empty):
        return
    distances = points.distances
    for cluster in empty:
        farthest = np.array([distances.argmax()])
        if not distances[farthest] > 0:
            return  # there are fewer distinct points than clusters
        centres[cluster] = points.local(farthest)
        points.add_centres(farthest, distances, keep=True)


def _spread(
    points: _Points, n_clusters: int, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Return the indices of points that k-means++ draws."""
    n_trials = 2 + int(np.log(n_clusters))
    closest = np.full(len(points), np.inf, points.X.dtype)
    chosen = _draw(np.cumsum(points.weight), random_state.uniform(size=1))
    points.add_centres(chosen, closest, keep=True)
    while len(chosen) < n_clusters:
        mass = np.cumsum(points.weight * closest)
        if not mass[-1] > 0:
            return np.concatenate([chosen, _others(points, chosen, n_clusters, random_state)])
        trials = _draw(mass, random_state.uniform(size=n_trials))
        best = trials[[points.add_centres(trials, closest, keep=False).argmin()]]
        points.add_centres(best, closest, keep=True)
        chosen = np.append(chosen, best)
    return chosen


def _draw(mass: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return indices drawn by cumulated masses; never one whose mass is zero."""
    last = np.searchsorted(mass, mass[-1])
    return np.minimum(np.searchsorted(mass, uniform * mass[-1], side="right"), last)


def _others(
    points: _Points, chosen: NDArray[np.intp], n_clusters: int, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Return further points where all have distance zero, those with other values first."""
    order = random_state.permutation(np.setdiff1d(np.arange(len(points)), chosen))
    _, first = np.unique(points.X[np.append(chosen, order)], axis=0, return_index=True)
    is_new = np.isin(np.arange(len(order)), first - len(chosen))
    return order[np.argsort(~is_new, kind="stable")][: n_clusters - len(chosen)]


def _draw_points(
    X: NDArray,
    n_clusters: int,
    sample_weight: NDArray | None,
    random_state: np.random.RandomState,
    n_jobs: int | None,
    memory: Memory,
) -> _Points:
    """Draw the rows that clusters are sought among."""

    def draw(candidates: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        weight = None if sample_weight is None else sample_weight[candidates]
        drawn, counts = _draw_rows(len(candidates), weight, n_clusters, random_state)
        return candidates[drawn], counts

    def points_of(points: NDArray, counts: NDArray[np.float64], rows: NDArray[np.intp]) -> _Points:
        _check_count(rows, n_clusters)
        if memory.device.kind == "cuda":
            return _DevicePoints(points, counts, rows, memory)
        return _Points(points, counts, rows, n_jobs)

    if not has_missing(X):
        rows, counts = _draw_rows(len(X), sample_weight, n_clusters, random_state)
        chosen = slice(None) if len(rows) == len(X) else rows
        return points_of(take_rows(X, chosen), counts, rows)
    n_missing = count_missing(X)
    rows, counts = draw(np.flatnonzero(n_missing == 0))
    points = take_rows(X, rows)
    if len(rows) < n_clusters or len(np.unique(points, axis=0)) < n_clusters:
        rows, counts = draw(np.flatnonzero(n_missing < X.shape[1]))
        points = take_rows(X, rows)
        means, _ = feature_moments(points, counts)
        points = np.where(np.isnan(points), means, points).astype(X.dtype)
    return points_of(points, counts, rows)


def _draw_rows(
    n_rows: int, weight: NDArray | None, n_clusters: int, random_state: np.random.RandomState
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows of positive weight, or so many as clusters are sought among; and weights.

    Of more, one is drawn in each of equal shares of the whole weight; a row that is drawn again and
    again counts so often.
    """
    size = _SAMPLE + _SAMPLE_PER_CLUSTER * n_clusters
    n_positive = n_rows if weight is None else np.count_nonzero(weight)
    if n_positive <= size:
        rows = np.arange(n_rows) if weight is None else np.flatnonzero(weight)
        return rows, np.ones(n_rows) if weight is None else weight[rows].astype(np.float64)
    shares = (np.arange(size) + random_state.uniform(size=size)) / size
    if weight is None:
        drawn = (shares * n_rows).astype(np.intp)
    else:
        drawn = _draw(np.cumsum(weight, dtype=np.float64), shares)
    rows, counts = np.unique(drawn, return_counts=True)
    if weight is not None and len(rows) < n_clusters:  # nearly all the weight is on these few
        rows = np.sort(np.argpartition(weight, -size)[-size:])
        return rows, weight[rows].astype(np.float64)
    return rows, counts.astype(np.float64)


def _check_count(rows: NDArray[np.intp], n_clusters: int) -> None:
    if len(rows) < n_clusters:
        raise ValueError(
            f"n_clusters={n_clusters} needs at least as many samples of positive weight with an "
            f"observed value, got {len(rows)}; lower it or give more samples"
        )


def _thread_map(
    func: Callable[[int], Any], items: range, n_jobs: int | None, work: float
) -> list[Any]:
    """Spread work over no more threads than it keeps busy."""
    with thread_limit(n_jobs) as most:
        return thread_map(func, items, n_jobs=worthwhile_threads(most, work))
