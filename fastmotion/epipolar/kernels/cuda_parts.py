"""What searches and fits of two-view geometry have in common on a CUDA device.

Functions serve many requests, tuples of the arguments of the function of that name on the CPU, by
the same few launches. Arrays of matches lie side by side on the device (`Residency`); whatever else
belongs to a request is a row of tables. A trial takes a thread, a model that is scored a warp, and
one that is refined a block, so that nothing depends on what else is launched.
"""

import numpy as np
from numba import cuda, float32, float64, int64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size
from fastmotion.core.kernels.cuda import block_sum, warp_sum
from fastmotion.epipolar.kernels.keeping import keep

# Threads along a warp, which the simulator has fewer of, and warps of a block.
LANES = block_size(32, 4)
WARPS = block_size(8, 1)
THREADS = LANES * WARPS
# Trials of a block: few, so that those of one pair of images spread over several processors.
TRIALS = block_size(64, 8)
# The most blocks along the second axis of a grid.
MOST_BLOCKS = 65535

# Columns of the table of a search: where in the arrays the matches and those that are scored begin
# and how many they are, how many places for models there are and where they begin, from how many
# matches trials draw and, if that differs, where in the array of pools that stands.
FIRST, N, FIRST_SCORED, N_SCORED, N_PLACES, START, POOL, POOLS, N_COLUMNS = range(9)
# Columns of the keys of random numbers, and of the bounds.
SEED, TRIAL = 0, 1
INVERSE_LIMIT, FLOOR = 0, 1

_ZERO = np.float32(0)
_MOST_SUMS = 52
_BITS_OF_INFINITY = np.int64(0x7FF0000000000000)
# Three counts in one number.
_COUNT_1, _COUNT_2, _COUNT_3 = np.int64(1), np.int64(2**21), np.int64(2**42)


def up_to_power(n):
    """Return the next power of two: few sizes are asked for, so that the pool has most of them."""
    return 1 << max(int(n) - 1, 0).bit_length()


def put_table(memory, rows, dtype):
    """Return a table on the device with a row for each request, and some more."""
    rows = np.asarray(rows, dtype)
    table = np.zeros((up_to_power(len(rows)), rows.shape[1]), dtype)
    table[: len(rows)] = rows
    return memory.put(table)


def starts_of(sizes):
    """Return where parts of such sizes begin, one after the other."""
    return np.cumsum(sizes) - sizes


def pack_pools(given):
    """Return the pools of those that differ, and where each begins, -1 where all are one."""
    varied = [pools for pools in given if pools[0] != pools[-1]]
    sizes = np.array([len(pools) * bool(pools[0] != pools[-1]) for pools in given])
    packed = np.zeros(up_to_power(sizes.sum()), np.int64)
    if varied:
        packed[: sizes.sum()] = np.concatenate(varied)
    return packed, np.where(sizes > 0, starts_of(sizes), -1)


def keep_all(found, models, gains):
    """Keep the models of rows of a gain and nine numbers, the best first, that beat the last."""
    for gain, *model in found:
        if gain > gains[-1]:
            keep.py_func(model, gain, models, gains)


@cuda_function
def thread_number():
    """Return the number of a thread in its block."""
    return cuda.threadIdx.y * LANES + cuda.threadIdx.x


def _simulated_sums_of_warps(own, n, partial):
    # Two barriers, where `warp_sum` takes several for each sum, and a barrier takes long.
    of_lanes = cuda.shared.array((LANES, _MOST_SUMS), np.float64)
    for k in range(n):
        of_lanes[cuda.threadIdx.x, k] = own[k]
    cuda.syncthreads()
    for k in range(cuda.threadIdx.x, n, LANES):
        partial[0, k] = of_lanes[:, k].sum()
    cuda.syncthreads()


@cuda_function(simulated=_simulated_sums_of_warps)
def _set_sums_of_warps(own, n, partial):
    """Set a row for each warp to the sums of what its threads have."""
    for k in range(n):
        total = warp_sum(own[k])
        if cuda.threadIdx.x == 0:
            partial[cuda.threadIdx.y, k] = total
    cuda.syncthreads()


@cuda_function
def add_threads(own, n, partial, sums):
    """Set n sums, at most 52, to those of what the threads of a block have.

    ``partial`` and ``sums`` are shared, with a row of n numbers for each warp, and one.
    """
    _set_sums_of_warps(own, n, partial)
    for k in range(thread_number(), n, THREADS):
        total = 0.0
        for warp in range(WARPS):
            total += partial[warp, k]
        sums[k] = total
    cuda.syncthreads()


def select(where, bounds, gains, models, n_kept, n_requests, found):
    """Set found to how many models there are, and the best above the floor: gain and model.

    Parameters
    ----------
    where : int64 device array of shape (n, n_columns)
        The table of a search.
    bounds : float32 device array of shape (n, 2)
    gains : float32 device array of shape (n_places,)
        Negative where there is no model.
    models : float64 device array of shape (9, n_places)
    n_kept, n_requests : int
    found : float64 device array of shape (n, 1 + 10 n_kept)
        Of equal ones the first place's is the better; where there are too few, gains are 0.
    """
    _select[(1, n_requests), THREADS](where, bounds, gains, models, n_kept, found)


