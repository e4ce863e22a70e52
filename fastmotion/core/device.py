"""Devices: which one a call runs on, how arrays get there, launch shapes and thread counts."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastmotion.core.config import get_config


@dataclass(frozen=True)
class Device:
    """A place to compute: ``Device("cpu")`` or ``Device("cuda", 0)``."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


CPU = Device("cpu")


def is_cuda_array(x: Any) -> bool:
    """Return whether an object lies on a CUDA device (has ``__cuda_array_interface__``)."""
    return hasattr(x, "__cuda_array_interface__")


def cuda_unavailable_reason() -> str | None:
    """Return why no CUDA device can be used, or None if one can."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "the package numba-cuda is not installed"
    try:
        from numba import cuda
    except Exception as error:
        return f"numba-cuda could not be imported ({error})"
    if cuda.is_available():
        return None
    return f"the CUDA driver reports no usable device ({cuda.cuda_error() or 'no device'})"


def resolve_device(device: str | Device | None, *arrays: Any) -> Device:
    """Return the device that a call runs on.

    Parameters
    ----------
    device : {None, "auto", "cpu", "cuda", "cuda:N"} or Device
        None takes the ``device`` of `fastmotion.get_config`; "auto" follows the arrays.
    *arrays : array_like
        What the call works on.

    Returns
    -------
    Device

    Raises
    ------
    ValueError
        The name is none of the above.
    RuntimeError
        A CUDA device is asked for that is not there.
    """
    if device is None:
        device = get_config()["device"]
    if isinstance(device, Device):
        device = str(device)
    if device == "auto":
        device = "cuda" if any(map(is_cuda_array, arrays)) else "cpu"
    if device == "cpu":
        return CPU
    match = re.fullmatch(r"cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if match is None:
        raise ValueError(
            f"device must be None, 'auto', 'cpu', 'cuda' or 'cuda:N' (N a number), got {device!r}"
        )
    return _cuda_device(device, int(match[1] or 0))


def _cuda_device(name: str, index: int) -> Device:
    reason = cuda_unavailable_reason()
    if reason is not None:
        raise RuntimeError(
            f"device={name!r} is not available: {reason}. Install the CUDA support with "
            "`pip install fastmotion[cu12]` or `pip install fastmotion[cu13]` on a machine with an "
            "NVIDIA driver, or use device='cpu'."
        )
    from numba import cuda

    count = len(cuda.gpus)
    if index >= count:
        raise RuntimeError(
            f"device={name!r} is not available: there are {count} CUDA devices, numbered from 0. "
            "Choose another index or use device='cpu'."
        )
    return Device("cuda", index)


@contextmanager
def thread_limit(n_jobs: int | None) -> Iterator[int]:
    """Run a block with at most ``n_jobs`` threads per compiled parallel loop."""
    import numba

    before = numba.get_num_threads()
    if n_jobs is None:
        n_jobs = get_config()["n_jobs"]
    limit = before if n_jobs is None else n_jobs
    most = numba.config.NUMBA_NUM_THREADS
    if limit < 0:
        limit = max(1, most + 1 + limit)
    limit = min(limit, most)
    numba.set_num_threads(limit)
    try:
        yield limit
    finally:
        numba.set_num_threads(before)
