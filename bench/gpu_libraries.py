"""Array libraries that the peers on the GPU are written with, behind one interface.

PyTorch and CuPy understand most of NumPy's expressions, so that a peer is written once for both.
What differs stands here: where arrays lie, and the operations on images and series, for each of
which a library takes what its users would take. On the host PyTorch computes on its own CPU device,
and NumPy stands in for CuPy: that is how the peers are tested without a GPU.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

Array = Any

TORCH, CUPY = "torch", "CuPy"


class Library(ABC):
    """A library of arrays and the place where they lie."""

    name: str
    xp: Any
    """The library's module, with NumPy's names."""

    @abstractmethod
    def put(self, array: np.ndarray) -> Array:
        """Return a copy of a host array where the library computes."""

    @abstractmethod
    def fetch(self, array: Array) -> np.ndarray: ...

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work is done."""

    @abstractmethod
    def free(self) -> None:
        """Give memory that is pooled back to the device."""

    @abstractmethod
    def single(self, array: Array) -> Array:
        """As float32."""

    @abstractmethod
    def double(self, array: Array) -> Array:
        """As float64."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...]) -> Array:
        """Of float32."""

    @abstractmethod
    def samples(self, n: int, shape: tuple[int, ...], seed: int) -> Array:
        """Random numbers from 0 to ``n - 1``, all different along the last axis."""

    def transposed(self, array: Array) -> Array:
        """With the last two axes swapped."""
        return self.xp.swapaxes(array, -1, -2)

    # --- Images, of shape (n, height, width); pixels of the border are repeated outside

    @abstractmethod
    def correlate(self, planes: Array, weights: np.ndarray, axis: int) -> Array:
        """With an odd number of weights along axis -1 or -2."""

    @abstractmethod
    def neighbours(self, planes: Array) -> Array:
        """The sum of the four neighbours of each pixel."""

    @abstractmethod
    def median(self, planes: Array) -> Array:
        """Of the 5 x 5 pixels around each pixel."""

    @abstractmethod
    def warp(self, planes: Array, u: Array, v: Array) -> Array:
        """Sample each plane (u, v) pixels from each of its pixels, by linear interpolation."""

    @abstractmethod
    def interpolate(self, planes: Array, shape: tuple[int, int]) -> Array:
        """Resize by linear interpolation between pixel centres."""

    # --- Series, of shape (n, n_frames, n_channels)

    @abstractmethod
    def windows(self, series: Array, length: int) -> Array:
        """Every window of frames of every channel, of shape (n, n_windows, length)."""

    @abstractmethod
    def filter_bank(self, series: Array, weights: np.ndarray) -> Array:
        """The outputs of filters, weights of shape (n_filters, n_taps), where windows are whole.

        Of shape (n, n_filters, n_frames - n_taps + 1, n_channels).
        """


class Torch(Library):
    """PyTorch on one of its devices."""

    name = TORCH

    def __init__(self, device: str) -> None:
        self.xp = importlib.import_module("torch")
        self.device = device
        self._functional = self.xp.nn.functional
        # What float32 means in the other libraries too.
        self.xp.backends.cuda.matmul.allow_tf32 = False
        self.xp.backends.cudnn.allow_tf32 = False
        if device == "cuda" and not self.xp.cuda.is_available():
            raise ImportError("this PyTorch finds no CUDA device")

    def put(self, array: np.ndarray) -> Array:
        return self.xp.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def fetch(self, array: Array) -> np.ndarray:
        return array.cpu().numpy()

    def synchronize(self) -> None:
        if self.device == "cuda":
            self.xp.cuda.synchronize()

    def free(self) -> None:
        if self.device == "cuda":
            self.xp.cuda.empty_cache()

    def single(self, array: Array) -> Array:
        return array.float()

    def double(self, array: Array) -> Array:
        return array.double()

    def empty(self, shape: tuple[int, ...]) -> Array:
        return self.xp.empty(shape, dtype=self.xp.float32, device=self.device)

    def samples(self, n: int, shape: tuple[int, ...], seed: int) -> Array:
        size = shape[-1]
        generator = self.xp.Generator(self.device).manual_seed(seed)
        drawn = self.xp.randint(n - size + 1, shape, generator=generator, device=self.device)
        return drawn.sort(-1).values + self.xp.arange(size, device=self.device)

    def correlate(self, planes: Array, weights: np.ndarray, axis: int) -> Array:
        reach = len(weights) // 2
        kernel = self.put(weights.astype(np.float32))
        if axis == -1:
            padding, kernel = (reach, reach, 0, 0), kernel[None, None, None, :]
        else:
            padding, kernel = (0, 0, reach, reach), kernel[None, None, :, None]
        return self._convolve(planes, kernel, padding)

    def neighbours(self, planes: Array) -> Array:
        cross = self.put(np.float32([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))
        return self._convolve(planes, cross[None, None], (1, 1, 1, 1))

    def _convolve(self, planes: Array, kernel: Array, padding: tuple[int, ...]) -> Array:
        padded = self._functional.pad(planes[:, None], padding, mode="replicate")
        return self._functional.conv2d(padded, kernel)[:, 0]

    def median(self, planes: Array) -> Array:
        padded = self._functional.pad(planes[:, None], (2, 2, 2, 2), mode="replicate")[:, 0]
        # A plane at a time: its windows take 25 times its memory.
        return self.xp.stack([self._windows_of(plane).median(-1).values for plane in padded])

    @staticmethod
    def _windows_of(plane: Array) -> Array:
        return plane.unfold(0, 5, 1).unfold(1, 5, 1).flatten(2)

    def warp(self, planes: Array, u: Array, v: Array) -> Array:
        height, width = planes.shape[1:]
        x = self.xp.arange(width, device=self.device) + u
        y = self.xp.arange(height, device=self.device)[:, None] + v
        # Positions from -1 to 1, between the centres of the outermost pixels.
        grid = self.xp.stack([x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], -1)
        options = {"mode": "bilinear", "padding_mode": "border", "align_corners": True}
        return self._functional.grid_sample(planes[:, None], grid, **options)[:, 0]

    def interpolate(self, planes: Array, shape: tuple[int, int]) -> Array:
        return self._functional.interpolate(planes[:, None], size=shape, mode="bilinear")[:, 0]

    def windows(self, series: Array, length: int) -> Array:
        return series.unfold(1, length, 1).reshape(len(series), -1, length)

    def filter_bank(self, series: Array, weights: np.ndarray) -> Array:
        kernel = self.put(weights.astype(np.float32))[:, None, :, None]
        return self._functional.conv2d(series[:, None], kernel)

    def least_squares(self, matrix: Array, targets: Array) -> Array:
        return self.xp.linalg.lstsq(matrix, targets[:, None]).solution[:, 0]


class NumPyLike(Library):
    """CuPy, or NumPy with SciPy in its place."""

    name = CUPY

    def __init__(self, module: str, ndimage: str) -> None:
        self.xp = importlib.import_module(module)
        self._ndimage = importlib.import_module(ndimage)
        self._sliding = importlib.import_module(f"{module}.lib.stride_tricks").sliding_window_view
        self._is_cupy = module == "cupy"

    def put(self, array: np.ndarray) -> Array:
        return self.xp.array(array)

    def fetch(self, array: Array) -> np.ndarray:
        return array.get() if self._is_cupy else array

    def synchronize(self) -> None:
        if self._is_cupy:
            self.xp.cuda.Device().synchronize()

    def free(self) -> None:
        if self._is_cupy:
            self.xp.get_default_memory_pool().free_all_blocks()

    def single(self, array: Array) -> Array:
        return array.astype(np.float32)

    def double(self, array: Array) -> Array:
        return array.astype(np.float64)

    def empty(self, shape: tuple[int, ...]) -> Array:
        return self.xp.empty(shape, np.float32)

    def samples(self, n: int, shape: tuple[int, ...], seed: int) -> Array:
        size = shape[-1]
        drawn = self.xp.random.RandomState(seed).randint(0, n - size + 1, shape)
        return self.xp.sort(drawn, -1) + self.xp.arange(size)

    def correlate(self, planes: Array, weights: np.ndarray, axis: int) -> Array:
        kernel = self.put(weights.astype(np.float32))
        return self._ndimage.correlate1d(planes, kernel, axis=axis, mode="nearest")

    def neighbours(self, planes: Array) -> Array:
        cross = self.put(np.float32([[[0, 1, 0], [1, 0, 1], [0, 1, 0]]]))
        return self._ndimage.correlate(planes, cross, mode="nearest")

    def median(self, planes: Array) -> Array:
        return self._ndimage.median_filter(planes, size=(1, 5, 5), mode="nearest")

    def warp(self, planes: Array, u: Array, v: Array) -> Array:
        n, height, width = planes.shape
        which = self.xp.arange(n, dtype=np.float32)[:, None, None]
        x = self.xp.arange(width, dtype=np.float32) + u
        y = self.xp.arange(height, dtype=np.float32)[:, None] + v
        places = self.xp.stack([self.xp.broadcast_to(which, x.shape), y, x])
        return self._ndimage.map_coordinates(planes, places, order=1, mode="nearest")

    def interpolate(self, planes: Array, shape: tuple[int, int]) -> Array:
        factors = (1, shape[0] / planes.shape[1], shape[1] / planes.shape[2])
        return self._ndimage.zoom(planes, factors, order=1, mode="nearest", grid_mode=True)

    def windows(self, series: Array, length: int) -> Array:
        return self._sliding(series, length, axis=1).reshape(len(series), -1, length)

    def filter_bank(self, series: Array, weights: np.ndarray) -> Array:
        n, n_frames, n_channels = series.shape
        n_taps = weights.shape[1]
        out = self.empty((n, len(weights), n_frames - n_taps + 1, n_channels))
        for k, row in enumerate(weights):
            kernel = self.put(row.astype(np.float32))
            # The result stands at the newest frame of its window.
            filtered = self._ndimage.correlate1d(
                series, kernel, axis=1, mode="nearest", origin=(n_taps - 1) // 2
            )
            out[:, k] = filtered[:, n_taps - 1 :]
        return out


def on_gpu(name: str) -> Library:
    """Return a library on the GPU; ImportError where it is missing, or sees none."""
    if name == TORCH:
        return Torch("cuda")
    return NumPyLike("cupy", "cupyx.scipy.ndimage")


def on_host(name: str) -> Library:
    """Return a library, or its stand-in, on the CPU."""
    return Torch("cpu") if name == TORCH else NumPyLike("numpy", "scipy.ndimage")
