import struct

import numpy as np
import pytest

from fastmotion.io import (
    read_flo,
    read_flow,
    read_kitti_flow,
    write_flo,
    write_flow,
    write_image,
    write_kitti_flow,
)


def flo_bytes(width, height, values, tag=202021.25):
    return struct.pack("<fii", tag, width, height) + struct.pack(f"<{len(values)}f", *values)


def test_flo_layout(tmp_path):
    path = tmp_path / "a.flo"
    flow = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    write_flo(path, flow)
    assert path.read_bytes() == flo_bytes(3, 2, range(12))
    assert path.read_bytes()[:4] == b"PIEH"
    np.testing.assert_array_equal(read_flo(path), flow)


@pytest.mark.parametrize("suffix", [".flo", ".png", ".PNG"])
def test_round_trip_is_exact(tmp_path, flow, suffix):
    path = tmp_path / f"a{suffix}"
    write_flow(path, flow)
    back = read_flow(str(path))
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, flow)


def test_flo_keeps_float32_values(tmp_path):
    flow = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
    write_flo(tmp_path / "a.flo", flow[:, ::-1])
    np.testing.assert_array_equal(read_flo(tmp_path / "a.flo"), flow[:, ::-1])


def test_flo_unknown_pixels(tmp_path):
    path = tmp_path / "a.flo"
    path.write_bytes(flo_bytes(3, 1, [1, 2, 1.666666752e9, 0, 3, 1e10]))
    expected = [[[1, 2], [np.nan] * 2, [np.nan] * 2]]
    np.testing.assert_array_equal(read_flo(path), expected)
    write_flo(path, [[[np.nan, 0], [1, np.inf], [1, 2]]])
    stored = np.frombuffer(path.read_bytes()[12:], dtype="<f4")
    np.testing.assert_array_equal(stored, np.float32([1e10, 1e10, 1e10, 1e10, 1, 2]))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "cut short"),
        (b"PIEH\x01", "cut short"),
        (flo_bytes(2, 1, [1, 2, 3]), "cut short.*takes 28 bytes, the file has 24"),
        (flo_bytes(2, 1, [1, 2, 3, 4, 5]), "too long"),
        (flo_bytes(2, 1, [1, 2, 3, 4], tag=1.0), "not a .flo file.*202021.25"),
        (struct.pack(">fii4f", 202021.25, 2, 1, 1, 2, 3, 4), "not a .flo file"),
        (flo_bytes(0, 5, []), "size of 0 x 5"),
        (flo_bytes(-2, 1, [1, 2, 3, 4]), "size of -2 x 1"),
        (flo_bytes(2**31 - 1, 2**31 - 1, []), "damaged"),
        (flo_bytes(90_000, 90_000, [1]), "cut short"),
    ],
)
def test_damaged_flo(tmp_path, content, message):
    path = tmp_path / "a.flo"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_flo(path)


def test_kitti_bytes_as_opencv_reads_them(tmp_path, flow):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    path = tmp_path / "a.png"
    write_kitti_flow(path, flow)
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    known = ~np.isnan(flow[..., 0])
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored[..., 2], known)
    np.testing.assert_array_equal(stored[known, :2], 64 * flow[known] + 2**15)
    np.testing.assert_array_equal(stored[~known], 0)


def test_kitti_file_that_opencv_wrote(tmp_path, flow):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    known = ~np.isnan(flow[..., 0])
    stored = np.zeros((*known.shape, 3), dtype=np.uint16)
    stored[known, :2] = 64 * flow[known] + 2**15
    stored[known, 2] = 1
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.ascontiguousarray(stored[..., ::-1]))
    back, valid = read_kitti_flow(path)
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(back, flow)


def test_kitti_rounds_to_nearest(tmp_path):
    write_kitti_flow(tmp_path / "a.png", [[[0.01, -0.01], [1 / 64 + 0.001, 511.98]]])
    back, valid = read_kitti_flow(tmp_path / "a.png")
    np.testing.assert_array_equal(back, [[[1 / 64, -1 / 64], [1 / 64, 2**9 - 1 / 64]]])
    assert valid.all()


