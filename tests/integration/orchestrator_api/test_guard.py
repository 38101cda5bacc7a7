"""From a request to who makes it: credentials in all their forms, hosts, an issuer's keys, and what is told."""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from structlog.testing import capture_logs

from orchestrator_api import guard, keys
from orchestrator_api.auth_config import AuthConfig
from tests.integration.orchestrator_api.conftest import Api
from tests.integration.orchestrator_api.hostile import LEAKS, assert_refused, get, one, post, request
from tests.integration.orchestrator_api.who import SHARED, Proving, bearer, proving
from tests.support.proving import HMAC_KEY, token
from tests.support.servers import OwnPostgres
from tests.support.waiting import eventually

pytestmark = [pytest.mark.any_server, SHARED]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(modules_database_url: str, redis_url: str) -> AsyncIterator[Proving]:
    """An API in JWT mode."""
    async with proving(modules_database_url, redis_url) as world:
        yield world


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([], "token_missing"),
        (["Authorization:"], "token_missing"),
        (["Authorization: Bearer"], "token_missing"),
        (["Authorization: Basic dXNlcjpwYXNz"], "token_missing"),
        (["Authorization: Bearer x"], "token_invalid"),
        (["Authorization: Bearer a.b.c"], "token_invalid"),
        (["Authorization: Bearer \xe9\xff.\xe9.\xe9"], "token_invalid"),
        (["Authorization: Bearer " + "x" * 8000], "token_invalid"),
        (["Authorization: Bearer rfk_"], "key_unknown"),
        (["Authorization: Bearer rfk_" + "0" * 16 + "_" + "x" * 43], "key_unknown"),
        (["Authorization: Bearer rfk_\xe9"], "key_unknown"),
    ],
)
async def test_no_proof(world: Proving, said: list[str], code: str) -> None:
    """What proves nothing is 401 with a code that is counted, and a header that says how."""
    before = await world.api.metric("orchestrator_auth_refusals_total", code=code)
    answer = await get(world.api, "/runs", *said)

    assert_refused(answer, 401, "Authorization", code)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert await world.api.metric("orchestrator_auth_refusals_total", code=code) == before + 1


async def test_what_comes_before_proof(world: Proving) -> None:
    """Whoever shows nothing learns which paths and methods there are, as everybody may, and nothing more."""
    for method, path, header, status, code in (
        ("GET", "/nothing", "Accept: */*", 404, "path_unknown"),
        ("DELETE", "/runs/x", "Accept: */*", 405, "method_not_allowed"),
        ("POST", "/runs", "Origin: https://evil.example", 403, "origin_forbidden"),
        ("GET", "/runs/x", "Origin: https://evil.example", 401, "token_missing"),
        ("POST", "/runs", "Accept: */*", 401, "token_missing"),
    ):
        found = await one(world.api, request(method, path, header))
        assert (found.status, json.loads(found.body)["code"]) == (status, code), (method, path)


async def test_two_headers(world: Proving) -> None:
    """Two Authorization headers are refused whatever they hold: a proxy may have judged the other one."""
    said = f"Authorization: Bearer {token()}"
    assert_refused(await get(world.api, "/runs", said, said), 400, "Authorization", "invalid")


async def test_scheme(world: Proving) -> None:
    """The scheme's name is not case-sensitive, and a credential may have space around it."""
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer  "):
        assert (await get(world.api, "/runs", f"Authorization: {scheme} {token()} ")).status == 200


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1000.0}, "token_expired"),
        ({"exp": None}, "token_invalid"),
        ({"aud": "other"}, "token_invalid"),
        ({"iss": "runfeed:api"}, "token_invalid"),
        ({"iss": "runfee"}, "token_invalid"),
        ({"sub": None}, "token_invalid"),
        ({"nbf": 9e9}, "token_invalid"),
    ],
)
async def test_tokens(world: Proving, claims: dict[str, Any], code: str) -> None:
    """A token whose claims do not hold is refused."""
    assert_refused(await get(world.api, "/runs", f"Authorization: Bearer {token(**claims)}"), 401, None, code)


async def test_signatures(world: Proving) -> None:
    """A token of another key, and one of none, are refused."""
    unsigned = jwt.encode({"iss": "runfeed", "aud": "runfeed", "sub": "alice", "exp": time.time() + 60}, "", "none")
    for shown in (token(key="another secret, which is long enough"), unsigned):
        found, body = await world.ask(bearer(shown), "GET", "/runs")
        assert (found, body["code"]) == (401, "token_invalid")


