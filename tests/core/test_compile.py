import gc
import importlib.util
import pickle
import timeit
import types

import numpy as np
import pytest
from numba.core.errors import TypingError

from fastmotion.core import compile as fc
from fastmotion.core.compile import cpu_kernel, cuda_kernel, prange, scalar

HALF = np.float32(0.5)


@scalar
def mean_of_two(a, b):
    return HALF * (a + b)


@scalar
def mean_of_four(a, b, c, d):
    return mean_of_two(mean_of_two(a, b), mean_of_two(c, d))


@cpu_kernel
def first(row):
    return row[0]


@cpu_kernel(parallel=True, fastmath="contract")
def shrink(image, out):
    """Halve an image."""
    for i in prange(out.shape[0]):
        first(image[i])
        for j in range(out.shape[1]):
            out[i, j] = mean_of_four(
                image[2 * i, 2 * j],
                image[2 * i, 2 * j + 1],
                image[2 * i + 1, 2 * j],
                image[2 * i + 1, 2 * j + 1],
            )


@cpu_kernel
def divide(a, b):
    return a / b


@cpu_kernel(fastmath="reassociate")
def is_nan(x):
    return x != x


def shrink_reference(image):
    h, w = image.shape
    return image.reshape(h // 2, 2, w // 2, 2).mean((1, 3), dtype=np.float64)


def test_kernel_calls_scalars_and_serial_kernels(rng):
    image = rng.random((12, 20), dtype=np.float32)
    out = np.empty((6, 10), np.float32)
    shrink(image, out)
    np.testing.assert_allclose(out, shrink_reference(image), rtol=1e-6)


def test_scalar_keeps_float32():
    assert mean_of_four(*map(np.float32, range(4))) == 1.5
    assert [str(s.return_type) for s in mean_of_four.nopython_signatures] == ["float32"]


def test_division_by_zero_follows_ieee():
    assert divide(1.0, 0.0) == np.inf
    assert np.isnan(divide(0.0, 0.0))


def test_no_fast_math_set_lets_the_compiler_ignore_nan_or_infinity():
    for flags in fc.FAST_MATH.values():
        assert not {"nnan", "ninf", "fast"} & flags
    assert is_nan(np.float32(np.nan))


def test_contract_makes_fused_multiply_adds_and_none_does_not():
    kernels = {
        fastmath: fc.CpuKernel(_axpy, parallel=False, fastmath=fastmath)
        for fastmath in fc.FAST_MATH
    }
    row = np.ones(4, np.float32)
    flags = {}
    for fastmath, kernel in kernels.items():
        kernel(np.float32(2), row, row)
        (code,) = kernel.dispatcher.inspect_llvm().values()
        flags[fastmath] = "fmul contract float" in code, "fmul reassoc nsz arcp contract" in code
    assert flags == {None: (False, False), "contract": (True, False), "reassociate": (False, True)}


def _axpy(a, x, y):
    for i in prange(x.size):
        y[i] += a * x[i]


@pytest.mark.parametrize("fastmath", list(fc.FAST_MATH))
def test_serial_form_gives_the_parallel_result_to_the_last_bit(rng, fastmath, monkeypatch):
    kernel = fc.CpuKernel(_filter, parallel=True, fastmath=fastmath)
    image = rng.standard_normal((64, 91), dtype=np.float32)
    parallel, serial = np.zeros_like(image), np.zeros_like(image)
    kernel(image, parallel)
    monkeypatch.setattr(fc._threads, "forked", True)
    kernel(image, serial)
    assert len(kernel._dispatchers) == 2
    np.testing.assert_array_equal(serial, parallel)


def _filter(image, out):
    h, w = image.shape
    for i in prange(1, h - 1):
        total = np.float32(0)
        for j in range(w):
            total += image[i, j] * image[i - 1, j]
        for j in range(1, w - 1):
            gradient = image[i, j + 1] - image[i, j - 1]
            curvature = image[i + 1, j] + image[i - 1, j] - image[i, j] * HALF
            norm = np.sqrt(gradient * gradient + curvature * curvature + np.float32(1e-3))
            out[i, j] = total * gradient / norm + curvature * image[i, j]


def test_kernel_that_a_parallel_one_would_run_inside_must_be_serial():
    with pytest.raises(TypingError, match="shrink"):
        fc.CpuKernel(_calls_parallel, parallel=False, fastmath=None)(np.zeros((2, 2), np.float32))


def _calls_parallel(image):
    shrink(image, image)


def seconds_per_call(func, *args):
    return min(timeit.repeat(lambda: func(*args), number=200, repeat=20)) / 200


@pytest.mark.parametrize("parallel", [False, True])
def test_calling_a_kernel_adds_few_microseconds(parallel):
    row = np.zeros(2, np.float32)
    kernel = fc.CpuKernel(_axpy, parallel=parallel, fastmath="contract")
    kernel(HALF, row, row)
    assert kernel.dispatcher.targetoptions["parallel"] is parallel
    overhead = seconds_per_call(kernel, HALF, row, row) - seconds_per_call(
        kernel.dispatcher, HALF, row, row
    )
    assert overhead < 3e-6


def test_kernel_keeps_name_documentation_and_pickles_by_reference():
    assert shrink.__name__ == "shrink"
    assert shrink.__doc__ == "Halve an image."
    assert pickle.loads(pickle.dumps(shrink)) is shrink
    assert repr(shrink) == f"<cpu_kernel {__name__}.shrink>"


def test_registry_knows_kernels_by_module_and_function():
    known = fc.registered_kernels()
    assert known[f"{__name__}.shrink"] is shrink
    known.clear()
    assert fc.registered_kernels()


def test_unknown_fast_math_set_is_refused():
    with pytest.raises(ValueError, match=r"fastmath must be one of .*contract.*got 'fast'"):
        cpu_kernel(_axpy, fastmath="fast")


@pytest.mark.parametrize("decorator", [cpu_kernel, cuda_kernel])
def test_closures_and_rebound_globals_are_refused(decorator):
    factor = 2

    def closure(x):
        return factor * x

    rebound = types.FunctionType(_axpy.__code__, {"__name__": __name__})
    for func in (closure, rebound):
        with pytest.raises(TypeError, match="top level"):
            decorator(func)


def test_two_kernels_of_one_name_are_refused():
    def make():
        def kernel(x):
            return x

        return kernel

    def make_other():
        def kernel(x):
            return x + 1

        kernel.__qualname__ = make().__qualname__
        return kernel

    cpu_kernel(make())
    cpu_kernel(make())  # a module that is loaded again
    with pytest.raises(ValueError, match="another kernel of the name"):
        cpu_kernel(make_other())


def test_warmup_cases_are_kept_by_family():
    def case():
        """Do nothing."""

    assert fc.register_warmup("a family of this test", case) is case
    assert fc.warmup_cases("a family of this test") == (case,)
    assert fc.warmup_cases("no family") == ()


def test_missing_cache_hooks_mean_no_cache(monkeypatch, caplog):
    from fastmotion.core import cache

    monkeypatch.setattr(cache, "_HAS_HOOKS", False)
    kernel = fc.CpuKernel(_axpy, parallel=False, fastmath=None)
    assert kernel.dispatcher.stats.cache_path is None
    assert "no cache hooks" in caplog.text


def test_kernels_run_uncompiled_for_debugging(shared_copy, run_python):
    out = run_python(
        """
from fastmotion.toy.kernels.cpu import stencil
from fastmotion.toy.work import work
print(work(0)[:3].tolist(), type(stencil.dispatcher).__name__)
""",
        path=shared_copy,
        NUMBA_DISABLE_JIT="1",
    )
    assert out.endswith("] function\n")


needs_cuda_compiler = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed"
)

