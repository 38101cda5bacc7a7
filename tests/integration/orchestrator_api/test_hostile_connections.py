"""Bad connections: bytes that are no HTTP, lengths that lie, peers that stop, drip or never read; what is logged."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from orchestrator_api.settings import Settings
from tests.integration.orchestrator_api.conftest import Api, served
from tests.integration.orchestrator_api.hostile import (
    Answer,
    answers,
    assert_refused,
    get,
    one,
    post,
    request,
    send,
    stored,
)
from tests.support.processes import clean_environ, free_ports, procfile_command, ready_or_say_why
from tests.support.waiting import eventually, eventually_sync

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

RUN = "/api/v1/runs/r1/events"
POST = f"POST {RUN} HTTP/1.1\r\nHost: x\r\n".encode()
SECRET = "TOPSECRET"

UNREADABLE = {
    "no HTTP": f"{SECRET}\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another version": f"GET /runs?username={SECRET} HTTP/9.9\r\nHost: x\r\n\r\n",
    "a space in the target": f"GET /runs?username=a&token={SECRET} {SECRET} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a line end alone": f"GET /runs?username={SECRET} HTTP/1.1\nHost: x\n\n",
    "a target outside ASCII": f"GET /runs/\xe9?username={SECRET} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a control character in the target": f"GET /runs/\x01?username={SECRET} HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": f"FOO /runs?username={SECRET} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bad authority": f"GET http://[::1/runs?username={SECRET} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bad port": f"GET http://x:99999999/runs?username={SECRET} HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": f"CONNECT {SECRET}:b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a star": "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "no Host": f"GET /runs?username={SECRET} HTTP/1.1\r\n\r\n",
    "a header's name with a space": f"GET /runs HTTP/1.1\r\nHost: x\r\nAuthoriz ation: {SECRET}\r\n\r\n",
    "a header with NUL": f"GET /runs HTTP/1.1\r\nHost: x\r\nAuthorization: {SECRET}\0\r\n\r\n",
    "a header over two lines": f"GET /runs HTTP/1.1\r\nHost: x\r\nX: y\r\n {SECRET}\r\n\r\n",
    "a header of 20 KB": f"GET /runs HTTP/1.1\r\nHost: x\r\nAuthorization: {SECRET}{'x' * 20_000}\r\n\r\n",
    "a target of 20 KB": f"GET /runs?username={SECRET}{'x' * 20_000} HTTP/1.1\r\nHost: x\r\n\r\n",
    "2,000 headers": "GET /runs HTTP/1.1\r\nHost: x\r\n" + f"X: {SECRET}\r\n" * 2_000 + "\r\n",
    "two lengths": f"{POST.decode()}Content-Length: 12\r\nContent-Length: 13\r\n\r\n{SECRET}",
    "a length and chunks": f"{POST.decode()}Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}",
    "a length below 0": f"{POST.decode()}Content-Length: -1\r\n\r\n{SECRET}",
    "a length that is no number": f"{POST.decode()}Content-Length: 0x10\r\n\r\n{SECRET}",
    "chunked twice": f"{POST.decode()}Transfer-Encoding: chunked, chunked\r\n\r\n{SECRET}",
    "another transfer encoding": f"{POST.decode()}Transfer-Encoding: {SECRET}\r\n\r\n",
    "a chunk without a size": f"{POST.decode()}Transfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
    "a chunk longer than its size": f"{POST.decode()}Transfer-Encoding: chunked\r\n\r\n3\r\nfoo{SECRET}\r\n",
    "a chunk of 2^64 bytes": f"{POST.decode()}Transfer-Encoding: chunked\r\n\r\n{'f' * 17}\r\n{SECRET}\r\n",
}


async def test_unreadable_requests(api: Api) -> None:
    """What is no HTTP/1 request is answered by one problem that repeats nothing of it, and the connection closes."""
    wrong = {}
    for name, data in UNREADABLE.items():
        try:
            answer = await one(api, data.encode("latin-1"))
            assert answer.status in (400, 414, 431, 501)
            assert SECRET.encode() not in answer.body
            assert_refused(answer, answer.status)
        except AssertionError as problem:
            wrong[name] = str(problem)[:150]
    assert wrong == {}


async def test_expectations(api: Api) -> None:
    """`Expect: 100-continue` is answered before the body, but of HTTP/1.0; any other expectation is 417."""
    await api.create("alice", "r1")
    head = request("POST", RUN, "Expect: 100-continue", "Content-Length: 12")
    received = await send(api.service.port, head + b'{"type":"a"}')
    assert received.startswith(b"HTTP/1.1 100 ")
    assert answers(received)[0].status == 201
    assert_refused(await post(api, RUN, b'{"type":"a"}', "Expect: a miracle"), 417, "Expect")
    old = await send(api.service.port, head.replace(b"HTTP/1.1", b"HTTP/1.0") + b'{"type":"a"}')
    assert old.startswith(b"HTTP/1.1 201 ")
    assert (await stored(api, "r1"))[0] == 2


async def test_pipelined_requests(api: Api) -> None:
    """Requests in one segment are answered one by one in their order, and what is stored is what was answered so."""
    await api.create("alice", "r1")
    event = b'{"type":"a"}'
    requests = [request("POST", RUN, body=event, close=False), request("GET", "/runs/r1", close=False)] * 100
    found = answers(await send(api.service.port, b"".join(requests) + request("GET", "/x")))
    assert [answer.status for answer in found] == [201, 200] * 100 + [404]
    assert [answer.json["events"][0]["seq"] for answer in found[:-1:2]] == list(range(1, 101))
    assert [answer.json["last_seq"] for answer in found[1:-1:2]] == list(range(1, 101))

    *before, garbage = answers(await send(api.service.port, requests[0] + b"garbage\r\n\r\n"))
    assert garbage.status == 400
    assert [answer.status for answer in before] == [201] * ((await stored(api, "r1"))[0] - 100)
    upgrade = request("GET", "/runs/r1", "Upgrade: websocket", "Connection: Upgrade", close=False)
    found = answers(await send(api.service.port, upgrade + request("GET", "/runs/r1")))
    assert [answer.status for answer in found] == [200, 200]


async def test_pipelined_and_not_read(api: Api) -> None:
    """Who asks on and on and reads nothing has one answer made beyond what the kernel takes, and in the end all."""
    await api.create("alice", "r1")
    await api.append("r1", *[{"type": "a", "x": "x" * 3900}] * 250)
    asked, page = 40, "/api/v1/feeds/alice/events"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.service.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(request("GET", page, close=False) * (asked - 1) + request("GET", page))

    async def more_than_half() -> bool:
        route = "/api/v1/feeds/{username}/events"
        return await api.metric("orchestrator_request_duration_seconds_count", route=route) > asked / 2

    with pytest.raises(AssertionError):
        await eventually(more_than_half, within=1)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        found = answers(await reader.read(-1))
    writer.transport.abort()
    assert [len(answer.json["events"]) for answer in found] == [250] * asked


async def test_lengths_that_lie(api: Api) -> None:
    """A body is as long as its length says: what is behind it is another request, and none of it is an event."""
    await api.create("alice", "r1")
    event = b'{"type":"a"}'
    short = answers(await send(api.service.port, POST + b"Content-Length: 11\r\n\r\n" + event))
    assert {answer.status for answer in short} == {400}
    smuggled = event + request("POST", RUN, body=b'{"type":"smuggled"}')
    found = answers(
        await send(
            api.service.port, POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled
        )
    )
    assert {answer.status for answer in found} == {400}
    zero = answers(await send(api.service.port, POST + b"Content-Length: 0\r\nConnection: close\r\n\r\n"))
    assert_refused(zero[0], 400, "body")
    none = answers(await send(api.service.port, POST + b"Connection: close\r\n\r\n"))
    assert_refused(none[0], 400, "body")
    assert await stored(api, "r1") == (0, 0, "queued")


async def dripped(port: int, first: bytes, piece: bytes) -> tuple[float, list[Answer]]:
    """Send the first bytes, then a piece again and again; seconds until the server closed, and its answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    received = bytearray()
    try:
        async with asyncio.timeout(20):
            writer.write(first)
            while not reader.at_eof():
                try:
                    async with asyncio.timeout(0.3):
                        received += await reader.read(1 << 16)
                except TimeoutError:
                    writer.write(piece)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return time.monotonic() - began, answers(bytes(received))


