"""The weights of motion kernels from sums over lagged frames: in closed form, or by descent."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastmotion.linear import solve_quadratic
from fastmotion.trajectory.design import Design
from fastmotion.trajectory.lags import LagStatistics

# Frames with white noise of a variance have no mean square below it in any direction, but for the
# scatter of samples; one far below tells that the noise was taken too high, and would make the
# kernel arbitrarily large.
_LEAST_NOISE = 0.5


@dataclass(frozen=True, eq=False)
class Quadratic:
    """``uᵀ gram u - 2 uᵀ moment`` for each group, with weights ``w = basis u``.

    Attributes
    ----------
    gram : ndarray of shape (n_groups, n_taps, n_taps)
    moment : ndarray of shape (n_groups, n_taps)
    basis : ndarray of shape (n_taps, n_taps)
        Orthonormal columns.
    constraints, values : ndarray of shape (n_constraints, n_taps), (n_constraints,)
        ``constraints @ u == values``.
    """

    gram: NDArray[np.float64]
    moment: NDArray[np.float64]
    basis: NDArray[np.float64]
    constraints: NDArray[np.float64]
    values: NDArray[np.float64]


def build_quadratic(
    statistics: LagStatistics,
    design: Design,
    noise: float = 0.0,
    constant: NDArray[np.float64] | None = None,
) -> Quadratic:
    """Return what a kernel's weights minimise.

    Parameters
    ----------
    statistics : LagStatistics
    design : Design
    noise : float, default=0.0
        Standard deviation of white noise in the frames, of which the target is to be free: the
        noise that frames and target share is taken out of their product.
    constant : ndarray of shape (n_groups,) or None, default=None
        What is added to the kernels' outputs. None leaves it to be fitted, or zero, as the design
        says.
    """
    lags, basis = statistics.lags_of(design.offsets), design.basis
    gram = statistics.rotated_gram(lags, basis)
    wanted = design.wanted(statistics)
    moment = statistics.rotated_moment(lags, basis, wanted)
    rounding = _rounding(statistics, lags, gram)
    if design.fit_intercept:
        means = statistics.rotated_means(lags, basis)
        weighted = statistics.weights[:, np.newaxis] * means
        if constant is None:
            gram -= weighted[:, :, np.newaxis] * means[:, np.newaxis, :]
            constant = statistics.mean_of(wanted)
        moment -= weighted * constant[:, np.newaxis]
    gram, moment = _still(gram, moment, rounding)
    if noise:
        floor = noise**2 * statistics.weights
        gram = _raise_eigenvalues(gram, _LEAST_NOISE * floor)
        if wanted is not None:
            moment -= floor[:, np.newaxis] * (wanted[lags] @ basis)
    if design.shrinkage:
        gram, moment = _pool(gram, moment, design.shrinkage)
    penalty, pull = design.penalty()
    return Quadratic(
        gram + basis.T @ penalty @ basis,
        moment + pull @ basis,
        basis,
        design.constraints @ basis,
        design.values,
    )


def _rounding(
    statistics: LagStatistics, lags: NDArray[np.int64], gram: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how much of a Gram matrix's diagonal may be rounding, (n_groups, n_taps)."""
    sizes = np.repeat(statistics.sizes(lags)[:, np.newaxis], len(lags), axis=1)
    sizes[:, 0] = gram[:, 0, 0]
    return 16 * len(lags) * np.finfo(float).eps * sizes


