"""RESP2, as far as a proxy needs it: read messages, change them, write them again."""

from collections.abc import Iterator
from typing import Any

import hiredis


class Messages:
    """Bytes in, whole messages out, whatever the pieces in which they come."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that these bytes complete."""
        self._reader.feed(data)
        while (message := self._reader.gets()) is not False:
            yield message


def packed(message: Any) -> bytes:
    """A message as RESP2. Simple strings become bulk strings: no client of ours minds."""
    if isinstance(message, list):
        return b"*%d\r\n%b" % (len(message), b"".join(packed(part) for part in message))
    if isinstance(message, bytes):
        return b"$%d\r\n%b\r\n" % (len(message), message)
    if isinstance(message, int):
        return b":%d\r\n" % message
    if message is None:
        return b"$-1\r\n"
    return b"-%b\r\n" % str(message).encode()
