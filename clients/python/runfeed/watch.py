"""One run, or all of a user's, as an application watches it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from .core.protocol import TERMINAL, RunEvent, RunfeedError, Status
from .driver import Driver
from .reader import Reader

BATCH: Final = 100  # events that are taken at once; those of one batch are handed on whatever happens meanwhile
_RANK: Final[dict[Status, int]] = {
    "queued": 0,
    "running": 1,
    "rendering": 2,
    "completed": 3,
    "failed": 3,
    "cancelled": 3,
}


class Watch:
    """An async iterable: every event in order, once, as a dict; each iteration begins anew.

    A run's ends after its terminal event. A dict with `"control": True` and type `reset` says that the server's
    numbering is another: what came before is void, and the run begins again; the whole feed goes on exactly behind
    its `head`. RunfeedError says why all ended.
    """

    def __init__(self, key: str, after: int | None, driver: Callable[[], Driver]) -> None:
        self._key = key
        self._after = after
        self._driver = driver
        self._status: Status = "queued"
        self._readers: list[Reader] = []
        self._error: RunfeedError | None = None

    def __repr__(self) -> str:
        return f"<Watch {self._key or 'feed'} {self.status}>"

    @property
    def status(self) -> Status:
        """The run's, as far as is known: what was handed on, and what the server said. Of a feed it means nothing."""
        said = [reader.said for reader in self._readers if reader.said is not None]
        return max([self._status, *said], key=_RANK.__getitem__)

    @property
    def error(self) -> RunfeedError | None:
        """What is wrong now, and may mend itself; or why all ended."""
        return next((reader.error for reader in self._readers if reader.error is not None), self._error)

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        """An iteration. It watches from its first step until it is left, by whatever way."""
        return self._iterate()

    async def aclose(self) -> None:
        """Ends the iterations that there are."""
        for reader in self._readers:
            reader.fail(None)

    async def _iterate(self) -> AsyncIterator[RunEvent]:
        driver = self._driver()
        reader = self.begin(driver)
        try:
            while events := await self.take(reader, BATCH):
                for event in events:
                    self.see(event)
                    yield event
        finally:
            self.end(driver, reader)

    def begin(self, driver: Driver) -> Reader:
        """An iteration begins. Raises RunfeedError."""
        reader = Reader(self._key, self._after, driver)
        driver.attach(reader)
        self._readers.append(reader)
        self._status, self._error = "queued", None
        return reader

    async def start(self) -> tuple[Reader, Driver]:
        """The same in a coroutine: what another thread asks for. And whom it is to be ended with."""
        driver = self._driver()
        return self.begin(driver), driver

    async def take(self, reader: Reader, most: int) -> list[RunEvent]:
        """Its next events, one at least; [] at the end. Raises RunfeedError."""
        try:
            return await reader.take(most)
        except RunfeedError as error:
            self._error = error
            raise

    def end(self, driver: Driver, reader: Reader) -> None:
        """An iteration ends."""
        driver.detach(reader)
        self._status = self.status
        self._readers.remove(reader)

    def see(self, event: RunEvent) -> None:
        """It is handed on: what it says of the run is known."""
        kind = event["type"]
        if event.get("control") is True and "username" not in event:
            self._status = "queued"
            return
        says: Status = TERMINAL.get(kind) or ("rendering" if kind == "steps_completed" else "running")
        self._status = max(self._status, says, key=_RANK.__getitem__)
