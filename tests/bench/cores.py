"""What a second process on a second core brings: deliveries of two hubs on one shared port, beside those of one.

On a machine of two cores, two hubs that fill both leave none for Redis and for whoever counts: deliveries a second of
wall time would say how much the load took. What counts is deliveries a second of a hub's own CPU. Each hub reads all
frames from Redis, so that part of the work is done twice, and a delivery costs more when two share the sockets:

    scaling = capacity of two cores / capacity of one = 2 * (CPU of a delivery, one hub) / (the same, one of two hubs)

The hub that is measured has the first core, and makes as many deliveries a second as the other time: with two hubs
twice as much is published. The second is on the last core, with Redis and the load. A busy pair would leave the load no
room: there, one hub with half of the sockets and all of the frames stands for one of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from deploy.local.postgres import free_port
from tests.bench import hub, machine
from tests.bench.hub import Figures, Load
from tests.bench.servers import Bench, Server, Start, ours

PAIRS = {
    "two cores, broadcast": Load(sockets=1000, users=1, count=200, rate=20),
    "two cores, unicast": Load(sockets=1000, users=1000, count=40_000, rate=5000, burst=20),
}
BUSY = hub.LOADS["unicast"]
HALF = replace(BUSY, sockets=BUSY.sockets // 2, count=2 * BUSY.count, rate=2 * BUSY.rate, burst=2 * BUSY.burst)


def measure(bench: Bench, rounds: int) -> dict[str, Any]:
    """Each case so often; see `hub.in_turn`."""
    found: dict[str, list[Figures]] = {name: [] for name in (*PAIRS, "two cores, busy")}
    for _ in range(rounds):
        for name, load in PAIRS.items():
            double = replace(load, count=2 * load.count, rate=2 * load.rate)
            found[name].append(compared(alone(bench, load), paired(bench, double)))
        found["two cores, busy"].append(compared(alone(bench, BUSY), alone(bench, HALF)))
    return {name: {"runfeed": hub.summed(each)} for name, each in found.items()}


def compared(one: Figures, of_two: Figures) -> Figures:
    """What both cost, and what follows."""
    return {
        "scaling": 2 * one["cpu_us"] / of_two["cpu_us"],
        "one_us": one["cpu_us"],
        "of_two_us": of_two["cpu_us"],
        **{name: one[name] + of_two[name] for name in ("missing", "refused", "closed")},
    }


def alone(bench: Bench, load: Load) -> Figures:
    """One hub."""
    return hub.delivery(bench, ours, load, simple=False)


def paired(bench: Bench, load: Load) -> Figures:
    """The first of two hubs on one port: its CPU by what it has delivered itself."""
    delivered: list[float] = []
    figures = hub.delivery(bench, pair(delivered), load, simple=False)
    return figures | {"cpu_us": figures["cpu_us"] * figures["frames"] / delivered[0]}


def pair(delivered: list[float]) -> Start:
    """Starts two; stands for the first, and tells at its end how many frames that one has delivered."""

    @contextmanager
    def start(bench: Bench, history: str) -> Iterator[Server]:
        port = {"FANOUT_REUSE_PORT": "1", "FANOUT_PORT": str(free_port())}
        with (
            ours(bench, history, port) as first,
            ours(bench, history, port, core=machine.LOAD_CORE) as second,
        ):
            yield first
            delivered.append(first.metric("fanout_frames_sent_total"))
            if not second.metric("fanout_frames_sent_total"):
                raise RuntimeError("the second hub on the port has delivered nothing")

    return start
