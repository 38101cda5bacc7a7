"""How many connections there may be, in all and of one address.

Each is a file, and the kernel has no words for one too many. Pure, but for the log.
"""

import structlog

from orchestrator_api.metrics import Metrics
from orchestrator_api.peers import Proxies, counted_as

log = structlog.get_logger("orchestrator_api")

PROXY = ""  # what the connections of trusted proxies count as: each stands for many


class Crowd:
    """Who is connected.

    most: connections in all. of_address: of one address (of IPv6 a /64); 0: no limit. proxies: those that are no
    client themselves.
    """

    def __init__(self, most: int, of_address: int, proxies: Proxies, metrics: Metrics) -> None:
        self._most = most
        self._of_address = of_address
        self._proxies = proxies
        self._metrics = metrics
        self._counts: dict[str, int] = {}
        self._all = 0
        self._full = False

    def __len__(self) -> int:
        return self._all

    def enter(self, peer: str) -> str | None:
        """Counts a connection. peer: its address. Returns what `leave` is to be told; None: it is one too many."""
        name = PROXY if self._proxies.trust(peer) else counted_as(peer)
        if self._all >= self._most:
            self._metrics.turned_away("process")
            if not self._full:
                log.warning("orchestrator.connections_full", connections=self._all, see="API_MAX_CONNECTIONS")
            self._full = True
            return None
        if name and 0 < self._of_address <= self._counts.get(name, 0):
            self._metrics.turned_away("address")
            return None
        self._all += 1
        self._counts[name] = self._counts.get(name, 0) + 1
        return name

    def leave(self, name: str) -> None:
        """One that was counted has ended."""
        self._all -= 1
        if self._all < self._most * 0.9:  # not at each of those that come and go at the limit
            self._full = False
        left = self._counts[name] - 1
        if left:
            self._counts[name] = left
        else:
            del self._counts[name]
