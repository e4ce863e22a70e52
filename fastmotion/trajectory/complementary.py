"""Kernels that predict a frame, each by itself or so that they differ from each other."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastmotion.linear import solve_quadratic
from fastmotion.trajectory.filtering import Taps
from fastmotion.trajectory.lags import LagStatistics, offset_basis

_MAX_SWEEPS = 1000
# A sweep that lowers the objective by less than this part of it is the last one.
_TOLERANCE = 1e-6

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A kernel's least-squares problem of predicting a frame, for windows of known sums.

    The loss is the squared error in units of that of the kernel `hold`, which predicts that nothing
    moves. It is a quadratic form of what the weights differ from it by. They add up to one as its
    do, so that a shift of all positions is one of the output and nothing else.

    Attributes
    ----------
    offsets : ndarray of shape (n_taps,), int64
    hold : ndarray of shape (n_taps,)
        One at the tap nearest to the frame that is predicted.
    basis : ndarray of shape (n_taps, n_taps - 1)
        What may be added to `hold`: weights that add up to zero.
    gram : ndarray of shape (n_taps - 1, n_taps - 1)
    moment : ndarray of shape (n_taps - 1,)
    """

    offsets: NDArray[np.int64]
    hold: NDArray[np.float64]
    basis: NDArray[np.float64]
    gram: NDArray[np.float64]
    moment: NDArray[np.float64]

    @classmethod
    def of_frame(
        cls,
        stats: LagStatistics,
        offsets: NDArray[np.int64],
        goal: int,
        alpha: float,
    ) -> Prediction:
        """Predict the frame at the offset `goal`; a ridge `alpha` pulls to `hold`."""
        hold = (offsets == offsets[np.abs(goal - offsets).argmin()]).astype(np.float64)
        change = np.zeros(stats.n_lags)
        change[stats.anchor - goal] += 1
        change[stats.lags_of(offsets)] -= hold
        unit = stats.sum_of_squares(change)[0] or 1.0
        # Weights that add up to zero do not see where the windows lie.
        lags, basis = stats.lags_of(offsets), offset_basis(len(offsets))[:, 1:]
        gram = basis.T @ stats.gram[0][np.ix_(lags, lags)] @ basis / unit
        moment = basis.T @ stats.gram[0][lags] @ change / unit
        return cls(offsets, hold, basis, gram + alpha * np.eye(len(gram)), moment)

    def solve(self, penalties: NDArray[np.float64] | None = None, origin: Any = 0) -> NDArray:
        """Return the weights that minimise the loss and ``|penalties @ (weights - origin)|²``."""
        gram, moment = self.gram, self.moment
        if not len(gram):
            return self.hold
        if penalties is not None:
            rotated = penalties @ self.basis
            gram = gram + rotated.T @ rotated
            moment = moment - rotated.T @ (penalties @ (self.hold - origin))
        return self.hold + self.basis @ solve_quadratic(gram, moment)

    def loss(self, weights: NDArray[np.float64]) -> float:
        """Return the loss, with the ridge's part of it."""
        moves = (weights - self.hold) @ self.basis
        return float(1 + moves @ (self.gram @ moves - 2 * self.moment))


def prediction_taps(
    stats: LagStatistics,
    problem: Prediction,
    weights: NDArray[np.float64],
    goal: int,
    alpha: float,
) -> Taps:
    """Return a kernel with the weights that suit windows that the ends of a sequence cut off."""
    offsets = problem.offsets
    reach = -int(offsets[0]), int(offsets[-1])
    edge_weights = np.zeros((2, max(reach), 1, len(offsets)))
    for side, sign in enumerate((-1, 1)):
        places = sign * offsets
        # Between one tap's place and the next, the same taps are there.
        for place, following in pairwise(np.unique(places[places >= 0])):
            kept = places <= place
            part = Prediction.of_frame(stats, offsets[kept], goal, alpha)
            edge_weights[side, place:following, 0, kept] = part.solve()[:, np.newaxis]
    return Taps(offsets, weights[np.newaxis], edge_weights)


