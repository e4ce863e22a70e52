"""One report of all saved results, in Markdown with pictures.

    python -m bench.summary [FOLDER] [--readme FILE]

Reads every record of a folder (bench/results), draws the pictures of those that are there, and
writes README.md beside them, which says what is missing. Every ratio is a quotient of two saved
medians, a peer's by ours: above 1, ours is faster. --readme puts the table of headlines into
another file, between its two marks.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import gpu_report, peers, peers_features
from bench.accuracy_flow import RIVALS, mean_endpoint
from bench.pictures import EPIPOLAR_PANELS, OURS, PICTURES, Picture, Records, most_threads
from bench.report import Goal, goals_table, results_folder
from bench.speed_features import FISHERS, HISTOGRAMS
from bench.tasks import Figures, figures_table
from fastmotion.benchmark import markdown_table

Record = Mapping[str, Any]
Runs = Mapping[str, Mapping[str, float]]

MARKS = "<!-- headlines: python -m bench.summary --readme -->", "<!-- end of headlines -->"
# More goals than these would hide the tables.
_MOST_OPEN_GOALS = 6


# --- Numbers


def number(value: float | None) -> str:
    """A figure of three digits at least, or a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "failed"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def ratio(theirs: float | None, ours: float | None) -> str:
    """How many times as long as ours a peer takes."""
    return "–" if theirs is None or ours is None else number(theirs / ours)


def ratio_table(title: str, runs: Runs, ours: str = OURS) -> str:
    """A row for each case: milliseconds of ours, and of each peer its own and the ratio."""
    methods = dict.fromkeys(name for run in runs.values() for name in run if name != ours)
    header = [title, f"{ours} (ms)"]
    header += [text for name in methods for text in (f"{name} (ms)", "÷ ours")]
    rows = []
    for case, seconds in runs.items():
        row = [case, number(1e3 * seconds[ours])]
        for name in methods:
            theirs = seconds.get(name)
            row += [number(None if theirs is None else 1e3 * theirs), ratio(theirs, seconds[ours])]
        rows.append(row)
    return markdown_table(header, rows)


def threads_text(count: int | str) -> str:
    return f"{count} thread{'' if int(count) == 1 else 's'}"


def _by_case(figures: Figures) -> Figures:
    """The same with rows for columns."""
    turned: Figures = {}
    for row, by_column in figures.items():
        for column, figure in by_column.items():
            turned.setdefault(column, {})[row] = figure
    return turned


# --- Groups: a record as tables. Accuracy of the same family is at hand in `records`.


def speed_flow(record: Record, records: Records) -> str:
    runs = record["median_seconds"]
    results = records.get("accuracy_flow", {}).get("results", {})
    label, reference = most_threads(runs)

    def error(name: str) -> float | None:
        return mean_endpoint(results[name]["endpoint"]) if name in results else None

    names = sorted(reference, key=reference.__getitem__)
    header = ["method", "library", "error (px)", *(f"{run} (ms)" for run in runs)]
    header.append(f"÷ {peers.HS_DEFAULT}, {label}")
    rows = (
        [
            name,
            peers.METHODS[name].library,
            number(error(name)),
            *(number(1e3 * run[name]) for run in runs.values()),
            ratio(reference[name], reference.get(peers.HS_DEFAULT)),
        ]
        for name in names
    )
    parts = [markdown_table(header, rows), "Each preset beside the peer that it answers to:"]
    pairs = [(ours, peer) for ours, peer in _rivals() if ours in reference and peer in reference]
    header = ["ours", "peer", *(f"÷ ours, {run}" for run in runs), "our error (px)", "theirs (px)"]
    rows = (
        [
            ours,
            peer,
            *(ratio(run[peer], run[ours]) for run in runs.values()),
            number(error(ours)),
            number(error(peer)),
        ]
        for ours, peer in pairs
    )
    parts.append(markdown_table(header, rows))
    if "growth_seconds" in record:
        growth = {
            run: {name: 1e3 * s for name, s in seconds.items()}
            for run, seconds in record["growth_seconds"].items()
        }
        parts.append(figures_table("ms by size", _by_case(growth), ".3g"))
    if "memory_bytes_per_pixel" in record:
        memory = record["memory_bytes_per_pixel"].items()
        text = ", ".join(f"{name} {number(figure)}" for name, figure in memory)
        parts.append(f"Memory beyond the pair and its flow, bytes per pixel: {text}.")
    return "\n\n".join(parts)


