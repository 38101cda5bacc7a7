"""Questions to one HTTP server: a small HTTP/1.1 client that keeps its connections. What is asked may be asked twice.

Why not aiohttp's: docs/decisions/0008. Nothing is decompressed, no redirect is followed, no cookie is kept.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from typing import Final, cast
from urllib.parse import quote, unquote, urlsplit

from .answers import Answers
from .errors import HistoryAway

TIMEOUT: Final = 2.0  # seconds for one answer, all that it takes included: a turn, a connection, a second try
CONNECTIONS: Final = 32  # more than the hub ever asks at a time; whoever comes on top waits for a turn
KEPT: Final = 5.0  # seconds that an idle connection is kept; the API keeps it longer
ATTEMPT: Final = 0.25  # seconds for an address that is not the last one of its name: a dead host is passed by
_PLAIN: Final = "/%:@!$&'()*+,;=?~"  # what a URL's path and query may hold as it is


class Unanswered(HistoryAway):
    """The connection ended, and not one byte of an answer had come: the server may not have read the question."""


class Client:
    """Asks one server, from the loop that it was made in.

    Args:
        url: its base URL; a name and a password in it are sent as Basic, latin-1.
        key: sent as Bearer instead.
        patience: seconds for one answer; None: TIMEOUT.
        most: bytes of one answer's body, see Answers.

    Raises:
        UnicodeError: the host is no name, or the password cannot be sent.
    """

    def __init__(
        self, url: str, key: str | None = None, patience: float | None = None, most: int | None = None
    ) -> None:
        self._patience = patience
        self.most = most
        self.loop = asyncio.get_running_loop()  # up to Python 3.11 each such look is a system call (getpid)
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        self._host = (parts.hostname or "").encode("idna").decode().replace("%25", "%")  # %25: an IPv6 zone
        self._port = parts.port if parts.port is not None else (443 if tls else 80)
        self._ssl = ssl.create_default_context() if tls else None
        self._base = quote(parts.path + (f"?{parts.query}" if parts.query else ""), safe=_PLAIN)
        name = f"[{self._host.partition('%')[0]}]" if ":" in self._host else self._host
        fields = {
            "Host": name if self._port == (443 if tls else 80) else f"{name}:{self._port}",
            "User-Agent": "runfeed-fanout",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }
        if key is not None:
            fields["Authorization"] = f"Bearer {key}"
        elif parts.username or parts.password is not None:
            pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode("latin-1")
            fields["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        self._fields = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        if self._ssl is not None:
            self._ssl.set_alpn_protocols(["http/1.1"])
        self._turns = asyncio.Semaphore(CONNECTIONS)  # whoever has one needs one connection at most
        self._idle: list[Connection] = []  # the longest idle first
        self._sweeper: asyncio.TimerHandle | None = None
        self._clock: asyncio.TimerHandle | None = None  # no later than the first question that is late
        self._closed = False
        self._open: set[Connection] = set()
        self._gone = asyncio.Event()  # cleared by close(), as long as some connection is open
        self._gone.set()

    async def close(self) -> None:
        """Cut all connections; whoever waits for an answer is told at once."""
        self._closed = True
        for timer in (self._sweeper, self._clock):
            if timer is not None:
                timer.cancel()
        for connection in list(self._open):
            connection.transport.abort()
        if self._open:
            self._gone.clear()
        await self._gone.wait()

    def written(self, method: str, path: str, body: bytes | None) -> bytes:
        """A question, as it is sent; `path` is escaped already."""
        head = f"{method} {self._base}{path} HTTP/1.1\r\n{self._fields}"
        if body is None:
            return f"{head}\r\n".encode("ascii")
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body

    async def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """The status and the body of the answer.

        Raises:
            HistoryAway: none came, or none that is HTTP, or it is too big.
            OSError: the server cannot be reached, or not in time.
        """
        request = self.written(method, path, body)
        deadline = self.loop.time() + (self._patience or TIMEOUT)
        # No time for the turn itself: whoever has one asked before us, and gives it back before our time is over.
        async with self._turns:
            connection = self._kept()
            if connection is not None:
                try:
                    return await connection.ask(request, deadline)
                except Unanswered:  # the server had closed it; we did not know yet
                    pass
            async with asyncio.timeout_at(deadline):
                connection = await self._dial()
            return await connection.ask(request, deadline)

    def watch(self, deadline: float) -> None:
        """A question waits until `deadline`. One timer serves all: making one costs as much as parsing an answer."""
        clock = self._clock
        if clock is None or clock.when() > deadline:
            if clock is not None:
                clock.cancel()
            self._clock = self.loop.call_at(deadline, self._look)

    def _look(self) -> None:
        self._clock, now = None, self.loop.time()
        for connection in list(self._open):
            connection.late(now)
        if waiting := [connection.deadline for connection in self._open if connection.deadline]:
            self.watch(min(waiting))

    def keep(self, connection: Connection) -> None:
        """Its answer is complete, and the server keeps it open."""
        connection.idle_at = self.loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(KEPT, self._sweep)

    def lost(self, connection: Connection) -> None:
        """It is gone, whoever ended it."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._open:
            self._gone.set()

    def _kept(self) -> Connection | None:
        """The connection that was used last, unless it is too old: a hub that was stopped swept none."""
        oldest = self.loop.time() - KEPT
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_at > oldest and not connection.transport.is_closing():
                return connection
            connection.transport.abort()
        return None

    def _sweep(self) -> None:
        oldest = self.loop.time() - KEPT
        while self._idle and self._idle[0].idle_at <= oldest:
            self._idle.pop(0).transport.abort()
        self._sweeper = self.loop.call_at(self._idle[0].idle_at + KEPT, self._sweep) if self._idle else None

    async def addresses(self) -> list[tuple[str, int]]:
        """(address, port) of the server, in the resolver's order."""
        found = await self.loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return [(str(address[0]), int(address[1])) for *_, address in found]

    async def _dial(self) -> Connection:
        name = self._host.rstrip(".") if self._ssl else None
        found = [] if self._closed else await self.addresses()
        for left, address in zip(range(len(found) - 1, -1, -1), found, strict=True):
            try:
                async with asyncio.timeout(ATTEMPT if left else None):
                    _, connection = await self.loop.create_connection(
                        lambda: Connection(self), *address, ssl=self._ssl, server_hostname=name
                    )
            except OSError:
                if not left:
                    raise
                continue
            if self._closed or connection.transport.is_closing():
                connection.transport.abort()
                break
            self._open.add(connection)
            return connection
        raise HistoryAway("the connection ended at once, or we are closing")


