"""CUDA kernels compile without a device, to code without float64 and without spills."""

import numpy as np
import pytest
from numba import cuda

from fastmotion.core.compile import CudaKernel
from tests.ptx import gate

reason = gate.unavailable_reason()
pytestmark = [pytest.mark.ptx, pytest.mark.skipif(reason is not None, reason=str(reason))]

SM_80 = ((8, 0),)
TENTH = np.float32(0.1)


def shrink(image):
    i = cuda.grid(1)
    if i < image.size:
        image[i] *= TENTH


def shrink_in_float64(image):
    i = cuda.grid(1)
    if i < image.size:
        image[i] *= 0.1


def make_kernel(func, *signatures, **options):
    return CudaKernel(func, signatures=signatures, **options)


def test_kernels_hold_no_float64_and_do_not_spill(reports):
    kernels = {kernel.name for kernel in gate.package_kernels()}
    assert len(kernels) > 9
    for arch in "sm_75", "sm_80", "sm_90", "sm_100":
        assert {report.kernel for report in reports if report.arch == arch} == kernels
    assert [fault for report in reports for fault in report.faults()] == []


def test_gate_passes_a_kernel_of_either_precision_that_keeps_it():
    for func, signature in (
        (shrink, "void(float32[::1])"),
        (shrink_in_float64, "void(float64[::1])"),
    ):
        (report,) = gate.inspect(make_kernel(func, signature), SM_80)
        assert report.faults() == []
        assert report.registers > 0
        assert (report.spill_stores, report.spill_loads, report.shared) == (0, 0, 0)
        assert (report.float64 > 0) is not report.is_float32


def test_gate_finds_float64_in_a_float32_kernel():
    (report,) = gate.inspect(make_kernel(shrink_in_float64, "void(float32[::1])"), SM_80)
    assert report.float64 > 0
    assert report.faults() == [
        f"{__name__}.shrink_in_float64 has {report.float64} float64 instructions (sm_80)"
    ]


def test_gate_finds_spills():
    from fastmotion.flow.kernels.cuda import _set_up_system

    starved = make_kernel(_set_up_system.py_func, *_set_up_system.signatures, max_registers=24)
    (report,) = gate.inspect(starved, SM_80)
    assert report.registers == 24
    assert report.spill_stores > 0
    assert report.spill_loads > 0
    (fault,) = report.faults()
    assert f"_set_up_system spills {report.spill_stores} bytes" in fault


def test_gate_passes_spills_that_are_declared():
    from fastmotion.flow.kernels.cuda import _set_up_system

    options = {"max_registers": 24, "spills": "for the test"}
    starved = make_kernel(_set_up_system.py_func, *_set_up_system.signatures, **options)
    (report,) = gate.inspect(starved, SM_80)
    assert report.spill_stores > 0
    assert report.faults() == []
    assert "_set_up_system: for the test" in gate.table([report])


def test_gate_counts_shared_memory():
    from fastmotion.flow.kernels.cuda import _TILE, _write_products

    (report,) = gate.inspect(_write_products, SM_80)
    assert report.shared == 2 * 4 * np.prod(_TILE)  # mean and difference


def test_gate_refuses_a_kernel_that_it_cannot_check():
    with pytest.raises(ValueError, match="shrink has no signatures"):
        gate.inspect(make_kernel(shrink))
    with pytest.raises(ValueError, match="expected one match"):
        gate._number(r"(\d+) bytes spill stores", "a log in other words")
