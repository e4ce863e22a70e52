"""Input: any layout of memory and any real dtype, never changed; what is wrong is an error."""

import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils import get_tags

from tests.conformance.common import assert_same, assert_same_model, each_case


def big_endian(X):
    return X.astype(X.dtype.newbyteorder(">"))


def strided(X):
    """Return every second number of a larger array."""
    wide = np.repeat(X, 2, axis=-1)
    wide[..., 1::2] = np.nan
    return wide[..., ::2]


def reversed_in_memory(X):
    backwards = tuple(slice(None, None, -1) for _ in X.shape)
    return np.ascontiguousarray(X[backwards])[backwards]


def unaligned(X):
    """Return numbers that begin in the middle of a word."""
    memory = np.empty(X.nbytes + 1, np.uint8)
    copy = memory[1:].view(X.dtype).reshape(X.shape)
    copy[...] = X
    return copy


def read_only(X):
    copy = X.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS = [np.asfortranarray, strided, reversed_in_memory, unaligned, big_endian, read_only]


@each_case()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_memory_does_not_matter_and_nothing_is_changed(case, layout):
    X, y = case.data(0)
    given = layout(X)
    assert_same_model(case, case.fit(given, y), case.fit(X, y), X)
    assert_same(case.outputs(case.fit(X, y), given), case.outputs(case.fit(X, y), X))
    np.testing.assert_array_equal(given, X)


@each_case()
def test_memory_maps(case, tmp_path):
    X, y = case.data(0)
    np.save(tmp_path / "X.npy", X)
    given = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_same_model(case, case.fit(given, y), case.fit(X, y), X)
    assert_same(case.outputs(case.fit(X, y), given), case.outputs(case.fit(X, y), X))


@each_case()
def test_nested_lists(case):
    X, y = case.data(0)
    y_list = None if y is None else y.tolist()
    assert_same_model(case, case.fit(X.tolist(), y_list), case.fit(X, y), X)
    model = case.fit(X, y)
    for method in case.methods:
        given, wanted = (getattr(model, method)(x) for x in (X.tolist(), X))
        # Sequences of a list come back as a list.
        assert_same(np.asarray(given) if isinstance(given, list) else given, wanted, method)


@each_case()
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_integers_are_floats(case, dtype):
    X, y = case.data(0)
    X = np.round(20 * X)
    model = case.fit(X, y)
    assert_same_model(case, case.fit(X.astype(dtype), y), model, X)
    assert_same(case.outputs(model, X.astype(dtype)), case.outputs(model, X))


@each_case()
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_have_the_dtype_that_is_documented(case, dtype):
    X, y = case.data(0)
    X = X.astype(dtype)
    for method, result in case.outputs(case.fit(X, y), X).items():
        wanted = case.methods[method]
        array = result[1] if isinstance(result, tuple) else np.asarray(result)
        assert array.dtype == (dtype if wanted == "X" else wanted), method
    preserved = get_tags(case.make()).transformer_tags
    if preserved is not None and "transform" in case.methods:
        assert (dtype in preserved.preserves_dtype) == (case.methods["transform"] == "X")


@each_case()
def test_float32_is_near_float64(case):
    X, y = case.data(0)
    near, exact = (case.outputs(case.fit(x, y), x) for x in (X.astype(np.float32), X))
    for method in set(near) & {"transform", "predict", "score"}:
        np.testing.assert_allclose(near[method], exact[method], rtol=1e-3, atol=1e-3)


@each_case(lambda case: case.per_sample)
def test_parts_give_the_same_as_the_whole(case):
    X, _ = case.data(0)
    model = case.fit()
    order = np.random.default_rng(0).permutation(len(X))
    for method in case.per_sample:
        call = getattr(model, method)
        whole = call(X)
        for rows in (slice(None, None, 2), slice(0, 1), order):
            np.testing.assert_array_equal(call(X[rows]), whole[rows])


# What is wrong


def assert_error(case, X, y, *said):
    """Assert that a fit, and what can be called after one, tell of wrong input."""
    model = case.fit()
    calls = [getattr(model, method) for method in case.methods]
    if get_tags(model).requires_fit:
        calls.append(lambda X: case.make().fit(X, y))
    for call in calls:
        with pytest.raises((ValueError, TypeError)) as error:
            call(X)
        for words in said:
            assert re.search(words, str(error.value)), f"{call}: {error.value}"


