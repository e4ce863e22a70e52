"""Refinement of fundamental matrices among right and wrong matches: a block for each pair.

The parts of the kernel of the CPU work on columns of scratch; here each thread has columns of its
own, every `THREADS`-th one, and what all have found is added up in between.
"""

import math

import numpy as np
from numba import cuda, float64, int64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.epipolar.kernels.cuda_parts import (
    FIRST,
    LANES,
    THREADS,
    WARPS,
    N,
    add_threads,
    put_table,
    starts_of,
    thread_number,
    up_to_power,
)
from fastmotion.epipolar.kernels.matrices import (
    factor_cholesky,
    invert_lower,
    set_tangent_basis,
)
from fastmotion.epipolar.kernels.polish import (
    COUNTS,
    DISTANCE,
    LAST_STEP,
    LEVERAGE,
    LOG_UNIT,
    MOST_PASSES,
    MOST_STEPS,
    N_ROWS,
    OUTER_DISTANCE,
    WEIGHT,
    far_stride,
    gather,
    gather_far,
    is_settled,
    look,
    look_from_outside,
    mixture_of_moments,
    noise_of_right,
    set_moments,
    sum_logarithms,
    take_step,
    tell,
    weigh,
    weigh_by_distance,
    weigh_leverages,
)
from fastmotion.epipolar.kernels.scalar import N_FREE

__all__ = ["polish"]

# Columns of the tables: where weights, probabilities and scratch begin, and the most rounds; a
# guess of the noise, the width of the window, and the model.
_FIRST_COUNT, _FIRST_PROBABILITY, _SCRATCH, _N_ROUNDS = 2, 3, 4, 5
_NOISE, _WIDTH, _MODEL = 0, 1, 2
# What is found: the model and the noise.
_N_FOUND = 10

# The entries of a lower triangle, and of the normal matrix and the descent.
_N_TRIANGLE = N_FREE * (N_FREE + 1) // 2
_N_SYSTEM = _N_TRIANGLE + N_FREE

_ROWS = float64[:, ::1]


