"""A hub that wants tokens, with the real API: who gets in, what they see, and when that ends."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio as redis
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from orchestrator_api.migrate import migrate
from tests.integration.fanout.hubs import HubProcess, StartAnyHub
from tests.integration.fanout.stack import Stack, ids_of, served
from tests.support import eventually
from tests.support.databases import PostgresServer, create, drop
from tests.unit.fanout.proofs import KEY, token

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

PROOF = {"AUTH_HMAC_KEY": KEY}


@pytest.fixture(scope="module")
def services(
    postgres: PostgresServer, redis_url: str, start_any_hub: StartAnyHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Stack]]:
    """A hub with a real API, both with the key of one issuer; a socket whose token has expired has half a second."""
    database = asyncio.run(create(postgres))
    asyncio.run(migrate(postgres.url(database)))
    directory = tmp_path_factory.mktemp("proofs")
    with served(
        postgres.url(database), redis_url, start_any_hub, directory, proof=PROOF, FANOUT_AUTH_GRACE="0.5"
    ) as found:
        yield found
    asyncio.run(drop(postgres, database))


@pytest.fixture
async def running(services: Callable[[], Stack]) -> AsyncIterator[Stack]:
    """The module's services; use names of your own."""
    found = services()
    yield found
    await found.session.close()


def connect(to: Stack | HubProcess, username: str, path: str = "/ws", **claims: object) -> websockets.connect:
    """A control client with a token."""
    hub = to.hub if isinstance(to, Stack) else to
    return websockets.connect(
        f"ws://127.0.0.1:{hub.port}{path}",
        additional_headers={"Authorization": f"Bearer {token(username, **claims)}"},
        subprotocols=[websockets.Subprotocol("runfeed.v1")],
    )


