"""Dense optical flow as it is written with an array library, for many pairs of frames at once.

Both are coarse to fine with the numbers of levels, warps and sweeps, the window and the median of
ours, and with less in two steps: bilinear in place of cubic warping, and no robust weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.gpu_libraries import Array, Library

# Frames are not made smaller than this.
LEAST_SIZE = 16
# A Gaussian is cut off at so many standard deviations.
_TRUNCATE = 3.0
# Of the first derivative over five pixels.
_DERIVATIVE = np.array([1, -8, 0, 8, -1]) / 12


@dataclass(frozen=True)
class Pyramid:
    """How often frames are made smaller, and how often they are warped."""

    factor: float
    n_warps: int
    n_finest_warps: int
    prefilter_sigma: float
    max_update: float

    def shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Shapes of the levels, finest first."""
        shapes = [(height, width)]
        while True:
            scale = self.factor ** len(shapes)
            shape = (round(height * scale), round(width * scale))
            if min(shape) < LEAST_SIZE:
                return shapes
            shapes.append(shape)

    def warps(self, level: int) -> int:
        return self.n_finest_warps if level == 0 else self.n_warps

    def pixel_warps(self, height: int, width: int) -> int:
        """Pixels of all levels, each as often as it is warped."""
        shapes = self.shapes(height, width)
        return sum(h * w * self.warps(level) for level, (h, w) in enumerate(shapes))


# Makes a better flow (u, v) out of the first frames, the warped second ones, and the flow.
Step = Callable[[Array, Array, Array, Array], tuple[Array, Array]]


def coarse_to_fine(library: Library, clip: Array, pyramid: Pyramid, step: Step) -> Array:
    """Return the flow between successive frames of a uint8 clip, (n_pairs, 2, height, width)."""
    frames = library.single(clip) / 255
    frames = _smooth(library, frames, pyramid.prefilter_sigma)
    shapes = pyramid.shapes(*clip.shape[1:])
    levels = [frames]
    for shape in shapes[1:]:
        levels.append(_shrink(library, levels[-1], shape))
    u = v = None
    for level in reversed(range(len(levels))):
        frame0, frame1 = levels[level][:-1], levels[level][1:]
        u, v = _enlarge(library, u, v, frame0)
        for _ in range(pyramid.warps(level)):
            new_u, new_v = step(frame0, library.warp(frame1, u, v), u, v)
            most = pyramid.max_update
            u = library.median(u + library.xp.clip(new_u - u, -most, most))
            v = library.median(v + library.xp.clip(new_v - v, -most, most))
    return library.xp.stack([u, v], 1)


def _gaussian(sigma: float) -> np.ndarray:
    reach = int(np.ceil(_TRUNCATE * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return weights / weights.sum()


def _smooth(library: Library, planes: Array, sigma: float) -> Array:
    weights = _gaussian(sigma)
    return library.correlate(library.correlate(planes, weights, -1), weights, -2)


def _shrink(library: Library, planes: Array, shape: tuple[int, int]) -> Array:
    scale = planes.shape[1] / shape[0]
    smooth = _smooth(library, planes, 0.5 * np.sqrt(max(scale**2 - 1, 0.1)))
    return library.interpolate(smooth, shape)


def _enlarge(
    library: Library, u: Array | None, v: Array | None, planes: Array
) -> tuple[Array, Array]:
    """The flow in the pixels of a finer level; at rest where there is none yet."""
    if u is None:
        rest = library.xp.zeros_like(planes)
        return rest, rest
    shape = tuple(planes.shape[1:])
    return (
        library.interpolate(u, shape) * (shape[1] / u.shape[2]),
        library.interpolate(v, shape) * (shape[0] / v.shape[1]),
    )


def _derivatives(library: Library, frame0: Array, warped: Array) -> tuple[Array, Array, Array]:
    mean = (frame0 + warped) / 2
    along = library.correlate(mean, _DERIVATIVE, -1)
    across = library.correlate(mean, _DERIVATIVE, -2)
    return along, across, warped - frame0


def lucas_kanade_step(library: Library, window: np.ndarray, regularization: float) -> Step:
    """Least squares in the window around each pixel."""

    def total(planes: Array) -> Array:
        return library.correlate(library.correlate(planes, window, -1), window, -2)

    def step(frame0: Array, warped: Array, u: Array, v: Array) -> tuple[Array, Array]:
        dx, dy, dt = _derivatives(library, frame0, warped)
        a11, a12, a22 = total(dx * dx) + regularization, total(dx * dy), total(dy * dy)
        a22 = a22 + regularization
        b1, b2 = total(dx * dt), total(dy * dt)
        determinant = a11 * a22 - a12 * a12
        return u - (a22 * b1 - a12 * b2) / determinant, v - (a11 * b2 - a12 * b1) / determinant

    return step


def relaxation_factors(omega: float, count: int) -> list[float]:
    """Of half-sweeps: from 1 to nearly omega (Chebyshev acceleration)."""
    radius2 = 1 - (2 / omega - 1) ** 2
    factors = [1.0, 1 / (1 - radius2 / 2)]
    while len(factors) < count:
        factors.append(1 / (1 - radius2 * factors[-1] / 4))
    return factors[:count]


def horn_schunck_step(library: Library, alpha: float, n_sweeps: int, omega: float) -> Step:
    """Red-black sweeps of successive over-relaxation on the functional of 1981."""
    xp = library.xp
    factors = relaxation_factors(omega, 2 * n_sweeps)

    def step(frame0: Array, warped: Array, u: Array, v: Array) -> tuple[Array, Array]:
        dx, dy, dt = _derivatives(library, frame0, warped)
        # The data term's linear form around the flow that the frame was warped with.
        rest = dt - dx * u - dy * v
        a11, a12, a22 = dx * dx + 4 * alpha**2, dx * dy, dy * dy + 4 * alpha**2
        determinant = a11 * a22 - a12 * a12
        height, width = frame0.shape[1:]
        is_red = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
        colours = [library.put(is_red), library.put(~is_red)]
        for half, factor in enumerate(factors):
            b1 = alpha**2 * library.neighbours(u) - dx * rest
            b2 = alpha**2 * library.neighbours(v) - dy * rest
            best_u = (a22 * b1 - a12 * b2) / determinant
            best_v = (a11 * b2 - a12 * b1) / determinant
            u = xp.where(colours[half % 2], u + factor * (best_u - u), u)
            v = xp.where(colours[half % 2], v + factor * (best_v - v), v)
        return u, v

    return step
