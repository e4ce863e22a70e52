"""The tests for a CUDA device, run in Numba's simulator: a process each, without one."""

import re

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.cudasim

FILES = sorted(path.name for path in (ROOT / "tests" / "gpu").glob("test_*.py"))
RUN = """
import contextlib
import io
import sys

import pytest

report = io.StringIO()
with contextlib.redirect_stdout(report):
    status = pytest.main(["tests/gpu/FILE", "-m", "gpu", "--color=no", "--durations=5"])
print(report.getvalue(), file=sys.stderr if status else sys.stdout)
sys.exit(status)
"""


@pytest.mark.parametrize("file", FILES)
def test_tests_for_a_device_pass_in_the_simulator(file, run_python, tmp_path):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    report = run_python(
        RUN.replace("FILE", file),
        NUMBA_ENABLE_CUDASIM="1",
        PYTEST_ADDOPTS=f"-p no:xdist -o cache_dir={tmp_path}",
        timeout=600,
    )
    assert re.search(r"\b[1-9]\d* passed", report)
    assert "skipped" not in report
