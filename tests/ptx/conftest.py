"""The reports of all kernels, shown at the end of the run."""

import pytest

from tests.ptx import gate

REPORTS = pytest.StashKey()


@pytest.fixture(scope="session")
def reports(request):
    """Return the reports of all CUDA kernels of the package."""
    found = gate.inspect_all([kernel.name for kernel in gate.package_kernels()])
    request.config.stash[REPORTS] = found
    return found


def pytest_terminal_summary(terminalreporter, config):
    """Print the table of reports, if they were made."""
    if REPORTS in config.stash:
        terminalreporter.section("CUDA kernels, compiled without a device")
        terminalreporter.write_line(gate.table(config.stash[REPORTS]))
