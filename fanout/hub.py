"""What all connections share: from what one read of Redis brought to what is written to each socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import time
from typing import Any, cast

import structlog

from . import controls, deliver, handshake, wire
from .catch_up import CatchUp
from .deliver import Connection
from .door import SLICE, retry_ms
from .feed import Feed, Group
from .guard import Guard
from .history import History
from .joins import Joins
from .metrics import Metrics
from .pings import Wheel
from .replay import Replays
from .revocations import RevocationList
from .route import Message, Outcome, Router
from .settings import Settings
from .trace import FIELDS, Trace, ids_of

log = structlog.stdlib.get_logger("fanout")


class Hub:
    """What all connections share.

    Args:
        settings: the operator's.
        router: who gets what.
        wheel: everybody's deadlines.
        metrics: the counters.
        history: the API; None: live only.
        clock: seconds since 1970, as tokens have them.

    Attributes:
        sockets: the open ones.
        connections: all of them, whatever their state.
        draining: no new socket is wanted.
        usual: most requests say all that counts in the fields that `usual` reads.
    """

    def __init__(
        self,
        settings: Settings,
        router: Router,
        wheel: Wheel[Connection],
        metrics: Metrics,
        history: History | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.router = router
        self.wheel = wheel
        self.metrics = metrics
        self.history = history
        auth = settings.auth
        self.rules = handshake.Rules(handshake.origins(settings.allowed_origins), auth, settings.compression)
        # Tokens, and of whom a proxy speaks where addresses are counted, stand in fields that `usual` does not read.
        self.usual = auth.insecure and not (auth.exposed and auth.proxies.networks)
        self.sockets: set[Connection] = set()
        self.connections: set[Connection] = set()
        self.draining = False
        self.buffer = bytearray(SLICE)
        self.loop = asyncio.get_running_loop()
        self.trace = Trace()
        self.joins = Joins(self)
        self.replays = Replays(self)
        self.catch_up = CatchUp(self)
        self.revocations = RevocationList(
            None if auth.insecure else history, lambda: self.guard.turn_out(), self.loop.time
        )
        self.guard = Guard(self)
        self._hold_timer: asyncio.TimerHandle | None = None

    def connect(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    def receive(self, messages: Sequence[Message]) -> None:
        """Route and deliver what one read of Redis brought."""
        router = self.router
        self.deliver(router.route(messages, self.loop.time()))
        if router.behind and self._hold_timer is None:
            self.arm()
        if router.suspect:
            self.catch_up.suspect()

    def arm(self) -> None:
        """Wake those who ask history when the first feed's hold has passed."""
        if self._hold_timer is not None:
            self._hold_timer.cancel()
        due = self.router.due_at()
        self._hold_timer = None if due is None else self.loop.call_at(due, self._hold_passed)

    def _hold_passed(self) -> None:
        self._hold_timer = None
        self.catch_up.wake()

    def deliver(self, outcome: Outcome, how: str = "live") -> None:
        """Write what is ready, once encoded for each group: first all bytes are made, then all are written.

        What a write leaves of the caches is the kernel's; two short loops go through less than one long one.
        """
        if not outcome:
            return
        metrics, encoders, at = self.metrics, wire.ENCODERS, time()
        writes: list[tuple[Group, bytes]] = []
        told: list[Any] = []
        frames_sent = bytes_sent = 0
        for group, frames in outcome:
            data = encoders[group.encoding](frames)
            writes.append((group, data))
            count, size, reached = len(frames), len(data), len(group.members)
            group.frames += count
            group.bytes += size
            frames_sent += count * reached
            bytes_sent += size * reached
            told += (group, frames[0].id if count == 1 else ids_of(frames), reached, False)
        metrics.frames_sent += frames_sent
        metrics.bytes_sent += bytes_sent
        for place, slow in _written(writes):
            told[FIELDS * place + 2 : FIELDS * place + 4] = [told[FIELDS * place + 2] - len(slow), True]
            self._close_slow(slow, len(outcome[place][1]), len(writes[place][1]))
        self.trace.wrote(at, how, told)
        if how == "live" and (recorded_at := wire.seconds(outcome[0][1][0].recorded_at)):
            metrics.delivery_lag.observe(max(0.0, time() - recorded_at))

    def _close_slow(self, slow: list[Connection], frames: int, size: int) -> None:
        """They did not get what their group got last."""
        self.metrics.frames_sent -= frames * len(slow)
        self.metrics.bytes_sent -= size * len(slow)
        for connection in slow:
            connection.frames += frames  # what it got is the group's count less this
            connection.bytes += size
            connection.close(4408, "slow")

    # What history says.

    def heard(self, feed: Feed, head: int, last_then: int | None, asked_at: float) -> None:
        """History names the head of `feed`. Those who join are let in before `settle` hands out what was kept."""
        if self.router.feeds.get(feed.username) is not feed:
            return
        resetting = feed.resetting
        wrong = self.router.heard(feed, head, last_then, asked_at, self.loop.time())
        if wrong:
            self.reset(feed, head)
        elif resetting:
            self._tell_reset(feed)

    def reset(self, feed: Feed, head: int) -> None:
        """History is not what was delivered: go on from its head with those who can be told."""
        log.warning("fanout.feed_reset")
        self._close_plain(feed)
        if self.router.feeds.get(feed.username) is feed:
            self.router.reset(feed, head, self.loop.time())
            self._tell_reset(feed)

    def settle(self, feeds: Iterable[Feed]) -> None:
        """Hand out what was kept for bases that are there now."""
        self.deliver(self.router.settle(feeds, self.loop.time()))
        if self.router.behind and self._hold_timer is None:
            self.arm()

    def renumbered(self, epoch: str) -> None:
        """Another numbering, known to history alone: nothing that was known of any feed holds."""
        log.warning("fanout.epoch_changed", epoch=epoch)
        self.router.epoch = epoch
        for feed in list(self.router.feeds.values()):
            self._close_plain(feed)
            if self.router.feeds.get(feed.username) is feed:
                self.router.reset(feed, None, self.loop.time())

    def watchers(self, feed: Feed) -> list[Connection]:
        """The open sockets of a feed, those among them that are being replayed to included."""
        live = [cast("Connection", member) for group in feed.groups.values() for member in group.members]
        return live + self.replays.of(feed)

    def close_feed(self, feed: Feed, why: str) -> None:
        """Close all sockets of a feed for a while: 1013."""
        for connection in self.watchers(feed):
            connection.close(1013, why, retry_ms())

    def _close_plain(self, feed: Feed) -> None:
        for connection in self.watchers(feed):
            if connection.plain:
                connection.close(4409, "cursor unknown: another numbering")

    def _tell_reset(self, feed: Feed) -> None:
        """Those who understand it go on from the head."""
        self.metrics.resets += 1
        text = controls.control("reset", epoch=self.router.epoch, head=feed.last)
        sse = controls.sse_reset(self.router.epoch, feed.last)
        for connection in self.replays.of(feed):
            connection.join(feed)  # first: with its last hold on it gone, the feed would be forgotten
            self.replays.drop(connection)
        for connection in self.watchers(feed):
            connection.write(text if connection.admission.encoding == wire.TEXT else sse)


def _written(writes: Sequence[tuple[Group, bytes]]) -> list[tuple[int, list[Connection]]]:
    """Write all; the places of those writes that found sockets with too much waiting, and these."""
    bound, refused = deliver.MAX_WAITING, []
    for place, (group, data) in enumerate(writes):
        slow: list[Connection] | None = None
        for connection in group.members if group.only is None else (group.only,):
            transport = connection.transport
            # The door of `Connection.write`, without the call: this line runs once a delivery.
            if transport.get_write_buffer_size() > bound:
                slow = [connection] if slow is None else [*slow, connection]
            else:
                transport.write(data)
        if slow is not None:
            refused.append((place, slow))
    return refused
