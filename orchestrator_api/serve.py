"""The composition root: every part made once, every task named and owned, and an orderly end."""

import asyncio
import errno
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg
import structlog
from aiohttp import web

from orchestrator_api import crash, live_page, openapi
from orchestrator_api.admin import Readiness, health, metrics_page
from orchestrator_api.auth_config import AuthConfig
from orchestrator_api.caller import HUBS, LISTS, MINTS, OPEN, READS, REVOKES, TICKETS, WRITES
from orchestrator_api.config import Config
from orchestrator_api.crowd import Crowd
from orchestrator_api.descriptors import fitted
from orchestrator_api.errors import StartError, Unavailable
from orchestrator_api.front import Call, Front, Handler
from orchestrator_api.grants import Grants, not_configured
from orchestrator_api.guard import guarded, publishing, warn
from orchestrator_api.history import History
from orchestrator_api.metrics import Metrics
from orchestrator_api.publish import Publisher
from orchestrator_api.receive import Receiver
from orchestrator_api.record import Recorder
from orchestrator_api.revoked import Revoked
from orchestrator_api.settings import Settings
from orchestrator_api.store import Reader
from orchestrator_api.trace import Tracer
from orchestrator_api.web import IDLE_S, Answer, Connection, Origins, Request, json_response

log = structlog.get_logger("orchestrator_api")

UNREAD_S = 10.0  # seconds that a peer may read nothing of what waits for it
BACKLOG = 4096  # connections that may wait to be accepted
SHUTDOWN_S = 5.0  # seconds for requests that run when TERM comes
LOOK_S = 0.02  # seconds between looks whether we are ready to share a port; a start takes some 50 ms
LATE_S = 0.1  # seconds that the request of a connection which was just let in may take to come: a round trip
LAG_S = 0.5  # seconds between looks at how late the loop's timers are
GC_THRESHOLDS = (20_000, 20, 20)  # objects and rounds: an append makes some fifty, none of them in a cycle
OTHER_FILES = 128  # beside callers' connections: PostgreSQL (12), Redis, the issuer, the admin port, logs, names
RECENT_S = 300.0  # seconds: feeds with events since then are named in the first beacons


@dataclass(frozen=True, slots=True)
class Rooms:
    """What answers the calls."""

    receiver: Receiver
    history: History
    tracer: Tracer
    grants: Grants
    config: Config
    readiness: Readiness


def routes(rooms: Rooms, auth: AuthConfig) -> list[Call]:
    """Returns the API's routes, each with who may: all under /api/v1, and runs at the root as well."""
    receiver, history, grants = rooms.receiver, rooms.history, rooms.grants
    runs: list[Call] = [
        ("POST", "/runs/{run_id}/events", WRITES, receiver.append_events),
        ("GET", "/runs/{run_id}/events", READS, history.run_events),
        ("POST", "/runs", WRITES, receiver.create_run),
        ("GET", "/runs", LISTS, history.runs),
        ("GET", "/runs/{run_id}", READS, history.run),
    ]
    others: list[Call] = [
        ("GET", "/feeds/{username}/events", READS, history.feed_events),
        ("POST", "/feeds/heads", HUBS, history.heads),
        ("POST", "/feeds/events", HUBS, history.feeds_events),
        ("GET", "/runs/{run_id}/trace", READS, rooms.tracer.event),
        ("GET", "/config", OPEN, rooms.config.config),
    ]
    given: list[Call] = [
        ("POST", "/tickets", TICKETS, grants.ticket),
        ("POST", "/tickets/redeem", HUBS, grants.redeem),
        ("POST", "/watch-tokens", MINTS, grants.watch_token),
        ("POST", "/revocations", REVOKES, grants.revoke),
        ("GET", "/revocations", HUBS, grants.revocations),
    ]
    if auth.insecure:
        given = [(method, path, rule, not_configured) for method, path, rule, _ in given]
    found = [(method, prefix + path, rule, call) for prefix in ("", "/api/v1") for method, path, rule, call in runs]
    found += [(method, "/api/v1" + path, rule, call) for method, path, rule, call in others + given]
    return [
        *found,
        ("GET", "/healthz", OPEN, health(auth)),
        ("GET", "/readyz", OPEN, rooms.readiness.ready_in_public),
    ]


