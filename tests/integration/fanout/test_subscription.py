"""Redis that is late, frozen, killed, hostile; and the hub that lives through it."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
import websockets

from tests.integration.fanout.hubs import HubProcess, Publish, StartAnyHub, StartHub
from tests.support import eventually
from tests.support.certificates import certificate
from tests.support.servers import OwnRedis

CONTRACT = json.loads((Path(__file__).parents[2] / "contract" / "contract.json").read_text())


@pytest.fixture
def hub_on(start_any_hub: StartAnyHub) -> Iterator[StartAnyHub]:
    """Start a hub on a given Redis, not waiting for it; it ends with the test."""
    hubs: list[HubProcess] = []

    def start(redis_url: str, **settings: str) -> HubProcess:
        hubs.append(start_any_hub(redis_url, FANOUT_DRAIN="0", **settings))
        return hubs[-1]

    yield start
    for hub in hubs:
        hub.stop()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[redis.Redis]:
    """A Redis client that is closed."""
    connection = redis.Redis.from_url(url)
    try:
        yield connection
    finally:
        await connection.aclose()


async def send(url: str, username: str, **more: Any) -> None:
    """Publish one event of `username`."""
    async with client(url) as connection:
        await connection.publish("run:r1", json.dumps({"run_id": "r1", "username": username} | more))


async def test_redis_not_there_yet(redis_server: OwnRedis, hub_on: StartAnyHub) -> None:
    """A hub waits for a Redis that is not there yet, says so once, and takes sockets; then it delivers."""
    redis_server.stop()
    hub = hub_on(redis_server.url)
    await eventually(lambda: hub.admin("/healthz")[0] == 200)
    async with websockets.connect(hub.url("alice")) as own:
        await eventually(lambda: len(hub.events("fanout.redis_waiting")) == 1)
        status, body = hub.admin("/readyz")
        assert (status, json.loads(body)["status"], json.loads(body)["degraded"]) == (503, "not_ready", ["redis"])
        redis_server.start()
        await eventually(hub.ready)
        await send(redis_server.url, "alice", x=1)

        assert json.loads(await asyncio.wait_for(own.recv(), 5))["x"] == 1
    assert len(hub.events("fanout.redis_waiting")) == 1
    assert hub.metric("fanout_redis_reconnects_total") == 0


async def test_redis_restart(redis_server: OwnRedis, hub_on: StartAnyHub) -> None:
    """A killed and restarted Redis is found again within a second or two; sockets stay; the reconnect is counted."""
    hub = hub_on(redis_server.url)
    await eventually(hub.ready)
    async with websockets.connect(hub.url("alice")) as own:
        redis_server.kill()
        await eventually(lambda: not hub.ready())
        redis_server.start()
        await eventually(hub.ready, within=3)
        await send(redis_server.url, "alice", x=1)

        assert json.loads(await asyncio.wait_for(own.recv(), 5))["x"] == 1
    assert hub.metric("fanout_redis_reconnects_total") == 1
    assert len(hub.events("fanout.redis_lost")) == 1


@pytest.mark.full  # row 12 of `./dev fault --ci` plays the same
async def test_frozen_redis(redis_server: OwnRedis, hub_on: StartAnyHub) -> None:
    """A Redis that is connected and silent is noticed within 3 s, and used again when it answers."""
    hub = hub_on(redis_server.url)
    await eventually(hub.ready)
    async with websockets.connect(hub.url("alice")) as own:
        redis_server.freeze()
        await eventually(lambda: not hub.ready(), within=3)
        assert "silent" in hub.events("fanout.redis_lost")[0]["reason"]
        redis_server.thaw()
        await eventually(hub.ready)
        await send(redis_server.url, "alice", x=1)

        assert json.loads(await asyncio.wait_for(own.recv(), 5))["x"] == 1


async def test_dropped_subscriber(redis_server: OwnRedis, hub_on: StartAnyHub) -> None:
    """A subscriber that Redis drops is back within a second or two, and the reconnect is counted."""
    hub = hub_on(redis_server.url)
    await eventually(hub.ready)
    async with client(redis_server.url) as connection:
        await connection.client_kill_filter(_type="pubsub")
        await eventually(lambda: hub.metric("fanout_redis_reconnects_total") == 1, within=3)
        names = [entry["name"] for entry in await connection.client_list(_type="pubsub")]

    assert names == ["fanout"]


async def test_idle_subscription_lives(redis_server: OwnRedis, hub_on: StartAnyHub) -> None:
    """A subscription on which nothing is published is not taken for dead."""
    hub = hub_on(redis_server.url)
    await eventually(hub.ready)
    with pytest.raises(AssertionError):
        await eventually(lambda: hub.events("fanout.redis_lost"), within=4)

    assert hub.metric("fanout_redis_reconnects_total") == 0


async def test_wrong_password(redis_server: OwnRedis, hub_on: StartAnyHub) -> None:
    """A wrong password is said once, in Redis' own words, and shown nowhere."""
    hub = hub_on(f"redis://:not-the-password@127.0.0.1:{redis_server.port}/0")
    await eventually(lambda: hub.events("fanout.redis_waiting"))
    with pytest.raises(AssertionError):
        await eventually(lambda: len(hub.events("fanout.redis_waiting")) > 1, within=2)

    assert "WRONGPASS" in hub.events("fanout.redis_waiting")[0]["reason"]
    assert "not-the-password" not in hub.log.read_text()


