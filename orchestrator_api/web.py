"""What every HTTP answer has in common: problems, CORS, bounds on a request, the access log, metrics."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from orchestrator_api.errors import BadRequest, Problem, Unavailable
from orchestrator_api.events import RULES
from orchestrator_api.metrics import Metrics

log = structlog.get_logger("orchestrator_api")

BODY_BYTES = 4 * 2**20  # a batch
BODY_S = 10.0  # seconds for a body to arrive; a peer that stops half-way holds nothing longer
IDLE_S = 10.0  # seconds until a connection that says nothing, or half a head, is closed; a proxy's must be shorter
LOOPBACK = re.compile(r"https?://(localhost|127(?:\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE | re.ASCII)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# The seed's hook parses any body as JSON and would empty its timeline, so an error of the poll is plain text to whoever
# did not ask for JSON by name.
POLL = re.compile(r"(/api/v1)?/runs/[^/]+/events")


def problem_response(problem: Problem, *, plain: bool = False) -> web.Response:
    """Returns the answer for a problem. plain: one line of text."""
    headers = {"Retry-After": str(problem.retry_after)} if isinstance(problem, Unavailable) else {}
    if "allow" in problem.extra:
        headers["Allow"] = problem.extra["allow"]
    if plain:
        return web.Response(status=problem.status, text=problem.detail + "\n", headers=headers)
    return web.Response(
        status=problem.status,
        body=orjson.dumps(problem.body(), option=orjson.OPT_APPEND_NEWLINE),
        content_type="application/problem+json",
        headers=headers,
    )


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Returns an answer with a JSON body. value: what orjson writes, or bytes that are JSON already."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


async def read_body(request: web.Request) -> bytes:
    """Returns the request's body. Raises Problem when it is too large (413) or stops half-way (408)."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequest("Content-Encoding", "bodies are taken uncompressed", status=415)
    if (request.content_length or 0) > BODY_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise Problem(408, "body_timeout", f"the body did not arrive within {BODY_S:.0f} s", field="body") from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None


def _too_large() -> Problem:
    return BadRequest("body", f"must not exceed {BODY_BYTES} bytes", status=413, code="too_big")


def path_name(request: web.Request, name: str, pattern: re.Pattern[str]) -> str:
    """Returns a part of the path. Raises BadRequest (400) when it is not of that pattern."""
    return of_pattern(pattern, request.match_info[name], name)


def query_one(request: web.Request, name: str) -> str | None:
    """Returns a parameter of the query, or None. Raises BadRequest (400) when it is given twice."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise BadRequest(name, "must be given once", status=400)
    return values[0] if values else None


def query_name(request: web.Request, name: str, pattern: re.Pattern[str]) -> str | None:
    """Returns a parameter of the query, or None. Raises BadRequest (400) when it is not of that pattern."""
    value = query_one(request, name)
    return None if value is None else of_pattern(pattern, value, name)


def query_count(request: web.Request, name: str, default: int, most: int) -> int:
    """Returns a parameter of the query, from 1 to `most`. Raises BadRequest (400)."""
    value = query_one(request, name)
    if value is None:
        return default
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value) or int(value) > most:
        raise BadRequest(name, f"must be a number from 1 to {most}", status=400)
    return int(value)


def of_pattern(pattern: re.Pattern[str], value: str, name: str) -> str:
    """Returns value when it is of that pattern. Raises BadRequest (400)."""
    if not pattern.fullmatch(value):
        hint = "; in a query a '+' means a space, write %2B for a plus" if " " in value else ""
        raise BadRequest(name, RULES[pattern] + hint, status=400)
    return value


class Origins:
    """Which web origins may call. allowed: exact ones; None: any loopback origin."""

    def __init__(self, allowed: tuple[str, ...] | None) -> None:
        self._allowed = allowed

    def allows(self, origin: str) -> bool:
        """True when a page of this origin may call."""
        return bool(LOOPBACK.fullmatch(origin)) if self._allowed is None else origin in self._allowed

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Adds the CORS headers to an answer before it is sent."""
        response.headers["Vary"] = "Origin"
        response.headers["Server"] = "runfeed"  # not which versions to attack
        origin = request.headers.get("Origin")
        if origin is not None and self.allows(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "ETag, Retry-After"

    def preflight(self) -> web.Response:
        """Returns the answer to any OPTIONS request."""
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
                "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match",
                "Access-Control-Max-Age": "600",
                "Allow": "GET, HEAD, POST, OPTIONS",
            },
        )


def route_of(request: web.Request) -> str:
    """Returns the template that a request matched, for logs and labels: a path would name users and runs."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


def observe(origins: Origins, metrics: Metrics) -> Any:
    """Returns the outermost middleware: every request ends here as an answer, a metric and a log line."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await _answer(request, handler, origins)
        seconds = time.perf_counter() - began
        route = route_of(request)
        method = request.method if request.method in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        metrics.requested(method, route, response.status, seconds)
        log.info(
            "orchestrator.request", method=method, route=route, status=response.status, ms=round(1000 * seconds, 1)
        )
        return response

    return middleware


async def _answer(request: web.Request, handler: Handler, origins: Origins) -> web.StreamResponse:
    try:
        if request.method == "OPTIONS":
            return origins.preflight()
        origin = request.headers.get("Origin")
        if request.method == "POST" and origin is not None and not origins.allows(origin):
            raise Problem(
                403, "origin_forbidden", "pages of this origin may not write: see ALLOWED_ORIGINS", field="Origin"
            )
        return await handler(request)
    except Problem as problem:
        response = problem_response(problem, plain=_wants_plain(request, problem.status))
        if problem.status == 408:
            response.force_close()
        return response
    except web.HTTPException as error:
        return problem_response(_as_problem(error))
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception:  # whatever it is, the caller gets no stack trace and the operator does
        log.exception("orchestrator.unhandled", route=route_of(request))
        return problem_response(
            Problem(500, "internal", "something broke on our side"), plain=_wants_plain(request, 500)
        )


async def expect(request: web.Request) -> web.StreamResponse | None:
    """Answers `Expect` before the body is read: goes on for 100-continue, 417 for the rest."""
    if request.headers["Expect"].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
        return None
    return problem_response(Problem(417, "expectation_unknown", "only 100-continue is known", field="Expect"))


class Connection(web.RequestHandler):
    """One connection. What is no HTTP is answered like everything else, and neither sent back nor logged."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Returns the answer to what never became a request (4xx), or to a fault outside of `observe` (5xx)."""
        if status >= 500:
            log.error("orchestrator.unhandled", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        problem = Problem(500, "internal", "something broke on our side")
        if isinstance(exc, LineTooLong):
            problem = Problem(431, "too_big", "the request line or a header is too long", field="head")
        elif status < 500:
            problem = Problem(400, "malformed", "this is not a well-formed HTTP/1.1 request", field="head")
        response = problem_response(problem)
        response.headers["Server"] = "runfeed"
        response.force_close()
        return response


def _wants_plain(request: web.Request, status: int) -> bool:
    if (status < 500 and status != 429) or "json" in request.headers.get("Accept", ""):
        return False
    return request.method in ("GET", "HEAD") and POLL.fullmatch(request.path) is not None


def _as_problem(error: web.HTTPException) -> Problem:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted(error.allowed_methods | {"OPTIONS"}))
        return Problem(405, "method_not_allowed", f"this path takes {allow}", field="method", allow=allow)
    if error.status == 404:
        return Problem(404, "path_unknown", "there is nothing at this path", field="path")
    return Problem(error.status, "http", error.reason)
