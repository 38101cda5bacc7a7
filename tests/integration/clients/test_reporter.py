"""RunReporter against the real API: what it says is what is stored."""

import gc
import logging
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runfeed import RunReporter
from tests.integration.clients.answering import Answering
from tests.integration.clients.conftest import Api, Gate, New, journals
from tests.support.waiting import eventually_sync

LOCAL_SECONDS = 10.0  # an append takes milliseconds


def said(events: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """The type and some fields of each event."""
    return [(event["type"], *(event.get(name) for name in names)) for event in events]


def test_a_run_is_made_and_told(api: Api, new: New, run_id: str) -> None:
    """Every method's event is stored, in order, with its fields, its time and a key; the run is made for its user."""
    before = time.time()
    with new(workflow="training", metadata={"gpu": 1}, flush_timeout=LOCAL_SECONDS) as run:
        run.started(total_steps=2, note="hello é")
        run.step(1, "load", "started")
        run.step(1, "load", "completed", duration=0.5, details={"rows": [1, None]}, more=True)
        run.progress(62.5, "half of it")
        run.event("checkpoint", path="model.pt")
    events = api.events(run_id)

    assert said(events) == [
        ("workflow_started",),
        ("step_started",),
        ("step_completed",),
        ("progress",),
        ("checkpoint",),
        ("workflow_completed",),
    ]
    step = events[2]
    assert (step["step_number"], step["step_name"], step["status"], step["total_steps"]) == (1, "load", "completed", 2)
    assert (step["duration"], step["details"], step["more"]) == (0.5, {"rows": [1, None]}, True)
    assert (events[3]["progress"], events[3]["message"], events[0]["note"]) == (62.5, "half of it", "hello é")
    assert len({event["event_id"] for event in events}) == 6
    assert all(before <= event["timestamp"] <= time.time() for event in events)
    made = api.run(run_id)
    assert (made["username"], made["workflow"], made["metadata"]) == ("alice", "training", {"gpu": 1})
    assert (made["status"], made["progress"]) == ("completed", 100.0)
    assert (run.sent, run.pending, run.dropped) == (6, 0, 0)


def test_a_made_run_id(api: Api, new: New) -> None:
    """Without a run_id there is a new run of the user's, which the reporter names."""
    run = new(run_id=None)
    run.started()

    assert run.flush(LOCAL_SECONDS)
    assert api.run(run.run_id)["username"] == "alice"
    assert len(api.events(run.run_id)) == 1


def test_an_exception_is_reported(api: Api, new: New, run_id: str) -> None:
    """An exception in the with goes on up, and is the run's failure with its type and message."""
    with pytest.raises(ValueError, match="out of memory"), new(flush_timeout=LOCAL_SECONDS):
        raise ValueError("out of memory")

    assert said(api.events(run_id), "error") == [("workflow_failed", "ValueError: out of memory")]


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (KeyboardInterrupt(), ("workflow_failed", "KeyboardInterrupt")),
        (SystemExit(3), ("workflow_failed", "SystemExit: 3")),
        (SystemExit(0), ("workflow_completed", None)),
        (RuntimeError("\udc80\0"), ("workflow_failed", "RuntimeError: \ufffd\ufffd")),
    ],
)
def test_ends_by_exceptions(api: Api, new: New, run_id: str, error: BaseException, ends: tuple[str, str]) -> None:
    """Ctrl-C and an exit with a code are failures, a plain exit is not, and no message is too odd to be told."""
    with pytest.raises(type(error)), new(flush_timeout=LOCAL_SECONDS):
        raise error

    assert said(api.events(run_id), "error") == [ends]


def test_an_end_is_reported_once(api: Api, new: New, run_id: str) -> None:
    """A run whose end was reported in the with is not ended again."""
    with new(flush_timeout=LOCAL_SECONDS) as run:
        run.cancelled()

    assert said(api.events(run_id)) == [("workflow_cancelled",)]
    assert run.dropped == 0