def test_kitti_valid_pixels(tmp_path):
    flow = np.ones((4, 3, 2), dtype=np.float32)
    valid = np.arange(12).reshape(4, 3) % 3 > 0
    write_kitti_flow(tmp_path / "a.png", flow, valid)
    back, back_valid = read_kitti_flow(tmp_path / "a.png")
    np.testing.assert_array_equal(back_valid, valid)
    np.testing.assert_array_equal(np.isnan(back).all(axis=2), ~valid)
    flow[0, 1] = np.nan
    with pytest.raises(ValueError, match="1 pixels are marked as valid"):
        write_kitti_flow(tmp_path / "a.png", flow, valid)
    with pytest.raises(ValueError, match="valid must have the shape"):
        write_kitti_flow(tmp_path / "a.png", flow, valid.T)
    with pytest.raises(TypeError, match="valid must hold booleans"):
        write_kitti_flow(tmp_path / "a.png", flow, valid.astype(float))


@pytest.mark.parametrize("value", [-512.1, 512.0])
def test_kitti_range(tmp_path, value):
    flow = np.zeros((2, 2, 2))
    flow[1, 0, 1] = value
    with pytest.raises(ValueError, match="from -512 to 511.98 pixels, got"):
        write_kitti_flow(tmp_path / "a.png", flow)
    write_kitti_flow(tmp_path / "a.png", flow, [[1, 1], [0, 1]])


def test_other_png_is_not_kitti(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    (tmp_path / "b.png").write_bytes(b"")
    for name in ("a.png", "b.png"):
        with pytest.raises(ValueError, match="not a KITTI flow file"):
            read_kitti_flow(tmp_path / name)


@pytest.mark.parametrize("keep", [30, 100, -14, -5])
def test_truncated_kitti_file(tmp_path, flow, keep):
    write_kitti_flow(tmp_path / "a.png", flow)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:keep])
    with pytest.raises(ValueError, match="damaged"):
        read_kitti_flow(tmp_path / "a.png")


def test_kitti_file_with_a_flipped_bit(tmp_path, flow):
    write_kitti_flow(tmp_path / "a.png", flow)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        read_kitti_flow(tmp_path / "a.png")


@pytest.mark.parametrize("write", [write_flo, write_kitti_flow])
@pytest.mark.parametrize(
    "bad, error",
    [
        (np.zeros((4, 5)), ValueError),
        (np.zeros((4, 5, 3)), ValueError),
        (np.zeros((1, 4, 5, 2)), ValueError),
        (np.zeros((0, 5, 2)), ValueError),
        (np.zeros((4, 5, 2), dtype=complex), TypeError),
        (np.zeros((4, 5, 2), dtype=object), TypeError),
    ],
)
def test_writers_reject_what_is_no_flow(tmp_path, write, bad, error):
    with pytest.raises(error, match="flow must"):
        write(tmp_path / "a", bad)
    assert not list(tmp_path.iterdir())


def test_flo_holds_no_giant(tmp_path):
    with pytest.raises(ValueError, match="at most 99999 pixels a side"):
        write_flo(tmp_path / "a.flo", np.zeros((1, 100_000, 2), dtype=np.float32))


@pytest.mark.parametrize("read", [read_flo, read_kitti_flow])
def test_missing_files(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="nowhere.flo does not exist"):
        read(tmp_path / "nowhere.flo")
    with pytest.raises(IsADirectoryError, match="folder"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".exr", ".pfm"])
def test_unknown_suffix(tmp_path, flow, suffix):
    with pytest.raises(ValueError, match="Flow is kept in"):
        write_flow(tmp_path / f"a{suffix}", flow)
    with pytest.raises(ValueError, match="Flow is kept in"):
        read_flow(tmp_path / f"a{suffix}")
