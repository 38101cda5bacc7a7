"""fanout.route: who gets what."""

import json

import pytest

from fanout import route as module
from fanout.feed import Group
from fanout.route import Outcome, Router
from fanout.wire import Frame


def message(run: str, username: str, number: int | None = None, **more: object) -> list[bytes]:
    """A message as the Redis reader gives it."""
    body = {"run_id": run, "username": username, **({} if number is None else {"id": number}), **more}
    return [b"pmessage", b"run:*", f"run:{run}".encode(), json.dumps(body).encode()]


def beacon(epoch: str, **more: object) -> list[bytes]:
    """A beacon of `epoch`."""
    return [b"pmessage", b"run:*", b"run:!beacon", json.dumps({"beacon": {"epoch": epoch, **more}}).encode()]


def watch(router: Router, username: str, member: object, base: int = 0) -> Group:
    """Attach to all runs of a user whose feed has a base."""
    feed = router.expect(username)
    if feed.last is None:
        router.heard(feed, base, None, 0.0, 0.0)
    group = router.attach(username, None, member)
    router.let_go(feed)
    return group


def received(outcome: Outcome) -> dict[object, list[tuple[str, int | None]]]:
    """member -> (run, id) of each frame, in order."""
    result: dict[object, list[tuple[str, int | None]]] = {}
    for group, frames in outcome:
        for member in group.members:
            result.setdefault(member, []).extend((frame.run_id, frame.id) for frame in frames)
    return result


def live() -> Router:
    """A router that does not judge ids."""
    return Router(judged=False, hold=0.05)


def judging() -> Router:
    """A router that does."""
    return Router(judged=True, hold=0.05)


def test_own_user_only() -> None:
    """route gives a frame to the sockets of its user and to nobody else's."""
    router = live()
    router.attach("alice", None, "a")
    router.attach("Alice", None, "b")

    outcome = router.route([message("r1", "alice"), message("r1", "alice ")], 0.0)

    assert received(outcome) == {"a": [("r1", None)]}


def test_nobody_watches() -> None:
    """route forgets frames of users that nobody watches: no feed, nothing kept, nothing counted as dropped."""
    router = judging()

    assert router.route([message("r1", "bob", 5), message("r1", "bob", 9)], 0.0) == []
    assert (router.feeds, router.kept_bytes, router.messages) == ({}, 0, 2)
    assert set(router.dropped.values()) == {0}


def test_runs_filter() -> None:
    """route gives a socket with filters the frames of those runs only."""
    router = live()
    router.attach("alice", frozenset({"r1", "r3"}), "a")
    router.attach("alice", None, "b")

    outcome = router.route([message(run, "alice") for run in ("r1", "r2", "r3", "r1")], 0.0)

    assert received(outcome) == {
        "a": [("r1", None), ("r3", None), ("r1", None)],
        "b": [("r1", None), ("r2", None), ("r3", None), ("r1", None)],
    }


def test_filter_that_matches_nothing() -> None:
    """route names no group that has nothing to receive."""
    router = live()
    router.attach("alice", frozenset({"r9"}), "a")

    assert router.route([message("r1", "alice")], 0.0) == []


def test_one_group_for_the_same_runs() -> None:
    """attach puts sockets that want the same runs, in whatever order they were named, into one group."""
    router = live()
    first = router.attach("alice", frozenset(["r1", "r2"]), "a")
    second = router.attach("alice", frozenset(["r2", "r1"]), "b")

    assert first is second
    assert len(router.route([message("r1", "alice")] * 3, 0.0)) == 1


def test_detach() -> None:
    """detach takes a socket out; the last one takes its group and its feed along."""
    router = live()
    everything = router.attach("alice", None, "a")
    some = router.attach("alice", frozenset({"r1"}), "b")
    router.detach("alice", everything, "a")
    assert received(router.route([message("r1", "alice")], 0.0)) == {"b": [("r1", None)]}

    router.detach("alice", some, "b")
    assert router.feeds == {}


def test_detach_twice() -> None:
    """detach of a socket that has left does not touch a feed that began anew."""
    router = live()
    old = router.attach("alice", None, "a")
    router.detach("alice", old, "a")
    router.attach("alice", None, "b")
    router.detach("alice", old, "a")

    assert received(router.route([message("r1", "alice")], 0.0)) == {"b": [("r1", None)]}


