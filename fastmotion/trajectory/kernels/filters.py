"""Filters of trajectories on the CPU: several motion kernels over frames as they lie."""

from __future__ import annotations

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel, prange
from fastmotion.trajectory.kernels.sums import fill

# What stands in for frames before the first and after the last one of a sequence.
EDGE_MISSING, EDGE_NEAREST, EDGE_REFLECT = range(3)
# Taps of the first and of each later pass over a block; missing ones are padded with zero weights.
FIRST_TAPS, MORE_TAPS = 5, 4
# Values of a block: its inputs and outputs stay in the first caches. Rows that it is a multiple of.
BLOCK, BLOCK_ROWS = 4096, 1
# Constant, slope, curvature and jerk: what a filter may keep of its moments where taps are missing.
MAX_MOMENTS = 4


@cpu_function
def _set_shared(out, x, shifts, weights):
    """Set `out` to the sum of five shifted, weighted copies of x."""
    n = len(out)
    x0, x1, x2 = x[shifts[0] :][:n], x[shifts[1] :][:n], x[shifts[2] :][:n]
    x3, x4 = x[shifts[3] :][:n], x[shifts[4] :][:n]
    w0, w1, w2, w3, w4 = weights[0], weights[1], weights[2], weights[3], weights[4]
    for i in range(n):
        out[i] = (w0 * x0[i] + w1 * x1[i]) + (w2 * x2[i] + w3 * x3[i]) + w4 * x4[i]


@cpu_function
def _add_shared(out, x, shifts, weights):
    """Add four shifted, weighted copies of x to `out`."""
    n = len(out)
    x0, x1 = x[shifts[0] :][:n], x[shifts[1] :][:n]
    x2, x3 = x[shifts[2] :][:n], x[shifts[3] :][:n]
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for i in range(n):
        out[i] += (w0 * x0[i] + w1 * x1[i]) + (w2 * x2[i] + w3 * x3[i])


@cpu_function
def _add_eight_shared(out, x, shifts, weights):
    """Add eight shifted, weighted copies of x to `out`, which is then read and written once."""
    n = len(out)
    x0, x1, x2 = x[shifts[0] :][:n], x[shifts[1] :][:n], x[shifts[2] :][:n]
    x3, x4, x5 = x[shifts[3] :][:n], x[shifts[4] :][:n], x[shifts[5] :][:n]
    x6, x7 = x[shifts[6] :][:n], x[shifts[7] :][:n]
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    w4, w5, w6, w7 = weights[4], weights[5], weights[6], weights[7]
    for i in range(n):
        first = (w0 * x0[i] + w1 * x1[i]) + (w2 * x2[i] + w3 * x3[i])
        out[i] += first + ((w4 * x4[i] + w5 * x5[i]) + (w6 * x6[i] + w7 * x7[i]))


@cpu_function
def _set_three_shared(out0, out1, out2, x, shifts, weights):
    """`_set_shared` for three kernels, which load what they share once."""
    n = len(out0)
    x0, x1, x2 = x[shifts[0] :][:n], x[shifts[1] :][:n], x[shifts[2] :][:n]
    x3, x4 = x[shifts[3] :][:n], x[shifts[4] :][:n]
    a, b, c = weights[0], weights[1], weights[2]
    a0, a1, a2, a3, a4 = a[0], a[1], a[2], a[3], a[4]
    b0, b1, b2, b3, b4 = b[0], b[1], b[2], b[3], b[4]
    c0, c1, c2, c3, c4 = c[0], c[1], c[2], c[3], c[4]
    for i in range(n):
        v0, v1, v2, v3, v4 = x0[i], x1[i], x2[i], x3[i], x4[i]
        out0[i] = (a0 * v0 + a1 * v1) + (a2 * v2 + a3 * v3) + a4 * v4
        out1[i] = (b0 * v0 + b1 * v1) + (b2 * v2 + b3 * v3) + b4 * v4
        out2[i] = (c0 * v0 + c1 * v1) + (c2 * v2 + c3 * v3) + c4 * v4


