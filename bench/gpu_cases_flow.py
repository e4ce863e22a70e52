"""Dense optical flow of clips, on a GPU and beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_sample_image

from bench import peers
from bench.cases import Case, check_result, to_gray
from bench.gpu_cases import COPY, OURS_CPU, OURS_GPU, GpuCase, Work
from bench.gpu_libraries import Library
from bench.gpu_peers_flow import (
    Pyramid,
    coarse_to_fine,
    horn_schunck_step,
    lucas_kanade_step,
)
from fastmotion.datasets import make_warped_photograph
from fastmotion.flow import HornSchunck, LucasKanade
from fastmotion.metrics import endpoint_error

TORCH, CUPY = "torch", "CuPy"
FARNEBACK, DIS = "OpenCV Farnebäck, CPU", "OpenCV DIS medium, CPU"
_ON_CPU = {FARNEBACK: "Farneback tutorial", DIS: peers.DIS_MEDIUM}

LUCAS_KANADE, CLASSIC, ROBUST = (
    "Lucas-Kanade",
    "Horn-Schunck, quadratic",
    "Horn-Schunck, robust",
)
# Weight of smoothness with which the quadratic functional follows these motions.
_ALPHA = 0.03
# Most motion in pixels, and as a share of the frame's shorter side.
_MAGNITUDE, _MAGNITUDE_SHARE = 6.0, 1 / 64
# Most mean difference between the flows of our CPU and our GPU, pixels.
_MOST_DIFFERENCE = 0.01

# Bytes of a pixel that each step reads and writes, in float32: frames are 4, flows are 8.
_WARP, _MEDIAN = 16, 16
_WINDOWS = 4 + 4 + 8 + 8
# Seven coefficients of the linear system are written once and read in each sweep.
_SET_UP, _SWEEP = 4 + 4 + 8 + 28, 28 + 8 + 8


@dataclass(frozen=True)
class FlowClip(GpuCase):
    """The flow between all successive frames of a clip, gray uint8."""

    method: str
    shape: tuple[int, int]
    n_frames: int = 8

    family = "dense flow"

    def __str__(self) -> str:
        return f"{self.method}, {self.shape[1]}x{self.shape[0]}, {self.n_frames} frames"

    @property
    def methods(self) -> tuple[str, ...]:
        peers_of = {LUCAS_KANADE: (TORCH, CUPY, FARNEBACK), CLASSIC: (TORCH, CUPY), ROBUST: (DIS,)}
        return (OURS_CPU, OURS_GPU, *peers_of[self.method])

    @property
    def n_parts(self) -> int:
        return self.n_frames - 1

    @property
    def work(self) -> Work:
        if self.method == LUCAS_KANADE:
            n_bytes, steps = _WARP + _WINDOWS + _MEDIAN, "warp 16, windows 24, median 16"
        else:
            n_sweeps = self._estimator("cpu").n_sweeps
            n_bytes = _WARP + _SET_UP + n_sweeps * _SWEEP + _MEDIAN
            steps = f"warp 16, system 44, {n_sweeps} sweeps of 44, median 16"
        per_pair = n_bytes * self._pyramid.pixel_warps(*self.shape)
        ends = (1 + 8) * self.shape[0] * self.shape[1]
        return Work(
            f"bytes: (pixels of all levels x warps) x {n_bytes} ({steps}) + pixels x 9",
            self.n_parts * float(per_pair + ends),
            0.0,
            COPY,
        )

    def inputs(self, n_parts: int) -> Sequence[np.ndarray]:
        return (_clip(self.shape, n_parts + 1)[np.newaxis],)

    def ours(self, device: str) -> Callable[..., Any]:
        return self._estimator(device).transform

    def peer(self, method: str) -> Callable[..., Any]:
        if method in _ON_CPU:
            estimate = peers.METHODS[_ON_CPU[method]].build()
            return lambda _, clips: [
                [estimate(*pair) for pair in zip(clip, clip[1:])] for clip in clips
            ]
        return self._peer_on_gpu

    def _peer_on_gpu(self, library: Library, clips: Any) -> Any:
        estimator = self._estimator("cpu")
        if self.method == LUCAS_KANADE:
            window = _window(estimator.window_size)
            step = lucas_kanade_step(library, window, estimator.regularization)
        else:
            step = horn_schunck_step(library, _ALPHA, estimator.n_sweeps, estimator.omega)
        planes = coarse_to_fine(library, clips[0], self._pyramid, step)
        return library.xp.stack([planes[:, 0], planes[:, 1]], -1)[None]

    def fetched(self, result: Any) -> Any:
        return result[0][0]

    def check(self, method: str, result: np.ndarray, n_parts: int) -> None:
        if method == OURS_GPU:
            difference = endpoint_error(_our_flow(self), result)
            if not difference < _MOST_DIFFERENCE:
                raise AssertionError(f"{self}: {difference:.3g} px from the CPU's flow")
        else:
            check_result(np.ascontiguousarray(result), _pair(self.shape))

    @property
    def _pyramid(self) -> Pyramid:
        e = self._estimator("cpu")
        finest = e.n_warps if e.n_finest_warps is None else e.n_finest_warps
        return Pyramid(e.pyramid_factor, e.n_warps, finest, e.prefilter_sigma, e.max_update)

    def _estimator(self, device: str) -> Any:
        if self.method == LUCAS_KANADE:
            return LucasKanade(device=device)
        if self.method == CLASSIC:
            return HornSchunck(_ALPHA, penalty="quadratic", device=device)
        return HornSchunck(device=device)


def _window(size: int) -> np.ndarray:
    """The Gaussian that ours has."""
    offsets = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (offsets / (0.18 * size)) ** 2)
    return weights / weights.sum()


@functools.lru_cache(maxsize=2)
def _pair(shape: tuple[int, int]) -> Case:
    photograph = to_gray(load_sample_image("china.jpg"))
    grow = [max(0, wanted - have) for wanted, have in zip(shape, photograph.shape)]
    mirrored = np.pad(photograph, [(0, n) for n in grow], mode="symmetric")
    # Of smaller ones its middle: at the top there is but sky.
    top, left = ((have - wanted) // 2 for have, wanted in zip(mirrored.shape, shape))
    pair = make_warped_photograph(
        mirrored[top : top + shape[0], left : left + shape[1]],
        "sinusoid",
        magnitude=min(_MAGNITUDE, _MAGNITUDE_SHARE * min(shape)),
        shape=shape,
    )
    return Case(f"photograph {shape[1]}x{shape[0]}", pair.frame0, pair.frame1, pair.flow)


@functools.lru_cache(maxsize=2)
def _clip(shape: tuple[int, int], n_frames: int) -> np.ndarray:
    """The two frames of a pair by turns."""
    pair = _pair(shape)
    return np.stack([(pair.frame0, pair.frame1)[i % 2] for i in range(n_frames)])


@functools.lru_cache(maxsize=2)
def _our_flow(case: FlowClip) -> np.ndarray:
    return case.our_result()[0, 0]
