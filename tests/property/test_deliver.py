"""fanout.deliver under any mix of publishing, reading, pinging and closing: the bound holds, and nothing is thinned."""

import asyncio
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from fanout import deliver
from fanout.deliver import Connection
from fanout.door import OPEN
from tests.unit.fanout.worlds import PING, Memory, World, say

BOUND = 300  # bytes; small, so that random peers reach it
STEPS = st.one_of(
    st.tuples(st.just("publish"), st.integers(0, 100), st.integers(1, 3)),
    st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 300)),
    st.tuples(st.just("ping"), st.integers(0, 2), st.integers(1, 400)),
    st.tuples(st.just("close"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("time"), st.integers(1, 12), st.just(0)),
)


def texts(written: bytearray) -> list[bytes]:
    """The text frames' payloads in what a peer was written; AssertionError when a frame is not whole."""
    found = []
    while written:
        opcode, size, start = written[0] & 15, written[1], 2
        if size == 126:
            size, start = int.from_bytes(written[2:4], "big"), 4
        assert len(written) >= start + size
        if opcode == 1:
            found.append(bytes(written[start : start + size]))
        written = written[start + size :]
    return found


def step(world: World, peers: list[tuple[Connection, Memory]], kind: str, which: int, much: int) -> list[bytes]:
    """Do one step; what was published by it."""
    if kind == "publish":
        return [world.publish(which, much)] * much
    connection, transport = peers[which % len(peers)]
    if kind == "read":
        transport.waiting = max(0, transport.waiting - much)
    elif kind == "ping" and not transport.aborted:
        say(connection, PING * much)
    elif kind == "close" and not transport.aborted:
        if much:
            connection.close(1012, "restarting")
        else:
            connection.eof_received()
    elif kind == "time":
        world.turn(which)
    return []


@given(st.lists(STEPS, max_size=60))
@settings(deadline=None, max_examples=100)
def test_bounded_and_never_thinned(steps: list[tuple[str, int, int]]) -> None:
    """What waits never exceeds the bound by more than one write; what a socket got is a prefix of the feed."""

    async def run() -> None:
        world = World()
        peers = [world.connect() for _ in range(3)]
        for _, transport in peers:
            transport.written.clear()
            transport.reads = False
        published: list[bytes] = []
        largest = 127  # bytes of one write so far: a pong to begin with
        for kind, which, much in steps:
            before = [(connection.state, texts(transport.written)) for connection, transport in peers]
            new = step(world, peers, kind, which, much)
            published += new
            largest = max(largest, sum(map(len, new)) + 4 * len(new))
            for (connection, transport), (state, got) in zip(peers, before, strict=True):
                now = texts(transport.written)
                assert transport.waiting <= BOUND + largest + 30, "the bound, one write, and a close frame"
                assert now == published[: len(now)]
                assert state == OPEN or now == got, "written to after it left"
                assert connection.state != OPEN or now == published, "thinned"
                assert (connection in world.hub.sockets) == (connection.state == OPEN)

    with mock.patch.object(deliver, "MAX_WAITING", BOUND):
        asyncio.run(run())
