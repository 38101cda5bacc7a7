"""Polls for a cause: what the API counts of them, and that nothing else changes by it."""

from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from orchestrator_api.polls import CAUSES, OUTCOMES
from orchestrator_api.serve import running
from orchestrator_api.settings import Settings
from tests.integration.orchestrator_api.conftest import Api
from tests.support.waiting import eventually

RUN, FEED = "/api/v1/runs/r1/events", "/api/v1/feeds/alice/events"
BOTH = pytest.mark.parametrize("path", [RUN, FEED])


async def counted(api: Api) -> dict[tuple[str, str], int]:
    """Every count of a poll that is not 0, by cause and outcome."""
    counts = {
        (cause, outcome): int(await api.metric("orchestrator_polls_total", cause=cause, outcome=outcome))
        for cause in CAUSES
        for outcome in OUTCOMES
    }
    return {labels: count for labels, count in counts.items() if count}


async def age(api: Api) -> None:
    """Make what is stored look as if it had been recorded long ago."""
    connection = await asyncpg.connect(api.settings.database_url)
    await connection.execute(
        """UPDATE events SET tail = regexp_replace(tail, '"recorded_at":[0-9.]+', '"recorded_at":1697234568.5')"""
    )
    await connection.close()


async def filled(api: Api, count: int = 3, **event: Any) -> None:
    """Run r1 of alice with so many events."""
    await api.create("alice", "r1")
    for start in range(0, count, 200):
        await api.append("r1", *({"type": "a", **event} for _ in range(start, min(start + 200, count))))


async def test_every_count_begins_at_zero(api: Api) -> None:
    """Each cause and outcome is there at 0 before the first poll: a rate misses nothing."""
    async with api.session.get(f"http://127.0.0.1:{api.service.admin_port}/metrics") as response:
        lines = (await response.text()).splitlines()

    for cause in CAUSES:
        for outcome in OUTCOMES:
            assert f'orchestrator_polls_total{{cause="{cause}",outcome="{outcome}"}} 0.0' in lines


@BOTH
async def test_fresh_then_revealed_then_empty(api: Api, path: str) -> None:
    """New events are fresh, old ones revealed, and none is empty; the answer is the one without a cause."""
    await filled(api)
    fresh = await api.get(f"{path}?after=1&cause=ws_idle")
    assert await counted(api) == {("ws_idle", "fresh"): 1}
    await age(api)
    revealed = await api.get(f"{path}?after=1&cause=ws_gap")
    assert await counted(api) == {("ws_idle", "fresh"): 1, ("ws_gap", "revealed"): 1}
    empty = await api.get(f"{path}?after=3&cause=ws_gap")
    assert await counted(api) == {("ws_idle", "fresh"): 1, ("ws_gap", "revealed"): 1, ("ws_gap", "empty"): 1}

    assert [[event["id"] for event in body["events"]] for _, body in (fresh, revealed, empty)] == [[2, 3], [2, 3], []]
    assert revealed == await api.get(f"{path}?after=1")


@BOTH
async def test_only_what_is_new_counts(api: Api, path: str) -> None:
    """Old events below the client's cursor reveal nothing; with a limit, the first that is new decides."""
    await filled(api)
    await age(api)
    await api.append("r1", {"type": "b"})
    await api.get(f"{path}?after=3&cause=ws_idle")
    assert await counted(api) == {("ws_idle", "fresh"): 1}
    await api.get(f"{path}?after=2&limit=1&cause=ws_idle")
    assert await counted(api) == {("ws_idle", "fresh"): 1, ("ws_idle", "revealed"): 1}


async def test_runs_of_a_feed(api: Api) -> None:
    """A poll of some runs is judged by their events alone."""
    await filled(api)
    await age(api)
    await api.create("alice", "r2", events=[{"type": "a"}])
    await api.get(f"{FEED}?run_id=r2&cause=ws_down")
    await api.get(f"{FEED}?run_id=unknown&cause=ws_never")

    assert await counted(api) == {("ws_down", "fresh"): 1, ("ws_never", "empty"): 1}


async def test_unchanged_is_empty(api: Api) -> None:
    """A poll that is answered 304 brought nothing."""
    await filled(api)
    await age(api)
    async with api.session.get(api.url(RUN)) as response:
        tag = response.headers["ETag"]
    async with api.session.get(api.url(f"{RUN}?cause=forced"), headers={"If-None-Match": tag}) as response:
        assert response.status == 304

    assert await counted(api) == {("forced", "empty"): 1}


async def test_streamed_answer(api: Api) -> None:
    """A history that is streamed is judged by its first event, and counted though its client leaves in the middle."""
    await filled(api, 3000, x="x" * 4000)
    await age(api)
    status, body = await api.get(f"{RUN}?cause=ws_never")
    assert (status, len(body["events"])) == (200, 3000)
    assert await counted(api) == {("ws_never", "revealed"): 1}
    async with (
        aiohttp.ClientSession(read_bufsize=1024) as session,
        session.get(api.url(f"{RUN}?cause=ws_down")) as response,
    ):
        await response.content.readexactly(100)
        response.close()

    assert await counted(api) == {("ws_never", "revealed"): 1, ("ws_down", "revealed"): 1}


async def test_refused(api: Api) -> None:
    """A poll that is refused is counted as that: an unknown run, a cursor of other numbers, a malformed one."""
    await filled(api)
    for path, status in (
        ("/runs/unknown/events?cause=ws_down", 404),
        ("/runs/-/events?cause=ws_down", 400),
        (f"{RUN}?after=4&cause=ws_down", 410),
        (f"{FEED}?after=4&cause=ws_down", 410),
        (f"{RUN}?after=x&cause=ws_down", 400),
        (f"{FEED}?limit=0&cause=ws_down", 400),
    ):
        assert (await api.get(path))[0] == status

    assert await counted(api) == {("ws_down", "refused"): 6}


async def test_store_away_is_refused(redis_url: str, tmp_path: Path) -> None:
    """A poll that finds no database is refused; its 503 is the one line of text that it was without a cause."""
    url = f"postgresql://runfeed@/runfeed?host={tmp_path}"
    settings = Settings.from_env({"DATABASE_URL": url, "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"})
    async with running(settings) as service, aiohttp.ClientSession() as session:
        await eventually(lambda: "not connected yet" not in "".join(service.recorder.problems()))
        api = Api(service, session, settings)
        async with session.get(api.url(f"{RUN}?cause=ws_idle")) as response:
            assert (response.status, response.content_type) == (503, "text/plain")
        assert await counted(api) == {("ws_idle", "refused"): 1}


@BOTH
async def test_bad_causes(api: Api, path: str) -> None:
    """A cause that is none, or is given twice, is 400 and names the field; it is no poll."""
    await filled(api)
    for query in ("cause=", "cause", "cause=ws_gone", "cause=WS_GAP", "cause=ws_gap&cause=ws_gap", "cause=revealed"):
        status, problem = await api.get(f"{path}?{query}")
        assert (status, problem["field"]) == (400, "cause"), query

    assert await counted(api) == {}


@BOTH
async def test_loads_are_not_polls(api: Api, path: str) -> None:
    """A request without a cause is not counted."""
    await filled(api)
    for query in ("", "?after=0", "?after=9", "?Cause=ws_gap"):
        await api.get(path + query)

    assert await counted(api) == {}
