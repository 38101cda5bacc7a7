"""The Python client against services that ask who comes: tokens that run out, are taken back, or name runs; keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from runfeed import RunfeedError, RunReporter
from runfeed.commands import tail
from runfeed.core.order import HOLE
from runfeed.watch import Watch
from tests.integration.clients.watching.test_tail import parsed
from tests.integration.clients.watching.worker import DONE, WITHIN, Choosy, Opened, Places, Worker, ids
from tests.support import eventually
from tests.support.pacing import passing
from tests.support.proving import operate, proving, token
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 1.5  # for which a token lasts here


class Guarded(Places):
    """The services, and what their operator does."""

    def __init__(self, environ: dict[str, str]) -> None:
        super().__init__(environ)
        self.writer = self.operate("keys", "create", "--may", "write", "--all")

    def operate(self, *arguments: str) -> str:
        """What `python -m orchestrator_api ...` prints."""
        return operate(self.environ["DATABASE_URL"], self.environ["REDIS_URL"], *arguments)


@pytest.fixture(scope="module")
def guarded(modules_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Services that ask who comes."""
    with proving(modules_database_url, redis_url, tmp_path_factory.mktemp("guarded"), FANOUT_DRAIN="0") as environ:
        yield Guarded(environ)


class Issuer:
    """A program's tokens. Attributes: given: how many."""

    def __init__(self, username: str, seconds: float = SECONDS, **claims: Any) -> None:
        self._said = username, seconds
        self._claims = claims
        self.given = 0

    def __call__(self) -> str:
        """A new one."""
        self.given += 1
        return token(*self._said, **self._claims)


@pytest.fixture
async def worker(guarded: Guarded) -> AsyncIterator[Worker]:
    """Who reports, with a key."""
    async with Worker(guarded, guarded.writer) as found:
        yield found


async def told_until(worker: Worker, run_id: str, enough: Callable[[], bool], seen: list[int]) -> int:
    """Appends event after event, each when the one before is shown, until it is enough; how many there are then."""
    async with asyncio.timeout(WITHIN):
        while not enough():
            await told(worker, run_id, seen)
    return len(seen)


async def told(worker: Worker, run_id: str, seen: list[int]) -> None:
    """One more event is appended, and shown."""
    before = len(seen)
    await worker.steps(run_id, 1)
    await eventually(lambda: len(seen) > before)


async def watch_into(seen: list[int], events: Watch) -> None:
    """Notes what is shown."""
    async for event in events:
        seen.append(event["seq"])  # noqa: PERF401 - who else looks at it is to see each at once


@pytest.mark.parametrize("way", ["websocket", "sse"])
async def test_tokens_run_out(worker: Worker, guarded: Guarded, opened: Opened, way: str) -> None:
    """While tokens run out, again and again, every event is shown once: on one socket, or on streams without a hole."""
    door = await opened(Choosy(guarded.hub_place, b"GET /ws" if way == "sse" else b"nothing"))
    issuer = Issuer(worker.username)
    run_id = await worker.run()
    seen: list[int] = []
    async with worker.watching(hub=f"ws://127.0.0.1:{door.port}", get_token=issuer) as feed:
        watching = asyncio.create_task(watch_into(seen, feed.run(run_id)))
        await eventually(lambda: feed.transport == way, within=WITHIN)
        first = issuer.given
        count = await told_until(worker, run_id, lambda: issuer.given >= first + 2, seen)
        assert (feed.transport, feed.polls) == (way, 0)
        await worker.append(run_id, DONE)
        await watching

    assert seen == list(range(1, count + 2))
    assert isinstance(door, Choosy)
    assert door.taken - door.refusals == (1 if way == "websocket" else 3)


