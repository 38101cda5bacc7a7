"""A refusal says what is wrong and repeats nothing of what was sent: that may hold a token, and be of any length."""

import pytest

from tests.unit.fanout.worlds import World

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
FIELDS = (
    "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
CONTROLS = "Sec-WebSocket-Protocol: runfeed.v1\r\n"


@pytest.mark.parametrize("offer", ["", CONTROLS])
@pytest.mark.parametrize(
    "head",
    [
        f"GET /ws?username=alice&token={TOKEN} HTTP/1.1 \r\n{FIELDS}",
        f"GET /ws?username=alice&token={TOKEN}\r\n{FIELDS}",
        f"GET /ws?username=alice&token={TOKEN} HTTP/3\r\n{FIELDS}",
        f"GET /ws?username=alice HTTP/1.1\r\n{FIELDS}Sec-WebSocket-Protocol: bearer.{TOKEN}=\r\n",
        f"GET /ws?username=alice HTTP/1.1\r\n{FIELDS}Sec-WebSocket-Extensions: bearer {TOKEN}\r\n",
        f"GET /ws?username=alice HTTP/1.1\r\n{FIELDS}Authorization: Bearer {TOKEN}\x01\r\n",
        f"GET /ws?username=alice HTTP/1.1\r\n{FIELDS}Authorization Bearer {TOKEN}\r\n",
        f"GET /ws?username=alice HTTP/1.1\r\n{FIELDS}Connection: {TOKEN},,\r\n",
        f"GET /ws?username=alice HTTP/1.1\r\n{FIELDS}Origin: https://{TOKEN}\r\n",
        f"GET /sse?username=alice HTTP/1.1\r\nHost: localhost\r\nOrigin: {TOKEN}\r\n",
        f"GET /ws?username={TOKEN}%00 HTTP/1.1\r\n{FIELDS}",
        f"GET /ws/runs/{TOKEN}%00 HTTP/1.1\r\n{FIELDS}",
        f"GET http://[{TOKEN}/ws HTTP/1.1\r\n{FIELDS}",
        f"GET /{TOKEN} HTTP/1.1\r\n{FIELDS}",
        f"{TOKEN} /ws HTTP/1.1\r\n{FIELDS}",
        f"GET /sse?username=alice HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {TOKEN}\r\n",
    ],
)
async def test_nothing_is_repeated(head: str, offer: str) -> None:
    """Neither the answer nor the close that stands for it holds a part of the request."""
    _, transport = World().connect(f"{head}{offer}\r\n".encode("latin-1"))
    said = bytes(transport.written)

    assert said
    assert not any(part.encode() in said for part in TOKEN.split("."))


@pytest.mark.parametrize("size", [1000, 3000, 9000, 15_000])
@pytest.mark.parametrize(
    "head",
    [
        "GET /ws?username={} HTTP/1.1\r\n" + FIELDS,
        "GET /ws?username={}a HTTP/1.1\r\nHost: localhost\r\n",
        "GET /ws?username=a HTTP/1.1\r\n" + FIELDS + "Origin: http://localhost{}\r\n",
        "GET /ws?username=a HTTP/1.1\r\n" + FIELDS + "Sec-WebSocket-Version: {}\r\n",
        "GET /sse?username=a HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost{}\r\n",
        "{}GET /ws?username=a HTTP/1.1\r\n" + FIELDS,
    ],
)
async def test_a_refusal_is_short(head: str, size: int) -> None:
    """Whoever sends kilobytes gets a sentence back."""
    _, transport = World().connect(f"{head.format('a ' * (size // 2))}\r\n".encode())

    assert 0 < len(transport.written) < 800
