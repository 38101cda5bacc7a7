"""The checker finds what it is for: every kind of damage, planted with a seed into a clean run, is found."""

import random
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from fanout import wire
from tests.fault import checker
from tests.fault.checker import Acknowledged, Segment, Stored, Stream, check
from tests.fault.world import look_alikes

USERS = ("alice", "Alice", "bob")
EVENTS = 60  # of each user, in two runs
PATIENCE = 2.0


class Run:
    """What a suite would have recorded of a run without a fault: damage is done to a copy of it."""

    def __init__(self) -> None:
        self.stored = [event for user in USERS for event in feed(user)]
        self.told = [
            Acknowledged(event.username, event.run_id, event.key, event.id, event.seq, event.recorded_at - 0.01)
            for event in self.stored
        ]
        self.streams = [stream for user in USERS for stream in watchers(user, self.stored)]

    def check(self) -> checker.Verdict:
        return check(self.told, self.stored, self.streams, patience=PATIENCE)


def feed(username: str) -> list[Stored]:
    seqs = {0: 0, 1: 0}
    events = []
    for number in range(1, EVENTS + 1):
        which = number * 7 % 3 % 2
        seqs[which] += 1
        body = {
            "id": number, "seq": seqs[which], "run_id": f"{username}-{which}", "username": username, "type": "step",
            "recorded_at": 100.0 + number,
        }  # fmt: skip
        key = f"{username}.{number}"
        events.append(Stored(username, f"{username}-{which}", number, seqs[which], key, 100.0 + number, raw(body)))
    return events


def raw(body: dict[str, object]) -> bytes:
    return orjson.dumps(body)


def part(events: list[Stored], opened: float, after: int | None, upto: int, closed: float | None) -> Segment:
    """A segment that shows the events after `after` (None: those after `opened`) up to an id."""
    start = opened - 100.0 if after is None else after
    shown = [(event.recorded_at + 0.01, event.raw) for event in events if start < event.id <= upto]
    return Segment(opened, after, frames=shown, closed=closed)


def watchers(username: str, stored: list[Stored]) -> list[Stream]:
    """One that stays, one that comes back with its cursor, one that polls what it missed, and one of a single run."""
    mine = [event for event in stored if event.username == username]
    first_run = [event for event in mine if event.run_id == f"{username}-0"]
    stays = Stream(f"{username}/stays", username, segments=[part(mine, 100.0, None, EVENTS, None)])
    resumes = Stream(
        f"{username}/resumes", username,
        segments=[part(mine, 100.0, 0, 30, 131.0), part(mine, 135.0, 30, EVENTS, None)],
    )  # fmt: skip
    polled = replace(part(mine, 135.0, 30, 36, 135.1), source="poll")
    polls = Stream(
        f"{username}/polls", username,
        segments=[part(mine, 100.0, None, 30, 131.0), part(mine, 134.9, None, EVENTS, None), polled],
    )  # fmt: skip
    one_run = Stream(
        f"{username}/run", username, frozenset({f"{username}-0"}), segments=[part(first_run, 100.0, 0, EVENTS, None)]
    )
    return [stays, resumes, polls, one_run]


def somewhere(run: Run, chance: random.Random) -> tuple[Segment, int]:
    """A frame in the middle of a pushed segment of any stream."""
    stream = chance.choice(run.streams)
    segment = chance.choice([segment for segment in stream.segments if segment.source == "socket"])
    return segment, chance.randrange(1, len(segment.frames) - 1)


def drop(run: Run, chance: random.Random) -> None:
    segment, place = somewhere(run, chance)
    del segment.frames[place]


def drop_tail(run: Run, chance: random.Random) -> None:
    segment = chance.choice(run.streams).segments[-1]
    socket = segment if segment.source == "socket" else run.streams[0].segments[-1]
    del socket.frames[-1]


def drop_tail_of_a_closed_one(run: Run, chance: random.Random) -> None:
    closed = [s for stream in run.streams for s in stream.segments if s.closed and s.source == "socket"]
    del chance.choice(closed).frames[-4:]


def drop_all(run: Run, chance: random.Random) -> None:
    chance.choice(run.streams).segments.clear()


def drop_poll(run: Run, chance: random.Random) -> None:
    polls = [segment for stream in run.streams for segment in stream.segments if segment.source == "poll"]
    chance.choice(polls).frames.clear()


