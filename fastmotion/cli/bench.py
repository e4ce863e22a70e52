"""``fastmotion bench``: how fast it is here, beside the other libraries that are installed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Declare the command and its arguments."""
    parser = commands.add_parser(
        "bench",
        help="time it on this machine, beside the other libraries that are installed",
        description=(
            "Time a job of each family beside OpenCV, scikit-image, scikit-learn, SciPy, hmmlearn "
            "and poselib, as far as they are installed, and print a table in Markdown. All get the "
            "same number of threads and take turns, results are checked first, and medians are "
            "compared. Takes under a minute once the code is compiled."
        ),
    )
    parser.add_argument(
        "--family",
        nargs="+",
        metavar="NAME",
        help="flow, trajectory, mixture, hmm, epipolar or features; several may be named (all)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file as well")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="number of threads (all)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Time, print each job's rows when they are there, and leave the figures."""
    from contextlib import nullcontext

    from fastmotion.io.files import replacing

    # The file is opened before the work: a folder that is not there is told of at once.
    with replacing(args.json) if args.json else nullcontext() as part:
        machine, outcomes = _measure(args)
        if part is not None:
            _write(part, outcomes, machine)


def _measure(args: argparse.Namespace) -> tuple[dict[str, str], list[Any]]:
    """Return what the figures depend on and the figures, and print them."""
    from fastmotion.benchmark import FAMILIES, compare, outcome_table
    from fastmotion.core.device import thread_limit
    from fastmotion.core.info import get_versions

    with thread_limit(args.n_jobs) as n_jobs:
        versions = get_versions()
    for name in ("fastmotion", "numba", "platform", "CPU"):
        print(f"{name}: {versions[name]}")
    print(f"threads of each library: {n_jobs}\n")
    header, rule, *_ = outcome_table([]).splitlines()
    print(header, rule, sep="\n")
    found = []
    for outcomes in compare(args.family or FAMILIES, n_jobs=n_jobs):
        found += outcomes
        print("\n".join(outcome_table(outcomes).splitlines()[2:]), flush=True)
    return {**versions, "n_jobs": str(n_jobs)}, found


def _write(part: Path, outcomes: list[Any], machine: dict[str, str]) -> None:
    import json
    from dataclasses import asdict

    record = {"machine": machine, "outcomes": [asdict(outcome) for outcome in outcomes]}
    part.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
