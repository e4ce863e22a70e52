"""The kernels of dense flow on a CUDA device, with the names and arguments of `cpu`.

All arrays lie on the device. They have one axis more than on the CPU, the first: n pairs of frames
run in every launch, each on a layer of the grid of its own, since one pair's coarse levels would
leave most of the device idle. Planes are float32 of shape (n, height, width); a flow is two planes,
u along columns and v along rows, of shape (n, 2, height, width).
"""

import functools

import numpy as np
from numba import cuda, float32, int64, types, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.memory import memory_at
from fastmotion.flow.kernels.cuda_likeness import reliability, weighted_median
from fastmotion.flow.kernels.cuda_planes import (
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    FIELDS,
    PLANES,
    ROW,
    extremes,
    join,
    layers,
    lengths,
    luminance,
    mark_outside,
    mean_and_difference,
    median,
    pair_up,
    pixel,
    place,
    resample,
    split,
    warp,
)
from fastmotion.flow.kernels.functional import VariationalFunctional, WindowFunctional
from fastmotion.flow.kernels.layout import (
    A11,
    A12,
    A22,
    B1,
    B2,
    I11,
    I12,
    I22,
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
from fastmotion.flow.kernels.scalar import (
    ONE,
    TWO,
    ZERO,
    constancy_distance2,
    constancy_scale,
    constancy_side,
    edge_weight,
    first_difference,
    inverse_2x2,
    is_inside,
    mean_and_step,
    next_relaxation_factor,
    normal_matrix,
    normal_side,
    penalty_weight,
    pull,
    relax_pixel,
    robust_weight,
    second_difference,
    smaller_eigenvalue,
    squared_length,
    squared_spectral_radius,
    stay_within,
    window_update,
)

__all__ = [
    "extremes",
    "join",
    "lengths",
    "luminance",
    "mark_outside",
    "mean_and_difference",
    "median",
    "pair_up",
    "relax",
    "reliability",
    "resample",
    "solve_windows",
    "split",
    "warp",
    "weighted_median",
]

# Bytes of memory for each pixel that `relax` and `solve_windows` need, of all bands' pixels of
# which there is one at a time.
SCRATCH_PER_PIXEL = 4 * max(N_SYSTEM, 2 * N_EQUATIONS)

# Pixels that a block of threads needs to differentiate its own.
_TILE = (BLOCK_HEIGHT + 2 * PAD, BLOCK_WIDTH + 2 * PAD)

# The edges on either side of a block's pixels, and above and below them.
_EDGES_ACROSS = (BLOCK_HEIGHT, BLOCK_WIDTH + 1)
_EDGES_DOWN = (BLOCK_HEIGHT + 1, BLOCK_WIDTH)

_SYSTEM = float32[:, :, :, :, ::1]
_VARIATIONAL = types.NamedUniTuple(
    float32, len(VariationalFunctional._fields), VariationalFunctional
)
_WINDOW = types.NamedUniTuple(float32, len(WindowFunctional._fields), WindowFunctional)


@cuda_function
def _load_tiles(frame0, frame1, left, top):
    """Return mean and difference of the frames at and around a block's pixels.

    The block's pixel (left, top) stands at [PAD, PAD]; the border's pixels are repeated outside.
    """
    mean = cuda.shared.array(_TILE, np.float32)
    difference = cuda.shared.array(_TILE, np.float32)
    height, width = frame0.shape
    own_j, own_i = place()
    for i in range(own_i, _TILE[0], BLOCK_HEIGHT):
        y = min(max(top + i - PAD, 0), height - 1)
        for j in range(own_j, _TILE[1], BLOCK_WIDTH):
            x = min(max(left + j - PAD, 0), width - 1)
            mean[i, j], difference[i, j] = mean_and_step(frame0[y, x], frame1[y, x])
    cuda.syncthreads()
    return mean, difference


@cuda_function
def _derive_along(tile, i, j):
    return first_difference(tile[i, j - 2], tile[i, j - 1], tile[i, j + 1], tile[i, j + 2])


@cuda_function
def _derive_across(tile, i, j):
    return first_difference(tile[i - 2, j], tile[i - 1, j], tile[i + 1, j], tile[i + 2, j])


@cuda_function
def _first_derivatives(mean, difference, i, j):
    """Return the derivatives along x, y and t."""
    return _derive_along(mean, i, j), _derive_across(mean, i, j), difference[i, j]


@cuda_function
def _second_derivatives(mean, difference, i, j):
    """Return the derivatives along xx, xy, yy, xt and yt."""
    xx = second_difference(
        mean[i, j - 2], mean[i, j - 1], mean[i, j], mean[i, j + 1], mean[i, j + 2]
    )
    xy = first_difference(
        _derive_along(mean, i - 2, j),
        _derive_along(mean, i - 1, j),
        _derive_along(mean, i + 1, j),
        _derive_along(mean, i + 2, j),
    )
    yy = second_difference(
        mean[i - 2, j], mean[i - 1, j], mean[i, j], mean[i + 1, j], mean[i + 2, j]
    )
    return xx, xy, yy, _derive_along(difference, i, j), _derive_across(difference, i, j)


@cuda_function
def _normal_equations(weight, gx, gy, c):
    """Return A11, A12, A22, B1, B2 of one equation ``gx u + gy v = c``."""
    a11, a12, a22 = normal_matrix(weight, gx, gy)
    b1, b2 = normal_side(weight, gx, gy, c)
    return a11, a12, a22, b1, b2


@cuda_function
def _add(equations, others):
    a11, a12, a22, b1, b2 = equations
    c11, c12, c22, d1, d2 = others
    return a11 + c11, a12 + c12, a22 + c22, b1 + d1, b2 + d2


def _bands(height, n_bands, reach):
    """Return bands of rows, as (first, stop), and with the rows within reach, as (begin, end)."""
    n_bands = max(1, min(n_bands, height // max(2 * reach, 1)))
    for band in range(n_bands):
        first, stop = band * height // n_bands, (band + 1) * height // n_bands
        yield first, stop, max(0, first - reach), min(height, stop + reach)


def relax(frame0, warped, base, flow, out, functional, n_sweeps, omega, max_update, n_bands):
    """Run red-black sweeps of successive over-relaxation on the Horn-Schunck functional.

    Parameters
    ----------
    frame0, warped : float32 device array of shape (n, height, width)
        The first frames, and the second ones warped by ``base``.
    base : float32 device array of shape (n, 2, height, width)
        The flow at which the data term is linearised.
    flow : float32 device array of shape (n, 2, height, width)
        The flow at which the penalties' weights are taken, and from which the sweeps start.
    out : float32 device array of shape (n, 2, height, width)
    functional : VariationalFunctional
    n_sweeps : int
    omega : float32
        Over-relaxation factor in [1, 2) that the half-sweeps' factors rise to.
    max_update : float32
        ``out`` stays within this distance of ``base``, per component.
    n_bands : int
        Most bands of rows, which are worked on one after the other in the same memory; does not
        change the result.
    """
    n, height, width = frame0.shape
    factors = _relaxation_factors(float(omega), 2 * n_sweeps)
    memory = memory_at(frame0)
    # A half-sweep spreads what a band does not know of its neighbours by one row.
    for first, stop, begin, end in _bands(height, n_bands, len(factors)):
        begin -= begin % 2  # a pixel has the same colour in all bands
        n_rows, n_columns = end - begin + 2, (width + 3) // 2
        with memory.scope():
            system = memory.empty((n, N_SYSTEM, 2, n_rows, n_columns))
            _set_up_system[layers(n, (n_rows, width + 2))](
                frame0, warped, base, flow, system, functional, begin
            )
            relax_colour = _relax_colour[layers(n, (end - begin, width // 2 + 1))]
            flat = system.reshape(n, N_SYSTEM, 2 * n_rows * n_columns)
            for half_sweep, factor in enumerate(factors):
                relax_colour(flat, n_rows, n_columns, width, half_sweep % 2, factor)
            store_flow = _store_flow[layers(n, (stop - first, width))]
            store_flow(system, base, out, max_update, begin, first, stop)


@functools.lru_cache(maxsize=64)
def _relaxation_factors(omega, n):
    """Return the over-relaxation factors of successive half-sweeps, from 1 towards omega."""
    squared_radius = squared_spectral_radius(np.float32(omega))
    factors = [ONE, TWO]
    while len(factors) <= n:
        factors.append(np.float32(next_relaxation_factor(factors[-1], squared_radius)))
    del factors[1]  # where the sequence begins, not a factor
    return tuple(factors[:n])


# The system holds the pixels of either colour of the checkerboard by themselves, so that the
# threads of a half-sweep read and write neighbouring numbers. One pixel more stands on every side,
# all zeros: its edges weigh nothing, and no pixel inside is an exception. Column k of the colour c
# of row y is column 2k or 2k + 1 of the padded image, whichever makes it and y of parity c.


@cuda_kernel(signatures=(void(PLANES, PLANES, FIELDS, FIELDS, _SYSTEM, _VARIATIONAL, int64),))
def _set_up_system(frames0, all_warped, bases, flows, systems, functional, begin):
    """Write the unknowns and equations of a band's pixels, and zeros around them."""
    column, row, layer = pixel()
    j, i = place()
    x = column - 1
    y = begin + row - 1
    frame0, warped, base, flow = frames0[layer], all_warped[layer], bases[layer], flows[layer]
    mean, difference = _load_tiles(frame0, warped, x - j, y - i)
    across, down = _load_edges(frame0, flow, x - j, y - i, functional)
    system = systems[layer]
    height, width = frame0.shape
    last_row = system.shape[2] - 1
    if row > last_row or column > width + 1:
        return
    colour = (row + column) % 2
    k = column // 2
    if row == 0 or row == last_row or column == 0 or column > width:
        for plane in range(N_SYSTEM):
            system[plane, colour, row, k] = ZERO
        return
    w_right = across[i, j + 1]
    w_below = down[i + 1, j]
    w = across[i, j] + w_right + down[i, j] + w_below
    i, j = i + PAD, j + PAD
    a11, a12, a22, b1, b2 = _data_equations(mean, difference, i, j, base, flow, y, x, functional)
    i11, i12, i22 = inverse_2x2(a11, a12, a22, w)
    system[U, colour, row, k] = flow[0, y, x]
    system[V, colour, row, k] = flow[1, y, x]
    system[I11, colour, row, k] = i11
    system[I12, colour, row, k] = i12
    system[I22, colour, row, k] = i22
    system[SYSTEM_B1, colour, row, k] = b1
    system[SYSTEM_B2, colour, row, k] = b2
    system[W_RIGHT, colour, row, k] = w_right
    system[W_BELOW, colour, row, k] = w_below


@cuda_function
def _data_equations(mean, difference, i, j, base, flow, y, x, functional):
    """Return the normal equations of a pixel's data term."""
    u0 = base[0, y, x]
    v0 = base[1, y, x]
    du = flow[0, y, x] - u0
    dv = flow[1, y, x] - v0
    height, width = np.float32(base.shape[1]), np.float32(base.shape[2])
    inside = is_inside(np.float32(x) + u0, np.float32(y) + v0, width, height)
    derivatives = _first_derivatives(mean, difference, i, j)
    equations = _brightness_equations(derivatives, u0, v0, du, dv, inside, functional)
    if functional.gradient > ZERO:
        derivatives = _second_derivatives(mean, difference, i, j)
        gradient = _gradient_equations(derivatives, u0, v0, du, dv, inside, functional)
        equations = _add(equations, gradient)
    return equations


@cuda_function
def _brightness_equations(derivatives, u0, v0, du, dv, inside, functional):
    gx, gy, gt = derivatives
    normalize, zeta2 = functional.normalize, functional.zeta2
    squared = constancy_distance2(gx, gy, gt, du, dv, normalize, zeta2)
    weight = penalty_weight(squared, functional.data_epsilon2, functional.data_exponent)
    weight *= inside * functional.brightness * constancy_scale(gx, gy, normalize, zeta2)
    return _normal_equations(weight, gx, gy, constancy_side(gx, gy, gt, u0, v0))


@cuda_function
def _gradient_equations(derivatives, u0, v0, du, dv, inside, functional):
    gxx, gxy, gyy, gxt, gyt = derivatives
    normalize, zeta2 = functional.normalize, functional.gradient_zeta2
    squared_x = constancy_distance2(gxx, gxy, gxt, du, dv, normalize, zeta2)
    squared_y = constancy_distance2(gxy, gyy, gyt, du, dv, normalize, zeta2)
    weight = inside * functional.gradient
    weight *= penalty_weight(
        squared_x + squared_y, functional.data_epsilon2, functional.data_exponent
    )
    wx = weight * constancy_scale(gxx, gxy, normalize, zeta2)
    wy = weight * constancy_scale(gxy, gyy, normalize, zeta2)
    return _add(
        _normal_equations(wx, gxx, gxy, constancy_side(gxx, gxy, gxt, u0, v0)),
        _normal_equations(wy, gxy, gyy, constancy_side(gxy, gyy, gyt, u0, v0)),
    )


@cuda_function
def _load_edges(image, flow, left, top, functional):
    """Return the weights of the edges at a block's pixels, of which (left, top) is the first.

    The edge to the left of the block's pixel [i, j] stands at [i, j] of the first array, that above
    it at [i, j] of the second one. Edges that leave the image weigh nothing.
    """
    across = cuda.shared.array(_EDGES_ACROSS, np.float32)
    down = cuda.shared.array(_EDGES_DOWN, np.float32)
    own_j, own_i = place()
    first = own_i * BLOCK_WIDTH + own_j
    for k in range(first, BLOCK_HEIGHT * (BLOCK_WIDTH + 1), BLOCK_HEIGHT * BLOCK_WIDTH):
        i, j = k // (BLOCK_WIDTH + 1), k % (BLOCK_WIDTH + 1)
        y, x = top + i, left + j
        across[i, j] = _edge(image, flow, y, x - 1, y, x, functional)
    for k in range(first, (BLOCK_HEIGHT + 1) * BLOCK_WIDTH, BLOCK_HEIGHT * BLOCK_WIDTH):
        i, j = k // BLOCK_WIDTH, k % BLOCK_WIDTH
        y, x = top + i, left + j
        down[i, j] = _edge(image, flow, y - 1, x, y, x, functional)
    cuda.syncthreads()
    return across, down


@cuda_function
def _edge(image, flow, y, x, y_next, x_next, functional):
    """Return the weight of the edge between two pixels."""
    height, width = image.shape
    if y < 0 or x < 0 or y_next >= height or x_next >= width:
        return ZERO
    du = flow[0, y_next, x_next] - flow[0, y, x]
    dv = flow[1, y_next, x_next] - flow[1, y, x]
    weight = penalty_weight(
        squared_length(du, dv), functional.smoothness_epsilon2, functional.smoothness_exponent
    )
    step = image[y_next, x_next] - image[y, x]
    return weight * edge_weight(step, functional.smoothness, functional.edge)


@cuda_kernel(signatures=(void(PLANES, int64, int64, int64, int64, float32),))
def _relax_colour(systems, n_rows, n_columns, width, colour, factor):
    """Over-relax the pixels of one colour in place; their neighbours are of the other colour.

    The systems' planes are flat here, both colours in one, and places in them without a sign: this
    kernel runs most often, and with five indices to each number would compute little else.
    """
    k, row, layer = pixel()
    row += 1
    shift = (row + colour) & 1
    column = 2 * k + shift
    if row > n_rows - 2 or column == 0 or column > width:
        return
    here = np.uint32((colour * n_rows + row) * n_columns + k)
    opposite = ((1 - colour) * n_rows + row) * n_columns + k
    left = np.uint32(opposite + shift - 1)
    right = np.uint32(opposite + shift)
    above = np.uint32(opposite - n_columns)
    below = np.uint32(opposite + n_columns)
    system = systems[layer]
    w_left = system[W_RIGHT, left]
    w_right = system[W_RIGHT, here]
    w_above = system[W_BELOW, above]
    w_below = system[W_BELOW, here]
    s = pull(
        system[SYSTEM_B1, here], w_left, w_right, w_above, w_below,
        system[U, left], system[U, right], system[U, above], system[U, below],
    )  # fmt: skip
    t = pull(
        system[SYSTEM_B2, here], w_left, w_right, w_above, w_below,
        system[V, left], system[V, right], system[V, above], system[V, below],
    )  # fmt: skip
    system[U, here], system[V, here] = relax_pixel(
        system[U, here], system[V, here],
        system[I11, here], system[I12, here], system[I22, here],
        s, t, factor,
    )  # fmt: skip


@cuda_kernel(signatures=(void(_SYSTEM, FIELDS, FIELDS, float32, int64, int64, int64),))
def _store_flow(systems, base, out, max_update, begin, first, stop):
    """Write the unknowns, limited to within ``max_update`` of the base, to rows of a flow."""
    x, y, layer = pixel()
    y += first
    if y < stop and x < out.shape[3]:
        row = y - begin + 1
        colour = (row + x + 1) % 2
        k = (x + 1) // 2
        u = systems[layer, U, colour, row, k]
        v = systems[layer, V, colour, row, k]
        out[layer, 0, y, x] = stay_within(u, base[layer, 0, y, x], max_update)
        out[layer, 1, y, x] = stay_within(v, base[layer, 1, y, x], max_update)


def solve_windows(frame0, warped, flow, out, confidence, window, functional, n_bands):
    """Solve Lucas-Kanade's normal equations in the window around each pixel.

    Parameters
    ----------
    frame0, warped : float32 device array of shape (n, height, width)
        The first frames, and the second ones warped by ``flow``.
    flow, out : float32 device array of shape (n, 2, height, width)
    confidence : float32 device array of shape (n, height, width) or (0, 0, 0)
        The smaller eigenvalue of each pixel's matrix, unless empty.
    window : float32 device array of shape (radius + 1,)
        Weights by distance from the centre along one axis; the window is their outer product.
    functional : WindowFunctional
    n_bands : int
        Most bands of rows, which are worked on one after the other in the same memory; does not
        change the result.
    """
    n, height, width = frame0.shape
    memory = memory_at(frame0)
    for first, stop, begin, end in _bands(height, n_bands, len(window) - 1):
        rows = layers(n, (end - begin, width))
        with memory.scope():
            products = memory.empty((n, N_EQUATIONS, end - begin, width))
            sums = memory.empty(products.shape)
            _write_products[rows](frame0, warped, flow, products, functional, begin)
            _sum_along[rows](products, window, sums)
            _solve[layers(n, (stop - first, width))](
                sums, window, flow, out, confidence, functional, begin, first, stop
            )


@cuda_kernel(signatures=(void(PLANES, PLANES, FIELDS, FIELDS, _WINDOW, int64),))
def _write_products(frame0, warped, flow, products, functional, begin):
    """Write what the windows of a band sum: weighted products of derivatives.

    A residual far above epsilon counts less (Charbonnier).
    """
    x, row, layer = pixel()
    y = begin + row
    j, i = place()
    mean, difference = _load_tiles(frame0[layer], warped[layer], x - j, y - i)
    height, width = frame0.shape[1:]
    if row >= products.shape[2] or x >= width:
        return
    inside = is_inside(
        np.float32(x) + flow[layer, 0, y, x],
        np.float32(y) + flow[layer, 1, y, x],
        np.float32(width),
        np.float32(height),
    )
    i, j = i + PAD, j + PAD
    gx, gy, gt = _first_derivatives(mean, difference, i, j)
    weight = inside * robust_weight(gt * gt, functional.epsilon2)
    equations = _normal_equations(weight, gx, gy, gt)
    gxx, gxy, gyy, gxt, gyt = _second_derivatives(mean, difference, i, j)
    weight = inside * functional.gradient
    weight *= robust_weight(squared_length(gxt, gyt), functional.gradient_epsilon2)
    equations = _add(equations, _normal_equations(weight, gxx, gxy, gxt))
    equations = _add(equations, _normal_equations(weight, gxy, gyy, gyt))
    for plane in range(N_EQUATIONS):
        products[layer, plane, row, x] = equations[plane]


@cuda_kernel(signatures=(void(FIELDS, ROW, FIELDS),))
def _sum_along(products, window, sums):
    """Write the windows' sums along rows; pixels outside the image count nothing."""
    x, y, layer = pixel()
    if y >= products.shape[2] or x >= products.shape[3]:
        return
    radius = window.size - 1
    a11, a12, a22, b1, b2 = ZERO, ZERO, ZERO, ZERO, ZERO
    for column in range(max(x - radius, 0), min(x + radius + 1, products.shape[3])):
        weight = window[abs(column - x)]
        a11 += weight * products[layer, A11, y, column]
        a12 += weight * products[layer, A12, y, column]
        a22 += weight * products[layer, A22, y, column]
        b1 += weight * products[layer, B1, y, column]
        b2 += weight * products[layer, B2, y, column]
    sums[layer, A11, y, x] = a11
    sums[layer, A12, y, x] = a12
    sums[layer, A22, y, x] = a22
    sums[layer, B1, y, x] = b1
    sums[layer, B2, y, x] = b2


@cuda_function
def _sums_across(sums, layer, y, x, window):
    """Return a window's sums across rows; pixels outside the image count nothing."""
    radius = window.size - 1
    a11, a12, a22, b1, b2 = ZERO, ZERO, ZERO, ZERO, ZERO
    for row in range(max(y - radius, 0), min(y + radius + 1, sums.shape[2])):
        weight = window[abs(row - y)]
        a11 += weight * sums[layer, A11, row, x]
        a12 += weight * sums[layer, A12, row, x]
        a22 += weight * sums[layer, A22, row, x]
        b1 += weight * sums[layer, B1, row, x]
        b2 += weight * sums[layer, B2, row, x]
    return a11, a12, a22, b1, b2


@cuda_kernel(signatures=(void(FIELDS, ROW, FIELDS, FIELDS, PLANES, _WINDOW, int64, int64, int64),))
def _solve(sums, window, flow, out, confidence, functional, begin, first, stop):
    """Write the flow that solves each window's equations and, unless empty, the confidence."""
    x, y, layer = pixel()
    y += first
    if y >= stop or x >= out.shape[3]:
        return
    a11, a12, a22, b1, b2 = _sums_across(sums, layer, y - begin, x, window)
    du, dv = window_update(a11, a12, a22, b1, b2, functional.regularization, functional.max_update)
    out[layer, 0, y, x] = flow[layer, 0, y, x] + du
    out[layer, 1, y, x] = flow[layer, 1, y, x] + dv
    if confidence.size > 0:
        confidence[layer, y, x] = max(smaller_eigenvalue(a11, a12, a22), ZERO)
