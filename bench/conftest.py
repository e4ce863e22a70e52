"""What the benchmarks share."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
import pytest

from bench.cases import Case, check_result
from bench.gpu_driver import why_no_gpu
from bench.peers import Estimate, Method
from bench.report import gpu, machine
from fastmotion.benchmark import OWN_POOLS, equal_threads

# A case is repeated for about this long, at least once and at most 50 times.
SECONDS_PER_CASE = 2.0


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    machine_info["fastmotion"] = machine()
    if why_no_gpu() is None:
        machine_info["gpu"] = gpu()


@pytest.fixture(params=sorted({1, numba.config.NUMBA_NUM_THREADS}), ids="{}-threads".format)
def threads(request: pytest.FixtureRequest):
    """The thread count of every library during the test."""
    with equal_threads(request.param, *OWN_POOLS):
        yield request.param


@pytest.fixture
def bench_call(benchmark) -> Callable[..., None]:
    """Warm a call up with `check` on what it returns, and only then time it."""

    def run(call: Callable[[], Any], check: Callable[[Any], None]) -> None:
        check(call())
        start = time.perf_counter()
        call()
        rounds = SECONDS_PER_CASE / (time.perf_counter() - start)
        benchmark.pedantic(call, rounds=int(min(max(rounds, 1), 50)), iterations=1)

    return run


@pytest.fixture
def bench_method(benchmark, bench_call) -> Callable[[Method, Case], None]:
    """Time a method of optical flow whose result is useful."""

    def run(method: Method, case: Case) -> None:
        try:
            estimate: Estimate = method.build()
        except ImportError as error:
            if method.is_ours:
                raise
            pytest.skip(f"{method.name}: {error}")

        def check(flow: np.ndarray) -> None:
            benchmark.extra_info["endpoint_error"] = check_result(flow, case)

        bench_call(partial(estimate, case.frame0, case.frame1), check)
        benchmark.extra_info["library"] = method.library
        if benchmark.stats:
            benchmark.extra_info["ns_per_pixel"] = 1e9 * benchmark.stats["median"] / case.n_pixels

    return run


@pytest.fixture
def bench_case(bench_call) -> Callable[..., None]:
    """Time one method of a case, which builds what is timed and checks what that returns."""

    def run(case: Any, name: str, *arguments: Any) -> None:
        try:
            call = case.build(name, *arguments)
        except ImportError as error:
            pytest.skip(f"{name}: {error}")
        bench_call(call, partial(case.check, name, *arguments))

    return run
