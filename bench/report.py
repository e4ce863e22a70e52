"""Tables and goals as text."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numba

from bench.gpu_driver import find_gpu

RESULTS = Path(__file__).parent / "results"


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


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report_goals(goals: Sequence[Goal]) -> int:
    """Print each goal beside its figure; return the exit status: 1 if one is missed, else 0."""

    def amount(value: float, unit: str) -> str:
        return f"{value:.4g} {unit}".rstrip()

    def row(goal: Goal) -> list[str]:
        figure, bound = amount(goal.figure, goal.unit), amount(goal.bound, goal.unit)
        sign = "≥" if goal.at_least else "≤"
        return [goal.text, f"{sign} {bound}", figure, "yes" if goal.is_met else "NO"]

    print(markdown_table(["goal", "bound", "figure", "met"], map(row, goals)))
    missed = sum(not goal.is_met for goal in goals)
    print(f"\n{len(goals) - missed} of {len(goals)} goals met")
    return int(missed > 0)


def save_results(name: str, **figures: Any) -> None:
    """Write figures, and the machine that they were measured on, to bench/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    record = {"machine": machine(), **figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


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
