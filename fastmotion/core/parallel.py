"""Maps over items on threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastmotion.core.device import thread_limit

__all__ = ["thread_map"]

Item = TypeVar("Item")
Part = TypeVar("Part")


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
