"""A map and an ordered merge on joblib."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TypeVar

from fastmotion.core.config import config_context, get_config

Item = TypeVar("Item")
Part = TypeVar("Part")


def map_merge(
    func: Callable[[Item], Part],
    items: Iterable[Item],
    merge: Callable[[Part, Part], Part],
    *,
    n_jobs: int | None = None,
) -> Part:
    """Apply a function to every item and merge the results in the order of the items.

    The merges are the same ones in the same order for any ``n_jobs``, so the result is too, to the
    last bit. Results are merged as they arrive; few are held at a time.

    Parameters
    ----------
    func : callable
        Turns an item into a part; picklable if workers are processes.
    items : iterable
        At least one.
    merge : callable
        ``merge(left, right)`` returns one part; it may change and return ``left``.
    n_jobs : int or None, default=None
        Workers, as joblib counts them. The backend is joblib's choice, or that of an enclosing
        ``joblib.parallel_config``.

    Returns
    -------
    The merged part.

    Raises
    ------
    ValueError
        There are no items.

    Examples
    --------
    >>> from operator import add
    >>> from fastmotion.core.parallel import map_merge
    >>> map_merge(len, ["a", "bcd", ""], add)
    4
    """
    from joblib import Parallel, delayed

    call = delayed(functools.partial(_call_with_config, get_config(), func))
    parts = Parallel(n_jobs=n_jobs, return_as="generator")(call(item) for item in items)
    try:
        first = next(parts)
    except StopIteration:
        raise ValueError("items must hold at least one item, got none") from None
    return functools.reduce(merge, parts, first)


def _call_with_config(config: dict, func: Callable[[Item], Part], item: Item) -> Part:
    # Settings belong to a thread: a worker must be told those of its caller.
    with config_context(**config):
        return func(item)
