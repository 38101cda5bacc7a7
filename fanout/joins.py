"""Sockets between their request and their answer: a feed's base first, then the 101.

A socket is answered at once when its feed is watched already and its cursor, if it has one, is known to be the feed's.
Everybody else waits for a heads request that is sent after they came: one in flight, one collecting.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from . import controls
from .credentials import run_unknown
from .door import WAITING, history_away
from .errors import HistoryAway, Refusal
from .feed import Feed
from .history import HEADS

if TYPE_CHECKING:
    from .deliver import Connection
    from .hub import Hub

PATIENCE: Final = 1.0  # seconds that a socket waits for its base
LOOKUPS: Final = 16  # owners of runs that are looked up at a time
log = structlog.stdlib.get_logger("fanout")


class Joins:
    """Everybody who waits."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting: dict[Connection, tuple[Feed, float]] = {}  # in order of arrival, collecting and in flight
        self._collecting: dict[Connection, Feed] = {}
        self._asleep: asyncio.Future[None] | None = None  # the stage, while nobody collects
        self._timer: asyncio.TimerHandle | None = None
        self._lookups: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(LOOKUPS)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._lookups)

    def arrive(self, connection: Connection) -> None:
        """A good request: answer it, now or when its base is there."""
        admission = connection.admission
        if self._hub.history is None:
            if admission.after is not None or admission.epoch is not None or admission.run_id is not None:
                field = "after" if admission.after is not None else "epoch"
                detail = "this hub has no history: it cannot resume, open the socket without a cursor"
                connection.refuse_waiting(Refusal(503, detail, field, code="no_history"))
            else:
                self._open(connection, self._hub.router.expect(admission.username))
        elif admission.run_id is not None:
            task = self._hub.loop.create_task(self._look_up(connection, admission.run_id))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)
        else:
            self._seek(connection)

    def drop(self, connection: Connection) -> None:
        """It does not wait any more."""
        self._collecting.pop(connection, None)
        entry = self._waiting.pop(connection, None)
        if entry is not None:
            self._hub.router.let_go(entry[0])

    async def _look_up(self, connection: Connection, run_id: str) -> None:
        history = self._hub.history
        assert history is not None  # noqa: S101 - arrive() has looked
        try:
            async with self._turns:
                run = await history.run(run_id)
        except HistoryAway:
            connection.refuse_waiting(history_away())
            return
        admission = connection.admission
        if run is None or admission.username not in ("", run.username):
            connection.refuse_waiting(run_unknown())
        elif connection.state == WAITING:
            connection.admission = replace(admission, username=run.username)
            connection.status = run.status
            if (refusal := self._hub.guard.let_in(connection)) is not None:
                connection.refuse_waiting(refusal)
            else:
                self._seek(connection)

    def _seek(self, connection: Connection) -> None:
        admission, router = connection.admission, self._hub.router
        feed = router.expect(admission.username)
        known = feed.last is not None and admission.epoch in (None, router.epoch)
        # Below what was delivered no cursor needs judging; beyond it only a head that is asked for now can tell.
        if known and (admission.after is None or admission.after <= (feed.last or 0)):
            self._hub.metrics.joins_protected += 1
            self._open(connection, feed)
            return
        now = self._hub.loop.time()
        self._waiting[connection] = (feed, now)
        self._collecting[connection] = feed
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)
        if self._timer is None:
            self._timer = self._hub.loop.call_at(now + PATIENCE, self._out_of_patience)

    def _open(self, connection: Connection, feed: Feed) -> None:
        """Answer, and let it in where its cursor is. `feed` is expected by this connection."""
        after = connection.admission.after
        connection.open()
        connection.greet(feed.last if after is None else after)
        if after is None:
            connection.join(feed)
        elif not self._hub.replays.splice(connection, feed, after):
            self._hub.replays.begin(connection, feed, after)
            connection.begin()
            return
        self._hub.router.let_go(feed)
        connection.begin()

    def _judge(self, connection: Connection, feed: Feed, head: int) -> None:
        """History has named the head after this one came."""
        admission, epoch = connection.admission, self._hub.router.epoch
        foreign = admission.epoch not in (None, epoch) or (admission.after or 0) > head
        if not foreign:
            self._hub.metrics.joins_protected += 1
            self._taken(connection)
            self._open(connection, feed)
        elif admission.resumed:
            # An EventSource: any status but 200 would end it for good.
            self._taken(connection)
            connection.open()
            connection.write(controls.sse_reset(epoch, feed.last))
            connection.join(feed)
            self._hub.router.let_go(feed)
            connection.begin()
        else:
            detail = "the cursor is not of this feed's numbers: come back without it"
            field = "epoch" if admission.epoch not in (None, epoch) else "after"
            connection.refuse_waiting(Refusal(410, detail, field, more={"epoch": epoch, "head": head}))

    def _taken(self, connection: Connection) -> None:
        """Out of those who wait, its hold on the feed going with it."""
        self._collecting.pop(connection, None)
        self._waiting.pop(connection, None)

    # The stage.

    async def run(self) -> None:
        """Ask for heads for ever: one request in flight, one collecting."""
        loop = self._hub.loop
        while True:
            while not self._collecting:
                self._asleep = loop.create_future()
                await self._asleep
            batch, self._collecting = self._collecting, {}
            if len(batch) > HEADS:
                each = list(batch.items())
                batch, self._collecting = dict(each[:HEADS]), dict(each[HEADS:])
            if not await self._ask(batch):
                self._collecting = {c: feed for c, feed in batch.items() if c in self._waiting} | self._collecting
                await asyncio.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - spreads load

    async def _ask(self, batch: dict[Connection, Feed]) -> bool:
        """Ask for the heads of a batch and let everybody in it in; False: there was no answer."""
        hub = self._hub
        feeds = dict.fromkeys(batch.values())
        heads = await hub.catch_up.heads(feeds)
        if heads is None:
            return False
        for connection, feed in batch.items():
            if connection in self._waiting and feed.last is not None:
                self._judge(connection, feed, heads.get(feed.username, 0))
        # Most feeds that somebody joins are quiet: nothing was kept for them, and there is nothing to hand out.
        kept = [feed for feed in feeds if feed.kept or feed.goal > (feed.last or 0)]
        if kept or hub.router.behind:
            hub.settle(kept)
        return True

    def _out_of_patience(self) -> None:
        """History does not answer in time: plain sockets are opened unprotected, cursors told to come back."""
        hub, now = self._hub, self._hub.loop.time()
        self._timer = None
        late = [(connection, feed) for connection, (feed, came) in self._waiting.items() if came + PATIENCE <= now]
        for connection, feed in late:
            admission = connection.admission
            if admission.after is not None or admission.epoch is not None:
                connection.refuse_waiting(history_away())
                continue
            self._taken(connection)
            hub.metrics.joins_unprotected += 1
            connection.open()
            connection.greet(None)
            connection.join(feed)
            hub.router.let_go(feed)
            connection.begin()
            hub.router.unprotect(feed, now)
        hub.settle(dict.fromkeys(feed for _, feed in late))
        if self._waiting:
            first = next(iter(self._waiting.values()))[1]
            self._timer = hub.loop.call_at(first + PATIENCE, self._out_of_patience)
