"""The client that carries out a case of the Testsuite: what its own one does, on asyncio.

A case is written against Autobahn's protocol class of 2015: it calls `sendFrame`, `continueLater`, `closedByMe` and so
on. Those names, and what they mean, are kept here; how a connection ends is taken over rule by rule, since verdicts
hang on who closed, who dropped, and whether that was clean.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from tests.hardening.cases import Offer, States
from tests.hardening.deflating import Deflating
from tests.hardening.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    Reader,
    Violation,
    frame,
    frame_head,
    masked,
)

CLOSE_SECONDS = 1.0  # for the server's close, and for its end of the connection behind it; Autobahn's own
CHOP_SECONDS = 0.00001  # between the writes of a frame that is sent in chops; in truth a turn of the timers
VALID_CODES = {*range(1000, 1004), *range(1007, 1012), *range(3000, 5000)}
REQUEST = (
    "GET /ws?username=echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


@dataclass(frozen=True)
class Outcome:
    """What a case said of the server. `close`: of how the connection ended."""

    id: str
    behavior: str
    close: str
    result: str
    seconds: float


def octets(payload: str | bytes) -> bytes:
    """The bytes that a case means: a text of its stands for bytes."""
    return payload if isinstance(payload, bytes) else payload.encode("latin-1")


class Sending(States, asyncio.Protocol):
    """What a case may send."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.state = self.STATE_CONNECTING
        self.factory = SimpleNamespace(isServer=False)
        self.trafficStats = None
        self.txFrameStats: Counter[int] = Counter()
        self.autoFragmentSize = 0
        self.createWirelog = True
        self._perMessageCompress: Deflating | None = None
        self._chops: deque[bytes] = deque()
        self._together = bytearray()
        self._streamed = 0  # bytes of a streamed frame that were sent
        self._mask = b""
        self._opcode = TEXT

    def enableWirelog(self, enable: bool) -> None:
        """There is no log of the wire."""

    def sendFrame(
        self,
        opcode: int,
        payload: str | bytes = b"",
        fin: bool = True,
        rsv: int = 0,
        payload_len: int | None = None,
        chopsize: int | None = None,
        sync: bool = False,
    ) -> None:
        """Any frame at all. `payload_len`: bytes, of the payload again and again; `chopsize`: bytes of one write."""
        data = octets(payload)
        if payload_len is not None:
            data = (data * (payload_len // len(data) + 1))[:payload_len]
        self.txFrameStats[opcode] += 1
        self._write(frame(opcode, data, fin=fin, rsv=rsv), chopsize)

    def sendMessage(self, payload: str | bytes, isBinary: bool = False, fragmentSize: int | None = None) -> None:
        """A message, compressed if that was agreed on, in one frame or several."""
        if self.state != self.STATE_OPEN:
            return
        data, rsv = octets(payload), 0
        if self._perMessageCompress is not None:
            data, rsv = self._perMessageCompress.compress(data), 4
        opcode = BINARY if isBinary else TEXT
        size = fragmentSize or self.autoFragmentSize
        if not size or len(data) <= size:
            self.sendFrame(opcode, data, rsv=rsv)
            return
        for start in range(0, len(data) + 1, size):  # a message of whole fragments gets an empty one more, as it did
            self.sendFrame(opcode, data[start : start + size], fin=start + size > len(data), rsv=rsv)
            opcode, rsv = CONTINUATION, 0

    def beginMessage(self) -> None:
        """A text whose frames are streamed."""
        self._opcode = TEXT

    def beginMessageFrame(self, length: int) -> None:
        """The head of a frame whose payload comes bit by bit."""
        self._mask, self._streamed = os.urandom(4), 0
        self._write(frame_head(self._opcode, length, fin=False, mask=self._mask))

    def sendMessageFrameData(self, payload: str | bytes) -> None:
        """A bit of it."""
        turn = self._streamed % 4
        mask = self._mask[turn:] + self._mask[:turn]
        data = octets(payload)
        self._streamed += len(data)
        self._write(masked(data, mask))

    def endMessage(self) -> None:
        """The end of a streamed message."""
        if self.state == self.STATE_OPEN:
            self.sendFrame(CONTINUATION)

    def _write(self, data: bytes, chop: int | None = None) -> None:
        """What is written within one turn is one write, as Twisted has it: the server reads it together."""
        if not chop and not self._chops:
            if not self._together:
                self.loop.call_soon(self._flush)
            self._together += data
            return
        self._flush()
        if not self._chops:
            self.loop.call_soon(self._next_chop)
        size = chop or len(data)
        self._chops.extend(data[start : start + size] for start in range(0, len(data), size))

    def _flush(self) -> None:
        if self._together and not self.transport.is_closing():
            self.transport.write(bytes(self._together))
        self._together.clear()

    def _next_chop(self) -> None:
        """Each is a write, and so a packet, of its own."""
        if self.state != self.STATE_CLOSED and not self.transport.is_closing():
            self.transport.write(self._chops.popleft())
            if self._chops:
                self.loop.call_later(CHOP_SECONDS, self._next_chop)


class Closing(Sending):
    """How a connection ends."""

    def __init__(self) -> None:
        super().__init__()
        self.connectionWasOpen = False
        self.closedByMe = self.failedByMe = self.droppedByMe = self.wasClean = False
        self.localCloseCode: int | None = None
        self.localCloseReason: str | bytes | None = None
        self.remoteCloseCode: int | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        """A close as one may be."""
        self.sendCloseFrame(code, reason)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: str | bytes | None = None, isReply: bool = False
    ) -> None:
        """Any close at all."""
        if self.state != self.STATE_OPEN:
            return
        payload = b"" if code is None else code.to_bytes(2, "big")
        self.sendFrame(CLOSE, payload + octets(reasonUtf8 or b""))
        self.state = self.STATE_CLOSING
        self.closedByMe = not isReply
        self.localCloseCode, self.localCloseReason = code, reasonUtf8
        if self.closedByMe:
            self._timers.append(self.loop.call_later(CLOSE_SECONDS, self._unclean))

    def continueLater(self, delay: float, fun: Callable[[], None], tag: str | None = None) -> None:
        """Go on with the case, if there still is a connection."""
        self.loop.call_later(delay, lambda: fun() if self.state != self.STATE_CLOSED else None)

    def killAfter(self, delay: float) -> None:
        """The server had its time: fail the connection."""
        self.loop.call_later(delay, self.fail, 1001, "Going Away")

    def closeAfter(self, delay: float) -> None:
        """The server had its time: close the connection."""
        self.loop.call_later(delay, lambda: self.sendClose() if self.state != self.STATE_CLOSED else None)

    def fail(self, code: int, reason: str) -> None:
        """Something is wrong: say so, or drop the connection if its end is under way already."""
        if self.state == self.STATE_CLOSED:
            return
        self.failedByMe = True
        if self.state == self.STATE_CLOSING:
            self._drop()
        else:
            self.sendCloseFrame(code, reason[:123])

    def _unclean(self) -> None:
        if self.state != self.STATE_CLOSED:
            self.wasClean = False
            self._drop()

    def _drop(self) -> None:
        self.droppedByMe = True
        self.state = self.STATE_CLOSED
        self._flush()
        self.transport.abort()

    def _on_close(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else None
        self.remoteCloseCode = code
        if len(payload) == 1 or (code is not None and code not in VALID_CODES):
            self.fail(1002, f"invalid close {payload[:2]!r}")
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            self.fail(1007, "invalid close reason")
        if self.state == self.STATE_CLOSING:
            self._stop_timers()
            self.wasClean = True
            self._timers.append(self.loop.call_later(CLOSE_SECONDS, self._unclean))
        elif self.state == self.STATE_OPEN:
            self.wasClean = True
            self.sendCloseFrame(1000, isReply=True)
        else:
            self.wasClean = False

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class Peer(Closing):
    """The client of one case."""

    def __init__(self, case: Callable[[Peer], Any], port: int) -> None:
        super().__init__()
        self.perMessageCompressionOffers: list[Offer] = []
        self.perMessageCompressionAccept: Any = None
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self._port = port
        self._head = bytearray()
        self._reader = Reader()
        self._message: list[bytes] = []
        self._first: Frame | None = None
        self._runs = case(self)
        self._speaks_bytes = hasattr(self._runs, "TESTDATA")  # these cases are at home in both Pythons

    @property
    def runs(self) -> Any:
        """The case, which has judged when `ended` is done."""
        return self._runs

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the socket."""
        self.transport = cast(asyncio.Transport, transport)
        offers = ", ".join(map(str, self.perMessageCompressionOffers))
        more = f"Sec-WebSocket-Extensions: {offers}\r\n" if offers else ""
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(REQUEST.format(port=self._port, key=key, more=more).encode())

    def data_received(self, data: bytes) -> None:
        """The answer, then frames."""
        if self.state == self.STATE_CONNECTING:
            self._head += data
            head, end, data = bytes(self._head).partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.transport.abort()
                return
            self._opened(head.decode("latin-1"))
        self._reader.feed(data)
        try:
            for each in self._reader.frames():
                self._take(each)
        except Violation as wrong:
            self.fail(1002, str(wrong))

    def connection_lost(self, exc: Exception | None) -> None:
        """The case judges."""
        self._stop_timers()
        self.state = self.STATE_CLOSED
        self._runs.onConnectionLost(self.failedByMe)
        self.ended.set_result(None)

    def _opened(self, head: str) -> None:
        for line in head.split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "sec-websocket-extensions":
                self._perMessageCompress = Deflating(value)
        self.state = self.STATE_OPEN
        self.connectionWasOpen = True
        self._runs.onOpen()

    def _take(self, each: Frame) -> None:
        if each.opcode == CLOSE:
            self._on_close(each.payload)
        elif each.opcode == PING:
            self.sendFrame(PONG, each.payload)
        elif each.opcode == PONG:
            self._runs.onPong(each.payload.decode("latin-1"))
        else:
            self._take_data(each)

    def _take_data(self, each: Frame) -> None:
        if (each.opcode == CONTINUATION) is (self._first is None):
            raise Violation("a continuation of nothing, or a message within a message")
        self._first = first = self._first or each
        if each.rsv and (each is not first or each.rsv != 4 or self._perMessageCompress is None):
            raise Violation(f"reserved bits {each.rsv}")
        self._message.append(each.payload)
        if not each.fin:
            return
        data = b"".join(self._message)
        self._message.clear()
        self._first = None
        if first.rsv and self._perMessageCompress is not None:
            data = self._perMessageCompress.inflate(data)
        if first.opcode == TEXT:
            try:
                data.decode()
            except UnicodeDecodeError:
                self.fail(1007, "a text that is not UTF-8")
        if self.state == self.STATE_OPEN:
            self._runs.onMessage(data if self._speaks_bytes else data.decode("latin-1"), first.opcode == BINARY)


async def carry_out(name: str, case: type[Any], port: int, within: float) -> Outcome:
    """One case against the server on `port`; `within`: seconds, beyond which it is cut and has failed."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    transport, peer = await loop.create_connection(lambda: Peer(case, port), "127.0.0.1", port)
    try:
        async with asyncio.timeout(within):
            await asyncio.shield(peer.ended)
    except TimeoutError:
        transport.abort()
        await peer.ended
    runs = peer.runs
    return Outcome(name, runs.behavior, runs.behaviorClose, f"{runs.result} {runs.resultClose}", loop.time() - began)
