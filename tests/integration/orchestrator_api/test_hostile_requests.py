"""Bad requests: malformed names, cursors, methods, origins and bytes. Each gets a clear answer, none is kept open."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from orchestrator_api.serve import running
from orchestrator_api.settings import Settings
from tests.contract.test_events import CONTRACT
from tests.integration.orchestrator_api.conftest import Api
from tests.integration.orchestrator_api.hostile import (
    LEAKS,
    answers,
    assert_refused,
    get,
    one,
    post,
    request,
    send,
    stored,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

CONTROLS = (
    "%00",
    "%0a",
    "%0d%0a",
    "%0d%0aSet-Cookie:%20x=1",
    "%7f",
    "%ff",
    "%c0%80",
    "%ed%a0%80",
    "%",
    "%zz",
    "%u0061",
)
BAD_NAMES = (
    *CONTROLS,
    "%2f",
    "a%2fb",
    "..%2f",
    "..",
    "%2e%2e",
    "-a",
    "a%20b",
    "%D0%B0lice",
    "%EF%BC%90",
    "a*",
    "%25",
    "a" * 129,
)

UNKNOWN_PATHS = (
    "/page", "/page/", "/page/none.js", "/page/a/index.html", "/page/..%2findex.html", "/page/%2e%2e/serve.py",
    "/index.html", "/runs/", "/runs/r1/", "/runs/r1/events/", "/Runs/r1", "/api/v2/runs", "/metrics", "//runs",
    "/runs//events", "/runs/../runs", "/feeds/alice/events", "/api/v1/runs/r1/events/1", "/%2e%2e/etc/passwd",
    "/x?username=a",
)  # fmt: skip
FOREIGN_ORIGINS = (
    "null", "", "*", "localhost", "file://", "http://evil.example", "https://evil.example/localhost",
    "http://localhost.evil.example", "http://localhost:5173.evil.example", "http://127.0.0.1.evil.example",
    "http://localhost@evil.example", "http://evil.example#http://localhost", "http://localhost http://evil.example",
    "http://notlocalhost", "http://localhost:", "http://localhost:123456", "http://127.0.0", "http://0x7f.1",
    "http://localho\xc5\xbft", "http://127.0.0.\xd9\xa1",
)  # fmt: skip


@pytest.fixture
async def elsewhere(api: Api) -> AsyncIterator[Api]:
    """The same service with ALLOWED_ORIGINS."""
    settings = replace(api.settings, allowed_origins=("https://app.example.com",))
    async with running(settings) as service:
        await eventually(lambda: not service.recorder.problems(), within=10)
        yield Api(service, api.session, settings)


@pytest.fixture
async def without_database(redis_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A service whose database is away; its address is a path."""
    url = f"postgresql://runfeed:secret-password@/runfeed?host={tmp_path}"
    settings = Settings.from_env({"DATABASE_URL": url, "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"})
    async with running(settings) as service, aiohttp.ClientSession() as session:
        await eventually(lambda: "not connected yet" not in "".join(service.recorder.problems()))
        yield Api(service, session, settings)


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_unknown_runs(api: Api, prefix: str) -> None:
    """A run that does not exist is 404 for every call that names it."""
    for path in (f"{prefix}/runs/nobody", f"{prefix}/runs/nobody/events", f"{prefix}/runs/nobody/events?after=0"):
        assert_refused(await get(api, path), 404, "run_id", "run_unknown")
    for body in (b'{"type":"a"}', b'{"events":[{"type":"a"}]}'):
        assert_refused(await post(api, f"{prefix}/runs/nobody/events", body), 404, "run_id", "run_unknown")


async def test_malformed_names(api: Api) -> None:
    """A run_id or username that can be none is 400 or no path at all, and its text is not sent back."""
    for name in BAD_NAMES:
        targets = {
            f"/runs/{name}": "run_id",
            f"/api/v1/runs/{name}/events": "run_id",
            f"/api/v1/feeds/{name}/events": "username",
            f"/runs?username={name}": "username",
            f"/api/v1/feeds/alice/events?run_id={name}": "run_id",
        }
        for target, field in targets.items():
            answer = await get(api, target)
            assert_refused(answer, answer.status, field)
            assert answer.status == 400, (target, answer)
            assert "set-cookie" not in answer.headers
        assert_refused(await post(api, f"/runs/{name}/events", b'{"type":"a"}'), 400, "run_id")
    for target in ("/runs?username=", "/runs?username", "/runs", "/runs?Username=a", "/runs?username=a&username=a"):
        assert_refused(await get(api, target), 400, "username")
    assert_refused(await get(api, "/runs?username=a;username=b"), 400, "username")
    plus = await get(api, "/runs?username=a+b")
    assert_refused(plus, 400, "username")
    assert "%2B" in plus.json["detail"]


