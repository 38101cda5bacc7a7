"""fanout.ask: one question, one answer, over connections that are kept."""

import asyncio
import socket
import struct
from collections.abc import Iterator

import aiohttp
import pytest

from fanout import ask
from fanout.ask import Client
from fanout.errors import HistoryAway
from tests.support import eventually
from tests.unit.fanout.askers import OK, Asked, on_each_loop, with_server


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """What takes seconds takes tenths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ask, "TIMEOUT", 0.5)
        yield


# What is asked.


@on_each_loop
async def test_kept(asked: Asked) -> None:
    """One question after the other takes the same connection, and each is sent as what it is."""
    assert await asked.client.ask("POST", "/feeds/heads", b"{}") == (200, b"ok")
    assert await asked.client.ask("GET", "/runs/r%2F1") == (200, b"ok")
    assert len(asked.sources) == 1
    fields = (
        b"Host: localhost:%d\r\nUser-Agent: runfeed-fanout\r\n"
        b"Accept-Encoding: identity\r\nContent-Type: application/json\r\n" % asked.port
    )
    assert asked.requests == [
        b"POST /feeds/heads HTTP/1.1\r\n" + fields + b"Content-Length: 2\r\n\r\n{}",
        b"GET /runs/r%2F1 HTTP/1.1\r\n" + fields + b"\r\n",
    ]


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://api", "/x", "api"),
        ("http://API:80", "/x", "api"),
        ("https://api:443/", "//x", "api"),
        ("https://api:80", "/x", "api:80"),
        ("http://[::1]:8080", "/x", "[::1]:8080"),
        ("http://[fe80::1%25eth0]", "/x", "[fe80::1]"),
        ("http://api/prefix", "/prefix/x", "api"),
        ("http://api/a%20b/ü c", "/a%20b/%C3%BC%20c/x", "api"),
        ("http://bücher.example", "/x", "xn--bcher-kva.example"),
    ],
)
async def test_urls(url: str, line: str, host: str) -> None:
    """Host names the port unless it is the scheme's own, brackets an IPv6 address, and leaves its zone out."""
    written = Client(url).written("GET", "/x", None)
    assert written.startswith(f"GET {line} HTTP/1.1\r\nHost: {host}\r\n".encode())
    assert written.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("userinfo", ["", "me:secret@", "me@", ":secret@", "a%40b:c%2Fd%C3%A9@", ":@", "@"])
@pytest.mark.parametrize("path", ["", "/prefix", "/a%20b"])
async def test_like_aiohttp(userinfo: str, path: str) -> None:
    """Request line, Host and Authorization are those that aiohttp's client sends for the same URL."""

    async def both(asked: Asked) -> None:
        url = f"http://{userinfo}127.0.0.1:{asked.port}{path}"
        client = Client(url)
        await client.ask("GET", "/x?y=z%7C")
        await client.close()
        async with aiohttp.ClientSession() as session, session.get(url + "/x?y=z%7C") as answer:
            assert await answer.read() == b"ok"
        sent = [
            {line for line in each.split(b"\r\n") if line.startswith((b"GET ", b"Host:", b"Authorization:"))}
            for each in asked.requests
        ]
        assert sent[0] == sent[1]

    await with_server(both, None)


# Connections.


@on_each_loop
async def test_many(asked: Asked) -> None:
    """More questions at once than there may be connections are all answered; the rest waits for a turn."""
    gate = asyncio.Event()

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        await gate.wait()
        writer.write(OK)

    asked.does = does  # type: ignore[method-assign]
    questions = [asyncio.create_task(asked.client.ask("GET", "/x")) for _ in range(ask.CONNECTIONS + 8)]
    await eventually(lambda: len(asked.requests) == ask.CONNECTIONS)
    gate.set()
    assert await asyncio.gather(*questions) == [(200, b"ok")] * len(questions)
    assert len(asked.sources) == ask.CONNECTIONS


@on_each_loop
async def test_no_turn(asked: Asked) -> None:
    """Who gets no turn, and who gets no answer, waits as long as an answer may take, and no longer."""

    gate = asyncio.Event()

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        await gate.wait()

    asked.does = does  # type: ignore[method-assign]
    began = asyncio.get_running_loop().time()
    questions = [asked.client.ask("GET", "/x") for _ in range(ask.CONNECTIONS + 3)]
    found = await asyncio.gather(*questions, return_exceptions=True)
    assert {type(each) for each in found} == {TimeoutError}
    assert asyncio.get_running_loop().time() - began < 2 * ask.TIMEOUT
    gate.set()
    await eventually(lambda: asked.ended == len(asked.sources))


@on_each_loop
async def test_each_its_own_time(asked: Asked) -> None:
    """The time of a question is its own, though one timer serves all: neither an older one's nor a younger one's."""
    gate, loop = asyncio.Event(), asyncio.get_running_loop()

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        await gate.wait()

    async def asking() -> float:
        began = loop.time()
        with pytest.raises(TimeoutError):
            await asked.client.ask("GET", "/x")
        return loop.time() - began

    asked.does = does  # type: ignore[method-assign]
    first = asyncio.create_task(asking())
    began = loop.time()
    await eventually(lambda: loop.time() > began + ask.TIMEOUT / 2)
    second = asyncio.create_task(asking())
    await eventually(lambda: len(asked.requests) == 2)
    asked.client.watch(loop.time() + 60)
    times = await asyncio.gather(first, second)
    gate.set()
    assert all(0.9 * ask.TIMEOUT < each < 1.4 * ask.TIMEOUT for each in times), times


