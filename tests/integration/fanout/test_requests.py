"""What a hub says to requests, good and bad, before there is a socket."""

import asyncio
import json
import socket
from typing import Any

import pytest

from tests.integration.fanout.hubs import UPGRADE, Connect, HubProcess, Publish, StartHub, client_frame, handshake
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of a response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}, body


def problem(answer: bytes) -> dict[str, Any]:
    """The problem that a refusal's body is, its form checked."""
    status, headers, body = split(answer)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body)
    found: dict[str, Any] = json.loads(body)
    assert found["status"] == status
    assert found["title"]
    assert found["code"]
    assert found["detail"]
    return found


def get(target: str, more: str = UPGRADE, method: str = "GET", version: str = "1.1") -> bytes:
    """A request's head, with the upgrade unless `more` says otherwise."""
    return f"{method} {target} HTTP/{version}\r\nHost: h\r\n{more}\r\n".encode()


@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ("", "username", "required"),
        ("?x=1", "username", "required"),
        ("?username=", "username", "must match"),
        ("?username=a%20b", "username", "%2B"),
        ("?username=a+b", "username", "%2B"),
        ("?username=a&username=a", "username", "once"),
        ("?username=a&username=b", "username", "once"),
        ("?username=a%0d%0ab", "username", "must match"),
        ("?username=a%00", "username", "must match"),
        ("?username=%D0%B0lice", "username", "must match"),
        ("?username=" + "a" * 129, "username", "must match"),
        ("?username=*", "username", "must match"),
        ("?username=a&run_id=", "run_id", "must match"),
        ("?username=a&run_id=a%2Fb", "run_id", "must match"),
        ("?username=a" + "&run_id=r" * 129, "run_id", "128"),
        ("?username=a&after=01", "after", "must"),
        ("?username=a&after=1&after=1", "after", "once"),
        ("?username=%ff", None, "UTF-8"),
        ("?" + "x=1&" * 300 + "username=a", None, "parameters"),
    ],
)
async def test_bad_query(hub: HubProcess, peer: Connect, query: str, field: str | None, rule: str) -> None:
    """A query that breaks a rule is refused 400 before the upgrade, with the field and the rule."""
    raw = await peer(hub)
    raw.send(get("/ws" + query))

    found = problem(await raw.everything())
    assert (found["status"], found["code"], found.get("field")) == (400, "invalid" if field else "malformed", field)
    assert rule in found["detail"]


@pytest.mark.parametrize("query", ["after=0", "after=1234", "epoch=e", "after=7&epoch=e"])
async def test_no_history(hub: HubProcess, peer: Connect, query: str) -> None:
    """A hub without history refuses a cursor 503, by name."""
    raw = await peer(hub)
    raw.send(get(f"/ws?username=a&{query}"))

    found = problem(await raw.everything())
    assert (found["status"], found["code"], found["field"]) == (503, "no_history", query.partition("=")[0])
    assert "no history" in found["detail"]


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (get("/"), 404),
        (get("/ws/"), 404),
        (get("/WS?username=a"), 404),
        (get("/metrics"), 404),
        (get("/sse?username=a", "", "POST"), 405),
        (get("/sse", ""), 400),
        (get("/sse/runs/a%20b", ""), 404),
        (get("/ws/runs/r1"), 503),
        (get("http://h/nope"), 404),
        (get("/nope", "", "HEAD"), 404),
        (get("/nope", "", "POST"), 404),
        (get("/ws?username=a", ""), 426),
        (get("/ws?username=a", UPGRADE.replace("websocket", "h2c")), 426),
        (get("/ws?username=a", method="POST"), 405),
        (get("/healthz", "", "POST"), 405),
        (get("/ws?username=a", version="1.0"), 505),
        (get("/ws?username=a", UPGRADE.replace("13", "12")), 400),
        (get("/ws?username=a", UPGRADE.replace("dGhl", "")), 400),
        (get("/ws?username=a", version="1.2"), 400),
        (get("/ws?username=a", "Content-Length: 3\r\n" + UPGRADE) + b"abc", 400),
        (get("/ws?username=a", "Transfer-Encoding: chunked\r\n" + UPGRADE) + b"3\r\nabc\r\n0\r\n\r\n", 400),
        (get("/healthz", "Content-Length: 3\r\n", "POST") + b"abc", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500, 400),
        (b"GET /ws HTTP/1.1\nHost: h\n\n", 400),
        (b"garbage\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        ("GET /ws?username=ä HTTP/1.1\r\n\r\n".encode(), 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (get("/ws?username=a", "bad header\r\n" + UPGRADE), 400),
        (get("/ws?username=a", "X: a\x00b\r\n" + UPGRADE), 400),
        (get("/ws?username=" + "a" * 9000), 414),
        (get("/ws?username=a", "X: " + "x" * 9000 + "\r\n" + UPGRADE), 431),
        (get("/ws?username=a", "X: y\r\n" * 130 + UPGRADE), 431),
        (get("/ws?username=a", ("X: " + "x" * 5000 + "\r\n") * 4 + UPGRADE), 431),
        (b"x" * 20_000, 431),
    ],
)
async def test_refusals(hub: HubProcess, peer: Connect, request_head: bytes, status: int) -> None:
    """Whatever is no request for a socket gets one problem as its answer, at once, and the connection's end."""
    raw = await peer(hub)
    raw.send(request_head)

    answer = await raw.everything(within=2)
    if b"HEAD /" in request_head:
        assert split(answer)[0::2] == (status, b"")
    else:
        assert problem(answer)["status"] == status