async def test_names_with_signs(api: Api) -> None:
    """Every name that the contract allows works in a path and a query, encoded or as it is where HTTP allows that."""
    for username in CONTRACT["names"]["username"]["valid"]:
        encoded = "".join(f"%{ord(character):02x}" for character in username)
        for text in (username, encoded):
            assert (await get(api, f"/api/v1/feeds/{text}/events")).status == 200, text
        assert (await get(api, f"/runs?username={encoded}")).json == {"runs": [], "cursor": None}
    for run_id in CONTRACT["names"]["run_id"]["valid"]:
        encoded = "".join(f"%{ord(character):02x}" for character in run_id)
        for text in (run_id, encoded):
            assert_refused(await get(api, f"/runs/{text}"), 404, "run_id")


async def test_cursors(api: Api) -> None:
    """A malformed cursor is 400; one beyond the head or of another epoch is 410 with what is known, never empty."""
    await api.create("alice", "r1", events=[{"type": "a"}, {"type": "b"}])
    for path in ("/runs/r1/events", "/api/v1/feeds/alice/events"):
        for after in ("", "x", "01", "-1", "%2B1", "1.0", "1e3", "%201", "1%00", "99999999999999999", "%EF%BC%91"):
            assert_refused(await get(api, f"{path}?after={after}"), 400, "after")
        assert_refused(await get(api, f"{path}?after=1&after=1"), 400, "after")
        assert_refused(await get(api, f"{path}?epoch=a&epoch=a"), 400, "epoch")
        epoch = (await get(api, path)).json["epoch"]
        for query in ("after=3", "after=9999999999999999", "after=0&epoch=x", f"after=1&epoch={epoch}0", "epoch="):
            gone = await get(api, f"{path}?{query}", "If-None-Match: *")
            assert_refused(gone, 410, "after", "cursor_unknown")
            assert {name: gone.json[name] for name in ("epoch", "first", "head")} == {
                "epoch": epoch,
                "first": 1,
                "head": 2,
            }
        for query, count in (("after=0", 2), (f"after=1&epoch={epoch}", 1), ("after=2", 0), ("limit=1", 1)):
            assert len((await get(api, f"{path}?{query}")).json["events"]) == count
    assert_refused(await get(api, "/api/v1/feeds/nobody/events?after=1"), 410, "after", "cursor_unknown")


async def test_limits(api: Api) -> None:
    """A limit outside its range, a status that is none, a cursor that no list gave and too many filters are 400."""
    await api.create("alice", "r1")
    most = {"/runs/r1/events?": 10**8, "/api/v1/feeds/alice/events?": 5000, "/runs?username=alice&": 500}
    for path, limit in most.items():
        for bad in ("", "0", "-1", "1.5", "x", "01", "%201", "1e2", str(limit + 1), "9" * 400, "%EF%BC%91"):
            assert_refused(await get(api, f"{path}limit={bad}"), 400, "limit")
        assert_refused(await get(api, f"{path}limit=1&limit=1"), 400, "limit")
        assert (await get(api, f"{path}limit={limit}")).status == 200
    for status in ("", "x", "Running", "queued,running"):
        assert_refused(await get(api, f"/runs?username=alice&status={status}"), 400, "status")
    for cursor in ("", "x", "1", "/r1", "1/", "1e9/r1", "nan/r1", "1/a%00", "1/a/b", "9" * 13 + "/r1", "-1/r1"):
        assert_refused(await get(api, f"/runs?username=alice&cursor={cursor}"), 400, "cursor")
    filters = "&".join(f"run_id=r{number}" for number in range(129))
    assert_refused(await get(api, f"/api/v1/feeds/alice/events?{filters}"), 400, "run_id")


