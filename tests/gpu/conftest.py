"""What the tests for a CUDA device share; `tests/cudasim` runs them in Numba's simulator."""

import sys
import threading

import numba
import numpy as np
import pytest

from fastmotion.core.compile import CudaKernel, simulator_enabled
from fastmotion.core.device import Device, cuda_unavailable_reason, is_cuda_array, to_host


@pytest.fixture(scope="session")
def device():
    reason = cuda_unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    return Device("cuda")


class _Allocations(dict):
    """The static shared arrays of a simulated block, which the first thread to ask makes.

    Numba looks them up and stores them without a lock, so that two threads of a block may get two
    different arrays.
    """

    def __init__(self):
        self._lock = threading.Lock()

    def get(self, key):
        self._lock.acquire()
        found = super().get(key)
        if found is not None:
            self._lock.release()
        return found  # whoever finds nothing stores it next

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self._lock.release()


@pytest.fixture(autouse=True, scope="session")
def sound_simulator():
    """Let threads of the simulator hand over at once, and share their shared arrays."""
    if not simulator_enabled():
        yield
        return
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    make, interval = FakeCUDAShared.__init__, sys.getswitchinterval()

    def make_with_lock(shared, n_dynamic):
        make(shared, n_dynamic)
        shared._allocations = _Allocations()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeCUDAShared, "__init__", make_with_lock)
        sys.setswitchinterval(1e-4)
        yield
        sys.setswitchinterval(interval)


def _type_of(argument):
    if not is_cuda_array(argument):
        return numba.typeof(argument)
    if argument.is_c_contiguous():
        return numba.typeof(np.empty(tuple(argument.shape), argument.dtype))  # costs no copy
    return numba.typeof(to_host(argument))


@pytest.fixture(autouse=True)
def launches(monkeypatch):
    """Return the launches of kernels, as kernel, grid and block; types are checked on the way.

    What is compiled without a device, and looked through for float64, are the kernels' signatures.
    """
    seen = []
    configure = CudaKernel.__getitem__

    def getitem(kernel, launch):
        run = configure(kernel, launch)

        def checked(*args):
            types = tuple(_type_of(argument) for argument in args)
            declared = [tuple(signature.args) for signature in kernel.signatures]
            assert types in declared, f"{kernel} has no signature for {types}"
            seen.append((kernel, *launch[:2]))
            run(*args)

        return checked

    monkeypatch.setattr(CudaKernel, "__getitem__", getitem)
    return seen
