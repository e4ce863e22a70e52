"""Fundamental matrices of random samples on a CUDA device, and how well models explain matches."""

import numpy as np
from numba import cuda, float32, float64, int64, uint64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.kernels.cuda import warp_sum
from fastmotion.epipolar.kernels.cuda_parts import (
    FIRST,
    FIRST_SCORED,
    FLOOR,
    INVERSE_LIMIT,
    LANES,
    N_COLUMNS,
    N_PLACES,
    N_SCORED,
    OF_SCRATCH,
    POOL,
    POOLS,
    RANK,
    SEED,
    START,
    THREADS,
    TRIAL,
    TRIALS,
    WARPS,
    N,
    keep_all,
    least_of_rank,
    number_of_rank,
    pack_pools,
    put_table,
    select,
    starts_of,
    up_to_power,
)
from fastmotion.epipolar.kernels.minimal import (
    draw_samples,
    keep_possible,
    load_samples,
    models_of_samples,
    place_of,
    set_unit,
)
from fastmotion.epipolar.kernels.scalar import (
    FIRST_TEST,
    is_hopeless,
    match_gain,
    squared_sampson,
)

__all__ = ["least_median", "sample_models", "score", "score_all", "search"]

# More columns of the table of a search.
_SIZE, _IS_ORIENTED = N_COLUMNS, N_COLUMNS + 1

_ZERO = np.float32(0)
_NO_MODEL = np.float32(-1)

_SINGLES = float32[:, ::1]
_DOUBLES = float64[:, ::1]
_INTEGERS = int64[:, ::1]


def search(residency, requests):
    """Try the fundamental matrices of random samples and keep the models of most gain.

    Models are dropped early by what was there before, not by what other trials find.
    """
    points, first_scored = residency.place([request[6] for request in requests])
    scored = np.column_stack([first_scored, [request[7] for request in requests]])
    limits = [(request[8], request[10][-1]) for request in requests]
    n_kept = max(len(request[10]) for request in requests)
    memory = residency.memory
    with memory.scope():
        where, models, singles = _draw_all(residency, [r[:6] for r in requests], scored)
        table = put_table(memory, where, np.int64)
        bounds = put_table(memory, limits, np.float32)
        gains = memory.empty(singles.shape[1], np.float32)
        score_all(points, where, table, bounds, singles, gains)
        found = memory.empty((up_to_power(len(requests)), 1 + 10 * n_kept), np.float64)
        select(table, bounds, gains, models, n_kept, len(requests), found)
        results = memory.fetch(found)
    for request, result in zip(requests, results):
        keep_all(result[1:].reshape(n_kept, 10), *request[9:11])
    return [None] * len(requests)


def sample_models(residency, requests):
    """Set models to those of random samples, and return how many there are."""
    memory = residency.memory
    with memory.scope():
        where, drawn, singles = _draw_all(
            residency, [r[:6] for r in requests], np.zeros((len(requests), 2))
        )
        has_model = ~np.isnan(memory.fetch(singles)[0])
        found = memory.fetch(drawn).T
    counts = []
    for request, (start, n_places) in zip(requests, where[:, [START, N_PLACES]].tolist()):
        part = slice(start, start + n_places)
        valid = found[part][has_model[part]]
        request[6][: len(valid)] = valid
        counts.append(len(valid))
    return counts


def score(residency, requests):
    """Set the summed gains of models of shape (n_models, 9); none is left out."""
    points, first = residency.place([request[1] for request in requests])
    sizes = np.array([len(request[0]) for request in requests])
    where = np.zeros((len(requests), N_COLUMNS), np.int64)
    where[:, FIRST_SCORED], where[:, N_SCORED] = first, [request[2] for request in requests]
    where[:, N_PLACES], where[:, START] = sizes, starts_of(sizes)
    singles = np.zeros((9, up_to_power(sizes.sum())), np.float32)
    singles[:, : sizes.sum()] = np.concatenate([request[0] for request in requests]).T
    memory = residency.memory
    with memory.scope():
        gains = memory.empty(singles.shape[1], np.float32)
        bounds = put_table(memory, [(request[3], 0) for request in requests], np.float32)
        table = put_table(memory, where, np.int64)
        score_all(points, where, table, bounds, memory.put(singles), gains)
        found = memory.fetch(gains)
    for request, start, size in zip(requests, where[:, START], sizes):
        request[4][:] = found[start : start + size]
    return [None] * len(requests)


def least_median(residency, requests):
    """Return the least of the models' squared distances of a rank, and which model has it."""
    return least_of_rank(residency, requests, _find_of_rank, by_rows=True)


