"""Other libraries that fit and apply temporal kernels."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
from scipy.signal import savgol_filter
from sklearn.linear_model import LinearRegression

from fastmotion.benchmark.trajectory import correlate, fit_lagged, least_squares, ridge

# --- Fitting: from series of shape (..., n_frames, n_channels) to one kernel, oldest frame first


def lagged_matrix_bytes(series: np.ndarray, n_taps: int) -> int:
    return series.size // series.shape[-2] * (series.shape[-2] - n_taps) * n_taps * series.itemsize


def _linear_regression(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    return LinearRegression(fit_intercept=False).fit(A, b).coef_


def _normal_equations(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.solve(A.T @ A, A.T @ b)


LSTSQ, LINEAR_REGRESSION, RIDGE, BLAS = (
    "lstsq",
    "LinearRegression",
    "Ridge",
    "normal equations (BLAS)",
)
_SOLVERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    LSTSQ: least_squares,
    LINEAR_REGRESSION: _linear_regression,
    RIDGE: ridge,
    BLAS: _normal_equations,
}
FITS = tuple(_SOLVERS)


def fit(name: str, series: np.ndarray, n_taps: int) -> np.ndarray:
    """Making the lagged matrix is part of the time."""
    return fit_lagged(_SOLVERS[name], series, n_taps)


# --- Applying: one kernel to float32 of shape (n_sequences, n_frames, n_channels)

Call = Callable[[], np.ndarray]
CORRELATE, SAVGOL, TORCH = "correlate1d", "savgol_filter", "torch conv1d"


def _savgol(X: np.ndarray, weights: np.ndarray) -> Call:
    """A polynomial's kernel, as long as the weights: other values, the same work."""
    n_taps = len(weights)
    return lambda: savgol_filter(X, n_taps, min(2, n_taps - 1), axis=1, mode="nearest")


def _torch(X: np.ndarray, weights: np.ndarray) -> Call:
    """Depthwise, in PyTorch's own layout; putting X into that is not timed."""
    torch = importlib.import_module("torch")
    channels = X.shape[2]
    inputs = torch.from_numpy(np.ascontiguousarray(X.transpose(0, 2, 1)))
    kernel = torch.from_numpy(weights.astype(X.dtype)).repeat(channels, 1, 1)

    def call() -> np.ndarray:
        with torch.inference_mode():
            return torch.nn.functional.conv1d(inputs, kernel, groups=channels).numpy()

    return call


_FILTERS: dict[str, Callable[[np.ndarray, np.ndarray], Call]] = {
    CORRELATE: correlate,
    SAVGOL: _savgol,
    TORCH: _torch,
}
FILTERS = tuple(_FILTERS)


def build_filter(name: str, X: np.ndarray, weights: np.ndarray) -> Call:
    """Return what is timed; ImportError where the library is missing."""
    return _FILTERS[name](X, weights)


def whole_windows(name: str, result: np.ndarray, n_taps: int) -> np.ndarray | None:
    """The frames whose window lies within the sequence, in our layout; None if values differ."""
    if name == SAVGOL:
        return None
    return result.transpose(0, 2, 1) if name == TORCH else result[:, n_taps - 1 :]
