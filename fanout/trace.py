"""Why did alice not see event 17? What became of the last frames, from bounded rings in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from .route import Note
from .wire import Frame

MAX_WRITES: Final = 16_384  # joined writes that are remembered
MAX_IDS: Final = 16  # ids of a write with gaps that are remembered one by one; a page has hundreds
# What one write held: an id (None: another producer's), ids without a gap, with gaps, or some between two.
Ids = int | range | tuple[int | None, ...] | slice | None
FIELDS: Final = 4  # of a write: whose, the ids, to how many sockets, whether others were closed as slow


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


class Whose(Protocol):
    """A group, or whatever else knows whose frames it was given."""

    username: str


def batched(writes: list[Any]) -> Iterator[tuple[Whose, Ids, int, bool]]:
    """The writes of one turn, one by one."""
    values = iter(writes)
    return zip(values, values, values, values, strict=True)


class Trace:
    """What was written: four values a joined write to a group, whatever the number of its sockets.

    The writes of one turn lie in one list, one after the other: an object for each of them would cost more than all
    that is done for it.
    """

    __slots__ = ("_turns", "_writes")

    def __init__(self) -> None:
        self._turns: deque[tuple[float, str, list[Any]]] = deque()
        self._writes = 0

    def wrote(self, at: float, how: str, writes: list[Any]) -> None:
        """Remember the writes of one turn (unix seconds): FIELDS values each; `how` they had come."""
        self._turns.append((at, how, writes))
        self._writes += len(writes)
        while self._writes > MAX_WRITES * FIELDS and len(self._turns) > 1:
            self._writes -= len(self._turns.popleft()[2])

    def look_up(self, username: str, number: int, notes: Iterable[Note], offset: float) -> list[dict[str, Any]]:
        """All that is remembered of one event, in order of time (unix seconds).

        Args:
            username, number: the event.
            notes: what the router remembers, its times being `offset` seconds before unix time.
            offset: see `notes`.
        """
        found: list[dict[str, Any]] = [
            {"at": round(at, 6), "what": what, "how": how, "sockets": sockets, "others_closed_as_slow": slow}
            for at, how, writes in self._turns
            for whose, numbers, sockets, slow in batched(writes)
            if whose.username == username and (what := _held(numbers, number))
        ]
        found += [
            {"at": round(at + offset, 6), "what": what, "how": "live"}
            for at, name, noted, what in notes
            if name == username and noted == number
        ]
        return sorted(found, key=lambda entry: entry["at"])
