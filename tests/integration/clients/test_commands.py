"""The command `runfeed`, as a shell runs it."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.clients.answering import Answering
from tests.integration.clients.conftest import Api, Gate, Start, journals
from tests.support.ports import steady_port
from tests.support.waiting import eventually_sync

PYTHON = sys.executable


def lines(events: list[dict[str, Any]], stream: str) -> list[str]:
    """What the log events of a stream say, line by line."""
    found: list[str] = []
    for event in events:
        if event["type"] == "log" and event["stream"] == stream:
            found += event.get("lines", [event.get("line")])
    return found


def test_emit(api: Api, start: Start, run_id: str) -> None:
    """`emit` makes the run, stores the event with JSON and text values, and prints its numbers."""
    emit = start(
        args=["emit", run_id, "node_completed", "node_id=first", "rows=12", 'more={"a":[1]}', "to=a=b", "x=NaN"]
    )
    output, errors = emit.communicate()

    assert (emit.returncode, errors) == (0, "")
    assert output.startswith(f"run {run_id} id ")
    assert output.endswith(" seq 1\n")
    event = api.events(run_id)[0]
    assert [event[name] for name in ("type", "node_id", "rows", "more", "to", "x")] == [
        *("node_completed", "first", 12, {"a": [1]}, "a=b", "NaN")
    ]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["emit", "RUN", "note", "id=1"], 2, "id: is given by the server and reserved"),
        (["emit", "RUN", "Note"], 2, "type: must be 1 to 64 characters"),
        (["emit", "a b", "note"], 2, "run_id must be 1 to 128 characters"),
        (["emit", "RUN", "note", "x"], 2, "'x' is not KEY=VALUE"),
        (["emit", "RUN", "note", "x=1", "x=2"], 2, "x is given twice"),
        (["emit", "--url", "ftp://x", "RUN", "note"], 2, "url must be http://"),
        (["run"], 2, "run needs a command"),
    ],
)
def test_wrong_arguments(start: Start, run_id: str, args: list[str], code: int, said: str) -> None:
    """A wrong argument is named in one line."""
    command = start(args=[run_id if arg == "RUN" else arg for arg in args])
    output, errors = command.communicate()

    assert (command.returncode, output) == (code, "")
    assert said in errors
    assert errors.count("\n") == 1


def test_emit_says_what_the_api_says(api: Api, start: Start, run_id: str) -> None:
    """A refusal's detail is on stderr, and the exit code is 1."""
    api.create(run_id)
    assert start(args=["emit", run_id, "workflow_completed"]).wait() == 0
    late = start(args=["emit", run_id, "note"])
    unknown = start(args=["emit", f"{run_id}-2", "note"], RUNFEED_USERNAME="")
    away = start(args=["emit", run_id, "note", "--timeout", "0.1"], RUNFEED_URL=f"http://127.0.0.1:{steady_port()}")

    assert "run_finished" in late.communicate()[1]
    assert "there is no run" in unknown.communicate()[1]
    assert "ConnectionRefusedError" in away.communicate()[1]
    assert (late.returncode, unknown.returncode, away.returncode) == (1, 1, 1)


def test_emit_repeats_with_its_key(api: Api, gate: Gate, start: Start, run_id: str) -> None:
    """An answer that was lost is asked for again, and the event is there once."""
    api.create(run_id)
    gate.do(lambda proxy: proxy.cut_reply_when(lambda asked, reply: b"201 Created" in reply))
    emit = start(args=["emit", run_id, "note"], RUNFEED_URL=gate.url)
    output, errors = emit.communicate()

    assert (emit.returncode, errors) == (0, "")
    assert output.endswith(" seq 1\n")
    assert len(api.events(run_id)) == 1


def test_run(api: Api, start: Start, run_id: str) -> None:
    """`run` passes output and exit code through, and reports start, lines and end; the command finds its run."""
    script = (
        "import os, sys\nprint('out', os.environ['RUN_ID'], os.environ['RUNFEED_USERNAME'])\n"
        "print('err', file=sys.stderr)\nsys.exit(3)"
    )
    names = ["--run", run_id, "--username", "alice", "--workflow", "nightly"]
    command = start(args=["run", *names, "--", PYTHON, "-c", script], RUN_ID="", RUNFEED_USERNAME="")
    output, errors = command.communicate()

    assert (command.returncode, output, errors) == (3, f"out {run_id} alice\n", "err\n")
    events = api.events(run_id)
    assert events[0]["type"] == "workflow_started"
    assert events[0]["command"][:2] == [PYTHON, "-c"]
    assert lines(events, "stdout") == [f"out {run_id} alice"]
    assert lines(events, "stderr") == ["err"]
    assert (events[-1]["type"], events[-1]["exit_code"], events[-1]["error"]) == ("workflow_failed", 3, "exit code 3")
    assert api.run(run_id)["workflow"] == "nightly"


