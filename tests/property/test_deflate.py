"""fanout.wire, compressed: whatever the frames, a client reads the very bytes, in order."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.wire import Frame, deflated_frames, text_frames
from tests.support.deflate import payload, understood

SOME = st.one_of(
    st.binary(max_size=600),
    st.builds(lambda text, times: text.encode() * times, st.text(min_size=1, max_size=20), st.integers(1, 5000)),
    st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 9), st.integers(0, 70_000)),
    st.builds(payload, st.integers(1, 1000), st.integers(0, 400)),
)


@given(st.lists(SOME, max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=150)
def test_round_trip(payloads: list[bytes], order: random.Random) -> None:
    """Frames come out as they went in, in whatever order they are written again, and never larger than uncompressed."""
    frames = [Frame("alice", "r1", None, 0.0, data) for data in payloads]
    written = deflated_frames(frames)

    assert understood(written) == payloads
    assert len(written) <= len(text_frames(frames))
    order.shuffle(frames)
    assert understood(deflated_frames(frames)) == [frame.payload for frame in frames]
