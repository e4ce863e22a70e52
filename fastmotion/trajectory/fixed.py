"""Temporal kernels whose weights are known beforehand: differences, Savitzky-Golay, averages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray

__all__ = ["FIXED_KERNELS", "FixedKernel", "fixed_kernel", "frequency_response"]


@dataclass(frozen=True)
class FixedKernel:
    """What a name of `fixed_kernel` stands for.

    Attributes
    ----------
    derivative : int
        Order of the derivative that it estimates; 0 is the position.
    method : {"stencil", "savgol", "average"}
        Where the weights come from: from here, from a local polynomial, or all alike.
    causal, centred : tuple of float
        Weights of a stencil, of which the last or the middle one lies at offset 0.
    """

    derivative: int
    method: str
    causal: tuple[float, ...] = ()
    centred: tuple[float, ...] = ()


FIXED_KERNELS = {
    "hold": FixedKernel(0, "stencil", (1.0,), (1.0,)),
    "velocity": FixedKernel(1, "stencil", (-1.0, 1.0), (-0.5, 0.0, 0.5)),
    "acceleration": FixedKernel(2, "stencil", (1.0, -2.0, 1.0), (1.0, -2.0, 1.0)),
    "jerk": FixedKernel(3, "stencil", (-1.0, 3.0, -3.0, 1.0), (-0.5, 1.0, 0.0, -1.0, 0.5)),
    "moving_average": FixedKernel(0, "average"),
    "savgol": FixedKernel(0, "savgol"),
    "savgol_velocity": FixedKernel(1, "savgol"),
    "savgol_acceleration": FixedKernel(2, "savgol"),
    "savgol_jerk": FixedKernel(3, "savgol"),
}

# A parabola is what Savitzky-Golay filters fit where nothing is said.
_DEFAULT_ORDER = 2


def fixed_kernel(
    name: str,
    *,
    n_taps: int | None = None,
    causal: bool = True,
    polynomial_order: int | None = None,
    fps: float | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the offsets and weights of a temporal kernel that is known by name.

    ``weights[i]`` multiplies the frame at ``offsets[i]``, counted from the frame of the result.

    Parameters
    ----------
    name : str
        - "hold": the frame itself;
        - "velocity", "acceleration", "jerk": the shortest difference of the first, second and
          third order, which centred windows make symmetric;
        - "moving_average": the mean of `n_taps` frames;
        - "savgol", "savgol_velocity", "savgol_acceleration", "savgol_jerk": value or derivative
          of the polynomial that fits `n_taps` frames best [1]_, at the newest frame of a causal
          window and in the middle of a centred one.
    n_taps : int or None, default=None
        Number of frames in the window; odd if it is centred. Differences have their own, the
        others need it.
    causal : bool, default=True
        Whether the window ends at offset 0, or is centred on it.
    polynomial_order : int or None, default=None
        Degree of the Savitzky-Golay polynomial, less than `n_taps`. None takes 2, and 3 for the
        jerk.
    fps : float or None, default=None
        Frames per second; derivatives are then per second instead of per frame.

    Returns
    -------
    offsets : ndarray of shape (n_taps,), int64
        Increasing.
    weights : ndarray of shape (n_taps,), float64
        What multiplies each of these frames.

    Raises
    ------
    TypeError
        `n_taps` or `polynomial_order` is no integer.
    ValueError
        `name` is unknown, or another parameter is out of range or has no effect on the kernel.

    References
    ----------
    .. [1] A. Savitzky and M. J. E. Golay, "Smoothing and differentiation of data by simplified
       least squares procedures", Analytical Chemistry 36 (8), 1964.
       https://doi.org/10.1021/ac60214a047

    Examples
    --------
    >>> from fastmotion.trajectory import fixed_kernel
    >>> fixed_kernel("velocity")
    (array([-1,  0]), array([-1.,  1.]))
    >>> offsets, weights = fixed_kernel("savgol_velocity", n_taps=5, causal=False, fps=30.0)
    >>> offsets, weights.round(6)
    (array([-2, -1,  0,  1,  2]), array([-6., -3.,  0.,  3.,  6.]))
    """
    if name not in FIXED_KERNELS:
        raise ValueError(f"name must be one of {list(FIXED_KERNELS)}, got {name!r}")
    kernel = FIXED_KERNELS[name]
    scale = 1.0 if fps is None else _check_fps(fps) ** kernel.derivative
    if polynomial_order is not None and kernel.method != "savgol":
        raise ValueError(
            f"polynomial_order must be None for {name!r}, which fits no polynomial, got "
            f"{polynomial_order!r}"
        )
    if kernel.method == "stencil":
        weights = np.array(kernel.causal if causal else kernel.centred)
        if n_taps not in (None, len(weights)):
            raise ValueError(
                f"n_taps must be None or {len(weights)} for {name!r}, got {n_taps!r}; "
                "'savgol' kernels come in any length"
            )
        return _offsets(len(weights), causal), scale * weights
    offsets = _offsets(_check_taps(n_taps, name, causal), causal)
    if kernel.method == "average":
        return offsets, np.full(len(offsets), 1.0 / len(offsets))
    order = _check_order(polynomial_order, kernel.derivative, len(offsets))
    return offsets, scale * _local_polynomial(offsets, kernel.derivative, order)


