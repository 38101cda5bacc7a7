"""PostgreSQL away, locked, restarted, or cut off before its answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from orchestrator_api import migrate
from orchestrator_api.errors import Problem, Unavailable
from orchestrator_api.events import Event
from orchestrator_api.groups import Append
from orchestrator_api.settings import Settings
from tests.integration.orchestrator_api.conftest import Api, served
from tests.integration.orchestrator_api.test_publish import beacons, frames, listening
from tests.support.proxy import Proxy, proxy
from tests.support.servers import OwnPostgres
from tests.support.waiting import eventually

APPEND = b"append_events"


@asynccontextmanager
async def through_a_proxy(database_url: str) -> AsyncIterator[tuple[str, Proxy]]:
    """The URL of the same database by way of a proxy."""
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with proxy(parts.hostname, parts.port) as between:
        yield database_url.replace(f":{parts.port}", f":{between.port}"), between


def settings_of(database_url: str, redis_url: str) -> Settings:
    """A service's settings, its ports any."""
    return Settings.from_env(
        {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"}
    )


@asynccontextmanager
async def behind_a_proxy(database_url: str, redis_url: str) -> AsyncIterator[tuple[Api, Proxy]]:
    """A service that reaches PostgreSQL through a proxy."""
    async with through_a_proxy(database_url) as (url, between), served(settings_of(url, redis_url)) as api:
        yield api, between


async def test_ended_while_connecting(migrated_database_url: str, redis_url: str) -> None:
    """A service that ends while a new connection is being asked about its settings leaves none open."""
    asked = asyncio.Event()

    def stall(request: bytes, _: bytes) -> bool:
        if b"in_recovery" in request:
            between.stall("down")
            asked.set()
        return False

    async with through_a_proxy(migrated_database_url) as (url, between):
        async with served(settings_of(url, redis_url)):
            between.cut_reply_when(stall)
            between.cut()
            await asyncio.wait_for(asked.wait(), 5)
        await eventually(lambda: between.open_connections == 0, within=2)


def cut_the_answer(between: Proxy, marker: bytes) -> None:
    """Cuts the next connection on which an append with this marker was sent, instead of passing on its answer."""
    between.cut_reply_when(lambda asked, reply: marker in asked)


async def test_outcome_unknown_with_a_key(migrated_database_url: str, redis_url: str) -> None:
    """When the connection breaks after the commit, a keyed append is run again: stored once, published, answered."""
    async with (
        behind_a_proxy(migrated_database_url, redis_url) as (api, between),
        listening(redis_url) as heard,
    ):
        await api.create("unknown-1", "r1")
        cut_the_answer(between, b"mark-1")
        numbers = await api.append("r1", {"type": "a", "event_id": "k", "x": "mark-1"})
        await eventually(lambda: len(frames(heard, "unknown-1")) == 1)
        _, body = await api.get("/runs/r1/events")

    assert between.cuts == 1
    assert numbers == [(1, 1)]
    assert [event["x"] for event in body["events"]] == ["mark-1"]
    assert len(frames(heard, "unknown-1")) == 1


async def test_outcome_unknown_without_a_key(migrated_database_url: str, redis_url: str) -> None:
    """Without a key the caller is told that the outcome is unknown, and the next beacons name how far the feed came."""
    async with (
        behind_a_proxy(migrated_database_url, redis_url) as (api, between),
        listening(redis_url) as heard,
    ):
        await api.create("unknown-2", "r2")
        cut_the_answer(between, b"mark-2")
        async with api.session.post(api.url("/runs/r2/events"), json={"type": "a", "x": "mark-2"}) as response:
            problem = await response.json()
            assert (response.status, problem["code"]) == (503, "outcome_unknown")
            assert int(response.headers["Retry-After"]) >= 1
        await eventually(lambda: any(b["heads"].get("unknown-2") == 1 for b in beacons(heard)), within=5)
        _, body = await api.get("/runs/r2/events")

    assert between.cuts == 1
    assert body["last_seq"] == 1


async def test_others_of_a_cut_group(migrated_database_url: str, redis_url: str) -> None:
    """Of many keyed appends whose connection broke, each is stored once and its caller gets its own numbers."""
    async with behind_a_proxy(migrated_database_url, redis_url) as (api, between):
        await api.create("unknown-3", "r3")
        cut_the_answer(between, b"mark-3")
        answers = await asyncio.gather(
            *(api.append("r3", {"type": "a", "event_id": f"k{n}", "n": n, "x": "mark-3"}) for n in range(50))
        )
        _, body = await api.get("/runs/r3/events")

    assert between.cuts == 1
    assert sorted(answer[0] for answer in answers) == [(n, n) for n in range(1, 51)]
    assert {event["id"]: event["n"] for event in body["events"]} == {answers[n][0][0]: n for n in range(50)}


@pytest.fixture
async def own(postgres_server: OwnPostgres, redis_url: str) -> AsyncIterator[Api]:
    """A service whose PostgreSQL the test may stop."""
    await migrate.migrate(postgres_server.url())
    settings = Settings.from_env(
        {"DATABASE_URL": postgres_server.url(), "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"}
    )
    async with served(settings) as api:
        yield api


async def test_postgres_killed(own: Api, postgres_server: OwnPostgres) -> None:
    """With PostgreSQL away every call is 503 with Retry-After at once; it goes on by itself when it is back."""
    await own.create("alice", "r1")
    await own.append("r1", {"type": "before"})
    postgres_server.kill()
    await eventually(lambda: own.service.recorder.problems() != [])
    for method, path in (
        ("POST", "/runs/r1/events"),
        ("GET", "/runs/r1/events"),
        ("GET", "/api/v1/feeds/alice/events"),
    ):
        began = time.monotonic()
        how = {"json": {"type": "during"}} if method == "POST" else {}
        async with own.session.request(method, own.url(path), **how) as response:  # type: ignore[arg-type]
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
        assert time.monotonic() - began < 2
    assert (await own.get("/readyz"))[0] == 503
    assert (await own.session.get(own.url("/healthz"))).status == 200
    postgres_server.start()
    await eventually(lambda: own.service.recorder.problems() == [], within=10)
    assert await own.append("r1", {"type": "after"}) == [(2, 2)]
    await eventually(lambda: _ready(own), within=5)


async def test_postgres_frozen(own: Api, postgres_server: OwnPostgres) -> None:
    """While PostgreSQL hangs, appends and polls are 503 with Retry-After, never 500, and go on when it wakes."""
    await own.create("alice", "r1")
    await own.append("r1", {"type": "before"})
    postgres_server.freeze()
    calls = [
        own.session.get(own.url("/runs/r1/events")),
        own.session.post(own.url("/runs/r1/events"), json={"type": "x"}),
    ]
    for response in await asyncio.gather(*calls):
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1
        await response.release()
    postgres_server.thaw()
    await eventually(lambda: _ready(own), within=10)
    assert (await own.append("r1", {"type": "after"}))[0][0] in (2, 3)  # the keyless one's outcome was unknown


async def _ready(api: Api) -> bool:
    return (await api.get("/readyz"))[0] == 200


async def test_sessions_terminated(own: Api, postgres_server: OwnPostgres) -> None:
    """When the operator ends all sessions, keyed appends of that moment are stored once, without a restart."""
    await own.create("alice", "r1")
    administrator = await asyncpg.connect(postgres_server.url())

    async def writer(n: int) -> tuple[int, int]:
        while True:
            body = {"type": "a", "event_id": f"k{n}"}
            status, answer = await own.post("/runs/r1/events", body)
            if status in (200, 201):
                return answer["events"][0]["id"], n
            assert (status, answer["code"] in ("store_away", "outcome_unknown")) == (503, True), answer

    writers = [asyncio.create_task(writer(n)) for n in range(200)]
    for _ in range(5):
        await asyncio.gather(*writers[:5])
        await administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = user"
        )
    given = dict(await asyncio.gather(*writers))
    await administrator.close()
    _, body = await own.get("/runs/r1/events")

    assert [event["id"] for event in body["events"]] == list(range(1, 201))
    assert {event["id"]: int(event["event_id"][1:]) for event in body["events"]} == given


