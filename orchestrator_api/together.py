"""Reads that many ask for at the same time, asked once. Never a cache: nothing is kept after its answer.

A reader is given the answer of a statement that began after it asked, or of one whose answer cannot change.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

_Waiting = list[asyncio.Future[Any]]


def _settle(waiting: _Waiting, answer: Any, error: Exception | None) -> None:
    for future in waiting:
        if not future.done():  # else its reader has gone away
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)


class Grouped:
    """Names that are asked for while one statement runs are asked for together by the next: one runs, one collects.

    ask: finds many, by name; who is not in what it returns gets None. A name never joins a statement that has begun,
    because that may not see what was committed before the name was asked for.
    """

    def __init__(self, ask: Callable[[list[str]], Awaitable[dict[str, Any]]]) -> None:
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self._collecting: dict[str, _Waiting] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, name: str) -> Any:
        """Returns what is known of the name, at the earliest as of now. Raises what `ask` raises."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._collecting.setdefault(name, []).append(future)
        if self._task is None:  # a task of its own: readers may go away, and the others still want to know
            self._task = self._loop.create_task(self._run(), name="read.grouped")
        return await future

    async def _run(self) -> None:
        while self._collecting:
            group, self._collecting = self._collecting, {}
            found: dict[str, Any] = {}
            error = None
            try:
                found = await self._ask(list(group))
            except Exception as raised:  # noqa: BLE001 - it is the readers'
                error = raised
            for name, waiting in group.items():
                _settle(waiting, found.get(name), error)
        self._task = None


class Shared:
    """Questions whose answers never change, the same one asked once for all who wait for it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Hashable, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Returns what `ask` returns: the caller's own, or of another who asked the same and waits."""
        future: asyncio.Future[Any] = self._loop.create_future()
        waiting = self._waiting.setdefault(question, [])
        waiting.append(future)
        if len(waiting) == 1:
            task = self._loop.create_task(self._run(question, ask), name="read.shared")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _run(self, question: Hashable, ask: Callable[[], Awaitable[Any]]) -> None:
        answer = error = None
        try:
            answer = await ask()
        except Exception as raised:  # noqa: BLE001 - it is the readers'
            error = raised
        _settle(self._waiting.pop(question), answer, error)
