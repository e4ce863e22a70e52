"""Time of fitting and of applying motion kernels, ours and the peers'."""

from __future__ import annotations

import pytest

from bench import peers_kernels as peers
from bench.cases_kernels import OURS, Filtering, Fit

SERIES = (100_000, 1, 1)
SEQUENCES = (100, 300, 25, 3)


@pytest.mark.parametrize("name", [OURS, *peers.FITS])
@pytest.mark.parametrize("n_taps", [5, 31])
def test_fit(name, n_taps, threads, benchmark, bench_case):
    benchmark.group = f"fit of {n_taps} taps to 1e5 samples, {threads} threads"
    bench_case(Fit(SERIES, n_taps), name)


@pytest.mark.parametrize("name", [OURS, *peers.FILTERS])
@pytest.mark.parametrize("n_taps", [5, 31])
def test_apply(name, n_taps, threads, benchmark, bench_case):
    benchmark.group = f"{n_taps} taps on 100x300x25x3 float32, {threads} threads"
    bench_case(Filtering(SEQUENCES, n_taps), name)
