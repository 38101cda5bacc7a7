"""Rows that break API processes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from functools import partial

import aiohttp

from tests.fault.world import World, row
from tests.support.processes import ready
from tests.support.waiting import eventually

AFTER_COMMIT = ("record.after_commit:2", "publish.before_write:2", "publish.after_write:2", "record.before_answer:2")
POINTS = (
    "receive.before_record", "record.before_transaction", "record.after_commit:9", "publish.before_write:7",
    "publish.after_write:8", "record.before_answer:9", "receive.before_response:9", "publish.before_beacon:2",
    "publish.after_beacon:2", "record.after_connect:3", "history.in_the_middle", "serve.draining",
)  # fmt: skip
BIG = 1_200  # events: more than two of the pages in which a long history is streamed


@row("1", "an API is killed under load", bound=5.0, why="restart takes 1.5 s, the audit 3.5 s", quick=True)
async def api_killed(w: World) -> None:
    for api in w.stack.apis:
        await api.kill()
        await w.let(0.5)
        await api.start()
    w.over()


@row(
    "2", "an API dies between commit and publish", bound=3.5,
    why="from the commit: 2 s by beacons, 3.5 s by the audit when nobody names the feed", measure="delay",
    patience=5.0,
)  # fmt: skip
async def api_dies_after_commit(w: World) -> None:
    """The feeds that get an event then get no other: nothing but a head tells of it."""
    api = w.stack.apis[0]
    w.watch_quiet()
    for point in AFTER_COMMIT:
        await api.kill()
        for run in w.load.quiet:
            run.place = 0  # they all go to the one that is to die
        await api.launch(RUNFEED_TEST="1", RUNFEED_CRASH_AT=point)
        await eventually(lambda: not api.running or listens(w.stack.api_ports[0]), within=10)
        for run in w.load.quiet:
            w.load.add(run)
        await eventually(lambda: not api.running, within=10)
    await api.gone()
    await w.let(min(w.row.bound, w.times.short))
    await api.start()
    w.over()


def listens(port: int) -> bool:
    """Whether a connection to a port is taken."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@row("crash", "an API dies at each of twelve points", bound=5.0, why="as row 1")
async def crash_points(w: World) -> None:
    w.watch_quiet()
    for _ in range(BIG):
        w.load.add(w.run_of(0))
    await asyncio.gather(*(sweep(w, n, POINTS[n::2]) for n in (0, 1)))
    w.over()


async def sweep(w: World, which: int, points: tuple[str, ...]) -> None:
    """One API dies at these points, one after the other."""
    api = w.stack.apis[which]
    for point in points:
        await api.kill()
        await api.launch(RUNFEED_TEST="1", RUNFEED_CRASH_AT=point)
        for run in w.load.quiet[which::2]:
            w.load.add(run)
        try:
            await eventually(partial(died, w, which, point), within=15)
        except AssertionError:
            w.expect(False, f"{point} was not passed")
    await api.kill()
    await api.start()


async def died(w: World, which: int, point: str) -> bool:
    """Whether it has; does what leads to the point if the load does not."""
    api = w.stack.apis[which]
    if point.startswith("serve.") and await asyncio.to_thread(ready, api.admin):
        api.signal(signal.SIGTERM)
    elif point.startswith("history."):
        url = f"http://127.0.0.1:{w.stack.api_ports[which]}/runs/{w.run_of(0).run_id}/events"
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with w.stack.session.get(url) as response:
                await response.read()
    elif point.startswith("record.after_connect") and await asyncio.to_thread(ready, api.admin):
        w.stack.api_postgres[which].cut()
    return not api.running


@row("4", "an API is stopped (SIGSTOP) and goes on", bound=4.0, why="what it held is sent when it goes on; audit 3.5 s")
async def api_frozen(w: World) -> None:
    api = w.stack.apis[0]
    began = time.time()
    api.freeze()
    await w.let(w.times.long)
    api.thaw()
    w.over()
    await w.let(0.5)
    w.expect(w.closes(began) == 0, f"{w.closes(began)} sockets were closed")


@row("api-stopped", "both APIs are stopped", bound=4.0, why="sockets stay, readiness stays; then the audit's 3.5 s")
async def both_frozen(w: World) -> None:
    began = time.time()
    reconnects = await w.both("fanout_redis_reconnects_total")
    for api in w.stack.apis:
        api.freeze()
    deadline = time.monotonic() + w.times.long
    while time.monotonic() < deadline:
        await w.let(0.5)
        for n, hub in enumerate(w.stack.hubs):
            status, body = await w.stack.readiness(hub)
            w.expect(status == 200 or f"hub {n}" in str(w.failed), f"hub {n}: /readyz {status} {body}")
    for api in w.stack.apis:
        api.thaw()
    w.over()
    await w.let(0.5)
    w.expect(w.closes(began) == 0, f"{w.closes(began)} sockets were closed")
    now = await w.both("fanout_redis_reconnects_total")
    w.expect(now == reconnects, f"{now - reconnects:.0f} reconnects to Redis were counted")


@row("44", "poison events", bound=1.0, why="refused by name; nobody else notices", patience=2.0)
async def poison(w: World) -> None:
    run = w.run_of(0)
    deep = b'{"type":"a","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    corpus = [
        b'{"type":"a","x":"\xff"}', b'{"type":"a","x":NaN}', b'{"type":"a","x":"\\ud800"}',
        b'{"type":"a","x":"\\u0000"}',
        deep, b'{"type":"a","x":1e999}', b'{"type":"a","x":99999999999999999999999}', b'{"type":"a","id":7}',
        b'{"type":"a","username":"somebody"}', b"", b"[]", b'{"events":[]}', b'{"type":"a","control":true}',
        b'{"type":"a","type":"b"}', b'{"type":"a","note":"' + b"x" * 70_000 + b'"}',
    ]  # fmt: skip
    url = f"http://127.0.0.1:{w.stack.api_ports[0]}/api/v1/runs/{run.run_id}/events"
    for body in corpus:
        async with w.stack.session.post(url, data=body) as response:
            w.expect(400 <= response.status < 500, f"{response.status} for {body[:40]!r}")
    w.over()


@row("28", "more readers than connections to PostgreSQL", bound=3.0, why="refused within 3 s, and then as before")
async def pool_exhausted(w: World) -> None:
    slow = w.stack.api_postgres[0]
    url = f"http://127.0.0.1:{w.stack.api_ports[0]}/api/v1/feeds/{w.names[0]}/events"

    async def ask() -> tuple[int, float, bool]:
        began = time.monotonic()
        async with w.stack.session.get(url) as response:
            await response.read()
            return response.status, time.monotonic() - began, "Retry-After" in response.headers

    slow.slow(1.0, "up")
    answers = await asyncio.gather(*(ask() for _ in range(100)))
    async with w.stack.session.get(f"http://127.0.0.1:{w.stack.apis[0].admin}/healthz") as response:
        w.expect(response.status == 200, f"/healthz {response.status}")
    slow.heal()
    w.over()
    refused = [answer for answer in answers if answer[0] == 503]
    w.note(f"{len(refused)} of 100 refused, the slowest answer took {max(a[1] for a in answers):.1f} s")
    w.expect({answer[0] for answer in answers} <= {200, 503}, f"answers {sorted({a[0] for a in answers})}")
    w.expect(all(answer[2] for answer in refused), "503 without Retry-After")
    w.expect(max(a[1] for a in answers) < 6.0, "an answer took longer than 6 s")
