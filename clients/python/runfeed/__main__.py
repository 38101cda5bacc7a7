"""`runfeed`: watch a run, report one event, a whole command, or what is left to send."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from . import __version__
from .commands import emit, flush, run, tail

COMMANDS = (tail, emit, run, flush)  # each has add(subparsers), and sets `call` to what takes the arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code. A wrong argument exits with 2."""
    parser = argparse.ArgumentParser(prog="runfeed", description="Watch what happens in runs, and report it.")
    parser.add_argument("--version", action="version", version=f"runfeed {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)
    said = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="runfeed: %(message)s", stream=sys.stderr)
    try:
        code: int = said.call(said)
    except ValueError as error:
        sys.stderr.write(f"runfeed: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
