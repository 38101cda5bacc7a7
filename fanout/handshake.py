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
from urllib.parse import unquote

import orjson
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.typing import ExtensionParameter, Origin, StatusLike, Subprotocol

from .admission import Admission, admit, cursor, split_target, values_of
from .auth_config import AuthConfig
from .credentials import run_unknown
from .deflate import WINDOW_BITS
from .errors import Refusal
from .wire import CONTROL_PROTOCOL, RUN_ID, SSE, SSE_NAMED

MAX_INBOUND: Final = 16 << 10  # bytes of one message from a client; the library closes 1009 beyond
_LOOPBACK: Final = re.compile(r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
_ALLOW: Final = "GET, HEAD, OPTIONS"
# What a client that offered runfeed.v1 is closed with instead of a status; a browser shows its page no status.
CLOSE_CODES: Final = {400: 4400, 401: 4401, 403: 4403, 404: 4404, 410: 4409, 429: 1013, 503: 1013}
TOO_MANY_MESSAGES: Final = "too_many_messages"  # the one refusal of a limit that comes late: 1008, whatever it offered
_RUN_PATHS: Final = (("/ws/runs/", False), ("/sse/runs/", False), ("/api/v1/events/", True))
# Behind these the library repeats what it was sent, all of it: that may hold a token, and be as long as one likes.
_REPEATED: Final = re.compile(r"(?:: | in ).*", re.DOTALL)
_SHARED: Final = ("Access-Control-Allow-Origin", "Vary", "Access-Control-Expose-Headers")
_EXPOSED: Final = "Retry-After, WWW-Authenticate"
# The library logs each connection at INFO; ours is one line a socket's life.
_LOGGER: Final = logging.getLogger("websockets.server")
_LOGGER.setLevel(logging.WARNING)


Fields = tuple[tuple[str, str], ...]
Allowed = Origin | re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided about requests.

    Fields:
        origins: whose pages may, see `origins`.
        auth: how it is known who asks, and what a request may name as its Host.
        deflate: clients may negotiate permessage-deflate.
    """

    origins: Sequence[Allowed]
    auth: AuthConfig
    deflate: bool = False


def origins(allowed: Sequence[str] | None) -> list[Allowed]:
    """What the library compares an Origin with. No Origin (None) is no page of anybody's: always fine."""
    if allowed is None:
        return [None, _LOOPBACK]
    return [None, *map(Origin, allowed)]


def may_watch(origin: str, allowed: Sequence[Allowed]) -> bool:
    """Whether pages of `origin` may open sockets; the library's comparison."""
    return any(origin == each or (isinstance(each, re.Pattern) and each.fullmatch(origin)) for each in allowed)


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
        rules: None: nothing is judged by it any more.
        state: OPEN for a socket that was answered without it (see `usual`).

    Attributes:
        nameless: the peer has not said who it is.
    """

    nameless = False

    def __init__(self, rules: Rules | None, state: State = State.CONNECTING) -> None:
        extensions = DEFLATE if rules is not None and rules.deflate else None
        allowed = None if rules is None else rules.origins
        super().__init__(origins=allowed, extensions=extensions, state=state, max_size=MAX_INBOUND, logger=_LOGGER)

    def reject(self, status: StatusLike, text: str) -> Response:
        """Every refusal of the library's passes here: 400, 403, 405, 414, 426, 431, 505."""
        if status == http.HTTPStatus.FORBIDDEN:
            return problem(foreign_page())
        detail = " ".join(text.split()).removeprefix("Failed to open a WebSocket connection: ")
        return problem(Refusal(int(status), _REPEATED.sub("", detail)))

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        """Ours when it is offered. The library's own choice refuses clients that offer none."""
        ours = Subprotocol(CONTROL_PROTOCOL)
        return ours if ours in subprotocols else None

    def fail(self, code: int, reason: str = "") -> None:
        """The library's end of a connection. What is too big from somebody without a name is no token."""
        if self.nameless and code == CloseCode.MESSAGE_TOO_BIG:
            code, reason = CLOSE_CODES[401], "token_invalid"
        super().fail(code, reason)

    def release(self) -> None:
        """Break the circles: the parser's generator holds its protocol, and so do the tracebacks of its errors.

        Whoever has come and gone is then freed at once, and not at the next full collection.
        """
        self.parser.close()
        self.parser_exc = self.handshake_exc = None

    @property
    def idle(self) -> bool:
        """It is open, and knows nothing that one made anew would not know: no part of a frame or of a message."""
        inner: Any = self.parser
        while inner.gi_yieldfrom is not None:
            inner = inner.gi_yieldfrom
        between = inner.gi_code is StreamReader.at_eof.__code__  # the library waits there for a frame to begin
        return between and self.state is State.OPEN and self.current_size is None and not self.extensions

    def refused_because(self) -> str:
        """Why the parser gave no request and no answer: a body, a transfer coding, another protocol's bytes."""
        cause = self.handshake_exc.__cause__ if self.handshake_exc else None
        known = isinstance(cause, (ValueError, NotImplementedError))
        return _REPEATED.sub("", str(cause)) if known else "this is no HTTP/1.1 request"


def foreign_page() -> Refusal:
    """A page of an origin that is not allowed."""
    return Refusal(403, "this origin may not watch", "Origin")


def preflight(protocol: Handshake, request: Request) -> Response:
    """What a browser asks before a page may send a header of its own: 204, and the origin's name if it is allowed."""
    fields = Headers([("Date", email.utils.formatdate(usegmt=True)), ("Connection", "close"), ("Allow", _ALLOW)])
    if shared := _shared(protocol, request):
        fields.update(shared)
        fields["Access-Control-Allow-Methods"] = _ALLOW
        fields["Access-Control-Allow-Headers"] = "Authorization, Last-Event-ID"
        fields["Access-Control-Max-Age"] = "600"
    return Response(204, "No Content", fields)


def _shared(protocol: Handshake, request: Request) -> Fields:
    """What lets a page of another origin read the answer; nothing for a page that may not, and for no page."""
    try:
        origin = protocol.process_origin(request.headers)
    except InvalidHandshake:
        return ()
    return () if origin is None else tuple(zip(_SHARED, (origin, "Origin", _EXPOSED), strict=True))


def shared_by(response: Response) -> Fields:
    """The same of an answer that is not given after all."""
    return tuple((name, response.headers[name]) for name in _SHARED if name in response.headers)


def respond(protocol: Handshake, request: Request, rules: Rules) -> tuple[Response, Admission | None]:
    """The answer to `request`, with the admission when it is a socket's or a stream's.

    Raises:
        Refusal: there is nothing here for this request.
    """
    path, query = split_target(request.path)
    try:
        return _found(protocol, request, rules, path, query)
    except Refusal as refusal:
        if not path.startswith("/ws"):  # of a socket's refusal no page is shown anything
            refusal.headers += _shared(protocol, request)
        raise


def _found(
    protocol: Handshake, request: Request, rules: Rules, path: str, query: str
) -> tuple[Response, Admission | None]:
    # Whoever asks for our health may be a load balancer that names a machine.
    if path != "/healthz" and not rules.auth.hosts.allow(request.headers.get_all("Host")):
        raise Refusal(403, "this Host is not ours: ALLOWED_HOSTS names the public ones", "Host", code="host_forbidden")
    if request.method == "OPTIONS":
        return preflight(protocol, request), None
    if path == "/healthz":
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "GET or HEAD only", headers=(("Allow", _ALLOW),))
        return plain(200, orjson.dumps({"status": "ok", "auth": rules.auth.mode}), "application/json"), None
    if path in ("/ws", "/sse"):
        place, run_id, named = path, None, False
    else:
        place, run_id, named = _run_path(path)
    if place.startswith("/ws"):
        response = protocol.accept(request)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return response, None
        admission = admit(query, run_id, not rules.auth.insecure)
        controls, deflate = protocol.subprotocol is not None, bool(protocol.extensions)
        return response, replace(admission, path=place, controls=controls, deflate=deflate)
    stream = _stream(protocol, request)
    return stream, _stream_admission(request, replace(admit(query, run_id, not rules.auth.insecure), path=place), named)


