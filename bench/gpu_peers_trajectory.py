"""Temporal kernels as they are fitted with an array library: on the matrix of lagged frames."""

from __future__ import annotations

import numpy as np

from bench.gpu_libraries import Array, Library, Torch

# Bytes of lagged frames that are made at a time.
_BLOCK_BYTES = 2e9


def fit_normal_equations(library: Library, series: Array, n_taps: int) -> np.ndarray:
    """Least squares from every window to the frame after it: a matrix product a sequence.

    Parameters
    ----------
    series : float32 array of shape (n, n_frames, n_channels)

    Returns
    -------
    ndarray of shape (n_taps,), oldest frame first
    """
    n, n_frames, n_channels = series.shape
    size = max(1, int(_BLOCK_BYTES / (4 * n_frames * n_channels * (n_taps + 1))))
    total = np.zeros((n_taps + 1, n_taps + 1))
    for first in range(0, n, size):
        windows = library.windows(series[first : first + size], n_taps + 1)
        products = library.double(library.transposed(windows) @ windows)
        total += library.fetch(products.sum(axis=0))
    return np.linalg.solve(total[:-1, :-1], total[:-1, -1])


def fit_least_squares(library: Torch, series: Array, n_taps: int) -> np.ndarray:
    """The same by PyTorch's own solver, on the matrix of all windows."""
    windows = library.windows(series, n_taps + 1).reshape(-1, n_taps + 1)
    return library.fetch(library.least_squares(windows[:, :-1], windows[:, -1]))
