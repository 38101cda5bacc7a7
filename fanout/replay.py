"""History for sockets that brought a cursor below what the hub remembers, page by page at their own pace.

Sockets of one feed that come together share one pass. The next page is asked for when none of them has much waiting; a
page is written whole, so nothing of a replay lies here, however long it is. A socket leaves its pass in the turn in
which its cursor lies inside the feed's ring: the rest from there, then live.
"""

from __future__ import annotations

import asyncio
import random
from time import time
from typing import TYPE_CHECKING, Final

import structlog

from . import controls, wire
from .errors import CursorUnknown, HistoryAway
from .feed import Feed
from .trace import ids_of
from .wire import Frame

if TYPE_CHECKING:
    from .deliver import Connection
    from .history import Page
    from .hub import Hub

PAGE: Final = 256 << 10  # bytes of one page
WAITING_MOST: Final = 64 << 10  # bytes that may still wait for a socket when the next page is asked for
PACE: Final = 0.02  # seconds between two looks at what waits
PACES: Final = 250  # looks after which a socket that still has too much waiting is closed: 5 s
AWAY: Final = 30.0  # seconds without an answer, then the sockets are told to come back later
AT_ONCE: Final = 8  # pages of all feeds that are being read at a time
FIRST_LIMIT: Final = 256  # events asked for before their size is known
log = structlog.stdlib.get_logger("fanout")


class Pass:
    """One way through a feed's history for the sockets that share it.

    Attributes:
        members: their cursors.
        position: the cursor of the page that is being asked for; None: none was yet.
        limit: events to ask for, so that a page is about PAGE bytes.
    """

    __slots__ = ("feed", "limit", "members", "position", "runs", "task")

    def __init__(self, feed: Feed, runs: frozenset[str] | None) -> None:
        self.feed = feed
        self.runs = runs
        self.members: dict[Connection, int] = {}
        self.position: int | None = None
        self.limit = FIRST_LIMIT
        self.task: asyncio.Task[None] | None = None


