"""Dense optical flow on whole float64 arrays, in other words than the package's.

Slow and plain: what the kernels compute pixel by pixel is written here with convolutions, sparse
matrices and NumPy's solvers. A flow is an array of shape (2, height, width), u before v; as a
vector it is all of u, then all of v. ``functional`` is any object with the attributes of the
package's tuples in `fastmotion.flow.kernels.functional`.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse

FIRST = np.array([1, -8, 0, 8, -1]) / 12
SECOND = np.array([-1, 16, -30, 16, -1]) / 12


def resampling_matrix(start, weights, size):
    """Return the dense matrix that resizes an axis; samples outside are those at the ends.

    ``start`` of shape (new_size,) and ``weights`` of shape (n_taps, new_size) are the kernels'.
    """
    matrix = np.zeros((len(start), size))
    for k, taps in enumerate(weights):
        np.add.at(matrix, (np.arange(len(start)), np.clip(start + k, 0, size - 1)), taps)
    return matrix


def interpolation_matrix(size, new_size):
    """Return the matrix that resizes an axis by linear interpolation between pixel centres."""
    places = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    return np.stack([np.interp(places, np.arange(size), e) for e in np.eye(size)], axis=1)


def keys_kernel(distance):
    """Return the weight of a sample at a distance: Keys (1981), equation 4, a = -1/2."""
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def warp(image, flow):
    """Sample an image where a flow points to, as a sum of 16 shifted gathers."""
    height, width = image.shape
    rows, columns = np.indices(image.shape)
    x = np.clip(columns + np.float64(flow[0]), 0, width - 1)
    y = np.clip(rows + np.float64(flow[1]), 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    out = np.zeros(image.shape)
    for i in range(-1, 3):
        for j in range(-1, 3):
            weight = keys_kernel(y - (top + i)) * keys_kernel(x - (left + j))
            sample = image[np.clip(top + i, 0, height - 1), np.clip(left + j, 0, width - 1)]
            out += weight * sample
    return out


def median(planes):
    """Return the 5 x 5 median of each plane, the border repeated."""
    return np.stack([ndimage.median_filter(plane, size=5, mode="nearest") for plane in planes])


def affinity(ratio):
    """Return the square of Cauchy's weight."""
    return (1 + ratio**2) ** -2.0


def reliability(frame0, warped, flow, residual_scale, divergence_scale):
    """Return the weight of each pixel by its residual and by how far the flow converges there."""
    u, v = np.pad(np.float64(flow), ((0, 0), (1, 1), (1, 1)), mode="edge")
    divergence = (u[1:-1, 2:] - u[1:-1, :-2] + v[2:, 1:-1] - v[:-2, 1:-1]) / 2
    residual = residual_scale * (np.float64(warped) - frame0)
    return affinity(residual) * affinity(divergence_scale * np.minimum(divergence, 0))


