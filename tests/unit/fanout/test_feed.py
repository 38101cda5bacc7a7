"""fanout.feed: one user's order."""

import pytest

from fanout import feed as module
from fanout.feed import LEAST_HOLD, MAX_HOLD, Feed
from fanout.wire import Frame, read_event

HOLD = 0.05
SIZE = 60  # bytes of a frame


def frame(number: int | None, size: int = SIZE) -> Frame:
    """Frame `number` of alice, `size` bytes, or as many as it needs."""
    head = b'{"username":"alice","run_id":"r1",'
    named = b"" if number is None else b'"id":%d,' % number
    payload = head + named + b'"x":"' + b"x" * max(0, size - len(head) - len(named) - 7) + b'"}'
    return Frame("alice", "r1", number, None, payload)


def remembered(feed: Feed) -> list[int | None]:
    """The ring, by id."""
    return [read_event("alice", payload).id for payload in feed.ring]


def ids(feed: Feed) -> list[int | None]:
    """What is ready, by id; it is taken."""
    ready, feed.ready = feed.ready, []
    return [each.id for each in ready]


def judged(base: int, *numbers: int | None) -> Feed:
    """A feed with a base that was offered `numbers` at time 0."""
    feed = Feed("alice", judged=True, hold=HOLD)
    feed.heard(base, None, 0.0, 0.0)
    for number in numbers:
        feed.offer(frame(number), 0.0)
    return feed


def test_next() -> None:
    """offer makes the next id behind the base ready at once."""
    assert ids(judged(40, 41, 42, 43)) == [41, 42, 43]


def test_repeat() -> None:
    """offer drops an id that is not newer than the last."""
    feed = judged(4, 5, 6)

    assert [feed.offer(frame(number), 0.0) for number in (6, 5, 1)] == ["repeat"] * 3
    assert ids(feed) == [5, 6]


def test_no_base_yet() -> None:
    """Before the base everything is kept; the base drops what it holds and the rest follows when it is settled."""
    feed = Feed("alice", judged=True)
    assert [feed.offer(frame(number), 1.0) for number in (8, 7, 9, 8)] == ["kept", "kept", "kept", "repeat"]
    assert feed.due() is None

    assert not feed.heard(7, None, 0.5, 1.1)
    assert ids(feed) == []
    feed.settle(1.1)
    assert ids(feed) == [8, 9]
    assert (feed.kept_bytes, feed.since) == (0, None)


def test_base_with_a_hole() -> None:
    """A hole behind the base is open from the moment the base is settled."""
    feed = Feed("alice", judged=True, hold=HOLD)
    feed.offer(frame(9), 1.0)
    feed.heard(7, None, 0.5, 1.1)
    feed.settle(1.2)

    assert ids(feed) == []
    assert feed.due() == pytest.approx(1.25)


def test_jump_closes() -> None:
    """offer keeps a jump and makes it ready, in order, when the hole closes."""
    feed = judged(0, 1, 4, 3)
    assert ids(feed) == [1]
    assert feed.kept_bytes == 2 * SIZE

    assert feed.offer(frame(2), 0.01) == "closing"
    assert ids(feed) == [2, 3, 4]
    assert (feed.kept_bytes, feed.due()) == (0, None)


def test_repeat_of_kept() -> None:
    """offer drops an id that is kept already."""
    feed = judged(0, 1, 3)

    assert feed.offer(frame(3), 0.0) == "repeat"
    assert feed.kept_bytes == SIZE


def test_no_id() -> None:
    """offer passes a frame without an id on at once, even over a hole."""
    assert ids(judged(0, 1, 3, None)) == [1, None]


def test_not_judged() -> None:
    """offer passes everything on as it came when ids are not judged."""
    feed = Feed("alice", judged=False)
    for number in (5, 5, 1, 9, None):
        assert feed.offer(frame(number), 0.0) == "ready"

    assert ids(feed) == [5, 5, 1, 9, None]


def test_due_after_the_hold() -> None:
    """A hole is due when the hold has passed since it opened; while history is asked it is not."""
    feed = judged(0, 1)
    feed.offer(frame(3), 1.0)
    assert feed.due() == pytest.approx(1.05)

    feed.asked = True
    assert feed.due() is None


def test_not_before_the_retry() -> None:
    """A feed about which history did not answer is not due before its next try."""
    feed = judged(0, 1, 3)
    feed.retry_at = 7.0

    assert feed.due() == 7.0


def test_hold_begins_anew_with_each_step() -> None:
    """Whenever the feed moves on while something is missing, the hold begins anew."""
    feed = judged(0, 1)
    feed.offer(frame(3), 1.0)
    feed.offer(frame(5), 1.02)
    feed.offer(frame(2), 1.04)

    assert feed.due() == pytest.approx(1.09)


