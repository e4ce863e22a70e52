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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.memory import CudaMemory, Memory

__all__ = ["Transfers", "transfers"]

# Parts on their way, each way: one is worked on while another one moves.
_MOST = 2


class Transfers(Protocol):
    """What carries arrays up and down."""

    def up(self, array: NDArray) -> Callable[[], Any]:
        """Start to copy an array to the device; call what is returned for it.

        Kernels that are launched after that call find the copy there. It is good for those that
        are launched before the next array but one starts to go up.
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
        self._sent: deque[_Moving] = deque()
        self._coming: deque[tuple[_Moving, NDArray]] = deque()

    def up(self, array: NDArray) -> Callable[[], Any]:
        if len(self._sent) >= _MOST:
            self._sent.popleft().give_back(self._memory)
        moving = _Moving.of(self._memory, array)
        np.copyto(moving.on_host, array)
        # Kernels that were launched before may still use this memory.
        _record().wait(self._upwards)
        if array.size:
            moving.on_device.copy_to_device(moving.on_host, stream=self._upwards)
        arrived = moving.arrived = _record(self._upwards)
        self._sent.append(moving)

        def wait() -> Any:
            arrived.wait()
            return moving.on_device

        return wait

    def down(self, array: Any, out: NDArray) -> None:
        if len(self._coming) >= _MOST:
            self._take_in()
        moving = _Moving.of(self._memory, array)
        self._memory.copy(array, moving.on_device)
        _record().wait(self._downwards)
        if out.size:
            moving.on_device.copy_to_host(moving.on_host, stream=self._downwards)
        moving.arrived = _record(self._downwards)
        self._coming.append((moving, out))

    def _take_in(self) -> None:
        moving, out = self._coming.popleft()
        moving.arrived.synchronize()
        np.copyto(out, moving.on_host)
        moving.give_back(self._memory)

    def end(self) -> None:
        """Wait for all that is on its way."""
        while self._coming:
            self._take_in()
        while self._sent:
            self._sent.popleft().give_back(self._memory)


@dataclass
class _Moving:
    """A part on its way: where it comes from, where it goes, and the event of its arrival."""

    room: NDArray[np.uint8]
    on_host: NDArray
    on_device: Any
    arrived: Any = None

    @classmethod
    def of(cls, memory: CudaMemory, array: Any) -> _Moving:
        """Return room for a part like an array."""
        shape, dtype = tuple(array.shape), array.dtype
        n_bytes = math.prod(shape) * dtype.itemsize
        room = memory.lend_page_locked(n_bytes)
        return cls(room, room[:n_bytes].view(dtype).reshape(shape), memory.lend(shape, dtype))

    def give_back(self, memory: CudaMemory) -> None:
        """Give the room back once the part has arrived."""
        self.arrived.synchronize()
        memory.return_page_locked(self.room)
        memory.give_back(self.on_device)


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
        Of the device, which must be the current one: inside of a scope of it.

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
    except BaseException:
        with suppress(Exception):  # the first error tells more than those that it brings about
            moving.end()
        raise
    moving.end()
