"""The reports of all kernels, shown at the end of the run."""

import pytest

from tests.ptx import gate

TABLE = "table of CUDA kernels"


@pytest.fixture
def reports(record_property):
    """Return the reports of all CUDA kernels of the package."""
    found = gate.inspect_all([kernel.name for kernel in gate.package_kernels()])
    # A property of the test, so that it also comes from a worker of pytest-xdist.
    record_property(TABLE, gate.table(found))
    return found


def pytest_terminal_summary(terminalreporter):
    """Print the table of reports, if they were made."""
    for outcome in "passed", "failed":
        for report in terminalreporter.getreports(outcome):
            for table in (value for name, value in report.user_properties if name == TABLE):
                terminalreporter.section("CUDA kernels, compiled without a device")
                terminalreporter.write_line(table)