@cpu_function
def _add_three_shared(out0, out1, out2, x, shifts, weights):
    """`_add_shared` for three kernels."""
    n = len(out0)
    x0, x1 = x[shifts[0] :][:n], x[shifts[1] :][:n]
    x2, x3 = x[shifts[2] :][:n], x[shifts[3] :][:n]
    a, b, c = weights[0], weights[1], weights[2]
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    b0, b1, b2, b3 = b[0], b[1], b[2], b[3]
    c0, c1, c2, c3 = c[0], c[1], c[2], c[3]
    for i in range(n):
        v0, v1, v2, v3 = x0[i], x1[i], x2[i], x3[i]
        out0[i] += (a0 * v0 + a1 * v1) + (a2 * v2 + a3 * v3)
        out1[i] += (b0 * v0 + b1 * v1) + (b2 * v2 + b3 * v3)
        out2[i] += (c0 * v0 + c1 * v1) + (c2 * v2 + c3 * v3)


@cpu_function
def _add_own(out, x, shifts, weights):
    """`_add_shared` for weights that differ from value to value."""
    n = len(out)
    x0, x1 = x[shifts[0] :][:n], x[shifts[1] :][:n]
    x2, x3 = x[shifts[2] :][:n], x[shifts[3] :][:n]
    w0, w1 = weights[0][:n], weights[1][:n]
    w2, w3 = weights[2][:n], weights[3][:n]
    for i in range(n):
        out[i] += (w0[i] * x0[i] + w1[i] * x1[i]) + (w2[i] * x2[i] + w3[i] * x3[i])


@cpu_function
def _filter_shared(outs, begin, end, x, shifts, weights):
    """Set values `begin` to `end` of each kernel's output; x starts where shift 0 of them reads."""
    n_kernels, n_taps = weights.shape
    k = 0
    while k < n_kernels:
        three = k + 3 <= n_kernels
        out0 = outs[k][begin:end]
        out1 = outs[k + 1][begin:end] if three else out0
        out2 = outs[k + 2][begin:end] if three else out0
        if three:
            _set_three_shared(out0, out1, out2, x, shifts, weights[k : k + 3])
        else:
            _set_shared(out0, x, shifts, weights[k])
        done = FIRST_TAPS
        while done < n_taps:
            if three:
                _add_three_shared(out0, out1, out2, x, shifts[done:], weights[k : k + 3, done:])
                done += MORE_TAPS
            elif done + 8 <= n_taps:
                _add_eight_shared(out0, x, shifts[done:], weights[k, done:])
                done += 8
            else:
                _add_shared(out0, x, shifts[done:], weights[k, done:])
                done += MORE_TAPS
        k += 3 if three else 1


@cpu_function
def _filter_own(outs, begin, end, x, shifts, weights):
    """`_filter_shared` with weights of their own for the channels, which recur with a period."""
    n_kernels, n_taps, period = weights.shape
    for k in range(n_kernels):
        for place in range(0, end - begin, period):
            out = outs[k][begin + place : min(begin + place + period, end)]
            fill(out, 0.0)
            for done in range(0, n_taps, MORE_TAPS):
                _add_own(out, x[place:], shifts[done:], weights[k, done:])


@cpu_function
def _has_bad(values):
    """Return whether a value is NaN or infinite."""
    bad = 0
    for i in range(len(values)):
        bad += not abs(values[i]) < np.inf
    return bad > 0


@cpu_function
def _solve(matrix, right, n):
    """Solve a small positive definite system in place; return whether it was regular."""
    for i in range(n):
        if not matrix[i, i] > 1e-12:
            return False
        for row in range(i + 1, n):
            factor = matrix[row, i] / matrix[i, i]
            for column in range(i, n):
                matrix[row, column] -= factor * matrix[i, column]
            right[row] -= factor * right[i]
    for i in range(n - 1, -1, -1):
        for column in range(i + 1, n):
            right[i] -= matrix[i, column] * right[column]
        right[i] /= matrix[i, i]
    return True


@cpu_function
def _frame_at(t, start, stop, edges):
    """Return the frame that a tap reads, or -1 where there is none."""
    if start <= t < stop:
        return t
    if edges == EDGE_NEAREST:
        return min(max(t, start), stop - 1)
    if edges == EDGE_REFLECT:
        # d c b a | a b c d | d c b a, over and over
        period = 2 * (stop - start)
        place = (t - start) % period
        return start + min(place, period - 1 - place)
    return -1


