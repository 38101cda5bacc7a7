"""How long things take: the product's own times, and shorter ones for a suite that must end soon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Times:
    """Seconds, unless it says otherwise.

    Fields:
        before, after: of load without a fault, before and after it.
        short, long: of a fault that is to be short, and of one that outlasts every timer but the pings.
        ping, grace, drain: the hub's settings.
        poll: without a frame for so long a hybrid client polls.
        rate: events a second.
        storm: sockets that come back at once.
        total: of the whole suite; rows that do not fit are failures.
        bulk: bytes that Redis must drop a stopped subscriber for.
    """

    before: float
    after: float
    short: float
    long: float
    ping: float
    grace: float
    drain: float
    poll: float
    rate: int
    storm: int
    bulk: int
    total: float
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def silence(self) -> float:
        """Without a byte for so long a client that knows heartbeats comes back."""
        return self.ping + self.grace

    def environ(self) -> dict[str, str]:
        """What the hub is told, where it is not its default."""
        return dict(self.names)


FULL = Times(
    before=3.0, after=3.0, short=8.0, long=30.0, ping=25.0, grace=10.0, drain=5.0, poll=4.0, rate=200, storm=2000,
    bulk=128 * 2**20, total=1200.0,
)  # fmt: skip
CI = Times(
    before=1.0, after=1.5, short=2.5, long=4.0, ping=2.0, grace=1.5, drain=1.5, poll=1.0, rate=120, storm=300,
    bulk=128 * 2**20, total=470.0,
    names={"PING_INTERVAL": "2", "PING_GRACE": "1.5", "FANOUT_DRAIN": "1.5"},
)  # fmt: skip
