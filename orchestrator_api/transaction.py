"""The SQL functions from the outside, pure: what goes in for a group, and what its outcomes mean to callers."""

from dataclasses import dataclass, field
from typing import Any

from orchestrator_api.errors import Conflict, Problem, Unavailable
from orchestrator_api.events import frame
from orchestrator_api.groups import Append


@dataclass(frozen=True, slots=True)
class Stored:
    """What an append came to. numbers: (id, seq) of each event in the order sent; new: something was stored now."""

    run_id: str
    status: str
    numbers: list[tuple[int, int]]
    new: bool


def store_away() -> Unavailable:
    """The answer while PostgreSQL cannot store."""
    return Unavailable("store_away", "the database cannot store now; nothing was stored, try again")


def busy() -> Unavailable:
    """The answer to whoever waited in vain: mostly for a lock that somebody else holds."""
    return Unavailable("busy", "it could not be stored in time; nothing was stored, try again")


def outcome_unknown() -> Unavailable:
    """The answer to whoever has no key, when nobody heard what PostgreSQL said."""
    return Unavailable(
        "outcome_unknown",
        "the connection to the database broke before its answer: it may be stored; a keyed request can be repeated",
    )


def refusal(outcome: str, append: Append) -> Problem:
    """The answer to an append that append_events refused. outcome: its word for why."""
    if outcome == "run_finished":
        return Conflict(409, "run_finished", f"run {append.run_id} has had its terminal event; nothing follows it")
    if outcome == "run_exists":
        return Conflict(409, "run_exists", f"run {append.run_id} exists with other content", field="run_id")
    if outcome == "key_reused":
        return Conflict(
            422, "key_reused", "the key was used for other content before: a key names one request for ever"
        )
    return Problem(404, "run_unknown", f"there is no run {append.run_id}", field="run_id")


def arguments(group: list[Append]) -> tuple[list[Any], ...]:
    """Returns append_events' arrays for a group, from feed_names on."""
    events = [(n, append, event, tail) for n, append in enumerate(group, 1)
              for event, tail in zip(append.events, append.tails, strict=True)]  # fmt: skip
    creates = [append.create for append in group]
    return (
        sorted({append.username for append in group}),
        [append.run_id for append in group],
        [append.username for append in group],
        [append.key for append in group],
        [append.scope for append in group],
        [append.digest for append in group],
        [create is not None for create in creates],
        [create and create.workflow for create in creates],
        [create and create.metadata for create in creates],
        [create and create.digest for create in creates],
        [n for n, _, _, _ in events],
        [append.run_id for _, append, _, _ in events],
        [append.username for _, append, _, _ in events],
        [tail.decode() for _, _, _, tail in events],
        [event.key for _, _, event, _ in events],
        [event.digest for _, _, event, _ in events],
        [event.status for _, _, event, _ in events],
        [event.progress for _, _, event, _ in events],
        [event.step for _, _, event, _ in events],
    )


@dataclass(slots=True)
class _Place:
    """Where an append's events stand among a call's: its feed and run by index from 1, and what they come after."""

    append: Append
    feed: int
    run: int
    after_id: int
    after_seq: int
    after: int


@dataclass(slots=True)
class Plain:
    """append_plain's arrays for a group, and how its answer becomes numbers."""

    feeds: list[str]
    runs: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    feed_counts: list[int] = field(default_factory=list)
    run_counts: list[int] = field(default_factory=list)
    said: list[tuple[str | None, float | None, str | None]] = field(default_factory=list)  # status, progress, step
    tails: list[bytes] = field(default_factory=list)
    places: list[_Place] = field(default_factory=list)

    def arguments(self) -> tuple[Any, ...]:
        """Returns the arrays, from feed_names on. None: nothing in it, which is cheaper than an array of nulls."""
        said = [None if all(value is None for value in each) else list(each) for each in zip(*self.said, strict=True)]
        places = (
            [place.feed for place in self.places],
            [place.run for place in self.places],
            [place.after_id for place in self.places],
            [place.after_seq for place in self.places],
            [place.after for place in self.places],
            [len(place.append.tails) for place in self.places],
        )
        # One text: JSON has no line break outside of strings, and in them it is escaped.
        tails = b"\n".join(self.tails).decode()
        return self.feeds, self.feed_counts, self.runs, self.owners, self.run_counts, *said, *places, tails

    def stored(self, row: Any) -> tuple[list[tuple[Append, Stored]], list[tuple[str, int, str, bytes]], list[Append]]:
        """Returns what each append came to, the frames by feed and id, and those that are left for append_events.

        row: what append_plain answered.
        """
        ids, seqs = row["f_last"], row["r_last"]
        statuses = [
            said[0] or ("running" if before == "queued" else before)
            for said, before in zip(self.said, row["statuses"], strict=True)
        ]
        answers: list[tuple[Append, Stored]] = []
        frames: list[tuple[str, int, str, bytes]] = []
        left: list[Append] = []
        for place in self.places:
            append = place.append
            if ids[place.feed - 1] is None:
                left.append(append)
                continue
            first_id = ids[place.feed - 1] + place.after_id + 1
            first_seq = seqs[place.run - 1] + place.after_seq + 1
            numbers = [(first_id + n, first_seq + n) for n in range(len(append.tails))]
            answers.append((append, Stored(append.run_id, statuses[place.run - 1], numbers, new=True)))
            for (event_id, seq), tail in zip(numbers, append.tails, strict=True):
                frames.append((append.username, event_id, append.run_id, frame(event_id, seq, tail)))
        return answers, frames, left


def plain(group: list[Append]) -> Plain | None:
    """Returns the layout of a group for append_plain; None when one of it is not plain, or they contradict each other.

    Within a feed the events are numbered run by run, within a run as they came: as append_events does it.
    """
    by_run: dict[str, list[Append]] = {}
    for append in group:
        if not append.plain:
            return None
        by_run.setdefault(append.run_id, []).append(append)
    layout = Plain(sorted({append.username for append in group}))
    index = {username: n for n, username in enumerate(layout.feeds)}
    layout.feed_counts = [0] * len(layout.feeds)
    for run, run_id in enumerate(sorted(by_run)):
        appends = by_run[run_id]
        if len({append.username for append in appends}) > 1:
            return None
        _place(layout, run, appends, index[appends[0].username])
    return layout


def _place(layout: Plain, run: int, appends: list[Append], feed: int) -> None:
    status = progress = step = None
    seq = 0
    for append in appends:
        layout.places.append(_Place(append, feed + 1, run + 1, layout.feed_counts[feed], seq, len(layout.tails)))
        layout.tails += append.tails
        layout.feed_counts[feed] += len(append.tails)
        seq += len(append.tails)
        for event in append.events:
            status = event.status or status
            progress = progress if event.progress is None else event.progress
            step = event.step or step
    layout.run_counts.append(seq)
    layout.runs.append(appends[0].run_id)
    layout.owners.append(appends[0].username)
    layout.said.append((status, progress, step))
