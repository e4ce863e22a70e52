"""Arrays on a device: one set of calls for host and CUDA memory, and a pool of the latter.

A driver takes its arrays from a `Memory` and runs kernels on them; which device they lie on is none
of its business. Temporary arrays on a CUDA device go back to a pool when the block that took them
ends, and the next call finds them there: asking the driver of the device for memory takes longer
than most kernels, and makes it wait for them.
"""

from __future__ import annotations

import functools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import CPU, Device, device_index, is_cuda_array, to_host

__all__ = ["CudaMemory", "HostMemory", "Memory", "free_memory", "memory_at", "memory_of"]

Shape = int | tuple[int, ...]
_Kind = tuple[tuple[int, ...], np.dtype]

# What scratch on the host may take at once: cores work on a few such blocks at a time.
_HOST_BUDGET = 2**28
# What a simulated device, which does not tell, has free.
_SIMULATED_MEMORY = 2**30
# The share of a device that the pool keeps from others, and the tables that stay there, at most;
# what was not used for longest goes first.
_MAX_POOLED = 0.5
_MAX_CONSTANTS = 1024
# Rooms of page-locked memory are powers of two; of each so many are kept, as a transfer each way
# has in use.
_LEAST_ROOM = 2**12
_MAX_ROOMS = 4
_ADVICE = "pass less data at a time, or device='cpu'"


class Memory(Protocol):
    """Where a driver takes its arrays from."""

    device: Device

    def current(self) -> AbstractContextManager:
        """Return a context in which kernels run on this device; scopes are such, too."""

    @contextmanager
    def scope(self, advice: str | None = None) -> Iterator[None]:
        """Take back, at the end of the block, the arrays that were taken in it.

        ``advice`` is what the user hears who runs out of memory: what to lower. None says what the
        scope around this one says.
        """

    def empty(self, shape: Shape, dtype: DTypeLike = np.float32) -> Any:
        """Return an array that is not set, good until the scope ends."""

    def zeros(self, shape: Shape, dtype: DTypeLike = np.float32) -> Any:
        """Return an array of zeros, good until the scope ends."""

    def new(self, shape: Shape, dtype: DTypeLike = np.float32) -> Any:
        """Return an array that is not set and belongs to the caller."""

    def put(self, array: Any) -> Any:
        """Return an array on this device, good until the scope ends; it may be the one given."""

    def constant(self, array: NDArray) -> Any:
        """Return a table on this device that is kept for the next time: never write to either.

        The next time is that of the same object, which is kept, too.
        """

    def fetch(self, array: Any) -> NDArray:
        """Return an array on the host; waits for what is under way on the device."""

    def copy(self, source: Any, out: Any) -> None:
        """Copy within the device: arrays of one shape and dtype."""

    def fill(self, out: Any, value: float) -> None:
        """Set all elements."""

    def budget(self, share: float = 0.5) -> int:
        """Return how many bytes scratch may take: that share of what is free."""


class HostMemory:
    """The memory of the host, as a `Memory`."""

    device = CPU

    def current(self) -> AbstractContextManager:
        """Return a context that does nothing."""
        return nullcontext()

    @contextmanager
    def scope(self, advice: str | None = None) -> Iterator[None]:
        """Do nothing: arrays on the host go when nobody refers to them."""
        yield

    def empty(self, shape: Shape, dtype: DTypeLike = np.float32) -> NDArray:
        """Return an array that is not set."""
        return np.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: DTypeLike = np.float32) -> NDArray:
        """Return an array of zeros."""
        return np.zeros(shape, dtype)

    new = empty

    def put(self, array: Any) -> NDArray:
        """Return an array on the host."""
        return to_host(array)

    def constant(self, array: NDArray) -> NDArray:
        """Return the array."""
        return array

    def fetch(self, array: NDArray) -> NDArray:
        """Return the array."""
        return array

    def copy(self, source: NDArray, out: NDArray) -> None:
        """Copy an array to another."""
        np.copyto(out, source)

    def fill(self, out: NDArray, value: float) -> None:
        """Set all elements."""
        out.fill(value)

    def budget(self, share: float = 0.5) -> int:
        """Return how many bytes scratch may take."""
        return int(share * _HOST_BUDGET)


class _Scopes(threading.local):
    """What the scopes of a thread, innermost last, have taken."""

    def __init__(self) -> None:
        self.taken: list[list[Any]] = []
        self.advice: list[str] = []


