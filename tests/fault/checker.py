"""Was anything lost, repeated, reordered, changed, shown to the wrong user? Pure: records in, counts and examples out.

The ideas are those of Jepsen's checkers: total-queue (what was acknowledged comes out), set-full (when was it seen),
kafka (one value for one number, no holes, no unwritten reads).

What a stream is obliged to show:
- a segment is one connection, or one poll's answer: from its cursor, or from the first event that was begun after it
  was answered, to its last frame it shows the feed without a hole, each event once and in order;
- a segment that is open at the end shows the feed to its end; one that was closed shows at least what was recorded
  `patience` seconds before its close;
- a stream, which is one client's segments, shows the whole feed: it brings its cursor, or polls. A segment that is
  `fresh` (the hub said: begin anew) begins a new obligation, and its cursor, which the hub or the client named then, is
  believed only as far as it leaves out nothing that was begun afterwards.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

NEVER_STORED: Final = "acknowledged but never stored"
STORED_TWICE: Final = "stored twice"
HISTORY_HOLE: Final = "hole in the history"
LOST: Final = "lost"
UNCOMMITTED: Final = "seen but never committed"
REPEATED: Final = "repeated"
DISORDER: Final = "out of order"
DIFFERING: Final = "differing bytes"
FOREIGN: Final = "foreign"
KINDS: Final = (
    NEVER_STORED, STORED_TWICE, HISTORY_HOLE, LOST, UNCOMMITTED, REPEATED, DISORDER, DIFFERING, FOREIGN,
)  # fmt: skip
EXAMPLES: Final = 3  # of each kind


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a producer was told. began: when its first try was sent; key: its event_id."""

    username: str
    run_id: str
    key: str
    id: int
    seq: int
    began: float


@dataclass(frozen=True, slots=True)
class Stored:
    """One event of the final history."""

    username: str
    run_id: str
    id: int
    seq: int
    key: str
    recorded_at: float
    raw: bytes


@dataclass(slots=True)
class Segment:
    """One connection, or one poll's answer. after: the cursor that it was asked with; closed: None while open."""

    opened: float
    after: int | None
    source: str = "socket"
    fresh: bool = False
    frames: list[tuple[float, bytes]] = field(default_factory=list)
    closed: float | None = None
    code: str = ""


@dataclass(slots=True)
class Stream:
    """One client's segments, in the order in which they were opened. runs: None is all of the user's.

    whole: this client brings its cursor or polls, so it shows the whole feed. excused: closed segments owe no tail.
    """

    name: str
    username: str
    runs: frozenset[str] | None = None
    whole: bool = True
    excused: bool = False
    segments: list[Segment] = field(default_factory=list)


@dataclass(slots=True)
class Verdict:
    """How often each kind was found, with examples in words. frames: how many were looked at, on all streams."""

    events: int = 0
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def found(self, kind: str, text: str, times: int = 1) -> None:
        """Notes a violation."""
        self.counts[kind] += times
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(text)

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not +self.counts


@dataclass(frozen=True, slots=True)
class Frame:
    """What a stream showed, read."""

    at: float
    id: int
    recorded_at: float
    fields: Mapping[str, Any]
    raw: bytes


def read(at: float, raw: bytes) -> Frame:
    """A frame from its bytes; id 0 when it has none or is not JSON."""
    try:
        fields = orjson.loads(raw)
        return Frame(at, int(fields.get("id", 0)), float(fields.get("recorded_at", 0)), fields, raw)
    except (ValueError, AttributeError, TypeError):
        return Frame(at, 0, 0.0, {}, raw)


class History:
    """The final history by feed, and what of it a stream asks for."""

    def __init__(self, stored: Iterable[Stored]) -> None:
        self.feeds: dict[str, list[Stored]] = defaultdict(list)
        for event in stored:
            self.feeds[event.username].append(event)
        self.by_id = {(event.username, event.id): event for events in self.feeds.values() for event in events}

    def asked(self, stream: Stream) -> list[Stored]:
        """The events that this stream asks for, in order."""
        events = self.feeds.get(stream.username, [])
        return events if stream.runs is None else [event for event in events if event.run_id in stream.runs]


def check(
    acknowledged: Sequence[Acknowledged],
    stored: Iterable[Stored],
    streams: Iterable[Stream],
    *,
    patience: float | None = None,
) -> Verdict:
    """Judges a whole run. patience: seconds in which a segment shows an event, or owes nothing of it (None)."""
    history = History(stored)
    verdict = Verdict(events=sum(len(events) for events in history.feeds.values()))
    _check_history(history, acknowledged, verdict)
    began = {(told.username, told.id): told.began for told in acknowledged}
    for stream in streams:
        _Judge(stream, history, began, verdict, patience).judge()
    return verdict


def _check_history(history: History, acknowledged: Sequence[Acknowledged], verdict: Verdict) -> None:
    """The history alone, and against what producers were told."""
    for username, events in history.feeds.items():
        seqs: Counter[str] = Counter()
        for place, event in enumerate(events, 1):
            seqs[event.run_id] += 1
            if (event.id, event.seq) != (place, seqs[event.run_id]):
                verdict.found(HISTORY_HOLE, f"{username}: id {event.id}, seq {event.seq} at place {place}")
                break
    keys = Counter(event.key for events in history.feeds.values() for event in events if event.key)
    for key, times in keys.items():
        if times > 1:
            verdict.found(STORED_TWICE, f"{key}: {times} times", times - 1)
    for told in acknowledged:
        event_of_id = history.by_id.get((told.username, told.id))
        facts = event_of_id and (event_of_id.run_id, event_of_id.seq, event_of_id.key)
        if facts != (told.run_id, told.seq, told.key):
            verdict.found(NEVER_STORED, f"{told.username} {told.id} {told.key}: stored is {facts}")


