"""A reporter's API key: refused, replaced, out of its scope. No event is lost, and the key is shown nowhere."""

import logging
from pathlib import Path

import pytest

from runfeed import RunReporter
from tests.integration.clients.answering import Answering
from tests.integration.clients.conftest import New, Start, journals
from tests.support.waiting import eventually_sync

LOCAL_SECONDS = 10.0
SECRET = "rfk_1_s3cret"


def keys(answering: Answering) -> list[str | None]:
    """What each request carried."""
    return [headers.get("Authorization") for _, _, headers, _ in answering.asked]


def test_a_key_that_is_replaced(answering: Answering, new: New, caplog: pytest.LogCaptureFixture) -> None:
    """A function's next key is used at once when the last one was refused, and nothing needs to be said."""
    given = iter(["k1", "k2"])
    answering.say(401, {"code": "key_unknown"})
    run = new(url=answering.url, api_key=lambda: next(given))
    run.event("note")

    assert run.flush(LOCAL_SECONDS)
    assert keys(answering) == ["Bearer k1", "Bearer k2"]
    assert (run.sent, run.dropped, caplog.records) == (1, 0, [])


def test_a_key_of_the_environment(answering: Answering, new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNFEED_API_KEY is read anew when it was refused: a program may change it while it runs."""
    monkeypatch.setenv("RUNFEED_API_KEY", "k1")
    run = new(url=answering.url)
    run.event("note")
    assert run.flush(LOCAL_SECONDS)

    monkeypatch.setenv("RUNFEED_API_KEY", "k2")
    answering.say(401, {"code": "key_unknown"})
    run.event("note")
    assert run.flush(LOCAL_SECONDS)
    assert keys(answering) == ["Bearer k1", "Bearer k1", "Bearer k2"]


def test_no_key_for_a_while(answering: Answering, new: New, caplog: pytest.LogCaptureFixture) -> None:
    """While a function has no key events wait, which is said once, and nothing is sent without one."""
    away = [OSError("the vault is closed")]

    def read() -> str:
        if away:
            raise away[0]
        return "k1"

    run = new(url=answering.url, api_key=read)
    run.event("note")
    assert not run.flush(0.5)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "api_key: OSError: the vault is closed" in caplog.text

    away.clear()
    assert run.flush(LOCAL_SECONDS)
    assert keys(answering) == ["Bearer k1"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused(
    answering: Answering, new: New, start: Start, spill: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A refused key is said once, with its names; events stay in the journal, and go with the next worker's key."""
    answering.always(status)
    run = new(url=answering.url, api_key=SECRET)
    for name in "abc":
        run.event(name)
        assert not run.flush(LOCAL_SECONDS)

    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert "events are kept until this is put right" in said.message
    assert "api_key, or RUNFEED_API_KEY" in said.message
    assert not run.close()
    assert len(journals(spill)) == 1
    answering.always(None)
    answering.asked.clear()

    assert start(args=["flush"], RUNFEED_URL=answering.url, RUNFEED_API_KEY="k2").wait() == 0
    assert (answering.types(), keys(answering)) == ([["a", "b", "c"]], ["Bearer k2"])
    assert journals(spill) == []


def test_a_run_that_is_out_of_scope(answering: Answering, new: New, caplog: pytest.LogCaptureFixture) -> None:
    """A run that the key is not for is unknown, and cannot be made: that is said once, and events wait for a key."""
    unknown = {"code": "run_unknown", "detail": "there is no run", "field": "run_id"}
    answering.say(404, unknown)
    answering.say(403, {"code": "forbidden", "detail": "username: is out of this key's scope"})
    run = new(url=answering.url, api_key=SECRET)
    run.event("note")

    assert not run.flush(LOCAL_SECONDS)
    assert (run.pending, run.dropped) == (1, 0)
    assert [path for _, path, _, _ in answering.asked[1:]] == ["/api/v1/runs"]
    assert "the run cannot be made: 403 forbidden: username: is out of this key's scope" in caplog.text
    assert run.flush(LOCAL_SECONDS)  # a person has given the key another scope
    assert (run.sent, len(caplog.records)) == (1, 1)


@pytest.mark.parametrize("mine", [True, False])
def test_a_key_that_may_only_write(
    answering: Answering, new: New, mine: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that is there is written to by a key that may not read whose it is, unless it is not for that key."""
    unknown = {"code": "run_unknown", "detail": "there is no run"}
    answering.say(404, unknown)
    answering.say(409, {"code": "run_exists"})
    answering.say(403, {"code": "forbidden"})
    if not mine:
        answering.say(404, unknown)
    run = new(url=answering.url, api_key=SECRET)
    run.event("note")

    assert run.flush(LOCAL_SECONDS) is mine
    assert (run.sent, run.pending, run.dropped) == ((1, 0, 0) if mine else (0, 1, 0))
    assert len(answering.asked) == 4
    assert ("an API key that is not for it does not find it" in caplog.text) is not mine


def test_the_key_is_shown_nowhere(
    answering: Answering, new: New, spill: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No key stands in a log, even at DEBUG, in a repr, in a journal or in an error."""
    caplog.set_level(logging.DEBUG)
    answering.always(401)
    run = new(url=answering.url, api_key=SECRET)
    run.event("note")
    assert not run.flush(LOCAL_SECONDS)
    with pytest.raises(ValueError, match="api_key must be") as refused:
        RunReporter(url=answering.url, api_key=f"{SECRET} and more")
    shown = [repr(each) for each in (run, run._config, run._config.key, run._sender, run.__reduce__())]

    assert keys(answering) == [f"Bearer {SECRET}"] * len(answering.asked)
    assert "s3cret" not in caplog.text + str(refused.value) + "".join(shown)
    assert [b"s3cret" in path.read_bytes() for path in journals(spill)] == [False]
    answering.always(None)
    assert run.flush(LOCAL_SECONDS)


def test_the_commands_show_no_key(answering: Answering, start: Start) -> None:
    """A key is given by the environment alone: it is not in the process table, in a help text or in a message."""
    answering.always(401)
    names = {"RUNFEED_URL": answering.url, "RUNFEED_API_KEY": SECRET, "RUNFEED_TOKEN": SECRET}
    running = start(args=["run", "--", "sleep", "20"], **names)
    eventually_sync(lambda: answering.asked)
    shown = [Path(f"/proc/{running.pid}/cmdline").read_text()]
    running.terminate()
    shown += running.communicate()
    shown += start(args=["emit", "r1", "note"], **names).communicate()
    shown += start(args=["flush", "--timeout", "0"], **names).communicate()
    shown += start(args=["tail", "r1"], **names).communicate()
    for command in ("tail", "emit", "run", "flush"):
        shown += start(args=[command, "--help"], **names).communicate()

    assert "401" in "".join(shown)
    assert "s3cret" not in "".join(shown)
    assert "--token" not in "".join(shown)
    assert "--api-key" not in "".join(shown)
