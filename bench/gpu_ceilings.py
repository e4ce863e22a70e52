"""What the chip can do at most: how fast it copies memory and multiplies matrices.

Shares of these are what the benchmarks give, not shares of a data sheet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bench.gpu_cases import COPY, MATRIX, Site
from fastmotion.core.device import block_size

MATRIX_DOUBLE = "matrix product, float64"
OUR_KERNEL, DRIVER, TORCH, CUPY = "own kernel", "driver's copy", "torch", "CuPy"


@dataclass(frozen=True)
class CopyBandwidth:
    """A copy within the device's memory; bytes read and bytes written count."""

    n_bytes: int

    name: ClassVar[str] = COPY
    methods: ClassVar[tuple[str, ...]] = (OUR_KERNEL, DRIVER, TORCH, CUPY)
    unit: ClassVar[str] = "GB/s"

    def build(self, method: str, site: Site) -> Callable[[], Any]:
        """Return what is timed, which returns the copy; ImportError without the library."""
        source = np.arange(self.n_bytes // 4, dtype=np.float32)
        if method in (OUR_KERNEL, DRIVER):
            return _copy_by_numba(source, by_kernel=method == OUR_KERNEL)
        library = site(method)
        there = library.put(source)
        out = library.empty(there.shape)

        def call() -> Any:
            out[...] = there
            library.synchronize()
            return out

        return call

    def check(self, copy: Any) -> None:
        """Raise unless the last number was copied; one number comes from any library alike."""
        wanted = np.float32(self.n_bytes // 4 - 1)
        if float(copy[-1]) != wanted:
            raise AssertionError(f"the copy ends with {copy[-1]} in place of {wanted}")

    def rate(self, seconds: float) -> float:
        return 2 * self.n_bytes / seconds / 1e9


def _copy_by_numba(source: np.ndarray, *, by_kernel: bool) -> Callable[[], Any]:
    from numba import cuda

    from bench.gpu_copy import copy

    there, out = cuda.to_device(source), cuda.device_array_like(source)
    block = block_size(256, 8)
    grid = min(-(-source.size // block), block_size(1 << 16, 4))

    def call() -> Any:
        if by_kernel:
            copy[grid, block](there, out)
        else:
            out.copy_to_device(there)
        cuda.synchronize()
        return out

    return call


@dataclass(frozen=True)
class MatrixRate:
    """The product of two square matrices."""

    size: int
    dtype: str

    methods: ClassVar[tuple[str, ...]] = (TORCH, CUPY)
    unit: ClassVar[str] = "TFLOP/s"

    @property
    def name(self) -> str:
        return MATRIX if self.dtype == "float32" else MATRIX_DOUBLE

    def build(self, method: str, site: Site) -> Callable[[], Any]:
        """Return what is timed; ImportError without the library."""
        library = site(method)
        # Not zeros, on which chips are faster.
        left, right = (
            library.put(np.random.default_rng(seed).random((self.size, self.size), self.dtype))
            for seed in (0, 1)
        )

        def call() -> Any:
            product = left @ right
            library.synchronize()
            return product

        return call

    def check(self, product: Any) -> None:
        """Raise unless it is about what products of uniform numbers add up to."""
        first = float(product[0, 0])
        if not 0.5 < first / (self.size / 4) < 1.5:
            raise AssertionError(f"the product of random matrices begins with {first}")

    def rate(self, seconds: float) -> float:
        return 2 * self.size**3 / seconds / 1e12
