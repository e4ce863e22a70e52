"""Nonlinear least squares of Sampson distances over the fundamental matrices of rank two.

Steps are taken on the tangent space of the matrices of unit norm and rank two, of seven dimensions.
The derivative of a Sampson distance is nearly the outer product u vᵀ of the match corrected to
first order, so a 9×9 normal matrix takes 36 sums, not 45; the small rest enters the gradient.
"""

import numpy as np

from fastmotion.core.compile import cpu_function, cpu_kernel, scalar
from fastmotion.epipolar.kernels.matrices import (
    factor_cholesky,
    make_rank_two,
    move,
    set_tangent_basis,
    solve_cholesky,
)
from fastmotion.epipolar.kernels.scalar import N_FREE, sampson_terms

# Matches whose products are formed at a time; arrays of matches are padded to a multiple of it.
BLOCK = 128

# Rows of a block's scratch: weighted u uᵀ (6), v vᵀ (6), weighted residuals times u (3), two
# factors of the gradient's rest (2 + 2), gains with and without weights and inliers (3).
V, GRADIENT, REST, TOTALS, N_ROWS = 6, 12, 15, 19, 22
# Sums over matches: products of both (36), the gradient (9) and its rest (4), totals (3).
OF_GRADIENT, OF_REST, GAIN, PLAIN_GAIN, COUNT, N_SUMS = 36, 45, 49, 50, 51, 52
# Which of the six products of a symmetric 3×3 matrix stands where.
_PAIRS = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])

FIRST_DAMPING = 1e-4
_LEAST_DAMPING, MOST_DAMPING = 1e-8, 1e6
# Squared length of a step that cannot gain anything any more.
_LEAST_MOVE = 1e-24
_TINY = 1e-300


@scalar
def is_last_step(gained, gain, tolerance, length):
    """Return whether a step that gained so much, and has this squared length, is the last."""
    return gained <= tolerance * gain and (gained > 0.0 or length < _LEAST_MOVE)


@scalar
def next_damping(damping, has_gained):
    """Return the damping of the step after one that has gained something or not."""
    return 0.1 * damping if has_gained else max(10.0 * damping, _LEAST_DAMPING)


@scalar
def match_products(f0, f1, f2, f3, f4, f5, f6, f7, f8, x1, y1, x2, y2, weight, inverse_threshold):
    """Return what a match adds up to: the rows of a block's scratch, less those of squares."""
    r, a, b, c, d = sampson_terms(f0, f1, f2, f3, f4, f5, f6, f7, f8, x1, y1, x2, y2)
    inverse = 1.0 / max(a * a + b * b + c * c + d * d, _TINY)
    square = r * r * inverse
    gain = 1.0 - inverse_threshold * square
    w = weight if gain > 0.0 else 0.0
    rho = r * inverse if w > 0.0 else 0.0  # it may be infinite at both epipoles
    u0, u1 = x2 - rho * a, y2 - rho * b
    v0, v1 = x1 - rho * c, y1 - rho * d
    s = w * inverse
    rest = -s * r * rho * rho
    return (
        s * u0 * u0, s * u0 * u1, s * u0, s * u1 * u1, s * u1, s,
        v0 * v0, v0 * v1, v0, v1 * v1, v1, 1.0,
        s * r * u0, s * r * u1, s * r,
        rest * a, rest * b, c, d,
        w * gain, gain if w > 0.0 else 0.0, 1.0 if w > 0.0 else 0.0,
    )  # fmt: skip


@cpu_function
def _set_products(f, points, weight, start, inverse_threshold, rows):
    """Set the rows of one block to what its matches add up to."""
    f0, f1, f2, f3, f4, f5, f6, f7, f8 = f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8]
    for j in range(BLOCK):
        i = start + j
        (
            rows[0, j], rows[1, j], rows[2, j], rows[3, j], rows[4, j], rows[5, j],
            rows[6, j], rows[7, j], rows[8, j], rows[9, j], rows[10, j], rows[11, j],
            rows[12, j], rows[13, j], rows[14, j],
            rows[15, j], rows[16, j], rows[17, j], rows[18, j],
            rows[19, j], rows[20, j], rows[21, j],
        ) = match_products(
            f0, f1, f2, f3, f4, f5, f6, f7, f8,
            points[0, i], points[1, i], points[2, i], points[3, i], weight[i], inverse_threshold,
        )  # fmt: skip


@cpu_function(fastmath="reassociate")
def _dot(x, y):
    total = 0.0
    for j in range(BLOCK):
        total += x[j] * y[j]
    return total


@cpu_function
def _evaluate(f, points, weight, inverse_threshold, rows, sums):
    """Add up normal matrix, gradient, gains and inliers."""
    for k in range(N_SUMS):
        sums[k] = 0.0
    v0, v1, one = rows[V + 2], rows[V + 4], rows[V + 5]
    for start in range(0, points.shape[1], BLOCK):
        _set_products(f, points, weight, start, inverse_threshold, rows)
        for i in range(6):
            for j in range(6):
                sums[6 * i + j] += _dot(rows[i], rows[V + j])
        for i in range(3):
            sums[OF_GRADIENT + 3 * i] += _dot(rows[GRADIENT + i], v0)
            sums[OF_GRADIENT + 3 * i + 1] += _dot(rows[GRADIENT + i], v1)
            sums[OF_GRADIENT + 3 * i + 2] += _dot(rows[GRADIENT + i], one)
            sums[GAIN + i] += _dot(rows[TOTALS + i], one)
        for i in range(2):
            for j in range(2):
                sums[OF_REST + 2 * i + j] += _dot(rows[REST + i], rows[REST + 2 + j])


