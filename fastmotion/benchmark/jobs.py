"""A job that several libraries do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["OURS", "Call", "Comparison"]

OURS = "fastmotion"

Call = Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """One job, done by ours and by other libraries.

    Attributes
    ----------
    family : str
        Part of the package that it belongs to.
    job : str
        What is done, with its size.
    builders : mapping of str to callable
        By method, one of ours first: a function that returns what is timed. It raises ImportError
        where the library is missing. Names of ours begin with `OURS`.
    error : callable
        From what a call returns to how far off that is; NaN counts as wrong.
    error_name : str
        What the error is, with its unit.
    most_error : float
        A result that is further off is not worth timing.
    """

    family: str
    job: str
    builders: Mapping[str, Callable[[], Call]]
    error: Callable[[Any], float]
    error_name: str
    most_error: float
