"""The hub as one would write it in an afternoon: `websockets` server, redis-py `listen()`, `broadcast()`.

    PORT=8085 REDIS_URL=redis://... python -m tests.bench.naive

It answers `/ws?username=` and nothing else; no ids, no history, no bounds, no metrics. This is what ours must beat.
"""

import asyncio
import json
import os
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

import redis.asyncio as redis
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main() -> None:
    """For ever."""
    watchers: dict[str, set[ServerConnection]] = defaultdict(set)

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        username = parse_qs(urlsplit(connection.request.path).query)["username"][0]
        watchers[username].add(connection)
        try:
            await connection.wait_closed()
        finally:
            watchers[username].discard(connection)

    async with serve(handler, "127.0.0.1", int(os.environ["PORT"]), compression=None, ping_interval=25, backlog=4096):
        client = redis.Redis.from_url(os.environ["REDIS_URL"])
        async with client.pubsub() as subscription:
            await subscription.psubscribe("run:*")
            async for message in subscription.listen():
                if message["type"] == "pmessage":
                    event = json.loads(message["data"])
                    broadcast(watchers[event["username"]], message["data"].decode())


if __name__ == "__main__":
    asyncio.run(main())
