"""How uncertain a fundamental matrix is: what matches tell of it, and its covariance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lapack

from fastmotion.epipolar.checks import check_fundamental, check_matches
from fastmotion.epipolar.kernels.scalar import N_FREE
from fastmotion.linear._checks import check_nonnegative
from fastmotion.linear._normal_equations import check_weight

__all__ = [
    "MatchSums",
    "covariance_from_information",
    "fundamental_covariance",
    "homogeneous",
    "sampson_jacobian",
    "tangent_basis",
    "transform_covariance",
]

# Relative to the largest eigenvalue: an information below this is none, but for rounding.
_NO_INFORMATION = 1e-12

# The most that is taken off an information, as a part of it, for what noise adds to it and for not
# knowing which matches are right: what is left is divided by, and a noisy difference would blow up.
_MOST_TAKEN_OFF = 0.6

# Matches closer to the epipoles than this many standard deviations tell nothing: the distance to
# their epipolar line is far from linear in the noise.
_NEAR_EPIPOLE = 8.0

# Relative to the largest coordinate: a spread below this is rounding.
_COINCIDENT = 1e-13

_PLANE = np.diag([1.0, 1.0, 0.0])


class MatchSums(NamedTuple):
    """What matches say about F at unit norm, as sums over them, each of shape (9, 9) or None."""

    information: NDArray[np.float64]
    """``J.T @ J``, with J the derivatives of the Sampson distances by ``F.ravel()``."""
    noise_information: NDArray[np.float64] | None = None
    """What noise of unit variance adds to the information."""
    missing_information: NDArray[np.float64] | None = None
    """What the information loses by not knowing which matches are right."""


def tangent_basis(F: ArrayLike) -> NDArray[np.float64]:
    """Return a basis of the directions in which F may move and stay a fundamental matrix.

    Those are the 7 directions that are orthogonal to the gradient of the norm, F itself, and to
    the gradient of the determinant, the matrix of cofactors.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix of rank 2.

    Returns
    -------
    ndarray of shape (9, 7), float64
        Orthonormal columns, in the order of ``F.ravel()``.

    Raises
    ------
    TypeError
        F does not hold real numbers.
    ValueError
        The shape is wrong, an entry is not finite, or F has rank 1 or 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar.uncertainty import tangent_basis
    >>> basis = tangent_basis(np.diag([1.0, 1.0, 0.0]))
    >>> basis.shape, bool(np.allclose(basis.T @ basis, np.eye(7)))
    ((9, 7), True)
    """
    F = check_fundamental(F)
    return _tangent_basis(F / np.linalg.norm(F))


def _tangent_basis(F: NDArray[np.float64]) -> NDArray[np.float64]:
    """Do what `tangent_basis` does, for a matrix of unit norm that was checked."""
    normals = np.empty((9, 2), order="F")
    normals[:, 0] = F.ravel()
    cofactors = np.stack([_cross(F[1], F[2]), _cross(F[2], F[0]), _cross(F[0], F[1])])
    size = np.sqrt(np.vdot(cofactors, cofactors))
    if size <= _NO_INFORMATION:
        raise ValueError(
            "F must have rank 2, got a matrix of rank 1: its second singular value is "
            f"{size:.2g} of the first"
        )
    normals[:, 1] = cofactors.ravel() / size
    return np.linalg.qr(normals, mode="complete")[0][:, 2:]


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float, float]:
    # numpy.cross takes ten times as long for two vectors.
    (a0, a1, a2), (b0, b1, b2) = a.tolist(), b.tolist()
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


def sampson_jacobian(
    F: ArrayLike, matches: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the signed Sampson distances of matches, and their derivatives with respect to F.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix; its scale does not change a distance.
    matches : array_like of shape (n, 4)
        Rows x1 y1 x2 y2 in pixels.

    Returns
    -------
    distances : ndarray of shape (n,), float64
        Pixels; their absolute values are what `sampson_distance` returns.
    jacobian : ndarray of shape (n, 9), float64
        Derivatives by ``F.ravel()``, exact: that of the denominator is included.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is not finite, or both points of a match are epipoles, where the
        distance is not defined.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.epipolar.uncertainty import sampson_jacobian
    >>> sideways = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    >>> distances, jacobian = sampson_jacobian(sideways, [[10.0, 5.0, 30.0, 8.0]])
    >>> distances, jacobian.shape
    (array([-2.121]), (1, 9))
    """
    F = check_fundamental(F)
    terms = _SampsonTerms.of(F, check_matches(matches, name="matches")[0])
    if not terms.squared_normals.all():
        worst = int(np.argmin(terms.squared_normals))
        raise ValueError(
            f"the Sampson distance is not defined where both points are epipoles, as those of "
            f"match {worst} are; leave it out"
        )
    return terms.distances, terms.jacobian()


