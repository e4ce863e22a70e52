"""Fixtures that all tests share."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before anything compiles: test runs share one cache, apart from the user's.
os.environ.setdefault("FASTMOTION_CACHE_DIR", str(ROOT / ".cache" / "numba"))


@pytest.fixture
def rng():
    """Return a seeded generator of random numbers."""
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def data_dir():
    """Return the folder of real images, or skip."""
    folder = os.environ.get("FASTMOTION_DATA")
    if not folder:
        pytest.skip("FASTMOTION_DATA is not set to a folder with the optical-flow image pairs")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"FASTMOTION_DATA={folder} is not a folder")
    return path


@pytest.fixture(scope="session")
def run_python():
    """Return a function that runs Python code in a fresh process and returns what it printed."""

    def run(code, *, path=ROOT, timeout=300, **env):
        # A process of a worker of pytest-xdist is no worker itself.
        own = {key: value for key, value in os.environ.items() if "PYTEST_XDIST" not in key}
        environment = {**own, "PYTHONPATH": str(path)}
        for name, value in env.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = str(value)
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=path,  # comes first in the search for modules
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert result.returncode == 0, f"exit status {result.returncode}\n{result.stderr}"
        return result.stdout

    return run
