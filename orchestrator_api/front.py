"""What stands between aiohttp's connections and the calls: the way to a handler, problems, CORS, metrics, the log.

It takes the place of `web.Application`: its router, middlewares and header objects cost more CPU than a poll's answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from orchestrator_api.caller import Rule
from orchestrator_api.errors import Forbidden, Problem
from orchestrator_api.guard import Guard
from orchestrator_api.logs import RequestLog
from orchestrator_api.metrics import Metrics
from orchestrator_api.peers import Hosts
from orchestrator_api.web import BODY_BYTES, Answer, Origins, Request, expect, problem_response

log = structlog.get_logger("orchestrator_api")

Handler = Callable[[Request], Awaitable[Answer | web.StreamResponse]]
Call = tuple[str, str, Rule, Handler]  # method, path with at most one {name} in it, who may, what answers

METHODS = ("GET", "HEAD", "POST", "OPTIONS")

# The seed's hook parses any body as JSON and would empty its timeline, so an error of the poll is plain text to whoever
# did not ask for JSON by name.
POLL = "/runs/{run_id}/events"

# What each hub asks every second or so, watched or not, and the metric counts: a line each would bury all others.
ROUTINE = {("/api/v1/revocations", "GET", 200), ("/api/v1/feeds/heads", "POST", 200)}

ANY_HOST = ("/healthz", "/readyz")  # probes come by whatever address their program has for us, and tell nothing
HOSTS = 256  # hosts that were allowed and are not judged again


@dataclass(slots=True)
class Route:
    """A path, of which one part may be a name. template: with that part as `{what}`; handlers: by method."""

    template: str
    before: str
    after: str
    handlers: dict[str, tuple[Rule, Handler]]

    @property
    def allow(self) -> str:
        """Returns the methods that it takes, for people and for the header."""
        return ", ".join(sorted({*self.handlers, "OPTIONS"} | ({"HEAD"} if "GET" in self.handlers else set())))


UNMATCHED = Route("unmatched", "", "", {})


class Routes:
    """Finds the route of a path."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._fixed: dict[str, Route] = {}
        self._named: dict[str, Route] = {}
        for method, template, rule, handler in calls:
            before, brace, rest = template.partition("{")
            known = self._named if brace else self._fixed
            route = known.setdefault(template, Route(template, before, rest.partition("}")[2], {}))
            route.handlers[method] = rule, handler

    def find(self, path: str) -> tuple[Route, str]:
        """Returns the route of a path as it was sent, and the name in it. UNMATCHED when there is none."""
        if route := self._fixed.get(path):
            return route, ""
        for route in self._named.values():
            if path.startswith(route.before) and path.endswith(route.after):
                name = path[len(route.before) : len(path) - len(route.after)]
                if name and "/" not in name:
                    return route, unquote(name) if "%" in name else name
        return UNMATCHED, ""


class Front:
    """Every request ends here as an answer, a metric and a log line.

    guard: who finds out who calls; None: nobody does. metrics None: neither of the latter two, for the admin port.
    """

    def __init__(
        self,
        calls: Iterable[Call],
        origins: Origins,
        hosts: Hosts,
        guard: Guard | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._routes = Routes(calls)
        self._origins = origins
        self._hosts = hosts
        self._hosts_allowed: set[str | None] = set()
        self._guard = guard
        self._metrics = metrics
        self._log = RequestLog("orchestrator.request")
        self._loop = asyncio.get_running_loop()  # up to Python 3.11 each such look is a system call (getpid)

    def request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Request:
        """Makes the request of a parsed head: aiohttp's request_factory."""
        return Request(message, payload, protocol, writer, task, self._loop, client_max_size=BODY_BYTES)

    async def handle(self, request: Request) -> Any:
        """Answers a request: aiohttp's handler."""
        began = time.perf_counter()
        route, request.name = self._routes.find(request.rel_url.raw_path)
        try:
            answer = await self._answer(request, route)
        except Problem as problem:
            answer = problem_response(problem, plain=_wants_plain(request, route, problem.status))
            if problem.status == 408:
                answer.force_close()
            if self._metrics is not None:
                self._metrics.refused(problem.code)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:  # whatever it is, the caller gets no stack trace and the operator does
            log.exception("orchestrator.unhandled", route=route.template)
            internal = Problem(500, "internal", "something broke on our side")
            answer = problem_response(internal, plain=_wants_plain(request, route, 500))
        if self._metrics is not None:
            seconds = time.perf_counter() - began
            method = request.method if request.method in METHODS else "other"
            self._metrics.requested(method, route.template, answer.status, seconds)
            level = "debug" if (route.template, method, answer.status) in ROUTINE else "info"
            self._log(method, route.template, answer.status, seconds, level)
        return answer

    async def _answer(self, request: Request, route: Route) -> Answer | web.StreamResponse:
        method, headers = request.method, request.headers
        host = headers.get("Host")
        if host not in self._hosts_allowed and route.template not in ANY_HOST:
            self._check_host(host)
        origin = headers.get("Origin")
        if origin is not None:
            request.cors = self._origins.headers(origin)
        if method == "OPTIONS":
            return self._origins.preflight(route.allow)
        call = route.handlers.get("GET" if method == "HEAD" else method)
        if call is None:
            if not route.handlers:
                raise Problem(404, "path_unknown", "there is nothing at this path", field="path")
            allow = route.allow
            raise Problem(405, "method_not_allowed", f"this path takes {allow}", field="method", allow=allow)
        if origin is not None and method == "POST" and not request.cors:
            raise Problem(
                403, "origin_forbidden", "pages of this origin may not write: see ALLOWED_ORIGINS", field="Origin"
            )
        rule, handler = call
        if self._guard is not None:
            request.caller = await self._guard.admit(request, rule)
        if "Expect" in headers and request.version >= HttpVersion11:  # RFC 9110, 10.1.1: of 1.0 it is ignored
            await expect(request)
        return await handler(request)

    def _check_host(self, host: str | None) -> None:
        """Raises Forbidden for a Host that is not ours: a page may have had its own name point here."""
        if not self._hosts.allow([] if host is None else [host]):
            raise Forbidden("Host", "is no name of this service: see ALLOWED_HOSTS", code="host_forbidden")
        if len(self._hosts_allowed) < HOSTS:
            self._hosts_allowed.add(host)


def _wants_plain(request: Request, route: Route, status: int) -> bool:
    if (status < 500 and status != 429) or "json" in request.headers.get("Accept", ""):
        return False
    return request.method in ("GET", "HEAD") and route.template.endswith(POLL)
