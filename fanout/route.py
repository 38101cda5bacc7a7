"""Stage 5: who gets what. Pure: the time is an argument, nothing is written or awaited.

username -> feed -> groups. What one read of Redis brought is sorted in and judged, then handed out once a group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from . import wire
from .feed import Feed, Group, Verdict
from .wire import Frame

MAX_KEPT: Final = 64 << 20  # bytes kept for all feeds
MAX_BEACONS: Final = 64  # API processes whose beacons are told apart
MAX_NOTES: Final = 4096  # frames that were not simply passed on, remembered for the trace
Message = Sequence[bytes]  # RESP2: b"pmessage", pattern, channel, payload
Outcome = list[tuple[Group, list[Frame]]]
Note = tuple[float, str, int, str]  # seconds, username, id, what became of it


class Router:
    """All feeds that somebody watches.

    Args:
        judged: whether ids are judged, that is, whether history is configured.
        hold: seconds that the next id may be missing.

    Attributes:
        behind: the feeds that miss something, in the order in which they began to.
        epoch: of history's numbering, as history said it; None: not yet.
        beacon_at: when the last beacon was heard (seconds); None: never.
        beacons: when the last beacon of each API process was heard (seconds); one that said goodbye is left out.
        suspect: a beacon named another epoch than history did; whoever asks history takes it.
        notes: what became of frames that were not simply passed on, for the trace.
        messages, dropped, jumps: counters for the metrics.
    """

    def __init__(self, judged: bool, hold: float) -> None:
        self.judged = judged
        self.hold = hold
        self.feeds: dict[str, Feed] = {}
        self.epoch: str | None = None
        self.beacon_at: float | None = None
        self.beacons: dict[str, float] = {}
        self.suspect = False
        self.messages = 0
        self.dropped: dict[str, int] = dict.fromkeys((*wire.DROPS, "repeat", "forgotten", "forged"), 0)
        self.jumps = 0
        self.kept_bytes = 0
        self.behind: dict[Feed, None] = {}
        self.notes: deque[Note] = deque(maxlen=MAX_NOTES)

    # Who watches.

    def attach(self, username: str, runs: frozenset[str] | None, member: Hashable, encoding: int = wire.TEXT) -> Group:
        """Let `member` receive what happens in `runs` of `username` from now on; None: in all of them."""
        feed = self._feed(username)
        group = feed.groups.get((runs, encoding))
        if group is None:
            group = feed.groups[runs, encoding] = Group(username, runs, encoding)
            feed.regroup()
        group.members.add(member)
        group.only = member if len(group.members) == 1 else None
        return group

    def detach(self, username: str, group: Group, member: Hashable) -> None:
        """`member` receives nothing any more. The last one takes its group, and the last group its feed, along."""
        group.members.discard(member)
        group.only = next(iter(group.members)) if len(group.members) == 1 else None
        feed = self.feeds.get(username)
        key = (group.runs, group.encoding)
        if group.members or feed is None or feed.groups.get(key) is not group:
            return
        del feed.groups[key]
        feed.regroup()
        self._forget_if_empty(feed)

    def expect(self, username: str) -> Feed:
        """The feed of somebody who is about to join; it stays, with what arrives for it, until `let_go`."""
        feed = self._feed(username)
        feed.joiners += 1
        return feed

    def let_go(self, feed: Feed) -> None:
        """Whoever was about to join is in a group, or gone."""
        feed.joiners -= 1
        self._forget_if_empty(feed)

    def _feed(self, username: str) -> Feed:
        feed = self.feeds.get(username)
        if feed is None:
            feed = self.feeds[username] = Feed(username, self.judged, self.hold)
        return feed

    def _forget_if_empty(self, feed: Feed) -> None:
        if not feed.groups and not feed.joiners and self.feeds.get(feed.username) is feed:
            del self.feeds[feed.username]
            self.behind.pop(feed, None)
            self.kept_bytes -= feed.accounted

    # What happens.

    def route(self, messages: Sequence[Message], now: float) -> Outcome:
        """What is to be written after one read of Redis: (group, its frames in order), each group once."""
        # These lines run once a message: names that are looked up once, and no call that is not needed.
        feeds, read, beacon = self.feeds, wire.read, wire.BEACON_CHANNEL
        touched: list[Feed] = []
        self.messages += len(messages)
        for message in messages:
            channel = message[2]
            if channel == beacon:
                self._hear(message[3], now)
                continue
            frame = read(channel, message[3])
            if isinstance(frame, str):
                self.dropped[frame] += 1
                continue
            feed = feeds.get(frame.username)
            if feed is None:  # nobody watches: forgotten on sight
                if not wire.USERNAME.fullmatch(frame.username):
                    self.dropped["malformed"] += 1
                continue
            if not feed.ready:
                touched.append(feed)
            verdict = feed.offer(frame, now)
            if verdict != "ready":
                self._account(feed, now, frame, verdict)
        return hand_out(touched)

    def due(self, now: float, most: int) -> list[Feed]:
        """The feeds about which history is to be asked now, `most` at most, those that waited longest first."""
        found: list[Feed] = []
        for feed in self.behind:
            at = feed.due()
            if at is not None and at <= now:
                found.append(feed)
                if len(found) == most:
                    break
        return found

    def due_at(self) -> float | None:
        """When history is to be asked next (seconds); None: nothing is missing."""
        return min((at for feed in self.behind if (at := feed.due()) is not None), default=None)

    # What history says.

    def heard(self, feed: Feed, head: int, last_then: int | None, asked_at: float, now: float) -> bool:
        """History names the head of `feed`; True: the feed must be reset. See `Feed.heard`."""
        wrong = feed.heard(head, last_then, asked_at, now)
        self._account(feed, now)
        return wrong

    def healed(self, feed: Feed, frames: Iterable[Frame], now: float) -> tuple[int, Outcome]:
        """A page of history: how many frames of it were new, and what is to be written."""
        found = feed.healed(frames, now)
        self._account(feed, now)
        return found, hand_out([feed])

    def settle(self, feeds: Iterable[Feed], now: float) -> Outcome:
        """What was kept for those who waited for these feeds' bases, now that they are in their groups."""
        settled = []
        for feed in feeds:
            if self.feeds.get(feed.username) is feed:
                feed.settle(now)
                self._account(feed, now)
                settled.append(feed)
        return hand_out(settled)

    def reset(self, feed: Feed, head: int | None, now: float) -> None:
        """Another numbering: forget the old one; go on from `head`, or keep what comes until it is known (None)."""
        if head is None:
            feed.forget()
        else:
            feed.reset(head)
        self._account(feed, now)

    def unprotect(self, feed: Feed, now: float) -> None:
        """History did not answer in time: go on without a base. What was kept is for `settle` to hand out."""
        if self.feeds.get(feed.username) is feed:  # else whoever joined has left in the same breath
            feed.unprotect(now)
            self._account(feed, now)

    def _account(self, feed: Feed, now: float, frame: Frame | None = None, verdict: Verdict = "ready") -> None:
        """Keep the hub's sums in step with what just happened to `feed`."""
        self._sum(feed)
        if frame is not None and verdict not in ("ready", "closing"):
            self.notes.append((now, frame.username, frame.id or 0, verdict))
            if verdict != "kept":
                self.dropped[verdict] += 1
            elif self.kept_bytes > MAX_KEPT:
                self.dropped["forgotten"] += len(feed.kept)
                feed.forget_kept(now)
                self._sum(feed)
        if feed.lies:
            self.dropped["forged"] += len(feed.lies)
            self.notes.extend((now, feed.username, number, "forged") for number in feed.lies)
            feed.lies = ()
        self.watch(feed)

    def _sum(self, feed: Feed) -> None:
        self.kept_bytes += feed.kept_bytes - feed.accounted
        feed.accounted = feed.kept_bytes

    def watch(self, feed: Feed) -> None:
        """Note whether `feed` misses something."""
        if feed.since is None:
            self.behind.pop(feed, None)
        elif feed not in self.behind and self.feeds.get(feed.username) is feed:
            self.jumps += 1
            self.behind[feed] = None

    def _hear(self, payload: bytes, now: float) -> None:
        """A beacon: who speaks, and how far the feeds are that it wrote. A hint: anybody can publish one."""
        beacon = wire.read_beacon(payload)
        if beacon is None:
            self.dropped["malformed"] += 1
            return
        self.beacon_at = now
        if beacon.bye:
            self.beacons.pop(beacon.api, None)
        elif beacon.api in self.beacons or len(self.beacons) < MAX_BEACONS:
            self.beacons[beacon.api] = now
        if self.epoch is not None and beacon.epoch != self.epoch:
            self.suspect = True
            return
        if self.judged:
            for username, head in beacon.heads.items():
                feed = self.feeds.get(username)
                if feed is not None and feed.last is not None and head > feed.last:
                    feed.hint(head, now)
                    self.watch(feed)


def hand_out(feeds: Iterable[Feed]) -> Outcome:
    """Empty `ready` of each feed into its groups."""
    outcome: Outcome = []
    for feed in feeds:
        ready = feed.ready
        if not ready:
            continue
        feed.ready = []
        if feed.all_runs is not None:
            outcome.append((feed.all_runs, ready))
            continue
        for group in feed.groups.values():
            runs = group.runs
            wanted = ready if runs is None else [frame for frame in ready if frame.run_id in runs]
            if wanted:
                outcome.append((group, wanted))
    return outcome