def polish(residency, requests):
    """Refine F and estimate the noise and how probably matches are right; 0 if that fails."""
    columns, first = residency.place([request[0] for request in requests])
    counts, first_count = residency.place([request[1] for request in requests])
    sizes = np.array([request[0].shape[1] for request in requests])
    starts = starts_of(sizes)
    # Columns of each thread for its own matches, and for those from outside the window.
    needed = THREADS * (-(-sizes // THREADS) - (-_n_far(sizes) // THREADS))
    where = np.column_stack([
        first, sizes, first_count, starts, starts_of(needed), [r[5] for r in requests]
    ])  # fmt: skip
    numbers = [(request[3], request[4], *request[2]) for request in requests]
    memory = residency.memory
    with memory.scope():
        found = memory.empty((up_to_power(len(requests)), _N_FOUND), np.float64)
        probability = memory.empty(up_to_power(sizes.sum()), np.float64)
        _polish[len(requests), (LANES, WARPS)](
            columns, counts, put_table(memory, where, np.int64),
            put_table(memory, numbers, np.float64),
            memory.empty((N_ROWS, up_to_power(needed.sum())), np.float64),
            memory.empty(up_to_power(needed.sum()), np.int64), probability, found,
        )  # fmt: skip
        results, told = memory.fetch(found), memory.fetch(probability)
    for request, result, start, size in zip(requests, results, starts, sizes):
        request[2][:], request[6][:] = result[:9], told[start : start + size]
    return [float(result[9]) for result in results[: len(requests)]]


def _n_far(sizes):
    """Return how many matches may be taken from outside the window."""
    return np.array([-(-n // far_stride.py_func(n)) for n in sizes])


@cuda_kernel(
    signatures=(void(_ROWS, _ROWS, int64[:, ::1], _ROWS, _ROWS, int64[::1], float64[::1], _ROWS),)
)
def _polish(columns, counts, where, numbers, scratch, places, probability, found):
    request = cuda.blockIdx.x
    thread = thread_number()
    first = where[request, FIRST]
    n = where[request, N]
    start = where[request, _SCRATCH]
    count = where[request, _FIRST_COUNT]
    told = where[request, _FIRST_PROBABILITY]
    matches = columns[:, first : first + n]
    weight = counts[0, count : count + n]
    stride = far_stride(n)
    n_far = (n + stride - 1) // stride
    stop = start + THREADS * ((n + THREADS - 1) // THREADS + (n_far + THREADS - 1) // THREADS)
    state = _new_state(numbers[request, _MODEL:])
    noise = _polish_pair(
        matches[:, thread::THREADS],
        weight[thread::THREADS],
        matches[:, ::stride][:, thread::THREADS],
        weight[::stride][thread::THREADS],
        numbers[request, _NOISE],
        numbers[request, _WIDTH],
        where[request, _N_ROUNDS],
        probability[told : told + n][thread::THREADS],
        scratch[:, start + thread : stop : THREADS],
        places[start + thread : stop : THREADS],
        state,
    )
    for c in range(thread, 9, THREADS):
        found[request, c] = state[0][c]
    if thread == 0:
        found[request, 9] = noise


@cuda_function
def _new_state(model):
    """Return what the threads of a block share: F and its tangent basis, and sums."""
    vectors = cuda.shared.array((6, 9), np.float64)
    basis = cuda.shared.array((N_FREE, 9), np.float64)
    matrices = cuda.shared.array((3, N_FREE, N_FREE), np.float64)
    partial = cuda.shared.array((WARPS, _N_SYSTEM), np.float64)
    sums = cuda.shared.array(_N_SYSTEM, np.float64)
    answer = cuda.shared.array(1, np.float64)
    for c in range(thread_number(), 9, THREADS):
        vectors[0, c] = model[c]
    cuda.syncthreads()
    return (
        vectors[0], basis, matrices[0], matrices[1], matrices[2],
        vectors[1:], partial, sums, answer,
    )  # fmt: skip


@cuda_function
def _polish_pair(
    matches, counts, far_matches, far_counts, noise, width, most_rounds, probability, rows, chosen,
    state,
):  # fmt: skip
    """Do what `polish` does; arrays of matches and scratch are those of a thread."""
    F, basis, normal, factor, inverse, vectors, partial, sums, answer = state
    own = cuda.local.array(_N_SYSTEM, np.float64)
    far = cuda.local.array(3, np.float64)
    n = 0
    for _ in range(most_rounds):
        window = width * noise
        n = gather(matches, counts, F, window, rows, chosen)
        own[0] = n
        add_threads(own, 1, partial, sums)
        if sums[0] <= N_FREE or not _set_basis(state):
            return 0.0
        n_far = gather_far(far_matches, far_counts, F, window, rows, n)
        look(F, basis, rows, 0, n + n_far)
        weigh_by_distance(rows, n, noise)
        if not _factor_normal(rows, n, state, own):
            return 0.0
        if thread_number() == 0:
            invert_lower(factor, inverse)
        cuda.syncthreads()
        weigh_leverages(inverse, rows, 0, n + n_far)
        sum_logarithms(rows, n, n + n_far, own)
        add_threads(own, 3, partial, sums)
        for k in range(3):
            far[k] = sums[k]
        look_from_outside(
            rows[WEIGHT], rows[DISTANCE], n, rows[LEVERAGE], rows[OUTER_DISTANCE], rows[LOG_UNIT]
        )
        noise = _estimate_mixture(rows, n, far, noise, window, own, partial, sums)
        if noise == 0.0:
            return 0.0
        first = _climb(rows, n, state, own, noise)
        if math.isnan(first):
            return 0.0
        if first < LAST_STEP * noise * noise:
            break
    own[0], own[1] = tell(rows, n, chosen, probability)
    add_threads(own, 2, partial, sums)
    return noise_of_right(sums[0], sums[1])


@cuda_function
def _set_basis(state):
    """Set the tangent basis of F; return if it has rank two."""
    F, basis, _, _, _, vectors, _, _, answer = state
    cuda.syncthreads()
    if thread_number() == 0:
        answer[0] = set_tangent_basis(F, vectors[0], vectors[1:3], basis)
    cuda.syncthreads()
    return answer[0] > 0.0


@cuda_function
def _factor_normal(rows, n, state, own):
    """Set the factor of the weighted normal matrix, and sums to its entries and the descent."""
    _, _, normal, factor, _, vectors, partial, sums, answer = state
    _set_system(rows, n, own)
    add_threads(own, _N_SYSTEM, partial, sums)
    if thread_number() == 0:
        k = 0
        for i in range(N_FREE):
            for j in range(i + 1):
                normal[i, j] = sums[k]
                k += 1
        answer[0] = factor_cholesky(normal, 0.0, factor)
    cuda.syncthreads()
    is_positive = answer[0] > 0.0
    cuda.syncthreads()  # the next answer may come at once
    return is_positive


@cuda_function
def _set_system(rows, n, own):
    """Set the entries of the normal matrix's lower triangle, and the descent, of some columns."""
    for k in range(_N_SYSTEM):
        own[k] = 0.0
    for c in range(n):
        k = 0
        for i in range(N_FREE):
            share = rows[WEIGHT, c] * rows[i, c]
            for j in range(i + 1):
                own[k] += share * rows[j, c]
                k += 1
            own[_N_TRIANGLE + i] -= share * rows[DISTANCE, c]


@cuda_function
def _estimate_mixture(rows, n, far, noise, window, own, partial, sums):
    """Set weights by expectation and maximisation; return the standard deviation of the noise."""
    weight, count = rows[WEIGHT], rows[COUNTS]
    distance, x, unit = rows[OUTER_DISTANCE], rows[LEVERAGE], rows[LOG_UNIT]
    last = 0.0
    for _ in range(MOST_PASSES):
        set_moments(weight, count, distance, x, n, own)
        add_threads(own, 7, partial, sums)
        if not sums[0] > N_FREE:
            return 0.0
        before = noise
        noise = noise_of_right(sums[0], sums[1])
        share = sums[4] / sums[0]
        if is_settled(noise, before, share, last):
            break
        last = share
        constant, half_precision, m1, h1, m0, h0 = mixture_of_moments(sums, far, noise, window)
        weigh(count, distance, x, unit, n, constant, half_precision, m1, h1, m0, h0, weight)
    return noise


@cuda_function
def _climb(rows, n, state, own, noise):
    """Make steps until they are short; return what the first should gain, NaN if one fails."""
    F, basis, _, factor, _, vectors, _, sums, answer = state
    first = 0.0
    for k in range(MOST_STEPS):
        if not _factor_normal(rows, n, state, own):
            return np.nan
        if thread_number() == 0:
            answer[0] = take_step(factor, sums[_N_TRIANGLE:], vectors[3], basis, F, vectors[0])
        cuda.syncthreads()
        gain = answer[0]
        if not _set_basis(state):
            return np.nan
        look(F, basis, rows, 0, n)
        if k == 0:
            first = gain
        if gain < LAST_STEP * noise * noise:
            break
    return first