def test_hint() -> None:
    """A head beyond the last id is a hole; one that is reached is none."""
    feed = judged(7)
    feed.hint(7, 1.0)
    assert feed.due() is None
    feed.hint(9, 1.0)
    assert feed.due() == pytest.approx(1.05)
    feed.hint(8, 2.0)
    assert (feed.goal, feed.goal_at) == (9, 1.0)

    feed.offer(frame(8), 1.01)
    assert feed.due() == pytest.approx(1.06)
    feed.offer(frame(9), 1.02)
    assert feed.due() is None


def test_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be kept beyond the bound is forgotten, and known to be there."""
    monkeypatch.setattr(module, "MAX_KEPT", 10 * SIZE)
    feed = judged(0, 1)
    assert [feed.offer(frame(number), 0.0) for number in range(3, 14)] == ["kept"] * 10 + ["forgotten"]
    assert (ids(feed), feed.kept_bytes, feed.goal) == ([1], 10 * SIZE, 13)

    feed.offer(frame(2), 0.1)
    assert ids(feed) == list(range(2, 13))
    assert feed.due() == pytest.approx(0.15)


def test_forgotten_before_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was forgotten while there was no base is missing as soon as there is one."""
    monkeypatch.setattr(module, "MAX_KEPT", SIZE)
    feed = Feed("alice", judged=True, hold=HOLD)
    assert [feed.offer(frame(number), 0.0) for number in (6, 7)] == ["kept", "forgotten"]
    feed.heard(6, None, 0.0, 0.0)
    feed.settle(1.0)

    assert feed.last == 6
    assert feed.due() == pytest.approx(1.0 + HOLD)


def test_healed() -> None:
    """A page makes ready what is new in it, in order, with what was kept behind it, and nothing twice."""
    feed = judged(0, 1, 4, 5)
    assert feed.healed([frame(number) for number in (1, 2, 3, 4)], 1.0) == 2

    assert ids(feed) == [1, 2, 3, 4, 5]
    assert (feed.kept, feed.kept_bytes, feed.since) == ({}, 0, None)


def test_healed_in_part() -> None:
    """A page that ends before the hole does leaves it open, the hold beginning anew."""
    feed = judged(0, 1, 9)
    feed.healed([frame(2), frame(3)], 1.0)

    assert ids(feed) == [1, 2, 3]
    assert feed.due() == pytest.approx(1.05)


def test_page_that_begins_too_late() -> None:
    """A page that does not join on to the feed changes nothing."""
    feed = judged(0, 1)

    assert feed.healed([frame(4), frame(5)], 1.0) == 0
    assert (ids(feed), feed.last) == ([1], 1)


def test_more_is_due_at_once() -> None:
    """After a page that did not reach the head the next is due without a hold; a later hole has its hold again."""
    feed = judged(0, 1, 9)
    feed.healed([frame(2)], 1.0)
    feed.more, feed.retry_at = True, 1.0
    assert feed.due() == 1.0

    feed.healed([frame(number) for number in range(3, 9)], 1.1)
    feed.offer(frame(11), 2.0)
    assert feed.due() == pytest.approx(2.05)


def test_vain_doubles_the_hold() -> None:
    """Each question in vain doubles the hold, to two seconds; one that finds something, or calm, ends that."""
    feed = judged(0, 1, 3)
    holds = []
    for _ in range(8):
        feed.vain(10.0)
        holds.append(round((feed.due() or 0) - 10.0, 6))
    assert holds == [0.1, 0.2, 0.4, 0.8, 1.6, MAX_HOLD, MAX_HOLD, MAX_HOLD]

    feed.healed([frame(2)], 11.0)
    feed.offer(frame(5), 12.0)
    assert feed.due() == pytest.approx(12.05)
    feed.vain(12.1)
    feed.healed([frame(4)], 12.2)
    feed.vain(12.3)
    feed.offer(frame(7), 13.0)
    assert feed.due() == pytest.approx(13.1)
    feed.offer(frame(6), 13.0)
    feed.offer(frame(9), 50.0)
    assert feed.due() == pytest.approx(50.05)


def test_vain_without_a_hold() -> None:
    """A hold of zero grows as well."""
    feed = Feed("alice", judged=True, hold=0.0)
    feed.heard(1, None, 0.0, 0.0)
    feed.offer(frame(3), 1.0)
    assert feed.due() == 1.0
    feed.vain(1.0)

    assert feed.due() == pytest.approx(1.0 + 2 * LEAST_HOLD)


def test_forged_id() -> None:
    """An id beyond the head that history named after it came is dropped; one that came later is not judged by it."""
    feed = judged(5)
    feed.offer(frame(999), 1.0)
    feed.offer(frame(8), 2.0)
    feed.heard(5, 5, 1.5, 2.1)

    assert (feed.lies, list(feed.kept), feed.kept_bytes) == ((999,), [8], SIZE)
    assert feed.due() is not None
    feed.heard(5, 5, 2.5, 2.6)
    assert (feed.kept, feed.due()) == ({}, None)


