"""fanout.feed: whatever the order of publishing, what becomes ready is the feed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.feed import Feed
from fanout.wire import Frame


def offered(numbers: list[int]) -> list[int | None]:
    """What is ready after the first id and then `numbers`, all within the hold."""
    feed = Feed("alice", judged=True)
    for number in [1, *numbers]:
        feed.offer(Frame("alice", "r1", number, 0.0, b"x"), 0.0)
    return [frame.id for frame in feed.ready]


@given(st.permutations(range(2, 30)), st.lists(st.integers(1, 29)))
@settings(deadline=None)
def test_any_order(order: list[int], again: list[int]) -> None:
    """Within the hold any order of publishing, with any repeats, becomes 1..n."""
    for place, number in enumerate(again):
        order.insert(place * 7 % (len(order) + 1), number)

    assert offered(order) == list(range(1, 30))


@given(st.lists(st.integers(1, 60), max_size=80))
@settings(deadline=None)
def test_never_a_hole_within_the_hold(numbers: list[int]) -> None:
    """Within the hold nothing behind a hole becomes ready."""
    ready = offered(numbers)

    assert ready == list(range(1, len(ready) + 1))


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 0.2)), max_size=80))
@settings(deadline=None)
def test_everything_comes_out(published: list[tuple[int, float]]) -> None:
    """After the hold everything has come out once, in order, except what came behind its successor."""
    feed, now = Feed("alice", judged=True), 0.0
    late: set[int] = set()
    for number, later in published:
        now += later
        feed.expire(now, 0.05)
        if feed.last is not None and number <= feed.last and all(frame.id != number for frame in feed.ready):
            late.add(number)
        feed.offer(Frame("alice", "r1", number, 0.0, b"x"), now)
    feed.expire(now + 1, 0.05)
    ready = [frame.id for frame in feed.ready]

    assert ready == sorted({number for number, _ in published} - late)
    assert (feed.kept, feed.kept_bytes, feed.due(0.05)) == ({}, 0, None)
