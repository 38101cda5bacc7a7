"""Frames and beacons on a real Redis, and what happens when it is not there."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import redis.asyncio

from orchestrator_api.settings import Settings
from tests.integration.orchestrator_api.conftest import Api, served
from tests.support.servers import OwnRedis
from tests.support.waiting import eventually

Messages = list[tuple[str, bytes]]


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Messages]:
    """Collects what is published on run:*, beacons included, as (channel, payload)."""
    heard: Messages = []
    client = redis.asyncio.Redis.from_url(url)
    pubsub = client.pubsub()
    await pubsub.psubscribe("run:*")
    await eventually(lambda: pubsub.get_message(timeout=0.1), within=5)

    async def listen() -> None:
        async for message in pubsub.listen():
            heard.append((message["channel"].decode(), message["data"]))

    task = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await pubsub.aclose()  # type: ignore[no-untyped-call]
        await client.aclose()


def beacons(heard: Messages) -> list[dict[str, Any]]:
    return [orjson.loads(payload)["beacon"] for channel, payload in heard if channel == "run:!beacon"]


def frames(heard: Messages, username: str) -> list[bytes]:
    marker = f'"username":"{username}"'.encode()
    return [payload for channel, payload in heard if channel != "run:!beacon" and marker in payload]


async def test_frames_are_what_the_poll_returns(api: Api) -> None:
    """Each stored event is published once, on its run's channel, in id order, byte for byte as the poll returns it."""
    async with listening(api.settings.redis_url) as heard:
        for run_id in ("pub-1", "pub-2"):
            await api.create("publisher", run_id)
        await asyncio.gather(
            *(
                api.append(f"pub-{1 + n % 2}", {"type": "a", "n": n}, {"type": "b", "text": "é\n\u2028"})
                for n in range(40)
            )
        )
        await eventually(lambda: len(frames(heard, "publisher")) == 80)
    async with api.session.get(api.url("/api/v1/feeds/publisher/events")) as response:
        raw = await response.read()

    published = frames(heard, "publisher")
    assert b'"events":[' + b",".join(published) + b"]" in raw
    assert [orjson.loads(frame)["id"] for frame in published] == list(range(1, 81))
    for channel, payload in heard:
        if payload in published:
            assert channel == "run:" + orjson.loads(payload)["run_id"]


async def test_beacon(api: Api) -> None:
    """Every second a beacon names the epoch and the heads of the feeds that were written in the last three."""
    async with listening(api.settings.redis_url) as heard:
        await api.create("beaconed", "b1")
        await api.append("b1", {"type": "a"}, {"type": "a"})
        written = time.time()
        _, history = await api.get("/runs/b1/events")
        await eventually(lambda: any(b["heads"].get("beaconed") == 2 for b in beacons(heard)), within=4)
        await eventually(lambda: beacons(heard)[-1]["heads"] == {}, within=8)
        named = [beacon for beacon in beacons(heard) if "beaconed" in beacon["heads"]]

    # By their own clocks, from the first on that could name it: how many there are is the machine's affair.
    early = [beacon for beacon in beacons(heard) if named[0]["at"] <= beacon["at"] < written + 2]
    assert all("beaconed" in beacon["heads"] for beacon in early)
    assert all(beacon["at"] < written + 3.5 for beacon in named)
    assert {beacon["epoch"] for beacon in beacons(heard)} == {history["epoch"]}
    assert len({beacon["api"] for beacon in beacons(heard)}) == 1
    assert all(abs(beacon["at"] - time.time()) < 60 for beacon in named)


async def test_beacon_splits(api: Api) -> None:
    """A beacon names 1,000 users at most; with more, several are sent."""
    async with listening(api.settings.redis_url) as heard:
        api.service.publisher.heads({f"many{n}": 1 for n in range(2500)}, "epoch")
        await eventually(lambda: len({name for b in beacons(heard) for name in b["heads"]}) >= 2500, within=4)

    assert max(len(beacon["heads"]) for beacon in beacons(heard)) == 1000


