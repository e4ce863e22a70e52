"""The progress of a fit, in hmmlearn's interface."""

from __future__ import annotations

import logging
import math
import sys
from collections import deque

__all__ = ["ConvergenceMonitor"]

# A likelihood may fall by as much as rounding makes it.
_WIGGLE = math.sqrt(sys.float_info.epsilon)

_logger = logging.getLogger(__name__)


class ConvergenceMonitor:
    """Keeps the log-likelihoods of a fit and says when it has converged.

    For another criterion, override `converged` in a subclass and set an instance as a model's
    ``monitor_`` before fitting.

    Parameters
    ----------
    tol : float
        Fitting ends when an iteration raises the log-likelihood by less.
    n_iter : int
        Fitting ends after as many iterations.
    verbose : bool
        Whether to write each iteration to standard error: its number, the log-likelihood and by
        how much it rose.

    Attributes
    ----------
    history : collections.deque of float
        The log-likelihood at the parameters that each iteration began with.
    iter : int
        Number of iterations.

    Examples
    --------
    >>> from fastmotion.hmm import ConvergenceMonitor
    >>> monitor = ConvergenceMonitor(tol=0.1, n_iter=10, verbose=False)
    >>> for log_likelihood in (-12.0, -10.0, -9.95):
    ...     monitor.report(log_likelihood)
    >>> monitor.converged, monitor.iter
    (True, 3)
    """

    _template = "{iter:>10d} {log_prob:>16.8f} {delta:>+16.8f}"

    def __init__(self, tol: float, n_iter: int, verbose: bool) -> None:
        self.tol = tol
        self.n_iter = n_iter
        self.verbose = verbose
        self.history: deque[float] = deque()
        self.iter = 0

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(tol={self.tol}, n_iter={self.n_iter}, "
            f"verbose={self.verbose}, iter={self.iter}, history={list(self.history)})"
        )

    def _reset(self) -> None:
        self.iter = 0
        self.history.clear()

    def report(self, log_prob: float) -> None:
        """Take note of the log-likelihood of an iteration.

        Parameters
        ----------
        log_prob : float
            Of all sequences, at the parameters that the iteration began with.

        Examples
        --------
        >>> from fastmotion.hmm import ConvergenceMonitor
        >>> monitor = ConvergenceMonitor(tol=0.1, n_iter=10, verbose=False)
        >>> monitor.report(-12.0)
        >>> monitor.report(-10.0)
        >>> list(monitor.history), monitor.iter
        ([-12.0, -10.0], 2)
        """
        delta = log_prob - self.history[-1] if self.history else math.nan
        if self.verbose:
            line = self._template.format(iter=self.iter + 1, log_prob=log_prob, delta=delta)
            sys.stderr.write(f"{line}\n")
        if delta < -_WIGGLE:
            _logger.warning(
                "Model is not converging: the log-likelihood fell from %s to %s, by %s",
                self.history[-1], log_prob, -delta,
            )  # fmt: skip
        self.history.append(log_prob)
        self.iter += 1

    @property
    def converged(self) -> bool:
        """Whether fitting is to end: it gains less than ``tol``, or ``n_iter`` is reached.

        Examples
        --------
        >>> from fastmotion.hmm import ConvergenceMonitor
        >>> monitor = ConvergenceMonitor(tol=0.1, n_iter=10, verbose=False)
        >>> for log_likelihood in (-12.0, -10.0, -9.95):
        ...     monitor.report(log_likelihood)
        ...     monitor.converged
        False
        False
        True
        """
        if self.iter == self.n_iter:
            return True
        return len(self.history) >= 2 and self.history[-1] - self.history[-2] < self.tol