def repeat(run: Run, chance: random.Random) -> None:
    segment, place = somewhere(run, chance)
    segment.frames.insert(place + chance.randrange(1, 3), segment.frames[place])


def repeat_across_the_cursor(run: Run, chance: random.Random) -> None:
    segment = chance.choice([s for stream in run.streams for s in stream.segments if s.after == 30])
    owner = orjson.loads(segment.frames[0][1])["username"]
    again = next(event for event in run.stored if event.id == 30 and event.username == owner)
    segment.frames.insert(0, (segment.frames[0][0], again.raw))


def swap(run: Run, chance: random.Random) -> None:
    segment, place = somewhere(run, chance)
    segment.frames[place], segment.frames[place + 1] = segment.frames[place + 1], segment.frames[place]


def other_user(run: Run, chance: random.Random) -> None:
    segment, place = somewhere(run, chance)
    owner = orjson.loads(segment.frames[place][1])["username"]
    theirs = chance.choice([event for event in run.stored if event.username != owner])
    segment.frames.insert(place, (segment.frames[place][0], theirs.raw))


def other_run(run: Run, chance: random.Random) -> None:
    stream = chance.choice([stream for stream in run.streams if stream.runs is not None])
    event = next(e for e in run.stored if e.username == stream.username and e.run_id not in (stream.runs or ()))
    stream.segments[0].frames.insert(0, (101.0, event.raw))


def change_a_byte(run: Run, chance: random.Random) -> None:
    segment, place = somewhere(run, chance)
    at, frame = segment.frames[place]
    segment.frames[place] = at, frame.replace(b'"step"', b'"stop"')


def uncommitted(run: Run, chance: random.Random) -> None:
    segment, place = somewhere(run, chance)
    at, frame = segment.frames[place]
    segment.frames.append((at, raw({**orjson.loads(frame), "id": EVENTS + 1})))


def not_json(run: Run, chance: random.Random) -> None:
    segment, place = somewhere(run, chance)
    segment.frames[place] = segment.frames[place][0], b'{"id":'


def forget_stored(run: Run, chance: random.Random) -> None:
    gone = chance.choice([event for event in run.stored if event.id == EVENTS])
    run.stored.remove(gone)


def hole_in_the_history(run: Run, chance: random.Random) -> None:
    run.stored.remove(chance.choice([event for event in run.stored if 1 < event.id < EVENTS]))


def stored_twice(run: Run, chance: random.Random) -> None:
    place = chance.randrange(len(run.stored) - 1)
    run.stored[place] = replace(run.stored[place], key=run.stored[place + 1].key)


MUTANTS: list[tuple[Callable[[Run, random.Random], None], str]] = [
    (drop, checker.LOST),
    (drop_tail, checker.LOST),
    (drop_tail_of_a_closed_one, checker.LOST),
    (drop_all, checker.LOST),
    (drop_poll, checker.LOST),
    (repeat, checker.REPEATED),
    (repeat_across_the_cursor, checker.REPEATED),
    (swap, checker.DISORDER),
    (other_user, checker.FOREIGN),
    (other_run, checker.FOREIGN),
    (change_a_byte, checker.DIFFERING),
    (uncommitted, checker.UNCOMMITTED),
    (not_json, checker.FOREIGN),
    (forget_stored, checker.NEVER_STORED),
    (hole_in_the_history, checker.HISTORY_HOLE),
    (stored_twice, checker.STORED_TWICE),
]


def test_clean_run() -> None:
    """A run in which nothing went wrong is clean."""
    verdict = Run().check()

    assert verdict.clean, verdict
    assert verdict.events == EVENTS * len(USERS)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("damage", "kind"), MUTANTS, ids=[damage.__name__ for damage, _ in MUTANTS])
def test_mutants(damage: Callable[[Run, random.Random], None], kind: str, seed: int) -> None:
    """Each kind of damage, wherever the seed puts it, is found and called by its name."""
    run = Run()
    damage(run, random.Random(seed))

    assert run.check().counts[kind] > 0


def test_kinds_are_all_planted() -> None:
    """There is a mutant for everything that the checker can find."""
    assert {kind for _, kind in MUTANTS} == set(checker.KINDS)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("username", look_alikes("7.1"))
