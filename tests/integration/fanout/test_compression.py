"""Hubs with FANOUT_COMPRESSION=1: what every kind of client gets, and what hostile ones can do with it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from websockets.extensions import ClientExtensionFactory
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from fanout.handshake import MAX_INBOUND
from tests.integration.fanout.hubs import (
    Connect,
    HubProcess,
    Publish,
    RawPeer,
    StartAnyHub,
    StartHub,
    client_frame,
    handshake,
)
from tests.integration.fanout.stack import Stack, proxied, stack
from tests.support import eventually
from tests.support.deflate import raw_deflate, step
from tests.support.proxy import Proxy

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

MIB = 1 << 20
OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12"
COMPRESSED = 0x40  # RSV1
# Whatever the size: too small, worth it, worth it and beyond the window, white space of another producer.
EVENTS = [step(n, (0, 8, 1, 200, 2)[n % 5]) | {"text": "é \N{SNOWMAN} " * (n % 3)} for n in range(40)]


def open_socket(
    url: str, offered: Sequence[ClientExtensionFactory] | None = None, subprotocols: Sequence[Any] | None = None
) -> websockets.connect:
    """A client that offers these extensions and no other."""
    return websockets.connect(
        url, compression=None, extensions=offered, subprotocols=subprotocols, max_queue=None, max_size=None
    )


def negotiated(own: websockets.ClientConnection) -> str | None:
    """What the hub answered to the client's offer."""
    assert own.response is not None
    return own.response.headers.get("Sec-WebSocket-Extensions")


async def received(own: websockets.ClientConnection, count: int, within: float = 10.0) -> list[str]:
    """The next `count` frames."""
    async with asyncio.timeout(within):
        return [str(await own.recv()) for _ in range(count)]


async def test_off_by_default(hub: HubProcess, name: str, peer: Connect) -> None:
    """Unless it is asked for nothing is negotiated, and a frame that claims to be compressed closes the socket 1002."""
    raw = await peer(hub)
    raw.send(handshake(name, OFFER))

    assert b"extensions" not in (await raw.head()).lower()
    raw.send(client_frame(1 | COMPRESSED, raw_deflate(b"hello")))
    assert close_code(await raw.everything()) == 1002


async def test_nobody_has_to(start_hub: StartHub, name: str, peer: Connect) -> None:
    """Who does not offer the extension has none: a compressed frame of theirs is as wrong as ever."""
    raw = await peer(start_hub(FANOUT_COMPRESSION="1"), name)
    raw.send(client_frame(1 | COMPRESSED, raw_deflate(b"hello")))

    assert close_code(await raw.everything()) == 1002


async def test_mixed_in_one_feed(start_hub: StartHub, name: str, publish: Publish) -> None:
    """Every kind of client gets the same bytes in the same order, live; those that negotiated it on half the wire."""
    hub = start_hub(FANOUT_COMPRESSION="1")
    factory = ClientPerMessageDeflateFactory
    kinds: list[tuple[Sequence[ClientExtensionFactory] | None, str | None]] = [
        (None, None),
        ([factory()], f"{ANSWER}; client_max_window_bits=12"),
        ([factory(client_max_window_bits=None)], ANSWER),
        ([factory(server_max_window_bits=12, client_max_window_bits=None)], ANSWER),
        ([factory(server_max_window_bits=9)], None),
    ]
    sockets = [await open_socket(hub.url(name), offered).__aenter__() for offered, _ in kinds]
    filtered = await open_socket(hub.url(name, "r1", "r2"), [factory()]).__aenter__()
    sent: list[str] = []
    for start in range(0, len(EVENTS), 8):
        sent += await publish(name, *EVENTS[start : start + 8])

    assert [negotiated(own) for own in sockets] == [answer for _, answer in kinds]
    for own in (*sockets, filtered):
        assert await received(own, len(sent)) == sent
        await own.close()
    plain = sum(len(text.encode()) for text in sent)
    assert hub.metric("fanout_sent_bytes_total") < 2 * 1.02 * plain + 4 * 0.5 * plain


