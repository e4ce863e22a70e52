"""The cache on disk: never stale, never shared between variants, never in the way."""

import os

import pytest

# Prints the result and "hit" or "miss" of the one signature.
RUN_STENCIL = """
import numpy as np
import fastmotion
from fastmotion.toy.kernels.cpu import stencil

image = np.ones((2, 3), np.float32)
out = np.zeros_like(image)
stencil(image, out)
stats = stencil.dispatcher.stats
print(out[0, 1], "hit" if stats.cache_hits else "miss", stats.cache_path)
"""


@pytest.fixture
def run_stencil(package_copy, run_python, tmp_path):
    def run(**env):
        env.setdefault("FASTMOTION_CACHE_DIR", tmp_path / "cache")
        value, outcome, folder = run_python(RUN_STENCIL, path=package_copy, **env).split()
        return float(value), outcome, folder

    return run


def test_edited_helper_in_another_file_changes_the_result(run_stencil, package_copy):
    assert run_stencil()[:2] == (1.0, "miss")
    assert run_stencil()[:2] == (1.0, "hit")
    helper = package_copy / "fastmotion" / "toy" / "kernels" / "scalar.py"
    helper.write_text(helper.read_text().replace("float32(2.0)", "float32(5.0)"))
    assert run_stencil()[:2] == (4.0, "miss")
    assert run_stencil()[:2] == (4.0, "hit")


def test_edited_estimator_keeps_the_cache(run_stencil, package_copy):
    assert run_stencil()[1] == "miss"
    (package_copy / "fastmotion" / "toy" / "estimator.py").write_text("x = 1\n")
    assert run_stencil()[1] == "hit"


def test_edited_option_of_a_kernel_changes_the_code(run_stencil, package_copy):
    before = run_stencil()
    kernel = package_copy / "fastmotion" / "toy" / "kernels" / "cpu.py"
    kernel.write_text(kernel.read_text().replace('fastmath="contract"', "fastmath=None"))
    assert before[1] == run_stencil()[1] == "miss"


def test_cache_dir_is_where_the_variable_says(run_stencil, tmp_path):
    folder = run_stencil(FASTMOTION_CACHE_DIR=tmp_path / "mine")[2]
    assert folder.startswith(str(tmp_path / "mine"))
    assert any(name.endswith(".nbi") for name in os.listdir(folder))


def test_cache_dir_follows_numba_and_the_user_cache(run_stencil, tmp_path):
    none = {"FASTMOTION_CACHE_DIR": None, "NUMBA_CACHE_DIR": None}
    user = run_stencil(**none | {"XDG_CACHE_HOME": tmp_path / "xdg", "HOME": tmp_path})[2]
    numba = run_stencil(**none | {"NUMBA_CACHE_DIR": tmp_path / "numba"})[2]
    assert user.startswith(str(tmp_path))
    assert numba.startswith(str(tmp_path / "numba" / "fastmotion"))


def test_cache_can_be_disabled(run_stencil, tmp_path):
    value, outcome, folder = run_stencil(FASTMOTION_DISABLE_CACHE="1")
    assert (value, outcome, folder) == (1.0, "miss", "None")
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def unwritable(tmp_path):
    """Return a path under which no folder can be made, not even by root."""
    blocker = tmp_path / "a file"
    blocker.write_text("")
    return blocker / "folder"


def test_read_only_install_and_home_fall_back_to_a_private_folder(
    run_stencil, package_copy, unwritable, tmp_path
):
    for folder, _, _ in os.walk(package_copy):
        os.chmod(folder, 0o555)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = {"FASTMOTION_CACHE_DIR": None, "NUMBA_CACHE_DIR": None, "XDG_CACHE_HOME": unwritable}
    env |= {"HOME": unwritable, "LOCALAPPDATA": unwritable, "TMPDIR": temporary}
    value, outcome, folder = run_stencil(**env)
    assert (value, outcome) == (1.0, "miss")
    assert folder.startswith(str(temporary))
    assert run_stencil(**env)[1] == "hit"
    assert not list(package_copy.rglob("*.nbi"))  # root could write to it nevertheless
    for folder, _, _ in os.walk(package_copy):
        os.chmod(folder, 0o755)


def test_folder_that_others_may_write_to_is_refused(package_copy, run_python, unwritable, tmp_path):
    code = (
        """
import getpass, os, tempfile
shared = os.path.join(tempfile.gettempdir(), f"fastmotion-{getpass.getuser()}")
os.mkdir(shared)
os.chmod(shared, 0o777)
"""
        + RUN_STENCIL
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    out = run_python(code, path=package_copy, FASTMOTION_CACHE_DIR=unwritable, TMPDIR=temporary)
    assert out.split() == ["1.0", "miss", "None"]


def test_damaged_cache_files_are_replaced(run_stencil):
    folder = run_stencil()[2]
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "r+b") as file:
            file.truncate(20)
    assert run_stencil()[:2] == (1.0, "miss")
    assert run_stencil()[:2] == (1.0, "hit")


