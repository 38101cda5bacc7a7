"""A hub in this process with a history that says what it is told to, and no sockets."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fanout.deliver import Connection
from fanout.door import OPEN
from fanout.errors import CursorUnknown, HistoryAway
from fanout.history import Heads, History, Page, Pages, Redeemed, Revocation, RevocationPage, Run
from fanout.hub import Hub
from fanout.metrics import Metrics
from fanout.pings import Wheel
from fanout.revocations import PAGE
from fanout.route import Router
from fanout.settings import Settings
from tests.support import eventually
from tests.unit.fanout.proofs import bearer
from tests.unit.fanout.worlds import Memory, say

HEAD = (
    "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


class Past(History):
    """History as a list of each user's events; `gate` holds answers back, `away` refuses them.

    Attributes:
        asked: (call, what was asked for) in order.
    """

    def __init__(self) -> None:
        super().__init__("http://h", Metrics())
        self.log: dict[str, list[bytes]] = {}
        self.epoch = "e1"
        self.owners: dict[str, str] = {}
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[tuple[str, object]] = []
        self.most = 10**6
        self.revoked: list[Revocation] = []
        self.revoked_epoch = "r1"
        self.tickets: dict[str, tuple[Redeemed, str | None]] = {}  # each with the page that it was made for

    def append(self, username: str, count: int = 1, size: int = 1) -> None:
        """Commit events."""
        log = self.log.setdefault(username, [])
        for _ in range(count):
            number = len(log) + 1
            event = {"id": number, "seq": number, "run_id": "r1", "username": username, "x": "y" * size}
            log.append(json.dumps(event).encode())

    async def _answered(self, call: str, what: object) -> None:
        self.asked.append((call, what))
        self.answering = not self.away
        if self.away:
            raise HistoryAway("told to")

    async def heads(self, usernames: Iterable[str]) -> Heads:
        """The heads as they are when asked; the answer may be late."""
        names = list(usernames)
        await self._answered("heads", names)
        found = Heads(self.epoch, {name: len(self.log.get(name, ())) for name in names})
        await self.gate.wait()
        return found

    async def pages(self, after: Mapping[str, int]) -> Pages:
        """The same for pages."""
        await self._answered("pages", dict(after))
        found = Pages(self.epoch, {name: self._page(name, cursor) for name, cursor in after.items()})
        await self.gate.wait()
        return found

    async def page(self, username: str, after: int, limit: int, runs: frozenset[str] | None) -> Page:
        """A page."""
        await self._answered("page", after)
        if after > len(self.log.get(username, ())):
            raise CursorUnknown(self.epoch, 0)
        found = self._page(username, after)
        await self.gate.wait()
        return found

    async def run(self, run_id: str) -> Run | None:
        """A run, if its owner is known."""
        await self._answered("run", run_id)
        await self.gate.wait()
        return Run(run_id, self.owners[run_id], "running") if run_id in self.owners else None

    async def revocations(self, after: int) -> RevocationPage:
        """A page of what was revoked; the numbers are places."""
        await self._answered("revocations", after)
        found = self.revoked[after : after + PAGE]
        return RevocationPage(self.revoked_epoch, found, after + len(found))

    async def redeem(self, ticket: str, origin: str | None) -> Redeemed | None:
        """A ticket, once, and to no other page than the one that it was made for; the answer may be late."""
        await self._answered("redeem", ticket)
        found, page = self.tickets.pop(ticket, (None, None))
        await self.gate.wait()
        return found if None in (page, origin) or page == origin else None

    def _page(self, username: str, after: int) -> Page:
        log = self.log.get(username, [])
        events = log[after : after + self.most]
        return Page([msgspec.Raw(event) for event in events], after + len(events), len(log), self.epoch)


class Standing:
    """The hub, its stages running while the context is.

    Attributes:
        passed: seconds that tokens think have passed.
    """

    def __init__(self, **settings: object) -> None:
        self.past = Past()
        router = Router(judged=True, hold=0.01)
        wheel: Wheel[Connection] = Wheel(tick=1, longest=25)
        self.passed = 0.0
        self.hub = Hub(
            Settings(**settings),  # type: ignore[arg-type]
            router,
            wheel,
            self.past._metrics,
            self.past,
            lambda: time.time() + self.passed,
        )
        self._stages: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Standing":
        hub = self.hub
        for stage in (hub.joins.run(), hub.catch_up.watch(), hub.catch_up.heal()):
            self._stages.append(asyncio.create_task(stage))
        await hub.revocations.read()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in list(self.hub.connections):
            connection.connection_lost(None)
        for stage in self._stages:
            stage.cancel()
        await asyncio.gather(*self._stages, return_exceptions=True)

    def connect(self, target: str = "/ws?username=alice", more: str = "") -> tuple[Connection, Memory]:
        """A connection that has sent its request."""
        transport = Memory()
        transport.peer = ("192.0.2.1", 1000)
        return self.say(transport, target, more), transport

    def clean(self) -> bool:
        """Nobody is counted, nothing is under way, and no end is waited for."""
        found = self.hub.guard
        return not (len(found._users) or len(found._addresses) or len(found._expiries) or found.tasks)

    def expire(self, seconds: float) -> None:
        """It is so many seconds later than at the beginning, for tokens."""
        self.passed = seconds
        self.hub.guard.turn()

    def turn(self, times: int) -> None:
        """Seconds pass, for all but expiries."""
        for _ in range(times):
            for member in self.hub.wheel.turn():
                member.deadline_reached()

    def say(
        self, transport: Memory, target: str = "/ws?username=alice", more: str = "", rest: bytes = b""
    ) -> Connection:
        """The same with a transport that is there already; `rest`: what its peer sends behind the request."""
        connection = self.hub.connect()
        connection.connection_made(transport)
        say(connection, HEAD.format(target=target, more=more).encode() + rest)
        return connection

    def publish(self, *numbers: int, username: str = "alice") -> None:
        """One read of Redis."""
        bodies = [json.dumps({"id": n, "run_id": "r1", "username": username}).encode() for n in numbers]
        self.hub.receive([[b"pmessage", b"run:*", b"run:r1", body] for body in bodies])


async def opened(standing: Standing, target: str = "/ws", more: str = "", **claims: Any) -> tuple[Connection, Memory]:
    """An open socket or stream of alice with a token."""
    connection, transport = standing.connect(target, bearer(**claims) + more)
    await eventually(lambda: connection.state == OPEN)
    return connection, transport


async def answered(transport: Memory) -> bytes:
    """What was written, once something is."""
    await eventually(lambda: transport.written)
    return bytes(transport.written)


async def closed(transport: Memory) -> None:
    """A close frame was written."""
    await eventually(lambda: code(transport))


def ids(transport: Memory) -> list[int]:
    """The ids of the events that were written, in order; heads and control frames are left out."""
    return [json.loads(body)["id"] for body in texts(transport) if b'"control"' not in body]


def said(transport: Memory) -> list[dict[str, Any]]:
    """The control frames that were written, in order."""
    return [json.loads(body) for body in texts(transport) if b'"control"' in body]


def texts(transport: Memory) -> list[bytes]:
    """The text frames that were written, in order."""
    found, rest = [], bytes(transport.written).partition(b"\r\n\r\n")[2]
    while rest:
        opcode, size, start = rest[0] & 15, rest[1], 2
        if size == 126:
            size, start = int.from_bytes(rest[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(rest[2:10], "big"), 10
        body, rest = rest[start : start + size], rest[start + size :]
        if opcode == 1:
            found.append(body)
    return found


def code(transport: Memory) -> int:
    """The code of the close frame at the end of what was written; 0: there is none."""
    at = transport.written.rfind(b"\x88")
    return int.from_bytes(transport.written[at + 2 : at + 4], "big") if at >= 0 else 0


def reason(transport: Memory) -> str:
    """The reason in it."""
    return transport.written[transport.written.rfind(b"\x88") + 4 :].decode()


def problem(transport: Memory) -> dict[str, Any]:
    """The problem that was the answer."""
    found: dict[str, Any] = json.loads(bytes(transport.written).partition(b"\r\n\r\n")[2])
    return found
