"""The same number of threads for every library."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from threadpoolctl import threadpool_limits

from fastmotion.core.config import config_context

__all__ = ["OWN_POOLS", "equal_threads"]

# Libraries with a thread pool that no common switch reaches: how each is asked and told.
OWN_POOLS = {
    "cv2": ("getNumThreads", "setNumThreads"),
    "daal4py": ("num_threads", "daalinit"),
    "torch": ("get_num_threads", "set_num_threads"),
}


@contextmanager
def equal_threads(count: int, *libraries: str) -> Iterator[None]:
    """Limit ours, BLAS, OpenMP, and those of `libraries` (in OWN_POOLS) that are installed."""
    with ExitStack() as stack:
        stack.enter_context(config_context(n_jobs=count))
        stack.enter_context(threadpool_limits(count))
        for library in libraries:
            stack.enter_context(_own_pool(library, count))
        yield


@contextmanager
def _own_pool(library: str, count: int) -> Iterator[None]:
    try:
        module = importlib.import_module(library)
    except ImportError:
        yield
        return
    ask, tell = (getattr(module, name) for name in OWN_POOLS[library])
    before = ask()
    tell(count)
    try:
        yield
    finally:
        tell(before)
