"""Time of EM for Gaussian mixtures, ours and the peers'."""

from __future__ import annotations

import pytest

from bench.cases_mixture import OURS, Iterations, WholeFit
from bench.peers_mixture import DAAL, SKLEARN

N_ITERATIONS = 5
METHODS = [OURS, SKLEARN, DAAL]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "case",
    [
        Iterations(100_000, 2, 16),
        Iterations(100_000, 8, 16),
        Iterations(20_000, 64, 16),
        Iterations(100_000, 8, 16, "diag"),
        Iterations(100_000, 8, 16, dtype="float32"),
    ],
    ids=str,
)
def test_iterations(case, name, threads, benchmark, bench_case):
    benchmark.group = f"{N_ITERATIONS} iterations (N, D, K), {case}, {threads} threads"
    bench_case(case, name, N_ITERATIONS)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("case", [WholeFit(20_000, 2, 16), WholeFit(20_000, 8, 16)], ids=str)
def test_whole_fit(case, name, threads, benchmark, bench_case):
    benchmark.group = f"{case.n_fits} whole fits (N, D, K), {case}, {threads} threads"
    bench_case(case, name)