def _draw_all(residency, requests, scored):
    """Draw samples, and return the host's table of the search and the models on the device.

    Parameters
    ----------
    residency : Residency
    requests : list of tuple
        Seed, first trial, pools, size of samples, matches and whether models are oriented.
    scored : array_like of shape (n_requests, 2)
        Two columns of the table.

    Returns
    -------
    where : int64 array of shape (n_requests, n_columns)
    models : float64 device array of shape (9, n)
    singles : float32 device array of shape (9, n)
        The same; NaN where there is none.
    """
    seeds, trials, all_pools, samples_sizes, matches, is_oriented = zip(*requests)
    columns, first = residency.place(matches, by_rows=True)
    n_trials = np.array([len(pools) for pools in all_pools])
    n_places = np.where(np.array(samples_sizes) == 7, 3, 1) * n_trials
    pools, places = pack_pools(all_pools)
    where = np.column_stack([
        first, [len(rows) for rows in matches], scored, n_places, starts_of(n_places),
        [given[0] for given in all_pools], places, samples_sizes, is_oriented,
    ]).astype(np.int64)  # fmt: skip
    memory = residency.memory
    shape = 9, up_to_power(n_places.sum())
    models, singles = memory.empty(shape, np.float64), memory.empty(shape, np.float32)
    _draw[(-(-int(n_trials.max()) // TRIALS), len(requests)), TRIALS](
        columns, put_table(memory, where, np.int64),
        put_table(memory, np.array([seeds, trials], np.uint64).T, np.uint64),
        memory.put(pools), models, singles,
    )  # fmt: skip
    return where, models, singles


@cuda_kernel(
    signatures=(void(_DOUBLES, _INTEGERS, uint64[:, ::1], int64[::1], _DOUBLES, _SINGLES),)
)
def _draw(columns, where, keys, pools, models, singles):
    """Set the columns of models to those of trials; where there is none, a single is NaN."""
    request = cuda.blockIdx.y
    t = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    size = where[request, _SIZE]
    n_models = 3 if size == 7 else 1
    if n_models * t >= where[request, N_PLACES]:
        return
    words = cuda.local.array((8, 1), np.uint64)
    indices = cuda.local.array((8, 1), np.int64)[:size]
    samples = cuda.local.array((8, 4, 1), np.float64)[:size]
    equations = cuda.local.array((8, 9, 1), np.float64)[:size]
    basis = cuda.local.array((2, 9, 1), np.float64)
    parts = cuda.local.array((11, 1), np.float64)
    bits = cuda.local.array(1, np.uint64)
    order = cuda.local.array(9, np.int64)
    found = cuda.local.array((3, 9, 1), np.float64)
    pool = cuda.local.array(1, np.int64)
    is_possible = cuda.local.array(1, np.bool_)
    first = where[request, FIRST]
    n = where[request, N]
    pool[0] = where[request, POOL]
    if where[request, POOLS] >= 0:
        pool[0] = pools[where[request, POOLS] + t]
    trial = keys[request, TRIAL] + np.uint64(t)
    draw_samples(keys[request, SEED], trial, pool, n, words, indices)
    load_samples(columns[:, first : first + n].T, indices, samples)
    models_of_samples(samples, equations, basis, parts, bits, order, found)
    is_oriented = where[request, _IS_ORIENTED] > 0
    for k in range(n_models):
        place = where[request, START] + place_of(t, k, n_models, where[request, N_PLACES])
        keep_possible(found[k], samples, is_oriented, parts, is_possible)
        if is_possible[0]:
            set_unit(found[k, :, 0], models[:, place])
            for c in range(9):
                singles[c, place] = models[c, place]
        else:
            singles[0, place] = np.nan


def score_all(points, where, table, bounds, singles, gains):
    """Set the gains of models of shape (9, n)."""
    grid = -(-int(where[:, N_PLACES].max()) // WARPS), len(where)
    _score[grid, (LANES, WARPS)](points, table, bounds, singles, gains)


@cuda_kernel(signatures=(void(_SINGLES, _INTEGERS, _SINGLES, _SINGLES, float32[::1]),))
def _score(points, where, bounds, models, gains):
    request = cuda.blockIdx.y
    k = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if k >= where[request, N_PLACES]:
        return
    place = where[request, START] + k
    first = where[request, FIRST_SCORED]
    n = where[request, N_SCORED]
    gain = _NO_MODEL
    if models[0, place] == models[0, place]:
        gain = _gain(
            models[:, place], points[:, first : first + n], n,
            bounds[request, INVERSE_LIMIT], bounds[request, FLOOR],
        )  # fmt: skip
    if cuda.threadIdx.x == 0:
        gains[place] = gain


@cuda_function
def _gain(f, points, n, inverse_threshold, floor):
    """Return the summed gain of a model, to all lanes of a warp; less where it is hopeless."""
    f0, f1, f2, f3, f4, f5, f6, f7, f8 = f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8]
    share = floor / np.float32(n)
    gain = _ZERO
    start = 0
    stop = FIRST_TEST
    while start < n:
        part = _ZERO
        for i in range(start + cuda.threadIdx.x, min(stop, n), LANES):
            part += match_gain(
                f0, f1, f2, f3, f4, f5, f6, f7, f8,
                points[0, i], points[1, i], points[2, i], points[3, i], inverse_threshold,
            )  # fmt: skip
        gain += warp_sum(part)
        if stop < n and is_hopeless(gain, share * np.float32(stop)):
            break
        start = stop
        stop *= 2
    return gain


@cuda_kernel(signatures=(void(_DOUBLES, _INTEGERS, _DOUBLES, float64[::1], float64[::1]),))
def _find_of_rank(columns, where, models, scratch, of_rank):
    """Set the squared distance of a rank of each model, a block for each."""
    counts = cuda.shared.array(THREADS, np.int64)
    k = cuda.blockIdx.x
    f = models[k]
    first = where[k, FIRST]
    start = where[k, OF_SCRATCH]
    squares = scratch[start : start + where[k, N]]
    for i in range(cuda.threadIdx.x, len(squares), THREADS):
        squares[i] = squared_sampson(
            f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8],
            columns[0, first + i], columns[1, first + i],
            columns[2, first + i], columns[3, first + i],
        )  # fmt: skip
    least = number_of_rank(squares, where[k, RANK], counts)
    if cuda.threadIdx.x == 0:
        of_rank[k] = least
