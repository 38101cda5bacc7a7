"""What a connection's bytes say, as answers of HTTP/1.1. No I/O; llhttp (httptools) reads, the bounds are ours."""

from __future__ import annotations

from typing import Final

import httptools

from .errors import HistoryAway

MAX_ANSWER: Final = 16 << 20  # bytes; the API's own bounds are far below
MAX_HEAD: Final = 64 << 10  # bytes in front of an answer's body


class Answers:
    """The answers on one connection, one at a time: `begin`, `feed` until it is true, `begin`.

    Args:
        most: bytes of an answer's body; None: MAX_ANSWER.

    Attributes:
        came: bytes of this answer, so far.
        status: of this answer; 0: its head is not complete.
        body: of this answer, so far.
        keep: the server goes on behind this answer.
        until_end: this answer is complete when the connection ends.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most or MAX_ANSWER
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """The next answer is due."""
        self.came = self.status = 0
        self.keep = self.until_end = self._complete = False
        self.body: bytes | bytearray = b""
        self._length: bytes | None = None
        self._coding: bytes | None = None

    def end(self) -> None:
        """No byte comes any more. The parser knows us, and we know it: let go of each other."""
        self._parser = None

    def feed(self, data: bytes) -> bool:
        """Take a piece; whether the answer is complete. However it is cut into pieces, the result is the same.

        Raises:
            HistoryAway: this is no answer of HTTP, it is too big, or something comes behind it.
        """
        room = MAX_HEAD - self.came
        self.came += len(data)
        if self.came > MAX_HEAD + self._most:  # chunks of a byte each are longer on the way than they are
            raise HistoryAway("the answer is too big")
        if not self.status and len(data) > room:
            self._parse(data[:room])
            if not self.status:
                raise HistoryAway("the answer's head is too long")
            data = data[room:]
        self._parse(data)
        return self._complete

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if isinstance(exc.__context__, HistoryAway):  # a callback of ours raised it
                raise exc.__context__ from None
            raise HistoryAway(f"this is no answer of HTTP: {exc}") from exc

    # What the parser tells.

    def on_message_begin(self) -> None:
        """An answer; nobody asked for a second one."""
        if self._complete:
            raise HistoryAway("something came behind the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or one behind the last chunk."""
        name = name.lower()
        if name == b"content-length":
            self._length = value
        elif name == b"transfer-encoding":
            self._coding = value.strip().lower()

    def on_headers_complete(self) -> None:
        """The head is complete. That of a 1xx is skipped."""
        parser = self._parser
        status = 0 if parser is None else parser.get_status_code()
        if self._coding not in (None, b"chunked"):
            raise HistoryAway("the answer is in a language that was not asked for")
        if parser is None or status < 200:
            self._length = self._coding = None
            return
        if int(self._length or 0) > self._most:
            raise HistoryAway("the answer is too big")
        self.status = status
        self.keep = parser.should_keep_alive()
        self.until_end = self._length is None and self._coding is None

    def on_body(self, piece: bytes) -> None:
        """Mostly there is one, and that one is not copied."""
        if len(self.body) + len(piece) > self._most:
            raise HistoryAway("the answer is too big")
        if not self.body:
            self.body = piece
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += piece

    def on_message_complete(self) -> None:
        """The answer is complete, or a 1xx before it."""
        self._complete = self.status != 0
