"""What feeds missed, from the API: heads for everybody, events for those that are behind.

Frames, beacons and heads are hints; history decides. Two stages: `watch` learns heads, `heal` asks for what is missing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import structlog

from .errors import HistoryAway
from .feed import Feed
from .history import FEEDS, HEADS, Page, Pages
from .replay import PACE, PACES, PAGE, WAITING_MOST

if TYPE_CHECKING:
    from .hub import Hub

TICK: Final = 0.25  # seconds between two looks at what is due
AUDIT: Final = (2.4, 3.0)  # seconds between two audits, jittered: hubs do not ask as one
URGENT: Final = 1.0  # seconds between two questions for heads while the live way is doubtful
BEACON_LATE: Final = 1.5  # seconds; a beacon comes every second
BEACON_GONE: Final = 10.0  # seconds without a beacon while the API answers, then Redis is dialled anew
HOLE_MOST: Final = 30.0  # seconds that a hole may be open while history is away
STEP_MOST: Final = 1.0  # seconds that one tick counts for: a hub that was stopped did not listen meanwhile
log = structlog.stdlib.get_logger("fanout")


class CatchUp:
    """Asks history.

    Attributes:
        redis_live: whether the subscription holds; set by the composition root.
        rebuild: makes the subscription anew; set by the composition root.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._now = asyncio.Event()
        self._due = asyncio.Event()
        self._epoch_at = 0.0
        self._asked_at = self._audit_at = 0.0
        self._heard: float | None = None
        self._silence = self._answered_for = 0.0
        self._failures = 0
        self._paced: dict[Feed, int] = {}
        self.redis_live: Callable[[], bool] = lambda: True
        self.rebuild: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """Some feed is due."""
        self._due.set()

    def ask_now(self) -> None:
        """The subscription was confirmed: what was published before it did not arrive."""
        self._asked_at = 0.0
        self._now.set()

    def suspect(self) -> None:
        """A beacon named another epoch: ask, though not more often than every second. Anybody can publish one."""
        if self._hub.loop.time() - self._asked_at >= URGENT:
            self._now.set()

    def believe(self, epoch: str, asked_at: float) -> bool:
        """History has named its epoch; False: the answer is of a numbering that was left meanwhile."""
        router = self._hub.router
        if epoch != router.epoch:
            if router.epoch is not None and asked_at <= self._epoch_at:
                return False
            self._epoch_at = self._hub.loop.time()
            if router.epoch is None:
                router.epoch = epoch
            else:
                self._hub.renumbered(epoch)
                self._asked_at = 0.0
                self._now.set()
        return True

    # Heads.

    async def heads(self, feeds: Iterable[Feed]) -> dict[str, int] | None:
        """Ask for the heads of feeds and tell the feeds; None: no answer. `Hub.settle` is the caller's to call."""
        hub, asked_at = self._hub, self._hub.loop.time()
        lasts = {feed: feed.last for feed in feeds}
        if hub.history is None:
            return None
        try:
            answer = await hub.history.heads([feed.username for feed in lasts])
        except HistoryAway:
            return None
        if not self.believe(answer.epoch, asked_at):
            return None
        for feed, last in lasts.items():
            head = answer.heads.get(feed.username)
            if head is not None and (head != feed.last or feed.since is not None or feed.strikes):
                hub.heard(feed, head, last, asked_at)
        return answer.heads

    async def watch(self) -> None:
        """Ask for the heads of all watched feeds whenever there is a reason, for ever."""
        clock = self._hub.loop.time
        before = clock()
        while True:
            try:
                async with asyncio.timeout(TICK):
                    await self._now.wait()
            except TimeoutError:
                pass
            urged, now = self._now.is_set(), clock()
            self._now.clear()
            self._count(min(now - before, STEP_MOST))
            before = now
            if urged or now >= self._audit_at or (now - self._asked_at >= URGENT and self._doubtful(now)):
                await self._ask_all(now)
            self._close_old_holes()

    async def _ask_all(self, now: float) -> None:
        self._asked_at = now
        self._audit_at = now + random.uniform(*AUDIT)  # noqa: S311 - spreads load
        self._hub.router.suspect = False
        feeds = list(self._hub.router.feeds.values())
        # Without a feed the question still tells whether history answers, and its epoch.
        for start in range(0, max(1, len(feeds)), HEADS):
            some = feeds[start : start + HEADS]
            if await self.heads(some) is None:
                return
            self._hub.settle(some)

    def _count(self, seconds: float) -> None:
        """Listen for beacons: how long was there none, while history answered?"""
        hub, router = self._hub, self._hub.router
        self._silence = 0.0 if router.beacon_at != self._heard else self._silence + seconds
        self._heard = router.beacon_at
        answering = hub.history is not None and hub.history.answering
        self._answered_for = self._answered_for + seconds if answering else 0.0
        if not router.beacons or min(self._silence, self._answered_for) < BEACON_GONE or not self.redis_live():
            return
        log.warning("fanout.no_beacon", seconds=BEACON_GONE)
        hub.metrics.rebuilds += 1
        self._silence = 0.0
        self.rebuild()

    def _doubtful(self, now: float) -> bool:
        """Whether frames may be missing without anybody telling."""
        router = self._hub.router
        if not self.redis_live() or router.suspect or any(feed.resetting for feed in router.feeds.values()):
            return True
        late = [api for api, at in router.beacons.items() if now - at > BEACON_LATE]
        if len(late) < len(router.beacons):
            for api in late:  # others speak: this one ended without a goodbye
                if now - router.beacons[api] > BEACON_GONE:
                    del router.beacons[api]
        return bool(late)

    def _close_old_holes(self) -> None:
        hub, now = self._hub, self._hub.loop.time()
        if hub.history is None or hub.history.answering:
            return
        for feed in [feed for feed in hub.router.behind if feed.since is not None and now - feed.since > HOLE_MOST]:
            log.warning("fanout.hole_closed", seconds=HOLE_MOST)
            hub.close_feed(feed, "history_away")

    # Events.

    async def heal(self) -> None:
        """Ask for what is missing whenever some feed is due, for ever: one request at a time, many feeds in it."""
        while True:
            await self._due.wait()
            self._due.clear()
            while feeds := self._unpaced(self._hub.router.due(self._hub.loop.time(), FEEDS)):
                await self._heal(feeds)
            self._hub.arm()

    def _unpaced(self, feeds: list[Feed]) -> list[Feed]:
        """Those of the due feeds whose sockets have taken the page before."""
        ready, now = [], self._hub.loop.time()
        for feed in feeds:
            full = (
                [c for c in self._hub.watchers(feed) if c.transport.get_write_buffer_size() > WAITING_MOST]
                if feed.more
                else []
            )
            if not full:
                self._paced.pop(feed, None)
                ready.append(feed)
                continue
            feed.retry_at = now + PACE
            self._paced[feed] = self._paced.get(feed, 0) + 1
            if self._paced[feed] > PACES:
                del self._paced[feed]
                for connection in full:
                    connection.close(4408, "slow")
        return ready

    async def _heal(self, feeds: list[Feed]) -> None:
        """One question about all of them."""
        hub, asked_at = self._hub, self._hub.loop.time()
        lasts = {feed: feed.last_id for feed in feeds}
        hub.metrics.heals += len(feeds)
        answer: Pages | None = None
        for feed in feeds:
            feed.asked = True
        try:
            if hub.history is not None:
                answer = await hub.history.pages({feed.username: last for feed, last in lasts.items()})
            self._failures = 0
        except HistoryAway:
            self._failures += 1
        finally:
            for feed in feeds:
                feed.asked = False
        believed = answer is not None and self.believe(answer.epoch, asked_at)
        if answer is None or not believed:
            again = hub.loop.time() + random.uniform(0.5, 1) * min(2.0, 0.1 * 2 ** min(self._failures, 6))  # noqa: S311
            for feed in feeds:
                feed.retry_at = again
            return
        for feed, last in lasts.items():
            page = answer.feeds.get(feed.username)
            if page is not None and feed.last is not None and hub.router.feeds.get(feed.username) is feed:
                self._apply(feed, last, page, asked_at)

    def _apply(self, feed: Feed, last: int, page: Page, asked_at: float) -> None:
        hub, now = self._hub, self._hub.loop.time()
        feed.retry_at = now
        if page.error:
            self._lost(feed, last, page.head, asked_at)
            return
        try:
            frames = page.frames(feed.username, PAGE)
        except HistoryAway:
            log.exception("fanout.history_wrong")
            feed.vain(now)
            return
        found, outcome = hub.router.healed(feed, frames, now)
        hub.metrics.healed_frames += found
        hub.deliver(outcome, "healed")
        feed.more = page.next < page.head
        hub.heard(feed, page.head, last, asked_at)
        if not found and not feed.more:
            hub.metrics.heals_vain += 1
            if feed.last == last:  # else what was missing has come while history was asked: that is no lie
                feed.vain(now)
        hub.router.watch(feed)

    def _lost(self, feed: Feed, last: int, head: int, asked_at: float) -> None:
        """History does not know what this feed had last: another numbering, or retention went past it."""
        hub = self._hub
        hub.heard(feed, head, last, asked_at)
        if head >= last and feed.last is not None and hub.router.feeds.get(feed.username) is feed:
            hub.reset(feed, head)
