"""fanout.wire: the envelope in, frames out."""

import json
from unittest import mock

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame as LibraryFrame
from websockets.protocol import State
from websockets.uri import parse_uri

from fanout import wire
from fanout.deflate import deflated
from fanout.wire import Beacon, Frame, deflated_frames, read, read_beacon, seconds, text_frames, text_head
from tests.support.deflate import payload, understood


def frame(payload: bytes) -> Frame:
    """A frame of no importance around `payload`."""
    return Frame("alice", "r1", None, 0.0, payload)


def parsed(data: bytes) -> list[LibraryFrame]:
    """What a WebSocket client makes of `data`."""
    client = ClientProtocol(parse_uri("ws://h/"), state=State.OPEN, max_size=None)
    client.receive_data(data)
    frames = client.events_received()
    assert client.parser_exc is None
    return [event for event in frames if isinstance(event, LibraryFrame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1 << 20])
def test_text_head_sizes(size: int) -> None:
    """text_head announces exactly the size at every boundary of RFC 6455's three lengths."""
    events = parsed(text_head(size) + b"x" * size)

    assert [(event.opcode, event.fin, len(event.data)) for event in events] == [(1, True, size)]


def test_text_frames_joins() -> None:
    """text_frames puts each payload into a frame of its own, in order, byte for byte."""
    payloads = [b'{"a":1}', '{"b":"\u4f60"}'.encode(), b"x" * 70_000]

    events = parsed(text_frames([frame(payload) for payload in payloads]))

    assert [bytes(event.data) for event in events] == payloads


@pytest.mark.parametrize("offers", [3, 6, 1000])
def test_deflated_frames_first_byte(offers: int) -> None:
    """What was compressed has RSV1 set, what was not has not; either says that it is a whole text message."""
    small, large = frame(b'{"a":1}'), frame(payload(1, offers))

    written = deflated_frames([small, large])
    assert (written[0], written[9]) == (0x81, 0xC1)
    assert understood(written) == [small.payload, large.payload]
    assert understood(deflated_frames([large, small])) == [large.payload, small.payload]


def test_deflated_frames_compresses_once() -> None:
    """A frame is compressed once, however many groups it is written for, and not again when that was in vain."""
    frames = [frame(payload(1)), frame(b"short"), frame(bytes(range(256)) * 2)]
    with mock.patch("fanout.wire.deflated", wraps=deflated) as work:
        assert deflated_frames(frames) == deflated_frames(frames[:1]) + deflated_frames(frames[1:])

    assert work.call_count == 3


def test_read_forwards_bytes() -> None:
    """read keeps the payload as it came, white space and field order included."""
    payload = b' {"x": [1, 2],  "username":"alice","run_id":"r1"}\n'

    read_frame = read(b"run:r1", payload)

    assert isinstance(read_frame, Frame)
    assert read_frame.payload is payload


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1697234568.5", 1697234568.5),
        ("1697234568", 1697234568.0),
        ('"soon"', 0.0),
        ("{}", 0.0),
        ("-1", 0.0),
        ("true", 0.0),
        ("-0.5", 0.0),
        ("-1e308", 0.0),
        ("1e308", 0.0),
    ],
)
def test_read_recorded_at(value: str, expected: float) -> None:
    """seconds takes a recorded_at that is a time and lets any other be, as read does: it only feeds the lag."""
    got = read(b"run:r1", b'{"username":"alice","run_id":"r1","recorded_at":%s}' % value.encode())

    assert isinstance(got, Frame)
    assert seconds(got.recorded_at) == expected


@pytest.mark.parametrize("value", ["true", "false", "null", "1"])
def test_read_control(value: str) -> None:
    """read drops a message that calls itself a control frame, whatever else it carries."""
    assert read(b"run:r1", b'{"username":"alice","run_id":"r1","control":%s}' % value.encode()) == "malformed"


def test_read_last_name_counts() -> None:
    """read takes the last of two usernames, as every JSON reader of a browser does."""
    got = read(b"run:r1", b'{"username":"alice","run_id":"r1","username":"bob"}')

    assert isinstance(got, Frame)
    assert got.username == "bob"


@pytest.mark.parametrize("channel", [b"run:", b"run:R1", b"run:r1 ", b"run:\xff", b""])
def test_read_other_channel(channel: bytes) -> None:
    """read drops a frame whose run_id is not its channel's, byte for byte."""
    assert read(channel, b'{"username":"alice","run_id":"r1"}') == "wrong_channel"


def test_read_size() -> None:
    """read takes a message of exactly 1 MiB and drops one byte more."""
    envelope = b'{"username":"alice","run_id":"r1","x":""}'
    largest = envelope[:-2] + b"x" * ((1 << 20) - len(envelope)) + envelope[-2:]

    assert isinstance(read(b"run:r1", largest), Frame)
    assert read(b"run:r1", largest[:-2] + b'x"}') == "too_big"


def test_read_beacon() -> None:
    """read_beacon reads the fields it knows and leaves the others alone."""
    body = {"beacon": {"api": "a1", "epoch": "e1", "at": 1.5, "heads": {"alice": 3}, "new": [1]}, "more": 1}

    assert read_beacon(json.dumps(body).encode()) == Beacon(epoch="e1", api="a1", at=1.5, heads={"alice": 3})


@pytest.mark.parametrize(
    "payload",
    [b"", b"garbage", b"[]", b"{}", b'{"beacon":{}}', b'{"beacon":{"epoch":7}}', b'{"beacon":' * 20_000, b"\xff"],
)
def test_read_beacon_garbage(payload: bytes) -> None:
    """read_beacon takes what is no beacon for none, and never raises."""
    assert read_beacon(payload) is None


def test_sse() -> None:
    """A stream's message has the id, with names the type, for a terminal one its status; white space splits nothing."""
    frames = [
        Frame("a", "r", 7, 0.0, b'{"type":"workflow_failed"}'),
        Frame("a", "r", None, 0.0, b'{"type":\n"x"}'),
        Frame("a", "r", 8, 0.0, b'{"type":"Not a name"}'),
        Frame("a", "r", 9, 0.0, b'{"type":7}'),
    ]

    assert wire.sse_messages(frames[:2]) == (
        b'id: 7\ndata: {"type":"workflow_failed"}\n\ndata: {"type":\ndata: "x"}\n\n'
    )
    assert wire.sse_named(frames) == (
        b'id: 7\nevent: failed\ndata: {"type":"workflow_failed"}\n\nevent: x\ndata: {"type":\ndata: "x"}\n\n'
        b'id: 8\ndata: {"type":"Not a name"}\n\nid: 9\ndata: {"type":7}\n\n'
    )


def test_read_odd_names() -> None:
    """A producer's own field, whatever its name, neither drops a frame nor changes its bytes."""
    for name in ("payload", "=payload", "=deflated", "recorded_at", ""):
        body = b'{"username":"alice","run_id":"r1","%s":"x"}' % name.encode()
        got = read(b"run:r1", body)

        assert isinstance(got, Frame)
        assert (got.payload, got.deflated) == (body, None)
