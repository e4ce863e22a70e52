import numpy as np
import pytest

from fastmotion.trajectory.sequences import (
    check_confidence,
    check_sequence_weights,
    check_sequences,
    check_target,
)

AXES = ("sequence", "frame", "joint", "coord")


def poses(*shape, dtype=np.float64):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def ragged(dtype=np.float64):
    return [poses(n, 4, 3, dtype=dtype) + n for n in (5, 2, 9)]


# Arrays and lists


@pytest.mark.parametrize("shape", [(3, 7, 4, 2), (7, 4, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_array_in_order_is_not_copied(shape, dtype):
    X = poses(*shape, dtype=dtype)
    X.setflags(write=False)
    sequences = check_sequences(X)
    assert np.shares_memory(sequences.frames, X)
    assert sequences.frames.dtype == dtype
    n = 3 if len(shape) == 4 else 1
    assert sequences.frames.shape == (n * 7, 4, 2)
    np.testing.assert_array_equal(sequences.starts, 7 * np.arange(n))
    np.testing.assert_array_equal(sequences.lengths, np.full(n, 7))
    assert (sequences.n_sequences, sequences.n_joints, sequences.n_coords) == (n, 4, 2)
    restored = sequences.restore(sequences.frames)
    np.testing.assert_array_equal(restored, X)
    assert np.shares_memory(restored, X)


@pytest.mark.parametrize("container", [list, tuple])
def test_ragged_list(container):
    X = container(ragged())
    sequences = check_sequences(X)
    assert sequences.frames.flags.c_contiguous
    np.testing.assert_array_equal(sequences.frames, np.concatenate(X))
    np.testing.assert_array_equal(sequences.starts, [0, 5, 7])
    np.testing.assert_array_equal(sequences.stops, [5, 7, 16])
    assert sequences.starts.dtype == sequences.stops.dtype == np.int64
    restored = sequences.restore(2 * sequences.frames)
    assert isinstance(restored, list)
    for values, part in zip(restored, X):
        np.testing.assert_array_equal(values, 2 * part)


def test_list_of_one_is_not_copied_and_stays_a_list():
    X = [poses(5, 4, 3)]
    sequences = check_sequences(X)
    assert np.shares_memory(sequences.frames, X[0])
    (restored,) = sequences.restore(sequences.frames)
    np.testing.assert_array_equal(restored, X[0])


def test_nested_lists_are_a_list_of_sequences():
    X = poses(2, 5, 4, 3)
    np.testing.assert_array_equal(check_sequences(X.tolist()).frames, X.reshape(10, 4, 3))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (bool, np.float64),
        (np.uint8, np.float64),
        (np.int64, np.float64),
        (np.float16, np.float64),
        (np.longdouble, np.float64),
        (">f8", np.float64),
        (">f4", np.float32),
    ],
)
def test_other_types_become_floats(dtype, expected):
    X = (poses(2, 5, 4, 3) % 2).astype(dtype)
    for container in (X, list(X)):
        frames = check_sequences(container).frames
        assert frames.dtype == np.dtype(expected) and frames.dtype.isnative
        np.testing.assert_array_equal(frames, X.reshape(-1, 4, 3).astype(float))


def test_a_list_of_several_types_takes_the_wider():
    parts = [poses(5, 4, 3, dtype=np.float32), poses(6, 4, 3, dtype=np.float64)]
    assert check_sequences(parts).frames.dtype == np.float64
    assert check_sequences([parts[0], parts[0]]).frames.dtype == np.float32
    assert check_sequences([parts[0], poses(5, 4, 3, dtype=int)]).frames.dtype == np.float64


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 0, 3, 2), (0, 1, 3, 2), (1, 2, 3, 0)])
def test_axes_of_an_array(order):
    X = poses(2, 5, 4, 3)
    axes = [AXES[i] for i in order]
    Y = X.transpose(order)
    before = Y.copy()
    sequences = check_sequences(Y, axes=axes)
    assert sequences.frames.flags.c_contiguous
    np.testing.assert_array_equal(sequences.frames, X.reshape(10, 4, 3))
    np.testing.assert_array_equal(sequences.restore(sequences.frames), before)
    more = np.stack([sequences.frames, -sequences.frames], axis=-1)
    np.testing.assert_array_equal(sequences.restore(more), np.stack([before, -before], axis=-1))


