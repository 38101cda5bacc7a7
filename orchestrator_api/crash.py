"""Points at which a test may end this process, as a crash would: to show that none of them loses anything.

RUNFEED_CRASH_AT=point or point:n (its n-th time) is honoured only where RUNFEED_TEST=1 stands beside it.
"""

import os
from collections.abc import Mapping

from orchestrator_api.errors import StartError

POINTS = (
    "receive.before_record",
    "record.before_transaction",
    "record.after_commit",
    "publish.before_write",
    "publish.after_write",
    "record.before_answer",
    "receive.before_response",
    "publish.before_beacon",
    "publish.after_beacon",
    "record.after_connect",
    "history.in_the_middle",
    "serve.draining",
)

_left: dict[str, int] = {}  # point: how many times it is still passed


def arm(env: Mapping[str, str]) -> None:
    """Reads the setting. Raises StartError for a point that does not exist, or outside of tests."""
    asked = env.get("RUNFEED_CRASH_AT", "")
    if not asked:
        return
    name, _, times = asked.partition(":")
    if env.get("RUNFEED_TEST") != "1":
        raise StartError("RUNFEED_CRASH_AT is for tests: it needs RUNFEED_TEST=1 beside it")
    if name not in POINTS or not (times or "1").isdecimal():
        raise StartError(
            f"RUNFEED_CRASH_AT must be one of {', '.join(POINTS)}, and :n for its n-th time, not {asked!r}"
        )
    _left[name] = int(times or "1")


def point(name: str) -> None:
    """Ends the process here when a test asked for it."""
    if _left and name in _left:
        _left[name] -= 1
        if _left[name] == 0:
            os._exit(137)  # as SIGKILL would: no clean-up of any kind
