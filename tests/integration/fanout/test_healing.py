"""What Redis loses, repeats, reorders and invents; and what every socket gets all the same."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Container
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from tests.integration.fanout.hubs import Publish, StartAnyHub
from tests.integration.fanout.stack import Stack, ids_of, proxied, stack
from tests.support import eventually
from tests.support.proxy import Proxy

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions


@pytest.fixture
async def between(redis_url: str) -> AsyncIterator[Proxy]:
    """What lies between the hub and Redis."""
    parts = urlsplit(redis_url)
    proxy = Proxy((parts.hostname or "", parts.port or 0), speaks_resp=True)
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.fixture
async def running(
    migrated_database_url: str, redis_url: str, start_any_hub: StartAnyHub, tmp_path: Path, between: Proxy
) -> AsyncIterator[Stack]:
    """A hub with a real API, its Redis behind a proxy; it has heard a beacon."""
    through = proxied(redis_url, between.port)
    async with stack(migrated_database_url, redis_url, start_any_hub, tmp_path, through) as found:
        await eventually(lambda: found.hub.metric("fanout_beacon_age_seconds") > 0)
        yield found


def beacon(message: Any) -> bool:
    """Whether this is a beacon."""
    return isinstance(message, list) and message[:1] == [b"pmessage"] and message[2] == b"run:!beacon"


def swallow(*, beacons: bool, ids: Container[int] | None = None) -> Callable[[Any], list[Any]]:
    """Lose every frame, or those with these ids, and the beacons too if they are meant."""

    def rewrite(message: Any) -> list[Any]:
        if not (isinstance(message, list) and message[:1] == [b"pmessage"]):
            return [message]
        if beacon(message):
            return [] if beacons else [message]
        return [] if ids is None or json.loads(message[3])["id"] in ids else [message]

    return rewrite


async def test_swallowed_publish_while_beacons_speak(running: Stack, between: Proxy, name: str) -> None:
    """An event whose publish was lost reaches the socket within 2 s of its commit while beacons speak."""
    async with running.connect(name) as own:
        await running.append(name, 1)
        assert await ids_of(own, 1) == [1]
        between.down.rewrite = swallow(beacons=False)
        for number in (2, 3, 4):
            await running.append(name, 1)
            assert await ids_of(own, 1, within=2) == [number]


async def test_swallowed_publish_found_by_the_audit(running: Stack, between: Proxy, name: str, redis_url: str) -> None:
    """Without beacons the audit finds it within 3.5 s."""
    between.down.rewrite = swallow(beacons=True)
    async with running.connect(name) as own:
        await running.append(name, 1)
        assert await ids_of(own, 1, within=3.5) == [1]


async def test_swallowed_in_the_middle(running: Stack, between: Proxy, name: str) -> None:
    """A hole with frames behind it is healed after the hold, and everything is in order."""
    async with running.connect(name) as own:
        await running.append(name, 1)
        await ids_of(own, 1)
        between.down.rewrite = swallow(beacons=False, ids=range(2, 42))
        await running.append(name, 40)
        await running.append(name, 40)
        assert await ids_of(own, 80, within=1) == list(range(2, 82))
    assert running.heals() >= 1


async def test_repeated_and_reordered(running: Stack, between: Proxy, name: str) -> None:
    """Frames that come twice, and each behind the one after it, are given once, in order, without a question."""
    late: list[Any] = []

    def shuffle(message: Any) -> list[Any]:
        if not (isinstance(message, list) and message[:1] == [b"pmessage"]) or beacon(message):
            return [message]
        late.append(message)
        if len(late) < 2:
            return []
        found = [late[1], late[0], late[1]]
        late.clear()
        return found

    between.down.rewrite = shuffle
    async with running.connect(name) as own:
        for start in range(1, 101, 10):
            await running.append(name, 10)
            assert await ids_of(own, 10) == list(range(start, start + 10))
    assert running.heals() == 0


async def test_half_open_subscription(running: Stack, between: Proxy, name: str) -> None:
    """A subscription that is silently dropped is noticed within 3 s, and what was missed meanwhile comes."""
    async with running.connect(name) as own:
        await running.append(name, 1)
        await ids_of(own, 1)
        between.blackhole()
        await running.append(name, 5)
        await eventually(lambda: running.hub.metric("fanout_redis_live") == 0, within=3)
        assert await ids_of(own, 5, within=2) == list(range(2, 7))
        await running.append(name, 5)
        assert await ids_of(own, 5, within=2) == list(range(7, 12))
        assert running.hub.ready()


@pytest.mark.full
@pytest.mark.timeout(90)
async def test_api_stopped(running: Stack, name: str) -> None:
    """An API stopped for 30 s: sockets stay, readiness stays, no reconnect to Redis is counted, nor later."""
    async with running.connect(name) as own:
        await running.append(name, 1)
        await ids_of(own, 1)
        running.api.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(AssertionError):
                await eventually(lambda: not running.hub.ready(), within=30)
        finally:
            running.api.send_signal(signal.SIGCONT)
        await running.append(name, 1)
        assert await ids_of(own, 1) == [2]
        with pytest.raises(AssertionError):
            await eventually(lambda: running.hub.metric("fanout_redis_rebuilds_total"), within=3)
    assert running.hub.metric("fanout_redis_reconnects_total") == 0


@pytest.mark.full
@pytest.mark.timeout(90)
async def test_hole_while_history_is_away(running: Stack, name: str, publish: Publish) -> None:
    """A hole that nobody can fill for 30 s: its feed's sockets are closed 1013, others stay."""
    async with running.connect(name) as own, running.connect(name + "x") as other:
        for user, watcher in ((name, own), (name + "x", other)):
            await running.append(user, 1)
            assert await ids_of(watcher, 1) == [1]
        running.api.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            await publish(name, {"id": 3})
            await publish(name + "x", {"id": 2})
            assert await ids_of(other, 1) == [2]
            with pytest.raises(ConnectionClosed) as closed:
                await ids_of(own, 1, within=40)
            assert 29 < time.monotonic() - began < 34
            assert await (await other.ping()) >= 0
        finally:
            running.api.send_signal(signal.SIGCONT)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013


