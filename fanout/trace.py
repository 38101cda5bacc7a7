"""Why did alice not see event 17? What became of the last frames, from bounded rings in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from .route import Note

MAX_WRITES: Final = 16_384  # joined writes that are remembered
# When (unix seconds), how it had come, whose, the ids, to how many sockets, whether others were closed as slow.
Write = tuple[float, str, str, int | list[int | None] | None, int, bool]


class Trace:
    """What was written: one entry a joined write to a group, whatever the number of its sockets.

    Attributes:
        append: takes an entry; the deque's own, for it is called once a joined write.
    """

    __slots__ = ("_writes", "append")

    def __init__(self) -> None:
        self._writes: deque[Write] = deque(maxlen=MAX_WRITES)
        self.append: Callable[[Write], None] = self._writes.append

    def look_up(self, username: str, number: int, notes: Iterable[Note], offset: float) -> list[dict[str, Any]]:
        """All that is remembered of one event, in order of time (unix seconds).

        Args:
            username, number: the event.
            notes: what the router remembers, its times being `offset` seconds before unix time.
            offset: see `notes`.
        """
        found: list[dict[str, Any]] = [
            {"at": round(at, 6), "what": "written", "how": how, "sockets": sockets, "others_closed_as_slow": slow}
            for at, how, name, numbers, sockets, slow in self._writes
            if name == username and (number in numbers if isinstance(numbers, list) else number == numbers)
        ]
        found += [
            {"at": round(at + offset, 6), "what": what, "how": "live"}
            for at, name, noted, what in notes
            if name == username and noted == number
        ]
        return sorted(found, key=lambda entry: entry["at"])