def _still(
    gram: NDArray[np.float64], moment: NDArray[np.float64], rounding: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums that are zero in directions in which nothing moved but by rounding.

    A joint that stands still would else have a matrix without any meaning.
    """
    moves = np.diagonal(gram, axis1=1, axis2=2) > rounding
    both = moves[:, :, np.newaxis] & moves[:, np.newaxis, :]
    return np.where(both, gram, 0.0), np.where(moves, moment, 0.0)


def _raise_eigenvalues(
    gram: NDArray[np.float64], floor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return matrices without eigenvalues below a floor for each."""
    values, vectors = np.linalg.eigh(gram)
    low = values[:, 0] < floor
    if low.any():
        raised = np.maximum(values[low], floor[low, np.newaxis])
        turned = vectors[low]
        gram = gram.copy()
        gram[low] = (turned * raised[:, np.newaxis, :]) @ turned.swapaxes(1, 2)
    return gram


def _pool(
    gram: NDArray[np.float64], moment: NDArray[np.float64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mix the sums of all groups into those of each, scaled to the group's energy of motion."""
    total_gram, total_moment = gram.sum(axis=0), moment.sum(axis=0)
    # The first axis of the basis is where the body stands, the others are how it moves.
    motion = np.trace(gram[:, 1:, 1:], axis1=1, axis2=2)
    if not motion.sum() > 0:
        motion = np.ones(len(gram))
    scale = share * np.maximum(motion / motion.sum(), np.finfo(float).eps)
    return (
        (1 - share) * gram + scale[:, np.newaxis, np.newaxis] * total_gram,
        (1 - share) * moment + scale[:, np.newaxis] * total_moment,
    )


def solve(problem: Quadratic) -> NDArray[np.float64]:
    """Return the weights that minimise each group's form, (n_groups, n_taps)."""
    constraints = problem.constraints if len(problem.constraints) else None
    values = problem.values if len(problem.constraints) else None
    solutions = [
        solve_quadratic(gram, moment, constraints=constraints, values=values)
        for gram, moment in zip(problem.gram, problem.moment)
    ]
    return np.stack(solutions) @ problem.basis.T


# Up to this condition the sums alone tell the weights to some eleven digits.
_GOOD_CONDITION = 1e6


def is_well_conditioned(problem: Quadratic, statistics: LagStatistics, design: Design) -> bool:
    """Return whether the sums alone tell the weights of all groups, despite their rounding."""
    lags = statistics.lags_of(design.offsets)
    sizes = statistics.sizes(lags)
    values = np.linalg.eigvalsh(problem.gram) / np.where(sizes > 0, sizes, 1.0)[:, np.newaxis]
    # What is nothing but rounding, as of a joint that stands still, cannot be told better.
    told = values > 16 * len(lags) * np.finfo(float).eps
    return bool((values[told] * _GOOD_CONDITION > 1).all())


def correct(
    problem: Quadratic,
    design: Design,
    weights: NDArray[np.float64],
    residuals: LagStatistics,
) -> NDArray[np.float64]:
    """Return weights after a step of the corrected seminormal equations [1]_.

    `residuals` are the statistics with what the weights leave of the target as the target.

    References
    ----------
    .. [1] A. Bjorck, "Stability analysis of the method of seminormal equations for linear least
       squares problems", Linear Algebra and its Applications 88/89, 1987.
    """
    lags, basis = residuals.lags_of(design.offsets), design.basis
    moment = residuals.rotated_moment(lags, basis, None)
    if design.fit_intercept:
        means = residuals.rotated_means(lags, basis)
        moment -= means * residuals.targets[:, np.newaxis]
    penalty, pull = design.penalty()
    moment += (pull - weights @ penalty) @ basis
    moment[np.diagonal(problem.gram, axis1=1, axis2=2) == 0] = 0.0
    return weights + solve(replace(problem, moment=moment, values=np.zeros(len(design.values))))


def fit_edges(
    statistics: LagStatistics, design: Design, noise: float, constant: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit kernels to the frames that are there near the first and the last one of a sequence.

    Returns
    -------
    ndarray of shape (n_groups, 2, n_rows, n_taps)
        By side and distance from the edge; zero for windows that are not cut off, NaN for those
        that are left too few frames for a derivative.
    """
    offsets = design.offsets
    n_rows = int(np.abs(offsets[[0, -1]]).max())
    out = np.zeros((statistics.n_groups, 2, n_rows, len(offsets)))
    for distance in range(n_rows):
        for side, there in enumerate((offsets >= -distance, offsets <= distance)):
            if there.sum() <= design.derivative:
                out[:, side, distance] = np.nan
            elif not there.all():
                problem = build_quadratic(statistics, design.keep(there), noise, constant)
                out[:, side, distance, there] = solve(problem)
    return out


def _among_all_lags(
    statistics: LagStatistics, design: Design, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of kernels for all lags of some statistics, (n_groups, n_lags)."""
    kernel = np.zeros((statistics.n_groups, statistics.n_lags))
    kernel[:, statistics.lags_of(design.offsets)] = weights
    return kernel


def intercepts(
    statistics: LagStatistics, design: Design, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the constant of each group's kernel, (n_groups,)."""
    if not design.fit_intercept:
        return np.zeros(statistics.n_groups)
    kernel = _among_all_lags(statistics, design, weights)
    means = [statistics.mean_of(row)[group] for group, row in enumerate(kernel)]
    return statistics.mean_of(design.wanted(statistics)) - np.array(means)


def constant_term(statistics: LagStatistics, design: Design, noise: float) -> float:
    """Return what a kernel of zeros costs, squared errors and penalties of all groups together."""
    nothing = np.zeros((statistics.n_groups, len(design.offsets)))
    energies = squared_loss(statistics, design, nothing, noise)
    if design.fit_intercept:
        energies -= statistics.weights * statistics.mean_of(design.wanted(statistics)) ** 2
    total, strength = design.soft_sum
    penalties = design.alpha * ((nothing + design.prior) ** 2).sum(axis=1) + strength * total**2
    return float((energies + penalties).sum())


def squared_loss(
    statistics: LagStatistics,
    design: Design,
    weights: NDArray[np.float64],
    noise: float = 0.0,
) -> NDArray[np.float64]:
    """Return the summed squared error of kernels on the data of some statistics, (n_groups,).

    With noise it is an unbiased estimate of the error against the target without the noise.
    """
    kernel = _among_all_lags(statistics, design, weights)
    wanted = design.wanted(statistics)
    if wanted is not None:
        loss = statistics.sum_of_squares(wanted - kernel)
        own = 2 * kernel @ wanted - wanted @ wanted
        return loss + noise**2 * statistics.weights * own
    cross = (kernel * statistics.crosses).sum(axis=1)
    cross += kernel.sum(axis=1) * statistics.cross_masses
    return statistics.energies - 2 * cross + statistics.sum_of_squares(kernel)


@dataclass(frozen=True, eq=False)
class Descent:
    """How gradient descent went.

    Attributes
    ----------
    weights : ndarray of shape (n_groups, n_taps)
    epochs : ndarray of shape (n_records,), int64
        Every epoch at first, then ever fewer.
    values : ndarray of shape (n_records,)
        What is minimised, summed over groups, less its constant term.
    path : ndarray of shape (n_records, n_groups, n_taps)
    """

    weights: NDArray[np.float64]
    epochs: NDArray[np.int64]
    values: NDArray[np.float64]
    path: NDArray[np.float64]


# Records are taken at epochs that grow by this factor, so that long runs leave short traces.
_RECORD_GROWTH = 1.05


def descend(
    problem: Quadratic,
    start: NDArray[np.float64],
    *,
    learning_rate: float | None,
    max_iter: int,
    tol: float,
) -> Descent:
    """Minimise each group's form by gradient descent from given weights.

    The steps are taken within the constraints, on features of unit variance. With a learning rate,
    in units of the reciprocal of the largest curvature, it is plain descent; None takes the steps
    and momenta that are the best for the range of curvatures (Chebyshev's [1]_), with which the
    form never rises above its start.

    References
    ----------
    .. [1] G. H. Golub and R. S. Varga, "Chebyshev semi-iterative methods, successive
       overrelaxation iterative methods, and second order Richardson iterative methods", Numerische
       Mathematik 3, 1961.
    """
    origin, axes = _feasible(problem, start @ problem.basis)
    gram = axes.swapaxes(1, 2) @ problem.gram @ axes
    slope = np.einsum("gij,gi->gj", axes, problem.moment - _times(problem.gram, origin))
    gram, slope = _still(gram, slope, _projected_rounding(problem))
    curvature = np.diagonal(gram, axis1=1, axis2=2)
    scale = np.sqrt(np.where(curvature > 0, curvature, 1.0))
    gram = gram / scale[:, :, np.newaxis] / scale[:, np.newaxis, :]
    slope = slope / scale
    # What rounding makes of the slope: no gradient is known better than that.
    terms = np.abs(problem.moment) + _times(np.abs(problem.gram), np.abs(origin))
    noise = np.finfo(float).eps * np.einsum("gij,gi->gj", np.abs(axes), terms) / scale
    limit = np.maximum(tol * _largest(slope), 4 * _largest(noise))
    lowest, highest = _curvatures(gram)
    pace = None
    place, before = np.zeros_like(slope), np.zeros_like(slope)
    epochs, values, path = [], [], []
    next_record = 0.0
    for epoch in range(max_iter + 1):
        product = _times(gram, place)
        gradient = product - slope
        done = bool((_largest(gradient) <= limit).all())
        if epoch >= next_record or done or epoch == max_iter:
            epochs.append(epoch)
            values.append(float((place * (product - 2 * slope)).sum()))
            path.append(origin + np.einsum("gij,gj->gi", axes, place / scale))
            next_record = max(epoch + 1, epoch * _RECORD_GROWTH)
        if done:
            break
        if learning_rate is None:
            step, momentum, pace = _chebyshev(lowest, highest, pace)
        else:
            step, momentum = learning_rate / highest, np.zeros_like(highest)
        place, before = place - step * gradient + momentum * (place - before), place
    else:
        first = np.maximum(_largest(slope), np.finfo(float).tiny)
        left = (_largest(gradient) / first).max()
        warnings.warn(
            f"gradient descent stopped after {max_iter} epochs with a gradient of {left:.1e} of "
            "its first one; raise max_iter or tol, or take solver='closed_form'",
            ConvergenceWarning,
            stacklevel=6,
        )
    traced = np.stack(path) @ problem.basis.T
    constant = float((origin * (_times(problem.gram, origin) - 2 * problem.moment)).sum())
    return Descent(traced[-1], np.array(epochs), np.array(values) + constant, traced)


def _projected_rounding(problem: Quadratic) -> NDArray[np.float64]:
    """Return how much of the curvature along any direction may be rounding, (n_groups, 1)."""
    largest = np.diagonal(problem.gram, axis1=1, axis2=2).max(axis=1, keepdims=True)
    return 64 * np.finfo(float).eps * np.sqrt(problem.gram.shape[1]) * largest


def _largest(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(rows).max(axis=1, initial=0)


def _times(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return (matrix @ vector[:, :, np.newaxis])[:, :, 0]


def _feasible(
    problem: Quadratic, start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the start, moved into the constraints, and directions that stay in them."""
    n_groups, n_taps = problem.moment.shape
    start = np.broadcast_to(start, (n_groups, n_taps))
    if not len(problem.constraints):
        return start, np.broadcast_to(np.eye(n_taps), (n_groups, n_taps, n_taps))
    inverse = np.linalg.pinv(problem.constraints)
    start = start - (start @ problem.constraints.T - problem.values) @ inverse.T
    _, sizes, rows = np.linalg.svd(problem.constraints)
    rank = int((sizes > sizes[0] * 1e-12).sum())
    return start, np.broadcast_to(rows[rank:].T, (n_groups, n_taps, n_taps - rank))


def _curvatures(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest curvature of each group, apart from those that are zero."""
    if not gram.shape[1]:
        return np.ones((len(gram), 1)), np.ones((len(gram), 1))
    curvatures = np.linalg.eigvalsh(gram)
    highest = np.maximum(curvatures[:, -1:], np.finfo(float).tiny)
    # Where there is none, nothing is to be minimised either.
    some = np.where(curvatures > highest * 1e-14, curvatures, highest)
    return some.min(axis=1, keepdims=True), highest


def _chebyshev(
    lowest: NDArray[np.float64], highest: NDArray[np.float64], pace: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return step and momentum of an epoch, and the pace that the next epoch asks for."""
    centre = (highest + lowest) / 2
    spread = np.maximum((highest - lowest) / 2, 1e-12 * centre)
    if pace is None:
        return 1 / centre, np.zeros_like(centre), spread / centre
    faster = 1 / (2 * centre / spread - pace)
    return 2 * faster / spread, faster * pace, faster
