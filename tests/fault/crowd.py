"""The clients of a row, running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.fault.checker import Stream
from tests.fault.clients import Client, Control, Places, Poller, Resuming, RunSocket, Socket
from tests.fault.library import Library
from tests.fault.sse import Sse

Act = Callable[[Stream, Places], Client]
KINDS: dict[str, Act] = {
    "plain": Socket,
    "resuming": Resuming,
    "control": Control,
    "sse": Sse,
    "run_socket": RunSocket,
    "one_run": Socket,
    "poller": Poller,
    "library": Library,
}


class Crowd:
    """The clients of a row and their tasks."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, kind: str, stream: Stream, places: Places) -> Client:
        """One more, running."""
        client = KINDS[kind](stream, places)
        self.clients.append(client)
        self._tasks.append(asyncio.create_task(client.run(), name=stream.name))
        return client

    def streams(self) -> list[Stream]:
        """What they recorded."""
        return [client.stream for client in self.clients]

    def died(self) -> list[str]:
        """Clients whose script ended: a fault of the suite."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        return [f"{task.get_name()}: {task.exception()!r}" for task in ended]

    async def close(self) -> None:
        """Ends all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