def near_boundary(flow, reach, bend):
    """Return where the second difference along a diagonal, there or beside it, exceeds a bend."""
    _, height, width = flow.shape
    near = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            r = min(reach, y // 2, x // 2, (height - 1 - y) // 2, (width - 1 - x) // 2)
            steps = r * np.arange(-2, 3)
            for columns in (x + steps, x - steps):
                line = np.float64(flow[:, y + steps, columns])
                second = np.abs(np.diff(line, 2, axis=1)).sum(axis=0)
                near[y, x] |= second.max() > bend
    return near


def weighted_median(frame0, reliability, flow, size, likeness_scale):
    """Return the median in each window of the flow, pixels counting by likeness times reliability.

    Of the pixels in ascending order it is the first one up to which half of the weight lies.
    """
    margin = [(size // 2, size // 2)] * 2

    def windows(plane, outside):
        padded = np.pad(np.float64(plane), margin, constant_values=outside)
        view = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
        return view.reshape(*plane.shape, size * size)

    likeness = affinity(likeness_scale * (windows(frame0, 0) - frame0[..., np.newaxis]))
    weights = likeness * windows(reliability, 0)  # nothing outside
    out = []
    for plane in flow:
        values = windows(plane, 0)
        order = np.argsort(values, axis=-1)
        sums = np.cumsum(np.take_along_axis(weights, order, -1), axis=-1)
        middle = (sums >= sums[..., -1:] / 2).argmax(axis=-1)[..., np.newaxis]
        ordered = np.take_along_axis(values, order, -1)
        out.append(np.take_along_axis(ordered, middle, -1)[..., 0])
    return np.stack(out)


class Derivatives(NamedTuple):
    """Derivatives of the mean of two frames, and of their difference."""

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    xt: np.ndarray
    yt: np.ndarray


def derivatives(frame0, frame1):
    """Return the fourth-order central differences of an image pair, the border repeated."""

    def along(image, taps, axis):
        return ndimage.correlate1d(image, taps, axis=axis, mode="nearest")

    mean = (np.float64(frame0) + frame1) / 2
    t = np.float64(frame1) - frame0
    x, y = along(mean, FIRST, 1), along(mean, FIRST, 0)
    return Derivatives(
        x=x,
        y=y,
        t=t,
        xx=along(mean, SECOND, 1),
        xy=along(x, FIRST, 0),
        yy=along(mean, SECOND, 0),
        xt=along(t, FIRST, 1),
        yt=along(t, FIRST, 0),
    )


def points_inside(flow):
    """Return where a flow points into the image."""
    _, height, width = flow.shape
    rows, columns = np.indices((height, width))
    x, y = columns + np.float64(flow[0]), rows + np.float64(flow[1])
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


# Lucas-Kanade


def window_equations(frame0, warped, flow, window, functional):
    """Return each pixel's matrix (height, width, 2, 2) and right side (height, width, 2)."""
    d = derivatives(frame0, warped)
    inside = points_inside(flow)
    brightness = inside / np.sqrt(1 + d.t**2 / functional.epsilon2)
    gradient = inside * functional.gradient
    gradient = gradient / np.sqrt(1 + (d.xt**2 + d.yt**2) / functional.gradient_epsilon2)
    rows = [
        (brightness, d.x, d.y, d.t),
        (gradient, d.xx, d.xy, d.xt),
        (gradient, d.xy, d.yy, d.yt),
    ]
    line = np.concatenate([window[:0:-1], window])
    kernel = np.outer(line, line)

    def window_sum(products):
        return ndimage.convolve(products, kernel, mode="constant", cval=0.0)

    matrix = np.zeros((*frame0.shape, 2, 2))
    right = np.zeros((*frame0.shape, 2))
    for weight, *gradients, step in rows:
        for i in range(2):
            right[..., i] -= window_sum(weight * gradients[i] * step)
            for j in range(2):
                matrix[..., i, j] += window_sum(weight * gradients[i] * gradients[j])
    return matrix, right


def solve_windows(frame0, warped, flow, window, functional):
    """Return the refined flow and the smaller eigenvalue of each pixel's matrix."""
    matrix, right = window_equations(frame0, warped, flow, window, functional)
    regular = matrix + functional.regularization * np.eye(2)
    update = np.linalg.solve(regular, right[..., np.newaxis])[..., 0]
    update = np.clip(update, -functional.max_update, functional.max_update)
    return flow + np.moveaxis(update, -1, 0), np.linalg.eigvalsh(matrix)[..., 0]


# Horn-Schunck


def incidence_matrix(height, width):
    """Return the matrix that takes differences along all edges between neighbouring pixels."""
    number = np.arange(height * width).reshape(height, width)
    first = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    second = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    edge = np.arange(len(first))
    ones = np.ones(len(first))
    shape = len(first), height * width
    return sparse.csr_matrix((ones, (edge, second)), shape) - sparse.csr_matrix(
        (ones, (edge, first)), shape
    )


def _data_terms(frame0, warped, base, functional):
    """Return (weight, constraints) of each penalised term; a constraint is (a, b, c, scale).

    Its residual is a u + b v + c.
    """
    d = derivatives(frame0, warped)
    inside = points_inside(base)
    u0, v0 = np.float64(base)

    def constraint(a, b, step, zeta2):
        scale = 1 / (functional.normalize * (a**2 + b**2) + zeta2)
        return tuple(p.ravel() for p in (a, b, step - a * u0 - b * v0, scale))

    brightness = [constraint(d.x, d.y, d.t, functional.zeta2)]
    gradient = [
        constraint(d.xx, d.xy, d.xt, functional.gradient_zeta2),
        constraint(d.xy, d.yy, d.yt, functional.gradient_zeta2),
    ]
    return [
        (functional.brightness * inside.ravel(), brightness),
        (functional.gradient * inside.ravel(), gradient),
    ]


def _edge_weights(frame0, functional):
    step = incidence_matrix(*frame0.shape) @ np.float64(frame0).ravel()
    return functional.smoothness / (1 + functional.edge * step**2)


def _squared_residual(constraints, u, v):
    return sum(scale * (a * u + b * v + c) ** 2 for a, b, c, scale in constraints)


def energy(flow, frame0, warped, base, functional):
    """Return the value of the Horn-Schunck functional, linearised at ``base``."""

    def penalty(squared, epsilon2, exponent):
        return (squared + epsilon2) ** exponent / exponent

    u, v = np.float64(flow).reshape(2, -1)
    total = 0.0
    for weight, constraints in _data_terms(frame0, warped, base, functional):
        squared = _squared_residual(constraints, u, v)
        penalised = penalty(squared, functional.data_epsilon2, functional.data_exponent)
        total += (weight * penalised).sum()
    incidence = incidence_matrix(*frame0.shape)
    squared = (incidence @ u) ** 2 + (incidence @ v) ** 2
    penalised = penalty(squared, functional.smoothness_epsilon2, functional.smoothness_exponent)
    return total + (_edge_weights(frame0, functional) * penalised).sum()


def linear_system(flow, frame0, warped, base, functional):
    """Return the sparse system whose solution minimises the functional reweighted at a flow.

    ``matrix @ flow - right`` is half the gradient of `energy` at that flow.
    """
    u, v = np.float64(flow).reshape(2, -1)
    matrix = sparse.csr_matrix((2 * u.size, 2 * u.size))
    right = np.zeros(2 * u.size)
    for weight, constraints in _data_terms(frame0, warped, base, functional):
        squared = _squared_residual(constraints, u, v) + functional.data_epsilon2
        weight = weight * squared ** (functional.data_exponent - 1.0)
        for a, b, c, scale in constraints:
            rows = sparse.hstack([sparse.diags(a), sparse.diags(b)])
            weighted = rows.T @ sparse.diags(weight * scale)
            matrix = matrix + weighted @ rows
            right -= weighted @ c
    incidence = incidence_matrix(*frame0.shape)
    squared = (incidence @ u) ** 2 + (incidence @ v) ** 2 + functional.smoothness_epsilon2
    weight = squared ** (functional.smoothness_exponent - 1.0)
    weight *= _edge_weights(frame0, functional)
    laplacian = incidence.T @ sparse.diags(weight) @ incidence
    return (matrix + sparse.block_diag([laplacian, laplacian])).tocsr(), right


def solve(flow, frame0, warped, base, functional):
    """Return the flow that solves `linear_system`."""
    matrix, right = linear_system(flow, frame0, warped, base, functional)
    return sparse.linalg.spsolve(matrix.tocsc(), right).reshape(np.shape(flow))


def relaxation_factors(omega, n):
    """Return the factors of n half-sweeps under Chebyshev acceleration, which rise to omega.

    Golub and Varga (1961): ratios of Chebyshev polynomials beyond 1, where they are hyperbolic
    cosines; the radius is that of the Jacobi iteration for which omega is best (Young 1971).
    """
    if omega == 1:
        return np.ones(n)
    radius = np.sqrt(1 - (2 / np.float64(omega) - 1) ** 2)
    angle = np.arccosh(1 / radius)
    h = np.arange(n)
    factors = 2 * np.cosh(h * angle) / (radius * np.cosh((h + 1) * angle))
    factors[0] = 1
    return factors


def relax(frame0, warped, base, flow, functional, factors, max_update):
    """Return the flow after half-sweeps with the given factors, each on the whole array.

    ``x + factor D^-1 (b - A x)`` on the pixels of one colour, D being the 2 x 2 blocks of A.
    """
    matrix, right = linear_system(flow, frame0, warped, base, functional)
    n = right.size // 2
    blocks = np.empty((n, 2, 2))
    blocks[:, 0, 0], blocks[:, 1, 1] = matrix.diagonal().reshape(2, n)
    blocks[:, 0, 1] = blocks[:, 1, 0] = matrix.diagonal(n)
    inverse = np.linalg.inv(blocks)
    colour = np.indices(frame0.shape).sum(axis=0).ravel() % 2
    vector = np.float64(flow).ravel()
    for h, factor in enumerate(factors):
        residual = (right - matrix @ vector).reshape(2, n)
        step = np.einsum("nij,jn->in", inverse, residual) * (colour == h % 2)
        vector = vector + factor * step.ravel()
    return np.clip(vector.reshape(base.shape), base - max_update, base + max_update)


def relax_in_loops(matrix, right, flow, factors):
    """Return the flow after half-sweeps over a dense system, pixel after pixel."""
    _, height, width = flow.shape
    n = height * width
    vector = np.float64(flow).ravel()
    for h, factor in enumerate(factors):
        for y in range(height):
            for x in range(width):
                if (x + y) % 2 != h % 2:
                    continue
                own = [y * width + x, n + y * width + x]
                others = np.setdiff1d(np.arange(2 * n), own)
                wanted = right[own] - matrix[np.ix_(own, others)] @ vector[others]
                solution = np.linalg.solve(matrix[np.ix_(own, own)], wanted)
                vector[own] = (1 - factor) * vector[own] + factor * solution
    return vector.reshape(flow.shape)