async def word(own: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    """The next control frame of this type."""
    async with asyncio.timeout(10):
        while True:
            frame: dict[str, Any] = json.loads(await own.recv())
            if frame.get("control") and frame["type"] == kind:
                return frame


async def end(own: websockets.ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason of the close that comes."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(10):
            while True:
                await own.recv()
    return own.close_code, own.close_reason


async def test_feed_of_ones_own(running: Stack, name: str) -> None:
    """Somebody sees the events of their own feed, none of another's, live and from history, on every way in."""
    await running.append(name, 3)
    other = name + "x"
    ticket = (await running.post("/tickets", {"username": name}))["ticket"]
    watch = await asyncio.to_thread(running.operate, "watch-token", "--user", name)
    base = f"ws://127.0.0.1:{running.hub.port}"
    async with (
        connect(running, name, "/ws?after=0") as by_header,
        websockets.connect(f"{base}/ws?ticket={ticket}&after=0") as by_ticket,
        websockets.connect(f"{base}/ws?after=0") as by_message,
        connect(running, other) as another,
    ):
        await by_message.send(json.dumps({"type": "auth", "token": watch}))
        await word(another, "connected")
        await word(by_header, "connected")
        await running.append(other, 1)
        await running.append(name, 2)
        assert await ids_of(by_ticket, 5) == await ids_of(by_message, 5) == [1, 2, 3, 4, 5]
        assert (await ids_of(another, 1)) == [1]

    with pytest.raises(InvalidStatus) as again:
        await websockets.connect(f"{base}/ws?ticket={ticket}")
    assert again.value.response.status_code == 401


async def test_sub_is_the_username(running: Stack, name: str) -> None:
    """Another's name is 403, another's run the same 404 as a missing one, on sockets and streams."""
    await running.append(name, 1)
    mine, theirs = f"{name}x", f"{name}-run"
    for path in ("/ws", "/sse"):
        bodies = []
        for target, status in (
            (f"{path}?username={name}", 403),
            (f"{path}/runs/{theirs}", 404),
            (f"{path}/runs/missing", 404),
        ):
            answer = await get(running, target, Authorization=f"Bearer {token(mine)}")
            assert answer[0] == status, answer
            bodies.append(answer[1])
        assert bodies[1] == bodies[2]


async def get(running: Stack, target: str, **headers: str) -> tuple[int, str]:
    """Status and body of a request that is refused."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    url = f"http://127.0.0.1:{running.hub.port}{target}"
    async with running.session.get(url, headers=upgrade | headers) as answer:
        return answer.status, await answer.text()


async def test_expired_in_the_middle(running: Stack, name: str) -> None:
    """A token that ends in the middle is told, prolonged by a new one, and at last the end of its socket."""
    soon = time.time() + 1
    stream = asyncio.create_task(streamed(running, name, soon))
    async with connect(running, name, exp=soon) as own, connect(running, name, exp=soon) as idle:
        assert (await word(own, "auth_expiring"))["closes_in_ms"] == 500
        await own.send(json.dumps({"type": "auth", "token": token(name, exp=time.time() + 1.5)}))
        assert (await word(own, "authenticated"))["expires_at"] > time.time()
        await running.append(name, 1)
        assert await end(idle) == (4401, "token_expired")
        assert await ids_of_events(own, 1) == [1]
        await word(own, "auth_expiring")
        assert await end(own) == (4401, "token_expired")

    assert (await stream).endswith(
        'event: token_expired\ndata: {"control":true,"type":"token_expired","reason":"expired"}\n\n'
    )


async def streamed(running: Stack, username: str, end: float) -> str:
    """All of a stream with a token that ends then."""
    url = f"http://127.0.0.1:{running.hub.port}/sse"
    headers = {"Authorization": f"Bearer {token(username, exp=end)}"}
    async with asyncio.timeout(10), running.session.get(url, headers=headers) as answer:
        return await answer.text()


async def ids_of_events(own: websockets.ClientConnection, count: int) -> list[int]:
    """The ids of the next events."""
    found: list[int] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            frame = json.loads(await own.recv())
            if not frame.get("control"):
                found.append(frame["id"])
    return found


async def test_revoked_in_the_middle(running: Stack, redis_url: str, start_any_hub: StartAnyHub, name: str) -> None:
    """What is revoked ends within seconds and stays so: after FLUSHALL, and on a hub that was started since."""
    shown = token(name)
    async with connect(running, name) as own, connect(running, name + "x") as other:
        await word(own, "connected")
        await running.post("/revocations", {"username": name})
        assert await end(own) == (4401, "token_revoked")
        await running.append(name + "x", 1)
        assert await ids_of_events(other, 1) == [1]
    async with await redis.Redis.from_url(redis_url) as client:
        await client.execute_command("FLUSHALL")
    restarted = start_any_hub(redis_url, FANOUT_DRAIN="0", **told(running))
    await eventually(restarted.ready, within=10)
    for hub in (running.hub, restarted):
        with pytest.raises(InvalidStatus) as refused:
            await websockets.connect(
                f"ws://127.0.0.1:{hub.port}/ws", additional_headers={"Authorization": f"Bearer {shown}"}
            )
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body or b"")["code"] == "token_revoked"
        assert hub.metric("fanout_revocations_known") >= 1
    restarted.stop()


async def test_revoked_on_every_hub(running: Stack, redis_url: str, start_any_hub: StartAnyHub, name: str) -> None:
    """Within two seconds of the API's answer what is revoked is closed on every hub: a user's tokens, and one token."""
    second = start_any_hub(redis_url, FANOUT_DRAIN="0", **told(running))
    await eventually(second.ready, within=10)
    for entry in ({"token_id": f"{name}-token"}, {"username": name}):
        async with (
            connect(running, name, jti=entry.get("token_id")) as own,
            connect(second, name, jti=entry.get("token_id")) as other,
        ):
            for each in (own, other):
                await word(each, "connected")
            await running.post("/revocations", entry)
            async with asyncio.timeout(2.0):
                assert await end(own) == await end(other) == (4401, "token_revoked")
    second.stop()


def told(running: Stack) -> dict[str, str]:
    """What another hub of the same stack is told."""
    return {name: running.environ[name] for name in ("FANOUT_HISTORY_URL", "FANOUT_HISTORY_KEY", "AUTH_HMAC_KEY")}


async def test_ready_with_the_list(
    redis_url: str, start_any_hub: StartAnyHub, free_port: Callable[[], int], name: str
) -> None:
    """A hub that cannot read what was revoked is not ready and takes nobody."""
    history = f"http://127.0.0.1:{free_port()}"
    late = start_any_hub(
        redis_url, FANOUT_DRAIN="0", FANOUT_HISTORY_URL=history, FANOUT_HISTORY_KEY="rfk_a_b", AUTH_HMAC_KEY=KEY
    )
    await eventually(lambda: late.admin("/readyz")[0] == 503, within=10)
    assert "revocations" in json.loads(late.admin("/readyz")[1])["degraded"]
    with pytest.raises(InvalidStatus) as refused:
        await websockets.connect(
            f"ws://127.0.0.1:{late.port}/ws", additional_headers={"Authorization": f"Bearer {token(name)}"}
        )
    assert refused.value.response.status_code == 503
    late.stop()


async def test_key_taken_back(running: Stack, redis_url: str, start_any_hub: StartAnyHub) -> None:
    """A hub whose API key has ended cannot know what is revoked: it says so at once, and is not ready any more."""
    key = await asyncio.to_thread(running.operate, "keys", "create", "--may", "hub")
    late = start_any_hub(redis_url, FANOUT_DRAIN="0", **told(running) | {"FANOUT_HISTORY_KEY": key})
    await eventually(late.ready, within=10)
    await asyncio.to_thread(running.operate, "keys", "revoke", key.split("_")[1])

    await eventually(lambda: late.admin("/readyz")[0] == 503, within=10)
    assert "revocations" in json.loads(late.admin("/readyz")[1])["degraded"]
    assert [line["level"] for line in late.events("fanout.history_key_refused")] == ["error"]
    late.stop()


async def test_health(running: Stack) -> None:
    """Health says that tokens are wanted, on both ports."""
    assert json.loads(running.hub.admin("/healthz")[1]) == {"status": "ok", "auth": "jwt"}
    async with running.session.get(f"http://127.0.0.1:{running.hub.port}/healthz") as answer:
        assert await answer.json() == {"status": "ok", "auth": "jwt"}
    assert running.hub.metric("fanout_auth_insecure") == 0
