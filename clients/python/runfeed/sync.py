"""The same for a program without an event loop: a thread of our own has one.

    from runfeed.sync import Runfeed

    with Runfeed(username="alice") as feed:
        for event in feed.run("hello"):
            print(event["type"])

An iteration may be left at any point, by Ctrl-C too; then begin another, behind the last event's id.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, Final, TypeVar

from . import Runfeed as AsyncRunfeed
from .core.protocol import RunEvent, RunfeedError, Status, Transport
from .driver import GetToken
from .watch import Watch as AsyncWatch

BATCH: Final = 1_000  # events that are handed to the other thread at once: what is taken there and not yet shown
LOOK_SECONDS: Final = 0.5  # between two looks for Ctrl-C, where a waiting thread is not interrupted (Windows)
CLOSE_SECONDS: Final = 5.0  # for streams to be closed; the thread dies with the program in any case

T = TypeVar("T")


class Watch:
    """An iterable of events, as runfeed.Watch is."""

    def __init__(self, watch: AsyncWatch, feed: Runfeed) -> None:
        self._watch = watch
        self._feed = feed

    def __repr__(self) -> str:
        return repr(self._watch)

    @property
    def status(self) -> Status:
        """The run's, as far as is known."""
        return self._watch.status

    @property
    def error(self) -> RunfeedError | None:
        """What is wrong now, and may mend itself; or why all ended."""
        return self._watch.error

    def __iter__(self) -> Iterator[RunEvent]:
        """An iteration. It watches from its first step until it is left."""
        reader, driver = self._feed.call(self._watch.start())
        try:
            while events := self._feed.call(self._watch.take(reader, BATCH)):
                for event in events:
                    self._watch.see(event)
                    yield event
        finally:
            self._feed.tell(lambda: self._watch.end(driver, reader))


class Runfeed:
    """A user's runs; a context manager. Arguments as runfeed.Runfeed has them; get_token is called in our thread."""

    def __init__(
        self,
        username: str | None = None,
        api: str | None = None,
        hub: str | None = None,
        *,
        get_token: GetToken | None = None,
        poll_interval: float = 4.0,
    ) -> None:
        self._feed = AsyncRunfeed(username, api, hub, get_token=get_token, poll_interval=poll_interval)
        self.username = self._feed.username
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._fault: BaseException | None = None

    def __repr__(self) -> str:
        return f"<sync {self._feed!r}>"

    def __enter__(self) -> Runfeed:
        """Starts the thread."""
        started = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(started,), name="runfeed", daemon=True)
        self._thread.start()
        started.wait()
        if self._fault is not None:
            raise self._fault
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends everything."""
        thread, stop, self._thread = self._thread, self._stop, None
        if thread is None or stop is None:
            return
        self.tell(stop.set)
        thread.join(CLOSE_SECONDS)
        if self._fault is not None and error is None:
            raise self._fault

    @property
    def transport(self) -> Transport:
        """How events come now."""
        return self._feed.transport

    @property
    def polls(self) -> int:
        """How many polls were answered."""
        return self._feed.polls

    def run(self, run_id: str, after: int = 0) -> Watch:
        """A run: its events from its beginning, or behind an id, to its terminal one. Raises RunfeedError (invalid)."""
        return Watch(self._feed.run(run_id, after), self)

    def feed(self, after: int | None = None) -> Watch:
        """All of the user's runs: what happens from now on, or behind an id. It never ends."""
        return Watch(self._feed.feed(after), self)

    def runs(self, status: Status | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The user's runs, newest first, as the API describes them. Raises RunfeedError."""
        return self.call(self._feed.runs(status, limit))

    def history(self, run_id: str, after: int = 0) -> list[RunEvent]:
        """A run's events up to now, those behind an id. Raises RunfeedError."""
        return self.call(self._feed.history(run_id, after))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Has it done in our thread, and waits. Raises what it raises, and RunfeedError (closed)."""
        loop = self._loop
        if self._thread is None or loop is None:
            work.close()
            raise RunfeedError("closed", "the Runfeed is not open: use `with`")
        try:
            future = asyncio.run_coroutine_threadsafe(work, loop)
        except RuntimeError:  # the loop is closed: our thread failed
            work.close()
            raise RunfeedError("closed", "the Runfeed is closed") from None
        try:
            while not future.done():
                concurrent.futures.wait([future], timeout=LOOK_SECONDS)
            return future.result()
        except concurrent.futures.CancelledError:
            raise RunfeedError("closed", "the Runfeed is closed") from None
        finally:
            future.cancel()

    def tell(self, call: Any) -> None:
        """Has it done in our thread, soon; nothing happens when that has ended."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(call)
            except RuntimeError:  # the loop is closed, and with it everything
                return

    def _main(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._live(started))
        except BaseException as error:  # noqa: BLE001  whoever left the `with` is told
            self._fault = error
        finally:
            started.set()

    async def _live(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with self._feed:
            started.set()
            await self._stop.wait()
