"""What a motion kernel is asked for: frames that it reads, target, penalties, constraints."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from fastmotion.trajectory.fixed import FIXED_KERNELS, fixed_kernel
from fastmotion.trajectory.lags import LagStatistics, offset_basis

TARGETS = ("next", "position", "velocity", "acceleration")
MAX_TAPS = 4096
DERIVATIVES = {"velocity": 1, "acceleration": 2}
PRIORS = ("zero", "random", *FIXED_KERNELS)

# Central differences that are exact for polynomials of degree 6 (B. Fornberg, "Generation of finite
# difference formulas on arbitrarily spaced grids", Math. Comp. 51, 1988, table 1).
_STENCILS = {
    1: np.array([-1, 9, -45, 0, 45, -9, 1]) / 60,
    2: np.array([2, -27, 270, -490, 270, -27, 2]) / 180,
}


def kernel_offsets(
    n_taps: int, window: float | None, causal: bool, dilation: int, fps: float | None
) -> NDArray[np.int64]:
    """Return the frames that a kernel reads, relative to the one it gives a value for.

    A window in seconds holds the frames of that time before the frame, or on both sides of it
    together.
    """
    if window is not None:
        if fps is None:
            raise ValueError(f"window={window} is in seconds and needs fps, got fps=None")
        # A product such as 0.28 * 25 must not lose a frame to rounding.
        reach = window * fps / dilation + 1e-9
        if (reach if causal else reach / 2) < 1 or reach >= MAX_TAPS:
            raise ValueError(
                f"window={window} spans {reach:.3g} steps from tap to tap at fps={fps} and "
                f"dilation={dilation}, but must span 1 (2 if not causal) to {MAX_TAPS}; change it "
                "or give n_taps"
            )
        n_taps = math.floor(reach) + 1 if causal else 2 * math.floor(reach / 2) + 1
    newest = 0 if causal else (n_taps - 1) // 2
    return dilation * np.arange(newest - n_taps + 1, newest + 1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Functional:
    """A weighted sum of the frames around a frame, such as its derivative.

    Attributes
    ----------
    offsets : ndarray of shape (n,), int64
    weights : ndarray of shape (n,)
    derivative : int
        Its order; 0 for a position.
    """

    offsets: NDArray[np.int64]
    weights: NDArray[np.float64]
    derivative: int = 0


def target_functional(target: str, horizon: int, fps: float | None) -> Functional:
    """Return the sum of frames that a kernel shall give, in units per second if `fps` is given."""
    if target in DERIVATIVES:
        order = DERIVATIVES[target]
        scale = 1.0 if fps is None else float(fps) ** order
        return Functional(np.arange(-3, 4, dtype=np.int64), scale * _STENCILS[order], order)
    return Functional(np.array([horizon if target == "next" else 0], np.int64), np.ones(1))


@dataclass(frozen=True, eq=False)
class Design:
    """The least-squares problem of a kernel, apart from the data.

    Attributes
    ----------
    offsets : ndarray of shape (n_taps,), int64
        Frames that the kernel reads; increasing.
    functional : Functional or None
        What it shall give; None stands for a target that is data.
    alpha : float
        Weight of ``|w - prior|²``.
    prior : ndarray of shape (n_taps,) or (n_groups, n_taps)
    smoothness : float
        Weight of the squared differences of successive weights.
    smoothness_order : int
        Order of those differences.
    soft_sum : tuple of float
        What the weights shall add up to, and the weight of the squared deviation from it.
    constraints : ndarray of shape (n_constraints, n_taps)
        ``constraints @ w == values``.
    values : ndarray of shape (n_constraints,)
    shrinkage : float
        Share of the statistics of all channels in those of each group, from 0 to 1.
    fit_intercept : bool
        Whether a constant is added to the kernel's output.
    """

    offsets: NDArray[np.int64]
    functional: Functional | None
    alpha: float
    prior: NDArray[np.float64]
    smoothness: float
    smoothness_order: int
    soft_sum: tuple[float, float]
    constraints: NDArray[np.float64]
    values: NDArray[np.float64]
    shrinkage: float
    fit_intercept: bool

    @property
    def reach(self) -> tuple[int, int]:
        """First and last offset of a window with all that is read and wanted."""
        wanted = np.zeros(1, np.int64) if self.functional is None else self.functional.offsets
        frames = np.concatenate([self.offsets, wanted, [0]])
        return int(frames.min()), int(frames.max())

    @property
    def n_lags(self) -> int:
        """Frames of a window."""
        first, last = self.reach
        return last - first + 1

    @property
    def anchor(self) -> int:
        """Lag of the frame at offset 0 in the shortest window."""
        return self.reach[1]

    @cached_property
    def basis(self) -> NDArray[np.float64]:
        """The basis in which the problem is solved."""
        return offset_basis(len(self.offsets))

    @property
    def derivative(self) -> int:
        """Order of the derivative that is wanted; 0 for positions and targets that are data."""
        return 0 if self.functional is None else self.functional.derivative

    def penalty(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return matrix and vector of the penalty ``wᵀ matrix w - 2 wᵀ vector``.

        The vector has a row for each row of `prior`.
        """
        n_taps = len(self.offsets)
        total, strength = self.soft_sum
        matrix = self.alpha * np.eye(n_taps) + strength
        if self.smoothness and n_taps > self.smoothness_order:
            differences = np.diff(np.eye(n_taps), self.smoothness_order, axis=0)
            matrix += self.smoothness * differences.T @ differences
        return matrix, self.alpha * self.prior + strength * total

    def keep(self, taps: NDArray[np.bool_]) -> Design:
        """Return the problem of a kernel with some of the taps.

        It keeps as many of the constraints, the first ones, as it can and still have a choice, and
        of the prior the sum and the first moment. A derivative of few frames is not one of where
        they are: its weights add up to zero.
        """
        rows, values = self.constraints[:, taps], self.values
        if self.derivative and not (np.ptp(self.constraints, axis=1) == 0).any():
            rows = np.concatenate([np.ones((1, rows.shape[1])), rows])
            values = np.append(0.0, values)
        n = min(len(rows), max(int(taps.sum()) - 1, 1))
        while n and np.linalg.matrix_rank(rows[:n]) < n:
            n -= 1
        return replace(
            self,
            offsets=self.offsets[taps],
            prior=_cut(self.prior, self.offsets, taps),
            constraints=rows[:n],
            values=values[:n],
        )

    def wanted(self, statistics: LagStatistics) -> NDArray[np.float64] | None:
        """Return the weights of what the kernel shall give for all lags of some statistics."""
        if self.functional is None:
            return None
        weights = np.zeros(statistics.n_lags)
        weights[statistics.lags_of(self.functional.offsets)] = self.functional.weights
        return weights


