"""As many connections as the process may have files open: beyond that the kernel would refuse, without a word.

This file stands twice, byte for byte, in fanout/ and orchestrator_api/: see tokens.py. A test compares them.
"""

import os
import sys

if sys.platform != "win32":
    import resource


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


def open_now() -> int:
    """Returns how many files are open."""
    return len(os.listdir("/dev/fd"))
