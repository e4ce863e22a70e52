"""Recursions over the frames of hidden Markov models, on the CPU.

Densities of a frame are divided by the largest of them, probabilities of states by their sum, so
that neither far outliers nor long sequences underflow. Inner loops run over states that lie side by
side in memory; sums over states of departure are taken four at a time.

Every kernel works on frames that follow one another: whole sequences, or a segment of one whose
neighbours are joined to it by what the kernels take and give back at its ends.
"""

from __future__ import annotations

import math

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel
from fastmotion.em.kernels.scalar import exp_of_negative
from fastmotion.hmm.kernels.scalar import (
    LEAST_SCALE,
    MOST_NEGLECTED,
    add_scale,
    is_lost,
    later_of,
    neglect,
    occupation,
    path_probability,
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


@cpu_function(fastmath="reassociate")
def _sum(values):
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return total


@cpu_function(fastmath="reassociate")
def _dot(x, y):
    total = 0.0
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@cpu_function
def _add_eight_rows(factors, rows, out):
    f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
    f4, f5, f6, f7 = factors[4], factors[5], factors[6], factors[7]
    for j in range(len(out)):
        low = (f0 * rows[0, j] + f1 * rows[1, j]) + (f2 * rows[2, j] + f3 * rows[3, j])
        high = (f4 * rows[4, j] + f5 * rows[5, j]) + (f6 * rows[6, j] + f7 * rows[7, j])
        out[j] += low + high


@cpu_function
def _add_four_rows(factors, rows, out):
    f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
    for j in range(len(out)):
        out[j] += (f0 * rows[0, j] + f1 * rows[1, j]) + (f2 * rows[2, j] + f3 * rows[3, j])


@cpu_function
def _mix_rows(factors, rows, out):
    """Set `out` to the sum of rows, each times its factor."""
    n, width = rows.shape
    for j in range(width):
        out[j] = 0.0
    i = 0
    while i + 8 <= n:
        _add_eight_rows(factors[i : i + 8], rows[i : i + 8], out)
        i += 8
    if i + 4 <= n:
        _add_four_rows(factors[i : i + 4], rows[i : i + 4], out)
        i += 4
    for k in range(i, n):
        factor, row = factors[k], rows[k]
        for j in range(width):
            out[j] += factor * row[j]


@cpu_function
def _add_four_to_two(row0, row1, f, g, rows):
    f0, f1, f2, f3 = f
    g0, g1, g2, g3 = g
    for j in range(len(row0)):
        r0, r1, r2, r3 = rows[0, j], rows[1, j], rows[2, j], rows[3, j]
        row0[j] += (f0 * r0 + f1 * r1) + (f2 * r2 + f3 * r3)
        row1[j] += (g0 * r0 + g1 * r1) + (g2 * r2 + g3 * r3)


@cpu_function
def _add_four_products(before, after, factors, weight, out):
    """Add ``weight * before.T @ (factors * after)`` to `out`; four rows, and four factors."""
    w0, w1 = weight * factors[0], weight * factors[1]
    w2, w3 = weight * factors[2], weight * factors[3]
    n = before.shape[1]
    for i in range(0, n - 1, 2):
        f = w0 * before[0, i], w1 * before[1, i], w2 * before[2, i], w3 * before[3, i]
        k = i + 1
        g = w0 * before[0, k], w1 * before[1, k], w2 * before[2, k], w3 * before[3, k]
        _add_four_to_two(out[i], out[k], f, g, after)
    if n % 2:
        f = (
            w0 * before[0, n - 1],
            w1 * before[1, n - 1],
            w2 * before[2, n - 1],
            w3 * before[3, n - 1],
        )
        _add_four_rows(f, after, out[n - 1])


@cpu_function
def _add_product(before, after, weight, out):
    """Add ``weight * outer(before, after)`` to `out`."""
    for i in range(len(before)):
        factor = weight * before[i]
        row = out[i]
        for j in range(len(after)):
            row[j] += factor * after[j]


@cpu_function
def _exponentiate(log_densities, offsets):
    """Replace log-densities by densities over the largest of each frame, whose log is kept."""
    for t in range(len(log_densities)):
        row = log_densities[t]
        offset = largest_of(row)
        offsets[t] = offset
        for j in range(len(row)):
            row[j] -= offset
    flat = log_densities.reshape(log_densities.size)
    for i in range(len(flat)):
        flat[i] = exp_of_negative(flat[i])


@cpu_function
def _weigh(densities, predicted, share, out):
    for j in range(len(out)):
        out[j] = weigh(densities[j], predicted[j], share)


@cpu_function
def _scale(values, factor):
    for j in range(len(values)):
        values[j] = without_negligible(values[j] * factor)


@cpu_function
def _largest_where_unpredicted(densities, predicted, share):
    largest = 0.0
    for j in range(len(densities)):
        density = unpredicted(densities[j], predicted[j], share)
        largest = density if density > largest else largest
    return largest


@cpu_function
def _forward(densities, offsets, begin, transmat, is_sparse, alphas, scales, end):
    """Run over one sequence; return its log-likelihood, NaN where it needs the log domain."""
    n_states = len(transmat)
    predicted = end[:n_states]
    for j in range(n_states):
        predicted[j] = begin[j]
    neglected = begin[n_states]
    log_likelihood = 0.0
    product = 1.0
    share = 1.0
    for t in range(len(densities)):
        alpha = alphas[t]
        _weigh(densities[t], predicted, share, alpha)
        scale = _sum(alpha)
        if is_lost(scale):
            return np.nan
        scales[t] = scale
        log_likelihood, product = add_scale(log_likelihood + offsets[t], product, scale)
        if is_sparse:
            growth = _largest_where_unpredicted(densities[t], predicted, share) / scale
            neglected = neglect(neglected, growth, n_states)
            if neglected > MOST_NEGLECTED:
                return np.nan
        # Predictions are scaled when they are used, and need not wait for the sum.
        _mix_rows(alpha, transmat, predicted)
        share = 1.0 / scale
        _scale(alpha, share)
    for j in range(n_states):
        predicted[j] *= share
    end[n_states] = neglected
    return log_likelihood + math.log(product)


@cpu_kernel(fastmath="contract")
def forward(densities, stops, begin, transmat, alphas, scales, log_likelihoods, end):
    """Run forward over sequences that follow one another.

    Parameters
    ----------
    densities : ndarray of shape (n_frames, n_states)
        Log-densities; replaced by densities relative to the largest of each frame.
    stops : ndarray of shape (n_sequences,)
        Where each sequence ends.
    begin : ndarray of shape (n_states + 1,)
        Probabilities of the states in the first frame, given the frames before; and a bound on the
        share of paths that was neglected, 0 at the start of a sequence.
    transmat : ndarray of shape (n_states, n_states)
    alphas : ndarray of shape (n_frames, n_states)
        Set to the probabilities of the states given all frames so far.
    scales : ndarray of shape (n_frames,)
        Set to the probability of each frame given those before, relative to its largest density.
    log_likelihoods : ndarray of shape (n_sequences,)
        Set; NaN for a sequence that needs the log domain, because a forbidden transition leaves
        only paths so improbable that they underflow.
    end : ndarray of shape (n_states + 1,)
        Set to what `begin` is for the frames after the last sequence.
    """
    n_states = len(transmat)
    least = np.inf
    for i in range(n_states):
        for j in range(n_states):
            least = min(least, transmat[i, j])
    is_sparse = least < LEAST_SCALE
    first = 0
    for s in range(len(stops)):
        stop = stops[s]
        offsets = np.empty(stop - first)
        _exponentiate(densities[first:stop], offsets)
        log_likelihoods[s] = _forward(
            densities[first:stop],
            offsets,
            begin,
            transmat,
            is_sparse,
            alphas[first:stop],
            scales[first:stop],
            end,
        )
        first = stop


@cpu_function
def _occupy(alpha, beta, share, density, after):
    """Set `density` to the probabilities of the states, `after` to what the frame before needs."""
    for j in range(len(alpha)):
        after[j] = later_of(alpha[j], beta[j], density[j])
        density[j] = occupation(alpha[j], beta[j], share)


@cpu_function
def _backward(densities, alphas, scales, transmat_t, weight, transitions, afters, factors, beta):
    """Run over one sequence whose last frame has `beta`; leave its first `after` in `afters[0]`."""
    held = 0
    for t in range(len(densities) - 1, -1, -1):
        # The rows of `afters` are filled from the last, so that they stand in the order of frames.
        row = 3 - held
        share = 1.0 / _dot(alphas[t], beta)
        factor = share / scales[t]
        factors[row] = factor
        _occupy(alphas[t], beta, share, densities[t], afters[row])
        if t == 0:
            break
        _mix_rows(afters[row], transmat_t, beta)
        for j in range(len(beta)):
            beta[j] *= factor
        held += 1
        if held == 4:
            _add_four_products(alphas[t - 1 : t + 3], afters, factors, weight, transitions)
            held = 0
    first = 4 - held
    for row in range(first, 4):
        _add_product(alphas[row - first], afters[row], weight * factors[row], transitions)
    for j in range(len(beta)):
        afters[0, j] = afters[3 - held, j] * factors[3 - held]


@cpu_kernel(fastmath="contract")
def backward(
    densities, stops, log_likelihoods, alphas, scales, transmat_t, weights, has_next, after,
    transitions,
):  # fmt: skip
    """Run backward over sequences that `forward` ran over.

    Parameters
    ----------
    densities : ndarray of shape (n_frames, n_states)
        As `forward` left them; replaced by the probabilities of the states given all frames.
    stops : ndarray of shape (n_sequences,)
    log_likelihoods : ndarray of shape (n_sequences,)
        As `forward` found them; sequences of which that is NaN are left out.
    alphas : ndarray of shape (n_frames, n_states)
    scales : ndarray of shape (n_frames,)
    transmat_t : ndarray of shape (n_states, n_states)
        The transposed matrix of transitions.
    weights : ndarray of shape (n_sequences,)
        Of the sequences in `transitions`.
    has_next : bool
        Whether there are frames after the (only) sequence.
    after : ndarray of shape (n_states,)
        What those frames left here, and set to what the frames before need.
    transitions : ndarray of shape (n_states, n_states)
        The expected numbers of transitions over the probabilities of these are added to it.
    """
    n_states = len(transmat_t)
    beta = np.empty(n_states)
    afters = np.empty((4, n_states))
    factors = np.empty(4)
    first = 0
    for s in range(len(stops)):
        stop = stops[s]
        if np.isnan(log_likelihoods[s]):
            first = stop
            continue
        if has_next:
            _mix_rows(after, transmat_t, beta)
            _add_product(alphas[stop - 1], after, weights[s], transitions)
        else:
            for j in range(n_states):
                beta[j] = 1.0
        _backward(
            densities[first:stop],
            alphas[first:stop],
            scales[first:stop],
            transmat_t,
            weights[s],
            transitions,
            afters,
            factors,
            beta,
        )
        first = stop
    for j in range(n_states):
        after[j] = afters[0, j]


@cpu_function
def _raise_to_eight(values, rows, out):
    b0, b1, b2, b3 = values[0], values[1], values[2], values[3]
    b4, b5, b6, b7 = values[4], values[5], values[6], values[7]
    for j in range(len(out)):
        v0, v1, v2, v3 = b0 + rows[0, j], b1 + rows[1, j], b2 + rows[2, j], b3 + rows[3, j]
        v4, v5, v6, v7 = b4 + rows[4, j], b5 + rows[5, j], b6 + rows[6, j], b7 + rows[7, j]
        v0 = v1 if v1 > v0 else v0
        v2 = v3 if v3 > v2 else v2
        v4 = v5 if v5 > v4 else v4
        v6 = v7 if v7 > v6 else v6
        v0 = v2 if v2 > v0 else v0
        v4 = v6 if v6 > v4 else v4
        v0 = v4 if v4 > v0 else v0
        out[j] = v0 if v0 > out[j] else out[j]


@cpu_function
def _raise_to_four(values, rows, out):
    b0, b1, b2, b3 = values[0], values[1], values[2], values[3]
    for j in range(len(out)):
        v0, v1, v2, v3 = b0 + rows[0, j], b1 + rows[1, j], b2 + rows[2, j], b3 + rows[3, j]
        v0 = v1 if v1 > v0 else v0
        v2 = v3 if v3 > v2 else v2
        v0 = v2 if v2 > v0 else v0
        out[j] = v0 if v0 > out[j] else out[j]


@cpu_function
def _best_arrivals(before, log_transmat, out):
    """Set `out` to the largest sum of a state's value and its transition, for each next state."""
    n, width = log_transmat.shape
    for j in range(width):
        out[j] = -np.inf
    i = 0
    while i + 8 <= n:
        _raise_to_eight(before[i : i + 8], log_transmat[i : i + 8], out)
        i += 8
    if i + 4 <= n:
        _raise_to_four(before[i : i + 4], log_transmat[i : i + 4], out)
        i += 4
    for k in range(i, n):
        value, row = before[k], log_transmat[k]
        for j in range(width):
            v = value + row[j]
            out[j] = v if v > out[j] else out[j]


@cpu_function
def _add(values, out):
    for j in range(len(out)):
        out[j] += values[j]


@cpu_function
def _relate_to_largest(values):
    """Subtract the largest value from all in place, and return it."""
    largest = largest_of(values)
    if largest > -np.inf:
        for j in range(len(values)):
            values[j] -= largest
    return largest


@cpu_kernel
def viterbi_forward(log_densities, stops, begin, log_transmat, log_probabilities, end):
    """Replace log-densities by the log-probabilities of the best paths up to each state.

    They are relative to those of the best path to any state, lest far outliers cost the digits of
    all other frames.

    Parameters
    ----------
    log_densities : ndarray of shape (n_frames, n_states)
    stops : ndarray of shape (n_sequences,)
        Where each sequence ends.
    begin : ndarray of shape (n_states,)
        Log-probabilities of the best paths to the states of the first frame, without its density.
    log_transmat : ndarray of shape (n_states, n_states)
    log_probabilities : ndarray of shape (n_sequences,)
        Set to the log-probability of the best path of each, and its frames.
    end : ndarray of shape (n_states,)
        Set to what `begin` is for the frames after the last sequence.
    """
    first = 0
    for s in range(len(stops)):
        for j in range(len(end)):
            end[j] = begin[j]
        log_probabilities[s] = 0.0
        for t in range(first, stops[s]):
            offset = _relate_to_largest(log_densities[t])
            _add(end, log_densities[t])
            log_probabilities[s] += offset + _relate_to_largest(log_densities[t])
            _best_arrivals(log_densities[t], log_transmat, end)
        first = stops[s]


@cpu_kernel
def viterbi_backward(deltas, stops, log_transmat_t, next_state, states):
    """Trace the best paths back through what `viterbi_forward` left.

    The best predecessor is sought for the states on the path only.

    Parameters
    ----------
    deltas : ndarray of shape (n_frames, n_states)
    stops : ndarray of shape (n_sequences,)
    log_transmat_t : ndarray of shape (n_states, n_states)
        The transposed matrix.
    next_state : int
        State of the path after the last frame of the (only) sequence, or -1 where it ends.
    states : ndarray of shape (n_frames,), int64
        Set.
    """
    first = 0
    for s in range(len(stops)):
        last = stops[s] - 1
        if next_state < 0:
            state = first_largest(deltas[last])
        else:
            state = last_largest_sum(deltas[last], log_transmat_t[next_state])
        states[last] = state
        for t in range(last - 1, first - 1, -1):
            state = last_largest_sum(deltas[t], log_transmat_t[state])
            states[t] = state
        first = stops[s]


@cpu_function(fastmath=None)
def _forward_log(log_densities, begin, log_transmat_t, log_alphas, end):
    """Run over one sequence; return its log-likelihood."""
    n_states = len(begin)
    log_likelihood = 0.0
    for j in range(n_states):
        end[j] = begin[j]
    for t in range(len(log_densities)):
        offset = _relate_to_largest(log_densities[t])
        for j in range(n_states):
            log_alphas[t, j] = end[j] + log_densities[t, j]
        total = log_sum_exp(log_alphas[t])
        log_likelihood += offset + total
        if total == -np.inf:
            break
        for j in range(n_states):
            log_alphas[t, j] -= total
        for j in range(n_states):
            end[j] = log_mix(log_alphas[t], log_transmat_t[j])
    return log_likelihood


@cpu_kernel
def forward_log(
    log_densities, stops, attempts, begin, log_transmat_t, log_alphas, log_likelihoods, end
):
    """Run forward over sequences in the log domain: slow, and no path is too improbable.

    Parameters
    ----------
    log_densities : ndarray of shape (n_frames, n_states)
        Made relative to the largest of each frame.
    stops : ndarray of shape (n_sequences,)
        Where each sequence ends.
    attempts : ndarray of shape (n_sequences,)
        The log-likelihoods that `forward` found: this kernel runs over sequences of which that is
        NaN, and copies the others.
    begin : ndarray of shape (n_states,)
        Log-probabilities of the states of the first frame, given all frames before.
    log_transmat_t : ndarray of shape (n_states, n_states)
        The transposed matrix.
    log_alphas : ndarray of shape (n_frames, n_states)
        Set to the log-probabilities of the states given all frames so far.
    log_likelihoods : ndarray of shape (n_sequences,)
        Set; minus infinity for an impossible sequence.
    end : ndarray of shape (n_states,)
        Set to what `begin` is for the frames after the last sequence.
    """
    first = 0
    for s in range(len(stops)):
        stop = stops[s]
        log_likelihoods[s] = attempts[s]
        if np.isnan(attempts[s]):
            log_likelihoods[s] = _forward_log(
                log_densities[first:stop], begin, log_transmat_t, log_alphas[first:stop], end
            )
        first = stop


@cpu_function(fastmath=None)
def _backward_log(
    log_densities, log_alphas, log_transmat, weight, has_next, after, beta, transitions
):
    """Run over one sequence."""
    n_states = len(after)
    for j in range(n_states):
        beta[j] = 0.0
    for t in range(len(log_densities) - 1, -1, -1):
        alpha = log_alphas[t]
        if has_next or t < len(log_densities) - 1:
            for i in range(n_states):
                beta[i] = log_mix(log_transmat[i], after)
        total = log_mix(alpha, beta)
        if has_next or t < len(log_densities) - 1:
            for i in range(n_states):
                for j in range(n_states):
                    share = path_probability(alpha[i], log_transmat[i, j], after[j], total)
                    transitions[i, j] += weight * share
        for j in range(n_states):
            after[j] = log_densities[t, j] + beta[j]
            log_densities[t, j] = math.exp(alpha[j] + beta[j] - total)
        _relate_to_largest(after)


@cpu_kernel
def backward_log(
    log_densities, stops, attempts, log_likelihoods, log_alphas, log_transmat, weights, has_next,
    after, transitions,
):  # fmt: skip
    """Run backward over sequences that `forward_log` ran over.

    Parameters
    ----------
    log_densities : ndarray of shape (n_frames, n_states)
        As `forward_log` left them; replaced by the probabilities of the states given all frames,
        NaN for an impossible sequence.
    stops, attempts, log_likelihoods : ndarray of shape (n_sequences,)
        As of `forward_log`.
    log_alphas : ndarray of shape (n_frames, n_states)
    log_transmat : ndarray of shape (n_states, n_states)
    weights : ndarray of shape (n_sequences,)
        Of the sequences in `transitions`.
    has_next : bool
        Whether there are frames after the (only) sequence.
    after : ndarray of shape (n_states,)
        Log-probabilities of those frames given the state in the first of them, but for a constant;
        set to the same for the frames of this call.
    transitions : ndarray of shape (n_states, n_states)
        The expected numbers of transitions are added to it.
    """
    beta = np.empty(len(after))
    first = 0
    for s in range(len(stops)):
        stop = stops[s]
        if np.isnan(attempts[s]) and log_likelihoods[s] == -np.inf:
            log_densities[first:stop] = np.nan
        elif np.isnan(attempts[s]):
            _backward_log(
                log_densities[first:stop],
                log_alphas[first:stop],
                log_transmat,
                weights[s],
                has_next,
                after,
                beta,
                transitions,
            )
        first = stop


def temper(log_densities, weights):
    """Multiply the log-densities of each frame by its weight; nothing to the power of 0 is 1."""
    column = weights[:, np.newaxis]
    np.multiply(log_densities, column, out=log_densities, where=column > 0)
    log_densities[weights == 0] = 0.0


def weigh_rows(posteriors, weights):
    """Multiply the probabilities of each frame by its weight."""
    posteriors *= weights[:, np.newaxis]


def sum_starts(posteriors, starts, out):
    """Add the rows at which sequences start to `out`."""
    out += posteriors[starts].sum(axis=0)


def most_probable(posteriors, states, certainty):
    """Set the most probable state of each frame, and its probability."""
    states[:] = posteriors.argmax(axis=1)
    certainty[:] = posteriors.max(axis=1)


def total(values):
    """Return the sum of numbers."""
    return float(values.sum())


def store(posteriors, out):
    """Copy probabilities to an array of float32 or float64."""
    out[:] = posteriors


def replace_rows(frames, weights, row):
    """Set the frames of weight 0 to one of the others."""
    frames[weights == 0] = frames[row]