def test_axes_of_the_sequences_of_a_list():
    X = ragged()
    Y = [part.transpose(2, 0, 1) for part in X]
    sequences = check_sequences(Y, axes=("coord", "frame", "joint"))
    np.testing.assert_array_equal(sequences.frames, np.concatenate(X))
    for values, part in zip(sequences.restore(sequences.frames), Y):
        np.testing.assert_array_equal(values, part)


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        (("frame",), (5,), (5, 1, 1)),
        (("coord", "frame"), (3, 5), (5, 1, 3)),
        (("frame", "joint"), (5, 4), (5, 4, 1)),
        (("frame", "sequence"), (5, 2), (10, 1, 1)),
        (("joint", "frame", "sequence"), (4, 5, 2), (10, 4, 1)),
    ],
)
def test_an_axis_that_axes_leaves_out_has_size_one(axes, shape, expected):
    X = poses(*shape)
    sequences = check_sequences(X, axes=axes)
    assert sequences.frames.shape == expected
    np.testing.assert_array_equal(sequences.restore(sequences.frames), X)
    extra = np.zeros((*expected, 2, 6))
    assert sequences.restore(extra).shape == (*shape, 2, 6)


def test_masked_values_are_missing():
    X = np.ma.masked_less(poses(5, 4, 3).astype(int), 7)
    sequences = check_sequences(X)
    np.testing.assert_array_equal(np.isnan(sequences.frames), X.mask)
    np.testing.assert_array_equal(sequences.frames[~X.mask], X.compressed())
    single = np.ma.masked_less(poses(5, 4, 3, dtype=np.float32), 7)
    assert check_sequences([single]).frames.dtype == np.float32
    assert not np.ma.isMaskedArray(check_sequences(np.ma.asarray(poses(5, 4, 3))).frames)


# Restoring fewer frames


def test_fewer_frames_of_an_array_and_of_a_list():
    X = poses(3, 7, 4, 2)
    sequences = check_sequences(X)
    cut = X[:, 2:].reshape(-1, 4, 2)
    np.testing.assert_array_equal(sequences.restore(cut, [5, 5, 5], first=2), X[:, 2:])
    parts = check_sequences(ragged())
    cut = np.concatenate([part[1:] for part in ragged()])
    for values, part in zip(parts.restore(cut, parts.lengths - 1), ragged()):
        np.testing.assert_array_equal(values, part[1:])


def test_no_frames_left():
    sequences = check_sequences(ragged())
    restored = sequences.restore(np.zeros((4, 4, 3)), [0, 0, 4])
    assert [len(values) for values in restored] == [0, 0, 4]
    assert check_sequences(poses(2, 3, 4, 2)).restore(np.zeros((0, 4, 2)), [0, 0]).shape[1] == 0


def test_lengths_that_differ_make_a_list_of_an_array():
    X = poses(2, 5, 4, 3)
    sequences = check_sequences(
        X.transpose(0, 2, 1, 3), axes=("sequence", "joint", "frame", "coord")
    )
    cut = np.concatenate([X[0, :3], X[1, :4]])
    restored = sequences.restore(cut, [3, 4])
    assert isinstance(restored, list)
    np.testing.assert_array_equal(restored[0], X[0, :3].transpose(1, 0, 2))
    np.testing.assert_array_equal(restored[1], X[1, :4].transpose(1, 0, 2))


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [
        ((9, 4, 3), None),
        ((10, 3, 4), None),
        ((10, 4), None),
        ((10, 4, 3), [5, 4]),
        ((4, 4, 3), [4]),
    ],
)
def test_values_that_do_not_fit_are_refused(shape, lengths):
    sequences = check_sequences(poses(2, 5, 4, 3))
    with pytest.raises(ValueError, match="values must have shape"):
        sequences.restore(np.zeros(shape), lengths)


# Selecting


@pytest.mark.parametrize("indices", [[2, 0], [1], [True, False, True], slice(0, 2), -1, [1, 1]])
@pytest.mark.parametrize("as_list", [False, True])
def test_select_keeps_the_frames(indices, as_list):
    X = poses(3, 7, 4, 2)
    sequences = check_sequences(list(X) if as_list else X)
    chosen = sequences.select(indices)
    assert chosen.frames is sequences.frames
    expected = np.atleast_1d(np.arange(3)[indices])
    np.testing.assert_array_equal(chosen.starts, 7 * expected)
    np.testing.assert_array_equal(chosen.stops, 7 * expected + 7)
    restored = chosen.restore(chosen.frames)
    assert isinstance(restored, list) == as_list
    np.testing.assert_array_equal(restored, X[expected])
    compact = X[expected][:, :3].reshape(-1, 4, 2)
    np.testing.assert_array_equal(chosen.restore(compact, [3] * len(expected)), X[expected][:, :3])


