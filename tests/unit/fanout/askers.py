"""A client and a small server that does as it is told, on each loop: asyncio's, and uvloop's as in the hub."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from fanout.ask import Client

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Asked:
    """A server, and a client of it.

    Attributes:
        does: what a connection does, once for each request; it is given the writer and the number of the request.
        requests: as they came.
        sources: the client's port of each connection, in order.
        ended: how many connections have ended, from the client's side or ours.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.sources: list[int] = []
        self.ended = 0
        self.client: Client
        self.port = 0

    async def does(self, writer: asyncio.StreamWriter, number: int) -> None:
        """Answer."""
        writer.write(OK)

    def answers(self, *all_of_them: bytes) -> None:
        """Request n is answered with the nth of these, every later one with OK."""

        async def does(writer: asyncio.StreamWriter, number: int) -> None:
            writer.write(all_of_them[number] if number < len(all_of_them) else OK)

        self.does = does  # type: ignore[method-assign]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.sources.append(writer.get_extra_info("peername")[1])
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = [line[16:] for line in request.split(b"\r\n") if line.startswith(b"Content-Length: ")]
                self.requests.append(request + await reader.readexactly(int(length[0]) if length else 0))
                await self.does(writer, len(self.requests) - 1)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.ended += 1
            writer.transport.abort()


async def with_server(
    test: Callable[[Asked], Awaitable[None]], context: ssl.SSLContext | None, url: str = "{scheme}://localhost:{port}"
) -> None:
    """Run `test`; nothing is left behind it."""
    asked = Asked()
    server = await asyncio.start_server(asked.serve, "127.0.0.1", 0, ssl=context)
    asked.port = server.sockets[0].getsockname()[1]
    asked.client = Client(url.format(scheme="https" if context else "http", port=asked.port))
    try:
        await test(asked)
    finally:
        await asyncio.wait_for(asked.client.close(), 5)
        mine = asyncio.current_task()
        server.close()
        rest = [task for task in asyncio.all_tasks() if task is not mine]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


def on_each_loop(test: Callable[[Asked], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
    """The test once a loop, with a server that is its own."""

    @pytest.mark.parametrize("loop", LOOPS)
    def run(loop: str) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(with_server(test, None))

    run.__doc__ = test.__doc__
    return run
