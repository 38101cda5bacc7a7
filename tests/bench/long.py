"""What only shows after a while, or with much of it: growth, leaks, long histories, the load of a real page."""

from __future__ import annotations

import http.client
import json
from dataclasses import asdict, replace

from tests.bench import call, feed, hub, watch
from tests.bench.api import EVENT, FEEDS, apis, asked, make_runs
from tests.bench.hub import Figures
from tests.bench.servers import Bench, Server, Start, Tool
from tests.support.waiting import eventually_sync

LONG = 100_000  # events of the history that is read whole
MANY_FEEDS = 10_000
SEED_SECONDS, SEED_POLLS, SEED_APPENDS = 60.0, 800, 200  # a second
SEED_CALLERS = 64
LIVES, CROWD = 100, 1000  # so often come so many sockets, and go
EVENTS = 1_000_000  # published meanwhile
LEFTOVERS = ("fanout_connections", "fanout_feeds", "fanout_joins_waiting", "fanout_replays", "fanout_held_bytes")


def grown(bench: Bench, start: Start) -> Figures:
    """Broadcast, to ten times the sockets."""
    load = replace(hub.LOADS["broadcast"], sockets=10_000, count=60, rate=5)
    return hub.delivery(bench, start, load, simple=False)


def leak(bench: Bench, start: Start) -> Figures:
    """Sockets come and go while events pass: memory after the last tenth as a part of that after the second."""
    plan = feed.Plan(redis=bench.redis, users=CROWD, count=EVENTS, rate=12_000, burst=20)
    paths = [f"/ws?username=u{number}" for number in range(CROWD)]
    sizes: list[int] = []
    refused = 0.0
    with bench.tool("feed", json.dumps(asdict(plan))) as source, start(bench, hub.history_of(source)) as server:
        source.tell()
        for life in range(1, LIVES + 1):
            opening = watch.Plan(server.port, paths, expect=CROWD, at_once=True)
            with bench.tool("watch", json.dumps(asdict(opening))) as watchers:
                refused += watchers.says()["refused"]
                watchers.tell()
                watchers.says()
            if life % (LIVES // 10) == 0:
                eventually_sync(lambda: server.metric("fanout_connections") == 0, within=10)
                sizes.append(server.memory())
        published = source.says()
        eventually_sync(lambda: not leftovers(server), within=10)
        return {
            "grown": sizes[-1] / sizes[1],
            **{f"mib_{tenth}": size / 2**20 for tenth, size in enumerate(sizes, 1)},
            "refused": refused,
            "missing": EVENTS - published["published"],
            "sockets": LIVES * CROWD,
        }


def leftovers(server: Server) -> list[str]:
    """What a hub still has though nobody watches."""
    return [name for name in LEFTOVERS if server.metric(name)]


def history(bench: Bench) -> Figures:
    """A run's history is read whole, ten times: by how much the process grew (MiB), and how long one took (s)."""
    with apis(bench) as both:
        run = "long"
        make_runs(both.ours.port, [("long", run)])
        fill(both.ours.port, run, LONG)
        before = both.ours.memory()
        plan = call.Plan(both.ours.port, [call.get(f"/runs/{run}/events")], callers=2, seconds=20.0, warm=0.0)
        with bench.tool("call", json.dumps(asdict(plan))) as caller:
            most, said = watched(both.ours, caller)
    return {"grown_mib": (most - before) / 2**20, "p50_s": said["p50_ms"] / 1000, "failed": said["failed"]}


def watched(server: Server, caller: Tool) -> tuple[int, dict[str, float]]:
    """The most memory that a server had while a caller was at work, and what that one said (it says one line)."""
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, server.memory())
        return caller.spoke()

    eventually_sync(done, within=60)
    return most, caller.says()


def fill(port: int, run: str, events: int) -> None:
    """So many events for a run, a thousand at a time."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"events": [EVENT] * 1000})
    for _ in range(events // 1000):
        connection.request("POST", f"/runs/{run}/events", body, {"Content-Type": "application/json"})
        with connection.getresponse() as answer:
            answer.read()
            if answer.status != 201:
                raise RuntimeError(f"POST events: {answer.status}")
    connection.close()


def heads(bench: Bench) -> dict[str, Figures]:
    """The heads of many feeds in one question, and of one."""
    with apis(bench) as both:
        names = [f"many{n}" for n in range(MANY_FEEDS)]
        make_runs(both.ours.port, [(name, f"run-{name}") for name in names], events=1)
        path = "/api/v1/feeds/heads"
        return {
            "one head": asked(bench, both.ours, [call.post(path, {"usernames": names[:1]})], 1, 3.0),
            "10,000 heads": asked(bench, both.ours, [call.post(path, {"usernames": names})], 1, 6.0),
        }


def seed(bench: Bench) -> Figures:
    """A page for each of 1,000 runs polls whole histories, while workers append: the polls' figures."""
    with apis(bench) as both:
        port, runs = both.ours.port, [f"s{n}" for n in range(FEEDS)]
        make_runs(port, [(f"u{run}", run) for run in runs], events=5)
        polls = call.Plan(
            port, [call.get(f"/runs/{run}/events") for run in runs], SEED_CALLERS, SEED_SECONDS, rate=SEED_POLLS
        )
        posts = [call.post(f"/runs/{run}/events", EVENT) for run in runs]
        appends = call.Plan(port, posts, SEED_CALLERS, SEED_SECONDS, rate=SEED_APPENDS)
        with (
            bench.tool("call", json.dumps(asdict(appends))) as workers,
            bench.tool("call", json.dumps(asdict(polls))) as pages,
        ):
            read, wrote = pages.says(), workers.says()
    return read | {
        "failed": read["failed"] + wrote["failed"],
        "appended": wrote["answered"],
        "append_p99_ms": wrote["p99_ms"],
    }