@cpu_function
def adjust(weights, present, offsets, uses, moments, min_valid, scratch):
    """Change weights in place, by little, so that those of the taps that are there do alone.

    A tap that is there by ``c`` gets ``c (w + p(offset))``, with the polynomial p of as many
    coefficients as `moments` says, for which the moments ``sum w offset^j`` stay what they are with
    all taps. Returns False if less than a share `min_valid` is there, or too few for the moments
    that must be kept.
    """
    n_taps, n_present, total, span = 0, 0, 0.0, 1.0
    for i in range(len(uses)):
        n_taps += uses[i]
        n_present += present[i] > 0.0
        total += present[i]
        span = max(span, abs(float(offsets[i])))
    if n_present == n_taps and total == n_taps:
        return True
    n_kept = min(moments[0], n_present)
    if total <= 0.0 or total < min_valid * n_taps - 1e-9 or n_kept < moments[1]:
        return False
    matrix, right = scratch[:MAX_MOMENTS], scratch[MAX_MOMENTS]
    fill(right, 0.0)
    for row in range(MAX_MOMENTS):
        fill(matrix[row], 0.0)
    for i in range(len(uses)):
        place = offsets[i] / span
        power = 1.0
        for row in range(n_kept):
            right[row] += (1.0 - present[i]) * weights[i] * power
            entry = present[i] * power
            for column in range(n_kept):
                matrix[row, column] += entry
                entry *= place
            power *= place
    if not _solve(matrix, right, n_kept):
        return False
    for i in range(len(uses)):
        place = offsets[i] / span
        change = 0.0
        for row in range(n_kept - 1, -1, -1):
            change = change * place + right[row]
        weights[i] = present[i] * (weights[i] + change)
    return True


@cpu_function
def _edge_of(uses, offsets, t, start, stop, n_rows):
    """Return side and distance of the edge that cuts a window off; distance -1 for none or both."""
    first, last = 0, 0
    for i in range(len(uses)):
        if uses[i]:
            first, last = min(first, offsets[i]), max(last, offsets[i])
    before, after = t + first < start, t + last >= stop
    if before and not after and t - start < n_rows:
        return 0, t - start
    if after and not before and stop - 1 - t < n_rows:
        return 1, stop - 1 - t
    return 0, -1


@cpu_function
def _window(
    active,
    places,
    row,
    weights,
    edge_weights,
    n_rows,
    channel,
    offsets,
    uses,
    t,
    start,
    stop,
    edges,
):
    """Set, for each tap, whether it counts, the frame that it reads or -1, and its weight.

    Returns what `_edge_of` does.
    """
    side, distance = _edge_of(uses, offsets, t, start, stop, n_rows)
    for i in range(len(uses)):
        places[i] = _frame_at(t + offsets[i], start, stop, edges) if uses[i] else -1
        if distance >= 0:
            active[i] = places[i] >= 0
            row[i] = edge_weights[side, distance, i, channel % edge_weights.shape[3]] * active[i]
        else:
            active[i] = uses[i]
            row[i] = weights[i, channel % weights.shape[1]] * active[i]
    return side, distance


@cpu_function
def _sum_frames(out, frames, places, row):
    """Set `out` to a weighted sum of frames; frames at -1 do not count."""
    fill(out, 0.0)
    done = 0
    while done < len(places):
        few = places[done : done + 4]
        if len(few) == 4 and few[0] >= 0 and few[1] >= 0 and few[2] >= 0 and few[3] >= 0:
            frame0, frame1, frame2, frame3 = (
                frames[few[0]],
                frames[few[1]],
                frames[few[2]],
                frames[few[3]],
            )
            w0, w1, w2, w3 = row[done], row[done + 1], row[done + 2], row[done + 3]
            for channel in range(len(out)):
                out[channel] += (w0 * frame0[channel] + w1 * frame1[channel]) + (
                    w2 * frame2[channel] + w3 * frame3[channel]
                )
            done += 4
        else:
            if few[0] >= 0:
                frame, weight = frames[few[0]], row[done]
                for channel in range(len(out)):
                    out[channel] += weight * frame[channel]
            done += 1


@cpu_function
def _sum_frames_own(out, frames, places, weights):
    """Set `out` to a sum of frames, weighted by channel; frames at -1 do not count."""
    fill(out, 0.0)
    for i in range(len(places)):
        if places[i] >= 0:
            frame, own = frames[places[i]], weights[i]
            for channel in range(len(out)):
                out[channel] += own[channel] * frame[channel]


@cpu_function
def _weighted_frame(places, row, frames, channel):
    total = 0.0
    for i in range(len(places)):
        if places[i] >= 0 and row[i] != 0.0:
            total += row[i] * frames[places[i], channel]
    return total


