"""runfeed.Runfeed against the real services, all being well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from runfeed import Runfeed, RunfeedError
from tests.integration.clients.watching.worker import DONE, Places, Worker, ids
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about a client, whatever the stores' versions


async def test_run(worker: Worker) -> None:
    """A run's events come once, in order, by the socket alone; the iteration ends with the run."""
    run_id = await worker.run()
    first = await worker.steps(run_id, 3)
    async with worker.watching() as feed:
        watch = feed.run(run_id)
        watching = asyncio.create_task(ids(watch))
        await eventually(lambda: feed.transport == "websocket")
        live = [number for _ in range(20) for number in await worker.steps(run_id, 1)]
        assert (watch.status, watch.error) == ("running", None)
        end = await worker.append(run_id, DONE)

        assert await watching == first + live + end
        assert (feed.polls, watch.status) == (0, "completed")
    assert list(range(1, 25)) == first + live + end


async def test_feed(worker: Worker) -> None:
    """The feed begins with what comes next, or behind an id, and has the events of all runs."""
    one, other = await worker.run(), await worker.run()
    await worker.steps(one, 3)
    async with worker.watching() as feed:
        watching = asyncio.create_task(ids(feed.feed(), 3))
        await eventually(lambda: feed.transport == "websocket")
        await worker.steps(one, 1)
        await worker.append(other, DONE)
        await worker.steps(one, 1)

        assert await watching == [4, 5, 6]
        assert await ids(feed.feed(after=1), 5) == [2, 3, 4, 5, 6]


async def test_one_socket(worker: Worker) -> None:
    """Several iterations share one socket; who leaves, by whatever way, unsubscribes, and the last one closes it."""
    run_id, other = await worker.run(), await worker.run()
    await worker.steps(run_id, 5)
    await eventually(lambda: is_at(worker, 0))
    async with worker.watching() as feed:
        again = feed.run(run_id)
        tasks = [asyncio.create_task(ids(each)) for each in (feed.run(run_id), feed.run(other), feed.feed())]
        await eventually(lambda: feed.transport == "websocket")
        assert await ids(again, 5) == [1, 2, 3, 4, 5]
        assert await ids(feed.run(run_id, after=3), 2) == [4, 5]
        assert await worker.sockets() == 1
        await worker.append(run_id, DONE)
        assert await tasks[0] == [1, 2, 3, 4, 5, 6]
        assert await ids(again) == [1, 2, 3, 4, 5, 6]
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        await eventually(lambda: is_at(worker, 0))
        assert feed.transport == "none"


async def is_at(worker: Worker, sockets: int) -> bool:
    """Whether the hub has so many streams."""
    return await worker.sockets() == sockets


async def test_second_watcher_of_a_running_run(worker: Worker) -> None:
    """Who comes to a run that is watched already has its history, then what comes, without a hole."""
    run_id = await worker.run()
    async with worker.watching() as feed:
        tasks = [asyncio.create_task(ids(feed.run(run_id)))]
        for _ in range(30):
            await worker.steps(run_id, 10)
            tasks.append(asyncio.create_task(ids(feed.run(run_id))))
        await worker.append(run_id, DONE)

        for found in await asyncio.gather(*tasks):
            assert found == list(range(1, 302))


async def test_unknown_run(worker: Worker) -> None:
    """A run that is not there yet is waited for, and meanwhile said to be unknown."""
    async with worker.watching() as feed:
        watch = feed.run(f"{worker.username}-later")
        watching = asyncio.create_task(ids(watch))
        await eventually(lambda: watch.error is not None and watch.error.code == "run_unknown")
        await eventually(lambda: feed.transport == "websocket")
        run_id = await worker.run(f"{worker.username}-later")
        await worker.append(run_id, {"type": "a"}, DONE)

        assert await watching == [1, 2]
        assert watch.error is None


async def test_another_users_run(worker: Worker, places: Places) -> None:
    """Another user's run is as unknown as one that is not there; our own runs are watched beside it as ever."""
    async with Worker(places) as other:
        foreign = await other.run()
        await other.append(foreign, {"type": "a"}, {"type": "b"}, {"type": "c"})
        run_id = await worker.run()
        async with worker.watching() as feed:
            theirs, ours = feed.run(foreign), feed.run(run_id)
            lost = asyncio.create_task(ids(theirs))
            await eventually(lambda: theirs.error is not None and theirs.error.code == "run_unknown")
            watching = asyncio.create_task(ids(ours))
            await worker.append(run_id, {"type": "a"}, DONE)

            assert await watching == [1, 2]
            lost.cancel()


