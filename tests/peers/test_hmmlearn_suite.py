"""hmmlearn's own tests of its Gaussian model, run against ours.

Its wheel has no tests. ``make peers`` downloads its source distribution and runs this module; with
one that is there already:

    FASTMOTION_HMMLEARN=hmmlearn-0.3.3 python -m pytest tests/peers/test_hmmlearn_suite.py

The modules are executed with our class, under a shim, in the place of hmmlearn's, and their tests
become tests of this module; hmmlearn itself need not be installed. The shim passes ``lengths`` by
keyword and maps the private names that the tests use to ours.
"""

import importlib.util
import os
import sys
import types
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from fastmotion.hmm import ConvergenceMonitor, GaussianHMM
from fastmotion.hmm.sequences import FrameSequences, check_sequences

# What differs, and why. Each must fail: one that passes is an error here.
DEVIATIONS = {
    "test_underflow_from_scaling[scaling]": (
        "wants an error where scaled probabilities underflow; ours turns to logarithms there, and "
        "fits as with implementation='log'"
    ),
}

# They test functions of hmmlearn's compiled module, which no public method shows.
OF_PRIVATE_FUNCTIONS = {
    "test_do_forward_scaling_pass",
    "test_do_forward_pass",
    "test_do_backward_scaling_pass",
    "test_do_backward_log_pass",
    "test_do_viterbi_pass",
}


def source_folder():
    """Return the folder of hmmlearn's package, or skip."""
    name = os.environ.get("FASTMOTION_HMMLEARN")
    if not name:
        pytest.skip(
            "FASTMOTION_HMMLEARN is not set to hmmlearn's unpacked source distribution, which the "
            "docstring of this module tells how to get",
            allow_module_level=True,
        )
    folder = Path(name).expanduser() / "src" / "hmmlearn"
    if not (folder / "tests" / "test_gaussian_hmm.py").is_file():
        pytest.skip(
            f"FASTMOTION_HMMLEARN={name} has no src/hmmlearn/tests/test_gaussian_hmm.py",
            allow_module_level=True,
        )
    return folder


class Shim(GaussianHMM):
    """Ours, as hmmlearn's tests call it."""

    def _init(self, X, lengths=None):
        self._initialise(FrameSequences(np.asarray(X, np.float64), np.array([len(X)])))

    def _check(self):
        self._parameters()

    def fit(self, X, lengths=None):
        return super().fit(X, lengths=lengths)

    def score(self, X, lengths=None):
        return super().score(X, lengths=lengths)


class StubBase(Shim):
    """A chain whose densities a subclass gives."""

    def __init__(self, n_components=1):
        super().__init__(n_components)
        self.means_ = np.zeros((n_components, 1))
        self.covars_ = np.ones((n_components, 1))

    @contextmanager
    def _prepared(self, X, lengths):
        sequences = check_sequences(self, X, lengths, reset=False)
        yield sequences, self._parameters().chain, StubEmissions(self._compute_log_likelihood(X))


class StubEmissions:
    """Emissions whose log-densities are given."""

    def __init__(self, log_densities):
        self._values = log_densities

    def log_densities(self, rows, out):
        out[:] = self._values[rows]


def package(name, **names):
    module = types.ModuleType(name)
    module.__path__ = []
    vars(module).update(names)
    return module


def execute(name, path):
    """Return a module made of a file, under the name given."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load():
    """Return hmmlearn's test modules, of which only this module knows."""
    folder = source_folder()
    base = package(
        "hmmlearn.base",
        BaseHMM=StubBase,
        ConvergenceMonitor=ConvergenceMonitor,
        DECODER_ALGORITHMS=frozenset({"viterbi", "map"}),
    )
    hmm = package("hmmlearn.hmm", GaussianHMM=Shim)
    compiled = package("hmmlearn._hmmc")
    root = package("hmmlearn", hmm=hmm, base=base, _hmmc=compiled)
    stand_ins = {module.__name__: module for module in (root, base, hmm, compiled)}
    errors = np.geterr()
    with mock.patch.dict(sys.modules, stand_ins):
        execute("hmmlearn.utils", folder / "utils.py")
        helpers = execute("hmmlearn.tests", folder / "tests" / "__init__.py")
        helpers.__path__ = []
        modules = [
            execute(f"hmmlearn.tests.{name}", folder / "tests" / f"{name}.py")
            for name in ("test_gaussian_hmm", "test_base")
        ]
    np.seterr(**errors)  # hmmlearn's tests change these for good
    return modules


MODULES = load()

globals().update(
    {
        name: value
        for module in MODULES
        for name, value in vars(module).items()
        if name.startswith(("test_", "Test"))
    }
)

# Both modules' classes are given to pytest as ours; a warning is no error to hmmlearn.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::fastmotion.em.gaussians.SingularCovarianceWarning"),
]


def name_in_table(node):
    """Return a test's name, with its parameters where the table has them."""
    return node.name if node.name in DEVIATIONS else node.originalname


@pytest.fixture(autouse=True)
def deviations_fail(request):
    name = name_in_table(request.node)
    if name in OF_PRIVATE_FUNCTIONS:
        pytest.skip("tests a function of hmmlearn's compiled module")
    if name in DEVIATIONS:
        request.applymarker(pytest.mark.xfail(reason=DEVIATIONS[name], strict=True))


def test_what_is_tested_is_ours():
    of_gaussians, of_base = MODULES
    assert of_gaussians.hmm.GaussianHMM is Shim
    assert of_base.BaseHMM is StubBase


def test_the_tables_name_tests_that_there_are():
    named = {name.partition("[")[0] for name in DEVIATIONS} | OF_PRIVATE_FUNCTIONS
    found = {
        name
        for module in MODULES
        for value in vars(module).values()
        for name in (dir(value) if isinstance(value, type) else [])
    }
    assert named <= found
