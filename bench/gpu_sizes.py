"""The cases by size of the run, and how long each family may take.

The environment variable FASTMOTION_GPU_BENCH chooses: "full" (the default) fills a data centre's
GPU, "quick" takes a tenth of it or less. "tiny" and "simulated" are for tests, which have no GPU:
with the peers on the CPU, and with ours in the CUDA simulator.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from bench.cases import FULL_HD
from bench.gpu_cases import GpuCase
from bench.gpu_cases_epipolar import FundamentalMatrices, Homographies
from bench.gpu_cases_flow import CLASSIC, LUCAS_KANADE, ROBUST, FlowClip
from bench.gpu_cases_mixture import BaumWelch, MixtureIterations
from bench.gpu_cases_trajectory import BankApplication, KernelFit
from bench.gpu_ceilings import CopyBandwidth, MatrixRate

ULTRA_HD = (2160, 3840)

CEILINGS = "ceilings"
# Of a full run; peers that a family has not begun to measure by then are skipped.
SECONDS = {
    CEILINGS: 20.0,
    FlowClip.family: 150.0,
    KernelFit.family: 50.0,
    MixtureIterations.family: 130.0,
    BaumWelch.family: 30.0,
    FundamentalMatrices.family: 100.0,
}

# After which nothing is begun any more, so that what was measured is written in time.
MOST_SECONDS = 500.0

CASES: dict[str, Sequence[GpuCase]] = {
    "full": (
        *(FlowClip(m, s) for s in (FULL_HD, ULTRA_HD) for m in (LUCAS_KANADE, CLASSIC, ROBUST)),
        KernelFit((4000, 500, 25, 2)),
        BankApplication((4000, 500, 25, 2)),
        MixtureIterations(10_000_000, 32, 64, "diag"),
        MixtureIterations(10_000_000, 32, 64, "full"),
        BaumWelch(10_000, 200, 8, 16),
        FundamentalMatrices(1000, 1000),
        Homographies(1000, 1000),
    ),
    "quick": (
        *(FlowClip(method, FULL_HD, 3) for method in (LUCAS_KANADE, CLASSIC, ROBUST)),
        KernelFit((400, 500, 25, 2)),
        BankApplication((400, 500, 25, 2)),
        MixtureIterations(500_000, 32, 64, "diag"),
        MixtureIterations(500_000, 32, 64, "full"),
        BaumWelch(1000, 200, 8, 16),
        FundamentalMatrices(100, 1000),
        Homographies(100, 1000),
    ),
    "tiny": (
        *(FlowClip(method, (96, 128), 3) for method in (LUCAS_KANADE, CLASSIC, ROBUST)),
        KernelFit((20, 60, 2, 2), 5),
        BankApplication((20, 60, 2, 2)),
        MixtureIterations(2000, 3, 4, "diag"),
        MixtureIterations(2000, 3, 4, "full"),
        BaumWelch(20, 30, 3, 2),
        FundamentalMatrices(10, 120),
        Homographies(10, 80),
    ),
    # A thread takes a millisecond there.
    "simulated": (
        FlowClip(LUCAS_KANADE, (16, 16), 2),
        FlowClip(CLASSIC, (16, 16), 2),
        KernelFit((20, 10, 1, 2), 3),
        BankApplication((20, 10, 1, 1)),
        MixtureIterations(100, 2, 2, "diag", n_iter=1),
        MixtureIterations(100, 2, 2, "full", n_iter=1),
        BaumWelch(10, 4, 2, 2, n_iter=1),
        FundamentalMatrices(1, 33, inlier_ratio=0.95, max_trials=8, degeneracy="ignore"),
        Homographies(1, 20, inlier_ratio=0.9, max_trials=8),
    ),
}

_CEILINGS = {
    "full": (1 << 31, 8192),
    "quick": (1 << 28, 4096),
    "tiny": (1 << 10, 32),
    "simulated": (1 << 8, 8),
}


def size_of_run() -> str:
    """The name of the size that the environment asks for."""
    size = os.environ.get("FASTMOTION_GPU_BENCH", "full")
    if size not in CASES:
        raise ValueError(f"FASTMOTION_GPU_BENCH must be one of {list(CASES)}, got {size!r}")
    return size


def ceilings(size: str) -> Sequence[CopyBandwidth | MatrixRate]:
    """What is measured of the chip in a run of a size."""
    n_bytes, side = _CEILINGS[size]
    return (
        CopyBandwidth(n_bytes),
        MatrixRate(side, "float32"),
        MatrixRate(side, "float64"),
    )
