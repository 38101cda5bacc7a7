"""A row of the matrix, and the world in which it is played: the stack, the load, the clients, and what to expect."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.fault.checker import Stream
from tests.fault.clients import Client, Places
from tests.fault.crowd import Crowd
from tests.fault.load import Load, Run
from tests.fault.stack import Service, Stack
from tests.fault.times import Times
from tests.support.pacing import passing

Measure = Literal["caught up", "delay"]
# Names that a careless comparison takes for each other: row 50 is part of every row. What is before the name is the
# row's tag, so that some are the beginning, and one is the end, of another.
LOOK_ALIKES = (
    "alice", "Alice", "ALICE", "alice.", "al", "alic", "alice0", "aliceO", "alice1", "alice11", "alice-1", "alice_1",
    "alice.1", "alice:1", "alice+1", "alice@1", "alice|1",
)  # fmt: skip
LONGEST = 128  # characters of a username
MIX = ("plain", "resuming", "control", "sse", "run_socket", "one_run", "poller", "library")
CLIENTS = 50
QUIET = 8  # users whose feeds are silent but for what a row adds: what is lost there, no later event reveals
BROKEN_LINE = 3  # every third client is behind the doors that rows break


def look_alikes(tag: str) -> list[str]:
    """Twenty usernames of a row: those above, one that ends with the first, and two that differ in their last sign."""
    names = [f"{tag}.{name}" for name in LOOK_ALIKES]
    stem = f"{tag}.".ljust(LONGEST - 1, "l")
    return [*names, f"x{names[0]}", f"{stem}a", f"{stem}b"]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Fields:
        number, name: as in the matrix.
        bound: seconds for `measure`; why: where they come from.
        measure: "caught up": from the fault's end until nothing late is shown any more; "delay": the slowest event,
            from its recording to a socket that was open.
        patience: seconds within which an open socket is owed an event, faults or not; None: sockets may be cut off.
        quick: one of the three of ./dev test.
    """

    number: str
    name: str
    bound: float
    why: str
    act: Callable[[World], Awaitable[None]]
    measure: Measure = "caught up"
    patience: float | None = None
    quick: bool = False


ROWS: dict[str, Row] = {}
Act = Callable[["World"], Awaitable[None]]


def row(
    number: str, name: str, *, bound: float, why: str, measure: Measure = "caught up", patience: float | None = None,
    quick: bool = False,
) -> Callable[[Act], Act]:  # fmt: skip
    """Enters a function as a row."""

    def enter(act: Act) -> Act:
        assert number not in ROWS, f"row {number} is there twice"
        ROWS[number] = Row(number, name, bound, why, act, measure, patience, quick)
        return act

    return enter


@dataclass
class World:
    """What a row's function gets."""

    row: Row
    stack: Stack
    times: Times
    users: dict[str, list[str]]
    load: Load
    crowd: Crowd
    since: float | None = None
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    async def let(self, seconds: float) -> None:
        """Lets time pass: the fault lasts so long."""
        await passing(seconds)

    def over(self) -> None:
        """The fault ends now: from here until all have caught up the time is taken."""
        self.since = time.time()

    def expect(self, holds: bool, text: str) -> None:
        """Notes what does not hold; the row goes on, and fails."""
        if not holds:
            self.failed.append(text)

    def note(self, text: str) -> None:
        """Something to read beside the row."""
        self.notes.append(text)

    @property
    def names(self) -> list[str]:
        """The usernames."""
        return list(self.users)

    def run_of(self, n: int) -> Run:
        """A run of the load's."""
        return self.load.runs[n % len(self.load.runs)]

    def watch(self, kind: str, username: str, run_id: str | None = None, *, first: int = 0, line: int = 0) -> Client:
        """One more client. line: 1 is behind the doors that break."""
        runs = frozenset({run_id}) if run_id is not None else None
        stream = Stream(
            f"{kind}{len(self.crowd.clients)}/{username}", username, runs, excused=self.row.patience is None
        )
        return self.crowd.add(kind, stream, self.places(first, line))

    def places(self, first: int, line: int) -> Places:
        """Where a client goes."""
        apis = self.stack.api_ports
        return Places(
            self.stack.door_ports(line, first), apis[first % 2 :] + apis[: first % 2], self.stack.session, self.times
        )

    def populate(self, kinds: tuple[str, ...]) -> None:
        """The 50 clients."""
        for n in range(CLIENTS):
            kind = MIX[n % len(MIX)]
            if kind not in kinds:
                continue
            username = self.names[n % len(self.names)]
            one = kind in ("run_socket", "one_run", "poller")
            run_id = self.users[username][n // len(self.names) % 2] if one else None
            self.watch(kind, username, run_id, first=n, line=int(n % BROKEN_LINE == 0))

    def watch_quiet(self) -> None:
        """A socket for each quiet user, of another kind for the next."""
        for n, run in enumerate(self.load.quiet):
            self.watch(("plain", "control", "resuming", "sse")[n % 4], run.username, first=n)

    def open_sockets(self) -> int:
        """How many clients are connected."""
        return sum(client.segment is not None for client in self.crowd.clients)

    def closes(self, since: float, *, but: str = "") -> int:
        """How many sockets were closed since then, but for those that ended so."""
        sockets = (s for stream in self.crowd.streams() for s in stream.segments if s.source == "socket")
        return sum(s.closed is not None and s.closed >= since and s.code != but for s in sockets)

    async def both(self, name: str) -> float:
        """A metric of both hubs, summed."""
        return sum([await self.stack.metric(hub, name) for hub in self.stack.hubs if hub.running])

    async def ready(self, service: Service) -> bool:
        """Whether /readyz is 200."""
        return (await self.stack.readiness(service))[0] == 200
