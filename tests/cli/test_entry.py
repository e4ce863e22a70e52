import subprocess
import sys

import pytest

import fastmotion
from fastmotion.cli import entry, main


def run_python(*args):
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=300, check=False
    )


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"fastmotion {fastmotion.__version__}\n"


HELPS = [
    [],
    ["flow"],
    ["kernel"],
    ["kernel", "fit"],
    ["kernel", "apply"],
    ["epipolar"],
    ["demo"],
    ["bench"],
    ["info"],
    ["warmup"],
]


@pytest.mark.parametrize("command", HELPS)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert " ".join(["usage: fastmotion", *command]) in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["dance"], ["flow"], ["info", "more"]])
def test_bad_usage(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "usage: fastmotion" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["flow"], ["kernel", "fit"], ["epipolar"]])
def test_help_loads_nothing_heavy(command):
    code = (
        "import sys\n"
        "from fastmotion.cli import main\n"
        "try:\n"
        f"    main({[*command, '--help']})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('loaded:', {'numpy', 'scipy', 'sklearn', 'numba', 'matplotlib'} & set(sys.modules))"
    )
    assert run_python("-c", code).stdout.endswith("loaded: set()\n")


def test_the_module_runs_as_a_program():
    done = run_python("-m", "fastmotion", "flow", "nowhere.png", "nowhere.png", "-o", "a.png")
    assert done.returncode == 2
    assert done.stderr == "fastmotion: error: nowhere.png does not exist.\n"


@pytest.mark.parametrize(
    "error, code, message",
    [
        (ValueError("first line\n  second line"), 2, "error: first line second line\n"),
        (ImportError("install it"), 2, "error: install it\n"),
        (FileNotFoundError("no file"), 2, "error: no file\n"),
        (RuntimeError("no device"), 2, "error: no device\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_are_one_line(monkeypatch, capsys, error, code, message):
    def fail(args):
        raise error

    monkeypatch.setattr(entry.info, "run", fail)
    assert main(["info"]) == code
    assert capsys.readouterr().err == f"fastmotion: {message}"


def test_traceback_on_request(monkeypatch):
    def fail(args):
        raise ValueError("deep down")

    monkeypatch.setattr(entry.info, "run", fail)
    with pytest.raises(ValueError, match="deep down"):
        main(["--traceback", "info"])


def test_info(capsys):
    assert main(["info"]) == 0
    assert f"fastmotion: {fastmotion.__version__}" in capsys.readouterr().out


def test_warmup(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(fastmotion, "warmup", lambda device: calls.append(device), raising=False)
    assert main(["warmup"]) == 0
    assert main(["warmup", "--device", "cuda:1"]) == 0
    assert calls == ["cpu", "cuda:1"]
    assert capsys.readouterr().out.startswith("Ready in ")
