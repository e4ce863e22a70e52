"""Copies between host and device that go on beside the kernels.

Data that come in parts, as the frames of a clip do, need not wait: while the kernels of one part
run, the next one goes up and the last one's results come down. Parts lie in page-locked memory on
the way, which the device reads and writes by itself.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.memory import CudaMemory, Memory

__all__ = ["Transfers", "transfers"]

# Results that may be on their way at once: one is written while another one comes down.
_MOST_DOWN = 2


class Transfers(Protocol):
    """What carries arrays up and down."""

    def up(self, array: NDArray) -> Callable[[], Any]:
        """Start to copy an array to the device; call what is returned for it.

        Kernels that are launched after that call find the copy there. It lives as long as the
        scope of the device's memory.
        """

    def down(self, array: Any, out: NDArray) -> None:
        """Start to copy a device array, once it is computed, to one on the host.

        ``out`` is set when the transfers end; the device array may be written to at once.
        """


class _HostTransfers:
    """Of arrays that are where they are wanted."""

    def up(self, array: NDArray) -> Callable[[], NDArray]:
        return lambda: array

    def down(self, array: NDArray, out: NDArray) -> None:
        np.copyto(out, array)


class _CudaTransfers:
    """Transfers of a CUDA device, each way in a stream of its own."""

    def __init__(self, memory: CudaMemory) -> None:
        self._memory = memory
        self._upwards, self._downwards = _streams(memory.device.index)
        self._sent: list[tuple[Any, NDArray]] = []
        self._coming: deque[tuple[Any, NDArray, Any, NDArray]] = deque()
        self._spare: list[Any] = []

    def up(self, array: NDArray) -> Callable[[], Any]:
        locked = self._memory.lend_page_locked(array.shape, array.dtype)
        np.copyto(locked, array)
        there = self._memory.empty(array.shape, array.dtype)
        # Kernels that were launched before may still use this memory.
        _record().wait(self._upwards)
        if array.size:
            there.copy_to_device(locked, stream=self._upwards)
        arrived = _record(self._upwards)
        self._sent.append((arrived, locked))

        def wait() -> Any:
            arrived.wait()
            return there

        return wait

    def down(self, array: Any, out: NDArray) -> None:
        while len(self._coming) >= _MOST_DOWN:
            self._take_in()
        locked = self._memory.lend_page_locked(out.shape, array.dtype)
        copy = self._like(array)
        self._memory.copy(array, copy)
        _record().wait(self._downwards)
        if math.prod(out.shape):
            copy.copy_to_host(locked, stream=self._downwards)
        self._coming.append((_record(self._downwards), locked, copy, out))

    def _take_in(self) -> None:
        arrived, locked, copy, out = self._coming.popleft()
        arrived.synchronize()
        np.copyto(out, locked)
        self._memory.return_page_locked(locked)
        self._spare.append(copy)

    def _like(self, array: Any) -> Any:
        for i, spare in enumerate(self._spare):
            if tuple(spare.shape) == tuple(array.shape) and spare.dtype == array.dtype:
                return self._spare.pop(i)
        return self._memory.empty(tuple(array.shape), array.dtype)

    def end(self) -> None:
        """Wait for all that is on its way."""
        while self._coming:
            self._take_in()
        for arrived, locked in self._sent:
            arrived.synchronize()
            self._memory.return_page_locked(locked)


@functools.cache
def _streams(index: int) -> tuple[Any, Any]:
    """Return two streams of the current device that do not wait for its default one."""
    return _new_stream(), _new_stream()


def _new_stream() -> Any:
    from numba import cuda

    if simulator_enabled():
        return cuda.stream()
    from cuda.bindings import driver

    # Those that Numba makes take turns with the default stream.
    error, handle = driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"no CUDA stream could be made: {error.name}")
    return cuda.external_stream(int(handle))


def _record(stream: Any = 0) -> Any:
    """Return an event that has come when what is in a stream so far is done."""
    from numba import cuda

    event = cuda.event() if simulator_enabled() else cuda.event(timing=False)
    event.record(stream)
    return event


@contextmanager
def transfers(memory: Memory) -> Iterator[Transfers]:
    """Carry arrays up to a device and down from it in a block; all is there when it ends.

    Parameters
    ----------
    memory : Memory
        Of the device; a scope of it must be open.

    Yields
    ------
    Transfers

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.core.device import CPU
    >>> from fastmotion.core.memory import memory_of
    >>> from fastmotion.core.transfer import transfers
    >>> out = np.empty(3)
    >>> with transfers(memory_of(CPU)) as moving:
    ...     values = moving.up(np.arange(3.0))
    ...     moving.down(values(), out)
    >>> out
    array([0., 1., 2.])
    """
    if not isinstance(memory, CudaMemory):
        yield _HostTransfers()
        return
    moving = _CudaTransfers(memory)
    try:
        yield moving
    finally:
        moving.end()
