"""Arrays of matches that stay on a CUDA device while fits go on, many in one piece of memory."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Residency"]

_LEAST_CAPACITY = 4096


class Residency:
    """What the kernels of two-view geometry have on a CUDA device.

    Kernels that serve many pairs of images in one launch are told one array, and where in it the
    matches of each pair begin. A host array goes up when it is first asked for, together with all
    that are new, and stays as long as it lives on the host, where nobody must change it.

    Parameters
    ----------
    memory : Memory
        Of the device.

    Attributes
    ----------
    memory : Memory
    """

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self._stores: dict[tuple[int, np.dtype], _Store] = {}

    def place(
        self, arrays: Sequence[NDArray], *, by_rows: bool = False
    ) -> tuple[Any, NDArray[np.int64]]:
        """Return a device array that holds host arrays, and the columns at which they begin.

        Parameters
        ----------
        arrays : sequence of ndarray of shape (n,) or (k, n), or (n, k) if by rows
            Of one k and one dtype; the very objects that live as long as they are needed.
        by_rows : bool, default=False
            Whether arrays have a row for each match. They become columns.

        Returns
        -------
        array : device array of shape (k, n_columns)
            Good until this is called for the next time.
        first : ndarray of int64
            Each array's first column; its others follow.
        """
        n_rows = 1 if arrays[0].ndim == 1 else arrays[0].shape[by_rows]
        key = n_rows, arrays[0].dtype
        if key not in self._stores:
            self._stores[key] = _Store(self.memory, *key)
        return self._stores[key].place(arrays, by_rows)


class _Store:
    """Host arrays of a number of rows and a dtype, as columns of one device array."""

    def __init__(self, memory: Any, n_rows: int, dtype: np.dtype) -> None:
        self._memory = memory
        # Not of a scope: those of single launches come and go.
        self._array = memory.new((n_rows, _LEAST_CAPACITY), dtype)
        self._spaces = _Spaces(_LEAST_CAPACITY)
        # By identity; a weak reference tells whether the array still lives.
        self._known: dict[int, tuple[weakref.ref, int, int]] = {}
        # Filled by whichever thread drops an array.
        self._dead: deque[int] = deque()

    def place(self, arrays: Sequence[NDArray], by_rows: bool) -> tuple[Any, NDArray[np.int64]]:
        self._forget_dead()
        missing = {id(array): array for array in arrays if id(array) not in self._known}
        if missing:
            self._bring(list(missing.values()), by_rows)
        return self._array, np.array([self._known[id(array)][1] for array in arrays])

    def _forget_dead(self) -> None:
        while self._dead:
            _, first, size = self._known.pop(self._dead.popleft())
            self._spaces.free(first, size)

    def _bring(self, arrays: list[NDArray], by_rows: bool) -> None:
        """Copy host arrays to the device, side by side."""
        sizes = [len(array) if by_rows else array.shape[-1] for array in arrays]
        total = sum(sizes)
        start = self._find(total)
        packed = np.empty((len(self._array), total), self._array.dtype)
        first = 0
        for array, size in zip(arrays, sizes):
            packed[:, first : first + size] = array.T if by_rows else array
            self._remember(array, start + first, size)
            first += size
        with self._memory.scope():
            self._copy(self._memory.put(packed), start)

    def _remember(self, array: NDArray, first: int, size: int) -> None:
        name = id(array)
        reference = weakref.ref(array, lambda _: self._dead.append(name))
        self._known[name] = reference, first, size

    def _find(self, size: int) -> int:
        """Return where so many columns are free; there may have to be more."""
        start = self._spaces.take(size)
        if start is None:
            former = self._array
            self._spaces.grow(max(size, self._array.shape[1]))
            shape = (len(former), self._spaces.capacity)
            self._array = self._memory.new(shape, former.dtype)
            self._copy(former, 0)
            start = self._spaces.take(size)
        assert start is not None
        return start

    def _copy(self, source: Any, start: int) -> None:
        from fastmotion.epipolar.kernels.cuda_matches import copy_columns

        copy_columns(source, self._array, start)


class _Spaces:
    """Which columns are free."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._free = [(0, capacity)]  # first and size, in order, none next to another

    def take(self, size: int) -> int | None:
        """Return the first of so many columns, which are free no more; None if there are none."""
        for i, (first, room) in enumerate(self._free):
            if room >= size:
                self._free[i : i + 1] = [(first + size, room - size)] if room > size else []
                return first
        return None

    def free(self, first: int, size: int) -> None:
        """Take columns back."""
        spaces: list[tuple[int, int]] = []
        for start, room in sorted([*self._free, (first, size)]):
            if spaces and sum(spaces[-1]) == start:
                spaces[-1] = spaces[-1][0], spaces[-1][1] + room
            else:
                spaces.append((start, room))
        self._free = spaces

    def grow(self, size: int) -> None:
        """Add columns at the end."""
        self.capacity += size
        self.free(self.capacity - size, size)