CUDA_KERNEL = '''
from numba import cuda

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.toy.kernels.scalar import weigh


@cuda_function
def weigh_at(image, i, j):
    """Combine a pixel with its neighbours in the row, and let the block wait."""
    cuda.syncthreads()
    return weigh(image[i, j - 1], image[i, j], image[i, j + 1])


@cuda_kernel(signatures=("void(float32[:, ::1], float32[:, ::1])",))
def stencil(image, out):
    """Combine each pixel with its neighbours in the row."""
    j, i = cuda.grid(2)
    value = weigh_at(image, min(i, image.shape[0] - 1), min(max(j, 1), image.shape[1] - 2))
    if i < image.shape[0] and 0 < j < image.shape[1] - 1:
        out[i, j] = value
'''


@pytest.fixture
def cuda_copy(package_copy):
    (package_copy / "fastmotion" / "toy" / "kernels" / "cuda.py").write_text(CUDA_KERNEL)
    return package_copy


@needs_cuda_compiler
@pytest.mark.cudasim
def test_simulated_kernel_and_cpu_kernel_agree_in_one_process(cuda_copy, run_python):
    out = run_python(
        """
import numpy as np
from fastmotion.core.compile import simulator_enabled
from fastmotion.core.device import launch_shape, resolve_device
from fastmotion.toy.kernels import cpu, cuda, scalar

image = np.random.default_rng(0).random((5, 19), dtype=np.float32)
on_cpu, on_cuda = np.zeros_like(image), np.zeros_like(image)
cpu.stencil(image, on_cpu)
before = len(scalar.weigh.overloads)
grid, block = launch_shape(image.shape)
cuda.stencil[grid, block](image, on_cuda)
assert len(scalar.weigh.overloads) == before, "the simulator ran compiled code"
assert np.prod(grid) > 1
print(simulator_enabled(), np.abs(on_cpu - on_cuda).max() < 1e-6, on_cuda.any())
print(resolve_device("cuda"))
try:
    cuda.stencil.compile_ptx(cuda.stencil.signatures[0], [(8, 0)])
except RuntimeError as error:
    print("unset NUMBA_ENABLE_CUDASIM" in str(error))
""",
        path=cuda_copy,
        NUMBA_ENABLE_CUDASIM="1",
        FASTMOTION_DISABLE_CACHE="1",
    )
    assert out.split() == ["True", "True", "True", "cuda:0", "True"]


