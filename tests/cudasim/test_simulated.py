"""The tests for a CUDA device, run in Numba's simulator: in processes of their own, without one."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

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


@pytest.fixture(scope="module")
def reports(request, run_python, tmp_path_factory):
    """Return the reports to come of all files that were asked for, as many at once as cores."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

    def run(file):
        return run_python(
            RUN.replace("FILE", file),
            NUMBA_ENABLE_CUDASIM="1",
            PYTEST_ADDOPTS=f"-o cache_dir={tmp_path_factory.mktemp(file)}",
            timeout=600,
        )

    asked = [item.callspec.params["file"] for item in request.session.items if _is_here(item)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {file: pool.submit(run, file) for file in asked}


def _is_here(item):
    return item.path.samefile(__file__) and hasattr(item, "callspec")


@pytest.mark.parametrize("file", FILES)
def test_tests_for_a_device_pass_in_the_simulator(file, reports):
    report = reports[file].result()
    assert re.search(r"\b[1-9]\d* passed", report)
    assert "skipped" not in report
