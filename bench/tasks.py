"""Scripts made of tasks, each of which gives a table of figures and goals."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from bench.report import Goal, report_goals, save_results
from fastmotion.benchmark import markdown_table

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Result:
    """A table of figures by method and setting, and the goals that they answer to."""

    title: str
    figures: Figures
    goals: list[Goal]


Tasks = Mapping[str, Callable[[], Result]]


def read_arguments(name: str, description: str, tasks: Tasks) -> argparse.Namespace:
    """The arguments of a script: ``tasks`` and ``save``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=list(tasks), metavar="NAME")
    parser.add_argument("--save", action="store_true", help=f"keep the figures in {name}.json")
    return parser.parse_args()


def run_tasks(name: str, tasks: Tasks, names: Iterable[str], form: str, save: bool) -> int:
    """Run tasks, print their tables with figures of a format, and return the exit status."""
    results = {}
    for task in names:
        start = time.perf_counter()
        results[task] = tasks[task]()
        print(f"{task}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
        print(figures_table(results[task].title, results[task].figures, form), end="\n\n")
    if save:
        save_results(name, **{task: asdict(result) for task, result in results.items()})
    return report_goals([goal for result in results.values() for goal in result.goals])


def figures_table(title: str, figures: Figures, form: str) -> str:
    """A row for each method; not all need have the same settings."""
    settings = list(dict.fromkeys(key for row in figures.values() for key in row))
    rows = (
        [method, *(f"{row[key]:{form}}" if key in row else "–" for key in settings)]
        for method, row in figures.items()
    )
    return markdown_table([title, *settings], rows)