async def test_allow_header(hub: HubProcess, peer: Connect) -> None:
    """A 405 names the methods that are allowed, a 426 the protocol."""
    for head, name, value in (
        (get("/ws", method="PUT"), "allow", "GET"),
        (get("/healthz", "", "PUT"), "allow", "GET, HEAD, OPTIONS"),
        (get("/ws", ""), "upgrade", "websocket"),
    ):
        raw = await peer(hub)
        raw.send(head)

        assert split(await raw.everything())[1][name] == value


async def test_refusals_are_counted(start_hub: StartHub, peer: Connect) -> None:
    """Refusals are counted by status, whoever made them: we, the library, its parser."""
    hub = start_hub()
    for head in (get("/"), get("/ws"), get("/ws", ""), b"PRI * HTTP/2.0\r\n\r\n", get("/" + "a" * 9000)):
        raw = await peer(hub)
        raw.send(head)
        await raw.everything()

    counted = {
        status: hub.metric("fanout_requests_refused_total", status=status) for status in ("400", "404", "414", "426")
    }
    assert counted == {"400": 2, "404": 1, "414": 1, "426": 1}


@pytest.mark.parametrize("head", [get("/healthz", ""), get("/healthz", "", version="1.0"), get("http://h/healthz", "")])
async def test_healthz(hub: HubProcess, peer: Connect, head: bytes) -> None:
    """/healthz answers 200 to HTTP/1.1, to HTTP/1.0 and to the absolute form."""
    raw = await peer(hub)
    raw.send(head)

    status, headers, body = split(await raw.everything())
    assert (status, headers["content-type"], json.loads(body)) == (
        200,
        "application/json",
        {"status": "ok", "auth": "insecure-username"},
    )


async def test_healthz_head(hub: HubProcess, peer: Connect) -> None:
    """HEAD /healthz announces the body that GET has, and sends none."""
    raw = await peer(hub)
    raw.send(get("/healthz", "", "HEAD"))

    status, headers, body = split(await raw.everything())
    assert (status, headers["content-length"], body) == (200, "42", b"")


@pytest.mark.parametrize(
    "origin",
    ["http://localhost", "http://localhost:5173", "https://127.0.0.1:1", "http://[::1]:80", "http://127.9.9.9"],
)
async def test_loopback_origins(hub: HubProcess, peer: Connect, name: str, origin: str) -> None:
    """Without ALLOWED_ORIGINS pages of any loopback origin may open sockets."""
    raw = await peer(hub)
    raw.send(handshake(name, f"Origin: {origin}\r\n"))

    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.io",
        "null",
        "http://localhost.evil.io",
        "http://127.0.0.1.evil.io",
        "http://localhost:1@evil.io",
        "file://",
        "http://localhost/",
    ],
)
async def test_foreign_origins(hub: HubProcess, peer: Connect, name: str, origin: str) -> None:
    """Without ALLOWED_ORIGINS pages of any other origin are refused 403."""
    raw = await peer(hub)
    raw.send(handshake(name, f"Origin: {origin}\r\n"))

    found = problem(await raw.everything())
    assert (found["status"], found["field"]) == (403, "Origin")


async def test_allowed_origins(start_hub: StartHub, peer: Connect, name: str) -> None:
    """With ALLOWED_ORIGINS exactly those may; a client that is no page and sends none still may."""
    hub = start_hub(ALLOWED_ORIGINS="https://app.example.com, https://b.example.com:8443")
    for origin, expected in (
        ("Origin: https://app.example.com\r\n", b"101"),
        ("Origin: https://b.example.com:8443\r\n", b"101"),
        ("", b"101"),
        ("Origin: https://app.example.com.evil.io\r\n", b"403"),
        ("Origin: http://app.example.com\r\n", b"403"),
        ("Origin: http://localhost\r\n", b"403"),
        ("Origin: https://app.example.com\r\nOrigin: https://evil.io\r\n", b"400"),
    ):
        raw = await peer(hub)
        raw.send(handshake(name, origin))

        assert (await raw.head())[9:12] == expected, origin


