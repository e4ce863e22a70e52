"""Threads that meet to have their calls made together."""

import threading

import pytest

from fastmotion.core.device import CPU
from fastmotion.epipolar import launching
from fastmotion.epipolar.kernels import cpu
from fastmotion.epipolar.launching import Launcher, kernels_of


class Counter:
    """A function of many requests that takes note of how many come at a time."""

    def __init__(self):
        self.sizes = []

    def __call__(self, requests):
        self.sizes.append(len(requests))
        return [10 * x for (x,) in requests]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_all_threads_are_served_at_once():
    launcher, times = Launcher(), Counter()

    def work(x):
        return [launcher.call(times, (x + k,)) for k in range(3)]

    assert launcher.map(work, range(5)) == [[10 * (x + k) for k in range(3)] for x in range(5)]
    assert times.sizes == [5, 5, 5]


def test_a_call_alone_is_served_where_it_is_made():
    launcher, times = Launcher(), Counter()
    assert launcher.call(times, (1,)) == 10
    assert launcher.map(lambda x: launcher.call(times, (x,)), [2]) == [20]
    assert launcher.map(times, []) == []
    assert times.sizes == [1, 1]


def test_other_functions_are_other_calls():
    launcher, first, second = Launcher(), Counter(), Counter()

    def work(x):
        return launcher.call(first if x % 3 else second, (x,))

    assert launcher.map(work, range(6)) == [10 * x for x in range(6)]
    assert (first.sizes, second.sizes) == ([4], [2])


def test_threads_that_end_early_keep_nobody_waiting():
    launcher, times = Launcher(), Counter()

    def work(n):
        return sum(launcher.call(times, (k,)) for k in range(n))

    assert launcher.map(work, range(6)) == [10 * sum(range(n)) for n in range(6)]
    assert times.sizes == [5, 4, 3, 2, 1]


def test_there_may_be_more_items_than_threads(monkeypatch):
    monkeypatch.setattr(launching, "_MOST_THREADS", 3)
    launcher, times = Launcher(), Counter()
    assert launcher.map(lambda x: launcher.call(times, (x,)), range(10)) == list(range(0, 100, 10))
    assert sum(times.sizes) == 10
    assert max(times.sizes) == 3


def test_maps_may_be_nested():
    launcher, times = Launcher(), Counter()

    def inner(x):
        return launcher.call(times, (x,))

    def outer(n):
        before = launcher.call(times, (n,))
        found = launcher.map(inner, range(n))
        return before, found, launcher.call(times, (n,))

    wanted = [(10 * n, [10 * x for x in range(n)], 10 * n) for n in (0, 1, 2, 5)]
    assert launcher.map(outer, [0, 1, 2, 5]) == wanted
    assert times.sizes[0] == 4
    assert sum(times.sizes) == 4 + 8 + 4


def test_maps_may_be_nested_where_threads_ask_for_nothing():
    launcher = Launcher()

    def outer(n):
        return sum(launcher.map(lambda x: x, range(n)))

    assert launcher.map(outer, range(40)) == [sum(range(n)) for n in range(40)]


def test_errors_reach_all_who_asked():
    launcher = Launcher()

    def fails(requests):
        raise MemoryError(f"{len(requests)} are too many")

    def work(x):
        try:
            return launcher.call(fails, (x,))
        except MemoryError as error:
            return str(error)

    assert launcher.map(work, range(3)) == ["3 are too many"] * 3


def test_errors_of_items_are_raised_and_others_end(monkeypatch):
    monkeypatch.setattr(launching, "_MOST_THREADS", 3)
    launcher, times = Launcher(), Counter()
    begun = []

    def work(x):
        begun.append(x)
        launcher.call(times, (x,))
        if x == 1:
            raise KeyError("one")
        return launcher.call(times, (x,))

    with pytest.raises(KeyError, match="one"):
        launcher.map(work, range(100))
    assert len(begun) < 10
    assert launcher.map(lambda x: launcher.call(times, (x,)), [3, 4]) == [30, 40]  # it goes on


def test_an_error_of_a_nested_item_reaches_the_outer_call():
    launcher, times = Launcher(), Counter()

    def inner(x):
        if x == 3:
            raise KeyError("three")
        return launcher.call(times, (x,))

    with pytest.raises(KeyError, match="three"):
        launcher.map(lambda n: launcher.map(inner, range(n)), [2, 5, 3])


def test_an_interrupt_while_serving_ends_all_threads():
    launcher = Launcher()

    def is_interrupted(requests):
        raise KeyboardInterrupt

    def work(x):
        return launcher.map(lambda k: launcher.call(is_interrupted, (k,)), range(x))

    with pytest.raises(KeyboardInterrupt):
        launcher.map(work, [1, 2, 3])
    assert launcher.map(lambda x: launcher.call(Counter(), (x,)), [3, 4]) == [30, 40]


def test_a_function_must_answer_every_request():
    launcher = Launcher()

    def forgets(requests):
        return [1]

    with pytest.raises(ValueError, match="zip"):
        launcher.map(lambda x: launcher.call(forgets, (x,)), [1, 2])


@pytest.mark.parametrize("n_started", [0, 2])
def test_a_system_without_threads_to_give(monkeypatch, n_started):
    left = iter(range(n_started))
    start = threading.Thread.start

    def start_some(thread):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    launcher, times = Launcher(), Counter()
    monkeypatch.setattr(threading.Thread, "start", start_some)
    if n_started:
        assert launcher.map(lambda x: launcher.call(times, (x,)), range(5)) == [0, 10, 20, 30, 40]
    else:
        with pytest.raises(RuntimeError, match="new thread"):
            launcher.map(lambda x: launcher.call(times, (x,)), range(5))


def test_the_cpu_has_its_kernels_as_they_are():
    with kernels_of(CPU) as kernels:
        assert kernels.fundamental is cpu
        assert kernels.planar is cpu.planar
        assert kernels.map(len, ["a", "bc"], n_jobs=1) == [1, 2]
