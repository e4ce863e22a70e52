"""Covariances of states: what is set by hand, and what has become singular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.em.gaussians import COVARIANCE_TYPES, Gaussians

__all__ = ["check_covariances", "name_covariances", "regular_gaussians"]

_SHAPES = {
    "spherical": "(n_components,)",
    "diag": "(n_components, n_features)",
    "full": "(n_components, n_features, n_features)",
    "tied": "(n_features, n_features)",
}
# Correlations whose smallest eigenvalue is less have no Cholesky factor to rely on.
_SINGULAR = 1e-12
# What variances of singular matrices are raised by at least, as a share.
_LEAST_SHARE = 1e-10


def check_covariances(
    covars: ArrayLike, covariance_type: str, n_states: int, *, may_be_singular: bool = False
) -> NDArray[np.float64]:
    """Return covariances in the shape of their type as a new array.

    Raises
    ------
    ValueError
        The shape or the type is another, or one is not positive (semi-)definite.
    """
    if covariance_type not in _SHAPES:
        raise ValueError(
            f"covariance_type must be one of {COVARIANCE_TYPES}, got {covariance_type!r}"
        )
    array = np.array(covars, np.float64, order="C")
    if covariance_type == "spherical" and array.size == n_states:
        array = array.reshape(n_states)
    wanted = _SHAPES[covariance_type]
    is_matrix = covariance_type in ("full", "tied")
    fits = array.ndim == wanted.count("n_") and array.size > 0
    if is_matrix:
        fits = fits and array.shape[-1] == array.shape[-2]
    if covariance_type != "tied":
        fits = fits and len(array) == n_states
    if not fits:
        raise ValueError(
            f"covars_ of type {covariance_type!r} must have shape {wanted} with n_components="
            f"{n_states}, got {array.shape}"
        )
    least = -_SINGULAR if may_be_singular else 0.0
    is_sound: Any = np.isfinite(array).all()
    if is_matrix:
        is_sound = is_sound and np.allclose(array, np.swapaxes(array, -1, -2))
        is_sound = is_sound and (_least_eigenvalues(array) > least).all()
    else:
        is_sound = is_sound and (array > least).all()
    if not is_sound:
        what = "symmetric and positive definite" if is_matrix else "positive"
        raise ValueError(f"covars_ of type {covariance_type!r} must be {what}, and finite")
    return array


def regular_gaussians(
    means: NDArray, covariances: NDArray, covariance_type: str, min_covar: float
) -> tuple[Gaussians, list[int]]:
    """Return components, and which of the matrices or states had to be widened.

    Parameters
    ----------
    means : ndarray of shape (n_states, n_features)
    covariances : ndarray
        In the shape of the type.
    covariance_type : {"full", "tied", "diag", "spherical"}
    min_covar : float
        Added to the variances of singular covariances, or a small share of a variance where that
        is more; 0 widens none.

    Raises
    ------
    ValueError
        A covariance has overflowed or is lost to rounding, or is singular and `min_covar` is 0.
    """
    try:
        return Gaussians.from_covariances(means, covariances, covariance_type), []
    except ValueError:
        if not np.isfinite(covariances).all():
            raise ValueError("the covariances of states have overflowed; scale X") from None
    singular = _singular(covariances, covariance_type)
    if min_covar == 0:
        raise ValueError(
            f"singular covariance of {name_covariances(singular, covariance_type)}: increase "
            "min_covar (of a fit) or covars_prior, or decrease n_components"
        )
    widened = covariances.copy()
    if covariance_type in ("full", "tied"):
        diagonals = np.einsum("...ii->...i", widened).reshape(-1, means.shape[1])
        diagonals[singular] += np.maximum(min_covar, _LEAST_SHARE * diagonals[singular])
        np.einsum("...ii->...i", widened)[...] = diagonals.reshape(widened.shape[:-1])
    else:
        # Rounding can leave less than nothing.
        widened[singular] = np.maximum(widened[singular], 0.0) + min_covar
    try:
        return Gaussians.from_covariances(means, widened, covariance_type), singular
    except ValueError:
        raise ValueError(
            f"the covariance of {name_covariances(singular, covariance_type)} is nothing but "
            "rounding: values of X are too far apart; scale X, or leave outliers out"
        ) from None


def name_covariances(indices: Sequence[int], covariance_type: str) -> str:
    """Return how to speak of the covariances of some states."""
    if covariance_type == "tied":
        return "the tied covariance"
    shown = ", ".join(str(index) for index in indices[:8])
    return f"states {shown}" if len(indices) <= 8 else f"states {shown}, ..."


def _singular(covariances: NDArray, covariance_type: str) -> list[int]:
    """Return the indices of the singular ones; that of a tied one is 0."""
    if covariance_type in ("full", "tied"):
        is_regular: Any = _least_eigenvalues(covariances) > _SINGULAR
    else:
        is_regular = (covariances.reshape(len(covariances), -1) > 0).all(axis=1)
    return np.flatnonzero(~np.atleast_1d(is_regular)).tolist()


def _least_eigenvalues(matrices: NDArray) -> NDArray:
    """Return the least eigenvalue of the correlations, which do not depend on units."""
    variances = np.diagonal(matrices, axis1=-2, axis2=-1)
    scales = 1 / np.sqrt(np.where(variances > 0, variances, 1.0))
    correlations = matrices * scales[..., :, np.newaxis] * scales[..., np.newaxis, :]
    return np.linalg.eigvalsh(correlations)[..., 0]
