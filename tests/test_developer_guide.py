"""The code of the developer guide, put where its captions say, runs on both targets."""

import re
import shutil
import textwrap
from pathlib import Path

import pytest

import fastmotion

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: python\n"
    r"(?:(?P=indent)   :caption: (?P<caption>.+)\n)?\n"
    r"(?P<code>(?:(?P=indent)   .*\n|\n)+)",
    flags=re.MULTILINE,
)

PLANES = """
import numpy as np
random = np.random.default_rng(0)
frame0, warped = random.random((2, 7, 9), dtype=np.float32)
flow = random.random((2, 7, 9), dtype=np.float32)
gy, gx = (np.gradient(frame0.astype(float), axis=axis)[1:-1, 1:-1] for axis in (0, 1))
gt = (warped - frame0)[1:-1, 1:-1]
expected = flow.copy()
expected[:, 1:-1, 1:-1] -= gt * np.stack([gx, gy]) / (gx**2 + gy**2 + gt**2 + 1e-12)
"""


def blocks(page):
    """Return the captions and the code of a page's blocks of Python."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (match["caption"], textwrap.dedent(match["code"]).strip() + "\n")
        for match in BLOCK.finditer(text)
    ]


@pytest.fixture(scope="module")
def guide_copy(tmp_path_factory):
    """Return a folder with a copy of the package to which the code of the guide is added."""
    folder = tmp_path_factory.mktemp("guide")
    package = folder / "fastmotion"
    shutil.copytree(
        Path(fastmotion.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for page in ("developer/kernels.rst", "developer/estimators.rst"):
        for caption, code in blocks(page):
            if caption is not None:
                path, _, is_more = caption.partition(", continued")
                with (package / path).open("a", encoding="utf-8") as file:
                    file.write(f"\n\n{code}")
    return folder


@pytest.fixture
def run_guide(run_python, guide_copy):
    """Return a function that runs code where the guide's estimator is part of the package."""

    def run(code, **env):
        cache = guide_copy / "cache"
        return run_python(code, path=guide_copy, FASTMOTION_CACHE_DIR=cache, **env).split()

    return run


def test_the_kernel_of_the_cpu_is_compiled_and_right(run_guide):
    code = """
from fastmotion.flow.kernels import cpu

out = np.empty_like(flow)
cpu.demons(frame0, warped, flow, out)
print(np.allclose(out, expected, atol=1e-5), len(cpu.demons.dispatcher.signatures))
"""
    assert run_guide(PLANES + code) == ["True", "1"]


def test_the_estimator_finds_motion_and_keeps_the_rules(run_guide):
    code = """
import numpy as np
from sklearn.base import clone
from fastmotion.core.compile import warmup_cases
from fastmotion.datasets import make_warped_photograph
from fastmotion.flow.demons import Demons
from fastmotion.metrics import endpoint_error

pair = make_warped_photograph("china", "rotation", magnitude=2.0, shape=(48, 64))
estimator = Demons(n_warps=3, prefilter_sigma=1.2)
found = estimator.estimate(pair.frame0, pair.frame1)
print(endpoint_error(pair.flow, found) < 0.75 * endpoint_error(pair.flow, np.zeros_like(found)))
clips = np.stack([pair.frame0, pair.frame1])[None]
print(np.array_equal(clone(estimator).fit_transform(clips)[0, 0], found))
print("_warm_up_demons" in [case.__name__ for case in warmup_cases("flow")])
"""
    # As plain Python: the driver's kernels, compiled anew for this copy, would take longer.
    assert run_guide(code, NUMBA_DISABLE_JIT=1) == ["True"] * 3


@pytest.mark.cudasim
def test_the_kernel_of_a_device_agrees(run_guide):
    code = """
from numba import cuda
from fastmotion.flow.kernels import cuda as kernels

frames, seconds, flows = (cuda.to_device(x[None]) for x in (frame0, warped, flow))
out = cuda.to_device(np.zeros_like(flow)[None])
kernels.demons(frames, seconds, flows, out)
print(np.allclose(out.copy_to_host()[0], expected, atol=1e-5))
"""
    assert run_guide(PLANES + code, NUMBA_ENABLE_CUDASIM=1) == ["True"]


@pytest.mark.ptx
def test_the_kernel_compiles_without_float64(run_guide):
    pytest.importorskip("numba_cuda", reason="compiling for CUDA needs numba-cuda")
    code = """
import re
from fastmotion.core.compile import registered_kernels
from fastmotion.flow.kernels import cuda_demons

kernel = registered_kernels()["fastmotion.flow.kernels.cuda_demons._demons"]
(code,) = kernel.compile_ptx(kernel.signatures[0], ((7, 5),))
print(".visible .entry" in code, len(re.findall(r"[.]f64", code)))
"""
    assert run_guide(code) == ["True", "0"]


def test_the_model_for_em_finds_the_components():
    ((_, code),) = blocks("developer/em.rst")
    names = {"__name__": "guide"}
    exec(code, names)
    assert sorted(names["means"]) == pytest.approx([0.5, 10.0], rel=0.25)
    assert names["run"].converged


def test_the_front_page_runs():
    names = {"__name__": "guide"}
    exec("\n".join(code for _, code in blocks("index.rst")), names)
    assert names["flow"].shape == names["pair"].flow.shape
    assert names["velocity"].shape == names["walk"].velocity.shape
    assert len(names["states"]) == len(names["data"].X)
    assert names["model"].degeneracy_ == "none"
