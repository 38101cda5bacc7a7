"""Two APIs and two hubs on shared ports: all take their part, nothing is lost when one leaves, and none hangs up."""

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from orchestrator_api.migrate import migrate
from tests.support.client import call, new_run, unique_username
from tests.support.pacing import beats, passing
from tests.support.pages import frames_of
from tests.support.ports import steady_port
from tests.support.processes import PORT_NAMES, Program, clean_environ, procfile_command, ready, ready_or_say_why
from tests.support.servers import OwnRedis
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.any_server,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares a port's connections out"),
]
MANY = 40  # connections: that one of two processes gets none of them happens once in 10**12 times
HEAD = (
    "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass(frozen=True)
class Stack:
    """The processes, and the ports for metrics that each has."""

    api_port: int
    hub_port: int
    apis: list[tuple[Program, int]]
    hubs: list[tuple[Program, int]]
    redis_url: str

    def events_stored(self) -> list[float]:
        """By each API."""
        return [metric(admin, "orchestrator_events_stored_total") for _, admin in self.apis]

    def sockets(self) -> list[int]:
        """At each hub that lives."""
        return [call(admin, "GET", "/stats").json()["connections"] for hub, admin in self.hubs if alive(hub)]


def alive(running: Program) -> bool:
    """Whether it has not ended."""
    return running.process.poll() is None


def metric(admin: int, name: str) -> float:
    """A metric without labels."""
    answer = call(admin, "GET", "/metrics")
    assert answer.status == 200, answer
    families = text_string_to_metric_families(answer.body.decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@pytest.fixture
def stack(migrated_database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """Two APIs and two hubs on one PostgreSQL and one Redis, ready."""
    api_port, hub_port = steady_port(), steady_port()
    common = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_url, "FANOUT_DRAIN": "1"}
    common |= {"API_PORT": str(api_port), "FANOUT_PORT": str(hub_port), "API_REUSE_PORT": "1", "FANOUT_REUSE_PORT": "1"}
    common["FANOUT_HISTORY_URL"] = f"http://127.0.0.1:{api_port}"
    found: dict[str, list[tuple[Program, int]]] = {"api": [], "fanout": []}
    with contextlib.ExitStack() as processes:
        for name, admin_name in (("api", "API_ADMIN_PORT"), ("fanout", "FANOUT_ADMIN_PORT")):
            for number in (1, 2):
                admin = steady_port()
                environ = clean_environ(**common, **{admin_name: str(admin)})
                running = processes.enter_context(procfile_command(name, environ, tmp_path / f"{name}.{number}.log"))
                found[name].append((running, admin))
        for running, admin in (*found["api"], *found["fanout"]):
            ready_or_say_why(running, str(admin))
        yield Stack(api_port, hub_port, found["api"], found["fanout"], redis_url)


class Watcher:
    """A client that resumes: what it was shown, how its sockets ended, how often it was refused."""

    def __init__(self, stack: Stack, username: str) -> None:
        self._url = f"ws://127.0.0.1:{stack.hub_port}/ws?username={username}"
        self.username = username
        self.frames: list[str] = []
        self.codes: list[int] = []
        self.refused = 0
        self.opened = 0

    @property
    def ids(self) -> list[int]:
        """Of the frames, as they came."""
        return [json.loads(frame)["id"] for frame in self.frames]

    async def run(self) -> None:
        """For ever. OSError when nobody takes a connection, or somebody resets it: that is what must not happen."""
        while True:
            wait = 0.02
            after = json.loads(self.frames[-1])["id"] if self.frames else 0
            try:
                async with connect(f"{self._url}&after={after}", proxy=None) as socket:
                    self.opened += 1
                    async for frame in socket:
                        self.frames.append(str(frame))
            except ConnectionClosed as end:
                self.codes.append(end.rcvd.code if end.rcvd else 1006)
                told = re.fullmatch(r"retry in (\d+) ms", end.rcvd.reason if end.rcvd else "")
                wait = int(told[1]) / 1000 if told else wait
            except InvalidStatus as refusal:
                if refusal.response.status_code != 503:
                    raise
                self.refused += 1
            await passing(wait)


@contextlib.asynccontextmanager
async def watching(stack: Stack, usernames: list[str]) -> AsyncIterator[list[Watcher]]:
    """A watcher for each name, all of them open; raises what one of them raised."""
    watchers = [Watcher(stack, username) for username in usernames]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watcher.run()) for watcher in watchers]
        await eventually(lambda: all(watcher.opened for watcher in watchers), within=20)
        yield watchers
        for task in running:
            task.cancel()


