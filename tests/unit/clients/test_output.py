"""A command's output as events, pure."""

import json
import random
from typing import Any

import pytest

from runfeed.commands.emit import read_fields
from runfeed.commands.output import EVENT_BYTES, HOLD_SECONDS, LINE_BYTES, Log, Splitter, shown


def split(*pieces: bytes) -> list[bytes]:
    """The lines of these pieces, the last included."""
    splitter = Splitter()
    return [line for piece in pieces for line, _ in splitter.feed(piece)] + [line for line, _ in splitter.end()]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\n", b"c"], [b"ab", b"c"]),
        ([b"a\n\nb"], [b"a", b"", b"b"]),
        ([b"a\r\nb\r\n"], [b"a", b"b"]),
        ([b"a\r", b"\nb"], [b"a", b"b"]),
        ([b"\r10 %\r20 %\r"], [b"10 %", b"20 %"]),
        ([b""], []),
    ],
)
def test_lines(pieces: list[bytes], lines: list[bytes]) -> None:
    """Lines end with a newline, with a carriage return, or with both, wherever the pieces are cut."""
    assert split(*pieces) == lines


def test_lines_do_not_depend_on_pieces() -> None:
    """The same bytes give the same lines in whatever pieces they come."""
    chance = random.Random(3)
    data = bytes(chance.choice(b"ab\n") for _ in range(3000))
    for _ in range(20):
        cuts = sorted(chance.sample(range(len(data)), 40))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert split(*pieces) == split(data)


def test_long_lines_are_cut() -> None:
    """A line of more than 8 KiB is cut and marked, and no memory is kept for the rest."""
    splitter = Splitter()
    for _ in range(100):
        assert splitter.feed(b"x" * 1000) == []
    assert len(splitter._part) == LINE_BYTES
    assert splitter.feed(b"\nshort\n") == [(b"x" * LINE_BYTES, True), (b"short", False)]


def test_what_is_shown() -> None:
    """What is no text is replaced; a character that a cut split is left out."""
    assert shown(b"a\xff\0b", False) == "a\ufffd\ufffdb"
    assert shown("xé".encode()[:-1], True) == "x"
    assert shown("xé".encode()[:-1], False) == "x\ufffd"
    assert shown("x\U0001f600".encode()[:-1], True) == "x"


def lines_of(events: list[dict[str, Any]]) -> list[str]:
    """All lines of some events."""
    return [line for event in events for line in event.get("lines", [event.get("line")])]


def test_a_few_lines_are_events_of_their_own() -> None:
    """Up to 200 lines a second are an event each."""
    log = Log(0.0)
    events = [event for second in range(5) for event in log.feed("stdout", b"line\n" * 200, float(second))]

    assert [event["line"] for event in events] == ["line"] * 1000
    assert log.end(5.0) == []


def test_many_lines_share_events() -> None:
    """Beyond that lines share events that stay below half a frame; none is lost, and the order stays."""
    log = Log(0.0)
    events: list[dict[str, Any]] = []
    said = [f"{number} {'é' * (number % 300)}" for number in range(20_000)]
    for start in range(0, 20_000, 100):
        now = start / 20_000
        events += log.feed("stdout", "".join(line + "\n" for line in said[start : start + 100]).encode(), now)
        events += log.due(now)
    events += log.end(1.0)

    assert lines_of(events) == said
    assert len(events) < 1000
    assert max(len(json.dumps(event, ensure_ascii=False).encode()) for event in events) < EVENT_BYTES + 4096


def test_held_lines_are_not_held_for_long() -> None:
    """Lines that wait to share an event wait a quarter of a second; streams do not mix."""
    log = Log(0.0)
    log.feed("stdout", b"x\n" * 200, 0.0)

    assert log.feed("stdout", b"out\n", 0.0) == log.feed("stderr", b"err\n", 0.0) == []
    assert log.due(HOLD_SECONDS / 2) == []
    assert log.due(HOLD_SECONDS) == [{"stream": "stdout", "lines": ["out"]}, {"stream": "stderr", "lines": ["err"]}]
    assert log.due(1.0) == []


def test_a_cut_line_says_so() -> None:
    """An event with a cut line has `truncated`."""
    log = Log(0.0)

    assert log.feed("stdout", b"x" * 9000 + b"\n", 0.0) == [
        {"stream": "stdout", "line": "x" * LINE_BYTES, "truncated": True}
    ]


def test_fields_of_emit() -> None:
    """A value is JSON where it is JSON, and text otherwise."""
    assert read_fields(["a=1", "b=x y", 'c={"d":[null]}', "e=", "f=true", 'g="1"', "h=1.50", "i=[1"]) == {
        **{"a": 1, "b": "x y", "c": {"d": [None]}, "e": "", "f": True, "g": "1", "h": 1.5, "i": "[1"}
    }