def test_select_of_one_sequence():
    X = poses(7, 4, 2)
    sequences = check_sequences(X)
    np.testing.assert_array_equal(sequences.select([0]).restore(sequences.frames), X)
    twice = sequences.select([0, 0]).restore(sequences.frames)
    np.testing.assert_array_equal(twice, [X, X])


def test_select_nothing_or_out_of_range():
    sequences = check_sequences(poses(3, 7, 4, 2))
    with pytest.raises(ValueError, match="at least one sequence"):
        sequences.select([False] * 3)
    with pytest.raises(IndexError):
        sequences.select([3])


# What is refused


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([], "X must hold at least one sequence, got an empty list"),
        ((), "got an empty tuple"),
        (poses(5, 3), r"got \(5, 3\); insert .* X\[:, numpy.newaxis, :\] .*axes="),
        (poses(5), r"X must have shape \(n_sequences, .*got \(5,\)"),
        (3.0, r"got \(\)"),
        (poses(1, 2, 3, 4, 5), r"got \(1, 2, 3, 4, 5\)"),
        ([poses(5, 4, 3), poses(5, 4)], r"X\[1\] must have shape \(n_frames, n_joints, n_coords\)"),
        ([poses(1, 5, 4, 3)], r"X\[0\] must have shape \(n_frames, n_joints, n_coords\)"),
        (np.zeros((0, 4, 3)), r"at least one frame, joint and coordinate, got shape \(0, 4, 3\)"),
        (np.zeros((5, 0, 3)), "at least one frame, joint"),
        (np.zeros((0, 5, 4, 3)), "at least one frame, joint"),
        ([poses(5, 4, 3), np.zeros((0, 4, 3))], r"X\[1\] must hold at least one frame"),
        (
            [poses(5, 4, 3), poses(6, 4, 3), poses(5, 3, 3), poses(5, 2, 3)],
            r"got \(3, 3\) in X\[2\] and \(4, 3\) in X\[0\]",
        ),
        ([poses(5, 4, 3), poses(5, 4, 2)], r"got \(4, 2\) in X\[1\]"),
        ([[[[1.0, 2.0], [3.0]]]], r"X\[0\] must be a rectangular array"),
    ],
)
def test_shapes_that_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        check_sequences(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (poses(5, 4, 3).astype(complex), "X must hold real numbers .* complex128"),
        ([poses(5, 4, 3).astype(complex)], r"X\[0\] must hold real numbers"),
        (poses(5, 4, 3).astype(str), "got dtype <U"),
        (poses(5, 4, 3).astype("M8[s]"), "got dtype datetime64"),
        (poses(5, 4, 3).astype(object), r"array of objects; pass a list of sequences, list\(X\)"),
        (None, "X must hold real numbers"),
    ],
)
def test_types_that_are_refused(X, message):
    with pytest.raises(TypeError, match=message):
        check_sequences(X)


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((5, 4, 3), ("frame", "joint"), r"must have the axes .* got \(5, 4, 3\)"),
        ((5, 4, 3), ("frame", "joint", "joint"), "axes must name each axis"),
        ((5, 4, 3), ("time", "joint", "coord"), "axes must name each axis"),
        ((5, 4, 3), ("sequence", "joint", "coord"), "with 'frame' among them"),
        ((5, 4, 3), "frame, joint, coord", "axes must name each axis"),
        ((5, 4, 3), AXES, "must have the axes"),
    ],
)
def test_wrong_axes(shape, axes, message):
    with pytest.raises(ValueError, match=message):
        check_sequences(poses(*shape), axes=axes)


def test_axes_of_a_list_have_no_sequence():
    with pytest.raises(ValueError, match="without 'sequence'"):
        check_sequences([poses(5, 4, 3)], axes=AXES)


def test_errors_use_the_name():
    with pytest.raises(ValueError, match=r"^poses\[0\] must have"):
        check_sequences([poses(5, 4)], name="poses")


# xarray


