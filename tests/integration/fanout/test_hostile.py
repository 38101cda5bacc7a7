"""Strangers at a hub that wants tokens, and at one that has none: what they try, and what it costs."""

import asyncio
import json
import resource
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
import websockets
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.integration.fanout.hubs import (
    UPGRADE,
    Connect,
    HubProcess,
    Publish,
    StartAnyHub,
    StartHub,
    client_frame,
    handshake,
)
from tests.integration.fanout.test_requests import problem, split
from tests.support import eventually, eventually_sync, issuers
from tests.support.deflate import raw_deflate
from tests.unit.fanout.proofs import KEY, OURS, bearer, message, token

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

MIB = 1 << 20


@pytest.fixture(scope="module")
def guarded(redis_url: str, start_any_hub: Callable[..., HubProcess]) -> HubProcess:
    """A hub that wants tokens, without a history: nothing is ever revoked."""
    hub = start_any_hub(redis_url, FANOUT_DRAIN="0", AUTH_HMAC_KEY=KEY, FANOUT_COMPRESSION="1")
    eventually_sync(hub.ready, within=10)
    return hub


def request(target: str, more: str = "", host: str = "localhost", method: str = "GET") -> bytes:
    """A request for a socket."""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}{more}\r\n".encode()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://app.example.evil.io", "http://localhost."])
@pytest.mark.parametrize("path", ["/ws", "/sse"])
async def test_foreign_pages(guarded: HubProcess, peer: Connect, path: str, origin: str) -> None:
    """A foreign page is refused, token or not, and before its token is looked at."""
    before = guarded.metric("fanout_auth_refusals_total", code="origin_forbidden")
    for shown in (bearer("a"), "", "Authorization: Bearer nonsense\r\n"):
        raw = await peer(guarded)
        raw.send(request(path, f"Origin: {origin}\r\n{shown}"))

        assert problem(await raw.everything())["code"] == "origin_forbidden"
    assert guarded.metric("fanout_auth_refusals_total", code="origin_forbidden") - before == 3


@pytest.mark.parametrize(
    "name",
    ["a%0d%0aSet-Cookie:x", "a%00", "%D0%B0lice", "a" * 10_000, "*", "a?", "a[b]", "a%5Cb", "a&username=b", "%20a"],
)
async def test_hostile_names(guarded: HubProcess, peer: Connect, name: str) -> None:
    """A name that is none is 400 or 414 before any token is looked at, and stands in no header of the answer."""
    raw = await peer(guarded)
    raw.send(request(f"/ws?username={name}", bearer("a")))

    answer = await raw.everything()
    assert split(answer)[0] in (400, 414)
    assert b"Set-Cookie" not in answer.partition(b"\r\n\r\n")[0]


async def test_rebound_names(start_hub: StartHub, peer: Connect) -> None:
    """Without a key a Host with a public name is 403 for every method and path but health, 4403 for runfeed.v1."""
    hub = start_hub(FANOUT_CLOSE_TIMEOUT="0.1")
    for target, method in (
        ("/ws?username=a", "GET"),
        ("/sse?username=a", "GET"),
        ("/nope", "POST"),
        ("/ws", "OPTIONS"),
    ):
        for host in ("evil.example", "localhost.evil.example:8085", "", "2130706433", "127.0.0.1\r\nHost: a"):
            raw = await peer(hub)
            raw.send(request(target, host=host, method=method))
            found = problem(await raw.everything())
            assert (found["status"], found["code"], found["field"]) == (403, "host_forbidden", "Host")
    raw = await peer(hub)
    raw.send(request("/ws?username=a", OURS, host="evil.example"))
    assert (await raw.everything()).partition(b"\r\n\r\n")[2][2:4] == (4403).to_bytes(2, "big")
    raw = await peer(hub)
    raw.send(request("/healthz", host="evil.example"))
    assert split(await raw.everything())[0] == 200

    for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 403), ("/stats", 403)):
        raw = await peer(hub.admin_port)
        raw.send(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode())
        assert split(await raw.everything())[0] == status
    assert hub.metric("fanout_auth_refusals_total", code="host_forbidden") >= 20


