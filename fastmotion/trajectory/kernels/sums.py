"""Sums of products of lagged frames, on the CPU.

One channel at a time is gathered into a contiguous series, newest frame first, so that lags grow
with the address.
"""

from __future__ import annotations

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel, prange

# Lags of one pass over a series: as many sums as hide the latency of an addition.
LAG_TILE = 8
# Tasks of one call: enough to balance any number of threads, and their sums within some memory.
MAX_TASKS, TASK_BYTES = 64, 1 << 25
# Channels of a task at most: it takes them one after the other, however many.
TASK_CHANNELS = None
# Frames whose products are summed before they join a total: they stay in the first cache, and a sum
# of sums is more accurate than one long sum.
_BLOCK = 512


@cpu_function
def fill(out, value):
    """Set all elements; a slice would bring its checks of shapes with it to be compiled."""
    for i in range(len(out)):
        out[i] = value


@cpu_function(fastmath="reassociate")
def _eight_dots(u, y, out):
    """Add the dot products of u with y, shifted by 0 to 7, to `out`; y is longer by 7."""
    n = len(u)
    y0, y1, y2, y3 = y[0:n], y[1 : n + 1], y[2 : n + 2], y[3 : n + 3]
    y4, y5, y6, y7 = y[4 : n + 4], y[5 : n + 5], y[6 : n + 6], y[7 : n + 7]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(n):
        v = u[i]
        s0 += v * y0[i]
        s1 += v * y1[i]
        s2 += v * y2[i]
        s3 += v * y3[i]
        s4 += v * y4[i]
        s5 += v * y5[i]
        s6 += v * y6[i]
        s7 += v * y7[i]
    out[0] += s0
    out[1] += s1
    out[2] += s2
    out[3] += s3
    out[4] += s4
    out[5] += s5
    out[6] += s6
    out[7] += s7


@cpu_function
def _add_lag_products(u, y, n_rows, n_lags, out):
    """Add ``sum_m u[m] y[m + lag]`` to `out[lag]`, for lags up to the next multiple of the tile."""
    for begin in range(0, n_rows, _BLOCK):
        end = min(begin + _BLOCK, n_rows)
        for lag in range(0, n_lags, LAG_TILE):
            _eight_dots(
                u[begin:end], y[begin + lag : end + lag + LAG_TILE - 1], out[lag : lag + LAG_TILE]
            )


@cpu_function
def _add_outer(x, weight, out):
    """Add the upper triangle of ``weight x xᵀ`` to `out`."""
    n = len(x)
    for i in range(n):
        factor = weight * x[i]
        row = out[i, i:n]
        rest = x[i:n]
        for j in range(len(rest)):
            row[j] += factor * rest[j]


@cpu_function(fastmath="reassociate")
def _sum(series):
    total = 0.0
    for i in range(len(series)):
        total += series[i]
    return total


@cpu_function
def _centre(series):
    """Subtract a value amid the series in place and return it.

    It has few digits, so that the differences are exact.
    """
    reference = float(np.float32(_sum(series) / len(series)))
    if not abs(reference) < np.inf:
        reference = 0.0
    for i in range(len(series)):
        series[i] -= reference
    return reference


@cpu_function
def _reverse(values, out):
    """Copy values in reverse; return how many are NaN or infinite."""
    n = len(values)
    bad = 0
    for i in range(n):
        value = float(values[np.uint64(n - 1 - i)])
        out[i] = value
        bad += not abs(value) < np.inf
    return bad


@cpu_function
def _gather(frames, start, stop, channel, out):
    """Copy a channel, newest frame first; return how many values are NaN and how many infinite."""
    n = stop - start
    if frames.shape[1] == 1:
        bad = _reverse(frames.reshape(frames.size)[start:stop], out)
    else:
        bad = 0
        for i in range(n):
            value = float(frames[np.uint64(stop - 1 - i), channel])
            out[i] = value
            bad += not abs(value) < np.inf
    if bad == 0:
        return 0, 0
    missing = 0
    for i in range(n):
        missing += out[i] != out[i]
    return missing, bad - missing


