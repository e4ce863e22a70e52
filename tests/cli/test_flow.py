import re
import sys

import numpy as np
import pytest

from fastmotion.cli import entry, flow, main
from fastmotion.datasets import make_warped_clip
from fastmotion.display import flow_to_color
from fastmotion.io import iter_video, read_flo, read_image, video_info, write_image, write_video

pytest.importorskip("imageio", reason="imageio is not installed")
pytest.importorskip("av", reason="PyAV is not installed")
pytest.importorskip("tqdm", reason="tqdm is not installed")


def assert_one_error(stderr, message):
    """Check that the error is the last line, after a progress bar at most."""
    assert re.fullmatch(f"fastmotion: error: .*{message}.*", stderr.splitlines()[-1])
    assert stderr.count("error") == 1 and "Traceback" not in stderr


@pytest.fixture
def clip():
    return make_warped_clip(5, motion=(3, -2), shape=(64, 96)).frames


@pytest.fixture
def images(tmp_path, clip):
    paths = [str(tmp_path / name) for name in ("A.png", "B.png")]
    for path, frame in zip(paths, clip):
        write_image(path, frame)
    return paths


@pytest.fixture
def film(tmp_path, clip):
    path = str(tmp_path / "film.mp4")
    write_video(path, clip, fps=12.5)
    return path


def test_images_to_picture_and_flo(tmp_path, images, stand_in):
    picture, flo = tmp_path / "flow.png", tmp_path / "flow.flo"
    assert main(["flow", *images, "-o", str(picture), "--flo", str(flo)]) == 0
    flow = read_flo(flo)
    assert (flow == [3, -2]).all() and flow.shape == (64, 96, 2)
    np.testing.assert_array_equal(read_image(picture), flow_to_color(flow))


def test_colour_scale_of_a_picture(tmp_path, images, stand_in):
    picture = tmp_path / "flow.png"
    assert main(["flow", *images, "-o", str(picture), "--max-magnitude", "8"]) == 0
    expected = flow_to_color(np.float32([[[3, -2]]]), 8)[0, 0]
    np.testing.assert_array_equal(read_image(picture)[0, 0], expected)


def test_video(tmp_path, film, stand_in, capsys):
    out = tmp_path / "flow.mp4"
    assert main(["flow", film, "-o", str(out), "--max-magnitude", "5"]) == 0
    info = video_info(out)
    assert (info.n_frames, info.width, info.height, info.fps) == (4, 96, 64, 12.5)
    expected = flow_to_color(np.float32([[[3, -2]]]), 5)[0, 0].astype(int)
    for frame in iter_video(out):
        assert np.abs(frame.mean(axis=(0, 1)) - expected).max() < 8
    assert stand_in.n_calls == 4
    assert "5 pixels a frame" in capsys.readouterr().out


def test_video_has_a_progress_bar(tmp_path, film, stand_in, capsys):
    assert main(["flow", film, "-o", str(tmp_path / "flow.mp4"), "--max-magnitude", "5"]) == 0
    assert "4/4" in capsys.readouterr().err


def test_video_scale_comes_from_the_whole_film(tmp_path, stand_in, capsys):
    still = make_warped_clip(3, motion=(0, 0), shape=(64, 96)).frames
    moving = make_warped_clip(3, motion=(6, 0), shape=(64, 96)).frames
    write_video(tmp_path / "film.mp4", [*still, *moving], fps=25)
    out = str(tmp_path / "flow.mp4")
    assert main(["flow", str(tmp_path / "film.mp4"), "-o", out]) == 0
    scale = float(capsys.readouterr().out.split("colour: ")[1].split()[0])
    assert scale >= 6