async def test_allowed_hosts(start_hub: StartHub, peer: Connect) -> None:
    """With ALLOWED_HOSTS those may be named, and loopback, in any case and with any port; with tokens as well."""
    for names in ({}, {"AUTH_HMAC_KEY": KEY}):
        hub = start_hub(ALLOWED_HOSTS="hub.example.com", **names)
        for host, status in (
            ("hub.example.com", 101),
            ("HUB.example.com:443", 101),
            ("localhost:1", 101),
            ("other.example.com", 403),
            ("hub.example.com.evil.io", 403),
        ):
            raw = await peer(hub)
            raw.send(request("/ws?username=a", bearer("a"), host=host))
            assert int((await raw.head())[9:12]) == status, host


async def test_beyond_loopback(start_hub: StartHub, peer: Connect, name: str) -> None:
    """Beyond loopback without a key the log says so at once, a gauge shows it, and the limits hold."""
    hub = start_hub(BIND="0.0.0.0", ALLOW_INSECURE_USERNAME="1", FANOUT_SOCKETS_PER_USER="2")
    (line,) = hub.events("fanout.insecure_username")
    assert line["level"] == "warning"
    assert hub.metric("fanout_auth_insecure") == 1
    for port in (hub.port, hub.admin_port):
        raw = await peer(port)
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert json.loads(split(await raw.everything())[2]) == {"status": "ok", "auth": "insecure-username"}
    # The admin port asks nobody who they are, so it stays on 127.0.0.1: another address of this machine finds none.
    _, writer = await asyncio.open_connection("127.0.0.2", hub.port)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", hub.admin_port)
    answers = []
    for _ in range(3):
        raw = await peer(hub)
        raw.send(handshake(name, "X-Forwarded-For: 192.0.2.9\r\n"))
        answers.append(int((await raw.head())[9:12]))

    assert answers == [101, 101, 429]
    assert hub.metric("fanout_limits_refused_total", limit="user") == 1


async def test_forwarded_for_is_no_way_round(start_hub: StartHub, peer: Connect, name: str) -> None:
    """Whatever a stranger says of where it comes from, its connections are counted as its own."""
    hub = start_hub(AUTH_HMAC_KEY=KEY, FANOUT_SOCKETS_PER_ADDRESS="3")
    answers = []
    for number in range(4):
        raw = await peer(hub)
        raw.send(request("/ws", bearer(f"{name}-{number}") + f"X-Forwarded-For: 192.0.2.{number}\r\n"))
        answers.append(int((await raw.head())[9:12]))

    assert answers == [101, 101, 101, 429]


async def test_half_heads_of_an_address(start_hub: StartHub, peer: Connect, name: str) -> None:
    """Half heads count for their address: it has no more of them than twice its limit, and nobody else suffers."""
    hub = start_hub(AUTH_HMAC_KEY=KEY, FANOUT_SOCKETS_PER_ADDRESS="3")
    slow = [await peer(hub) for _ in range(10)]
    for raw in slow:
        raw.send(b"GET /ws HTTP/1.1\r\nHost: h\r\n")
    for raw in slow[6:]:
        # Nothing of theirs is read: what they have sent by then makes a reset of the end, and that may eat the answer.
        assert (await raw.everything())[:13] in (b"HTTP/1.1 429 ", b"")
    assert hub.metric("fanout_limits_refused_total", limit="address") == 4

    with socket.create_connection(("127.0.0.1", hub.port), source_address=("127.0.0.2", 0)) as other:
        other.sendall(request("/ws", bearer(name)))
        assert (await asyncio.to_thread(other.recv, 12)) == b"HTTP/1.1 101"


async def test_bomb_as_first_message(guarded: HubProcess, peer: Connect) -> None:
    """A first message that inflates to a hundred megabytes is closed 4401, and nothing is inflated beyond the bound."""
    warm = await peer(guarded)
    warm.send(request("/ws", OURS))
    await warm.head()
    before = guarded.memory()
    raw = await peer(guarded)
    raw.send(request("/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n" + OURS))
    assert b"permessage-deflate" in await raw.head()
    raw.send(compressed(raw_deflate(b"x" * (100 * MIB))[: 15 << 10]))

    assert b"\x11\x31token_invalid" in await raw.everything()
    assert guarded.memory() - before < 4 * MIB


def compressed(body: bytes) -> bytes:
    """A frame whose RSV1 says that it is compressed."""
    frame = client_frame(1, body)
    return bytes([frame[0] | 0x40]) + frame[1:]


async def test_token_in_a_compressed_message(guarded: HubProcess, peer: Connect, name: str) -> None:
    """A first message may be compressed, if that was negotiated."""
    raw = await peer(guarded)
    raw.send(request("/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n" + OURS))
    await raw.head()
    raw.send(compressed(raw_deflate(b'{"type":"auth","token":"%b"}' % token(name).encode())))

    async with asyncio.timeout(5):
        assert b'"type":"connected"' in await raw.reader.readuntil(b"}")


