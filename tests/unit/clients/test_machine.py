"""runfeed.core.machine: what the golden vectors do not say, and its bounds."""

from __future__ import annotations

from runfeed.core.actions import Connect
from runfeed.core.machine import Machine
from runfeed.core.order import KEPT, Order
from runfeed.core.protocol import RUN_FILTERS, may_filter
from runfeed.core.subscription import FEED, WAITING, Subscription
from tests.unit.clients.player import Player, event


def test_polls_alone() -> None:
    """Where nothing can be opened the machine polls, opens nothing, and is never due at a time that has passed."""
    player = Player()
    player.machine = Machine(kinds=(), chance=lambda: 0.5)
    player.play({"at": 0, "watch": "r1"})
    player.play({"at": 20, "answer": {"events": ["1"], "head": 1, "run": "running"}})

    assert player.machine.due == 4020
    assert player.play({"at": 4020, "pass": True}) == ["@4020 get feed runs=r1 after=1 epoch=E cause=ws_never"]


def test_far_numbers() -> None:
    """A stream that fails for days still has a wait of at most half a minute."""
    machine = Machine(chance=lambda: 1.0)
    machine.watch(0, "r1", None)
    now = 1000.0
    for _ in range(2000):
        machine.tick(now)
        opened = [action for action in machine.actions() if isinstance(action, Connect)]
        machine.closed(now, 1006, "")
        assert len(opened) == 1
        assert machine.link.retry_at - now <= 30_000
        now = machine.link.retry_at


def test_order_is_bounded() -> None:
    """Behind a hole 1,000 events are kept; the rest is forgotten, and a hole remains until it came some other way."""
    order = Order()
    order.begin(0)
    for number in range(2, 3 * KEPT):
        assert order.arrive(number, event(str(number))) == []

    assert [each["id"] for each in order.arrive(1, event("1"))] == list(range(1, KEPT + 2))
    assert not order.hole
    assert order.arrive(3 * KEPT, event(str(3 * KEPT))) == []
    assert order.hole
    assert [each["id"] for each in order.advance(3 * KEPT - 1)] == [3 * KEPT]


def test_waiting_is_bounded() -> None:
    """While a history is read 5,000 events wait; beyond that they are forgotten, and the history is to be read on."""
    subscription = Subscription("r1", 0, 0, 0)
    for number in range(1, WAITING + 2):
        assert not subscription.take(event(str(number)))

    assert subscription.complete(1) is None
    assert subscription.needs == WAITING + 1
    assert subscription.complete(WAITING + 1) == []


def test_filter_is_bounded() -> None:
    """A poll names its runs only while its line stays within what the API reads; else it asks for all of them."""
    assert may_filter(["r1", "r2"])
    assert may_filter([f"r{n}" for n in range(RUN_FILTERS)])
    assert not may_filter([f"r{n}" for n in range(RUN_FILTERS + 1)])
    assert may_filter([str(n).ljust(128, ":") for n in range(14)])
    assert not may_filter([str(n).ljust(128, ":") for n in range(60)])
    assert not may_filter(["r1", FEED])


def test_feed_takes_all() -> None:
    """The whole feed's subscription wants the events of every run, and no event ends it."""
    subscription = Subscription(FEED, 0, 0, 0)
    subscription.complete(0)

    assert subscription.take(event("1 r1 workflow_completed"))
    assert subscription.take(event("2 r2"))
    assert not subscription.ended
