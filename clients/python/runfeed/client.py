"""Runfeed: watch runs as they happen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final

import aiohttp

from .core.protocol import RunEvent, RunfeedError, Status, Transport
from .core.subscription import FEED
from .driver import Driver, GetToken, Tokens
from .names import RUN_ID, USERNAME
from .places import DEFAULT_API, Places, api_base, hub_base
from .watch import Watch

PAGE_EVENTS: Final = 2_000  # events in a page of history()
PAGE_RUNS: Final = 500  # the most that the API lists at once
POLL_SECONDS: Final = 4.0  # any heal of the hub's is through by then


class Runfeed:
    """A user's runs, watched over one connection; an async context manager.

    username: whose; RUNFEED_USERNAME when left out. api: the API's base URL; RUNFEED_URL, else http://127.0.0.1:8081.
    hub: the hub's, ws or wss; what the API says when left out. get_token: a function, async or not, that returns a
    token for both; RUNFEED_TOKEN when left out, if it is set. It is asked once, and again when that token is refused or
    runs out; when it raises it is asked again later, but a RunfeedError ends all. poll_interval: seconds without an
    event until the API is asked. Raises RunfeedError (invalid).
    """

    def __init__(
        self,
        username: str | None = None,
        api: str | None = None,
        hub: str | None = None,
        *,
        get_token: GetToken | None = None,
        poll_interval: float = POLL_SECONDS,
    ) -> None:
        self.username = username or os.environ.get("RUNFEED_USERNAME", "")
        if not USERNAME.fullmatch(self.username):
            raise RunfeedError("invalid", f"username: must be 1 to 128 letters, digits and ._@|:+-, not {username!r}")
        self._api = api_base(api or os.environ.get("RUNFEED_URL") or DEFAULT_API)
        self._hub = None if hub is None else hub_base(hub)
        if not poll_interval > 0:
            raise RunfeedError("invalid", f"poll_interval: must be more than 0 seconds, not {poll_interval!r}")
        self._poll_interval = poll_interval
        self._get_token = get_token or _token_of_environment()
        self._session: aiohttp.ClientSession | None = None
        self._driver: Driver | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Runfeed {self.username} {self._api} {self._driver}>"

    async def __aenter__(self) -> Runfeed:
        """Begins; nothing is opened before something is watched."""
        session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._session = session
        self._places = Places(session, self._api, self._hub, self.username)
        self._tokens = Tokens(self._get_token)
        driver = self._driver = Driver(self._places, self._tokens, self._poll_interval)
        started = asyncio.Event()
        self._task = asyncio.create_task(driver.run(started), name="runfeed.driver")
        await started.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends everything: iterations that still run raise RunfeedError (closed)."""
        task, session, self._task, self._session, self._driver = self._task, self._session, None, None, None
        if task is None or session is None:
            return
        task.cancel()
        try:
            await asyncio.wait([task])
        finally:
            await session.close()
        fault = None if task.cancelled() else task.exception()
        if fault is not None and (error is None or isinstance(error, RunfeedError)):
            raise fault

    @property
    def transport(self) -> Transport:
        """How events come now."""
        return self._running().machine.transport

    @property
    def polls(self) -> int:
        """How many polls were answered."""
        return self._running().machine.polls

    def run(self, run_id: str, after: int = 0) -> Watch:
        """A run: its events from its beginning, or behind an id, to its terminal one. One that is not there yet is
        waited for. Raises RunfeedError (invalid)."""
        return Watch(_checked(run_id), after, self._running)

    def feed(self, after: int | None = None) -> Watch:
        """All of the user's runs: what happens from now on, or behind an id. It never ends."""
        return Watch(FEED, after, self._running)

    async def runs(self, status: Status | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The user's runs, newest first, `limit` at most, as the API describes them. Raises RunfeedError."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < limit:
            page = min(limit - len(found), PAGE_RUNS)
            query = [("username", self.username), ("status", status), ("limit", page), ("cursor", cursor)]
            body = await self._read("/runs", query)
            found += body["runs"]
            cursor = body["cursor"]
            if cursor is None:
                break
        return found

    async def info(self, run_id: str) -> dict[str, Any]:
        """A run as the API describes it, whosever it is. Raises RunfeedError."""
        return await self._read(f"/runs/{_checked(run_id)}", ())

    async def history(self, run_id: str, after: int = 0) -> list[RunEvent]:
        """A run's events up to now, those behind an id. Raises RunfeedError."""
        found: list[RunEvent] = []
        epoch: str | None = None
        while True:
            query = [("after", after), ("epoch", epoch if after else None), ("limit", PAGE_EVENTS)]
            body = await self._read(f"/runs/{_checked(run_id)}/events", query)
            found += body["events"]
            if len(body["events"]) < PAGE_EVENTS:
                return found
            after, epoch = found[-1]["id"], body["epoch"]

    async def _read(self, path: str, query: Iterable[tuple[str, object]]) -> dict[str, Any]:
        self._running()
        pairs = list(query)
        token, number = await self._tokens.token(), self._tokens.number
        try:
            return await self._places.read(path, pairs, token)
        except RunfeedError as error:
            if error.status != 401 or self._get_token is None:
                raise
        self._tokens.renew(number)
        return await self._places.read(path, pairs, await self._tokens.token())

    def _running(self) -> Driver:
        if self._driver is None:
            raise RunfeedError("closed", "the Runfeed is not open: use `async with`")
        return self._driver


def _token_of_environment() -> GetToken | None:
    """RUNFEED_TOKEN, read anew each time: a program may renew it there. None when it is not set."""
    return (lambda: os.environ["RUNFEED_TOKEN"]) if os.environ.get("RUNFEED_TOKEN") else None


def _checked(run_id: str) -> str:
    """The run_id; none of its characters needs escaping in a path. Raises RunfeedError."""
    if not RUN_ID.fullmatch(run_id):
        raise RunfeedError("invalid", f"run_id: {run_id!r} is none")
    return run_id
