"""fanout.route under any interleaving: never the wrong user, a repeat, out of order, or beyond the bound."""

import json
from collections.abc import Iterable
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fanout import feed as feed_module
from fanout import route as route_module
from fanout.feed import Group
from fanout.route import Outcome, Router

# Names that look alike: a prefix, another case, a run's name.
USERS = ("alice", "Alice", "alice2", "r1")
RUNS = ("r1", "r2", "r10")
HOLD = 0.05
FEED_BOUND = 400  # bytes; small, so that random lists reach it
HUB_BOUND = 700

Wanted = frozenset[str] | None
wanted = st.one_of(st.none(), st.frozensets(st.sampled_from(RUNS), min_size=1))


class Member:
    """A socket, as far as the router knows, and what it got."""

    def __init__(self, username: str, runs: Wanted, group: Group) -> None:
        self.username = username
        self.runs = runs
        self.group = group
        self.got: list[int] = []


class Routing(RuleBasedStateMachine):
    """Sockets come and go while frames of several feeds are published in any order, some twice, some never."""

    @initialize()
    def start(self) -> None:
        """A hub with history, and a log of each user's events: run and id."""
        self.router = Router(judged=True, hold=HOLD)
        self.now = 0.0
        self.members: list[Member] = []
        self.log: dict[str, list[str]] = {name: [] for name in USERS}  # index + 1 is the id
        self.bounds = [
            mock.patch.object(feed_module, "MAX_KEPT", FEED_BOUND),
            mock.patch.object(route_module, "MAX_KEPT", HUB_BOUND),
        ]
        for bound in self.bounds:
            bound.start()

    def teardown(self) -> None:
        """The bounds as they were."""
        for bound in getattr(self, "bounds", ()):
            bound.stop()

    @rule(username=st.sampled_from(USERS), runs=wanted)
    def attach(self, username: str, runs: Wanted) -> None:
        """A socket comes."""
        member = Member(username, runs, Group(None))
        member.group = self.router.attach(username, runs, member)
        self.members.append(member)

    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        """A socket goes."""
        if self.members:
            member = self.members.pop(data.draw(st.integers(0, len(self.members) - 1)))
            self.router.detach(member.username, member.group, member)

    @rule(username=st.sampled_from(USERS), runs=st.lists(st.sampled_from(RUNS), min_size=1, max_size=12))
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

    @rule(username=st.sampled_from(USERS))
    def publish_all(self, username: str) -> None:
        """One read of Redis: everything of one user, in order."""
        self.check(self.router.route([self.message(username, n + 1) for n in range(len(self.log[username]))], self.now))

    @rule(later=st.sampled_from((0.01, 0.06)))
    def wait(self, later: float) -> None:
        """Time passes; what is due is given up."""
        self.now += later
        due = self.router.due()
        if due is not None and due <= self.now:
            self.check(self.router.expire(self.now))
            after = self.router.due()
            assert after is None or after > self.now

    def message(self, username: str, number: int) -> list[bytes]:
        """Event `number` of `username` as Redis brings it."""
        run = self.log[username][number - 1]
        body = json.dumps({"id": number, "run_id": run, "username": username, "type": "a"}).encode()
        return [b"pmessage", b"run:*", f"run:{run}".encode(), body]

    def check(self, outcome: Outcome) -> None:
        """What is handed out is each member's own, wanted, new and in order; each group comes once."""
        assert len({id(group) for group, _ in outcome}) == len(outcome)
        for group, frames in outcome:
            assert frames
            for member in self.of(group):
                for frame in frames:
                    assert frame.id is not None
                    assert frame.username == member.username
                    assert frame.run_id == self.log[member.username][frame.id - 1]
                    assert member.runs is None or frame.run_id in member.runs
                    assert not member.got or frame.id > member.got[-1], "repeated or out of order"
                    member.got.append(frame.id)

    def of(self, group: Group) -> Iterable[Member]:
        """The members of a group, each of which is really there."""
        for member in group.members:
            assert isinstance(member, Member)
            assert member in self.members
            yield member

    @invariant()
    def bounded(self) -> None:
        """What is kept is within the bounds, and the sums are true."""
        if not hasattr(self, "router"):
            return
        feeds = self.router.feeds.values()
        for feed in feeds:
            assert feed.kept_bytes == sum(len(frame.payload) for _, frame in feed.kept.values()) <= FEED_BOUND
            assert not feed.ready
        assert self.router.kept_bytes == sum(feed.kept_bytes for feed in feeds) <= HUB_BOUND
        assert set(self.router.holding) == {feed for feed in feeds if feed.kept}

    @invariant()
    def nothing_left_behind(self) -> None:
        """There is a feed and a group for whoever is there, and for nobody else."""
        if not hasattr(self, "router"):
            return
        assert set(self.router.feeds) == {member.username for member in self.members}
        for name, feed in self.router.feeds.items():
            assert set(feed.groups) == {member.runs for member in self.members if member.username == name}


Routing.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRouting = Routing.TestCase
