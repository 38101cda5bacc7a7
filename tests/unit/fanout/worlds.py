"""A hub whose connections stand on transports that only remember: no sockets, no clock."""

import asyncio
import json

from fanout.deliver import Connection
from fanout.hub import Hub
from fanout.metrics import Metrics
from fanout.pings import Wheel
from fanout.route import Router
from fanout.settings import Settings

REQUEST = (
    b"GET /ws?username=alice HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PING = b"\x89\x80\x00\x00\x00\x00"


class Memory(asyncio.Transport):
    """A transport whose peer reads when it is told to; it is as strict as uvloop's about writes after the end."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.waiting = 0
        self.reads = True
        self.half_closed = self.aborted = self.paused = False
        self.peer: tuple[str, int] | None = None

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Only who is at the other end."""
        return self.peer if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Remembered by nobody."""

    def get_write_buffer_size(self) -> int:
        """What the peer has not taken."""
        return self.waiting

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it; it waits if the peer does not read."""
        if self.half_closed or self.aborted:
            raise RuntimeError("write after the end")
        self.written += data
        self.waiting += 0 if self.reads else len(data)

    def write_eof(self) -> None:
        """Half-close."""
        self.half_closed = True

    def is_closing(self) -> bool:
        """After an abort."""
        return self.aborted

    def close(self) -> None:
        """The end, as far as anybody here can tell."""
        self.aborted = True

    def abort(self) -> None:
        """The end."""
        self.aborted = True

    def pause_reading(self) -> None:
        """No more for now."""
        self.paused = True

    def resume_reading(self) -> None:
        """Go on."""
        self.paused = False


class World:
    """A hub with connections on memory transports."""

    def __init__(self) -> None:
        self.wheel: Wheel[Connection] = Wheel(tick=1, longest=25)
        self.hub = Hub(Settings(), Router(judged=False, hold=0.05), self.wheel, Metrics())

    def connect(self, request: bytes = REQUEST) -> tuple[Connection, Memory]:
        """A connection that has sent `request`."""
        connection, transport = self.hub.connect(), Memory()
        connection.connection_made(transport)
        say(connection, request)
        return connection, transport

    def publish(self, size: int = 0, count: int = 1, number: int | None = None) -> bytes:
        """One read of Redis with `count` frames of alice, all of this id if any; the payload."""
        named = {} if number is None else {"id": number}
        payload = json.dumps({"run_id": "r1", "username": "alice", "x": "y" * size, **named}).encode()
        self.hub.receive([[b"pmessage", b"run:*", b"run:r1", payload]] * count)
        return payload

    def turn(self, times: int) -> None:
        """Time passes."""
        for _ in range(times):
            for member in self.wheel.turn():
                member.deadline_reached()


def say(connection: Connection, data: bytes) -> None:
    """Bytes from the peer, as the loop hands them over."""
    while data:
        buffer = connection.get_buffer(-1)
        piece, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        connection.buffer_updated(len(piece))