def test_feed_begins_anew() -> None:
    """A feed that everybody left remembers nothing when somebody comes back."""
    router = judging()
    router.detach("alice", watch(router, "alice", "a"), "a")
    group = watch(router, "alice", "a", 8)
    router.route([message("r1", "alice", 9), message("r1", "alice", 11)], 0.0)
    router.detach("alice", group, "a")
    assert (router.kept_bytes, router.behind, router.due_at(), router.feeds) == (0, {}, None, {})
    watch(router, "alice", "b", 2)

    assert received(router.route([message("r1", "alice", 3)], 0.0)) == {"b": [("r1", 3)]}


def test_expected_feed_stays() -> None:
    """A feed stays, and keeps what comes, while somebody is about to join it; with the last of them it goes."""
    router = judging()
    feed = router.expect("alice")
    assert router.expect("alice") is feed
    router.let_go(feed)
    router.route([message("r1", "alice", 5)], 0.0)
    assert (list(feed.kept), router.kept_bytes > 0, router.due_at()) == ([5], True, None)

    router.let_go(feed)
    assert (router.feeds, router.kept_bytes) == ({}, 0)


def test_those_who_waited_get_what_was_kept() -> None:
    """What came between the question for the base and its answer is handed out once those who waited are in."""
    router = judging()
    feed = router.expect("alice")
    router.route([message("r1", "alice", n) for n in (7, 8, 9)], 1.0)
    router.heard(feed, 8, None, 0.5, 1.1)
    router.attach("alice", None, "a")
    router.let_go(feed)

    assert received(router.settle([feed], 1.1)) == {"a": [("r1", 9)]}
    assert (router.kept_bytes, router.behind) == (0, {})


def test_order_within_one_read() -> None:
    """route puts frames of one read that came in the wrong order right, and delivers them together."""
    router = judging()
    watch(router, "alice", "a")

    outcome = router.route([message("r1", "alice", number) for number in (1, 3, 2, 2, 4)], 0.0)

    assert received(outcome) == {"a": [("r1", 1), ("r1", 2), ("r1", 3), ("r1", 4)]}
    assert (router.jumps, router.dropped["repeat"], router.kept_bytes, router.behind) == (1, 1, 0, {})


def test_due() -> None:
    """due names the feeds whose hold has passed, and due_at when the first one's will have."""
    router = judging()
    for name in ("alice", "bob"):
        watch(router, name, name)
    router.route([message("r1", "alice", 1), message("r2", "bob", 1), message("r2", "bob", 3)], 10.0)
    router.route([message("r1", "alice", 3)], 10.02)

    assert router.due_at() == pytest.approx(10.05)
    assert router.due(10.04, 9) == []
    assert [feed.username for feed in router.due(10.06, 9)] == ["bob"]
    assert [feed.username for feed in router.due(10.08, 9)] == ["bob", "alice"]
    assert [feed.username for feed in router.due(10.08, 1)] == ["bob"]


def test_healed() -> None:
    """A page closes a hole: what was kept behind it goes out with it, and the sums are true."""
    router = judging()
    watch(router, "alice", "a")
    router.route([message("r1", "alice", 1), message("r1", "alice", 3)], 0.0)
    found, outcome = router.healed(router.feeds["alice"], [Frame("alice", "r2", 2, 0.0, b"{}")], 1.0)

    assert (found, received(outcome)) == (1, {"a": [("r2", 2), ("r1", 3)]})
    assert (router.kept_bytes, router.behind, router.due_at()) == (0, {}, None)


def test_hub_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """route forgets what a feed keeps when all feeds together would keep more than the bound; history has it."""
    monkeypatch.setattr(module, "MAX_KEPT", 150)
    router = judging()
    for name in ("alice", "bob"):
        watch(router, name, name)
    router.route([message("r1", "alice", 1), message("r2", "bob", 1), message("r1", "alice", 3, x="y" * 70)], 0.0)
    assert router.kept_bytes > 75

    outcome = router.route([message("r2", "bob", 3, x="y" * 70)], 0.0)

    assert received(outcome) == {}
    assert (router.kept_bytes <= 150, router.dropped["forgotten"], router.feeds["bob"].goal) == (True, 1, 3)
    assert {feed.username for feed in router.behind} == {"alice", "bob"}


