"""A hub with the real API behind it, and a worker that appends."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import websockets

from tests.integration.fanout.hubs import HubProcess
from tests.support import eventually_sync
from tests.support.processes import clean_environ, free_ports, procfile_command, ready_or_say_why
from tests.support.proving import operate


class Stack:
    """API, hub, a worker's HTTP session; the stores are the test's."""

    def __init__(
        self, environ: dict[str, str], hub: HubProcess, api: subprocess.Popen[bytes], key: str | None = None
    ) -> None:
        self.environ = environ
        self.headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.hub = hub
        self.api = api
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        self.runs: dict[str, str] = {}

    def url(self, username: str, **query: object) -> str:
        """The WebSocket URL of a user."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"ws://127.0.0.1:{self.hub.port}/ws?username={username}{more}"

    def connect(self, username: str, **query: object) -> websockets.connect:
        """A plain socket of a user."""
        return websockets.connect(self.url(username, **query), max_queue=None, max_size=None)

    async def post(self, path: str, body: object, **headers: str) -> Any:
        """A worker's call; its answer, which must be good."""
        url = f"http://127.0.0.1:{self.environ['API_PORT']}/api/v1{path}"
        async with self.session.post(url, json=body, headers=self.headers | headers) as answer:
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()

    async def append(self, username: str, count: int, size: int = 10, run: str = "") -> list[int]:
        """Append `count` events to a run of the user; their ids."""
        name = run or f"{username}-run"
        if name not in self.runs:
            await self.post("/runs", {"username": username, "run_id": name})
            self.runs[name] = username
        ids: list[int] = []
        while count > len(ids):
            events = [
                {"type": "step", "x": "y" * size} for _ in range(min(1000, 500_000 // (size + 50), count - len(ids)))
            ]
            answer = await self.post(f"/runs/{name}/events", {"events": events})
            ids += [event["id"] for event in answer["events"]]
        return ids

    def operate(self, *words: str) -> str:
        """What a command of the API's prints, for services that ask who comes."""
        return operate(
            self.environ["DATABASE_URL"], self.environ["REDIS_URL"], *words, hmac_key=self.environ["AUTH_HMAC_KEY"]
        )

    def heals(self) -> float:
        """How often the hub asked history about a feed."""
        return self.hub.metric("fanout_heals_total")


@contextmanager
def served(
    database_url: str,
    redis_url: str,
    start: Any,
    directory: Any,
    hub_redis: str = "",
    proof: dict[str, str] | None = None,
    **settings: str,
) -> Iterator[Callable[[], Stack]]:
    """The services of a stack, running while the context is; a function that gives a Stack for a loop of its own.

    `start` is the fixture start_any_hub; `hub_redis`: the hub's Redis, when it is another way. `proof`: what both
    services are told of tokens; the worker's session has an API key then, as the hub has.
    """
    environ = clean_environ(**free_ports(), DATABASE_URL=database_url, REDIS_URL=redis_url, **(proof or {}))
    # A key that may everything.
    made = ("keys", "create", "--may", "hub,write,mint,revoke", "--all")
    key = operate(database_url, redis_url, *made, hmac_key=proof["AUTH_HMAC_KEY"]) if proof else None
    with procfile_command("api", environ, directory / "api.log") as api:
        names = (
            {"FANOUT_HISTORY_URL": f"http://127.0.0.1:{environ['API_PORT']}", "FANOUT_DRAIN": "0"}
            | (proof or {})
            | settings
        )
        names |= {} if key is None else {"FANOUT_HISTORY_KEY": key}
        hub = start(hub_redis or redis_url, **names)
        ready_or_say_why(api, environ["API_ADMIN_PORT"])
        try:
            eventually_sync(hub.ready, within=10)
            yield lambda: Stack(environ | names, hub, api.process, key)
        finally:
            hub.stop()


@asynccontextmanager
async def stack(*places: Any, **settings: Any) -> AsyncIterator[Stack]:
    """A running stack of a test's own; see `served`."""
    with served(*places, **settings) as at_hand:
        running = at_hand()
        try:
            yield running
        finally:
            await running.session.close()
            await asyncio.to_thread(running.hub.stop)


def proxied(redis_url: str, port: int) -> str:
    """The same Redis by way of a proxy's port."""
    parts = urlsplit(redis_url)
    return redis_url.replace(f":{parts.port}", f":{port}")


async def ids_of(own: websockets.ClientConnection, count: int, within: float = 10.0) -> list[int]:
    """The ids of the next `count` frames."""
    async with asyncio.timeout(within):
        return [json.loads(await own.recv())["id"] for _ in range(count)]
