"""orchestrator_api/groups.py: what goes into the next transaction."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator_api import groups
from orchestrator_api.events import Event
from orchestrator_api.groups import Append, Create, Queue


def event(key: str | None = None, status: str | None = None, size: int = 10) -> Event:
    return Event(b"x" * size, b"}", key, None, status, None, None)


def append(run_id: str = "r1", username: str = "alice", *events: Event, **more: Any) -> Append:
    return Append(run_id, username, list(events) or [event()], None, **more)


def filled(*appends: Append) -> Queue:
    queue = Queue()
    for each in appends:
        assert queue.offer(each)
    return queue


def test_order_of_a_feed() -> None:
    """A group takes a feed's appends in the order they came."""
    appends = [append() for _ in range(5)]

    assert filled(*appends).take_fast(0) == appends


def test_taken_feed_is_left_alone() -> None:
    """What comes for a feed that a lane has waits until that lane is done."""
    first, second = append(), append()
    queue = filled(first)

    assert queue.take_fast(0) == [first]
    queue.offer(second)
    assert queue.take_fast(0) == []
    queue.done([first])
    assert queue.take_fast(0) == [second]


def test_nothing_follows_a_terminal_event_in_a_group() -> None:
    """An append after a terminal one of its run waits for the next group, and other runs do not."""
    ends = append("r1", "alice", event(status="completed"))
    late, other = append("r1"), append("r2")
    queue = filled(append("r1"), ends, late, other)

    assert queue.take_fast(0)[1:] == [ends, other]
    queue.done([ends])
    assert queue.take_fast(0) == [late]


def test_creation_is_alone_in_its_run() -> None:
    """The making of a run shares a group with nothing else of that run."""
    made = append("r1", create=Create(None, None, b""))
    again = append("r1", create=Create(None, None, b""))
    queue = filled(made, append("r1"), again)

    assert queue.take_fast(0) == [made]
    queue.done([made])
    assert len(queue.take_fast(0)) == 1
    queue.done([made])
    assert queue.take_fast(0) == [again]


def test_same_key_waits() -> None:
    """Two appends with the same key are decided one after the other, with other keys together."""
    first = append("r1", key="k", scope="run:r1")
    other = append("r2", key="k", scope="run:r2")
    same = append("r1", key="k", scope="run:r1")
    queue = filled(first, same, other)

    assert queue.take_fast(0) == [first, other]


def test_same_event_key_waits() -> None:
    """Two appends to a run with the same event_id are decided one after the other."""
    first, same = append("r1", "alice", event("k")), append("r1", "alice", event("k"))
    queue = filled(first, same)

    assert queue.take_fast(0) == [first]


def test_order_of_a_run_survives_a_wait() -> None:
    """What comes after an append that waits, of the same run, waits too."""
    first, same = append("r1", key="k", scope="run:r1"), append("r1", key="k", scope="run:r1")
    behind = append("r1")
    queue = filled(first, same, behind)

    assert queue.take_fast(0) == [first]
    queue.done([first])
    assert queue.take_fast(0) == [same, behind]


def test_slow_feeds_are_waited_for_one_at_a_time() -> None:
    """The second lane takes one slow feed, and in turn."""
    a, b = append("r1", "alice"), append("r2", "bob")
    queue = filled(a, b)
    queue.put_back(queue.take_fast(0), 0, slow=True)

    assert queue.take_slow(0) == [a]
    queue.put_back([a], 0, slow=True, waited=True)
    assert queue.take_slow(groups.RETRY_S) == [b]
    queue.put_back([b], 0, slow=True, waited=True)
    assert queue.take_slow(groups.RETRY_S) == [a]


def test_slow_feed_is_tried_by_the_first_lane_too() -> None:
    """The first lane tries a slow feed again after RETRY_S, unless the second has it; others are not held up."""
    slow, other = append("r1", "alice"), append("r2", "bob")
    queue = filled(slow)
    queue.put_back(queue.take_fast(0), 0, slow=True)
    queue.offer(other)

    assert queue.take_fast(0) == [other]
    queue.done([other])
    assert queue.next_due(slow=False) == groups.RETRY_S
    assert queue.take_fast(groups.RETRY_S) == [slow]


def test_first_lane_has_nothing_while_the_second_waits() -> None:
    """A slow feed that the second lane waits for is no work for the first."""
    queue = filled(append())
    queue.put_back(queue.take_fast(0), 0, slow=True)
    queue.take_slow(0)

    assert queue.take_fast(10) == []
    assert queue.next_due(slow=False) is None


def test_put_back_keeps_order() -> None:
    """What was not stored is first in line again, in its order."""
    first, second, third = append(), append(), append()
    queue = filled(first, second)
    taken = queue.take_fast(0)
    queue.offer(third)
    queue.done(taken)
    queue.put_back(taken, 0, slow=False)

    assert queue.take_fast(0) == [first, second, third]


