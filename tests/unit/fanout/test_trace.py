"""fanout.trace: why did alice not see event 17?"""

from collections import deque

from fanout import trace as module
from fanout.trace import Trace


def test_look_up() -> None:
    """look_up gives what became of one event of one user, in order of time, whatever came with it in one write."""
    trace = Trace()
    trace.append((5.0, "live", "alice", 17, 3, False))
    trace.append((7.0, "replayed", "alice", [16, 17, 18], 1, True))
    trace.append((6.0, "live", "bob", 17, 9, False))
    trace.append((6.0, "live", "alice", None, 9, False))
    notes = [(1.0, "alice", 17, "kept"), (1.0, "bob", 17, "repeat"), (2.5, "alice", 17, "repeat")]

    assert trace.look_up("alice", 17, notes, 3.0) == [
        {"at": 4.0, "what": "kept", "how": "live"},
        {"at": 5.0, "what": "written", "how": "live", "sockets": 3, "others_closed_as_slow": False},
        {"at": 5.5, "what": "repeat", "how": "live"},
        {"at": 7.0, "what": "written", "how": "replayed", "sockets": 1, "others_closed_as_slow": True},
    ]
    assert trace.look_up("alice", 19, notes, 3.0) == []


def test_bounded() -> None:
    """Only the last writes are remembered."""
    trace = Trace()
    deque((trace.append((0.0, "live", "alice", n, 1, False)) for n in range(module.MAX_WRITES + 5)), maxlen=0)

    assert trace.look_up("alice", 4, (), 0.0) == []
    assert len(trace.look_up("alice", 5, (), 0.0)) == 1
