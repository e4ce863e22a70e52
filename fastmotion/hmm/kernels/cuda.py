"""Recursions over the frames of hidden Markov models on a CUDA device, with the names of `cpu`.

A block of threads runs over one sequence, its threads over the states: all sequences are under way
at once, and a single one keeps one multiprocessor busy. Between two frames the threads meet once:
each adds up for itself what the states of a frame leave to its own state, and with it what all need
to know, such as the scale. Densities come in chunks of frames, which are read and exponentiated by
all threads while nothing waits for them. The matrix of transitions is read through the cache that
the blocks of a multiprocessor share.

Sums over sequences are taken in parts that depend on shapes only, and the parts added in order.

All arrays lie on the device; they are float64 and C-contiguous where nothing else is said.
"""

import math

import numpy as np
from numba import boolean, cuda, float32, float64, int64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size, launch_shape
from fastmotion.core.kernels.cuda import block_sum, convert
from fastmotion.core.memory import memory_at
from fastmotion.em.kernels.scalar import exp_of_negative
from fastmotion.hmm.kernels.scalar import (
    LEAST_SCALE,
    MOST_NEGLECTED,
    ONE,
    ZERO,
    add_scale,
    is_lost,
    later_of,
    neglect,
    occupation,
    path_probability,
    relative,
    unpredicted,
    weigh,
    without_negligible,
)
from fastmotion.hmm.kernels.states import (
    first_largest,
    largest_of,
    last_largest_sum,
    log_mix,
    log_sum_exp,
)

__all__ = [
    "backward",
    "backward_log",
    "fill_missing",
    "forward",
    "forward_log",
    "most_probable",
    "replace_rows",
    "store",
    "sum_starts",
    "temper",
    "total",
    "viterbi_backward",
    "viterbi_forward",
    "weigh_rows",
]

# Threads of a block that runs over a sequence: a multiple of the first, at most the second.
_WARP = block_size(32, 1)
_MAX_THREADS = block_size(256, 8)
# Frames of a chunk, and what shared memory it may take: several blocks share a multiprocessor.
_CHUNK = block_size(32, 3)
_CHUNK_BYTES = 2**14
# What every device has for a block.
_SHARED_BYTES = 48 * 2**10

# Threads of blocks that add up, and blocks: enough for the largest devices.
_THREADS = block_size(256, 8)
_MAX_SLOTS = block_size(512, 3)
_LOG_SLOTS = block_size(128, 3)
# Bytes that the parts of a sum may take together.
_MAX_SUM_BYTES = 24e6
# Frames that are worth a part of their own.
_FRAMES_OF_SLOT = block_size(256, 5)
# A thread adds up a square of so many products in its registers.
_SIDE = 4
_CELL = _SIDE * _SIDE
_N_PARTS = _THREADS * _CELL
# Threads that add up columns: so many columns, and parts of each.
_WIDTH, _HEIGHT = block_size(32, 4), block_size(16, 2)
_N_MERGED = _WIDTH * _HEIGHT

_VECTOR = float64[::1]
_MATRIX = float64[:, ::1]
_SLOTS = float64[:, :, ::1]
_PLACES = int64[::1]


