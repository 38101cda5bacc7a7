"""Sockets that come: plain ones, and those that bring a cursor."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.fanout.hubs import Publish, StartAnyHub
from tests.integration.fanout.stack import Stack, ids_of, stack
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions


@pytest.fixture
async def running(
    migrated_database_url: str, redis_url: str, start_any_hub: StartAnyHub, tmp_path: Path
) -> AsyncIterator[Stack]:
    """A hub with a real API."""
    async with stack(migrated_database_url, redis_url, start_any_hub, tmp_path) as found:
        yield found


async def test_protected_from_the_answer_on(running: Stack, name: str) -> None:
    """Of sockets that come while events are appended each receives exactly the feed from some id on, without a hole."""
    stop = asyncio.Event()

    async def publishing() -> int:
        last = 0
        while not stop.is_set():
            last = (await running.append(name, 3))[-1]
        return last

    work = asyncio.create_task(publishing())
    sockets = []
    for _ in range(20):
        sockets.append(await running.connect(name))
        await asyncio.sleep(0)
    stop.set()
    last = await work
    for own in sockets:
        got = await ids_of(own, 1)
        got += await ids_of(own, last - got[0])
        assert got == list(range(got[0], last + 1))
        await own.close()
    assert running.hub.metric("fanout_joins_protected_total") == 20
    assert running.hub.metric("fanout_joins_unprotected_total") == 0


async def test_resume_from_the_ring(running: Stack, name: str) -> None:
    """A cursor that the ring holds gets the rest and then live, and costs no request."""
    async with running.connect(name) as first:
        await running.append(name, 20)
        assert await ids_of(first, 20) == list(range(1, 21))
        async with running.connect(name, after=7) as own:
            await running.append(name, 1)
            assert await ids_of(own, 14) == list(range(8, 22))
    assert running.hub.metric("fanout_history_requests_total", call="page", outcome="ok") == 0


async def test_resume_from_history(running: Stack, name: str) -> None:
    """A cursor below the ring gets pages of history and then live, on a feed that is watched and on one that is not."""
    await running.append(name, 700, 300)
    async with running.connect(name, after=0) as own:
        await running.append(name, 100)
        assert await ids_of(own, 800) == list(range(1, 801))
        async with running.connect(name, after=13) as other:
            await running.append(name, 5)
            assert await ids_of(other, 805 - 13) == list(range(14, 806))
        assert await ids_of(own, 5) == list(range(801, 806))


async def test_resume_while_publishing(running: Stack, name: str) -> None:
    """Resuming sockets splice into a feed that is being written to: each receives all after its cursor, in order."""
    await running.append(name, 500)

    async def publishing() -> None:
        for _ in range(60):
            await running.append(name, 5)

    work = asyncio.create_task(publishing())

    async def resume(after: int) -> list[int]:
        async with running.connect(name, after=after) as own:
            return await ids_of(own, 800 - after, 20)

    cursors = [0, 0, 3, 250, 499, 500]
    streams = await asyncio.gather(*map(resume, cursors))
    await work
    assert streams == [list(range(after + 1, 801)) for after in cursors]


async def test_run_filter_while_resuming(running: Stack, name: str) -> None:
    """A socket that resumes with run_id gets that run's events after the cursor, from history and live."""
    await running.append(name, 60, run=f"{name}-a")
    await running.append(name, 60, run=f"{name}-b")
    async with running.connect(name, after=10, run_id=f"{name}-b") as own:
        await running.append(name, 1, run=f"{name}-a")
        await running.append(name, 1, run=f"{name}-b")
        assert await ids_of(own, 61) == [*range(61, 121), 122]


