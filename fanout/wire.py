"""The envelope in, frames out. Bytes only: no I/O, no state.

A frame's JSON is read for four fields and forwarded as it came; what the producer wrote is what every client gets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from .deflate import deflated

MAX_ID: Final = 2**53 - 1  # the greatest integer that JSON readers of every language keep exact
MAX_PAYLOAD: Final = 1 << 20  # bytes of one Redis message
CONTROL_PROTOCOL: Final = "runfeed.v1"  # the subprotocol whose clients get control frames
BEACON_CHANNEL: Final = b"run:!beacon"  # no run can have this name
USERNAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:+-]{0,127}")
RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")

# As what a client gets a frame: WebSocket text, an SSE message, one with its event name, WebSocket text compressed.
TEXT, SSE, SSE_NAMED, DEFLATED = range(4)
# Terminal types by the status that they give a run: `named=1` names those events so.
TERMINAL: Final = {
    b"workflow_completed": b"completed",
    b"workflow_failed": b"failed",
    b"workflow_cancelled": b"cancelled",
}
_TYPE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
Drop = Literal["malformed", "wrong_channel", "too_big"]
DROPS: Final[tuple[Drop, ...]] = ("malformed", "wrong_channel", "too_big")


class Frame(msgspec.Struct, gc=False):
    """One event on its way; what its JSON is decoded into, so that a frame is one object and not two.

    Fields:
        username: whose feed.
        run_id: which run.
        id: its number in the feed; None: another producer's, not numbered.
        recorded_at: as it stands in the JSON; see `seconds`.
        payload: the JSON, as it came.
        control: reserved for the hub's own frames: its presence does not validate.
        deflated: the text frame that it is compressed; b"": it goes as it is; None: nobody has asked. It is kept as
            long as the frame: several groups of a feed, and the sockets that share a page, share it.
    """

    username: str
    run_id: str
    id: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)] | None = None
    recorded_at: Any = None  # another producer may mean anything by it: read for the lag, never a reason to drop
    # Set by whoever decodes. Any: a producer that uses this odd name for a field of its own must not be dropped for it.
    payload: bytes | Any = msgspec.field(default=b"", name="=payload")
    control: msgspec.UnsetType = msgspec.UNSET
    deflated: bytes | Any = msgspec.field(default=None, name="=deflated")  # the same


class _Typed(msgspec.Struct, gc=False):
    type: str = ""


class Beacon(msgspec.Struct, gc=False):
    """What an API process says of itself every second: its name, the numbering's epoch, heads of feeds it wrote."""

    epoch: str
    api: str = ""
    at: float = 0.0
    heads: dict[str, int] = {}
    bye: bool = False


class _BeaconMessage(msgspec.Struct, gc=False):
    beacon: Beacon


# RecursionError: 10,000 levels deep. UnicodeDecodeError: a field that is decoded has bytes that the scan before missed.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_frame: Final = msgspec.json.Decoder(Frame).decode
_decode_beacon: Final = msgspec.json.Decoder(_BeaconMessage).decode
_decode_type: Final = msgspec.json.Decoder(_Typed).decode


def read(channel: bytes, payload: bytes) -> Frame | Drop:
    """The frame that `payload` on `channel` is, or why it is none. Never raises.

    Its username is any string: whoever finds a feed of that name has a valid one, everybody else must look.
    """
    if len(payload) > MAX_PAYLOAD:
        return "too_big"
    try:
        # The partial decode skips over strings without looking; a text frame that is not UTF-8 would make every
        # browser fail its connection with 1007 (RFC 6455, 8.1).
        if not payload.isascii():
            payload.decode()
        frame = _decode_frame(payload)
    except _UNREADABLE:
        return "malformed"
    if frame.run_id.encode() != channel[4:]:
        return "wrong_channel"
    frame.payload, frame.deflated = payload, None
    return frame


def seconds(recorded_at: Any) -> float:
    """Unix seconds at which the API took a frame; 0.0: it does not say so."""
    return float(recorded_at) if type(recorded_at) in (float, int) and 0 < recorded_at < MAX_ID else 0.0


def read_beacon(payload: bytes) -> Beacon | None:
    """The beacon that `payload` is; None when it is not one. Unknown fields are left alone. Never raises."""
    try:
        return _decode_beacon(payload).beacon
    except _UNREADABLE:
        return None


def read_event(username: str, payload: bytes) -> Frame:
    """The frame that history has under `username`.

    Raises:
        ValueError: it is none; history is not what we take it for.
    """
    try:
        frame = _decode_frame(payload)
    except _UNREADABLE as exc:
        raise ValueError("history has an event that is no frame") from exc
    if frame.id is None or frame.username != username:
        raise ValueError("history has an event without id, or of another user")
    frame.payload, frame.deflated = payload, None
    return frame


def text_head(size: int) -> bytes:
    """The head of an unfragmented, unmasked text frame of `size` bytes (RFC 6455, 5.2)."""
    if size < 126:
        return bytes((0x81, size))
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


_COMMON: Final = 2048  # bytes of a payload below which its head lies ready
_HEADS: Final = tuple(map(text_head, range(_COMMON)))


def text_frames(frames: Sequence[Frame]) -> bytes:
    """The WebSocket text frames of `frames`, one after the other, as one piece to write."""
    if len(frames) == 1:
        payload = frames[0].payload
        size = len(payload)
        return (_HEADS[size] if size < _COMMON else text_head(size)) + payload
    parts: list[bytes] = []
    for frame in frames:
        parts += (text_head(len(frame.payload)), frame.payload)
    return b"".join(parts)


def deflated_frames(frames: Sequence[Frame]) -> bytes:
    """The same, for those who negotiated permessage-deflate: each frame compressed where that pays, else as it is."""
    parts: list[bytes] = []
    for frame in frames:
        data = frame.deflated
        if data is None:
            body = deflated(frame.payload)
            data = frame.deflated = b"\xc1" + text_head(len(body))[1:] + body if body else b""  # 0x40: RSV1
        parts += (data,) if data else (text_head(len(frame.payload)), frame.payload)
    return b"".join(parts)


def sse_messages(frames: Sequence[Frame]) -> bytes:
    """The Server-Sent Events of `frames`; the id is the feed's."""
    return b"".join([_sse_message(frame, b"") for frame in frames])


def sse_named(frames: Sequence[Frame]) -> bytes:
    """The same, each with its type as the event's name; a terminal one is named by its status."""
    return b"".join([_sse_message(frame, _event_name(frame.payload)) for frame in frames])


def _sse_message(frame: Frame, name: bytes) -> bytes:
    number = b"" if frame.id is None else b"id: %d\n" % frame.id
    event = b"event: %b\n" % name if name else b""
    payload = frame.payload
    if b"\n" in payload or b"\r" in payload:  # white space of another producer; within strings JSON has none
        payload = b"\ndata: ".join(payload.splitlines())
    return b"%b%bdata: %b\n\n" % (number, event, payload)


def _event_name(payload: bytes) -> bytes:
    try:
        name = _decode_type(payload).type
    except _UNREADABLE:
        return b""
    if not _TYPE.fullmatch(name):
        return b""
    return TERMINAL.get(name.encode(), name.encode())


ENCODERS: Final[tuple[Callable[[Sequence[Frame]], bytes], ...]] = (
    text_frames,
    sse_messages,
    sse_named,
    deflated_frames,
)


def text(payload: bytes) -> bytes:
    """One WebSocket text frame."""
    return text_head(len(payload)) + payload
