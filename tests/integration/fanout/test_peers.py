"""Slow, silent and hostile peers, and those beside them."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import websockets

from tests.integration.fanout.hubs import Connect, HubProcess, Publish, StartHub, client_frame, handshake
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions

MIB = 1 << 20


@asynccontextmanager
async def deaf(hub: HubProcess, username: str) -> AsyncIterator[socket.socket]:
    """A socket of `username` that reads its 101 and then nothing; small buffers in the kernel."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", hub.port))
        await loop.sock_sendall(sock, handshake(username))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await loop.sock_recv(sock, 1)
        assert head.startswith(b"HTTP/1.1 101 ")
        yield sock


async def read_all(sock: socket.socket) -> bytes:
    """All that still comes, until the end or a reset."""
    loop, data = asyncio.get_running_loop(), b""
    try:
        while piece := await loop.sock_recv(sock, 65536):
            data += piece
    except ConnectionError:
        pass
    return data


async def test_slow_socket_is_closed(start_hub: StartHub, name: str, publish: Publish) -> None:
    """A socket that does not keep up gets what was written, in whole frames, then 4408; nothing is thinned."""
    hub = start_hub(FANOUT_CLOSE_TIMEOUT="20")
    async with deaf(hub, name) as sock:
        while hub.metric("fanout_connections") == 1:
            await publish(name, *({"n": n, "x": "y" * 60_000} for n in range(10)))
        data = await asyncio.wait_for(asyncio.gather(read_all(sock), close_when_told(sock, hub)), 20)

    frames, close = whole_frames(data[0])
    assert [json.loads(frame)["n"] for frame in frames] == [n % 10 for n in range(len(frames))]
    assert int.from_bytes(close[:2], "big") == 4408
    assert len(data[0]) > MIB
    await eventually(lambda: hub.metric("fanout_connections_closed_total", code="4408") == 1)


async def close_when_told(sock: socket.socket, hub: HubProcess) -> None:
    """Answer the close frame, as a client does, once the hub has let go of the socket."""
    await asyncio.get_running_loop().sock_sendall(sock, client_frame(8, b"\x11\x38"))


def whole_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """The text frames in `data` and the close frame's body; AssertionError when a frame is not whole."""
    frames: list[bytes] = []
    while data:
        opcode, size, start = data[0] & 15, data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        body, data = data[start : start + size], data[start + size :]
        assert len(body) == size
        if opcode == 8:
            assert data == b""
            return frames, body
        assert opcode == 1
        frames.append(body)
    return frames, b""


async def test_slow_socket_does_not_touch_others(start_hub: StartHub, name: str, publish: Publish) -> None:
    """Beside a socket that reads nothing, others of the same user and of another receive everything at once."""
    hub = start_hub()
    async with (
        deaf(hub, name),
        websockets.connect(hub.url(name), max_queue=None) as same,
        websockets.connect(hub.url(name + "x")) as other,
    ):
        sent: list[str] = []
        while hub.metric("fanout_connections") == 3:
            sent += await publish(name, *({"n": n, "x": "y" * 60_000} for n in range(10)))
            await publish(name + "x", {})
            async with asyncio.timeout(1):
                await other.recv()

        assert [await asyncio.wait_for(same.recv(), 5) for _ in sent] == sent


async def test_never_reading_peer_is_gone(start_hub: StartHub, name: str, publish: Publish) -> None:
    """A peer that never reads is gone a close time-out after the bound, and its memory with it."""
    hub = start_hub(FANOUT_CLOSE_TIMEOUT="1")
    async with deaf(hub, name) as sock:
        while hub.metric("fanout_connections") == 1:
            await publish(name, *({"x": "y" * 60_000} for _ in range(10)))
        began = asyncio.get_running_loop().time()
        await eventually(lambda: hub.events("fanout.socket_closed"), within=4)

        assert asyncio.get_running_loop().time() - began < 3
        assert hub.events("fanout.socket_closed")[0]["code"] == 4408
        assert whole_frames_reset(await read_all(sock))


def whole_frames_reset(data: bytes) -> bool:
    """Whether the stream was cut: what the kernel had, and no close frame at its end."""
    return b"\x11\x38slow" not in data


async def test_ping_flood_without_reading(start_hub: StartHub, name: str, publish: Publish) -> None:
    """A peer that pings and never reads is closed at the bound; the hub's memory stays under it."""
    hub = start_hub(FANOUT_CLOSE_TIMEOUT="1")
    async with websockets.connect(hub.url(name)):  # warm: what the first socket costs is not the flood's
        before = hub.memory()
    async with deaf(hub, name) as sock:
        flood = asyncio.create_task(flooding(sock, client_frame(9, b"x" * 125) * 500))
        peak = 0
        async with asyncio.timeout(20):
            while len(hub.events("fanout.socket_closed")) < 2:
                peak = max(peak, hub.memory())
                await asyncio.wait({flood}, timeout=0.02)
        await flood

    assert peak - before < 6 * MIB
    assert hub.events("fanout.socket_closed")[1]["code"] == 4408


