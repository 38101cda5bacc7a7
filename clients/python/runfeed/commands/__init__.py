"""The commands of `runfeed`, a module each.

A command has `add(subparsers)`, which names its arguments and sets `call`: a function that takes the parsed ones and
returns an exit code. A ValueError that it raises is a wrong argument.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_url(parser: argparse.ArgumentParser) -> None:
    """The option that all commands have."""
    parser.add_argument("--url", help="the API's base URL (RUNFEED_URL, WEBHOOK_BASE_URL; http://127.0.0.1:8081)")
