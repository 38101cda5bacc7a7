"""What was taken back, as history has it: asked every second, and kept here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from .errors import HistoryAway
from .tokens import Revocations

if TYPE_CHECKING:
    from .history import History

POLL: Final = 1.0  # seconds between two questions
STALE: Final = 10.0  # seconds after which the list is called old
PAGE: Final = 10_000  # entries that history gives at a time
AFRESH: Final = 86_400.0  # seconds; tokens that have expired meanwhile are in no new list
log = structlog.stdlib.get_logger("fanout")


class Revoked:
    """The list.

    Args:
        history: None: nothing is ever taken back.
        news: called when something was.
        clock: seconds that only grow.

    Attributes:
        known: what was taken back; None: not read yet.
        count: how many entries were read.
    """

    def __init__(self, history: History | None, news: Callable[[], None], clock: Callable[[], float]) -> None:
        self._history = history
        self._news = news
        self._clock = clock
        self.known: Revocations | None = Revocations() if history is None else None
        self.count = 0
        self._epoch = ""
        self._next = 0
        self._begun_at = self._read_at = clock()

    @property
    def state(self) -> str:
        """For readiness: none (there is no list), unknown (it was not read yet), old or live."""
        if self._history is None:
            return "none"
        if self.known is None:
            return "unknown"
        return "old" if self._clock() - self._read_at > STALE else "live"

    async def watch(self) -> None:
        """Keep the list, for ever."""
        while True:
            try:
                await self.read()
            except HistoryAway:  # history has said so in the log
                pass
            await asyncio.sleep(POLL)

    async def read(self) -> None:
        """Read what is new; all of it for the first time, of another epoch, and once a day.

        Raises:
            HistoryAway: no answer; what was known stays.
        """
        if self._history is None:
            return
        began, known = self._clock(), self.known
        epoch: str | None = self._epoch
        count, after, found = self.count, self._next, known
        if found is None or began - self._begun_at > AFRESH:
            count, after, found, epoch = 0, 0, Revocations(), None
        while True:
            page = await self._history.revocations(after)
            if epoch not in (None, page.epoch):
                log.warning("fanout.revocations_renumbered")
                count, after, found, epoch = 0, 0, Revocations(), None
                continue
            epoch, after = page.epoch, page.next
            for entry in page.revocations:
                if entry.token_id:
                    found.add_token(entry.token_id)
                else:
                    found.add(entry.username, entry.before)
            count += len(page.revocations)
            if len(page.revocations) < PAGE:
                break
        news = count != self.count or found is not known
        self.known, self.count, self._epoch, self._next, self._read_at = found, count, epoch or "", after, began
        if found is not known:
            self._begun_at = began
        if news:
            self._news()
