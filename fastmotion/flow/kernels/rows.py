"""Loops over single image rows, out of which the CPU kernels are built.

Every argument is a contiguous row, so that each loop compiles to vector instructions; the kernels
in `cpu` decide which rows to work on and when. A *padded* row carries `PAD` more pixels on either
side.
"""

import numpy as np

from fastmotion.core.compile import cpu_function
from fastmotion.flow.kernels.scalar import (
    HALF,
    ONE,
    ZERO,
    charbonnier,
    clamp,
    constancy_scale,
    first_difference,
    generalized_charbonnier,
    inverse_2x2,
    is_inside,
    median_of_sorted_columns,
    over_relax,
    robust_weight,
    second_difference,
    smaller_eigenvalue,
)

PAD = 2

# Rows of `image_derivatives`: of the mean of both frames, then of their difference.
DX, DY, DT, DXX, DXY, DYY, DXT, DYT = range(8)
N_DERIVATIVES = 8

# Rows of the normal equations ``[[A11, A12], [A12, A22]] flow = [B1, B2]``.
A11, A12, A22, B1, B2 = range(5)
N_EQUATIONS = 5


@cpu_function
def copy(target, source):
    """Copy a row."""
    for x in range(target.size):
        target[x] = source[x]


@cpu_function
def pad(target, source):
    """Copy a row into a padded one, repeating the pixels at its ends."""
    width = source.size
    copy(target[PAD : PAD + width], source)
    for k in range(PAD):
        target[k] = source[0]
        target[PAD + width + k] = source[width - 1]


@cpu_function
def mean_and_difference(mean, difference, row0, row1):
    """Write the mean of two rows and their difference to padded rows."""
    width = row0.size
    m = mean[PAD : PAD + width]
    d = difference[PAD : PAD + width]
    for x in range(width):
        m[x] = HALF * (row0[x] + row1[x])
        d[x] = row1[x] - row0[x]
    for k in range(PAD):
        mean[k] = m[0]
        difference[k] = d[0]
        mean[PAD + width + k] = m[width - 1]
        difference[PAD + width + k] = d[width - 1]


@cpu_function
def derive_along(out, padded):
    """Write the first derivative of a padded row along itself."""
    width = out.size
    a = padded[:width]
    b = padded[1 : width + 1]
    d = padded[3 : width + 3]
    e = padded[4 : width + 4]
    for x in range(width):
        out[x] = first_difference(a[x], b[x], d[x], e[x])


@cpu_function
def derive_across(out, a, b, d, e):
    """Write the first derivative across five rows, of which the middle one does not count."""
    for x in range(out.size):
        out[x] = first_difference(a[x], b[x], d[x], e[x])


@cpu_function
def derive_twice_along(out, padded):
    """Write the second derivative of a padded row along itself."""
    width = out.size
    a = padded[:width]
    b = padded[1 : width + 1]
    c = padded[2 : width + 2]
    d = padded[3 : width + 3]
    e = padded[4 : width + 4]
    for x in range(width):
        out[x] = second_difference(a[x], b[x], c[x], d[x], e[x])


@cpu_function
def derive_twice_across(out, a, b, c, d, e):
    """Write the second derivative across five rows."""
    for x in range(out.size):
        out[x] = second_difference(a[x], b[x], c[x], d[x], e[x])


@cpu_function
def mark_inside(inside, u, v, y, height):
    """Write 1 where the flow of row y ends on the image and 0 elsewhere."""
    width = np.float32(u.size)
    for x in range(u.size):
        inside[x] = is_inside(np.float32(x) + u[x], y + v[x], width, height)


@cpu_function
def penalize(squared, epsilon2, exponent):
    """Turn a row of squared arguments into the weights of a penalty, in place."""
    if exponent == ONE:
        squared[:] = ONE
    elif exponent == HALF:
        for x in range(squared.size):
            squared[x] = charbonnier(squared[x], epsilon2)
    else:
        for x in range(squared.size):
            squared[x] = generalized_charbonnier(squared[x], epsilon2, exponent)