def server_side(server: int, client: int) -> bool:
    """Whether the kernel still has the server's end of a connection between these ports."""
    ends = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any((int(a[-4:], 16), int(b[-4:], 16)) == (server, client) and state == "01" for a, b, state in ends)


async def never_read(api: Api) -> float:
    """Ask for a long history and read none of it; seconds until the server let the connection go."""
    _, writer = await asyncio.open_connection("127.0.0.1", api.service.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    began = time.monotonic()
    client: int = writer.get_extra_info("sockname")[1]
    try:
        writer.write(request("GET", "/runs/long/events"))
        await eventually(lambda: not server_side(api.service.port, client), within=25)
    finally:
        writer.transport.abort()
    return time.monotonic() - began


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into Linux's table of connections")
async def test_peers_that_stall(api: Api) -> None:
    """Whoever stops or drips a head or a body, or reads nothing, is gone some 10 s later; a body gets its 408."""
    await api.create("alice", "r1")
    await api.create("bob", "long")
    for _ in range(40):
        await api.append("long", *[{"type": "a", "x": "x" * 3900}] * 250)
    whole = request("GET", "/runs/r1", close=False)
    heads = {
        "nothing": (b"", b""),
        "half a head": (b"GET / HTTP/1.1\r\nHost: x\r\n", b""),
        "a dripped head": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y"),
        "a dripped head after a request": (whole + b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        "empty lines": (b"", b"\r\n"),
        "an upgrade, then nothing": (request("GET", "/runs/r1", "Upgrade: x", "Connection: Upgrade", close=False), b""),
    }
    bodies = {
        "half a body": (POST + b"Content-Length: 100\r\n\r\n{", b""),
        "a dripped body": (POST + b"Content-Length: 100\r\n\r\n{", b" "),
        "dripped chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        "a dripped chunk size": (POST + b"Transfer-Encoding: chunked\r\n\r\n0", b"0"),
        "dripped trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        "100-continue, then nothing": (POST + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n", b""),
    }
    unread = asyncio.create_task(never_read(api))
    cases = heads | bodies
    ends = await asyncio.gather(*[dripped(api.service.port, *case) for case in cases.values()])
    seconds = {name: round(end[0], 1) for name, end in zip(cases, ends, strict=True)}
    assert {name: taken for name, taken in seconds.items() if not 5 < taken < 13} == {}
    late = dict(zip(cases, (end[1] for end in ends), strict=True))
    assert {name: [answer.status for answer in late[name]] for name in bodies} == {name: [408] for name in bodies}
    for name in bodies:
        assert_refused(late[name][0], 408, "body", "body_timeout")
    assert await stored(api, "r1") == (0, 0, "queued")
    assert await unread < 20


def test_logs_tell_nothing(migrated_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Whatever is sent, each log line is one JSON object, without a name, a token, a body or a stack trace."""
    ports = free_ports()
    environ = clean_environ(**ports, DATABASE_URL=migrated_database_url, REDIS_URL=redis_url, LOG_FORMAT="json")
    with procfile_command("api", environ, tmp_path / "api.log") as api:
        ready_or_say_why(api, ports["API_ADMIN_PORT"])
        asyncio.run(_shout(int(ports["API_PORT"])))
        eventually_sync(lambda: api.output().count('"/healthz"') >= 1)
        output = api.output()
    lines = [json.loads(line) for line in output.splitlines()]  # all of them, or it is no log
    assert len(lines) > 15
    shown = [line for line in output.splitlines() if SECRET.lower() in line.lower()]
    assert shown == []
    assert not [line for line in lines if "exception" in line or "stack" in line]
    assert {line["route"] for line in lines if "route" in line} <= {
        "/runs",
        "/runs/{run_id}",
        "/runs/{run_id}/events",
        "/api/v1/feeds/{username}/events",
        "/api/v1/feeds/heads",
        "/healthz",
        "unmatched",
    }


async def _shout(port: int) -> None:
    """Say the secret in every part of a request, well-formed or not; the last request is for /healthz."""
    body = f'{{"username":"{SECRET}","run_id":"{SECRET}","events":[{{"type":"a","token":"{SECRET}"}}]}}'.encode()
    surrogate = f'{{"username":"{SECRET}","\\ud800{SECRET}":1}}'.encode()
    said = [
        request("POST", "/runs", f"Authorization: Bearer {SECRET}", f"Idempotency-Key: {SECRET}", body=body),
        request("POST", f"/runs/{SECRET}/events", body=b'{"type":"a","x":"%b"}' % SECRET.encode()),
        request("POST", f"/runs/{SECRET}/events", body=b'{"type":"a","%b":NaN}' % SECRET.encode()),
        request("POST", f"/runs/{SECRET}/events", body=b'{"type":"a","%b":1e99999999999999999999}' % SECRET.encode()),
        request("POST", f"/runs/{SECRET}/events", "Content-Encoding: gzip", body=SECRET.encode()),
        request("POST", f"/runs/{SECRET}/events", f"Content-Encoding: {SECRET}", body=SECRET.encode()),
        request("POST", "/runs", body=surrogate),
        request("POST", "/api/v1/feeds/heads", body=b'{"usernames":["%b"]}' % SECRET.encode()),
        request("GET", f"/runs?username={SECRET}&token={SECRET}"),
        request("GET", f"/runs/{SECRET}/events?after=0&access_token={SECRET}"),
        request("GET", f"/api/v1/feeds/{SECRET}/events?token={SECRET}", f"Cookie: {SECRET}"),
        request("GET", f"/{SECRET}%0d%0a{SECRET}?username={SECRET}"),
        request("GET", f"/runs/{SECRET}%00", f"Origin: http://{SECRET}", f"User-Agent: {SECRET}", f"Referer: {SECRET}"),
        request(SECRET, "/runs"),
        *[data.encode("latin-1") for data in UNREADABLE.values()],
    ]
    for data in said:
        await send(port, data)
    await send(port, request("GET", "/healthz"))


async def test_the_service_lives_on(api: Api) -> None:
    """After 300 connections that say nonsense at once, a plain call is answered as ever."""
    await api.create("alice", "r1")
    nonsense = [data.encode("latin-1") for data in UNREADABLE.values()]
    await asyncio.gather(*[send(api.service.port, nonsense[number % len(nonsense)]) for number in range(300)])
    assert (await get(api, "/runs/r1")).status == 200
    assert await api.append("r1", {"type": "a"}) == [(1, 1)]


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"API_MAX_CONNECTIONS": "4"}, "process"),
        (
            {"API_CONNECTIONS_PER_ADDRESS": "4", "WATCH_TOKEN_KEY": "a secret of the tests, thirty-two bytes long"},
            "address",
        ),
    ],
)
async def test_too_many_connections(
    migrated_database_url: str, redis_url: str, limits: dict[str, str], limit: str
) -> None:
    """A connection more than may be is told so at once; who is connected goes on, and a free place is given again."""
    urls = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"}
    async with served(Settings.from_env(urls | limits)) as api:
        kept = [await asyncio.open_connection("127.0.0.1", api.service.port) for _ in range(4)]
        await eventually(lambda: counted(api, 4))

        refused = await one(api, b"")
        assert_refused(refused, 503, code="too_many_connections")
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert await api.metric("orchestrator_connections_refused_total", limit=limit) == 1
        reader, writer = kept[0]
        writer.write(request("GET", "/healthz"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")

        await eventually(lambda: counted(api, 3))
        assert (await get(api, "/healthz")).status == 200
        for _, each in kept:
            each.close()
        await eventually(lambda: counted(api, 0))


async def counted(api: Api, number: int) -> bool:
    """Whether the service counts so many connections."""
    return await api.metric("orchestrator_connections") == number
