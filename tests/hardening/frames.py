"""Frames of RFC 6455 as a hostile client makes them and as a strict one reads them. No I/O, and nothing of ours.

Neither `fanout` nor `websockets` is used here: what is judged must not be the judge.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY = 0, 1, 2
CLOSE, PING, PONG = 8, 9, 10
KNOWN = (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)


class Violation(Exception):
    """The server broke the protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One that the server sent."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int


def masked(payload: bytes, mask: bytes) -> bytes:
    """`payload` XOR `mask` (RFC 6455, 5.3)."""
    if not payload:
        return b""
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


def frame_head(opcode: int, size: int, *, fin: bool = True, rsv: int = 0, mask: bytes = b"") -> bytes:
    """The head of a masked frame, valid or not."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if size <= 125:
        length = bytes((0x80 | size,))
    elif size <= 0xFFFF:
        length = b"\xfe" + struct.pack("!H", size)
    else:
        length = b"\xff" + struct.pack("!Q", size)
    return bytes((first,)) + length + mask


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A masked frame, valid or not."""
    mask = os.urandom(4)
    return frame_head(opcode, len(payload), fin=fin, rsv=rsv, mask=mask) + masked(payload, mask)


class Reader:
    """Frames from the server's bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """More bytes."""
        self._buffer += data

    def frames(self) -> Iterator[Frame]:
        """The whole ones.

        Raises:
            Violation: a server may not send this.
        """
        while (found := self._next()) is not None:
            yield found

    def at_end(self) -> bool:
        """No half frame is left."""
        return not self._buffer

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, size, start = buffer[0], buffer[1], 2
        if size & 0x80:
            raise Violation("a server's frame is masked")
        for marker, width, least in ((126, 2, 126), (127, 8, 65536)):
            if size == marker and start == 2:
                start += width
                if len(buffer) < start:
                    return None
                size = int.from_bytes(buffer[2:start], "big")
                if size < least:
                    raise Violation("a length that is longer than it must be")
        if len(buffer) < start + size:
            return None
        found = Frame(first & 15, bytes(buffer[start : start + size]), bool(first & 0x80), first >> 4 & 7)
        del buffer[: start + size]
        if found.opcode not in KNOWN:
            raise Violation(f"opcode {found.opcode}")
        if found.opcode >= CLOSE and (not found.fin or size > 125 or found.rsv):
            raise Violation("a control frame that is fragmented, too long, or has a reserved bit")
        return found
