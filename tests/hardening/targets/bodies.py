"""What a worker posts."""

# ruff: noqa: PT017 - these are no tests; what a refusal says is part of what must hold

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from fanout import wire
from orchestrator_api import events
from orchestrator_api.errors import BadRequest
from tests.hardening.mutations import lines_of
from tests.hardening.targets import Target

BODIES = (
    b'{"type":"step","timestamp":1763.5,"event_id":"k-1","step_number":3,"total_steps":7,"status":"completed"}',
    b'{"type":"workflow_completed","run_id":"r1","username":"alice","out":{"a":[1,2.5,null,true,"\xc3\xa4"]}}',
    b'{"type":"a","deep":' + b"[" * 50 + b"]" * 50 + b"}",
    b'{"type":"a","big":18446744073709551615,"small":-9223372036854775808,"f":1e308,"z":-0.0}',
)
TOKENS = (
    b'"id":1,', b'"seq":1,', b'"recorded_at":1,', b'"control":true,', b'"type":"b",', b'"username":"bob",',
    b'"run_id":"r2",', b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"NaN", b"-Infinity", b"1e400", b"[" * 70, b"{}",
    b'"a":' + b'"x' * 1000, b"9" * 5000, b'"":0,', b'"__proto__":{},', b"\\/", b"\\u2028", b'"type":null,',
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=40,
)


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    if isinstance(value, str):
        yield value
    for inner in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from texts(inner)


def check_body(body: bytes) -> None:
    """A body is refused with a field and a rule, or becomes a frame that says what the body said, and no more."""
    try:
        given = events.parse(body)
        event = events.event(given, "r1", "alice", 1763.0)
    except BadRequest as error:
        assert 400 <= error.status < 500
        json.dumps(error.body()).encode()
        return
    raw = events.frame(7, 3, event.tail(1764.25))
    assert len(raw) <= events.FRAME_BYTES
    said = json.loads(raw)
    assert (said["id"], said["seq"], said["run_id"], said["username"]) == (7, 3, "r1", "alice")
    assert not any("\0" in text for text in texts(said)), "PostgreSQL has no NUL"
    assert set(json.loads(body)) - {"timestamp"} <= set(said)
    frame = wire.read(b"run:r1", raw)
    assert isinstance(frame, wire.Frame), f"the hub drops what the API takes: {frame}"
    assert (frame.id, frame.username) == (7, "alice")


def as_body(fields: dict[str, Any]) -> bytes:
    """An event with these fields, as Python's own library writes it: with NaN, lone surrogates and all."""
    return json.dumps({"type": "a", **fields}).encode()


TARGETS = [
    Target("event body", lines_of(BODIES, TOKENS), check_body),
    Target("event of any JSON", st.dictionaries(st.text(max_size=10), JSON, max_size=6).map(as_body), check_body),
]
