"""runfeed.sync against the real services: from threads of the test's own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from runfeed import RunfeedError
from runfeed.sync import Runfeed, Watch
from tests.integration.clients.watching.worker import DONE, WITHIN, Worker
from tests.support import eventually, eventually_sync

pytestmark = pytest.mark.any_server  # about a client, whatever the stores' versions


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """The client's threads end with the test."""
    yield
    eventually_sync(lambda: not any(thread.name == "runfeed" for thread in threading.enumerate()))


def following(worker: Worker) -> Runfeed:
    """A client of the worker's user."""
    return Runfeed(worker.username, worker.places.api, worker.places.hub)


async def test_run(worker: Worker) -> None:
    """A run's events come once and in order; the loop ends with the run, and lists are to be had beside it."""
    run_id = await worker.run()
    await worker.steps(run_id, 3)

    def watch() -> tuple[list[int], str, int, list[str], int]:
        with following(worker) as feed:
            run = feed.run(run_id)
            found = [event["id"] for event in run]
            runs = [each["run_id"] for each in feed.runs()]
            return found, run.status, feed.polls, runs, len(feed.history(run_id, after=3))

    watching = asyncio.create_task(asyncio.to_thread(watch))
    await eventually(lambda: open_sockets(worker))
    for _ in range(10):
        await worker.steps(run_id, 300)
    await worker.append(run_id, DONE)

    async with asyncio.timeout(WITHIN):
        assert await watching == (list(range(1, 3005)), "completed", 0, [run_id], 3001)


async def open_sockets(worker: Worker) -> bool:
    """Whether anybody watches."""
    return await worker.sockets() > 0


async def test_left(worker: Worker) -> None:
    """A loop that is broken watches no more, another begins anew, and one that waits at the end is told."""
    run_id = await worker.run()
    await worker.steps(run_id, 3)

    def watch() -> str:
        with following(worker) as feed:
            run = feed.run(run_id)
            for _ in run:
                eventually_sync(lambda: feed.transport == "websocket")
                break
            eventually_sync(lambda: feed.transport == "none")
            assert [next(each)["id"] for each in [iter(run)] for _ in range(3)] == [1, 2, 3]
            waiting = threading.Thread(target=wait, args=(feed.feed(),))
            waiting.start()
            eventually_sync(lambda: feed.transport == "websocket")
        waiting.join(WITHIN)
        return ended[0]

    ended: list[str] = []

    def wait(events: Watch) -> None:
        try:
            list(events)
        except RunfeedError as error:
            ended.append(error.code)

    assert await asyncio.to_thread(watch) == "closed"


async def test_refused(worker: Worker) -> None:
    """Errors are raised where they are caused; before and after the `with` there is nothing to iterate."""
    feed = following(worker)

    def watch() -> None:
        with pytest.raises(RunfeedError, match="not open"):
            feed.runs()
        with feed, pytest.raises(RunfeedError) as caught:
            feed.history("nobody-has-this")
        assert caught.value.code == "run_unknown"
        with pytest.raises(RunfeedError, match="not open"):
            list(feed.feed())

    await asyncio.to_thread(watch)


def test_interrupt(worker_runs: tuple[Worker, str]) -> None:
    """Ctrl-C while the loop waits ends it at once, and the thread with it."""
    worker, run_id = worker_runs
    found: list[int] = []

    def watch() -> None:
        with following(worker) as feed:
            for event in feed.run(run_id):
                found.append(event["id"])
                if len(found) == 2:
                    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        watch()
    assert found == [1, 2]


@pytest.fixture
def worker_runs(places: object) -> tuple[Worker, str]:
    """A worker with a run of two events, for a test that is the main thread."""

    async def make() -> tuple[Worker, str]:
        async with Worker(places) as worker:  # type: ignore[arg-type]
            run_id = await worker.run()
            await worker.steps(run_id, 2)
            return worker, run_id

    return asyncio.run(make())
