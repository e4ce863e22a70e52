"""The report of saved results: made from made-up records, and from those in the tree."""

import json
import re
import shutil

import pytest

from bench import summary
from bench.accuracy_flow import MIDDLEBURY
from bench.cases_hmm import BaumWelch
from bench.cases_kernels import Fit
from bench.pictures import EPIPOLAR_PANELS, PICTURES
from bench.report import RESULTS, report_goals, save_results
from bench.speed_mixture import GROWTH, STATES
from bench.speed_trajectory import FIT_TAPS

MACHINE = {"processor": "an abacus", "threads": 2, "torch": "not installed"}


def record(goals=(), **figures):
    return {
        "machine": MACHINE,
        "date": "2026-01-02T03:04:05+00:00",
        "took_seconds": 90.0,
        **figures,
        "goals": [
            {"text": text, "figure": figure, "bound": 1.0, "unit": "", "at_least": True}
            for text, figure in goals
        ],
    }


def errors(error):
    return {"endpoint": dict.fromkeys(MIDDLEBURY, error), "angular": dict.fromkeys(MIDDLEBURY, 1)}


def fits(n_taps):
    return {str(Fit((n, 1, 1), n_taps)): {"fastmotion": 1.0, "Ridge": 1.0 + n} for n in FIT_TAPS}