@contextlib.asynccontextmanager
async def fresh_connections() -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose every request is a connection of its own, which the kernel gives to any process."""
    connector = aiohttp.TCPConnector(force_close=True, limit=8)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def append(stack: Stack, session: aiohttp.ClientSession, run_id: str, key: str) -> list[int]:
    """Append an event by its key until it is stored; the answers' statuses, 0 for none."""
    url, statuses = f"http://127.0.0.1:{stack.api_port}/api/v1/runs/{run_id}/events", list[int]()
    while not statuses or statuses[-1] not in (200, 201):
        try:
            async with session.post(url, json={"type": "step", "event_id": key}) as response:
                statuses.append(response.status)
                await response.read()
        except aiohttp.ClientError:
            statuses.append(0)
        assert set(statuses) <= {0, 200, 201, 503}
        await asyncio.sleep(0)
    return statuses


def history(stack: Stack, username: str) -> list[str]:
    """A feed as polls see it."""
    answer = call(stack.api_port, "GET", f"/api/v1/feeds/{username}/events?after=0&limit=1000")
    assert answer.status == 200, answer
    return [frame.decode() for frame in frames_of(answer.body, len(answer.json()["events"]))]


@contextlib.asynccontextmanager
async def beacons(stack: Stack) -> AsyncIterator[dict[str, set[str]]]:
    """The users that each API process named in its beacons while the context lasted, by the process."""
    named: dict[str, set[str]] = {}
    client: Any = redis.asyncio.Redis.from_url(stack.redis_url)

    async def hear(subscription: Any) -> None:
        async for message in subscription.listen():
            if message["type"] == "message":
                beacon = json.loads(message["data"])["beacon"]
                named.setdefault(beacon["api"], set()).update(beacon.get("heads", {}))

    async with client, client.pubsub() as subscription:
        await subscription.subscribe("run:!beacon")
        hearing = asyncio.create_task(hear(subscription))
        yield named
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def test_all_take_their_part(stack: Stack) -> None:
    """Sockets land on both hubs and appends on both APIs; each socket gets what polls say, in order, exactly once.

    An event that is sent to both APIs at once is stored by one of them. Each has beacons of its own.
    """
    users = [unique_username() for _ in range(10)]
    runs = {username: new_run(stack.api_port, username) for username in users}
    keys = [(username, f"key-{n}") for n in range(20) for username in users]
    async with (
        watching(stack, users * (MANY // 10)) as watchers,
        fresh_connections() as session,
        beacons(stack) as named,
    ):
        spread = stack.sockets()
        # Each event twice at the same time, most often through different processes: one of the two stores it.
        told = await asyncio.gather(*(append(stack, session, runs[u], key) for u, key in keys for _ in range(2)))
        await eventually(lambda: all(len(watcher.frames) >= 20 for watcher in watchers), within=10)
        stored = stack.events_stored()
        await eventually(lambda: sum(bool(heads & set(users)) for heads in named.values()) == 2)

    assert sum(spread) == MANY
    assert all(spread)
    assert sorted(told) == sorted([[200], [201]] * len(keys))
    assert sum(stored) == len(keys)
    assert all(stored)
    for watcher in watchers:
        assert watcher.frames == history(stack, watcher.username)
        assert watcher.ids == list(range(1, 21))
        assert watcher.codes == []


async def test_one_of_each_leaves(stack: Stack) -> None:
    """TERM of a hub and an API: the sockets get 1012 and come back to the same port; nothing is lost or repeated."""
    users = [unique_username() for _ in range(10)]
    runs = {username: new_run(stack.api_port, username) for username in users}
    appended: list[list[int]] = []

    async def work() -> None:
        count = 0
        async for due in beats(100):
            for _ in range(due):
                count += 1
                appended.append(await append(stack, session, runs[users[count % 10]], f"key-{count}"))

    async with watching(stack, users * (MANY // 10)) as watchers, fresh_connections() as session:
        working = asyncio.create_task(work())
        await eventually(lambda: len(appended) > 50)
        leaving = stack.sockets()[0]
        for running, _ in (stack.hubs[0], stack.apis[0]):
            running.process.send_signal(signal.SIGTERM)
        await eventually(lambda: not alive(stack.hubs[0][0]) and not alive(stack.apis[0][0]), within=15)
        so_far = len(appended)
        await eventually(lambda: len(appended) > so_far + 50)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        feeds = {username: history(stack, username) for username in users}
        await eventually(lambda: all(len(each.frames) >= len(feeds[each.username]) for each in watchers), within=10)
        await eventually(lambda: stack.sockets() == [MANY])

    assert [running.process.returncode for running, _ in (stack.hubs[0], stack.apis[0])] == [0, 0]
    assert 0 < leaving < MANY
    assert sum(watcher.refused for watcher in watchers) == 0  # nobody was sent to the hub that leaves
    assert sorted(watcher.codes for watcher in watchers) == [[]] * (MANY - leaving) + [[1012]] * leaving
    for watcher in watchers:
        assert watcher.frames == feeds[watcher.username]
        assert watcher.ids == list(range(1, len(watcher.frames) + 1))
    assert sum(map(len, feeds.values())) - len(appended) in (0, 1)  # one was on its way when the worker stopped


async def ask(port: int, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect and send; the kernel takes both, whatever the process does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    return reader, writer


async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The status of the answer. A reset raises ConnectionError, a close without an answer IncompleteReadError."""
    async with asyncio.timeout(10):
        line = await reader.readuntil(b"\r\n")
    writer.close()
    return int(line.split()[1])


async def left_with_a_queue(leaving: Program, port: int, request: str) -> list[int]:
    """The answers to requests that came just before TERM, so that a part was in this process's queue."""
    leaving.process.send_signal(signal.SIGSTOP)
    try:
        asked = [await ask(port, request) for _ in range(MANY)]
        leaving.process.send_signal(signal.SIGTERM)
    finally:
        leaving.process.send_signal(signal.SIGCONT)
    statuses = [await status(*each) for each in asked]
    await eventually(lambda: leaving.process.poll() == 0, within=15)
    return statuses


async def test_queue_is_answered(stack: Stack) -> None:
    """Who is in a process's queue when TERM comes is not reset: a hub says come back, an API does what it is told."""
    username = unique_username()
    run_id = new_run(stack.api_port, username)
    open_socket = f"GET /ws?username={username} HTTP/1.1\r\n{HEAD}"
    body = '{"type":"step"}'
    post = (
        f"POST /api/v1/runs/{run_id}/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )

    assert set(await left_with_a_queue(stack.hubs[0][0], stack.hub_port, open_socket)) == {101, 503}
    assert await left_with_a_queue(stack.apis[0][0], stack.api_port, post) == [201] * MANY
    assert len(history(stack, username)) == MANY


def unready(admin_port: str) -> bool:
    """Whether a process listens there, and says that it could not serve."""
    try:
        return call(admin_port, "GET", "/readyz").status == 503
    except ConnectionRefusedError:
        return False


async def test_opens_when_ready(database_url: str, redis_server: OwnRedis, tmp_path: Path) -> None:
    """A process that could not serve yet does not open a shared port: the kernel would send it requests."""
    redis_server.stop()
    ports = {name: str(steady_port()) for name in PORT_NAMES}
    environ = clean_environ(DATABASE_URL=database_url, REDIS_URL=redis_server.url, **ports)
    environ |= {"API_REUSE_PORT": "1", "FANOUT_REUSE_PORT": "1"}
    with (
        procfile_command("api", environ, tmp_path / "api.log"),
        procfile_command("fanout", environ, tmp_path / "fanout.log"),
    ):
        for name in ("API", "FANOUT"):
            await eventually(lambda name=name: unready(ports[f"{name}_ADMIN_PORT"]), within=20)  # type: ignore[misc]
            with pytest.raises(ConnectionRefusedError):
                call(ports[f"{name}_PORT"], "GET", "/healthz")
        await migrate(database_url)
        redis_server.start()
        for name in ("API", "FANOUT"):
            await eventually(lambda name=name: ready(ports[f"{name}_ADMIN_PORT"]), within=20)  # type: ignore[misc]
            assert call(ports[f"{name}_PORT"], "GET", "/healthz").status == 200