async def test_first_and_last_beacon(api: Api, migrated_database_url: str) -> None:
    """A new process names the feeds with events of the last five minutes; a process that ends says goodbye."""
    await api.create("earlier", "e1")
    await api.append("e1", {"type": "a"})
    async with listening(api.settings.redis_url) as heard:
        async with served(api.settings) as second:
            await eventually(lambda: second.service.publisher.error == "")
            ours = second.service.publisher.api
            await eventually(lambda: any(b["api"] == ours and b["heads"].get("earlier") == 1 for b in beacons(heard)))
        await eventually(lambda: any(b["api"] == ours and b.get("bye") is True for b in beacons(heard)))


@pytest.fixture
async def own(migrated_database_url: str, redis_server: OwnRedis) -> AsyncIterator[Api]:
    """A service whose Redis the test may stop."""
    settings = Settings.from_env(
        {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_server.url, "API_PORT": "0", "API_ADMIN_PORT": "0"}
    )
    async with served(settings) as api:
        yield api


async def median_append(api: Api, run_id: str) -> float:
    """Seconds of an append, the median of 21."""
    times = []
    for _ in range(21):
        began = time.perf_counter()
        await api.append(run_id, {"type": "a"})
        times.append(time.perf_counter() - began)
    return sorted(times)[10]


async def test_redis_away(own: Api, redis_server: OwnRedis) -> None:
    """With Redis away appends answer 201, no slower; what it missed is counted, and publishing goes on afterwards."""
    await own.create("alice", "r1")
    before = await median_append(own, "r1")
    redis_server.kill()
    await eventually(lambda: own.service.publisher.error != "")
    away = await median_append(own, "r1")

    async def dropped() -> bool:  # none is left that the reconnect could still hand over
        return await own.metric("orchestrator_publish_drops_total", reason="away") == 21

    await eventually(dropped, within=5)
    status, ready = await own.get("/readyz")
    assert (status, ready["status"], len(ready["degraded"])) == (200, "ready", 1)
    redis_server.start()
    await eventually(lambda: own.service.publisher.error == "", within=5)
    async with listening(redis_server.url) as heard:
        await own.append("r1", {"type": "back"})
        await eventually(lambda: len(frames(heard, "alice")) == 1)

    assert away < 3 * before + 0.005


async def test_redis_frozen(own: Api, redis_server: OwnRedis) -> None:
    """A Redis that takes nothing for a second is left: its frames are counted as dropped, and none is said twice."""
    await own.create("alice", "r1")
    async with listening(redis_server.url) as heard:
        redis_server.freeze()
        await own.append("r1", {"type": "frozen"})
        await eventually(lambda: own.metric("orchestrator_publish_drops_total", reason="slow"), within=4)
        await own.append("r1", {"type": "frozen"})
        redis_server.thaw()
        await eventually(lambda: own.service.publisher.error == "", within=6)
        await own.append("r1", {"type": "thawed"})
        await eventually(lambda: any(b"thawed" in frame for frame in frames(heard, "alice")))
        numbers = [orjson.loads(frame)["id"] for frame in frames(heard, "alice")]

    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 3
    _, body = await own.get("/runs/r1/events")
    assert body["last_seq"] == 3


async def test_what_waits_for_redis_is_bounded(own: Api, redis_server: OwnRedis) -> None:
    """While Redis is frozen, at most 16 MiB are kept for it; the rest is dropped at once and counted."""
    await own.create("alice", "r1")
    redis_server.freeze()
    big = [{"type": "a", "x": "x" * 60_000} for _ in range(15)]
    for _ in range(25):
        await own.append("r1", *big)
        if await own.metric("orchestrator_publish_drops_total", reason="full"):
            break
    redis_server.thaw()

    assert await own.metric("orchestrator_publish_drops_total") > 0