def frequency_response(
    offsets: ArrayLike, weights: ArrayLike, frequencies: ArrayLike, fps: float = 1.0
) -> NDArray[np.complex128]:
    """Return what kernels make of sinusoids.

    Parameters
    ----------
    offsets : array_like of shape (n_taps,)
        Frame that each weight multiplies, counted from the frame of the result.
    weights : array_like of shape (..., n_taps)
        One kernel or several.
    frequencies : array_like of shape (n_frequencies,)
        In cycles per frame, or in hertz where `fps` is given.
    fps : float, default=1.0
        Frames per second.

    Returns
    -------
    ndarray of shape (..., n_frequencies), complex128
        The factor of ``exp(2j * pi * frequency * time)``: its absolute value is the gain, its
        angle the phase in radians, positive where the result leads.

    Raises
    ------
    ValueError
        The shapes do not fit each other, or `fps` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.trajectory import fixed_kernel, frequency_response
    >>> response = frequency_response(*fixed_kernel("moving_average", n_taps=2), [0.0, 0.25, 0.5])
    >>> abs(response).round(3)
    array([1.   , 0.707, 0.   ])
    """
    lags, taps = np.asarray(offsets, np.float64), np.asarray(weights, np.float64)
    cycles = np.asarray(frequencies, np.float64) / _check_fps(fps)
    if lags.ndim != 1 or taps.shape[-1:] != lags.shape or cycles.ndim != 1:
        raise ValueError(
            "offsets, weights and frequencies must have shapes (n_taps,), (..., n_taps) and "
            f"(n_frequencies,), got {lags.shape}, {taps.shape} and {cycles.shape}"
        )
    return np.matmul(taps, np.exp(2j * np.pi * np.multiply.outer(lags, cycles)))


def _offsets(n_taps: int, causal: bool) -> NDArray[np.int64]:
    last = 0 if causal else n_taps // 2
    return np.arange(last - n_taps + 1, last + 1, dtype=np.int64)


def _local_polynomial(
    offsets: NDArray[np.int64], derivative: int, order: int
) -> NDArray[np.float64]:
    """Return weights that give a derivative at offset 0 of the best polynomial."""
    # On [-1, 1] Legendre polynomials are nearly orthogonal, whatever the window.
    middle, half = (offsets[0] + offsets[-1]) / 2, max((offsets[-1] - offsets[0]) / 2, 1.0)
    q, r = np.linalg.qr(legendre.legvander((offsets - middle) / half, order))
    series = legendre.legder(np.eye(order + 1), derivative, scl=1 / half)
    at_zero = legendre.legval(-middle / half, series)
    # The fit is inv(r) @ q.T @ x, and its derivative at 0 is at_zero @ fit.
    return q @ np.linalg.solve(r.T, at_zero)


def _check_fps(fps: float) -> float:
    if not isinstance(fps, Real) or not 0 < fps < math.inf:
        raise ValueError(f"fps must be a positive number of frames per second, got {fps!r}")
    return float(fps)


def _check_taps(n_taps: int | None, name: str, causal: bool) -> int:
    if n_taps is None:
        raise ValueError(f"{name!r} needs n_taps, the number of frames in its window")
    if not isinstance(n_taps, Integral):
        raise TypeError(f"n_taps must be an integer, got {n_taps!r}")
    if n_taps < 1 or (not causal and n_taps % 2 == 0):
        wanted = "at least 1" if causal else "odd and at least 1, to have a middle for causal=False"
        raise ValueError(f"n_taps must be {wanted}, got {n_taps}")
    return int(n_taps)


def _check_order(polynomial_order: int | None, derivative: int, n_taps: int) -> int:
    order = max(_DEFAULT_ORDER, derivative) if polynomial_order is None else polynomial_order
    if not isinstance(order, Integral):
        raise TypeError(f"polynomial_order must be an integer, got {order!r}")
    if not derivative <= order < n_taps:
        raise ValueError(
            f"polynomial_order must be at least {derivative}, the order of the derivative, and "
            f"less than n_taps={n_taps}, got {order}"
        )
    return int(order)
