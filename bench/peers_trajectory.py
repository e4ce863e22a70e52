"""What the accuracy of learned kernels is compared with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import correlate1d
from scipy.signal import savgol_coeffs

from bench.cases_trajectory import FPS, NoisyMotion, pooled_rmse


@dataclass(frozen=True)
class SavitzkyGolay:
    """First derivative per second, in the middle of the window or at its newest frame."""

    window: int
    order: int
    causal: bool = False

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        position = self.window - 1 if self.causal else self.window // 2
        weights = savgol_coeffs(self.window, self.order, deriv=1, pos=position, use="dot")
        # correlate1d centres the window; its origin moves it back.
        origin = self.window // 2 if self.causal else 0
        return FPS * correlate1d(positions, weights, axis=0, origin=origin)


def savitzky_golay_bank(longest: int, *, causal: bool = False) -> list[SavitzkyGolay]:
    """Every odd window up to `longest` with every order up to 5."""
    windows, orders = range(3, longest + 1, 2), range(1, 6)
    return [
        SavitzkyGolay(window, order, causal)
        for window, order in itertools.product(windows, orders)
        if order < window
    ]


def best_savitzky_golay(
    bank: Iterable[SavitzkyGolay], motion: NoisyMotion, margin: int
) -> SavitzkyGolay:
    """The one of least error on motion with a known velocity."""

    def error(kernel: SavitzkyGolay) -> float:
        estimates = [kernel(x) for x in motion.positions]
        return pooled_rmse(estimates, motion.velocities, margin)

    return min(bank, key=error)


def central_difference(positions: np.ndarray) -> np.ndarray:
    return FPS * np.gradient(positions, axis=0)


def constant_velocity(sequence: np.ndarray, horizon: int) -> np.ndarray:
    velocity = np.diff(sequence, axis=0, prepend=sequence[:1])
    return sequence + horizon * velocity


def spline_gaps(sequence: np.ndarray) -> np.ndarray:
    """Fill frames that are missing as a whole by the cubic spline through all others."""
    frames = np.arange(len(sequence))
    known = ~np.isnan(sequence).any(axis=(1, 2))
    return CubicSpline(frames[known], sequence[known])(frames)
