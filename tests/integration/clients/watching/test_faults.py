"""runfeed.Runfeed against the real services, when lines break and services go away: no hole, no repeat."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from runfeed import Runfeed
from tests.integration.clients.watching.worker import DONE, WITHIN, Choosy, Opened, Places, Worker, ids
from tests.integration.fanout.hubs import HubProcess
from tests.support import eventually, eventually_sync
from tests.support.ports import steady_port
from tests.support.proxy import Proxy

pytestmark = pytest.mark.any_server  # about a client, whatever the stores' versions


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client comes back within a tenth of a second, however often it failed: these tests fail on purpose."""
    monkeypatch.setattr("runfeed.core.link.FIRST_WAIT", 50)
    monkeypatch.setattr("runfeed.core.link.LONGEST_WAIT", 100)


def hub_of(proxy: Proxy) -> str:
    """The hub's address behind a proxy."""
    return f"ws://127.0.0.1:{proxy.port}"


async def test_cut_again_and_again(worker: Worker, places: Places, opened: Opened, soon: None) -> None:
    """A socket that is cut again and again while 500 events are appended shows 1 to 500, each once."""
    door = await opened(Proxy(places.hub_place))
    run_id = await worker.run()
    async with worker.watching(hub=hub_of(door), poll_interval=0.5) as feed:
        watching = asyncio.create_task(ids(feed.run(run_id)))
        await eventually(lambda: feed.transport == "websocket")
        for turn in range(50):
            await worker.steps(run_id, 10)
            if turn % 5 == 0:
                await eventually(lambda: feed.transport == "websocket")
                door.cut()
        await worker.append(run_id, DONE)

        assert await watching == list(range(1, 502))
    assert door.taken >= 10


