"""Server-Sent Events, run sockets, control frames: the same frames with the same ids, in other clothes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.fanout.hubs import Connect, HubProcess, Publish, StartAnyHub, StartHub, client_frame, handshake
from tests.integration.fanout.stack import Stack, ids_of, stack
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions


@pytest.fixture
async def running(
    migrated_database_url: str, redis_url: str, start_any_hub: StartAnyHub, tmp_path: Path
) -> AsyncIterator[Stack]:
    """A hub with a real API, its pings often."""
    async with stack(
        migrated_database_url, redis_url, start_any_hub, tmp_path, PING_INTERVAL="1", PING_GRACE="1"
    ) as found:
        yield found


def sse(running: Stack, path: str, **headers: str) -> Any:
    """A stream."""
    return running.session.get(f"http://127.0.0.1:{running.hub.port}{path}", headers=headers)


async def messages(stream: aiohttp.ClientResponse, count: int) -> list[dict[str, str]]:
    """The next `count` blocks of a stream that have data, as field -> value."""
    found: list[dict[str, str]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            block = (await stream.content.readuntil(b"\n\n")).decode()
            lines = [line.partition(":") for line in block.splitlines()]
            fields = {field: value.removeprefix(" ") for field, _, value in lines}
            if "data" in fields:
                found.append(fields)
    return found


def control(name: str) -> Any:
    """The subprotocol of clients that understand control frames."""
    return {"subprotocols": [name]}


async def test_stream(running: Stack, name: str) -> None:
    """/sse gives the very frames of the socket, with their ids, from the cursor on and live."""
    await running.append(name, 60)
    async with (
        running.connect(name, after=0) as own,
        sse(running, f"/sse?username={name}&after=0") as stream,
        sse(running, f"/sse?username={name}&after=0", **{"Last-Event-ID": "58"}) as resumed,
    ):
        assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        await running.append(name, 5)
        frames = [str(await own.recv()) for _ in range(65)]
        got = await messages(stream, 65)
        assert [each["data"] for each in got] == frames
        assert [int(each["id"]) for each in got] == list(range(1, 66))
        assert [int(each["id"]) for each in await messages(resumed, 7)] == list(range(59, 66))


async def test_stream_names_its_events(running: Stack, name: str) -> None:
    """On a run's stream with names each event has its type, the terminal one its status."""
    await running.append(name, 2)
    await running.post(f"/runs/{name}-run/events", {"type": "workflow_completed"})
    for path in (f"/api/v1/events/{name}-run", f"/sse/runs/{name}-run?named=1&username={name}"):
        async with sse(running, path) as stream:
            assert [(each["event"], each["id"]) for each in await messages(stream, 3)] == [
                ("step", "1"),
                ("step", "2"),
                ("completed", "3"),
            ]


async def test_idle_stream_tells_the_cursor(running: Stack, name: str) -> None:
    """At its beginning and with every heartbeat a stream has a comment with an id line."""
    await running.append(name, 4)
    async with sse(running, f"/sse?username={name}") as stream, asyncio.timeout(10):
        assert await stream.content.readuntil(b"\n\n") == b": connected\nid: 4\n\n"
        await running.append(name, 1)
        await messages(stream, 1)
        assert await stream.content.readuntil(b"\n\n") == b": heartbeat\nid: 5\n\n"
        assert await stream.content.readuntil(b"\n\n") == b": heartbeat\nid: 5\n\n"


async def test_unknown_cursor_of_a_stream(running: Stack, name: str) -> None:
    """A Last-Event-ID beyond the head gets a reset and goes on live; an `after` is refused 410."""
    await running.append(name, 2)
    async with sse(running, f"/sse?username={name}", **{"Last-Event-ID": "9"}) as stream:
        await running.append(name, 1)
        reset, event = await messages(stream, 2)
        assert (reset["event"], reset["id"], json.loads(reset["data"])["head"]) == ("reset", "", 2)
        assert event["id"] == "3"
    async with sse(running, f"/sse?username={name}&after=9") as refused:
        assert refused.status == 410


