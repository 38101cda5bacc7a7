"""What to do with a feed's next frame. Pure: the time is an argument, nothing is written or awaited.

Rules, when ids are judged (history is configured; without it every frame is ready as it comes):

1. The first id is the base. (Joining, which asks for a base before the first frame, replaces this rule.)
2. The next id is ready, and with it whatever was kept behind it.
3. An id that is not newer, or is kept already, is a repeat: dropped.
4. A jump is kept: API processes publish in either order, and jumps close within milliseconds.
5. A jump that is older than the hold, or that would keep more than the bounds, is taken: what is kept becomes ready in
   order. (Healing, which asks history for the hole first, replaces this rule.)
6. A frame without an id is another producer's: ready at once.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Literal

from .wire import Frame

MAX_KEPT: Final = 1 << 20  # bytes kept for one feed
Verdict = Literal["ready", "repeat", "kept"]


class Group:
    """The members of a feed that are to receive the same bytes.

    Attributes:
        runs: the runs they want; None: all.
        members: the connections, opaque here.
        frames, bytes: what the group was given since it exists; a member keeps the values it joined at, so that
            what one socket received is a difference and the hot path counts once a group.
    """

    __slots__ = ("bytes", "frames", "members", "runs")

    def __init__(self, runs: frozenset[str] | None) -> None:
        self.runs = runs
        self.members: set[Hashable] = set()
        self.frames = 0
        self.bytes = 0

    def __repr__(self) -> str:
        wanted = "all runs" if self.runs is None else f"{len(self.runs)} runs"
        return f"<Group {wanted}, {len(self.members)} members>"


class Feed:
    """One user's events on their way through this hub.

    Attributes:
        last: the id up to which everything is ready or delivered; None: no base yet.
        ready: frames to deliver, in order; `Router` takes them.
        kept: frames beyond a hole by id, in order of arrival, each with its time of arrival (seconds).
        kept_bytes: payload bytes in `kept`.
        given_up: holes that were skipped.
        groups: who receives, by the runs they want.
    """

    __slots__ = ("given_up", "groups", "judged", "kept", "kept_bytes", "last", "ready", "username")

    def __init__(self, username: str, judged: bool) -> None:
        self.username = username
        self.judged = judged
        self.last: int | None = None
        self.ready: list[Frame] = []
        self.kept: dict[int, tuple[float, Frame]] = {}
        self.kept_bytes = 0
        self.given_up = 0
        self.groups: dict[frozenset[str] | None, Group] = {}

    def __repr__(self) -> str:
        return f"<Feed {self.username} at {self.last}, {len(self.ready)} ready, {len(self.kept)} kept>"

    def offer(self, frame: Frame, now: float) -> Verdict:
        """Sort one frame in; what becomes ready by it stands in `ready`."""
        number = frame.id
        if number is None or not self.judged:
            self.ready.append(frame)
            return "ready"
        if self.last is None:
            self.last = number - 1
        if number == self.last + 1:
            self.last = number
            self.ready.append(frame)
            if self.kept:
                self._close_hole()
            return "ready"
        if number <= self.last or number in self.kept:
            return "repeat"
        self.kept[number] = (now, frame)
        self.kept_bytes += len(frame.payload)
        if self.kept_bytes > MAX_KEPT:
            self.give_up()
        return "kept"

    def due(self, hold: float) -> float | None:
        """When the oldest jump is to be taken (seconds); None: nothing is kept."""
        return next(iter(self.kept.values()))[0] + hold if self.kept else None

    def expire(self, now: float, hold: float) -> None:
        """Take every jump that is as old as the hold; younger ones stay kept."""
        for number in sorted(self.kept):
            if number != self.last_id + 1:
                # `kept` is in order of arrival: its first frame tells for how long the hole before it has been open.
                due = self.due(hold)
                if due is None or due > now:
                    return
                self.given_up += 1
            self._take(number)

    def give_up(self) -> None:
        """Take every jump at once: everything that is kept becomes ready, in order."""
        self.expire(0.0, float("-inf"))

    def forget(self) -> None:
        """Forget the base: another numbering begins. What is kept of the old one becomes ready, in order."""
        self.give_up()
        self.last = None

    @property
    def last_id(self) -> int:
        """`last`, 0 when there is none."""
        return self.last or 0

    def _close_hole(self) -> None:
        while self.last_id + 1 in self.kept:
            self._take(self.last_id + 1)

    def _take(self, number: int) -> None:
        frame = self.kept.pop(number)[1]
        self.kept_bytes -= len(frame.payload)
        self.last = number
        self.ready.append(frame)