@cpu_function
def brightness_equations(equations, derivatives, u0, v0, u, v, inside, weight, functional):
    """Write the normal equations of brightness constancy, linearised at the flow (u0, v0).

    Reweighted least squares: the penalty's weight is taken at the flow (u, v).
    """
    gx = derivatives[DX]
    gy = derivatives[DY]
    gt = derivatives[DT]
    for x in range(weight.size):
        scale = constancy_scale(gx[x], gy[x], functional.normalize, functional.zeta2)
        residual = gt[x] + gx[x] * (u[x] - u0[x]) + gy[x] * (v[x] - v0[x])
        weight[x] = scale * residual * residual
    penalize(weight, functional.data_epsilon2, functional.data_exponent)
    a11 = equations[A11]
    a12 = equations[A12]
    a22 = equations[A22]
    for x in range(weight.size):
        scale = constancy_scale(gx[x], gy[x], functional.normalize, functional.zeta2)
        w = inside[x] * functional.brightness * scale * weight[x]
        weight[x] = w
        a11[x] = w * gx[x] * gx[x]
        a12[x] = w * gx[x] * gy[x]
        a22[x] = w * gy[x] * gy[x]
    b1 = equations[B1]
    b2 = equations[B2]
    for x in range(weight.size):
        target = weight[x] * (gx[x] * u0[x] + gy[x] * v0[x] - gt[x])
        b1[x] = gx[x] * target
        b2[x] = gy[x] * target


@cpu_function
def add_gradient_equations(equations, derivatives, u0, v0, u, v, inside, weights, functional):
    """Add the normal equations of the constancy of both gradient components, under one penalty."""
    gxx = derivatives[DXX]
    gxy = derivatives[DXY]
    gyy = derivatives[DYY]
    gxt = derivatives[DXT]
    gyt = derivatives[DYT]
    wx = weights[0]
    wy = weights[1]
    for x in range(wx.size):
        du = u[x] - u0[x]
        dv = v[x] - v0[x]
        scale_x = constancy_scale(gxx[x], gxy[x], functional.normalize, functional.gradient_zeta2)
        scale_y = constancy_scale(gxy[x], gyy[x], functional.normalize, functional.gradient_zeta2)
        rx = gxt[x] + gxx[x] * du + gxy[x] * dv
        ry = gyt[x] + gxy[x] * du + gyy[x] * dv
        wx[x] = scale_x * rx * rx + scale_y * ry * ry
    penalize(wx, functional.data_epsilon2, functional.data_exponent)
    for x in range(wx.size):
        scale_x = constancy_scale(gxx[x], gxy[x], functional.normalize, functional.gradient_zeta2)
        scale_y = constancy_scale(gxy[x], gyy[x], functional.normalize, functional.gradient_zeta2)
        w = inside[x] * functional.gradient * wx[x]
        wx[x] = w * scale_x
        wy[x] = w * scale_y
    a11 = equations[A11]
    a12 = equations[A12]
    a22 = equations[A22]
    for x in range(wx.size):
        a11[x] += wx[x] * gxx[x] * gxx[x] + wy[x] * gxy[x] * gxy[x]
        a12[x] += wx[x] * gxx[x] * gxy[x] + wy[x] * gxy[x] * gyy[x]
        a22[x] += wx[x] * gxy[x] * gxy[x] + wy[x] * gyy[x] * gyy[x]
    b1 = equations[B1]
    b2 = equations[B2]
    for x in range(wx.size):
        target_x = wx[x] * (gxx[x] * u0[x] + gxy[x] * v0[x] - gxt[x])
        target_y = wy[x] * (gxy[x] * u0[x] + gyy[x] * v0[x] - gyt[x])
        b1[x] += gxx[x] * target_x + gxy[x] * target_y
        b2[x] += gxy[x] * target_x + gyy[x] * target_y


@cpu_function
def smoothness_weights(weight, image, image_next, u, u_next, v, v_next, functional):
    """Write the weights of the edges from each pixel to its neighbour in the ``_next`` rows."""
    for x in range(weight.size):
        du = u_next[x] - u[x]
        dv = v_next[x] - v[x]
        weight[x] = du * du + dv * dv
    penalize(weight, functional.smoothness_epsilon2, functional.smoothness_exponent)
    for x in range(weight.size):
        step = image_next[x] - image[x]
        weight[x] *= functional.smoothness / (ONE + functional.edge * step * step)


