"""What is done at one pixel by warping and by the weighted median, on every device."""

import numpy as np

from fastmotion.core.compile import cpu_function, scalar
from fastmotion.flow.kernels.rows import (
    copy_behind,
    smallest_and_largest,
    weigh_samples,
    weight_up_to,
)
from fastmotion.flow.kernels.scalar import HALF, TWO, ZERO, clamp, cubic_weights

# The weighted median: its window; the distance and the bend, in pixels, by which boundaries of
# the motion are found; the steps of its bisection, to 1/4096 of the motion's range in the window;
# and the inverse scales at which weights fall: 10 and 20 of 255 gray levels, 0.6 pixels per pixel.
WINDOW = 11
REACH = 3
BOUNDARY_BEND = np.float32(0.3)
BISECTIONS = 12
LIKENESS_SCALE = np.float32(255 / 10)
RESIDUAL_SCALE = np.float32(255 / 20)
DIVERGENCE_SCALE = np.float32(1 / 0.6)


@scalar  # inlined, so that it is vectorised and rounds with the loop that it stands in
def sample(pixels, height, width, x, y):
    """Return an image at a point: cubic, the border's pixels repeated outside.

    Parameters
    ----------
    pixels : float32 array of shape (height * width,)
    height, width : int
    x, y : float32
    """
    fx = clamp(x, ZERO, np.float32(width - 1))
    fy = clamp(y, ZERO, np.float32(height - 1))
    ix = np.int32(fx)
    iy = np.int32(fy)
    x0, x1, x2, x3 = _four_samples(ix, width)
    y0, y1, y2, y3 = _four_samples(iy, height)
    a0, a1, a2, a3 = cubic_weights(fx - np.float32(ix))
    b0, b1, b2, b3 = cubic_weights(fy - np.float32(iy))
    return (
        b0 * _mix(pixels, y0, width, x0, x1, x2, x3, a0, a1, a2, a3)
        + b1 * _mix(pixels, y1, width, x0, x1, x2, x3, a0, a1, a2, a3)
        + b2 * _mix(pixels, y2, width, x0, x1, x2, x3, a0, a1, a2, a3)
        + b3 * _mix(pixels, y3, width, x0, x1, x2, x3, a0, a1, a2, a3)
    )


@cpu_function
def _four_samples(i, size):
    # Unsigned: a possibly negative index would be wrapped around, which blocks SIMD.
    last = np.int32(size - 1)
    before = np.uint32(max(i - np.int32(1), np.int32(0)))
    after = np.uint32(min(i + np.int32(1), last))
    beyond = np.uint32(min(i + np.int32(2), last))
    return before, np.uint32(i), after, beyond


@cpu_function
def _mix(pixels, y, width, x0, x1, x2, x3, a0, a1, a2, a3):
    start = y * np.uint32(width)
    return (
        a0 * pixels[np.uint64(start + x0)]
        + a1 * pixels[np.uint64(start + x1)]
        + a2 * pixels[np.uint64(start + x2)]
        + a3 * pixels[np.uint64(start + x3)]
    )


@cpu_function
def is_near_boundary(flow, y, x):
    """Return whether the flow bends sharply along a diagonal, at the pixel or beside it.

    A smooth slope is no boundary. In the middle of a blurred one the flow does not bend either, but
    it does on both sides.
    """
    height, width = flow.shape[1:]
    reach = min(min(y, height - 1 - y), min(x, width - 1 - x)) // 2
    reach = min(reach, REACH)
    bend = ZERO
    for sign in range(-1, 2, 2):
        for side in range(-1, 2):
            row, column = y + side * reach, x + sign * side * reach
            total = ZERO
            for k in range(2):
                before = flow[k, row - reach, column - sign * reach]
                after = flow[k, row + reach, column + sign * reach]
                total += abs(before + after - TWO * flow[k, row, column])
            bend = max(bend, total)
    return bend > BOUNDARY_BEND


@cpu_function
def gather_window(weights, values, frame0, reliability, flow, y, x):
    """Copy the window around a pixel; return the number of its pixels on the image."""
    height, width = frame0.shape
    first = max(x - WINDOW // 2, 0)
    stop = min(x + WINDOW // 2 + 1, width)
    n = 0
    for row in range(max(y - WINDOW // 2, 0), min(y + WINDOW // 2 + 1, height)):
        weigh_samples(
            weights,
            n,
            frame0[row, first:stop],
            reliability[row, first:stop],
            frame0[y, x],
            LIKENESS_SCALE,
        )
        copy_behind(values[0], n, flow[0, row, first:stop])
        copy_behind(values[1], n, flow[1, row, first:stop])
        n += stop - first
    return n


@cpu_function
def weighted_middle(values, weights, n, n_bisections):
    """Return the weighted median of the first n values, by bisection."""
    low, high = smallest_and_largest(values, n)
    half = HALF * weight_up_to(values, weights, n, high)
    if half <= ZERO:
        return values[n // 2]
    for _ in range(n_bisections):
        middle = HALF * (low + high)
        if weight_up_to(values, weights, n, middle) < half:
            low = middle
        else:
            high = middle
    return HALF * (low + high)