@on_each_loop
async def test_idle(asked: Asked) -> None:
    """A connection that nobody used for a while is closed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ask, "KEPT", 0.1)
        await asyncio.gather(*[asked.client.ask("GET", "/x") for _ in range(3)])
        assert asked.ended == 0
        await eventually(lambda: asked.ended == 3)


@on_each_loop
async def test_too_old(asked: Asked) -> None:
    """A connection that should have been closed is not used: a hub that was stopped closed none."""
    await asked.client.ask("GET", "/x")
    asked.client._idle[0].idle_at -= ask.KEPT
    await asked.client.ask("GET", "/x")
    assert len(asked.sources) == 2
    await eventually(lambda: asked.ended == 1)


@on_each_loop
async def test_closed_meanwhile(asked: Asked) -> None:
    """What finds its kept connection closed is asked once more, on a new one; so it is when the close was rude."""

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 3:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if number in (1, 3):
            raise OSError
        writer.write(OK)

    asked.does = does  # type: ignore[method-assign]
    for _ in range(3):
        assert await asked.client.ask("POST", "/x", b"once") == (200, b"ok")
    assert (len(asked.requests), len(asked.sources)) == (5, 3)


@on_each_loop
async def test_once_more_only(asked: Asked) -> None:
    """It is asked once more, not for ever; and what a new connection does not answer is not asked again."""

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        if number:
            raise OSError
        writer.write(OK)

    asked.does = does  # type: ignore[method-assign]
    await asked.client.ask("GET", "/x")
    with pytest.raises(HistoryAway):
        await asked.client.ask("GET", "/x")
    assert len(asked.requests) == 3
    with pytest.raises(HistoryAway):
        await asked.client.ask("GET", "/x")
    assert len(asked.requests) == 4


@on_each_loop
async def test_part_of_an_answer(asked: Asked) -> None:
    """Once a byte of an answer has come the question is not asked again."""

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        if number:
            writer.write(b"H")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        else:
            writer.write(OK)

    asked.does = does  # type: ignore[method-assign]
    await asked.client.ask("GET", "/x")
    with pytest.raises(HistoryAway):
        await asked.client.ask("GET", "/x")
    assert len(asked.requests) == 2


@on_each_loop
async def test_cancelled(asked: Asked) -> None:
    """A question that is given up takes its connection along: its answer must not be taken for the next one's."""
    gate = asyncio.Event()

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 0:
            await gate.wait()
            writer.write(OK.replace(b"ok", b"no"))
        else:
            writer.write(OK)

    asked.does = does  # type: ignore[method-assign]
    question = asyncio.create_task(asked.client.ask("GET", "/x"))
    await eventually(lambda: asked.requests)
    question.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question
    gate.set()
    assert await asked.client.ask("GET", "/x") == (200, b"ok")
    await eventually(lambda: asked.ended == 1)
    assert len(asked.sources) == 2


@on_each_loop
async def test_close(asked: Asked) -> None:
    """Closing ends all connections and tells whoever waits; nothing is asked any more."""
    gate = asyncio.Event()

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        if number:
            await gate.wait()
        writer.write(OK)

    asked.does = does  # type: ignore[method-assign]
    await asked.client.ask("GET", "/x")
    questions = [asyncio.create_task(asked.client.ask("GET", "/x")) for _ in range(3)]
    await eventually(lambda: len(asked.requests) == 4)
    await asked.client.close()
    found = await asyncio.gather(*questions, return_exceptions=True)
    assert [isinstance(each, HistoryAway) for each in found] == [True] * 3
    with pytest.raises(HistoryAway):
        await asked.client.ask("GET", "/x")
    gate.set()
    await eventually(lambda: asked.ended == 3)
    assert asked.client._open == set()


@on_each_loop
async def test_dead_address(asked: Asked) -> None:
    """A name's addresses are tried in turn: one that refuses, and one that says nothing, cost little."""
    with socket.socket() as refusing, socket.socket() as silent, socket.socket() as one, socket.socket() as two:
        refusing.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for full in (one, two):  # the backlog is full: the kernel drops what comes now
            full.setblocking(False)
            full.connect_ex(silent.getsockname())

        async def addresses() -> list[tuple[str, int]]:
            return [refusing.getsockname(), silent.getsockname(), ("127.0.0.1", asked.port)]

        asked.client.addresses = addresses  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ask, "ATTEMPT", 0.1)
            assert await asked.client.ask("GET", "/x") == (200, b"ok")


# Answers.


@on_each_loop
async def test_not_followed(asked: Asked) -> None:
    """A redirect is an answer like another."""
    asked.answers(b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n")
    assert await asked.client.ask("GET", "/x") == (302, b"")
    assert len(asked.requests) == 1


@on_each_loop
async def test_until_the_end(asked: Asked) -> None:
    """An answer without a length is complete when its connection ends."""

    async def does(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nall")
        await writer.drain()
        writer.write(b" of it")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    asked.does = does  # type: ignore[method-assign]
    assert await asked.client.ask("GET", "/x") == (200, b"all of it")
    assert await asked.client.ask("GET", "/x") == (200, b"all of it")
    assert len(asked.sources) == 2


@on_each_loop
async def test_not_kept(asked: Asked) -> None:
    """A server that closes after its answer says so, and is not asked on that connection."""
    asked.answers(*[OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")] * 2)
    assert await asked.client.ask("GET", "/x") == (200, b"ok")
    assert await asked.client.ask("GET", "/x") == (200, b"ok")
    assert (len(asked.sources), len(asked.requests)) == (2, 2)