@each_case()
def test_wrong_numbers_of_axes(case):
    X, y = case.data(0)
    assert_error(case, X[0, ..., 0] if X.ndim == 2 else X.ravel(), y, "shape|[Ee]xpected|dim")
    assert_error(case, np.float64(1.0), y, "shape|[Ee]xpected|dim")
    assert_error(
        case,
        np.broadcast_to(X[..., np.newaxis, np.newaxis], (*X.shape, 2, 2)),
        y,
        "shape|[Ee]xpected|dim",
    )
    if not get_tags(case.make()).input_tags.two_d_array:
        assert_error(case, X.reshape(len(X), -1), y, "shape|[Ee]xpected|dim")


@each_case()
def test_three_axes_where_tags_say_so(case):
    X, y = case.data(0)
    tags = get_tags(case.make()).input_tags
    X = X[np.newaxis] if X.ndim == 2 else X[(0,) * (X.ndim - 3)]
    if tags.three_d_array:
        case.outputs(case.fit(), X)
    else:
        assert_error(case, X, y, "shape|[Ee]xpected|dim")


@each_case()
def test_nothing_at_all(case):
    X, y = case.data(0)
    empty_y = None if y is None else y[:0]
    with pytest.raises(ValueError, match=r"\b0\b|at least|empty|shape"):
        case.make().fit(X[:0], empty_y)
    with pytest.raises(ValueError, match=r"\b0\b|at least|empty|shape"):
        case.make().fit([], empty_y)


@each_case(lambda case: case.min_samples > 1)
@pytest.mark.filterwarnings("ignore::fastmotion.epipolar.DegenerateMatchesWarning")
def test_too_few_samples(case):
    X, y = case.data(0)
    case.make().fit(X[: case.min_samples], None if y is None else y[: case.min_samples])
    n = case.min_samples - 1
    with pytest.raises(ValueError, match=rf"\b{n}\b|at least"):
        case.make().fit(X[:n], None if y is None else y[:n])


@each_case()
@pytest.mark.parametrize("dtype", [complex, object, str, "datetime64[s]"])
def test_what_is_no_real_number(case, dtype):
    X, y = case.data(0)
    if dtype is object:
        wrong = X.astype(object)
        wrong.flat[0] = {}
    else:
        wrong = X.astype(np.int64).astype(dtype) if dtype == "datetime64[s]" else X.astype(dtype)
    assert_error(case, wrong, y, "(?i)complex|real|string|dict|number|dtype|could not convert")


@each_case()
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values(case, value):
    X, y = case.data(0)
    X = X.copy()
    X[(-1,) * X.ndim] = value
    if case.takes_infinite:
        case.outputs(case.fit(X, y), X)
    else:
        assert_error(case, X, y, "inf|finite|NaN")


@each_case()
def test_nan_is_missing_where_tags_say_so(case):
    X, y = case.data(0)
    X = X.copy()
    X[(-1,) * X.ndim] = np.nan
    if get_tags(case.make()).input_tags.allow_nan:
        case.outputs(case.fit(X, y), X)
    else:
        assert_error(case, X, y, "NaN|nan|finite|missing")


@each_case()
def test_sparse_matrices(case):
    X, y = case.data(0)
    flat = sparse.csr_array(X.reshape(len(X), -1))
    assert not get_tags(case.make()).input_tags.sparse
    assert_error(case, flat, y, "(?i)sparse", "toarray|dense")


@each_case(lambda case: get_tags(case.make()).requires_fit)
def test_another_number_of_features(case):
    X, _ = case.data(0)
    wrong = np.concatenate([X, X[..., :1]], axis=-1)
    model = case.fit()
    for method in case.methods:
        with pytest.raises(ValueError, match=str(wrong.shape[-1])):
            getattr(model, method)(wrong)


@each_case()
def test_targets_where_tags_say_so(case):
    X, y = case.data(0)
    if get_tags(case.make()).target_tags.required:
        with pytest.raises((ValueError, TypeError), match="y"):
            case.make().fit(X, None)
    elif y is None:
        assert_same_model(case, case.make().fit(X), case.fit(X, None), X)
