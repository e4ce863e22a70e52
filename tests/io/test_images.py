import numpy as np
import pytest

from fastmotion.io import read_image, write_image

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3), (1, 1), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip_is_exact(tmp_path, shape, dtype):
    image = noise(shape, dtype)
    image.flags.writeable = False
    write_image(tmp_path / "a.png", image)
    back = read_image(str(tmp_path / "a.png"))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_views_are_written_as_they_look(tmp_path, dtype):
    image = noise((8, 10, 3), dtype)[::-1, ::2, ::-1]
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


def test_deep_colour_as_opencv_reads_it(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    image = noise((7, 9, 3), np.uint16)
    write_image(tmp_path / "a.png", image)
    back = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(back[..., ::-1], image)


def test_tiff_and_jpeg(tmp_path):
    gray = noise((7, 9), np.uint16)
    write_image(tmp_path / "a.tif", gray)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), gray)
    write_image(tmp_path / "a.jpg", np.full((16, 16, 3), 100, dtype=np.uint8))
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - 100).max() <= 2


@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_is_dropped_and_colour_kept(tmp_path, depth):
    rgba = noise((7, 9, 4), np.uint8)
    rgba[0] = [10, 20, 30, 0]  # fully transparent: the colours beneath still count
    path = tmp_path / "a.png"
    if depth == 8:
        pillow.fromarray(rgba).save(path)
    else:
        cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
        rgba = rgba.astype(np.uint16) * 257
        assert cv2.imwrite(str(path), np.ascontiguousarray(rgba[..., [2, 1, 0, 3]]))
    back = read_image(path)
    assert back.flags.c_contiguous and back.dtype == rgba.dtype
    np.testing.assert_array_equal(back, rgba[..., :3])


def test_other_modes_become_gray_or_rgb(tmp_path):
    gray = noise((6, 5))
    path = tmp_path / "a.png"
    pillow.fromarray(np.dstack([gray, gray // 2])).save(path)
    np.testing.assert_array_equal(read_image(path), gray)
    pillow.fromarray(gray > 128).save(path)
    np.testing.assert_array_equal(read_image(path), np.where(gray > 128, 255, 0))
    assert read_image(path).dtype == np.uint8
    pillow.new("P", (5, 6), 3).save(path)
    assert read_image(path).shape == (6, 5, 3)
    pillow.new("CMYK", (5, 6), (255, 0, 0, 0)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0, 0], [0, 255, 255])


def test_files_that_are_no_image(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(FileNotFoundError, match="a.png does not exist"):
        read_image(path)
    with pytest.raises(IsADirectoryError, match="folder"):
        read_image(tmp_path)
    write_image(path, noise((40, 40, 3)))
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:60], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not an image that can be read"):
            read_image(path)


@pytest.mark.parametrize(
    "name, image, error, message",
    [
        ("a.png", np.zeros((4, 4)), TypeError, "uint8 or uint16"),
        ("a.png", np.zeros((4, 4), dtype=bool), TypeError, "uint8 or uint16"),
        ("a.png", np.zeros((4, 4, 4), dtype=np.uint8), ValueError, "shape"),
        ("a.png", np.zeros((0, 4), dtype=np.uint8), ValueError, "shape"),
        ("a.png", np.zeros(4, dtype=np.uint8), ValueError, "shape"),
        ("a.tif", np.zeros((4, 4, 3), dtype=np.uint16), ValueError, "as .png files only"),
        ("a.jpg", np.zeros((4, 4), dtype=np.uint16), ValueError, "cannot hold uint16"),
        ("a.xyz", np.zeros((4, 4), dtype=np.uint8), ValueError, "format is unknown"),
        ("a", np.zeros((4, 4), dtype=np.uint8), ValueError, "format is unknown"),
    ],
)
def test_writing_what_cannot_be_written(tmp_path, name, image, error, message):
    with pytest.raises(error, match=message):
        write_image(tmp_path / name, image)
    assert not list(tmp_path.iterdir())
