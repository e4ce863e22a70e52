"""Who may import whom, and what ``import fastmotion`` costs."""

import ast
from pathlib import Path

import pytest

import fastmotion

PACKAGE = Path(fastmotion.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)

# What each part may import of the package. A family is any part that is not named here.
MAY_IMPORT = {
    "core": {"core"},
    "linear": {"core", "linear"},
    "kernels": {"core", "linear", "kernels"},
    "em": {"core", "kernels", "em"},
    "family": {"core", "linear", "kernels", "em", "family"},
    "metrics": {"core", "metrics"},
    "io": {"core", "metrics", "io"},
    "datasets": {"core", "metrics", "io", "datasets"},
    "features": {"core", "kernels", "em", "family", "features"},
    "video": {"core", "io", "family", "features", "video"},
    "display": {"core", "metrics", "family", "features", "display"},
    "benchmark": {"core", "metrics", "datasets", "family", "features", "benchmark"},
    "cli": {
        *("core", "metrics", "io", "datasets", "family", "features", "video", "display"),
        *("benchmark", "cli", "root"),
    },
    "root": {"core", "cli"},
}
FAMILIES = {"flow", "trajectory", "mixture", "hmm", "epipolar"}
OPTIONAL = {"av", "cupy", "cv2", "dask", "imageio", "matplotlib", "PIL", "skimage", "torch", "tqdm"}
OPTIONAL |= {"xarray"}
DECORATORS = {"jit", "njit", "vectorize", "guvectorize", "generated_jit", "stencil", "cfunc"}


def is_for_cuda(module):
    """Return whether a module holds CUDA kernels, which is loaded when a device is used."""
    *_, folder, name = module.split(".")
    return folder == "kernels" and name.partition("_")[0] == "cuda"


def part_of(module):
    """Return the part of the package that a module belongs to."""
    names = module.split(".")[1:]
    if "kernels" in names and names[0] != "core":
        return "kernels"
    if not names or names[0] == "__main__":
        return "root"
    return "family" if names[0] in FAMILIES else names[0]


class Imports(ast.NodeVisitor):
    """Collects the imports of a module, as full names, except those for type checkers only."""

    def __init__(self, module):
        self.module = module
        self.everywhere = set()
        self.on_import = set()
        self._depth = 0

    def _add(self, name):
        self.everywhere.add(name)
        if not self._depth:
            self.on_import.add(name)

    def visit_Import(self, node):
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node):
        assert not node.level, f"{self.module} imports relatively, which this test cannot follow"
        for alias in node.names:
            self._add(f"{node.module}.{alias.name}")

    def visit_If(self, node):
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_FunctionDef(self, node):
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1


def imports_of(module, source):
    """Return all imports of a module, and those that run when it is imported."""
    visitor = Imports(module)
    visitor.visit(ast.parse(source))
    return visitor.everywhere, visitor.on_import


def offences(module, source):
    """Return what is wrong with the imports of a module."""
    everywhere, on_import = imports_of(module, source)
    part = part_of(module)
    found = []
    for name in sorted(everywhere):
        top = name.split(".")[0]
        if top == "fastmotion" and name != "fastmotion.__version__":
            other = part_of(".".join(name.split(".")[:4]))
            if other not in MAY_IMPORT[part]:
                found.append(f"{module} ({part}) imports {name} ({other})")
        if top == "numba" and part not in {"core", "linear", "kernels"}:
            found.append(f"{module} imports {name}; only compiled code may know numba")
        if name.startswith("numba.cuda") and name in on_import and not is_for_cuda(module):
            found.append(f"{module} imports {name}; that starts CUDA")
        if name.split(".")[-1] in DECORATORS and top == "numba":
            found.append(f"{module} imports {name}; only core.compile may use it")
        if top == "sklearn" and part == "kernels":
            found.append(f"{module} imports {name}; kernels must not")
        if top == "sklearn" and "._" in name and module != "fastmotion.core.validation":
            found.append(f"{module} imports {name}; only core.validation may import private names")
        if top in OPTIONAL:
            found.append(f"{module} imports {name}; import_optional is for that")
    return found


def uses_decorators(source):
    """Return whether a source names an attribute such as ``numba.njit`` or ``cuda.jit``."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in DECORATORS
        and isinstance(node.value, ast.Name)
        and node.value.id in {"numba", "cuda", "nb"}
        for node in ast.walk(ast.parse(source))
    )


def read(module):
    path = PACKAGE.parent.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8")


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    assert offences(module, read(module)) == []


def test_only_core_compile_uses_numba_decorators():
    assert [m for m in MODULES if uses_decorators(read(m))] == ["fastmotion.core.compile"]


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("fastmotion.core.x", "from fastmotion.flow import LucasKanade", "(core)"),
        ("fastmotion.core.x", "def f():\n    import fastmotion.io", "(core)"),
        ("fastmotion.linear.x", "from fastmotion.flow.kernels import cpu", "(linear)"),
        ("fastmotion.flow.kernels.cpu", "from fastmotion.flow.pyramid import P", "(kernels)"),
        ("fastmotion.flow.kernels.cpu", "import sklearn.base", "kernels must not"),
        ("fastmotion.flow.x", "import numba", "only compiled code"),
        ("fastmotion.flow.x", "from fastmotion import display", "(display)"),
        ("fastmotion.flow.x", "from sklearn.utils._tags import Tags", "private names"),
        ("fastmotion.flow.x", "from sklearn.base import _fit_context", "private names"),
        ("fastmotion.flow.kernels.cpu", "from numba import njit", "only core.compile"),
        ("fastmotion.flow.kernels.cpu", "from numba import cuda", "starts CUDA"),
        ("fastmotion.io.x", "def f():\n    import imageio.v3 as iio", "import_optional"),
    ],
)
def test_offence_is_found(module, source, message):
    (offence,) = offences(module, source)
    assert message in offence


def test_use_of_a_decorator_is_found():
    assert uses_decorators("import numba\n@numba.njit\ndef f(): pass")
    assert uses_decorators("from numba import cuda\n@cuda.jit(device=True)\ndef f(): pass")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fastmotion.flow.kernels.cuda", "from numba import cuda"),
        ("fastmotion.flow.kernels.cuda_planes", "from numba import cuda"),
        ("fastmotion.core.x", "def f():\n    from numba import cuda"),
        ("fastmotion.core.x", "if TYPE_CHECKING:\n    import matplotlib"),
        ("fastmotion.cli.x", "import fastmotion.flow"),
        ("fastmotion.flow.x", "from fastmotion.flow.kernels import cpu"),
        ("fastmotion.flow.x", "from sklearn.base import BaseEstimator"),
    ],
)
def test_what_is_allowed_is_no_offence(module, source):
    assert offences(module, source) == []


HEAVY = {"numba", "numpy", "scipy", "sklearn", "joblib"}
OTHERS_HEAVY = {"numba.cuda", "numba_cuda", *OPTIONAL}


def modules_after(run_python, code):
    return set(run_python(f"import sys\n{code}\nprint(*sys.modules)").split())


def test_import_loads_nothing_heavy(run_python):
    loaded = modules_after(run_python, "import fastmotion; dir(fastmotion)")
    assert not loaded & (HEAVY | OTHERS_HEAVY)


@pytest.mark.parametrize("name", sorted(set(fastmotion.__all__) - {"__version__"}))
def test_no_public_name_starts_cuda_or_loads_an_extra(run_python, name):
    loaded = modules_after(run_python, f"from fastmotion import {name}")
    assert not loaded & OTHERS_HEAVY
