"""`python -m orchestrator_api ...` without a process of its own: for tests of what a command does, and not of how it is
started. One takes some 30 ms, a process 0.5 s and more."""

import io
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from typing import TextIO
from unittest.mock import patch

from tests.support.processes import clean_environ
from tests.support.secrets import secrets_of

_ONE = threading.Lock()  # at a time: arguments, environment and output are the whole process'


class _Said(io.TextIOBase):
    """What the thread that made it writes; what others write goes where it went before."""

    def __init__(self, elsewhere: TextIO) -> None:
        self.text = ""
        self._elsewhere = elsewhere
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        """Takes it."""
        if threading.get_ident() != self._thread:
            return self._elsewhere.write(text)
        self.text += text
        return len(text)


def called(*words: str, **names: str) -> tuple[int, str]:
    """The exit status of a command, and all that it said. names: its environment, besides what is not ours.

    It has a thread of its own, and a loop of its own in that, so that tests with a loop may call it, too.
    """
    with _ONE, ThreadPoolExecutor(1) as pool:
        return pool.submit(_call, words, names).result()


def _call(words: tuple[str, ...], names: dict[str, str]) -> tuple[int, str]:
    from orchestrator_api.__main__ import main

    secrets_of(names)
    said = _Said(sys.stdout)
    with (
        patch.object(sys, "argv", ["orchestrator_api", *words]),
        patch.dict("os.environ", clean_environ(**names), clear=True),
        redirect_stdout(said),
        redirect_stderr(said),
    ):
        try:
            status = main()
        except SystemExit as end:  # argparse's
            status = end.code if isinstance(end.code, int) else 1
    return status, said.text