async def test_hub_killed(
    worker: Worker, places: Places, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A hub that is killed in the middle of a run and started anew leaves no hole and makes no repeat."""
    ports = steady_port(1)

    def hub() -> HubProcess:
        log = tmp_path_factory.mktemp("hub") / "log"
        names = {"FANOUT_HISTORY_URL": places.api, "FANOUT_DRAIN": "0"}
        started = HubProcess(redis_url, log, (ports, ports + 1), names)
        eventually_sync(started.ready, within=WITHIN)
        return started

    run_id = await worker.run()
    running = await asyncio.to_thread(hub)
    try:
        async with worker.watching(hub=f"ws://127.0.0.1:{running.port}") as feed:
            watching = asyncio.create_task(ids(feed.run(run_id)))
            await eventually(lambda: feed.transport == "websocket")
            await worker.steps(run_id, 5)
            running.process.kill()
            running.process.wait()
            await eventually(lambda: feed.transport != "websocket")
            await worker.steps(run_id, 5)
            running = await asyncio.to_thread(hub)
            await eventually(lambda: feed.transport in ("websocket", "sse"), within=WITHIN)
            await worker.steps(run_id, 5)
            await worker.append(run_id, DONE)

            assert await watching == list(range(1, 17))
    finally:
        await asyncio.to_thread(running.stop)


def link(feed: Runfeed) -> dict[str, Any]:
    """What the client knows of its stream."""
    driver = feed._driver
    assert driver is not None
    return vars(driver.machine.link)


async def test_sockets_blocked(worker: Worker, places: Places, opened: Opened, soon: None) -> None:
    """Where WebSockets do not pass, Server-Sent Events do, and a stream that is cut is resumed."""
    door = await opened(Choosy(places.hub_place, b"GET /ws"))
    run_id = await worker.run()
    await worker.steps(run_id, 2)
    async with worker.watching(hub=hub_of(door), poll_interval=10.0) as feed:
        watching = asyncio.create_task(ids(feed.run(run_id)))
        await eventually(lambda: feed.transport == "sse", within=WITHIN)
        await worker.steps(run_id, 3)
        door.cut()
        await eventually(lambda: link(feed)["state"] != "open")
        await worker.steps(run_id, 3)
        await eventually(lambda: feed.transport == "sse", within=WITHIN)
        await worker.append(run_id, DONE)

        assert await watching == list(range(1, 10))
        assert feed.polls == 0
    assert isinstance(door, Choosy)
    assert door.refusals >= 2


async def test_streams_blocked(worker: Worker, places: Places, opened: Opened) -> None:
    """Where no stream passes, polls bring a run to its end."""
    door = await opened(Choosy(places.hub_place, b"GET /"))
    run_id = await worker.run()
    async with worker.watching(hub=hub_of(door), poll_interval=0.1) as feed:
        watching = asyncio.create_task(ids(feed.run(run_id)))
        await eventually(lambda: feed.polls > 0)
        await worker.steps(run_id, 30)
        await eventually(lambda: feed.transport == "poll")
        await worker.append(run_id, DONE)

        assert await watching == list(range(1, 32))


async def test_api_away(worker: Worker, places: Places, opened: Opened) -> None:
    """While the API is away the hub's events wait for the history; when it is back all is there, in order."""
    api = await opened(Proxy(places.api_place))
    targets, api.targets = api.targets, []
    run_id = await worker.run()
    await worker.steps(run_id, 3)
    async with worker.watching(api=f"http://127.0.0.1:{api.port}") as feed:
        watch = feed.run(run_id)
        watching = asyncio.create_task(ids(watch))
        await eventually(lambda: feed.transport == "websocket", within=WITHIN)
        await worker.steps(run_id, 3)
        await eventually(lambda: watch.error is not None and watch.error.code == "unreachable")
        api.targets = targets
        await worker.append(run_id, DONE)

        assert await watching == list(range(1, 8))
        assert watch.error is None


async def test_history_cut(worker: Worker, places: Places, opened: Opened) -> None:
    """A history that breaks off in the middle is read again, and nothing of it is shown twice."""
    api = await opened(Proxy(places.api_place))
    run_id = await worker.run()
    for _ in range(5):
        await worker.steps(run_id, 900)
    await worker.append(run_id, DONE)
    began: list[bool] = []

    def in_the_middle(asked: bytes, _: bytes) -> bool:
        began.append(b"after=2000" in asked)
        return len(began) > 2 and began[-3]

    api.cut_reply_when(in_the_middle)
    async with worker.watching(api=f"http://127.0.0.1:{api.port}") as feed:
        assert await ids(feed.run(run_id)) == list(range(1, 4502))
    assert api.cuts == 1


async def test_reset(worker: Worker, places: Places) -> None:
    """When the numbering changes in the middle of a run the iteration is told so, and the run begins again."""
    run_id = await worker.run()
    await worker.steps(run_id, 3)
    async with worker.watching(poll_interval=1.0) as feed:
        events, other = aiter(feed.run(run_id)), aiter(feed.run(run_id))
        for each in (events, other):
            assert [(await anext(each))["id"] for _ in range(3)] == [1, 2, 3]
        await eventually(lambda: feed.transport == "websocket")
        await asyncio.to_thread(new_epoch, places.environ)
        async with asyncio.timeout(WITHIN):
            reset = await anext(events)
            await worker.append(run_id, DONE)
            again = [event["id"] async for event in events]
            others = [event.get("id") async for event in other]

    assert (reset["control"], reset["type"]) == (True, "reset")
    assert again == [1, 2, 3, 4]
    assert others == [None, 1, 2, 3, 4]


def new_epoch(environ: dict[str, str]) -> None:
    """What an operator runs after setting a database back."""
    subprocess.run(
        [sys.executable, "-m", "orchestrator_api", "new-epoch"], env=environ, check=True, capture_output=True
    )


async def test_reset_of_a_slow_iteration(worker: Worker, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was behind when the numbering changed is told so too, and nothing of the old one follows."""
    monkeypatch.setattr("runfeed.reader.QUEUE", 20)
    run_id = await worker.run()
    await worker.steps(run_id, 100)
    async with worker.watching(poll_interval=0.5) as feed:
        events = aiter(feed.run(run_id))
        found = [(await anext(events))["id"]]
        await eventually(lambda: feed.transport == "websocket")
        await asyncio.to_thread(new_epoch, places.environ)
        await worker.append(run_id, DONE)
        async with asyncio.timeout(WITHIN):
            found += [event.get("id") async for event in events]

    begin = found.index(None)
    assert found[:begin] == list(range(1, begin + 1))
    assert found[begin + 1 :] == list(range(1, 102))
