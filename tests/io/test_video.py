import itertools
import weakref
from fractions import Fraction

import numpy as np
import pytest

from fastmotion.io import iter_video, video, video_info, write_video

av = pytest.importorskip("av", reason="PyAV is not installed")

TOLERANCE = 12  # gray values: the coding is lossy


def make_frames(n_frames=6, height=48, width=64):
    """Frames with a colour for each quarter, which tell apart rows, columns and channels."""
    frames = np.empty((n_frames, height, width, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        frame[:] = 20 * index % 256
        frame[: height // 2, : width // 2] = [200, 40, 40]
        frame[height // 2 :, width // 2 :] = [40, 40, 200]
    return frames


class TrackedArray(np.ndarray):
    """An array that a weak set can hold."""

    __hash__ = object.__hash__


def assert_close(actual, expected):
    # The codings blur colour at the borders of the quarters.
    difference = np.abs(actual.astype(int) - expected.astype(int))
    assert np.percentile(difference, 90) <= TOLERANCE


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.webm"])
def test_round_trip(tmp_path, name):
    frames = make_frames()
    write_video(tmp_path / name, iter(frames), fps=25)
    back = list(iter_video(tmp_path / name))
    assert len(back) == 6
    assert back[0].dtype == np.uint8 and back[0].shape == (48, 64, 3)
    for actual, expected in zip(back, frames):
        assert_close(actual, expected)


def test_mpeg4_where_h264_is_missing(tmp_path, monkeypatch):
    encoders = {name: options for name, options in video._ENCODERS.items() if name != "libx264"}
    monkeypatch.setattr(video, "_ENCODERS", encoders)
    write_video(tmp_path / "a.mp4", make_frames(), fps=Fraction(30000, 1001))
    info = video_info(tmp_path / "a.mp4")
    assert info.codec == "mpeg4"
    assert info.fps == Fraction(30000, 1001)
    assert_close(next(iter_video(tmp_path / "a.mp4")), make_frames()[0])


@pytest.mark.parametrize("fps", [25, 29.97, Fraction(24000, 1001), np.float32(12.5)])
def test_video_info(tmp_path, fps):
    write_video(tmp_path / "a.mp4", make_frames(), fps=fps)
    info = video_info(tmp_path / "a.mp4")
    assert (info.width, info.height, info.n_frames) == (64, 48, 6)
    assert float(info.fps) == pytest.approx(float(fps), rel=1e-4)
    assert info.duration == pytest.approx(6 / float(fps), rel=0.01)


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    frames = make_frames(height=47, width=63)
    write_video(tmp_path / "a.mp4", frames, fps=25)
    back = next(iter_video(tmp_path / "a.mp4"))
    assert_close(back, np.pad(frames[0], ((0, 1), (0, 1), (0, 0)), mode="edge"))


def test_gray_frames(tmp_path):
    gray = make_frames()[..., 0]
    write_video(tmp_path / "a.mp4", gray, fps=25)
    assert_close(next(iter_video(tmp_path / "a.mp4")), np.repeat(gray[0, ..., None], 3, axis=2))


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_frames_are_turned_upright(tmp_path, degrees):
    frame = make_frames()[0]
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV reads a rotation but cannot write one")
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    back = next(iter_video(tmp_path / "a.mp4"))
    assert_close(back, np.rot90(frame, k=degrees // 90))
    info = video_info(tmp_path / "a.mp4")
    assert (info.height, info.width) == back.shape[:2]


def test_an_iterator_left_early_closes_its_file(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", make_frames(), fps=25)
    opened = []
    open_container = av.open

    def remember(*args, **kwargs):
        opened.append(open_container(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(av, "open", remember)
    frames = iter_video(tmp_path / "a.mp4")
    next(frames)
    frames.close()
    with pytest.raises(Exception, match="not open"):
        next(opened[0].decode(video=0))


def test_frames_are_taken_one_at_a_time(tmp_path):
    handed_out = weakref.WeakSet()
    n_alive = []

    def generate():
        for value in range(40):
            frame = np.full((48, 64, 3), value, dtype=np.uint8).view(TrackedArray)
            handed_out.add(frame)
            n_alive.append(len(handed_out))
            yield frame

    write_video(tmp_path / "a.mp4", generate(), fps=25)
    assert max(n_alive) <= 4


def test_failure_leaves_no_file(tmp_path):
    def interrupted():
        yield from make_frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", interrupted(), fps=25)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "frames, error, message",
    [
        ([], ValueError, "at least one frame"),
        ([np.zeros((48, 64, 3))], TypeError, "uint8, got float64"),
        ([[[0]]], TypeError, "uint8, got list"),
        ([np.zeros((48, 64, 4), np.uint8)], ValueError, "shape"),
        ([np.zeros((48, 0, 3), np.uint8)], ValueError, "shape"),
        ([np.zeros((48, 64), np.uint8), np.zeros((48, 62), np.uint8)], ValueError, "the first"),
    ],
)
def test_bad_frames(tmp_path, frames, error, message):
    with pytest.raises(error, match=message):
        write_video(tmp_path / "a.mp4", frames, fps=25)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "25"])
def test_bad_rate(tmp_path, fps):
    with pytest.raises(ValueError, match="fps must be a positive number"):
        write_video(tmp_path / "a.mp4", make_frames(), fps=fps)


@pytest.mark.parametrize("name", ["a", "a.png", "a.gif"])
def test_bad_suffix(tmp_path, name):
    with pytest.raises(ValueError, match="Video is written as .avi, "):
        write_video(tmp_path / name, make_frames(), fps=25)


@pytest.mark.parametrize("read", [video_info, lambda path: next(iter_video(path))])
def test_files_that_are_no_video(tmp_path, read):
    path = tmp_path / "a.mp4"
    with pytest.raises(FileNotFoundError, match="a.mp4 does not exist"):
        read(path)
    path.write_bytes(b"hello" * 100)
    with pytest.raises(ValueError, match="cannot be read as video"):
        read(path)
    with av.open(tmp_path / "a.wav", "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ValueError, match="holds no video"):
        read(tmp_path / "a.wav")


def test_a_truncated_video_ends_or_says_so(tmp_path):
    write_video(tmp_path / "a.mkv", make_frames(40), fps=25)
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    try:
        n_frames = sum(1 for _ in itertools.islice(iter_video(tmp_path / "a.mkv"), 41))
    except ValueError as error:
        assert "cannot be read as video" in str(error)
    else:
        assert 0 < n_frames < 40
