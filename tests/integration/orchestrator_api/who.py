"""What the tests of who may share: an API that wants proof, the keys and tokens to prove with."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from orchestrator_api import keys
from orchestrator_api.settings import Settings
from orchestrator_api.store import QUERIES
from tests.integration.orchestrator_api.conftest import Api, served
from tests.support.proving import HMAC_KEY
from tests.support.waiting import eventually

Headers = dict[str, str]
# Tests that share a world: a service and its connections live in one loop.
SHARED = pytest.mark.asyncio(loop_scope="module")


def bearer(credential: str) -> Headers:
    """The header that shows it."""
    return {"Authorization": f"Bearer {credential}"}


@dataclass
class Proving:
    """An API in JWT mode. `hub` may everything that keys may, `user` is alice's token: headers to send."""

    api: Api
    database: asyncpg.Connection
    hub: Headers

    async def run(self, username: str, run_id: str, *types: str) -> None:
        """Makes a run of the user's, with events of these types."""
        events = {"events": [{"type": each} for each in types]} if types else {}
        found, body = await self.ask(self.hub, "POST", "/runs", {"username": username, "run_id": run_id, **events})
        assert found == 201, body

    async def key(
        self, *may: str, users: list[str] | None = None, runs: list[str] | None = None, expires_at: float | None = None
    ) -> Headers:
        """The header of a new API key."""
        key_id, key, digest = keys.new()
        row = (key_id, digest, list(may), users, runs, "", time.time(), expires_at)
        await self.database.execute(QUERIES["add_api_key"], *row)
        return bearer(key)

    async def ask(self, headers: Headers, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        how = {} if body is None else {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.api.session.request(method, self.api.url(path), headers=headers, **how) as response:
            return response.status, await response.json(content_type=None)

    async def raw(self, headers: Headers, method: str, path: str, body: Any = None) -> tuple[int, Headers, bytes]:
        """An answer as it came: its status, its headers but for the time, its bytes."""
        how = {} if body is None else {"json": body}
        async with self.api.session.request(method, self.api.url(path), headers=headers, **how) as response:
            kept = {name: value for name, value in response.headers.items() if name not in ("Date", "Content-Length")}
            return response.status, kept, await response.read()


@asynccontextmanager
async def proving(database_url: str, redis_url: str, **environ: str) -> AsyncIterator[Proving]:
    """An API in JWT mode, ready. environ: further settings."""
    names = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"}
    settings = Settings.from_env({**names, "AUTH_HMAC_KEY": HMAC_KEY, **environ})
    database = await asyncpg.connect(database_url)
    try:
        async with served(settings) as api:
            world = Proving(api, database, {})
            world.hub = await world.key(*keys.RIGHTS)
            await eventually(lambda: ready(api))
            yield world
    finally:
        await database.close()


async def ready(api: Api) -> bool:
    """Whether the service says that it is."""
    return (await api.get("/readyz"))[0] == 200