def test_lies_are_counted() -> None:
    """An id that history denies is dropped, counted and noted."""
    router = judging()
    watch(router, "alice", "a", 5)
    router.route([message("r1", "alice", 99)], 1.0)
    router.heard(router.feeds["alice"], 5, 5, 2.0, 2.1)

    assert (router.dropped["forged"], router.kept_bytes, router.behind) == (1, 0, {})
    assert [note[1:] for note in router.notes] == [("alice", 99, "kept"), ("alice", 99, "forged")]


def test_garbage_is_counted() -> None:
    """route drops what it cannot read, counts it by reason, and delivers the rest of the same read."""
    router = live()
    router.attach("alice", None, "a")
    garbage = [[b"pmessage", b"run:*", b"run:r1", payload] for payload in (b"garbage", b"x" * (1 << 20) + b"x")]

    outcome = router.route(
        [*garbage, [*message("r1", "alice")[:2], b"run:r2", message("r1", "alice")[3]], message("r1", "alice")], 0.0
    )

    assert received(outcome) == {"a": [("r1", None)]}
    assert {reason: count for reason, count in router.dropped.items() if count} == {
        "malformed": 1,
        "too_big": 1,
        "wrong_channel": 1,
    }


def test_beacon_is_no_frame() -> None:
    """route notes when a beacon came and delivers it to nobody; a broken one is counted."""
    router = live()
    router.attach("alice", None, "a")

    assert router.route([beacon("e1"), [b"pmessage", b"run:*", b"run:!beacon", b"garbage"]], 3.0) == []
    assert (router.beacon_at, router.dropped["malformed"]) == (3.0, 1)


def test_beacon_heads_are_hints() -> None:
    """A head in a beacon makes a watched feed due after the hold; others are forgotten."""
    router = judging()
    watch(router, "alice", "a", 5)
    router.route([beacon("e1", api="x", heads={"alice": 5, "bob": 9})], 1.0)
    assert router.due_at() is None
    router.route([beacon("e1", api="x", heads={"alice": 7})], 2.0)

    assert router.due_at() == pytest.approx(2.05)
    assert (router.beacons, list(router.feeds)) == ({"x": 2.0}, ["alice"])


def test_beacon_of_another_epoch_is_only_a_suspicion() -> None:
    """A beacon of another epoch than history's changes no feed: it is a reason to ask."""
    router = judging()
    watch(router, "alice", "a", 5)
    router.epoch = "e1"
    outcome = router.route([beacon("e2", heads={"alice": 900}), message("r1", "alice", 6)], 1.0)

    assert received(outcome) == {"a": [("r1", 6)]}
    assert (router.suspect, router.epoch, router.due_at()) == (True, "e1", None)


def test_goodbye() -> None:
    """An API process that says goodbye is not expected to speak any more; forged names do not add up."""
    router = judging()
    router.route([beacon("e", api=f"x{n}") for n in range(1000)], 1.0)
    assert len(router.beacons) == module.MAX_BEACONS
    router.route([beacon("e", api="x0", bye=True)], 1.0)

    assert (len(router.beacons), "x0" in router.beacons) == (module.MAX_BEACONS - 1, False)


def test_reset() -> None:
    """reset goes on from a head, or keeps what comes until it is known; the sums are true."""
    router = judging()
    watch(router, "alice", "a", 5)
    feed = router.feeds["alice"]
    router.route([message("r1", "alice", 8)], 1.0)
    router.reset(feed, None, 1.0)
    assert (router.kept_bytes, router.behind) == (0, {})
    assert received(router.route([message("r1", "alice", 2), message("r1", "alice", 3)], 1.1)) == {}
    router.heard(feed, 2, None, 1.05, 1.2)

    assert received(router.settle([feed], 1.2)) == {"a": [("r1", 3)]}
    router.reset(feed, 70, 1.3)
    assert received(router.route([message("r1", "alice", 71)], 1.4)) == {"a": [("r1", 71)]}


def test_encodings_are_groups_of_their_own() -> None:
    """Those who get other bytes are in another group; the feed goes with the last of them."""
    router = live()
    groups = [router.attach("alice", None, n, n) for n in range(3)]
    assert [group.encoding for group, _ in router.route([message("r1", "alice")], 0.0)] == [0, 1, 2]

    for member, group in enumerate(groups):
        router.detach("alice", group, member)
    assert router.feeds == {}
