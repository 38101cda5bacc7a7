"""What waits to be stored, pure: which appends go into the next transaction, and in which lane.

A feed's appends wait in one line, in the order they came. The first lane takes from many feeds at once and skips what
is locked elsewhere; a feed that was locked is slow: the second lane waits for its lock, one feed at a time, because a
lock held while waiting for another is how deadlocks and strangers' delays begin. While the second lane waits for one
slow feed, the first goes on trying the others. So nobody waits for a lock but those whose own feed it is.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestrator_api.events import Event

QUEUE_APPENDS = 10_000  # appends that wait; beyond, a caller does better to come back
QUEUE_BYTES = 64 * 2**20  # bytes of events that wait
GROUP_EVENTS = 2_000  # events in a transaction: some 40 ms of work, so that nobody waits long behind it
GROUP_BYTES = 8 * 2**20  # bytes of events in a transaction
RETRY_S = 0.01  # seconds until a lane tries again what it found locked


@dataclass(slots=True)
class Create:
    """The making of a run. metadata: a JSON object as text. digest: of all that was said, to tell a repeat."""

    workflow: str | None
    metadata: str | None
    digest: bytes


@dataclass(slots=True, eq=False)
class Append:
    """One caller's request to store: events of one run, all or none. `answer` is the caller's future."""

    run_id: str
    username: str
    events: list[Event]
    answer: Any
    key: str | None = None
    scope: str | None = None  # where `key` is looked up
    digest: bytes | None = None
    create: Create | None = None
    size: int = 0  # bytes of its tails
    keyed: bool = False  # one of its events has a key
    tails: list[bytes] = field(default_factory=list)  # made when it is first taken: a second try stores the same bytes
    taken: bool = False  # a transaction has it now
    expired: bool = False  # its caller's time is over: it is not tried again
    unknown: bool = False  # a transaction had it whose outcome nobody heard

    def __post_init__(self) -> None:
        for event in self.events:
            self.size += len(event.before) + len(event.after) + 20
            self.keyed = self.keyed or event.key is not None

    @property
    def plain(self) -> bool:
        """True when nothing has to be looked up for it: it has no key of any kind and makes no run."""
        return self.key is None and self.create is None and not self.keyed

    @property
    def repeatable(self) -> bool:
        """True when storing it twice is the same as once: it has a key, or each of its events, or it makes its run."""
        return self.key is not None or self.create is not None or all(event.key for event in self.events)


@dataclass(slots=True)
class _Line:
    """What waits for one feed."""

    waiting: deque[Append] = field(default_factory=deque)
    slow: bool = False  # its lock was taken elsewhere when it was last tried
    busy: bool = False  # a lane has appends of it now
    next_fast: float = 0.0  # monotonic seconds: when the first lane may try a slow feed again
    next_slow: float = 0.0  # and when the second may


class _Group:
    """A transaction being filled. No two of its appends may depend on each other."""

    def __init__(self) -> None:
        self.appends: list[Append] = []
        self._events = 0
        self._bytes = 0
        self._closed: set[str] = set()  # runs that take no more in this group
        self._runs: set[str] = set()
        self._keys: set[tuple[str, str]] = set()

    @property
    def full(self) -> bool:
        return self._events >= GROUP_EVENTS or self._bytes >= GROUP_BYTES or len(self.appends) >= GROUP_EVENTS

    def add(self, append: Append) -> bool:
        """Takes the append in; False when it must wait for what is in, and then its run waits with it."""
        keys = () if append.plain else set(_keys(append))
        alone = append.create is not None
        run = append.run_id
        if run in self._closed or (alone and run in self._runs) or not self._keys.isdisjoint(keys):
            self._closed.add(run)
            return False
        self.appends.append(append)
        self._events += len(append.events)
        self._bytes += append.size
        self._keys.update(keys)
        self._runs.add(run)
        if alone or (append.events and append.events[-1].terminal):  # nothing follows a terminal event within an append
            self._closed.add(run)
        return True


def _keys(append: Append) -> Iterator[tuple[str, str]]:
    if append.key is not None and append.scope is not None:
        yield append.scope, append.key
    for event in append.events:
        if event.key is not None:
            yield "event of " + append.run_id, event.key


class Queue:
    """All that waits, by feed. Time is an argument: monotonic seconds."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}  # in turn: a feed that was served goes to the end
        self.appends = 0
        self.bytes = 0

    def __repr__(self) -> str:
        slow = sum(line.slow for line in self._lines.values())
        return f"<Queue {self.appends} appends {self.bytes >> 10} KiB {len(self._lines)} feeds {slow} slow>"

    def offer(self, append: Append) -> bool:
        """Queues the append; False when the bound is reached."""
        if self.appends >= QUEUE_APPENDS or self.bytes + append.size > QUEUE_BYTES:
            return False
        self._line(append).waiting.append(append)
        self._count(append, 1)
        return True

    def withdraw(self, append: Append) -> bool:
        """Takes the append back out; False when a transaction has it already."""
        line = self._lines.get(append.username)
        if append.taken or line is None or append not in line.waiting:
            return False
        line.waiting.remove(append)
        self._count(append, -1)
        self._forget(append.username)
        return True

    def take_fast(self, now: float) -> list[Append]:
        """Returns the first lane's next group: every feed that nobody has, the slow ones only when due."""
        group = _Group()
        for username in list(self._lines):
            line = self._lines[username]
            if line.busy or (line.slow and now < line.next_fast):
                continue
            self._fill(group, username, line)
            if group.full:
                break
        return group.appends

    def take_slow(self, now: float) -> list[Append]:
        """Returns the second lane's next group: of the slow feed that was served longest ago."""
        group = _Group()
        for username, line in self._lines.items():
            if line.slow and not line.busy and line.waiting and now >= line.next_slow:
                self._fill(group, username, line)
                break
        return group.appends

    def next_due(self, *, slow: bool) -> float | None:
        """When a lane has something to do next, monotonic seconds; None: not before it is told."""
        lines = [line for line in self._lines.values() if line.waiting and not line.busy]
        if slow:
            return min((line.next_slow for line in lines if line.slow), default=None)
        return min((line.next_fast if line.slow else 0.0 for line in lines), default=None)

    def done(self, appends: list[Append]) -> None:
        """These are answered: their feeds are free again."""
        for username in {append.username for append in appends}:
            if line := self._lines.get(username):
                line.busy = line.slow = False
                self._forget(username)

    def put_back(self, appends: list[Append], now: float, *, slow: bool, waited: bool = False) -> None:
        """These were not stored: they wait again, first in line.

        slow: because they were locked elsewhere. waited: although the second lane has waited for their feed.
        """
        for append in reversed(appends):
            append.taken = False
            line = self._line(append)
            line.waiting.appendleft(append)
            line.busy = False
            line.slow = slow
            line.next_fast = now + RETRY_S
            line.next_slow = now + RETRY_S if waited else now
            self._count(append, 1)

    def drop_waiting(self) -> list[Append]:
        """Takes out and returns all that wait and were never tried."""
        dropped = []
        for username in list(self._lines):
            line = self._lines[username]
            dropped += [append for append in line.waiting if not append.unknown]
            line.waiting = deque(append for append in line.waiting if append.unknown)
            self._forget(username)
        for append in dropped:
            self._count(append, -1)
        return dropped

    def _fill(self, group: _Group, username: str, line: _Line) -> None:
        left: list[Append] = []
        while line.waiting and not group.full:
            append = line.waiting.popleft()
            if group.add(append):
                append.taken = line.busy = True
                self._count(append, -1)
            else:
                left.append(append)
        line.waiting.extendleft(reversed(left))
        if line.busy:  # to the end of the turn
            self._lines[username] = self._lines.pop(username)

    def _line(self, append: Append) -> _Line:
        return self._lines.setdefault(append.username, _Line())

    def _forget(self, username: str) -> None:
        line = self._lines[username]
        if not line.waiting and not line.busy:
            del self._lines[username]

    def _count(self, append: Append, sign: int) -> None:
        self.appends += sign
        self.bytes += sign * append.size


class Deadlines:
    """Until when appends are waited for: all the same time, so that they are due in the turn in which they came."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[Append, float] = {}

    def add(self, append: Append, now: float) -> None:
        """It is due so many seconds from now."""
        self._until[append] = now + self._seconds

    def drop(self, append: Append) -> None:
        """It is not waited for any more, if it was."""
        self._until.pop(append, None)

    def due(self, now: float) -> list[Append]:
        """Takes out and returns those whose time has come."""
        found = []
        for append, until in self._until.items():
            if until > now:
                break
            found.append(append)
        for append in found:
            del self._until[append]
        return found