def _threads_for(n_states):
    return min(-(-n_states // _WARP) * _WARP, _MAX_THREADS)


def _chunk_for(n_states, n_tiles):
    """Return the frames of a chunk, of which so many arrays with a number more lie in a block."""
    return max(1, min(_CHUNK, _CHUNK_BYTES // (8 * n_tiles * (n_states + 1))))


def _shared_bytes(n_numbers, n_states):
    """Return the shared memory that a block needs for so many numbers."""
    if 8 * n_numbers > _SHARED_BYTES:
        raise RuntimeError(
            f"n_components={n_states} is more than CUDA devices have room for: a block of threads "
            "keeps the states of a frame in its shared memory; lower it, or pass device='cpu'"
        )
    return 8 * n_numbers


@cuda_function
def _count_own(n_states):
    """Return how many states a thread has: every blockDim-th from its own number on."""
    # Once, as ranges with a step divide each time.
    return (n_states - cuda.threadIdx.x + cuda.blockDim.x - 1) // cuda.blockDim.x


@cuda_function
def _load(values, start, n, tile):
    """Copy numbers to shared memory, several of a thread at a time."""
    n_threads = cuda.blockDim.x
    e = cuda.threadIdx.x
    while e + 3 * n_threads < n:
        v0 = values[start + e]
        v1 = values[start + e + n_threads]
        v2 = values[start + e + 2 * n_threads]
        v3 = values[start + e + 3 * n_threads]
        tile[e] = v0
        tile[e + n_threads] = v1
        tile[e + 2 * n_threads] = v2
        tile[e + 3 * n_threads] = v3
        e += 4 * n_threads
    while e < n:
        tile[e] = values[start + e]
        e += n_threads


@cuda_function
def _find_offsets(tile, n_rows, n_states, offsets):
    """Set the largest number of each row, to be read when the threads have met."""
    for f in range(cuda.threadIdx.x, n_rows, cuda.blockDim.x):
        top = -np.inf
        # Threads begin in different columns, which lie in different banks.
        j = f % n_states
        for _ in range(n_states):
            value = tile[f * n_states + j]
            top = value if value > top else top
            j = j + 1 if j + 1 < n_states else 0
        offsets[f] = top


@cuda_function
def _exponentiate(tile, n_rows, n_states, offsets):
    """Replace log-densities by densities over the largest of each frame."""
    n_threads = cuda.blockDim.x
    e = cuda.threadIdx.x
    f = e // n_states
    j = e % n_states
    down = n_threads // n_states
    along = n_threads % n_states
    while f < n_rows:
        tile[e] = exp_of_negative(relative(tile[e], offsets[f]))
        e += n_threads
        f += down
        j += along
        if j >= n_states:
            j -= n_states
            f += 1


@cuda_function
def _load_densities(log_densities, first, n_rows, n_states, tile, offsets):
    """Set the densities of frames, over the largest of each, and the logarithm of that."""
    _load(log_densities, first * n_states, n_rows * n_states, tile)
    cuda.syncthreads()
    _find_offsets(tile, n_rows, n_states, offsets)
    cuda.syncthreads()
    _exponentiate(tile, n_rows, n_states, offsets)
    cuda.syncthreads()


@cuda_function
def _sum_and_mix(summed, mixed, matrix, j):
    """Return the sum of the first, and the product of the second with a column of the matrix."""
    n = len(mixed)
    whole = n - n % 4
    s0 = s1 = s2 = s3 = ZERO
    m0 = m1 = m2 = m3 = ZERO
    for i in range(0, whole, 4):
        s0 += summed[i]
        s1 += summed[i + 1]
        s2 += summed[i + 2]
        s3 += summed[i + 3]
        m0 += mixed[i] * matrix[i, j]
        m1 += mixed[i + 1] * matrix[i + 1, j]
        m2 += mixed[i + 2] * matrix[i + 2, j]
        m3 += mixed[i + 3] * matrix[i + 3, j]
    for i in range(whole, n):
        s0 += summed[i]
        m0 += mixed[i] * matrix[i, j]
    return (s0 + s1) + (s2 + s3), (m0 + m1) + (m2 + m3)


@cuda_function
def _is_sparse(transmat):
    """Return, to all threads, whether a transition is next to forbidden."""
    n_states = len(transmat)
    least = np.inf
    for i in range(n_states):
        for j in range(cuda.threadIdx.x, n_states, cuda.blockDim.x):
            least = min(least, transmat[i, j])
    return cuda.syncthreads_or(np.int32(least < LEAST_SCALE)) != 0


def forward(log_densities, stops, begin, transmat, alphas, scales, log_likelihoods, end):
    """Run forward over sequences that follow one another.

    Parameters are those of the kernel of the CPU, but that the log-densities stay what they are.
    """
    n_states = transmat.shape[0]
    chunk = _chunk_for(n_states, 1)
    n_bytes = _shared_bytes(chunk * (n_states + 1) + 5 * n_states, n_states)
    _forward[len(stops), _threads_for(n_states), 0, n_bytes](
        log_densities.reshape(log_densities.size),
        stops,
        begin,
        transmat,
        chunk,
        alphas,
        scales,
        log_likelihoods,
        end,
    )


@cuda_kernel(
    signatures=(
        void(_VECTOR, _PLACES, _VECTOR, _MATRIX, int64, _MATRIX, _VECTOR, _VECTOR, _VECTOR),
    )
)
def _forward(log_densities, stops, begin, transmat, chunk, alphas, scales, log_likelihoods, end):
    shared = cuda.shared.array(0, float64)
    n_states = len(transmat)
    offsets = shared[chunk * n_states : chunk * (n_states + 1)]
    place = chunk * (n_states + 1)
    # Of the present frame and the one after it; each state's prediction is its own thread's.
    weighed = shared[place : place + 2 * n_states]
    suspects = shared[place + 2 * n_states : place + 4 * n_states]
    predicted = shared[place + 4 * n_states : place + 5 * n_states]
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    n_own = _count_own(n_states)
    s = cuda.blockIdx.x
    first = stops[s - 1] if s > 0 else 0
    is_sparse = _is_sparse(transmat)
    neglected = begin[n_states]
    log_likelihood = ZERO
    product = ONE
    share = ONE
    row = 0
    for m in range(n_own):
        j = thread + m * n_threads
        predicted[j] = begin[j]
    for begin_chunk in range(first, stops[s], chunk):
        n_rows = min(chunk, stops[s] - begin_chunk)
        _load_densities(log_densities, begin_chunk, n_rows, n_states, shared, offsets)
        for f in range(n_rows):
            for m in range(n_own):
                j = thread + m * n_threads
                density = shared[f * n_states + j]
                weighed[row + j] = weigh(density, predicted[j], share)
                suspects[row + j] = unpredicted(density, predicted[j], share)
            cuda.syncthreads()
            values = weighed[row : row + n_states]
            # Threads without a state of their own know the scale, too.
            scale, mixed = _sum_and_mix(values, values, transmat, min(thread, n_states - 1))
            is_over = is_lost(scale)
            if is_sparse and not is_over:
                growth = largest_of(suspects[row : row + n_states]) / scale
                neglected = neglect(neglected, growth, n_states)
                is_over = neglected > MOST_NEGLECTED
            if is_over:
                if thread == 0:
                    log_likelihoods[s] = np.nan
                return
            log_likelihood, product = add_scale(log_likelihood + offsets[f], product, scale)
            share = ONE / scale
            t = begin_chunk + f
            for m in range(n_own):
                j = thread + m * n_threads
                if j > thread:
                    _, mixed = _sum_and_mix(values, values, transmat, j)
                alphas[t, j] = without_negligible(values[j] * share)
                predicted[j] = mixed
            if thread == 0:
                scales[t] = scale
            row = n_states - row
    if thread == 0:
        log_likelihoods[s] = log_likelihood + math.log(product)
    if s == len(stops) - 1:
        for m in range(n_own):
            j = thread + m * n_threads
            end[j] = predicted[j] * share
        if thread == 0:
            end[n_states] = neglected


def backward(
    log_densities, stops, log_likelihoods, alphas, scales, transmat_t, weights, has_next, after,
    transitions,
):  # fmt: skip
    """Run backward over sequences that `forward` ran over.

    Parameters are those of the kernel of the CPU. The recursion leaves factors of the probabilities
    before; the products with these are summed afterwards, for which no sequence has to wait.
    """
    n_states = transmat_t.shape[0]
    chunk = _chunk_for(n_states, 2)
    n_bytes = _shared_bytes(2 * chunk * (n_states + 1) + 5 * n_states, n_states)
    memory = memory_at(alphas)
    with memory.scope():
        factors = memory.empty(alphas.shape, np.float64)
        _backward[len(stops), _threads_for(n_states), 0, n_bytes](
            log_densities.reshape(log_densities.size), stops, log_likelihoods,
            alphas.reshape(alphas.size), scales, transmat_t, weights, has_next, chunk, after,
            factors,
        )  # fmt: skip
        n_frames = len(log_densities)
        _add_products(alphas[:n_frames], factors[:n_frames], transitions, memory)


@cuda_kernel(
    signatures=(
        void(
            _VECTOR, _PLACES, _VECTOR, _VECTOR, _VECTOR, _MATRIX, _VECTOR, boolean, int64, _VECTOR,
            _MATRIX,
        ),
    )
)  # fmt: skip
def _backward(
    log_densities, stops, log_likelihoods, alphas, scales, transmat_t, weights, has_next, chunk,
    after, factors,
):  # fmt: skip
    shared = cuda.shared.array(0, float64)
    n_states = len(transmat_t)
    size = chunk * n_states
    before = shared[size : 2 * size]  # forward probabilities
    offsets = shared[2 * size : 2 * size + chunk]
    steps = shared[2 * size + chunk : 2 * (size + chunk)]
    place = 2 * (size + chunk)
    masses = shared[place : place + 2 * n_states]
    afters = shared[place + 2 * n_states : place + 4 * n_states]
    betas = shared[place + 4 * n_states : place + 5 * n_states]
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    n_own = _count_own(n_states)
    s = cuda.blockIdx.x
    first = stops[s - 1] if s > 0 else 0
    stop = stops[s]
    weight = weights[s]
    if math.isnan(log_likelihoods[s]):
        for t in range(first, stop):
            for m in range(n_own):
                j = thread + m * n_threads
                alphas[t * n_states + j] = ZERO
                factors[t, j] = ZERO
        return
    for m in range(n_own):
        j = thread + m * n_threads
        betas[j] = ONE
        factors[stop - 1, j] = ZERO
        if has_next:
            _, betas[j] = _sum_and_mix(after, after, transmat_t, j)
            factors[stop - 1, j] = weight * after[j]
    row = 0
    n_chunks = (stop - first + chunk - 1) // chunk
    for c in range(n_chunks - 1, -1, -1):
        begin_chunk = first + c * chunk
        n_rows = min(chunk, stop - begin_chunk)
        # Nobody is to read any longer what the last chunk left.
        cuda.syncthreads()
        _load(alphas, begin_chunk * n_states, n_rows * n_states, before)
        _load(scales, begin_chunk, n_rows, steps)
        _load_densities(log_densities, begin_chunk, n_rows, n_states, shared, offsets)
        for f in range(n_rows - 1, -1, -1):
            for m in range(n_own):
                j = thread + m * n_threads
                alpha = before[f * n_states + j]
                masses[row + j] = alpha * betas[j]
                afters[row + j] = later_of(alpha, betas[j], shared[f * n_states + j])
            cuda.syncthreads()
            mass = masses[row : row + n_states]
            later = afters[row : row + n_states]
            sum_of_masses, mixed = _sum_and_mix(mass, later, transmat_t, min(thread, n_states - 1))
            share = ONE / sum_of_masses
            factor = share / steps[f]
            t = begin_chunk + f
            for m in range(n_own):
                j = thread + m * n_threads
                if j > thread:
                    _, mixed = _sum_and_mix(mass, later, transmat_t, j)
                log_densities[t * n_states + j] = occupation(
                    before[f * n_states + j], betas[j], share
                )
                if t > first:
                    factors[t - 1, j] = weight * (later[j] * factor)
                elif s == len(stops) - 1:
                    after[j] = later[j] * factor
                betas[j] = mixed * factor
            row = n_states - row


def _add_products(x, y, out, memory):
    """Add ``x.T @ y`` to `out`."""
    n_rows, n = x.shape
    slots = memory.empty((_slots_for(-(-n_rows // _FRAMES_OF_SLOT), n * n), n, n), np.float64)
    n_cells = (-(-n // _SIDE)) ** 2
    grid = slots.shape[0], -(-n_cells // _THREADS)
    _sum_products[grid, _THREADS](x, y, slots)
    _merge_slots(slots, out)


def _slots_for(most, size):
    """Return in how many parts so many numbers are summed."""
    return max(1, min(most, _MAX_SLOTS, int(_MAX_SUM_BYTES / (8 * size))))


@cuda_kernel(signatures=(void(_MATRIX, _MATRIX, _SLOTS),))
def _sum_products(x, y, slots):
    """Set each slot to the products of its share of the rows.

    A thread takes a square of the products; where these are few, threads share out the rows.
    """
    parts = cuda.shared.array(_N_PARTS, np.float64)
    sums = cuda.local.array(_CELL, np.float64)
    a = cuda.local.array(_SIDE, np.float64)
    b = cuda.local.array(_SIDE, np.float64)
    n_rows, n = x.shape
    n_side = (n + _SIDE - 1) // _SIDE
    n_cells = n_side * n_side
    n_shares = max(1, _THREADS // n_cells)
    n_here = min(n_cells, _THREADS)
    thread = cuda.threadIdx.x
    slot = cuda.blockIdx.x
    size = (n_rows + len(slots) - 1) // len(slots)
    stop = min(n_rows, (slot + 1) * size)
    cell = cuda.blockIdx.y * _THREADS + thread % n_here
    i0 = (cell // n_side) * _SIDE
    j0 = (cell % n_side) * _SIDE
    for m in range(_CELL):
        sums[m] = ZERO
    if cell < n_cells and thread < n_shares * n_here:
        for t in range(slot * size + thread // n_here, stop, n_shares):
            for m in range(_SIDE):
                a[m] = x[t, min(i0 + m, n - 1)]
                b[m] = y[t, min(j0 + m, n - 1)]
            for i in range(_SIDE):
                for j in range(_SIDE):
                    sums[i * _SIDE + j] += a[i] * b[j]
    for m in range(_CELL):
        parts[m * _THREADS + thread] = sums[m]
    cuda.syncthreads()
    for e in range(thread, n_here * _CELL, _THREADS):
        cell = cuda.blockIdx.y * _THREADS + e % n_here
        i = (cell // n_side) * _SIDE + (e // n_here) // _SIDE
        j = (cell % n_side) * _SIDE + (e // n_here) % _SIDE
        if i < n and j < n:
            total = ZERO
            for share in range(n_shares):
                total += parts[(e // n_here) * _THREADS + share * n_here + e % n_here]
            slots[slot, i, j] = total


def _merge_slots(slots, out):
    size = math.prod(out.shape)
    grid = -(-size // _WIDTH)
    _merge[grid, (_WIDTH, _HEIGHT)](slots.reshape(slots.shape[0], size), out.reshape(size))


@cuda_kernel(signatures=(void(_MATRIX, _VECTOR),))
def _merge(slots, out):
    """Add the sums of slots; threads along y take slots in turn, and are added in order."""
    parts = cuda.shared.array(_N_MERGED, np.float64)
    column, turn = cuda.threadIdx.x, cuda.threadIdx.y
    i = cuda.blockIdx.x * _WIDTH + column
    part = ZERO
    if i < out.size:
        for slot in range(turn, len(slots), _HEIGHT):
            part += slots[slot, i]
    parts[turn * _WIDTH + column] = part
    cuda.syncthreads()
    if turn == 0 and i < out.size:
        total = ZERO
        for k in range(_HEIGHT):
            total += parts[k * _WIDTH + column]
        out[i] += total


def viterbi_forward(log_densities, stops, begin, log_transmat, log_probabilities, end):
    """Find the log-probabilities of the best paths up to each state.

    Parameters are those of the kernel of the CPU, but for what replaces the log-densities: the last
    state before each state of the next frame; only in the last frame of a sequence the
    log-probabilities of the best paths.
    """
    n_states = log_transmat.shape[0]
    chunk = _chunk_for(n_states, 1)
    n_bytes = _shared_bytes(chunk * (n_states + 1) + 3 * n_states, n_states)
    _viterbi_forward[len(stops), _threads_for(n_states), 0, n_bytes](
        log_densities.reshape(log_densities.size), stops, begin, log_transmat, chunk,
        log_probabilities, end,
    )  # fmt: skip


@cuda_function
def _best_arrival(values, top, log_transmat, j):
    """Return the largest sum of a state's value and its transition, and the last such state."""
    best = -np.inf
    state = 0
    for i in range(len(values)):
        value = relative(values[i], top) + log_transmat[i, j]
        if value >= best:
            best = value
            state = i
    return best, state


@cuda_kernel(signatures=(void(_VECTOR, _PLACES, _VECTOR, _MATRIX, int64, _VECTOR, _VECTOR),))
def _viterbi_forward(log_densities, stops, begin, log_transmat, chunk, log_probabilities, end):
    shared = cuda.shared.array(0, float64)
    n_states = len(log_transmat)
    offsets = shared[chunk * n_states : chunk * (n_states + 1)]
    place = chunk * (n_states + 1)
    deltas = shared[place : place + 2 * n_states]
    predicted = shared[place + 2 * n_states : place + 3 * n_states]
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    n_own = _count_own(n_states)
    s = cuda.blockIdx.x
    first = stops[s - 1] if s > 0 else 0
    stop = stops[s]
    log_probability = ZERO
    row = 0
    for m in range(n_own):
        j = thread + m * n_threads
        predicted[j] = begin[j]
    for begin_chunk in range(first, stop, chunk):
        n_rows = min(chunk, stop - begin_chunk)
        _load(log_densities, begin_chunk * n_states, n_rows * n_states, shared)
        cuda.syncthreads()
        _find_offsets(shared, n_rows, n_states, offsets)
        cuda.syncthreads()
        for f in range(n_rows):
            t = begin_chunk + f
            for m in range(n_own):
                j = thread + m * n_threads
                log_density = relative(shared[f * n_states + j], offsets[f])
                deltas[row + j] = predicted[j] + log_density
            cuda.syncthreads()
            values = deltas[row : row + n_states]
            top = largest_of(values)
            log_probability += offsets[f] + top
            for m in range(n_own):
                j = thread + m * n_threads
                best, state = _best_arrival(values, top, log_transmat, j)
                predicted[j] = best
                is_last = t == stop - 1
                kept = relative(values[j], top) if is_last else np.float64(state)
                log_densities[t * n_states + j] = kept
            row = n_states - row
    if thread == 0:
        log_probabilities[s] = log_probability
    if s == len(stops) - 1:
        for m in range(n_own):
            j = thread + m * n_threads
            end[j] = predicted[j]


def viterbi_backward(deltas, stops, log_transmat_t, next_state, states):
    """Trace the best paths back through what `viterbi_forward` left.

    Parameters are those of the kernel of the CPU.
    """
    n_states = log_transmat_t.shape[0]
    chunk = _chunk_for(n_states, 1)
    n_bytes = _shared_bytes(chunk * (n_states + 1), n_states)
    _viterbi_backward[len(stops), _WARP, 0, n_bytes](
        deltas.reshape(deltas.size), stops, log_transmat_t, next_state, chunk, states
    )


@cuda_kernel(signatures=(void(_VECTOR, _PLACES, _MATRIX, int64, int64, _PLACES),))
def _viterbi_backward(deltas, stops, log_transmat_t, next_state, chunk, states):
    """Let all threads fetch the chunks that one thread goes through."""
    shared = cuda.shared.array(0, float64)
    n_states = len(log_transmat_t)
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    s = cuda.blockIdx.x
    first = stops[s - 1] if s > 0 else 0
    stop = stops[s]
    path = shared[chunk * n_states : chunk * (n_states + 1)]
    state = 0
    n_chunks = (stop - first + chunk - 1) // chunk
    for c in range(n_chunks - 1, -1, -1):
        begin_chunk = first + c * chunk
        n_rows = min(chunk, stop - begin_chunk)
        _load(deltas, begin_chunk * n_states, n_rows * n_states, shared)
        cuda.syncthreads()
        if thread == 0:
            for f in range(n_rows - 1, -1, -1):
                row = shared[f * n_states : (f + 1) * n_states]
                if begin_chunk + f < stop - 1:
                    state = int64(row[state])
                elif next_state < 0:
                    state = first_largest(row)
                else:
                    state = last_largest_sum(row, log_transmat_t[next_state])
                path[f] = state
        cuda.syncthreads()
        for f in range(thread, n_rows, n_threads):
            states[begin_chunk + f] = int64(path[f])


def forward_log(
    log_densities, stops, attempts, begin, log_transmat_t, log_alphas, log_likelihoods, end
):
    """Run forward over sequences in the log domain: slow, and no path is too improbable.

    Parameters are those of the kernel of the CPU.
    """
    n_states = log_transmat_t.shape[0]
    n_bytes = _shared_bytes(4 * n_states, n_states)
    _forward_log[len(stops), _threads_for(n_states), 0, n_bytes](
        log_densities, stops, attempts, begin, log_transmat_t, log_alphas, log_likelihoods, end
    )


@cuda_kernel(
    signatures=(void(_MATRIX, _PLACES, _VECTOR, _VECTOR, _MATRIX, _MATRIX, _VECTOR, _VECTOR),)
)
def _forward_log(
    log_densities, stops, attempts, begin, log_transmat_t, log_alphas, log_likelihoods, end
):
    shared = cuda.shared.array(0, float64)
    n_states = len(begin)
    frame = shared[:n_states]
    values = shared[n_states : 2 * n_states]
    alphas = shared[2 * n_states : 3 * n_states]
    predicted = shared[3 * n_states : 4 * n_states]
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    n_own = _count_own(n_states)
    s = cuda.blockIdx.x
    first = stops[s - 1] if s > 0 else 0
    if not math.isnan(attempts[s]):
        if thread == 0:
            log_likelihoods[s] = attempts[s]
        return
    log_likelihood = ZERO
    for m in range(n_own):
        j = thread + m * n_threads
        predicted[j] = begin[j]
    for t in range(first, stops[s]):
        for m in range(n_own):
            j = thread + m * n_threads
            frame[j] = log_densities[t, j]
        cuda.syncthreads()
        offset = largest_of(frame)
        for m in range(n_own):
            j = thread + m * n_threads
            log_density = relative(frame[j], offset)
            log_densities[t, j] = log_density
            values[j] = predicted[j] + log_density
        cuda.syncthreads()
        total = log_sum_exp(values)
        log_likelihood += offset + total
        if total == -np.inf:
            break
        for m in range(n_own):
            j = thread + m * n_threads
            alphas[j] = values[j] - total
            log_alphas[t, j] = alphas[j]
        cuda.syncthreads()
        for m in range(n_own):
            j = thread + m * n_threads
            predicted[j] = log_mix(alphas, log_transmat_t[j])
    if thread == 0:
        log_likelihoods[s] = log_likelihood
    if s == len(stops) - 1:
        for m in range(n_own):
            j = thread + m * n_threads
            end[j] = predicted[j]


def backward_log(
    log_densities, stops, attempts, log_likelihoods, log_alphas, log_transmat, weights, has_next,
    after, transitions,
):  # fmt: skip
    """Run backward over sequences that `forward_log` ran over.

    Parameters are those of the kernel of the CPU.
    """
    n_states = log_transmat.shape[0]
    n_bytes = _shared_bytes(3 * n_states, n_states)
    memory = memory_at(log_alphas)
    n_slots = min(_LOG_SLOTS, _slots_for(len(stops), n_states * n_states))
    with memory.scope():
        slots = memory.empty((n_slots, n_states, n_states), np.float64)
        _backward_log[n_slots, _threads_for(n_states), 0, n_bytes](
            log_densities, stops, attempts, log_likelihoods, log_alphas, log_transmat, weights,
            has_next, after, slots,
        )  # fmt: skip
        _merge_slots(slots, transitions)


@cuda_kernel(
    signatures=(
        void(
            _MATRIX, _PLACES, _VECTOR, _VECTOR, _MATRIX, _MATRIX, _VECTOR, boolean, _VECTOR, _SLOTS
        ),
    )
)
def _backward_log(
    log_densities, stops, attempts, log_likelihoods, log_alphas, log_transmat, weights, has_next,
    after, slots,
):  # fmt: skip
    """Run over the sequences of a slot, one after the other."""
    shared = cuda.shared.array(0, float64)
    n_states = len(log_transmat)
    alphas = shared[:n_states]
    betas = shared[n_states : 2 * n_states]
    afters = shared[2 * n_states : 3 * n_states]
    thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
    n_own = _count_own(n_states)
    slot = cuda.blockIdx.x
    for i in range(n_states):
        for m in range(n_own):
            j = thread + m * n_threads
            slots[slot, i, j] = ZERO
    for s in range(slot, len(stops), cuda.gridDim.x):
        if not math.isnan(attempts[s]):
            continue
        first = stops[s - 1] if s > 0 else 0
        stop = stops[s]
        if log_likelihoods[s] == -np.inf:
            for t in range(first, stop):
                for m in range(n_own):
                    j = thread + m * n_threads
                    log_densities[t, j] = np.nan
            continue
        weight = weights[s]
        for m in range(n_own):
            j = thread + m * n_threads
            afters[j] = after[j]
            betas[j] = ZERO
        for t in range(stop - 1, first - 1, -1):
            is_followed = has_next or t < stop - 1
            for m in range(n_own):
                j = thread + m * n_threads
                alphas[j] = log_alphas[t, j]
            cuda.syncthreads()
            if is_followed:
                for m in range(n_own):
                    j = thread + m * n_threads
                    betas[j] = log_mix(log_transmat[j], afters)
            cuda.syncthreads()
            total = log_mix(alphas, betas)
            if is_followed:
                for i in range(n_states):
                    for m in range(n_own):
                        j = thread + m * n_threads
                        share = path_probability(alphas[i], log_transmat[i, j], afters[j], total)
                        slots[slot, i, j] += weight * share
            for m in range(n_own):
                j = thread + m * n_threads
                afters[j] = log_densities[t, j] + betas[j]
                log_densities[t, j] = math.exp(alphas[j] + betas[j] - total)
            cuda.syncthreads()
            top = largest_of(afters)
            cuda.syncthreads()
            for m in range(n_own):
                j = thread + m * n_threads
                afters[j] = relative(afters[j], top)
        if s == len(stops) - 1:
            for m in range(n_own):
                j = thread + m * n_threads
                after[j] = afters[j]


def temper(log_densities, weights):
    """Multiply the log-densities of each frame by its weight; nothing to the power of 0 is 1."""
    _temper[_launch_rows(log_densities.shape)](log_densities, weights)


@cuda_kernel(signatures=(void(_MATRIX, _VECTOR),))
def _temper(log_densities, weights):
    t = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if t < len(log_densities):
        weight = weights[t]
        for j in range(cuda.threadIdx.x, log_densities.shape[1], cuda.blockDim.x):
            log_densities[t, j] = log_densities[t, j] * weight if weight > ZERO else ZERO


def weigh_rows(posteriors, weights):
    """Multiply the probabilities of each frame by its weight; what weighs nothing may be NaN."""
    _weigh_rows[_launch_rows(posteriors.shape)](posteriors, weights)


@cuda_kernel(signatures=(void(_MATRIX, _VECTOR),))
def _weigh_rows(posteriors, weights):
    t = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if t < len(posteriors):
        weight = weights[t]
        for j in range(cuda.threadIdx.x, posteriors.shape[1], cuda.blockDim.x):
            posteriors[t, j] = posteriors[t, j] * weight if weight > ZERO else ZERO


def _launch_rows(shape):
    """Return grid and block of threads along the rows of a matrix; rows may be many."""
    width = 1
    while width < min(shape[1], _WIDTH):
        width *= 2
    height = max(1, _THREADS // width)
    return -(-shape[0] // height), (width, height)


def sum_starts(posteriors, starts, out):
    """Add the rows at which sequences start to `out`."""
    n_states = posteriors.shape[1]
    memory = memory_at(posteriors)
    with memory.scope():
        n_slots = _slots_for(-(-len(starts) // _FRAMES_OF_SLOT), n_states)
        slots = memory.empty((n_slots, n_states), np.float64)
        grid = n_slots, -(-n_states // _WIDTH)
        _sum_rows[grid, (_WIDTH, _HEIGHT)](posteriors, starts, slots)
        _merge_slots(slots, out)


@cuda_kernel(signatures=(void(_MATRIX, _PLACES, _MATRIX),))
def _sum_rows(values, rows, slots):
    """Set each slot to the sum of its share of the rows, in the order of `_merge`."""
    parts = cuda.shared.array(_N_MERGED, np.float64)
    column, turn = cuda.threadIdx.x, cuda.threadIdx.y
    j = cuda.blockIdx.y * _WIDTH + column
    size = (len(rows) + len(slots) - 1) // len(slots)
    first = cuda.blockIdx.x * size
    part = ZERO
    if j < values.shape[1]:
        for i in range(first + turn, min(first + size, len(rows)), _HEIGHT):
            part += values[rows[i], j]
    parts[turn * _WIDTH + column] = part
    cuda.syncthreads()
    if turn == 0 and j < values.shape[1]:
        total = ZERO
        for k in range(_HEIGHT):
            total += parts[k * _WIDTH + column]
        slots[cuda.blockIdx.x, j] = total


def most_probable(posteriors, states, certainty):
    """Set the most probable state of each frame, and its probability; 0 where that is NaN."""
    _most_probable[launch_shape((len(posteriors),))](posteriors, states, certainty)


@cuda_kernel(signatures=(void(_MATRIX, _PLACES, _VECTOR),))
def _most_probable(posteriors, states, certainty):
    t = cuda.grid(1)
    if t < len(posteriors):
        state = first_largest(posteriors[t])
        states[t] = state
        value = posteriors[t, state]
        certainty[t] = ZERO if math.isnan(value) else value


def total(values):
    """Return the sum of numbers."""
    memory = memory_at(values)
    with memory.scope():
        n_parts = max(1, min(_MAX_SLOTS, -(-len(values) // (4 * _THREADS))))
        parts = memory.empty(n_parts, np.float64)
        _sum_values[n_parts, _THREADS](values, parts)
        return float(memory.fetch(parts).sum())


@cuda_kernel(signatures=(void(_VECTOR, _VECTOR),))
def _sum_values(values, parts):
    scratch = cuda.shared.array(_THREADS, np.float64)
    part = ZERO
    for i in range(cuda.grid(1), len(values), cuda.gridsize(1)):
        part += values[i]
    part = block_sum(part, scratch)
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = part


def store(posteriors, out):
    """Copy probabilities to an array of float32 or float64, on the device or the host."""
    memory = memory_at(posteriors)
    with memory.scope():
        values = posteriors
        if out.dtype != np.float64:
            values = memory.empty(posteriors.shape, out.dtype)
            convert(posteriors, values)
        if isinstance(out, np.ndarray):
            out[...] = memory.fetch(values)
        else:
            memory.copy(values, out)


def replace_rows(frames, weights, row):
    """Set the frames of weight 0 to one of the others."""
    _replace_rows[_launch_rows(frames.shape)](frames, weights, row)


@cuda_kernel(
    signatures=(
        void(float32[:, ::1], _VECTOR, int64),
        void(float64[:, ::1], _VECTOR, int64),
    )
)
def _replace_rows(frames, weights, row):
    t = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if t < len(frames) and weights[t] == ZERO:
        for j in range(cuda.threadIdx.x, frames.shape[1], cuda.blockDim.x):
            frames[t, j] = frames[row, j]


def fill_missing(frames, values, filled, known):
    """Copy frames with what is missing set to a value of its feature; tell what is known, by 1."""
    _fill_missing[_launch_rows(frames.shape)](frames, values, filled, known)


_FILL = [void(x[:, ::1], x[::1], x[:, ::1], x[:, ::1]) for x in (float32, float64)]


@cuda_kernel(signatures=tuple(_FILL))
def _fill_missing(frames, values, filled, known):
    t = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if t < len(frames):
        for j in range(cuda.threadIdx.x, frames.shape[1], cuda.blockDim.x):
            value = frames[t, j]
            is_known = value == value
            filled[t, j] = value if is_known else values[j]
            known[t, j] = is_known
