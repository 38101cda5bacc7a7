"""The API in this process, on real PostgreSQL and a real Redis or Valkey."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from orchestrator_api.serve import Service, running
from orchestrator_api.settings import Settings
from tests.support.checked_api import install_in_tests
from tests.support.secrets import secret
from tests.support.waiting import eventually


@dataclass
class Api:
    """A client of the service. Calls answer (status, JSON body)."""

    service: Service
    session: aiohttp.ClientSession
    settings: Settings
    headers: dict[str, str] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.service.port}{path}"

    async def get(self, path: str, **how: Any) -> tuple[int, Any]:
        async with self.session.get(self.url(path), **how) as response:
            return response.status, await response.json(content_type=None)

    async def post(self, path: str, body: Any, **how: Any) -> tuple[int, Any]:
        how |= {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.session.post(self.url(path), **how) as response:
            return response.status, await response.json(content_type=None)

    async def create(self, username: str, run_id: str, **more: Any) -> dict[str, Any]:
        status, run = await self.post("/api/v1/runs", {"username": username, "run_id": run_id, **more})
        assert status == 201, run
        return run  # type: ignore[no-any-return]

    async def append(self, run_id: str, *events: dict[str, Any], **how: Any) -> list[tuple[int, int]]:
        status, body = await self.post(f"/api/v1/runs/{run_id}/events", {"events": list(events)}, **how)
        assert status in (200, 201), body
        return [(event["id"], event["seq"]) for event in body["events"]]

    async def metric(self, name: str, **labels: str) -> float:
        async with self.session.get(f"http://127.0.0.1:{self.service.admin_port}/metrics") as response:
            text = await response.text()
        total = 0.0
        for line in text.splitlines():
            if line.split("{")[0].split(" ")[0] == name and all(
                f'{key}="{value}"' in line for key, value in labels.items()
            ):
                total += float(line.rsplit(" ", 1)[1])
        return total


@pytest.fixture(autouse=True, scope="session")
def checked() -> None:
    """Whatever the service answers in these tests is held against its OpenAPI document."""
    install_in_tests()


@asynccontextmanager
async def served(settings: Settings, *, problems: bool = False) -> AsyncIterator[Api]:
    """A running service with a client, PostgreSQL and Redis reached. problems: some are expected."""
    for key in (*settings.auth.hmac_keys, *settings.auth.watch_keys):
        secret(key, "a key of the service")
    async with running(settings) as service, aiohttp.ClientSession() as session:
        await eventually(lambda: not service.recorder.away and not service.publisher.error, within=10)
        assert problems or not service.recorder.problems()
        yield Api(service, session, settings)


@pytest.fixture
async def api(migrated_database_url: str, redis_url: str) -> AsyncIterator[Api]:
    """A running service with a client."""
    settings = Settings.from_env(
        {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"}
    )
    async with served(settings) as api:
        yield api
