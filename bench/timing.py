"""Timing by turns, and measuring in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def time_by_turns(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int, budget: float
) -> dict[str, list[float]]:
    """Return the seconds of each call in rounds, so that a noisy minute strikes all alike.

    A call that has used `budget` seconds sits out the rounds that are left. Warm up first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if sum(seconds[name]) < budget:
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def run_fresh(code: str, cache: Path | str | None = None) -> dict[str, Any]:
    """Run Python code in a new process and return the JSON object that it prints.

    `cache` is the folder of compiled code; None leaves the caller's.
    """
    environment = dict(os.environ)
    if cache is not None:
        environment["FASTMOTION_CACHE_DIR"] = str(cache)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the measured process failed:\n{done.stderr}")
    return json.loads(done.stdout)
