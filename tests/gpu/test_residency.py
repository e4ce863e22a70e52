"""Arrays of matches that stay on a CUDA device."""

import gc

import numpy as np
import pytest

from fastmotion.core.device import to_host
from fastmotion.core.memory import memory_of
from fastmotion.epipolar import residency
from fastmotion.epipolar.residency import Residency

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Grid size")]


@pytest.fixture
def place(device, monkeypatch):
    """Return a function that places arrays and gives them back as they lie on the device."""
    monkeypatch.setattr(residency, "_LEAST_CAPACITY", 8)
    resident = Residency(memory_of(device))

    def run(*arrays, by_rows=False):
        held, first = resident.place(arrays, by_rows=by_rows)
        columns = to_host(held)
        sizes = [len(a) if by_rows else a.shape[-1] for a in arrays]
        found = [columns[:, f : f + n] for f, n in zip(first.tolist(), sizes)]
        return found, first.tolist(), columns.shape[1]

    return run


def test_arrays_lie_side_by_side_and_stay(place, launches):
    a, b = np.arange(6.0).reshape(2, 3), np.arange(10, 14.0).reshape(2, 2)
    found, first, _ = place(a, b)
    np.testing.assert_array_equal(found[0], a)
    np.testing.assert_array_equal(found[1], b)
    n_launches = len(launches)
    again, first_again, _ = place(b, a, b)
    assert first_again == [first[1], first[0], first[1]]
    np.testing.assert_array_equal(again[0], b)
    assert len(launches) == n_launches  # nothing went up


def test_rows_become_columns_and_kinds_are_apart(place):
    rows, weight, single = np.arange(20.0).reshape(5, 4), np.arange(3.0), np.float32([[1, 2]])
    np.testing.assert_array_equal(place(rows, by_rows=True)[0][0], rows.T)
    np.testing.assert_array_equal(place(weight)[0][0], weight[np.newaxis])
    found = place(single)[0][0]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, single)
    square = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(place(square, by_rows=True)[0][0], square.T)


def test_there_is_room_for_more(place):
    arrays = [np.full((1, n), float(n)) for n in (5, 6, 7)]
    for k in range(1, 4):
        found, _, capacity = place(*arrays[:k])
        for array, wanted in zip(found, arrays):
            np.testing.assert_array_equal(array, wanted)
    assert capacity >= 18


def test_what_dies_on_the_host_makes_room_on_the_device(place):
    kept = np.zeros((1, 2))
    for k in range(12):
        array = np.full((1, 5), float(k))
        found, _, capacity = place(kept, array)
        np.testing.assert_array_equal(found[1], array)
        del array, found
        gc.collect()
    assert capacity == 8


def test_spaces_grow_together():
    spaces = residency._Spaces(10)
    assert [spaces.take(n) for n in (4, 3, 3)] == [0, 4, 7]
    assert spaces.take(1) is None
    spaces.free(7, 3)
    spaces.free(0, 4)
    assert spaces.take(5) is None
    spaces.free(4, 3)
    assert spaces.take(10) == 0
    spaces.grow(6)
    assert (spaces.capacity, spaces.take(6)) == (16, 10)
