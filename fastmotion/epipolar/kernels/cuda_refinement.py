"""Nonlinear least squares of Sampson distances on a CUDA device: a block for each model."""

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
    thread_number,
    up_to_power,
)
from fastmotion.epipolar.kernels.matrices import factor_cholesky, make_rank_two, solve_cholesky
from fastmotion.epipolar.kernels.refinement import (
    COUNT,
    FIRST_DAMPING,
    GAIN,
    GRADIENT,
    MOST_DAMPING,
    N_ROWS,
    N_SUMS,
    OF_GRADIENT,
    OF_REST,
    PLAIN_GAIN,
    REST,
    TOTALS,
    V,
    is_last_step,
    match_products,
    next_damping,
    set_equations,
    take_step,
)
from fastmotion.epipolar.kernels.scalar import N_FREE

__all__ = ["refine_all"]

# Columns of the tables: where weights begin, and the most steps at the wide and at the narrow
# threshold; these as 1 / threshold², the tolerance and the model.
_FIRST_WEIGHT, _STEPS = 2, 3
_THRESHOLDS, _TOLERANCE, _MODEL = 0, 2, 3
# What is found: the model, its gains and how many inliers it has.
_N_FOUND = 12

_ROWS = float64[:, ::1]


def refine_all(residency, requests):
    """Refine models of shape (n_models, 9), at a wide threshold first, then at the narrow one."""
    fits = [(request, model) for request in requests for model in request[0]]
    if not fits:
        return [None] * len(requests)
    columns, first = residency.place([request[1] for request, _ in fits])
    weights, first_weight = residency.place([request[2] for request, _ in fits])
    sizes = [request[1].shape[1] for request, _ in fits]
    steps = [(request[4], request[6]) for request, _ in fits]
    where = np.column_stack([first, sizes, first_weight, steps])
    numbers = [(request[3], request[5], request[7], *model) for request, model in fits]
    memory = residency.memory
    with memory.scope():
        found = memory.empty((up_to_power(len(fits)), _N_FOUND), np.float64)
        _refine[len(fits), (LANES, WARPS)](
            columns, weights, put_table(memory, where, np.int64),
            put_table(memory, numbers, np.float64), found,
        )  # fmt: skip
        results = iter(memory.fetch(found))
    for models, *_, figures in requests:
        for k, result in zip(range(len(models)), results):
            models[k], figures[k] = result[:9], result[9:]
    return [None] * len(requests)


@cuda_kernel(signatures=(void(_ROWS, _ROWS, int64[:, ::1], _ROWS, _ROWS),))
def _refine(columns, weights, where, numbers, found):
    k = cuda.blockIdx.x
    first = where[k, FIRST]
    n = where[k, N]
    points = columns[:, first : first + n]
    weight = weights[0, where[k, _FIRST_WEIGHT] : where[k, _FIRST_WEIGHT] + n]
    models = cuda.shared.array((2, 9), np.float64)
    sums = cuda.shared.array((2, N_SUMS), np.float64)
    for c in range(thread_number(), 9, THREADS):
        models[0, c] = numbers[k, _MODEL + c]
    cuda.syncthreads()
    for stage in range(2):
        steps = where[k, _STEPS + stage]
        if stage == 1 or steps > 0:
            _climb(
                models, sums, points, weight, numbers[k, _THRESHOLDS + stage], steps,
                numbers[k, _TOLERANCE],
            )  # fmt: skip
    for c in range(thread_number(), 9, THREADS):
        found[k, c] = models[0, c]
    if thread_number() == 0:
        found[k, 9] = sums[0, GAIN]
        found[k, 10] = sums[0, PLAIN_GAIN]
        found[k, 11] = sums[0, COUNT]


@cuda_function
def _climb(models, sums, points, weight, inverse_threshold, max_steps, tolerance):
    """Refine the first of two models; the first sums become its own, the second ones are scratch.

    What is to be tried is the second model, and so is, to begin with, the one that is given.
    """
    partial = cuda.shared.array((WARPS, N_SUMS), np.float64)
    normal = cuda.shared.array((9, 9), np.float64)
    vectors = cuda.shared.array((7, 9), np.float64)
    basis = cuda.shared.array((N_FREE, 9), np.float64)
    equations = cuda.shared.array((2, N_FREE, N_FREE), np.float64)
    length = cuda.shared.array(1, np.float64)
    model, trial, thread = models[0], models[1], thread_number()
    if thread == 0:
        make_rank_two(model, vectors[6])
        for c in range(9):
            trial[c] = model[c]
    cuda.syncthreads()
    _evaluate(trial, points, weight, inverse_threshold, partial, sums[0])
    damping = FIRST_DAMPING
    is_new = True
    for _ in range(max_steps):
        if thread == 0:
            if is_new:
                set_equations(model, sums[0], normal, vectors[0:4], basis, equations[0], vectors[4])
            length[0] = np.nan
            if factor_cholesky(equations[0], damping, equations[1]):
                solve_cholesky(equations[1], vectors[4], vectors[5])
                length[0] = take_step(model, basis, vectors[5], trial, vectors[6])
        cuda.syncthreads()
        is_new = False
        is_last = False
        if length[0] == length[0]:
            _evaluate(trial, points, weight, inverse_threshold, partial, sums[1])
            gained = sums[1, GAIN] - sums[0, GAIN]
            is_new = gained > 0.0
            gain = sums[1, GAIN] if is_new else sums[0, GAIN]
            is_last = is_last_step(gained, gain, tolerance, length[0])
            cuda.syncthreads()
            if is_new:
                _accept(models, sums)
        damping = next_damping(damping, is_new)
        cuda.syncthreads()
        if is_last or damping > MOST_DAMPING:
            break


@cuda_function
def _accept(models, sums):
    """Make the second model, and the sums that belong to it, the first."""
    for c in range(thread_number(), 9, THREADS):
        models[0, c] = models[1, c]
    for c in range(thread_number(), N_SUMS, THREADS):
        sums[0, c] = sums[1, c]


@cuda_function
def _evaluate(f, points, weight, inverse_threshold, partial, sums):
    """Add up normal matrix, gradient, gains and inliers."""
    own = cuda.local.array(N_SUMS, np.float64)
    for k in range(N_SUMS):
        own[k] = 0.0
    for i in range(thread_number(), points.shape[1], THREADS):
        if weight[i] > 0.0:
            rows = match_products(
                f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8],
                points[0, i], points[1, i], points[2, i], points[3, i],
                weight[i], inverse_threshold,
            )  # fmt: skip
            _add_products(rows, own)
    add_threads(own, N_SUMS, partial, sums)


@cuda_function
def _add_products(given, sums):
    """Add the products of a match's rows to the sums."""
    rows = cuda.local.array(N_ROWS, np.float64)
    _store_rows(given, rows)
    for i in range(6):
        for j in range(6):
            sums[6 * i + j] += rows[i] * rows[V + j]
    for i in range(3):
        sums[OF_GRADIENT + 3 * i] += rows[GRADIENT + i] * rows[V + 2]
        sums[OF_GRADIENT + 3 * i + 1] += rows[GRADIENT + i] * rows[V + 4]
        sums[OF_GRADIENT + 3 * i + 2] += rows[GRADIENT + i]
        sums[GAIN + i] += rows[TOTALS + i]
    for i in range(2):
        for j in range(2):
            sums[OF_REST + 2 * i + j] += rows[REST + i] * rows[REST + 2 + j]


@cuda_function
def _store_rows(given, rows):
    for k in range(N_ROWS):
        rows[k] = given[k]
