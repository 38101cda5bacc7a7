"""orchestrator_api/crash.py: points at which a test ends the process."""

import subprocess
import sys

import pytest

from orchestrator_api import crash
from orchestrator_api.errors import StartError


def test_nothing_is_armed() -> None:
    """Without the setting every point is passed."""
    crash.arm({})
    for name in crash.POINTS:
        crash.point(name)


@pytest.mark.parametrize(
    ("env", "rule"),
    [
        ({"RUNFEED_CRASH_AT": "record.after_commit"}, "needs RUNFEED_TEST=1"),
        ({"RUNFEED_CRASH_AT": "record.after_commit", "RUNFEED_TEST": "0"}, "needs RUNFEED_TEST=1"),
        ({"RUNFEED_CRASH_AT": "nowhere", "RUNFEED_TEST": "1"}, "must be one of"),
        ({"RUNFEED_CRASH_AT": "record.after_commit:x", "RUNFEED_TEST": "1"}, "must be one of"),
    ],
)
def test_refused(env: dict[str, str], rule: str) -> None:
    """A point outside of tests, or one that does not exist, is refused at the start."""
    with pytest.raises(StartError, match=rule):
        crash.arm(env)


def test_ends_at_the_nth_time() -> None:
    """The process ends at the point's n-th time, at once and without cleaning up."""
    program = (
        "from orchestrator_api import crash; import atexit; atexit.register(print, 'cleaned up')\n"
        "crash.arm({'RUNFEED_CRASH_AT': 'record.after_commit:3', 'RUNFEED_TEST': '1'})\n"
        "for n in range(5): print(n, flush=True); crash.point('record.after_commit')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (137, "0\n1\n2\n")