async def test_log_lines(start_hub: StartHub, peer: Connect) -> None:
    """What strangers send makes no line in the log, whatever stands in it; no token and no name is ever in it."""
    hub = start_hub(AUTH_HMAC_KEY=KEY, FANOUT_CLOSE_TIMEOUT="0.1")
    before = len(hub.log.read_text().splitlines())
    secret = token("eve-of-the-log", exp=1)
    evil = "x%0a%7B%22event%22%3A%22forged%22%7D"
    for head in (
        request(f"/ws?username={evil}", bearer("a")),
        request("/ws", f"Authorization: Bearer {secret}\r\n"),
        request("/ws?token=" + secret),
        request("/sse", 'X: "}\x1b[2J\r\n'),
        request("/ws", f"Sec-WebSocket-Protocol: runfeed.v1, bearer.{secret}\r\n"),
        request("/ws?ticket=" + quote(secret)),
        b"\x16\x03\x01{}\n\n",
    ):
        raw = await peer(hub)
        raw.send(head)
        await raw.everything()
    raw = await peer(hub)
    raw.send(request("/ws", OURS) + message(secret))
    await raw.everything()

    text = hub.log.read_text()
    assert len(text.splitlines()) == before
    assert "eve-of-the-log" not in text
    assert secret not in text


@pytest.mark.parametrize("names", [1000, pytest.param(10_000, marks=pytest.mark.full)])
async def test_series(start_hub: StartHub, peer: Connect, names: int) -> None:
    """However many names come, ten thousand for instance, they leave as many series in /metrics as ten did."""
    hub = start_hub(AUTH_HMAC_KEY=KEY, FANOUT_HANDSHAKES_PER_S="0", FANOUT_SOCKETS_PER_ADDRESS="0")

    async def come(numbers: range) -> None:
        for number in numbers:
            raw = await peer(hub)
            raw.send(request(f"/ws?username=n{number}", bearer(f"n{number}" if number % 2 else "other")))
            await raw.head()
            raw.writer.transport.abort()

    await come(range(10))
    await eventually(lambda: hub.metric("fanout_connections") == 0)
    before = hub.admin("/metrics")[1].count("\n")
    await asyncio.gather(*(come(range(10 + lane, names, 20)) for lane in range(20)))
    await eventually(lambda: hub.metric("fanout_connections") == 0)

    assert hub.admin("/metrics")[1].count("\n") == before


async def test_too_many_messages(start_hub: StartHub, name: str) -> None:
    """A known client that says more than it may is closed 1008."""
    hub = start_hub(AUTH_HMAC_KEY=KEY, FANOUT_MESSAGES_PER_MIN="5")
    headers = {"Authorization": f"Bearer {token(name)}"}
    async with websockets.connect(f"ws://127.0.0.1:{hub.port}/ws", additional_headers=headers) as own:
        for number in range(6):
            await own.send(str(number))
        await asyncio.wait_for(own.wait_closed(), 5)

        assert (own.close_code, own.close_reason) == (1008, "too many messages")
    await eventually(lambda: hub.metric("fanout_connections_closed_total", code="1008") == 1)


async def test_other_tenants(guarded: HubProcess, publish: Publish, name: str) -> None:
    """Of what is published for one user another's sockets and streams see nothing."""
    base = f"127.0.0.1:{guarded.port}"
    mine, theirs = ({"Authorization": f"Bearer {token(each)}"} for each in (name, name + "x"))
    async with (
        websockets.connect(f"ws://{base}/ws", additional_headers=mine) as own,
        websockets.connect(f"ws://{base}/ws?run_id=r1", additional_headers=theirs) as other,
    ):
        (first,) = await publish(name, {})
        (second,) = await publish(name + "x", {})
        async with asyncio.timeout(5):
            assert await own.recv() == first
            assert await other.recv() == second