@pytest.mark.parametrize("query", [{"after": 6}, {"after": 3, "epoch": "another"}])
async def test_unknown_cursor(running: Stack, name: str, query: dict[str, object]) -> None:
    """A cursor beyond the head or of another epoch is 410 for a plain client, with what is known; 4409 for ours."""
    await running.append(name, 5)
    with pytest.raises(InvalidStatus) as refused:
        async with running.connect(name, **query):
            pass
    body = json.loads(refused.value.response.body or b"")
    assert (body["status"], body["code"], body["head"]) == (410, "cursor_unknown", 5)

    async with websockets.connect(running.url(name, **query), subprotocols=["runfeed.v1"]) as own:  # type: ignore[list-item]
        with pytest.raises(ConnectionClosed) as closed:
            await own.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4409

    async with running.connect(name, after=5, epoch=body["epoch"]):
        pass


async def test_storm(running: Stack, name: str) -> None:
    """Five hundred sockets of five users that come back at once cost requests in the number of feeds."""
    names = [f"{name}-{n}" for n in range(5)]
    for each in names:
        await running.append(each, 300)

    async def resume(n: int) -> list[int]:
        async with websockets.connect(running.url(names[n % 5], after=n // 5), open_timeout=30, max_queue=None) as own:
            return await ids_of(own, 300 - n // 5, 30)

    streams = await asyncio.gather(*map(resume, range(500)))
    assert streams == [list(range(n // 5 + 1, 301)) for n in range(500)]
    asked = sum(
        running.hub.metric("fanout_history_requests_total", call=call, outcome="ok") for call in ("page", "heads")
    )
    assert asked < 100


@pytest.mark.parametrize(
    "count", [100_000, pytest.param(1_000_000, marks=[pytest.mark.full, pytest.mark.timeout(400)])]
)
async def test_long_replay_in_bounded_memory(running: Stack, name: str, count: int) -> None:
    """Many events are replayed, in order, without the hub's memory growing by more than a few pages."""
    await running.append(name, count, 100)
    async with running.connect(name, after=count - 1000) as own:  # warm
        await ids_of(own, 1000)
    before = peak = running.hub.memory()
    async with websockets.connect(running.url(name, after=0), max_size=None) as own:
        for start in range(0, count, 10_000):
            assert await ids_of(own, 10_000, 30) == list(range(start + 1, start + 10_001))
            peak = max(peak, running.hub.memory())
    assert peak - before < 8 << 20


async def test_slow_replay_is_closed(running: Stack, name: str) -> None:
    """A socket that does not take its replay is closed 4408, and the hub has kept no more than a page for it."""
    await running.append(name, 4000, 3000)
    before = running.hub.memory()
    small = socket.socket()  # or the kernel might take all of it for a client that reads nothing
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    small.connect(("127.0.0.1", running.hub.port))
    async with websockets.connect(
        running.url(name, after=0), sock=small, max_queue=2, max_size=None, ping_interval=None
    ) as own:
        await eventually(lambda: running.hub.metric("fanout_connections") == 0, within=12)  # and it may still read
        assert running.hub.memory() - before < 8 << 20
        with pytest.raises(ConnectionClosed) as closed:
            await ids_of(own, 4000)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4408


async def test_api_stopped(running: Stack, name: str, publish: Publish) -> None:
    """While the API is stopped sockets stay, new plain ones are opened unprotected after a second, cursors told 503."""
    await running.append(name, 3)
    async with running.connect(name) as own:
        running.api.send_signal(signal.SIGSTOP)
        try:
            loop = asyncio.get_running_loop()
            began = loop.time()
            async with running.connect(name + "x") as other:
                assert 0.9 < loop.time() - began < 1.6
                with pytest.raises(InvalidStatus) as refused:
                    await running.connect(name, after=9)
                assert refused.value.response.status_code == 503
                await publish(name + "x", {"id": 41})
                assert await ids_of(other, 1) == [41]
                assert running.hub.ready()
        finally:
            running.api.send_signal(signal.SIGCONT)
        await running.append(name, 1)
        assert await ids_of(own, 1) == [4]
    assert running.hub.metric("fanout_joins_unprotected_total") == 1
    assert running.hub.metric("fanout_redis_reconnects_total") == 0
