"""fanout.feed: whatever the order of publishing, what becomes ready is the feed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.feed import Feed
from fanout.wire import Frame


def offered(numbers: list[int]) -> list[int | None]:
    """What is ready after `numbers`, the base being 0."""
    feed = Feed("alice", judged=True)
    feed.heard(0, None, 0.0, 0.0)
    for number in numbers:
        feed.offer(Frame("alice", "r1", number, 0.0, b"x"), 0.0)
    return [frame.id for frame in feed.ready]


@given(st.permutations(range(1, 30)), st.lists(st.integers(1, 29)))
@settings(deadline=None)
def test_any_order(order: list[int], again: list[int]) -> None:
    """Any order of publishing, with any repeats, becomes 1..n."""
    for place, number in enumerate(again):
        order.insert(place * 7 % (len(order) + 1), number)

    assert offered(order) == list(range(1, 30))


@given(st.lists(st.integers(1, 60), max_size=80))
@settings(deadline=None)
def test_never_a_hole(numbers: list[int]) -> None:
    """Nothing behind a hole becomes ready."""
    ready = offered(numbers)

    assert ready == list(range(1, len(ready) + 1))


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 0.2)), max_size=80))
@settings(deadline=None)
def test_due_is_a_hold_after_the_last_step(published: list[tuple[int, float]]) -> None:
    """While something is missing, the feed is due one hold after it last moved on or after the hole opened."""
    feed, now, moved, opened = Feed("alice", judged=True, hold=0.05), 0.0, 0.0, 0.0
    feed.heard(0, None, 0.0, 0.0)
    for number, later in published:
        now += later
        last, since = feed.last, feed.since
        feed.offer(Frame("alice", "r1", number, 0.0, b"x"), now)
        moved = now if feed.last != last else moved
        opened = now if since is None and feed.since is not None else opened
        assert feed.due() == (max(moved, opened) + 0.05 if feed.kept else None)
