"""Real hubs as processes, real Redis, real sockets."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis.asyncio as redis

from tests.integration.fanout.hubs import Connect, HubProcess, Publish, RawPeer, StartAnyHub, StartHub, handshake
from tests.support import eventually_sync


@pytest.fixture(scope="session")
def start_any_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartAnyHub]:
    """Start a hub: `(redis_url, **settings)`; it is ended with the session."""
    from tests.support.ports import steady_port

    hubs = []

    def start(redis_url: str, **settings: str) -> HubProcess:
        log = tmp_path_factory.mktemp("fanout") / "log"
        hubs.append(HubProcess(redis_url, log, (steady_port(), steady_port()), settings))
        return hubs[-1]

    yield start
    for hub in hubs:
        hub.stop()


@pytest.fixture
def start_hub(redis_url: str, start_any_hub: StartAnyHub) -> Iterator[StartHub]:
    """Start a hub on the session's Redis and wait until it is ready: `(**settings)`; it ends with the test."""
    hubs = []

    def start(**settings: str) -> HubProcess:
        hub = start_any_hub(redis_url, FANOUT_DRAIN="0", **settings)
        hubs.append(hub)
        eventually_sync(hub.ready, within=10)
        return hub

    yield start
    for hub in hubs:
        hub.stop()


@pytest.fixture(scope="session")
def hub(redis_url: str, start_any_hub: StartAnyHub) -> HubProcess:
    """The session's hub, with its default settings but no drain. Use names of your own."""
    hub = start_any_hub(redis_url, FANOUT_DRAIN="0")
    eventually_sync(hub.ready, within=10)
    return hub


@pytest.fixture
def name() -> str:
    """A username that nobody else has."""
    return f"u-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def publish(redis_url: str) -> AsyncIterator[Publish]:
    """Publish events of a user on the session's Redis."""
    client = redis.Redis.from_url(redis_url)

    async def send(username: str, *events: dict[str, Any]) -> list[str]:
        sent = []
        async with client.pipeline(transaction=False) as pipeline:
            for event in events:
                sent.append(json.dumps({"run_id": "r1", "username": username, "type": "a"} | event))
                pipeline.publish(f"run:{event.get('run_id', 'r1')}", sent[-1])
            await pipeline.execute()
        return sent

    yield send
    await client.aclose()


@pytest.fixture
async def peer() -> AsyncIterator[Connect]:
    """Open a RawPeer: `await peer(port)`, or `await peer(hub, username)` for one whose socket is open."""
    writers: list[asyncio.StreamWriter] = []

    async def connect(to: HubProcess | int, username: str | None = None) -> RawPeer:
        port = to if isinstance(to, int) else to.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        raw = RawPeer(reader, writer)
        if username is not None:
            raw.send(handshake(username))
            assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        return raw

    yield connect
    for writer in writers:
        writer.transport.abort()
