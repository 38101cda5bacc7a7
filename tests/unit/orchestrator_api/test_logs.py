"""orchestrator_api/logs.py: the line of a request."""

import asyncio
import logging
import re
from collections.abc import Iterator

import orjson
import pytest
import structlog

from orchestrator_api import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


async def test_line_is_structlogs(capsys: pytest.CaptureFixture[str]) -> None:
    """A request's line has the members that structlog writes for the same, in UTC with microseconds."""
    logs.set_up("info", "json")
    structlog.get_logger(logs.LOGGER).info("a.request", method="GET", route="/runs/{run_id}", status=200, ms=1.5)
    logs.RequestLog("a.request")("GET", "/runs/{run_id}", 200, 0.0015)
    await asyncio.sleep(0)
    theirs, ours = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", ours["timestamp"])
    assert theirs.pop("timestamp")[:16] <= ours.pop("timestamp")[:16]
    assert ours == theirs


async def test_lines_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    """However many requests a turn of the event loop answers, each has its line, in their turn."""
    logs.set_up("info", "json")
    line = logs.RequestLog("a.request")
    for n in range(200, 205):
        line("GET", "/", n, 0.001)
    await asyncio.sleep(0)
    line("GET", "/", 205, 0.001)
    await asyncio.sleep(0)

    assert [orjson.loads(each)["status"] for each in capsys.readouterr().out.splitlines()] == list(range(200, 206))


async def test_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    """Above the level info there is none."""
    logs.set_up("warning", "json")
    logs.RequestLog("a.request")("GET", "/", 200, 0.001)
    await asyncio.sleep(0)

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("level", "levels"), [("info", ["info"]), ("debug", ["info", "debug"])])
async def test_routine(capsys: pytest.CaptureFixture[str], level: str, levels: list[str]) -> None:
    """What is routine has a line for who wants to know everything."""
    logs.set_up(level, "json")
    line = logs.RequestLog("a.request")
    line("GET", "/", 200, 0.001)
    line("POST", "/", 200, 0.001, "debug")
    await asyncio.sleep(0)

    assert [orjson.loads(each)["level"] for each in capsys.readouterr().out.splitlines()] == levels


async def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal it is the same readable line as all others."""
    logs.set_up("info", "console")
    logs.RequestLog("a.request")("GET", "/", 200, 0.001)

    assert re.search(r"\[info +\] a\.request .*method=GET", capsys.readouterr().out)
