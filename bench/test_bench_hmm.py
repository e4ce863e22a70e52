"""Time of hidden Markov models, ours and hmmlearn's."""

from __future__ import annotations

import pytest

from bench.cases_hmm import BaumWelch, Viterbi
from fastmotion.benchmark.hmm import LOG, OURS, SCALING

N_ITERATIONS = 2
METHODS = [OURS, SCALING, LOG]


@pytest.fixture(autouse=True)
def skip_idle_threads(name, threads):
    """Leave out what would be timed twice."""
    if threads > 1 and name != OURS:
        pytest.skip("hmmlearn knows one thread only")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_states", [4, 16])
def test_baum_welch(n_states, name, threads, benchmark, bench_case):
    case = BaumWelch(n_states)
    benchmark.group = f"{N_ITERATIONS} iterations, {case}, {threads} threads"
    bench_case(case, name, N_ITERATIONS)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_states", [4, 16])
def test_viterbi(n_states, name, threads, benchmark, bench_case):
    case = Viterbi(n_states)
    benchmark.group = f"{case}, {threads} threads"
    bench_case(case, name)
