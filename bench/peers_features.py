"""Histograms of flow as one writes them in NumPy, with OpenCV or without, and Fisher vectors."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

NUMPY, OPENCV, SKIMAGE = "NumPy", "OpenCV and NumPy", "scikit-image"
HISTOGRAMS = (NUMPY, OPENCV)

# The directions of vectors, in radians from 0 to a full turn, and their lengths.
Polar = Callable[[NDArray, NDArray], tuple[NDArray, NDArray]]


def numpy_polar(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
    return np.arctan2(b, a) % np.float32(2 * np.pi), np.hypot(a, b)


def opencv_polar() -> Polar:
    cv2 = importlib.import_module("cv2")

    def polar(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
        lengths, angles = cv2.cartToPolar(a, b)
        return angles, lengths

    return polar


def polar_of(name: str) -> Polar:
    return opencv_polar() if name == OPENCV else numpy_polar


def cells_of_pixels(shape: Sequence[int], grid: Sequence[int]) -> NDArray[np.intp]:
    """The cell of each pixel of a clip; made outside any timing."""
    along = [
        (np.searchsorted(np.arange(1, n + 1) * size // n, np.arange(size), side="right"))
        for size, n in zip(shape, grid)
    ]
    return np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), grid)


def histograms(
    flow: NDArray, cells: NDArray[np.intp], n_orientations: int, still: float, polar: Polar
) -> list[NDArray]:
    """Sums of flow and of both motion boundaries by cell, of one clip; pair by pair."""
    n_cells = int(cells[-1, -1, -1]) + 1
    sums = [np.zeros((n_cells, n_orientations + 1)), *np.zeros((2, n_cells, n_orientations))]
    for field, cell in zip(flow, cells):
        u, v = np.ascontiguousarray(field[..., 0]), np.ascontiguousarray(field[..., 1])
        _vote(sums[0], u, v, cell, n_orientations, still, polar)
        for k, plane in enumerate((u, v)):
            dy, dx = np.gradient(plane)
            _vote(sums[1 + k], dx, dy, cell, n_orientations, None, polar)
    return sums


def _vote(
    sums: NDArray, a: NDArray, b: NDArray, cell: NDArray[np.intp], n: int, still: float | None,
    polar: Polar,
) -> None:  # fmt: skip
    angles, lengths = polar(a, b)
    if still is not None:
        is_still = lengths <= still
        sums[:, n] += np.bincount(cell[is_still], minlength=len(sums))
        lengths = np.where(is_still, 0, lengths)
    position = angles * np.float32(n / (2 * np.pi))
    first = position.astype(np.intp)
    share = (position - first) * lengths
    for offset, votes in ((0, lengths - share), (1, share)):
        index = cell * n + (first + offset) % n
        found = np.bincount(index.ravel(), votes.ravel(), minlength=len(sums) * n)
        sums[:, :n] += found.reshape(-1, n)
