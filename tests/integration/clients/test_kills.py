"""Workers that are killed: what a call had returned for is stored once, in order, by whoever comes next."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runfeed import content, journal
from runfeed.config import Run
from tests.integration.clients.conftest import Api, Gate, New, Start, journals
from tests.support.ports import steady_port
from tests.support.waiting import eventually_sync

LOCAL_SECONDS = 15.0
KILLS = 12  # at other points each time; each costs the start of a Python

ENDLESS = """
import itertools, os
from runfeed import RunReporter
run = RunReporter()
for number in itertools.count():
    run.event("note", number=number, worker=WORKER, text="x" * (number % 200))
    os.write(1, b"%d\\n" % number)
"""

HANGS = """
import threading
from runfeed import RunReporter
run = RunReporter()
for number in range(COUNT):
    run.event("note", number=number)
print("said", flush=True)
threading.Event().wait()
"""


def killed(worker: "subprocess.Popen[str]", after: int) -> list[int]:
    """Kills a worker when so many of its calls have returned; the numbers of all whose calls had returned."""
    assert worker.stdout is not None
    head = [worker.stdout.readline() for _ in range(after)]
    worker.kill()
    rest = worker.stdout.read().split("\n")[:-1]
    return [int(line) for line in [*head, *rest]]


def test_killed_at_any_point(api: Api, gate: Gate, start: Start, run_id: str) -> None:
    """Workers of one run are killed one after the other while they report; each returned call is stored once."""
    chance = random.Random(7)
    told: dict[int, list[int]] = {}
    for worker in range(KILLS):
        if worker % 3 == 2:
            gate.do(lambda proxy: proxy.cut_reply_when(lambda asked, reply: b"201 Created" in reply))
        process = start(ENDLESS.replace("WORKER", str(worker)), RUNFEED_URL=gate.url)
        told[worker] = killed(process, chance.choice([1, 30, 300, 3000]))
    flush = start(args=["flush"], RUNFEED_URL=gate.url)
    output, errors = flush.communicate()

    assert (flush.returncode, errors) == (0, "")
    events = api.events(run_id)
    stored = [(event["worker"], event["number"]) for event in events]
    assert stored == sorted(set(stored))  # in order, and each once
    for worker, numbers in told.items():
        assert numbers == list(range(len(numbers)))
        ours = [number for name, number in stored if name == worker]
        # One more may have been written when its call had not returned.
        assert ours in (numbers, [*numbers, len(numbers)]), (worker, output)


def test_the_next_reporter_sends_what_was_left(
    api: Api, gate: Gate, start: Start, new: New, run_id: str, spill: Path
) -> None:
    """A new reporter of the same run sends the dead one's events before its own, and their file goes."""
    gate.do(lambda proxy: proxy.stall())
    worker = start(HANGS.replace("COUNT", "2000"), RUNFEED_URL=gate.url)
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.kill()
    worker.wait()
    run = new(url=gate.url)
    run.event("own")
    gate.do(lambda proxy: proxy.heal())

    assert run.flush(LOCAL_SECONDS)
    assert [event.get("number", event["type"]) for event in api.events(run_id)] == [*range(2000), "own"]
    assert len(journals(spill)) == 1
    assert (run.sent, run.pending) == (1, 0)


def test_another_runs_leftovers(api: Api, gate: Gate, start: Start, new: New, run_id: str, spill: Path) -> None:
    """Any reporter with the same URL sends what another run's dead worker left; one with another URL does not."""
    gate.do(lambda proxy: proxy.stall())
    worker = start(HANGS.replace("COUNT", "10"), RUNFEED_URL=gate.url, RUN_ID=f"{run_id}-dead")
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.kill()
    worker.wait()
    elsewhere = new(run_id=None)
    elsewhere.event("note")
    assert elsewhere.flush(LOCAL_SECONDS)
    assert len(journal.held) == 1  # its own
    elsewhere.close()
    assert len(journals(spill)) == 1

    gate.do(lambda proxy: proxy.heal())
    new(url=gate.url, run_id=f"{run_id}-alive")
    eventually_sync(lambda: journals(spill) == [], within=LOCAL_SECONDS)
    assert [event["number"] for event in api.events(f"{run_id}-dead")] == list(range(10))


def test_many_leftovers(api: Api, new: New, run_id: str, spill: Path) -> None:
    """Many dead workers' journals are all sent, and only some of them are open at once."""
    spill.mkdir()
    for number in range(40):
        left = journal.create(spill, Run(api.url, f"{run_id}-{number}", "alice"))
        left.append(content.line("note", {"number": number}, left.run.run_id, "key", 1.0))
        left.release()
    assert journal.held == set()
    run = new()

    most = 0
    while journals(spill):
        most = max(most, len(journal.held))
        run.flush(0.01)
    assert 0 < most <= 17  # 16, and one that is being looked at
    for number in range(40):
        assert [event["number"] for event in api.events(f"{run_id}-{number}")] == [number]