async def test_ended_run(worker: Worker) -> None:
    """A run that is over is read and left, from behind its last event too."""
    run_id = await worker.run()
    await worker.append(run_id, {"type": "a"}, {"type": "workflow_failed"})
    async with worker.watching() as feed:
        watch = feed.run(run_id)

        assert await ids(watch) == [1, 2]
        assert await ids(feed.run(run_id, after=2)) == []
        assert watch.status == "failed"


async def test_break(worker: Worker) -> None:
    """A loop that is broken, or closed from outside, watches no more."""
    run_id = await worker.run()
    await worker.steps(run_id, 2)
    async with worker.watching() as feed:
        watch = feed.run(run_id)
        async for _ in watch:
            await eventually(lambda: feed.transport == "websocket")
            break
        await eventually(lambda: feed.transport == "none")
        watching = asyncio.create_task(ids(watch))
        await eventually(lambda: feed.transport == "websocket")
        await watch.aclose()
        assert await watching == [1, 2]
        assert feed.transport == "none"


async def test_close(worker: Worker) -> None:
    """An iteration that still runs when all is closed says so; afterwards there is nothing to iterate."""
    async with worker.watching() as feed:
        watching = asyncio.create_task(ids(feed.feed()))
        await eventually(lambda: feed.transport == "websocket")
    with pytest.raises(RunfeedError, match="closed"):
        await watching
    with pytest.raises(RunfeedError, match="not open"):
        await ids(feed.feed())


async def test_lists(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are listed newest first, by status, page by page; a history is read to its end."""
    monkeypatch.setattr("runfeed.client.PAGE_RUNS", 2)
    names = [await worker.run() for _ in range(3)]
    await worker.append(names[0], *[{"type": "a"}] * 999, DONE)
    for _ in range(3):
        await worker.steps(names[1], 999)
    async with worker.watching() as feed:
        assert [run["run_id"] for run in await feed.runs()] == names[::-1]
        assert [run["run_id"] for run in await feed.runs(limit=2)] == names[:0:-1]
        assert [run["run_id"] for run in await feed.runs("completed")] == names[:1]
        assert [event["seq"] for event in await feed.history(names[1])] == list(range(1, 2998))
        assert [event["id"] for event in await feed.history(names[0], after=998)] == [999, 1000]
        with pytest.raises(RunfeedError) as caught:
            await feed.history("nobody-has-this")
    assert (caught.value.code, caught.value.status) == ("run_unknown", 404)


async def test_slow_iterator(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who iterates slowly is fed up to a bound, then reads on by itself: nothing is lost, repeated or piled up."""
    monkeypatch.setattr("runfeed.reader.QUEUE", 50)
    run_id = await worker.run()
    await worker.steps(run_id, 20)
    async with worker.watching() as feed:
        watch = feed.run(run_id)
        events = aiter(watch)
        found = [(await anext(events))["id"]]
        await eventually(lambda: feed.transport == "websocket")
        for _ in range(10):
            await worker.steps(run_id, 100)
        await eventually(lambda: seen(feed) == 1020)
        (reader,) = watch._readers
        assert len(reader._items) <= 50
        async with asyncio.timeout(20):
            while len(found) < 1020:
                found.append((await anext(events))["id"])
            following = asyncio.ensure_future(anext(events))
            await eventually(lambda: not reader._behind)
            await worker.steps(run_id, 300)
            found.append((await following)["id"])
            await worker.append(run_id, DONE)
            found += [event["id"] async for event in events]

    assert found == list(range(1, 1322))


def seen(feed: Runfeed) -> int | None:
    """How far the client has come."""
    driver = feed._driver
    return driver.machine.cursor if driver is not None else None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Runfeed("a b"), "username"),
        (lambda: Runfeed(""), "username"),
        (lambda: Runfeed("alice", "ftp://x"), "api"),
        (lambda: Runfeed("alice", hub="tcp://x"), "hub"),
        (lambda: Runfeed("alice", poll_interval=0), "poll_interval"),
        (lambda: Runfeed("alice").run("a/b"), "run_id"),
    ],
)
def test_wrong_arguments(call: Callable[[], object], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong argument is refused at once, and named."""
    monkeypatch.delenv("RUNFEED_USERNAME", raising=False)
    with pytest.raises(RunfeedError, match=f"^{said}: ") as caught:
        call()
    assert caught.value.code == "invalid"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says who and where, when nobody else does."""
    monkeypatch.setenv("RUNFEED_USERNAME", "alice")
    monkeypatch.setenv("RUNFEED_URL", "https://api.example/runfeed/")

    assert repr(Runfeed()) == "<Runfeed alice https://api.example/runfeed None>"