@cpu_function
def cut_off_window(
    weights,
    edge_weights,
    n_rows,
    offsets,
    uses,
    t,
    start,
    stop,
    edges,
    active,
    places,
    row,
    present,
):
    """Set which frames a window that reaches beyond an edge reads, and the first channel's weights.

    Returns what `_edge_of` does, and the number of taps that are missing.
    """
    side, distance = _window(
        active,
        places,
        row,
        weights,
        edge_weights,
        n_rows,
        np.int64(0),
        offsets,
        uses,
        t,
        start,
        stop,
        edges,
    )
    missing = 0
    for i in range(len(uses)):
        present[i] = active[i] and places[i] >= 0
        missing += active[i] and places[i] < 0
    return side, distance, missing


@cpu_function
def _cut_off_row(
    out,
    frames,
    weights,
    edge_weights,
    n_rows,
    offsets,
    uses,
    t,
    start,
    stop,
    edges,
    moments,
    min_valid,
    active,
    places,
    row,
    narrow,
    present,
    scratch,
):
    """Set the outputs of a window that reaches beyond an edge; return whether there are any."""
    side, distance, missing = cut_off_window(
        weights,
        edge_weights,
        n_rows,
        offsets,
        uses,
        t,
        start,
        stop,
        edges,
        active,
        places,
        row,
        present,
    )
    if weights.shape[1] == 1:
        if not adjust(row, present, offsets, active, moments, min_valid, scratch):
            fill(out, np.nan)
            return False
        for i in range(len(row)):
            narrow[i] = row[i]
        _sum_frames(out, frames, places, narrow)
        return True
    if missing == 0:
        own = edge_weights[side, distance] if distance >= 0 else weights
        _sum_frames_own(out, frames, places, own)
        return True
    for channel in range(len(out)):
        for i in range(len(uses)):
            row[i] = weights[i, channel] * active[i]
        if not adjust(row, present, offsets, active, moments, min_valid, scratch):
            fill(out, np.nan)
            return False
        out[channel] = _weighted_frame(places, row, frames, channel)
    return True


@cpu_function
def _scale_to_one(values):
    """Divide by the largest, so that what is trusted most counts whole."""
    largest = 0.0
    for i in range(len(values)):
        largest = max(largest, values[i])
    if largest > 0.0:
        for i in range(len(values)):
            values[i] /= largest


@cpu_function
def repair_row(
    out,
    frames,
    confidence,
    confidence_columns,
    weights,
    edge_weights,
    n_rows,
    offsets,
    uses,
    t,
    start,
    stop,
    edges,
    moments,
    min_valid,
    active,
    places,
    row,
    present,
    scratch,
):
    """Set those outputs of a window that missing frames spoil, or that have confidences.

    Returns the number of windows with an infinite value.
    """
    infinite = 0
    for channel in range(len(out)):
        if not len(confidence) and abs(out[channel]) < np.inf:
            continue
        _window(
            active,
            places,
            row,
            weights,
            edge_weights,
            n_rows,
            channel,
            offsets,
            uses,
            t,
            start,
            stop,
            edges,
        )
        bad = 0
        for i in range(len(uses)):
            present[i] = 0.0
            if places[i] >= 0:
                value = frames[places[i], channel]
                bad += abs(value) == np.inf
                if value == value:
                    present[i] = 1.0
                    if len(confidence):
                        present[i] = confidence[places[i], confidence_columns[channel]]
        infinite += bad > 0
        if len(confidence):
            _scale_to_one(present)
        out[channel] = np.nan
        if adjust(row, present, offsets, active, moments, min_valid, scratch):
            out[channel] = _weighted_frame(places, row, frames, channel)
    return infinite


