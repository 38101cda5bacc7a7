"""runfeed.sse: the fields of a block, and its bound."""

from __future__ import annotations

import pytest

from runfeed import sse
from runfeed.sse import Block, Blocks


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (": connected\nid: 5\n\n", Block(id="5")),
        (": heartbeat\n\n", Block()),
        ("retry: 250\n\n", Block(retry=250)),
        ("event: reset\nid:\ndata: {}\n\n", Block("reset", "{}", "")),
        ("data: a\ndata:b\ndata\n\n", Block(data="a\nb\n")),
        ("data:  a\n\n", Block(data=" a")),
        ("\ufeffdata: a\n\n", Block(data="a")),
        ("id: 1\0\nretry: 1s\nevent\n\n", Block()),
        ("\n\n\ndata: a\n\n", Block(data="a")),
    ],
)
def test_block(written: str, expected: Block) -> None:
    """Fields are read as the standard has it; unknown and broken ones are ignored."""
    assert Blocks().feed(written.encode()) == [expected]


def test_unfinished() -> None:
    """What no empty line ends is no block."""
    assert Blocks().feed(b"data: a\n") == []


@pytest.mark.parametrize("piece", [b"data: a", b"data: a\n"])
def test_bound(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    """A line, or a block, that does not end is not kept for ever."""
    monkeypatch.setattr(sse, "MOST", 100)
    blocks = Blocks()
    for _ in range(10):
        assert blocks.feed(piece) == []

    with pytest.raises(ValueError, match="does not end"):
        blocks.feed(10 * piece)
