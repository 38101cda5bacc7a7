"""One lane's events, a request at a time and in order: what was read, what it was answered, what is left of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from .api import Answer, Api, Unreachable
from .config import Run
from .content import is_terminal, key_of
from .journal import BATCH_EVENTS, Batch
from .verdict import Verdict, What, judge, judge_creation

log = logging.getLogger("runfeed")

SAID_ONE_BY_ONE = 10  # drops of a lane; beyond, each power of ten is said


class Source(Protocol):
    """Where a lane's events are until they are done."""

    def read(self) -> Batch | None:
        """The next events, the same ones until they are acknowledged; None: there are none now."""

    def acknowledge(self, batch: Batch) -> None:
        """A batch is done."""


@dataclass
class Lane:
    """The events of one run, in order.

    Attributes:
        create: make the run before anything is sent.
        resume_at: time.monotonic() before which nothing is tried, because somebody must put something right.
        over: why the run takes nothing any more, or nothing.
        sent, dropped: events that were stored; that were given up, each of which was logged.
    """

    run: Run
    source: Source
    create: bool = False
    resume_at: float = 0.0
    over: str = ""
    sent: int = 0
    dropped: int = 0
    warned: bool = False
    created: bool = False
    limit: int = BATCH_EVENTS
    lines: list[bytes] = field(default_factory=list)
    batch: Batch | None = None

    def load(self) -> bool:
        """Reads on, unless something is in hand. Whether there is anything to do."""
        if self.batch is None:
            self.batch = self.source.read()
            self.lines = [] if self.batch is None else list(self.batch.lines)
        return self.batch is not None

    def done(self, count: int) -> None:
        """The first lines in hand are done, one way or another."""
        del self.lines[:count]
        if not self.lines and self.batch is not None:
            self.source.acknowledge(self.batch)
            self.batch = None

    def drop(self, index: int, why: str) -> None:
        """Gives up one of the lines in hand, and says so."""
        line = self.lines.pop(index)
        self.dropped += 1
        # That a run has ended already is no news to whoever reports its end once more.
        level = logging.INFO if self.over and is_terminal(line) else logging.WARNING
        say_drop(level, self.dropped, self.run.run_id, key_of(line), why)
        self.done(0)


def say_drop(level: int, count: int, run_id: str, what: str, why: str) -> None:
    """Logs the drop of this number: each of the first, then ever fewer, so that a log cannot be flooded."""
    if count <= SAID_ONE_BY_ONE or str(count).strip("0") == "1":
        log.log(level, "run %s: event %s is dropped (number %d): %s", run_id, what, count, why)


class Courier:
    """For one thread."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def step(self, lane: Lane) -> Verdict:
        """One request for a lane that has something to do, and what follows of its answer. Never raises for the API."""
        if lane.over:
            while lane.lines:
                lane.drop(0, lane.over)
            lane.done(0)
            return Verdict(What.STORED)
        if lane.create:
            verdict = self._asked(lambda: make_run(self._api, lane.run))
            lane.create = verdict.what is not What.STORED
            lane.created = lane.created or not lane.create
            self._note(lane, verdict, 0)
            return verdict
        lines = lane.lines[: lane.limit]
        body = b'{"events":[' + b",".join(lines) + b"]}"
        known = lane.run.username is not None and not lane.created
        verdict = self._asked(lambda: judge(self._api.post(run_path(lane.run) + "/events", body), len(lines), known))
        self._note(lane, verdict, len(lines))
        return verdict

    def close(self) -> None:
        """Closes the connection."""
        self._api.close()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's."""
        self._api.abandon()

    def _asked(self, ask: Callable[[], Verdict]) -> Verdict:
        try:
            return ask()
        except Unreachable as error:
            return Verdict(What.AGAIN, str(error))

    def _note(self, lane: Lane, verdict: Verdict, sent: int) -> None:
        if verdict.what is What.STORED:
            lane.sent += sent
            lane.limit = min(BATCH_EVENTS, lane.limit * 2)
            lane.warned = lane.warned and not sent
            lane.done(sent)
        elif verdict.what is What.CREATE:
            lane.create = True
        elif verdict.what is What.WITHOUT:
            lane.drop(verdict.index, verdict.why)
        elif verdict.what is What.SMALLER:
            lane.limit = max(1, sent // 2)
        elif verdict.what is What.OVER:
            lane.over = verdict.why


def run_path(run: Run) -> str:
    """Where the run is, below the API's base."""
    return f"/runs/{quote(run.run_id, safe='')}"


def make_run(api: Api, run: Run) -> Verdict:
    """Makes the run; one that is there is used when it is this user's. Raises Unreachable."""
    verdict = judge_creation(api.post("/runs", json.dumps(run.creation()).encode()))
    if verdict.what is not What.CREATE:
        return verdict
    return _judge_owner(api.get(run_path(run)), run)


def _judge_owner(answer: Answer, run: Run) -> Verdict:
    """Whose the run is that could not be made, because it was there."""
    owner = answer.said.get("username")
    if answer.status == 200 and owner == run.username:
        return Verdict(What.STORED)
    if answer.status == 200 and isinstance(owner, str):
        return Verdict(What.OVER, f"run {run.run_id} is another user's")
    if answer.status == 403:  # a key that may write, and not read: the append says whether it may write there
        return Verdict(What.STORED)
    if answer.status == 200 or 400 <= answer.status < 500:
        return Verdict(What.LATER, f"run {run.run_id} exists, and whose it is was not told: {answer.detail}")
    return Verdict(What.AGAIN, answer.detail, after=answer.retry_after)