@cpu_function
def _next_run(series, begin, n, missing):
    """Return begin and end of the first run of numbers at or after `begin`."""
    if missing == 0:
        return begin, n
    while begin < n and series[begin] != series[begin]:
        begin += 1
    end = begin
    while end < n and series[end] == series[end]:
        end += 1
    return begin, end


@cpu_function
def _add_target(goal, series, n_rows, n_lags, reference, weight, products, crosses, total):
    """Add the products of a (weighted) target with each lag."""
    fill(products, 0.0)
    _add_lag_products(goal[:n_rows], series, n_rows, n_lags, products)
    for lag in range(n_lags):
        crosses[lag] += weight * products[lag]
    goal_sum = weight * _sum(goal[:n_rows])
    total[1] += reference * goal_sum
    total[7] += goal_sum


@cpu_function
def _add_run(
    series, n_rows, n_lags, weight, products, lag_products, boundary, sums, offsets, total
):
    """Add a run whose windows all weigh alike, in O(frames x lags); return its reference."""
    n_frames = n_rows + n_lags - 1
    reference = _centre(series[:n_frames])
    fill(products, 0.0)
    _add_lag_products(series[:n_rows], series, n_rows, n_lags, products)
    for lag in range(n_lags):
        lag_products[lag] += weight * products[lag]
    _add_outer(series[n_rows:n_frames], weight, boundary)
    _add_outer(series[: n_lags - 1], -weight, boundary)
    row_sum = _sum(series[:n_rows])
    for lag in range(n_lags):
        sums[lag] += weight * row_sum
        offsets[lag] += weight * reference * row_sum
        if lag < n_lags - 1:
            row_sum += series[n_rows + lag] - series[lag]
    total[0] += weight * n_rows * reference * reference
    total[3] += weight * n_rows
    total[4] += n_rows
    total[6] += weight * n_rows * reference
    return reference


@cpu_function
def _add_weighted_run(
    series, row_weights, scaled, n_rows, n_lags, weight, products, gram, sums, offsets, total
):
    """Add a run whose windows have weights, in O(frames x lags²); return its reference."""
    reference = _centre(series[: n_rows + n_lags - 1])
    for older in range(n_lags):
        for m in range(n_rows):
            scaled[m] = row_weights[m] * series[m + older]
        fill(products, 0.0)
        _add_lag_products(scaled[:n_rows], series[older:], n_rows, n_lags - older, products)
        for lag in range(n_lags - older):
            gram[older, older + lag] += weight * products[lag]
    fill(products, 0.0)
    _add_lag_products(row_weights[:n_rows], series, n_rows, n_lags, products)
    for lag in range(n_lags):
        sums[lag] += weight * products[lag]
        offsets[lag] += weight * reference * products[lag]
    weight_sum = _sum(row_weights[:n_rows])
    total[0] += weight * weight_sum * reference * reference
    total[3] += weight * weight_sum
    total[6] += weight * weight_sum * reference
    for m in range(n_rows):
        total[4] += row_weights[m] > 0.0
    return reference


@cpu_function
def _drop_missing_targets(goal, row_weights):
    """Take rows without a target out of a weighted sum."""
    for m in range(len(goal)):
        if goal[m] != goal[m]:
            goal[m] = 0.0
            row_weights[m] = 0.0


@cpu_function
def _weigh_target(goal, row_weights, weight, total):
    """Add the energy of a target and put the row weights on it."""
    energy = 0.0
    for m in range(len(goal)):
        weighted = goal[m] * row_weights[m]
        energy += weighted * goal[m]
        goal[m] = weighted
    total[2] += weight * energy


