"""Strategies for bytes that are almost right: something good, and a few things done to it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

ODD: Sequence[bytes] = (
    b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\t", b" ", b"%00", b"%0d%0a", b"%", b"+", b"\x7f", b"\x80",
    b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", "\u0430".encode(), b"0", b"-1", b"1e999",
    b"18446744073709551616", b"9" * 400, b"..", b"/", b"\\", b"*", b"'", b'"', b"<", b"&", b"=", b";", b",", b":",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, good: Sequence[bytes], tokens: Sequence[bytes] = (), most: int = 6) -> bytes:
    """One of `good` after up to `most` changes; `tokens`: what may be put in, besides what is odd everywhere."""
    data = bytearray(draw(st.sampled_from(good)))
    pieces = st.sampled_from((*ODD, *tokens))
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.integers(0, 6))
        place = draw(st.integers(0, len(data)))
        end = min(len(data), place + draw(st.integers(1, 20)))
        if kind == 0:
            data[place:place] = draw(pieces)
        elif kind == 1:
            data[place:end] = draw(pieces)
        elif kind == 2:
            del data[place:end]
        elif kind == 3:
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=3))
        elif kind == 4:
            data[place:place] = data[place:end] * draw(st.sampled_from((1, 2, 50)))
        elif kind == 5:
            data[place:] = draw(st.sampled_from(good))[place:]
        else:
            del data[place:]
    return bytes(data)


def lines_of(good: Sequence[bytes], tokens: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """Mostly something almost right: what is wrong everywhere is refused at its first byte. Now and then chance."""
    few = [mutated(good, tokens, most) for most in (1, 2, 3, 6)]
    return st.one_of(*few, mutated(good, tokens, 30), st.binary(max_size=300))


@st.composite
def pieces(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    """Bytes, and how they are cut on their way."""
    data = draw(whole)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
