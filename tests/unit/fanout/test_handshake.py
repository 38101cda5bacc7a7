"""fanout.handshake: from a request's head to an admission or a refusal."""

import json

import pytest
from websockets.http11 import Request, Response

from fanout.admission import Admission, admit, split_target
from fanout.auth_config import AuthConfig
from fanout.errors import Refusal
from fanout.handshake import Handshake, Rules, origins, problem, respond
from fanout.wire import DEFLATED, SSE, SSE_NAMED, TEXT

UPGRADE = (
    "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def asked(
    target: str,
    more: str = UPGRADE,
    method: str = "GET",
    allowed: tuple[str, ...] | None = None,
    deflate: bool = False,
) -> tuple[Response, Admission | None]:
    """What `respond` says to a request."""
    rules = Rules(origins(allowed), AuthConfig(), deflate)
    protocol = Handshake(rules)
    protocol.receive_data(f"{method} {target} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode())
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    return respond(protocol, request, rules)


def test_admission() -> None:
    """A good request gets 101 and an admission for what its query names."""
    response, admission = asked("/ws?username=auth0%7C5f&run_id=r2&run_id=r1&run_id=r2&cache-buster=1")

    assert response.status_code == 101
    assert admission == Admission("auth0|5f", frozenset({"r1", "r2"}))


ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", ANSWER),
        ("permessage-deflate; client_max_window_bits", f"{ANSWER}; client_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits=9", f"{ANSWER}; client_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=15; server_no_context_takeover", ANSWER),
        ("permessage-deflate; server_max_window_bits=12", ANSWER),
        ("permessage-deflate; server_max_window_bits=11", None),
        ("permessage-deflate; server_max_window_bits=9", None),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", ANSWER),
        ("permessage-deflate, permessage-deflate; client_max_window_bits", ANSWER),
        ("permessage-deflate; level=9", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("x-webkit-deflate-frame", None),
    ],
)
def test_offers_of_compression(offer: str, answer: str | None) -> None:
    """No context is taken over either way; who demands a smaller window than ours is answered without compression."""
    response, admission = asked("/ws?username=a", f"{UPGRADE}Sec-WebSocket-Extensions: {offer}\r\n", deflate=True)

    assert (response.status_code, response.headers.get("Sec-WebSocket-Extensions")) == (101, answer)
    assert admission is not None
    assert (admission.deflate, admission.written_as) == ((True, DEFLATED) if answer else (False, TEXT))
    assert admission.encoding == TEXT


def test_compression_is_off() -> None:
    """Unless the operator wants it no extension is negotiated, whatever is offered."""
    for offer in ("permessage-deflate", "not an, extension;;"):
        response, admission = asked("/ws?username=a", f"{UPGRADE}Sec-WebSocket-Extensions: {offer}\r\n")

        assert response.status_code == 101
        assert "Sec-WebSocket-Extensions" not in response.headers
        assert admission == Admission("a", None)


def test_malformed_offer() -> None:
    """An offer that is none is a broken handshake: 400 (RFC 6455, 9.1)."""
    response, admission = asked("/ws?username=a", f"{UPGRADE}Sec-WebSocket-Extensions: ;;\r\n", deflate=True)

    assert (response.status_code, admission) == (400, None)


def test_streams_are_not_compressed() -> None:
    """An event stream is what it was: the extension is WebSocket's."""
    response, admission = asked("/sse?username=a", "Sec-WebSocket-Extensions: permessage-deflate\r\n", deflate=True)

    assert "Sec-WebSocket-Extensions" not in response.headers
    assert admission is not None
    assert admission.written_as == SSE


def test_no_filter() -> None:
    """Without run_id all runs are meant."""
    assert admit("username=alice") == Admission("alice", None)


