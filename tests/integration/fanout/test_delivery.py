"""From Redis to real sockets."""

import asyncio
import contextlib
import json
import socket

import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from tests.integration.fanout.hubs import Connect, HubProcess, Publish, StartHub
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions


async def test_delivery(hub: HubProcess, name: str, publish: Publish) -> None:
    """A frame reaches the sockets of its user, byte for byte, and nobody else's."""
    async with websockets.connect(hub.url(name)) as own, websockets.connect(hub.url(name + "x")) as other:
        (sent,) = await publish(name, {"note": "\u4f60\u597d \U0001f600", "n": 1.0})
        (others,) = await publish(name + "x", {})

        assert await own.recv(decode=False) == sent.encode()
        assert await other.recv(decode=False) == others.encode()


async def test_order(hub: HubProcess, name: str, publish: Publish) -> None:
    """Frames arrive in the order in which Redis got them, in large numbers and sizes."""
    events = [{"n": n, "x": "y" * (n * 37 % 20_000)} for n in range(500)]
    async with websockets.connect(hub.url(name), max_size=None) as own:
        sent = await publish(name, *events)

        assert [await own.recv() for _ in events] == sent


async def test_run_filter(hub: HubProcess, name: str, publish: Publish) -> None:
    """A socket with run_id receives those runs only; the user's other sockets receive all."""
    async with websockets.connect(hub.url(name, "r1", "r3")) as some, websockets.connect(hub.url(name)) as every:
        await publish(name, *({"run_id": run} for run in ("r1", "r2", "r3", "r1")))

        assert [json.loads(await some.recv())["run_id"] for _ in range(3)] == ["r1", "r3", "r1"]
        assert [json.loads(await every.recv())["run_id"] for _ in range(4)] == ["r1", "r2", "r3", "r1"]


@pytest.mark.parametrize("username", ["a.b%2Bc@d.e", "auth0|5f7c", "x:y"])
async def test_names(hub: HubProcess, username: str, publish: Publish) -> None:
    """Every name that the contract allows can be watched, a plus written as %2B."""
    async with websockets.connect(hub.url(username)) as own:
        await publish(username.replace("%2B", "+"), {"x": 1})

        assert json.loads(await own.recv())["x"] == 1


async def test_judged_order(start_hub: StartHub, name: str, publish: Publish) -> None:
    """With history configured repeats are dropped, late ids put in order, and nothing passes a hole."""
    hub = start_hub(FANOUT_HISTORY_URL="http://127.0.0.1:1")
    async with websockets.connect(hub.url(name)) as own:
        await publish(name, *({"id": n} for n in (1, 2, 2, 4, 3, 1, 7)))
        assert [json.loads(await own.recv())["id"] for _ in range(4)] == [1, 2, 3, 4]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(own.recv(), 0.3)
        await publish(name, *({"id": n} for n in (6, 5)))

        assert [json.loads(await own.recv())["id"] for _ in range(3)] == [5, 6, 7]
    assert hub.metric("fanout_frames_dropped_total", reason="repeat") == 2
    assert (hub.metric("fanout_jumps_total"), hub.metric("fanout_holes_open")) == (2, 0)


async def test_not_judged_without_history(hub: HubProcess, name: str, publish: Publish) -> None:
    """Without history every frame is passed on as it came."""
    async with websockets.connect(hub.url(name)) as own:
        await publish(name, *({"id": n} for n in (5, 5, 1)))

        assert [json.loads(await own.recv())["id"] for _ in range(3)] == [5, 5, 1]


async def test_close_by_client(start_hub: StartHub, name: str) -> None:
    """A client's close is answered with its own code, and its socket leaves the hub."""
    hub = start_hub()
    async with websockets.connect(hub.url(name)) as own:
        await own.close(3999, "enough")
        assert own.protocol.close_sent == own.protocol.close_rcvd

    await eventually(lambda: hub.admin("/stats")[1] == '{"connections": 0, "users": 0}')
    assert hub.metric("fanout_connections_closed_total", code="other") == 1


