"""Build the wheel, install it where there is no checkout, and run the demo and README there.

    python -m tests.wheel [--keep]

Leaves wheel and source distribution in dist. The environment is a fresh one in a temporary folder,
with the extra "demo", and compiles into a cache of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from tests.readme import is_as_stated, python_blocks, stated_output

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"

# Of the checkout, what a source distribution must have and may not.
IN_SOURCE = (
    "Makefile",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "setup.cfg",
    "pyproject.toml",
    "fastmotion/__init__.pyi",
    "tests/conftest.py",
    "bench/summary.py",
    "bench/results/README.md",
    "docs/conf.py",
)
NOT_IN_SOURCE = ("docs/_build", "docs/gallery", "__pycache__", ".venv", ".cache")


def build(folder: Path) -> tuple[Path, Path]:
    """Return the wheel, which is made from the source distribution, and that."""
    # Elsewhere: here, the folder "build" of an earlier build would be taken for the program.
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    [wheel], [source] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def check_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "fastmotion").rglob("*.py")}
    wanted = modules | {"fastmotion/py.typed", "fastmotion/__init__.pyi"}
    assert not wanted - {*names}, f"the wheel lacks {sorted(wanted - {*names})}"
    assert any(name.endswith("LICENSE") for name in names), "the wheel lacks the licence"
    tops = {name.partition("/")[0] for name in names}
    others = {top for top in tops if top != "fastmotion" and not top.endswith(".dist-info")}
    assert not others, f"the wheel should hold the package alone, and has {sorted(others)}"


def check_source(source: Path) -> None:
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = {*IN_SOURCE} - names
    assert not missing, f"the source distribution lacks {sorted(missing)}"
    tracked = {name for name in names if any(part in name for part in NOT_IN_SOURCE)}
    assert not tracked, f"the source distribution has {sorted(tracked)[:5]}"


def environment(folder: Path) -> dict[str, str]:
    """Variables of processes that know nothing of the checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FASTMOTION"))}
    binaries = str(folder / "env" / ("Scripts" if os.name == "nt" else "bin"))
    path = os.pathsep.join([binaries, kept.get("PATH", "")])
    return {**kept, "PATH": path, "FASTMOTION_CACHE_DIR": str(folder / "cache")}


def run(folder: Path, *command: str) -> str:
    """Run a command of the new environment in a folder, and return what it printed."""
    variables = environment(folder)
    program = shutil.which(command[0], path=variables["PATH"])
    assert program, f"{command[0]} is not installed"
    print("+", *(part.partition("\n")[0] for part in command), flush=True)
    done = subprocess.run(
        [program, *command[1:]], cwd=folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(folder: Path, wheel: Path) -> None:
    venv.create(folder / "env", with_pip=True)
    run(folder, "python", "-m", "pip", "install", "--quiet", f"{wheel}[demo]")
    code = "import fastmotion; print(fastmotion.__file__)"
    place = Path(run(folder, "python", "-c", code).strip())
    assert ROOT not in place.parents, f"{place} is the checkout, not what was installed"


def check_use(folder: Path) -> None:
    """Run the demo, the commands that need no file, and each example of README."""
    print(run(folder, "fastmotion", "demo", "-o", "demo.png"), end="")
    assert (folder / "demo.png").stat().st_size > 10_000
    print(run(folder, "fastmotion", "info"), end="")
    for title, code in python_blocks().items():
        printed = run(folder, "python", "-W", "error", "-c", code).strip()
        stated = stated_output(code)
        assert printed, f"{title}: nothing was printed"
        assert not stated or is_as_stated(printed, stated), f"{title}: {printed}, not {stated}"
        print(f"{title}: {printed}")
    print(run(folder, "fastmotion", "bench", "--family", "mixture"), end="")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="fastmotion-wheel-"))
    try:
        wheel, source = build(folder)
        check_wheel(wheel)
        check_source(source)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, complete", flush=True)
        install(folder, wheel)
        check_use(folder)
        DIST.mkdir(exist_ok=True)
        for file in (wheel, source):
            shutil.copy(file, DIST)
    finally:
        if keep:
            print(f"left: {folder}")
        else:
            shutil.rmtree(folder)
    print("the wheel installs and runs outside the checkout")
    return 0


if __name__ == "__main__":
    sys.exit(main())
