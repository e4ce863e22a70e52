"""What a user waits for before the first result: imports, compilation, installation, and tests.

    python -m bench.startup [--parts NAME ...] [--rounds N] [--test-seconds S] [--save]

Times of imports and of first calls are those of fresh processes, imports by turns. The wheel is
built from a source distribution, as installers would. The length of the test suite is that of the
last whole `make test`, which leaves a file that tells. Prints tables in Markdown, then the goals
beside the figures; exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from bench.report import Goal, choose, describe_machine, report_goals, save_results
from bench.tasks import figures_table
from bench.timing import run_fresh

ROOT = Path(__file__).parents[1]
TEST_REPORT = ROOT / ".cache" / "tests.xml"
ROUNDS = choose(7, 2)

FAMILIES = ("flow", "trajectory", "mixture", "hmm", "epipolar", "features")
MODULES = (
    "numpy",
    "sklearn",
    "fastmotion",
    *(f"fastmotion.{family}" for family in FAMILIES),
    "fastmotion.linear",
    "fastmotion.metrics",
    "fastmotion.io",
    "fastmotion.datasets",
    "fastmotion.display",
    "fastmotion.video",
)

# Goals, in seconds but for the wheel. Imports: beyond that of scikit-learn.
MOST_IMPORT = 0.3
MOST_COLD, MOST_COLD_EPIPOLAR, MOST_WARM = 15.0, 60.0, 2.0
MOST_TESTS = 15 * 60.0

# A call each, of the size of a first try. The imports come first, and are not in its time.
FIRST_CALLS: Mapping[str, tuple[str, str]] = {
    "HornSchunck().estimate, 640x480": (
        "from fastmotion.flow import HornSchunck\n"
        "a, b = np.random.default_rng(0).integers(0, 256, (2, 480, 640), dtype=np.uint8)",
        "HornSchunck().estimate(a, b)",
    ),
    "LucasKanade().estimate, 640x480": (
        "from fastmotion.flow import LucasKanade\n"
        "a, b = np.random.default_rng(0).integers(0, 256, (2, 480, 640), dtype=np.uint8)",
        "LucasKanade().estimate(a, b)",
    ),
    "MotionKernel(5).fit_transform, 8 walks": (
        "from fastmotion.datasets import make_motion\n"
        "from fastmotion.trajectory import MotionKernel\n"
        'X = make_motion("walk", n_sequences=8, noise=5.0, random_state=0).observed',
        "MotionKernel(5).fit_transform(X)",
    ),
    "GaussianMixture(4).fit, 10 000 x 8": (
        "from fastmotion.mixture import GaussianMixture\n"
        "X = np.random.default_rng(0).normal(size=(10_000, 8))",
        "GaussianMixture(4, random_state=0, max_iter=5, tol=1e6).fit(X)",
    ),
    "GaussianHMM(4).fit, 10 000 x 8": (
        "from fastmotion.hmm import GaussianHMM\n"
        "X = np.random.default_rng(0).normal(size=(10_000, 8))",
        "GaussianHMM(4, random_state=0, n_iter=5, tol=1e6).fit(X, lengths=[1000] * 10)",
    ),
    "FundamentalMatrix().fit, 1000 matches": (
        "from fastmotion.datasets import make_two_view\n"
        "from fastmotion.epipolar import FundamentalMatrix\n"
        "matches = make_two_view(random_state=0).matches",
        "FundamentalMatrix(random_state=0).fit(matches)",
    ),
    "FlowHistogram().fit_transform, 4 pairs of 320x240": (
        "from fastmotion.features import FlowHistogram\n"
        "flow = np.random.default_rng(0).normal(size=(1, 4, 240, 320, 2)).astype(np.float32)",
        "FlowHistogram().fit_transform(flow)",
    ),
    "FisherVector(4).fit_transform, 10 x 1000 x 8": (
        "from fastmotion.features import FisherVector\n"
        "X = np.random.default_rng(0).normal(size=(10, 1000, 8))",
        "FisherVector(4, random_state=0).fit_transform(X)",
    ),
    "warmup() of everything": ("import fastmotion", "fastmotion.warmup()"),
}

TIMED = """
import json, time
import numpy as np
{setup}
start = time.perf_counter()
{call}
print(json.dumps(time.perf_counter() - start))
"""


# --- Parts


def import_seconds(rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of `import`, by module, in processes that have imported nothing else."""
    seconds: dict[str, list[float]] = {module: [] for module in MODULES}
    for turn in range(rounds + 1):
        for module in MODULES:
            taken = run_fresh(
                "import json, time\nstart = time.perf_counter()\n"
                f"import {module}\nprint(json.dumps(time.perf_counter() - start))"
            )
            if turn:  # the first reads from the disk
                seconds[module].append(taken)
    return {f"import {m}": {"s": statistics.median(taken)} for m, taken in seconds.items()}


