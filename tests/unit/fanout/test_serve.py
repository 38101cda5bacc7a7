"""fanout.serve: stages and their undertaker."""

import asyncio
from collections.abc import Coroutine

import pytest
from structlog.testing import capture_logs

from fanout import serve
from fanout.errors import StageEnded
from fanout.serve import _stage, _warn
from tests.support import eventually


async def ends() -> None:
    """A stage that returns."""


async def fails() -> None:
    """A stage that raises."""
    raise ZeroDivisionError


@pytest.mark.parametrize(("work", "error"), [(ends, StageEnded), (fails, ZeroDivisionError)])
async def test_dead_stage(work: object, error: type[Exception]) -> None:
    """A stage that returns or raises is named in the log and ends everything beside it."""
    assert callable(work)
    coroutine: Coroutine[None, None, None] = work()

    async def serve() -> None:
        async with asyncio.TaskGroup() as stages:
            task = _stage(stages, "fanout.example", coroutine)
            assert task.get_name() == "fanout.example"
            await asyncio.Event().wait()

    with capture_logs() as logged, pytest.raises(ExceptionGroup) as ended:
        await serve()

    assert ended.group_contains(error)
    assert [(line["event"], line["stage"]) for line in logged] == [("fanout.stage_died", "fanout.example")]


async def test_cancelled_stage() -> None:
    """A stage that we end is no death."""
    with capture_logs() as logged:
        async with asyncio.TaskGroup() as stages:
            task = _stage(stages, "fanout.example", asyncio.Event().wait())  # type: ignore[arg-type]
            await asyncio.sleep(0)  # let it start
            task.cancel()

    assert logged == []


async def test_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """That usernames are believed is said at once, and again and again."""
    monkeypatch.setattr(serve, "WARN", 0.001)
    with capture_logs() as logged:
        warning = asyncio.create_task(_warn())
        await eventually(lambda: len(logged) > 2)
        warning.cancel()

    assert {(line["event"], line["log_level"]) for line in logged} == {("fanout.insecure_username", "warning")}
