"""Histograms of flow: against a reference, under changes of the flow, and as a transformer."""

import pickle

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.utils import get_tags

from fastmotion.features import FlowHistogram
from fastmotion.features.kernels import cpu
from tests.reference import features as reference

PLAIN = {"normalization": None}


def random_flow(rng, shape=(2, 5, 37, 43), scale=1.0):
    return rng.normal(scale=scale, size=(*shape, 2)).astype(np.float32)


def expected(clip, grid, **params):
    return np.concatenate(reference.flow_histogram(clip, grid, **params))


# Against the reference


@pytest.mark.parametrize("components", [("flow",), ("boundary",), ("boundary", "flow")])
@pytest.mark.parametrize("n_orientations", [2, 5, 8, 64])
@pytest.mark.parametrize("still_threshold", [None, 0.0, 0.7])
def test_sums_are_those_of_the_reference(rng, components, n_orientations, still_threshold):
    flow = random_flow(rng)
    flow[0, 0, :, :5] = 0
    params = {
        "n_orientations": n_orientations,
        "components": components,
        "still_threshold": still_threshold,
    }
    got = FlowHistogram(grid=(2, 3, 4), **params, **PLAIN).fit_transform(flow)
    assert got.dtype == np.float32
    wanted = np.stack([expected(clip, (2, 3, 4), **params) for clip in flow])
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 7), (2, 2, 1), (3, 2, 2), (33, 65, 3)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
def test_any_size_and_dtype(rng, shape, dtype):
    clip = (3 * rng.normal(size=(*shape, 2))).astype(dtype)
    grid = tuple(min(2, size) for size in shape)
    got = FlowHistogram(grid=grid, **PLAIN).fit_transform(clip[None])[0]
    np.testing.assert_allclose(got, expected(clip, grid), rtol=2e-5, atol=1e-4)


def test_unknown_pixels_are_left_out(rng):
    flow = random_flow(rng, (1, 3, 20, 22))
    flow[0, 1, 4:9, 3:6, 0] = np.nan
    flow[0, :, 10:, 11:] = np.nan
    flow[0, 2, 0, 0, 1] = np.nan
    histogram = FlowHistogram(grid=(1, 2, 2), **PLAIN)
    got = histogram.fit_transform(flow)[0]
    np.testing.assert_allclose(got, expected(flow[0], (1, 2, 2)), rtol=2e-5, atol=1e-4)
    unknown = [name.endswith("y1_x1_still") or "_y1_x1_" in name for name in histogram.bin_names_]
    assert sum(unknown) == 25
    assert not got[unknown].any()


def test_flow_that_is_unknown_everywhere_is_zeros():
    flow = np.full((1, 1, 8, 8, 2), np.nan, np.float32)
    for normalization in ("l1-sqrt", "l2", None):
        got = FlowHistogram(grid=(1, 1, 1), normalization=normalization).fit_transform(flow)
        np.testing.assert_array_equal(got, np.zeros((1, 25)))


def test_lengths_at_the_threshold_are_still():
    flow = np.outer(np.repeat([0.25, 0.5, 0.75], 3), [1.0, 0.0])
    histogram = FlowHistogram(4, components=["flow"], grid=(1, 1, 1), still_threshold=0.5, **PLAIN)
    got = histogram.fit_transform(flow.reshape(1, 1, 1, 9, 2))
    np.testing.assert_array_equal(got, [[2.25, 0, 0, 0, 6]])


@pytest.mark.parametrize(("normalization", "order"), [("l1-sqrt", 1), ("l2", 2)])
def test_each_histogram_has_a_norm_of_its_own(rng, normalization, order):
    flow = random_flow(rng)
    sums = FlowHistogram(**PLAIN).fit_transform(flow).astype(np.float64)
    got = FlowHistogram(normalization=normalization).fit_transform(flow)
    parts = []
    for part in np.split(sums, [108, 204], axis=1):
        part = part / np.linalg.norm(part, order, axis=1, keepdims=True)
        parts.append(np.sqrt(part) if order == 1 else part)
    np.testing.assert_allclose(got, np.hstack(parts), rtol=1e-5, atol=1e-7)


# Blocks


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 3, 2)])
@pytest.mark.parametrize("step", [None, (1, 5, 3), (9, 17, 19)])
def test_blocks_are_clips_of_their_own(rng, grid, step):
    clip = random_flow(rng, (1, 6, 29, 37))
    shape = (3, 11, 14)
    histogram = FlowHistogram(
        components=("flow",), grid=grid, block_shape=shape, block_step=step, **PLAIN
    )
    got = histogram.fit_transform(clip)
    step = step or (1, 5, 7)
    blocks = [
        clip[:, t : t + 3, y : y + 11, x : x + 14]
        for t in range(0, 6 - 3 + 1, step[0])
        for y in range(0, 29 - 11 + 1, step[1])
        for x in range(0, 37 - 14 + 1, step[2])
    ]
    assert got.shape == (1, len(blocks), 9 * np.prod(grid))
    wanted = [FlowHistogram(components=("flow",), grid=grid, **PLAIN).transform(b) for b in blocks]
    np.testing.assert_allclose(got[0], np.concatenate(wanted), rtol=1e-5, atol=1e-4)