def test_run_passes_bytes_at_once(api: Api, start: Start, run_id: str) -> None:
    """A prompt without a newline, and bytes that are no text, come through as they are while the command runs."""
    script = "import os\nos.write(1, b'\\xff\\0 ready?')\nos.read(0, 1)\nos.write(1, b' done')"
    reading, writing = os.pipe()
    command = start(args=["run", "--", PYTHON, "-c", script], stdin=reading)
    os.close(reading)
    assert command.stdout is not None

    assert os.read(command.stdout.fileno(), 100) == b"\xff\0 ready?"
    os.write(writing, b"x")
    os.close(writing)
    assert os.read(command.stdout.fileno(), 100) == b" done"
    assert command.wait() == 0
    assert lines(api.events(run_id), "stdout") == ["\ufffd\ufffd ready? done"]
    assert api.run(run_id)["status"] == "completed"


def test_run_with_much_output(api: Api, start: Start, run_id: str) -> None:
    """20,000 lines pass through whole, and all of them are in far fewer events."""
    script = "for number in range(20000): print('line', number, 'x' * 50)"
    command = start(args=["run", "--", PYTHON, "-c", script])
    output, errors = command.communicate()

    assert (command.returncode, errors) == (0, "")
    expected = [f"line {number} {'x' * 50}" for number in range(20000)]
    assert output.splitlines() == expected
    events = api.events(run_id)
    assert lines(events, "stdout") == expected
    assert len(events) < 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_passes_signals_on(api: Api, start: Start, run_id: str, number: signal.Signals) -> None:
    """A signal reaches the command; what that makes of it is the end that is reported."""
    script = (
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('heard', flush=True))\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\nprint('ready', flush=True)\nwhile True: signal.pause()"
    )
    command = start(args=["run", "--", PYTHON, "-c", script])
    assert command.stdout is not None
    assert command.stdout.readline() == "ready\n"
    command.send_signal(number)
    if number == signal.SIGTERM:
        assert command.stdout.readline() == "heard\n"
        command.send_signal(signal.SIGINT)

    assert command.wait() == 128 + signal.SIGINT
    events = api.events(run_id)
    assert (events[-1]["type"], events[-1]["signal"]) == ("workflow_failed", "SIGINT")
    assert lines(events, "stdout") == (["ready", "heard"] if number == signal.SIGTERM else ["ready"])


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), (str(Path(__file__).parent), 126)])
def test_run_what_cannot_be_run(api: Api, start: Start, run_id: str, command: str, code: int) -> None:
    """A command that cannot be started is 127 or 126, as in a shell, and the run's failure."""
    run = start(args=["run", "--", command])
    output, errors = run.communicate()

    assert (run.returncode, output) == (code, "")
    assert command in errors
    assert api.events(run_id)[-1]["exit_code"] == code
    assert api.run(run_id)["status"] == "failed"


def test_run_what_reports_itself(api: Api, start: Start, run_id: str) -> None:
    """A command that reports its own end is the one who knows."""
    script = "from runfeed import RunReporter\nwith RunReporter() as run: run.completed(rows=3)"
    command = start(args=["run", "--", PYTHON, "-c", script])
    output, errors = command.communicate()

    assert (command.returncode, output, errors) == (0, "", "")
    assert [event["type"] for event in api.events(run_id)] == ["workflow_started", "workflow_completed"]
    assert api.events(run_id)[-1]["rows"] == 3


def test_run_whose_reader_goes(start: Start, answering: Answering) -> None:
    """When nobody reads our output the command hears of it, as it would without us."""
    command = start(args=["run", "--", "yes"], RUNFEED_URL=answering.url)
    assert command.stdout is not None
    assert command.stdout.readline() == "y\n"
    command.stdout.close()

    assert command.wait(20) in (1, 128 + signal.SIGPIPE)


def test_run_with_a_process_that_stays(api: Api, start: Start, run_id: str) -> None:
    """A process that the command leaves behind with its output open does not keep the run from ending."""
    command = start(args=["run", "--", "sh", "-c", "sleep 20 & echo started"])
    assert command.stdout is not None

    assert command.stdout.readline() == "started\n"
    assert command.wait(10) == 0
    assert api.run(run_id)["status"] == "completed"


def test_run_with_the_api_away(start: Start, spill: Path) -> None:
    """With the API away the command runs as ever; its events wait in the journal, and flush says why they stay."""
    url = f"http://127.0.0.1:{steady_port()}"
    command = start(args=["run", "--flush-timeout", "0.2", "--", "echo", "hello"], RUNFEED_URL=url)
    output, errors = command.communicate()
    flush = start(args=["flush", "--timeout", "0.2"])
    _, reason = flush.communicate()

    assert (command.returncode, output) == (0, "hello\n")
    assert "3 events are not stored yet" in errors
    assert len(journals(spill)) == 1
    assert flush.returncode == 1
    assert "is not sent: ConnectionRefusedError" in reason


def test_flush_keeps_the_key_for_its_own_url(start: Start, answering: Answering, spill: Path) -> None:
    """The API key goes to the URL that it is given with, not to every URL that a journal names."""
    answering.always(503)
    worker = start(
        "from runfeed import RunReporter\nRunReporter(flush_timeout=0).event('note')",
        RUNFEED_URL=answering.url,
        RUNFEED_API_KEY="",
    )
    worker.wait()
    answering.always(None)
    answering.asked.clear()
    flush = start(args=["flush"], RUNFEED_API_KEY="s3cret", RUNFEED_URL="http://127.0.0.1:1")

    assert flush.wait() == 0
    eventually_sync(lambda: journals(spill) == [])
    assert [headers.get("Authorization") for _, _, headers, _ in answering.asked] == [None]
