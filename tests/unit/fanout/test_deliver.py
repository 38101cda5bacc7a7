"""fanout.deliver: one connection, and the hub that they share, on transports that only remember."""

import asyncio
import gc

import pytest
from websockets.frames import Close

from fanout.deliver import MAX_WAITING, Connection, close_code
from fanout.handshake import Handshake
from fanout.wire import TEXT
from tests.unit.fanout.worlds import PING, REQUEST, World, say


@pytest.fixture
async def world() -> World:
    """A hub on the test's loop."""
    return World()


async def test_slots(world: World) -> None:
    """A connection has slots and no dictionary: ten thousand idle ones are mostly that."""
    assert not hasattr(world.connect()[0], "__dict__")


async def test_one_write_for_a_burst(world: World) -> None:
    """What one read of Redis brought is written to a socket in one piece."""
    _, transport = world.connect()
    transport.written.clear()
    writes: list[int] = []
    transport.write = lambda data: writes.append(len(data))  # type: ignore[method-assign]
    payload = world.publish(count=20)

    assert writes == [20 * (2 + len(payload))]


async def test_bound(world: World) -> None:
    """More than 1 MiB waiting closes the socket 4408 when something new comes, and not before; nothing more waits."""
    connection, transport = world.connect()
    transport.reads = False
    while transport.waiting <= MAX_WAITING:
        assert connection in world.hub.sockets
        world.publish(60_000)
    waiting = transport.waiting
    for _ in range(10):
        world.publish(60_000)

    assert connection not in world.hub.sockets
    assert transport.written.endswith(b"\x88\x06\x11\x38slow")
    assert transport.waiting - waiting == len(b"\x88\x06\x11\x38slow")


async def test_slow_one_among_others(world: World) -> None:
    """The others of a slow socket's group receive what it does not; it counts as what it got."""
    connections = [world.connect() for _ in range(3)]
    connections[1][1].waiting = MAX_WAITING + 1
    payload = world.publish(number=1)

    assert [transport.written.endswith(payload) for _, transport in connections] == [True, False, True]
    assert world.hub.sockets == {connections[0][0], connections[2][0]}
    assert world.hub.metrics.frames_sent == 2
    assert world.hub.metrics.bytes_sent == 2 * (2 + len(payload))
    assert [connection.frames for connection, _ in connections] == [0, 0, 0]
    assert (connections[1][0].bytes, world.hub.router.feeds["alice"].groups[None, TEXT].frames) == (0, 1)
    (seen,) = world.hub.trace.look_up("alice", 1, (), 0.0)
    assert (seen["sockets"], seen["others_closed_as_slow"]) == (2, True)


async def test_pongs_pass_the_door(world: World) -> None:
    """A peer that pings and does not read is closed at the bound, pongs included."""
    connection, transport = world.connect()
    transport.reads = False
    transport.waiting = MAX_WAITING - 10
    say(connection, PING * 20_000)

    assert transport.waiting < MAX_WAITING + 100
    assert transport.written.endswith(b"slow")
    assert connection not in world.hub.sockets


