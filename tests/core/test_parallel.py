import threading
import time

import joblib
import numba
import numpy as np
import pytest

from fastmotion import config_context, get_config
from fastmotion.core.parallel import map_merge, thread_map


def add(left, right):
    return left + right


def rough_sum(seed):
    """Return numbers whose float32 sum depends on the order of additions."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(50) * 10.0 ** rng.integers(-8, 8, 50)).astype(np.float32)


def configured_device(_):
    return [get_config()["device"]]


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_result_does_not_depend_on_the_number_of_workers(backend):
    serial = map_merge(rough_sum, range(20), add)
    assert not np.array_equal(serial, map_merge(rough_sum, reversed(range(20)), add))
    for n_jobs in 1, 2, 3:
        with joblib.parallel_config(backend):
            np.testing.assert_array_equal(
                map_merge(rough_sum, range(20), add, n_jobs=n_jobs), serial
            )


def test_merges_run_in_order_in_the_calling_thread():
    threads = []

    def merge(left, right):
        threads.append(threading.current_thread())
        return left + right

    letters = map_merge(str.upper, iter("abcdefgh"), merge, n_jobs=2)
    assert letters == "ABCDEFGH"
    assert threads == [threading.current_thread()] * 7


def test_one_item_needs_no_merge():
    assert map_merge(len, ["abc"], None) == 3


def test_no_items_are_an_error():
    with pytest.raises(ValueError, match="at least one item, got none"):
        map_merge(len, [], add)


def test_errors_of_the_function_pass_through():
    with pytest.raises(ZeroDivisionError):
        map_merge(lambda x: 1 // x, [1, 0], add)
    with pytest.raises(TypeError, match="has no len"):
        map_merge(len, [1], add)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_see_the_settings_of_their_caller(backend):
    with joblib.parallel_config(backend), config_context(device="cpu"):
        assert map_merge(configured_device, range(3), add, n_jobs=2) == ["cpu"] * 3


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1])
def test_threads_keep_the_order_of_items(n_jobs):
    def slowest_first(i):
        time.sleep(0.002 * (8 - i) / 8)
        return i * i

    assert thread_map(slowest_first, range(8), n_jobs=n_jobs) == [i * i for i in range(8)]
    assert thread_map(slowest_first, [], n_jobs=n_jobs) == []


def test_threads_work_at_the_same_time():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread only")
    both = threading.Barrier(2, timeout=30)
    assert thread_map(lambda _: both.wait() in (0, 1), range(2), n_jobs=2) == [True, True]


def test_one_item_stays_in_the_callers_thread():
    assert thread_map(lambda _: threading.get_ident(), [0], n_jobs=2) == [threading.get_ident()]


def test_an_error_in_a_thread_reaches_the_caller_and_stops_the_rest():
    seen = []

    def fail_at_two(i):
        seen.append(i)
        if i == 2:
            raise KeyError(i)

    with pytest.raises(KeyError, match="2"):
        thread_map(fail_at_two, range(1000), n_jobs=2)
    assert len(seen) < 1000
    assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