def test_a_bad_event_leaves_the_others(
    api: Api, gate: Gate, new: New, run_id: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the API refuses by its index in a batch is dropped, said and counted; the others are stored in order."""
    monkeypatch.setattr("runfeed.content.RESERVED", ())  # so that it is the API that refuses
    gate.do(lambda proxy: proxy.stall())
    run = new(url=gate.url)
    names = [f"e{number}" for number in range(30)]
    for name in names:
        run.event(name, **({"seq": 1} if name in ("e0", "e17", "e29") else {}))
    gate.do(lambda proxy: proxy.heal())

    assert run.flush(LOCAL_SECONDS)
    assert [event["type"] for event in api.events(run_id)] == [n for n in names if n not in ("e0", "e17", "e29")]
    assert (run.sent, run.dropped) == (27, 3)
    dropped = [record for record in caplog.records if "is dropped" in record.message]
    assert [record.levelno for record in dropped] == [logging.WARNING] * 3
    assert "event e17 " in dropped[1].message
    assert "is given by the server and reserved" in dropped[1].message


def test_bad_content_is_the_reporters_own_trouble(
    api: Api, new: New, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be an event is logged and counted, never raised; an end that cannot be told in full is told."""
    run = new()
    run.event("NOT A TYPE")
    run.event("note", id=1)
    run.event("note", run_id="another")
    run.event("note", what=object())
    run.event("note", what=float("nan"))
    run.event("note", what="x" * 70_000)
    run.event("note", what="\udc80")
    run.event("note", timestamp=time.time() * 1000)
    run.step(1, "load", "nearly")
    run.progress(101)
    run.completed(what=object())

    assert run.flush(LOCAL_SECONDS)
    assert run.dropped == 10
    assert len([record for record in caplog.records if "is dropped" in record.message]) == 10
    events = api.events(run_id)
    assert said(events) == [("workflow_completed",)]
    assert "cannot be written as JSON" in events[0]["refused"]


def test_a_finished_run_takes_nothing(api: Api, new: New, run_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """What comes after a run's end is dropped, said and counted; another end is no news."""
    run = new()
    run.completed()
    run.event("late")
    run.flush(LOCAL_SECONDS)
    run.failed("late as well")

    assert run.flush(LOCAL_SECONDS)
    assert said(api.events(run_id)) == [("workflow_completed",)]
    assert (run.sent, run.dropped, run.pending) == (1, 2, 0)
    assert "run_finished" in caplog.text
    assert "workflow_failed" not in caplog.text  # at INFO


def test_another_users_run(api: Api, new: New, run_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """A run that turns out to be another user's is not written to."""
    run = new(run_id=None, flush_timeout=LOCAL_SECONDS)
    api.create(run.run_id, "bob")
    run.event("mine")

    assert run.flush(LOCAL_SECONDS)
    assert api.events(run.run_id) == []
    assert run.dropped == 1
    assert "is another user's" in caplog.text


def test_a_run_that_is_there(api: Api, new: New, run_id: str) -> None:
    """A run of the same user's that was made with other content is used as it is."""
    run = new(run_id=None, workflow="mine")
    api.create(run.run_id, "alice")
    run.event("mine")

    assert run.flush(LOCAL_SECONDS)
    assert said(api.events(run.run_id)) == [("mine",)]


def test_a_run_that_nobody_makes(api: Api, new: New, run_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without a username events of an unknown run are kept, that is said once, and they are sent when it is there."""
    run = new(username=None)
    run.event("first")

    assert not run.flush(LOCAL_SECONDS)
    run.event("second")
    assert not run.flush(LOCAL_SECONDS)
    assert caplog.text.count("run_unknown") == 1
    api.create(run_id)
    assert run.flush(LOCAL_SECONDS)
    assert said(api.events(run_id)) == [("first",), ("second",)]


def test_a_flush_while_others_report(new: New) -> None:
    """flush() waits for what was reported before it, not for what others report meanwhile."""
    run = new(flush_timeout=LOCAL_SECONDS)
    done = threading.Event()

    def report() -> None:
        while not done.is_set():
            run.event("note")

    thread = threading.Thread(target=report)
    thread.start()
    eventually_sync(lambda: run.sent > 0)
    flushed = run.flush(LOCAL_SECONDS)
    still = thread.is_alive()
    done.set()
    thread.join()

    assert flushed
    assert still
    assert run.flush(LOCAL_SECONDS)


def test_nothing_is_left_behind(new: New, spill: Path) -> None:
    """A reporter whose events are stored leaves no file and no thread."""
    run = new()
    run.started()

    assert journals(spill)
    assert "runfeed" in [thread.name for thread in threading.enumerate()]
    assert run.flush(LOCAL_SECONDS)
    assert run.close()
    assert journals(spill) == []
    eventually_sync(lambda: "runfeed" not in [thread.name for thread in threading.enumerate()])


def test_a_forgotten_reporter(api: Api, new: New, run_id: str, spill: Path) -> None:
    """A reporter that is dropped without close() still sends, and its thread ends."""
    run = RunReporter(run_id, url=api.url, username="alice", spill=spill)
    run.event("last")
    del run
    gc.collect()

    eventually_sync(lambda: said(api.events(run_id)) == [("last",)])
    eventually_sync(lambda: journals(spill) == [])


def test_the_key_is_sent_and_kept_secret(answering: Answering, new: New, spill: Path) -> None:
    """The API key goes into the header of each request, and stands in no journal and no repr."""
    answering.always(401)
    run = new(url=answering.url, api_key="s3cret-key")
    run.event("note")

    assert not run.flush(LOCAL_SECONDS)
    assert {headers["Authorization"] for _, _, headers, _ in answering.asked} == {"Bearer s3cret-key"}
    assert [b"s3cret" in path.read_bytes() for path in journals(spill)] == [False]
    assert "s3cret" not in repr(run) + repr(run._config)
    answering.always(None)
    assert run.flush(LOCAL_SECONDS)


def test_a_path_prefix(answering: Answering, new: New) -> None:
    """The base URL may have a path."""
    run = new(url=f"{answering.url}/feed/", run_id="a:b@c")
    run.event("note")

    assert run.flush(LOCAL_SECONDS)
    assert [path for _, path, _, _ in answering.asked] == ["/feed/api/v1/runs/a%3Ab%40c/events"]


def test_a_call_costs_little(new: New) -> None:
    """step() takes far less than a millisecond, while its events are being sent."""
    run = new(flush_timeout=LOCAL_SECONDS)
    took = []
    for number in range(2000):
        began = time.perf_counter()
        run.step(number, "load", "completed", duration=0.5, details={"rows": 1200, "path": "model.pt"})
        took.append(time.perf_counter() - began)

    assert statistics.median(took) < 0.0005
    assert run.flush(LOCAL_SECONDS)
    assert run.sent == 2000
