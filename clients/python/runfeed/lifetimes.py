"""What happens to senders when their process forks or ends. They are in a registry while they have a thread."""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import TYPE_CHECKING

from . import journal

if TYPE_CHECKING:
    from .sender import Sender

live: set[Sender] = set()
_at_exit_in = os.getpid()  # the process in which close_all is registered


def close_all() -> None:
    """Every sender gets its time to flush; all of them together the longest one's."""
    began = time.monotonic()
    for sender in list(live):
        sender.close(max(0.0, began + sender.flush_timeout - time.monotonic()))


def register_exit() -> None:
    """In a forked child: multiprocessing ends one by os._exit, and (from Python 3.13 on) clears atexit before."""
    global _at_exit_in
    if _at_exit_in == os.getpid():
        return
    _at_exit_in = os.getpid()
    atexit.unregister(close_all)
    atexit.register(close_all)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, close_all, exitpriority=100)


def _before_fork() -> None:
    journal.opening.acquire()


def _after_in_parent() -> None:
    journal.opening.release()


def _after_in_child() -> None:
    journal.opening.release()
    for one in list(journal.held):
        one.release()
    for sender in list(live):
        sender.renew()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