def test_interrupt_leaves_the_old_file(tmp_path, film, stand_in):
    out = tmp_path / "flow.mp4"
    out.write_text("old")
    before = sorted(tmp_path.iterdir())

    stand_in.interrupt_at = 3
    assert main(["flow", film, "-o", str(out), "--max-magnitude", "5"]) == 130
    assert out.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "argv, message",
    [
        (["A.png", "B.png"], "say where the result goes"),
        (["A.png", "B.png", "B.png", "-o", "c.png"], "two images or one video, got 3 files"),
        (["film.mp4"], "the flow of a video is written as a video"),
        (["film.mp4", "-o", "a.mp4", "--flo", "a.flo"], "no --flo"),
        (["A.png", "B.png", "-o", "c.png", "--method", "guess"], "invalid choice"),
        (["A.png", "B.png", "-o", "c.png", "--preset", "guess"], "invalid choice"),
        (["A.png", "B.png", "-o", "c.png", "--max-magnitude", "0"], "positive number"),
        (["A.png", "B.png", "-o", "c.png", "--max-magnitude", "x"], "invalid"),
        (["A.png", "B.png", "-o", "c.png", "--n-jobs", "two"], "invalid int"),
    ],
)
def test_bad_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["flow", *argv])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_bad_input_is_one_line_and_leaves_no_file(
    tmp_path, images, film, stand_in, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_image("small.png", np.zeros((16, 16, 3), dtype=np.uint8))
    write_video("one.mp4", np.zeros((1, 32, 32, 3), dtype=np.uint8), fps=25)
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "text.mp4").write_text("hello" * 100)
    before = sorted(tmp_path.iterdir())
    for argv, message in [
        (["A.png", "no.png", "-o", "c.png"], "no.png does not exist"),
        (["A.png", "text.png", "-o", "c.png"], "not an image that can be read"),
        (["A.png", "small.png", "-o", "c.png"], "frames differ in size: "),
        (["A.png", "B.png", "-o", "no/c.png"], "folder .* does not exist"),
        (["A.png", "B.png", "-o", "c.xyz"], "format is unknown"),
        (["no.mp4", "-o", "c.mp4"], "no.mp4 does not exist"),
        (["text.mp4", "-o", "c.mp4"], "cannot be read as video"),
        (["one.mp4", "-o", "c.mp4"], "one.mp4 has one frame"),
        (["film.mp4", "-o", "c.png"], "Video is written as"),
        (["film.mp4", "-o", "no/c.mp4"], "folder .* does not exist"),
    ]:
        assert main(["flow", *argv]) == 2
        assert_one_error(capsys.readouterr().err, message)
        assert sorted(tmp_path.iterdir()) == before


def test_missing_extra(monkeypatch, images, stand_in, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "imageio.v3", None)  # as if it were not installed
    assert main(["flow", *images, "-o", str(tmp_path / "c.png")]) == 2
    assert_one_error(capsys.readouterr().err, r"pip install fastmotion\[io\]")


@pytest.mark.parametrize("method", ["horn-schunck", "lucas-kanade"])
@pytest.mark.parametrize("preset", ["fast", "medium", "default", "best"])
def test_options_make_an_estimator(method, preset):
    options = ["--method", method, "--preset", preset, "--device", "cpu", "--n-jobs", "1"]
    args = entry._build_parser().parse_args(["flow", "film.mp4", "-o", "flow.mp4", *options])
    estimator = flow.make_estimator(args)
    assert type(estimator).__name__.lower() == method.replace("-", "")
    params = estimator.get_params()
    assert (params["device"], params["n_jobs"]) == ("cpu", 1)
    expected = type(estimator).from_preset(preset, device="cpu", n_jobs=1)
    assert params == expected.get_params()


@pytest.mark.parametrize("method", ["horn-schunck", "lucas-kanade"])
def test_with_a_real_estimator(tmp_path, images, method):
    flo = tmp_path / "flow.flo"
    assert main(["flow", *images, "--flo", str(flo), "--method", method]) == 0
    inner = read_flo(flo)[8:-8, 8:-8].reshape(-1, 2)
    np.testing.assert_allclose(np.median(inner, axis=0), [3, -2], atol=0.1)
