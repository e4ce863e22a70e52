"""README's examples run as they stand."""

import os
import subprocess
import sys

import pytest

from fastmotion.cli import main
from tests.readme import README, commands, is_as_stated, python_blocks, stated_output

BLOCKS = python_blocks()
FAMILIES = ["flow", "trajectory", "mixture", "hmm", "epipolar", "features", "video"]


@pytest.mark.parametrize("title", BLOCKS)
def test_example_runs_and_prints_what_it_says(title, tmp_path):
    code = BLOCKS[title]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.strip()
    assert printed
    stated = stated_output(code)
    if stated is not None:
        assert is_as_stated(printed, stated)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_an_example(family):
    assert any(f"from fastmotion.{family} import" in code for code in BLOCKS.values())


@pytest.mark.parametrize("title", BLOCKS)
def test_examples_have_about_five_lines(title):
    lines = BLOCKS[title].splitlines()
    work = [line for line in lines if line and not line.startswith(("from", "import"))]
    assert len(work) <= 5


@pytest.mark.parametrize("command", commands())
def test_command_and_its_options_exist(command, capsys):
    _, *words = command.split()
    names = [word for word in words[:2] if word.isalpha()]
    with pytest.raises(SystemExit) as stopped:
        main([*names, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for option in (word for word in words if word.startswith("-")):
        assert option in text


def test_every_command_has_an_example():
    shown = {command.split()[1] for command in commands()}
    assert shown >= {"flow", "features", "kernel", "epipolar", "bench", "info"}


def test_outputs_are_stated():
    assert stated_output("x = 1  # not this\nprint(x)  # 1") == "1"
    assert stated_output("print(1)") is None
    assert is_as_stated("4", "4 px")
    assert not is_as_stated("4", "41")
    assert sum(stated_output(code) is not None for code in BLOCKS.values()) >= 4
