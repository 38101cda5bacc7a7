"""Reads Server-Sent Events, however the bytes are cut. Bytes in, blocks out: no I/O."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

MOST: Final = 4 << 20  # characters of a block that does not end: a message on Redis has 1 MiB at most
_END: Final = re.compile(r"\r\n|\n|\r")
_RETRY: Final = re.compile(r"[0-9]{1,8}")


@dataclass(slots=True)
class Block:
    """What stood between two empty lines; a comment alone is a block too.

    Fields:
        event: its name.
        data: None: it had none.
        id: None: it had none; "": an empty one.
        retry: ms that the server asks to wait before the next try.
    """

    event: str = "message"
    data: str | None = None
    id: str | None = None
    retry: int | None = None


class Blocks:
    """The parser of one stream (WHATWG HTML, 9.2.6)."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._began = False
        self._rest = ""  # of a line that has not ended
        self._after_cr = False  # a line feed that comes now belongs to the line before
        self._block: Block | None = None
        self._size = 0

    def feed(self, data: bytes) -> list[Block]:
        """Takes some bytes; the blocks that they complete. ValueError: one is longer than any of ours can be."""
        text = self._decode(data)
        if text and not self._began:
            self._began = True
            text = text.removeprefix("\ufeff")
        if not text:
            return []
        lines = _END.split(self._rest + (text.removeprefix("\n") if self._after_cr else text))
        self._rest = lines.pop()
        self._after_cr = text.endswith("\r")
        blocks = [block for line in lines if (block := self._line(line)) is not None]
        if self._size + len(self._rest) > MOST:
            raise ValueError("a block of the event stream does not end")
        return blocks

    def _line(self, line: str) -> Block | None:
        if not line:
            block, self._block = self._block, None
            self._size = 0
            return block
        block = self._block = self._block or Block()
        self._size += len(line)
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            block.data = value if block.data is None else f"{block.data}\n{value}"
        elif field == "event":
            block.event = value or "message"
        elif field == "id" and "\0" not in value:
            block.id = value
        elif field == "retry" and _RETRY.fullmatch(value):
            block.retry = int(value)
        return None
