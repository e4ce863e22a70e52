"""The least value of a quadratic form, with linear equations to keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh, lapack, qr

from fastmotion.linear._checks import as_columns, as_finite

_EPS = float(np.finfo(np.float64).eps)

# The rounding of a Gram matrix of unit diagonal, in units of eps times the root of its size: an
# eigenvalue below it cannot be told from zero.
_GRAM_ROUNDING = 64

# Given matrices may be asymmetric, and have eigenvalues below zero, by this part of their size:
# wide enough for differences of Gram matrices, such as those of one fold left out.
_GRAM_TOLERANCE = 1e-8

# By how much of its terms a constraint that follows from others may contradict them.
_CONSISTENCY = 1e-10


def solve_quadratic(
    gram: ArrayLike,
    moment: ArrayLike,
    *,
    constraints: ArrayLike | None = None,
    values: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Minimise ``w @ gram @ w - 2 * w @ moment`` subject to ``constraints @ w == values``.

    The Gram matrix is scaled to a unit diagonal, so that the units of the features do not matter,
    and factored by Cholesky. Constraints are removed beforehand by a basis of their null space
    [1]_. If the minimum is not unique to rounding, the solution of the least norm is returned, as
    by `numpy.linalg.lstsq`.

    Parameters
    ----------
    gram : array_like of shape (n_features, n_features)
        Symmetric, positive semidefinite; such as ``A.T @ A``.
    moment : array_like of shape (n_features,) or (n_features, n_outputs)
        Such as ``A.T @ b``. Every column is a problem of its own.
    constraints : array_like of shape (n_constraints, n_features) or None, default=None
        Rows may depend on each other as long as they do not contradict each other.
    values : array_like of shape (n_constraints,) or (n_constraints, n_outputs), default=None
        What the constraints must give; None stands for zeros.

    Returns
    -------
    ndarray of the shape of `moment`, float64
        The best ``w``, one column for each of `moment`.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        Shapes do not match, a number is NaN or infinite, ``gram`` is not symmetric or not positive
        semidefinite, or the constraints contradict each other.

    References
    ----------
    .. [1] G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th ed., 2013, sections 4.2 and
       6.2.

    Examples
    --------
    The shares of two parts that must add up to one:

    >>> from fastmotion.linear import solve_quadratic
    >>> solve_quadratic([[2.0, 0.0], [0.0, 1.0]], [1.0, 1.0], constraints=[[1, 1]], values=[1])
    array([0.333, 0.667])
    """
    gram = check_gram(gram)
    moment = as_finite(moment, "moment", (1, 2))
    if len(moment) != len(gram):
        raise ValueError(
            f"moment must have one row per feature, {len(gram)} as gram has, got shape "
            f"{moment.shape}"
        )
    columns = moment if moment.ndim == 2 else moment[:, np.newaxis]
    matrix, right = check_constraints(constraints, values, columns.shape)
    solution = minimise(gram, columns, matrix, right)
    check_met(matrix, right, solution)
    return solution.reshape(moment.shape)


def check_gram(gram: ArrayLike) -> NDArray[np.float64]:
    """Return a Gram matrix as float64."""
    matrix = as_finite(gram, "gram", (2,))
    if matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"gram must be square and not empty, got shape {matrix.shape}")
    diagonal = matrix.diagonal()
    if diagonal.min() < 0:
        raise ValueError(
            f"gram must be positive semidefinite, got {diagonal.min()} on its diagonal"
        )
    scale = np.sqrt(diagonal)
    asymmetry = np.abs(matrix - matrix.T)
    if (asymmetry > _GRAM_TOLERANCE * np.outer(scale, scale)).any():
        raise ValueError(
            f"gram must be symmetric, got entries that differ by {asymmetry.max()} from their "
            "mirror images; for its symmetric part pass (gram + gram.T) / 2"
        )
    return matrix


