"""As many sockets as the process may have files open: beyond that the kernel would refuse, without a word."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Final

import structlog

from .guard import SPARE
from .settings import Settings

if sys.platform != "win32":
    import resource

# Beside the sockets: those that are still being refused, Redis, history's connections (32), the issuer's, the admin
# port's, listeners, logs, and the name service.
RESERVE: Final = SPARE + 96
log = structlog.stdlib.get_logger("fanout")


def fitted(settings: Settings) -> Settings:
    """The settings with as many sockets as there can be; the soft limit is raised as far as that needs."""
    if sys.platform == "win32":
        return settings
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_sockets + RESERVE + _open_now()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return settings
    most = max(1, soft - RESERVE - _open_now())
    log.warning("fanout.file_descriptors", limit=soft, max_sockets=most, wanted=settings.max_sockets)
    return replace(settings, max_sockets=most)


def _open_now() -> int:
    """How many files are open."""
    return len(os.listdir("/dev/fd"))
