"""``fastmotion warmup``: compile everything now rather than at first use."""

from __future__ import annotations

import argparse
from time import perf_counter
from typing import Any

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Declare the command and its arguments."""
    parser = commands.add_parser(
        "warmup",
        help="compile all functions into the cache, so that later programs start at once",
        description=(
            "Compile all functions for the CPU or GPU of this machine and keep the code on "
            "disk. Programs that use fastmotion then start without a pause."
        ),
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Compile."""
    import fastmotion

    start = perf_counter()
    fastmotion.warmup(device=args.device)
    print(f"Ready in {perf_counter() - start:.1f} s.")
