"""What a load generator and a script of faults need: a steady beat, and a time that passes on purpose."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

SLACK: Final = 0.0005  # seconds by which the kernel may wake a sleeper late


async def passing(seconds: float) -> None:
    """Lets time pass because that is the fault (a server frozen for so long), not to wait for something."""
    await asyncio.sleep(seconds)


def until(due: float) -> None:
    """Returns at `due` (time.monotonic): a load's beat. The end is spun away, since sleeps last too long."""
    while (left := due - time.monotonic()) > 0:
        time.sleep(max(left - SLACK, 0))


async def beats(a_second: float) -> AsyncIterator[int]:
    """Yields how many beats are due, some hundred times a second, so that a late turn is made up for."""
    began = time.monotonic()
    done = 0
    while True:
        due = int((time.monotonic() - began) * a_second)
        yield due - done
        done = due
        await asyncio.sleep(0.01)
