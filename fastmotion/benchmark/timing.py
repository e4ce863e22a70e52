"""Timing by turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["time_by_turns", "time_checked"]

# Seconds.
_REST = 0.05


def time_by_turns(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int, budget: float, least: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of each call in rounds, so that a noisy minute strikes all alike.

    A call that has used `budget` seconds sits out the rounds that are left, but for the `least`.
    Warm up first. Before each call the threads of the one before, which spin for a while, are given
    time to go to sleep.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name, call in calls.items():
            if turn < least or sum(seconds[name]) < budget:
                time.sleep(_REST)
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def time_checked(
    calls: Mapping[str, Callable[[], Any]],
    check: Callable[[str, Any], None],
    *,
    rounds: int,
    budget: float,
    least: int = 0,
) -> dict[str, float]:
    """Return the median seconds of calls by turns, once `check` has passed what each returns.

    A call whose first result takes longer than `budget` seconds is repeated `least` times, and not
    at all with 0: then the first counts.
    """
    first = {}
    for name, call in calls.items():
        start = time.perf_counter()
        result = call()
        first[name] = time.perf_counter() - start
        check(name, result)
        del result  # memory for the next
    repeated = {name: call for name, call in calls.items() if least or first[name] <= budget}
    timings = time_by_turns(repeated, rounds=rounds, budget=budget, least=max(least, 1))
    return first | {name: statistics.median(seconds) for name, seconds in timings.items()}