def test_a_block_of_the_whole_clip_is_the_clip(rng):
    flow = random_flow(rng)
    whole = FlowHistogram().fit_transform(flow)
    block = FlowHistogram(block_shape=flow.shape[1:4]).fit_transform(flow)
    np.testing.assert_array_equal(block[:, 0], whole)


# What happens to the histograms when something happens to the flow

flows = arrays(
    np.float32,
    st.tuples(st.just(1), st.integers(1, 3), st.integers(2, 9), st.integers(2, 9), st.just(2)),
    elements=st.floats(-50, 50, width=32),
)


def of_flow(flow, n=8, **params):
    settings = {"grid": (1, 2, 2), "still_threshold": None, **PLAIN, **params}
    got = FlowHistogram(n, components=("flow",), **settings).fit_transform(flow)
    return got.reshape(-1, n)


def assert_close(got, wanted):
    np.testing.assert_allclose(got, wanted, atol=1e-4 * max(np.abs(wanted).max(), 1e-3))


@given(flows, st.integers(3, 12))
@settings(max_examples=30, deadline=None)
def test_turned_vectors_move_by_a_bin(flow, n):
    angle = 2 * np.pi / n
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = flow.astype(np.float64) @ turn.T
    assert_close(of_flow(turned, n), np.roll(of_flow(flow, n), 1, axis=1))


@given(flows, st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_scale_does_not_matter_to_normalised_histograms(flow, scale):
    params = {"still_threshold": None, "normalization": "l2", "grid": (1, 2, 2)}
    histogram = FlowHistogram(**params)
    flow = flow.astype(np.float64)
    np.testing.assert_allclose(
        histogram.transform(scale * flow), histogram.transform(flow), atol=2e-4
    )


@given(flows)
@settings(max_examples=30, deadline=None)
def test_a_mirror_permutes_bins_and_cells(flow):
    width = flow.shape[3] - flow.shape[3] % 2  # so that cells mirror onto cells
    flow = flow[:, :, :, :width]
    mirrored = flow[:, :, :, ::-1] * np.array([-1, 1], np.float32)
    bins = (4 - np.arange(8)) % 8
    got = of_flow(mirrored).reshape(2, 2, 8)
    assert_close(got, of_flow(flow).reshape(2, 2, 8)[:, ::-1, bins])


@given(flows, st.booleans())
@settings(max_examples=30, deadline=None)
def test_cells_add_up_to_the_clip(flow, has_blocks):
    params = {**PLAIN, "block_shape": flow.shape[1:4] if has_blocks else None}
    cells = FlowHistogram(grid=(1, 2, 2), **params).fit_transform(flow).ravel()
    whole = FlowHistogram(grid=(1, 1, 1), **params).fit_transform(flow).ravel()
    parts = np.split(cells, [36, 68])
    summed = [part.reshape(4, -1).sum(0) for part in parts]
    assert_close(np.concatenate(summed), whole)


def test_motion_that_is_the_same_all_over_has_no_boundaries(rng):
    flow = random_flow(rng)
    shifted = flow + np.array([2.0, -3.0], np.float32)
    histogram = FlowHistogram(components=["boundary"], **PLAIN)
    before, after = histogram.fit_transform(flow), histogram.transform(shifted)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-3)


# As a transformer


def test_a_subset_of_clips_gives_the_same(rng):
    flow = random_flow(rng, (4, 3, 20, 24))
    histogram = FlowHistogram(block_shape=(2, 8, 8), grid=(1, 2, 2)).fit(flow)
    whole = histogram.transform(flow)
    np.testing.assert_array_equal(histogram.transform(flow[1:3]), whole[1:3])
    np.testing.assert_array_equal(histogram.transform(flow[::-1]), whole[::-1])


def test_threads_do_not_change_a_bit(rng, monkeypatch):
    flow = random_flow(rng, (1, 40, 170, 161))
    counts = []
    kernel = cpu.orientation_histograms

    def counted(*args):
        counts.append(numba.get_num_threads())
        return kernel(*args)

    monkeypatch.setattr(cpu, "orientation_histograms", counted)
    got = [FlowHistogram(n_jobs=n_jobs).fit_transform(flow) for n_jobs in (1, 2)]
    assert set(counts) == {1, min(2, numba.config.NUMBA_NUM_THREADS)}
    np.testing.assert_array_equal(*got)


def test_input_is_left_alone_whatever_its_layout(rng):
    flow = random_flow(rng)
    kept = flow.copy()
    wanted = FlowHistogram().fit_transform(flow)
    flow.setflags(write=False)
    strided = np.repeat(flow, 2, axis=3)[:, :, :, ::2]
    for X in (flow, strided, np.asfortranarray(flow), flow.astype(np.float64), flow.tolist()):
        np.testing.assert_array_equal(FlowHistogram().fit_transform(X), wanted)
    np.testing.assert_array_equal(flow, kept)


