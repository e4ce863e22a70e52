"""The CUDA solvers of dense flow against those of the CPU.

`tests/cudasim` runs these same tests in Numba's simulator, where a device is not needed.
"""

import inspect
import math

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import to_host
from fastmotion.flow.kernels import cpu
from tests.gpu.arrays import to_device
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
N_PAIRS = 1
if not simulator_enabled():  # it takes a millisecond for a thread
    SWEEPS += [((241, 320), "robust", 7), ((240, 321), "quadratic", 7)]
    WINDOWS += [((241, 320), True)]
    N_PAIRS = 5

GAUSSIAN = np.exp(-0.5 * (np.arange(4) / 1.5) ** 2).astype(np.float32)


@pytest.fixture
def cuda(device):
    """Return the kernels, which on some machines can be imported only where there is a device."""
    from fastmotion.flow.kernels import cuda

    return cuda


def problem(shape, seed=0):
    """Return frames, the flow that the data term is linearised at, and the present one."""
    base = random_flow(shape, 2.0, seed=seed)  # points outside the image here and there
    return *texture_pair(shape, seed), base, base + random_flow(shape, 0.3, seed=seed + 5)


def problems(shape, n):
    return [np.stack(arrays) for arrays in zip(*(problem(shape, 10 * k) for k in range(n)))]


def relax_pairs(cuda, device, pairs, functional, n_sweeps, omega=1.8, most=0.4, n_bands=1):
    arrays = [to_device(x, device) for x in (*pairs, np.full_like(pairs[3], np.nan))]
    cuda.relax(*arrays, functional, n_sweeps, np.float32(omega), np.float32(most), n_bands)
    for given, array in zip(pairs, arrays):
        np.testing.assert_array_equal(to_host(array), given)
    return to_host(arrays[-1])


def relax_on_cpu(pair, functional, n_sweeps, omega=1.8, most=0.4):
    out = np.full_like(pair[3], np.nan)
    cpu.relax(*pair, out, functional, n_sweeps, np.float32(omega), np.float32(most), 1)
    return out


def solve_pairs(cuda, device, pairs, wants_confidence, window=GAUSSIAN, n_bands=1):
    frame0, warped, _, flow = pairs
    confidence = np.full(frame0.shape if wants_confidence else (0, 0, 0), np.nan, np.float32)
    given = frame0, warped, flow
    arrays = [to_device(x, device) for x in (*given, np.full_like(flow, np.nan), confidence)]
    cuda.solve_windows(*arrays, to_device(window, device), WINDOW_FUNCTIONAL, n_bands)
    for before, array in zip(given, arrays):
        np.testing.assert_array_equal(to_host(array), before)
    return to_host(arrays[3]), to_host(arrays[4])


def solve_on_cpu(pair, wants_confidence, window=GAUSSIAN):
    frame0, warped, _, flow = pair
    out = np.full_like(flow, np.nan)
    confidence = np.full(frame0.shape if wants_confidence else (0, 0), np.nan, np.float32)
    cpu.solve_windows(frame0, warped, flow, out, confidence, window, WINDOW_FUNCTIONAL, 1)
    return out, confidence


@pytest.mark.parametrize(("shape", "functional", "n_sweeps"), SWEEPS)
def test_sweeps_give_the_result_of_the_cpu(cuda, device, shape, functional, n_sweeps):
    pairs = problems(shape, N_PAIRS)
    got = relax_pairs(cuda, device, pairs, FUNCTIONALS[functional], n_sweeps)
    for k, pair in enumerate(zip(*pairs)):
        wanted = relax_on_cpu(pair, FUNCTIONALS[functional], n_sweeps)
        assert np.abs(wanted - pair[3]).max() > 0.3  # the sweeps do something
        assert np.abs(wanted - pair[2]).max() >= 0.4  # and are limited somewhere
        np.testing.assert_allclose(got[k], wanted, rtol=0, atol=1e-5)


def test_no_sweep_leaves_the_flow_limited_to_the_base(cuda, device):
    pairs = problems((9, 10), 1)
    out = relax_pairs(cuda, device, pairs, FUNCTIONALS["robust"], 0, most=0.1)
    base, flow = pairs[2:]
    np.testing.assert_array_equal(
        out, np.clip(flow, base - np.float32(0.1), base + np.float32(0.1))
    )


