"""What every HTTP request and answer has in common: bytes in and out, bounds, problems, CORS."""

import asyncio
import http
import random
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import orjson
import structlog
from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import LineTooLong

from orchestrator_api.caller import ANYBODY, Caller
from orchestrator_api.crowd import Crowd
from orchestrator_api.errors import BadRequest, Problem, Unavailable
from orchestrator_api.events import RULES

log = structlog.get_logger("orchestrator_api")

BODY_BYTES = 4 * 2**20  # a batch
BODY_S = 10.0  # seconds for a body to arrive; a peer that stops half-way holds nothing longer
IDLE_S = 10.0  # seconds until a connection that says nothing, or half a head, is closed; a proxy's must be shorter
LOOPBACK = re.compile(r"https?://(localhost|127(?:\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE | re.ASCII)
PHRASES = {int(status): status.phrase for status in http.HTTPStatus}
WITHOUT_BODY = (204, 304)
COMMON = {"Server": "runfeed", "Vary": "Origin"}  # on every answer; Server: not which versions to attack
COMMON_LINES = "".join([f"{name}: {value}\r\n" for name, value in COMMON.items()])


class Request(web.BaseRequest):
    """A request. name: the part of its path that is one; cors: the headers that let its page read the answer.

    caller: who makes it, as the guard found out. Where there is no guard, that is anybody.
    """

    name = ""
    caller: Caller = ANYBODY
    cors: Mapping[str, str] = MappingProxyType({})


class Answer:
    """An answer of known bytes, written in one piece. aiohttp asks for prepare, write_eof and keep_alive, and no more.

    It is no web.Response because that builds its head out of header objects, which cost more CPU than a poll's answer.
    headers: further ones, of our own making: nothing of a request goes into them that was not checked.
    """

    __slots__ = ("_closes", "_request", "body", "content_type", "headers", "keep_alive", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.content_type = content_type
        self.headers = headers or {}
        self.keep_alive = True
        self._closes = False
        self._request: Any = None

    def force_close(self) -> None:
        """Ends the connection after this answer."""
        self._closes = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Takes the request that it answers."""
        self._request = request
        self.keep_alive = request.keep_alive and not self._closes

    async def write_eof(self) -> None:
        """Writes it all. Raises ConnectionResetError when nobody is there any more."""
        request = self._request
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection is closing")
        data = self._head(request)
        if request.method != "HEAD" and self.status not in WITHOUT_BODY:
            data += self.body
        request.writer.output_size += len(data)  # handle_error looks at it: an answer has begun
        transport.write(data)
        if transport.get_write_buffer_size():  # the next request waits until this peer has taken most of its answer
            await request.writer.drain()

    def _head(self, request: Any) -> bytes:
        text = f"HTTP/1.1 {self.status} {PHRASES[self.status]}\r\n{COMMON_LINES}Date: {rfc822_formatted_time()}\r\n"
        for name, value in self.headers.items():
            text += f"{name}: {value}\r\n"
        for name, value in request.cors.items():
            text += f"{name}: {value}\r\n"
        if self.status not in WITHOUT_BODY:
            text += f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
        if not self.keep_alive:
            text += "Connection: close\r\n"
        elif request.version < HttpVersion11:
            text += "Connection: keep-alive\r\n"
        return (text + "\r\n").encode("latin-1")


def problem_response(problem: Problem, *, plain: bool = False) -> Answer:
    """Returns the answer for a problem. plain: one line of text."""
    headers = {"Retry-After": str(problem.retry_after)} if isinstance(problem, Unavailable) else {}
    if "allow" in problem.extra:
        headers["Allow"] = problem.extra["allow"]
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if plain:
        text = (problem.detail + "\n").encode()
        return Answer(text, status=problem.status, content_type="text/plain; charset=utf-8", headers=headers)
    body = orjson.dumps(problem.body(), option=orjson.OPT_APPEND_NEWLINE)
    return Answer(body, status=problem.status, content_type="application/problem+json", headers=headers)


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Returns an answer with a JSON body. value: what orjson writes, or bytes that are JSON already."""
    return Answer(value if isinstance(value, bytes) else orjson.dumps(value), status=status, headers=headers)


async def read_body(request: Request) -> bytes:
    """Returns the request's body. Raises Problem when it is too large (413) or stops half-way (408)."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequest("Content-Encoding", "bodies are taken uncompressed", status=415)
    if (request.content_length or 0) > BODY_BYTES:
        raise _too_large()
    content = request.content
    if content.is_eof():  # it came with the head, as nearly all do: nothing to wait for, and no timer to set
        body = content.read_nowait()
        if len(body) > BODY_BYTES:
            raise _too_large()
        return body
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise Problem(408, "body_timeout", f"the body did not arrive within {BODY_S:.0f} s", field="body") from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None


def _too_large() -> Problem:
    return BadRequest("body", f"must not exceed {BODY_BYTES} bytes", status=413, code="too_big")


def path_name(request: Request, name: str, pattern: re.Pattern[str]) -> str:
    """Returns the name in the path. Raises BadRequest (400) when it is not of that pattern."""
    return of_pattern(pattern, request.name, name)


def query_one(request: Request, name: str) -> str | None:
    """Returns a parameter of the query, or None. Raises BadRequest (400) when it is given twice."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise BadRequest(name, "must be given once", status=400)
    return values[0] if values else None


def query_name(request: Request, name: str, pattern: re.Pattern[str]) -> str | None:
    """Returns a parameter of the query, or None. Raises BadRequest (400) when it is not of that pattern."""
    value = query_one(request, name)
    return None if value is None else of_pattern(pattern, value, name)


def query_count(request: Request, name: str, default: int, most: int) -> int:
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

    def headers(self, origin: str) -> dict[str, str]:
        """Returns the headers that let a page of this origin read an answer; none for one that may not."""
        if not self.allows(origin):
            return {}
        exposed = "ETag, Retry-After, WWW-Authenticate"
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": exposed}

    def preflight(self, allow: str) -> Answer:
        """Returns the answer to any OPTIONS request. allow: the methods that its path takes."""
        return Answer(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
                "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match",
                "Access-Control-Max-Age": "600",
                "Allow": allow,
            },
        )


async def expect(request: Request) -> None:
    """Answers `Expect` before the body is read: goes on for 100-continue. Raises Problem (417) for the rest."""
    if request.headers["Expect"].lower() != "100-continue":
        raise Problem(417, "expectation_unknown", "only 100-continue is known", field="Expect")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


TOO_MANY = Problem(503, "too_many_connections", "there are too many connections now; try again in a while")


def too_many() -> bytes:
    """Returns the answer to a connection that is one too many: before its request, which is not waited for."""
    body = orjson.dumps(TOO_MANY.body(), option=orjson.OPT_APPEND_NEWLINE)
    wait = random.randint(1, 3)  # noqa: S311 - spreads load
    head = f"HTTP/1.1 503 {PHRASES[503]}\r\n{COMMON_LINES}Date: {rfc822_formatted_time()}\r\nRetry-After: {wait}\r\n"
    head += f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode("latin-1") + body


class Connection(web.RequestHandler):
    """One connection. What is no HTTP is answered like everything else, and neither sent back nor logged."""

    __slots__ = ("_counted_as", "_crowd")

    def __init__(self, *args: Any, crowd: Crowd | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._crowd = crowd  # None: nobody counts
        self._counted_as: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected: they are answered, or told that they are one too many."""
        peer = transport.get_extra_info("peername")
        if self._crowd is not None and peer:  # without: it is gone already
            self._counted_as = self._crowd.enter(peer[0])
            if self._counted_as is None:
                transport = cast(asyncio.Transport, transport)
                transport.set_protocol(asyncio.Protocol())  # nothing of theirs is read
                transport.write(too_many())
                transport.close()
                return
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Its connection has ended."""
        if self._crowd is not None and self._counted_as is not None:
            self._crowd.leave(self._counted_as)
        super().connection_lost(exc)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> Any:
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
        response.force_close()
        return response