def _rivals() -> list[tuple[str, str]]:
    return [*RIVALS.items(), (peers.LK_DEFAULT, peers.ILK)]


def accuracy_flow(record: Record, records: Records) -> str:
    results = record["results"]
    pairs = next(iter(results.values()))["endpoint"]
    header = ["end-point error (px)", "mean, Middlebury", *pairs, "angular, Middlebury (°)"]
    ranked = sorted(results.items(), key=lambda item: mean_endpoint(item[1]["endpoint"]))
    rows = (
        [
            name,
            number(mean_endpoint(result["endpoint"])),
            *(number(result["endpoint"][pair]) for pair in pairs),
            number(mean_endpoint(result["angular"])),
        ]
        for name, result in ranked
    )
    return markdown_table(header, rows)


def speed_trajectory(record: Record, records: Records) -> str:
    parts = [
        ratio_table(f"{part}, {threads_text(count)}", {part: runs} if part == "bank" else runs)
        for count, by_part in record["median_seconds"].items()
        for part, runs in by_part.items()
    ]
    memory = number(record["memory_in_series"])
    return "\n\n".join([*parts, f"Memory of a fit beyond its series, in series: {memory}."])


def speed_mixture(record: Record, records: Records) -> str:
    parts = []
    for timing in record["timings"]:
        suffix = threads_text(timing["threads"])
        titles = {
            "iterations": "iteration (samples, features, components)",
            "fits": "whole fit",
            "hmm": "hidden Markov model",
        }
        parts += [
            ratio_table(f"{title}, {suffix}", timing[part])
            for part, title in titles.items()
            if timing[part]
        ]
        if timing["scores"]:
            title = "mean log-likelihood of whole fits"
            parts.append(figures_table(title, timing["scores"], ".4f"))
    if "memory_megabytes" in record:
        memory = number(record["memory_megabytes"])
        parts.append(f"Memory of a fit of 1e6 samples beyond these: {memory} MB.")
    return "\n\n".join(parts)


def scaling_mixture(record: Record, records: Records) -> str:
    one, two = record["seconds"]["1"], record["seconds"]["2"]
    rows = (
        [case, number(1e3 * seconds), number(1e3 * two[case]), ratio(seconds, two[case])]
        for case, seconds in one.items()
    )
    return markdown_table(["ours alone", "1 thread (ms)", "2 threads (ms)", "speed-up"], rows)


def speed_epipolar(record: Record, records: Records) -> str:
    parts = []
    for count, runs in record["seconds"].items():
        suffix = threads_text(count)
        parts.append(ratio_table(f"a pair, {suffix}", runs))
        errors = _by_case(record["pose_errors"][count])
        parts.append(_failing_table(f"median pose error (°), {suffix}", errors))
    return "\n\n".join(parts)


def speed_homography(record: Record, records: Records) -> str:
    errors = _failing_table("error of the corners (px)", _by_case(record["errors"]))
    return ratio_table("a pair, 1 thread", record["seconds"]) + "\n\n" + errors


def _failing_table(title: str, figures: Figures) -> str:
    """Figures by method; those of a method that found nothing are infinite."""
    settings = list(dict.fromkeys(key for row in figures.values() for key in row))
    rows = (
        [method, *(number(row.get(key)) for key in settings)] for method, row in figures.items()
    )
    return markdown_table([title, *settings], rows)


def accuracy_tasks(record: Record, records: Records) -> str:
    """The tables of a script that is made of tasks."""
    return "\n\n".join(
        _failing_table(task["title"], task["figures"]) for task in _tasks(record).values()
    )


