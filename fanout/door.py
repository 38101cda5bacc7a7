"""The front half of a connection: from its first byte to an admission or a refusal."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, cast

from websockets.http11 import Request, Response
from websockets.protocol import State

from . import controls, handshake, usual, wire
from .admission import Admission
from .errors import Refusal
from .feed import Group
from .pings import NOWHERE

if TYPE_CHECKING:
    from .deliver import Connection
    from .guest import Guest
    from .hub import Hub

MAX_HEAD: Final = 16 << 10  # bytes of a request's head
# What one turn of the loop reads from one socket: some hundred of the smallest frames, a few milliseconds of work.
# A flood is then served in slices between everybody else, and waits in the kernel, not here.
SLICE: Final = 2048
_TLS_HELLO: Final = 0x16
_PONG: Final = b"\x8a\x80"  # the answer to a ping without payload, up to its mask
_PONG_SIZE: Final = 6  # bytes, with the mask

HEAD, AUTH, WAITING, OPEN, CLOSING = range(5)


class Door(asyncio.BufferedProtocol):
    """One connection, as far as its request; `deliver.Connection` is the rest of it."""

    __slots__ = (
        "admission",
        "bytes",
        "code",
        "frames",
        "group",
        "guest",
        "head",
        "heard",
        "hub",
        "opened_at",
        "pending",
        "pinged",
        "protocol",
        "slot",
        "state",
        "status",
        "transport",
    )
    transport: asyncio.Transport
    admission: Admission

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.state = HEAD
        self.slot = NOWHERE
        self.head: bytearray | None = bytearray()
        self.protocol: handshake.Handshake | None = None
        # Until it is open: the answer, and what came behind the head. The usual answer is bytes; it has no protocol
        # yet. No bytes: it was answered already, to hear who it is.
        self.pending: tuple[Response | bytes, bytes] | None = None
        self.guest: Guest | None = None  # None: nothing about it is counted or proven
        self.group: Group | None = None  # None while open: history is being replayed to it
        self.status: str | None = None  # of the run whose path this is
        self.heard = False
        self.pinged = False
        self.opened_at = 0.0
        self.code = 0  # of a stream that we ended
        # In a group: what the group had been given when this socket joined, less what was replayed to it; otherwise
        # what this socket was given.
        self.frames = 0
        self.bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer is there; its head is due."""
        self.transport = cast(asyncio.Transport, transport)
        # uvloop's own low-water mark is 16 bytes: a slip, and resume_writing would all but never come.
        self.transport.set_write_buffer_limits(high=65536, low=16384)
        self.hub.connections.add(cast("Connection", self))
        self.hub.wheel.put(cast("Connection", self), self.hub.settings.head_timeout)
        self.hub.guard.met(cast("Connection", self))

    def get_buffer(self, sizehint: int) -> bytearray:
        """One buffer for all connections: it is filled and emptied within one callback."""
        return self.hub.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the peer."""
        buffer = self.hub.buffer
        if nbytes == _PONG_SIZE and self.protocol is None and buffer.startswith(_PONG) and self.state == OPEN:
            self.heard = True
            return
        data = buffer[:nbytes]
        if nbytes == SLICE and not self.transport.is_closing():
            # More is waiting. uvloop would go on reading this socket up to 32 times before anybody else's turn.
            self.transport.pause_reading()
            self.hub.loop.call_soon(self._read_on)
        self.heard = True
        if self.state == HEAD:
            self._collect(data)
        elif self.protocol is not None or (self.state == OPEN and not self.stream):
            self.feed(data)

    def _read_on(self) -> None:
        if self.state != WAITING and not self.transport.is_closing():
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
        hub = self.hub
        # Who is refused for a while, in a storm, is refused before much is read. A stream is told in an answer of 200.
        if head.startswith(b"GET /ws") and (refusal := hub.guard.busy(cast("Connection", self))) is not None:
            self._refuse_request(refusal, head)
            return
        try:
            found = usual.read(head, hub.rules) if hub.usual else None
        except Refusal as refusal:
            self._refuse_request(refusal, head)
            return
        if found is None:
            self._unusual(head, rest)
        else:
            self._admitted(None, found[1], (found[0], rest))

    def _unusual(self, head: bytes, rest: bytes) -> None:
        protocol = handshake.Handshake(self.hub.rules)
        protocol.receive_data(head)
        events = protocol.events_received()
        try:
            if not events:
                self._refused_by_parser(protocol)
                return
            request = cast(Request, events[0])
            response, admission = handshake.respond(protocol, request, self.hub.rules)
        except Refusal as refusal:
            protocol.release()
            self._refuse_request(refusal, head)
            return
        if admission is None:
            protocol.release()
            self._refuse_response(response, request, head)
            return
        self._admitted(protocol, admission, (response, rest), request)

    def _admitted(
        self,
        protocol: handshake.Handshake | None,
        admission: Admission,
        pending: tuple[Response | bytes, bytes],
        request: Request | None = None,
    ) -> None:
        self.protocol, self.admission, self.pending, self.state = protocol, admission, pending, WAITING
        if self.hub.draining:
            self.refuse_waiting(restarting())
        else:
            self.hub.guard.arrive(cast("Connection", self), request)
        if self.state == WAITING:
            self.transport.pause_reading()

    def ask_who(self) -> None:
        """Answer 101 to whoever will say who they are in their first message; until then they see nothing else."""
        pending = self.pending
        if self.state != WAITING or pending is None:
            return
        self.pending = (b"", b"")
        self.state = AUTH
        self.upgrade(pending[0]).nameless = True
        self.flush()
        self.hub.wheel.put(cast("Connection", self), self.hub.settings.auth_timeout)
        if pending[1]:
            self.feed(pending[1])

    def known(self) -> None:
        """It has said who it is, if it was asked to; its base is what it waits for now."""
        if self.state == AUTH:
            self.state = WAITING
            self.library().nameless = False
            self.hub.wheel.put(cast("Connection", self), self.hub.settings.head_timeout)

    def turn_away(self, response: Response) -> None:
        """Answer, and be gone, whatever it says: there are far too many."""
        self.head = None
        self.state = CLOSING
        self.hub.metrics.request_refused(response.status_code)
        self.transport.write(response.serialize())
        self.transport.close()

    def _refuse_response(self, response: Response, request: Request, head: bytes) -> None:
        """The library refused, or this was no request for a socket."""
        if response.status_code in handshake.CLOSE_CODES and (opened := handshake.upgraded(head)) is not None:
            self._refuse_open(*opened, Refusal(response.status_code, response.reason_phrase))
        else:
            code = "origin_forbidden" if response.status_code == 403 else ""  # the library forbids nothing else
            self._answer(response, body=request.method != "HEAD", code=code)

    def _refuse_request(self, refusal: Refusal, head: bytes) -> None:
        opened = handshake.upgraded(head) if refusal.status in handshake.CLOSE_CODES else None
        if opened is not None:
            self._refuse_open(*opened, refusal)
        else:
            self.refuse(refusal, body=not head.startswith(b"HEAD "))

    def _refuse_open(
        self, protocol: handshake.Handshake | None, response: Response | bytes, refusal: Refusal, told: bool = True
    ) -> None:
        """Upgrade, and close at once with the reason: a browser shows its page nothing else.

        `told`: it gets control frames.
        """
        self.hub.metrics.request_refused(refusal.status, refusal.code)
        self.protocol, self.head, self.pending = protocol, None, None
        self.state = CLOSING
        protocol = self.upgrade(response)
        code = 1008 if refusal.code == handshake.TOO_MANY_MESSAGES else handshake.CLOSE_CODES[refusal.status]
        if code == 1013:
            wait = retry_ms()
            self.flush()
            if told:
                self.transport.write(controls.closing(code, wait, refusal.code))
            protocol.send_close(code, f"retry in {wait} ms")
        else:
            # A client asks for another token by the name of what is wrong with this one; the rest is for people.
            why = refusal.code if code == handshake.CLOSE_CODES[401] else refusal.detail
            protocol.send_close(code, why.encode()[:120].decode(errors="ignore"))
        self.flush()
        self.hub.wheel.put(cast("Connection", self), self.hub.settings.close_timeout)

    def refuse_silent(self, refusal: Refusal) -> None:
        """No request has come yet, and none is waited for any more."""
        if self.state == HEAD:
            self.refuse(refusal)

    def refuse_waiting(self, refusal: Refusal) -> None:
        """The admission came to nothing after all."""
        protocol, pending = self.protocol, self.pending
        if self.state not in (AUTH, WAITING) or pending is None:
            return
        self.leave()
        self.state = CLOSING
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self.admission.controls or not pending[0]:
            self._refuse_open(protocol, pending[0], refusal, self.admission.controls)
            return
        self.protocol = self.pending = None
        if protocol is not None:
            protocol.release()
        if self.stream and isinstance(pending[0], Response) and refusal.status in (429, 503):
            # From any status but 200 an EventSource never comes back.
            self.hub.metrics.request_refused(refusal.status, refusal.code)
            self._last_words(pending[0].serialize() + controls.sse_refused(refusal.code, retry_ms()))
        else:
            if isinstance(pending[0], Response):
                refusal.headers += handshake.shared_by(pending[0])
            self.refuse(refusal)

    def _refused_by_parser(self, protocol: handshake.Handshake) -> None:
        written = [piece for piece in protocol.data_to_send() if piece]
        if not written:
            raise Refusal(400, protocol.refused_because())
        self.hub.metrics.request_refused(int(written[0][9:12]))
        self._last_words(b"".join(written))

    def refuse(self, refusal: Refusal, body: bool = True) -> None:
        """Answer with a status instead of a socket."""
        self._answer(handshake.problem(refusal), body, refusal.code)

    def _answer(self, response: Response, body: bool = True, code: str = "") -> None:
        if response.status_code >= 400:
            self.hub.metrics.request_refused(response.status_code, code)
        if not body:
            response.body = b""
        self._last_words(response.serialize())

    def _last_words(self, data: bytes) -> None:
        # Half-close and read on: a close with unread input would answer with RST and eat the response.
        self.head = None
        self.state = CLOSING
        self.transport.write(data)
        self.half_close()
        self.hub.wheel.put(cast("Connection", self), self.hub.settings.close_timeout)

    # The library's part.

    @property
    def stream(self) -> bool:
        """Server-Sent Events: nothing of the WebSocket protocol is spoken."""
        return self.admission.encoding != wire.TEXT

    def library(self) -> handshake.Handshake:
        """The library's protocol of a socket; made when it is first needed: most peers only ever answer pings."""
        if self.protocol is None:
            self.protocol = handshake.Handshake(None, state=State.OPEN)
        return self.protocol

    def upgrade(self, response: Response | bytes) -> handshake.Handshake:
        """Answer 101; what the protocol has to say behind it is for `flush`."""
        protocol = self.library()
        if isinstance(response, bytes):
            if response:
                self.transport.write(response)
        else:
            protocol.send_response(response)
        return protocol

    def half_close(self) -> None:
        if not self.transport.is_closing():
            self.transport.write_eof()

    # What the other half does.

    def feed(self, data: bytes | bytearray) -> None:
        """Bytes of an open socket's peer."""
        raise NotImplementedError

    def leave(self) -> None:
        """Out of the hub: nothing is delivered any more."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what the library has to say."""
        raise NotImplementedError


def history_away() -> Refusal:
    """The API does not answer now."""
    detail = "the history that a cursor needs is not there now; come back in a second"
    return Refusal(503, detail, code="history_away", headers=(("Retry-After", "1"),))


def restarting() -> Refusal:
    """This hub drains."""
    return Refusal(503, "this hub is restarting", headers=(("Retry-After", "1"),))


def retry_ms(least: int = 500, most: int = 3000) -> int:
    """When to come back, in milliseconds: not all at once."""
    return random.randint(least, most)  # noqa: S311 - spreads load
