"""What commands print beside their results."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["print_warnings"]


@contextmanager
def print_warnings() -> Iterator[None]:
    """Print the warnings of a block, when it ends well, as the command line prints errors."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        print(f"fastmotion: warning: {' '.join(str(warning.message).split())}", file=sys.stderr)
