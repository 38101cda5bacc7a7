"""runfeed.core.machine: what the golden vectors do not say, in their notation. And its bounds."""

from __future__ import annotations

from typing import Any

import pytest

from runfeed.core.actions import Connect
from runfeed.core.machine import Machine
from runfeed.core.order import KEPT, Order
from runfeed.core.subscription import FEED, WAITING, Subscription
from tests.unit.clients.player import Player, event
from tests.unit.clients.test_vectors import played

STEPS: dict[str, tuple[str | None, list[dict[str, Any]]]] = {
    "A frame whose id is null has none.": (
        "live",
        [
            {"at": 1000, "text": '{"id":null,"run_id":"r1","username":"u","type":"step"}', "out": ["event r1 None"]},
            {"at": 1010, "frame": "3", "out": ["event r1 3"]},
        ],
    ),
    "A feed that is watched while a poll for some runs is on its way misses nothing of the others.": (
        "live",
        [
            {"at": 4041, "pass": True, "out": ["@4041 get feed runs=r1 after=2 epoch=E cause=ws_idle"]},
            {"at": 4042, "watch": "", "out": ["loaded feed"]},
            {
                "at": 4050,
                "answer": {"events": ["4"], "head": 4},
                "out": ["event r1 4", "get feed after=2 epoch=E"],
            },
            {
                "at": 4060,
                "answer": {"events": ["3 r2", "4"], "head": 4},
                "out": ["event feed 3", "event feed 4", "loaded feed"],
            },
        ],
    ),
    "Two requests that went with the old token cost one renewal, and no failure.": (
        None,
        [
            {"at": 0, "watch": "r1", "out": ["get r1 after=0"]},
            {"at": 1, "watch": "r2", "out": ["get r2 after=0"]},
            {"at": 20, "answer": {"status": 401}, "out": ["renew", "connect websocket", "get r1 after=0"]},
            {"at": 21, "answer": {"status": 401}, "out": ["get r2 after=0"]},
            {"at": 30, "answer": {"status": 401}, "out": ["disconnect", "fail http 401"]},
        ],
    ),
    "A socket that was opened with the old token and is closed for it comes back with the new one.": (
        "live",
        [
            {"at": 4041, "pass": True, "out": ["@4041 get feed runs=r1 after=2 epoch=E cause=ws_idle"]},
            {"at": 4050, "answer": {"status": 401}, "out": ["renew"]},
            {"at": 4060, "close": [4401, "expired"], "out": []},
            {"at": 4310, "pass": True, "out": ["@4310 connect websocket after=2 epoch=E"]},
            {"at": 4320, "close": [4401, "expired"], "out": ["fail refused 4401"]},
        ],
    ),
    "A socket that opened had a good token: the next refusal is answered with another.": (
        "live",
        [
            {"at": 1000, "close": [4401, "expired"], "out": ["renew"]},
            {"at": 1250, "pass": True, "out": ["@1250 connect websocket after=2 epoch=E"]},
            {"at": 1260, "control": {"type": "connected", "head": 2, "epoch": "E"}, "out": []},
            {"at": 2000, "close": [4401, "expired"], "out": ["renew"]},
        ],
    ),
    "A socket of another numbering that knows no head is closed, and the next one is opened.": (
        None,
        [
            {"at": 0, "watch": "r1", "out": ["get r1 after=0"]},
            {"at": 500, "pass": True, "out": ["@500 connect websocket"]},
            {
                "at": 510,
                "answer": {"events": ["1"], "head": 1, "run": "running"},
                "out": ["event r1 1", "loaded r1 running"],
            },
            {
                "at": 520,
                "control": {"type": "connected", "head": None, "epoch": "F"},
                "out": ["reset r1 epoch=F head=null", "disconnect", "get r1 after=0"],
            },
            {
                "at": 540,
                "answer": {"epoch": "F", "events": ["1"], "head": 1, "run": "running"},
                "out": ["event r1 1", "loaded r1 running", "connect websocket after=1 epoch=F"],
            },
        ],
    ),
    "Nothing is asked after the end.": (
        "never",
        [{"at": 61000, "refresh": True, "out": []}, {"at": 62000, "watch": "r2", "out": []}],
    ),
    "An event of a type that is a word of some language ends no run.": (
        "live",
        [
            {"at": 1000, "frame": "3 r1 constructor", "out": ["event r1 3 constructor"]},
            {"at": 5000, "pass": True, "out": ["@5000 get feed runs=r1 after=3 epoch=E cause=ws_idle"]},
        ],
    ),
}


@pytest.mark.parametrize("claim", STEPS)
def test_steps(claim: str) -> None:
    """The machine says and does what stands here."""
    follows, steps = STEPS[claim]
    player = played(follows)

    for step in steps:
        assert {**step, "out": player.play(step)} == step


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


def test_feed_takes_all() -> None:
    """The whole feed's subscription wants the events of every run, and no event ends it."""
    subscription = Subscription(FEED, 0, 0, 0)
    subscription.complete(0)

    assert subscription.take(event("1 r1 workflow_completed"))
    assert subscription.take(event("2 r2"))
    assert not subscription.ended
