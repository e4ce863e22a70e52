"""Pictures of saved results: speed against accuracy, and time against size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from bench.accuracy_epipolar import LOW_RATIO
from bench.accuracy_flow import mean_endpoint
from bench.cases_epipolar import METHODS as EPIPOLAR_METHODS
from bench.cases_epipolar import RobustFits
from bench.cases_hmm import BaumWelch
from bench.cases_kernels import Fit
from bench.peers import METHODS as FLOW_METHODS
from bench.speed_mixture import GROWTH, STATES
from bench.speed_trajectory import FIT_TAPS

OURS = "fastmotion"
Records = Mapping[str, Any]
Points = Sequence[tuple[float, float]]

# Cells of scenes, by what is timed of the same.
EPIPOLAR_PANELS = {
    "ratio .5": RobustFits(1000, 0.5),
    "ratio .3": RobustFits(1000, 0.3),
    LOW_RATIO: RobustFits(1000, 0.2),
    "plane, ratio .5": RobustFits(1000, 0.5, "plane"),
}


@dataclass(frozen=True)
class Picture:
    """A file, what it shows, the groups that it is made of, and how to draw it.

    `draw` raises KeyError where figures are missing.
    """

    file: str
    caption: str
    groups: tuple[str, ...]
    draw: Callable[[Records], Figure]


def _panels(
    count: int, width: float, height: float, n_columns: int | None = None
) -> tuple[Figure, Sequence[Axes]]:
    columns = n_columns or count
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def _scatter(axes: Axes, points: Mapping[str, tuple[float, float]], name: str, marker: str) -> None:
    """One marker for each method, with its name beside it, now above and now below."""
    axes.plot(*zip(*points.values()), marker, label=name, markersize=7)
    for i, (text, point) in enumerate(sorted(points.items(), key=lambda item: item[1][::-1])):
        offset = (6, 4) if i % 2 else (6, -9)
        axes.annotate(text, point, xytext=offset, textcoords="offset points", fontsize=7)


def _lines(axes: Axes, lines: Mapping[str, Points], sizes: Iterable[float]) -> None:
    """A line for each method, ours the thickest, on logarithmic axes."""
    for name, points in lines.items():
        width = 2.5 if name.startswith(OURS) else 1.2
        axes.plot(*zip(*points), "o-", label=name, linewidth=width, markersize=4)
    axes.set(xscale="log", yscale="log")
    ticks = list(sizes)
    axes.set_xticks(ticks, [f"{n:g}" for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _by_method(
    runs: Mapping[str, Mapping[str, float]], sizes: Mapping[float, str]
) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of each method over the sizes at which it was timed."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for size, case in sizes.items():
        for method, seconds in runs[case].items():
            lines.setdefault(method, []).append((size, 1e3 * seconds))
    return lines


# --- Flow


def flow_error_time(records: Records) -> Figure:
    """Of the last run of the first size: the one with most threads."""
    run, seconds = most_threads(records["speed_flow"]["median_seconds"])
    results = records["accuracy_flow"]["results"]
    figure, (axes,) = _panels(1, 9, 6)
    for library, marker in (("fastmotion", "o"), ("OpenCV", "s"), ("scikit-image", "^")):
        points = {
            name: (1e3 * seconds[name], mean_endpoint(results[name]["endpoint"]))
            for name, method in FLOW_METHODS.items()
            if method.library == library and name in seconds and name in results
        }
        if points:
            _scatter(axes, points, library, marker)
    axes.set(
        xscale="log",
        xlabel=f"time at {run} (ms)",
        ylabel="mean end-point error, four Middlebury pairs (px)",
        ylim=(0, None),
    )
    axes.margins(x=0.2)  # room for the names
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def most_threads(runs: Mapping[str, Any]) -> tuple[str, Any]:
    """The last run of the first size."""
    size = next(iter(runs)).partition(",")[0]
    label = [run for run in runs if run.startswith(f"{size},")][-1]
    return label, runs[label]


# --- Trajectories


def kernel_time(records: Records) -> Figure:
    runs = records["speed_trajectory"]["median_seconds"]["1"]["fit"]
    figure, panels = _panels(2, 5, 4)
    for axes, n_taps in zip(panels, (5, 31)):
        sizes = {n: str(Fit((n, 1, 1), n_taps)) for n in FIT_TAPS}
        _lines(axes, _by_method(runs, sizes), sizes)
        axes.set(title=f"fit {n_taps} taps, one thread", xlabel="samples", ylabel="ms")
    return figure


def filter_time(records: Records) -> Figure:
    runs = records["speed_trajectory"]["median_seconds"]["1"]["apply"]
    shapes = dict.fromkeys(case.partition(",")[0] for case in runs)
    figure, panels = _panels(len(shapes), 5, 4)
    for axes, shape in zip(panels, shapes):
        sizes = {int(case.split()[-2]): case for case in runs if case.partition(",")[0] == shape}
        _lines(axes, _by_method(runs, sizes), sizes)
        axes.set(title=f"apply to {shape}, one thread", xlabel="taps", ylabel="ms")
    return figure


# --- Mixtures and hidden Markov models


def mixture_time(records: Records) -> Figure:
    timings = records["speed_mixture"]["timings"]
    figure, panels = _panels(len(timings), 5, 4)
    for axes, timing in zip(panels, timings):
        sizes = {case.n_samples: str(case) for case in GROWTH}
        _lines(axes, _by_method(timing["iterations"], sizes), sizes)
        shape = f"{GROWTH[0].n_features} features, {GROWTH[0].n_components} components"
        title = f"iteration, {shape}, threads: {timing['threads']}"
        axes.set(title=title, xlabel="samples", ylabel="ms")
        axes.title.set_fontsize(10)
    return figure


def hmm_time(records: Records) -> Figure:
    timing = records["speed_mixture"]["timings"][0]
    figure, (axes,) = _panels(1, 5.5, 4)
    _lines(axes, _by_method(timing["hmm"], {n: str(BaumWelch(n)) for n in STATES}), STATES)
    title = f"iteration of Baum and Welch, threads: {timing['threads']}"
    axes.set(title=title, xlabel="states", ylabel="ms")
    return figure


# --- Two views


def epipolar_area_time(records: Records) -> Figure:
    figures = records["accuracy_epipolar"]["scenes"]["figures"]
    seconds = records["speed_epipolar"]["seconds"]["1"]
    panels_at_hand = {cell: case for cell, case in EPIPOLAR_PANELS.items() if str(case) in seconds}
    if not panels_at_hand:
        raise KeyError("no case was timed whose accuracy is known")
    figure, panels = _panels(len(panels_at_hand), 5, 3.6, n_columns=2)
    for axes, (cell, case) in zip(panels, panels_at_hand.items()):
        times = seconds[str(case)]
        for is_ours, label, marker in ((True, OURS, "o"), (False, "peers", "s")):
            points = {
                name: (1e3 * times[name], figures[name][cell])
                for name in EPIPOLAR_METHODS
                if name in times and name in figures and name.startswith(OURS) == is_ours
            }
            if points:
                _scatter(axes, points, label, marker)
        axes.set(xscale="log", title=cell, xlabel="ms, one thread", ylabel="AUC@5° (%)")
        axes.margins(x=0.25, y=0.1)
        axes.grid(alpha=0.3)
    panels[0].legend(loc="lower left")
    return figure


PICTURES: Mapping[str, tuple[Picture, ...]] = {
    "flow": (
        Picture(
            "flow_error_time.png",
            "Error against time: the lower left is better",
            ("speed_flow", "accuracy_flow"),
            flow_error_time,
        ),
    ),
    "trajectory": (
        Picture(
            "kernel_time.png",
            "Time to fit a kernel against the number of samples",
            ("speed_trajectory",),
            kernel_time,
        ),
        Picture(
            "filter_time.png",
            "Time to apply a kernel against the number of taps",
            ("speed_trajectory",),
            filter_time,
        ),
    ),
    "mixture": (
        Picture(
            "mixture_time.png",
            "Time of an iteration against the number of samples",
            ("speed_mixture",),
            mixture_time,
        ),
        Picture(
            "hmm_time.png",
            "Time of an iteration against the number of states",
            ("speed_mixture",),
            hmm_time,
        ),
    ),
    "epipolar": (
        Picture(
            "epipolar_area_time.png",
            "Area under the recall of pose errors against time: the upper left is better",
            ("accuracy_epipolar", "speed_epipolar"),
            epipolar_area_time,
        ),
    ),
}
