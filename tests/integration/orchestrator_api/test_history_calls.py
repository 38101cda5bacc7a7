"""What the API answers about the past."""

import asyncio
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from orchestrator_api.store import Reader
from tests.integration.orchestrator_api.conftest import Api


async def filled(api: Api, run_id: str, count: int, size: int = 10, username: str = "alice") -> None:
    await api.create(username, run_id)
    step = min(500, 800_000 // (size + 60))  # a batch stays below a MiB
    for start in range(0, count, step):
        batch = [{"type": "a", "n": n, "x": "x" * size} for n in range(start, min(start + step, count))]
        await api.append(run_id, *batch)


async def test_whole_history(api: Api) -> None:
    """A long history is streamed whole: every event once, in order, the body ending at last_seq."""
    await filled(api, "r1", 2600)
    status, body = await api.get("/runs/r1/events")

    assert status == 200
    assert [event["seq"] for event in body["events"]] == list(range(1, 2601))
    assert (body["last_seq"], body["head"], body["status"]) == (2600, 2600, "running")


@pytest.mark.parametrize(("query", "status"), [("username=alice", 200), ("username=bob", 404), ("username=-", 400)])
async def test_whose(api: Api, query: str, status: int) -> None:
    """Who says whose run is meant gets no other's: its head is of another feed."""
    await filled(api, "r1", 2)
    answered, body = await api.get(f"/runs/r1/events?{query}")

    assert answered == status
    assert status == 200 or body.get("code") == {404: "run_unknown", 400: "invalid"}[status]


async def test_large_events(api: Api) -> None:
    """Pages are bounded by bytes as well: events of 60 KiB come whole."""
    await api.create("alice", "r1")
    for n in range(60):
        await api.append("r1", {"type": "a", "n": n, "x": "x" * 60_000})
    _, body = await api.get("/runs/r1/events")

    assert [event["n"] for event in body["events"]] == list(range(60))


@pytest.mark.parametrize(
    ("query", "expected"),
    [("after=3", [4, 5, 6]), ("limit=2", [1, 2]), ("after=2&limit=3", [3, 4, 5]), ("after=6", [])],
)
async def test_after_and_limit(api: Api, query: str, expected: list[int]) -> None:
    """`after` is an id and leaves out what is not newer; `limit` ends the body early."""
    await filled(api, "r1", 6)
    status, body = await api.get(f"/runs/r1/events?{query}")

    assert status == 200
    assert [event["id"] for event in body["events"]] == expected
    assert body["last_seq"] == 6


async def test_after_is_an_id_of_the_feed(api: Api) -> None:
    """In a run of a user with several, `after` counts the feed, not the run."""
    await filled(api, "r1", 3)
    await filled(api, "r2", 3)
    await api.append("r1", {"type": "a"})
    _, body = await api.get("/runs/r1/events?after=3")

    assert [(event["id"], event["seq"]) for event in body["events"]] == [(7, 4)]


async def test_etag(api: Api) -> None:
    """The validator changes with each event and only then; 304 carries it and no body."""
    await filled(api, "r1", 3)
    async with api.session.get(api.url("/runs/r1/events")) as response:
        tag = response.headers["ETag"]
        assert response.headers["Cache-Control"] == "private, no-cache"
    async with api.session.get(api.url("/runs/r1/events?after=1&limit=1")) as response:
        assert response.headers["ETag"] == tag
    async with api.session.get(api.url("/runs/r1/events"), headers={"If-None-Match": f'"x", W/{tag}'}) as response:
        assert (response.status, response.headers["ETag"], await response.read()) == (304, tag, b"")
    await api.append("r1", {"type": "b"})
    async with api.session.get(api.url("/runs/r1/events"), headers={"If-None-Match": tag}) as response:
        assert response.status == 200
        assert response.headers["ETag"] != tag


async def test_appends_during_a_stream(api: Api) -> None:
    """A body that began before an append ends at the last_seq that it began with."""
    await filled(api, "r1", 3000, size=300)
    async with api.session.get(api.url("/runs/r1/events")) as response:
        start = await response.content.readexactly(100)
        await api.append("r1", {"type": "late"})
        body = orjson.loads(start + await response.read())

    assert [event["seq"] for event in body["events"]] == list(range(1, 3001))
    assert body["last_seq"] == 3000


async def test_error_in_the_middle_cuts(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the database fails in the middle of a body, the connection is cut: no body ends as if it were whole."""
    await filled(api, "r1", 3000, size=4000)
    connection = await asyncpg.connect(api.settings.database_url)
    async with api.session.get(api.url("/runs/r1/events")) as response:
        assert response.status == 200
        await response.content.readexactly(100)
        await connection.execute("ALTER TABLE events RENAME TO hidden")
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    await connection.execute("ALTER TABLE hidden RENAME TO events")
    await connection.close()


async def test_feed_pages(api: Api) -> None:
    """A feed's pages, followed by `next`, hold every event of the user once, whatever the run."""
    await filled(api, "r1", 700)
    await filled(api, "r2", 700)
    await filled(api, "r3", 5, username="bob")
    ids: list[int] = []
    after, head = 0, 1
    while after < head:
        _, page = await api.get(f"/api/v1/feeds/alice/events?after={after}")
        ids += [event["id"] for event in page["events"]]
        after, head = page["next"], page["head"]

    assert ids == list(range(1, 1401))


async def test_feed_of_some_runs(api: Api) -> None:
    """Filtered by runs, a page holds those only, and `next` passes over the others."""
    await filled(api, "r1", 3)
    await filled(api, "r2", 3)
    await filled(api, "r3", 3)
    _, page = await api.get("/api/v1/feeds/alice/events?run_id=r1&run_id=r3")

    assert [event["run_id"] for event in page["events"]] == ["r1"] * 3 + ["r3"] * 3
    assert (page["next"], page["head"]) == (9, 9)
    _, page = await api.get("/api/v1/feeds/alice/events?run_id=r1&limit=2")
    assert ([event["id"] for event in page["events"]], page["next"]) == ([1, 2], 2)


async def test_feed_page_is_bounded_in_bytes(api: Api) -> None:
    """A page ends after a MiB, and the next goes on behind it."""
    await api.create("alice", "r1")
    for n in range(40):
        await api.append("r1", {"type": "a", "n": n, "x": "x" * 60_000})
    _, first = await api.get("/api/v1/feeds/alice/events?limit=5000")
    _, second = await api.get(f"/api/v1/feeds/alice/events?limit=5000&after={first['next']}")

    assert 15 <= len(first["events"]) <= 19
    assert second["events"][0]["id"] == first["next"] + 1 == first["events"][-1]["id"] + 1


async def test_feed_of_nobody(api: Api) -> None:
    """A user whom nobody knows has an empty feed with head 0."""
    status, page = await api.get("/api/v1/feeds/nobody/events")

    assert status == 200
    assert (page["events"], page["next"], page["head"]) == ([], 0, 0)


async def test_heads(api: Api) -> None:
    """Heads come for every name asked for, 0 for the unknown, with the epoch of the poll."""
    await filled(api, "r1", 3)
    _, body = await api.get("/runs/r1/events")
    status, heads = await api.post("/api/v1/feeds/heads", {"usernames": ["alice", "nobody", "alice"]})

    assert status == 200
    assert heads == {"epoch": body["epoch"], "heads": {"alice": 3, "nobody": 0}}


async def test_ten_thousand_heads(api: Api) -> None:
    """10,000 names are answered, one more is 413."""
    names = [f"u{n}" for n in range(10_001)]
    status, body = await api.post("/api/v1/feeds/heads", {"usernames": names[:-1]})
    refused, problem = await api.post("/api/v1/feeds/heads", {"usernames": names})

    assert (status, len(body["heads"])) == (200, 10_000)
    assert (refused, problem["field"]) == (413, "usernames")


async def test_runs_of_a_user(api: Api) -> None:
    """A user's runs come newest first, page by page, filtered by status."""
    for n in range(7):
        await api.create("alice", f"r{n}", **({"events": [{"type": "workflow_failed"}]} if n % 2 else {}))
    await api.create("bob", "other")
    seen: list[Any] = []
    cursor = ""
    while cursor is not None:
        _, page = await api.get(
            "/runs", params={"username": "alice", "limit": 3, **({"cursor": cursor} if cursor else {})}
        )
        seen.append([run["run_id"] for run in page["runs"]])
        cursor = page["cursor"]

    assert seen == [["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]
    _, page = await api.get("/runs?username=alice&status=failed")
    assert [run["run_id"] for run in page["runs"]] == ["r5", "r3", "r1"]


async def test_slow_reader_holds_no_connection(api: Api) -> None:
    """Clients that stop reading a long history keep no database connection from others."""
    await filled(api, "r1", 3000, size=4000)
    sessions = [aiohttp.ClientSession(read_bufsize=1024) for _ in range(20)]
    try:
        stuck = await asyncio.gather(*(session.get(api.url("/runs/r1/events")) for session in sessions))
        async with asyncio.timeout(5):
            statuses = [(await api.get("/runs/r1/events?limit=1"))[0] for _ in range(20)]
        for response in stuck:
            response.close()
    finally:
        for session in sessions:
            await session.close()

    assert [response.status for response in stuck] == [200] * 20
    assert statuses == [200] * 20


async def test_concurrent_polls_cost_few_statements(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls that come together are answered by few statements, whatever runs they ask for; a 304 reads no event."""
    for n in range(20):
        await filled(api, f"r{n}", 3)
    asked: list[str] = []
    fetch = Reader.fetch

    async def counted(self: Reader, query: str, *args: Any) -> list[Any]:
        asked.append(query)
        return await fetch(self, query, *args)

    monkeypatch.setattr(Reader, "fetch", counted)
    whole = await asyncio.gather(*(api.get(f"/runs/r{n % 20}/events") for n in range(100)))
    assert [(status, len(body["events"])) for status, body in whole] == [(200, 3)] * 100
    assert asked.count("runs") < 30
    assert asked.count("run_page") < 60
    asked.clear()
    tag = f'"{whole[0][1]["epoch"][-8:]}-3-running"'
    unchanged = await asyncio.gather(
        *(api.get(f"/runs/r{n % 20}/events", headers={"If-None-Match": tag}) for n in range(100))
    )

    assert [status for status, _ in unchanged] == [304] * 100
    assert asked.count("runs") < 30
    assert set(asked) == {"runs"}


async def test_poll_after_an_answer_sees_the_event(api: Api) -> None:
    """However many poll at the same time, a poll that is sent after a 201 shows its event: no answer is stale."""
    await api.create("alice", "r1")
    stop = asyncio.Event()

    async def crowd() -> None:
        while not stop.is_set():
            await api.get("/runs/r1/events")

    polling = [asyncio.create_task(crowd()) for _ in range(20)]
    for _ in range(100):
        ((_, seq),) = await api.append("r1", {"type": "a"})
        _, body = await api.get("/runs/r1/events")
        assert body["last_seq"] == seq
        assert body["events"][-1]["seq"] == seq
    stop.set()
    await asyncio.gather(*polling)