async def test_head_in_pieces(hub: HubProcess, peer: Connect, name: str) -> None:
    """A head that comes byte by byte is a head."""
    raw = await peer(hub)
    for byte in handshake(name):
        raw.send(bytes([byte]))
        await asyncio.sleep(0)  # let it go out alone

    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")


async def test_head_of_exactly_16_kib(hub: HubProcess, peer: Connect, name: str) -> None:
    """A head of 16 KiB is taken, one byte more is 431."""
    base = len(handshake(name, "A: \r\nB: \r\nC: \r\n"))
    for size, status in ((16384, b"101"), (16385, b"431")):
        fill = size - base
        raw = await peer(hub)
        raw.send(handshake(name, f"A: {'x' * 8000}\r\nB: {'x' * 8000}\r\nC: {'x' * (fill - 16000)}\r\n"))

        assert (await raw.head())[9:12] == status


@pytest.mark.parametrize("start", [b"", b"GET /ws?username=a HTTP/1.1\r\nHost: h\r\n"])
async def test_half_a_head(start_hub: StartHub, peer: Connect, start: bytes) -> None:
    """A head that stops half-way is answered 408 in time, and the connection ends."""
    hub = start_hub(FANOUT_HEAD_TIMEOUT="0.3")
    raw = await peer(hub)
    raw.send(start)

    assert problem(await raw.everything(within=2))["status"] == 408


async def test_dripping_head(start_hub: StartHub, peer: Connect) -> None:
    """A head that drips on and on does not win time by it."""
    hub = start_hub(FANOUT_HEAD_TIMEOUT="0.3")
    raw = await peer(hub)

    answer = asyncio.create_task(raw.everything())
    while not answer.done():
        raw.send(b"x")
        await asyncio.wait({answer}, timeout=0.02)

    assert problem(await answer)["status"] == 408


async def test_frame_in_the_same_segment(hub: HubProcess, peer: Connect, name: str) -> None:
    """A frame right behind the request is a frame of the socket: a ping is answered after the 101."""
    raw = await peer(hub)
    raw.send(handshake(name) + client_frame(9, b"hi"))

    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
    async with asyncio.timeout(5):
        assert await raw.reader.readexactly(4) == b"\x8a\x02hi"


async def test_second_request_in_the_same_segment(start_hub: StartHub, peer: Connect, name: str) -> None:
    """A second request right behind the first is no frame: 101, close 1002, and nothing is left in the hub."""
    hub = start_hub()
    raw = await peer(hub)
    raw.send(handshake(name) * 2)

    answer = await raw.everything()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.partition(b"\r\n\r\n")[2][:4].endswith(b"\x03\xea")
    await eventually(lambda: hub.admin("/stats")[1] == '{"connections": 0, "users": 0}')


async def test_second_request_behind_a_refusal(hub: HubProcess, peer: Connect, name: str) -> None:
    """A second request right behind one that is refused is not answered."""
    raw = await peer(hub)
    raw.send(get("/ws") + handshake(name))

    assert problem(await raw.everything())["field"] == "username"


def test_refusal_before_unread_input(hub: HubProcess) -> None:
    """A refusal arrives whole at a client that first sends all of its ten megabytes, and only then reads."""
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as sock:
        sock.sendall(get("/ws?username=a", "Content-Length: 10000000\r\n") + b"x" * 10_000_000)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece

    assert problem(answer)["status"] == 400


async def test_end_within_the_head(hub: HubProcess, peer: Connect) -> None:
    """A client that goes away within its head leaves nothing behind, and no error in the log."""
    raw = await peer(hub)
    raw.send(b"GET /ws")
    raw.writer.write_eof()

    assert await raw.everything() == b""
    assert not [line for line in hub.lines() if line["level"] in ("error", "critical")]


async def test_request_then_half_close(hub: HubProcess, peer: Connect) -> None:
    """A client that half-closes behind its request still gets the answer."""
    raw = await peer(hub)
    raw.send(get("/healthz", ""))
    raw.writer.write_eof()

    assert split(await raw.everything())[0] == 200


async def test_foreign_host_header_is_no_matter(hub: HubProcess, peer: Connect, name: str, publish: Publish) -> None:
    """The absolute form opens a socket like any other."""
    raw = await peer(hub)
    raw.send(handshake(name).replace(b"GET /ws", b"GET http://elsewhere:99/ws"))
    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
    (text,) = await publish(name, {})

    async with asyncio.timeout(5):
        assert (await raw.reader.readexactly(2 + len(text)))[2:] == text.encode()
