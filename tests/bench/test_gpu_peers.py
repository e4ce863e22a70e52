"""Every benchmark of the GPU at a tiny size on the CPU: cases, peers, ceilings, report.

PyTorch computes on its own CPU device, NumPy stands in for CuPy.
"""

import pytest

from bench import gpu_measure
from bench.gpu_cases import OURS_GPU, is_on_cpu
from bench.gpu_libraries import on_host
from bench.gpu_sizes import CASES

pytestmark = pytest.mark.filterwarnings("default")

MEASUREMENTS = [
    pytest.param(case, method, on_device, id=f"{case}-{method}-{'device' if on_device else 'host'}")
    for case in CASES["tiny"]
    for method in case.methods
    for on_device in (True, False)
    if method != OURS_GPU and not (on_device and is_on_cpu(method))
]


@pytest.mark.parametrize(("case", "method", "on_device"), MEASUREMENTS)
def test_methods_beside_ours_are_right(case, method, on_device, benchmark, monkeypatch):
    # On small data PyTorch's second thread mostly waits.
    monkeypatch.setattr(gpu_measure, "N_THREADS", 1)
    try:
        gpu_measure.measure(benchmark, case, method, on_device=on_device, site=on_host)
    except ImportError as error:
        pytest.skip(f"{method}: {error}")
    assert benchmark.extra_info["case"] == str(case)
    assert benchmark.extra_info["n_bytes"] > 0
