"""fanout.route: who gets what."""

import json

import pytest

from fanout import route as module
from fanout.route import Outcome, Router


def message(run: str, username: str, number: int | None = None, **more: object) -> list[bytes]:
    """A message as the Redis reader gives it."""
    body = {"run_id": run, "username": username, **({} if number is None else {"id": number}), **more}
    return [b"pmessage", b"run:*", f"run:{run}".encode(), json.dumps(body).encode()]


def beacon(epoch: str) -> list[bytes]:
    """A beacon of `epoch`."""
    return [b"pmessage", b"run:*", b"run:!beacon", json.dumps({"beacon": {"epoch": epoch}}).encode()]


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
    router.detach("alice", router.attach("alice", None, "a"), "a")
    group = router.attach("alice", None, "a")
    router.route([message("r1", "alice", 9)], 0.0)
    router.detach("alice", group, "a")
    router.attach("alice", None, "b")

    assert received(router.route([message("r1", "alice", 3)], 0.0)) == {"b": [("r1", 3)]}


def test_order_within_one_read() -> None:
    """route puts frames of one read that came in the wrong order right, and delivers them together."""
    router = judging()
    router.attach("alice", None, "a")

    outcome = router.route([message("r1", "alice", number) for number in (1, 3, 2, 2, 4)], 0.0)

    assert received(outcome) == {"a": [("r1", 1), ("r1", 2), ("r1", 3), ("r1", 4)]}
    assert (router.jumps, router.dropped["repeat"], router.kept_bytes, router.holding) == (1, 1, 0, {})


def test_hold() -> None:
    """expire delivers what a jump kept once the hold has passed, and counts the jump as given up."""
    router = judging()
    router.attach("alice", None, "a")
    router.route([message("r1", "alice", 1), message("r1", "alice", 3)], 10.0)
    assert router.due() == pytest.approx(10.05)
    assert router.expire(10.04) == []

    assert received(router.expire(10.051)) == {"a": [("r1", 3)]}
    assert (router.jumps_given_up, router.kept_bytes, router.due()) == (1, 0, None)


def test_due_is_the_earliest() -> None:
    """due names the oldest of all holds."""
    router = judging()
    for name in ("alice", "bob"):
        router.attach(name, None, name)
    router.route([message("r1", "alice", 1), message("r2", "bob", 1), message("r2", "bob", 3)], 10.0)
    router.route([message("r1", "alice", 3)], 10.02)

    assert router.due() == pytest.approx(10.05)
    assert received(router.expire(10.06)) == {"bob": [("r2", 3)]}
    assert router.due() == pytest.approx(10.07)


def test_detach_while_holding() -> None:
    """detach of a feed that keeps something gives its bytes back and leaves no hold behind."""
    router = judging()
    group = router.attach("alice", None, "a")
    router.route([message("r1", "alice", 1), message("r1", "alice", 3)], 0.0)
    router.detach("alice", group, "a")

    assert (router.kept_bytes, router.holding, router.due()) == (0, {}, None)


def test_hub_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """route takes a feed's jump when all feeds together would keep more than the bound."""
    monkeypatch.setattr(module, "MAX_KEPT", 150)
    router = judging()
    for name in ("alice", "bob"):
        router.attach(name, None, name)
    router.route([message("r1", "alice", 1), message("r2", "bob", 1), message("r1", "alice", 3, x="y" * 70)], 0.0)
    assert router.kept_bytes > 75

    outcome = router.route([message("r2", "bob", 3, x="y" * 70)], 0.0)

    assert received(outcome) == {"bob": [("r2", 3)]}
    assert (router.kept_bytes <= 150, router.jumps_given_up, list(router.holding)) == (True, 1, [router.feeds["alice"]])


def test_garbage_is_counted() -> None:
    """route drops what it cannot read, counts it by reason, and delivers the rest of the same read."""
    router = live()
    router.attach("alice", None, "a")
    garbage = [[b"pmessage", b"run:*", b"run:r1", payload] for payload in (b"garbage", b"x" * (1 << 20) + b"x")]

    outcome = router.route(
        [*garbage, [*message("r1", "alice")[:2], b"run:r2", message("r1", "alice")[3]], message("r1", "alice")], 0.0
    )

    assert received(outcome) == {"a": [("r1", None)]}
    assert router.dropped == {"malformed": 1, "too_big": 1, "wrong_channel": 1, "repeat": 0}


def test_beacon_is_no_frame() -> None:
    """route notes when a beacon came and delivers it to nobody; a broken one is counted."""
    router = live()
    router.attach("alice", None, "a")

    assert router.route([beacon("e1"), [b"pmessage", b"run:*", b"run:!beacon", b"garbage"]], 3.0) == []
    assert (router.beacon_at, router.dropped["malformed"]) == (3.0, 1)


def test_new_epoch_forgets_bases() -> None:
    """A beacon of another epoch lets a reloaded database count from 1 again; what was kept is delivered first."""
    router = judging()
    router.attach("alice", None, "a")
    router.route([beacon("e1"), message("r1", "alice", 700), message("r1", "alice", 702)], 0.0)

    outcome = router.route([beacon("e2"), message("r1", "alice", 1), message("r1", "alice", 2)], 0.0)

    assert received(outcome) == {"a": [("r1", 702), ("r1", 1), ("r1", 2)]}
    assert (router.kept_bytes, router.holding) == (0, {})


def test_same_epoch_keeps_bases() -> None:
    """Beacons of one epoch, and the very first one, change nothing: a repeat stays a repeat."""
    router = judging()
    router.attach("alice", None, "a")

    outcome = router.route(
        [message("r1", "alice", 7), beacon("e1"), message("r1", "alice", 7), beacon("e1"), message("r1", "alice", 7)],
        0.0,
    )

    assert received(outcome) == {"a": [("r1", 7)]}
