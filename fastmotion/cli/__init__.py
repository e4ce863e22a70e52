"""The command line: ``fastmotion flow``, ``features``, ``kernel``, ``epipolar`` and others.

Each command has a module of its own with `add_parser`, which declares its arguments, and `run`,
which does its work. Only `run` imports what it needs, so that ``--help`` answers at once.
"""

from fastmotion.cli.entry import main

__all__ = ["main"]
