"""./dev bench: what a delivery, an append and a poll cost, beside naive services; arguments go on to the benchmark."""

import os
import sys

from deploy.local.check import environ
from deploy.local.place import CHECKOUT


def main(arguments: list[str]) -> int:
    """Becomes the benchmark, which lives with the tests."""
    os.chdir(CHECKOUT)
    names = {**environ(), "PYTHONPATH": str(CHECKOUT)}
    # Replaces this process, so that Ctrl-C reaches the benchmark alone and its servers end with it.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "tests.bench", *arguments], names)  # noqa: S606 - no shell
