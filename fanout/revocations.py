"""What was revoked, as history has it: asked every second, and kept here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from .errors import HistoryAway
from .tokens import Principal, Revocations

if TYPE_CHECKING:
    from .history import History

POLL: Final = 1.0  # seconds between two questions
STALE: Final = 10.0  # seconds after which the list is called old
PAGE: Final = 10_000  # entries that history gives at a time
AFRESH: Final = 86_400.0  # seconds; tokens that have expired meanwhile are in no new list
log = structlog.stdlib.get_logger("fanout")


class RevocationList:
    """The list.

    Args:
        history: None: nothing is ever revoked.
        news: called when something was.
        clock: seconds that only grow.

    Attributes:
        count: how many entries were read.
    """

    def __init__(self, history: History | None, news: Callable[[], None], clock: Callable[[], float]) -> None:
        self._history = history
        self._news = news
        self._clock = clock
        self._known: Revocations | None = Revocations() if history is None else None  # None: not read yet
        self.count = 0
        self._epoch = ""
        self._next = 0
        self._begun_at = self._read_at = clock()

    @property
    def state(self) -> str:
        """For readiness: none (there is no list), unknown (it was not read yet), refused (us), old or live."""
        if self._history is None:
            return "none"
        if self._known is None:
            return "unknown"
        if self._history.refused:
            return "refused"
        return "old" if self._clock() - self._read_at > STALE else "live"

    def revoked(self, principal: Principal) -> str:
        """Why this token holds no longer, a sentence; "": it was not revoked, as far as it is known."""
        return "" if self._known is None else self._known.revoked(principal)

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
        began, known, epoch = self._clock(), self._known, self._epoch
        afresh = known is None or began - self._begun_at > AFRESH
        found = Revocations() if known is None or afresh else known
        count, after = (0, 0) if afresh else (self.count, self._next)
        while True:
            page = await self._history.revocations(after)
            if epoch and page.epoch != epoch:
                # An older copy of the database, perhaps: what it does not know of is revoked all the same.
                log.warning("fanout.revocations_renumbered")
                epoch, after, afresh = page.epoch, 0, True
                found, count = (found, count) if known is None else (known, self.count)
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
        self._known, self.count, self._epoch, self._next, self._read_at = found, count, epoch, after, began
        if afresh:
            self._begun_at = began
        if news:
            self._news()
