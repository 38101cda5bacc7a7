"""As many connections as the process may have files open: beyond that the kernel would refuse, without a word.

This file stands twice, byte for byte, in fanout/ and orchestrator_api/: see tokens.py. A test compares them.
"""

import os
import sys

if sys.platform != "win32":
    import resource


def affordable(wanted: int, reserve: int) -> int:
    """Returns how many connections there can be: `wanted`, or fewer, 1 at least.

    reserve: files beside them, those that are open already not counted. The soft limit is raised as far as that needs.
    """
    if sys.platform == "win32":
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    beside = reserve + len(os.listdir("/dev/fd"))
    if soft != resource.RLIM_INFINITY and soft < wanted + beside:
        soft = wanted + beside if hard == resource.RLIM_INFINITY else min(wanted + beside, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - beside))
