"""What ./dev bench measures, by name. A result is {case: {server: {"median": figures, "rounds": [figures]}}}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.bench import api, cores, hub, long
from tests.bench.servers import HUBS, NCHAN_MODULE, PEERS, Bench, Start, compressing, ours

SHORT_PART = 0.4  # of the time, in the short form
SHORT = ("broadcast", "burst", "unicast", "mixed", "idle", "api")  # what the short form measures
Found = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Cases:
    """How much of each case, and beside whom.

    Fields:
        rounds: each server is measured so often, in turn with the others.
        short: less of each.
        peers: beside the peers, too.
    """

    rounds: int
    short: bool
    peers: bool

    @property
    def all(self) -> Mapping[str, Callable[[Bench], Found]]:
        """What measures each."""
        return {
            **{name: partial(self._delivery, name) for name in hub.LOADS},
            "idle": self._idle,
            "at once": partial(self._handshakes, True),
            "one by one": partial(self._handshakes, False),
            "compression": self._compression,
            "cores": lambda bench: cores.measure(bench, self.rounds),
            "api": self._api,
            "history": partial(self._long, "history", long.history),
            "heads": self._heads,
            "seed": partial(self._long, "seed", long.seed),
            "growth": partial(self._long, "growth", lambda bench: long.grown(bench, ours)),
            "leak": partial(self._long, "leak", lambda bench: long.leak(bench, ours)),
        }

    def _starts(self, *but: str) -> dict[str, Start]:
        everybody = {**HUBS, **(PEERS if self.peers else {})}
        absent = () if NCHAN_MODULE.exists() else ("nchan",)
        return {name: start for name, start in everybody.items() if name not in (*but, *absent)}

    def _delivery(self, name: str, bench: Bench) -> Found:
        load = hub.LOADS[name].scaled(SHORT_PART if self.short else 1.0)

        def measured(server: str, start: Start) -> hub.Figures:
            return hub.delivery(bench, start, load, simple=server != "runfeed")

        # The floor knows no bounds: frames of 16 KiB for sockets that may be slow are not its work.
        starts = self._starts("floor") if name == "mixed" else self._starts()
        return {name: hub.in_turn(starts, self.rounds, measured)}

    def _idle(self, bench: Bench) -> Found:
        sockets, seconds = (2000, 3.0) if self.short else (10_000, 50.0)

        def measured(_: str, start: Start) -> hub.Figures:
            return hub.idle(bench, start, sockets=sockets, seconds=seconds)

        return {"idle": hub.in_turn(self._starts("floor"), self.rounds, measured)}  # the floor sends no pings

    def _handshakes(self, at_once: bool, bench: Bench) -> Found:
        def measured(_: str, start: Start) -> hub.Figures:
            return hub.handshakes(bench, start, sockets=2000, at_once=at_once)

        return {"at once" if at_once else "one by one": hub.in_turn(self._starts("floor"), self.rounds, measured)}

    def _compression(self, bench: Bench) -> Found:
        """The same load to clients that offer permessage-deflate, the hub's setting off and on."""

        def measured(_: str, start: Start) -> hub.Figures:
            return hub.delivery(bench, start, hub.EVENTS, simple=False, deflate=True)

        found = hub.in_turn({"plain": ours, "compressed": compressing}, self.rounds, measured)
        return {name: {"runfeed": figures} for name, figures in found.items()}

    def _long(self, name: str, measure: Callable[[Bench], hub.Figures], bench: Bench) -> Found:
        """Once is enough: these take minutes, and what they look for does not come and go."""
        return {name: {"runfeed": hub.summed([measure(bench)])}}

    def _heads(self, bench: Bench) -> Found:
        return {name: {"runfeed": hub.summed([figures])} for name, figures in long.heads(bench).items()}

    def _api(self, bench: Bench) -> Found:
        return api.measure(bench, self.rounds, 2.0 if self.short else 4.0)
