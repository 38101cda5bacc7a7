"""runfeed.sse: however a stream is cut into pieces, what is read is the same, and it is what was written."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from runfeed.sse import Block, Blocks

LINES = st.sampled_from(["\n", "\r", "\r\n"])
WORD = st.text(alphabet=st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=8)
LINE = st.one_of(
    st.builds("data: {}".format, WORD),
    st.builds("data:{}".format, WORD),
    st.builds("event: {}".format, WORD),
    st.builds("id: {}".format, st.integers(0, 99)),
    st.builds("retry: {}".format, st.integers(0, 999)),
    st.builds(": {}".format, WORD),
    WORD,
    st.just(""),
    st.sampled_from(["data", "id:", "retry: x", "id: \0", "event"]),
)
WRITTEN = st.lists(st.tuples(LINE, LINES), max_size=20).map(lambda lines: "".join(map("".join, lines)).encode())


def read(pieces: list[bytes]) -> list[Block]:
    """All blocks of these pieces."""
    blocks = Blocks()
    return [block for piece in pieces for block in blocks.feed(piece)]


@given(WRITTEN, st.lists(st.integers(0, 200), max_size=30))
@settings(deadline=None, max_examples=300)
@example(b"\xef\xbb\xbfdata: a\r\n\r\n", [1, 2, 3, 11, 12, 13])
@example("data: é\r\r".encode(), [7, 8, 9])
def test_any_cut(written: bytes, cuts: list[int]) -> None:
    """Any cut, between the bytes of a letter and of a line's end too, gives what the whole gives."""
    places = [0, *sorted(min(cut, len(written)) for cut in cuts), len(written)]
    pieces = [written[start:end] for start, end in pairwise(places)]

    assert read(pieces) == read([written])
    assert read([bytes([byte]) for byte in written]) == read([written])


@given(st.lists(st.tuples(st.integers(1, 10**9), WORD, st.sampled_from(["\n", "\r", "\r\n"])), max_size=10))
@settings(deadline=None, max_examples=100)
def test_round_trip(frames: list[tuple[int, str, str]]) -> None:
    """What a hub writes is what is read, whichever line ends it uses."""
    written = "".join(f"id: {number}{end}data: {text}{end}{end}" for number, text, end in frames)

    assert read([written.encode()]) == [Block(data=text, id=str(number)) for number, text, _ in frames]
