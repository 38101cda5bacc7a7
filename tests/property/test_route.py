"""fanout.feed and fanout.route under any interleaving: every stream is exactly the feed behind its cursor."""

import json
from collections.abc import Iterable
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fanout import feed as feed_module
from fanout import route as route_module
from fanout.feed import Feed, Group
from fanout.route import Outcome, Router
from fanout.wire import Frame, read_event

# Names that look alike: a prefix, another case, a run's name.
USERS = ("alice", "Alice", "alice2", "r1")
RUNS = ("r1", "r2", "r10")
HOLD = 0.05
FEED_BOUND = 400  # bytes; small, so that random lists reach it
HUB_BOUND = 700
RING, SPARE = 6, 2  # frames

Wanted = frozenset[str] | None
wanted = st.one_of(st.none(), st.frozensets(st.sampled_from(RUNS), min_size=1))
users = st.sampled_from(USERS)


class Member:
    """A socket, as far as the router knows, and what it got behind its cursor."""

    def __init__(self, username: str, runs: Wanted, cursor: int) -> None:
        self.username = username
        self.runs = runs
        self.group = Group(username)
        self.cursor = cursor  # up to where it has been given what it asked for, while it is being replayed to
        self.start = cursor
        self.got: list[int] = []


class Routing(RuleBasedStateMachine):
    """Sockets come and go while frames are published in any order, some twice, some never, some forged.

    History is asked as the hub asks it: a question notes what is known, its answer comes any number of steps later.
    """

    @initialize()
    def start(self) -> None:
        """A hub with history, and a log of each user's events: the run of each; index + 1 is the id."""
        self.router = Router(judged=True, hold=HOLD)
        self.now = 1.0
        self.members: list[Member] = []
        self.joining: list[tuple[Member, Feed]] = []  # they wait for a base
        self.replaying: list[tuple[Member, Feed]] = []
        self.log: dict[str, list[str]] = {name: [] for name in USERS}
        self.flying: list[tuple[list[Feed], dict[Feed, int | None], float, dict[str, int]]] = []
        self.bounds = [
            mock.patch.object(feed_module, "MAX_KEPT", FEED_BOUND),
            mock.patch.object(feed_module, "RING_FRAMES", RING),
            mock.patch.object(feed_module, "SPARE_FRAMES", SPARE),
            mock.patch.object(route_module, "MAX_KEPT", HUB_BOUND),
        ]
        for bound in self.bounds:
            bound.start()

    def teardown(self) -> None:
        """Whatever happened, history in the end tells everybody everything; then the bounds as they were."""
        try:
            if hasattr(self, "router"):
                self.everything_comes_in_the_end()
        finally:
            for bound in getattr(self, "bounds", ()):
                bound.stop()

    # Sockets.

    @rule(username=users, runs=wanted)
    def come(self, username: str, runs: Wanted) -> None:
        """A plain socket comes: in at once when there is a base, else it waits for one."""
        feed = self.router.expect(username)
        if feed.last is None:
            self.joining.append((Member(username, runs, 0), feed))
        else:
            self.join(Member(username, runs, feed.last), feed)

    @rule(username=users, runs=wanted, data=st.data())
    def resume(self, username: str, runs: Wanted, data: st.DataObject) -> None:
        """A socket comes with any cursor that the feed can have given."""
        cursor = data.draw(st.integers(0, len(self.log[username])))
        self.replaying.append((Member(username, runs, cursor), self.router.expect(username)))
        self.splice()

    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        """A socket goes, wherever it is."""
        place = data.draw(st.sampled_from(("live", "joining", "replaying")))
        if place == "live" and self.members:
            member = self.members.pop(data.draw(st.integers(0, len(self.members) - 1)))
            self.router.detach(member.username, member.group, member)
        elif place != "live":
            waiting = self.joining if place == "joining" else self.replaying
            if waiting:
                self.router.let_go(waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))[1])

    def join(self, member: Member, feed: Feed) -> None:
        """From here on it is live; its hold on the feed ends."""
        member.group = self.router.attach(member.username, member.runs, member)
        self.members.append(member)
        self.router.let_go(feed)

    def splice(self) -> None:
        """Those whose cursor the ring holds get the rest and are live."""
        for member, feed in list(self.replaying):
            rest = feed.rest(member.cursor)
            if rest is not None:
                self.replaying.remove((member, feed))
                self.give(member, [frame for frame in rest if member.runs is None or frame.run_id in member.runs])
                self.join(member, feed)

    @rule(username=users, data=st.data())
    def recall(self, username: str, data: st.DataObject) -> None:
        """A page of history, of anywhere, was read for somebody."""
        feed = self.router.feeds.get(username)
        if feed is not None:
            start = data.draw(st.integers(0, len(self.log[username])))
            feed.recall(self.frames(username, start, 9))
            self.splice()

    # What is published.

    @rule(username=users, runs=st.lists(st.sampled_from(RUNS), min_size=1, max_size=12))
    def append(self, username: str, runs: list[str]) -> None:
        """Events are committed; nothing is published yet."""
        self.log[username] += runs

    @rule(data=st.data(), later=st.sampled_from((0.0, 0.01, 0.06)))
    def publish(self, data: st.DataObject, later: float) -> None:
        """One read of Redis: some committed events, in any order, of any age, any of them again."""
        self.now += later
        events = [
            (name, number)
            for name in USERS
            for number in range(max(1, len(self.log[name]) - 15), len(self.log[name]) + 1)
        ]
        if events:
            chosen = data.draw(st.lists(st.sampled_from(events), min_size=1, max_size=20))
            self.check(self.router.route([self.message(*event) for event in chosen], self.now))

    @rule(username=users)
    def publish_all(self, username: str) -> None:
        """One read of Redis: everything of one user, in order."""
        self.check(self.router.route([self.message(username, n + 1) for n in range(len(self.log[username]))], self.now))

    @rule(username=users, beyond=st.integers(2, 2**52), head=st.booleans())
    def forge(self, username: str, beyond: int, head: bool) -> None:
        """An id, or a head, that is not there (but not the next one, which nobody can tell from a true one)."""
        number = len(self.log[username]) + beyond
        if head:
            body = {"beacon": {"epoch": "e", "api": "x", "heads": {username: number}}}
            message = [b"pmessage", b"run:*", b"run:!beacon", json.dumps(body).encode()]
        else:
            message = self.message(username, number, "r1")
        self.check(self.router.route([message], self.now))

    @rule(username=users)
    def beacon(self, username: str) -> None:
        """A beacon names a head."""
        body = {"beacon": {"epoch": "e", "api": "x", "heads": {username: len(self.log[username])}}}
        self.check(self.router.route([[b"pmessage", b"run:*", b"run:!beacon", json.dumps(body).encode()]], self.now))

    # What history says.

    @rule(later=st.sampled_from((0.001, 0.06, 3.0)))
    def ask(self, later: float) -> None:
        """A question about all feeds is sent, and answered by history in this moment; the answer is on its way."""
        self.now += later
        feeds = list(self.router.feeds.values())
        heads = {feed.username: len(self.log[feed.username]) for feed in feeds}
        self.flying.append((feeds, {feed: feed.last for feed in feeds}, self.now, heads))
        self.now += 0.001

    @rule(data=st.data(), events=st.booleans(), most=st.integers(1, 8))
    def answer(self, data: st.DataObject, events: bool, most: int) -> None:
        """One of the answers arrives: heads alone, or pages too."""
        if not self.flying:
            return
        feeds, lasts, asked_at, heads = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        for feed in feeds:
            if self.router.feeds.get(feed.username) is feed:
                last = lasts[feed]
                if events and feed.last is not None and last is not None:
                    self.page(feed, last, most, heads[feed.username])
                assert not self.router.heard(feed, heads[feed.username], last, asked_at, self.now)
        # Let in those who came before the question; the base is as old as the answer.
        for member, feed in list(self.joining):
            if feed in lasts and feed.last is not None:
                self.joining.remove((member, feed))
                member.cursor = member.start = feed.last
                self.join(member, feed)
        self.check(self.router.settle(feeds, self.now))
        self.splice()

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """An answer never arrives."""
        if self.flying:
            self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))

    @rule(most=st.integers(1, 8))
    def replay(self, most: int) -> None:
        """A page of history for each socket that is being replayed to; it may run ahead of the feed."""
        for member, feed in list(self.replaying):
            frames = self.frames(member.username, member.cursor, most)
            self.give(member, [frame for frame in frames if member.runs is None or frame.run_id in member.runs])
            if frames:
                member.cursor = frames[-1].id or 0
            if feed.last is not None and member.cursor > feed.last:
                self.check(self.router.healed(feed, frames, self.now)[1])
        self.splice()

    def page(self, feed: Feed, after: int, most: int, head: int) -> None:
        """A page for everybody, as it was when history was asked."""
        frames = [frame for frame in self.frames(feed.username, after, most) if (frame.id or 0) <= head]
        self.check(self.router.healed(feed, frames, self.now)[1])

    def frames(self, username: str, after: int, most: int) -> list[Frame]:
        """What history has behind a cursor."""
        log = self.log[username]
        return [
            Frame(username, log[number - 1], number, 0.0, self.message(username, number)[3])
            for number in range(after + 1, min(len(log), after + most) + 1)
        ]

    def message(self, username: str, number: int, run: str = "") -> list[bytes]:
        """Event `number` of `username` as Redis brings it."""
        run = run or self.log[username][number - 1]
        body = json.dumps({"id": number, "run_id": run, "username": username, "type": "a"}).encode()
        return [b"pmessage", b"run:*", f"run:{run}".encode(), body]

    # What must hold.

    def check(self, outcome: Outcome) -> None:
        """What is handed out is each member's own; each group comes once."""
        assert len({id(group) for group, _ in outcome}) == len(outcome)
        for group, frames in outcome:
            assert frames
            for member in self.of(group):
                self.give(member, frames)

    def give(self, member: Member, frames: Iterable[Frame]) -> None:
        """Frames reach a socket: the next ones that it wants, each true."""
        for frame in frames:
            assert frame.id is not None
            assert frame.username == member.username
            member.got.append(frame.id)
        expected = self.expected(member)
        assert member.got == expected[: len(member.got)], "a hole, a repeat, out of order, foreign or forged"

    def expected(self, member: Member) -> list[int]:
        """The feed behind a member's cursor, as far as it wants it."""
        log = self.log[member.username]
        return [
            number
            for number in range(member.start + 1, len(log) + 1)
            if member.runs is None or log[number - 1] in member.runs
        ]

    def of(self, group: Group) -> Iterable[Member]:
        """The members of a group, each of which is really there."""
        for member in group.members:
            assert isinstance(member, Member)
            assert member in self.members
            yield member

    def everything_comes_in_the_end(self) -> None:
        """When history answers at last, every socket has exactly the feed behind its cursor, and nothing is missing."""
        self.flying.clear()
        for _ in range(2 + max(map(len, self.log.values())) // 4):
            self.ask(3.0)
            feeds, lasts, asked_at, heads = self.flying.pop()
            self.flying.append((feeds, lasts, asked_at, heads))
            self.answer_now()
            self.replay(8)
        for member in self.members:
            assert member.got == self.expected(member)
        assert (self.joining, self.replaying) == ([], [])
        assert (self.router.behind, self.router.due_at()) == ({}, None)

    def answer_now(self) -> None:
        """The last answer arrives at once, with pages."""
        feeds, lasts, asked_at, heads = self.flying.pop()
        for feed in feeds:
            last = lasts[feed]
            if last is not None:
                self.page(feed, last, 8, heads[feed.username])
        self.flying.append((feeds, lasts, asked_at, heads))
        for feed in feeds:
            assert not self.router.heard(feed, heads[feed.username], lasts[feed], asked_at, self.now)
        for member, feed in list(self.joining):
            if feed.last is not None:
                self.joining.remove((member, feed))
                member.cursor = member.start = feed.last
                self.join(member, feed)
        self.check(self.router.settle(feeds, self.now))
        self.splice()
        self.flying.clear()

    @invariant()
    def bounded(self) -> None:
        """What is kept is within the bounds, and the sums are true."""
        if not hasattr(self, "router"):
            return
        feeds = self.router.feeds.values()
        for feed in feeds:
            assert feed.kept_bytes == sum(len(frame.payload) for _, frame in feed.kept.values()) <= FEED_BOUND
            assert feed.ring_bytes == sum(map(len, feed.ring))
            assert len(feed.ring) <= RING + SPARE
            assert not feed.ready
            if feed.last is not None:
                held = [read_event(feed.username, payload).id for payload in feed.ring]
                assert held == list(range(feed.last - len(held) + 1, feed.last + 1))
                assert (feed.since is not None) == bool(feed.kept or feed.goal > feed.last)
        assert self.router.kept_bytes == sum(feed.kept_bytes for feed in feeds) <= HUB_BOUND
        assert set(self.router.behind) == {feed for feed in feeds if feed.since is not None}

    @invariant()
    def nothing_left_behind(self) -> None:
        """There is a feed and a group for whoever is there, and for nobody else."""
        if not hasattr(self, "router"):
            return
        waiting = [member for member, _ in self.joining + self.replaying]
        assert set(self.router.feeds) == {member.username for member in self.members + waiting}
        for name, feed in self.router.feeds.items():
            assert {runs for runs, _ in feed.groups} == {
                member.runs for member in self.members if member.username == name
            }


Routing.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestRouting = Routing.TestCase
