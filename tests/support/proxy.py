"""A TCP proxy in front of a server: passes bytes on until told otherwise.

What it cannot do: lose or reorder packets. To its client a stall looks like a slow server, a cut like one that died. A
blackhole is a line on which nothing arrives and nobody is told; when it ends, what passed through it is reset, as by a
NAT that forgot. Faults are of one way or of both: "up" is what clients send, "down" what they are sent.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support import resp

Reply = Callable[[bytes, bytes], bool]
Rewrite = Callable[[Any], list[Any]]
BOTH = ("up", "down")
BUFFER = 2**18  # bytes that wait in the kernel between server and proxy
LINGER_SECONDS = 2.0  # for a peer to take the last bytes of a connection that ended


@dataclass
class Way:
    """What happens to bytes that go one way. All connections share it."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    sound: asyncio.Event = field(default_factory=asyncio.Event)  # not set in a blackhole: read, and thrown away
    delay: float = 0.0  # seconds each piece takes, one after the other
    jitter: float = 0.0  # of the delay, in parts of it
    slice: int = 0  # bytes to a piece; 0: as they come
    rewrite: Rewrite | None = None  # RESP messages in, what to pass on instead out
    rewritten: int = 0  # messages that were changed


class Connection:
    """One client's connection and ours to the server."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        self.asked = bytearray()
        self.forgotten = False  # was in a blackhole: reset when that ends
        self.broken = False  # ended by a reset, which the other side is to see as one

    async def close(self) -> None:
        """Ends both as the first one ended: what was written still arrives, unless nobody takes it."""
        if not self.broken:
            self.near.close()
            self.far.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await asyncio.gather(self.near.wait_closed(), self.far.wait_closed())
        self.abort()

    def abort(self) -> None:
        """Resets both."""
        self.broken = True
        self.near.transport.abort()
        self.far.transport.abort()


class Proxy:
    """Runs on a free port of 127.0.0.1; `port` is it. Several targets: the first that can be reached.

    speaks_resp: between Redis and its clients; only then can messages be rewritten.

    Attributes:
        up, down: what happens to what clients send, and to what they are sent.
        cuts: how often a reply was cut.
        taken: how many connections were taken.
    """

    def __init__(self, *targets: tuple[str, int], speaks_resp: bool = False) -> None:
        self.targets = list(targets)
        self._speaks_resp = speaks_resp
        self.up, self.down = Way(), Way()
        for way in (self.up, self.down):
            way.open.set()
            way.sound.set()
        self.port = 0
        self.cuts = 0
        self.taken = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._cut_reply: Reply | None = None

    def __repr__(self) -> str:
        return f"<Proxy {self.port} -> {self.targets} {len(self._connections)} connections>"

    @property
    def open_connections(self) -> int:
        """How many connections pass through now."""
        return len(self._connections)

    def cut_reply_when(self, matches: Reply | None) -> None:
        """Cuts a connection, once, instead of passing on a reply.

        matches(asked, reply): asked is what the client has sent since the last reply.
        """
        self._cut_reply = matches

    def stall(self, *ways: str) -> None:
        """Passes nothing on, both ways unless told which; new connections are accepted and hang."""
        for way in self._ways(ways):
            way.open.clear()

    def blackhole(self, *ways: str) -> None:
        """Throws away what is sent, both ways unless told which, ends of connections included."""
        for way in self._ways(ways):
            way.sound.clear()
        for connection in self._connections:
            connection.forgotten = True

    def slow(self, seconds: float, *ways: str, jitter: float = 0.0) -> None:
        """Each piece takes so long, give or take its jitter."""
        for way in self._ways(ways):
            way.delay, way.jitter = seconds, jitter

    def slice(self, size: int, *ways: str) -> None:
        """Passes on pieces of so many bytes."""
        for way in self._ways(ways):
            way.slice = size

    def heal(self) -> None:
        """Passes everything on again, as it comes; what was in a blackhole is reset."""
        for way in (self.up, self.down):
            way.delay, way.jitter, way.slice, way.rewrite = 0.0, 0.0, 0, None
            way.open.set()
            way.sound.set()
        for connection in list(self._connections):
            if connection.forgotten:
                connection.abort()

    def cut(self) -> None:
        """Closes every connection with a reset; new ones are welcome."""
        for connection in list(self._connections):
            connection.abort()

    async def start(self, port: int = 0) -> None:
        """Listens, on this port or on a free one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and cuts all."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ways(self, names: tuple[str, ...]) -> list[Way]:
        return [{"up": self.up, "down": self.down}[name] for name in names or BOTH]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        far = await self._reach()
        if far is None:
            writer.transport.abort()
            return
        connection = Connection(writer, far[1])
        connection.forgotten = not (self.up.sound.is_set() and self.down.sound.is_set())
        self._connections.add(connection)
        ways = [
            asyncio.create_task(self._requests(reader, connection)),
            asyncio.create_task(self._replies(far[0], connection)),
        ]
        self._tasks.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._tasks.difference_update(ways)
            self._connections.discard(connection)
            await connection.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for target in self.targets:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(*target)
                # The kernel would take 30 MiB more on our behalf, and a server would not see that its client is slow.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                return reader, writer
        return None

    async def _requests(self, reader: asyncio.StreamReader, connection: Connection) -> None:
        messages = resp.Messages()
        with breaking(connection):
            async for data in self._passing(self.up, reader):
                connection.asked += data
                await self._pass(self.up, messages, data, connection.far)

    async def _replies(self, reader: asyncio.StreamReader, connection: Connection) -> None:
        messages = resp.Messages()
        with breaking(connection):
            async for data in self._passing(self.down, reader):
                if self._cut_reply is not None and self._cut_reply(bytes(connection.asked), data):
                    self._cut_reply = None
                    self.cuts += 1
                    connection.broken = True
                    return
                connection.asked.clear()
                await self._pass(self.down, messages, data, connection.near)

    async def _passing(self, way: Way, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """What is read and may be passed on. In a blackhole not even an end is heard of."""
        while data := await reader.read(65536):
            await way.open.wait()
            if way.sound.is_set():
                yield data
        await way.open.wait()
        await way.sound.wait()

    async def _pass(self, way: Way, messages: resp.Messages, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._speaks_resp:
            data = b"".join(self._rewritten(way, message) for message in messages.feed(data))
        if way.delay:
            await asyncio.sleep(way.delay * (1 + random.uniform(-way.jitter, way.jitter)))
        size = way.slice or max(len(data), 1)
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            if way.slice:
                await asyncio.sleep(0)
        await writer.drain()

    def _rewritten(self, way: Way, message: Any) -> bytes:
        instead = [message] if way.rewrite is None else way.rewrite(message)
        way.rewritten += instead != [message]
        return b"".join(map(resp.packed, instead))


@contextlib.contextmanager
def breaking(connection: Connection) -> Iterator[None]:
    """A way that ends by a reset marks its connection."""
    try:
        yield
    except OSError:
        connection.broken = True


@asynccontextmanager
async def proxy(host: str, port: int) -> AsyncIterator[Proxy]:
    """A running proxy in front of host:port."""
    running = Proxy((host, port))
    await running.start()
    try:
        yield running
    finally:
        await running.close()
