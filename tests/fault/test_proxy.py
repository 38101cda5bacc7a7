"""The instrument: a proxy does the harm that it is asked for, and no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support import resp
from tests.support.proxy import Proxy
from tests.support.waiting import eventually


class Echo(asyncio.Protocol):
    """Answers what it hears, in capitals."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())


class Ear(asyncio.Protocol):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.pieces = 0
        self.ended = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.pieces += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = repr(error) if error else "end"


@asynccontextmanager
async def line(*, speaks_resp: bool = False) -> AsyncIterator[tuple[Proxy, Ear]]:
    """An echo, a proxy before it, a client before that."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname(), speaks_resp=speaks_resp)
    await proxy.start()
    _, ear = await loop.create_connection(Ear, "127.0.0.1", proxy.port)
    try:
        ear.transport.write(b"+a\r\n" if speaks_resp else b"a")
        await eventually(lambda: ear.heard)
        ear.heard = b""
        yield proxy, ear
    finally:
        ear.transport.abort()
        await proxy.close()
        server.close()


async def answered(ear: Ear, said: bytes, answer: bytes) -> None:
    ear.transport.write(said)
    await eventually(lambda: ear.heard.endswith(answer))


@pytest.mark.parametrize("way", ["up", "down"])
async def test_stall(way: str) -> None:
    """A stall holds everything back, one way or both, and gives it all when it ends."""
    async with line() as (proxy, ear):
        proxy.stall(way)
        ear.transport.write(b"held")
        await passes_nothing(ear)
        proxy.heal()
        await eventually(lambda: ear.heard == b"HELD")


@pytest.mark.parametrize("ways", [(), ("up",), ("down",)])
async def test_blackhole(ways: tuple[str, ...]) -> None:
    """A blackhole gives nothing back, and what was in it is reset when it ends; new connections are sound."""
    async with line() as (proxy, ear):
        proxy.blackhole(*ways)
        ear.transport.write(b"gone")
        await passes_nothing(ear)
        proxy.heal()
        await eventually(lambda: ear.ended)
        assert ear.heard == b""
        _, second = await asyncio.get_running_loop().create_connection(Ear, "127.0.0.1", proxy.port)
        await answered(second, b"b", b"B")
        second.transport.abort()


async def passes_nothing(ear: Ear) -> None:
    """A whole round trip past the proxy's would-be answer."""
    with pytest.raises(AssertionError):
        await eventually(lambda: ear.heard or ear.ended, within=0.1)


async def test_cut() -> None:
    """A cut resets what there is."""
    async with line() as (proxy, ear):
        proxy.cut()
        await eventually(lambda: ear.ended)


async def test_slice_and_slow() -> None:
    """Pieces of one byte, late, are all there and in order."""
    async with line() as (proxy, ear):
        proxy.slice(1)
        proxy.slow(0.01, jitter=0.5)
        await answered(ear, b"abcdefgh", b"ABCDEFGH")


async def test_cut_instead_of_a_reply() -> None:
    """One reply is not passed on, and its connection ends; the next connection is sound."""
    async with line() as (proxy, ear):
        proxy.cut_reply_when(lambda asked, reply: b"commit" in asked)
        ear.transport.write(b"commit")
        await eventually(lambda: ear.ended)

        assert (ear.heard, proxy.cuts) == (b"", 1)


async def test_rewrite() -> None:
    """Messages are dropped, doubled and changed whole, in whatever pieces they come."""
    async with line(speaks_resp=True) as (proxy, ear):
        proxy.up.rewrite = lambda message: [[b"set", *message[1:]], message] if isinstance(message, list) else []
        said = resp.packed([b"get", b"k", 7, None])
        for piece in (b"+dropped\r\n" + said[:5], said[5:]):
            ear.transport.write(piece)
        wanted = resp.packed([b"set", b"k", 7, None]) + said
        await eventually(lambda: ear.heard == wanted.upper())

        assert proxy.up.rewritten == 2


async def test_next_target() -> None:
    """When nobody listens at the first target the next one is taken."""
    async with line() as (proxy, _):
        proxy.targets.insert(0, ("127.0.0.1", 9))
        _, second = await asyncio.get_running_loop().create_connection(Ear, "127.0.0.1", proxy.port)
        await answered(second, b"x", b"X")
        second.transport.abort()
        assert proxy.taken == 2
