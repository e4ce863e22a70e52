"""Other libraries that fit and apply temporal kernels."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import correlate1d
from scipy.signal import savgol_filter
from sklearn.linear_model import LinearRegression, Ridge

# --- Fitting: from series of shape (..., n_frames, n_channels) to one kernel, oldest frame first


def lagged_matrix(series: np.ndarray, n_taps: int) -> tuple[np.ndarray, np.ndarray]:
    """Every window of `n_taps` frames and the frame after it, of all channels together."""
    windows = sliding_window_view(series, n_taps + 1, axis=-2)
    A = np.ascontiguousarray(windows[..., :-1]).reshape(-1, n_taps)
    return A, np.ascontiguousarray(windows[..., -1]).ravel()


def lagged_matrix_bytes(series: np.ndarray, n_taps: int) -> int:
    return series.size // series.shape[-2] * (series.shape[-2] - n_taps) * n_taps * series.itemsize


def _lstsq(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(A, b, rcond=None)[0]


def _linear_regression(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    return LinearRegression(fit_intercept=False).fit(A, b).coef_


def _ridge(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    return Ridge(alpha=1e-10, fit_intercept=False).fit(A, b).coef_


def _normal_equations(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.solve(A.T @ A, A.T @ b)


LSTSQ, LINEAR_REGRESSION, RIDGE, BLAS = (
    "lstsq",
    "LinearRegression",
    "Ridge",
    "normal equations (BLAS)",
)
_SOLVERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    LSTSQ: _lstsq,
    LINEAR_REGRESSION: _linear_regression,
    RIDGE: _ridge,
    BLAS: _normal_equations,
}
FITS = tuple(_SOLVERS)


def fit(name: str, series: np.ndarray, n_taps: int) -> np.ndarray:
    """Making the lagged matrix is part of the time: there is no fit without it."""
    return _SOLVERS[name](*lagged_matrix(series, n_taps))


# --- Applying: one kernel to float32 of shape (n_sequences, n_frames, n_channels)

Call = Callable[[], np.ndarray]
CORRELATE, SAVGOL, TORCH = "correlate1d", "savgol_filter", "torch conv1d"


def _correlate(X: np.ndarray, weights: np.ndarray) -> Call:
    return lambda: correlate1d(X, weights, axis=1, origin=(len(weights) - 1) // 2)


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
    CORRELATE: _correlate,
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
