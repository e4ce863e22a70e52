"""Motion kernels fitted to and applied to many trajectories, on a GPU and beside it."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.cases_kernels import motion
from bench.gpu_cases import COPY, OURS_CPU, OURS_GPU, GpuCase, Work
from bench.gpu_libraries import Library
from bench.gpu_peers_trajectory import fit_least_squares, fit_normal_equations
from fastmotion.trajectory import MotionKernel, MotionKernelBank

TORCH_NORMAL, TORCH_LSTSQ = "torch, normal equations", "torch, unfold + lstsq"
CUPY_NORMAL = "CuPy, normal equations"
TORCH_CONV, CUPY_CORRELATE = "torch, conv2d", "CuPy, correlate1d"

SCALES = (2, 3, 5)
# Sequences whose outputs are compared.
_CHECKED = 2


@dataclass(frozen=True)
class Trajectories(GpuCase):
    """Sequences of float32 poses, ten times the same tenth."""

    shape: tuple[int, int, int, int]
    """Numbers of sequences, frames, joints and coordinates."""

    family = "trajectories"
    n_parts = 10

    def __post_init__(self) -> None:
        if self.shape[0] % self.n_parts:
            raise ValueError(f"needs a multiple of {self.n_parts} sequences, got {self.shape[0]}")

    @property
    def n_samples(self) -> int:
        return math.prod(self.shape)

    def inputs(self, n_parts: int) -> Sequence[np.ndarray]:
        part = motion((self.shape[0] // self.n_parts, *self.shape[1:]), np.float32)
        return (np.tile(part, (n_parts, 1, 1, 1)),)


@dataclass(frozen=True)
class KernelFit(Trajectories):
    """One kernel for all channels, fitted to the next frame."""

    n_taps: int = 15

    methods = (OURS_CPU, OURS_GPU, TORCH_NORMAL, TORCH_LSTSQ, CUPY_NORMAL)

    def __str__(self) -> str:
        return f"fit of {self.n_taps} taps to {self.n_samples:.0e} samples"

    @property
    def work(self) -> Work:
        return Work(
            "bytes: 4 samples; flops: 2 samples (taps + 1), the sums of lagged products",
            4.0 * self.n_samples,
            2.0 * self.n_samples * (self.n_taps + 1),
            COPY,
        )

    def ours(self, device: str) -> Callable[..., Any]:
        return lambda X: MotionKernel(self.n_taps, device=device).fit(X).coef_

    def peer(self, method: str) -> Callable[..., Any]:
        fit = fit_least_squares if method == TORCH_LSTSQ else fit_normal_equations

        def call(library: Library, X: Any) -> np.ndarray:
            return fit(library, X.reshape(*X.shape[:2], -1), self.n_taps)

        return call

    def check(self, method: str, result: np.ndarray, n_parts: int) -> None:
        # Products in float32 lose some digits.
        tolerance = 1e-4 if method == OURS_GPU else 5e-3
        np.testing.assert_allclose(result, _our_weights(self), atol=tolerance, err_msg=method)


@functools.lru_cache(maxsize=1)
def _our_weights(case: KernelFit) -> np.ndarray:
    return case.our_result()


@dataclass(frozen=True)
class BankApplication(Trajectories):
    """Three kernels applied to all channels in one pass."""

    methods = (OURS_CPU, OURS_GPU, TORCH_CONV, CUPY_CORRELATE)

    def __str__(self) -> str:
        taps = " + ".join(map(str, SCALES))
        return f"bank of {taps} taps on {self.n_samples:.0e} samples"

    @property
    def work(self) -> Work:
        n_kernels, n_taps = len(SCALES), sum(SCALES)
        return Work(
            f"bytes: 4 samples (1 + {n_kernels} outputs); flops: 2 samples x {n_taps} taps",
            4.0 * self.n_samples * (1 + n_kernels),
            2.0 * self.n_samples * n_taps,
            COPY,
        )

    def ours(self, device: str) -> Callable[..., Any]:
        return copy.copy(_bank(self)).set_params(device=device).transform

    def peer(self, method: str) -> Callable[..., Any]:
        weights = _aligned_weights(_bank(self))

        def call(library: Library, X: Any) -> Any:
            return library.filter_bank(X.reshape(*X.shape[:2], -1), weights)

        return call

    def fetched(self, result: Any) -> Any:
        return result[:_CHECKED]

    def check(self, method: str, result: np.ndarray, n_parts: int) -> None:
        """Where windows are whole."""
        ours = _our_outputs(self)
        first = max(SCALES) - 1
        if method in (TORCH_CONV, CUPY_CORRELATE):
            result = np.moveaxis(result, 1, -1).reshape(ours[:, first:].shape)
        else:
            result = result[:, first:]
        np.testing.assert_allclose(result, ours[:, first:], rtol=1e-4, atol=1e-3, err_msg=method)


@functools.lru_cache(maxsize=1)
def _bank(case: BankApplication) -> MotionKernelBank:
    few = case.inputs(1)[0][:20]
    return MotionKernelBank(SCALES, device="cpu").fit(few)


def _aligned_weights(bank: MotionKernelBank) -> np.ndarray:
    """A row for each kernel, oldest frame first, zeros where the window is shorter."""
    longest = max(SCALES)
    weights = np.zeros((len(SCALES), longest))
    for row, (offsets, values) in zip(weights, bank.kernels_):
        row[np.asarray(offsets) + longest - 1] = values
    return weights


@functools.lru_cache(maxsize=1)
def _our_outputs(case: BankApplication) -> np.ndarray:
    return case.ours("cpu")(case.inputs(1)[0][:_CHECKED])
