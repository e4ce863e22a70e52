"""``fastmotion features``: a table of the motion in a video file."""

import csv
import re
import warnings

import numpy as np
import pytest

from fastmotion.cli import entry, main
from fastmotion.io import write_video
from fastmotion.video import motion_table
from tests.video.films import make_film

pytest.importorskip("av", reason="PyAV is not installed")
pytest.importorskip("tqdm", reason="tqdm is not installed")


@pytest.fixture
def film(tmp_path, monkeypatch):
    """A video file of 12 frames in the folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    write_video("film.mp4", make_film(12), fps=24)
    return "film.mp4"


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    return dict(zip(names, zip(*rows)))


def test_table(film, capsys):
    options = ["--clip-length", "6", "--preset", "fast", "--n-jobs", "1"]
    assert main(["features", film, "-o", "table.csv", *options]) == 0
    out, err = capsys.readouterr()
    assert "3/3" in err and out == "3 clips, 117 columns\n"
    table = read("table.csv")
    assert table["start_frame"] == ("0", "5", "10")
    assert table["n_frames"] == ("6", "6", "2")
    assert [float(t) for t in table["start_time"]] == pytest.approx([0, 5 / 24, 10 / 24])
    np.testing.assert_allclose(np.array(table["camera_u"], float), 2, atol=0.1)
    assert sum(name.startswith("flow_") for name in table) == 36
    assert sum(name.startswith("boundary_") for name in table) == 64


def test_options(film, monkeypatch):
    noted = {}

    def note(source, **options):
        noted.update(options, source=source)
        return {"start_frame": np.arange(2), "speed_mean": np.array([np.nan, np.float32(0.1)])}

    monkeypatch.setattr("fastmotion.video.motion_table", note)
    argv = ["features", film, "-o", "t.csv", "--clip-length", "9", "--height", "0"]
    argv += ["--start", "0.25", "--stop", "2", "--no-camera", "--no-histogram"]
    argv += ["--method", "lucas-kanade", "--preset", "medium", "--device", "cpu"]
    assert main(argv) == 0
    assert type(noted.pop("flow")).__name__ == "LucasKanade"
    assert noted == {
        "source": film,
        "camera": False,
        "histogram": False,
        "clip_length": 9,
        "start": 0.25,
        "stop": 2,
        "unit": "seconds",
        "height": None,
        "progress": True,
    }
    assert read("t.csv") == {"start_frame": ("0", "1"), "speed_mean": ("", "0.100000001")}


def test_defaults_are_those_of_the_function():
    args = entry._build_parser().parse_args(["features", "film.mp4", "-o", "table.csv"])
    defaults = motion_table.__kwdefaults__
    for name in ("clip_length", "height", "start", "stop", "camera", "histogram"):
        assert getattr(args, name) == defaults[name]


def test_warnings_are_lines(film, monkeypatch, capsys):
    def warn(source, **options):
        warnings.warn("no camera\nfor 3 clips", UserWarning, stacklevel=2)
        return {"start_frame": np.arange(3)}

    monkeypatch.setattr("fastmotion.video.motion_table", warn)
    assert main(["features", film, "-o", "t.csv"]) == 0
    assert capsys.readouterr().err == "fastmotion: warning: no camera for 3 clips\n"


@pytest.mark.parametrize(
    "argv, message",
    [
        (["film.mp4"], "required: -o"),
        (["-o", "table.csv"], "required: VIDEO"),
        (["film.mp4", "-o", "table.txt"], "-o writes .csv"),
        (["film.mp4", "-o", "t.csv", "--clip-length", "x"], "invalid int"),
        (["film.mp4", "-o", "t.csv", "--preset", "guess"], "invalid choice"),
    ],
)
def test_bad_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["features", *argv])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_bad_input_is_one_line_and_leaves_no_file(film, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("hello" * 100)
    write_video("one.mp4", np.zeros((1, 32, 32), np.uint8), fps=25)
    before = sorted(tmp_path.iterdir())
    for argv, message in [
        (["no.mp4", "-o", "t.csv"], "no.mp4 does not exist"),
        (["text.mp4", "-o", "t.csv"], "cannot be read as video"),
        (["one.mp4", "-o", "t.csv"], "one.mp4 has one frame"),
        ([film, "-o", "no/t.csv"], "folder .* does not exist"),
        ([film, "-o", "t.csv", "--clip-length", "1"], "'clip_length' parameter"),
        ([film, "-o", "t.csv", "--start", "9"], "no frame from frame 216"),
        ([film, "-o", "t.csv", "--device", "abacus"], "device must be"),
    ]:
        assert main(["features", *argv]) == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert re.fullmatch(f"fastmotion: error: .*{message}.*", line)
        assert sorted(tmp_path.iterdir()) == before
