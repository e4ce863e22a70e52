"""Thresholds of two-view methods, each tuned for itself, all on the same pairs.

    FASTMOTION_DATA=folder python -m bench.tune_epipolar [--methods NAME ...] [--jobs N]

Writes the AUC of every method at every threshold of a grid to
bench/results/thresholds_epipolar.json, from where `tuned` takes the best. Scenes have other seeds
than those of bench.accuracy_epipolar; of photographs, those of one place tell the threshold for
the other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from joblib import Parallel, delayed

from bench.cases_epipolar import (
    CELLS,
    METHODS,
    OURS_AUTO,
    PLACES,
    SCENES,
    TUNED,
    area_under_recall,
    pose_error,
    strecha_pairs,
)
from bench.peers_epipolar import Settings
from fastmotion.benchmark import equal_threads

# Pixels.
GRID = (0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
# Of scenes with noise of one pixel: smaller thresholds than .6 find nothing there.
SCENES_GRID = GRID[3:]
PLACES_GRID = GRID[:8]
TUNING_CELLS = ("ratio .5", "plane, ratio .5")
TUNING_SEEDS = range(5000, 5020)
# Enough for the cells above.
TUNING_TRIALS = 10_000
# Of the photographs, slow methods get every so manieth.
SLOW_STEP = 3
# Degrees.
MOST_ERROR = 5.0


def errors(method: str, pairs: Iterable[Any], settings: Settings) -> list[float]:
    """Pose errors of a method, degrees."""
    estimate = METHODS[method].build()
    with equal_threads(1, "cv2"):
        return [pose_error(estimate(pair.matches, pair.quality, settings), pair) for pair in pairs]


def tuning_sets() -> Mapping[str, tuple[list[Any], tuple[float, ...]]]:
    """Pairs and thresholds to try on them."""
    scenes = [CELLS[cell].view(seed) for seed in TUNING_SEEDS for cell in TUNING_CELLS]
    places = {place: (strecha_pairs(place), PLACES_GRID) for place in PLACES}
    return {SCENES: (scenes, SCENES_GRID)} | places


def _area(method: str, pairs: list[Any], threshold: float) -> float:
    if METHODS[method].is_slow:
        pairs = pairs[::SLOW_STEP]
    settings = Settings(threshold, max_trials=TUNING_TRIALS)
    return area_under_recall(errors(method, pairs, settings), MOST_ERROR)


def _arguments() -> argparse.Namespace:
    tunable = [name for name in METHODS if name != OURS_AUTO]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=tunable, default=tunable, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=-1)
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    sets = tuning_sets()
    found = json.loads(TUNED.read_text()) if TUNED.exists() else {}
    parallel = Parallel(arguments.jobs)
    for method in arguments.methods:
        found[method] = {}
        for name, (pairs, grid) in sets.items():
            areas = parallel(delayed(_area)(method, pairs, threshold) for threshold in grid)
            found[method][name] = dict(zip(map(str, grid), areas, strict=True))
            print(f"{method}, {name}: {found[method][name]}", file=sys.stderr)
        TUNED.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