@pytest.mark.parametrize("way", ["websocket", "sse"])
@pytest.mark.parametrize("again", [True, False])
async def test_revoked(worker: Worker, guarded: Guarded, opened: Opened, way: str, again: bool) -> None:
    """When a user's tokens are taken back a new one goes on where the last ended; without one all ends, and says so."""
    door = await opened(Choosy(guarded.hub_place, b"GET /ws" if way == "sse" else b"nothing"))
    kept = token(worker.username)
    given: list[str] = []

    def get_token() -> str:
        given.append(token(worker.username) if again else kept)
        return given[-1]

    run_id = await worker.run()
    seen: list[int] = []
    async with worker.watching(hub=f"ws://127.0.0.1:{door.port}", get_token=get_token) as feed:
        watching = asyncio.create_task(watch_into(seen, feed.run(run_id)))
        await eventually(lambda: feed.transport == way, within=WITHIN)
        await worker.steps(run_id, 3)
        await eventually(lambda: len(seen) == 3)
        await asyncio.to_thread(guarded.operate, "revoke", "--user", worker.username)
        if not again:
            with pytest.raises(RunfeedError) as caught:
                await asyncio.wait_for(watching, WITHIN)
            assert caught.value.status in (401, 4401)
        else:
            await eventually(lambda: len(given) == 2)
            await worker.steps(run_id, 2)
            await worker.append(run_id, DONE)
            await asyncio.wait_for(watching, WITHIN)

    assert seen == list(range(1, 7 if again else 4))


@pytest.mark.parametrize("way", ["websocket", "sse"])
async def test_a_token_that_names_runs(worker: Worker, guarded: Guarded, opened: Opened, way: str) -> None:
    """Whose token names a run sees that run, while others of the user's are busy beside it, and asks nobody."""
    door = await opened(Choosy(guarded.hub_place, b"GET /ws" if way == "sse" else b"nothing"))
    run_id, other = await worker.run(), await worker.run()
    issuer = Issuer(worker.username, 600, run_ids=[run_id])
    seen: list[int] = []
    async with worker.watching(hub=f"ws://127.0.0.1:{door.port}", get_token=issuer) as feed:
        watching = asyncio.create_task(watch_into(seen, feed.run(run_id)))
        await eventually(lambda: feed.transport == way, within=WITHIN)
        before = await worker.polls("ws_gap")
        for _ in range(10):
            await worker.steps(other, 2)
            await told(worker, run_id, seen)
        await passing(2 * HOLE / 1000)
        door.cut()
        await eventually(lambda: feed.transport != way)
        await worker.steps(other, 2)
        await eventually(lambda: feed.transport == way, within=WITHIN)
        await told(worker, run_id, seen)
        await passing(2 * HOLE / 1000)
        await worker.append(run_id, DONE)
        await watching
        asked = await worker.polls("ws_gap") - before

    assert (seen, asked) == (list(range(1, 13)), 0)


async def test_a_loss_beside_busy_runs(worker: Worker, guarded: Guarded, opened: Opened) -> None:
    """What is lost on a socket that leaves out runs is found by a poll, when nothing more comes."""
    door = await opened(Proxy(guarded.hub_place))
    run_id, other = await worker.run(), await worker.run()
    issuer = Issuer(worker.username, 600, run_ids=[run_id])
    seen: list[int] = []
    async with worker.watching(hub=f"ws://127.0.0.1:{door.port}", get_token=issuer, poll_interval=0.5) as feed:
        watching = asyncio.create_task(watch_into(seen, feed.run(run_id)))
        await eventually(lambda: feed.transport == "websocket", within=WITHIN)
        await worker.steps(other, 2)
        await told(worker, run_id, seen)
        door.blackhole("down")
        await worker.steps(other, 2)
        await told(worker, run_id, seen)
        await worker.append(run_id, DONE)
        await watching

    assert seen == [1, 2, 3]


