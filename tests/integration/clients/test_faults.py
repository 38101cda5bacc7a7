"""An API that is away, slow, cut off or of another mind: nothing is lost, nothing doubled, nobody waits."""

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.clients.answering import Answering
from tests.integration.clients.conftest import Api, Gate, New, journals
from tests.support.ports import steady_port
from tests.support.waiting import eventually_sync

LOCAL_SECONDS = 10.0


def types(api: Api, run_id: str) -> list[str]:
    """The types of a run's events."""
    return [event["type"] for event in api.events(run_id)]


def test_an_api_that_comes_later(api: Api, new: New, run_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """With nobody at the URL calls return at once and the trouble is said once; when the API comes, all is stored."""
    port = steady_port()
    run = new(url=f"http://127.0.0.1:{port}", run_id=run_id)
    began = time.perf_counter()
    names = [f"e{number}" for number in range(100)]
    for name in names:
        run.event(name)

    assert time.perf_counter() - began < 1
    assert not run.flush(0.3)
    assert caplog.text.count("no event can be stored now") == 1
    gate = Gate(api.port, port)
    try:
        assert run.flush(LOCAL_SECONDS)
        assert types(api, run_id) == names
        assert (run.sent, run.pending, run.dropped) == (100, 0, 0)
    finally:
        gate.close()


def test_an_answer_that_is_cut_off(api: Api, gate: Gate, new: New, run_id: str) -> None:
    """Answers that are lost after the commit, again and again, double nothing, and the order stays."""
    api.create(run_id)
    run = new(url=gate.url)
    for number in range(20):
        gate.do(lambda proxy: proxy.cut_reply_when(lambda asked, reply: b"201 Created" in reply))
        run.event("a", number=number)
        run.event("b", number=number)
        assert run.flush(LOCAL_SECONDS)

    assert gate.proxy.cuts >= 15
    assert [(event["type"], event["number"]) for event in api.events(run_id)] == [
        (kind, number) for number in range(20) for kind in "ab"
    ]


def test_a_connection_that_was_closed_idle(
    api: Api, gate: Gate, new: New, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A kept connection that the server closes is opened again at once, without a word."""
    run = new(url=gate.url)
    run.event("first")
    assert run.flush(LOCAL_SECONDS)
    taken = gate.proxy.taken
    gate.do(lambda proxy: proxy.cut())
    run.event("second")

    assert run.flush(LOCAL_SECONDS)
    assert caplog.records == []
    assert types(api, run_id) == ["first", "second"]
    assert gate.proxy.taken == taken + 1


def test_retry_after_is_obeyed(answering: Answering, new: New) -> None:
    """A server that names a time is not asked before it."""
    answering.say(503, {"code": "busy"}, Retry_After="1")
    run = new(url=answering.url)
    began = time.monotonic()
    run.event("note")
    eventually_sync(lambda: len(answering.asked) == 1)

    eventually_sync(lambda: run.sent == 1)
    assert 1.0 <= time.monotonic() - began < 3.0


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_passing_troubles(answering: Answering, new: New, status: int) -> None:
    """Troubles that pass are waited out, and nothing is dropped."""
    answering.say(status)
    run = new(url=answering.url)
    run.event("note")

    assert run.flush(LOCAL_SECONDS)
    assert (run.sent, run.dropped, len(answering.asked)) == (1, 0, 2)


@pytest.mark.parametrize("status", [401, 403, 404, 301, 200])
def test_lasting_troubles(answering: Answering, new: New, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """What somebody must put right (the key, the URL) is said once, and the events are kept."""
    answering.always(status)
    run = new(url=answering.url)
    run.event("note")

    assert not run.flush(LOCAL_SECONDS)
    run.event("another")
    assert not run.flush(LOCAL_SECONDS)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert (run.sent, run.pending, run.dropped) == (0, 2, 0)
    answering.always(None)
    assert run.flush(LOCAL_SECONDS)
    assert answering.types()[-2:] == [["note"], ["another"]]


def test_too_much_at_once(answering: Answering, gate_to: Callable[[str], Gate], new: New) -> None:
    """A 413 makes batches smaller, down to the one event that is refused alone."""
    gate = gate_to(answering.url)
    gate.do(lambda proxy: proxy.stall())
    run = new(url=gate.url)
    run.event("a")
    eventually_sync(lambda: gate.proxy.taken == 1)
    for name in "bcdefghi":
        run.event(name)
    answering.say(201, {"events": [{"id": 1, "seq": 1}]})
    for _ in range(4):
        answering.say(413)
    gate.do(lambda proxy: proxy.heal())

    assert run.flush(LOCAL_SECONDS)
    assert [len(types) for types in answering.types()[1:6]] == [8, 4, 2, 1, 1]
    assert (run.sent, run.dropped) == (8, 1)
    assert answering.types()[-1][-1] == "i"


def test_batches_are_bounded(answering: Answering, gate_to: Callable[[str], Gate], new: New) -> None:
    """No request has more than 1,000 events or more than 1 MiB, and nothing stands behind a run's end."""
    gate = gate_to(answering.url)
    gate.do(lambda proxy: proxy.stall())
    run = new(url=gate.url, flush_timeout=LOCAL_SECONDS)
    for number in range(2500):
        run.event("small", number=number)
    for _ in range(40):
        run.event("large", text="x" * 60_000)
    run.completed()
    run.event("late")
    gate.do(lambda proxy: proxy.heal())

    assert run.flush(LOCAL_SECONDS)
    requests = [body["events"] for _, _, _, body in answering.asked]
    assert [event["number"] for events in requests for event in events if "number" in event] == list(range(2500))
    assert max(map(len, requests)) <= 1000
    assert max(sum(len(str(event)) for event in events) for events in requests) < 1024 * 1024
    assert [[event["type"] for event in events] for events in requests][-1] == ["late"]


def test_the_exit_has_a_deadline(new: New, spill: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An API that takes the connection and says nothing holds up close() for flush_timeout, and the journal stays."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        run = new(url=f"http://127.0.0.1:{silent.getsockname()[1]}", flush_timeout=0.3)
        run.event("note")
        began = time.monotonic()

        assert not run.close()
        assert 0.3 <= time.monotonic() - began < 1.5
        assert "1 events are not stored yet; they wait in the journal" in caplog.text
        assert len(journals(spill)) == 1


def test_no_place_for_a_journal(
    api: Api, gate: Gate, new: New, run_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no file can be written events are kept in memory, that is said once, and they are stored."""
    file = tmp_path / "file"
    file.touch()
    gate.do(lambda proxy: proxy.stall())
    run = new(url=gate.url, spill=file / "below")
    for number in range(1500):
        run.event("note", number=number)
    gate.do(lambda proxy: proxy.heal())

    assert run.flush(LOCAL_SECONDS)
    assert [event["number"] for event in api.events(run_id)] == list(range(1500))
    assert caplog.text.count("no journal") == 1


def test_what_was_in_memory_is_named_lost(new: New, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Events that were in memory alone at the end are said to be lost."""
    file = tmp_path / "file"
    file.touch()
    run = new(url=f"http://127.0.0.1:{steady_port()}", spill=file / "below")
    run.event("note")
    run.event("note")

    assert not run.close()
    assert "2 events were in memory only, and are lost" in caplog.text
