"""When to poll: a while after the last sign that nothing is missing."""

from __future__ import annotations

from typing import Final

SLOWER: Final = 1.5  # after each poll that brought nothing new
SLOWEST: Final = 30_000  # ms


class Pace:
    """quick: ms of silence before a poll, while there are events."""

    def __init__(self, quick: float) -> None:
        self._quick = quick
        self._interval = quick
        self._from = 0.0

    @property
    def due(self) -> float:
        """When the next poll is due."""
        return self._from + self._interval

    def heard(self, now: float) -> None:
        """The stream said something: as of now nothing is missing."""
        self._from = max(self._from, now)

    def news(self, now: float) -> None:
        """An event came, whichever way."""
        self._interval = self._quick
        self.heard(now)

    def nothing(self, now: float, wait: float = 0) -> None:
        """A poll brought nothing new, or failed. wait: ms that the server asked for."""
        self._interval = min(self._interval * SLOWER, max(SLOWEST, self._quick))
        self.heard(now + max(0, wait - self._interval))
