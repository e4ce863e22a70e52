"""Times on a GPU: ours, the peers' there, and both beside the CPU; and the chip's ceilings.

Skipped, with the reason, where there is no CUDA device. FASTMOTION_GPU_BENCH=quick takes smaller
sizes. `python -m bench.gpu_report FILE.json` makes tables of what --benchmark-json has written.
"""

from __future__ import annotations

import time
from collections import defaultdict

import pytest

from bench.gpu_cases import OURS_CPU, OURS_GPU, is_on_cpu
from bench.gpu_driver import why_no_gpu
from bench.gpu_libraries import on_gpu
from bench.gpu_measure import OutOfDeviceMemoryError, free_memory, measure, measure_ceiling
from bench.gpu_sizes import (
    CASES,
    CEILINGS,
    MOST_SECONDS,
    SECONDS,
    ceilings,
    size_of_run,
)

# Other libraries may warn of what they like.
pytestmark = pytest.mark.filterwarnings("default")

SIZE = size_of_run()
MEASUREMENTS = [
    pytest.param(case, method, on_device, id=f"{case}-{method}-{place}")
    for case in CASES[SIZE]
    for method in case.methods
    for on_device, place in ((True, "device"), (False, "host"))
    if not (on_device and is_on_cpu(method))
]
CEILING_MEASUREMENTS = [
    pytest.param(ceiling, method, id=f"{ceiling.name}-{method}")
    for ceiling in ceilings(SIZE)
    for method in ceiling.methods
]


@pytest.fixture(scope="module")
def gpu():
    """Skip where there is none."""
    reason = why_no_gpu()
    if reason is not None:
        pytest.skip(f"no CUDA device: {reason}")


@pytest.fixture(scope="module")
def seconds_used():
    """By family."""
    return defaultdict(float)


@pytest.fixture
def budget(gpu, seconds_used):
    """Return a function that charges the test to a family, or skips it if no time is left."""
    start = time.perf_counter()
    charged = []

    def charge(family, is_peer):
        if sum(seconds_used.values()) > MOST_SECONDS:
            pytest.skip(f"the {MOST_SECONDS:.0f} s for all are used up")
        if is_peer and seconds_used[family] > SECONDS[family]:
            pytest.skip(f"the {SECONDS[family]:.0f} s for {family} are used up")
        charged.append(family)

    yield charge
    for family in charged:
        seconds_used[family] += time.perf_counter() - start


@pytest.mark.parametrize(("ceiling", "method"), CEILING_MEASUREMENTS)
def test_ceiling(ceiling, method, budget, benchmark):
    budget(CEILINGS, is_peer=False)
    benchmark.group = f"GPU, ceiling: {ceiling.name}"
    try:
        measure_ceiling(benchmark, ceiling, method, on_gpu)
    except ImportError as error:
        pytest.skip(f"{method}: {error}")


@pytest.mark.parametrize(("case", "method", "on_device"), MEASUREMENTS)
def test_case(case, method, on_device, budget, benchmark):
    budget(case.family, is_peer=method not in (OURS_CPU, OURS_GPU))
    benchmark.group = f"GPU, {case}"
    try:
        measure(benchmark, case, method, on_device=on_device, site=on_gpu)
    except (ImportError, OutOfDeviceMemoryError) as error:
        pytest.skip(f"{method}: {error}")
    else:
        free_memory(method, on_gpu)
