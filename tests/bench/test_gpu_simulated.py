"""Our side of the benchmarks on a GPU, in Numba's simulator: all in a process of its own."""

import json

import pytest

from bench.gpu_ceilings import DRIVER, OUR_KERNEL
from bench.gpu_sizes import CASES

pytestmark = pytest.mark.cudasim

OUTCOMES = pytest.StashKey()
RUN = """
import json
import traceback

from bench.gpu_cases import OURS_GPU
from bench.gpu_ceilings import DRIVER, OUR_KERNEL
from bench.gpu_libraries import on_host
from bench.gpu_cases_trajectory import KernelFit
from bench.gpu_sizes import CASES, ceilings
from fastmotion.epipolar import polishing

polishing._MOST_ROUNDS = 1  # each barrier takes milliseconds

def run_case(case, on_device):
    timed = case.build(OURS_GPU, on_device=on_device, site=on_host, n_parts=case.n_parts)
    case.check(OURS_GPU, timed.fetch(timed.run()), case.n_parts)

def run_ceiling(method):
    copy = ceilings("simulated")[0]
    copy.check(copy.build(method, on_host)())

def report(what, place, run, *arguments):
    try:
        run(*arguments)
        outcome = None
    except Exception:
        outcome = traceback.format_exc()
    print(json.dumps([what, place, outcome]))

for case in CASES["simulated"]:
    report(str(case), "device", run_case, case, True)
case = next(case for case in CASES["simulated"] if isinstance(case, KernelFit))
report(str(case), "host", run_case, case, False)
for method in (OUR_KERNEL, DRIVER):
    report(method, "device", run_ceiling, method)
"""


@pytest.fixture
def outcomes(request, run_python):
    """What each run raised, or None, by case and place of its data; all run once."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    if OUTCOMES not in request.config.stash:
        printed = run_python(RUN, NUMBA_ENABLE_CUDASIM="1", PYTHONWARNINGS="ignore", timeout=600)
        found = (json.loads(line) for line in printed.splitlines())
        request.config.stash[OUTCOMES] = {(what, place): error for what, place, error in found}
    return request.config.stash[OUTCOMES]


@pytest.mark.parametrize("case", CASES["simulated"], ids=str)
def test_ours_is_right_with_its_data_on_the_device(case, outcomes):
    error = outcomes[str(case), "device"]
    assert error is None, error


def test_ours_is_right_with_its_data_on_the_host(outcomes):
    (error,) = (error for (_, place), error in outcomes.items() if place == "host")
    assert error is None, error


@pytest.mark.parametrize("method", [OUR_KERNEL, DRIVER])
def test_copies_are_right(method, outcomes):
    assert outcomes[method, "device"] is None, outcomes[method, "device"]
