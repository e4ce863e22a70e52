"""Tables and goals as text."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numba

from bench.gpu_driver import find_gpu
from fastmotion.benchmark import markdown_table

RESULTS = Path(__file__).parent / "results"
# What a quick run finds is no result to keep.
QUICK_RESULTS = Path(__file__).parents[1] / ".cache" / "bench"

# A script is a process.
_STARTED = time.perf_counter()


_T = TypeVar("_T")


def is_quick() -> bool:
    """Whether to take fewer rounds and smaller sizes: with FASTMOTION_BENCH=quick."""
    effort = os.environ.get("FASTMOTION_BENCH", "full")
    if effort not in ("full", "quick"):
        raise ValueError(f"FASTMOTION_BENCH must be full or quick, got {effort!r}")
    return effort == "quick"


def choose(full: _T, quick: _T) -> _T:
    """What a full run takes, or a quick one."""
    return quick if is_quick() else full


def results_folder() -> Path:
    return choose(RESULTS, QUICK_RESULTS)


@dataclass(frozen=True)
class Goal:
    """A figure and the most that it may be, or the least with `at_least`."""

    text: str
    figure: float
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound


def report_goals(goals: Sequence[Goal]) -> int:
    """Print each goal beside its figure; return the exit status: 1 if one is missed, else 0.

    Goals are for the sizes of a full run; a quick one is not judged.
    """
    if is_quick():
        print("a quick run: goals are not judged")
        return 0
    print(goals_table(goals))
    missed = sum(not goal.is_met for goal in goals)
    print(f"\n{len(goals) - missed} of {len(goals)} goals met")
    return int(missed > 0)


def goals_table(goals: Iterable[Goal]) -> str:
    def amount(value: float, unit: str) -> str:
        return f"{value:.4g} {unit}".rstrip()

    def row(goal: Goal) -> list[str]:
        figure, bound = amount(goal.figure, goal.unit), amount(goal.bound, goal.unit)
        sign = "≥" if goal.at_least else "≤"
        return [goal.text, f"{sign} {bound}", figure, "yes" if goal.is_met else "NO"]

    return markdown_table(["goal", "bound", "figure", "met"], map(row, goals))


def save_results(name: str, *, goals: Sequence[Goal] = (), **figures: Any) -> None:
    """Write figures to <name>.json in the folder of results.

    The machine that they were measured on goes with them, the date, and how long it took.
    """
    folder = results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_seconds": round(time.perf_counter() - _STARTED, 1),
        **figures,
    }
    if goals and not is_quick():
        record["goals"] = [asdict(goal) for goal in goals]
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def machine() -> dict[str, str | int]:
    """What the figures depend on."""
    packages = {
        name: _version(name)
        for name in (
            "fastmotion",
            "numba",
            "numpy",
            "scipy",
            "scikit-learn",
            "opencv-contrib-python-headless",
            "scikit-image",
            "torch",
            "scikit-learn-intelex",
            "hmmlearn",
            "poselib",
            "pydegensac",
        )
    }
    return {
        "processor": _processor(),
        "threads": numba.config.NUMBA_NUM_THREADS,
        "system": platform.platform(),
        "python": platform.python_version(),
        **packages,
    }


def gpu() -> dict[str, str | int | float]:
    """What figures of the GPU depend on besides."""
    packages = ("numba-cuda", "cuda-bindings", "cupy-cuda12x", "cupy-cuda13x", "kornia")
    facts = {f"GPU, {key}": value for key, value in asdict(find_gpu()).items()}
    return facts | {name: _version(name) for name in packages}


def describe_machine() -> str:
    return "\n".join(f"{key}: {value}" for key, value in machine().items())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