def first_call_seconds(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of the first call of a process, nothing compiled, and all compiled."""
    found = {}
    for name, (setup, call) in FIRST_CALLS.items():
        code = TIMED.format(setup=setup, call=call)
        with tempfile.TemporaryDirectory() as cache:
            cold = run_fresh(code, cache)
            warm = [run_fresh(code, cache) for _ in range(rounds)]
            megabytes = sum(f.stat().st_size for f in Path(cache).rglob("*") if f.is_file()) / 1e6
        found[name] = {
            "cold (s)": cold,
            "warm (s)": statistics.median(warm),
            "machine code (MB)": megabytes,
        }
        print(f"{name}: timed", file=sys.stderr)
    return found


def package_sizes(rounds: int) -> dict[str, dict[str, float]]:
    """Of the distributions, and of what an installer writes (megabytes)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "build", "--outdir", folder, str(ROOT)],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,), (source,) = Path(folder).glob("*.whl"), Path(folder).glob("*.tar.gz")
        with zipfile.ZipFile(wheel) as archive:
            installed = sum(entry.file_size for entry in archive.infolist())
        sizes = {
            "wheel": wheel.stat().st_size,
            "installed, without bytecode": installed,
            "source distribution": source.stat().st_size,
        }
    return {name: {"MB": size / 1e6} for name, size in sizes.items()}


def suite_length(path: Path = TEST_REPORT) -> dict[str, dict[str, float]]:
    """What the last whole run of `make test` took, or nothing where there is no such file."""
    if not path.is_file():
        print(f"{path} is not there: no whole `make test` has run", file=sys.stderr)
        return {}
    suites = ElementTree.parse(path).getroot().iter("testsuite")
    totals = {"s": 0.0, "tests": 0.0, "skipped": 0.0, "failed": 0.0}
    for suite in suites:
        totals["s"] += float(suite.get("time", 0))
        totals["tests"] += int(suite.get("tests", 0))
        totals["skipped"] += int(suite.get("skipped", 0))
        totals["failed"] += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return {"make test": totals}


PARTS: Mapping[str, Callable[[int], dict[str, dict[str, float]]]] = {
    "imports": import_seconds,
    "first_calls": first_call_seconds,
    "sizes": package_sizes,
}


# --- Report


def goals(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Goal]:
    found = []
    imports = results.get("imports", {})
    if imports:
        beyond = imports["import fastmotion"]["s"] - imports["import sklearn"]["s"]
        found.append(Goal("import fastmotion, beyond import sklearn", beyond, MOST_IMPORT, "s"))
    for name, figures in results.get("first_calls", {}).items():
        if name.startswith(("HornSchunck", "LucasKanade")):
            found.append(Goal(f"{name}, nothing compiled", figures["cold (s)"], MOST_COLD, "s"))
        if name.startswith("FundamentalMatrix"):
            bound = MOST_COLD_EPIPOLAR
            found.append(Goal(f"{name}, nothing compiled", figures["cold (s)"], bound, "s"))
        if not name.startswith("warmup"):
            found.append(Goal(f"{name}, all compiled", figures["warm (s)"], MOST_WARM, "s"))
    for name, figures in results.get("tests", {}).items():
        found.append(Goal(name, figures["s"], MOST_TESTS, "s"))
    return found


def _arguments() -> argparse.Namespace:
    parts = [*PARTS, "tests"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="processes of each")
    parser.add_argument(
        "--test-seconds", type=float, metavar="S", help="length of `make test`, timed elsewhere"
    )
    parser.add_argument("--save", action="store_true", help="keep the figures")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    print(describe_machine(), end="\n\n")
    results = {
        name: measure(arguments.rounds)
        for name, measure in PARTS.items()
        if name in arguments.parts
    }
    if arguments.test_seconds is not None:
        results["tests"] = {"make test": {"s": arguments.test_seconds}}
    elif "tests" in arguments.parts:
        results["tests"] = suite_length()
    for name, figures in results.items():
        print(figures_table(name, figures, ".3g"), end="\n\n")
    found = goals(results)
    if arguments.save:
        save_results("startup", goals=found, **results)
    return report_goals(found)


if __name__ == "__main__":
    sys.exit(main())
