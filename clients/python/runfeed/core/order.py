"""A feed's events in the order of their ids: one cursor, and what came before its turn."""

from __future__ import annotations

from typing import Final

from .protocol import RunEvent

HOLE: Final = 250  # ms that the next id may be missing; the hub holds 50 itself
KEPT: Final = 1_000  # events kept behind a hole; beyond that the poll brings them


class Order:
    """One feed's order.

    Attributes:
        cursor: everything up to this id has come; None: nobody knows yet where the feed is.
        hole_at: when what is missing is to be asked for; None: nothing is.
        partial: the stream leaves out runs, and nothing else behind the cursor: an id that does not come is of those.
    """

    def __init__(self) -> None:
        self.cursor: int | None = None
        self.hole_at: float | None = None
        self.partial = False
        self._kept: dict[int, RunEvent] = {}
        self._told = 0  # as far as the hub says that it has come

    def __repr__(self) -> str:
        return f"<Order {self.cursor} told {self._told} {len(self._kept)} kept>"

    @property
    def hole(self) -> bool:
        """Something is known to be missing."""
        return self.cursor is not None and (bool(self._kept) or self._told > self.cursor)

    def watch(self, at: float) -> None:
        """While something is missing there is a time to ask for it; the first that was set holds."""
        if not self.hole:
            self.hole_at = None
        elif self.hole_at is None:
            self.hole_at = at

    def watch_later(self, at: float) -> None:
        """The same after somebody was asked: this time holds, not the first."""
        self.hole_at = at if self.hole else None

    def begin(self, cursor: int | None) -> None:
        """The feed is at this id now, whatever came before."""
        self.cursor = cursor
        self._kept.clear()
        self._told = 0

    def told(self, head: int) -> None:
        """The hub says that all up to this id was sent."""
        if self.partial:
            self.cursor = max(self.cursor or 0, head)
        self._told = max(self._told, head)

    def arrive(self, number: int, event: RunEvent) -> list[RunEvent]:
        """An event came. Those that follow on the cursor now, in order: it may have to wait, or be a repeat."""
        if self.cursor is None:
            self.cursor = number - 1
        if self.partial:
            self.cursor = max(self.cursor, number - 1)
        if number == self.cursor + 1:
            return [event, *self.advance(number)]
        if number > self.cursor and len(self._kept) < KEPT:
            self._kept[number] = event
        return []

    def advance(self, to: int) -> list[RunEvent]:
        """Everything up to this id has come, some other way. What was kept and follows on it."""
        cursor = max(self.cursor or 0, to)
        if self._kept:
            self._kept = {number: event for number, event in self._kept.items() if number > cursor}
        following = []
        while (event := self._kept.pop(cursor + 1, None)) is not None:
            cursor += 1
            following.append(event)
        self.cursor = cursor
        return following