async def test_control_frames_among_compressed(running: Stack, name: str) -> None:
    """What the hub itself says is not compressed, and stands among compressed events where it belongs."""
    await running.append(name, 3, 1000)
    url = running.url(name, after=0)
    async with open_socket(url, [ClientPerMessageDeflateFactory()], ["runfeed.v1"]) as own:
        assert negotiated(own)
        said = [json.loads(text) for text in await received(own, 5)]
        await running.append(name, 1, 1000)
        said += [json.loads(text) for text in await received(own, 1)]

    assert [event["type"] for event in said] == ["connected", "step", "step", "step", "caught_up", "step"]
    assert [event.get("id") for event in said] == [None, 1, 2, 3, None, 4]


@pytest.fixture
async def between(redis_url: str) -> AsyncIterator[Proxy]:
    """What lies between the hub and Redis."""
    parts = urlsplit(redis_url)
    proxy = Proxy((parts.hostname or "", parts.port or 0), speaks_resp=True)
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.fixture
async def running(
    migrated_database_url: str, redis_url: str, start_any_hub: StartAnyHub, tmp_path: Path, between: Proxy
) -> AsyncIterator[Stack]:
    """A compressing hub with a real API, its Redis behind a proxy; it has heard a beacon."""
    through = proxied(redis_url, between.port)
    async with stack(
        migrated_database_url, redis_url, start_any_hub, tmp_path, through, FANOUT_COMPRESSION="1"
    ) as found:
        await eventually(lambda: found.hub.metric("fanout_beacon_age_seconds") > 0)
        yield found


async def test_replayed_and_live(running: Stack, name: str) -> None:
    """From history, from the ring and live a compressed socket is given what a plain one is, byte for byte."""
    await running.append(name, 400, 300)
    deflate = [ClientPerMessageDeflateFactory()]
    async with (
        open_socket(running.url(name, after=0)) as plain,
        open_socket(running.url(name, after=0), deflate) as whole,
        open_socket(running.url(name, after=123), deflate) as some,
    ):
        await running.append(name, 20, 300)
        texts = await received(plain, 420)
        assert await received(whole, 420) == texts
        assert await received(some, 420 - 123) == texts[123:]
        async with open_socket(running.url(name, after=410), deflate) as ring:
            await running.append(name, 5, 2000)
            texts += await received(plain, 5)
            assert await received(ring, 15) == texts[410:]
        assert await received(whole, 5) == texts[420:]
    assert [json.loads(text)["id"] for text in texts] == list(range(1, 426))
    await eventually(lambda: len(running.hub.events("fanout.socket_closed")) == 4)
    lives = sorted((line["frames"], line["bytes"]) for line in running.hub.events("fanout.socket_closed"))
    assert [frames for frames, _ in lives] == [15, 302, 425, 425]
    sizes = [len(text.encode()) for text in texts]
    for (_, size), uncompressed in zip(lives, (sizes[410:], sizes[123:], sizes), strict=False):
        assert size < 0.7 * sum(uncompressed), lives
    assert lives[3][1] > sum(sizes)


def lose_until(last: int) -> Callable[[Any], list[Any]]:
    """Lose the frames up to this id."""

    def rewrite(message: Any) -> list[Any]:
        number = json.loads(message[-1]).get("id", last + 1) if message[0] == b"pmessage" else last + 1
        return [message] if number > last else []

    return rewrite


async def test_healed(running: Stack, between: Proxy, name: str) -> None:
    """What Redis lost comes compressed from history, in its place."""
    async with (
        open_socket(running.url(name)) as plain,
        open_socket(running.url(name), [ClientPerMessageDeflateFactory()]) as own,
    ):
        await running.append(name, 1, 500)
        texts = await received(plain, 1)
        between.down.rewrite = lose_until(21)
        await running.append(name, 20, 500)
        await running.append(name, 20, 500)
        texts += await received(plain, 40)
        assert await received(own, 41) == texts
    assert [json.loads(text)["id"] for text in texts] == list(range(1, 42))
    assert running.hub.metric("fanout_healed_frames_total") >= 20


# What clients send.


def zeros(mebibytes: int) -> bytes:
    """A message of so many MiB of zeros, about 1 KiB for each, without ever making it."""
    return (raw_deflate(b"\0" * MIB) + b"\x00\x00\xff\xff") * mebibytes


def close_code(written: bytes) -> int:
    """Of the close frame that is all that was written."""
    assert written[0] == 0x88
    return int.from_bytes(written[2:4], "big")


def peak(hub: HubProcess) -> int:
    """The most resident bytes that the hub ever had."""
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])


