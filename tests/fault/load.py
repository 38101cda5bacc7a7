"""The producers: a steady number of events a second to many runs, each with its key, until each is acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from tests.fault.checker import Acknowledged, Stored
from tests.support.pacing import beats, passing
from tests.support.pages import frames_of

BATCH = 50  # events to a request when a run is behind; else one
ANSWER_SECONDS = 8.0  # the API gives up after 6.5 s
AGAIN_SECONDS = (0.05, 0.3)  # before the same is sent again, to the other API
HOMESICK = 10  # requests, then a producer that went to the other API goes back to its own
PAGE = 5000


@dataclass
class Run:
    """A run and what waits to be sent to it."""

    username: str
    run_id: str
    place: int
    waiting: deque[dict[str, Any]] = field(default_factory=deque)
    offered: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False


def runs_of(users: dict[str, list[str]]) -> list[Run]:
    """The runs of users, numbered, so that neighbours go to different APIs."""
    pairs = [(user, run) for user, runs in users.items() for run in runs]
    return [Run(user, run, n) for n, (user, run) in enumerate(pairs)]


class Load:
    """Producers for all runs. `apis` are ports; `quiet` users' runs get events only when a row adds them.

    Attributes:
        acknowledged: what was promised.
        answers: statuses by (status, whether it had Retry-After).
        slowest: seconds, of answers with 2xx.
        surprises: what no producer should ever be answered.
    """

    def __init__(
        self, apis: list[int], session: aiohttp.ClientSession, users: dict[str, list[str]], quiet: dict[str, list[str]]
    ) -> None:
        self._apis = apis
        self._session = session
        self.runs = runs_of(users)
        self.quiet = runs_of(quiet)
        self.acknowledged: list[Acknowledged] = []
        self.answers: Counter[tuple[int, bool]] = Counter()
        self.took: list[tuple[float, float]] = []  # (when, seconds) of every 2xx
        self.surprises: list[str] = []
        self._numbers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._generator: asyncio.Task[None] | None = None

    @property
    def open(self) -> int:
        """Events that nobody has acknowledged yet."""
        return sum(len(run.waiting) for run in self.all_runs)

    @property
    def all_runs(self) -> list[Run]:
        """The quiet ones too."""
        return self.runs + self.quiet

    async def create(self) -> None:
        """Makes the runs."""
        for run in self.all_runs:
            body = {"username": run.username, "run_id": run.run_id}
            async with self._session.post(self._url(run.place, "/runs"), json=body) as response:
                assert response.status == 201, await response.text()

    def start(self, a_second: int) -> None:
        """Begins to send."""
        self._tasks = [asyncio.create_task(self._produce(run), name=f"load.{run.run_id}") for run in self.all_runs]
        self._generator = asyncio.create_task(self._generate(a_second), name="load")

    def add(self, run: Run, **fields: Any) -> None:
        """One event more for a run."""
        number = next(self._numbers)
        key = f"{run.run_id}.{number}"
        run.waiting.append({"type": "step", "event_id": key, "n": number, "note": "x" * 100, **fields})
        run.offered.set()

    async def finish(self, within: float) -> bool:
        """Each run's terminal event, which nothing follows; then all is to be acknowledged. Whether it was."""
        if self._generator is not None:
            self._generator.cancel()
        for run in self.all_runs:
            self.add(run, type="workflow_completed")
            run.ended = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.gather(*self._tasks)
        return not self.open

    async def close(self) -> None:
        """Ends all tasks."""
        tasks = [task for task in (self._generator, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def died(self) -> list[str]:
        """Producers whose task failed: a fault of the suite."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        return [f"{task.get_name()}: {task.exception()!r}" for task in ended if task.exception()]

    def slowest(self, begin: float, end: float) -> float:
        """The most seconds that an acknowledged append took which was begun in between."""
        return max((seconds for at, seconds in self.took if begin <= at <= end), default=0.0)

    async def _generate(self, a_second: int) -> None:
        turns = itertools.cycle(self.runs)
        async for due in beats(a_second):
            for _ in range(due):
                self.add(next(turns))

    async def _produce(self, run: Run) -> None:
        tries, sent = run.place, 0
        while True:
            if not run.waiting:
                if run.ended:
                    return
                run.offered.clear()
                await run.offered.wait()
            batch = list(itertools.islice(run.waiting, BATCH))
            began = time.time()
            while not await self._send(run, tries, batch, began):
                tries += 1
                await passing(random.uniform(*AGAIN_SECONDS))
            for _ in batch:
                run.waiting.popleft()
            sent += 1
            if sent % HOMESICK == 0:
                tries = run.place

    async def _send(self, run: Run, tries: int, batch: list[dict[str, Any]], began: float) -> bool:
        """Whether it was acknowledged."""
        body = {"events": batch} if len(batch) > 1 else batch[0]
        sent = time.time()
        try:
            async with self._session.post(
                self._url(tries, f"/runs/{run.run_id}/events"),
                data=orjson.dumps(body),
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            ) as response:
                raw = await response.read()
        except (OSError, TimeoutError, aiohttp.ClientError):
            self.answers[0, False] += 1
            return False
        self.answers[response.status, "Retry-After" in response.headers] += 1
        if response.status not in (200, 201):
            if response.status != 503:
                self.surprises.append(f"append: {response.status} {raw[:200]!r}")
            return False
        self.took.append((sent, time.time() - sent))
        self._note(run, batch, orjson.loads(raw)["events"], began)
        return True

    def _note(self, run: Run, batch: list[dict[str, Any]], numbers: list[dict[str, int]], began: float) -> None:
        for event, given in zip(batch, numbers, strict=True):
            self.acknowledged.append(
                Acknowledged(run.username, run.run_id, event["event_id"], given["id"], given["seq"], began)
            )

    def _url(self, tries: int, path: str) -> str:
        return f"http://127.0.0.1:{self._apis[tries % len(self._apis)]}/api/v1{path}"


async def history(session: aiohttp.ClientSession, api: int, usernames: list[str]) -> list[Stored]:
    """All that is stored of these users, from the pages of their feeds."""
    stored: list[Stored] = []
    for username in usernames:
        after, head = 0, 1
        while after < head:
            path = f"/api/v1/feeds/{quote(username, safe='')}/events"
            url = URL(f"http://127.0.0.1:{api}{path}?after={after}&limit={PAGE}", encoded=True)
            async with session.get(url) as response:
                raw = await response.read()
            assert response.status == 200, raw[:200]
            page = orjson.loads(raw)
            for event, frame in zip(page["events"], frames_of(raw, len(page["events"])), strict=True):
                stored.append(_stored(event, frame))
            after, head = page["next"], page["head"]
    return stored


def _stored(event: dict[str, Any], frame: bytes) -> Stored:
    return Stored(
        event["username"], event["run_id"], event["id"], event["seq"], event.get("event_id", ""),
        event["recorded_at"], frame,
    )  # fmt: skip
