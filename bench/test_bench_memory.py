"""Peak memory of one flow field beyond input and output."""

from __future__ import annotations

import sys

import pytest

from bench.timing import run_fresh

MOST_BYTES_PER_PIXEL = 40

# tracemalloc sees the arrays of NumPy, the high-water mark of the process also those that compiled
# code makes. Writing 5 to clear_refs sets that mark back to the present size.
PEAK_MEMORY = """
import ctypes, gc, json, re, tracemalloc
from pathlib import Path
import numpy as np
from bench.cases import FULL_HD, VGA, photograph_case
from fastmotion.flow import {estimator}

def status(key):
    found = re.search(rf"{{key}}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1])

estimator = {estimator}()
small, case = photograph_case(VGA), photograph_case(FULL_HD)
estimator.estimate(small.frame0, small.frame1)

gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # freed memory counts as free (glibc)
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
output = estimator.estimate(case.frame0, case.frame1)
resident = status("VmHWM") - before - output.nbytes
del output

tracemalloc.start()
output = estimator.estimate(case.frame0, case.frame1)
traced = tracemalloc.get_traced_memory()[1] - output.nbytes
print(json.dumps({{"resident": resident / case.n_pixels, "traced": traced / case.n_pixels}}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is read from /proc")
@pytest.mark.parametrize("estimator", ["HornSchunck", "LucasKanade"])
def test_peak_memory(estimator, benchmark):
    benchmark.group = "process with one estimate at 1920x1080, for its memory"
    measured = []
    code = PEAK_MEMORY.format(estimator=estimator)
    benchmark.pedantic(lambda: measured.append(run_fresh(code)), rounds=1, iterations=1)
    benchmark.extra_info["bytes_per_pixel"] = measured[0]
    assert max(measured[0].values()) <= MOST_BYTES_PER_PIXEL
