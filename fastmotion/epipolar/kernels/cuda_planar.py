"""The kernels of homographies on a CUDA device, with the names and arguments of `planar`.

Each function serves many requests; `cuda_parts` says how.
"""

import math

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
    MOST_BLOCKS,
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
    add_threads,
    keep_all,
    least_of_rank,
    number_of_rank,
    pack_pools,
    put_table,
    select,
    starts_of,
    thread_number,
    up_to_power,
)
from fastmotion.epipolar.kernels.planar_algebra import (
    COST,
    COUNT,
    EVERYTHING,
    FINE,
    FIRST_DAMPING,
    MAX_PASSES,
    MAX_ROUNDS,
    MIXTURE_TOLERANCE,
    N_SUMS,
    OF_GRADIENT,
    PLAIN_COST,
    ROUND_TOLERANCE,
    WEIGHT,
    WINDOW,
    draw_four,
    is_last_step,
    model_of_four,
    propose,
    reflect,
    set_axis,
    unfold_row,
)
from fastmotion.epipolar.kernels.planar_scalar import (
    LEAST_NOISE,
    differ_little,
    estimated_mixture,
    linearised_match,
    match_gain,
    planar_sampson,
    right_share,
    will_hardly_exceed,
)
from fastmotion.epipolar.kernels.scalar import LARGEST

# Matches of each lane between two decisions whether to go on with a model.
_BETWEEN = 4

_ZERO = np.float32(0)
_NO_MODEL = np.float32(-1)

_SINGLES = float32[:, ::1]
_DOUBLES = float64[:, ::1]
_INTEGERS = int64[:, ::1]