class _SampsonTerms(NamedTuple):
    """What the Sampson distances of matches and their derivatives are made of."""

    points1: NDArray[np.float64]  # homogeneous, (n, 3)
    points2: NDArray[np.float64]
    normals1: NDArray[np.float64]  # of the lines in image 1, (n, 3), the last column zero
    normals2: NDArray[np.float64]
    squared_normals: NDArray[np.float64]  # sum of both normals' squared lengths, (n,)
    distances: NDArray[np.float64]

    @classmethod
    def of(cls, F: NDArray[np.float64], matches: NDArray[np.float64]) -> _SampsonTerms:
        points1, points2 = homogeneous(matches[:, :2]), homogeneous(matches[:, 2:])
        lines2 = points1 @ F.T
        error = np.einsum("ni,ni->n", lines2, points2)
        normals1, normals2 = points2 @ F, lines2
        normals1[:, 2] = normals2[:, 2] = 0
        squared = np.einsum("ni,ni->n", normals1, normals1)
        squared += np.einsum("ni,ni->n", normals2, normals2)
        # Where both points are epipoles, the error is zero too.
        distances = error / np.sqrt(np.where(squared > 0, squared, 1.0))
        return cls(points1, points2, normals1, normals2, squared, distances)

    def jacobian(self) -> NDArray[np.float64]:
        # d = e / g with e = x2ᵀ F x1 and g² = |n1|² + |n2|²:
        # ∂d/∂F = (x2 x1ᵀ - (e / g²) (n2 x1ᵀ + x2 n1ᵀ)) / g.
        size = np.sqrt(self.squared_normals)
        part = (self.distances / size)[:, np.newaxis]
        left = (self.points2 - part * self.normals2) / size[:, np.newaxis]
        right = part / size[:, np.newaxis] * self.normals1
        outer = left[:, :, np.newaxis] * self.points1[:, np.newaxis, :]
        outer -= self.points2[:, :, np.newaxis] * right[:, np.newaxis, :]
        return outer.reshape(-1, 9)

    def noise_information(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what noise of unit variance adds to the information, to first order."""
        # x2 x1ᵀ / g has the covariance Q / g². The part along the gradient of d belongs to d
        # itself, and the Jacobian at the observed match does not contain it.
        per_square = (weight / self.squared_normals)[:, np.newaxis]
        moment1 = (self.points1 * per_square).T @ self.points1
        moment2 = (self.points2 * per_square).T @ self.points2
        along = self.normals2[:, :, np.newaxis] * self.points1[:, np.newaxis, :]
        along += self.points2[:, :, np.newaxis] * self.normals1[:, np.newaxis, :]
        along = along.reshape(-1, 9)
        sums = np.kron(_PLANE, moment1) + np.kron(moment2, _PLANE)
        sums -= (along * (per_square / self.squared_normals[:, np.newaxis])).T @ along
        return sums


def homogeneous(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points of shape (..., 2) with a third coordinate of one."""
    out = np.ones((*points.shape[:-1], 3))
    out[..., :2] = points
    return out


def covariance_from_information(
    F: NDArray[np.float64], sums: MatchSums, variance: float
) -> NDArray[np.float64]:
    """Return the covariance of a fundamental matrix from sums over its matches.

    It is ``variance * A⁻¹ I A⁻¹`` on the tangent space, where I is the information, less what is
    missing, and ``A = I - variance * N`` is what it would be if the noise of the matches added
    nothing to it; without N, the inverse ``variance * I⁻¹``. Of no direction more than six tenths
    of the information are taken off for either reason; where more would have to be, the matches
    hardly determine F, and the covariance is a lower bound.

    Parameters
    ----------
    F : ndarray of shape (3, 3), float64
        Fundamental matrix of rank 2 and unit norm, in coordinates in which the matches have a mean
        of about zero and a spread of about one.
    sums : MatchSums
    variance : float
        That of the noise of a coordinate, in the same coordinates.

    Returns
    -------
    ndarray of shape (9, 9), float64
        Of ``F.ravel()``; of rank 7, symmetric.

    Raises
    ------
    ValueError
        The information has a rank below 7: the matches leave F undetermined.
    """
    tangent = _tangent_basis(F)
    # scipy.linalg.eigh costs its checks.
    values, vectors, _ = lapack.dsyevd(tangent.T @ sums.information @ tangent)
    if not values[0] > _NO_INFORMATION * values[-1]:
        rank = int(np.count_nonzero(values > _NO_INFORMATION * max(values[-1], 0.0)))
        raise ValueError(
            f"the matches leave F undetermined: their information has rank {rank}, where 7 are "
            "needed; they are fewer than 7, coincide, lie in a plane, or too close to the epipoles"
        )
    root = tangent @ (vectors / np.sqrt(values))
    if sums.missing_information is not None:
        root, left = _take_off(root, sums.missing_information)
        root = root / np.sqrt(left)
    if sums.noise_information is not None:
        root, left = _take_off(root, variance * sums.noise_information)
        root = root / left
    return variance * (root @ root.T)


def _take_off(
    root: NDArray[np.float64], part: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how much of an information is left without a part of it, in directions of its own.

    ``root @ root.T`` is the inverse of the information, and so it is of the root returned, in whose
    columns the part is diagonal.
    """
    shares, vectors, _ = lapack.dsyevd(root.T @ part @ root)
    return root @ vectors, 1 - np.clip(shares, 0, _MOST_TAKEN_OFF)


def transform_covariance(
    F: NDArray[np.float64],
    covariance: NDArray[np.float64],
    transform1: NDArray[np.float64],
    transform2: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the covariance of a fundamental matrix in other coordinates of both images.

    Parameters
    ----------
    F : ndarray of shape (3, 3), float64
        Of unit norm, in the coordinates that ``transform1`` and ``transform2`` map to.
    covariance : ndarray of shape (9, 9), float64
        Of ``F.ravel()``.
    transform1, transform2 : ndarray of shape (3, 3), float64
        Map homogeneous points of the new coordinates, for example pixels, to those of ``F``.

    Returns
    -------
    ndarray of shape (9, 9), float64
        Of ``transform2.T @ F @ transform1``, scaled to unit norm.
    """
    linear = np.kron(transform2.T, transform1.T)
    moved = linear @ F.ravel()
    size = np.linalg.norm(moved)
    moved /= size
    linear = (linear - np.outer(moved, moved @ linear)) / size
    moved_covariance = linear @ covariance @ linear.T
    return (moved_covariance + moved_covariance.T) / 2  # symmetric to the last digit


def fundamental_covariance(
    F: ArrayLike,
    matches: ArrayLike,
    *,
    noise_scale: float | None = None,
    sample_weight: ArrayLike | None = None,
    probability: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return the covariance of a fundamental matrix that was fitted to matches.

    The matrix must minimise the sum of squared Sampson distances of these matches, weighted by
    ``sample_weight`` and ``probability`` where given. Right matches have noise that is normal,
    equal and independent in each coordinate.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix of rank 2.
    matches : array_like of shape (n, 4)
        Rows x1 y1 x2 y2 in pixels, at least 7, or 8 without ``noise_scale``.
    noise_scale : float or None, default=None
        Standard deviation of the noise of a coordinate, pixels. None estimates it from the
        distances, with n - 7 degrees of freedom; too small if matches were selected by a distance
        below 3 standard deviations or so.
    sample_weight : array_like of shape (n,), default=None
        Not negative; a weight of 2 counts as two equal matches.
    probability : array_like of shape (n,), default=None
        That each match is right, as `polish_fundamental` tells it. None: all are right.

    Returns
    -------
    ndarray of shape (9, 9), float64
        Of ``F.ravel()`` at unit norm, whatever the scale of the argument; of rank 7, symmetric.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is not finite, the noise is negative, matches are too few, or
        they leave F undetermined.

    See Also
    --------
    epipolar_band : What it means for epipolar lines.
    polish_fundamental : What comes before, where matches are wrong.

    Notes
    -----
    The covariance ``s² (JᵀJ)⁻¹`` of a nonlinear least-squares fit on the manifold of unit norm and
    rank 2, J the derivatives of the distances, is that of [1]_ and [2]_. It is too small where the
    noise is not small beside what distinguishes the weak directions of F, as when a camera moves
    forward, because the noise of the matches then adds to ``JᵀJ``. That part is computed and taken
    off, as renormalisation [3]_ does, which gives ``s² A⁻¹ JᵀJ A⁻¹`` with ``A = JᵀJ - s² N``; and
    matches within 8 standard deviations of the epipoles count as if they were not there. With
    probabilities w, JᵀJ is the information that the observed distances d have [4]_: matches count
    as ``w (1 - (1 - w) d² / s²)``. Sums are made in normalised coordinates.

    References
    ----------
    .. [1] Z. Zhang, "Determining the epipolar geometry and its uncertainty: a review",
       International Journal of Computer Vision 27 (2), 1998, 161-195, section 4.
    .. [2] G. Csurka, C. Zeller, Z. Zhang and O. Faugeras, "Characterizing the uncertainty of the
       fundamental matrix", Computer Vision and Image Understanding 68 (1), 1997, 18-36.
    .. [3] K. Kanatani, "Statistical optimization for geometric computation", 1996, chapter 9.
    .. [4] T. A. Louis, "Finding the observed information matrix when using the EM algorithm",
       Journal of the Royal Statistical Society B 44 (2), 1982, 226-233.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import fundamental_covariance
    >>> view = make_two_view(n_matches=100, inlier_ratio=1.0, random_state=0)
    >>> covariance = fundamental_covariance(view.F, view.matches, noise_scale=1.0)
    >>> covariance.shape, np.allclose(covariance @ view.F.ravel(), 0)
    ((9, 9), True)
    """
    F = check_fundamental(F)
    n_needed = N_FREE + (noise_scale is None)
    matches, _ = check_matches(matches, min_matches=n_needed, name="matches")
    counts, right = np.ones(len(matches)), np.ones(len(matches))
    if sample_weight is not None:
        counts = check_weight(sample_weight, len(matches), "sample_weight")
    if probability is not None:
        right = check_weight(probability, len(matches), "probability")
        if right.max() > 1:
            raise ValueError(f"probability must not exceed 1, got {right.max()}")
    if noise_scale is not None:
        noise_scale = check_nonnegative(noise_scale, "noise_scale")
    is_counted = counts * right > 0
    matches, counts, right = matches[is_counted], counts[is_counted], right[is_counted]
    transform1, transform2 = _normalisation(matches, counts * right)
    scale = transform1[0, 0]
    F = np.linalg.inv(transform2).T @ F @ np.linalg.inv(transform1)
    F /= np.linalg.norm(F)
    terms = _SampsonTerms.of(F, (matches - _centres(transform1, transform2)) * scale)
    if noise_scale is None:
        variance = _residual_variance(terms.distances, counts * right)
    else:
        variance = (noise_scale * scale) ** 2
    sums = _match_sums(F, terms, counts, right, variance)
    covariance = covariance_from_information(F, sums, variance)
    return transform_covariance(F, covariance, transform1, transform2)


def _normalisation(
    matches: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what maps pixels of each image to a mean of zero, both with one scale."""
    total = weight.sum()
    if not total:
        raise ValueError("sample_weight and probability must not be zero for all matches")
    mean = weight @ matches / total
    spread = np.sqrt(weight @ (matches - mean) ** 2 / total).max()
    if spread <= _COINCIDENT * np.abs(matches).max():
        raise ValueError("the matches leave F undetermined: they all coincide")

    def to(centre: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([[1, 0, -centre[0]], [0, 1, -centre[1]], [0, 0, spread]]) / spread

    return to(mean[:2]), to(mean[2:])


def _centres(
    transform1: NDArray[np.float64], transform2: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.concatenate([-t[:2, 2] / t[0, 0] for t in (transform1, transform2)])


def _residual_variance(distances: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    n_effective = float(weight.sum())
    if n_effective <= N_FREE:
        raise ValueError(
            f"matches must count as more than 7 to tell the noise, got {n_effective:.3g} with "
            "sample_weight and probability; pass noise_scale, or more matches"
        )
    return float(weight @ distances**2) / (n_effective - N_FREE)


def _match_sums(
    F: NDArray[np.float64],
    terms: _SampsonTerms,
    counts: NDArray[np.float64],
    right: NDArray[np.float64],
    variance: float,
) -> MatchSums:
    nearest = _NEAR_EPIPOLE**2 * variance * float((F[:2, :2] ** 2).sum())
    is_far = terms.squared_normals > nearest
    terms = _SampsonTerms(*(part[is_far] for part in terms))
    weight, right = (counts * right)[is_far], right[is_far]
    jacobian = terms.jacobian()
    missing = None
    if variance and (right < 1).any():
        doubt = weight * (1 - right) * terms.distances**2 / variance
        missing = (jacobian * doubt[:, np.newaxis]).T @ jacobian
    information = (jacobian * weight[:, np.newaxis]).T @ jacobian
    return MatchSums(information, terms.noise_information(weight), missing)