class Similarity:
    """How alike two kernels are: ``(w_i - origin_i) @ form_ij @ (w_j - origin_j)``.

    Parameters
    ----------
    stats : LagStatistics
    problems : sequence of Prediction
    measure : {"weights", "outputs"}
        The product of the weights at equal offsets; or the sum over all windows of the product of
        the motions that kernels predict, which is what they give less what `hold` gives.
    """

    def __init__(self, stats: LagStatistics, problems: Sequence[Prediction], measure: str) -> None:
        offsets = [problem.offsets for problem in problems]
        if measure == "weights":
            self.origins = [np.zeros(len(o)) for o in offsets]
            self.forms = [[np.equal.outer(a, b).astype(float) for b in offsets] for a in offsets]
        else:
            self.origins = [problem.hold for problem in problems]
            lags = [stats.lags_of(o) for o in offsets]
            # Weights that add up to zero do not see where the windows lie.
            self.forms = [[stats.gram[0][np.ix_(a, b)] for b in lags] for a in lags]

    def directions(self, i: int, weights: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the rows whose products with ``w_i - origin_i`` are its similarities to all."""
        return np.array(
            [form @ (w - o) for form, w, o in zip(self.forms[i], weights, self.origins)]
        )

    def products(self, weights: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the similarities of all pairs, (n_kernels, n_kernels)."""
        return np.array(
            [
                self.directions(i, weights) @ (w - origin)
                for i, (w, origin) in enumerate(zip(weights, self.origins))
            ]
        )

    def cosines(self, weights: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the similarities in units of the kernels' similarities to themselves."""
        products = self.products(weights)
        return products / np.outer(*[_sizes(products)] * 2)


def _sizes(products: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes = np.sqrt(np.maximum(products.diagonal(), 0))
    return np.where(sizes > 0, sizes, 1.0)


def solve_apart(
    problems: Sequence[Prediction], similarity: Similarity, penalty: float
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Minimise the sum of the losses and of the penalty on the kernels' similarity.

    The penalty is `penalty` times the sum of the squared similarities of all pairs, in units that
    make them cosines for the kernels that minimise the losses alone. It is quadratic in the weights
    of one kernel while the others stay, so that each step has a closed form and lowers the
    objective.

    Returns
    -------
    weights : list of ndarray
    trace : ndarray of shape (n_sweeps + 1,)
        The objective, beginning with that of the losses' own minimum.
    """
    weights = [problem.solve() for problem in problems]
    sizes = _sizes(similarity.products(weights))
    factors = np.sqrt(penalty) / np.outer(sizes, sizes)
    np.fill_diagonal(factors, 0)

    def objective() -> float:
        losses = sum(problem.loss(w) for problem, w in zip(problems, weights))
        return losses + ((factors * similarity.products(weights)) ** 2).sum() / 2

    trace = [objective()]
    if not factors.any():
        return weights, np.array(trace)
    for sweep in range(_MAX_SWEEPS):
        for i, problem in enumerate(problems):
            penalties = factors[i, :, np.newaxis] * similarity.directions(i, weights)
            weights[i] = problem.solve(penalties, similarity.origins[i])
        trace.append(objective())
        _logger.debug("sweep %d: objective %.9g", sweep + 1, trace[-1])
        if trace[-2] - trace[-1] <= _TOLERANCE * trace[-1]:
            return weights, np.array(trace)
    warnings.warn(
        f"the kernels still changed after {_MAX_SWEEPS} sweeps: the last one lowered the objective "
        f"from {trace[-2]:.9g} to {trace[-1]:.9g}; lower cross_scale_penalty or raise alpha",
        ConvergenceWarning,
        stacklevel=4,
    )
    return weights, np.array(trace)
