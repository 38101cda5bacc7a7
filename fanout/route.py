"""Stage 5: who gets what. Pure: the time is an argument, nothing is written or awaited.

username -> feed -> groups. What one read of Redis brought is sorted in and judged, then handed out once a group.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from . import wire
from .feed import Feed, Group, Verdict
from .wire import Frame

MAX_KEPT: Final = 64 << 20  # bytes kept for all feeds
Message = Sequence[bytes]  # RESP2: b"pmessage", pattern, channel, payload
Outcome = list[tuple[Group, list[Frame]]]


class Router:
    """All feeds that somebody watches.

    Args:
        judged: whether ids are judged, that is, whether history is configured.
        hold: seconds that the next id may be missing.

    Attributes:
        holding: the feeds that keep something back, in the order in which they began to.
        beacon_at: when the last beacon was heard (seconds); None: never.
        messages, dropped, jumps, jumps_given_up: counters for the metrics.
    """

    def __init__(self, judged: bool, hold: float) -> None:
        self.judged = judged
        self.hold = hold
        self.feeds: dict[str, Feed] = {}
        self.beacon_at: float | None = None
        self.messages = 0
        self.dropped: dict[str, int] = dict.fromkeys((*wire.DROPS, "repeat"), 0)
        self.jumps = 0
        self.jumps_given_up = 0
        self.kept_bytes = 0
        self.holding: dict[Feed, None] = {}
        self._epoch: str | None = None

    # Who watches.

    def attach(self, username: str, runs: frozenset[str] | None, member: Hashable) -> Group:
        """Let `member` receive what happens in `runs` of `username` from now on; None: in all of them."""
        feed = self.feeds.get(username)
        if feed is None:
            feed = self.feeds[username] = Feed(username, self.judged)
        group = feed.groups.get(runs)
        if group is None:
            group = feed.groups[runs] = Group(runs)
        group.members.add(member)
        return group

    def detach(self, username: str, group: Group, member: Hashable) -> None:
        """`member` receives nothing any more. The last one takes its group, and the last group its feed, along."""
        group.members.discard(member)
        feed = self.feeds.get(username)
        if group.members or feed is None or feed.groups.get(group.runs) is not group:
            return
        del feed.groups[group.runs]
        if not feed.groups:
            del self.feeds[username]
            self.holding.pop(feed, None)
            self.kept_bytes -= feed.kept_bytes

    # What happens.

    def route(self, messages: Iterable[Message], now: float) -> Outcome:
        """What is to be written after one read of Redis: (group, its frames in order), each group once."""
        feeds = self.feeds
        touched: list[Feed] = []
        for message in messages:
            self.messages += 1
            channel, payload = message[2], message[3]
            if channel == wire.BEACON_CHANNEL:
                touched += self._hear(payload, now)
                continue
            frame = wire.read(channel, payload)
            if isinstance(frame, str):
                self.dropped[frame] += 1
                continue
            feed = feeds.get(frame.username)
            if feed is None:  # nobody watches: forgotten on sight
                continue
            if not feed.ready:
                touched.append(feed)
            kept_before = feed.kept_bytes
            verdict = feed.offer(frame, now)
            if kept_before or verdict != "ready":
                self._account(feed, kept_before, verdict)
        return _hand_out(touched)

    def expire(self, now: float) -> Outcome:
        """What is to be written because the hold of some jumps has passed."""
        touched = []
        for feed in list(self.holding):
            kept_before = feed.kept_bytes
            feed.expire(now, self.hold)
            self._account(feed, kept_before)
            touched.append(feed)
        return _hand_out(touched)

    def due(self) -> float | None:
        """When `expire` is to be called (seconds); None: nothing is held."""
        return min((due for feed in self.holding if (due := feed.due(self.hold)) is not None), default=None)

    def _account(self, feed: Feed, kept_before: int, verdict: Verdict = "ready") -> None:
        """Keep the hub's sums in step with what just happened to `feed`."""
        if verdict == "repeat":
            self.dropped["repeat"] += 1
        elif verdict == "kept" and not kept_before:
            self.jumps += 1
            self.holding[feed] = None
        self.kept_bytes += feed.kept_bytes - kept_before
        if self.kept_bytes > MAX_KEPT:
            self.kept_bytes -= feed.kept_bytes
            feed.give_up()
        if not feed.kept:
            self.holding.pop(feed, None)
        self.jumps_given_up += feed.given_up
        feed.given_up = 0

    def _hear(self, payload: bytes, now: float) -> list[Feed]:
        """A beacon: note that it came; forget every base when it names another numbering."""
        beacon = wire.read_beacon(payload)
        if beacon is None:
            self.dropped["malformed"] += 1
            return []
        self.beacon_at = now
        known, self._epoch = self._epoch, beacon.epoch
        if known is None or known == beacon.epoch:
            return []
        # A database that was reloaded or restored counts from 1 again: against the old base every new frame would be
        # a repeat, and the feed mute for good. What the new base misses is the joining's business, not the base's.
        feeds = list(self.feeds.values())
        for feed in feeds:
            kept_before = feed.kept_bytes
            feed.forget()
            self._account(feed, kept_before)
        return feeds


def _hand_out(feeds: Iterable[Feed]) -> Outcome:
    """Empty `ready` of each feed into its groups."""
    outcome: Outcome = []
    for feed in feeds:
        ready = feed.ready
        if not ready:
            continue
        feed.ready = []
        for group in feed.groups.values():
            runs = group.runs
            wanted = ready if runs is None else [frame for frame in ready if frame.run_id in runs]
            if wanted:
                outcome.append((group, wanted))
    return outcome
