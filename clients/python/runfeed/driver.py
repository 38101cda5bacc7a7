"""The machine with a clock, sockets and requests. One task owns all others, and ends with them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Union

from .core import actions
from .core.actions import Answer, Request
from .core.machine import Machine
from .core.protocol import RunfeedError
from .places import Places
from .reader import Reader
from .streams import End, Socket, read_events, read_websocket

GetToken = Callable[[], Union[str, Awaitable[str]]]
GONE: Final = "the Runfeed is closed"
_TOKEN: Final = re.compile(r"[!-~]+")  # what a header can carry


class Tokens:
    """The token that all requests carry. get: asked once, and again when that is refused or runs out; None: none.

    Attributes: number: of the last one, from 1.
    """

    def __init__(self, get: GetToken | None) -> None:
        self._get = get
        self._token: str | None = None
        self._asking = asyncio.Lock()
        self.number = 0

    def renew(self, number: int) -> None:
        """The one of this number was refused, or runs out; who is told so late has no say in the one after it."""
        if number == self.number:
            self._token = None

    async def token(self) -> str | None:
        """The token. Raises RunfeedError when there should be one, and none is had."""
        if self._get is None:
            return None
        async with self._asking:
            if self._token is None:
                try:
                    given = self._get()
                    token = await given if inspect.isawaitable(given) else given
                except RunfeedError:
                    raise
                except Exception as error:
                    raise RunfeedError("token", f"get_token: {type(error).__name__}: {error}") from error
                if not isinstance(token, str) or not _TOKEN.fullmatch(token):
                    raise RunfeedError("token", "get_token: must return text of visible ASCII characters")
                self._token = token
                self.number += 1
            return self._token


class Hearing:
    """What one stream says, until there is another."""

    def __init__(self, driver: Driver, machine: Machine) -> None:
        self._driver = driver
        self._machine = machine
        self._socket: Socket | None = None
        self.over = False
        self.token = 0  # the number of the one that it carries

    def speaks(self, socket: Socket) -> None:
        """It takes what is said to it."""
        self._socket = socket

    async def authenticate(self, token: str, number: int) -> None:
        """Sends it the token of this number, unless there is another stream by now."""
        if self._socket is not None and not self.over:
            self.token = number
            await self._socket.authenticate(token)

    def opened(self) -> None:
        """It is open."""
        self._tell(self._machine.opened)

    def message(self, frame: str) -> None:
        """It brought this."""
        self._tell(self._machine.message, frame)

    def beat(self, head: int | None) -> None:
        """It lives."""
        self._tell(self._machine.beat, head)

    def closed(self, end: End) -> None:
        """It ended."""
        self._tell(self._machine.closed, end.code, end.reason)

    def _tell(self, call: Callable[..., None], *said: object) -> None:
        if not self.over:
            self._driver.do(call, *said, token=self.token)


class Driver:
    """places: where to go. poll_interval: seconds of silence before a poll."""

    def __init__(self, places: Places, tokens: Tokens, poll_interval: float) -> None:
        self._places = places
        self._tokens = tokens
        self._poll_ms = 1000 * poll_interval
        self._machine = Machine(self._poll_ms)
        self._readers: dict[str, list[Reader]] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup | None = None
        self._hearing: Hearing | None = None
        self._stream: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Driver {self._machine!r} {sum(map(len, self._readers.values()))} readers>"

    @property
    def machine(self) -> Machine:
        """What decides."""
        return self._machine

    @property
    def epoch(self) -> str | None:
        """Of the numbering that all is in."""
        return self._machine.epoch

    async def run(self, started: asyncio.Event) -> None:
        """Does what is to be done, for as long as it is not cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                started.set()
                while True:
                    await self._until_due()
                    self.do(self._machine.tick)
        except Exception as error:  # a fault of ours: whoever iterates must not wait for ever
            self._end(RunfeedError("internal", repr(error)))
            raise
        finally:
            self._group = None
            self._end(RunfeedError("closed", GONE))

    async def _until_due(self) -> None:
        self._changed.clear()
        due = self._machine.due
        timeout = None if due is None else max(0.0, due / 1000 - self._loop.time())
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()

    def do(self, call: Callable[..., None], *said: object, token: int = 0) -> None:
        """Tells the machine something, and does what it says. token: the number of the one that was carried."""
        call(1000 * self._loop.time(), *said)
        for action in self._machine.actions():
            self._act(action, token)
        self._changed.set()

    # Who iterates.

    def attach(self, reader: Reader) -> None:
        """Feeds it, from now on. Raises RunfeedError when all is closed."""
        if self._group is None:
            raise RunfeedError("closed", GONE)
        if self._machine.failed is not None:
            self._machine = Machine(self._poll_ms)  # who begins again after a failure tries again
        others = self._readers.setdefault(reader.key, [])
        others.append(reader)
        if len(others) > 1:
            reader.fall_behind()
        else:
            self.do(self._machine.watch, reader.key, reader.after)

    def detach(self, reader: Reader) -> None:
        """Feeds it no more."""
        readers = self._readers.get(reader.key, [])
        if reader not in readers:
            return
        readers.remove(reader)
        if not readers:
            del self._readers[reader.key]
            if self._group is not None:
                self.do(self._machine.unwatch, reader.key)

    def refresh(self) -> None:
        """Asks now whether anything is missing."""
        self.do(self._machine.refresh)

    async def page(self, request: Request) -> Answer:
        """A page of history for a reader; a token that was refused is renewed once."""
        answer, token = await self._ask(request)
        if answer.status == 401:
            self._tokens.renew(token)
            answer, _ = await self._ask(request)
        return answer

    def _end(self, error: RunfeedError) -> None:
        readers, self._readers = self._readers, {}
        for each in readers.values():
            for reader in each:
                reader.fail(error)

    # What the machine says.

    def _act(self, action: actions.Action, token: int) -> None:
        if isinstance(action, actions.Give):
            for reader in self._readers.get(action.to, ()):
                reader.event(action.event)
        elif isinstance(action, (actions.Reset, actions.Loaded, actions.Problem)):
            for reader in self._readers.get(action.to, ()):
                _tell(reader, action)
        elif isinstance(action, actions.Request):
            self._spawn(self._get(self._machine, action), "runfeed.get")
        elif isinstance(action, actions.Connect):
            self._drop()
            self._hearing = Hearing(self, self._machine)
            self._stream = self._spawn(self._open(action, self._hearing), "runfeed.stream")
        elif isinstance(action, actions.Disconnect):
            self._drop()
        elif isinstance(action, actions.Renew):
            self._tokens.renew(token)
        elif isinstance(action, actions.Authenticate):
            self._spawn(self._authenticate(self._hearing), "runfeed.authenticate")
        else:
            self._end(action.error)

    def _spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        if self._group is None:
            raise RuntimeError("the driver does not run")
        return self._group.create_task(work, name=name)

    def _drop(self) -> None:
        if self._hearing is not None:
            self._hearing.over = True
        if self._stream is not None:
            self._stream.cancel()
        self._hearing = self._stream = None

    async def _open(self, action: actions.Connect, hearing: Hearing) -> None:
        try:
            token = await self._tokens.token()
            hearing.token = self._tokens.number
            url = self._places.stream_url(await self._places.hub(token), action.kind, action.after, action.epoch)
            if action.kind == "websocket":
                end = await read_websocket(url, token, hearing)
            else:
                end = await read_events(self._places.session, url, token, hearing)
        except OSError as error:
            end = End(1006, str(error))
        except RunfeedError as error:
            end = End(1006 if error.code == "token" else 4400, str(error))
        if end.code == 4404 and self._places.guessed:
            end = End(1006, "there is no hub at the API's address")  # polls bring what happens
        hearing.closed(end)

    async def _authenticate(self, hearing: Hearing | None) -> None:
        """When no token is had the hub closes the stream, and what follows of that is the machine's."""
        with contextlib.suppress(RunfeedError):
            token = await self._tokens.token()
            if token is not None and hearing is not None:
                await hearing.authenticate(token, self._tokens.number)

    async def _get(self, machine: Machine, request: Request) -> None:
        answer, token = await self._ask(request)
        if machine is self._machine:
            self.do(machine.answered, request.id, answer, token=token)

    async def _ask(self, request: Request) -> tuple[Answer, int]:
        """The answer, and the number of the token that was carried."""
        try:
            token, number = await self._tokens.token(), self._tokens.number
        except RunfeedError as error:
            return Answer(0, {"code": error.code, "detail": str(error)}), self._tokens.number
        return await self._places.get(request, token), number


def _tell(reader: Reader, action: actions.Reset | actions.Loaded | actions.Problem) -> None:
    if isinstance(action, actions.Reset):
        reader.reset(action.said)
    elif isinstance(action, actions.Loaded):
        reader.loaded(action.status)
    else:
        reader.problem(action.error)
