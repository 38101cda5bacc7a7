"""Scripted clients of every kind. Each records all that it was shown, and when; the checker judges.

plain       a browser's: no cursor; back after a close it polls what it missed, and when nothing comes for a while
one_run     the same, for one run of two
resuming    `after`, on every connection
control     `runfeed.v1`: control frames, and `epoch` with the cursor; silence is a reason to come back
run_socket  `/ws/runs/{run_id}`
sse         Server-Sent Events with Last-Event-ID; silence is a reason to come back
poller      no socket at all
library     the Python package `runfeed` (library.py)
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol
from yarl import URL

from tests.fault.checker import Segment, Stream
from tests.fault.times import Times
from tests.support.pacing import passing
from tests.support.pages import frames_of

GONE: tuple[type[Exception], ...] = (OSError, TimeoutError, ConnectionClosed, InvalidHandshake, EOFError)
OPEN_SECONDS = 5.0  # for a handshake; a hub answers in milliseconds, or its fault is what is tried
POLL_SECONDS = 6.0  # for an answer of the API, which itself gives up after 5 s
IMPATIENT = "impatient"  # how a segment ends whose client heard nothing for too long
BACK_SECONDS = (0.02, 0.5)  # between two tries, unless the hub said how long


@dataclass
class Places:
    """Where clients go: a door and an API for each try, in turn."""

    doors: list[int]
    apis: list[int]
    session: aiohttp.ClientSession
    times: Times


class Client:
    """What all kinds share: coming back, and polling."""

    reads = True  # False: it only polls

    def __init__(self, stream: Stream, places: Places) -> None:
        self.stream = stream
        self.places = places
        self.last = 0  # the highest id that was shown
        self.epoch = ""
        self.segment: Segment | None = None  # the open one
        self.opened = 0  # how often it was answered
        self.refused: list[str] = []
        self.tries = 0
        self._fresh = False
        self._heard = time.monotonic()
        self._delay: float | None = None  # the hub said when to come back
        self.stream.segments = []

    def __repr__(self) -> str:
        state = "OPEN" if self.segment else f"AWAY {self.refused[-1:]}"
        return f"<{type(self).__name__} {self.stream.name} {state} last {self.last} opened {self.opened}>"

    async def run(self) -> None:
        """Connects, for as long as it is not cancelled."""
        while True:
            try:
                await self._one_life()
            except GONE as error:
                self.refused.append(f"{type(error).__name__}: {error}")
                self._close(IMPATIENT if isinstance(error, TimeoutError) else type(error).__name__)
            except asyncio.CancelledError:
                self.segment = None  # it stays open, for the checker: nobody closed it but the end of the row
                raise
            delay = self._delay
            self._delay = None
            await passing(random.uniform(*BACK_SECONDS) if delay is None else delay)

    async def _one_life(self) -> None:
        raise NotImplementedError

    def _door(self) -> int:
        self.tries += 1
        return self.places.doors[(self.tries - 1) % len(self.places.doors)]

    def _open(self, after: int | None, source: str = "socket") -> Segment:
        segment = Segment(time.time(), after, source, fresh=self._fresh)
        self._fresh = False
        self.stream.segments.append(segment)
        if source == "socket":
            self.segment = segment
            self.opened += 1
            self._heard = time.monotonic()
        return segment

    def _close(self, code: str) -> None:
        if self.segment is not None:
            self.segment.closed, self.segment.code = time.time(), code
            self.segment = None
        if code in ("4409", "410"):
            self.begin_anew()

    def begin_anew(self) -> None:
        """The hub does not know our cursor: drop it, and what is shown."""
        self._fresh = True
        self.last = 0
        self.epoch = ""

    def _show(self, segment: Segment, raw: bytes) -> dict[str, Any]:
        segment.frames.append((time.time(), raw))
        self._heard = time.monotonic()
        try:
            fields: dict[str, Any] = orjson.loads(raw)
            self.last = max(self.last, int(fields.get("id", 0)))
        except (ValueError, TypeError, AttributeError):
            return {}  # the checker has it, and will not like it
        return fields

    async def _poll(self, after: int) -> bool:
        """All pages after an id; whether they brought anything."""
        before = self.last
        path = f"/api/v1/feeds/{quote(self.stream.username, safe='')}/events"
        runs = [("run_id", run) for run in sorted(self.stream.runs or ())]
        head = after + 1
        while after < head:
            page, raw = await self._get(path, [("after", str(after)), *runs])
            self._take(after, frames_of(raw, len(page["events"])))
            after, head = page["next"], page["head"]
        return self.last > before

    async def _get(self, path: str, query: list[tuple[str, str]]) -> tuple[Any, bytes]:
        self.tries += 1
        api = self.places.apis[self.tries % len(self.places.apis)]
        timeout = aiohttp.ClientTimeout(total=POLL_SECONDS)
        url = URL(f"http://127.0.0.1:{api}{path}?{urlencode(query)}", encoded=True)
        try:
            async with self.places.session.get(url, timeout=timeout) as response:
                raw = await response.read()
                if response.status == 410:
                    self.begin_anew()
                if response.status != 200:
                    raise OSError(f"poll: {response.status}")
        except aiohttp.ClientError as error:
            raise OSError(f"poll: {error}") from error
        return orjson.loads(raw), raw

    def _take(self, after: int, frames: list[bytes]) -> None:
        segment = self._open(after, "poll")
        for raw in frames:
            self._show(segment, raw)
        segment.closed = time.time()


class Socket(Client):
    """A WebSocket. `resumes`: it brings its cursor; else it polls."""

    path = "/ws"
    resumes = False
    protocols: tuple[str, ...] = ()

    def _url(self) -> str:
        query = [("username", self.stream.username)]
        if self.path == "/ws":
            query += [("run_id", run) for run in sorted(self.stream.runs or ())]
        if self.resumes and not (self._fresh and self.last == 0 and self.opened):
            query.append(("after", str(self.last)))
            query += [("epoch", self.epoch)] if self.epoch else []
        return f"ws://127.0.0.1:{self._door()}{self.path}?{urlencode(query)}"

    async def _one_life(self) -> None:
        url = self._url()
        after = self.last if "after=" in url else None
        missed_after = self.last
        try:
            socket = await self._dial(url)
        except InvalidStatus as error:
            self.refused.append(str(error.response.status_code))
            if error.response.status_code == 410:
                self.begin_anew()
            return
        segment = self._open(after)
        polling = None if self.resumes else asyncio.create_task(self._polling(missed_after))
        try:
            await self._listen(socket, segment)
        finally:
            if polling is not None:
                polling.cancel()
            socket.transport.abort()

    async def _dial(self, url: str) -> ClientConnection:
        return await connect(
            url,
            subprotocols=[Subprotocol(name) for name in self.protocols] or None,
            compression=None,
            ping_interval=None,
            open_timeout=OPEN_SECONDS,
            max_size=None,
            max_queue=None,
            proxy=None,
        )

    async def _listen(self, socket: ClientConnection, segment: Segment) -> None:
        try:
            while True:
                self._receive(segment, await self._next(socket))
        except ConnectionClosed as error:
            code = str(error.rcvd.code) if error.rcvd is not None else "1006"
            self._close(code)

    async def _next(self, socket: ClientConnection) -> bytes:
        return await socket.recv(decode=False)

    def _receive(self, segment: Segment, raw: bytes) -> None:
        self._show(segment, raw)

    async def _polling(self, after: int) -> None:
        """What was missed while away, then the hybrid client's rule: silence is a reason to ask."""
        await self._until_polled(after)
        pause = self.places.times.poll
        while True:
            quiet = time.monotonic() - self._heard
            if quiet < pause:
                await passing(pause - quiet)
                continue
            news = await self._until_polled(self.last)
            pause = self.places.times.poll if news else min(pause * 1.5, 30.0)
            self._heard = time.monotonic()

    async def _until_polled(self, after: int) -> bool:
        while True:
            try:
                return await self._poll(after)
            except GONE as error:
                self.refused.append(f"{error}")
                await passing(random.uniform(0.1, 0.6))