class _Judge:
    """One stream."""

    def __init__(
        self,
        stream: Stream,
        history: History,
        began: Mapping[tuple[str, int], float],
        verdict: Verdict,
        patience: float | None,
    ) -> None:
        self.stream = stream
        self.history = history
        self.asked = history.asked(stream)
        self.began = began
        self.verdict = verdict
        self.patience = patience
        self.missing: set[int] = set()

    def judge(self) -> None:
        """Every segment alone, then all of them together."""
        seen: set[int] = set()
        base: int | None = None
        segments = self.stream.segments
        for segment in segments:
            if segment.fresh:
                seen, base = set(), None
            shown = self._shown(segment)
            self._holes(segment, shown)
            if base is None:
                base = self._begin(segment, shown)
            seen |= shown
        if self.stream.whole:
            start = 1 if base is None else base
            self.missing |= {event.id for event in self.asked if event.id >= start and event.id not in seen}
        if self.missing:
            first = ", ".join(map(str, sorted(self.missing)[:5]))
            self.verdict.found(LOST, f"{self.stream.name}: {len(self.missing)}, first {first}", len(self.missing))

    def _shown(self, segment: Segment) -> set[int]:
        """The ids that a segment showed; judges each frame and the order on the way."""
        shown: set[int] = set()
        highest = 0
        for frame in (read(at, raw) for at, raw in segment.frames):
            if not self._rightful(frame):
                continue
            if frame.id in shown or frame.id <= (segment.after or 0):
                self.verdict.found(REPEATED, f"{self.stream.name}: {frame.id} after {segment.after}, {highest}")
            elif frame.id < highest:
                self.verdict.found(DISORDER, f"{self.stream.name}: {frame.id} after {highest}")
            shown.add(frame.id)
            highest = max(highest, frame.id)
        return shown

    def _rightful(self, frame: Frame) -> bool:
        """Whether this frame is one of the history's that this stream asked for."""
        self.verdict.frames += 1
        name, runs = self.stream.name, self.stream.runs
        username, run_id = frame.fields.get("username"), frame.fields.get("run_id")
        if username != self.stream.username or (runs is not None and run_id not in runs):
            self.verdict.found(FOREIGN, f"{name}: {frame.raw[:120]!r}")
            return False
        event = self.history.by_id.get((self.stream.username, frame.id))
        if event is None:
            self.verdict.found(UNCOMMITTED, f"{name}: {frame.raw[:120]!r}")
            return False
        if event.raw != frame.raw:
            self.verdict.found(DIFFERING, f"{name}: {frame.raw[:120]!r} is stored as {event.raw[:120]!r}")
        return True

    def _begin(self, segment: Segment, shown: set[int]) -> int:
        """The first id that a segment is obliged to show."""
        if segment.after is not None and not segment.fresh:
            return segment.after + 1
        never = self.asked[-1].id + 1 if self.asked else 1
        owed = (
            event.id for event in self.asked
            if self.began.get((self.stream.username, event.id), 0.0) > segment.opened
        )  # fmt: skip
        first = min(shown, default=never) if segment.after is None else segment.after + 1
        return min(next(owed, never), first)

    def _end(self, segment: Segment, shown: set[int]) -> int:
        """The last id that a segment is obliged to show."""
        last = max(shown, default=0)
        if segment.source != "socket" or not self.asked:
            return last
        if segment.closed is None:
            return self.asked[-1].id
        if self.patience is None or self.stream.excused:
            return last
        due = segment.closed - self.patience
        owed = (event.id for event in reversed(self.asked) if event.recorded_at < due)
        return max(last, next(owed, 0))

    def _holes(self, segment: Segment, shown: set[int]) -> None:
        begin, end = self._begin(segment, shown), self._end(segment, shown)
        self.missing |= {event.id for event in self.asked if begin <= event.id <= end and event.id not in shown}


def silent(streams: Iterable[Stream], usernames: Iterable[str]) -> set[str]:
    """Those users who have sockets or event streams, none of which was shown anything."""
    pushed = [
        (stream.username, segment)
        for stream in streams
        for segment in stream.segments
        if segment.source == "socket"
    ]  # fmt: skip
    spoke = {username for username, segment in pushed if segment.frames}
    return {username for username, _ in pushed if username in set(usernames)} - spoke


def sights(streams: Iterable[Stream]) -> Iterator[tuple[Stream, Segment, Frame]]:
    """The first sight of each event on each stream that is pushed to."""
    for stream in streams:
        if not any(segment.source == "socket" for segment in stream.segments):
            continue
        seen: set[int] = set()
        frames = [(segment, read(at, raw)) for segment in stream.segments for at, raw in segment.frames]
        for segment, frame in sorted(frames, key=lambda pair: pair[1].at):
            if frame.id not in seen:
                seen.add(frame.id)
                yield stream, segment, frame


def slowest(streams: Iterable[Stream]) -> float:
    """The most seconds from an event's recording to its first sight on a stream that was open all the while."""
    return max(
        (
            frame.at - frame.recorded_at
            for _, segment, frame in sights(streams)
            if segment.source == "socket" and frame.recorded_at > segment.opened
        ),
        default=0.0,
    )


def caught_up(streams: Iterable[Stream], since: float, *, late: float) -> float:
    """Seconds from `since` until no stream showed any more what was `late` seconds old: when all had caught up."""
    behind = (frame.at for _, _, frame in sights(streams) if frame.at - frame.recorded_at > late)
    return max(0.0, max(behind, default=since) - since)
