"""Arrays of other libraries that lie on a CUDA device: taken in, looked at and handed back.

CuPy, PyTorch and Numba tell where their arrays lie by ``__cuda_array_interface__``, others by
DLPack. Neither needs a copy.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import Device, device_index, is_cuda_array
from fastmotion.core.memory import memory_at, memory_of

__all__ = ["Summary", "as_device_array", "like", "summarise"]

# Converted on the device; there is no need for others among images and measurements.
_CONVERTIBLE = (
    "uint8",
    "uint16",
    "uint32",
    "int8",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
)
# What has unsigned integers of its size.
_ITEM_SIZES = (1, 2, 4, 8)


def as_device_array(x: Any, device: Device, dtype: DTypeLike | None = None) -> Any:
    """Return an array as a contiguous one of Numba's on a CUDA device.

    Parameters
    ----------
    x : CUDA array or array_like
        It is not copied if it is contiguous on the device and of the dtype. Copies live as long as
        the scope of the device's memory.
    device : Device
    dtype : {None, numpy.float32, numpy.float64}, default=None
        None keeps that of the array.

    Returns
    -------
    Numba device array

    Raises
    ------
    TypeError
        The dtype cannot be converted.
    ValueError
        The array lies on another CUDA device.
    """
    if not is_cuda_array(x):
        return memory_of(device).put(np.ascontiguousarray(x, dtype))
    if device_index(x) != device.index:
        raise ValueError(
            f"the array lies on cuda:{device_index(x)}, not on {device}; move it there, or pass "
            f"device='cuda:{device_index(x)}'"
        )
    memory = memory_of(device)
    with memory.current():
        array = _contiguous(_of_numba(x), memory)
        return array if dtype is None else _converted(array, np.dtype(dtype), memory)


def _of_numba(x: Any) -> Any:
    """Return Numba's view of an array on the current device."""
    from numba import cuda

    if hasattr(x, "__cuda_ndarray__"):
        return x
    _await_producer(x)
    return cuda.as_cuda_array(x if hasattr(x, "__cuda_array_interface__") else _DLPackView(x))


class _DLPackView:
    """An array that only speaks DLPack, as one with ``__cuda_array_interface__``."""

    def __init__(self, array: Any) -> None:
        from cuda.core.utils import StridedMemoryView

        # 1 is the default stream, in whose order its library makes the array ready.
        self._view = StridedMemoryView.from_dlpack(array, stream_ptr=1)
        dtype = np.dtype(self._view.dtype)
        strides = self._view.strides
        self.__cuda_array_interface__ = {
            "shape": tuple(self._view.shape),
            "typestr": dtype.str,
            "data": (int(self._view.ptr), bool(self._view.readonly)),
            "strides": None if strides is None else tuple(n * dtype.itemsize for n in strides),
            "version": 3,
        }


