"""Motion kernels beside NumPy, SciPy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from sklearn.linear_model import Ridge

from fastmotion.benchmark.jobs import OURS, Call, Comparison
from fastmotion.datasets import make_motion
from fastmotion.trajectory import MotionKernel

__all__ = ["comparisons", "correlate", "fit_lagged", "lagged_matrix", "least_squares", "ridge"]

_FIT_TAPS, _FILTER_TAPS = 31, 9


def lagged_matrix(series: NDArray, n_taps: int) -> tuple[NDArray, NDArray]:
    """Return every window of `n_taps` frames, and the frame after it, of all channels together.

    `series` has the shape (..., n_frames, n_channels).
    """
    windows = sliding_window_view(series, n_taps + 1, axis=-2)
    A = np.ascontiguousarray(windows[..., :-1]).reshape(-1, n_taps)
    return A, np.ascontiguousarray(windows[..., -1]).ravel()


def least_squares(A: NDArray, b: NDArray) -> NDArray:
    """Solve with NumPy's ``lstsq``."""
    return np.linalg.lstsq(A, b, rcond=None)[0]


def ridge(A: NDArray, b: NDArray) -> NDArray:
    """Solve with scikit-learn's Ridge, hardly regularised."""
    return Ridge(alpha=1e-10, fit_intercept=False).fit(A, b).coef_


def fit_lagged(
    solve: Callable[[NDArray, NDArray], NDArray], series: NDArray, n_taps: int
) -> NDArray:
    """Fit a kernel, oldest frame first; there is no such fit without the lagged matrix."""
    return solve(*lagged_matrix(series, n_taps))


def correlate(X: NDArray, weights: NDArray) -> Call:
    """Return SciPy's filter of (n_sequences, n_frames, n_channels) by past and present frames."""
    return lambda: correlate1d(X, weights, axis=1, origin=(len(weights) - 1) // 2)


def comparisons(scale: float) -> list[Comparison]:
    """Return fitting a kernel to the next frame, and applying one."""
    n_sequences = max(1, round(20 * scale))
    poses = make_motion("walk", n_sequences=n_sequences, noise=5.0, random_state=0)
    X = poses.observed
    return [_fitting(X), _filtering(X.astype(np.float32))]


def _fitting(X: NDArray) -> Comparison:
    series = X.reshape(*X.shape[:2], -1)
    expected = fit_lagged(least_squares, series, _FIT_TAPS)
    return Comparison(
        "trajectory",
        f"fit {_FIT_TAPS} taps to {series.size} samples",
        {
            OURS: lambda: lambda: MotionKernel(_FIT_TAPS).fit(X).coef_.ravel(),
            "scikit-learn, Ridge": lambda: partial(fit_lagged, ridge, series, _FIT_TAPS),
            "NumPy, lstsq": lambda: partial(fit_lagged, least_squares, series, _FIT_TAPS),
        },
        lambda weights: float(np.abs(weights - expected).max()),
        "off lstsq's weights by",
        1e-6,
    )


def _filtering(X: NDArray) -> Comparison:
    kernel = MotionKernel(_FILTER_TAPS).fit(X)
    batch, weights = X.reshape(*X.shape[:2], -1), kernel.coef_.ravel()
    expected = np.correlate(batch[-1, :, -1].astype(float), weights, mode="valid")

    def error(result: NDArray) -> float:
        given = result.reshape(batch.shape)[-1, _FILTER_TAPS - 1 :, -1]
        return float(np.abs(given - expected).max() / np.abs(expected).max())

    return Comparison(
        "trajectory",
        f"apply {_FILTER_TAPS} taps to {batch.size} samples",
        {
            OURS: lambda: partial(kernel.transform, X),
            "SciPy, correlate1d": lambda: correlate(batch, weights),
        },
        error,
        "relative to float64, off by",
        1e-4,
    )
