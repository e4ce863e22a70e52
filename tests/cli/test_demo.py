import sys

import numpy as np
import pytest

from fastmotion.cli import demo, main
from fastmotion.datasets import load_motorcycle
from fastmotion.io import read_image

pytest.importorskip("imageio", reason="imageio is not installed")
pytest.importorskip("skimage", reason="scikit-image is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")


class Shifted:
    """Gives the truth, but for a given error to the right, and zero where it is unknown."""

    def __init__(self, error):
        self.error = error

    def estimate(self, frame0, frame1):
        flow = np.nan_to_num(load_motorcycle().flow)
        flow[..., 0] += self.error
        return flow


@pytest.fixture
def shifted(monkeypatch):
    estimators = {"Lucas-Kanade": Shifted(2.0), "Horn-Schunck": Shifted(0.5)}
    monkeypatch.setattr(demo, "_make_estimators", lambda: estimators)


def test_demo_prints_errors_and_leaves_a_picture(tmp_path, monkeypatch, capsys, shifted):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines[2:4]}
    assert rows["Lucas-Kanade"][1:3] == ["2.000", "px"]
    assert rows["Horn-Schunck"][1:3] == ["0.500", "px"]
    assert 0 < float(rows["Horn-Schunck"][3]) < float(rows["Lucas-Kanade"][3]) < 5
    assert lines[-1] == "Picture: demo.png"
    picture = read_image("demo.png")
    assert picture.shape[1] > 1000 and picture.std() > 30


def test_output_can_be_named(tmp_path, shifted):
    assert main(["demo", "-o", str(tmp_path / "here.pdf")]) == 0
    assert (tmp_path / "here.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("module, extra", [("skimage.data", "demo"), ("matplotlib", "plot")])
def test_missing_extra(monkeypatch, capsys, module, extra, shifted):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert main(["demo"]) == 2
    captured = capsys.readouterr()
    assert f"pip install fastmotion[{extra}]" in captured.err
    assert captured.out == ""


def test_bad_output(tmp_path, capsys, shifted):
    assert main(["demo", "-o", str(tmp_path / "no" / "demo.png")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["demo", "-o", str(tmp_path / "demo.xyz")]) == 2
    assert "fastmotion: error: Format 'xyz' is not supported" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