@pytest.mark.parametrize(("shape", "wants_confidence"), WINDOWS)
def test_windows_give_the_result_of_the_cpu(cuda, device, shape, wants_confidence):
    pairs = problems(shape, N_PAIRS)
    got, confidences = solve_pairs(cuda, device, pairs, wants_confidence)
    assert confidences.size == wants_confidence * pairs[0].size
    for k, pair in enumerate(zip(*pairs)):
        wanted, wanted_confidence = solve_on_cpu(pair, wants_confidence)
        assert np.abs(wanted - pair[3]).max() > 0.3
        np.testing.assert_allclose(got[k], wanted, rtol=0, atol=1e-5)
        if wants_confidence:
            np.testing.assert_allclose(confidences[k], wanted_confidence, rtol=1e-4, atol=1e-8)


def test_window_may_be_larger_than_the_image(cuda, device):
    pairs = problems((9, 11), 1)
    window = np.full(15, 1 / 29, np.float32)
    got, _ = solve_pairs(cuda, device, pairs, False, window)
    wanted, _ = solve_on_cpu([x[0] for x in pairs], False, window)
    np.testing.assert_allclose(got[0], wanted, rtol=0, atol=1e-5)


def test_flat_frames_leave_the_flow_finite_and_unmoved(cuda, device):
    frames = np.full((1, 9, 8), 0.5, np.float32)
    flow = np.zeros((1, 2, 9, 8), np.float32)
    pairs = frames, frames, flow, flow
    np.testing.assert_array_equal(relax_pairs(cuda, device, pairs, FUNCTIONALS["robust"], 1), 0)
    moved, confidence = solve_pairs(cuda, device, pairs, True)
    np.testing.assert_array_equal(moved, 0)
    np.testing.assert_allclose(confidence, 0, atol=1e-9)


def test_pairs_know_nothing_of_each_other(cuda, device):
    shape = 9, 11
    pairs = problems(shape, 3)
    functional = FUNCTIONALS["robust"]
    together = relax_pairs(cuda, device, pairs, functional, 1)
    windows, confidences = solve_pairs(cuda, device, pairs, True)
    for k in range(3):
        alone = [x[k : k + 1] for x in pairs]
        np.testing.assert_array_equal(
            together[k : k + 1], relax_pairs(cuda, device, alone, functional, 1)
        )
        window, confidence = solve_pairs(cuda, device, alone, True)
        np.testing.assert_array_equal(windows[k : k + 1], window)
        np.testing.assert_array_equal(confidences[k : k + 1], confidence)


@pytest.mark.parametrize("n_bands", [2, 3, 100])
def test_bands_give_the_same_as_the_whole(cuda, device, launches, n_bands):
    pairs = problems((19, 7), 1)
    functional = FUNCTIONALS["robust"]
    whole = relax_pairs(cuda, device, pairs, functional, 1)
    windows = solve_pairs(cuda, device, pairs, True, GAUSSIAN[:3])
    n_launches = len(launches)
    banded = relax_pairs(cuda, device, pairs, functional, 1, n_bands=n_bands)
    np.testing.assert_array_equal(banded, whole)
    banded = solve_pairs(cuda, device, pairs, True, GAUSSIAN[:3], n_bands=n_bands)
    for got, wanted in zip(banded, windows):
        np.testing.assert_array_equal(got, wanted)
    # Four launches of `relax` and three of `solve_windows` for each band.
    assert len(launches) - n_launches == 7 * min(n_bands, 4)


def test_launches_span_blocks_and_a_sweep_is_two_of_them(cuda, device, launches):
    pairs = problems((17, 19), 1)
    relax_pairs(cuda, device, pairs, FUNCTIONALS["quadratic"], 2)
    assert [kernel.name.rpartition(".")[2] for kernel, *_ in launches] == [
        "_set_up_system",
        *4 * ["_relax_colour"],
        "_store_flow",
    ]
    for _, grid, block in launches:
        assert math.prod(grid) > 1
        assert not simulator_enabled() or math.prod(grid) * math.prod(block) <= 500


def test_both_devices_have_the_same_names_and_arguments(cuda):
    for name in cuda.__all__:
        kernel = getattr(cpu, name, None)
        if kernel is None:  # frames of the host are read without kernels
            assert name in ("extremes", "luminance", "mean_and_difference", "pair_up")
            continue
        func = getattr(kernel, "py_func", kernel)
        assert inspect.signature(getattr(cuda, name)) == inspect.signature(func), name