async def test_full_reads_take_turns(world: World) -> None:
    """A peer that fills the read buffer is not read again before the loop's next turn."""
    connection, transport = world.connect()
    say(connection, PING)
    assert not transport.paused

    say(connection, PING * (len(world.hub.buffer) // 6 + 1))
    assert transport.paused
    await asyncio.sleep(0)  # the loop's next turn
    assert not transport.paused


async def test_no_write_after_the_end(world: World) -> None:
    """Once a peer has closed, nothing is written to it any more, whatever is published, pinged or closed."""
    connection, transport = world.connect()
    say(connection, b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    assert transport.half_closed
    written = bytes(transport.written)
    world.publish()
    connection.close(1012, "restarting")
    say(connection, PING)
    connection.eof_received()

    assert transport.written == written
    assert world.hub.router.feeds == {}


async def test_nothing_behind_the_end(world: World) -> None:
    """Once a peer has half-closed without a close frame, nothing is written to it any more."""
    connection, transport = world.connect()
    connection.eof_received()
    written = bytes(transport.written)
    world.publish()

    assert transport.written == written
    assert (world.hub.sockets, world.hub.router.feeds) == (set(), {})


@pytest.mark.parametrize("end", ["lost", "closed by us", "closed by the peer", "half-closed", "failed", "refused"])
async def test_freed_at_once(world: World, end: str) -> None:
    """Whoever has come and gone, in whatever way, is freed without the cyclic collector's help."""
    gc.collect()
    gc.disable()
    try:
        connection, _ = world.connect(b"GET / HTTP/1.1\r\n\r\n" if end == "refused" else REQUEST)
        if end == "closed by us":
            connection.close(1012, "restarting")
        if end in ("closed by us", "closed by the peer"):
            say(connection, b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        elif end == "half-closed":
            connection.eof_received()
        elif end == "failed":
            say(connection, b"\x81\x01x")
        connection.connection_lost(None)
        del connection

        assert not [found for found in gc.get_objects() if isinstance(found, (Connection, Handshake))]
    finally:
        gc.enable()


async def test_close_time_out(world: World) -> None:
    """A closed peer that does not answer is cut after five seconds."""
    connection, transport = world.connect()
    connection.close(1012, "restarting")
    world.turn(5)
    assert not transport.aborted

    world.turn(2)
    assert transport.aborted


async def test_head_time_out(world: World) -> None:
    """A head that is not complete after ten seconds is answered 408."""
    _, transport = world.connect(REQUEST[:-1])
    world.turn(12)

    assert transport.written.startswith(b"HTTP/1.1 408 ")
    assert transport.half_closed


async def test_ping_and_silence(world: World) -> None:
    """A socket is pinged within 25 s; a byte within the grace saves it, silence closes it 4410."""
    connection, transport = world.connect()
    for _ in range(2):
        transport.written.clear()
        turns = 0
        while not transport.written:
            world.turn(1)
            turns += 1
        assert 12 <= turns <= 28
        assert transport.written == b"\x89\x00"
        say(connection, b"\x8a\x80\x00\x00\x00\x00")
    transport.written.clear()

    world.turn(12 + 15 + 12)
    assert transport.written == b"\x89\x00\x88\x08\x11\x3asilent"


async def test_leaves_nothing(world: World) -> None:
    """A connection that is lost, in whatever state, leaves neither feed nor deadline."""
    for request, lived in (
        (b"", 0),
        (b"GET /nope HTTP/1.1\r\n\r\n", 0),
        (REQUEST[:30], 0),
        (REQUEST, 1),
        (REQUEST + PING, 2),
    ):
        connection, _ = world.connect(request)
        connection.connection_lost(None)

        assert (world.hub.connections, world.hub.sockets, len(world.wheel), world.hub.router.feeds) == (
            set(),
            set(),
            0,
            {},
        )
        assert sum(world.hub.metrics.closed.values()) == lived


async def test_draining(world: World) -> None:
    """A hub that drains refuses sockets with 503 and when to come back; health it still answers."""
    world.hub.draining = True

    assert b"HTTP/1.1 503 " in world.connect()[1].written
    assert b"Retry-After: 1\r\n" in world.connect()[1].written
    assert world.connect(b"GET /healthz HTTP/1.1\r\n\r\n")[1].written.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("sent", "received", "received_first", "code"),
    [
        (Close(4408, ""), None, None, 4408),
        (Close(1012, ""), Close(1000, ""), False, 1012),
        (Close(3999, ""), Close(3999, ""), True, 3999),
        (Close(1002, ""), None, None, 1002),
        (None, None, None, 1006),
    ],
)
def testclose_code(sent: Close | None, received: Close | None, received_first: bool | None, code: int) -> None:
    """The code of a socket's life is that of whoever closed first; 1006 when nobody said goodbye."""
    assert close_code(sent, received, received_first) == code
