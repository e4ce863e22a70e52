"""What is measured before the first result."""

import numpy as np
import pytest

from bench import startup

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests">
<testsuite name="pytest" errors="1" failures="2" skipped="3" tests="40" time="801.25" />
</testsuites>
"""


def test_length_of_the_suite_is_read(tmp_path):
    path = tmp_path / "tests.xml"
    path.write_text(REPORT)
    [figures] = startup.suite_length(path).values()
    assert figures == {"s": 801.25, "tests": 40, "skipped": 3, "failed": 3}


def test_without_a_report_there_is_no_length(tmp_path, capsys):
    assert startup.suite_length(tmp_path / "tests.xml") == {}
    assert "is not there" in capsys.readouterr().err


@pytest.mark.parametrize("name", [n for n in startup.FIRST_CALLS if not n.startswith("warmup")])
def test_first_calls_run(name):
    setup, call = startup.FIRST_CALLS[name]
    names = {"np": np}
    exec(setup, names)
    assert eval(call, names) is not None


def test_goals_are_those_of_what_was_measured():
    results = {
        "imports": {"import fastmotion": {"s": 0.5}, "import sklearn": {"s": 0.25}},
        "first_calls": {
            "HornSchunck().estimate, 640x480": {"cold (s)": 14.0, "warm (s)": 3.0},
            "warmup() of everything": {"cold (s)": 90.0, "warm (s)": 4.0},
        },
        "tests": {"make test": {"s": 800.0}},
    }
    met = {goal.text: goal.is_met for goal in startup.goals(results)}
    assert met == {
        "import fastmotion, beyond import sklearn": True,
        "HornSchunck().estimate, 640x480, nothing compiled": True,
        "HornSchunck().estimate, 640x480, all compiled": False,
        "make test": True,
    }
    assert startup.goals({}) == []


def test_every_family_has_a_first_call_and_an_import():
    code = " ".join(setup for setup, _ in startup.FIRST_CALLS.values())
    for family in startup.FAMILIES:
        assert f"from fastmotion.{family} import" in code
        assert f"fastmotion.{family}" in startup.MODULES
