"""A kernel that copies, as plainly as one can be written; importing it starts numba.cuda."""

from __future__ import annotations

from typing import Any

from numba import cuda


@cuda.jit
def copy(source: Any, out: Any) -> None:
    for i in range(cuda.grid(1), source.size, cuda.gridsize(1)):
        out[i] = source[i]