async def test_subprotocol(hub: HubProcess, name: str) -> None:
    """A client that offers runfeed.v1 gets it, one that offers another or none gets none."""
    for offered, selected in (
        (["runfeed.v1"], "runfeed.v1"),
        (["x", "runfeed.v1"], "runfeed.v1"),
        (["x"], None),
        (None, None),
    ):
        async with websockets.connect(hub.url(name), subprotocols=offered) as own:  # type: ignore[arg-type]
            assert own.subprotocol == selected


async def test_ping_from_client(hub: HubProcess, name: str) -> None:
    """A client's ping is answered."""
    async with websockets.connect(hub.url(name)) as own, asyncio.timeout(5):
        await (await own.ping(b"x"))


@pytest.mark.parametrize("message", ["text", b"binary", "x" * 16384, ["frag", "ments"]])
async def test_client_messages_are_ignored(
    hub: HubProcess, name: str, publish: Publish, message: str | bytes | list[str]
) -> None:
    """What a client says, up to 16 KiB, is ignored, and its socket lives on."""
    async with websockets.connect(hub.url(name)) as own:
        await own.send(message)
        await (await own.ping())
        await publish(name, {"x": 1})

        assert json.loads(await own.recv())["x"] == 1


@pytest.mark.parametrize("message", ["x" * 16385, b"x" * 100_000, ["x" * 10_000, "x" * 10_000]])
async def test_client_message_too_big(hub: HubProcess, name: str, message: str | bytes | list[str]) -> None:
    """A message of more than 16 KiB, in one piece or several, closes the socket 1009."""
    async with websockets.connect(hub.url(name), write_limit=1 << 20) as own:
        with contextlib.suppress(ConnectionClosed):  # the close may come while the rest is being sent
            await own.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            await own.recv()

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_not_masked(hub: HubProcess, name: str, peer: Connect) -> None:
    """A frame without a mask closes the socket 1002."""
    raw = await peer(hub, name)
    raw.send(b"\x81\x01x")

    assert await raw.everything() == b"\x88\x13\x03\xeaincorrect masking"


async def test_joined_writes_are_frames(hub: HubProcess, name: str, publish: Publish, peer: Connect) -> None:
    """What is written at once is still one WebSocket frame an event."""
    raw = await peer(hub, name)
    sent = await publish(name, *({"n": n} for n in range(3)))
    async with asyncio.timeout(5):
        for text in sent:
            assert await raw.reader.readexactly(2) == bytes([0x81, len(text)])
            assert await raw.reader.readexactly(len(text)) == text.encode()


async def test_close_log_line(start_hub: StartHub, name: str, publish: Publish) -> None:
    """A socket's life is one line at its close, with what it received; no line holds its username or query."""
    hub = start_hub(LOG_LEVEL="debug")
    async with (
        websockets.connect(hub.url(name, "r1") + "&token=secret-token") as own,
        websockets.connect(hub.url(name)),
    ):
        sent = await publish(name, {"x": 1}, {"x": 2}, {"run_id": "r2"})
        for _ in range(2):
            await own.recv()
    await eventually(lambda: len(hub.events("fanout.socket_closed")) == 2)

    lives = sorted(hub.events("fanout.socket_closed"), key=lambda life: life["frames"])
    assert [(life["code"], life["frames"], life["path"]) for life in lives] == [(1000, 2, "/ws"), (1000, 3, "/ws")]
    assert lives[0]["bytes"] == sum(len(text) + 2 for text in sent[:2])
    assert 0 <= lives[0]["seconds"] < 5
    text = hub.log.read_text()
    assert name not in text
    assert "secret-token" not in text
    assert "username=" not in text


async def test_half_close(hub: HubProcess, name: str, peer: Connect) -> None:
    """A client that half-closes without a close frame is let go."""
    raw = await peer(hub, name)
    raw.writer.write_eof()

    assert await raw.everything() == b""


async def test_no_delay(hub: HubProcess, name: str, publish: Publish, peer: Connect) -> None:
    """Small frames are not held back for the acknowledgement of the one before (Nagle)."""
    raw = await peer(hub, name)
    raw.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    loop = asyncio.get_running_loop()
    worst = 0.0
    for _ in range(10):
        for _ in range(2):  # the second is what Nagle would hold back, for 40 ms
            (text,) = await publish(name, {})
            began = loop.time()
            async with asyncio.timeout(5):
                await raw.reader.readexactly(2 + len(text))
            worst = max(worst, loop.time() - began)

    assert worst < 0.04