def test_filter_limit() -> None:
    """128 filters are taken, 129 refused."""
    admission = admit("username=a" + "".join(f"&run_id=r{n}" for n in range(128)))
    assert admission.runs is not None
    assert len(admission.runs) == 128

    with pytest.raises(Refusal, match="128"):
        admit("username=a" + "&run_id=r" * 129)


def test_plus_is_a_space() -> None:
    """A bare plus is a space, as forms have it; the refusal says what to write."""
    with pytest.raises(Refusal) as refused:
        admit("username=a+b")

    assert (refused.value.status, refused.value.field) == (400, "username")
    assert "write %2B for a plus" in refused.value.detail
    assert admit("username=a%2Bb").username == "a+b"


@pytest.mark.parametrize(
    ("query", "field"),
    [("username=a&after=x", "after"), ("username=a&epoch=x&epoch=y", "epoch"), ("after=5", "username")],
)
def test_bad_cursor(query: str, field: str) -> None:
    """A malformed or repeated cursor is 400, by name."""
    with pytest.raises(Refusal) as refused:
        admit(query)

    assert (refused.value.status, refused.value.field) == (400, field)


def test_cursor() -> None:
    """A cursor is kept as it came; a run's path begins at 0, and its owner may be left out."""
    assert admit("username=a&after=5&epoch=x") == Admission("a", None, 5, "x")
    assert admit("", "r1") == Admission("", frozenset({"r1"}), 0, None, "r1")
    assert admit("username=a&after=7", "r1") == Admission("a", frozenset({"r1"}), 7, None, "r1")


@pytest.mark.parametrize(
    ("target", "path", "encoding"),
    [
        ("/sse?username=a", "/sse", SSE),
        ("/sse?username=a&named=1", "/sse", SSE_NAMED),
        ("/sse/runs/r1", "/sse/runs", SSE),
        ("/api/v1/events/r1", "/api/v1/events", SSE_NAMED),
        ("/sse/runs/a%3Ab", "/sse/runs", SSE),
    ],
)
def test_streams(target: str, path: str, encoding: int) -> None:
    """Each path of a stream is answered 200 as an event stream, unbuffered, and admitted in its encoding."""
    response, admission = asked(target, "Origin: http://localhost:5173\r\n")

    assert admission is not None
    assert (admission.path, admission.encoding, response.status_code) == (path, encoding, 200)
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"


@pytest.mark.parametrize(
    ("target", "more", "method"),
    [
        ("/sse?username=", "", "GET"),
        ("/sse?username=a&after=x", "", "GET"),
        ("/sse?username=a", "Last-Event-ID: x\r\n", "GET"),
        ("/sse/runs/%00", "", "GET"),
        ("/sse?username=a", "", "POST"),
        ("/nothing", "", "GET"),
    ],
)
def test_a_page_may_read_why(target: str, more: str, method: str) -> None:
    """Of a stream's refusal an allowed page is let read what, why and when to come back; another page nothing."""
    for origin, fields in (
        ("http://localhost:5173", ["http://localhost:5173", "Origin", "Retry-After, WWW-Authenticate"]),
        ("http://evil.io", [None] * 3),
        ("", [None] * 3),
    ):
        with pytest.raises(Refusal) as refused:
            asked(target, (f"Origin: {origin}\r\n" if origin else "") + more, method)
        found = problem(refused.value).headers
        names = ("Access-Control-Allow-Origin", "Vary", "Access-Control-Expose-Headers")
        assert [found.get(name) for name in names] == fields


def test_last_event_id() -> None:
    """Last-Event-ID beats after; an empty one is none; a malformed one is 400."""
    assert asked("/sse?username=a&after=3", "Last-Event-ID: 9\r\n")[1] == Admission(
        "a", None, 9, path="/sse", encoding=SSE, resumed=True
    )
    assert asked("/sse?username=a&after=3", "Last-Event-ID: \r\n")[1] == Admission(
        "a", None, 3, path="/sse", encoding=SSE
    )
    with pytest.raises(Refusal) as refused:
        asked("/sse?username=a", "Last-Event-ID: x\r\n")
    assert (refused.value.status, refused.value.field) == (400, "Last-Event-ID")