def _tasks(record: Record) -> dict[str, Any]:
    return {
        name: task
        for name, task in record.items()
        if isinstance(task, Mapping) and "figures" in task
    }


def startup(record: Record, records: Records) -> str:
    titles = {
        "imports": "in a fresh process",
        "first_calls": "first call of a process",
        "sizes": "size",
        "tests": "length of the test suite",
    }
    return "\n\n".join(
        _failing_table(title, record[part]) for part, title in titles.items() if record.get(part)
    )


def nested_seconds(record: Record, records: Records) -> str:
    """Medians by whatever they are nested in, the innermost by method."""
    parts = []

    def walk(title: str, runs: Mapping[str, Any]) -> None:
        inner = next(iter(runs.values()))
        if all(isinstance(value, float) for value in inner.values()):
            parts.append(ratio_table(title, runs))
        else:
            for key, below in runs.items():
                walk(f"{title}, {threads_text(key) if key.isdigit() else key}", below)

    walk("job", record["median_seconds"])
    return "\n\n".join(parts)


@dataclass(frozen=True)
class Family:
    """A section: its title, and how each group of it is put in tables."""

    title: str
    groups: Mapping[str, Callable[[Record, Records], str]]


FAMILIES: Mapping[str, Family] = {
    "flow": Family(
        "Dense optical flow", {"speed_flow": speed_flow, "accuracy_flow": accuracy_flow}
    ),
    "trajectory": Family(
        "Motion kernels",
        {"speed_trajectory": speed_trajectory, "accuracy_trajectory": accuracy_tasks},
    ),
    "mixture": Family(
        "Gaussian mixtures and hidden Markov models",
        {
            "speed_mixture": speed_mixture,
            "scaling_mixture": scaling_mixture,
            "accuracy_mixture": accuracy_tasks,
        },
    ),
    "epipolar": Family(
        "Two-view geometry",
        {
            "speed_epipolar": speed_epipolar,
            "accuracy_epipolar": accuracy_tasks,
            "speed_homography": speed_homography,
            "uncertainty_epipolar": accuracy_tasks,
        },
    ),
    "features": Family("Features", {"speed_features": nested_seconds}),
    "startup": Family("Before the first result", {"startup": startup}),
}


# --- Headlines


@dataclass(frozen=True)
class Headline:
    """A job, whose figures are looked up in a record; KeyError where it lacks them."""

    job: str
    peer: str
    group: str
    seconds: Callable[[Record], Mapping[str, float]]
    ours: str = OURS
    accuracy: Callable[[Records, str], str] | None = None
    name: str | None = None
    """What the peer is called, if not as in the record."""


def _flow_accuracy(records: Records, method: str) -> str:
    return f"{mean_endpoint(records['accuracy_flow']['results'][method]['endpoint']):.3f} px"


def _pose_accuracy(cell: str) -> Callable[[Records, str], str]:
    def text(records: Records, method: str) -> str:
        figures = records["accuracy_epipolar"]["scenes"]["figures"]
        return f"{figures[method][cell]:.1f} %"

    return text


def _flow_run(record: Record) -> Mapping[str, float]:
    return next(iter(record["median_seconds"].values()))


def _part_run(part: str, case: str) -> Callable[[Record], Mapping[str, float]]:
    return lambda record: record["median_seconds"]["1"][part][case]


def _mixture_run(part: str, case: str) -> Callable[[Record], Mapping[str, float]]:
    return lambda record: record["timings"][0][part][case]


def _pose_run(cell: str) -> Callable[[Record], Mapping[str, float]]:
    return lambda record: record["seconds"]["1"][str(EPIPOLAR_PANELS[cell])]


