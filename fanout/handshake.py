"""From a request's head to an admission or a refusal. No I/O.

A refusal is a status with problem+json (RFC 9457) before the upgrade: it names the field and the rule.
"""

from __future__ import annotations

import email.utils
import http
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Origin, StatusLike, Subprotocol

from .errors import Refusal
from .wire import RUN_ID, USERNAME

MAX_INBOUND: Final = 16 << 10  # bytes of one message from a client; the library closes 1009 beyond
MAX_RUNS: Final = 128  # run_id filters of one socket
CONTROL_PROTOCOL: Final = Subprotocol("runfeed.v1")
CURSOR: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_LOOPBACK: Final = re.compile(r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
_ALLOW: Final = "GET, HEAD, OPTIONS"
_MAX_PARAMETERS: Final = 256  # far above what /ws knows; bounds the work for one request line
# The library logs each connection at INFO; ours is one line a socket's life.
_LOGGER: Final = logging.getLogger("websockets.server")
_LOGGER.setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Admission:
    """What a socket may see: the events of `username`, in `runs` only unless that is None."""

    username: str
    runs: frozenset[str] | None


def origins(allowed: Sequence[str] | None) -> list[Origin | re.Pattern[str] | None]:
    """What the library compares an Origin with. No Origin (None) is no page of anybody's: always fine."""
    if allowed is None:
        return [None, _LOOPBACK]
    return [None, *map(Origin, allowed)]


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target; the absolute form (RFC 9112, 3.2.2) is the same as the origin form.

    Raises:
        Refusal: 400, the target is no URL.
    """
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query
    try:
        parts = urlsplit(target)
    except ValueError as exc:
        raise Refusal(400, "the request target is not a URL") from exc
    return parts.path, parts.query


def admit(query: str) -> Admission:
    """What the query of `/ws` asks for.

    Raises:
        Refusal: 400 for a broken rule, 503 for a cursor: there is no history yet to resume from.
    """
    values: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError as exc:  # UnicodeDecodeError among them
        raise Refusal(400, f"the query must be form-encoded UTF-8 with at most {_MAX_PARAMETERS} parameters") from exc
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    username = _username(values.get("username", []))
    runs = _runs(values.get("run_id", []))
    _no_cursor(values.get("after", []), values.get("epoch", []))
    return Admission(username, runs)


def _username(given: list[str]) -> str:
    if len(given) != 1:
        problem = "is required" if not given else "must be given once"
        raise Refusal(400, f"username {problem}: /ws?username=NAME", "username")
    if USERNAME.fullmatch(given[0]):
        return given[0]
    rule = f"username must match ^{USERNAME.pattern}$"
    if " " in given[0]:
        rule += "; in a query '+' is a space, write %2B for a plus"
    raise Refusal(400, rule, "username")


def _runs(given: list[str]) -> frozenset[str] | None:
    if len(given) > MAX_RUNS:
        raise Refusal(400, f"run_id may be given at most {MAX_RUNS} times", "run_id")
    if not all(map(RUN_ID.fullmatch, given)):
        raise Refusal(400, f"run_id must match ^{RUN_ID.pattern}$", "run_id")
    return frozenset(given) if given else None


def _no_cursor(after: list[str], epoch: list[str]) -> None:
    if len(after) > 1 or not all(map(CURSOR.fullmatch, after)):
        raise Refusal(400, f"after must be given once and match ^({CURSOR.pattern})$", "after")
    if after or epoch:
        field = "after" if after else "epoch"
        detail = f"no history yet: this hub cannot resume, open the socket without {field}"
        raise Refusal(503, detail, field, code="no_history")


def problem(refusal: Refusal) -> Response:
    """The response of a refusal, its body problem+json; the connection ends with it."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
    }
    if refusal.field is not None:
        body["field"] = refusal.field
    return plain(refusal.status, orjson.dumps(body), "application/problem+json", refusal.headers)


def plain(status: int, body: bytes, content_type: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """A response with a body of known length; the connection ends with it."""
    fields = Headers(
        [
            ("Date", email.utils.formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            *headers,
        ]
    )
    return Response(status, http.HTTPStatus(status).phrase, fields, body)


class Handshake(ServerProtocol):
    """The library's protocol of one socket, with our refusals and limits."""

    def __init__(self, allowed: list[Origin | re.Pattern[str] | None]) -> None:
        super().__init__(origins=allowed, max_size=MAX_INBOUND, logger=_LOGGER)

    def reject(self, status: StatusLike, text: str) -> Response:
        """Every refusal of the library's passes here: 400, 403, 405, 414, 426, 431, 505."""
        detail = " ".join(text.split()).removeprefix("Failed to open a WebSocket connection: ")
        return problem(Refusal(int(status), detail, "Origin" if status == http.HTTPStatus.FORBIDDEN else None))

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        """Ours when it is offered. The library's own choice refuses clients that offer none."""
        return CONTROL_PROTOCOL if CONTROL_PROTOCOL in subprotocols else None

    def release(self) -> None:
        """Break the circles: the parser's generator holds its protocol, and so do the tracebacks of its errors.

        Whoever has come and gone is then freed at once, and not at the next full collection.
        """
        self.parser.close()
        self.parser_exc = self.handshake_exc = None

    def refused_because(self) -> str:
        """Why the parser gave no request and no answer: a body, a transfer coding, another protocol's bytes."""
        cause = self.handshake_exc.__cause__ if self.handshake_exc else None
        return str(cause) if isinstance(cause, (ValueError, NotImplementedError)) else "this is no HTTP/1.1 request"


def preflight(protocol: Handshake, request: Request) -> Response:
    """What a browser asks before a page may send a header of its own: 204, and the origin's name if it is allowed."""
    fields = Headers([("Date", email.utils.formatdate(usegmt=True)), ("Connection", "close"), ("Allow", _ALLOW)])
    try:
        origin = protocol.process_origin(request.headers)
    except InvalidHandshake:
        origin = None
    if origin is not None:
        fields["Access-Control-Allow-Origin"] = origin
        fields["Access-Control-Allow-Methods"] = _ALLOW
        fields["Access-Control-Allow-Headers"] = "Last-Event-ID"
        fields["Access-Control-Max-Age"] = "600"
        fields["Vary"] = "Origin"
    return Response(204, "No Content", fields)


def respond(protocol: Handshake, request: Request) -> tuple[Response, Admission | None]:
    """The answer to `request`, with the admission when it is 101.

    Raises:
        Refusal: there is nothing here for this request.
    """
    if request.method == "OPTIONS":
        return preflight(protocol, request), None
    path, query = split_target(request.path)
    if path == "/healthz":
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "GET or HEAD only", headers=(("Allow", _ALLOW),))
        return plain(200, b'{"status":"ok"}', "application/json"), None
    if path != "/ws":
        raise Refusal(404, "there is /ws?username=NAME and /healthz here")
    response = protocol.accept(request)
    if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
        return response, None
    return response, admit(query)
