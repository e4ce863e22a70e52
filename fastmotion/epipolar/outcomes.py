"""What fits to matches may come to, besides a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DegenerateMatchesWarning", "FailedFit"]


class DegenerateMatchesWarning(UserWarning):
    """The matches leave the model undetermined: it is one of many that fit.

    Examples
    --------
    Matches of a plane alone leave the camera's motion open:

    >>> import warnings
    >>> from fastmotion.datasets import make_two_view
    >>> from fastmotion.epipolar import DegenerateMatchesWarning, FundamentalMatrix
    >>> view = make_two_view("planar", n_matches=200, inlier_ratio=1.0, random_state=0)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", DegenerateMatchesWarning)
    ...     model = FundamentalMatrix(random_state=0).fit(view.matches)
    >>> model.degeneracy_
    'plane'
    """


@dataclass(frozen=True)
class FailedFit:
    """A fit of a batch that failed. It is false.

    Attributes
    ----------
    reason : str
        The message of the error that the fit alone would have raised.

    Examples
    --------
    >>> from fastmotion.epipolar import FailedFit
    >>> failed = FailedFit("too few matches")
    >>> bool(failed), failed.reason
    (False, 'too few matches')
    """

    reason: str

    def __bool__(self) -> Literal[False]:
        return False
