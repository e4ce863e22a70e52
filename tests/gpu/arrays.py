"""Arrays where the tests want them."""

import numpy as np
from numba import cuda


def to_device(array, device):
    """Return an array of the host on a device: a Numba array, or a NumPy array on the CPU."""
    if device.kind == "cpu":
        return np.asarray(array)
    with cuda.gpus[device.index]:
        return cuda.to_device(np.ascontiguousarray(array))
