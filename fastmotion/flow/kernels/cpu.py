"""The kernels of dense flow on the CPU: which rows are worked on, when, and on which thread.

Planes are float32 of shape (height, width); a flow is two planes, u along columns and v along rows.
Results do not depend on how many bands the rows are dealt out to.
"""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel, prange
from fastmotion.flow.kernels import rows
from fastmotion.flow.kernels.layout import (
    A11,
    DT,
    DX,
    DXT,
    DXX,
    DXY,
    DY,
    DYT,
    DYY,
    I11,
    I12,
    I22,
    N_DERIVATIVES,
    N_EQUATIONS,
    N_SYSTEM,
    PAD,
    SYSTEM_B1,
    SYSTEM_B2,
    W_BELOW,
    W_RIGHT,
    U,
    V,
)
from fastmotion.flow.kernels.sampling import (
    BISECTIONS,
    DIVERGENCE_SCALE,
    RESIDUAL_SCALE,
    WINDOW,
    gather_window,
    is_near_boundary,
    sample,
    weighted_middle,
)
from fastmotion.flow.kernels.scalar import (
    ONE,
    TWO,
    ZERO,
    next_relaxation_factor,
    squared_spectral_radius,
)

# Rows that one thread smooths with a median at a time.
_MEDIAN_BLOCK = 16


def split(fields, out):
    """Write channels that lie last as planes.

    Parameters
    ----------
    fields : array of shape (..., height, width, n_channels)
    out : float32 array of shape (..., n_channels, height, width)
    """
    for k in range(fields.shape[-1]):
        np.copyto(out[..., k, :, :], fields[..., k])


def join(planes, out):
    """Write planes as channels that lie last: the contrary of `split`."""
    for k in range(out.shape[-1]):
        np.copyto(out[..., k], planes[..., k, :, :])


def mark_outside(flow, value, out):
    """Write a value where a flow points outside the image; leave the rest as it is.

    Parameters
    ----------
    flow : float32 array of shape (2, height, width)
    value : float32
    out : float32 array of shape (height, width)
    """
    height, width = out.shape
    x = np.arange(width) + flow[0]
    y = np.arange(height)[:, np.newaxis] + flow[1]
    out[~((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))] = value


def lengths(flow, other, out):
    """Write the length of the sum of two flows.

    Parameters
    ----------
    flow, other : float32 array of shape (2, height, width)
    out : float32 array of shape (height, width)
    """
    u, v = flow + other
    np.sqrt(u * u + v * v, out=out)


@cpu_kernel(parallel=True, fastmath="reassociate")
def resample(planes, out, row_start, row_weights, column_start, column_weights, factor):
    """Resize a stack of planes with separable weights and multiply them by a factor each.

    Beyond the border its pixels are repeated.

    Parameters
    ----------
    planes : float32 array of shape (n, height, width)
    out : float32 array of shape (n, new_height, new_width)
    row_start : int64 array of shape (new_height,)
        First row that each new row draws on; may lie outside.
    row_weights : float32 array of shape (n_row_taps, new_height)
    column_start : int64 array of shape (new_width,)
    column_weights : float32 array of shape (n_column_taps, new_width)
    factor : float32 array of shape (n,)
    """
    height, width = planes.shape[1:]
    new_height, new_width = out.shape[1:]
    margin = column_weights.shape[0]
    for i in prange(out.shape[0] * new_height):
        plane, y = i // new_height, i % new_height
        mixed = np.zeros(width + 2 * margin, np.float32)
        inner = mixed[margin : margin + width]
        for k in range(row_weights.shape[0]):
            source = min(max(row_start[y] + k, 0), height - 1)
            rows.add_scaled(inner, planes[plane, source], row_weights[k, y] * factor[plane])
        mixed[:margin] = inner[0]
        mixed[margin + width :] = inner[width - 1]
        target = out[plane, y]
        target[:] = ZERO
        for k in range(column_weights.shape[0]):
            taps = column_weights[k]
            if new_width == width:  # all pixels have the same weights
                first = margin + column_start[0] + k
                rows.add_scaled(target, mixed[first : first + width], taps[0])
            else:
                rows.add_gathered(target, mixed, column_start, margin + k, taps)


