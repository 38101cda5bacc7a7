"""As many connections as the process may have files open: beyond that the kernel would refuse, without a word.

This file stands twice, byte for byte, in fanout/ and orchestrator_api/: see tokens.py. A test compares them.
"""

import logging
import os
import sys

if sys.platform != "win32":
    import resource


log = logging.getLogger(__package__)


def fitted(event: str, wanted: int, reserve: int) -> int:
    """Returns how many connections there can be, see `affordable`; the log says so when that is not what was wanted.

    A default that is a little more than a machine has is no reason to warn at each start. Less than half is.
    """
    most = affordable(wanted, reserve)
    if most < wanted:
        level = logging.WARNING if 2 * most < wanted else logging.INFO
        log.log(level, event, extra={"connections": most, "wanted": wanted, "limit": _soft_limit()})
    return most


def affordable(wanted: int, reserve: int) -> int:
    """Returns how many connections there can be: `wanted`, or fewer, 1 at least.

    reserve: files beside them; those that are open already are not among these. The soft limit is raised as far as
    that needs.
    """
    if sys.platform == "win32":
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + reserve + open_now()
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    return max(1, wanted - (needed - soft))


def _soft_limit() -> int | None:
    """Returns how many files the process may have open; None where that is not known."""
    return None if sys.platform == "win32" else resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_now() -> int:
    """Returns how many files are open."""
    return len(os.listdir("/dev/fd"))
