"""Many sockets in one process, as cheap as Python makes them: one epoll, one buffer, no object a frame.

    python -m tests.bench.watch < PLAN

The plan is one line of JSON; see `Plan`. When all sockets are open one line of JSON says so; when what was expected has
arrived, or nothing more comes, a second one says what did.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

BUFFER = 1 << 20  # bytes: more than a hub has waiting for one socket
SAMPLE = 8  # of so many reads one is looked at for its latency
OPEN_SECONDS = 60.0
A_SOURCE = 20_000  # connections from one loopback address: it has 28,000 ports
IP_BIND_ADDRESS_NO_PORT = 24
UPGRADE = (
    "Host: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
MARK = b'"ts":'


@dataclass
class Plan:
    """What to do.

    Fields:
        port: of the hub, on 127.0.0.1.
        paths: one a socket.
        expect: frames in all; 0: until `seconds` have passed.
        seconds: at most.
        idle: seconds without a frame after which no more will come.
        at_once: all handshakes are sent before any answer is read.
        extra: further header lines of each request.
    """

    port: int
    paths: list[str]
    expect: int = 0
    seconds: float = 120.0
    idle: float = 5.0
    at_once: bool = False
    extra: str = ""


@dataclass
class Tally:
    """What arrived."""

    frames: int = 0
    bytes: int = 0
    pings: int = 0
    closed: int = 0
    first: float = 0.0
    last: float = 0.0
    latencies: list[int] = field(default_factory=list)


class Watchers:
    """The sockets of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self.refused = 0
        self.each: list[int] = [0] * len(plan.paths)
        self._sockets: dict[int, socket.socket] = {}
        self._index: dict[int, int] = {}
        self._rest: dict[int, bytes] = {}
        self._poll = select.epoll()
        self._buffer = memoryview(bytearray(BUFFER))
        self._reads = 0

    def open(self) -> float:
        """Connects all; the seconds that it took."""
        began = time.monotonic()
        waiting = []
        for index, path in enumerate(self.plan.paths):
            sock = self._connect(index)
            sock.sendall(f"GET {path} HTTP/1.1\r\n{UPGRADE}{self.plan.extra}\r\n".encode())
            if self.plan.at_once:
                waiting.append((index, sock))
            else:
                self._answered(index, sock)
        for index, sock in waiting:
            self._answered(index, sock)
        return time.monotonic() - began

    def count(self) -> None:
        """Reads until all that is expected has come, or no more comes."""
        plan, tally = self.plan, self.tally
        end = time.monotonic() + plan.seconds
        tally.last = time.monotonic()
        while not plan.expect or tally.frames < plan.expect:
            ready = self._poll.poll(0.1)
            now = time.monotonic()
            if now > end or (plan.expect and tally.frames and not ready and now - tally.last > plan.idle):
                break
            for number, _ in ready:
                self._read(number)
            if ready:
                tally.first = tally.first or now
                tally.last = time.monotonic()

    def _connect(self, index: int) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(OPEN_SECONDS)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.{1 + index // A_SOURCE}.2", 0))
        sock.connect(("127.0.0.1", self.plan.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _answered(self, index: int, sock: socket.socket) -> None:
        head = b""
        try:
            while b"\r\n\r\n" not in head and (piece := sock.recv(4096)):
                head += piece
        except OSError:
            head = b""
        if not head.startswith(b"HTTP/1.1 101 "):
            self.refused += 1
            sock.close()
            return
        sock.setblocking(False)
        number = sock.fileno()
        self._sockets[number], self._index[number] = sock, index
        self._poll.register(number, select.EPOLLIN)
        rest = head.partition(b"\r\n\r\n")[2]
        if rest:
            self._frames(number, rest)

    def _read(self, number: int) -> None:
        try:
            size = self._sockets[number].recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self.tally.closed += 1
            self._poll.unregister(number)
            self._sockets.pop(number).close()
            return
        rest = self._rest.pop(number, b"")
        data = rest + self._buffer[:size].tobytes() if rest else self._buffer[:size].tobytes()
        self.tally.bytes += size
        self._frames(number, data)

    def _frames(self, number: int, data: bytes) -> None:
        at, size, found = 0, len(data), 0
        while size - at >= 2:
            kind = data[at]
            start, length = extent(data, at)
            if start + length > size:
                break
            if kind & 15 < 3:
                found += 1
            elif kind & 15 == 9:
                self._pong(number, data[start : start + length])
            at = start + length
        if at < size:
            self._rest[number] = data[at:]
        if found:
            self.tally.frames += found
            self.each[self._index[number]] += found
            self._sample(data)

    def _sample(self, data: bytes) -> None:
        self._reads += 1
        if self._reads % SAMPLE == 0 and (mark := data.rfind(MARK)) >= 0:
            start = mark + len(MARK)
            end = data.find(b",", start)
            if end > 0 and (sent := int(data[start:end])):
                self.tally.latencies.append(time.monotonic_ns() - sent)

    def _pong(self, number: int, payload: bytes) -> None:
        self.tally.pings += 1
        self._sockets[number].send(bytes((0x8A, 0x80 | len(payload))) + b"\0\0\0\0" + payload)


def extent(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins, and its length; beyond the data when its head is not whole."""
    length = data[at + 1]
    if length < 126:
        return at + 2, length
    if length == 126:
        return at + 4, data[at + 2] << 8 | data[at + 3] if len(data) >= at + 4 else 0
    return at + 10, struct.unpack_from(">Q", data, at + 2)[0] if len(data) >= at + 10 else 0


def percentile(values: list[int], part: float) -> float:
    """Nearest rank, in milliseconds of nanoseconds; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] / 1e6, 3)


def main() -> None:
    """One plan."""
    watchers = Watchers(Plan(**json.loads(sys.stdin.readline())))
    seconds = watchers.open()
    say({"open": len(watchers.plan.paths) - watchers.refused, "refused": watchers.refused, "seconds": seconds})
    if sys.stdin.readline():  # an empty line: go on; the end of the input: that was all
        watchers.count()
    tally = watchers.tally
    say({
        "frames": tally.frames, "bytes": tally.bytes, "pings": tally.pings, "closed": tally.closed,
        "least": min(watchers.each, default=0), "most": max(watchers.each, default=0),
        "seconds": round(tally.last - tally.first, 3) if tally.first else 0.0,
        "p50_ms": percentile(tally.latencies, 0.5), "p99_ms": percentile(tally.latencies, 0.99),
        "samples": len(tally.latencies),
    })  # fmt: skip


def say(what: dict[str, object]) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
