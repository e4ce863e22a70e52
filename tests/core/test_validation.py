from numbers import Real

import numpy as np
import pytest

from fastmotion.core import validation as fv
from fastmotion.core.validation import (
    check_clips,
    check_flow,
    check_image,
    check_image_pair,
    extremes,
    import_optional,
)

SHAPES = [(16, 19), (16, 19, 1), (16, 19, 3)]
DTYPES = [
    bool, np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64, np.uint64,
    np.float16, np.float32, np.float64, np.longdouble,
]  # fmt: skip


def make_image(rng, shape, dtype):
    if np.dtype(dtype).kind == "f":
        return rng.normal(10, 3, shape).astype(dtype)
    return rng.integers(0, 2 if dtype is bool else 120, shape).astype(dtype)


def luminance(image):
    """Return the luminance in float64, by the textbook weights."""
    image = np.asarray(image, np.float64)
    if image.ndim == 2:
        return image
    return image[..., 0] if image.shape[2] == 1 else image @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_image_becomes_its_luminance(rng, shape, dtype):
    image = make_image(rng, shape, dtype)
    before = image.copy()
    plane = check_image(image, "frame")
    assert plane.dtype == np.float32
    assert plane.flags.c_contiguous
    np.testing.assert_allclose(plane, luminance(image), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_pair_lies_in_the_unit_range(rng, shape, dtype):
    frames = make_image(rng, shape, dtype), make_image(rng, shape, dtype)
    before = [frame.copy() for frame in frames]
    planes = check_image_pair(*frames)
    gray = np.stack([luminance(frame) for frame in frames])
    white = {bool: 1, np.uint8: 255, np.uint16: 65535}.get(dtype)
    wanted = gray / white if white else (gray - gray.min()) / np.ptp(gray)
    for plane, want, frame, copy in zip(planes, wanted, frames, before):
        assert plane.dtype == np.float32
        assert plane.flags.c_contiguous
        assert not np.shares_memory(plane, frame)
        np.testing.assert_allclose(plane, want, atol=2e-4 if dtype is np.float16 else 1e-6)
        np.testing.assert_array_equal(frame, copy)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_white_is_exactly_one(shape, dtype):
    white = np.full(shape, 1 if dtype is bool else np.iinfo(dtype).max, dtype)
    assert np.all(check_image_pair(white, white)[0] == 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_and_offset_of_float_images_do_not_matter(rng, dtype):
    frames = rng.random((2, 20, 20)).astype(dtype)
    for scale, offset in ((255, 0), (1e-6, 0), (100, -50), (1e30, 0)):
        changed = check_image_pair(*(frames * dtype(scale) + dtype(offset)))
        np.testing.assert_allclose(changed, check_image_pair(*frames), atol=2e-6)


def test_float64_with_an_offset_keeps_its_detail(rng):
    frames = rng.random((2, 20, 20)) + 1e9
    np.testing.assert_allclose(
        check_image_pair(*frames), check_image_pair(*(frames - 1e9)), atol=1e-6
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_flat_pair_is_finite_and_flat(dtype):
    flat = np.ones((16, 16), dtype)
    for plane in check_image_pair(flat, flat):
        assert plane.dtype == np.float32
        assert np.ptp(plane) == 0
        assert 0 <= plane[0, 0] <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_layout_of_the_memory_does_not_matter(rng, dtype, channels, tmp_path):
    image = make_image(rng, (20, 24, *channels), dtype)
    np.save(tmp_path / "image.npy", image)
    read_only = image.copy()
    read_only.flags.writeable = False
    wide = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    layouts = {
        "read-only": read_only,
        "memory map": np.load(tmp_path / "image.npy", mmap_mode="r"),
        "Fortran order": np.asfortranarray(image),
        "negative strides": np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1],
        "steps": wide[::2, ::2],
        "list": image.astype(float).tolist(),
        "other byte order": image.astype(image.dtype.newbyteorder()),
    }
    wanted = check_image(image)
    wanted_pair = check_image_pair(image, image)
    for name, other in layouts.items():
        np.testing.assert_allclose(check_image(other), wanted, rtol=1e-6, err_msg=name)
        assert type(check_image(other)) is np.ndarray
        if name != "list":
            pair = check_image_pair(other, other)
            np.testing.assert_array_equal(pair, wanted_pair, err_msg=name)
            assert all(type(plane) is np.ndarray and plane.flags.c_contiguous for plane in pair)


def with_pixel(value):
    image = np.zeros((16, 16), np.float32)
    image[3, 4] = value
    return image


BAD_IMAGES = {
    "one axis": (np.zeros(16), ValueError, r"shape \(height, width\).*got \(16,\)"),
    "a clip": (np.zeros((4, 16, 16)), ValueError, r"got \(4, 16, 16\)"),
    "four channels": (np.zeros((16, 16, 4)), ValueError, r"got \(16, 16, 4\)"),
    "channels first": (np.zeros((3, 16, 16)), ValueError, "channels last"),
    "a scalar": (1.0, ValueError, r"got \(\)"),
    "empty": (np.zeros((0, 0)), ValueError, "at least 16 x 16 pixels, got height 0 and width 0"),
    "too low": (np.zeros((15, 90)), ValueError, "got height 15 and width 90"),
    "too narrow": (np.zeros((90, 15, 3)), ValueError, "got height 90 and width 15"),
    "NaN": (with_pixel(np.nan), ValueError, "must be finite.*nan_to_num"),
    "infinite": (with_pixel(np.inf), ValueError, "must be finite.*inf"),
    "minus infinite": (with_pixel(-np.inf), ValueError, "must be finite.*-inf"),
    "float64 NaN": (with_pixel(np.nan).astype(float), ValueError, "must be finite"),
    "object": (np.zeros((16, 16), object), TypeError, "real numbers.*got dtype object"),
    "complex": (np.zeros((16, 16), complex), TypeError, "got dtype complex128"),
    "text": (np.full((16, 16), "a"), TypeError, "got dtype <U1"),
    "dates": (np.zeros((16, 16), "M8[s]"), TypeError, "got dtype datetime64"),
    "None": (None, TypeError, "got dtype object"),
    "ragged list": ([[1.0, 2.0], [3.0]], ValueError, "rectangular array of numbers"),
    "masked": (np.ma.masked_equal(np.eye(16), 0), TypeError, "masked.*filled"),
}


@pytest.mark.parametrize(("image", "error", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_image_is_an_error_that_names_it(image, error, message):
    good = np.zeros((16, 16), np.float32)
    with pytest.raises(error, match=f"left.*{message}"):
        check_image(image, "left")
    with pytest.raises(error, match=f"frame0.*{message}"):
        check_image_pair(image, good)
    with pytest.raises(error, match=f"frame1.*{message}"):
        check_image_pair(good, image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_bad_pixel_of_one_channel_is_found(value, channel):
    image = np.zeros((16, 16, 3))
    image[-1, -1, channel] = value
    with pytest.raises(ValueError, match="must be finite"):
        check_image_pair(np.zeros((16, 16)), image)


def test_opposite_infinities_in_one_pixel_are_found():
    image = np.zeros((16, 16, 3), np.float32)
    image[2, 2] = np.inf, -np.inf, 0
    with pytest.raises(ValueError, match="must be finite"):
        check_image(image)


def test_values_beyond_float32():
    with pytest.raises(ValueError, match="within the range of float32"):
        check_image(with_pixel(1.0).astype(float) * 1e39)
    plane, _ = check_image_pair(with_pixel(1.0).astype(float) * 1e39, np.zeros((16, 16)))
    assert plane.max() == 1
    most = np.finfo(np.float32).max
    with pytest.raises(ValueError, match="span less than the range of float32"):
        check_image_pair(with_pixel(most), with_pixel(-most))


def test_smallest_size_can_be_chosen():
    small = np.zeros((3, 2))
    assert check_image(small, "x", min_size=2).shape == (3, 2)
    assert check_image_pair(small, small, min_size=2)[0].shape == (3, 2)
    with pytest.raises(ValueError, match="at least 3 x 3"):
        check_image_pair(small, small, min_size=3)


def test_frames_of_different_sizes_are_an_error():
    with pytest.raises(ValueError, match=r"same height and width, got \(16, 17\) and \(17, 16\)"):
        check_image_pair(np.zeros((16, 17)), np.zeros((17, 16)))


@pytest.mark.parametrize(
    "dtypes",
    [(np.uint8, np.float32), (bool, np.uint8), (np.int32, np.uint8), (np.uint8, np.uint32)],
)
def test_frames_of_different_kinds_are_an_error(dtypes):
    with pytest.raises(ValueError, match="dtypes of one range"):
        check_image_pair(*(np.zeros((16, 16), dtype) for dtype in dtypes))


def test_float_frames_may_differ_in_width(rng):
    image = rng.integers(0, 256, (16, 16))
    planes = check_image_pair(image.astype(np.float32), image.astype(np.float64))
    np.testing.assert_allclose(planes[0], planes[1], atol=1e-7)


def test_gray_and_colour_frames_may_be_paired(rng):
    gray = rng.integers(0, 256, (16, 16)).astype(np.uint8)
    planes = check_image_pair(gray, np.stack([gray] * 3, axis=-1))
    np.testing.assert_allclose(planes[0], planes[1], atol=1e-6)


def test_clips_are_returned_without_a_copy(rng):
    for shape in (2, 3, 4, 5), (1, 2, 4, 5, 3), (1, 2, 4, 5, 1):
        X = rng.random(shape)[:, :, ::-1]
        assert check_clips(X) is X


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 16, 16), r"got \(2, 16, 16\); for one clip pass clip\[numpy.newaxis\]"),
        ((1, 2, 16, 16, 4), r"got \(1, 2, 16, 16, 4\)"),
        ((1, 2, 16, 16, 3, 1), "must have shape"),
        ((0, 2, 16, 16), "at least one clip"),
        ((1, 1, 16, 16), "at least two frames per clip, got 1"),
    ],
)
def test_bad_clips_are_an_error(shape, message):
    with pytest.raises(ValueError, match=f"clips.*{message}"):
        check_clips(np.zeros(shape), "clips")


def test_clips_of_another_type_are_an_error():
    with pytest.raises(TypeError, match="got dtype complex64"):
        check_clips(np.zeros((1, 2, 16, 16), np.complex64))


def test_flow_becomes_contiguous_float32(rng):
    flow = rng.random((5, 6, 2))
    checked = check_flow(flow[::-1], (5, 6))
    assert checked.dtype == np.float32
    assert checked.flags.c_contiguous
    np.testing.assert_allclose(checked, flow[::-1], rtol=1e-6)
    assert check_flow(checked) is checked


@pytest.mark.parametrize(
    ("flow", "shape", "message"),
    [
        (np.zeros((5, 6)), None, r"shape \(height, width, 2\), got \(5, 6\)"),
        (np.zeros((2, 5, 6)), None, r"got \(2, 5, 6\)"),
        (np.zeros((0, 6, 2)), None, r"got \(0, 6, 2\)"),
        (np.zeros((6, 5, 2)), (5, 6), r"shape \(5, 6, 2\), got \(6, 5, 2\)"),
        (np.full((5, 6, 2), np.nan), (5, 6), "must be finite"),
        (np.full((5, 6, 2), 1e39), (5, 6), "within the range of float32"),
    ],
)
def test_bad_flow_is_an_error(flow, shape, message):
    with pytest.raises(ValueError, match=f"initial_flow.*{message}"):
        check_flow(flow, shape, "initial_flow")


def test_array_on_a_cuda_device_is_an_error_that_says_so():
    class CudaArray:
        __cuda_array_interface__ = {}

    with pytest.raises(TypeError, match="frame lies on a CUDA device"):
        check_image(CudaArray())


def test_import_optional():
    import json

    assert import_optional("json", "io", "nothing") is json
    assert import_optional("os.path", "io", "nothing").join
    with pytest.raises(
        ImportError, match=r"drawing needs 'no_such'.*pip install fastmotion\[plot\]"
    ):
        import_optional("no_such", "plot", "drawing")


def test_import_optional_passes_on_errors_inside_an_installed_module(tmp_path, monkeypatch):
    (tmp_path / "broken_for_this_test.py").write_text("raise ImportError('its library is gone')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="its library is gone"):
        import_optional("broken_for_this_test", "io", "reading")


def test_scikit_learn_helpers_are_passed_on():
    with pytest.raises(ValueError, match=r"The 'alpha' parameter of f must be a float"):
        fv.validate_parameter_constraints(
            {"alpha": [fv.Interval(Real, 0, 1, closed="both")]}, {"alpha": 2.0}, "f"
        )
    assert all(hasattr(fv, name) for name in fv.__all__)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = fv.other


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, -2.0, 5.0], (-2.0, 5.0)),
        ([np.nan, -2.0, np.nan, 5.0], (-2.0, 5.0)),
        ([-np.inf, 1.0, np.nan], (-np.inf, 1.0)),
        ([np.nan, np.nan], (np.nan, np.nan)),
    ],
)
def test_extremes_are_of_what_is_not_nan(values, expected):
    np.testing.assert_array_equal(extremes(np.array(values)), expected)
