"""What estimators are given on a CUDA device: checked there, by the rules of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import validate_data

from fastmotion.core.device import Device, is_cuda_array, to_host
from fastmotion.core.interop import as_device_array, summarise
from fastmotion.core.memory import memory_of

__all__ = ["check_device_features", "host_weights"]


def check_device_features(
    estimator: BaseEstimator, X: Any, device: Device, *, allow_nan: bool, **settings: Any
) -> Any:
    """Return samples that lie on a CUDA device as scikit-learn's ``validate_data`` does others.

    Shape, dtype and number of features are checked by that function itself, on an array of the same
    kind that holds nothing; values are checked on the device.

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
    with memory_of(device).current():
        array = as_device_array(X, device)
        dtype = array.dtype
        # Complex numbers are refused, others become float64 where they are not float32.
        stand_in = dtype if dtype.kind == "c" or dtype == np.float32 else np.dtype(np.float64)
        empty = np.broadcast_to(np.zeros((), stand_in), tuple(array.shape))
        validate_data(
            estimator, empty, dtype=[np.float64, np.float32], ensure_all_finite=False, **settings
        )
        array = as_device_array(array, device, stand_in)
        found = summarise(array)
    for count, value, is_fault in (
        (found.n_nan, np.nan, not allow_nan),
        (found.n_infinite, np.inf, True),
    ):
        if count and is_fault:
            name = type(estimator).__name__
            assert_all_finite(np.array([value], stand_in), estimator_name=name, input_name="X")
    return array


def host_weights(weights: Any) -> Any:
    """Return weights on the host: what lies on a CUDA device comes down, all else stays as it is.

    There is one number for a whole sample, and weights are looked at by the draws of the start.
    """
    return to_host(weights) if is_cuda_array(weights) else weights
