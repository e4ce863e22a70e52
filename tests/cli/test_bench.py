import functools
import json

import numpy as np
import pytest

from fastmotion import benchmark
from fastmotion.benchmark import FAMILIES, Outcome, compare, comparison, outcome_table
from fastmotion.benchmark.jobs import Comparison
from fastmotion.cli import main

TINY = {"scale": 0.05, "rounds": 1, "budget": 0.0}
# Those that are hard dependencies or come with the extra "demo".
PEERS = {
    "flow": "scikit-image, Lucas-Kanade",
    "trajectory": "scikit-learn, Ridge",
    "mixture": "scikit-learn",
    "features": "scikit-image",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_results_of_each_family_are_right_and_timed(family):
    outcomes = [outcome for job in compare([family], n_jobs=1, **TINY) for outcome in job]
    methods = {outcome.method for outcome in outcomes}
    assert any(method.startswith("fastmotion") for method in methods)
    assert PEERS.get(family, "fastmotion") in methods
    for outcome in outcomes:
        assert outcome.family == family
        assert outcome.seconds > 0
        assert np.isfinite(outcome.error)


def constant(value):
    return lambda: lambda: value


def stand_in(monkeypatch, builders):
    """Let the family "flow" be one job whose results should be 0."""
    job = Comparison("flow", "nothing", builders, abs, "off by", 0.5)
    monkeypatch.setattr(comparison, "_comparisons", lambda family, scale: [job])


def test_ratio_is_to_the_first_method(monkeypatch):
    stand_in(monkeypatch, {"fastmotion, a": constant(0.0), "other": constant(0.25)})
    monkeypatch.setattr(
        comparison, "time_checked", lambda calls, check, **options: _checked(calls, check)
    )
    [[ours, other]] = compare(["flow"], n_jobs=1)
    assert (ours.seconds, ours.ratio, ours.error) == (1.0, 1.0, 0.0)
    assert (other.seconds, other.ratio, other.error) == (2.0, 2.0, 0.25)


def _checked(calls, check):
    for name, call in calls.items():
        check(name, call())
    return {name: index + 1.0 for index, name in enumerate(calls)}


@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_wrong_result_of_ours_is_an_error(monkeypatch, wrong):
    stand_in(monkeypatch, {"fastmotion": constant(wrong), "other": constant(0.0)})
    with pytest.raises(RuntimeError, match="nothing by fastmotion does not count"):
        list(compare(["flow"], n_jobs=1, rounds=1))


@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_wrong_result_of_others_is_left_out(monkeypatch, caplog, wrong):
    stand_in(monkeypatch, {"fastmotion": constant(0.0), "other": constant(wrong)})
    [[outcome]] = compare(["flow"], n_jobs=1, rounds=1)
    assert outcome.method == "fastmotion"
    assert "nothing by other does not count" in caplog.text


def test_missing_library_is_left_out(monkeypatch):
    def missing():
        raise ImportError("no module named other")

    stand_in(monkeypatch, {"fastmotion": constant(0.0), "other": missing})
    [[outcome]] = compare(["flow"], n_jobs=1, rounds=1)
    assert outcome.method == "fastmotion"


def test_unknown_family_is_refused():
    with pytest.raises(ValueError, match=r"of \['flow', .*\], got \['flaw'\]"):
        list(compare(["flow", "flaw"], n_jobs=1))


def test_table_is_markdown():
    outcome = Outcome("flow", "480x320", "other", 0.0123, 2.5, 0.123, "error (px)")
    assert outcome_table([outcome]).splitlines() == [
        "| job | method | ms | time / ours | result |",
        "| --- | --: | --: | --: | --: |",
        "| flow: 480x320 | other | 12.3 | 2.50 | error (px) 0.12 |",
    ]


def test_command_prints_the_table_and_leaves_the_figures(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(benchmark, "compare", functools.partial(compare, **TINY))
    path = tmp_path / "bench.json"
    assert main(["bench", "--family", "mixture", "--n-jobs", "1", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "threads of each library: 1" in out
    record = json.loads(path.read_text())
    assert record["machine"]["n_jobs"] == "1"
    assert [outcome["method"] for outcome in record["outcomes"]] == ["fastmotion", "scikit-learn"]
    for outcome in record["outcomes"]:
        assert f"| {outcome['method']} | {1e3 * outcome['seconds']:.3g} |" in out


def test_command_refuses_unknown_families(capsys):
    assert main(["bench", "--family", "flaw"]) == 2
    assert "got ['flaw']" in capsys.readouterr().err


def test_missing_folder_is_told_before_the_work(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(benchmark, "compare", None)
    assert main(["bench", "--json", str(tmp_path / "none" / "bench.json")]) == 2
    assert "does not exist" in capsys.readouterr().err
