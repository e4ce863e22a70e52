"""The kernels of dense flow on a CUDA device, with the names and arguments of `cpu`.

All arrays lie on the device. Planes are float32 of shape (height, width); a flow is two planes, u
along columns and v along rows.
"""

import numpy as np
from numba import cuda, float32, int64, types, void

from fastmotion.core.compile import cuda_function, cuda_kernel
from fastmotion.core.device import launch_shape
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

# Pixels that a block of threads needs to differentiate its own.
_BLOCK_WIDTH, _BLOCK_HEIGHT = launch_shape((1, 1))[1]
_TILE = (_BLOCK_HEIGHT + 2 * PAD, _BLOCK_WIDTH + 2 * PAD)

_ROW = float32[::1]
_PLANE = float32[:, ::1]
_PLANES = float32[:, :, ::1]
_SYSTEM = float32[:, :, :, ::1]
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
    for i in range(cuda.threadIdx.y, _TILE[0], cuda.blockDim.y):
        y = min(max(top + i - PAD, 0), height - 1)
        for j in range(cuda.threadIdx.x, _TILE[1], cuda.blockDim.x):
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


def relax(frame0, warped, base, flow, out, functional, n_sweeps, omega, max_update, n_bands):
    """Run red-black sweeps of successive over-relaxation on the Horn-Schunck functional.

    Parameters
    ----------
    frame0, warped : float32 device array of shape (height, width)
        The first frame, and the second one warped by ``base``.
    base : float32 device array of shape (2, height, width)
        The flow at which the data term is linearised.
    flow : float32 device array of shape (2, height, width)
        The flow at which the penalties' weights are taken, and from which the sweeps start.
    out : float32 device array of shape (2, height, width)
    functional : VariationalFunctional
    n_sweeps : int
    omega : float32
        Over-relaxation factor in [1, 2) that the half-sweeps' factors rise to.
    max_update : float32
        ``out`` stays within this distance of ``base``, per component.
    n_bands : int
        For threads of the CPU; without effect here.
    """
    height, width = frame0.shape
    system = cuda.device_array((N_SYSTEM, 2, height + 2, (width + 3) // 2), np.float32)
    _set_up_system[launch_shape((height + 2, width + 2))](
        frame0, warped, base, flow, system, functional
    )
    half = launch_shape((height, width // 2 + 1))
    squared_radius = np.float32(squared_spectral_radius(omega))
    factor = TWO
    for h in range(2 * n_sweeps):
        _relax_colour[half](system, width, h % 2, factor if h > 0 else ONE)
        factor = np.float32(next_relaxation_factor(factor, squared_radius))
    _store_flow[launch_shape((height, width))](system, base, out, max_update)


# The system holds the pixels of either colour of the checkerboard by themselves, so that the
# threads of a half-sweep read and write neighbouring numbers. One pixel more stands on every side,
# all zeros: its edges weigh nothing, and no pixel inside is an exception. Column k of the colour c
# of row y is column 2k or 2k + 1 of the padded image, whichever makes it and y of parity c.


@cuda_kernel(signatures=(void(_PLANE, _PLANE, _PLANES, _PLANES, _SYSTEM, _VARIATIONAL),))
def _set_up_system(frame0, warped, base, flow, system, functional):
    """Write the unknowns and the equations of each pixel, and zeros around the image."""
    column, row = cuda.grid(2)
    left = cuda.blockIdx.x * cuda.blockDim.x - 1
    top = cuda.blockIdx.y * cuda.blockDim.y - 1
    mean, difference = _load_tiles(frame0, warped, left, top)
    height, width = frame0.shape
    if row > height + 1 or column > width + 1:
        return
    colour = (row + column) % 2
    k = column // 2
    if row == 0 or row > height or column == 0 or column > width:
        for plane in range(N_SYSTEM):
            system[plane, colour, row, k] = ZERO
        return
    x = column - 1
    y = row - 1
    i = cuda.threadIdx.y + PAD
    j = cuda.threadIdx.x + PAD
    a11, a12, a22, b1, b2 = _data_equations(mean, difference, i, j, base, flow, y, x, functional)
    w_left = _smoothness(frame0, flow, y, x, y, x - 1, functional) if x > 0 else ZERO
    w_above = _smoothness(frame0, flow, y, x, y - 1, x, functional) if y > 0 else ZERO
    w_right = _smoothness(frame0, flow, y, x, y, x + 1, functional) if column < width else ZERO
    w_below = _smoothness(frame0, flow, y, x, y + 1, x, functional) if row < height else ZERO
    w = w_left + w_right + w_above + w_below
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
def _smoothness(image, flow, y, x, y_next, x_next, functional):
    """Return the weight of the edge between two pixels."""
    du = flow[0, y_next, x_next] - flow[0, y, x]
    dv = flow[1, y_next, x_next] - flow[1, y, x]
    weight = penalty_weight(
        squared_length(du, dv), functional.smoothness_epsilon2, functional.smoothness_exponent
    )
    step = image[y_next, x_next] - image[y, x]
    return weight * edge_weight(step, functional.smoothness, functional.edge)


@cuda_kernel(signatures=(void(_SYSTEM, int64, int64, float32),))
def _relax_colour(system, width, colour, factor):
    """Over-relax the pixels of one colour in place; their neighbours are of the other colour."""
    k, row = cuda.grid(2)
    row += 1
    column = 2 * k + (row + colour) % 2
    if row > system.shape[2] - 2 or column == 0 or column > width:
        return
    other = 1 - colour
    left = (column - 1) // 2
    right = (column + 1) // 2
    w_left = system[W_RIGHT, other, row, left]
    w_right = system[W_RIGHT, colour, row, k]
    w_above = system[W_BELOW, other, row - 1, k]
    w_below = system[W_BELOW, colour, row, k]
    s = pull(
        system[SYSTEM_B1, colour, row, k],
        w_left,
        w_right,
        w_above,
        w_below,
        system[U, other, row, left],
        system[U, other, row, right],
        system[U, other, row - 1, k],
        system[U, other, row + 1, k],
    )
    t = pull(
        system[SYSTEM_B2, colour, row, k],
        w_left,
        w_right,
        w_above,
        w_below,
        system[V, other, row, left],
        system[V, other, row, right],
        system[V, other, row - 1, k],
        system[V, other, row + 1, k],
    )
    system[U, colour, row, k], system[V, colour, row, k] = relax_pixel(
        system[U, colour, row, k],
        system[V, colour, row, k],
        system[I11, colour, row, k],
        system[I12, colour, row, k],
        system[I22, colour, row, k],
        s,
        t,
        factor,
    )


@cuda_kernel(signatures=(void(_SYSTEM, _PLANES, _PLANES, float32),))
def _store_flow(system, base, out, max_update):
    """Write the unknowns, limited to within ``max_update`` of the base, to a flow."""
    x, y = cuda.grid(2)
    if y < out.shape[1] and x < out.shape[2]:
        colour = (y + x) % 2
        k = (x + 1) // 2
        out[0, y, x] = stay_within(system[U, colour, y + 1, k], base[0, y, x], max_update)
        out[1, y, x] = stay_within(system[V, colour, y + 1, k], base[1, y, x], max_update)


def solve_windows(frame0, warped, flow, out, confidence, window, functional, n_bands):
    """Solve Lucas-Kanade's normal equations in the window around each pixel.

    Parameters
    ----------
    frame0, warped : float32 device array of shape (height, width)
        The first frame, and the second one warped by ``flow``.
    flow, out : float32 device array of shape (2, height, width)
    confidence : float32 device array of shape (height, width) or (0, 0)
        The smaller eigenvalue of each pixel's matrix, unless empty.
    window : float32 device array of shape (radius + 1,)
        Weights by distance from the centre along one axis; the window is their outer product.
    functional : WindowFunctional
    n_bands : int
        For threads of the CPU; without effect here.
    """
    launch = launch_shape(frame0.shape)
    products = cuda.device_array((N_EQUATIONS, *frame0.shape), np.float32)
    sums = cuda.device_array(products.shape, np.float32)
    _write_products[launch](frame0, warped, flow, products, functional)
    _sum_along[launch](products, window, sums)
    _solve[launch](sums, window, flow, out, confidence, functional)


@cuda_kernel(signatures=(void(_PLANE, _PLANE, _PLANES, _PLANES, _WINDOW),))
def _write_products(frame0, warped, flow, products, functional):
    """Write what the windows sum: weighted products of derivatives.

    A residual far above epsilon counts less (Charbonnier).
    """
    x, y = cuda.grid(2)
    left = cuda.blockIdx.x * cuda.blockDim.x
    top = cuda.blockIdx.y * cuda.blockDim.y
    mean, difference = _load_tiles(frame0, warped, left, top)
    height, width = frame0.shape
    if y >= height or x >= width:
        return
    inside = is_inside(
        np.float32(x) + flow[0, y, x],
        np.float32(y) + flow[1, y, x],
        np.float32(width),
        np.float32(height),
    )
    i = cuda.threadIdx.y + PAD
    j = cuda.threadIdx.x + PAD
    gx, gy, gt = _first_derivatives(mean, difference, i, j)
    weight = inside * robust_weight(gt * gt, functional.epsilon2)
    equations = _normal_equations(weight, gx, gy, gt)
    gxx, gxy, gyy, gxt, gyt = _second_derivatives(mean, difference, i, j)
    weight = inside * functional.gradient
    weight *= robust_weight(squared_length(gxt, gyt), functional.gradient_epsilon2)
    equations = _add(equations, _normal_equations(weight, gxx, gxy, gxt))
    equations = _add(equations, _normal_equations(weight, gxy, gyy, gyt))
    for plane in range(N_EQUATIONS):
        products[plane, y, x] = equations[plane]


@cuda_kernel(signatures=(void(_PLANES, _ROW, _PLANES),))
def _sum_along(products, window, sums):
    """Write the windows' sums along rows; pixels outside the image count nothing."""
    x, y = cuda.grid(2)
    width = products.shape[2]
    if y >= products.shape[1] or x >= width:
        return
    for plane in range(N_EQUATIONS):
        total = window[0] * products[plane, y, x]
        for k in range(1, window.size):
            if x - k >= 0:
                total += window[k] * products[plane, y, x - k]
            if x + k < width:
                total += window[k] * products[plane, y, x + k]
        sums[plane, y, x] = total


@cuda_function
def _sum_across(sums, plane, y, x, window):
    """Return a window's sum across rows; pixels outside the image count nothing."""
    height = sums.shape[1]
    total = window[0] * sums[plane, y, x]
    for k in range(1, window.size):
        if y - k >= 0:
            total += window[k] * sums[plane, y - k, x]
        if y + k < height:
            total += window[k] * sums[plane, y + k, x]
    return total


@cuda_kernel(signatures=(void(_PLANES, _ROW, _PLANES, _PLANES, _PLANE, _WINDOW),))
def _solve(sums, window, flow, out, confidence, functional):
    """Write the flow that solves each window's equations and, unless empty, the confidence."""
    x, y = cuda.grid(2)
    if y >= out.shape[1] or x >= out.shape[2]:
        return
    a11 = _sum_across(sums, A11, y, x, window)
    a12 = _sum_across(sums, A12, y, x, window)
    a22 = _sum_across(sums, A22, y, x, window)
    b1 = _sum_across(sums, B1, y, x, window)
    b2 = _sum_across(sums, B2, y, x, window)
    du, dv = window_update(a11, a12, a22, b1, b2, functional.regularization, functional.max_update)
    out[0, y, x] = flow[0, y, x] + du
    out[1, y, x] = flow[1, y, x] + dv
    if confidence.size > 0:
        confidence[y, x] = max(smaller_eigenvalue(a11, a12, a22), ZERO)