async def test_a_token_of_more_runs(worker: Worker) -> None:
    """A run that is watched later, and that only the token of then names, is shown like the first, all of it."""
    first, second, other = await worker.run(), await worker.run(), await worker.run()
    shown = [first]
    seen: dict[str, list[int]] = {first: [], second: []}
    async with worker.watching(get_token=lambda: token(worker.username, 600, run_ids=shown)) as feed:
        watching = [asyncio.create_task(watch_into(seen[first], feed.run(first)))]
        await eventually(lambda: feed.transport == "websocket", within=WITHIN)
        await worker.steps(second, 2)
        await told(worker, first, seen[first])
        shown.append(second)
        feed._tokens.renew(1)
        watching.append(asyncio.create_task(watch_into(seen[second], feed.run(second))))
        for _ in range(5):
            await worker.steps(other, 2)
            await told(worker, first, seen[first])
            await told(worker, second, seen[second])
        for run_id in (first, second):
            await worker.append(run_id, DONE)
        await asyncio.gather(*watching)

    assert seen == {first: list(range(1, 8)), second: list(range(1, 9))}


async def test_key_rotated(worker: Worker, guarded: Guarded, tmp_path: Path) -> None:
    """A worker whose key is replaced while it reports loses nothing, and needs no restart."""
    key = guarded.operate("keys", "create", "--may", "write", "--user", worker.username)
    keys = [key]

    def report() -> tuple[int, int]:
        given: dict[str, Any] = {
            "url": worker.places.api,
            "username": worker.username,
            "spill": tmp_path,
            "flush_timeout": WITHIN,
        }
        with RunReporter(run_id, api_key=lambda: keys[-1], **given) as run:
            run.started()
            assert run.flush(WITHIN)
            keys.append(guarded.operate("keys", "rotate", key.split("_")[1], "--overlap", "0s"))
            guarded.operate("keys", "revoke", key.split("_")[1])
            run.step(1, "load", "completed")
            assert run.flush(WITHIN)
        return run.sent, run.dropped

    run_id = f"{worker.username}-run"
    assert await asyncio.to_thread(report) == (3, 0)
    async with worker.watching(get_token=Issuer(worker.username, 600)) as feed:
        assert await ids(feed.run(run_id)) == [1, 2, 3]


async def test_key_out_of_scope(
    worker: Worker, guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker whose key is for another user keeps its events, whether it could make the run or not."""
    key = guarded.operate("keys", "create", "--may", "write", "--user", "somebody-else")
    run_id = await worker.run()

    def report(username: str | None) -> tuple[int, int, int]:
        whose: dict[str, Any] = {"url": worker.places.api, "username": username, "api_key": key}
        run = RunReporter(run_id, spill=tmp_path / str(username), flush_timeout=0.2, **whose)
        run.event("note")
        run.flush(WITHIN)
        run.close()
        return run.sent, run.pending, run.dropped

    for username, why in ((None, "404 run_unknown"), (worker.username, "the run cannot be made: 403 forbidden")):
        caplog.clear()
        assert await asyncio.to_thread(report, username) == (0, 1, 0)
        assert [why in record.message for record in caplog.records] == [True, False], "why, and what is left"


async def test_tail(
    worker: Worker, guarded: Guarded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """tail watches with a token, and with a key that may read and mint; a key that may not says so."""
    run_id = await worker.run()
    await worker.append(run_id, {"type": "a"}, DONE)
    whose = ["--user", worker.username]
    key = guarded.operate("keys", "create", "--may", "read", "--may", "mint", *whose)
    for name, value in (("RUNFEED_TOKEN", token(worker.username)), ("RUNFEED_API_KEY", key)):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert await asyncio.to_thread(tail.main, parsed(worker, run_id)) == 0
            assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setenv("RUNFEED_API_KEY", guarded.writer)

    assert await asyncio.to_thread(tail.main, parsed(worker, run_id, "--username", worker.username)) == 2
    said = capsys.readouterr().err
    assert "no token with RUNFEED_API_KEY: 403" in said
    assert guarded.writer not in said