def test_forged_head() -> None:
    """A head that history denies is forgotten, unless it was named after history was asked."""
    feed = judged(5)
    feed.hint(10**15, 1.0)
    feed.heard(5, 5, 0.9, 1.1)
    assert feed.goal == 10**15

    feed.heard(5, 5, 1.2, 1.3)
    assert (feed.goal, feed.due()) == (5, None)
    feed.hint(6, 2.0)
    assert feed.due() is not None


def test_head_below_the_last_twice() -> None:
    """A head below what was delivered before it was asked for is another numbering when it is named twice in a row."""
    feed = judged(9, 10)
    assert [feed.heard(head, 10, 1.0, 1.1) for head in (9, 10, 9, 9)] == [False, False, False, True]

    overtaken = judged(9, 10)  # what came after the question is no reason
    assert [overtaken.heard(9, 9, 1.0, 1.1) for _ in range(3)] == [False] * 3


def test_reset() -> None:
    """reset goes on from another head and remembers nothing of what was."""
    feed = judged(9, 10, 12)
    feed.reset(3)
    feed.offer(frame(4), 1.0)

    assert (feed.last, remembered(feed), feed.kept_bytes, feed.due()) == (4, [4], 0, None)


def test_forget() -> None:
    """forget keeps what comes until the new head is known."""
    feed = judged(9, 10, 12)
    ids(feed)
    feed.forget()
    feed.offer(frame(3), 1.0)
    feed.heard(2, None, 0.5, 1.1)
    feed.settle(1.1)

    assert (ids(feed), feed.resetting) == ([3], False)


def test_unprotected() -> None:
    """Without history the first frame is the base, or the first of those that were kept."""
    feed = Feed("alice", judged=True)
    feed.unprotect(0.0)
    feed.offer(frame(7), 1.0)
    assert ids(feed) == [7]

    feed = Feed("alice", judged=True)
    for number in (9, 8, 11):
        feed.offer(frame(number), 1.0)
    feed.unprotect(2.0)
    assert ids(feed) == [8, 9]
    assert feed.due() == pytest.approx(2.05)


@pytest.mark.parametrize(
    ("after", "rest"),
    [(50, []), (49, [50]), (17, list(range(18, 51))), (16, None), (51, None), (0, None)],
)
def test_ring(after: int, rest: list[int] | None) -> None:
    """rest gives what is behind a cursor when the ring holds all of it, and None otherwise."""
    found = judged(0, *range(1, 50), 50).rest(after)

    assert (None if found is None else [each.id for each in found]) == rest


@pytest.mark.parametrize("count", [31, 32, 33, 47, 48, 49, 50, 64, 65, 66])
def test_ring_frames(count: int) -> None:
    """The ring holds the last 32 frames, and up to 16 more."""
    held = remembered(judged(0, *range(1, count + 1)))

    assert min(count, 32) <= len(held) <= 48
    assert held == list(range(count - len(held) + 1, count + 1))


def test_ring_bytes() -> None:
    """The ring holds 24 KiB at most, cut to 16; a frame that is bigger alone is not remembered, nor what is before."""
    feed = judged(0)
    for number in range(1, 6):
        feed.offer(frame(number, 5000), 0.0)
    assert feed.rest(1) is None
    assert [each.id for each in feed.rest(2) or ()] == [3, 4, 5]
    feed.offer(frame(6, 25_000), 0.0)

    assert (feed.rest(5), feed.rest(6), feed.ring_bytes) == (None, [], 0)


def test_ring_is_empty_at_the_base() -> None:
    """A feed that has only its base takes the cursor that is the base, and no other."""
    feed = judged(7)

    assert (feed.rest(7), feed.rest(6), feed.rest(8)) == ([], None, None)
    assert Feed("alice", judged=True).rest(0) is None


def test_recall() -> None:
    """What history names right before the ring joins it in front, newest first, as far as the bounds reach."""
    feed = judged(40, 41, 42)
    feed.recall([frame(number) for number in range(1, 41)])

    assert [each.id for each in feed.rest(10) or ()] == list(range(11, 43))
    assert (feed.rest(9), len(feed.ring)) == (None, 32)
    assert feed.ring_bytes == sum(map(len, feed.ring))

    feed = judged(3)
    feed.recall([frame(1, 9000), frame(2, 9000), frame(3, 100), frame(4)])
    assert ([each.id for each in feed.rest(1) or ()], feed.rest(0)) == ([2, 3], None)


@pytest.mark.parametrize("page", [[], [1, 2, 3], [41, 42], [43]])
def test_recall_leaves_no_gap(page: list[int]) -> None:
    """A page that does not reach the ring, or lies in it, adds nothing."""
    feed = judged(40, 41, 42)
    feed.recall([frame(number) for number in page])

    assert (remembered(feed), feed.rest(39)) == ([41, 42], None)
    empty = Feed("alice", judged=True)
    empty.recall([frame(number) for number in page])
    assert empty.ring == []


def test_repr() -> None:
    """A feed shows where it stands."""
    assert repr(judged(0, 1, 2, 4)) == "<Feed alice at 2, 2 ready, 1 kept>"