async def test_methods_and_paths(api: Api) -> None:
    """A wrong method is 405 with Allow, an unknown path 404, HEAD a GET without a body; none stores anything."""
    await api.create("alice", "r1", events=[{"type": "a"}])
    for path, allowed in (
        ("/runs", "GET, HEAD, OPTIONS, POST"),
        ("/api/v1/runs/r1", "GET, HEAD, OPTIONS"),
        ("/api/v1/runs/r1/events", "GET, HEAD, OPTIONS, POST"),
        ("/api/v1/feeds/heads", "OPTIONS, POST"),
    ):
        for method in ("PUT", "PATCH", "DELETE", "TRACE"):
            answer = await one(api, request(method, path, body=b'{"type":"a"}'))
            assert_refused(answer, 405, "method", "method_not_allowed")
            assert answer.headers["allow"] == allowed
        options = await one(api, request("OPTIONS", path))
        assert (options.status, options.headers["allow"]) == (204, allowed)
    for path in UNKNOWN_PATHS:
        assert_refused(await get(api, path), 404, "path", "path_unknown")
    for path in ("/runs/r1", "/runs/r1/events", "/runs?username=alice", "/healthz"):
        head = answers(await send(api.service.port, request("HEAD", path)), head=True)
        assert [answer.status for answer in head] == [200]
    assert await stored(api, "r1") == (1, 1, "running")


async def test_head_of_a_long_history(api: Api) -> None:
    """HEAD of a history that is streamed has no body either: it would be taken for the answer to the next request."""
    await api.create("alice", "r1")
    for _ in range(3):  # more than a page
        await api.append("r1", *[{"type": "a"} for _ in range(500)])
    path = "/runs/r1/events"
    asked = request("HEAD", path, close=False) + request("GET", "/healthz")

    said = await send(api.service.port, asked)

    first, second = said.split(b"\r\n\r\n", 1)
    assert first.startswith(b"HTTP/1.1 200 ")
    assert b"etag" in first.lower()
    assert second.startswith(b"HTTP/1.1 200 "), second[:100]
    assert [answer.status for answer in answers(second)] == [200]


async def test_origins(api: Api) -> None:
    """Loopback pages may call; others get no CORS header and cannot write, however their origin looks."""
    await api.create("alice", "r1")
    path = "/api/v1/runs/r1/events"
    for origin in (
        "http://localhost",
        "http://localhost:5173",
        "https://127.0.0.1:8443",
        "http://127.9.9.9",
        "http://[::1]:80",
    ):
        answer = await post(api, path, b'{"type":"a"}', f"Origin: {origin}")
        assert (answer.status, answer.headers.get("access-control-allow-origin")) == (201, origin)
        assert answer.headers["vary"] == "Origin"
    last_seq = (await stored(api, "r1"))[0]
    for origin in FOREIGN_ORIGINS:
        answer = await post(api, path, b'{"type":"a"}', f"Origin: {origin}")
        assert_refused(answer, 403, "Origin", "origin_forbidden")
        read = await get(api, path, f"Origin: {origin}")
        preflight = await one(api, request("OPTIONS", path, f"Origin: {origin}", "Access-Control-Request-Method: POST"))
        assert (read.status, preflight.status) == (200, 204)
        for found in (answer, read, preflight):
            assert not [name for name in found.headers if name.startswith("access-control-allow-o")], origin
            assert "access-control-allow-credentials" not in found.headers
    assert (await stored(api, "r1"))[0] == last_seq


async def test_allowed_origins(elsewhere: Api) -> None:
    """With ALLOWED_ORIGINS only exactly those may call: no loopback, no other port, scheme, letter case or suffix."""
    allowed = await get(elsewhere, "/runs?username=alice", "Origin: https://app.example.com")
    assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "etag" in allowed.headers["access-control-expose-headers"].lower()
    for origin in (
        "https://app.example.com.evil.io", "https://evil.app.example.com", "https://app.example.com:443", "null",
        "https://app.example.com/", "https://APP.example.com", "http://app.example.com", "http://localhost",
    ):  # fmt: skip
        answer = await post(elsewhere, "/runs", b'{"username":"alice"}', f"Origin: {origin}")
        assert_refused(answer, 403, "Origin", "origin_forbidden")
        assert "access-control-allow-origin" not in answer.headers
    assert (await post(elsewhere, "/runs", b'{"username":"alice"}')).status == 201  # a worker has no Origin


