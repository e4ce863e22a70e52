"""What estimators are given on a CUDA device: checked there, by the rules of scikit-learn."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import validate_data

from fastmotion.core.device import Device, is_cuda_array, to_host
from fastmotion.core.interop import as_device_array, summarise
from fastmotion.core.memory import memory_of

__all__ = ["check_device_array", "check_device_features", "host_weights"]


def check_device_features(
    estimator: BaseEstimator, X: Any, device: Device, *, allow_nan: bool, **settings: Any
) -> Any:
    """Return samples that lie on a CUDA device as scikit-learn's ``validate_data`` does others.

    Parameters
    ----------
    estimator : BaseEstimator
        ``n_features_in_`` is set, or compared.
    X : CUDA array of shape (n_samples, n_features)
    device : Device
        Where the estimator runs.
    allow_nan : bool
        Whether NaN is no error.
    **settings
        ``reset`` and ``ensure_min_samples``, as of ``validate_data``.

    Returns
    -------
    Numba device array of shape (n_samples, n_features), float32 or float64
        C-contiguous, good until the scope of the device's memory ends; ``X`` itself, if it is such.

    Raises
    ------
    TypeError, ValueError
        As by ``validate_data``.
    """
    return check_device_array(
        X,
        device,
        functools.partial(validate_data, estimator, **settings),
        allow_nan=allow_nan,
        estimator=estimator,
    )


def check_device_array(
    X: Any,
    device: Device,
    check: Callable[..., Any],
    *,
    allow_nan: bool,
    estimator: BaseEstimator | None = None,
) -> Any:
    """Return an array on a CUDA device as a function of scikit-learn's returns others.

    Shape and dtype are checked by the function itself, on an array of the same kind that holds
    nothing; values are checked on the device.

    Parameters
    ----------
    X : CUDA array
    device : Device
    check : callable
        ``sklearn.utils.check_array``, or what takes the same keywords.
    allow_nan : bool
        Whether NaN is no error.
    estimator : BaseEstimator or None, default=None
        Who is named in errors.

    Returns
    -------
    Numba device array, float32 or float64
        As of `check_device_features`.

    Raises
    ------
    TypeError, ValueError
        As by ``check``.
    """
    with memory_of(device).current():
        array = as_device_array(X, device)
        is_float = array.dtype == np.float32 or array.dtype.kind == "c"
        dtype = array.dtype if is_float else np.dtype(np.float64)
        empty = np.broadcast_to(np.zeros((), dtype), tuple(array.shape))
        check(empty, dtype=[np.float64, np.float32], ensure_all_finite=False)
        array = as_device_array(array, device, dtype)
        found = summarise(array)
    name = None if estimator is None else type(estimator).__name__
    if found.n_nan and not allow_nan:
        assert_all_finite(np.array([np.nan]), estimator_name=name, input_name="X")
    if found.n_infinite:
        assert_all_finite(np.array([np.inf], dtype), estimator_name=name, input_name="X")
    return array


def host_weights(weights: Any) -> Any:
    """Return weights on the host: what lies on a CUDA device comes down, all else stays as it is.

    There is one number for a whole sample, and weights are looked at by the draws of the start.
    """
    return to_host(weights) if is_cuda_array(weights) else weights
