"""A copy of the package with a small family, for tests that edit sources or need cold caches."""

import shutil
from pathlib import Path

import pytest

import fastmotion

SCALAR = '''
import numpy as np

from fastmotion.core.compile import scalar

WEIGHT = np.float32(2.0)


@scalar
def weigh(left, centre, right):
    """Return a weighted sum."""
    return WEIGHT * centre - left * right
'''

CPU = '''
from fastmotion.core.compile import cpu_kernel, prange
from fastmotion.toy.kernels.scalar import weigh


@cpu_kernel
def total(row):
    """Return the sum of a row."""
    s = row[0] - row[0]
    for value in row:
        s += value
    return s


@cpu_kernel(parallel=True, fastmath="contract")
def stencil(image, out):
    """Combine each pixel with its neighbours in the row."""
    for i in prange(image.shape[0]):
        for j in range(1, image.shape[1] - 1):
            out[i, j] = weigh(image[i, j - 1], image[i, j], image[i, j + 1])


@cpu_kernel(parallel=True, fastmath="reassociate")
def row_sums(image, out):
    """Sum each row of squares, and each row."""
    for i in prange(image.shape[0]):
        s = image[i, 0] - image[i, 0]
        for j in range(image.shape[1]):
            s += image[i, j] * image[i, j]
        out[i, 0] = s
        out[i, 1] = total(image[i])
'''

WORK = '''
import numpy as np

from fastmotion.core.device import thread_limit
from fastmotion.toy.kernels.cpu import row_sums, stencil


def work(seed, n_jobs=None):
    """Return what the parallel kernels make of a random image."""
    image = np.random.default_rng(seed).standard_normal((67, 129), dtype=np.float32)
    smooth, sums = np.zeros_like(image), np.zeros((67, 2), np.float32)
    with thread_limit(n_jobs):
        stencil(image, smooth)
        row_sums(image, sums)
    return np.concatenate([smooth.ravel(), sums.ravel()])


def same(results):
    """Return whether results equal those of this process, to the last bit."""
    return all(np.array_equal(r, work(seed, 1)) for seed, r in enumerate(results))
'''


def copy_package(folder: Path) -> Path:
    """Copy the package into a folder, add the family ``fastmotion.toy``, and return the folder."""
    package = folder / "fastmotion"
    shutil.copytree(
        Path(fastmotion.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    kernels = package / "toy" / "kernels"
    kernels.mkdir(parents=True)
    (package / "toy" / "__init__.py").touch()
    (package / "toy" / "work.py").write_text(WORK)
    (kernels / "__init__.py").touch()
    (kernels / "scalar.py").write_text(SCALAR)
    (kernels / "cpu.py").write_text(CPU)
    return folder


@pytest.fixture
def package_copy(tmp_path):
    """Return a folder with a copy of the package that a test may edit."""
    return copy_package(tmp_path / "copy")


@pytest.fixture(scope="session")
def shared_copy(tmp_path_factory):
    """Return a folder with a copy of the package that no test edits."""
    return copy_package(tmp_path_factory.mktemp("shared") / "copy")
