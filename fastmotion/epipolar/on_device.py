"""What becomes of matches and points that lie on a CUDA device: arrays of their library, there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.device import Device, resolve_device
from fastmotion.core.interop import like
from fastmotion.core.memory import memory_of
from fastmotion.epipolar.checks import check_device_matches, check_device_points
from fastmotion.epipolar.launching import Kernels, kernels_of

__all__ = ["measure", "transform"]


def measure(
    model: NDArray[np.float64],
    matches: Any,
    choose: Callable[[Kernels], Callable[[NDArray[np.float64], Any, Any], None]],
) -> Any:
    """Return distances of matches that lie on a CUDA device.

    Parameters
    ----------
    model : ndarray of shape (3, 3)
    matches : CUDA array of shape (n, 4)
    choose : callable
        Returns the kernel that, told nine numbers, matches and distances, sets the latter.
    """
    device = resolve_device("auto", matches)
    with kernels_of(device) as kernels:
        there = check_device_matches(matches, None, device, name="matches")
        distances = memory_of(device).new(len(there), np.float64)
        choose(kernels)(np.ascontiguousarray(model).ravel(), there, distances)
        return like(distances, matches)


def transform(H: NDArray[np.float64], points: Any, device: Device) -> Any:
    """Return where a homography takes points, by a CUDA device and to where they lie.

    Parameters
    ----------
    H : ndarray of shape (3, 3)
    points : CUDA array or ndarray of shape (n, 2)
        Those on the host have been checked.
    device : Device
    """
    with kernels_of(device) as kernels:
        there = check_device_points(points, device)
        mapped = memory_of(device).new(there.shape, np.float64)
        kernels.planar.map_points(np.ascontiguousarray(H).ravel(), there, mapped)
        return like(mapped, points)