class Connection(asyncio.Protocol):
    """One connection. It has one question at a time; bytes that nobody asked for are its end."""

    transport: asyncio.Transport

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answers = Answers(client.most)
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.idle_at = self.deadline = 0.0  # no deadline: nobody waits

    async def ask(self, request: bytes, deadline: float) -> tuple[int, bytes]:
        """Write the question in one piece, wait for its answer until `deadline`, a time of the loop."""
        self._answers.begin()
        self._answer = answer = self._client.loop.create_future()
        self.deadline = deadline
        self._client.watch(deadline)
        self.transport.write(request)
        try:
            return cast("tuple[int, bytes]", await answer)
        finally:
            if self._answer is answer:  # we were cancelled: what comes now is an answer to nobody
                self._fail(None)

    # What the loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server is there."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end; that of an answer as well, if it was to end so."""
        answers = self._answers
        self._client.lost(self)
        answers.end()
        if self._answer is None:
            return
        if answers.until_end and exc is None:
            self._give()
        elif answers.came:
            self._fail(HistoryAway("the connection ended within the answer"))
        else:
            self._fail(Unanswered(str(exc or "the connection ended without an answer")))

    def data_received(self, data: bytes) -> None:
        """A piece of an answer."""
        if self._answer is None:
            self.transport.abort()
            return
        try:
            if self._answers.feed(data):
                self._give()
        except HistoryAway as exc:
            self._fail(exc)

    # The end of a question.

    def _give(self) -> None:
        answer, self._answer, self.deadline = self._answer, None, 0.0
        answers = self._answers
        found = answers.status, bytes(answers.body)
        answers.body = b""
        if answers.keep and not self.transport.is_closing():
            self._client.keep(self)
        else:
            self.transport.abort()
        if answer is not None and not answer.done():  # done: cancelled in this turn
            answer.set_result(found)

    def late(self, now: float) -> None:
        """Give up, if the time is over."""
        if 0 < self.deadline <= now:
            self._fail(TimeoutError())

    def _fail(self, exc: Exception | None) -> None:
        answer, self._answer, self.deadline = self._answer, None, 0.0
        self.transport.abort()
        if answer is not None and exc is not None and not answer.done():
            answer.set_exception(exc)