@dataclass(frozen=True, slots=True)
class Listener:
    """A port of ours. start: lets in whoever comes. stop: nobody new; whoever connected before is still served."""

    port: int
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]


@asynccontextmanager
async def listening(
    front: Front, host: str, port: int, variable: str, *, reuse_port: bool | None = None, crowd: Crowd | None = None
) -> AsyncIterator[Listener]:
    """Serves a Front while the context lasts. Raises StartError that names the variable of a port in use.

    reuse_port: whether the port is shared; None: it cannot be. One that is shared is ours, and opened by `start`.
    crowd: who counts its connections; None: nobody.
    """
    # handler_cancellation: a caller that goes away is withdrawn
    manager = web.Server(front.handle, request_factory=front.request, handler_cancellation=True)  # type: ignore[arg-type]
    runner = web.ServerRunner(manager, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        return Connection(
            manager,
            loop=loop,
            access_log=None,  # none
            keepalive_timeout=IDLE_S,
            lingering_time=1,
            auto_decompress=False,
            crowd=crowd,
        )

    try:
        server = await loop.create_server(
            connection, host, port, backlog=BACKLOG, reuse_port=bool(reuse_port), start_serving=not reuse_port
        )
    except OSError as error:
        await runner.cleanup()
        if error.errno == errno.EADDRINUSE:
            share = "" if reuse_port is None else ", or API_REUSE_PORT=1 in all that are to share it (of one user)"
            raise StartError(f"port {port} is in use: set {variable} to another{share}") from None
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}: see {variable}, and BIND or ADMIN_BIND"
        ) from None
    for listener in server.sockets:
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: also ends a peer that reads nothing (a window of 0)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * UNREAD_S))

    async def stop() -> None:
        waiting = _waiting(server)
        server.close()
        for peer in waiting:
            with suppress(OSError):  # it left meanwhile
                await loop.connect_accepted_socket(connection, peer)
        await asyncio.sleep(LATE_S)

    try:
        yield Listener(server.sockets[0].getsockname()[1], server.start_serving, stop)
    finally:
        server.close()
        await runner.cleanup()


def _waiting(server: asyncio.Server) -> list[socket.socket]:
    """Lets in whoever waits to be accepted: at the close the kernel resets those whom nobody let in."""
    found: list[socket.socket] = []
    for listener in server.sockets:
        with suppress(OSError), socket.socket(fileno=os.dup(listener.fileno())) as double:
            double.setblocking(False)
            while True:
                found.append(double.accept()[0])
    return found


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its ports as they are (0 in a setting means any), its calls and its stages."""

    port: int
    admin_port: int
    calls: list[Call]
    recorder: Recorder
    publisher: Publisher


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """Runs the service while the context lasts, then finishes what was taken. Raises when a stage dies."""
    metrics = Metrics()
    publisher = Publisher(settings.redis_url, metrics)
    recorder = Recorder(settings.database_url, publisher, metrics)
    reader = Reader(settings.database_url)
    auth = settings.auth
    revoked = None if auth.insecure else Revoked(reader)
    metrics.watch("orchestrator_appends_waiting", "Appends that wait to be stored.", lambda: recorder.waiting()[0])
    metrics.watch(
        "orchestrator_waiting_bytes", "Bytes of events that wait to be stored.", lambda: recorder.waiting()[1]
    )
    opened = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(reader.close)
        published = await stack.enter_async_context(publishing(auth, metrics))
        readiness = Readiness(settings.database_url, recorder, publisher, revoked, published)
        stack.push_async_callback(readiness.close)
        rooms = Rooms(
            Receiver(recorder, reader),
            History(reader, metrics, not auth.insecure),
            Tracer(reader, publisher.trace, publisher.api),
            Grants(reader, auth.watch_key, auth.audience),
            Config(settings.hub_url, settings.hub_port, auth.proxies),
            readiness,
        )
        page = live_page.calls(live_page.built() if settings.shows_page else None)
        calls = routes(rooms, auth) + openapi.calls() + page
        guard = guarded(auth, reader, revoked, published, metrics)
        admin_calls = _admin_calls(auth, opened, readiness, metrics)
        origins = Origins(settings.allowed_origins)
        fronts = Front(admin_calls, origins, auth.hosts), Front(calls, origins, auth.hosts, guard, metrics)
        admin, api = await _listen(stack, settings, _crowd(settings, metrics), *fronts)
        async with asyncio.TaskGroup() as tasks:
            stages = [
                tasks.create_task(recorder.run(), name="record"),
                tasks.create_task(publisher.run(), name="publish"),
                tasks.create_task(_name_recent(reader, publisher), name="publish.recent"),
                tasks.create_task(_watch_loop(metrics), name="loop_lag"),
                tasks.create_task(warn(auth) if revoked is None else revoked.run(), name="guard"),
                tasks.create_task(_open(api, settings.reuse_port, readiness, opened), name="open"),
            ]
            if published is not None:
                stages.append(tasks.create_task(published.watch(), name="issuer_keys"))
            yield Service(api.port, admin.port, calls, recorder, publisher)
            readiness.draining = True
            if settings.reuse_port:  # others take what comes now: nobody need be refused by us
                await api.stop()
            crash.point("serve.draining")
            await recorder.close()
            await publisher.close()
            for stage in stages:
                stage.cancel()


def _crowd(settings: Settings, metrics: Metrics) -> Crowd:
    """Returns what counts the public port's connections: as many as there can be files."""
    auth = settings.auth
    most = fitted("orchestrator.file_descriptors", settings.max_connections, OTHER_FILES)
    of_address = 0 if auth.insecure and not auth.exposed else settings.connections_per_address
    crowd = Crowd(most, of_address, auth.proxies, metrics)
    metrics.watch("orchestrator_connections", "Open connections of the public port.", lambda: float(len(crowd)))
    return crowd


