"""Devices: which one a call runs on, how arrays get there, launch shapes and thread counts."""

from __future__ import annotations

import importlib
import importlib.util
import numbers
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from fastmotion.core.config import get_config

__all__ = [
    "CPU",
    "Device",
    "block_size",
    "cuda_unavailable_reason",
    "device_index",
    "is_cuda_array",
    "launch_shape",
    "load_kernels",
    "resolve_device",
    "thread_limit",
    "to_host",
    "worthwhile_threads",
]

# Multiplications that a core does in about a millisecond.
_WORK_PER_THREAD = 1e7

# Threads per block. The first axis runs along the last axis of the data, which lies densest in
# memory. The simulator needs a millisecond per thread, and small blocks make small data span some.
_BLOCKS = {1: (256,), 2: (32, 8)}
_SIMULATOR_BLOCKS = {1: (8,), 2: (8, 4)}


@dataclass(frozen=True)
class Device:
    """A place to compute.

    Attributes
    ----------
    kind : {"cpu", "cuda"}
        What it is.
    index : int
        Which of several CUDA devices; 0 for the CPU.

    Examples
    --------
    >>> from fastmotion.core.device import Device
    >>> str(Device("cpu")), str(Device("cuda", 1))
    ('cpu', 'cuda:1')
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


CPU = Device("cpu")


# What DLPack calls memory of a CUDA device, and such memory that the host shares.
_DLPACK_CUDA = (2, 13)


def is_cuda_array(x: Any) -> bool:
    """Return whether an object is an array on a CUDA device, of whatever library."""
    if isinstance(x, np.ndarray):
        return False
    # The first name marks Numba's own arrays, which in its simulator lack the second.
    if hasattr(x, "__cuda_ndarray__") or hasattr(x, "__cuda_array_interface__"):
        return True
    return hasattr(x, "__dlpack_device__") and int(x.__dlpack_device__()[0]) in _DLPACK_CUDA


def resolve_device(device: str | Device | None, *arrays: Any) -> Device:
    """Return the device that a call runs on.

    Parameters
    ----------
    device : {None, "auto", "cpu", "cuda", "cuda:N"} or Device
        None takes the ``device`` of `fastmotion.get_config`. "auto" follows the arrays: the CUDA
        device on which the first of them lies that lies on one, else the CPU. "cuda" is "cuda:0".
    *arrays : array_like
        What the call works on.

    Returns
    -------
    Device

    Raises
    ------
    TypeError
        ``device`` is neither None, a string nor a `Device`.
    ValueError
        The name is none of the above.
    RuntimeError
        The CUDA device is not there; the message says why and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.core.device import resolve_device
    >>> resolve_device("auto", np.zeros(3))
    Device(kind='cpu', index=0)
    """
    if device is None:
        device = get_config()["device"]
    if not isinstance(device, str | Device):
        raise TypeError(
            f"device must be None, 'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r} of type "
            f"{type(device).__name__}"
        )
    name = str(device)
    if name == "auto":
        name = _device_of(arrays)
    if name == "cpu":
        return CPU
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise ValueError(
            f"device must be None, 'auto', 'cpu', 'cuda' or 'cuda:N' with a number N, got {name!r}"
        )
    index = int(match[1] or 0)
    _require_cuda(name, index)
    return Device("cuda", index)


def _device_of(arrays: tuple[Any, ...]) -> str:
    for array in filter(is_cuda_array, arrays):
        return f"cuda:{device_index(array)}"
    return "cpu"


def device_index(array: Any) -> int:
    """Return on which CUDA device an array lies."""
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[1])
    place = getattr(array, "device", None)
    # CuPy calls it ``device.id``, PyTorch ``device.index``.
    indices = (getattr(place, name, None) for name in ("id", "index"))
    found = next((i for i in indices if isinstance(i, int)), None)
    if found is None and hasattr(getattr(array, "gpu_data", None), "context"):
        found = array.gpu_data.context.device.id  # Numba's
    return 0 if found is None else found


def _require_cuda(name: str, index: int) -> None:
    reason = cuda_unavailable_reason()
    if reason is not None:
        raise RuntimeError(f"device={name!r} is not available: {reason}")
    from numba import cuda

    count = len(cuda.gpus)
    if index >= count:
        raise RuntimeError(
            f"device={name!r} is not available: this machine has {count} CUDA device(s), numbered "
            "from 0; choose one of them, or pass device='cpu'"
        )


def cuda_unavailable_reason() -> str | None:
    """Return why CUDA cannot be used here and what to do about it, or None if it can.

    Asking starts the CUDA driver if there is one, so nothing asks before a device is needed.
    """
    install = "`pip install fastmotion[cu12]` (or [cu13], to match the driver)"
    if importlib.util.find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed; run {install}, or pass device='cpu'"
    try:
        from numba import cuda

        if cuda.is_available():
            return None
        cause = " ".join((cuda.cuda_error() or "").split())
    except (ImportError, OSError, RuntimeError) as error:
        return (
            f"numba-cuda does not work ({error}); reinstall it with {install}, or pass device='cpu'"
        )
    return (
        f"no CUDA device was found ({cause or 'the driver lists none'}); install an NVIDIA driver "
        f"on a machine with an NVIDIA GPU and {install}, or pass device='cpu'; "
        "NUMBA_ENABLE_CUDASIM=1 simulates a device, slowly, for tests"
    )


def to_host(array: Any) -> np.ndarray:
    """Return an array as a NumPy array, copied only if it is on a CUDA device."""
    if not is_cuda_array(array):
        return np.asarray(array)
    if hasattr(array, "__cuda_ndarray__"):
        return array.copy_to_host()
    from fastmotion.core.interop import as_device_array

    return as_device_array(array, Device("cuda", device_index(array))).copy_to_host()


def launch_shape(
    shape: tuple[int, ...], block: tuple[int, ...] | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return grid and block that cover data with one thread per element.

    Parameters
    ----------
    shape : tuple of one or two ints
        Shape of the data, ``(n,)`` or ``(height, width)``. The first thread axis runs along the
        last axis of the data: a kernel takes ``column, row = cuda.grid(2)`` and checks both, since
        the grid overhangs.
    block : tuple of as many ints, or None, default=None
        Threads per block, in the order of thread axes.

    Returns
    -------
    grid, block : tuple of int
        For ``kernel[grid, block](...)``.

    Raises
    ------
    ValueError
        The shape has neither one nor two axes.

    Examples
    --------
    >>> from fastmotion.core.device import launch_shape
    >>> launch_shape((480, 640), block=(32, 8))
    ((20, 60), (32, 8))
    """
    if len(shape) not in _BLOCKS:
        raise ValueError(f"shape must have one or two axes, got {shape}")
    if block is None:
        from fastmotion.core.compile import simulator_enabled

        block = (_SIMULATOR_BLOCKS if simulator_enabled() else _BLOCKS)[len(shape)]
    # An empty axis still gets a block: CUDA refuses a grid of size zero.
    grid = tuple(max(1, -(-size // threads)) for size, threads in zip(reversed(shape), block))
    return grid, block


def block_size(threads: int, simulated: int) -> int:
    """Return how many threads a block has: in the simulator, where each takes a millisecond, few.

    Parameters
    ----------
    threads : int
        On a device.
    simulated : int
        In the simulator: so few that small data span several blocks.

    Examples
    --------
    >>> from fastmotion.core.device import block_size
    >>> block_size(256, simulated=256)
    256
    """
    from fastmotion.core.compile import simulator_enabled

    return simulated if simulator_enabled() else threads


def load_kernels(package: str, kind: str) -> ModuleType:
    """Return the module of a package that holds the kernels of a kind of device.

    Parameters
    ----------
    package : str
    kind : {"cpu", "cuda"}

    Examples
    --------
    >>> from fastmotion.core.device import load_kernels
    >>> load_kernels("fastmotion.em.kernels", "cpu").__name__
    'fastmotion.em.kernels.cpu'
    """
    return importlib.import_module(f"{package}.{kind}")


@contextmanager
def thread_limit(n_jobs: int | None) -> Iterator[int]:
    """Run a block with a limit on the threads of each compiled parallel loop.

    Parameters
    ----------
    n_jobs : int or None
        Number of threads. None takes ``n_jobs`` of `fastmotion.get_config`, and if that is None
        too, the number that Numba is set to (inside a joblib worker, the worker's share). Negative
        numbers count from all, -1 for all, -2 for all but one. More than there are is all.

    Yields
    ------
    int
        The number of threads in force. The former number is restored at the end of the block.

    Raises
    ------
    TypeError
        ``n_jobs`` is not an integer.
    ValueError
        ``n_jobs`` is 0.

    Examples
    --------
    >>> from fastmotion.core.device import thread_limit
    >>> with thread_limit(1) as n_threads:
    ...     n_threads
    1
    """
    import numba

    before = numba.get_num_threads()
    limit = _count_threads(n_jobs, before, numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(limit)
    try:
        yield limit
    finally:
        numba.set_num_threads(before)


def worthwhile_threads(most: int, work: float) -> int:
    """Return how many threads to share work out to, so that each has a millisecond's worth.

    Threads of other libraries spin for a while after their own work: on a machine with few cores
    one that is waited for can take longer to wake than to do a small share.

    Parameters
    ----------
    most : int
    work : float
        Multiplications, or what takes as long.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> from fastmotion.core.device import worthwhile_threads
    >>> worthwhile_threads(8, 1e5), worthwhile_threads(8, 1e9)
    (1, 8)
    """
    return max(1, min(most, int(work / _WORK_PER_THREAD)))


def _count_threads(n_jobs: int | None, present: int, most: int) -> int:
    if n_jobs is None:
        n_jobs = get_config()["n_jobs"]
    if n_jobs is None:
        return present
    if not isinstance(n_jobs, numbers.Integral) or isinstance(n_jobs, bool):
        raise TypeError(
            f"n_jobs must be an integer or None, got {n_jobs!r} of type {type(n_jobs).__name__}"
        )
    if n_jobs == 0:
        raise ValueError(
            "n_jobs must not be 0; pass 1 for one thread, -1 for all, None for default"
        )
    count = int(n_jobs)
    return min(count, most) if count > 0 else max(1, most + 1 + count)
