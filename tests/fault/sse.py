"""The client of Server-Sent Events."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from tests.fault.checker import Segment
from tests.fault.clients import OPEN_SECONDS, Client


class Sse(Client):
    """EventSource, but for its patience: it knows the comments."""

    async def _one_life(self) -> None:
        query = [("username", self.stream.username)]
        query += [("run_id", run) for run in sorted(self.stream.runs or ())]
        headers = {"Accept": "text/event-stream"}
        after = None if self._fresh and self.opened else self.last
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        url = URL(f"http://127.0.0.1:{self._door()}/sse?{urlencode(query)}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, connect=OPEN_SECONDS, sock_read=self.places.times.silence)
        try:
            async with self.places.session.get(url, headers=headers, timeout=timeout, read_bufsize=2**20) as response:
                if response.status != 200:
                    self.refused.append(str(response.status))
                    return
                await self._read(response, after)
        except aiohttp.ClientError as error:
            if isinstance(error, TimeoutError):
                raise
            raise OSError(str(error)) from error

    async def _read(self, response: aiohttp.ClientResponse, after: int | None) -> None:
        segment = self._open(after)
        only_told_to_wait = True
        block: dict[str, str] = {}
        while line := await response.content.readline():
            name, _, value = line.decode().rstrip("\r\n").partition(":")
            self._heard = time.monotonic()
            if name or value:
                block[name] = value.removeprefix(" ")
                continue
            if "retry" in block:
                self._delay = int(block["retry"]) / 1000
            only_told_to_wait = only_told_to_wait and "retry" in block and set(block) <= {"", "retry"}
            segment = self._block(block, segment)
            block = {}
        if only_told_to_wait:  # that is how a hub refuses an EventSource, which would not come back from a status
            self.stream.segments.remove(segment)
        self._close("end")

    def _block(self, block: dict[str, str], segment: Segment) -> Segment:
        if block.get("event") == "reset":
            self.begin_anew()
            segment.closed, segment.code = time.time(), "reset"
            self.last = int(orjson.loads(block.get("data") or "{}").get("head", 0))
            return self._open(self.last)
        if "data" in block and block.get("event") != "connected":  # that it leaves out runs: no page listens for it
            self._show(segment, block["data"].encode())
        return segment
