"""fanout.feed: one user's order."""

import pytest

from fanout import feed as module
from fanout.feed import Feed
from fanout.wire import Frame

HOLD = 0.05


def frame(number: int | None, size: int = 10) -> Frame:
    """Frame `number` of alice, `size` bytes."""
    return Frame("alice", "r1", number, 0.0, b"x" * size)


def ids(feed: Feed) -> list[int | None]:
    """What is ready, by id; it is taken."""
    ready, feed.ready = feed.ready, []
    return [each.id for each in ready]


def judged(*numbers: int | None) -> Feed:
    """A feed that was offered `numbers` at time 0."""
    feed = Feed("alice", judged=True)
    for number in numbers:
        feed.offer(frame(number), 0.0)
    return feed


def test_next() -> None:
    """offer makes the next id ready at once, the first one being the base."""
    assert ids(judged(41, 42, 43)) == [41, 42, 43]


def test_repeat() -> None:
    """offer drops an id that is not newer than the last."""
    feed = judged(5, 6)

    assert [feed.offer(frame(number), 0.0) for number in (6, 5, 1)] == ["repeat"] * 3
    assert ids(feed) == [5, 6]


def test_jump_closes() -> None:
    """offer keeps a jump and makes it ready, in order, when the hole closes."""
    feed = judged(1, 4, 3)
    assert ids(feed) == [1]
    assert feed.kept_bytes == 20

    assert feed.offer(frame(2), 0.01) == "ready"
    assert ids(feed) == [2, 3, 4]
    assert feed.kept_bytes == 0
    assert feed.due(HOLD) is None


def test_repeat_of_kept() -> None:
    """offer drops an id that is kept already."""
    feed = judged(1, 3)

    assert feed.offer(frame(3), 0.0) == "repeat"
    assert feed.kept_bytes == 10


def test_no_id() -> None:
    """offer passes a frame without an id on at once, even over a hole."""
    assert ids(judged(1, 3, None)) == [1, None]


def test_not_judged() -> None:
    """offer passes everything on as it came when ids are not judged."""
    feed = Feed("alice", judged=False)
    for number in (5, 5, 1, 9, None):
        assert feed.offer(frame(number), 0.0) == "ready"

    assert ids(feed) == [5, 5, 1, 9, None]


def test_hold_not_over() -> None:
    """expire takes no jump before its hold has passed."""
    feed = judged(1, 3)
    feed.expire(HOLD - 0.001, HOLD)

    assert ids(feed) == [1]
    assert feed.due(HOLD) == HOLD


def test_hold_over() -> None:
    """expire takes a jump whose hold has passed, in order, and counts it once."""
    feed = judged(1, 4, 3)
    feed.expire(HOLD, HOLD)

    assert ids(feed) == [1, 3, 4]
    assert feed.given_up == 1
    assert feed.offer(frame(2), 0.06) == "repeat"


def test_young_hole_stays() -> None:
    """expire leaves a younger hole behind the one it takes, with that hole's own hold."""
    feed = judged(1, 3)
    feed.offer(frame(5), 0.03)
    feed.expire(HOLD, HOLD)

    assert ids(feed) == [1, 3]
    assert feed.due(HOLD) == pytest.approx(0.08)
    assert feed.offer(frame(4), 0.06) == "ready"
    assert ids(feed) == [4, 5]


def test_two_old_holes() -> None:
    """expire takes every hole whose hold has passed, and counts each."""
    feed = judged(1, 5, 3, 9)
    feed.expire(HOLD, HOLD)

    assert ids(feed) == [1, 3, 5, 9]
    assert feed.given_up == 3


def test_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """offer takes the jump when more than the bound would be kept."""
    monkeypatch.setattr(module, "MAX_KEPT", 100)
    feed = judged(1)
    for number in range(3, 13):
        feed.offer(frame(number), 0.0)
    assert (ids(feed), feed.kept_bytes) == ([1], 100)

    feed.offer(frame(13), 0.0)
    assert (ids(feed), feed.kept_bytes) == (list(range(3, 14)), 0)


def test_forget() -> None:
    """forget makes what is kept ready and lets any id be the next base."""
    feed = judged(7, 9)
    feed.forget()
    feed.offer(frame(1), 0.0)

    assert ids(feed) == [7, 9, 1]


def test_repr() -> None:
    """A feed shows where it stands."""
    assert repr(judged(1, 2, 4)) == "<Feed alice at 2, 2 ready, 1 kept>"
