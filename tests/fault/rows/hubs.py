"""Rows that break hubs."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import time
from pathlib import Path

import redis.asyncio

from tests.fault.clients import IMPATIENT
from tests.fault.world import World, row
from tests.support.waiting import eventually

CLOCK_TICKS = 100  # a second, of /proc/*/stat on Linux


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def open_files(pid: int) -> int:
    """How many file descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@row("6", "a hub is killed", bound=5.0, why="faults.md row 6: clients come back elsewhere within 5 s", quick=True)
async def hub_killed(w: World) -> None:
    w.over()
    await w.stack.hubs[0].kill()
    await w.let(w.times.short)
    await w.stack.hubs[0].start()


@row(
    "7", "a hub is stopped while Redis drops its subscription", bound=5.0,
    why="its link is seen to be closed at once, then one catch-up",
)  # fmt: skip
async def hub_frozen(w: World) -> None:
    hub = w.stack.hubs[0]
    reconnects = await w.stack.metric(hub, "fanout_redis_reconnects_total")
    hub.freeze()
    async with contextlib.aclosing(redis.asyncio.Redis.from_url(w.stack.redis.url)) as client:
        junk = b"x" * 2**20
        for _ in range(w.times.bulk // len(junk)):
            await client.publish("run:bulk", junk)
    await w.let(w.times.long)
    hub.thaw()
    w.over()
    await w.let(w.row.bound)
    now = await w.stack.metric(hub, "fanout_redis_reconnects_total")
    w.expect(now > reconnects, "Redis was to drop the stopped subscriber")


@row("8", "rolling restart of both hubs", bound=3.0, why="faults.md row 8, after each hub's drain")
async def rolling_restart(w: World) -> None:
    for hub in w.stack.hubs:
        hub.signal(signal.SIGTERM)
        await hub.gone()
        await hub.start()
    w.over()


@row("10", "a hub has no file descriptors left", bound=3.0, why="nobody who is connected notices")
async def no_descriptors(w: World) -> None:
    pid = w.stack.hubs[0].pid
    port = w.stack.hub_ports[0]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = open_files(pid)
    began = time.time()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 4, before[1]))
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
    busy = cpu_seconds(pid)
    await w.let(w.times.short)
    busy = (cpu_seconds(pid) - busy) / w.times.short
    for _, writer in streams:
        writer.transport.abort()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    w.over()
    w.note(f"the hub used {busy:.0%} of a core")
    w.expect(busy < 0.9, f"the accept loop spins: {busy:.0%} of a core")
    w.expect(w.closes(began) == 0, f"{w.closes(began)} sockets were closed that had nothing to do with it")
    late = w.watch("plain", w.names[0])
    await eventually(lambda: late.opened, within=5)


@row("37", "a storm of sockets comes back at once", bound=15.0, why="faults.md row 37")
async def storm(w: World) -> None:
    hub = w.stack.hubs[0]
    crowd = [w.watch("resuming", w.names[n % 20], first=0) for n in range(w.times.storm)]
    for client in crowd:
        client.places.doors[:] = [w.stack.hub_ports[0]]
    await eventually(lambda: all(client.opened for client in crowd), within=60)
    await hub.kill()
    await hub.start()
    w.over()
    await eventually(lambda: all(client.segment for client in crowd), within=60)
    await w.let(1.0)
    asked = await w.stack.metric(hub, "fanout_history_requests_total")
    w.note(f"{len(crowd)} sockets cost {asked:.0f} requests to the API")
    w.expect(asked <= 3 * len(w.names), f"{asked:.0f} requests to the API for {len(w.names)} feeds")


@row("47", "everything is stopped and goes on", bound=5.0, why="what was read late is worked off; no timer fires twice")
async def everything_frozen(w: World) -> None:
    everything = [*w.stack.apis, *w.stack.hubs]
    began = time.time()
    for service in everything:
        service.freeze()
    w.stack.postgres.freeze()
    w.stack.redis.freeze()
    await w.let(w.times.long)
    w.stack.postgres.thaw()
    w.stack.redis.thaw()
    for service in everything:
        service.thaw()
    w.over()
    await w.let(w.times.short)
    cut = w.closes(began, but=IMPATIENT)
    w.note(f"{w.closes(began) - cut} clients lost their patience, {cut} were closed")
    w.expect(cut == 0, f"{cut} sockets were closed by a hub that was stopped itself")
    w.expect(w.closes(began) <= len(w.crowd.clients), f"a loop of reconnects: {w.closes(began)} closes")
