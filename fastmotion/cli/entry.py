"""Parse the arguments, run a command, and turn errors into exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import fastmotion
from fastmotion.cli import bench, demo, epipolar, features, flow, info, kernel, warmup

__all__ = ["main"]

_EXIT_BAD_INPUT = 2  # as argparse does for bad arguments
_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments without the program's name. None takes those of the process.

    Returns
    -------
    code : int
        0 on success, 2 if an input or an argument was no good (one line on stderr says why), 130
        if the user interrupted.

    Raises
    ------
    SystemExit
        With code 2 if the arguments cannot be parsed, with 0 after ``--help`` and ``--version``.
    """
    args = _build_parser().parse_args(argv)
    try:
        args.run(args)
    except KeyboardInterrupt:
        print("fastmotion: interrupted", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        if args.traceback:
            raise
        print(f"fastmotion: error: {' '.join(str(error).split())}", file=sys.stderr)
        return _EXIT_BAD_INPUT
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastmotion", description="Measure motion in images, video and poses."
    )
    parser.add_argument(
        "--version", action="version", version=f"fastmotion {fastmotion.__version__}"
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where in the code an error arose"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (flow, features, kernel, epipolar, demo, bench, info, warmup):
        command.add_parser(commands)
    return parser
