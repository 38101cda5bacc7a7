"""A hub whose issuer's keys cannot be read: who looks sees it before anybody has come."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.integration.fanout.hubs import HubProcess, StartAnyHub
from tests.support import eventually, issuers

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions


@pytest.fixture
async def mistyped() -> AsyncIterator[dict[str, str]]:
    """The settings of a hub whose AUTH_JWKS_URL leads nowhere."""
    async with TestServer(web.Application()) as issuer:
        yield {"AUTH_JWKS_URL": str(issuer.make_url("/kyes")), "AUTH_ISSUER": issuers.ISSUER, "FANOUT_DRAIN": "0"}


def readiness(hub: HubProcess) -> tuple[int, list[str]]:
    """The status of /readyz, and what is degraded."""
    status, body = hub.admin("/readyz")
    return status, json.loads(body)["degraded"] if status else []


async def test_mistyped(redis_url: str, start_any_hub: StartAnyHub, mistyped: dict[str, str]) -> None:
    """A wrong AUTH_JWKS_URL is seen at the start: not ready, a line in the log, a metric; a stream says why, too."""
    hub = start_any_hub(redis_url, **mistyped)
    await eventually(lambda: hub.log.exists() and hub.events("jwks_away"), within=10)
    await eventually(lambda: readiness(hub) == (503, ["issuer_keys"]), within=10)
    shown = {"Authorization": f"Bearer {issuers.token(issuers.signer('RS256'))}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{hub.port}/sse", headers=shown) as stream,
    ):
        assert stream.status == 200
        assert (await stream.read()).startswith(b": keys_away\nretry: ")

    assert hub.metric("fanout_issuer_keys") == 0
    assert hub.metric("fanout_jwks_fetches_total", outcome="failed") >= 1
    line, *_ = hub.events("jwks_away")
    assert ("404" in line["error"], "AUTH_JWKS_URL" in line["remedy"]) == (True, True)
    hub.stop()


async def test_other_tokens_are_taken(redis_url: str, start_any_hub: StartAnyHub, mistyped: dict[str, str]) -> None:
    """A hub that takes the API's tokens as well is ready, and says what it lacks."""
    hub = start_any_hub(redis_url, WATCH_TOKEN_KEY="w" * 32, **mistyped)
    await eventually(lambda: hub.log.exists() and hub.events("jwks_away"), within=10)

    await eventually(lambda: readiness(hub) == (200, ["issuer_keys"]), within=10)
    hub.stop()


async def test_a_moment_at_the_start(redis_url: str, start_any_hub: StartAnyHub) -> None:
    """An issuer that is away in the moment in which a hub starts is asked again soon; then a shared port opens, too."""
    asked: list[float] = []

    async def keys(_: web.Request) -> web.Response:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) == 1:
            return web.Response(status=503)
        return web.json_response({"keys": [issuers.signer("RS256").jwk(kid="k1", use="sig")]})

    app = web.Application()
    app.router.add_get("/keys", keys)
    async with TestServer(app) as issuer:
        url = str(issuer.make_url("/keys"))
        shared = {"FANOUT_REUSE_PORT": "1", "FANOUT_DRAIN": "0"}
        hub = start_any_hub(redis_url, AUTH_JWKS_URL=url, AUTH_ISSUER=issuers.ISSUER, **shared)
        await eventually(hub.ready, within=10)
        _, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.close()
        hub.stop()

    assert asked[1] - asked[0] > 0.9
