"""Stage 6: one client connection, from its first byte to its last.

    HEAD --(101)--> OPEN --(a close, either side)--> CLOSING --> gone
      \\--(any other answer)--------------------------^

HEAD: the request's head is collected, 16 KiB and ten seconds at most. OPEN: a socket in the hub. CLOSING: out of the
hub, with five seconds for its last bytes. Handshake, ping, pong, close and framing are the library's (Sans-I/O); the
outgoing data frame is ours, encoded once for all sockets of a group.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from time import time
from typing import Final, cast

import structlog
from websockets.frames import Close
from websockets.http11 import Request, Response
from websockets.protocol import State

from . import handshake, wire
from .errors import Refusal
from .feed import Group
from .metrics import Metrics
from .pings import NOWHERE, Wheel
from .route import Message, Outcome, Router
from .settings import Settings

MAX_HEAD: Final = 16 << 10  # bytes of a request's head
MAX_WAITING: Final = 1 << 20  # bytes that may still wait for one socket when something new is to be written
# What one turn of the loop reads from one socket: some hundred of the smallest frames, a few milliseconds of work.
# A flood is then served in slices between everybody else, and waits in the kernel, not here.
_SLICE: Final = 2048
_PING: Final = b"\x89\x00"
_TLS_HELLO: Final = 0x16

HEAD, OPEN, CLOSING = range(3)
log = structlog.stdlib.get_logger("fanout")


class Hub:
    """What all connections share.

    Args:
        settings: the operator's.
        router: who gets what.
        wheel: everybody's deadlines.
        metrics: the counters.

    Attributes:
        sockets: the open ones.
        connections: all of them, whatever their state.
        draining: no new socket is wanted.
    """

    def __init__(self, settings: Settings, router: Router, wheel: Wheel[Connection], metrics: Metrics) -> None:
        self.settings = settings
        self.router = router
        self.wheel = wheel
        self.metrics = metrics
        self.origins = handshake.origins(settings.allowed_origins)
        self.sockets: set[Connection] = set()
        self.connections: set[Connection] = set()
        self.draining = False
        self.buffer = bytearray(_SLICE)
        self.loop = asyncio.get_running_loop()
        self._hold_timer: asyncio.TimerHandle | None = None

    def connect(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self)

    def receive(self, messages: Iterable[Message]) -> None:
        """Route and deliver what one read of Redis brought."""
        self._deliver(self.router.route(messages, self.loop.time()))
        if self.router.holding and self._hold_timer is None:
            self._arm()

    def _arm(self) -> None:
        due = self.router.due()
        self._hold_timer = None if due is None else self.loop.call_at(due, self._hold_passed)

    def _hold_passed(self) -> None:
        self._deliver(self.router.expire(self.loop.time()))
        self._arm()

    def _deliver(self, outcome: Outcome) -> None:
        metrics = self.metrics
        for group, frames in outcome:
            data = wire.text_frames(frames)
            slow: list[Connection] | None = None
            for connection in cast("set[Connection]", group.members):
                transport = connection.transport
                # The door of `Connection.write`, without the call: this line runs once a delivery.
                if transport.get_write_buffer_size() > MAX_WAITING:
                    slow = [connection] if slow is None else [*slow, connection]
                else:
                    transport.write(data)
            for connection in slow or ():
                connection.close(4408, "slow")
            group.frames += len(frames)
            group.bytes += len(data)
            reached = len(group.members)
            metrics.frames_sent += len(frames) * reached
            metrics.bytes_sent += len(data) * reached
            if frames[0].recorded_at:
                metrics.delivery_lag.observe(max(0.0, time() - frames[0].recorded_at))


class Connection(asyncio.BufferedProtocol):
    """One connection. No task, timer or closure of its own: reads come from the loop, deadlines from the wheel."""

    __slots__ = (
        "admission",
        "bytes",
        "frames",
        "group",
        "head",
        "heard",
        "hub",
        "opened_at",
        "pinged",
        "protocol",
        "slot",
        "state",
        "transport",
    )
    transport: asyncio.Transport
    admission: handshake.Admission
    group: Group

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.state = HEAD
        self.slot = NOWHERE
        self.head: bytearray | None = bytearray()
        self.protocol: handshake.Handshake | None = None
        self.heard = False
        self.pinged = False
        self.opened_at = 0.0
        # While open: what the group had been given when this socket joined; afterwards: what this socket was given.
        self.frames = 0
        self.bytes = 0

    # What the loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer is there; its head is due."""
        self.transport = cast(asyncio.Transport, transport)
        # uvloop's own low-water mark is 16 bytes: a slip, and resume_writing would all but never come.
        self.transport.set_write_buffer_limits(high=65536, low=16384)
        self.hub.connections.add(self)
        self.hub.wheel.put(self, self.hub.settings.head_timeout)

    def get_buffer(self, sizehint: int) -> bytearray:
        """One buffer for all connections: it is filled and emptied within one callback."""
        return self.hub.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the peer."""
        data = self.hub.buffer[:nbytes]
        if nbytes == _SLICE and not self.transport.is_closing():
            # More is waiting. uvloop would go on reading this socket up to 32 times before anybody else's turn.
            self.transport.pause_reading()
            self.hub.loop.call_soon(self._read_on)
        self.heard = True
        if self.state == HEAD:
            self._collect(data)
        elif self.protocol is not None:
            self._feed(data)

    def eof_received(self) -> None:
        """The peer has said all it will; whatever still waits for it gets its time, and no more."""
        if self.protocol is not None:
            self.protocol.receive_eof()
            self._flush()
        self._leave()
        self.state = CLOSING
        self.hub.wheel.put(self, self.hub.settings.close_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever made it."""
        self._leave()
        self.hub.wheel.drop(self)
        self.hub.connections.discard(self)
        if self.protocol is not None:
            self._log_life(self.protocol)
            self.protocol.release()
        self.protocol = None

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # The head.

    def _collect(self, data: bytearray) -> None:
        head = cast(bytearray, self.head)
        start = max(0, len(head) - 3)
        head += data
        if head[0] == _TLS_HELLO:
            self.refuse(Refusal(400, "this port speaks HTTP, not TLS"))
            return
        end = head.find(b"\r\n\r\n", start)
        if 0 <= end <= MAX_HEAD - 4:
            # Exactly the head: the parser would take what follows for frames before the request is answered.
            self.head = None
            self._request(bytes(head[: end + 4]), bytes(head[end + 4 :]))
        elif end > 0 or len(head) > MAX_HEAD:
            self.refuse(Refusal(431, f"the request's head must be at most {MAX_HEAD} bytes"))
        elif head.find(b"\n\n", start) >= 0:
            self.refuse(Refusal(400, "lines of a request end with CRLF"))

    def _request(self, head: bytes, rest: bytes) -> None:
        protocol = handshake.Handshake(self.hub.origins)
        protocol.receive_data(head)
        events = protocol.events_received()
        try:
            if not events:
                self._refused_by_parser(protocol)
                return
            request = cast(Request, events[0])
            if self.hub.draining and request.path.startswith("/ws"):
                raise Refusal(503, "this hub is restarting", headers=(("Retry-After", "1"),))
            response, admission = handshake.respond(protocol, request)
        except Refusal as refusal:
            self.refuse(refusal, body=not head.startswith(b"HEAD "))
            protocol.release()
            return
        if admission is None:
            self._answer(response, body=request.method != "HEAD")
            protocol.release()
            return
        protocol.send_response(response)
        self._open(protocol, admission)
        if rest:
            self._feed(rest)

    def _refused_by_parser(self, protocol: handshake.Handshake) -> None:
        written = [piece for piece in protocol.data_to_send() if piece]
        if not written:
            raise Refusal(400, protocol.refused_because())
        self.hub.metrics.request_refused(int(written[0][9:12]))
        self._last_words(b"".join(written))

    def refuse(self, refusal: Refusal, body: bool = True) -> None:
        """Answer with a status instead of a socket."""
        self._answer(handshake.problem(refusal), body)

    def _answer(self, response: Response, body: bool = True) -> None:
        if response.status_code >= 400:
            self.hub.metrics.request_refused(response.status_code)
        if not body:
            response.body = b""
        self._last_words(response.serialize())

    def _last_words(self, data: bytes) -> None:
        # Half-close and read on: a close with unread input would answer with RST and eat the response.
        self.head = None
        self.state = CLOSING
        self.transport.write(data)
        self._half_close()
        self.hub.wheel.put(self, self.hub.settings.close_timeout)

    def _half_close(self) -> None:
        if not self.transport.is_closing():
            self.transport.write_eof()

    # The socket.

    def _open(self, protocol: handshake.Handshake, admission: handshake.Admission) -> None:
        hub = self.hub
        self.protocol = protocol
        self.admission = admission
        self.state = OPEN
        self.opened_at = hub.loop.time()
        self._flush()
        self.group = hub.router.attach(admission.username, admission.runs, self)
        self.frames = self.group.frames
        self.bytes = self.group.bytes
        hub.sockets.add(self)
        hub.metrics.opened += 1
        # Sockets that came together are pinged apart.
        hub.wheel.put(self, hub.settings.ping_interval * random.uniform(0.5, 1))  # noqa: S311 - spreads load

    def _feed(self, data: bytes | bytearray) -> None:
        protocol = cast(handshake.Handshake, self.protocol)
        if self.state == CLOSING and protocol.eof_sent:
            return
        protocol.receive_data(data)
        protocol.events_received()  # pings and closes are answered by the library; what clients say is ignored
        if protocol.writes:
            self._flush()
        if protocol.state is not State.OPEN and self.state == OPEN:
            self._leave()
            self.state = CLOSING
            self.hub.wheel.put(self, self.hub.settings.close_timeout)

    def _flush(self) -> None:
        """Write what the library has to say."""
        for piece in cast(handshake.Handshake, self.protocol).data_to_send():
            if not piece:  # the library's sign for half-close
                self._half_close()
            elif not self.write(piece):
                return

    def write(self, data: bytes) -> bool:
        """The one door: False, and the socket closed 4408, when too much still waits for this peer."""
        if self.transport.is_closing():
            return False
        if self.transport.get_write_buffer_size() > MAX_WAITING:
            self.close(4408, "slow")
            return False
        self.transport.write(data)
        return True

    def close(self, code: int, reason: str) -> None:
        """Close an open socket: out of the hub first, since a write after close() still grows the buffer."""
        protocol = self.protocol
        if self.state != OPEN or protocol is None:
            return
        self._leave()
        self.state = CLOSING
        self.hub.wheel.put(self, self.hub.settings.close_timeout)
        if protocol.state is State.OPEN and not self.transport.is_closing():
            protocol.data_to_send()  # pongs that found the door shut
            protocol.send_close(code, reason)
            self.transport.write(b"".join(protocol.data_to_send()))

    def deadline_reached(self) -> None:
        """The wheel's word: no head, time to ping, no answer to a ping, or the last bytes had their time."""
        if self.state == HEAD:
            self.refuse(Refusal(408, f"the request's head must come within {self.hub.settings.head_timeout:g} s"))
        elif self.state == CLOSING:
            self.transport.abort()
        else:
            self._ping()

    def _ping(self) -> None:
        settings = self.hub.settings
        if not self.pinged:
            self.pinged = True
            self.heard = False
            if self.write(_PING):
                self.hub.wheel.put(self, settings.ping_grace)
        elif self.heard:
            self.pinged = False
            self.hub.wheel.put(self, max(0.0, settings.ping_interval - settings.ping_grace))
        else:
            self.close(4410, "silent")

    def _leave(self) -> None:
        """Out of the hub: nothing is delivered any more."""
        if self.state == OPEN:
            self.hub.sockets.discard(self)
            self.hub.router.detach(self.admission.username, self.group, self)
            self.frames = self.group.frames - self.frames
            self.bytes = self.group.bytes - self.bytes

    def _log_life(self, protocol: handshake.Handshake) -> None:
        code = close_code(protocol.close_sent, protocol.close_rcvd, protocol.close_rcvd_then_sent)
        self.hub.metrics.socket_closed(code)
        log.info(
            "fanout.socket_closed",
            path="/ws",
            code=code,
            seconds=round(self.hub.loop.time() - self.opened_at, 3),
            frames=self.frames,
            bytes=self.bytes,
        )


def close_code(sent: Close | None, received: Close | None, received_first: bool | None) -> int:
    """The code of whoever closed first; 1006 when nobody said goodbye."""
    first = received if received_first else sent or received
    return 1006 if first is None else int(first.code)
