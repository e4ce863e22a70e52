"""What the tests for a CUDA device share; `tests/cudasim` runs them in Numba's simulator."""

import numba
import numpy as np
import pytest

from fastmotion.core.compile import CudaKernel
from fastmotion.core.device import Device, cuda_unavailable_reason, is_cuda_array, to_host


@pytest.fixture(scope="session")
def device():
    reason = cuda_unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    return Device("cuda")


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
