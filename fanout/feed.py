"""What to do with a feed's next frame. Pure: the time is an argument, nothing is written or awaited.

Rules, when ids are judged (history is configured; without it every frame is ready as it comes):

1. A feed begins with a base: the head that history named. Until then its frames are kept.
2. The next id is ready, and with it whatever was kept behind it.
3. An id that is not newer, or is kept already, is a repeat: dropped.
4. A jump is kept, and so is the knowledge of a head beyond the last id: API processes publish in either order, and both
   are normal for milliseconds. When the next id has been missing for the hold, and nothing moved, history is asked.
5. What would be kept beyond the bounds is forgotten: history has it.
6. An id beyond the head that history named after it came is a lie: dropped.
7. A frame without an id is another producer's: ready at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from .wire import TEXT, Frame, read_event

MAX_KEPT: Final = 1 << 20  # bytes kept for one feed
RING_FRAMES: Final = 32  # frames that a feed remembers for sockets that missed a little
RING_BYTES: Final = 16 << 10  # bytes of them
# What the ring may hold beyond that: it is cut back to its bounds every 16 frames instead of every frame.
SPARE_FRAMES: Final = 16
SPARE_BYTES: Final = 8 << 10
MAX_HOLD: Final = 2.0  # seconds; what vain questions double the hold to
LEAST_HOLD: Final = 0.01  # seconds; a hold of 0 would not double
CALM: Final = 30.0  # seconds without a vain question, then the hold is the operator's again
# closing: ready, while something was missing. After "ready" alone there is nothing to be noted anywhere.
Verdict = Literal["ready", "closing", "repeat", "kept", "forgotten"]


class Group:
    """The members of a feed that are to receive the same bytes.

    Attributes:
        username: whose feed.
        runs: the runs they want; None: all.
        encoding: as what they get a frame: wire.TEXT, wire.SSE, wire.SSE_NAMED, wire.DEFLATED.
        members: the connections, opaque here; `only`: the one there is, else None.
        frames, bytes: what the group was given since it exists; a member keeps the values it joined at, so that
            what one socket received is a difference and the hot path counts once a group.
    """

    __slots__ = ("bytes", "encoding", "frames", "members", "only", "runs", "username")

    def __init__(self, username: str, runs: frozenset[str] | None = None, encoding: int = TEXT) -> None:
        self.username = username
        self.runs = runs
        self.encoding = encoding
        self.members: set[Any] = set()  # Any: a cast on the way to each socket would be a call
        self.only: Any = None
        self.frames = 0
        self.bytes = 0

    def __repr__(self) -> str:
        wanted = "all runs" if self.runs is None else f"{len(self.runs)} runs"
        return f"<Group {wanted}, {len(self.members)} members>"


class _Hot:
    """What every frame touches, in front and together: slots lie in the order of their names, class by class.

    With a thousand feeds nothing of a feed is in a cache when its next frame comes.
    """

    __slots__ = ("all_runs", "judged", "last", "ready", "ring", "ring_bytes", "since")


class Feed(_Hot):
    """One user's events on their way through this hub.

    Attributes:
        last: the id up to which everything is ready or delivered; None: no base yet.
        floating: history did not answer in time: the next frame is the base, whatever it is.
        resetting: another numbering has begun; its head is being asked for.
        ready: frames to deliver, in order; `Router` takes them.
        ring: the payloads of the last frames that were ready, without a hole; they end with `last`.
        kept: frames beyond a hole by id, in order of arrival, each with its time of arrival (seconds).
        kept_bytes: payload bytes in `kept`; `accounted`: how many of them stand in the hub's sum.
        goal: the highest id that somebody says there is, and when it was named last (`goal_at`).
        since: when the next id began to be missing (seconds); None: it is not.
        asked: history is being asked.
        retry_at: history is not asked before (seconds).
        more: the last page did not reach the head.
        patience: by what the hold is multiplied, and when a question was in vain last (`vain_at`).
        strikes: heads below the last id, in a row.
        lies: ids that were dropped as forged; `Router` takes them.
        joiners: connections that need this feed and are not in a group yet.
        groups: who receives, by the runs they want and the encoding.
        all_runs: the only group, if there is one and it wants all runs: what most feeds have.
    """

    __slots__ = (
        "accounted",
        "asked",
        "floating",
        "goal",
        "goal_at",
        "groups",
        "hold",
        "joiners",
        "kept",
        "kept_bytes",
        "lies",
        "more",
        "patience",
        "resetting",
        "retry_at",
        "strikes",
        "username",
        "vain_at",
    )

    def __init__(self, username: str, judged: bool, hold: float = 0.05) -> None:
        self.username = username
        self.judged = judged
        self.hold = hold
        self.last: int | None = None
        self.floating = self.resetting = self.asked = self.more = False
        self.ready: list[Frame] = []
        self.ring: list[bytes] = []
        self.ring_bytes = 0
        self.kept: dict[int, tuple[float, Frame]] = {}
        self.kept_bytes = self.accounted = 0
        self.goal = 0
        self.goal_at = self.retry_at = self.vain_at = 0.0
        self.since: float | None = None
        self.patience = 1
        self.strikes = 0
        self.lies: tuple[int, ...] = ()
        self.joiners = 0
        self.groups: dict[tuple[frozenset[str] | None, int], Group] = {}
        self.all_runs: Group | None = None

    def __repr__(self) -> str:
        return f"<Feed {self.username} at {self.last}, {len(self.ready)} ready, {len(self.kept)} kept>"

    def regroup(self) -> None:
        """The groups have changed."""
        only = next(iter(self.groups.values())) if len(self.groups) == 1 else None
        self.all_runs = only if only is not None and only.runs is None else None

    # Live frames.

    def offer(self, frame: Frame, now: float) -> Verdict:
        """Sort one frame in; what becomes ready by it stands in `ready`."""
        number = frame.id
        if number is None or not self.judged:
            self.ready.append(frame)
            return "ready"
        last = self.last
        if last is None and self.floating:
            last = number - 1
        if last is not None:
            if number == last + 1:
                # `_take`, without the call: these lines run once a frame.
                self.last = number
                self.ready.append(frame)
                payload, ring = frame.payload, self.ring
                ring.append(payload)
                size = self.ring_bytes = self.ring_bytes + len(payload)
                if len(ring) > RING_FRAMES + SPARE_FRAMES or size > RING_BYTES + SPARE_BYTES:
                    self._trim()
                if self.since is None:
                    return "ready"
                self._advanced(now)
                return "closing"
            if number <= last:
                return "repeat"
        if number in self.kept:
            return "repeat"
        return self._keep(number, frame, now)

    def hint(self, head: int, now: float) -> None:
        """Somebody says that there are events up to `head`."""
        if head > self.goal and head > (self.last or 0):
            self.goal, self.goal_at = head, now
            if self.since is None and self.last is not None:
                self._open_hole(now)

    def _keep(self, number: int, frame: Frame, now: float) -> Verdict:
        if self.kept_bytes + len(frame.payload) > MAX_KEPT:
            self.hint(number, now)
            return "forgotten"
        self.kept[number] = (now, frame)
        self.kept_bytes += len(frame.payload)
        if self.since is None and self.last is not None:
            self._open_hole(now)
        return "kept"

    def _open_hole(self, now: float) -> None:
        self.since = now
        self.more = False
        if self.patience > 1 and now - self.vain_at > CALM:
            self.patience = 1

    def _take(self, frame: Frame) -> None:
        self.last = frame.id
        self.ready.append(frame)
        self.ring.append(frame.payload)
        self.ring_bytes += len(frame.payload)
        self._trim()

    def _trim(self) -> None:
        ring, size = self.ring, self.ring_bytes
        if len(ring) <= RING_FRAMES + SPARE_FRAMES and size <= RING_BYTES + SPARE_BYTES:
            return
        drop = max(0, len(ring) - RING_FRAMES)
        size -= sum(map(len, ring[:drop]))
        while size > RING_BYTES:
            size -= len(ring[drop])
            drop += 1
        del ring[:drop]
        self.ring_bytes = size

    def _advanced(self, now: float) -> None:
        """The last id has moved while something was missing: take what was kept behind it, and begin the hold anew."""
        while (kept := self._pop(self.last_id + 1)) is not None:
            self._take(kept)
        self.since = now if self.kept or self.goal > self.last_id else None

    def _pop(self, number: int) -> Frame | None:
        entry = self.kept.pop(number, None)
        if entry is None:
            return None
        self.kept_bytes -= len(entry[1].payload)
        return entry[1]

    @property
    def last_id(self) -> int:
        """`last`, 0 when there is none."""
        return self.last or 0

    def forget_kept(self, now: float) -> None:
        """Keep nothing any more, but the knowledge that it is there: history has it."""
        if self.kept:
            goal = max(self.kept)
            self.kept.clear()
            self.kept_bytes = 0
            self.hint(goal, now)

    # What history says.

    def due(self) -> float | None:
        """When history is to be asked (seconds); None: there is no reason, or it is being asked."""
        if self.since is None or self.asked or self.last is None:
            return None
        if self.more:
            return self.retry_at
        hold = self.hold if self.patience == 1 else min(MAX_HOLD, max(self.hold, LEAST_HOLD) * self.patience)
        return max(self.since + hold, self.retry_at)

    def heard(self, head: int, last_then: int | None, asked_at: float, now: float) -> bool:
        """History names the head; True: the feed's numbers are not history's any more, it must be reset.

        Args:
            head: the highest committed id.
            last_then: what `last` was when history was asked.
            asked_at: when that was (seconds): ids that came before it and are beyond the head are lies.
            now: seconds.
        """
        if self.last is None:
            self._begin(head, asked_at)
            return False
        if last_then is not None and head < last_then:
            self.strikes += 1
            return self.strikes > 1
        self.strikes = 0
        self._drop_lies(head, asked_at)
        self.hint(head, now)
        return False

    def healed(self, frames: Iterable[Frame], now: float) -> int:
        """A page of history that begins behind some id that the feed had: how many frames of it were new."""
        found = 0
        for frame in frames:
            if frame.id == self.last_id + 1:
                # What was kept under this number may be a lie; history's bytes are the truth.
                found += self._pop(frame.id) is None
                self._take(frame)
        if found:
            self.patience = 1
            self._advanced(now)
        return found

    def vain(self, now: float) -> None:
        """History was asked and had nothing new: be slower to ask again."""
        self.patience = min(self.patience * 2, 1024)
        self.vain_at = self.retry_at = now
        if self.since is not None:
            self.since = now

    def settle(self, now: float) -> None:
        """Those who waited for the base are in: what was kept behind it is theirs."""
        if self.last is not None and self.since is None and (self.kept or self.goal > self.last):
            self._advanced(now)

    def reset(self, head: int) -> None:
        """Another numbering: go on from its head."""
        self._begin_anew()
        self.last = head

    def forget(self) -> None:
        """Another numbering, whose head is not known yet: keep what comes."""
        self._begin_anew()
        self.last = None
        self.resetting = True

    def unprotect(self, now: float) -> None:
        """History did not answer in time: take what was kept, and go on from there."""
        if self.last is not None:
            return
        self.floating = True
        if self.kept:
            self.last = min(self.kept) - 1
            self._advanced(now)

    def rest(self, after: int) -> list[Frame] | None:
        """The frames behind `after`, when the ring holds them all; None: it does not."""
        if self.last is None or not self.last - len(self.ring) <= after <= self.last:
            return None
        return [read_event(self.username, payload) for payload in self.ring[len(self.ring) - (self.last - after) :]]

    def recall(self, frames: Iterable[Frame]) -> None:
        """A page of history, without a gap: what of it joins the ring in front, for the next who missed a little."""
        first = self.last_id - len(self.ring)
        older = [frame for frame in frames if (frame.id or 0) <= first]
        if self.last is None or not older or older[-1].id != first:
            return
        for frame in reversed(older):
            size = len(frame.payload)
            if len(self.ring) >= RING_FRAMES or self.ring_bytes + size > RING_BYTES:
                return
            self.ring.insert(0, frame.payload)
            self.ring_bytes += size

    def _begin(self, head: int, asked_at: float) -> None:
        self.last = head
        self.floating = self.resetting = False
        for number in [number for number in self.kept if number <= head]:
            self._pop(number)
        self._drop_lies(head, asked_at)

    def _begin_anew(self) -> None:
        self.floating = self.resetting = self.more = False
        self.ring.clear()
        self.kept.clear()
        self.ring_bytes = self.kept_bytes = self.goal = self.strikes = 0
        self.since = None
        self.patience = 1

    def _drop_lies(self, head: int, asked_at: float) -> None:
        if self.goal > head and self.goal_at < asked_at:
            self.goal = head
        lies = [number for number, (at, _) in self.kept.items() if number > head and at < asked_at]
        for number in lies:
            self._pop(number)
        self.lies += tuple(lies)
        if self.since is not None and not self.kept and self.goal <= self.last_id:
            self.since = None
