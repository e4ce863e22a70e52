"""The CUDA kernels of dense flow against the CPU kernels.

`tests/cudasim` runs these same tests in Numba's simulator, where a device is not needed.
"""

import math

import numba
import numpy as np
import pytest

from fastmotion.core.compile import CudaKernel, simulator_enabled
from fastmotion.core.device import (
    Device,
    cuda_unavailable_reason,
    is_cuda_array,
    to_device,
    to_host,
)
from fastmotion.flow.kernels import cpu
from tests.reference.flow_cases import FUNCTIONALS, WINDOW_FUNCTIONAL, random_flow, texture_pair

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Grid size"),  # small images do not occupy the device
]

SWEEPS = [
    ((17, 19), "quadratic", 3),
    ((18, 16), "robust", 2),
    ((16, 17), "non-convex", 2),
    ((17, 18), "gradient alone", 1),
]
WINDOWS = [((17, 19), True), ((18, 16), False)]
if not simulator_enabled():  # it takes a millisecond for a thread
    SWEEPS += [((241, 320), "robust", 7), ((240, 321), "quadratic", 7)]
    WINDOWS += [((241, 320), True)]

GAUSSIAN = np.exp(-0.5 * (np.arange(4) / 1.5) ** 2).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def device():
    reason = cuda_unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    return Device("cuda")


@pytest.fixture
def cuda(device):
    """Return the kernels, which on some machines can be imported only where there is a device."""
    from fastmotion.flow.kernels import cuda

    return cuda


class Launches(list):
    """The launches of kernels: each as kernel, grid, block and types of the arguments."""

    def spy(self, configure):
        def getitem(kernel, launch):
            run = configure(kernel, launch)

            def record(*args):
                types = tuple(
                    numba.typeof(to_host(arg) if is_cuda_array(arg) else arg) for arg in args
                )
                self.append((kernel, *launch[:2], types))
                run(*args)

            return record

        return getitem


@pytest.fixture
def launches(monkeypatch):
    seen = Launches()
    monkeypatch.setattr(CudaKernel, "__getitem__", seen.spy(CudaKernel.__getitem__))
    return seen


def relax_on(kernels, device, frames, base, flow, functional, n_sweeps, omega=1.8, most=0.4):
    arrays = [to_device(x, device) for x in (*frames, base, flow, np.full_like(flow, np.nan))]
    kernels.relax(*arrays, functional, n_sweeps, np.float32(omega), np.float32(most), 1)
    for given, array in zip((*frames, base, flow), arrays):
        np.testing.assert_array_equal(to_host(array), given)
    return to_host(arrays[-1])


def solve_on(kernels, device, frames, flow, wants_confidence, window=GAUSSIAN):
    empty = np.full(frames[0].shape if wants_confidence else (0, 0), np.nan, np.float32)
    arrays = [to_device(x, device) for x in (*frames, flow, np.full_like(flow, np.nan), empty)]
    kernels.solve_windows(*arrays, to_device(window, device), WINDOW_FUNCTIONAL, 1)
    for given, array in zip((*frames, flow), arrays):
        np.testing.assert_array_equal(to_host(array), given)
    return to_host(arrays[3]), to_host(arrays[4])


def problem(shape):
    """Return frames, the flow that the data term is linearised at, and the present one."""
    base = random_flow(shape, 2.0)  # points outside the image here and there
    return texture_pair(shape), base, base + random_flow(shape, 0.3, seed=5)


@pytest.mark.parametrize(("shape", "functional", "n_sweeps"), SWEEPS)
def test_sweeps_give_the_result_of_the_cpu(cuda, device, shape, functional, n_sweeps):
    frames, base, flow = problem(shape)
    args = frames, base, flow, FUNCTIONALS[functional], n_sweeps
    wanted = relax_on(cpu, Device("cpu"), *args)
    assert np.abs(wanted - flow).max() > 0.3  # the sweeps do something
    assert np.abs(wanted - base).max() >= 0.4  # and are limited somewhere
    got = relax_on(cuda, device, *args)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_no_sweep_leaves_the_flow_limited_to_the_base(cuda, device):
    frames, base, flow = problem((18, 16))
    out = relax_on(cuda, device, frames, base, flow, FUNCTIONALS["robust"], 0, most=0.1)
    np.testing.assert_array_equal(
        out, np.clip(flow, base - np.float32(0.1), base + np.float32(0.1))
    )


@pytest.mark.parametrize(("shape", "wants_confidence"), WINDOWS)
def test_windows_give_the_result_of_the_cpu(cuda, device, shape, wants_confidence):
    frames, _, flow = problem(shape)
    wanted, wanted_confidence = solve_on(cpu, Device("cpu"), frames, flow, wants_confidence)
    got, confidence = solve_on(cuda, device, frames, flow, wants_confidence)
    assert np.abs(wanted - flow).max() > 0.3
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
    assert confidence.shape == wanted_confidence.shape
    np.testing.assert_allclose(confidence, wanted_confidence, rtol=1e-4, atol=1e-8)


def test_window_may_be_larger_than_the_image(cuda, device):
    frames, _, flow = problem((17, 19))
    window = np.full(21, 1 / 41, np.float32)
    wanted, _ = solve_on(cpu, Device("cpu"), frames, flow, False, window)
    got, _ = solve_on(cuda, device, frames, flow, False, window)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_flat_frames_leave_the_flow_finite_and_unmoved(cuda, device):
    frames = np.full((2, 16, 16), 0.5, np.float32)
    flow = np.zeros((2, 16, 16), np.float32)
    functional = FUNCTIONALS["robust"]
    np.testing.assert_array_equal(relax_on(cuda, device, frames, flow, flow, functional, 1), 0)
    moved, confidence = solve_on(cuda, device, frames, flow, True)
    np.testing.assert_array_equal(moved, 0)
    np.testing.assert_allclose(confidence, 0, atol=1e-9)


def test_launches_span_blocks_and_have_the_types_that_are_tested_without_a_device(
    cuda, device, launches
):
    frames, base, flow = problem((17, 19))
    relax_on(cuda, device, frames, base, flow, FUNCTIONALS["robust"], 1)
    solve_on(cuda, device, frames, flow, True)
    kernels = {kernel for kernel, *_ in launches}
    assert kernels == {x for x in vars(cuda).values() if isinstance(x, CudaKernel)}
    for kernel, grid, block, types in launches:
        assert types in [signature.args for signature in kernel.signatures], kernel
        assert math.prod(grid) > 1
        assert not simulator_enabled() or math.prod(grid) * math.prod(block) <= 500
