"""One iteration: what waits for whoever iterates, and what is read again when that was too much.

The machine feeds it. When 10,000 events wait it is fed no more; once they are taken it reads on in the history, page by
page, at the pace of whoever iterates, until it is where the machine is, and is fed again. Who comes to a run that is
watched already begins in the same way. No event is missed or repeated by that: what the machine says while the last
page is read is kept, and that page was asked for after all that the machine had said before.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from typing import Any, Final, Protocol

from .core.actions import Answer, Request, events_of, status_of
from .core.asked import LOAD_EVENTS
from .core.link import backoff
from .core.protocol import CLOSED, TERMINAL, RunEvent, RunfeedError, Status, text, whole
from .core.subscription import FEED

QUEUE: Final = 10_000  # events that wait for one iteration: some 5 MB of what workers usually say


class Source(Protocol):
    """Where pages of history come from."""

    @property
    def epoch(self) -> str | None:
        """Of the numbering that the machine is in."""

    async def page(self, request: Request) -> Answer:
        """A page of history; a token that was refused is renewed once."""

    def refresh(self) -> None:
        """Ask now whether anything is missing: the numbering may be another."""


class Reader:
    """An iteration of a run, or of the whole feed where key is "". after: as in Runfeed.run and Runfeed.feed.

    Attributes:
        said: the run's status, as the server said it last.
        error: what is wrong, and may mend itself.
    """

    def __init__(self, key: str, after: int | None, source: Source) -> None:
        self.key = key
        self.after = after
        self.said: Status | None = None
        self.error: RunfeedError | None = None
        self._source = source
        self._items: deque[RunEvent] = deque()
        self._last = after  # the highest id that waits or was taken
        self._behind = False  # it reads by itself, and is not fed
        self._meanwhile: list[RunEvent] | None = None  # what the machine says while the last page is read
        self._resets = 0
        self._failures = 0
        self._over = False
        self._failure: RunfeedError | None = None
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        state = "behind" if self._behind else "fed"
        return f"<Reader {self.key or 'feed'} {self._last} {state} {len(self._items)} waiting>"

    # What the driver says.

    def fall_behind(self) -> None:
        """It begins by itself: the run is watched already."""
        self._behind = True

    def event(self, event: RunEvent) -> None:
        """An event that the machine gives."""
        if not self._behind:
            if len(self._items) < QUEUE:
                self._put(event)
            else:
                self._behind = True
        elif self._meanwhile is not None:
            if len(self._meanwhile) < QUEUE:
                self._meanwhile.append(event)
            else:
                self._meanwhile = None

    def reset(self, said: dict[str, Any]) -> None:
        """The numbering is another: what waits is void, and so is what was taken."""
        self._items.clear()
        self._items.append(said)
        self._last = whole(said.get("head")) if self.key == FEED else 0
        self._behind, self._meanwhile = False, None
        self._resets += 1
        self._over = False
        self.said = None
        self._news.set()

    def loaded(self, status: Status | None) -> None:
        """The history was given."""
        if not self._behind:
            self._say(status)

    def problem(self, error: RunfeedError) -> None:
        """Something is wrong."""
        self.error = error

    def fail(self, error: RunfeedError | None) -> None:
        """Nothing will come any more. None: that is no error."""
        self._failure = error
        self._over = True
        self._behind = False
        self._news.set()

    # What whoever iterates does.

    async def take(self, most: int) -> list[RunEvent]:
        """The next events, one at least; [] at the end. Raises RunfeedError."""
        while not self._items:
            if self._failure is not None:
                raise self._failure
            if self._over:
                return []
            if self._behind:
                await self._read_on()
            else:
                self._news.clear()
                await self._news.wait()
        return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def _put(self, event: RunEvent) -> None:
        number = whole(event.get("id"))
        if self._over or (number is not None and self._last is not None and number <= self._last):
            return
        self._last = self._last if number is None else number
        self._items.append(event)
        self._over = self.key != FEED and event["type"] in TERMINAL
        self.error = None
        self._news.set()

    def _say(self, status: Status | None) -> None:
        self.said = status or self.said
        self.error = self.error if status is None else None
        self._over = self._over or status in CLOSED
        self._news.set()

    async def _read_on(self) -> None:
        resets = self._resets
        limit = 1 if self._last is None else LOAD_EVENTS
        epoch = self._source.epoch if self._last else None
        request = Request(0, self.key or None, self._last, epoch, limit)
        self._meanwhile = []
        answer = await self._source.page(request)
        if resets != self._resets or self._over:
            return
        if answer.status == 200 and answer.body is not None:
            await self._page(request, answer.body)
        else:
            await self._no_page(answer)

    async def _page(self, request: Request, body: dict[str, Any]) -> None:
        epoch, known = text(body.get("epoch")), self._source.epoch
        if epoch is not None and known is not None and epoch != known:
            return await self._other_numbering()
        self._failures = 0
        if request.after is not None:
            for event in events_of(body):
                self._put(event)
            if not request.is_last(body):
                return
        self._last = max(self._last or 0, whole(body.get("head")) or 0)
        self._say(status_of(body))
        self._join()

    def _join(self) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            self._behind = False
            for event in meanwhile:
                self._put(event)

    async def _no_page(self, answer: Answer) -> None:
        if answer.status == 410 and self._last:
            return await self._unknown(answer.body or {})
        self.error = answer.error
        if answer.status == 404:  # nobody knows the run yet: what it will have comes from the machine
            return self._join()
        if answer.status not in (0, 408, 429) and answer.status < 500:
            raise answer.error
        await self._pause(answer.wait)

    async def _unknown(self, said: dict[str, Any]) -> None:
        """Our cursor is beyond the head, below what is kept, or of another numbering."""
        if text(said.get("epoch")) != self._source.epoch:
            return await self._other_numbering()
        self.reset({"control": True, "type": "reset", "epoch": said.get("epoch"), "head": whole(said.get("head"))})
        self._behind = True

    async def _other_numbering(self) -> None:
        """The machine will hear of it too, and resets all; this is a reason to ask at once."""
        self._source.refresh()
        await self._pause(0)

    async def _pause(self, least: float) -> None:
        """Waits for news, or for the next try. least: ms."""
        self._news.clear()
        wait = max(least, backoff(1 + self._failures, random.random()), 1)  # noqa: S311  chance, not a secret
        self._failures += 1
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(wait / 1000):
                await self._news.wait()
