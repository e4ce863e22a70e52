"""What the compiler may assume of the numbers."""

import importlib
import pkgutil

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import fastmotion
from fastmotion.core.compile import FAST_MATH, CpuKernel, registered_kernels
from fastmotion.flow.kernels import cpu
from fastmotion.flow.pyramid import resampling_weights

# "fast" holds the other two: NaN and infinity would be undefined, and they are data.
FORBIDDEN = {"nnan", "ninf", "fast"}


def functions_of(kind):
    """Return the functions of one kind in all modules with compiled code for the CPU."""
    names = (m.name for m in pkgutil.walk_packages(fastmotion.__path__, "fastmotion."))
    modules = [
        importlib.import_module(name)
        for name in names
        if ".kernels." in name and not name.endswith(".cuda")
    ]
    return [f for module in modules for f in vars(module).values() if isinstance(f, kind)]


def flags_of(dispatcher):
    return set(dispatcher.targetoptions.get("fastmath") or ())


def test_the_named_sets_keep_nan_and_infinity():
    for flags in FAST_MATH.values():
        assert not flags & FORBIDDEN


def test_no_kernel_does_without_nan_and_infinity():
    kernels = functions_of(CpuKernel)  # which imports, and so registers, all of them
    registered = [k for k in registered_kernels().values() if isinstance(k, CpuKernel)]
    assert {cpu.relax, cpu.solve_windows} <= set(kernels) <= set(registered)
    for kernel in registered:
        assert flags_of(kernel.dispatcher) == FAST_MATH[kernel.fastmath], kernel
        assert not FAST_MATH[kernel.fastmath] & FORBIDDEN, kernel


def test_no_part_of_a_kernel_does_without_nan_and_infinity():
    parts = functions_of(Dispatcher)
    assert len(parts) > 30  # formulae and loops over rows
    for part in parts:
        assert not flags_of(part) & FORBIDDEN, part


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_a_kernel_hands_on_what_is_not_finite(special):
    planes = np.zeros((1, 17, 40), np.float32)
    planes[0, [2, 5, 16], [3, 17, 39]] = special
    out = np.ones_like(planes)
    axes = *resampling_weights(17, 17, 0.0), *resampling_weights(40, 40, 0.0)
    cpu.resample(planes, out, *axes, np.ones(1, np.float32))
    np.testing.assert_array_equal(out, planes)