@cpu_function
def invert_equations(equations, right, below, above, total):
    """Replace each pixel's 2 x 2 matrix, its edges' weights added, by the inverse."""
    copy(total, right)
    left = right[: right.size - 1]
    total_from_1 = total[1:]
    for x in range(left.size):
        total_from_1[x] += left[x]
    a11 = equations[A11]
    a12 = equations[A12]
    a22 = equations[A22]
    for x in range(total.size):
        weight = total[x] + below[x] + above[x]
        a11[x], a12[x], a22[x] = inverse_2x2(a11[x] + weight, a12[x], a22[x] + weight)


@cpu_function
def split_columns(columns, row):
    """Write the even columns of a row to ``columns[0]`` and the odd ones to ``columns[1]``.

    One pixel is left free before the first and at least one behind the last.
    """
    even = columns[0, 1:]
    odd = columns[1, 1:]
    half = row.size // 2
    for k in range(half):
        even[k] = row[2 * k]
        odd[k] = row[2 * k + 1]
    if row.size % 2:
        even[half] = row[row.size - 1]


@cpu_function
def join_columns(row, columns):
    """Write the row that `split_columns` has split."""
    even = columns[0, 1:]
    odd = columns[1, 1:]
    half = row.size // 2
    for k in range(half):
        row[2 * k] = even[k]
        row[2 * k + 1] = odd[k]
    if row.size % 2:
        row[row.size - 1] = even[half]


@cpu_function
def relax(
    u, v, u_left, u_right, u_above, u_below, v_left, v_right, v_above, v_below,
    i11, i12, i22, b1, b2, w_left, w_right, w_above, w_below, omega,
):  # fmt: skip
    """Over-relax the pixels of one colour of a row; their neighbours are of the other colour."""
    for k in range(u.size):
        s = (
            b1[k]
            + w_left[k] * u_left[k]
            + w_right[k] * u_right[k]
            + w_above[k] * u_above[k]
            + w_below[k] * u_below[k]
        )
        t = (
            b2[k]
            + w_left[k] * v_left[k]
            + w_right[k] * v_right[k]
            + w_above[k] * v_above[k]
            + w_below[k] * v_below[k]
        )
        u[k] = over_relax(u[k], i11[k] * s + i12[k] * t, omega)
        v[k] = over_relax(v[k], i12[k] * s + i22[k] * t, omega)


@cpu_function
def limit_change(row, base, most):
    """Clip a row to within ``most`` of another one."""
    for x in range(row.size):
        row[x] = clamp(row[x], base[x] - most, base[x] + most)


@cpu_function
def order(lower, upper):
    """Exchange the pixels of two rows where they are out of order."""
    for x in range(lower.size):
        a = lower[x]
        b = upper[x]
        lower[x] = min(a, b)
        upper[x] = max(a, b)


@cpu_function
def sort_columns(rows):
    """Sort the columns of five rows in place."""
    order(rows[0], rows[1])
    order(rows[3], rows[4])
    order(rows[2], rows[4])
    order(rows[2], rows[3])
    order(rows[0], rows[3])
    order(rows[0], rows[2])
    order(rows[1], rows[4])
    order(rows[1], rows[3])
    order(rows[1], rows[2])


@cpu_function
def median(out, rows):
    """Write the medians of 5 x 5 windows; the columns of the five padded rows are sorted."""
    width = out.size
    a0, a1, a2, a3, a4 = _shifts(rows[0], width)
    b0, b1, b2, b3, b4 = _shifts(rows[1], width)
    c0, c1, c2, c3, c4 = _shifts(rows[2], width)
    d0, d1, d2, d3, d4 = _shifts(rows[3], width)
    e0, e1, e2, e3, e4 = _shifts(rows[4], width)
    for i in range(width):
        x = np.uint64(i)
        out[x] = median_of_sorted_columns(
            a0[x], a1[x], a2[x], a3[x], a4[x],
            b0[x], b1[x], b2[x], b3[x], b4[x],
            c0[x], c1[x], c2[x], c3[x], c4[x],
            d0[x], d1[x], d2[x], d3[x], d4[x],
            e0[x], e1[x], e2[x], e3[x], e4[x],
        )  # fmt: skip