def test_stream_of_a_foreign_page() -> None:
    """A stream has its own origin check."""
    with pytest.raises(Refusal) as refused:
        asked("/sse?username=a", "Origin: https://evil.io\r\n")

    assert refused.value.status == 403


@pytest.mark.parametrize("target", ["/ws/runs/", "/ws/runs/a%2Fb", "/sse/runs/a%20b"])
def test_no_run_of_that_name(target: str) -> None:
    """A name that no run can have is answered as a run that is not there."""
    with pytest.raises(Refusal) as refused:
        asked(target)

    assert (refused.value.status, refused.value.code) == (404, "run_unknown")


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/ws?username=a", ("/ws", "username=a")),
        ("/ws", ("/ws", "")),
        ("/ws?a=b?c", ("/ws", "a=b?c")),
        ("http://h:1/ws?username=a", ("/ws", "username=a")),
        ("//evil/ws", ("//evil/ws", "")),
        ("*", ("*", "")),
    ],
)
def test_split_target(target: str, parts: tuple[str, str]) -> None:
    """Origin form and absolute form have the same path and query."""
    assert split_target(target) == parts


def test_refusals_of_the_library_are_problems() -> None:
    """What the library refuses is problem+json too, and keeps the headers that it adds."""
    response, admission = asked("/ws?username=a", "")

    assert admission is None
    assert (response.status_code, response.headers["Upgrade"]) == (426, "websocket")
    assert json.loads(response.body)["status"] == 426


def test_foreign_origin_is_refused_first() -> None:
    """A foreign page learns nothing about its query."""
    response, _ = asked("/ws", UPGRADE + "Origin: https://evil.io\r\n")

    assert response.status_code == 403
    assert json.loads(response.body)["field"] == "Origin"


def test_allowed_origins_are_literal() -> None:
    """An allowed origin is compared as it stands: a dot is a dot."""
    allowed = ("https://app.example.com",)

    assert (
        asked("/ws?username=a", UPGRADE + "Origin: https://app.example.com\r\n", allowed=allowed)[0].status_code == 101
    )
    assert (
        asked("/ws?username=a", UPGRADE + "Origin: https://appxexample.com\r\n", allowed=allowed)[0].status_code == 403
    )


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("", None), ("https://evil.io", None), ("http://localhost:5173", "http://localhost:5173")],
)
def test_preflight(origin: str, allowed: str | None) -> None:
    """OPTIONS is answered 204 at every path, and names the origin only if it is allowed."""
    response, admission = asked("/ws", f"Origin: {origin}\r\n" if origin else "", "OPTIONS")

    assert (response.status_code, admission, response.body) == (204, None, b"")
    assert response.headers.get("Access-Control-Allow-Origin") == allowed
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_problem() -> None:
    """A problem has type, title, status, detail and, where there is one, the field; its length is announced."""
    response = problem(Refusal(404, "nothing here", "path", headers=(("X", "y"),)))

    assert json.loads(response.body) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "path_unknown",
        "detail": "nothing here",
        "field": "path",
    }
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Content-Length"] == str(len(response.body))
    assert response.headers["X"] == "y"
    assert "field" not in json.loads(problem(Refusal(404, "nothing here")).body)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", "body"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer codings"),
        (b"PRI * HTTP/2.0\r\n\r\n", "unsupported protocol"),
        ("GET /ä HTTP/1.1\r\n\r\n".encode(), "ascii"),
    ],
)
def test_refused_because(head: bytes, reason: str) -> None:
    """Where the parser gives no answer, its reason is told."""
    protocol = Handshake(Rules(origins(None), AuthConfig()))
    protocol.receive_data(head)

    assert protocol.events_received() == []
    assert reason in protocol.refused_because()
