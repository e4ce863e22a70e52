"""Maps over items: with an ordered merge on joblib, and on threads of their own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastmotion.core.config import Settings, config_context, get_config
from fastmotion.core.device import thread_limit

__all__ = ["map_merge", "thread_map"]

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


def _call_with_config(config: Settings, func: Callable[[Item], Part], item: Item) -> Part:
    # Settings belong to a thread: a worker must be told those of its caller.
    with config_context(**config):
        return func(item)


def thread_map(
    func: Callable[[Item], Part], items: Iterable[Item], *, n_jobs: int | None = None
) -> list[Part]:
    """Apply a function to every item on several threads and return the results in order.

    For functions that release the interpreter's lock, such as compiled kernels. Whoever is free
    takes the next item, so a thread that the system holds up delays nobody. The threads live for
    this call only: there is nothing that a fork could lose.

    Parameters
    ----------
    func : callable
    items : iterable
    n_jobs : int or None, default=None
        Threads, counted as by `fastmotion.core.device.thread_limit`. With one, or one item, the
        caller's thread does it all.

    Returns
    -------
    list

    Examples
    --------
    >>> from fastmotion.core.parallel import thread_map
    >>> thread_map(len, ["a", "bcd", ""], n_jobs=2)
    [1, 3, 0]
    """
    tasks = list(enumerate(items))
    if len(tasks) <= 1:
        return [func(item) for _, item in tasks]
    results: list[Any] = [None] * len(tasks)
    errors: list[BaseException] = []
    queue = iter(tasks)
    lock = threading.Lock()

    def work() -> None:
        while not errors:
            with lock:
                task = next(queue, None)
            if task is None:
                return
            try:
                results[task[0]] = func(task[1])
            except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
                errors.append(error)

    with thread_limit(n_jobs) as n_threads:
        helpers = [threading.Thread(target=work) for _ in range(min(n_threads, len(tasks)) - 1)]
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
    if errors:
        raise errors[0]
    return results