@cpu_function
def _shifts(padded, width):
    return (
        padded[:width],
        padded[1 : width + 1],
        padded[2 : width + 2],
        padded[3 : width + 3],
        padded[4 : width + 4],
    )


@cpu_function
def window_products(products, first, derivatives, inside, functional):
    """Write what the windows of Lucas-Kanade sum, from column ``first`` on.

    Weighted products of derivatives: of brightness constancy and of the constancy of both gradient
    components. A residual far above epsilon counts less (Charbonnier).
    """
    inner = slice(first, first + inside.size)
    gx = derivatives[DX]
    gy = derivatives[DY]
    gt = derivatives[DT]
    a11 = products[A11, inner]
    a12 = products[A12, inner]
    a22 = products[A22, inner]
    b1 = products[B1, inner]
    b2 = products[B2, inner]
    for x in range(inside.size):
        w = inside[x] * robust_weight(gt[x] * gt[x], functional.epsilon2)
        a11[x] = w * gx[x] * gx[x]
        a12[x] = w * gx[x] * gy[x]
        a22[x] = w * gy[x] * gy[x]
        b1[x] = w * gx[x] * gt[x]
        b2[x] = w * gy[x] * gt[x]
    gxx = derivatives[DXX]
    gxy = derivatives[DXY]
    gyy = derivatives[DYY]
    gxt = derivatives[DXT]
    gyt = derivatives[DYT]
    for x in range(inside.size):
        squared = gxt[x] * gxt[x] + gyt[x] * gyt[x]
        w = functional.gradient * inside[x] * robust_weight(squared, functional.gradient_epsilon2)
        a11[x] += w * (gxx[x] * gxx[x] + gxy[x] * gxy[x])
        a12[x] += w * (gxx[x] * gxy[x] + gxy[x] * gyy[x])
        a22[x] += w * (gxy[x] * gxy[x] + gyy[x] * gyy[x])
        b1[x] += w * (gxx[x] * gxt[x] + gxy[x] * gyt[x])
        b2[x] += w * (gxy[x] * gxt[x] + gyy[x] * gyt[x])


@cpu_function
def scale_row(out, row, weight):
    """Write a row times a number."""
    for x in range(out.size):
        out[x] = weight * row[x]


@cpu_function
def add_scaled(out, row, weight):
    """Add a row times a number."""
    for x in range(out.size):
        out[x] += weight * row[x]


@cpu_function
def add_scaled_pair(out, row0, row1, weight):
    """Add the sum of two rows times a number."""
    for x in range(out.size):
        out[x] += weight * (row0[x] + row1[x])


@cpu_function
def gather(out, row, start, weights):
    """Write weighted sums of consecutive pixels, ``start`` telling where each sum begins."""
    out[:] = ZERO
    for k in range(weights.shape[0]):
        taps = weights[k]
        shifted = row[k:]
        for x in range(out.size):
            out[x] += taps[x] * shifted[np.uint64(start[x])]


@cpu_function
def solve_window(u_out, v_out, u, v, sums, functional):
    """Write the flow that solves each pixel's regularised normal equations."""
    a11 = sums[A11]
    a12 = sums[A12]
    a22 = sums[A22]
    b1 = sums[B1]
    b2 = sums[B2]
    for x in range(u.size):
        i11, i12, i22 = inverse_2x2(
            a11[x] + functional.regularization, a12[x], a22[x] + functional.regularization
        )
        du = -(i11 * b1[x] + i12 * b2[x])
        dv = -(i12 * b1[x] + i22 * b2[x])
        u_out[x] = u[x] + clamp(du, -functional.max_update, functional.max_update)
        v_out[x] = v[x] + clamp(dv, -functional.max_update, functional.max_update)


@cpu_function
def eigenvalues(out, sums):
    """Write the smaller eigenvalue of each pixel's 2 x 2 matrix."""
    a11 = sums[A11]
    a12 = sums[A12]
    a22 = sums[A22]
    for x in range(out.size):
        out[x] = max(smaller_eigenvalue(a11[x], a12[x], a22[x]), ZERO)