@cuda_kernel(
    signatures=(
        void(int64[:, ::1], float32[:, ::1], float32[::1], float64[:, ::1], int64, float64[:, ::1]),
    )
)
def _select(where, bounds, gains, models, n_kept, found):
    best = cuda.shared.array(THREADS, np.float32)
    place = cuda.shared.array(THREADS, np.int64)
    counts = cuda.shared.array(THREADS, np.int64)
    request = cuda.blockIdx.y
    thread = cuda.threadIdx.x
    start = where[request, START]
    stop = start + where[request, N_PLACES]
    floor = bounds[request, FLOOR]
    solved = 0
    for i in range(start + thread, stop, THREADS):
        if gains[i] >= _ZERO:
            solved += 1
    solved = block_sum(solved, counts)
    if thread == 0:
        found[request, 0] = solved
    last_gain = np.float32(np.inf)
    last_place = -1
    for k in range(n_kept):
        best[thread] = _ZERO
        place[thread] = stop
        for i in range(start + thread, stop, THREADS):
            is_next = gains[i] < last_gain or (gains[i] == last_gain and i > last_place)
            if is_next and gains[i] > floor and gains[i] > best[thread]:
                best[thread] = gains[i]
                place[thread] = i
        _bring_first(best, place)
        last_gain = best[0]
        last_place = place[0]
        if thread == 0:
            found[request, 1 + 10 * k] = last_gain
        if last_place < stop:
            for c in range(thread, 9, THREADS):
                found[request, 2 + 10 * k + c] = models[c, last_place]
        cuda.syncthreads()


@cuda_function
def _bring_first(best, place):
    """Bring the largest number of a block, and of equal ones the first place, to the front."""
    thread = cuda.threadIdx.x
    cuda.syncthreads()
    n = THREADS
    while n > 1:
        half = (n + 1) // 2
        if thread + half < n:
            other = thread + half
            if best[other] > best[thread] or (
                best[other] == best[thread] and place[other] < place[thread]
            ):
                best[thread] = best[other]
                place[thread] = place[other]
        cuda.syncthreads()
        n = half


# Columns of the table of ranks, after where matches begin and how many they are.
RANK, OF_SCRATCH = 2, 3


def least_of_rank(residency, requests, find_of_rank, *, by_rows=False):
    """Return the least of the models' squared distances of a rank, and which model has it.

    Parameters
    ----------
    residency : Residency
    requests : list of tuple
        Models, matches and the rank.
    find_of_rank : CudaKernel
        Told the matches, a table of models, their numbers, scratch and where to, it sets a model's
        squared distance of the rank in each block, as by `number_of_rank`.
    by_rows : bool, default=False
        Whether matches come as rows.
    """
    columns, first = residency.place([request[1] for request in requests], by_rows=by_rows)
    sizes = np.array([request[1].shape[not by_rows] for request in requests])
    counts = np.array([len(request[0]) for request in requests])
    ranks = [request[2] for request in requests]
    where = np.repeat(np.column_stack([first, sizes, ranks, ranks]), counts, axis=0)
    models = np.concatenate([request[0] for request in requests])
    memory = residency.memory
    # So many models at a time as there is scratch for.
    at_once = max(1, min(len(models), memory.budget() // int(8 * sizes.max())))
    of_rank = np.empty(len(models))
    for start in range(0, len(models), at_once):
        part = where[start : start + at_once]
        part[:, OF_SCRATCH] = starts_of(part[:, N])
        with memory.scope():
            found = memory.empty(up_to_power(len(part)), np.float64)
            find_of_rank[len(part), THREADS](
                columns, put_table(memory, part, np.int64),
                put_table(memory, models[start : start + at_once], np.float64),
                memory.empty(up_to_power(part[:, N].sum()), np.float64), found,
            )  # fmt: skip
            of_rank[start : start + at_once] = memory.fetch(found)[: len(part)]
    results = []
    for start, count in zip(starts_of(counts), counts):
        which = int(np.argmin(of_rank[start : start + count]))
        results.append((float(of_rank[start + which]), which))
    return results


@cuda_function
def number_of_rank(numbers, rank, scratch):
    """Return the number of a rank, counted from 0, to all threads of a block.

    The bits of numbers that are not negative are in their order. Their range is cut into quarters,
    of which the one that holds the number is kept.

    Parameters
    ----------
    numbers : float64 array of shape (n,)
        Fewer than two million. A thread looks at every `THREADS`-th number, which it may have set
        itself.
    rank : int64
    scratch : int64 array of shape (THREADS,)
        Shared.
    """
    low = np.int64(0)
    high = _BITS_OF_INFINITY
    while low < high:
        quarter = (high - low) // 4
        counts = np.int64(0)
        for i in range(cuda.threadIdx.x, len(numbers), THREADS):
            above = np.float64(numbers[i]).view(np.int64) - low
            if above <= quarter:
                counts += _COUNT_1
            if above <= 2 * quarter:
                counts += _COUNT_2
            if above <= 3 * quarter:
                counts += _COUNT_3
        counts = block_sum(counts, scratch)
        if counts % _COUNT_2 > rank:
            high = low + quarter
        elif counts // _COUNT_2 % _COUNT_2 > rank:
            high = low + 2 * quarter
            low += quarter + 1
        elif counts // _COUNT_3 > rank:
            high = low + 3 * quarter
            low += 2 * quarter + 1
        else:
            low += 3 * quarter + 1
    return np.int64(low).view(np.float64)
