"""Who reports what is watched, and lines that are good for some requests only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import aiohttp

from runfeed import Runfeed
from tests.support import resp
from tests.support.client import unique_username
from tests.support.proxy import Proxy, Way

Opened = Callable[[Proxy], Awaitable[Proxy]]
DONE = {"type": "workflow_completed"}
WITHIN = 20.0  # seconds: a loaded machine; each of these tests takes two at most


class Places:
    """environ: of the services."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ
        self.api = f"http://127.0.0.1:{environ['API_PORT']}"
        self.hub = f"ws://127.0.0.1:{environ['FANOUT_PORT']}"
        self.api_place = "127.0.0.1", int(environ["API_PORT"])
        self.hub_place = "127.0.0.1", int(environ["FANOUT_PORT"])


class Worker:
    """One user with runs; an async context manager. key: what the API is shown, where it asks."""

    def __init__(self, places: Places, key: str | None = None) -> None:
        self.places = places
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.username = unique_username()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Worker:
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def watching(self, **given: Any) -> Runfeed:
        """A client of ours; arguments as Runfeed has them."""
        said: dict[str, Any] = {"api": self.places.api, "hub": self.places.hub, "poll_interval": 4.0, **given}
        return Runfeed(self.username, **said)

    async def run(self, run_id: str | None = None) -> str:
        """A new run; its id."""
        body = {"username": self.username, "run_id": run_id or f"run-{unique_username()}"}
        return str((await self._post("/runs", body))["run_id"])

    async def append(self, run_id: str, *events: dict[str, Any]) -> list[int]:
        """Appends these; their ids."""
        answer = await self._post(f"/runs/{run_id}/events", {"events": list(events)})
        return [each["id"] for each in answer["events"]]

    async def steps(self, run_id: str, count: int) -> list[int]:
        """Appends so many events; their ids."""
        return await self.append(run_id, *[{"type": "step", "n": number} for number in range(count)])

    async def sockets(self) -> int:
        """How many streams the hub has, of whomever."""
        port = self.places.environ["FANOUT_ADMIN_PORT"]
        async with self._session.get(f"http://127.0.0.1:{port}/stats") as answer:
            return int((await answer.json())["connections"])

    async def polls(self, cause: str) -> int:
        """How many polls the API was asked for this cause, by whomever."""
        port = self.places.environ["API_ADMIN_PORT"]
        async with self._session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        counts = [line.split()[-1] for line in lines if line.startswith(f'orchestrator_polls_total{{cause="{cause}"')]
        assert counts
        return sum(int(float(count)) for count in counts)

    async def _post(self, path: str, body: object) -> Any:
        async with self._session.post(f"{self.places.api}/api/v1{path}", json=body) as answer:
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()


async def ids(events: AsyncIterable[dict[str, Any]], count: int | None = None) -> list[int]:
    """The ids of all events, or of the next so many."""
    found: list[int] = []
    async with asyncio.timeout(WITHIN):
        async for event in events:
            found.append(event["id"])
            if len(found) == count:
                break
    return found


class Choosy(Proxy):
    """Resets connections whose first words are these; all others pass."""

    def __init__(self, target: tuple[str, int], refused: bytes) -> None:
        super().__init__(target)
        self.refused = refused
        self.refusals = 0

    async def _pass(self, way: Way, messages: resp.Messages, data: bytes, writer: asyncio.StreamWriter) -> None:
        if way is self.up and data.startswith(self.refused):
            self.refusals += 1
            raise ConnectionResetError("refused on purpose")
        await super()._pass(way, messages, data, writer)


def lines(text: str) -> list[dict[str, Any]]:
    """JSON lines, parsed."""
    return [json.loads(line) for line in text.splitlines()]