def search(residency, requests):
    """Try homographies of random samples of four matches and keep the best."""
    points, first_scored = residency.place([request[1] for request in requests])
    scored = np.column_stack([first_scored, [request[1].shape[1] for request in requests]])
    limits = [(1 / (request[5] * request[5]), request[7][-1]) for request in requests]
    n_kept = max(len(request[7]) for request in requests)
    samples = [(request[0], request[2], *request[3:5]) for request in requests]
    memory = residency.memory
    with memory.scope():
        table, most, models, singles = _draw_all(residency, samples, scored)
        bounds = put_table(memory, limits, np.float32)
        gains = memory.empty(singles.shape[1], np.float32)
        found = memory.empty((up_to_power(len(requests)), 1 + 10 * n_kept), np.float64)
        _score[(-(-most // WARPS), len(requests)), (LANES, WARPS)](
            points, table, bounds, singles, gains
        )
        select(table, bounds, gains, models, n_kept, len(requests), found)
        results = memory.fetch(found)
    for request, result in zip(requests, results):
        keep_all(result[1:].reshape(n_kept, 10), *request[6:8])
    return [int(result[0]) for result in results[: len(requests)]]


def sample_models(residency, requests):
    """Set models to those of trials, as far as their samples have one; return how many."""
    samples = [
        (matches, np.full(len(models), matches.shape[1]), seed, first)
        for matches, seed, first, models in requests
    ]
    memory = residency.memory
    with memory.scope():
        _, _, drawn, singles = _draw_all(residency, samples, np.zeros((len(requests), 2)))
        has_model = ~np.isnan(memory.fetch(singles)[0])
        found = memory.fetch(drawn).T
    counts = []
    start = 0
    for *_, models in requests:
        part = slice(start, start + len(models))
        valid = found[part][has_model[part]]
        models[: len(valid)] = valid
        counts.append(len(valid))
        start += len(models)
    return counts


def _draw_all(residency, samples, scored):
    """Draw samples of matches, and return the table, the most trials of a request, and models.

    Parameters
    ----------
    residency : Residency
    samples : list of tuple
        Matches, pools, seed and first trial.
    scored : array_like of shape (n_requests, 2)
        Two columns of the table.
    """
    rows, first = residency.place([sample[0] for sample in samples])
    sizes = np.array([len(sample[1]) for sample in samples])
    pools, places = pack_pools([sample[1] for sample in samples])
    where = np.column_stack([
        first, [sample[0].shape[1] for sample in samples], scored, sizes, starts_of(sizes),
        [sample[1][0] for sample in samples], places,
    ])  # fmt: skip
    keys = [sample[2:4] for sample in samples]
    memory = residency.memory
    table = put_table(memory, where, np.int64)
    total, most = up_to_power(sizes.sum()), int(sizes.max())
    models = memory.empty((9, total), np.float64)
    singles = memory.empty((9, total), np.float32)
    _draw[(-(-most // TRIALS), len(samples)), TRIALS](
        rows, table, put_table(memory, keys, np.uint64), memory.put(pools), models, singles
    )
    return table, most, models, singles


@cuda_kernel(
    signatures=(void(_DOUBLES, _INTEGERS, uint64[:, ::1], int64[::1], _DOUBLES, _SINGLES),)
)
def _draw(rows, where, keys, pools, models, singles):
    """Set the columns of models to those of trials; where there is none, a single is NaN."""
    request = cuda.blockIdx.y
    t = cuda.grid(1)
    if t >= where[request, N_PLACES]:
        return
    first = where[request, FIRST]
    n = where[request, N]
    pool = where[request, POOL]
    if where[request, POOLS] >= 0:
        pool = pools[where[request, POOLS] + t]
    sample = cuda.local.array(4, np.int64)
    trial = keys[request, TRIAL] + np.uint64(t)
    draw_four(keys[request, SEED], trial, pool, pool < n, sample)
    place = where[request, START] + t
    if model_of_four(rows[:, first : first + n], sample, models[:, place]):
        for k in range(9):
            singles[k, place] = models[k, place]
    else:
        singles[0, place] = np.nan


@cuda_kernel(signatures=(void(_SINGLES, _INTEGERS, _SINGLES, _SINGLES, float32[::1]),))
def _score(points, where, bounds, models, gains):
    """Set the gains of models; 0 where they cannot, or will hardly, exceed the floor."""
    request = cuda.blockIdx.y
    t = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if t >= where[request, N_PLACES]:
        return
    place = where[request, START] + t
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
def _gain(h, points, n, inverse_limit, floor):
    """Return the summed gain of a model, to all lanes of a warp."""
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
    share = floor / np.float32(n)
    gain = _ZERO
    for start in range(0, n, _BETWEEN * LANES):
        stop = min(start + _BETWEEN * LANES, n)
        part = _ZERO
        for i in range(start + cuda.threadIdx.x, stop, LANES):
            part += match_gain(
                h0, h1, h2, h3, h4, h5, h6, h7, h8,
                points[0, i], points[1, i], points[2, i], points[3, i], inverse_limit,
            )  # fmt: skip
        gain += warp_sum(part)
        if will_hardly_exceed(gain, np.float32(stop), np.float32(n - stop), share, floor):
            return _ZERO
    return gain


# Columns of the tables of fits: the matches, where their weights and scratch begin, the most steps,
# and the most rounds in which right matches are told, 0 if all count as they do; squared threshold,
# tolerance and a guess of the noise, and the model.
_FIRST_WEIGHT, _SCRATCH, _MAX_STEPS, _N_ROUNDS = 2, 3, 4, 5
_LIMIT, _TOLERANCE, _NOISE, _MODEL = 0, 1, 2, 3

# Columns of what is found: the model, four sums, the noise, and the normal matrix.
_OF_SUMS, _OF_NOISE, _OF_NORMAL, _N_FOUND = 9, 13, 14, 95

# A squared threshold beyond all distances of matches that may be right.
_ALL = EVERYTHING * EVERYTHING


def refine_all(residency, requests):
    """Move homographies to minima of their costs."""
    fits = [
        (*request[:2], (request[3], 0), (request[2] * request[2], request[4], 0.0, *model))
        for request in requests
        for model in request[5]
    ]
    found = iter(_fit_all(residency, fits))
    for *_, models, normals, results in requests:
        for k, result in zip(range(len(models)), found):
            models[k], normals[k] = result[:_OF_SUMS], result[_OF_NORMAL:].reshape(9, 9)
            results[k] = result[_OF_SUMS:_OF_NOISE]
    return [None] * len(requests)


def polish(residency, requests):
    """Fit homographies to what is right among all matches."""
    fits = [
        (*request[:2], (request[3], MAX_ROUNDS), (_ALL, FINE, request[2], *request[4]))
        for request in requests
    ]
    found = _fit_all(residency, fits)
    for request, result in zip(requests, found):
        request[4][:] = result[:_OF_SUMS]
        request[5][:] = result[_OF_NORMAL:].reshape(9, 9)
    return [float(result[_OF_NOISE]) for result in found]


def _fit_all(residency, fits):
    """Return what is found of models.

    Parameters
    ----------
    residency : Residency
    fits : list of tuple
        Points and weights, the last two columns of one table, and the row of the other.
    """
    if not fits:
        return []
    rows, first = residency.place([fit[0] for fit in fits])
    weights, first_weight = residency.place([fit[1] for fit in fits])
    sizes = np.array([fit[0].shape[1] for fit in fits])
    counts = np.array([fit[2] for fit in fits])
    # Where all count as they do, there is no scratch.
    needed = np.where(counts[:, 1] > 0, sizes, 0)
    where = np.column_stack([first, sizes, first_weight, starts_of(needed), counts])
    memory = residency.memory
    with memory.scope():
        found = memory.empty((up_to_power(len(fits)), _N_FOUND), np.float64)
        _fit[(1, len(fits)), (LANES, WARPS)](
            rows, weights, put_table(memory, where, np.int64),
            put_table(memory, [fit[3] for fit in fits], np.float64),
            memory.empty((2, up_to_power(needed.sum())), np.float64), found,
        )  # fmt: skip
        return memory.fetch(found)[: len(fits)]


@cuda_kernel(signatures=(void(_DOUBLES, _DOUBLES, _INTEGERS, _DOUBLES, _DOUBLES, _DOUBLES),))
def _fit(rows, weights, where, numbers, scratch, found):
    request = cuda.blockIdx.y
    first = where[request, FIRST]
    n = where[request, N]
    points = rows[:, first : first + n]
    weight = weights[0, where[request, _FIRST_WEIGHT] : where[request, _FIRST_WEIGHT] + n]
    start = where[request, _SCRATCH]
    squares = scratch[0, start : start + n]
    right = scratch[1, start : start + n]
    tells = where[request, _N_ROUNDS] > 0
    noise = numbers[request, _NOISE]
    state = _new_state(numbers[request, _MODEL:])
    for _ in range(max(where[request, _N_ROUNDS], 1)):
        before = noise
        if tells:
            noise = _tell_right(points, weight, noise, squares, right, state)
            if noise < 0:
                break
        _climb(
            points, right if tells else weight, numbers[request, _LIMIT],
            where[request, _MAX_STEPS], numbers[request, _TOLERANCE], state,
        )  # fmt: skip
        if differ_little(before, noise, ROUND_TOLERANCE):
            break
    _store(state, noise, found[request])


@cuda_function
def _new_state(model):
    """Return what the threads of a block share, with the model that is refined."""
    partial = cuda.shared.array((WARPS, N_SUMS), np.float64)
    sums = cuda.shared.array((2, N_SUMS), np.float64)
    models = cuda.shared.array((2, 9), np.float64)
    normal = cuda.shared.array((9, 9), np.float64)
    lower = cuda.shared.array((9, 9), np.float64)
    vectors = cuda.shared.array((4, 9), np.float64)
    for k in range(thread_number(), 9, THREADS):
        models[0, k] = model[k]
    cuda.syncthreads()
    return (
        partial, sums[0], sums[1], models[0], models[1], normal, lower,
        vectors[0], vectors[1], vectors[2], vectors[3],
    )  # fmt: skip


@cuda_function
def _climb(points, weight, limit, max_steps, tolerance, state):
    """Move the model to a minimum of its cost, and leave the sums of the last.

    It starts as a trial itself, so that there is one place where sums are made: they are most of
    the code.
    """
    partial, sums, trial_sums, model, trial, normal, lower, axis, gradient, step, gains = state
    for k in range(thread_number(), 9, THREADS):
        trial[k] = model[k]
    if thread_number() == 0:
        sums[COST] = np.inf
    cuda.syncthreads()
    damping = FIRST_DAMPING
    gain = np.nan
    n_left = max_steps
    while True:
        _sum_all(trial, points, weight, limit, partial, trial_sums)
        is_last = is_last_step(gain, sums[COUNT], sums[COST], tolerance)
        is_better = trial_sums[COST] <= sums[COST]
        if n_left < max_steps:
            damping *= 0.1 if is_better else 10.0
        cuda.syncthreads()
        if is_better:
            for k in range(thread_number(), N_SUMS, THREADS):
                sums[k] = trial_sums[k]
            for k in range(thread_number(), 9, THREADS):
                model[k] = trial[k]
            cuda.syncthreads()
            _unfold_on_tangent(model, sums, axis, normal, gradient)
        gain = np.nan
        while gain != gain and n_left > 0 and not is_last:
            if thread_number() == 0:
                gains[0] = propose(model, axis, normal, gradient, damping, lower, step, trial)
            cuda.syncthreads()
            gain = gains[0]
            n_left -= 1
            if gain != gain:
                damping *= 10.0
            cuda.syncthreads()
        if gain != gain:
            break


@cuda_function
def _store(state, noise, out):
    """Set what is found."""
    _, sums, _, model, _, normal, _, _, _, _, _ = state
    for k in range(thread_number(), 9, THREADS):
        out[k] = model[k]
        unfold_row(sums, k, out[_OF_NORMAL + 9 * k : _OF_NORMAL + 9 * k + 9])
    if thread_number() == 0:
        out[_OF_SUMS] = sums[COST]
        out[_OF_SUMS + 1] = sums[PLAIN_COST]
        out[_OF_SUMS + 2] = sums[COUNT]
        out[_OF_SUMS + 3] = sums[WEIGHT]
        out[_OF_NOISE] = noise


@cuda_function
def _unfold_on_tangent(model, sums, axis, normal, gradient):
    """Set the normal matrix and the gradient in a frame whose first axis is the model."""
    for k in range(thread_number(), 9, THREADS):
        gradient[k] = sums[OF_GRADIENT + k]
        unfold_row(sums, k, normal[k])
    if thread_number() == 0:
        set_axis(model, axis)
    cuda.syncthreads()
    for k in range(thread_number(), 9, THREADS):
        reflect(normal[k], axis)
    cuda.syncthreads()
    for k in range(thread_number(), 9, THREADS):
        reflect(normal[:, k], axis)
    if thread_number() == THREADS - 1:
        reflect(gradient, axis)
    cuda.syncthreads()


@cuda_function
def _sum_all(h, points, weight, limit, partial, sums):
    """Set sums to those over all matches for a model."""
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
    own = cuda.local.array(N_SUMS, np.float64)
    for k in range(N_SUMS):
        own[k] = 0.0
    for i in range(thread_number(), points.shape[1], THREADS):
        x, y, p00, p01, p02, p11, p12, p22, g0, g1, g2, cost, count, total = linearised_match(
            h0, h1, h2, h3, h4, h5, h6, h7, h8,
            points[0, i], points[1, i], points[2, i], points[3, i], weight[i], limit,
        )  # fmt: skip
        _add_six(own, 0, p00, x, y)
        _add_six(own, 6, p01, x, y)
        _add_six(own, 12, p02, x, y)
        _add_six(own, 18, p11, x, y)
        _add_six(own, 24, p12, x, y)
        _add_six(own, 30, p22, x, y)
        _add_three(own, OF_GRADIENT, g0, x, y)
        _add_three(own, OF_GRADIENT + 3, g1, x, y)
        _add_three(own, OF_GRADIENT + 6, g2, x, y)
        own[COST] += weight[i] * cost
        own[PLAIN_COST] += cost
        own[COUNT] += count
        own[WEIGHT] += total
    own[COST] *= limit
    own[PLAIN_COST] *= limit
    add_threads(own, N_SUMS, partial, sums)


@cuda_function
def _add_six(sums, first, weight, x, y):
    wx, wy = weight * x, weight * y
    sums[first] += wx * x
    sums[first + 1] += wx * y
    sums[first + 2] += wx
    sums[first + 3] += wy * y
    sums[first + 4] += wy
    sums[first + 5] += weight


@cuda_function
def _add_three(sums, first, weight, x, y):
    sums[first] += weight * x
    sums[first + 1] += weight * y
    sums[first + 2] += weight


@cuda_function
def _tell_right(points, weight, noise, squares, right, state):
    """Set weights to those of right matches; return the noise, negative if too few seem right."""
    partial, _, sums, h, _, _, _, _, _, _, _ = state
    h0, h1, h2, h3, h4, h5, h6, h7, h8 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]
    for i in range(thread_number(), len(squares), THREADS):
        squares[i] = planar_sampson(
            h0, h1, h2, h3, h4, h5, h6, h7, h8,
            points[0, i], points[1, i], points[2, i], points[3, i],
        )  # fmt: skip
    noise = max(noise, LEAST_NOISE)
    disc = (WINDOW * noise) * (WINDOW * noise)
    variance = noise * noise
    half_precision, factor, below = 0.5 / variance, 1.0, 0.0
    found = -1.0
    for _ in range(MAX_PASSES):
        before = variance
        _mixture_sums(squares, weight, disc, half_precision, factor, below, partial, sums)
        found, variance, half_precision, factor = estimated_mixture(sums[0], sums[1], sums[2], disc)
        below = factor
        cuda.syncthreads()
        if found < 0:
            return found
        if differ_little(variance, before, MIXTURE_TOLERANCE):
            break
    for i in range(thread_number(), len(squares), THREADS):
        right[i] = 0.0
        if squares[i] < disc:
            right[i] = weight[i] * right_share(squares[i], half_precision, factor, below)
    return math.sqrt(found)


@cuda_function
def _mixture_sums(squares, weight, disc, half_precision, factor, below, partial, sums):
    """Set how many matches are right, the sum of their squared distances, and that of all."""
    own = cuda.local.array(3, np.float64)
    own[0], own[1], own[2] = 0.0, 0.0, 0.0
    for i in range(thread_number(), len(squares), THREADS):
        if squares[i] < disc:
            right = weight[i] * right_share(squares[i], half_precision, factor, below)
            own[0] += right
            own[1] += right * squares[i]
            own[2] += weight[i]
    add_threads(own, 3, partial, sums)


def sampson_distances(residency, requests):
    """Set distances to the Sampson distances of matches, in the unit of the coordinates."""
    rows, first = residency.place([request[0] for request in requests])
    sizes = np.array([request[0].shape[1] for request in requests])
    starts = starts_of(sizes)
    memory = residency.memory
    with memory.scope():
        distances = memory.empty(up_to_power(sizes.sum()), np.float64)
        blocks = min(-(-int(sizes.max()) // THREADS), MOST_BLOCKS)
        _measure[(blocks, len(requests)), THREADS](
            rows, put_table(memory, np.column_stack([first, sizes, starts]), np.int64),
            put_table(memory, [request[1] for request in requests], np.float64), distances,
        )  # fmt: skip
        found = memory.fetch(distances)
    for request, start, size in zip(requests, starts, sizes):
        request[2][:] = found[start : start + size]
    return [None] * len(requests)


@cuda_kernel(signatures=(void(_DOUBLES, _INTEGERS, _DOUBLES, float64[::1]),))
def _measure(rows, where, models, distances):
    request = cuda.blockIdx.y
    first = where[request, FIRST]
    start = where[request, 2]
    for i in range(cuda.grid(1), where[request, N], cuda.gridsize(1)):
        square = _square(
            models[request], rows[0, first + i], rows[1, first + i],
            rows[2, first + i], rows[3, first + i],
        )  # fmt: skip
        distances[start + i] = math.sqrt(square)


@cuda_function
def _square(h, x1, y1, x2, y2):
    """Return a squared distance, infinite where it is undefined."""
    square = planar_sampson(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], x1, y1, x2, y2)
    return square if square >= 0 else np.inf


def set_distances(residency, requests):
    """Set distances on the device to those of matches that lie there, one request after the other.

    Each has a model on the host, matches of shape (n, 4) and distances of shape (n,). These are NaN
    where a coordinate is, or is out of range.
    """
    memory = residency.memory
    for model, matches, distances in requests:
        if not len(matches):
            continue
        with memory.scope():
            _measure_rows[min(-(-len(matches) // THREADS), MOST_BLOCKS), THREADS](
                matches, memory.put(model), distances
            )
    return [None] * len(requests)


@cuda_kernel(signatures=(void(_DOUBLES, float64[::1], float64[::1]),))
def _measure_rows(matches, model, distances):
    for i in range(cuda.grid(1), len(distances), cuda.gridsize(1)):
        x1, y1, x2, y2 = matches[i, 0], matches[i, 1], matches[i, 2], matches[i, 3]
        distance = np.nan
        if abs(x1) <= LARGEST and abs(y1) <= LARGEST and abs(x2) <= LARGEST and abs(y2) <= LARGEST:
            distance = math.sqrt(_square(model, x1, y1, x2, y2))
        distances[i] = distance


def least_median(residency, requests):
    """Return the least of the models' squared distances of a rank, and which model has it."""
    return least_of_rank(residency, requests, _find_of_rank)


@cuda_kernel(signatures=(void(_DOUBLES, _INTEGERS, _DOUBLES, float64[::1], float64[::1]),))
def _find_of_rank(rows, where, models, scratch, of_rank):
    """Set the squared distance of a rank of each model, a block for each."""
    counts = cuda.shared.array(THREADS, np.int64)
    model = cuda.blockIdx.x
    first = where[model, FIRST]
    start = where[model, OF_SCRATCH]
    squares = scratch[start : start + where[model, N]]
    for i in range(cuda.threadIdx.x, len(squares), THREADS):
        squares[i] = _square(
            models[model], rows[0, first + i], rows[1, first + i],
            rows[2, first + i], rows[3, first + i],
        )  # fmt: skip
    found = number_of_rank(squares, where[model, RANK], counts)
    if cuda.threadIdx.x == 0:
        of_rank[model] = found


def map_points(residency, requests):
    """Set points on the device, of shape (n, 2), to where models take others that lie there."""
    memory = residency.memory
    for model, points, mapped in requests:
        if len(points):
            with memory.scope():
                _map[min(-(-len(points) // THREADS), MOST_BLOCKS), THREADS](
                    points, memory.put(model), mapped
                )
    return [None] * len(requests)


@cuda_kernel(signatures=(void(_DOUBLES, float64[::1], _DOUBLES),))
def _map(points, h, mapped):
    for i in range(cuda.grid(1), len(points), cuda.gridsize(1)):
        x, y = points[i, 0], points[i, 1]
        w = h[6] * x + h[7] * y + h[8]
        mapped[i, 0] = (h[0] * x + h[1] * y + h[2]) / w
        mapped[i, 1] = (h[3] * x + h[4] * y + h[5]) / w
