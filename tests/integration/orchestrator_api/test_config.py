"""GET /api/v1/config: what a client is told, over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from orchestrator_api import __version__
from orchestrator_api.auth_config import AuthConfig
from tests.integration.orchestrator_api.conftest import Api, served
from tests.integration.orchestrator_api.hostile import Answer, answers, assert_refused, one, send

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions


async def config(api: Api, *headers: str, version: str = "1.1") -> Answer:
    """The answer to a request with exactly these headers."""
    lines = [f"GET /api/v1/config HTTP/{version}", *headers, "Connection: close", "", ""]
    return await one(api, "\r\n".join(lines).encode("latin-1"))


@asynccontextmanager
async def another(api: Api, **settings: str | int | AuthConfig) -> AsyncIterator[Api]:
    """A second service, with other settings."""
    async with served(replace(api.settings, **settings)) as other:  # type: ignore[arg-type]
        yield other


def who(**environ: str) -> AuthConfig:
    """What an operator says of who may."""
    return AuthConfig.from_env(environ, "127.0.0.1")


@pytest.mark.parametrize(
    ("headers", "hub"),
    [
        (["Host: localhost:8081"], "ws://localhost:8085"),
        (["Host: 192.0.2.7"], "ws://192.0.2.7:8085"),
        (["Host: [::1]:8081"], "ws://[::1]:8085"),
        (["Host: runs"], "ws://runs:8085"),
    ],
)
async def test_the_host_that_was_asked(api: Api, headers: list[str], hub: str) -> None:
    """Without PUBLIC_HUB_URL the hub is at FANOUT_PORT of the host that the client asked."""
    answer = await config(api, *headers)

    assert answer.status == 200
    assert answer.json == {"hub": hub, "version": __version__}


@pytest.mark.parametrize(
    ("proxies", "proto", "scheme"),
    [
        ("127.0.0.0/8", "https", "wss"),
        ("127.0.0.0/8", "HTTPS", "wss"),
        ("127.0.0.0/8", "http", "ws"),
        ("10.0.0.0/8", "https", "ws"),
        ("", "https", "ws"),
    ],
)
async def test_behind_a_proxy(api: Api, proxies: str, proto: str, scheme: str) -> None:
    """A proxy of TRUSTED_PROXIES is believed that the client came by TLS, and nobody else is."""
    auth = who(ALLOWED_HOSTS="runs.example.com", TRUSTED_PROXIES=proxies)
    async with another(api, auth=auth) as other:
        answer = await config(other, "Host: runs.example.com", f"X-Forwarded-Proto: {proto}")

    assert answer.json["hub"] == f"{scheme}://runs.example.com:8085"


async def test_headers(api: Api) -> None:
    """Nobody stores the answer, and pages of allowed origins may read it; HEAD is answered."""
    answer = await config(api, "Host: h", "Origin: http://localhost:5173")
    (head,) = answers(
        await send(api.service.port, b"HEAD /api/v1/config HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), head=True
    )

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == head.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert head.status == 200
    assert "access-control-allow-origin" not in (await config(api, "Host: h", "Origin: https://evil.example")).headers


async def test_another_port(api: Api) -> None:
    """FANOUT_PORT is what clients are told."""
    async with another(api, hub_port=9085) as other:
        assert (await config(other, "Host: h:1")).json["hub"] == "ws://h:9085"


async def test_public_url(api: Api) -> None:
    """PUBLIC_HUB_URL is told as it is, whatever the request's headers are."""
    async with another(api, hub_url="wss://hub.example.com/live") as other:
        for headers in (["Host: h"], ["Host: other"], ["Host: h", "X-Forwarded-Proto: http"]):
            assert (await config(other, *headers)).json["hub"] == "wss://hub.example.com/live"


ODD = ["", "a/b", "user@h", "h:0", "\xfc", "127.1", "a, b", "[::1"]


async def test_odd_hosts(api: Api) -> None:
    """A Host that is none is refused and named: as one that is not ours, and as none where any may be."""
    async with another(api, auth=who(AUTH_HMAC_KEY="x" * 32)) as other:
        for host in ODD:
            assert_refused(await config(api, f"Host: {host}"), 403, "Host", "host_forbidden")
            assert_refused(await config(other, f"Host: {host}"), 400, "Host", "invalid")


async def test_no_host_and_two(api: Api) -> None:
    """A request of HTTP/1.0 without a Host is refused, and so is one with two of them."""
    async with another(api, auth=who(AUTH_HMAC_KEY="x" * 32)) as other:
        assert_refused(await config(other, version="1.0"), 400, "Host")
    assert_refused(await config(api, version="1.0"), 403, "Host")
    assert (await config(api, "Host: a", "Host: b")).status == 400
