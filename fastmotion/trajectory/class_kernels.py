"""Kernels whose outputs are strong in one class of sequences and weak in the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from fastmotion.trajectory.lags import LagStatistics, offset_basis

# Directions in which all classes together move by less than this part of the largest motion are
# rounding.
_RANK_CUT = 1e-10
# Motion that is this small beside the positions is their rounding.
_ROUNDING = 16 * np.finfo(np.float64).eps
# A moment is zero if it is this small beside the sum of its terms' sizes.
_ZERO_MOMENT = 1e-6


def class_kernels(
    stats: list[LagStatistics], offsets: NDArray[np.int64], alpha: float
) -> NDArray[np.float64]:
    """Return for each class the kernel to whose output it contributes most.

    It is the first generalised eigenvector of the class's Gram matrix and that of all classes,
    among the weights that add up to zero: ``max w @ G_class @ w / w @ G_all @ w``. The ridge
    `alpha` is added to ``G_all``, in units of its mean eigenvalue.

    Returns
    -------
    ndarray of shape (n_classes, n_taps)
        Of unit length, the first moment that is not zero positive: the output of what moves evenly
        along an axis is then positive. Two taps leave one kernel, the difference, for all classes;
        it comes once.

    Raises
    ------
    ValueError
        Nothing moves.
    """
    lags, basis = stats[0].lags_of(offsets), offset_basis(len(offsets))
    grams = np.array([part.rotated_gram(lags, basis)[0, 1:, 1:] for part in stats])
    total = grams.sum(axis=0)
    total += alpha * total.trace() / len(total) * np.eye(len(total))
    sizes, axes = eigh(total)
    if sizes[-1] <= _ROUNDING**2 * len(offsets) * sum(part.masses[0] for part in stats):
        raise ValueError(
            "X must move for learned='class', got sequences in which nothing moves from one tap to "
            f"the next, {offsets[1] - offsets[0]} frame(s) apart"
        )
    kept = sizes > _RANK_CUT * sizes[-1]
    white = axes[:, kept] / np.sqrt(sizes[kept])
    rows = np.array([white @ eigh(white.T @ gram @ white)[1][:, -1] for gram in grams])
    weights = rows[: 1 if len(offsets) == 2 else None] @ basis[:, 1:].T
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return weights * np.array([[_sign(row, offsets)] for row in weights])


def _sign(weights: NDArray[np.float64], offsets: NDArray[np.int64]) -> float:
    """Return the sign of the lowest moment that is not zero."""
    places = offsets / np.abs(offsets).max()
    for order in range(1, len(offsets)):
        terms = weights * places**order
        if abs(terms.sum()) > _ZERO_MOMENT * np.abs(terms).sum():
            break
    return float(np.sign(terms.sum()))
