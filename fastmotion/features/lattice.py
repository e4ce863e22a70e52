"""Cells of blocks along an axis, and the intervals that all of them are put together from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockAxis"]


@dataclass(frozen=True)
class BlockAxis:
    """The cells of blocks along one axis: where blocks overlap, so do their cells.

    Attributes
    ----------
    cells : int64 ndarray of shape (n_blocks, n_cells + 1)
        Where the cells of each block begin, and the last one ends.
    """

    cells: NDArray[np.int64]

    @classmethod
    def of(cls, size: int, n_cells: int, block: int, step: int) -> BlockAxis:
        """Return blocks of a length every step, as many as lie within ``size``.

        Cells are equal to within one element, and no element is left out.
        """
        starts = np.arange(0, size - block + 1, step)
        within = np.arange(n_cells + 1) * block // n_cells
        return cls(starts[:, np.newaxis] + within)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of blocks, and of cells of each."""
        return self.cells.shape[0], self.cells.shape[1] - 1

    def edges(self, longest: int) -> NDArray[np.int64]:
        """Return the edges of intervals that no cell cuts, none longer than ``longest``."""
        edges = np.unique(self.cells)
        parts = [
            np.linspace(start, stop, -(-(stop - start) // longest), endpoint=False, dtype=np.int64)
            for start, stop in zip(edges[:-1], edges[1:])
        ]
        return np.concatenate([*parts, edges[-1:]])

    def sum_cells(self, values: NDArray, axis: int, edges: NDArray[np.int64]) -> NDArray:
        """Return sums over the intervals of each cell, block after block along the axis.

        Parameters
        ----------
        values : ndarray
            Along the axis, one for each interval between the edges.
        axis : int
        edges : ndarray
            As returned by `edges`.
        """
        found = np.searchsorted(edges, self.cells)
        start, stop = found[:, :-1].ravel(), found[:, 1:].ravel()
        values = np.moveaxis(values, axis, 0)
        sums = values[start]
        for k in range(1, int((stop - start).max())):
            goes_on = start + k < stop
            sums[goes_on] += values[start[goes_on] + k]
        return np.moveaxis(sums, 0, axis)
