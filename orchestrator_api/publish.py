"""Stage 3: tell. Frames go to Redis after their commit, on one connection, in commit order; beacons go among them.

Nothing here waits for Redis and nothing is said twice: what Redis does not take within a second, or what is beyond the
bound, is dropped and counted. History has it, and the beacons say that it is there.
"""

import asyncio
import random
import time
from collections import deque
from typing import Any
from uuid import uuid4

import hiredis
import orjson
import redis.asyncio
import structlog

from orchestrator_api import crash
from orchestrator_api.metrics import Metrics
from orchestrator_api.trace import Passage, Trace

log = structlog.get_logger("orchestrator_api")

TAKE_S = 1.0  # seconds for Redis to take a frame; later it is news to nobody
BOUND = 16 * 2**20  # bytes on their way
TICK_S = 0.1  # seconds between looks at what is late
BEACON_S = 1.0  # seconds between beacons
NAMED_S = 3.0  # seconds for which a feed is named after it was written: three beacons, so that two may be lost
NAMES = 1000  # usernames in a beacon: some 50 KiB
CONNECT_S = 2.0  # seconds to connect
RECONNECT_S = (0.05, 2.0)  # seconds between tries, full jitter: first, longest
BEACON_CHANNEL = b"run:!beacon"  # no run can have this name


def _command(*words: str | bytes) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub says a tuple of one
    return packed


def _publish(run_id: str, frame: bytes) -> bytes:
    """A PUBLISH as hiredis would pack it, in half the time: there is one for each frame."""
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\nrun:%b\r\n$%d\r\n%b\r\n" % (
        len(run_id) + 4,
        run_id.encode(),  # ASCII, by its pattern
        len(frame),
        frame,
    )


class _Link(asyncio.Protocol):
    """One connection to Redis: commands out, replies counted in."""

    def __init__(self, greeting: list[bytes], on_replies: Any, on_lost: Any) -> None:
        self._greeting = greeting
        self._awaited = len(greeting)
        self._on_replies = on_replies
        self._on_lost = on_lost
        self._reader = hiredis.Reader()
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(b"".join(self._greeting))
        if not self._greeting:
            self.ready.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        replies = []
        try:
            while (reply := self._reader.gets()) is not False:
                if self.ready.done():
                    replies.append(reply)
                else:
                    self._greeted(reply)
            if replies:
                self._on_replies(replies)
        except hiredis.ProtocolError as error:
            log.warning("orchestrator.publish.protocol_error", error=str(error))
            self.transport.abort()

    def _greeted(self, reply: Any) -> None:
        self._awaited -= 1
        if isinstance(reply, hiredis.ReplyError) and self._awaited:  # AUTH; the last is SETNAME, which may fail
            self.ready.set_exception(ConnectionError(str(reply)))
        elif not self._awaited:
            self.ready.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(str(error or "closed")))
        self._on_lost(self)
        self.closed.set_result(None)


