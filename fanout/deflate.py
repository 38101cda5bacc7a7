"""Frames that were compressed once for all who read them: permessage-deflate (RFC 7692) without context takeover.

A message is compressed by itself, with nothing of the one before it, so its bytes are the same for every socket that
negotiated the extension. Bytes only: no I/O, and no state beyond what stands on a frame.
"""

from __future__ import annotations

import zlib
from typing import Final

# A window of 4 KiB. Frames of 1 KiB shrink as far as with one of 32 KiB, whose compressor takes 260 KiB that malloc
# gets from the kernel and gives back, frame by frame: 45 us instead of 17. And a client that demands less than 15 bits,
# down to 12, can have the same bytes as everybody.
WINDOW_BITS: Final = 12
# The fields that every frame has are some 200 bytes, most of them said once: they shrink by 70, which is less than
# the headers of the packet that they travel in.
LEAST: Final = 256
_LEVEL: Final = 6  # for 1 KiB 2 us more than level 1, once for all sockets, and up to 4 % fewer bytes for each
_MEMORY: Final = 5  # 32 KiB for the time of one frame
_TAIL: Final = -4  # 00 00 FF FF, the end of a sync flush, which the RFC leaves out (7.2.1)


def deflated(payload: bytes) -> bytes:
    """What a compressed message carries for `payload`; b"" when that would save nothing: it is to go as it is.

    Each frame has a compressor of its own: one that is shared and reset costs 1 us less, and would put the one user's
    bytes into the other's frame on the day that it fails between the two.
    """
    if len(payload) < LEAST:
        return b""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -WINDOW_BITS, _MEMORY)
    data = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:_TAIL]
    return data if len(data) < len(payload) else b""
