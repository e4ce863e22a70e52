"""Time to the first result in a fresh process, and to import the package."""

from __future__ import annotations

import statistics

import pytest

from bench.timing import run_fresh

ESTIMATORS = ["HornSchunck", "LucasKanade"]
MOST_COLD = 15.0
MOST_WARM = 2.0
# Beyond the import of scikit-learn.
MOST_IMPORT = 0.3

FIRST_CALL = """
import time
start = time.perf_counter()
from fastmotion.flow import {estimator}
imported = time.perf_counter()
import json
import numpy as np
frame0, frame1 = np.random.default_rng(0).integers(0, 256, (2, 480, 640), dtype=np.uint8)
before = time.perf_counter()
{estimator}().estimate(frame0, frame1)
call = time.perf_counter() - before
print(json.dumps({{"import": imported - start, "call": call}}))
"""

IMPORT = """
import json, time
start = time.perf_counter()
import {module}
print(json.dumps({{"seconds": time.perf_counter() - start}}))
"""


def first_call(benchmark, estimator, cache, rounds):
    """Benchmark fresh processes and return the median seconds of their first estimate."""
    calls = []

    def run():
        measured = run_fresh(FIRST_CALL.format(estimator=estimator), cache)
        calls.append(measured)

    benchmark.pedantic(run, rounds=rounds, iterations=1)
    medians = {key: statistics.median(call[key] for call in calls) for key in calls[0]}
    benchmark.extra_info.update(medians)
    return medians["call"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_first_call_with_cold_cache(estimator, benchmark, tmp_path):
    benchmark.group = "process with one estimate, 640x480, cold cache"
    assert first_call(benchmark, estimator, tmp_path, rounds=1) <= MOST_COLD


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_first_call_with_warm_cache(estimator, benchmark, tmp_path):
    benchmark.group = "process with one estimate, 640x480, warm cache"
    run_fresh(FIRST_CALL.format(estimator=estimator), tmp_path)
    assert first_call(benchmark, estimator, tmp_path, rounds=5) <= MOST_WARM


def test_import_time(benchmark):
    benchmark.group = "import"
    # By turns, so that a noisy moment strikes both.
    modules = ["sklearn", "fastmotion"]
    seconds = {module: [] for module in modules}

    def run():
        for module in modules:
            seconds[module].append(run_fresh(IMPORT.format(module=module))["seconds"])

    benchmark.pedantic(run, rounds=5, iterations=1, warmup_rounds=1)
    medians = {module: statistics.median(values) for module, values in seconds.items()}
    benchmark.extra_info.update(medians)
    assert medians["fastmotion"] <= medians["sklearn"] + MOST_IMPORT
