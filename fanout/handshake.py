"""From a request's head to an admission or a refusal. No I/O.

A refusal is a status with problem+json (RFC 9457) before the upgrade: it names the field and the rule.
"""

from __future__ import annotations

import email.utils
import http
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import ExtensionParameter, Origin, StatusLike, Subprotocol

from .deflate import WINDOW_BITS
from .errors import Refusal
from .wire import DEFLATED, RUN_ID, SSE, SSE_NAMED, TEXT, USERNAME

MAX_INBOUND: Final = 16 << 10  # bytes of one message from a client; the library closes 1009 beyond
MAX_RUNS: Final = 128  # run_id filters of one socket
CONTROL_PROTOCOL: Final = Subprotocol("runfeed.v1")
CURSOR: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_LOOPBACK: Final = re.compile(r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
_ALLOW: Final = "GET, HEAD, OPTIONS"
# What a client that offered runfeed.v1 is closed with instead of a status; a browser shows its page no status.
CLOSE_CODES: Final = {400: 4400, 401: 4401, 403: 4403, 404: 4404, 410: 4409, 429: 1013, 503: 1013}
_RUN_PATHS: Final = (("/ws/runs/", False), ("/sse/runs/", False), ("/api/v1/events/", True))
_MAX_PARAMETERS: Final = 256  # far above what /ws knows; bounds the work for one request line
# The library logs each connection at INFO; ours is one line a socket's life.
_LOGGER: Final = logging.getLogger("websockets.server")
_LOGGER.setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Admission:
    """What a socket may see: the events of `username`, in `runs` only unless that is None.

    Fields:
        username: whose events; "" on a run's path: its owner's.
        after, epoch: the cursor that the client brought.
        run_id: the run whose path this is; its owner must be looked up.
        path: for the log, without any name.
        encoding: wire.TEXT for a WebSocket, else an SSE.
        controls: the client offered runfeed.v1.
        resumed: the cursor is a Last-Event-ID: an EventSource's own, which no other status than 200 can tell anything.
        deflate: permessage-deflate was negotiated.
    """

    username: str
    runs: frozenset[str] | None
    after: int | None = None
    epoch: str | None = None
    run_id: str | None = None
    path: str = "/ws"
    encoding: int = TEXT
    controls: bool = False
    resumed: bool = False
    deflate: bool = False

    @property
    def written_as(self) -> int:
        """The encoding of the events: of a WebSocket's they may be compressed, what the hub itself says is not."""
        return DEFLATED if self.deflate else self.encoding


Allowed = Origin | re.Pattern[str] | None


def origins(allowed: Sequence[str] | None) -> list[Allowed]:
    """What the library compares an Origin with. No Origin (None) is no page of anybody's: always fine."""
    if allowed is None:
        return [None, _LOOPBACK]
    return [None, *map(Origin, allowed)]


def may_watch(origin: str, allowed: Sequence[Allowed]) -> bool:
    """Whether pages of `origin` may open sockets; the library's comparison."""
    return any(origin == each or (isinstance(each, re.Pattern) and each.fullmatch(origin)) for each in allowed)


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


def admit(query: str, run_id: str | None = None) -> Admission:
    """What a query asks for; `run_id`: on the path of that run.

    Raises:
        Refusal: 400 for a broken rule.
    """
    values = _values(query)
    after = _cursor(values.get("after", []), "after")
    epochs = values.get("epoch", [])
    if len(epochs) > 1:
        raise Refusal(400, "epoch must be given once", "epoch")
    epoch = epochs[0] if epochs else None
    if run_id is None:
        return Admission(_username(values.get("username", [])), _runs(values.get("run_id", [])), after, epoch)
    username = _username(values["username"]) if "username" in values else ""
    return Admission(username, frozenset((run_id,)), after or 0, epoch, run_id)


def _values(query: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError as exc:  # UnicodeDecodeError among them
        raise Refusal(400, f"the query must be form-encoded UTF-8 with at most {_MAX_PARAMETERS} parameters") from exc
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


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


def _cursor(given: list[str], field: str) -> int | None:
    if len(given) > 1 or not all(map(CURSOR.fullmatch, given)):
        raise Refusal(400, f"{field} must be given once and match ^({CURSOR.pattern})$", field)
    return int(given[0]) if given else None


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
    body |= refusal.more
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


class _Deflate(ServerPerMessageDeflateFactory):
    """permessage-deflate as all sockets have it: no context takeover either way, the one window.

    No window is kept for a socket between two messages. The library inflates what clients send, MAX_INBOUND at most.
    """

    def __init__(self) -> None:
        super().__init__(
            server_no_context_takeover=True,
            client_no_context_takeover=True,
            server_max_window_bits=WINDOW_BITS,
            client_max_window_bits=WINDOW_BITS,
            compress_settings={},
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """The answer to one offer.

        Raises:
            NegotiationError: the offer is declined. One with a smaller window would need bytes of its own.
        """
        answer, extension = super().process_request_params(params, accepted_extensions)
        if extension.local_max_window_bits < WINDOW_BITS:
            raise NegotiationError(f"a window of less than {WINDOW_BITS} bits is not offered")
        return answer, extension


DEFLATE: Final = (_Deflate(),)


class Handshake(ServerProtocol):
    """The library's protocol of one socket, with our refusals and limits.

    Args:
        allowed: see `origins`.
        deflate: clients may negotiate permessage-deflate.
        state: OPEN for a socket that was answered without it (see `usual`).
    """

    def __init__(self, allowed: list[Allowed] | None, deflate: bool = False, state: State = State.CONNECTING) -> None:
        extensions = DEFLATE if deflate else None
        super().__init__(origins=allowed, extensions=extensions, state=state, max_size=MAX_INBOUND, logger=_LOGGER)

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
    """The answer to `request`, with the admission when it is a socket's or a stream's.

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
    if path in ("/ws", "/sse"):
        place, run_id, named = path, None, False
    else:
        place, run_id, named = _run_path(path)
    if place.startswith("/ws"):
        response = protocol.accept(request)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return response, None
        admission = admit(query, run_id)
        controls, deflate = protocol.subprotocol is not None, bool(protocol.extensions)
        return response, replace(admission, path=place, controls=controls, deflate=deflate)
    return _stream(protocol, request, named), _stream_admission(request, query, run_id, place, named)


def _run_path(path: str) -> tuple[str, str, bool]:
    for prefix, named in _RUN_PATHS:
        if path.startswith(prefix):
            run_id = unquote(path[len(prefix) :])
            if not RUN_ID.fullmatch(run_id):
                raise run_unknown()
            return prefix.rstrip("/"), run_id, named
    raise Refusal(404, "there is /ws?username=NAME, /sse?username=NAME, /ws/runs/ID, /sse/runs/ID and /healthz here")


def run_unknown() -> Refusal:
    """One and the same for a run that is not there and one that is another's."""
    return Refusal(404, "there is no such run of this user", "run_id", code="run_unknown")


def owned(admission: Admission, username: str) -> Admission:
    """The admission to a run's path, its owner found."""
    return replace(admission, username=username)


def _stream(protocol: Handshake, request: Request, named: bool) -> Response:
    """The head of an SSE answer; the library's own answers end the connection, this one goes on."""
    if request.method != "GET":
        raise Refusal(405, "GET only", headers=(("Allow", "GET, OPTIONS"),))
    try:
        origin = protocol.process_origin(request.headers)
    except InvalidHandshake as exc:
        raise Refusal(403, "this origin may not watch", "Origin") from exc
    fields = Headers(
        [
            ("Date", email.utils.formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("Cache-Control", "no-store, no-transform"),
            ("X-Accel-Buffering", "no"),
        ]
    )
    if origin is not None:
        fields["Access-Control-Allow-Origin"] = origin
        fields["Vary"] = "Origin"
    return Response(200, "OK", fields)


def _stream_admission(request: Request, query: str, run_id: str | None, place: str, named: bool) -> Admission:
    admission = admit(query, run_id)
    given = [value for value in request.headers.get_all("Last-Event-ID") if value]
    resumed = _cursor(given, "Last-Event-ID")
    encoding = SSE_NAMED if named or _values(query).get("named") == ["1"] else SSE
    if resumed is None:
        return replace(admission, path=place, encoding=encoding)
    return replace(admission, path=place, encoding=encoding, after=resumed, resumed=True)


def upgraded(head: bytes) -> tuple[Handshake, Response] | None:
    """The 101 for a client that offers runfeed.v1 and is to be refused by a close; None: it gets a status.

    A page of a foreign origin is answered as well: that it may not is all that it learns.
    """
    protocol = Handshake(None)
    protocol.receive_data(head)
    for request in protocol.events_received():
        if isinstance(request, Request) and request.path.startswith("/ws"):
            response = protocol.accept(request)
            if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS and protocol.subprotocol is not None:
                return protocol, response
    protocol.release()
    return None
