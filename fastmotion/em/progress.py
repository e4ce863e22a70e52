"""Progress of a fit: messages, and scikit-learn's callbacks where it has them (from 1.9)."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from fastmotion.em.driver import EMRun

__all__ = ["CallbackSupportMixin", "FitTasks", "Messages", "messages_shown", "with_callbacks"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


class CallbackSupportMixin:
    """Stands where scikit-learn has no callbacks."""


def with_callbacks(method: _Method) -> _Method:
    """Return the method as it is."""
    return method


# Type checkers keep the names above: scikit-learn has no annotations, which would hide those of
# the methods from users.
if not TYPE_CHECKING:
    with contextlib.suppress(ImportError):
        from sklearn.callback import CallbackSupportMixin, with_callbacks

_logger = logging.getLogger(__name__)


class Messages:
    """Logs what scikit-learn's mixtures print: an observer of EM.

    Parameters
    ----------
    verbose : int
        1 for starts and iterations, 2 for times and bounds too.
    interval : int
        Iterations from one message to the next.
    """

    def __init__(self, verbose: int, interval: int) -> None:
        self.verbose = verbose
        self.interval = interval

    def start_begins(self, start: int) -> None:
        """Log that a start begins."""
        _logger.info("Initialization %d", start)
        self._start = self._last = time.perf_counter()

    def iteration_begins(self, iteration: int) -> None:
        """Do nothing: iterations are logged when they end."""

    def iteration_ends(self, iteration: int, bound: float, change: float) -> bool:
        """Log an iteration in so many; never stop."""
        if iteration % self.interval == 0:
            detail = ""
            if self.verbose > 1:
                now = time.perf_counter()
                detail = f"\t time lapse {now - self._last:.5f}s\t ll change {change:.5f}"
                self._last = now
            _logger.info("  Iteration %d%s", iteration, detail)
        return False

    def start_ends(self, run: EMRun) -> None:
        """Log how a start ended."""
        outcome = "converged" if run.converged else "did not converge"
        detail = ""
        if self.verbose > 1:
            lapse = time.perf_counter() - self._start
            detail = f" time lapse {lapse:.5f}s\t lower bound {run.lower_bound:.5f}."
        _logger.info("Initialization %s.%s", outcome, detail)


@contextlib.contextmanager
def messages_shown(verbose: int) -> Iterator[None]:
    """Let messages at level INFO through for the time of a block, to standard output at worst."""
    if not verbose:
        yield
        return
    level, handler = _logger.level, None
    if not _logger.isEnabledFor(logging.INFO):
        _logger.setLevel(logging.INFO)
    if not _logger.hasHandlers():
        handler = logging.StreamHandler(sys.stdout)
        _logger.addHandler(handler)
    try:
        yield
    finally:
        _logger.setLevel(level)
        if handler is not None:
            _logger.removeHandler(handler)


class FitTasks:
    """Tells an estimator's callbacks of starts and iterations: an observer of EM.

    The tasks are a tree: the fit, its starts, their iterations. Without callbacks nothing happens.

    Parameters
    ----------
    estimator : estimator
        Its class derives from `CallbackSupportMixin`.
    X : array
        What it is fitted to.
    n_starts, max_iter : int
        Tasks expected.
    attributes : callable
        Returns the fitted attributes by name that the last start's present parameters stand for.
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,
        n_starts: int,
        max_iter: int,
        attributes: Callable[[], dict[str, Any]],
    ) -> None:
        self._hooks = {"estimator": estimator, "X": X}
        self._max_iter = max_iter
        self._attributes = attributes
        self._fit = estimator._init_callback_context(max_subtasks=n_starts)
        self._fit.call_on_fit_task_begin(**self._hooks)

    @classmethod
    def of(cls, estimator: Any, *args: Any) -> list[FitTasks]:
        """Return the observers to add: none if the estimator has no callbacks."""
        return [cls(estimator, *args)] if getattr(estimator, "_skl_callbacks", None) else []

    def start_begins(self, start: int) -> None:
        """Begin a start's task."""
        self._start = self._fit.subcontext(task_name="start", max_subtasks=self._max_iter)
        self._start.call_on_fit_task_begin(**self._hooks)

    def iteration_begins(self, iteration: int) -> None:
        """Begin an iteration's task."""
        self._iteration = self._start.subcontext(task_name="iteration")
        self._iteration.call_on_fit_task_begin(**self._hooks)

    def iteration_ends(self, iteration: int, bound: float, change: float) -> bool:
        """End an iteration's task; stop if a callback says so."""
        return self._iteration.call_on_fit_task_end(
            **self._hooks, reconstruction_attributes=self._attributes
        )

    def start_ends(self, run: EMRun) -> None:
        """End a start's task."""
        self._start.call_on_fit_task_end(**self._hooks, reconstruction_attributes=self._attributes)

    def fit_ends(self) -> None:
        """End the fit's task."""
        self._fit.call_on_fit_task_end(**self._hooks, reconstruction_attributes=self._attributes)
