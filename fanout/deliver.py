"""Stage 6: one client connection, from its first byte to its last.

    HEAD --> WAITING --(101)--> OPEN --(a close, either side)--> CLOSING --> gone
     |\\---------\\--(any other answer)---------------------------^
      \\-(101)-> AUTH --> WAITING

HEAD: the request's head is collected, 16 KiB and ten seconds at most. AUTH: it was answered, and is to say in its first
message who it is (guard). WAITING: for whose token it has, and until the feed has a base (joins); then it is answered,
if it was not. OPEN: a socket in the hub, or a stream (SSE). CLOSING: out of the hub, with five seconds for its last
bytes. Handshake, ping, pong, close and framing are the library's (Sans-I/O); the outgoing data frame is ours, encoded
once for all sockets of a group.
"""

from __future__ import annotations

import random
import socket
from typing import Final

import structlog
from websockets.frames import Close
from websockets.http11 import Response
from websockets.protocol import State

from . import controls
from .door import AUTH, CLOSING, HEAD, OPEN, WAITING, Door
from .errors import Refusal
from .feed import Feed

MAX_WAITING: Final = 1 << 20  # bytes that may still wait for one socket when something new is to be written
_PING: Final = b"\x89\x00"
log = structlog.stdlib.get_logger("fanout")


