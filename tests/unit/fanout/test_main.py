"""fanout.__main__: exit codes."""

import gc
import logging
import sys
from collections.abc import Iterator
from typing import NoReturn

import pytest
import structlog

from fanout import __main__ as program
from fanout.errors import SettingsError
from fanout.settings import Settings


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the process' logging and collector as they were."""
    monkeypatch.setattr(sys, "argv", ["fanout"])
    root = logging.getLogger()
    handlers, level, threshold = root.handlers[:], root.level, gc.get_threshold()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    gc.set_threshold(*threshold)
    gc.unfreeze()


def ending(monkeypatch: pytest.MonkeyPatch, end: BaseException | None) -> int:
    """The exit code of a hub that ends like this."""

    async def serve(settings: Settings) -> None:
        if end is not None:
            raise end

    monkeypatch.setattr(program, "serve", serve)
    return program.main()


def test_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that was told to end exits 0."""
    assert ending(monkeypatch, None) == 0


def test_stage_died(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub whose stage died exits 1."""
    assert ending(monkeypatch, ExceptionGroup("stages", [ZeroDivisionError()])) == 1


def test_could_not_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A hub that could not start says why in one line and exits 1."""
    assert ending(monkeypatch, SettingsError("FANOUT_PORT", "must be free", "1")) == 1
    assert capsys.readouterr().err == "fanout: FANOUT_PORT: must be free, not '1'\n"


def test_bad_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad setting is one line and exit code 2; nothing is started."""

    def never(settings: Settings) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr(program, "serve", never)
    monkeypatch.setenv("FANOUT_DRAIN", "-1")

    assert program.main() == 2
    assert capsys.readouterr().err == "fanout: FANOUT_DRAIN: must be a number of seconds, 0 to 600, not '-1'\n"