def check_constraints(
    constraints: ArrayLike | None, values: ArrayLike | None, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return constraints on coefficients of a shape, and a column of values for each output."""
    n_features, n_outputs = shape
    if constraints is None:
        if values is not None:
            raise ValueError("values were given without constraints; give both or neither")
        constraints = np.empty((0, n_features))
    matrix = as_finite(constraints, "constraints", (2,))
    if matrix.shape[1] != n_features:
        raise ValueError(
            f"constraints must have one column per feature, {n_features}, got shape {matrix.shape}"
        )
    if values is None:
        return matrix, np.zeros((len(matrix), n_outputs))
    right = as_finite(values, "values", (1, 2))
    return matrix, as_columns(right, (len(matrix), n_outputs), "values")


def check_met(
    constraints: NDArray[np.float64], values: NDArray[np.float64], solution: NDArray[np.float64]
) -> None:
    """Raise if a solution does not meet the constraints, which then have none."""
    excess = np.abs(constraints @ solution - values)
    terms = np.abs(constraints) @ np.abs(solution) + np.abs(values)
    # Terms may be nothing but rounding, where constraints make coefficients zero.
    sizes = np.linalg.norm(constraints, axis=1)[:, np.newaxis] * np.linalg.norm(solution, axis=0)
    is_missed = (excess > np.maximum(_CONSISTENCY * terms, _GRAM_ROUNDING * _EPS * sizes)).any(
        axis=1
    )
    if is_missed.any():
        raise ValueError(
            f"constraints contradict each other: no coefficients meet all {len(constraints)} of "
            f"them, rows {np.flatnonzero(is_missed).tolist()} are off by up to {excess.max():.3g}; "
            "remove or correct rows of constraints and values"
        )


def minimise(
    gram: NDArray[np.float64],
    moment: NDArray[np.float64],
    constraints: NDArray[np.float64],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Do what `solve_quadratic` does, for two-dimensional arrays that were checked."""
    if len(constraints):
        solution, null = _minimise_constrained(gram, moment, constraints, values)
    else:
        solution, null = _minimise_freely(gram, moment)
    if null.shape[1]:
        basis, _ = qr(null, mode="economic")
        solution -= basis @ (basis.T @ solution)
    return solution


def _unit_scale(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the roots of the diagonal; in place of zeros, the largest of them."""
    scale = np.sqrt(np.maximum(gram.diagonal(), 0))
    scale[scale == 0] = scale.max() or 1
    return scale


def _minimise_freely(
    gram: NDArray[np.float64], moment: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one minimum, and a basis of what may be added to it without a change of the form."""
    scale = _unit_scale(gram)[:, np.newaxis]
    solution, null = _minimise_scaled(gram / scale / scale.T, moment / scale, _rounding(gram))
    return solution / scale, null / scale


def _rounding(gram: NDArray[np.float64]) -> float:
    """Return which eigenvalues of a matrix, scaled to a unit diagonal, are as good as zero."""
    return _GRAM_ROUNDING * _EPS * float(np.sqrt(len(gram)))


def _minimise_scaled(
    unit: NDArray[np.float64], right: NDArray[np.float64], rounding: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Do what `_minimise_freely` does, with the scale as it is."""
    factor, failed = lapack.dpotrf(unit, lower=True, clean=False)
    if not failed:
        norm = np.abs(unit).sum(axis=0).max()
        reciprocal_condition, _ = lapack.dpocon(factor, norm, uplo="L")
        if reciprocal_condition * norm > rounding:
            solution, _ = lapack.dpotrs(factor, right, lower=True)
            return solution, np.empty((len(unit), 0))
    eigenvalues, vectors = eigh(unit)
    if eigenvalues[0] < -_GRAM_TOLERANCE * max(eigenvalues[-1], 1):
        raise ValueError(
            "gram must be positive semidefinite, got, with its diagonal scaled to one, an "
            f"eigenvalue of {eigenvalues[0]}"
        )
    n_null = int(np.searchsorted(eigenvalues, rounding, side="right"))
    null, kept = vectors[:, :n_null], vectors[:, n_null:]
    solution = kept @ ((kept.T @ right) / eigenvalues[n_null:, np.newaxis])
    return solution, null


def _minimise_constrained(
    gram: NDArray[np.float64],
    moment: NDArray[np.float64],
    constraints: NDArray[np.float64],
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what `_minimise_freely` does, among the solutions of the constraints."""
    scale = _unit_scale(gram)[:, np.newaxis]
    start, free = _solve_underdetermined(constraints / scale.T, values)
    if not free.shape[1]:
        return start / scale, free
    unit = gram / scale / scale.T
    # What the constraints leave of the matrix may be rounding of the whole; scaled to a unit
    # diagonal once more, it would pass for data.
    inner, inner_null = _minimise_scaled(
        free.T @ unit @ free, free.T @ (moment / scale - unit @ start), _rounding(gram)
    )
    return (start + free @ inner) / scale, (free @ inner_null) / scale


def _solve_underdetermined(
    matrix: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the solution of the least norm and an orthonormal basis of the null space.

    Of rows that depend on each other, only independent ones are solved for.
    """
    n_rows, n_columns = matrix.shape
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    rows, right = matrix / lengths, values / lengths
    basis, triangle, order = qr(rows.T, pivoting=True)
    size = np.abs(triangle.diagonal())
    rank = int(np.count_nonzero(size > 16 * _EPS * max(n_rows, n_columns)))
    # LAPACK's triangular solver starts threads for the smallest systems; the general one does not.
    inner = np.linalg.solve(triangle[:rank, :rank].T, right[order[:rank]])
    return basis[:, :rank] @ inner, basis[:, rank:]