class CudaMemory:
    """The memory of a CUDA device, as a `Memory`.

    All work goes to the device's default stream, in whose order an array may be handed on while
    kernels that use it still wait to run.

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._lock = threading.RLock()
        self._pool: OrderedDict[_Kind, list[Any]] = OrderedDict()
        self._pooled_bytes = 0
        self._page_locked: dict[int, list[NDArray]] = {}
        self._constants: OrderedDict[int, tuple[NDArray, Any]] = OrderedDict()
        self._scopes = _Scopes()

    @contextmanager
    def scope(self, advice: str | None = None) -> Iterator[None]:
        """Take back the arrays taken in the block; make the device the current one in it."""
        scopes = self._scopes
        scopes.taken.append([])
        scopes.advice.append(advice or self._advice)
        try:
            with self.current():
                yield
        finally:
            scopes.advice.pop()
            self.give_back(*scopes.taken.pop())

    def empty(self, shape: Shape, dtype: DTypeLike = np.float32) -> Any:
        """Return an array that is not set: one of the pool if there is one of its kind."""
        if not self._scopes.taken:
            return self.new(shape, dtype)
        array = self.lend(shape, dtype)
        self._scopes.taken[-1].append(array)
        return array

    def zeros(self, shape: Shape, dtype: DTypeLike = np.float32) -> Any:
        """Return an array of zeros."""
        array = self.empty(shape, dtype)
        self.fill(array, 0)
        return array

    def new(self, shape: Shape, dtype: DTypeLike = np.float32) -> Any:
        """Return an array that is not set and never goes to the pool."""
        from numba import cuda

        shape, dtype = _as_tuple(shape), np.dtype(dtype)
        with self.current():
            return self._allocate(
                lambda: cuda.device_array(shape, dtype),
                math.prod(shape) * dtype.itemsize,
                f"an array of shape {shape} and {dtype}",
            )

    def _allocate(self, allocate: Callable[[], Any], n_bytes: int, what: str) -> Any:
        """Return new memory, if need be after the pool has been given back."""
        try:
            return allocate()
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
        self._clear_pool()
        try:
            return allocate()
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            raise MemoryError(self._shortage(n_bytes, what)) from error

    def lend(self, shape: Shape, dtype: DTypeLike) -> Any:
        """Return an array that is not set, good until it is given back."""
        kind = _as_tuple(shape), np.dtype(dtype)
        with self._lock:
            waiting = self._pool.get(kind)
            if waiting:
                array = waiting.pop()
                self._pooled_bytes -= array.nbytes
                return array
        return self.new(*kind)

    def give_back(self, *arrays: Any) -> None:
        """Take arrays back for later."""
        with self._lock:
            for array in arrays:
                kind = tuple(array.shape), array.dtype
                self._pool.setdefault(kind, []).append(array)
                self._pool.move_to_end(kind)
                self._pooled_bytes += array.nbytes
            while self._pooled_bytes > _MAX_POOLED * self._total_bytes:
                _, oldest = self._pool.popitem(last=False)
                self._pooled_bytes -= sum(array.nbytes for array in oldest)

    def put(self, array: Any) -> Any:
        """Return an array on this device: itself, or a copy in memory of the scope."""
        if is_cuda_array(array):
            return array
        array = np.ascontiguousarray(array)
        array = array.reshape(-1).reshape(array.shape)  # an axis made by newaxis has stride 0
        out = self.empty(array.shape, array.dtype)
        if array.size:
            with self.current():
                out.copy_to_device(array)
        return out

    def constant(self, array: NDArray) -> Any:
        """Return a table that stays on the device for the next time."""
        with self._lock:
            held, there = self._constants.get(id(array), (None, None))
            if held is not array:
                there = self.new(array.shape, array.dtype)
                if array.size:
                    with self.current():
                        there.copy_to_device(np.ascontiguousarray(array))
                self._constants[id(array)] = array, there
                if len(self._constants) > _MAX_CONSTANTS:
                    self._constants.popitem(last=False)
            self._constants.move_to_end(id(array))
            return there

    def fetch(self, array: Any) -> NDArray:
        """Return an array on the host."""
        with self.current():
            return to_host(array)

    def copy(self, source: Any, out: Any) -> None:
        """Copy an array to another one on the device."""
        if math.prod(out.shape):
            with self.current():
                out.copy_to_device(source)

    def fill(self, out: Any, value: float) -> None:
        """Set all elements of a contiguous array."""
        from fastmotion.core.kernels.cuda import fill

        if math.prod(out.shape):
            with self.current():
                fill(out, value)

    def lend_page_locked(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return a room on the host of at least so many bytes that the device reaches by itself."""
        from numba import cuda

        size = max(_LEAST_ROOM, 1 << max(n_bytes - 1, 0).bit_length())
        with self._lock:
            waiting = self._page_locked.get(size)
            if waiting:
                return waiting.pop()
        with self.current():
            return self._allocate(
                lambda: cuda.pinned_array(size, np.uint8), size, "page-locked memory of the host"
            )

    def return_page_locked(self, room: NDArray[np.uint8]) -> None:
        """Take such a room back for later."""
        with self._lock:
            waiting = self._page_locked.setdefault(room.size, [])
            if len(waiting) < _MAX_ROOMS:
                waiting.append(room)

    def budget(self, share: float = 0.5) -> int:
        """Return how many bytes scratch may take: the pool counts as free."""
        return int(share * (self._free_and_total()[0] + self._pooled_bytes))

    def free(self) -> None:
        """Give the arrays that wait in the pool, and the tables, back to the device."""
        with self._lock:
            self._page_locked.clear()
            self._constants.clear()
        self._clear_pool()

    def _clear_pool(self) -> None:
        from numba import cuda

        with self._lock:
            self._pool.clear()
            self._pooled_bytes = 0
        with self.current():
            cuda.synchronize()
            _flush_deallocations()

    @functools.cached_property
    def _total_bytes(self) -> int:
        return self._free_and_total()[1]

    @property
    def _advice(self) -> str:
        return self._scopes.advice[-1] if self._scopes.advice else _ADVICE

    def current(self) -> Any:
        """Return a context in which this device is the current one."""
        from numba import cuda

        return cuda.gpus[self.device.index]

    def _free_and_total(self) -> tuple[int, int]:
        from numba import cuda

        if simulator_enabled():
            return _SIMULATED_MEMORY, _SIMULATED_MEMORY
        with self.current():
            free, total = cuda.current_context().get_memory_info()
        return free, total

    def _shortage(self, n_bytes: int, what: str) -> str:
        free, total = self._free_and_total()
        return (
            f"{self.device} is out of memory: {_readable(n_bytes)} were asked for {what}, "
            f"{_readable(free)} of {_readable(total)} are free; {self._advice}; "
            "fastmotion.free_memory() and the like of other libraries give back what they hold"
        )


