"""./dev fault: breaks everything that may break, and shows that nothing is lost; arguments go on to the suite."""

import os
import sys

from deploy.local.check import environ
from deploy.local.place import CHECKOUT


def main(arguments: list[str]) -> int:
    """Becomes the suite, which lives with the tests."""
    os.chdir(CHECKOUT)
    names = {**environ(), "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "clients" / "python")])}
    # Replaces this process, so that Ctrl-C reaches the suite alone and its servers end with it.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "tests.fault", *arguments], names)  # noqa: S606 - no shell