@pytest.fixture
def make_data_array():
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")

    def make(*dims, **sizes):
        sizes = {"individuals": 2, "time": 6, "keypoints": 4, "space": 3, **sizes}
        coords = {
            "time": ("time", 0.5 * np.arange(6)),
            "second": ("time", np.arange(6)),
            "space": ("space", ["x", "y", "z"]),
            "individuals": ("individuals", ["mouse", "rat"]),
        }
        return xarray.DataArray(
            poses(*(sizes[dim] for dim in dims)),
            dims=dims,
            coords={name: coord for name, coord in coords.items() if coord[0] in dims},
            name="position",
            attrs={"unit": "mm"},
        )

    return make


FOUR = ("individuals", "time", "keypoints", "space")


@pytest.mark.parametrize(
    "dims",
    [
        FOUR,
        ("time", "space", "keypoints", "individuals"),
        ("time", "space", "keypoints"),
        ("space", "time"),
        ("time", "individuals", "keypoints"),
    ],
)
def test_data_array(make_data_array, dims):
    X = make_data_array(*dims)
    sequences = check_sequences(X)
    missing = [dim for dim in FOUR if dim not in dims]
    whole = X.expand_dims(missing).transpose(*FOUR).values
    np.testing.assert_array_equal(sequences.frames, whole.reshape(-1, *whole.shape[2:]))
    restored = sequences.restore(2 * sequences.frames)
    assert restored.identical((2 * X).assign_attrs(X.attrs))
    bank = sequences.restore(np.stack([sequences.frames] * 5, axis=-1), extra_dims=("kernel",))
    assert bank.dims == (*dims, "kernel")
    assert bank.isel(kernel=3).identical(X)


def test_data_array_is_not_copied(make_data_array):
    X = make_data_array(*FOUR)
    assert np.shares_memory(check_sequences(X).frames, X.values)


def test_data_array_of_fewer_frames_keeps_their_times(make_data_array):
    X = make_data_array("time", "space", "keypoints", "individuals")
    sequences = check_sequences(X)
    cut = X.isel(time=slice(2, 5))
    values = cut.transpose(*FOUR).values.reshape(-1, 4, 3)
    assert sequences.restore(values, [3, 3], first=2).identical(cut)
    first, second = sequences.restore(values[:5], [3, 2], first=2)
    assert first.identical(cut.isel(individuals=0))
    assert second.identical(cut.isel(individuals=1, time=slice(0, 2)))


def test_data_array_selected(make_data_array):
    X = make_data_array("time", "space", "keypoints", "individuals")
    sequences = check_sequences(X)
    chosen = sequences.select([1])
    assert chosen.restore(chosen.frames).identical(X.isel(individuals=[1]))


def test_list_of_data_arrays(make_data_array):
    X = [make_data_array("time", "space", "keypoints", "individuals"), make_data_array(*FOUR[1:])]
    sequences = check_sequences(X)
    assert sequences.n_sequences == 3
    for restored, part in zip(sequences.restore(sequences.frames), X):
        assert restored.identical(part)
    last, first = (chosen := sequences.select([2, 0])).restore(chosen.frames)
    assert last.identical(X[1])
    assert first.identical(X[0].isel(individuals=0))


def test_singular_names_and_own_names_of_dimensions(make_data_array):
    X = make_data_array(*FOUR).rename(individuals="individual", keypoints="keypoint")
    assert check_sequences(X).n_sequences == 2
    Y = X.rename(time="t", keypoint="joints")
    with pytest.raises(ValueError, match="must have the dimensions 'time'"):
        check_sequences(Y)
    sequences = check_sequences(Y, axes=AXES)
    assert sequences.restore(sequences.frames).identical(Y)
    confidence = (0 * Y).isel(space=0, drop=True)
    assert check_confidence(confidence.transpose("joints", ...), sequences).shape == (12, 4)


@pytest.mark.parametrize("dims", [("space", "keypoints"), ("time", "keypoints", "keypoint")])
def test_dimensions_that_are_refused(make_data_array, dims):
    with pytest.raises(ValueError, match="must have the dimensions 'time'"):
        check_sequences(make_data_array(*dims, keypoint=2))


def test_dataset_is_refused(make_data_array):
    with pytest.raises(TypeError, match=r"Dataset; pass one of its variables"):
        check_sequences(make_data_array(*FOUR).to_dataset())


# Targets


