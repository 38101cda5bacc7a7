"""What is known of a peer for as long as its connection, and what it says meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from websockets.frames import Frame, Opcode

from .limits import Messages
from .tokens import Principal


class Guest:
    """A peer; made where tokens or limits are in force.

    Attributes:
        address: what it is counted as; "": not yet.
        seat: what its socket counts as; None: it has none.
        principal: whose token it has.
        task: the verification that is under way.
        by_ticket: it is a ticket that is verified.
        ends: its slot among the expiries.
        warned: it was told that its token has expired.
    """

    __slots__ = ("_messages", "_part", "address", "by_ticket", "ends", "principal", "seat", "task", "warned")

    def __init__(self) -> None:
        self.address = ""
        self.seat: Hashable | None = None
        self.principal: Principal | None = None
        self.task: asyncio.Task[None] | None = None
        self.by_ticket = self.warned = False
        self.ends = 0
        self._messages: Messages | None = None
        self._part: bytearray | None = None  # of a message that comes in fragments

    def one_too_many(self, now: float, most: int) -> bool:
        """It begins a message: True when that is one more than `most` within a minute."""
        if self._messages is None:
            self._messages = Messages()
        return self._messages.one_too_many(now, most)

    def collect(self, frame: Frame) -> bytes | None:
        """A piece of a message. The text that it completes; b"" for what is no text; None: there is more to come.

        The library bounds what comes together (MAX_INBOUND).
        """
        if frame.opcode is Opcode.BINARY:
            self._part = None
            return b""
        if frame.opcode is Opcode.TEXT:
            self._part = bytearray()
        if self._part is None:
            return None
        self._part += frame.data
        return self.forget() if frame.fin else None

    def forget(self) -> bytes:
        """What has come of a message; nothing of it is kept."""
        part, self._part = self._part, None
        return bytes(part or b"")
