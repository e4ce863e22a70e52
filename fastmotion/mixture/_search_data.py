"""The samples that a search for components looks at, on the host or on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import load_kernels
from fastmotion.core.memory import Memory
from fastmotion.core.parallel import thread_map
from fastmotion.em.device_samples import DeviceSamples
from fastmotion.em.rows import take_rows, take_rows_on_device
from fastmotion.em.seeding import kmeans_plusplus
from fastmotion.mixture.kernels import search

__all__ = ["DeviceSearchData", "HostSearchData", "SearchData"]

Item = TypeVar("Item")
Part = TypeVar("Part")

# Weights, means less the centre, and full covariances.
Components = tuple[NDArray, NDArray, NDArray]

# Rows that sums are made of at once.
_ROWS = 20_000
# Steps below this share of a feature's range are rounding of the numbers themselves.
_LEAST_STEP = 1e-9
# Samples of a device that tell the steps of rounding: with so many, hardly any step is missing.
_STEP_SAMPLES = 200_000


class SearchData(Protocol):
    """What a search asks of its samples.

    Attributes
    ----------
    centre : ndarray of shape (n_features,)
        Weighted mean of the samples.
    total_weight : float
    """

    centre: NDArray[np.float64]
    total_weight: float

    def __len__(self) -> int:
        """Return the number of samples."""

    def scatter(self) -> NDArray[np.float64]:
        """Return the weighted sum of products about the centre."""

    def steps(self) -> NDArray[np.float64]:
        """Return the smallest step between two values of each feature; 0 if there is none."""

    def take(self, rows: NDArray[np.intp]) -> SearchData:
        """Return some of the samples."""

    def rows(self, rows: NDArray[np.intp]) -> NDArray:
        """Return the values of some samples, on the host."""

    def spread_rows(
        self,
        centre: NDArray[np.float64],
        scale: NDArray[np.float64],
        n_rows: int,
        random_state: np.random.RandomState,
        n_jobs: int | None,
    ) -> NDArray[np.intp]:
        """Return samples that lie far apart in the units given."""

    def climb(
        self,
        centre: NDArray[np.float64],
        kind: int,
        floor: NDArray[np.float64],
        components: Components,
        tol: float,
        max_iter: int,
    ) -> float:
        """Improve components in place by EM and return their log-likelihood."""

    def losses_of_mergers(
        self,
        centre: NDArray[np.float64],
        kind: int,
        pairs: NDArray[np.int64],
        weights: NDArray,
        means: NDArray,
        covariances: NDArray,
    ) -> NDArray[np.float64]:
        """Return by how much less the log-likelihood is with each of some mergers."""

    def map(
        self, func: Callable[[Item], Part], items: Iterable[Item], n_jobs: int | None
    ) -> list[Part]:
        """Apply a function that runs through the samples to several items."""


class HostSearchData:
    """Samples on the host, as a `SearchData`.

    Parameters
    ----------
    X : float64 ndarray of shape (n_samples, n_features)
        Finite, C-contiguous.
    sample_weight : float64 ndarray of shape (n_samples,)
        Positive.
    """

    def __init__(self, X: NDArray[np.float64], sample_weight: NDArray[np.float64]) -> None:
        self._X, self._sample_weight = X, sample_weight
        self.total_weight = float(sample_weight.sum())
        self.centre = sample_weight @ X / self.total_weight

    def __len__(self) -> int:
        return len(self._X)

    def scatter(self) -> NDArray[np.float64]:
        """Return the weighted sum of products about the centre."""
        scatter = np.zeros((self._X.shape[1],) * 2)
        for first in range(0, len(self._X), _ROWS):
            rows = slice(first, first + _ROWS)
            away = self._X[rows] - self.centre
            scatter += (away.T * self._sample_weight[rows]) @ away
        return scatter

    def steps(self) -> NDArray[np.float64]:
        """Return the smallest step between two values of each feature; 0 if there is none."""
        return _steps(self._X)

    def take(self, rows: NDArray[np.intp]) -> HostSearchData:
        """Return some of the samples."""
        return HostSearchData(self._X[rows], self._sample_weight[rows])

    def rows(self, rows: NDArray[np.intp]) -> NDArray:
        """Return the values of some samples."""
        return self._X[rows]

    def spread_rows(
        self,
        centre: NDArray[np.float64],
        scale: NDArray[np.float64],
        n_rows: int,
        random_state: np.random.RandomState,
        n_jobs: int | None,
    ) -> NDArray[np.intp]:
        """Return samples that lie far apart in the units given."""
        return kmeans_plusplus(
            (self._X - centre) / scale,
            n_rows,
            sample_weight=self._sample_weight,
            random_state=random_state,
            n_jobs=n_jobs,
        )

    def climb(
        self,
        centre: NDArray[np.float64],
        kind: int,
        floor: NDArray[np.float64],
        components: Components,
        tol: float,
        max_iter: int,
    ) -> float:
        """Improve components in place by EM and return their log-likelihood."""
        climb = search.climb_diag if kind >= search.DIAG else search.climb_full
        return climb(self._X, self._sample_weight, centre, kind, floor, *components, tol, max_iter)

    def losses_of_mergers(
        self,
        centre: NDArray[np.float64],
        kind: int,
        pairs: NDArray[np.int64],
        weights: NDArray,
        means: NDArray,
        covariances: NDArray,
    ) -> NDArray[np.float64]:
        """Return by how much less the log-likelihood is with each of some mergers."""
        return search.losses_of_mergers(
            self._X, self._sample_weight, centre, kind, pairs, weights, means, covariances
        )

    def map(
        self, func: Callable[[Item], Part], items: Iterable[Item], n_jobs: int | None
    ) -> list[Part]:
        """Apply a function to several items, on several threads."""
        return thread_map(func, items, n_jobs=n_jobs)


class DeviceSearchData:
    """Samples on a CUDA device, as a `SearchData`.

    Parameters
    ----------
    X : Numba device array of shape (n_samples, n_features)
        float32 or float64, finite, C-contiguous.
    sample_weight : float64 ndarray of shape (n_samples,)
        Positive, on the host.
    memory : Memory
        In a scope that lasts as long as the object.
    """

    def __init__(self, X: Any, sample_weight: NDArray[np.float64], memory: Memory) -> None:
        self._X, self._sample_weight, self._memory = X, sample_weight, memory
        self._kernels: Any = load_kernels("fastmotion.mixture.kernels", memory.device.kind)
        self._weights = memory.put(sample_weight.astype(X.dtype))
        self.total_weight = float(sample_weight.sum())
        samples = DeviceSamples(X, sample_weight, memory=memory)
        moments = samples.moments_of_all()
        self.centre, self._scatter = moments.means[0], moments.scatter[0]

    def __len__(self) -> int:
        return len(self._X)

    def scatter(self) -> NDArray[np.float64]:
        """Return the weighted sum of products about the centre."""
        return self._scatter

    def steps(self) -> NDArray[np.float64]:
        """Return the smallest step between two values of each feature, of so many that tell it."""
        return _steps(take_rows(self._X, slice(None, None, 1 + len(self) // _STEP_SAMPLES)))

    def take(self, rows: NDArray[np.intp]) -> DeviceSearchData:
        """Return some of the samples."""
        chosen = take_rows_on_device(self._X, rows)
        return DeviceSearchData(chosen, self._sample_weight[rows], self._memory)

    def rows(self, rows: NDArray[np.intp]) -> NDArray:
        """Return the values of some samples, on the host."""
        return take_rows(self._X, rows).astype(np.float64)

    def spread_rows(
        self,
        centre: NDArray[np.float64],
        scale: NDArray[np.float64],
        n_rows: int,
        random_state: np.random.RandomState,
        n_jobs: int | None,
    ) -> NDArray[np.intp]:
        """Return samples that lie far apart in the units given."""
        # A search spreads no more samples than come to the host for that in any case.
        X = (take_rows(self._X, slice(None)).astype(np.float64) - centre) / scale
        return kmeans_plusplus(
            X,
            n_rows,
            sample_weight=self._sample_weight,
            random_state=random_state,
            memory=self._memory,
        )

    def climb(
        self,
        centre: NDArray[np.float64],
        kind: int,
        floor: NDArray[np.float64],
        components: Components,
        tol: float,
        max_iter: int,
    ) -> float:
        """Improve components in place by EM and return their log-likelihood."""
        with self._memory.scope():
            there = self._memory.put(centre)
            return self._kernels.climb(
                self._X, self._weights, there, kind, floor, components, tol, max_iter, self._memory
            )

    def losses_of_mergers(
        self,
        centre: NDArray[np.float64],
        kind: int,
        pairs: NDArray[np.int64],
        weights: NDArray,
        means: NDArray,
        covariances: NDArray,
    ) -> NDArray[np.float64]:
        """Return by how much less the log-likelihood is with each of some mergers."""
        with self._memory.scope():
            there = self._memory.put(centre)
            return self._kernels.losses_of_mergers(
                self._X, self._weights, there, kind, pairs, weights, means, covariances,
                self._memory,
            )  # fmt: skip

    def map(
        self, func: Callable[[Item], Part], items: Iterable[Item], n_jobs: int | None
    ) -> list[Part]:
        """Apply a function to several items, one after the other: the device is theirs in turn."""
        return [func(item) for item in items]


def _steps(X: NDArray) -> NDArray[np.float64]:
    steps = np.empty(X.shape[1])
    for j in range(X.shape[1]):
        found = np.diff(np.sort(X[:, j]))
        found = found[found > _LEAST_STEP * found.sum()]
        steps[j] = found.min() if len(found) else 0
    return steps
