"""What users write passes a strict type checker, and every public name is among it."""

import ast
import inspect
from pathlib import Path

import pytest
from mypy import api

import fastmotion

ROOT = Path(__file__).resolve().parents[2]
USAGE = Path(__file__).with_name("usage.py")

# A user has our annotations and NumPy's; scikit-learn has none. Errors within the package are told
# by its own check, with the settings of setup.cfg.
SETTINGS = """
[mypy]
follow_imports = silent
[mypy-sklearn.*,scipy.*,numba.*]
ignore_missing_imports = True
"""


@pytest.fixture(scope="session")
def check(tmp_path_factory):
    """Return a function that says what the type checker finds in a file."""
    config = tmp_path_factory.mktemp("mypy") / "mypy.ini"
    config.write_text(SETTINGS)

    def run(path):
        output, errors, _ = api.run(
            ["--strict", "--config-file", str(config), "--cache-dir", str(ROOT / ".cache/mypy"),
             "--no-error-summary", str(path)]
        )  # fmt: skip
        assert not errors
        return output

    return run


def test_usage_is_typed(check, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert check(USAGE) == ""


def test_misuse_is_found(check, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    script = tmp_path / "misuse.py"
    script.write_text(
        "import fastmotion\n"
        "from fastmotion.flow import horn_schunck\n"
        "from fastmotion.mixture import GaussianMixture\n"
        "fastmotion.set_config(threads=2)\n"
        "horn_schunck([[0.0]])\n"
        "GaussianMixture(3).fit([[0.0]], sample_weights=[1.0])\n"
    )
    lines = check(script).splitlines()
    assert [line.split(":")[1] for line in lines if ": error:" in line] == ["4", "5", "6"]


def test_every_public_name_is_used():
    used = {node.attr for node in ast.walk(ast.parse(USAGE.read_text())) if hasattr(node, "attr")}
    for name in fastmotion.__all__:
        value = getattr(fastmotion, name)
        names = value.__all__ if inspect.ismodule(value) else [name]
        assert used >= set(names), name
