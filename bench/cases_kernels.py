"""What is timed of motion kernels: one kernel fitted or applied, by us and by the peers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from bench import peers_kernels as peers
from fastmotion.trajectory import MotionKernel

OURS = "fastmotion"
MOST_MATRIX_BYTES = 4e9


@functools.lru_cache(maxsize=1)
def motion(shape: tuple[int, ...], dtype: type = float) -> np.ndarray:
    """Damped swinging that noise excites; shape (..., n_frames, n_joints, n_coords)."""
    noise = np.random.default_rng(0).standard_normal(shape)
    return lfilter([1.0], [1.0, -1.6, 0.8], noise, axis=-3).astype(dtype, copy=False)


def size_name(shape: tuple[int, ...]) -> str:
    is_one_series = math.prod(shape) == shape[0]
    return f"1e{math.log10(shape[0]):.0f}" if is_one_series else "x".join(map(str, shape))


@dataclass(frozen=True)
class Fit:
    """One kernel for all channels of float64, fitted to the next frame."""

    shape: tuple[int, ...]
    n_taps: int
    peers: tuple[str, ...] = peers.FITS

    def __str__(self) -> str:
        return f"{size_name(self.shape)}, {self.n_taps} taps"

    @property
    def methods(self) -> tuple[str, ...]:
        """Ours, and the peers unless their lagged matrix is too large."""
        fits_in = peers.lagged_matrix_bytes(self._series, self.n_taps) <= MOST_MATRIX_BYTES
        return (OURS, *self.peers) if fits_in else (OURS,)

    def build(self, name: str) -> Callable[[], np.ndarray]:
        """Return what is timed."""
        if name != OURS:
            return functools.partial(peers.fit, name, self._series, self.n_taps)
        X = motion(self.shape)
        return lambda: MotionKernel(self.n_taps).fit(X).coef_.ravel()

    def check(self, name: str, weights: np.ndarray) -> None:
        """Raise unless the weights are ours."""
        np.testing.assert_allclose(weights, self._weights, rtol=1e-6, atol=1e-8, err_msg=name)

    @functools.cached_property
    def _weights(self) -> np.ndarray:
        return self.build(OURS)()

    @property
    def _series(self) -> np.ndarray:
        return _merge_joints(motion(self.shape))


@dataclass(frozen=True)
class Filtering:
    """One kernel for all channels of float32, applied."""

    shape: tuple[int, ...]
    n_taps: int

    methods = (OURS, *peers.FILTERS)

    def __str__(self) -> str:
        return f"{size_name(self.shape)}, {self.n_taps} taps"

    def build(self, name: str) -> Callable[[], np.ndarray]:
        """Return what is timed; ImportError where the library is missing."""
        if name == OURS:
            return functools.partial(self._kernel.transform, motion(self.shape, np.float32))
        return peers.build_filter(name, self._batch, self._kernel.coef_.ravel())

    def check(self, name: str, result: np.ndarray) -> None:
        """Raise unless the last channel is what NumPy makes of it, where windows are whole."""
        if name == OURS:
            theirs = result.reshape(self._batch.shape)[:, self.n_taps - 1 :]
        else:
            theirs = peers.whole_windows(name, result, self.n_taps)
        if theirs is not None:
            series, weights = self._batch[-1, :, -1].astype(float), self._kernel.coef_.ravel()
            expected = np.correlate(series, weights, mode="valid")
            np.testing.assert_allclose(theirs[-1, :, -1], expected, rtol=1e-4, atol=1e-3)

    @functools.cached_property
    def _kernel(self) -> MotionKernel:
        return MotionKernel(self.n_taps).fit(motion(self.shape, np.float32)[..., :300, :, :])

    @property
    def _batch(self) -> np.ndarray:
        X = motion(self.shape, np.float32)
        return _merge_joints(X if X.ndim == 4 else X[np.newaxis])


def _merge_joints(X: np.ndarray) -> np.ndarray:
    """Return X as (..., n_frames, n_channels)."""
    return X.reshape(*X.shape[:-2], -1)
