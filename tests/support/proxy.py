"""A TCP proxy in front of a server: passes bytes on until told otherwise.

What it cannot do: lose or reorder packets. To its client a stall looks like a slow server, a cut like one that died.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Reply = Callable[[bytes, bytes], bool]


class Proxy:
    """Runs on a free port of 127.0.0.1; `port` is it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut_reply: Reply | None = None
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.cuts = 0

    def cut_reply_when(self, matches: Reply | None) -> None:
        """Cuts a connection, once, instead of passing on a reply.

        matches(asked, reply): asked is what the client has sent since the last reply.
        """
        self._cut_reply = matches

    def stall(self) -> None:
        """Passes nothing on, in either direction; new connections are accepted and hang."""
        self._open.clear()

    def heal(self) -> None:
        """Passes everything on again."""
        self._open.set()

    def cut(self) -> None:
        """Closes every connection with a reset; new ones are welcome."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        asked = bytearray()
        ways = [
            asyncio.create_task(self._requests(reader, far_writer, asked)),
            asyncio.create_task(self._replies(far_reader, writer, asked)),
        ]
        self._tasks.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._tasks.difference_update(ways)
            self._writers -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                asked += data
                writer.write(data)
                await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                if self._cut_reply is not None and self._cut_reply(bytes(asked), data):
                    self._cut_reply = None
                    self.cuts += 1
                    return
                asked.clear()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def proxy(host: str, port: int) -> AsyncIterator[Proxy]:
    """A running proxy in front of host:port."""
    running = Proxy(host, port)
    await running.start()
    try:
        yield running
    finally:
        await running.close()
