"""runfeed.reader: an iteration that reads by itself, page by page, until it is where the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runfeed.core.actions import Answer, Request
from runfeed.core.protocol import RunfeedError
from runfeed.reader import Reader

Says = Callable[[Request], Answer]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for longer than these tests need."""
    monkeypatch.setattr("runfeed.core.link.FIRST_WAIT", 10)


def event(number: int | None, kind: str = "step") -> dict[str, Any]:
    """An event of r1."""
    return ({} if number is None else {"id": number, "seq": number}) | {"run_id": "r1", "username": "u", "type": kind}


def page(*numbers: int, head: int, epoch: str = "E", status: str = "running") -> Answer:
    """A page of r1's history: its last."""
    body = {"epoch": epoch, "head": head, "status": status, "events": [event(number) for number in numbers]}
    return Answer(200, body | {"next": head, "last_seq": head})


class Script:
    """Pages in this order; each may be what makes one of the request."""

    def __init__(self, *says: Answer | Says) -> None:
        self.epoch: str | None = "E"
        self.says = list(says)
        self.asked: list[tuple[int | None, str | None, int]] = []
        self.refreshed = 0

    async def page(self, request: Request) -> Answer:
        """The next one."""
        self.asked.append((request.after, request.epoch, request.limit))
        said = self.says.pop(0)
        return said if isinstance(said, Answer) else said(request)

    def refresh(self) -> None:
        """Counted."""
        self.refreshed += 1


def behind(script: Script, after: int | None = 0, key: str = "r1") -> Reader:
    """An iteration that has to read by itself."""
    reader = Reader(key, after, script)
    reader.fall_behind()
    return reader


async def taken(reader: Reader, count: int) -> list[Any]:
    """The ids of the next so many."""
    found: list[Any] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [each.get("id") for each in await reader.take(count - len(found))]
    return found


async def test_joins() -> None:
    """What the machine says while the last page is read follows on it, once; what it said before does not."""

    def meanwhile(_: Request) -> Answer:
        for number in (2, 3, None, 4):
            reader.event(event(number))
        return page(1, 2, 3, head=3)

    script = Script(meanwhile)
    reader = behind(script)
    reader.event(event(2))

    assert await taken(reader, 5) == [1, 2, 3, None, 4]
    reader.event(event(4))
    reader.event(event(5, "workflow_failed"))
    reader.event(event(6))
    assert await taken(reader, 1) == [5]
    assert await reader.take(1) == []
    assert script.asked == [(0, None, 2000)]


async def test_too_much_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """When too much came while a page was read, the next page is read; nothing is kept for it."""

    def much(_: Request) -> Answer:
        for number in range(3, 30):
            reader.event(event(number))
        return page(1, 2, head=2)

    monkeypatch.setattr("runfeed.reader.QUEUE", 10)
    script = Script(much, page(*range(3, 30), head=29))
    reader = behind(script)

    assert await taken(reader, 29) == list(range(1, 30))
    reader.event(event(30))
    assert await taken(reader, 1) == [30]
    assert script.asked == [(0, None, 2000), (2, "E", 2000)]


async def test_feed_from_now() -> None:
    """Who begins with what comes next asks where the feed is, and is given nothing that was before."""

    def meanwhile(_: Request) -> Answer:
        for number in (7, 8):
            reader.event(event(number))
        return page(1, head=7)

    script = Script(meanwhile)
    reader = behind(script, None, "")

    assert await taken(reader, 1) == [8]
    assert script.asked == [(None, None, 1)]


async def test_unknown_cursor() -> None:
    """A cursor that is too old, or beyond the head, is a reset of this iteration alone."""
    script = Script(Answer(410, {"code": "cursor_unknown", "epoch": "E", "head": 2}), page(1, 2, head=2))
    reader = behind(script, 9)

    assert await taken(reader, 3) == [None, 1, 2]
    assert script.refreshed == 0


async def test_other_numbering() -> None:
    """A page of another numbering is not shown: the machine is to ask, and tells all of them."""

    def told(_: Request) -> Answer:
        assert script.refreshed == 2
        script.epoch = "F"
        reader.reset({"control": True, "type": "reset", "epoch": "F", "head": 1})
        reader.event(event(1))
        return page(1, 9, head=9, epoch="F")

    gone = Answer(410, {"code": "cursor_unknown", "epoch": "F", "head": 1})
    script = Script(page(3, head=3, epoch="F"), gone, told)
    reader = behind(script, 2)

    assert await taken(reader, 2) == [None, 1]
    reader.event(event(2))
    assert await taken(reader, 1) == [2]  # from the machine: the late page is of no interest
    assert script.asked == [(2, "E", 2000)] * 3


async def test_passing_trouble() -> None:
    """A page that does not come is asked for again, and until it comes that is said."""

    def troubled(_: Request) -> Answer:
        assert reader.error is not None
        errors.append(reader.error.code)
        return page(1, head=1)

    errors: list[str] = []
    reader = behind(Script(Answer(0, None), Answer(503, {"code": "busy"}, 20.0), troubled))

    assert await taken(reader, 1) == [1]
    assert (errors, reader.error) == (["busy"], None)


async def test_unknown_run() -> None:
    """Of a run that nobody knows yet there is nothing to read: it is given what comes."""
    reader = behind(Script(Answer(404, {"code": "run_unknown"})))
    taking = asyncio.create_task(taken(reader, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert reader.error is not None
    reader.event(event(1))

    assert await taking == [1]


async def test_refused() -> None:
    """A refusal that would come again is raised; what ends all is raised after what still waits."""
    with pytest.raises(RunfeedError) as caught:
        await behind(Script(Answer(403, {"code": "forbidden"}))).take(1)
    assert caught.value.code == "forbidden"
    reader = Reader("r1", 0, Script())
    reader.event(event(1))
    reader.fail(RunfeedError("refused", "no"))
    assert await taken(reader, 1) == [1]
    with pytest.raises(RunfeedError, match="no"):
        await reader.take(1)


async def test_status_ends() -> None:
    """A run that is over ends the iteration, though its last event was before the cursor."""
    reader = behind(Script(page(head=9, status="completed")), 9)

    assert await reader.take(1) == []
    assert reader.said == "completed"
