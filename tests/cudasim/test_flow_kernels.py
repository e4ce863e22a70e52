"""The tests for a CUDA device, run in Numba's simulator: in a process of its own, without one."""

import re

import pytest

pytestmark = pytest.mark.cudasim

RUN = """
import contextlib
import io
import sys

import pytest

report = io.StringIO()
with contextlib.redirect_stdout(report):
    status = pytest.main(["tests/gpu", "-m", "gpu", "--color=no"])
print(report.getvalue(), file=sys.stderr if status else sys.stdout)
sys.exit(status)
"""


def test_tests_for_a_device_pass_in_the_simulator(run_python, tmp_path):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    report = run_python(
        RUN, NUMBA_ENABLE_CUDASIM="1", PYTEST_ADDOPTS=f"-o cache_dir={tmp_path}", timeout=300
    )
    (passed,) = re.findall(r"(\d+) passed", report)
    assert int(passed) > 5
    assert "skipped" not in report
