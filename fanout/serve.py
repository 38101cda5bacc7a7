"""The composition root: what is started and stopped, and in which order."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from time import time
from typing import Any, Final

import structlog

from . import admin, pings
from .auth_config import masked
from .deliver import Connection
from .descriptors import fitted
from .door import restarting
from .errors import SettingsError, StageEnded
from .guard import SPARE
from .history import History
from .hub import Hub
from .metrics import HubCollector, Metrics, registry
from .route import Router
from .settings import Settings
from .subscribe import Subscription

BACKLOG: Final = 4096  # connections that the kernel holds while the loop is busy; a reconnect storm is thousands
LOOK: Final = 0.02  # seconds between looks whether we are ready to share a port; a start takes some 10 ms
WARN: Final = 600.0  # seconds between two warnings that usernames are believed
# Files beside the sockets: those that are still being refused, Redis, history's connections (32), the issuer's, the
# admin port's, listeners, logs, and the name service.
OTHER_FILES: Final = SPARE + 96
DRAIN_STEP: Final = 0.05  # seconds between two slices of a drain
_WORDS: Final = {None: "unknown", True: "live", False: "away"}
log = structlog.stdlib.get_logger("fanout")


async def serve(settings: Settings) -> None:
    """Run the hub until SIGTERM or SIGINT, then drain.

    Raises:
        SettingsError: a port cannot be had.
        BaseExceptionGroup: a stage died; nothing is drained then, the process is not to be trusted.
    """
    stopping = _stop_signals()
    most = fitted("fanout.file_descriptors", settings.max_sockets, OTHER_FILES)
    settings = replace(settings, max_sockets=most)
    metrics = Metrics()
    router = Router(judged=settings.history_url is not None, hold=settings.hold)
    url, key = settings.history_url, settings.history_key
    history = History(url, metrics, key) if url is not None else None
    hub = Hub(settings, router, _wheel(settings), metrics, history)
    subscription = _subscription(hub)
    async with AsyncExitStack() as stack:
        server, port = await stack.enter_async_context(_listening(hub))
        state, collector = _observed(settings, hub, subscription, server)
        admin_port = await stack.enter_async_context(_administered(state, collector, settings))
        log.info("fanout.listening", bind=settings.bind, port=port, admin_port=admin_port, redis=subscription.address)
        async with asyncio.TaskGroup() as stages:
            stage = partial(_stage, stages)
            running = [
                stage("fanout.subscribe", subscription.run()),
                stage("fanout.pings", pings.turn(hub.wheel, metrics.loop_lag.observe, hub.guard.turn)),
            ]
            if hub.guard.proven:
                running.append(stage("fanout.revocations", hub.revocations.watch()))
            elif settings.auth.exposed:
                running.append(stage("fanout.warn", _warn()))
            if (keys := hub.guard.verification.published) is not None:
                running.append(stage("fanout.issuer_keys", keys.watch()))
            if history is not None:
                running += [
                    stage("fanout.joins", hub.joins.run()),
                    stage("fanout.watch", hub.catch_up.watch()),
                    stage("fanout.heal", hub.catch_up.heal()),
                ]
            opening = stages.create_task(_open(server, state), name="fanout.open")
            await stopping.wait()
            opening.cancel()
            await _drain(hub, server, stopping)
            for task in running:
                task.cancel()
    await hub.guard.verification.close()
    if history is not None:
        await history.close()
    log.info("fanout.stopped")


class _Stopping:
    """TERM or INT was received; a second one makes haste."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self.again = asyncio.Event()

    def signal(self, name: str) -> None:
        log.info("fanout.signal", signal=name)
        (self.again if self._first.is_set() else self._first).set()

    async def wait(self) -> None:
        await self._first.wait()


def _stop_signals() -> _Stopping:
    stopping = _Stopping()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.signal, number.name)
    return stopping