CASES = [str(case) for case in EPIPOLAR_PANELS.values()]
RECORDS = {
    "speed_flow": record(
        median_seconds={
            "640x480, 1 thread": {"HornSchunck default": 0.125, "DeepFlow": 0.875},
            "640x480, 2 threads": {"HornSchunck default": 0.0625, "DeepFlow": 0.5},
        },
        growth_seconds={"640x480, 2 threads": {"HornSchunck default": 0.0625}},
        memory_bytes_per_pixel={"HornSchunck": 31.5},
        goals=[("fast enough", 2.0), ("faster still", 0.5)],
    ),
    "accuracy_flow": record(results={"HornSchunck default": errors(0.25), "DeepFlow": errors(0.5)}),
    "speed_trajectory": record(
        median_seconds={
            "1": {
                "fit": fits(5) | fits(31),
                "apply": {
                    "10x9x8x3, 5 taps": {"fastmotion": 2.0, "correlate1d": 7.0},
                    "10x9x8x3, 9 taps": {"fastmotion": 4.0, "correlate1d": 18.0},
                },
                "bank": {"fastmotion": 1.0, "np.copyto": 0.75},
            }
        },
        memory_in_series=0.0125,
    ),
    "speed_mixture": record(
        timings=[
            {
                "threads": 1,
                "iterations": {str(c): {"fastmotion": 1.0, "scikit-learn": 6.5} for c in GROWTH},
                "fits": {},
                "scores": {},
                "hmm": {str(BaumWelch(n)): {"fastmotion": 2.0} for n in STATES},
            }
        ]
    ),
    "speed_epipolar": record(
        seconds={"1": dict.fromkeys(CASES, {"fastmotion": 0.5, "poselib": 9.0})},
        pose_errors={"1": dict.fromkeys(CASES, {"fastmotion": 0.25, "poselib": float("inf")})},
    ),
    "accuracy_epipolar": {
        "machine": MACHINE,
        "scenes": {
            "title": "scenes: AUC@5° (%)",
            "figures": {
                name: dict.fromkeys(EPIPOLAR_PANELS, area)
                for name, area in (("fastmotion", 96.5), ("poselib", 93.25))
            },
            "goals": [],
        },
    },
    "speed_features": record(
        median_seconds={"1": {"a part": {"10 bags": {"fastmotion": 0.5, "NumPy": 1.75}}}}
    ),
    "startup": record(
        imports={"import fastmotion": {"s": 0.0125}}, tests={"make test": {"s": 801.0, "tests": 9}}
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with records and pictures, and the text of the report."""
    folder = write(tmp_path_factory.mktemp("results"), *RECORDS)
    return folder, summary.report(folder)


@pytest.fixture
def text(made):
    return made[1]


def write(folder, *names):
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps(RECORDS[name]))
    return folder


def row_of(text, *cells):
    """Return the cells of the row that begins with some."""
    start = "| " + " | ".join(cells) + " |"
    [row] = [line for line in text.splitlines() if line.startswith(start)]
    return row.strip("| ").split(" | ")


def test_ratios_are_quotients_of_the_records(text):
    assert row_of(text, "10x9x8x3, 9 taps") == ["10x9x8x3, 9 taps", "4000", "18000", "4.5"]
    assert row_of(text, "bank") == ["bank", "1000", "750", "0.75"]
    assert row_of(text, "HornSchunck default", "DeepFlow")[2:] == ["7", "8", "0.25", "0.5"]
    assert row_of(text, "DeepFlow", "OpenCV")[2:] == ["0.5", "875", "500", "8"]
    assert row_of(text, "10 bags") == ["10 bags", "500", "1750", "3.5"]
    assert row_of(text, str(GROWTH[0])) == [str(GROWTH[0]), "1000", "6500", "6.5"]
    headline = row_of(text, "flow 640x480, HornSchunck default")
    assert headline[1:] == ["125", "DeepFlow", "875", "**7**", "0.250 px", "0.500 px"]


def test_places_dates_and_goals_are_told(text):
    date = "2026-01-02T03:04:05+00:00"
    assert row_of(text, "`speed_flow`") == ["`speed_flow`", "A", date, "1.5 min", "1 of 2"]
    assert row_of(text, "`accuracy_epipolar`")[2:4] == ["not recorded"] * 2
    assert "processor an abacus; threads 2\n" in text
    assert row_of(text, "faster still") == ["faster still", "≥ 1", "0.5", "NO"]
    assert row_of(text, "make test")[1:3] == ["801", "9"]


def test_what_is_missing_is_named(text, tmp_path):
    assert "Not measured: `accuracy_trajectory`, " in text
    assert "`gpu_<device>.json`" in text
    without = summary.report(write(tmp_path, "speed_flow"))
    assert "No picture `flow_error_time.png`: accuracy_flow missing." in without
    assert row_of(without, "DeepFlow", "OpenCV")[2] == "–"


def test_failures_are_told_and_nothing_is_nan(text):
    errors = text[text.index("| median pose error") :]
    assert row_of(errors[: errors.index("Goals")], "poselib")[1] == "failed"
    assert not re.search(r"\bnan\b|\binf\b", text)


def test_every_picture_is_written_and_shown(made):
    folder, text = made
    for picture in (picture for group in PICTURES.values() for picture in group):
        assert (folder / picture.file).read_bytes().startswith(b"\x89PNG")
        assert f"({picture.file})" in text


def test_report_of_an_empty_folder_names_every_group(tmp_path):
    text = summary.report(tmp_path)
    for family in summary.FAMILIES.values():
        for group in family.groups:
            assert f"`{group}`" in text


def test_report_of_the_saved_results_is_whole(tmp_path):
    for path in RESULTS.glob("*.json"):
        shutil.copy(path, tmp_path)
    text = summary.report(tmp_path)
    assert not re.search(r"\bnan\b|\binf\b", text)
    shown = re.findall(r"\]\((\w+\.png)\)", text)
    assert shown
    for file in shown:
        assert (tmp_path / file).stat().st_size > 1000
    saved = json.loads((RESULTS / "speed_trajectory.json").read_text())
    case = saved["median_seconds"]["1"]["fit"]["1e6, 31 taps"]
    quotient = summary.number(case["Ridge"] / case["fastmotion"])
    assert f"| **{quotient}** |" in "\n".join(
        line for line in text.splitlines() if line.startswith("| fit 31 taps to 1e6")
    )


def test_headlines_go_between_their_marks():
    text = "\n".join(["before", summary.MARKS[0], "old", summary.MARKS[1], "after"])
    new = "\n".join(["before", summary.MARKS[0], "new", summary.MARKS[1], "after"])
    assert summary.replace_headlines(text, "new") == new
    with pytest.raises(ValueError, match="there must be a line"):
        summary.replace_headlines("nothing", "new")


def test_saved_records_have_date_length_and_goals(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.report.RESULTS", tmp_path)
    monkeypatch.delenv("FASTMOTION_BENCH", raising=False)
    goal = summary.Goal("small", 1.0, 2.0)
    save_results("some_group", goals=[goal], figure=3.5)
    saved = json.loads((tmp_path / "some_group.json").read_text())
    assert saved["figure"] == 3.5
    assert saved["date"].endswith("+00:00")
    assert saved["took_seconds"] >= 0
    assert summary.goals_of(saved) == [goal]


def test_quick_runs_are_kept_apart_and_not_judged(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("bench.report.QUICK_RESULTS", tmp_path)
    monkeypatch.setenv("FASTMOTION_BENCH", "quick")
    goal = summary.Goal("small", 3.0, 2.0)
    save_results("some_group", goals=[goal], figure=3.5)
    assert "goals" not in json.loads((tmp_path / "some_group.json").read_text())
    assert report_goals([goal]) == 0
    assert "not judged" in capsys.readouterr().out
    monkeypatch.setenv("FASTMOTION_BENCH", "slow")
    with pytest.raises(ValueError, match="must be full or quick, got 'slow'"):
        save_results("some_group")
