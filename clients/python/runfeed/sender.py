"""The thread that sends what is in the store, and what dead workers left behind."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue

from . import lifetimes
from .api import Api
from .config import Config, Run
from .content import is_terminal, key_of
from .courier import Courier, Lane, say_drop
from .journal import Journal
from .store import Store, leftovers
from .verdict import LEAST_SECONDS, SLOW_SECONDS, Verdict, What, jittered, window

log = logging.getLogger("runfeed")

SCAN_SECONDS = 15.0  # between two looks for leftovers of workers that died meanwhile
STRANGER_SECONDS = 60.0  # a dead worker's journal is left so long for the one that continues its run
OTHERS = 16  # other runs' journals at once: each is an open file of the worker's
END_SECONDS = 1.0  # for a thread that has nothing more to do


class Sender:
    """A run's sender. It owns its thread, which starts with `start` or with the first event.

    Attributes:
        flush_timeout: seconds it may take at the process's exit.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.flush_timeout = config.flush_timeout
        self._fresh()
        lifetimes.live.add(self)

    def _fresh(self) -> None:
        """Everything that a process has for itself."""
        config = self._config
        self.store = Store(config.run, config.spill, self._say_lost)
        self.own = Lane(config.run, self.store, create=config.made and config.run.username is not None)
        self._ahead: deque[tuple[Lane, Journal]] = deque()  # leftovers of this very run: before our own
        self._others: deque[tuple[Lane, Journal]] = deque()  # when there is nothing else to do
        self._courier = Courier(Api(config.run.url, config.key))
        self._bell: SimpleQueue[None] = SimpleQueue()  # its put() may interrupt itself, in a signal's handler
        self._idle = False  # the thread would not notice an event without the bell
        self._settled = threading.Condition()
        self._asked = 0  # how often somebody wanted everything sent
        self._heard = 0
        self._answered = 0
        self._waiting = 0
        self._tries = 0
        self._pause_until = 0.0
        self._scan_at = 0.0
        self._started = False
        self._looked_before_end = False
        self._retired = False
        self._stop = False
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """Events of this process that are neither stored nor dropped."""
        return max(0, self.store.taken - self._done())

    def _done(self) -> int:
        """Events of this process that are stored or dropped."""
        return self.store.lost + self.own.sent + self.own.dropped

    def _is_done(self, asked: int, until: int) -> bool:
        """Whether the first so many events are done, and, for who asked, what dead processes of this run left."""
        return self._heard >= asked and not self._ahead and self._done() >= until

    def put(self, line: bytes) -> None:
        """Keeps an event and sees that it is sent."""
        self.store.append(line)
        if self._thread is None:
            self.start()
        if self._idle:
            self._idle = False
            self._bell.put(None)

    def start(self) -> None:
        """Starts the thread, once. Where there can be none, the journal keeps the events for later."""
        with self._starting:
            if self._thread is not None or self._stop:
                return
            lifetimes.register_exit()
            thread = threading.Thread(target=self._loop, name="runfeed", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                log.warning("run %s: no thread to send events: %s", self._config.run.run_id, error)
            else:
                self._thread = thread

    def flush(self, timeout: float) -> bool:
        """Waits so many seconds until everything that was reported before is done with; whether it is."""
        if self._thread is None or self._stop or self._thread is threading.current_thread():
            return self.pending == 0
        until = self.store.taken  # others may go on reporting meanwhile
        with self._settled:
            self._asked += 1
            mine = self._asked
            self._waiting += 1
            self._bell.put(None)
            try:
                self._settled.wait_for(lambda: self._answered >= mine or self._is_done(mine, until), timeout)
            finally:
                self._waiting -= 1
        return self._done() >= until

    def close(self, timeout: float) -> bool:
        """Flushes, ends the thread, lets go of the journals, says what is left. Whether nothing is."""
        if self._stop:
            return self.pending == 0
        self.flush(timeout)
        left = self.pending
        with self._starting:
            self._stop = True
            thread = self._thread
        self._bell.put(None)
        if thread is None:
            self._end()
        elif thread is not threading.current_thread():
            thread.join(0.0 if left else END_SECONDS)  # a request that is on its way ends by itself, or with us
        if left:
            self._say_left(left)
        return left == 0

    def retire(self) -> None:
        """Nobody will report any more: the thread ends when everything is sent."""
        self._retired = True
        self._bell.put(None)
        if self._thread is None:
            self._end()

    def renew(self) -> None:
        """In a forked child: what the parent has is the parent's, and its locks may be held for ever."""
        self._courier.abandon()
        stopped = self._stop
        self._fresh()
        self._stop = stopped

    def _loop(self) -> None:
        while not self._stop:
            try:
                pause = self._turn()
            except Exception:
                log.exception("run %s: the sender failed, and goes on", self._config.run.run_id)
                pause = SLOW_SECONDS
            if pause > 0 and not self._stop:
                with contextlib.suppress(Empty):
                    self._bell.get(timeout=pause)
                    while True:
                        self._bell.get_nowait()
        self._end()

    def _turn(self) -> float:
        """One request, or none; seconds until the next is due."""
        now = time.monotonic()
        asked = self._asked
        if self._heard != asked:
            self._hurry()
        if now >= self._scan_at:
            self._scan(now)
        self._heard = asked
        if now < self._pause_until:
            return self._pause_until - now
        self._idle = True  # before we look: who reports after the look must ring
        lane = self._next_own(now)
        if lane is None:
            self._idle = self.own.batch is None and not self._ahead
            self._answer()
            lane = self._next_other(now)
        if lane is None or self._stop:
            return max(0.0, self._due() - now)
        self._idle = False
        self._follow(lane, self._courier.step(lane))
        if self._waiting:
            with self._settled:
                self._settled.notify_all()
        return 0.0

    def _hurry(self) -> None:
        """Somebody waits: pauses end, and what forked children left is looked for."""
        self._pause_until = 0.0
        self._scan_at = 0.0
        for lane in [self.own, *(lane for lane, _ in self._ahead)]:
            lane.resume_at = 0.0

    def _answer(self) -> None:
        """Nothing of this run can be sent now: either all of it is, or somebody must put something right first."""
        if self._answered != self._heard:
            with self._settled:
                self._answered = self._heard
                self._settled.notify_all()
        if self._retired and not self.pending:
            self._stop = True

    def _next_own(self, now: float) -> Lane | None:
        """This run's lane that is to go on: leftovers first."""
        while self._ahead:
            lane, one = self._ahead[0]
            if lane.load():
                return lane if now >= lane.resume_at else None
            self._ahead.popleft()
            self._finish(lane, one)
        if now < self.own.resume_at or not self.own.load():
            return None
        if is_terminal(self.own.lines[-1]) and not self._looked_before_end:
            # Nothing can be stored behind a run's end: a forked child's events come before it.
            self._looked_before_end = True
            self._scan(now)
            return self._next_own(now)
        return self.own

    def _next_other(self, now: float) -> Lane | None:
        """Another run's leftover that is to go on."""
        for lane, one in list(self._others):
            if not lane.load():
                self._others.remove((lane, one))
                self._finish(lane, one)
                self._scan_at = self._scan_at if self._started else 0.0  # there are more than could be taken at once
            elif now >= lane.resume_at:
                return lane
        return None

    def _due(self) -> float:
        """The time.monotonic() at which there is something to do without being asked."""
        first = self._ahead[0][0] if self._ahead else self.own
        lanes = [first, *(lane for lane, _ in self._others)]
        return min([self._scan_at, *(lane.resume_at for lane in lanes if lane.batch is not None)])

    def _follow(self, lane: Lane, verdict: Verdict) -> None:
        """Pauses as the answer wants it; says what a person should know, once."""
        now = time.monotonic()
        if verdict.what is What.AGAIN:
            self._tries += 1
            if self._tries == 1:
                log.warning("%s: no event can be stored now (%s); they wait", lane.run.url, verdict.why)
            longest = LEAST_SECONDS if self._waiting else window(self._tries)
            # A server that names a time is obeyed; a little spread keeps those whom it told the same apart.
            self._pause_until = now + (verdict.after or 0.0) + jittered(longest if not verdict.after else LEAST_SECONDS)
            return
        if self._tries:
            log.info("%s: answers again", lane.run.url)
        self._tries = 0
        if verdict.what is What.LATER:
            if not lane.warned:
                lane.warned = True
                log.warning("run %s: events are kept until this is put right: %s", lane.run.run_id, verdict.why)
            lane.resume_at = now + max(verdict.after or 0.0, SLOW_SECONDS / 2 + jittered(SLOW_SECONDS / 2))

    def _scan(self, now: float) -> None:
        """Takes what dead workers left: this run's at once, others' at the start or after a while."""
        self._scan_at = now + SCAN_SECONDS
        url, run_id = self._config.run.url, self._config.run.run_id

        def wanted(run: Run, age: float) -> bool:
            if run.url != url or run.run_id == run_id:
                return run.url == url
            return len(self._others) < OTHERS and (not self._started or age >= STRANGER_SECONDS)

        for one in leftovers(self._config.spill, wanted):
            lane = Lane(one.run, one)
            (self._ahead if one.run.run_id == run_id else self._others).append((lane, one))
        self._started = self._started or len(self._others) < OTHERS

    def _finish(self, lane: Lane, one: Journal) -> None:
        one.remove()
        log.info("run %s: sent %d events of a worker that had ended", lane.run.run_id, lane.sent)

    def _end(self) -> None:
        """Lets go of everything: what is left can be sent by others. Nobody waits any longer."""
        lifetimes.live.discard(self)
        with self._settled:
            self._answered = self._asked
            self._settled.notify_all()
        self.store.close()
        for _, one in [*self._ahead, *self._others]:
            one.release()
        self._courier.close()

    def _say_left(self, left: int) -> None:
        batch = self.own.batch
        taken = len(self.own.lines) if batch is not None and not batch.end else 0
        lost = min(left, self.store.in_memory + taken)
        if left - lost:
            log.warning(
                "run %s: %d events are not stored yet; they wait in the journal for the next worker on this machine, "
                "or `runfeed flush`",
                self._config.run.run_id,
                left - lost,
            )
        if lost:
            log.error("run %s: %d events were in memory only, and are lost", self._config.run.run_id, lost)

    def _say_lost(self, line: bytes, why: str) -> None:
        say_drop(logging.WARNING, self.store.lost, self._config.run.run_id, key_of(line), why)
