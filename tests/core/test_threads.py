"""Parallel kernels under every way of running Python in parallel: the serial result, no hang."""

import os
import sys

import pytest

SETUP = """
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np

from fastmotion.core import compile as fc
from fastmotion.toy.work import same, work

if __name__ == "__main__":
    work(0)  # starts the threads of this process
"""

PARALLEL = {
    "two Python threads": """
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(work, list(range(8)) * 25))[:8]
""",
    "spawned pool": """
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map_async(work, range(8)).get(240)
""",
    "joblib loky": """
    results = joblib.Parallel(2, backend="loky")(joblib.delayed(work)(i) for i in range(8))
""",
    "joblib threading": """
    results = joblib.Parallel(2, backend="threading")(joblib.delayed(work)(i) for i in range(8))
""",
    "forked pool": """
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map_async(work, range(8)).get(240)
""",
    "forked pool of a forked process": """
    def outer(queue):
        queue.put([work(i) for i in range(8)])

    def middle(queue):
        child = multiprocessing.get_context("fork").Process(target=outer, args=(queue,))
        child.start()
        child.join()

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    context.Process(target=middle, args=(queue,)).start()
    results = queue.get(timeout=240)
""",
}

needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork") or sys.platform == "darwin", reason="fork is not safe on this system"
)


@pytest.fixture
def run_script(run_python, shared_copy, tmp_path):
    """Return a function that runs code as a script, as spawned processes need it."""

    def run(code, **env):
        script = tmp_path / "script.py"
        script.write_text(code)
        env.setdefault("FASTMOTION_CACHE_DIR", shared_copy / "cache")
        runpy = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
        return run_python(runpy, path=shared_copy, **env)

    return run


@pytest.mark.parametrize(
    "way", [pytest.param(w, marks=needs_fork if "fork" in w else ()) for w in PARALLEL]
)
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_results_equal_the_serial_ones(run_script, way, layer):
    code = SETUP + PARALLEL[way] + "\n    print(len(results), same(results))\n"
    assert run_script(code, NUMBA_THREADING_LAYER=layer).split() == ["8", "True"]


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_first_calls_of_two_threads_may_coincide(run_script, layer):
    code = """
import threading
from concurrent.futures import ThreadPoolExecutor
from fastmotion.toy.work import same, work

barrier = threading.Barrier(2)

def together(seed):
    barrier.wait()
    return work(seed)

if __name__ == "__main__":
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(together, [0, 1] * 50))[:2]
    print(same(results))
"""
    assert run_script(code, NUMBA_THREADING_LAYER=layer).split() == ["True"]


@needs_fork
def test_process_that_started_no_threads_forks_children_with_threads(run_script):
    code = """
import multiprocessing
from fastmotion.core.compile import _threads
from fastmotion.toy.work import same, work

def forked(seed):
    return work(seed), _threads.forked

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results, flags = zip(*pool.map_async(forked, range(4)).get(240))
    print(same(results), any(flags))
"""
    assert run_script(code).split() == ["True", "False"]


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_number_of_threads_does_not_change_the_result(run_script, n_threads):
    code = f"""
from fastmotion.toy.work import same, work
if __name__ == "__main__":
    print(same([work(i, {n_threads}) for i in range(4)]))
"""
    assert run_script(code, NUMBA_NUM_THREADS=3).split() == ["True"]


def test_joblib_worker_takes_its_share_of_the_threads(run_script):
    code = """
import joblib
from fastmotion.core.device import thread_limit

def count():
    with thread_limit(None) as n_threads:
        return n_threads

if __name__ == "__main__":
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        print(joblib.Parallel(2)(joblib.delayed(count)() for _ in range(2)))
"""
    assert run_script(code, NUMBA_NUM_THREADS=None).strip() == "[1, 1]"
