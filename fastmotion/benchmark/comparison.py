"""Time jobs by turns, check what comes of them, and put it in a table."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastmotion.benchmark.jobs import OURS, Call, Comparison
from fastmotion.benchmark.tables import markdown_table
from fastmotion.benchmark.threads import OWN_POOLS, equal_threads
from fastmotion.benchmark.timing import time_checked

__all__ = ["FAMILIES", "Comparison", "Outcome", "compare", "outcome_table"]

FAMILIES = ("flow", "trajectory", "mixture", "hmm", "epipolar", "features")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What one method took for one job, and how good its result is.

    Attributes
    ----------
    family, job, method : str
        What was done by whom.
    seconds : float
        Median time of a call.
    ratio : float
        That time by the time of the first method, which is ours.
    error : float
        How far off the result is.
    error_name : str
        What the error is, with its unit.
    """

    family: str
    job: str
    method: str
    seconds: float
    ratio: float
    error: float
    error_name: str


def compare(
    families: Iterable[str] = FAMILIES,
    *,
    n_jobs: int,
    scale: float = 1.0,
    rounds: int = 7,
    budget: float = 0.7,
) -> Iterator[list[Outcome]]:
    """Time jobs of each family beside the other libraries that are installed.

    Parameters
    ----------
    families : iterable of str
        Of `FAMILIES`.
    n_jobs : int
        Threads that every library gets.
    scale : float, default=1.0
        Size of the jobs; smaller ones take less time and tell less.
    rounds : int, default=7
        Calls of each method, by turns.
    budget : float, default=0.7
        Seconds after which a method sits out the rounds that are left.

    Yields
    ------
    list of Outcome
        Of each job, ours first. Another library whose result is wrong is left out, with a warning
        to the log: its time would mean nothing.

    Raises
    ------
    ValueError
        There is no such family.
    RuntimeError
        A result of ours is wrong.
    """
    families = tuple(families)
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise ValueError(f"families must be of {list(FAMILIES)}, got {unknown}")
    for family in families:
        try:
            comparisons = _comparisons(family, scale)
        except ImportError as error:
            _logger.warning("%s is left out: %s", family, error)
            continue
        for comparison in comparisons:
            with equal_threads(n_jobs, *OWN_POOLS):
                yield _time(comparison, rounds=rounds, budget=budget)


def _comparisons(family: str, scale: float) -> list[Comparison]:
    return importlib.import_module(f"fastmotion.benchmark.{family}").comparisons(scale)


def _time(comparison: Comparison, *, rounds: int, budget: float) -> list[Outcome]:
    errors: dict[str, float] = {}

    def check(method: str, result: object) -> None:
        errors[method] = comparison.error(result)
        if method.startswith(OURS) and not errors[method] <= comparison.most_error:
            raise RuntimeError(_told_wrong(comparison, method, errors[method]))

    calls = _available(comparison)
    for method, call in calls.items():
        if method.startswith(OURS):
            call()  # compiles
    seconds = time_checked(calls, check, rounds=rounds, budget=budget)
    ours = next(iter(comparison.builders))
    outcomes = []
    for method, taken in seconds.items():
        if errors[method] <= comparison.most_error:
            values = taken, taken / seconds[ours], errors[method], comparison.error_name
            outcomes.append(Outcome(comparison.family, comparison.job, method, *values))
        else:
            _logger.warning(_told_wrong(comparison, method, errors[method]))
    return outcomes


def _told_wrong(comparison: Comparison, method: str, error: float) -> str:
    return (
        f"{comparison.job} by {method} does not count, as its result is wrong: "
        f"{comparison.error_name} {error:.3g}, at most {comparison.most_error:.3g} expected"
    )


def _available(comparison: Comparison) -> dict[str, Call]:
    """Return what is timed, by method, without the libraries that are missing."""
    calls = {}
    for method, build in comparison.builders.items():
        try:
            calls[method] = build()
        except ImportError as error:
            _logger.info("%s is left out: %s", method, error)
    return calls


def outcome_table(outcomes: Iterable[Outcome]) -> str:
    """Return a table in Markdown with a row for each method and job.

    Parameters
    ----------
    outcomes : iterable of Outcome
        What `compare` gives, of one job or of several.

    Returns
    -------
    str
        Lines without a last newline.
    """
    rows = (
        [
            f"{outcome.family}: {outcome.job}",
            outcome.method,
            f"{1e3 * outcome.seconds:.3g}",
            f"{outcome.ratio:.2f}",
            f"{outcome.error_name} {outcome.error:.2g}",
        ]
        for outcome in outcomes
    )
    return markdown_table(["job", "method", "ms", "time / ours", "result"], rows)