def test_withdraw() -> None:
    """An append can be withdrawn until it is taken."""
    waiting, taken = append(), append("r2", "bob")
    queue = filled(waiting, taken)

    assert queue.withdraw(waiting)
    assert queue.take_fast(0) == [taken]
    assert not queue.withdraw(taken)
    assert (queue.appends, queue.bytes) == (0, 0)


def test_bound_of_appends() -> None:
    """The queue takes QUEUE_APPENDS and not one more."""
    queue = Queue()
    for n in range(groups.QUEUE_APPENDS):
        assert queue.offer(append("r1", f"u{n % 7}"))

    assert not queue.offer(append())


def test_bound_of_bytes() -> None:
    """The queue takes QUEUE_BYTES and nothing beyond."""
    queue = filled(append("r1", "alice", event(size=groups.QUEUE_BYTES - 100)))

    assert not queue.offer(append("r1", "alice", event(size=100)))
    assert queue.offer(append("r1", "alice", event(size=10)))


def test_group_is_bounded() -> None:
    """A group takes GROUP_EVENTS at most, and the feed that filled it waits for the others' turn."""
    hot = [append("r1", "alice", *(event() for _ in range(100))) for _ in range(30)]
    other = append("r2", "bob")
    queue = filled(*hot, other)

    first = queue.take_fast(0)
    assert sum(len(each.events) for each in first) == groups.GROUP_EVENTS
    queue.done(first)
    assert queue.take_fast(0)[0] is other


def test_drop_waiting_keeps_the_unknown() -> None:
    """While the database is away, only appends whose outcome is unknown go on waiting."""
    tried, fresh = append("r1", unknown=True), append("r1")
    queue = filled(tried, fresh)

    assert queue.drop_waiting() == [fresh]
    assert queue.take_fast(0) == [tried]


def test_repeatable() -> None:
    """An append can be stored again safely with a key, with all events' keys, or when it makes its run."""
    assert append(key="k", scope="run:r1").repeatable
    assert append("r1", "alice", event("a"), event("b")).repeatable
    assert append(create=Create(None, None, b"")).repeatable
    assert not append("r1", "alice", event("a"), event()).repeatable


@given(st.data())
def test_everything_is_served_once_and_in_order(data: st.DataObject) -> None:
    """Whatever is offered, taken, locked, withdrawn: each is served once, a run's in order, and the counts end at 0."""
    queue, now, offered = Queue(), 0.0, []
    served: list[Append] = []
    lanes: dict[str, list[Append]] = {"fast": [], "slow": []}
    for n in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["offer", "fast", "slow", "withdraw", "settle fast", "settle slow"]))
        now += 0.004
        if action == "offer":
            keys = [event(data.draw(st.sampled_from([None, "k1", "k2"])))]
            offered.append(append(data.draw(st.sampled_from(["r1", "r2"])), data.draw(st.sampled_from("ab")), *keys))
            offered[-1].run_id += offered[-1].username
            queue.offer(offered[-1])
        elif action in lanes and not lanes[action]:
            lanes[action] = queue.take_fast(now) if action == "fast" else queue.take_slow(now)
        elif action == "withdraw" and offered:
            victim = offered[n % len(offered)]
            if queue.withdraw(victim):
                offered.remove(victim)
        elif action.startswith("settle"):
            lane = action.split()[1]
            locked = [each for each in lanes[lane] if data.draw(st.booleans())]
            settle(queue, lanes, lane, locked, served, now)
    for lane in lanes:
        settle(queue, lanes, lane, [], served, now)
    while group := queue.take_fast(now := now + 1):
        served += group
        queue.done(group)

    assert sorted(map(id, served)) == sorted(map(id, offered))
    for run in {each.run_id for each in offered}:
        assert [each for each in served if each.run_id == run and not each.events[0].key] == [
            each for each in offered if each.run_id == run and not each.events[0].key
        ]
    assert (queue.appends, queue.bytes) == (0, 0)
    assert repr(queue) == "<Queue 0 appends 0 KiB 0 feeds 0 slow>"


def settle(
    queue: Queue, lanes: dict[str, list[Append]], lane: str, locked: list[Append], served: list[Append], now: float
) -> None:
    """Ends a lane's transaction: of each run, what came after a locked append was locked with it."""
    runs = {each.run_id for each in locked}
    back = [each for each in lanes[lane] if each.run_id in runs]
    served += [each for each in lanes[lane] if each not in back]
    queue.done(lanes[lane])
    queue.put_back(back, now, slow=True, waited=lane == "slow")
    lanes[lane] = []


def test_deadlines() -> None:
    """Whoever has waited so long is due, once, in the turn in which they came; who was answered is not."""
    deadlines = groups.Deadlines(5.0)
    first, second, third = (append("u", "r") for _ in range(3))
    for n, each in enumerate((first, second, third)):
        deadlines.add(each, 10.0 + n)
    deadlines.drop(second)

    assert deadlines.due(14.9) == []
    assert deadlines.due(15.5) == [first]
    assert deadlines.due(20.0) == [third]
    assert deadlines.due(99.0) == []