async def test_expired_key(world: Proving) -> None:
    """A key with a wrong secret, one that has ended, and one that was never made get the same answer."""
    ended = (await world.key("hub", expires_at=time.time() - 1))["Authorization"].removeprefix("Bearer ")
    good = (await world.key("hub"))["Authorization"].removeprefix("Bearer ")
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    said = [await world.raw(bearer(key), "GET", "/api/v1/revocations") for key in (ended, wrong, keys.new()[1])]

    assert said[0] == said[1] == said[2]
    assert (said[0][0], json.loads(said[0][2])["code"]) == (401, "key_unknown")
    assert (await world.raw(bearer(good), "GET", "/api/v1/revocations"))[0] == 200


async def test_revoked_key(world: Proving) -> None:
    """A key that was removed works no longer two seconds later, though it was known."""
    headers = await world.key("hub")
    assert (await world.ask(headers, "GET", "/api/v1/revocations"))[0] == 200
    await world.database.execute("DELETE FROM api_keys WHERE may = $1", ["hub"])

    async def refused() -> bool:
        return (await world.ask(headers, "GET", "/api/v1/revocations"))[0] == 401

    await eventually(refused, within=2.0)


@pytest.mark.asyncio(loop_scope="function")
async def test_hosts(api: Api, migrated_database_url: str, redis_url: str) -> None:
    """A page whose name was made to point here reads nothing on either port, but for the probes' calls."""
    evil = "Host: evil.example\r\n"
    for path, status in (("/runs/x", 403), ("/", 403), ("/nothing", 403), ("/healthz", 200), ("/readyz", 200)):
        answer = await one(api, f"GET {path} HTTP/1.1\r\n{evil}Connection: close\r\n\r\n".encode())
        assert answer.status == status, path
    for method in ("OPTIONS", "POST"):
        answer = await one(api, f"{method} /runs HTTP/1.1\r\n{evil}Connection: close\r\n\r\n".encode())
        assert_refused(answer, 403, "Host", "host_forbidden")
    assert await api.metric("orchestrator_auth_refusals_total", code="host_forbidden") == 5
    admin = f"http://127.0.0.1:{api.service.admin_port}"
    for path, status in (("/metrics", 403), ("/healthz", 200), ("/readyz", 200)):
        async with api.session.get(admin + path, headers={"Host": "evil.example"}) as response:
            assert response.status == status, path
    async with proving(migrated_database_url, redis_url, ALLOWED_HOSTS="api.example") as world:
        for host, expected in (("api.example", 200), ("API.example:99", 200), ("localhost", 200), ("runfeed", 403)):
            found = await one(
                world.api, f"GET /api/v1/config HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            assert found.status == expected, host


@pytest.mark.asyncio(loop_scope="function")
async def test_health_tells_the_mode(api: Api, migrated_database_url: str, redis_url: str) -> None:
    """Both ports' /healthz and a gauge say whether callers prove who they are."""
    assert await api.get("/healthz") == (200, {"status": "ok", "auth": "insecure-username"})
    assert await api.metric("orchestrator_auth_insecure") == 1
    async with proving(migrated_database_url, redis_url) as world:
        assert await world.api.get("/healthz") == (200, {"status": "ok", "auth": "jwt"})
        async with world.api.session.get(f"http://127.0.0.1:{world.api.service.admin_port}/healthz") as response:
            assert await response.json() == {"status": "ok", "auth": "jwt"}
        assert await world.api.metric("orchestrator_auth_insecure") == 0
        assert (await world.api.get("/"))[0] == 404  # the page: off where there is a key


@pytest.mark.asyncio(loop_scope="function")
async def test_insecure_mode_asks_nobody(api: Api) -> None:
    """In insecure mode a credential is not looked at, and the calls that need proof say that none is configured."""
    for headers in ({}, bearer("x"), bearer("rfk_x")):
        async with api.session.get(api.url("/runs?username=alice"), headers=headers) as response:
            assert response.status == 200
    for method, path in (
        ("POST", "tickets"),
        ("POST", "tickets/redeem"),
        ("POST", "watch-tokens"),
        ("POST", "revocations"),
        ("GET", "revocations"),
    ):
        answer = await one(api, request(method, f"/api/v1/{path}", body=b"{}" if method == "POST" else None))
        assert_refused(answer, 403, None, "not_configured")


@pytest.mark.parametrize(
    ("environ", "bind", "lines"),
    [
        ({"ALLOW_INSECURE_USERNAME": "1"}, "0.0.0.0", 3),
        ({}, "127.0.0.1", 0),
        ({"AUTH_HMAC_KEY": HMAC_KEY}, "0.0.0.0", 0),
    ],
)
async def test_warning(environ: dict[str, str], bind: str, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others can reach us and nobody proves anything, the log says so again and again; elsewhere never."""
    monkeypatch.setattr(guard, "WARN_S", 0)
    with capture_logs() as logs:
        task = asyncio.create_task(guard.warn(AuthConfig.from_env(environ, bind)))
        await eventually(lambda: task.done() or len(logs) >= lines)
        task.cancel()

    assert [each["event"] for each in logs[:3]] == ["orchestrator.insecure_username"] * lines


async def test_cors(world: Proving) -> None:
    """A page may send its credential, and read why it was refused."""
    origin = "Origin: http://localhost:5173"
    refused = await get(world.api, "/runs", origin)
    preflight = await one(world.api, request("OPTIONS", "/runs", origin))

    assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
    assert "Authorization" in preflight.headers["access-control-allow-headers"]


async def test_nothing_secret_is_told(world: Proving, capfd: pytest.CaptureFixture[str]) -> None:
    """No credential, good or bad, is in an answer, in the log or in the metrics."""
    good = token(jti="very-secret-jti")
    broken = good[:-4] + "AAAA"
    unknown = keys.new()[1]
    answers = [
        await get(world.api, "/runs", f"Authorization: Bearer {shown}")
        for shown in (good, broken, unknown, "x" + unknown)
    ]
    answers.append(
        await post(world.api, "/api/v1/tickets/redeem", b'{"ticket":"rft_secret"}', f"Authorization: {unknown}")
    )
    async with world.api.session.get(f"http://127.0.0.1:{world.api.service.admin_port}/metrics") as response:
        metrics = await response.text()
    told = "".join([answer.body.decode() for answer in answers]) + metrics + "".join(capfd.readouterr())

    for secret in (good, broken, unknown, good.split(".")[2], unknown.split("_")[2], "very-secret-jti", HMAC_KEY):
        assert secret not in told
    assert not any(LEAKS.search(answer.body.decode()) for answer in answers)


@asynccontextmanager
async def issuer(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[tuple[str, list[str]]]:
    """An issuer's server on loopback: the URL of its keys, and the paths that were asked for."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return answer(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/keys", asked
    finally:
        await runner.cleanup()


async def test_keys_of_an_issuer(migrated_database_url: str, redis_url: str) -> None:
    """An issuer's published keys are read once and verify its tokens; a thousand invented key names ask nobody."""
    private = generate_private_key(SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key())) | {"kid": "k1", "use": "sig"}
    claims = {"iss": "https://id.example", "aud": "runfeed", "sub": "alice", "exp": time.time() + 60}
    async with issuer(lambda _: web.json_response({"keys": [public]})) as (url, asked):
        environ = {"AUTH_HMAC_KEY": "", "AUTH_JWKS_URL": url, "AUTH_ISSUER": "https://id.example"}
        async with proving(migrated_database_url, redis_url, **environ) as world:
            await eventually(lambda: asked)  # before anybody has come
            good = jwt.encode(claims, private, "ES256", {"kid": "k1"})
            assert (await world.ask(bearer(good), "GET", "/runs"))[0] == 200
            for number in range(50):
                other = jwt.encode(claims, private, "ES256", {"kid": f"k{number + 2}"})
                assert (await world.ask(bearer(other), "GET", "/runs"))[1]["code"] == "token_invalid"
            assert asked == ["/keys"]
            assert await world.api.metric("orchestrator_jwks_fetches_total", outcome="ok") == 1
            assert await world.api.metric("orchestrator_issuer_keys") == 1
            assert (await world.api.get("/readyz"))[1]["degraded"] == []
            watch = {"username": "alice"}
            assert (await world.ask(world.hub, "POST", "/api/v1/watch-tokens", watch))[1]["code"] == "not_configured"
            assert (await world.ask(bearer(good), "POST", "/api/v1/tickets"))[0] == 201


@pytest.mark.parametrize("fault", ["redirect", "status", "too much", "not JSON"])
async def test_issuer_away(migrated_database_url: str, redis_url: str, fault: str) -> None:
    """Without its issuer's keys a token is 503, and no redirect is followed; API keys work all the same.

    Who looks is told before anybody has come: what is away where everybody may look, and why on the admin port.
    """
    answers: dict[str, Callable[[web.Request], web.StreamResponse]] = {
        "redirect": lambda _: web.Response(status=302, headers={"Location": "/elsewhere"}),
        "status": lambda _: web.Response(status=500),
        "too much": lambda _: web.Response(body=b'{"keys":[]}' + b" " * 300_000),
        "not JSON": lambda _: web.Response(body=b"<html>"),
    }
    claims = {"iss": "https://id.example", "aud": "runfeed", "sub": "alice", "exp": time.time() + 60}
    shown = jwt.encode(claims, generate_private_key(SECP256R1()), "ES256", {"kid": "k1"})
    async with issuer(answers[fault]) as (url, asked):
        environ = {"AUTH_HMAC_KEY": "", "AUTH_JWKS_URL": url, "AUTH_ISSUER": "https://id.example"}
        async with proving(migrated_database_url, redis_url, **environ) as world:
            await eventually(lambda: asked)
            admin = f"http://127.0.0.1:{world.api.service.admin_port}/readyz"

            async def told() -> bool:
                async with world.api.session.get(admin) as response:
                    (degraded,) = (await response.json())["degraded"]
                return response.status == 200 and re.fullmatch(r"issuer_keys: \w+Error: .+", degraded) is not None

            await eventually(told)
            assert (await world.api.get("/readyz")) == (
                200, {"status": "ready", "problems": [], "degraded": ["issuer_keys: away"]}
            )  # fmt: skip
            assert await world.api.metric("orchestrator_issuer_keys") == 0
            found = await get(world.api, "/runs", f"Authorization: Bearer {shown}")
            assert_refused(found, 503, None, "keys_away")
            assert found.headers["retry-after"]
            assert (await world.ask(world.hub, "GET", "/api/v1/revocations"))[0] == 200
            assert set(asked) == {"/keys"}
            assert await world.api.metric("orchestrator_auth_refusals_total", code="keys_away") == 1


async def test_routine(migrated_database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """What a hub asks every second is logged for who wants to know everything, its refusal like any other."""
    with caplog.at_level(logging.INFO), capture_logs() as said:
        async with proving(migrated_database_url, redis_url) as world:
            reader = await world.key("read")
            for headers in (world.hub, reader):
                await world.ask(headers, "POST", "/api/v1/feeds/heads", {"usernames": ["alice"]})
                await world.ask(headers, "GET", "/api/v1/revocations")
    lines = [(line["route"], line["status"]) for line in said if line["event"] == "orchestrator.request"]
    routine = [line for line in lines if line[0] in ("/api/v1/feeds/heads", "/api/v1/revocations")]

    assert routine == [("/api/v1/feeds/heads", 403), ("/api/v1/revocations", 403)]


async def test_database_away(postgres_server: OwnPostgres, redis_url: str) -> None:
    """While the database is away revoked tokens stay refused, a key is 503, and one line in the log says it."""
    from orchestrator_api.migrate import migrate

    await migrate(postgres_server.url())
    async with proving(postgres_server.url(), redis_url) as world:
        shown = bearer(token(jti="j1"))
        assert (await world.ask(world.hub, "POST", "/api/v1/revocations", {"token_id": "j1"}))[0] == 201

        async def refused() -> bool:
            found, body = await world.ask(shown, "GET", "/runs/x")
            return bool(found == 401 and body["code"] == "token_revoked")

        await eventually(refused)
        postgres_server.kill()
        key = bearer(keys.new()[1])

        async def away() -> bool:
            found, body = await world.ask(key, "GET", "/api/v1/revocations")
            return bool(found == 503 and body["code"] == "store_away")

        await eventually(away, within=10)
        assert await refused()
        postgres_server.start()

        async def back() -> bool:
            return (await world.ask(bearer(token()), "GET", "/runs"))[0] == 200

        await eventually(back, within=20)
        assert await refused()


async def test_refused_bodies(world: Proving) -> None:
    """A request is refused before its body is read, and the connection goes on."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for _ in range(3):
            async with session.post(world.api.url("/runs"), json={"username": "alice"}) as response:
                assert response.status == 401


async def test_admin_port_stays_on_loopback(migrated_database_url: str, redis_url: str) -> None:
    """The admin port asks nobody who they are: it stays on 127.0.0.1 when the public one is bound to all addresses."""
    async with proving(migrated_database_url, redis_url, BIND="0.0.0.0") as world:
        _, writer = await asyncio.open_connection("127.0.0.2", world.api.service.port)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", world.api.service.admin_port)
