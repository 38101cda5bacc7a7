"""A command's output as events, pure: bytes become lines, lines become `log` events, not too many a second."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

LINE_BYTES = 8 * 1024  # of a line; more is no line that a person reads
LINES_A_SECOND = 200.0  # as events of their own; beyond, several share one
HOLD_SECONDS = 0.25  # for lines that are to share an event
EVENT_BYTES = 32 * 1024  # of the lines of one event, as JSON: half a frame
EVENT_LINES = 500  # in one event

_BREAK = re.compile(rb"\r\n|\n|\r")
_TAIL = re.compile(rb"[\xc0-\xff][\x80-\xbf]{0,2}\Z")  # a character whose end may have been cut off


class Splitter:
    """Lines out of pieces. A carriage return ends a line too: a progress bar writes nothing else for hours."""

    def __init__(self) -> None:
        self._part = bytearray()
        self._cut = False
        self._after_return = False

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """(line without its end, whether it was cut) of each line that these bytes complete."""
        begin = 1 if self._after_return and data.startswith(b"\n") else 0
        self._after_return = data.endswith(b"\r")
        lines: list[tuple[bytes, bool]] = []
        for end in _BREAK.finditer(data, begin):
            self._add(data[begin : end.start()])
            begin = end.end()
            if self._part or end[0] != b"\r":
                lines.append(self._taken())
        self._add(data[begin:])
        return lines

    def end(self) -> list[tuple[bytes, bool]]:
        """The last line, if it had no end."""
        return [self._taken()] if self._part else []

    def _add(self, piece: bytes) -> None:
        room = LINE_BYTES - len(self._part)
        self._part += piece[:room]
        self._cut = self._cut or len(piece) > room

    def _taken(self) -> tuple[bytes, bool]:
        line = bytes(self._part), self._cut
        self._part.clear()
        self._cut = False
        return line


def shown(line: bytes, cut: bool) -> str:
    """A line as an event can hold it: what is no UTF-8, and NUL, replaced; a character that the cut split left out."""
    if cut:
        line = _TAIL.sub(b"", line)
    return line.decode("utf-8", "replace").replace("\0", "\ufffd")


@dataclass
class Held:
    """Lines of a stream that wait to share an event. since: when the first came, in the caller's clock."""

    since: float = 0.0
    lines: list[str] = field(default_factory=list)
    size: int = 0
    cut: bool = False


class Log:
    """What a command's streams say, as the fields of `log` events. Times are the caller's clock, in seconds."""

    def __init__(self, now: float) -> None:
        self._allowed = LINES_A_SECOND
        self._seen = now
        self._splitters = {"stdout": Splitter(), "stderr": Splitter()}
        self._held = {"stdout": Held(), "stderr": Held()}

    def feed(self, stream: str, data: bytes, now: float) -> list[dict[str, Any]]:
        """The events that are due after these bytes."""
        return self._take(stream, self._splitters[stream].feed(data), now)

    def due(self, now: float) -> list[dict[str, Any]]:
        """The events whose lines have waited long enough; to be asked some times a second."""
        ready = [stream for stream, held in self._held.items() if held.lines and now - held.since >= HOLD_SECONDS]
        return [self._release(stream) for stream in ready]

    def end(self, now: float) -> list[dict[str, Any]]:
        """All that is left."""
        events = [event for stream, each in self._splitters.items() for event in self._take(stream, each.end(), now)]
        return events + [self._release(stream) for stream, held in self._held.items() if held.lines]

    def _take(self, stream: str, lines: list[tuple[bytes, bool]], now: float) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        self._allowed = min(LINES_A_SECOND, self._allowed + (now - self._seen) * LINES_A_SECOND)
        self._seen = now
        held = self._held[stream]
        for raw, cut in lines:
            line = shown(raw, cut)
            if not held.lines and self._allowed >= 1:
                self._allowed -= 1
                events.append({"stream": stream, "line": line, **({"truncated": True} if cut else {})})
                continue
            size = len(json.dumps(line, ensure_ascii=False).encode())
            if held.lines and (held.size + size > EVENT_BYTES or len(held.lines) == EVENT_LINES):
                events.append(self._release(stream))
                held = self._held[stream]
            if not held.lines:
                held.since = now
            held.lines.append(line)
            held.size += size
            held.cut = held.cut or cut
        return events

    def _release(self, stream: str) -> dict[str, Any]:
        held, self._held[stream] = self._held[stream], Held()
        return {"stream": stream, "lines": held.lines, **({"truncated": True} if held.cut else {})}