def test_target_in_each_container(make_data_array):
    X = poses(2, 5, 4, 3)
    y = X + 1
    target = check_target(y, check_sequences(X))
    assert np.shares_memory(target, y)
    np.testing.assert_array_equal(target, y.reshape(10, 4, 3))
    axes = ("frame", "coord", "sequence", "joint")
    order = [AXES.index(axis) for axis in axes]
    sequences = check_sequences(X.transpose(order), axes=axes)
    for given in (None, axes):
        np.testing.assert_array_equal(check_target(y.transpose(order), sequences, given), target)
    np.testing.assert_array_equal(
        check_target([part + 1 for part in ragged()], check_sequences(ragged())),
        np.concatenate(ragged()) + 1,
    )
    array = make_data_array("time", "space", "keypoints", "individuals")
    np.testing.assert_array_equal(
        check_target((array + 1).transpose(*FOUR), check_sequences(array)),
        check_sequences(array).frames + 1,
    )


def test_plain_target_of_a_data_array_lies_as_it_does(make_data_array):
    X = make_data_array("time", "space", "keypoints", "individuals")
    sequences = check_sequences(X)
    np.testing.assert_array_equal(check_target(X.values, sequences), sequences.frames)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (poses(2, 5, 4, 3), poses(2, 6, 4, 3), r"\(2, 5, 4, 3\) for .* got \(2, 6, 4, 3\)"),
        (poses(2, 5, 4, 3), poses(10, 4, 3), r"got \(10, 4, 3\)"),
        (poses(2, 5, 4, 3), [poses(5, 4, 3), poses(4, 4, 3)], "y must be a rectangular array"),
        (poses(2, 5, 4, 3), [0, 1], r"got \(2,\)"),
        (ragged(), ragged()[:2], "y must be a list of 3 arrays .* got 2 items"),
        (ragged(), poses(16, 4, 3), "y must be a list of 3 arrays .* got a ndarray"),
        (ragged(), [*ragged()[:2], poses(8, 4, 3)], r"y\[2\] must have .* got \(8, 4, 3\)"),
        (poses(5, 1, 1), poses(5, 1), r"got \(5, 1\)"),
    ],
)
def test_targets_that_differ_are_refused(X, y, message):
    with pytest.raises(ValueError, match=message):
        check_target(y, check_sequences(X))


def test_target_of_other_dimensions_is_refused(make_data_array):
    X = make_data_array(*FOUR)
    with pytest.raises(ValueError, match="y must have dimensions for"):
        check_target(X.isel(individuals=0), check_sequences(X))


# Confidences


@pytest.mark.parametrize("keep", [False, True])
def test_confidence_in_each_container(make_data_array, keep, rng):
    def without_coordinates(X):
        return rng.uniform(size=(*X.shape[:-1], 1) if keep else X.shape[:-1])

    X = poses(2, 5, 4, 3)
    values = without_coordinates(X)
    flat = values.reshape(10, 4)
    np.testing.assert_array_equal(check_confidence(values, check_sequences(X)), flat)
    other = ("frame", "joint", "sequence", "coord")
    moved = values.transpose(1, 2, 0, *([3] if keep else []))
    sequences = check_sequences(X.transpose(1, 2, 0, 3), axes=other)
    np.testing.assert_array_equal(check_confidence(moved, sequences, axes=other), flat)
    parts = [without_coordinates(part) for part in ragged()]
    np.testing.assert_array_equal(
        check_confidence(parts, check_sequences(ragged())),
        np.concatenate([part.reshape(-1, 4) for part in parts]),
    )
    array = make_data_array("time", "space", "keypoints", "individuals")
    score = array.isel(space=[0] if keep else 0) / array.max()
    np.testing.assert_array_equal(
        check_confidence(score.transpose("individuals", ...), check_sequences(array)),
        (check_sequences(array).frames / float(array.max()))[..., 0],
    )


def test_confidence_that_is_missing_is_none_or_zero():
    sequences = check_sequences(poses(5, 4, 3))
    assert check_confidence(None, sequences) is None
    confidence = np.full((5, 4), np.nan, np.float32)
    confidence[2, 1] = 1
    result = check_confidence(confidence, sequences)
    np.testing.assert_array_equal(result, np.nan_to_num(confidence))
    assert result.dtype == np.float32
    assert np.isnan(confidence).sum() == 19
    assert not check_confidence(np.full((5, 4), np.nan), sequences).any()


@pytest.mark.parametrize("value", [-0.01, 1.01, np.inf, -np.inf, 100])
def test_confidence_out_of_range_is_refused(value):
    confidence = np.full((5, 4), np.nan)
    confidence[3, 2] = value
    with pytest.raises(ValueError, match=r"confidence must lie in \[0, 1\]"):
        check_confidence(confidence, check_sequences(poses(5, 4, 3)))