async def _listen(
    stack: AsyncExitStack, settings: Settings, crowd: Crowd, admin: Front, api: Front
) -> tuple[Listener, Listener]:
    """Opens both ports until the stack ends."""
    return (
        await stack.enter_async_context(listening(admin, settings.admin_bind, settings.admin_port, "API_ADMIN_PORT")),
        await stack.enter_async_context(
            listening(api, settings.bind, settings.port, "API_PORT", reuse_port=settings.reuse_port, crowd=crowd)
        ),
    )


async def serve(settings: Settings) -> None:
    """Runs the service until TERM or INT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings) as service:
        gc.collect()
        gc.freeze()  # what lives as long as the process
        gc.set_threshold(*GC_THRESHOLDS)
        log.info("orchestrator.listening", bind=settings.bind, port=service.port, admin_port=service.admin_port)
        await stop.wait()
        log.info("orchestrator.draining")
    log.info("orchestrator.stopped")


async def _open(api: Listener, shared: bool, readiness: Readiness, opened: asyncio.Event) -> None:
    """Opens the port when we are ready: nobody asks /readyz before the kernel gives us our part of a shared one."""
    while shared and await readiness.problems():  # noqa: ASYNC110 - PostgreSQL tells nobody that its schema has come
        await asyncio.sleep(LOOK_S)
    await api.start()
    opened.set()


def _admin_calls(auth: AuthConfig, opened: asyncio.Event, readiness: Readiness, metrics: Metrics) -> list[Call]:
    return [
        ("GET", "/healthz", OPEN, health(auth)),
        ("GET", "/readyz", OPEN, _ready_when(opened, readiness)),
        ("GET", "/metrics", OPEN, metrics_page(metrics)),
    ]


def _ready_when(opened: asyncio.Event, readiness: Readiness) -> Handler:
    """Returns GET /readyz of the admin port: ready is what takes requests."""

    async def ready(request: Request) -> Answer | web.StreamResponse:
        if opened.is_set() or await readiness.problems():
            return await readiness.ready(request)
        return json_response({"status": "not ready", "problems": ["opening the port"], "degraded": []}, status=503)

    return ready


async def _name_recent(reader: Reader, publisher: Publisher) -> None:
    """Names, in the first beacons, the feeds whose last frames an earlier process may not have published."""
    while True:
        try:
            row = await reader.one("recent_heads", time.time() - RECENT_S)
        except (Unavailable, asyncpg.PostgresError):
            await asyncio.sleep(1)
            continue
        publisher.heads(dict(zip(row["usernames"] or (), row["heads"] or (), strict=True)), row["epoch"])
        return


async def _watch_loop(metrics: Metrics) -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(LAG_S)
        metrics.loop_lagged(time.monotonic() - before - LAG_S)
