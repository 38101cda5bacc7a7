"""Small servers in the services' place, which answer as they are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.integration.clients.watching.worker import DONE

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
EVENTS = [{"id": 1, "seq": 1, "run_id": "r1", "username": "a+b", "type": "a"}]
END = {"id": 2, "seq": 2, "run_id": "r1", "username": "a+b", **DONE}


class Server:
    """A service that answers as it is told. Attributes: base: its URL; asked: all requests."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.asked: list[web.Request] = []
        self.base = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        self.asked.append(request)
        return await self.answer(request)

    def paths(self) -> list[str]:
        """What was asked for, as it was written."""
        return [request.raw_path for request in self.asked]


Serve = Callable[[Answering], Awaitable[Server]]


def history(*events: dict[str, Any], status: str = "running") -> web.Response:
    """A run's history."""
    last = events[-1]["id"] if events else 0
    body = {"run_id": "r1", "status": status, "last_seq": last, "head": last, "epoch": "E", "events": list(events)}
    return web.json_response(body)