@pytest.mark.parametrize("shape", [(4, 5), (5, 4, 3), (5,), (1, 5, 4), (20,)])
def test_confidence_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"confidence must .* \(5, 4\) for .* or \(5, 4, 1\) for"):
        check_confidence(np.ones(shape), check_sequences(poses(5, 4, 3)))


# Weights


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((2,), "sequence"),
        ((10,), "frame"),
        ((10, 4), "joint"),
        ((2, 5), "frame"),
        ((2, 5, 4), "joint"),
    ],
)
@pytest.mark.parametrize("dtype", [int, np.float32, np.float64])
def test_weights_of_an_array(shape, kind, dtype):
    weights = poses(*shape, dtype=dtype)
    result, found = check_sequence_weights(weights, check_sequences(poses(2, 5, 4, 3)))
    assert found == kind
    assert result.dtype == np.float64
    flat = {"sequence": (2,), "frame": (10,), "joint": (10, 4)}[kind]
    np.testing.assert_array_equal(result, weights.reshape(flat))


def test_weights_of_one_sequence():
    sequences = check_sequences(poses(5, 4, 3))
    assert check_sequence_weights([2], sequences)[1] == "sequence"
    assert check_sequence_weights([1, 2, 3, 4, 5], sequences)[1] == "frame"
    assert check_sequence_weights(poses(5, 4).tolist(), sequences)[1] == "joint"


def test_weights_in_another_order_of_axes():
    sequences = check_sequences(poses(4, 5, 3, 2), axes=("joint", "frame", "coord", "sequence"))
    weights = poses(4, 5, 2)
    result, kind = check_sequence_weights(weights, sequences)
    assert kind == "joint"
    np.testing.assert_array_equal(result, weights.transpose(2, 1, 0).reshape(10, 4))
    result, kind = check_sequence_weights(weights[0], sequences)
    assert kind == "frame"
    np.testing.assert_array_equal(result, weights[0].T.ravel())


def test_weights_of_a_list():
    sequences = check_sequences(ragged())
    assert check_sequence_weights([1, 2, 0], sequences)[1] == "sequence"
    assert check_sequence_weights(list(range(16)), sequences)[1] == "frame"
    for shape, kind in (((), "frame"), ((4,), "joint")):
        weights = [poses(n, *shape) for n in (5, 2, 9)]
        result, found = check_sequence_weights(weights, sequences)
        assert found == kind
        np.testing.assert_array_equal(result, np.concatenate(weights))
    with pytest.raises(ValueError, match="joint axis in all of its arrays or in none"):
        check_sequence_weights([np.ones(5), np.ones((2, 4)), np.ones(9)], sequences)


def test_weights_in_a_data_array(make_data_array):
    X = make_data_array("time", "space", "keypoints", "individuals")
    sequences = check_sequences(X)
    frames = sequences.frames
    result, kind = check_sequence_weights(X.isel(space=1, drop=True), sequences)
    assert kind == "joint"
    np.testing.assert_array_equal(result, frames[..., 1])
    result, kind = check_sequence_weights(X.isel(space=1, keypoints=2), sequences)
    assert kind == "frame"
    np.testing.assert_array_equal(result, frames[:, 2, 1])


@pytest.mark.parametrize("shape", [(), (3,), (5, 2), (10, 3), (2, 5, 3), (2, 5, 4, 3)])
def test_weights_of_another_shape_are_refused(shape):
    message = r"sample_weight must have one of the shapes \(2,\), \(10,\), \(10, 4\), or .* got \("
    with pytest.raises(ValueError, match=message):
        check_sequence_weights(np.ones(shape), check_sequences(poses(2, 5, 4, 3)))


@pytest.mark.parametrize("weights", [[1, -1], [np.nan, 1], [np.inf, 1], [0, 0], [-np.inf, np.inf]])
def test_weights_of_other_values_are_refused(weights):
    with pytest.raises(ValueError, match="sample_weight must be finite and not negative"):
        check_sequence_weights(weights, check_sequences(poses(2, 5, 4, 3)))


def test_importing_the_checks_does_not_import_xarray(run_python):
    code = "import sys, fastmotion.trajectory.sequences; print('xarray' in sys.modules)"
    assert run_python(code).strip() == "False"