def _run_path(path: str) -> tuple[str, str, bool]:
    for prefix, named in _RUN_PATHS:
        if path.startswith(prefix):
            run_id = unquote(path[len(prefix) :])
            if not RUN_ID.fullmatch(run_id):
                raise run_unknown()
            return prefix.rstrip("/"), run_id, named
    raise Refusal(404, "there is /ws?username=NAME, /sse?username=NAME, /ws/runs/ID, /sse/runs/ID and /healthz here")


def _stream(protocol: Handshake, request: Request) -> Response:
    """The head of an SSE answer; the library's own answers end the connection, this one goes on."""
    if request.method != "GET":
        raise Refusal(405, "GET only", headers=(("Allow", "GET, OPTIONS"),))
    try:
        protocol.process_origin(request.headers)
    except InvalidHandshake as exc:
        raise foreign_page() from exc
    fields = Headers(
        [
            ("Date", email.utils.formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("Cache-Control", "no-store, no-transform"),
            ("X-Accel-Buffering", "no"),
            *_shared(protocol, request),
        ]
    )
    return Response(200, "OK", fields)


def _stream_admission(request: Request, admission: Admission, named: bool) -> Admission:
    given = [value for value in request.headers.get_all("Last-Event-ID") if value]
    resumed = cursor(given, "Last-Event-ID")
    encoding = SSE_NAMED if named or values_of(request.path).get("named") == ["1"] else SSE
    if resumed is None:
        return replace(admission, encoding=encoding)
    return replace(admission, encoding=encoding, after=resumed, resumed=True)


def upgraded(head: bytes) -> tuple[Handshake, Response] | None:
    """The 101 for a client that offers runfeed.v1 and is to be refused by a close; None: it gets a status.

    A page of a foreign origin is answered as well: that it may not is all that it learns.
    """
    if CONTROL_PROTOCOL.encode() not in head:
        return None
    protocol = Handshake(None)
    protocol.receive_data(head)
    for request in protocol.events_received():
        if isinstance(request, Request) and request.path.startswith("/ws"):
            response = protocol.accept(request)
            if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS and protocol.subprotocol is not None:
                return protocol, response
    protocol.release()
    return None
