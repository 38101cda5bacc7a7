"""What comes from Redis and from history, and what is made of it for the clients."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from fanout import wire
from tests.hardening.mutations import lines_of
from tests.hardening.targets import Target

FRAMES = (
    b'{"id":7,"seq":3,"run_id":"r1","username":"alice","type":"step","timestamp":1.5,"recorded_at":1.75,"x":"y"}',
    b'{"run_id":"r1","username":"alice","type":"workflow_completed","note":"\xc3\xa4\\u00e4\\n"}',
    b'{ "run_id" : "r1" ,\r\n "username" : "alice" , "deep" : [[[{"a":[1,2,{}]}]]] , "id" : 9007199254740991 }',
    b'{"id":1,"run_id":"r1","username":"alice","=payload":"x","=deflated":1,"recorded_at":[]}',
)
BEACONS = (
    b'{"beacon":{"epoch":"6b1c-1","api":"a1","at":12.5,"heads":{"alice":7,"bob":9},"bye":false}}',
    b'{"beacon":{"epoch":"6b1c-1"}}',
)
TOKENS = (
    b'"control":true,', b'"control":null,', b'"username":"bob",', b'"run_id":"r2",', b'"id":0,', b'"id":null,',
    b'"id":7.0,', b'"id":"7",', b"NaN", b"Infinity", b"[" * 2000, b'{"a":' * 2000, b"\\ud800", b'"type":"a b",',
    b'"type":"workflow_failed",', b'"=payload":"z",', b"\\", b"\\u000a", b"data: x", b"\n\nevent: token_expired\n",
)  # fmt: skip


def sse_events(data: bytes) -> list[dict[str, str]]:
    """What a browser reads in an event stream (HTML, 9.2.6): each event's fields."""
    events: list[dict[str, str]] = []
    fields: dict[str, list[str]] = {}
    for line in data.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif fields:
            events.append({name: "\n".join(values) for name, values in fields.items()})
            fields = {}
    assert not fields, "a stream that ends within an event"
    return events


def check_frame(payload: bytes) -> None:
    """The decoder never raises; what it lets through is what everybody else reads as well, as one message each."""
    frame = wire.read(b"run:r1", payload)
    if isinstance(frame, str):
        assert frame in wire.DROPS
        return
    assert frame.payload == payload
    assert frame.run_id == "r1"
    assert frame.id is None or 1 <= frame.id <= wire.MAX_ID
    wire.seconds(frame.recorded_at)
    check_readers_agree(frame, payload)
    size = len(payload)
    head = size if size < 126 else 126 if size < 65536 else 127
    text = wire.text_frames([frame])
    assert text[:2] == bytes((0x81, head))
    assert text.endswith(payload)
    assert wire.text_frames([frame, frame]) == text + text
    assert wire.deflated_frames([frame])[0] in (0x81, 0xC1)
    for encoder in (wire.sse_messages, wire.sse_named):
        (event,) = sse_events(encoder([frame]))
        assert set(event) <= {"id", "event", "data"}
        assert event.get("id") == (None if frame.id is None else str(frame.id))
        assert event["data"].split() == payload.decode().split()


def check_readers_agree(frame: wire.Frame, payload: bytes) -> None:
    """Whoever reads the same bytes with another library finds the same owner in them."""
    try:
        fields: Any = json.loads(payload)
    except (ValueError, RecursionError):
        return  # the hub reads four fields and skips the rest
    assert fields["username"] == frame.username
    assert fields["run_id"] == frame.run_id
    assert "control" not in fields


def check_beacon(payload: bytes) -> None:
    """A beacon or nothing."""
    beacon = wire.read_beacon(payload)
    if beacon is not None:
        assert all(type(head) is int for head in beacon.heads.values())


def check_history(payload: bytes) -> None:
    """A frame of this user with an id, or ValueError."""
    try:
        frame = wire.read_event("alice", payload)
    except ValueError:
        return
    assert frame.username == "alice"
    assert frame.id is not None


ENVELOPES = lines_of(FRAMES, TOKENS)
TARGETS = [
    Target("envelope", ENVELOPES, check_frame),
    Target("beacon", st.one_of(lines_of(BEACONS, TOKENS), ENVELOPES), check_beacon),
    Target("history event", ENVELOPES, check_history),
]
