"""Time of one flow field, ours and the peers', at two sizes."""

from __future__ import annotations

import pytest

from bench.cases import FULL_HD, VGA, photograph_case
from bench.peers import METHODS


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [VGA, FULL_HD], ids=["640x480", "1920x1080"])
def test_flow(name, shape, threads, benchmark, bench_method):
    # pytest-benchmark prints a table per group, each time with its ratio to the fastest.
    benchmark.group = f"flow {shape[1]}x{shape[0]}, {threads} threads"
    bench_method(METHODS[name], photograph_case(shape))
