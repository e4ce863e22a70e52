"""A fitted motion kernel as plain arrays, to be kept in a file without code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmotion.trajectory._motion_kernel import MotionKernel
from fastmotion.trajectory.design import make_design
from fastmotion.trajectory.lags import channel_groups, coef_shape

__all__ = ["kernel_from_arrays", "kernel_to_arrays"]

_NAMES = ("parameters", "coef", "offsets", "intercept", "edge_weights", "pose_shape", "has_target")


def kernel_to_arrays(kernel: MotionKernel) -> dict[str, NDArray]:
    """Return all that it takes to apply a fitted kernel.

    Parameters
    ----------
    kernel : MotionKernel
        Fitted.

    Returns
    -------
    dict of str to ndarray
        ``parameters`` is text, JSON; ``coef``, ``offsets`` and ``intercept`` are the attributes of
        these names; ``edge_weights`` of shape (2, n_rows, 1 or n_channels, n_taps) are the weights
        near the first and the last frame, empty unless ``edges="refit"``; ``pose_shape`` is
        (n_joints, n_coords), and ``has_target`` tells whether the fit had a ``y``. What the fit has
        seen is left out.

    Examples
    --------
    >>> from fastmotion.datasets import make_motion
    >>> from fastmotion.trajectory import MotionKernel
    >>> from fastmotion.trajectory.kernel_file import kernel_from_arrays, kernel_to_arrays
    >>> X = make_motion("walk", random_state=0).positions
    >>> kernel = MotionKernel(n_taps=3).fit(X)
    >>> same = kernel_from_arrays(kernel_to_arrays(kernel))
    >>> bool((same.transform(X) == kernel.transform(X)).all())
    True
    """
    edge_weights = kernel._taps().edge_weights
    parameters = kernel.get_params(deep=False)
    if not isinstance(parameters["random_state"], Integral):
        parameters["random_state"] = None
    return {
        "parameters": np.array(json.dumps(parameters, default=_plain)),
        "coef": kernel.coef_,
        "offsets": kernel.offsets_,
        "intercept": kernel.intercept_,
        "edge_weights": np.empty((2, 0, 1, 0)) if edge_weights is None else edge_weights,
        "pose_shape": np.array(kernel._groups.shape),
        "has_target": np.array(kernel._has_target),
    }


def kernel_from_arrays(arrays: Mapping[str, NDArray]) -> MotionKernel:
    """Return the kernel that `kernel_to_arrays` was given.

    Parameters
    ----------
    arrays : mapping of str to ndarray

    Returns
    -------
    MotionKernel
        It transforms, predicts and scores; `partial_fit` starts anew, and `merge` needs what the
        fit has seen.

    Raises
    ------
    ValueError
        An array is missing, or their shapes do not fit each other.
    """
    missing = [name for name in _NAMES if name not in arrays]
    if missing:
        raise ValueError(f"these arrays are no motion kernel: {missing} are missing")
    kernel = MotionKernel(**_parameters(json.loads(str(arrays["parameters"]))))
    kernel.check_parameters()
    n_joints, n_coords = map(int, arrays["pose_shape"])
    kernel._groups = channel_groups(kernel.sharing, n_joints, n_coords)
    kernel._has_target = bool(arrays["has_target"])
    shape = coef_shape(kernel.sharing, n_joints, n_coords)
    kernel._design = make_design(kernel, shape, kernel._has_target)
    kernel.offsets_ = np.asarray(arrays["offsets"], np.int64)
    kernel.coef_ = np.asarray(arrays["coef"], np.float64)
    kernel.intercept_ = np.asarray(arrays["intercept"], np.float64)
    n_taps = len(kernel._design.offsets)
    edge_weights = np.asarray(arrays["edge_weights"], np.float64)
    if (
        not np.array_equal(kernel.offsets_, kernel._design.offsets)
        or kernel.coef_.shape != (*shape, n_taps)
        or kernel.intercept_.shape != shape
        or (kernel.edges == "refit" and edge_weights.shape[::3] != (2, n_taps))
    ):
        raise ValueError(
            "the arrays of the motion kernel contradict its parameters: offsets "
            f"{kernel.offsets_.shape}, coef {kernel.coef_.shape}, intercept "
            f"{kernel.intercept_.shape}, edge_weights {edge_weights.shape}; expected {n_taps} taps "
            f"and kernels of shape {shape}"
        )
    kernel._edge_weights = edge_weights if kernel.edges == "refit" else None
    return kernel


def _plain(value: Any) -> Any:
    """Return what JSON can hold in place of a NumPy object."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else list(value)


def _parameters(read: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON makes of tuples and of keys that are numbers."""
    unknown = sorted(set(read) - set(MotionKernel().get_params()))
    if unknown:
        raise ValueError(f"the motion kernel has parameters that are not known here: {unknown}")
    for name in ("weight_sum", "axes"):
        if isinstance(read.get(name), list):
            read[name] = tuple(read[name])
    if isinstance(read.get("moments"), dict):
        read["moments"] = {int(order): value for order, value in read["moments"].items()}
    return read
