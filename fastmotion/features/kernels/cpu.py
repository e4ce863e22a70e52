"""The kernels of features on the CPU."""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel, prange
from fastmotion.features.kernels.scalar import (
    HALF,
    ONE,
    TURN,
    ZERO,
    known,
    polar,
    share_of_bin,
)

# Rows of a band, which one thread works on at a time: fixed, so that sums do not depend on the
# number of threads. Columns need not be cut.
MOST_ROWS, MOST_COLUMNS = 32, 2**62


@cpu_kernel(parallel=True, fastmath="contract")
def orientation_histograms(
    flow, row_edges, column_edges, n_orientations, still_threshold, n_flow, n_boundary, out
):
    """Set the histograms of oriented flow and of motion boundaries of the cells of a lattice.

    Parameters
    ----------
    flow : float32 array of shape (n_pairs, height, width, 2)
        NaN where it is unknown; all else is well below the range of float32.
    row_edges : int64 array of shape (n_bands + 1,)
        Where bands of rows begin, and the last one ends.
    column_edges : int64 array of shape (n_columns + 1,)
    n_orientations : int
    still_threshold : float32
        Pixels that are no faster vote for the last bin of the flow, if there is one more than
        orientations.
    n_flow, n_boundary : int
        Bins of the flow, and of each of the two motion boundaries, or 0.
    out : array of shape (n_pairs, n_bands, n_columns, n_flow + 2 n_boundary)
        Float64 here, float32 on a CUDA device.
    """
    n_bands = row_edges.size - 1
    for task in prange(flow.shape[0] * n_bands):
        pair = np.int64(task) // n_bands
        band = np.int64(task) % n_bands
        votes = np.zeros((out.shape[3], flow.shape[2]), np.float32)
        _vote_band(
            votes, flow[pair], row_edges[band], row_edges[band + 1],
            n_orientations, still_threshold, n_flow, n_boundary,
        )  # fmt: skip
        _sum_columns(out[pair, band], votes, column_edges)


@cpu_function
def _vote_band(votes, flow, first, stop, n_orientations, still_threshold, n_flow, n_boundary):
    """Add the votes of some rows, column by column; the rows around them wait in a ring."""
    height, width = flow.shape[:2]
    ring = np.empty((3, 2, width), np.float32)
    slopes = np.empty((2, width), np.float32)
    polars = np.empty((2, width), np.float32)
    n = np.float32(n_orientations)
    if first > 0:
        _load(ring[(first - 1) % 3], flow[first - 1])
    _load(ring[first % 3], flow[first])
    for y in range(first, stop):
        if y + 1 < height:
            _load(ring[(y + 1) % 3], flow[y + 1])
        here = ring[y % 3]
        if n_flow > 0:
            _to_polar(polars, here[0], here[1], n)
            if n_flow > n_orientations:
                _vote_still(votes[n_orientations], polars[1], still_threshold)
            _vote(votes[:n_orientations], polars, n)
        if n_boundary > 0:
            before, after = max(y - 1, 0), min(y + 1, height - 1)
            scale = HALF if after - before == 2 else ONE
            for k in range(2):
                _derive_along(slopes[0], here[k])
                _derive_across(slopes[1], ring[before % 3, k], here[k], ring[after % 3, k], scale)
                _to_polar(polars, slopes[0], slopes[1], n)
                start = n_flow + k * n_boundary
                _vote(votes[start : start + n_boundary], polars, n)


@cpu_function
def _load(row, field):
    """Write a row of the flow as two: unknown in both where it is in one."""
    u = row[0]
    v = row[1]
    for x in range(field.shape[0]):
        u[x] = known(field[x, 0], field[x, 1])
        v[x] = known(field[x, 1], field[x, 0])


@cpu_function
def _derive_along(out, row):
    """Write central differences, one-sided at either end; unknown where the row is."""
    last = row.size - 1
    inner = out[1:last]
    before = row[: max(last - 1, 0)]
    here = row[1:last]
    after = row[2:]
    for x in range(inner.size):
        inner[x] = known(HALF * (after[x] - before[x]), here[x])
    out[0] = row[min(1, last)] - row[0]
    out[last] = row[last] - row[max(last - 1, 0)]


@cpu_function
def _derive_across(out, above, here, below, scale):
    for x in range(out.size):
        out[x] = known(scale * (below[x] - above[x]), here[x])


@cpu_function
def _to_polar(polars, a, b, n):
    bins_per_radian = n / TURN
    positions = polars[0]
    lengths = polars[1]
    for x in range(a.size):
        positions[x], lengths[x] = polar(a[x], b[x], bins_per_radian)


@cpu_function
def _vote_still(votes, lengths, threshold):
    """Add votes for stillness, and take what voted out of further votes."""
    for x in range(votes.size):
        is_still = lengths[x] <= threshold
        votes[x] += ONE if is_still else ZERO
        lengths[x] = ZERO if is_still else lengths[x]


@cpu_function
def _vote(votes, polars, n):
    positions = polars[0]
    lengths = polars[1]
    for x in range(lengths.size):
        is_known = lengths[x] == lengths[x]
        positions[x] = positions[x] if is_known else ZERO
        lengths[x] = lengths[x] if is_known else ZERO
    for k in range(votes.shape[0]):
        _vote_for(votes[k], positions, lengths, np.float32(k), n)


@cpu_function
def _vote_for(votes, positions, lengths, k, n):
    for x in range(votes.size):
        votes[x] += lengths[x] * share_of_bin(positions[x], k, n)


@cpu_function
def _sum_columns(out, votes, edges):
    for cell in range(edges.size - 1):
        for k in range(votes.shape[0]):
            total = 0.0
            for x in range(edges[cell], edges[cell + 1]):
                total += votes[k, x]
            out[cell, k] = total