class Replays:
    """All passes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._passes: dict[Feed, list[Pass]] = {}
        self._of: dict[Connection, Pass] = {}
        self._locks: dict[Feed, asyncio.Lock] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def __len__(self) -> int:
        return len(self._of)

    def of(self, feed: Feed) -> list[Connection]:
        """The sockets that are being replayed to from `feed`."""
        return [connection for each in self._passes.get(feed, ()) for connection in each.members]

    def cursor(self, connection: Connection) -> int | None:
        """Up to where this socket has been given what it asked for."""
        found = self._of.get(connection)
        return None if found is None else found.members[connection]

    def splice(self, connection: Connection, feed: Feed, cursor: int) -> bool:
        """Let the socket go on live, if the feed remembers everything behind its cursor."""
        rest = feed.rest(cursor)
        if rest is None:
            return False
        runs = connection.admission.runs
        self._write(connection, rest if runs is None else [frame for frame in rest if frame.run_id in runs], None)
        connection.join(feed)
        connection.caught_up(feed)
        return True

    def begin(self, connection: Connection, feed: Feed, cursor: int) -> None:
        """Replay to a socket; its hold on the feed (`Router.expect`) is ours from here on."""
        runs = connection.admission.runs
        passes = self._passes.setdefault(feed, [])
        for each in passes:
            if each.runs == runs and (each.position is None or each.position <= cursor):
                break
        else:
            each = Pass(feed, runs)
            passes.append(each)
            each.task = self._hub.loop.create_task(self._run(each))
        each.members[connection] = cursor
        self._of[connection] = each

    def drop(self, connection: Connection) -> None:
        """The socket is gone, or live."""
        each = self._of.pop(connection, None)
        if each is not None:
            del each.members[connection]
            self._hub.router.let_go(each.feed)

    # One pass.

    async def _run(self, it: Pass) -> None:
        try:
            while it.members:
                await self._drained(it)
                await self._step(it)
        except Exception:  # a replay that fails must not leave its sockets waiting for ever
            log.exception("fanout.replay_failed")
            self._close(it, 1013, "replay failed")
        finally:
            passes = self._passes[it.feed]
            passes.remove(it)
            if not passes:
                del self._passes[it.feed]
                self._locks.pop(it.feed, None)

    async def _drained(self, it: Pass) -> None:
        """Wait until none of the sockets has much waiting; those that still have after five seconds are closed."""
        # Looks are counted, not seconds: a hub that was stopped blames nobody.
        for _ in range(PACES):
            full = [c for c in it.members if c.transport.get_write_buffer_size() > WAITING_MOST]
            if not full:
                return
            await asyncio.sleep(PACE)
        for connection in full:
            connection.close(4408, "slow")

    async def _step(self, it: Pass) -> None:
        """One page for everybody, or a moment for the feed to come as far as its sockets are."""
        feed = it.feed
        if feed.last is None or min(it.members.values(), default=0) > feed.last:
            await asyncio.sleep(PACE)
            self._spliced(it)
            return
        async with self._locks.setdefault(feed, asyncio.Lock()):
            self._spliced(it)  # the pass before may have read what these need
            if it.members:
                await self._read(it)

    async def _read(self, it: Pass) -> None:
        history = self._hub.history
        began, failures = self._hub.loop.time(), 0
        while it.members and history is not None:
            try:
                async with self._turns:
                    if not it.members:
                        return
                    it.position = position = min(it.members.values())
                    asked_at = self._hub.loop.time()
                    page = await history.page(it.feed.username, position, it.limit, it.runs)
                frames = page.frames(it.feed.username, PAGE)
            except CursorUnknown:
                self._gone(it, position)
                return
            except HistoryAway:
                failures += 1
                if self._hub.loop.time() - began > AWAY:
                    self._close(it, 1013, "history away")
                    return
                await asyncio.sleep(random.uniform(0.5, 1) * min(2.0, 0.1 * 2**failures))  # noqa: S311
                continue
            if self._hub.catch_up.believe(page.epoch, asked_at):
                self._hand(it, page, frames)
            return

    def _hand(self, it: Pass, page: Page, frames: list[Frame]) -> None:
        """Write a page to everybody whose cursor is before its end."""
        if frames:
            size = sum(len(frame.payload) for frame in frames)
            it.limit = max(8, min(2000, PAGE * len(frames) // max(1, size)))
        wanted = frames if it.runs is None else [frame for frame in frames if frame.run_id in it.runs]
        encoded: dict[tuple[int, int], bytes] = {}
        for connection, cursor in list(it.members.items()):
            it.members[connection] = max(cursor, page.next)
            behind = [frame for frame in wanted if (frame.id or 0) > cursor] if cursor != it.position else wanted
            self._write(connection, behind, encoded)
        it.position = page.next
        self._advance(it, page, frames)
        if it.runs is None:
            it.feed.recall(frames)
        self._spliced(it)

    def _advance(self, it: Pass, page: Page, frames: list[Frame]) -> None:
        """A page that runs ahead of the feed advances the feed for everybody."""
        hub, feed, now = self._hub, it.feed, self._hub.loop.time()
        if feed.last is None or page.next <= feed.last:
            return
        if it.runs is None:
            found, outcome = hub.router.healed(feed, frames, now)
            hub.metrics.healed_frames += found
            hub.deliver(outcome, "healed")
        feed.hint(page.next, now)
        hub.router.watch(feed)
        hub.arm()

    def _write(self, connection: Connection, frames: list[Frame], encoded: dict[tuple[int, int], bytes] | None) -> None:
        if not frames:
            return
        encoding = connection.admission.written_as
        key = (encoding, frames[0].id or 0)
        data = None if encoded is None else encoded.get(key)
        if data is None:
            data = wire.ENCODERS[encoding](frames)
            if encoded is not None:
                encoded[key] = data
        if connection.write(data):
            connection.frames += len(frames)
            connection.bytes += len(data)
            self._hub.metrics.replayed_frames += len(frames)
            self._hub.trace.wrote(time(), "replayed", [connection.admission, ids_of(frames), 1, False])

    def _spliced(self, it: Pass) -> None:
        """Let those go on live whose cursor the feed remembers."""
        for connection, cursor in list(it.members.items()):
            if connection in it.members and self.splice(connection, it.feed, cursor):
                self.drop(connection)

    def _gone(self, it: Pass, position: int) -> None:
        """History does not know the cursor at which the pass is."""
        epoch = self._hub.router.epoch
        for connection, cursor in list(it.members.items()):
            if cursor != position:
                continue
            if connection.admission.encoding == wire.TEXT:
                connection.close(4409, "cursor unknown")
            else:
                connection.write(controls.sse_reset(epoch, it.feed.last))
                connection.join(it.feed)
                self.drop(connection)

    def _close(self, it: Pass, code: int, why: str) -> None:
        for connection in list(it.members):
            connection.close(code, why, random.randint(500, 3000))  # noqa: S311 - spreads load