@cpu_function
def _finish_rows(
    out,
    frames,
    confidence,
    confidence_columns,
    weights,
    edge_weights,
    n_rows,
    offsets,
    uses,
    block,
    complete,
    edges,
    moments,
    min_valid,
):
    """Set the rows of a block whose windows are cut off or lack frames.

    `complete` holds the first row and the end of those that are not cut off, and how many of them
    are done. Returns the number of windows with an infinite value.
    """
    start, stop, begin, end = block[0], block[1], block[2], block[3]
    low, high, n_done = complete
    n_taps = len(uses)
    active, places = np.empty(n_taps, np.bool_), np.empty(n_taps, np.int64)
    row, present = np.empty(n_taps), np.empty(n_taps)
    narrow = np.empty(n_taps, frames.dtype)
    scratch = np.empty((MAX_MOMENTS + 1, MAX_MOMENTS))
    infinite = 0
    for place in range(end - begin - n_done):
        t = begin + place
        if t >= low:
            t += n_done
        cut_off = (t < low or t >= high) and not len(confidence)
        if cut_off and not _cut_off_row(
            out[t],
            frames,
            weights,
            edge_weights,
            n_rows,
            offsets,
            uses,
            t,
            start,
            stop,
            edges,
            moments,
            min_valid,
            active,
            places,
            row,
            narrow,
            present,
            scratch,
        ):
            continue
        infinite += repair_row(
            out[t],
            frames,
            confidence,
            confidence_columns,
            weights,
            edge_weights,
            n_rows,
            offsets,
            uses,
            t,
            start,
            stop,
            edges,
            moments,
            min_valid,
            active,
            places,
            row,
            present,
            scratch,
        )
    return infinite


@cpu_kernel(parallel=True, fastmath="contract")
def apply_kernels(
    frames,
    confidence,
    confidence_columns,
    blocks,
    offsets,
    uses,
    weights,
    edges,
    edge_weights,
    edge_rows,
    moments,
    min_valid,
    outs,
):
    """Run several motion kernels over all channels; return the number of infinite values met.

    Parameters
    ----------
    frames : (n_frames, n_channels)
    confidence : (n_frames, n_columns) float64 or (0, n_columns), which means ones
    confidence_columns : (n_channels,) int64
        Column of each channel in `confidence`.
    blocks : (n_blocks, 4) int64
        First frame and end of a sequence, and of the part of it that is a block.
    offsets : (n_padded,) int64
        Frames that the taps of all kernels read, relative to their own; padding repeats one.
    uses : (n_kernels, n_taps) bool
        Which taps belong to a kernel.
    weights : (n_kernels, n_padded, period)
        A period of 1 means that all channels share them; else it is a multiple of `n_channels`.
    edges : int
        One of the EDGE constants.
    edge_weights : (n_kernels, 2, n_rows, n_taps, 1 or n_channels)
        Weights for windows cut off at the first (0) or last (1) frame, by the distance from it.
    edge_rows : (n_kernels,) int64
        For how many distances a kernel has them.
    moments : (n_kernels, 2) int64
        How many moments to keep where taps are missing, and how many must be kept.
    min_valid : float
        Least share of a kernel's taps that must be there.
    outs : (n_kernels, n_frames, n_channels)
    """
    n_kernels, n_taps = uses.shape
    n_channels, period = frames.shape[1], weights.shape[2]
    flat = frames.reshape(frames.size)
    flat_outs = outs.reshape(n_kernels, frames.size)
    first = last = offsets[0]
    for i in range(len(offsets)):
        first, last = min(first, offsets[i]), max(last, offsets[i])
    shifts = np.empty(len(offsets), np.int64)
    for i in range(len(offsets)):
        shifts[i] = (offsets[i] - first) * n_channels
    infinite = 0
    for line in prange(len(blocks)):
        block = np.int64(line)
        start, stop = blocks[block, 0], blocks[block, 1]
        begin, end = blocks[block, 2], blocks[block, 3]
        low = end if len(confidence) else min(max(begin, start - first), end)
        high = max(min(end, stop - last), low)
        clean = True
        if low < high:
            x = flat[(low + first) * n_channels : (high + last) * n_channels]
            clean = not _has_bad(x)
            bounds = low * n_channels, high * n_channels
            if period == 1:
                _filter_shared(flat_outs, bounds[0], bounds[1], x, shifts, weights[:, :, 0])
            else:
                _filter_own(flat_outs, bounds[0], bounds[1], x, shifts, weights)
        # Rows that are complete and clean are done.
        n_done = high - low if clean else 0
        for k in range(n_kernels):
            if n_done < end - begin:
                infinite += _finish_rows(
                    outs[k],
                    frames,
                    confidence,
                    confidence_columns,
                    weights[k],
                    edge_weights[k],
                    edge_rows[k],
                    offsets,
                    uses[k],
                    blocks[block],
                    (low, high, n_done),
                    edges,
                    moments[k],
                    min_valid,
                )
    return infinite
