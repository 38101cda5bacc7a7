"""Why did alice not see event 17? What became of the last frames, from bounded rings in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from .route import Note
from .wire import Frame

MAX_WRITES: Final = 16_384  # joined writes that are remembered
Write = tuple[float, str, str, tuple[int, ...], int, int]


class Trace:
    """What was written: one entry a joined write to a group, whatever the number of its sockets."""

    __slots__ = ("_writes",)

    def __init__(self) -> None:
        self._writes: deque[Write] = deque(maxlen=MAX_WRITES)

    def wrote(self, at: float, how: str, frames: list[Frame], sockets: int, slow: int) -> None:
        """`frames` of one user were written to `sockets`; `slow` others of their group were closed instead."""
        numbers = tuple([frame.id for frame in frames if frame.id is not None])
        if numbers:
            self._writes.append((at, how, frames[0].username, numbers, sockets, slow))

    def look_up(self, username: str, number: int, notes: Iterable[Note], offset: float) -> list[dict[str, Any]]:
        """All that is remembered of one event, in order of time (unix seconds).

        Args:
            username, number: the event.
            notes: what the router remembers, its times being `offset` seconds before unix time.
            offset: see `notes`.
        """
        found: list[dict[str, Any]] = [
            {"at": round(at, 6), "what": "written", "how": how, "sockets": sockets, "closed_as_slow": slow}
            for at, how, name, numbers, sockets, slow in self._writes
            if name == username and number in numbers
        ]
        found += [
            {"at": round(at + offset, 6), "what": what, "how": "live"}
            for at, name, noted, what in notes
            if name == username and noted == number
        ]
        return sorted(found, key=lambda entry: entry["at"])