async def flooding(sock: socket.socket, data: bytes, times: int = 100_000) -> None:
    """Send `data` over and over until the peer is gone."""
    try:
        for _ in range(times):
            await asyncio.get_running_loop().sock_sendall(sock, data)
    except ConnectionError:
        pass


@pytest.mark.parametrize(
    "frame",
    [
        client_frame(9),
        client_frame(1, b"x"),
        client_frame(2, b"\xff"),
        client_frame(1, b"", fin=False) + client_frame(0, b""),
    ],
)
async def test_flood_does_not_starve_others(start_hub: StartHub, name: str, publish: Publish, frame: bytes) -> None:
    """Beside four floods of the smallest frames a delivery takes a fraction of a second, and memory does not grow."""
    hub = start_hub()
    async with websockets.connect(hub.url(name)) as own:
        floods = []
        for n in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
            writer.write(handshake(f"{name}-{n}"))
            await reader.readuntil(b"\r\n\r\n")
            floods += [
                (writer, asyncio.create_task(drained(reader)), asyncio.create_task(streaming(writer, frame * 2000)))
            ]
        before = hub.memory()
        lags = []
        for _ in range(20):
            began = asyncio.get_running_loop().time()
            await publish(name, {})
            await asyncio.wait_for(own.recv(), 5)
            lags.append(asyncio.get_running_loop().time() - began)
        after = hub.memory()
        for writer, *tasks in floods:
            writer.transport.abort()
            for task in tasks:
                task.cancel()

    assert sorted(lags)[10] < 0.3
    assert after - before < 4 * MIB
    assert not [line for line in hub.lines() if line["level"] == "error"]


async def drained(reader: asyncio.StreamReader) -> None:
    """Read and forget."""
    while await reader.read(1 << 20):
        pass


async def streaming(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write for ever, as fast as the peer takes it."""
    while True:
        writer.write(data)
        await writer.drain()


async def test_silent_peer_is_closed(start_hub: StartHub, name: str, peer: Connect) -> None:
    """A peer that answers no ping is pinged once and closed 4410 after the grace."""
    hub = start_hub(PING_INTERVAL="0.4", PING_GRACE="0.2", FANOUT_CLOSE_TIMEOUT="0.2")
    raw = await peer(hub, name)

    answer = await raw.everything()
    assert answer == b"\x89\x00" + b"\x88\x08\x11\x3asilent"
    await eventually(lambda: hub.metric("fanout_connections_closed_total", code="4410") == 1)


async def test_answering_peer_lives(start_hub: StartHub, name: str) -> None:
    """A peer that answers pings stays for many intervals."""
    hub = start_hub(PING_INTERVAL="0.2", PING_GRACE="0.1")
    async with websockets.connect(hub.url(name), ping_interval=None) as own:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(own.recv(), 2)


@pytest.mark.full  # row 7 of `./dev fault --ci` plays the same
async def test_stopped_hub_blames_nobody(start_hub: StartHub, name: str, peer: Connect) -> None:
    """A hub that was stopped for longer than the grace finds the answer to its ping, and closes nobody."""
    hub = start_hub(PING_INTERVAL="1", PING_GRACE="0.5")
    raw = await peer(hub, name)
    async with asyncio.timeout(5):
        assert await raw.reader.readexactly(2) == b"\x89\x00"
        hub.process.send_signal(signal.SIGSTOP)
        raw.send(client_frame(10))
        stopped = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() > stopped + 1.5)
        hub.process.send_signal(signal.SIGCONT)

        assert await raw.reader.readexactly(2) == b"\x89\x00"


async def test_client_frames_cost_no_memory(start_hub: StartHub, name: str) -> None:
    """Ten megabytes of text from a client leave nothing behind."""
    hub = start_hub()
    async with websockets.connect(hub.url(name)) as own:
        await own.send("x" * 16_000)
        before = hub.memory()
        for _ in range(650):
            await own.send("x" * 16_000)
        await (await own.ping())

        assert hub.memory() - before < 2 * MIB


async def test_metrics_after_everybody_left(start_hub: StartHub, name: str, publish: Publish) -> None:
    """Feeds, groups and sockets are gone with the last peer, however it left."""
    hub = start_hub()
    for n in range(30):
        async with websockets.connect(hub.url(f"{name}-{n}")) as own:
            if n % 3 == 0:
                own.transport.abort()

    await eventually(lambda: (hub.metric("fanout_connections"), hub.metric("fanout_feeds")) == (0, 0))
    assert hub.metric("fanout_connections_opened_total") == 30
    assert hub.metric("fanout_connections_closed_total", code="1000") == 20
    assert hub.metric("fanout_connections_closed_total", code="1006") == 10