HEADLINES = [
    *(
        Headline(f"flow 640x480, {ours}", peer, "speed_flow", _flow_run, ours, _flow_accuracy)
        for ours, peer in _rivals()
    ),
    Headline(
        "fit 31 taps to 1e6 samples",
        "Ridge",
        "speed_trajectory",
        _part_run("fit", "1e6, 31 taps"),
    ),
    Headline(
        "apply 9 taps to 300 000 frames of 75 channels",
        "correlate1d",
        "speed_trajectory",
        _part_run("apply", "300000x25x3, 9 taps"),
    ),
    *(
        Headline(
            "mixture, iteration, 100 000 x 8, 16 components",
            peer,
            "speed_mixture",
            _mixture_run("iterations", "100k, 8, 16, full, float64"),
        )
        for peer in ("scikit-learn", "oneDAL")
    ),
    Headline(
        "hidden Markov model, iteration, 100 000 x 16, 16 states",
        "hmmlearn, scaling",
        "speed_mixture",
        _mixture_run("hmm", "Baum-Welch, K = 16"),
    ),
    *(
        Headline(
            f"fundamental matrix, 1000 matches, {right} right",
            peer,
            "speed_epipolar",
            _pose_run(cell),
            accuracy=_pose_accuracy(cell),
            name=f"OpenCV {peer}",
        )
        for cell, right, peer in (
            ("ratio .5", "50 %", "USAC_FM_8PTS"),
            ("ratio .3", "30 %", "USAC_MAGSAC"),
        )
    ),
    *(
        Headline(f"{text}, {case}", peer, "speed_features", _part_run(part, str(case)))
        for text, part, case, peer in (
            ("histograms of flow", "histograms", HISTOGRAMS[0], peers_features.OPENCV),
            ("Fisher vectors", "fisher", FISHERS[0], peers_features.SKIMAGE),
        )
    ),
]


def headline_table(records: Records) -> str:
    """What is measured on one thread, in a few rows."""
    rows = []
    for line in HEADLINES:
        try:
            seconds = line.seconds(records[line.group])
            ours, theirs = seconds[line.ours], seconds[line.peer]
        except KeyError:
            continue
        rows.append(
            [
                line.job,
                number(1e3 * ours),
                line.name or line.peer,
                number(1e3 * theirs),
                f"**{ratio(theirs, ours)}**",
                _accuracy(line, records, line.ours),
                _accuracy(line, records, line.peer),
            ]
        )
    header = ["one thread", "ours (ms)", "peer", "(ms)", "÷ ours", "our accuracy", "theirs"]
    return markdown_table(header, rows)


def _accuracy(line: Headline, records: Records, method: str) -> str:
    if line.accuracy is None:
        return "equal"
    try:
        return line.accuracy(records, method)
    except KeyError:
        return "–"


# --- The report


def read_records(folder: Path) -> dict[str, Any]:
    """Every record of a folder, by the name of its file."""
    return {
        path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))
    }


def goals_of(record: Record) -> list[Goal]:
    """Those of a script, or of its tasks."""
    found = [*record.get("goals", [])]
    for task in _tasks(record).values():
        found += task["goals"]
    return [Goal(**goal) for goal in found]


def goals_text(goals: Sequence[Goal]) -> str:
    """The goals beside their figures; many are folded away."""
    if not goals:
        return "Goals: none in this record."
    met = sum(goal.is_met for goal in goals)
    line = f"Goals: {met} of {len(goals)} met."
    if len(goals) <= _MOST_OPEN_GOALS:
        return f"{line}\n\n{goals_table(goals)}"
    summary = f"<details>\n<summary>{line}</summary>\n\n"
    return f"{summary}{goals_table(goals)}\n\n</details>"


def setup_texts(records: Mapping[str, Record]) -> dict[str, str]:
    """A letter for each setup, which is a machine and the versions that a group asks for."""
    setups: dict[str, str] = {}
    for record in records.values():
        facts = "; ".join(
            f"{key} {value}" for key, value in record["machine"].items() if value != "not installed"
        )
        setups.setdefault(facts, chr(ord("A") + len(setups)))
    return {letter: facts for facts, letter in setups.items()}