class Publisher:
    """Publishes frames and beacons. `run` is its task; everything else returns at once."""

    def __init__(self, url: str, metrics: Metrics) -> None:
        self._url = url
        self._metrics = metrics
        self._link: _Link | None = None
        self._waiting: deque[tuple[Passage, bytes]] = deque()  # with its command
        self._sent: deque[Passage] = deque()  # unanswered
        self._bytes = 0  # of both
        self._recent: dict[str, tuple[int, float]] = {}  # username: (head that may be named, monotonic seconds)
        self._answered = asyncio.Event()
        self._epoch = ""
        self.trace = Trace()
        self.api = uuid4().hex[:12]  # names this process in its beacons
        self.error = "not connected yet"

    def __repr__(self) -> str:
        state = "LIVE" if self._link else f"AWAY ({self.error})"
        return f"<Publisher {state} {len(self._waiting)} waiting {len(self._sent)} unanswered {self._bytes >> 10} KiB>"

    def publish(self, frames: list[tuple[str, int, str, bytes]], epoch: str) -> None:
        """Hands over (username, id, run_id, frame), committed, in order. Never waits."""
        self._epoch = epoch
        now, at = time.monotonic(), time.time()
        for username, event_id, run_id, frame in frames:
            command = _publish(run_id, frame)
            passage = Passage(username, event_id, len(command), now, "waiting", at, self.error or None)
            self.trace.begin(passage)
            if self._bytes + len(command) > BOUND:
                self._give_up("full", passage, now)
            else:
                self._bytes += len(command)
                self._waiting.append((passage, command))
        crash.point("publish.before_write")
        self._flush(now)
        crash.point("publish.after_write")

    def heads(self, heads: dict[str, int], epoch: str) -> None:
        """Names feeds in the next beacons, whose frames may never have been handed over."""
        self._epoch = epoch
        now = time.monotonic()
        for username, head in heads.items():
            self._name(username, head, now)

    async def run(self) -> None:
        """Keeps the connection, says the beacons, drops what is late; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_connected(), name="publish.connection")
            tasks.create_task(self._tick(), name="publish.beacon")

    async def close(self) -> None:
        """Says goodbye in a last beacon and gives Redis TAKE_S to take what is on its way."""
        self._beacon(bye=True)
        self._answered.clear()
        try:
            async with asyncio.timeout(TAKE_S):
                while self._link and self._sent:
                    await self._answered.wait()
                    self._answered.clear()
        except TimeoutError:
            log.warning("orchestrator.publish.unanswered", commands=len(self._sent))
        if self._link:
            self._link.transport.close()

    def _flush(self, now: float) -> None:
        """Writes what waits, when there is a connection to write to."""
        if self._link is None or not self._waiting:
            return
        at = time.time()
        for passage, _ in self._waiting:
            passage.since = now
            passage.note("handed", at)
            self._sent.append(passage)
            self._name(passage.username, passage.event_id, now)
        self._link.transport.write(b"".join([command for _, command in self._waiting]))
        self._waiting.clear()

    def _name(self, username: str, head: int, now: float) -> None:
        known = self._recent.get(username)
        self._recent[username] = (max(head, known[0]) if known else head, now)

    def _give_up(self, reason: str, passage: Passage, now: float) -> None:
        self._metrics.publish_dropped(reason, 1)
        self._name(passage.username, passage.event_id, now)
        passage.note("dropped", time.time(), reason)

    def _replied(self, replies: list[Any]) -> None:
        at = time.time()
        published = 0
        for reply in replies:
            if not self._sent:
                break
            passage = self._sent.popleft()
            self._bytes -= passage.size
            if not passage.username:
                continue
            if isinstance(reply, hiredis.ReplyError):
                self._metrics.publish_dropped("refused", 1)
                passage.note("dropped", at, f"refused: {reply}")
            else:
                published += 1
                passage.note("acknowledged", at, None, reply)
        self._metrics.published(published)
        self._answered.set()

    def _lost(self, link: _Link) -> None:
        """The connection ended: what it had not answered may or may not have been heard, and is not said again."""
        if link is not self._link:
            return
        self._link = None
        at = time.time()
        for passage in self._sent:
            if passage.username:
                self._metrics.publish_dropped("slow", 1)
                passage.note("dropped", at, "the connection ended before Redis answered")
        self._bytes -= sum(passage.size for passage in self._sent)
        self._sent.clear()

    async def _keep_connected(self) -> None:
        pause = RECONNECT_S[0]
        while True:
            try:
                link = await self._connect()
            except (OSError, TimeoutError, redis.RedisError) as error:
                why = f"{type(error).__name__}: {error}"
                if why != self.error:
                    log.warning("orchestrator.publish.redis_away", error=why)
                self.error = why
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(2 * pause, RECONNECT_S[1])
                continue
            pause = RECONNECT_S[0]
            log.info("orchestrator.publish.connected")
            self._metrics.redis_connected()
            self.error = ""
            self._link = link
            self._flush(time.monotonic())
            await link.closed
            self.error = "connection lost"
            log.warning("orchestrator.publish.redis_away", error=self.error)

    async def _connect(self) -> _Link:
        pool = redis.asyncio.ConnectionPool.from_url(self._url)  # reads the URL and holds TLS; it never connects
        target: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        greeting = []
        if target.password:
            user = (target.username,) if target.username else ()
            greeting.append(_command("AUTH", *user, target.password))
        greeting.append(_command("CLIENT", "SETNAME", "orchestrator_api"))

        def factory() -> _Link:
            return _Link(greeting, self._replied, self._lost)

        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_S):
            if isinstance(target, redis.asyncio.UnixDomainSocketConnection):
                _, link = await loop.create_unix_connection(factory, target.path)
            else:
                tls = getattr(target, "ssl_context", None)
                _, link = await loop.create_connection(
                    factory, target.host, target.port, ssl=tls.get() if tls else None
                )
            try:
                await link.ready
            except BaseException:
                link.transport.abort()
                raise
        return link

    async def _tick(self) -> None:
        beacon_due = time.monotonic()
        while True:
            now = time.monotonic()
            self._drop_late(now)
            if now >= beacon_due:
                self._beacon()
                beacon_due = max(beacon_due + BEACON_S, now)
            await asyncio.sleep(TICK_S)

    def _drop_late(self, now: float) -> None:
        while self._waiting and now - self._waiting[0][0].since > TAKE_S:
            passage, _ = self._waiting.popleft()
            self._bytes -= passage.size
            self._give_up("away", passage, now)
        if self._link and self._sent and now - self._sent[0].since > TAKE_S:
            log.warning("orchestrator.publish.redis_stuck", unanswered=len(self._sent))
            self._link.transport.abort()

    def _beacon(self, *, bye: bool = False) -> None:
        """Names how far the feeds have come that were written lately; without any, it says that this process lives."""
        now = time.monotonic()
        self._recent = {username: named for username, named in self._recent.items() if now - named[1] <= NAMED_S}
        if self._link is None or not self._epoch:
            return
        crash.point("publish.before_beacon")
        names = list(self._recent)
        for start in range(0, max(len(names), 1), NAMES):
            heads = {username: self._recent[username][0] for username in names[start : start + NAMES]}
            beacon: dict[str, Any] = {"api": self.api, "epoch": self._epoch, "at": time.time(), "heads": heads}
            if bye:
                beacon["bye"] = True
            command = _command("PUBLISH", BEACON_CHANNEL, orjson.dumps({"beacon": beacon}))
            self._link.transport.write(command)
            self._sent.append(Passage("", 0, len(command), now, "handed", beacon["at"]))
            self._bytes += len(command)
        crash.point("publish.after_beacon")