def _as_tuple(shape: Shape) -> tuple[int, ...]:
    return tuple(int(n) for n in shape) if isinstance(shape, tuple) else (int(shape),)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error).upper()


def _readable(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**27 else f"{n_bytes / 2**20:.1f} MiB"


def _flush_deallocations() -> None:
    """Let Numba return to the device at once what nobody refers to."""
    from numba import cuda

    manager = getattr(cuda.current_context(), "memory_manager", None)
    if manager is not None:  # the simulator has none
        manager.deallocations.clear()


@functools.cache
def _cuda_memory(index: int) -> CudaMemory:
    return CudaMemory(Device("cuda", index))


_host_memory = HostMemory()


def memory_of(device: Device) -> Memory:
    """Return the memory of a device; there is one for each.

    Parameters
    ----------
    device : Device

    Returns
    -------
    Memory

    Examples
    --------
    >>> from fastmotion.core.device import CPU
    >>> from fastmotion.core.memory import memory_of
    >>> memory_of(CPU).zeros((2, 3)).shape
    (2, 3)
    """
    if device.kind == "cpu":
        return _host_memory
    with _creation_lock:
        if device.index not in _used:
            _used.append(device.index)
    return _cuda_memory(device.index)


def memory_at(array: Any) -> Memory:
    """Return the memory that an array lies in.

    Parameters
    ----------
    array : ndarray or CUDA array

    Returns
    -------
    Memory

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.core.memory import memory_at
    >>> str(memory_at(np.zeros(3)).device)
    'cpu'
    """
    return memory_of(Device("cuda", device_index(array)) if is_cuda_array(array) else CPU)


_used: list[int] = []
_creation_lock = threading.Lock()


def free_memory() -> None:
    """Give the device memory that is kept for later calls back to the CUDA devices.

    Temporary arrays are kept for the next call, as to ask the device for memory takes longer than
    most kernels. Results are no part of that: they go when nobody refers to them.

    Examples
    --------
    >>> import fastmotion
    >>> fastmotion.free_memory()
    """
    for index in tuple(_used):
        _cuda_memory(index).free()