class Resuming(Socket):
    """It brings its cursor."""

    resumes = True


class RunSocket(Socket):
    """One run's own socket: from the run's beginning, then from its cursor."""

    resumes = True
    protocols = ("runfeed.v1",)

    def __init__(self, stream: Stream, places: Places) -> None:
        super().__init__(stream, places)
        (run_id,) = stream.runs or {""}
        self.path = f"/ws/runs/{run_id}"

    def _receive(self, segment: Segment, raw: bytes) -> None:
        _receive_control(self, segment, raw)


class Control(Socket):
    """It speaks `runfeed.v1`."""

    resumes = True
    protocols = ("runfeed.v1",)

    async def _next(self, socket: ClientConnection) -> bytes:
        async with asyncio.timeout(self.places.times.silence):
            return await socket.recv(decode=False)

    def _receive(self, segment: Segment, raw: bytes) -> None:
        _receive_control(self, segment, raw)


def _receive_control(client: Socket, segment: Segment, raw: bytes) -> None:
    """A frame, or what the hub has to say about the socket."""
    if b'"control":true' not in raw[:40] or "username" in (fields := orjson.loads(raw)):
        client._show(client.segment or segment, raw)
        return
    client._heard = time.monotonic()
    client.epoch = fields.get("epoch") or client.epoch
    kind = fields.get("type")
    if kind == "reset":
        client.begin_anew()
        client.epoch = fields["epoch"]
        if client.segment is not None:
            client.segment.closed, client.segment.code = time.time(), "reset"
        client.last = int(fields["head"])
        client._open(client.last)
    elif kind == "closing" and "retry_in_ms" in fields:
        client._delay = fields["retry_in_ms"] / 1000
    elif kind in ("heartbeat", "caught_up") and fields.get("head") is not None:
        client.last = max(client.last, int(fields["head"]))  # it may be taken for a cursor: so it is


class Poller(Client):
    """Asks for one run's history, again and again."""

    reads = False

    async def _one_life(self) -> None:
        (run_id,) = self.stream.runs or {""}
        while True:
            after = self.last
            page, raw = await self._get(f"/api/v1/runs/{run_id}/events", [("after", str(after))])
            self._take(after, frames_of(raw, len(page["events"])))
            self.opened += 1
            await passing(self.places.times.poll)
