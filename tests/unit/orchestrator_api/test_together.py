"""orchestrator_api/together.py: reads that are asked for at the same time."""

import asyncio
from typing import Any

from orchestrator_api.together import Grouped, Shared


class Store:
    """Answers when it is let. groups: what it was asked, one entry a statement."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.value = 1
        self.error: Exception | None = None
        self.gate = asyncio.Event()

    async def ask(self, names: list[str]) -> dict[str, Any]:
        self.groups.append(sorted(names))
        seen = self.value  # a statement sees what was committed when it began
        await self.gate.wait()
        if self.error:
            raise self.error
        return {name: seen for name in names if name != "nobody"}

    async def one(self) -> int:
        return (await self.ask(["page"]))["page"]  # type: ignore[no-any-return]


async def turns() -> None:
    """Lets everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_runs_and_one_collects() -> None:
    """However many ask while a statement runs, the next one asks for all of them, each name once."""
    store = Store()
    grouped = Grouped(store.ask)
    first = asyncio.create_task(grouped.get("a"))
    await turns()
    others = [asyncio.create_task(grouped.get(name)) for name in ("b", "c", "b", "nobody")]
    await turns()
    assert store.groups == [["a"]]
    store.gate.set()

    assert await asyncio.gather(first, *others) == [1, 1, 1, 1, None]
    assert store.groups == [["a"], ["b", "c", "nobody"]]


async def test_never_stale() -> None:
    """Who asks after something was committed never gets the answer of a statement that began before."""
    store = Store()
    grouped = Grouped(store.ask)
    before = asyncio.create_task(grouped.get("a"))
    await turns()
    store.value = 2
    after = asyncio.create_task(grouped.get("a"))
    await turns()
    store.gate.set()

    assert (await before, await after) == (1, 2)
    assert await grouped.get("a") == 2


async def test_who_goes_away_takes_nobody_along() -> None:
    """A reader that is cancelled leaves the others their answer."""
    store = Store()
    grouped, shared = Grouped(store.ask), Shared()
    gone = [asyncio.create_task(grouped.get("a")), asyncio.create_task(shared.get("q", store.one))]
    await turns()
    left = [asyncio.create_task(grouped.get("a")), asyncio.create_task(shared.get("q", store.one))]
    await turns()
    for task in gone:
        task.cancel()
    await turns()
    store.gate.set()

    assert await asyncio.gather(*left) == [1, 1]


async def test_an_error_is_for_those_who_waited() -> None:
    """A statement that fails fails for all who waited for it, and the next question is asked anew."""
    store = Store()
    grouped, shared = Grouped(store.ask), Shared()
    store.error = ConnectionError("away")
    store.gate.set()
    for _ in range(2):
        found = await asyncio.gather(
            grouped.get("a"), grouped.get("b"), shared.get("q", store.one), return_exceptions=True
        )
        assert [type(each) for each in found] == [ConnectionError] * 3
    store.error = None

    assert await grouped.get("a") == await shared.get("q", store.one) == 1


async def test_shared_asks_once() -> None:
    """The same question is asked once for all who wait, and nothing is kept: the next one asks again."""
    store = Store()
    shared = Shared()
    waiting = [asyncio.create_task(shared.get("q", store.one)) for _ in range(5)]
    await turns()
    store.gate.set()

    assert await asyncio.gather(*waiting) == [1] * 5
    assert len(store.groups) == 1
    await shared.get("q", store.one)
    assert len(store.groups) == 2
