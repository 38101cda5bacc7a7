"""Stage 2: store. Appends that arrive while one transaction runs are stored together by the next one.

Two lanes, each with a connection of its own, run what groups.py hands them; callers wait. sql/ has the transaction:
append_plain and append_events. After the commit, and before the callers are answered, stage 3 gets the frames.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any, Protocol

import asyncpg
import structlog

from orchestrator_api import crash, store
from orchestrator_api.errors import Problem, Unavailable
from orchestrator_api.events import frame
from orchestrator_api.groups import Append, Deadlines, Queue
from orchestrator_api.metrics import Metrics
from orchestrator_api.transaction import Plain, Stored, arguments, busy, outcome_unknown, plain, refusal, store_away

log = structlog.get_logger("orchestrator_api")

WAIT_S = 5.0  # seconds that a caller waits to be stored
EXPIRE_S = 0.1  # seconds between looks at whose time is over
GRACE_S = 1.5  # seconds more when a transaction has it: a definite answer is worth the wait
LOCK_WAIT_MS = 1000  # ms that the second lane waits for one feed's lock before it serves another
CLOSE_S = 5.0  # seconds for what was taken to be finished on TERM
RECONNECT_S = (0.1, 1.0)  # seconds between tries to reach PostgreSQL: first, longest
FEEDS_KNOWN = 100_000  # usernames kept, some 10 MiB: one that is not kept costs its next new run a statement
DEADLOCK_TRIES = 5  # our own lock order allows none; a stranger's session may still cause one

# SQLSTATE classes that blame the data: cardinality, data, integrity, program limits.
DATA_FAULTS = ("21", "22", "23", "54")
CONNECT_FAULTS: tuple[type[Exception], ...] = (*store.AWAY, asyncpg.PostgresError)


class Publisher(Protocol):
    """Stage 3, as this stage sees it."""

    def publish(self, frames: list[tuple[str, int, str, bytes]], epoch: str) -> None:
        """Hands over (username, id, run_id, frame), committed, in order. Never waits."""

    def heads(self, heads: dict[str, int], epoch: str) -> None:
        """Names feeds in the next beacons, whose frames may never have been handed over."""


class Recorder:
    """Stores appends. `run` is its task; `append` is what callers await."""

    def __init__(self, url: str, publisher: Publisher, metrics: Metrics) -> None:
        self._url = url
        self._publisher = publisher
        self._metrics = metrics
        self._queue = Queue()
        self._offered = asyncio.Event()  # something for the first lane
        self._slowed = asyncio.Event()  # something for the second
        self._idle = asyncio.Event()
        self._feeds: set[str] = set()  # usernames that are known to have a row
        self._unheard: set[str] = set()  # feeds of appends whose outcome nobody heard
        self._pending = Deadlines(WAIT_S)
        self._late = Deadlines(GRACE_S)  # their time is over, and a transaction has them
        self._epoch = ""  # as the first lane's session knows it; a new session asks again
        self._in_flight = 0
        self._closing = False
        self.away = "not connected yet"  # why the first lane has no connection
        self._wrong: list[str] = []

    def __repr__(self) -> str:
        return f"<Recorder {self._queue!r} {self._in_flight} in flight{' AWAY' if self.away else ''}>"

    def problems(self) -> list[str]:
        """Returns, in words, why appends could not be stored now."""
        return ([f"postgres: {self.away}"] if self.away else []) + self._wrong

    def waiting(self) -> tuple[int, int]:
        """Returns how many appends and bytes wait."""
        return self._queue.appends, self._queue.bytes

    async def append(self, append: Append) -> Stored:
        """Stores the append. Returns only after the commit; raises Problem.

        Cancelled before a transaction took it, it is withdrawn; afterwards it is stored and published all the same.
        """
        self._admit(append)
        self._pending.add(append, time.monotonic())
        try:
            outcome = await append.answer
        except asyncio.CancelledError:
            self._withdraw(append)
            raise
        finally:
            self._pending.drop(append)
            self._late.drop(append)
        if isinstance(outcome, Problem):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    async def run(self) -> None:
        """Runs both lanes until cancelled; a lane that dies takes the process with it."""
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._expire(), name="record.expire")
            lanes.create_task(self._lane(slow=False), name="record.first_lane")
            lanes.create_task(self._lane(slow=True), name="record.second_lane")

    async def close(self) -> None:
        """Takes nothing new and finishes what waits, CLOSE_S at most."""
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_S):
                while self._queue.appends or self._in_flight:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.warning("orchestrator.record.close_timed_out", appends=self._queue.appends)

    def _admit(self, append: Append) -> None:
        problem = None
        if self._closing:
            problem = Unavailable("restarting", "this process is going away; nothing was stored, try again")
        elif self.away:
            problem = store_away()
        elif not self._queue.offer(append):
            problem = Unavailable("overloaded", "too much waits to be stored; nothing was stored, try again")
        if problem:
            self._metrics.appended(problem.code, 0)
            raise problem
        self._offered.set()

    def _withdraw(self, append: Append) -> bool:
        self._idle.set()
        return self._queue.withdraw(append)

    async def _expire(self) -> None:
        """Answers the callers whose time is over: one timer for all, where one for each took a tenth of its append."""
        while True:
            await asyncio.sleep(EXPIRE_S)
            now = time.monotonic()
            for append in self._pending.due(now):
                if self._withdraw(append):
                    self._give_up(append)
                else:
                    append.expired = True
                    self._late.add(append, now)
            for append in self._late.due(now):
                self._withdraw(append)  # it may have been put back: nobody may store what was called not stored
                self._give_up(append)

    @staticmethod
    def _give_up(append: Append) -> None:
        if not append.answer.done():
            append.answer.set_result(outcome_unknown() if append.unknown or append.taken else busy())

    async def _lane(self, *, slow: bool) -> None:
        connection: asyncpg.Connection | None = None
        take = self._queue.take_slow if slow else self._queue.take_fast
        try:
            while True:
                if connection is None or connection.is_closed():
                    connection = await self._connect(slow)
                group = take(time.monotonic())
                if not group:
                    await self._sleep(slow)
                    continue
                self._in_flight += 1
                try:
                    await self._store(connection, group, LOCK_WAIT_MS if slow else None)
                finally:
                    self._in_flight -= 1
                    self._idle.set()
                    (self._offered if slow else self._slowed).set()  # this lane's feeds are free for the other
        finally:
            if connection is not None:
                connection.terminate()

    async def _sleep(self, slow: bool) -> None:
        """Waits for work, or for the time of a slow feed's next try."""
        due = self._queue.next_due(slow=slow)
        event = self._slowed if slow else self._offered
        event.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                await event.wait()

    async def _connect(self, slow: bool) -> asyncpg.Connection:
        """Returns a connection, however long it takes. While the first lane has none, callers are refused at once."""
        event = self._slowed if slow else self._offered
        pause = RECONNECT_S[0]
        while True:
            try:
                connection = await store.connect(self._url)
                try:
                    session = await self._greet(connection)
                except BaseException:
                    connection.terminate()
                    raise
            except CONNECT_FAULTS as error:
                if not slow:
                    self._set_away(f"{type(error).__name__}: {error}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, RECONNECT_S[1])
                continue
            crash.point("record.after_connect")
            connection.add_termination_listener(lambda _: event.set())  # the lane looks, and connects again
            self._wrong = store.wrong_settings(session)
            if not slow:
                self._epoch = ""
            if self.away and not slow:
                self.away = ""
                log.info("orchestrator.record.connected", wrong_settings=self._wrong)
            return connection

    async def _greet(self, connection: asyncpg.Connection) -> asyncpg.Record:
        """Returns what the session's settings are; raises one of CONNECT_FAULTS when it cannot be written to."""
        session = await connection.fetchrow(store.QUERIES["session"])
        if session is None or session["in_recovery"]:  # asked again until it is promoted
            raise asyncpg.CannotConnectNowError("it is a replica, or recovering")
        await self._reread(connection)
        return session

    def _set_away(self, why: str) -> None:
        if self.away != why:
            log.warning("orchestrator.record.store_away", error=why)
        self.away = why
        for append in self._queue.drop_waiting():
            self._metrics.appended("store_away", 0)
            self._resolve(append, store_away())

    async def _reread(self, connection: asyncpg.Connection) -> None:
        """Names in the next beacons how far the feeds came whose appends' outcome nobody heard."""
        if not self._unheard:
            return
        names = list(self._unheard)
        row = await connection.fetchrow(store.QUERIES["heads"], names)
        self._unheard.difference_update(names)
        if row and row["usernames"]:
            self._publisher.heads(dict(zip(row["usernames"], row["heads"], strict=True)), row["epoch"])

    async def _store(
        self, connection: asyncpg.Connection, group: list[Append], wait_ms: int | None, *, short: bool = True
    ) -> None:
        """Runs one group's transaction and answers its callers, whatever happens. short: append_plain may be tried."""
        if connection.is_closed():
            self._queue.put_back(group, time.monotonic(), slow=False)
            return
        for attempt in range(DEADLOCK_TRIES):
            try:
                left = await self._transaction(connection, group, wait_ms, short=short and wait_ms is None)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                log.warning("orchestrator.record.tried_again", attempt=attempt, error=str(error))
                continue
            except asyncpg.LockNotAvailableError:
                self._lock_missed(group, wait_ms)
            except store.BROKEN as error:
                connection.terminate()
                self._outcome_lost(group, error)
            except asyncpg.PostgresError as error:
                await self._failed(connection, group, wait_ms, error)
            else:
                if left:
                    await self._store(connection, left, wait_ms, short=False)
            return
        self._refuse(group, Unavailable("busy", "the database could not order this; nothing was stored, try again"))

    async def _transaction(
        self, connection: asyncpg.Connection, group: list[Append], wait_ms: int | None, *, short: bool
    ) -> list[Append]:
        """Stores the group and answers its callers. Returns those that append_plain has left for append_events."""
        new_feeds = {append.username for append in group if append.create} - self._feeds
        if new_feeds:
            if len(self._feeds) > FEEDS_KNOWN:
                self._feeds.clear()
            await connection.execute(store.QUERIES["ensure_feeds"], sorted(new_feeds))
            self._feeds |= new_feeds
        now = round(time.time(), 6)
        for append in group:
            if not append.tails:
                append.tails = [event.tail(now) for event in append.events]
        crash.point("record.before_transaction")
        began = time.perf_counter()
        layout = plain(group) if short else None
        if layout is not None:
            row = await connection.fetchrow(store.QUERIES["append_plain"], now, self._epoch, *layout.arguments())
        else:
            row = await connection.fetchrow(store.QUERIES["append"], wait_ms, now, *arguments(group))
        crash.point("record.after_commit")
        self._metrics.committed(time.perf_counter() - began, len(group))
        if layout is not None:
            return self._settle_plain(layout, row)
        self._settle(group, row, wait_ms)
        return []

    def _settle_plain(self, layout: Plain, row: Any) -> list[Append]:
        """The transaction is committed: publish what it stored, answer those. Returns the others."""
        answered, frames, left = layout.stored(row)
        self._epoch = row["epoch"]
        if frames:
            self._publisher.publish(frames, row["epoch"])
        crash.point("record.before_answer")
        self._queue.done([append for append, _ in answered])  # a feed is stored wholly or not at all
        for append, answer in answered:
            self._metrics.appended("stored", len(answer.numbers))
            self._resolve(append, answer)
        return left

    def _settle(self, group: list[Append], row: Any, wait_ms: int | None) -> None:
        """The transaction is committed: publish what it stored, answer everybody."""
        numbers = list(zip(row["ids"] or (), row["seqs"] or (), row["made"] or (), strict=True))
        frames: list[tuple[str, int, str, bytes]] = []
        locked: list[Append] = []
        again: list[Append] = []
        answered: list[tuple[Append, Stored | Problem]] = []
        at = 0
        for append, outcome, status, run_id in zip(
            group, row["outcomes"], row["statuses"], row["run_ids"], strict=True
        ):
            mine = numbers[at : at + len(append.events)]
            at += len(append.events)
            if outcome == "locked":
                locked.append(append)
                continue
            if outcome == "no_feed" and append.create:  # its row was there when we last looked: the database is another
                self._feeds.discard(append.username)
                again.append(append)
                continue
            answered.append((append, self._answer(append, outcome, status, run_id, mine)))
            if outcome == "stored" or (outcome == "repeat" and append.unknown):
                # A repeat of a try whose answer was lost: that try stored it, and nobody has published it.
                frames += [
                    (append.username, event_id, run_id, frame(event_id, seq, tail))
                    for (event_id, seq, made), tail in zip(mine, append.tails, strict=True)
                    if event_id is not None and (made or append.unknown)
                ]
        if frames:
            frames.sort(key=lambda item: item[:2])
            self._publisher.publish(frames, row["epoch"])
        crash.point("record.before_answer")
        self._queue.done(group)
        for append, answer in answered:
            self._resolve(append, answer)
        self._queue.put_back(again, time.monotonic(), slow=False)
        if locked:
            self._lock_missed(locked, wait_ms)

    def _answer(self, append: Append, outcome: str, status: str, run_id: str, numbers: list[Any]) -> Stored | Problem:
        if outcome in ("stored", "repeat"):
            self._metrics.appended(outcome, sum(made for _, _, made in numbers))
            return Stored(run_id, status, [(event_id, seq) for event_id, seq, _ in numbers], outcome == "stored")
        self._metrics.appended(outcome, 0)
        return refusal(outcome, append)

    def _lock_missed(self, group: list[Append], wait_ms: int | None) -> None:
        over = [append for append in group if append.expired and not append.unknown]
        self._refuse(over, busy())
        left = [append for append in group if append not in over]
        self._queue.put_back(left, time.monotonic(), slow=True, waited=wait_ms is not None)
        self._slowed.set()

    def _outcome_lost(self, group: list[Append], error: BaseException) -> None:
        """The connection broke before the answer: what can be repeated is run again, the rest is told the truth."""
        log.warning("orchestrator.record.outcome_unknown", appends=len(group), error=f"{type(error).__name__}: {error}")
        again = []
        self._queue.done(group)
        for append in group:
            append.unknown = True
            self._unheard.add(append.username)
            if append.repeatable and (append.answer.cancelled() or not append.answer.done()):
                again.append(append)
            else:
                self._metrics.appended("outcome_unknown", 0)
                self._resolve(append, outcome_unknown())
        self._queue.put_back(again, time.monotonic(), slow=False)

    async def _failed(
        self, connection: asyncpg.Connection, group: list[Append], wait_ms: int | None, error: asyncpg.PostgresError
    ) -> None:
        """PostgreSQL said no, so nothing is stored. For the data of one caller, the others are run without it."""
        if str(error.sqlstate)[:2] not in DATA_FAULTS:
            log.warning("orchestrator.record.refused", sqlstate=error.sqlstate, error=str(error))
            self._refuse(group, store_away())
        elif len(group) > 1:
            for append in group:
                await self._store(connection, [append], wait_ms)
        else:
            log.error("orchestrator.record.data_refused", sqlstate=error.sqlstate, error=str(error))
            self._refuse(
                group, Problem(422, "not_storable", f"the database cannot hold this (SQLSTATE {error.sqlstate})")
            )

    def _refuse(self, group: list[Append], problem: Problem) -> None:
        self._queue.done(group)
        for append in group:
            self._metrics.appended(problem.code, 0)
            self._resolve(append, problem)

    @staticmethod
    def _resolve(append: Append, answer: Stored | Problem) -> None:
        append.taken = False
        if not append.answer.done():
            append.answer.set_result(answer)