@cpu_kernel(parallel=True, fastmath="contract")
def lag_statistics(
    frames,
    target,
    row_weights,
    weight_columns,
    pieces,
    piece_weights,
    tasks,
    channel_groups,
    anchor,
    n_lags,
    lag_products,
    boundary,
    gram,
    sums,
    offsets,
    crosses,
    totals,
):
    """Sum the products of lagged frames over all windows of `n_lags` frames without a missing one.

    A window is ``z[lag] = x[newest - lag]``. The frames of a run are taken relative to a reference
    r, ``x = r + c``. All sums are added to, those of a task in its slot.

    Parameters
    ----------
    frames : (n_frames, n_channels)
    target : (n_frames, n_channels) or (0, n_channels), which means none
    row_weights : (n_frames, n_columns) float64 or (0, n_columns), which means ones
        Weight of the window to whose lag `anchor` a frame belongs.
    weight_columns : (n_channels,) int64
        Column of each channel in `row_weights`.
    pieces : (n_pieces, 2) int64
        First frame and end of each sequence or part of one.
    piece_weights : (n_pieces,) float64
    tasks : (n_tasks, 5) int64
        First piece and end, first channel and end, slot.
    channel_groups : (n_channels,) int64
        The group to whose sums each channel adds.
    anchor : int
        Lag of the frame that targets and row weights belong to.
    n_lags : int
    lag_products : (n_slots, n_groups, n_padded) float64
        ``sum c[newest] c[newest - lag]``, without row weights; `n_padded` is `n_lags` rounded up to
        whole tiles.
    boundary : (n_slots, n_groups, n_lags - 1, n_lags - 1) float64
        What comes in less what goes out when both lags of a product grow by one, j >= i.
    gram : (n_slots, n_groups, n_lags, n_lags) float64
        ``sum c[newest - i] c[newest - j]``, j >= i, with row weights.
    sums : (n_slots, n_groups, n_lags) float64
        ``sum c[newest - lag]``.
    offsets : (n_slots, n_groups, n_lags) float64
        ``sum r c[newest - lag]``.
    crosses : (n_slots, n_groups, n_lags) float64
        ``sum y c[newest - lag]`` for a target y.
    totals : (n_slots, n_groups, 8) float64
        Sums of ``r²``, of ``r y``, of ``y²`` and of weights; number of windows and of infinite
        values; sums of r and of y.
    """
    n_padded = lag_products.shape[2]
    length = 2 * n_padded + LAG_TILE
    for p in range(len(pieces)):
        length = max(length, pieces[p, 1] - pieces[p, 0] + n_padded + LAG_TILE)
    for line in prange(len(tasks)):
        task = np.int64(line)
        slot = tasks[task, 4]
        series, goal = np.zeros(length), np.zeros(length)
        weights, scaled = np.ones(length), np.zeros(length)
        products = np.zeros(n_padded)
        for p in range(tasks[task, 0], tasks[task, 1]):
            start, stop = pieces[p, 0], pieces[p, 1]
            for channel in range(tasks[task, 2], tasks[task, 3]):
                group = channel_groups[channel]
                total = totals[slot, group]
                missing, infinite = _gather(frames, start, stop, channel, series)
                if len(target):
                    infinite += _gather(target, start, stop, channel, goal)[1]
                if infinite:
                    total[5] += infinite
                    continue
                if len(row_weights):
                    _gather(row_weights, start, stop, weight_columns[channel], weights)
                begin, end = _next_run(series, 0, stop - start, missing)
                while begin < end:
                    n_rows = end - begin - n_lags + 1
                    if n_rows > 0:
                        run = series[begin:]
                        aim = goal[begin + anchor : begin + anchor + n_rows]
                        row_weight = weights[begin + anchor : begin + anchor + n_rows]
                        if len(row_weights):
                            _drop_missing_targets(aim, row_weight)
                            reference = _add_weighted_run(
                                run,
                                row_weight,
                                scaled,
                                n_rows,
                                n_lags,
                                piece_weights[p],
                                products,
                                gram[slot, group],
                                sums[slot, group],
                                offsets[slot, group],
                                total,
                            )
                        else:
                            reference = _add_run(
                                run,
                                n_rows,
                                n_lags,
                                piece_weights[p],
                                products,
                                lag_products[slot, group],
                                boundary[slot, group],
                                sums[slot, group],
                                offsets[slot, group],
                                total,
                            )
                        if len(target):
                            _weigh_target(aim, row_weight, piece_weights[p], total)
                            _add_target(
                                aim,
                                run,
                                n_rows,
                                n_lags,
                                reference,
                                piece_weights[p],
                                products,
                                crosses[slot, group],
                                total,
                            )
                    begin, end = _next_run(series, end, stop - start, missing)


def totals_of(parts):
    """Return the sums of some arrays over their first axis."""
    return [part.sum(axis=0) for part in parts]
