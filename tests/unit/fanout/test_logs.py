"""fanout.logs: JSON lines, the libraries' among them."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from fanout import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process' logging as it was."""
    root, library = logging.getLogger(), logging.getLogger("websockets")
    handlers, level, library_level = root.handlers[:], root.level, library.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    library.setLevel(library_level)
    structlog.reset_defaults()


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours and the libraries' lines are JSON with event, level, logger and time; websockets' chatter is left out."""
    logs.set_up("info", "json")
    structlog.stdlib.get_logger("fanout").info("fanout.socket_closed", code=1000)
    logging.getLogger("aiohttp.server").warning("odd %s", "thing")
    logging.getLogger("websockets.server").info("connection open")
    structlog.stdlib.get_logger("fanout").debug("fanout.too_fine")
    ours, theirs = map(json.loads, capsys.readouterr().out.splitlines())

    assert (ours["event"], ours["level"], ours["logger"], ours["code"]) == (
        "fanout.socket_closed",
        "info",
        "fanout",
        1000,
    )
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("odd thing", "warning", "aiohttp.server")
    assert ours["timestamp"].endswith("Z")


def test_traceback_without_values(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback in the log shows where, and not what the variables held: one may be a username."""
    logs.set_up("info", "json")
    username = "-".join(["very", "secret"])
    try:
        username.index("x")
    except ValueError:
        structlog.stdlib.get_logger("fanout").exception("fanout.failed")
    text = capsys.readouterr().out

    assert json.loads(text)["exception"][0]["exc_type"] == "ValueError"
    assert "very-secret" not in text


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    """The console's lines are for people."""
    logs.set_up("info", "console")
    structlog.stdlib.get_logger("fanout").info("fanout.listening", port=1)

    assert "port=1" in capsys.readouterr().out