def test_a_living_workers_journal_is_left_alone(api: Api, start: Start, new: New, run_id: str, spill: Path) -> None:
    """What a living process has not sent yet is nobody else's to send."""
    worker = start(HANGS.replace("COUNT", "10"), RUNFEED_URL=f"http://127.0.0.1:{steady_port()}")
    assert worker.stdout is not None
    worker.stdout.readline()
    before = [path.read_bytes() for path in journals(spill)]
    flush = start(args=["flush"])
    output, errors = flush.communicate()

    assert (flush.returncode, errors) == (0, "")
    assert "1 journals are left alone" in output
    assert [path.read_bytes() for path in journals(spill)] == before
    assert api.events(run_id) == []


def test_a_torn_line(api: Api, start: Start, run_id: str, spill: Path) -> None:
    """A line that a kill cut in the middle is no event; those before it are sent."""
    url = f"http://127.0.0.1:{steady_port()}"
    worker = start(HANGS.replace("COUNT", "3"), RUNFEED_URL=url)
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.kill()
    worker.wait()
    (path,) = journals(spill)
    path.write_bytes(path.read_bytes().replace(url.encode(), api.url.encode()) + b'{"type":"no')
    flush = start(args=["flush"])
    output, errors = flush.communicate()

    assert (flush.returncode, errors, output) == (0, "", f"run {run_id}: sent 3 events\n")
    assert [event["number"] for event in api.events(run_id)] == [0, 1, 2]
    assert journals(spill) == []


def test_what_is_no_journal(new: New, spill: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read as a journal is set aside, once, and stops nobody."""
    spill.mkdir()
    (spill / "1.journal").write_bytes(b"\x00\xff\n[]\n")
    (spill / "2.journal").touch()
    run = new()
    run.event("note")

    assert run.flush(LOCAL_SECONDS)
    assert caplog.text.count("is no journal") == 1
    assert (spill / "1.unreadable").exists()
    assert len(journals(spill)) == 1


def test_an_exit_without_close(api: Api, start: Start, run_id: str, spill: Path) -> None:
    """A worker that just ends has its events sent on the way out."""
    worker = start("from runfeed import RunReporter\nRunReporter().event('last')")
    output, errors = worker.communicate()

    assert (worker.returncode, output, errors) == (0, "", "")
    assert [event["type"] for event in api.events(run_id)] == ["last"]
    assert journals(spill) == []


def test_an_exit_with_the_api_away(start: Start, spill: Path) -> None:
    """With the API away a worker ends within its flush_timeout, with its own exit code, and says what is left."""
    code = "import sys\nfrom runfeed import RunReporter\nRunReporter(flush_timeout=0.2).event('last')\nsys.exit(3)"
    began = time.monotonic()
    worker = start(code, RUNFEED_URL=f"http://127.0.0.1:{steady_port()}")
    _, errors = worker.communicate()

    assert worker.returncode == 3
    assert time.monotonic() - began < 10
    assert "1 events are not stored yet" in errors
    assert len(journals(spill)) == 1
    assert json.loads(journals(spill)[0].read_text().split("\n")[2])["type"] == "last"


def test_the_default_directory(api: Api, start: Start, run_id: str, tmp_path: Path) -> None:
    """Unless told otherwise journals are in a directory of this user's own; a link in its place is not followed."""
    code = (
        "import os, stat, sys\nfrom runfeed import RunReporter, spill\nrun = RunReporter(flush_timeout=10)\n"
        "run.event('note')\npath = spill.directory(None)\nprint(oct(stat.S_IMODE(path.lstat().st_mode)), len(list("
        "path.iterdir())))\n"
    )
    first = start(code, RUNFEED_SPILL="", TMPDIR=str(tmp_path))
    assert first.communicate() == ("0o700 1\n", "")
    (place,) = tmp_path.iterdir()
    place.rmdir()
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    second = start(code, RUNFEED_SPILL="", TMPDIR=str(tmp_path))
    output, errors = second.communicate()

    assert output.split()[1] == "0"
    assert "is a link or somebody else's" in errors
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(api.events(run_id)) == 2


def test_the_disk_is_full(api: Api, start: Start, run_id: str) -> None:
    """When a write fails in the middle events go on in memory, and all are stored in order."""
    code = (
        "import resource\nfrom runfeed import RunReporter\nrun = RunReporter(flush_timeout=10)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "for number in range(300):\n    run.event('note', number=number, text='x' * 100)\n"
    )
    worker = start(code)
    _, errors = worker.communicate()

    assert worker.returncode == 0
    assert errors.count("no journal") == 1
    assert [event["number"] for event in api.events(run_id)] == list(range(300))


assert sys.platform != "win32"  # these tests kill, fork and lock
