"""Where compiled code is kept on disk."""

from __future__ import annotations

from typing import Any


def enable(dispatcher: Any) -> None:
    """Let a dispatcher keep its machine code on disk."""
