"""The hub's port: bytes of chance, in pieces of chance, before and behind a request."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence

from hypothesis import strategies as st

from fanout.deliver import Connection
from fanout.door import CLOSING, OPEN
from tests.hardening.frames import CLOSE, PING, PONG, TEXT, Reader, frame
from tests.hardening.mutations import lines_of, pieces
from tests.hardening.targets import Target
from tests.hardening.targets.envelopes import sse_events
from tests.unit.fanout.worlds import Memory, World, say

FIELDS = (
    b"Host: 127.0.0.1:8085\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
REQUESTS = (
    b"GET /ws?username=alice HTTP/1.1\r\n" + FIELDS + b"\r\n",
    b"GET /ws?username=alice&run_id=r1 HTTP/1.1\r\n" + FIELDS + b"Sec-WebSocket-Protocol: runfeed.v1\r\n\r\n",
    b"GET /ws/runs/r1?username=alice HTTP/1.1\r\n" + FIELDS + b"Origin: http://localhost:3000\r\n\r\n",
    b"GET /ws HTTP/1.1\r\n" + FIELDS + b"Sec-WebSocket-Protocol: runfeed.v1, bearer.eyJh.eyJi.c2ln\r\n\r\n",
    b"GET /ws?username=a HTTP/1.1\r\n" + FIELDS + b"Authorization: Bearer eyJh.eyJi.c2ln\r\n\r\n",
    b"GET /ws?username=alice HTTP/1.1\r\n" + FIELDS + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    b"GET /sse?username=alice HTTP/1.1\r\nHost: h\r\nLast-Event-ID: 7\r\n\r\n",
    b"GET /sse?username=alice&named=1 HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\n\r\n",
    b"GET /api/v1/events/r1 HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    b"OPTIONS /sse HTTP/1.1\r\nOrigin: http://127.0.0.1:5173\r\nAccess-Control-Request-Headers: last-event-id\r\n\r\n",
    b"POST /ws HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"GET http://localhost/ws?username=alice HTTP/1.1\r\n" + FIELDS + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip
TOKENS = (
    b"Host: hub.example.com\r\n", b"Origin: null\r\n", b"Origin: http://localhost\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Last-Event-ID: 0\r\n", b" folded\r\n",
    b"Last-Event-ID: 9\xc2\xb2\r\n", b"Cookie: a=b\r\n", b"X: " + b"a" * 9000 + b"\r\n", b"X:y\r\n" * 200,
    b"Sec-WebSocket-Protocol: runfeed.v1\r\n", b"Sec-WebSocket-Extensions: permessage-deflate; server_max\r\n",
    b"HTTP/1.0", b"HTTP/9.9", b"/ws/runs/", b"/sse/runs/", b"/../", b"//evil.example/", b"/%2e%2e/", b"*",
    b"Authorization: Basic YTpi\r\n", b"X-Forwarded-For: 1.2.3.4\r\n", b"ticket=rft_x&", b"token=eyJ&", b"HEAD ",
)  # fmt: skip
STATUS = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [A-Za-z -]+")
NAMES = {
    b"date", b"connection", b"content-type", b"content-length", b"cache-control", b"allow", b"upgrade", b"retry-after",
    b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions", b"sec-websocket-version", b"vary",
    b"x-accel-buffering", b"access-control-allow-origin", b"access-control-allow-methods", b"access-control-max-age",
    b"access-control-allow-headers", b"access-control-expose-headers", b"www-authenticate",
}  # fmt: skip
CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, *range(3000, 5000)}


def visit(given: Sequence[bytes]) -> tuple[bytes, bool]:
    """What a connection says to these bytes, and whether it was open behind them; at its end nothing is left of it."""
    world = World()
    connection, transport = world.hub.connect(), Memory()
    connection.connection_made(transport)
    for piece in given:
        if not transport.aborted:
            say(connection, piece)
    opened = connection.state == OPEN
    said = bytes(transport.written)
    end(world, connection, transport)
    return said, opened


def end(world: World, connection: Connection, transport: Memory) -> None:
    """Time passes, and whoever says nothing is gone, with all that was known of them."""
    world.publish()
    world.turn(90)
    if connection.state == OPEN and connection.stream:  # only the kernel knows whether a stream's peer is still there
        connection.eof_received()
        world.turn(90)
    assert transport.aborted, "a silent connection stays"
    assert connection.state == CLOSING
    connection.connection_lost(None)
    assert not world.hub.connections
    assert not world.hub.sockets
    assert not world.hub.router.feeds
    assert not len(world.wheel)


def answer(data: bytes) -> tuple[int, bytes]:
    """Status and what follows the head of the one answer in `data`; AssertionError when it is not well-formed."""
    head, end_of_head, rest = data.partition(b"\r\n\r\n")
    assert end_of_head
    first, *lines = head.split(b"\r\n")
    match = STATUS.fullmatch(first)
    assert match is not None, first
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b": ")
        assert colon
        assert name.lower() in NAMES, name
        assert name.lower() not in fields, f"{name!r} twice"
        assert value.isascii()
        assert value.decode().isprintable()
        fields[name.lower()] = value
    return int(match[1]), check_content(int(match[1]), fields, rest)


def check_content(status: int, fields: dict[bytes, bytes], rest: bytes) -> bytes:
    """The rest is as long and of the kind that the head says."""
    if status in (101, 204) or fields.get(b"content-type", b"").startswith(b"text/event-stream"):
        return rest
    assert not rest or int(fields[b"content-length"]) == len(rest)
    if rest and fields[b"content-type"] == b"application/problem+json":
        problem = json.loads(rest)
        assert problem["status"] == status
        assert len(problem["detail"]) <= 300
        assert problem["code"]
    return rest


def check_request(given: list[bytes]) -> None:
    """Never an exception; silence, or one well-formed answer; the same however the bytes are cut."""
    asyncio.run(_check_request(given))


async def _check_request(given: list[bytes]) -> None:
    said, opened = visit(given)
    assert b"eyJ" not in said, "a part of a token is repeated"
    if said:
        status, rest = answer(said)
        assert status in (101, 200, 204) or status >= 400
        if status == 101:
            check_frames(rest)
        elif status == 200 and opened:
            sse_events(rest)
    else:
        assert not opened
    whole, _ = visit([b"".join(given)])
    if said[9:10] == whole[9:10] == b"4":
        assert said[:12] == whole[:12]  # of two things that are wrong the one that came first is named
    else:
        assert stripped(said) == stripped(whole)


def stripped(said: bytes) -> bytes:
    """What does not depend on the time and on chance."""
    said = re.sub(rb"\r\nDate: [^\r]*", b"", said)
    return re.sub(rb"retry(_in_ms\":| in |: )\d+", b"retry", said)


def check_frames(data: bytes) -> list[int]:
    """Behind a 101 there are whole frames; the code of the close among them, which is the last one."""
    reader = Reader()
    reader.feed(data)
    codes: list[int] = []
    for each in reader.frames():
        assert not codes or each.opcode == PONG, "a frame behind the close"
        assert each.rsv == 0
        assert each.fin
        if each.opcode == CLOSE:
            codes.append(int.from_bytes(each.payload[:2], "big") if each.payload else 1005)
            each.payload[2:].decode()
        elif each.opcode == TEXT:
            json.loads(each.payload)
        else:
            assert each.opcode in (PING, PONG)
    assert reader.at_end(), "half a frame"
    return codes


REFUSED = REQUESTS[1].replace(b"127.0.0.1:8085", b"hub.example.com")
OPENING = (REQUESTS[0], REQUESTS[1], REFUSED)  # the last one is upgraded to be closed
MASKED = (
    frame(TEXT, b"hello"), frame(PING, b"p" * 125), frame(PONG), frame(CLOSE, b"\x03\xe8bye"), frame(CLOSE),
    frame(TEXT, b'{"type":"auth","token":"eyJh.eyJi.c2ln"}'), frame(2, bytes(300)), frame(TEXT, b"\xff\xfe"),
    frame(TEXT, b"a", fin=False) + frame(PING) + frame(0, b"b"), frame(TEXT, b"x" * 17_000), frame(0, b"lonely"),
    frame(TEXT, b"{" * 16_000), frame(CLOSE, b"\x03"), frame(CLOSE, b"\x03\xed"), frame(11), frame(TEXT, rsv=4),
)  # fmt: skip


def check_socket(given: tuple[bytes, list[bytes]]) -> None:
    """An open socket that is sent anything answers in whole frames, and ends with a code that may be sent."""
    asyncio.run(_check_socket(*given))


async def _check_socket(request: bytes, given: list[bytes]) -> None:
    said, _ = visit([request, *given])
    status, rest = answer(said)
    assert status == 101
    assert set(check_frames(rest)) <= CODES | {1005}


SAID = st.lists(st.one_of(lines_of(MASKED, MASKED), st.sampled_from(MASKED)), max_size=5).map(b"".join)
TARGETS = [
    Target("request", pieces(lines_of(REQUESTS, TOKENS)), check_request, share=3),
    Target("socket", st.tuples(st.sampled_from(OPENING), pieces(SAID)), check_socket, share=3),
]