class Connection(Door):
    """One connection. No task, timer or closure of its own: reads come from the loop, deadlines from the wheel."""

    __slots__ = ()

    # What the loop tells.

    def eof_received(self) -> None:
        """The peer has said all it will; whatever still waits for it gets its time, and no more."""
        if self.state == OPEN and not self.stream:
            self.library()
        if self.protocol is not None and self.state != WAITING:
            self.protocol.receive_eof()
            self.flush()
        self.leave()
        self.state = CLOSING
        self.hub.wheel.put(self, self.hub.settings.close_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever made it."""
        self.leave()
        self.state = CLOSING
        self.hub.wheel.drop(self)
        self.hub.connections.discard(self)
        self.hub.guard.gone(self)
        if self.opened_at:
            self._log_life()
        if self.protocol is not None:
            self.protocol.release()
        self.protocol = None

    # The socket.

    @property
    def plain(self) -> bool:
        """Neither control frames nor named events can be sent to it."""
        return not self.stream and not self.admission.controls

    def open(self) -> None:
        """Answer 101, or 200 for a stream: from here on the socket is the hub's."""
        hub, pending = self.hub, self.pending
        if self.state != WAITING or pending is None:
            return
        self.state = OPEN
        self.opened_at = hub.loop.time()
        hub.sockets.add(self)
        hub.metrics.opened += 1
        # Sockets that came together are pinged apart.
        hub.wheel.put(self, hub.settings.ping_interval * random.uniform(0.5, 1))  # noqa: S311 - spreads load
        if isinstance(pending[0], bytes):
            if pending[0]:
                self.write(pending[0])
        elif not self.stream:
            self.upgrade(pending[0])
            self.flush()
        else:
            self._open_stream(pending[0])
        self._rest()
        if self.guest is not None:
            hub.guard.opened(self)

    def _open_stream(self, response: Response) -> None:
        if self.protocol is not None:
            self.protocol.release()
        self.protocol = None
        sock = self.transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # A stream's peer answers no ping: what it does not acknowledge tells that it is gone.
            settings = self.hub.settings
            sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int((settings.ping_interval + settings.ping_grace) * 1000)
            )
        self.write(response.serialize())

    def greet(self, head: int | None) -> None:
        """The first thing behind the answer. `head`: up to where this socket has been given what it asked for.

        Where that is known ids are judged: behind it all that a partial socket is not given is of other runs.
        """
        admission, epoch = self.admission, self.hub.router.epoch
        if self.stream and admission.partial and head is not None:
            self.write(controls.sse_partial(head, epoch))
        elif self.stream:
            self.write(controls.sse_comment(b"connected", head))
        elif admission.run_id is not None:
            self.write(
                controls.control("connected", run_id=admission.run_id, status=self.status, head=head, epoch=epoch)
            )
        elif admission.controls:
            partial = {"partial": True} if admission.partial and head is not None else {}
            self.write(controls.control("connected", head=head, epoch=epoch, **partial))

    def join(self, feed: Feed) -> None:
        """Receive what is delivered from now on."""
        if self.state != OPEN or self.group is not None:
            return
        admission = self.admission
        self.group = group = self.hub.router.attach(feed.username, admission.runs, self, admission.written_as)
        self.frames = group.frames - self.frames
        self.bytes = group.bytes - self.bytes

    def caught_up(self, feed: Feed) -> None:
        """All that this socket asked for has been written to it."""
        if self.admission.controls:
            self.write(controls.control("caught_up", head=feed.last, epoch=self.hub.router.epoch))

    def begin(self) -> None:
        """The socket is where it belongs: read what its peer has sent since its request."""
        pending, self.pending = self.pending, None
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if pending is not None and pending[1] and not self.stream:
            self.feed(pending[1])

    def given(self) -> int | None:
        """The id up to which this socket has been given all that it asked for."""
        if self.group is None:
            return self.hub.replays.cursor(self)
        feed = self.hub.router.feeds.get(self.admission.username)
        return feed.last if feed is not None else None

    def feed(self, data: bytes | bytearray) -> None:
        protocol = self.library()
        if self.state == CLOSING and protocol.eof_sent:
            return
        protocol.receive_data(data)
        frames = protocol.events_received()  # pings and closes are answered by the library
        if protocol.writes:
            self.flush()
        if self.guest is not None and protocol.state is State.OPEN:
            self.hub.guard.heard(self, frames)  # else what clients say is ignored
        if protocol.state is not State.OPEN and self.state in (AUTH, OPEN):
            self.leave()
            self.state = CLOSING
            self.hub.wheel.put(self, self.hub.settings.close_timeout)

    def flush(self) -> None:
        """Write what the library has to say."""
        for piece in self.library().data_to_send():
            if not piece:  # the library's sign for half-close
                self.half_close()
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

    def close(self, code: int, reason: str, wait_ms: int | None = None) -> None:
        """Close an open socket: out of the hub first, since a write after close() still grows the buffer.

        `wait_ms`: when to come back; it is told as the kind of socket has it.
        """
        if self.state != OPEN:
            return
        self.leave()
        self.state = CLOSING
        self.code = code
        self.hub.wheel.put(self, self.hub.settings.close_timeout)
        if self.transport.is_closing():
            return
        if self.stream:
            if wait_ms is not None:
                self.transport.write(controls.sse_retry(wait_ms))
            self.half_close()
        elif (protocol := self.library()).state is State.OPEN:
            protocol.data_to_send()  # pongs that found the door shut
            if wait_ms is not None:
                if self.admission.controls:
                    self.transport.write(controls.closing(code, wait_ms, reason))
                reason = f"retry in {wait_ms} ms"
            protocol.send_close(code, reason)
            self.transport.write(b"".join(protocol.data_to_send()))

    def deadline_reached(self) -> None:
        """The wheel's word: no head, no admission, time to ping, no answer to it, or the last bytes had their time."""
        if self.state == HEAD:
            self.refuse(Refusal(408, f"the request's head must come within {self.hub.settings.head_timeout:g} s"))
        elif self.state in (AUTH, WAITING):
            self.refuse_waiting(self.hub.guard.late(self))
        elif self.state == CLOSING:
            self.transport.abort()
        elif not self.stream:
            self._ping()
        elif self.write(controls.sse_comment(b"heartbeat", self.given())):
            self.hub.wheel.put(self, self.hub.settings.ping_interval)

    def _ping(self) -> None:
        settings = self.hub.settings
        if not self.pinged:
            self._rest()
            self.pinged = True
            self.heard = False
            beat = controls.heartbeat(self.given(), self.hub.router.epoch) if self.admission.controls else b""
            if self.write(_PING + beat):
                self.hub.wheel.put(self, settings.ping_grace)
        elif self.heard:
            self.pinged = False
            self.hub.wheel.put(self, max(0.0, settings.ping_interval - settings.ping_grace))
        else:
            self.close(4410, "silent")

    def _rest(self) -> None:
        """Let go of the library's protocol until it is needed again: most peers only ever answer pings."""
        if self.protocol is not None and self.protocol.idle:
            self.protocol.release()
            self.protocol = None

    def leave(self) -> None:
        """Out of the hub: nothing is delivered any more."""
        if self.guest is not None:
            self.hub.guard.left(self)
        if self.state == WAITING:
            self.hub.joins.drop(self)
        elif self.state == OPEN:
            self.hub.sockets.discard(self)
            if self.group is None:
                self.hub.replays.drop(self)
                return
            self.hub.router.detach(self.admission.username, self.group, self)
            self.frames = self.group.frames - self.frames
            self.bytes = self.group.bytes - self.bytes

    def _log_life(self) -> None:
        protocol = self.protocol
        if self.stream:
            code = self.code or 1005
        elif protocol is None:
            code = close_code(None, None, None)
        else:
            code = close_code(protocol.close_sent, protocol.close_rcvd, protocol.close_rcvd_then_sent)
        self.hub.metrics.socket_closed(code)
        log.info(
            "fanout.socket_closed",
            path=self.admission.path,
            code=code,
            seconds=round(self.hub.loop.time() - self.opened_at, 3),
            frames=self.frames,
            bytes=self.bytes,
        )


def close_code(sent: Close | None, received: Close | None, received_first: bool | None) -> int:
    """The code of whoever closed first; 1006 when nobody said goodbye."""
    first = received if received_first else sent or received
    return 1006 if first is None else int(first.code)
