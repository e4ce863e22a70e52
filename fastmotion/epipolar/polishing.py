"""The last refinement of a fundamental matrix, among right and wrong matches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmotion.epipolar.checks import check_fundamental, check_matches
from fastmotion.epipolar.coordinates import CentredMatches
from fastmotion.epipolar.kernels.scalar import N_FREE
from fastmotion.epipolar.launching import Kernels, cpu_kernels
from fastmotion.linear._normal_equations import check_weight

__all__ = ["PolishedFundamental", "polish_centred", "polish_fundamental"]

# Twelve standard deviations around an epipolar line hold enough wrong matches to tell how dense
# they are, where they matter, and few enough to look as if they were spread evenly.
_WINDOW = 12.0
# Two or three rounds are enough from a good start. Where right matches are few and the start is
# poor, more rounds find others of them.
_MOST_ROUNDS = 30


@dataclass(frozen=True, eq=False)
class PolishedFundamental:
    """A refined fundamental matrix; what `polish_fundamental` returns.

    Attributes
    ----------
    F : ndarray of shape (3, 3), float64
        Of unit Frobenius norm and rank 2; its entry of largest magnitude is positive.
    probability : ndarray of shape (n,), float64
        That each match is right; 0 for those farther than 12 standard deviations from their
        epipolar line.
    noise_scale : float
        Standard deviation of the noise of a coordinate of right matches, pixels.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import polish_fundamental
    >>> view = make_two_view(n_matches=500, inlier_ratio=0.5, random_state=0)
    >>> polished = polish_fundamental(view.F, view.matches, 1.0)
    >>> polished.F.shape, round(polished.noise_scale, 1)
    ((3, 3), 1.0)
    >>> bool(((polished.probability > 0.5) == view.inlier_mask).mean() > 0.9)
    True
    """

    F: NDArray[np.float64]
    probability: NDArray[np.float64]
    noise_scale: float


def polish_fundamental(
    F: ArrayLike,
    matches: ArrayLike,
    noise_scale: float,
    *,
    sample_weight: ArrayLike | None = None,
) -> PolishedFundamental:
    """Refine a fundamental matrix that a robust search found, and tell right matches from wrong.

    Parameters
    ----------
    F : array_like of shape (3, 3)
        Fundamental matrix, near the best.
    matches : array_like of shape (n, 4)
        Rows x1 y1 x2 y2 in pixels, right and wrong.
    noise_scale : float
        About the standard deviation of the noise of a coordinate of right matches, pixels; half
        the threshold of the search is near enough.
    sample_weight : array_like of shape (n,), default=None
        Not negative: how much each match counts.

    Returns
    -------
    PolishedFundamental
        The matrix, probabilities and the noise.

    Raises
    ------
    TypeError
        An argument does not hold real numbers.
    ValueError
        A shape is wrong, a number is not finite, the noise is not positive, or no more than 7
        matches seem right, or they leave F undetermined.

    See Also
    --------
    fundamental_covariance : Takes the probabilities and the noise.

    Notes
    -----
    A wrong match may lie near its epipolar line by chance, but it lies anywhere along it, as if
    depth jumped, so that it has a large leverage on the weak directions of F: a few such matches
    among a thousand spoil F, and its covariance more so, and no threshold on distances removes
    them. Here the distances of right matches are normal and those of wrong ones uniform within a
    window, and the leverages of both are log-normal, each with parameters of their own; those of
    wrong ones are told by the matches outside the window, too. Distance and leverage are those of a
    fit to the other matches, which a match cannot pull towards itself. The mixture is estimated by
    expectation and maximisation [1]_, and F by Gauss-Newton steps of the Sampson distances weighted
    by the probabilities, in turn.

    References
    ----------
    .. [1] A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via
       the EM algorithm", Journal of the Royal Statistical Society B 39 (1), 1977, 1-38.

    Examples
    --------
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import polish_fundamental
    >>> view = make_two_view(n_matches=1000, inlier_ratio=0.5, random_state=0)
    >>> polished = polish_fundamental(view.F, view.matches, 0.8)
    >>> round(polished.noise_scale, 1), bool(polished.probability[view.inlier_mask].mean() > 0.95)
    (1.0, True)
    """
    F = check_fundamental(F)
    matches, _ = check_matches(matches, min_matches=8, name="matches")
    weight = np.ones(len(matches))
    if sample_weight is not None:
        weight = check_weight(sample_weight, len(matches), "sample_weight")
        if not weight.any():
            raise ValueError("sample_weight must not be zero for all matches")
    if not noise_scale > 0 or not np.isfinite(noise_scale):
        raise ValueError(f"noise_scale must be positive and finite, got {noise_scale}")
    centred = CentredMatches.of_pixels(matches, weight, np.random.default_rng(0))
    polished = polish_centred(
        centred, centred.from_pixels(F), noise_scale * centred.scale, cpu_kernels()
    )
    if polished is None:
        raise ValueError(
            "too few matches seem right to refine F: more than 7 in general position are needed "
            f"near their epipolar lines, with a noise of about {noise_scale} px"
        )
    return polished


def polish_centred(
    matches: CentredMatches, model: NDArray[np.float64], noise: float, kernels: Kernels
) -> PolishedFundamental | None:
    """Do what `polish_fundamental` does, but for matches, a matrix and noise in their coordinates.

    Parameters
    ----------
    matches : CentredMatches
    model : ndarray of shape (9,)
        Of unit norm.
    noise : float
    kernels : Kernels

    Returns
    -------
    PolishedFundamental or None
        In pixels. None if too few matches seem right.
    """
    points, counts = matches.padded
    model = model.copy()
    probability = np.empty(points.shape[1])
    noise = kernels.fundamental.polish(
        points, counts, model, float(noise), _WINDOW, _MOST_ROUNDS, probability
    )
    left = float(counts @ probability) - N_FREE if noise else 0.0
    if not left > 0 or not np.isfinite(model).all():
        return None
    # The kernel's noise is the root mean square distance.
    noise *= np.sqrt((left + N_FREE) / left) / matches.scale
    return PolishedFundamental(matches.to_pixels(model), probability[: matches.n], float(noise))