@pytest.mark.full  # row 25 of `./dev fault --ci` plays the same
async def test_locked_table(api: Api) -> None:
    """While a stranger locks the whole table, callers get 503 busy after their 5 s, and nothing is stored."""
    await api.create("alice", "r1")
    stranger = await asyncpg.connect(api.settings.database_url)
    async with stranger.transaction():
        await stranger.execute("LOCK TABLE events")
        began = time.monotonic()
        answers = await asyncio.gather(*(api.post("/runs/r1/events", {"type": "a"}) for _ in range(3)))
        seconds = time.monotonic() - began
    await stranger.close()

    assert [(status, body["code"]) for status, body in answers] == [(503, "busy")] * 3
    assert seconds < 7.5
    assert await api.append("r1", {"type": "b"}) == [(1, 1)]


async def test_bad_data_fails_alone(api: Api) -> None:
    """A group that fails for one caller's data is run again caller by caller: only that caller is refused."""
    await api.create("alice", "r1")
    recorder = api.service.recorder
    good = [Event(b'"type":"a","n":', b"}", None, None, None, None, None) for _ in range(20)]
    bad = Event(b'"type":"\0","n":', b"}", None, None, None, None, None)
    loop = asyncio.get_running_loop()
    appends = [Append("r1", "alice", [event], loop.create_future()) for event in [*good[:10], bad, *good[10:]]]
    outcomes = await asyncio.gather(*(recorder.append(append) for append in appends), return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [problem.code for problem in refused] == ["not_storable"]
    assert isinstance(outcomes[10], Problem)
    stored = [outcome.numbers[0] for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert sorted(stored) == [(n, n) for n in range(1, 21)]


async def test_withdrawn(api: Api) -> None:
    """A caller that goes away before its append was taken leaves nothing; afterwards it is stored all the same."""
    await api.create("alice", "r1")
    stranger = await asyncpg.connect(api.settings.database_url)
    loop = asyncio.get_running_loop()
    event = Event(b'"type":"a","n":', b"}", None, None, None, None, None)
    async with stranger.transaction():
        await stranger.execute("SELECT FROM feeds WHERE username = 'alice' FOR UPDATE")
        first = Append("r1", "alice", [event], loop.create_future())
        taken = asyncio.create_task(api.service.recorder.append(first))
        # While the second lane waits for the lock, nobody takes what comes for the same feed.
        async with asyncio.timeout(10):
            while not await stranger.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                pass
        waiting = Append("r1", "alice", [event], loop.create_future())
        gone = asyncio.create_task(api.service.recorder.append(waiting))
        await eventually(lambda: api.service.recorder.waiting()[0] == 1)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert (await taken).numbers == [(1, 1)]
    await stranger.close()

    assert waiting.answer.cancelled()
    assert await api.append("r1", {"type": "b"}) == [(2, 2)]


async def test_close_finishes_what_was_taken(api: Api) -> None:
    """On TERM what was taken is stored and answered, and what comes later is refused with a word to come back."""
    await api.create("alice", "r1")
    appends = [asyncio.create_task(api.append("r1", {"type": "a", "n": n})) for n in range(30)]
    await eventually(lambda: api.service.recorder.waiting()[0] > 0 or any(task.done() for task in appends))
    closing = asyncio.create_task(api.service.recorder.close())
    answers = await asyncio.gather(*appends, return_exceptions=True)
    await closing
    with pytest.raises(Unavailable, match="going away"):
        await api.service.recorder.append(Append("r1", "alice", [], asyncio.get_running_loop().create_future()))
    _, body = await api.get("/runs/r1/events")

    stored = [answer[0] for answer in answers if not isinstance(answer, BaseException)]
    assert len(stored) == body["last_seq"] > 0
    assert {event["id"] for event in body["events"]} == {event_id for event_id, _ in stored}
