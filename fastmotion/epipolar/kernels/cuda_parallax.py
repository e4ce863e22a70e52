"""Fundamental matrices that a plane leaves, on a CUDA device: a thread for each epipole."""

import numpy as np
from numba import cuda, float32, float64, int64, void

from fastmotion.core.compile import cuda_kernel
from fastmotion.epipolar.kernels.cuda_parts import (
    FIRST,
    FIRST_SCORED,
    N_COLUMNS,
    N_PLACES,
    N_SCORED,
    START,
    TRIALS,
    N,
    put_table,
    starts_of,
    up_to_power,
)
from fastmotion.epipolar.kernels.cuda_samples import score_all
from fastmotion.epipolar.kernels.parallax import set_epipole, set_model_of_epipole

__all__ = ["score_epipoles"]

# More columns of the table of a search: where the pairs of matches begin, and the epipoles that
# are given.
_FIRST_PAIR, _N_GIVEN = N_COLUMNS, N_COLUMNS + 1

_DOUBLES = float64[:, ::1]


def score_epipoles(residency, requests):
    """Set the epipoles of pairs of matches, and the summed gains of the models of all epipoles."""
    matches, planes, pairs, epipoles, points, n_scored, limits, gains = zip(*requests)
    columns, first = residency.place(matches, by_rows=True)
    scored, first_scored = residency.place(points)
    n_pairs = np.array([len(pair) for pair in pairs])
    sizes = np.array([len(found) for found in epipoles])
    where = np.zeros((len(requests), N_COLUMNS + 2), np.int64)
    where[:, FIRST], where[:, N] = first, [len(rows) for rows in matches]
    where[:, FIRST_SCORED], where[:, N_SCORED] = first_scored, n_scored
    where[:, N_PLACES], where[:, START] = sizes, starts_of(sizes)
    where[:, _FIRST_PAIR], where[:, _N_GIVEN] = starts_of(n_pairs), sizes - n_pairs
    memory = residency.memory
    with memory.scope():
        table = put_table(memory, where, np.int64)
        there = put_table(memory, np.concatenate(epipoles), np.float64)
        singles = memory.empty((9, up_to_power(sizes.sum())), np.float32)
        of_model = memory.empty(singles.shape[1], np.float32)
        _set_models[(-(-int(sizes.max()) // TRIALS), len(requests)), TRIALS](
            columns, table, put_table(memory, planes, np.float64),
            put_table(memory, np.concatenate(pairs), np.int64), there, singles,
        )  # fmt: skip
        bounds = put_table(memory, [(limit, 0) for limit in limits], np.float32)
        score_all(scored, where, table, bounds, singles, of_model)
        found, best = memory.fetch(there), memory.fetch(of_model)
    for start, size, out, gain in zip(where[:, START], sizes, epipoles, gains):
        out[:] = found[start : start + size]
        # Those without a model are told by less than nothing.
        gain[:] = np.maximum(best[start : start + size], 0)
    return [None] * len(requests)


@cuda_kernel(
    signatures=(void(_DOUBLES, int64[:, ::1], _DOUBLES, int64[:, ::1], _DOUBLES, float32[:, ::1]),)
)
def _set_models(columns, where, planes, pairs, epipoles, singles):
    request = cuda.blockIdx.y
    k = cuda.grid(1)
    if k >= where[request, N_PLACES]:
        return
    place = where[request, START] + k
    lines = cuda.local.array((2, 3), np.float64)
    model = cuda.local.array(9, np.float64)
    h = planes[request]
    if k >= where[request, _N_GIVEN]:
        first = where[request, FIRST]
        pair = pairs[where[request, _FIRST_PAIR] + k - where[request, _N_GIVEN]]
        set_epipole(
            h, columns[:, first + pair[0]], columns[:, first + pair[1]], lines, epipoles[place]
        )
    set_model_of_epipole(h, epipoles[place], model)
    for c in range(9):
        singles[c, place] = model[c]