def _cut(
    kernels: NDArray[np.float64], offsets: NDArray[np.int64], taps: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return kernels of some of the taps, changed least for the same sum and first moment.

    A difference that lost a frame would else be one of positions far from the origin.
    """
    moments = np.vander(offsets / max(1, int(np.abs(offsets).max())), 2, increasing=True).T
    moments = moments[: int(taps.sum())]
    lost = kernels[:, ~taps] @ moments[:, ~taps].T
    return kernels[:, taps] + lost @ np.linalg.pinv(moments[:, taps]).T


def prior_kernel(
    prior: str | ArrayLike | None,
    offsets: NDArray[np.int64],
    shape: tuple[int, ...],
    *,
    causal: bool,
    fps: float | None,
    residual: bool,
    random_state: np.random.RandomState,
) -> NDArray[np.float64]:
    """Return the kernel that `alpha` pulls to, as rows for some groups, (1 or n_groups, n_taps).

    `shape` is that of the coefficients without their last axis.
    """
    n_taps = len(offsets)
    if prior is None:
        prior = "hold" if residual else "zero"
    if not isinstance(prior, str):
        weights = np.asarray(prior, np.float64)
        if weights.shape not in ((n_taps,), (*shape, n_taps)) or not np.isfinite(weights).all():
            raise ValueError(
                f"prior must be finite and of shape ({n_taps},) or {(*shape, n_taps)}, as offsets_ "
                f"and coef_ are, got shape {weights.shape}"
            )
        return weights.reshape(-1, n_taps)
    if prior == "zero":
        return np.zeros((1, n_taps))
    if prior == "random":
        return random_state.normal(scale=0.1 / n_taps, size=(1, n_taps))
    taken = None if FIXED_KERNELS[prior].method == "stencil" else n_taps
    frames, weights = fixed_kernel(prior, n_taps=taken, causal=causal, fps=fps)
    places = np.searchsorted(offsets, frames)
    if (places >= n_taps).any() or (offsets[places] != frames).any():
        raise ValueError(
            f"prior={prior!r} reads frames {frames.tolist()}, which are not all among the kernel's "
            f"{offsets.tolist()}; raise n_taps or give the prior as an array"
        )
    row = np.zeros((1, n_taps))
    row[0, places] = weights
    return row


def make_design(kernel: Any, shape: tuple[int, ...], has_target: bool) -> Design:
    """Return the least-squares problem that the parameters of a `MotionKernel` describe.

    `shape` is that of its coefficients without their last axis.
    """
    _check_combinations(kernel, has_target)
    fps = kernel.fps
    offsets = kernel_offsets(kernel.n_taps, kernel.window, kernel.causal, kernel.dilation, fps)
    functional = None if has_target else target_functional(kernel.target, kernel.horizon, fps)
    prior = prior_kernel(
        kernel.prior,
        offsets,
        shape,
        causal=kernel.causal,
        fps=fps,
        residual=kernel.residual,
        random_state=check_random_state(kernel.random_state),
    )
    constraints, values = _constraints(kernel, offsets, functional)
    return Design(
        offsets=offsets,
        functional=functional,
        alpha=float(kernel.alpha),
        prior=prior,
        smoothness=float(kernel.smoothness),
        smoothness_order=int(kernel.smoothness_order),
        soft_sum=_soft_sum(kernel.weight_sum),
        constraints=constraints,
        values=values,
        shrinkage=float(kernel.shrinkage),
        fit_intercept=kernel.fit_intercept,
    )


def _check_combinations(kernel: Any, has_target: bool) -> None:
    """Raise if parameters contradict each other."""
    if kernel.residual and not has_target and kernel.target in DERIVATIVES:
        raise ValueError(
            f"residual=True adds the present position, which target={kernel.target!r} does not "
            "contain; take residual=False"
        )
    if kernel.residual and kernel.weight_sum is not None:
        raise ValueError(
            f"residual=True makes the weights add up to 1, got weight_sum={kernel.weight_sum!r} "
            "too; give one of the two"
        )
    if has_target and kernel.noise is not None:
        raise ValueError(
            f"noise={kernel.noise!r} is for fits without y; with y, whose noise is its own, take "
            "noise=None"
        )
    if has_target and isinstance(kernel.moments, Integral):
        raise ValueError(
            f"moments={kernel.moments} takes the moments of the target, which y does not tell; "
            "give them as a dict such as {0: 1.0, 1: 0.0}"
        )


def _constraints(
    kernel: Any, offsets: NDArray[np.int64], functional: Functional | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return equations that the weights keep."""
    wanted = _moments(kernel.moments, functional)
    total = 1.0 if kernel.residual else kernel.weight_sum
    if isinstance(total, Real):
        if not math.isclose(wanted.get(0, total), total, rel_tol=1e-9, abs_tol=1e-9):
            raise ValueError(
                f"moments={kernel.moments!r} makes the weights add up to {wanted[0]:.6g}, but "
                f"{'residual=True' if kernel.residual else 'weight_sum'} to {total}; give one of "
                "the two"
            )
        wanted = {0: float(total), **wanted}
    # Powers of offsets within [-1, 1], so that the rows are of one size.
    span = max(1, int(np.abs(offsets).max()))
    rows = np.reshape([(offsets / span) ** order for order in wanted], (-1, len(offsets)))
    values = np.array([value / span**order for order, value in wanted.items()])
    nearest = np.linalg.lstsq(rows, values)[0] if wanted else np.zeros(len(offsets))
    if not np.allclose(
        rows @ nearest, values, rtol=1e-9, atol=1e-9 * np.abs(values).max(initial=0)
    ):
        raise ValueError(
            f"no kernel of {len(offsets)} tap(s) has all moments {wanted} (order: value) that "
            "moments, weight_sum and residual ask for; raise n_taps or ask for fewer"
        )
    return rows, values


def _moments(
    moments: int | dict[int, float] | None, functional: Functional | None
) -> dict[int, float]:
    """Return moments by their order; those of the target if only the highest order is given."""
    if moments is None:
        return {}
    if not isinstance(moments, dict):
        assert functional is not None
        powers = functional.offsets ** np.arange(int(moments) + 1.0)[:, np.newaxis]
        return dict(enumerate((powers @ functional.weights).tolist()))
    for order, value in moments.items():
        if not isinstance(order, Integral) or order < 0 or not np.isfinite(value):
            raise ValueError(
                f"moments must map orders 0, 1, 2, ... to finite numbers, got {order!r}: {value!r}"
            )
    return {int(order): float(value) for order, value in moments.items()}


def _soft_sum(weight_sum: float | tuple[float, float] | None) -> tuple[float, float]:
    """Return what the weights shall add up to, and the weight of the squared deviation from it."""
    if not isinstance(weight_sum, tuple):
        return 0.0, 0.0
    if len(weight_sum) != 2 or not np.isfinite(weight_sum).all() or weight_sum[1] < 0:
        raise ValueError(
            "weight_sum must be a number or a tuple (sum, penalty) of finite numbers with a "
            f"penalty of at least 0, got {weight_sum!r}"
        )
    return float(weight_sum[0]), float(weight_sum[1])
