"""Time of robust fundamental matrices, ours and the peers'."""

from __future__ import annotations

import pytest

from bench.cases_epipolar import OURS, OURS_PROSAC, RobustFits
from bench.peers_epipolar import ACCURATE, DEGENSAC, EIGHT_POINT, MAGSAC, POSELIB, PROSAC

FAST = [OURS, EIGHT_POINT, MAGSAC]


@pytest.mark.parametrize("name", [*FAST, OURS_PROSAC, PROSAC, ACCURATE, DEGENSAC, POSELIB])
@pytest.mark.parametrize("case", [RobustFits(1000, 0.8), RobustFits(1000, 0.5)], ids=str)
def test_one_pair_after_another(case, name, threads, benchmark, bench_case):
    benchmark.group = f"{case.n_pairs} pairs of matches, {case}, {threads} threads"
    bench_case(case, name)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(
    "case",
    [
        RobustFits(10_000, 0.5, n_pairs=4),
        RobustFits(1000, 0.3),
        RobustFits(1000, 0.5, "plane"),
        RobustFits(1000, 0.5, n_pairs=100, in_batch=True),
    ],
    ids=str,
)
def test_large_hard_and_many(case, name, threads, benchmark, bench_case):
    benchmark.group = f"{case.n_pairs} pairs of matches, {case}, {threads} threads"
    bench_case(case, name)
