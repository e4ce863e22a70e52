"""Loops over single image rows, out of which the CPU kernels are built.

Every argument is a contiguous row, so that each loop compiles to vector instructions; the kernels
in `cpu` decide which rows to work on and when. A *padded* row carries `layout.PAD` more pixels on
either side.
"""

import numpy as np

from fastmotion.core.compile import cpu_function
from fastmotion.flow.kernels.layout import (
    A11,
    A12,
    A22,
    B1,
    B2,
    DT,
    DX,
    DXT,
    DXX,
    DXY,
    DY,
    DYT,
    DYY,
    PAD,
)
from fastmotion.flow.kernels.scalar import (
    ZERO,
    affinity,
    constancy_distance2,
    constancy_scale,
    constancy_side,
    edge_weight,
    first_difference,
    inverse_2x2,
    is_inside,
    mean_and_step,
    median_of_sorted_columns,
    normal_matrix,
    normal_side,
    penalty_weight,
    pull,
    relax_pixel,
    reliability,
    robust_weight,
    second_difference,
    smaller_eigenvalue,
    sort_5,
    squared_length,
    stay_within,
    window_update,
)


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
        m[x], d[x] = mean_and_step(row0[x], row1[x])
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
    for x in range(squared.size):
        squared[x] = penalty_weight(squared[x], epsilon2, exponent)


@cpu_function
def brightness_equations(equations, derivatives, u0, v0, u, v, inside, weight, functional):
    """Write the normal equations of brightness constancy, linearised at the flow (u0, v0).

    Reweighted least squares: the penalty's weight is taken at the flow (u, v).
    """
    gx = derivatives[DX]
    gy = derivatives[DY]
    gt = derivatives[DT]
    for x in range(weight.size):
        weight[x] = constancy_distance2(
            gx[x],
            gy[x],
            gt[x],
            u[x] - u0[x],
            v[x] - v0[x],
            functional.normalize,
            functional.zeta2,
        )
    penalize(weight, functional.data_epsilon2, functional.data_exponent)
    a11 = equations[A11]
    a12 = equations[A12]
    a22 = equations[A22]
    for x in range(weight.size):
        scale = constancy_scale(gx[x], gy[x], functional.normalize, functional.zeta2)
        w = inside[x] * functional.brightness * scale * weight[x]
        weight[x] = w
        a11[x], a12[x], a22[x] = normal_matrix(w, gx[x], gy[x])
    b1 = equations[B1]
    b2 = equations[B2]
    for x in range(weight.size):
        c = constancy_side(gx[x], gy[x], gt[x], u0[x], v0[x])
        b1[x], b2[x] = normal_side(weight[x], gx[x], gy[x], c)


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
    normalize = functional.normalize
    zeta2 = functional.gradient_zeta2
    for x in range(wx.size):
        du = u[x] - u0[x]
        dv = v[x] - v0[x]
        wx[x] = constancy_distance2(
            gxx[x], gxy[x], gxt[x], du, dv, normalize, zeta2
        ) + constancy_distance2(gxy[x], gyy[x], gyt[x], du, dv, normalize, zeta2)
    penalize(wx, functional.data_epsilon2, functional.data_exponent)
    for x in range(wx.size):
        w = inside[x] * functional.gradient * wx[x]
        wx[x] = w * constancy_scale(gxx[x], gxy[x], normalize, zeta2)
        wy[x] = w * constancy_scale(gxy[x], gyy[x], normalize, zeta2)
    a11 = equations[A11]
    a12 = equations[A12]
    a22 = equations[A22]
    for x in range(wx.size):
        x11, x12, x22 = normal_matrix(wx[x], gxx[x], gxy[x])
        y11, y12, y22 = normal_matrix(wy[x], gxy[x], gyy[x])
        a11[x] += x11 + y11
        a12[x] += x12 + y12
        a22[x] += x22 + y22
    b1 = equations[B1]
    b2 = equations[B2]
    for x in range(wx.size):
        cx = constancy_side(gxx[x], gxy[x], gxt[x], u0[x], v0[x])
        cy = constancy_side(gxy[x], gyy[x], gyt[x], u0[x], v0[x])
        x1, x2 = normal_side(wx[x], gxx[x], gxy[x], cx)
        y1, y2 = normal_side(wy[x], gxy[x], gyy[x], cy)
        b1[x] += x1 + y1
        b2[x] += x2 + y2


