"""fanout.usual: the requests that browsers and clients really send take the short way."""

import pytest
from websockets.typing import Origin

from fanout import handshake, usual
from fanout.admission import Admission
from fanout.auth_config import AuthConfig
from fanout.errors import Refusal
from fanout.handshake import Rules

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SOCKET = (
    "Host: localhost:8085\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
)
CHROMIUM = (
    "Host: 127.0.0.1:8085\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0\r\n"
    "Upgrade: websocket\r\nOrigin: http://localhost:3000\r\nSec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
)
FIREFOX = (
    "Host: localhost:8085\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\nAccept-Language: en-US\r\n"
    "Accept-Encoding: gzip, deflate\r\nSec-WebSocket-Version: 13\r\nOrigin: null\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
)
LOOPBACK = Rules(handshake.origins(None), AuthConfig())
DEFLATE = Rules(handshake.origins(None), AuthConfig(), deflate=True)


def request(fields: str, line: str = "GET /ws?username=alice HTTP/1.1") -> bytes:
    """A head."""
    return f"{line}\r\n{fields}\r\n".encode()


@pytest.mark.parametrize("fields", [SOCKET, SOCKET.replace("localhost:8085", "[::1]"), CHROMIUM])
def test_usual(fields: str) -> None:
    """A client library's request and a browser's get the RFC's answer."""
    found = usual.read(request(fields), LOOPBACK)

    assert found == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        Admission("alice", None),
    )


def test_firefox() -> None:
    """Firefox says "keep-alive, Upgrade"."""
    assert usual.read(request(FIREFOX), Rules([None, Origin("null")], AuthConfig())) is not None


def test_control_frames() -> None:
    """runfeed.v1 is told back, and admitted with control frames."""
    found = usual.read(request(SOCKET + "Sec-WebSocket-Protocol: runfeed.v1\r\n"), LOOPBACK)

    assert found is not None
    assert b"\r\nSec-WebSocket-Protocol: runfeed.v1\r\n\r\n" in found[0]
    assert found[1].controls


@pytest.mark.parametrize(
    ("query", "admission"),
    [
        ("username=a.b%7Cc", Admission("a.b|c", None)),
        ("username=a&run_id=r1&run_id=r2", Admission("a", frozenset({"r1", "r2"}))),
        ("after=7&epoch=e&username=a", Admission("a", None, 7, "e")),
    ],
)
def test_queries(query: str, admission: Admission) -> None:
    """Any query is read by the one set of rules."""
    found = usual.read(request(SOCKET, f"GET /ws?{query} HTTP/1.1"), LOOPBACK)

    assert found is not None
    assert found[1] == admission


@pytest.mark.parametrize("query", ["username=", "username=a+b", "username=a&username=b", "after=x&username=a", "x=%ff"])
def test_broken_rule(query: str) -> None:
    """A broken rule is refused with the field's name, as it is on the library's way."""
    with pytest.raises(Refusal) as refused:
        usual.read(request(SOCKET, f"GET /ws?{query} HTTP/1.1"), LOOPBACK)

    assert refused.value.status == 400


@pytest.mark.parametrize(
    "fields",
    [
        CHROMIUM.replace("http://localhost:3000", "https://evil.example"),
        SOCKET + "Origin: http://localhost\r\nOrigin: http://localhost\r\n",
        SOCKET.replace("13", "12"),
        SOCKET.replace(KEY, KEY[:-1]),
        SOCKET.replace("Upgrade: websocket\r\n", ""),
        SOCKET.replace("Connection: Upgrade", "Connection: close"),
        SOCKET + "Sec-WebSocket-Protocol: other, runfeed.v1\r\n",
        SOCKET + "Content-Length: 0\r\n",
        SOCKET + "Host: localhost\r\n",
        SOCKET.replace("localhost:8085", "evil.example"),
        SOCKET.replace("Host: localhost:8085\r\n", ""),
        SOCKET + "Transfer-Encoding: chunked\r\n",
        SOCKET + "X: a\x00b\r\n",
        SOCKET + "X : a\r\n",
        SOCKET + " folded\r\n",
        SOCKET + "X: " + "a" * usual.MAX_USUAL + "\r\n",
        "",
    ],
)
def test_unusual(fields: str) -> None:
    """Whatever is wrong, or may be, is the library's to judge."""
    assert usual.read(request(fields), LOOPBACK) is None


def test_compression() -> None:
    """An offered extension is the library's to negotiate, where there is one to be had."""
    assert usual.read(request(CHROMIUM), DEFLATE) is None
    assert usual.read(request(SOCKET), DEFLATE) is not None