def _wheel(settings: Settings) -> pings.Wheel[Connection]:
    times = (
        settings.ping_interval,
        settings.ping_grace,
        settings.head_timeout,
        settings.auth_timeout,
        settings.close_timeout,
    )
    # A quarter of a second is fine enough for times of seconds; tests shorten the times, and the tick with them.
    return pings.Wheel(tick=min(0.25, min(times) / 4), longest=max(times))


async def _warn() -> None:
    """Say again and again what the operator has allowed, for whoever reads the log months later."""
    while True:
        log.warning("fanout.insecure_username", remedy="anybody may watch anybody: set AUTH_HMAC_KEY, or see README")
        await asyncio.sleep(WARN)


def _subscription(hub: Hub) -> Subscription:
    url = hub.settings.redis_url
    try:
        subscription = Subscription(url, hub.receive, hub.metrics)
    except (TypeError, ValueError) as exc:  # options behind the ?, which only redis-py knows
        raise SettingsError("REDIS_URL", f"must be a URL that redis-py reads ({exc})", masked(url)) from exc
    subscription.on_live = hub.catch_up.ask_now
    hub.catch_up.redis_live = lambda: subscription.live
    hub.catch_up.rebuild = lambda: subscription.rebuild("no beacon")
    return subscription


def _stage(stages: asyncio.TaskGroup, name: str, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Start a stage that is to run for ever: any end but ours is the end of the process."""

    async def undertaken() -> None:
        try:
            await work
            raise StageEnded(name)
        except Exception:
            log.exception("fanout.stage_died", stage=name)
            raise

    return stages.create_task(undertaken(), name=name)


async def _open(server: asyncio.Server, state: admin.State) -> None:
    """Open the port when we are ready: nobody asks /readyz before the kernel gives us our part of a shared one."""
    while not (server.is_serving() or state.able()):  # noqa: ASYNC110 - of Redis and history, one or the other
        await asyncio.sleep(LOOK)
    await server.start_serving()


def _observed(
    settings: Settings, hub: Hub, subscription: Subscription, server: asyncio.Server
) -> tuple[admin.State, HubCollector]:
    router, keys = hub.router, hub.guard.verification.published

    def beacon_age() -> float | None:
        return None if router.beacon_at is None else hub.loop.time() - router.beacon_at

    def trace(username: str, number: int) -> list[dict[str, Any]]:
        return hub.trace.look_up(username, number, router.notes, time() - hub.loop.time())

    state = admin.State(
        draining=lambda: hub.draining,
        redis_live=lambda: subscription.live,
        history=lambda: "none" if hub.history is None else _WORDS[hub.history.answering],
        beacon_age=beacon_age,
        connections=lambda: len(hub.sockets),
        users=lambda: len(router.feeds),
        trace=trace,
        listening=server.is_serving,
        revocations=lambda: hub.revocations.state,
        issuer_keys=lambda: "none" if keys is None else keys.state,
        auth=settings.auth,
    )
    gauges = {
        "fanout_connections": ("Open sockets.", state.connections),
        "fanout_feeds": ("Distinct usernames among the open sockets.", state.users),
        "fanout_redis_live": ("1: the subscription is confirmed and answers.", lambda: float(subscription.live)),
        "fanout_beacon_age_seconds": ("Since the last beacon of an API; absent: none was ever heard.", beacon_age),
        "fanout_held_bytes": ("Bytes kept back until a missing id comes.", lambda: router.kept_bytes),
        "fanout_holes_open": ("Feeds that miss something now.", lambda: len(router.behind)),
        "fanout_joins_waiting": ("Requests that wait for a base.", lambda: len(hub.joins)),
        "fanout_replays": ("Sockets that history is being replayed to.", lambda: len(hub.replays)),
        "fanout_auth_insecure": ("1: usernames are believed, 0: tokens say who asks.", lambda: not hub.guard.proven),
        "fanout_issuer_keys": (
            "Keys known of AUTH_JWKS_URL, 0: none; absent: it is not set.",
            lambda: None if keys is None else keys.count,
        ),
        "fanout_revocations_known": ("Entries that were read of what was revoked.", lambda: hub.revocations.count),
    }
    counters = {
        "fanout_redis_messages": ("Messages read from Redis.", lambda: router.messages),
        "fanout_jumps": ("Times that a feed's next id was missing.", lambda: router.jumps),
    }
    return state, HubCollector(hub.metrics, gauges, counters, router.dropped)


@asynccontextmanager
async def _listening(hub: Hub) -> AsyncIterator[tuple[asyncio.Server, int]]:
    settings = hub.settings
    try:
        server = await hub.loop.create_server(
            hub.connect,
            settings.bind,
            settings.port,
            backlog=BACKLOG,
            reuse_port=settings.reuse_port,
            start_serving=not settings.reuse_port,
        )
    except OSError as exc:
        raise _taken("FANOUT_PORT", settings.bind, settings.port, exc) from exc
    try:
        yield server, server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def _administered(state: admin.State, collector: HubCollector, settings: Settings) -> AsyncIterator[int]:
    try:
        context = admin.served(state, registry(collector), settings.admin_bind, settings.admin_port)
        port = await context.__aenter__()
    except OSError as exc:
        raise _taken("FANOUT_ADMIN_PORT", settings.admin_bind, settings.admin_port, exc) from exc
    try:
        yield port
    finally:
        await context.__aexit__(None, None, None)


def _taken(variable: str, bind: str, port: int, exc: OSError) -> SettingsError:
    why = exc.strerror
    if variable == "FANOUT_PORT" and exc.errno == errno.EADDRINUSE:
        why = f"{why}; hubs of one user share it if all have FANOUT_REUSE_PORT=1"
    return SettingsError(variable, f"must be a port that can be had on {bind} ({why})", str(port))


async def _drain(hub: Hub, server: asyncio.Server, stopping: _Stopping) -> None:
    """Readiness false, listener closed, sockets closed 1012 spread over the drain; then their last bytes."""
    hub.draining = True
    await _stop_listening(hub, server)
    sockets = list(hub.sockets)
    random.shuffle(sockets)  # whoever came together does not leave, and come back, together
    for connection in hub.connections - hub.sockets:
        connection.refuse_waiting(restarting())
    log.info("fanout.draining", connections=len(sockets), seconds=hub.settings.drain)
    steps = max(1, round(hub.settings.drain / DRAIN_STEP))
    for step in range(steps):
        for place in range(step, len(sockets), steps):
            # The one in this place is to be at the next hub when those before it have been let in.
            wait = place / (hub.settings.handshakes_per_s or math.inf) - step * DRAIN_STEP
            sockets[place].close(1012, "restarting", max(0, round(wait * 1000)))
        if len(hub.connections) and not stopping.again.is_set():
            await _sleep_unless(stopping.again, DRAIN_STEP)
    for connection in list(hub.connections):
        connection.refuse_silent(restarting())
    # Every closed socket has its own five seconds on the wheel, after which it is cut: this ends.
    while hub.connections and not stopping.again.is_set():
        await _sleep_unless(stopping.again, DRAIN_STEP)
    for connection in list(hub.connections):
        connection.transport.abort()


async def _stop_listening(hub: Hub, server: asyncio.Server) -> None:
    """Let in whoever waits to be accepted, then close the listener: the kernel resets those whom nobody let in.

    They are told to come back. With a shared port the next connection is another hub's.
    """
    waiting: list[socket.socket] = []
    for listener in server.sockets:
        # The loop accepts one connection a turn, and each turn is time for another to come: here it is a few
        # microseconds from "nobody waits" to the close.
        with suppress(OSError), socket.socket(fileno=os.dup(listener.fileno())) as double:
            double.setblocking(False)
            while True:
                waiting.append(double.accept()[0])
    server.close()
    for peer in waiting:
        with suppress(OSError):  # it left meanwhile
            await hub.loop.connect_accepted_socket(hub.connect, peer)


async def _sleep_unless(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