async def test_stream_refused_for_a_while(start_hub: StartHub, name: str) -> None:
    """A stream that is refused for a while gets 200, why, when to come back, and the end."""
    hub = start_hub()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{hub.port}/sse?username={name}&after=1") as stream,
    ):
        assert stream.status == 200
        assert re.fullmatch(rb": no_history\nretry: \d+\n\n", await stream.read())


async def test_stream_without_history(start_hub: StartHub, name: str, publish: Publish) -> None:
    """Without history a stream is live; a frame without an id has no id line, and white space splits no message."""
    hub = start_hub()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{hub.port}/sse?username={name}&named=1") as stream,
    ):
        await publish(name, {"type": "Odd"}, {"type": "ok"})
        first, second = await messages(stream, 2)
    assert ("id" in first, "event" in first, second["event"]) == (False, False, "ok")


async def test_page_may_read_a_stream(running: Stack, name: str) -> None:
    """A page of an allowed origin may read a stream, another gets 403."""
    async with sse(running, f"/sse?username={name}", Origin="http://localhost:5173") as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"
    async with sse(running, f"/sse?username={name}", Origin="https://evil.io") as stream:
        assert stream.status == 403


async def test_run_socket(running: Stack, name: str) -> None:
    """/ws/runs/ID says connected first, then the run from its beginning, then live; other runs are left out."""
    await running.append(name, 30, run=f"{name}-other")
    await running.append(name, 3)
    url = f"ws://127.0.0.1:{running.hub.port}/ws/runs/{name}-run"
    for query in ("", f"?username={name}"):
        async with websockets.connect(url + query) as own:
            hello = json.loads(await own.recv())
            assert hello.pop("epoch")
            assert hello == {
                "control": True,
                "type": "connected",
                "run_id": f"{name}-run",
                "status": "running",
                "head": 0,
            }
            assert await ids_of(own, 3) == [31, 32, 33]
    async with websockets.connect(url + "?after=32") as own:
        assert json.loads(await own.recv())["head"] == 32
        await running.append(name, 1, run=f"{name}-other")
        await running.append(name, 1)
        assert await ids_of(own, 2) == [33, 35]


async def test_foreign_run(running: Stack, name: str) -> None:
    """An unknown run and one of another user are answered the same, on every path of a run."""
    await running.append(name, 1)
    answers = set()
    for target in (f"{name}-run?username=bob", "nobodys-run"):
        with pytest.raises(InvalidStatus) as refused:
            await websockets.connect(f"ws://127.0.0.1:{running.hub.port}/ws/runs/{target}")
        async with sse(running, f"/sse/runs/{target}") as stream:
            answers |= {(404, bytes(refused.value.response.body or b"")), (stream.status, await stream.read())}
        async with websockets.connect(
            f"ws://127.0.0.1:{running.hub.port}/ws/runs/{target}", **control("runfeed.v1")
        ) as own:
            with pytest.raises(ConnectionClosed) as closed:
                await own.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4404
    assert len(answers) == 1


async def test_controls(running: Stack, name: str) -> None:
    """A runfeed.v1 client is told when it is connected, has caught up, and that the hub lives, each with its cursor."""
    await running.append(name, 50)
    async with websockets.connect(running.url(name, after=5), ping_interval=None, **control("runfeed.v1")) as own:
        said = [json.loads(await own.recv()) for _ in range(47)]
        assert (said[0]["type"], said[0]["head"], said[0]["control"]) == ("connected", 5, True)
        assert [each["id"] for each in said[1:46]] == list(range(6, 51))
        assert (said[46]["type"], said[46]["head"]) == ("caught_up", 50)
        await running.append(name, 1)
        assert await ids_of(own, 1) == [51]
        beat = json.loads(await asyncio.wait_for(own.recv(), 3))
        assert (beat["type"], beat["head"], "username" in beat) == ("heartbeat", 51, False)