async def test_file_descriptors(redis_url: str, tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Where fewer files may be open, fewer sockets are: the log says how many, and who comes on top is told 503."""
    ports = free_port(), free_port()
    words = ("sh", "-c", 'ulimit -n 240; exec "$@"', "sh")
    hub = HubProcess(redis_url, tmp_path / "log", ports, {"FANOUT_DRAIN": "0"}, words)
    try:
        await eventually(hub.ready, within=10)
        (line,) = hub.events("fanout.file_descriptors")
        assert line["wanted"] == 20_000
        assert (line["level"], line["limit"]) == ("warning", 240)
        most = line["connections"]
        with ExitStack() as sockets:
            assert await crowd(hub, most + 10, sockets) == [b"101"] * most + [b"503"] * 10
            # And where there is nothing left even so, those who come are cut off, and not the hub.
            resource.prlimit(hub.process.pid, resource.RLIMIT_NOFILE, (40, 240))
            assert set(await crowd(hub, 20, sockets)) == {b""}
        await eventually(lambda: hub.metric("fanout_connections") == 0)
        with ExitStack() as sockets:
            assert await crowd(hub, 1, sockets) == [b"101"]
    finally:
        hub.stop()


async def crowd(hub: HubProcess, count: int, sockets: ExitStack) -> list[bytes]:
    """The statuses that so many got, one after the other; b"" for a connection that was cut."""
    loop, answers = asyncio.get_running_loop(), []
    for number in range(count):
        sock = sockets.enter_context(socket.socket())
        sock.setblocking(False)
        try:
            async with asyncio.timeout(5):
                await loop.sock_connect(sock, ("127.0.0.1", hub.port))
                await loop.sock_sendall(sock, handshake(f"u{number}"))
                answers.append((await loop.sock_recv(sock, 12))[9:])
        except ConnectionError:
            answers.append(b"")
    return answers


async def test_invented_keys(redis_url: str, start_any_hub: StartAnyHub, peer: Connect, name: str) -> None:
    """An issuer's keys are fetched once, however many tokens name keys that it does not have; its own are taken."""
    key = issuers.signer("RS256")
    served: list[str] = []

    async def keys(request: web.Request) -> web.Response:
        served.append(request.path_qs)
        return web.json_response({"keys": [key.jwk(kid="k1", use="sig"), {"kty": "oct", "k": "AAAA", "kid": "k2"}]})

    def shown(kid: str, signer: issuers.Signer = key, **header: object) -> str:
        claims = issuers.claims(sub=name, exp=time.time() + 60)
        return f"Authorization: Bearer {issuers.token(signer, claims, kid=kid, **header)}\r\n"

    app = web.Application()
    app.router.add_get("/keys", keys)
    async with TestServer(app) as issuer:
        url = str(issuer.make_url("/keys?v=1"))
        hub = start_any_hub(redis_url, FANOUT_DRAIN="0", AUTH_JWKS_URL=url, AUTH_ISSUER=issuers.ISSUER)
        await eventually(hub.ready, within=10)
        assert served == ["/keys?v=1"]  # before anybody has come
        for header, status in [
            (shown("k1"), 101),
            (shown("k2", issuers.signer("HS256")), 401),
            (shown("../k1"), 401),
            (shown("k1", jku="http://evil.example/keys"), 101),
            (shown("k1", issuers.signer("RS256", 1)), 401),
            *((shown(f"invented-{number}"), 401) for number in range(1000)),
        ]:
            raw = await peer(hub)
            raw.send(request("/ws", header))
            assert int((await raw.head())[9:12]) == status
            raw.writer.transport.abort()
        assert hub.metric("fanout_jwks_fetches_total", outcome="ok") == 1
        assert hub.metric("fanout_issuer_keys") == 1

    assert served == ["/keys?v=1"]
    assert hub.metric("fanout_auth_refusals_total", code="token_invalid") == 1003
    hub.stop()


async def test_a_page_is_told_that_its_token_has_ended(guarded: HubProcess, peer: Connect) -> None:
    """A stream's 401 can be read by a page of another origin that may watch, and by no other page."""
    for origin, allowed in (("http://localhost:3000", "http://localhost:3000"), ("http://evil.example", None)):
        raw = await peer(guarded)
        raw.send(request("/sse", f"Origin: {origin}\r\n" + bearer("a", exp=1)))

        answer = await raw.everything()
        assert split(answer)[1].get("access-control-allow-origin") == allowed
        assert problem(answer)["code"] == ("token_expired" if allowed else "origin_forbidden")


async def test_what_browsers_ask_first(guarded: HubProcess, peer: Connect) -> None:
    """A page may send the header with its token: the browser is told so."""
    raw = await peer(guarded)
    raw.send(request("/sse", "Origin: http://localhost:3000\r\n", method="OPTIONS"))

    status, headers, _ = split(await raw.everything())
    assert (status, headers["access-control-allow-headers"]) == (204, "Authorization, Last-Event-ID")