def test_failure_to_save_does_not_fail_the_call(package_copy, run_python, tmp_path):
    code = (
        """
import numba.core.caching
def fail(*args):
    raise OSError("no space left on device")
numba.core.caching.IndexDataCacheFile.save = fail
"""
        + RUN_STENCIL
    )
    out = run_python(code, path=package_copy, FASTMOTION_CACHE_DIR=tmp_path / "cache")
    assert out.split()[:2] == ["1.0", "miss"]


def test_code_of_another_signature_is_not_taken(package_copy, run_python, tmp_path):
    # Two processes that save at once can leave an index that names the other one's file.
    save = """
import numpy as np
from fastmotion.toy.kernels.cpu import total
print(total(np.ones(3, np.{dtype})), total.dispatcher.stats.cache_path)
"""
    env = {"path": package_copy, "FASTMOTION_CACHE_DIR": tmp_path / "cache"}
    folder = run_python(save.format(dtype="float32"), **env).split()[1]
    run_python(save.format(dtype="int64"), **env)
    first, second = sorted(name for name in os.listdir(folder) if name.endswith(".nbc"))
    os.replace(os.path.join(folder, first), os.path.join(folder, second))
    assert run_python(save.format(dtype="int64"), **env).split()[0] == "3"


def test_variants_of_one_function_have_files_of_their_own(package_copy, run_python, tmp_path):
    out = run_python(
        """
from fastmotion.toy.kernels import cpu
from fastmotion.core.compile import CpuKernel
names = {
    CpuKernel(cpu.stencil.py_func, parallel=parallel, fastmath=fastmath)
    .dispatcher._cache._impl.filename_base
    for parallel in (False, True)
    for fastmath in (None, "contract", "reassociate")
}
print(len(names))
""",
        path=package_copy,
        FASTMOTION_CACHE_DIR=tmp_path / "cache",
    )
    assert out.split() == ["6"]


def test_old_folders_are_pruned_and_foreign_ones_kept(run_stencil, tmp_path):
    cache = tmp_path / "cache"
    for i in range(12):
        folder = cache / f"{i:016x}"
        folder.mkdir(parents=True)
        os.utime(folder, (1000 + i, 1000 + i))
    (cache / "notes").mkdir()
    in_use = run_stencil()[2]
    assert os.path.isdir(in_use)
    left = sorted(path.name for path in cache.iterdir() if path.name not in in_use)
    assert left == [*(f"{i:016x}" for i in range(5, 12)), "notes"]


def test_functions_of_other_packages_are_not_cached():
    from fastmotion.core.compile import cpu_kernel

    assert cpu_kernel(_outside).dispatcher.stats.cache_path is None


def _outside(x):
    return x


CUDA_COMPILE = """
from types import SimpleNamespace as fake

from numba.cuda import codegen, dispatcher

device = fake(compute_capability=(9, 0))
dispatcher.get_current_device = lambda: device
codegen.devices = fake(get_context=lambda: fake(device=device))
codegen.runtime = fake(runtime=fake(get_version=lambda: (12, 9)))


def bind(kernel):  # as far as it goes without a driver
    kernel._codelibrary.get_asm_strs(cc=(9, 0))
    kernel._codelibrary._finalized = True


dispatcher._Kernel.bind = bind
from fastmotion.core.kernels.cuda import _fill

if COMPILE_ALL:
    _fill.compile()
compiled = _fill.dispatcher.compile(tuple(_fill.signatures[0].args))  # as a launch does
(ptx,) = compiled._codelibrary.get_asm_strs(cc=(9, 0))
print(sum(_fill.dispatcher._cache_hits.values()), sum(_fill.dispatcher._cache_misses.values()))
print(len(_fill.signatures), hash(ptx))
"""


@pytest.mark.ptx
def test_cuda_kernels_are_compiled_once_for_all_processes(run_python, tmp_path):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    first, second = (
        run_python(
            CUDA_COMPILE.replace("COMPILE_ALL", all_of_them),
            NUMBA_ENABLE_CUDASIM=None,
            FASTMOTION_CACHE_DIR=tmp_path,
            PYTHONHASHSEED=0,
        ).split()
        for all_of_them in ("True", "False")
    )
    assert first[:2] == ["0", first[2]]
    assert second[:2] == ["1", "0"]
    assert first[2:] == second[2:]
    assert list(tmp_path.glob("*/core/kernels/cuda/*.nbc"))
