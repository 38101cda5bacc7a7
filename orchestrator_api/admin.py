"""Health, readiness and metrics."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from orchestrator_api import migrate, store
from orchestrator_api.auth_config import AuthConfig
from orchestrator_api.jwks import Jwks
from orchestrator_api.metrics import Metrics
from orchestrator_api.publish import Publisher
from orchestrator_api.record import Recorder
from orchestrator_api.revoked import Revoked
from orchestrator_api.web import Answer, Request, json_response

CHECK_S = 2.0  # seconds for PostgreSQL to answer a readiness check
CHECK_FAULTS: tuple[type[Exception], ...] = (*store.AWAY, asyncpg.PostgresError)


class Readiness:
    """Whether this process can do its work: PostgreSQL reachable, its settings right, the schema current.

    published: the keys of the issuer's, None: there are none to be read. Away they are no reason to be taken out of
    service, not even when they were never read: those who append have API keys, and these need no issuer.
    """

    def __init__(
        self, url: str, recorder: Recorder, publisher: Publisher, revoked: Revoked | None, published: Jwks | None
    ) -> None:
        self._url = url
        self._recorder = recorder
        self._publisher = publisher
        self._revoked = revoked
        self._published = published
        self._checking = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None
        self.draining = False

    async def problems(self) -> list[str]:
        """Returns, in words, why an append would fail now."""
        if self.draining:
            return ["draining"]
        try:
            async with self._checking, asyncio.timeout(CHECK_S):
                unread = self._revoked is not None and not self._revoked.ready
                problems = ["revocations: not read yet"] if unread else []
                return self._recorder.problems() + await self._look() + problems
        except CHECK_FAULTS as error:
            if self._connection is not None:
                self._connection.terminate()
            return [f"postgres: {type(error).__name__}: {error}"]

    async def _look(self) -> list[str]:
        # A connection of its own: a busy pool is no reason to be taken out of service.
        if self._connection is None or self._connection.is_closed():
            self._connection = await store.connect(self._url)
        session: Any = await self._connection.fetchrow(store.QUERIES["session"])
        return store.wrong_settings(session) + await migrate.behind(self._connection)

    async def ready(self, _: Request) -> Answer:
        """GET /readyz: 200, or 503 with the reasons. What is only degraded is named, and is no reason."""
        degraded = [f"{part}: {error}" for part, error in self._degraded().items()]
        return self._answer(await self.problems(), degraded)

    async def ready_in_public(self, _: Request) -> Answer:
        """The same on the API's own port: which part, not what it said, because that names addresses."""
        problems = [
            "postgres: away" if problem.startswith("postgres:") else problem for problem in await self.problems()
        ]
        return self._answer(problems, [f"{part}: away" for part in self._degraded()])

    def _degraded(self) -> dict[str, str]:
        """Returns what is away that others can do without, and why."""
        found = {
            "redis": self._publisher.error,
            "issuer_keys": "" if self._published is None else self._published.error,
        }
        return {part: error for part, error in found.items() if error}

    @staticmethod
    def _answer(problems: list[str], degraded: list[str]) -> Answer:
        body = {"status": "not ready" if problems else "ready", "problems": problems, "degraded": degraded}
        return json_response(body, status=503 if problems else 200)

    async def close(self) -> None:
        """Closes its connection."""
        if self._connection is not None:
            self._connection.terminate()


def health(auth: AuthConfig) -> Callable[[Request], Any]:
    """Returns the handler of GET /healthz: 200 while the event loop turns."""
    body = {"status": "ok", "auth": auth.mode}

    async def handler(_: Request) -> Answer:
        return json_response(body)

    return handler


def metrics_page(metrics: Metrics) -> Callable[[Request], Any]:
    """Returns the handler of GET /metrics."""

    async def handler(_: Request) -> Answer:
        return Answer(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)

    return handler
