"""Rows that break API processes."""

from __future__ import annotations

import asyncio
import time

from tests.fault.world import World, row
from tests.support.waiting import eventually

CRASH = ("record.after_commit", "publish.before_write", "publish.after_write", "record.before_answer")


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
    api = w.stack.apis[0]
    for point in CRASH:
        await api.kill()
        await api.start(RUNFEED_TEST="1", RUNFEED_CRASH_AT=f"{point}:{20}")
        await eventually(lambda: not api.running, within=10)
    await api.gone()
    await api.start()
    w.over()


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
