"""What holds of dense flow for any image, tried on random ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmotion.flow import (
    HornSchunck,
    LucasKanade,
    forward_backward_error,
    image_derivatives,
    warp,
)
from tests.reference import flow as reference
from tests.reference.flow_cases import random_flow, texture, texture_pair

few = settings(max_examples=8, deadline=None, derandomize=True, database=None)
each_estimator = pytest.mark.parametrize("estimator", [HornSchunck, LucasKanade])

seeds = st.integers(0, 10_000)
sizes = st.tuples(st.integers(16, 40), st.integers(16, 40))
steps = st.tuples(*[st.floats(-0.8, 0.8)] * 2)


def moved(shape, seed, step):
    return texture_pair(shape, seed, step)


# The frames' values


@each_estimator
@few
@given(seed=seeds, shape=sizes)
def test_identical_frames_stand_still(estimator, seed, shape):
    frame = texture(shape, seed, sigma=seed % 3)
    assert not estimator().estimate(frame, frame).any()


@each_estimator
@few
@given(
    seed=seeds,
    scale=st.floats(1e-3, 1e4),
    offset=st.floats(-1e3, 1e3),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_scale_and_offset_of_float_frames_do_not_matter(estimator, seed, scale, offset, dtype):
    frames = moved((24, 31), seed, (0.5, 0.3))
    others = [
        (dtype(scale) * (dtype(frame) + dtype(offset / 1e4))).astype(dtype) for frame in frames
    ]
    flow = estimator().estimate(*frames)
    np.testing.assert_allclose(estimator().estimate(*others), flow, atol=2e-2)


@each_estimator
@few
@given(seed=seeds, step=steps)
def test_types_of_the_same_range(estimator, seed, step):
    frames = [np.uint8(np.rint(255 * f)) for f in moved((24, 31), seed, step)]
    for frame in frames:
        frame[0, :2] = 0, 255  # the range that float frames are scaled by
    flow = estimator().estimate(*frames)
    for other in (
        [np.uint16(f) * 257 for f in frames],
        [f / 255 for f in frames],
        [np.float32(f) for f in frames],
        [np.int64(f) for f in frames],
    ):
        np.testing.assert_allclose(estimator().estimate(*other), flow, atol=1e-2)


@each_estimator
@few
@given(seed=seeds, shape=sizes)
def test_gray_is_colour_without_hue(estimator, seed, shape):
    frames = moved(shape, seed, (0.5, -0.4))
    flow = estimator().estimate(*frames)
    one = estimator().estimate(*(f[..., np.newaxis] for f in frames))
    np.testing.assert_array_equal(one, flow)
    three = estimator().estimate(*(np.repeat(f[..., np.newaxis], 3, -1) for f in frames))
    np.testing.assert_allclose(three, flow, atol=1e-2)


# The frames' memory


def layouts(frame):
    """Return arrays of other layouts that hold the same frame."""
    doubled = np.zeros(tuple(2 * n for n in frame.shape), frame.dtype)
    doubled[::2, ::2] = frame
    read_only = frame.copy()
    read_only.setflags(write=False)
    return {
        "Fortran": np.asfortranarray(frame),
        "strided": doubled[::2, ::2],
        "reversed": frame[::-1, ::-1].copy()[::-1, ::-1],
        "transposed": frame.T.copy().T,
        "read-only": read_only,
        "big-endian": frame.astype(frame.dtype.newbyteorder(">")),
        "channel": np.dstack([frame] * 3)[..., 1],
    }


@each_estimator
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("name", layouts(np.zeros((16, 16))))
def test_layout_does_not_matter_and_arguments_stay(estimator, dtype, name):
    frames = [np.asarray(200 * f, dtype) for f in moved((24, 31), 3, (0.5, -0.4))]
    start = 0.1 * np.moveaxis(random_flow((24, 31), 1.0), 0, -1)  # not contiguous
    flow = estimator().estimate(*frames, initial_flow=np.ascontiguousarray(start))
    others = [layouts(frame)[name] for frame in frames]
    before = [np.array(a) for a in (*others, start)]
    result = estimator().estimate(*others, initial_flow=start)
    np.testing.assert_array_equal(result, flow)
    for array, copy in zip((*others, start), before):
        np.testing.assert_array_equal(array, copy)
    assert not any(np.shares_memory(result, array) for array in (*others, start))


@each_estimator
def test_float32_planes_stay_untouched(estimator):
    # What needs no conversion must not be worked on in place.
    frames = moved((24, 31), 3, (0.5, -0.4))
    start = np.ones((24, 31, 2), np.float32)
    before = [a.copy() for a in (*frames, start)]
    for array in (*frames, start):
        array.setflags(write=False)
    estimator(n_levels=1).estimate(*frames, initial_flow=start)
    for array, copy in zip((*frames, start), before):
        np.testing.assert_array_equal(array, copy)


# Symmetries


def transposed(frame):
    return np.ascontiguousarray(frame.T)


FLIPS = {
    "transposed": (transposed, lambda flow: flow.transpose(1, 0, 2)[..., ::-1]),
    "left to right": (lambda f: f[:, ::-1], lambda flow: flow[:, ::-1] * [-1, 1]),
    "upside down": (lambda f: f[::-1], lambda flow: flow[::-1] * [1, -1]),
    "turned": (lambda f: f[::-1, ::-1], lambda flow: -flow[::-1, ::-1]),
}


@each_estimator
@pytest.mark.parametrize("name", FLIPS)
@few
@given(seed=seeds, shape=sizes, step=steps)
def test_flips(estimator, name, seed, shape, step):
    frames = moved(shape, seed, step)
    flip, flip_flow = FLIPS[name]
    # Many sweeps: which pixels are red and which black depends on where the image begins.
    method = estimator(n_sweeps=40) if estimator is HornSchunck else estimator()
    flow, flipped = method.estimate(*frames), method.estimate(*map(flip, frames))
    difference = np.abs(flip_flow(flow) - flipped)
    assert np.quantile(difference, 0.9) < 0.02 and difference.mean() < 0.02


@each_estimator
@few
@given(seed=seeds, along=st.integers(0, 6), down=st.integers(0, 6))
def test_a_shift_of_both_frames_shifts_the_flow(estimator, seed, along, down):
    """On one level, away from the border, by as many pixels as a sweep reaches."""
    frame0, frame1 = moved((70, 72), seed, (0.4, -0.3))
    method = estimator(n_levels=1, n_warps=1, n_finest_warps=1)
    if estimator is HornSchunck:
        method.set_params(n_sweeps=4)
        along, down = 2 * along, 2 * down  # so that red pixels stay red
    shape = 56, 58

    def cut(frame, y, x):
        return frame[y : y + shape[0], x : x + shape[1]]

    # Both cuts have the same range of intensities.
    for frame in (frame0, frame1):
        np.clip(frame, 0, 1, out=frame)
        frame[34, 36:38] = 0, 1
    flow = method.estimate(cut(frame0, 0, 0), cut(frame1, 0, 0))
    other = method.estimate(cut(frame0, down, along), cut(frame1, down, along))
    inner = other[16 : 40 - down, 16 : 42 - along]
    expected = flow[16 + down : 40, 16 + along : 42]
    np.testing.assert_allclose(inner, expected, atol=1e-4)


@each_estimator
@few
@given(seed=seeds, step=steps)
def test_frames_swapped_move_back(estimator, seed, step):
    frame0, frame1 = moved((32, 36), seed, step)
    there = estimator().estimate(frame0, frame1)[6:-6, 6:-6]
    back = estimator().estimate(frame1, frame0)[6:-6, 6:-6]
    np.testing.assert_allclose(np.median(there, (0, 1)), step, atol=0.1)
    assert np.abs(there + back).mean() < 0.1


# Where the search starts, and on which scale it ends


@each_estimator
@few
@given(seed=seeds, u=st.integers(-12, 12), v=st.integers(-12, 12))
def test_an_initial_flow_reaches_what_one_level_cannot(estimator, seed, u, v):
    frame = texture((90, 96), seed)
    frames = [
        np.ascontiguousarray(f)
        for f in (frame[20:60, 20:64], frame[20 - v : 60 - v, 20 - u : 64 - u])
    ]
    inner = slice(13, -13), slice(13, -13)
    method = estimator(n_levels=1)
    start = np.full((40, 44, 2), [u + 0.3, v - 0.3])
    flow = method.estimate(*frames, initial_flow=start)
    assert np.abs(flow[inner] - [u, v]).mean() < 0.05


@each_estimator
@few
@given(seed=seeds, step=st.tuples(*[st.floats(-4, 4)] * 2))
def test_the_true_flow_as_a_start_stays(estimator, seed, step):
    frames = moved((48, 52), seed, step)
    true = np.broadcast_to(np.float32(step), (48, 52, 2))
    error = np.abs(estimator().estimate(*frames, initial_flow=true) - true)
    assert error[6:-6, 6:-6].mean() < 0.05


@each_estimator
@pytest.mark.parametrize("finest_scale", [0, 1, 2])
@few
@given(seed=seeds, shape=st.tuples(st.integers(64, 90), st.integers(64, 90)))
def test_a_coarser_scale_gives_a_similar_flow(estimator, finest_scale, seed, shape):
    step = 1.5, -1.0
    wide = texture((shape[0] + 16, shape[1] + 16), seed, sigma=4)
    flow_back = np.broadcast_to(-np.float32(step), (*wide.shape, 2))
    frames = [wide[8:-8, 8:-8], warp(wide, flow_back)[8:-8, 8:-8]]
    flow = estimator(finest_scale=finest_scale).estimate(*frames)
    assert flow.shape == (*shape, 2)
    assert np.abs(flow[10:-10, 10:-10] - step).mean() < 0.2


# warp, forward_backward_error and image_derivatives


@few
@given(seed=seeds, shape=st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_warp_by_nothing_is_the_identity(seed, shape):
    image = np.dstack([texture(shape, seed + k, sigma=0) for k in range(2)])
    still = np.zeros((*shape, 2))
    np.testing.assert_array_equal(warp(image, still), image)
    np.testing.assert_array_equal(warp(image[..., 0], still), image[..., 0])


@few
@given(seed=seeds, u=st.integers(-20, 20), v=st.integers(-20, 20))
def test_warp_by_whole_pixels_is_a_shift(seed, u, v):
    image = texture((18, 22), seed, sigma=0)
    shifted = warp(image, np.broadcast_to([float(u), float(v)], (18, 22, 2)))
    rows, columns = np.indices(image.shape)
    expected = image[np.clip(rows + v, 0, 17), np.clip(columns + u, 0, 21)]
    np.testing.assert_array_equal(shifted, expected)


@few
@given(seed=seeds, magnitude=st.floats(0.1, 30))
def test_warp_is_linear_and_fills_outside(seed, magnitude):
    images = [texture((18, 22), seed + k, sigma=0) for k in range(2)]
    planes = random_flow((18, 22), magnitude, seed)
    flow = np.moveaxis(planes, 0, -1)
    combined = warp(2 * images[0] - images[1], flow)
    parts = 2 * warp(images[0], flow) - warp(images[1], flow)
    np.testing.assert_allclose(combined, parts, atol=1e-5)
    filled = warp(images[0], flow, fill_value=np.nan)
    inside = reference.points_inside(planes)
    np.testing.assert_array_equal(np.isfinite(filled), inside)
    np.testing.assert_array_equal(filled[inside], warp(images[0], flow)[inside])


@few
@given(seed=seeds)
def test_forward_backward_error_of_inverse_flows(seed):
    # A rotation about the centre and the one back are inverse to each other.
    angle = 0.02 + seed / 1e5
    rows, columns = np.indices((40, 44)) - np.array([19.5, 21.5])[:, None, None]
    there, back = (
        np.dstack([columns * (c - 1) - rows * s, columns * s + rows * (c - 1)])
        for c, s in ((np.cos(angle), np.sin(angle)), (np.cos(angle), -np.sin(angle)))
    )
    error = forward_backward_error(there, back)
    inside = reference.points_inside(np.moveaxis(np.float32(there), -1, 0))
    np.testing.assert_array_equal(np.isfinite(error), inside)
    assert np.nanmax(error[4:-4, 4:-4]) < 1e-4  # cubic interpolation is exact for ramps inside
    assert np.nanmean(forward_backward_error(there, there)) > 0.1  # flows that are not inverse


@few
@given(seed=seeds, u=st.floats(-3, 3), v=st.floats(-3, 3))
def test_forward_backward_error_measures_pixels(seed, u, v):
    still = np.zeros((16, 16, 2))
    error = forward_backward_error(still, np.broadcast_to([u, v], (16, 16, 2)))
    np.testing.assert_allclose(error, np.hypot(u, v), rtol=1e-5, atol=1e-6)


STENCILS = ["horn_schunck", "barron", "sobel", "scharr", "farid_simoncelli"]


@pytest.mark.parametrize("stencil", STENCILS)
@few
@given(seed=seeds)
def test_derivatives_of_a_plane_are_its_slopes(stencil, seed):
    # Farid and Simoncelli's taps fit a range of frequencies, not ramps alone.
    tolerance = 0.01 if stencil == "farid_simoncelli" else 1e-4
    slopes = np.random.default_rng(seed).uniform(-1, 1, 3)
    rows, columns = np.indices((16, 20))
    frame0 = slopes[0] * columns + slopes[1] * rows
    derivatives = image_derivatives(frame0, frame0 + slopes[2], stencil=stencil)
    for derivative, slope in zip(derivatives, slopes):
        assert derivative.dtype == np.float32
        np.testing.assert_allclose(derivative[3:-3, 3:-3], slope, rtol=tolerance, atol=1e-5)


def test_derivatives_by_barron_are_those_of_the_estimators():
    frames = moved((20, 23), 1, (0.5, 0.2))
    expected = reference.derivatives(*frames)
    for derivative, name in zip(image_derivatives(*frames), "xyt"):
        np.testing.assert_allclose(derivative, getattr(expected, name), atol=1e-5)


@few
@given(seed=seeds)
def test_derivatives_of_horn_and_schunck_are_means_over_a_cube(seed):
    frames = np.stack(moved((17, 18), seed, (0.5, 0.2)))
    cubes = np.lib.stride_tricks.sliding_window_view(frames, (2, 2, 2))[0]
    dx, dy, dt = image_derivatives(*frames, stencil="horn_schunck")
    inner = slice(None, -1), slice(None, -1)  # the cube begins at the pixel
    np.testing.assert_allclose(dx[inner], np.diff(cubes, axis=4).mean((2, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(dy[inner], np.diff(cubes, axis=3).mean((2, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(dt[inner], np.diff(cubes, axis=2).mean((2, 3, 4)), atol=1e-6)