async def test_etags(api: Api) -> None:
    """If-None-Match is a list, compared weakly; whatever is no list of tags is no match; 304 has no body."""
    await api.create("alice", "r1", events=[{"type": "a"}])
    path = "/runs/r1/events"
    first = await get(api, path)
    tag = first.headers["etag"]
    assert tag == f'"{first.json["epoch"][-8:]}-1-running"'
    for header in (tag, f"W/{tag}", f'"x", {tag}', f'"x",W/"y",{tag} , "z"', "*", " * "):
        for method in ("GET", "HEAD"):
            answer = await one(api, request(method, f"{path}?after=0&limit=1", f"If-None-Match: {header}"))
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag), header
            assert answer.headers["cache-control"] == "private, no-cache"
    for header in (
        "",
        tag.strip('"'),
        tag[:-1],
        f'"x{tag[1:]}',
        '"*"',
        "**",
        "\xff",
        '"' * 5000,
        '"x", "y"',
        f"'{tag[1:-1]}'",
    ):
        assert (await get(api, path, f"If-None-Match: {header}")).status == 200, header[:50]
    await api.append("r1", {"type": "steps_completed"})
    assert (await get(api, path, f"If-None-Match: {tag}")).status == 200


async def test_server_errors_of_the_poll(without_database: Api) -> None:
    """Without a database the poll answers text to who asks for anything and a problem to who asks for JSON."""
    api = without_database
    for path in ("/runs/r1/events", "/api/v1/runs/r1/events"):
        for headers in ((), ("Accept: */*",), ("Accept: text/html,*/*;q=0.8",)):
            answer = await get(api, path, *headers)
            assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (503, "text/plain")
            assert answer.headers["retry-after"] == "1"
            assert answer.body.count(b"\n") == 1
            assert not LEAKS.search(answer.body.decode())
        for accept in ("application/json", "application/problem+json, */*"):
            answer = await get(api, path, f"Accept: {accept}")
            assert_refused(answer, 503, code="store_away")
            assert answer.headers["retry-after"] == "1"
    for path in ("/runs/r1", "/runs?username=alice", "/api/v1/feeds/alice/events"):
        assert_refused(await get(api, path), 503, code="store_away")


async def test_a_database_away_tells_no_address(without_database: Api) -> None:
    """Without a database a write is 503 and neither it nor readiness tells a caller where or what the database is."""
    for path, body in (("/runs", b'{"username":"alice"}'), ("/api/v1/feeds/heads", b'{"usernames":["a"]}')):
        assert_refused(await post(without_database, path, body), 503, code="store_away")
    ready = await get(without_database, "/readyz")
    assert ready.status == 503
    assert not (leak := LEAKS.search(ready.body.decode())), leak
    assert b"secret-password" not in ready.body


async def test_metrics_do_not_grow(api: Api) -> None:
    """Names, ids, paths, methods and keys of requests make no series: as many afterwards as before."""

    async def visit(name: str) -> None:
        body = f'{{"username":"{name}","run_id":"{name}","events":[{{"type":"{name}"}}]}}'
        await post(api, "/runs", body, f"Idempotency-Key: {name}")
        await post(api, f"/runs/{name}/events", b'{"type":"a","id":1}')
        await post(api, f"/runs/unknown-{name}/events", b'{"type":"a"}')
        for path in (f"/{name}", f"/runs/{name}", f"/runs?username={name}", f"/api/v1/feeds/{name}/events?after=7"):
            await get(api, path, f"Origin: http://{name}.example", f"User-Agent: {name}")
        await one(api, request("PROPFIND", f"/runs/{name}"))
        await one(api, request("PUT", f"/{name}"))

    async def series() -> set[str]:
        async with api.session.get(f"http://127.0.0.1:{api.service.admin_port}/metrics") as response:
            lines = (await response.text()).splitlines()
        return {line.rpartition(" ")[0] for line in lines if line[:1] not in ("", "#")}

    await visit("first")
    before = await series()
    for number in range(20):
        await visit(f"n{number}")
    after = await series()
    assert after == before
    assert not [line for line in after if "first" in line or "n1" in line]