@cpu_function
def _unfold(sums, normal, gradient):
    """Set the 9×9 normal matrix and the gradient out of their sums."""
    for i in range(3):
        for j in range(3):
            gradient[3 * i + j] = sums[OF_GRADIENT + 3 * i + j]
            for k in range(3):
                for m in range(3):
                    normal[3 * i + j, 3 * k + m] = sums[6 * _PAIRS[i, k] + _PAIRS[j, m]]
    for i in range(2):
        for j in range(2):
            gradient[3 * i + j] += sums[OF_REST + 2 * i + j]


@cpu_function
def set_equations(f, sums, normal, vectors, basis, a, b):
    """Set the tangent basis, and the equations A x = b of a step along it.

    ``vectors`` is scratch, four rows of nine numbers.
    """
    gradient, part = vectors[0], vectors[1]
    _unfold(sums, normal, gradient)
    set_tangent_basis(f, part, vectors[2:4], basis)
    for i in range(N_FREE):
        total = 0.0
        for k in range(9):
            total += basis[i, k] * gradient[k]
            part[k] = 0.0
            for m in range(9):
                part[k] += normal[k, m] * basis[i, m]
        b[i] = -total
        for j in range(i + 1):
            total = 0.0
            for k in range(9):
                total += part[k] * basis[j, k]
            a[i, j] = total


@cpu_function
def take_step(f, basis, x, trial, scratch):
    """Set trial to f moved along the tangent space; return the squared length of the move."""
    length = 0.0
    for i in range(N_FREE):
        length += x[i] * x[i]
    for k in range(9):
        trial[k] = f[k]
    move(trial, basis, x, scratch)
    return length


@cpu_kernel
def refine(f, points, weight, inverse_threshold, max_steps, tol, normal):
    """Climb the gain Σ w max(0, 1 − d²/threshold²) by steps of Levenberg and Marquardt.

    Parameters
    ----------
    f : float64 array of shape (9,)
        Changed in place; on return of unit norm and rank two, also with no steps.
    points : float64 array of shape (4, n_padded)
        x1 y1 x2 y2; `BLOCK` divides n_padded.
    weight : float64 array of shape (n_padded,)
        Not negative; 0 for padding.
    inverse_threshold : float64
        1 / threshold².
    max_steps : int64
    tol : float64
        A step that gains less than this share of the gain is the last.
    normal : float64 array of shape (9, 9)
        Becomes Σ w J Jᵀ over inliers, J the derivative of a Sampson distance by F.

    Returns
    -------
    gain, plain_gain, n_inliers : float64
        The latter two without weights, of matches that have some.
    """
    rows = np.empty((N_ROWS, BLOCK))
    sums, trial_sums = np.empty(N_SUMS), np.empty(N_SUMS)
    trial, scratch, vectors = np.empty(9), np.empty(9), np.empty((4, 9))
    basis, b, x = np.empty((N_FREE, 9)), np.empty(N_FREE), np.empty(N_FREE)
    a, factor = np.empty((N_FREE, N_FREE)), np.empty((N_FREE, N_FREE))
    make_rank_two(f, scratch)
    _evaluate(f, points, weight, inverse_threshold, rows, sums)
    damping, is_new = FIRST_DAMPING, True
    for _ in range(max_steps):
        if is_new:
            set_equations(f, sums, normal, vectors, basis, a, b)
        is_new = False
        if factor_cholesky(a, damping, factor):
            solve_cholesky(factor, b, x)
            length = take_step(f, basis, x, trial, scratch)
            _evaluate(trial, points, weight, inverse_threshold, rows, trial_sums)
            gained = trial_sums[GAIN] - sums[GAIN]
            is_new = gained > 0.0
            if is_new:
                for k in range(9):
                    f[k] = trial[k]
                sums, trial_sums = trial_sums, sums
            if is_last_step(gained, sums[GAIN], tol, length):
                break
        damping = next_damping(damping, is_new)
        if damping > MOST_DAMPING:
            break
    _unfold(sums, normal, scratch)
    return sums[GAIN], sums[PLAIN_GAIN], sums[COUNT]


@cpu_kernel
def refine_all(
    models, points, weight, wide_threshold, wide_steps, inverse_threshold, steps, tol, results
):
    """Refine models, of shape (n_models, 9), at a wide threshold first and then at the narrow one.

    ``results`` becomes what `refine` returns of each; both thresholds are 1 / threshold².
    """
    normal = np.empty((9, 9))
    for k in range(len(models)):
        if wide_steps > 0:
            refine(models[k], points, weight, wide_threshold, wide_steps, tol, normal)
        results[k, 0], results[k, 1], results[k, 2] = refine(
            models[k], points, weight, inverse_threshold, steps, tol, normal
        )