@cpu_kernel(parallel=True, fastmath="reassociate")
def warp(image, flow, out):
    """Sample an image where a flow points to: cubic, the border's pixels repeated outside.

    Parameters
    ----------
    image, out : float32 array of shape (height, width)
    flow : float32 array of shape (2, height, width)
    """
    height, width = image.shape
    pixels = image.reshape(-1)
    for y in prange(height):
        u = flow[0, y]
        v = flow[1, y]
        target = out[y]
        for x in range(width):
            target[x] = sample(pixels, height, width, np.float32(x) + u[x], np.float32(y) + v[x])


@cpu_kernel(parallel=True, fastmath="reassociate")
def median(planes, out):
    """Write the 5 x 5 median of each plane, the border's pixels repeated outside.

    Parameters
    ----------
    planes, out : float32 array of shape (n, height, width)
    """
    n_planes, height, width = planes.shape
    n_blocks = (height + _MEDIAN_BLOCK - 1) // _MEDIAN_BLOCK
    for i in prange(n_planes * n_blocks):
        source = planes[i // n_blocks]
        target = out[i // n_blocks]
        first = (i % n_blocks) * _MEDIAN_BLOCK
        window = np.empty((5, width + 2 * PAD), np.float32)
        for y in range(first, min(first + _MEDIAN_BLOCK, height)):
            for k in range(5):
                rows.pad(window[k], source[min(max(y + k - PAD, 0), height - 1)])
            rows.sort_columns(window[0], window[1], window[2], window[3], window[4])
            rows.median(target[y], window)


@cpu_kernel(parallel=True, fastmath="reassociate")
def reliability(frame0, warped, flow, out):
    """Write how far each pixel is likely to be seen in both frames, between 0 and 1.

    Parameters
    ----------
    frame0, warped, out : float32 array of shape (height, width)
        The first frame, and the second one warped by ``flow``.
    flow : float32 array of shape (2, height, width)
    """
    height, width = frame0.shape
    for line in prange(height):
        y = np.int64(line)  # the index of a parallel loop is unsigned
        u = np.empty(width + 2 * PAD, np.float32)
        rows.pad(u, flow[0, y])
        rows.reliabilities(
            out[y],
            frame0[y],
            warped[y],
            u[PAD - 1 : PAD - 1 + width],
            u[PAD + 1 : PAD + 1 + width],
            flow[1, max(y - 1, 0)],
            flow[1, min(y + 1, height - 1)],
            RESIDUAL_SCALE,
            DIVERGENCE_SCALE,
        )


@cpu_kernel(parallel=True, fastmath="reassociate")
def weighted_median(frame0, reliability, flow, out):
    """Write, near motion boundaries, the median of the flow of pixels that look alike.

    Sun, Roth and Black (2014), section 5.2: an 11 x 11 window whose pixels count by their
    likeness to the centre and by their reliability. Elsewhere the flow is copied.

    Parameters
    ----------
    frame0, reliability : float32 array of shape (height, width)
    flow, out : float32 array of shape (2, height, width)
    """
    height, width = frame0.shape
    for line in prange(height):
        y = np.int64(line)  # the index of a parallel loop is unsigned
        weights = np.empty(WINDOW * WINDOW, np.float32)
        values = np.empty((2, WINDOW * WINDOW), np.float32)
        for x in range(width):
            if is_near_boundary(flow, y, x):
                n = gather_window(weights, values, frame0, reliability, flow, y, x)
                for k in range(2):
                    out[k, y, x] = weighted_middle(values[k], weights, n, BISECTIONS)
            else:
                for k in range(2):
                    out[k, y, x] = flow[k, y, x]


@cpu_function
def _fill_derivative_buffers(mean, difference, slope, frame0, frame1, y):
    """Put row y (or the border's, outside) of both frames into the five-row ring buffers."""
    slot = (y + 5) % 5
    inside = min(max(y, 0), frame0.shape[0] - 1)
    rows.mean_and_difference(mean[slot], difference[slot], frame0[inside], frame1[inside])
    rows.derive_along(slope[slot], mean[slot])


@cpu_function
def _derivatives(out, mean, difference, slope, y):
    """Write the derivatives of row y from the ring buffers, filled up to row y + 2."""
    width = out.shape[1]
    a, b, c, d, e = (y + 3) % 5, (y + 4) % 5, y % 5, (y + 1) % 5, (y + 2) % 5
    inner = slice(PAD, PAD + width)
    rows.copy(out[DX], slope[c])
    rows.copy(out[DT], difference[c, inner])
    rows.derive_across(out[DY], mean[a, inner], mean[b, inner], mean[d, inner], mean[e, inner])
    rows.derive_twice_along(out[DXX], mean[c])
    rows.derive_across(out[DXY], slope[a], slope[b], slope[d], slope[e])
    rows.derive_twice_across(
        out[DYY], mean[a, inner], mean[b, inner], mean[c, inner], mean[d, inner], mean[e, inner]
    )
    rows.derive_along(out[DXT], difference[c])
    rows.derive_across(
        out[DYT],
        difference[a, inner],
        difference[b, inner],
        difference[d, inner],
        difference[e, inner],
    )


@cpu_kernel(parallel=True, fastmath="reassociate")
def relax(frame0, warped, base, flow, out, functional, n_sweeps, omega, max_update, n_bands):
    """Run red-black sweeps of successive over-relaxation on the Horn-Schunck functional.

    Parameters
    ----------
    frame0, warped : float32 array of shape (height, width)
        The first frame, and the second one warped by ``base``.
    base : float32 array of shape (2, height, width)
        The flow at which the data term is linearised.
    flow : float32 array of shape (2, height, width)
        The flow at which the penalties' weights are taken, and from which the sweeps start.
    out : float32 array of shape (2, height, width)
    functional : VariationalFunctional
    n_sweeps : int
    omega : float32
        Over-relaxation factor in [1, 2) that the half-sweeps' factors rise to.
    max_update : float32
        ``out`` stays within this distance of ``base``, per component.
    n_bands : int
        Most bands of rows that threads share out; does not change the result.
    """
    height = frame0.shape[0]
    n_bands = max(1, min(n_bands, height // (4 * n_sweeps)))  # they overlap by 2 n_sweeps
    for band in prange(n_bands):
        first = band * height // n_bands
        stop = (band + 1) * height // n_bands
        _relax_band(
            frame0, warped, base, flow, out, functional, n_sweeps, omega, max_update, first, stop
        )


@cpu_function
def _relax_band(
    frame0, warped, base, flow, out, functional, n_sweeps, omega, max_update, first, stop
):
    """Relax the rows first to stop - 1 as if all rows had been relaxed.

    All sweeps pass over the band together, as a wavefront: half-sweep h works on row y - 1 - h once
    the system of row y is set up, so that only the last 2 n_sweeps rows of the system exist, and
    stay in the cache. A half-sweep spreads a change by one row: with 2 n_sweeps more rows on either
    side, of which each half-sweep does one less, no band needs to know another one's result.
    """
    height, width = frame0.shape
    n_half = 2 * n_sweeps
    begin = max(0, first - n_half)
    end = min(height, stop + n_half)
    shrink_top = 1 if begin > 0 else 0
    shrink_bottom = 1 if end < height else 0
    period = min(n_half, height) + 4
    system = np.zeros((period, N_SYSTEM, 2, width // 2 + 3), np.float32)
    nothing = np.zeros((N_SYSTEM, 2, width // 2 + 3), np.float32)

    mean = np.empty((5, width + 2 * PAD), np.float32)
    difference = np.empty((5, width + 2 * PAD), np.float32)
    slope = np.empty((5, width), np.float32)
    derivatives = np.empty((N_DERIVATIVES, width), np.float32)
    equations = np.empty((N_EQUATIONS, width), np.float32)
    scratch = np.empty((3, width), np.float32)
    right = np.zeros(width, np.float32)
    below = np.zeros((2, width), np.float32)
    factors = np.empty(n_half, np.float32)
    _relaxation_factors(factors, omega)

    for y in range(begin - PAD, begin + PAD):
        _fill_derivative_buffers(mean, difference, slope, frame0, warped, y)
    if begin > 0:
        _weights_below(below[(begin + 1) % 2], frame0, flow, begin - 1, functional)

    for y in range(begin, end + n_half):
        if y < end:
            _fill_derivative_buffers(mean, difference, slope, frame0, warped, y + PAD)
            _derivatives(derivatives, mean, difference, slope, y)
            _data_equations(equations, derivatives, base, flow, scratch, y, functional)
            _weights_right(right, frame0, flow, y, functional)
            _weights_below(below[y % 2], frame0, flow, y, functional)
            rows.invert_equations(equations, right, below[y % 2], below[(y + 1) % 2], scratch[0])
            _store_system(system[y % period], flow, equations, right, below[y % 2], y)
        for h in range(max(0, y - end), min(n_half, y - begin)):
            row = y - 1 - h
            top = begin + shrink_top * (h + 1)
            bottom = end - 1 - shrink_bottom * (h + 1)
            if top <= row and row <= bottom:
                above = system[(row - 1) % period] if row > 0 else nothing
                _relax_row(
                    system[row % period],
                    above,
                    system[(row + 1) % period],
                    (row + h) % 2,
                    width,
                    factors[h],
                )
        row = y - n_half
        if first <= row and row < stop:
            for k in range(2):
                rows.join_columns(out[k, row], system[row % period, k])
                rows.limit_change(out[k, row], base[k, row], max_update)


@cpu_function
def _relaxation_factors(factors, omega):
    """Write the over-relaxation factors of successive half-sweeps, from 1 towards omega."""
    squared_radius = squared_spectral_radius(omega)
    factors[0] = ONE
    factor = TWO
    for h in range(1, factors.size):
        factor = next_relaxation_factor(factor, squared_radius)
        factors[h] = factor


@cpu_function
def _data_equations(equations, derivatives, base, flow, scratch, y, functional):
    u0, v0, u, v = base[0, y], base[1, y], flow[0, y], flow[1, y]
    inside = scratch[0]
    rows.mark_inside(inside, u0, v0, np.float32(y), np.float32(base.shape[1]))
    rows.brightness_equations(equations, derivatives, u0, v0, u, v, inside, scratch[1], functional)
    if functional.gradient > ZERO:
        rows.add_gradient_equations(
            equations, derivatives, u0, v0, u, v, inside, scratch[1:], functional
        )


@cpu_function
def _weights_right(weights, image, flow, y, functional):
    last = weights.size - 1
    rows.smoothness_weights(
        weights[:last],
        image[y, :last],
        image[y, 1:],
        flow[0, y, :last],
        flow[0, y, 1:],
        flow[1, y, :last],
        flow[1, y, 1:],
        functional,
    )
    weights[last] = ZERO


@cpu_function
def _weights_below(weights, image, flow, y, functional):
    if y == image.shape[0] - 1:
        weights[:] = ZERO
        return
    rows.smoothness_weights(
        weights,
        image[y],
        image[y + 1],
        flow[0, y],
        flow[0, y + 1],
        flow[1, y],
        flow[1, y + 1],
        functional,
    )


@cpu_function
def _store_system(system, flow, equations, right, below, y):
    rows.split_columns(system[U], flow[0, y])
    rows.split_columns(system[V], flow[1, y])
    for k in range(N_EQUATIONS):
        rows.split_columns(system[I11 + k], equations[A11 + k])
    rows.split_columns(system[W_RIGHT], right)
    rows.split_columns(system[W_BELOW], below)


@cpu_function
def _relax_row(row, above, below, parity, width, omega):
    """Relax the columns of one parity; pixel k of theirs stands at 1 + k, between two others."""
    other = 1 - parity
    own = slice(1, 1 + (width + 1) // 2)
    left = slice(parity, parity + (width + 1) // 2)
    right = slice(parity + 1, parity + 1 + (width + 1) // 2)
    rows.relax(
        row[U, parity, own],
        row[V, parity, own],
        row[U, other, left],
        row[U, other, right],
        above[U, parity, own],
        below[U, parity, own],
        row[V, other, left],
        row[V, other, right],
        above[V, parity, own],
        below[V, parity, own],
        row[I11, parity, own],
        row[I12, parity, own],
        row[I22, parity, own],
        row[SYSTEM_B1, parity, own],
        row[SYSTEM_B2, parity, own],
        row[W_RIGHT, other, left],
        row[W_RIGHT, parity, own],
        above[W_BELOW, parity, own],
        row[W_BELOW, parity, own],
        omega,
    )


@cpu_kernel(parallel=True, fastmath="reassociate")
def solve_windows(frame0, warped, flow, out, confidence, window, functional, n_bands):
    """Solve Lucas-Kanade's normal equations in the window around each pixel.

    Parameters
    ----------
    frame0, warped : float32 array of shape (height, width)
        The first frame, and the second one warped by ``flow``.
    flow, out : float32 array of shape (2, height, width)
    confidence : float32 array of shape (height, width) or (0, 0)
        The smaller eigenvalue of each pixel's matrix, unless empty.
    window : float32 array of shape (radius + 1,)
        Weights by distance from the centre along one axis; the window is their outer product.
    functional : WindowFunctional
    n_bands : int
        Bands of rows that threads share out; does not change the result.
    """
    height = frame0.shape[0]
    for band in prange(n_bands):
        first = band * height // n_bands
        stop = (band + 1) * height // n_bands
        _solve_band(frame0, warped, flow, out, confidence, window, functional, first, stop)


@cpu_function
def _solve_band(frame0, warped, flow, out, confidence, window, functional, first, stop):
    """Solve the rows first to stop - 1; the windows' horizontal sums wait in a ring of rows."""
    height, width = frame0.shape
    radius = window.size - 1
    period = 2 * radius + 1
    begin = max(0, first - radius)
    end = min(height, stop + radius)
    mean = np.empty((5, width + 2 * PAD), np.float32)
    difference = np.empty((5, width + 2 * PAD), np.float32)
    slope = np.empty((5, width), np.float32)
    derivatives = np.empty((N_DERIVATIVES, width), np.float32)
    inside = np.empty(width, np.float32)
    products = np.zeros((N_EQUATIONS, width + 2 * radius), np.float32)
    horizontal = np.zeros((period, N_EQUATIONS, width), np.float32)
    sums = np.empty((N_EQUATIONS, width), np.float32)

    for y in range(begin - PAD, begin + PAD):
        _fill_derivative_buffers(mean, difference, slope, frame0, warped, y)
    for y in range(begin, stop + radius):
        if y < end:
            _fill_derivative_buffers(mean, difference, slope, frame0, warped, y + PAD)
            _derivatives(derivatives, mean, difference, slope, y)
            rows.mark_inside(inside, flow[0, y], flow[1, y], np.float32(y), np.float32(height))
            rows.window_products(products, radius, derivatives, inside, functional)
            for k in range(N_EQUATIONS):
                _sum_along(horizontal[y % period, k], products[k], window)
        row = y - radius
        if first <= row:
            for k in range(N_EQUATIONS):
                _sum_across(sums[k], horizontal, k, row, height, window)
            rows.solve_window(
                out[0, row], out[1, row], flow[0, row], flow[1, row], sums, functional
            )
            if confidence.size > 0:
                rows.eigenvalues(confidence[row], sums)


@cpu_function
def _sum_along(out, padded, window):
    """Write the window's sums along a row, which is padded with zeros by the window's radius."""
    radius = window.size - 1
    width = out.size
    rows.scale_row(out, padded[radius : radius + width], window[0])
    for k in range(1, radius + 1):
        rows.add_scaled_pair(
            out,
            padded[radius - k : radius - k + width],
            padded[radius + k : radius + k + width],
            window[k],
        )


@cpu_function
def _sum_across(out, ring, plane, row, height, window):
    """Write the window's sums across the rows of a ring; rows outside the image count nothing."""
    period = ring.shape[0]
    rows.scale_row(out, ring[row % period, plane], window[0])
    for k in range(1, window.size):
        if row - k >= 0:
            rows.add_scaled(out, ring[(row - k) % period, plane], window[k])
        if row + k < height:
            rows.add_scaled(out, ring[(row + k) % period, plane], window[k])