def overview(records: Mapping[str, Record]) -> str:
    """Where and when each group was measured."""
    letters = {facts: letter for letter, facts in setup_texts(records).items()}
    rows = []
    for name, record in records.items():
        [facts] = setup_texts({name: record}).values()
        goals = goals_of(record)
        met = sum(goal.is_met for goal in goals)
        took = record.get("took_seconds")
        rows.append(
            [
                f"`{name}`",
                letters[facts],
                record.get("date", "not recorded"),
                "not recorded" if took is None else f"{took / 60:.1f} min",
                f"{met} of {len(goals)}" if goals else "none in this record",
            ]
        )
    table = markdown_table(["group", "setup", "date (UTC)", "took", "goals met"], rows)
    lines = [f"- setup {letter}: {facts}" for letter, facts in setup_texts(records).items()]
    return "\n".join([table, "", *lines])


def draw(folder: Path, records: Records, pictures: Iterable[Picture]) -> str:
    """Draw what can be drawn, and return the text that shows it or says what it lacks."""
    parts = []
    for picture in pictures:
        missing = [name for name in picture.groups if name not in records]
        try:
            figure = None if missing else picture.draw(records)
        except KeyError as error:
            figure, missing = None, [f"figures of {error.args[0]!r} in {', '.join(picture.groups)}"]
        if figure is None:
            parts.append(f"No picture `{picture.file}`: {', '.join(missing)} missing.")
            continue
        figure.savefig(folder / picture.file, dpi=100, metadata={"Software": None})
        parts.append(f"![{picture.caption}]({picture.file})\n\n*{picture.caption}.*")
    return "\n\n".join(parts)


def report(folder: Path) -> str:
    """Draw the pictures, and return the whole text."""
    every = read_records(folder)
    known = [name for family in FAMILIES.values() for name in family.groups]
    records = {name: every[name] for name in known if name in every}
    missing = [name for name in known if name not in every]
    parts = [
        "# Benchmarks",
        "Written by `python -m bench.summary` from the records in this folder; `make bench` "
        "makes them all. Times are medians by turns, and results were checked before; ÷ ours is "
        "a peer's time by ours, so above 1 ours is faster. How it is measured: "
        "[docs/developer/benchmarks.rst](../../docs/developer/benchmarks.rst).",
        headline_table(records),
        "Accuracy of flow: mean end-point error on four Middlebury pairs; of fundamental matrices: "
        "area under the recall of pose errors up to 5°; equal: the same result but for rounding.",
        "## Where and when",
        overview(records),
    ]
    if missing:
        parts.append("Not measured: " + ", ".join(f"`{name}`" for name in missing) + ".")
    for key, family in FAMILIES.items():
        parts += [f"## {family.title}", draw(folder, records, PICTURES.get(key, ()))]
        for name, render in family.groups.items():
            if name in records:
                record = records[name]
                parts += [f"### `{name}`", render(record, records), goals_text(goals_of(record))]
    parts += ["## GPU", gpu_text({n: r for n, r in every.items() if n.startswith("gpu_")})]
    return "\n\n".join(part for part in parts if part) + "\n"


def gpu_text(records: Mapping[str, Record]) -> str:
    if not records:
        return "Not measured: `make gpu-bench` leaves figures here as `gpu_<device>.json`."
    return "\n\n".join(
        f"### `{name}`\n\n{gpu_report.report_text(data)}\n\n"
        + goals_text(gpu_report.run_goals(data))
        for name, data in records.items()
    )


def replace_headlines(text: str, table: str) -> str:
    """Put a table between the two marks of a text."""
    before, found, rest = text.partition(MARKS[0])
    _, found_end, after = rest.partition(MARKS[1])
    if not (found and found_end):
        raise ValueError(f"there must be a line {MARKS[0]} and after it {MARKS[1]}")
    return f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=results_folder())
    parser.add_argument("--readme", type=Path, metavar="FILE", help="update its headlines too")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        print(f"{arguments.folder} is not a folder: nothing was measured", file=sys.stderr)
        return 1
    path = arguments.folder / "README.md"
    path.write_text(report(arguments.folder), "utf-8")
    print(f"{path} written")
    if arguments.readme:
        table = headline_table(read_records(arguments.folder))
        text = replace_headlines(arguments.readme.read_text("utf-8"), table)
        arguments.readme.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
