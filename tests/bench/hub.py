"""The hub's cases: what a delivery, a handshake, an open socket and an idle one cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench import feed, watch
from tests.bench.servers import Bench, Server, Tool
from tests.support.waiting import eventually_sync

SETTLE_SECONDS = 1.0  # between the last handshake and the first frame
Start = Callable[[Bench, str], AbstractContextManager[Server]]
Figures = dict[str, float]


@dataclass(frozen=True)
class Load:
    """Who watches what, and what is published.

    Fields:
        sockets, users: socket n is of user n % users.
        count, rate, burst: frames published in all, a second, in one write.
        sizes: bytes of a frame, in turn.
        runs: of each user; filtered: every so manieth socket wants the first of them alone (0: none).
        real: the frames read like events, not like padding.
        before: events that each feed has already.
        resuming: every so manieth socket comes when others are being written to, and begins with those (0: none).
    """

    sockets: int
    users: int
    count: int
    rate: float
    burst: int = 1
    sizes: tuple[int, ...] = (250,)
    runs: int = 1
    filtered: int = 0
    real: bool = False
    before: int = 0
    resuming: int = 0

    def scaled(self, part: float) -> Load:
        """The same for a part of the time."""
        return Load(**(asdict(self) | {"sizes": self.sizes, "count": int(self.count * part)}))


LOADS = {
    "broadcast": Load(sockets=1000, users=1, count=300, rate=50),
    "burst": Load(sockets=1000, users=1, count=1200, rate=80, burst=20),
    "unicast": Load(sockets=1000, users=1000, count=96_000, rate=12_000, burst=20),
    "mixed": Load(
        sockets=2000, users=500, count=12_000, rate=1500, burst=10, sizes=(200, 250, 400, 250, 1024, 300, 250, 16_384),
        runs=2, filtered=3, before=40, resuming=20,
    ),
}  # fmt: skip


# As `broadcast`, with frames of 1 KiB that read like events, for clients that can inflate them.
EVENTS = Load(sockets=1000, users=1, count=300, rate=50, sizes=(1024,), real=True)


def watched(load: Load, simple: bool) -> Iterator[tuple[str, int, bool]]:
    """(path, frames that it is to get, whether it resumes) of each socket. simple: the hub knows usernames alone."""
    for number in range(load.sockets):
        user = number % load.users
        whole, more = divmod(load.count, load.users)
        ids = range(load.before + 1, load.before + whole + (user < more) + 1)
        query = ""
        resumes = not simple and load.resuming > 0 and number % load.resuming == 1
        if resumes:
            query, ids = query + "after=0&", range(1, ids.stop)
        wanted = len(ids)
        if not simple and load.filtered and number % load.filtered == 0:
            query += f"run_id=r{user}-0&"
            wanted = sum(1 for each in ids if each % load.runs == 0)
        yield f"/ws?{query}username=u{user}", wanted, resumes


def delivery(bench: Bench, start: Start, load: Load, *, simple: bool, deflate: bool = False) -> Figures:
    """CPU of a delivery and of a handshake (us), memory of a socket (KiB), latency (ms), and whether all arrived.

    What the sockets that resume cost, handshakes and histories, is the deliveries' cost.

    simple: see `watched`; deflate: the sockets offer permessage-deflate.
    """
    extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
    plan = feed.Plan(
        redis=bench.redis, users=load.users, count=load.count, rate=load.rate, burst=load.burst,
        sizes=list(load.sizes), runs=load.runs, before=load.before, real=load.real,
    )  # fmt: skip
    sockets = list(watched(load, simple))
    expected = sum(wanted for _, wanted, _ in sockets)

    def plan_of(port: int, resuming: bool) -> str:
        mine = [(path, wanted) for path, wanted, resumes in sockets if resumes == resuming]
        expect = sum(wanted for _, wanted in mine)
        return json.dumps(asdict(watch.Plan(port, [path for path, _ in mine], expect, extra=extra)))

    with bench.tool("feed", json.dumps(asdict(plan))) as source, start(bench, history_of(source)) as server:
        began, empty = server.cpu(), server.memory()
        with bench.tool("watch", plan_of(server.port, resuming=False)) as watchers:
            opened = watchers.says()
            rest()
            open_cpu, full = server.cpu(), server.memory()
            watchers.tell()
            source.publish(server)
            back = resumed(bench, plan_of(server.port, resuming=True)) if load.resuming and not simple else {}
            published, arrived = source.says(), watchers.says()
            spent = server.cpu() - open_cpu
    frames = arrived["frames"] + back.get("frames", 0)
    return {
        "cpu_us": spent / max(frames, 1) * 1e6,
        "handshake_us": (open_cpu - began) / max(opened["open"], 1) * 1e6,
        "socket_kib": (full - empty) / max(opened["open"], 1) / 1024,
        "p50_ms": arrived["p50_ms"],
        "p99_ms": arrived["p99_ms"],
        "frames": frames,
        "bytes": arrived["bytes"] + back.get("bytes", 0),
        "missing": expected - frames,
        "refused": opened["refused"] + back.get("refused", 0),
        "closed": arrived["closed"] + back.get("closed", 0),
        "rate": published["rate"],
    }


def resumed(bench: Bench, plan: str) -> Figures:
    """Sockets that come while frames are delivered: how they were answered, and what arrived."""
    with bench.tool("watch", plan) as watchers:
        watchers.tell()
        return watchers.says() | watchers.says()


def idle(bench: Bench, start: Start, *, sockets: int, seconds: float) -> Figures:
    """Memory of an open socket (KiB), and CPU (s) of so many that only answer pings for a while."""
    plan = feed.Plan(redis=bench.redis, users=sockets, count=0, rate=1)
    with bench.tool("feed", json.dumps(asdict(plan))) as source, start(bench, history_of(source)) as server:
        paths = [f"/ws?username=u{number}" for number in range(sockets)]
        empty = server.memory()
        with bench.tool("watch", json.dumps(asdict(watch.Plan(server.port, paths, seconds=seconds)))) as watchers:
            opened = watchers.says()
            rest()
            full, began = server.memory(), server.cpu()
            watchers.tell()
            seen = watchers.says()
            spent = server.cpu() - began
    return {
        "socket_kib": (full - empty) / sockets / 1024,
        "idle_cpu_s": spent,
        "seconds": seconds,
        "pings": seen["pings"],
        "refused": opened["refused"],
        "closed": seen["closed"],
    }


def handshakes(bench: Bench, start: Start, *, sockets: int, at_once: bool) -> Figures:
    """CPU of a handshake (us), one after the other or all at once."""
    plan = feed.Plan(redis=bench.redis, users=sockets, count=0, rate=1)
    with bench.tool("feed", json.dumps(asdict(plan))) as source, start(bench, history_of(source)) as server:
        paths = [f"/ws?username=u{number}" for number in range(sockets)]
        began = server.cpu()
        opening = watch.Plan(server.port, paths, at_once=at_once)
        with bench.tool("watch", json.dumps(asdict(opening))) as watchers:
            opened = watchers.says()
            rest()
            spent = server.cpu() - began
    return {
        "handshake_us": spent / sockets * 1e6,
        "refused": opened["refused"],
        "a_second": sockets / opened["seconds"],
    }


def history_of(source: Tool) -> str:
    """Where the feed's history answers."""
    return f"http://127.0.0.1:{source.says()['history']:.0f}"


def rest() -> None:
    """What the last handshakes have set off is over."""
    until = time.monotonic() + SETTLE_SECONDS
    eventually_sync(lambda: time.monotonic() > until, within=SETTLE_SECONDS + 1)


def medians(rounds: list[Figures]) -> Figures:
    """Of each figure."""
    return {name: sorted(figures[name] for figures in rounds)[len(rounds) // 2] for name in rounds[0]}


def in_turn(starts: dict[str, Start], rounds: int, measure: Callable[[str, Start], Figures]) -> dict[str, Any]:
    """Each server once, then each again: {name: {"median": figures, "rounds": [figures]}}."""
    found: dict[str, list[Figures]] = {name: [] for name in starts}
    for _ in range(rounds):
        for name, start in starts.items():
            found[name].append(measure(name, start))
    return {name: summed(figures) for name, figures in found.items()}


def summed(rounds: list[Figures]) -> dict[str, Any]:
    """What is kept of some rounds."""
    return {"median": medians(rounds), "rounds": rounds}
