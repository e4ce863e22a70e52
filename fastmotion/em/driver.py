"""Expectation-maximisation, which knows no model.

A model brings its two steps and a snapshot of its parameters (`EMModel`); the driver iterates,
judges convergence, keeps the trace of lower bounds, picks the best of several starts, and tells
observers. Dempster, Laird and Rubin 1977, "Maximum likelihood from incomplete data via the EM
algorithm", Journal of the Royal Statistical Society B 39.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["EMModel", "EMRun", "Observer", "best_of", "run_em"]


class EMModel(Protocol):
    """What EM can fit."""

    def expectation(self) -> tuple[Any, float]:
        """Return the expected statistics under the present parameters, and the lower bound there.

        The bound is on the log-likelihood, on whatever scale the tolerance is meant.
        """

    def maximisation(self, statistics: Any) -> None:
        """Take on the parameters that are best for the statistics."""

    def parameters(self) -> Any:
        """Return the present parameters; later steps leave them as they are."""


class Observer(Protocol):
    """Who is told of the progress of a fit."""

    def start_begins(self, start: int) -> None:
        """Hear that a start, counted from 0, begins."""

    def iteration_begins(self, iteration: int) -> None:
        """Hear that an iteration, counted from 1, begins."""

    def iteration_ends(self, iteration: int, bound: float, change: float) -> bool:
        """Hear that an iteration has ended; return whether to stop."""

    def start_ends(self, run: EMRun) -> None:
        """Hear that a start has ended."""


@dataclass(frozen=True)
class EMRun:
    """The outcome of EM from one start.

    Attributes
    ----------
    parameters : object
        What the model's ``parameters`` gave in the end.
    lower_bounds : list of float
        The lower bound at the parameters that each iteration began with.
    converged : bool
        Whether the bound stopped rising.
    """

    parameters: Any
    lower_bounds: list[float] = field(default_factory=list)
    converged: bool = False

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.lower_bounds)

    @property
    def lower_bound(self) -> float:
        """The last lower bound; minus infinity if there was no iteration."""
        return self.lower_bounds[-1] if self.lower_bounds else -math.inf


def run_em(
    model: EMModel,
    *,
    max_iter: int,
    has_converged: Callable[[float], bool],
    previous: float = -math.inf,
    observers: Iterable[Observer] = (),
) -> EMRun:
    """Iterate the two steps of a model from its present parameters.

    Parameters
    ----------
    model : EMModel
        Changed in place.
    max_iter : int
        0 leaves the parameters as they are.
    has_converged : callable
        Told the change of the bound in an iteration (infinite in the first one), says whether that
        was the last.
    previous : float, default=-inf
        The bound before the first iteration, where fitting goes on.
    observers : iterable of Observer

    Returns
    -------
    EMRun
    """
    observers = tuple(observers)
    bounds: list[float] = []
    for iteration in range(1, max_iter + 1):
        for observer in observers:
            observer.iteration_begins(iteration)
        statistics, bound = model.expectation()
        model.maximisation(statistics)
        bounds.append(bound)
        change, previous = bound - previous, bound
        stops = [observer.iteration_ends(iteration, bound, change) for observer in observers]
        if has_converged(change):
            return EMRun(model.parameters(), bounds, converged=True)
        if any(stops):
            break
    return EMRun(model.parameters(), bounds)


def best_of(
    starts: Iterable[Callable[[], EMModel]],
    *,
    max_iter: int,
    has_converged: Callable[[float], bool],
    previous: float = -math.inf,
    observers: Iterable[Observer] = (),
) -> EMRun:
    """Run EM from several starts and return the run that ends with the greatest lower bound.

    Parameters
    ----------
    starts : iterable of callable
        Each makes a model at its starting parameters; at least one.
    max_iter, has_converged, previous, observers
        As for `run_em`.

    Returns
    -------
    EMRun
        The first of those that are equally good.
    """
    observers = tuple(observers)
    best = None
    for index, start in enumerate(starts):
        for observer in observers:
            observer.start_begins(index)
        run = run_em(
            start(),
            max_iter=max_iter,
            has_converged=has_converged,
            previous=previous,
            observers=observers,
        )
        for observer in observers:
            observer.start_ends(run)
        if best is None or run.lower_bound > best.lower_bound:
            best = run
    if best is None:
        raise ValueError("starts must hold at least one start, got none")
    return best
