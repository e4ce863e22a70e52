"""Peak memory of one flow field beyond input and output."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from bench.cases import FULL_HD
from bench.timing import peak_memory

MOST_BYTES_PER_PIXEL = 40

SETUP = """
from bench.cases import FULL_HD, VGA, photograph_case
from fastmotion.flow import {estimator}

estimator = {estimator}()
small, case = photograph_case(VGA), photograph_case(FULL_HD)
estimator.estimate(small.frame0, small.frame1)
"""
CALL = "estimator.estimate(case.frame0, case.frame1)"


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is read from /proc")
@pytest.mark.parametrize("estimator", ["HornSchunck", "LucasKanade"])
def test_peak_memory(estimator, benchmark):
    benchmark.group = "process with one estimate at 1920x1080, for its memory"
    measured = []
    setup = SETUP.format(estimator=estimator)
    benchmark.pedantic(lambda: measured.append(peak_memory(setup, CALL)), rounds=1, iterations=1)
    flow_bytes = 2 * np.float32().nbytes
    beyond = {key: n / np.prod(FULL_HD) - flow_bytes for key, n in measured[0].items()}
    benchmark.extra_info["bytes_per_pixel"] = beyond
    assert max(beyond.values()) <= MOST_BYTES_PER_PIXEL
