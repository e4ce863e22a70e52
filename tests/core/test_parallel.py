import threading
import time

import numba
import pytest

from fastmotion.core.parallel import thread_map


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
        time.sleep(0.001)  # the other thread cannot be through before the error is known

    with pytest.raises(KeyError, match="2"):
        thread_map(fail_at_two, range(1000), n_jobs=2)
    assert len(seen) < 1000
    assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
