"""``fastmotion info``: what a bug report should say."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Declare the command and its arguments."""
    text = "print versions, threads, cache folder and CUDA state"
    commands.add_parser("info", help=text, description=text.capitalize() + ".").set_defaults(
        run=run
    )


def run(args: argparse.Namespace) -> None:
    """Print the versions."""
    import fastmotion

    fastmotion.show_versions()
