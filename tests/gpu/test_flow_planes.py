"""The CUDA kernels that frames and flows pass through, against those of the CPU.

`tests/cudasim` runs these same tests in Numba's simulator, where a device is not needed.
"""

import numpy as np
import pytest

from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import to_host
from fastmotion.core.validation import LUMA, check_image
from fastmotion.flow.kernels import cpu
from fastmotion.flow.pyramid import resampling_weights
from tests.gpu.arrays import to_device
from tests.reference import flow as reference
from tests.reference.flow_cases import random_flow, texture, texture_pair

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Grid size"),  # small images do not occupy the device
]

SHAPES = [(9, 11), (5, 8), (1, 3)]
if not simulator_enabled():  # it takes a millisecond for a thread
    SHAPES += [(241, 320), (16, 700)]


@pytest.fixture
def cuda(device):
    """Return the kernels, which on some machines can be imported only where there is a device."""
    from fastmotion.flow.kernels import cuda

    return cuda


@pytest.fixture
def run(device):
    """Return what runs a kernel on copies of arrays and returns the one that it writes, unset."""

    def run(kernel, *args, shape, dtype=np.float32):
        there = [to_device(x, device) if isinstance(x, np.ndarray) else x for x in args]
        out = to_device(np.full(shape, np.nan, dtype), device)
        kernel(*(out if x is OUT else x for x in there))
        return to_host(out)

    return run


OUT = object()


def stack(shape, n=2, sigma=0):
    return np.stack([texture(shape, seed, sigma) for seed in range(n)])


def flows(shape, magnitude, n=2):
    return np.stack([random_flow(shape, magnitude, seed=10 * k) for k in range(n)])


# resample


@pytest.mark.parametrize(("shape", "new_shape"), [((9, 11), (7, 5)), ((6, 5), (9, 5))])
def test_resample(cuda, run, shape, new_shape):
    planes = stack(shape, 3)
    weights = [resampling_weights(*sizes, 0.7) for sizes in zip(shape, new_shape)]
    factor = np.float32([1, -2, 0.5])
    wanted = np.empty((3, *new_shape), np.float32)
    cpu.resample(planes, wanted, *weights[0], *weights[1], factor)
    got = run(cuda.resample, planes, OUT, *weights[0], *weights[1], factor, shape=(3, *new_shape))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


# warp


@pytest.mark.parametrize("magnitude", [0.7, 1e20])
@pytest.mark.parametrize("shape", SHAPES)
def test_warp(cuda, run, shape, magnitude):
    images, flow = stack(shape, sigma=1.5), flows(shape, magnitude)
    flow[1, :, 0] = np.round(flow[1, :, 0])  # exactly on pixels, and so on the border
    got = run(cuda.warp, images, flow, OUT, shape=images.shape)
    for k in range(2):
        wanted = np.empty(shape, np.float32)
        cpu.warp(images[k], flow[k], wanted)
        np.testing.assert_allclose(got[k], wanted, rtol=0, atol=1e-5)


def test_warp_by_nan_stays_within_the_image(cuda, run):
    images = np.ones((1, 5, 6), np.float32)
    flow = np.full((1, 2, 5, 6), np.nan, np.float32)
    assert run(cuda.warp, images, flow, OUT, shape=images.shape).shape == images.shape


@pytest.mark.parametrize("value", [np.nan, -3.0])
def test_points_outside_are_marked_as_on_the_cpu(cuda, device, value):
    images, flow = stack((9, 11)), flows((9, 11), 3.0)
    flow[0] = np.round(flow[0])  # exactly on the border
    out = to_device(images, device)
    cuda.mark_outside(to_device(flow, device), np.float32(value), out)
    for k, marked in enumerate(to_host(out)):
        wanted = images[k].copy()
        cpu.mark_outside(flow[k], np.float32(value), wanted)
        assert 0 < np.sum(wanted != images[k]) < wanted.size
        np.testing.assert_array_equal(marked, wanted)


def test_lengths(cuda, run):
    there, back = flows((5, 9), 2.0), flows((5, 9), 1.0)[::-1].copy()
    got = run(cuda.lengths, there, back, OUT, shape=(2, 5, 9))
    for k in range(2):
        wanted = np.empty((5, 9), np.float32)
        cpu.lengths(there[k], back[k], wanted)
        np.testing.assert_allclose(got[k], wanted, rtol=1e-6)


