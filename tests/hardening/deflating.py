"""permessage-deflate (RFC 7692) as a client has it. Nothing of ours, nothing of `websockets`."""

from __future__ import annotations

import re
import zlib

TAIL = b"\x00\x00\xff\xff"
MOST = 1 << 28  # bytes of an inflated message; no case has more


class Deflating:
    """Both directions of one connection.

    Args:
        answer: the server's answer, without the extension's name.
    """

    def __init__(self, answer: str) -> None:
        self.client_keeps = "client_no_context_takeover" not in answer
        self.server_keeps = "server_no_context_takeover" not in answer
        self._client_bits = self._bits(answer, "client")
        self._server_bits = self._bits(answer, "server")
        self._compressor = self._new_compressor()
        self._decompressor = self._new_decompressor()

    @staticmethod
    def _bits(answer: str, side: str) -> int:
        match = re.search(rf"{side}_max_window_bits=(\d+)", answer)
        return int(match[1]) if match else 15

    def _new_compressor(self) -> zlib._Compress:
        return zlib.compressobj(wbits=-max(9, self._client_bits))

    def _new_decompressor(self) -> zlib._Decompress:
        return zlib.decompressobj(wbits=-self._server_bits)

    def compress(self, payload: bytes) -> bytes:
        """What a message carries."""
        if not self.client_keeps:
            self._compressor = self._new_compressor()
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return data.removesuffix(TAIL)

    def inflate(self, data: bytes) -> bytes:
        """What a message carried."""
        if not self.server_keeps:
            self._decompressor = self._new_decompressor()
        return self._decompressor.decompress(data + TAIL, MOST)
