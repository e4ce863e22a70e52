"""The kernels of features on a CUDA device, with the names and arguments of `cpu`."""

import numpy as np
from numba import cuda, float32, int64, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import block_size
from fastmotion.core.kernels.cuda import warp_sum
from fastmotion.features.kernels.layout import MOST_ORIENTATIONS
from fastmotion.features.kernels.scalar import (
    HALF,
    ONE,
    TURN,
    ZERO,
    known,
    polar,
    split_vote,
)

__all__ = ["MOST_COLUMNS", "MOST_ROWS", "orientation_histograms"]

# A warp works on a cell, which is small so that there are many.
_WARP = block_size(32, 4)
MOST_ROWS, MOST_COLUMNS = block_size(8, 6), block_size(64, 8)

_MOST_BINS = MOST_ORIENTATIONS + 1


def orientation_histograms(
    flow, row_edges, column_edges, n_orientations, still_threshold, n_flow, n_boundary, out
):
    """Set the histograms of the cells of a lattice, as `cpu.orientation_histograms` does.

    Parameters
    ----------
    flow : float32 device array of shape (n_pairs, height, width, 2)
    row_edges, column_edges : int64 device array
    n_orientations : int
    still_threshold : float32
    n_flow, n_boundary : int
    out : float32 device array of shape (n_pairs, n_bands, n_columns, n_flow + 2 n_boundary)
    """
    n_pairs, n_bands, n_columns = out.shape[:3]
    _vote[(n_columns, n_bands, n_pairs), _WARP](
        flow, row_edges, column_edges, n_orientations, np.float32(still_threshold),
        n_flow, n_boundary, out,
    )  # fmt: skip


@cuda_kernel(
    signatures=(
        void(
            *(float32[:, :, :, ::1], int64[::1], int64[::1]),
            *(int64, float32, int64, int64, float32[:, :, :, ::1]),
        ),
    )
)
def _vote(flows, row_edges, column_edges, n, still_threshold, n_flow, n_boundary, out):
    # Each thread has a histogram of its own, a column of these.
    votes = cuda.shared.array((_MOST_BINS, _WARP), np.float32)
    lane = cuda.threadIdx.x
    cell, band, pair = cuda.blockIdx.x, cuda.blockIdx.y, cuda.blockIdx.z
    flow = flows[pair]
    left, top = column_edges[cell], row_edges[band]
    width = column_edges[cell + 1] - left
    n_pixels = (row_edges[band + 1] - top) * width
    bins_per_radian = np.float32(n) / TURN
    start = 0
    for part in range(3):
        n_bins = n_flow if part == 0 else n_boundary
        for k in range(n_bins):
            votes[k, lane] = ZERO
        if n_bins > 0:
            for i in range(lane, n_pixels, _WARP):
                y, x = top + i // width, left + i % width
                if part == 0:
                    a = known(flow[y, x, 0], flow[y, x, 1])
                    b = known(flow[y, x, 1], flow[y, x, 0])
                else:
                    a, b = _slopes(flow, y, x, part - 1)
                position, length = polar(a, b, bins_per_radian)
                if n_bins > n and length <= still_threshold:
                    votes[n, lane] += ONE
                elif length == length:
                    first, second, share = split_vote(position, n)
                    votes[first, lane] += (ONE - share) * length
                    votes[second, lane] += share * length
        for k in range(n_bins):
            total = warp_sum(votes[k, lane])
            if lane == 0:
                out[pair, band, cell, start + k] = total
        start += n_bins


@cuda_function
def _slopes(flow, y, x, k):
    """Return the derivatives of a component along a row and across rows, one-sided at the rim."""
    height, width, _ = flow.shape
    left, right = max(x - 1, 0), min(x + 1, width - 1)
    above, below = max(y - 1, 0), min(y + 1, height - 1)
    along = HALF if right - left == 2 else ONE
    across = HALF if below - above == 2 else ONE
    here = _known_at(flow, y, x, k)
    dx = along * (_known_at(flow, y, right, k) - _known_at(flow, y, left, k))
    dy = across * (_known_at(flow, below, x, k) - _known_at(flow, above, x, k))
    return known(dx, here), known(dy, here)


@cuda_function
def _known_at(flow, y, x, k):
    return known(flow[y, x, k], flow[y, x, 1 - k])
