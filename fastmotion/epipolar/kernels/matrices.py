"""Fundamental matrices as arrays of nine numbers, the directions they may move in, and equations.

The tangent space of the matrices of unit norm and rank two has `N_FREE` dimensions.
"""

import math

from fastmotion.core.compile import cpu_function
from fastmotion.epipolar.kernels.scalar import N_FREE, cofactors

# Newton's steps to rank two converge quadratically.
_RANK_STEPS = 5
_RANK_TOLERANCE = 1e-18
# Cofactors of a matrix of unit norm that are below this point nowhere.
_NO_COFACTORS = 1e-12
_LEAST_PIVOT = 1e-14


@cpu_function
def _set_cofactors(f, c):
    c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8] = cofactors(
        f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8]
    )


@cpu_function
def make_rank_two(f, c):
    """Scale f to unit norm and step along its cofactors until its determinant vanishes.

    ``c`` is scratch, of nine numbers.
    """
    for _ in range(_RANK_STEPS):
        squares = 0.0
        for k in range(9):
            squares += f[k] * f[k]
        inverse = 1.0 / math.sqrt(squares)
        for k in range(9):
            f[k] *= inverse
        _set_cofactors(f, c)
        determinant = f[0] * c[0] + f[1] * c[1] + f[2] * c[2]
        slope = 0.0
        for k in range(9):
            slope += c[k] * c[k]
        if abs(determinant) < _RANK_TOLERANCE or slope < _RANK_TOLERANCE:
            break
        share = determinant / slope
        for k in range(9):
            f[k] -= share * c[k]


@cpu_function
def set_tangent_basis(f, c, axes, basis):
    """Set the rows to an orthonormal basis of what is orthogonal to f and its cofactors.

    Two Householder reflections take f and the cofactors to the first two axes; what they make of
    the other axes is the basis. f has unit norm and no determinant; c becomes its cofactors.
    Return whether they point anywhere: those of a matrix of rank one do not. ``axes`` is scratch,
    two rows of nine numbers.
    """
    _set_cofactors(f, c)
    v, w = axes[0], axes[1]
    for k in range(9):
        v[k] = f[k]
    v[0] += math.copysign(1.0, f[0])
    v_scale = 1.0 / (1.0 + abs(f[0]))
    along = 0.0
    for k in range(9):
        along += v[k] * c[k]
    norm = 0.0
    w[0] = 0.0
    for k in range(1, 9):
        w[k] = c[k] - along * v_scale * v[k]
        norm += w[k] * w[k]
    norm = math.sqrt(norm)
    has_rank_two = norm > _NO_COFACTORS
    if has_rank_two:
        for k in range(1, 9):
            w[k] /= norm
    else:
        for k in range(1, 9):
            w[k] = 0.0
        w[1] = 1.0
    w[1] += math.copysign(1.0, w[1])
    w_scale = 1.0 / abs(w[1])
    for j in range(N_FREE):
        row = basis[j]
        along = 0.0
        for k in range(9):
            row[k] = (1.0 if k == j + 2 else 0.0) - w[j + 2] * w_scale * w[k]
        for k in range(9):
            along += row[k] * v[k]
        for k in range(9):
            row[k] -= along * v_scale * v[k]
    return has_rank_two


@cpu_function
def move(f, basis, x, c):
    """Move f by x along the basis, and from there to rank two; c is scratch."""
    for k in range(9):
        for i in range(N_FREE):
            f[k] += x[i] * basis[i, k]
    make_rank_two(f, c)


@cpu_function
def factor_cholesky(a, damping, factor):
    """Set the lower triangle of factor to the root of A + damping diag A; return if it has one.

    Only the lower triangle of A is read.
    """
    for i in range(N_FREE):
        for j in range(i):
            total = a[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = total / factor[j, j]
        total = a[i, i] + damping * a[i, i]
        for k in range(i):
            total -= factor[i, k] * factor[i, k]
        if not total > _LEAST_PIVOT * a[i, i]:
            return False
        factor[i, i] = math.sqrt(total)
    return True


@cpu_function
def solve_cholesky(factor, b, x):
    """Set x to the solution of L Lᵀ x = b."""
    for i in range(N_FREE):
        total = b[i]
        for k in range(i):
            total -= factor[i, k] * x[k]
        x[i] = total / factor[i, i]
    for i in range(N_FREE - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, N_FREE):
            total -= factor[k, i] * x[k]
        x[i] = total / factor[i, i]


@cpu_function
def invert_lower(factor, inverse):
    """Set the lower triangle of inverse to that of the inverse of a lower triangular matrix."""
    for j in range(N_FREE):
        inverse[j, j] = 1.0 / factor[j, j]
        for i in range(j + 1, N_FREE):
            total = 0.0
            for k in range(j, i):
                total -= factor[i, k] * inverse[k, j]
            inverse[i, j] = total / factor[i, i]
