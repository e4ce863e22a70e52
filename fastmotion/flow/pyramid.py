"""The coarse-to-fine driver: pyramids and warping, for any method that refines a flow.

A *solver* writes a better flow than the one with which the second frame was warped. The driver
knows nothing else of it.
"""

from __future__ import annotations

import functools
import logging
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import thread_limit

_logger = logging.getLogger(__name__)

# A Gaussian is cut off where its weight has fallen to 1 %.
_TRUNCATE = 3.0

# On small levels a second thread costs more, above all on a busy machine, than it computes.
_PIXELS_PER_THREAD = 8192

# The longer side of an elongated frame shrinks on while it is this many times the least size.
_ELONGATION = 4


class Solver(Protocol):
    """What `coarse_to_fine` calls at every warp."""

    def __call__(
        self,
        kernels: ModuleType,
        frame0: NDArray,
        warped: NDArray,
        flow: NDArray,
        out: NDArray,
        progress: float,
        n_threads: int,
    ) -> None:
        """Write to ``out`` a flow refined from ``flow``.

        ``progress`` rises from 0 at the first warp of a level to 1 at the last.
        """


@dataclass(frozen=True)
class Pyramid:
    """How frames are smoothed and resized, and how often they are warped.

    Attributes
    ----------
    n_levels : int or None
        Most levels; None for as many as `min_size` lets there be.
    factor : float
        Size of a level relative to the next finer one, in (0, 1).
    finest_scale : int
        The finest level has ``1 / 2**finest_scale`` of the frames' height and width.
    min_size : int
        Least height and width of a level in pixels.
    prefilter_sigma : float
        Standard deviation, in pixels of the finest level, of the Gaussian that smooths the frames.
    n_warps : int
        Warps per level.
    n_finest_warps : int or None
        Warps of the finest level, where there are several; None for as many as on the others.
    median_filter : bool
        Whether the flow is median-filtered (5 x 5) after every warp.
    weighted_median : bool
        Whether it also is by a median of pixels that look alike, at the end of each level.
    """

    n_levels: int | None
    factor: float
    finest_scale: int
    min_size: int
    prefilter_sigma: float
    n_warps: int
    n_finest_warps: int | None
    median_filter: bool
    weighted_median: bool

    def shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the shapes of the levels, finest first; at least one."""
        base = 2.0**-self.finest_scale
        finest = max(round(height * base), 1), max(round(width * base), 1)
        least = min(finest[0], self.min_size), min(finest[1], self.min_size)
        shapes = [finest]
        while len(shapes) != self.n_levels:
            scale = base * self.factor ** len(shapes)
            shape = round(height * scale), round(width * scale)
            if min(shape) < self.min_size and max(shape) < _ELONGATION * self.min_size:
                break
            shapes.append((max(shape[0], least[0]), max(shape[1], least[1])))
        return shapes

    def warps(self, n_levels: int) -> list[int]:
        """Return the number of warps of each of so many levels, finest first."""
        warps = [self.n_warps] * n_levels
        if n_levels > 1 and self.n_finest_warps is not None:
            warps[0] = self.n_finest_warps
        return warps


def coarse_to_fine(
    frame0: NDArray,
    frame1: NDArray,
    solver: Solver,
    pyramid: Pyramid,
    kernels: ModuleType,
    n_threads: int,
    initial_flow: NDArray | None = None,
) -> NDArray:
    """Estimate a flow level by level, from the coarsest to the finest.

    Parameters
    ----------
    frame0, frame1 : float32 array of shape (height, width)
        Intensities in [0, 1].
    solver : Solver
    pyramid : Pyramid
    kernels : module
        The kernels of the device to compute on.
    n_threads : int
        Threads that a kernel has.
    initial_flow : float32 array of shape (height, width, 2) or None
        Where to start; None starts from rest.

    Returns
    -------
    ndarray of shape (height, width, 2), float32
    """
    shape = frame0.shape
    flow = None if initial_flow is None else _planes(initial_flow)
    levels = _frame_pyramid(frame0, frame1, pyramid, kernels)
    warps = pyramid.warps(len(levels))
    while levels:
        frames = levels.pop()
        flow = _flow_at(frames.shape[1:], flow, kernels)
        with thread_limit(max(1, min(n_threads, flow[0].size // _PIXELS_PER_THREAD))) as n_used:
            _refine(frames, flow, solver, pyramid, warps[len(levels)], kernels, n_used)
        _logger.debug("level of %d x %d pixels done", *frames.shape[1:])
    u, v = _flow_at(shape, flow, kernels)
    return np.stack((u, v), axis=-1)


def _planes(flow: NDArray) -> NDArray:
    return np.ascontiguousarray(np.moveaxis(flow, -1, 0))


def _frame_pyramid(
    frame0: NDArray, frame1: NDArray, pyramid: Pyramid, kernels: ModuleType
) -> list[NDArray]:
    """Return both frames at every level, finest first, each of shape (2, height, width)."""
    height, width = frame0.shape
    shapes = pyramid.shapes(height, width)
    finest = np.empty((2, *shapes[0]), np.float32)
    for frame, out in zip((frame0, frame1), finest):
        resize(frame[np.newaxis], out[np.newaxis], kernels, prefilter_sigma=pyramid.prefilter_sigma)
    levels = [finest]
    for shape in shapes[1:]:
        out = np.empty((2, *shape), np.float32)
        resize(levels[-1], out, kernels)
        levels.append(out)
    return levels


def _flow_at(shape: tuple[int, int], flow: NDArray | None, kernels: ModuleType) -> NDArray:
    """Return a flow resized to a shape, its vectors scaled with it; at rest where it is None."""
    if flow is None:
        return np.zeros((2, *shape), np.float32)
    if flow.shape[1:] == tuple(shape):
        return flow
    out = np.empty((2, *shape), np.float32)
    resize(flow, out, kernels, factor=(shape[1] / flow.shape[2], shape[0] / flow.shape[1]))
    return out


def _refine(
    frames: NDArray,
    flow: NDArray,
    solver: Solver,
    pyramid: Pyramid,
    n_warps: int,
    kernels: ModuleType,
    n_threads: int,
) -> None:
    """Warp and solve repeatedly on one level; changes the flow in place."""
    warped = np.empty_like(frames[0])
    out = np.empty_like(flow)
    for step in range(n_warps):
        kernels.warp(frames[1], flow, warped)
        progress = step / max(n_warps - 1, 1)
        solver(kernels, frames[0], warped, flow, out, progress, n_threads)
        if pyramid.median_filter:
            kernels.median(out, flow)
        else:
            flow[:] = out
    if pyramid.weighted_median:
        kernels.warp(frames[1], flow, warped)
        reliability = np.empty_like(warped)
        kernels.reliability(frames[0], warped, flow, reliability)
        kernels.weighted_median(frames[0], reliability, flow, out)
        flow[:] = out


def resize(
    planes: NDArray,
    out: NDArray,
    kernels: ModuleType,
    *,
    factor: tuple[float, ...] | None = None,
    prefilter_sigma: float = 0.0,
) -> None:
    """Resize a stack of planes: linear interpolation, after a Gaussian where they shrink.

    Parameters
    ----------
    planes : float32 array of shape (n, height, width)
    out : float32 array of shape (n, new_height, new_width)
    kernels : module
    factor : tuple of n floats or None
        What the values are multiplied by.
    prefilter_sigma : float
        Standard deviation of a further Gaussian, in pixels of the result.
    """
    kernels.resample(
        planes,
        out,
        *resampling_weights(planes.shape[1], out.shape[1], prefilter_sigma),
        *resampling_weights(planes.shape[2], out.shape[2], prefilter_sigma),
        np.asarray(factor or [1.0] * len(planes), np.float32),
    )


@functools.lru_cache(maxsize=256)  # the levels of a video's frames are all alike
def resampling_weights(size: int, new_size: int, prefilter_sigma: float) -> tuple[NDArray, NDArray]:
    """Return the samples and weights that make each sample of a resized axis.

    A Gaussian against aliasing, of half the standard deviation that would tell two samples of the
    result apart, then linear interpolation between pixel centres.

    Returns
    -------
    start : int64 array of shape (new_size,)
        The first sample that each one draws on; may lie outside.
    weights : float32 array of shape (n_taps, new_size)
        Columns sum to one.
    """
    scale = size / new_size
    sigma = math.sqrt(0.25 * max(scale**2 - 1.0, 0.0) + (prefilter_sigma * scale) ** 2)
    radius = math.ceil(_TRUNCATE * sigma)
    gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-6)) ** 2)
    gaussian /= gaussian.sum()

    centre = np.clip((np.arange(new_size) + 0.5) * scale - 0.5, 0.0, size - 1.0)
    left = np.floor(centre).astype(np.int64)
    part = centre - left
    weights = np.zeros((gaussian.size + 1, new_size))
    weights[:-1] = np.outer(gaussian, 1.0 - part)
    weights[1:] += np.outer(gaussian, part)
    if not part.any():
        weights = weights[:-1]
    return left - radius, np.ascontiguousarray(weights, dtype=np.float32)
