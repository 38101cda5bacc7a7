"""fanout.deflate: compressed by itself, or not at all."""

import random
import zlib

import pytest

from fanout.deflate import LEAST, WINDOW_BITS, deflated
from tests.support.deflate import TAIL, payload


def inflated(data: bytes, bits: int = WINDOW_BITS) -> bytes:
    """What a client whose window has `bits` makes of a message; AssertionError when something is left over."""
    decompressor = zlib.decompressobj(-bits)
    found = decompressor.decompress(data + TAIL)
    assert decompressor.unused_data == b""
    return found


@pytest.mark.parametrize("size", [LEAST, 300, 1024, 4096, 65_536, 1 << 20])
def test_round_trip(size: int) -> None:
    """zlib alone, with the window that was negotiated and nothing before it, gives the very bytes."""
    text = b"".join(payload(number) for number in range(size // 900 + 1))[:size]

    assert inflated(deflated(text)) == text


def test_the_tail_is_left_out() -> None:
    """The end of the flush is not sent, and nothing that a client would have to guess is missing (RFC 7692, 7.2.1)."""
    data = deflated(payload(1))

    assert not data.endswith(TAIL)
    assert zlib.decompressobj(-WINDOW_BITS).decompress(data + TAIL) == payload(1)


def test_window() -> None:
    """Nothing refers to more than the negotiated window back: a client that keeps no more must be able to read it."""
    noise = random.Random(1).randbytes(5000)

    assert len(deflated(noise + b" " * 500 + noise)) > 9000, "the second half was found in the first"


def test_halves_a_kibibyte() -> None:
    """What a worker says of a step, 1 KiB of JSON, takes less than half."""
    text = payload(1)

    assert 900 < len(text) < 1200
    assert len(deflated(text)) < len(text) / 2


def test_small_goes_as_it_is() -> None:
    """Below 256 bytes nothing is compressed, however well it would."""
    assert deflated(b"x" * (LEAST - 1)) == b""
    assert deflated(b"x" * LEAST) != b""


@pytest.mark.parametrize("size", [LEAST, 1024, 70_000])
def test_incompressible_goes_as_it_is(size: int) -> None:
    """What would not shrink is not compressed."""
    assert deflated(random.Random(size).randbytes(size)) == b""


def test_by_itself() -> None:
    """The bytes of a frame are the same whatever was compressed before: no context is taken over."""
    first = deflated(payload(1))
    for number in range(2, 20):
        deflated(payload(number))

    assert deflated(payload(1)) == first
