"""Redis that drops its subscriber, or dies: no socket misses anything."""

import asyncio
import json
from pathlib import Path

import pytest
import redis.asyncio as redis

from tests.integration.fanout.hubs import StartAnyHub
from tests.integration.fanout.stack import ids_of, stack
from tests.support.servers import OwnRedis


async def test_client_kill_while_publishing(
    migrated_database_url: str, redis_server: OwnRedis, start_any_hub: StartAnyHub, tmp_path: Path, name: str
) -> None:
    """A subscriber that Redis drops again and again while events come loses none."""
    client = redis.Redis.from_url(redis_server.url)
    async with stack(migrated_database_url, redis_server.url, start_any_hub, tmp_path) as running:
        async with running.connect(name) as own:
            reader = asyncio.create_task(ids_of(own, 600, 30))
            for n in range(60):
                await running.append(name, 10)
                if n % 20 == 10:
                    await client.client_kill_filter(_type="pubsub")
            assert await reader == list(range(1, 601))
        assert running.hub.metric("fanout_redis_reconnects_total") >= 1
    await client.aclose()


@pytest.mark.full  # row 11 of `./dev fault --ci` plays the same
async def test_redis_killed(
    migrated_database_url: str, redis_server: OwnRedis, start_any_hub: StartAnyHub, tmp_path: Path, name: str
) -> None:
    """With Redis entirely away events arrive within 2 s, and the hub stays ready; new sockets come in protected."""
    async with stack(migrated_database_url, redis_server.url, start_any_hub, tmp_path) as running:
        async with running.connect(name) as own:
            await running.append(name, 1)
            await ids_of(own, 1)
            redis_server.kill()
            for number in (2, 3):
                await running.append(name, 1)
                assert await ids_of(own, 1, within=2) == [number]
            assert running.hub.ready()
            assert json.loads(running.hub.admin("/readyz")[1])["degraded"] == ["redis"]
            async with running.connect(name + "x") as other:
                await running.append(name + "x", 2)
                assert await ids_of(other, 2, within=2) == [1, 2]
            redis_server.start()
            await running.append(name, 5)
            assert await ids_of(own, 5, within=3) == list(range(4, 9))
