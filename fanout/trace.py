"""Why did alice not see event 17? What became of the last frames, from bounded rings in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from .route import Note
from .wire import Frame

MAX_WRITES: Final = 16_384  # joined writes that are remembered
MAX_IDS: Final = 16  # ids of a write with gaps that are remembered one by one; a page has hundreds
# What one write held: an id (None: another producer's), ids without a gap, with gaps, or some between two.
Ids = int | range | tuple[int | None, ...] | slice | None
# When (unix seconds), how it had come, whose, the ids, to how many sockets, whether others were closed as slow.
Write = tuple[float, str, str, Ids, int, bool]


def ids_of(frames: Sequence[Frame]) -> Ids:
    """The ids of a write, in a few bytes however many they are."""
    if len(frames) == 1:
        return frames[0].id
    numbers = [frame.id for frame in frames]
    known = [number for number in numbers if number is not None]
    if not known:
        return None
    if len(known) == len(numbers) == known[-1] - known[0] + 1:
        return range(known[0], known[-1] + 1)
    return tuple(numbers) if len(numbers) <= MAX_IDS else slice(known[0], known[-1] + 1)


def _held(numbers: Ids, number: int) -> str:
    """What is known of one id in a write; "" when it was not among them."""
    if isinstance(numbers, slice):
        return "perhaps written: others between the same ids were" if numbers.start <= number < numbers.stop else ""
    among = number in numbers if isinstance(numbers, range | tuple) else number == numbers
    return "written" if among else ""


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
            {"at": round(at, 6), "what": what, "how": how, "sockets": sockets, "others_closed_as_slow": slow}
            for at, how, name, numbers, sockets, slow in self._writes
            if name == username and (what := _held(numbers, number))
        ]
        found += [
            {"at": round(at + offset, 6), "what": what, "how": "live"}
            for at, name, noted, what in notes
            if name == username and noted == number
        ]
        return sorted(found, key=lambda entry: entry["at"])
