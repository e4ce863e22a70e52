"""CUDA kernels of the weighted median: the flow of pixels that look alike.

All arrays lie on the device and hold n items, to each of which a layer of the grid belongs.
"""

import numpy as np
from numba import cuda, int64, void

from fastmotion.core.compile import cuda_kernel
from fastmotion.flow.kernels.cuda_planes import (
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    FIELDS,
    PLANES,
    layers,
    pixel,
)
from fastmotion.flow.kernels.sampling import (
    BISECTIONS,
    DIVERGENCE_SCALE,
    RESIDUAL_SCALE,
    WINDOW,
    gather_window,
    is_near_boundary,
    weighted_middle,
)
from fastmotion.flow.kernels.scalar import reliability as reliability_of

_N_THREADS = BLOCK_WIDTH * BLOCK_HEIGHT
_N_SAMPLES = WINDOW * WINDOW


def reliability(frame0, warped, flow, out):
    """Write how far each pixel is likely to be seen in both frames, between 0 and 1.

    Parameters
    ----------
    frame0, warped, out : float32 device array of shape (n, height, width)
        The first frames, and the second ones warped by ``flow``.
    flow : float32 device array of shape (n, 2, height, width)
    """
    _reliability[layers(len(out), out.shape[1:])](frame0, warped, flow, out)


@cuda_kernel(signatures=(void(PLANES, PLANES, FIELDS, PLANES),))
def _reliability(frame0, warped, flow, out):
    x, y, i = pixel()
    height, width = out.shape[1:]
    if y >= height or x >= width:
        return
    out[i, y, x] = reliability_of(
        warped[i, y, x] - frame0[i, y, x],
        flow[i, 0, y, min(x + 1, width - 1)] - flow[i, 0, y, max(x - 1, 0)],
        flow[i, 1, min(y + 1, height - 1), x] - flow[i, 1, max(y - 1, 0), x],
        RESIDUAL_SCALE,
        DIVERGENCE_SCALE,
    )


def weighted_median(frame0, reliability, flow, out):
    """Write, near motion boundaries, the median of the flow of pixels that look alike.

    Sun, Roth and Black (2014), section 5.2: an 11 x 11 window whose pixels count by their
    likeness to the centre and by their reliability. Elsewhere the flow is copied.

    Parameters
    ----------
    frame0, reliability : float32 device array of shape (n, height, width)
    flow, out : float32 device array of shape (n, 2, height, width)
    """
    launch = layers(len(frame0), frame0.shape[1:])
    # An argument, as the compiler would unroll a fixed number of steps beyond all registers.
    _weighted_median[launch](frame0, reliability, flow, out, BISECTIONS)


@cuda_kernel(signatures=(void(PLANES, PLANES, FIELDS, FIELDS, int64),))
def _weighted_median(frame0, reliability, flow, out, n_bisections):
    """List the pixels of the block that are near a boundary, then let its first threads do them.

    Else the few threads whose pixels are would keep their whole warps waiting.
    """
    listed = cuda.shared.array(_N_THREADS, np.int32)
    n_listed = cuda.shared.array(1, np.int32)
    weights = cuda.local.array(_N_SAMPLES, np.float32)
    values = cuda.local.array((2, _N_SAMPLES), np.float32)
    x, y, i = pixel()
    height, width = frame0.shape[1:]
    own = cuda.threadIdx.x + cuda.threadIdx.y * BLOCK_WIDTH
    if own == 0:
        n_listed[0] = 0
    cuda.syncthreads()
    if y < height and x < width:
        if is_near_boundary(flow[i], y, x):
            listed[cuda.atomic.add(n_listed, 0, 1)] = own  # in any order: they know no other
        else:
            out[i, 0, y, x] = flow[i, 0, y, x]
            out[i, 1, y, x] = flow[i, 1, y, x]
    cuda.syncthreads()
    if own < n_listed[0]:
        x = cuda.blockIdx.x * BLOCK_WIDTH + listed[own] % BLOCK_WIDTH
        y = cuda.blockIdx.y * BLOCK_HEIGHT + listed[own] // BLOCK_WIDTH
        n = gather_window(weights, values, frame0[i], reliability[i], flow[i], y, x)
        for k in range(2):
            out[i, k, y, x] = weighted_middle(values[k], weights, n, n_bisections)