@pytest.mark.parametrize("n_channels", [1, 2, 4])
def test_channels_go_apart_and_together(cuda, run, rng, n_channels):
    fields = rng.random((2, 5, 9, n_channels), dtype=np.float32)
    planes = run(cuda.split, fields, OUT, shape=(2, n_channels, 5, 9))
    np.testing.assert_array_equal(planes, np.moveaxis(fields, -1, 1))
    np.testing.assert_array_equal(run(cuda.join, planes, OUT, shape=fields.shape), fields)


# medians


@pytest.mark.parametrize("shape", SHAPES)
def test_median(cuda, run, shape):
    planes = stack(shape).reshape(1, 2, *shape)
    planes[0, 1] = np.round(4 * planes[0, 1])  # ties
    got = run(cuda.median, planes, OUT, shape=planes.shape)
    np.testing.assert_array_equal(got[0], reference.median(planes[0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_reliability(cuda, run, shape):
    frames, flow = texture_pair(shape), random_flow(shape, 2.0)
    arrays = [x[np.newaxis] for x in (*frames, flow)]
    got = run(cuda.reliability, *arrays, OUT, shape=(1, *shape))
    wanted = np.empty(shape, np.float32)
    cpu.reliability(*frames, flow, wanted)
    np.testing.assert_allclose(got[0], wanted, rtol=0, atol=1e-6)


def test_weighted_median(cuda, run, rng):
    shape = 20, 9
    frame, weights = texture(shape), rng.random(shape, dtype=np.float32)
    flow = random_flow(shape, 0.1)
    flow[:, 14:] += 2  # a motion boundary; the upper blocks have none
    wanted = np.empty_like(flow)
    cpu.weighted_median(frame, weights, flow, wanted)
    near = (wanted != flow).any(axis=0)
    assert near[12:].any() and not near[:4].any()
    arrays = [x[np.newaxis] for x in (frame, weights, flow)]
    got = run(cuda.weighted_median, *arrays, OUT, shape=(1, *flow.shape))
    # Found by bisection, so known to a part of the range; elsewhere the flow is copied.
    np.testing.assert_allclose(got[0], wanted, rtol=0, atol=np.ptp(flow) * 2.0**-11)
    np.testing.assert_array_equal(got[0][:, ~near], flow[:, ~near])


# frames


FRAMES = {
    "gray bytes": (np.uint8, 1, 255),
    "colour bytes": (np.uint8, 3, 255),
    "colour words": (np.uint16, 3, 65535),
    "gray float32": (np.float32, 1, 1),
    "colour float32": (np.float32, 3, 1),
    "colour float64": (np.float64, 3, 1),
}


@pytest.mark.parametrize("name", FRAMES)
def test_luminance(cuda, run, rng, name):
    dtype, n_channels, white = FRAMES[name]
    frames = (255 * rng.random((2, 16, 17, n_channels))).astype(dtype)
    number = np.float64 if dtype == np.float64 else np.float32
    got = run(cuda.luminance, frames, LUMA, white, OUT, shape=(2, 16, 17), dtype=number)
    wanted = [check_image(frame) / white for frame in frames]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes(cuda, device, rng, dtype):
    planes = (rng.random((4, 13, 19)) - 0.5).astype(dtype)
    planes[1, 12, 18] = np.nan
    planes[2, 0, 0] = np.nan
    planes[3, 7, 3], planes[3, 9, 4] = np.inf, -np.inf
    found = cuda.extremes(to_device(planes, device))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:, 0], planes.min(axis=(1, 2)))
    np.testing.assert_array_equal(found[:, 1], planes.max(axis=(1, 2)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_of_clips(cuda, run, dtype):
    # Clips of three frames are two pairs each; pairs 1 to 3 show frames 1 2, 3 4 and 4 5.
    frames = 7 * stack((5, 6), 6).astype(dtype) - 3
    ranges = np.array([[-3.0, 7.0], [0.0, 1.0], [1.0, 2.0]], dtype)
    got = run(cuda.pair_up, frames[1:], ranges, 1, 3, OUT, shape=(2, 3, 5, 6))
    for k, (first, (low, span)) in enumerate(zip((1, 3, 4), ranges)):
        wanted = (frames[first : first + 2] - low) / span
        np.testing.assert_allclose(got[:, k], wanted, rtol=0, atol=1e-6)


def test_mean_and_difference(cuda, device):
    frame0, frame1 = stack((5, 9)), stack((5, 9))[::-1].copy()
    out = [to_device(np.full_like(frame0, np.nan), device) for _ in range(2)]
    cuda.mean_and_difference(to_device(frame0, device), to_device(frame1, device), *out)
    np.testing.assert_allclose(to_host(out[0]), (frame0 + frame1) / 2, rtol=1e-6)
    np.testing.assert_array_equal(to_host(out[1]), frame1 - frame0)
