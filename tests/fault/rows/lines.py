"""Rows that break the lines between clients and hubs, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

from tests.fault.clients import Socket
from tests.fault.rows.hubs import cpu_seconds
from tests.fault.world import World, row
from tests.support.pacing import passing
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

MASKED_PING = b"\x89\x80\x00\x00\x00\x00"
CLOSE_SECONDS = 5.0  # what a peer gets to answer its close; only then is it counted as closed
CLOSED_SECONDS = 12.0  # for 1 MiB to wait, and a close that is not taken
MASKED_TEXT = b"\x81\x82\x00\x00\x00\x00hi"


def doors(w: World) -> list[Proxy]:
    """The doors that break."""
    return [pair[1] for pair in w.stack.doors]


async def until_reaped(w: World, *ways: str) -> None:
    """The lines of a third of the clients go dead; both ends are to notice by themselves.

    Not the hub of an SSE client: nothing ever comes from one, and only TCP knows that it is gone.
    """
    broken = {door.port for door in doors(w)}
    open_now = [client for client in w.crowd.clients if client.segment is not None]
    dead = sum(client.places.doors[0] in broken and isinstance(client, Socket) for client in open_now)
    before = await closed_as(w, "4410")
    for door in doors(w):
        door.blackhole(*ways)
    began = time.monotonic()
    await w.let(w.times.ping + w.times.grace)
    with contextlib.suppress(AssertionError):
        await eventually(lambda: closed(w, "4410", before + dead - 1), within=CLOSE_SECONDS + 1.5)
    reaped = await closed_as(w, "4410") - before
    w.note(f"{dead} sockets on dead lines, {reaped:.0f} closed 4410 after {time.monotonic() - began:.1f} s")
    w.expect(reaped >= dead, f"{dead - reaped:.0f} dead sockets were not closed in time")
    for door in doors(w):
        door.heal()
    w.over()


@row(
    "30", "the line between client and hub goes dead", bound=5.0, why="closed after ping 25 s + 10 s; then back at once"
)
async def line_dead(w: World) -> None:
    await until_reaped(w)


@row("31", "the line is dead from client to hub", bound=5.0, why="as row 30")
async def line_dead_up(w: World) -> None:
    await until_reaped(w, "up")


@row("31b", "the line is dead from hub to client", bound=5.0, why="as row 30; pongs do not come, pings go")
async def line_dead_down(w: World) -> None:
    await until_reaped(w, "down")


@row("32", "resets, pieces of one byte, and jitter", bound=5.0, why="back within 0.5 s, with the cursor")
async def rough_line(w: World) -> None:
    for door in doors(w):
        door.slice(1)
    for _ in range(4):
        await w.let(w.times.short / 4)
        for door in doors(w):
            door.cut()
    for door in doors(w):
        door.slice(0)
        door.slow(0.03, jitter=0.5)
    await w.let(w.times.short)
    for door in doors(w):
        door.heal()
    w.over()


@asynccontextmanager
async def raw_socket(w: World, username: str) -> AsyncIterator[socket.socket]:
    """A socket past the doors that has been answered 101, and of which nothing more is read."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", w.stack.hub_ports[0]))
        key = b64encode(os.urandom(16)).decode()
        head = (
            f"GET /ws?{urlencode({'username': username})} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await loop.sock_sendall(sock, head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await loop.sock_recv(sock, 1)
        w.expect(answer.startswith(b"HTTP/1.1 101"), f"{answer[:60]!r}")
        yield sock


async def closed_as(w: World, code: str) -> float:
    """How many sockets the hubs closed with a code."""
    total = 0.0
    for hub in w.stack.hubs:
        async with w.stack.session.get(f"http://127.0.0.1:{hub.admin}/metrics") as response:
            lines = (await response.text()).splitlines()
        named = (line for line in lines if line.startswith("fanout_connections_closed_total") and f'"{code}"' in line)
        total += sum(float(line.rsplit(" ", 1)[1]) for line in named)
    return total


@row(
    "33", "a client reads 1 KB/s", bound=2.0, why="it is closed at 1 MiB; the others notice nothing", measure="delay",
    patience=3.0,
)  # fmt: skip
async def slow_reader(w: World) -> None:
    run = w.run_of(0)
    before = await closed_as(w, "4408")
    async with raw_socket(w, run.username) as sock:
        reading = asyncio.create_task(sips(sock))
        for _ in range(200):
            w.load.add(run, blob="x" * 40_000)
        await eventually(lambda: closed(w, "4408", before), within=CLOSED_SECONDS)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    w.over()


async def closed(w: World, code: str, before: float) -> bool:
    return await closed_as(w, code) > before


async def sips(sock: socket.socket) -> None:
    """Reads a kilobyte a second."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while await loop.sock_recv(sock, 1024):
            await passing(1.0)


@row(
    "34", "a client never answers pings, another floods", bound=2.0, why="closed after ping + grace; others as ever",
    measure="delay", patience=3.0,
)  # fmt: skip
async def rude_clients(w: World) -> None:
    loop = asyncio.get_running_loop()
    before = await closed_as(w, "4410")
    pid = w.stack.hubs[0].pid
    async with raw_socket(w, w.names[0]), raw_socket(w, w.names[1]) as flooder:
        busy, began = cpu_seconds(pid), time.monotonic()
        sent = 0
        while time.monotonic() - began < w.times.short / 2:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(0.5):
                    await loop.sock_sendall(flooder, (MASKED_PING + MASKED_TEXT) * 50)
                    sent += 50
            await passing(0.01)
        busy = (cpu_seconds(pid) - busy) / (time.monotonic() - began)
        w.note(f"{sent} pings and texts, {busy:.0%} of a core")
        w.expect(busy < 0.95, f"a flood takes {busy:.0%} of a core")
        await eventually(lambda: closed(w, "4410", before), within=w.times.silence + 5.0)
    w.over()


@row("38", "sockets join at the live edge", bound=1.5, why="each is whole from its answer on", patience=3.0)
async def joining(w: World) -> None:
    ends = time.monotonic() + w.times.short
    n = 0
    while time.monotonic() < ends:
        n += 1
        username = w.names[n % 3]
        w.watch(("plain", "resuming", "control", "sse")[n % 4], username, first=n)
        await w.let(0.05)
    w.over()
    w.note(f"{n} sockets joined")