async def compressing(peer: Connect, hub: HubProcess, username: str) -> RawPeer:
    """A peer that has negotiated compression."""
    raw = await peer(hub)
    raw.send(handshake(username, OFFER))
    assert ANSWER.encode() in await raw.head()
    return raw


BOMBS = {
    "1 MiB for a GiB": client_frame(1 | COMPRESSED, zeros(1000)),
    "15 KiB for 15 MiB": client_frame(2 | COMPRESSED, zeros(15)),
    "16 KiB and a byte": client_frame(1 | COMPRESSED, raw_deflate(b"x" * (MAX_INBOUND + 1))),
    "in two fragments": client_frame(1 | COMPRESSED, zeros(7), fin=False) + client_frame(0, zeros(7)),
    "in small fragments": client_frame(1 | COMPRESSED, b"", fin=False)
    + b"".join(client_frame(0, raw_deflate(b"x" * 4000) + b"\0\0\xff\xff", fin=False) for _ in range(5)),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
async def test_bombs(start_hub: StartHub, name: str, peer: Connect, publish: Publish, bomb: bytes) -> None:
    """What inflates beyond 16 KiB closes its socket 1009 and is not inflated further; others do not notice."""
    hub = start_hub(FANOUT_COMPRESSION="1", FANOUT_CLOSE_TIMEOUT="0.5")
    async with open_socket(hub.url(name), [ClientPerMessageDeflateFactory()]) as own:
        await own.send("x" * MAX_INBOUND)
        peers = [await compressing(peer, hub, f"{name}-{n}") for n in range(30)]
        before = peak(hub)
        for raw in peers:
            raw.send(bomb)
        for raw in peers:
            assert close_code(await raw.everything()) == 1009
        sent = await publish(name, step(1))

        assert await received(own, 1) == sent
    assert peak(hub) - before < 4 * MIB
    await eventually(lambda: hub.metric("fanout_connections_closed_total", code="1009") == 30)
    assert not [line for line in hub.lines() if line["level"] == "error"]


async def test_largest_message(start_hub: StartHub, name: str, publish: Publish) -> None:
    """A message that inflates to just 16 KiB is taken, and so is one in fragments; the socket goes on."""
    hub = start_hub(FANOUT_COMPRESSION="1")
    async with open_socket(hub.url(name), [ClientPerMessageDeflateFactory()]) as own:
        for _ in range(50):
            await own.send("x" * MAX_INBOUND)
            await own.send(["y" * 4000] * 4)
        await (await own.ping())
        sent = await publish(name, step(1))

        assert await received(own, 1) == sent


async def test_garbage(start_hub: StartHub, name: str, peer: Connect) -> None:
    """What does not inflate closes its socket 1002."""
    raw = await compressing(peer, start_hub(FANOUT_COMPRESSION="1"), name)
    raw.send(client_frame(1 | COMPRESSED, b"\xff" * 20))

    assert close_code(await raw.everything()) == 1002


@pytest.mark.parametrize("message", [b"\0", raw_deflate(b"x" * MAX_INBOUND)], ids=["nothing", "16 KiB"])
async def test_flood_of_compressed(
    start_hub: StartHub, name: str, peer: Connect, publish: Publish, message: bytes
) -> None:
    """Beside four floods of compressed messages a delivery takes a fraction of a second, and memory does not grow."""
    hub = start_hub(FANOUT_COMPRESSION="1")
    async with open_socket(hub.url(name), [ClientPerMessageDeflateFactory()]) as own:
        peers = [await compressing(peer, hub, f"{name}-{n}") for n in range(4)]
        floods = [asyncio.create_task(streaming(raw, client_frame(1 | COMPRESSED, message) * 2000)) for raw in peers]
        before = peak(hub)
        lags = []
        for n in range(20):
            began = asyncio.get_running_loop().time()
            sent = await publish(name, step(n))
            assert await received(own, 1) == sent
            lags.append(asyncio.get_running_loop().time() - began)
        for task in floods:
            assert not task.done(), "a flood has ended"
            task.cancel()

    assert sorted(lags)[10] < 0.3
    assert peak(hub) - before < 4 * MIB


async def streaming(raw: RawPeer, data: bytes) -> None:
    """Write for ever, as fast as the peer takes it."""
    while True:
        raw.send(data)
        await raw.writer.drain()
