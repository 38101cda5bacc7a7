"""fanout.trace: why did alice not see event 17?"""

import pytest

from fanout import trace as module
from fanout.feed import Group
from fanout.trace import MAX_IDS, Trace, ids_of
from fanout.wire import Frame

alice, bob = Group("alice"), Group("bob")


def test_look_up() -> None:
    """look_up gives what became of one event of one user, in order of time, whatever came with it in one write."""
    trace = Trace()
    trace.wrote(5.0, "live", [alice, 17, 3, False])
    trace.wrote(7.0, "replayed", [alice, range(16, 19), 1, True])
    trace.wrote(6.0, "live", [bob, 17, 9, False])
    trace.wrote(6.0, "live", [alice, None, 9, False])
    notes = [(1.0, "alice", 17, "kept"), (1.0, "bob", 17, "repeat"), (2.5, "alice", 17, "repeat")]

    assert trace.look_up("alice", 17, notes, 3.0) == [
        {"at": 4.0, "what": "kept", "how": "live"},
        {"at": 5.0, "what": "written", "how": "live", "sockets": 3, "others_closed_as_slow": False},
        {"at": 5.5, "what": "repeat", "how": "live"},
        {"at": 7.0, "what": "written", "how": "replayed", "sockets": 1, "others_closed_as_slow": True},
    ]
    assert trace.look_up("alice", 19, notes, 3.0) == []


def test_bounded() -> None:
    """Only the last writes are remembered, however they came: the last turn always, and no other in parts."""
    trace = Trace()
    for first in range(0, module.MAX_WRITES + 5, 5):
        trace.wrote(0.0, "live", [value for n in range(first, first + 5) for value in (alice, n, 1, False)])

    assert trace.look_up("alice", 9, (), 0.0) == []
    assert len(trace.look_up("alice", 10, (), 0.0)) == 1


def written(*numbers: int | None) -> list[Frame]:
    """Frames of these ids."""
    return [Frame("alice", "r1", number, 0.0, b"{}") for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ((5,), {5: "written"}),
        ((5, 6, 7), {5: "written", 6: "written", 7: "written"}),
        ((5, 7), {5: "written", 7: "written"}),
        ((5, None, 7), {5: "written", 7: "written"}),
        ((None, None), {}),
        ((None, 5), {5: "written"}),
    ],
)
def test_ids_of(numbers: tuple[int | None, ...], found: dict[int, str]) -> None:
    """What look_up tells of the ids of one write: those that it held, and no others."""
    trace = Trace()
    trace.wrote(0.0, "live", [alice, ids_of(written(*numbers)), 1, False])

    assert {n: entry["what"] for n in range(1, 10) for entry in trace.look_up("alice", n, (), 0.0)} == found


def test_ids_of_pages() -> None:
    """A page costs a range, and one with gaps says that it is not exact."""
    assert ids_of(written(*range(1, 1001))) == range(1, 1001)
    assert ids_of(written(*range(0, 2 * MAX_IDS, 2))) == tuple(range(0, 2 * MAX_IDS, 2))
    trace = Trace()
    trace.wrote(0.0, "replayed", [alice, ids_of(written(*range(10, 2010, 2))), 1, False])

    assert [entry["what"][:7] for entry in trace.look_up("alice", 11, (), 0.0)] == ["perhaps"]
    assert trace.look_up("alice", 2010, (), 0.0) == []