def _library(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


# Kernels run in the default stream. CuPy tells of its stream, for which Numba waits; PyTorch does
# not, and neither waits by itself for the default one.


def _await_producer(x: Any) -> None:
    """Let the default stream wait for the one in which an array is made."""
    if _library(x) == "torch":
        streams = importlib.import_module("torch").cuda
        default = streams.default_stream(x.device)
        default.wait_stream(streams.current_stream(x.device))
        x.record_stream(default)  # or its memory might be used again too soon


def _let_consumer_wait(given: Any) -> None:
    """Let the stream in which a result will be used wait for the default one."""
    if _library(given) == "torch":
        streams = importlib.import_module("torch").cuda
        streams.current_stream(given.device).wait_stream(streams.default_stream(given.device))
    if _library(given) == "cupy":
        streams = importlib.import_module("cupy").cuda
        streams.get_current_stream().wait_event(streams.Stream.null.record())


def _contiguous(array: Any, memory: Any) -> Any:
    if array.is_c_contiguous():
        return array
    if simulator_enabled():
        return memory.put(array.copy_to_host())
    from fastmotion.core.kernels.cuda import MAX_AXES, gather

    if array.ndim > MAX_AXES or array.dtype.itemsize not in _ITEM_SIZES:
        raise TypeError(
            f"a strided array of {array.ndim} axes and dtype {array.dtype} is not copied on the "
            "device; make it contiguous first"
        )
    span = _Span.of(array, array.device_ctypes_pointer.value)
    out = memory.empty(tuple(array.shape), array.dtype)
    if out.size:
        gather(
            span.memory(array), span.first, span.shape, span.strides,
            out.reshape(out.size).view(span.unsigned),
        )  # fmt: skip
    return out


@dataclass(frozen=True)
class _Span:
    """Where the elements of a strided array lie, in elements from the lowest address on."""

    address: int
    length: int
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    unsigned: np.dtype

    @classmethod
    def of(cls, array: Any, address: int) -> _Span:
        """Return the span of an array whose element of indices 0 has an address."""
        size = array.dtype.itemsize
        shape = tuple(array.shape)
        strides = tuple(n // size for n in array.strides)
        reach = [(n - 1) * step for n, step in zip(shape, strides)]
        first = -sum(n for n in reach if n < 0)
        length = first + sum(n for n in reach if n > 0) + 1
        return cls(address - first * size, length, first, shape, strides, np.dtype(f"u{size}"))

    def memory(self, owner: Any) -> Any:
        """Return the span as a contiguous array of unsigned integers."""
        from numba import cuda

        interface = {
            "shape": (self.length,),
            "typestr": self.unsigned.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
        }
        return cuda.as_cuda_array(_Interface(interface, owner))


class _Interface:
    """Memory on the device that another object owns."""

    def __init__(self, interface: dict[str, Any], owner: Any) -> None:
        self.__cuda_array_interface__ = interface
        self._owner = owner


def _converted(array: Any, dtype: np.dtype, memory: Any) -> Any:
    if array.dtype == dtype:
        return array
    if array.dtype.name == "bool":
        array = array.view(np.uint8)
    if array.dtype.name not in _CONVERTIBLE:
        raise TypeError(
            f"dtype {array.dtype} is not converted on the device; convert the array to {dtype}"
        )
    from fastmotion.core.kernels.cuda import convert

    out = memory.empty(tuple(array.shape), dtype)
    if out.size:
        convert(array, out)
    return out


@dataclass(frozen=True)
class Summary:
    """What `summarise` finds in an array.

    Attributes
    ----------
    n_nan, n_infinite : int
    smallest, largest : float
        Of what is not NaN; infinite and minus infinite if there is nothing.
    """

    n_nan: int
    n_infinite: int
    smallest: float
    largest: float

    @property
    def is_finite(self) -> bool:
        """Whether nothing is NaN or infinite."""
        return self.n_nan == 0 and self.n_infinite == 0


def summarise(x: Any) -> Summary:
    """Return what is to know of an array on a CUDA device before it is worked on.

    Parameters
    ----------
    x : contiguous Numba device array, float32 or float64

    Returns
    -------
    Summary
    """
    from fastmotion.core.kernels import cuda as kernels

    memory = memory_at(x)
    size = math.prod(x.shape)
    if size == 0:
        return Summary(0, 0, math.inf, -math.inf)
    with memory.scope():
        n_blocks = kernels.n_summaries(size)
        counts = memory.empty((n_blocks, 2), np.int32)
        extremes = memory.empty((n_blocks, 2), x.dtype)
        kernels.summarise(x.reshape(size), counts, extremes)
        n_nan, n_infinite = memory.fetch(counts).sum(axis=0, dtype=np.int64)
        found = memory.fetch(extremes)
    return Summary(int(n_nan), int(n_infinite), float(found[:, 0].min()), float(found[:, 1].max()))


def like(result: Any, given: Any) -> Any:
    """Return a result as an array of the library of what was given.

    Parameters
    ----------
    result : Numba device array or ndarray
    given : array_like or CUDA array

    Returns
    -------
    ndarray or CUDA array
        On the host if ``given`` is, else of CuPy, PyTorch or Numba on the device, without a copy.
        Libraries of other arrays take Numba's.
    """
    if not is_cuda_array(given):
        return result.copy_to_host() if is_cuda_array(result) else result
    if not is_cuda_array(result):
        result = memory_at(given).put(result)
    _let_consumer_wait(given)
    if _library(given) == "cupy":
        return importlib.import_module("cupy").asarray(result)
    if _library(given) == "torch":
        return importlib.import_module("torch").as_tensor(result, device=given.device)
    return result