def test_one_foreign_frame_is_noticed(username: str, seed: int) -> None:
    """Among all the frames of twenty users one that another of them should have had is counted, as exactly one."""
    chance = random.Random(seed)
    names = look_alikes("7.1")
    run = Run()
    run.stored = [event for name in names for event in feed(name)]
    run.told = []
    run.streams = [stream for name in names for stream in watchers(name, run.stored)]
    assert run.check().clean
    other = chance.choice([name for name in names if name != username])
    victim = chance.choice([stream for stream in run.streams if stream.username == username])
    theirs = chance.choice([event for event in run.stored if event.username == other])
    frames = chance.choice(victim.segments).frames
    frames.insert(chance.randrange(len(frames)), (150.0, theirs.raw))
    verdict = run.check()

    assert verdict.counts == {checker.FOREIGN: 1}
    assert verdict.frames == sum(len(part.frames) for stream in run.streams for part in stream.segments)
    assert victim.name in verdict.examples[checker.FOREIGN][0]


def test_twenty_look_alikes() -> None:
    """A row's names are twenty, valid, and what a careless comparison takes for each other is among them."""
    names = look_alikes("half-open.12")
    pairs = [(one, other) for one in names for other in names if one != other]

    assert len(set(names)) == 20
    assert all(wire.USERNAME.fullmatch(name) for name in names)
    assert any(one.lower() == other.lower() for one, other in pairs)
    assert any(one.startswith(other) for one, other in pairs)
    assert any(one.endswith(other) for one, other in pairs)
    assert any(len(one) == 128 and one[:-1] == other[:-1] for one, other in pairs)
    assert any(one.replace("0", "O") == other for one, other in pairs)
    assert {"|", "+", ".", "@", ":"} <= {sign for name in names for sign in name}


def test_who_saw_nothing_is_named() -> None:
    """A user whose sockets were shown nothing is named: their silence would pass for privacy."""
    run = Run()
    assert checker.silent(run.streams, USERS) == set()
    for stream in run.streams:
        if stream.username == "bob":
            for segment in stream.segments:
                segment.frames.clear()

    assert checker.silent(run.streams, USERS) == {"bob"}


def test_fresh_segment_begins_anew() -> None:
    """What was told to begin anew owes nothing of what was before, and everything of what comes."""
    run = Run()
    mine = [event for event in run.stored if event.username == "bob"]
    again = replace(part(mine, 140.0, 40, EVENTS, None), fresh=True)
    run.streams = [Stream("reset", "bob", segments=[part(mine, 100.0, 0, 30, 131.0), again])]

    assert run.check().clean
    del again.frames[5]
    assert run.check().counts == {checker.LOST: 1}


def test_fresh_segment_must_not_begin_too_late() -> None:
    """Whoever is told to go on behind an id must not miss what is reported after that was said."""
    run = Run()
    mine = [event for event in run.stored if event.username == "bob"]
    late = replace(part(mine, 140.0, 45, EVENTS, None), fresh=True)  # by then 40 events were reported
    run.streams = [Stream("reset", "bob", segments=[part(mine, 100.0, 0, 30, 131.0), late])]

    assert run.check().counts == {checker.LOST: 5}


def test_excused_stream_owes_no_tail() -> None:
    """A client whose line was dead owes nothing that was recorded while it was."""
    run = Run()
    mine = [event for event in run.stored if event.username == "bob"]
    segments = [part(mine, 100.0, 0, 20, 140.0), part(mine, 141.0, 20, EVENTS, None)]
    run.streams = [Stream("cut", "bob", segments=segments, excused=True)]

    assert run.check().clean
    run.streams[0].excused = False
    assert run.check().counts == {checker.LOST: 17}


def test_times() -> None:
    """What came late is found with how late it was, and when the last of it came."""
    run = Run()
    segment = run.streams[0].segments[0]
    late = segment.frames[10]
    segment.frames[10] = late[0] + 3.0, late[1]

    assert checker.slowest(run.streams[:1]) == pytest.approx(3.01)
    assert checker.caught_up(run.streams[:1], 112.0, late=0.5) == pytest.approx(2.01)
    assert checker.caught_up(run.streams[:1], 120.0, late=0.5) == 0.0
    assert checker.caught_up(Run().streams[:1], 112.0, late=0.5) == 0.0
