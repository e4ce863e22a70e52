"""Normal equations about the means of features and targets."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from fastmotion.linear._normal_equations import NormalEquations, as_block, check_sums, row_blocks

# A feature is constant if it deviates from its mean by no more than this part of it: what rounding
# leaves of a constant must not pass for data.
_ROUNDING = 64 * np.finfo(np.float64).eps


class CentredEquations:
    """Normal equations about weighted means, mergeable, whatever the means are.

    Each block is centred on its own means, and parts are merged by what their means differ [1]_, so
    that an offset of the data never has to cancel out in a difference of large sums.

    Attributes
    ----------
    equations : NormalEquations
        Of the centred samples.
    feature_mean, target_mean : ndarray of shape (n_features,) and (n_targets,), float64

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance:
       analysis and recommendations", The American Statistician 37, 1983, 242-247.
    """

    def __init__(self, n_features: int, n_targets: int) -> None:
        self.equations = NormalEquations()
        self.feature_mean = np.zeros(n_features)
        self.target_mean = np.zeros(n_targets)

    @classmethod
    def from_samples(
        cls, X: NDArray, y: NDArray, weight: NDArray[np.float64] | None = None
    ) -> Self:
        """Return the equations of samples; finite X and y both have two dimensions."""
        whole = cls(X.shape[1], y.shape[1])
        for rows in row_blocks(*X.shape):
            block_weight = None if weight is None else weight[rows]
            part = cls(X.shape[1], y.shape[1])
            features, part.feature_mean = _centre(as_block(X[rows]), block_weight)
            targets, part.target_mean = _centre(as_block(y[rows]), block_weight)
            part.equations.update(features, targets, block_weight)
            whole.merge(part)
        return whole

    def merge(self, other: CentredEquations) -> Self:
        """Add the samples of other equations to these."""
        mine, others = self.equations.weight_sum, other.equations.weight_sum
        if others:
            share = others / (mine + others)
            between = _single(
                other.feature_mean - self.feature_mean,
                other.target_mean - self.target_mean,
                mine * share,
            )
            self.feature_mean = self.feature_mean + share * (other.feature_mean - self.feature_mean)
            self.target_mean = self.target_mean + share * (other.target_mean - self.target_mean)
            self.equations.merge(between)
        self.equations.merge(other.equations)
        return self

    def about_means(self) -> NormalEquations:
        """Return the equations of the samples less the means; constant features become zeros."""
        sums = self.equations
        varies = sums.gram.diagonal() > sums.weight_sum * (_ROUNDING * self.feature_mean) ** 2
        if varies.all():
            return sums
        return NormalEquations.from_moments(
            sums.gram * np.outer(varies, varies),
            sums.moment * varies[:, np.newaxis],
            sums.energy,
            sums.n_samples,
            sums.weight_sum,
        )

    def about_origin(self) -> NormalEquations:
        """Return the equations of the samples as they are."""
        return self.equations + _single(
            self.feature_mean, self.target_mean, self.equations.weight_sum
        )


def _single(
    features: NDArray[np.float64], targets: NDArray[np.float64], weight: float
) -> NormalEquations:
    """Return the sums of one sample, counted as none."""
    with np.errstate(over="ignore", invalid="ignore"):
        gram = weight * np.outer(features, features)
        moment = weight * np.outer(features, targets)
        energy = weight * targets**2
    check_sums([gram, moment, energy], features, targets)
    return NormalEquations.from_moments(gram, moment, energy, n_samples=0)


def _centre(
    block: NDArray[np.float64], weight: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows less their mean, and the mean."""
    share = np.ones(len(block)) if weight is None else weight
    if not share.any():
        return block, np.zeros(block.shape[1])
    share = share / share.sum()
    with np.errstate(over="ignore", invalid="ignore"):
        mean = share @ block
        centred = block - mean
        # The mean of numbers far from zero is off by rounding, that of what is left is not.
        rest = share @ centred
        return centred - rest, mean + rest
