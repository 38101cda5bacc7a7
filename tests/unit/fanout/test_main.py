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


def test_check_config(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """check-config shows each setting in force, whether it is a default, and who asks. No secret; nothing starts."""
    monkeypatch.setattr(sys, "argv", ["fanout", "check-config"])
    key, issuers = "rfk_hidden", "a secret of the tests, thirty-two bytes long"
    given = {"PORT": "9000", "FANOUT_HISTORY_URL": "http://u:hidden@h", "FANOUT_HISTORY_KEY": key}
    for name, text in {**given, "AUTH_HMAC_KEY": issuers}.items():
        monkeypatch.setenv(name, text)

    assert ending(monkeypatch, AssertionError()) == 0
    said = capsys.readouterr().out.splitlines()
    for line in (
        "FANOUT_PORT = 9000", "FANOUT_ADMIN_PORT = 8086 (default)", "FANOUT_HISTORY_URL = http://***@h",
        "FANOUT_HISTORY_KEY = ***", "AUTH_HMAC_KEY = ***", "WATCH_TOKEN_KEY = made from AUTH_HMAC_KEY (default)",
        "AUTH_ISSUER = runfeed (default)", "ALLOWED_ORIGINS = any loopback origin (default)",
    ):  # fmt: skip
        assert line in said
    assert said[-1] == "who asks: tokens of runfeed (HS256), watch tokens, tickets"
    assert not any("hidden" in line or issuers in line for line in said)
