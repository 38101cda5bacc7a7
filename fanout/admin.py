"""The admin port: health, readiness, metrics, stats. Not for the public."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from .auth_config import AuthConfig
from .wire import USERNAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_KEEPALIVE = 75.0  # seconds an idle scraper keeps its connection; also how long a half-sent request may take


@dataclass(frozen=True, slots=True)
class State:
    """What readiness is made of; each is asked anew.

    Fields:
        draining: TERM was received.
        redis_live: the subscription is confirmed and its link check holds.
        history: none, unknown (not asked yet), live or away.
        beacon_age: seconds since the last beacon of an API; None: none was ever heard.
        connections, users: open sockets and distinct usernames among them.
        trace: what is remembered of one event.
        listening: the sockets' port is open.
        revocations: the list of what was revoked: none (nothing can be), unknown (not read yet), refused (the API does
            not take our key), live or old.
        issuer_keys: those of AUTH_JWKS_URL: none (there is no such URL), unknown (never read), old (the last fetch
            failed) or live.
        auth: how it is known who asks, and what a request may name as its Host.
    """

    draining: Callable[[], bool]
    redis_live: Callable[[], bool]
    history: Callable[[], str]
    beacon_age: Callable[[], float | None]
    connections: Callable[[], int]
    users: Callable[[], int]
    trace: Callable[[str, int], list[dict[str, Any]]]
    listening: Callable[[], bool] = lambda: True
    revocations: Callable[[], str] = lambda: "none"
    issuer_keys: Callable[[], str] = lambda: "none"
    auth: AuthConfig = field(default_factory=AuthConfig)

    def able(self) -> bool:
        """A new socket would see something: without Redis history still tells every second what there is.

        Without its issuer's keys a hub takes tokens of the API, if it has their key. It has never read them where the
        URL is wrong, and such a hub is to be seen before it takes the place of one that works.
        """
        proving = self.issuer_keys() != "unknown" or bool(self.auth.watch_keys)
        seeing = self.redis_live() or self.history() == "live"
        return seeing and proving and self.revocations() not in ("unknown", "refused")

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /readyz: 503 while draining, or when a new socket would see nothing."""
        live, history, age = self.redis_live(), self.history(), self.beacon_age()
        ready = self.able() and self.listening() and not self.draining()
        return 200 if ready else 503, {
            "status": "draining" if self.draining() else "ready" if ready else "not_ready",
            "degraded": [
                *([] if live else ["redis"]),
                *(["history"] if history == "away" else []),
                *(["issuer_keys"] if self.issuer_keys() in ("unknown", "old") else []),
                *(["revocations"] if self.revocations() in ("unknown", "refused", "old") else []),
            ],
            "redis": "live" if live else "away",
            "history": history,
            "beacon_age_s": None if age is None else round(age, 3),
        }


@asynccontextmanager
async def served(state: State, registry: CollectorRegistry, host: str, port: int) -> AsyncIterator[int]:
    """The admin port, open while the context is; gives the port it got.

    Raises:
        OSError: the address cannot be had.
    """

    @web.middleware
    async def judged(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts, named = state.auth.hosts, request.headers.getall("Host", [])
        if request.path not in ("/healthz", "/readyz") and not hosts.allow(named):
            return web.json_response({"code": "host_forbidden", "field": "Host"}, status=403)
        return await handler(request)

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "auth": state.auth.mode})

    app = web.Application(middlewares=[judged])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", make_aiohttp_handler(registry))

    async def readyz(_: web.Request) -> web.Response:
        status, body = state.readiness()
        return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})

    async def stats(_: web.Request) -> web.Response:
        return web.json_response({"connections": state.connections(), "users": state.users()})

    async def trace(request: web.Request) -> web.Response:
        username, number = request.query.get("username", ""), request.query.get("id", "")
        if not USERNAME.fullmatch(username) or not re.fullmatch(r"[1-9][0-9]{0,15}", number, re.ASCII):
            return web.json_response({"detail": "/trace?username=NAME&id=N"}, status=400)
        return web.json_response({"username": username, "id": int(number), "seen": state.trace(username, int(number))})

    app.router.add_get("/readyz", readyz)
    app.router.add_get("/trace", trace)
    app.router.add_get("/stats", stats)
    runner = web.AppRunner(app, keepalive_timeout=_KEEPALIVE, lingering_time=1, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
