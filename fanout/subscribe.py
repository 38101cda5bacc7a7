"""Stage 4: the Redis subscription and its link check.

One connection, RESP2, `PSUBSCRIBE run:*`. redis-py reads the URL and holds the TLS options; the socket is ours, since
its own reading costs 8 us a message and hides a reconnect, which for us means that messages may be missing.
RESP2 and no HELLO: PING is allowed while subscribed, and pushes do not pass the code of hiredis that once leaked.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
import redis.asyncio as redis
import structlog

from .errors import LinkLost
from .metrics import Metrics
from .route import Message

PATTERN: Final = b"run:*"
LINK_TICK: Final = 0.25  # seconds between two looks at the link: a dead one is noticed within one more than 2.5 s
PING_TICKS: Final = 4  # looks between two PINGs: 1 s
SILENT_TICKS: Final = 10  # looks without a byte in between, then the link is dead: 2.5 s
CONNECT_TIMEOUT: Final = 5.0  # seconds, name resolution, TCP and TLS together
BACKOFF_FIRST: Final = 0.05  # seconds
BACKOFF_MOST: Final = 1.0  # seconds; a Redis that is back is found again within this
_USER_TIMEOUT_MS: Final = 3000  # TCP gives up on unacknowledged data; keepalive probes do not run while some is queued
_PING: Final = b"*1\r\n$4\r\nPING\r\n"
log = structlog.stdlib.get_logger("fanout")


def _packed(*words: str) -> bytes:
    return cast(bytes, hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub knows one word only


def backoff(failures: int) -> float:
    """Seconds until the next try. Full jitter: hubs that lost the same Redis do not come back as one."""
    return random.uniform(0, min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(failures, 10)))  # noqa: S311 - spreads load


class Link(asyncio.Protocol):
    """One subscribed connection.

    Args:
        greeting: the commands to send at once, each answered once, the last one being PSUBSCRIBE.
        deliver: gets the messages of each read, in order.

    Attributes:
        confirmed: done when Redis has confirmed the subscription.
        lost: done when the connection is of no use any more; its result says why.
        heard: a byte came since this was last set to False.
    """

    def __init__(self, greeting: list[tuple[str, ...]], deliver: Callable[[list[Message]], None]) -> None:
        loop = asyncio.get_running_loop()
        self.confirmed: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.heard = True
        self._greeting = greeting
        self._awaited = [command[0] for command in greeting]
        self._deliver = deliver
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: say everything at once."""
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        self._transport.write(b"".join([_packed(*command) for command in self._greeting]))

    def data_received(self, data: bytes) -> None:
        """Bytes from Redis: all messages that they complete are handed on together."""
        self.heard = True
        reader = self._reader
        messages: list[Message] = []
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if type(reply) is list and reply[0] == b"pmessage":
                    messages.append(reply)
                else:
                    self._replied(reply)
        except hiredis.ProtocolError as exc:
            self.end(f"not RESP: {exc}")
        if messages:
            self._deliver(messages)

    def connection_lost(self, exc: Exception | None) -> None:
        """Redis is gone."""
        self.end(str(exc) if exc else "closed by Redis")

    def ping(self) -> None:
        """Make Redis say something."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_PING)

    def end(self, why: str) -> None:
        """No use any more; the first reason counts."""
        if not self.lost.done():
            self.lost.set_result(why)
        if self._transport is not None:
            self._transport.abort()

    def _replied(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            # A proxy or an old server may not know CLIENT SETNAME; anything else that fails makes the link useless.
            if not self._awaited or self._awaited.pop(0) != "CLIENT":
                self.end(str(reply))
        elif self._awaited and self._awaited.pop(0) == "PSUBSCRIBE" and not self.confirmed.done():
            self.confirmed.set_result(None)


class Subscription:
    """The subscription for as long as the hub lives, whatever becomes of its connections.

    Args:
        url: redis://, rediss:// or unix://.
        deliver: gets the messages of each read, in order.
        metrics: counts reconnects.

    Attributes:
        live: Redis has confirmed the subscription and the link check holds.
        on_live: called when it has, each time: what was published before did not arrive.
    """

    def __init__(self, url: str, deliver: Callable[[list[Message]], None], metrics: Metrics) -> None:
        # Private to this object and never connected: the URL's reading is public, and so are the values it gives.
        self._target = redis.ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
        self._deliver = deliver
        self._metrics = metrics
        self.live = False
        self.on_live: Callable[[], None] = lambda: None
        self._link: Link | None = None
        self._confirmed_before = False

    @property
    def address(self) -> str:
        """Where Redis is, without user and password."""
        path = getattr(self._target, "path", None)
        return path or f"{self._target.host}:{self._target.port}"

    def rebuild(self, why: str) -> None:
        """Give the connection up and make another: it may hang on a server that nobody publishes to."""
        if self._link is not None:
            self._link.end(why)

    async def run(self) -> None:
        """Keep a subscription for ever. One log line a change of state, not one a try."""
        failures, told = 0, ""
        while True:
            why = await self._one_life()
            if self.live:
                self.live, failures, told = False, 0, why
                log.warning("fanout.redis_lost", redis=self.address, reason=why)
            elif why != told:
                told = why
                log.warning("fanout.redis_waiting", redis=self.address, reason=why)
            await asyncio.sleep(backoff(failures))
            failures += 1

    async def _one_life(self) -> str:
        """One connection from its first try to its end; the reason of the end."""
        link: Link | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                link = self._link = await self._connect()
            return await self._watch(link)
        except LinkLost as exc:
            return str(exc)
        except TimeoutError:
            return f"no connection within {CONNECT_TIMEOUT:g} s"
        except (OSError, UnicodeError) as exc:  # UnicodeError: a host name that no resolver can be asked for
            return str(exc)
        finally:
            self._link = None
            if link is not None:
                link.end("given up")

    async def _connect(self) -> Link:
        target = self._target
        loop = asyncio.get_running_loop()
        greeting: list[tuple[str, ...]] = [("CLIENT", "SETNAME", "fanout"), ("PSUBSCRIBE", PATTERN.decode())]
        if target.password:
            user = (target.username,) if target.username else ()
            greeting.insert(0, ("AUTH", *user, target.password))

        def factory() -> Link:
            return Link(greeting, self._deliver)

        if isinstance(target, redis.UnixDomainSocketConnection):
            return (await loop.create_unix_connection(factory, target.path))[1]
        context = getattr(target, "ssl_context", None)
        tls = context.get() if context is not None else None
        return (await loop.create_connection(factory, target.host, target.port, ssl=tls))[1]

    async def _watch(self, link: Link) -> str:
        """Look at the link every quarter of a second until it is lost; the reason."""
        silent = ticks = 0
        while not link.lost.done():
            # Ticks are counted, not seconds: after a stop of this process one late tick has passed and not a minute,
            # and what Redis wrote meanwhile is read before the next one.
            awaited: set[asyncio.Future[Any]] = {link.lost} if self.live else {link.lost, link.confirmed}
            await asyncio.wait(awaited, timeout=LINK_TICK, return_when=asyncio.FIRST_COMPLETED)
            if link.confirmed.done() and not self.live:
                self._confirmed()
                continue
            silent = 0 if link.heard else silent + 1
            link.heard = False
            if silent >= SILENT_TICKS:
                raise LinkLost(f"silent for {SILENT_TICKS * LINK_TICK:g} s")
            if ticks % PING_TICKS == 0:
                link.ping()
            ticks += 1
        return link.lost.result()

    def _confirmed(self) -> None:
        self.live = True
        if self._confirmed_before:
            self._metrics.reconnects += 1
        self._confirmed_before = True
        log.info("fanout.redis_live", redis=self.address)
        self.on_live()
