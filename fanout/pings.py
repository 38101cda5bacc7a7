"""Every deadline of every socket on one wheel, turned by one task.

A socket has one deadline at a time: for its request's head, its next ping, the answer to a ping, or its last bytes.
The wheel counts turns, not seconds: a turn that comes late (a blocked loop, a stopped process, a suspended machine)
moves every deadline by its lateness, so nobody is closed for a silence that was ours.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Hashable
from typing import Final, Generic, Protocol, TypeVar

import structlog

NOWHERE: Final = -1
log = structlog.stdlib.get_logger("fanout")


class Timed(Protocol):
    """What can lie on a wheel. `slot` is the wheel's own note; it starts as NOWHERE."""

    slot: int

    def deadline_reached(self) -> None:
        """The deadline that was put last has come."""


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Deadlines in turns; putting, moving and dropping one costs the same with one socket as with a million.

    Args:
        tick: seconds between turns; a deadline is reached up to two ticks late, never early.
        longest: seconds of the longest delay that will be put.
    """

    def __init__(self, tick: float, longest: float) -> None:
        self.tick = tick
        self._slots: list[dict[T, None]] = [{} for _ in range(math.ceil(longest / tick) + 3)]
        self._now = 0

    def put(self, member: T, delay: float) -> None:
        """Set the one deadline of `member` to `delay` seconds from now."""
        self.drop(member)
        # One turn more than the delay holds: the turn that is under way may be nearly over.
        turns = min(math.ceil(delay / self.tick) + 1, len(self._slots) - 1)
        member.slot = (self._now + turns) % len(self._slots)
        self._slots[member.slot][member] = None

    def drop(self, member: T) -> None:
        """`member` has no deadline any more."""
        if member.slot != NOWHERE:
            del self._slots[member.slot][member]
            member.slot = NOWHERE

    def turn(self) -> Collection[T]:
        """One tick has passed: the members whose deadline has come, taken off the wheel."""
        self._now = (self._now + 1) % len(self._slots)
        due, self._slots[self._now] = self._slots[self._now], {}
        for member in due:
            member.slot = NOWHERE
        return due

    def __len__(self) -> int:
        return sum(map(len, self._slots))


E = TypeVar("E", bound=Hashable)


class Expiries(Generic[E]):
    """What ends at a time of the wall clock (seconds), hours ahead: for those few who have such an end, no timer each.

    tick: seconds; an end is found when it has passed, and up to two ticks late.
    """

    def __init__(self, tick: float, now: float) -> None:
        self._tick = tick
        self._slots: dict[int, dict[E, None]] = {}
        self._done = int(now / tick)

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def put(self, member: E, at: float) -> int:
        """`member` ends at `at`; its slot, which is needed to drop it."""
        # A clock that was set back must not put anybody where nobody looks any more.
        slot = max(math.ceil(at / self._tick), self._done + 1)
        self._slots.setdefault(slot, {})[member] = None
        return slot

    def drop(self, member: E, slot: int) -> None:
        """`member`, if it still lies in this slot, does not end there."""
        members = self._slots.get(slot, {})
        members.pop(member, None)
        if not members:
            self._slots.pop(slot, None)

    def due(self, now: float) -> list[E]:
        """Those whose end has come since the last look, no longer here."""
        before, self._done = self._done, max(self._done, int(now / self._tick))
        passed = range(before + 1, self._done + 1)
        # After a leap of the clock there are more ticks than slots.
        slots = passed if len(passed) <= len(self._slots) else [each for each in self._slots if each in passed]
        return [member for slot in slots for member in self._slots.pop(slot, ())]


async def turn(wheel: Wheel[T], late: Callable[[float], None], also: Callable[[], None]) -> None:
    """Turn `wheel` for ever.

    `late` is told by how many seconds each turn missed its time, which is the loop's lag; `also` is called at each.
    """
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + wheel.tick
        await asyncio.sleep(wheel.tick)
        late(max(0.0, clock() - due))
        for reached in (also, *[member.deadline_reached for member in wheel.turn()]):
            try:
                reached()
            except Exception:  # one socket's trouble must not end everybody's deadlines
                log.exception("fanout.deadline_failed")
