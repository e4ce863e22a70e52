"""Checking and timing one method of a case, with what a report needs to know of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import fastmotion
from bench.gpu_cases import OURS_GPU, GpuCase, Site, is_on_cpu, library_of
from bench.gpu_ceilings import CopyBandwidth, MatrixRate
from fastmotion.benchmark import equal_threads

# Threads of everything that runs on the CPU.
N_THREADS = 2
# What is estimated, from one part of the data, to take longer on the CPU, is left at that part.
MOST_SECONDS = 60.0

_SECONDS_PER_METHOD = 1.0
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 50
# Of what takes longer than this, one round is enough.
_LONG = 1.0


class OutOfDeviceMemoryError(Exception):
    """A peer needs more memory than the device has."""


def measure_ceiling(
    benchmark: Any, ceiling: CopyBandwidth | MatrixRate, method: str, site: Site
) -> None:
    """Time one way of copying, or of multiplying matrices."""
    call = ceiling.build(method, site)
    ceiling.check(call())
    _repeat(benchmark, call)
    benchmark.extra_info.update(ceiling=ceiling.name, method=method, unit=ceiling.unit)
    if benchmark.stats:
        benchmark.extra_info["rate"] = ceiling.rate(benchmark.stats["median"])


def measure(benchmark: Any, case: GpuCase, method: str, *, on_device: bool, site: Site) -> None:
    """Check and time a method; `on_device` says where its inputs lie and its results stay.

    ImportError where the library is missing.
    """
    with equal_threads(N_THREADS, "cv2", "torch"):
        if is_on_cpu(method) or method in case.one_by_one:
            n_parts = _measure_slow(benchmark, case, method, on_device, site)
        else:
            n_parts = case.n_parts
            timed = case.build(method, on_device=on_device, site=site, n_parts=n_parts)
            try:
                case.check(method, timed.fetch(timed.run()), n_parts)
                _repeat(benchmark, timed.run)
            except Exception as error:
                if method != OURS_GPU and "OutOfMemory" in type(error).__name__:
                    raise OutOfDeviceMemoryError(str(error).splitlines()[0]) from error
                raise
    scale = case.n_parts / n_parts
    benchmark.extra_info.update(
        family=case.family,
        case=str(case),
        method=method,
        input="device" if on_device else "host",
        scaled_by=scale,
        **asdict(case.work),
    )
    if benchmark.stats:
        benchmark.extra_info["seconds"] = scale * benchmark.stats["median"]


def free_memory(method: str, site: Site) -> None:
    """Give the memory of the device back that a method has left in a pool."""
    gc.collect()
    if method == OURS_GPU:
        fastmotion.free_memory()
    elif not is_on_cpu(method):
        site(library_of(method)).free()


def _measure_slow(benchmark: Any, case: GpuCase, method: str, on_device: bool, site: Site) -> int:
    """Measure all parts, if that will not take too long, else one; return how many it were."""
    part = case.build(method, on_device=on_device, site=site, n_parts=1)
    case.check(method, part.fetch(part.run()), 1)
    seconds = _seconds(part.run)
    if case.n_parts * seconds > MOST_SECONDS:
        benchmark.pedantic(part.run, rounds=1, iterations=1)
        return 1
    whole = case.build(method, on_device=on_device, site=site, n_parts=case.n_parts)
    _repeat(benchmark, whole.run, case.n_parts * seconds)
    return case.n_parts


def _repeat(benchmark: Any, call: Callable[[], Any], seconds: float | None = None) -> None:
    """Time a call that has been made before, as often as its time allows."""
    if seconds is None:
        seconds = _seconds(call)
    rounds = min(max(int(_SECONDS_PER_METHOD / seconds), _LEAST_ROUNDS), _MOST_ROUNDS)
    benchmark.pedantic(call, rounds=1 if seconds > _LONG else rounds, iterations=1)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
