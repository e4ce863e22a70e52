"""Matches in the coordinates that kernels work in, and models on their way back to pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastmotion.epipolar.estimation import in_pixels

__all__ = ["CentredMatches"]

# So many matches tell a good model from a bad one, and how to improve it before all have their say.
_N_SCORED = 4096
_N_REFINED = 2048

# What the loops over points are padded to.
_PADDING = 128


@dataclass(frozen=True)
class CentredMatches:
    """Matches less their medians, divided by one scale: distances scale, nothing else changes.

    Attributes
    ----------
    matches : ndarray of shape (n, 4), float64
    weight : ndarray of shape (n,), float64
        Its mean is 1.
    centre : ndarray of shape (4,), float64
        In pixels.
    scale : float
        What a pixel becomes.
    order : ndarray of shape (n_scored,), int64
        Some matches, or all, in random order.
    """

    matches: NDArray[np.float64]
    weight: NDArray[np.float64]
    centre: NDArray[np.float64]
    scale: float
    order: NDArray[np.int64]

    @classmethod
    def of_pixels(
        cls,
        matches: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        rng: np.random.Generator,
    ) -> Self:
        """Centre matches in pixels.

        Medians, so that matches far off do not make all others one point.
        """
        n = len(matches)
        order = rng.choice(n, min(n, _N_SCORED), replace=False)
        centre, extent = _middle_and_extent(matches[order])
        centred = matches - centre
        centred *= 1 / extent
        if weight is None:
            weight = np.ones(n)
        return cls(centred, weight / weight.mean(), centre, 1 / extent, order)

    def subset(self, is_kept: NDArray[np.bool_], rng: np.random.Generator) -> Self:
        """Return some of the matches, in the same coordinates."""
        n = int(np.count_nonzero(is_kept))
        order = rng.choice(n, min(n, _N_SCORED), replace=False)
        return replace(
            self, matches=self.matches[is_kept], weight=self.weight[is_kept], order=order
        )

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.matches)

    @cached_property
    def scored(self) -> NDArray[np.float32]:
        """Points of shape (4, n_padded) to score models with; NaN at the end gains nothing."""
        # What overflows float32 becomes infinite, which gains nothing.
        with np.errstate(over="ignore"):
            return _padded(self.matches[self.order], np.nan, np.float32)

    @cached_property
    def refined(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points and weights, padded, to improve models with before all have their say."""
        if self.n <= _N_REFINED:
            return self.padded
        few = self.order[:_N_REFINED]
        return _padded(self.matches[few], 0.0), _padded(self.weight[few, None], 0.0)[0]

    @cached_property
    def padded(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """All points and weights, padded."""
        return _padded(self.matches, 0.0), _padded(self.weight[:, None], 0.0)[0]

    def to_pixels(self, model: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a fundamental matrix of pixels, of shape (3, 3), normalised."""
        return in_pixels(model.reshape(3, 3), *self._transforms)

    def from_pixels(self, F: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a fundamental matrix of these coordinates, of shape (9,), of unit norm."""
        to1, to2 = (np.linalg.inv(transform) for transform in self._transforms)
        model = np.asarray(to2.T @ F @ to1, np.float64).ravel()
        model /= np.linalg.norm(model)
        return model

    def planar_to_pixels(self, H: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a homography of pixels, not normalised."""
        to1, to2 = self._transforms
        return np.asarray(np.linalg.solve(to2, H @ to1), np.float64)

    @property
    def _transforms(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        s = self.scale
        x1, y1, x2, y2 = self.centre
        return _scaling(s, x1, y1), _scaling(s, x2, y2)


def _middle_and_extent(
    matches: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """Return the middles of both images, and how far typical matches lie from them, pixels."""
    half = len(matches) // 2
    # Contiguous along the matches, partitions take a tenth of the time.
    columns = np.ascontiguousarray(matches.T)
    middle = np.partition(columns, half, axis=1)[:, half]
    offsets = np.abs(columns - middle[:, None]).max(axis=0)
    extent = float(np.partition(offsets, half)[half]) or float(offsets.max())
    return middle, extent or 1.0


def _scaling(scale: float, x: float, y: float) -> NDArray[np.float64]:
    return np.array([[scale, 0.0, -scale * x], [0.0, scale, -scale * y], [0.0, 0.0, 1.0]])


def _padded(rows: NDArray[np.float64], fill: float, dtype: type = np.float64) -> NDArray[Any]:
    """Return the columns of rows as rows, padded."""
    n, n_columns = rows.shape
    padded = np.empty((n_columns, -(-n // _PADDING) * _PADDING), dtype)
    padded[:, :n] = rows.T
    padded[:, n:] = fill
    return padded