@needs_cuda_compiler
@pytest.mark.ptx
def test_kernel_compiles_to_ptx_without_a_gpu_and_without_float64(cuda_copy, run_python):
    out = run_python(
        """
import sys
from fastmotion.core.compile import registered_kernels
from fastmotion.toy.kernels import cuda

kernel = registered_kernels()["fastmotion.toy.kernels.cuda.stencil"]
for cc in (8, 0), (9, 0):
    (ptx,) = kernel.compile_ptx(kernel.signatures[0], [cc])
    print(f".target sm_{cc[0]}{cc[1]}" in ptx, ".entry" in ptx, ".f64" in ptx)
""",
        path=cuda_copy,
    )
    assert out.split() == ["True", "True", "False"] * 2


def test_a_read_only_array_compiles_nothing_again():
    values = np.arange(6.0)
    frozen = values[::2].copy()
    frozen.flags.writeable = False
    seen = fc.as_kernel_input(frozen)
    assert seen.flags.writeable and not frozen.flags.writeable
    assert np.shares_memory(seen, frozen)
    assert seen.dtype == frozen.dtype and seen.strides == frozen.strides
    assert fc.as_kernel_input(values) is values


def test_a_view_of_a_read_only_array_keeps_it_alive():
    frozen = np.full(100_000, 3.0)
    frozen.flags.writeable = False
    seen = fc.as_kernel_input(frozen)
    del frozen
    gc.collect()
    np.full(100_000, 4.0)
    assert (seen == 3).all()
