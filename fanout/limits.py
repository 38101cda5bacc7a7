"""How many may: sockets of a name, handshakes a second, messages a minute. Pure: the time is an argument (seconds)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

MINUTE: Final = 60.0


class Counts:
    """How many there are of each name; a name without any takes no room. most: of one name; 0: no limit."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._counts: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def of(self, name: Hashable) -> int:
        """How many there are of this name."""
        return self._counts.get(name, 0)

    def add(self, name: Hashable) -> None:
        """One more."""
        self._counts[name] = self._counts.get(name, 0) + 1

    def remove(self, name: Hashable) -> None:
        """One less of those that were added."""
        left = self._counts[name] - 1
        if left:
            self._counts[name] = left
        else:
            del self._counts[name]

    def over(self, name: Hashable, times: int = 1) -> bool:
        """There are more than `times` the limit."""
        return 0 < self.most * times < self.of(name)


class Bucket:
    """So many a second, and a second's worth at once: whoever finds none comes back later. rate 0: no limit."""

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._left = float(rate)
        self._at = now

    def empty(self, now: float) -> bool:
        """Nobody can be let in now."""
        if not self._rate:
            return False
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left < 1

    def take(self, now: float) -> bool:
        """Let one in; False: nobody can be let in now."""
        if self.empty(now):
            return False
        if self._rate:
            self._left -= 1
        return True


class Messages:
    """What one socket has said, counted by minutes that begin with a message."""

    __slots__ = ("_count", "_since")

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0

    def one_too_many(self, now: float, most: int) -> bool:
        """Count a message; True when it is one more than `most` within a minute. most 0: no limit."""
        if not self._count or now - self._since >= MINUTE:
            self._count, self._since = 0, now
        self._count += 1
        return 0 < most < self._count
