"""What is measured on a GPU: cases of one form, by family.

A *case* is a job of a size. It knows its methods (ours on the CPU and on the GPU, the peers), the
least that must be moved and computed for it, and how a result is checked. The data of a case are
several equal *parts*, so that what would take minutes on the CPU can be measured on one of them,
and so that the result of our CPU on one part holds for all.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bench.gpu_libraries import Library
from fastmotion.core.device import is_cuda_array, to_host

OURS_CPU, OURS_GPU = "fastmotion, CPU", "fastmotion, GPU"

# Ceilings of the chip that a job runs against.
COPY, MATRIX = "copy", "matrix product, float32"

# Gives a library, by name, where it shall compute.
Site = Callable[[str], Library]


@dataclass(frozen=True)
class Work:
    """The least that a job takes: each input read once, each output written once.

    Methods of many steps are counted as one pass over memory for each, so that a method which
    keeps several in the cache can come to more than the ceiling.
    """

    formula: str
    n_bytes: float
    flops: float
    bound: str
    """COPY or MATRIX: the ceiling that the job has to be compared with."""


@dataclass(frozen=True)
class Timed:
    """What is timed, and how its result comes to the host to be checked."""

    run: Callable[[], Any]
    """Returns when the device is done."""
    fetch: Callable[[Any], Any]


class GpuCase(ABC):
    """A job of a size."""

    family: ClassVar[str]
    methods: ClassVar[tuple[str, ...]]
    one_by_one: ClassVar[tuple[str, ...]] = ()
    """Methods on the GPU that take one item after another, and are slow enough to be cut short."""

    @property
    @abstractmethod
    def n_parts(self) -> int: ...

    @property
    @abstractmethod
    def work(self) -> Work:
        """Of all parts."""

    @abstractmethod
    def inputs(self, n_parts: int) -> Sequence[np.ndarray]:
        """The arrays, on the host, that a method starts from."""

    @abstractmethod
    def ours(self, device: str) -> Callable[..., Any]:
        """Make what is called with the inputs, on the host or on the device, as `arranged`."""

    def arranged(self, *arrays: Any) -> Sequence[Any]:
        """The inputs in the form that ours takes, without a copy."""
        return arrays

    @abstractmethod
    def peer(self, method: str) -> Callable[..., Any]:
        """Make what is called with a library (None for methods on the CPU) and the inputs.

        ImportError where its library is missing.
        """

    @abstractmethod
    def check(self, method: str, result: Any, n_parts: int) -> None:
        """Raise unless a result, as `fetched`, is worth timing."""

    def fetched(self, result: Any) -> Any:
        """Take what is checked of a result: an array, or what lies on the host already."""
        return result

    def our_result(self, n_parts: int = 1) -> Any:
        """What ours gives on the CPU."""
        return self.ours("cpu")(*self.arranged(*self.inputs(n_parts)))

    def build(self, method: str, *, on_device: bool, site: Site, n_parts: int) -> Timed:
        """Make what is timed; with `on_device`, its inputs lie there before and its results stay.

        ImportError where the method's library is missing.
        """
        arrays = _inputs(self, n_parts)
        if method == OURS_CPU:
            ours, given = self.ours("cpu"), self.arranged(*arrays)
            return Timed(lambda: ours(*given), self.fetched)
        if method == OURS_GPU:
            return self._build_ours(arrays, on_device)
        call = self.peer(method)
        if is_on_cpu(method):
            return Timed(lambda: call(None, *arrays), self.fetched)
        library = site(library_of(method))
        if on_device:
            there = [library.put(array) for array in arrays]
            return Timed(
                lambda: _after(library.synchronize, call(library, *there)),
                lambda result: _to_host(library, self.fetched(result)),
            )
        return Timed(
            lambda: _to_host(library, call(library, *(library.put(array) for array in arrays))),
            self.fetched,
        )

    def _build_ours(self, arrays: Sequence[np.ndarray], on_device: bool) -> Timed:
        from numba import cuda

        call = self.ours("cuda")
        given = [cuda.to_device(array) for array in arrays] if on_device else arrays
        given = self.arranged(*given)
        return Timed(
            lambda: _after(cuda.synchronize, call(*given)),
            lambda result: _array_to_host(self.fetched(result)),
        )


# All methods of a case start from the same gigabytes.
@functools.lru_cache(maxsize=1)
def _inputs(case: GpuCase, n_parts: int) -> Sequence[np.ndarray]:
    return case.inputs(n_parts)


def is_on_cpu(method: str) -> bool:
    return method.endswith("CPU")


def library_of(method: str) -> str:
    """The name of the array library that a method on the GPU uses."""
    name = method.partition(",")[0]
    return "torch" if name == "kornia" else name


def _after(wait: Callable[[], None], result: Any) -> Any:
    wait()
    return result


def _to_host(library: Library, result: Any) -> Any:
    is_there = type(result).__module__.partition(".")[0] == library.xp.__name__
    return library.fetch(result) if is_there else result


def _array_to_host(result: Any) -> Any:
    return to_host(result) if is_cuda_array(result) else result