async def test_acl_user(redis_server: OwnRedis, hub_on: StartAnyHub) -> None:
    """An ACL user that may subscribe to run:* and PING, and nothing else, is enough."""
    async with client(redis_server.url) as connection:
        await connection.acl_setuser(
            "hub", enabled=True, passwords=["+secret"], channels=["run:*"], commands=["+psubscribe", "+ping"]
        )
    hub = hub_on(f"redis://hub:secret@127.0.0.1:{redis_server.port}/0")
    await eventually(hub.ready)
    async with websockets.connect(hub.url("alice")) as own:
        await send(redis_server.url, "alice", x=1)

        assert json.loads(await asyncio.wait_for(own.recv(), 5))["x"] == 1


def payload(case: dict[str, Any]) -> bytes:
    """The bytes of a contract frame."""
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    if "repeat" in case:
        piece, count = case["repeat"]
        return bytes(case["head"] + piece * count + case["tail"], "utf-8")
    return bytes(case["payload"], "utf-8")


async def test_hostile_payloads(start_hub: StartHub, redis_url: str, publish: Publish) -> None:
    """Every invalid frame of the contract is dropped and counted by reason; the sockets live on and see none of it."""
    hub = start_hub()
    cases = CONTRACT["frames"]["invalid"]
    counted = {
        reason: hub.metric("fanout_frames_dropped_total", reason=reason)
        for reason in ("malformed", "wrong_channel", "too_big")
    }
    async with websockets.connect(hub.url("alice")) as own, client(redis_url) as connection:
        for case in cases:
            await connection.publish(case["channel"], payload(case))
        await connection.publish(b"run:\xff\x00", b"\x00")
        await publish("alice", {"x": "after all that"})

        assert json.loads(await asyncio.wait_for(own.recv(), 10))["x"] == "after all that"
    for reason, before in counted.items():
        expected = sum(case["reason"] == reason for case in cases) + (reason == "malformed")
        assert hub.metric("fanout_frames_dropped_total", reason=reason) - before == expected, reason
    assert not [line for line in hub.lines() if line["level"] == "error"]
    assert hub.metric("fanout_redis_reconnects_total") == 0


async def test_valid_frames(start_hub: StartHub, redis_url: str) -> None:
    """Every valid frame of the contract arrives byte for byte."""
    hub = start_hub()
    for case in CONTRACT["frames"]["valid"]:
        async with websockets.connect(hub.url(case["envelope"]["username"])) as own, client(redis_url) as connection:
            await connection.publish(case["channel"], payload(case))

            assert await asyncio.wait_for(own.recv(decode=False), 5) == payload(case)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def relay(port: int, listen: Callable[[Handler], Awaitable[asyncio.Server]]) -> AsyncIterator[asyncio.Server]:
    """A listener of another kind before the Redis on `port`; at the end it waits until its connections are closed."""
    open_now: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, redis_writer), pump(redis_reader, writer))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(writer.wait_closed(), redis_writer.wait_closed())
        open_now.discard(writer)

    server = await listen(handle)
    try:
        yield server
        await eventually(lambda: not open_now)
    finally:
        server.close()
        await server.wait_closed()


async def test_unix_socket(redis_server: OwnRedis, hub_on: StartAnyHub, tmp_path: Path) -> None:
    """A Redis on a unix socket serves as well."""
    path = tmp_path / "redis.sock"
    async with relay(redis_server.port, lambda handle: asyncio.start_unix_server(handle, path)):
        password = redis_server.url.split(":")[2].split("@")[0]
        hub = hub_on(f"unix://:{password}@{path}")
        await eventually(lambda: hub.events("fanout.redis_live"))
        async with websockets.connect(hub.url("alice")) as own:
            await send(redis_server.url, "alice", x=1)

            assert json.loads(await asyncio.wait_for(own.recv(), 5))["x"] == 1
        await asyncio.to_thread(hub.stop)


async def test_tls(redis_server: OwnRedis, hub_on: StartAnyHub, tmp_path: Path) -> None:
    """rediss:// speaks TLS, checks the certificate against the URL's authority, and refuses another's."""
    for name in ("own", "other"):
        certificate(tmp_path, name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "own.pem", tmp_path / "own.key")
    async with relay(
        redis_server.port, lambda handle: asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    ) as server:
        port = server.sockets[0].getsockname()[1]
        password = redis_server.url.split(":")[2].split("@")[0]
        url = f"rediss://:{password}@localhost:{port}/0?ssl_ca_certs={tmp_path}"
        hub = hub_on(f"{url}/own.pem")
        await eventually(lambda: hub.events("fanout.redis_live"))
        distrustful = hub_on(f"{url}/other.pem")
        await eventually(lambda: distrustful.events("fanout.redis_waiting"))
        async with websockets.connect(hub.url("alice")) as own:
            await send(redis_server.url, "alice", x=1)

            assert json.loads(await asyncio.wait_for(own.recv(), 5))["x"] == 1
        assert "CERTIFICATE_VERIFY_FAILED" in distrustful.events("fanout.redis_waiting")[0]["reason"]
        await asyncio.to_thread(hub.stop)
        await asyncio.to_thread(distrustful.stop)