@cpu_function
def smoothness_weights(weight, image, image_next, u, u_next, v, v_next, functional):
    """Write the weights of the edges from each pixel to its neighbour in the ``_next`` rows."""
    for x in range(weight.size):
        weight[x] = squared_length(u_next[x] - u[x], v_next[x] - v[x])
    penalize(weight, functional.smoothness_epsilon2, functional.smoothness_exponent)
    for x in range(weight.size):
        weight[x] *= edge_weight(image_next[x] - image[x], functional.smoothness, functional.edge)


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
        a11[x], a12[x], a22[x] = inverse_2x2(a11[x], a12[x], a22[x], weight)


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
        s = pull(
            b1[k], w_left[k], w_right[k], w_above[k], w_below[k],
            u_left[k], u_right[k], u_above[k], u_below[k],
        )  # fmt: skip
        t = pull(
            b2[k], w_left[k], w_right[k], w_above[k], w_below[k],
            v_left[k], v_right[k], v_above[k], v_below[k],
        )  # fmt: skip
        u[k], v[k] = relax_pixel(u[k], v[k], i11[k], i12[k], i22[k], s, t, omega)


@cpu_function
def limit_change(row, base, most):
    """Clip a row to within ``most`` of another one."""
    for x in range(row.size):
        row[x] = stay_within(row[x], base[x], most)


@cpu_function
def sort_columns(a, b, c, d, e):
    """Sort the columns of five rows in place."""
    for x in range(a.size):
        a[x], b[x], c[x], d[x], e[x] = sort_5(a[x], b[x], c[x], d[x], e[x])


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
        a11[x], a12[x], a22[x] = normal_matrix(w, gx[x], gy[x])
        b1[x], b2[x] = normal_side(w, gx[x], gy[x], gt[x])
    gxx = derivatives[DXX]
    gxy = derivatives[DXY]
    gyy = derivatives[DYY]
    gxt = derivatives[DXT]
    gyt = derivatives[DYT]
    for x in range(inside.size):
        squared = squared_length(gxt[x], gyt[x])
        w = functional.gradient * inside[x] * robust_weight(squared, functional.gradient_epsilon2)
        x11, x12, x22 = normal_matrix(w, gxx[x], gxy[x])
        y11, y12, y22 = normal_matrix(w, gxy[x], gyy[x])
        x1, x2 = normal_side(w, gxx[x], gxy[x], gxt[x])
        y1, y2 = normal_side(w, gxy[x], gyy[x], gyt[x])
        a11[x] += x11 + y11
        a12[x] += x12 + y12
        a22[x] += x22 + y22
        b1[x] += x1 + y1
        b2[x] += x2 + y2


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
def add_gathered(out, row, start, offset, weight):
    """Add pixels of a row, each at its ``start`` plus an offset, weighted one by one."""
    for x in range(out.size):
        out[x] += weight[x] * row[np.uint64(start[x] + offset)]


@cpu_function
def solve_window(u_out, v_out, u, v, sums, functional):
    """Write the flow that solves each pixel's regularised normal equations."""
    a11 = sums[A11]
    a12 = sums[A12]
    a22 = sums[A22]
    b1 = sums[B1]
    b2 = sums[B2]
    for x in range(u.size):
        du, dv = window_update(
            a11[x], a12[x], a22[x], b1[x], b2[x], functional.regularization, functional.max_update
        )
        u_out[x] = u[x] + du
        v_out[x] = v[x] + dv


@cpu_function
def eigenvalues(out, sums):
    """Write the smaller eigenvalue of each pixel's 2 x 2 matrix."""
    a11 = sums[A11]
    a12 = sums[A12]
    a22 = sums[A22]
    for x in range(out.size):
        out[x] = max(smaller_eigenvalue(a11[x], a12[x], a22[x]), ZERO)


@cpu_function
def reliabilities(out, row0, warped, u_left, u_right, v_above, v_below, intensity, divergence):
    """Write how far each pixel is likely to be seen in both frames."""
    for x in range(out.size):
        out[x] = reliability(
            warped[x] - row0[x],
            u_right[x] - u_left[x],
            v_below[x] - v_above[x],
            intensity,
            divergence,
        )


@cpu_function
def copy_behind(target, n, source):
    """Copy a row to behind the first n elements of another."""
    for x in range(source.size):
        target[np.uint64(n + x)] = source[x]


@cpu_function
def weigh_samples(weights, n, row, reliabilities, centre, intensity):
    """Write, behind n others, the weights of a row's pixels as samples for one like ``centre``."""
    for x in range(row.size):
        step = intensity * (row[x] - centre)
        weights[np.uint64(n + x)] = affinity(step * step) * reliabilities[x]


@cpu_function
def smallest_and_largest(values, n):
    """Return the smallest and the largest of the first n values, of which none is NaN."""
    low = values[0]
    high = values[0]
    for k in range(1, n):
        value = values[np.uint64(k)]
        low = min(low, value)
        high = max(high, value)
    return low, high


@cpu_function(fastmath="reassociate")
def weight_up_to(values, weights, n, limit):
    """Return the sum of the weights of those of the first n values that do not exceed a limit."""
    total = ZERO
    for k in range(n):
        total += weights[k] if values[k] <= limit else ZERO
    return total