def test_names_tell_cells_and_directions():
    histogram = FlowHistogram(3, grid=(1, 2, 1))
    names = histogram.get_feature_names_out().tolist()
    assert names == [
        *(f"flow_t0_y{y}_x0_{b}" for y in (0, 1) for b in ("000deg", "120deg", "240deg", "still")),
        *(
            f"boundary_{k}_t0_y{y}_x0_{b}"
            for k in "uv"
            for y in (0, 1)
            for b in ("000deg", "120deg", "240deg")
        ),
    ]
    assert histogram.fit(np.zeros((1, 1, 2, 2, 2))).bin_names_ == names
    assert FlowHistogram(7).get_feature_names_out()[1] == "flow_t0_y0_x0_051.4deg"
    one_way = FlowHistogram(8, components=["flow"], grid=(1, 1, 1), still_threshold=None)
    for k, (u, v) in enumerate([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0)]):
        flow = np.broadcast_to(np.float32([u, v]), (1, 1, 4, 4, 2))
        assert one_way.fit_transform(flow).argmax() == k
        assert one_way.get_feature_names_out()[k].endswith(f"{45 * k:03d}deg")


def test_tables_are_data_frames_and_blocks_stay_arrays(rng):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    flow = random_flow(rng)
    histogram = FlowHistogram().set_output(transform="pandas")
    table = clone(histogram).fit_transform(flow)
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == histogram.get_feature_names_out().tolist()
    blocks = FlowHistogram(block_shape=(2, 16, 16), grid=(1, 1, 1)).set_output(transform="pandas")
    assert type(blocks.fit_transform(flow)) is np.ndarray
    assert not hasattr(blocks, "get_feature_names_out")
    assert len(blocks.bin_names_) == 25


def test_it_keeps_the_rules_of_scikit_learn(rng):
    flow = random_flow(rng)
    grid = [2, 2, 2]
    histogram = FlowHistogram(grid=grid)
    before = histogram.get_params()
    fitted = histogram.fit(flow)
    assert fitted is histogram and histogram.get_params() == before and histogram.grid is grid
    assert histogram.flow_shape_ == (5, 37, 43) and histogram.device_ == "cpu"
    tags = get_tags(histogram)
    assert not tags.requires_fit and tags.input_tags.allow_nan and not tags.input_tags.two_d_array
    copy = pickle.loads(pickle.dumps(histogram))
    np.testing.assert_array_equal(copy.transform(flow), clone(histogram).fit_transform(flow))


GOOD = np.zeros((1, 4, 16, 16, 2), np.float32)


def with_value(value):
    flow = GOOD.astype(np.float64)
    flow[0, 2, 3, 4, 1] = value
    return flow


@pytest.mark.parametrize(
    ("params", "X", "error", "message"),
    [
        ({}, GOOD[0], ValueError, "for the flow of one clip pass flow.numpy.newaxis."),
        ({}, GOOD[..., :1], ValueError, "must have shape"),
        ({}, GOOD[:0], ValueError, "at least one clip"),
        ({}, GOOD.astype(complex), TypeError, "real numbers"),
        ({}, with_value(np.inf), ValueError, "must be finite"),
        ({}, with_value(-np.inf), ValueError, "must be finite"),
        ({}, with_value(1e300), ValueError, "must be finite"),
        ({}, with_value(-2e9), ValueError, "set to NaN what is unknown"),
        ({"n_orientations": 1}, GOOD, ValueError, "n_orientations"),
        ({"components": ()}, GOOD, ValueError, "components must be some of"),
        ({"components": ("flow", "mbh")}, GOOD, ValueError, "components must be some of"),
        ({"components": ("flow", "flow")}, GOOD, ValueError, "each once"),
        ({"grid": (1, 2)}, GOOD, ValueError, "grid must be three integers"),
        ({"grid": (1, 2, 0)}, GOOD, ValueError, "grid must be three integers"),
        ({"grid": (1, 2, 1.5)}, GOOD, ValueError, "grid must be three integers"),
        ({"grid": (5, 1, 1)}, GOOD, ValueError, "along t there are 5 cells on 4"),
        ({"block_shape": (4, 17, 4)}, GOOD, ValueError, "along y they have 17 of 16"),
        ({"block_shape": (3, 4, 1)}, GOOD, ValueError, "along x there are 2 cells on 1"),
        ({"block_step": (0, 1, 1)}, GOOD, ValueError, "block_step must be three integers"),
        ({"still_threshold": -1.0}, GOOD, ValueError, "still_threshold"),
        ({"normalization": "l1"}, GOOD, ValueError, "normalization"),
        ({"device": "tpu"}, GOOD, ValueError, "device must be"),
    ],
)
def test_errors_say_what_is_wrong(params, X, error, message):
    with pytest.raises(error, match=message):
        FlowHistogram(**params).fit(X).transform(X)