@pytest.mark.parametrize(
    ("query", "more", "code"),
    [
        ("", "", 4400),
        ("?username=a&after=x", "", 4400),
        ("?username=a", "Origin: https://evil.io\r\n", 4403),
        ("?username=a&after=1", "", 1013),
    ],
)
async def test_closes_instead_of_refusals(hub: HubProcess, peer: Connect, query: str, more: str, code: int) -> None:
    """A client that offers runfeed.v1 is upgraded and closed with the reason; a browser shows it nothing else."""
    raw = await peer(hub)
    head = handshake("a", "Sec-WebSocket-Protocol: runfeed.v1\r\n" + more)
    raw.send(head.replace(b"?username=a", query.encode()))
    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
    raw.send(client_frame(8, code.to_bytes(2, "big")))
    frames = await raw.everything()
    if code == 1013:
        assert b'"type":"closing"' in frames
        assert b'"reason":"no_history"' in frames, "this hub has none: a client is told to come without a cursor"
        assert b"retry in " in frames
    assert code.to_bytes(2, "big") in frames


async def said_until_closed(own: websockets.ClientConnection) -> AsyncIterator[str | bytes]:
    """All messages until the close, whatever its code."""
    try:
        while True:
            yield await own.recv()
    except ConnectionClosed:
        return


async def test_drain_tells_each_its_delay(
    migrated_database_url: str, redis_url: str, start_any_hub: StartAnyHub, tmp_path: Path, name: str
) -> None:
    """TERM: every socket is told when to come back, so that the next hub sees no more than so many a second."""
    async with stack(
        migrated_database_url, redis_url, start_any_hub, tmp_path, FANOUT_HANDSHAKES_PER_S="20", FANOUT_DRAIN="0.5"
    ) as running:
        plain = [await running.connect(name) for _ in range(20)]
        ours = [await websockets.connect(running.url(name), **control("runfeed.v1")) for _ in range(10)]
        async with sse(running, f"/sse?username={name}") as stream:
            loop = asyncio.get_running_loop()
            await stream.content.readuntil(b"\n\n")
            began = loop.time()
            running.hub.process.terminate()

            async def back_at(own: websockets.ClientConnection) -> float:
                said = [json.loads(message) async for message in said_until_closed(own)]
                told = int((own.close_reason or "").split()[2])
                assert own.close_code == 1012
                assert [each["retry_in_ms"] for each in said if each["type"] == "closing"] == [told] * (own in ours)
                return loop.time() - began + told / 1000

            times = sorted(await asyncio.gather(*map(back_at, plain + ours)))
            assert re.search(rb"retry: \d+\n\n$", await stream.read())
        for own in plain + ours:
            await own.close()
    for first in range(len(times)):
        within = [time for time in times if times[first] <= time < times[first] + 1]
        assert len(within) <= 20 + 4
    assert times[-1] < 30 / 20 + 0.7


async def test_trace(running: Stack, name: str, publish: Publish) -> None:
    """/trace tells what became of an event: live, kept, a repeat, replayed; and to how many sockets it was written."""

    def seen(number: int) -> list[tuple[str, str, int]]:
        body = json.loads(running.hub.admin(f"/trace?username={name}&id={number}")[1])
        return [(each["what"], each["how"], each.get("sockets", 0)) for each in body["seen"]]

    async with running.connect(name) as own, running.connect(name) as other:
        await running.append(name, 40)
        await ids_of(own, 40)
        await ids_of(other, 40)
        assert seen(40) == [("written", "live", 2)]
        await publish(name, {"id": 40})
        await publish(name, {"id": 99})
        await eventually(lambda: ("kept", "live", 0) in seen(99))
        await eventually(lambda: ("forged", "live", 0) in seen(99))
        assert ("repeat", "live", 0) in seen(40)
        async with running.connect(name, after=0) as third:
            await ids_of(third, 40)
        assert ("written", "replayed", 1) in seen(3)
    assert seen(77) == []
    assert running.hub.admin(f"/trace?username={name}")[0] == 400