@pytest.mark.full
async def test_no_beacon(running: Stack, between: Proxy) -> None:
    """No beacon for 10 s while the API answers: the Redis connection is made anew."""
    between.down.rewrite = swallow(beacons=True)
    await eventually(lambda: running.hub.metric("fanout_redis_rebuilds_total") == 1, within=14)
    await eventually(lambda: running.hub.metric("fanout_redis_reconnects_total") == 1, within=2)


async def test_forged(running: Stack, name: str, publish: Publish) -> None:
    """Forged ids and heads reach nobody, mute nobody, and cost a handful of questions, not one after the other."""
    async with running.connect(name) as own:
        await running.append(name, 3)
        await ids_of(own, 3)
        for n in range(100):
            await publish(name, {"id": 10**9 + n, "seq": 1})
            epoch = f"{n}"
            heads = {name: 10**15 + n}
            await publish(name, {"run_id": "!beacon", "beacon": {"epoch": epoch, "api": f"x{n}", "heads": heads}})
        await running.append(name, 3)
        assert await ids_of(own, 3, within=1) == [4, 5, 6]
        await eventually(lambda: running.hub.metric("fanout_frames_dropped_total", reason="forged") == 100, within=5)
        await eventually(lambda: running.hub.metric("fanout_holes_open") == 0, within=5)
    assert running.heals() < 12
    assert running.hub.metric("fanout_resets_total") == 0


async def test_forged_heads_in_our_epoch(running: Stack, name: str, publish: Publish) -> None:
    """A head that is forged in history's own epoch, every second, is asked about less and less often."""
    epoch = (await running.post("/feeds/heads", {"usernames": []}))["epoch"]
    async with running.connect(name) as own:
        await running.append(name, 1)
        await ids_of(own, 1)
        for n in range(40):
            head = {"epoch": epoch, "api": "x", "heads": {name: 10**12 + n}}
            await publish(name, {"run_id": "!beacon", "beacon": head})
            await running.append(name, 1)
        assert await ids_of(own, 40) == list(range(2, 42))
    assert running.heals() <= 8


async def test_many_feeds_in_one_question(running: Stack, between: Proxy, name: str) -> None:
    """Fifty feeds that miss something at once are healed by a few requests."""
    names = [f"{name}-{n}" for n in range(50)]
    sockets = [await running.connect(each) for each in names]
    between.down.rewrite = swallow(beacons=False)
    for each in names:
        await running.append(each, 2)
    for own in sockets:
        assert await ids_of(own, 2, within=4) == [1, 2]
    assert running.hub.metric("fanout_history_requests_total", call="events", outcome="ok") <= 12
    for own in sockets:
        await own.close()


@pytest.mark.full
async def test_long_heal(running: Stack, between: Proxy, name: str) -> None:
    """Twenty thousand events that Redis lost are healed page by page, in order, in bounded memory."""
    async with running.connect(name) as own:
        await running.append(name, 1)
        await ids_of(own, 1)
        before = running.hub.memory()
        between.down.rewrite = swallow(beacons=False)
        await running.append(name, 20_000, 300)
        between.down.rewrite = None
        assert await ids_of(own, 20_000, 30) == list(range(2, 20_002))
    assert running.hub.memory() - before < 12 << 20


async def renumber(database_url: str, username: str, head: int, *, epoch: bool = True) -> None:
    """What a restore of an older state does: another epoch, and feeds that end sooner."""
    connection = await asyncpg.connect(database_url)
    try:
        if epoch:
            await connection.execute("UPDATE epochs SET life = gen_random_uuid()")
        await connection.execute("DELETE FROM events WHERE username = $1 AND id > $2", username, head)
        await connection.execute("UPDATE feeds SET last_id = $2 WHERE username = $1", username, head)
    finally:
        await connection.close()


@pytest.mark.parametrize("epoch", [True, False])
async def test_another_numbering(running: Stack, name: str, migrated_database_url: str, epoch: bool) -> None:
    """After a restore, even one that kept its epoch, plain sockets are closed 4409; others are told and go on."""
    await running.append(name, 5)
    url = f"http://127.0.0.1:{running.hub.port}/sse?username={name}"
    async with (
        running.connect(name) as plain,
        websockets.connect(running.url(name), subprotocols=["runfeed.v1"]) as own,  # type: ignore[list-item]
        running.session.get(url) as stream,
    ):
        hello = json.loads(await own.recv())
        assert (hello["type"], hello["head"]) == ("connected", 5)
        await running.append(name, 1)
        assert (await ids_of(own, 1), await ids_of(plain, 1)) == ([6], [6])
        await renumber(migrated_database_url, name, 3, epoch=epoch)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(plain.recv(), 8)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4409
        reset = json.loads(await asyncio.wait_for(own.recv(), 5))
        assert (reset["control"], reset["type"], reset["head"]) == (True, "reset", 3)
        assert (reset["epoch"] != hello["epoch"]) is epoch
        assert await running.append(name, 1) == [4]
        assert await ids_of(own, 1, within=3) == [4]
        async with asyncio.timeout(5):
            text = (await stream.content.readuntil(b'"id":4,')).decode()
    assert "event: reset\nid:\ndata: " in text
    assert running.hub.metric("fanout_resets_total") == 1
