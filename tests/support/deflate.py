"""Frames that shrink as what workers report does, and clients that read them when they are compressed."""

import json
import zlib
from typing import Any

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as LibraryFrame
from websockets.protocol import State
from websockets.uri import parse_uri

TAIL = b"\x00\x00\xff\xff"  # what a compressed message leaves out


def step(number: int, offers: int = 8) -> dict[str, Any]:
    """What a worker says of a step that found something; about 1 KiB with eight offers."""
    found = [
        {
            "carrier": ("LH", "BA", "AF", "KL")[(number + n) % 4],
            "number": 100 + (number * 7919 + n * 104729) % 9900,
            "from": "FRA",
            "to": ("JFK", "SFO", "NRT")[(number + n) % 3],
            "departs": f"2026-11-{10 + n}T{10 + (number + n) % 14}:{10 + (number * 7 + n) % 50}:00Z",
            "price": round(80 + (number * 31.7 + n * 217.3) % 1800, 2),
            "currency": "EUR",
        }
        for n in range(offers)
    ]
    return {"type": "node_completed", "n": number, "node_id": "fetch_flights", "output": {"offers": found}}


def payload(number: int, offers: int = 8) -> bytes:
    """The same as a frame's bytes, of alice's run r1."""
    fields = {"id": number, "run_id": "r1", "username": "alice"}
    return json.dumps(fields | step(number, offers), separators=(",", ":")).encode()


def raw_deflate(data: bytes) -> bytes:
    """What a client's compressed message carries; it compresses a thousand to one when it is all the same."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def understood(data: bytes) -> list[bytes]:
    """The messages that the library's client reads in `data`, having negotiated what the hub offers."""
    client = ClientProtocol(parse_uri("ws://h/"), state=State.OPEN, max_size=None)
    client.extensions = [PerMessageDeflate(True, True, 12, 15)]
    client.receive_data(data)
    frames = [event for event in client.events_received() if isinstance(event, LibraryFrame)]
    assert client.parser_exc is None, client.parser_exc
    return [bytes(frame.data) for frame in frames]
