"""RunReporter: what a worker says of its run."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import time
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Callable

from . import content
from .config import FLUSH_SECONDS, read_config
from .content import Refused
from .core.protocol import TERMINAL
from .courier import say_drop
from .key import GivenKey
from .sender import Sender

log = logging.getLogger("runfeed")

Said = tuple[str, Mapping[str, Any]]  # an event's type and fields


class RunReporter:
    """Reports the events of one run. It never blocks the work, and never fails it.

    A method returns when its event is in a journal on this machine (some tens of microseconds); a thread sends it.
    Methods do not raise: what the API would refuse is logged by the logger "runfeed" and counted in `dropped`. An event
    whose method has returned is stored once, whatever becomes of the process: what it could not send is sent by the
    next reporter on this machine, or by `runfeed flush`. Threads and forked children may report; a child sends its own.

    run_id: RUN_ID, JOB_ID, or a new one. url: the API's base; RUNFEED_URL, WEBHOOK_BASE_URL, http://127.0.0.1:8081.
    username: makes the run if there is none; RUNFEED_USERNAME. workflow, metadata: of a run that is made.
    api_key: text, or a function that returns it, which is asked again when the key was refused; RUNFEED_API_KEY; sent,
    never written. spill: the journals' directory; RUNFEED_SPILL, or one of this
    user's own. flush_timeout: seconds that the end may take.

    Raises ValueError that names the argument, from the constructor alone.
    """

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        run_id: str | None = None,
        *,
        url: str | None = None,
        username: str | None = None,
        workflow: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        api_key: GivenKey = None,
        spill: str | os.PathLike[str] | None = None,
        flush_timeout: float = FLUSH_SECONDS,
    ) -> None:
        self._config = read_config(
            run_id,
            os.environ,
            url=url,
            username=username,
            workflow=workflow,
            metadata=metadata,
            api_key=api_key,
            spill=spill,
            flush_timeout=flush_timeout,
        )
        self._total_steps: int | None = None
        self._ended = False
        self._closed = False
        self._pid = self._process = os.getpid()
        self._become_process()
        self._sender = Sender(self._config)
        self._sender.start()
        # A reporter that is forgotten, not closed: its thread sends what there is, and ends.
        self._forgotten = weakref.finalize(self, self._sender.retire)
        self._forgotten.atexit = False

    def __repr__(self) -> str:
        return (
            f"<RunReporter {self.run_id} at {self.url}: {self.sent} sent, {self.pending} pending, "
            f"{self.dropped} dropped{', closed' if self._closed else ''}>"
        )

    def __reduce__(self) -> tuple[Callable[..., RunReporter], tuple[Any, ...]]:
        """As a new reporter of the same run in another process. The key is not in it: RUNFEED_API_KEY is, there."""
        run = self._config.run
        said = (run.run_id, run.url, run.username, run.workflow, run.metadata)
        return _again, (*said, self._config.spill, self._config.flush_timeout)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._config.run.run_id

    @property
    def url(self) -> str:
        """The API's base URL."""
        return self._config.run.url

    @property
    def sent(self) -> int:
        """Events of this process that the API has acknowledged."""
        return self._sender.own.sent

    @property
    def dropped(self) -> int:
        """Events of this process that were given up. Each was logged; of very many the first, and then ever fewer."""
        if self._process != os.getpid():
            self._become_process()
        return self._refusals + self._sender.store.lost + self._sender.own.dropped

    @property
    def pending(self) -> int:
        """Events of this process that are neither."""
        return self._sender.pending

    def started(self, total_steps: int | None = None, **fields: Any) -> None:
        """`workflow_started`. total_steps: goes with every step after it, so that viewers can show progress."""
        self._total_steps = total_steps
        total = {} if total_steps is None else {"total_steps": total_steps}
        self._report(lambda: ("workflow_started", {**total, **fields}))

    def step(
        self, number: int, name: str, status: str, duration: float | None = None, details: Any = None, **fields: Any
    ) -> None:
        """`step_<status>`; status: started, completed, failed, skipped or progress. duration: seconds."""
        made = (number, name, status, duration, details, self._total_steps)
        self._report(lambda: (f"step_{status}", {**content.step(*made), **fields}))

    def progress(self, percent: float, message: str | None = None) -> None:
        """`progress`: how far the run is, 0 to 100."""
        self._report(lambda: ("progress", content.progress(percent, message)))

    def event(self, type: str, /, **fields: Any) -> None:
        """Any event. `timestamp` and `event_id` may be among the fields; they are made otherwise."""
        self._report(lambda: (type, fields))

    def completed(self, **fields: Any) -> None:
        """`workflow_completed`: the run's last event."""
        self._report(lambda: ("workflow_completed", fields))

    def failed(self, error: BaseException | str | None = None, **fields: Any) -> None:
        """`workflow_failed`: the run's last event. error: an exception, or text."""
        self._report(lambda: ("workflow_failed", {**content.failure(error), **fields}))

    def cancelled(self, **fields: Any) -> None:
        """`workflow_cancelled`: the run's last event."""
        self._report(lambda: ("workflow_cancelled", fields))

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until everything that was reported is stored (or dropped). timeout: seconds, else flush_timeout.

        Returns whether nothing is pending.
        """
        return self._sender.flush(self._config.flush_timeout if timeout is None else timeout)

    def close(self) -> bool:
        """Flushes, for flush_timeout seconds at most, and ends. What is left is in the journal, and the log says so.

        Returns whether nothing was left. What is reported afterwards is dropped.
        """
        self._closed = True
        self._forgotten.detach()
        return self._sender.close(self._config.flush_timeout)

    def __enter__(self) -> RunReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Reports how the work ended, unless that was reported. In a forked child it is not the child's to say."""
        if self._pid == os.getpid() and not self._ended:
            if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
                self.completed()
            else:
                self.failed(error)
        self.close()

    def _report(self, say: Callable[[], Said]) -> None:
        """Keeps one event. Never raises: a worker must not die of what it says about itself."""
        kind = "event"
        try:
            kind, fields = say()
            self._keep(kind, fields)
        except Refused as refused:
            self._refuse(kind, str(refused))
        except Exception as error:  # noqa: BLE001 - an object of the worker's that raises when it is looked at
            self._refuse(kind, content.failure(error)["error"])

    def _keep(self, kind: str, fields: Mapping[str, Any]) -> None:
        if self._closed:
            raise Refused("the reporter is closed")
        key = self._key()
        now = round(time.time(), 6)
        terminal = kind in TERMINAL
        try:
            line = content.line(kind, fields, self.run_id, key, now)
        except Refused as refused:
            if not terminal:
                raise
            # The run ends all the same: somebody watches it. What could not be said is said to be missing.
            log.warning("run %s: %s is reported without its fields: %s", self.run_id, kind, refused)
            line = content.line(kind, {"refused": content.clean(str(refused))}, self.run_id, key, now)
        self._sender.put(line)
        self._ended = self._ended or terminal

    def _refuse(self, kind: object, why: str) -> None:
        if self._process != os.getpid():
            self._become_process()
        self._refusals = next(self._refusal_numbers)
        what = content.clean(kind, 80) if isinstance(kind, str) else "event"
        say_drop(logging.WARNING, self._refusals, self.run_id, what, why)

    def _key(self) -> str:
        if self._process != os.getpid():
            self._become_process()
        return f"{self._prefix}-{next(self._numbers)}"

    def _become_process(self) -> None:
        """Keys and counts of this process: a forked child must not count on with its parent's."""
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._refusal_numbers = itertools.count(1)
        self._refusals = 0
        self._process = os.getpid()


def _again(
    run_id: str,
    url: str,
    username: str | None,
    workflow: str | None,
    metadata: Mapping[str, Any] | None,
    spill: str | None,
    flush_timeout: float,
) -> RunReporter:
    return RunReporter(
        run_id,
        url=url,
        username=username,
        workflow=workflow,
        metadata=metadata,
        spill=spill,
        flush_timeout=flush_timeout,
    )
