"""The coarse-to-fine driver: pyramids and warping, for any method that refines a flow.

A *solver* writes a better flow than the one with which the second frame was warped. The driver
knows nothing else of it.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import Device, thread_limit
from fastmotion.core.memory import Memory, memory_of
from fastmotion.flow.kernels import kernels_for

_logger = logging.getLogger(__name__)

# A Gaussian is cut off where its weight has fallen to 1 %.
_TRUNCATE = 3.0

# On small levels a second thread costs more, above all on a busy machine, than it computes.
_PIXELS_PER_THREAD = 8192

# The longer side of an elongated frame shrinks on while it is this many times the least size.
_ELONGATION = 4


@dataclass(frozen=True)
class Engine:
    """By what to compute, and where.

    Attributes
    ----------
    memory : Memory
    kernels : module
    n_threads : int
        Threads that a kernel of the CPU has.
    """

    memory: Memory
    kernels: ModuleType
    n_threads: int

    @classmethod
    @contextmanager
    def running(cls, device: Device, n_jobs: int | None = None) -> Iterator[Engine]:
        """Yield the engine of a device; what it takes of its memory is good in the block."""
        memory, kernels = memory_of(device), kernels_for(device.kind)
        if device.kind == "cpu":
            with thread_limit(n_jobs) as n_threads:
                yield cls(memory, kernels, n_threads)
        else:
            with memory.scope("pass fewer or smaller frames at a time, or raise finest_scale"):
                yield cls(memory, kernels, 1)

    @property
    def on_host(self) -> bool:
        """Whether it computes on the CPU."""
        return self.memory.device.kind == "cpu"

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of the arrays of one pair."""
        return () if self.on_host else (1,)

    @contextmanager
    def level(self, n: int, height: int, width: int) -> Iterator[int]:
        """Make ready for n pairs of one level, and yield how many bands of rows to make of each.

        On the CPU threads share them out. On a CUDA device they follow each other, so that scratch
        never takes more than there is.
        """
        if self.on_host:
            limit = max(1, min(self.n_threads, height * width // _PIXELS_PER_THREAD))
            with thread_limit(limit) as n_threads:
                yield n_threads
        else:
            scratch = n * height * width * self.kernels.SCRATCH_PER_PIXEL
            with self.memory.scope():
                yield max(1, math.ceil(scratch / max(self.memory.budget(), 1)))


class Solver(Protocol):
    """What `coarse_to_fine` calls at every warp."""

    def __call__(
        self,
        engine: Engine,
        frame0: Any,
        warped: Any,
        flow: Any,
        out: Any,
        progress: float,
        n_bands: int,
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

    def bytes_per_pair(self, height: int, width: int, scratch_per_pixel: int) -> int:
        """Return about how much memory of a CUDA device a pair of frames takes."""
        areas = [math.prod(shape) for shape in self.shapes(height, width)]
        plane = np.dtype(np.float32).itemsize
        # Frames and flow at every level; on the finest the warped frame, the next flow and what a
        # solver or a change of size needs; and at full size luminance, frames, flow and field.
        at_levels = 5 * plane * sum(areas)
        at_finest = (4 * plane + scratch_per_pixel) * areas[0]
        return at_levels + at_finest + 10 * plane * height * width

    def warps(self, n_levels: int) -> list[int]:
        """Return the number of warps of each of so many levels, finest first."""
        warps = [self.n_warps] * n_levels
        if n_levels > 1 and self.n_finest_warps is not None:
            warps[0] = self.n_finest_warps
        return warps


def coarse_to_fine(
    frame0: Any,
    frame1: Any,
    solver: Solver,
    pyramid: Pyramid,
    engine: Engine,
    initial_flow: Any = None,
) -> Any:
    """Estimate flows level by level, from the coarsest to the finest.

    On a CUDA device all arrays have one axis more, the first: pairs of frames that are worked on
    together.

    Parameters
    ----------
    frame0, frame1 : float32 array of shape (height, width)
        Intensities in [0, 1].
    solver : Solver
    pyramid : Pyramid
    engine : Engine
    initial_flow : float32 array of shape (2, height, width) or None
        Where to start; None starts from rest.

    Returns
    -------
    float32 array of shape (2, height, width)
        May be the initial flow, changed.
    """
    *lead, height, width = frame0.shape
    shapes = pyramid.shapes(height, width)
    levels = _frame_pyramid(frame0, frame1, shapes, pyramid.prefilter_sigma, engine)
    warps = pyramid.warps(len(shapes))
    flow = initial_flow
    while levels:
        frames = levels.pop()
        shape = tuple(frames.shape)[-2:]
        flow = _flow_at((*lead, 2, *shape), flow, engine)
        with engine.level(math.prod(lead), *shape) as n_bands:
            _refine(frames, flow, solver, pyramid, warps[len(levels)], engine, n_bands)
        _logger.debug("level of %d x %d pixels done", *shape)
    return _flow_at((*lead, 2, height, width), flow, engine)


def _frame_pyramid(
    frame0: Any,
    frame1: Any,
    shapes: list[tuple[int, int]],
    prefilter_sigma: float,
    engine: Engine,
) -> list[Any]:
    """Return both frames at every level, finest first, each of shape (2, ..., height, width)."""
    lead = 2, *frame0.shape[:-2]
    finest = engine.memory.empty((*lead, *shapes[0]))
    for k, frame in enumerate((frame0, frame1)):
        resize(frame, finest[k], engine, prefilter_sigma=prefilter_sigma)
    levels = [finest]
    for shape in shapes[1:]:
        out = engine.memory.empty((*lead, *shape))
        resize(levels[-1], out, engine)
        levels.append(out)
    return levels


def _flow_at(shape: tuple[int, ...], flow: Any, engine: Engine) -> Any:
    """Return a flow resized to a shape, its vectors scaled with it; at rest where it is None."""
    if flow is None:
        return engine.memory.zeros(shape)
    before = tuple(flow.shape)
    if before == shape:
        return flow
    out = engine.memory.empty(shape)
    resize(flow, out, engine, factor=(shape[-1] / before[-1], shape[-2] / before[-2]))
    return out


def _refine(
    frames: Any,
    flow: Any,
    solver: Solver,
    pyramid: Pyramid,
    n_warps: int,
    engine: Engine,
    n_bands: int,
) -> None:
    """Warp and solve repeatedly on one level; changes the flow in place."""
    memory, kernels = engine.memory, engine.kernels
    frame0, frame1 = frames[0], frames[1]
    warped = memory.empty(frame0.shape)
    out = memory.empty(flow.shape)
    for step in range(n_warps):
        kernels.warp(frame1, flow, warped)
        progress = step / max(n_warps - 1, 1)
        solver(engine, frame0, warped, flow, out, progress, n_bands)
        if pyramid.median_filter:
            kernels.median(out, flow)
        else:
            memory.copy(out, flow)
    if pyramid.weighted_median:
        kernels.warp(frame1, flow, warped)
        reliability = memory.empty(warped.shape)
        kernels.reliability(frame0, warped, flow, reliability)
        kernels.weighted_median(frame0, reliability, flow, out)
        memory.copy(out, flow)


def resize(
    planes: Any,
    out: Any,
    engine: Engine,
    *,
    factor: tuple[float, ...] = (1.0,),
    prefilter_sigma: float = 0.0,
) -> None:
    """Resize planes: linear interpolation, after a Gaussian where they shrink.

    Parameters
    ----------
    planes : float32 array of shape (..., height, width)
    out : float32 array of shape (..., new_height, new_width)
    engine : Engine
    factor : tuple of floats
        What the planes' values are multiplied by, in turns.
    prefilter_sigma : float
        Standard deviation of a further Gaussian, in pixels of the result.
    """
    *lead, height, width = planes.shape
    *_, new_height, new_width = out.shape
    n = math.prod(lead)
    weights = (
        *resampling_weights(height, new_height, prefilter_sigma),
        *resampling_weights(width, new_width, prefilter_sigma),
        _factors(n, factor),
    )
    engine.kernels.resample(
        planes.reshape(n, height, width),
        out.reshape(n, new_height, new_width),
        *map(engine.memory.constant, weights),
    )


# Tables are kept for their likes: the levels of a video's frames are all alike. What is kept is
# also kept on a CUDA device.
@functools.lru_cache(maxsize=256)
def _factors(n: int, factor: tuple[float, ...]) -> NDArray:
    return np.resize(np.asarray(factor, np.float32), n)


@functools.lru_cache(maxsize=256)
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
